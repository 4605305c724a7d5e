//! CREATE INDEX, on own tables and on declared ones.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, Node};

use crate::catalog::RelationKind;
use crate::ddl::{by_manifest, own_tablespace, storage_options};
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
        let mut scope = Scope::new(None);
        scope.entries.push(entry);
        for elem in i.index_params.iter_mut().chain(&mut i.index_including_params) {
            let Some(NodeEnum::IndexElem(e)) = &mut elem.node else {
                return Err(Refusal::internal("an index holds something else"));
            };
            if let (Some(_), Some(expr)) = (&table, &e.expr) {
                raises_nothing(expr)?;
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
        if let (Some(_), Some(filter)) = (&table, &i.where_clause) {
            raises_nothing(filter)?;
        }
        self.plain_opt(i.where_clause.as_mut(), &scope)
    }
}

/// An index is built over all rows, hidden ones too, so on a declared table its expressions and predicate may hold nothing that can raise
/// and print a row's value: columns, constants, comparisons, NULL tests, `lower` and `upper`.
fn raises_nothing(n: &Node) -> Result<(), Refusal> {
    let parts: Vec<&Node> = match &n.node {
        Some(NodeEnum::ColumnRef(_) | NodeEnum::AConst(_)) => Vec::new(),
        Some(NodeEnum::NullTest(t)) => t.arg.as_deref().into_iter().collect(),
        Some(NodeEnum::BooleanTest(t)) => t.arg.as_deref().into_iter().collect(),
        Some(NodeEnum::BoolExpr(b)) => b.args.iter().collect(),
        Some(NodeEnum::AExpr(e)) if matches!(tree::parts(&e.name).as_deref(), Some(["=" | "<>" | "<" | "<=" | ">" | ">="])) => {
            e.lexpr.as_deref().into_iter().chain(e.rexpr.as_deref()).collect()
        }
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
    parts.into_iter().try_for_each(raises_nothing)
}
