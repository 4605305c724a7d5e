//! UPDATE and DELETE.
//!
//! A value sealed for a row needs the row's key and bound columns. Where the client's predicate fixes all of them by constants, one
//! statement does it; otherwise the UPDATE is carried out in two steps inside the client's transaction: read and lock the rows, then
//! write each with values sealed for it. Changing a bound column opens and seals the row's other envelopes anew.

use std::collections::HashMap;

use pg_query::NodeEnum;
use pg_query::protobuf::{AExprKind, BoolExprType, DeleteStmt, LockClauseStrength, LockingClause, Node, SelectStmt, UpdateStmt};
use postern_config::manifest::Operation;
use postern_config::names::eq_column;
use postern_config::{Column, ColumnType, Ident, Table};

use crate::from::target_alias;
use crate::insert::{bound_type, column_of, is_default, may_assign};
use crate::judge::{Ask, Judge, in_the_clear, judged};
use crate::plan::{Open, Output, Param, PerRow, Refusal, Sealed, Statement, Value};
use crate::project::{Doors, Projection};
use crate::relations::Target;
use crate::scope::Scope;
use crate::sealed::is_constant;
use crate::select::Mode;
use crate::{census, tree};

/// Where the values that an envelope is bound to come from.
enum Bound<'b> {
    /// Constants of the predicate.
    Pinned(&'b HashMap<Ident, Value>),
    /// Fields of the row that was read.
    Row,
}

/// How an UPDATE must be carried out.
pub(crate) enum UpdatePlan {
    /// Nothing sealed depends on a row that is not known.
    Once,
    /// In two steps.
    PerRow(Box<PerRowParts>),
}

/// What the second step needs beyond its statement.
pub(crate) struct PerRowParts {
    table: std::sync::Arc<Table>,
    reseal: Vec<Ident>,
}

