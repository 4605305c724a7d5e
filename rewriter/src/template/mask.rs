//! Which bytes of a text are literals that may differ from one statement to the next.
//!
//! Promised: where [`mask`] answers, every plain `'…'` string and every plain number of the text is a hole, and nothing else is: the holes
//! are exactly the `SCONST` and `ICONST` tokens of PostgreSQL's own scanner, and those `FCONST` tokens that are digits, or digits with a
//! fraction. The key is the text with each hole replaced by one byte for its kind, a byte that can stand nowhere else in it, so equal keys
//! mean that all remaining bytes are equal. The kinds are those that PostgreSQL types differently without looking any closer: `unknown`,
//! `int4`, `int8`, `numeric`.
//!
//! PostgreSQL's scanner costs more than the rest of a statement's way through the proxy, so this one stands before it: it knows only
//! a part of the language in which literals cannot be mistaken (no comments, no `E''`, `U&''`, `N''`, `B''`, `X''`, no dollar quotes, no
//! strings in several pieces, no numbers with a radix, an exponent or underscores) and gives up on everything else. That it never differs
//! from PostgreSQL's where it answers is tested against that one (`tests/template.rs`).

/// Longest text that is masked.
pub const MAX_BYTES: usize = 16 << 10;

/// Most holes in a text.
pub const MAX_HOLES: usize = 256;

/// Longest number with a fraction that is a hole.
const MAX_DECIMAL: usize = 64;

/// A text's literals and what remains of it. Made once and reused: its buffers keep their size, which [`MAX_BYTES`] and [`MAX_HOLES`] bound.
#[derive(Default, PartialEq, Eq)]
pub struct Masked {
    key: Vec<u8>,
    /// The holes' values, one after the other: strings without their quotes, int4 without leading zeros.
    values: String,
    holes: Vec<Hole>,
    bytes: usize,
}

/// The kind of a literal; PostgreSQL gives each a type of its own before it looks at the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `'…'`: of unknown type.
    String = 1,
    /// Digits, at most 2147483647: `int4`, also if negated.
    Integer = 2,
    /// Digits without a leading zero, more than 2147483648 (which is `int8`, and negated `int4`), at most 9223372036854775807: `int8`.
    Bigint = 3,
    /// Digits with a fraction, without a superfluous leading zero: `numeric`.
    Decimal = 4,
}

impl Kind {
    /// The type that PostgreSQL gives such a literal; 0 for `unknown`.
    pub(super) fn type_oid(self) -> u32 {
        match self {
            Self::String => 0,
            Self::Integer => 23,
            Self::Bigint => 20,
            Self::Decimal => 1700,
        }
    }

    /// What stands for a literal of this kind in a key.
    fn mark(self) -> u8 {
        self as u8
    }
}

#[derive(PartialEq, Eq)]
struct Hole {
    kind: Kind,
    /// Where the token is in the text.
    at: u32,
    until: u32,
    /// The `-` before a number, with at most white space between: where PostgreSQL says the constant is if the sign is a part of it.
    minus: Option<u32>,
    /// Where its value ends in `values`; it begins where the one before ends.
    value_end: u32,
    /// Quotes and backslashes in the value.
    doubled: u32,
    backslash: bool,
}

impl Masked {
    /// The text with its holes masked. Equal keys: equal bytes but for the literals, and the same kinds of literals at the same places.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether there is no hole.
    pub fn is_empty(&self) -> bool {
        self.holes.is_empty()
    }

