//! What is left of a policy once some claims are known.
//!
//! SQL is three-valued, and a row is let through only where its predicate is TRUE. So each expression is folded twice, into a predicate
//! that is TRUE exactly where the expression is TRUE and into one that is TRUE exactly where it is FALSE: NOT swaps the two, and a NULL
//! that is known is neither. What comes out holds no NULL constant, which the policy language could not write.
//!
//! Promised: whatever the unknown claims and the row are, the result lets through exactly what the expression does. What cannot be
//! decided (the order of two texts depends on a collation) stays as it is written.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::expr::{Claim, ClaimType, Compare, Const, Expr, InSelect};

/// What a known claim holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimValue {
    /// Missing, or empty, which PostgreSQL is told as the same.
    Null,
    /// `bool`.
    Bool(bool),
    /// `text`; `uuid` and `timestamptz` in text form.
    Text(String),
    /// `int4` or `int8`.
    Int(i64),
    /// A list, its entries in text form.
    List(Vec<String>),
}

/// A value that its claim cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("claim `{}` cannot hold that value: it is {}", claim.name(), holds(*claim))]
pub struct WrongClaim {
    /// The claim.
    pub claim: Claim,
}

fn holds(claim: Claim) -> &'static str {
    match claim.ty() {
        ClaimType::Text => "text",
        ClaimType::TextArray => "a list of text",
        ClaimType::Bool => "true or false",
        other => other.sql(),
    }
}

/// Claims whose values are known; all others may hold anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    values: BTreeMap<Claim, ClaimValue>,
    /// Claims that are not among them are NULL.
    complete: bool,
}

impl Known {
    /// Nothing is known.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Every claim is NULL: a guest.
    pub fn guest() -> Self {
        Self {
            values: BTreeMap::new(),
            complete: true,
        }
    }

    /// Makes a claim known. Empty text and an empty list are NULL, as they are towards PostgreSQL.
    ///
    /// # Errors
    /// A value of another type than the claim's.
    pub fn set(&mut self, claim: Claim, value: ClaimValue) -> Result<(), WrongClaim> {
        let value = match (claim.ty(), value) {
            (_, ClaimValue::Null) => ClaimValue::Null,
            (ClaimType::Text, ClaimValue::Text(text)) if text.is_empty() => ClaimValue::Null,
            (ty, ClaimValue::List(items)) if ty.is_list() && items.is_empty() => ClaimValue::Null,
            (ClaimType::Text, value @ ClaimValue::Text(_))
            | (ClaimType::Uuid | ClaimType::TimestampTz, value @ ClaimValue::Text(_))
            | (ClaimType::Int4 | ClaimType::Int8, value @ ClaimValue::Int(_))
            | (ClaimType::TextArray | ClaimType::Int4Array | ClaimType::UuidArray, value @ ClaimValue::List(_))
            | (ClaimType::Bool, value @ ClaimValue::Bool(_)) => value,
            _ => return Err(WrongClaim { claim }),
        };
        self.values.insert(claim, value);
        Ok(())
    }

    /// The value of a claim, where it is known.
    pub fn get(&self, claim: Claim) -> Option<&ClaimValue> {
        static NULL: ClaimValue = ClaimValue::Null;
        self.values.get(&claim).or(self.complete.then_some(&NULL))
    }
}

/// Which rows a predicate lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folded {
    /// Every row.
    All,
    /// No row.
    None,
    /// Those for which this is TRUE.
    Some(Expr),
}

impl Folded {
    /// It as a predicate.
    pub fn into_expr(self) -> Expr {
        match self {
            Self::All => Expr::Bool(true),
            Self::None => Expr::Bool(false),
            Self::Some(expr) => expr,
        }
    }
}

/// Most nodes that folding may make. Beyond (nested IS NULL double what is written) an expression stays as it is.
const MAX_NODES: usize = 100_000;

/// Folds a predicate with what is known.
pub fn fold(expr: &Expr, known: &Known) -> Folded {
    let mut folder = Folder { known, left: MAX_NODES };
    match folder.truth(expr) {
        Some(Truth {
            yes: Expr::Bool(true), ..
        }) => Folded::All,
        Some(Truth {
            yes: Expr::Bool(false), ..
        }) => Folded::None,
        Some(Truth { yes, .. }) => Folded::Some(yes),
        None => Folded::Some(expr.clone()),
    }
}

/// Where an expression is TRUE and where it is FALSE, each as a predicate; where neither is, it is NULL.
#[derive(Debug, Clone)]
struct Truth {
    yes: Expr,
    no: Expr,
}

