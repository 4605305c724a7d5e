//! The extended protocol: Parse, Bind, Execute, Close.
//!
//! Promised: a statement name stands for its plan here and its text upstream, never for one without the other; a Bind is relayed as it is
//! only where nothing in it must be understood; a plan made under another catalogue is made again before it is bound.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use postern_config::names::RESERVED_PREFIX;
use postern_rewriter::leading_token;
use postern_rewriter::plan::{Effect, Refusal, Run, Statement, Transaction};

use super::ask::too_long;
use super::engine::Session;
use super::expect::{After, Execute, Expect, Mode, Settles, To};
use super::statement::{Cursor, Given, Portal, Stmt, Way, declared_type, misread, only_reads, step_names, way};
use super::stop::{Stop, hinted, no_portal, no_statement, refusal, taken};
use crate::identity::Identity;
use crate::wire::frame::HEADER;
use crate::wire::message::{self, Bind, Formats, Parse, Target};

/// Names of one kind at most.
pub(super) const MAX_NAMES: usize = 32_768;

/// Names of ours are nobody else's.
pub(super) fn unreserved(name: &str) -> Result<(), Refusal> {
    if name.starts_with(RESERVED_PREFIX) {
        return Err(hinted(
            "42939",
            "reserved-name",
            "names that start with postern$ are reserved",
            "Choose another name.",
        ));
    }
    Ok(())
}

impl Session {
    /// Parse from the client.
    pub(super) async fn on_parse(&mut self, body: &[u8]) -> Result<(), Stop> {
        let Parse { name, sql, types } = Parse::decode(body).map_err(misread)?;
        let types: Vec<u32> = types.into_iter().map(declared_type).collect();
        unreserved(name)?;
        let (token, text) = self.token_of(sql).await?;
        let wanted = self.identities.wanted(token.as_ref());
        self.check_valid_if(token.as_ref())?;
        let superadmin = wanted.is_super();
        let (plans, generation) = self
            .plan(text, false, superadmin)
            .await
            .map_err(|stop| stop.behind(sql, text))?;
        self.check_name(name)?;
        let plan = plans.first().cloned();
        let way = plan.as_deref().map_or(Way::Ours, |p| way(p, &mut self.next_number));
        let source = Some(Arc::from(text));
        let stmt = Stmt {
            source,
            types,
            plan,
            way,
            generation,
            superadmin,
            token,
            by_prepare: false,
        };
        if stmt.needs_identity() && !self.open {
            // Now is the time at which it can be set for the session rather than for one transaction.
            self.ensure_identity(&wanted).await?;
        } else if *stmt.effect() == Effect::Transaction(Transaction::Begin) {
            self.ensure_ahead_of_begin(&wanted).await?;
        }
        self.prepare(name, Arc::new(stmt), To::Client)
    }

