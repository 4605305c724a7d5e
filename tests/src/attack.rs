//! Attacks as data: what is tried, as whom, and what must come of it; beside each, the allowed twin.
//!
//! `attacks/*.toml` hold them. A file's attacks all run, and all that went wrong is reported at once. The words of such a file are the
//! fields below.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use crate::connection::{Connection, Failure};
use crate::message::{ErrorFields, Reply};
use crate::stand::Stand;

/// The files of `attacks/` about the modules of the reference domain; `policies.toml`, `exchange.toml` and `lookups.toml` have modules of their own.
pub const FILES: [&str; 5] = [
    "isolation.toml",
    "filters_reading.toml",
    "filters_writing.toml",
    "masks.toml",
    "ddl.toml",
];

/// How NULL is written in expected rows.
const NULL: &str = "NULL";

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Values looked up before the attacks start; `{name}` in a text stands for one.
    #[serde(default)]
    pub values: BTreeMap<String, Lookup>,
    /// The attacks.
    pub attack: Vec<Attack>,
}

/// A scalar that the data set holds.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Lookup {
    /// Asked as the DBA.
    Direct(String),
    /// Asked through the proxy.
    Through {
        /// Login.
        login: String,
        /// Person.
        #[serde(rename = "as")]
        who: Option<String>,
        /// Query.
        sql: String,
    },
}

/// One attack and its twin.
#[derive(Debug, Deserialize)]
pub struct Attack {
    /// A name that failures carry; its number is the line of the list of attacks.
    pub id: String,
    /// The attempt.
    #[serde(flatten)]
    pub attempt: Attempt,
    /// A query of the DBA whose answer must be the same before and after.
    pub unchanged: Option<String>,
    /// What looks much the same and is allowed.
    pub allowed: Attempt,
    /// For each spelling of the attack one of its own that is allowed.
    pub twins: Option<Twins>,
}

/// What is allowed in the place of each spelling: the same for somebody who may, or another of the same shape. Each is tried in a transaction
/// that is not committed, and must be answered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Twins {
    /// Who may, where it is another login than the attack's.
    pub login: Option<String>,
    /// The person, where it is not the attack's; `""` is a guest.
    #[serde(rename = "as")]
    pub who: Option<String>,
    /// Statements that must succeed first.
    #[serde(default)]
    pub setup: Vec<String>,
    /// One for each spelling, in the same order; without it each spelling itself.
    pub sql: Option<Vec<String>>,
    /// At least this many rows come or are written.
    #[serde(default)]
    pub at_least: u64,
}

/// How much there is in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Attacks, each with an allowed twin.
    pub attacks: usize,
    /// All their spellings.
    pub spellings: usize,
    /// Spellings that have a twin of their own.
    pub paired: usize,
}

/// Statements and what must come of the last.
#[derive(Debug, Deserialize)]
pub struct Attempt {
    /// `evilmod`, `disco.service`, `lab`, … A twin that names no login has the attack's, and its person too unless it names one.
    pub login: Option<String>,
    /// The person whose token the session carries; `""` is a guest.
    #[serde(rename = "as")]
    pub who: Option<String>,
    /// Statements that must succeed first.
    #[serde(default)]
    pub setup: Vec<String>,
    /// What is tried.
    pub sql: OneOrMore,
    /// `simple` or `extended` where it is not both.
    pub only: Option<String>,
    /// The setup leaves something on the server connection, which transaction mode refuses.
    #[serde(default)]
    pub session_mode: bool,
    /// What must come of it.
    pub expect: Expect,
}

/// One statement, or several spellings of the same attempt.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One.
    One(String),
    /// Several, each tried on a connection of its own.
    More(Vec<String>),
}

impl OneOrMore {
    /// All of them.
    pub fn each(&self) -> &[String] {
        match self {
            OneOrMore::One(sql) => std::slice::from_ref(sql),
            OneOrMore::More(all) => all,
        }
    }
}

/// What must come of an attempt; everything that is written must hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Refused with one of these SQLSTATEs.
    pub sqlstate: Option<OneOrMore>,
    /// Refused with the same bytes as when these words are replaced by names that exist nowhere; with 42P01, unless `sqlstate` says
    /// otherwise.
    pub missing: Option<Vec<String>>,
    /// Exactly these rows, in text.
    pub rows: Option<Vec<Vec<String>>>,
    /// The rows that the DBA gets for this query.
    pub dba: Option<String>,
    /// At least this many rows.
    pub at_least: Option<usize>,
    /// This command tag.
    pub tag: Option<String>,
    /// Texts that must occur nowhere in what the server sent.
    pub absent: Vec<String>,
    /// A text that the HINT must hold.
    pub hint: Option<String>,
    /// Success and refusal are both right: what matters is what was not let out.
    pub any: bool,
    /// Neither DETAIL nor CONTEXT, and no names of a column's value.
    pub no_detail: bool,
}

