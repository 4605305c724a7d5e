//! Statements one after the other, as `psql` reads them: where one ends is told by PostgreSQL's lexical rules. Lines that begin with a
//! backslash are psql's own, and what follows `COPY … FROM stdin` up to `\.` is data.

use std::io::{self, BufRead};

use super::{Entry, LONGEST, Line, Logged, read_line};

/// Where in the language the text is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Plain,
    /// In `'…'`; in `E'…'` a backslash takes the next character along.
    Single {
        escapes: bool,
    },
    Double,
    Dollar(Vec<u8>),
    /// In nested comments.
    Comment(usize),
}

pub(super) fn read<E: From<io::Error>>(input: &mut impl BufRead, each: &mut impl FnMut(Entry) -> Result<(), E>) -> Result<(), E> {
    let mut line = Vec::new();
    let mut text: Vec<u8> = Vec::new();
    let mut state = State::Plain;
    let (mut data, mut broken) = (false, false);
    loop {
        match read_line(input, &mut line)? {
            Line::End => break,
            Line::TooLong => {
                broken = true;
                continue;
            }
            Line::Whole => {}
        }
        if data {
            data = line != b"\\.";
            continue;
        }
        if state == State::Plain && line.trim_ascii_start().starts_with(b"\\") {
            each(Entry::Other)?;
            continue;
        }
        let mut rest = line.as_slice();
        while let Some(end) = step(&mut state, rest) {
            text.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            data |= copies_from_client(&text);
            finish(&mut text, &mut broken, each)?;
        }
        text.extend_from_slice(rest);
        text.push(b'\n');
        if text.len() > LONGEST {
            text.clear();
            broken = true;
        }
    }
    if state != State::Plain {
        broken = true;
    }
    finish(&mut text, &mut broken, each)
}

fn finish<E>(text: &mut Vec<u8>, broken: &mut bool, each: &mut impl FnMut(Entry) -> Result<(), E>) -> Result<(), E> {
    let whole = std::mem::take(text);
    let bad = std::mem::take(broken);
    match String::from_utf8(whole) {
        Ok(sql) if !bad && blank(&sql) => Ok(()),
        Ok(sql) if !bad => each(Entry::Statement(Logged {
            sql: sql.trim().to_owned(),
            ..Logged::default()
        })),
        _ => each(Entry::Malformed),
    }
}

/// Only white space and comments of one line: nothing that a server would run.
fn blank(sql: &str) -> bool {
    sql.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with("--"))
}

fn copies_from_client(statement: &[u8]) -> bool {
    let words: Vec<String> = String::from_utf8_lossy(statement)
        .split(|c: char| c.is_whitespace() || matches!(c, '(' | ')'))
        .map(str::to_ascii_lowercase)
        .filter(|w| !w.is_empty())
        .collect();
    let copy = words.iter().find(|w| !w.starts_with("--")).is_some_and(|w| w == "copy");
    copy && words.windows(2).any(|w| w[0] == "from" && w[1] == "stdin")
}

/// Goes along a line; where the statement's `;` stands, or `None` where it goes on behind the line.
fn step(state: &mut State, line: &[u8]) -> Option<usize> {
    let mut i = 0;
    while i < line.len() {
        let two = (line[i], line.get(i + 1).copied());
        match state {
            State::Single { escapes: true } if two.0 == b'\\' => i += 1,
            State::Single { .. } if two.0 == b'\'' => *state = State::Plain,
            State::Double if two.0 == b'"' => *state = State::Plain,
            State::Single { .. } | State::Double => {}
            State::Dollar(tag) => {
                if line[i..].starts_with(tag) {
                    i += tag.len() - 1;
                    *state = State::Plain;
                }
            }
            State::Comment(depth) => match two {
                (b'/', Some(b'*')) => {
                    *depth += 1;
                    i += 1;
                }
                (b'*', Some(b'/')) => {
                    i += 1;
                    *state = if *depth == 1 {
                        State::Plain
                    } else {
                        State::Comment(*depth - 1)
                    };
                }
                _ => {}
            },
            State::Plain => match two {
                (b';', _) => return Some(i),
                (b'-', Some(b'-')) => return None,
                (b'/', Some(b'*')) => {
                    i += 1;
                    *state = State::Comment(1);
                }
                (b'\'', _) => {
                    let escapes = i > 0 && matches!(line[i - 1], b'e' | b'E') && !(i > 1 && in_name(line[i - 2]));
                    *state = State::Single { escapes };
                }
                (b'"', _) => *state = State::Double,
                (b'$', _) if !(i > 0 && in_name(line[i - 1])) => {
                    if let Some(tag) = dollar_tag(&line[i..]) {
                        i += tag.len() - 1;
                        *state = State::Dollar(tag.to_vec());
                    }
                }
                _ => {}
            },
        }
        i += 1;
    }
    None
}

fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

/// `$tag$` at the start.
fn dollar_tag(text: &[u8]) -> Option<&[u8]> {
    let end = 1 + text[1..].iter().position(|b| *b == b'$')?;
    let name = &text[1..end];
    let word = name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | 0x80..));
    (word && !name.first().is_some_and(u8::is_ascii_digit)).then(|| &text[..=end])
}

#[cfg(test)]
mod tests {
    use super::super::{Form, all, statements};
    use super::*;

    #[test]
    fn statements_end_where_psql_ends_them() {
        let script = b"-- a comment; with more\nSELECT 1; SELECT 'a;b', \"c;d\", E'\\';' , $q$;$q$, $1;\n\\d t\n\
            SELECT /* ; /* ; */ ; */ 2\n  ;\nCOPY t (a) FROM stdin;\n1;2\n\\.\nSELECT $a$x\n;y$a$; \n;;\nSELECT 3";
        let found = all(Form::Sql, "", script);
        assert_eq!(
            statements(&found),
            [
                "-- a comment; with more\nSELECT 1",
                "SELECT 'a;b', \"c;d\", E'\\';' , $q$;$q$, $1",
                "SELECT /* ; /* ; */ ; */ 2",
                "COPY t (a) FROM stdin",
                "SELECT $a$x\n;y$a$",
                "SELECT 3"
            ]
        );
        assert!(!found.contains(&Entry::Malformed), "{found:?}");
    }

    #[test]
    fn what_is_cut_off_or_no_text_is_malformed() {
        let found = all(Form::Sql, "", b"SELECT '\xff';\nSELECT 1;\nSELECT 'open");
        assert_eq!(statements(&found), ["SELECT 1"]);
        assert_eq!(found.iter().filter(|e| **e == Entry::Malformed).count(), 2);
    }
}
