//! What is written, locked and changed, in all three ways of filtering: hidden rows are neither locked nor asked, a written row is checked where
//! PostgreSQL would check it, and who switches a check off stops the writes rather than the check.

use std::time::Duration;

use postern_tests::connection::Connection;
use postern_tests::message::Reply;
use postern_tests::product::run_postern;
use postern_tests::rewriting::{Rewriting, native_alone, provision};
use postern_tests::stand::{Stand, eventually};

/// Runs a test in each of the ways.
fn in_all_ways(purpose: &str, run: impl Fn(&Stage<'_>)) {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let stage = |port, way| Stage { stand, port, way };
    run(&stage(stand.gate().port, "both"));
    {
        let native = native_alone(stand, &format!("{purpose}-rls"));
        run(&stage(native.port, "rls"));
    }
    let rewriting = Rewriting::start(stand, &format!("{purpose}-rewrite"));
    run(&stage(rewriting.proxy.port, "rewrite"));
}

struct Stage<'s> {
    stand: &'s Stand,
    port: u16,
    way: &'s str,
}

impl Stage<'_> {
    fn open(&self, login: &str, who: &str) -> Connection {
        Connection::open(&self.stand.through(self.port, login, Some(who))).expect("a session")
    }

    fn dba(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.stand.dba_connection().run(sql).good(sql).texts()
    }
}

fn ids(reply: &Reply) -> Vec<String> {
    let mut ids: Vec<String> = reply.texts().into_iter().filter_map(|mut row| row.remove(0)).collect();
    ids.sort();
    ids.dedup();
    ids
}

#[test]
fn a_locking_read_locks_what_it_returns_and_no_hidden_row() {
    in_all_ways("locks", |stage| {
        let hidden = ids_of(
            stage,
            "SELECT id FROM sys_account.roles WHERE account_id <> 'bob' ORDER BY id",
        );
        let own = ids_of(
            stage,
            "SELECT id FROM sys_account.roles WHERE account_id = 'bob' AND role = 2 ORDER BY id",
        );
        assert!(!hidden.is_empty() && !own.is_empty());
        let (first, dora) = (&own[0], &hidden[0]);
        // Each with the rows of bob's that it is to return.
        for (sql, all) in [
            ("SELECT id FROM roles FOR UPDATE".to_owned(), true),
            ("SELECT * FROM roles ORDER BY id FOR NO KEY UPDATE".to_owned(), true),
            ("SELECT id FROM roles r WHERE 1 / (length(account_id) - 4) IS NOT NULL FOR UPDATE OF r".to_owned(), true),
            ("SELECT id FROM roles WHERE (account_id || 'x') LIKE '%x' FOR SHARE".to_owned(), true),
            ("SELECT id FROM roles ORDER BY 1 / (length(account_id) - 4), id FOR KEY SHARE".to_owned(), true),
            ("SELECT id, 1 / (length(account_id) - 4) FROM roles FOR UPDATE SKIP LOCKED".to_owned(), true),
            (
                "SELECT r.id FROM roles r JOIN accounts a ON a.id = r.account_id AND 1 / (length(r.account_id) - 4) IS NOT NULL FOR UPDATE OF r"
                    .to_owned(),
                true,
            ),
            (
                "SELECT r.id FROM roles r LEFT JOIN accounts a ON a.id = r.account_id WHERE a.id IS NOT NULL FOR UPDATE OF r NOWAIT".to_owned(),
                true,
            ),
            ("WITH mine AS (SELECT id FROM roles ORDER BY id LIMIT 100 FOR UPDATE) SELECT id FROM mine".to_owned(), true),
            ("SELECT id FROM (SELECT id FROM roles FOR UPDATE) s".to_owned(), true),
            (
                "SELECT id FROM (SELECT id, account_id FROM roles FOR UPDATE) s WHERE 1 / (length(account_id) - 4) IS NOT NULL".to_owned(),
                true,
            ),
            (
                "SELECT s.id FROM accounts a JOIN (SELECT id, account_id FROM roles FOR UPDATE) s ON 1 / (length(s.account_id) - 4) IS NOT NULL"
                    .to_owned(),
                true,
            ),
            (format!("SELECT id FROM roles WHERE id = '{first}' FOR UPDATE"), false),
            (format!("SELECT id FROM roles WHERE id IN ('{first}', '{dora}') FOR UPDATE"), false),
            (format!("SELECT id FROM roles WHERE lower(id) = lower('{first}') FOR UPDATE"), false),
        ] {
            let here = format!("[{}] {sql}", stage.way);
            let mut bob = stage.open("sys_account", "bob");
            bob.run("BEGIN").good("BEGIN");
            let got = ids(&bob.run(&sql).good(&here));
            let wanted = if all { own.clone() } else { vec![first.clone()] };
            assert_eq!(got, wanted, "{here}");
            // The DBA, past all filters, waits for nobody but for what bob was given.
            let free = ids_of(stage, "SELECT id FROM sys_account.roles ORDER BY id FOR UPDATE SKIP LOCKED");
            let all = ids_of(stage, "SELECT id FROM sys_account.roles ORDER BY id");
            let locked: Vec<String> = all.into_iter().filter(|id| !free.contains(id)).collect();
            assert_eq!(locked, wanted, "{here}: what is locked");
            bob.run("ROLLBACK").good("ROLLBACK");
        }
        // What one may see and not change is not there to be locked; to be read it is.
        let mut carl = stage.open("sys_account", "carl");
        let seen = ids(&carl.run("SELECT id FROM projects").good("SELECT"));
        let locked = ids(&carl.run("SELECT id FROM projects FOR UPDATE").good("FOR UPDATE"));
        assert!(seen.len() > 1, "[{}] {seen:?}", stage.way);
        assert_eq!(locked, ["PA1"], "[{}]", stage.way);
        // Somebody else waits for a row that one sees, as ever.
        let mut bob = stage.open("sys_account", "bob");
        let mut root = stage.open("sys_account", "root");
        bob.run("BEGIN").good("BEGIN");
        bob.run(&format!("SELECT id FROM roles WHERE id = '{first}' FOR UPDATE"))
            .good("FOR UPDATE");
        let waits = root.run(&format!("SELECT id FROM roles WHERE id = '{first}' FOR UPDATE NOWAIT"));
        assert_eq!(waits.sqlstate(), "55P03", "[{}]", stage.way);
        bob.run("ROLLBACK").good("ROLLBACK");
    });
}

