//! Relations: resolving a name as PostgreSQL would, and the barrier that stands in for a declared table in every read.

use std::rc::Rc;
use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, RangeVar};
use postern_config::expr::{Expr, Subqueries};
use postern_config::manifest::Operation;
use postern_config::names::{eq_column, quote_ident, quote_literal};
use postern_config::settings::Enforce;
use postern_config::{Column, ColumnType, Protection, Table, policy};

use crate::catalog::{Native, Relation, RelationKind};
use crate::create_function::Body;
use crate::judge::{BARRIER, Judge};
use crate::locks::SEEN;
use crate::plan::{Keeps, MASKED, Param, Refusal, Sealed, Value};
use crate::scope::{Col, Entry, Mask, Nature, Origin, Scope, SealedCol, TagKey};
use crate::{allow, foreseen, mark, tree};

/// Most places at which one statement may read declared tables: each is a subquery with the table's whole filter in it, so a short text
/// could become an endless one.
const MAX_BARRIERS: usize = 500;

/// What a relation's name stands for.
pub(crate) enum Target {
    /// A view over the catalogue.
    Catalogue(&'static str, &'static str),
    /// The module's own.
    Own(Arc<Relation>),
    /// Taken as own and plain, columns unknown.
    Assumed,
}

impl Judge<'_> {
    /// Whether a relation of the module answers as a missing one: no manifest declares it, and a user asks.
    pub(crate) fn hides(&self, relation: &Relation) -> bool {
        !relation.is_manifests() && &*relation.schema != "pg_temp" && !self.ask.undeclared
    }

    /// Resolves a relation's name, CTEs apart. A foreign relation is missing, with PostgreSQL's own words; one that is barred is refused.
    pub(crate) fn resolve(&mut self, r: &RangeVar) -> Result<Target, Refusal> {
        match self.find(r)? {
            Target::Own(relation) if relation.is_barred() => Err(barred(&relation)),
            target => Ok(target),
        }
    }

    /// [`Judge::resolve`] for what a barred relation may be used for all the same: to be dropped, and a closed one to be read where PostgreSQL filters its rows.
    pub(crate) fn find(&mut self, r: &RangeVar) -> Result<Target, Refusal> {
        let catalog = self.ask.catalog;
        let shown = if r.schemaname.is_empty() {
            r.relname.clone()
        } else {
            format!("{}.{}", r.schemaname, r.relname)
        };
        if !r.catalogname.is_empty() {
            return Err(Refusal::construct("A reference to another database").at(r.location));
        }
        let own = match r.schemaname.as_str() {
            "" => catalog.relation("pg_temp", &r.relname).or_else(|| {
                if allow::catalogue_view("pg_catalog", &r.relname).is_some() {
                    None
                } else {
                    catalog.relation(catalog.schema.as_str(), &r.relname)
                }
            }),
            schema => catalog.relation(schema, &r.relname),
        };
        self.certain(r)?;
        if let Some(relation) = own {
            if self.hides(relation) {
                return Err(Refusal::missing_relation(&shown, r.location));
            }
            // A view may read declared tables.
            let passing = &*relation.schema == "pg_temp" || matches!(relation.kind, RelationKind::View | RelationKind::Imported);
            if self.body.is_some() && (relation.declared.is_some() || relation.is_barred() || passing) {
                return Err(Body::refuses("A declared table, a view or a temporary relation").at(r.location));
            }
            self.reaches.declared |= relation.declared.is_some();
            self.reaches.view |= matches!(relation.kind, RelationKind::View | RelationKind::Imported);
            if &*relation.schema == "pg_temp" {
                self.keeps.add(Keeps::TEMPORARY_IN_BLOCK);
            }
            // A partition is read by way of its table.
            let stands_for = relation.declared.as_ref().map(|t| t.name.clone());
            if let Some(table) = stands_for.or_else(|| relation.table_ref()) {
                if relation.declared.is_some() && relation.native < Native::wanted(self.ask.enforce) {
                    if self.ask.enforce == Enforce::Rls {
                        return Err(Refusal::new(
                            "0A000",
                            "unsecured",
                            format!(
                                "native row-level security is off for table {}, and it is its only filter",
                                relation.name
                            ),
                        )
                        .hint("The database differs from the manifests; `postern provision` mends it.")
                        .at(r.location));
                    }
                    self.unsecured.insert(table.clone());
                }
                self.relations.insert(table);
            }
            return Ok(Target::Own(relation.clone()));
        }
        let view = match r.schemaname.as_str() {
            "" | "pg_catalog" => allow::catalogue_view("pg_catalog", &r.relname),
            "information_schema" => allow::catalogue_view("information_schema", &r.relname),
            _ => None,
        };
        if let Some((schema, name)) = view {
            if self.body.is_some() {
                return Err(Body::refuses("A relation of the catalogue").at(r.location));
            }
            self.reaches.catalogue = true;
            return Ok(Target::Catalogue(schema, name));
        }
        if !catalog.closed {
            let schema = if r.schemaname.is_empty() {
                catalog.schema.as_str()
            } else {
                &r.schemaname
            };
            if matches!(schema, "pg_catalog" | "information_schema") || r.relname.starts_with("pg_") {
                return Err(Refusal::missing_relation(&shown, r.location));
            }
            if let (Ok(schema), Ok(name)) = (postern_config::Ident::new(schema), postern_config::Ident::new(&r.relname)) {
                self.relations.insert(postern_config::TableRef { schema, name });
            }
            return Ok(Target::Assumed);
        }
        Err(Refusal::missing_relation(&shown, r.location))
    }

    /// Refuses a name of which the statements before in a batch leave open what it stands for. Of the module's own relations a user sees none, whatever
    /// they are.
    fn certain(&self, r: &RangeVar) -> Result<(), Refusal> {
        let catalog = self.ask.catalog;
        let doubts = |schema: &str| (self.ask.undeclared || schema == "pg_temp") && catalog.doubts(schema, &r.relname);
        let doubtful = match r.schemaname.as_str() {
            "" => doubts("pg_temp") || doubts(catalog.schema.as_str()),
            schema => doubts(schema),
        };
        if doubtful { Err(foreseen::in_doubt(r)) } else { Ok(()) }
    }

    /// Refuses to read an outdated view, a closed relation where PostgreSQL shows its rows, and to make what outlives the statement over either.
    pub(crate) fn readable(&self, relation: &Relation) -> Result<(), Refusal> {
        match relation.outdated || relation.is_closed() && (self.outlives || relation.native < Native::Rows) {
            true => Err(barred(relation)),
            false => Ok(()),
        }
    }

    /// What PostgreSQL says besides where a missing relation has the name of a CTE that cannot be named here.
    fn coming(&self, r: &RangeVar, missing: Refusal) -> Refusal {
        if missing.sqlstate != "42P01" || !r.schemaname.is_empty() || !self.coming_ctes.contains(&r.relname) {
            return missing;
        }
        missing
            .detail(format!(
                "There is a WITH item named \"{}\", but it cannot be referenced from this part of the query.",
                r.relname
            ))
            .hint("Use WITH RECURSIVE, or re-order the WITH items to remove forward references.")
    }

    /// A relation in FROM: its entry, and the node that stands in its place. `sample` is the TABLESAMPLE node that held it, if any; the
    /// node is then placed beneath the barrier with it.
    pub(crate) fn range_var(
        &mut self,
        r: &mut RangeVar,
        scope: &Scope<'_>,
        sample: Option<&Node>,
    ) -> Result<(Entry, Option<Node>), Refusal> {
        self.seen.range_vars += 1;
        let alias = r.alias.as_ref().map_or_else(|| r.relname.clone(), |a| a.aliasname.clone());
        let renames = alias_columns(r)?;
        if r.schemaname.is_empty()
            && r.catalogname.is_empty()
            && let Some(cte) = scope.cte(&r.relname)
        {
            self.cte_names.insert(cte.runs_as.to_string());
            if *cte.runs_as != *r.relname {
                r.alias.get_or_insert_with(|| tree::alias(&alias));
                r.relname = cte.runs_as.to_string();
            }
            let columns = rename(cte.columns.clone(), &renames, Listed::table(&alias))?;
            let mut entry = Entry::plain(&alias, columns);
            entry.guarded = cte.guarded;
            return Ok((entry, None));
        }
        let resolved = self.find(r).map_err(|missing| self.coming(r, missing))?;
        match resolved {
            Target::Catalogue(schema, name) => {
                if r.alias.is_none() {
                    r.alias = Some(tree::alias(&r.relname));
                }
                r.schemaname = schema.to_owned();
                r.relname = name.to_owned();
                // `oid`, `ctid` and friends of the catalogue are columns of the views where they are offered at all.
                let mut entry = Entry::plain(&alias, None);
                entry.origin = Origin::Catalogue;
                Ok((entry, None))
            }
            Target::Assumed => {
                if r.schemaname.is_empty() {
                    r.schemaname = self.ask.catalog.schema.as_str().to_owned();
                }
                let mut entry = Entry::plain(&alias, None);
                entry.system_columns = true;
                Ok((entry, None))
            }
            Target::Own(relation) => match &relation.declared {
                Some(table) => {
                    let table = table.clone();
                    let locked = self.locked.reaches(&alias);
                    let node = self.barrier(&table, &relation.partitioning.holds, r, &alias, sample, locked)?;
                    let shown = table.columns.iter().filter(|c| !c.never).count();
                    Listed::table(&alias).within(shown, &renames)?;
                    let mut entry = barrier_entry(&table, &alias, &renames);
                    self.note_policies(&table, Operation::Select);
                    if locked {
                        self.note_policies(&table, Operation::Update);
                        entry.locked = true;
                        // It offers a column more than there are.
                        entry.guarded = true;
                    }
                    Ok((entry, Some(node)))
                }
                None => {
                    if matches!(
                        relation.kind,
                        RelationKind::Index | RelationKind::Key | RelationKind::Composite
                    ) {
                        return Err(
                            Refusal::new("42809", "relation", format!("cannot open relation \"{}\"", relation.name))
                                .at(r.location),
                        );
                    }
                    self.readable(&relation).map_err(|refusal| refusal.at(r.location))?;
                    r.schemaname = relation.schema.to_string();
                    let columns = relation
                        .columns
                        .as_ref()
                        .map(|cs| cs.iter().map(|c| Col::plain(&c.name)).collect());
                    let columns = rename(columns, &renames, Listed::table(&alias))?;
                    let mut entry = Entry::plain(&alias, columns);
                    entry.system_columns = true;
                    entry.stored = relation.kind == RelationKind::Table;
                    Ok((entry, None))
                }
            },
        }
    }

    /// `(SELECT columns FROM table AS postern$t WHERE filter) AS alias`: the only way in which a declared table is read. `partitions` are
    /// those whose rows alone are read; none means all of them.
    fn barrier(
        &mut self,
        table: &Table,
        partitions: &[Box<str>],
        r: &RangeVar,
        alias: &str,
        sample: Option<&Node>,
        locked: bool,
    ) -> Result<Node, Refusal> {
        self.barriers += 1;
        // Once a filter has become a join, PostgreSQL may sort or group what it has not dropped yet.
        self.needs_fences |= table.using(Operation::Select).becomes_join();
        if self.barriers > MAX_BARRIERS {
            return Err(Refusal::new(
                "54000",
                "size",
                format!("the statement reads tables at more than {MAX_BARRIERS} places"),
            )
            .hint("Split it into smaller ones.")
            .at(r.location));
        }
        let subqueries = match self.subqueries() {
            Subqueries::Once if self.asks_by_key(table, alias) => Subqueries::Point,
            Subqueries::Functions if self.asks_by_key(table, alias) => Subqueries::PointFunctions,
            other => other,
        };
        // A partition with partitions of its own has no rows itself.
        let partitions = match (r.inh, partitions) {
            (false, [itself, ..]) => std::slice::from_ref(itself),
            _ => partitions,
        };
        let key = (table.name.clone(), partitions.first().cloned(), r.inh, locked, subqueries);
        let mut from = match self.barrier_trees.get(&key) {
            Some(from) => from.clone(),
            None => {
                let from = self.barrier_tree(table, partitions, r.inh, locked, subqueries)?;
                self.barrier_trees.insert(key, from.clone());
                from
            }
        };
        let Some(NodeEnum::RangeSubselect(sub)) = &mut from.node else {
            return Err(Refusal::internal("a table's filter could not be read"));
        };
        sub.alias = Some(pg_query::protobuf::Alias {
            aliasname: alias.to_owned(),
            colnames: r.alias.as_ref().map(|given| given.colnames.clone()).unwrap_or_default(),
        });
        if let Some(Node {
            node: Some(NodeEnum::RangeTableSample(s)),
        }) = sample
            && let Some(NodeEnum::SelectStmt(inner)) = sub.subquery.as_mut().and_then(|q| q.node.as_mut())
            && let Some(base) = inner.from_clause.pop()
        {
            let mut s = s.clone();
            s.relation = Some(Box::new(base));
            inner.from_clause.push(tree::node(NodeEnum::RangeTableSample(s)));
        }
        Ok(from)
    }

    /// A table's barrier, not yet named.
    fn barrier_tree(
        &mut self,
        table: &Table,
        partitions: &[Box<str>],
        inherited: bool,
        locked: bool,
        subqueries: Subqueries,
    ) -> Result<Node, Refusal> {
        let fence = match self.ask.enforce {
            _ if locked => "",
            // Native row-level security keeps the client's predicates above the filter; where somebody has switched it off, nothing does.
            Enforce::Both | Enforce::Rls if self.outlives || self.unsecured.contains(&table.name) => " OFFSET 0",
            Enforce::Both | Enforce::Rls => "",
            // A leaky predicate of the client must not run on rows that the filter hides.
            Enforce::Rewrite if self.fenced => " OFFSET 0",
            Enforce::Rewrite => "",
        };
        let filter = match self.ask.enforce {
            // PostgreSQL has it.
            Enforce::Rls if !self.outlives => "true".to_owned(),
            // As in PostgreSQL, whoever locks a row must be allowed to change it.
            _ if locked => {
                let filter = policy::all([table.using(Operation::Select), table.using(Operation::Update)]);
                let printed = filter.filter_sql(BARRIER, subqueries);
                match filter.becomes_join() {
                    true => format!("CASE WHEN {printed} THEN true ELSE false END"),
                    false => printed,
                }
            }
            Enforce::Both | Enforce::Rls | Enforce::Rewrite => table.using(Operation::Select).filter_sql(BARRIER, subqueries),
        };
        let mut columns: Vec<String> = self
            .barrier_columns(table, subqueries)?
            .into_iter()
            .map(|(e, n)| format!("{e} AS {}", quote_ident(&n)))
            .collect();
        if locked {
            columns.push(format!("(({filter}) IS TRUE) AS {}", quote_ident(SEEN)));
        }
        let mark = match self.outlives {
            true => {
                let partition = partitions.first().map(|name| qualified(table, name));
                mark::conjunct(table, partition.as_deref())
            }
            false => String::new(),
        };
        let text = format!(
            "SELECT * FROM (SELECT {} FROM {}{} AS {} WHERE {mark}{}{filter}{fence}) AS {}",
            columns.join(", "),
            if inherited || !partitions.is_empty() { "" } else { "ONLY " },
            table.name.quoted(),
            quote_ident(BARRIER),
            in_partitions(table, partitions),
            quote_ident(BARRIER),
        );
        let parsed = pg_query::parse(&text, 0).map_err(|_| Refusal::internal("a table's filter could not be read"))?;
        match parsed
            .protobuf
            .stmts
            .into_iter()
            .next()
            .and_then(|s| s.stmt)
            .and_then(|n| n.node)
        {
            Some(NodeEnum::SelectStmt(mut outer)) => outer.from_clause.pop(),
            _ => None,
        }
        .ok_or_else(|| Refusal::internal("a table's filter could not be read"))
    }

    /// What a barrier selects: (expression, name). Visible columns first, in declared order; then tags and bound values.
    fn barrier_columns(&mut self, table: &Table, subqueries: Subqueries) -> Result<Vec<(String, String)>, Refusal> {
        let base = |name: &str| format!("{}.{}", quote_ident(BARRIER), quote_ident(name));
        let masked = |column: &Column, expr: String, instead: Option<String>| match &column.shown_when {
            Some(shown) => {
                let instead = instead.map(|sql| format!(" ELSE {sql}")).unwrap_or_default();
                format!("CASE WHEN {} THEN {expr}{instead} END", shown.sql(BARRIER, subqueries))
            }
            None => expr,
        };
        let visible = table.columns.iter().filter(|c| !c.never);
        let mut out: Vec<(String, String)> = visible
            .clone()
            .map(|c| (masked(c, base(c.name.as_str()), masked_as(c)), c.name.as_str().to_owned()))
            .collect();
        for column in visible.filter(|c| c.protection.as_ref().is_some_and(|p| p.eq())) {
            let tag = eq_column(&column.name);
            // What is shown instead is what predicates compare: its tag, which the session makes.
            let instead = match &column.mask {
                Some(text) => Some(self.mask_tag(table, column, text)?),
                None => None,
            };
            out.push((masked(column, base(&tag), instead), tag));
        }
        if table
            .columns
            .iter()
            .any(|c| c.protection.as_ref().is_some_and(|p| !p.bind_column_only))
        {
            for name in &table.bound {
                let Some(column) = table.column(name.as_str()) else { continue };
                let stored = if column.protection.is_some() {
                    eq_column(&column.name)
                } else {
                    column.name.as_str().to_owned()
                };
                out.push((base(&stored), bound_name(name.as_str())));
            }
        }
        Ok(out)
    }

    fn mask_tag(&mut self, table: &Table, column: &Column, text: &str) -> Result<String, Refusal> {
        let node = self.params.make(Param::EqTag {
            column: Sealed {
                column: table.column_ref(&column.name),
                ty: column.ty.clone(),
            },
            value: Value::Text(Some(text.into()), column.ty.clone()),
        });
        match node.node {
            Some(NodeEnum::ParamRef(p)) => Ok(format!("${}", p.number)),
            _ => Err(Refusal::internal("a parameter of ours is none")),
        }
    }

    /// How policy subqueries are printed: under native row-level security they must see unfiltered rows through the owner's functions.
    pub(crate) fn subqueries(&self) -> Subqueries {
        match self.ask.enforce {
            Enforce::Both | Enforce::Rls => Subqueries::Functions,
            Enforce::Rewrite => Subqueries::Once,
        }
    }

    /// The entry of a declared table as the direct target of a write: masked columns are masked where they are referred to.
    pub(crate) fn target_entry(&mut self, table: &Arc<Table>, alias: &str) -> Result<Entry, Refusal> {
        let mut columns = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let mask = match &column.shown_when {
                Some(shown) => Some(Rc::new(Mask {
                    shown: predicate(shown, alias, self.subqueries())?,
                    instead: masked_as(column).map(|sql| expression(&sql)).transpose()?,
                })),
                None => None,
            };
            let parts = sealed_col(table, column, |bound| {
                if bound.protection.is_some() {
                    eq_column(&bound.name)
                } else {
                    bound.name.as_str().to_owned()
                }
            });
            let nature = nature_of(column, parts);
            columns.push(Col {
                name: column.name.as_str().into(),
                nature,
                mask,
            });
        }
        let mut entry = Entry::plain(alias, Some(columns));
        entry.guarded = table
            .columns
            .iter()
            .any(|c| c.protection.is_some() || c.never || c.shown_when.is_some());
        entry.behind = Some(table.clone());
        entry.direct = true;
        Ok(entry)
    }
}

