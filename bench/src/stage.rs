//! The rows: a table in `lab`, an unprotected copy of what the protected workloads touch, and the proof that one is protected and the
//! other is not.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use tokio_postgres::Config;

use crate::error::BenchError;
use crate::stand::Stand;
use crate::way::{Connection, Door, Way};
use crate::workload::{Name, Subject, Workload, mixed};

/// Database, and the login that owns nothing else.
const COPY: &str = "postern_bench";
const PLAIN_ROWS: usize = 2_000;

/// As the manifest declares them, without protection.
const COPIED_TABLES: &str = "
CREATE SCHEMA lab;
CREATE TABLE lab.bench_rows (id text PRIMARY KEY, body text NOT NULL, note text);
CREATE SCHEMA sys_account;
CREATE TABLE sys_account.roles (id text PRIMARY KEY, account_id text NOT NULL, role int4 NOT NULL, project_id text, org_id text,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE sys_account.accounts (id text PRIMARY KEY, email text NOT NULL UNIQUE, password text,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), last_login timestamptz,
  disabled bool NOT NULL DEFAULT false, verified bool NOT NULL DEFAULT false, verification_token text, avatar_resource_id text);
CREATE TABLE sys_account.login_attempts (origin_ip text PRIMARY KEY, account_email text, total_attempts int4 NOT NULL DEFAULT 0,
  ban_period timestamptz);
GRANT USAGE ON SCHEMA lab, sys_account TO postern_bench;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA lab, sys_account TO postern_bench;";

/// The prepared rows.
pub struct Stage {
    /// How to get to the copy as an ordinary login.
    pub direct: Config,
    /// All workloads.
    pub workloads: Vec<Workload>,
    /// PostgreSQL's version.
    pub server: String,
    protected: Connection,
    copy: Connection,
}

impl Stage {
    /// Makes the copy from what the gate shows. Everything of an earlier run is replaced.
    pub async fn set(stand: &Stand) -> Result<Self, BenchError> {
        let dba = stand.dba()?;
        let protected = Connection::open(&dba).await?;
        let password = random_hex()?;
        let direct = make_copy(&protected, &dba, &password).await?;
        let mut into_copy = dba.clone();
        into_copy.dbname(COPY);
        let copy = Connection::open(&into_copy).await?;
        run(&copy, COPIED_TABLES, "making the copy's tables").await?;

        let plain = plain_rows(stand, &copy).await?;
        let (roles, hidden) = roles(stand, &copy).await?;
        let (accounts, emails) = accounts(stand, &copy).await?;
        let attempts = login_attempts(stand, &copy, &emails).await?;
        let fresh = emails
            .iter()
            .enumerate()
            .map(|(n, email)| Subject {
                key: format!("203.0.113.{n}"),
                value: email.clone(),
            })
            .collect();

        let server: String = scalar(&protected, "SHOW server_version").await?;
        for connection in [&protected, &copy] {
            run(connection, "ANALYZE", "analysing the tables").await?;
        }
        let workload = |name, subjects, hidden| Workload {
            name,
            subjects: mixed(subjects),
            hidden,
        };
        let workloads = vec![
            workload(Name::PlainRead, plain.clone(), None),
            workload(Name::FilteredRead, roles, hidden),
            workload(Name::EncryptedRead, accounts, None),
            workload(Name::PlainUpdate, plain, None),
            workload(Name::EncryptedUpdate, attempts, None),
            workload(Name::EncryptedInsert, fresh, None),
        ];
        Ok(Self {
            direct,
            workloads,
            server,
            protected,
            copy,
        })
    }

    /// That "encrypted" is true: the columns hold bytes, not text.
    pub async fn prove_sealed(&self) -> Result<(), BenchError> {
        for sql in [
            "SELECT pg_typeof(email)::text FROM sys_account.accounts LIMIT 1",
            "SELECT pg_typeof(account_email)::text FROM sys_account.login_attempts LIMIT 1",
        ] {
            expect(sql, "bytea", &scalar(&self.protected, sql).await?)?;
            expect(sql, "text", &scalar(&self.copy, sql).await?)?;
        }
        Ok(())
    }