fn ids_of(stage: &Stage<'_>, sql: &str) -> Vec<String> {
    let mut dba = stage.stand.dba_connection();
    let reply = dba.run(sql).good(sql);
    let mut ids: Vec<String> = reply.texts().into_iter().filter_map(|mut row| row.remove(0)).collect();
    ids.sort();
    ids
}

/// Shapes in which a lock could not be kept from hidden rows without PostgreSQL's own filter are refused, with a way to say it otherwise.
#[test]
fn locks_that_cannot_be_kept_from_hidden_rows_are_refused() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let rewriting = Rewriting::start(stand, "locks-refused");
    let mut bob = Connection::open(&stand.through(rewriting.proxy.port, "sys_account", Some("bob"))).expect("a session");
    for sql in [
        "SELECT s.id FROM (SELECT id FROM roles WHERE account_id::int = 1) s FOR UPDATE",
        "SELECT r.id FROM roles r, LATERAL (SELECT 1 WHERE r.account_id::int = 1) s FOR UPDATE OF r",
        "SELECT r.id FROM roles r, generate_series(1, r.account_id::int) s FOR UPDATE OF r",
        "SELECT 1 FROM roles r JOIN accounts a USING (created_at) JOIN projects p USING (created_at) FOR UPDATE OF r",
    ] {
        let reply = bob.run(sql);
        assert_eq!(reply.sqlstate(), "0A000", "{sql}: {:?}", reply.error);
        assert!(reply.error.is_some_and(|e| !e.hint().is_empty()), "{sql}");
    }
    for sql in [
        "SELECT s.id FROM (SELECT id FROM roles FOR UPDATE) s",
        "SELECT 1 FROM roles r JOIN accounts a USING (id) FOR UPDATE OF r",
        "SELECT 1 FROM roles r NATURAL JOIN accounts a FOR UPDATE OF r",
        "SELECT r.id FROM generate_series(1, 2) n, roles r FOR UPDATE OF r",
    ] {
        bob.run(sql).good(sql);
    }
}

