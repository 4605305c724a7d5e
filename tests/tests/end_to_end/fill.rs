//! COPY … FROM STDIN into declared tables: what PostgreSQL's COPY would answer, checked and sealed as an INSERT of each row.

#![expect(clippy::print_stdout, reason = "figures for whoever reads a test's output")]

use std::time::{Duration, Instant};

use postern_tests::connection::Connection;
use postern_tests::message::{Frame, bind_body, cstring, error_fields, message, parse_body};
use postern_tests::product::write_secret;
use postern_tests::proxy::Proxy;
use postern_tests::stand::{Stand, eventually};
use serde_json::json;

use super::identity::{now, signed};

const DONE: &[u8] = b"c\0\0\0\x04";
const SYNC: &[u8] = b"S\0\0\0\x04";

fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &cstring(sql))
}

fn data(bytes: &[u8]) -> Vec<u8> {
    message(b'd', bytes)
}

/// Parse, Bind and Execute of the unnamed statement.
fn whole(sql: &str) -> Vec<u8> {
    [
        message(b'P', &parse_body("", sql, &[])),
        message(b'B', &bind_body("", "", &[], 0, 0)),
        message(b'E', b"\0\0\0\0\0"),
    ]
    .concat()
}

/// Kinds of the answer's messages up to a ReadyForQuery, with the errors' SQLSTATEs and the tags.
#[track_caller]
fn kinds(c: &mut Connection) -> String {
    let mut kinds = String::new();
    loop {
        let Frame { kind, body } = c.receive().unwrap_or_else(|e| panic!("after {kinds}: {e}"));
        match kind {
            b'S' | b'N' => continue,
            b'E' => kinds.push_str(&format!("E({})", error_fields(&body).sqlstate())),
            b'C' => kinds.push_str(&format!("C({})", String::from_utf8_lossy(&body[..body.len() - 1]))),
            b'G' => kinds.push_str(&format!("G({body:?})")),
            other => kinds.push(char::from(other)),
        }
        if kind == b'Z' {
            c.status = char::from(body[0]);
            return kinds;
        }
    }
}

/// A COPY by one Query.
fn copied(c: &mut Connection, sql: &str, pieces: &[&[u8]]) -> String {
    let rows: Vec<u8> = pieces.iter().flat_map(|p| data(p)).collect();
    c.send_raw(&[query(sql), rows, DONE.to_vec()].concat()).expect("sent");
    kinds(c)
}

const BINARY: &[u8] =
    b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x06fill-1\0\0\0\x03one\0\x02\0\0\0\x06fill-2\xff\xff\xff\xff\xff\xff";

