//! `postern.toml`, validated.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::expr::{Claim, ClaimTag};
use crate::manifest::{Login, Manifest};
use crate::names::{LoginName, ModuleName};

/// Everything the operator configured: settings and all modules.
#[derive(Debug, Clone)]
pub struct Config {
    /// `postern.toml` itself.
    pub file: PathBuf,
    /// Its settings; relative paths in it are resolved against the file's directory.
    pub settings: Settings,
    /// The modules, sorted by name.
    pub modules: Vec<Arc<Manifest>>,
}

/// The settings of `postern.toml`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[listen]`.
    pub listen: Listen,
    /// `[admin]`: `/metrics`, `/healthz`, `/readyz`.
    pub admin: SocketAddr,
    /// `[upstream]`.
    pub upstream: Upstream,
    /// `[secrets] dir`: per login `NAME.client` (password of clients) and `NAME.upstream` (password towards PostgreSQL).
    pub secrets_dir: PathBuf,
    /// `[keys]`.
    pub keys: KeySettings,
    /// `[tokens]`.
    pub tokens: TokenSettings,
    /// `[audit] file`; standard error where absent.
    pub audit_file: Option<PathBuf>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[pool]`; [`Config::pool`] says what holds for one login.
    pub pool: PoolSettings,
    /// `[pool.logins.NAME]`, each already laid over `[pool]`.
    pub login_pools: BTreeMap<LoginName, PoolSettings>,
    /// `[quotas.MODULE]`; [`Config::quota`] says what holds for one module.
    pub quotas: BTreeMap<ModuleName, Quota>,
    /// `enforce`: where row filters are applied.
    pub enforce: Enforce,
    /// `[provision] tablespace_root`: directory on the database host for tablespaces; modules use `pg_default` where absent.
    pub tablespace_root: Option<PathBuf>,
}

/// Where clients connect.
#[derive(Debug, Clone)]
pub struct Listen {
    /// `host:port`.
    pub address: SocketAddr,
    /// Directory of a Unix socket `.s.PGSQL.PORT` that is listened on as well, with the port of `address`.
    pub unix_socket_dir: Option<PathBuf>,
    /// Threads that serve clients; one for every two processors where absent.
    pub workers: Option<usize>,
    /// Certificate chain and key; clients may then ask for TLS.
    pub tls: Option<TlsFiles>,
    /// Refuse clients that do not use TLS.
    pub require_tls: bool,
}

/// PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// The database.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Where it may be, in the order in which they are tried; at least one.
    pub hosts: Vec<Host>,
    /// Which of them will do.
    pub target_session_attrs: SessionAttrs,
    /// Whether SCRAM is bound to the server's certificate.
    pub channel_binding: ChannelBinding,
    /// Database name (also the only name that clients may ask for).
    pub database: String,
    /// CA certificate; TLS is then required of every host but Unix sockets, and its name verified.
    pub tls_ca: Option<PathBuf>,
    /// Role of the control plane (`provision`, key catalogue, catalogue snapshots).
    pub control_user: String,
    /// File with its password.
    pub control_password_file: PathBuf,
    /// Limit on establishing a connection.
    pub connect_timeout: Duration,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// Over the network.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// On this machine, through `DIRECTORY/.s.PGSQL.PORT`.
    Unix {
        /// The socket's directory, absolute.
        directory: PathBuf,
        /// The port in the socket's name.
        port: u16,
    },
}

impl Host {
    /// The port, also of a Unix socket.
    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp { port, .. } | Self::Unix { port, .. } => *port,
        }
    }

    /// The path of a Unix socket in that directory, named as PostgreSQL names it.
    pub fn socket(directory: &Path, port: u16) -> PathBuf {
        directory.join(format!(".s.PGSQL.{port}"))
    }
}

impl fmt::Display for Host {
    /// `host:port`, `[address]:port`, or the socket's path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { directory, port } => write!(f, "{}", Self::socket(directory, *port).display()),
        }
    }
}

/// Which server of several will do, in libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionAttrs {
    /// The first that lets us in.
    Any,
    /// One whose transactions may write.
    ReadWrite,
    /// One whose transactions may not.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is in recovery.
    Standby,
    /// A standby, or any other where there is none.
    PreferStandby,
}

impl SessionAttrs {
    /// As it is written in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::PreferStandby => "prefer-standby",
        }
    }
}

/// Whether SCRAM towards PostgreSQL is bound to the certificate that it showed (`SCRAM-SHA-256-PLUS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelBinding {
    /// Where both sides can.
    Prefer,
    /// Always; a server that does not offer it is refused.
    Require,
    /// Never.
    Disable,
}

/// When a server connection belongs to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// For as long as the client is connected.
    Session,
    /// From a transaction's begin to its end.
    Transaction,
}

impl PoolMode {
    /// As it is written in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
        }
    }
}

/// A login's server connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// When one belongs to a client.
    pub mode: PoolMode,
    /// Whether statements of the simple protocol that come again are prepared, their literals as parameters.
    pub prepare_simple: bool,
    /// How many there may be.
    pub size: usize,
    /// How many are kept, in use or idle, while the database answers.
    pub min_idle: usize,
    /// How many clients may wait for one; the next is refused at once.
    pub queue: usize,
    /// How long a client waits.
    pub queue_timeout: Duration,
    /// How long one stays open without use.
    pub idle_timeout: Duration,
    /// How old one may become; it is closed when it is next idle.
    pub lifetime: Duration,
}

