//! Where in a tree a literal may be a hole.
//!
//! Only the positions that are named here are visited: operands of operators, items of IN, BETWEEN, VALUES, ARRAY and ROW, results of
//! CASE, what SET assigns, what SELECT and RETURNING give, arguments of listed functions that nobody looks into, casts to listed types.
//! A literal anywhere else (ORDER BY, GROUP BY, DISTINCT ON, LIMIT, OFFSET, window frames, other casts, type modifiers, NULL tests,
//! functions with syntax of their own) is not visited, and so stays exact.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, AExprKind, CoercionForm, Node, ReturningClause, SelectStmt, WithClause, a_const};

use super::mask::{Kind, Masked};
use crate::sealed::is_constant;
use crate::types::registry_type;
use crate::{allow, census, tree};

/// The statement with literals as parameters: `holes[n - 1]` became `$n`.
pub(super) struct Opened {
    pub(super) stmt: Node,
    pub(super) holes: Vec<Open>,
}

/// A literal that became a parameter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Open {
    /// Which hole.
    pub(super) hole: usize,
    /// A minus sign before it belongs to the constant. `-0` is printed as `0`, so such a hole takes no zero.
    pub(super) negated: bool,
}

/// Whether a number is zero.
pub(super) fn is_zero(number: &str) -> bool {
    number.bytes().all(|b| matches!(b, b'0' | b'.'))
}

/// Makes parameters of all literals of a statement that may be holes; `None` if there is none, or it is not a statement that has templates.
pub(super) fn open(stmt: &Node, masked: &Masked) -> Option<Opened> {
    let mut tree = stmt.clone();
    let mut met: Vec<Vec<Open>> = vec![Vec::new(); masked.holes()];
    statement(&mut tree, &mut |n| {
        if let Some(open) = hole_of(n, masked) {
            met[open.hole].push(open);
        }
    })?;
    // A literal that is in the tree at another place too (the grammar copies some) must be exact at all of them.
    let constants = census::survey(stmt).ok()?.constants;
    let places = |hole: usize| {
        let of_hole = constants
            .iter()
            .filter(|at| masked.hole_at(**at).is_some_and(|(h, _)| h == hole));
        of_hole.count()
    };
    let mut numbers = vec![None; masked.holes()];
    let mut holes = Vec::new();
    for (hole, met) in met.iter().enumerate() {
        if let [first, others @ ..] = met.as_slice()
            && others.iter().all(|o| o == first)
            && places(hole) == met.len()
        {
            holes.push(*first);
            numbers[hole] = Some(i32::try_from(holes.len()).ok()?);
        }
    }
    if holes.is_empty() {
        return None;
    }
    statement(&mut tree, &mut |n| {
        if let Some(open) = hole_of(n, masked)
            && let Some(number) = numbers[open.hole]
            && let Some(location) = masked.location(open.hole)
        {
            // A location: parameters without one are Postern's own.
            n.node = Some(NodeEnum::ParamRef(protobuf::ParamRef { number, location }));
        }
    })?;
    let left = census::survey(&tree).ok()?.constants;
    let closed = |at: &i32| masked.hole_at(*at).is_none_or(|(hole, _)| numbers[hole].is_none());
    left.iter().all(closed).then_some(Opened { stmt: tree, holes })
}

/// The hole that a constant was written as: the same place, kind and value.
fn hole_of(n: &Node, masked: &Masked) -> Option<Open> {
    let Some(NodeEnum::AConst(k)) = &n.node else { return None };
    let (hole, negated) = masked.hole_at(k.location)?;
    let value = masked.value(hole);
    let same = match (masked.kind(hole)?, &k.val) {
        _ if k.isnull => false,
        (Kind::String, Some(a_const::Val::Sval(s))) => !negated && s.sval == value,
        (Kind::Integer, Some(a_const::Val::Ival(i))) if negated => i.ival < 0 && i.ival.unsigned_abs().to_string() == value,
        (Kind::Integer, Some(a_const::Val::Ival(i))) => i.ival.to_string() == value,
        (Kind::Bigint | Kind::Decimal, Some(a_const::Val::Fval(f))) if negated => {
            !is_zero(value) && f.fval.strip_prefix('-') == Some(value)
        }
        (Kind::Bigint | Kind::Decimal, Some(a_const::Val::Fval(f))) => f.fval == value,
        _ => false,
    };
    same.then_some(Open { hole, negated })
}

type Visit<'v> = &'v mut dyn FnMut(&mut Node);

