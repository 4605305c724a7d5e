//! The protocol by hand: frames that no driver would send, and what must come of them.

use std::time::{Duration, Instant};

use postern_tests::connection::{Connection, Failure};
use postern_tests::message::{
    VERSION_3_0, bind_body, cancel_message, cstring, error_fields, message, parse_body, startup_message,
};
use postern_tests::stand::Stand;

fn socket(stand: &Stand) -> Connection {
    let mut c = Connection::socket(&stand.login("evilmod")).unwrap_or_else(|e| panic!("{e}"));
    c.patience(Duration::from_secs(20)).expect("a deadline can be set");
    c
}

fn still_serves(stand: &Stand) {
    assert_eq!(stand.connect("evilmod", None).run("SELECT 1").scalar().as_deref(), Some("1"));
}

/// Resident memory of the demo's process, KiB.
fn memory(stand: &Stand) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", stand.pid())).expect("the demo runs");
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS is told");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

/// 33, before anybody is known.
#[test]
fn startup_packets_of_wrong_length_end_the_connection() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let before = memory(stand);
    for length in [0_i32, 1, 3, 4, 7, -1, i32::MIN, i32::MAX, 1 << 30, 10_001] {
        let mut c = socket(stand);
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(VERSION_3_0.to_be_bytes());
        bytes.extend([b'x'; 32]);
        c.send_raw(&bytes).expect("sent");
        assert!(c.closes(), "length {length}: the connection stays open");
    }
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0xff; 64],
        &[0; 64],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let mut c = socket(stand);
        let _ = c.send_raw(bytes);
        let _ = c.hang_up();
        assert!(c.closes(), "{:?}: the connection stays open", &bytes[..4]);
    }
    assert!(
        memory(stand) < before + 64 * 1024,
        "memory grew from {before} to {} KiB",
        memory(stand)
    );
    still_serves(stand);
}

/// 33, after login.
#[test]
fn frames_of_wrong_length_end_the_connection() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let before = memory(stand);
    for kind in [b'Q', b'P', b'B', b'E', b'D', b'S', b'd'] {
        for length in [0_i32, 3, -1, i32::MIN, i32::MAX] {
            let mut c = stand.connect("evilmod", None);
            c.patience(Duration::from_secs(20)).expect("a deadline can be set");
            let mut bytes = vec![kind];
            bytes.extend(length.to_be_bytes());
            bytes.extend(b"SELECT 1\0");
            c.send_raw(&bytes).expect("sent");
            assert!(
                c.closes(),
                "{:?} of length {length}: the connection stays open",
                char::from(kind)
            );
        }
    }
    assert!(
        memory(stand) < before + 64 * 1024,
        "memory grew from {before} to {} KiB",
        memory(stand)
    );
    still_serves(stand);
}

#[test]
fn cut_frames_end_the_connection() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let whole = message(b'Q', &cstring("INSERT INTO notes (id) VALUES ('cut-off')"));
    for cut in [1, 3, 5, 12, whole.len() - 1] {
        let mut c = stand.connect("evilmod", None);
        c.patience(Duration::from_secs(20)).expect("a deadline can be set");
        c.send_raw(&whole[..cut]).expect("sent");
        c.hang_up().expect("hung up");
        assert!(c.closes(), "cut at {cut}: the connection stays open");
    }
    let left = stand
        .dba_connection()
        .run("SELECT count(*) FROM evilmod.notes WHERE id = 'cut-off'");
    assert_eq!(left.scalar().as_deref(), Some("0"));
    still_serves(stand);
}

