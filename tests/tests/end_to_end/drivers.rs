//! Real clients before the proxy: `psql`, psycopg 3 (libpq), asyncpg, pg8000, tokio-postgres, node's `pg`, JDBC.
//!
//! The scripts are in `drivers/`; each checks every protected type in text and binary, by the simple, extended and prepared way,
//! pipelines, transactions, errors with SQLSTATE and HINT, NULL and `''`, cancelling and large results. All of it once with a server
//! connection for each client and once in transaction mode, where clients share two; there LISTEN is refused with a HINT.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use postern_tests::product::{postern, workspace};
use postern_tests::proxy::Proxy;
use postern_tests::stand::Stand;
use postern_tests::target::Target;

fn script(name: &str) -> PathBuf {
    workspace().join("tests/drivers").join(name)
}

const LOGIN: &str = "alltypes.service";

/// How long a client has its server connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Session,
    Transaction,
}

impl Mode {
    fn target(self, stand: &Stand) -> Target {
        static POOLED: OnceLock<Proxy> = OnceLock::new();
        let start = || Proxy::start(stand, "drivers", "[pool]\npool_mode = 'transaction'\nsize = 2\n");
        match self {
            Self::Session => stand.through_gate(LOGIN, None),
            Self::Transaction => POOLED.get_or_init(start).login(stand, LOGIN, None),
        }
    }

    /// The first of the rows that a test may write.
    fn first(self, base: i32) -> i32 {
        match self {
            Self::Session => base,
            // Not 5,000: node's pg reads binary integers as if they were UTF-8.
            Self::Transaction => base + 4_096,
        }
    }

    /// As the scripts are told of it, first row and mode.
    fn arguments(self, base: i32) -> [String; 2] {
        let word = match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
        };
        [self.first(base).to_string(), word.to_owned()]
    }
}

