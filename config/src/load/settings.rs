//! `postern.toml`: its keys, their defaults and their bounds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::{At, Notes, Section, parse};
use super::pool::{self, Named};
use super::{claims, upstream};
use crate::expr::{Claim, Expr};
use crate::predicate;
use crate::settings::{Enforce, KeySettings, Limits, Listen, Settings, TlsFiles, TokenSettings};

/// What the file held, as far as it could be read.
pub(super) struct Read {
    pub(super) settings: Option<Settings>,
    /// `restrict`: AND-ed to every declared table. Its own text goes along for the second reading.
    pub(super) restriction: Option<(At<String>, Expr)>,
    /// The claims that policies may read.
    pub(super) claims: Vec<Claim>,
    /// The logins and modules that it names.
    pub(super) named: Named,
}

pub(super) fn read(text: &str, directory: &Path, notes: &mut Notes) -> Read {
    let document = parse(text, notes);
    let mut root = Section::root(&document);
    let words = [("both", Enforce::Both), ("rewrite", Enforce::Rewrite), ("rls", Enforce::Rls)];
    let enforce = choice(&mut root, "enforce", words, Enforce::Both, notes);
    let claims = claims::read(&mut root, notes);
    let restriction =
        root.text("restrict", notes)
            .and_then(|written| match predicate::parse_claims_only(&written.value, &claims) {
                Ok(expr) => Some((written, expr)),
                Err(complaints) => {
                    for complaint in complaints {
                        notes.add(written.line, format!("`restrict`: {complaint}"));
                    }
                    None
                }
            });
    let paths = Paths { directory };
    let mut named = Named::default();
    let declared = claims.clone();
    let settings = (|| {
        // Every part is read before any is asked for, so that one missing part hides no mistake in the next.
        let listen = part(&mut root, "listen", notes, |s, n| listen(s, &paths, n));
        let admin = part(&mut root, "admin", notes, |s, n| address(s, "\"127.0.0.1:9432\"", n));
        let upstream = part(&mut root, "upstream", notes, |s, n| upstream::read(s, &paths, n));
        let secrets_dir = part(&mut root, "secrets", notes, |s, n| paths.need(s, "dir", "\"secrets\"", n));
        let keys = part(&mut root, "keys", notes, |s, n| {
            let root_file = paths.need(s, "root_file", "\"keys/root\"", n);
            let passphrase_file = paths.need(s, "passphrase_file", "\"secrets/passphrase\"", n);
            Some(KeySettings {
                root_file: root_file?,
                passphrase_file: passphrase_file?,
            })
        });
        let tokens = part(&mut root, "tokens", notes, |s, n| tokens(s, &paths, declared, n));
        let audit_file = optional(&mut root, "audit", notes, |s, n| paths.get(s, "file", n));
        let tablespace_root = optional(&mut root, "provision", notes, |s, n| absolute(s, "tablespace_root", n));
        let limits = optional(&mut root, "limits", notes, |s, n| Some(limits(s, n))).unwrap_or_else(default_limits);
        let pools = optional(&mut root, "pool", notes, |s, n| Some(pool::pool(s, &mut named, n)));
        let (pool, login_pools) = pools.unwrap_or_else(|| (pool::default_pool(), BTreeMap::new()));
        let quotas = root.section("quotas", notes).map(|s| pool::quotas(s, &mut named, notes));
        Some(Settings {
            listen: listen?,
            admin: admin?,
            upstream: upstream?,
            secrets_dir: secrets_dir?,
            keys: keys?,
            tokens: tokens?,
            audit_file,
            limits,
            pool,
            login_pools,
            quotas: quotas.unwrap_or_default(),
            enforce,
            tablespace_root,
        })
    })();
    root.finish(notes);
    Read {
        settings,
        restriction,
        named,
        claims,
    }
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
pub(super) struct Paths<'p> {
    directory: &'p Path,
}

