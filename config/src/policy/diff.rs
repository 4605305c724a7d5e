//! `postern policy diff`: what a new configuration lets through that an old one did not, and the other way about.
//!
//! Aligned by module, table, operation and column, and judged by [`super::implies`] both ways. Where a policy looks into an import, the tables
//! beneath are compared, so that what an exporting module's policies let through is told of those who look there, too. Promised: what is
//! called narrower or the same is proven to be; everything else needs somebody to accept it. Not looked at: what tables hold (a policy's subquery may find other
//! rows because another module writes them), keys, defaults, limits.

use std::path::Path;

use super::access::Identities;
use super::all;
use crate::expr::Expr;
use crate::manifest::{Login, LoginKind, Manifest, Operation, Table};
use crate::settings::{Config, Enforce};

mod columns;

/// How the new one compares with the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Proven to let through exactly the same.
    Same,
    /// Proven to let through nothing more.
    Narrower,
    /// It may let through more.
    Wider,
    /// It cannot be told, so it may let through more.
    Unknown,
}

impl Verdict {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Narrower => "narrower",
            Self::Wider => "wider",
            Self::Unknown => "unknown",
        }
    }

    /// Whether somebody must accept it.
    pub fn needs_acceptance(self) -> bool {
        match self {
            Self::Same | Self::Narrower => false,
            Self::Wider | Self::Unknown => true,
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The module; none for a setting of `postern.toml`.
    pub module: Option<String>,
    /// The table's bare name.
    pub table: Option<String>,
    /// The operation.
    pub operation: Option<Operation>,
    /// The column.
    pub column: Option<String>,
    /// What is compared: `rows`, `written rows`, `mask`, `login`, …
    pub what: &'static str,
    /// How.
    pub verdict: Verdict,
    /// What was.
    pub old: String,
    /// What is.
    pub new: String,
}

/// All differences, in the order of the new configuration's modules and tables, then what is gone.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let (old, new) = (&old.beneath(), &new.beneath());
    let mut report = Report {
        place: Place::default(),
        changes: Vec::new(),
    };
    settings(old, new, &mut report);
    for manifest in &new.modules {
        report.place = Place {
            module: Some(manifest.module.to_string()),
            ..Place::default()
        };
        match old.module(&manifest.module) {
            Some(before) => module(before, manifest, &mut report),
            None => report.add("module", Verdict::Wider, ABSENT, &described(manifest)),
        }
    }
    for gone in old.modules.iter().filter(|m| new.module(&m.module).is_none()) {
        report.place = Place {
            module: Some(gone.module.to_string()),
            ..Place::default()
        };
        report.add("module", Verdict::Narrower, &described(gone), ABSENT);
    }
    report.changes
}

const ABSENT: &str = "–";

/// What is being compared.
#[derive(Debug, Clone, Default)]
struct Place {
    module: Option<String>,
    table: Option<String>,
    operation: Option<Operation>,
    column: Option<String>,
}

struct Report {
    place: Place,
    changes: Vec<Change>,
}

impl Report {
    fn add(&mut self, what: &'static str, verdict: Verdict, old: &str, new: &str) {
        let Place {
            module,
            table,
            operation,
            column,
        } = self.place.clone();
        self.changes.push(Change {
            module,
            table,
            operation,
            column,
            what,
            verdict,
            old: old.to_owned(),
            new: new.to_owned(),
        });
    }

    /// Adds what differs.
    fn compare(&mut self, what: &'static str, old: &Expr, new: &Expr, identities: &Identities) -> Verdict {
        let verdict = verdict(old, new, identities);
        if verdict != Verdict::Same {
            self.add(what, verdict, &old.source(), &new.source());
        }
        verdict
    }

    /// A yes or no, of which one lets more through.
    fn flag(&mut self, what: &'static str, old: bool, new: bool, wide: bool) {
        let word = |b: bool| if b { "yes" } else { "no" };
        if old != new {
            let verdict = if new == wide { Verdict::Wider } else { Verdict::Narrower };
            self.add(what, verdict, word(old), word(new));
        }
    }
}

/// A proof each way, or the lack of one.
fn verdict(old: &Expr, new: &Expr, identities: &Identities) -> Verdict {
    match (
        identities.implies(old, new) == Some(true),
        identities.implies(new, old) == Some(true),
    ) {
        (true, true) => Verdict::Same,
        (false, true) => Verdict::Narrower,
        (true, false) => Verdict::Wider,
        (false, false) => Verdict::Unknown,
    }
}

