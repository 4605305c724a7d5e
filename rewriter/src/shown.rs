//! Statements as people may see them, and what they do to the transaction that they run in. Nothing here decides what runs.

use pg_query::protobuf::{Token, TransactionStmtKind};
use pg_query::{NodeEnum, protobuf};

use crate::parse;

/// What stands for a literal.
const HIDDEN: &str = "?";

/// The statement without its literals and comments, on one line: tokens of PostgreSQL's own scanner, with one blank where there was a gap. Every
/// string and number is `?`, wherever it stands. `None` where the scanner gives up, so that it cannot be told what is a literal.
pub fn masked(sql: &str, max_bytes: usize) -> Option<String> {
    parse::bounds(sql, max_bytes).ok()?;
    let tokens = pg_query::scan(sql).ok()?.tokens;
    let mut shown = String::with_capacity(sql.len());
    let mut end = 0;
    for token in tokens {
        let kind = Token::try_from(token.token).ok()?;
        let text = match kind {
            Token::SqlComment | Token::CComment => continue,
            Token::Sconst | Token::Usconst | Token::Bconst | Token::Xconst | Token::Fconst | Token::Iconst => HIDDEN,
            _ => sql.get(usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?)?,
        };
        if token.start > end && !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(text);
        end = token.end;
    }
    Some(shown)
}

/// Whether a batch begins or ends a transaction; savepoints do not. `false` for what does not parse, which no server runs.
pub fn ends_transaction(sql: &str, max_bytes: usize) -> bool {
    let Ok(statements) = parse::parse(sql, max_bytes) else {
        return false;
    };
    let within = [
        TransactionStmtKind::TransStmtSavepoint,
        TransactionStmtKind::TransStmtRelease,
        TransactionStmtKind::TransStmtRollbackTo,
    ];
    statements
        .iter()
        .any(|parsed| match parsed.stmt.stmt.as_ref().and_then(|s| s.node.as_ref()) {
            Some(NodeEnum::TransactionStmt(t)) => {
                let t: &protobuf::TransactionStmt = t;
                !within.iter().any(|kind| *kind as i32 == t.kind)
            }
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1 << 20;

    #[test]
    fn no_literal_and_no_comment_is_shown() {
        for (sql, shown) in [
            ("SELECT a.b, f(x) FROM t WHERE n = 17", "SELECT a.b, f(x) FROM t WHERE n = ?"),
            ("select 'it''s' /* 'secret' */ || E'\\n' -- more\n, $1", "select ? || ? , $1"),
            (
                "SELECT $q$secret$q$, U&'secret', X'1F', B'1', 1.5e3, 0x1f",
                "SELECT ?, ?, ?, ?, ?, ?",
            ),
            ("INSERT INTO t (a, b) VALUES ('x', 1)", "INSERT INTO t (a, b) VALUES (?, ?)"),
            ("COMMENT ON TABLE t IS 'secret'", "COMMENT ON TABLE t IS ?"),
            ("SELECT x::text, y[1] FROM t", "SELECT x::text, y[?] FROM t"),
        ] {
            assert_eq!(masked(sql, MOST).as_deref(), Some(shown), "{sql}");
        }
    }

    #[test]
    fn what_cannot_be_scanned_is_not_shown() {
        for sql in [
            "SELECT 'secret",
            "SELECT /* secret",
            "SELECT \"secret",
            "SELECT $q$secret",
            "SELECT \0",
        ] {
            assert_eq!(masked(sql, MOST), None, "{sql}");
        }
        assert_eq!(masked("SELECT 1", 4), None);
    }

    #[test]
    fn a_transaction_is_ended_by_its_statements_and_by_nothing_else() {
        for sql in [
            "COMMIT",
            "SELECT 1; end",
            "ROLLBACK AND CHAIN",
            "BEGIN",
            "/* x */ ABORT",
            "PREPARE TRANSACTION 'x'",
            "START TRANSACTION",
        ] {
            assert!(ends_transaction(sql, MOST), "{sql}");
        }
        for sql in [
            "SELECT 'COMMIT'",
            "SAVEPOINT a",
            "ROLLBACK TO a",
            "RELEASE a",
            "SELECT 1 -- COMMIT",
            "COMMIT COMMIT",
        ] {
            assert!(!ends_transaction(sql, MOST), "{sql}");
        }
    }
}
