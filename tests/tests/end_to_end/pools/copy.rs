//! COPY through a shared connection: every way in and out, what goes wrong in the middle, and memory that does not grow.

#![expect(clippy::print_stdout, reason = "figures for whoever reads a test's output")]

use std::time::{Duration, Instant};

use postern_tests::connection::Connection;
use postern_tests::message::{Frame, cstring, error_fields, message};
use postern_tests::proxy::Proxy;
use postern_tests::stand::Stand;

use super::{ONE, SYNC, group, scalar, usable, whole};

fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &cstring(sql))
}

fn data(text: &str) -> Vec<u8> {
    message(b'd', text.as_bytes())
}

const DONE: &[u8] = b"c\0\0\0\x04";
const FLUSH: &[u8] = b"H\0\0\0\x04";

fn fail() -> Vec<u8> {
    message(b'f', &cstring("the client thinks again"))
}

/// Message kinds up to a ReadyForQuery, an error's SQLSTATE in brackets.
#[track_caller]
fn kinds(c: &mut Connection) -> String {
    let mut kinds = String::new();
    loop {
        let Frame { kind, body } = c.receive().unwrap_or_else(|e| panic!("after {kinds}: {e}"));
        match kind {
            b'S' | b'N' => continue,
            b'E' => kinds.push_str(&format!("E({})", error_fields(&body).sqlstate())),
            b'C' => kinds.push_str(&format!("C({})", String::from_utf8_lossy(&body[..body.len() - 1]))),
            b'd' if kinds.ends_with('d') => {}
            other => kinds.push(char::from(other)),
        }
        if kind == b'Z' {
            c.status = char::from(body[0]);
            return kinds;
        }
    }
}

fn table(c: &mut Connection, name: &str) {
    c.run(&format!("DROP TABLE IF EXISTS {name}")).good("DROP");
    c.run(&format!("CREATE TABLE {name} (a int PRIMARY KEY, b text)"))
        .good("CREATE");
}

