//! `log_destination = 'csvlog'`: the manual's table `postgres_log`, a record of 23 to 26 fields, of which lines may be several.

use std::io::{self, BufRead};

use super::{Entry, LONGEST, Line, entry, read_line};

const USER: usize = 1;
const DATABASE: usize = 2;
const SEVERITY: usize = 11;
const MESSAGE: usize = 13;
/// Since PostgreSQL 9.0.
const FEWEST: usize = 23;

pub(super) fn read<E: From<io::Error>>(input: &mut impl BufRead, each: &mut impl FnMut(Entry) -> Result<(), E>) -> Result<(), E> {
    let (mut line, mut record) = (Vec::new(), Vec::new());
    loop {
        match read_line(input, &mut line)? {
            Line::End => {
                if !record.is_empty() {
                    each(Entry::Malformed)?;
                }
                return Ok(());
            }
            Line::TooLong => {
                record.clear();
                each(Entry::Malformed)?;
                continue;
            }
            Line::Whole if record.is_empty() && line.is_empty() => continue,
            Line::Whole => {}
        }
        if !record.is_empty() {
            record.push(b'\n');
        }
        record.extend_from_slice(&line);
        // A quote within a field is doubled, so an odd number of them means that a field goes on.
        let whole = record.iter().filter(|b| **b == b'"').count().is_multiple_of(2);
        if whole || record.len() > LONGEST {
            each(if whole { of(&record) } else { Entry::Malformed })?;
            record.clear();
        }
    }
}

fn of(record: &[u8]) -> Entry {
    let fields = std::str::from_utf8(record).ok().and_then(fields);
    let Some(fields) = fields.filter(|f| f.len() >= FEWEST) else {
        return Entry::Malformed;
    };
    entry(
        &fields[SEVERITY],
        &fields[MESSAGE],
        Some(&fields[USER]),
        Some(&fields[DATABASE]),
    )
}

/// `None` where a quote stands where none may.
fn fields(record: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = record.chars().peekable();
    loop {
        let mut field = String::new();
        if rest.next_if_eq(&'"').is_some() {
            loop {
                match rest.next()? {
                    '"' if rest.next_if_eq(&'"').is_some() => field.push('"'),
                    '"' => break,
                    c => field.push(c),
                }
            }
        } else {
            while let Some(c) = rest.next_if(|c| *c != ',') {
                if c == '"' {
                    return None;
                }
                field.push(c);
            }
        }
        fields.push(field);
        match rest.next() {
            None => return Some(fields),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Form, all, statements};
    use super::*;

    fn line(severity: &str, message: &str) -> String {
        let message = message.replace('"', "\"\"");
        format!(
            "2026-11-28 12:00:00.123 UTC,\"bob\",\"app\",4711,\"[local]\",654.1,2,\"SELECT\",2026-11-28 12:00:00 UTC,3/4,0,{severity},00000,\
             \"{message}\",,,,,,,,,\"psql\",\"client backend\",,0\n"
        )
    }

    #[test]
    fn records_have_quotes_and_lines_in_their_fields() {
        let log = line("LOG", "statement: SELECT \"a\",\n  'x,y'")
            + &line("ERROR", "no")
            + &line("LOG", "duration: 1 ms  execute <unnamed>: SELECT 2");
        let found = all(Form::Csv, "", log.as_bytes());
        assert_eq!(statements(&found), ["SELECT \"a\",\n  'x,y'", "SELECT 2"]);
        let Entry::Statement(logged) = &found[0] else {
            panic!("{found:?}")
        };
        assert_eq!(
            (logged.user.as_deref(), logged.database.as_deref()),
            (Some("bob"), Some("app"))
        );
    }

    #[test]
    fn what_is_no_record_is_counted_and_the_next_is_read() {
        let log = String::from("a,b,c\n")
            + &line("LOG", "statement: SELECT 1")
            + "a,\"b\"c\n\n"
            + &line("LOG", "statement: SELECT 2")
            + "cut,\"off";
        let found = all(Form::Csv, "", log.as_bytes());
        assert_eq!(statements(&found), ["SELECT 1", "SELECT 2"]);
        assert_eq!(found.iter().filter(|e| **e == Entry::Malformed).count(), 3, "{found:?}");
    }
}
