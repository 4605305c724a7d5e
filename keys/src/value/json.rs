//! `jsonb`, as PostgreSQL prints it.
//!
//! Keys are ordered by length and then by bytes, the last of equal keys wins, numbers are `numeric`, strings are escaped as
//! `escape_json` does. The reader is strict (RFC 8259) and bounded in depth; its own, because numbers must keep every digit.

use super::{ValueError, numeric};

/// Deepest nesting. PostgreSQL's own limit is the server's stack, at some thousands.
pub(super) const MAX_DEPTH: usize = 512;

/// How many times its length a document may take once written out, beside [`FREE_BYTES`]: every number that a double can hold fits.
const MAX_GROWTH: usize = 128;
const FREE_BYTES: usize = 8 * 1024;

pub(super) fn normalise(text: &str) -> Result<Vec<u8>, ValueError> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8);
    parse(text)?.print(&mut out, room(text))?;
    Ok(out)
}

/// Bytes that the text may take once written out. `1e131071` is eight bytes in and 131,072 out, as often as it stands there: without a
/// bound that is relative to the text, one statement of a MiB would take 14 GiB here.
fn room(text: &str) -> usize {
    crate::envelope::MAX_CELL_BYTES.min(text.len().saturating_mul(MAX_GROWTH).saturating_add(FREE_BYTES))
}

/// The normalised text with every number in its shortest spelling, since `1.0` equals `1.00` inside `jsonb` too.
pub(super) fn equality(canonical: &str) -> Result<Vec<u8>, ValueError> {
    let mut json = parse(canonical).map_err(|_| ValueError::Damaged { ty: "jsonb" })?;
    json.shorten_numbers()?;
    let mut out = Vec::with_capacity(canonical.len());
    json.print(&mut out, room(canonical))?;
    Ok(out)
}

const SYNTAX: ValueError = ValueError::Syntax { ty: "json" };

enum Json {
    /// `null`, `true`, `false`.
    Word(&'static [u8]),
    /// Canonical `numeric`.
    Number(Vec<u8>),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Writes at most `room` bytes, and one number more.
    fn print(&self, out: &mut Vec<u8>, room: usize) -> Result<(), ValueError> {
        match self {
            Self::Word(word) => out.extend_from_slice(word),
            Self::Number(number) => numeric::print(number, out)?,
            Self::Text(text) => print_string(text, out),
            Self::Array(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.extend_from_slice(b", ");
                    }
                    item.print(out, room)?;
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (i, (key, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.extend_from_slice(b", ");
                    }
                    print_string(key, out);
                    out.extend_from_slice(b": ");
                    value.print(out, room)?;
                }
                out.push(b'}');
            }
        }
        if out.len() > room {
            return Err(ValueError::TooLarge);
        }
        Ok(())
    }

    fn shorten_numbers(&mut self) -> Result<(), ValueError> {
        match self {
            Self::Word(_) | Self::Text(_) => Ok(()),
            Self::Number(number) => {
                *number = numeric::shortest(number)?;
                Ok(())
            }
            Self::Array(items) => items.iter_mut().try_for_each(Self::shorten_numbers),
            Self::Object(members) => members.iter_mut().try_for_each(|(_, value)| value.shorten_numbers()),
        }
    }
}

fn print_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

