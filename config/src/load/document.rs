//! One TOML file, read so that nothing in it is lost: every value keeps its line, every key must be asked for (or it is an unknown
//! one), and every mistake is noted and reading goes on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;

/// The mistakes of one file, and what turns an offset in it into a line.
pub(super) struct Notes {
    file: PathBuf,
    line_starts: Vec<usize>,
    found: Vec<Problem>,
}

/// A value and the line it starts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

impl Notes {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(i, _)| i + 1))
            .collect();
        Self {
            file: file.to_owned(),
            line_starts,
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, line: usize, message: impl Into<String>) {
        self.found.push(Problem {
            file: self.file.clone(),
            line,
            message: message.into(),
        });
    }

    /// The line (from 1) of a byte offset.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.found
    }
}

/// Parses `text`; syntax errors are noted and what could be read is returned.
pub(super) fn parse<'t>(text: &'t str, notes: &mut Notes) -> Spanned<DeTable<'t>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = error.span().map_or(1, |s| notes.line_of(s.start));
        notes.add(
            line,
            format!(
                "this is not TOML: {}; mend the syntax here",
                error.message().trim().replace('\n', ", ")
            ),
        );
    }
    root
}

/// A table of the file whose keys are taken one by one; [`Section::finish`] names those that nobody took.
pub(super) struct Section<'d, 't> {
    title: String,
    line: usize,
    table: &'d DeTable<'t>,
    asked: BTreeSet<&'static str>,
}

impl<'d, 't> Section<'d, 't> {
    pub(super) fn root(document: &'d Spanned<DeTable<'t>>) -> Self {
        Self {
            title: "the top level".to_owned(),
            line: 1,
            table: document.get_ref(),
            asked: BTreeSet::new(),
        }
    }

    fn of(title: String, value: &'d Spanned<DeValue<'t>>, notes: &mut Notes) -> Option<Self> {
        let line = notes.line_of(value.span().start);
        match value.get_ref() {
            DeValue::Table(table) => Some(Self {
                title,
                line,
                table,
                asked: BTreeSet::new(),
            }),
            other => {
                notes.add(
                    line,
                    format!("{title} must be a table, not {}; write it as keys and values", kind(other)),
                );
                None
            }
        }
    }

    /// Line on which the section starts.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    fn take(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'t>>> {
        self.asked.insert(key);
        self.table.get(key)
    }

    /// Notes that `key` must be there.
    pub(super) fn missing(&self, key: &str, example: &str, notes: &mut Notes) {
        notes.add(self.line, format!("{} lacks `{key}`; add `{key} = {example}`", self.title));
    }

    pub(super) fn text(&mut self, key: &'static str, notes: &mut Notes) -> Option<At<String>> {
        let value = self.take(key)?;
        as_text(value, &format!("`{key}`"), notes)
    }

    /// A string that must be there.
    pub(super) fn need_text(&mut self, key: &'static str, example: &str, notes: &mut Notes) -> Option<At<String>> {
        if !self.has(key) {
            self.missing(key, example, notes);
        }
        let text = self.text(key, notes)?;
        if text.value.is_empty() {
            notes.add(text.line, format!("`{key}` is empty; write something like {example}"));
            return None;
        }
        Some(text)
    }

    /// The line of a key that is there.
    pub(super) fn line_of_key(&self, key: &str, notes: &Notes) -> Option<usize> {
        self.table.get(key).map(|value| notes.line_of(value.span().start))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(super) fn flag(&mut self, key: &'static str, notes: &mut Notes) -> Option<At<bool>> {
        let value = self.take(key)?;
        let line = notes.line_of(value.span().start);
        match value.get_ref() {
            DeValue::Boolean(b) => Some(At { value: *b, line }),
            other => {
                notes.add(
                    line,
                    format!("`{key}` must be true or false, not {}; write one of the two", kind(other)),
                );
                None
            }
        }
    }

    /// A whole number within `range`.
    pub(super) fn number(&mut self, key: &'static str, range: std::ops::RangeInclusive<u64>, notes: &mut Notes) -> Option<u64> {
        let value = self.take(key)?;
        let line = notes.line_of(value.span().start);
        let number = match value.get_ref() {
            DeValue::Integer(i) => u64::from_str_radix(&i.as_str().replace('_', ""), i.radix()).ok(),
            _ => None,
        };
        match number {
            Some(n) if range.contains(&n) => Some(n),
            _ => {
                notes.add(
                    line,
                    format!(
                        "`{key}` must be a whole number from {} to {}; write one",
                        range.start(),
                        range.end()
                    ),
                );
                None
            }
        }
    }

    /// A list of strings.
    pub(super) fn texts(&mut self, key: &'static str, notes: &mut Notes) -> Option<At<Vec<At<String>>>> {
        let value = self.take(key)?;
        as_texts(value, &format!("`{key}`"), notes)
    }

    /// A list of lists of strings.
    pub(super) fn text_lists(&mut self, key: &'static str, notes: &mut Notes) -> Vec<At<Vec<At<String>>>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            let line = notes.line_of(value.span().start);
            notes.add(
                line,
                format!("`{key}` must be a list of lists; write `{key} = [[\"a\", \"b\"]]`"),
            );
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| as_texts(item, &format!("each entry of `{key}`"), notes))
            .collect()
    }

    pub(super) fn section(&mut self, key: &'static str, notes: &mut Notes) -> Option<Section<'d, 't>> {
        let value = self.take(key)?;
        Section::of(format!("[{key}]"), value, notes)
    }

    /// The sections below this one under names that the operator chooses: each name with its section. `part` is this one's own key.
    pub(super) fn named(self, part: &str, notes: &mut Notes) -> Vec<(At<String>, Section<'d, 't>)> {
        let of = |(key, value): (&Spanned<_>, &'d Spanned<DeValue<'t>>)| {
            let name: &str = AsRef::<str>::as_ref(key.get_ref());
            let line = notes.line_of(key.span().start);
            let section = Section::of(format!("[{part}.{name}]"), value, notes)?;
            let value = name.to_owned();
            Some((At { value, line }, section))
        };
        self.table.iter().filter_map(of).collect()
    }

    /// The strings of this section under names that the operator chooses, each with its name.
    pub(super) fn named_texts(self, notes: &mut Notes) -> Vec<(At<String>, At<String>)> {
        let of = |(key, value): (&Spanned<_>, &'d Spanned<DeValue<'t>>)| {
            let name: &str = AsRef::<str>::as_ref(key.get_ref());
            let line = notes.line_of(key.span().start);
            let text = as_text(value, &format!("`{name}`"), notes)?;
            let value = name.to_owned();
            Some((At { value, line }, text))
        };
        self.table.iter().filter_map(of).collect()
    }

    /// The sections of an array of tables, however they are written (`[[key]]` or `key = [{ … }]`).
    pub(super) fn sections(&mut self, key: &'static str, notes: &mut Notes) -> Vec<Section<'d, 't>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            let line = notes.line_of(value.span().start);
            notes.add(
                line,
                format!("`{key}` must be a list of tables; write `[[{key}]]` or `{key} = [{{ … }}]`"),
            );
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| Section::of(format!("this `{key}`"), item, notes))
            .collect()
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self, notes: &mut Notes) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.asked.contains(name) {
                continue;
            }
            let line = notes.line_of(key.span().start);
            let remedy = match nearest(name, self.asked.iter().copied()) {
                Some(close) => format!("did you mean `{close}`?"),
                None => {
                    let known: Vec<&str> = self.asked.iter().copied().collect();
                    format!("remove it (known here: {})", known.join(", "))
                }
            };
            notes.add(line, format!("{} has no key `{name}`; {remedy}", self.title));
        }
    }
}

