//! What is a client's own follows it from one server connection to the other: statements and settings.

use postern_tests::connection::Connection;
use postern_tests::message::{Reply, bind_body, message};
use postern_tests::proxy::Proxy;
use postern_tests::stand::Stand;

use super::{Mover, SYNC, TWO, bind, execute, group, last, parse, run_prepared, scalar, whole};

#[track_caller]
fn texts(reply: Reply) -> Vec<String> {
    let reply = reply.good("a prepared statement");
    reply
        .texts()
        .into_iter()
        .flatten()
        .map(|t| t.unwrap_or_else(|| "NULL".to_owned()))
        .collect()
}

#[test]
fn prepared_statements_follow_their_client() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-follow", TWO);
    let mut mover = Mover::new(&proxy, stand, "evilmod");
    let mut a = proxy.connect(stand, "evilmod", None);
    let prepared = [
        parse("plain", "SELECT 'plain'", &[]),
        parse("typed", "SELECT $1::text || 'x', $2 + 1", &[25, 20]),
        parse("untyped", "SELECT body FROM notes WHERE id = $1", &[]),
        parse("", "SELECT 'unnamed' || $1", &[25]),
        SYNC.to_vec(),
    ];
    for reply in group(&mut a, &prepared.concat()) {
        reply.good("Parse");
    }
    a.run("DELETE FROM notes WHERE id = 'pools-follow'").good("DELETE");
    // A Query takes the unnamed statement away, as PostgreSQL does.
    assert_eq!(last(&mut a, &run_prepared("", &["1"])).sqlstate(), "26000");
    group(&mut a, &[parse("", "SELECT 'unnamed' || $1", &[25]), SYNC.to_vec()].concat());
    group(
        &mut a,
        &[
            parse("insert", "INSERT INTO notes (id, body) VALUES ($1, $2)", &[]),
            run_prepared("insert", &["pools-follow", "a body"]),
        ]
        .concat(),
    );
    for round in 0..6 {
        assert_eq!(texts(last(&mut a, &run_prepared("plain", &[]))), ["plain"], "round {round}");
        assert_eq!(texts(last(&mut a, &run_prepared("typed", &["y", "41"]))), ["yx", "42"]);
        assert_eq!(texts(last(&mut a, &run_prepared("untyped", &["pools-follow"]))), ["a body"]);
        assert_eq!(texts(last(&mut a, &run_prepared("", &["!"]))), ["unnamed!"], "round {round}");
        // Several in one group, one of them described.
        let described = [
            message(b'D', b"Styped\0"),
            bind("", "typed", &["z", "1"]),
            message(b'D', b"P\0"),
            execute(""),
            run_prepared("untyped", &["pools-follow"]),
        ];
        let replies = group(&mut a, &described.concat());
        assert_eq!(replies[0].parameters.as_deref(), Some(&[25, 20][..]), "round {round}");
        assert_eq!(texts(replies[0].clone()), ["zx", "2"]);
        assert_eq!(texts(replies[1].clone()), ["a body"]);
        mover.swap();
    }
    // What was closed is closed everywhere.
    group(&mut a, &[message(b'C', b"Splain\0"), SYNC.to_vec()].concat());
    for _ in 0..2 {
        assert_eq!(last(&mut a, &run_prepared("plain", &[])).sqlstate(), "26000");
        mover.swap();
    }
    // By SQL.
    a.run("PREPARE s (int, text) AS SELECT $1 * 2, $2").good("PREPARE");
    for _ in 0..4 {
        assert_eq!(texts(a.run("EXECUTE s (21, 'x')")), ["42", "x"]);
        mover.swap();
    }
    // A statement that fails where it is prepared anew fails there alone.
    group(&mut a, &[parse("zero", "SELECT 1 / $1::int", &[]), SYNC.to_vec()].concat());
    for _ in 0..3 {
        mover.swap();
        assert_eq!(last(&mut a, &run_prepared("zero", &["0"])).sqlstate(), "22012");
        assert_eq!(texts(last(&mut a, &run_prepared("zero", &["1"]))), ["1"]);
    }
    a.run("DELETE FROM notes WHERE id = 'pools-follow'").good("DELETE");
}

