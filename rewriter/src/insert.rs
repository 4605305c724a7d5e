//! INSERT: values for protected columns are sealed for the row they are in, so the row's key and bound columns must be at hand.

use pg_query::NodeEnum;
use pg_query::protobuf::{InsertStmt, Node, OnConflictAction, OnConflictClause, SelectStmt, SetOperation};
use postern_config::manifest::{Default as ColumnDefault, Operation};
use postern_config::names::{TableRef, eq_column};
use postern_config::{Column, ColumnType, Ident, Table};

use crate::expr::Yield;
use crate::judge::Judge;
use crate::plan::{Param, Refusal, Sealed, Value};
use crate::preset::{append, bound_value, may_name, node, presets, value};
use crate::project::{Doors, Projection, expands};
use crate::relations::predicate;
use crate::scope::Scope;
use crate::select::Mode;
use crate::write::WriteTarget;
use crate::{census, tree};

impl Judge<'_> {
    pub(crate) fn insert(&mut self, i: &mut InsertStmt, outer: Option<&Scope<'_>>, mode: &Mode) -> Result<Projection, Refusal> {
        let mut scope = Scope::new(outer);
        if let Some(with) = &mut i.with_clause {
            self.with(with, &mut scope)?;
        }
        let target = self.write_target(i.relation.as_mut())?;
        match target.table.clone() {
            Some(table) => {
                self.needs_native_checks(&table)?;
                self.note_policies(&table, Operation::Insert);
                let arbiter = i.on_conflict_clause.as_ref().is_some_and(|c| c.infer.is_some());
                let returned = match &i.returning_clause {
                    Some(returning) => census::survey(returning)?.counts.column_refs > 0,
                    None => false,
                };
                self.inserts.push((table.name.clone(), arbiter || returned));
                self.declared_source(i, &table, &scope)?;
            }
            None => {
                for c in &mut i.cols {
                    self.inserted_name(c, &scope)?;
                }
                self.plain_source(i.select_stmt.as_deref_mut(), &scope)?;
            }
        }
        let WriteTarget { table, entry } = target;
        let mut level = Scope::new(Some(&scope));
        level.entries.push(entry);
        if let Some(conflict) = &mut i.on_conflict_clause {
            self.on_conflict(conflict, table.as_deref(), &mut level)?;
        }
        self.returning(i.returning_clause.as_mut(), &level, Doors::default(), mode)
    }

    /// A column of an INSERT's list, where it stands, and whether only part of it is named: the subscripts and fields behind it are judged.
    fn inserted_name<'n>(&mut self, n: &'n mut Node, scope: &Scope<'_>) -> Result<(&'n str, i32, bool), Refusal> {
        match &mut n.node {
            Some(NodeEnum::ResTarget(t)) if t.val.is_none() => {
                self.indirection(&mut t.indirection, scope)?;
                Ok((&t.name, t.location, !t.indirection.is_empty()))
            }
            _ => Err(Refusal::internal("a column list holds something else")),
        }
    }

    /// VALUES or a query whose values go into plain columns.
    fn plain_source(&mut self, source: Option<&mut Node>, scope: &Scope<'_>) -> Result<(), Refusal> {
        let Some(source) = source else { return Ok(()) };
        let Some(NodeEnum::SelectStmt(s)) = &mut source.node else {
            return Err(Refusal::internal("an INSERT takes its rows from something else"));
        };
        if is_values(s) {
            self.seen.selects += 1;
            for row in &mut s.values_lists {
                for item in items_of(row)? {
                    self.plain_or_default(item, scope)?;
                }
            }
            return Ok(());
        }
        self.select(s, Some(scope), &Mode::Values).map(|_| ())
    }

    pub(crate) fn plain_or_default(&mut self, n: &mut Node, scope: &Scope<'_>) -> Result<(), Refusal> {
        match &n.node {
            Some(NodeEnum::SetToDefault(_)) => Ok(()),
            _ => self.plain(n, scope),
        }
    }

    fn declared_source(&mut self, i: &mut InsertStmt, table: &Table, scope: &Scope<'_>) -> Result<(), Refusal> {
        let mut columns: Vec<&Column> = Vec::with_capacity(table.columns.len());
        for c in &mut i.cols {
            let (name, location, part) = self.inserted_name(c, scope)?;
            let column = column_of(table, name, location)?;
            if part && (column.protection.is_some() || table.has_protected() && table.bound.contains(&column.name)) {
                return Err(part_of_sealed());
            }
            columns.push(column);
        }
        let presets = presets(table, Operation::Insert);
        let implicit = columns.is_empty();
        let defaults = i.select_stmt.is_none();
        if defaults {
            if presets.is_empty() {
                return Ok(());
            }
            i.select_stmt = Some(Box::new(one_empty_row()));
        }
        let Some(source) = i.select_stmt.as_deref_mut() else {
            return Err(Refusal::internal("an INSERT takes its rows from nowhere"));
        };
        let Some(NodeEnum::SelectStmt(s)) = &mut source.node else {
            return Err(Refusal::internal("an INSERT takes its rows from something else"));
        };
        let values = is_values(s);
        if implicit {
            let width = if values {
                s.values_lists.iter().filter_map(width_of).max().unwrap_or(0)
            } else {
                s.target_list.len()
            };
            let starred = !values && (s.op() != SetOperation::SetopNone || s.target_list.iter().any(has_star));
            let width = if starred { table.columns.len() } else { width };
            columns = table.columns.iter().take(width).collect();
            i.cols = columns.iter().map(|c| tree_target(c.name.as_str())).collect();
            if starred && !table.has_protected() {
                // PostgreSQL knows the width; the hidden columns do not exist here.
                i.cols.clear();
            }
        }
        for column in &columns {
            may_name(table, column, Operation::Insert)?;
        }
        self.may_insert(table, &columns)?;
        let sealed_presets = presets.iter().any(|c| c.protection.is_some());
        if !values {
            if let Some(protected) = columns.iter().find(|c| c.protection.is_some()) {
                return Err(Refusal::new(
                    "0A000",
                    "sealed-operation",
                    format!("protected column {} cannot be filled from a query", protected.name),
                )
                .hint("Read the rows in the client and insert them with VALUES."));
            }
            if sealed_presets {
                return Err(Refusal::new(
                    "0A000",
                    "sealed-operation",
                    "a protected column of this table is preset, and its value cannot be sealed for rows of a query",
                )
                .hint("Read the rows in the client and insert them with VALUES."));
            }
            self.select(s, Some(scope), &Mode::Values)?;
            append(s, &presets)?;
            i.cols.extend(presets.iter().map(|c| tree_target(c.name.as_str())));
            return Ok(());
        }
        if !defaults {
            self.seen.selects += 1;
        }
        let protected: Vec<usize> = (0..columns.len()).filter(|c| columns[*c].protection.is_some()).collect();
        if protected.is_empty() && !sealed_presets {
            for row in &mut s.values_lists {
                for item in items_of(row)? {
                    self.plain_or_default(item, scope)?;
                }
            }
            append(s, &presets)?;
            i.cols.extend(presets.iter().map(|c| tree_target(c.name.as_str())));
            return Ok(());
        }
        let binds = (columns.iter().chain(&presets)).any(|c| c.protection.as_ref().is_some_and(|p| !p.bind_column_only));
        let fill: Vec<&Column> = if binds { filled_bound(table, &columns) } else { Vec::new() };
        for row in &mut s.values_lists {
            self.sealed_row(items_of(row)?, table, &columns, &fill, binds, scope)?;
        }
        for c in protected
            .iter()
            .filter(|c| columns[**c].protection.as_ref().is_some_and(|p| p.eq()))
        {
            i.cols.push(tree_target(&eq_column(&columns[*c].name)));
        }
        i.cols.extend(fill.iter().map(|c| tree_target(c.name.as_str())));
        for column in &presets {
            i.cols.push(tree_target(column.name.as_str()));
            if column.protection.as_ref().is_some_and(|p| p.eq()) {
                i.cols.push(tree_target(&eq_column(&column.name)));
            }
        }
        Ok(())
    }

    /// Seals one row of VALUES: envelopes in place, then tags, then bound columns that the client left to their defaults.
    fn sealed_row(
        &mut self,
        items: &mut Vec<Node>,
        table: &Table,
        columns: &[&Column],
        fill: &[&Column],
        binds: bool,
        scope: &Scope<'_>,
    ) -> Result<(), Refusal> {
        if items.len() > columns.len() {
            return Err(Refusal::syntax("INSERT has more expressions than target columns"));
        }
        if items.len() < columns.len() {
            return Err(Refusal::syntax("INSERT has more target columns than expressions"));
        }
        let mut bound = Vec::new();
        let mut filled = Vec::new();
        if binds {
            for name in &table.bound {
                let column = column_of(table, name.as_str(), -1)?;
                let given = columns
                    .iter()
                    .position(|c| c.name == *name)
                    .filter(|p| !is_default(&items[*p]));
                let value = match given {
                    Some(p) => self.bound_constant(&items[p], table, column)?,
                    None if column.preset_on(Operation::Insert) => bound_value(table, column)?,
                    None => {
                        let (value, param) = self.default_value(table, column)?;
                        match columns.iter().position(|c| c.name == *name) {
                            // DEFAULT was written for this row.
                            Some(p) if column.protection.is_none() => items[p] = self.params.make(param),
                            Some(_) => {}
                            None => filled.push((column.name.clone(), param)),
                        }
                        value
                    }
                };
                bound.push(value);
            }
        }
        let mut tags = Vec::new();
        for (item, column) in items.iter_mut().zip(columns) {
            let Some(protection) = &column.protection else {
                if !is_ours(item) {
                    self.plain_or_default(item, scope)?;
                }
                continue;
            };
            let value = self.sealed_constant(item, column)?;
            let sealed = Sealed {
                column: table.column_ref(&column.name),
                ty: column.ty.clone(),
            };
            if protection.eq() {
                tags.push(self.params.make(Param::EqTag {
                    column: sealed.clone(),
                    value: value.clone(),
                }));
            }
            let bound = if protection.bind_column_only {
                Vec::new()
            } else {
                bound.clone()
            };
            *item = self.params.make(Param::Seal {
                column: sealed,
                value,
                bound,
            });
        }
        items.extend(tags);
        for column in fill {
            match filled.iter().find(|(n, _)| *n == column.name) {
                Some((_, param)) => {
                    let node = self.params.make(param.clone());
                    items.push(node);
                }
                None => return Err(Refusal::internal("a bound column was not filled")),
            }
        }
        for column in presets(table, Operation::Insert) {
            self.preset_item(items, table, column, &bound)?;
        }
        Ok(())
    }

    /// What a row's preset column is set to: an expression, or envelope and tag.
    fn preset_item(&mut self, items: &mut Vec<Node>, table: &Table, column: &Column, bound: &[Value]) -> Result<(), Refusal> {
        let Some(protection) = &column.protection else {
            items.push(node(column)?);
            return Ok(());
        };
        let value = value(table, column)?;
        let sealed = Sealed {
            column: table.column_ref(&column.name),
            ty: column.ty.clone(),
        };
        let envelope = Param::Seal {
            column: sealed.clone(),
            value: value.clone(),
            bound: if protection.bind_column_only {
                Vec::new()
            } else {
                bound.to_vec()
            },
        };
        items.push(self.params.make(envelope));
        if protection.eq() {
            items.push(self.params.make(Param::EqTag { column: sealed, value }));
        }
        Ok(())
    }

    /// A value for a protected column.
    pub(crate) fn sealed_constant(&mut self, item: &Node, column: &Column) -> Result<Value, Refusal> {
        if is_default(item) {
            return Ok(Value::Text(None, column.ty.clone()));
        }
        if let Some(text) = assigned_text(item, &column.ty) {
            return Ok(Value::Text(Some(text.into()), column.ty.clone()));
        }
        self.constant_for(item, &column.ty, true)?.ok_or_else(|| {
            Refusal::new(
                "0A000",
                "sealed-operation",
                format!("protected column {} takes only a constant or a parameter", column.name),
            )
            .hint("Compute the value in the client and pass it as a parameter.")
        })
    }

    /// A bound column's value, which is also written (or tagged) as it is: seen here, walked and counted where it stands.
    pub(crate) fn bound_constant(&mut self, item: &Node, table: &Table, column: &Column) -> Result<Value, Refusal> {
        let before = self.seen.clone();
        let value = self.constant_for(item, &column.ty, column.protection.is_some())?;
        self.seen = before;
        let value = value.ok_or_else(|| {
            Refusal::new(
                "0A000",
                "sealed-operation",
                format!(
                    "column {} takes only a constant or a parameter, as protected values are bound to it",
                    column.name
                ),
            )
            .hint("Compute the value in the client and pass it as a parameter.")
        })?;
        Ok(if column.protection.is_some() {
            Value::Tag(
                Sealed {
                    column: table.column_ref(&column.name),
                    ty: column.ty.clone(),
                },
                Box::new(value),
            )
        } else {
            value
        })
    }

    /// What a bound column will hold if the client does not say: drawn or known here, because the row's envelopes are bound to it.
    fn default_value(&mut self, table: &Table, column: &Column) -> Result<(Value, Param), Refusal> {
        match &column.default {
            None => Ok((Value::Text(None, column.ty.clone()), Param::Text(None))),
            Some(ColumnDefault::Literal(text)) => Ok((
                Value::Text(Some(text.as_str().into()), column.ty.clone()),
                Param::Text(Some(text.as_str().into())),
            )),
            Some(ColumnDefault::Serial) => {
                let name = format!("{}_{}_seq", table.name.name, column.name);
                let name = Ident::new(&name).map_err(|_| Refusal::internal("a sequence's name is too long"))?;
                let index = self.generate.len();
                self.generate.push(TableRef {
                    schema: table.name.schema.clone(),
                    name,
                });
                Ok((Value::Generated(index), Param::Generated(index)))
            }
            Some(ColumnDefault::Now) => Err(Refusal::new(
                "0A000",
                "sealed-operation",
                format!("column {} must be given, as protected values are bound to it", column.name),
            )),
        }
    }

    fn on_conflict(&mut self, c: &mut OnConflictClause, table: Option<&Table>, level: &mut Scope<'_>) -> Result<(), Refusal> {
        let mut inferred: Vec<String> = Vec::new();
        if let Some(infer) = &mut c.infer {
            for elem in &mut infer.index_elems {
                let Some(NodeEnum::IndexElem(e)) = &mut elem.node else {
                    return Err(Refusal::internal("ON CONFLICT holds something else"));
                };
                self.plain_opt(e.expr.as_mut(), level)?;
                let special = !e.collation.is_empty() || !e.opclass.is_empty();
                let collation = tree::parts(&e.collation);
                if e.opclass.len() > 1 || !e.collation.is_empty() && !collation.is_some_and(|c| self.may_name_collation(&c)) {
                    return Err(unknown_arbiter());
                }
                if e.name.is_empty() {
                    continue;
                }
                if let Some(table) = table {
                    let column = column_of(table, &e.name, infer.location)?;
                    inferred.push(e.name.clone());
                    if column.never && column.protection.is_none() {
                        return Err(Refusal::denied(
                            "never-column",
                            format!("permission denied for column {}", column.name),
                        ));
                    }
                    if let Some(protection) = &column.protection {
                        // What orders and compares is the tag.
                        if special {
                            return Err(unknown_arbiter());
                        }
                        if !protection.eq() {
                            return Err(Refusal::new(
                                "42P10",
                                "sealed-operation",
                                "there is no unique or exclusion constraint matching the ON CONFLICT specification",
                            ));
                        }
                        e.name = eq_column(&column.name);
                    }
                }
            }
            self.plain_opt(infer.where_clause.as_mut(), level)?;
        }
        if c.action() != OnConflictAction::OnconflictUpdate {
            return Ok(());
        }
        let Some(target) = level.entries.first() else {
            return Err(Refusal::internal("ON CONFLICT has no target"));
        };
        let mut excluded = crate::scope::Entry::plain("excluded", target.columns.clone());
        if let Some(columns) = &mut excluded.columns {
            columns.iter_mut().for_each(|c| c.mask = None);
        }
        excluded.guarded = target.guarded;
        excluded.qualified_only = true;
        level.entries.push(excluded);
        let result = self.conflict_update(c, table, &inferred, level);
        level.entries.pop();
        result
    }

    fn conflict_update(
        &mut self,
        c: &mut OnConflictClause,
        table: Option<&Table>,
        inferred: &[String],
        level: &Scope<'_>,
    ) -> Result<(), Refusal> {
        let mut tags = Vec::new();
        let mut source = None;
        for assignment in &mut c.target_list {
            let Some(table) = table else {
                self.plain_assignment(assignment, &mut source, level)?;
                continue;
            };
            let Some(NodeEnum::ResTarget(t)) = &mut assignment.node else {
                return Err(Refusal::internal("SET holds something else"));
            };
            let column = column_of(table, &t.name, t.location)?;
            may_assign(table, column)?;
            let limits = table.policies.iter().filter(|p| p.operations.contains(&Operation::Update));
            if limits
                .filter_map(|p| p.update_columns.as_ref())
                .any(|allowed| !allowed.contains(&column.name))
            {
                return Err(
                    Refusal::construct("ON CONFLICT DO UPDATE of a column that some policies do not let change")
                        .hint("Use INSERT and UPDATE by themselves."),
                );
            }
            let Some(protection) = &column.protection else {
                if table.has_protected() && table.bound.contains(&column.name) {
                    return Err(
                        Refusal::construct("ON CONFLICT DO UPDATE of a column that protected values are bound to")
                            .hint("Use UPDATE, which seals the row's values anew."),
                    );
                }
                self.plain_assignment(assignment, &mut source, level)?;
                continue;
            };
            if !t.indirection.is_empty() {
                return Err(part_of_sealed());
            }
            let Some(val) = &mut t.val else {
                return Err(Refusal::internal("an expression is empty"));
            };
            if matches!(val.node, Some(NodeEnum::MultiAssignRef(_))) {
                return Err(
                    Refusal::construct("Assigning several columns at once, some of them protected")
                        .hint("Write SET column = value for each column."),
                );
            }
            // The proposed value was sealed for the proposed row: it may only land in the row of the same key and bound columns.
            let same_row = protection.bind_column_only || table.bound.iter().all(|b| inferred.iter().any(|i| i == b.as_str()));
            match self.expr(val, level)? {
                Yield::Sealed(r) if &*r.qualifier == "excluded" && r.col.sealed.column.column == column.name && same_row => {
                    if protection.eq() {
                        tags.push(tree::target(r.tag()?, &eq_column(&column.name)));
                    }
                }
                _ => {
                    return Err(Refusal::new(
                        "0A000",
                        "sealed-operation",
                        format!("protected column {} cannot be set by this ON CONFLICT", column.name),
                    )
                    .hint(
                        "It takes EXCLUDED.column where the conflict is on all columns the value is bound to; else use UPDATE.",
                    ));
                }
            }
        }
        c.target_list.extend(tags);
        if let Some(table) = table {
            self.set_presets(&mut c.target_list, table)?;
        }
        if let Some(filter) = &mut c.where_clause {
            self.plain(filter, level)?;
        }
        if let (Some(table), Some(target)) = (table, level.entries.first()) {
            let own = c.where_clause.take().map(|own| *own);
            c.where_clause = self.unseen_conflict(own, table, &target.alias)?.map(Box::new);
        }
        Ok(())
    }

    /// PostgreSQL asks the client's WHERE of the row that is there before it asks whether that row may be seen, so the predicate would tell
    /// of hidden rows. For those it is true here, and then PostgreSQL refuses (42501) whatever the client asked. Where PostgreSQL filters
    /// nothing the row is refused from here, in its words; one that may be seen and not changed, only where the client's WHERE holds.
    fn unseen_conflict(&self, own: Option<Node>, table: &Table, alias: &str) -> Result<Option<Node>, Refusal> {
        let filter = |operation| predicate(&table.using(operation), alias, self.subqueries());
        if self.ask.enforce.is_native() {
            return match own {
                Some(own) => Ok(Some(tree::case(filter(Operation::Select)?, own, Some(tree::boolean(true))))),
                None => Ok(None),
            };
        }
        let refused = || {
            let message = format!(
                "new row violates row-level security policy (USING expression) for table \"{}\"",
                table.name.name
            );
            Some(crate::merge::refused(&message))
        };
        let changed = tree::case(filter(Operation::Update)?, tree::boolean(true), refused());
        let wanted = match own {
            Some(own) => tree::case(own, changed, Some(tree::boolean(false))),
            None => changed,
        };
        Ok(Some(tree::case(filter(Operation::Select)?, wanted, refused())))
    }
}