/// Commands and data, both to the declared table and to a plain one of PostgreSQL's: same answers, same rows.
#[test]
fn it_is_answered_as_postgresql_answers_its_own() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut ours = stand.connect("evilmod", None);
    let mut theirs = stand.dba_connection();
    theirs
        .run("CREATE TEMP TABLE notes (id text PRIMARY KEY, body text)")
        .good("CREATE");
    let copy = "COPY notes (id, body) FROM STDIN";
    let options = |options: &str| format!("{copy} WITH ({options})");
    let csv = |more: &str| options(&format!("FORMAT csv{more}"));
    let simple: Vec<(String, Vec<&[u8]>)> = vec![
        (copy.into(), vec![b"fill-1\tone\nfill-2\t\\N\n"]),
        (copy.into(), vec![]),
        (copy.into(), vec![b"fill-1\to", b"", b"ne\nfill", b"-2\ttw\\no\n\\.\n"]),
        (copy.into(), vec![b"fill-1\tone\r\nfill-2\t\\x41\\101\\q\\\tx\r\n"]),
        ("COPY notes FROM STDIN".into(), vec![b"fill-1\tone\n"]),
        ("COPY notes (body, id) FROM STDIN".into(), vec![b"one\tfill-1\n"]),
        ("COPY notes (id) FROM STDIN".into(), vec![b"fill-1\n"]),
        ("COPY notes (body) FROM STDIN".into(), vec![b"no key\n"]),
        ("COPY notes (id, id) FROM STDIN".into(), vec![]),
        ("COPY notes (nothing) FROM STDIN".into(), vec![]),
        (copy.into(), vec![b"fill-1\tone\nfill-2\n"]),
        (copy.into(), vec![b"fill-1\tone\tmore\n"]),
        (copy.into(), vec![b"fill-1\tone\nfill-1\tagain\n"]),
        (copy.into(), vec![b"fill-1\t\xff\n"]),
        (copy.into(), vec![b"fill-1\ta\\0b\n"]),
        (copy.into(), vec![b"fill-1\tone\\.\n"]),
        (copy.into(), vec![b"fill-1\tone\nfill-2\ttwo\r\n"]),
        (
            options("DELIMITER '|', NULL 'nothing'"),
            vec![b"fill-1|nothing\nfill-2|x|y\n"],
        ),
        (
            options("DELIMITER '|', NULL 'nothing'"),
            vec![b"fill-1|nothing\nfill-2|x\\|y\n"],
        ),
        (options("HEADER"), vec![b"what\never it is\nfill-2\tx\n"]),
        (options("HEADER match"), vec![b"id\tbody\nfill-2\tx\n"]),
        (options("HEADER match"), vec![b"id\tnotes\nfill-2\tx\n"]),
        (csv(""), vec![b"fill-1,\"o,\"\"n\"\"\ne\"\nfill-2,\nfill-3,\"\"\n"]),
        (csv(", HEADER"), vec![b"a,b,c\nfill-1,x\n"]),
        (
            csv(", QUOTE '''', ESCAPE '\\', NULL 'n'"),
            vec![b"fill-1,'a\\'b'\nfill-2,n\nfill-3,'n'\n"],
        ),
        (
            csv(", FORCE_NULL (body), FORCE_NOT_NULL (body)"),
            vec![b"fill-1,\"\"\nfill-2,\n"],
        ),
        (csv(", FORCE_NOT_NULL (nothing)"), vec![]),
        (csv(""), vec![b"fill-1,\"open\n"]),
        (format!("{copy} CSV HEADER DELIMITER ';'"), vec![b"a;b\nfill-1;x\n"]),
        (options("FORMAT binary"), vec![BINARY]),
        (options("FORMAT binary"), vec![&BINARY[..30], &BINARY[30..]]),
        (options("FORMAT binary"), vec![&BINARY[..BINARY.len() - 5]]),
        (options("FORMAT binary"), vec![b"fill-1\tone\n"]),
        (options("FORMAT binary, DELIMITER 'x'"), vec![]),
        (options("DELIMITER 'a'"), vec![]),
        (options("DELIMITER 'ab'"), vec![]),
        (options("QUOTE 'a'"), vec![]),
        (options("NULL 'a\tb'"), vec![]),
        (options("FORCE_QUOTE (id), FORMAT csv"), vec![]),
        (csv(", QUOTE ','"), vec![]),
        (options("FORMAT csv, FORMAT text"), vec![]),
    ];
    let fail = || message(b'f', &cstring("the client thinks again"));
    let rows = || data(b"fill-1\tone\n");
    let messages: Vec<(&str, Vec<u8>, usize)> = vec![
        ("failed", [query(copy), rows(), fail()].concat(), 1),
        ("failed, extended", [whole(copy), rows(), fail(), SYNC.to_vec()].concat(), 1),
        ("extended", [whole(copy), rows(), DONE.to_vec(), SYNC.to_vec()].concat(), 1),
        (
            "extended, a wrong row",
            [whole(copy), data(b"x\n"), DONE.to_vec(), whole("SELECT 1"), SYNC.to_vec()].concat(),
            1,
        ),
        (
            "extended, then a statement",
            [whole(copy), rows(), DONE.to_vec(), whole("SELECT 1"), SYNC.to_vec()].concat(),
            1,
        ),
        (
            "Flush and Sync on the way",
            [query(copy), rows(), b"H\0\0\0\x04".to_vec(), SYNC.to_vec(), DONE.to_vec()].concat(),
            1,
        ),
        (
            "a query behind",
            [query(copy), rows(), DONE.to_vec(), query("SELECT 1")].concat(),
            2,
        ),
        (
            "a query behind a failure",
            [query(copy), data(b"fill-1\n"), rows(), DONE.to_vec(), query("SELECT 1")].concat(),
            2,
        ),
    ];
    let mut problems = Vec::new();
    for in_transaction in [true, false] {
        let mut both = |what: &str, mut act: Box<dyn FnMut(&mut Connection) -> String + '_>| {
            let answers = [&mut ours, &mut theirs].map(|c| {
                if in_transaction {
                    c.run("BEGIN").good("BEGIN");
                }
                let answer = act(c);
                let rows = c.run("SELECT id, body FROM notes WHERE id LIKE 'fill-%' ORDER BY id");
                let rows = format!("{} {:?}", rows.sqlstate(), rows.texts());
                match in_transaction {
                    true => c.run("ROLLBACK").good("ROLLBACK"),
                    false => c.run("DELETE FROM notes WHERE id LIKE 'fill-%'").good("DELETE"),
                };
                (answer, rows, c.status)
            });
            if answers[0] != answers[1] {
                problems.push(format!(
                    "{what}\n  Postern    {:?}\n  PostgreSQL {:?}",
                    answers[0], answers[1]
                ));
            }
        };
        for (sql, pieces) in &simple {
            let what = format!("{sql}: {}", pieces.concat().escape_ascii());
            both(&what, Box::new(|c| copied(c, sql, pieces)));
        }
        for (what, bytes, answers) in &messages {
            both(
                what,
                Box::new(|c| {
                    c.send_raw(bytes).expect("sent");
                    (0..*answers).map(|_| kinds(c)).collect()
                }),
            );
        }
    }
    assert!(problems.is_empty(), "{} differ:\n{}", problems.len(), problems.join("\n"));
}

