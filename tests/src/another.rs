//! Another proxy before the stand's database, with settings of its own, alone in its process: what it takes can be measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kept::Kept;
use crate::product::{copy_directory, free_port, log_file, postern};
use crate::rewriting::provision;
use crate::stand::{Stand, eventually};
use crate::target::Target;

/// A proxy that serves until this is dropped, or until the tests end.
pub struct Another {
    /// Its process.
    pub kept: Kept,
    /// Where it listens.
    pub port: u16,
}

impl Another {
    /// Copies the stand's configuration, changes it, and serves.
    ///
    /// # Panics
    /// When it does not serve.
    pub fn start(stand: &Stand, purpose: &str, change: impl FnOnce(&mut toml::Table)) -> Self {
        Self::with(stand, &stand.config_file(), purpose, change)
    }

    /// The same with another configuration than the stand's.
    ///
    /// # Panics
    /// When it does not serve.
    pub fn with(stand: &Stand, config: &Path, purpose: &str, change: impl FnOnce(&mut toml::Table)) -> Self {
        let (file, port) = Self::configured(stand, config, purpose, change);
        Self::serve(&file, port, purpose)
    }

    /// The same, and the database is provisioned for it first. Whoever does that undoes it.
    ///
    /// # Panics
    /// When it does not serve.
    pub fn provisioned(stand: &Stand, config: &Path, purpose: &str, change: impl FnOnce(&mut toml::Table)) -> Self {
        let (file, port) = Self::configured(stand, config, purpose, change);
        provision(&file).unwrap_or_else(|e| panic!("{e}"));
        Self::serve(&file, port, purpose)
    }

    fn configured(stand: &Stand, config: &Path, purpose: &str, change: impl FnOnce(&mut toml::Table)) -> (PathBuf, u16) {
        let to = stand.dir.join(purpose);
        copy_directory(config.parent().expect("a file lies in a directory"), &to);
        let file = to.join("postern.toml");
        let mut settings: toml::Table = fs::read_to_string(&file).expect("readable").parse().expect("TOML");
        let port = free_port();
        for (section, port) in [("listen", port), ("admin", free_port())] {
            set(&mut settings, section, "address", format!("127.0.0.1:{port}"));
        }
        change(&mut settings);
        fs::write(&file, settings.to_string()).expect("writable");
        (file, port)
    }

    fn serve(file: &Path, port: u16, purpose: &str) -> Self {
        let binary = postern().to_str().expect("UTF-8");
        let config = file.to_str().expect("UTF-8");
        let kept = Kept::start(&[binary, "serve", "--config", config], &log_file(purpose), None);
        let ready = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
        assert!(
            eventually(Duration::from_secs(30), || kept.alive().then(ready).flatten()).is_some(),
            "the other proxy does not listen:\n{}",
            kept.log_text()
        );
        Self { kept, port }
    }

    /// A login of the stand, through this proxy.
    pub fn login(&self, stand: &Stand, name: &str) -> Target {
        stand.login(name).on_port(self.port)
    }

    /// Its resident memory, KiB.
    ///
    /// # Panics
    /// When it has ended.
    pub fn memory(&self) -> u64 {
        resident(self.kept.pid)
    }
}

/// Sets one setting of a section, which is made where it is missing.
///
/// # Panics
/// When the section is no table.
pub fn set(settings: &mut toml::Table, section: &str, name: &str, value: impl Into<toml::Value>) {
    let section = settings
        .entry(section)
        .or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let section = section.as_table_mut().expect("a section is a table");
    section.insert(name.to_owned(), value.into());
}

/// Resident memory of a process, KiB.
///
/// # Panics
/// When it has ended.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS is told");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}
