//! A regression file cut where psql has nothing pending, so that what a run prints can be told apart statement by statement.
//!
//! psql's own scanner decides where a statement ends; this follows it line by line (quotes, dollar quotes, comments, parentheses, BEGIN ATOMIC, backslash
//! commands, the data behind COPY … FROM STDIN). Where it errs, a mark is swallowed or stands inside a statement, which harms no run: both
//! runs of a file get the same marks.

use std::collections::BTreeSet;
use std::fmt::Write;

/// What a run prints behind segment `n`: `MARK n`.
pub const MARK: &str = "@@segment";
/// What it prints behind the words of the last error.
pub const END: &str = "@@end";

/// Stands in for a statement that Postern refused, when the direct run is repeated: it fails too.
const FAILS: &str = "DO $postern$ BEGIN RAISE EXCEPTION 'refused'; END $postern$;\n";

/// Some lines, behind which psql has nothing pending.
pub struct Segment {
    /// As they are, line ends included.
    pub text: String,
    /// Where they begin, counted from 1.
    pub line: usize,
}

impl Segment {
    /// Whether anything in it can reach a server.
    pub fn asks(&self) -> bool {
        const LOCAL: [&str; 13] = [
            "\\set", "\\unset", "\\echo", "\\qecho", "\\if", "\\else", "\\elif", "\\endif", "\\getenv", "\\pset", "\\a", "\\t",
            "\\x",
        ];
        let mut lines = self.text.lines().map(str::trim);
        lines.any(|l| {
            l.split_whitespace()
                .next()
                .is_some_and(|word| !word.starts_with("--") && !LOCAL.contains(&word))
        })
    }
}

/// Cuts a file.
pub fn split(text: &str) -> Vec<Segment> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut segments = Vec::new();
    let mut scan = Scan::default();
    let (mut start, mut i) = (0, 0);
    while i < lines.len() {
        scan.line(lines[i]);
        i += 1;
        if std::mem::take(&mut scan.copies)
            && let Some(end) = data_behind(&lines[i..])
        {
            i += end;
        }
        if scan.at_rest() {
            segments.push(Segment {
                text: lines[start..i].concat(),
                line: start + 1,
            });
            start = i;
        }
    }
    if start < lines.len() {
        segments.push(Segment {
            text: lines[start..].concat(),
            line: start + 1,
        });
    }
    segments
}

/// The file with a mark behind each segment; those of `refused` fail in their place.
pub fn marked(segments: &[Segment], refused: &BTreeSet<usize>) -> String {
    // By way of a variable: with ECHO all psql prints these lines too.
    let mut out = format!("\\set postern_mark '{MARK}'\n\\set postern_end '{END}'\n");
    for (n, segment) in segments.iter().enumerate() {
        let text = if refused.contains(&n) { FAILS } else { &segment.text };
        out.push_str(text);
        if !text.ends_with('\n') {
            out.push('\n');
        }
        writeln!(out, "\\echo :postern_mark {n}\n\\errverbose\n\\echo :postern_end {n}").expect("a String takes everything");
    }
    out
}

/// How many lines of data follow, the final `\.` included. A COPY that is meant to fail has none.
fn data_behind(lines: &[&str]) -> Option<usize> {
    const STATEMENTS: &[&str] = &[
        "--",
        "select",
        "copy",
        "create",
        "drop",
        "insert",
        "update",
        "delete",
        "begin",
        "commit",
        "rollback",
        "set",
        "reset",
        "alter",
        "truncate",
        "\\d",
        "\\copy",
        "\\set",
        "\\echo",
        "/*",
        "savepoint",
        "analyze",
        "vacuum",
    ];
    let first = lines.first()?.trim_end().to_ascii_lowercase();
    if STATEMENTS.iter().any(|s| first.starts_with(s)) {
        return None;
    }
    let end = lines.iter().position(|l| l.trim_end() == "\\.")?;
    // Across a gap it belongs to a later COPY.
    let blank_then_statement = lines[..end].windows(2).any(|w| {
        let next = w[1].trim_start().to_ascii_lowercase();
        w[0].trim().is_empty() && STATEMENTS.iter().any(|s| next.starts_with(s))
    });
    (!blank_then_statement).then_some(end + 1)
}

