//! What a client's names stand for: judged statements, bound portals, open cursors.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use postern_rewriter::parameter_type;
use postern_rewriter::plan::{Effect, Output, Param, Plan, Refusal, Rewritten, Run, Statement};

use super::plans::Asker;
use super::rows::{Described, Reading};
use super::server::{self, Step};
use super::stop::refusal;
use crate::identity::Identity;
use crate::wire::message::{self, Bind, BindValues, Formats, MessageError};

/// A prepared statement.
#[derive(Clone)]
pub(super) struct Stmt {
    /// Its text without a token comment, to be planned again when the catalogue has changed; `None` where it was one of several in a
    /// batch.
    pub source: Option<Arc<str>>,
    /// Parameter types that the client declared; 0 leaves one open.
    pub types: Vec<u32>,
    /// The plan; `None` for an empty query.
    pub plan: Option<Arc<Plan>>,
    /// The plan whose text it is on connections: the first of those with the same text, so that PostgreSQL notices where what the text
    /// means has changed.
    pub text: Option<Arc<Plan>>,
    /// How PostgreSQL knows it.
    pub way: Way,
    /// The types to declare for its statements there: the one that writes, or the only one; and the one that reads first.
    upstream_types: [Box<[u32]>; 2],
    /// Whether its plan is everybody's, so that it is worth keeping prepared.
    pub shared: bool,
    /// The catalogue that it was planned with.
    pub generation: u64,
    /// For whom it was planned.
    pub asker: Asker,
    /// The identity of its own token comment.
    pub token: Option<Arc<Identity>>,
    /// Whether it was made by SQL's `PREPARE`: its plan's effect was that, and running it has none.
    pub by_prepare: bool,
    /// Whether it was part of a simple query, and is no statement that the client can name.
    pub by_batch: bool,
    /// What its portals' columns were last told as.
    pub described: Arc<Described>,
}

/// How PostgreSQL knows a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As one statement.
    Relay,
    /// As two: one reads, the other writes.
    Steps,
    /// As one, once for each row of a COPY.
    Rows,
    /// Not at all: we answer.
    Ours,
}

/// What a statement is made from.
pub(super) struct Origin {
    pub source: Option<Arc<str>>,
    pub types: Vec<u32>,
    pub plan: Option<Arc<Plan>>,
    pub generation: u64,
    pub asker: Asker,
    pub token: Option<Arc<Identity>>,
    pub shared: bool,
}

impl Stmt {
    /// A statement of Parse.
    pub(super) fn new(origin: Origin) -> Self {
        let way = origin.plan.as_deref().map_or(Way::Ours, way);
        Self::made(origin, way)
    }

    /// What SQL's PREPARE prepares: the plan's effect was that, and running it has none.
    pub(super) fn by_prepare(origin: Origin) -> Self {
        let way = origin.plan.as_deref().map_or(Way::Ours, run_way);
        Self {
            by_prepare: true,
            ..Self::made(origin, way)
        }
    }

    /// A part of a simple query.
    pub(super) fn by_batch(origin: Origin) -> Self {
        Self {
            by_batch: true,
            ..Self::new(origin)
        }
    }

    fn made(origin: Origin, way: Way) -> Self {
        let Origin {
            source,
            types,
            plan,
            generation,
            asker,
            token,
            shared,
        } = origin;
        let declared = |step| {
            let statement = plan.as_deref().and_then(|p| server::statement(p, step));
            statement.map(|s| upstream_types(s, &types).into()).unwrap_or_default()
        };
        let upstream_types = [declared(Step::Main), declared(Step::Read)];
        Self {
            source,
            types,
            text: plan.clone(),
            plan,
            way,
            upstream_types,
            shared,
            generation,
            asker,
            token,
            by_prepare: false,
            by_batch: false,
            described: Arc::default(),
        }
    }

    /// The types to declare for one of its statements.
    pub(super) fn upstream_types(&self, step: Step) -> &[u32] {
        match step {
            Step::Main => &self.upstream_types[0],
            Step::Read => &self.upstream_types[1],
        }
    }

    /// The same for the user of that token.
    pub(super) fn with_token(&self, token: &Arc<Identity>) -> Self {
        Self {
            token: Some(token.clone()),
            ..self.clone()
        }
    }

