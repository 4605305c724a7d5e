//! EXECUTE with values that PostgreSQL computes, EXPLAIN EXECUTE, and the texts that `pg_cursors` tells: what they give beside plain PostgreSQL is in
//! [`super::undeclared`], and here is what they must not give.

use postern_tests::stand::Stand;

/// As whom rows are read.
const WHO: &str = "SELECT id FROM accounts WHERE length(id) >= $1 ORDER BY id";

#[test]
fn computed_values_are_judged_and_rows_are_filtered_as_ever() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let (bob, dora) = (stand.token("sys_account", "bob"), stand.token("sys_account", "dora"));
    let mut c = stand.connect("sys_account", None);
    c.run(&format!("PREPARE mine(int) AS {WHO}")).good("PREPARE");
    assert!(c.run("EXECUTE mine(1 + 1)").good("a guest").texts().is_empty());
    for (token, name) in [(&bob, "bob"), (&dora, "dora"), (&bob, "bob")] {
        c.run(&format!("SET postern.token = '{token}'")).good(name);
        let computed = c.run("EXECUTE mine(length('xx'))").good(name).texts();
        assert_eq!(computed, [[Some(name.to_owned())]]);
        assert_eq!(computed, c.run("EXECUTE mine(2)").good("constants").texts());
        assert!(c.run("EXECUTE mine(90 + 9)").good("none").texts().is_empty());
    }
    // A comment token holds for the statement that it leads.
    let of_dora = c
        .run(&format!("/*postern:{dora}*/ EXECUTE mine(1 + 1)"))
        .good("dora's")
        .texts();
    assert_eq!(of_dora, [[Some("dora".to_owned())]]);
    assert_eq!(c.run("EXECUTE mine(1 + 1)").good("bob's").texts(), [[Some("bob".to_owned())]]);
    for (sql, sqlstate) in [
        ("EXECUTE mine((SELECT count(*)::int FROM accounts))", "0A000"),
        ("EXECUTE mine((SELECT 1 FROM chat.groups))", "0A000"),
        ("EXECUTE mine(length(pg_read_file('PG_VERSION')))", "42501"),
        ("EXECUTE mine(lo_import('/etc/passwd')::int)", "42501"),
        ("EXECUTE mine(set_config('postern.sub', 'dora', false)::int)", "42501"),
        ("EXECUTE mine(nothing)", "42703"),
        ("EXECUTE mine($1 + 1)", "42P02"),
        ("EXECUTE mine(1 + 1, 2)", "42601"),
        ("EXECUTE nothing_of_mine(1 + 1)", "26000"),
        ("EXECUTE \"postern$s1\"(1 + 1)", "42602"),
        ("SELECT 1; EXECUTE mine(1 + 1)", "0A000"),
        ("EXPLAIN EXECUTE mine(1)", "0A000"),
        ("EXPLAIN EXECUTE mine(1 + 1)", "0A000"),
    ] {
        assert_eq!(c.run(sql).sqlstate(), sqlstate, "{sql}");
    }
    let extended = c.extended("EXECUTE mine(1 + 1)", &[], 0).expect("an answer");
    assert_eq!(extended.sqlstate(), "0A000");
    // Another client's names are its own.
    assert_eq!(
        stand
            .connect("sys_account", Some("bob"))
            .run("EXECUTE mine(1 + 1)")
            .sqlstate(),
        "26000"
    );
    // In a transaction that has failed, and after it.
    c.run("BEGIN").good("BEGIN");
    assert_eq!(c.run("EXECUTE mine(1 / 0)").sqlstate(), "22012");
    assert_eq!(c.run("EXECUTE mine(1 + 1)").sqlstate(), "25P02");
    c.run("ROLLBACK").good("ROLLBACK");
    assert_eq!(c.run("EXECUTE mine(1 + 1)").good("again").texts(), [[Some("bob".to_owned())]]);
}

#[test]
fn what_must_be_sealed_or_opened_is_not_computed_by_postgresql() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = stand.connect("sys_account", Some("bob"));
    c.run("PREPARE by_email AS SELECT id FROM accounts WHERE email = $1")
        .good("PREPARE");
    c.run("PREPARE shown(text) AS SELECT email FROM accounts WHERE id = $1")
        .good("PREPARE");
    for sql in ["EXECUTE by_email('bob' || '@people.example')", "EXECUTE shown('b' || 'ob')"] {
        let reply = c.run(sql);
        assert_eq!(reply.sqlstate(), "0A000", "{sql}");
        assert!(reply.error.is_some_and(|e| !e.hint().is_empty()), "{sql}");
    }
    assert_eq!(
        c.run("EXECUTE by_email('bob@people.example')").good("a constant").texts(),
        [[Some("bob".to_owned())]]
    );
}

