//! `log_destination = 'stderr'`: prefix, severity, two blanks, message; lines that go on begin with a tab.

use std::io::{self, BufRead};

use super::prefix::Named;
use super::{Entry, LONGEST, Line, Prefix, entry, read_line};

/// Severities as they are written with `lc_messages` C or English, and the lines that belong to a message before them.
const SEVERITIES: [&str; 16] = [
    "LOG",
    "ERROR",
    "FATAL",
    "PANIC",
    "WARNING",
    "NOTICE",
    "INFO",
    "DEBUG1",
    "DEBUG2",
    "DEBUG3",
    "DEBUG4",
    "DEBUG5",
    "DETAIL",
    "HINT",
    "STATEMENT",
    "CONTEXT",
];

/// A severity at the start, and the message.
pub(super) fn severity(text: &str) -> Option<(&str, &str)> {
    let (word, message) = text.split_once(":  ")?;
    let known = SEVERITIES.contains(&word) || matches!(word, "QUERY" | "LOCATION" | "BACKTRACE");
    known.then_some((word, message))
}

/// Where in a line a severity stands.
pub(super) fn severities(line: &str) -> impl Iterator<Item = usize> + '_ {
    line.match_indices(":  ").filter_map(|(colon, _)| {
        let start = line[..colon]
            .rfind(|c: char| !c.is_ascii_alphanumeric())
            .map_or(0, |at| at + 1);
        severity(line.get(start..)?).map(|_| start)
    })
}

pub(super) fn read<E: From<io::Error>>(
    prefix: &Prefix,
    input: &mut impl BufRead,
    each: &mut impl FnMut(Entry) -> Result<(), E>,
) -> Result<(), E> {
    let (mut line, mut record) = (Vec::new(), String::new());
    // Whether `record` is one, or was too long.
    let (mut open, mut broken) = (false, false);
    loop {
        let what = read_line(input, &mut line)?;
        if let (Line::Whole, Some(b'\t')) = (&what, line.first()) {
            match std::str::from_utf8(&line[1..]) {
                Ok(more) if open && record.len() + more.len() < LONGEST => {
                    record.push('\n');
                    record.push_str(more);
                }
                _ => broken = true,
            }
            continue;
        }
        if open || broken {
            each(if broken { Entry::Malformed } else { of(prefix, &record) })?;
        }
        record.clear();
        (open, broken) = match what {
            Line::End => return Ok(()),
            Line::TooLong => (false, true),
            Line::Whole if line.is_empty() => (false, false),
            Line::Whole => match std::str::from_utf8(&line) {
                Ok(text) => {
                    record.push_str(text);
                    (true, false)
                }
                Err(_) => (false, true),
            },
        };
    }
}

fn of(prefix: &Prefix, record: &str) -> Entry {
    let (named, rest) = match prefix.strip(record) {
        Some(found) => found,
        // Another prefix, or a process without a session: who asks is then said by --module.
        None => match record.lines().next().and_then(|first| severities(first).next()) {
            Some(at) => (Named::default(), &record[at..]),
            None => return Entry::Malformed,
        },
    };
    match severity(rest) {
        Some((word, message)) => entry(word, message, named.user, named.database),
        None => Entry::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Form, Logged, all, statements};
    use super::*;

    const LOG: &str = "\
2026-11-28 12:00:00.1 UTC [1] LOG:  database system is ready
2026-11-28 12:00:01.1 UTC [2] bob@app LOG:  statement: SELECT 1,
\t       'a
\t\tb'
2026-11-28 12:00:01.2 UTC [2] bob@app LOG:  duration: 0.1 ms  parse <unnamed>: SELECT $1
2026-11-28 12:00:01.2 UTC [2] bob@app LOG:  duration: 0.1 ms  bind <unnamed>: SELECT $1
2026-11-28 12:00:01.2 UTC [2] bob@app DETAIL:  parameters: $1 = '7'
2026-11-28 12:00:01.2 UTC [2] bob@app LOG:  duration: 0.1 ms  execute <unnamed>: SELECT $1
2026-11-28 12:00:01.3 UTC [2] bob@app ERROR:  relation \"x\" does not exist
2026-11-28 12:00:01.3 UTC [2] bob@app STATEMENT:  SELECT * FROM x
no line of a log
\tthat goes on
";

    #[test]
    fn records_go_over_lines_and_only_statements_count() {
        let found = all(Form::Stderr, "%m [%p] %q%u@%d ", LOG.as_bytes());
        assert_eq!(statements(&found), ["SELECT 1,\n       'a\n\tb'", "SELECT $1"]);
        let expected = Logged {
            user: Some("bob".to_owned()),
            database: Some("app".to_owned()),
            module: None,
            sql: "SELECT $1".to_owned(),
        };
        assert!(found.contains(&Entry::Statement(expected)));
        assert_eq!(found.iter().filter(|e| **e == Entry::Malformed).count(), 1);
        assert_eq!(found.len(), 9);
    }

    #[test]
    fn bytes_that_are_no_text_end_one_record_alone() {
        let mut log = b"x [1] bob@app LOG:  statement: SELECT '\xff'\n".to_vec();
        log.extend_from_slice(b"x [1] bob@app LOG:  statement: SELECT 1\n\t\xff\n");
        log.extend_from_slice(b"x [1] bob@app LOG:  statement: SELECT 2");
        let found = all(Form::Stderr, "%m [%p] %q%u@%d ", &log);
        assert_eq!(statements(&found), ["SELECT 2"]);
        assert_eq!(found[..2], [Entry::Malformed, Entry::Malformed]);
    }

    #[test]
    fn without_a_prefix_that_fits_the_user_is_not_known() {
        let found = all(Form::Stderr, "%m [%p] %q%u@%d ", b"2026 [7] LOG:  statement: SELECT 1\n");
        let Entry::Statement(logged) = &found[0] else {
            panic!("{found:?}")
        };
        assert_eq!((logged.user.as_deref(), logged.sql.as_str()), (None, "SELECT 1"));
    }
}
