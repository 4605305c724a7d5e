//! What a module makes and keeps: types, functions and partitions, used by its own logins as on plain PostgreSQL and by nobody else.

use postern_tests::connection::Connection;
use postern_tests::rewriting::{Rewriting, native_alone};
use postern_tests::stand::Stand;
use postern_tests::target::Target;

/// Runs statements as a login's and takes what they made away again.
struct Made<'s> {
    stand: &'s Stand,
    gone: &'static [&'static str],
}

impl<'s> Made<'s> {
    fn by(stand: &'s Stand, login: &str, statements: &[&str], gone: &'static [&'static str]) -> Self {
        let this = Self { stand, gone };
        let mut c = stand.connect(login, None);
        for sql in statements {
            c.run(sql).good(sql);
        }
        this
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for sql in self.gone {
            self.stand.dba_connection().run(sql);
        }
    }
}

/// PostgreSQL puts the body of a function in SQL in a call's place. In a predicate over a declared table that must tell nothing of a
/// hidden row, whoever filters.
#[test]
fn a_function_in_a_predicate_tells_nothing_of_a_hidden_row() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _made = Made::by(
        stand,
        "sys_account.migrator",
        &[
            "CREATE FUNCTION inverse(int) RETURNS int LANGUAGE sql IMMUTABLE RETURN 1 / ($1 - 3)",
            "CREATE FUNCTION number(text) RETURNS int LANGUAGE sql IMMUTABLE COST 1 AS 'SELECT $1::int'",
        ],
        &["DROP FUNCTION sys_account.inverse(int), sys_account.number(text)"],
    );
    let hidden = "SELECT count(*) FILTER (WHERE role = 3) FROM sys_account.roles";
    let rows = stand.dba_connection().run(hidden).good(hidden).scalar();
    assert_ne!(
        rows.as_deref(),
        Some("0"),
        "an admin's row is hidden from the module's service"
    );
    let native = native_alone(stand, "made-native");
    let ask = |port: u16, way: &str| {
        let mut service = Connection::open(&stand.through(port, "sys_account.service", None)).expect("a session");
        assert_eq!(
            service.run("SELECT inverse(3)").sqlstate(),
            "22012",
            "{way}: it raises where it runs"
        );
        let all = service.run("SELECT count(*) FROM roles").good("its roles").scalar();
        assert_eq!(all.as_deref(), Some("0"), "{way}");
        for predicate in [
            "inverse(role) IS NOT NULL",
            "number(account_id) > 0",
            "inverse(role) + number(id) > 0",
        ] {
            let sql = format!("SELECT count(*) FROM roles WHERE {predicate}");
            assert_eq!(service.run(&sql).good(&format!("{way}: {sql}")).scalar(), all, "{way}: {sql}");
        }
        // A user of the same login knows of no such function.
        let mut bob = Connection::open(&stand.through(port, "sys_account.service", Some("bob"))).expect("a session");
        assert_eq!(bob.run("SELECT inverse(1)").sqlstate(), "42883", "{way}");
    };
    ask(stand.gate().port, "both");
    ask(native.port, "rls");
    drop(native);
    let rewriting = Rewriting::start(stand, "made-rewrite");
    ask(rewriting.proxy.port, "rewrite");
}