/// What one module may take of what all share; without a number there is no limit of the module's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Client connections.
    pub clients: Option<usize>,
    /// Server connections over all of its logins.
    pub connections: Option<usize>,
    /// Clients of all its logins that wait for a server connection.
    pub queue: Option<usize>,
    /// How long one statement may run; then it is cancelled.
    pub statement_time: Option<Duration>,
    /// Bytes of one statement's result; then it is cancelled.
    pub result_bytes: Option<u64>,
}

/// Where the root key is.
#[derive(Debug, Clone)]
pub struct KeySettings {
    /// The passphrase-protected root key file.
    pub root_file: PathBuf,
    /// File that holds the passphrase.
    pub passphrase_file: PathBuf,
}

/// Who may vouch for users.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// Expected `iss`.
    pub issuer: String,
    /// Expected `aud`.
    pub audience: String,
    /// The claims that tokens may carry and policies read: [`Claim::BUILT_IN`], then declared ones by name. Their order is that of their MAC.
    pub claims: Vec<Claim>,
    /// PEM files with Ed25519 public keys; may be empty where there is a `jwks_file`.
    pub public_keys: Vec<PathBuf>,
    /// The issuer's JWK Set (RFC 7517), read again when it changes.
    pub jwks_file: Option<PathBuf>,
    /// Marks a development issuer: `token mint` may use `dev_private_key`. `serve` refuses a private key without it.
    pub dev_issuer: bool,
    /// PEM file of the development issuer's private key.
    pub dev_private_key: Option<PathBuf>,
    /// The `kid` that `token mint` puts into headers: the development key's in `jwks_file`.
    pub dev_kid: Option<String>,
    /// JSON file with the people that `token mint --as` knows (claims by account id).
    pub dev_people: Option<PathBuf>,
}

/// Bounds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest SQL text, bytes.
    pub max_sql_bytes: usize,
    /// Largest frame from a client, bytes.
    pub max_frame_bytes: usize,
    /// Client connections at once.
    pub max_clients: usize,
    /// From accepting a connection until authentication is done.
    pub login_timeout: Duration,
    /// Bytes of the plan cache.
    pub plan_cache_bytes: usize,
}

/// Where row filters are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforce {
    /// By the proxy and by native row-level security.
    Both,
    /// By the proxy alone; native row-level security only checks what is written.
    Rewrite,
    /// By native row-level security; what that cannot express (masks, column lists) by the proxy.
    Rls,
}

impl Enforce {
    /// Whether native row-level security is to filter rows.
    pub fn is_native(self) -> bool {
        self != Enforce::Rewrite
    }
}

/// Where a login's two passwords are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPaths {
    /// The password that clients give to the proxy.
    pub client: PathBuf,
    /// The password that the proxy gives to PostgreSQL.
    pub upstream: PathBuf,
}

impl Config {
    /// The claims that PostgreSQL is told, in the order in which they are sent and MACed; [`ClaimTag::SETTING`] follows them.
    pub fn told_claims(&self) -> Vec<Claim> {
        let claims = self.settings.tokens.claims.iter().copied();
        claims.filter(|c| !c.sealed()).collect()
    }

    /// The names of the settings in which claims travel, behind `postern.`, in their order.
    pub fn claim_settings(&self) -> Vec<String> {
        let claims = self.told_claims().into_iter().map(Claim::setting);
        claims.chain([ClaimTag::SETTING.to_owned()]).collect()
    }

    /// The files with that login's passwords: `NAME.client` and `NAME.upstream` in `[secrets] dir`.
    pub fn secret_paths(&self, login: &LoginName) -> SecretPaths {
        SecretPaths {
            client: self.settings.secrets_dir.join(format!("{login}.client")),
            upstream: self.settings.secrets_dir.join(format!("{login}.upstream")),
        }
    }

    /// The file of that module's manifest; loading has seen to its name.
    pub fn manifest_file(&self, manifest: &Manifest) -> PathBuf {
        self.file.with_file_name("modules").join(format!("{}.toml", manifest.module))
    }

    /// How that login's server connections are kept.
    pub fn pool(&self, login: &LoginName) -> PoolSettings {
        let settings = &self.settings;
        settings.login_pools.get(login).copied().unwrap_or(settings.pool)
    }

    /// What that module may take.
    pub fn quota(&self, module: &ModuleName) -> Quota {
        self.settings.quotas.get(module).copied().unwrap_or_default()
    }

    /// The module of that name.
    pub fn module(&self, name: &ModuleName) -> Option<&Arc<Manifest>> {
        self.modules.iter().find(|m| m.module == *name)
    }

    /// The login of that name with its module.
    pub fn login(&self, name: &str) -> Option<(&Arc<Manifest>, &Login)> {
        self.modules
            .iter()
            .find_map(|m| m.logins.iter().find(|l| l.name.as_str() == name).map(|l| (m, l)))
    }
}
