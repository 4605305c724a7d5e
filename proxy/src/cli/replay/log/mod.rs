//! What a log holds: statements with who sent them, lines about other things, and lines that are none.
//!
//! PostgreSQL's own forms (standard error with its prefix, CSV, JSON) and captured statements (a script, or one JSON value per line). A
//! reader keeps one record at a time, of at most [`LONGEST`] bytes; what is longer is malformed and is skipped.

mod csv;
mod json;
mod prefix;
mod script;
mod stderr;

use std::io::{self, BufRead, Read};

use clap::ValueEnum;

pub(super) use prefix::Prefix;

/// The longest record that is kept.
pub(super) const LONGEST: usize = 64 << 20;

/// What one record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// A statement that was run.
    Statement(Logged),
    /// Something else that servers say.
    Other,
    /// Nothing that could be read.
    Malformed,
}

/// A statement as it was logged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Logged {
    pub(super) user: Option<String>,
    pub(super) database: Option<String>,
    /// Captured statements may say it.
    pub(super) module: Option<String>,
    pub(super) sql: String,
}

/// The form of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Form {
    /// `log_destination = 'stderr'`: lines with --line-prefix.
    Stderr,
    /// `log_destination = 'csvlog'`.
    Csv,
    /// `log_destination = 'jsonlog'`, or captured statements: a JSON string or an object with `sql` on each line.
    Json,
    /// Statements one after the other, as psql reads them.
    Sql,
}

impl Form {
    /// By the file's name.
    pub(super) fn of(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("csv") => Self::Csv,
            Some("json" | "jsonl" | "ndjson") => Self::Json,
            Some("sql") => Self::Sql,
            _ => Self::Stderr,
        }
    }
}

/// Calls `each` for every record, in order, until it fails or the log ends.
pub(super) fn read<E: From<io::Error>>(
    form: Form,
    prefix: &Prefix,
    input: &mut impl BufRead,
    each: &mut impl FnMut(Entry) -> Result<(), E>,
) -> Result<(), E> {
    match form {
        Form::Stderr => stderr::read(prefix, input, each),
        Form::Csv => csv::read(input, each),
        Form::Json => json::read(input, each),
        Form::Sql => script::read(input, each),
    }
}

/// A line without its end.
enum Line {
    End,
    Whole,
    /// Longer than is kept; it was skipped.
    TooLong,
}

fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let most = LONGEST as u64;
    let n = input.by_ref().take(most).read_until(b'\n', line)? as u64;
    if n == 0 {
        return Ok(Line::End);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        return Ok(Line::Whole);
    }
    if n < most {
        return Ok(Line::Whole);
    }
    line.clear();
    loop {
        let ahead = input.fill_buf()?;
        let end = ahead.iter().position(|b| *b == b'\n');
        let (used, over) = (end.map_or(ahead.len(), |at| at + 1), end.is_some() || ahead.is_empty());
        input.consume(used);
        if over {
            return Ok(Line::TooLong);
        }
    }
}

/// The statement in a message of severity LOG, where there is one that ran. Parse and Bind are logged beside the Execute that follows them,
/// and a portal that goes on is the statement that was logged already.
fn statement(message: &str) -> Option<&str> {
    let mut rest = message;
    if let Some(timed) = rest.strip_prefix("duration: ") {
        rest = timed.split_once(" ms  ")?.1;
    }
    if let Some(sql) = rest.strip_prefix("statement: ") {
        return Some(sql);
    }
    let execute = rest.strip_prefix("execute ")?;
    if execute.starts_with("fetch from ") {
        return None;
    }
    execute.split_once(": ").map(|(_, sql)| sql)
}

/// An entry of a message.
fn entry(severity: &str, message: &str, user: Option<&str>, database: Option<&str>) -> Entry {
    match (severity == "LOG").then(|| statement(message)).flatten() {
        None => Entry::Other,
        Some(sql) => Entry::Statement(Logged {
            user: user.filter(|u| !u.is_empty()).map(str::to_owned),
            database: database.filter(|d| !d.is_empty()).map(str::to_owned),
            module: None,
            sql: sql.to_owned(),
        }),
    }
}

#[cfg(test)]
fn all(form: Form, prefix: &str, text: &[u8]) -> Vec<Entry> {
    let mut found = Vec::new();
    let prefix = Prefix::parse(prefix).expect("a prefix");
    let mut each = |entry| {
        found.push(entry);
        Ok::<_, io::Error>(())
    };
    // A small buffer, so that what lies across its end is read as well.
    read(form, &prefix, &mut io::BufReader::with_capacity(7, text), &mut each).expect("memory can be read");
    found
}

#[cfg(test)]
fn statements(entries: &[Entry]) -> Vec<&str> {
    entries
        .iter()
        .filter_map(|e| match e {
            Entry::Statement(logged) => Some(logged.sql.as_str()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_ran_are_found_once() {
        for (message, sql) in [
            ("statement: SELECT 1", Some("SELECT 1")),
            ("duration: 0.034 ms  statement: SELECT 1", Some("SELECT 1")),
            ("execute <unnamed>: SELECT $1", Some("SELECT $1")),
            ("execute S_1/C_2: SELECT ': '", Some("SELECT ': '")),
            ("duration: 1.2 ms  execute S_1: SELECT 1", Some("SELECT 1")),
            ("duration: 1.2 ms  parse S_1: SELECT 1", None),
            ("duration: 1.2 ms  bind S_1: SELECT 1", None),
            ("duration: 1.2 ms", None),
            ("execute fetch from S_1/C_2: SELECT 1", None),
            ("connection authorized: user=x statement: y", None),
        ] {
            assert_eq!(statement(message), sql, "{message}");
        }
    }

    #[test]
    fn forms_are_told_by_the_name() {
        assert_eq!(Form::of("postgresql-15-main.log"), Form::Stderr);
        assert_eq!(Form::of("a/b.csv"), Form::Csv);
        assert_eq!(Form::of("captured.jsonl"), Form::Json);
        assert_eq!(Form::of("-"), Form::Stderr);
    }
}
