//! What one client leaves is not there for the next one on the same server connection (transaction mode).

use std::time::Duration;

use postern_tests::connection::Connection;
use postern_tests::message::Reply;
use postern_tests::proxy::Proxy;
use postern_tests::stand::{Stand, eventually};

use super::{ONE, ONE_SESSION, SYNC, bind, execute, group, ids, last, parse, run_prepared, scalar, simple, usable, whole};

/// Settings, a value each that is not the default.
const SETTINGS: [(&str, &str); 10] = [
    ("TimeZone", "Asia/Tokyo"),
    ("DateStyle", "German, DMY"),
    ("bytea_output", "escape"),
    ("application_name", "somebody"),
    ("extra_float_digits", "0"),
    ("IntervalStyle", "iso_8601"),
    ("statement_timeout", "12345ms"),
    ("default_transaction_read_only", "on"),
    ("lock_timeout", "1s"),
    ("enable_seqscan", "off"),
];

/// What another client sees now, by the simple and by the extended protocol.
#[track_caller]
fn shown(c: &mut Connection, name: &str) -> String {
    let sql = format!("SHOW {name}");
    let simple = scalar(c, &sql);
    let extended = c.extended(&sql, &[], 0).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(extended.scalar().as_deref(), Some(&*simple), "{sql}");
    simple
}

#[test]
fn settings_of_one_client_are_not_the_next_ones() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-settings", ONE);
    for (name, value) in SETTINGS {
        let mut b = proxy.connect(stand, "evilmod", None);
        let before = shown(&mut b, name);
        let set = format!("SET {name} = '{value}'");
        // Those that stay with the client that sets them.
        for (how, steps) in [
            ("by itself", vec![set.clone()]),
            ("in a transaction", vec!["BEGIN".to_owned(), set.clone(), "COMMIT".to_owned()]),
            ("in a batch", vec![format!("SELECT 1; {set}")]),
            ("in a batch's transaction", vec![format!("BEGIN; {set}; COMMIT")]),
            (
                "before a savepoint",
                ["BEGIN", &set, "SAVEPOINT s", "ROLLBACK TO s", "COMMIT"]
                    .map(str::to_owned)
                    .to_vec(),
            ),
        ] {
            let mut a = proxy.connect(stand, "evilmod", None);
            for sql in &steps {
                a.run(sql).good(sql);
            }
            assert_eq!(shown(&mut b, name), before, "{name}, {how}: the next client has it");
            assert_ne!(shown(&mut a, name), before, "{name}, {how}: its own client has lost it");
            assert_eq!(shown(&mut b, name), before, "{name}, {how}: the next client has it");
        }
        // Those that leave nothing.
        for (how, steps) in [
            ("rolled back", vec!["BEGIN", &set, "ROLLBACK"]),
            ("local", vec!["BEGIN", &*set.replace("SET", "SET LOCAL"), "COMMIT"]),
            (
                "behind a savepoint",
                vec!["BEGIN", "SAVEPOINT s", &set, "ROLLBACK TO s", "COMMIT"],
            ),
            ("failed", vec!["BEGIN", &set, "SELECT 1/0", "COMMIT"]),
            ("reset", vec![&set, &*format!("RESET {name}")]),
            ("default", vec![&set, &*format!("SET {name} TO DEFAULT")]),
        ] {
            let mut a = proxy.connect(stand, "evilmod", None);
            for sql in steps {
                a.run(sql);
            }
            assert_eq!(shown(&mut b, name), before, "{name}, {how}: the next client has it");
            assert_eq!(shown(&mut a, name), before, "{name}, {how}: it stays");
        }
        let mut a = proxy.connect(stand, "evilmod", None);
        simple(&mut a, &format!("{set}; SELECT 1/0"));
        group(&mut a, &[whole(&set), whole("SELECT 1/0"), SYNC.to_vec()].concat());
        assert_eq!(shown(&mut b, name), before, "{name} of a group that failed");
        assert_eq!(shown(&mut a, name), before, "{name} of a group that failed");
        group(&mut a, &[whole(&set), SYNC.to_vec()].concat());
        assert_eq!(shown(&mut b, name), before, "{name}, extended");
        assert_ne!(shown(&mut a, name), before, "{name}, extended");
    }
}

