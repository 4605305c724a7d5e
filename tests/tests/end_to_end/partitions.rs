//! A declared table in partitions: read, written, made, detached and dumped through the proxy, and closed at PostgreSQL.

use std::process::Command;
use std::time::Duration;

use postern_tests::attack::Family;
use postern_tests::connection::Connection;
use postern_tests::product::{run_postern, workspace};
use postern_tests::rewriting::{Rewriting, native_alone};
use postern_tests::stand::{Stand, eventually};
use postern_tests::target::Target;

/// Partitions and rows, gone again at the end.
struct Entries<'s>(&'s Stand);

impl<'s> Entries<'s> {
    fn laid_out(stand: &'s Stand) -> Self {
        let this = Self(stand);
        let mut migrator = Connection::open(&stand.through_gate("archive.migrator", None)).expect("a session");
        for sql in [
            "CREATE TABLE entries_2025 PARTITION OF entries FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
            "CREATE TABLE entries_rest PARTITION OF entries FOR VALUES FROM ('2026-01-01') TO (MAXVALUE) PARTITION BY RANGE (at)",
            "CREATE TABLE entries_late PARTITION OF archive.entries_rest DEFAULT",
        ] {
            // Those of a test before may still be known for a moment after the DBA has dropped them.
            let made = eventually(Duration::from_secs(10), || {
                let made = migrator.run(sql);
                (made.sqlstate() != "42P07").then_some(made)
            });
            made.expect("they are gone").good(sql);
        }
        for (who, sql) in [
            (
                "bob",
                "INSERT INTO entries (id, at, owner, body, secret) VALUES (1, '2025-05-05', 'bob', 'one', 's1'), (3, '2026-05-05', 'bob', 'three', 's3')",
            ),
            (
                "dora",
                "INSERT INTO entries (id, at, owner, body, secret) VALUES (2, '2025-05-05', 'dora', 'shared', 's2'), (4, '2026-05-05', 'dora', 'four', 's4')",
            ),
        ] {
            let mut user = Connection::open(&stand.through_gate("archive", Some(who))).expect("a session");
            user.run(sql).good(sql);
        }
        this
    }
}

impl Drop for Entries<'_> {
    fn drop(&mut self) {
        let mut dba = self.0.dba_connection();
        for sql in [
            "DROP TABLE IF EXISTS archive.entries_2025, archive.entries_rest, archive.entries_late",
            "TRUNCATE archive.entries",
        ] {
            dba.run(sql);
        }
    }
}

#[test]
fn attacks_on_partitions_fail_in_all_three_ways() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _entries = Entries::laid_out(stand);
    let attack = |port: u16, way: &str| {
        let family = Family::read(&workspace().join("tests/attacks/partitions.toml"));
        let failures = family.run_through(stand, port);
        assert!(
            failures.is_empty(),
            "{way}: {}\n\n{}\n",
            failures.len(),
            failures.join("\n\n")
        );
    };
    attack(stand.gate().port, "both");
    let native = native_alone(stand, "partitions-native");
    attack(native.port, "rls");
    drop(native);
    let rewriting = Rewriting::start(stand, "partitions-rewrite");
    attack(rewriting.proxy.port, "rewrite");
}