#[test]
fn statements_on_protected_columns_follow_too() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-protected", TWO);
    let mut mover = Mover::new(&proxy, stand, "alltypes.service");
    let mut a = proxy.connect(stand, "alltypes.service", None);
    let all = [
        parse(
            "put",
            "INSERT INTO things (id, v_text, v_int4, v_timestamptz, secret) VALUES ($1, $2, $3, $4, $5)",
            &[],
        ),
        parse(
            "get",
            "SELECT v_int4, secret, v_timestamptz FROM things WHERE v_text = $1",
            &[25],
        ),
        // Row by row.
        parse(
            "change",
            "UPDATE things SET v_int4 = $1, secret = $2 WHERE v_text = $3 RETURNING id",
            &[],
        ),
        SYNC.to_vec(),
    ];
    for reply in group(&mut a, &all.concat()) {
        reply.good("Parse");
    }
    let row = ["890001", "pools", "1", "2020-01-01 00:00:00+00", "hidden"];
    last(&mut a, &run_prepared("put", &row)).good("INSERT");
    for round in 0..5 {
        let (number, secret) = (format!("{round}"), format!("hidden {round}"));
        mover.swap();
        let changed = last(&mut a, &run_prepared("change", &[&number, &secret, "pools"]));
        assert_eq!(changed.good("UPDATE").texts(), [[Some("890001".to_owned())]], "round {round}");
        mover.swap();
        let (zone, shown) = match round % 2 {
            0 => ("Asia/Tokyo", "2020-01-01 09:00:00+09"),
            _ => ("America/Lima", "2019-12-31 19:00:00-05"),
        };
        a.run(&format!("SET TimeZone = '{zone}'")).good("SET");
        mover.swap();
        // The opened value is written in the client's own zone, wherever it runs.
        let read = last(&mut a, &run_prepared("get", &["pools"]));
        assert_eq!(texts(read), [&*number, &*secret, shown], "round {round}");
        let binary = message(b'B', &bind_body("", "get", &[Some(b"pools".to_vec())], 0, 1));
        let read = last(&mut a, &[binary, execute(""), SYNC.to_vec()].concat()).good("binary");
        assert_eq!(read.rows[0][0].as_deref(), Some(&round_bytes(round)[..]));
        assert_eq!(read.rows[0][1].as_deref(), Some(secret.as_bytes()));
    }
    a.run("DELETE FROM things WHERE id = 890001").good("DELETE");
}

fn round_bytes(round: i32) -> [u8; 4] {
    round.to_be_bytes()
}

#[test]
fn statements_survive_ddl_or_are_said_to_be_stale() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-ddl", TWO);
    let mut mover = Mover::new(&proxy, stand, "lab");
    let (mut a, mut other) = (proxy.connect(stand, "lab", None), proxy.connect(stand, "lab", None));
    a.run("DROP TABLE IF EXISTS pools_ddl").good("DROP");
    a.run("CREATE TABLE pools_ddl (a int PRIMARY KEY, b text)").good("CREATE");
    a.run("INSERT INTO pools_ddl VALUES (1, 'b')").good("INSERT");
    let prepare = [
        parse("star", "SELECT * FROM pools_ddl", &[]),
        parse("named", "SELECT a, b FROM pools_ddl WHERE a = $1", &[]),
        parse("write", "UPDATE pools_ddl SET b = $1", &[]),
        SYNC.to_vec(),
    ];
    for round in 0..2 {
        for reply in group(&mut a, &prepare.concat()) {
            reply.good("Parse");
        }
        for _ in 0..2 {
            assert_eq!(last(&mut a, &run_prepared("star", &[])).good("star").rows[0].len(), 2 + round);
            mover.swap();
        }
        // By another client, then by the same.
        let by = if round == 0 { &mut other } else { &mut a };
        by.run(&format!("ALTER TABLE pools_ddl ADD COLUMN c{round} int"))
            .good("ALTER");
        for _ in 0..3 {
            let stale = last(&mut a, &run_prepared("star", &[]));
            assert_eq!(stale.sqlstate(), "0A000", "round {round}: {:?}", stale.texts());
            assert!(stale.error.is_some_and(|e| e.message().contains("cached plan")));
            let named = last(&mut a, &run_prepared("named", &["1"]));
            assert_eq!(named.good("named").rows.len(), 1);
            last(&mut a, &run_prepared("write", &["c"])).good("write");
            mover.swap();
        }
        let anew = [
            message(b'C', b"Sstar\0"),
            message(b'C', b"Snamed\0"),
            message(b'C', b"Swrite\0"),
            SYNC.to_vec(),
        ];
        group(&mut a, &anew.concat());
    }
    // In a transaction that is rolled back, the statement is as it was.
    group(
        &mut a,
        &[parse("again", "SELECT * FROM pools_ddl", &[]), SYNC.to_vec()].concat(),
    );
    for sql in ["BEGIN", "ALTER TABLE pools_ddl DROP COLUMN b", "ROLLBACK"] {
        a.run(sql).good(sql);
    }
    mover.swap();
    assert_eq!(last(&mut a, &run_prepared("again", &[])).good("again").rows[0].len(), 4);
    // A table that is gone, and one that comes again.
    other.run("DROP TABLE pools_ddl").good("DROP");
    assert_ne!(last(&mut a, &run_prepared("again", &[])).sqlstate(), "");
    mover.swap();
    assert_ne!(last(&mut a, &run_prepared("again", &[])).sqlstate(), "");
    assert_eq!(scalar(&mut a, "SELECT 1"), "1");
}

