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
        Token::Sconst | Token::Usconst => {
            let inner = text.trim_start_matches(['E', 'e', 'U', 'u', '&', 'N', 'n']);
            format!("'{}", inner.trim_matches('\'').replace("''", "'"))
        }
        Token::Ident | Token::Uident if text.contains('"') => text
            .trim_start_matches(['U', 'u', '&'])
            .trim_matches('"')
            .replace("\"\"", "\""),
        _ => text.to_lowercase(),
    };
    Some(Lexeme { start, text })
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
