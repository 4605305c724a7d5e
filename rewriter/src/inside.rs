//! The client's own comparisons, copied beneath a table's filter, so that an index serves them.
//!
//! A barrier's fence (`OFFSET 0`) keeps every predicate of the client above the filter, and so every index out of use. What is copied here
//! stays where the client wrote it as well, so a copy cannot change which rows there are; it must only not tell anything of rows that the
//! filter hides. Promised of each copy:
//! - It is a top-level conjunct of WHERE, or of the ON of a join that drops the rows that it does not match: never from beneath OR, NOT or
//!   CASE, never for the nullable side of an outer join (but by that join's own ON).
//! - It compares one column of the barrier's table, as it is stored, with constants and parameters: no other column, function, subquery
//!   or cast. A masked column is not compared, because predicates see the mask.
//! - The operator is one that PostgreSQL 15 marks LEAKPROOF for the column's type ([`leakproof`]).
//! - It cannot raise while rows are read. A literal is read in the column's type at Parse, a parameter at Bind, as the original's are.
//!   What a parameter's declared type makes of the comparison can: `bigint = oid` casts the column. [`no_oid`] sees to that.
//! - It leaves types as they are: a parameter that the statement mentions once has the type here that it has there.

use std::collections::HashMap;

use pg_query::NodeEnum;
use pg_query::protobuf::{self, AExprKind, BoolExprType, JoinType, Node, a_const};
use postern_config::names::eq_column;
use postern_config::{ColumnType, Ident, Table};

use crate::judge::{BARRIER, Judge};
use crate::scope::{Entry, Found, Nature, Scope};
use crate::tree;

/// How often the client's statement mentions each parameter.
pub(crate) type Mentions = HashMap<i32, usize>;

/// What a column that may be compared holds.
#[derive(Clone, Copy)]
pub(crate) enum Holds<'t> {
    /// Values of this type.
    Values(&'t ColumnType),
    /// Equality tags: `bytea`, compared with parameters of ours.
    Tags,
    /// An envelope: only NULL is asked for.
    Envelopes,
}

/// A column of a barrier's table.
pub(crate) struct Stored<'s> {
    alias: &'s str,
    pub(crate) table: &'s Table,
    /// As the table calls it.
    pub(crate) name: String,
    pub(crate) holds: Holds<'s>,
}

/// A comparison of such a column with constants and parameters.
pub(crate) struct Comparison<'s> {
    stored: Stored<'s>,
    /// The column stands on the left.
    pub(crate) column_first: bool,
    /// What it is compared with, safe to stand there.
    pub(crate) other: Node,
    /// A conjunct that the comparison needs behind it.
    pub(crate) beside: Option<Node>,
}