/// Sealed for its row like an INSERT's; one row that the policy does not allow, and none is there.
#[test]
fn rows_are_sealed_and_checked() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut bob = stand.connect("chat", Some("bob"));
    let group = "SELECT group_id FROM group_members WHERE account_id = 'bob' ORDER BY 1 LIMIT 1";
    let group = bob.run(group).good(group).scalar().expect("bob is in a group");
    let copy = "COPY messages (id, content, group_id, sender_id) FROM STDIN";
    let here = "SELECT id, content FROM messages WHERE id LIKE 'fill-%' ORDER BY id";
    bob.run("BEGIN").good("BEGIN");
    let rows = format!("fill-1\tcanary-of-fill\t{group}\tbob\nfill-2\t\\N\t{group}\tbob\nfill-3\ta\\tb\t{group}\tbob\n");
    let told = copied(&mut bob, copy, &[rows.as_bytes()]);
    assert_eq!(told, "G([0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0])C(COPY 3)Z");
    let text = |t: &str| Some(t.to_owned());
    assert_eq!(
        bob.run(here).good(here).texts(),
        [
            [text("fill-1"), text("canary-of-fill")],
            [text("fill-2"), None],
            [text("fill-3"), text("a\tb")],
        ]
    );
    bob.run("COMMIT").good("COMMIT");
    let mut dba = stand.dba_connection();
    let stored = "SELECT count(*) FILTER (WHERE encode(content, 'escape') LIKE '%canary%'), count(content) FROM chat.messages WHERE id LIKE 'fill-%'";
    let stored = dba.run(stored).good(stored).texts();
    assert_eq!(stored, [[text("0"), text("2")]]);
    bob.run("DELETE FROM messages WHERE id LIKE 'fill-%'").good("DELETE");

    for (what, illegal) in [
        ("in another's name", format!("fill-9\tx\t{group}\tdora\n")),
        ("into a group of others", "fill-9\tx\tg-pb1-00\tbob\n".to_owned()),
        ("without a group", "fill-9\tx\t\\N\tbob\n".to_owned()),
    ] {
        let rows = format!("fill-1\tx\t{group}\tbob\n{illegal}fill-2\tx\t{group}\tbob\n");
        let told = copied(&mut bob, copy, &[rows.as_bytes()]);
        let expected = if what == "without a group" {
            ["E(42501)Z", "E(23502)Z"]
        } else {
            ["E(42501)Z"; 2]
        };
        assert!(expected.iter().any(|e| told.ends_with(e)), "{what}: {told}");
        let left = "SELECT count(*) FROM chat.messages WHERE id LIKE 'fill-%'";
        assert_eq!(dba.run(left).good(left).scalar().as_deref(), Some("0"), "{what}");
    }
    // Nobody, a guest, and a column that nobody may give.
    let mut guest = stand.connect("chat", None);
    let told = copied(&mut guest, copy, &[format!("fill-1\tx\t{group}\tbob\n").as_bytes()]);
    assert!(told.ends_with("E(42501)Z"), "{told}");
    for refused in [
        "COPY messages (id, \"postern$eq$content\") FROM STDIN",
        "COPY messages FROM STDIN WHERE id <> 'x'",
        "COPY messages FROM STDIN (FREEZE)",
        "SELECT 1; COPY messages FROM STDIN",
    ] {
        guest.send_raw(&query(refused)).expect("sent");
        let told = kinds(&mut guest);
        assert!(
            told.starts_with("E(42703)") || told.starts_with("E(0A000)"),
            "{refused}: {told}"
        );
    }
    assert_eq!(guest.run("SELECT 1").good("SELECT").scalar().as_deref(), Some("1"));
}

