//! The reply queue: every message sent to PostgreSQL leaves an expectation, and every reply is read by the one it belongs to.
//!
//! Promised: replies reach the client in the order of its requests, ours never; what PostgreSQL skips after an error is taken out of the
//! queue as it is there; a reply that fits no expectation ends the session. Rows that nobody must read pass through in pieces, without
//! being held.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use postern_rewriter::plan::{Effect, Plan, Transaction};

use super::SessionEnd;
use super::ask::Own;
use super::engine::Session;
use super::plans::Plans;
use super::rows::{self, Reading, RowFault};
use super::scrub::Told;
use super::statement::{Cursor, Stmt, output};
use crate::identity::Identity;
use crate::wire::frame::{self, HEADER, MAX_UPSTREAM_FRAME};
use crate::wire::message::{self, Format, Formats};

/// A reply that must be read as a whole can be no longer.
const MAX_READ: usize = 128 << 20;

/// For whom a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// The client asked in these messages.
    Client,
    /// The client asked in others: only errors are for it.
    Quiet,
    /// We asked; an error is kept in the answer.
    Ourselves,
    /// We asked for the error.
    Nobody,
}

/// Which names a reply settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settles {
    Statement,
    Portal,
}

/// What is expected next from PostgreSQL, or is due to the client from us.
pub(super) enum Expect {
    /// ParseComplete.
    Parse { to: To, settle: bool, own: Option<Own> },
    /// BindComplete.
    Bind { to: To, settle: bool },
    /// ParameterDescription, then RowDescription or NoData.
    Describe(Box<Describe>),
    /// Rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute(Execute),
    /// CloseComplete.
    Close { to: To, settle: Option<Settles> },
    /// ReadyForQuery.
    Sync { to: To },
    /// Everything up to ReadyForQuery.
    Query(Box<Batch>),
    /// Nothing: it is our turn to say this.
    Say { bytes: Bytes, settle: Option<Settles> },
    /// Nothing: it is our turn to say ReadyForQuery.
    Ready,
}

/// What becomes of rows and tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are for the client.
    Tell,
    /// Rows are for the client, the tag is counted.
    Count,
    /// Rows are for us.
    Collect,
    /// Nobody wants them.
    Drop,
}

/// An Execute under way.
pub(super) struct Execute {
    pub mode: Mode,
    pub reading: Option<Arc<Reading>>,
    /// What it does to the session once it is complete.
    pub after: After,
    /// For whom it touches rows.
    pub identity: Option<Arc<Identity>>,
    pub started: Option<Instant>,
}

impl Execute {
    pub(super) fn new(mode: Mode) -> Self {
        Self { mode, reading: None, after: After::Nothing, identity: None, started: None }
    }
}

/// What a completed statement does to the session.
pub(super) enum After {
    Nothing,
    /// The plan's effect.
    Effect(Arc<Plan>),
    /// The cursor is open.
    Declare(Box<str>, Arc<Cursor>),
}

/// A simple query that was sent as one.
pub(super) struct Batch {
    pub plans: Plans,
    pub at: usize,
    pub identity: Option<Arc<Identity>>,
    pub started: Instant,
}

/// A Describe under way.
pub(super) struct Describe {
    pub to: To,
    pub params: Params,
    pub rows: Rows,
}

/// What becomes of ParameterDescription.
pub(super) enum Params {
    /// There is none: a portal is described.
    None,
    /// It passes.
    Pass,
    /// Nobody wants it.
    Drop,
    /// It is kept for the next one.
    Keep,
    /// It is told in the client's parameters.
    Tell(Arc<Stmt>),
    /// The client's statement has no parameters.
    Empty,
}

/// What becomes of RowDescription or NoData.
pub(super) enum Rows {
    /// It passes.
    Pass,
    /// Nobody wants it.
    Drop,
    /// It is told as this portal's rows are read.
    Portal(Arc<Reading>),
    /// It is told as this statement's rows are read.
    Statement(Arc<Plan>),
    /// It is told in these formats.
    Formats(Formats),
}

/// The queue, in the order of requests.
pub(super) type Queue = VecDeque<Expect>;

type Outcome = Result<(), SessionEnd>;

