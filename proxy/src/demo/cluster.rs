//! The demonstration's own PostgreSQL: made once, started on a free port, and never left running.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use super::binaries::Binaries;
use super::error::DemoError;
use super::place::{Place, write_file};

/// The superuser: the DBA of the tour.
pub const DBA: &str = "postgres";

/// A unix socket's path must fit `sockaddr_un`; beyond this PostgreSQL would not start.
const LONGEST_SOCKET_DIR: usize = 85;

/// A running server. Dropping it stops it.
pub struct Cluster {
    stop: Command,
    child: Child,
    /// Its port on 127.0.0.1.
    pub port: u16,
    password: String,
}

impl Cluster {
    /// Makes the data directory where there is none. Blocks for a few seconds.
    pub fn initialise(place: &Place, binaries: &Binaries, password: &str) -> Result<(), DemoError> {
        let data = place.path("pgdata");
        if data.join("PG_VERSION").is_file() {
            let made_by = fs::read_to_string(data.join("PG_VERSION")).map_err(DemoError::io("read", data.join("PG_VERSION")))?;
            if made_by.trim() != binaries.major.to_string() {
                return Err(DemoError::Program {
                    program: "postgres",
                    message: format!(
                        "{} was made by PostgreSQL {}, the one found is {}",
                        data.display(),
                        made_by.trim(),
                        binaries.major
                    ),
                });
            }
            return Ok(());
        }
        // Made under another name and renamed when whole, so that a killed initdb is simply done again.
        let fresh = place.path("pgdata.new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(DemoError::io("remove", &fresh))?;
        }
        place.database_dir("pgdata.new")?;
        let run = place.database_dir("run")?;
        let password_file = run.join("initdb.password");
        write_file(&password_file, 0o600, password.as_bytes())?;
        place.give(&password_file)?;
        let made = place
            .command(&binaries.program("initdb"))
            .arg("--pgdata")
            .arg(&fresh)
            .args([
                "--username",
                DBA,
                "--auth",
                "scram-sha-256",
                "--encoding",
                "UTF8",
                "--locale",
                "C.UTF-8",
            ])
            .args(["--no-instructions", "--no-sync"])
            .arg("--pwfile")
            .arg(&password_file)
            .output();
        let removed = fs::remove_file(&password_file);
        let made = made.map_err(DemoError::io("run", binaries.program("initdb")))?;
        removed.map_err(DemoError::io("remove", &password_file))?;
        if !made.status.success() {
            return Err(DemoError::Program {
                program: "initdb",
                message: last_line(&made.stderr),
            });
        }
        fs::rename(&fresh, &data).map_err(DemoError::io("rename", &fresh))
    }

    /// Starts the server and waits until it answers. `preferred` is the port that is taken if it is free.
    pub async fn start(place: &Place, binaries: &Binaries, password: &str, preferred: Option<u16>) -> Result<Self, DemoError> {
        stop_leftover(place, binaries)?;
        let mut last = None;
        // Between choosing a free port and using it somebody else may take it: choose again.
        for attempt in 0..3 {
            let port = free_port(preferred.filter(|_| attempt == 0))?;
            match Self::start_on(place, binaries, password, port).await {
                Ok(cluster) => return Ok(cluster),
                Err(e @ DemoError::NotStarted { .. }) => last = Some(e),
                Err(e) => return Err(e),
            }
        }
        Err(last.expect("three attempts, each of which failed"))
    }

