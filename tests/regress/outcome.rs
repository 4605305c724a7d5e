//! What a run printed, segment by segment, and how two runs differ.
//!
//! A difference is a refusal where Postern refused that statement (its refusals name their reason in the error's field R, which no error of PostgreSQL's
//! that passed through Postern has), a consequence where the direct run prints the same once the refused statements fail there too,
//! and anything else is a difference of ours.

use std::collections::{BTreeMap, BTreeSet};

use crate::script::{END, MARK};

/// What one segment printed.
#[derive(Default, Clone)]
pub struct Printed {
    /// Everything, normalised.
    pub text: String,
    /// The last error's SQLSTATE, if there was one in it.
    pub sqlstate: Option<String>,
    /// Why Postern refused, if it did.
    pub refusal: Option<Reason>,
}

/// A refusal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// The fixed word.
    pub word: String,
    /// SQLSTATE.
    pub sqlstate: String,
    /// Its sentence.
    pub message: String,
}

impl Reason {
    /// It says, in PostgreSQL's words, that something is missing or that the transaction has failed: it may follow from an earlier refusal.
    fn may_follow(&self) -> bool {
        matches!(
            self.sqlstate.as_str(),
            "42P01" | "42703" | "42704" | "42883" | "3F000" | "25P02" | "26000" | "34000" | "3B001" | "25P01"
        )
    }
}

/// Reads a run's output.
pub fn read(output: &str) -> BTreeMap<usize, Printed> {
    let mut found = BTreeMap::new();
    let mut rest = output;
    while let Some((text, after)) = rest.split_once(MARK) {
        let (number, after) = after.split_once('\n').unwrap_or((after, ""));
        let end = format!("{END} {}", number.trim());
        let (verbose, after) = after.split_once(&end).unwrap_or(("", after));
        rest = after.strip_prefix('\n').unwrap_or(after);
        if let Ok(n) = number.trim().parse() {
            found.insert(n, printed(text, verbose));
        }
    }
    found
}

fn printed(text: &str, verbose: &str) -> Printed {
    let failed = text.lines().any(|l| l.starts_with("ERROR:") || l.starts_with("FATAL:"));
    let mut printed = Printed {
        text: normalised(text),
        ..Printed::default()
    };
    if !failed {
        return printed;
    }
    // With ECHO all psql prints the commands too.
    let mut lines = verbose.lines().filter(|l| !l.starts_with('\\'));
    if let Some((sqlstate, message)) = lines
        .next()
        .and_then(|l| l.split_once(":  "))
        .and_then(|(_, l)| l.split_once(": "))
    {
        printed.sqlstate = Some(sqlstate.to_owned());
        // PostgreSQL names a function and a line of its source; Postern one word.
        let ours = lines
            .find_map(|l| l.strip_prefix("LOCATION:  "))
            .filter(|l| !l.contains(".c:"));
        printed.refusal = ours.map(|word| Reason {
            word: word.trim_end_matches([',', ' ']).to_owned(),
            sqlstate: sqlstate.to_owned(),
            message: message.to_owned(),
        });
    }
    printed
}

/// What differs between two runs of anything, by name:
/// - numbers of relations and other objects where a text names them as such;
/// - backends' process ids in notifications.
fn normalised(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut line = line.trim_end().to_owned();
        for before in ["with OID ", "server process with PID ", "pg_temp_", "pg_toast_"] {
            line = without_number(&line, before);
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}

fn without_number(line: &str, before: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(before) {
        let (head, tail) = rest.split_at(at + before.len());
        out.push_str(head);
        let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
        out.push_str(if digits > 0 { "N" } else { "" });
        rest = &tail[digits..];
    }
    out.push_str(rest);
    out
}

/// How a segment's answer through Postern compares.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same.
    Same,
    /// The same error, without the position, detail or context that PostgreSQL gives.
    Shorter,
    /// Postern refused it.
    Refused,
    /// As on PostgreSQL, had the refused statements failed there.
    Consequence,
    /// None of these.
    Other,
}

/// Judges a segment: what came directly, what came directly while the refused ones failed, what came through Postern, and whether it was made to fail.
pub fn verdict(direct: &Printed, failing: &Printed, through: &Printed, refused: bool) -> Verdict {
    // PostgreSQL's own syntax error, told by Postern without the literal that it would repeat or point into.
    let syntax = through.refusal.as_ref().is_some_and(|r| r.word == "syntax") && direct.sqlstate == through.sqlstate;
    if direct.text == through.text {
        Verdict::Same
    } else if refused || syntax {
        Verdict::Refused
    } else if failing.text == through.text {
        Verdict::Consequence
    } else if direct.same_error(through) {
        Verdict::Shorter
    } else if failing.same_error(through) || failing.lacks_as(through) {
        Verdict::Consequence
    } else {
        Verdict::Other
    }
}

impl Printed {
    /// Both say that something is missing, in whatever words.
    fn lacks_as(&self, through: &Printed) -> bool {
        self.sqlstate.is_some() && self.sqlstate == through.sqlstate && through.refusal.as_ref().is_some_and(Reason::may_follow)
    }

