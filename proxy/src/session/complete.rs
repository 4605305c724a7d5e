//! What a completed statement has done to the session, and what ReadyForQuery tells of its transaction.

use std::sync::Arc;

use postern_rewriter::plan::{Effect, Plan, Run, Transaction};

use super::SessionEnd;
use super::engine::{Session, Zone};
use super::expect::{After, Expect, Mode, To};
use super::savepoints::{Says, says};
use crate::wire::message;

type Outcome = Result<(), SessionEnd>;

impl Session {
    /// The state that a ReadyForQuery for the client tells.
    pub(super) fn now_ready(&mut self, status: u8) {
        self.status = status;
        let failed = self.identities.ready(status == b'I');
        if status == b'I' {
            if failed {
                self.settings.rolled_back();
            } else {
                self.settings.idle();
            }
            self.savepoints.clear();
            self.zone.moved = false;
            self.portals.retain(|_| false);
            self.cursors.retain(|c| c.holds());
            if std::mem::take(&mut self.ddl_in_transaction) {
                self.catalog_dirty = true;
            }
        }
    }

    /// CommandComplete, EmptyQueryResponse or PortalSuspended.
    pub(super) fn complete(&mut self, kind: u8, body: &[u8], whole: &[u8]) -> Outcome {
        self.result_bytes = 0;
        match self.queue.front_mut() {
            Some(Expect::Query(batch)) if kind != b's' => {
                let plan = batch.sent.plans().get(batch.at).cloned();
                batch.at += 1;
                let identity = batch.identity.clone();
                if !self.mute {
                    self.links.client.output.extend_from_slice(whole);
                }
                if let Some(identity) = &identity {
                    self.identities.touch(identity);
                }
                if let Some(plan) = plan {
                    if let Some(identity) = identity.filter(|i| i.is_super()) {
                        self.audit_statement(&identity, &plan, body);
                    }
                    self.apply(&plan, body);
                }
                self.copy_over();
                return Ok(());
            }
            Some(Expect::Execute(_)) => {}
            _ => return Err(SessionEnd::UpstreamProtocol),
        }
        let Some(Expect::Execute(execute)) = self.queue.pop_front() else {
            return Err(SessionEnd::Internal);
        };
        if let Some(identity) = &execute.identity {
            self.identities.touch(identity);
        }
        if let (Some(plan), Some(identity)) = (&execute.audited, &execute.identity) {
            self.audit_statement(identity, plan, body);
        }
        match execute.mode {
            Mode::Tell => match &execute.reading {
                Some(reading) if reading.copies() && kind == b'C' && !self.mute => {
                    let rows = message::command_complete(body).map_err(|_| SessionEnd::UpstreamProtocol)?;
                    reading
                        .end_copy(rows, &mut self.links.client.output)
                        .map_err(|_| SessionEnd::Internal)?;
                }
                _ => self.tell(To::Client, whole),
            },
            Mode::Count => self
                .counted
                .add(message::command_complete(body).map_err(|_| SessionEnd::UpstreamProtocol)?),
            Mode::Collect | Mode::Drop | Mode::Strict => {}
        }
        if let Some(started) = execute.started {
            self.shared.metrics.query("extended", started.elapsed());
        }
        if kind == b'C' {
            match execute.after {
                After::Nothing => {}
                After::Effect(plan) => self.apply(&plan, body),
                After::Declare(name, cursor) => self.cursors.set(name, Some(cursor)),
            }
        }
        self.copy_over();
        Ok(())
    }

    /// A statement is complete: what it did to the session.
    fn apply(&mut self, plan: &Arc<Plan>, tag: &[u8]) {
        if self.status == b'E' {
            // What ends a failure does so for what follows it before the next ReadyForQuery, too.
            match &plan.effect {
                Effect::Transaction(Transaction::RollbackTo) => self.status = b'T',
                Effect::Transaction(_) => self.status = b'I',
                _ => {}
            }
        }
        match &plan.effect {
            Effect::Transaction(Transaction::RollbackTo | Transaction::Savepoint) => self.at_savepoint(plan_sql(plan)),
            // The tag tells whether COMMIT committed or ended a failed transaction.
            Effect::Transaction(_) if tag == b"COMMIT\0" => {
                self.identities.ended(true);
                self.settings.idle();
                self.savepoints.clear();
            }
            Effect::Transaction(_) if tag == b"ROLLBACK\0" => {
                self.identities.ended(false);
                self.settings.rolled_back();
                self.savepoints.clear();
            }
            Effect::Setting(name) => {
                let sql = plan_sql(plan);
                self.settings.changed(name, sql);
                if sql.starts_with("RESET ALL") {
                    self.identities.adopt(None, false);
                    self.identities.reset_on_server();
                    self.entry_lost = true;
                }
            }
            Effect::Ddl => {
                self.catalog_dirty = true;
                self.ddl_in_transaction = true;
            }
            Effect::CloseCursor(Some(name)) => {
                self.cursors.set(name.clone(), None);
                self.portals.set(name.clone(), None);
            }
            Effect::CloseCursor(None) => {
                self.cursors.retain(|_| false);
                self.portals.retain(|_| false);
            }
            _ => {}
        }
    }
}

impl Session {
    /// A statement about savepoints is complete.
    fn at_savepoint(&mut self, sql: &str) {
        match says(sql) {
            Some(Says::Set(name)) => self.savepoints.set(name, self.identities.taken(), self.settings.followed()),
            Some(Says::Release(name)) => self.savepoints.release(name),
            Some(Says::RollbackTo(name)) => {
                let (taken, settings) = self.savepoints.rollback_to(name).unzip();
                self.identities.reverted(taken);
                if let Some(settings) = settings {
                    self.settings.restore(settings);
                }
                self.catalog_dirty |= self.ddl_in_transaction;
            }
            None => self.identities.reverted(None),
        }
    }

    /// What must be known of a statement's effect before its reply is there.
    pub(super) fn foresee(&mut self, effect: &Effect) {
        match effect {
            Effect::Ddl => self.catalog_dirty = true,
            Effect::Setting("all") => {
                self.settings_moved = true;
                self.constants_move();
                self.identities.reset_on_server();
                self.zone = Zone::MOVED;
            }
            Effect::Setting(name) => {
                self.settings_moved = true;
                if super::follow::decides_constants(name) {
                    self.constants_move();
                }
                if matches!(*name, "timezone" | "datestyle") {
                    self.zone = Zone::MOVED;
                }
            }
            Effect::Transaction(kind) => {
                if self.constants_moved {
                    self.constants_move();
                }
                // SET SESSION CHARACTERISTICS.
                self.settings_moved |= *kind == Transaction::Set;
                self.catalog_dirty |= self.ddl_in_transaction;
                // Its end may bring back what was set before.
                self.zone.unsure |= self.zone.moved;
            }
            _ => {}
        }
    }
}

/// The text of a plan that is one statement.
fn plan_sql(plan: &Plan) -> &str {
    match &plan.run {
        Run::Once(statement) => statement.sql.sql(),
        _ => "",
    }
}
