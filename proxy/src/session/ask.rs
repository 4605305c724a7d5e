//! What Postern asks PostgreSQL for itself on the client's connection: claims, the catalogue, the failure that aborts a transaction.
//!
//! Promised: nothing of these exchanges reaches the client, and none disturbs what the client has there (statement and portal have
//! names of ours). Outside a transaction an exchange ends with its own Sync; inside one it is part of it.

use postern_rewriter::plan::Rewritten;

use super::engine::Session;
use super::expect::{Execute, Expect, Made, Mode, To};
use super::scrub::Told;
use super::stop::{Stop, refusal};
use crate::wire::message::{self, Format, MessageError, Target};

/// Rows and bytes that an answer to ourselves may have; more is refused.
const MAX_ROWS: usize = 100_000;
const MAX_BYTES: usize = 64 << 20;

/// Our portal.
pub(super) const PORTAL: &str = "postern$";

/// Our prepared statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    SessionClaims,
    LocalClaims,
    Catalog,
    Abort,
    Settings,
    ReadSettings,
}

impl Own {
    pub(super) const COUNT: usize = 6;

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SessionClaims => "postern$session",
            Self::LocalClaims => "postern$local",
            Self::Catalog => "postern$catalog",
            Self::Abort => "postern$abort",
            Self::Settings => "postern$settings",
            Self::ReadSettings => "postern$read",
        }
    }
}

/// The answer to what we asked, collected by the reply queue.
#[derive(Default)]
pub(super) struct Answer {
    /// Bodies of DataRow.
    pub rows: Vec<Box<[u8]>>,
    bytes: usize,
    /// More came than is held.
    pub overflow: bool,
    /// PostgreSQL's error instead.
    pub error: Option<Box<Told>>,
}

impl Answer {
    pub(super) fn push(&mut self, row: &[u8]) {
        if self.rows.len() >= MAX_ROWS || self.bytes + row.len() > MAX_BYTES {
            self.overflow = true;
        }
        if !self.overflow {
            self.bytes += row.len();
            self.rows.push(row.into());
        }
    }
}

impl Session {
    /// Asks, and waits for the answer's rows. The reply queue must be drained before.
    pub(super) async fn ask(
        &mut self,
        own: Own,
        sql: &Rewritten,
        values: &[Option<&str>],
        format: Format,
    ) -> Result<Vec<Box<[u8]>>, Stop> {
        let sync = !self.open;
        self.answer = Answer::default();
        self.put_own(own, sql, To::Ourselves)?;
        let out = &mut self.links.upstream.output;
        message::put_text_bind(out, PORTAL, own.name(), values, format).map_err(too_long)?;
        self.expect(Expect::Bind {
            to: To::Ourselves,
            settle: false,
        });
        self.put_execute(PORTAL, 0, Execute::new(Mode::Collect));
        self.put_close(Target::Portal(PORTAL), To::Ourselves)?;
        if sync {
            self.put_sync(To::Ourselves);
        }
        self.drain().await?;
        self.answered()
    }

    /// What was collected, or why not.
    pub(super) fn answered(&mut self) -> Result<Vec<Box<[u8]>>, Stop> {
        let answer = std::mem::take(&mut self.answer);
        match answer.error {
            Some(told) => Err(Stop::Told(told)),
            None if answer.overflow => Err(refusal(
                "54000",
                "too-many-rows",
                format!(
                    "the statement concerns more than {MAX_ROWS} rows or {} MiB at once",
                    MAX_BYTES >> 20
                ),
            )
            .into()),
            None => Ok(answer.rows),
        }
    }

    /// Makes PostgreSQL abort the transaction that is open: an error of ours, unseen by the client.
    pub(super) fn abort(&mut self) -> Result<(), Stop> {
        self.put_own(Own::Abort, &Rewritten::abort(), To::Nobody)?;
        let out = &mut self.links.upstream.output;
        message::put_text_bind(out, PORTAL, Own::Abort.name(), &[], Format::Text).map_err(too_long)?;
        self.expect(Expect::Bind {
            to: To::Nobody,
            settle: false,
        });
        self.put_execute(PORTAL, 0, Execute::new(Mode::Drop));
        Ok(())
    }

    pub(super) fn put_own(&mut self, own: Own, sql: &Rewritten, to: To) -> Result<(), Stop> {
        if !self.memory().parsed[own as usize] {
            message::put_parse(&mut self.links.upstream.output, own.name(), sql, &[]).map_err(too_long)?;
            self.expect(Expect::Parse {
                to,
                settle: false,
                made: Made::Own(own),
            });
        }
        Ok(())
    }
}

pub(super) fn too_long(error: MessageError) -> Stop {
    super::statement::misread(error).into()
}
