//! `enforce = "rewrite"`: no predicate of a client runs on hidden rows, and an index serves those that may.

#![expect(clippy::print_stdout, reason = "figures for whoever reads a test's output")]

use std::time::Duration;

use postern_tests::attack::{Counted, FILES, Family};
use postern_tests::connection::Connection;
use postern_tests::product::workspace;
use postern_tests::rewriting::{Rewriting, native_alone};
use postern_tests::stand::{Stand, eventually};

/// Rows that are added to the table that is read.
const ROWS: u32 = 20_000;
/// Reads in each form.
const READS: u32 = 20;

/// Rows of dora's, which bob does not see, and one of bob's.
struct Many<'s>(&'s Stand);

impl<'s> Many<'s> {
    fn add(stand: &'s Stand) -> Self {
        let sql = format!(
            "INSERT INTO sys_account.roles (id, account_id, role) SELECT 'fence-' || n, CASE n WHEN 1 THEN 'bob' ELSE 'dora' END, 2 \
             FROM generate_series(1, {ROWS}) n; VACUUM ANALYZE sys_account.roles; VACUUM ANALYZE sys_account.accounts"
        );
        let many = Self(stand);
        for step in sql.split("; ") {
            stand.dba_connection().run(step).good(step);
        }
        many
    }
}

impl Drop for Many<'_> {
    fn drop(&mut self) {
        let sql = "DELETE FROM sys_account.roles WHERE id LIKE 'fence-%'";
        self.0.dba_connection().run(sql).good(sql);
    }
}

#[test]
fn attacks_on_reading_fail_without_native_row_level_security() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let rewriting = Rewriting::start(stand, "rewriting-attacks");
    let mut counted = Counted::default();
    for name in FILES {
        let family = Family::read(&workspace().join("tests/attacks").join(name));
        let failures = family.run_through(stand, rewriting.proxy.port);
        counted += family.counted();
        assert!(
            failures.is_empty(),
            "{} of {name}:\n\n{}\n",
            failures.len(),
            failures.join("\n\n")
        );
    }
    println!("enforce = rewrite: {counted}");
}

/// The proxy puts no filter of its own beneath what a client reads: PostgreSQL's holds by itself, and nothing else gives way.
#[test]
fn attacks_fail_by_native_row_level_security_alone() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let native = native_alone(stand, "native-attacks");
    let mut counted = Counted::default();
    for name in FILES {
        let family = Family::read(&workspace().join("tests/attacks").join(name));
        let failures = family.run_through(stand, native.port);
        counted += family.counted();
        assert!(
            failures.is_empty(),
            "{} of {name}:\n\n{}\n",
            failures.len(),
            failures.join("\n\n")
        );
    }
    println!("enforce = rls: {counted}");
}

#[test]
fn point_reads_use_an_index() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _many = Many::add(stand);
    let rewriting = Rewriting::start(stand, "rewriting-points");
    for who in ["bob", "root"] {
        let mut c = Connection::open(&stand.through(rewriting.proxy.port, "sys_account", Some(who))).expect("a session");
        let email = c
            .run("SELECT email FROM accounts WHERE id = 'bob'")
            .good("bob")
            .scalar()
            .expect("an address");
        for (sql, index) in [
            ("SELECT role FROM roles WHERE id = 'fence-1'".to_owned(), "roles_pkey"),
            (
                "SELECT role FROM roles r WHERE 'fence-1' = r.id AND role = 2".to_owned(),
                "roles_pkey",
            ),
            (
                "SELECT count(*) FROM roles WHERE id IN ('fence-1', 'fence-2')".to_owned(),
                "roles_pkey",
            ),
            (
                "SELECT id FROM roles WHERE id BETWEEN 'fence-1' AND 'fence-10'".to_owned(),
                "roles_pkey",
            ),
            (
                "SELECT r.id FROM accounts a JOIN roles r ON r.account_id = a.id AND r.id = 'fence-1'".to_owned(),
                "roles_pkey",
            ),
            (format!("SELECT id FROM accounts WHERE email = '{email}'"), "postern$eq$email"),
        ] {
            let plan = c.run(&format!("EXPLAIN (COSTS OFF) {sql}")).good(&sql).texts();
            let plan: Vec<String> = plan.into_iter().flatten().flatten().collect();
            let served = plan.iter().any(|line| line.contains("Index") && line.contains(index));
            assert!(served, "{who}: {sql}\n{}", plan.join("\n"));
        }
        // The twin: what is not copied reads the table.
        let sql = "EXPLAIN (COSTS OFF) SELECT role FROM roles WHERE lower(id) = 'fence-1'";
        let plan: Vec<String> = c.run(sql).good(sql).texts().into_iter().flatten().flatten().collect();
        assert!(!plan.iter().any(|line| line.contains("roles_pkey")), "{}", plan.join("\n"));
    }

    // How often what was read, as PostgreSQL counts it.
    let counted = || {
        let sql = "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relid = 'sys_account.roles'::regclass";
        let row = stand.dba_connection().run(sql).good(sql).texts().remove(0);
        let number = |i: usize| row[i].as_deref().and_then(|n| n.parse::<u32>().ok()).expect("a number");
        (number(0), number(1))
    };
    let settled = || {
        let mut last = counted();
        eventually(Duration::from_secs(60), || {
            std::thread::sleep(Duration::from_secs(11));
            let now = counted();
            (std::mem::replace(&mut last, now) == now).then_some(now)
        })
        .expect("the statistics settle")
    };
    let (sequential, by_index) = settled();
    let mut c = Connection::open(&stand.through(rewriting.proxy.port, "sys_account", Some("bob"))).expect("a session");
    c.run("PREPARE by_key(text) AS SELECT role FROM roles WHERE id = $1")
        .good("PREPARE");
    for n in 0..READS {
        let simple = c
            .run(&format!("SELECT role FROM roles WHERE id = 'fence-{}'", n % 2 + 1))
            .good("simple");
        assert_eq!(
            simple.rows.len(),
            usize::from(n % 2 == 0),
            "dora's row is hidden, bob's is not"
        );
        let key = format!("fence-{}", n % 2 + 1);
        let extended = c
            .extended("SELECT role FROM roles WHERE id = $1 AND role > 0", &[Some(&key)], 0)
            .expect("an answer")
            .good("extended");
        assert_eq!(extended.rows, simple.rows);
        assert_eq!(extended.parameters, Some(vec![25]), "the parameter has the column's type");
        let prepared = c.run(&format!("EXECUTE by_key('{key}')")).good("prepared");
        assert_eq!(prepared.rows, simple.rows);
    }
    drop(c);
    let (sequential_now, by_index_now) = settled();
    assert_eq!(sequential_now, sequential, "roles was read as a whole");
    assert!(by_index_now >= by_index + 3 * READS, "{by_index} {by_index_now}");
}