fn as_text(value: &Spanned<DeValue<'_>>, what: &str, notes: &mut Notes) -> Option<At<String>> {
    let line = notes.line_of(value.span().start);
    match value.get_ref() {
        DeValue::String(s) => Some(At {
            value: s.to_string(),
            line,
        }),
        other => {
            notes.add(
                line,
                format!("{what} must be a string, not {}; put it in quotes", kind(other)),
            );
            None
        }
    }
}

fn as_texts(value: &Spanned<DeValue<'_>>, what: &str, notes: &mut Notes) -> Option<At<Vec<At<String>>>> {
    let line = notes.line_of(value.span().start);
    let DeValue::Array(items) = value.get_ref() else {
        notes.add(
            line,
            format!(
                "{what} must be a list of strings, not {}; put it in brackets",
                kind(value.get_ref())
            ),
        );
        return None;
    };
    let value = items
        .iter()
        .filter_map(|item| as_text(item, &format!("each entry of {what}"), notes))
        .collect();
    Some(At { value, line })
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The known name that a mistyped one is probably meant to be.
pub(crate) fn nearest<'n>(typed: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    known
        .into_iter()
        .map(|k| (distance(typed, k), k))
        .filter(|(d, k)| *d <= 2 && *d < k.chars().count())
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// Levenshtein distance; names are short, so one row of the matrix is all it needs.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(notes: Notes) -> Vec<String> {
        notes.into_problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unknown_keys_are_named_with_their_line_and_the_likely_one() {
        let text = "naem = \"x\"\n\n[[thing]]\nzzz = 1\n";
        let mut notes = Notes::new(Path::new("f.toml"), text);
        let document = parse(text, &mut notes);
        let mut root = Section::root(&document);
        assert!(root.text("name", &mut notes).is_none());
        for mut thing in root.sections("thing", &mut notes) {
            assert!(thing.text("size", &mut notes).is_none());
            thing.finish(&mut notes);
        }
        root.finish(&mut notes);
        assert_eq!(
            problems(notes),
            [
                "f.toml:4: this `thing` has no key `zzz`; remove it (known here: size)",
                "f.toml:1: the top level has no key `naem`; did you mean `name`?"
            ]
        );
    }

    #[test]
    fn known_keys_raise_nothing() {
        let text = "name = \"x\"\nflag = true\nn = 0x10\n";
        let mut notes = Notes::new(Path::new("f.toml"), text);
        let document = parse(text, &mut notes);
        let mut root = Section::root(&document);
        assert_eq!(
            root.need_text("name", "\"n\"", &mut notes).map(|t| (t.value, t.line)),
            Some(("x".into(), 1))
        );
        assert_eq!(root.flag("flag", &mut notes).map(|t| t.line), Some(2));
        assert_eq!(root.number("n", 1..=16, &mut notes), Some(16));
        root.finish(&mut notes);
        assert!(problems(notes).is_empty());
    }

    #[test]
    fn wrong_kinds_and_broken_syntax_are_all_noted() {
        let text = "a = 1\nb = \"x\"\nc = 99\nd = [1]\ne = \n";
        let mut notes = Notes::new(Path::new("f.toml"), text);
        let document = parse(text, &mut notes);
        let mut root = Section::root(&document);
        root.text("a", &mut notes);
        root.flag("b", &mut notes);
        root.number("c", 1..=16, &mut notes);
        root.texts("d", &mut notes);
        let lines: Vec<usize> = notes.into_problems().iter().map(|p| p.line).collect();
        assert_eq!(lines, [5, 1, 2, 3, 4]);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("primry_key", ["primary_key", "policy"]), Some("primary_key"));
        assert_eq!(nearest("x", ["y"]), None);
    }
}
