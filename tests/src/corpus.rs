//! The differential corpus: SQL files whose statements must answer alike through the proxy and on an unencrypted copy.
//!
//! A statement ends with `;` at the end of a line. Comments steer:
//! - `-- login: disco` or `-- login: sys_account.service`: the login of what follows; `-- as: bob`: the person, where it is not the
//!   superadmin (a service is nobody);
//! - `-- group: NAME`: what follows runs on a fresh pair of connections, in one go, rolled back or cleaned up by itself;
//! - `-- bind: ["x", null]`: parameters in text, extended protocol only; `-- types: 25, 23` tells their types;
//! - `-- fails: 23505`: the copy must fail so (without it, it must succeed: two equal errors would prove nothing);
//! - `-- later: 0A000 WHAT`: the copy answers, the proxy refuses so, with a HINT: what this version does not do yet;
//! - `-- simple only: REASON`: not sent by the extended protocol.

use std::fs;
use std::path::{Path, PathBuf};

use crate::connection::{Connection, Failure};
use crate::message::{Column, Reply};

/// Statements that share connections.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// `module` or `module.kind`.
    pub login: String,
    /// The person whose token the session carries.
    pub who: Option<String>,
    /// File it is in.
    pub file: PathBuf,
    /// Statements in order.
    pub statements: Vec<Statement>,
}

/// One statement (or a batch, where written on one line).
#[derive(Debug)]
pub struct Statement {
    /// Text without its last semicolon.
    pub sql: String,
    /// Line it starts at.
    pub line: usize,
    /// Parameters in text.
    pub bind: Option<Vec<Option<String>>>,
    /// Types told for them.
    pub types: Vec<u32>,
    /// SQLSTATE with which the copy must refuse it.
    pub fails: Option<String>,
    /// SQLSTATE with which the proxy refuses for now what the copy answers.
    pub later: Option<String>,
    /// Simple protocol only.
    pub simple_only: bool,
}

/// Which way statements go to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Simple protocol, text.
    Simple,
    /// Extended protocol, binary results.
    Extended,
}

/// All groups of a directory, files in order of their names.
///
/// # Panics
/// On a directive that it does not know: a typing error must not turn a check off.
pub fn read(dir: &Path) -> Vec<Group> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "sql"))
        .collect();
    files.sort();
    files.iter().flat_map(|file| read_file(file)).collect()
}

fn read_file(file: &Path) -> Vec<Group> {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut groups: Vec<Group> = Vec::new();
    let (mut login, mut who) = (String::new(), None);
    let mut next = Pending::default();
    for (number, line) in text.lines().enumerate() {
        let here = format!("{}:{}", file.display(), number + 1);
        if next.sql.is_empty() {
            if let Some(comment) = line.strip_prefix("--") {
                let (word, rest) = comment
                    .split_once(':')
                    .map_or((comment.trim(), ""), |(w, r)| (w.trim(), r.trim()));
                match word {
                    "login" => {
                        rest.clone_into(&mut login);
                        who = (!rest.contains('.')).then(|| "root".to_owned());
                    }
                    "as" => who = Some(rest.to_owned()),
                    "group" => groups.push(Group {
                        name: rest.to_owned(),
                        login: login.clone(),
                        who: who.clone(),
                        file: file.to_owned(),
                        statements: Vec::new(),
                    }),
                    "bind" => next.bind = Some(serde_json::from_str(rest).unwrap_or_else(|e| panic!("{here}: {e}"))),
                    "types" => {
                        let ids = rest.split(',').map(|id| id.trim().parse());
                        next.types = ids.collect::<Result<_, _>>().unwrap_or_else(|e| panic!("{here}: {e}"));
                    }
                    "fails" => next.fails = Some(rest.to_owned()),
                    "later" => next.later = rest.split_whitespace().next().map(str::to_owned),
                    "simple only" => next.simple_only = true,
                    "" => {}
                    other => panic!("{here}: no such directive: {other}"),
                }
                continue;
            }
            if line.trim().is_empty() {
                continue;
            }
            next.line = number + 1;
        } else {
            next.sql.push('\n');
        }
        next.sql.push_str(line);
        if let Some(sql) = next.sql.trim_end().strip_suffix(';') {
            let sql = sql.to_owned();
            let done = std::mem::take(&mut next);
            let group = groups
                .last_mut()
                .unwrap_or_else(|| panic!("{here}: a statement before the first group"));
            group.statements.push(Statement {
                sql,
                line: done.line,
                bind: done.bind,
                types: done.types,
                fails: done.fails,
                later: done.later,
                simple_only: done.simple_only,
            });
        }
    }
    assert!(next.sql.is_empty(), "{}: the last statement does not end", file.display());
    groups
}

