//! A predicate as a formula over atoms. Comparisons that say the same are one atom: `a >= b` is NOT `a < b`, `b = a` is `a = b`.

use crate::expr::{Claim, Compare, Const, Expr, InSelect};

/// Lists of up to so many constants are read as so many comparisons.
const SHORT_LIST: usize = 5;

/// What a truth table gives values to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Atom {
    /// A condition that is a column or a claim.
    Plain(Expr),
    /// `a = b`, the operands in the order of their text.
    Equal(Expr, Expr),
    /// `a < b`.
    Less(Expr, Expr),
    /// `a IS NULL`, of a plain value.
    Null(Expr),
    /// `a = ANY (claim)`.
    Member(Expr, Claim),
    /// `a IN (constants)`, many of them.
    Listed(Expr, Vec<Const>),
    /// `a IN (SELECT …)`.
    Within(Box<InSelect>),
}

impl Atom {
    /// It as a predicate.
    pub(super) fn into_expr(self) -> Expr {
        match self {
            Self::Plain(e) => e,
            Self::Equal(a, b) => Expr::Compare(Compare::Eq, Box::new(a), Box::new(b)),
            Self::Less(a, b) => Expr::Compare(Compare::Lt, Box::new(a), Box::new(b)),
            Self::Null(e) => Expr::IsNull {
                of: Box::new(e),
                negated: false,
            },
            Self::Member(e, claim) => Expr::AnyClaim(Box::new(e), claim),
            Self::Listed(e, list) => Expr::InList(Box::new(e), list),
            Self::Within(select) => Expr::InSelect(select),
        }
    }

    /// The operands, if it is NULL exactly where one of them is.
    pub(super) fn operands(&self) -> Option<Vec<Expr>> {
        let operands = match self {
            Self::Plain(e) | Self::Listed(e, _) => vec![e.clone()],
            Self::Equal(a, b) | Self::Less(a, b) => vec![a.clone(), b.clone()],
            Self::Member(e, claim) => vec![e.clone(), Expr::Claim(*claim)],
            Self::Null(_) | Self::Within(_) => return None,
        };
        Some(
            operands
                .into_iter()
                .filter(|e| !matches!(e, Expr::Const(_) | Expr::Bool(_)))
                .collect(),
        )
    }
}

/// A predicate over atoms, by their number.
#[derive(Debug)]
pub(super) enum Formula {
    Known(bool),
    Atom(usize),
    Not(Box<Formula>),
    And(Vec<Formula>),
    Or(Vec<Formula>),
    IsTrue(Box<Formula>),
    IsNull(Box<Formula>),
}

impl Formula {
    /// Its value on a line of the table, `None` being NULL.
    pub(super) fn value(&self, line: &[Option<bool>]) -> Option<bool> {
        match self {
            Self::Known(b) => Some(*b),
            Self::Atom(n) => line[*n],
            Self::Not(f) => f.value(line).map(|b| !b),
            Self::And(fs) => decided(fs, line, false),
            Self::Or(fs) => decided(fs, line, true),
            Self::IsTrue(f) => Some(f.value(line) == Some(true)),
            Self::IsNull(f) => Some(f.value(line).is_none()),
        }
    }
}

/// AND is FALSE, and OR is TRUE, where one part is; else NULL where one part is.
fn decided(parts: &[Formula], line: &[Option<bool>], by: bool) -> Option<bool> {
    let mut value = Some(!by);
    for part in parts {
        match part.value(line) {
            Some(b) if b == by => return Some(by),
            Some(_) => {}
            None => value = None,
        }
    }
    value
}

/// Reads predicates into formulas over one list of atoms.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) atoms: Vec<Atom>,
}

impl Reader {
    pub(super) fn read(&mut self, expr: &Expr) -> Formula {
        match expr {
            Expr::Bool(b) => Formula::Known(*b),
            Expr::Column(_) | Expr::Claim(_) | Expr::Tag(_) | Expr::ClaimTag(_) | Expr::Const(_) => {
                self.atom(Atom::Plain(expr.clone()))
            }
            Expr::Not(inner) => negated(self.read(inner), true),
            Expr::And(parts) => Formula::And(parts.iter().map(|p| self.read(p)).collect()),
            Expr::Or(parts) => Formula::Or(parts.iter().map(|p| self.read(p)).collect()),
            Expr::IsTrue { of, negated: not } => negated(Formula::IsTrue(Box::new(self.read(of))), *not),
            Expr::IsNull { of, negated: not } => {
                let is_null = match &**of {
                    plain @ (Expr::Column(_) | Expr::Claim(_)) => self.atom(Atom::Null(plain.clone())),
                    Expr::Const(_) => Formula::Known(false),
                    condition => Formula::IsNull(Box::new(self.read(condition))),
                };
                negated(is_null, *not)
            }
            Expr::Compare(op, a, b) => self.comparison(*op, a, b),
            Expr::InList(value, list) if list.len() > SHORT_LIST => self.atom(Atom::Listed((**value).clone(), list.clone())),
            Expr::InList(value, list) => Formula::Or(
                list.iter()
                    .map(|c| self.comparison(Compare::Eq, value, &Expr::Const(c.clone())))
                    .collect(),
            ),
            Expr::AnyClaim(value, claim) => self.atom(Atom::Member((**value).clone(), *claim)),
            Expr::InSelect(select) => self.atom(Atom::Within(select.clone())),
        }
    }

    fn comparison(&mut self, op: Compare, a: &Expr, b: &Expr) -> Formula {
        // A condition compared with TRUE or FALSE is the condition, or NOT of it.
        if let (Expr::Bool(value), of) | (of, Expr::Bool(value)) = (a, b) {
            match op {
                Compare::Eq => return negated(self.read(of), !value),
                Compare::Ne => return negated(self.read(of), *value),
                Compare::Lt | Compare::Le | Compare::Gt | Compare::Ge => {}
            }
        }
        match op {
            Compare::Eq => self.equal(a, b),
            Compare::Ne => negated(self.equal(a, b), true),
            Compare::Lt => self.less(a, b),
            Compare::Gt => self.less(b, a),
            Compare::Le => negated(self.less(b, a), true),
            Compare::Ge => negated(self.less(a, b), true),
        }
    }

    fn equal(&mut self, a: &Expr, b: &Expr) -> Formula {
        let (a, b) = if a.source() <= b.source() { (a, b) } else { (b, a) };
        self.atom(Atom::Equal(a.clone(), b.clone()))
    }

    fn less(&mut self, a: &Expr, b: &Expr) -> Formula {
        self.atom(Atom::Less(a.clone(), b.clone()))
    }

    fn atom(&mut self, atom: Atom) -> Formula {
        let number = self.atoms.iter().position(|a| *a == atom).unwrap_or_else(|| {
            self.atoms.push(atom);
            self.atoms.len() - 1
        });
        Formula::Atom(number)
    }
}

fn negated(formula: Formula, negated: bool) -> Formula {
    if negated { Formula::Not(Box::new(formula)) } else { formula }
}