impl Session {
    /// Processes all replies that are there.
    pub(super) fn take_replies(&mut self) -> Outcome {
        let mut input = std::mem::take(&mut self.links.upstream.input);
        let mut at = 0;
        let outcome = self.process(&input, &mut at);
        input.advance(at);
        self.links.upstream.input = input;
        outcome
    }

    fn process(&mut self, input: &BytesMut, at: &mut usize) -> Outcome {
        loop {
            if self.passing > 0 {
                let count = self.passing.min(input.len() - *at);
                self.pass(&input[*at..*at + count]);
                *at += count;
                self.passing -= count;
                if self.passing > 0 {
                    return Ok(());
                }
            }
            let rest = &input[*at..];
            let Some(head) = frame::head(rest, MAX_UPSTREAM_FRAME).map_err(|_| SessionEnd::UpstreamProtocol)? else {
                return Ok(());
            };
            if head.kind == b'D' && self.rows_pass() {
                let count = rows_in(rest);
                self.pass(&rest[..count.min(rest.len())]);
                *at += count.min(rest.len());
                self.passing = count.saturating_sub(rest.len());
                continue;
            }
            if rest.len() < head.total {
                if head.total > MAX_READ {
                    tracing::warn!(bytes = head.total, "PostgreSQL sent a row with protected columns that is too large to be read");
                    return Err(SessionEnd::TooLarge);
                }
                return Ok(());
            }
            self.reply(head.kind, &rest[..head.total])?;
            *at += head.total;
            self.say_what_is_due();
        }
    }

    fn pass(&mut self, bytes: &[u8]) {
        if self.passes_to_client() {
            self.links.client.output.extend_from_slice(bytes);
        }
    }

    fn passes_to_client(&self) -> bool {
        !self.mute
            && match self.queue.front() {
                Some(Expect::Execute(execute)) => matches!(execute.mode, Mode::Tell | Mode::Count),
                _ => true,
            }
    }

    /// Whether rows now need no reading.
    fn rows_pass(&self) -> bool {
        match self.queue.front() {
            Some(Expect::Execute(execute)) => execute.mode == Mode::Drop || (execute.reading.is_none() && execute.mode != Mode::Collect) || self.mute,
            Some(Expect::Query(_)) => true,
            _ => false,
        }
    }

    fn reply(&mut self, kind: u8, whole: &[u8]) -> Outcome {
        let body = &whole[HEADER..];
        match kind {
            b'S' => self.parameter_status(body, whole),
            b'N' => self.notice(body),
            // Channels are not offered yet; what comes all the same is nobody's.
            b'A' => Ok(()),
            b'E' => self.error(body),
            b'Z' => self.ready_for_query(body),
            b'1' => match self.queue.pop_front() {
                Some(Expect::Parse { to, settle, own }) => {
                    if settle {
                        self.statements.settle(true);
                    }
                    if let Some(own) = own {
                        self.parsed[own as usize] = true;
                    }
                    self.tell(to, whole);
                    Ok(())
                }
                _ => Err(SessionEnd::UpstreamProtocol),
            },
            b'2' => match self.queue.pop_front() {
                Some(Expect::Bind { to, settle }) => {
                    if settle {
                        self.portals.settle(true);
                    }
                    self.tell(to, whole);
                    Ok(())
                }
                _ => Err(SessionEnd::UpstreamProtocol),
            },
            b'3' => match self.queue.pop_front() {
                Some(Expect::Close { to, settle }) => {
                    self.settle(settle, true);
                    self.tell(to, whole);
                    Ok(())
                }
                _ => Err(SessionEnd::UpstreamProtocol),
            },
            b't' => self.parameter_description(body, whole),
            b'T' | b'n' => self.row_description(kind, body, whole),
            b'D' => self.data_row(body),
            b'C' | b'I' | b's' => self.complete(kind, body, whole),
            // COPY and everything else was never asked for.
            _ => Err(SessionEnd::UpstreamProtocol),
        }
    }

    /// Relays what is the client's.
    fn tell(&mut self, to: To, whole: &[u8]) {
        if to == To::Client && !self.mute {
            self.links.client.output.extend_from_slice(whole);
        }
    }

