//! Where in the client's text lies what PostgreSQL points at in the text that it was sent.
//!
//! What is sent is printed anew: with schemas, without comments, in the printer's spelling. But its tokens are the client's in the client's order, with others
//! between them. So the token pointed at is looked for among the client's tokens of the same spelling: by its rank where there are as many,
//! else by its neighbours. A token that is not the client's gives no position. This decides where a caret stands and nothing else.

use pg_query::protobuf::{ScanToken, Token};

/// How many neighbours on each side are compared.
const NEIGHBOURS: usize = 4;

/// The client's position (1-based, in characters) for one in the text that was sent.
pub fn client_position(client: &str, sent: &str, position: u32) -> Option<u32> {
    let characters = usize::try_from(position).ok()?.checked_sub(1)?;
    let at = sent.char_indices().nth(characters)?.0;
    let theirs = tokens(sent)?;
    let ours = tokens(client)?;
    let index = theirs.iter().position(|t| t.start == at)?;
    // A schema that the client did not write stands before the name that it did.
    let dotted = theirs.get(index + 1).is_some_and(|t| t.text == ".");
    let found = found(&ours, &theirs, index).or_else(|| found(&ours, &theirs, index + 2).filter(|_| dotted))?;
    u32::try_from(client[..ours[found].start].chars().count() + 1).ok()
}

/// The client's token that is `theirs[index]`.
fn found(ours: &[Lexeme], theirs: &[Lexeme], index: usize) -> Option<usize> {
    let wanted = &theirs.get(index)?.text;
    let same = |list: &[Lexeme]| -> Vec<usize> { (0..list.len()).filter(|i| list[*i].text == *wanted).collect() };
    let (here, there) = (same(ours), same(theirs));
    if here.is_empty() && wanted == "::" {
        // Written as CAST, and told which where there is one.
        let mut casts = (0..ours.len()).filter(|i| ours[*i].text == "cast");
        return casts.next().filter(|_| casts.next().is_none());
    }
    if here.len() == there.len() {
        return here.get(there.iter().position(|i| *i == index)?).copied();
    }
    let alike = |i: &usize| neighbours(ours, *i, theirs, index);
    let best = here.iter().map(alike).max()?;
    let mut candidates = here.iter().filter(|i| alike(i) == best);
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Some(*only),
        _ => None,
    }
}

struct Lexeme {
    start: usize,
    text: String,
}

fn tokens(sql: &str) -> Option<Vec<Lexeme>> {
    let scanned = pg_query::scan(sql).ok()?;
    scanned
        .tokens
        .iter()
        .filter(|t| !matches!(t.token(), Token::SqlComment | Token::CComment))
        .map(|t| lexeme(sql, t))
        .collect()
}

fn lexeme(sql: &str, t: &ScanToken) -> Option<Lexeme> {
    let start = usize::try_from(t.start).ok()?;
    let text = sql.get(start..usize::try_from(t.end).ok()?)?;
    let text = match t.token() {
        // However it is quoted.
        Token::Sconst | Token::Usconst => format!("'{}", value(text)),
        Token::Ident if text.contains('"') => text.trim_matches('"').replace("\"\"", "\""),
        // It is escaped as a literal would be.
        Token::Uident => {
            let name = text.trim_start_matches(['U', 'u', '&']).trim_matches('"');
            value(&format!("U&'{}'", name.replace("\"\"", "\"").replace('\'', "''")))
        }
        _ => text.to_lowercase(),
    };
    Some(Lexeme { start, text })
}

/// What a literal says, so that it is found in whatever spelling the printer gives it.
fn value(literal: &str) -> String {
    if let Some(tagged) = literal.strip_prefix('$') {
        let tag = tagged.find('$').map_or(0, |end| end + 2);
        return literal
            .get(tag..literal.len().saturating_sub(tag))
            .unwrap_or_default()
            .to_owned();
    }
    let (prefix, quoted) = literal.split_once('\'').unwrap_or(("", literal));
    let inner = quoted.strip_suffix('\'').unwrap_or(quoted);
    let (escaped, unicode) = (prefix.eq_ignore_ascii_case("e"), prefix.eq_ignore_ascii_case("u&"));
    let mut said = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\'' => rest = rest.strip_prefix('\'').unwrap_or(rest),
            '\\' if escaped || unicode => {
                let (bytes, length) = if escaped { escape(rest) } else { unicode_escape(rest) };
                said.extend(bytes);
                rest = rest.get(length..).unwrap_or_default();
                continue;
            }
            _ => {}
        }
        said.extend(c.encode_utf8(&mut [0; 4]).bytes());
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// What stands behind a backslash in `E'…'`, and how long it is.
fn escape(rest: &str) -> (Vec<u8>, usize) {
    let character = |code: Option<u32>| code.and_then(char::from_u32).map(|c| c.to_string().into_bytes());
    let byte = |code: Option<u32>| code.map(|c| vec![(c & 0xff) as u8]);
    let Some(first) = rest.chars().next() else {
        return (Vec::new(), 0);
    };
    let (at, radix, most) = match first {
        'b' => return (vec![8], 1),
        'f' => return (vec![12], 1),
        'n' => return (vec![b'\n'], 1),
        'r' => return (vec![b'\r'], 1),
        't' => return (vec![b'\t'], 1),
        '0'..='7' => (0, 8, 3),
        'x' => (1, 16, 2),
        'u' => (1, 16, 4),
        'U' => (1, 16, 8),
        _ => (0, 0, 0),
    };
    let digits = rest[at..].chars().take(most).take_while(|c| c.is_digit(radix.max(2))).count();
    let code = u32::from_str_radix(&rest[at..at + digits], radix.max(2)).ok();
    let said = if most > 3 { character(code) } else { byte(code) };
    match said {
        Some(bytes) => (bytes, at + digits),
        None => (first.to_string().into_bytes(), first.len_utf8()),
    }
}