/// Each predicate raises on some row of another's, which root sees and bob does not.
#[test]
fn nothing_that_a_write_asks_runs_on_a_hidden_row() {
    in_all_ways("writes-ask", |stage| {
        let mut bob = stage.open("sys_account", "bob");
        let mut root = stage.open("sys_account", "root");
        let dora = &stage.dba("SELECT id FROM sys_account.roles WHERE account_id = 'dora' ORDER BY id LIMIT 1")[0][0];
        let dora = dora.clone().expect("dora has a role");
        for predicate in [
            format!("id = '{dora}' AND account_id::int = 1"),
            format!("account_id::int = 1 AND id = '{dora}'"),
            "account_id = 'dora' AND 1 / (length(account_id) - 4) = 1".to_owned(),
            format!("id = '{dora}' AND (account_id || id)::uuid IS NOT NULL"),
            format!("id IN ('{dora}') AND (SELECT length(roles.account_id)::text || roles.account_id)::int > 0"),
        ] {
            for sql in [
                format!("DELETE FROM roles WHERE {predicate}"),
                format!("DELETE FROM roles WHERE {predicate} RETURNING id"),
                format!("UPDATE roles SET updated_at = now() WHERE {predicate}"),
                format!("UPDATE roles SET updated_at = now() WHERE {predicate} RETURNING *"),
                format!("WITH w AS (DELETE FROM roles WHERE {predicate} RETURNING id) SELECT id FROM w"),
                format!("SELECT id FROM roles WHERE {predicate} FOR UPDATE"),
            ] {
                let here = format!("[{}] {sql}", stage.way);
                bob.run("BEGIN").good("BEGIN");
                root.run("BEGIN").good("BEGIN");
                assert!(root.run(&sql).error.is_some(), "{here} was to fail for who sees the row");
                bob.forget_seen();
                for reply in [bob.run(&sql), bob.extended(&sql, &[], 0).expect("an answer")] {
                    assert_eq!(reply.good(&here).rows.len(), 0, "{here}");
                }
                assert!(!bob.seen.windows(4).any(|w| w == b"dora"), "{here}");
                bob.run("ROLLBACK").good("ROLLBACK");
                root.run("ROLLBACK").good("ROLLBACK");
            }
        }
        // What is assigned, returned or joined is not computed for it either.
        for sql in [
            "UPDATE roles SET org_id = (1 / (length(account_id) - 4))::text, updated_at = now() WHERE role = 2",
            "UPDATE roles SET updated_at = now() RETURNING 1 / (length(account_id) - 4)",
            "DELETE FROM roles RETURNING 1 / (length(account_id) - 4)",
            "UPDATE roles r SET updated_at = now() FROM accounts a WHERE a.id = r.account_id AND 1 / (length(r.account_id) - 4) IS NOT NULL",
            "DELETE FROM roles r USING accounts a WHERE a.id = r.account_id AND 1 / (length(r.account_id) - 4) IS NOT NULL",
        ] {
            let here = format!("[{}] {sql}", stage.way);
            bob.run("BEGIN").good("BEGIN");
            let reply = bob.run(sql).good(&here);
            assert!(
                !reply.tag.as_deref().unwrap_or_default().ends_with(" 0"),
                "{here}: {:?}",
                reply.tag
            );
            bob.run("ROLLBACK").good("ROLLBACK");
        }
    });
}

