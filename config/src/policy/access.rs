//! Who may reach what: the identities that a statement can have, and the rows that each operation reaches on behalf of them.
//!
//! This is what the tools over policies (lint, matrix, diff) share. It says what the rewriter's filters and native row-level security
//! let through, as predicates; it does not run anything.

use super::fold::{ClaimValue, Known, conjunction, fold};
use super::implies::implies;
use super::{all, any};
use crate::expr::{Claim, Expr};
use crate::manifest::{Column, LoginKind, Manifest, Operation, Policy, Table};

impl Table {
    /// Rows that `operation` reaches: that are shown, made, changed or removed. With a column, those whose column is: shown and not
    /// masked, filled, assigned. UPDATE and DELETE reach only what SELECT shows, as the statement reads what it changes; what an UPDATE
    /// leaves behind must satisfy [`Table::check`] as well.
    pub fn reached(&self, operation: Operation, column: Option<&Column>) -> Expr {
        match operation {
            Operation::Select => match column {
                Some(column) if column.never => Expr::Bool(false),
                Some(column) => all([self.using(operation)].into_iter().chain(column.shown_when.clone())),
                None => self.using(operation),
            },
            Operation::Insert | Operation::Update if column.is_some_and(|c| c.preset_on(operation)) => Expr::Bool(false),
            Operation::Insert => {
                let permits = |p: &&Policy| column.is_none_or(|c| p.may_insert(c));
                let permitted = self
                    .policies
                    .iter()
                    .filter(permits)
                    .filter_map(|p| self.check_by(p, operation));
                all((self.restrictions.iter().cloned())
                    .chain([any(permitted)])
                    .chain(self.presets_hold(operation)))
            }
            Operation::Update if column.is_some_and(|c| c.immutable) => Expr::Bool(false),
            Operation::Update | Operation::Delete => {
                let permits = |p: &&Policy| p.operations.contains(&operation) && column.is_none_or(|c| p.may_assign(c));
                let permitted = any(self.policies.iter().filter(permits).filter_map(|p| p.using.clone()));
                all(self
                    .restrictions
                    .iter()
                    .cloned()
                    .chain([permitted, self.using(Operation::Select)]))
            }
        }
    }
}

impl Policy {
    /// Whether an UPDATE under this policy may assign that column, if it permits UPDATE at all.
    pub fn may_assign(&self, column: &Column) -> bool {
        !column.immutable
            && self
                .update_columns
                .as_ref()
                .is_none_or(|columns| columns.contains(&column.name))
    }

    /// Whether an INSERT under this policy may name that column, if it permits INSERT at all.
    pub fn may_insert(&self, column: &Column) -> bool {
        self.insert_columns
            .as_ref()
            .is_none_or(|columns| columns.contains(&column.name))
    }

    /// What a row must satisfy that `operation` writes under this policy alone.
    pub fn check_for(&self, operation: Operation) -> Option<&Expr> {
        match operation {
            Operation::Select | Operation::Delete => None,
            Operation::Insert => self.check.as_ref(),
            Operation::Update => self.check.as_ref().or(self.using.as_ref()),
        }
    }
}

/// A kind of identity: what is known of its claims, and what holds of the others.
#[derive(Debug, Clone)]
pub struct Identity {
    known: Known,
    assumed: Expr,
}

impl Identity {
    /// Without a token, on the login of users or of a migrator: no claim at all.
    pub fn guest() -> Self {
        Self {
            known: Known::guest(),
            assumed: Expr::Bool(true),
        }
    }

    /// With a token, which says whose it is and never claims to be a service.
    pub fn user() -> Self {
        let mut known = Known::nothing();
        known.set(Claim::Service, ClaimValue::Null).expect("every claim can be NULL");
        Self {
            known,
            assumed: Expr::IsNull {
                of: Box::new(Expr::Claim(Claim::Sub)),
                negated: true,
            },
        }
    }

    /// Without a token, on a service login: the module's name and nothing else.
    pub fn service(manifest: &Manifest) -> Self {
        Self {
            known: service_claims(manifest),
            assumed: Expr::Bool(true),
        }
    }

    fn given(&self, expr: &Expr) -> Expr {
        conjunction(vec![self.assumed.clone(), fold(expr, &self.known).into_expr()])
    }
}

