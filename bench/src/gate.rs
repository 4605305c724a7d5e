//! Postern as it is deployed: configuration directories, `postern provision`, `postern serve`, tokens.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::child::{Server, quiet};
use crate::client::{Client, Target};
use crate::error::BenchError;
use crate::place::{self, Place};
use crate::rows::Mode;
use crate::stop::Stop;

const START_LIMIT: Duration = Duration::from_secs(60);
/// A token is used for this long; it holds for ten minutes, and no slice lasts the rest.
const TOKEN_REUSE: Duration = Duration::from_secs(240);

/// Declared tables, a row filter and protected columns.
const DECLARED: &str = include_str!("../modules/bench.toml");
/// No declared table: isolation alone.
const OPEN: &str = include_str!("../modules/open.toml");
/// Who the token is for, and who sees the rows of organisation A.
const PEOPLE: &str = r#"{"ana": {"org_member_of": ["A"], "verified": true, "disabled": false}}"#;
const PERSON: &str = "ana";

/// The database whose filters are the proxy's alone.
pub const REWRITING: &str = "gate_rewrite";
/// The database whose filters are PostgreSQL's as well.
pub const DOUBLE: &str = "gate_both";

/// Which Postern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The database behind it.
    pub database: &'static str,
    /// `enforce = "both"`.
    pub both: bool,
    /// Pools.
    pub mode: Mode,
    /// `plan_cache_bytes`, MiB.
    pub cache: u32,
}

impl Kind {
    /// Filters by rewriting, with a plan cache of the default size.
    pub fn rewriting(mode: Mode) -> Self {
        Self {
            database: REWRITING,
            both: false,
            mode,
            cache: 64,
        }
    }

    /// Filters twice.
    pub fn both(mode: Mode) -> Self {
        Self {
            database: DOUBLE,
            both: true,
            ..Self::rewriting(mode)
        }
    }
}

/// Who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// A user of the declared module, with a token.
    User,
    /// The declared module itself, which may fill its tables.
    Service,
    /// The module without declared tables.
    Open,
}

/// Configurations and tokens.
pub struct Gates<'p> {
    place: &'p Place,
    binary: PathBuf,
    database_port: u16,
    token: RefCell<Option<(String, Instant)>>,
}

/// A running Postern.
pub struct Gate {
    server: Server,
    port: u16,
    database: &'static str,
}

impl<'p> Gates<'p> {
    /// Nothing is started yet.
    pub fn new(place: &'p Place, binary: &Path, database_port: u16) -> Self {
        Self {
            place,
            binary: binary.to_owned(),
            database_port,
            token: RefCell::default(),
        }
    }

    /// The secrets that a configuration names.
    pub fn secrets(&self) -> Result<(), BenchError> {
        for name in ["passphrase", "control"] {
            self.place.secret(name)?;
        }
        for login in ["bench", "bench_service", "open"] {
            for side in ["client", "upstream"] {
                self.place.secret(&format!("{login}.{side}"))?;
            }
        }
        place::write(&self.place.path("people.json"), PEOPLE.as_bytes())
    }