    /// The same but for lines that Postern takes out of errors.
    fn same_error(&self, through: &Printed) -> bool {
        let here = without_details(&self.text);
        here == without_details(&through.text)
            || (self.sqlstate.is_some()
                && self.sqlstate == through.sqlstate
                && through.refusal.as_ref().is_some_and(Reason::may_follow)
                && {
                    let words = |t: &str| {
                        t.lines()
                            .filter(|l| l.starts_with("ERROR:"))
                            .map(unqualified)
                            .collect::<Vec<_>>()
                    };
                    words(&here) == words(&through.text)
                })
    }
}

fn unqualified(line: &str) -> String {
    line.replace("lab.", "")
}

/// Without LINE and its caret, DETAIL, CONTEXT, QUERY and their further lines; HINT stays.
fn without_details(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    let mut dropping = false;
    while let Some(line) = lines.next() {
        if line.starts_with("LINE ") {
            lines.next_if(|l| l.trim() == "^");
            dropping = false;
            continue;
        }
        if ["DETAIL:  ", "CONTEXT:  ", "QUERY:  "].iter().any(|d| line.starts_with(d)) {
            dropping = true;
            continue;
        }
        let starts = ["ERROR:", "HINT:", "NOTICE:", "WARNING:", "INFO:", "psql:"]
            .iter()
            .any(|d| line.starts_with(d));
        if dropping && !starts && looks_like_detail(line) {
            continue;
        }
        dropping = false;
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// A further line of a CONTEXT or DETAIL.
fn looks_like_detail(line: &str) -> bool {
    [
        "PL/pgSQL function",
        "SQL statement",
        "SQL function",
        "COPY ",
        "drop cascades to",
        "owner of",
        "privileges for",
        "        ",
    ]
    .iter()
    .any(|d| line.starts_with(d))
        || line.contains(" depends on ")
}

/// The segments that Postern refused although PostgreSQL, in the same state, answered otherwise.
pub fn newly_refused(
    failing: &BTreeMap<usize, Printed>,
    through: &BTreeMap<usize, Printed>,
    known: &BTreeSet<usize>,
    following_too: bool,
) -> BTreeSet<usize> {
    let nothing = Printed::default();
    through
        .iter()
        .filter(|(n, p)| {
            let there = failing.get(n).unwrap_or(&nothing);
            !known.contains(n)
                && p.refusal.as_ref().is_some_and(|r| following_too || !r.may_follow())
                && there.text != p.text
                && !there.same_error(p)
                && !there.lacks_as(p)
                // A transaction that has failed is never the origin.
                && p.sqlstate.as_deref() != Some("25P02")
        })
        .map(|(n, _)| *n)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str, verbose: &str) -> Printed {
        let read = read(&format!("{text}{MARK} 3\n{verbose}{END} 3\n"));
        read.get(&3).cloned().unwrap_or_default()
    }

    #[test]
    fn a_refusal_is_told_by_its_field() {
        let refused = answer("ERROR:  no\n", "ERROR:  0A000: no\nHINT:  h\nLOCATION:  construct, \n");
        assert!(
            refused
                .refusal
                .is_some_and(|r| r.word == "construct" && r.sqlstate == "0A000" && r.message == "no")
        );
        let echoed = answer(
            "ERROR:  no\n",
            "\\errverbose\nERROR:  0A000: no\nLOCATION:  construct, \n\\echo :postern_end 3\n",
        );
        assert!(echoed.refusal.is_some_and(|r| r.word == "construct" && r.message == "no"));
        assert!(answer("ERROR:  no\n", "ERROR:  0A000: no\n").refusal.is_none());
        assert!(
            answer("ERROR:  no\n", "ERROR:  22012: no\nLOCATION:  int4div, int.c:840\n")
                .refusal
                .is_none()
        );
        // An earlier statement's.
        assert!(
            answer("fine\n", "ERROR:  0A000: no\nLOCATION:  construct, \n")
                .refusal
                .is_none()
        );
    }

    #[test]
    fn every_difference_has_one_verdict() {
        let plain = answer("1\n", "");
        let error = answer("ERROR:  x\nLINE 1: y\n        ^\nDETAIL:  z\n", "ERROR:  22012: x\n");
        let shorter = answer("ERROR:  x\n", "ERROR:  22012: x\n");
        let refused = answer("ERROR:  no\n", "ERROR:  0A000: no\nLOCATION:  construct, \n");
        assert!(verdict(&plain, &plain, &plain, false) == Verdict::Same);
        assert!(verdict(&error, &error, &shorter, false) == Verdict::Shorter);
        assert!(verdict(&plain, &plain, &refused, true) == Verdict::Refused);
        assert!(verdict(&plain, &error, &shorter, false) == Verdict::Consequence);
        // The same error about other values, because what would have changed them was refused.
        let changed = answer("ERROR:  x\nDETAIL:  y\n", "ERROR:  22012: x\n");
        assert!(verdict(&error, &changed, &changed, false) == Verdict::Consequence);
        assert!(verdict(&error, &error, &changed, false) == Verdict::Shorter);
        assert!(verdict(&plain, &plain, &shorter, false) == Verdict::Other);
        assert!(verdict(&plain, &answer("2\n", ""), &answer("3\n", ""), false) == Verdict::Other);
    }

    #[test]
    fn numbers_of_objects_are_left_out_and_others_stay() {
        assert_eq!(normalised("relation with OID 123 and 123"), "relation with OID N and 123\n");
    }
}