    /// Undoes a slice's inserts and clears away dead rows, so that no way runs on another's leftovers.
    pub async fn tidy(&self, name: Name, way: Way) -> Result<(), BenchError> {
        let connection = match way {
            Way::Direct | Way::PgBouncer => &self.copy,
            Way::Postern => &self.protected,
        };
        for sql in name.tidy() {
            run(connection, sql, "tidying up").await?;
        }
        Ok(())
    }

    /// PostgreSQL's processes at this moment, without those that serve this.
    pub async fn server_processes(&self) -> Result<Vec<u32>, BenchError> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()";
        let rows = self
            .protected
            .client
            .query(sql, &[])
            .await
            .map_err(BenchError::sql("listing the server's processes"))?;
        Ok(rows.iter().filter_map(|r| u32::try_from(r.get::<_, i32>(0)).ok()).collect())
    }

    /// Ends the connections.
    pub async fn close(self) {
        self.protected.close().await;
        self.copy.close().await;
    }
}

/// The login, the empty database, and a server that does nothing of its own accord during a slice.
async fn make_copy(dba: &Connection, config: &Config, password: &str) -> Result<Config, BenchError> {
    let doing = "making the unprotected copy";
    let exists = dba
        .client
        .query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&COPY])
        .await
        .map_err(BenchError::sql(doing))?;
    let verb = if exists.is_some() { "ALTER" } else { "CREATE" };
    for sql in [
        format!("{verb} ROLE {COPY} LOGIN PASSWORD '{password}'"),
        format!("DROP DATABASE IF EXISTS {COPY} WITH (FORCE)"),
        format!("CREATE DATABASE {COPY}"),
        // A write should show what the way costs and not how long the disk takes; tables are vacuumed between slices.
        "ALTER SYSTEM SET synchronous_commit = off".to_owned(),
        "ALTER SYSTEM SET autovacuum = off".to_owned(),
        "SELECT pg_reload_conf()".to_owned(),
    ] {
        run(dba, &sql, doing).await?;
    }
    let mut direct = Config::new();
    direct
        .host("127.0.0.1")
        .port(config.get_ports().first().copied().unwrap_or(5432))
        .user(COPY)
        .password(password)
        .dbname(COPY)
        .connect_timeout(Duration::from_secs(10));
    Ok(direct)
}

/// The same rows in `lab`, through the gate, and in the copy.
async fn plain_rows(stand: &Stand, copy: &Connection) -> Result<Vec<Subject>, BenchError> {
    let rows: Vec<Subject> = (0..PLAIN_ROWS)
        .map(|n| Subject {
            key: format!("row-{n:05}"),
            value: format!("{n:08x} A line of text of about sixty-four bytes, as rows often are"),
        })
        .collect();
    let lab = Connection::open(&stand.through("lab", "url")?).await?;
    for sql in [
        "DROP TABLE IF EXISTS lab.bench_rows",
        "CREATE TABLE lab.bench_rows (id text PRIMARY KEY, body text NOT NULL, note text)",
    ] {
        run(&lab, sql, "making a table in lab").await?;
    }
    for some in rows.chunks(200) {
        let values: Vec<String> = some.iter().map(|s| format!("('{}', '{}')", s.key, s.value)).collect();
        let sql = format!("INSERT INTO lab.bench_rows (id, body) VALUES {}", values.join(", "));
        run(&lab, &sql, "filling lab.bench_rows").await?;
        run(copy, &sql, "filling the copy of lab.bench_rows").await?;
    }
    lab.close().await;
    Ok(rows)
}

/// Roles: the copy has all, an organisation's admin sees some.
async fn roles(stand: &Stand, copy: &Connection) -> Result<(Vec<Subject>, Option<String>), BenchError> {
    let sql = "SELECT id, account_id, role::text, project_id, org_id FROM sys_account.roles";
    let all = read(stand, Name::EncryptedRead.door(), sql).await?;
    let seen = read(stand, Name::FilteredRead.door(), sql).await?;
    fill(
        copy,
        "sys_account.roles (id, account_id, role, project_id, org_id)",
        "$1, $2, $3::text::int4, $4, $5",
        &all,
    )
    .await?;
    let subjects = subjects(&seen);
    let visible: HashSet<&str> = subjects.iter().map(|s| s.key.as_str()).collect();
    let hidden = all
        .iter()
        .filter_map(|r| r.first()?.clone())
        .find(|id| !visible.contains(id.as_str()));
    Ok((subjects, hidden))
}