    /// Writes a configuration, its manifests beside it.
    fn configure(&self, name: &str, kind: Kind, port: u16) -> Result<PathBuf, BenchError> {
        let dir = self.place.path(name);
        let modules = dir.join("modules");
        fs::create_dir_all(&modules).map_err(BenchError::io("create", &modules))?;
        place::write(&modules.join("bench.toml"), DECLARED.as_bytes())?;
        place::write(&modules.join("open.toml"), OPEN.as_bytes())?;
        // Session mode is the default; naming it would tell nothing.
        let pool = match kind.mode {
            Mode::Session => String::new(),
            Mode::Transaction => "[pool]\npool_mode = \"transaction\"\n".to_owned(),
        };
        let base = self.place.dir.display();
        let text = format!(
            r#"enforce = "{enforce}"
[listen]
address = "127.0.0.1:{port}"
tls = {{ certificate = "{base}/keys/server.crt", key = "{base}/keys/server.key" }}
[admin]
address = "127.0.0.1:{admin}"
[upstream]
host = "127.0.0.1"
port = {database_port}
database = "{database}"
control_user = "bench_control"
control_password_file = "{base}/secrets/control"
{pool}[secrets]
dir = "{base}/secrets"
[keys]
root_file = "{base}/keys/{database}.root"
passphrase_file = "{base}/secrets/passphrase"
[tokens]
issuer = "https://id.example.org"
audience = "postern"
public_keys = ["{base}/keys/issuer.pem"]
dev_issuer = true
dev_private_key = "{base}/keys/issuer.key"
dev_people = "{base}/people.json"
[audit]
file = "{base}/{name}/audit.jsonl"
[limits]
max_clients = 1000
plan_cache_bytes = {cache}
"#,
            enforce = if kind.both { "both" } else { "rewrite" },
            admin = place::free_port()?,
            database_port = self.database_port,
            database = kind.database,
            cache = u64::from(kind.cache) << 20,
        );
        let file = dir.join("postern.toml");
        place::write(&file, text.as_bytes())?;
        Ok(file)
    }

    /// Makes the database what the manifests say.
    pub fn provision(&self, kind: Kind) -> Result<(), BenchError> {
        let file = self.configure(&format!("provision-{}", kind.database), kind, place::free_port()?)?;
        self.run(&["provision", "--config", &file.to_string_lossy()]).map(drop)
    }

    /// Starts one. Must be called on the main thread.
    pub fn start(&self, name: &str, kind: Kind, stop: &Stop) -> Result<Gate, BenchError> {
        let port = place::free_port()?;
        let file = self.configure(name, kind, port)?;
        let log = self.place.path(&format!("{name}/postern.log"));
        let file = file.to_string_lossy();
        let mut server = Server::start("postern serve", &self.binary, &["serve", "--config", &file], &log, None)?;
        let target = self.target(port, kind.database, Guest::Open)?;
        server.ready(START_LIMIT, stop, || Client::open(&target).map(Client::close).ok())?;
        Ok(Gate {
            server,
            port,
            database: kind.database,
        })
    }

    /// The way through a gate.
    pub fn through(&self, gate: &Gate, guest: Guest) -> Result<Target, BenchError> {
        self.target(gate.port, gate.database, guest)
    }

    fn target(&self, port: u16, database: &str, guest: Guest) -> Result<Target, BenchError> {
        let user = match guest {
            Guest::User => "bench",
            Guest::Service => "bench_service",
            Guest::Open => "open",
        };
        Ok(Target {
            port,
            user: user.to_owned(),
            password: self.place.secret(&format!("{user}.client"))?,
            database: database.to_owned(),
            options: match guest {
                Guest::User => Some(format!("-c postern.token={}", self.token()?)),
                Guest::Service | Guest::Open => None,
            },
            tls: false,
        })
    }

    /// A token that holds for minutes to come.
    fn token(&self) -> Result<String, BenchError> {
        if let Some((token, minted)) = &*self.token.borrow()
            && minted.elapsed() < TOKEN_REUSE
        {
            return Ok(token.clone());
        }
        let kind = Kind::rewriting(Mode::Session);
        let file = self.configure("issuer", kind, place::free_port()?)?;
        let file = file.to_string_lossy();
        let token = self.run(&[
            "token", "mint", "--config", &file, "--module", "bench", "--as", PERSON, "--ttl", "600",
        ])?;
        *self.token.borrow_mut() = Some((token.clone(), Instant::now()));
        Ok(token)
    }

    fn run(&self, args: &[&str]) -> Result<String, BenchError> {
        let mut command = Command::new(&self.binary);
        quiet(&mut command, None);
        let output = command.args(args).output().map_err(BenchError::io("run", &self.binary))?;
        if !output.status.success() {
            return Err(BenchError::Ended {
                program: format!("postern {}", args.first().unwrap_or(&"")),
                message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Gate {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}