/// More statements than one server connection keeps.
#[test]
fn many_statements_on_one_connection() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-many", TWO);
    let mut mover = Mover::new(&proxy, stand, "evilmod");
    let mut clients = [proxy.connect(stand, "evilmod", None), proxy.connect(stand, "evilmod", None)];
    const MANY: usize = 700;
    let text = |client: usize, n: usize| format!("SELECT {n} + $1, 'client {client}'");
    for (client, c) in clients.iter_mut().enumerate() {
        for chunk in 0..MANY / 100 {
            let mut all: Vec<u8> = (0..100)
                .flat_map(|i| {
                    let n = chunk * 100 + i;
                    parse(&format!("s{n}"), &text(client, n), &[23])
                })
                .collect();
            all.extend(SYNC);
            assert!(group(c, &all).iter().all(|r| r.error.is_none()));
        }
    }
    for round in 0..2 {
        for (client, c) in clients.iter_mut().enumerate() {
            for chunk in 0..MANY / 50 {
                let mut all = Vec::new();
                for i in 0..50 {
                    let n = chunk * 50 + i;
                    all.extend(bind("", &format!("s{n}"), &["1"]));
                    all.extend(execute(""));
                }
                all.extend(SYNC);
                let replies = group(c, &all);
                assert_eq!(replies.len(), 50, "round {round}: {:?}", replies.last());
                for (i, reply) in replies.into_iter().enumerate() {
                    let n = chunk * 50 + i;
                    assert_eq!(
                        texts(reply),
                        [(n + 1).to_string(), format!("client {client}")],
                        "round {round}"
                    );
                }
            }
        }
        mover.swap();
    }
}

#[test]
fn settings_follow_their_client() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-settings-follow", TWO);
    let mut mover = Mover::new(&proxy, stand, "evilmod");
    let target = proxy
        .login(stand, "evilmod", None)
        .with("application_name", "at start")
        .with("TimeZone", "Europe/Berlin")
        .with("options", "-c lock_timeout=7s");
    let mut a = proxy.open(&target);
    let mut plain = proxy.connect(stand, "evilmod", None);
    let set = [
        ("TimeZone", "Asia/Tokyo"),
        ("DateStyle", "German, DMY"),
        ("bytea_output", "escape"),
        ("extra_float_digits", "-3"),
        ("application_name", "a \"quoted\\\" 'name', {1}"),
        ("lock_timeout", "3s"),
        ("search_path", "evilmod"),
    ];
    let start = [
        ("TimeZone", "Europe/Berlin"),
        ("lock_timeout", "7s"),
        ("application_name", "at start"),
    ];
    let show = |c: &mut Connection, name: &str| scalar(c, &format!("SHOW {name}"));
    let check = |c: &mut Connection, wanted: &[(&str, &str)], when: &str| {
        for (name, value) in wanted {
            assert_eq!(show(c, name), *value, "{name} {when}");
        }
    };
    let defaults: Vec<String> = set.iter().map(|(name, _)| show(&mut plain, name)).collect();
    for forget in ["RESET ALL", "DISCARD ALL", "one by one"] {
        check(&mut a, &start, forget);
        mover.swap();
        check(&mut a, &start, forget);
        for (name, value) in set {
            let value = value.replace('\'', "''");
            match name {
                "search_path" => a.run(&format!("SET search_path = {value}")),
                _ => a.run(&format!("SET {name} = '{value}'")),
            }
            .good(name);
        }
        for _ in 0..3 {
            mover.swap();
            check(&mut a, &set, "on the other connection");
            for ((name, _), default) in set.iter().zip(&defaults) {
                assert_eq!(show(&mut plain, name), *default, "{name} of another client");
            }
            assert_eq!(scalar(&mut a, "SELECT '\\x00ff'::bytea"), "\\000\\377");
            assert_eq!(scalar(&mut plain, "SELECT '\\x00ff'::bytea"), "\\x00ff");
        }
        match forget {
            "one by one" => set
                .iter()
                .for_each(|(name, _)| drop(a.run(&format!("RESET {name}")).good(name))),
            _ => drop(a.run(forget).good(forget)),
        }
    }
    mover.swap();
    check(&mut a, &start, "in the end");
    // What a failed transaction had set does not follow.
    for sql in ["BEGIN", "SET TimeZone = 'Asia/Tokyo'", "SELECT 1/0", "ROLLBACK"] {
        a.run(sql);
    }
    mover.swap();
    check(&mut a, &start, "behind a failed transaction");
    // What a savepoint takes back does not, what was before it does.
    for sql in [
        "BEGIN",
        "SET lock_timeout = '1s'",
        "SAVEPOINT s",
        "SET TimeZone = 'Asia/Tokyo'",
        "ROLLBACK TO s",
        "COMMIT",
    ] {
        a.run(sql).good(sql);
    }
    mover.swap();
    check(
        &mut a,
        &[("TimeZone", "Europe/Berlin"), ("lock_timeout", "1s")],
        "behind a savepoint",
    );
    // In a pipeline: the statement behind SET, in the same group and in the next.
    let zone = "SELECT current_setting('timezone')";
    let both = [
        whole("SET TimeZone = 'Asia/Tokyo'"),
        SYNC.to_vec(),
        whole(zone),
        SYNC.to_vec(),
    ]
    .concat();
    group(&mut a, &both);
    let reply = a.replies().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(reply.last().and_then(Reply::scalar).as_deref(), Some("Asia/Tokyo"));
    mover.swap();
    assert_eq!(scalar(&mut a, zone), "Asia/Tokyo");
}
