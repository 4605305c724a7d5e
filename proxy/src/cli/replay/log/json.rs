//! `log_destination = 'jsonlog'` (PostgreSQL 15), and statements that somebody captured: a JSON string, or an object with `sql` and, where it
//! is known, `user`, `database` or `module`, on each line.

use std::io::{self, BufRead};

use serde::Deserialize;

use super::{Entry, Line, Logged, entry, read_line};

/// A line of the server's.
#[derive(Deserialize)]
struct Server {
    error_severity: String,
    #[serde(default)]
    message: String,
    user: Option<String>,
    dbname: Option<String>,
}

/// A statement that somebody captured.
#[derive(Deserialize)]
#[serde(untagged)]
enum Captured {
    Text(String),
    Told {
        #[serde(alias = "statement", alias = "query")]
        sql: String,
        user: Option<String>,
        #[serde(alias = "dbname")]
        database: Option<String>,
        module: Option<String>,
    },
}

pub(super) fn read<E: From<io::Error>>(input: &mut impl BufRead, each: &mut impl FnMut(Entry) -> Result<(), E>) -> Result<(), E> {
    let mut line = Vec::new();
    loop {
        match read_line(input, &mut line)? {
            Line::End => return Ok(()),
            Line::TooLong => each(Entry::Malformed)?,
            Line::Whole if line.iter().all(u8::is_ascii_whitespace) => {}
            Line::Whole => each(of(&line))?,
        }
    }
}

fn of(line: &[u8]) -> Entry {
    // The server's lines may have a `statement` too, that of an error: they are told by their severity.
    if let Ok(said) = serde_json::from_slice::<Server>(line) {
        return entry(
            &said.error_severity,
            &said.message,
            said.user.as_deref(),
            said.dbname.as_deref(),
        );
    }
    match serde_json::from_slice(line) {
        Ok(Captured::Text(sql)) => Entry::Statement(Logged {
            sql,
            ..Logged::default()
        }),
        Ok(Captured::Told {
            sql,
            user,
            database,
            module,
        }) => Entry::Statement(Logged {
            user,
            database,
            module,
            sql,
        }),
        Err(_) => Entry::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Form, all, statements};
    use super::*;

    #[test]
    fn the_servers_lines_and_captured_ones_are_told_apart() {
        let log =
            br#"{"timestamp":"x","user":"bob","dbname":"app","pid":1,"error_severity":"LOG","message":"statement: SELECT 1"}
{"timestamp":"x","user":"bob","error_severity":"ERROR","message":"no","statement":"SELECT 2"}
{"timestamp":"x","error_severity":"LOG","message":"checkpoint"}
"SELECT 3"
{"sql": "SELECT 4", "module": "disco"}
{"query": "SELECT 5", "user": "ann"}
{"nothing": 1}
{"sql": 7}
not JSON

"#;
        let found = all(Form::Json, "", log);
        assert_eq!(statements(&found), ["SELECT 1", "SELECT 3", "SELECT 4", "SELECT 5"]);
        assert_eq!(found.iter().filter(|e| **e == Entry::Malformed).count(), 3);
        assert_eq!(found.iter().filter(|e| **e == Entry::Other).count(), 2);
        let Entry::Statement(captured) = &found[4] else {
            panic!("{found:?}")
        };
        assert_eq!(captured.module.as_deref(), Some("disco"));
    }
}