impl Judge<'_> {
    pub(crate) fn update(&mut self, u: &mut UpdateStmt, outer: Option<&Scope<'_>>, mode: &Mode) -> Result<Projection, Refusal> {
        let mut scope = Scope::new(outer);
        if let Some(with) = &mut u.with_clause {
            self.with(with, &mut scope)?;
        }
        let target = self.write_target(u.relation.as_mut())?;
        let alias = target.entry.alias.clone();
        let mut level = Scope::new(Some(&scope));
        level.entries.push(target.entry);
        for item in &mut u.from_clause {
            self.range_item(item, &mut level)?;
        }
        let Some(table) = target.table else {
            let mut source = None;
            for assignment in &mut u.target_list {
                self.plain_assignment(assignment, &mut source, &level)?;
            }
            let mut doors = Doors::default();
            if let Some(filter) = &mut u.where_clause {
                self.conjuncts(filter, &level, &mut doors)?;
                self.copy_inside(&mut u.from_clause, filter, &level);
            }
            return self.returning(u.returning_clause.as_mut(), &level, doors, mode);
        };
        self.needs_native_checks(&table)?;
        let pins = match u.from_clause.is_empty() {
            true => self.pins(u.where_clause.as_deref(), &table, &alias)?,
            false => HashMap::new(),
        };
        let assigned = assigned_columns(&u.target_list, &table)?;
        self.assignments(&mut u.target_list, &table, &Bound::Pinned(&pins), &[], &level)?;
        self.set_presets(&mut u.target_list, &table)?;
        let mut doors = Doors::default();
        if let Some(filter) = &mut u.where_clause {
            self.conjuncts(filter, &level, &mut doors)?;
            self.copy_inside(&mut u.from_clause, filter, &level);
        }
        let own = u.where_clause.take().map(|w| *w);
        u.where_clause = Some(Box::new(self.filtered(
            &table,
            &alias,
            Operation::Update,
            &assigned,
            own,
            &level,
        )?));
        // An assigned column's new value is what RETURNING would give: the door is checked only on columns that stay.
        let doors = if assigned.iter().any(|c| c.protection.is_some()) {
            Doors::default()
        } else {
            doors
        };
        self.returning(u.returning_clause.as_mut(), &level, doors, mode)
    }

    pub(crate) fn delete(&mut self, d: &mut DeleteStmt, outer: Option<&Scope<'_>>, mode: &Mode) -> Result<Projection, Refusal> {
        let mut scope = Scope::new(outer);
        if let Some(with) = &mut d.with_clause {
            self.with(with, &mut scope)?;
        }
        let target = self.write_target(d.relation.as_mut())?;
        let alias = target.entry.alias.clone();
        let mut level = Scope::new(Some(&scope));
        level.entries.push(target.entry);
        for item in &mut d.using_clause {
            self.range_item(item, &mut level)?;
        }
        let mut doors = Doors::default();
        if let Some(filter) = &mut d.where_clause {
            self.conjuncts(filter, &level, &mut doors)?;
            self.copy_inside(&mut d.using_clause, filter, &level);
        }
        if let Some(table) = target.table {
            let own = d.where_clause.take().map(|w| *w);
            d.where_clause = Some(Box::new(self.filtered(
                &table,
                &alias,
                Operation::Delete,
                &[],
                own,
                &level,
            )?));
        }
        self.returning(d.returning_clause.as_mut(), &level, doors, mode)
    }

    /// One assignment of a plain value. In `(a, b) = source` each holds the whole source: the first is judged, the others take what came of
    /// it, as they will be printed as one.
    pub(crate) fn plain_assignment(&mut self, n: &mut Node, source: &mut Option<Node>, scope: &Scope<'_>) -> Result<(), Refusal> {
        let Some(NodeEnum::ResTarget(t)) = &mut n.node else {
            return Err(Refusal::internal("SET holds something else"));
        };
        self.indirection(&mut t.indirection, scope)?;
        let Some(val) = &mut t.val else {
            return Err(Refusal::internal("an expression is empty"));
        };
        let Some(NodeEnum::MultiAssignRef(m)) = &mut val.node else {
            return self.plain_or_default(val, scope);
        };
        let Some(shared) = &mut m.source else {
            return Err(Refusal::internal("an expression is empty"));
        };
        match source {
            Some(judged) if m.colno > 1 => {
                self.seen.add(&census::survey(shared)?.counts);
                **shared = judged.clone();
                Ok(())
            }
            _ => {
                match &mut shared.node {
                    Some(NodeEnum::RowExpr(r)) => r.args.iter_mut().try_for_each(|v| self.plain_or_default(v, scope))?,
                    _ => self.plain(shared, scope)?,
                }
                *source = Some((**shared).clone());
                Ok(())
            }
        }
    }

    /// SET of a declared table: envelopes and tags for protected columns, the client's expressions for plain ones.
    fn assignments(
        &mut self,
        list: &mut Vec<Node>,
        table: &Table,
        bound: &Bound<'_>,
        reseal: &[Ident],
        scope: &Scope<'_>,
    ) -> Result<(), Refusal> {
        let mut changed: HashMap<Ident, Value> = HashMap::new();
        for n in list.iter() {
            let (column, val) = assignment(n, table)?;
            if table.has_protected() && table.bound.contains(&column.name) {
                let value = match val {
                    Some(val) if !is_default(val) => self.bound_constant(val, table, column)?,
                    _ => return Err(Refusal::construct("DEFAULT for a column that protected values are bound to")),
                };
                changed.insert(column.name.clone(), value);
            }
        }
        let values = |name: &Ident| -> Result<Value, Refusal> {
            if let Some(value) = changed.get(name) {
                return Ok(value.clone());
            }
            match bound {
                Bound::Pinned(pins) => pins.get(name).cloned().ok_or_else(|| {
                    Refusal::new(
                        "0A000",
                        "sealed-operation",
                        "this UPDATE cannot seal a value for a row that is not known",
                    )
                    .hint("Run the UPDATE by itself, without FROM or WITH around it.")
                }),
                Bound::Row => {
                    let index = table.bound.iter().position(|b| b == name).unwrap_or(usize::MAX);
                    Ok(Value::Row(index, bound_type(column_of(table, name.as_str(), -1)?)))
                }
            }
        };
        let mut tags = Vec::new();
        let mut source = None;
        for n in list.iter_mut() {
            let column = assignment(n, table)?.0;
            let Some(protection) = &column.protection else {
                self.plain_assignment(n, &mut source, scope)?;
                continue;
            };
            let Some(NodeEnum::ResTarget(t)) = &mut n.node else {
                return Err(Refusal::internal("SET holds something else"));
            };
            let Some(val) = &mut t.val else {
                return Err(Refusal::internal("an expression is empty"));
            };
            let value = self.sealed_constant(val, column)?;
            let sealed = Sealed {
                column: table.column_ref(&column.name),
                ty: column.ty.clone(),
            };
            if protection.eq() {
                let tag = self.params.make(Param::EqTag {
                    column: sealed.clone(),
                    value: value.clone(),
                });
                tags.push(tree::target(tag, &eq_column(&column.name)));
            }
            let bound = if protection.bind_column_only {
                Vec::new()
            } else {
                table.bound.iter().map(&values).collect::<Result<_, _>>()?
            };
            **val = self.params.make(Param::Seal {
                column: sealed,
                value,
                bound,
            });
        }
        for (i, name) in reseal.iter().enumerate() {
            let column = column_of(table, name.as_str(), -1)?;
            let sealed = Sealed {
                column: table.column_ref(name),
                ty: column.ty.clone(),
            };
            let bound = table.bound.iter().map(&values).collect::<Result<_, _>>()?;
            let envelope = self.params.make(Param::Seal {
                column: sealed,
                value: Value::Opened(i),
                bound,
            });
            tags.push(tree::target(envelope, name.as_str()));
        }
        list.extend(tags);
        Ok(())
    }

    /// Bound columns that the predicate's top-level conjuncts fix by a constant.
    fn pins(&mut self, filter: Option<&Node>, table: &Table, alias: &str) -> Result<HashMap<Ident, Value>, Refusal> {
        let mut pins = HashMap::new();
        let Some(filter) = filter else { return Ok(pins) };
        let conjuncts: Vec<&Node> = match &filter.node {
            Some(NodeEnum::BoolExpr(b)) if b.boolop() == BoolExprType::AndExpr => b.args.iter().collect(),
            _ => vec![filter],
        };
        for n in conjuncts {
            let Some(NodeEnum::AExpr(e)) = &n.node else { continue };
            let (Some(left), Some(right)) = (&e.lexpr, &e.rexpr) else {
                continue;
            };
            let equals = e.kind() == AExprKind::AexprOp && matches!(tree::parts(&e.name).as_deref(), Some(["="]));
            let (column, constant) = if is_constant(left) { (right, left) } else { (left, right) };
            let Some(NodeEnum::ColumnRef(c)) = &column.node else {
                continue;
            };
            let name = match tree::parts(&c.fields).as_deref() {
                Some([name]) => (*name).to_owned(),
                Some([a, name]) if *a == alias => (*name).to_owned(),
                _ => continue,
            };
            let Some(column) = table.column(&name).filter(|c| table.bound.contains(&c.name)) else {
                continue;
            };
            // Equal values of these types differ in bytes: 1.0 and 1.00, 0 and -0. What a value is bound to must be read from the row.
            if column.protection.is_none() && matches!(column.ty, ColumnType::Numeric(_) | ColumnType::Float8) {
                continue;
            }
            if equals && is_constant(constant) {
                // A constant that does not suit the type pins nothing; PostgreSQL will say so.
                let before = self.seen.clone();
                if let Ok(value) = self.bound_constant(constant, table, column) {
                    pins.entry(column.name.clone()).or_insert(value);
                }
                self.seen = before;
            }
        }
        Ok(pins)
    }
}