    fn settle(&mut self, which: Option<Settles>, came_true: bool) {
        match which {
            Some(Settles::Statement) => self.statements.settle(came_true),
            Some(Settles::Portal) => self.portals.settle(came_true),
            None => {}
        }
    }

    fn parameter_status(&mut self, body: &[u8], whole: &[u8]) -> Outcome {
        let (name, value) = message::parameter_status(body).map_err(|_| SessionEnd::UpstreamProtocol)?;
        self.settings.reported(name, value);
        self.links.client.output.extend_from_slice(whole);
        Ok(())
    }

    fn notice(&mut self, body: &[u8]) -> Outcome {
        let told = Told::read(body, self.schema()).map_err(|_| SessionEnd::UpstreamProtocol)?;
        told.put(&mut self.links.client.output, b'N').map_err(|_| SessionEnd::UpstreamProtocol)
    }

    fn error(&mut self, body: &[u8]) -> Outcome {
        let told = Told::read(body, self.schema()).map_err(|_| SessionEnd::UpstreamProtocol)?;
        if told.is_fatal() {
            self.said_last = told.put(&mut self.links.client.output, b'E').is_ok();
            return Err(SessionEnd::Upstream);
        }
        let to = match self.queue.front() {
            Some(Expect::Query(_)) => To::Client,
            Some(Expect::Sync { to } | Expect::Parse { to, .. } | Expect::Bind { to, .. } | Expect::Close { to, .. }) => *to,
            Some(Expect::Describe(describe)) => describe.to,
            Some(Expect::Execute(execute)) => match execute.mode {
                Mode::Tell | Mode::Count => To::Client,
                Mode::Collect => To::Ourselves,
                Mode::Drop => To::Nobody,
            },
            Some(Expect::Say { .. } | Expect::Ready) | None => return Err(SessionEnd::UpstreamProtocol),
        };
        match to {
            To::Client | To::Quiet if self.mute => {}
            To::Client | To::Quiet => {
                self.shared.metrics.refusal("database");
                told.put(&mut self.links.client.output, b'E').map_err(|_| SessionEnd::UpstreamProtocol)?;
            }
            To::Ourselves => self.answer.error = Some(Box::new(told)),
            To::Nobody => {}
        }
        if !matches!(self.queue.front(), Some(Expect::Query(_))) {
            self.skip_to_sync();
        }
        Ok(())
    }

    /// PostgreSQL skips every message up to Sync after an error.
    fn skip_to_sync(&mut self) {
        loop {
            match self.queue.front() {
                Some(Expect::Sync { .. }) => return,
                None => {
                    self.discarding = true;
                    return;
                }
                Some(_) => {}
            }
            match self.queue.pop_front() {
                Some(Expect::Parse { settle: true, .. }) => self.statements.settle(false),
                Some(Expect::Bind { settle: true, .. }) => self.portals.settle(false),
                Some(Expect::Close { settle, .. } | Expect::Say { settle, .. }) => self.settle(settle, false),
                _ => {}
            }
        }
    }

    fn ready_for_query(&mut self, body: &[u8]) -> Outcome {
        let status = message::ready_for_query(body).map_err(|_| SessionEnd::UpstreamProtocol)?;
        let to = match self.queue.pop_front() {
            Some(Expect::Sync { to }) => to,
            Some(Expect::Query(batch)) => {
                self.shared.metrics.query("simple", batch.started.elapsed());
                To::Client
            }
            _ => return Err(SessionEnd::UpstreamProtocol),
        };
        let failed = std::mem::take(&mut self.mute);
        self.now_ready(status);
        if failed && status == b'T' {
            // A row failed after the client's Sync was under way: the transaction must not go on as if it had not.
            if self.open || !self.queue.is_empty() {
                return Err(SessionEnd::Integrity);
            }
            self.abort().map_err(|_| SessionEnd::Internal)?;
            self.put_sync(To::Client);
            return Ok(());
        }
        if to == To::Client {
            message::put_ready(&mut self.links.client.output, status);
        }
        Ok(())
    }

    /// The state that ReadyForQuery tells.
    fn now_ready(&mut self, status: u8) {
        self.status = status;
        if status == b'I' {
            self.identities.idle();
            self.settings.idle();
            self.portals.retain(|_| false);
            self.cursors.retain(|c| c.holds());
            if std::mem::take(&mut self.ddl_in_transaction) {
                self.catalog_dirty = true;
            }
        }
    }