/// That a row lies in one of these partitions, and AND behind it; empty where every row will do. A partition has neither policies nor rights
/// of its own, so its rows are read by its table's name.
fn in_partitions(table: &Table, partitions: &[Box<str>]) -> String {
    let lies_in: Vec<String> = partitions
        .iter()
        .map(|name| {
            let partition = quote_literal(&qualified(table, name));
            format!("{}.tableoid = {partition}::pg_catalog.regclass", quote_ident(BARRIER))
        })
        .collect();
    match lies_in.is_empty() {
        true => String::new(),
        false => format!("({}) AND ", lies_in.join(" OR ")),
    }
}

/// A partition's name, as SQL spells it.
fn qualified(table: &Table, partition: &str) -> String {
    format!("{}.{}", table.name.schema.quoted(), quote_ident(partition))
}

/// The refusal of a view that filters by policies of another day, and of a relation whose rows belong to policies that no manifest speaks of any longer: what
/// is done to its definition, and what is made over it or of it, would tell of them or show them.
fn barred(relation: &Relation) -> Refusal {
    if relation.outdated {
        return Refusal::denied("outdated-view", format!("permission denied for view {}", relation.name))
            .hint("It filters by policies that have changed since it was made. Make it again, or drop it.");
    }
    Refusal::denied("closed", format!("permission denied for table {}", relation.name)).hint(
        "It was detached from a declared table, or its manifest declared it once: its rows stay closed. Drop it, or declare it in the manifest.",
    )
}

