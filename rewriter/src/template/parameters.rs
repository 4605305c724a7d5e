//! Where a template's literals may be parameters of a prepared statement.
//!
//! PostgreSQL takes an undeclared parameter for a literal of type `unknown` nearly everywhere, but not everywhere. What differs silently is
//! known, so this names what is the same, and the rest is not prepared:
//! - Only a SELECT: what is assigned to a column is read with the column's modifier where it is a literal (`interval day`), and checked
//!   against a domain only if there is a row.
//! - A string only as an operand of an operator, of `IN`, of LIKE, as a bound of BETWEEN, or under a cast: a function of one argument may be
//!   a cast in disguise (`date('…')`), and what stands before BETWEEN is compared with either bound in a type of its own.
//! - No string that stays exact: `'today'` would be read once and for all.
//! - No grouping sets: there an expression is the grouped one only if it is equal to it, and two parameters never are.
//!
//! A number is declared as the type that its literal has, so it may stand anywhere.

use pg_query::NodeEnum;
use pg_query::protobuf::{AExprKind, Node, SelectStmt};

use super::holes::Open;
use super::mask::{Kind, Masked};

/// Whether the statement, with its holes as parameters, answers as it does with literals in their places. `text` is what was judged of it.
pub(super) fn serve(stmt: &Node, holes: &[Open], masked: &Masked, text: &str) -> bool {
    let Some(NodeEnum::SelectStmt(s)) = &stmt.node else {
        return false;
    };
    let string = |hole: usize| masked.kind(hole) == Some(Kind::String);
    let exact_string = (0..masked.holes()).any(|hole| string(hole) && !holes.iter().any(|o| o.hole == hole));
    // Printed keywords are in capitals; a name or literal that holds one costs nothing but the gain.
    let grouping_sets = ["ROLLUP", "CUBE", "GROUPING SETS"].iter().any(|k| text.contains(k));
    if exact_string || grouping_sets || !text.starts_with("SELECT ") {
        return false;
    }
    // Each hole is one place in the tree.
    let mut met = vec![0_usize; holes.len()];
    select(s, &mut |number| {
        if let Some(count) = usize::try_from(number).ok().and_then(|n| met.get_mut(n.checked_sub(1)?)) {
            *count += 1;
        }
    });
    holes.iter().zip(&met).all(|(open, met)| !string(open.hole) || *met == 1)
}

type Met<'f> = &'f mut dyn FnMut(i32);

fn select(s: &SelectStmt, f: Met<'_>) {
    for cte in s.with_clause.iter().flat_map(|w| &w.ctes) {
        if let Some(NodeEnum::CommonTableExpr(c)) = &cte.node {
            query(c.ctequery.as_deref(), f);
        }
    }
    for target in &s.target_list {
        if let Some(NodeEnum::ResTarget(t)) = &target.node {
            inside(t.val.as_deref(), f);
        }
    }
    s.from_clause.iter().for_each(|n| from(n, f));
    inside(s.where_clause.as_deref(), f);
    inside(s.having_clause.as_deref(), f);
    for arm in [&s.larg, &s.rarg].into_iter().flatten() {
        select(arm, f);
    }
}

fn query(n: Option<&Node>, f: Met<'_>) {
    if let Some(NodeEnum::SelectStmt(s)) = n.and_then(|n| n.node.as_ref()) {
        select(s, f);
    }
}

fn from(n: &Node, f: Met<'_>) {
    match &n.node {
        Some(NodeEnum::RangeSubselect(s)) => query(s.subquery.as_deref(), f),
        Some(NodeEnum::JoinExpr(j)) => {
            for side in [&j.larg, &j.rarg].into_iter().flatten() {
                from(side, f);
            }
            inside(j.quals.as_deref(), f);
        }
        _ => {}
    }
}

/// A place where a string by itself may not be a parameter.
fn inside(n: Option<&Node>, f: Met<'_>) {
    let Some(node) = n.and_then(|n| n.node.as_ref()) else { return };
    match node {
        NodeEnum::AExpr(e) => match e.kind() {
            AExprKind::AexprOp
            | AExprKind::AexprOpAny
            | AExprKind::AexprOpAll
            | AExprKind::AexprDistinct
            | AExprKind::AexprNotDistinct
            | AExprKind::AexprLike
            | AExprKind::AexprIlike
            | AExprKind::AexprIn => {
                operand(e.lexpr.as_deref(), f);
                operands(e.rexpr.as_deref(), f);
            }
            AExprKind::AexprBetween | AExprKind::AexprNotBetween | AExprKind::AexprBetweenSym | AExprKind::AexprNotBetweenSym => {
                inside(e.lexpr.as_deref(), f);
                operands(e.rexpr.as_deref(), f);
            }
            _ => {}
        },
        NodeEnum::BoolExpr(b) => b.args.iter().for_each(|a| inside(Some(a), f)),
        NodeEnum::NullTest(t) => inside(t.arg.as_deref(), f),
        NodeEnum::BooleanTest(t) => inside(t.arg.as_deref(), f),
        NodeEnum::FuncCall(c) => {
            c.args.iter().for_each(|a| inside(Some(a), f));
            inside(c.agg_filter.as_deref(), f);
        }
        NodeEnum::CoalesceExpr(c) => c.args.iter().for_each(|a| inside(Some(a), f)),
        NodeEnum::SubLink(s) => {
            inside(s.testexpr.as_deref(), f);
            query(s.subselect.as_deref(), f);
        }
        NodeEnum::CaseExpr(c) => {
            inside(c.arg.as_deref(), f);
            for when in &c.args {
                if let Some(NodeEnum::CaseWhen(w)) = &when.node {
                    inside(w.expr.as_deref(), f);
                    inside(w.result.as_deref(), f);
                }
            }
            inside(c.defresult.as_deref(), f);
        }
        NodeEnum::TypeCast(c) => operand(c.arg.as_deref(), f),
        _ => {}
    }
}

/// A place where it may be one.
fn operand(n: Option<&Node>, f: Met<'_>) {
    match n.and_then(|n| n.node.as_ref()) {
        Some(NodeEnum::ParamRef(p)) => f(p.number),
        _ => inside(n, f),
    }
}

fn operands(n: Option<&Node>, f: Met<'_>) {
    match n.and_then(|n| n.node.as_ref()) {
        Some(NodeEnum::List(l)) => l.items.iter().for_each(|item| operand(Some(item), f)),
        _ => operand(n, f),
    }
}