/// A number or a boolean assigned to a text column, as PostgreSQL's cast prints it. Numbers in a form that it would print differently are
/// not taken.
fn assigned_text(item: &Node, ty: &ColumnType) -> Option<String> {
    use pg_query::protobuf::a_const::Val;
    let Some(NodeEnum::AConst(k)) = &item.node else { return None };
    if k.isnull || !matches!(ty, ColumnType::Text | ColumnType::Varchar(_)) {
        return None;
    }
    match &k.val {
        Some(Val::Ival(i)) => Some(i.ival.to_string()),
        Some(Val::Boolval(b)) => Some(b.boolval.to_string()),
        Some(Val::Fval(f)) => {
            let digits = f.fval.strip_prefix('-').unwrap_or(&f.fval);
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
            let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
            let canonical = all_digits(whole) && all_digits(fraction) && (whole == "0" || !whole.starts_with('0'));
            let zero = digits.bytes().all(|b| matches!(b, b'0' | b'.'));
            canonical.then(|| if zero { digits.to_owned() } else { f.fval.clone() })
        }
        _ => None,
    }
}

/// Refuses to assign what cannot change, or what every UPDATE sets by itself.
pub(crate) fn may_assign(table: &Table, column: &Column) -> Result<(), Refusal> {
    may_name(table, column, Operation::Update)?;
    if column.immutable {
        return Err(Refusal::denied(
            "immutable-column",
            format!("permission denied for column {} of table {}", column.name, table.name.name),
        )
        .hint("The manifest declares this column immutable."));
    }
    Ok(())
}

