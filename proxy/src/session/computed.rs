//! EXECUTE with values that PostgreSQL computes, and EXPLAIN EXECUTE: a Query of ours, of the name that the prepared statement has on the connection.

use std::sync::Arc;

use postern_rewriter::execution;
use postern_rewriter::plan::{Computed, Plan, Refusal};

use super::engine::Session;
use super::expect::To;
use super::server::{Name, Step};
use super::simple::Sent;
use super::statement::Way;
use super::stop::{Stop, hinted};
use crate::identity::Identity;

impl Session {
    /// Carries out one that is the whole of a Query.
    pub(super) async fn execute_computed(
        &mut self,
        plan: &Plan,
        how: &Computed,
        token: Option<&Arc<Identity>>,
    ) -> Result<(), Stop> {
        self.check_not_failed().await?;
        let stmt = self.prepared(&how.name, token).await?;
        stmt.takes(&how.name, how.given)?;
        let Some(inner) = stmt.plan.as_ref().filter(|_| stmt.way == Way::Relay) else {
            return Err(unplain().into());
        };
        let wanted = self.wanted(token.or(stmt.token.as_ref())).await?;
        self.ensure_identity(&wanted).await?;
        // A text that stands there without a name cannot be named.
        self.memory().prepared.forget_unnamed();
        let number = self.on_server(&stmt, Step::Main, To::Quiet, None).await?;
        if self.open {
            // An error of its Parse would have PostgreSQL skip the Query.
            self.drain_or_skip().await?;
        }
        let (plan, sql) = execution(plan, inner, Name::new(number).as_str())?;
        self.check_mode(&plan).await?;
        self.send_whole(Sent::Filled(Arc::new(plan), sql), &wanted).await
    }
}

/// Among other statements, or in the extended protocol, it would have to be named before it is known what stands there.
pub(super) fn by_itself() -> Refusal {
    hinted(
        "0A000",
        "construct",
        "an EXECUTE with values other than constants, or its EXPLAIN, cannot be sent in this way",
        "Send it as a simple query of its own, or pass plain constants.",
    )
}

fn unplain() -> Refusal {
    hinted(
        "0A000",
        "construct",
        "an EXECUTE of this prepared statement takes constants only",
        "Pass plain constants.",
    )
}
