//! The PostgreSQL of a run: made by initdb in the run's directory, quiet of its own accord, gone with the run.
//!
//! Commits do not wait for the disk and nothing is vacuumed behind our back: what is measured is what a way costs, not what a disk does.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child::{Server, quiet};
use crate::client::{Client, Target};
use crate::error::BenchError;
use crate::place::{self, Place};
use crate::stop::Stop;

/// The superuser.
pub const DBA: &str = "postgres";
const START_LIMIT: Duration = Duration::from_secs(60);

/// The running server.
pub struct Cluster {
    server: Server,
    /// On 127.0.0.1.
    pub port: u16,
    /// As it says itself.
    pub version: String,
    password: String,
}

/// PostgreSQL's programs: the newest of Debian's, else PATH's.
pub fn programs() -> Result<PathBuf, BenchError> {
    let debian = "/usr/lib/postgresql";
    let versions = fs::read_dir(debian).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|e| Some((e.file_name().to_str()?.parse::<u32>().ok()?, e.path().join("bin"))))
        .filter(|(_, bin)| bin.join("pgbench").is_file() && bin.join("postgres").is_file())
        .max();
    if let Some((_, bin)) = newest {
        return Ok(bin);
    }
    place::on_path("pgbench")
        .and_then(|p| Some(p.parent()?.to_owned()))
        .filter(|bin| bin.join("postgres").is_file())
        .ok_or_else(|| BenchError::io("find", "pgbench and postgres")(std::io::ErrorKind::NotFound.into()))
}

impl Cluster {
    /// Makes and starts one. Must be called on the main thread.
    pub fn start(place: &Place, programs: &Path, stop: &Stop) -> Result<Self, BenchError> {
        let data = place.path("pgdata");
        let password = place.secret("dba")?;
        if data.exists() {
            // Left by a run that kept its directory: rows of another version may be in it.
            fs::remove_dir_all(&data).map_err(BenchError::io("remove", &data))?;
        }
        fs::create_dir_all(&data).map_err(BenchError::io("create", &data))?;
        let password_file = place.path("initdb.password");
        place::write(&password_file, password.as_bytes())?;
        if let Some(a) = place.account {
            for path in [&data, &password_file] {
                chown(path, Some(a.uid), Some(a.gid)).map_err(BenchError::io("give away", path))?;
            }
        }
        let mut initdb = Command::new(programs.join("initdb"));
        quiet(&mut initdb, place.account);
        let made = initdb
            .current_dir(&place.dir)
            .arg("--pgdata")
            .arg(&data)
            .arg("--pwfile")
            .arg(&password_file)
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
            .output()
            .map_err(BenchError::io("run", programs.join("initdb")))?;
        let removed = fs::remove_file(&password_file);
        if !made.status.success() {
            return Err(BenchError::Ended {
                program: "initdb".to_owned(),
                message: String::from_utf8_lossy(&made.stderr).trim().to_owned(),
            });
        }
        removed.map_err(BenchError::io("remove", &password_file))?;

        let port = place::free_port()?;
        let (port_text, data_text) = (port.to_string(), data.to_string_lossy().into_owned());
        let mut args = vec!["-D", &data_text, "-p", &port_text];
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "logging_collector=off",
            "log_checkpoints=off",
            // 500 idle clients in session mode, and everybody else.
            "max_connections=700",
            "shared_buffers=1GB",
            "max_wal_size=8GB",
            "checkpoint_timeout=1d",
            "fsync=off",
            "synchronous_commit=off",
            "autovacuum=off",
            "jit=off",
            "max_parallel_workers_per_gather=0",
            "password_encryption=scram-sha-256",
        ] {
            args.extend(["-c", setting]);
        }
        let log = place.path("postgres.log");
        let binary = programs.join("postgres");
        let mut server = Server::start("postgres", &binary, &args, &log, place.account)?.stopped_by("INT");
        let target = dba(port, &password, DBA);
        server.ready(START_LIMIT, stop, || Client::open(&target).map(Client::close).ok())?;
        let version = Client::open(&target)?.scalar("SHOW server_version")?;
        Ok(Self {
            server,
            port,
            version,
            password,
        })
    }

    /// Its first process.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The superuser's way into a database.
    pub fn dba(&self, database: &str) -> Result<Client, BenchError> {
        Client::open(&dba(self.port, &self.password, database))
    }
}

fn dba(port: u16, password: &str, database: &str) -> Target {
    Target {
        port,
        user: DBA.to_owned(),
        password: password.to_owned(),
        database: database.to_owned(),
        options: None,
        tls: false,
    }
}
