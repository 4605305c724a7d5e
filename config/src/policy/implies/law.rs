//! What is known of atoms together: which lines of a truth table no row can have.
//!
//! A law that is missing makes an implication go unproven; a law that is wrong would prove a false one. So each is argued where it stands.

use super::atom::Atom;
use crate::expr::{Claim, ClaimType, Const, Expr};

/// Integers up to here are one and the same in every numeric type, `float8` too.
const EXACT: i64 = 1 << 53;

/// Something that holds on every line that a row can have. Atoms are meant by their number.
#[derive(Debug)]
pub(super) enum Law {
    /// Never NULL.
    Settled(usize),
    /// Where the first is NULL, so is the second: it has every operand of the first.
    NullToo(usize, usize),
    /// Where the first is NULL, the second is not TRUE: it looks for that operand in a table.
    NotFound(usize, usize),
    /// `x IS NULL` is TRUE and the other atom, one of whose operands is x, is NULL.
    NullIfNull(usize, usize),
    /// `x IS NULL` is TRUE and the other atom, which looks for x in a table, is not TRUE.
    NotFoundIfNull(usize, usize),
    /// The atom is NULL only where one of these, which ask each of its operands for NULL, is TRUE.
    NullOnlyIf(usize, Vec<usize>),
    /// Not both TRUE.
    Apart(usize, usize),
    /// Where the first is TRUE so is the second; where the second is FALSE so is the first.
    Narrower(usize, usize),
    /// One value is compared with several numbers: the atoms are NULL, or their values are one of these rows.
    Ordered(Vec<usize>, Vec<Vec<bool>>),
}

impl Law {
    pub(super) fn holds(&self, line: &[Option<bool>]) -> bool {
        match self {
            Self::Settled(a) => line[*a].is_some(),
            Self::NullToo(a, b) => line[*a].is_some() || line[*b].is_none(),
            Self::NotFound(a, b) => line[*a].is_some() || line[*b] != Some(true),
            Self::NullIfNull(null, a) => line[*null] != Some(true) || line[*a].is_none(),
            Self::NotFoundIfNull(null, a) => line[*null] != Some(true) || line[*a] != Some(true),
            Self::NullOnlyIf(a, nulls) => line[*a].is_some() || nulls.iter().any(|n| line[*n] == Some(true)),
            Self::Apart(a, b) => line[*a] != Some(true) || line[*b] != Some(true),
            Self::Narrower(a, b) => {
                (line[*a] != Some(true) || line[*b] == Some(true)) && (line[*b] != Some(false) || line[*a] == Some(false))
            }
            Self::Ordered(atoms, rows) => {
                atoms.iter().any(|a| line[*a].is_none())
                    || rows
                        .iter()
                        .any(|row| atoms.iter().zip(row).all(|(a, value)| line[*a] == Some(*value)))
            }
        }
    }
}

/// The laws of these atoms. `implied` says whether one subquery's predicate implies another's.
pub(super) fn laws(atoms: &[Atom], implied: &mut dyn FnMut(&Expr, &Expr) -> bool) -> Vec<Law> {
    let mut laws = Vec::new();
    for (n, atom) in atoms.iter().enumerate() {
        match atom {
            Atom::Null(of) => {
                laws.push(Law::Settled(n));
                null_test(n, of, atoms, &mut laws);
            }
            _ => null_only_if(n, atom, atoms, &mut laws),
        }
        for (m, other) in atoms.iter().enumerate().filter(|(m, _)| *m != n) {
            pair((n, atom), (m, other), &mut laws, implied);
        }
    }
    ordered(atoms, &mut laws);
    laws
}

/// Comparisons are strict: NULL exactly where an operand is. A membership in a subquery is not, because NULL IN (no rows) is FALSE.
fn null_test(null: usize, of: &Expr, atoms: &[Atom], laws: &mut Vec<Law>) {
    for (n, atom) in atoms.iter().enumerate() {
        match atom {
            Atom::Within(select) if select.value == *of => laws.push(Law::NotFoundIfNull(null, n)),
            other if other.operands().is_some_and(|os| os.contains(of)) => laws.push(Law::NullIfNull(null, n)),
            _ => {}
        }
    }
}

fn null_only_if(n: usize, atom: &Atom, atoms: &[Atom], laws: &mut Vec<Law>) {
    let Some(operands) = atom.operands() else { return };
    let tested = |operand: &Expr| atoms.iter().position(|a| matches!(a, Atom::Null(of) if of == operand));
    if let Some(nulls) = operands.iter().map(tested).collect::<Option<Vec<usize>>>() {
        laws.push(Law::NullOnlyIf(n, nulls));
    }
}

