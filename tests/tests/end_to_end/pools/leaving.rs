//! A session-mode client leaves, in whatever state: the next one on its server connection finds nothing of it.

use std::time::{Duration, Instant};

use postern_tests::connection::Connection;
use postern_tests::message::{cstring, message};
use postern_tests::proxy::Proxy;
use postern_tests::stand::Stand;

use super::{ONE_SESSION, SYNC, bind, execute, group, parse, run_prepared, scalar, usable, whole};

/// Everything that a session can have, outside a transaction.
const BELONGINGS: [&str; 12] = [
    "SET TimeZone = 'Asia/Tokyo'",
    "SET application_name = 'one who left'",
    "SET bytea_output = 'escape'",
    "SET default_transaction_isolation = 'serializable'",
    "CREATE TEMP TABLE left_table AS SELECT 'left' AS what",
    "SELECT pg_advisory_lock(815)",
    "LISTEN left_channel",
    "BEGIN",
    "DECLARE left_cursor CURSOR WITH HOLD FOR SELECT 'left'",
    "COMMIT",
    "PREPARE left_statement AS SELECT 'left'",
    "SET default_transaction_read_only = on",
];

/// What the next one must not find. `sender` is another connection of the module.
#[track_caller]
fn finds_nothing(c: &mut Connection, sender: &mut Connection, how: &str) {
    assert_eq!(c.status, 'I', "{how}");
    for (name, value) in [
        ("TimeZone", "Asia/Tokyo"),
        ("application_name", "one who left"),
        ("bytea_output", "escape"),
        ("default_transaction_read_only", "on"),
        ("transaction_isolation", "serializable"),
    ] {
        assert_ne!(scalar(c, &format!("SHOW {name}")), value, "{how}: {name}");
    }
    for (sql, sqlstate) in [
        ("SELECT what FROM left_table", "42P01"),
        ("SELECT what FROM pg_temp.left_table", "42P01"),
        ("FETCH left_cursor", "34000"),
        ("EXECUTE left_statement", "26000"),
    ] {
        assert_eq!(c.run(sql).sqlstate(), sqlstate, "{how}: {sql}");
    }
    assert_eq!(group(c, &run_prepared("left_protocol", &[]))[0].sqlstate(), "26000", "{how}");
    assert_eq!(
        scalar(sender, "SELECT pg_try_advisory_xact_lock(815)"),
        "t",
        "{how}: the lock is still held"
    );
    assert_eq!(
        scalar(c, "SELECT count(*) FROM left_rows WHERE id = 'left-row'"),
        "0",
        "{how}"
    );
    c.forget_seen();
    sender.run("NOTIFY left_channel, 'left'").good("NOTIFY");
    assert_eq!(scalar(c, "SELECT 1"), "1");
    assert!(
        !String::from_utf8_lossy(&c.seen).contains("left_channel"),
        "{how}: a notification"
    );
    // And it can have all of that itself.
    for sql in BELONGINGS {
        c.run(sql).good(sql);
    }
}

#[test]
fn the_next_one_finds_nothing() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut sender = stand.connect("lab", None);
    for sql in [
        "DROP TABLE IF EXISTS left_rows",
        "CREATE TABLE left_rows (id text PRIMARY KEY)",
    ] {
        sender.run(sql).good(sql);
    }
    // Behind the tables, which it reads when it starts.
    let proxy = Proxy::start(stand, "pools-leaving", ONE_SESSION);
    let insert = "INSERT INTO left_rows (id) VALUES ('left-row')";
    let query = |sql: &str| message(b'Q', &cstring(sql));
    let begun = [query("BEGIN"), query(insert)].concat();
    let ways: [(&str, Vec<u8>); 9] = [
        ("at rest", vec![]),
        ("politely", message(b'X', b"")),
        ("in an open transaction", begun.clone()),
        ("in a failed transaction", [begun.clone(), query("SELECT 1/0")].concat()),
        (
            "behind messages without Sync",
            [whole(insert), parse("left_more", "SELECT 1", &[])].concat(),
        ),
        (
            "in a transaction, behind messages without Sync",
            [begun, whole("SELECT 1")].concat(),
        ),
        (
            "while a statement runs",
            query("SELECT count(*) FROM generate_series(1, 2000000)"),
        ),
        (
            "in the middle of a COPY",
            query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 20000)) TO STDOUT"),
        ),
        ("with a frame cut off", vec![b'P', 0, 0, 1]),
    ];
    for (how, bytes) in ways {
        let mut leaving = proxy.connect(stand, "lab", None);
        leaving.patience(Duration::from_secs(20)).expect("a deadline can be set");
        finds_nothing(&mut leaving, &mut sender, &format!("before `{how}`"));
        group(
            &mut leaving,
            &[parse("left_protocol", "SELECT 'left'", &[]), SYNC.to_vec()].concat(),
        );
        leaving.run("SET default_transaction_read_only = off").good("SET");
        leaving.send_raw(&bytes).expect("sent");
        if how == "in an open transaction" {
            // Answered, so that the transaction is open for sure.
            leaving.replies().unwrap_or_else(|e| panic!("{e}"));
            leaving.replies().unwrap_or_else(|e| panic!("{e}"));
        }
        drop(leaving);
        let began = Instant::now();
        let mut next = proxy.connect(stand, "lab", None);
        finds_nothing(&mut next, &mut sender, how);
        assert!(began.elapsed() < Duration::from_secs(10), "{how}: {:?}", began.elapsed());
    }
    sender.run("DROP TABLE left_rows").good("DROP");
}

/// The server connection itself is used again: leaving costs no new one.
#[test]
fn a_connection_is_used_again() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-again", ONE_SESSION);
    let mut dba = stand.dba_connection();
    let mut backend = |name: &str| {
        let sql = format!("SELECT pid FROM pg_stat_activity WHERE application_name = '{name}' AND state = 'idle'");
        dba.run(&sql).scalar()
    };
    let mut pids = Vec::new();
    for number in 0..4 {
        let name = format!("pools-again-{number}");
        let target = proxy.login(stand, "lab", None).with("application_name", &name);
        let mut c = proxy.open(&target);
        for sql in ["CREATE TEMP TABLE t (a int)", "PREPARE p AS SELECT 1", "BEGIN"] {
            c.run(sql).good(sql);
        }
        let described = [parse("", "SELECT 1", &[]), bind("", "", &[]), execute(""), SYNC.to_vec()].concat();
        group(&mut c, &described)[0].clone().good("SELECT");
        c.run("COMMIT").good("COMMIT");
        usable(&mut c);
        pids.push(backend(&name).expect("its connection is seen"));
    }
    pids.dedup();
    assert_eq!(pids.len(), 1, "{pids:?}");
}
