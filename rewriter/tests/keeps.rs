//! What a statement keeps beyond its transaction, and what a login in transaction pooling is told of it.

#![expect(clippy::unwrap_used, reason = "a test")]

mod desk;

use desk::{config, judge, on_a_deep_stack};
use postern_config::settings::Enforce;
use postern_rewriter::plan::{Keeps, Plan};

fn plans(who: &str, sql: &str) -> Vec<Plan> {
    let (who, sql) = (who.to_owned(), sql.to_owned());
    on_a_deep_stack(move || judge(&config(), &who, &sql, None, Enforce::Both).unwrap_or_else(|r| panic!("{sql}: {r:?}")))
}

fn last(who: &str, sql: &str) -> Plan {
    plans(who, sql).pop().unwrap()
}

const MIGRATOR: &str = "sys_account/migrator";

#[test]
fn what_is_gone_with_its_transaction_is_available_to_all() {
    for sql in [
        "SELECT 1",
        "SELECT id FROM accounts",
        "UPDATE accounts SET last_login = now() WHERE id = '7'",
        "BEGIN",
        "SET datestyle TO iso",
        "PREPARE p AS SELECT 1",
        "DECLARE c CURSOR FOR SELECT id FROM accounts",
        "FETCH 3 FROM c",
        "CLOSE ALL",
        "DISCARD ALL",
        "DISCARD SEQUENCES",
        "SELECT random()",
        "UNLISTEN *",
        "NOTIFY jobs, 'x'",
        "SELECT pg_notify('jobs', 'x')",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
        "SELECT pg_advisory_unlock_all()",
        "COPY accounts (id) TO STDOUT",
        "CREATE TABLE notes_plain (id int)",
    ] {
        let plan = last(MIGRATOR, sql);
        assert!(plan.keeps.is_empty(), "{sql}: {:?}", plan.keeps);
        assert_eq!(plan.transaction_mode(false), Ok(()), "{sql}");
    }
}

#[test]
fn what_outlives_its_transaction_is_refused_there_with_a_way_out() {
    for (sql, keeps, reason) in [
        (
            "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM accounts",
            Keeps::HOLD_CURSOR,
            "pool-mode-cursor",
        ),
        (
            "DECLARE c BINARY INSENSITIVE SCROLL CURSOR WITH HOLD FOR SELECT id FROM accounts",
            Keeps::HOLD_CURSOR,
            "pool-mode-cursor",
        ),
        ("LISTEN jobs", Keeps::LISTEN, "pool-mode-listen"),
        ("SELECT pg_advisory_lock(1)", Keeps::SESSION_LOCKS, "pool-mode-locks"),
        (
            "SELECT pg_try_advisory_lock_shared(1, 2)",
            Keeps::SESSION_LOCKS,
            "pool-mode-locks",
        ),
        (
            "SELECT 1 WHERE pg_advisory_unlock(1)",
            Keeps::SESSION_LOCKS,
            "pool-mode-locks",
        ),
        (
            "COPY (SELECT pg_advisory_lock(1)) TO STDOUT",
            Keeps::SESSION_LOCKS,
            "pool-mode-locks",
        ),
        ("SELECT lastval()", Keeps::SEQUENCE, "pool-mode-sequence"),
        (
            "SELECT 1 WHERE (SELECT pg_catalog.lastval()) > 0",
            Keeps::SEQUENCE,
            "pool-mode-sequence",
        ),
        ("PREPARE p AS SELECT lastval()", Keeps::SEQUENCE, "pool-mode-sequence"),
        ("EXPLAIN SELECT lastval()", Keeps::SEQUENCE, "pool-mode-sequence"),
        ("SELECT setseed(0.5)", Keeps::SEED, "pool-mode-seed"),
        (
            "SELECT 1 WHERE pg_catalog.setseed(0.5) IS NULL",
            Keeps::SEED,
            "pool-mode-seed",
        ),
        ("CREATE TEMP TABLE t (id int)", Keeps::TEMPORARY, "pool-mode-temporary"),
        ("CREATE TABLE pg_temp.t (id int)", Keeps::TEMPORARY, "pool-mode-temporary"),
        (
            "CREATE TEMP TABLE t (id int) ON COMMIT DELETE ROWS",
            Keeps::TEMPORARY,
            "pool-mode-temporary",
        ),
        (
            "CREATE TEMP TABLE t ON COMMIT PRESERVE ROWS AS SELECT 1 AS id",
            Keeps::TEMPORARY,
            "pool-mode-temporary",
        ),
        (
            "CREATE TEMP VIEW v AS SELECT 1 AS id",
            Keeps::TEMPORARY,
            "pool-mode-temporary",
        ),
        ("CREATE TEMP SEQUENCE s", Keeps::TEMPORARY, "pool-mode-temporary"),
    ] {
        let plan = last(MIGRATOR, sql);
        assert!(plan.keeps.contains(keeps), "{sql}: {:?}", plan.keeps);
        for in_block in [false, true] {
            let refusal = plan.transaction_mode(in_block).unwrap_err();
            assert_eq!((refusal.sqlstate, refusal.reason), ("0A000", reason), "{sql}");
            assert!(refusal.hint.unwrap().contains("pool_mode = \"session\""), "{sql}");
        }
    }
}

#[test]
fn a_temporary_table_of_one_transaction_is_available_inside_it() {
    for sql in [
        "CREATE TEMP TABLE t (id int) ON COMMIT DROP",
        "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1 AS id",
        "BEGIN; CREATE TEMP TABLE t (id int) ON COMMIT DROP; INSERT INTO t VALUES (1)",
        "BEGIN; CREATE TEMP TABLE t (id int) ON COMMIT DROP; SELECT * FROM t",
        "BEGIN; CREATE TEMP TABLE t (id int) ON COMMIT DROP; DROP TABLE t",
    ] {
        let plan = last(MIGRATOR, sql);
        assert_eq!(plan.keeps, Keeps::TEMPORARY_IN_BLOCK, "{sql}");
        assert_eq!(plan.transaction_mode(true), Ok(()), "{sql}");
        assert_eq!(
            plan.transaction_mode(false).unwrap_err().reason,
            "pool-mode-temporary",
            "{sql}"
        );
    }
}
