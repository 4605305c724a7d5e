//! The judge: what may be named, what is sealed, and the record of what was looked at.
//!
//! One walk resolves, authorises and rewrites, because each needs what the one before it found at that very place; the walk counts every
//! security-relevant node it meets, and the count must equal the exhaustive census of the tree before the walk. Statements with sealed
//! constants are walked twice: once to learn which parameters arise, once with their final numbers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pg_query::protobuf::{Node, RawStmt};
use postern_config::expr::{Expr, Subqueries};
use postern_config::manifest::Operation;
use postern_config::names::{ColumnRef, TableRef};
use postern_config::settings::Enforce;
use postern_config::{ColumnType, Login, ModuleName};

use crate::catalog::{Catalog, RelationKind};
use crate::census::{self, Counts};
use crate::create_function::Body;
use crate::inside::Mentions;
use crate::locks::Locked;
use crate::plan::{Keeps, Param, Refusal, Rewritten};
use crate::{allow, fence, plan, print, tree};

/// What a statement is judged against.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// The module's relations.
    pub catalog: &'a Catalog,
    /// The module.
    pub module: &'a ModuleName,
    /// The login that asks.
    pub login: &'a Login,
    /// The user is superadmin (may see costs in EXPLAIN; rows are filtered by policy like anybody's).
    pub superadmin: bool,
    /// Relations that no manifest declares are there for whoever asks: the module itself, and no user of it.
    pub undeclared: bool,
    /// Where filters are applied.
    pub enforce: Enforce,
    /// Longest text.
    pub max_sql_bytes: usize,
}

/// Alias of a relation beneath its filter. Clients cannot write it, so it proves the barrier.
pub(crate) const BARRIER: &str = "postern$t";

/// Alias of the table in a policy's subquery, as the policy is printed.
const POLICY_SUBQUERY: &str = "postern$in";

/// What a barrier depends on: the table, the partition that it is read by, with its children, locked, how its filter is printed.
type BarrierKey = (TableRef, Option<Box<str>>, bool, bool, Subqueries);

/// One walk's state.
pub(crate) struct Judge<'a> {
    pub(crate) ask: &'a Ask<'a>,
    pub(crate) seen: Counts,
    pub(crate) params: Params,
    pub(crate) relations: BTreeSet<TableRef>,
    pub(crate) policies: BTreeSet<String>,
    pub(crate) operations: BTreeSet<(TableRef, Operation)>,
    pub(crate) opened: BTreeSet<ColumnRef>,
    pub(crate) generate: Vec<TableRef>,
    /// For each open query level, whether it aggregates.
    pub(crate) aggregates: Vec<bool>,
    /// Declared relations that are written directly: (schema, name).
    pub(crate) targets: Vec<(String, String)>,
    /// Declared relations that are inserted into, and whether what is inserted is asked for as well.
    pub(crate) inserts: Vec<(TableRef, bool)>,
    /// Declared relations whose native row-level security is off, or holds less than it should.
    pub(crate) unsecured: BTreeSet<TableRef>,
    /// CTEs of the WITH clauses around that cannot be named yet, the next one last.
    pub(crate) coming_ctes: Vec<String>,
    /// CTE names in use, for the second reading.
    pub(crate) cte_names: BTreeSet<String>,
    /// How many declared tables are read, and the barriers made for them.
    pub(crate) barriers: usize,
    pub(crate) barrier_trees: HashMap<BarrierKey, Node>,
    /// Columns that the WHERE above the FROM being walked compares by `=`: (alias, name).
    pub(crate) equated: Vec<(Option<String>, String)>,
    /// The table that is being made, once its name is known: its own constraints may refer to it.
    pub(crate) making: Option<(String, String)>,
    /// How many calls that name something shared by all sessions are open around the node.
    pub(crate) sharing: usize,
    /// What outlives the transaction.
    pub(crate) keeps: Keeps,
    /// How often the statement mentions each of its parameters, before anything was rewritten.
    pub(crate) mentions: Mentions,
    /// What of the FROM list being walked is locked.
    pub(crate) locked: Locked,
    /// With `enforce = "rewrite"`: barriers keep the client's predicates above the filter.
    pub(crate) fenced: bool,
    /// How many predicates were met that can tell nothing of a hidden row.
    pub(crate) quiet_predicates: usize,
    /// Something else was met that needs the fences.
    pub(crate) needs_fences: bool,
    /// What the relations and functions that it names reach.
    pub(crate) reaches: Reaches,
    /// The statement is told how it would run, and does not.
    pub(crate) only_explained: bool,
    /// The statement is a `set_config` by itself, of a setting that was looked at.
    pub(crate) sets_config: bool,
    /// What is made of the statement outlives it (a view): filter and fence stand in it, whoever else filters today.
    pub(crate) outlives: bool,
    /// The body of a function is judged.
    pub(crate) body: Option<Body>,
    /// A table is touched whose policies look into another module's.
    pub(crate) looks_into_imports: bool,
    hidden: usize,
}