/// What is known of a module's service login: its claim, and that it has no other.
pub fn service_claims(manifest: &Manifest) -> Known {
    let mut known = Known::guest();
    known
        .set(Claim::Service, ClaimValue::Text(manifest.module.to_string()))
        .expect("the claim is text");
    known
}

/// Every identity that a statement of a module can have.
#[derive(Debug, Clone)]
pub struct Identities(Vec<Identity>);

impl Identities {
    /// Those of the logins that the module has. A token may come on any of them.
    pub fn of(manifest: &Manifest) -> Self {
        let has = |kinds: &[LoginKind]| manifest.logins.iter().any(|l| kinds.contains(&l.kind));
        let mut identities = vec![Identity::user()];
        if has(&[LoginKind::Runtime, LoginKind::Migrator]) {
            identities.push(Identity::guest());
        }
        if has(&[LoginKind::Service]) {
            identities.push(Identity::service(manifest));
        }
        Self(identities)
    }

    /// All that there could be, whichever logins the module has.
    pub fn every(manifest: &Manifest) -> Self {
        Self(vec![Identity::user(), Identity::guest(), Identity::service(manifest)])
    }

    /// Whether `b` lets through whatever `a` does, on behalf of any of them; `None` where it cannot be told.
    pub fn implies(&self, a: &Expr, b: &Expr) -> Option<bool> {
        let mut answer = Some(true);
        for identity in &self.0 {
            match implies(&identity.given(a), &fold(b, &identity.known).into_expr()) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => answer = None,
            }
        }
        answer
    }

    /// Whether a predicate is proven to let nothing through.
    pub fn never(&self, expr: &Expr) -> bool {
        self.implies(expr, &Expr::Bool(false)) == Some(true)
    }

    /// Whether a predicate is proven to let everything through.
    pub fn always(&self, expr: &Expr) -> bool {
        self.implies(&Expr::Bool(true), expr) == Some(true)
    }

    /// Whether whoever `acts` sees every row of which `shown` says which are: then no refusal can tell of a hidden one. One of the two
    /// must not depend on the row, or each would speak of a row of its own.
    pub fn sees_all(&self, acts: &Expr, shown: &Expr) -> bool {
        (acts.own_columns().is_empty() || shown.own_columns().is_empty()) && self.implies(acts, shown) == Some(true)
    }
}

/// The ways to satisfy a predicate: one for each part of the first disjunction among its conditions, so that each policy of several that
/// permit an operation can be looked at by itself, restrictions included. Together they say what the predicate says.
pub fn ways(expr: &Expr) -> Vec<Expr> {
    let folded = fold(expr, &Known::nothing()).into_expr();
    let parts: Vec<Expr> = match folded {
        Expr::And(parts) => parts,
        other => vec![other],
    };
    let Some((at, Expr::Or(alternatives))) = parts.iter().enumerate().find(|(_, p)| matches!(p, Expr::Or(_))) else {
        return vec![conjunction(parts)];
    };
    let way = |alternative: &Expr| {
        let mut way = parts.clone();
        way[at] = alternative.clone();
        conjunction(way)
    };
    alternatives.iter().map(way).collect()
}

/// The parts of a conjunction, or the one that it is.
pub fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::And(parts) => parts.iter().flat_map(conjuncts).collect(),
        other => vec![other],
    }
}

/// Somebody of whom the matrix speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Without a token.
    Guest,
    /// With a token.
    Person {
        /// What to call them.
        name: String,
        /// Every claim.
        claims: Known,
    },
    /// The module's service login, without a token.
    Service,
}

impl Subject {
    /// What to call it.
    pub fn name(&self) -> &str {
        match self {
            Self::Guest => "guest",
            Self::Person { name, .. } => name,
            Self::Service => "service",
        }
    }

    /// Its claims in a module; `None` where the module has no login that it could come by.
    pub fn claims(&self, manifest: &Manifest) -> Option<Known> {
        let has = |kinds: &[LoginKind]| manifest.logins.iter().any(|l| kinds.contains(&l.kind));
        match self {
            Self::Guest => has(&[LoginKind::Runtime, LoginKind::Migrator]).then(Known::guest),
            Self::Person { claims, .. } => (!manifest.logins.is_empty()).then(|| claims.clone()),
            Self::Service => has(&[LoginKind::Service]).then(|| service_claims(manifest)),
        }
    }
}
