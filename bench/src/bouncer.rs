//! Debian's PgBouncer before the run's PostgreSQL, in session or in transaction mode: what a hop costs that looks at nothing.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child::Server;
use crate::client::{Client, Target};
use crate::error::BenchError;
use crate::place::{self, Place};
use crate::rows::Mode;
use crate::stop::Stop;

const START_LIMIT: Duration = Duration::from_secs(15);

/// Where it is installed, if it is.
pub fn find() -> Option<PathBuf> {
    place::on_path("pgbouncer")
}

/// A running PgBouncer.
pub struct Bouncer {
    server: Server,
    /// The way through it.
    pub target: Target,
}

impl Bouncer {
    /// Starts it before the server that `direct` leads to. It refuses to run as root and then runs as the database's user. It is given
    /// PostgreSQL's own SCRAM verifier of the login: from a password it would derive the keys anew for each client.
    pub fn start(
        binary: &Path,
        place: &Place,
        direct: &Target,
        verifier: &str,
        mode: Mode,
        stop: &Stop,
    ) -> Result<Self, BenchError> {
        let name = format!("pgbouncer-{mode}");
        let port = place::free_port()?;
        let files = ["ini", "users", "crt", "key"].map(|end| place.path(&format!("{name}.{end}")));
        let [settings, users, certificate, key] = &files;
        let ini = format!(
            "[databases]
* = host=127.0.0.1 port={behind}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = {mode}
auth_type = scram-sha-256
auth_file = {users}
client_tls_sslmode = allow
client_tls_cert_file = {certificate}
client_tls_key_file = {key}
max_client_conn = 1000
default_pool_size = 80
log_connections = 0
log_disconnections = 0
",
            behind = direct.port,
            users = users.display(),
            certificate = certificate.display(),
            key = key.display(),
        );
        place::write(settings, ini.as_bytes())?;
        place::write(users, format!("\"{}\" \"{verifier}\"\n", direct.user).as_bytes())?;
        for (copy, of) in [(certificate, "keys/server.crt"), (key, "keys/server.key")] {
            let of = place.path(of);
            place::write(copy, &std::fs::read(&of).map_err(BenchError::io("read", &of))?)?;
        }
        if let Some(a) = place.account {
            for file in &files {
                chown(file, Some(a.uid), Some(a.gid)).map_err(BenchError::io("give away", file))?;
            }
        }
        let log = place.path(&format!("{name}.log"));
        let settings = settings.to_string_lossy();
        let mut server = Server::start("pgbouncer", binary, &[&settings], &log, place.account)?;
        let target = Target { port, ..direct.clone() };
        server.ready(START_LIMIT, stop, || Client::open(&target).map(Client::close).ok())?;
        Ok(Self { server, target })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}

/// As it says itself, `PgBouncer 1.18.0`.
pub fn version(binary: &Path) -> String {
    let output = Command::new(binary).arg("--version").output();
    let text = output
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    text.lines().next().unwrap_or("PgBouncer").trim().to_owned()
}
