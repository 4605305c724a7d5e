//! What came of a statement, and what should have.

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::demo::error::database;

/// What came of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A result: column names and values in text form (`None` is NULL).
    Rows(Vec<String>, Vec<Vec<Option<String>>>),
    /// A command that gives no rows, with the number of rows it touched.
    Done(u64),
    /// A refusal: SQLSTATE, message, hint.
    Refused(String, String, Option<String>),
    /// What a program printed.
    Printed(String),
    /// The connection or the program broke.
    Broken(String),
}

impl Outcome {
    /// Runs one statement by the simple protocol.
    pub async fn of(client: &Client, sql: &str) -> Self {
        let messages = match client.simple_query(sql).await {
            Ok(messages) => messages,
            Err(e) => {
                return match e.as_db_error() {
                    Some(d) => Self::Refused(
                        d.code().code().to_owned(),
                        d.message().to_owned(),
                        d.hint().map(str::to_owned),
                    ),
                    None => Self::Broken(database(&e)),
                };
            }
        };
        let mut columns = None;
        let mut rows = Vec::new();
        let mut touched = 0;
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(described) => {
                    columns = Some(described.iter().map(|c| c.name().to_owned()).collect());
                }
                SimpleQueryMessage::Row(row) => rows.push((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
                SimpleQueryMessage::CommandComplete(n) => touched = n,
                _ => {}
            }
        }
        match columns {
            Some(columns) => Self::Rows(columns, rows),
            None => Self::Done(touched),
        }
    }
}

/// What must come of a statement.
#[derive(Debug, Clone, Copy)]
pub enum Expect {
    /// It runs.
    Runs,
    /// Exactly these values in the first column, in order.
    First(&'static [&'static str]),
    /// Exactly these rows; `"∅"` is NULL.
    Table(&'static [&'static [&'static str]]),
    /// At least this many rows.
    AtLeast(usize),
    /// One row, whose first value is a number of at least this.
    CountAtLeast(u64),
    /// This many rows, and in each these columns (by name) hold bytes: an envelope, nothing a person could read.
    Sealed(usize, &'static [&'static str]),
    /// No row.
    Nothing,
    /// A command that touched exactly this many rows.
    Touched(u64),
    /// A program that printed this (and not that).
    Shows(&'static str, Option<&'static str>),
    /// A refusal with one of these SQLSTATEs.
    Refused(&'static [&'static str]),
}

impl Expect {
    /// Says what is wrong, if anything is.
    pub fn check(&self, outcome: &Outcome) -> Result<(), String> {
        let expected = |what: &str| Err(format!("expected {what}"));
        match (self, outcome) {
            (Self::Refused(states), Outcome::Refused(state, _, _)) if states.contains(&state.as_str()) => Ok(()),
            (Self::Refused(states), _) => Err(format!("expected a refusal with {}", states.join(" or "))),
            (_, Outcome::Refused(..) | Outcome::Broken(_)) => expected("an answer"),
            (Self::Runs, _) => Ok(()),
            (Self::Shows(there, absent), Outcome::Printed(text)) => match absent {
                _ if !text.contains(there) => Err(format!("expected to see {there}")),
                Some(absent) if text.contains(absent) => Err(format!("expected not to see {absent}")),
                _ => Ok(()),
            },
            (Self::Shows(..), _) | (_, Outcome::Printed(_)) => expected("a program's output for a program's expectation"),
            (Self::Touched(n), Outcome::Done(m)) if n == m => Ok(()),
            (Self::Touched(n), _) => Err(format!("expected {n} rows touched")),
            (_, Outcome::Done(_)) => expected("rows"),
            (Self::Nothing, Outcome::Rows(_, rows)) if rows.is_empty() => Ok(()),
            (Self::Nothing, _) => expected("no row"),
            (Self::AtLeast(n), Outcome::Rows(_, rows)) if rows.len() >= *n => Ok(()),
            (Self::AtLeast(n), _) => Err(format!("expected at least {n} rows")),
            (Self::First(values), Outcome::Rows(_, rows)) => {
                let found: Vec<&str> = rows.iter().map(|r| r.first().map_or("", shown)).collect();
                if found == *values {
                    Ok(())
                } else {
                    Err(format!("expected {}", values.join(", ")))
                }
            }
            (Self::Table(table), Outcome::Rows(_, rows)) => {
                let found: Vec<Vec<&str>> = rows.iter().map(|r| r.iter().map(shown).collect()).collect();
                let same = found.len() == table.len() && found.iter().zip(*table).all(|(f, t)| f == t);
                if same { Ok(()) } else { expected("other rows") }
            }
            (Self::CountAtLeast(n), Outcome::Rows(_, rows)) => {
                let count = rows
                    .first()
                    .and_then(|r| r.first())
                    .and_then(|v| v.as_deref()?.parse::<u64>().ok());
                if count.is_some_and(|c| c >= *n) {
                    Ok(())
                } else {
                    Err(format!("expected a count of at least {n}"))
                }
            }
            (Self::Sealed(n, names), Outcome::Rows(columns, rows)) => {
                if rows.len() != *n {
                    return Err(format!("expected {n} rows"));
                }
                for name in *names {
                    let Some(at) = columns.iter().position(|c| c == name) else {
                        return Err(format!("expected a column {name}"));
                    };
                    // bytea in text form; an envelope is never shorter than its 36 bytes of frame.
                    let sealed = |v: &Option<String>| v.as_deref().is_some_and(|t| t.starts_with("\\x") && t.len() >= 74);
                    if !rows.iter().all(|r| sealed(&r[at])) {
                        return Err(format!("expected {name} to be sealed"));
                    }
                }
                Ok(())
            }
        }
    }
}

fn shown(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("∅")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[&str]) -> Outcome {
        Outcome::Rows(
            vec!["v".to_owned()],
            values.iter().map(|v| vec![Some((*v).to_owned())]).collect(),
        )
    }

    #[test]
    fn what_is_expected_passes_and_its_twin_does_not() {
        assert!(Expect::First(&["a"]).check(&rows(&["a"])).is_ok());
        assert!(Expect::First(&["a"]).check(&rows(&["a", "b"])).is_err());
        assert!(Expect::Nothing.check(&rows(&[])).is_ok());
        assert!(Expect::Nothing.check(&rows(&["a"])).is_err());
        assert!(Expect::Touched(0).check(&Outcome::Done(0)).is_ok());
        assert!(Expect::Touched(0).check(&Outcome::Done(1)).is_err());
        let refused = Outcome::Refused("42P01".to_owned(), String::new(), None);
        assert!(Expect::Refused(&["42P01"]).check(&refused).is_ok());
        assert!(Expect::Refused(&["42501"]).check(&refused).is_err());
        assert!(Expect::Nothing.check(&refused).is_err());
        assert!(Expect::Sealed(1, &["v"]).check(&rows(&["bob@people.example"])).is_err());
        assert!(
            Expect::Sealed(1, &["v"])
                .check(&rows(&[&format!("\\x{}", "0".repeat(80))]))
                .is_ok()
        );
    }
}
