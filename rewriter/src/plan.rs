//! What the judge decided: the SQL that runs, how to feed it, how to read its answer.
//!
//! A plan holds no key, no user and no value other than constants of the statement itself, so it can be cached and shared.

use std::fmt;
use std::sync::Arc;

use postern_config::ColumnType;
use postern_config::expr::Claim;
use postern_config::manifest::Operation;
use postern_config::names::{ColumnRef, TableRef};

pub use crate::copy_form::{CopyForm, CopyFormat, Forced};
pub use crate::keeps::Keeps;
pub use crate::own::may_change;

/// SQL that has been judged, rewritten and read a second time. Only this crate can make one, and the upstream encoder takes nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten(Box<str>);

impl Rewritten {
    pub(crate) fn new(sql: String) -> Self {
        Self(sql.into())
    }

    /// The text to send.
    pub fn sql(&self) -> &str {
        &self.0
    }
}

/// What stands before a statement that inserts into that table and nowhere else, and asks nothing of what it inserts (no column in RETURNING, no arbiter
/// of a conflict): PostgreSQL then wants no SELECT right and no SELECT policy of the new row, and a check made for `enforce = "rewrite"` looks for
/// this. `None` for a name that cannot stand in a comment.
pub fn reads_nothing(table: &TableRef) -> Option<String> {
    let name = table.quoted();
    let fits = !name.contains("*/") && !name.contains("/*");
    fits.then(|| format!("/*postern inserts into {name} and reads nothing*/ "))
}

/// What stands before a cursor's declaration: behind it, up to the next space, the client's own text in hexadecimal digits, for `pg_cursors` to tell.
pub const DECLARED_AS: &str = "/*postern declared as ";

/// One judged statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How it is carried out.
    pub run: Run,
    /// What it does to the session.
    pub effect: Effect,
    /// What of the session it leaves behind or looks for beyond its transaction.
    pub keeps: Keeps,
    /// Types that the client must be told for its own parameters `$1…`, where they differ from what PostgreSQL would say:
    /// (index from 0, declared type). All other parameters keep PostgreSQL's answer.
    pub param_types: Vec<(u16, ColumnType)>,
    /// Number of the client's own parameters that the text mentions (highest `$n`).
    pub client_params: u16,
    /// What it reads or writes, for `explain` and audit.
    pub relations: Vec<TableRef>,
    /// Policies that were applied, `schema.table/policy`.
    pub policies: Vec<String>,
    /// What it does to declared tables: reading one, or writing it (reading what a write changes is part of that).
    pub operations: Vec<(TableRef, Operation)>,
    /// Columns whose values may be opened.
    pub opened: Vec<ColumnRef>,
    /// Bytes that it holds, for the cache's bound.
    pub weight: usize,
    /// `false` where the answer depends on something outside the cache key.
    pub cacheable: bool,
}

/// How a plan is carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Run {
    /// One statement, one reply.
    Once(Statement),
    /// An UPDATE whose sealed values depend on each row's key: read and lock the rows, then write each.
    PerRow(Box<PerRow>),
    /// Nothing goes upstream; Postern answers with this command tag.
    Answer(&'static str),
}

/// A statement and how to feed and read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The text.
    pub sql: Rewritten,
    /// What each upstream parameter `$1…` is made from. Where [`Statement::forwards_params`] holds they are the client's own, in order.
    pub params: Vec<Param>,
    /// Sequences to draw one value from before binding (`Value::Generated` refers to them by index).
    pub generate: Vec<TableRef>,
    /// How to read each row, or `None`: rows pass unread.
    pub output: Option<Output>,
}

impl Statement {
    /// Whether every parameter is the client's own at the same place, so that a Bind can be forwarded as it is.
    pub fn forwards_params(&self) -> bool {
        self.generate.is_empty()
            && self
                .params
                .iter()
                .enumerate()
                .all(|(i, p)| matches!(p, Param::Client(n) if usize::from(*n) == i))
    }
}

/// What an upstream parameter is made from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Param {
    /// The client's parameter (index from 0), format and bytes as they are.
    Client(u16),
    /// A constant in text form, or NULL.
    Text(Option<Box<str>>),
    /// A drawn value, in text form.
    Generated(usize),
    /// Field of the row that the first step of [`PerRow`] read, its bytes as they came (binary format).
    Row(usize),
    /// An envelope (bytea, binary format): the value sealed for a column and a row.
    Seal {
        /// The column and its declared type.
        column: Sealed,
        /// The plaintext; NULL stays NULL.
        value: Value,
        /// The bound columns' values in the table's declared order of `bound`.
        bound: Vec<Value>,
    },
    /// An equality tag (bytea, binary format). NULL stays NULL.
    EqTag {
        /// The column and its declared type.
        column: Sealed,
        /// The plaintext.
        value: Value,
    },
    /// An array of equality tags (`bytea[]`, binary format) for `= ANY ($n)`; the client's parameter is an array of the declared type.
    EqTags {
        /// The column and its declared type.
        column: Sealed,
        /// The array.
        value: Value,
    },
}

