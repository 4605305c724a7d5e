//! Prepared statements: a name here, a plan, and a text on whichever connection serves the client.
//!
//! Promised: a statement name stands for its plan here, and what is bound on a connection is that plan's text, sent there first where the
//! connection does not have it; a plan made under another catalogue, or for somebody of other standing, is made again before it
//! is bound.

use std::sync::Arc;

use postern_rewriter::plan::Refusal;

use super::ask::too_long;
use super::engine::Session;
use super::expect::{Expect, Made, Settles, To};
use super::extended::too_many;
use super::plans::Asker;
use super::server::{self, Found, Name, Step};
use super::statement::{Origin, Stmt, Way};
use super::stop::{Stop, aborted, hinted, no_statement, taken};
use crate::identity::Identity;
use crate::wire::message;

impl Session {
    /// A transaction that has failed takes only what may end it; what was sent before decides whether it still has.
    pub(super) async fn check_not_failed(&mut self) -> Result<(), Stop> {
        if self.status == b'E' {
            self.drain_or_skip().await?;
        }
        if self.status == b'E' { Err(aborted().into()) } else { Ok(()) }
    }

    /// A named statement cannot be made twice, and there cannot be too many.
    pub(super) async fn check_name(&mut self, name: &str, stmt: &Stmt) -> Result<(), Stop> {
        if !stmt.may_end_failure() {
            self.check_not_failed().await?;
        }
        if name.is_empty() {
            return Ok(());
        }
        if self.statements.get(name).is_some() {
            // Something before it may fail, and be what the client is told.
            self.drain_or_skip().await?;
            if !stmt.may_end_failure() {
                self.check_not_failed().await?;
            }
            return Err(taken("prepared statement", name).into());
        }
        if !self.statements.has_room(stmt.weight()) {
            return Err(too_many("prepared statements").into());
        }
        Ok(())
    }

    /// Makes a name stand for a statement. PostgreSQL sees it now, so that what it says of it is told in its place.
    pub(super) async fn prepare(&mut self, name: &str, stmt: Arc<Stmt>, to: To) -> Result<(), Stop> {
        match stmt.way {
            Way::Ours | Way::Rows => self.stands_for(name, stmt, to),
            Way::Relay => drop(self.on_server(&stmt, Step::Main, to, Some(name)).await?),
            Way::Steps => {
                self.on_server(&stmt, Step::Read, To::Quiet, None).await?;
                self.on_server(&stmt, Step::Main, to, Some(name)).await?;
            }
        }
        Ok(())
    }

    fn stands_for(&mut self, name: &str, stmt: Arc<Stmt>, to: To) {
        self.statements.expect(name, Some(stmt));
        self.say_complete(b'1', to, Settles::Statement);
    }

    /// The number of one of a statement's texts on the connection, where its Parse is sent first if it is not there; `names` is the
    /// client's name that comes to stand for it.
    pub(super) async fn on_server(&mut self, stmt: &Arc<Stmt>, step: Step, to: To, names: Option<&str>) -> Result<u32, Stop> {
        let plan = stmt.text.as_ref().ok_or(super::SessionEnd::Internal)?;
        let types = stmt.upstream_types(step);
        let group = self.group;
        let mut found = self.memory().prepared.find(plan, step, types, group);
        if found == Found::Unsure {
            self.drain_or_skip().await?;
            found = self.memory().prepared.find(plan, step, types, group);
        }
        let mut keeping = stmt.shared;
        if let Found::There(number) = found {
            match names {
                None => return Ok(number),
                // PostgreSQL may refuse to prepare anything now, and only it knows: it reads the text once more, beside the one that it has.
                Some(_) if self.may_have_failed() => keeping = false,
                // The constants of its text mean the time at which they are read.
                Some(_) if self.memory().prepared.is_dated(plan, step) => {}
                Some(name) => {
                    self.stands_for(name, stmt.clone(), to);
                    return Ok(number);
                }
            }
        }
        let statement = server::statement(plan, step).ok_or(super::SessionEnd::Internal)?;
        let (key, number, close) = self.memory().prepared.add(plan, step, types, group, keeping);
        for old in close {
            self.put_close_judged(old, To::Quiet)?;
        }
        let made = Made::Judged(key, number);
        if let Err(error) = message::put_parse(
            &mut self.links.upstream.output,
            Name::new(number).as_str(),
            &statement.sql,
            types,
        ) {
            self.memory().prepared.settle(key, number, false);
            return Err(too_long(error));
        }
        if let Some(name) = names {
            self.statements.expect(name, Some(stmt.clone()));
        }
        self.expect(Expect::Parse {
            to,
            settle: names.is_some(),
            made,
        });
        Ok(number)
    }

    /// Whether the transaction in which a message sent now arrives may be one that has failed.
    fn may_have_failed(&self) -> bool {
        self.status == b'T' && self.queue.iter().any(|e| matches!(e, Expect::Sync { .. } | Expect::Query(_)))
    }

    /// The statement of that name, planned again where the catalogue or the right of its user has changed.
    /// `token` is the one of the statement that names it, if it has any.
    pub(super) async fn current(&mut self, name: &str, token: Option<&Arc<Identity>>) -> Result<Arc<Stmt>, Stop> {
        let Some(stmt) = self.statements.get(name).filter(|s| !s.by_batch).cloned() else {
            self.drain_or_skip().await?;
            return Err(no_statement(name).into());
        };
        let token = token.or(stmt.token.as_ref());
        self.acting = token.cloned();
        let wanted = self.wanted(token).await?;
        let asker = self.asker(&wanted);
        let current = self.still(stmt.generation) || self.catalog().await?.generation == stmt.generation;
        if current && asker == stmt.asker {
            return Ok(stmt);
        }
        Box::pin(self.plan_again(name, stmt, asker)).await
    }

    async fn plan_again(&mut self, name: &str, stmt: Arc<Stmt>, asker: Asker) -> Result<Arc<Stmt>, Stop> {
        let Some(source) = stmt.source.clone() else {
            return Err(changed("PREPARE it again, as a query of its own.").into());
        };
        self.drain_or_skip().await?;
        let (plans, generation, shared) = self.plan(&source, false, asker).await?;
        let origin = Origin {
            source: stmt.source.clone(),
            types: stmt.types.clone(),
            plan: plans.first().cloned(),
            generation,
            asker,
            token: stmt.token.clone(),
            shared: shared || stmt.shared,
        };
        let mut again = if stmt.by_prepare {
            Stmt::by_prepare(origin)
        } else {
            Stmt::new(origin)
        };
        let same_text = again.way == stmt.way
            && stmt.once().zip(again.once()).is_some_and(|(old, new)| {
                old.sql == new.sql && stmt.upstream_types(Step::Main) == again.upstream_types(Step::Main)
            });
        if !same_text && asker == stmt.asker && !name.is_empty() && stmt.gives_rows() {
            // Its columns may be others now, and a client that knows the old ones would misread the rows.
            return Err(changed("Prepare the statement again.").into());
        }
        if same_text {
            again.text.clone_from(&stmt.text);
        }
        let again = Arc::new(again);
        self.statements.set(name.into(), Some(again.clone()));
        Ok(again)
    }
}

/// A prepared statement whose plan does not hold any more, in PostgreSQL's words, by which drivers know to prepare it again.
fn changed(hint: &'static str) -> Refusal {
    hinted("0A000", "cached-plan", "cached plan must not change result type", hint)
}
