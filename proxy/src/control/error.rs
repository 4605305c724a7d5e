//! What can go wrong between the control plane and the database, and what an operator does about it.

use std::path::PathBuf;

use crate::secrets::SecretError;

/// A failure of the control plane. Server messages are kept without their DETAIL, which can quote a row.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A password file could not be used.
    #[error("a password cannot be had: {0}")]
    Secret(#[from] SecretError),
    /// The CA file of `upstream.tls_ca` is not usable.
    #[error("the CA file {} holds no usable certificate: {reason}", file.display())]
    CaFile {
        /// The file.
        file: PathBuf,
        /// What was found.
        reason: String,
    },
    /// No connection to the database could be had in time.
    #[error("no control connection to the database at {peer}: {reason}")]
    Connect {
        /// `host:port/database as role`.
        peer: String,
        /// SQLSTATE, where the server answered.
        sqlstate: Option<String>,
        /// The server's or the network's words.
        reason: String,
    },
    /// The server is older than what the second lock is built for.
    #[error("the database server is PostgreSQL {found}; Postern needs 15 or newer")]
    ServerVersion {
        /// `server_version`.
        found: String,
    },
    /// A statement of the control plane failed.
    #[error("{doing} failed: {reason}")]
    Query {
        /// What was being done.
        doing: &'static str,
        /// SQLSTATE, where the server answered.
        sqlstate: Option<String>,
        /// The server's primary message.
        reason: String,
    },
    /// A step of `provision` failed; nothing inside the transaction was kept.
    #[error("provisioning stopped at \"{step}\": {reason}")]
    Step {
        /// The step's title.
        step: String,
        /// SQLSTATE, where the server answered.
        sqlstate: Option<String>,
        /// The server's primary message.
        reason: String,
    },
    /// The database was never provisioned, or not for this configuration.
    #[error("the database holds no {what}")]
    NotProvisioned {
        /// What was looked for.
        what: &'static str,
    },
    /// The key catalogue changed while this process was changing it.
    #[error("the key catalogue was changed by somebody else (generation {expected} was expected)")]
    KeyCatalogueMoved {
        /// The generation that this process had read.
        expected: i64,
    },
    /// The key catalogue was refused by the keys' own checks.
    #[error("the stored keys cannot be used: {0}")]
    Keys(#[from] postern_keys::RingError),
    /// The key of the claims' MAC in PostgreSQL is not the one that the root key gives.
    #[error("the claims key in the database is not the one that the root key gives")]
    ClaimsKeyMismatch,
}

impl ControlError {
    /// What to do about it, one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Secret(_) => {
                "Put the role's password on the one line of that file, readable by the account that runs postern and nobody else."
            }
            Self::CaFile { .. } => {
                "Point upstream.tls_ca at the PEM file of the CA that signed the database server's certificate."
            }
            Self::Connect {
                sqlstate: Some(code), ..
            } if code == "28P01" || code == "28000" => {
                "Check upstream.control_user, the password in upstream.control_password_file and the server's pg_hba.conf."
            }
            Self::Connect {
                sqlstate: Some(code), ..
            } if code == "3D000" => "Create the database, or correct upstream.database in postern.toml.",
            Self::Connect { .. } => {
                "Check that PostgreSQL is running and that upstream.host (or hosts) and upstream.port in postern.toml reach it."
            }
            Self::ServerVersion { .. } => "Upgrade the database server, or point [upstream] at a newer one.",
            Self::Query {
                sqlstate: Some(code), ..
            } if code == "42P01" || code == "3F000" || code == "42883" => "Run `postern provision` against this database first.",
            Self::Query { .. } => {
                "Look at the database server's log; if the database was restored or altered, run `postern provision` again."
            }
            Self::Step {
                sqlstate: Some(code), ..
            } if code == "42501" => {
                "Give upstream.control_user the superuser attribute for provisioning (it makes roles that bypass row security), then run it again."
            }
            Self::Step {
                sqlstate: Some(code), ..
            } if code == "58P01" || code == "42602" => {
                "Create the tablespace's directory on the database host, empty and owned by the server's account, then run it again."
            }
            Self::Step { .. } => {
                "Nothing of this run was kept; mend the cause that the server names and run `postern provision` again."
            }
            Self::NotProvisioned { .. } => "Run `postern provision` with this configuration first.",
            Self::KeyCatalogueMoved { .. } => "Run the command again; it starts from the newer catalogue.",
            Self::Keys(_) => {
                "Check that keys.root_file and its passphrase belong to this database; do not delete anything: the root key is the only way back."
            }
            Self::ClaimsKeyMismatch => {
                "Find out who wrote to postern.claims_key, then run `postern provision`, which puts the right key back."
            }
        }
    }

    /// The SQLSTATE, where the server answered.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Connect { sqlstate, .. } | Self::Query { sqlstate, .. } | Self::Step { sqlstate, .. } => sqlstate.as_deref(),
            _ => None,
        }
    }

    /// A failed statement.
    pub(crate) fn query(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |error| {
            let (sqlstate, reason) = told(&error);
            Self::Query { doing, sqlstate, reason }
        }
    }

    /// A failed step of `provision`.
    pub(crate) fn step(title: &str, error: &tokio_postgres::Error) -> Self {
        let (sqlstate, reason) = told(error);
        Self::Step {
            step: title.to_owned(),
            sqlstate,
            reason,
        }
    }
}

/// SQLSTATE and the primary message alone: DETAIL and CONTEXT can quote rows and statements.
pub(crate) fn told(error: &tokio_postgres::Error) -> (Option<String>, String) {
    match error.as_db_error() {
        Some(db) => (Some(db.code().code().to_owned()), db.message().to_owned()),
        None => {
            let cause = std::error::Error::source(error).map(|c| format!(": {c}")).unwrap_or_default();
            (None, format!("{error}{cause}"))
        }
    }
}
