//! Whether one predicate lets through no more than another, by truth tables.
//!
//! A row is let through only where its predicate is TRUE, so `a` implies `b` where no line of the table makes `a` TRUE and `b` FALSE or
//! NULL. The lines are all values, NULL among them, of the predicates' atoms: comparisons, memberships and plain conditions. Atoms are
//! taken as independent but for what `law` says of them, so a line may be there that no row can have, and never the other way about:
//! `Some(true)` is a proof, `Some(false)` is the lack of one.

use super::fold::{Known, fold};
use crate::expr::Expr;

mod atom;
mod law;

use atom::{Formula, Reader};
use law::Law;

/// More atoms than this make no table (3^10 lines).
pub const MAX_ATOMS: usize = 10;

/// How many tables and splits one question may take.
const MAX_STEPS: usize = 128;

/// Whether `b` lets through every row that `a` does, whatever the row and the claims are. `None`: there are too many atoms to tell.
pub fn implies(a: &Expr, b: &Expr) -> Option<bool> {
    Prover { left: MAX_STEPS }.ask(a, b)
}

/// The distinct atoms of a predicate, each as a predicate.
pub fn atoms(expr: &Expr) -> Vec<Expr> {
    let mut reader = Reader::default();
    reader.read(expr);
    reader.atoms.into_iter().map(atom::Atom::into_expr).collect()
}

struct Prover {
    left: usize,
}

impl Prover {
    fn ask(&mut self, a: &Expr, b: &Expr) -> Option<bool> {
        let normal = |e: &Expr| fold(e, &Known::nothing()).into_expr();
        self.prove(&normal(a), &normal(b))
    }

    fn prove(&mut self, a: &Expr, b: &Expr) -> Option<bool> {
        let part_of_a = matches!(a, Expr::And(parts) if parts.contains(b));
        let part_of_b = matches!(b, Expr::Or(parts) if parts.contains(a));
        if a == b || part_of_a || part_of_b || *a == Expr::Bool(false) || *b == Expr::Bool(true) {
            return Some(true);
        }
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader::default();
        let (from, to) = (reader.read(a), reader.read(b));
        if reader.atoms.len() <= MAX_ATOMS {
            return Some(self.table(&reader, &from, &to));
        }
        self.split(a, b)
    }

    /// Too many atoms for one table: the parts may have few enough. The first two ways lose nothing, the other two can only prove.
    fn split(&mut self, a: &Expr, b: &Expr) -> Option<bool> {
        if let Expr::Or(parts) = a {
            let answers = parts.iter().map(|part| self.prove(part, b));
            return every(answers);
        }
        if let Expr::And(parts) = b {
            let answers = parts.iter().map(|part| self.prove(a, part));
            return every(answers);
        }
        if let Expr::And(parts) = a
            && parts.iter().any(|part| self.prove(part, b) == Some(true))
        {
            return Some(true);
        }
        if let Expr::Or(parts) = b
            && parts.iter().any(|part| self.prove(a, part) == Some(true))
        {
            return Some(true);
        }
        None
    }

    fn table(&mut self, reader: &Reader, from: &Formula, to: &Formula) -> bool {
        let mut laws: Option<Vec<Law>> = None;
        let mut line: Vec<Option<bool>> = vec![Some(true); reader.atoms.len()];
        loop {
            if from.value(&line) == Some(true) && to.value(&line) != Some(true) {
                let laws = laws.get_or_insert_with(|| law::laws(&reader.atoms, &mut |p, q| self.ask(p, q) == Some(true)));
                if laws.iter().all(|law| law.holds(&line)) {
                    return false;
                }
            }
            if !next(&mut line) {
                return true;
            }
        }
    }
}

fn every(answers: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut all = Some(true);
    for answer in answers {
        match answer {
            Some(true) => {}
            Some(false) => return Some(false),
            None => all = None,
        }
    }
    all
}

/// The next line of the table: TRUE, FALSE, NULL, counted like digits. `false` after the last.
fn next(line: &mut [Option<bool>]) -> bool {
    for value in line {
        match value {
            Some(true) => {
                *value = Some(false);
                return true;
            }
            Some(false) => {
                *value = None;
                return true;
            }
            None => *value = Some(true),
        }
    }
    false
}

#[cfg(test)]
mod tests;
