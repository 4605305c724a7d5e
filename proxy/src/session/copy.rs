//! COPY between the client and PostgreSQL, and notifications: relayed by message type, as far as a judged statement asked for them.
//!
//! Promised: the client's CopyData goes to PostgreSQL only between CopyInResponse and the end of that COPY, and PostgreSQL's to the
//! client only while a `COPY … TO STDOUT` is carried out; elsewhere the client's is dropped, as PostgreSQL does, and PostgreSQL's ends the
//! session. Rows stream: of a COPY no more is held than of any result. A notification reaches the client under the name it listened for, and
//! one of another module's channel reaches nobody.

use postern_rewriter::own_channel;
use postern_rewriter::plan::Effect;

use super::SessionEnd;
use super::engine::Session;
use super::expect::{After, Expect};
use super::stop::hinted;
use crate::wire::message;

/// What of COPY a statement under way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copies {
    In,
    Out,
    Not,
}

fn copies(effect: &Effect) -> Copies {
    match effect {
        Effect::CopyIn => Copies::In,
        Effect::CopyOut => Copies::Out,
        _ => Copies::Not,
    }
}

/// What of COPY the statement is that PostgreSQL carries out now.
fn at(expect: Option<&Expect>) -> Copies {
    match expect {
        Some(Expect::Query(batch)) => batch.sent.plans().get(batch.at).map_or(Copies::Not, |p| copies(&p.effect)),
        Some(Expect::Execute(execute)) => match &execute.after {
            After::Effect(plan) => copies(&plan.effect),
            After::Nothing | After::Declare(..) => Copies::Not,
        },
        _ => Copies::Not,
    }
}

impl Session {
    /// Whether PostgreSQL is sending what a COPY reads.
    pub(super) fn copies_out(&self) -> bool {
        at(self.queue.front()) == Copies::Out
    }

    /// Whether a COPY that the client will feed is under way and PostgreSQL has not asked for its data yet: until then nobody knows what
    /// the client's next messages mean.
    pub(super) fn awaits_copy(&self) -> bool {
        if self.copying || self.copies_in == 0 {
            return false;
        }
        self.queue.iter().enumerate().any(|(place, expect)| {
            // The one whose data has gone is only to be answered: what follows it means what it says, and PostgreSQL may need to see it
            // (a Sync) before it answers.
            let fed = place == 0 && self.copy_fed;
            match expect {
                Expect::Query(batch) => {
                    let mut left = batch.sent.plans().iter().skip(batch.at + usize::from(fed));
                    left.any(|p| copies(&p.effect) == Copies::In)
                }
                other => !fed && at(Some(other)) == Copies::In,
            }
        })
    }

    /// A statement is sent that has that effect.
    pub(super) fn sends_copy(&mut self, effect: &Effect) {
        if *effect == Effect::CopyIn {
            self.copies_in += 1;
        }
    }

    /// CopyInResponse.
    pub(super) fn copy_in_response(&mut self, whole: &[u8]) -> Result<(), SessionEnd> {
        if at(self.queue.front()) != Copies::In || self.copying || self.mute {
            return Err(SessionEnd::UpstreamProtocol);
        }
        self.copying = true;
        self.links.client.output.extend_from_slice(whole);
        Ok(())
    }

    /// CopyOutResponse, CopyData or CopyDone from PostgreSQL.
    pub(super) fn copy_out(&mut self, whole: &[u8]) -> Result<(), SessionEnd> {
        if !self.copies_out() {
            return Err(SessionEnd::UpstreamProtocol);
        }
        if !self.mute {
            self.links.client.output.extend_from_slice(whole);
        }
        Ok(())
    }

    /// A COPY that the client fed is over, or failed.
    pub(super) fn copy_over(&mut self) {
        if self.copies_in > 0 {
            self.copying = false;
            self.copy_fed = false;
            let left = self.queue.iter().any(|e| match e {
                Expect::Query(batch) => batch.sent.plans().iter().any(|p| copies(&p.effect) == Copies::In),
                other => at(Some(other)) == Copies::In,
            });
            if !left {
                self.copies_in = 0;
            }
        }
    }

    /// A message of the client while PostgreSQL waits for a COPY's data.
    pub(super) fn feed_copy(&mut self, kind: u8, whole: &[u8]) {
        match kind {
            b'd' => self.links.upstream.output.extend_from_slice(whole),
            b'c' | b'f' => {
                self.links.upstream.output.extend_from_slice(whole);
                self.copying = false;
                self.copy_fed = true;
            }
            // PostgreSQL takes no notice of these here, for the sake of clients that send them early.
            b'S' | b'H' => {}
            _ => self.fail_copy("unexpected message type during COPY from stdin"),
        }
    }

    /// Has the COPY that PostgreSQL waits for fail, since nobody will feed it.
    pub(super) fn fail_copy(&mut self, told: &str) {
        message::put(&mut self.links.upstream.output, b'f', |out| {
            message::put_text(out, told);
            Ok(())
        })
        .expect("it is short");
        self.copying = false;
        self.copy_fed = true;
    }

    /// Whether that plan is a COPY which the client feeds.
    pub(super) fn is_copy_in(effect: &Effect) -> bool {
        copies(effect) == Copies::In || matches!(effect, Effect::CopyRows(_))
    }

    /// NotificationResponse: pid, channel, payload.
    pub(super) fn notification(&mut self, body: &[u8]) -> Result<(), SessionEnd> {
        let read = |body| -> Result<(i32, &str, &str), message::MessageError> {
            let mut reader = message::Reader::new(body);
            let (pid, channel, payload) = (reader.i32()?, reader.text()?, reader.text()?);
            reader.end()?;
            Ok((pid, channel, payload))
        };
        let (pid, channel, payload) = read(body).map_err(|_| SessionEnd::UpstreamProtocol)?;
        let Some(channel) = own_channel(&self.login.module, channel) else {
            return Ok(());
        };
        if self.client_gone {
            return Ok(());
        }
        message::put(&mut self.links.client.output, b'A', |out| {
            bytes::BufMut::put_i32(out, pid);
            message::put_text(out, channel);
            message::put_text(out, payload);
            Ok(())
        })
        .map_err(|_| SessionEnd::UpstreamProtocol)
    }

    /// Counts what a statement's result has taken of the client's connection; beyond the module's quota the statement is cancelled.
    pub(super) fn count_result(&mut self, bytes: usize) -> Result<(), SessionEnd> {
        let Some(most) = self.quota.result_bytes else { return Ok(()) };
        self.result_bytes += bytes as u64;
        if self.result_bytes <= most || self.mute {
            return Ok(());
        }
        let refusal = hinted(
            "53400",
            "result-bytes",
            "the statement's result is larger than the module may take",
            "Ask for fewer rows, or have the operator raise [quotas.MODULE] result_bytes.",
        );
        self.shared.metrics.refusal(refusal.reason);
        self.cancel_running();
        self.rows_refused(&refusal)
    }

    /// Has PostgreSQL cancel what it carries out for this client, and no later client.
    fn cancel_running(&self) {
        if let Some(cancelling) = self.shared.cancels.begin(&self.cancel.key()) {
            let connector = self.shared.upstream.clone();
            // Its connector bounds the time; the pin that it holds ends with it.
            tokio::spawn(async move {
                if let Err(error) = connector.cancel(cancelling.target()).await {
                    tracing::warn!(%error, "a statement over its quota could not be cancelled");
                }
            });
        }
    }
}
