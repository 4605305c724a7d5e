//! One step of provisioning and the question whether it is needed.

use postern_config::LoginName;
use postern_config::names::quote_literal;

/// A statement (or a few) with a title that an operator can follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisionStep {
    /// What it does, unique among the steps.
    pub title: String,
    /// The SQL. Where a secret belongs there is a placeholder; the secret is put in when the step runs.
    pub sql: String,
    pub(super) need: Need,
    /// PostgreSQL does not run it inside a transaction.
    pub(super) alone: bool,
    /// Where the control role may not do it, the run goes on and says so.
    pub(super) optional: bool,
}

/// How to tell whether a step must run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    /// A query that answers one bool: true where the step must run.
    Asked(String),
    /// A query that answers one text describing what the step made. It must run where that text, or the step's SQL, is not what it
    /// was when the step was last done: so drift is mended and nothing is done twice.
    Recorded(String),
    /// The login's stored verifier does not fit its password file.
    Password(LoginName),
    /// Some protected column has no key in the key catalogue.
    Keys,
    /// The pads of the claims' MAC key are missing or wrong.
    ClaimsKey,
}

/// Stands in printed SQL where a SCRAM verifier is sent.
pub(super) const VERIFIER_PLACEHOLDER: &str = "'<SCRAM-SHA-256 verifier>'";

impl ProvisionStep {
    pub(super) fn asked(title: impl Into<String>, needed: impl Into<String>, sql: impl Into<String>) -> Self {
        Self::new(title.into(), Need::Asked(needed.into()), sql.into())
    }

    pub(super) fn recorded(title: impl Into<String>, state: impl Into<String>, sql: impl Into<String>) -> Self {
        Self::new(title.into(), Need::Recorded(state.into()), sql.into())
    }

    pub(super) fn new(title: String, need: Need, sql: String) -> Self {
        Self {
            title,
            sql,
            need,
            alone: false,
            optional: false,
        }
    }

    pub(super) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    pub(super) fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

/// `to_regclass` of a relation, as SQL: NULL where it does not exist.
pub(super) fn relation_oid(quoted: &str) -> String {
    format!("pg_catalog.to_regclass({})", quote_literal(quoted))
}

/// Comma-separated quoted literals.
pub(super) fn literals<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quote_literal).collect::<Vec<_>>().join(", ")
}