impl Judge<'_> {
    /// Copies what may be of a predicate that was judged into the barriers among these FROM items.
    pub(crate) fn copy_inside(&self, items: &mut [Node], predicate: &Node, scope: &Scope<'_>) {
        // Without a fence PostgreSQL decides what runs first.
        if self.ask.enforce.is_native() || !self.fenced {
            return;
        }
        match &predicate.node {
            Some(NodeEnum::BoolExpr(b)) if b.boolop() == BoolExprType::AndExpr => {
                for conjunct in &b.args {
                    self.copy_inside(items, conjunct, scope);
                }
            }
            _ => {
                if let Some((alias, copies)) = self.copy_of(predicate, scope) {
                    copies.iter().for_each(|copy| place(items, alias, copy));
                }
            }
        }
    }

    /// [`Self::copy_inside`] for the ON of a join.
    pub(crate) fn copy_inside_join(&self, j: &mut protobuf::JoinExpr, scope: &Scope<'_>) {
        let Some(quals) = &j.quals else { return };
        let (left, right) = filtered_by_on(j.jointype());
        for side in [(left, &mut j.larg), (right, &mut j.rarg)] {
            if let (true, Some(item)) = side {
                self.copy_inside(std::slice::from_mut(&mut **item), quals, scope);
            }
        }
    }

    /// Whether the WHERE above asks for rows of that table by a whole key of it. A guess by names, on which nothing but speed depends.
    pub(crate) fn asks_by_key(&self, table: &Table, alias: &str) -> bool {
        let equated =
            |key: &Ident| (self.equated.iter()).any(|(a, name)| *name == *key.as_str() && a.as_ref().is_none_or(|a| *a == alias));
        std::iter::once(&table.primary_key)
            .chain(&table.unique)
            .any(|key| !key.is_empty() && key.iter().all(equated))
    }

    /// The copy of one conjunct with what it needs beside it, and the alias of the barrier that it is for.
    fn copy_of<'s>(&self, n: &Node, scope: &'s Scope<'_>) -> Option<(&'s str, Vec<Node>)> {
        match &n.node {
            Some(NodeEnum::NullTest(t)) => {
                let stored = stored(t.arg.as_deref()?, scope)?;
                let mut copy = t.clone();
                copy.arg = Some(Box::new(stored.reference()));
                Some((stored.alias, vec![tree::node(NodeEnum::NullTest(copy))]))
            }
            Some(NodeEnum::AExpr(e)) => self.comparison_copy(e, scope),
            _ => None,
        }
    }

    fn comparison_copy<'s>(&self, e: &protobuf::AExpr, scope: &'s Scope<'_>) -> Option<(&'s str, Vec<Node>)> {
        let Comparison {
            stored,
            column_first,
            other,
            beside,
        } = self.stored_comparison(e, scope)?;
        let mut copy = e.clone();
        let column = stored.reference();
        let (left, right) = if column_first { (column, other) } else { (other, column) };
        (copy.lexpr, copy.rexpr) = (Some(Box::new(left)), Some(Box::new(right)));
        let mut copies = vec![tree::node(NodeEnum::AExpr(Box::new(copy)))];
        copies.extend(beside);
        Some((stored.alias, copies))
    }

    /// A comparison that can tell nothing of a row but by letting it through, as the head of this file promises.
    pub(crate) fn stored_comparison<'s>(&self, e: &protobuf::AExpr, scope: &'s Scope<'_>) -> Option<Comparison<'s>> {
        let (left, right) = (e.lexpr.as_deref()?, e.rexpr.as_deref()?);
        let (stored, column_first, other) = match stored(left, scope) {
            Some(stored) => (stored, true, right),
            None if e.kind() == AExprKind::AexprOp => (stored(right, scope)?, false, left),
            None => return None,
        };
        let compared = self.compared(e, other, &stored)?;
        let bigints = matches!(stored.holds, Holds::Values(ColumnType::Int8));
        let array = e.kind() == AExprKind::AexprOpAny && matches!(other.node, Some(NodeEnum::ParamRef(_)));
        Some(Comparison {
            stored,
            column_first,
            beside: (bigints && array).then(|| no_oid_array(other)),
            other: compared,
        })
    }

    /// What the column is compared with, if the whole may be copied.
    fn compared(&self, e: &protobuf::AExpr, other: &Node, stored: &Stored<'_>) -> Option<Node> {
        // The operator stays as the client wrote it, so that it is the same one that the original finds.
        let operator = match tree::parts(&e.name).as_deref() {
            Some([name]) => (*name).to_owned(),
            // `a OPERATOR(pg_catalog.=) b OPERATOR(pg_catalog.+) c` adds last.
            Some(["pg_catalog", name]) if !matches!(stored.holds, Holds::Values(ColumnType::Int8)) => (*name).to_owned(),
            _ => return None,
        };
        match e.kind() {
            AExprKind::AexprOp if leakproof(stored.holds, &operator) => self.single(other, stored.holds),
            AExprKind::AexprIn if operator == "=" && leakproof(stored.holds, "=") => {
                let Some(NodeEnum::List(list)) = &other.node else {
                    return None;
                };
                let items = self.several(&list.items, stored.holds)?;
                Some(tree::node(NodeEnum::List(protobuf::List { items })))
            }
            AExprKind::AexprBetween if leakproof(stored.holds, ">=") && leakproof(stored.holds, "<=") => {
                let Some(NodeEnum::List(list)) = &other.node else {
                    return None;
                };
                let items = list
                    .items
                    .iter()
                    .map(|n| self.single(n, stored.holds))
                    .collect::<Option<_>>()?;
                Some(tree::node(NodeEnum::List(protobuf::List { items })))
            }
            AExprKind::AexprOpAny if operator == "=" && leakproof(stored.holds, "=") => match &other.node {
                Some(NodeEnum::AArrayExpr(a)) => {
                    let mut array = a.clone();
                    array.elements = self.several(&a.elements, stored.holds)?;
                    Some(tree::node(NodeEnum::AArrayExpr(array)))
                }
                Some(NodeEnum::ParamRef(p)) if self.may_repeat(p, stored.holds) => Some(other.clone()),
                // `'{…}'`, read in the column's array type.
                Some(NodeEnum::AConst(k)) if matches!(k.val, Some(a_const::Val::Sval(_))) => {
                    matches!(stored.holds, Holds::Values(_)).then(|| other.clone())
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// One value beside an operator. PostgreSQL 15's operators for the types of [`leakproof`] and any other built-in type that a parameter
    /// may be declared of raise nothing, whichever side is cast, but for one: [`no_oid`].
    fn single(&self, n: &Node, holds: Holds<'_>) -> Option<Node> {
        let fits = match &n.node {
            Some(NodeEnum::AConst(k)) => suits(k, holds),
            Some(NodeEnum::ParamRef(p)) => self.may_repeat(p, holds),
            _ => false,
        };
        if !fits {
            return None;
        }
        Some(match holds {
            Holds::Values(ColumnType::Int8) => no_oid(n.clone()),
            _ => n.clone(),
        })
    }

    /// Items of IN or ARRAY: PostgreSQL gives them one common type. Parameters declared of different types would be cast to it row by row,
    /// and that may raise (`numeric` to `float8`), so several are taken only where no two types with such a cast between them fit.
    fn several(&self, items: &[Node], holds: Holds<'_>) -> Option<Vec<Node>> {
        let constants = items.iter().all(|n| matches!(n.node, Some(NodeEnum::AConst(_))));
        let harmless = matches!(
            holds,
            Holds::Tags | Holds::Values(ColumnType::Text | ColumnType::Varchar(_) | ColumnType::Uuid | ColumnType::Bytea)
        );
        if items.len() > 1 && !constants && !harmless {
            return None;
        }
        items.iter().map(|n| self.single(n, holds)).collect()
    }

    /// Whether a parameter may be mentioned once more, and before its other place. The first mention decides on the type of one that was
    /// not declared: mentioned by the client once, it is this column's at both. Tags are parameters of ours, of a declared type.
    fn may_repeat(&self, p: &protobuf::ParamRef, holds: Holds<'_>) -> bool {
        match (holds, self.params.client_number(p.number)) {
            (Holds::Tags, None) => true,
            (Holds::Values(_), Some(number)) => self.mentions.get(&number) == Some(&1),
            _ => false,
        }
    }
}

/// The columns that a WHERE's top-level conjuncts compare by `=` with a constant or parameter, before anything is judged: (alias, name).
pub(crate) fn equated(filter: Option<&Node>) -> Vec<(Option<String>, String)> {
    let conjuncts = match filter.map(|f| (f, &f.node)) {
        Some((_, Some(NodeEnum::BoolExpr(b)))) if b.boolop() == BoolExprType::AndExpr => b.args.as_slice(),
        Some((filter, _)) => std::slice::from_ref(filter),
        None => return Vec::new(),
    };
    let constant = |n: &Node| matches!(n.node, Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)));
    let column = |n: &Node| match &n.node {
        Some(NodeEnum::ColumnRef(c)) => match tree::parts(&c.fields)?.as_slice() {
            [name] => Some((None, (*name).to_owned())),
            [.., alias, name] => Some((Some((*alias).to_owned()), (*name).to_owned())),
            [] => None,
        },
        _ => None,
    };
    let of = |n: &Node| {
        let Some(NodeEnum::AExpr(e)) = &n.node else { return None };
        let (left, right) = (e.lexpr.as_deref()?, e.rexpr.as_deref()?);
        let equals = e.kind() == AExprKind::AexprOp && matches!(tree::parts(&e.name).as_deref(), Some(["="]));
        match (equals, constant(left), constant(right)) {
            (true, false, true) => column(left),
            (true, true, false) => column(right),
            _ => None,
        }
    };
    conjuncts.iter().filter_map(of).collect()
}

impl Stored<'_> {
    fn reference(&self) -> Node {
        tree::column(BARRIER, &self.name)
    }
}

