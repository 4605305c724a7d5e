//! What the policy language says, enforced three ways: `attacks/policies.toml` in module `guild`.

use postern_tests::attack::Family;
use postern_tests::connection::Connection;
use postern_tests::product::workspace;
use postern_tests::rewriting::{Rewriting, native_alone};
use postern_tests::stand::Stand;

/// The rows of which the attacks speak, written through the proxy by those whose they are.
pub(crate) fn fill(stand: &Stand) {
    // It is what makes the module's tables.
    stand.gate();
    let say = |who: &str, sql: &str| {
        let mut c = Connection::open(&stand.through_gate("guild", Some(who))).unwrap_or_else(|e| panic!("{e}"));
        c.run(sql).good(sql);
    };
    let empty = "DELETE FROM guild.halls; DELETE FROM guild.bookings; DELETE FROM guild.letters; DELETE FROM guild.stamps; DELETE FROM guild.grades; DELETE FROM guild.contacts; DELETE FROM guild.calls";
    stand.dba_connection().run(empty).good(empty);
    say(
        "root",
        "INSERT INTO halls (id, project, org_id, title, seats, door_code, contact) VALUES \
         ('h1', 'PA1', 'A', 'North', 40, '1234', 'north@guild.example'), ('h2', 'PA2', 'A', 'South', 20, '5678', 'south@guild.example'), \
         ('h3', 'PB1', 'B', 'East', 60, '9012', 'east@guild.example'), ('h4', NULL, 'A', 'Office', 10, '3456', 'ask the office')",
    );
    say(
        "bob",
        "INSERT INTO bookings (id, hall_id, seats, note) VALUES ('b-bob', 'h1', 2, 'by the window')",
    );
    say(
        "dora",
        "INSERT INTO bookings (id, hall_id, seats, note) VALUES ('b-dora', 'h3', 4, 'at the back'), ('b-office', 'h4', 1, NULL)",
    );
    say(
        "root",
        "INSERT INTO grades (id, level, tenant) VALUES (1, 1, NULL), (2, 3, NULL), (3, 4, '0A0A0A0A-0000-4000-8000-00000000000A')",
    );
    for (id, who) in [(1, "bob"), (2, "dora")] {
        say(
            who,
            &format!(
                "INSERT INTO contacts (id, email, secret, body) VALUES ({id}, '{who}@people.example', 'secret of {who}', 'of {who}')"
            ),
        );
        say(who, &format!("INSERT INTO calls (id, contact) VALUES ({id}, {id})"));
    }
    say("bob", "INSERT INTO letters (id, body) VALUES (1, 'from bob')");
    say("dora", "INSERT INTO letters (id, body) VALUES (2, 'from dora')");
}

fn family() -> Family {
    Family::read(&workspace().join("tests/attacks/policies.toml"))
}

#[track_caller]
fn none(failures: &[String]) {
    assert!(failures.is_empty(), "{}:\n\n{}\n", failures.len(), failures.join("\n\n"));
}

#[test]
fn what_policies_say_holds() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    fill(stand);
    none(&family().run_through(stand, stand.gate().port));
}

#[test]
fn by_native_row_level_security_alone() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    fill(stand);
    let native = native_alone(stand, "native-policies");
    none(&family().run_through(stand, native.port));
}

#[test]
fn without_native_row_level_security() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    fill(stand);
    let rewriting = Rewriting::start(stand, "rewriting-policies");
    let failures = family().run_through(stand, rewriting.proxy.port);
    none(&failures);
}

/// What a preset sealed is ciphertext like any other, and what stands in a masked cell's place is no value.
#[test]
fn presets_are_sealed_and_masks_are_no_envelopes() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    fill(stand);
    let mut bob = Connection::open(&stand.through_gate("guild", Some("bob"))).unwrap_or_else(|e| panic!("{e}"));
    let sql = "INSERT INTO stamps (id, body) VALUES (1, 'x')";
    bob.run(sql).good(sql);
    let mut dba = stand.dba_connection();
    let sql = "SELECT signer, seal FROM guild.stamps";
    for cell in dba.run(sql).good(sql).texts().into_iter().flatten().flatten() {
        assert!(cell.starts_with("\\x") && cell.len() > 60, "no envelope: {cell}");
        for plain in ["626f62", "617070726f766564"] {
            assert!(!cell.contains(plain), "in the clear: {cell}");
        }
    }
    // A DBA who puts the mask's mark into a cell shows the mask, as by taking the value away.
    let sql = "UPDATE guild.halls SET door_code = '\\x00'::bytea WHERE id = 'h1'; UPDATE guild.stamps SET seal = '\\x00'::bytea";
    dba.run(sql).good(sql);
    let mut carl = Connection::open(&stand.through_gate("guild", Some("carl"))).unwrap_or_else(|e| panic!("{e}"));
    let seen = carl
        .run("SELECT door_code FROM halls WHERE id = 'h1'")
        .good("door code")
        .scalar();
    assert_eq!(seen.as_deref(), Some("***"));
    // A column without a mask has no such mark: it is damaged.
    let error = bob.run("SELECT seal FROM stamps").error.expect("no envelope");
    assert_eq!(error.sqlstate(), "XX001", "{error}");
}

/// Whoever holds the database can copy a tag, and so show a row to somebody else; what is sealed in it was sealed for the first one.
#[test]
fn a_copied_tag_opens_nothing() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    fill(stand);
    let mut bob = Connection::open(&stand.through_gate("guild", Some("bob"))).unwrap_or_else(|e| panic!("{e}"));
    let mut dba = stand.dba_connection();
    let sql = "UPDATE guild.contacts SET \"postern$eq$email\" = (SELECT \"postern$eq$email\" FROM guild.contacts WHERE id = 1) WHERE id = 2";
    dba.run(sql).good(sql);
    let sql = "SELECT body FROM contacts WHERE id = 2";
    assert_eq!(
        bob.run(sql).good(sql).scalar().as_deref(),
        Some("of dora"),
        "the database says whose a row is"
    );
    for sql in [
        "SELECT secret FROM contacts WHERE id = 2",
        "SELECT email FROM contacts WHERE id = 2",
    ] {
        let error = bob.run(sql).error.expect("sealed for somebody else");
        assert_eq!(error.sqlstate(), "XX001", "{sql}: {error}");
    }
    assert_eq!(
        bob.run("SELECT secret FROM contacts WHERE id = 1").scalar().as_deref(),
        Some("secret of bob")
    );
}