/// Whether the new row must also be one that its writer sees depends on whether the statement asks for it.
#[test]
fn a_written_row_is_checked_as_postgresql_does() {
    in_all_ways("writes-check", |stage| {
        let insert = "INSERT INTO group_members (group_id, account_id) VALUES ('g-pb1-00', 'bob')";
        for (sql, state) in [
            (insert.to_owned(), None),
            (format!("{insert} RETURNING 1"), None),
            (format!("{insert} ON CONFLICT DO NOTHING"), None),
            (
                "INSERT INTO group_members VALUES ('g-pb1-00', 'bob'), ('g-pa1-00', 'zoe')".to_owned(),
                None,
            ),
            (
                "MERGE INTO group_members g USING (VALUES ('g-pb1-00')) v(id) ON g.group_id = v.id AND g.account_id = 'bob' \
                 WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'bob')"
                    .to_owned(),
                None,
            ),
            (format!("{insert} RETURNING group_id"), Some("42501")),
            (format!("{insert} RETURNING *"), Some("42501")),
            (
                format!("{insert} ON CONFLICT (group_id, account_id) DO NOTHING"),
                Some("42501"),
            ),
            (
                format!("{insert} ON CONFLICT ON CONSTRAINT group_members_pkey DO NOTHING"),
                Some("42501"),
            ),
            (
                format!("/*postern inserts into \"chat\".\"group_members\" and reads nothing*/ {insert} RETURNING group_id"),
                Some("42501"),
            ),
            (
                format!("WITH w AS ({insert} RETURNING group_id) SELECT 1 FROM w"),
                Some("42501"),
            ),
            (
                "INSERT INTO group_members (group_id, account_id) VALUES ('g-pb1-00', 'zoe')".to_owned(),
                Some("42501"),
            ),
        ] {
            let here = format!("[{}] {sql}", stage.way);
            let mut bob = stage.open("chat", "bob");
            for extended in [false, true] {
                bob.run("BEGIN").good("BEGIN");
                let reply = match extended {
                    false => bob.run(&sql),
                    true => bob.extended(&sql, &[], 0).expect("an answer"),
                };
                assert_eq!(reply.error.as_ref().map(|e| e.sqlstate()), state, "{here}: {:?}", reply.error);
                if let Some(e) = &reply.error {
                    assert_eq!(
                        e.message(),
                        "new row violates row-level security policy for table \"group_members\"",
                        "{here}"
                    );
                }
                bob.run("ROLLBACK").good("ROLLBACK");
            }
        }
        // The check comes before constraints, defaults count, and what DO UPDATE makes is checked too.
        let own = &stage.dba("SELECT id FROM sys_account.roles WHERE account_id = 'bob' AND role = 2 ORDER BY id LIMIT 1")[0][0];
        let own = own.clone().expect("bob has a role");
        for (sql, state) in [
            (
                format!("INSERT INTO roles (id, account_id, role) VALUES ('{own}', 'dora', 2)"),
                "42501",
            ),
            (
                "INSERT INTO roles (id, account_id, role) VALUES (NULL, 'dora', 2)".to_owned(),
                "42501",
            ),
            (
                format!("INSERT INTO roles (id, account_id, role) VALUES ('{own}', 'bob', 2)"),
                "23505",
            ),
            (
                "INSERT INTO roles (id, account_id, role) VALUES (NULL, 'bob', 2)".to_owned(),
                "23502",
            ),
            ("INSERT INTO roles (id, account_id) VALUES ('x', 'bob')".to_owned(), "42501"),
            (
                format!(
                    "INSERT INTO roles (id, account_id, role) VALUES ('{own}', 'bob', 2) ON CONFLICT (id) DO UPDATE SET role = 3"
                ),
                "42501",
            ),
            (
                format!(
                    "INSERT INTO roles (id, account_id, role) VALUES ('{own}', 'bob', 2) ON CONFLICT (id) DO UPDATE SET account_id = 'dora'"
                ),
                "42501",
            ),
            ("UPDATE roles SET role = 1 WHERE role = 2".to_owned(), "42501"),
        ] {
            let here = format!("[{}] {sql}", stage.way);
            let mut bob = stage.open("sys_account", "bob");
            bob.run("BEGIN").good("BEGIN");
            let reply = bob.run(&sql);
            assert_eq!(reply.sqlstate(), state, "{here}: {:?}", reply.error);
            bob.run("ROLLBACK").good("ROLLBACK");
        }
    });
}

