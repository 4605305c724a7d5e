//! `postern.toml`: its keys, their defaults and their bounds.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::{At, Notes, Section, parse};
use crate::expr::Expr;
use crate::predicate;
use crate::settings::{Enforce, KeySettings, Limits, Listen, Settings, TlsFiles, TokenSettings, Upstream};

/// What the file held, as far as it could be read.
pub(super) struct Read {
    pub(super) settings: Option<Settings>,
    /// `restrict`: AND-ed to every declared table. Its own text goes along for the second reading.
    pub(super) restriction: Option<(At<String>, Expr)>,
}

pub(super) fn read(text: &str, directory: &Path, notes: &mut Notes) -> Read {
    let document = parse(text, notes);
    let mut root = Section::root(&document);
    let enforce = enforce(&mut root, notes);
    let restriction = root
        .text("restrict", notes)
        .and_then(|written| match predicate::parse_claims_only(&written.value) {
            Ok(expr) => Some((written, expr)),
            Err(complaints) => {
                for complaint in complaints {
                    notes.add(written.line, format!("`restrict`: {complaint}"));
                }
                None
            }
        });
    let paths = Paths { directory };
    let settings = (|| {
        // Every part is read before any is asked for, so that one missing part hides no mistake in the next.
        let listen = part(&mut root, "listen", notes, |s, n| listen(s, &paths, n));
        let admin = part(&mut root, "admin", notes, |s, n| address(s, "\"127.0.0.1:9432\"", n));
        let upstream = part(&mut root, "upstream", notes, |s, n| upstream(s, &paths, n));
        let secrets_dir = part(&mut root, "secrets", notes, |s, n| paths.need(s, "dir", "\"secrets\"", n));
        let keys = part(&mut root, "keys", notes, |s, n| {
            let root_file = paths.need(s, "root_file", "\"keys/root\"", n);
            let passphrase_file = paths.need(s, "passphrase_file", "\"secrets/passphrase\"", n);
            Some(KeySettings {
                root_file: root_file?,
                passphrase_file: passphrase_file?,
            })
        });
        let tokens = part(&mut root, "tokens", notes, |s, n| tokens(s, &paths, n));
        let audit_file = optional(&mut root, "audit", notes, |s, n| paths.get(s, "file", n));
        let tablespace_root = optional(&mut root, "provision", notes, |s, n| absolute(s, "tablespace_root", n));
        let limits = optional(&mut root, "limits", notes, |s, n| Some(limits(s, n))).unwrap_or_else(default_limits);
        Some(Settings {
            listen: listen?,
            admin: admin?,
            upstream: upstream?,
            secrets_dir: secrets_dir?,
            keys: keys?,
            tokens: tokens?,
            audit_file,
            limits,
            enforce,
            tablespace_root,
        })
    })();
    root.finish(notes);
    Read { settings, restriction }
}

fn part<T>(
    root: &mut Section<'_, '_>,
    key: &'static str,
    notes: &mut Notes,
    read: impl FnOnce(&mut Section<'_, '_>, &mut Notes) -> Option<T>,
) -> Option<T> {
    if !root.has(key) {
        notes.add(
            1,
            format!("the section [{key}] is missing; add it (config/examples/postern.toml shows it)"),
        );
    }
    optional(root, key, notes, read)
}

fn optional<T>(
    root: &mut Section<'_, '_>,
    key: &'static str,
    notes: &mut Notes,
    read: impl FnOnce(&mut Section<'_, '_>, &mut Notes) -> Option<T>,
) -> Option<T> {
    let mut section = root.section(key, notes)?;
    let value = read(&mut section, notes);
    section.finish(notes);
    value
}

/// Relative paths are taken from the directory of the file that names them.
struct Paths<'p> {
    directory: &'p Path,
}

impl Paths<'_> {
    fn get(&self, section: &mut Section<'_, '_>, key: &'static str, notes: &mut Notes) -> Option<PathBuf> {
        let text = section.text(key, notes)?;
        self.resolve(&text, key, notes)
    }

    fn need(&self, section: &mut Section<'_, '_>, key: &'static str, example: &str, notes: &mut Notes) -> Option<PathBuf> {
        let text = section.need_text(key, example, notes)?;
        self.resolve(&text, key, notes)
    }

    fn resolve(&self, text: &At<String>, key: &str, notes: &mut Notes) -> Option<PathBuf> {
        if text.value.is_empty() || text.value.contains('\0') {
            notes.add(text.line, format!("`{key}` is not a path; write the path of a file"));
            return None;
        }
        Some(self.directory.join(&text.value))
    }
}

/// A path on the database host, where our own directory means nothing.
fn absolute(section: &mut Section<'_, '_>, key: &'static str, notes: &mut Notes) -> Option<PathBuf> {
    let text = section.text(key, notes)?;
    if !text.value.starts_with('/') {
        notes.add(
            text.line,
            format!("`{key}` is a directory on the database host; write its absolute path"),
        );
        return None;
    }
    Some(PathBuf::from(text.value))
}

fn enforce(root: &mut Section<'_, '_>, notes: &mut Notes) -> Enforce {
    let Some(text) = root.text("enforce", notes) else {
        return Enforce::Both;
    };
    match text.value.as_str() {
        "both" => Enforce::Both,
        "rewrite" => Enforce::Rewrite,
        other => {
            notes.add(
                text.line,
                format!("`enforce` cannot be `{other}`; write \"both\" or \"rewrite\""),
            );
            Enforce::Both
        }
    }
}

fn address(section: &mut Section<'_, '_>, example: &str, notes: &mut Notes) -> Option<SocketAddr> {
    let text = section.need_text("address", example, notes)?;
    match text.value.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            notes.add(
                text.line,
                format!("`{}` is not an IP address and port; write it like {example}", text.value),
            );
            None
        }
    }
}