#[test]
fn nobody_is_who_was_there_before() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-identity", ONE);
    let connect = |who| proxy.connect(stand, "sys_account", who);
    let [bob_token, dora_token, root_token] = ["bob", "dora", "root"].map(|who| stand.token("sys_account", who));
    let (mut bob, mut dora, mut root) = (connect(Some("bob")), connect(Some("dora")), connect(Some("root")));
    let (mut guest, mut other) = (connect(None), connect(None));
    let everybody = ids(&mut root).len();
    assert!(everybody > 2);
    let all_in_turn = |other: &mut Connection, guest: &mut Connection, bob: &mut Connection| {
        assert!(ids(guest).is_empty(), "a guest behind somebody");
        assert_eq!(ids(bob), ["bob"]);
        assert!(ids(other).is_empty() || ids(other) != ["bob"], "somebody behind bob");
    };
    assert_eq!(ids(&mut bob), ["bob"]);
    assert!(ids(&mut guest).is_empty(), "a guest after a user");
    assert_eq!(ids(&mut root).len(), everybody);
    assert!(ids(&mut guest).is_empty(), "a guest after a superadmin");
    assert_eq!(ids(&mut dora), ["dora"], "a user after a guest");
    assert_eq!(ids(&mut root).len(), everybody, "a superadmin after a user");
    assert_eq!(ids(&mut bob), ["bob"], "a user after a superadmin");

    // By SET: it follows its client, and nobody else.
    other.run(&format!("SET postern.token = '{dora_token}'")).good("SET");
    assert_eq!(ids(&mut other), ["dora"]);
    all_in_turn(&mut other, &mut guest, &mut bob);
    assert_eq!(ids(&mut other), ["dora"]);
    other.run("RESET postern.token").good("RESET");
    assert_eq!(ids(&mut bob), ["bob"]);
    assert!(ids(&mut other).is_empty(), "forgotten");

    // For a transaction, committed and rolled back.
    for end in ["COMMIT", "ROLLBACK"] {
        for sql in ["BEGIN", &format!("SET LOCAL postern.token = '{bob_token}'")] {
            other.run(sql).good(sql);
        }
        assert_eq!(ids(&mut other), ["bob"]);
        other.run(end).good(end);
        assert!(ids(&mut guest).is_empty(), "behind {end}");
        assert!(ids(&mut other).is_empty(), "behind {end}");
    }

    // By comment: for its statement alone.
    let who = "SELECT id FROM accounts ORDER BY id";
    for (token, rows) in [(&bob_token, 1), (&root_token, everybody), (&dora_token, 1)] {
        let sql = format!("/*postern:{token}*/ {who}");
        assert_eq!(other.run(&sql).good(who).rows.len(), rows);
        assert!(ids(&mut guest).is_empty(), "a guest after a comment");
        assert!(ids(&mut other).is_empty(), "the same client after its comment");
        let extended = other.extended(&sql, &[], 0).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(extended.good(who).rows.len(), rows);
        assert_eq!(ids(&mut dora), ["dora"]);
    }

    // An error in the middle of a pipeline, then the next client.
    let comment = whole(&format!("/*postern:{bob_token}*/ {who}"));
    group(&mut other, &[comment, whole("SELECT 1/0"), SYNC.to_vec()].concat());
    assert!(ids(&mut guest).is_empty(), "a guest after a failed pipeline");

    // One that dies while it is somebody, also in the middle of a transaction.
    for open in [false, true] {
        let mut dying = connect(Some("dora"));
        if open {
            dying.run("BEGIN").good("BEGIN");
        }
        assert_eq!(ids(&mut dying), ["dora"]);
        drop(dying);
        assert!(ids(&mut guest).is_empty(), "a guest after somebody who died");
    }
}

