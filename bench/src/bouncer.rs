//! Debian's PgBouncer, in session mode, before the demo's PostgreSQL: what a hop costs that looks at nothing.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio_postgres::{Config, NoTls};

use crate::child::Server;
use crate::error::BenchError;
use crate::machine;

const START_LIMIT: Duration = Duration::from_secs(15);

/// Where it is installed, if it is.
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian's place is not on an ordinary user's path.
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join("pgbouncer"))
        .find(|file| file.is_file())
}

/// A running PgBouncer.
pub struct Bouncer {
    server: Server,
    version: String,
    /// The way through it.
    pub config: Config,
}

impl Bouncer {
    /// Starts it before the server that `direct` leads to. It refuses to run as root and then runs as the database's user.
    pub async fn start(binary: &Path, dir: &Path, direct: &Config) -> Result<Self, BenchError> {
        let dir = dir.join("pgbouncer");
        fs::create_dir_all(&dir).map_err(BenchError::io("create", &dir))?;
        let port = free_port()?;
        let behind = direct.get_ports().first().copied().unwrap_or(5432);
        let (user, password) = credentials(direct);
        let users = dir.join("userlist.txt");
        let settings = dir.join("pgbouncer.ini");
        let ini = format!(
            "[databases]
* = host=127.0.0.1 port={behind}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = session
auth_type = scram-sha-256
auth_file = {}
max_client_conn = 200
default_pool_size = 80
log_connections = 0
log_disconnections = 0
",
            users.display()
        );
        let account = machine::account_for_servers();
        for (file, text) in [(&users, format!("\"{user}\" \"{password}\"\n")), (&settings, ini)] {
            fs::write(file, text).map_err(BenchError::io("write", file))?;
            fs::set_permissions(file, Permissions::from_mode(0o600)).map_err(BenchError::io("protect", file))?;
            if let Some(a) = account {
                chown(file, Some(a.uid), Some(a.gid)).map_err(BenchError::io("give away", file))?;
            }
        }
        let log = dir.join("pgbouncer.log");
        let settings = settings.to_string_lossy();
        let mut server = Server::start("pgbouncer", binary, &[&settings], &log, account)?;
        let config = at_port(direct, port);
        server
            .ready(START_LIMIT, async || {
                let (client, connection) = config.connect(NoTls).await.ok()?;
                let task = tokio::spawn(connection);
                drop(client);
                task.await.ok()?.ok()
            })
            .await?;
        Ok(Self {
            server,
            version: version(binary),
            config,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// As it says itself, `PgBouncer 1.18.0`.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// The same login and database at another port of this machine.
fn at_port(direct: &Config, port: u16) -> Config {
    let (user, password) = credentials(direct);
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(port)
        .user(user)
        .password(password)
        .dbname(direct.get_dbname().unwrap_or_default())
        .connect_timeout(Duration::from_secs(10));
    config
}

fn credentials(config: &Config) -> (String, String) {
    let password = config.get_password().unwrap_or_default();
    (
        config.get_user().unwrap_or_default().to_owned(),
        String::from_utf8_lossy(password).into_owned(),
    )
}

fn free_port() -> Result<u16, BenchError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|l| l.local_addr())
        .map(|a| a.port())
        .map_err(BenchError::io("find a free port on", "127.0.0.1"))
}

fn version(binary: &Path) -> String {
    let output = Command::new(binary)
        .arg("--version")
        .output()
        .map(|o| o.stdout)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    text.lines().next().unwrap_or("PgBouncer").trim().to_owned()
}