fn statement(n: &mut Node, f: Visit<'_>) -> Option<()> {
    match n.node.as_mut()? {
        NodeEnum::SelectStmt(s) if s.into_clause.is_none() => select(s, f),
        NodeEnum::InsertStmt(i) => {
            with(i.with_clause.as_mut(), f);
            if let Some(NodeEnum::SelectStmt(s)) = i.select_stmt.as_mut().and_then(|s| s.node.as_mut()) {
                select(s, f);
            }
            if let Some(c) = &mut i.on_conflict_clause {
                targets(&mut c.target_list, f);
                condition(c.where_clause.as_mut(), f);
            }
            returning(i.returning_clause.as_mut(), f);
        }
        NodeEnum::UpdateStmt(u) => {
            with(u.with_clause.as_mut(), f);
            targets(&mut u.target_list, f);
            u.from_clause.iter_mut().for_each(|i| from(i, f));
            condition(u.where_clause.as_mut(), f);
            returning(u.returning_clause.as_mut(), f);
        }
        NodeEnum::DeleteStmt(d) => {
            with(d.with_clause.as_mut(), f);
            d.using_clause.iter_mut().for_each(|i| from(i, f));
            condition(d.where_clause.as_mut(), f);
            returning(d.returning_clause.as_mut(), f);
        }
        _ => return None,
    }
    Some(())
}

fn select(s: &mut SelectStmt, f: Visit<'_>) {
    with(s.with_clause.as_mut(), f);
    targets(&mut s.target_list, f);
    s.from_clause.iter_mut().for_each(|i| from(i, f));
    condition(s.where_clause.as_mut(), f);
    condition(s.having_clause.as_mut(), f);
    for row in &mut s.values_lists {
        if let Some(NodeEnum::List(l)) = &mut row.node {
            values(&mut l.items, f);
        }
    }
    for arm in [&mut s.larg, &mut s.rarg].into_iter().flatten() {
        select(arm, f);
    }
}

fn with(clause: Option<&mut WithClause>, f: Visit<'_>) {
    for cte in clause.into_iter().flat_map(|w| &mut w.ctes) {
        if let Some(NodeEnum::CommonTableExpr(c)) = &mut cte.node
            && let Some(query) = &mut c.ctequery
        {
            // What is no such statement is refused by the judge.
            let _ = statement(query, f);
        }
    }
}

fn returning(clause: Option<&mut ReturningClause>, f: Visit<'_>) {
    if let Some(clause) = clause {
        targets(&mut clause.exprs, f);
    }
}

/// Of SELECT, RETURNING and SET.
fn targets(list: &mut [Node], f: Visit<'_>) {
    for n in list {
        if let Some(NodeEnum::ResTarget(t)) = &mut n.node {
            value(t.val.as_mut(), f);
        }
    }
}

fn from(n: &mut Node, f: Visit<'_>) {
    match &mut n.node {
        Some(NodeEnum::RangeSubselect(s)) => {
            if let Some(NodeEnum::SelectStmt(q)) = s.subquery.as_mut().and_then(|q| q.node.as_mut()) {
                select(q, f);
            }
        }
        Some(NodeEnum::RangeFunction(r)) => {
            for function in &mut r.functions {
                if let Some(NodeEnum::List(l)) = &mut function.node
                    && let Some(call) = l.items.first_mut()
                {
                    expression(call, f);
                }
            }
        }
        Some(NodeEnum::JoinExpr(j)) => {
            for side in [&mut j.larg, &mut j.rarg].into_iter().flatten() {
                from(side, f);
            }
            condition(j.quals.as_mut(), f);
        }
        _ => {}
    }
}

/// A place where a literal may be a hole.
fn value(n: Option<&mut Box<Node>>, f: Visit<'_>) {
    if let Some(n) = n {
        value_in(n, f);
    }
}

fn values(list: &mut [Node], f: Visit<'_>) {
    list.iter_mut().for_each(|n| value_in(n, f));
}

fn value_in(n: &mut Node, f: Visit<'_>) {
    match &n.node {
        Some(NodeEnum::AConst(_)) => f(n),
        _ => expression(n, f),
    }
}

/// A place where a literal by itself stays exact.
fn condition(n: Option<&mut Box<Node>>, f: Visit<'_>) {
    if let Some(n) = n {
        expression(n, f);
    }
}

