//! `[pool]` and `[quotas]`: how many server connections there are, who waits for them, and what one module may take.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::Problem;
use super::document::{At, Notes, Section};
use super::settings::{choice, seconds};
use crate::manifest::Manifest;
use crate::names::{LoginName, ModuleName};
use crate::settings::{PoolMode, PoolSettings, Quota};

/// What was written, with the lines on which logins and modules are named: whether there are such is known once the manifests are read.
#[derive(Default)]
pub(super) struct Named {
    pub(super) logins: Vec<At<LoginName>>,
    pub(super) quotas: Vec<At<ModuleName>>,
}

const DAY: u64 = 86_400;
const MAX_CONNECTIONS: u64 = 10_000;

pub(super) fn default_pool() -> PoolSettings {
    PoolSettings {
        mode: PoolMode::Session,
        prepare_simple: true,
        size: 64,
        min_idle: 0,
        queue: 1000,
        queue_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(300),
        lifetime: Duration::from_secs(3600),
    }
}

pub(super) fn pool(
    section: &mut Section<'_, '_>,
    named: &mut Named,
    notes: &mut Notes,
) -> (PoolSettings, BTreeMap<LoginName, PoolSettings>) {
    let mut all = overridable(section, default_pool(), notes);
    all.queue = size(section, "queue", 0..=100_000, all.queue, notes);
    all.queue_timeout = seconds(section, "queue_timeout_seconds", 1..=600, 10, notes);
    all.idle_timeout = seconds(section, "idle_timeout_seconds", 1..=DAY, 300, notes);
    all.lifetime = seconds(section, "lifetime_seconds", 1..=30 * DAY, 3600, notes);
    let mut logins = BTreeMap::new();
    let below = section.section("logins", notes).map(|s| s.named("pool.logins", notes));
    for (name, mut section) in below.unwrap_or_default() {
        let own = overridable(&mut section, all, notes);
        section.finish(notes);
        match LoginName::new(&name.value) {
            Ok(login) => {
                named.logins.push(At {
                    value: login.clone(),
                    line: name.line,
                });
                logins.insert(login, own);
            }
            Err(e) => notes.add(name.line, format!("[pool.logins]: {e}; write the name of a manifest's login")),
        }
    }
    (all, logins)
}

/// What a login may have of its own.
fn overridable(section: &mut Section<'_, '_>, base: PoolSettings, notes: &mut Notes) -> PoolSettings {
    let modes = [PoolMode::Session, PoolMode::Transaction].map(|m| (m.as_str(), m));
    let line = section.line_of_key("min_idle", notes).unwrap_or(section.line());
    let pool = PoolSettings {
        mode: choice(section, "pool_mode", modes, base.mode, notes),
        prepare_simple: section
            .flag("prepare_simple", notes)
            .map_or(base.prepare_simple, |at| at.value),
        size: size(section, "size", 1..=MAX_CONNECTIONS, base.size, notes),
        min_idle: size(section, "min_idle", 0..=MAX_CONNECTIONS, base.min_idle, notes),
        ..base
    };
    if pool.min_idle > pool.size {
        notes.add(
            line,
            format!(
                "`min_idle` ({}) is above `size` ({}), so that many can never be open; lower the one or raise the other",
                pool.min_idle, pool.size
            ),
        );
    }
    pool
}

fn size(
    section: &mut Section<'_, '_>,
    key: &'static str,
    range: std::ops::RangeInclusive<u64>,
    default: usize,
    notes: &mut Notes,
) -> usize {
    let number = section.number(key, range, notes).and_then(|n| usize::try_from(n).ok());
    number.unwrap_or(default)
}

pub(super) fn quotas(section: Section<'_, '_>, named: &mut Named, notes: &mut Notes) -> BTreeMap<ModuleName, Quota> {
    let mut quotas = BTreeMap::new();
    for (name, mut section) in section.named("quotas", notes) {
        let mut count = |key, range| section.number(key, range, notes);
        let (clients, connections) = (count("clients", 1..=100_000), count("connections", 1..=MAX_CONNECTIONS));
        let (queue, statement) = (count("queue", 0..=100_000), count("statement_seconds", 1..=DAY));
        let result_bytes = count("result_bytes", 1024..=1 << 50);
        section.finish(notes);
        let usize_of = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok());
        let quota = Quota {
            clients: usize_of(clients),
            connections: usize_of(connections),
            queue: usize_of(queue),
            statement_time: statement.map(Duration::from_secs),
            result_bytes,
        };
        match ModuleName::new(&name.value) {
            Ok(module) => {
                named.quotas.push(At {
                    value: module.clone(),
                    line: name.line,
                });
                quotas.insert(module, quota);
            }
            Err(e) => notes.add(name.line, format!("[quotas]: {e}; write the name of a module")),
        }
    }
    quotas
}

impl Named {
    /// Every login and module that is named must be one. Asked only where all manifests could be read.
    pub(super) fn check(&self, file: &Path, modules: &[&Manifest], problems: &mut Vec<Problem>) {
        let mut note = |line, message| {
            problems.push(Problem {
                file: file.to_owned(),
                line,
                message,
            });
        };
        for At { value, line } in &self.logins {
            if !modules.iter().any(|m| m.logins.iter().any(|l| l.name == *value)) {
                let known = modules.iter().flat_map(|m| &m.logins).map(|l| l.name.as_str());
                note(
                    *line,
                    format!("no manifest has a login `{value}`; {}", remedy(value.as_str(), known)),
                );
            }
        }
        for At { value, line } in &self.quotas {
            if !modules.iter().any(|m| m.module == *value) {
                let known = modules.iter().map(|m| m.module.as_str());
                note(
                    *line,
                    format!("there is no module `{value}`; {}", remedy(value.as_str(), known)),
                );
            }
        }
    }
}

fn remedy<'n>(typed: &str, known: impl Iterator<Item = &'n str>) -> String {
    match super::nearest(typed, known) {
        Some(close) => format!("did you mean `{close}`?"),
        None => "correct the name, or remove the section".to_owned(),
    }
}