/// A protected column and its declared type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sealed {
    /// The column.
    pub column: ColumnRef,
    /// Its declared type.
    pub ty: ColumnType,
}

/// A value that the proxy has at hand when it binds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// The client's parameter, of this type.
    Client(u16, ColumnType),
    /// A constant in text form, of this type; `None` is NULL.
    Text(Option<Box<str>>, ColumnType),
    /// A drawn value, an `int8`.
    Generated(usize),
    /// The equality tag of a protected column's value (for a key or bound column that is itself protected).
    Tag(Sealed, Box<Value>),
    /// Column of the row that the first step of [`PerRow`] read, index from 0 into its fields, of this type (binary format). A stored
    /// tag is read as `Bytea`.
    Row(usize, ColumnType),
    /// The plaintext of a sealed value read by the first step of [`PerRow`], opened there: index into [`PerRow::opened`].
    Opened(usize),
    /// What the claim of whoever the statement runs as holds, as a value of this type; a claim that is missing is NULL.
    Claim(Claim, ColumnType),
}

/// How rows are read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Output {
    /// One for each column that the client sees. Upstream may send further fields behind them; those are stripped.
    pub visible: Vec<Field>,
    /// Number of upstream fields, hidden ones included. Hidden ones are asked for in binary format.
    pub upstream_fields: usize,
    /// Checks at the door: every one must hold for every row, else the query fails (XX001) and is audited.
    pub door: Vec<DoorCheck>,
}

/// A column that the client sees; its position is its upstream field.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// As it comes.
    Plain,
    /// An envelope to open, in the format the client asked for.
    Open(Open),
}

/// What stands in a masked envelope's place where the manifest says what is shown instead: no envelope is that short, and it says nothing.
pub const MASKED: [u8; 1] = [0];

/// How to open an envelope.
#[derive(Clone, PartialEq)]
pub struct Open {
    /// The column and its declared type.
    pub column: Sealed,
    /// For each of the table's bound columns the upstream field that carries its value (binary format) and its type; a protected bound
    /// column's field carries its stored tag and is typed `Bytea`.
    pub bound: Vec<(usize, ColumnType)>,
    /// What is shown where [`MASKED`] came, in text form; nothing is opened then.
    pub mask: Option<Box<str>>,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { column, bound, mask } = self;
        let mut shown = f.debug_struct("Open");
        shown.field("column", column).field("bound", bound);
        if let Some(mask) = mask {
            shown.field("mask", mask);
        }
        shown.finish()
    }
}

/// A predicate answered by the database that is checked on the value itself.
#[derive(Debug, Clone, PartialEq)]
pub struct DoorCheck {
    /// Upstream field with the envelope.
    pub envelope: usize,
    /// How to open it.
    pub open: Open,
    /// It must equal one of these (for an array parameter: one of its elements).
    pub one_of: Vec<Value>,
    /// Whether the single value in `one_of` is an array.
    pub array: bool,
}

/// An UPDATE in two steps inside the client's transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct PerRow {
    /// Reads and locks the rows (`FOR UPDATE`), all fields in binary format.
    pub read: Statement,
    /// Envelopes among the fields that must be opened to be sealed again: (field, how).
    pub opened: Vec<(usize, Open)>,
    /// Writes one row; runs once for each row read. Its `output` is what RETURNING gives.
    pub write: Statement,
}