fn parse(text: &str) -> Result<Json, ValueError> {
    let mut reader = Reader { text, at: 0 };
    let json = reader.value(0)?;
    reader.space();
    if reader.at == text.len() { Ok(json) } else { Err(SYNTAX) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Result<Json, ValueError> {
        if depth > MAX_DEPTH {
            return Err(ValueError::TooDeep);
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => Err(SYNTAX),
        }
    }

    fn word(&mut self, word: &'static [u8]) -> Result<Json, ValueError> {
        if !self.text.as_bytes()[self.at..].starts_with(word) {
            return Err(SYNTAX);
        }
        self.at += word.len();
        self.ends_token()?;
        Ok(Json::Word(word))
    }

    /// A word or number must not run on into letters, as in `truex` or `1a`.
    fn ends_token(&self) -> Result<(), ValueError> {
        match self.peek() {
            Some(b) if b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80 => Err(SYNTAX),
            _ => Ok(()),
        }
    }

    fn number(&mut self) -> Result<Json, ValueError> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        self.ends_token()?;
        Ok(Json::Number(numeric::from_json(&self.text[start..self.at])?))
    }

    fn digits(&mut self) -> Result<(), ValueError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(SYNTAX) } else { Ok(()) }
    }

    fn array(&mut self, depth: usize) -> Result<Json, ValueError> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.take(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.take(b']') {
                return Ok(Json::Array(items));
            }
            if !self.take(b',') {
                return Err(SYNTAX);
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, ValueError> {
        self.at += 1;
        let mut members: Vec<(String, Json)> = Vec::new();
        self.space();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(SYNTAX);
            }
            let key = self.string()?;
            self.space();
            if !self.take(b':') {
                return Err(SYNTAX);
            }
            members.push((key, self.value(depth + 1)?));
            self.space();
            if self.take(b'}') {
                return Ok(Json::Object(unique(members)));
            }
            if !self.take(b',') {
                return Err(SYNTAX);
            }
        }
    }

    fn string(&mut self) -> Result<String, ValueError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).ok_or(SYNTAX)?;
            out.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                _ => return Err(SYNTAX),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ValueError> {
        let kind = self.peek().ok_or(SYNTAX)?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(SYNTAX),
        })
    }

    fn unicode_escape(&mut self) -> Result<char, ValueError> {
        let first = self.hex4()?;
        let code = match first {
            0 => return Err(ValueError::JsonUnicode),
            0xD800..0xDC00 => {
                if !(self.take(b'\\') && self.take(b'u')) {
                    return Err(SYNTAX);
                }
                match self.hex4()? {
                    low @ 0xDC00..0xE000 => 0x1_0000 + ((first - 0xD800) << 10) + (low - 0xDC00),
                    _ => return Err(SYNTAX),
                }
            }
            other => other,
        };
        // A lone low surrogate is no character.
        char::from_u32(code).ok_or(SYNTAX)
    }

    fn hex4(&mut self) -> Result<u32, ValueError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or(SYNTAX)?;
        self.at += 4;
        digits.iter().try_fold(0, |sum, d| {
            let digit = char::from(*d).to_digit(16).ok_or(SYNTAX)?;
            Ok(sum << 4 | digit)
        })
    }
}

/// PostgreSQL's order of keys, the last of equal ones kept.
fn unique(mut members: Vec<(String, Json)>) -> Vec<(String, Json)> {
    members.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes())));
    // The sort is stable: of equal keys the later one comes later, and takes the earlier one's place.
    members.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            std::mem::swap(later, earlier);
        }
        same
    });
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        String::from_utf8(normalise(text).unwrap()).unwrap()
    }

    #[test]
    fn prints_as_postgresql_does() {
        assert_eq!(
            normal(r#"{"bb":1,"a":{"x":[1,2 ,{}]},"c":[],"bb":2.50}"#),
            r#"{"a": {"x": [1, 2, {}]}, "c": [], "bb": 2.50}"#
        );
        assert_eq!(normal(r#""é😀\/\u0001""#), "\"é😀/\\u0001\"");
        assert_eq!(normal(r#"{"a":1,"a":2,"a":3}"#), r#"{"a": 3}"#);
    }

    #[test]
    fn equality_is_numeric_inside() {
        assert_eq!(equality(r#"{"a": [1.0, 100]}"#), equality(r#"{"a": [1.00, 1e2]}"#));
        assert_ne!(equality(r#"{"a": 1}"#), equality(r#"{"a": "1"}"#));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "+1",
            "'a'",
            "tru",
            "truex",
            "\"a",
            "\"\\x\"",
            "\"\n\"",
            "[1]2",
            "nan",
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\u0041""#,
            "1a",
            "\"\\u00g0\"",
            "\"\\u00\"",
            "{\"a\" 1}",
            "[1 2]",
        ] {
            assert_eq!(normalise(text).unwrap_err().sqlstate(), "22P02", "{text}");
        }
        assert_eq!(normalise(r#""\u0000""#).unwrap_err().sqlstate(), "22P05");
    }

    #[test]
    fn growth_is_bounded() {
        assert_eq!(normal("1e308").len(), 309);
        assert_eq!(normal("1e4000").len(), 4001);
        let doubles = format!("[{}]", vec!["1e308"; 10_000].join(","));
        assert_eq!(normal(&doubles).len(), 10_000 * 311);
        for many in [1, 100, 10_000] {
            let text = format!("[{}]", vec!["1e131071"; many].join(","));
            assert_eq!(normalise(&text), Err(ValueError::TooLarge), "{many}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(normalise(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(normalise(&nested(MAX_DEPTH + 2)), Err(ValueError::TooDeep));
        assert_eq!(normalise(&"[".repeat(1_000_000)), Err(ValueError::TooDeep));
    }
}
