//! `postern policy lint`: mistakes in policies that load without complaint, found without a database.
//!
//! Promised: a finding names a place, says what somebody could do or learn, and how to mend it. Rules read what the proxy enforces
//! ([`super::access`]), not how it is spelled. Where a rule asks whether something is harmless (a row stays in reach, a writer sees every
//! row), what cannot be told counts as found; where it calls something useless, it has a proof. A finding that is meant so is accepted where
//! it stands, with a reason, by `allow_lint`; an acceptance that no longer accepts anything is found too.

use std::fmt;
use std::path::PathBuf;

use super::access::Identities;
use crate::lint_code::LintCode;
use crate::manifest::{Allowance, Manifest, Policy, Table};
use crate::names::{Ident, ModuleName, TableRef};
use crate::settings::Config;

mod columns;
mod keys;
mod operators;
mod policies;
mod references;

/// How bad a finding is if it is not meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Probably not meant, or it tells something of hidden rows.
    Warning,
    /// Lets rows be changed that should not be, or does nothing at all.
    Error,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something to mend, or to accept with a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The manifest.
    pub file: PathBuf,
    /// Line in it, from 1.
    pub line: usize,
    /// What it is about.
    pub code: LintCode,
    /// How bad it is.
    pub severity: Severity,
    /// The module.
    pub module: ModuleName,
    /// The table.
    pub table: TableRef,
    /// The policy, where it is about one.
    pub policy: Option<Ident>,
    /// What is there and what follows from it.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Finding {
    /// `file:line: severity[code]: message; fix`, as compilers write it and editors read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}[{}]: {}; {}",
            self.file.display(),
            self.line,
            self.severity.as_str(),
            self.code,
            self.message,
            self.fix
        )
    }
}

/// All findings, sorted by file and line.
pub fn lint(config: &Config) -> Vec<Finding> {
    // What an import shows to whom decides whether a policy over it is of any use.
    let config = &config.beneath();
    let mut findings: Vec<Finding> = config.modules.iter().flat_map(|m| of_module(config, m)).collect();
    findings.sort_by(|a, b| (&a.file, a.line, a.code, &a.message).cmp(&(&b.file, b.line, b.code, &b.message)));
    findings
}

fn of_module(config: &Config, manifest: &Manifest) -> Vec<Finding> {
    let identities = Identities::of(manifest);
    let mut findings = Vec::new();
    for table in &manifest.tables {
        let place = Place {
            manifest,
            table,
            identities: &identities,
        };
        let mut found = Vec::new();
        for rule in [policies::find, columns::find, keys::find, references::find, operators::find] {
            rule(&place, &mut found);
        }
        findings.extend(not_accepted(table, found).into_iter().map(|f| Finding {
            file: config.manifest_file(manifest),
            line: f.line,
            code: f.code,
            severity: f.severity,
            module: manifest.module.clone(),
            table: table.name.clone(),
            policy: f.policy.map(|p| p.name.clone()),
            message: f.message,
            fix: f.fix,
        }));
    }
    findings
}

/// What a rule looks at.
struct Place<'m> {
    manifest: &'m Manifest,
    table: &'m Table,
    identities: &'m Identities,
}

/// What a rule found.
struct Found<'m> {
    code: LintCode,
    severity: Severity,
    line: usize,
    policy: Option<&'m Policy>,
    message: String,
    fix: String,
}

/// Leaves out what is accepted where it stands, and adds acceptances of what was not found.
fn not_accepted<'m>(table: &'m Table, found: Vec<Found<'m>>) -> Vec<Found<'m>> {
    let of = |policy: Option<&'m Policy>| match policy {
        Some(policy) => policy.allow_lint.as_ref(),
        None => table.allow_lint.as_ref(),
    };
    let owners = std::iter::once(None).chain(table.policies.iter().map(Some));
    let stale: Vec<Found<'m>> = owners
        .filter_map(|policy| {
            let codes = unused(of(policy)?, policy, &found)?;
            Some(stale(of(policy)?, policy, &codes))
        })
        .collect();
    let open = found
        .into_iter()
        .filter(|f| of(f.policy).is_none_or(|a| !a.codes.contains(&f.code)));
    open.chain(stale).collect()
}

fn unused(allowance: &Allowance, policy: Option<&Policy>, found: &[Found<'_>]) -> Option<Vec<LintCode>> {
    let same = |f: &&Found<'_>| f.policy.map(|p| &p.name) == policy.map(|p| &p.name);
    let used: Vec<LintCode> = found.iter().filter(same).map(|f| f.code).collect();
    let unused: Vec<LintCode> = allowance.codes.iter().copied().filter(|c| !used.contains(c)).collect();
    (!unused.is_empty()).then_some(unused)
}

fn stale<'m>(allowance: &Allowance, policy: Option<&'m Policy>, codes: &[LintCode]) -> Found<'m> {
    let codes: Vec<&str> = codes.iter().map(|c| c.as_str()).collect();
    Found {
        code: LintCode::StaleAllowance,
        severity: Severity::Warning,
        line: allowance.line,
        policy,
        message: format!("`allow_lint` names {}, which is not found here", codes.join(", ")),
        fix: "remove it from `allow_lint`, so that it cannot hide what comes later".to_owned(),
    }
}

#[cfg(test)]
mod tests;