fn expression(n: &mut Node, f: Visit<'_>) {
    match &mut n.node {
        Some(NodeEnum::AExpr(e)) => match e.kind() {
            AExprKind::AexprOp
            | AExprKind::AexprOpAny
            | AExprKind::AexprOpAll
            | AExprKind::AexprDistinct
            | AExprKind::AexprNotDistinct
            | AExprKind::AexprNullif
            | AExprKind::AexprLike
            | AExprKind::AexprIlike => {
                value(e.lexpr.as_mut(), f);
                value(e.rexpr.as_mut(), f);
            }
            AExprKind::AexprIn
            | AExprKind::AexprBetween
            | AExprKind::AexprNotBetween
            | AExprKind::AexprBetweenSym
            | AExprKind::AexprNotBetweenSym => {
                value(e.lexpr.as_mut(), f);
                if let Some(NodeEnum::List(l)) = e.rexpr.as_mut().and_then(|r| r.node.as_mut()) {
                    values(&mut l.items, f);
                }
            }
            _ => {}
        },
        Some(NodeEnum::BoolExpr(b)) => b.args.iter_mut().for_each(|a| expression(a, f)),
        // Of a parameter the judge knows how to ask that; of a constant it is asked as of any expression.
        Some(NodeEnum::NullTest(t)) if t.arg.as_ref().is_some_and(|a| !is_constant(a)) => condition(t.arg.as_mut(), f),
        Some(NodeEnum::BooleanTest(t)) => condition(t.arg.as_mut(), f),
        Some(NodeEnum::FuncCall(c)) => call(c, f),
        Some(NodeEnum::SubLink(s)) => {
            value(s.testexpr.as_mut(), f);
            if let Some(NodeEnum::SelectStmt(q)) = s.subselect.as_mut().and_then(|q| q.node.as_mut()) {
                select(q, f);
            }
        }
        Some(NodeEnum::CaseExpr(c)) => {
            value(c.arg.as_mut(), f);
            for when in &mut c.args {
                if let Some(NodeEnum::CaseWhen(w)) = &mut when.node {
                    value(w.expr.as_mut(), f);
                    value(w.result.as_mut(), f);
                }
            }
            value(c.defresult.as_mut(), f);
        }
        Some(NodeEnum::CoalesceExpr(c)) => values(&mut c.args, f),
        Some(NodeEnum::MinMaxExpr(m)) => values(&mut m.args, f),
        Some(NodeEnum::AArrayExpr(a)) => values(&mut a.elements, f),
        Some(NodeEnum::RowExpr(r)) => values(&mut r.args, f),
        Some(NodeEnum::TypeCast(c)) => match &c.type_name {
            Some(ty) if takes_any_value(ty) && !c.arg.as_ref().is_some_and(|a| in_parentheses(a)) => value(c.arg.as_mut(), f),
            Some(ty) if !registry_type(ty) => condition(c.arg.as_mut(), f),
            _ => {}
        },
        Some(NodeEnum::CollateClause(c)) => condition(c.arg.as_mut(), f),
        _ => {}
    }
}

/// Whether a cast to the type is judged and printed the same for every literal. Not so: `bool` (`'t'` is the keyword), `char` and `point`
/// (with syntax of their own for constants), the `reg…` family (the literal is a name).
fn takes_any_value(ty: &protobuf::TypeName) -> bool {
    let name = match tree::parts(&ty.names).as_deref() {
        Some([name] | ["pg_catalog", name]) => (*name).to_owned(),
        _ => return false,
    };
    match name.as_str() {
        "interval" => ty.typmods.is_empty(),
        "text" | "varchar" | "bytea" | "uuid" | "json" | "jsonb" | "int2" | "int4" | "int8" | "float4" | "float8" | "numeric"
        | "date" | "time" | "timetz" | "timestamp" | "timestamptz" | "inet" | "cidr" => true,
        _ => false,
    }
}

/// A number that is printed in parentheses where it is cast.
fn in_parentheses(n: &Node) -> bool {
    match &n.node {
        Some(NodeEnum::AConst(k)) => match &k.val {
            Some(a_const::Val::Ival(i)) => i.ival < 0,
            Some(a_const::Val::Fval(_)) => true,
            _ => false,
        },
        _ => false,
    }
}

/// Arguments of a listed function, called by its name. Those that the judge looks into by value are not on the list, or are named here.
fn call(c: &mut protobuf::FuncCall, f: Visit<'_>) {
    let name = match tree::parts(&c.funcname).as_deref() {
        Some([name] | ["pg_catalog", name]) => (*name).to_owned(),
        _ => return,
    };
    if c.funcformat() != CoercionForm::CoerceExplicitCall
        || !allow::function(&name)
        || allow::catalogue_function(&name)
        || name.starts_with("pg_")
        || matches!(
            name.as_str(),
            "like_escape" | "similar_escape" | "similar_to_escape" | "overlay"
        )
    {
        return;
    }
    // The first argument may name a configuration.
    let named = usize::from(match name.as_str() {
        "to_tsvector" | "to_tsquery" | "plainto_tsquery" | "phraseto_tsquery" | "websearch_to_tsquery" => c.args.len() > 1,
        "ts_headline" | "json_to_tsvector" | "jsonb_to_tsvector" => true,
        _ => false,
    });
    if let Some(args) = c.args.get_mut(named..) {
        values(args, f);
    }
    condition(c.agg_filter.as_mut(), f);
}
