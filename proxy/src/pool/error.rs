//! Why there is no server connection, and what the client is told: the only place that turns one into the other.

use std::sync::Arc;
use std::time::Duration;

use postern_rewriter::plan::Refusal;

use crate::wire::upstream::UpstreamError;

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PoolError {
    /// As many clients wait already as may.
    #[error("{waiting} clients of login `{login}` wait for a server connection already")]
    Full {
        /// The login.
        login: String,
        /// How many.
        waiting: usize,
    },
    /// As many clients of the module wait already as its quota allows.
    #[error("{waiting} clients of the module of login `{login}` wait for a server connection already")]
    ModuleFull {
        /// The login.
        login: String,
        /// How many.
        waiting: usize,
    },
    /// None became free in time.
    #[error("no server connection of login `{login}` became free within {waited:?}")]
    Timeout {
        /// The login.
        login: String,
        /// `[pool] queue_timeout_seconds`.
        waited: Duration,
    },
    /// The database did not let us in; where that may pass, for as long as a client may wait.
    #[error(transparent)]
    Upstream(#[from] Arc<UpstreamError>),
    /// Postern shuts down.
    #[error("Postern shuts down")]
    Closing,
}

impl PoolError {
    /// A fixed word for metrics and audit.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Full { .. } | Self::ModuleFull { .. } => "pool-full",
            Self::Timeout { .. } => "pool-timeout",
            Self::Upstream(error) => error.reason(),
            Self::Closing => "closing",
        }
    }

    /// What the client is told: SQLSTATE, message, hint. Fixed texts without host, path or password: the operator's log has those.
    pub fn for_client(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Full { .. } => (
                "53300",
                "too many clients of this login wait for a server connection",
                "Try again, use fewer connections or shorter transactions, or ask the operator to raise [pool] size or queue.",
            ),
            Self::ModuleFull { .. } => (
                "53300",
                "too many clients of this module wait for a server connection",
                "Try again, use fewer connections or shorter transactions, or ask the operator to raise the module's quota.",
            ),
            Self::Timeout { .. } => (
                "53300",
                "no server connection became free in time",
                "Use fewer connections or shorter transactions, or ask the operator to raise [pool] size or queue_timeout_seconds.",
            ),
            Self::Upstream(error) => unreachable(error),
            Self::Closing => (
                "57P01",
                "Postern shuts down",
                "Connect again; another Postern may already serve.",
            ),
        }
    }

    /// The same as the refusal of a statement.
    pub fn refusal(&self) -> Refusal {
        let (sqlstate, message, hint) = self.for_client();
        Refusal {
            sqlstate,
            message: message.to_owned(),
            detail: None,
            hint: Some(hint.to_owned()),
            reason: self.reason(),
            position: None,
        }
    }
}

/// Fixed texts, one for each class of reason.
fn unreachable(error: &UpstreamError) -> (&'static str, &'static str, &'static str) {
    const AGAIN: &str = "Try again; the operator finds the cause in Postern's log.";
    match error.reason() {
        // What the client can mend itself.
        "full" | "refused" if error.for_client().0 != "57P03" => error.for_client(),
        "connect" | "broken" => ("57P03", "the database behind Postern does not answer", AGAIN),
        "timeout" => ("57P03", "the database behind Postern did not answer in time", AGAIN),
        "starting" => ("57P03", "the database behind Postern is starting up or shutting down", AGAIN),
        "attributes" => (
            "57P03",
            "no database server behind Postern has the role that is asked for (target_session_attrs)",
            AGAIN,
        ),
        _ => (
            "08001",
            "the database behind Postern could not be connected to",
            "Only the operator can mend this; the cause is in Postern's log.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_a_class_and_no_more() {
        let peer = || "secret-host:5432".to_owned();
        let refused = |sqlstate: &str| UpstreamError::Refused {
            peer: peer(),
            login: "secret_login".into(),
            sqlstate: sqlstate.into(),
        };
        let connect = || UpstreamError::Connect {
            peer: peer(),
            source: std::io::ErrorKind::ConnectionRefused.into(),
        };
        for (error, sqlstate, reason) in [
            (connect(), "57P03", "connect"),
            (refused("57P03"), "57P03", "starting"),
            (refused("53300"), "53300", "full"),
            (refused("22023"), "22023", "refused"),
            (refused("28P01"), "08001", "refused"),
            (UpstreamError::TlsRefused(peer()), "08001", "tls"),
            (
                UpstreamError::Scram {
                    peer: peer(),
                    login: "secret_login".into(),
                    problem: "x",
                },
                "08001",
                "authentication",
            ),
        ] {
            let told = PoolError::from(Arc::new(error)).refusal();
            assert_eq!((told.sqlstate, told.reason), (sqlstate, reason));
            assert!(!format!("{} {:?}", told.message, told.hint).contains("secret"), "{told:?}");
        }
        let login = || "disco".to_owned();
        for error in [
            PoolError::Full {
                login: login(),
                waiting: 3,
            },
            PoolError::ModuleFull {
                login: login(),
                waiting: 3,
            },
            PoolError::Timeout {
                login: login(),
                waited: Duration::from_secs(3),
            },
        ] {
            assert_eq!(error.refusal().sqlstate, "53300");
            assert!(error.refusal().hint.is_some());
        }
        assert_eq!(PoolError::Closing.refusal().sqlstate, "57P01");
    }
}
