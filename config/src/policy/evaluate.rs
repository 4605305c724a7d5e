//! Policies evaluated as SQL says, row by row: what folding and implying are held against.

use std::collections::BTreeMap;

use super::fold::{ClaimValue, Known};
use crate::expr::{Claim, Compare, Const, Expr, InSelect};
use crate::names::{Ident, TableRef};

/// A value of a column, a claim or an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<String>),
}

/// A row, the claims, and what the one other table holds.
#[derive(Debug, Clone, Default)]
pub(super) struct World {
    pub(super) columns: BTreeMap<String, Value>,
    pub(super) claims: BTreeMap<Claim, Value>,
    pub(super) others: Vec<BTreeMap<String, Value>>,
}

impl World {
    /// Whether the row is let through.
    pub(super) fn lets_through(&self, expr: &Expr) -> bool {
        self.value(expr) == Value::Bool(true)
    }

    /// Its claims, those alone that `keep` names.
    pub(super) fn known(&self, keep: impl Fn(Claim) -> bool) -> Known {
        let mut known = Known::nothing();
        for (claim, value) in self.claims.iter().filter(|(c, _)| keep(**c)) {
            let value = match value {
                Value::Null => ClaimValue::Null,
                Value::Bool(b) => ClaimValue::Bool(*b),
                Value::Text(t) => ClaimValue::Text(t.clone()),
                Value::List(l) => ClaimValue::List(l.clone()),
                Value::Int(_) => panic!("no claim is a number"),
            };
            known.set(*claim, value).expect("of its type");
        }
        known
    }

    fn truth(&self, expr: &Expr) -> Option<bool> {
        match self.value(expr) {
            Value::Bool(b) => Some(b),
            Value::Null => None,
            other => panic!("{other:?} is no condition"),
        }
    }

    fn value(&self, expr: &Expr) -> Value {
        let of = |b: Option<bool>| b.map_or(Value::Null, Value::Bool);
        match expr {
            Expr::Bool(b) => Value::Bool(*b),
            Expr::Column(c) => self.columns[c.as_str()].clone(),
            Expr::Claim(c) => self.claims[c].clone(),
            // Equal tags are equal values.
            Expr::Tag(c) => self.columns[c.as_str()].clone(),
            Expr::ClaimTag(tag) => self.claims[&tag.claim].clone(),
            Expr::Const(Const::Text(t)) => Value::Text(t.clone()),
            Expr::Const(Const::Int(i)) => Value::Int(*i),
            Expr::Compare(op, a, b) => of(compared(*op, &self.value(a), &self.value(b))),
            Expr::IsNull { of, negated } => Value::Bool((self.value(of) == Value::Null) != *negated),
            Expr::IsTrue { of, negated } => Value::Bool((self.truth(of) == Some(true)) != *negated),
            Expr::Not(e) => of(self.truth(e).map(|b| !b)),
            Expr::And(es) => {
                let values: Vec<_> = es.iter().map(|e| self.truth(e)).collect();
                of(if values.contains(&Some(false)) {
                    Some(false)
                } else if values.contains(&None) {
                    None
                } else {
                    Some(true)
                })
            }
            Expr::Or(es) => of(or(es.iter().map(|e| self.truth(e)).collect())),
            Expr::InList(e, list) => {
                let value = self.value(e);
                let consts = list.iter().map(|c| self.value(&Expr::Const(c.clone())));
                of(or(consts.map(|c| compared(Compare::Eq, &value, &c)).collect()))
            }
            Expr::AnyClaim(e, claim) => match &self.claims[claim] {
                Value::List(items) => {
                    let value = self.value(e);
                    let items = items.iter().map(|i| compared(Compare::Eq, &value, &Value::Text(i.clone())));
                    of(or(items.collect()))
                }
                _ => Value::Null,
            },
            Expr::InSelect(select) => {
                let value = self.value(&select.value);
                let inner = |row: &BTreeMap<String, Value>| Self {
                    columns: row.clone(),
                    claims: self.claims.clone(),
                    others: self.others.clone(),
                };
                let rows = self.others.iter().map(inner).filter(|w| w.lets_through(&select.predicate));
                of(or(rows
                    .map(|w| compared(Compare::Eq, &value, &w.columns[select.column.as_str()]))
                    .collect()))
            }
        }
    }
}

fn or(values: Vec<Option<bool>>) -> Option<bool> {
    if values.contains(&Some(true)) {
        Some(true)
    } else if values.contains(&None) {
        None
    } else {
        Some(false)
    }
}

fn compared(op: Compare, a: &Value, b: &Value) -> Option<bool> {
    let ordering = match (a, b) {
        (Value::Null, _) | (_, Value::Null) => return None,
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (a, b) => panic!("{a:?} is not compared with {b:?}"),
    };
    Some(match op {
        Compare::Eq => ordering.is_eq(),
        Compare::Ne => ordering.is_ne(),
        Compare::Lt => ordering.is_lt(),
        Compare::Le => ordering.is_le(),
        Compare::Gt => ordering.is_gt(),
        Compare::Ge => ordering.is_ge(),
    })
}