/// Accounts, found by their e-mail; and the addresses.
async fn accounts(stand: &Stand, copy: &Connection) -> Result<(Vec<Subject>, Vec<String>), BenchError> {
    let sql = "SELECT id, email FROM sys_account.accounts";
    let all = read(stand, Name::EncryptedRead.door(), sql).await?;
    fill(copy, "sys_account.accounts (id, email)", "$1, $2", &all).await?;
    let emails: Vec<String> = all.iter().filter_map(|r| r.get(1)?.clone()).collect();
    let by_email = emails
        .iter()
        .map(|email| Subject {
            key: email.clone(),
            value: email.clone(),
        })
        .collect();
    Ok((by_email, emails))
}

/// Failed logins, each to get another address.
async fn login_attempts(stand: &Stand, copy: &Connection, emails: &[String]) -> Result<Vec<Subject>, BenchError> {
    let sql = "SELECT origin_ip, account_email, total_attempts::text FROM sys_account.login_attempts";
    let all = read(stand, Name::EncryptedUpdate.door(), sql).await?;
    let columns = "sys_account.login_attempts (origin_ip, account_email, total_attempts)";
    fill(copy, columns, "$1, $2, $3::text::int4", &all).await?;
    let attempts = subjects(&all).into_iter().zip(emails.iter().cycle());
    Ok(attempts
        .map(|(s, email)| Subject {
            key: s.key,
            value: email.clone(),
        })
        .collect())
}

type Cells = Vec<Option<String>>;

async fn read(stand: &Stand, door: Door, sql: &str) -> Result<Vec<Cells>, BenchError> {
    let mut config = stand.through(door.module, door.login)?;
    if let Some(person) = door.person {
        config.options(format!("-c postern.token={}", stand.token(door.module, person)?));
    }
    let connection = Connection::open(&config).await?;
    let rows = connection
        .client
        .query(sql, &[])
        .await
        .map_err(BenchError::sql(format!("`{sql}` through the gate")))?;
    let cells = rows.iter().map(|r| (0..r.len()).map(|n| r.get(n)).collect()).collect();
    connection.close().await;
    Ok(cells)
}

async fn fill(copy: &Connection, into: &str, values: &str, rows: &[Cells]) -> Result<(), BenchError> {
    let failed = || BenchError::sql(format!("filling the copy of {into}"));
    let insert = copy
        .client
        .prepare(&format!("INSERT INTO {into} VALUES ({values})"))
        .await
        .map_err(failed())?;
    run(copy, "BEGIN", "filling the copy").await?;
    for row in rows {
        copy.client.execute_raw(&insert, row).await.map_err(failed())?;
    }
    run(copy, "COMMIT", "filling the copy").await
}

/// First and second column.
fn subjects(rows: &[Cells]) -> Vec<Subject> {
    rows.iter()
        .filter_map(|r| {
            Some(Subject {
                key: r.first()?.clone()?,
                value: r.get(1)?.clone()?,
            })
        })
        .collect()
}

async fn run(connection: &Connection, sql: &str, doing: &str) -> Result<(), BenchError> {
    connection.client.batch_execute(sql).await.map_err(BenchError::sql(doing))
}

async fn scalar(connection: &Connection, sql: &'static str) -> Result<String, BenchError> {
    let row = connection
        .client
        .query_one(sql, &[])
        .await
        .map_err(BenchError::sql(format!("`{sql}`")))?;
    Ok(row.get(0))
}

fn expect(sql: &'static str, expected: &str, found: &str) -> Result<(), BenchError> {
    if expected == found {
        return Ok(());
    }
    Err(BenchError::Wrong {
        sql,
        expected: expected.to_owned(),
        found: found.to_owned(),
    })
}

/// A password for one run.
fn random_hex() -> Result<String, BenchError> {
    let source = "/dev/urandom";
    let mut bytes = [0_u8; 16];
    File::open(source)
        .and_then(|mut f| f.read_exact(&mut bytes))
        .map_err(BenchError::io("read", source))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
