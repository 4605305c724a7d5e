//! How the tour looks on a terminal.

use std::io::Write;

use postern_config::LoginKind;

use super::{Expect, Outcome, Step, Who};
use crate::demo::error::DemoError;
use crate::demo::visitor::Door;

const WIDEST_CELL: usize = 42;
const MOST_ROWS: usize = 8;

// The tour's output is for a person; where it cannot be written there is nobody to tell.

pub(super) fn chapter(out: &mut impl Write, title: &str) {
    let _ = writeln!(out, "\n━━━ {title} ━━━");
}

pub(super) fn heading(out: &mut impl Write, number: usize, step: &Step) {
    let _ = writeln!(out, "\n{number}. {}\n   {}", step.title, step.story);
}

pub(super) fn speaker(out: &mut impl Write, who: &Who, door: &Door<'_>) -> Result<(), DemoError> {
    let program = if matches!(who, Who::Psql(_)) { "psql: " } else { "" };
    let text = match who {
        Who::Dba => "the DBA, straight at PostgreSQL, superuser".to_owned(),
        Who::Thief(module) => {
            let login = door.login(module, LoginKind::Runtime)?;
            format!("a thief with {}'s PostgreSQL password, past the proxy", login.name)
        }
        Who::Visitor(v) | Who::Psql(v) => {
            let login = door.login(v.module, v.kind)?;
            match (v.person, v.kind) {
                (Some(person), _) => format!("{person}, through login {}", login.name),
                (None, LoginKind::Service) => format!("the module itself, login {}", login.name),
                (None, _) => format!("a guest, through login {}", login.name),
            }
        }
    };
    let _ = writeln!(out, "   ┌ {program}{text}");
    Ok(())
}

pub(super) fn statement(out: &mut impl Write, sql: &str) {
    let _ = writeln!(out, "   │ → {sql}");
}

pub(super) fn outcome(out: &mut impl Write, outcome: &Outcome, expected: &Expect) {
    match outcome {
        Outcome::Rows(columns, rows) => {
            for line in table(columns, rows) {
                let _ = writeln!(out, "   │   {line}");
            }
        }
        Outcome::Done(_) if matches!(expected, Expect::Runs) => {
            let _ = writeln!(out, "   │   done");
        }
        Outcome::Done(1) => {
            let _ = writeln!(out, "   │   done, 1 row touched");
        }
        Outcome::Printed(text) => {
            for line in text.lines() {
                let _ = writeln!(out, "   │   {line}");
            }
        }
        Outcome::Done(n) => {
            let _ = writeln!(out, "   │   done, {n} rows touched");
        }
        Outcome::Refused(state, message, hint) => {
            let _ = writeln!(out, "   │   refused {state}: {message}");
            if let Some(hint) = hint {
                let _ = writeln!(out, "   │   hint: {hint}");
            }
        }
        Outcome::Broken(why) => {
            let _ = writeln!(out, "   │   the connection broke: {why}");
        }
    }
}

pub(super) fn complaint(out: &mut impl Write, why: &str) {
    let _ = writeln!(out, "   │   ✗ {why}");
}

pub(super) fn verdict(out: &mut impl Write, passed: bool) {
    let _ = writeln!(out, "   └ {}", if passed { "PASS" } else { "FAIL" });
}

fn table(columns: &[String], rows: &[Vec<Option<String>>]) -> Vec<String> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .take(MOST_ROWS)
        .map(|r| r.iter().map(|v| cut(v.as_deref().unwrap_or("∅"))).collect())
        .collect();
    let width = |at: usize| {
        let widest = cells.iter().map(|r| r[at].chars().count()).max().unwrap_or(0);
        widest.max(columns[at].chars().count())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |values: &[String]| {
        let padded: Vec<String> = values
            .iter()
            .zip(&widths)
            .map(|(v, w)| format!("{v}{}", " ".repeat(w - v.chars().count())))
            .collect();
        padded.join(" │ ").trim_end().to_owned()
    };
    let mut lines = vec![line(columns)];
    lines.push(widths.iter().map(|w| "─".repeat(*w)).collect::<Vec<_>>().join("─┼─"));
    lines.extend(cells.iter().map(|r| line(r)));
    lines.push(match rows.len() {
        0 => "(no rows)".to_owned(),
        1 => "(1 row)".to_owned(),
        n if n > MOST_ROWS => format!("(… {n} rows)"),
        n => format!("({n} rows)"),
    });
    lines
}

fn cut(text: &str) -> String {
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if flat.chars().count() <= WIDEST_CELL {
        return flat;
    }
    let mut short: String = flat.chars().take(WIDEST_CELL - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_cut() {
        let columns = ["id".to_owned(), "value".to_owned()];
        let rows = [
            vec![Some("bob".to_owned()), None],
            vec![Some("a".to_owned()), Some("x".repeat(100))],
        ];
        let lines = table(&columns, &rows);
        assert_eq!(lines[2], "bob │ ∅");
        assert!(lines[3].ends_with('…'));
        assert_eq!(lines[4], "(2 rows)");
    }
}