/// What a statement does to the session beyond its reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Changes the catalogue: the snapshot must be read again before the next statement is planned.
    Ddl,
    /// `IF EXISTS` of what is not there: answered with these notices, and nothing is changed.
    Skipped(Box<[Box<str>]>),
    /// Begins, ends or alters a transaction; PostgreSQL's ReadyForQuery tells the state.
    Transaction(Transaction),
    /// A user token by `SET LOCAL postern.token` / `SET postern.token` or `SELECT postern.set_token(…)`; never forwarded.
    Token {
        /// The token.
        token: Value,
        /// Until the end of the transaction only.
        local: bool,
        /// Answered as a one-row SELECT (`set_token`), else as `SET`.
        as_select: bool,
    },
    /// Forget the user token (`RESET postern.token`).
    ForgetToken,
    /// An allowed setting changes: its canonical name.
    Setting(&'static str),
    /// `PREPARE name AS …`: the plan belongs to the session under that name; upstream gets it as a Parse of that name.
    Prepare(Box<str>),
    /// `EXECUTE name (constants)`: bind and run the prepared plan with these text values.
    Execute(Box<str>, Vec<Option<Box<str>>>),
    /// `EXECUTE name (expressions)`, or its EXPLAIN: PostgreSQL computes the values ([`crate::execution`]).
    ExecuteComputed(Box<Computed>),
    /// `DEALLOCATE name`, or all.
    Deallocate(Option<Box<str>>),
    /// `DECLARE name CURSOR FOR …`: rows of FETCH are read as this plan's output says.
    Declare(Box<str>),
    /// `FETCH`/`MOVE` from the cursor: its rows are read as its declaration says.
    Fetch(Box<str>),
    /// `CLOSE name`, or all.
    CloseCursor(Option<Box<str>>),
    /// `DISCARD ALL`.
    DiscardAll,
    /// `DISCARD SEQUENCES`.
    DiscardSequences,
    /// `COPY … TO STDOUT`: CopyOutResponse, CopyData and CopyDone go to the client unread.
    CopyOut,
    /// `COPY … TO STDOUT` of rows that are opened on the way: the statement is its query, and its rows are written in this form.
    CopyOpened(Arc<CopyForm>),
    /// `COPY … FROM STDIN`: behind CopyInResponse the client's CopyData, CopyDone or CopyFail go to PostgreSQL unread.
    CopyIn,
    /// `COPY … FROM STDIN` into a declared table: the plan is the INSERT of one row, whose parameters are the row's fields.
    CopyRows(Box<Layout>),
    /// `LISTEN`, by the name that the client gave; PostgreSQL names it with [`crate::channel_prefix`] before it.
    Listen(Box<str>),
    /// `UNLISTEN`, or `UNLISTEN *`.
    Unlisten(Option<Box<str>>),
    /// `NOTIFY`: reads and writes no rows.
    Notify,
}

/// An EXECUTE that PostgreSQL carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computed {
    /// The client's name of what is prepared.
    pub name: Box<str>,
    /// How many values are given.
    pub given: usize,
    /// It is only explained.
    pub explained: bool,
    /// Where in the text the name on the connection goes.
    pub(crate) name_at: std::ops::Range<usize>,
}

/// How the rows of a COPY are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The names of the columns that a row's fields are for, in their order.
    pub columns: Box<[Box<str>]>,
    /// How a row is written.
    pub form: Form,
}

/// COPY's formats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// `FORMAT text`.
    Text(Marks),
    /// `FORMAT csv`.
    Csv {
        /// What it shares with text.
        marks: Marks,
        /// `QUOTE`.
        quote: u8,
        /// `ESCAPE`; the quote where it was not given.
        escape: u8,
        /// For each column: `FORCE_NOT_NULL`, an unquoted NULL string is that string.
        not_null: Box<[bool]>,
        /// For each column: `FORCE_NULL`, a quoted NULL string is NULL too.
        null_if: Box<[bool]>,
    },
    /// `FORMAT binary`.
    Binary,
}

/// What separates and names values in COPY's formats of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// Between two fields.
    pub delimiter: u8,
    /// What stands for NULL.
    pub null: Box<str>,
    /// What the first line is.
    pub header: Header,
}

/// The first line of a COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// A row.
    None,
    /// Names that nobody reads.
    Skipped,
    /// Names that must be the columns'.
    Matched,
}

/// A transaction statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    /// `BEGIN`, `START TRANSACTION`.
    Begin,
    /// `COMMIT`, `END`.
    Commit,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// `SAVEPOINT`, `RELEASE`.
    Savepoint,
    /// `ROLLBACK TO`: settings made since revert.
    RollbackTo,
    /// `SET TRANSACTION`.
    Set,
}

/// A refusal: what the client is told. Never holds a literal or a row's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// SQLSTATE.
    pub sqlstate: &'static str,
    /// The primary message, one sentence.
    pub message: String,
    /// More, where PostgreSQL has more to say.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// A short stable word for metrics (`foreign-relation`, `function`, `statement-kind`, …).
    pub reason: &'static str,
    /// 1-based character position in the statement, where PostgreSQL would give one.
    pub position: Option<u32>,
}
