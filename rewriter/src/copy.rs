//! COPY between a client and a table or query: `TO STDOUT` and `FROM STDIN`. The server's files and programs are nobody's.
//!
//! What COPY gives is what SELECT would give: a declared table is read by a query of its columns, so barrier, filters, masks and the second
//! reading hold for it as for any other. Where rows hold protected columns, or predicates ask for them, it is that query which runs, and its
//! rows are opened and written in COPY's form on this side. `FROM STDIN` into a declared table is an INSERT of each row ([`crate::fill`]).
//! Refused: parameters, and options that are not on the list.

use pg_query::NodeEnum;
use pg_query::protobuf::{ColumnRef, CopyStmt, DefElem, LimitOption, Node, RangeVar, SelectStmt, SetOperation};
use postern_config::Table;

use crate::copy_form::CopyForm;
use crate::insert::column_of;
use crate::judge::{Ask, Judge, Judged, judged};
use crate::plan::{Effect, Plan, Refusal, Run};
use crate::project::Projection;
use crate::relations::Target;
use crate::scope::Scope;
use crate::select::Mode;
use crate::statement::{finish, walk_data};
use crate::update::Gathered;
use crate::{ddl, fill, tree};

/// Plans a COPY.
pub(crate) fn plan(c: &CopyStmt, stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    if c.is_program || !c.filename.is_empty() {
        return Err(ddl::refused(stmt, ask));
    }
    let mut c = c.clone();
    c.options.iter_mut().for_each(plain_header);
    let stmt = &tree::node(NodeEnum::CopyStmt(Box::new(c.clone())));
    let c = &c;
    if c.is_from {
        return copy_in(c, stmt, ask);
    }
    let from = match (&c.relation, &c.query) {
        (Some(relation), None) => of_relation(c, relation, ask)?,
        (None, Some(_)) => None,
        _ => return Err(Refusal::internal("a COPY has no source")),
    };
    copy_out(from.as_ref().unwrap_or(stmt), ask)
}

/// `COPY table TO`, where the table is declared: the same of a query. Like PostgreSQL's own, it leaves the table's children out.
fn of_relation(c: &CopyStmt, relation: &RangeVar, ask: &Ask<'_>) -> Result<Option<Node>, Refusal> {
    let target = Judge::scout(ask).find(relation);
    options(&c.options)?;
    let table = match target? {
        Target::Own(own) if own.declared.is_some() && own.partitioning.partitioned => {
            return Err(Refusal::new(
                "42809",
                "relation",
                format!("cannot copy from partitioned table \"{}\"", own.name),
            )
            .hint("Try the COPY (SELECT ...) TO variant."));
        }
        Target::Own(own) => match &own.declared {
            Some(table) => table.clone(),
            None => return Ok(None),
        },
        Target::Assumed => return Ok(None),
        Target::Catalogue(..) => return Err(no_right(relation)),
    };
    let mut from = relation.clone();
    from.inh = false;
    let columns = match c.attlist.is_empty() {
        true => vec![star()],
        false => named_columns(c, &table)?,
    };
    let query = SelectStmt {
        target_list: columns.into_iter().map(|column| tree::target(column, "")).collect(),
        from_clause: vec![tree::node(NodeEnum::RangeVar(from))],
        limit_option: LimitOption::Default as i32,
        op: SetOperation::SetopNone as i32,
        ..SelectStmt::default()
    };
    Ok(Some(tree::node(NodeEnum::CopyStmt(Box::new(CopyStmt {
        relation: None,
        attlist: Vec::new(),
        query: Some(Box::new(tree::node(NodeEnum::SelectStmt(Box::new(query))))),
        ..c.clone()
    })))))
}

/// The listed columns as a query's. Each is one of the table's: no other name may come to stand for something there.
fn named_columns(c: &CopyStmt, table: &Table) -> Result<Vec<Node>, Refusal> {
    Ok(listed(c, table)?.into_iter().map(tree::bare_column).collect())
}

