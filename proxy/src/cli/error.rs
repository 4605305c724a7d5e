//! What the command line says when something is wrong: the cause, then the remedy, and a code that scripts can tell apart.

use std::io::Write;
use std::path::PathBuf;

use postern_config::ConfigError;

use crate::control::ControlError;
use crate::demo::DemoError;
use crate::identity::mint::MintError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration is wrong; every problem is printed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The control plane failed.
    #[error("{doing}: {source}")]
    Control {
        /// What was being done.
        doing: &'static str,
        /// Its error.
        source: Box<ControlError>,
    },
    /// The demonstration failed.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// No token could be minted.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// A name that the configuration does not have.
    #[error("the configuration has no {what} `{name}`; there {}", there(.known))]
    Unknown {
        /// `module`, `login`, `person`.
        what: &'static str,
        /// What was given.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// An option that this combination needs.
    #[error("{option} is missing: {why}")]
    Option {
        /// The option.
        option: &'static str,
        /// Why it is needed.
        why: &'static str,
    },
    /// What an option was given cannot be used.
    #[error("{option}: {reason}")]
    Argument {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// `explain` was asked about a statement that is refused; the answer was printed.
    #[error("the statement is refused")]
    Refused,
    /// A command that looks for something found it; it was printed.
    #[error("something was found")]
    Found,
    /// Claims that no token may carry.
    #[error("these claims are not accepted: {reason}")]
    Claims {
        /// What is wrong with them.
        reason: String,
    },
    /// `policy lint` found something; it was printed.
    #[error("{} in the policies", counted(.0, "finding"))]
    Findings(usize),
    /// `policy diff` found something that lets more through, or may; it was printed.
    #[error("{} that may let more through", counted(.0, "change"))]
    Wider(usize),
    /// `policy test` found cases that do not hold; they were printed.
    #[error("{} {} not hold", counted(.0, "case"), if *.0 == 1 { "does" } else { "do" })]
    Cases(usize),
    /// `policy test` was asked for cases that are not there.
    #[error("no case's name holds `{0}`, so nothing would be tried")]
    NoCase(String),
    /// `policy test` exercised too little.
    #[error("the cases exercise {have} % of the policies, and {wanted} % are asked for")]
    Coverage {
        /// What they do.
        have: u8,
        /// What was asked for.
        wanted: u8,
    },
    /// The root key could not be had.
    #[error("the root key: {0}")]
    RootKey(Box<crate::root_key::RootKeyError>),
    /// Keys or secrets could not be used.
    #[error("{what}: {reason}")]
    Secret {
        /// Which.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// The proxy could not start or go on.
    #[error(transparent)]
    Serve(Box<crate::serve::ServeError>),
    /// The asynchronous runtime could not be made.
    #[error("cannot start threads: {source}")]
    Runtime {
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Reading standard input or writing standard output failed.
    #[error("cannot {doing}: {source}")]
    Stream {
        /// What was being done.
        doing: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
}

fn there(known: &[String]) -> String {
    match known.len() {
        0 => "are none".to_owned(),
        _ => format!("are {}", known.join(", ")),
    }
}

fn counted(number: &usize, what: &str) -> String {
    format!("{number} {what}{}", if *number == 1 { "" } else { "s" })
}

impl From<crate::serve::ServeError> for CliError {
    fn from(e: crate::serve::ServeError) -> Self {
        Self::Serve(Box::new(e))
    }
}

impl From<crate::root_key::RootKeyError> for CliError {
    fn from(e: crate::root_key::RootKeyError) -> Self {
        Self::RootKey(Box::new(e))
    }
}

impl CliError {
    /// The process's exit code; `postern --help` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Demo(DemoError::Config(_)) => 64,
            Self::Unknown { .. }
            | Self::Refused
            | Self::Found
            | Self::Mint(_)
            | Self::Claims { .. }
            | Self::Findings(_)
            | Self::Wider(_)
            | Self::Cases(_)
            | Self::NoCase(_)
            | Self::Coverage { .. }
            | Self::Demo(DemoError::Tour { .. }) => 65,
            Self::Option { .. } | Self::Argument { .. } => 2,
            Self::Demo(DemoError::PortBusy { .. } | DemoError::Locked(_)) => 75,
            Self::Demo(DemoError::Interrupted) => 130,
            Self::Demo(
                DemoError::ForeignDirectory { .. } | DemoError::NotOurs(_) | DemoError::Unreachable { .. } | DemoError::Io { .. },
            )
            | Self::File { .. }
            | Self::Stream { .. }
            | Self::RootKey(_)
            | Self::Secret { .. } => 73,
            Self::Serve(e) => e.exit_code(),
            Self::Demo(DemoError::Serve(e)) => e.exit_code(),
            Self::Demo(DemoError::Crashed) => 70,
            Self::Control { .. } | Self::Demo(_) => 69,
            Self::Runtime { .. } => 70,
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Config(_) => "Mend these lines and run `postern check` again.".to_owned(),
            Self::Control { source, .. } => source.remedy().to_owned(),
            Self::Demo(e) => e.remedy(),
            Self::Mint(_) => "Nothing was printed; --help shows examples.".to_owned(),
            Self::Unknown { .. } => "Name one of those.".to_owned(),
            Self::Option { .. } => "Add it; --help shows examples.".to_owned(),
            Self::Argument { .. } => "--help shows examples.".to_owned(),
            Self::Refused | Self::Found => String::new(),
            Self::Claims { .. } => {
                "Give one JSON object: {\"sub\": \"bob\", \"org_member_of\": [\"A\"], \"verified\": true}".to_owned()
            }
            Self::Findings(_) => "Mend them, or accept each where it stands with `allow_lint` and a reason.".to_owned(),
            Self::Wider(_) => "Look at each; --accept says that they are meant.".to_owned(),
            Self::Cases(_) => "Mend the policy, or the case where it is the one that is wrong.".to_owned(),
            Self::NoCase(_) => "Give a part of a name, as the files have it.".to_owned(),
            Self::Coverage { .. } => "Write cases for the lines that say `never`.".to_owned(),
            Self::RootKey(_) => {
                "Put root_file and passphrase_file back where [keys] says; delete nothing: the root key is the only way back."
                    .to_owned()
            }
            Self::Secret { .. } => "See the message; `postern check` shows where each file is expected.".to_owned(),
            Self::Serve(e) => e.remedy(),
            Self::Runtime { .. } => "Raise the limit on processes (ulimit -u) or free memory.".to_owned(),
            Self::Stream { .. } => "See that the other end of the pipe is still there.".to_owned(),
            Self::File { .. } => "See that the file exists and that you may read it.".to_owned(),
        }
    }

    /// Cause, then remedy. Configuration problems come one per line, as compilers print them.
    pub fn print(&self, out: &mut impl Write) {
        if let Self::Config(e) | Self::Demo(DemoError::Config(e)) = self {
            for problem in &e.0 {
                let _ = writeln!(out, "{problem}");
            }
        }
        if matches!(self, Self::Refused | Self::Found) {
            return;
        }
        let _ = writeln!(out, "postern: {self}");
        let _ = writeln!(out, "{}", self.remedy());
    }
}