/// What is named besides tables that no manifest declares, of which the module may know all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reaches {
    /// A view over the catalogue, or a function that reads it.
    pub(crate) catalogue: bool,
    /// A view, behind which may be anything: the catalogue, a declared table, another module's.
    pub(crate) view: bool,
    /// A declared table.
    pub(crate) declared: bool,
}

/// Parameters as they are met.
#[derive(Default)]
pub(crate) struct Params {
    /// The client's, used as they are (1-based).
    plain: BTreeSet<u16>,
    /// The client's, used for protected columns, with the declared type.
    pub(crate) sealed: BTreeMap<u16, ColumnType>,
    /// The client's, asked whether they are NULL.
    null_tested: BTreeSet<u16>,
    /// Ours.
    new: Vec<Param>,
    /// Where in `new` those are that may serve several places.
    shared: HashMap<Param, usize>,
    /// Highest of the client's.
    pub(crate) highest: u16,
    numbering: Option<Numbering>,
}

struct Numbering {
    client: HashMap<u16, i32>,
    /// The other way round: the client's number of `$1`, `$2`, ….
    numbered: Vec<u16>,
    first_new: i32,
    /// What answers for a sealed parameter whether it is NULL.
    null_answers: HashMap<u16, Param>,
}

/// A tree that was judged, rewritten, printed and read again.
pub(crate) struct Judged<T> {
    pub(crate) sql: Rewritten,
    pub(crate) params: Vec<Param>,
    pub(crate) sealed_params: BTreeMap<u16, ColumnType>,
    pub(crate) plain_params: BTreeSet<u16>,
    pub(crate) highest_param: u16,
    pub(crate) generate: Vec<TableRef>,
    pub(crate) relations: BTreeSet<TableRef>,
    pub(crate) policies: BTreeSet<String>,
    pub(crate) operations: BTreeSet<(TableRef, Operation)>,
    pub(crate) opened: BTreeSet<ColumnRef>,
    pub(crate) keeps: Keeps,
    pub(crate) value: T,
}

/// Walks a statement with `walk`, which must visit every node of it, and reads the result a second time. With `compact`, parameters are
/// numbered anew even where all are the client's (a statement made from part of another).
pub(crate) fn judged<T>(
    statement: &Node,
    ask: &Ask<'_>,
    compact: bool,
    walk: impl Fn(&mut Judge<'_>, &mut Node) -> Result<T, Refusal>,
) -> Result<Judged<T>, Refusal> {
    let census = census::survey(statement)?;
    let mut mentions = Mentions::new();
    for number in &census.params {
        *mentions.entry(*number).or_default() += 1;
    }
    let mut judge = Judge::new(ask, None);
    judge.mentions = mentions;
    let mut tree = statement.clone();
    let mut value = walk(&mut judge, &mut tree)?;
    if judge.seen != census.counts {
        return Err(Refusal::internal(
            "the statement holds a part that Postern did not understand",
        ));
    }
    if census.reserved_name {
        return Err(Refusal::new(
            "42602",
            "reserved-name",
            "names that start with postern$ are reserved",
        ));
    }
    judge.params.settle();
    judge.params.check()?;
    let unfenced = |judge: &Judge<'_>| {
        ask.enforce == Enforce::Rewrite
            && judge.barriers > 0
            && !judge.needs_fences
            && fence::needless(statement, census.counts.selects, judge.quiet_predicates)
    };
    let needless = unfenced(&judge);
    let renumbered = compact || !judge.params.new.is_empty();
    if renumbered || needless {
        let numbering = renumbered.then(|| judge.params.number());
        let mentions = std::mem::take(&mut judge.mentions);
        judge = Judge::new(ask, numbering);
        judge.mentions = mentions;
        judge.fenced = !needless;
        tree = statement.clone();
        value = walk(&mut judge, &mut tree)?;
        if needless && !unfenced(&judge) {
            return Err(Refusal::internal("the statement was understood differently the second time"));
        }
        judge.params.settle();
    }
    let sql = second_reading(tree, &judge)?;
    let compacted = judge.params.numbering.is_some();
    let params = if compacted {
        judge
            .params
            .plain
            .iter()
            .map(|n| Param::Client(*n - 1))
            .chain(judge.params.new)
            .collect()
    } else {
        (0..judge.params.highest).map(Param::Client).collect()
    };
    Ok(Judged {
        sql,
        params,
        sealed_params: judge.params.sealed,
        plain_params: judge.params.plain,
        highest_param: judge.params.highest,
        generate: judge.generate,
        relations: judge.relations,
        policies: judge.policies,
        operations: judge.operations,
        opened: judge.opened,
        keeps: judge.keeps,
        value,
    })
}