fn listen(section: &mut Section<'_, '_>, paths: &Paths<'_>, notes: &mut Notes) -> Option<Listen> {
    let address = address(section, "\"127.0.0.1:7432\"", notes);
    let require_tls = section.flag("require_tls", notes);
    let written = section.has("tls");
    let tls = section.section("tls", notes).and_then(|mut tls| {
        let certificate = paths.need(&mut tls, "certificate", "\"tls/server.crt\"", notes);
        let key = paths.need(&mut tls, "key", "\"tls/server.key\"", notes);
        tls.finish(notes);
        Some(TlsFiles {
            certificate: certificate?,
            key: key?,
        })
    });
    if let Some(required) = &require_tls
        && required.value
        && !written
    {
        notes.add(
            required.line,
            "`require_tls` needs a certificate; add [listen.tls] with `certificate` and `key`, or write false",
        );
    }
    Some(Listen {
        address: address?,
        tls,
        require_tls: require_tls.is_some_and(|r| r.value),
    })
}

fn upstream(section: &mut Section<'_, '_>, paths: &Paths<'_>, notes: &mut Notes) -> Option<Upstream> {
    let host = section.need_text("host", "\"127.0.0.1\"", notes);
    let port = section.number("port", 1..=65535, notes).unwrap_or(5432);
    let database = section.need_text("database", "\"app\"", notes);
    let tls_ca = paths.get(section, "tls_ca", notes);
    let control_user = section.need_text("control_user", "\"postern_control\"", notes);
    let control_password_file = paths.need(section, "control_password_file", "\"secrets/control\"", notes);
    let connect_timeout = seconds(section, "connect_timeout_seconds", 5, notes);
    for text in [&host, &database, &control_user].into_iter().flatten() {
        if text.value.contains('\0') {
            notes.add(text.line, "a NUL cannot be sent to PostgreSQL; remove it");
        }
    }
    Some(Upstream {
        host: host?.value,
        port: u16::try_from(port).ok()?,
        database: database?.value,
        tls_ca,
        control_user: control_user?.value,
        control_password_file: control_password_file?,
        connect_timeout,
    })
}

fn tokens(section: &mut Section<'_, '_>, paths: &Paths<'_>, notes: &mut Notes) -> Option<TokenSettings> {
    let issuer = section.need_text("issuer", "\"https://id.example.org\"", notes);
    let audience = section.need_text("audience", "\"postern\"", notes);
    let public_keys = match section.texts("public_keys", notes) {
        Some(keys) if keys.value.is_empty() => {
            notes.add(
                keys.line,
                "`public_keys` is empty, so nobody could vouch for a user; name the issuer's PEM file",
            );
            None
        }
        Some(keys) => keys
            .value
            .iter()
            .map(|k| paths.resolve(k, "public_keys", notes))
            .collect::<Option<Vec<_>>>(),
        None => {
            if !section.has("public_keys") {
                section.missing("public_keys", "[\"keys/issuer.pem\"]", notes);
            }
            None
        }
    };
    let dev_issuer = section.flag("dev_issuer", notes).is_some_and(|d| d.value);
    let mut development_only = |key: &'static str, why: &str, notes: &mut Notes| {
        let text = section.text(key, notes)?;
        if !dev_issuer {
            notes.add(
                text.line,
                format!("`{key}` {why}; remove it, or write `dev_issuer = true` where the issuer is for development"),
            );
        }
        paths.resolve(&text, key, notes)
    };
    let dev_private_key = development_only("dev_private_key", "would let the proxy's host vouch for any user", notes);
    let dev_people = development_only("dev_people", "serves the development issuer alone", notes);
    Some(TokenSettings {
        issuer: issuer?.value,
        audience: audience?.value,
        public_keys: public_keys?,
        dev_issuer,
        dev_private_key,
        dev_people,
    })
}

fn seconds(section: &mut Section<'_, '_>, key: &'static str, default: u64, notes: &mut Notes) -> Duration {
    Duration::from_secs(section.number(key, 1..=600, notes).unwrap_or(default))
}

const MIB: u64 = 1 << 20;

fn default_limits() -> Limits {
    Limits {
        max_sql_bytes: 1 << 20,
        max_frame_bytes: 64 << 20,
        max_clients: 500,
        login_timeout: Duration::from_secs(10),
        plan_cache_bytes: 64 << 20,
    }
}

fn limits(section: &mut Section<'_, '_>, notes: &mut Notes) -> Limits {
    let line = section.line();
    let default = default_limits();
    let mut size = |key, range, default| {
        section
            .number(key, range, notes)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(default)
    };
    let max_sql_bytes = size("max_sql_bytes", 1024..=64 * MIB, default.max_sql_bytes);
    let max_frame_bytes = size("max_frame_bytes", 4096..=1024 * MIB, default.max_frame_bytes);
    let max_clients = size("max_clients", 1..=100_000, default.max_clients);
    let plan_cache_bytes = size("plan_cache_bytes", MIB..=16_384 * MIB, default.plan_cache_bytes);
    if max_frame_bytes < max_sql_bytes {
        notes.add(
            line,
            format!(
                "`max_frame_bytes` ({max_frame_bytes}) is below `max_sql_bytes` ({max_sql_bytes}), so the longest statement could \
                 never arrive; raise the one or lower the other"
            ),
        );
    }
    Limits {
        max_sql_bytes,
        max_frame_bytes,
        max_clients,
        login_timeout: seconds(section, "login_timeout_seconds", 10, notes),
        plan_cache_bytes,
    }
}