/// The names of the listed columns, each of them the table's and there once.
pub(crate) fn listed<'c>(c: &'c CopyStmt, table: &Table) -> Result<Vec<&'c str>, Refusal> {
    let mut names: Vec<&str> = Vec::with_capacity(c.attlist.len());
    for n in &c.attlist {
        let name = tree::text_of(n).ok_or_else(|| Refusal::internal("a column list holds something else"))?;
        column_of(table, name, -1)?;
        if names.contains(&name) {
            return Err(Refusal::new(
                "42701",
                "column",
                format!("column \"{name}\" specified more than once"),
            ));
        }
        names.push(name);
    }
    Ok(names)
}

fn copy_out(stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    let judged = judged(stmt, ask, false, |judge, n| {
        let c = copy_of(n)?;
        options(&c.options)?;
        match (&mut c.relation, &mut c.query) {
            (Some(relation), None) => judge.copied_relation(relation).map(|()| Projection::of_names(Vec::new())),
            (None, Some(query)) => match &query.node {
                Some(NodeEnum::SelectStmt(s)) if ddl::into_of(s).is_some() => {
                    Err(Refusal::new("0A000", "construct", "COPY (SELECT INTO) is not supported"))
                }
                Some(NodeEnum::SelectStmt(_)) => walk_data(judge, query, &Mode::Client),
                _ => Err(Refusal::statement("COPY of this kind of statement").hint("Copy a SELECT or VALUES.")),
            },
            _ => Err(Refusal::internal("a COPY has no source")),
        }
    })?;
    if judged.value.output().is_some() || !judged.params.is_empty() {
        return opened(stmt, ask);
    }
    carried_out(judged, Effect::CopyOut)
}

/// COPY of rows that must be opened, or that are asked for by protected values: its query, whose rows are written on this side.
fn opened(stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    let Some(NodeEnum::CopyStmt(c)) = &stmt.node else {
        return Err(Refusal::internal("a COPY was expected"));
    };
    let Some(query) = &c.query else {
        return Err(Refusal::internal("a COPY has no query"));
    };
    let judged = judged(query, ask, false, |judge, n| walk_data(judge, n, &Mode::Client))?;
    if judged.highest_param > 0 {
        return Err(Refusal::new("42P02", "parameter", "there is no parameter $1"));
    }
    let Some(output) = judged.value.output_of_all() else {
        return Err(Refusal::construct("COPY of columns that are not known").hint("Name the columns."));
    };
    let form = CopyForm::of(&c.options, |name| judged.value.position(name))?;
    let mut gathered = Gathered::default();
    gathered.opened.extend(judged.value.opened().map(|s| s.column.clone()));
    let (statement, _) = gathered.statement(judged, Some(output));
    Ok(finish(Run::Once(statement), Effect::CopyOpened(form.into()), gathered))
}

/// COPY FROM STDIN: PostgreSQL's own into relations that no manifest declares, row by row into declared ones.
fn copy_in(c: &CopyStmt, stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    let (None, Some(relation)) = (&c.query, &c.relation) else {
        return Err(Refusal::internal("a COPY has no target"));
    };
    options(&c.options)?;
    if let Target::Own(own) = Judge::scout(ask).resolve(relation)?
        && let Some(table) = &own.declared
    {
        if own.is_partition() {
            return Err(crate::partition::written(&own));
        }
        return fill::plan(c, table, ask);
    }
    let judged = judged(stmt, ask, false, |judge, n| {
        let c = copy_of(n)?;
        let target = judge.write_target(c.relation.as_mut())?;
        if target.table.is_some() {
            return Err(Refusal::internal("a declared table is copied into unchecked"));
        }
        let mut level = Scope::new(None);
        level.entries.push(target.entry);
        judge.plain_opt(c.where_clause.as_mut(), &level)
    })?;
    carried_out(judged, Effect::CopyIn)
}

/// COPY is a utility statement: PostgreSQL gives it no parameters, the client's or ours.
fn carried_out<T>(judged: Judged<T>, effect: Effect) -> Result<Plan, Refusal> {
    if judged.highest_param > 0 {
        return Err(Refusal::new("42P02", "parameter", "there is no parameter $1"));
    }
    if !judged.params.is_empty() || !judged.generate.is_empty() {
        return Err(sealed());
    }
    let mut gathered = Gathered::default();
    let (statement, _) = gathered.statement(judged, None);
    Ok(finish(Run::Once(statement), effect, gathered))
}

