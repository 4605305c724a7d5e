//! Whether a statement needs its fences.
//!
//! A barrier's fence (`OFFSET 0`) stands between a table's filter and the client's predicates, and so between its rows and every index and
//! every plan for a join. Where nothing that the client wrote could tell of a hidden row, no matter what PostgreSQL runs first, the fences
//! are left out and PostgreSQL plans filter and predicates together. Promised of such a statement:
//! - It is one SELECT: no CTE, set operation, subquery, HAVING (which PostgreSQL runs as WHERE where it can) or lock anywhere in it, and its FROM holds
//!   tables behind barriers and joins with ON, nothing else that has columns to be compared. What remains, its outputs and what groups and
//!   orders them, PostgreSQL computes from rows that passed the filter.
//! - Each of its predicates, WHERE and every ON, was met by the walk and is made of AND, OR and NOT over NULL tests, booleans and comparisons that
//!   [`crate::inside`] would copy beneath a filter, or of two columns of one type (texts: of the database's collation).
//! - No filter in it is a join once it is pulled up (a conjunct `x IN (SELECT …)`): PostgreSQL may sort or group by the client's expressions
//!   before that join has dropped the hidden rows. Nor is there a min or max of anything but a column, which it looks for by an index.
//!
//! The walk is made once with fences, to learn whether they are needed, and once without.

use pg_query::NodeEnum;
use pg_query::protobuf::{AExprKind, BoolExprType, Node, SelectStmt, SetOperation};
use postern_config::ColumnType;

use crate::inside::{Holds, Stored, leakproof, stored};
use crate::judge::Judge;
use crate::scope::Scope;
use crate::tree;

impl Judge<'_> {
    /// Takes note of a WHERE or ON that was judged. Where there are no fences, its bigints are kept from being cast.
    pub(crate) fn note_predicate(&mut self, predicate: &mut Node, scope: &Scope<'_>) {
        if self.tells_nothing(predicate, scope, !self.fenced) {
            self.quiet_predicates += 1;
        }
    }

    /// A client's predicate beside a filter that no fence keeps it from: the conjuncts that can tell nothing of a hidden row stand beside it, so
    /// that an index serves, the rest runs where the filter let the row through.
    pub(crate) fn guarded(&self, filter: Node, own: Node, scope: &Scope<'_>) -> Node {
        let (quiet, rest) = self.quiet_conjuncts(own, scope);
        let beside = quiet
            .into_iter()
            .fold(filter.clone(), |all, conjunct| tree::and(all, Some(conjunct)));
        match rest {
            Some(rest) => tree::and(beside, Some(tree::case(filter, rest, Some(tree::boolean(false))))),
            None => beside,
        }
    }

    /// The top-level conjuncts that can tell nothing of a hidden row, with their bigints kept from being cast, and all others as one.
    pub(crate) fn quiet_conjuncts(&self, own: Node, scope: &Scope<'_>) -> (Vec<Node>, Option<Node>) {
        let conjuncts = match own.node {
            Some(NodeEnum::BoolExpr(b)) if b.boolop() == BoolExprType::AndExpr => b.args,
            other => vec![Node { node: other }],
        };
        let mut quiet = Vec::new();
        let mut rest: Option<Node> = None;
        for conjunct in conjuncts {
            let mut kept = conjunct.clone();
            if self.tells_nothing(&mut kept, scope, true) {
                quiet.push(kept);
            } else {
                rest = Some(match rest {
                    Some(rest) => tree::and(rest, Some(conjunct)),
                    None => conjunct,
                });
            }
        }
        (quiet, rest)
    }

    /// Whether a predicate can tell nothing of a row but by letting it through; with `kept` its bigints are kept from being cast.
    fn tells_nothing(&self, predicate: &mut Node, scope: &Scope<'_>, kept: bool) -> bool {
        match &mut predicate.node {
            Some(NodeEnum::BoolExpr(b)) => b.args.iter_mut().all(|arg| self.tells_nothing(arg, scope, kept)),
            Some(NodeEnum::NullTest(t)) => t.arg.as_deref().is_some_and(|arg| stored(arg, scope).is_some()),
            Some(NodeEnum::BooleanTest(t)) => t.arg.as_deref().is_some_and(|arg| is_boolean(arg, scope)),
            Some(NodeEnum::ColumnRef(_)) => is_boolean(predicate, scope),
            Some(NodeEnum::AExpr(e)) => {
                if let (AExprKind::AexprOp, Some(left), Some(right)) = (e.kind(), e.lexpr.as_deref(), e.rexpr.as_deref())
                    && let (Some(left), Some(right)) = (stored(left, scope), stored(right, scope))
                {
                    let operator = match tree::parts(&e.name).as_deref() {
                        Some([name] | ["pg_catalog", name]) => (*name).to_owned(),
                        _ => return false,
                    };
                    return leakproof(left.holds, &operator) && self.alike(&left, &right);
                }
                let Some(comparison) = self.stored_comparison(e, scope) else {
                    return false;
                };
                if comparison.beside.is_some() {
                    return false;
                }
                if kept {
                    let side = if comparison.column_first { &mut e.rexpr } else { &mut e.lexpr };
                    *side = Some(Box::new(comparison.other));
                }
                true
            }
            _ => false,
        }
    }

    /// Whether two columns may be compared by an operator that is leakproof for the first: no cast that could raise, and no collation of
    /// their own, on which two columns may disagree, and then the comparison raises.
    fn alike(&self, left: &Stored<'_>, right: &Stored<'_>) -> bool {
        let texts = |ty: &ColumnType| matches!(ty, ColumnType::Text | ColumnType::Varchar(_));
        match (left.holds, right.holds) {
            (Holds::Tags, Holds::Tags) => true,
            (Holds::Values(l), Holds::Values(r)) if texts(l) && texts(r) => {
                self.collates_as_all(left) && self.collates_as_all(right)
            }
            (Holds::Values(l), Holds::Values(r)) => l == r && !texts(l),
            _ => false,
        }
    }

    /// Whether a join of two FROM items by `name` compares columns that may be compared on hidden rows.
    pub(crate) fn merges_quietly(&self, name: &str, scope: &Scope<'_>) -> bool {
        let [left, right] = scope.entries.as_slice() else {
            return false;
        };
        let [left, right] = [left, right].map(|e| tree::column(&e.alias, name));
        match (stored(&left, scope), stored(&right, scope)) {
            (Some(left), Some(right)) => leakproof(left.holds, "=") && self.alike(&left, &right),
            _ => false,
        }
    }

    fn collates_as_all(&self, stored: &Stored<'_>) -> bool {
        let name = &stored.table.name;
        let relation = self.ask.catalog.relation(name.schema.as_str(), name.name.as_str());
        let columns = relation.and_then(|r| r.columns.as_ref());
        columns.is_some_and(|cs| cs.iter().any(|c| *c.name == *stored.name && !c.collated))
    }
}

