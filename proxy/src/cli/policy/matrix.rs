//! `postern policy matrix`: finds the subjects, and lays the matrix out for people (the sheet has a line for everything).

use std::fmt::Write as _;
use std::io::Write;

use postern_config::Config;
use postern_config::expr::Claim;
use postern_config::policy::access::Subject;
use postern_config::policy::fold::Folded;
use postern_config::policy::matrix::{Line, matrix};
use serde_json::{Map, Value};

use super::{CliError, MatrixArgs, MatrixFormat, html, printable, sheet, write};
use crate::cli::{check, token};
use crate::identity::{mint, policy};

pub(super) fn run(args: &MatrixArgs, out: &mut impl Write) -> Result<(), CliError> {
    let config = check::validated(&args.config.config)?;
    let module = args.module.as_deref().map(|name| token::module(&config, name)).transpose()?;
    let subjects = subjects(&config, args)?;
    let mut lines = matrix(&config, &subjects);
    if let Some(module) = module {
        lines.retain(|line| line.module == module.module);
    }
    let names: Vec<&str> = subjects.iter().map(Subject::name).collect();
    let report = match args.format {
        MatrixFormat::Text => text(&names, &lines),
        MatrixFormat::Csv => sheet::csv(&names, &lines),
        MatrixFormat::Html => html::page(&names, &lines),
    };
    write(&report, out)
}

/// A guest, whoever was asked for, and the service login.
fn subjects(config: &Config, args: &MatrixArgs) -> Result<Vec<Subject>, CliError> {
    let all = &config.settings.tokens.claims;
    let mut subjects = vec![Subject::Guest];
    for name in &args.people {
        let path = config.settings.tokens.dev_people.as_ref().ok_or(CliError::Option {
            option: "tokens.dev_people",
            why: "--as looks the person's claims up there",
        })?;
        let claims = mint::person_claims(path, name, all)?;
        let claims = policy::known(&claims, all).map_err(|e| CliError::Claims {
            reason: format!("{name}: {e}"),
        })?;
        subjects.push(Subject::Person {
            name: name.clone(),
            claims,
        });
    }
    for text in &args.claims {
        subjects.push(claimed(text, all)?);
    }
    subjects.push(Subject::Service);
    Ok(subjects)
}

/// Somebody with the claims of a JSON object. A key that is no claim is refused: it would be a claim that is silently missing.
fn claimed(text: &str, all: &[Claim]) -> Result<Subject, CliError> {
    let refused = |reason: String| CliError::Claims { reason };
    let claims: Map<String, Value> = serde_json::from_str(text).map_err(|e| refused(e.to_string()))?;
    if let Some(unknown) = claims.keys().find(|k| !all.iter().any(|c| c.name() == *k)) {
        let known: Vec<&str> = all.iter().map(|c| c.name()).collect();
        return Err(refused(format!(
            "there is no claim `{unknown}`; there are {}",
            known.join(", ")
        )));
    }
    let known = policy::known(&claims, all).map_err(|e| refused(format!("{e}; `sub` must be there and `service` must not")))?;
    let name = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Subject::Person { name, claims: known })
}

/// Which rows each number in the matrix stands for.
#[derive(Default)]
pub(super) struct Notes {
    /// Predicates; the first has number 1.
    pub(super) rows: Vec<String>,
}

impl Notes {
    /// What stands in a cell: a word, and the number of a note where it needs one.
    pub(super) fn cell(&mut self, cell: Option<&Folded>) -> (&'static str, Option<usize>) {
        match cell {
            None => ("–", None),
            Some(Folded::All) => ("all", None),
            Some(Folded::None) => ("none", None),
            Some(Folded::Some(expr)) => {
                let rows = expr.source();
                let at = self.rows.iter().position(|r| *r == rows).unwrap_or_else(|| {
                    self.rows.push(rows);
                    self.rows.len() - 1
                });
                ("some", Some(at + 1))
            }
        }
    }
}

/// Lines of one table that say the same, as one.
pub(super) struct Row<'l> {
    first: &'l Line,
    columns: Vec<&'l str>,
}

impl<'l> Row<'l> {
    /// What is done to what.
    pub(super) fn label(&self) -> String {
        match self.columns.as_slice() {
            [] => self.first.step.to_string(),
            columns => format!("{} {}", self.first.step, columns.join(", ")),
        }
    }

