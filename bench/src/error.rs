//! Why something could not be measured.

use std::io;
use std::path::PathBuf;

/// What went wrong, and on what.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file, directory or program.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program ended that should not have, or with an error.
    #[error("`{program}` ended; it said:\n{message}")]
    Ended {
        /// Which.
        program: String,
        /// The end of its output.
        message: String,
    },
    /// A server took too long.
    #[error("`{program}` was not ready after {seconds} s; it said:\n{message}")]
    NotReady {
        /// Which.
        program: String,
        /// How long it had.
        seconds: u64,
        /// The end of its output.
        message: String,
    },
    /// The wire to a server.
    #[error("{doing}: {source}")]
    Wire {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A server's own words.
    #[error("`{sql}`: {code}: {message}")]
    Sql {
        /// The statement, or its beginning.
        sql: String,
        /// SQLSTATE.
        code: String,
        /// Message, and hint if there was one.
        message: String,
    },
    /// An operation that gave something else than it should. Its slice does not count.
    #[error("`{sql}` gave {found}, expected {expected}")]
    Wrong {
        /// The statement.
        sql: String,
        /// What is right.
        expected: String,
        /// What came.
        found: String,
    },
    /// A file or an output does not read as documented.
    #[error("{what} does not read as expected")]
    Unreadable {
        /// Which.
        what: String,
    },
    /// A key, certificate or password could not be made.
    #[error("cannot make {what}: {message}")]
    Secret {
        /// Which.
        what: &'static str,
        /// Why not.
        message: String,
    },
    /// A plot could not be drawn.
    #[error("cannot draw {name}: {message}")]
    Plot {
        /// Which.
        name: &'static str,
        /// Why not.
        message: String,
    },
    /// The soak saw memory grow, or an operation fail.
    #[error("{0}")]
    Soak(String),
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl BenchError {
    /// For `map_err`.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// For `map_err`.
    pub fn wire(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Wire { doing, source }
    }

    /// What to do about it.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("build and install everything first (make setup-bench build), or name the binary with --postern")
            }
            Self::Ended { .. } | Self::NotReady { .. } => Some("--dir DIR keeps what was written, logs included"),
            _ => None,
        }
    }
}