/// Reads printed text, which must be the same tree.
fn read_back(text: &str, stmt: &RawStmt) -> Result<RawStmt, Refusal> {
    let again = pg_query::parse(text, 0).map_err(|_| Refusal::internal("the rewritten statement could not be read back"))?;
    let mut all = again.protobuf.stmts.into_iter();
    let (Some(read), None) = (all.next(), all.next()) else {
        return Err(Refusal::internal("the rewritten statement reads back as several"));
    };
    match census::shape(&read.stmt)? == census::shape(&stmt.stmt)? {
        true => Ok(read),
        false => Err(Refusal::internal("the rewritten statement reads back differently")),
    }
}

/// Prints the tree, reads the text with PostgreSQL's parser, requires the same tree, and judges what will really run: every relation is
/// one that may be named, and every declared one stands beneath its barrier or is the target of a write that was filtered.
fn second_reading(tree: Node, judge: &Judge<'_>) -> Result<Rewritten, Refusal> {
    let stmt = RawStmt {
        stmt: Some(Box::new(tree)),
        stmt_location: 0,
        stmt_len: 0,
    };
    let printed = print::deparse(&stmt)?;
    let (text, read) = match read_back(&printed, &stmt) {
        Ok(read) => (printed, read),
        Err(refusal) => {
            let text = print::with_unbounded_chars(&printed).ok_or(refusal)?;
            let read = read_back(&text, &stmt)?;
            (text, read)
        }
    };
    let mut targets = judge.targets.clone();
    for (schema, name, alias) in census::survey(&read.stmt)?.relations {
        if schema.is_empty() {
            // A CTE: never by a name that a relation has as well.
            let catalog = judge.ask.catalog;
            let relation = catalog.relation("pg_temp", &name).is_some()
                || catalog.relation(catalog.schema.as_str(), &name).is_some()
                || allow::catalogue_view("pg_catalog", &name).is_some();
            if judge.cte_names.contains(&name) && (!relation || !catalog.declares()) {
                continue;
            }
            return Err(Refusal::internal(
                "the rewritten statement names a relation without its schema",
            ));
        }
        if allow::is_catalogue_view(&schema, &name) || !judge.ask.catalog.closed {
            continue;
        }
        if schema != judge.ask.catalog.schema.as_str() && schema != "pg_temp" {
            return Err(Refusal::internal(
                "the rewritten statement names a relation outside the module",
            ));
        }
        if schema != "pg_temp" && judge.ask.catalog.left_out.contains(name.as_str()) {
            return Err(Refusal::internal(
                "the rewritten statement names a relation that is not to be seen",
            ));
        }
        let declared = judge
            .ask
            .catalog
            .relation(&schema, &name)
            .is_some_and(|r| r.declared.is_some());
        // Without native row-level security a policy's own subquery stands in the filter, where it sees every row.
        let of_policy = judge.ask.enforce == Enforce::Rewrite && alias == POLICY_SUBQUERY;
        if declared && alias != BARRIER && !of_policy {
            let Some(i) = targets.iter().position(|(s, n)| *s == schema && *n == name) else {
                return Err(Refusal::internal("the rewritten statement reads a table outside its filter"));
            };
            targets.swap_remove(i);
        }
    }
    let mark = match judge.inserts.as_slice() {
        [(table, false), others @ ..] if others.iter().all(|other| *other == (table.clone(), false)) => {
            plan::reads_nothing(table)
        }
        _ => None,
    };
    Ok(Rewritten::new(match mark {
        Some(mark) if judge.ask.enforce == Enforce::Rewrite => mark + &text,
        _ => text,
    }))
}

