//! Statements of the simple protocol that come again run prepared, their literals as parameters: nobody notices but PostgreSQL.

use std::time::Duration;

use postern_tests::connection::Connection;
use postern_tests::message::{Reply, bind_body, cancel_message, message, parse_body};
use postern_tests::proxy::Proxy;
use postern_tests::stand::{Stand, eventually};
use postern_tests::target::Target;

/// Shapes, each with several literals in its places; `#` stands for them. The last of them are such that PostgreSQL refuses at once, or
/// takes with literals but not with parameters.
const SHAPES: &[(&str, &[&str])] = &[
    (
        "SELECT body, n FROM again WHERE id = #",
        &["1", "2", "-1", "3000000000", "2.5", "'2'", "'x'"],
    ),
    (
        "SELECT count(*) FROM again WHERE body = #",
        &["'one'", "'o''ne'", r"'back\slash'", "''", "'$1'", "'; DROP TABLE again; --'"],
    ),
    (
        "SELECT id FROM again WHERE body LIKE # ORDER BY id",
        &["'o%'", "'%e'", "'_wo'", "'$1%'"],
    ),
    (
        "SELECT id FROM again WHERE n < # ORDER BY 1",
        &["5", "5.5", "-0.5", "100000000000", "'4'", "'none'"],
    ),
    (
        "SELECT id FROM again WHERE day = # OR day > '2024-06-01'",
        &["'2024-01-02'", "'today'", "'infinity'", "'31 December'"],
    ),
    (
        "SELECT # AS said, 7 AS seven, 2.50 AS more",
        &["'a'", "'b'", "1", "-2147483648", "9223372036854775807", "1.10"],
    ),
    (
        "SELECT CASE WHEN n > # THEN 'many' ELSE 'few' END FROM again ORDER BY id",
        &["1", "2", "3.5"],
    ),
    (
        "SELECT coalesce(body, #) || # FROM again ORDER BY id LIMIT 2",
        &["'x'", "'y'", "'z'"],
    ),
    ("SELECT # UNION ALL SELECT 2", &["1", "3", "'4'", "'five'"]),
    ("SELECT n / # FROM again WHERE id = 1", &["2", "0", "3", "0.5"]),
    (
        "SELECT id FROM again WHERE n IN (#, 8) AND body IN ('one', #)",
        &["1", "8", "'1'"],
    ),
    ("SELECT now() - # > now()", &["'-1 day'", "'2000-01-01'", "'no time'"]),
    ("SELECT '{1,2}'::int[] = #", &["'{1,2}'", "'{}'", "'nonsense'"]),
    ("SELECT doc -> # FROM again ORDER BY id LIMIT 1", &["'k'", "0", "'none'"]),
    (
        "SELECT substr(body, #, 2), count(*) FROM again GROUP BY substr(body, #, 2) ORDER BY 1",
        &["1", "2", "1"],
    ),
    ("SELECT # IS NULL, # = #", &["'a'", "'b'", "1"]),
    ("SELECT row(#, 1)", &["'a'", "2", "'b'"]),
    (
        "SELECT row_to_json(row(#, body)) FROM again WHERE id = 1",
        &["'a'", "2", "'b'"],
    ),
    (
        "SELECT max(id) FROM again WHERE id <> # HAVING count(*) > #",
        &["1", "0", "100"],
    ),
    ("SELECT generate_series(1, #)", &["1", "3", "-1"]),
    (
        "INSERT INTO again (id, body, n, day) VALUES (#, 'new', #, '2024-05-05')",
        &["90", "91", "90", "'92'", "'z'"],
    ),
    (
        "INSERT INTO again (id, body) VALUES (#, 'long'), (1000, 'x') ON CONFLICT DO NOTHING",
        &["93", "94", "95"],
    ),
    (
        "UPDATE again SET n = n + # WHERE id > 80 RETURNING id, n",
        &["1", "-3", "0.4", "'2'"],
    ),
    ("UPDATE again SET short = # WHERE id = 1", &["'ab'", "'abcdef'", "'abc   '"]),
    ("DELETE FROM again WHERE id > #", &["94", "80", "80"]),
    (
        "SELECT interval_day FROM again WHERE interval_day = #",
        &["'1'", "'1 day'", "'none'"],
    ),
    ("SELECT date(#)", &["'2024-01-01 23:30+00'", "'2024-06-01 00:30-05'", "'x'"]),
    ("SELECT lseg(#), path(#)", &["'((0,0),(1,1))'", "'[(0,0),(1,1)]'"]),
    (
        "SELECT # BETWEEN day AND ts FROM again WHERE id = 1",
        &["'2024-01-02 10:00'", "'2024-01-02'", "'x'"],
    ),
    (
        "SELECT id FROM again WHERE ts BETWEEN # AND '2024-02-02' AND day <> #",
        &["'2024-01-02 10:00'", "'2024-01-01'", "'x'"],
    ),
    (
        "SELECT n + #, count(*) FROM again GROUP BY ROLLUP (n, n + #) ORDER BY 1, 2",
        &["1", "2", "1"],
    ),
    (
        "SELECT id FROM again WHERE id < # ORDER BY day = 'today', id",
        &["5", "6", "7"],
    ),
    (
        "INSERT INTO again (id, interval_day) VALUES (#, '1') RETURNING interval_day",
        &["90", "91", "92"],
    ),
    (
        "UPDATE again SET interval_day = # WHERE id = 1 RETURNING interval_day",
        &["'1'", "'36:00'", "'2 days'"],
    ),
    ("SELECT now() = now()", &[""]),
    ("SELECT id FROM again ORDER BY id", &[""]),
];

