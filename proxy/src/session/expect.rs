//! What the reply queue holds: one expectation for each message that was sent to PostgreSQL, and what is due to the client from us.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use postern_rewriter::plan::Plan;

use super::ask::Own;
use super::rows::Reading;
use super::server::Key;
use super::simple::Sent;
use super::statement::{Cursor, Stmt};
use crate::identity::Identity;
use crate::wire::message::Formats;

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
    /// We asked; an error ends the session.
    Strict,
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
    Parse { to: To, settle: bool, made: Made },
    /// BindComplete.
    Bind { to: To, settle: bool },
    /// ParameterDescription, then RowDescription or NoData.
    Describe(Describe),
    /// Rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute(Execute),
    /// CloseComplete.
    Close {
        to: To,
        settle: Option<Settles>,
        /// The judged statement of that number, which is still to be closed if this is skipped.
        number: Option<u32>,
    },
    /// ReadyForQuery.
    Sync { to: To },
    /// Everything up to ReadyForQuery.
    Query(Box<Batch>),
    /// The same, of statements of ours; an error is kept in the answer.
    OwnQuery,
    /// Nothing: it is our turn to say this.
    Say { bytes: Bytes, settle: Option<Settles> },
    /// Nothing: it is our turn to say ReadyForQuery.
    Ready,
}

/// What a Parse makes on the connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Made {
    /// A statement of ours.
    Own(Own),
    /// A judged statement under that number.
    Judged(Key, u32),
    /// The same, of which it is not known whether PostgreSQL takes it.
    Tried(Key, u32),
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
    /// The same, and an error ends the session.
    Strict,
}

/// An Execute under way.
pub(super) struct Execute {
    pub mode: Mode,
    pub reading: Option<Arc<Reading>>,
    /// What it does to the session once it is complete.
    pub after: After,
    /// For whom it touches rows.
    pub identity: Option<Arc<Identity>>,
    /// The plan, where what it did goes into the audit trail.
    pub audited: Option<Arc<Plan>>,
    pub started: Option<Instant>,
}

impl Execute {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            mode,
            reading: None,
            after: After::Nothing,
            identity: None,
            audited: None,
            started: None,
        }
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
    pub sent: Sent,
    pub at: usize,
    pub identity: Option<Arc<Identity>>,
    pub started: Instant,
    /// Which of the client's texts it is.
    pub asked: u64,
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
    /// The client has no rows of it.
    NoData,
    /// It begins a COPY of this portal's rows.
    Copy(Arc<Reading>),
}

/// The queue, in the order of requests.
pub(super) type Queue = VecDeque<Expect>;
