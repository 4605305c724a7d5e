//! What differs between what a case expects and what came.

use std::collections::BTreeMap;

use super::cases::{Denied, Expect, NULL, Row};
use super::gate::{Came, Outcome, Refused};

/// Most rows of a difference that are shown, of each side.
const SHOWN: usize = 10;

/// The lines that say what differs; none where the case holds.
pub(super) fn differences(expect: &Expect, outcome: &Outcome) -> Vec<String> {
    match (expect, outcome) {
        (_, Outcome::Broken(problem)) => vec![format!("could not be tried: {problem}")],
        (Expect::Denied(denied), Outcome::Refused(refused)) => refusal(denied, refused),
        (Expect::Denied(denied), Outcome::Answered(came)) => {
            vec![
                format!("expected  refused {}", denied.sqlstate),
                format!("came      {}", summary(came)),
            ]
        }
        (Expect::Answered { .. }, Outcome::Refused(refused)) => {
            let mut lines = vec![
                "expected  an answer".to_owned(),
                format!("came      refused {}: {}", refused.sqlstate, refused.message),
            ];
            lines.extend(refused.hint.iter().map(|h| format!("          hint: {h}")));
            lines
        }
        (
            Expect::Answered {
                rows,
                ordered,
                columns,
                count,
                masked,
            },
            Outcome::Answered(came),
        ) => {
            let mut lines = Vec::new();
            if let Some(columns) = columns.as_ref().filter(|c| **c != came.columns) {
                lines.push(format!("expected  columns {}", columns.join(", ")));
                lines.push(format!("came      columns {}", came.columns.join(", ")));
            }
            if let Some(rows) = rows {
                lines.extend(if *ordered {
                    in_order(rows, &came.rows)
                } else {
                    as_sets(rows, &came.rows)
                });
            }
            if let Some(count) = count.filter(|c| *c != came.count) {
                lines.push(format!("expected  count {count}"));
                lines.push(format!("came      count {}", came.count));
            }
            lines.extend(masked.iter().filter_map(|column| unmasked(column, came)));
            lines
        }
    }
}

fn refusal(denied: &Denied, refused: &Refused) -> Vec<String> {
    let mut lines = Vec::new();
    if denied.sqlstate != refused.sqlstate {
        lines.push(format!("expected  refused {}", denied.sqlstate));
        lines.push(format!("came      refused {}: {}", refused.sqlstate, refused.message));
    }
    let told = [
        ("message", &denied.message, refused.message.as_str()),
        ("hint", &denied.hint, refused.hint.as_deref().unwrap_or_default()),
    ];
    for (what, wanted, said) in told {
        if let Some(wanted) = wanted.as_ref().filter(|w| !said.contains(w.as_str())) {
            lines.push(format!("expected  a {what} with `{wanted}`"));
            lines.push(format!("came      {what} `{said}`"));
        }
    }
    lines
}

fn unmasked(column: &str, came: &Came) -> Option<String> {
    let Some(at) = came.columns.iter().position(|c| c == column) else {
        return Some(format!("expected  a column {column}, which did not come"));
    };
    if came.rows.is_empty() {
        return Some(format!("expected  {column} masked in a row, and no row came"));
    }
    let open = came
        .rows
        .iter()
        .filter(|row| row.get(at).is_some_and(Option::is_some))
        .count();
    (open > 0).then(|| format!("expected  {column} masked, and {open} of {} rows show it", came.rows.len()))
}

fn in_order(wanted: &[Row], came: &[Row]) -> Vec<String> {
    let longest = wanted.len().max(came.len());
    let Some(at) = (0..longest).find(|i| wanted.get(*i) != came.get(*i)) else {
        return Vec::new();
    };
    let line = |row: Option<&Row>| row.map_or_else(|| "no further row".to_owned(), shown);
    vec![
        format!("expected  row {}: {}", at + 1, line(wanted.get(at))),
        format!("came      row {}: {}", at + 1, line(came.get(at))),
        format!("          {} rows were expected, {} came", wanted.len(), came.len()),
    ]
}

