//! Why a run cannot go on.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Cause; [`BenchError::remedy`] has what to do.
#[derive(Debug, Error)]
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
    /// A server ended before it served.
    #[error("`{program}` ended before it was ready; it said:\n{message}")]
    Ended {
        /// Which.
        program: &'static str,
        /// The end of its output.
        message: String,
    },
    /// A server took too long.
    #[error("`{program}` was not ready after {seconds} s; it said:\n{message}")]
    NotReady {
        /// Which.
        program: &'static str,
        /// How long it had.
        seconds: u64,
        /// The end of its output.
        message: String,
    },
    /// `demo.json` is not as expected.
    #[error("{} does not hold {pointer}", file.display())]
    Announcement {
        /// The file.
        file: PathBuf,
        /// What was looked for.
        pointer: String,
    },
    /// No token.
    #[error("no token for {person} in module {module}: {message}")]
    Token {
        /// Module.
        module: &'static str,
        /// Person.
        person: &'static str,
        /// What the command said.
        message: String,
    },
    /// A server refused or the connection broke.
    #[error("{doing}: {}", told(source))]
    Sql {
        /// What was tried.
        doing: String,
        /// Why not.
        source: tokio_postgres::Error,
    },
    /// An operation that gave something else than it should. Such an operation is not counted.
    #[error("`{sql}` gave {found}, expected {expected}")]
    Wrong {
        /// The statement.
        sql: &'static str,
        /// What is right.
        expected: String,
        /// What came.
        found: String,
    },
    /// A slice that did not end.
    #[error("no answer for {seconds} s")]
    Hung {
        /// How long was waited.
        seconds: u64,
    },
    /// A file of the kernel's does not read as documented.
    #[error("{file} does not read as expected")]
    Kernel {
        /// The file.
        file: String,
    },
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
    pub fn sql(doing: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Sql { doing, source }
    }

    /// What to do about it.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("build everything first (make build), or name the binary with --postern")
            }
            Self::Ended { .. } | Self::NotReady { .. } => {
                Some("--dir DIR keeps what was written; a DIR of another version may not do: remove it, or name a new one")
            }
            Self::Announcement { .. } => Some("the demo and this program are of different versions; build both (make build)"),
            _ => None,
        }
    }
}

/// The server's own words where it spoke, hint included.
fn told(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => {
            let hint = db.hint().map(|h| format!(" ({h})")).unwrap_or_default();
            format!("{}: {}{hint}", db.code().code(), db.message())
        }
        None => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            text
        }
    }
}
