//! Portals: a statement, the values for it, and how its rows will be read.
//!
//! Promised: values for protected columns go upstream sealed or as tags; rows are read by the plan they were bound with and for the user
//! they were bound for; a cursor's rows are those of its declaration, whoever names it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use postern_config::TableRef;
use postern_rewriter::plan::{Effect, Refusal, Transaction};

use super::bind::{Binder, Source};
use super::engine::Session;
use super::expect::{Expect, Settles, To};
use super::extended::{other_user, too_many};
use super::rows::Reading;
use super::server::{Name, Step};
use super::statement::{Cursor, Given, Offered, Portal, Stmt, Way, output};
use super::stop::{Stop, hinted, taken};
use crate::identity::Identity;
use crate::wire::message::Formats;

impl Session {
    /// Binds: to PostgreSQL's statement, or for us to carry out.
    pub(super) async fn bind(
        &mut self,
        portal: &str,
        stmt: Arc<Stmt>,
        offered: Offered<'_>,
        results: Formats,
        to: To,
    ) -> Result<Arc<Portal>, Stop> {
        let (stmt, offered) = match stmt.effect() {
            Effect::Execute(inner, arguments) => {
                let inner_stmt = self.prepared(inner, stmt.token.as_ref()).await?;
                inner_stmt.takes(inner, arguments.len())?;
                let inner_stmt = match &stmt.token {
                    // A token comment holds for what its statement runs.
                    Some(token) => Arc::new(inner_stmt.with_token(token)),
                    None => inner_stmt,
                };
                (inner_stmt, Offered::Texts(arguments.clone()))
            }
            _ => (stmt, offered),
        };
        if portal.is_empty() && !self.portals.has_room(offered.bytes()) {
            // Of the unnamed one only the last stays; those before it must not pile up.
            self.drain_or_skip().await?;
        }
        self.check_portal(portal, offered.bytes())?;
        if stmt.uses_keys() || matches!(stmt.effect(), Effect::Fetch(_)) {
            self.settle_zone().await?;
        }
        let identity = match stmt.needs_identity() || stmt.way == Way::Steps {
            true => {
                let wanted = self.wanted(stmt.token.as_ref()).await?;
                self.ensure_identity(&wanted).await?;
                Some(wanted)
            }
            false => None,
        };
        if *stmt.effect() == Effect::Transaction(Transaction::Begin) {
            let wanted = self.wanted(None).await?;
            self.ensure_ahead_of_begin(&wanted).await?;
        }
        if stmt.way != Way::Relay {
            self.check_not_failed().await?;
        }
        if stmt.way != Way::Relay && !portal.is_empty() && self.portals.get(portal).is_some() {
            return Err(taken("cursor", portal).into());
        }
        let (all_text, texts);
        let (formats, values) = match &offered {
            Offered::Bind(_, given) => (&given.formats, &*given.values),
            Offered::Texts(given) => {
                texts = given.iter().map(|t| t.as_deref().map(str::as_bytes)).collect::<Vec<_>>();
                all_text = Formats::default();
                (&all_text, &*texts)
            }
        };
        let reading = match stmt.way {
            Way::Ours | Way::Rows => None,
            Way::Relay | Way::Steps => self
                .reading(&stmt, (formats, values), &results, identity.as_ref())
                .await?
                .map(Arc::new),
        };
        let cursor = match stmt.effect() {
            Effect::Fetch(name) => self.cursors.get(name).cloned(),
            _ => None,
        };
        let bound = match stmt.once() {
            Some(statement) if stmt.way == Way::Relay => {
                let asked = match &reading {
                    Some(reading) if !matches!(stmt.effect(), Effect::Declare(_)) => reading.upstream_formats(),
                    _ => results.given().into(),
                };
                let drawn = self.draw(&statement.generate).await?;
                let number = self.on_server(&stmt, Step::Main, To::Quiet, None).await?;
                let mut binder = Binder {
                    source: Source {
                        ring: &self.shared.keys,
                        session: self.settings.format(),
                        manifest: &self.manifest,
                        identity: identity.as_deref(),
                        values,
                        formats,
                        types: &stmt.types,
                        drawn: &drawn,
                        row: None,
                    },
                    nonces: &mut self.nonces,
                    sealed: 0,
                };
                binder.put_bind(
                    &mut self.links.upstream.output,
                    portal,
                    Name::new(number).as_str(),
                    statement,
                    &asked,
                )?;
                self.shared.metrics.sealed(binder.sealed);
                let stmt = stmt.clone();
                Arc::new(Portal {
                    stmt,
                    given: Given::nothing(),
                    results,
                    reading,
                    identity,
                    cursor,
                    upstream: true,
                    ran: AtomicBool::new(false),
                })
            }
            _ => Arc::new(Portal {
                stmt,
                given: offered.keep(),
                results,
                reading,
                identity,
                cursor: None,
                upstream: false,
                ran: AtomicBool::new(false),
            }),
        };
        self.portals.expect(portal, Some(bound.clone()));
        match bound.upstream {
            true => self.expect(Expect::Bind { to, settle: true }),
            false => self.say_complete(b'2', to, Settles::Portal),
        }
        Ok(bound)
    }