/// Somebody found an upstream password: a partition's own name shows no row and takes none. It does so as soon as it is made, and after it was
/// detached.
#[test]
fn partitions_are_closed_at_postgresql() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _entries = Entries::laid_out(stand);
    let straight = |login: &str| {
        let through = stand.through_gate(login, None);
        Connection::open(&Target {
            user: through.user,
            password: through.password,
            ..stand.dba()
        })
        .expect("straight at PostgreSQL")
    };
    let closed = |name: &str| {
        for login in ["archive", "archive.service", "archive.migrator"] {
            let mut c = straight(login);
            let read = format!("SELECT count(*) FROM archive.{name}");
            let counted = c.run(&read);
            match login {
                "archive.migrator" => assert_eq!(counted.sqlstate(), "42501", "{login}: {read}"),
                _ => assert_eq!(counted.good(&read).scalar().as_deref(), Some("0"), "{login}: {read}"),
            }
            let write = format!("INSERT INTO archive.{name} (id, at, owner) VALUES (9, '2025-09-09', 'bob')");
            assert_eq!(c.run(&write).sqlstate(), "42501", "{login}: {write}");
        }
    };
    for name in ["entries_2025", "entries_rest", "entries_late"] {
        closed(name);
    }
    let held = "SELECT count(*) FROM archive.entries_2025";
    assert_eq!(stand.dba_connection().run(held).good(held).scalar().as_deref(), Some("2"));

    let mut migrator = Connection::open(&stand.through_gate("archive.migrator", None)).expect("a session");
    let detach = "ALTER TABLE entries DETACH PARTITION entries_2025";
    migrator.run(detach).good(detach);
    closed("entries_2025");
    let mut service = Connection::open(&stand.through_gate("archive.service", None)).expect("a session");
    let read = "SELECT count(*) FROM entries_2025";
    assert_eq!(service.run(read).good(read).scalar().as_deref(), Some("0"), "no row is shown");
    let mut bob = Connection::open(&stand.through_gate("archive", Some("bob"))).expect("a session");
    assert_eq!(bob.run(read).sqlstate(), "42P01", "it is declared no longer");
    let left = bob.run("SELECT id FROM entries").good("what is left").texts();
    assert_eq!(left, [[Some("3".to_owned())]]);
    // The twin: it is the migrator's to drop.
    migrator.run("DROP TABLE entries_2025").good("DROP TABLE");
}

/// What the DBA opens is found, closed again, and until then no migrator detaches it.
#[test]
fn an_open_partition_is_found_and_closed() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _entries = Entries::laid_out(stand);
    let config = stand.gate().config.to_str().expect("a path in UTF-8");
    let doctor = || {
        let output = run_postern(&["doctor", "--config", config]);
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    assert!(!doctor().contains("partitions of declared tables"), "{}", doctor());
    let mut dba = stand.dba_connection();
    for sql in [
        // The event trigger would close it at once.
        "ALTER EVENT TRIGGER postern_partitions_closed DISABLE",
        "ALTER TABLE archive.entries_2025 DISABLE ROW LEVEL SECURITY",
        "GRANT ALL ON archive.entries_2025 TO archive_service",
    ] {
        dba.run(sql).good(sql);
    }
    assert!(doctor().contains("partitions of declared tables"), "{}", doctor());
    let mut migrator = Connection::open(&stand.through_gate("archive.migrator", None)).expect("a session");
    let detach = "ALTER TABLE entries DETACH PARTITION entries_2025";
    let refused = eventually(Duration::from_secs(10), || {
        migrator.run("BEGIN");
        let state = migrator.run(detach).sqlstate().to_owned();
        migrator.run("ROLLBACK");
        (state == "0A000").then_some(())
    });
    let provisioned = run_postern(&["provision", "--config", config]);
    assert!(
        provisioned.status.success(),
        "{}",
        String::from_utf8_lossy(&provisioned.stderr)
    );
    assert!(refused.is_some(), "an open partition was detached");
    assert!(!doctor().contains("partitions of declared tables"), "{}", doctor());
    let state = "SELECT relrowsecurity AND relforcerowsecurity, relacl::text NOT LIKE '%archive_service=a%' FROM pg_class WHERE relname = 'entries_2025'";
    let yes = Some("t".to_owned());
    assert_eq!(dba.run(state).good(state).texts(), [[yes.clone(), yes]]);
}

