//! From bytes to trees: bounds first, then PostgreSQL's own parser.
//!
//! Nothing here looks at meaning. What is refused here would be dangerous even to parse: NUL bytes, texts beyond the bound, comments
//! nested so deep that the scanner takes quadratic time.

use pg_query::protobuf::RawStmt;

use crate::census;
use crate::newer;
use crate::plan::Refusal;

/// Deepest nesting of comments; PostgreSQL's scanner takes quadratic time in it.
const MAX_COMMENT_DEPTH: usize = 32;

/// Deepest nesting of tree nodes (two per level of an expression). The walkers recurse; their threads have 8 MiB stacks.
pub(crate) const MAX_TREE_DEPTH: usize = 1_600;

/// How a token comment starts, right after `/*`.
const TOKEN_MARK: &str = "postern:";

/// A statement as PostgreSQL reads it, not yet judged.
pub(crate) struct Parsed {
    /// The tree.
    pub(crate) stmt: RawStmt,
}

/// Reads a batch.
pub(crate) fn parse(sql: &str, max_bytes: usize) -> Result<Vec<Parsed>, Refusal> {
    bounds(sql, max_bytes)?;
    let result = pg_query::parse(sql, 0).map_err(|e| syntax_error(sql, &e))?;
    let mut statements = Vec::with_capacity(result.protobuf.stmts.len());
    for stmt in result.protobuf.stmts {
        census::depth_within(&stmt, MAX_TREE_DEPTH)?;
        statements.push(Parsed { stmt });
    }
    newer::refuse(sql)?;
    Ok(statements)
}

/// Takes the one leading `/*postern:…*/` comment off. White space may stand before it; anything else, and it is no token.
pub fn leading_token(sql: &str) -> Result<Option<(&str, &str)>, Refusal> {
    let start = sql.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
    let Some(body) = start.strip_prefix("/*").and_then(|b| b.strip_prefix(TOKEN_MARK)) else {
        return Ok(None);
    };
    let Some((token, rest)) = body.split_once("*/") else {
        return Err(Refusal::syntax("unterminated /* comment"));
    };
    if token.is_empty()
        || !token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    {
        return Err(Refusal::new("28000", "token", "the token comment does not hold a token")
            .hint("Write /*postern:TOKEN*/ with a token as the issuer gave it."));
    }
    Ok(Some((token, rest)))
}

pub(crate) fn bounds(sql: &str, max_bytes: usize) -> Result<(), Refusal> {
    if sql.len() > max_bytes {
        return Err(Refusal::new(
            "54000",
            "size",
            format!("the statement is longer than the {max_bytes} bytes allowed"),
        )
        .hint("Send fewer rows per statement, or raise limits.max_sql_bytes."));
    }
    if sql.bytes().any(|b| b == 0) {
        return Err(Refusal::new("22021", "encoding", "the statement holds a zero byte"));
    }
    if comment_depth(sql, false) > MAX_COMMENT_DEPTH && comment_depth(sql, true) > MAX_COMMENT_DEPTH {
        return Err(Refusal::new("54001", "size", "comments are nested too deeply"));
    }
    Ok(())
}

/// Deepest nesting of comments. Without `quotes` each `/*` counts, also inside a literal: too much, never too little. With it, literals
/// are stepped over as PostgreSQL's scanner does.
fn comment_depth(sql: &str, quotes: bool) -> usize {
    let bytes = sql.as_bytes();
    let (mut depth, mut deepest, mut i) = (0usize, 0usize, 0usize);
    while i < bytes.len() {
        match (bytes[i], bytes.get(i + 1)) {
            (b'/', Some(b'*')) => {
                depth += 1;
                deepest = deepest.max(depth);
                i += 2;
            }
            (b'*', Some(b'/')) if depth > 0 => {
                depth -= 1;
                i += 2;
            }
            _ if depth > 0 || !quotes => i += 1,
            (b'-', Some(b'-')) => i = find(bytes, i, b"\n"),
            (b'"', _) => i = find(bytes, i + 1, b"\""),
            (b'\'', _) => i = literal_end(bytes, i),
            (b'$', _) if !continues_name(bytes, i) => i = dollar_end(bytes, i),
            _ => i += 1,
        }
    }
    deepest
}