    /// There cannot be too many portals, nor too many bytes in them.
    pub(super) fn check_portal(&self, name: &str, bytes: usize) -> Result<(), Refusal> {
        if name.is_empty() || self.portals.has_room(bytes) {
            return Ok(());
        }
        Err(too_many("portals"))
    }

    /// Waits until PostgreSQL has reported the `TimeZone` and `DateStyle` that it has, which it does at the end of a group of statements.
    pub(super) async fn settle_zone(&mut self) -> Result<(), Stop> {
        if self.zone.unsure {
            self.drain_or_skip().await?;
        }
        if self.zone.unsure {
            return Err(hinted(
                "0A000",
                "zone",
                "values of protected columns cannot be read or written in the group of statements that changes TimeZone or DateStyle",
                "Send the SET as a query of its own, ahead of the others.",
            )
            .into());
        }
        Ok(())
    }

    /// How the rows of what is bound are read; for DECLARE, those of its cursor.
    async fn reading(
        &mut self,
        stmt: &Arc<Stmt>,
        (formats, values): (&Formats, &[Option<&[u8]>]),
        results: &Formats,
        identity: Option<&Arc<Identity>>,
    ) -> Result<Option<Reading>, Stop> {
        if let Effect::Fetch(name) = stmt.effect() {
            let cursor = self.open_cursor(name).await?;
            self.check_cursor(&cursor, identity)?;
            return Ok(cursor.reading.as_ref().map(|r| r.in_formats(results)).transpose()?);
        }
        let Some(plan) = &stmt.plan else { return Ok(None) };
        let Some(output) = output(plan) else {
            return Ok(None);
        };
        let source = Source {
            ring: &self.shared.keys,
            session: self.settings.format(),
            manifest: &self.manifest,
            identity: identity.map(|i| &**i),
            values,
            formats,
            types: &stmt.types,
            drawn: &[],
            row: None,
        };
        let doors = source.doors(output)?;
        let text = Formats::default();
        let copied;
        let results = match stmt.effect() {
            Effect::Declare(_) => &text,
            Effect::CopyOpened(form) => {
                copied = super::copy_rows::formats(form);
                &copied
            }
            _ => results,
        };
        Ok(Reading::new(plan, results, &self.shared.keys, doors, &stmt.described)?)
    }

    fn check_cursor(&self, cursor: &Cursor, identity: Option<&Arc<Identity>>) -> Result<(), Refusal> {
        match (&cursor.identity, identity) {
            (Some(opened), Some(now)) if !super::identity::same_user(opened, now) => Err(other_user()),
            _ => Ok(()),
        }
    }

    /// Draws one value from each of the sequences.
    pub(super) async fn draw(&self, sequences: &[TableRef]) -> Result<Vec<i64>, Stop> {
        let mut drawn = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            let value = self.shared.sequences.draw(sequence).await.map_err(|error| {
                tracing::warn!(%error, %sequence, "a key could not be drawn");
                hinted(
                    "58000",
                    "sequence",
                    "a key could not be drawn from the table's sequence",
                    error.remedy(),
                )
            })?;
            drawn.push(value);
        }
        Ok(drawn)
    }
}
