//! When a manifest changes: what a view made before still shows, and what is left of a table that is declared no longer.

use std::fs;

use postern_tests::connection::Connection;
use postern_tests::product::{copy_directory, run_postern};
use postern_tests::proxy::Proxy;
use postern_tests::stand::Stand;

/// A proxy before the same database whose manifest of one module is another. Nothing is provisioned.
fn with_manifest(stand: &Stand, purpose: &str, module: &str, change: impl FnOnce(&str) -> String) -> Proxy {
    let from = stand.gate().config.parent().expect("a file lies in a directory").to_owned();
    let to = stand.dir.join(format!("proxy-{purpose}"));
    copy_directory(&from, &to);
    let manifest = to.join(format!("modules/{module}.toml"));
    let text = fs::read_to_string(&manifest).expect("readable");
    let changed = change(&text);
    assert_ne!(text, changed, "the manifest is as it was");
    fs::write(&manifest, changed).expect("writable");
    Proxy::serve(&to, purpose, "enforce = \"both\"")
}

fn run_all(connection: &mut Connection, statements: &[&str]) {
    for sql in statements {
        connection.run(sql).good(sql);
    }
}

/// The policy `service` is revoked, or a column masked: views that were made before are not read, nor what stands on them, until they are made again.
#[test]
fn a_view_does_not_keep_policies_of_another_day() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let mut migrator = Connection::open(&stand.through_gate("archive.migrator", None)).expect("a session");
    run_all(
        &mut migrator,
        &[
            "CREATE VIEW outdated AS SELECT id, owner FROM entries",
            "CREATE VIEW outdated_above AS SELECT id FROM outdated",
            "CREATE MATERIALIZED VIEW outdated_kept AS SELECT id FROM entries",
            "CREATE VIEW of_no_table AS SELECT 1 AS id",
        ],
    );
    let names = ["outdated", "outdated_above", "outdated_kept"];
    let read = |proxy: Option<&Proxy>, name: &str| {
        let mut service = match proxy {
            Some(proxy) => proxy.connect(stand, "archive.service", None),
            None => Connection::open(&stand.through_gate("archive.service", None)).expect("a session"),
        };
        service.run(&format!("SELECT count(*) FROM {name}")).sqlstate().to_owned()
    };
    let mut problems = Vec::new();
    let mut expect = |what: String, found: &str, wanted: &str| {
        if found != wanted {
            problems.push(format!("{what}: {found:?}, not {wanted:?}"));
        }
    };
    for name in names {
        expect(format!("{name} as it was made"), &read(None, name), "");
    }
    let revoked = |text: &str| {
        text.split("[[table.policy]]\nname = \"service\"")
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let masked = |text: &str| {
        text.replace(
            "{ name = \"body\", type = \"text\" }",
            "{ name = \"body\", type = \"text\", mask_unless = \"owner = claim.sub\" }",
        )
    };
    {
        let changed = with_manifest(stand, "revoked", "archive", revoked);
        for name in names {
            expect(format!("{name}, its policy revoked"), &read(Some(&changed), name), "42501");
        }
        expect("of no table".to_owned(), &read(Some(&changed), "of_no_table"), "");
        let doctor = run_postern(&["doctor", "--config", changed.config.to_str().expect("UTF-8")]);
        let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
        let said = "archive.outdated_above: filters by policies that have changed";
        let words = doctor.split_whitespace().collect::<Vec<_>>().join(" ");
        expect("the doctor".to_owned(), if words.contains(said) { "" } else { &words }, "");
        let mut migrator = changed.connect(stand, "archive.migrator", None);
        let refresh = migrator.run("REFRESH MATERIALIZED VIEW outdated_kept").sqlstate().to_owned();
        expect("REFRESH".to_owned(), &refresh, "42501");
        let above = migrator
            .run("CREATE VIEW outdated_anew AS SELECT * FROM outdated")
            .sqlstate()
            .to_owned();
        expect("a view over it".to_owned(), &above, "42501");
        // Made again it is read, and what stands on it.
        let again = migrator.run("CREATE OR REPLACE VIEW outdated AS SELECT id, owner FROM entries");
        expect("made again".to_owned(), again.sqlstate(), "");
        for name in ["outdated", "outdated_above"] {
            expect(format!("{name} made again"), &read(Some(&changed), name), "");
        }
    }
    {
        let changed = with_manifest(stand, "masked", "archive", masked);
        for name in names {
            expect(format!("{name}, a column masked"), &read(Some(&changed), name), "42501");
        }
    }
    run_all(
        &mut migrator,
        &[
            "DROP MATERIALIZED VIEW outdated_kept",
            "DROP VIEW outdated_above, outdated, of_no_table",
        ],
    );
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A table that the manifest declared once keeps its rows from the module.
#[test]
fn a_table_that_is_declared_no_longer_stays_closed() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let mut dba = stand.dba_connection();
    run_all(&mut dba, &["INSERT INTO borrower.reminders (id) VALUES ('hidden')"]);
    let without = |text: &str| {
        let (before, reminders) = text.split_once("[[table]]\nname = \"reminders\"").expect("it is there");
        let (_, behind) = reminders.split_once("[[table]]").expect("it is not the last");
        format!("{before}[[table]]{behind}")
    };
    let changed = with_manifest(stand, "undeclared", "borrower", without);
    let mut problems = Vec::new();
    let mut migrator = changed.connect(stand, "borrower.migrator", None);
    for sql in [
        "CREATE TABLE mine (LIKE reminders) PARTITION BY RANGE (id)",
        "ALTER TABLE stray ATTACH PARTITION reminders DEFAULT",
        "ALTER TABLE reminders ALTER id TYPE int USING id::int",
        "ALTER TABLE reminders ADD CHECK (id <> 'hidden')",
        "ALTER TABLE reminders RENAME TO mine",
        "CREATE INDEX ON reminders ((id::int))",
        "CREATE TABLE told (id text REFERENCES reminders (id))",
        "INSERT INTO reminders (id) VALUES ('hidden')",
        "TRUNCATE reminders",
        "ANALYZE reminders",
    ] {
        migrator.run("BEGIN").good("BEGIN");
        let stray = "CREATE TABLE stray (id text NOT NULL, book_id text) PARTITION BY RANGE (id)";
        migrator.run(stray).good(stray);
        let state = migrator.run(sql).sqlstate().to_owned();
        if state != "42501" {
            problems.push(format!("{sql}: {state:?}"));
        }
        migrator.run("ROLLBACK").good("ROLLBACK");
    }
    let counted = migrator.run("SELECT count(*) FROM reminders").good("reading").scalar();
    // The twin: it is dropped.
    migrator.run("BEGIN").good("BEGIN");
    let dropped = migrator.run("DROP TABLE reminders").sqlstate().to_owned();
    migrator.run("ROLLBACK").good("ROLLBACK");
    run_all(&mut dba, &["TRUNCATE borrower.reminders"]);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert_eq!(counted.as_deref(), Some("0"), "PostgreSQL filters it still");
    assert_eq!(dropped, "", "DROP TABLE");
}
