//! `COPY … FROM STDIN` into a declared table: the client's rows become INSERTs of one judged statement.
//!
//! Promised: a row meets what an INSERT of it would meet (policies' checks, defaults, sealing); all rows are written or none, also where the
//! client gives up or its data is no rows; the client is told what PostgreSQL's COPY would tell it. The data streams: what is held is the
//! data of one message, one row, and what PostgreSQL has not taken yet.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use postern_rewriter::plan::{Effect, Refusal};

use super::SessionEnd;
use super::ask::{PORTAL, too_long};
use super::bind::{Binder, Source};
use super::engine::{Counted, Session};
use super::expect::{Execute, Expect, Mode, To};
use super::link::HIGH_WATER;
use super::server::{Name, Step};
use super::statement::{Stmt, Values, misread};
use super::stop::{Stop, aborted, refusal};
use crate::identity::Identity;
use crate::wire::copy::{CopyError, Row, Rows};
use crate::wire::message::{self, Format, Formats, Target};

/// Replies that may be due at once.
const MAX_DUE: usize = 2048;

/// Such a COPY under way.
pub(super) struct Fill {
    stmt: Arc<Stmt>,
    identity: Arc<Identity>,
    rows: Rows,
    row: Row,
    /// It was a Query: what ends it ends with ReadyForQuery.
    simple: bool,
    started: Instant,
}

impl Session {
    /// Asks the client for its rows, once PostgreSQL has taken the statement.
    pub(super) async fn begin_fill(&mut self, stmt: &Arc<Stmt>, identity: Arc<Identity>, simple: bool) -> Result<(), Stop> {
        let Effect::CopyRows(layout) = stmt.effect() else {
            return Err(SessionEnd::Internal.into());
        };
        self.drain_or_skip().await?;
        if self.status == b'E' {
            return Err(aborted().into());
        }
        if stmt.uses_keys() {
            self.settle_zone().await?;
        }
        self.on_server(stmt, Step::Main, To::Quiet, None).await?;
        self.drain_or_skip().await?;
        let rows = Rows::new((**layout).clone(), self.shared.config.settings.limits.max_frame_bytes);
        let format = if rows.is_binary() { Format::Binary } else { Format::Text };
        message::put_copy_in_response(&mut self.links.client.output, format, rows.columns()).map_err(too_long)?;
        self.counted = Counted::default();
        self.fill = Some(Box::new(Fill {
            stmt: stmt.clone(),
            identity,
            rows,
            row: Row::default(),
            simple,
            started: Instant::now(),
        }));
        Ok(())
    }

    /// A message of the client while its rows are taken.
    pub(super) async fn feed_fill(&mut self, kind: u8, body: &[u8]) -> Result<(), SessionEnd> {
        let Some(mut fill) = self.fill.take() else {
            return Err(SessionEnd::Internal);
        };
        let simple = fill.simple;
        match self.fed(&mut fill, kind, body).await {
            Ok(false) => {
                self.fill = Some(fill);
                return Ok(());
            }
            Ok(true) => {}
            Err(stop) => Box::pin(self.stopped(stop)).await?,
        }
        if simple { self.finish_group().await } else { Ok(()) }
    }

    /// Ends it where PostgreSQL has refused a row: the rest of the data is nothing.
    pub(super) async fn end_failed_fill(&mut self) -> Result<(), SessionEnd> {
        match self.fill.take() {
            Some(fill) if fill.simple => self.finish_group().await,
            _ => Ok(()),
        }
    }

    /// Answers whether it is over.
    async fn fed(&mut self, fill: &mut Fill, kind: u8, body: &[u8]) -> Result<bool, Stop> {
        match kind {
            b'd' => fill.rows.feed(body),
            b'c' => fill.rows.finish(),
            b'f' => {
                let told = message::copy_fail(body).map_err(misread)?;
                return Err(refusal("57014", "copy-fail", format!("COPY from stdin failed: {told}")).into());
            }
            // PostgreSQL takes no notice of these here, for the sake of clients that send them early.
            b'S' | b'H' => return Ok(false),
            _ => {
                let message = format!("unexpected message type 0x{kind:02X} during COPY from stdin");
                return Err(refusal("08P01", "protocol", message).into());
            }
        }
        // A client may take its time, and its token end or be revoked meanwhile.
        self.check_valid(&fill.identity, SystemTime::now())?;
        while fill.rows.next(&mut fill.row).map_err(unreadable)? {
            self.write_copied(fill).await?;
        }
        if kind != b'c' {
            return Ok(false);
        }
        self.drain_or_skip().await?;
        let tag = format!("COPY {}", self.counted.rows);
        self.writes = true;
        if let Some(plan) = fill.stmt.plan.as_deref().filter(|_| fill.identity.is_super()) {
            self.audit_statement(&fill.identity, plan, format!("{tag}\0").as_bytes());
        }
        let protocol = if fill.simple { "simple" } else { "extended" };
        self.shared.metrics.query(protocol, fill.started.elapsed());
        self.say(None, |out| message::put_command_complete(out, &tag))?;
        Ok(true)
    }

    /// Binds and runs the statement for one row.
    async fn write_copied(&mut self, fill: &Fill) -> Result<(), Stop> {
        let statement = fill.stmt.once().ok_or(SessionEnd::Internal)?;
        let drawn = self.draw(&statement.generate).await?;
        let number = self.on_server(&fill.stmt, Step::Main, To::Quiet, None).await?;
        let values = Values {
            formats: match fill.rows.is_binary() {
                true => Formats::new(&[Format::Binary]),
                false => Formats::default(),
            },
            values: fill.row.fields().collect(),
        };
        let mut binder = Binder {
            source: Source {
                ring: &self.shared.keys,
                session: self.settings.format(),
                manifest: &self.manifest,
                identity: Some(&fill.identity),
                values: &values.values,
                formats: &values.formats,
                types: &[],
                drawn: &drawn,
                row: None,
            },
            nonces: &mut self.nonces,
            sealed: 0,
        };
        let out = &mut self.links.upstream.output;
        binder.put_bind(out, PORTAL, Name::new(number).as_str(), statement, &[])?;
        self.shared.metrics.sealed(binder.sealed);
        self.expect(Expect::Bind {
            to: To::Quiet,
            settle: false,
        });
        let mut execute = Execute::new(Mode::Count);
        execute.identity = Some(fill.identity.clone());
        self.put_execute(PORTAL, 0, execute);
        self.put_close(Target::Portal(PORTAL), To::Quiet)?;
        if self.links.upstream.output.len() >= HIGH_WATER || self.queue.len() >= MAX_DUE {
            self.drain_or_skip().await?;
        }
        Ok(())
    }
}

fn unreadable(error: CopyError) -> Refusal {
    refusal(error.sqlstate(), "copy-data", error.to_string())
}