fn pair((n, a): (usize, &Atom), (m, b): (usize, &Atom), laws: &mut Vec<Law>, implied: &mut dyn FnMut(&Expr, &Expr) -> bool) {
    if let Some(operands) = a.operands() {
        match (b, b.operands()) {
            (_, Some(others)) if operands.iter().all(|o| others.contains(o)) => laws.push(Law::NullToo(n, m)),
            (Atom::Within(select), _) if operands == [select.value.clone()] => laws.push(Law::NotFound(n, m)),
            _ => {}
        }
    }
    match (a, b) {
        // Values of one type have one order, whichever it is.
        (Atom::Less(a1, a2), Atom::Less(b1, b2)) if n < m && a1 == b2 && a2 == b1 => laws.push(Law::Apart(n, m)),
        (Atom::Less(a1, a2), Atom::Equal(b1, b2)) if (a1 == b1 && a2 == b2) || (a1 == b2 && a2 == b1) => {
            laws.push(Law::Apart(n, m));
        }
        // A claim is text, and text equals one text only. (A column might be of a type that has one value by several names.)
        (Atom::Equal(a1, a2), Atom::Equal(b1, b2)) if n < m => {
            if let (Some((claim, one)), Some((same, other))) = (claim_is(a1, a2), claim_is(b1, b2))
                && claim == same
                && one != other
            {
                laws.push(Law::Apart(n, m));
            }
        }
        // Fewer rows hold no value that more rows do not; where more rows hold neither the value nor NULL, nor do fewer.
        (Atom::Within(s), Atom::Within(t))
            if s.value == t.value && s.table == t.table && s.column == t.column && implied(&s.predicate, &t.predicate) =>
        {
            laws.push(Law::Narrower(n, m));
        }
        _ => {}
    }
}

fn claim_is<'e>(a: &'e Expr, b: &'e Expr) -> Option<(Claim, &'e str)> {
    match (a, b) {
        (Expr::Claim(claim), Expr::Const(Const::Text(text))) | (Expr::Const(Const::Text(text)), Expr::Claim(claim))
            if claim.ty() == ClaimType::Text =>
        {
            Some((*claim, text.as_str()))
        }
        _ => None,
    }
}

/// How a value lies to a number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lies {
    At,
    Below,
    Above,
}

/// The value, the number, and how the atom says that they lie.
fn against_number(atom: &Atom) -> Option<(&Expr, i64, Lies)> {
    let (a, b, first, second) = match atom {
        Atom::Equal(a, b) => (a, b, Lies::At, Lies::At),
        Atom::Less(a, b) => (a, b, Lies::Below, Lies::Above),
        _ => return None,
    };
    let (value, number, lies) = match (a, b) {
        (Expr::Const(Const::Int(_)), Expr::Const(_)) => return None,
        (value, Expr::Const(Const::Int(n))) => (value, *n, first),
        (Expr::Const(Const::Int(n)), value) => (value, *n, second),
        _ => return None,
    };
    (-EXACT..=EXACT).contains(&number).then_some((value, number, lies))
}

/// Where a value can lie among numbers: at each, below all, above all, between two that follow each other.
fn ordered(atoms: &[Atom], laws: &mut Vec<Law>) {
    let compared: Vec<_> = atoms
        .iter()
        .enumerate()
        .filter_map(|(n, a)| Some((n, against_number(a)?)))
        .collect();
    let mut done: Vec<&Expr> = Vec::new();
    for (_, (value, _, _)) in &compared {
        if done.contains(value) {
            continue;
        }
        done.push(value);
        let own: Vec<_> = compared.iter().filter(|(_, (v, _, _))| v == value).collect();
        // Twice each number, so that what lies between has a place of its own.
        let mut places: Vec<i64> = own.iter().flat_map(|(_, (_, n, _))| [2 * n - 1, 2 * n, 2 * n + 1]).collect();
        places.sort_unstable();
        places.dedup();
        let row = |place: &i64| {
            let says = |(_, (_, n, lies)): &&(usize, (&Expr, i64, Lies))| match lies {
                Lies::At => *place == 2 * n,
                Lies::Below => *place < 2 * n,
                Lies::Above => *place > 2 * n,
            };
            own.iter().map(says).collect()
        };
        laws.push(Law::Ordered(
            own.iter().map(|(n, _)| *n).collect(),
            places.iter().map(row).collect(),
        ));
    }
}
