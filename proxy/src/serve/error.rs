//! Why the gate did not open, for an operator: cause here, remedy beside it.

use std::net::SocketAddr;
use std::path::PathBuf;

use postern_keys::StoreError;

use crate::control::ControlError;
use crate::identity::TokenKeyError;
use crate::observe::AuditError;
use crate::secrets::SecretError;
use crate::wire::tls::TlsError;
use crate::wire::upstream::UpstreamError;

/// Why `serve` did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A port is taken, or the address is not this host's.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The Unix socket cannot be made.
    #[error("cannot listen on {}: {source}", path.display())]
    Socket {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The operating system has no thread for us.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
    /// A development issuer's private key in a configuration that is not marked as one.
    #[error("[tokens] dev_private_key is set, and dev_issuer = true is not: whoever reads that key can be anyone")]
    DevelopmentKey,
    /// Policies that PostgreSQL would read otherwise than they were written.
    #[error("{} policies cannot be relied on:\n{}", .0.len(), .0.join("\n"))]
    Policies(Vec<String>),
    /// Secrets of logins; all that are wrong.
    #[error("{} secret files cannot be used:\n{}", .0.len(), .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Secrets(Vec<SecretError>),
    /// Our certificate or key.
    #[error("[listen] tls: {0}")]
    Tls(#[from] TlsError),
    /// The way to the database.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The issuer's keys.
    #[error(transparent)]
    Tokens(#[from] TokenKeyError),
    /// The root key.
    #[error("[keys]: {0}")]
    Root(#[from] StoreError),
    /// The control plane.
    #[error("{0}")]
    Control(#[from] ControlError),
    /// The audit trail.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl ServeError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                "Stop what listens there (ss -ltnp names it), or choose another port in [listen] address or [admin].".into()
            }
            Self::Bind { .. } => "Check [listen] address and [admin] in postern.toml: the address must be this host's.".into(),
            Self::Socket { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                "Stop what listens there (ss -lxp names it), or choose another [listen] unix_socket_dir or port.".into()
            }
            Self::Socket { .. } => {
                "Check [listen] unix_socket_dir in postern.toml: the directory must exist and be writable for postern.".into()
            }
            Self::Thread { .. } => "Lower [listen] workers, or raise the limit on threads (ulimit -u).".into(),
            Self::DevelopmentKey => "Remove dev_private_key; only for development, set [tokens] dev_issuer = true.".into(),
            Self::Policies(_) => "Write these predicates more simply; `postern check` shows each with file and line.".into(),
            Self::Secrets(_) => "Write them into [secrets] dir, mode 0600: NAME.client and NAME.upstream for every login.".into(),
            Self::Tls(_) => "Check [listen] tls certificate and key in postern.toml.".into(),
            Self::Upstream(_) => "Check [upstream] in postern.toml.".into(),
            Self::Tokens(TokenKeyError::Jwks(_)) => {
                "Put the issuer's JWK Set where [tokens] jwks_file says; `postern check` reads it, too.".into()
            }
            Self::Tokens(_) => "Put the issuer's public key where [tokens] public_keys says.".into(),
            Self::Root(_) => {
                "Check [keys] root_file and passphrase_file; delete nothing: the root key is the only way back.".into()
            }
            Self::Control(e) => e.remedy().into(),
            Self::Audit(_) => "Check [audit] file in postern.toml.".into(),
        }
    }

    /// The process's exit code (`sysexits.h`): 64 configuration, 69 database, 71 system, 73 file, 75 port busy.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Bind { .. } => 75,
            Self::Socket { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => 75,
            Self::Socket { .. } => 73,
            Self::Thread { .. } => 71,
            Self::DevelopmentKey | Self::Policies(_) => 64,
            Self::Secrets(_) | Self::Tls(_) | Self::Tokens(_) | Self::Root(_) | Self::Audit(_) => 73,
            Self::Upstream(_) | Self::Control(_) => 69,
        }
    }
}