#[test]
fn an_expired_token_refuses_and_leaves_nothing() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-expired", ONE);
    let short = stand.mint("sys_account", "bob", "8");
    let target = proxy.login(stand, "sys_account", None).with_token(&short);
    let mut bob = proxy.open(&target);
    let mut guest = proxy.connect(stand, "sys_account", None);
    let mut dora = proxy.connect(stand, "sys_account", Some("dora"));
    assert_eq!(ids(&mut bob), ["bob"]);
    let refused = eventually(Duration::from_secs(20), || {
        let reply = bob.run("SELECT id FROM accounts");
        (reply.sqlstate() == "28000").then_some(reply)
    });
    assert!(refused.expect("the token ends").rows.is_empty());
    for _ in 0..3 {
        assert!(ids(&mut guest).is_empty());
        assert_eq!(bob.run("SELECT id FROM accounts").sqlstate(), "28000");
        assert_eq!(ids(&mut dora), ["dora"]);
    }
}

#[test]
fn names_of_one_client_are_not_anothers() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-names", ONE);
    let (mut a, mut b) = (proxy.connect(stand, "lab", None), proxy.connect(stand, "lab", None));
    // Prepared by the protocol and by SQL.
    a.run("PREPARE p AS SELECT 'a'").good("PREPARE");
    group(
        &mut a,
        &[
            parse("q", "SELECT 'a'", &[]),
            parse("", "SELECT 'a unnamed'", &[]),
            SYNC.to_vec(),
        ]
        .concat(),
    );
    assert_eq!(b.run("EXECUTE p").sqlstate(), "26000");
    for name in ["p", "q", ""] {
        assert_eq!(last(&mut b, &run_prepared(name, &[])).sqlstate(), "26000", "`{name}`");
    }
    assert_eq!(last(&mut a, &run_prepared("", &[])).scalar().as_deref(), Some("a unnamed"));
    b.run("PREPARE p AS SELECT 'b'").good("PREPARE");
    group(&mut b, &[parse("q", "SELECT 'b'", &[]), SYNC.to_vec()].concat());
    for (c, mine) in [(&mut a, "a"), (&mut b, "b")] {
        assert_eq!(scalar(c, "EXECUTE p"), mine);
        for name in ["p", "q"] {
            assert_eq!(last(c, &run_prepared(name, &[])).scalar().as_deref(), Some(mine), "`{name}`");
        }
    }
    b.run("DEALLOCATE ALL").good("DEALLOCATE");
    assert_eq!(scalar(&mut a, "EXECUTE p"), "a");
    assert_eq!(b.run("EXECUTE p").sqlstate(), "26000");

    // Cursors and portals end with their transaction.
    for sql in ["BEGIN", "DECLARE c CURSOR FOR SELECT 'a'", "COMMIT"] {
        a.run(sql).good(sql);
    }
    group(
        &mut a,
        &[parse("", "SELECT 'a'", &[]), bind("d", "", &[]), SYNC.to_vec()].concat(),
    );
    for who in [&mut b, &mut a] {
        who.run("BEGIN").good("BEGIN");
        assert_eq!(who.run("FETCH c").sqlstate(), "34000");
        who.run("ROLLBACK").good("ROLLBACK");
        assert_eq!(last(who, &[execute("d"), SYNC.to_vec()].concat()).sqlstate(), "34000");
        assert_eq!(last(who, &[execute(""), SYNC.to_vec()].concat()).sqlstate(), "34000");
    }
    // A temporary table that goes with its transaction.
    for sql in [
        "BEGIN",
        "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 'a' AS who",
        "SELECT who FROM t",
        "COMMIT",
    ] {
        a.run(sql).good(sql);
    }
    assert_eq!(b.run("SELECT who FROM t").sqlstate(), "42P01");
    for sql in [
        "BEGIN",
        "CREATE TEMP TABLE t (other int) ON COMMIT DROP",
        "SELECT other FROM t",
        "COMMIT",
    ] {
        b.run(sql).good(sql);
    }
    assert_eq!(a.run("SELECT who FROM t").sqlstate(), "42P01");
    // Locks of a transaction.
    for end in ["COMMIT", "ROLLBACK"] {
        for sql in ["BEGIN", "SELECT pg_advisory_xact_lock(4711)", end] {
            a.run(sql).good(sql);
        }
        let mut elsewhere = stand.connect("lab", None);
        assert_eq!(scalar(&mut elsewhere, "SELECT pg_try_advisory_xact_lock(4711)"), "t", "{end}");
    }
    usable(&mut a);
    usable(&mut b);
}

