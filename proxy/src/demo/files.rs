//! The configuration of a demonstration: the reference domain's examples, with its own ports, secrets and issuer.
//!
//! Files are written where they are missing and kept where they are there, so that a person can change them; only the ports are
//! brought up to date at every start.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use postern_config::Config;

use super::error::DemoError;
use super::people::people_json;
use super::place::{Place, write_file};
use crate::identity::mint;

/// The reference domain, carried in the binary so that the demonstration needs no clone.
pub const EXAMPLES: &[(&str, &str)] = &[
    ("postern.toml", include_str!("../../../config/examples/postern.toml")),
    (
        "modules/chat.toml",
        include_str!("../../../config/examples/modules/chat.toml"),
    ),
    (
        "modules/disco.toml",
        include_str!("../../../config/examples/modules/disco.toml"),
    ),
    (
        "modules/evilmod.toml",
        include_str!("../../../config/examples/modules/evilmod.toml"),
    ),
    ("modules/lab.toml", include_str!("../../../config/examples/modules/lab.toml")),
    (
        "modules/sys_account.toml",
        include_str!("../../../config/examples/modules/sys_account.toml"),
    ),
    (
        "modules/sys_core.toml",
        include_str!("../../../config/examples/modules/sys_core.toml"),
    ),
];

/// Where things listen in this run.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// The proxy.
    pub proxy: u16,
    /// Metrics and health.
    pub admin: u16,
    /// PostgreSQL.
    pub database: u16,
}

/// `DIR/config/postern.toml`.
pub fn config_file(place: &Place) -> PathBuf {
    place.path("config/postern.toml")
}

/// Writes what is missing, sets this run's ports, makes missing secrets, and loads the whole. Returns the files that differ from this
/// version's examples.
pub fn prepare(place: &Place, ports: Ports) -> Result<(Config, Vec<&'static str>), DemoError> {
    let dir = place.own_dir("config")?;
    place.own_dir("config/modules")?;
    let mut changed = Vec::new();
    for (name, text) in EXAMPLES {
        let path = dir.join(name);
        let current = match fs::read_to_string(&path) {
            Ok(found) => found,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => (*text).to_owned(),
            Err(e) => return Err(DemoError::io("read", &path)(e)),
        };
        let settled = |text: &str| {
            if *name == "postern.toml" {
                settle(text, place, ports)
            } else {
                text.to_owned()
            }
        };
        let wanted = settled(&current);
        if wanted != settled(text) {
            changed.push(*name);
        }
        write_file(&path, 0o600, wanted.as_bytes())?;
    }
    let config = postern_config::load(&dir.join("postern.toml"))?;
    secrets(&config)?;
    issuer(&config)?;
    for manifest in &config.modules {
        if let (Some(root), Some(name)) = (&config.settings.tablespace_root, &manifest.tablespace) {
            fs::create_dir_all(root).map_err(DemoError::io("create", root))?;
            place.give(root)?;
            let path = root.join(name.as_str());
            fs::create_dir_all(&path).map_err(DemoError::io("create", &path))?;
            place.give(&path)?;
        }
    }
    Ok((config, changed))
}

/// A password made once and kept in a file of its own.
pub fn kept_secret(path: &Path) -> Result<String, DemoError> {
    match fs::read_to_string(path) {
        Ok(text) => return Ok(text.trim_end().to_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(DemoError::io("read", path)(e)),
    }
    let mut bytes = [0u8; 20];
    getrandom::fill(&mut bytes).map_err(|e| DemoError::Secret {
        what: "a password",
        message: e.to_string(),
    })?;
    let text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    write_new(path, 0o600, format!("{text}\n").as_bytes())?;
    Ok(text)
}

/// Writes a file and the directories that lead to it.
fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), DemoError> {
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(DemoError::io("create", parent))?;
    }
    write_file(path, mode, bytes)
}

fn secrets(config: &Config) -> Result<(), DemoError> {
    let settings = &config.settings;
    for login in config.modules.iter().flat_map(|m| &m.logins) {
        kept_secret(&settings.secrets_dir.join(format!("{}.client", login.name)))?;
        kept_secret(&settings.secrets_dir.join(format!("{}.upstream", login.name)))?;
    }
    kept_secret(&settings.upstream.control_password_file)?;
    kept_secret(&settings.keys.passphrase_file)?;
    Ok(())
}