fn pair(stand: &Stand) -> (Connection, Connection) {
    let named = |target: Target| target.with("application_name", "again");
    let direct = named(stand.dba()).with("options", "-c search_path=lab");
    (
        Connection::open(&named(stand.login("lab"))).unwrap_or_else(|e| panic!("{e}")),
        Connection::open(&direct).unwrap_or_else(|e| panic!("straight to PostgreSQL: {e}")),
    )
}

/// What a client sees of an answer.
fn seen(reply: Reply) -> String {
    match &reply.error {
        Some(error) => format!("error {}: {}", error.sqlstate(), error.message()),
        None => format!("{:?} {:?} {:?}", reply.columns, reply.texts(), reply.tag),
    }
}

/// What the connection's server process was asked for last.
fn asked(stand: &Stand) -> Vec<String> {
    let sql =
        "SELECT query FROM pg_stat_activity WHERE application_name = 'again' AND usename LIKE 'lab%' AND query LIKE '%again%'";
    stand
        .dba_connection()
        .run(sql)
        .good(sql)
        .texts()
        .into_iter()
        .flatten()
        .flatten()
        .collect()
}

#[test]
fn what_comes_again_is_answered_as_by_postgresql() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let (mut ours, mut theirs) = pair(stand);
    let table = "CREATE TABLE again (id int PRIMARY KEY, body text, n int, day date, doc jsonb, short varchar(4), ts timestamptz, \
                 interval_day interval day)";
    ours.run("DROP TABLE IF EXISTS again").good("DROP");
    ours.run(table).good(table);
    let rows = r#"INSERT INTO again VALUES (1, 'one', 1, '2024-01-02', '{"k": [1]}', 'a', '2024-01-02 12:00+00', '1 day'),
                  (2, 'two', 8, '2024-07-01', '[5]', 'b', '2024-07-01 12:00+00', '2 days')"#;
    ours.run(rows).good(rows);
    let mut problems = Vec::new();
    for in_transaction in [false, true] {
        for round in 0..4 {
            for (shape, literals) in SHAPES {
                for literal in *literals {
                    let sql = shape.replace('#', literal);
                    // What writes is undone on either side before the other looks.
                    let answers = [&mut ours, &mut theirs].map(|c| {
                        if in_transaction {
                            c.run("BEGIN").good("BEGIN");
                        }
                        let answer = seen(c.run(&sql));
                        let state = match in_transaction {
                            true => seen(c.run("ROLLBACK")),
                            false => String::new(),
                        };
                        let undo = "DELETE FROM again WHERE id > 2";
                        c.run(undo).good(undo);
                        let undo = "UPDATE again SET short = 'a', interval_day = '1 day' WHERE id = 1";
                        c.run(undo).good(undo);
                        (answer, state)
                    });
                    if answers[0] != answers[1] {
                        problems.push(format!(
                            "round {round}: {sql}\n  Postern    {:?}\n  PostgreSQL {:?}",
                            answers[0], answers[1]
                        ));
                    }
                }
            }
        }
    }
    ours.run("DROP TABLE again").good("DROP");
    assert!(problems.is_empty(), "{} differ:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn postgresql_is_asked_with_parameters_unless_the_settings_say_otherwise() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    for (settings, prepared) in [("", true), ("[pool]\nprepare_simple = false\n", false)] {
        let proxy = Proxy::start(stand, "again", settings);
        let target = proxy.login(stand, "lab", None).with("application_name", "again");
        let mut c = Connection::open(&target).unwrap_or_else(|e| panic!("{e}"));
        let table = "CREATE TABLE again (id int PRIMARY KEY, body text)";
        c.run(table).good(table);
        for id in 0..6 {
            let sql = format!("SELECT body FROM again WHERE id = {id} AND body <> 'canary-{id}'");
            c.run(&sql).good(&sql);
        }
        let last = eventually(Duration::from_secs(5), || asked(stand).pop()).expect("PostgreSQL says what it was asked");
        assert_eq!(last.contains("id = $1") && last.contains("body <> $2"), prepared, "{last}");
        assert_eq!(last.contains("canary-5"), !prepared, "{last}");

        // A changed table, of which the proxy does not hear (event triggers sleep in such a session): what was prepared is outdated.
        let mut dba = stand.dba_connection();
        dba.run("SET session_replication_role = replica").good("SET");
        dba.run("INSERT INTO lab.again VALUES (1, '42')").good("a row");
        let mut change = |ty: &str| {
            let alter = format!("ALTER TABLE lab.again ALTER body TYPE {ty}");
            dba.run(&alter).good(&alter);
        };
        let sql = "SELECT body FROM again WHERE id = 1 AND body <> '7'";
        let settle = |c: &mut Connection| (0..4).for_each(|_| drop(c.run(sql).good(sql)));
        settle(&mut c);
        // Alone nobody notices.
        change("int USING body::int");
        assert_eq!(c.run(sql).good(sql).scalar().as_deref(), Some("42"));
        settle(&mut c);
        // In a transaction, which has failed by then, it is told once: its result has another type, or its parameter no operator. On a slow
        // machine the proxy may have read the catalogue anew meanwhile, and then there is nothing to tell.
        let outdated = |code: &str| ["0A000", "42883"].contains(&code);
        let mut seen = false;
        for ty in ["text", "int USING body::int", "text", "int USING body::int"] {
            settle(&mut c);
            change(ty);
            c.run("BEGIN").good("BEGIN");
            let told = c.run(sql);
            seen = outdated(told.sqlstate());
            assert!(told.error.is_none() || prepared && seen, "{told:?}");
            assert_eq!(c.run("SELECT 1").sqlstate(), if seen { "25P02" } else { "" });
            c.run("ROLLBACK").good("ROLLBACK");
            assert_eq!(c.run(sql).good(sql).scalar().as_deref(), Some("42"));
            if seen {
                break;
            }
        }
        assert_eq!(seen, prepared, "nothing was outdated");
        settle(&mut c);
        // Behind another Query too, each in its place; what comes next is answered.
        change("int USING body::int");
        let query = |sql: &str| message(b'Q', format!("{sql}\0").as_bytes());
        c.send_raw(&[query("SELECT 'before'"), query(sql), query("SELECT 'behind'")].concat())
            .expect("sent");
        let told: Vec<String> = (0..3)
            .flat_map(|_| c.replies().expect("an answer"))
            .map(|reply| reply.scalar().unwrap_or_else(|| reply.sqlstate().to_owned()))
            .collect();
        assert!(
            told[0] == "before" && told[2] == "behind" && (told[1] == "42" || prepared && outdated(&told[1])),
            "{told:?}"
        );
        assert_eq!(c.run(sql).good(sql).scalar().as_deref(), Some("42"));
        c.run("DROP TABLE again").good("DROP");
    }
}