/// Decides how an UPDATE is carried out, looking at the target and what it assigns.
pub(crate) fn update_plan(u: &UpdateStmt, ask: &Ask<'_>) -> Result<UpdatePlan, Refusal> {
    let Some(relation) = &u.relation else {
        return Ok(UpdatePlan::Once);
    };
    let mut judge = Judge::scout(ask);
    let Target::Own(own) = judge.resolve(relation)? else {
        return Ok(UpdatePlan::Once);
    };
    let Some(table) = own.declared.clone() else {
        return Ok(UpdatePlan::Once);
    };
    let assigned = assigned_columns(&u.target_list, &table)?;
    let seals = assigned
        .iter()
        .any(|c| c.protection.as_ref().is_some_and(|p| !p.bind_column_only));
    let moves = table.has_protected() && assigned.iter().any(|c| table.bound.contains(&c.name));
    if !seals && !moves {
        return Ok(UpdatePlan::Once);
    }
    if !moves && u.from_clause.is_empty() {
        let pins = judge.pins(u.where_clause.as_deref(), &table, &target_alias(relation))?;
        if table.bound.iter().all(|b| pins.contains_key(b)) {
            return Ok(UpdatePlan::Once);
        }
    }
    if !u.from_clause.is_empty() || u.with_clause.is_some() {
        return Err(Refusal::new(
            "0A000",
            "sealed-operation",
            "an UPDATE of protected values takes neither FROM nor WITH",
        )
        .hint("Read the keys first, then update by key."));
    }
    let reseal = if moves {
        table
            .columns
            .iter()
            .filter(|c| c.protection.as_ref().is_some_and(|p| !p.bind_column_only) && !assigned.iter().any(|a| a.name == c.name))
            .map(|c| c.name.clone())
            .collect()
    } else {
        Vec::new()
    };
    Ok(UpdatePlan::PerRow(Box::new(PerRowParts { table, reseal })))
}