/// Every world of two columns (`t` text, `b` bool), `n` a number, three claims, and another table of one column.
pub(super) fn worlds() -> Vec<World> {
    let text = |t: &str| Value::Text(t.to_owned());
    let list = |items: &[&str]| Value::List(items.iter().map(|i| (*i).to_owned()).collect());
    let bools = [Value::Null, Value::Bool(true), Value::Bool(false)];
    let mut worlds = Vec::new();
    for t in [Value::Null, text("x"), text("y")] {
        for b in &bools {
            for n in [Value::Null, Value::Int(1), Value::Int(2), Value::Int(3)] {
                for sub in [Value::Null, text("x"), text("z")] {
                    for of in [Value::Null, list(&["x"]), list(&["y", "z"])] {
                        for sup in &bools {
                            for others in [vec![], vec![text("x")], vec![text("y"), Value::Null]] {
                                worlds.push(World {
                                    columns: [("t", t.clone()), ("b", b.clone()), ("n", n.clone())]
                                        .map(|(name, value)| (name.to_owned(), value))
                                        .into(),
                                    claims: [
                                        (Claim::Sub, sub.clone()),
                                        (Claim::OrgAdminOf, of.clone()),
                                        (Claim::Super, sup.clone()),
                                    ]
                                    .into(),
                                    others: others.into_iter().map(|o| [("o".to_owned(), o)].into()).collect(),
                                });
                            }
                        }
                    }
                }
            }
        }
    }
    worlds
}

pub(super) fn ident(name: &str) -> Ident {
    Ident::new(name).expect("a plain name")
}

pub(super) fn column(name: &str) -> Expr {
    Expr::Column(ident(name))
}

pub(super) fn text(value: &str) -> Expr {
    Expr::Const(Const::Text(value.to_owned()))
}

pub(super) fn number(value: i64) -> Expr {
    Expr::Const(Const::Int(value))
}

pub(super) fn compare(op: Compare, a: Expr, b: Expr) -> Expr {
    Expr::Compare(op, Box::new(a), Box::new(b))
}

pub(super) fn not(e: Expr) -> Expr {
    Expr::Not(Box::new(e))
}

pub(super) fn is_null(e: Expr, negated: bool) -> Expr {
    Expr::IsNull {
        of: Box::new(e),
        negated,
    }
}

pub(super) fn is_true(e: Expr, negated: bool) -> Expr {
    Expr::IsTrue {
        of: Box::new(e),
        negated,
    }
}

/// `value IN (SELECT o FROM other WHERE predicate)`.
pub(super) fn within(value: Expr, predicate: Expr) -> Expr {
    Expr::InSelect(Box::new(InSelect {
        value,
        table: TableRef {
            schema: ident("m"),
            name: ident("other"),
        },
        column: ident("o"),
        predicate,
    }))
}

/// Conditions from which the tests make larger ones.
pub(super) fn leaves() -> Vec<Expr> {
    let (sub, t) = (Expr::Claim(Claim::Sub), column("t"));
    vec![
        Expr::Bool(true),
        Expr::Bool(false),
        column("b"),
        Expr::Claim(Claim::Super),
        compare(Compare::Eq, t.clone(), sub.clone()),
        compare(Compare::Ne, sub.clone(), text("x")),
        compare(Compare::Le, column("n"), number(2)),
        compare(Compare::Eq, column("n"), number(2)),
        compare(Compare::Eq, column("b"), Expr::Claim(Claim::Super)),
        is_null(sub.clone(), false),
        is_null(t.clone(), true),
        Expr::InList(
            Box::new(sub.clone()),
            vec![Const::Text("x".to_owned()), Const::Text("y".to_owned())],
        ),
        Expr::AnyClaim(Box::new(t.clone()), Claim::OrgAdminOf),
        Expr::AnyClaim(Box::new(sub.clone()), Claim::OrgAdminOf),
        within(t.clone(), compare(Compare::Eq, column("o"), sub.clone())),
        within(t, Expr::Claim(Claim::Super)),
        within(sub, Expr::Bool(true)),
    ]
}

/// Each expression by itself and beneath every operator of one operand.
pub(super) fn unaries(of: &[Expr]) -> Vec<Expr> {
    let mut made = of.to_vec();
    for e in of {
        made.push(not(e.clone()));
        for negated in [false, true] {
            made.push(is_null(e.clone(), negated));
            made.push(is_true(e.clone(), negated));
        }
        made.push(compare(Compare::Eq, e.clone(), Expr::Bool(false)));
    }
    made
}