/// A policy expression as a tree.
pub(crate) fn predicate(e: &Expr, alias: &str, subqueries: Subqueries) -> Result<Node, Refusal> {
    expression(&e.sql(alias, subqueries))
}

/// An expression of ours as a tree.
pub(crate) fn expression(sql: &str) -> Result<Node, Refusal> {
    let parsed = pg_query::parse(&format!("SELECT {sql}"), 0).map_err(|_| Refusal::internal("a policy could not be read"))?;
    let target = match parsed
        .protobuf
        .stmts
        .into_iter()
        .next()
        .and_then(|s| s.stmt)
        .and_then(|n| n.node)
    {
        Some(NodeEnum::SelectStmt(mut s)) => s.target_list.pop(),
        _ => None,
    };
    match target.and_then(|t| t.node) {
        Some(NodeEnum::ResTarget(t)) => t
            .val
            .map(|v| *v)
            .ok_or_else(|| Refusal::internal("a policy could not be read")),
        _ => Err(Refusal::internal("a policy could not be read")),
    }
}

/// Name under which a barrier offers the value that a sealed column is bound to.
fn bound_name(column: &str) -> String {
    format!("postern$b${column}")
}

/// What is shown of a masked column in its place, as SQL; of a protected one the mark that nothing is to be opened.
pub(crate) fn masked_as(column: &Column) -> Option<String> {
    let text = column.mask.as_ref()?;
    Some(match column.protection {
        Some(_) => format!("'\\x{}'::pg_catalog.bytea", MASKED.map(|b| format!("{b:02x}")).concat()),
        None => format!("{}::{}", quote_literal(text), column.ty),
    })
}