/// The two steps of an UPDATE, each judged by itself; together they hold every part of the client's statement.
pub(crate) fn per_row(u: &UpdateStmt, parts: &PerRowParts, ask: &Ask<'_>, gathered: &mut Gathered) -> Result<PerRow, Refusal> {
    let table = &parts.table;
    // Each row is written by itself, so a subquery would see the rows written before.
    let returning = u.returning_clause.iter().map(census::survey);
    for survey in u.target_list.iter().map(census::survey).chain(returning) {
        if survey?.counts.sub_links > 0 {
            return Err(Refusal::new(
                "0A000",
                "sealed-operation",
                "an UPDATE that is carried out row by row takes no subquery in SET or RETURNING",
            )
            .hint("Read the value first, then update with it."));
        }
    }
    let mut reading = u.clone();
    let assigned_list = std::mem::take(&mut reading.target_list);
    reading.returning_clause = None;
    let mut writing = u.clone();
    writing.where_clause = None;

    let reading = tree::node(NodeEnum::UpdateStmt(Box::new(reading)));
    let read = judged(&reading, ask, true, |judge, n| {
        let Some(NodeEnum::UpdateStmt(u)) = &mut n.node else {
            return Err(Refusal::internal("an UPDATE was expected"));
        };
        let select = judge.read_step(u, &assigned_list, parts)?;
        *n = tree::node(NodeEnum::SelectStmt(Box::new(select)));
        Ok(())
    })?;
    let writing = tree::node(NodeEnum::UpdateStmt(Box::new(writing)));
    let write = judged(&writing, ask, true, |judge, n| {
        let Some(NodeEnum::UpdateStmt(u)) = &mut n.node else {
            return Err(Refusal::internal("an UPDATE was expected"));
        };
        judge.write_step(u, parts)
    })?;

    let bound: Vec<(usize, ColumnType)> = table
        .bound
        .iter()
        .filter_map(|b| table.column(b.as_str()))
        .enumerate()
        .map(|(i, c)| (i, bound_type(c)))
        .collect();
    let opened = parts
        .reseal
        .iter()
        .enumerate()
        .filter_map(|(i, name)| {
            let column = table.column(name.as_str())?;
            let sealed = Sealed {
                column: table.column_ref(name),
                ty: column.ty.clone(),
            };
            Some((
                table.bound.len() + i,
                Open {
                    column: sealed,
                    bound: bound.clone(),
                    mask: None,
                },
            ))
        })
        .collect();
    let output: Option<Output> = write.value.output();
    let opened_columns: Vec<_> = write.value.opened().map(|s| s.column.clone()).collect();
    // What one step seals must not travel in the clear in the other.
    if let Some(n) = (read.plain_params.iter().find(|n| write.sealed_params.contains_key(n)))
        .or_else(|| write.plain_params.iter().find(|n| read.sealed_params.contains_key(n)))
    {
        return Err(in_the_clear(*n));
    }
    let read = gathered.statement(read, None);
    let write = gathered.statement(write, output);
    gathered.opened.extend(opened_columns);
    Ok(PerRow {
        read: read.0,
        opened,
        write: write.0,
    })
}

/// What the statements of one plan have in common, gathered.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) param_types: std::collections::BTreeMap<u16, ColumnType>,
    pub(crate) highest: u16,
    pub(crate) relations: std::collections::BTreeSet<postern_config::TableRef>,
    pub(crate) policies: std::collections::BTreeSet<String>,
    pub(crate) operations: std::collections::BTreeSet<(postern_config::TableRef, Operation)>,
    pub(crate) opened: std::collections::BTreeSet<postern_config::ColumnRef>,
    pub(crate) keeps: crate::plan::Keeps,
}

impl Gathered {
    /// A judged tree as a statement; its findings are gathered.
    pub(crate) fn statement<T>(&mut self, judged: crate::judge::Judged<T>, output: Option<Output>) -> (Statement, T) {
        self.param_types.extend(judged.sealed_params);
        self.highest = self.highest.max(judged.highest_param);
        self.relations.extend(judged.relations);
        self.policies.extend(judged.policies);
        self.operations.extend(judged.operations);
        self.opened.extend(judged.opened);
        self.keeps.add(judged.keeps);
        (
            Statement {
                sql: judged.sql,
                params: judged.params,
                generate: judged.generate,
                output,
            },
            judged.value,
        )
    }
}