/// What a failed transaction did is gone with it, COMMIT or not: a query that ends it says nothing more of what was judged within.
#[test]
fn a_failed_transaction_leaves_partitions_what_they_were() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _entries = Entries::laid_out(stand);
    let mut migrator = Connection::open(&stand.through_gate("archive.migrator", None)).expect("a session");
    for sql in [
        "BEGIN",
        "ALTER TABLE entries DETACH PARTITION entries_2025",
        "SELECT count(*) FROM entries_2025",
    ] {
        migrator.run(sql).good(sql);
    }
    assert_eq!(migrator.run("SELECT 1 / 0").sqlstate(), "22012");
    for sql in [
        "COMMIT; ALTER TABLE entries_2025 ADD CHECK (owner <> 'dora')",
        "ROLLBACK; TRUNCATE entries_2025",
        "ROLLBACK; BEGIN; ALTER TABLE entries_2025 ADD CHECK (owner <> 'dora'); COMMIT",
    ] {
        // What is refused in a transaction that has failed is told so.
        assert_eq!(migrator.run(sql).sqlstate(), "25P02", "{sql}");
        assert_eq!(migrator.status, 'E', "{sql}");
    }
    migrator.run("ROLLBACK").good("ROLLBACK");
    assert_eq!(migrator.run("TRUNCATE entries_2025").sqlstate(), "42501");
    let held = "SELECT count(*) FROM archive.entries_2025 WHERE tableoid = 'archive.entries_2025'::regclass";
    assert_eq!(stand.dba_connection().run(held).good(held).scalar().as_deref(), Some("2"));
    // The twin: where nothing was changed in it, a rollback brings nothing back.
    migrator.run("CREATE TABLE passing (a int)").good("a table");
    migrator.run("BEGIN").good("BEGIN");
    let sql = "SELECT 1; ROLLBACK; ALTER TABLE passing ADD CHECK (a > 0); DROP TABLE passing";
    migrator.run(sql).good(sql);
}

/// A statement waits for a lock, and what its name stands for becomes a partition meanwhile: only PostgreSQL sees that. Through the proxy
/// nothing that is no partition gets such a name; a DBA may have given it.
#[test]
fn a_table_that_becomes_a_partition_while_a_statement_waits_is_not_changed() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _entries = Entries::laid_out(stand);
    let mut dba = stand.dba_connection();
    let mut one = Connection::open(&stand.through_gate("archive.migrator", None)).expect("a session");
    let bounds = "FOR VALUES FROM ('2015-01-01') TO ('2016-01-01')";
    for sql in [
        "CREATE TABLE archive.u (owner text PRIMARY KEY)",
        "ALTER TABLE archive.u OWNER TO archive_owner",
        // As the table is, hidden columns included.
        "CREATE TABLE archive.stray (LIKE archive.entries INCLUDING ALL)",
        "ALTER TABLE archive.stray OWNER TO archive_owner",
    ] {
        dba.run(sql).good(sql);
    }
    for (way, statement) in [
        ("", "ALTER TABLE entries_q ADD CHECK (owner <> 'dora')"),
        (
            "",
            "ALTER TABLE entries_q ADD CONSTRAINT trap FOREIGN KEY (owner) REFERENCES u (owner) ON UPDATE CASCADE ON DELETE CASCADE",
        ),
        (
            "",
            "ALTER TABLE u ADD COLUMN id int4, ADD COLUMN at date, ADD FOREIGN KEY (id, at) REFERENCES entries_q",
        ),
        (
            " PARTITION BY RANGE (at)",
            "ALTER TABLE entries_q ATTACH PARTITION stray FOR VALUES FROM ('2015-01-01') TO ('2016-01-01')",
        ),
    ] {
        let mut attempt = |becomes: &[&str]| {
            for sql in [
                &format!("CREATE TABLE archive.entries_q (LIKE archive.stray INCLUDING ALL){way}"),
                "ALTER TABLE archive.entries_q OWNER TO archive_owner",
            ] {
                dba.run(sql).good(sql);
            }
            for sql in [&["BEGIN"], becomes].concat() {
                one.run(sql).good(sql);
            }
            let mut other = Connection::open(&stand.through_gate("archive.migrator", None)).expect("a session");
            let waiting = std::thread::spawn(move || other.run(statement).sqlstate().to_owned());
            let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
            eventually(Duration::from_secs(20), || {
                (dba.run(waits).good(waits).scalar().as_deref() != Some("0")).then_some(())
            })
            .expect("it waits");
            one.run("COMMIT").good("COMMIT");
            let state = waiting.join().expect("an answer");
            for sql in [
                "ALTER TABLE entries DETACH PARTITION entries_q",
                "ALTER TABLE entries_q DETACH PARTITION stray",
                "DROP TABLE entries_q CASCADE",
            ] {
                one.run(sql);
            }
            state
        };
        let partition = format!("CREATE TABLE entries_q PARTITION OF entries {bounds}{way}");
        assert_eq!(attempt(&["DROP TABLE entries_q", &partition]), "42501", "{statement}");
        // The twin: it is the module's own still.
        assert_eq!(attempt(&["LOCK TABLE entries_q IN ACCESS EXCLUSIVE MODE"]), "", "{statement}");
    }
    for sql in ["DROP TABLE u CASCADE", "DROP TABLE stray"] {
        one.run(sql).good(sql);
    }
}