fn barrier_entry(table: &Arc<Table>, alias: &str, renames: &[String]) -> Entry {
    let mut columns = Vec::with_capacity(table.columns.len());
    let mut position = 0;
    for column in &table.columns {
        let shown: Box<str> = if column.never {
            column.name.as_str().into()
        } else {
            position += 1;
            renames
                .get(position - 1)
                .map_or_else(|| column.name.as_str().into(), |n| n.as_str().into())
        };
        let mut parts = sealed_col(table, column, |bound| bound_name(bound.name.as_str()));
        parts.envelope = shown.clone();
        let nature = nature_of(column, parts);
        columns.push(Col {
            name: shown,
            nature,
            mask: None,
        });
    }
    let mut entry = Entry::plain(alias, Some(columns));
    entry.guarded = table.has_protected();
    entry.primary_key = table.primary_key.iter().map(|k| k.as_str().into()).collect();
    entry.behind = Some(table.clone());
    entry
}

fn nature_of(column: &Column, parts: SealedCol) -> Nature {
    match (column.never, column.protection.is_some()) {
        (true, _) => Nature::Never(Rc::new(parts)),
        (false, true) => Nature::Sealed(Rc::new(parts)),
        (false, false) => Nature::Plain,
    }
}

/// A protected column's parts; `bound_part` names the column that carries a bound column's value.
pub(crate) fn sealed_col(table: &Table, column: &Column, bound_part: impl Fn(&Column) -> String) -> SealedCol {
    let protection = column.protection.as_ref();
    let column_ref = table.column_ref(&column.name);
    let bound = if protection.is_some_and(|p| p.bind_column_only) {
        Vec::new()
    } else {
        table
            .bound
            .iter()
            .filter_map(|name| table.column(name.as_str()))
            .map(|b| {
                let ty = if b.protection.is_some() {
                    ColumnType::Bytea
                } else {
                    b.ty.clone()
                };
                (bound_part(b).into(), ty)
            })
            .collect()
    };
    SealedCol {
        envelope: column.name.as_str().into(),
        tag: protection
            .filter(|p| Protection::eq(p))
            .map(|_| eq_column(&column.name).into()),
        tag_key: match protection.and_then(|p| p.join_group.clone()) {
            Some(group) => TagKey::Group(group),
            None => TagKey::Column(column_ref.clone()),
        },
        bound,
        mask: column.mask.as_deref().map(Into::into),
        declared_later: protection.is_some_and(|p| p.search.iter().any(|s| *s != postern_config::Search::Eq)),
        line: column.line,
        module: table.name.schema.as_str().into(),
        sealed: Sealed {
            column: column_ref,
            ty: column.ty.clone(),
        },
    }
}

