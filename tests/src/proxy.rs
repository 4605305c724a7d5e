//! A proxy of a test's own: `postern serve` with changes to the stand's settings.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::connection::Connection;
use crate::kept::Kept;
use crate::product::{copy_directory, free_port, log_file, postern};
use crate::stand::{Stand, eventually, tail};
use crate::target::Target;

/// A running proxy.
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    /// Its `postern.toml`.
    pub config: PathBuf,
    kept: Kept,
}

impl Proxy {
    /// Before the stand's database, knowing all modules, also the tests' own. `changes` is TOML that is laid over the settings.
    pub fn start(stand: &Stand, purpose: &str, changes: &str) -> Self {
        let from = stand.gate().config.parent().expect("a file lies in a directory").to_owned();
        let to = stand.dir.join(format!("proxy-{purpose}"));
        copy_directory(&from, &to);
        Self::serve(&to, purpose, changes)
    }

    /// With the configuration in that directory.
    pub fn serve(dir: &Path, purpose: &str, changes: &str) -> Self {
        let (port, config) = settle(dir, changes);
        let binary = postern().to_str().expect("the target directory's name is UTF-8");
        let file = config.to_str().expect("the temporary directory's name is UTF-8");
        let log = log_file(purpose);
        // An earlier run's would say "ready" too.
        let _ = std::fs::remove_file(&log);
        let kept = Kept::start(&[binary, "serve", "--config", file], &log, None);
        // It listens before it has read the catalogues; until then connections wait.
        let ready = || (kept.alive() && kept.log_text().contains("\"ready\"")).then_some(());
        if eventually(Duration::from_secs(60), ready).is_none() {
            panic!("the proxy `{purpose}` is not ready; its output:\n{}", kept.log_text());
        }
        Self { port, config, kept }
    }

    /// A login through it, with a person's token.
    pub fn login(&self, stand: &Stand, name: &str, who: Option<&str>) -> Target {
        stand.through(self.port, name, who)
    }

    /// Connects so.
    #[track_caller]
    pub fn connect(&self, stand: &Stand, name: &str, who: Option<&str>) -> Connection {
        self.open(&self.login(stand, name, who))
    }

    /// Connects there.
    #[track_caller]
    pub fn open(&self, target: &Target) -> Connection {
        match Connection::open(target) {
            Ok(connection) => connection,
            Err(failure) => panic!("{} cannot connect: {failure}\n{}", target.user, tail(&self.kept.log_text())),
        }
    }

    /// Resident memory, KiB.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.kept.pid)).expect("the proxy runs");
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS is told");
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
    }

    /// Whether it still runs.
    pub fn alive(&self) -> bool {
        self.kept.alive()
    }

    /// What it said.
    pub fn log_text(&self) -> String {
        self.kept.log_text()
    }
}

/// Lays the changes over the settings in that directory and gives them ports of their own.
pub fn settle(dir: &Path, changes: &str) -> (u16, PathBuf) {
    let port = free_port();
    let config = dir.join("postern.toml");
    let text = fs::read_to_string(&config).unwrap_or_else(|e| panic!("{}: {e}", config.display()));
    let mut settings: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", config.display()));
    let ports = format!(
        "[listen]\naddress = \"127.0.0.1:{port}\"\n[admin]\naddress = \"127.0.0.1:{}\"\n",
        free_port()
    );
    for changes in [&ports, changes] {
        lay_over(&mut settings, changes.parse().unwrap_or_else(|e| panic!("{changes}: {e}")));
    }
    fs::write(&config, settings.to_string()).unwrap_or_else(|e| panic!("{}: {e}", config.display()));
    (port, config)
}

/// Tables are joined, anything else takes the other's place; an empty text takes a setting away.
fn lay_over(settings: &mut toml::Table, changes: toml::Table) {
    for (key, change) in changes {
        match (settings.get_mut(&key), change) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => lay_over(old, new),
            (_, toml::Value::String(text)) if text.is_empty() => drop(settings.remove(&key)),
            (_, change) => drop(settings.insert(key, change)),
        }
    }
}