impl std::ops::AddAssign for Counted {
    fn add_assign(&mut self, other: Self) {
        self.attacks += other.attacks;
        self.spellings += other.spellings;
        self.paired += other.paired;
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} attacks in {} spellings; {} spellings have an allowed twin of their own, the others share their attack's",
            self.attacks, self.spellings, self.paired
        )
    }
}

impl Family {
    /// Reads a file of `attacks/`.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let family: Family = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let table: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        check_words(&table, file);
        for attack in &family.attack {
            // Without `allowed` the file does not even load.
            if let Some(all) = attack.twins.as_ref().and_then(|t| t.sql.as_ref()) {
                assert_eq!(
                    all.len(),
                    attack.attempt.sql.each().len(),
                    "{}: {} has not as many twins as spellings",
                    file.display(),
                    attack.id
                );
            }
            assert!(
                attack.attempt.login.is_some(),
                "{}: {} has no login",
                file.display(),
                attack.id
            );
        }
        family
    }

    /// How much it holds.
    pub fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        for attack in &self.attack {
            let spellings = attack.attempt.sql.each().len();
            counted.attacks += 1;
            counted.spellings += spellings;
            counted.paired += match (&attack.twins, spellings) {
                (Some(_), all) => all,
                // The one twin is this one's.
                (None, 1) => 1,
                (None, _) => 0,
            };
        }
        counted
    }

    /// Runs everything; what went wrong, one text each.
    pub fn run(&self, stand: &Stand) -> Vec<String> {
        self.run_on(stand, None, None)
    }

    /// The same through the proxy on that port.
    pub fn run_through(&self, stand: &Stand, port: u16) -> Vec<String> {
        self.run_on(stand, Some(port), None)
    }

    /// The same through a proxy in transaction mode.
    pub fn run_pooled(&self, stand: &Stand, pooled: &Pooled) -> Vec<String> {
        self.run_on(stand, Some(pooled.port), Some(pooled))
    }

    fn run_on(&self, stand: &Stand, port: Option<u16>, pooled: Option<&Pooled>) -> Vec<String> {
        let values: BTreeMap<&str, String> = self.values.iter().map(|(k, v)| (k.as_str(), look_up(stand, k, v))).collect();
        let stage = Stage {
            stand,
            port,
            pooled,
            values,
        };
        let mut failures = Vec::new();
        for attack in &self.attack {
            let login = attack.attempt.login.as_deref().unwrap_or_default();
            let before = attack.unchanged.as_ref().map(|sql| stage.as_dba(sql));
            let who = attack.attempt.who.as_deref();
            stage.attempt(&attack.id, login, who, &attack.attempt, &mut failures);
            if let (Some(sql), Some(before)) = (&attack.unchanged, before)
                && stage.as_dba(sql) != before
            {
                failures.push(format!("{}: the database changed: {sql}", attack.id));
            }
            let twin = &attack.allowed;
            let id = format!("{} (allowed twin)", attack.id);
            let inherited = if twin.login.is_none() { who } else { None };
            let whose = twin.who.as_deref().or(inherited);
            stage.attempt(&id, twin.login.as_deref().unwrap_or(login), whose, twin, &mut failures);
            stage.twins(attack, &mut failures);
        }
        failures
    }
}

/// A misspelt word would silently turn a check off (serde cannot refuse unknown fields beside flattened ones).
fn check_words(table: &toml::Table, file: &Path) {
    const ATTEMPT: [&str; 7] = ["login", "as", "setup", "sql", "only", "session_mode", "expect"];
    const ATTACK: [&str; 4] = ["id", "unchanged", "allowed", "twins"];
    let attacks = table.get("attack").and_then(toml::Value::as_array);
    for attack in attacks.into_iter().flatten().filter_map(toml::Value::as_table) {
        let twin = attack.get("allowed").and_then(toml::Value::as_table);
        let unknown_here = attack
            .keys()
            .find(|w| !ATTEMPT.contains(&w.as_str()) && !ATTACK.contains(&w.as_str()));
        let unknown = unknown_here.or_else(|| twin.and_then(|t| t.keys().find(|w| !ATTEMPT.contains(&w.as_str()))));
        if let Some(word) = unknown {
            panic!("{}: {:?}: no such word: {word}", file.display(), attack.get("id"));
        }
    }
}