/// Bound columns that an INSERT must name though the client did not.
fn filled_bound<'t>(table: &'t Table, columns: &[&Column]) -> Vec<&'t Column> {
    table
        .bound
        .iter()
        .filter(|b| !columns.iter().any(|c| c.name == **b))
        .filter_map(|b| table.column(b.as_str()))
        .filter(|c| !c.preset_on(Operation::Insert))
        .collect()
}

/// A declared column of that name.
pub(crate) fn column_of<'t>(table: &'t Table, name: &str, location: i32) -> Result<&'t Column, Refusal> {
    table.column(name).ok_or_else(|| {
        Refusal::new(
            "42703",
            "column",
            format!("column \"{name}\" of relation \"{}\" does not exist", table.name.name),
        )
        .at(location)
    })
}

/// The column that an assignment names.
pub(crate) fn assigned_name(n: &Node) -> Result<(&str, i32), Refusal> {
    match &n.node {
        Some(NodeEnum::ResTarget(t)) if t.indirection.is_empty() && t.val.is_none() => Ok((&t.name, t.location)),
        Some(NodeEnum::ResTarget(_)) => Err(Refusal::construct("Assigning part of a column")),
        _ => Err(Refusal::internal("a column list holds something else")),
    }
}

/// The refusal of a part of what is sealed as a whole.
fn part_of_sealed() -> Refusal {
    Refusal::construct("Assigning part of a column that is protected, or that protected values are bound to")
        .hint("Write the whole value.")
}