impl Truth {
    const NULL: Self = Self {
        yes: Expr::Bool(false),
        no: Expr::Bool(false),
    };

    fn known(value: bool) -> Self {
        Self {
            yes: Expr::Bool(value),
            no: Expr::Bool(!value),
        }
    }

    /// An expression that stays as it is.
    fn open(expr: Expr) -> Self {
        Self {
            no: not(expr.clone()),
            yes: expr,
        }
    }

    /// The value, where it does not depend on anything unknown: `Some(None)` is NULL.
    fn settled(&self) -> Option<Option<bool>> {
        match (&self.yes, &self.no) {
            (Expr::Bool(true), _) => Some(Some(true)),
            (_, Expr::Bool(true)) => Some(Some(false)),
            (Expr::Bool(false), Expr::Bool(false)) => Some(None),
            _ => None,
        }
    }
}

/// An operand, claims replaced by what they are known to hold.
enum Operand {
    Null,
    Bool(bool),
    Const(Const),
    Open(Expr),
}

struct Folder<'k> {
    known: &'k Known,
    left: usize,
}

impl Folder<'_> {
    /// `None` where it would grow out of hand.
    fn truth(&mut self, expr: &Expr) -> Option<Truth> {
        let truth = match expr {
            Expr::Bool(b) => Truth::known(*b),
            Expr::Claim(claim) => match self.known.get(*claim) {
                None => Truth::open(expr.clone()),
                Some(ClaimValue::Bool(b)) => Truth::known(*b),
                // A text is no condition; the reader of predicates has seen to that.
                Some(_) => Truth::NULL,
            },
            Expr::Column(_) | Expr::Tag(_) | Expr::ClaimTag(_) | Expr::Const(_) => Truth::open(expr.clone()),
            Expr::Not(inner) => {
                let Truth { yes, no } = self.truth(inner)?;
                Truth { yes: no, no: yes }
            }
            Expr::And(parts) => {
                let parts = self.truths(parts)?;
                let (yes, no) = parts.into_iter().map(|p| (p.yes, p.no)).unzip();
                Truth {
                    yes: conjunction(yes),
                    no: disjunction(no),
                }
            }
            Expr::Or(parts) => {
                let parts = self.truths(parts)?;
                let (yes, no) = parts.into_iter().map(|p| (p.yes, p.no)).unzip();
                Truth {
                    yes: disjunction(yes),
                    no: conjunction(no),
                }
            }
            Expr::IsTrue { of, negated } => {
                let yes = self.truth(of)?.yes;
                two_valued(yes, *negated)
            }
            Expr::IsNull { of, negated } => self.is_null(of, *negated)?,
            Expr::Compare(op, a, b) => self.comparison(*op, a, b)?,
            Expr::InList(value, list) => self.in_list(value, list)?,
            Expr::AnyClaim(value, claim) => match self.known.get(*claim) {
                Some(ClaimValue::List(items)) if constants(*claim, items).is_some() => {
                    let list = constants(*claim, items).unwrap_or_default();
                    self.in_list(value, &list)?
                }
                Some(ClaimValue::Null | ClaimValue::Bool(_) | ClaimValue::Int(_) | ClaimValue::Text(_)) => Truth::NULL,
                Some(ClaimValue::List(_)) | None => match self.operand(value)? {
                    Operand::Null => Truth::NULL,
                    other => Truth::open(Expr::AnyClaim(Box::new(other.into_expr()), *claim)),
                },
            },
            Expr::InSelect(select) => self.in_select(select)?,
        };
        self.left = self.left.checked_sub(size(&truth.yes) + size(&truth.no))?;
        Some(truth)
    }

    fn truths(&mut self, parts: &[Expr]) -> Option<Vec<Truth>> {
        parts.iter().map(|p| self.truth(p)).collect()
    }

    fn is_null(&mut self, of: &Expr, negated: bool) -> Option<Truth> {
        if condition(of) {
            let of = self.truth(of)?;
            return Some(match of.settled() {
                Some(value) => Truth::known(value.is_none() != negated),
                // NULL is where it is neither TRUE nor FALSE.
                None => two_valued(disjunction(vec![of.yes, of.no]), !negated),
            });
        }
        Some(match self.operand(of)? {
            Operand::Null => Truth::known(!negated),
            Operand::Bool(_) | Operand::Const(_) => Truth::known(negated),
            Operand::Open(of) => Truth::open(Expr::IsNull {
                of: Box::new(of),
                negated,
            }),
        })
    }

    fn comparison(&mut self, op: Compare, a: &Expr, b: &Expr) -> Option<Truth> {
        let (a, b) = (self.operand(a)?, self.operand(b)?);
        Some(match (a, b) {
            (Operand::Null, _) | (_, Operand::Null) => Truth::NULL,
            (Operand::Bool(a), Operand::Bool(b)) => Truth::known(holds_for(op, a.cmp(&b))),
            (Operand::Const(a), Operand::Const(b)) => match order(op, &a, &b) {
                Some(value) => Truth::known(value),
                None => Truth::open(compare(op, Expr::Const(a), Expr::Const(b))),
            },
            (a, b) => Truth::open(compare(op, a.into_expr(), b.into_expr())),
        })
    }

    fn in_list(&mut self, value: &Expr, list: &[Const]) -> Option<Truth> {
        Some(match self.operand(value)? {
            Operand::Null => Truth::NULL,
            Operand::Const(value) => {
                let found: Option<Vec<bool>> = list.iter().map(|c| order(Compare::Eq, &value, c)).collect();
                match found {
                    Some(found) => Truth::known(found.contains(&true)),
                    None => Truth::open(Expr::InList(Box::new(Expr::Const(value)), list.to_vec())),
                }
            }
            other => match list {
                [one] => Truth::open(compare(Compare::Eq, other.into_expr(), Expr::Const(one.clone()))),
                _ => Truth::open(Expr::InList(Box::new(other.into_expr()), list.to_vec())),
            },
        })
    }

    /// NULL is in no list but an empty one has no member for it to be compared with: `NULL IN ()` is FALSE.
    fn in_select(&mut self, select: &InSelect) -> Option<Truth> {
        let predicate = match self.truth(&select.predicate)?.yes {
            Expr::Bool(false) => return Some(Truth::known(false)),
            predicate => predicate,
        };
        let (value, null) = match self.operand(&select.value)? {
            Operand::Null => (select.value.clone(), true),
            Operand::Bool(b) => (Expr::Bool(b), false),
            Operand::Const(c) => (Expr::Const(c), false),
            Operand::Open(e) => (e, false),
        };
        let within = Expr::InSelect(Box::new(InSelect {
            value,
            table: select.table.clone(),
            column: select.column.clone(),
            predicate,
        }));
        Some(if null {
            // TRUE for no row; FALSE only where the table has none, which the expression as written still says.
            Truth {
                yes: Expr::Bool(false),
                no: not(within),
            }
        } else {
            Truth::open(within)
        })
    }

    fn operand(&mut self, expr: &Expr) -> Option<Operand> {
        Some(match expr {
            Expr::Const(c) => Operand::Const(c.clone()),
            Expr::Claim(claim) => match self.known.get(*claim) {
                Some(ClaimValue::Null) => Operand::Null,
                Some(ClaimValue::Bool(b)) => Operand::Bool(*b),
                Some(ClaimValue::Int(n)) => Operand::Const(Const::Int(*n)),
                Some(ClaimValue::Text(t)) if claim.ty() == ClaimType::Text => Operand::Const(Const::Text(t.clone())),
                // One value has many texts: what it equals stays open.
                Some(ClaimValue::Text(_)) => Operand::Open(expr.clone()),
                // A list is compared by ANY alone; the reader of predicates has seen to that.
                Some(ClaimValue::List(_)) | None => Operand::Open(expr.clone()),
            },
            // A tag is NULL where what it is of is.
            Expr::ClaimTag(tag) if self.known.get(tag.claim) == Some(&ClaimValue::Null) => Operand::Null,
            Expr::Column(_) | Expr::Tag(_) | Expr::ClaimTag(_) => Operand::Open(expr.clone()),
            condition => match self.truth(condition)?.settled() {
                Some(Some(b)) => Operand::Bool(b),
                Some(None) => Operand::Null,
                // As it is written: where it is TRUE does not say where it is NULL.
                None => Operand::Open(condition.clone()),
            },
        })
    }
}