fn copy_of(n: &mut Node) -> Result<&mut CopyStmt, Refusal> {
    match &mut n.node {
        Some(NodeEnum::CopyStmt(c)) => Ok(c),
        _ => Err(Refusal::internal("a COPY was expected")),
    }
}

impl Judge<'_> {
    /// A relation that COPY reads by itself: one without a declaration, so that it has neither filters nor hidden columns.
    fn copied_relation(&mut self, r: &mut RangeVar) -> Result<(), Refusal> {
        self.seen.range_vars += 1;
        match self.find(r)? {
            Target::Own(own) if own.declared.is_none() => {
                self.readable(&own)?;
                r.schemaname = own.schema.to_string();
            }
            Target::Assumed => {
                if r.schemaname.is_empty() {
                    r.schemaname = self.ask.catalog.schema.as_str().to_owned();
                }
            }
            Target::Own(_) => return Err(Refusal::internal("a declared table is copied outside its filter")),
            Target::Catalogue(..) => return Err(no_right(r)),
        }
        Ok(())
    }
}

/// The options that may be given. FREEZE would show rows to transactions that must not see them; what later versions add is not known.
fn options(options: &[Node]) -> Result<(), Refusal> {
    for option in options {
        let Some(NodeEnum::DefElem(d)) = &option.node else {
            return Err(Refusal::internal("COPY's options hold something else"));
        };
        let allowed = d.defnamespace.is_empty()
            && match d.defname.as_str() {
                "format" => matches!(text(d), Some("text" | "csv" | "binary")),
                "delimiter" | "null" | "quote" | "escape" => text(d).is_some(),
                "header" => match d.arg.as_deref().map(|a| &a.node) {
                    None => true,
                    Some(Some(NodeEnum::String(_) | NodeEnum::Boolean(_) | NodeEnum::Integer(_))) => true,
                    Some(_) => false,
                },
                "force_quote" | "force_not_null" | "force_null" => match d.arg.as_deref().map(|a| &a.node) {
                    Some(Some(NodeEnum::AStar(_))) => true,
                    Some(Some(NodeEnum::List(l))) => l.items.iter().all(|n| tree::text_of(n).is_some()),
                    _ => false,
                },
                "encoding" => text(d).is_some_and(is_utf8),
                _ => false,
            };
        if !allowed {
            return Err(
                Refusal::new("0A000", "copy-option", format!("COPY option \"{}\" is not available", d.defname)).hint(
                    "Use FORMAT text, csv or binary, DELIMITER, NULL, HEADER, QUOTE, ESCAPE, FORCE_QUOTE, FORCE_NOT_NULL, FORCE_NULL; \
                     the encoding is UTF8.",
                ),
            );
        }
    }
    Ok(())
}

/// The spellings of a header that is wanted (`CSV HEADER` of old, `HEADER true`) become the one that reads back as it was printed.
fn plain_header(option: &mut Node) {
    let Some(NodeEnum::DefElem(d)) = &mut option.node else {
        return;
    };
    let wanted = match d.arg.as_deref().map(|a| &a.node) {
        Some(Some(NodeEnum::Boolean(b))) => b.boolval,
        Some(Some(NodeEnum::String(s))) => ["true", "on"].iter().any(|yes| s.sval.eq_ignore_ascii_case(yes)),
        Some(Some(NodeEnum::Integer(i))) => i.ival == 1,
        _ => false,
    };
    if d.defname == "header" && wanted {
        d.arg = None;
    }
}

/// PostgreSQL compares encodings' names by their letters and digits alone.
fn is_utf8(name: &str) -> bool {
    let folded: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    matches!(folded.as_str(), "utf8" | "unicode")
}

fn text(d: &DefElem) -> Option<&str> {
    d.arg.as_deref().and_then(tree::text_of)
}

fn star() -> Node {
    tree::node(NodeEnum::ColumnRef(ColumnRef {
        fields: vec![tree::node(NodeEnum::AStar(pg_query::protobuf::AStar {}))],
        location: -1,
    }))
}

fn sealed() -> Refusal {
    Refusal::new(
        "0A000",
        "copy-sealed",
        "COPY does not carry protected columns or predicates on them",
    )
    .hint("Name plain columns in the COPY, or use SELECT.")
}

fn no_right(r: &RangeVar) -> Refusal {
    Refusal::denied("relation", format!("permission denied for table {}", r.relname))
}
