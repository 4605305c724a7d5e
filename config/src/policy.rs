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

use crate::expr::{Compare, Const, Expr};
use crate::manifest::{Column, Default, Operation, Policy, Preset, PresetValue, Table};
use crate::types::ColumnType;

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
    ///
    /// A policy that lists the columns which an INSERT may name permits no row in which another holds what the database would not have
    /// put there by itself: PostgreSQL cannot tell which columns a statement names, and so each policy still lets in its own rows only.
    pub fn check(&self, operation: Operation) -> Expr {
        let permitted = any(self.policies.iter().filter_map(|p| self.check_by(p, operation)));
        all([self.restricted(permitted)].into_iter().chain(self.presets_hold(operation)))
    }

    /// What the presets of `operation` leave in a written row. Those of protected columns and of `now()` are not among them: the one
    /// PostgreSQL cannot read, the other the policy language cannot say.
    pub fn presets_hold(&self, operation: Operation) -> impl Iterator<Item = Expr> + '_ {
        let plain = self.columns.iter().filter(|c| c.protection.is_none());
        plain.filter_map(move |c| c.preset_holds(c.preset.as_ref().filter(|p| p.applies(operation))?))
    }

    /// [`Table::check`] of one policy, restrictions apart; `None` where it is not for that operation.
    pub fn check_by(&self, policy: &Policy, operation: Operation) -> Option<Expr> {
        if !policy.operations.contains(&operation) {
            return None;
        }
        let own = policy.check_for(operation)?.clone();
        if operation != Operation::Insert {
            return Some(own);
        }
        let left_alone = self
            .columns
            .iter()
            .filter(|c| !policy.may_insert(c) && self.insertable(c) && !c.preset_on(Operation::Insert))
            .filter_map(Column::left_alone);
        Some(all([own].into_iter().chain(left_alone)))
    }

    /// Whether some policy lets an INSERT name the column. Where none does, PostgreSQL gives no right to.
    pub fn insertable(&self, column: &Column) -> bool {
        let mut inserts = self.policies.iter().filter(|p| p.operations.contains(&Operation::Insert));
        inserts.any(|p| p.may_insert(column))
    }

    fn restricted(&self, permitted: Expr) -> Expr {
        all(self.restrictions.iter().cloned().chain([permitted]))
    }
}

impl Column {
    /// What holds of a row whose INSERT did not name the column; `None` where a predicate cannot say it.
    pub fn left_alone(&self) -> Option<Expr> {
        match &self.default {
            None => Some(self.is_null()),
            Some(Default::Literal(text)) => self.equals(text),
            Some(Default::Now | Default::Serial) => None,
        }
    }

    /// Whether that operation sets the column by itself.
    pub fn preset_on(&self, operation: Operation) -> bool {
        self.preset.as_ref().is_some_and(|p| p.applies(operation))
    }

    fn preset_holds(&self, preset: &Preset) -> Option<Expr> {
        match &preset.value {
            PresetValue::Literal(text) => self.equals(text),
            PresetValue::Now => None,
            PresetValue::Claim(claim) => {
                let claim = || Box::new(Expr::Claim(*claim));
                let equal = Expr::Compare(Compare::Eq, Box::new(Expr::Column(self.name.clone())), claim());
                let missing = Expr::IsNull {
                    of: claim(),
                    negated: false,
                };
                Some(any([equal, all([missing, self.is_null()])]))
            }
        }
    }

    fn is_null(&self) -> Expr {
        Expr::IsNull {
            of: Box::new(Expr::Column(self.name.clone())),
            negated: false,
        }
    }

    /// The column equals a constant in text form; `None` where its type has no constants in policies.
    pub fn equals(&self, text: &str) -> Option<Expr> {
        let column = || Box::new(Expr::Column(self.name.clone()));
        let equals = |constant: Const| Expr::Compare(Compare::Eq, column(), Box::new(Expr::Const(constant)));
        match &self.ty {
            ColumnType::Bool if text == "true" => Some(*column()),
            ColumnType::Bool => Some(Expr::Not(column())),
            ColumnType::Text | ColumnType::Varchar(_) | ColumnType::Uuid => Some(equals(Const::Text(text.to_owned()))),
            ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => Some(equals(Const::Int(text.parse().ok()?))),
            _ => None,
        }
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