type Rows = Vec<Vec<Option<String>>>;

/// A proxy in transaction mode, and how much is tried there.
pub struct Pooled {
    port: u16,
    /// One in so many, chosen by this.
    sample: Option<(u32, RefCell<ChaCha8Rng>)>,
}

impl Pooled {
    /// Everything.
    pub fn whole(port: u16) -> Self {
        Self { port, sample: None }
    }

    /// One statement in so many.
    pub fn one_in(many: u32, seed: u64, port: u16) -> Self {
        let random = RefCell::new(ChaCha8Rng::seed_from_u64(seed));
        Self {
            port,
            sample: Some((many, random)),
        }
    }

    fn chooses(&self) -> bool {
        let chosen = |(many, random): &(u32, RefCell<ChaCha8Rng>)| random.borrow_mut().random_ratio(1, *many);
        self.sample.as_ref().is_none_or(chosen)
    }
}

struct Stage<'s> {
    stand: &'s Stand,
    port: Option<u16>,
    pooled: Option<&'s Pooled>,
    values: BTreeMap<&'s str, String>,
}

impl Stage<'_> {
    fn filled(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        })
    }

    fn as_dba(&self, sql: &str) -> Rows {
        let sql = self.filled(sql);
        self.stand.dba_connection().run(&sql).good(&sql).texts()
    }

    fn attempt(&self, id: &str, login: &str, who: Option<&str>, attempt: &Attempt, failures: &mut Vec<String>) {
        let session = Session {
            login,
            who: who.filter(|w| !w.is_empty()),
        };
        for sql in attempt.sql.each() {
            let sql = self.filled(sql);
            for extended in protocols(attempt) {
                if self.pooled.is_some_and(|p| !p.chooses()) {
                    continue;
                }
                let shown = format!("{id}, {}: {sql}", protocol(*extended));
                let outcome = match self.once(session, attempt, &sql, *extended) {
                    Err(problem) if self.pooled.is_some() && attempt.session_mode && refused_by_mode(&problem) => continue,
                    Ok(_) if self.pooled.is_some() && attempt.session_mode => {
                        failures.push(format!("{shown}\n    transaction mode kept what it cannot keep"));
                        continue;
                    }
                    Ok(outcome) => outcome,
                    Err(problem) => {
                        failures.push(format!("{shown}\n    {problem}"));
                        continue;
                    }
                };
                let mut problems = self.judge(&attempt.expect, &outcome);
                if let Some(words) = &attempt.expect.missing {
                    problems.extend(self.differs_from_missing(session, attempt, &sql, *extended, words, &outcome));
                }
                failures.extend(problems.into_iter().map(|p| format!("{shown}\n    {p}")));
            }
        }
    }

    /// Tries what is allowed in the place of each spelling.
    fn twins(&self, attack: &Attack, failures: &mut Vec<String>) {
        let Some(twins) = &attack.twins else { return };
        let login = twins.login.as_deref().or(attack.attempt.login.as_deref()).unwrap_or_default();
        let inherited = if twins.login.is_none() {
            attack.attempt.who.as_deref()
        } else {
            None
        };
        let session = Session {
            login,
            who: twins.who.as_deref().or(inherited).filter(|w| !w.is_empty()),
        };
        let begin = "BEGIN".to_owned();
        let setup: Vec<String> = [begin].into_iter().chain(twins.setup.iter().cloned()).collect();
        let same = attack.attempt.sql.each();
        for sql in twins.sql.as_deref().unwrap_or(same) {
            let sql = self.filled(sql);
            for extended in protocols(&attack.attempt) {
                if self.pooled.is_some_and(|p| !p.chooses()) {
                    continue;
                }
                let shown = format!("{} (its own twin), {}: {sql}", attack.id, protocol(*extended));
                match self.session(session, &setup, &sql, *extended) {
                    Err(problem) => failures.push(format!("{shown}\n    {problem}")),
                    Ok(outcome) => {
                        let reply = outcome.reply;
                        let written = reply.tag.as_ref().and_then(|t| t.rsplit(' ').next()?.parse().ok());
                        let came = written.unwrap_or(0u64).max(reply.rows.len() as u64);
                        match &reply.error {
                            Some(e) => failures.push(format!("{shown}\n    failed: {e}")),
                            None if came < twins.at_least => {
                                failures.push(format!("{shown}\n    expected at least {} rows, got {came}", twins.at_least));
                            }
                            None => {}
                        }
                    }
                }
            }
        }
    }

    /// Runs setup and statement on a connection of its own and sees that it is still usable.
    fn once(&self, session: Session<'_>, attempt: &Attempt, sql: &str, extended: bool) -> Result<Outcome, String> {
        self.session(session, &attempt.setup, sql, extended)
    }

    fn session(&self, session: Session<'_>, setup: &[String], sql: &str, extended: bool) -> Result<Outcome, String> {
        let target = match self.port {
            Some(port) => self.stand.through(port, session.login, session.who),
            None => self.stand.login_as(session.login, session.who),
        };
        let mut connection = Connection::open(&target).map_err(|e| format!("cannot connect: {e}"))?;
        for step in setup {
            let step = self.filled(step);
            let replies = connection.simple(&step).map_err(|e| format!("setup `{step}`: {e}"))?;
            if let Some(e) = replies.iter().find_map(|r| r.error.as_ref()) {
                return Err(format!("setup `{step}` failed: {e}"));
            }
        }
        connection.forget_seen();
        let answer = if extended {
            connection.extended(sql, &[], 0)
        } else {
            // The first error of a batch counts; without one, its last answer.
            connection.simple(sql).map(|replies| {
                let failed = replies.iter().position(|r| r.error.is_some());
                failed.map_or_else(|| replies.last().cloned().unwrap_or_default(), |i| replies[i].clone())
            })
        };
        let reply = match answer {
            Ok(reply) => reply,
            Err(Failure::Server(e)) => return Err(format!("a failure outside a query: {e}")),
            Err(Failure::Io(e)) => return Err(format!("the connection ended: {e}")),
        };
        let seen = std::mem::take(&mut connection.seen);
        if connection.status == 'E' {
            connection
                .simple("ROLLBACK")
                .map_err(|e| format!("no ROLLBACK afterwards: {e}"))?;
        }
        let after = connection
            .simple("SELECT 1")
            .map_err(|e| format!("unusable afterwards: {e}"))?;
        if after.len() != 1 || after[0].scalar().as_deref() != Some("1") {
            return Err(format!("out of step afterwards: SELECT 1 gave {after:?}"));
        }
        Ok(Outcome { reply, seen })
    }

    fn judge(&self, expect: &Expect, outcome: &Outcome) -> Vec<String> {
        let mut problems = Vec::new();
        let reply = &outcome.reply;
        let refusal = expect.sqlstate.is_some() || expect.missing.is_some();
        match (&reply.error, refusal) {
            (None, true) => problems.push(format!("was answered: {:?} {:?}", reply.tag, first_rows(reply))),
            (Some(_), false) if expect.any => {}
            (Some(e), false) => problems.push(format!("failed: {e}")),
            (Some(e), true) => {
                let missing = ["42P01".to_owned()];
                let states = expect.sqlstate.as_ref().map_or(&missing[..], OneOrMore::each);
                if !states.iter().any(|s| s == e.sqlstate()) {
                    problems.push(format!("expected {states:?}, got {e}"));
                }
                if e.message().is_empty() || e.sqlstate().len() != 5 {
                    problems.push(format!("an error without message or SQLSTATE: {e:?}"));
                }
            }
            (None, false) => {}
        }
        if let (Some(hint), Some(e)) = (&expect.hint, &reply.error)
            && !e.hint().contains(hint.as_str())
        {
            problems.push(format!("the hint does not say `{hint}`: {e}"));
        }
        if let (true, Some(e)) = (expect.no_detail, &reply.error)
            && (e.field('D').is_some() || e.field('W').is_some())
        {
            problems.push(format!("DETAIL or CONTEXT was let through: {e:?}"));
        }
        if reply.error.is_none() {
            problems.extend(self.judge_rows(expect, reply));
        }
        for text in &expect.absent {
            let text = self.filled(text);
            if outcome.seen.windows(text.len()).any(|part| part == text.as_bytes()) {
                problems.push(format!("`{text}` was let out"));
            }
        }
        problems
    }

    fn judge_rows(&self, expect: &Expect, reply: &Reply) -> Vec<String> {
        let mut problems = Vec::new();
        let mut same = |wanted: Rows| {
            let (mut wanted, mut got) = (wanted, reply.texts());
            wanted.sort();
            got.sort();
            if wanted != got {
                problems.push(format!(
                    "expected {} row(s) {}, got {}",
                    wanted.len(),
                    shown(&wanted),
                    shown(&got)
                ));
            }
        };
        if let Some(rows) = &expect.rows {
            let cell = |c: &String| (c != NULL).then(|| self.filled(c));
            same(rows.iter().map(|row| row.iter().map(cell).collect()).collect());
        }
        if let Some(sql) = &expect.dba {
            same(self.as_dba(sql));
        }
        if let Some(least) = expect.at_least
            && reply.rows.len() < least
        {
            problems.push(format!("expected at least {least} rows, got {}", reply.rows.len()));
        }
        if let Some(tag) = &expect.tag
            && reply.tag.as_ref() != Some(&self.filled(tag))
        {
            problems.push(format!("expected tag `{tag}`, got {:?}", reply.tag));
        }
        problems
    }

    /// The same attempt on names that exist nowhere must fail with the same bytes, the names apart.
    fn differs_from_missing(
        &self,
        session: Session<'_>,
        attempt: &Attempt,
        sql: &str,
        extended: bool,
        words: &[String],
        outcome: &Outcome,
    ) -> Option<String> {
        let twin = words
            .iter()
            .fold(sql.to_owned(), |sql, word| replace_word(&sql, word, &nonexistent(word)));
        assert_ne!(twin, sql, "none of {words:?} occurs in {sql}");
        let missing = match self.once(session, attempt, &twin, extended) {
            Ok(missing) => missing,
            Err(problem) => return Some(format!("the twin on missing names: {problem}")),
        };
        let blank = |e: &Option<ErrorFields>| {
            e.as_ref().map(|e| {
                let blanked = |text: &String| {
                    words.iter().fold(text.clone(), |text, w| {
                        replace_word(&replace_word(&text, w, "§"), &nonexistent(w), "§")
                    })
                };
                e.0.iter().map(|(code, text)| (*code, blanked(text))).collect::<Vec<_>>()
            })
        };
        let (real, none) = (blank(&outcome.reply.error), blank(&missing.reply.error));
        (real != none).then(|| format!("tells itself from a missing relation:\n    {real:?}\n    {none:?}"))
    }
}