/// What is tried out behind a Query may have to wait for a lock. What ends the wait (the lock's release, the client's own limit, a cancel)
/// is not told as the answer to anything, and what the client asked meanwhile is answered.
#[test]
fn a_try_out_that_waits_for_a_lock_is_nobodys_business() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let target = stand.login("lab").with("application_name", "again");
    let mut c = Connection::open(&target).unwrap_or_else(|e| panic!("{e}"));
    c.patience(Duration::from_secs(20)).expect("a socket");
    let table = "CREATE TABLE again_locked (id int PRIMARY KEY)";
    c.run(table).good(table);
    c.run("INSERT INTO again_locked VALUES (1)").good("a row");
    let mut watcher = stand.dba_connection();
    for how in ["released", "lock_timeout", "cancelled"] {
        let sql = format!("SELECT id, pg_sleep(0.3) AS {how} FROM again_locked WHERE id = 1");
        let mut waited = false;
        for _ in 0..8 {
            // The lock is asked for while the Query runs, so that it is given between the Query and what follows it.
            let mut dba = stand.dba_connection();
            let locker = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(100));
                dba.run("BEGIN").good("BEGIN");
                let lock = "LOCK TABLE lab.again_locked IN ACCESS EXCLUSIVE MODE";
                dba.run(lock).good(lock);
                dba
            });
            c.run(&sql).good(&sql);
            let mut dba = locker.join().expect("a lock");
            let waits = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'again' AND usename LIKE 'lab%' \
                         AND wait_event_type = 'Lock'";
            waited = eventually(Duration::from_millis(300), || watcher.run(waits).good(waits).scalar()).is_some();
            if waited {
                c.send_raw(&message(b'Q', b"SELECT 'after'\0")).expect("sent");
                match how {
                    "released" => drop(dba.run("ROLLBACK").good("ROLLBACK")),
                    "cancelled" => {
                        let mut cancel = Connection::socket(&target).unwrap_or_else(|e| panic!("{e}"));
                        cancel.send_raw(&cancel_message(c.cancel_key)).expect("sent");
                        assert!(cancel.closes());
                    }
                    _ => {}
                }
                let replies = c.replies().expect("an answer");
                assert_eq!(replies.len(), 1, "{replies:?}");
                // A cancel may find the one statement or the other.
                let cancelled = how == "cancelled" && replies[0].sqlstate() == "57014";
                assert!(
                    cancelled || replies[0].scalar().as_deref() == Some("after"),
                    "{how}: {replies:?}"
                );
            }
            drop(dba);
            if waited {
                break;
            }
        }
        assert!(waited, "{how}: nothing was tried out while the table was locked");
        for _ in 0..3 {
            assert_eq!(c.run(&sql).good(&sql).scalar().as_deref(), Some("1"), "{how}");
        }
        if how == "released" {
            c.run("SET lock_timeout = '300ms'").good("SET");
        } else {
            c.run("RESET lock_timeout").good("RESET");
        }
    }
    c.run("DROP TABLE again_locked").good("DROP");
}

