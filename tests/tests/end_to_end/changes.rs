//! The catalogue changes behind the proxy's back: a DBA's hand, or another proxy's clients.

use std::time::Duration;

use postern_tests::another::Another;
use postern_tests::connection::Connection;
use postern_tests::stand::{Stand, eventually};

/// Longer than a missing name keeps the catalogue from being read again for another.
const PAUSE: Duration = Duration::from_millis(600);
/// Notifications arrive in milliseconds; a machine that is busy may need longer. Without them nothing is noticed for ten seconds.
const SOON: Duration = Duration::from_secs(4);

fn dba(stand: &Stand, sql: &str) {
    stand.dba_connection().run(sql).good(sql);
}

/// What a DBA made is there for the very next statement, by every way in which one is planned.
#[test]
fn what_somebody_else_made_is_there_for_the_next_statement() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let mut lab = stand.connect("lab", None);
    assert_eq!(lab.run("SELECT n FROM behind").sqlstate(), "42P01");
    std::thread::sleep(PAUSE);
    dba(
        stand,
        "CREATE TABLE lab.behind (n int); ALTER TABLE lab.behind OWNER TO lab_owner; INSERT INTO lab.behind VALUES (7)",
    );
    let seen = lab.run("SELECT n FROM behind").good("the next statement").scalar();
    assert_eq!(seen.as_deref(), Some("7"));

    std::thread::sleep(PAUSE);
    dba(stand, "ALTER TABLE lab.behind ADD COLUMN m int DEFAULT 8");
    let extended = lab
        .extended("SELECT m FROM behind", &[], 0)
        .expect("an answer")
        .good("extended");
    assert_eq!(extended.scalar().as_deref(), Some("8"));

    std::thread::sleep(PAUSE);
    dba(stand, "ALTER TABLE lab.behind RENAME TO behind_now");
    assert_eq!(lab.run("SELECT n FROM behind").sqlstate(), "42P01", "its old name is gone");
    let renamed = lab.run("SELECT n FROM behind_now").good("renamed").scalar();
    assert_eq!(renamed.as_deref(), Some("7"));

    // Another module's new table is as missing as any.
    let mut evil = stand.connect("evilmod.service", None);
    std::thread::sleep(PAUSE);
    let foreign = evil.run("SELECT n FROM lab.behind_now");
    let missing = evil.run("SELECT n FROM lab.no_such_thing");
    assert_eq!((foreign.sqlstate(), missing.sqlstate()), ("42P01", "42P01"));
    dba(stand, "DROP TABLE lab.behind_now");
    assert_eq!(lab.run("SELECT n FROM behind_now").sqlstate(), "42P01");
}

/// A statement that is fine by the old catalogue and by the new one means the new one soon, though no name is missing.
#[test]
fn a_changed_meaning_is_heard_of() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    dba(
        stand,
        "CREATE TABLE lab.meant (n int, m text); ALTER TABLE lab.meant OWNER TO lab_owner; INSERT INTO lab.meant VALUES (1, 'x')",
    );
    let mut lab = stand.connect("lab", None);
    let columns = |c: &mut Connection| c.run("SELECT * FROM meant").texts().into_iter().flatten().count();
    assert!(eventually(SOON, || (columns(&mut lab) == 2).then_some(())).is_some());
    dba(stand, "ALTER TABLE lab.meant DROP COLUMN m");
    assert!(
        eventually(SOON, || (columns(&mut lab) == 1).then_some(())).is_some(),
        "{:?}",
        lab.run("SELECT * FROM meant")
    );
    dba(stand, "DROP TABLE lab.meant");
}

/// Two proxies before one database: what a client of one makes, a client of the other uses, and neither plans with what is gone.
#[test]
fn two_proxies_see_each_others_ddl() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let other = Another::start(stand, "the-other-proxy", |_| {});
    let mut here = stand.connect("lab", None);
    let mut there = Connection::open(&other.login(stand, "lab")).expect("a session");
    for turn in 0..3 {
        here.run(&format!("CREATE TABLE both_{turn} (n int)")).good("CREATE TABLE");
        here.run(&format!("INSERT INTO both_{turn} VALUES ({turn})")).good("INSERT");
        let read = format!("SELECT n FROM both_{turn}");
        let seen = eventually(SOON, || there.run(&read).scalar());
        assert_eq!(seen, Some(turn.to_string()));
        there.run(&format!("DROP TABLE both_{turn}")).good("DROP TABLE");
        assert_eq!(here.run(&read).sqlstate(), "42P01");
    }
}

/// The connection that listens is killed: what changes meanwhile is read when it is back.
#[test]
fn a_deaf_proxy_listens_again() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let killed = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN \"postern$catalogue\"'";
    let count = stand.dba_connection().run(killed).good(killed).scalar();
    assert_ne!(count.as_deref(), Some("0"), "nobody listened");
    dba(
        stand,
        "CREATE TABLE lab.unheard (n int, m int); ALTER TABLE lab.unheard OWNER TO lab_owner; INSERT INTO lab.unheard VALUES (1, 2)",
    );
    let mut lab = stand.connect("lab", None);
    let columns = |c: &mut Connection| c.run("SELECT * FROM unheard").texts().into_iter().flatten().count();
    assert!(eventually(SOON, || (columns(&mut lab) == 2).then_some(())).is_some());
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN \"postern$catalogue\"'";
    let back = eventually(SOON, || {
        let count = stand.dba_connection().run(listening).good(listening).scalar();
        (count.as_deref() != Some("0")).then_some(())
    });
    assert!(back.is_some(), "it does not listen again");
    dba(stand, "DROP TABLE lab.unheard");
}