/// Column names of an alias, `AS t(a, b)`.
fn alias_columns(r: &RangeVar) -> Result<Vec<String>, Refusal> {
    let Some(alias) = &r.alias else { return Ok(Vec::new()) };
    names_of(&alias.colnames)
}

/// Names in a list of strings.
pub(crate) fn names_of(nodes: &[Node]) -> Result<Vec<String>, Refusal> {
    nodes
        .iter()
        .map(|n| {
            tree::text_of(n)
                .map(str::to_owned)
                .ok_or_else(|| Refusal::internal("a list of names holds something else"))
        })
        .collect()
}

/// Where a list of column names stands.
pub(crate) struct Listed<'n> {
    what: &'static str,
    name: &'n str,
    location: i32,
}

impl<'n> Listed<'n> {
    /// Behind an alias in FROM.
    pub(crate) fn table(name: &'n str) -> Self {
        Self {
            what: "table",
            name,
            location: -1,
        }
    }

    /// Behind the name of a WITH query.
    pub(crate) fn with_query(name: &'n str, location: i32) -> Self {
        Self {
            what: "WITH query",
            name,
            location,
        }
    }

    /// Behind the alias of a join.
    pub(crate) fn join(name: &'n str) -> Self {
        Self {
            what: "join expression",
            name,
            location: -1,
        }
    }