fn unknown_arbiter() -> Refusal {
    Refusal::construct("This collation or operator class in ON CONFLICT")
}

pub(crate) fn tree_target(name: &str) -> Node {
    tree::node(NodeEnum::ResTarget(Box::new(pg_query::protobuf::ResTarget {
        name: name.to_owned(),
        indirection: Vec::new(),
        val: None,
        location: -1,
    })))
}

/// `VALUES ()`, which SQL cannot say, for DEFAULT VALUES: presets go into it.
fn one_empty_row() -> Node {
    let row = tree::node(NodeEnum::List(pg_query::protobuf::List { items: Vec::new() }));
    tree::node(NodeEnum::SelectStmt(Box::new(SelectStmt {
        values_lists: vec![row],
        limit_option: pg_query::protobuf::LimitOption::Default as i32,
        op: SetOperation::SetopNone as i32,
        ..SelectStmt::default()
    })))
}

fn is_values(s: &SelectStmt) -> bool {
    !s.values_lists.is_empty()
        && s.with_clause.is_none()
        && s.sort_clause.is_empty()
        && s.limit_count.is_none()
        && s.limit_offset.is_none()
}

fn items_of(row: &mut Node) -> Result<&mut Vec<Node>, Refusal> {
    match &mut row.node {
        Some(NodeEnum::List(l)) => Ok(&mut l.items),
        _ => Err(Refusal::internal("VALUES holds something else")),
    }
}

fn width_of(row: &Node) -> Option<usize> {
    match &row.node {
        Some(NodeEnum::List(l)) => Some(l.items.len()),
        _ => None,
    }
}

fn has_star(n: &Node) -> bool {
    let Some(NodeEnum::ResTarget(t)) = &n.node else { return false };
    t.val.as_deref().is_some_and(|v| match &v.node {
        Some(NodeEnum::ColumnRef(c)) => matches!(
            c.fields.last(),
            Some(Node {
                node: Some(NodeEnum::AStar(_))
            })
        ),
        _ => expands(v),
    })
}

pub(crate) fn is_default(n: &Node) -> bool {
    matches!(n.node, Some(NodeEnum::SetToDefault(_)))
}

/// Whether a parameter node was put there by us (ours have no location).
fn is_ours(n: &Node) -> bool {
    matches!(&n.node, Some(NodeEnum::ParamRef(p)) if p.location < 0)
}

/// The type of a value's declaration, for bound columns.
pub(crate) fn bound_type(column: &Column) -> ColumnType {
    if column.protection.is_some() {
        ColumnType::Bytea
    } else {
        column.ty.clone()
    }
}
