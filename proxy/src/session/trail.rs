//! What goes into the audit trail from the data plane: refusals, stored values that are not what was sealed, what a superadmin did.
//!
//! Events of replies wait in the session, since replies are read without waiting; the next turn of its task records them.

use std::time::SystemTime;

use postern_rewriter::plan::{Plan, Refusal};

use super::engine::Session;
use super::expect::Expect;
use super::rows::RowFault;
use super::stop::{hinted, integrity, refusal};
use crate::identity::Identity;
use crate::observe::{Decision, Event};
use crate::wire::message;

impl Session {
    pub(super) async fn audit_refusal(&mut self, refusal: &Refusal) {
        self.shared.metrics.refusal(refusal.reason);
        let mut event = self.event("statement", Decision::Refuse);
        event.sqlstate = Some(refusal.sqlstate);
        event.reason = Some(refusal.reason);
        let recorded = self.shared.audit.record(event).await;
        self.audited(recorded.is_ok());
    }

    fn event(&self, kind: &'static str, decision: Decision) -> Event {
        let login = self.login.login.name.as_str();
        let who = self.acting.as_ref().unwrap_or_else(|| self.identities.standing());
        let mut event = Event::new(kind, who, login, decision, SystemTime::now());
        event.module = Some(self.login.module.to_string());
        event
    }

    pub(super) fn audited(&self, recorded: bool) {
        if !recorded {
            self.shared.metrics.audit_failed();
        }
    }

    /// What a superadmin does must be in the trail, so nothing is done while it cannot be written.
    pub(super) fn check_trail(&self, identity: &Identity) -> Result<(), Refusal> {
        if !identity.is_super() || self.shared.audit.is_open() {
            return Ok(());
        }
        self.shared.metrics.audit_failed();
        Err(hinted(
            "58030",
            "audit",
            "the audit trail cannot be written, so a superadmin's statement is refused",
            "The operator finds the cause in Postern's log.",
        ))
    }

    /// A superadmin's statement under way fails or is broken off: rows may have been seen all the same.
    pub(super) fn audit_broken_off(&mut self) {
        let (plan, identity) = match self.queue.front() {
            Some(Expect::Execute(execute)) => (execute.audited.clone(), execute.identity.clone()),
            Some(Expect::Query(batch)) => (batch.sent.plans().get(batch.at).cloned(), batch.identity.clone()),
            _ => return,
        };
        if let (Some(plan), Some(identity)) = (plan, identity.filter(|i| i.is_super())) {
            self.audit_statement(&identity, &plan, &[]);
        }
    }

    pub(super) async fn record_events(&mut self) {
        for event in std::mem::take(&mut self.events) {
            let recorded = self.shared.audit.record(event).await;
            self.audited(recorded.is_ok());
        }
    }

    /// What the client is told of a row that failed; stored data that is not what was sealed goes into the trail.
    pub(super) fn fault_refusal(&mut self, fault: &RowFault) -> Refusal {
        match fault {
            RowFault::Integrity => {
                self.shared.metrics.open_failed();
                let mut event = self.event("open-failed", Decision::Refuse);
                event.sqlstate = Some("XX001");
                event.reason = Some("integrity");
                self.events.push(event);
                integrity()
            }
            RowFault::Value(error) => Refusal {
                hint: error.hint(),
                ..refusal(error.sqlstate(), "value", error.to_string())
            },
            RowFault::Shape(_) => refusal("XX000", "internal", "PostgreSQL's row does not have the plan's shape"),
        }
    }

    /// A statement of a superadmin was carried out.
    pub(super) fn audit_statement(&mut self, identity: &Identity, plan: &Plan, tag: &[u8]) {
        let login = self.login.login.name.as_str();
        let mut event = Event::new("statement", identity, login, Decision::Allow, SystemTime::now());
        event.module = Some(self.login.module.to_string());
        event.relations = plan.relations.iter().map(ToString::to_string).collect();
        event.policies.clone_from(&plan.policies);
        event.rows = message::command_complete(tag)
            .ok()
            .and_then(|tag| tag.rsplit(' ').next()?.parse().ok());
        self.events.push(event);
    }
}