#[test]
fn bodies_that_lie_about_their_parts_are_refused() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let bodies: Vec<(&str, u8, Vec<u8>)> = vec![
        ("a query without its NUL", b'Q', b"SELECT 1".to_vec()),
        ("a query with a NUL inside", b'Q', b"SELECT 1\0 garbage\0".to_vec()),
        ("a query that is not UTF-8", b'Q', b"SELECT '\xff\xfe'\0".to_vec()),
        ("a Parse without its SQL", b'P', b"name\0".to_vec()),
        (
            "a Parse with more types than bytes",
            b'P',
            [&b"\0SELECT 1\0"[..], &[0x7f, 0xff]].concat(),
        ),
        (
            "a Bind with a parameter beyond its end",
            b'B',
            [&b"\0\0"[..], &[0, 0, 0, 1, 0, 0, 0, 99, b'x', 0, 0]].concat(),
        ),
        (
            "a Bind with a negative count",
            b'B',
            [&b"\0\0"[..], &[0xff, 0xff, 0, 0, 0, 0]].concat(),
        ),
        (
            "a Bind with a parameter of length −2",
            b'B',
            [&b"\0\0"[..], &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe, 0, 0]].concat(),
        ),
        ("a Describe of nothing", b'D', b"".to_vec()),
        ("a Describe of neither kind", b'D', b"X\0".to_vec()),
        ("an Execute without a count", b'E', b"\0".to_vec()),
        ("a Close of neither kind", b'C', b"X\0".to_vec()),
    ];
    for (name, kind, body) in bodies {
        let mut c = stand.connect("evilmod", None);
        c.patience(Duration::from_secs(20)).expect("a deadline can be set");
        c.send_raw(&message(kind, &body)).expect("sent");
        if kind != b'Q' {
            // A Sync may meet a connection that was closed already.
            let _ = c.send(b'S', b"");
        }
        // Either it ends, or one error and one ReadyForQuery come and it goes on.
        match c.replies() {
            Err(Failure::Io(e)) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("{name}: no answer")
            }
            Err(_) => {}
            Ok(replies) => {
                let error = replies.iter().find_map(|r| r.error.as_ref());
                assert!(error.is_some(), "{name}: answered {replies:?}");
                if c.simple("SELECT 1").is_ok_and(|r| r.len() != 1) {
                    panic!("{name}: out of step afterwards");
                }
            }
        }
    }
    still_serves(stand);
}

#[test]
fn messages_of_unknown_kind_are_refused() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    for kind in [b'Z', b'R', b'T', b'?', 0, 0xff] {
        let mut c = stand.connect("evilmod", None);
        c.patience(Duration::from_secs(20)).expect("a deadline can be set");
        c.send_raw(&message(kind, b"")).expect("sent");
        let _ = c.send(b'S', b"");
        match c.receive() {
            Ok(frame) if frame.kind == b'E' => assert_eq!(error_fields(&frame.body).sqlstate(), "08P01"),
            Ok(frame) => panic!("message {kind}: answered {:?}", char::from(frame.kind)),
            Err(e) => assert!(
                !matches!(e.kind(), std::io::ErrorKind::WouldBlock),
                "message {kind}: no answer"
            ),
        }
    }
    still_serves(stand);
}

/// 34: after a refusal everything up to Sync is discarded, and there is exactly one ReadyForQuery.
#[test]
fn a_refusal_in_the_extended_protocol_discards_until_sync() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let good = "INSERT INTO notes (id) VALUES ('after-refusal')";
    for refused in [
        "SELECT * FROM sys_account.accounts",
        "SELECT pg_read_file('x')",
        "SELECT nonsense FROM",
        "COPY notes TO PROGRAM 'cat'",
    ] {
        let mut c = stand.connect("evilmod", None);
        let mut out = message(b'P', &parse_body("", refused, &[]));
        out.extend(message(b'B', &bind_body("", "", &[], 0, 0)));
        out.extend(message(b'E', b"\0\0\0\0\0"));
        out.extend(message(b'P', &parse_body("", good, &[])));
        out.extend(message(b'B', &bind_body("", "", &[], 0, 0)));
        out.extend(message(b'E', b"\0\0\0\0\0"));
        out.extend(message(b'S', b""));
        out.extend(message(b'P', &parse_body("", "SELECT 7", &[])));
        out.extend(message(b'B', &bind_body("", "", &[], 0, 0)));
        out.extend(message(b'E', b"\0\0\0\0\0"));
        out.extend(message(b'S', b""));
        c.send_raw(&out).expect("sent");
        let mut kinds = String::new();
        while kinds.matches('Z').count() < 2 {
            kinds.push(char::from(
                c.receive().unwrap_or_else(|e| panic!("{refused}: after {kinds}: {e}")).kind,
            ));
        }
        assert_eq!(kinds, "EZ12DCZ", "{refused}");
        c.patience(Duration::from_millis(300)).expect("a deadline can be set");
        assert!(c.receive().is_err(), "{refused}: something more came");
    }
    let left = stand
        .dba_connection()
        .run("SELECT count(*) FROM evilmod.notes WHERE id = 'after-refusal'");
    assert_eq!(left.scalar().as_deref(), Some("0"), "a statement after the refused one ran");
}

