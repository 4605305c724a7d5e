//! The table.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::outcome::{Reason, Verdict};
use crate::schedule::File;

/// A file's line.
pub struct Row {
    /// Which.
    pub file: File,
    counts: [usize; 5],
    refusals: BTreeMap<Reason, usize>,
}

const VERDICTS: [Verdict; 5] = [
    Verdict::Same,
    Verdict::Shorter,
    Verdict::Refused,
    Verdict::Consequence,
    Verdict::Other,
];

impl Verdict {
    /// As the table calls it.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Shorter => "shorter error",
            Verdict::Refused => "refused",
            Verdict::Consequence => "consequence",
            Verdict::Other => "other",
        }
    }

    fn index(self) -> usize {
        VERDICTS
            .iter()
            .position(|v| *v == self)
            .expect("invariant: all of them are listed")
    }
}

impl Row {
    /// With nothing in it.
    pub fn new(file: File) -> Self {
        Self {
            file,
            counts: [0; 5],
            refusals: BTreeMap::new(),
        }
    }

    /// Adds a statement.
    pub fn add(&mut self, verdict: Verdict, reason: Option<&Reason>) {
        self.counts[verdict.index()] += 1;
        if verdict == Verdict::Refused {
            let reason = reason.cloned().unwrap_or_else(|| Reason {
                word: "unknown".to_owned(),
                sqlstate: String::new(),
                message: String::new(),
            });
            *self.refusals.entry(reason).or_default() += 1;
        }
    }

    /// How many statements have that verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.counts[verdict.index()]
    }

    fn statements(&self) -> usize {
        self.counts.iter().sum()
    }

    /// For the terminal.
    pub fn line(&self) -> String {
        let mut line = format!("{:<24}{:>6}", self.file.name, self.statements());
        for verdict in VERDICTS {
            write!(line, "  {} {}", verdict.word(), self.count(verdict)).expect("a String takes everything");
        }
        line
    }

    fn by_word(&self) -> BTreeMap<&str, usize> {
        let mut words: BTreeMap<&str, usize> = BTreeMap::new();
        for (reason, n) in &self.refusals {
            *words.entry(&reason.word).or_default() += n;
        }
        words
    }
}

/// The table of all files.
pub fn table(rows: &[Row]) -> String {
    let mut out = String::from(
        "# PostgreSQL's regression suite through the module `lab`\n\n\
         Made by `make regress`; [README.md](README.md) says how to read it and lists the refusals. A star marks the files that may differ by refusals alone.\n\n\
         | file | statements | same | shorter error | refused | consequence | other | refused, by reason |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let words: Vec<String> = row.by_word().iter().map(|(w, n)| format!("{w} {n}")).collect();
        let star = if row.file.named { " *" } else { "" };
        write!(out, "| {}{star} | {}", row.file.name, row.statements()).expect("a String takes everything");
        for verdict in VERDICTS {
            write!(out, " | {}", row.count(verdict)).expect("a String takes everything");
        }
        writeln!(out, " | {} |", words.join(", ")).expect("a String takes everything");
    }
    let total = |v: Verdict| rows.iter().map(|r| r.count(v)).sum::<usize>();
    let all: usize = rows.iter().map(Row::statements).sum();
    write!(out, "| **all {}** | **{all}**", rows.len()).expect("a String takes everything");
    for verdict in VERDICTS {
        write!(out, " | **{}**", total(verdict)).expect("a String takes everything");
    }
    out.push_str(" | |\n\n## Refusals, by sentence\n\nNames are left out.\n\n| reason | SQLSTATE | sentence | statements | files |\n|---|---|---|---|---|\n");
    for (reason, (n, files)) in by_sentence(rows) {
        writeln!(
            out,
            "| {} | {} | {} | {n} | {files} |",
            reason.word,
            reason.sqlstate,
            reason.message.replace('|', "\\|")
        )
        .expect("a String takes everything");
    }
    out
}

/// What was refused, for the terminal: with names, most frequent first.
pub fn refusals(rows: &[Row]) -> String {
    let mut sum: BTreeMap<&Reason, (usize, Vec<&str>)> = BTreeMap::new();
    for row in rows {
        for (reason, n) in &row.refusals {
            let entry = sum.entry(reason).or_default();
            entry.0 += n;
            entry.1.push(&row.file.name);
        }
    }
    let mut lines: Vec<_> = sum.into_iter().collect();
    lines.sort_by_key(|(_, (n, _))| std::cmp::Reverse(*n));
    let mut out = String::new();
    for (reason, (n, files)) in lines {
        let files = files.iter().take(6).copied().collect::<Vec<_>>().join(" ");
        writeln!(out, "{n:>5} {} {} {} [{files}]", reason.word, reason.sqlstate, reason.message)
            .expect("a String takes everything");
    }
    out
}

fn by_sentence(rows: &[Row]) -> BTreeMap<Reason, (usize, usize)> {
    let mut sum: BTreeMap<Reason, (usize, usize)> = BTreeMap::new();
    for row in rows {
        let mut here: BTreeMap<Reason, usize> = BTreeMap::new();
        for (reason, n) in &row.refusals {
            let general = Reason {
                message: nameless(&reason.message),
                ..reason.clone()
            };
            *here.entry(general).or_default() += n;
        }
        for (reason, n) in here {
            let entry = sum.entry(reason).or_default();
            entry.0 += n;
            entry.1 += 1;
        }
    }
    sum
}

/// A sentence without the names in it.
fn nameless(message: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for c in message.chars() {
        if c == '"' {
            if quoted {
                out.push('…');
            }
            quoted = !quoted;
            out.push(c);
        } else if !quoted {
            out.push(c);
        }
    }
    let words: Vec<&str> = out.split(' ').collect();
    let mut shown: Vec<&str> = Vec::with_capacity(words.len());
    for (i, word) in words.iter().enumerate() {
        let named = i > 0
            && matches!(words[i - 1], "function" | "column" | "type" | "relation" | "option")
            && !matches!(*word, "of" | "with" | "does" | "is");
        shown.push(if named && !word.starts_with('"') { "…" } else { word });
    }
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_shown_without_names() {
        assert_eq!(
            nameless("permission denied for function pg_sleep"),
            "permission denied for function …"
        );
        assert_eq!(nameless("relation \"a b\" does not exist"), "relation \"…\" does not exist");
    }
}