/// Sequences of messages, and what PostgreSQL answers; it is asked itself.
#[test]
fn copy_is_answered_as_postgresql_does() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-copy", ONE);
    let mut through = proxy.connect(stand, "lab", None);
    let mut between = proxy.connect(stand, "lab", None);
    table(&mut through, "pools_copy");
    table(&mut through, "pools_copy_direct");
    let mut direct = stand.dba_connection();
    let copy = "COPY pools_copy (a, b) FROM STDIN";
    let put = |rows: &str| [query(copy), data(rows), DONE.to_vec()].concat();
    let extended = |sql: &str| whole(sql);
    let sync = || SYNC.to_vec();
    let done = || DONE.to_vec();
    let out = "COPY (SELECT g, 'x' || g FROM generate_series(1, 3) AS g) TO STDOUT";
    let cases: Vec<(&str, Vec<u8>, usize)> = vec![
        ("in, simple", put("1\tone\n2\ttwo\n"), 1),
        ("in, no rows", put(""), 1),
        (
            "in, rows cut anywhere",
            [query(copy), data("3\tth"), data(""), data("ree\n4"), data("\tfour\n"), done()].concat(),
            1,
        ),
        ("in, with the end's marker", put("5\tfive\n\\.\n"), 1),
        ("in, a row that is wrong", put("6\tsix\nx\tseven\n"), 1),
        ("in, a key twice", put("1\tagain\n"), 1),
        (
            "in, failed by the client",
            [query(copy), data("8\teight\n"), fail()].concat(),
            1,
        ),
        (
            "in, Flush and Sync on the way",
            [query(copy), FLUSH.to_vec(), data("9\tnine\n"), sync(), done()].concat(),
            1,
        ),
        (
            "in, extended",
            [extended(copy), data("10\tten\n"), done(), sync()].concat(),
            1,
        ),
        (
            "in, extended, Sync at once",
            [extended(copy), sync(), data("11\televen\n"), done(), sync()].concat(),
            1,
        ),
        (
            "in, extended, failed",
            [extended(copy), data("12\ttwelve\n"), fail(), sync()].concat(),
            1,
        ),
        (
            "in, extended, a wrong row",
            [extended(copy), data("x\n"), done(), sync()].concat(),
            1,
        ),
        (
            "in, then a statement",
            [extended(copy), data("13\tthirteen\n"), done(), whole("SELECT 1"), sync()].concat(),
            1,
        ),
        (
            "in, a statement before",
            [whole("SELECT 1"), extended(copy), data("14\tx\n"), done(), sync()].concat(),
            1,
        ),
        (
            "a batch",
            [query(&format!("SELECT 1; {copy}; SELECT 2")), data("17\tx\n"), done()].concat(),
            1,
        ),
        (
            "a batch of two",
            [
                query(&format!("{copy}; {copy}")),
                data("18\tx\n"),
                done(),
                data("19\tx\n"),
                done(),
            ]
            .concat(),
            1,
        ),
        (
            "a batch that fails in its COPY",
            [query(&format!("{copy}; SELECT 2")), data("x\n"), done()].concat(),
            1,
        ),
        (
            "data without a COPY",
            [data("20\tx\n"), done(), fail(), query("SELECT 1")].concat(),
            1,
        ),
        ("out, simple", query(out), 1),
        ("out, extended", [extended(out), sync()].concat(), 1),
        (
            "out, that fails",
            query("COPY (SELECT 1 / (3 - g) FROM generate_series(1, 5) AS g) TO STDOUT"),
            1,
        ),
        ("out, in a batch", query(&format!("SELECT 1; {out}; SELECT 2")), 1),
        ("out, twice in a pipeline", [extended(out), extended(out), sync()].concat(), 1),
        (
            "in a transaction",
            [query("BEGIN"), put("21\tx\n"), query("ROLLBACK")].concat(),
            3,
        ),
        (
            "in a transaction that fails",
            [query("BEGIN"), put("x\n"), query("SELECT 1"), query("COMMIT")].concat(),
            4,
        ),
        (
            "in a transaction that goes on",
            [query("BEGIN"), put("22\tx\n"), query(out), query("COMMIT")].concat(),
            4,
        ),
        (
            "described",
            [
                super::parse("c", copy, &[]),
                message(b'D', b"Sc\0"),
                super::bind("", "c", &[]),
                message(b'D', b"P\0"),
                super::execute(""),
                data("23\tx\n"),
                done(),
                sync(),
                message(b'C', b"Sc\0"),
                sync(),
            ]
            .concat(),
            2,
        ),
    ];
    let mut problems = Vec::new();
    for (how, bytes, groups) in cases {
        let answers = |c: &mut Connection, bytes: &[u8]| -> Vec<String> {
            c.patience(Duration::from_secs(20)).expect("a deadline can be set");
            c.send_raw(bytes).expect("sent");
            // What belongs to no group ends with a question of ours.
            let mut all: Vec<String> = (0..groups).map(|_| kinds(c)).collect();
            c.send_raw(&query("SELECT 'end'")).expect("sent");
            while all.last().is_none_or(|k| k != "TDC(SELECT 1)Z") || all.len() <= groups {
                all.push(kinds(c));
            }
            all
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let other = replaced(&bytes);
        let expected = answers(&mut direct, &other);
        let got = answers(&mut through, &bytes);
        if got != expected {
            problems.push(format!("{how}: {got:?}, PostgreSQL: {expected:?}\n    {text:?}"));
        }
        for c in [&mut through, &mut direct] {
            if c.status != 'I' {
                c.run("ROLLBACK").good("ROLLBACK");
            }
        }
        // The next client is not drawn into it.
        if between.run("SELECT 1").scalar().as_deref() != Some("1") {
            problems.push(format!("{how}: the next client is out of step"));
        }
    }
    // Messages that have no place there: PostgreSQL would end the connection, out of step; here the COPY fails.
    for bytes in [
        [extended(copy), data("15\tx\n"), super::parse("", "SELECT 1", &[]), sync()].concat(),
        [query(copy), data("16\tx\n"), query("SELECT 1")].concat(),
    ] {
        through.send_raw(&bytes).expect("sent");
        let got = kinds(&mut through);
        if !got.contains("GE(") || !got.ends_with('Z') {
            problems.push(format!("another message during COPY: {got}"));
        }
        usable(&mut through);
        usable(&mut between);
    }
    let rows = |c: &mut Connection, table: &str| c.run(&format!("SELECT a, b FROM {table} ORDER BY a")).good("reading").texts();
    let (mine, theirs) = (rows(&mut through, "pools_copy"), rows(&mut through, "pools_copy_direct"));
    if mine != theirs {
        problems.push(format!("loaded: {mine:?}\nPostgreSQL: {theirs:?}"));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(mine.len() > 10);
    through.run("DROP TABLE pools_copy, pools_copy_direct").good("DROP");
}

/// The same messages for a table of another name: frames are read and written anew, since their lengths change.
fn replaced(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = usize::try_from(u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]])).expect("it fits");
        let body = &rest[5..=length];
        if matches!(rest[0], b'Q' | b'P') {
            let text = String::from_utf8_lossy(body).replace("pools_copy ", "lab.pools_copy_direct ");
            all.extend(message(rest[0], text.as_bytes()));
        } else {
            all.extend(&rest[..=length]);
        }
        rest = &rest[length + 1..];
    }
    all
}