/// By a key that the database makes, and found by its tag.
#[test]
fn keys_are_drawn_and_tags_made() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut core = stand.connect("sys_core.service", None);
    let names = "COPY mod_events (event_type, payload, user_name) FROM STDIN WITH (FORMAT csv)";
    core.run("BEGIN").good("BEGIN");
    let told = copied(&mut core, names, &[b"fill,\"{\"\"k\"\": [1, 2]}\",Ada\nfill,,Bob\n"]);
    assert!(told.ends_with("C(COPY 2)Z"), "{told}");
    let found = "SELECT count(DISTINCT id), min(payload::text) FROM mod_events WHERE event_type = 'fill'";
    let count = core.run("SELECT count(DISTINCT id) FROM mod_events WHERE event_type = 'fill'");
    assert_eq!(count.good(found).scalar().as_deref(), Some("2"));
    core.run("ROLLBACK").good("ROLLBACK");
    // What is no value of the column's type is said to be none, without it.
    core.send_raw(&[query(names), data(b"fill,not json,x\n"), DONE.to_vec()].concat())
        .expect("sent");
    let mut error = String::new();
    loop {
        let Frame { kind, body } = core.receive().expect("an answer");
        if kind == b'E' {
            error = format!("{:?}", error_fields(&body));
        }
        if kind == b'Z' {
            break;
        }
    }
    assert!(error.contains("22P02") && !error.contains("not json"), "{error}");
}

/// 20 MB, in pieces of 64 kB; what is held does not grow with it. Who leaves in the middle has loaded nothing.
#[test]
fn it_streams_and_whoever_leaves_has_loaded_nothing() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "fill", "[pool]\nsize = 1\n");
    let target = proxy.login(stand, "evilmod", None);
    let mut c = proxy.open(&target);
    c.patience(Duration::from_secs(120)).expect("a socket");
    c.run("BEGIN").good("BEGIN");
    let before = proxy.memory();
    let (mut most, began) = (before, Instant::now());
    c.send_raw(&query("COPY notes FROM STDIN")).expect("sent");
    assert_eq!(c.receive().expect("an answer").kind, b'G');
    let mut next = 0;
    for _ in 0..320 {
        let mut text = String::with_capacity(1 << 16);
        while text.len() < (1 << 16) - 1100 {
            text.push_str(&format!("fill-large-{next}\t{}\n", "x".repeat(1000)));
            next += 1;
        }
        c.send_raw(&data(text.as_bytes())).expect("sent");
        most = most.max(proxy.memory());
    }
    c.send_raw(DONE).expect("sent");
    assert_eq!(kinds(&mut c), format!("C(COPY {next})Z"));
    println!("{next} rows in {:?}; memory {before} KiB, at most {most}", began.elapsed());
    assert!(most < before + 16 * 1024, "memory grew from {before} to {most} KiB");
    c.run("ROLLBACK").good("ROLLBACK");

    for bytes in [
        [query("COPY notes FROM STDIN"), data(b"fill-left\tx\n")].concat(),
        [whole("COPY notes FROM STDIN"), data(b"fill-left\tx\n")].concat(),
        query("COPY notes FROM STDIN"),
    ] {
        let mut leaver = proxy.open(&target);
        leaver.send_raw(&bytes).expect("sent");
        std::thread::sleep(Duration::from_millis(50));
        drop(leaver);
        let left = "SELECT count(*) FROM notes WHERE id = 'fill-left'";
        assert_eq!(c.run(left).good(left).scalar().as_deref(), Some("0"));
    }
    // The twin.
    assert!(copied(&mut c, "COPY notes FROM STDIN", &[b"fill-left\tx\n"]).ends_with("C(COPY 1)Z"));
    c.run("DELETE FROM notes WHERE id = 'fill-left'").good("DELETE");
}

