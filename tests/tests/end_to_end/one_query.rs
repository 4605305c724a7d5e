//! A token and what follows it in one Query: each statement is judged for whom it runs as, not for who sent the Query.

use postern_tests::connection::Connection;
use postern_tests::message::Reply;
use postern_tests::stand::Stand;

use super::attacks::beside_undeclared;

/// All replies of one Query; what it did is undone.
#[track_caller]
fn query(c: &mut Connection, sql: &str) -> Vec<Reply> {
    let replies = c.simple(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    if c.status != 'I' {
        c.run("ROLLBACK").good("ROLLBACK");
    }
    c.run("RESET postern.token").good("RESET");
    replies
}

fn code(replies: &[Reply]) -> &str {
    replies.last().map_or("", Reply::sqlstate)
}

/// The same statements, each a Query of its own.
fn apart(c: &mut Connection, statements: &[&str]) -> String {
    let mut code = String::new();
    for sql in statements {
        code = c.run(sql).sqlstate().to_owned();
        if !code.is_empty() {
            break;
        }
    }
    if c.status != 'I' {
        c.run("ROLLBACK").good("ROLLBACK");
    }
    c.run("RESET postern.token").good("RESET");
    code
}

/// The ways in which a Query may take a user on, before `then`.
fn ways(token: &str, then: &str) -> Vec<Vec<String>> {
    let (set, call, local) = (
        format!("SET postern.token = '{token}'"),
        format!("SELECT postern.set_token('{token}')"),
        format!("SET LOCAL postern.token = '{token}'"),
    );
    let then = then.to_owned();
    vec![
        vec![set.clone(), then.clone()],
        vec![call, then.clone()],
        vec!["BEGIN".to_owned(), local.clone(), then.clone()],
        // The Query is a transaction of its own.
        vec![local, then.clone()],
        vec!["BEGIN".to_owned(), set.clone(), "COMMIT".to_owned(), then.clone()],
        vec!["RESET postern.token".to_owned(), set, then],
    ]
}

#[test]
fn what_is_the_modules_own_is_not_a_users_behind_a_token() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let token = stand.token("disco", "bob");
    beside_undeclared(stand, || {
        for (login, sql) in [
            ("disco.service", "SELECT body FROM hidden_things"),
            ("disco.service", "INSERT INTO hidden_things (body) VALUES ('another')"),
            ("disco.service", "PREPARE p AS SELECT body FROM hidden_things"),
            ("disco.service", "DECLARE c CURSOR FOR SELECT body FROM hidden_things"),
            ("disco.service", "COPY hidden_things TO STDOUT"),
            ("disco.migrator", "CREATE TABLE hidden_other (a int)"),
            ("disco.migrator", "ALTER TABLE hidden_things ADD COLUMN c int"),
            ("disco.migrator", "DROP VIEW hidden_view"),
        ] {
            let mut c = stand.connect(login, None);
            for statements in ways(&token, sql) {
                let whole = statements.join("; ");
                let found = query(&mut c, &whole);
                let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
                assert!(
                    ["42P01", "42501"].contains(&code(&found)),
                    "{login}: {whole}: {:?}",
                    found.last().map(|r| &r.error)
                );
                if !whole.starts_with("SET LOCAL") {
                    assert_eq!(code(&found), apart(&mut c, &statements), "{login}: {whole}: as on its own");
                }
            }
        }
        let made = "SELECT count(*) FROM pg_class WHERE relname = 'hidden_other'";
        assert_eq!(stand.dba_connection().run(made).good(made).scalar().as_deref(), Some("0"));
        // The twins: what a user may, behind each of them; and the module's own ahead of the token, and behind its end.
        let mut service = stand.connect("disco.service", None);
        for statements in ways(&token, "SELECT count(*) FROM survey_users") {
            let whole = statements.join("; ");
            let found = query(&mut service, &whole);
            assert_eq!(code(&found), "", "{whole}");
            assert_eq!(
                found.last().and_then(Reply::scalar).as_deref(),
                Some("1"),
                "{whole}: bob's alone"
            );
        }
        let own = "SELECT body FROM hidden_things";
        for whole in [
            format!("{own}; COMMIT; SET postern.token = '{token}'; SELECT count(*) FROM survey_users"),
            format!("SET postern.token = '{token}'; SELECT count(*) FROM survey_users; COMMIT; RESET postern.token; {own}"),
            format!("SET postern.token = '{token}'; RESET postern.token; {own}"),
            format!("BEGIN; SET LOCAL postern.token = '{token}'; SELECT count(*) FROM survey_users; COMMIT; {own}"),
            format!("BEGIN; SET postern.token = '{token}'; ROLLBACK; {own}"),
            format!("SET postern.token = '{token}'; RESET ALL; {own}"),
        ] {
            let found = query(&mut service, &whole);
            assert_eq!(code(&found), "", "{whole}");
        }
    });
}

#[test]
fn what_a_rollback_brings_back_is_who_it_is() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let token = stand.token("disco", "bob");
    beside_undeclared(stand, || {
        let mut c = stand.connect("disco.service", None);
        let set = format!("SET postern.token = '{token}'");
        for (before, whole, expected) in [
            // The user is forgotten in a transaction alone.
            (
                vec!["BEGIN", "RESET postern.token"],
                "ROLLBACK; SELECT body FROM hidden_things",
                "42P01",
            ),
            (
                vec!["BEGIN", "SAVEPOINT s", "RESET postern.token"],
                "ROLLBACK TO s; SELECT body FROM hidden_things",
                "0A000",
            ),
            // The twins.
            (
                vec!["BEGIN", "RESET postern.token"],
                "COMMIT; SELECT body FROM hidden_things",
                "",
            ),
            (
                vec!["BEGIN", "SAVEPOINT s", "RESET postern.token"],
                "RELEASE s; SELECT body FROM hidden_things",
                "",
            ),
        ] {
            c.run(&set).good("SET");
            for sql in &before {
                c.run(sql).good(sql);
            }
            let found = query(&mut c, whole);
            assert_eq!(
                code(&found),
                expected,
                "{before:?}: {whole}: {:?}",
                found.last().map(|r| &r.error)
            );
        }
    });
}

#[test]
fn costs_are_a_superadmins_until_somebody_else_is_taken_on() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let token = stand.token("sys_account", "bob");
    let mut root = stand.connect("sys_account", Some("root"));
    let plan = |replies: &[Reply]| format!("{:?}", replies.last().map(Reply::texts));
    for statements in ways(&token, "EXPLAIN SELECT * FROM accounts") {
        let whole = statements.join("; ");
        let found = query(&mut root, &whole);
        assert_eq!(code(&found), "", "{whole}: {:?}", found.last().map(|r| &r.error));
        assert!(!plan(&found).contains("cost="), "{whole}: {}", plan(&found));
    }
    // The twin.
    for whole in [
        "SELECT 1; EXPLAIN SELECT * FROM accounts".to_owned(),
        format!("SET postern.token = '{token}'; RESET postern.token; EXPLAIN SELECT * FROM accounts"),
    ] {
        let found = query(&mut root, &whole);
        assert!(plan(&found).contains("cost="), "{whole}: {}", plan(&found));
    }
}