/// What holds a declared table's rows without its filter is not there for anybody: a child that a DBA hung beneath it, and a view that took its place.
#[test]
fn what_stands_beneath_or_in_place_of_a_declared_table_is_missing() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    dba(
        stand,
        "CREATE TABLE sys_account.roles_child () INHERITS (sys_account.roles); \
         CREATE TABLE sys_account.roles_grandchild () INHERITS (sys_account.roles_child); \
         ALTER TABLE sys_account.roles_child OWNER TO sys_account_owner; ALTER TABLE sys_account.roles_grandchild OWNER TO sys_account_owner; \
         GRANT ALL ON sys_account.roles_child, sys_account.roles_grandchild TO sys_account_service; \
         CREATE TABLE sys_account.beside (n int); GRANT ALL ON sys_account.beside TO sys_account_service",
    );
    let mut service = stand.connect("sys_account.service", None);
    let seen = eventually(SOON, || service.run("SELECT count(*) FROM beside").scalar());
    assert_eq!(seen.as_deref(), Some("0"), "the twin: a table of its own is there");
    for table in ["roles_child", "sys_account.roles_grandchild"] {
        let reply = service.run(&format!("SELECT count(*) FROM {table}"));
        assert_eq!(reply.sqlstate(), "42P01", "{table}: {reply:?}");
    }
    let mut migrator = stand.connect("sys_account.migrator", None);
    for sql in [
        "DROP TABLE IF EXISTS roles_child CASCADE",
        "DROP TABLE IF EXISTS sys_account.roles_grandchild",
        "ALTER TABLE IF EXISTS roles_child ADD CONSTRAINT c CHECK (account_id::int > 0)",
        "COMMENT ON TABLE roles_child IS 'x'",
        "TRUNCATE roles_child",
    ] {
        let reply = migrator.run(sql);
        assert!(["42501", "42P01"].contains(&reply.sqlstate()), "{sql}: {reply:?}");
    }
    dba(
        stand,
        "DROP TABLE sys_account.roles_grandchild, sys_account.roles_child, sys_account.beside; \
         ALTER TABLE sys_account.roles RENAME TO roles_away; \
         CREATE VIEW sys_account.roles AS SELECT * FROM sys_account.roles_away; \
         GRANT ALL ON sys_account.roles TO sys_account_service, sys_account",
    );
    let missing = eventually(SOON, || {
        (service.run("SELECT count(*) FROM roles").sqlstate() == "42P01").then_some(())
    });
    let bob = stand.connect("sys_account", Some("bob")).run("SELECT count(*) FROM roles");
    dba(
        stand,
        "DROP VIEW sys_account.roles; ALTER TABLE sys_account.roles_away RENAME TO roles",
    );
    assert!(missing.is_some(), "a view in a declared table's place is read");
    assert_eq!(bob.sqlstate(), "42P01");
    let back = eventually(SOON, || {
        stand
            .connect("sys_account", Some("bob"))
            .run("SELECT count(*) FROM roles")
            .scalar()
    });
    assert!(back.is_some(), "the table is there again");
}

/// What a migrator makes is the owner's, in the module's tablespace, and the service's to use; a runtime login has no part in it, by either lock.
#[test]
fn the_second_lock_follows_what_a_migrator_makes() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut migrator = stand.connect("disco.migrator", None);
    for sql in [
        "CREATE TABLE made_here (id bigserial PRIMARY KEY, name text NOT NULL)",
        "CREATE INDEX made_here_name ON made_here (name)",
        "CREATE VIEW made_view AS SELECT name FROM made_here",
    ] {
        migrator.run(sql).good(sql);
    }
    let about = "SELECT c.relname, r.rolname, coalesce(t.spcname, 'the default') FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner \
                 LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace WHERE c.relnamespace = 'disco'::regnamespace \
                 AND c.relname IN ('made_here', 'made_here_pkey', 'made_here_name') ORDER BY 1";
    let tablespace = "SELECT DISTINCT coalesce(t.spcname, 'the default') FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace \
                      WHERE c.oid = 'disco.survey_users'::regclass";
    let declared = stand.dba_connection().run(tablespace).scalar();
    let made = stand.dba_connection().run(about).good(about).texts();
    assert_eq!(made.len(), 3);
    for row in made {
        assert_eq!(row[1].as_deref(), Some("disco_owner"), "{row:?}");
        assert_eq!(row[2], declared, "{row:?}");
    }
    let mut service = stand.connect("disco.service", None);
    service
        .run("INSERT INTO made_here (name) VALUES ('a'), ('b')")
        .good("the service writes");
    service
        .run("UPDATE made_here SET name = 'c' WHERE id = 1")
        .good("and changes");
    let names = "SELECT string_agg(name, ',' ORDER BY name) FROM made_view";
    assert_eq!(service.run(names).good(names).scalar().as_deref(), Some("b,c"));

    let mut runtime = stand.connect("disco", Some("bob"));
    for sql in [
        "SELECT * FROM made_here",
        "SELECT * FROM made_view",
        "INSERT INTO made_here (name) VALUES ('x')",
        "DELETE FROM made_here",
    ] {
        assert_eq!(runtime.run(sql).sqlstate(), "42P01", "{sql}");
    }
    let mut straight = Connection::open(&stand.upstream("disco")).expect("a session");
    for sql in [
        "SELECT * FROM disco.made_here",
        "INSERT INTO disco.made_here (name) VALUES ('x')",
    ] {
        assert_eq!(straight.run(sql).sqlstate(), "42501", "{sql}");
    }
    for sql in ["DROP VIEW made_view", "DROP TABLE made_here"] {
        migrator.run(sql).good(sql);
    }
}