/// What stands behind a backslash in `U&'…'`, and how long it is.
fn unicode_escape(rest: &str) -> (Vec<u8>, usize) {
    let (at, length) = if rest.starts_with('+') { (1, 6) } else { (0, 4) };
    let code = rest.get(at..at + length).and_then(|d| u32::from_str_radix(d, 16).ok());
    match code.and_then(char::from_u32) {
        Some(c) => (c.to_string().into_bytes(), at + length),
        None => (vec![b'\\'], usize::from(rest.starts_with('\\'))),
    }
}

/// How many tokens around one are those around the other.
fn neighbours(a: &[Lexeme], i: usize, b: &[Lexeme], j: usize) -> usize {
    let before = (1..=NEIGHBOURS)
        .take_while(|d| i >= *d && j >= *d && a[i - d].text == b[j - d].text)
        .count();
    let after = (1..=NEIGHBOURS)
        .take_while(|d| i + d < a.len() && j + d < b.len() && a[i + d].text == b[j + d].text)
        .count();
    before + after
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `^` in either text marks the place behind it.
    fn holds(client: &str, sent: &str) {
        let place = |text: &str| u32::try_from(text[..text.find('^').unwrap()].chars().count() + 1).unwrap();
        let found = client_position(&client.replace('^', ""), &sent.replace('^', ""), place(sent));
        assert_eq!(found, Some(place(client)), "{client} / {sent}");
    }

    #[test]
    fn a_token_is_found_where_the_client_wrote_it() {
        holds("select  ^nope from t -- nope", "SELECT ^nope FROM lab.t");
        holds("SELECT 'ü', ^Nope FROM t", "SELECT 'ü', ^nope FROM lab.t");
        holds("SELECT a, b FROM t WHERE ^a = 'x'", "SELECT a, b FROM lab.t WHERE ^a = 'x'");
        holds("SELECT 'it''s' ^+ 1", "SELECT 'it''s' ^+ 1");
        holds(r"SELECT ^'\u00zz'::json", r"SELECT ^E'\\u00zz'::json");
        holds(r#"SELECT ^'{"a":\'::json"#, r#"SELECT ^E'{"a":\\'::json"#);
        holds(r"SELECT ^$x$a'b\c$x$::json", r"SELECT ^E'a''b\\c'::json");
        holds(r"SELECT ^U&'d\0061t\+000061'::int", "SELECT ^'data'::int");
        holds(r"SELECT ^E'\x41\102\u0043\n\q'::int", "SELECT ^'ABC\nq'::int");
        holds("SELECT 'x'::int, ^'y'::int", "SELECT 'x'::int, ^'y'::int");
        holds("INSERT INTO t VALUES (^E'x\\\\y')", "INSERT INTO lab.t VALUES (^E'x\\\\y')");
        holds(
            "SELECT 1 FROM t, LATERAL (SELECT ^max(a) FROM u) s",
            "SELECT 1 FROM lab.t, LATERAL (SELECT ^pg_catalog.max(a) FROM lab.u) s",
        );
        holds("SELECT ^CAST(interval '1' AS time)", "SELECT '1'::interval^::time");
        // A schema of the same name as a column.
        holds("SELECT lab, ^lab FROM t", "SELECT lab, ^lab FROM lab.t");
    }

    #[test]
    fn what_is_not_the_clients_has_no_place() {
        assert_eq!(client_position("SELECT 1", "SELECT 1 OFFSET 0", 10), None);
        assert_eq!(client_position("SELECT 1", "SELECT 1", 99), None);
        assert_eq!(client_position("SELECT 1", "SELECT 1", 2), None);
        assert_eq!(client_position("SELECT '", "SELECT 1", 8), None);
    }
}
