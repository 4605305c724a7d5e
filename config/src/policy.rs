//! How a table's policies combine: permissive ones OR, restrictions AND, nothing at all means nobody.
//!
//! Beneath it stand the pure tools that look at policies without running them: [`fold`] and [`implies`] calculate with predicates,
//! [`access`] says what each identity reaches, and [`lint`], [`matrix`] and [`diff`] report on that.

pub mod access;
#[cfg(test)]
mod configured;
pub mod diff;
#[cfg(test)]
mod evaluate;
pub mod fold;
pub mod implies;
pub mod lint;
pub mod matrix;

use crate::expr::Expr;
use crate::manifest::{Operation, Table};

impl Table {
    /// Rows that exist for `operation`. For UPDATE and DELETE the SELECT policies apply as well (as in PostgreSQL, where the statement
    /// reads the row it changes).
    pub fn using(&self, operation: Operation) -> Expr {
        let permitted = any(self
            .policies
            .iter()
            .filter(|p| p.operations.contains(&operation))
            .filter_map(|p| p.using.clone()));
        self.restricted(permitted)
    }

    /// What a row written by `operation` must satisfy.
    pub fn check(&self, operation: Operation) -> Expr {
        let permitted = any(self
            .policies
            .iter()
            .filter(|p| p.operations.contains(&operation))
            .filter_map(|p| {
                p.check.clone().or_else(|| {
                    if operation == Operation::Update {
                        p.using.clone()
                    } else {
                        None
                    }
                })
            }));
        self.restricted(permitted)
    }

    fn restricted(&self, permitted: Expr) -> Expr {
        all(self.restrictions.iter().cloned().chain([permitted]))
    }
}

/// OR of all; `false` for none.
pub fn any(exprs: impl IntoIterator<Item = Expr>) -> Expr {
    let mut es: Vec<Expr> = exprs.into_iter().collect();
    if es.contains(&Expr::Bool(true)) {
        return Expr::Bool(true);
    }
    es.dedup();
    match es.len() {
        0 => Expr::Bool(false),
        1 => es.remove(0),
        _ => Expr::Or(es),
    }
}

/// AND of all; `true` for none.
pub fn all(exprs: impl IntoIterator<Item = Expr>) -> Expr {
    let mut es: Vec<Expr> = exprs.into_iter().filter(|e| *e != Expr::Bool(true)).collect();
    if es.contains(&Expr::Bool(false)) {
        return Expr::Bool(false);
    }
    es.dedup();
    match es.len() {
        0 => Expr::Bool(true),
        1 => es.remove(0),
        _ => Expr::And(es),
    }
}