/// A list claim's entries as constants; `None` where one value has many texts.
fn constants(claim: Claim, items: &[String]) -> Option<Vec<Const>> {
    match claim.ty() {
        ClaimType::TextArray => Some(items.iter().map(|i| Const::Text(i.clone())).collect()),
        ClaimType::Int4Array => items.iter().map(|i| i.parse().ok().map(Const::Int)).collect(),
        _ => None,
    }
}

impl Operand {
    fn into_expr(self) -> Expr {
        match self {
            // Every caller has settled a NULL operand before; a NULL condition and FALSE let the same rows through.
            Self::Null => Expr::Bool(false),
            Self::Bool(b) => Expr::Bool(b),
            Self::Const(c) => Expr::Const(c),
            Self::Open(e) => e,
        }
    }
}

/// Whether an operand is a condition made of others, and not a plain value.
fn condition(expr: &Expr) -> bool {
    !matches!(
        expr,
        Expr::Column(_) | Expr::Claim(_) | Expr::Tag(_) | Expr::ClaimTag(_) | Expr::Const(_)
    )
}

/// What `expr IS [NOT] TRUE` is: never NULL.
fn two_valued(expr: Expr, negated: bool) -> Truth {
    let yes = match &expr {
        Expr::Bool(b) => return Truth::known(*b != negated),
        _ => expr.clone(),
    };
    let no = Expr::IsTrue {
        of: Box::new(expr),
        negated: true,
    };
    if negated {
        Truth { yes: no, no: yes }
    } else {
        Truth { yes, no }
    }
}