    /// The identity of a text's leading token comment, and the text without it.
    pub(super) async fn token_of<'s>(&mut self, sql: &'s str) -> Result<(Option<Arc<Identity>>, &'s str), Stop> {
        match leading_token(sql)? {
            None => Ok((None, sql)),
            Some((token, rest)) => {
                self.acting = Some(self.verify_token(token).await?);
                Ok((self.acting.clone(), rest))
            }
        }
    }

    fn check_valid_if(&self, token: Option<&Arc<Identity>>) -> Result<(), Stop> {
        token.map_or(Ok(()), |t| self.check_valid(t, std::time::SystemTime::now()))
    }

    /// A named statement cannot be made twice, and there cannot be too many.
    pub(super) fn check_name(&self, name: &str) -> Result<(), Refusal> {
        if name.is_empty() {
            return Ok(());
        }
        if self.statements.get(name).is_some() {
            return Err(taken("prepared statement", name));
        }
        if self.statements.len() >= MAX_NAMES {
            return Err(hinted(
                "53000",
                "too-many-names",
                "too many prepared statements",
                "Close those that are not needed.",
            ));
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

    /// A completion of ours; where the client did not ask, only the name is settled.
    pub(super) fn say_complete(&mut self, kind: u8, to: To, settles: Settles) {
        match to {
            To::Client => self.say_bare(kind, Some(settles)),
            _ => self.expect(Expect::Say {
                bytes: Bytes::new(),
                settle: Some(settles),
            }),
        }
    }

    /// The statement of that name, planned again where the catalogue or the right of its user has changed.
    pub(super) async fn current(&mut self, name: &str) -> Result<Arc<Stmt>, Stop> {
        let Some(stmt) = self.statements.get(name).cloned() else {
            self.drain_or_skip().await?;
            return Err(no_statement(name).into());
        };
        self.acting.clone_from(&stmt.token);
        let Some(source) = stmt.source.clone() else { return Ok(stmt) };
        let superadmin = self.identities.wanted(stmt.token.as_ref()).is_super();
        if self.catalog().await?.generation == stmt.generation && superadmin == stmt.superadmin {
            return Ok(stmt);
        }
        self.drain_or_skip().await?;
        let (plans, generation) = self.plan(&source, false, superadmin).await?;
        let plan = plans.first().cloned();
        let way = plan.as_deref().map_or(Way::Ours, |p| way(p, &mut self.next_number));
        let again = Stmt {
            source: stmt.source.clone(),
            types: stmt.types.clone(),
            plan,
            way,
            generation,
            superadmin,
            token: stmt.token.clone(),
            by_prepare: stmt.by_prepare,
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
        if stmt.way == Way::Relay {
            self.put_close(Target::Statement(name), To::Quiet)?;
        }
        self.prepare(name, again.clone(), To::Quiet)?;
        Ok(again)
    }

    /// Bind from the client.
    pub(super) async fn on_bind(&mut self, whole: &[u8]) -> Result<(), Stop> {
        let body = &whole[HEADER..];
        let (portal, name) = Bind::names(body).map_err(misread)?;
        unreserved(portal)?;
        unreserved(name)?;
        let stmt = self.current(name).await?;
        if stmt.passes() && matches!(stmt.effect(), Effect::None) {
            let identity = self.identities.wanted(stmt.token.as_ref());
            self.ensure_identity(&identity).await?;
            self.links.upstream.output.extend_from_slice(whole);
            let bound = Portal {
                stmt,
                given: Given::nothing(),
                results: Formats::default(),
                reading: None,
                identity: Some(identity),
                upstream: true,
            };
            self.portals.expect(portal, Some(Arc::new(bound)));
            self.expect(Expect::Bind {
                to: To::Client,
                settle: true,
            });
            return Ok(());
        }
        let Bind { values, results, .. } = Bind::decode(body).map_err(misread)?;
        if values.len() != stmt.params() {
            let message = format!(
                "bind message supplies {} parameters, but prepared statement \"{name}\" requires {}",
                values.len(),
                stmt.params()
            );
            return Err(refusal("08P01", "protocol", message).into());
        }
        let given = Given::Bind(Bytes::copy_from_slice(body));
        self.bind(portal, name, stmt, given, results, To::Client).await.map(drop)
    }

    /// Execute from the client.
    pub(super) async fn on_execute(&mut self, whole: &[u8]) -> Result<(), Stop> {
        let (name, rows) = message::execute(&whole[HEADER..]).map_err(misread)?;
        unreserved(name)?;
        match self.portals.get(name).cloned() {
            Some(portal) => self.execute(name, &portal, rows, false).await,
            None => {
                self.drain_or_skip().await?;
                match self.cursors.get(name) {
                    Some(_) => Err(hinted(
                        "0A000",
                        "cursor",
                        "a cursor of DECLARE cannot be run by Execute",
                        "Use FETCH.",
                    )
                    .into()),
                    None => Err(no_portal(name).into()),
                }
            }
        }
    }

    /// Runs a portal. `simple`: the answer is to a simple query.
    pub(super) async fn execute(&mut self, name: &str, portal: &Arc<Portal>, rows: i32, simple: bool) -> Result<(), Stop> {
        let stmt = &portal.stmt;
        if let Some(bound_for) = &portal.identity {
            let wanted = self.identities.wanted(stmt.token.as_ref());
            if !super::identity::same_user(bound_for, &wanted) {
                return Err(other_user().into());
            }
            self.ensure_identity(&wanted).await?;
        }
        match stmt.way {
            Way::Ours => self.run_ours(stmt, &portal.given, simple).await,
            Way::Steps(number) => self.per_row(portal, number).await,
            Way::Relay => {
                let Some((plan, statement)) = stmt.plan.as_ref().zip(stmt.once()) else {
                    return Err(super::SessionEnd::Internal.into());
                };
                let after = match stmt.effect() {
                    Effect::None => After::Nothing,
                    Effect::Declare(cursor) => {
                        if self.cursors.len() >= MAX_NAMES {
                            return Err(hinted(
                                "53000",
                                "too-many-names",
                                "too many cursors",
                                "Close those that are not needed.",
                            )
                            .into());
                        }
                        let opened = Cursor {
                            plan: plan.clone(),
                            reading: portal.reading.clone(),
                            identity: portal.identity.clone(),
                        };
                        After::Declare(cursor.clone(), Arc::new(opened))
                    }
                    _ => After::Effect(plan.clone()),
                };
                let declares = matches!(after, After::Declare(..));
                self.checks |= portal.reading.is_some() && !declares;
                self.writes |= !only_reads(&statement.sql);
                self.foresee(stmt.effect());
                let audited = portal.identity.as_ref().filter(|i| i.is_super()).map(|_| plan.clone());
                let execute = Execute {
                    mode: Mode::Tell,
                    audited,
                    reading: portal.reading.clone().filter(|_| !declares),
                    after,
                    identity: portal.identity.clone(),
                    started: Some(Instant::now()),
                };
                self.put_execute(name, rows, execute);
                Ok(())
            }
        }
    }

    /// What must be known of a statement's effect before its reply is there.
    pub(super) fn foresee(&mut self, effect: &Effect) {
        match effect {
            Effect::Ddl => self.catalog_dirty = true,
            Effect::DiscardAll => {
                self.catalog_dirty = true;
                self.role_lost = self.works_as_owner();
            }
            Effect::Transaction(_) if self.ddl_in_transaction => self.catalog_dirty = true,
            _ => {}
        }
    }

    /// Close from the client.
    pub(super) async fn on_close(&mut self, whole: &[u8]) -> Result<(), Stop> {
        let target = Target::decode(&whole[HEADER..]).map_err(misread)?;
        unreserved(target.name())?;
        match target {
            Target::Statement(name) => self.close_statement(name, To::Client),
            Target::Portal(name) => {
                let ours = self.portals.get(name).is_some_and(|p| !p.upstream);
                self.portals.expect(name, None);
                if ours {
                    self.say_complete(b'3', To::Client, Settles::Portal);
                } else {
                    message::put_target(&mut self.links.upstream.output, b'C', target).map_err(too_long)?;
                    self.expect(Expect::Close {
                        to: To::Client,
                        settle: Some(Settles::Portal),
                    });
                }
                Ok(())
            }
        }
    }

    /// Closes a statement; one that is not there is closed already.
    pub(super) fn close_statement(&mut self, name: &str, to: To) -> Result<(), Stop> {
        let upstream = match self.statements.get(name).map(|s| s.way) {
            Some(Way::Steps(number)) => {
                let (read, write) = step_names(number);
                self.put_close(Target::Statement(&read), To::Quiet)?;
                Some(write)
            }
            Some(Way::Ours) => None,
            Some(Way::Relay) | None => Some(name.to_owned()),
        };
        self.statements.expect(name, None);
        match upstream {
            Some(upstream) => {
                message::put_target(&mut self.links.upstream.output, b'C', Target::Statement(&upstream)).map_err(too_long)?;
                self.expect(Expect::Close {
                    to,
                    settle: Some(Settles::Statement),
                });
            }
            None => self.say_complete(b'3', to, Settles::Statement),
        }
        Ok(())
    }
}

pub(super) fn other_user() -> Refusal {
    hinted(
        "42501",
        "other-user",
        "the cursor was opened for another user",
        "Open it again.",
    )
}
