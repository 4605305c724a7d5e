//! What becomes of a request that is refused: the client is told in its turn, and a transaction that is open fails as PostgreSQL's would.

use bytes::BytesMut;
use postern_rewriter::plan::Refusal;

use super::SessionEnd;
use super::engine::Session;
use super::stop::{Stop, aborted, hinted};
use crate::wire::message;

impl Session {
    /// What becomes of a request that did not go to its end: the client's pipeline fails here, and PostgreSQL's with it.
    pub(super) async fn stopped(&mut self, stop: Stop) -> Result<(), SessionEnd> {
        match stop {
            Stop::End(end) => Err(end),
            Stop::Skip => {
                self.discarding = true;
                Ok(())
            }
            Stop::Told(told) => {
                self.shared.metrics.refusal("database");
                self.identities.failed();
                told.put(&mut self.links.client.output, b'E')
                    .map_err(|_| SessionEnd::Internal)?;
                self.discarding = true;
                Ok(())
            }
            Stop::Refuse(refusal) => self.refuse(&refusal).await,
        }
    }

    /// Refuses: tells the client when it is its turn, and makes a transaction that is open fail as PostgreSQL would.
    async fn refuse(&mut self, refusal: &Refusal) -> Result<(), SessionEnd> {
        // First all that was asked before: an error in it would have made PostgreSQL skip this.
        self.settle_all().await?;
        if self.discarding {
            return Ok(());
        }
        self.audit_refusal(refusal).await;
        // In a transaction that has failed PostgreSQL does not come to look at what a statement means.
        match self.status == b'E' && of_meaning(refusal) {
            true => self.put_refusal(&aborted()),
            false => self.put_refusal(refusal),
        }
        self.identities.failed();
        if self.open || self.status == b'T' {
            self.abort().map_err(|_| SessionEnd::Internal)?;
        }
        self.discarding = true;
        Ok(())
    }

    /// FunctionCall could call anything; it is answered as a refused query is.
    pub(super) async fn on_function_call(&mut self) -> Result<(), SessionEnd> {
        let refused = hinted(
            "42501",
            "function-call",
            "the fast-path function call is not available through Postern",
            "Use SELECT.",
        );
        self.refuse(&refused).await?;
        self.finish_group().await
    }
}

/// Whether a refusal is of what a statement means rather than of its syntax, its name or a message.
fn of_meaning(refusal: &Refusal) -> bool {
    let code = refusal.sqlstate;
    (code.starts_with("42") || code.starts_with("0A")) && !matches!(code, "42601" | "42P05")
}

pub(super) fn put_refusal(out: &mut BytesMut, severity: &str, refusal: &Refusal) {
    let position = refusal.position.map(|p| p.to_string());
    let fields = [
        (b'S', Some(severity)),
        (b'V', Some(severity)),
        (b'C', Some(refusal.sqlstate)),
        (b'M', Some(refusal.message.as_str())),
        (b'D', refusal.detail.as_deref()),
        (b'H', refusal.hint.as_deref()),
        (b'P', position.as_deref()),
        // "The routine that reported it": what tells a refusal from an error of PostgreSQL's, which keeps no such field on its way.
        (b'R', Some(refusal.reason)),
    ];
    // A message or hint that names what the client wrote is as short as what it wrote.
    let given = fields.into_iter().filter_map(|(code, text)| Some((code, text?)));
    message::put_fields(out, b'E', given).expect("a refusal fits a message");
}