fn compare(op: Compare, a: Expr, b: Expr) -> Expr {
    Expr::Compare(op, Box::new(a), Box::new(b))
}

/// TRUE exactly where `expr` is FALSE, written as an operator would write it.
fn not(expr: Expr) -> Expr {
    match expr {
        Expr::Bool(b) => Expr::Bool(!b),
        Expr::Not(inner) => *inner,
        Expr::Compare(op, a, b) => Expr::Compare(op.negated(), a, b),
        Expr::IsNull { of, negated } => Expr::IsNull { of, negated: !negated },
        Expr::IsTrue { of, negated } => Expr::IsTrue { of, negated: !negated },
        other => Expr::Not(Box::new(other)),
    }
}

/// AND without nesting, repetition and TRUE.
pub(super) fn conjunction(parts: Vec<Expr>) -> Expr {
    let mut kept: Vec<Expr> = Vec::new();
    for part in parts {
        match part {
            Expr::Bool(true) => {}
            Expr::Bool(false) => return Expr::Bool(false),
            Expr::And(inner) => inner.into_iter().for_each(|p| keep(&mut kept, p)),
            other => keep(&mut kept, other),
        }
    }
    match kept.len() {
        0 => Expr::Bool(true),
        1 => kept.remove(0),
        _ => Expr::And(kept),
    }
}

/// OR without nesting, repetition and FALSE.
pub(super) fn disjunction(parts: Vec<Expr>) -> Expr {
    let mut kept: Vec<Expr> = Vec::new();
    for part in parts {
        match part {
            Expr::Bool(false) => {}
            Expr::Bool(true) => return Expr::Bool(true),
            Expr::Or(inner) => inner.into_iter().for_each(|p| keep(&mut kept, p)),
            other => keep(&mut kept, other),
        }
    }
    match kept.len() {
        0 => Expr::Bool(false),
        1 => kept.remove(0),
        _ => Expr::Or(kept),
    }
}

fn keep(kept: &mut Vec<Expr>, part: Expr) {
    if !kept.contains(&part) {
        kept.push(part);
    }
}

fn holds_for(op: Compare, ordering: Ordering) -> bool {
    match op {
        Compare::Eq => ordering.is_eq(),
        Compare::Ne => ordering.is_ne(),
        Compare::Lt => ordering.is_lt(),
        Compare::Le => ordering.is_le(),
        Compare::Gt => ordering.is_gt(),
        Compare::Ge => ordering.is_ge(),
    }
}

/// A comparison of two constants, where it can be told without a collation.
fn order(op: Compare, a: &Const, b: &Const) -> Option<bool> {
    match (a, b) {
        (Const::Int(a), Const::Int(b)) => Some(holds_for(op, a.cmp(b))),
        (Const::Text(a), Const::Text(b)) if a == b => Some(holds_for(op, Ordering::Equal)),
        (Const::Text(_), Const::Text(_)) => match op {
            Compare::Eq => Some(false),
            Compare::Ne => Some(true),
            Compare::Lt | Compare::Le | Compare::Gt | Compare::Ge => None,
        },
        (Const::Text(_), Const::Int(_)) | (Const::Int(_), Const::Text(_)) => None,
    }
}

/// Nodes of an expression.
fn size(expr: &Expr) -> usize {
    let mut nodes = 0;
    expr.walk(&mut |_| nodes += 1);
    nodes
}

#[cfg(test)]
mod tests;