/// Right behind the next occurrence of `needle` at or after `from`, or the end.
fn find(bytes: &[u8], from: usize, needle: &[u8]) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.windows(needle.len())
        .position(|w| w == needle)
        .map_or(bytes.len(), |at| from + at + needle.len())
}

/// Whether the byte at `i` belongs to a name or number that began before it.
fn continues_name(bytes: &[u8], i: usize) -> bool {
    i.checked_sub(1)
        .is_some_and(|p| bytes[p].is_ascii_alphanumeric() || matches!(bytes[p], b'_' | b'$' | 0x80..))
}

/// The end of the `'…'` that starts at `i`; in `E'…'` a backslash takes the next byte along.
fn literal_end(bytes: &[u8], i: usize) -> usize {
    let escapes = i > 0 && matches!(bytes[i - 1], b'e' | b'E') && !continues_name(bytes, i - 1);
    let mut at = i + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if escapes => at += 2,
            b'\'' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of the `$tag$ … $tag$` that starts at `i`, or behind the `$` if none does.
fn dollar_end(bytes: &[u8], i: usize) -> usize {
    let tag = bytes[i + 1..]
        .iter()
        .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | 0x80..)));
    match tag {
        Some(n) if bytes[i + 1 + n] == b'$' && !bytes[i + 1].is_ascii_digit() => {
            let tag = &bytes[i..i + n + 2];
            find(bytes, i + tag.len(), tag)
        }
        _ => i + 1,
    }
}

/// PostgreSQL's parser names the offending token in quotes, which may be a literal: only its first words are kept.
fn syntax_error(sql: &str, error: &pg_query::Error) -> Refusal {
    let text = match error {
        pg_query::Error::Parse(text) => text.as_str(),
        _ => {
            return Refusal::new("54001", "size", "the statement could not be read")
                .hint("Make it smaller or less deeply nested.");
        }
    };
    if text.contains("stack depth") || text.contains("memory") {
        return Refusal::new("54001", "size", "the statement is nested too deeply");
    }
    let kept = match text.split_once(" at or near ") {
        Some((head, near)) => {
            let word = near.strip_prefix('"').and_then(|n| n.strip_suffix('"')).unwrap_or(near);
            let name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            let sign = |b: u8| b.is_ascii_punctuation() && !matches!(b, b'\'' | b'"' | b'$' | b'\\');
            let plain = word.len() <= 63
                && word.bytes().next().is_some_and(|b| !b.is_ascii_digit())
                && (word.bytes().all(name) || word.bytes().all(sign));
            if plain {
                format!("{head} at or near \"{word}\"")
            } else {
                head.to_owned()
            }
        }
        None => text.to_owned(),
    };
    let refusal = Refusal::syntax(kept);
    match place(sql, text).and_then(|at| i32::try_from(at).ok()) {
        Some(at) => refusal.at(at),
        None => refusal,
    }
}

/// Most tokens that are tried, and the longest text in which they are: each try reads it anew.
const CANDIDATES: usize = 16;
const LONGEST_PLACED: usize = 16 << 10;

/// Where PostgreSQL's parser gave up: at the first token of that spelling before which the text can go on, and behind which it cannot.
fn place(sql: &str, message: &str) -> Option<usize> {
    if message.ends_with(" at end of input") {
        return Some(sql.len());
    }
    if sql.len() > LONGEST_PLACED {
        return None;
    }
    let near = message.split_once(" at or near \"")?.1.strip_suffix('"')?;
    let Ok(scanned) = pg_query::scan(sql) else {
        // What does not end goes to the end of the text.
        return sql.ends_with(near).then(|| sql.len() - near.len());
    };
    let bytes = |n: i32| usize::try_from(n).ok();
    scanned
        .tokens
        .iter()
        .filter_map(|t| Some((bytes(t.start)?, bytes(t.end)?)))
        .filter(|(start, end)| sql.get(*start..*end) == Some(near))
        .take(CANDIDATES)
        .find(|(_, end)| matches!(pg_query::parse(&sql[..*end], 0), Err(pg_query::Error::Parse(m)) if m == message))
        .map(|(start, _)| start)
}