impl Judge<'_> {
    /// `SELECT bound columns, envelopes FROM target WHERE filter AND own FOR UPDATE`.
    fn read_step(&mut self, u: &mut UpdateStmt, assigned: &[Node], parts: &PerRowParts) -> Result<SelectStmt, Refusal> {
        let target = self.write_target(u.relation.as_mut())?;
        let alias = target.entry.alias.clone();
        let mut level = Scope::new(None);
        level.entries.push(target.entry);
        if let Some(filter) = &mut u.where_clause {
            self.plain(filter, &level)?;
        }
        let assigned = assigned_columns(assigned, &parts.table)?;
        let own = u.where_clause.take().map(|w| *w);
        let filter = self.filtered(&parts.table, &alias, Operation::Update, &assigned, own, &level)?;
        let mut outputs = Vec::new();
        for name in &parts.table.bound {
            let column = column_of(&parts.table, name.as_str(), -1)?;
            let stored = if column.protection.is_some() {
                eq_column(name)
            } else {
                name.as_str().to_owned()
            };
            outputs.push(tree::target(tree::column(&alias, &stored), ""));
        }
        for name in &parts.reseal {
            outputs.push(tree::target(tree::column(&alias, name.as_str()), ""));
        }
        let relation = u
            .relation
            .take()
            .ok_or_else(|| Refusal::internal("an UPDATE has no target"))?;
        Ok(SelectStmt {
            target_list: outputs,
            from_clause: vec![tree::node(NodeEnum::RangeVar(relation))],
            where_clause: Some(Box::new(filter)),
            locking_clause: vec![tree::node(NodeEnum::LockingClause(LockingClause {
                locked_rels: Vec::new(),
                strength: LockClauseStrength::LcsForupdate as i32,
                wait_policy: pg_query::protobuf::LockWaitPolicy::LockWaitBlock as i32,
            }))],
            limit_option: pg_query::protobuf::LimitOption::Default as i32,
            op: pg_query::protobuf::SetOperation::SetopNone as i32,
            ..SelectStmt::default()
        })
    }

    /// `UPDATE target SET … WHERE key = the key that was read RETURNING …`.
    fn write_step(&mut self, u: &mut UpdateStmt, parts: &PerRowParts) -> Result<Projection, Refusal> {
        let target = self.write_target(u.relation.as_mut())?;
        self.needs_native_checks(&parts.table)?;
        let alias = target.entry.alias.clone();
        let mut level = Scope::new(None);
        level.entries.push(target.entry);
        self.assignments(&mut u.target_list, &parts.table, &Bound::Row, &parts.reseal, &level)?;
        self.set_presets(&mut u.target_list, &parts.table)?;
        let mut key: Option<Node> = None;
        for (i, name) in parts.table.primary_key.iter().enumerate() {
            let column = column_of(&parts.table, name.as_str(), -1)?;
            let stored = if column.protection.is_some() {
                eq_column(name)
            } else {
                name.as_str().to_owned()
            };
            let equal = tree::node(NodeEnum::AExpr(Box::new(pg_query::protobuf::AExpr {
                kind: AExprKind::AexprOp as i32,
                name: vec![tree::string("=")],
                lexpr: Some(Box::new(tree::column(&alias, &stored))),
                rexpr: Some(Box::new(self.params.make(Param::Row(i)))),
                rexpr_list_start: 0,
                rexpr_list_end: 0,
                location: -1,
            })));
            key = Some(match key {
                Some(k) => tree::and(k, Some(equal)),
                None => equal,
            });
        }
        u.where_clause = Some(Box::new(
            key.ok_or_else(|| Refusal::internal("a table with bound values has no key"))?,
        ));
        self.returning(u.returning_clause.as_mut(), &level, Doors::default(), &Mode::Client)
    }
}

/// Every column that SET assigns; immutable ones are refused.
pub(crate) fn assigned_columns<'t>(list: &[Node], table: &'t Table) -> Result<Vec<&'t Column>, Refusal> {
    let mut columns = Vec::with_capacity(list.len());
    for n in list {
        let column = assignment(n, table)?.0;
        may_assign(table, column)?;
        columns.push(column);
    }
    Ok(columns)
}

fn assignment<'n, 't>(n: &'n Node, table: &'t Table) -> Result<(&'t Column, Option<&'n Node>), Refusal> {
    let Some(NodeEnum::ResTarget(t)) = &n.node else {
        return Err(Refusal::internal("SET holds something else"));
    };
    let column = column_of(table, &t.name, t.location)?;
    let multiple = matches!(
        t.val.as_ref().and_then(|v| v.node.as_ref()),
        Some(NodeEnum::MultiAssignRef(_))
    );
    let special = column.protection.is_some() || table.has_protected() && table.bound.contains(&column.name);
    if special && (multiple || !t.indirection.is_empty()) {
        return Err(
            Refusal::construct("Assigning several columns at once, or part of one, where values are sealed")
                .hint("Write SET column = value for each column."),
        );
    }
    Ok((column, t.val.as_deref()))
}