/// A test for each driver in each mode.
macro_rules! in_both_modes {
    ($($driver:ident)*) => {
        mod session_mode {
            $(#[test] fn $driver() { super::$driver(super::Mode::Session); })*
        }
        mod transaction_mode {
            $(#[test] fn $driver() { super::$driver(super::Mode::Transaction); })*
        }
    };
}

in_both_modes! { asyncpg pg8000 psycopg node jdbc psql tokio_postgres }

#[track_caller]
fn succeeds(name: &str, command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{name} cannot be started ({command:?}): {e}; run `make setup`"));
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{name}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// A place for what a test installs: beside the binaries, so that it is kept between runs and removed with them.
fn workshop(name: &str) -> PathBuf {
    let target = postern()
        .parent()
        .and_then(Path::parent)
        .expect("binaries lie in target/PROFILE");
    let dir = target.join("test-drivers").join(name);
    std::fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    dir
}

/// Debian's Python with its psycopg, or else a virtual environment of our own with the one from PyPI.
fn python() -> PathBuf {
    let works = |python: &Path| {
        let probe = Command::new(python)
            .args(["-c", "import psycopg; assert psycopg.Pipeline.is_supported()"])
            .output();
        probe.is_ok_and(|o| o.status.success())
    };
    let own = workshop("python");
    for python in [PathBuf::from("/usr/bin/python3"), own.join("bin/python")] {
        if works(&python) {
            return python;
        }
    }
    succeeds("python3 -m venv", Command::new("python3").args(["-m", "venv"]).arg(&own));
    succeeds(
        "pip",
        Command::new(own.join("bin/python")).args(["-m", "pip", "install", "--quiet", "psycopg[binary]==3.2.*"]),
    );
    own.join("bin/python")
}

/// Debian's node-pg, or else the one from npm.
fn node_pg() -> PathBuf {
    let own = workshop("node");
    for place in [PathBuf::from("/usr/share/nodejs/pg"), own.join("node_modules/pg")] {
        if place.join("package.json").exists() {
            return place;
        }
    }
    succeeds(
        "npm install pg",
        Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(&own)
            .arg("pg@8"),
    );
    own.join("node_modules/pg")
}

/// A virtual environment of our own with the drivers that are pinned here: PyPI's wheels are the same on every machine.
fn more_python() -> PathBuf {
    const PINNED: [&str; 2] = ["asyncpg==0.30.0", "pg8000==1.31.2"];
    // One test makes it, the other waits.
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let own = workshop("more-python");
        let python = own.join("bin/python");
        let there = Command::new(&python).args(["-c", "import asyncpg, pg8000"]).output();
        if !there.is_ok_and(|o| o.status.success()) {
            succeeds("python3 -m venv", Command::new("python3").args(["-m", "venv"]).arg(&own));
            succeeds(
                "pip",
                Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PINNED),
            );
        }
        python
    };
    PYTHON.get_or_init(make).clone()
}

fn asyncpg(mode: Mode) {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let url = mode.target(stand).url();
    succeeds(
        "asyncpg",
        Command::new(more_python())
            .arg(script("asyncpg_check.py"))
            .arg(url)
            .args(mode.arguments(60_000)),
    );
}

fn pg8000(mode: Mode) {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let t = mode.target(stand);
    let port = t.port.to_string();
    succeeds(
        "pg8000",
        Command::new(more_python())
            .arg(script("pg8000_check.py"))
            .args([&t.host, &port, &t.database, &t.user, &t.password])
            .args(mode.arguments(70_000)),
    );
}

fn psycopg(mode: Mode) {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let url = mode.target(stand).url();
    succeeds(
        "psycopg",
        Command::new(python())
            .arg(script("psycopg_check.py"))
            .arg(url)
            .args(mode.arguments(10_000)),
    );
}

fn node(mode: Mode) {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let url = mode.target(stand).url();
    succeeds(
        "node's pg",
        Command::new("node")
            .arg(script("node_pg.mjs"))
            .arg(node_pg())
            .arg(url)
            .args(mode.arguments(20_000)),
    );
}

fn jdbc(mode: Mode) {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let t = mode.target(stand);
    let port = t.port.to_string();
    succeeds(
        "JDBC",
        Command::new("java")
            .args(["-cp", "/usr/share/java/postgresql.jar"])
            .arg(script("Jdbc.java"))
            .args([&t.host, &port, &t.database, &t.user, &t.password])
            .args(mode.arguments(30_000)),
    );
}

fn psql(mode: Mode) {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut command = Command::new("psql");
    let first = format!("first={}", mode.first(40_000));
    command
        .args(["--no-psqlrc", "--quiet", "--set", &first, "--file"])
        .arg(script("psql.sql"));
    for (name, value) in mode.target(stand).environment() {
        command.env(name, value);
    }
    let output = command.output().expect("psql can be started");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let expected = "== write\n\
        == read\n\
        text of psql|4|8|0.5|f|2026-11-23|2026-11-23 01:02:03+00|1.5000|a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|\\x00ff|{\"k\": 1}|vc|opaque|plain\n\
        == variable\ntext of psql\n\
        == search\n1\n\
        == prepared\nplain\n\
        == errors\n42P01\n42501\n22012\n\
        == transaction\n(null)\ntext of psql\n\
        == cursor\ntext of psql\n5050\n\
        == end\n1\n\
        == listen\n";
    let listened = match mode {
        Mode::Session => "00000\n",
        Mode::Transaction => "0A000\n",
    };
    let expected = format!("{expected}{listened}");
    assert_eq!(out, expected, "psql complained:\n{err}");
    assert!(err.contains("HINT:"), "no hint was shown:\n{err}");
}

/// What `\d` asks.
#[test]
fn psql_describes_a_protected_table_in_plain_types() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut command = Command::new("psql");
    command.args([
        "--no-psqlrc",
        "--quiet",
        "--no-align",
        "--tuples-only",
        "--command",
        "\\d things",
    ]);
    for (name, value) in Mode::Session.target(stand).environment() {
        command.env(name, value);
    }
    let output = command.output().expect("psql can be started");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success() && err.is_empty(), "{out}\n{err}");
    for line in [
        "v_text|text|",
        "v_timestamptz|timestamp with time zone|",
        "v_numeric|numeric(14,4)|",
        "v_varchar|character varying(20)|",
    ] {
        assert!(out.contains(line), "`{line}` is not in\n{out}");
    }
    assert!(!out.contains("postern$") && !out.contains("v_text|bytea"), "{out}");
}

/// tokio-postgres sends and reads binary only; it pipelines whatever is polled together.
fn tokio_postgres(mode: Mode) {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(all_of_tokio_postgres(&mode.target(stand).url(), mode));
}

