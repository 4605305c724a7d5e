//! The proof that a manifest's predicates mean to PostgreSQL what the operator wrote.

use pg_query::NodeEnum;
use pg_query::protobuf::{BoolExprType, Node};
use postern_config::Manifest;

use crate::census;

/// Compares, for every predicate of a manifest, PostgreSQL's tree of the text with its tree of what Postern prints for it. Nested AND and
/// OR are flattened, source locations ignored. Gives one sentence for each that differs.
pub fn verify_policies(manifest: &Manifest) -> Result<(), Vec<(usize, String)>> {
    let differing: Vec<(usize, String)> = manifest
        .predicates
        .iter()
        .filter(|w| {
            let (written, printed) = (reading(&w.text), reading(&w.expr.source()));
            written.is_none() || written != printed
        })
        .map(|w| {
            (
                w.line,
                "PostgreSQL reads this predicate differently from Postern; write it with more parentheses".to_owned(),
            )
        })
        .collect();
    if differing.is_empty() { Ok(()) } else { Err(differing) }
}

fn reading(predicate: &str) -> Option<Vec<u8>> {
    let mut parsed = pg_query::parse(&format!("SELECT {predicate}"), 0).ok()?;
    let [stmt] = parsed.protobuf.stmts.as_mut_slice() else {
        return None;
    };
    let stmt = stmt.stmt.as_mut()?;
    flatten(stmt);
    census::shape(&**stmt).ok()
}

/// Flattens AND under AND and OR under OR wherever a policy can hold them.
fn flatten(n: &mut Node) {
    match &mut n.node {
        Some(NodeEnum::BoolExpr(b)) => {
            b.args.iter_mut().for_each(flatten);
            let op = b.boolop;
            if op == BoolExprType::NotExpr as i32 {
                return;
            }
            let mut args = Vec::with_capacity(b.args.len());
            for arg in b.args.drain(..) {
                match arg.node {
                    Some(NodeEnum::BoolExpr(inner)) if inner.boolop == op => args.extend(inner.args),
                    other => args.push(Node { node: other }),
                }
            }
            b.args = args;
        }
        Some(NodeEnum::SelectStmt(s)) => {
            s.target_list.iter_mut().for_each(flatten);
            s.where_clause.as_deref_mut().map(flatten).unwrap_or_default();
        }
        Some(NodeEnum::ResTarget(t)) => t.val.as_deref_mut().map(flatten).unwrap_or_default(),
        Some(NodeEnum::SubLink(s)) => {
            s.testexpr.as_deref_mut().map(flatten).unwrap_or_default();
            s.subselect.as_deref_mut().map(flatten).unwrap_or_default();
        }
        Some(NodeEnum::AExpr(e)) => {
            e.lexpr.as_deref_mut().map(flatten).unwrap_or_default();
            e.rexpr.as_deref_mut().map(flatten).unwrap_or_default();
        }
        Some(NodeEnum::BooleanTest(t)) => t.arg.as_deref_mut().map(flatten).unwrap_or_default(),
        Some(NodeEnum::NullTest(t)) => t.arg.as_deref_mut().map(flatten).unwrap_or_default(),
        _ => {}
    }
}