    /// Whether it is about columns of a row that stands above it.
    pub(super) fn of_columns(&self) -> bool {
        !self.columns.is_empty()
    }

    /// What is special about the columns.
    pub(super) fn marks(&self) -> String {
        self.first
            .marks
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// What each subject gets.
    pub(super) fn cells(&self) -> &'l [Option<Folded>] {
        &self.first.cells
    }
}

/// The tables with their rows. Columns that say the same as each other stand together; those that say what their row says are left out.
pub(super) fn tables(lines: &[Line]) -> Vec<(String, Vec<Row<'_>>)> {
    let mut tables: Vec<(String, Vec<Row<'_>>)> = Vec::new();
    for of_table in lines.chunk_by(|a, b| a.module == b.module && a.table == b.table) {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for line in of_table {
            let Some(column) = &line.column else {
                rows.push(Row {
                    first: line,
                    columns: Vec::new(),
                });
                continue;
            };
            let whole = of_table.iter().find(|l| l.column.is_none() && l.step == line.step);
            if line.marks.is_empty() && whole.is_some_and(|w| w.cells == line.cells) {
                continue;
            }
            let same = |r: &&mut Row<'_>| {
                r.of_columns() && r.first.step == line.step && r.first.marks == line.marks && r.first.cells == line.cells
            };
            match rows.iter_mut().find(same) {
                Some(row) => row.columns.push(column.as_str()),
                None => rows.push(Row {
                    first: line,
                    columns: vec![column.as_str()],
                }),
            }
        }
        let title = of_table
            .first()
            .map(|l| format!("{}: {}", l.module, l.table))
            .unwrap_or_default();
        tables.push((title, rows));
    }
    tables
}

/// Tables for a terminal, footnotes below.
fn text(subjects: &[&str], lines: &[Line]) -> String {
    let mut notes = Notes::default();
    let mut text = String::new();
    for (title, rows) in tables(lines) {
        let mut grid = vec![
            [String::new()]
                .into_iter()
                .chain(subjects.iter().map(|s| printable(s)))
                .collect::<Vec<_>>(),
        ];
        for row in &rows {
            let indent = if row.of_columns() { "    " } else { "  " };
            let marks = row.marks();
            let marks = if marks.is_empty() { marks } else { format!(" ({marks})") };
            let mut cells = vec![printable(&format!("{indent}{}{marks}", row.label()))];
            for cell in row.cells() {
                let (word, note) = notes.cell(cell.as_ref());
                cells.push(note.map_or(word.to_owned(), |n| format!("{word} [{n}]")));
            }
            grid.push(cells);
        }
        let _ = writeln!(text, "{}", printable(&title));
        aligned(&grid, &mut text);
        text.push('\n');
    }
    if lines.is_empty() {
        text.push_str("no tables are declared\n");
    }
    for (number, rows) in notes.rows.iter().enumerate() {
        let _ = writeln!(text, "[{}] {}", number + 1, printable(rows));
    }
    text
}

fn aligned(grid: &[Vec<String>], text: &mut String) {
    let columns = grid.first().map_or(0, Vec::len);
    let width = |n: usize| grid.iter().map(|cells| cells[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for cells in grid {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_those_of_a_token_and_nothing_else() {
        let subject = claimed(r#"{"sub": "x", "org_admin_of": ["A"]}"#, &Claim::BUILT_IN).expect("these are claims");
        assert_eq!(subject.name(), "x");
        for (denied, why) in [
            (r#"{"sub": "x", "org_admin": ["A"]}"#, "no claim `org_admin`"),
            (r#"{"sub": "x", "service": "disco"}"#, "service"),
            (r#"{"org_admin_of": ["A"]}"#, "sub"),
            (r#"{"sub": "x", "verified": 1}"#, "not accepted"),
            (r#"["x"]"#, "map"),
        ] {
            let error = claimed(denied, &Claim::BUILT_IN).expect_err(denied);
            assert!(error.to_string().contains(why), "{denied}: {error}");
            assert_eq!(error.exit_code(), 65);
        }
    }

    #[test]
    fn lines_are_as_wide_as_their_widest_cell_in_characters() {
        let mut text = String::new();
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        aligned(&[row("", "guest"), row("é–", "all")], &mut text);
        assert_eq!(text, "    guest\né–  all\n");
    }
}