fn issuer(config: &Config) -> Result<(), DemoError> {
    let tokens = &config.settings.tokens;
    let missing = |what: &str| DemoError::Missing(format!("{what} under [tokens]"));
    let private = tokens.dev_private_key.as_ref().ok_or_else(|| missing("dev_private_key"))?;
    let people = tokens.dev_people.as_ref().ok_or_else(|| missing("dev_people"))?;
    let public = tokens.public_keys.first().ok_or_else(|| missing("public_keys"))?;
    if !people.exists() {
        write_new(people, 0o600, people_json().as_bytes())?;
    }
    if private.exists() && public.exists() {
        return Ok(());
    }
    let (private_pem, public_pem) = mint::generate_issuer().map_err(|e| DemoError::Secret {
        what: "the development issuer's key",
        message: e.to_string(),
    })?;
    write_new(private, 0o600, private_pem.as_bytes())?;
    write_new(public, 0o644, public_pem.as_bytes())
}

/// The example is written for containers; here everything lies below DIR. Relative paths are taken from `DIR/config`.
fn settle(text: &str, place: &Place, ports: Ports) -> String {
    let quoted = |s: String| format!("{s:?}");
    let local = |s: &str| format!("{s:?}");
    let mut text = text.to_owned();
    for (section, key, value) in [
        ("listen", "address", quoted(format!("127.0.0.1:{}", ports.proxy))),
        ("admin", "address", quoted(format!("127.0.0.1:{}", ports.admin))),
        ("upstream", "host", local("127.0.0.1")),
        ("upstream", "port", ports.database.to_string()),
        ("upstream", "control_password_file", local("secrets/control")),
        ("secrets", "dir", local("secrets")),
        ("keys", "root_file", local("keys/root.key")),
        ("keys", "passphrase_file", local("secrets/passphrase")),
        ("tokens", "public_keys", "[\"keys/issuer.pem\"]".to_owned()),
        ("tokens", "dev_people", local("people.json")),
        ("tokens", "dev_private_key", local("keys/issuer.key")),
        ("tokens", "dev_issuer", "true".to_owned()),
        ("audit", "file", quoted(place.path("audit.jsonl").display().to_string())),
        (
            "provision",
            "tablespace_root",
            quoted(place.path("tablespaces").display().to_string()),
        ),
    ] {
        text = set(&text, section, key, &value);
    }
    text
}

/// Sets one value in TOML text and leaves everything else, comments included, as it is.
fn set(text: &str, section: &str, key: &str, value: &str) -> String {
    let header = format!("[{section}]");
    let heads = |line: &String| line.split('#').next().unwrap_or_default().trim() == header;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let Some(start) = lines.iter().position(heads) else {
        return format!("{text}\n{header}\n{key} = {value}\n");
    };
    let end = lines[start + 1..]
        .iter()
        .position(|l| l.trim_start().starts_with('['))
        .map_or(lines.len(), |n| start + 1 + n);
    let found = lines[start + 1..end]
        .iter()
        .position(|l| l.split_once('=').is_some_and(|(k, _)| k.trim() == key));
    let line = format!("{key} = {value}");
    match found {
        Some(at) => lines[start + 1 + at] = line,
        None => lines.insert(start + 1, line),
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_set_in_their_own_section() {
        let text = "# about\n[listen]\naddress = \"a\" # old\n\n[admin]\naddress = \"b\"\n";
        let set = set(text, "admin", "address", "\"c\"");
        assert_eq!(set, "# about\n[listen]\naddress = \"a\" # old\n\n[admin]\naddress = \"c\"\n");
        assert!(super::set(text, "upstream", "port", "1").ends_with("[upstream]\nport = 1\n"));
        assert!(super::set(text, "listen", "tls", "1").contains("[listen]\ntls = 1\n"));
    }

    #[test]
    fn every_example_is_carried() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/modules");
        let mut there: Vec<String> = fs::read_dir(dir)
            .expect("the examples are there")
            .map(|e| format!("modules/{}", e.expect("readable").file_name().to_string_lossy()))
            .collect();
        there.sort();
        let carried: Vec<&str> = EXAMPLES
            .iter()
            .map(|(n, _)| *n)
            .filter(|n| n.starts_with("modules/"))
            .collect();
        assert_eq!(there, carried);
    }
}