/// Operators that are LEAKPROOF in PostgreSQL 15's `pg_proc` for both sides of the type. Not so: `numeric`, `jsonb`. `float8` is, but the
/// cast of a `numeric` parameter to it raises.
pub(crate) fn leakproof(holds: Holds<'_>, operator: &str) -> bool {
    let compared = matches!(operator, "=" | "<>" | "<" | "<=" | ">" | ">=");
    match holds {
        Holds::Envelopes => false,
        Holds::Tags => matches!(operator, "=" | "<>"),
        Holds::Values(ty) => compared && ty.leakproof(),
    }
}

/// Whether a constant's type keeps the comparison among those of [`leakproof`]: a string takes the column's type, a number has its own.
fn suits(k: &protobuf::AConst, holds: Holds<'_>) -> bool {
    let Holds::Values(ty) = holds else { return false };
    let integers = matches!(ty, ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8);
    match &k.val {
        Some(a_const::Val::Sval(_)) => true,
        Some(a_const::Val::Ival(_)) => integers,
        Some(a_const::Val::Fval(f)) => integers && f.fval.parse::<i64>().is_ok(),
        Some(a_const::Val::Boolval(_)) => *ty == ColumnType::Bool,
        _ => false,
    }
}

/// The column of a barrier's table that a reference means, if it stands at this level and is compared as it is stored.
pub(crate) fn stored<'s>(n: &Node, scope: &'s Scope<'_>) -> Option<Stored<'s>> {
    let Some(NodeEnum::ColumnRef(c)) = &n.node else { return None };
    let (entry, name) = match tree::parts(&c.fields)?.as_slice() {
        // What a join merged may be another side's, of another type; of a side whose columns are not known a NATURAL JOIN may merge any.
        [name] if scope.merged.iter().any(|m| **m == **name) || scope.entries.iter().any(|e| e.columns.is_none()) => return None,
        [name] => match scope.own_column(name, c.location) {
            Ok(Some(Found::Column { entry, col })) => (entry, col.name.to_string()),
            _ => return None,
        },
        [alias, name] => (scope.entries.iter().find(|e| *e.alias == **alias)?, (*name).to_owned()),
        _ => return None,
    };
    let table = entry.behind.as_deref()?;
    let alias = &*entry.alias;
    if let Some(position) = position(entry, &name) {
        // A barrier's entry lists the declared columns in their order, under the names that the client gave them.
        let column = table.columns.get(position)?;
        let holds = match entry.columns.as_ref()?.get(position)?.nature {
            Nature::Plain => Holds::Values(&column.ty),
            Nature::Sealed(_) => Holds::Envelopes,
            Nature::Never(_) => return None,
        };
        return column.shown_when.is_none().then(|| Stored {
            alias,
            table,
            name: column.name.as_str().to_owned(),
            holds,
        });
    }
    // A tag that the judge put in place of a protected column: clients cannot name one.
    table
        .columns
        .iter()
        .filter(|c| !c.never && c.shown_when.is_none() && c.protection.as_ref().is_some_and(|p| p.eq()))
        .map(|c| eq_column(&c.name))
        .find(|tag| *tag == name)
        .map(|name| Stored {
            alias,
            table,
            name,
            holds: Holds::Tags,
        })
}

