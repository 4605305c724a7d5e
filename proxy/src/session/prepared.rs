//! Prepared statements: a name here, a text upstream.
//!
//! Promised: a statement name stands for its plan here and its text upstream, never for one without the other; a plan made under another
//! catalogue, or for a superadmin where there is none now, is made again before it is bound.

use std::sync::Arc;

use postern_rewriter::plan::{Refusal, Run, Statement};

use super::ask::too_long;
use super::engine::Session;
use super::expect::{Expect, Settles, To};
use super::extended::too_many;
use super::statement::{Stmt, Way, run_way, step_names, way};
use super::stop::{Stop, hinted, no_statement, taken};
use crate::identity::Identity;
use crate::wire::message::{self, Target};

impl Session {
    /// A named statement cannot be made twice, and there cannot be too many.
    pub(super) fn check_name(&self, name: &str, stmt: &Stmt) -> Result<(), Refusal> {
        if name.is_empty() {
            return Ok(());
        }
        if self.statements.get(name).is_some() {
            return Err(taken("prepared statement", name));
        }
        if !self.statements.has_room(stmt.weight()) {
            return Err(too_many("prepared statements"));
        }
        Ok(())
    }

    /// Makes a statement PostgreSQL's, under that name.
    pub(super) fn prepare(&mut self, name: &str, stmt: Arc<Stmt>, to: To) -> Result<(), Stop> {
        let replaced = self.statements.get(name).map(|old| old.way);
        if let Some(Way::Steps(number)) = replaced {
            let (read, write) = step_names(number);
            self.put_close(Target::Statement(&read), To::Quiet)?;
            self.put_close(Target::Statement(&write), To::Quiet)?;
        }
        match (stmt.way, stmt.plan.as_deref().map(|p| &p.run)) {
            (Way::Relay, Some(Run::Once(statement))) => self.put_parse(name, &stmt, statement, to, Some(name)),
            (Way::Steps(number), Some(Run::PerRow(steps))) => {
                let (read, write) = step_names(number);
                self.put_parse(&read, &stmt, &steps.read, To::Quiet, None)?;
                self.put_parse(&write, &stmt, &steps.write, to, Some(name))
            }
            _ => {
                self.statements.expect(name, Some(stmt));
                self.say_complete(b'1', to, Settles::Statement);
                Ok(())
            }
        }
    }

    /// Sends Parse; `names` is the client's name that comes to stand for the statement.
    fn put_parse(
        &mut self,
        upstream: &str,
        stmt: &Arc<Stmt>,
        statement: &Statement,
        to: To,
        names: Option<&str>,
    ) -> Result<(), Stop> {
        let types = stmt.upstream_types(statement);
        message::put_parse(&mut self.links.upstream.output, upstream, &statement.sql, &types).map_err(too_long)?;
        if let Some(name) = names {
            self.statements.expect(name, Some(stmt.clone()));
        }
        self.expect(Expect::Parse {
            to,
            settle: names.is_some(),
            own: None,
        });
        Ok(())
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
        let superadmin = self.wanted(token).await?.is_super();
        if self.catalog().await?.generation == stmt.generation && superadmin == stmt.superadmin {
            return Ok(stmt);
        }
        let Some(source) = stmt.source.clone() else {
            return Err(changed("PREPARE it again, as a query of its own.").into());
        };
        self.drain_or_skip().await?;
        let (plans, generation) = self.plan(&source, false, superadmin).await?;
        let plan = plans.first().cloned();
        let way = match plan.as_deref() {
            None => Way::Ours,
            Some(plan) if stmt.by_prepare => run_way(plan, &mut self.next_number),
            Some(plan) => way(plan, &mut self.next_number),
        };
        let again = Stmt {
            source: stmt.source.clone(),
            types: stmt.types.clone(),
            plan,
            way,
            generation,
            superadmin,
            token: stmt.token.clone(),
            by_prepare: stmt.by_prepare,
            by_batch: false,
        };
        let same_text = stmt.way == Way::Relay
            && way == Way::Relay
            && stmt
                .once()
                .zip(again.once())
                .is_some_and(|(old, new)| old.sql == new.sql && stmt.upstream_types(old) == again.upstream_types(new));
        let again = Arc::new(again);
        if same_text {
            self.statements.set(name.into(), Some(again.clone()));
            return Ok(again);
        }
        if superadmin == stmt.superadmin && !name.is_empty() && stmt.gives_rows() {
            // Its columns may be others now, and a client that knows the old ones would misread the rows.
            return Err(changed("Prepare the statement again.").into());
        }
        if stmt.way == Way::Relay {
            self.put_close(Target::Statement(name), To::Quiet)?;
        }
        self.prepare(name, again.clone(), To::Quiet)?;
        Ok(again)
    }
}

/// A prepared statement whose plan does not hold any more, in PostgreSQL's words, by which drivers know to prepare it again.
fn changed(hint: &'static str) -> Refusal {
    hinted("0A000", "cached-plan", "cached plan must not change result type", hint)
}
