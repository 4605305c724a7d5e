//! Spellings that the parser here knows and PostgreSQL 15 does not.
//!
//! The parser is a newer PostgreSQL's. What 15 does not take (`1_000`, `0x1F`, `$1a`, a vertical tab as white space) is its syntax error here too; what 15
//! takes for something else (`E'\\v'` is the letter there and a vertical tab later) would silently become another value, and is refused.

use pg_query::protobuf::{ScanToken, Token};

use crate::plan::Refusal;

const VERTICAL_TAB: u8 = 0x0b;

/// Refuses a text that has one. It was parsed already.
pub(crate) fn refuse(sql: &str) -> Result<(), Refusal> {
    let suspect = |w: &[u8]| (w[0].is_ascii_digit() && (w[1] == b'_' || w[1].is_ascii_alphabetic())) || w == b"\\v";
    let bytes = sql.as_bytes();
    if !bytes.windows(2).any(suspect) && !bytes.contains(&VERTICAL_TAB) {
        return Ok(());
    }
    let scanned = pg_query::scan(sql).map_err(|_| Refusal::internal("the statement's tokens could not be read"))?;
    let mut before = 0;
    for (i, t) in scanned.tokens.iter().enumerate() {
        let (Ok(start), Ok(end)) = (usize::try_from(t.start), usize::try_from(t.end)) else {
            return Err(Refusal::internal("the statement's tokens could not be read"));
        };
        white_space(sql, before, start)?;
        before = end;
        let text = sql.get(start..end).unwrap_or_default();
        match t.token() {
            Token::Iconst | Token::Fconst => number(text, t)?,
            Token::Param => parameter(sql, t, scanned.tokens.get(i + 1))?,
            Token::Sconst => literal(text, t)?,
            _ => {}
        }
    }
    white_space(sql, before, sql.len())
}

fn number(text: &str, t: &ScanToken) -> Result<(), Refusal> {
    let plain = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    match text.bytes().all(plain) {
        true => Ok(()),
        false => Err(Refusal::syntax("trailing junk after numeric literal").at(t.start)),
    }
}

fn parameter(sql: &str, t: &ScanToken, next: Option<&ScanToken>) -> Result<(), Refusal> {
    let touches =
        next.is_some_and(|n| n.start == t.end && sql.as_bytes().get(n.start as usize).is_some_and(u8::is_ascii_alphabetic));
    match touches {
        true => Err(Refusal::syntax("trailing junk after parameter").at(t.start)),
        false => Ok(()),
    }
}

fn literal(text: &str, t: &ScanToken) -> Result<(), Refusal> {
    let Some(inner) = text.strip_prefix(['e', 'E']) else {
        return Ok(());
    };
    let mut bytes = inner.bytes();
    while let Some(b) = bytes.next() {
        // A backslash takes the next byte along.
        if b == b'\\' && bytes.next() == Some(b'v') {
            return Err(Refusal::construct("The escape \\v in a literal")
                .hint("Versions of PostgreSQL read it differently: write \\x0b for a vertical tab, v for the letter.")
                .at(t.start));
        }
    }
    Ok(())
}

fn white_space(sql: &str, start: usize, end: usize) -> Result<(), Refusal> {
    let gap = sql.as_bytes().get(start..end).unwrap_or_default();
    match gap.iter().position(|b| *b == VERTICAL_TAB) {
        Some(at) => Err(Refusal::syntax("syntax error").at(i32::try_from(start + at).unwrap_or(-1))),
        None => Ok(()),
    }
}