/// Whoever's token ends, or is revoked, while their rows are taken has loaded none of them.
#[test]
fn a_token_that_ends_meanwhile_ends_it() {
    struct UnderWay {
        what: String,
        holds: bool,
        in_transaction: bool,
        last: Vec<u8>,
        rows: u32,
        connection: Connection,
    }
    let stand = Stand::shared();
    // The list of revoked tokens is everybody's.
    let _alone = stand.alone();
    let copy = "COPY roles (id, account_id, role) FROM STDIN";
    let target = |token: &str| stand.login("sys_account").with_token(token);
    let ends = signed(stand, |c| drop(c.insert("exp".to_owned(), json!(now() + 8))));
    let revoked = signed(stand, |c| drop(c.insert("jti".to_owned(), json!("revoked-while-it-copies"))));
    let good = signed(stand, |_| {});
    let mut under_way = Vec::new();
    for (name, token) in [("ends", &ends), ("is revoked", &revoked), ("holds", &good)] {
        for extended in [false, true] {
            for in_transaction in [false, true] {
                // All rows were sent before, or one more comes afterwards.
                for rows in [1, 2] {
                    let number = under_way.len();
                    let row = |n: u32| data(format!("fill-token-{number}-{n}\tbob\t2\n").as_bytes());
                    let mut c = Connection::open(&target(token)).unwrap_or_else(|e| panic!("{e}"));
                    if in_transaction {
                        c.run("BEGIN").good("BEGIN");
                    }
                    let (asked, sync) = match extended {
                        true => ([whole(copy), b"H\0\0\0\x04".to_vec()].concat(), SYNC),
                        false => (query(copy), &SYNC[..0]),
                    };
                    c.send_raw(&[asked, row(1)].concat()).expect("sent");
                    c.skip_to(b'G').expect("rows are asked for");
                    let more = if rows == 2 { row(2) } else { Vec::new() };
                    under_way.push(UnderWay {
                        what: format!("it {name}; extended {extended}, in a transaction {in_transaction}, {rows} rows"),
                        holds: name == "holds",
                        in_transaction,
                        last: [more.as_slice(), DONE, sync].concat(),
                        rows,
                        connection: c,
                    });
                }
            }
        }
    }
    let list = stand.secrets_dir().join("revoked-tokens");
    write_secret(&list, "revoked-while-it-copies\n");
    let over = [&ends, &revoked].map(|token| {
        let refused = || {
            let tried = Connection::open(&target(token)).err();
            tried.filter(|e| e.sqlstate() == "28000").map(drop)
        };
        eventually(Duration::from_secs(20), refused)
    });
    let mut dba = stand.dba_connection();
    let mut problems = Vec::new();
    for (number, one) in under_way.into_iter().enumerate() {
        let mut c = one.connection;
        c.send_raw(&one.last).expect("sent");
        let told = kinds(&mut c);
        let count = format!("SELECT count(*) FROM sys_account.roles WHERE id LIKE 'fill-token-{number}-%'");
        let there = dba.run(&count).good(&count).scalar().unwrap_or_default();
        let (wanted, left) = match (one.holds, one.in_transaction) {
            (true, true) => (format!("C(COPY {})Z", one.rows), 0),
            (true, false) => (format!("C(COPY {})Z", one.rows), one.rows),
            (false, _) => ("E(28000)Z".to_owned(), 0),
        };
        let status = match (one.holds, one.in_transaction) {
            (_, false) => 'I',
            (true, true) => 'T',
            (false, true) => 'E',
        };
        if (&told, c.status, &there) != (&wanted, status, &left.to_string()) {
            problems.push(format!("{}: {told}, {}, {there} rows", one.what, c.status));
        }
    }
    dba.run("DELETE FROM sys_account.roles WHERE id LIKE 'fill-token-%'")
        .good("DELETE");
    std::fs::remove_file(&list).expect("the list is ours");
    assert_eq!(over, [Some(()); 2], "they did not end");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
