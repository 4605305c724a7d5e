//! What transaction mode cannot keep is refused with a HINT, and the session goes on; in session mode the same works.

use postern_tests::proxy::Proxy;
use postern_tests::stand::Stand;

use super::{ONE, ONE_SESSION, scalar, usable};

/// Statements that leave something behind their transaction.
const KEPT: [&str; 13] = [
    "LISTEN jobs",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock(1, 2)",
    "SELECT pg_advisory_lock_shared(3)",
    "SELECT 1 WHERE pg_try_advisory_lock_shared(4)",
    "CREATE TEMP TABLE kept_a (id int)",
    "CREATE TABLE pg_temp.kept_b (id int)",
    "CREATE TEMP TABLE kept_c ON COMMIT PRESERVE ROWS AS SELECT 1 AS id",
    "CREATE TEMP TABLE kept_d (id int) ON COMMIT DELETE ROWS",
    "CREATE TEMP VIEW kept_e AS SELECT 1 AS id",
    "CREATE TEMP SEQUENCE kept_f",
    "SELECT nextval('pools_sequence'), currval('pools_sequence')",
    "SELECT lastval()",
];

#[test]
fn what_transaction_mode_cannot_keep_is_refused_with_a_hint() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-kept", ONE);
    let mut c = proxy.connect(stand, "lab", None);
    c.run("DROP SEQUENCE IF EXISTS pools_sequence").good("DROP");
    c.run("CREATE SEQUENCE pools_sequence").good("CREATE");
    let mut problems = Vec::new();
    let hold = "DECLARE h CURSOR WITH HOLD FOR SELECT 1";
    for sql in KEPT.into_iter().chain([hold]) {
        for (how, in_block) in [("outside", false), ("inside", true)] {
            for extended in [false, true] {
                if in_block {
                    c.run("BEGIN").good("BEGIN");
                }
                let reply = match extended {
                    false => c.run(sql),
                    true => c.extended(sql, &[], 0).unwrap_or_else(|e| panic!("{sql}: {e}")),
                };
                match &reply.error {
                    Some(e) if e.sqlstate() == "0A000" && e.hint().contains("pool_mode = \"session\"") => {}
                    other => problems.push(format!("{sql}, {how}, extended {extended}: {other:?}")),
                }
                if in_block {
                    assert_eq!(c.status, 'E', "{sql}: the transaction goes on");
                    assert_eq!(c.run("SELECT 1").sqlstate(), "25P02", "{sql}");
                }
                usable(&mut c);
            }
        }
        // In a batch nothing of it happens.
        let batch = c.run(&format!("SELECT 1; {sql}"));
        if batch.sqlstate() != "0A000" {
            problems.push(format!("{sql} in a batch: {:?}", batch.error));
        }
        usable(&mut c);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    // The twins: what goes with its transaction.
    for sql in [
        "BEGIN",
        "CREATE TEMP TABLE gone (id int) ON COMMIT DROP",
        "INSERT INTO gone VALUES (1)",
        "SELECT id FROM gone",
        "SELECT pg_advisory_xact_lock(1)",
        "DECLARE c CURSOR FOR SELECT 1",
        "FETCH c",
        "COMMIT",
        "NOTIFY jobs",
        "SELECT nextval('pools_sequence')",
        "UNLISTEN *",
        "DROP SEQUENCE pools_sequence",
    ] {
        c.run(sql).good(sql);
    }
}

