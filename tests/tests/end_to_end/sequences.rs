//! What drivers send that cannot run here, as sequences of messages, and sequences that no driver sends: through Postern and straight to
//! PostgreSQL as the same login, compared message by message (kind, SQLSTATE, transaction status, tag, row and description).
//!
//! Left out, because Postern is known to answer otherwise there: the unnamed statement outlives a simple query and a Parse that failed; what
//! Postern refuses by itself is refused by that reason in an aborted transaction too (PostgreSQL: 25P02); RESET ALL takes
//! application_name back to Postern's own, not to what the client connected with.

use std::collections::BTreeSet;
use std::time::Duration;

use postern_tests::connection::Connection;
use postern_tests::message::{Frame, bind_body, cancel_message, cstring, error_fields, message, parse_body};
use postern_tests::stand::Stand;
use postern_tests::target::Target;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', &parse_body(name, sql, &[]))
}

fn typed(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    message(b'P', &parse_body(name, sql, types))
}

fn bind(portal: &str, name: &str, values: &[&str]) -> Vec<u8> {
    bind_as(portal, name, values, 0)
}

fn bind_as(portal: &str, name: &str, values: &[&str], results: i16) -> Vec<u8> {
    let values: Vec<_> = values.iter().map(|v| Some(v.as_bytes().to_vec())).collect();
    message(b'B', &bind_body(portal, name, &values, 0, results))
}

fn describe(kind: u8, name: &str) -> Vec<u8> {
    message(b'D', &[&[kind][..], &cstring(name)].concat())
}

fn close(kind: u8, name: &str) -> Vec<u8> {
    message(b'C', &[&[kind][..], &cstring(name)].concat())
}

fn execute(portal: &str, rows: i32) -> Vec<u8> {
    message(b'E', &[&cstring(portal)[..], &rows.to_be_bytes()].concat())
}

fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &cstring(sql))
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

fn flush() -> Vec<u8> {
    message(b'H', b"")
}

/// A message as it is compared.
fn told(frame: &Frame) -> String {
    let kind = char::from(frame.kind);
    match frame.kind {
        b'E' | b'N' => {
            let fields = error_fields(&frame.body);
            format!("{kind} {} {}", fields.field('V').unwrap_or(""), fields.sqlstate())
        }
        b'Z' | b'C' | b'D' | b't' | b'T' => format!("{kind} {}", frame.body.escape_ascii()),
        _ => kind.to_string(),
    }
}

/// Sends the steps, and reads after each until a message of one of its kinds has come; ParameterStatus is left out, since it may come at
/// any time.
fn play(c: &mut Connection, steps: &[(Vec<u8>, &str)]) -> Vec<String> {
    let mut all = Vec::new();
    for (bytes, until) in steps {
        if c.send_raw(bytes).is_err() {
            all.push("closed".to_owned());
            return all;
        }
        loop {
            match c.receive() {
                Ok(frame) => {
                    if frame.kind != b'S' {
                        all.push(told(&frame));
                    }
                    if until.as_bytes().contains(&frame.kind) {
                        break;
                    }
                }
                Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    all.push("silence".to_owned());
                    return all;
                }
                Err(_) => {
                    all.push("closed".to_owned());
                    return all;
                }
            }
        }
    }
    all
}

fn both(stand: &Stand) -> (Connection, Connection) {
    let named = |target: Target| target.with("application_name", "sequences");
    let direct = named(stand.upstream("evilmod")).with("options", "-c search_path=evilmod");
    let mut pair = (
        Connection::open(&named(stand.login("evilmod"))).unwrap_or_else(|e| panic!("{e}")),
        Connection::open(&direct).unwrap_or_else(|e| panic!("straight to PostgreSQL: {e}")),
    );
    for c in [&mut pair.0, &mut pair.1] {
        c.patience(Duration::from_secs(15)).expect("a deadline can be set");
    }
    pair
}

/// Waits for ReadyForQuery.
fn till_ready(parts: &[Vec<u8>]) -> (Vec<u8>, &'static str) {
    (parts.concat(), "Z")
}

type Script = (&'static str, Vec<(Vec<u8>, &'static str)>);