/// What is open in one module, as after a DBA's GRANT, neither stops another module's statements nor is told to it; its own next one closes it.
#[test]
fn an_open_partition_is_its_own_modules_concern() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _entries = Entries::laid_out(stand);
    let mut dba = stand.dba_connection();
    let grant = "GRANT INSERT ON archive.entries_2025 TO archive_service";
    dba.run(grant).good(grant);
    let open = |dba: &mut Connection| {
        let sql = "SELECT relacl::text LIKE '%archive_service=a%' FROM pg_class WHERE oid = 'archive.entries_2025'::regclass";
        dba.run(sql).good(sql).scalar().as_deref() == Some("t")
    };
    assert!(open(&mut dba));
    let mut other = Connection::open(&stand.through_gate("lender.migrator", None)).expect("a session");
    for sql in [
        "CREATE TABLE beside (a int)",
        "ALTER TABLE beside ADD COLUMN b int",
        "DROP TABLE beside",
    ] {
        other.run(sql).good(sql);
    }
    assert!(open(&mut dba));
    let mut own = Connection::open(&stand.through_gate("archive.migrator", None)).expect("a session");
    for sql in ["CREATE TABLE beside (a int)", "DROP TABLE beside"] {
        own.run(sql).good(sql);
    }
    assert!(!open(&mut dba), "it is closed again");
}

/// A view over a partition is told with the partition's name, so that a dump brings back no wider one.
#[test]
fn a_view_over_a_partition_is_told_with_its_limit() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _entries = Entries::laid_out(stand);
    let mut migrator = Connection::open(&stand.through_gate("archive.migrator", None)).expect("a session");
    let mut shown = |sql: &str| {
        migrator.run("BEGIN").good("BEGIN");
        let made = format!("CREATE VIEW told AS {sql}");
        migrator.run(&made).good(&made);
        let asked = "SELECT regexp_replace(pg_get_viewdef('told'::regclass), '\\s+', ' ', 'g')";
        let told = migrator.run(asked).good(asked).scalar().expect("a definition");
        migrator.run("ROLLBACK").good("ROLLBACK");
        told
    };
    let told = shown("SELECT id FROM entries_2025 WHERE id > 0");
    assert!(told.contains("FROM \"archive\".\"entries_2025\" entries_2025"), "{told}");
    let told = shown("SELECT r.id FROM entries e JOIN entries_rest r ON r.id = e.id");
    assert!(
        told.contains("entries e") && told.contains("\"archive\".\"entries_rest\" r"),
        "{told}"
    );
    assert!(!told.contains("postern"), "{told}");
    // The twin: the table itself.
    let told = shown("SELECT id FROM entries");
    assert!(told.contains("FROM entries"), "{told}");
    // A name that the mark does not carry safely: nothing is told, and nothing wider.
    let odd = "CREATE TABLE \"entries_odd ' one\" PARTITION OF entries FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')";
    migrator.run(odd).good(odd);
    let mut shown = |sql: &str| {
        migrator.run("BEGIN").good("BEGIN");
        let made = format!("CREATE VIEW told AS {sql}");
        migrator.run(&made).good(&made);
        let asked = "SELECT pg_get_viewdef('told'::regclass)";
        let told = migrator.run(asked).good(asked).scalar().expect("a definition");
        migrator.run("ROLLBACK").good("ROLLBACK");
        told
    };
    let told = shown("SELECT id FROM \"entries_odd ' one\"");
    let drop = "DROP TABLE archive.\"entries_odd ' one\"";
    stand.dba_connection().run(drop).good(drop);
    assert!(
        told.contains("the definition is not told") && !told.contains("FROM entries"),
        "{told}"
    );
}