#[test]
fn nothing_runs_on_a_hidden_row_that_could_tell_of_it() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _many = Many::add(stand);
    let rewriting = Rewriting::start(stand, "rewriting-hidden");
    let open = |who: &str| Connection::open(&stand.through(rewriting.proxy.port, "sys_account", Some(who))).expect("a session");
    let (mut bob, mut root) = (open("bob"), open("root"));
    // Each raises on dora's row, which root sees and bob does not, beside a comparison that is copied.
    for predicate in [
        "id = 'fence-2' AND account_id::int = 1",
        "account_id::numeric = 1 AND id = 'fence-2'",
        "id = 'fence-2' AND 1 / (role - 2) = 1",
        "id IN ('fence-2', 'fence-3') AND account_id::date IS NOT NULL",
        "id BETWEEN 'fence-2' AND 'fence-29' AND (account_id || id)::uuid IS NOT NULL",
        "id = 'fence-2' AND CASE WHEN role = 2 THEN 1 / (role - 2) END IS NULL",
    ] {
        let sql = format!("SELECT id FROM roles WHERE {predicate}");
        let seen = root.run(&sql);
        assert!(seen.error.is_some(), "{sql} was to fail for who sees the row");
        bob.forget_seen();
        for reply in [bob.run(&sql), bob.extended(&sql, &[], 0).expect("an answer")] {
            assert_eq!(reply.good(&sql).rows.len(), 0, "{sql}");
        }
        assert!(!bob.seen.windows(4).any(|w| w == b"dora"), "{sql}");
    }
    // What is copied finds bob's rows alone, whatever it says of others.
    let own = "SELECT id FROM roles WHERE account_id = 'dora' OR id > 'fence-' AND id < 'fence-3'";
    for (sql, rows) in [
        ("SELECT id FROM roles WHERE id = 'fence-2'", 0),
        ("SELECT id FROM roles WHERE account_id = 'dora'", 0),
        ("SELECT id FROM roles WHERE id IN ('fence-1', 'fence-2')", 1),
        (
            "SELECT id FROM roles WHERE id <> 'fence-1' AND id >= 'fence-' AND id < 'fence-a'",
            0,
        ),
        ("SELECT id FROM accounts WHERE id = 'dora' AND email IS NOT NULL", 0),
        (own, 1),
    ] {
        assert_eq!(bob.run(sql).good(sql).rows.len(), rows, "{sql}");
    }
    // A parameter that is declared of a type which would cast the column: refused or harmless, for hidden and visible rows alike.
    for (types, value) in [
        (vec![26], "1"),
        (vec![1700], "1.5"),
        (vec![701], "1e308"),
        (vec![20], "9223372036854775807"),
    ] {
        let cells = [Some(value.as_bytes().to_vec())];
        let sql = "SELECT id FROM roles WHERE role = $1 AND id > 'fence-'";
        bob.extended_with(sql, &types, &cells, 0, 0).expect("an answer").good(sql);
    }
}

/// What may be copied is what PostgreSQL itself calls leakproof.
#[test]
fn postgresql_calls_the_copied_operators_leakproof() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut dba = stand.dba_connection();
    let integers = ["int2", "int4", "int8"];
    let mut pairs: Vec<(&str, &str)> = ["uuid", "text", "bool", "date", "timestamptz", "timestamp", "bytea"]
        .into_iter()
        .map(|t| (t, t))
        .collect();
    pairs.extend(integers.iter().flat_map(|a| integers.map(|b| (*a, b))));
    for (left, right) in pairs {
        let sql = format!(
            "SELECT count(*) FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode WHERE p.proleakproof \
             AND o.oprname IN ('=', '<>', '<', '<=', '>', '>=') AND o.oprnamespace = 'pg_catalog'::regnamespace \
             AND o.oprleft = '{left}'::regtype AND o.oprright = '{right}'::regtype"
        );
        assert_eq!(dba.run(&sql).good(&sql).scalar().as_deref(), Some("6"), "{left} {right}");
    }
}