/// A refusal between good statements of one pipeline keeps every answer in its place.
#[test]
fn answers_stay_in_order_around_a_refusal() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = stand.connect("evilmod", None);
    let mut out = Vec::new();
    for (n, sql) in [
        "SELECT 1",
        "SELECT * FROM sys_account.accounts",
        "SELECT 3",
        "SELECT 1/0",
        "SELECT 5",
    ]
    .iter()
    .enumerate()
    {
        out.extend(message(b'P', &parse_body(&format!("s{n}"), sql, &[])));
        out.extend(message(b'D', &[b"S".to_vec(), cstring(&format!("s{n}"))].concat()));
        out.extend(message(b'B', &bind_body("", &format!("s{n}"), &[], 0, 0)));
        out.extend(message(b'E', b"\0\0\0\0\0"));
        out.extend(message(b'S', b""));
    }
    c.send_raw(&out).expect("sent");
    let mut answers = Vec::new();
    for _ in 0..5 {
        let reply = c
            .replies()
            .unwrap_or_else(|e| panic!("after {answers:?}: {e}"))
            .into_iter()
            .next_back()
            .unwrap_or_default();
        answers.push(
            reply
                .error
                .as_ref()
                .map_or_else(|| reply.scalar().unwrap_or_default(), |e| e.sqlstate().to_owned()),
        );
    }
    assert_eq!(answers, ["1", "42P01", "3", "22012", "5"]);
}

/// A refused Bind (a value that its declared type cannot be) behaves like a refused Parse.
#[test]
fn a_refused_bind_discards_until_sync() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = stand.connect("disco", Some("root"));
    let mut out = message(
        b'P',
        &parse_body("u", "UPDATE projects SET budget = $1 WHERE project_id = 'dp-PA1'", &[]),
    );
    out.extend(message(b'B', &bind_body("", "u", &[Some(b"not a number".to_vec())], 0, 0)));
    out.extend(message(b'E', b"\0\0\0\0\0"));
    out.extend(message(b'S', b""));
    c.send_raw(&out).expect("sent");
    let mut kinds = String::new();
    let mut state = String::new();
    while !kinds.ends_with('Z') {
        let frame = c.receive().unwrap_or_else(|e| panic!("after {kinds}: {e}"));
        if frame.kind == b'E' {
            state = error_fields(&frame.body).sqlstate().to_owned();
        }
        kinds.push(char::from(frame.kind));
    }
    // A value that is sealed for a row that must be read first is looked at when it runs.
    assert!(["1EZ", "12EZ"].contains(&kinds.as_str()), "{kinds}");
    assert_eq!(state, "22P02");
    assert_eq!(c.run("SELECT 1").scalar().as_deref(), Some("1"));
}