fn settings(old: &Config, new: &Config, report: &mut Report) {
    let (before, after) = (old.settings.enforce, new.settings.enforce);
    if before != after {
        // Two locks are more than either.
        let verdict = match (before, after) {
            (Enforce::Both, _) => Verdict::Wider,
            (_, Enforce::Both) => Verdict::Narrower,
            _ => Verdict::Unknown,
        };
        report.add("enforce", verdict, enforced(before), enforced(after));
    }
    let development = |c: &Config| c.settings.tokens.dev_issuer;
    report.flag("development issuer", development(old), development(new), true);
    if issuer(old) != issuer(new) {
        report.add("token issuer", Verdict::Unknown, &issuer(old), &issuer(new));
    }
}

fn enforced(by: Enforce) -> &'static str {
    match by {
        Enforce::Both => "by the proxy and by PostgreSQL",
        Enforce::Rewrite => "by the proxy alone",
        Enforce::Rls => "by PostgreSQL alone",
    }
}

/// Who may say who somebody is. Files beside the configuration are named as seen from there, so that a copy of it is the same.
fn issuer(config: &Config) -> String {
    let tokens = &config.settings.tokens;
    let beside = config.file.parent().unwrap_or(Path::new(""));
    let keys = tokens
        .public_keys
        .iter()
        .chain(&tokens.jwks_file)
        .map(|k| k.strip_prefix(beside).unwrap_or(k).display().to_string());
    let keys: Vec<String> = keys.collect();
    format!("{} for {}, keys {}", tokens.issuer, tokens.audience, keys.join(", "))
}

fn described(manifest: &Manifest) -> String {
    format!("{} logins, {} tables", manifest.logins.len(), manifest.tables.len())
}

fn module(old: &Manifest, new: &Manifest, report: &mut Report) {
    if old.schema != new.schema {
        report.add("schema", Verdict::Unknown, old.schema.as_str(), new.schema.as_str());
    }
    report.flag(
        "accepts bodies that only the second lock sees",
        old.accepts_second_lock_only_bodies,
        new.accepts_second_lock_only_bodies,
        true,
    );
    logins(&old.logins, &new.logins, report);
    let identities = Identities::every(new);
    let module = report.place.clone();
    for after in &new.tables {
        report.place = Place {
            table: Some(after.name.name.to_string()),
            ..module.clone()
        };
        match old.table(after.name.name.as_str()) {
            Some(before) => table(before, after, &identities, report),
            None => report.add("table", Verdict::Wider, ABSENT, &counted(after)),
        }
    }
    for gone in old.tables.iter().filter(|t| new.table(t.name.name.as_str()).is_none()) {
        report.place = Place {
            table: Some(gone.name.name.to_string()),
            ..module.clone()
        };
        // The table may still be there, and without a declaration no policy speaks of its rows.
        report.add("table", Verdict::Unknown, &counted(gone), ABSENT);
    }
    report.place = module;
}

fn counted(table: &Table) -> String {
    format!("{} columns, {} policies", table.columns.len(), table.policies.len())
}

fn logins(old: &[Login], new: &[Login], report: &mut Report) {
    let said = |l: &Login| {
        let kind = match l.kind {
            LoginKind::Runtime => "runtime",
            LoginKind::Migrator => "migrator",
            LoginKind::Service => "service",
        };
        format!("{} ({kind}{})", l.name, if l.ddl { ", DDL" } else { "" })
    };
    for after in new {
        match old.iter().find(|l| l.name == after.name) {
            None => report.add("login", Verdict::Wider, ABSENT, &said(after)),
            Some(before) if before.kind != after.kind => report.add("login", Verdict::Unknown, &said(before), &said(after)),
            Some(before) if before.ddl != after.ddl => {
                let verdict = if after.ddl { Verdict::Wider } else { Verdict::Narrower };
                report.add("login", verdict, &said(before), &said(after));
            }
            Some(_) => {}
        }
    }
    for gone in old.iter().filter(|l| !new.iter().any(|n| n.name == l.name)) {
        report.add("login", Verdict::Narrower, &said(gone), ABSENT);
    }
}

fn table(old: &Table, new: &Table, identities: &Identities, report: &mut Report) {
    let whole = report.place.clone();
    report.compare(
        "restrictions",
        &all(old.restrictions.iter().cloned()),
        &all(new.restrictions.iter().cloned()),
        identities,
    );
    let mut verdicts = Vec::new();
    for operation in Operation::ALL {
        report.place.operation = Some(operation);
        let verdict = report.compare(
            "rows",
            &old.reached(operation, None),
            &new.reached(operation, None),
            identities,
        );
        verdicts.push((operation, verdict));
        if operation == Operation::Update {
            report.compare("written rows", &old.check(operation), &new.check(operation), identities);
        }
    }
    report.place = whole.clone();
    columns::compare(old, new, &verdicts, identities, report);
    report.place = whole;
}

#[cfg(test)]
mod tests;