#[derive(Default)]
struct Scan {
    within: Within,
    parentheses: i32,
    /// BEGIN ATOMIC and CASE that are open in the body of a CREATE FUNCTION.
    bodies: i32,
    /// The first words of the statement.
    words: Vec<String>,
    /// Text since the last statement's end.
    pending: String,
    /// A COPY … FROM STDIN has just been sent.
    copies: bool,
}

#[derive(Default, PartialEq)]
enum Within {
    #[default]
    Nothing,
    Quote {
        escapes: bool,
    },
    Name,
    Dollar(String),
    Comment(u32),
}

impl Scan {
    fn at_rest(&self) -> bool {
        self.within == Within::Nothing && self.pending.trim().is_empty()
    }

    fn line(&mut self, line: &str) {
        let bytes = line.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            i += match &mut self.within {
                Within::Nothing => self.plain(line, i),
                Within::Quote { escapes: true } if bytes[i] == b'\\' => 2,
                Within::Quote { .. } if bytes[i..].starts_with(b"''") => 2,
                Within::Quote { .. } => self.ends_if(bytes[i] == b'\''),
                Within::Name => self.ends_if(bytes[i] == b'"'),
                Within::Dollar(tag) => match line.get(i..).is_some_and(|rest| rest.starts_with(tag.as_str())) {
                    true => {
                        let length = tag.len();
                        self.within = Within::Nothing;
                        length
                    }
                    false => 1,
                },
                Within::Comment(depth) => match &bytes[i..] {
                    [b'/', b'*', ..] => {
                        *depth += 1;
                        2
                    }
                    [b'*', b'/', ..] if *depth == 1 => {
                        self.within = Within::Nothing;
                        2
                    }
                    [b'*', b'/', ..] => {
                        *depth -= 1;
                        2
                    }
                    _ => 1,
                },
            };
        }
    }

    fn ends_if(&mut self, end: bool) -> usize {
        if end {
            self.within = Within::Nothing;
        }
        1
    }

    /// One step outside of quotes and comments: how many bytes it took.
    fn plain(&mut self, line: &str, at: usize) -> usize {
        let rest = &line.as_bytes()[at..];
        let before = at.checked_sub(1).map(|b| line.as_bytes()[b]);
        let in_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
        match rest {
            [b'-', b'-', ..] => return rest.len(),
            [b'/', b'*', ..] => {
                self.within = Within::Comment(1);
                return 2;
            }
            [b'\\', b';' | b':', ..] => {
                self.pending.push_str("; ");
                return 2;
            }
            [b'\\', ..] => {
                self.command(&line[at + 1..]);
                return rest.len();
            }
            [b';', ..] if self.parentheses <= 0 && self.bodies <= 0 => {
                self.sent();
                return 1;
            }
            _ => {}
        }
        let byte = rest[0];
        match byte {
            b'\'' => {
                let escapes =
                    matches!(before, Some(b'e' | b'E')) && !at.checked_sub(2).is_some_and(|b| in_word(line.as_bytes()[b]));
                self.within = Within::Quote { escapes };
            }
            b'"' => self.within = Within::Name,
            b'$' if !before.is_some_and(in_word) => {
                let name = rest[1..].iter().take_while(|b| in_word(**b)).count();
                let digit = rest.get(1).is_some_and(u8::is_ascii_digit);
                if rest.get(name + 1) == Some(&b'$') && !digit {
                    let tag = line[at..at + name + 2].to_owned();
                    self.pending.push_str(&tag);
                    let length = tag.len();
                    self.within = Within::Dollar(tag);
                    return length;
                }
            }
            b'(' => self.parentheses += 1,
            b')' => self.parentheses -= 1,
            _ if byte.is_ascii_alphabetic() && !before.is_some_and(in_word) => {
                let length = rest.iter().take_while(|b| in_word(**b)).count();
                self.word(&line[at..at + length]);
                // A quote may follow E.
                self.pending.push_str(&line[at..at + length]);
                return length;
            }
            _ => {}
        }
        self.pending.push(char::from(byte));
        1
    }

    fn word(&mut self, word: &str) {
        let word = word.to_ascii_lowercase();
        let routine = match self.words.as_slice() {
            [a, b, ..] if a == "create" && (b == "function" || b == "procedure") => true,
            [a, b, c, d, ..] if a == "create" && b == "or" && c == "replace" => d == "function" || d == "procedure",
            _ => false,
        };
        match word.as_str() {
            "begin" if routine => self.bodies += 1,
            "case" if self.bodies > 0 => self.bodies += 1,
            "end" if self.bodies > 0 => self.bodies -= 1,
            _ => {}
        }
        if self.words.len() < 4 {
            self.words.push(word);
        }
    }

    fn command(&mut self, rest: &str) {
        let name: String = rest
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '?' || *c == '!')
            .collect();
        match name.as_str() {
            "g" | "gx" | "gset" | "gexec" | "gdesc" | "crosstabview" | "watch" => self.sent(),
            "r" | "reset" => self.clear(),
            "copy" => self.copies = reads_input(&format!("copy {}", &rest[4..])),
            _ => {}
        }
    }

    fn sent(&mut self) {
        self.copies |= reads_input(&self.pending);
        self.clear();
    }

    fn clear(&mut self) {
        self.pending.clear();
        self.words.clear();
        self.parentheses = 0;
        self.bodies = 0;
    }
}