    fn parameter_description(&mut self, body: &[u8], whole: &[u8]) -> Outcome {
        let Some(Expect::Describe(describe)) = self.queue.front_mut() else { return Err(SessionEnd::UpstreamProtocol) };
        let params = std::mem::replace(&mut describe.params, Params::None);
        let read = || message::parameter_description(body).map_err(|_| SessionEnd::UpstreamProtocol);
        let types = match params {
            Params::None => return Err(SessionEnd::UpstreamProtocol),
            Params::Drop => return Ok(()),
            Params::Keep => {
                self.kept_types = read()?;
                return Ok(());
            }
            Params::Pass => {
                let to = describe.to;
                self.tell(to, whole);
                return Ok(());
            }
            Params::Empty => Vec::new(),
            Params::Tell(stmt) => stmt.described(std::mem::take(&mut self.kept_types), read()?),
        };
        if !self.mute {
            message::put_parameter_description(&mut self.links.client.output, &types).map_err(|_| SessionEnd::Internal)?;
        }
        Ok(())
    }

    fn row_description(&mut self, kind: u8, body: &[u8], whole: &[u8]) -> Outcome {
        let describe = match self.queue.pop_front() {
            Some(Expect::Describe(describe)) => describe,
            Some(batch @ Expect::Query(_)) if kind == b'T' => {
                self.queue.push_front(batch);
                self.links.client.output.extend_from_slice(whole);
                return Ok(());
            }
            _ => return Err(SessionEnd::UpstreamProtocol),
        };
        let shown = !self.mute;
        match describe.rows {
            Rows::Drop => Ok(()),
            _ if kind == b'n' => {
                // A simple query says nothing where there are no rows.
                self.tell(describe.to, whole);
                Ok(())
            }
            Rows::Pass => {
                if shown {
                    self.links.client.output.extend_from_slice(whole);
                }
                Ok(())
            }
            Rows::Portal(reading) => {
                let columns = message::row_description(body).map_err(|_| SessionEnd::UpstreamProtocol)?;
                let mut unseen = BytesMut::new();
                let out = if shown { &mut self.links.client.output } else { &mut unseen };
                reading.describe(columns, out).map_err(|_| SessionEnd::Internal)
            }
            Rows::Formats(formats) => {
                let mut columns = message::row_description(body).map_err(|_| SessionEnd::UpstreamProtocol)?;
                for (i, column) in columns.iter_mut().enumerate() {
                    column.format = formats.of(i);
                }
                if shown {
                    message::put_row_description(&mut self.links.client.output, &columns).map_err(|_| SessionEnd::Internal)?;
                }
                Ok(())
            }
            Rows::Statement(plan) => {
                let columns = message::row_description(body).map_err(|_| SessionEnd::UpstreamProtocol)?;
                let output = output(&plan).ok_or(SessionEnd::Internal)?;
                let formats = vec![Format::Text; output.visible.len()];
                let mut unseen = BytesMut::new();
                let out = if shown { &mut self.links.client.output } else { &mut unseen };
                rows::describe(output, &formats, columns, out).map_err(|_| SessionEnd::Internal)
            }
        }
    }

    /// A row that must be read: to open its envelopes, or because we asked for it.
    fn data_row(&mut self, body: &[u8]) -> Outcome {
        let Some(Expect::Execute(execute)) = self.queue.front() else { return Err(SessionEnd::UpstreamProtocol) };
        if execute.mode == Mode::Collect {
            self.answer.push(body);
            return Ok(());
        }
        let reading = execute.reading.clone().ok_or(SessionEnd::UpstreamProtocol)?;
        let mut fields = Vec::new();
        let read = message::data_row(body, &mut fields).map_err(RowFault::from).and_then(|()| {
            reading.row(&fields, self.settings.format(), &mut self.scratch, &mut self.links.client.output)
        });
        match read {
            Ok(opened) => {
                if opened > 0 {
                    self.shared.metrics.opened(opened);
                }
                Ok(())
            }
            Err(fault) => self.row_failed(&fault),
        }
    }