    /// Length of the text.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn holes(&self) -> usize {
        self.holes.len()
    }

    /// The hole of a constant at that byte of the text, and whether it is negated: it stands at the sign then.
    pub(super) fn hole_at(&self, location: i32) -> Option<(usize, bool)> {
        let at = u32::try_from(location).ok()?;
        match self.holes.binary_search_by_key(&at, |h| h.at) {
            Ok(hole) => Some((hole, false)),
            Err(behind) => self.holes.get(behind).filter(|h| h.minus == Some(at)).map(|_| (behind, true)),
        }
    }

    /// Where a hole's token begins.
    pub(super) fn location(&self, hole: usize) -> Option<i32> {
        self.holes.get(hole).and_then(|h| i32::try_from(h.at).ok())
    }

    pub(super) fn kind(&self, hole: usize) -> Option<Kind> {
        self.holes.get(hole).map(|h| h.kind)
    }

    /// What the literal says: a string's characters, or a number's digits.
    pub(super) fn value(&self, hole: usize) -> &str {
        let end = self.holes.get(hole).map_or(0, |h| h.value_end as usize);
        let start = hole
            .checked_sub(1)
            .and_then(|b| self.holes.get(b))
            .map_or(0, |h| h.value_end as usize);
        self.values.get(start..end).unwrap_or_default()
    }

    /// Length of the literal as [`Masked::write`] writes it.
    pub(super) fn written(&self, hole: usize) -> usize {
        let value = self.value(hole).len();
        match self.holes.get(hole) {
            Some(h) if h.kind == Kind::String => value + 2 + h.doubled as usize + usize::from(h.backslash),
            _ => value,
        }
    }

    /// Writes the literal anew, in the form in which a judged statement is printed: quotes doubled; where there is a backslash, as `E'…'`
    /// with backslashes doubled too.
    pub(super) fn write(&self, hole: usize, out: &mut String) {
        let value = self.value(hole);
        let Some(h) = self.holes.get(hole).filter(|h| h.kind == Kind::String) else {
            out.push_str(value);
            return;
        };
        if h.backslash {
            out.push('E');
        }
        out.push('\'');
        if h.doubled == 0 {
            out.push_str(value);
        } else {
            for c in value.chars() {
                if c == '\'' || c == '\\' {
                    out.push(c);
                }
                out.push(c);
            }
        }
        out.push('\'');
    }

    /// The text of which these are the masked literals, with others where `literal` gives one.
    pub(super) fn with_literals(&self, sql: &str, literal: impl Fn(usize, Kind) -> Option<String>) -> Option<String> {
        let mut out = String::with_capacity(sql.len() + 16 * self.holes.len());
        let mut from = 0;
        for (i, h) in self.holes.iter().enumerate() {
            if let Some(other) = literal(i, h.kind) {
                out.push_str(sql.get(from..h.at as usize)?);
                out.push_str(&other);
                from = h.until as usize;
            }
        }
        out.push_str(sql.get(from..)?);
        Some(out)
    }

    fn clear(&mut self) {
        self.key.clear();
        self.values.clear();
        self.holes.clear();
        self.bytes = 0;
    }
}

/// What a byte outside of literals begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Nothing that is known here.
    Unknown,
    /// White space.
    Space,
    /// A character that is a token, or part of an operator, and cannot make a literal out of what stands behind it.
    Sign,
    /// `-`, `/`, `.`, `&`: begins a comment, a number or a prefixed literal with certain bytes behind it.
    Watched,
    /// A name or keyword.
    Name,
    /// A number.
    Digit,
    /// `'`.
    Quote,
    /// `"`.
    DoubleQuote,
}

static CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::Unknown; 256];
    let mut i = 0;
    while i < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let b = i as u8;
        table[i] = match b {
            b' ' | b'\t' | b'\n' | b'\r' => Class::Space,
            b'(' | b')' | b',' | b';' | b'[' | b']' | b':' | b'=' | b'<' | b'>' | b'+' | b'*' | b'%' | b'^' | b'|' | b'~'
            | b'!' | b'@' | b'#' | b'?' => Class::Sign,
            b'-' | b'/' | b'.' | b'&' => Class::Watched,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Class::Name,
            b'0'..=b'9' => Class::Digit,
            b'\'' => Class::Quote,
            b'"' => Class::DoubleQuote,
            _ => Class::Unknown,
        };
        i += 1;
    }
    table
}

/// Finds the literals of a statement that may be holes of a template. `false`: this text has no template, and `into` holds nothing of use.
/// Allocates nothing once the buffers have grown.
pub fn mask(sql: &str, into: &mut Masked) -> bool {
    into.clear();
    if sql.len() > MAX_BYTES || !begins_as_data(sql.as_bytes()) {
        return false;
    }
    into.bytes = sql.len();
    scan(sql, into).is_some()
}

/// Whether the first word is one with which SELECT, INSERT, UPDATE or DELETE begins.
fn begins_as_data(text: &[u8]) -> bool {
    let start = text
        .iter()
        .position(|b| CLASSES[usize::from(*b)] != Class::Space)
        .unwrap_or(text.len());
    let text = &text[start..];
    let is = |word: &[u8]| text.get(..word.len()).is_some_and(|w| w.eq_ignore_ascii_case(word));
    is(b"select") || is(b"insert") || is(b"update") || is(b"delete") || is(b"with")
}

fn scan(sql: &str, into: &mut Masked) -> Option<()> {
    let text = sql.as_bytes();
    // Up to where the text is in the key.
    let mut kept = 0;
    let mut i = 0;
    while let Some(b) = text.get(i) {
        let next = text.get(i + 1).copied();
        i = match CLASSES[usize::from(*b)] {
            Class::Space | Class::Sign => i + 1,
            Class::Name => name_end(text, i)?,
            Class::Digit => {
                let number = number(text, i)?;
                if let Some(kind) = number.kind {
                    into.hole(sql, kept, i..number.end, kind)?;
                    kept = number.end;
                }
                number.end
            }
            Class::Quote => {
                let end = string_end(text, i)?;
                into.hole(sql, kept, i..end, Kind::String)?;
                kept = end;
                end
            }
            Class::DoubleQuote => quoted_name_end(text, i)?,
            Class::Watched => match (b, next) {
                (b'-', Some(b'-')) | (b'/', Some(b'*')) | (b'&', Some(b'\'' | b'"')) | (b'.', Some(b'0'..=b'9')) => return None,
                _ => i + 1,
            },
            Class::Unknown => return None,
        };
    }
    into.key.extend_from_slice(text.get(kept..)?);
    Some(())
}

