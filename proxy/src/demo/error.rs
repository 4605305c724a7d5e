//! What can go wrong while a demonstration is set up, each with its cause; [`DemoError::remedy`] says what to do.

use std::path::PathBuf;

/// Why the demonstration could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No PostgreSQL server programs were found.
    #[error("no PostgreSQL server programs (initdb, pg_ctl, postgres) were found; looked in {}", list(.looked))]
    NoPostgres {
        /// Directories that were tried.
        looked: Vec<PathBuf>,
    },
    /// The directory given by `--pg-bin` lacks a program.
    #[error("{} has no program `{missing}`", .dir.display())]
    NotPostgres {
        /// The directory.
        dir: PathBuf,
        /// The program that is not there.
        missing: &'static str,
    },
    /// A server older than what the judge's grammar allows.
    #[error("{} is PostgreSQL {found}; Postern needs 15 or newer", .bin.display())]
    OldPostgres {
        /// The directory of its programs.
        bin: PathBuf,
        /// Its major version.
        found: u32,
    },
    /// We are root, and there is no other user that could run PostgreSQL (which refuses to run as root).
    #[error("PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor `nobody`")]
    NoAccount,
    /// The database's user cannot reach the data directory.
    #[error("the user `{account}` who runs PostgreSQL cannot enter {}, which leads to {}", .ancestor.display(), .dir.display())]
    Unreachable {
        /// The directory asked for.
        dir: PathBuf,
        /// The first ancestor that bars the way.
        ancestor: PathBuf,
        /// Who cannot enter it.
        account: String,
    },
    /// The directory exists and is somebody else's.
    #[error("{} belongs to another user (uid {owner})", .dir.display())]
    ForeignDirectory {
        /// The directory.
        dir: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// The directory holds something that no demonstration made.
    #[error("{} is not empty and was not made by `postern demo`", .0.display())]
    NotOurs(PathBuf),
    /// Another demonstration holds the directory.
    #[error("another `postern demo` is running in {}", .0.display())]
    Locked(PathBuf),
    /// The port asked for is taken.
    #[error("port {port} on {host} is in use")]
    PortBusy {
        /// The address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A file operation failed.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// A verb: `read`, `write`, `create`.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A program could not be started or failed.
    #[error("`{program}` failed: {message}")]
    Program {
        /// The program.
        program: &'static str,
        /// Its last words.
        message: String,
    },
    /// PostgreSQL did not come up.
    #[error("PostgreSQL did not start: {message} (log: {})", .log.display())]
    NotStarted {
        /// The last line of its log.
        message: String,
        /// The log.
        log: PathBuf,
    },
    /// A statement of the demonstration's own failed.
    #[error("{doing}: {}", database(.source))]
    Sql {
        /// What was being done.
        doing: String,
        /// The answer.
        source: tokio_postgres::Error,
    },
    /// Secrets could not be made.
    #[error("cannot make {what}: {message}")]
    Secret {
        /// Which.
        what: &'static str,
        /// Why not.
        message: String,
    },
    /// The examples lack something that the demonstration needs.
    #[error("the demonstration's configuration has no {0}")]
    Missing(String),
    /// The configuration in the directory is not valid.
    #[error(transparent)]
    Config(#[from] postern_config::ConfigError),
    /// The control plane failed.
    #[error("{doing}: {source}")]
    Control {
        /// What was being done.
        doing: &'static str,
        /// Its error.
        source: Box<crate::control::ControlError>,
    },
    /// The proxy failed.
    #[error("the proxy: {0}")]
    Serve(Box<crate::serve::ServeError>),
    /// The proxy ended without saying why.
    #[error("the proxy ended unexpectedly")]
    Crashed,
    /// The root key could not be had.
    #[error("the root key: {0}")]
    RootKey(Box<crate::root_key::RootKeyError>),
    /// A token could not be minted.
    #[error("cannot mint a token for `{person}`: {message}")]
    Token {
        /// For whom.
        person: String,
        /// Why not.
        message: String,
    },
    /// Somebody stopped it before it was ready.
    #[error("interrupted before it was ready; everything was stopped")]
    Interrupted,
    /// Steps of the tour did not show what they should.
    #[error("{failed} of {total} steps of the tour did not show what they should")]
    Tour {
        /// How many.
        failed: usize,
        /// Of how many.
        total: usize,
    },
}

impl From<crate::serve::ServeError> for DemoError {
    fn from(e: crate::serve::ServeError) -> Self {
        Self::Serve(Box::new(e))
    }
}

impl From<crate::root_key::RootKeyError> for DemoError {
    fn from(e: crate::root_key::RootKeyError) -> Self {
        Self::RootKey(Box::new(e))
    }
}

impl DemoError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoPostgres { .. } => {
                "Install PostgreSQL 15 or newer (Debian: `make setup`, or `apt-get install postgresql`), or name its directory with --pg-bin.".to_owned()
            }
            Self::NotPostgres { .. } => {
                "Name the directory that holds initdb, pg_ctl and postgres, for example --pg-bin /usr/lib/postgresql/15/bin.".to_owned()
            }
            Self::OldPostgres { .. } => "Install PostgreSQL 15 or newer, or name one with --pg-bin.".to_owned(),
            Self::NoAccount => "Create a user `postgres`, or run the demo as an ordinary user.".to_owned(),
            Self::Unreachable { ancestor, .. } => format!(
                "Choose another place with --dir, for example --dir /var/tmp/postern-demo, or let others pass: chmod o+x '{}'.",
                ancestor.display()
            ),
            Self::ForeignDirectory { .. } | Self::NotOurs(_) => "Choose another directory with --dir.".to_owned(),
            Self::Locked(_) => "Stop it, or choose another --dir (and --port).".to_owned(),
            Self::PortBusy { .. } => "Choose another with --port; --port 0 takes any free one.".to_owned(),
            Self::Io { .. } => "See that the path exists, is writable and has space, or choose another --dir.".to_owned(),
            Self::Program { .. } | Self::NotStarted { .. } => {
                "Read the message above; if the directory is damaged, remove it and run the demo again.".to_owned()
            }
            Self::Config(_) | Self::Missing(_) => {
                "Mend the files, or remove the directory to have the examples written again.".to_owned()
            }
            Self::Serve(e) => e.remedy(),
            Self::Control { source, .. } => source.remedy().to_owned(),
            Self::Sql { .. } | Self::Crashed | Self::RootKey(_) => {
                "Look into postgres.log and postern.log in the demo's directory; removing the directory starts afresh.".to_owned()
            }
            Self::Secret { .. } | Self::Token { .. } => "Remove the demo's directory to have its secrets made again.".to_owned(),
            Self::Interrupted => "Run it again: what was done is kept.".to_owned(),
            Self::Tour { .. } => "Read the steps marked FAIL above; this is a defect of Postern.".to_owned(),
        }
    }

    /// Maker for `map_err` on file operations.
    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// Maker for `map_err` on statements.
    pub fn sql(doing: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Sql { doing, source }
    }
}

fn list(paths: &[PathBuf]) -> String {
    let all: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    all.join(", ")
}

/// What a database said, in one line: SQLSTATE, message and hint, or the transport's error.
pub fn database(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(e) => {
            let hint = e.hint().map(|h| format!(" (hint: {h})")).unwrap_or_default();
            format!("{} {}{hint}", e.code().code(), e.message())
        }
        None => {
            // The outer error says only which step failed; the cause says why.
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(c) = cause {
                text = format!("{text}: {c}");
                cause = c.source();
            }
            text
        }
    }
}