/// Whether a statement, `quiet` of whose predicates can tell nothing, is safe without fences.
pub(crate) fn needless(statement: &Node, selects: usize, quiet: usize) -> bool {
    let query = match &statement.node {
        // What is explained is planned as what runs.
        Some(NodeEnum::ExplainStmt(e)) => e.query.as_deref(),
        Some(NodeEnum::DeclareCursorStmt(d)) => d.query.as_deref(),
        _ => Some(statement),
    };
    let Some(Some(NodeEnum::SelectStmt(s))) = query.map(|q| &q.node) else {
        return false;
    };
    selects == 1 && is_simple(s) && predicates(s) == Some(quiet)
}

fn is_simple(s: &SelectStmt) -> bool {
    s.op() == SetOperation::SetopNone
        && s.with_clause.is_none()
        && s.into_clause.is_none()
        && s.values_lists.is_empty()
        && s.having_clause.is_none()
        && s.locking_clause.is_empty()
}

/// How many predicates decide on a query's rows; `None` where something else does as well.
fn predicates(s: &SelectStmt) -> Option<usize> {
    let joined = s.from_clause.iter().map(in_item).sum::<Option<usize>>()?;
    Some(joined + usize::from(s.where_clause.is_some()))
}

fn in_item(n: &Node) -> Option<usize> {
    match &n.node {
        Some(NodeEnum::RangeVar(_)) => Some(0),
        // USING and NATURAL compare columns without a place for them in the tree.
        Some(NodeEnum::JoinExpr(j)) if !j.is_natural && j.using_clause.is_empty() && j.alias.is_none() => {
            Some(in_item(j.larg.as_deref()?)? + in_item(j.rarg.as_deref()?)? + usize::from(j.quals.is_some()))
        }
        _ => None,
    }
}

fn is_boolean(n: &Node, scope: &Scope<'_>) -> bool {
    stored(n, scope).is_some_and(|s| matches!(s.holds, Holds::Values(ColumnType::Bool)))
}