#[test]
fn a_plan_of_the_catalogue_is_not_explained_by_execute() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = stand.connect("lab", None);
    c.run("PREPARE names(int) AS SELECT relname FROM pg_class LIMIT $1")
        .good("PREPARE");
    c.run("PREPARE plain(int) AS SELECT $1").good("PREPARE");
    assert_eq!(c.run("EXPLAIN EXECUTE names(1)").sqlstate(), "0A000");
    assert_eq!(c.run("EXPLAIN (ANALYZE) EXECUTE names(1)").sqlstate(), "0A000");
    c.run("EXPLAIN EXECUTE plain(1)").good("a plan");
}

#[test]
fn a_cursors_text_is_told_where_it_holds_nothing_but_itself() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = stand.connect("sys_account", Some("bob"));
    let told = "DECLARE told CURSOR FOR SELECT id FROM accounts WHERE id = 'bob'";
    c.run("BEGIN").good("BEGIN");
    for sql in [
        told,
        "DECLARE sealed CURSOR FOR SELECT id FROM accounts WHERE email = 'bob@people.example'",
        "DECLARE commented CURSOR FOR SELECT id /*postern:not a token*/ FROM accounts",
        "DECLARE dashed CURSOR FOR SELECT id FROM accounts -- here",
        "DECLARE one_of_two CURSOR FOR SELECT id FROM accounts; SELECT 1",
        "DECLARE forged CURSOR FOR SELECT '/*postern declared as 41 */' -- here",
        "DECLARE kept CURSOR WITH HOLD FOR SELECT id FROM accounts",
    ] {
        c.simple(sql)
            .expect("answers")
            .iter()
            .for_each(|r| assert!(r.error.is_none(), "{sql}: {:?}", r.error));
    }
    let expected: Vec<_> = ["commented", "dashed", "forged", "kept", "one_of_two", "sealed"]
        .map(|name| vec![Some(name.to_owned()), None])
        .into_iter()
        .chain([vec![Some("told".to_owned()), Some(told.to_owned())]])
        .collect();
    let shown = "SELECT name, statement FROM pg_cursors ORDER BY name";
    assert_eq!(c.run(shown).good(shown).texts(), expected);
    // Nobody else's are among another client's.
    assert!(
        stand
            .connect("sys_account", Some("bob"))
            .run(shown)
            .good(shown)
            .texts()
            .is_empty()
    );
    c.run("ROLLBACK").good("ROLLBACK");
}

#[test]
fn of_other_databases_nothing_is_told_but_that_every_cluster_has_them() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let mut dba = stand.dba_connection();
    dba.run("CREATE DATABASE somebody_elses").good("a database");
    dba.run("ALTER DATABASE template1 CONNECTION LIMIT 7").good("a limit");
    let own = dba.run("SELECT current_database()").good("own").scalar().expect("a name");
    let mut c = stand.connect("lab", None);
    let mut expected = [own, "postgres".to_owned(), "template0".to_owned(), "template1".to_owned()]
        .map(|n| vec![Some(n)])
        .to_vec();
    expected.sort();
    expected.dedup();
    let names = "SELECT datname FROM pg_database ORDER BY datname";
    assert_eq!(c.run(names).good(names).texts(), expected);
    let facts = "SELECT DISTINCT datdba, datconnlimit, datfrozenxid, datminmxid, dattablespace, datacl IS NULL FROM pg_database \
                 WHERE datname <> current_database()";
    assert_eq!(
        c.run(facts).good(facts).texts(),
        [["10", "-1", "0", "0", "1663", "t"].map(|v| Some(v.to_owned()))]
    );
    for sql in [
        "SELECT has_database_privilege('template1', 'CONNECT')",
        "SELECT has_database_privilege(oid, 'CONNECT') FROM pg_database WHERE datname = 'template1'",
        "SELECT pg_database_size('template1')",
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'template1'",
    ] {
        assert_eq!(c.run(sql).good(sql).scalar(), None, "{sql}");
    }
    assert_eq!(
        c.run("SELECT has_database_privilege('somebody_elses', 'CONNECT')").sqlstate(),
        "42704"
    );
    let mine = "SELECT has_database_privilege(current_database(), 'TEMPORARY')";
    assert_eq!(c.run(mine).good(mine).scalar().as_deref(), Some("t"));
    dba.run("ALTER DATABASE template1 CONNECTION LIMIT -1").good("no limit");
    dba.run("DROP DATABASE somebody_elses").good("away");
}
