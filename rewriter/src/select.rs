//! SELECT, VALUES and set operations, level by level.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt, SetOperation};

use crate::expr::{SealedRef, Yield};
use crate::judge::Judge;
use crate::locks::{self, Locked};
use crate::plan::Refusal;
use crate::project::{Doors, Projection, Shown};
use crate::relations::{Listed, names_of};
use crate::scope::{Col, Cte, Scope, TagKey};
use crate::{allow, inside, tree};

/// What the surroundings of a query take from it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The client: envelopes are opened, hidden columns carry what that needs.
    Client,
    /// One arm of a set operation for the client.
    Arm,
    /// A FROM item or CTE: envelopes travel on with their siblings.
    Derived,
    /// Only whether there are rows.
    Exists,
    /// Values for an expression or another table: no envelope may be among them.
    Values,
    /// Equality tags of one key, for comparison with another tag.
    Tags(TagKey),
}

impl Mode {
    fn carries(&self) -> bool {
        matches!(self, Mode::Client | Mode::Arm | Mode::Derived)
    }
}

impl Judge<'_> {
    /// One SELECT with everything in it.
    pub(crate) fn select(&mut self, s: &mut SelectStmt, outer: Option<&Scope<'_>>, mode: &Mode) -> Result<Projection, Refusal> {
        self.seen.selects += 1;
        self.aggregates.push(false);
        let projection = self.select_level(s, outer, mode);
        self.aggregates.pop();
        projection
    }

    fn select_level(&mut self, s: &mut SelectStmt, outer: Option<&Scope<'_>>, mode: &Mode) -> Result<Projection, Refusal> {
        if let Some(into) = &s.into_clause {
            // Where it may stand the statement is a CREATE TABLE AS by now.
            let location = into.rel.as_ref().map_or(-1, |r| r.location);
            return Err(Refusal::syntax("SELECT ... INTO is not allowed here").at(location));
        }
        let locked_above = std::mem::take(&mut self.locked);
        let mut scope = Scope::new(outer);
        if let Some(with) = &mut s.with_clause {
            self.with(with, &mut scope)?;
        }
        if s.op() != SetOperation::SetopNone || !s.values_lists.is_empty() {
            let projection = match s.op() {
                SetOperation::SetopNone => self.values(s, &scope, mode),
                _ => self.set_operation(s, &scope, mode),
            };
            self.locked = locked_above;
            return projection;
        }
        let mut shown = Vec::new();
        let above = std::mem::replace(&mut self.equated, inside::equated(s.where_clause.as_deref()));
        self.locked = Locked::by(s, self.ask.enforce);
        for item in &mut s.from_clause {
            shown.extend(self.range_item(item, &mut scope)?);
        }
        self.equated = above;
        self.locked = locked_above;
        let mut doors = Doors::default();
        if let Some(filter) = &mut s.where_clause {
            self.conjuncts(filter, &scope, &mut doors)?;
            self.note_predicate(filter, &scope);
            self.copy_inside(&mut s.from_clause, filter, &scope);
            self.guard_locked(filter, &scope);
        }
        let mut outputs = self.targets(&mut s.target_list, &scope, &shown, mode)?;
        let grouped = self.group_by(s, &scope, &outputs)?;
        self.plain_opt(s.having_clause.as_mut(), &scope)?;
        for w in &mut s.window_clause {
            match &mut w.node {
                Some(NodeEnum::WindowDef(w)) => self.window(w, &scope)?,
                _ => return Err(Refusal::internal("WINDOW holds something else")),
            }
        }
        self.order_by(&mut s.sort_clause, &scope, &outputs)?;
        self.plain_opt(s.limit_offset.as_mut(), &scope)?;
        self.plain_opt(s.limit_count.as_mut(), &scope)?;
        self.locking(s)?;
        self.fence_locked(s, &scope, mode);
        self.distinct(s, &scope, &outputs, mode)?;

        match mode {
            Mode::Values => {
                if let Some(r) = outputs.iter().find_map(|o| o.sealed.as_ref()) {
                    return Err(Refusal::denied(
                        "sealed-flow",
                        format!(
                            "protected column {} cannot be used as a plain value",
                            r.col.sealed.column.column
                        ),
                    )
                    .hint("An opened value never reaches a plain column or expression; read it in the client."));
                }
            }
            Mode::Tags(key) => {
                for (target, output) in s.target_list.iter_mut().zip(&outputs) {
                    match (&output.sealed, &mut target.node) {
                        (Some(r), Some(NodeEnum::ResTarget(t))) if r.col.tag_key == *key && s.group_clause.is_empty() => {
                            t.val = Some(Box::new(r.tag()?));
                        }
                        _ => {
                            return Err(Refusal::new(
                                "0A000",
                                "sealed-operation",
                                "a protected column is compared with a subquery of another kind",
                            )
                            .hint("Both columns need the same protect.join_group."));
                        }
                    }
                }
            }
            Mode::Exists | Mode::Client | Mode::Arm | Mode::Derived => {}
        }
        let aggregated = self.aggregates.last().copied().unwrap_or(false) || !s.group_clause.is_empty();
        if !mode.carries() {
            return Ok(Projection::plain(&outputs));
        }
        self.expand_keys(s, &scope);
        let rows_are_base_rows = !aggregated && s.distinct_clause.is_empty() && s.having_clause.is_none();
        if *mode != Mode::Client || !rows_are_base_rows {
            doors = Doors::default();
        }
        self.seal_outputs(&mut s.target_list, &mut outputs, &grouped, doors, mode)
    }

    /// WITH: each CTE sees those before it; with RECURSIVE, itself and all of them.
    pub(crate) fn with(&mut self, with: &mut pg_query::protobuf::WithClause, scope: &mut Scope<'_>) -> Result<(), Refusal> {
        if with.recursive {
            // PostgreSQL lets recursive siblings refer forwards; all of them are visible, their columns taken as plain until known.
            for cte in &with.ctes {
                if let Some(NodeEnum::CommonTableExpr(c)) = &cte.node {
                    scope.ctes.push(Cte {
                        name: c.ctename.as_str().into(),
                        runs_as: self.cte_name(&c.ctename),
                        columns: None,
                        guarded: false,
                    });
                }
            }
        }
        if !with.recursive {
            self.coming_ctes
                .extend(with.ctes.iter().rev().filter_map(|cte| match &cte.node {
                    Some(NodeEnum::CommonTableExpr(c)) => Some(c.ctename.clone()),
                    _ => None,
                }));
        }
        for cte in &mut with.ctes {
            let Some(NodeEnum::CommonTableExpr(c)) = &mut cte.node else {
                return Err(Refusal::internal("WITH holds something else"));
            };
            let added = self.search_and_cycle(c, scope)?;
            let names = names_of(&c.aliascolnames)?;
            let Some(query) = c.ctequery.as_mut().and_then(|q| q.node.as_mut()) else {
                return Err(Refusal::internal("a CTE is empty"));
            };
            let projection = match query {
                NodeEnum::SelectStmt(s) => self.select(s, Some(scope), &Mode::Derived)?,
                NodeEnum::InsertStmt(i) => self.insert(i, Some(scope), &Mode::Derived)?,
                NodeEnum::UpdateStmt(u) => self.update(u, Some(scope), &Mode::Derived)?,
                NodeEnum::DeleteStmt(d) => self.delete(d, Some(scope), &Mode::Derived)?,
                _ => return Err(Refusal::construct("This kind of statement in a WITH clause").at(c.location)),
            };
            if with.recursive && projection.carries_sealed() {
                return Err(Refusal::construct("A protected column in a WITH RECURSIVE query").at(c.location));
            }
            let (mut columns, guarded) = projection.derived(&names, Listed::with_query(&c.ctename, c.location))?;
            if let Some(columns) = &mut columns {
                columns.extend(added);
            }
            if with.recursive {
                if let Some(known) = scope.ctes.iter_mut().find(|k| *k.name == *c.ctename) {
                    known.columns = columns;
                    c.ctename = known.runs_as.to_string();
                }
            } else {
                let runs_as = self.cte_name(&c.ctename);
                let name = std::mem::replace(&mut c.ctename, runs_as.to_string());
                if scope.ctes.iter().any(|k| *k.name == *name) {
                    return Err(Refusal::new(
                        "42712",
                        "relation",
                        format!("WITH query name \"{name}\" specified more than once"),
                    )
                    .at(c.location));
                }
                self.coming_ctes.pop();
                scope.ctes.push(Cte {
                    name: name.into(),
                    runs_as,
                    columns,
                    guarded,
                });
            }
        }
        Ok(())
    }

    /// SEARCH and CYCLE: the columns that they add.
    fn search_and_cycle(&mut self, c: &mut pg_query::protobuf::CommonTableExpr, scope: &Scope<'_>) -> Result<Vec<Col>, Refusal> {
        let mut added = Vec::new();
        if let Some(search) = &c.search_clause {
            added.push(Col::plain(&search.search_seq_column));
        }
        if let Some(cycle) = &mut c.cycle_clause {
            self.plain_opt(cycle.cycle_mark_value.as_mut(), scope)?;
            self.plain_opt(cycle.cycle_mark_default.as_mut(), scope)?;
            added.push(Col::plain(&cycle.cycle_mark_column));
            added.push(Col::plain(&cycle.cycle_path_column));
        }
        Ok(added)
    }

    /// The name under which a CTE runs. One that is also a relation's gets a name of ours: should PostgreSQL ever see a different scope than
    /// was seen here, it would miss a relation rather than read one past its filter.
    fn cte_name(&mut self, name: &str) -> Box<str> {
        let catalog = self.ask.catalog;
        // Where no table has a filter, only the catalogue's views could be read past one.
        let relation = |schema| catalog.declares() && catalog.relation(schema, name).is_some();
        let taken =
            relation(catalog.schema.as_str()) || relation("pg_temp") || allow::catalogue_view("pg_catalog", name).is_some();
        if taken { self.hidden_name().into() } else { name.into() }
    }

    fn set_operation(&mut self, s: &mut SelectStmt, scope: &Scope<'_>, mode: &Mode) -> Result<Projection, Refusal> {
        if let Some(clause) = s.locking_clause.first() {
            let message = format!("{} is not allowed with UNION/INTERSECT/EXCEPT", locks::name(clause));
            return Err(Refusal::new("0A000", "construct", message));
        }
        let (Some(left), Some(right)) = (&mut s.larg, &mut s.rarg) else {
            return Err(Refusal::internal("a set operation lacks an arm"));
        };
        let mode = if *mode == Mode::Client { &Mode::Arm } else { mode };
        let mixed = self.mixed_references([&**left, &**right]);
        let (left_arm, right_arm) = (left, right);
        let left = self.select(left_arm, Some(scope), mode)?;
        let right = self.select(right_arm, Some(scope), mode)?;
        let mut arms = 0;
        for arm in [left_arm, right_arm] {
            references_as_oids(arm, &mixed, &mut arms);
        }
        if left.carries_sealed() || right.carries_sealed() {
            if s.op() != SetOperation::SetopUnion || !s.all {
                return Err(Refusal::construct("UNION, INTERSECT or EXCEPT over a protected column")
                    .hint("Use UNION ALL, or leave the protected column out."));
            }
            if !left.aligned_with(&right) {
                return Err(
                    Refusal::construct("A set operation whose arms give different protected columns")
                        .hint("Select the same protected columns at the same positions in every arm."),
                );
            }
        }
        for order in &mut s.sort_clause {
            let Some(NodeEnum::SortBy(o)) = &mut order.node else {
                return Err(Refusal::internal("ORDER BY holds something else"));
            };
            self.sort_operator(o)?;
            let Some(key) = &mut o.node else {
                return Err(Refusal::internal("an expression is empty"));
            };
            if let Some(sealed) = left.sealed_output(key) {
                return Err(sealed.unsupported("ordering", "range"));
            }
            match &key.node {
                // Only output names and positions may stand here.
                Some(NodeEnum::ColumnRef(c)) if c.fields.len() == 1 => self.seen.column_refs += 1,
                _ => self.plain(key, scope)?,
            }
        }
        self.plain_opt(s.limit_offset.as_mut(), scope)?;
        self.plain_opt(s.limit_count.as_mut(), scope)?;
        Ok(left)
    }

    /// For each innermost arm in order, at which positions it gives a catalogue reference where another arm gives something else, which can
    /// only be an oid. A constant can be anything.
    fn mixed_references(&self, arms: [&SelectStmt; 2]) -> Vec<Vec<usize>> {
        let mut all: Vec<Vec<Option<bool>>> = Vec::new();
        let mut open: Vec<&SelectStmt> = arms.into_iter().rev().collect();
        while let Some(s) = open.pop() {
            if let (Some(left), Some(right)) = (&s.larg, &s.rarg) {
                open.extend([&**right, &**left]);
                continue;
            }
            let values = s.target_list.iter().map(|n| match &n.node {
                Some(NodeEnum::ResTarget(t)) => t.val.as_deref(),
                _ => None,
            });
            // Behind a `*` nobody counts.
            let counted = !values.clone().flatten().any(is_star);
            let reference = |v: Option<&Node>| match v.map(|v| (v, &v.node)) {
                Some((v, _)) if counted && self.catalogue_reference(v) => Some(true),
                Some((_, Some(NodeEnum::AConst(_)))) => None,
                _ => Some(false),
            };
            all.push(values.map(reference).collect());
        }
        let mixed = |i: usize| all.iter().any(|arm| arm.get(i) == Some(&Some(false)));
        let here = |arm: &Vec<Option<bool>>| (0..arm.len()).filter(|i| arm[*i] == Some(true) && mixed(*i)).collect();
        all.iter().map(here).collect()
    }

    fn values(&mut self, s: &mut SelectStmt, scope: &Scope<'_>, mode: &Mode) -> Result<Projection, Refusal> {
        if matches!(mode, Mode::Tags(_)) {
            return Err(Refusal::construct("VALUES as a subquery beside a protected column").hint("Write column IN (value, …)."));
        }
        let mut width = 0;
        for row in &mut s.values_lists {
            match &mut row.node {
                Some(NodeEnum::List(l)) => {
                    width = l.items.len();
                    self.plain_all(&mut l.items, scope)?;
                }
                _ => return Err(Refusal::internal("VALUES holds something else")),
            }
        }
        let names: Vec<String> = (1..=width).map(|i| format!("column{i}")).collect();
        for order in &mut s.sort_clause {
            let mut level = Scope::new(Some(scope));
            level.entries.push(crate::scope::Entry::plain(
                "*VALUES*",
                Some(names.iter().map(|n| Col::plain(n)).collect()),
            ));
            self.sort_by(order, &level)?;
        }
        self.plain_opt(s.limit_offset.as_mut(), scope)?;
        self.plain_opt(s.limit_count.as_mut(), scope)?;
        Ok(Projection::of_names(names))
    }

    /// GROUP BY: a protected column groups by its tag. Gives the references that were grouped so.
    fn group_by(&mut self, s: &mut SelectStmt, scope: &Scope<'_>, outputs: &[Shown]) -> Result<Vec<SealedRef>, Refusal> {
        let mut grouped = Vec::new();
        for key in &mut s.group_clause {
            if let Some(NodeEnum::GroupingSet(set)) = &mut key.node {
                self.grouping_set(&mut set.content, scope)?;
                continue;
            }
            // An output's position or, where no column of this level has the name, its alias.
            let output = match &key.node {
                Some(NodeEnum::ColumnRef(c)) if c.fields.len() == 1 && self.is_own_column(c, scope) => None,
                _ => self.output_of(key, outputs),
            };
            if let Some(output) = output {
                if let Some(r) = &output.sealed {
                    *key = r.tag()?;
                    grouped.push(r.clone());
                }
                continue;
            }
            if let Yield::Sealed(r) = self.expr(key, scope)? {
                *key = r.tag()?;
                grouped.push(r);
            }
        }
        Ok(grouped)
    }

    fn grouping_set(&mut self, content: &mut [Node], scope: &Scope<'_>) -> Result<(), Refusal> {
        for item in content {
            match &mut item.node {
                Some(NodeEnum::GroupingSet(inner)) => self.grouping_set(&mut inner.content, scope)?,
                _ => self.plain(item, scope)?,
            }
        }
        Ok(())
    }

    /// A barrier has no primary key, so where a query groups by one, the other columns that it uses are added: they depend on it.
    fn expand_keys(&mut self, s: &mut SelectStmt, scope: &Scope<'_>) {
        if s.group_clause.is_empty()
            || s.group_clause
                .iter()
                .any(|k| matches!(k.node, Some(NodeEnum::GroupingSet(_))))
        {
            return;
        }
        for entry in scope.entries.iter().filter(|e| !e.primary_key.is_empty()) {
            let names_key = |key: &Node, name: &str| match &key.node {
                Some(NodeEnum::ColumnRef(c)) => match tree::parts(&c.fields).as_deref() {
                    Some([column]) => *column == name,
                    Some([alias, column]) => *alias == &*entry.alias && *column == name,
                    _ => false,
                },
                _ => false,
            };
            if !entry
                .primary_key
                .iter()
                .all(|k| s.group_clause.iter().any(|g| names_key(g, k)))
            {
                continue;
            }
            for name in scope.used_of(&entry.alias) {
                let Some(col) = entry.columns.as_ref().and_then(|cs| cs.iter().find(|c| c.name == name)) else {
                    continue;
                };
                if !s.group_clause.iter().any(|g| names_key(g, &name)) {
                    s.group_clause.push(tree::column(&entry.alias, &name));
                }
                if let crate::scope::Nature::Sealed(sealed) = &col.nature {
                    let parts = sealed.tag.iter().chain(sealed.bound.iter().map(|(b, _)| b));
                    for part in parts {
                        let node = tree::column(&entry.alias, part);
                        if !s.group_clause.contains(&node) {
                            s.group_clause.push(node);
                        }
                    }
                }
            }
        }
    }

    /// Whether a bare name is, to PostgreSQL, a column of this very level.
    fn is_own_column(&self, c: &pg_query::protobuf::ColumnRef, scope: &Scope<'_>) -> bool {
        let name = c.fields.first().and_then(tree::text_of).unwrap_or_default();
        !matches!(scope.own_column(name, -1), Ok(None))
    }

    /// The output that a sort, group or distinct item names by its alias or position.
    fn output_of<'o>(&mut self, key: &Node, outputs: &'o [Shown]) -> Option<&'o Shown> {
        match &key.node {
            Some(NodeEnum::AConst(k)) => match &k.val {
                Some(pg_query::protobuf::a_const::Val::Ival(i)) => usize::try_from(i.ival)
                    .ok()
                    .and_then(|i| i.checked_sub(1))
                    .and_then(|i| outputs.get(i)),
                _ => None,
            },
            Some(NodeEnum::ColumnRef(c)) if c.fields.len() == 1 => {
                let name = c.fields.first().and_then(tree::text_of).unwrap_or_default();
                let output = outputs.iter().find(|o| o.name.as_deref() == Some(name));
                if output.is_some() {
                    self.seen.column_refs += 1;
                }
                output
            }
            _ => None,
        }
    }

    /// ORDER BY of a SELECT: an output's alias or position, else an input expression.
    fn order_by(&mut self, sort: &mut [Node], scope: &Scope<'_>, outputs: &[Shown]) -> Result<(), Refusal> {
        for order in sort {
            let Some(NodeEnum::SortBy(o)) = &mut order.node else {
                return Err(Refusal::internal("ORDER BY holds something else"));
            };
            self.sort_operator(o)?;
            let Some(key) = &mut o.node else {
                return Err(Refusal::internal("an expression is empty"));
            };
            let sealed = match self.output_of(key, outputs) {
                Some(output) => output.sealed.clone(),
                None => match self.expr(key, scope)? {
                    Yield::Sealed(r) => Some(r),
                    Yield::Plain => None,
                },
            };
            if let Some(r) = sealed {
                return Err(r.col.unsupported("ordering", "range"));
            }
        }
        Ok(())
    }

    /// DISTINCT with a protected output becomes DISTINCT ON, which compares its tag.
    fn distinct(&mut self, s: &mut SelectStmt, scope: &Scope<'_>, outputs: &[Shown], mode: &Mode) -> Result<(), Refusal> {
        let plain = matches!(s.distinct_clause.as_slice(), [Node { node: None }]);
        if !plain {
            for key in &mut s.distinct_clause {
                if let Some(output) = self.output_of(key, outputs) {
                    if let Some(r) = &output.sealed {
                        *key = r.tag()?;
                    }
                    continue;
                }
                if let Yield::Sealed(r) = self.expr(key, scope)? {
                    *key = r.tag()?;
                }
            }
            return Ok(());
        }
        if outputs.iter().all(|o| o.sealed.is_none()) || !mode.carries() {
            return Ok(());
        }
        if outputs.iter().any(|o| o.name.is_none()) || !s.group_clause.is_empty() {
            return Err(Refusal::construct("DISTINCT over a protected column in this query").hint("Name the columns."));
        }
        s.distinct_clause.clear();
        for (i, output) in outputs.iter().enumerate() {
            s.distinct_clause.push(match &output.sealed {
                Some(r) => r.tag()?,
                None => tree::integer(i32::try_from(i).unwrap_or(i32::MAX - 1) + 1),
            });
        }
        Ok(())
    }

    /// FOR UPDATE and FOR SHARE: native row-level security filters beneath the lock; without it [`crate::locks`] does.
    fn locking(&mut self, s: &mut SelectStmt) -> Result<(), Refusal> {
        for clause in &s.locking_clause {
            let Some(NodeEnum::LockingClause(l)) = &clause.node else {
                return Err(Refusal::internal("FOR UPDATE holds something else"));
            };
            for rel in &l.locked_rels {
                match &rel.node {
                    Some(NodeEnum::RangeVar(r)) if r.schemaname.is_empty() && r.catalogname.is_empty() => {
                        self.seen.range_vars += 1;
                    }
                    _ => return Err(Refusal::syntax("FOR UPDATE must specify unqualified relation names")),
                }
            }
            if self.ask.enforce.is_native() && !self.unsecured.is_empty() {
                return Err(Refusal::construct("FOR UPDATE without native row-level security"));
            }
        }
        Ok(())
    }

    /// A predicate's top-level conjuncts; equalities by tag are noted for the check at the door.
    pub(crate) fn conjuncts(&mut self, n: &mut Node, scope: &Scope<'_>, doors: &mut Doors) -> Result<(), Refusal> {
        match &mut n.node {
            Some(NodeEnum::BoolExpr(b)) if b.boolop() == pg_query::protobuf::BoolExprType::AndExpr => {
                for arg in &mut b.args {
                    self.conjuncts(arg, scope, doors)?;
                }
                Ok(())
            }
            Some(NodeEnum::AExpr(e))
                if matches!(
                    e.kind(),
                    pg_query::protobuf::AExprKind::AexprOp
                        | pg_query::protobuf::AExprKind::AexprIn
                        | pg_query::protobuf::AExprKind::AexprOpAny
                ) =>
            {
                if let Some(matched) = self.comparison(e, scope)?
                    && matched.column.own_level
                {
                    doors.add(matched);
                }
                Ok(())
            }
            _ => self.plain(n, scope),
        }
    }
}

fn is_star(n: &Node) -> bool {
    match &n.node {
        Some(NodeEnum::ColumnRef(c)) => c.fields.iter().any(|f| matches!(f.node, Some(NodeEnum::AStar(_)))),
        _ => false,
    }
}

/// Has the references at these positions of the innermost arms, which were to be shown as text, told as oids.
fn references_as_oids(s: &mut SelectStmt, mixed: &[Vec<usize>], arm: &mut usize) {
    if let (Some(left), Some(right)) = (&mut s.larg, &mut s.rarg) {
        references_as_oids(left, mixed, arm);
        references_as_oids(right, mixed, arm);
        return;
    }
    for i in mixed.get(*arm).into_iter().flatten() {
        if let Some(NodeEnum::ResTarget(t)) = s.target_list.get_mut(*i).and_then(|n| n.node.as_mut())
            && let Some(NodeEnum::TypeCast(c)) = t.val.as_mut().and_then(|v| v.node.as_mut())
            && let Some(reference) = c.arg.take()
        {
            t.val = Some(Box::new(tree::cast(*reference, "oid")));
        }
    }
    *arm += 1;
}
