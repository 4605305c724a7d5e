//! Databases and rows: the declared tables behind the gate, and the same rows in the clear for the ways without one.
//!
//! Every value follows from its row's number, so that any answer can be checked. Each table also holds rows of another organisation, which
//! nobody who is asked for may see. Protected rows are written through the gate; that they are sealed is proven before anything is measured.

use postgres_protocol::password::scram_sha_256;

use crate::client::{Client, Target};
use crate::cluster::Cluster;
use crate::error::BenchError;
use crate::gate::{DOUBLE, Gates, Guest, Kind, REWRITING};
use crate::place::Place;
use crate::rows::Mode;
use crate::stop::Stop;

/// Rows of `accounts` and `cards` that are asked for: 1 to this.
pub const POINTS: u32 = 100_000;
/// Rows of a bulk result.
pub const BULK: u32 = 500_000;
/// Rows of another organisation, behind the others.
pub const FOREIGN: u32 = 1_000;
/// Rows of one INSERT through the gate.
const CHUNK: u32 = 1_000;

/// The clear copy.
pub const CLEAR: &str = "clear";
const CLEAR_USER: &str = "clear";

/// `abalance` of an account and `balance` of a card, `% MODULUS`.
pub const FACTOR: u32 = 37;
/// Prime, and over the number of rows.
pub const MODULUS: u32 = 100_003;
/// `card` of a card's row: the number times this.
pub const CARD: u64 = 7_919;

/// What `abalance` or `balance` must be.
pub fn balance(number: u32) -> u32 {
    u32::try_from(u64::from(number) * u64::from(FACTOR) % u64::from(MODULUS)).unwrap_or(0)
}

/// What a card's note must be.
pub fn note(number: u32) -> String {
    format!("note {number:08} on a card, of about sixty-four bytes, as notes often are")
}

/// What a bulk row's body must be.
pub fn body(number: u32) -> String {
    format!("row {number:08} of a long result, with a body of about one hundred bytes, which is what rows often have .....")
}

/// Makes everything; returns the way to the clear copy.
pub fn make(cluster: &Cluster, gates: &Gates<'_>, place: &Place, stop: &Stop) -> Result<Target, BenchError> {
    gates.secrets()?;
    let mut dba = cluster.dba("postgres")?;
    let (clear, control) = (place.secret("clear")?, place.secret("control")?);
    for sql in [
        format!(
            "CREATE ROLE {CLEAR_USER} LOGIN PASSWORD '{}'",
            scram_sha_256(clear.as_bytes())
        ),
        format!(
            "CREATE ROLE bench_control LOGIN SUPERUSER PASSWORD '{}'",
            scram_sha_256(control.as_bytes())
        ),
        format!("CREATE DATABASE {CLEAR} OWNER {CLEAR_USER}"),
        format!("CREATE DATABASE {REWRITING}"),
        format!("CREATE DATABASE {DOUBLE}"),
    ] {
        dba.query(&sql)?;
    }
    let direct = Target {
        port: cluster.port,
        user: CLEAR_USER.to_owned(),
        password: clear,
        database: CLEAR.to_owned(),
        options: None,
        tls: false,
    };
    in_the_clear(&mut cluster.dba(CLEAR)?)?;
    behind_the_gate(cluster, gates, stop)?;
    Ok(direct)
}

fn in_the_clear(dba: &mut Client) -> Result<(), BenchError> {
    dba.query(&format!(
        "CREATE SCHEMA bench AUTHORIZATION {CLEAR_USER};
         ALTER ROLE {CLEAR_USER} IN DATABASE {CLEAR} SET search_path = bench;
         SET ROLE {CLEAR_USER}; SET search_path = bench;
         CREATE TABLE accounts (aid int4 PRIMARY KEY, abalance int4 NOT NULL, filler text NOT NULL, org_id text NOT NULL);
         CREATE TABLE wide (id int4 PRIMARY KEY, body text NOT NULL, org_id text NOT NULL);
         CREATE TABLE cards (id int4 PRIMARY KEY, card int8 NOT NULL UNIQUE, balance int4 NOT NULL, note text NOT NULL, org_id text NOT NULL);
         CREATE TABLE vault (id int4 PRIMARY KEY, body text NOT NULL, org_id text NOT NULL);"
    ))?;
    for table in ["accounts", "wide", "cards", "vault"] {
        dba.query(&plain_rows(table, "bench"))?;
    }
    dba.query("VACUUM (ANALYZE)")?;
    Ok(())
}