    /// What running it does beyond its reply.
    pub(super) fn effect(&self) -> &Effect {
        match &self.plan {
            Some(plan) if !self.by_prepare => &plan.effect,
            _ => &Effect::None,
        }
    }

    /// Bytes that it holds.
    pub(super) fn weight(&self) -> usize {
        let text = self.source.as_ref().map_or(0, |s| s.len());
        NAME + text + self.types.len() * 4 + self.plan.as_ref().map_or(0, |p| p.weight)
    }

    /// Whether running it may answer with rows. Deparsed text begins with its keyword.
    pub(super) fn gives_rows(&self) -> bool {
        let text = match self.plan.as_deref().map(|p| &p.run) {
            Some(Run::Once(s)) => s.sql.sql(),
            Some(Run::PerRow(steps)) => steps.write.sql.sql(),
            Some(Run::Answer(_)) | None => return false,
        };
        !["INSERT", "UPDATE", "DELETE", "MERGE"].iter().any(|k| text.starts_with(k)) || text.contains(" RETURNING ")
    }

    /// Whether values are sealed, tagged or opened for it.
    pub(super) fn uses_keys(&self) -> bool {
        match self.plan.as_deref().map(|p| &p.run) {
            Some(Run::Once(s)) => s.output.is_some() || s.params.iter().any(is_sealed),
            Some(Run::PerRow(_)) => true,
            Some(Run::Answer(_)) | None => false,
        }
    }

    /// How many parameters the client must give.
    pub(super) fn params(&self) -> usize {
        let mentioned = match (&self.plan, self.effect()) {
            // Those are the parameters of what is prepared.
            (_, Effect::Prepare(_)) | (None, _) => 0,
            // They are the fields of its rows.
            (_, Effect::CopyRows(_)) => 0,
            (Some(plan), _) => usize::from(plan.client_params),
        };
        mentioned.max(self.types.len())
    }

    /// Refuses an EXECUTE of it, by that name, with another number of values.
    pub(super) fn takes(&self, name: &str, given: usize) -> Result<(), Refusal> {
        let expected = self.params();
        if given == expected {
            return Ok(());
        }
        let message = format!("wrong number of parameters for prepared statement \"{name}\"");
        Err(Refusal {
            detail: Some(format!("Expected {expected} parameters but got {given}.")),
            ..refusal("42601", "parameter", message)
        })
    }

    /// The one statement that it is upstream.
    pub(super) fn once(&self) -> Option<&Statement> {
        match self.plan.as_deref() {
            Some(Plan {
                run: Run::Once(statement),
                ..
            }) => Some(statement),
            _ => None,
        }
    }

    /// Whether Bind, Describe and rows can be relayed unread.
    pub(super) fn passes(&self) -> bool {
        self.plan.as_ref().is_some_and(|p| p.param_types.is_empty())
            && self.once().is_some_and(|s| s.output.is_none() && s.forwards_params())
    }

    /// Whether what runs may read or write rows, so that PostgreSQL must know for whom.
    pub(super) fn needs_identity(&self) -> bool {
        matches!(
            self.effect(),
            Effect::None
                | Effect::Ddl
                | Effect::Declare(_)
                | Effect::Fetch(_)
                | Effect::CopyIn
                | Effect::CopyOut
                | Effect::CopyOpened(_)
                | Effect::CopyRows(_)
        ) && self.way != Way::Ours
    }

    /// Whether PostgreSQL takes it in a transaction that has failed: what may end one, and the empty statement.
    pub(super) fn may_end_failure(&self) -> bool {
        use postern_rewriter::plan::Transaction::{Commit, Rollback, RollbackTo};
        self.plan.is_none() || matches!(self.effect(), Effect::Transaction(Commit | Rollback | RollbackTo))
    }

    /// What the client is told of its parameters, from what PostgreSQL says of those of the statements upstream.
    pub(super) fn client_types(&self, upstream: &[(&Statement, Vec<u32>)]) -> Vec<u32> {
        let declared = self.plan.as_ref().map_or(&[][..], |p| &p.param_types);
        let told = |index: usize| {
            if let Some(oid) = self.types.get(index).filter(|oid| **oid != 0) {
                return *oid;
            }
            if let Some(oid) = declared
                .iter()
                .find(|(i, _)| usize::from(*i) == index)
                .and_then(|(_, ty)| ty.oid())
            {
                return oid;
            }
            upstream
                .iter()
                .find_map(|(statement, oids)| parameter_oid(statement, oids, index))
                .unwrap_or(TEXT)
        };
        (0..self.params()).map(told).collect()
    }