#[test]
fn a_client_that_dies_in_a_transaction_leaves_none() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-dying", ONE);
    let mut b = proxy.connect(stand, "evilmod", None);
    let insert = "INSERT INTO notes (id, body) VALUES ('pools-dying', 'x')";
    let endings: [(&str, Vec<u8>); 5] = [
        ("at rest", vec![]),
        ("behind an open group", whole("SELECT 1")),
        (
            "while a statement runs",
            postern_tests::message::message(b'Q', b"SELECT count(*) FROM generate_series(1, 2000000)\0"),
        ),
        ("in the middle of a message", vec![b'Q', 0, 0, 1]),
        ("breaking the protocol", vec![b'Q', 0, 0, 0, 0]),
    ];
    for (how, bytes) in endings {
        let mut a = proxy.connect(stand, "evilmod", None);
        for sql in ["BEGIN", insert, "SET LOCAL TimeZone = 'Asia/Tokyo'"] {
            a.run(sql).good(sql);
        }
        a.send_raw(&bytes).expect("sent");
        drop(a);
        b.patience(Duration::from_secs(20)).expect("a deadline can be set");
        assert_eq!(
            scalar(&mut b, "SELECT count(*) FROM notes WHERE id = 'pools-dying'"),
            "0",
            "{how}"
        );
        assert_ne!(scalar(&mut b, "SHOW TimeZone"), "Asia/Tokyo", "{how}");
        usable(&mut b);
    }
}

/// What `DISCARD ALL` and `RESET ALL` of one client do is that client's business.
#[test]
fn forgetting_everything_is_for_the_one_who_says_so() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-discard", ONE);
    for forget in ["DISCARD ALL", "RESET ALL"] {
        let mut a = proxy.connect(stand, "sys_account", Some("bob"));
        let mut b = proxy.connect(stand, "sys_account", None);
        b.run(&format!("SET postern.token = '{}'", stand.token("sys_account", "dora")))
            .good("SET");
        b.run("SET TimeZone = 'Asia/Tokyo'").good("SET");
        b.run("PREPARE p AS SELECT id FROM accounts").good("PREPARE");
        a.run("SET TimeZone = 'America/Lima'").good("SET");
        a.run(forget).good(forget);
        assert_ne!(scalar(&mut a, "SHOW TimeZone"), "America/Lima", "{forget}");
        assert_eq!(ids(&mut a), ["bob"], "{forget}: the token of the startup stays");
        assert_eq!(scalar(&mut b, "SHOW TimeZone"), "Asia/Tokyo", "{forget} of another");
        assert_eq!(scalar(&mut b, "EXECUTE p"), "dora", "{forget} of another");
        assert_eq!(ids(&mut a), ["bob"]);
    }
    // A migrator works as the module's owner, whoever says DISCARD ALL.
    let (mut a, mut b) = (
        proxy.connect(stand, "evilmod.migrator", None),
        proxy.connect(stand, "evilmod.migrator", None),
    );
    for sql in ["DISCARD ALL", "CREATE TABLE pools_discard (a int)"] {
        a.run(sql).good(sql);
    }
    b.run("DISCARD ALL").good("DISCARD ALL");
    a.run("DROP TABLE pools_discard").good("DROP");
}

