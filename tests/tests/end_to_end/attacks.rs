//! The attacks of `attacks/*.toml`, a test for each file. `fence.rs` runs them by `enforce = "rewrite"` and `"rls"`, `pools/turns.rs` in
//! transaction mode.

#![expect(clippy::print_stdout, reason = "figures for whoever reads a test's output")]

use postern_tests::attack::{Counted, FILES, Family};
use postern_tests::product::workspace;
use postern_tests::stand::Stand;

fn run(name: &str) {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let file = workspace().join("tests/attacks").join(name);
    let failures = Family::read(&file).run(stand);
    assert!(
        failures.is_empty(),
        "{} of {name}:\n\n{}\n",
        failures.len(),
        failures.join("\n\n")
    );
}

#[test]
fn isolation() {
    run("isolation.toml");
}

#[test]
fn filters_reading() {
    run("filters_reading.toml");
}

#[test]
fn filters_writing() {
    run("filters_writing.toml");
}

#[test]
fn masks_and_protected_columns() {
    run("masks.toml");
}

#[test]
fn what_modules_make() {
    run("ddl.toml");
}

/// The catalogue's own: with a few relations that no manifest declares.
#[test]
fn catalogue() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let file = workspace().join("tests/attacks/catalogue.toml");
    beside_undeclared(stand, || {
        let failures = Family::read(&file).run(stand);
        assert!(failures.is_empty(), "{}:\n\n{}\n", failures.len(), failures.join("\n\n"));
        whose_it_is_decides_not_the_login(stand);
    });
}

/// Does something while module disco has relations that its manifest does not declare; whoever calls it has the stand for itself.
pub(crate) fn beside_undeclared(stand: &Stand, act: impl FnOnce() + std::panic::UnwindSafe) {
    let mut migrator = stand.connect("disco.migrator", None);
    let gone = [
        "DROP FUNCTION IF EXISTS counts_hidden",
        "DROP VIEW IF EXISTS hidden_view",
        "DROP TABLE IF EXISTS hidden_things",
    ];
    let made = [
        "CREATE TABLE hidden_things (id serial PRIMARY KEY, body text CHECK (body <> ''), hidden_column int REFERENCES hidden_things (id))",
        "CREATE INDEX hidden_lower ON hidden_things (lower(body))",
        "CREATE VIEW hidden_view AS SELECT id, body FROM hidden_things",
        "COMMENT ON TABLE hidden_things IS 'a hidden_ comment'",
        "COMMENT ON COLUMN hidden_things.body IS 'a hidden_ comment too'",
        "INSERT INTO hidden_things (body) VALUES ('a body')",
        "CREATE FUNCTION counts_hidden(n int DEFAULT 7) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) + $1 FROM disco.hidden_things'",
    ];
    for sql in gone.iter().chain(&made) {
        migrator.run(sql).good(sql);
    }
    let ran = std::panic::catch_unwind(act);
    for sql in gone {
        migrator.run(sql).good(sql);
    }
    if let Err(panic) = ran {
        std::panic::resume_unwind(panic);
    }
}

/// On one connection the module itself sees what a user of it does not, whichever way the user's token comes.
fn whose_it_is_decides_not_the_login(stand: &Stand) {
    let token = stand.token("disco", "bob");
    let mut service = stand.connect("disco.service", None);
    let mut sees = |before: &[&str], comment: &str| -> (Option<String>, String) {
        for sql in before {
            service.run(sql).good(sql);
        }
        let count = format!("{comment}SELECT count(*) FROM pg_class WHERE relname LIKE 'hidden\\_%'");
        let counted = service.run(&count).good(&count).scalar();
        let named = service.run(&format!("{comment}SELECT 'hidden_things'::regclass::text"));
        (counted, named.error.map_or_else(String::new, |e| e.sqlstate().to_owned()))
    };
    let (all, none) = (
        (Some("5".to_owned()), String::new()),
        (Some("0".to_owned()), "42P01".to_owned()),
    );
    let local = format!("SET LOCAL postern.token = '{token}'");
    let set = format!("SELECT postern.set_token('{token}')");
    assert_eq!(sees(&[], ""), all, "the module itself");
    assert_eq!(sees(&["BEGIN", &local], ""), none, "a token for the transaction");
    assert_eq!(sees(&["ROLLBACK"], ""), all, "the transaction is over");
    assert_eq!(sees(&[], &format!("/*postern:{token}*/")), none, "a token for the statement");
    assert_eq!(sees(&[], ""), all, "the statement is over");
    assert_eq!(sees(&[&set], ""), none, "a token for the session");
    assert_eq!(sees(&["RESET postern.token"], ""), all, "the module itself again");
    // What was prepared by the module is judged again for a user.
    let prepared = "PREPARE hidden AS SELECT count(*) FROM hidden_things";
    service.run(prepared).good(prepared);
    assert_eq!(service.run("EXECUTE hidden").good("EXECUTE").scalar().as_deref(), Some("1"));
    service.run(&set).good("a token");
    let refused = service
        .run("EXECUTE hidden")
        .error
        .expect("a user is not shown what the module prepared");
    assert_eq!(refused.sqlstate(), "42P01");
}

/// At least two hundred spellings of attacks stand beside a twin of their own, and every attack beside one at all (without it a file does not
/// load).
#[test]
fn every_attack_has_its_twin_and_there_are_two_hundred_of_them() {
    let mut all = Counted::default();
    for name in FILES.into_iter().chain([
        "policies.toml",
        "exchange.toml",
        "lookups.toml",
        "catalogue.toml",
        "partitions.toml",
    ]) {
        let counted = Family::read(&workspace().join("tests/attacks").join(name)).counted();
        println!("{name}: {counted}");
        all += counted;
    }
    println!("enforce = both: {all}");
    assert!(all.paired >= 200, "{all}");
    let there = std::fs::read_dir(workspace().join("tests/attacks"))
        .expect("the attacks")
        .count();
    assert_eq!(there, FILES.len() + 5, "a file that no test runs");
}
