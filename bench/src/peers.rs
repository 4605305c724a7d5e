//! PgCat and PgDog, where they are on PATH: optional columns, configured as their manuals do it for one user and one database.

use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::child::Server;
use crate::client::Target;
use crate::error::BenchError;
use crate::place::{self, Place};
use crate::rows::{Mode, Way};
use crate::stop::Stop;

const START_LIMIT: Duration = Duration::from_secs(15);

/// A running peer.
pub struct Peer {
    server: Server,
    /// The way through it.
    pub target: Target,
}

/// The program of a way, if that is one of these.
pub fn program(way: Way) -> Option<&'static str> {
    match way {
        Way::PgCat => Some("pgcat"),
        Way::PgDog => Some("pgdog"),
        _ => None,
    }
}

impl Peer {
    /// Starts it; `None` where it is not installed.
    pub fn start(way: Way, place: &Place, direct: &Target, mode: Mode, stop: &Stop) -> Result<Option<Self>, BenchError> {
        let Some((program, binary)) = program(way).and_then(|p| Some((p, place::on_path(p)?))) else {
            return Ok(None);
        };
        let port = place::free_port()?;
        let (user, password, database, behind) = (&direct.user, &direct.password, &direct.database, direct.port);
        let file = place.path(&format!("{program}-{mode}.toml"));
        let users = place.path(&format!("{program}-{mode}-users.toml"));
        let args = if way == Way::PgCat {
            let text = format!(
                r#"[general]
host = "127.0.0.1"
port = {port}
admin_username = "admin"
admin_password = "{password}"
log_client_connections = false
log_client_disconnections = false
worker_threads = 2

[pools.{database}]
pool_mode = "{mode}"
default_role = "any"
query_parser_enabled = false
prepared_statements_cache_size = 100

[pools.{database}.users.0]
username = "{user}"
password = "{password}"
pool_size = 80

[pools.{database}.shards.0]
servers = [["127.0.0.1", {behind}, "primary"]]
database = "{database}"
"#
            );
            place::write(&file, text.as_bytes())?;
            vec![file.display().to_string()]
        } else {
            let text = format!(
                r#"[general]
host = "127.0.0.1"
port = {port}
default_pool_size = 80
pooler_mode = "{mode}"

[[databases]]
name = "{database}"
host = "127.0.0.1"
port = {behind}
"#
            );
            let names = format!("[[users]]\nname = \"{user}\"\npassword = \"{password}\"\ndatabase = \"{database}\"\n");
            place::write(&file, text.as_bytes())?;
            place::write(&users, names.as_bytes())?;
            let (file, users) = (file.display().to_string(), users.display().to_string());
            vec!["--config".to_owned(), file, "--users".to_owned(), users]
        };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let log = place.path(&format!("{program}-{mode}.log"));
        let mut server = Server::start(program, &binary, &args, &log, None)?;
        server.ready(START_LIMIT, stop, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok())?;
        let target = Target { port, ..direct.clone() };
        Ok(Some(Self { server, target }))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}