/// The DBA who takes a check away stops the writes, `postern doctor` says so, and provisioning mends it.
#[test]
fn without_its_check_nothing_is_written() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let rewriting = Rewriting::start(stand, "writes-unchecked");
    let config = stand.dir.join("writes-unchecked/postern.toml");
    let mut bob = Connection::open(&stand.through(rewriting.proxy.port, "sys_account", Some("bob"))).expect("a session");
    let mut write = |wanted: &str| {
        let reached = eventually(Duration::from_secs(30), || {
            bob.run("BEGIN").good("BEGIN");
            let reply = bob.run("INSERT INTO roles (id, account_id, role) VALUES ('unchecked', 'bob', 2)");
            bob.run("ROLLBACK").good("ROLLBACK");
            (reply.sqlstate() == wanted).then_some(())
        });
        assert!(reached.is_some(), "writes never gave {wanted:?}");
        // What is read does not depend on it.
        assert!(!bob.run("SELECT id FROM roles FOR UPDATE").good("a read").rows.is_empty());
    };
    write("");
    for off in [
        "ALTER TABLE sys_account.roles DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE sys_account.roles NO FORCE ROW LEVEL SECURITY",
        "ALTER POLICY postern_insert ON sys_account.roles WITH CHECK (true)",
        "CREATE POLICY everything ON sys_account.roles USING (true)",
    ] {
        stand.dba_connection().run(off).good(off);
        write("0A000");
        let doctor = run_postern(&["doctor", "--config", config.to_str().expect("UTF-8")]);
        let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(
            !doctor.status.success() && said.contains("sys_account.roles"),
            "{off}: {said}"
        );
        provision(&config).unwrap_or_else(|e| panic!("{off}: {e}"));
        write("");
    }
}

/// Nobody but the DBA can take the check away, and no one can get round it, past the proxy either.
#[test]
fn a_module_cannot_take_the_check_away() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let rewriting = Rewriting::start(stand, "writes-module");
    let attempts = [
        "ALTER TABLE sys_account.roles DISABLE ROW LEVEL SECURITY",
        "DROP POLICY postern_insert ON sys_account.roles",
        "ALTER POLICY postern_insert ON sys_account.roles WITH CHECK (true)",
        "CREATE POLICY everything ON sys_account.roles USING (true)",
        "SET session_replication_role = replica",
        "SET row_security = off; INSERT INTO sys_account.roles (id, account_id, role) VALUES ('forged', 'dora', 5)",
        "INSERT INTO sys_account.roles (id, account_id, role) VALUES ('forged', 'dora', 5)",
        "/*postern inserts into \"sys_account\".\"roles\" and reads nothing*/ INSERT INTO sys_account.roles (id, account_id, role) VALUES ('forged', 'dora', 5)",
        "SET postern.sub = 'dora'; INSERT INTO sys_account.roles (id, account_id, role) VALUES ('forged', 'dora', 2)",
        "CREATE OR REPLACE FUNCTION postern.refused(message text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    ];
    let mut through = Connection::open(&stand.through(rewriting.proxy.port, "sys_account", Some("bob"))).expect("a session");
    let mut past = Connection::open(&stand.upstream("sys_account")).expect("the second lock lets a module in");
    for sql in attempts {
        for connection in [&mut through, &mut past] {
            let replies = connection.simple(sql).expect("answers");
            let refused = replies.iter().find_map(|r| r.error.as_ref());
            assert!(refused.is_some(), "{sql}: {replies:?}");
            connection.simple("ROLLBACK").expect("an answer");
        }
    }
    // The twin.
    through.run("BEGIN").good("BEGIN");
    let sql = "INSERT INTO roles (id, account_id, role) VALUES ('forged', 'bob', 2)";
    through.run(sql).good(sql);
    through.run("ROLLBACK").good("ROLLBACK");
    let refused = through.run("SELECT postern.refused('x')");
    assert!(
        refused.error.is_some_and(|e| e.message() != "x"),
        "a client calls what the proxy calls"
    );
}