    /// [`Self::client_types`] from the last two ParameterDescriptions (the first of them only for an UPDATE in two steps).
    pub(super) fn described(&self, kept: Vec<u32>, these: Vec<u32>) -> Vec<u32> {
        match self.plan.as_deref().map(|p| &p.run) {
            Some(Run::Once(statement)) => self.client_types(&[(statement, these)]),
            Some(Run::PerRow(steps)) => self.client_types(&[(&steps.read, kept), (&steps.write, these)]),
            Some(Run::Answer(_)) | None => self.client_types(&[]),
        }
    }
}

/// The types to declare for a statement, where the client declared these.
fn upstream_types(statement: &Statement, types: &[u32]) -> Vec<u32> {
    if statement.forwards_params() {
        return types.to_vec();
    }
    let of = |param: &Param| match param {
        Param::Client(i) => types.get(usize::from(*i)).copied().unwrap_or(0),
        Param::Seal { .. } | Param::EqTag { .. } => BYTEA,
        Param::EqTags { .. } => BYTEA_ARRAY,
        Param::Text(_) | Param::Generated(_) | Param::Row(_) => 0,
    };
    statement.params.iter().map(of).collect()
}

fn is_sealed(param: &Param) -> bool {
    match param {
        Param::Seal { .. } | Param::EqTag { .. } | Param::EqTags { .. } => true,
        Param::Client(_) | Param::Text(_) | Param::Generated(_) | Param::Row(_) => false,
    }
}

/// What a name costs besides what it stands for.
const NAME: usize = 256;
const TEXT: u32 = 25;
const BYTEA: u32 = 17;
const BYTEA_ARRAY: u32 = 1001;

/// What a type that the client declared becomes: a reference to a catalogue object is an oid, because reading or printing one looks names
/// up past the catalogue views; a type that is not built in is left to PostgreSQL to infer, because it may be another module's.
pub(super) fn declared_type(oid: u32) -> u32 {
    const OID: u32 = 26;
    match oid {
        // regproc, regprocedure … regtype, regconfig, regdictionary, regnamespace, regrole, regcollation.
        24 | 2202..=2206 | 3734 | 3769 | 4089 | 4096 | 4191 => OID,
        _ if parameter_type(oid) => oid,
        _ => 0,
    }
}

fn parameter_oid(statement: &Statement, oids: &[u32], index: usize) -> Option<u32> {
    let at = statement
        .params
        .iter()
        .position(|p| matches!(p, Param::Client(n) if usize::from(*n) == index))?;
    oids.get(at).copied()
}

/// The way that a plan is carried out.
fn way(plan: &Plan) -> Way {
    let ours = matches!(
        plan.effect,
        Effect::Token { .. }
            | Effect::ForgetToken
            | Effect::Prepare(_)
            | Effect::Execute(..)
            | Effect::ExecuteComputed(_)
            | Effect::Deallocate(_)
            | Effect::DiscardAll
            | Effect::DiscardSequences
    );
    match plan.effect {
        _ if ours => Way::Ours,
        Effect::CopyRows(_) => Way::Rows,
        _ => run_way(plan),
    }
}

/// The way that what is prepared by a plan's `PREPARE` is carried out.
fn run_way(plan: &Plan) -> Way {
    match plan.run {
        Run::Answer(_) => Way::Ours,
        Run::Once(_) => Way::Relay,
        Run::PerRow(_) => Way::Steps,
    }
}

/// How the rows that a plan's client sees are read.
pub(super) fn output(plan: &Plan) -> Option<&Output> {
    match &plan.run {
        Run::Once(statement) => statement.output.as_ref(),
        Run::PerRow(steps) => steps.write.output.as_ref(),
        Run::Answer(_) => None,
    }
}

/// Whether the text that runs only reads. Deparsed text begins with its keyword.
pub(super) fn only_reads(sql: &Rewritten) -> bool {
    sql.sql().starts_with("SELECT")
}

/// Parameters that a client gave: the body of its Bind, or texts of SQL's `EXECUTE`.
pub(super) enum Given {
    /// A Bind's body.
    Bind(Bytes),
    /// Texts.
    Texts(Vec<Option<Box<str>>>),
}