/// Whether it is a COPY … FROM STDIN (or STDOUT, which the grammar takes for the same).
fn reads_input(statement: &str) -> bool {
    let lower = statement.to_ascii_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| c.is_whitespace() || c == ';')
        .filter(|w| !w.is_empty())
        .collect();
    words.first().is_some_and(|w| *w == "copy") && words.windows(2).any(|w| w == ["from", "stdin"] || w == ["from", "stdout"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<String> {
        split(text).into_iter().map(|s| s.text).collect()
    }

    #[test]
    fn a_segment_ends_where_psql_has_nothing_pending() {
        assert_eq!(cut("SELECT 1;\nSELECT 'a;\nb';\n"), ["SELECT 1;\n", "SELECT 'a;\nb';\n"]);
        assert_eq!(
            cut("SELECT E'\\';' ;\nSELECT '\\';\n"),
            ["SELECT E'\\';' ;\n", "SELECT '\\';\n"]
        );
        assert_eq!(cut("DO $x$ ; $$ ;\n$x$;\nSELECT $1;\n").len(), 2);
        assert_eq!(cut("/* ; /* */\n; */ SELECT 1 -- ;\n;\n").len(), 1);
        assert_eq!(cut("SELECT 1\n\\g\nSELECT 2 \\; SELECT 3\n;\n").len(), 2);
        assert_eq!(cut("CREATE RULE r AS ON INSERT TO t DO (SELECT 1;\nSELECT 2);\n").len(), 1);
    }

    #[test]
    fn a_body_of_statements_is_one() {
        let body = "CREATE FUNCTION f() RETURNS int\nBEGIN ATOMIC\n SELECT CASE WHEN true THEN 1 END;\nEND;\nSELECT 1;\n";
        assert_eq!(cut(body).len(), 2);
        assert_eq!(cut("BEGIN;\nSELECT 1;\nEND;\n").len(), 3);
    }

    #[test]
    fn data_goes_with_its_copy_and_a_copy_that_fails_has_none() {
        assert_eq!(cut("COPY t FROM stdin;\n1\ta;b'\n\\.\nSELECT 1;\n").len(), 2);
        assert_eq!(cut("COPY t (no) FROM stdin;\n-- next\nCOPY t FROM stdin;\n1\n\\.\n").len(), 3);
    }

    #[test]
    fn refused_ones_fail_in_their_place() {
        let text = marked(&split("SELECT 1;\nSELECT 2;\n"), &BTreeSet::from([1]));
        assert!(text.contains("\nSELECT 1;\n\\echo :postern_mark 0\n"));
        assert!(text.contains("RAISE EXCEPTION") && !text.contains("SELECT 2"));
    }
}
