//! CREATE INDEX, on own tables and on declared ones.
//!
//! An index is built over all rows, hidden ones too. So on a declared table it is the module's to make and no user's, holds nothing that could fail
//! on a row, and is UNIQUE only where the manifest declares that very key: otherwise whether it can be made would tell of hidden rows, and once made it would
//! be a rule that no manifest knows.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, Node};
use postern_config::{ColumnType, Ident, Table};

use crate::catalog::RelationKind;
use crate::ddl::{by_manifest, not_by, own_tablespace, storage_options};
use crate::judge::Judge;
use crate::plan::Refusal;
use crate::relations::Target;
use crate::scope::{Entry, Scope};
use crate::tree;

impl Judge<'_> {
    pub(crate) fn create_index(&mut self, i: &mut protobuf::IndexStmt) -> Result<(), Refusal> {
        let Some(r) = &mut i.relation else {
            return Err(Refusal::internal("an index has no table"));
        };
        self.seen.range_vars += 1;
        let (table, entry) = match self.resolve(r)? {
            Target::Own(relation) if relation.kind == RelationKind::Imported => return Err(by_manifest(&relation.name)),
            Target::Own(relation) => {
                r.schemaname = relation.schema.to_string();
                match relation.declared.clone() {
                    Some(table) => {
                        self.targets.push((relation.schema.to_string(), relation.name.to_string()));
                        let entry = self.target_entry(&table, &r.relname)?;
                        (Some(table), entry)
                    }
                    None => (None, Entry::plain(&r.relname, None)),
                }
            }
            Target::Assumed => {
                if r.schemaname.is_empty() {
                    r.schemaname = self.ask.catalog.schema.as_str().to_owned();
                }
                (None, Entry::plain(&r.relname, None))
            }
            Target::Catalogue(..) => {
                return Err(Refusal::denied(
                    "relation",
                    format!("permission denied for relation {}", r.relname),
                ));
            }
        };
        if !i.exclude_op_names.is_empty() {
            return Err(Refusal::construct("This form of CREATE INDEX"));
        }
        own_tablespace(&mut i.table_space)?;
        if !matches!(
            i.access_method.as_str(),
            "" | "btree" | "hash" | "gin" | "gist" | "brin" | "spgist"
        ) {
            return Err(Refusal::construct("This index method"));
        }
        storage_options(&i.options)?;
        if let Some(table) = &table {
            if !self.ask.undeclared {
                return Err(not_by(self.ask));
            }
            if i.unique && !is_key(i, table) {
                return Err(by_manifest(table.name.name.as_str())
                    .hint("Its keys are the manifest's: declare this one there (`unique`), or leave UNIQUE out."));
            }
        }
        let mut scope = Scope::new(None);
        scope.entries.push(entry);
        for elem in i.index_params.iter_mut().chain(&mut i.index_including_params) {
            let Some(NodeEnum::IndexElem(e)) = &mut elem.node else {
                return Err(Refusal::internal("an index holds something else"));
            };
            if let (Some(table), Some(expr)) = (&table, &e.expr) {
                raises_nothing(expr, table)?;
            }
            self.plain_opt(e.expr.as_mut(), &scope)?;
            if !e.opclassopts.is_empty() || e.opclass.len() > 1 {
                return Err(Refusal::construct("This form of an index column"));
            }
            let collation = tree::parts(&e.collation);
            if !e.collation.is_empty() && !collation.is_some_and(|c| self.may_name_collation(&c)) {
                return Err(Refusal::construct("This form of an index column"));
            }
            if let Some(table) = &table
                && !e.name.is_empty()
            {
                let column = crate::insert::column_of(table, &e.name, -1)?;
                match &column.protection {
                    None => {}
                    Some(p) if p.eq() => e.name = postern_config::names::eq_column(&column.name),
                    Some(_) => {
                        return Err(Refusal::new(
                            "0A000",
                            "sealed-operation",
                            format!("protected column {} cannot be indexed", column.name),
                        )
                        .hint("Add \"eq\" to its protect.search in the manifest to index it for equality."));
                    }
                }
            }
        }
        if let (Some(table), Some(filter)) = (&table, &i.where_clause) {
            raises_nothing(filter, table)?;
        }
        self.plain_opt(i.where_clause.as_mut(), &scope)
    }
}

/// Whether a UNIQUE index says no more than a key that the manifest declares: its columns, all rows, PostgreSQL's own equality.
fn is_key(i: &protobuf::IndexStmt, table: &Table) -> bool {
    let mut names = Vec::with_capacity(i.index_params.len());
    for n in &i.index_params {
        match &n.node {
            Some(NodeEnum::IndexElem(e)) if e.expr.is_none() && e.opclass.is_empty() && e.collation.is_empty() => {
                names.push(&*e.name)
            }
            _ => return false,
        }
    }
    let is = |key: &[Ident]| key.len() == names.len() && key.iter().all(|column| names.contains(&column.as_str()));
    let declared = is(&table.primary_key) || table.unique.iter().any(|key| is(key));
    declared && !i.nulls_not_distinct && i.where_clause.is_none()
}

/// Refuses an expression or predicate of an index that could raise, which would tell that a row with such a value is there: it may hold columns,
/// constants, comparisons, NULL tests, `lower` and `upper`.
fn raises_nothing(n: &Node, table: &Table) -> Result<(), Refusal> {
    let parts: Vec<&Node> = match &n.node {
        Some(NodeEnum::ColumnRef(_) | NodeEnum::AConst(_)) => Vec::new(),
        Some(NodeEnum::NullTest(t)) => t.arg.as_deref().into_iter().collect(),
        Some(NodeEnum::BooleanTest(t)) => t.arg.as_deref().into_iter().collect(),
        Some(NodeEnum::BoolExpr(b)) => b.args.iter().collect(),
        Some(NodeEnum::AExpr(e)) if compares(e, table) => e.lexpr.as_deref().into_iter().chain(e.rexpr.as_deref()).collect(),
        Some(NodeEnum::List(l)) => l.items.iter().collect(),
        Some(NodeEnum::CollateClause(c)) => c.arg.as_deref().into_iter().collect(),
        Some(NodeEnum::FuncCall(f))
            if matches!(
                tree::parts(&f.funcname).as_deref(),
                Some(["lower" | "upper"] | ["pg_catalog", "lower" | "upper"])
            ) =>
        {
            f.args.iter().collect()
        }
        _ => {
            return Err(
                Refusal::construct("An index over a declared table with this expression").hint(
                    "It may hold columns, constants, comparisons, NULL tests, lower and upper: nothing that could fail on a row.",
                ),
            );
        }
    };
    parts.into_iter().try_for_each(|part| raises_nothing(part, table))
}

/// Whether it is a comparison that fails on no value: two columns that are compared are of one type, as a cast between two may raise.
fn compares(e: &protobuf::AExpr, table: &Table) -> bool {
    let column = |n: &Option<Box<Node>>| match n.as_deref().map(|n| &n.node) {
        Some(Some(NodeEnum::ColumnRef(c))) => tree::parts(&c.fields)
            .and_then(|parts| table.column(parts.last()?))
            .map(|column| &column.ty),
        _ => None,
    };
    let texts = |ty: &ColumnType| matches!(ty, ColumnType::Text | ColumnType::Varchar(_));
    let alike = match (column(&e.lexpr), column(&e.rexpr)) {
        (Some(left), Some(right)) => left == right || texts(left) && texts(right),
        _ => true,
    };
    alike && matches!(tree::parts(&e.name).as_deref(), Some(["=" | "<>" | "<" | "<=" | ">" | ">="]))
}