impl<'a> Judge<'a> {
    fn new(ask: &'a Ask<'a>, numbering: Option<Numbering>) -> Self {
        Self {
            ask,
            seen: Counts::default(),
            params: Params {
                numbering,
                ..Params::default()
            },
            relations: BTreeSet::new(),
            policies: BTreeSet::new(),
            operations: BTreeSet::new(),
            opened: BTreeSet::new(),
            generate: Vec::new(),
            aggregates: Vec::new(),
            targets: Vec::new(),
            inserts: Vec::new(),
            unsecured: BTreeSet::new(),
            coming_ctes: Vec::new(),
            cte_names: BTreeSet::new(),
            barriers: 0,
            barrier_trees: HashMap::new(),
            equated: Vec::new(),
            making: None,
            sharing: 0,
            keeps: Keeps::NOTHING,
            mentions: Mentions::new(),
            locked: Locked::Nothing,
            fenced: true,
            quiet_predicates: 0,
            needs_fences: false,
            sets_config: false,
            outlives: false,
            body: None,
            reaches: Reaches::default(),
            looks_into_imports: false,
            only_explained: false,
            hidden: 0,
        }
    }

    /// A name for a hidden output column.
    pub(crate) fn hidden_name(&mut self) -> String {
        self.hidden += 1;
        format!("postern$h{}", self.hidden)
    }

    /// Notes which policies of a table were applied.
    pub(crate) fn note_policies(&mut self, table: &postern_config::Table, operation: Operation) {
        self.operations.insert((table.name.clone(), operation));
        // Whatever the operation: how PostgreSQL plans a check is told with the rest of the plan.
        self.looks_into_imports |= table.predicates().any(|e| self.looks_into_import(e));
        for policy in table.policies.iter().filter(|p| p.operations.contains(&operation)) {
            self.policies.insert(format!("{}/{}", table.name, policy.name));
        }
    }
}

impl Judge<'_> {
    fn looks_into_import(&self, expr: &Expr) -> bool {
        let imported = |t: &TableRef| {
            let relation = self.ask.catalog.relation(t.schema.as_str(), t.name.as_str());
            relation.is_some_and(|r| r.kind == RelationKind::Imported)
        };
        expr.subqueries().into_iter().any(|s| imported(&s.table))
    }
}

impl Params {
    /// A client's parameter used as it is; its number upstream.
    pub(crate) fn plain(&mut self, number: i32, location: i32) -> Result<i32, Refusal> {
        let n = self.number_of(number, location)?;
        self.plain.insert(n);
        Ok(match &self.numbering {
            Some(numbering) => *numbering
                .client
                .get(&n)
                .ok_or_else(|| Refusal::internal("a parameter was not numbered"))?,
            None => i32::from(n),
        })
    }

    /// The client's number of a parameter that `plain` gave this one upstream; `None` for one of ours.
    pub(crate) fn client_number(&self, upstream: i32) -> Option<i32> {
        match &self.numbering {
            Some(numbering) => usize::try_from(upstream)
                .ok()
                .and_then(|n| numbering.numbered.get(n.checked_sub(1)?))
                .map(|n| i32::from(*n)),
            // The first walk: ours are not numbered yet, but from the end.
            None => (upstream < i32::from(u16::MAX)).then_some(upstream),
        }
    }

    /// A client's parameter used for a protected column; its index from 0.
    pub(crate) fn sealed(&mut self, number: i32, ty: &ColumnType, location: i32) -> Result<u16, Refusal> {
        let n = self.number_of(number, location)?;
        match self.sealed.get(&n) {
            Some(other) if other.unconstrained() != ty.unconstrained() => {
                return Err(
                    Refusal::new("42P08", "parameter", format!("inconsistent types deduced for parameter ${n}")).at(location),
                );
            }
            _ => {
                self.sealed.insert(n, ty.clone());
            }
        }
        Ok(n - 1)
    }

    /// A client's parameter whose value is also needed to bind a sealed one; its index from 0.
    pub(crate) fn valued(&mut self, number: i32, location: i32) -> Result<u16, Refusal> {
        Ok(self.number_of(number, location)? - 1)
    }