    async fn start_on(place: &Place, binaries: &Binaries, password: &str, port: u16) -> Result<Self, DemoError> {
        let data = place.path("pgdata");
        let run = place.database_dir("run")?;
        let log = place.path("postgres.log");
        let sink = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(DemoError::io("open", &log))?;
        let errors = sink.try_clone().map_err(DemoError::io("open", &log))?;
        // Without room for a socket's path there is TCP alone, which is all the demonstration uses itself.
        let sockets = if run.as_os_str().len() <= LONGEST_SOCKET_DIR {
            run
        } else {
            PathBuf::new()
        };
        let child = place
            .tethered_command(&binaries.program("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-p")
            .arg(port.to_string())
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "logging_collector=off",
                "-c",
                "log_destination=stderr",
            ])
            .args(["-c", "password_encryption=scram-sha-256", "-c", "max_connections=200"])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", sockets.display()))
            .stdout(Stdio::from(sink))
            .stderr(Stdio::from(errors))
            .spawn()
            .map_err(DemoError::io("run", binaries.program("postgres")))?;
        let mut stop = place.command(&binaries.program("pg_ctl"));
        stop.args(["stop", "--silent", "--mode", "fast", "--wait", "--timeout", "60", "--pgdata"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut cluster = Self {
            stop,
            child,
            port,
            password: password.to_owned(),
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Ok(Some(_)) = cluster.child.try_wait() {
                let text = fs::read(&log).unwrap_or_default();
                return Err(DemoError::NotStarted {
                    message: last_line(&text),
                    log,
                });
            }
            match cluster.connect(DBA).await {
                Ok(_) => return Ok(cluster),
                // Somebody else's server took the port in between, and ours is about to say so; or ours has other secrets.
                Err(e) if e.as_db_error().is_some_and(|d| d.code().code().starts_with("28")) => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    if !matches!(cluster.child.try_wait(), Ok(Some(_))) {
                        return Err(DemoError::sql("logging in as the DBA")(e));
                    }
                }
                Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(e) => {
                    return Err(DemoError::NotStarted {
                        message: super::error::database(&e),
                        log,
                    });
                }
            }
        }
    }

    /// Connects as the DBA, straight to PostgreSQL.
    pub async fn connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::Config::new()
            .host("127.0.0.1")
            .port(self.port)
            .user(DBA)
            .password(&self.password)
            .dbname(database)
            .application_name("postern demo: DBA")
            .connect_timeout(Duration::from_secs(5))
            .connect(NoTls)
            .await?;
        // Owned by the client: the task ends when the client is dropped.
        tokio::spawn(connection);
        Ok(client)
    }

    /// The DBA's URL.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://{DBA}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }
}

impl Drop for Cluster {
    /// Fast shutdown: sessions are ended, a checkpoint is written. Blocks until the server is gone.
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        let stopped = self.stop.status().is_ok_and(|s| s.success());
        if !stopped {
            // Not yet listening, or pg_ctl is gone: the child is ours to end.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Stops a server that an earlier demonstration of this directory could not stop (it was killed). The lock says that none is alive.
fn stop_leftover(place: &Place, binaries: &Binaries) -> Result<(), DemoError> {
    let data = place.path("pgdata");
    if !data.join("postmaster.pid").exists() {
        return Ok(());
    }
    let running = place
        .command(&binaries.program("pg_ctl"))
        .arg("status")
        .arg("--pgdata")
        .arg(&data)
        .output()
        .map_err(DemoError::io("run", binaries.program("pg_ctl")))?;
    if !running.status.success() {
        // A stale pid file: PostgreSQL itself clears it at start.
        return Ok(());
    }
    let stopped = place
        .command(&binaries.program("pg_ctl"))
        .args(["stop", "--mode", "fast", "--wait", "--timeout", "60", "--pgdata"])
        .arg(&data)
        .output()
        .map_err(DemoError::io("run", binaries.program("pg_ctl")))?;
    if stopped.status.success() {
        return Ok(());
    }
    Err(DemoError::Program {
        program: "pg_ctl stop",
        message: last_line(&stopped.stderr),
    })
}

/// A free port of 127.0.0.1, the preferred one if it is free.
pub fn free_port(preferred: Option<u16>) -> Result<u16, DemoError> {
    if let Some(port) = preferred
        && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
    {
        return Ok(port);
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|l| l.local_addr())
        .map(|a| a.port())
        .map_err(DemoError::io("find a free port on", "127.0.0.1"))
}

fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.lines()
        .rfind(|l| !l.trim().is_empty())
        .unwrap_or("it said nothing")
        .trim()
        .to_owned()
}
