//! One client's life after it has proven its login: the data plane.
//!
//! Promised: one task owns both connections and everything in between. A statement reaches PostgreSQL only as
//! [`Rewritten`](postern_rewriter::plan::Rewritten) text of a judged plan, under the identity that is wanted for it; every reply is tied
//! by the reply queue to the request that caused it; a slow peer slows the other one and no buffer grows without bound. A refusal
//! answers with exactly what PostgreSQL would send in its place, and leaves a transaction aborted as PostgreSQL would.
//!
//! Refused: FunctionCall, names that start with `postern$`, message types that are not known.
//!
//! It stands on `wire`, `identity` and `control`, and is started by `serve`.

mod again;
mod ask;
mod assign;
mod attach;
mod bind;
mod catalog;
mod complete;
mod computed;
mod copy;
mod copy_rows;
mod describe;
mod described;
mod effects;
mod ending;
mod engine;
mod expect;
mod extended;
mod fill;
#[cfg(test)]
mod fixture;
mod follow;
mod identity;
mod link;
mod names;
mod per_row;
mod plans;
mod portal;
mod prepared;
mod refuse;
mod replies;
mod rows;
mod savepoints;
mod scrub;
mod send;
mod server;
mod settings;
mod simple;
mod statement;
mod stop;
mod trail;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use postern_config::{Login, ModuleName};

use engine::Session;
pub use plans::PlanCache;
pub use server::Memory;

use crate::pool::Pool;
use crate::shared::Shared;
use crate::wire::Client;

/// Who a session is for, known from the login.
pub struct LoginContext {
    /// The module.
    pub module: ModuleName,
    /// The login, as the manifest has it.
    pub login: Login,
}

/// How a session ended; for the log and the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// The client said goodbye or closed its connection between statements.
    Client,
    /// PostgreSQL ended the connection, or it broke.
    Upstream,
    /// The client broke the protocol.
    ClientProtocol,
    /// PostgreSQL answered something that fits no request.
    UpstreamProtocol,
    /// A row failed its check in a transaction that had gone on already.
    Integrity,
    /// A row with protected columns was larger than can be read.
    TooLarge,
    /// Postern shuts down.
    Closing,
    /// The audit trail cannot be written, and a superadmin's session must be in it.
    Trail,
    /// The token of the startup packet was not accepted.
    Token,
    /// Something that must hold did not, so the session was ended rather than continued.
    Internal,
}

impl SessionEnd {
    /// SQLSTATE and message of the FATAL error that the client is told, if any.
    fn last_words(self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::Client => return None,
            Self::Upstream => (
                "57P01",
                "terminating connection because the database ended its connection to Postern",
            ),
            Self::ClientProtocol => ("08P01", "invalid message; the connection ends"),
            Self::UpstreamProtocol => ("08P01", "the database sent something that was not asked for"),
            Self::Integrity => (
                "XX001",
                "a stored value failed its integrity check in a transaction that cannot go on",
            ),
            Self::TooLarge => ("54000", "a row with protected columns is too large"),
            Self::Closing => ("57P01", "terminating connection because Postern shuts down"),
            Self::Trail => ("58030", "the audit trail cannot be written"),
            Self::Token => ("28000", "the user token is not valid any more"),
            Self::Internal => ("XX000", "internal error; the connection ends"),
        })
    }
}

/// Gives a connection's settings the longest time that a statement may run, unless the client asked for less.
pub fn limit_statement_time(settings: &mut Vec<(&'static str, String)>, most: Duration) {
    const NAME: &str = "statement_timeout";
    let limit = most.as_millis();
    let given = settings.iter_mut().find(|(name, _)| *name == NAME).map(|(_, value)| value);
    match given {
        Some(value) if settings::milliseconds(value).is_some_and(|ms| ms >= 1.0 && ms <= limit as f64) => {}
        Some(value) => *value = limit.to_string(),
        None => {
            settings.push((NAME, limit.to_string()));
            settings.sort_unstable();
        }
    }
}

/// Carries one client's session to its end. Both connections are closed when it returns. Not cancel-safe: dropping it breaks both off.
/// `told` is what the client was told of reported settings.
pub async fn run(
    client: Client,
    pool: Arc<Pool<Memory>>,
    told: Arc<[(String, String)]>,
    login: LoginContext,
    shared: Arc<Shared>,
) -> SessionEnd {
    let startup = match &client.startup.token {
        None => None,
        // It was verified at the login; by now it may have ended.
        Some(token) => match shared
            .tokens
            .verify(token, &login.module, &login.login.name, SystemTime::now())
        {
            Ok(identity) => {
                let (name, module) = (login.login.name.as_str(), login.module.as_str());
                if shared
                    .audit
                    .adopted(&identity, name, module, SystemTime::now())
                    .await
                    .is_err()
                {
                    shared.metrics.audit_failed();
                    return SessionEnd::Trail;
                }
                Some(identity)
            }
            Err(_) => return SessionEnd::Token,
        },
    };
    match Session::new(client, pool, told, login, shared, startup) {
        Ok(mut session) => {
            let end = session.live().await;
            Box::pin(session.bury(end)).await
        }
        Err(end) => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, D, E, F: Future>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    /// Most of what an idle client costs is its task. What is done seldom has its state on the heap, for as long as it is done.
    #[test]
    fn a_session_is_small() {
        let (task, state) = (size(run), size_of::<Session>());
        assert!(state <= 1792 && task <= 1792, "state {state}, task {task}");
    }
}
