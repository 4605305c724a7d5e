//! `postern explain --batch`: a query log, one JSON string per line in, one verdict per line out, in order, as they come.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read, Write};

use postern_rewriter::plan::{Plan, Refusal, Run};
use serde::Serialize;

use super::Subject;
use crate::cli::CliError;

/// A longer line is answered with a refusal and not kept. JSON may spell one byte of SQL with six.
const LONGEST_LINE: u64 = 64 << 20;

#[derive(Debug, Serialize, PartialEq, Eq)]
struct Verdict {
    verdict: &'static str,
    sqlstate: Option<String>,
    reason: Option<String>,
    hint: Option<String>,
    sql: Option<String>,
    relations: Vec<String>,
}

pub(super) fn run(subject: &Subject, input: &mut impl BufRead, out: &mut impl Write) -> Result<(), CliError> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let whole = read_line(input, &mut line).map_err(|source| CliError::Stream {
            doing: "read standard input",
            source,
        })?;
        let verdict = match whole {
            Line::End => return Ok(()),
            Line::TooLong => unreadable("54000", "the line is longer than 64 MiB", "Split the statement."),
            Line::Whole => judge(subject, &line),
        };
        let written = serde_json::to_writer(&mut *out, &verdict)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush());
        written.map_err(|source| CliError::Stream {
            doing: "write standard output",
            source,
        })?;
    }
}

fn judge(subject: &Subject, line: &[u8]) -> Verdict {
    let Ok(sql) = serde_json::from_slice::<String>(line) else {
        return unreadable(
            "22023",
            "the line is not a JSON string",
            "Write each statement as one JSON string on a line of its own: \"SELECT 1\".",
        );
    };
    match subject.plan(&sql) {
        Ok(plans) => allowed(&plans),
        Err(refusal) => refused(refusal),
    }
}

fn allowed(plans: &[Plan]) -> Verdict {
    let relations: BTreeSet<String> = plans.iter().flat_map(|p| &p.relations).map(ToString::to_string).collect();
    let sql: Vec<&str> = plans
        .iter()
        .flat_map(|p| match &p.run {
            Run::Once(statement) => vec![statement.sql.sql()],
            Run::PerRow(steps) => vec![steps.read.sql.sql(), steps.write.sql.sql()],
            Run::Answer(_) => vec![],
        })
        .collect();
    Verdict {
        verdict: "allow",
        sqlstate: None,
        reason: None,
        hint: None,
        sql: Some(sql.join("; ")),
        relations: relations.into_iter().collect(),
    }
}

fn refused(refusal: Refusal) -> Verdict {
    Verdict {
        verdict: "refuse",
        sqlstate: Some(refusal.sqlstate.to_owned()),
        reason: Some(refusal.message),
        hint: refusal.hint,
        sql: None,
        relations: Vec::new(),
    }
}

fn unreadable(sqlstate: &str, reason: &str, hint: &str) -> Verdict {
    Verdict {
        verdict: "refuse",
        sqlstate: Some(sqlstate.to_owned()),
        reason: Some(reason.to_owned()),
        hint: Some(hint.to_owned()),
        sql: None,
        relations: Vec::new(),
    }
}

enum Line {
    End,
    Whole,
    TooLong,
}

/// Reads a line of bounded length; what is beyond the bound is skipped, so that the next line is still answered in order.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    let n = input.by_ref().take(LONGEST_LINE).read_until(b'\n', line)?;
    if n == 0 {
        return Ok(Line::End);
    }
    if line.last() == Some(&b'\n') || (n as u64) < LONGEST_LINE {
        return Ok(Line::Whole);
    }
    line.clear();
    loop {
        let ahead = input.fill_buf()?;
        if ahead.is_empty() {
            return Ok(Line::TooLong);
        }
        let end = ahead.iter().position(|b| *b == b'\n');
        let used = end.map_or(ahead.len(), |at| at + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(Line::TooLong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ExplainArgs;
    use crate::cli::explain::CatalogSource;

    fn answers(input: &[u8]) -> Vec<serde_json::Value> {
        let args = ExplainArgs {
            config: None,
            module: None,
            person: None,
            login: None,
            catalog: Some(CatalogSource::None),
            batch: true,
            sql: None,
        };
        let subject = Subject::find(&args).expect("no configuration is needed");
        let mut out = Vec::new();
        run(&subject, &mut &input[..], &mut out).expect("memory can be read and written");
        let lines = out.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        lines.map(|l| serde_json::from_slice(l).expect("each line is JSON")).collect()
    }

    #[test]
    fn every_line_has_its_verdict_in_order() {
        let told = answers(
            b"\"SELECT 1\"\nno JSON\n{\"sql\": 1}\n\n\xff\n\"SELECT * FROM a.b; SELECT 2\"\n\"SELECT 1; DO $$begin end$$\"\n\"SELECT FROM FROM\"",
        );
        let verdicts: Vec<&str> = told.iter().filter_map(|v| v["verdict"].as_str()).collect();
        let (yes, no) = ("allow", "refuse");
        assert_eq!(verdicts, [yes, no, no, no, no, yes, no, no]);
        assert_eq!(told[1]["sqlstate"], "22023");
        assert_eq!(told[5]["relations"], serde_json::json!(["a.b"]));
        assert_eq!(told[5]["sql"].as_str().map(|s| s.matches("; ").count()), Some(1));
        assert_eq!(told[6]["sql"], serde_json::Value::Null);
        assert_eq!(told[7]["sqlstate"], "42601");
    }
}