/// Rows count as often as they are there; their order does not.
fn as_sets(wanted: &[Row], came: &[Row]) -> Vec<String> {
    let mut balance: BTreeMap<&Row, i64> = BTreeMap::new();
    for row in wanted {
        *balance.entry(row).or_default() += 1;
    }
    for row in came {
        *balance.entry(row).or_default() -= 1;
    }
    let side = |sign: i64, mark: &str| {
        let rows = balance.iter().filter(move |(_, n)| n.signum() == sign);
        let all: Vec<String> = rows
            .flat_map(|(row, n)| (0..n.abs()).map(|_| format!("  {mark} {}", shown(row))))
            .collect();
        let more = all.len().saturating_sub(SHOWN);
        let mut lines: Vec<String> = all.into_iter().take(SHOWN).collect();
        if more > 0 {
            lines.push(format!("  {mark} … and {more} more"));
        }
        lines
    };
    let (missing, extra) = (side(1, "-"), side(-1, "+"));
    let mut lines = Vec::new();
    if !missing.is_empty() || !extra.is_empty() {
        lines.push(format!(
            "{} rows were expected, {} came (- did not come, + was not expected)",
            wanted.len(),
            came.len()
        ));
        lines.extend(missing);
        lines.extend(extra);
    }
    lines
}

fn shown(row: &Row) -> String {
    let cells: Vec<String> = row
        .iter()
        .map(|c| c.as_ref().map_or_else(|| NULL.to_owned(), |t| format!("{t:?}")))
        .collect();
    cells.join(", ")
}

fn summary(came: &Came) -> String {
    match came.rows.as_slice() {
        [] => format!("count {}", came.count),
        [first] => format!("one row: {}", shown(first)),
        [first, ..] => format!("{} rows, the first: {}", came.rows.len(), shown(first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Row> {
        let cell = |c: &&str| (*c != NULL).then(|| (*c).to_owned());
        rows.iter().map(|r| r.iter().map(cell).collect()).collect()
    }

    fn answered(all: &[&[&str]]) -> Outcome {
        Outcome::Answered(Came {
            columns: vec!["id".to_owned(), "contact".to_owned()],
            rows: rows(all),
            count: all.len() as u64,
        })
    }

    fn expecting(wanted: Option<Vec<Row>>, ordered: bool) -> Expect {
        Expect::Answered {
            rows: wanted,
            ordered,
            columns: None,
            count: None,
            masked: Vec::new(),
        }
    }

    #[test]
    fn rows_are_compared_with_or_without_their_order() {
        let came = answered(&[&["a", "1"], &["b", NULL], &["b", NULL]]);
        let same = rows(&[&["b", NULL], &["a", "1"], &["b", NULL]]);
        assert!(differences(&expecting(Some(same.clone()), false), &came).is_empty());
        assert_eq!(
            differences(&expecting(Some(same), true), &came)[0],
            "expected  row 1: \"b\", NULL"
        );
        let fewer = rows(&[&["b", NULL], &["c", "2"]]);
        let lines = differences(&expecting(Some(fewer), false), &came);
        assert_eq!(lines[1..], ["  - \"c\", \"2\"", "  + \"a\", \"1\"", "  + \"b\", NULL"]);
    }

    #[test]
    fn a_text_that_reads_null_is_not_null() {
        let Outcome::Answered(mut came) = answered(&[&["a", "x"]]) else {
            unreachable!()
        };
        came.rows[0][1] = Some(NULL.to_owned());
        let lines = differences(&expecting(Some(rows(&[&["a", NULL]])), false), &Outcome::Answered(came));
        assert!(!lines.is_empty());
    }

    #[test]
    fn masked_columns_are_null_in_a_row_that_is_there() {
        let expect = Expect::Answered {
            rows: None,
            ordered: false,
            columns: None,
            count: None,
            masked: vec!["contact".to_owned()],
        };
        assert!(differences(&expect, &answered(&[&["a", NULL]])).is_empty());
        assert!(differences(&expect, &answered(&[&["a", NULL], &["b", "x"]]))[0].contains("1 of 2 rows"));
        assert!(differences(&expect, &answered(&[]))[0].contains("no row came"));
    }

    #[test]
    fn a_refusal_is_the_one_that_was_expected() {
        let denied = Expect::Denied(Denied {
            sqlstate: "42501".to_owned(),
            message: Some("row-level".to_owned()),
            hint: None,
        });
        let refused = |sqlstate: &str, message: &str| {
            Outcome::Refused(Refused {
                sqlstate: sqlstate.to_owned(),
                message: message.to_owned(),
                hint: None,
            })
        };
        assert!(differences(&denied, &refused("42501", "new row violates row-level security policy")).is_empty());
        assert!(!differences(&denied, &refused("42501", "permission denied")).is_empty());
        assert!(!differences(&denied, &refused("42601", "row-level")).is_empty());
        assert!(!differences(&denied, &answered(&[])).is_empty());
        assert!(!differences(&expecting(Some(Vec::new()), false), &refused("42501", "x")).is_empty());
        assert!(!differences(&denied, &Outcome::Broken("x".to_owned())).is_empty());
    }
}