/// 9: the fast path is refused and the connection goes on.
#[test]
fn function_calls_are_refused() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = stand.connect("evilmod", None);
    let mut body = 2_073_u32.to_be_bytes().to_vec();
    body.extend([0, 0, 0, 0, 0, 0]);
    c.send(b'F', &body).expect("sent");
    let replies = c.replies().unwrap_or_else(|e| panic!("{e}"));
    let error = replies.iter().find_map(|r| r.error.as_ref()).expect("refused");
    assert!(["42501", "0A000"].contains(&error.sqlstate()), "{error}");
    assert_eq!(c.run("SELECT 1").scalar().as_deref(), Some("1"));
}

/// 34: a guessed key cancels nothing; the right one does.
#[test]
fn cancelling_takes_the_right_key() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let slow = "SELECT count(*) FROM generate_series(1, 40000000) a";
    let mut victim = stand.connect("evilmod", None);
    let key = victim.cancel_key;
    victim
        .send(b'Q', &cstring("SELECT count(*) FROM generate_series(1, 300000)"))
        .expect("sent");
    for guess in [
        (key.0, key.1 ^ 1),
        (key.0 ^ 1, key.1),
        (0, 0),
        (key.0, 0),
        (i32::MAX, i32::MAX),
    ] {
        let mut c = socket(stand);
        c.send_raw(&cancel_message(guess)).expect("sent");
        assert!(c.closes(), "a cancel request is answered by closing");
    }
    let replies = victim.replies().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        replies[0].scalar().as_deref(),
        Some("300000"),
        "a guessed key cancelled: {replies:?}"
    );

    victim.send(b'Q', &cstring(slow)).expect("sent");
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    let mut c = socket(stand);
    c.send_raw(&cancel_message(key)).expect("sent");
    assert!(c.closes());
    let replies = victim.replies().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(replies[0].sqlstate(), "57014", "{replies:?}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "the cancel took {:?}",
        began.elapsed()
    );
    assert_eq!(victim.run("SELECT 1").scalar().as_deref(), Some("1"));
}

/// 35: what a startup message may not say.
#[test]
fn startup_parameters_that_reach_for_more_are_fatal() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let cases = [
        ("options", "-c role=postgres"),
        ("options", "-c role=sys_account"),
        ("options", "-c session_authorization=postgres"),
        ("options", "-c search_path=sys_account"),
        ("options", "--search_path=sys_account"),
        ("options", "-c postern.super=true"),
        ("options", "-c postern.sub=root"),
        ("options", "-c row_security=off"),
        ("options", "-c standard_conforming_strings=off"),
        ("options", "-c session_replication_role=replica"),
        ("options", "-c work_mem=1GB -c role=postgres"),
        ("options", "-crole=postgres"),
        ("options", "-B 1000"),
        ("replication", "database"),
        ("replication", "true"),
        ("role", "postgres"),
        ("search_path", "sys_account"),
        ("client_encoding", "SJIS"),
        ("standard_conforming_strings", "off"),
        ("session_preload_libraries", "x"),
        ("no_such_setting", "1"),
    ];
    let mut problems = Vec::new();
    for (name, value) in cases {
        match Connection::open(&stand.login("evilmod").with(name, value)) {
            Err(Failure::Server(e)) if e.field('S') == Some("FATAL") && e.sqlstate().len() == 5 => {}
            Err(other) => problems.push(format!("{name}={value}: {other}")),
            Ok(mut c) => {
                let role = c.run("SELECT current_user").texts();
                problems.push(format!("{name}={value}: accepted, as {role:?}"));
            }
        }
    }
    for database in ["postgres", "template1", "no_such_database"] {
        match Connection::open(&stand.login("evilmod").in_database(database)) {
            Err(Failure::Server(e)) if e.sqlstate() == "3D000" || e.sqlstate() == "28000" => {}
            Err(other) => problems.push(format!("database {database}: {other}")),
            Ok(_) => problems.push(format!("database {database}: accepted")),
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let twin = stand
        .login("evilmod")
        .with("options", "-c TimeZone=Asia/Tokyo -c statement_timeout=30s")
        .with("DateStyle", "ISO, DMY");
    let mut c = Connection::open(&twin).unwrap_or_else(|e| panic!("the twin: {e}"));
    assert_eq!(c.run("SHOW TimeZone").scalar().as_deref(), Some("Asia/Tokyo"));
    assert_eq!(c.settings.get("TimeZone").map(String::as_str), Some("Asia/Tokyo"));
    assert_eq!(c.run("SHOW DateStyle").scalar().as_deref(), Some("ISO, DMY"));
}

/// 35: a newer minor version and unknown `_pq_` options are negotiated down.
#[test]
fn newer_minor_versions_are_negotiated() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let target = stand.login("evilmod");
    for (version, extra) in [
        (VERSION_3_0 + 9, None),
        (VERSION_3_0 + 2, None),
        (VERSION_3_0, Some("_pq_.nothing")),
    ] {
        let mut c = socket(stand);
        let mut parameters = vec![("user", target.user.as_str()), ("database", target.database.as_str())];
        parameters.extend(extra.map(|name| (name, "1")));
        c.send_raw(&startup_message(version, &parameters)).expect("sent");
        c.authenticate(&target.password)
            .unwrap_or_else(|e| panic!("version {version:#x}: {e}"));
        assert!(
            c.seen.contains(&b'v'),
            "no NegotiateProtocolVersion for {version:#x} {extra:?}"
        );
        assert_eq!(c.run("SELECT 1").scalar().as_deref(), Some("1"));
    }
    for version in [0x0002_0000, 0x0004_0000, 0] {
        let mut c = socket(stand);
        c.send_raw(&startup_message(version, &[("user", &target.user)]))
            .expect("sent");
        assert!(c.closes(), "version {version:#x} was accepted");
    }
}