    /// A row failed: the client gets an error in place of the rest, the statement's transaction is made to fail.
    fn row_failed(&mut self, fault: &RowFault) -> Outcome {
        let refusal = self.fault_refusal(fault);
        self.put_refusal(&refusal);
        self.mute = true;
        let ends = self.queue.iter().any(|e| matches!(e, Expect::Sync { .. }));
        if !ends {
            self.abort().map_err(|_| SessionEnd::Internal)?;
            self.discarding = true;
        }
        Ok(())
    }

    fn complete(&mut self, kind: u8, body: &[u8], whole: &[u8]) -> Outcome {
        match self.queue.front_mut() {
            Some(Expect::Query(batch)) if kind != b's' => {
                let plan = batch.plans.get(batch.at).cloned();
                batch.at += 1;
                let identity = batch.identity.clone();
                self.links.client.output.extend_from_slice(whole);
                if let Some(identity) = &identity {
                    self.identities.touch(identity);
                }
                if let Some(plan) = plan {
                    self.apply(&plan, body);
                }
                return Ok(());
            }
            Some(Expect::Execute(_)) => {}
            _ => return Err(SessionEnd::UpstreamProtocol),
        }
        let Some(Expect::Execute(execute)) = self.queue.pop_front() else { return Err(SessionEnd::Internal) };
        if let Some(identity) = &execute.identity {
            self.identities.touch(identity);
        }
        match execute.mode {
            Mode::Tell => self.tell(To::Client, whole),
            Mode::Count => self.counted.add(message::command_complete(body).map_err(|_| SessionEnd::UpstreamProtocol)?),
            Mode::Collect | Mode::Drop => {}
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
        Ok(())
    }

    /// A statement is complete: what it did to the session.
    fn apply(&mut self, plan: &Arc<Plan>, tag: &[u8]) {
        match &plan.effect {
            Effect::Transaction(Transaction::RollbackTo) => {
                self.identities.reverted();
                self.catalog_dirty |= self.ddl_in_transaction;
            }
            // The tag tells whether COMMIT committed or ended a failed transaction.
            Effect::Transaction(_) if tag == b"COMMIT\0" => {
                self.identities.committed();
            }
            Effect::Transaction(_) if tag == b"ROLLBACK\0" => self.settings.rolled_back(),
            Effect::Setting(name) => {
                let sql = plan_sql(plan);
                self.settings.changed(name, sql);
                if sql.starts_with("RESET ALL") {
                    self.identities.reset_on_server();
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
            Effect::DiscardAll => {
                self.cursors.retain(|_| false);
                self.portals.retain(|_| false);
                self.statements.retain(|_| false);
                self.parsed = [false; Own::COUNT];
                self.identities.adopt(None, false, false);
                self.identities.reset_on_server();
                self.settings.reset();
                self.catalog_dirty |= self.own_catalog.is_some();
            }
            _ => {}
        }
    }

    /// Says what of ours has come to the front of the queue.
    pub(super) fn say_what_is_due(&mut self) {
        loop {
            match self.queue.front() {
                Some(Expect::Say { .. } | Expect::Ready) => {}
                _ => return,
            }
            match self.queue.pop_front() {
                Some(Expect::Say { bytes, settle }) => {
                    self.settle(settle, true);
                    if !self.mute {
                        self.links.client.output.extend_from_slice(&bytes);
                    }
                }
                Some(Expect::Ready) => {
                    self.mute = false;
                    let status = self.status;
                    self.now_ready(status);
                    message::put_ready(&mut self.links.client.output, status);
                }
                _ => return,
            }
        }
    }
}

/// The text of a plan that is one statement.
fn plan_sql(plan: &Plan) -> &str {
    match &plan.run {
        postern_rewriter::plan::Run::Once(statement) => statement.sql.sql(),
        _ => "",
    }
}

/// Bytes of the rows that `input` begins with; the last one may reach beyond it.
fn rows_in(input: &[u8]) -> usize {
    let mut at = 0;
    while at < input.len() {
        match frame::head(&input[at..], MAX_UPSTREAM_FRAME) {
            Ok(Some(head)) if head.kind == b'D' => at += head.total,
            _ => break,
        }
    }
    at
}