    /// That the list names visible columns alone. What a relation offers behind them (tags, what values are bound to) has names that no client
    /// can write; a longer list would give it others.
    pub(crate) fn within(&self, visible: usize, names: &[String]) -> Result<(), Refusal> {
        if names.len() <= visible {
            return Ok(());
        }
        let Self { what, name, location } = self;
        Err(Refusal::new(
            "42P10",
            "column",
            format!(
                "{what} \"{name}\" has {visible} columns available but {} columns specified",
                names.len()
            ),
        )
        .at(*location))
    }
}

/// Renames visible columns by position.
pub(crate) fn rename(columns: Option<Vec<Col>>, names: &[String], listed: Listed<'_>) -> Result<Option<Vec<Col>>, Refusal> {
    let Some(mut columns) = columns else { return Ok(None) };
    listed.within(columns.len(), names)?;
    for (column, name) in columns.iter_mut().zip(names) {
        column.name = name.as_str().into();
        if let Nature::Sealed(sealed) = &column.nature {
            column.nature = Nature::Sealed(Rc::new(SealedCol {
                envelope: name.as_str().into(),
                sealed: sealed.sealed.clone(),
                tag: sealed.tag.clone(),
                tag_key: sealed.tag_key.clone(),
                bound: sealed.bound.clone(),
                mask: sealed.mask.clone(),
                declared_later: sealed.declared_later,
                line: sealed.line,
                module: sealed.module.clone(),
            }));
        }
    }
    Ok(Some(columns))
}