#[test]
fn wrong_credentials_look_alike() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut wrong = stand.login("evilmod");
    wrong.password.push('x');
    let mut nobody = wrong.clone();
    nobody.user = "nobody_like_this".to_owned();
    let mut empty = stand.login("evilmod");
    empty.password.clear();
    let texts: Vec<String> = [wrong, nobody, empty]
        .iter()
        .map(|target| match Connection::open(target) {
            Err(Failure::Server(e)) => {
                assert_eq!(e.sqlstate(), "28P01", "{e}");
                e.to_string().replace(&target.user, "USER")
            }
            Err(other) => panic!("{}: {other}", target.user),
            Ok(_) => panic!("{} was let in", target.user),
        })
        .collect();
    assert!(
        texts.iter().all(|t| *t == texts[0]),
        "an unknown user tells itself from a wrong password: {texts:#?}"
    );
    // The upstream password is not the client's.
    let mut upstream = stand.login("evilmod");
    upstream.password = stand.upstream("evilmod").password;
    assert!(Connection::open(&upstream).is_err(), "the upstream password opens the proxy");
    still_serves(stand);
}

/// A client that sends and never reads is slowed down, not buffered without end.
#[test]
fn a_client_that_does_not_read_costs_no_memory() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let before = memory(stand);
    let mut c = stand.connect("evilmod", None);
    c.patience(Duration::from_secs(20)).expect("a deadline can be set");
    c.send(b'Q', &cstring("SELECT repeat('x', 1000) FROM generate_series(1, 200000)"))
        .expect("sent");
    std::thread::sleep(Duration::from_secs(2));
    let during = memory(stand);
    assert!(
        during < before + 96 * 1024,
        "memory grew from {before} to {during} KiB while 200 MB waited"
    );
    let mut rows = 0;
    loop {
        let frame = c.receive().unwrap_or_else(|e| panic!("after {rows} rows: {e}"));
        c.forget_seen();
        match frame.kind {
            b'D' => rows += 1,
            b'Z' => break,
            _ => {}
        }
    }
    assert_eq!(rows, 200_000);
}