/// The end of a name; `None` where it is, or may be, the prefix of a literal.
fn name_end(text: &[u8], start: usize) -> Option<usize> {
    let mut i = start + 1;
    while let Some(b) = text.get(i) {
        match CLASSES[usize::from(*b)] {
            Class::Name | Class::Digit => i += 1,
            Class::Quote | Class::DoubleQuote | Class::Unknown => return None,
            _ => break,
        }
    }
    Some(i)
}

/// The end of a quoted name.
fn quoted_name_end(text: &[u8], start: usize) -> Option<usize> {
    let mut i = start + 1;
    loop {
        match *text.get(i)? {
            b'"' if text.get(i + 1) == Some(&b'"') => i += 2,
            b'"' if i == start + 1 => return None,
            b'"' => return Some(i + 1),
            // The marks of a key are among them.
            0..=31 | 127 => return None,
            _ => i += 1,
        }
    }
}

struct Number {
    end: usize,
    /// `None`: one that stays as it is.
    kind: Option<Kind>,
}

/// Digits, or digits with a fraction; nothing that would make them part of another token may follow.
fn number(text: &[u8], start: usize) -> Option<Number> {
    let mut value = 0u64;
    let mut i = start;
    while let Some(d @ b'0'..=b'9') = text.get(i) {
        value = value.saturating_mul(10).saturating_add(u64::from(d - b'0'));
        i += 1;
    }
    let plain = text.get(start) != Some(&b'0');
    let mut kind = match value {
        0..=2_147_483_647 => Some(Kind::Integer),
        2_147_483_649..=9_223_372_036_854_775_807 if plain => Some(Kind::Bigint),
        _ => None,
    };
    if text.get(i) == Some(&b'.') {
        kind = (plain || i == start + 1).then_some(Kind::Decimal);
        i += 1;
        if !text.get(i).is_some_and(u8::is_ascii_digit) {
            return None;
        }
        while text.get(i).is_some_and(u8::is_ascii_digit) {
            i += 1;
        }
        if text.get(i) == Some(&b'.') {
            return None;
        }
        kind = kind.filter(|_| i - start <= MAX_DECIMAL);
    }
    match text.get(i).map(|b| CLASSES[usize::from(*b)]) {
        Some(Class::Name | Class::Quote | Class::DoubleQuote | Class::Unknown) => None,
        _ => Some(Number { end: i, kind }),
    }
}

/// The end of a plain string; `None` where it does not end, holds a zero byte, or another string follows, which might continue it.
fn string_end(text: &[u8], start: usize) -> Option<usize> {
    let mut i = start + 1;
    let end = loop {
        match *text.get(i)? {
            b'\'' if text.get(i + 1) == Some(&b'\'') => i += 2,
            b'\'' => break i + 1,
            0 => return None,
            _ => i += 1,
        }
    };
    let behind = text.get(end..)?.iter().find(|b| CLASSES[usize::from(**b)] != Class::Space);
    (behind != Some(&b'\'')).then_some(end)
}

impl Masked {
    fn hole(&mut self, sql: &str, kept: usize, token: std::ops::Range<usize>, kind: Kind) -> Option<()> {
        if self.holes.len() == MAX_HOLES {
            return None;
        }
        self.key.extend_from_slice(sql.as_bytes().get(kept..token.start)?);
        self.key.push(kind.mark());
        let (mut doubled, mut backslash) = (0, false);
        match kind {
            Kind::String => {
                let inside = sql.get(token.start + 1..token.end - 1)?;
                let special = inside.bytes().filter(|b| matches!(b, b'\'' | b'\\')).count();
                if special == 0 {
                    self.values.push_str(inside);
                } else {
                    let mut chars = inside.chars();
                    while let Some(c) = chars.next() {
                        if c == '\'' {
                            chars.next();
                        }
                        doubled += u32::from(matches!(c, '\'' | '\\'));
                        backslash |= c == '\\';
                        self.values.push(c);
                    }
                }
            }
            Kind::Integer => {
                let digits = sql.get(token.clone())?.trim_start_matches('0');
                self.values.push_str(if digits.is_empty() { "0" } else { digits });
            }
            Kind::Bigint | Kind::Decimal => self.values.push_str(sql.get(token.clone())?),
        }
        self.holes.push(Hole {
            kind,
            at: u32::try_from(token.start).ok()?,
            until: u32::try_from(token.end).ok()?,
            minus: match kind {
                Kind::String => None,
                _ => minus_before(sql.as_bytes().get(..token.start)?),
            },
            value_end: u32::try_from(self.values.len()).ok()?,
            doubled,
            backslash,
        });
        Some(())
    }
}

/// The `-` at the end of a text, white space apart.
fn minus_before(text: &[u8]) -> Option<u32> {
    let last = text.iter().rposition(|b| CLASSES[usize::from(*b)] != Class::Space)?;
    (text.get(last) == Some(&b'-')).then(|| u32::try_from(last).ok()).flatten()
}