    /// A parameter of ours.
    pub(crate) fn make(&mut self, param: Param) -> Node {
        // Each sealed value gets a nonce of its own.
        let known = if matches!(param, Param::Seal { .. }) {
            None
        } else {
            self.shared.get(&param).copied()
        };
        let index = known.unwrap_or_else(|| {
            let index = self.new.len();
            if !matches!(param, Param::Seal { .. }) {
                self.shared.insert(param.clone(), index);
            }
            self.new.push(param);
            index
        });
        let first = self.numbering.as_ref().map_or(i32::from(u16::MAX), |n| n.first_new);
        tree::param(first + i32::try_from(index).unwrap_or(i32::MAX / 2))
    }

    /// A client's parameter of which only NULL is asked: what stands in its place. Where its value is a protected column's elsewhere, what
    /// is sealed from it answers, as NULL stays NULL.
    pub(crate) fn null_tested(&mut self, number: i32, location: i32) -> Result<Node, Refusal> {
        let n = self.number_of(number, location)?;
        let Some(numbering) = &self.numbering else {
            // Not known before the whole statement was walked.
            self.null_tested.insert(n);
            return Ok(tree::param(number));
        };
        match numbering.null_answers.get(&n).cloned() {
            Some(answer) => Ok(self.make(answer)),
            None => self.plain(number, location).map(tree::param),
        }
    }

    /// Whether the first walk found a client's parameter to be a protected column's value, so that its NULL test was replaced.
    pub(crate) fn is_sealed(&self, number: i32) -> bool {
        let n = u16::try_from(number).unwrap_or(0);
        self.numbering.as_ref().is_some_and(|m| m.null_answers.contains_key(&n))
    }

    /// After the first walk: what was only asked for NULL, and is sealed nowhere, is plain.
    fn settle(&mut self) {
        let tested = std::mem::take(&mut self.null_tested);
        self.plain.extend(tested.iter().filter(|n| !self.sealed.contains_key(n)));
        self.null_tested = tested;
    }

    fn number_of(&mut self, number: i32, location: i32) -> Result<u16, Refusal> {
        match u16::try_from(number) {
            Ok(n) if n > 0 => {
                self.highest = self.highest.max(n);
                Ok(n)
            }
            _ => Err(Refusal::new("42P02", "parameter", format!("there is no parameter ${number}")).at(location)),
        }
    }

    /// A value that must be sealed may not also travel as it is.
    fn check(&self) -> Result<(), Refusal> {
        match self.plain.iter().find(|n| self.sealed.contains_key(n)) {
            Some(n) => Err(in_the_clear(*n)),
            None if self.plain.len() + self.new.len() > usize::from(u16::MAX) => Err(Refusal::new(
                "54000",
                "size",
                "the statement needs more than 65535 parameters once its values are sealed",
            )
            .hint("Send fewer rows per statement.")),
            None => Ok(()),
        }
    }

    fn number(&self) -> Numbering {
        let client: HashMap<u16, i32> = self.plain.iter().copied().zip(1..).collect();
        let first_new = i32::try_from(client.len()).unwrap_or(0) + 1;
        let null_answers = self
            .null_tested
            .iter()
            .filter(|n| self.sealed.contains_key(n))
            .filter_map(|n| self.new.iter().find(|p| is_value_of(p, *n - 1)).map(|p| (*n, p.clone())))
            .collect();
        Numbering {
            client,
            numbered: self.plain.iter().copied().collect(),
            first_new,
            null_answers,
        }
    }
}

/// The refusal of a parameter that is to be sealed and used as it is.
pub(crate) fn in_the_clear(n: u16) -> Refusal {
    Refusal::new(
        "0A000",
        "sealed-operation",
        format!("parameter ${n} is used for a protected column and elsewhere, where its value would travel in the clear"),
    )
    .hint("Pass the value as two parameters, or leave the other use out.")
}

/// Whether a parameter of ours is NULL exactly where the client's of that index is.
fn is_value_of(param: &Param, index: u16) -> bool {
    match param {
        Param::Seal { value, .. } | Param::EqTag { value, .. } | Param::EqTags { value, .. } => {
            matches!(value, crate::plan::Value::Client(n, _) if *n == index)
        }
        _ => false,
    }
}

impl<'a> Judge<'a> {
    /// A judge that only looks names up; its findings are dropped.
    pub(crate) fn scout(ask: &'a Ask<'a>) -> Self {
        Self::new(ask, None)
    }
}