async fn all_of_tokio_postgres(url: &str, mode: Mode) {
    let (mut client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("connects");
    let driver = tokio::spawn(connection);
    let first = mode.first(50_000);
    let moment = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_437_296_789_012);
    let (text, bytes) = ("Zoë's “text” \\ with\nlines", vec![0_u8, 1, 2, 253, 254, 255]);
    let insert = client
        .prepare("INSERT INTO things (id, v_text, v_int4, v_int8, v_float8, v_bool, v_timestamptz, v_bytea, v_varchar, secret) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
        .await
        .expect("prepares");
    let types: Vec<u32> = insert.params().iter().map(tokio_postgres::types::Type::oid).collect();
    assert_eq!(types, [23, 25, 23, 20, 701, 16, 1184, 17, 1043, 25]);
    let rows = client
        .execute(
            &insert,
            &[
                &first,
                &text,
                &i32::MIN,
                &i64::MAX,
                &0.1_f64,
                &true,
                &moment,
                &bytes,
                &"short",
                &"opaque",
            ],
        )
        .await
        .expect("inserts");
    assert_eq!(rows, 1);
    let row = client
        .query_one("SELECT v_text, v_int4, v_int8, v_float8, v_bool, v_timestamptz, v_bytea, v_varchar, secret, note FROM things WHERE id = $1", &[&first])
        .await
        .expect("selects");
    assert_eq!(row.get::<_, &str>(0), text);
    assert_eq!((row.get::<_, i32>(1), row.get::<_, i64>(2)), (i32::MIN, i64::MAX));
    assert!((row.get::<_, f64>(3) - 0.1).abs() < f64::EPSILON && row.get::<_, bool>(4));
    assert_eq!(row.get::<_, SystemTime>(5), moment);
    assert_eq!(row.get::<_, &[u8]>(6), bytes);
    assert_eq!(
        (row.get::<_, &str>(7), row.get::<_, &str>(8), row.get::<_, Option<&str>>(9)),
        ("short", "opaque", None)
    );

    // Searches, and the array of = ANY.
    for found in [
        client
            .query("SELECT id FROM things WHERE v_text = $1 AND id = $2", &[&text, &first])
            .await,
        client
            .query("SELECT id FROM things WHERE v_int8 = $1 AND id = $2", &[&i64::MAX, &first])
            .await,
        client
            .query(
                "SELECT id FROM things WHERE v_timestamptz = $1 AND id = $2",
                &[&moment, &first],
            )
            .await,
        client
            .query("SELECT id FROM things WHERE v_bytea = $1 AND id = $2", &[&bytes, &first])
            .await,
        client
            .query(
                "SELECT id FROM things WHERE v_int4 = ANY ($1) AND id = $2",
                &[&vec![1, i32::MIN], &first],
            )
            .await,
        client
            .query(
                "SELECT id FROM things WHERE v_text = ANY ($1) AND id = $2",
                &[&vec![Some("x"), None, Some(text)], &first],
            )
            .await,
    ] {
        assert_eq!(
            found
                .expect("a search")
                .iter()
                .map(|r| r.get::<_, i32>(0))
                .collect::<Vec<_>>(),
            [first]
        );
    }

    // NULL and '' and a pipeline of inserts.
    let insert = client
        .prepare("INSERT INTO things (id, v_text) VALUES ($1, $2)")
        .await
        .expect("prepares");
    let (empty, null) = (Some(""), None::<&str>);
    let (ids, values) = ([first + 1, first + 2, first + 3], [empty, null, Some("third")]);
    let (a, b, c) = tokio::join!(
        async { client.execute(&insert, &[&ids[0], &values[0]]).await },
        async { client.execute(&insert, &[&ids[1], &values[1]]).await },
        async { client.execute(&insert, &[&ids[2], &values[2]]).await },
    );
    assert_eq!((a.ok(), b.ok(), c.ok()), (Some(1), Some(1), Some(1)));
    let read = client
        .query(
            "SELECT v_text FROM things WHERE id > $1 AND id < $2 ORDER BY id",
            &[&first, &(first + 4)],
        )
        .await
        .expect("selects");
    assert_eq!(
        read.iter().map(|r| r.get::<_, Option<String>>(0)).collect::<Vec<_>>(),
        [Some(String::new()), None, Some("third".to_owned())]
    );

    // Errors in the midst of a pipeline.
    let (good, refused, divided, after) = tokio::join!(
        async { client.query_one("SELECT 1", &[]).await },
        async { client.query("SELECT * FROM sys_account.accounts", &[]).await },
        async { client.query("SELECT 1 / $1::int", &[&0_i32]).await },
        async { client.query_one("SELECT v_text FROM things WHERE id = $1", &[&first]).await },
    );
    let state = |e: tokio_postgres::Error| e.code().map(|c| c.code().to_owned());
    assert_eq!(good.expect("the first").get::<_, i32>(0), 1);
    assert_eq!(state(refused.expect_err("refused")).as_deref(), Some("42P01"));
    assert_eq!(state(divided.expect_err("fails")).as_deref(), Some("22012"));
    assert_eq!(after.expect("the last").get::<_, &str>(0), text);
    let hint = client.query("SELECT pg_read_file('x')", &[]).await.expect_err("refused");
    assert!(
        hint.as_db_error().and_then(|e| e.hint()).is_some_and(|h| !h.is_empty()),
        "{hint:?}"
    );

    // Transactions and savepoints.
    let mut transaction = client.transaction().await.expect("begins");
    transaction
        .execute("UPDATE things SET v_text = 'changed' WHERE id = $1", &[&first])
        .await
        .expect("updates");
    let inner = transaction.transaction().await.expect("a savepoint");
    inner.query("SELECT 1 / 0", &[]).await.expect_err("fails");
    inner.rollback().await.expect("rolls back");
    let changed = transaction
        .query_one("SELECT v_text FROM things WHERE id = $1", &[&first])
        .await
        .expect("selects");
    assert_eq!(changed.get::<_, &str>(0), "changed");
    transaction.rollback().await.expect("rolls back");

    // Portals read in pieces, and a large result.
    let transaction = client.transaction().await.expect("begins");
    let portal = transaction
        .bind(
            "SELECT v_text, n FROM things, generate_series(1, 1000) AS g(n) WHERE id = $1",
            &[&first],
        )
        .await
        .expect("binds");
    let mut seen = 0;
    loop {
        let rows = transaction.query_portal(&portal, 64).await.expect("rows");
        if rows.is_empty() {
            break;
        }
        assert!(rows.iter().all(|r| r.get::<_, &str>(0) == text));
        seen += rows.len();
    }
    assert_eq!(seen, 1000);
    transaction.commit().await.expect("commits");
    let big = client
        .query("SELECT n, repeat('x', 200) FROM generate_series(1, 50000) AS g(n)", &[])
        .await
        .expect("a large result");
    assert_eq!(big.len(), 50_000);

    // Simple protocol, and cancelling.
    let simple = client
        .simple_query(&format!("SELECT 1; SELECT v_varchar FROM things WHERE id = {first}"))
        .await
        .expect("a batch");
    assert!(
        simple
            .iter()
            .any(|m| matches!(m, tokio_postgres::SimpleQueryMessage::Row(r) if r.get(0) == Some("short")))
    );
    let cancel = client.cancel_token();
    let (slow, ()) = tokio::join!(
        client.query("SELECT count(*) FROM generate_series(1, 100000000) a", &[]),
        async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            cancel
                .cancel_query(tokio_postgres::NoTls)
                .await
                .expect("a cancel request is sent");
        }
    );
    assert_eq!(state(slow.expect_err("cancelled")).as_deref(), Some("57014"));
    match (mode, client.batch_execute("LISTEN jobs").await) {
        (Mode::Session, listened) => listened.expect("LISTEN"),
        (Mode::Transaction, refused) => {
            let refused = refused.expect_err("refused");
            let refused = refused.as_db_error().expect("an answer");
            assert_eq!(refused.code().code(), "0A000");
            assert!(refused.hint().is_some_and(|h| h.contains("pool_mode")), "{refused:?}");
        }
    }
    let deleted = client
        .execute("DELETE FROM things WHERE id >= $1 AND id < $2", &[&first, &(first + 10)])
        .await
        .expect("deletes");
    assert_eq!(deleted, 4);
    drop(client);
    let _ = driver.await;
}