fn protocols(attempt: &Attempt) -> &'static [bool] {
    match attempt.only.as_deref() {
        Some("simple") => &[false],
        Some("extended") => &[true],
        _ => &[false, true],
    }
}

fn protocol(extended: bool) -> &'static str {
    if extended { "extended" } else { "simple" }
}

/// Whether transaction mode said what to do instead.
fn refused_by_mode(problem: &str) -> bool {
    problem.starts_with("setup") && problem.contains("0A000") && problem.contains("pool_mode = \"session\"")
}

/// Who tries.
#[derive(Clone, Copy)]
struct Session<'s> {
    login: &'s str,
    who: Option<&'s str>,
}

struct Outcome {
    reply: Reply,
    seen: Vec<u8>,
}

fn look_up(stand: &Stand, name: &str, lookup: &Lookup) -> String {
    let (mut connection, sql) = match lookup {
        Lookup::Direct(sql) => (stand.dba_connection(), sql),
        Lookup::Through { login, who, sql } => (stand.connect(login, who.as_deref()), sql),
    };
    let reply = connection.run(sql).good(sql);
    reply
        .scalar()
        .unwrap_or_else(|| panic!("the data set has no {name}: {sql} gave nothing"))
}

/// A name of the same length that nobody uses, so that positions in the text stay.
fn nonexistent(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().unwrap_or('z');
    let z = if first.is_uppercase() { 'Z' } else { 'z' };
    z.to_string() + letters.as_str()
}

/// Replaces whole identifiers, whatever their case.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| part(c) != part(first)).unwrap_or(rest.len());
        let (token, tail) = rest.split_at(end);
        out.push_str(if token.eq_ignore_ascii_case(word) { by } else { token });
        rest = tail;
    }
    out
}

fn first_rows(reply: &Reply) -> String {
    shown(&reply.texts())
}

fn shown(rows: &Rows) -> String {
    let few: Vec<_> = rows.iter().take(4).collect();
    format!("{few:?}{}", if rows.len() > 4 { " …" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_are_replaced() {
        assert_eq!(
            replace_word("sys_account.accounts, Accounts x", "accounts", "z"),
            "sys_account.z, z x"
        );
        assert_eq!(nonexistent("Accounts"), "Zccounts");
    }
}