/// 50 MB each way, with a pool of one and the proxy's memory watched.
#[test]
fn large_copies_stream() {
    const CHUNKS: usize = 50;
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-copy-large", ONE);
    let mut c = proxy.connect(stand, "lab", None);
    table(&mut c, "pools_copy_large");
    let before = proxy.memory();
    let mut most = before;
    let began = Instant::now();
    c.send_raw(&query("COPY pools_copy_large FROM STDIN")).expect("sent");
    assert_eq!(c.receive().unwrap_or_else(|e| panic!("{e}")).kind, b'G');
    let mut next = 0;
    for _ in 0..CHUNKS {
        let mut text = String::with_capacity(1 << 20);
        while text.len() < 1 << 20 {
            text.push_str(&format!("{next}\t{}\n", "x".repeat(1000)));
            next += 1;
        }
        c.send_raw(&data(&text)).expect("sent");
        most = most.max(proxy.memory());
    }
    c.send_raw(DONE).expect("sent");
    assert_eq!(kinds(&mut c), format!("C(COPY {next})Z"));
    c.send_raw(&query("COPY pools_copy_large TO STDOUT")).expect("sent");
    // A reader that stops for a while.
    std::thread::sleep(Duration::from_millis(500));
    most = most.max(proxy.memory());
    let mut rows = 0;
    loop {
        let frame = c.receive().unwrap_or_else(|e| panic!("after {rows} rows: {e}"));
        c.forget_seen();
        match frame.kind {
            b'd' => rows += 1,
            b'Z' => break,
            _ => {}
        }
        if rows % 10_000 == 0 {
            most = most.max(proxy.memory());
        }
    }
    assert_eq!(rows, next);
    println!(
        "{CHUNKS} MiB in and out in {:?}; memory {before} KiB, at most {most}",
        began.elapsed()
    );
    assert!(most < before + 16 * 1024, "memory grew from {before} to {most} KiB");
    c.run("DROP TABLE pools_copy_large").good("DROP");
}

/// A client that leaves in the middle of a COPY has loaded nothing, and holds nobody up.
#[test]
fn a_copy_that_is_left_loads_nothing() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-copy-left", ONE);
    let mut b = proxy.connect(stand, "lab", None);
    table(&mut b, "pools_copy_left");
    let copy = "COPY pools_copy_left FROM STDIN";
    for (how, bytes) in [
        ("simple", [query(copy), data("1\tx\n")].concat()),
        ("extended", [whole(copy), SYNC.to_vec(), data("1\tx\n")].concat()),
        ("a frame cut off", [query(copy), vec![b'd', 0, 0, 1, 0, b'1']].concat()),
        ("not even begun", query(copy)),
        (
            "going out",
            query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 50000)) TO STDOUT"),
        ),
    ] {
        let mut a = proxy.connect(stand, "lab", None);
        a.send_raw(&bytes).expect("sent");
        std::thread::sleep(Duration::from_millis(50));
        drop(a);
        b.patience(Duration::from_secs(20)).expect("a deadline can be set");
        assert_eq!(scalar(&mut b, "SELECT count(*) FROM pools_copy_left"), "0", "{how}");
        usable(&mut b);
    }
    // The twin.
    group(&mut b, &[query(copy), data("1\tx\n"), DONE.to_vec()].concat());
    assert_eq!(scalar(&mut b, "SELECT count(*) FROM pools_copy_left"), "1");
    b.run("DROP TABLE pools_copy_left").good("DROP");
}
