//! A second proxy before the stand's database, which also knows the modules of `gate/`: every type that can be protected, and two modules
//! of which one reads what the other exports.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::kept::Kept;
use crate::product::{copy_directory, free_port, log_file, postern, run_postern, workspace, write_secret};
use crate::stand::{Stand, eventually};

/// Password of the logins that only the tests' own modules have.
pub(crate) const GATE_PASSWORD: &str = "for tests alone, never elsewhere";

/// Modules that only the tests have, in `gate/`.
pub(crate) const GATE_MODULES: [&str; 6] = ["alltypes", "archive", "guild", "lender", "borrower", "readers"];

/// A second proxy with a configuration of its own.
pub struct Gate {
    /// Where it listens.
    pub port: u16,
    /// Its `postern.toml`.
    pub config: PathBuf,
    kept: Kept,
}

impl Gate {
    /// Copies the demo's configuration, adds the tests' modules and other ports, provisions (which changes nothing for the modules that
    /// are there already) and serves.
    pub(crate) fn start(stand: &Stand) -> Self {
        let original = stand.config_file();
        let from = original.parent().expect("a file lies in a directory");
        let to = stand.dir.join("gate-config");
        copy_directory(from, &to);
        let (port, admin) = (free_port(), free_port());
        let config = to.join("postern.toml");
        let text = fs::read_to_string(&config).unwrap_or_else(|e| panic!("{}: {e}", config.display()));
        let mut settings: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", config.display()));
        set_address(&mut settings, "listen", port);
        set_address(&mut settings, "admin", admin);
        fs::write(&config, settings.to_string()).unwrap_or_else(|e| panic!("{}: {e}", config.display()));
        for name in GATE_MODULES {
            let module = workspace().join(format!("tests/gate/{name}.toml"));
            fs::copy(&module, to.join(format!("modules/{name}.toml"))).unwrap_or_else(|e| panic!("{}: {e}", module.display()));
        }
        let loaded = postern_config::load(&config).unwrap_or_else(|e| panic!("the tests' own configuration: {e:?}"));
        let ours = loaded.modules.iter().filter(|m| GATE_MODULES.contains(&m.module.as_str()));
        for login in ours.flat_map(|m| &m.logins) {
            for side in ["client", "upstream"] {
                write_secret(
                    &loaded.settings.secrets_dir.join(format!("{}.{side}", login.name)),
                    GATE_PASSWORD,
                );
            }
        }
        let config_text = config.to_str().expect("the temporary directory's name is UTF-8");
        let provisioned = run_postern(&["provision", "--config", config_text]);
        assert!(
            provisioned.status.success(),
            "provisioning a further module failed:\n{}{}",
            String::from_utf8_lossy(&provisioned.stdout),
            String::from_utf8_lossy(&provisioned.stderr)
        );
        let binary = postern().to_str().expect("the target directory's name is UTF-8");
        let kept = Kept::start(&[binary, "serve", "--config", config_text], &log_file("gate"), None);
        let listening = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
        if eventually(Duration::from_secs(30), || kept.alive().then(listening).flatten()).is_none() {
            panic!("the second proxy does not listen; its output:\n{}", kept.log_text());
        }
        Self { port, config, kept }
    }

    /// What it said.
    pub fn log_text(&self) -> String {
        self.kept.log_text()
    }
}

fn set_address(settings: &mut toml::Table, section: &str, port: u16) {
    let section = settings.get_mut(section).and_then(toml::Value::as_table_mut);
    let section = section.expect("the demo's configuration says where it listens");
    section.insert("address".to_owned(), toml::Value::String(format!("127.0.0.1:{port}")));
}