/// A Query takes the client's unnamed portal away: Execute afterwards runs nothing.
#[test]
fn the_unnamed_portal_goes_with_a_query() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = stand.connect("evilmod", None);
    c.run("BEGIN").good("BEGIN");
    let bound = [
        message(b'P', &parse_body("", "SELECT 'bound'", &[])),
        message(b'B', &bind_body("", "", &[], 0, 0)),
        message(b'S', b""),
    ];
    for _ in 0..4 {
        c.send_raw(&bound.concat()).expect("sent");
        c.replies().expect("answers");
        c.run("SAVEPOINT s").good("SAVEPOINT");
        c.run("SELECT 'ran'").good("SELECT");
        c.send_raw(&[message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat())
            .expect("sent");
        let replies = c.replies().expect("answers");
        assert_eq!(replies.last().map(Reply::sqlstate), Some("34000"));
        c.run("ROLLBACK TO s").good("ROLLBACK TO");
    }
}

/// Constants that mean a time mean the time of their statement, however often its text comes and by whichever protocol.
#[test]
fn now_is_never_yesterday() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = stand.connect("evilmod", None);
    for sql in [
        "SELECT extract(epoch FROM 'now'::timestamptz)::text || 'x'",
        "SELECT ('now'::timestamptz)::text",
        "SELECT body FROM (SELECT extract(epoch FROM 'now'::timestamptz)::text AS body) t WHERE 5 > 1",
    ] {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..5 {
            seen.extend(c.run(sql).good(sql).scalar());
            seen.extend(c.extended(sql, &[], 0).expect("an answer").good(sql).scalar());
        }
        assert_eq!(seen.len(), 10, "{sql}: {seen:?}");
    }
}

/// An implicit transaction that has not ended yet is no place for a second try: what was acknowledged in it is lost with it, and said to be.
#[test]
fn an_open_group_is_not_continued_behind_the_clients_back() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let mut c = stand.connect("lab", None);
    let table = "CREATE TABLE open_group (id int PRIMARY KEY, body text)";
    c.run(table).good(table);
    let sql = "SELECT body FROM open_group WHERE id = 1 AND body <> '7'";
    for _ in 0..4 {
        c.run(sql).good(sql);
    }
    let mut dba = stand.dba_connection();
    let alter = "ALTER TABLE lab.open_group ALTER body TYPE int USING body::int";
    dba.run(alter).good(alter);
    // Without a Sync, but with a Flush.
    let insert = [
        message(b'P', &parse_body("", "INSERT INTO open_group (id) VALUES (5)", &[])),
        message(b'B', &bind_body("", "", &[], 0, 0)),
        message(b'E', b"\0\0\0\0\0"),
        message(b'H', b""),
    ];
    c.send_raw(&insert.concat()).expect("sent");
    while c.receive().expect("an answer").kind != b'C' {}
    let answer = c.run(sql);
    let rows = c.run("SELECT count(*) FROM open_group").good("count").scalar();
    assert_eq!(
        answer.error.is_none(),
        rows.as_deref() == Some("1"),
        "{answer:?}, {rows:?} rows"
    );
    c.run("DROP TABLE open_group").good("DROP");
}