#[derive(Default)]
struct Pending {
    sql: String,
    line: usize,
    bind: Option<Vec<Option<String>>>,
    types: Vec<u32>,
    fails: Option<String>,
    later: Option<String>,
    simple_only: bool,
}

impl Statement {
    /// Whether it is sent that way.
    pub fn goes(&self, way: Way) -> bool {
        match way {
            Way::Simple => self.bind.is_none(),
            Way::Extended => !self.simple_only,
        }
    }

    /// Sends it; an answer for each statement of a batch.
    pub fn send(&self, connection: &mut Connection, way: Way) -> Result<Vec<Reply>, Failure> {
        match way {
            Way::Simple => connection.simple(&self.sql),
            Way::Extended => {
                let cells: Vec<Option<Vec<u8>>> = self
                    .bind
                    .iter()
                    .flatten()
                    .map(|cell| cell.as_ref().map(|text| text.clone().into_bytes()))
                    .collect();
                Ok(vec![connection.extended_with(&self.sql, &self.types, &cells, 0, 1)?])
            }
        }
    }

    /// Whether its rows come in an order that it asks for itself: `ORDER BY` outside all parentheses.
    pub fn ordered(&self) -> bool {
        let mut depth = 0_i32;
        let mut quoted = false;
        let mut outside = String::new();
        for c in self.sql.chars() {
            match c {
                '\'' => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth -= 1,
                c if !quoted && depth == 0 => outside.push(if c.is_whitespace() { ' ' } else { c.to_ascii_uppercase() }),
                _ => {}
            }
        }
        outside.contains(" ORDER BY ") || outside.starts_with("FETCH")
    }
}

/// What differs between the copy's answer and the proxy's.
pub fn difference(copy: &Reply, proxy: &Reply, ordered: bool) -> Option<String> {
    let states = (copy.sqlstate(), proxy.sqlstate());
    if states.0 != states.1 {
        let said = proxy.error.as_ref().map_or_else(|| "success".to_owned(), ToString::to_string);
        let wanted = copy.error.as_ref().map_or_else(|| "success".to_owned(), ToString::to_string);
        return Some(format!("expected {wanted}\n    got      {said}"));
    }
    if copy.error.is_some() {
        return None;
    }
    if copy.tag != proxy.tag {
        return Some(format!("expected tag {:?}, got {:?}", copy.tag, proxy.tag));
    }
    if copy.parameters != proxy.parameters {
        return Some(format!(
            "expected parameter types {:?}, got {:?}",
            copy.parameters, proxy.parameters
        ));
    }
    let shape = |columns: &Option<Vec<Column>>| {
        columns.as_ref().map(|all| {
            all.iter()
                .map(|c| (c.name.clone(), c.oid, c.size, c.modifier, c.format))
                .collect::<Vec<_>>()
        })
    };
    let (expected, got) = (shape(&copy.columns), shape(&proxy.columns));
    if expected != got {
        return Some(format!(
            "expected columns (name, type, size, modifier, format)\n    {expected:?}\n    got {got:?}"
        ));
    }
    let (mut expected, mut got) = (copy.rows.clone(), proxy.rows.clone());
    if !ordered {
        expected.sort();
        got.sort();
    }
    if expected == got {
        return None;
    }
    let at = expected
        .iter()
        .zip(&got)
        .position(|(e, g)| e != g)
        .unwrap_or(expected.len().min(got.len()));
    let show = |rows: &[Vec<Option<Vec<u8>>>]| rows.get(at).map_or_else(|| "nothing".to_owned(), |row| readable(row));
    Some(format!(
        "expected {} row(s), got {}; first difference at {at}:\n    expected {}\n    got      {}",
        expected.len(),
        got.len(),
        show(&expected),
        show(&got)
    ))
}

fn readable(row: &[Option<Vec<u8>>]) -> String {
    let cell = |c: &Option<Vec<u8>>| c.as_ref().map_or_else(|| "NULL".to_owned(), |b| b.escape_ascii().to_string());
    row.iter().map(cell).collect::<Vec<_>>().join(" | ")
}