impl Paths<'_> {
    pub(super) fn get(&self, section: &mut Section<'_, '_>, key: &'static str, notes: &mut Notes) -> Option<PathBuf> {
        let text = section.text(key, notes)?;
        self.resolve(&text, key, notes)
    }

    pub(super) fn need(
        &self,
        section: &mut Section<'_, '_>,
        key: &'static str,
        example: &str,
        notes: &mut Notes,
    ) -> Option<PathBuf> {
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
    let socket_line = section.line_of_key("unix_socket_dir", notes);
    let unix_socket_dir = paths.get(section, "unix_socket_dir", notes);
    if let (Some(line), Some(directory), Some(address)) = (socket_line, &unix_socket_dir, &address)
        && !upstream::socket_fits(directory, address.port())
    {
        notes.add(
            line,
            "`unix_socket_dir` is too long for a Unix socket (107 bytes with the socket's name); use a shorter path",
        );
    }
    let workers = section.number("workers", 1..=1024, notes);
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
        unix_socket_dir,
        workers: workers.and_then(|n| usize::try_from(n).ok()),
        tls,
        require_tls: require_tls.is_some_and(|r| r.value),
    })
}

fn tokens(section: &mut Section<'_, '_>, paths: &Paths<'_>, claims: Vec<Claim>, notes: &mut Notes) -> Option<TokenSettings> {
    let issuer = section.need_text("issuer", "\"https://id.example.org\"", notes);
    let audience = section.need_text("audience", "\"postern\"", notes);
    let jwks_file = paths.get(section, "jwks_file", notes);
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
        None if section.has("public_keys") => None,
        None if section.has("jwks_file") => Some(Vec::new()),
        None => {
            notes.add(
                section.line(),
                "[tokens] lacks `public_keys` and `jwks_file`, so nobody could vouch for a user; add `public_keys = \
                 [\"keys/issuer.pem\"]` or `jwks_file = \"keys/issuer.jwks\"`",
            );
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
        Some(text)
    };
    let mut development_file = |key: &'static str, why: &str, notes: &mut Notes| {
        let text = development_only(key, why, notes)?;
        paths.resolve(&text, key, notes)
    };
    let dev_private_key = development_file("dev_private_key", "would let the proxy's host vouch for any user", notes);
    let dev_people = development_file("dev_people", "serves the development issuer alone", notes);
    let dev_kid = development_only("dev_kid", "names the development issuer's key", notes);
    if let Some(kid) = dev_kid.as_ref().filter(|kid| kid.value.is_empty()) {
        notes.add(
            kid.line,
            "`dev_kid` is empty; write the `kid` of the development key in `jwks_file`",
        );
    }
    Some(TokenSettings {
        issuer: issuer?.value,
        audience: audience?.value,
        claims,
        public_keys: public_keys?,
        jwks_file,
        dev_issuer,
        dev_private_key,
        dev_kid: dev_kid.map(|kid| kid.value),
        dev_people,
    })
}

/// A time in whole seconds.
pub(super) fn seconds(
    section: &mut Section<'_, '_>,
    key: &'static str,
    range: RangeInclusive<u64>,
    default: u64,
    notes: &mut Notes,
) -> Duration {
    Duration::from_secs(section.number(key, range, notes).unwrap_or(default))
}

/// One word of several.
pub(super) fn choice<T: Copy>(
    section: &mut Section<'_, '_>,
    key: &'static str,
    words: impl IntoIterator<Item = (&'static str, T)>,
    default: T,
    notes: &mut Notes,
) -> T {
    let Some(text) = section.text(key, notes) else {
        return default;
    };
    let words: Vec<(&str, T)> = words.into_iter().collect();
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
        return *value;
    }
    let known: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let known = match known.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => known.join(""),
    };
    notes.add(text.line, format!("`{key}` cannot be `{}`; write {known}", text.value));
    default
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
        login_timeout: seconds(section, "login_timeout_seconds", 1..=600, 10, notes),
        plan_cache_bytes,
    }
}