/// What the claims' check keeps among a session's values of sequences is not the client's to discard.
#[test]
fn discarded_sequences_take_nobody_along() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-sequences", ONE);
    let who = "SELECT id FROM accounts ORDER BY id";
    for discard in [
        "DISCARD SEQUENCES",
        "BEGIN; DISCARD SEQUENCES; COMMIT",
        "SELECT 1; DISCARD SEQUENCES",
    ] {
        let mut guest = proxy.connect(stand, "sys_account", None);
        let mut bob = proxy.connect(stand, "sys_account", Some("bob"));
        assert_eq!(ids(&mut bob), ["bob"]);
        assert_eq!(simple(&mut guest, discard).last().map(Reply::sqlstate), Some(""), "{discard}");
        assert_eq!(ids(&mut bob), ["bob"], "{discard}");
        simple(&mut bob, discard);
        assert_eq!(ids(&mut bob), ["bob"], "{discard}: one's own");
        let dora = proxy.connect(stand, "sys_account", Some("dora")).extended(who, &[], 0);
        assert_eq!(
            dora.unwrap_or_else(|e| panic!("{discard}: {e}")).scalar().as_deref(),
            Some("dora")
        );
    }
    // A body that only the second lock sees may do it all the same; who comes next is told of it at most once, without our names.
    let mut lab = proxy.connect(stand, "lab", None);
    let make = "CREATE OR REPLACE FUNCTION pools_forgets() RETURNS void LANGUAGE plpgsql AS 'BEGIN DISCARD SEQUENCES; END'";
    lab.run(make).good(make);
    lab.run("SELECT pools_forgets()").good("SELECT");
    let mut user = proxy.connect(stand, "lab", Some("bob"));
    let first = user.run("SELECT 1");
    if let Some(error) = &first.error {
        assert!(!format!("{error:?}").contains("claims_"), "{error:?}");
    }
    usable(&mut user);
    assert_eq!(scalar(&mut lab, "SELECT 2"), "2");
    usable(&mut proxy.connect(stand, "lab", Some("dora")));
    lab.run("DROP FUNCTION pools_forgets()").good("DROP FUNCTION");
}

/// In session mode the client's own values are forgotten, and nothing of ours.
#[test]
fn discarded_sequences_in_a_session_are_its_own() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut bob = stand.connect("sys_account", Some("bob"));
    assert_eq!(ids(&mut bob), ["bob"]);
    bob.run("DISCARD SEQUENCES").good("DISCARD SEQUENCES");
    assert_eq!(ids(&mut bob), ["bob"]);
    let refused = simple(&mut bob, "BEGIN; DISCARD SEQUENCES");
    assert_eq!(refused.last().map(Reply::sqlstate), Some("25001"));
    usable(&mut bob);
    assert_eq!(ids(&mut bob), ["bob"]);
    let mut lab = stand.connect("lab", None);
    for sql in [
        "CREATE TEMP SEQUENCE drawn",
        "SELECT nextval('drawn')",
        "SELECT currval('drawn')",
    ] {
        lab.run(sql).good(sql);
    }
    lab.run("DISCARD SEQUENCES").good("DISCARD SEQUENCES");
    for sql in ["SELECT currval('drawn')", "SELECT lastval()"] {
        let error = lab.run(sql);
        assert_eq!(error.sqlstate(), "55000", "{sql}");
    }
    usable(&mut lab);
}

/// Who sets the seed of random numbers does not know the next client's.
#[test]
fn a_seed_is_nobody_elses() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    // What PostgreSQL 15 gives first behind that seed.
    let known = {
        let mut dba = stand.dba_connection();
        dba.run("SELECT setseed(0.5)").good("setseed");
        scalar(&mut dba, "SELECT random()")
    };
    let session = Proxy::start(stand, "pools-seed-session", ONE_SESSION);
    {
        let mut a = session.connect(stand, "evilmod", None);
        a.run("SELECT setseed(0.5)").good("setseed");
        assert_eq!(scalar(&mut a, "SELECT random()"), known, "its own");
        a.run("SELECT setseed(0.5)").good("setseed");
    }
    assert_ne!(scalar(&mut session.connect(stand, "evilmod", None), "SELECT random()"), known);
    let shared = Proxy::start(stand, "pools-seed", ONE);
    let mut a = shared.connect(stand, "evilmod", None);
    for sql in [
        "SELECT setseed(0.5)",
        "SELECT 1 WHERE setseed(0.5) IS NULL",
        "BEGIN; SELECT setseed(0.5); COMMIT",
    ] {
        assert_eq!(simple(&mut a, sql).last().map(Reply::sqlstate), Some("0A000"), "{sql}");
        usable(&mut a);
    }
}