/// Fills a table whose columns are all plain.
fn plain_rows(table: &str, schema: &str) -> String {
    let rows = match table {
        "accounts" | "cards" => POINTS,
        _ => BULK,
    };
    let cells = match table {
        "accounts" => format!("n, n::int8 * {FACTOR} % {MODULUS}, repeat('x', 84)"),
        "cards" => format!(
            "n, n::int8 * {CARD}, n::int8 * {FACTOR} % {MODULUS}, replace({}, '00000000', lpad(n::text, 8, '0'))",
            text(&note(0))
        ),
        _ => format!("n, replace({}, '00000000', lpad(n::text, 8, '0'))", text(&body(0))),
    };
    // Other organisations' rows are not among a bulk result's.
    format!(
        "INSERT INTO {schema}.{table} SELECT {cells}, CASE WHEN n <= {rows} THEN 'A' ELSE 'B' END FROM generate_series(1, {}) n",
        rows + FOREIGN
    )
}

fn behind_the_gate(cluster: &Cluster, gates: &Gates<'_>, stop: &Stop) -> Result<(), BenchError> {
    let double = Kind::both(Mode::Session);
    gates.provision(double)?;
    let mut dba = cluster.dba(DOUBLE)?;
    for table in ["accounts", "wide"] {
        dba.query(&plain_rows(table, "bench"))?;
    }
    dba.query("VACUUM (ANALYZE)")?;

    // Rows are written under `enforce = "both"`: rewriting alone refuses INSERT into declared tables, because it cannot check them.
    let writing = Kind {
        database: REWRITING,
        ..double
    };
    gates.provision(writing)?;
    let gate = gates.start("writing", writing, stop)?;
    let mut open = Client::open(&gates.through(&gate, Guest::Open)?)?;
    open.query(
        "CREATE TABLE accounts (aid int4 PRIMARY KEY, abalance int4 NOT NULL, filler text NOT NULL, org_id text NOT NULL)",
    )?;
    open.close();
    let mut service = Client::open(&gates.through(&gate, Guest::Service)?)?;
    for (table, columns, rows, cells) in [
        ("cards", "id, card, balance, note, org_id", POINTS, card as fn(u32) -> String),
        ("vault", "id, body, org_id", BULK, vault),
    ] {
        for first in (1..=rows + FOREIGN).step_by(CHUNK as usize) {
            stop.check()?;
            let numbers = first..(first + CHUNK).min(rows + FOREIGN + 1);
            let values: Vec<String> = numbers
                .map(|n| format!("({n}, {}, '{}')", cells(n), if n <= rows { 'A' } else { 'B' }))
                .collect();
            service.query(&format!("INSERT INTO {table} ({columns}) VALUES {}", values.join(", ")))?;
        }
    }
    service.close();
    drop(gate);
    gates.provision(Kind::rewriting(Mode::Session))?;
    let mut dba = cluster.dba(REWRITING)?;
    for (table, schema) in [("accounts", "bench"), ("accounts", "open"), ("wide", "bench")] {
        dba.query(&plain_rows(table, schema))?;
    }
    dba.query("VACUUM (ANALYZE)")?;
    sealed(&mut dba)
}

/// That "protected" is true: the columns hold bytes in which the value does not stand.
fn sealed(dba: &mut Client) -> Result<(), BenchError> {
    for sql in [
        "SELECT count(*) FROM bench.cards WHERE pg_typeof(note) <> 'bytea'::regtype OR position('note'::bytea in note) > 0",
        "SELECT count(*) FROM bench.vault WHERE pg_typeof(body) <> 'bytea'::regtype OR position('result'::bytea in body) > 0",
    ] {
        let found = dba.scalar(sql)?;
        if found != "0" {
            return Err(BenchError::Wrong {
                sql: sql.to_owned(),
                expected: "no value in the clear".to_owned(),
                found,
            });
        }
    }
    Ok(())
}

fn card(number: u32) -> String {
    format!("{}, {}, {}", u64::from(number) * CARD, balance(number), text(&note(number)))
}

fn vault(number: u32) -> String {
    text(&body(number))
}

fn text(s: &str) -> String {
    format!("'{}'", s.replace('\'', "''"))
}
