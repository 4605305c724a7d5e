//! `postern.toml`, validated.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
    pub modules: Vec<Manifest>,
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
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database name (also the only name that clients may ask for).
    pub database: String,
    /// CA certificate; TLS is then required and the host name verified.
    pub tls_ca: Option<PathBuf>,
    /// Role of the control plane (`provision`, key catalogue, catalogue snapshots).
    pub control_user: String,
    /// File with its password.
    pub control_password_file: PathBuf,
    /// Limit on establishing a connection.
    pub connect_timeout: Duration,
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
    /// PEM files with Ed25519 public keys.
    pub public_keys: Vec<PathBuf>,
    /// Marks a development issuer: `token mint` may use `dev_private_key`. `serve` refuses a private key without it.
    pub dev_issuer: bool,
    /// PEM file of the development issuer's private key.
    pub dev_private_key: Option<PathBuf>,
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
    /// By the proxy alone.
    Rewrite,
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
    /// The files with that login's passwords: `NAME.client` and `NAME.upstream` in `[secrets] dir`.
    pub fn secret_paths(&self, login: &LoginName) -> SecretPaths {
        SecretPaths {
            client: self.settings.secrets_dir.join(format!("{login}.client")),
            upstream: self.settings.secrets_dir.join(format!("{login}.upstream")),
        }
    }

    /// The module of that name.
    pub fn module(&self, name: &ModuleName) -> Option<&Manifest> {
        self.modules.iter().find(|m| m.module == *name)
    }

    /// The login of that name with its module.
    pub fn login(&self, name: &str) -> Option<(&Manifest, &Login)> {
        self.modules
            .iter()
            .find_map(|m| m.logins.iter().find(|l| l.name.as_str() == name).map(|l| (m, l)))
    }
}
