//! The extended protocol: Parse, Bind, Execute, Close.
//!
//! Promised: a Bind is relayed as it is only where nothing in it must be understood; a portal is run for the user it was bound for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use postern_config::names::RESERVED_PREFIX;
use postern_rewriter::leading_token;
use postern_rewriter::plan::{Effect, Refusal, Transaction};

use super::ask::too_long;
use super::engine::Session;
use super::expect::{After, Execute, Expect, Mode, Settles, To};
use super::names::{MAX_NAME, alike};
use super::plans::Asker;
use super::server::{Name, Step};
use super::statement::{Cursor, Given, Offered, Origin, Portal, Stmt, Values, Way, declared_type, misread, only_reads};
use super::stop::{Stop, hinted, no_portal, refusal};
use crate::identity::Identity;
use crate::wire::frame::HEADER;
use crate::wire::message::{self, Bind, Formats, Parse, Target};

/// A name that the client may give: names of ours are nobody else's, and PostgreSQL must keep the whole of it.
pub(super) fn usable(name: &str) -> Result<(), Refusal> {
    if name.len() > MAX_NAME {
        return Err(hinted(
            "42622",
            "name",
            format!("a statement's or portal's name is longer than {MAX_NAME} bytes"),
            "Choose a shorter name.",
        ));
    }
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
        usable(name)?;
        let (token, text) = self.token_of(sql).await?;
        let wanted = self.wanted(token.as_ref()).await?;
        self.check_valid_if(token.as_ref())?;
        let asker = self.asker(&wanted);
        let again = match token {
            None if name.is_empty() => self.unnamed_again(text, &types, asker),
            _ => None,
        };
        let stmt = match again {
            Some(stmt) => {
                self.shared.metrics.plan_cache(true);
                stmt
            }
            None => {
                let (plans, generation, shared) = self.plan(text, false, asker).await.map_err(|stop| stop.behind(sql, text))?;
                Arc::new(Stmt::new(Origin {
                    source: Some(Arc::from(text)),
                    types,
                    plan: plans.first().cloned(),
                    generation,
                    asker,
                    token,
                    shared: shared || !name.is_empty(),
                }))
            }
        };
        if name.is_empty() && !self.statements.has_room(stmt.weight()) {
            // Of the unnamed one only the last stays; those before it must not pile up.
            self.drain_or_skip().await?;
        }
        if matches!(stmt.effect(), Effect::ExecuteComputed(_)) {
            return Err(super::computed::by_itself().into());
        }
        self.check_name(name, &stmt).await?;
        if let Some(plan) = &stmt.plan {
            self.check_mode(plan).await?;
        }
        if stmt.needs_identity() && !self.open {
            // Now is the time at which it can be set for the session rather than for one transaction.
            self.ensure_identity(&wanted).await?;
        } else if *stmt.effect() == Effect::Transaction(Transaction::Begin) {
            self.ensure_ahead_of_begin(&wanted).await?;
        }
        self.prepare(name, stmt, To::Client).await
    }

    /// The unnamed statement, where it is what this Parse asks for and would be judged so again: many clients send the same text each time.
    fn unnamed_again(&self, text: &str, types: &[u32], asker: Asker) -> Option<Arc<Stmt>> {
        let stmt = self.statements.get("")?;
        let same = stmt.source.as_deref() == Some(text)
            && alike(&stmt.types, types)
            && stmt.asker == asker
            && stmt.token.is_none()
            && stmt.shared
            && !stmt.by_prepare
            && !stmt.by_batch
            && self.still(stmt.generation);
        same.then(|| stmt.clone())
    }

    /// The identity of a text's leading token comment, and the text without it.
    pub(super) async fn token_of<'s>(&mut self, sql: &'s str) -> Result<(Option<Arc<Identity>>, &'s str), Stop> {
        match leading_token(sql)? {
            None => Ok((None, sql)),
            Some((token, rest)) => {
                self.acting = Some(Box::pin(self.verify_token(token)).await?);
                Ok((self.acting.clone(), rest))
            }
        }
    }

    fn check_valid_if(&self, token: Option<&Arc<Identity>>) -> Result<(), Stop> {
        token.map_or(Ok(()), |t| self.check_valid(t, std::time::SystemTime::now()))
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

    /// Bind from the client.
    pub(super) async fn on_bind(&mut self, whole: &[u8]) -> Result<(), Stop> {
        let body = &whole[HEADER..];
        let (portal, name) = Bind::names(body).map_err(misread)?;
        usable(portal)?;
        usable(name)?;
        let stmt = self.current(name, None).await?;
        if stmt.passes() && matches!(stmt.effect(), Effect::None) {
            self.check_portal(portal, 0)?;
            let identity = self.wanted(stmt.token.as_ref()).await?;
            self.ensure_identity(&identity).await?;
            let number = self.on_server(&stmt, Step::Main, To::Quiet, None).await?;
            message::put_renamed_bind(
                &mut self.links.upstream.output,
                body,
                portal,
                name,
                Name::new(number).as_str(),
            )
            .map_err(too_long)?;
            let bound = Portal {
                stmt,
                given: Given::nothing(),
                results: Formats::default(),
                reading: None,
                identity: Some(identity),
                cursor: None,
                upstream: true,
                ran: AtomicBool::new(false),
            };
            self.portals.expect(portal, Some(Arc::new(bound)));
            self.expect(Expect::Bind {
                to: To::Client,
                settle: true,
            });
            return Ok(());
        }
        let Bind {
            formats,
            values,
            results,
            ..
        } = Bind::decode(body).map_err(misread)?;
        if values.len() != stmt.params() {
            let message = format!(
                "bind message supplies {} parameters, but prepared statement \"{name}\" requires {}",
                values.len(),
                stmt.params()
            );
            return Err(refusal("08P01", "protocol", message).into());
        }
        let offered = Offered::Bind(body, Values { formats, values });
        Box::pin(self.bind(portal, stmt, offered, results, To::Client))
            .await
            .map(drop)
    }

    /// Execute from the client.
    pub(super) async fn on_execute(&mut self, whole: &[u8]) -> Result<(), Stop> {
        let (name, rows) = message::execute(&whole[HEADER..]).map_err(misread)?;
        usable(name)?;
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
        if let Some(plan) = &stmt.plan {
            self.check_mode(plan).await?;
        }
        if let Some(bound_for) = &portal.identity {
            let wanted = self.wanted(stmt.token.as_ref()).await?;
            if !super::identity::same_user(bound_for, &wanted) {
                return Err(other_user().into());
            }
            self.ensure_identity(&wanted).await?;
        }
        if let Effect::Fetch(cursor) = stmt.effect() {
            let now = self.open_cursor(cursor).await?;
            if !portal.cursor.as_ref().is_some_and(|bound| Arc::ptr_eq(bound, &now)) {
                return Err(other_cursor().into());
            }
        }
        match stmt.way {
            Way::Ours => Box::pin(self.run_ours(stmt, &portal.given, simple)).await,
            Way::Rows => {
                let identity = portal.identity.clone().ok_or(super::SessionEnd::Internal)?;
                Box::pin(self.begin_fill(stmt, identity, false)).await
            }
            Way::Steps if portal.ran.swap(true, Ordering::Relaxed) => {
                Err(refusal("55000", "portal", format!("portal \"{name}\" cannot be run")).into())
            }
            Way::Steps => Box::pin(self.per_row(portal)).await,
            Way::Relay => {
                let Some((plan, statement)) = stmt.plan.as_ref().zip(stmt.once()) else {
                    return Err(super::SessionEnd::Internal.into());
                };
                let after = match stmt.effect() {
                    Effect::None => After::Nothing,
                    Effect::Declare(cursor) => {
                        let opened = Cursor {
                            plan: plan.clone(),
                            reading: portal.reading.clone(),
                            identity: portal.identity.clone(),
                        };
                        if !self.cursors.has_room(opened.weight()) {
                            return Err(too_many("cursors").into());
                        }
                        // A portal of that name that a rollback took away is not what Execute of that name means from now on.
                        self.portals.expect(cursor, None);
                        self.say_complete(b'3', To::Quiet, Settles::Portal);
                        After::Declare(cursor.clone(), Arc::new(opened))
                    }
                    _ => After::Effect(plan.clone()),
                };
                if *stmt.effect() == Effect::Transaction(Transaction::Commit) {
                    self.check_before_commit().await?;
                }
                let declares = matches!(after, After::Declare(..));
                self.checks |= portal.reading.is_some() && !declares;
                self.writes |= !only_reads(&statement.sql);
                self.foresee(stmt.effect());
                self.sends_copy(stmt.effect());
                if matches!(stmt.effect(), Effect::CopyOpened(_))
                    && let Some(reading) = &portal.reading
                {
                    self.begin_copy(name, reading)?;
                }
                let audited = portal.identity.as_ref().filter(|i| i.is_super()).map(|_| plan.clone());
                let execute = Execute {
                    mode: Mode::Tell,
                    audited,
                    reading: portal.reading.clone().filter(|_| !declares),
                    after,
                    identity: portal.identity.clone(),
                    started: Some(Instant::now()),
                };
                // COPY has no portal that could be suspended.
                let rows = if matches!(stmt.effect(), Effect::CopyOpened(_)) {
                    0
                } else {
                    rows
                };
                self.put_execute(name, rows, execute);
                Ok(())
            }
        }
    }

    /// Close from the client.
    pub(super) async fn on_close(&mut self, whole: &[u8]) -> Result<(), Stop> {
        let target = Target::decode(&whole[HEADER..]).map_err(misread)?;
        usable(target.name())?;
        match target {
            Target::Statement(name) => {
                self.close_statement(name, To::Client);
                Ok(())
            }
            Target::Portal(name) => {
                let ours = self.links.server.is_none() || self.portals.get(name).is_some_and(|p| !p.upstream);
                self.portals.expect(name, None);
                if ours {
                    self.say_complete(b'3', To::Client, Settles::Portal);
                } else {
                    message::put_target(&mut self.links.upstream.output, b'C', target).map_err(too_long)?;
                    self.expect(Expect::Close {
                        to: To::Client,
                        settle: Some(Settles::Portal),
                        number: None,
                    });
                }
                Ok(())
            }
        }
    }

    /// Closes a statement; one that is not there is closed already.
    fn close_statement(&mut self, name: &str, to: To) {
        // What it stands for on the connection stays there, under a name that no client can give.
        self.statements.expect(name, None);
        self.say_complete(b'3', to, Settles::Statement);
    }
}

/// A bound of the session is reached.
pub(super) fn too_many(what: &'static str) -> Refusal {
    hinted(
        "53000",
        "too-many-names",
        format!("too many {what}, or too much in them"),
        "Close those that are not needed.",
    )
}

fn other_cursor() -> Refusal {
    hinted(
        "34000",
        "other-cursor",
        "the cursor is another one than when FETCH was bound",
        "Bind the FETCH again.",
    )
}

pub(super) fn other_user() -> Refusal {
    hinted(
        "42501",
        "other-user",
        "the cursor was opened for another user",
        "Open it again.",
    )
}