/// The same, taken apart.
pub(super) struct Values<'a> {
    pub formats: Formats,
    pub values: BindValues<'a>,
}

impl<'a> Values<'a> {
    fn of_texts(texts: &'a [Option<Box<str>>]) -> Self {
        Self {
            formats: Formats::default(),
            values: texts.iter().map(|t| t.as_deref().map(str::as_bytes)).collect(),
        }
    }
}

/// Parameters on their way to a portal, which seldom needs them once it is bound.
pub(super) enum Offered<'a> {
    /// A Bind's body, and what is in it.
    Bind(&'a [u8], Values<'a>),
    /// Texts of SQL's `EXECUTE`.
    Texts(Vec<Option<Box<str>>>),
}

impl<'a> Offered<'a> {
    /// None at all.
    pub(super) fn nothing() -> Self {
        Self::Texts(Vec::new())
    }

    /// Bytes that they take.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Bind(body, _) => body.len(),
            Self::Texts(texts) => bytes_of(texts),
        }
    }

    /// For a portal that needs them later.
    pub(super) fn keep(self) -> Given {
        match self {
            Self::Bind(body, _) => Given::Bind(Bytes::copy_from_slice(body)),
            Self::Texts(texts) => Given::Texts(texts),
        }
    }
}

fn bytes_of(texts: &[Option<Box<str>>]) -> usize {
    texts.iter().map(|t| 16 + t.as_ref().map_or(0, |t| t.len())).sum()
}

impl Given {
    /// None at all.
    pub(super) fn nothing() -> Self {
        Self::Texts(Vec::new())
    }

    /// Bytes that they take.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Bind(body) => body.len(),
            Self::Texts(texts) => bytes_of(texts),
        }
    }

    /// Takes it apart.
    pub(super) fn values(&self) -> Result<Values<'_>, MessageError> {
        match self {
            Self::Bind(body) => {
                let Bind { formats, values, .. } = Bind::decode(body)?;
                Ok(Values { formats, values })
            }
            Self::Texts(texts) => Ok(Values::of_texts(texts)),
        }
    }
}

/// A portal.
pub(super) struct Portal {
    /// What was bound.
    pub stmt: Arc<Stmt>,
    /// What was given; kept only where it is needed after binding.
    pub given: Given,
    /// Formats that the client asked for.
    pub results: Formats,
    /// How its rows are read.
    pub reading: Option<Arc<Reading>>,
    /// Whom it was bound for; `None` where no rows are concerned.
    pub identity: Option<Arc<Identity>>,
    /// The cursor that it fetches from, so that its rows are not read as another's.
    pub cursor: Option<Arc<Cursor>>,
    /// Whether PostgreSQL has a portal of that name.
    pub upstream: bool,
    /// Whether we have carried it out; only for what we carry out ourselves, which cannot be done twice.
    pub ran: AtomicBool,
}

impl Portal {
    /// Bytes that it holds.
    pub(super) fn weight(&self) -> usize {
        NAME + self.given.bytes()
    }
}

/// A cursor of SQL's DECLARE.
pub(super) struct Cursor {
    /// Its declaration's plan, whose output reads the rows.
    pub plan: Arc<Plan>,
    /// How its rows are read, with what the predicates were bound to.
    pub reading: Option<Arc<Reading>>,
    /// Whom it was opened for.
    pub identity: Option<Arc<Identity>>,
}

impl Cursor {
    /// Bytes that it holds.
    pub(super) fn weight(&self) -> usize {
        NAME + self.plan.weight
    }

    /// Whether it outlives its transaction. A name that says so by chance only keeps an entry longer.
    pub(super) fn holds(&self) -> bool {
        matches!(&self.plan.run, Run::Once(s) if s.sql.sql().contains(" WITH HOLD "))
    }
}

/// A message that cannot be read is a refusal with PostgreSQL's code.
pub(super) fn misread(error: message::MessageError) -> postern_rewriter::plan::Refusal {
    super::stop::refusal(error.sqlstate(), "protocol", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prints_names_is_not_declared() {
        // text and int4[], as they are; regclass as an oid; aclitem, pg_class's row and a type of a module, not at all.
        assert_eq!([25, 1007, 2205, 1033, 83, 16_600].map(declared_type), [25, 1007, 26, 0, 0, 0]);
    }
}