/// What a migrator makes belongs to the module's owner, serves the service login, and is missing for runtime logins and for others.
#[test]
fn the_second_lock_follows_what_is_made() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _made = Made::by(
        stand,
        "disco.migrator",
        &[
            "CREATE TYPE phase AS ENUM ('idea', 'plan', 'done')",
            "CREATE TABLE step (id int, phase phase, at date) PARTITION BY RANGE (at)",
            "CREATE TABLE step_early PARTITION OF step FOR VALUES FROM (MINVALUE) TO ('2026-01-01')",
            "CREATE TABLE step_late PARTITION OF step DEFAULT",
            "CREATE INDEX step_at ON step_late (at) TABLESPACE pg_default",
            "CREATE SEQUENCE step_no AS smallint",
            "CREATE COLLATION either (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
            "CREATE TABLE step_word TABLESPACE pg_default AS SELECT 'Plan' COLLATE either AS word",
            "CREATE FUNCTION pledge(int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM step WHERE id >= $1'",
        ],
        &[
            "DROP TABLE disco.step, disco.step_word",
            "DROP COLLATION disco.either",
            "DROP SEQUENCE disco.step_no",
            "DROP FUNCTION disco.pledge(int)",
            "DROP TYPE disco.phase",
        ],
    );
    let owners = "SELECT DISTINCT owner FROM (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname LIKE 'step%' \
                  AND relnamespace = 'disco'::regnamespace UNION ALL SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname = 'pledge' \
                  UNION ALL SELECT pg_get_userbyid(typowner) FROM pg_type WHERE typname = 'phase' \
                  UNION ALL SELECT pg_get_userbyid(collowner) FROM pg_collation WHERE collname = 'either') x(owner)";
    assert_eq!(
        stand.dba_connection().run(owners).good(owners).texts(),
        [[Some("disco_owner".to_owned())]]
    );
    let spaces = "SELECT DISTINCT coalesce(t.spcname, 'none') FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace \
                  WHERE c.relname IN ('step_early', 'step_late', 'step_at', 'step_word') AND c.relnamespace = 'disco'::regnamespace";
    let declared = "SELECT t.spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace WHERE c.oid = 'disco.survey_users'::regclass";
    assert_eq!(
        stand.dba_connection().run(spaces).good(spaces).texts(),
        stand.dba_connection().run(declared).good(declared).texts()
    );

    let mut service = stand.connect("disco.service", None);
    for sql in [
        "INSERT INTO step VALUES (1, 'idea', '2025-05-05'), (2, 'done', '2026-05-05')",
        "UPDATE step SET phase = 'plan' WHERE phase < 'plan'",
    ] {
        service.run(sql).good(sql);
    }
    let sql = "SELECT pledge(2), (SELECT string_agg(phase::text, ',' ORDER BY id) FROM step), (SELECT count(*) FROM step_early)";
    let row = service.run(sql).good(sql).texts();
    assert_eq!(
        row,
        [[Some("1".to_owned()), Some("plan,done".to_owned()), Some("1".to_owned())]]
    );
    let typed = service
        .extended("SELECT count(*) FROM step WHERE phase = $1", &[Some("done")], 0)
        .expect("an answer")
        .good("a parameter of an enum");
    assert_eq!(typed.scalar().as_deref(), Some("1"));

    // By the first lock, as missing; by the second, denied.
    let mut runtime = stand.connect("disco", Some("bob"));
    let mut other = stand.connect("evilmod.service", None);
    let told = "SELECT count(*) FROM pg_collation WHERE collname = 'either'";
    let told_to = [&mut service, &mut runtime, &mut other].map(|c| c.run(told).good(told).scalar());
    assert_eq!(told_to.map(|n| n.unwrap_or_default()), ["1", "0", "0"]);
    let sequence = "SELECT data_type, data_type = 'smallint' FROM pg_sequences WHERE sequencename = 'step_no'";
    let smallint = [[Some("smallint".to_owned()), Some("t".to_owned())]];
    assert_eq!(service.run(sequence).good(sequence).texts(), smallint);
    assert!(other.run(sequence).good(sequence).texts().is_empty());
    let word = "SELECT count(*) FROM step_word WHERE word = 'pLAN' AND 'a' = 'A' COLLATE disco.either";
    assert_eq!(service.run(word).good(word).scalar().as_deref(), Some("1"));
    let another = "SELECT 'a' = 'A' COLLATE disco.either";
    assert_eq!(other.run(another).sqlstate(), "42704");
    for (c, schema) in [(&mut runtime, ""), (&mut other, "disco.")] {
        for (what, state) in [
            ("pledge(1)", "42883"),
            ("(SELECT count(*) FROM {}step)", "42P01"),
            ("(SELECT count(*) FROM {}step_early)", "42P01"),
        ] {
            let (there, nowhere) = (
                what.replace("{}", schema),
                what.replace("{}", schema).replace("step", "stop").replace("pledge", "plodge"),
            );
            let there = c.run(&format!("SELECT {}{there}", if what.starts_with('(') { "" } else { schema }));
            let nowhere = c.run(&format!(
                "SELECT {}{nowhere}",
                if what.starts_with('(') { "" } else { schema }
            ));
            assert_eq!((there.sqlstate(), nowhere.sqlstate()), (state, state), "{schema}{what}");
        }
    }
    for (login, states) in [
        ("disco", ["42501", "42501"]),
        ("evilmod", ["42501", "42501"]),
        ("evilmod.migrator", ["42501", "42501"]),
    ] {
        let target: Target = stand.upstream(login);
        let mut c = Connection::open(&target).expect("straight at PostgreSQL");
        let found = ["SELECT disco.pledge(1)", "SELECT * FROM disco.step_early"].map(|sql| c.run(sql).sqlstate().to_owned());
        assert_eq!(found, states, "{login}");
    }
}

/// A view of one session is that session's to read, and nobody else's.
#[test]
fn a_temporary_view_is_its_sessions() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let (mut c, mut other) = (stand.connect("lab", None), stand.connect("lab", None));
    let view = "CREATE TEMP VIEW made_for_a_while AS SELECT 7 AS a";
    c.run(view).good(view);
    let read = "SELECT a FROM made_for_a_while";
    assert_eq!(c.run(read).good(read).scalar().as_deref(), Some("7"));
    assert_eq!(other.run(read).sqlstate(), "42P01");
}
