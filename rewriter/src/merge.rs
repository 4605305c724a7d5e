//! MERGE, as PostgreSQL 15 has it.
//!
//! A row that one may not see is not there: it matches nothing, so the source's row is NOT MATCHED, and inserting it may meet a unique constraint
//! (23505 without DETAIL), as a plain INSERT would. A row that one sees and may not change is refused where an action wants to change it (42501), in
//! PostgreSQL's words and only once the action's own condition holds. What is written is checked by PostgreSQL.
//!
//! Refused: protected columns, and for UPDATE those that protected values are bound to, among what is assigned (each value would need the row
//! that it is sealed for), NOT MATCHED BY SOURCE and RETURNING, which PostgreSQL 15 does not have.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{CmdType, MergeMatchKind, MergeStmt, MergeWhenClause, Node, OverridingKind};
use postern_config::manifest::Operation;
use postern_config::settings::Enforce;
use postern_config::{Column, Table, policy};

use crate::insert::{assigned_name, column_of, tree_target};
use crate::judge::Judge;
use crate::plan::Refusal;
use crate::preset::{self, may_name, presets};
use crate::project::{Doors, Projection};
use crate::relations::predicate;
use crate::scope::Scope;
use crate::tree;
use crate::update::assigned_columns;

impl Judge<'_> {
    pub(crate) fn merge(&mut self, m: &mut MergeStmt) -> Result<Projection, Refusal> {
        if m.returning_clause.is_some() {
            return Err(Refusal::construct("RETURNING in MERGE"));
        }
        let mut scope = Scope::new(None);
        if let Some(with) = &mut m.with_clause {
            self.with(with, &mut scope)?;
        }
        let target = self.write_target(m.relation.as_mut())?;
        let alias = target.entry.alias.clone();
        let mut level = Scope::new(Some(&scope));
        level.entries.push(target.entry);
        let Some(source) = &mut m.source_relation else {
            return Err(Refusal::internal("a MERGE has no source"));
        };
        self.range_item(source, &mut level)?;
        let Some(on) = m.join_condition.take() else {
            return Err(Refusal::internal("a MERGE has no condition"));
        };
        let mut on = *on;
        self.conjuncts(&mut on, &level, &mut Doors::default())?;
        if let Some(table) = &target.table {
            self.needs_native_checks(table)?;
            self.note_policies(table, Operation::Select);
            let seen = predicate(&table.using(Operation::Select), &alias, self.subqueries())?;
            on = match self.ask.enforce {
                Enforce::Both | Enforce::Rls => tree::and(seen, Some(on)),
                Enforce::Rewrite => self.guarded(seen, on, &level),
            };
        }
        m.join_condition = Some(Box::new(on));
        for clause in &mut m.merge_when_clauses {
            let Some(NodeEnum::MergeWhenClause(clause)) = &mut clause.node else {
                return Err(Refusal::internal("MERGE holds something else"));
            };
            match clause.match_kind() {
                MergeMatchKind::MergeWhenMatched => self.matched(clause, target.table.as_ref(), &alias, &level)?,
                MergeMatchKind::MergeWhenNotMatchedByTarget => {
                    // The target has no row here: it is not to be named.
                    let entry = level.entries.remove(0);
                    let walked = self.not_matched(clause, target.table.as_ref(), &level);
                    level.entries.insert(0, entry);
                    walked?;
                }
                _ => return Err(Refusal::construct("WHEN NOT MATCHED BY SOURCE")),
            }
        }
        Ok(Projection::of_names(Vec::new()))
    }

    /// WHEN MATCHED.
    fn matched(
        &mut self,
        clause: &mut MergeWhenClause,
        table: Option<&Arc<Table>>,
        alias: &str,
        level: &Scope<'_>,
    ) -> Result<(), Refusal> {
        self.plain_opt(clause.condition.as_mut(), level)?;
        let (operation, assigned) = match clause.command_type() {
            CmdType::CmdNothing => return Ok(()),
            CmdType::CmdDelete => (Operation::Delete, Vec::new()),
            CmdType::CmdUpdate => {
                let assigned = match table {
                    Some(table) => assigned_columns(&clause.target_list, table)?,
                    None => Vec::new(),
                };
                let mut source = None;
                if let Some(table) = table {
                    unsealed(table, &assigned, &table.bound)?;
                }
                for assignment in &mut clause.target_list {
                    self.plain_assignment(assignment, &mut source, level)?;
                }
                if let Some(table) = table {
                    self.set_presets(&mut clause.target_list, table)?;
                }
                (Operation::Update, assigned)
            }
            _ => return Err(Refusal::internal("MERGE holds another action")),
        };
        let Some(table) = table else { return Ok(()) };
        let permitted = self.permitted(table, operation, &assigned)?;
        let restricted = policy::all(table.restrictions.iter().cloned().chain([permitted]));
        let changed = predicate(&restricted, alias, self.subqueries())?;
        let refused = refused(&format!(
            "target row violates row-level security policy (USING expression) for table \"{}\"",
            table.name.name
        ));
        let checked = tree::case(changed, tree::boolean(true), Some(refused));
        clause.condition = Some(Box::new(match clause.condition.take() {
            Some(own) => tree::case(*own, checked, Some(tree::boolean(false))),
            None => checked,
        }));
        Ok(())
    }

    /// WHEN NOT MATCHED; `level` has the source alone.
    fn not_matched(
        &mut self,
        clause: &mut MergeWhenClause,
        table: Option<&Arc<Table>>,
        level: &Scope<'_>,
    ) -> Result<(), Refusal> {
        self.plain_opt(clause.condition.as_mut(), level)?;
        match clause.command_type() {
            CmdType::CmdNothing => return Ok(()),
            CmdType::CmdInsert => {}
            _ => return Err(Refusal::internal("MERGE holds another action")),
        }
        if !matches!(
            clause.r#override(),
            OverridingKind::Undefined | OverridingKind::OverridingNotSet
        ) {
            return Err(Refusal::construct("OVERRIDING in MERGE"));
        }
        if let Some(table) = table {
            let mut columns: Vec<&Column> = Vec::with_capacity(clause.target_list.len());
            for c in &clause.target_list {
                let (name, location) = assigned_name(c)?;
                columns.push(column_of(table, name, location)?);
            }
            if columns.is_empty() && !clause.values.is_empty() {
                columns = table.columns.iter().take(clause.values.len()).collect();
                clause.target_list = columns.iter().map(|c| tree_target(c.name.as_str())).collect();
            }
            for column in &columns {
                may_name(table, column, Operation::Insert)?;
            }
            self.may_insert(table, &columns)?;
            unsealed(table, &columns, &[])?;
            self.note_policies(table, Operation::Insert);
            // PostgreSQL 15 wants no SELECT policy of a row that MERGE inserts, as MERGE gives nothing back.
            self.inserts.push((table.name.clone(), false));
        } else {
            for c in &clause.target_list {
                assigned_name(c)?;
            }
        }
        for value in &mut clause.values {
            self.plain_or_default(value, level)?;
        }
        if let Some(table) = table {
            let presets = presets(table, Operation::Insert);
            unsealed(table, &presets, &[])?;
            for column in presets {
                clause.target_list.push(tree_target(column.name.as_str()));
                clause.values.push(preset::node(column)?);
            }
        }
        Ok(())
    }
}

/// `postern.refused(message)`: raises 42501 where it is reached.
pub(crate) fn refused(message: &str) -> Node {
    tree::call(["postern", "refused"], vec![tree::text(message)])
}

/// Refuses to assign what must be sealed, or what sealed values are bound to.
fn unsealed(table: &Table, assigned: &[&Column], bound: &[postern_config::Ident]) -> Result<(), Refusal> {
    let sealed = |c: &&&Column| c.protection.is_some() || table.has_protected() && bound.contains(&c.name);
    match assigned.iter().find(sealed) {
        Some(column) => Err(Refusal::new(
            "0A000",
            "sealed-operation",
            format!(
                "MERGE cannot assign column {}: protected values are sealed for a row that is known",
                column.name
            ),
        )
        .hint("Use INSERT and UPDATE by themselves.")),
        None => Ok(()),
    }
}