#[test]
fn drivers_that_cannot_run_here_are_answered_as_by_postgresql() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let numbers = "SELECT n FROM generate_series(1, 5) AS g(n)";
    let scripts: Vec<Script> = vec![
        (
            "in a failed transaction: what is prepared, bound and refused",
            vec![
                till_ready(&[parse("a", "SAVEPOINT a"), parse("none", ""), sync()]),
                till_ready(&[query("BEGIN")]),
                till_ready(&[query("SELECT 1/0")]),
                till_ready(&[parse("b", "SAVEPOINT a"), sync()]),
                till_ready(&[bind("", "none", &[]), sync()]),
                till_ready(&[query("SELECT no_such_column")]),
                till_ready(&[query("SELECT FROM WHERE")]),
                till_ready(&[
                    parse("r", "ROLLBACK"),
                    bind("", "r", &[]),
                    execute("", 0),
                    parse("b", "SAVEPOINT a"),
                    sync(),
                ]),
                till_ready(&[parse("r", "ROLLBACK"), sync()]),
            ],
        ),
        (
            "DISCARD ALL behind what was not executed, and behind what was",
            vec![
                till_ready(&[
                    parse("d", "DISCARD ALL"),
                    parse("s", "SELECT 1"),
                    bind("p", "s", &[]),
                    close(b'P', "p"),
                    bind("", "d", &[]),
                    execute("", 0),
                    sync(),
                ]),
                till_ready(&[bind("p", "s", &[]), sync()]),
                till_ready(&[
                    parse("d", "DISCARD ALL"),
                    parse("s", "SELECT 1"),
                    bind("", "s", &[]),
                    execute("", 0),
                    bind("", "d", &[]),
                    execute("", 0),
                    sync(),
                ]),
            ],
        ),
        (
            "pgx: prepare and describe, then bind, describe the portal, execute; close",
            vec![
                till_ready(&[
                    parse("lrupsc_1", "SELECT $1::int4 + 1, $2::text"),
                    describe(b'S', "lrupsc_1"),
                    sync(),
                ]),
                till_ready(&[bind("", "lrupsc_1", &["41", "x"]), describe(b'P', ""), execute("", 0), sync()]),
                till_ready(&[bind_as("", "lrupsc_1", &["1", "y"], 1), execute("", 0), sync()]),
                till_ready(&[close(b'S', "lrupsc_1"), sync()]),
                till_ready(&[bind("", "lrupsc_1", &["1", "y"]), sync()]),
            ],
        ),
        (
            "pgx: a batch in one pipeline with an error in the middle",
            vec![till_ready(&[
                parse("", "SELECT 1"),
                bind("", "", &[]),
                describe(b'P', ""),
                execute("", 0),
                parse("", "SELECT 1/0"),
                bind("", "", &[]),
                describe(b'P', ""),
                execute("", 0),
                parse("", "SELECT 3"),
                bind("", "", &[]),
                execute("", 0),
                sync(),
            ])],
        ),
        (
            "npgsql: unnamed with types told; prepared; several statements before one Sync; DISCARD ALL at return",
            vec![
                till_ready(&[
                    typed("", "SELECT $1, $2", &[23, 25]),
                    bind_as("", "", &["7", "seven"], 1),
                    describe(b'P', ""),
                    execute("", 0),
                    sync(),
                ]),
                till_ready(&[
                    parse("_p1", "SELECT $1::int8"),
                    describe(b'S', "_p1"),
                    parse("_p2", numbers),
                    describe(b'S', "_p2"),
                    sync(),
                ]),
                till_ready(&[
                    bind("", "_p1", &["1"]),
                    describe(b'P', ""),
                    execute("", 0),
                    bind("", "_p2", &[]),
                    describe(b'P', ""),
                    execute("", 0),
                    sync(),
                ]),
                till_ready(&[query("DISCARD ALL")]),
                till_ready(&[bind("", "_p1", &["1"]), execute("", 0), sync()]),
            ],
        ),
        (
            "asyncpg: describe with Flush, then bind, execute with a limit and Flush; Sync later",
            vec![
                (
                    [parse("__asyncpg_1", numbers), describe(b'S', "__asyncpg_1"), flush()].concat(),
                    "TnE",
                ),
                ([bind("", "__asyncpg_1", &[]), execute("", 2), flush()].concat(), "sCE"),
                ([execute("", 2), flush()].concat(), "sCE"),
                ([execute("", 0), flush()].concat(), "sCE"),
                till_ready(&[sync()]),
                till_ready(&[close(b'S', "__asyncpg_1"), sync()]),
            ],
        ),
        (
            "an error behind a Flush: skipped until Sync",
            vec![
                (
                    [parse("", "SELECT 1/0"), bind("", "", &[]), execute("", 0), flush()].concat(),
                    "E",
                ),
                till_ready(&[
                    parse("", "SELECT 2"),
                    bind("", "", &[]),
                    execute("", 0),
                    flush(),
                    query("SELECT 3"),
                    sync(),
                ]),
                till_ready(&[query("SELECT 4")]),
            ],
        ),
        (
            "pgjdbc: a fetch size in a transaction, portals named and closed",
            vec![
                till_ready(&[
                    parse("", "BEGIN"),
                    bind("", "", &[]),
                    execute("", 0),
                    parse("S_1", numbers),
                    bind("C_2", "S_1", &[]),
                    describe(b'P', "C_2"),
                    execute("C_2", 2),
                    sync(),
                ]),
                till_ready(&[execute("C_2", 2), sync()]),
                till_ready(&[parse("", "SELECT 'between'"), bind("", "", &[]), execute("", 1), sync()]),
                till_ready(&[execute("C_2", 2), sync()]),
                till_ready(&[execute("C_2", 2), close(b'P', "C_2"), execute("C_2", 2), sync()]),
                till_ready(&[query("ROLLBACK")]),
                till_ready(&[bind("C_3", "S_1", &[]), execute("C_3", 1), sync()]),
                till_ready(&[execute("C_3", 1), sync()]),
            ],
        ),
        (
            "names and their lives",
            vec![
                till_ready(&[parse("a", "SELECT 1"), sync()]),
                till_ready(&[parse("a", "SELECT 2"), sync()]),
                till_ready(&[parse("", "SELECT 'unnamed'"), sync()]),
                till_ready(&[bind("", "", &[]), execute("", 0), sync()]),
                till_ready(&[query("SELECT 'simple'")]),
                till_ready(&[describe(b'S', "nobody"), sync()]),
                till_ready(&[describe(b'P', "nobody"), sync()]),
                till_ready(&[execute("nobody", 0), sync()]),
                till_ready(&[close(b'S', "nobody"), close(b'P', "nobody"), sync()]),
                till_ready(&[
                    close(b'S', "a"),
                    parse("a", "SELECT 3"),
                    bind("", "a", &[]),
                    execute("", 0),
                    sync(),
                ]),
                till_ready(&[bind("p", "a", &[]), bind("p", "a", &[]), sync()]),
                till_ready(&[query("EXECUTE a")]),
                till_ready(&[query("DEALLOCATE a")]),
                till_ready(&[bind("", "a", &[]), sync()]),
                till_ready(&[query("PREPARE b AS SELECT 'by SQL'")]),
                till_ready(&[bind("", "b", &[]), execute("", 0), sync()]),
            ],
        ),
        (
            "empty queries, bare Syncs, batches",
            vec![
                till_ready(&[query("")]),
                till_ready(&[query(" ; ;")]),
                till_ready(&[query("-- nothing")]),
                till_ready(&[
                    parse("", ""),
                    describe(b'S', ""),
                    bind("", "", &[]),
                    describe(b'P', ""),
                    execute("", 0),
                    sync(),
                ]),
                till_ready(&[sync()]),
                till_ready(&[query("SELECT 1; SELECT 2; SELECT 1/0; SELECT 4")]),
                till_ready(&[query("BEGIN; SELECT 1; COMMIT; SELECT 2")]),
                till_ready(&[query("SELECT 1 WHERE false")]),
                till_ready(&[parse("", "SELECT 1 WHERE false"), bind("", "", &[]), execute("", 5), sync()]),
            ],
        ),
        (
            "transactions: status, aborted, implicit ones that roll back together",
            vec![
                till_ready(&[query("BEGIN")]),
                till_ready(&[query("SELECT 1/0")]),
                till_ready(&[query("SELECT 1")]),
                till_ready(&[parse("", "SELECT 1"), sync()]),
                till_ready(&[query("ROLLBACK")]),
                till_ready(&[query("COMMIT")]),
                till_ready(&[query("BEGIN; SAVEPOINT s")]),
                till_ready(&[query("SELECT 'x'::int4")]),
                till_ready(&[query("ROLLBACK TO s")]),
                till_ready(&[query("SELECT 'goes on'")]),
                till_ready(&[query("BEGIN")]),
                till_ready(&[query("COMMIT")]),
            ],
        ),
        (
            "what does not fit",
            vec![
                till_ready(&[parse("", "SELECT $1::int4"), bind("", "", &[]), sync()]),
                till_ready(&[parse("", "SELECT $1::int4"), bind("", "", &["1", "2"]), sync()]),
                till_ready(&[parse("", "SELECT $1::int4"), bind("", "", &["word"]), sync()]),
                till_ready(&[parse("", "SELECT $1"), describe(b'S', ""), sync()]),
                till_ready(&[parse("", "SELECT $2::int4"), describe(b'S', ""), sync()]),
                till_ready(&[parse("", "SELECT 1; SELECT 2"), sync()]),
                till_ready(&[parse("", "SELEC 1"), bind("", "", &[]), execute("", 0), sync()]),
                till_ready(&[parse("", "SELECT * FROM no_such_table"), sync()]),
                till_ready(&[parse("", "SELECT no_such_column"), sync()]),
            ],
        ),
    ];
    let mut problems = Vec::new();
    for (name, steps) in scripts {
        let (mut ours, mut theirs) = both(stand);
        let (through, direct) = (play(&mut ours, &steps), play(&mut theirs, &steps));
        if through != direct {
            problems.push(format!("{name}\n  Postern    {through:?}\n  PostgreSQL {direct:?}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Sequences made at random of everything that the scripts above are made of. A group that differs is printed with its number.
#[test]
fn sequences_made_at_random_are_answered_as_by_postgresql() {
    random_sequences(400);
}

#[test]
#[ignore = "a minute: sequences of messages made at random, many"]
fn very_many_sequences_made_at_random_are_answered_as_by_postgresql() {
    random_sequences(3_000);
}

fn random_sequences(rounds: u64) {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let statements = [
        "SELECT 1",
        "SELECT n FROM generate_series(1, 4) AS g(n)",
        "SELECT $1::int4",
        "SELECT 1/0",
        "",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SELECT FROM WHERE",
        "SAVEPOINT a",
        "ROLLBACK TO a",
        "SET application_name = 'x'",
        "DISCARD ALL",
    ];
    let (names, portals) = (["s", "t", "u"], ["", "", "p"]);
    let mut problems = Vec::new();
    'rounds: for round in 0..rounds {
        let mut rng = ChaCha8Rng::seed_from_u64(round);
        let (mut ours, mut theirs) = both(stand);
        let mut said = Vec::new();
        for _ in 0..6 {
            let mut group = Vec::new();
            let mut words = Vec::new();
            for _ in 0..rng.random_range(1..7) {
                let name = names[rng.random_range(0..names.len())];
                let portal = portals[rng.random_range(0..portals.len())];
                let sql = statements[rng.random_range(0..statements.len())];
                let (word, bytes) = match rng.random_range(0..14) {
                    0..4 => (format!("Parse {name:?} {sql}"), parse(name, sql)),
                    4..7 => (format!("Bind {portal:?} {name:?}"), bind(portal, name, &[])),
                    7 => (format!("Bind {portal:?} {name:?} 5"), bind(portal, name, &["5"])),
                    8 => (format!("Describe S {name:?}"), describe(b'S', name)),
                    9 => (format!("Describe P {portal:?}"), describe(b'P', portal)),
                    10 | 11 => (format!("Execute {portal:?}"), execute(portal, rng.random_range(0..3))),
                    12 => (format!("Close S {name:?}"), close(b'S', name)),
                    _ => (format!("Close P {portal:?}"), close(b'P', portal)),
                };
                group.extend(bytes);
                words.push(word);
            }
            if rng.random_ratio(1, 5) {
                let sql = statements[rng.random_range(0..statements.len())];
                words.push(format!("Sync, Query {sql}"));
                said.push(words);
                let steps = [([group, sync()].concat(), "Z"), (query(sql), "Z")];
                if let Some(problem) = differs(round, &said, play(&mut ours, &steps), play(&mut theirs, &steps)) {
                    problems.push(problem);
                    continue 'rounds;
                }
                continue;
            }
            words.push("Sync".to_owned());
            said.push(words);
            let steps = [([group, sync()].concat(), "Z")];
            if let Some(problem) = differs(round, &said, play(&mut ours, &steps), play(&mut theirs, &steps)) {
                problems.push(problem);
                continue 'rounds;
            }
        }
    }
    assert!(
        problems.is_empty(),
        "{} rounds differ, the first of them:\n{}",
        problems.len(),
        problems[..problems.len().min(10)].join("\n")
    );
}

fn differs(round: u64, said: &[Vec<String>], mut ours: Vec<String>, mut theirs: Vec<String>) -> Option<String> {
    // A simple query that fails may leave an unnamed portal behind, which cannot be run; or there is none.
    for answer in ours.iter_mut().chain(&mut theirs) {
        if answer == "E ERROR 55000" {
            *answer = "E ERROR 34000".to_owned();
        }
    }
    (ours != theirs).then(|| format!("round {round}: {said:?}\n  Postern    {ours:?}\n  PostgreSQL {theirs:?}"))
}

/// Notices, and settings that are reported, come with the statement that made them.
#[test]
fn notices_and_parameter_status_come_in_their_place() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let (mut ours, mut theirs) = both(stand);
    for sql in [
        "COMMIT",
        "SET TimeZone = 'Asia/Tokyo'",
        "SET application_name = 'reported'",
        "BEGIN; SET LOCAL TimeZone = 'Asia/Kathmandu'; COMMIT",
        "SET DateStyle = 'ISO, DMY'",
        "RESET TimeZone",
    ] {
        let mut kinds = Vec::new();
        for c in [&mut ours, &mut theirs] {
            c.send_raw(&query(sql)).expect("sent");
            let mut all = BTreeSet::new();
            loop {
                let frame = c.receive().unwrap_or_else(|e| panic!("{sql}: {e}"));
                all.insert(match frame.kind {
                    b'S' => format!("S {}", frame.body.escape_ascii()),
                    _ => told(&frame),
                });
                if frame.kind == b'Z' {
                    break;
                }
            }
            kinds.push(all);
        }
        assert_eq!(kinds[0], kinds[1], "{sql}");
    }
}

/// A cancel while a pipeline runs hits the statement that runs; what was sent behind its Sync is answered.
#[test]
fn a_cancel_in_a_pipeline_ends_its_statement_and_no_other() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = stand.connect("evilmod", None);
    let slow = "SELECT count(*) FROM generate_series(1, 100000000) a";
    let groups = [
        vec![parse("", "SELECT 1"), bind("", "", &[]), execute("", 0), sync()],
        vec![
            parse("", slow),
            bind("", "", &[]),
            execute("", 0),
            parse("", "SELECT 'skipped'"),
            bind("", "", &[]),
            execute("", 0),
            sync(),
        ],
        vec![parse("", "SELECT 3"), bind("", "", &[]), execute("", 0), sync()],
    ];
    c.send_raw(&groups.concat().concat()).expect("sent");
    let key = c.cancel_key;
    std::thread::sleep(Duration::from_millis(400));
    let mut cancel = Connection::socket(&stand.login("evilmod")).unwrap_or_else(|e| panic!("{e}"));
    cancel.send_raw(&cancel_message(key)).expect("sent");
    assert!(cancel.closes());
    let mut all = Vec::new();
    for _ in 0..3 {
        all.extend(play(&mut c, &[(Vec::new(), "Z")]));
    }
    let expected = [
        "1",
        "2",
        r"D \x00\x01\x00\x00\x00\x011",
        r"C SELECT 1\x00",
        "Z I",
        "1",
        "2",
        "E ERROR 57014",
        "Z I",
        "1",
        "2",
        r"D \x00\x01\x00\x00\x00\x013",
        r"C SELECT 1\x00",
        "Z I",
    ];
    assert_eq!(all, expected);
}