/// What PostgreSQL says of a value that an index cannot hold tells no length.
#[test]
fn how_long_a_hidden_value_is_is_not_told() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _entries = Entries::laid_out(stand);
    let mut dora = Connection::open(&stand.through_gate("archive", Some("dora"))).expect("a session");
    // What does not compress.
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b'A' + u8::try_from((state >> 33) % 50).expect("below 50"))
    };
    let long: String = (0..9000).map(|_| next()).collect();
    let insert = format!("INSERT INTO entries (id, at, owner, body) VALUES (9, '2025-09-09', 'dora', $long${long}$long$)");
    dora.run(&insert).good("INSERT");
    let mut migrator = Connection::open(&stand.through_gate("archive.migrator", None)).expect("a session");
    let failed = migrator.run("CREATE INDEX ON entries_2025 (body)");
    assert_eq!(failed.sqlstate(), "54000");
    let error = failed.error.expect("an error");
    assert_eq!(error.message(), "a value is too long for an index");
    // The twin.
    migrator.run("BEGIN");
    migrator.run("CREATE INDEX ON entries_2025 (owner)").good("another column");
    migrator.run("ROLLBACK");
}

/// A user's dump holds the user's rows, each in its partition, and a plain PostgreSQL takes it.
#[test]
fn a_partitioned_table_is_dumped() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _entries = Entries::laid_out(stand);
    let bob = stand.through_gate("archive", Some("bob"));
    let output = Command::new("pg_dump")
        .args(["--no-owner", "--no-acl", "--schema", "archive"])
        .envs(bob.environment())
        .output()
        .expect("pg_dump starts");
    let (dump, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{err}");
    for part in [
        "PARTITION BY RANGE (at)",
        "COPY archive.entries_2025 ",
        "\tbob\tone\ts1\n",
        "\tbob\tthree\ts3\n",
        "    secret text",
        "ATTACH PARTITION archive.entries_2025",
    ] {
        assert!(dump.contains(part), "`{part}` is not in\n{dump}");
    }
    assert!(!dump.contains("dora") && !dump.contains("postern"), "{dump}");

    let target = super::dump::plain_database(stand);
    let file = postern_tests::product::fresh_directory("dump-partitions").join("archive.sql");
    std::fs::write(&file, &dump).expect("writable");
    let output = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file"])
        .arg(&file)
        .envs(target.environment())
        .output()
        .expect("psql starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = "SELECT tableoid::regclass::text, id, secret FROM archive.entries ORDER BY id";
    let text = |t: &str| Some(t.to_owned());
    assert_eq!(
        super::dump::open(&target).run(rows).good(rows).texts(),
        [
            [text("archive.entries_2025"), text("1"), text("s1")],
            [text("archive.entries_late"), text("3"), text("s3")]
        ]
    );
    super::dump::forget_plain_database(stand);
}
