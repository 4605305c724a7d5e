//! Why there is no connection to PostgreSQL: in full for the operator's log, in fixed words for the client.

use std::io;
use std::time::Duration;

use crate::wire::talk::TalkError;
use crate::wire::tls::TlsError;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// TLS towards the database cannot be set up.
    #[error("[upstream] tls_ca: {0}")]
    Tls(#[from] TlsError),
    /// `host` is neither a name nor an address.
    #[error("[upstream] host `{0}` is not a host name that a certificate could carry")]
    Host(String),
    /// No connection.
    #[error("cannot connect to PostgreSQL at {peer}: {source}; is it running, and do [upstream] host and port name it?")]
    Connect {
        /// `host:port`.
        peer: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error(
        "PostgreSQL at {peer} did not finish the login within {after:?}; is it overloaded, or is something else listening there?"
    )]
    Deadline {
        /// `host:port`.
        peer: String,
        /// The limit, `[upstream] connect_timeout`.
        after: Duration,
    },
    /// It has no TLS where a CA is configured.
    #[error("PostgreSQL at {0} refuses TLS; set ssl = on there, or remove [upstream] tls_ca if the network is trusted")]
    TlsRefused(String),
    /// The TLS handshake failed.
    #[error(
        "TLS handshake with PostgreSQL at {peer} failed: {source}; does its certificate chain to tls_ca, carry this host's name, and not itself say CA:TRUE?"
    )]
    Handshake {
        /// `host:port`.
        peer: String,
        /// Why.
        source: io::Error,
    },
    /// It does not ask for SCRAM.
    #[error(
        "PostgreSQL at {peer} asks for {method} for role `{login}`, which does not prove the server to us; \
         use scram-sha-256 in pg_hba.conf and set the password anew"
    )]
    Method {
        /// `host:port`.
        peer: String,
        /// What it asked for.
        method: &'static str,
        /// The role.
        login: String,
    },
    /// The exchange failed on our side.
    #[error("PostgreSQL at {peer} failed SCRAM for role `{login}`: {problem}")]
    Scram {
        /// `host:port`.
        peer: String,
        /// The role.
        login: String,
        /// Why.
        problem: &'static str,
    },
    /// It answered with an error.
    #[error(
        "PostgreSQL at {peer} refused role `{login}` with SQLSTATE {sqlstate}: {}",
        explain(sqlstate)
    )]
    Refused {
        /// `host:port`.
        peer: String,
        /// The role.
        login: String,
        /// Its SQLSTATE. Its text may quote values and is not kept.
        sqlstate: String,
    },
    /// It does not speak the protocol.
    #[error("what listens at {peer} broke the protocol: {problem}")]
    Protocol {
        /// `host:port`.
        peer: String,
        /// How.
        problem: &'static str,
    },
    /// It is not what `[upstream] target_session_attrs` asks for.
    #[error("PostgreSQL at {peer} {found}, and [upstream] target_session_attrs asks for {wanted}")]
    Attributes {
        /// `host:port`.
        peer: String,
        /// What is asked for.
        wanted: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// None of several hosts serves.
    #[error("no host of [upstream] serves: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    All(Vec<UpstreamError>),
    /// The connection broke.
    #[error("the connection to PostgreSQL at {peer} broke: {source}")]
    Broken {
        /// `host:port`.
        peer: String,
        /// Why.
        source: TalkError,
    },
}

fn explain(sqlstate: &str) -> &'static str {
    match sqlstate {
        "28P01" => "the password in secrets_dir/NAME.upstream is not the role's; run `postern provision`",
        "28000" => "the role is missing or pg_hba.conf has no line for it; run `postern provision`",
        "3D000" => "the database does not exist; check [upstream] database",
        "42501" => "the role may not connect or may not take the module's owner role; run `postern provision`",
        "3F000" | "42883" => "schema postern is missing there; run `postern provision`",
        "53300" => "it has no connection left; raise max_connections or lower [limits] max_clients",
        "57P03" => "it is starting up or shutting down; try again",
        "22023" => "it does not take one of the connection's settings",
        _ => "see the server's log",
    }
}

impl UpstreamError {
    /// One error for several hosts that were tried.
    pub(super) fn of_all(mut failed: Vec<Self>) -> Self {
        match failed.len() {
            1 => failed.remove(0),
            _ => Self::All(failed),
        }
    }

    /// Whether it may pass by itself, so that trying again (or another host) makes sense: a server that is down, starting, full, or not
    /// yet what it should be. What an operator must mend, or what may be an attack, does not pass.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Deadline { .. } | Self::Broken { .. } | Self::Attributes { .. } => true,
            Self::Refused { sqlstate, .. } => matches!(&sqlstate[..2], "57" | "53" | "08"),
            Self::All(errors) => errors.iter().all(Self::is_passing),
            Self::Tls(_)
            | Self::Host(_)
            | Self::TlsRefused(_)
            | Self::Handshake { .. }
            | Self::Method { .. }
            | Self::Scram { .. }
            | Self::Protocol { .. } => false,
        }
    }

    /// A fixed word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Tls(_) | Self::TlsRefused(_) | Self::Handshake { .. } => "tls",
            Self::Host(_) => "host",
            Self::Connect { .. } => "connect",
            Self::Deadline { .. } => "timeout",
            Self::Method { .. } | Self::Scram { .. } => "authentication",
            Self::Refused { sqlstate, .. } if sqlstate == "53300" => "full",
            Self::Refused { sqlstate, .. } if sqlstate.starts_with("57") => "starting",
            Self::Refused { .. } => "refused",
            Self::Protocol { .. } => "protocol",
            Self::Attributes { .. } => "attributes",
            Self::All(errors) => errors.first().map_or("connect", Self::reason),
            Self::Broken { .. } => "broken",
        }
    }

    /// What the client is told: SQLSTATE, message, hint. Fixed texts; the rest is for the operator's log.
    pub fn for_client(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Refused { sqlstate, .. } if sqlstate == "53300" => (
                "53300",
                "the database has no connection left",
                "Try again later, or use fewer connections.",
            ),
            Self::Refused { sqlstate, .. } if sqlstate == "22023" => (
                "22023",
                "the database does not take one of the connection's settings",
                "Check the values of TimeZone, DateStyle and the other settings in the connection string.",
            ),
            _ => (
                "57P03",
                "the database behind Postern cannot be reached now",
                "Try again; the operator finds the cause in Postern's log.",
            ),
        }
    }
}
