//! What INSERT, UPDATE and DELETE share: the target, which rows a write may touch, RETURNING.

use std::sync::Arc;

use pg_query::protobuf::{Node, RangeVar, ReturningClause};
use postern_config::expr::Expr;
use postern_config::manifest::Operation;
use postern_config::policy;
use postern_config::settings::Enforce;
use postern_config::{Column, Table};

use crate::catalog::{Relation, RelationKind};
use crate::from::{stars_of, target_alias};
use crate::judge::Judge;
use crate::plan::Refusal;
use crate::project::{Doors, Projection};
use crate::relations::{Target, predicate};
use crate::scope::{Col, Entry, Scope};
use crate::select::Mode;
use crate::tree;

/// The relation that a write changes.
pub(crate) struct WriteTarget {
    /// Its declaration, if it has one.
    pub(crate) table: Option<Arc<Table>>,
    /// Its entry.
    pub(crate) entry: Entry,
}

impl Judge<'_> {
    /// Resolves the target of a write and qualifies it. A CTE is never a target.
    pub(crate) fn write_target(&mut self, r: Option<&mut RangeVar>) -> Result<WriteTarget, Refusal> {
        let Some(r) = r else {
            return Err(Refusal::internal("a write has no target"));
        };
        self.seen.range_vars += 1;
        let alias = target_alias(r);
        match self.resolve(r)? {
            Target::Catalogue(..) => {
                // Like PostgreSQL, which checks rights long after it has read the text, without saying where.
                Err(Refusal::denied(
                    "relation",
                    format!("permission denied for table {}", r.relname),
                ))
            }
            Target::Assumed => {
                if r.schemaname.is_empty() {
                    r.schemaname = self.ask.catalog.schema.as_str().to_owned();
                }
                Ok(WriteTarget {
                    table: None,
                    entry: plain_entry(&alias, None),
                })
            }
            Target::Own(relation) => {
                if !matches!(relation.kind, RelationKind::Table | RelationKind::View) {
                    return Err(
                        Refusal::new("42809", "relation", format!("cannot change relation \"{}\"", relation.name)).at(r.location),
                    );
                }
                r.schemaname = relation.schema.to_string();
                self.own_target(&relation, &alias)
            }
        }
    }

    fn own_target(&mut self, relation: &Relation, alias: &str) -> Result<WriteTarget, Refusal> {
        let Some(table) = &relation.declared else {
            let columns = relation
                .columns
                .as_ref()
                .map(|cs| cs.iter().map(|c| Col::plain(&c.name)).collect());
            return Ok(WriteTarget {
                table: None,
                entry: plain_entry(alias, columns),
            });
        };
        if relation.is_partition() {
            return Err(crate::partition::written(relation));
        }
        self.targets.push((relation.schema.to_string(), relation.name.to_string()));
        let table = table.clone();
        let entry = self.target_entry(&table, alias)?;
        Ok(WriteTarget {
            table: Some(table),
            entry,
        })
    }

    /// A write whose rows must satisfy a check needs PostgreSQL to check the row as it will be stored, however rows are filtered.
    pub(crate) fn needs_native_checks(&self, table: &Table) -> Result<(), Refusal> {
        if !self.unsecured.contains(&table.name) {
            return Ok(());
        }
        Err(Refusal::new(
            "0A000",
            "unsecured",
            format!(
                "native row-level security is off for table {}, so nothing would check what is written",
                table.name.name
            ),
        )
        .hint("The database differs from the manifests; `postern provision` mends it."))
    }

    /// Some policy must let an INSERT name all of these columns. Which rows those policies let in is [`Table::check`]'s to say, where the row
    /// is looked at.
    pub(crate) fn may_insert(&self, table: &Table, named: &[&Column]) -> Result<(), Refusal> {
        let mut inserts = table
            .policies
            .iter()
            .filter(|p| p.operations.contains(&Operation::Insert))
            .peekable();
        if inserts.peek().is_none() || inserts.any(|p| named.iter().all(|c| p.may_insert(c))) {
            return Ok(());
        }
        Err(
            Refusal::denied("policy", format!("permission denied for table {}", table.name.name))
                .hint("No policy permits an insert that names these columns; leave out those that the database is to fill."),
        )
    }

    /// The rows that `operation` may touch, AND-ed before the client's own predicate. `assigned` are the columns that an UPDATE sets:
    /// policies that do not permit all of them give no rows. `own` was judged in `scope`.
    pub(crate) fn filtered(
        &mut self,
        table: &Table,
        alias: &str,
        operation: Operation,
        assigned: &[&Column],
        own: Option<Node>,
        scope: &Scope<'_>,
    ) -> Result<Node, Refusal> {
        let permitted = self.permitted(table, operation, assigned)?;
        let filter = policy::all(
            table
                .restrictions
                .iter()
                .cloned()
                .chain([permitted, table.using(Operation::Select)]),
        );
        let filter = predicate(&filter, alias, self.subqueries())?;
        Ok(match self.ask.enforce {
            // Native row-level security keeps the client's predicate from rows it may not see.
            Enforce::Both | Enforce::Rls if !self.unsecured.contains(&table.name) => tree::and(filter, own),
            Enforce::Both | Enforce::Rls | Enforce::Rewrite => match own {
                Some(own) => self.guarded(filter, own, scope),
                None => filter,
            },
        })
    }

    /// What the policies together permit that let `operation` change the columns `assigned`; at least one must.
    pub(crate) fn permitted(&mut self, table: &Table, operation: Operation, assigned: &[&Column]) -> Result<Expr, Refusal> {
        let permits = |p: &&postern_config::manifest::Policy| {
            p.operations.contains(&operation)
                && p.update_columns
                    .as_ref()
                    .is_none_or(|columns| assigned.iter().all(|a| columns.contains(&a.name)))
        };
        if !table.policies.iter().any(|p| permits(&p)) {
            return Err(
                Refusal::denied("policy", format!("permission denied for table {}", table.name.name))
                    .hint("No policy permits this operation on these columns."),
            );
        }
        self.note_policies(table, operation);
        Ok(policy::any(
            table.policies.iter().filter(permits).filter_map(|p| p.using.clone()),
        ))
    }

    /// RETURNING.
    pub(crate) fn returning(
        &mut self,
        clause: Option<&mut ReturningClause>,
        scope: &Scope<'_>,
        doors: Doors,
        mode: &Mode,
    ) -> Result<Projection, Refusal> {
        let Some(clause) = clause else {
            return Ok(Projection::of_names(Vec::new()));
        };
        if !clause.options.is_empty() {
            return Err(Refusal::construct("RETURNING WITH"));
        }
        let shown: Vec<_> = scope
            .entries
            .iter()
            .filter(|e| !e.qualified_only)
            .flat_map(stars_of)
            .collect();
        let mut outputs = self.targets(&mut clause.exprs, scope, &shown, mode)?;
        self.seal_outputs(&mut clause.exprs, &mut outputs, &[], doors, mode)
    }
}

fn plain_entry(alias: &str, columns: Option<Vec<Col>>) -> Entry {
    let mut entry = Entry::plain(alias, columns);
    entry.system_columns = true;
    entry
}