#[test]
fn session_mode_keeps_them() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let changes = format!("{ONE}[pool.logins.lab]\npool_mode = 'session'\n");
    let proxy = Proxy::start(stand, "pools-session-kept", &changes);
    for extended in [false, true] {
        let mut c = proxy.connect(stand, "lab", None);
        c.run("DROP SEQUENCE IF EXISTS pools_session_sequence").good("DROP");
        c.run("CREATE SEQUENCE pools_session_sequence").good("CREATE");
        for sql in KEPT {
            let sql = sql.replace("pools_sequence", "pools_session_sequence");
            match extended {
                false => c.run(&sql),
                true => c.extended(&sql, &[], 0).unwrap_or_else(|e| panic!("{sql}: {e}")),
            }
            .good(&sql);
        }
        for sql in ["BEGIN", "DECLARE h CURSOR WITH HOLD FOR SELECT 'held'", "COMMIT"] {
            c.run(sql).good(sql);
        }
        assert_eq!(scalar(&mut c, "FETCH h"), "held");
        c.run("INSERT INTO kept_a VALUES (7)").good("INSERT");
        assert_eq!(scalar(&mut c, "SELECT id FROM kept_a"), "7");
        c.run("DROP SEQUENCE pools_session_sequence").good("DROP");
    }
    // The other logins of the same proxy are in transaction mode.
    assert_eq!(proxy.connect(stand, "evilmod", None).run("LISTEN jobs").sqlstate(), "0A000");
}

/// NOTIFY reaches the clients of its own module that listen, also from transaction mode, and nobody else.
#[test]
fn notifications_stay_in_their_module() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let changes = "[pool]\npool_mode = 'transaction'\nsize = 2\n\
        [pool.logins.evilmod_service]\npool_mode = 'session'\n[pool.logins.disco_service]\npool_mode = 'session'\n";
    let proxy = Proxy::start(stand, "pools-notify", changes);
    let mut mine = proxy.connect(stand, "evilmod.service", None);
    let mut theirs = proxy.connect(stand, "disco.service", None);
    let mut sender = proxy.connect(stand, "evilmod", None);
    for c in [&mut mine, &mut theirs] {
        for sql in ["LISTEN jobs", "LISTEN \"evilmod:jobs\""] {
            c.run(sql).good(sql);
        }
        c.forget_seen();
    }
    for (sql, payload) in [
        ("NOTIFY jobs, 'by NOTIFY'", "by NOTIFY"),
        ("SELECT pg_notify('jobs', 'by a function')", "by a function"),
    ] {
        sender.run(sql).good(sql);
        let note = mine.receive().unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(note.kind, b'A', "{sql}");
        let text = String::from_utf8_lossy(&note.body[4..]).into_owned();
        assert_eq!(text, format!("jobs\0{payload}\0"));
    }
    // Rolled back, and in a transaction of the sender's until it commits.
    for sql in ["BEGIN", "NOTIFY jobs, 'never'", "ROLLBACK", "BEGIN", "NOTIFY jobs, 'later'"] {
        sender.run(sql).good(sql);
    }
    assert_eq!(scalar(&mut mine, "SELECT 1"), "1");
    sender.run("COMMIT").good("COMMIT");
    let note = mine.receive().unwrap_or_else(|e| panic!("{e}"));
    assert!(String::from_utf8_lossy(&note.body).ends_with("jobs\0later\0"));
    // Answers and notifications in one stream; what was unlistened stays away.
    mine.run("UNLISTEN jobs").good("UNLISTEN");
    sender.run("NOTIFY jobs, 'too late'").good("NOTIFY");
    mine.forget_seen();
    assert_eq!(scalar(&mut mine, "SELECT 1"), "1");
    for c in [&mine, &theirs] {
        let seen = String::from_utf8_lossy(&c.seen);
        assert!(!seen.contains("jobs"), "{seen}");
    }
    assert_eq!(scalar(&mut theirs, "SELECT 1"), "1");
    assert!(
        !String::from_utf8_lossy(&theirs.seen).contains("jobs"),
        "another module's notification"
    );
}

/// In session mode a client has its connection from its first statement until it leaves.
#[test]
fn a_session_keeps_its_connection() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(
        stand,
        "pools-one-session",
        &format!("{ONE_SESSION}queue_timeout_seconds = 1\n"),
    );
    let mut first = proxy.connect(stand, "evilmod", None);
    assert_eq!(scalar(&mut first, "SELECT 1"), "1");
    let mut second = proxy.connect(stand, "evilmod", None);
    assert_eq!(second.run("SELECT 1").sqlstate(), "53300", "two sessions on one connection");
    drop(first);
    assert_eq!(scalar(&mut second, "SELECT 1"), "1");
}