fn position(entry: &Entry, name: &str) -> Option<usize> {
    let mut named = entry.columns.as_ref()?.iter().enumerate().filter(|(_, c)| &*c.name == name);
    let (position, _) = named.next()?;
    named.next().is_none().then_some(position)
}

/// Puts a copy into the barrier of that alias, where what it does not match is not among the rows afterwards.
fn place(items: &mut [Node], alias: &str, copy: &Node) {
    for n in items {
        match &mut n.node {
            Some(NodeEnum::RangeSubselect(s)) if s.alias.as_ref().is_some_and(|a| a.aliasname == alias) => {
                if let Some(NodeEnum::SelectStmt(q)) = s.subquery.as_mut().and_then(|q| q.node.as_mut())
                    && q.from_clause.iter().any(is_barrier)
                    // One that is locked has no fence, and so the client's own predicate beside its filter.
                    && q.limit_offset.is_some()
                    && let Some(filter) = q.where_clause.take()
                {
                    q.where_clause = Some(Box::new(tree::and(*filter, Some(copy.clone()))));
                }
            }
            // An alias for the whole join hides the ones beneath.
            Some(NodeEnum::JoinExpr(j)) if j.alias.is_none() => {
                let (left, right) = kept_whole(j.jointype());
                for (kept, item) in [(left, &mut j.larg), (right, &mut j.rarg)] {
                    if let (true, Some(item)) = (kept, item) {
                        place(std::slice::from_mut(&mut **item), alias, copy);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Which sides of a join are never NULL for want of a match: a predicate above the join may be copied there.
fn kept_whole(join: JoinType) -> (bool, bool) {
    match join {
        JoinType::JoinInner => (true, true),
        JoinType::JoinLeft => (true, false),
        JoinType::JoinRight => (false, true),
        _ => (false, false),
    }
}

/// On which sides of a join the rows that its ON does not match are dropped.
fn filtered_by_on(join: JoinType) -> (bool, bool) {
    match join {
        JoinType::JoinInner => (true, true),
        JoinType::JoinLeft => (false, true),
        JoinType::JoinRight => (true, false),
        _ => (false, false),
    }
}

fn is_barrier(n: &Node) -> bool {
    let relation = match &n.node {
        Some(NodeEnum::RangeTableSample(s)) => s.relation.as_deref(),
        _ => Some(n),
    };
    match relation.map(|r| &r.node) {
        Some(Some(NodeEnum::RangeVar(r))) => r.alias.as_ref().is_some_and(|a| a.aliasname == BARRIER),
        _ => false,
    }
}

/// `value + 0::int8`, beside a column of bigints. Where a parameter is declared `oid`, `bigint = oid` casts the column and raises for a row
/// whose value is out of range, so it would tell of hidden ones. There is no `oid + bigint`, so PostgreSQL refuses such a statement (42883)
/// before it reads a row. Every other type takes the 0 and stays equal to what it was, by an operator that cannot overflow on it; one that
/// is not declared is still a bigint. Constants and parameters are treated alike, because a template's literal is either.
fn no_oid(value: Node) -> Node {
    tree::node(NodeEnum::AExpr(Box::new(protobuf::AExpr {
        kind: AExprKind::AexprOp as i32,
        name: vec![tree::string("pg_catalog"), tree::string("+")],
        lexpr: Some(Box::new(value)),
        rexpr: Some(Box::new(tree::cast(tree::integer(0), "int8"))),
        rexpr_list_start: 0,
        rexpr_list_end: 0,
        location: -1,
    })))
}

/// [`no_oid`] for an array's elements, which cannot be added to: a conjunct that is true for every array, and is never computed. It stands
/// behind the comparison, which has given the parameter its type.
fn no_oid_array(array: &Node) -> Node {
    let first = tree::node(NodeEnum::AIndirection(Box::new(protobuf::AIndirection {
        arg: Some(Box::new(array.clone())),
        indirection: vec![tree::node(NodeEnum::AIndices(Box::new(protobuf::AIndices {
            is_slice: false,
            lidx: None,
            uidx: Some(Box::new(tree::integer(1))),
        })))],
    })));
    let added = tree::node(NodeEnum::NullTest(Box::new(protobuf::NullTest {
        xpr: None,
        arg: Some(Box::new(no_oid(first))),
        nulltesttype: protobuf::NullTestType::IsNull as i32,
        argisrow: false,
        location: -1,
    })));
    tree::case(tree::boolean(true), tree::boolean(true), Some(added))
}
