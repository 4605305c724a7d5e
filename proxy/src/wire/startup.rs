//! The first packet of a connection, decoded strictly (PostgreSQL manual, "Message Formats": StartupMessage, SSLRequest,
//! GSSENCRequest, CancelRequest), and the version of protocol 3 that is spoken after it.
//!
//! Promised: at most [`MAX_STARTUP_BYTES`], strict UTF-8, and a client leaves here only with settings that are on the list. Refused:
//! `replication`, any other encoding than UTF-8, every setting that could move the session (`role`, `session_authorization`,
//! `row_security`, …). Pure: no I/O.

use std::fmt;

use zeroize::Zeroizing;

use super::cancel::{CancelKey, SECRET_BYTES, SecretLength};

/// PostgreSQL's own bound on a startup packet (`MAX_STARTUP_PACKET_LENGTH`), length word included.
pub const MAX_STARTUP_BYTES: usize = 10_000;

/// Most parameters that one packet may hold; each may appear in `options` too.
const MAX_PARAMETERS: usize = 64;

/// The newest minor version of protocol 3 that is spoken (PostgreSQL 18: cancel keys of up to 256 bytes).
const NEWEST_MINOR: u16 = 2;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// What a connection begins with.
#[derive(Debug)]
pub enum FirstPacket {
    /// Asks for TLS.
    Ssl,
    /// Asks for GSSAPI encryption, which Postern does not have.
    Gss,
    /// Asks to cancel a query.
    Cancel(CancelKey),
    /// Asks to log in.
    Startup(StartupParameters),
}

/// Why a first packet was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    /// The length word is below what any packet needs or over the bound.
    #[error("the length of the startup packet is not valid")]
    Length,
    /// It ends early, lacks a terminator, or is not UTF-8.
    #[error("the startup packet is malformed: {0}")]
    Malformed(&'static str),
    /// Not protocol 3.
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")]
    Protocol {
        /// Asked for.
        major: u16,
        /// Asked for.
        minor: u16,
    },
    /// No `user`.
    #[error("no user name specified in startup packet")]
    NoUser,
    /// Replication connections carry rows that no policy saw.
    #[error("replication connections are not available")]
    Replication,
    /// A setting that is not on the list.
    #[error("setting \"{0}\" cannot be given when connecting")]
    Setting(String),
    /// `options` is not a list of `-c name=value`.
    #[error("\"options\" can only hold -c name=value and --name=value")]
    Options,
    /// Not UTF-8.
    #[error("client_encoding must be UTF8")]
    Encoding,
    /// Not the module's own schema.
    #[error("search_path can only be the module's own schema")]
    SearchPath,
}

impl StartupError {
    /// Its SQLSTATE.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Length | Self::Malformed(_) => "08P01",
            Self::Protocol { .. } | Self::Replication => "0A000",
            Self::NoUser => "28000",
            Self::Setting(_) | Self::Options | Self::SearchPath => "42501",
            Self::Encoding => "22023",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Length | Self::Malformed(_) | Self::NoUser => None,
            Self::Protocol { .. } => Some("Use a driver that speaks protocol 3.0 (every one since PostgreSQL 7.4)."),
            Self::Replication => Some("Replicate from the database itself; what is replicated there is ciphertext."),
            Self::Setting(_) => Some("Leave it out of the connection string; set it after connecting if SET allows it."),
            Self::Options => Some("Other server options cannot be given through Postern."),
            Self::Encoding => Some("Set client_encoding to UTF8, or leave it out."),
            Self::SearchPath => Some("Leave search_path out: names resolve in the module's schema."),
        }
    }
}

/// What a client asked for, after the list was applied.
#[derive(Default)]
pub struct StartupParameters {
    /// The login.
    pub user: String,
    /// The database; the login's name where none was given, as PostgreSQL does.
    pub database: String,
    /// Allowed settings by their canonical names, in the order given. `search_path`, `client_encoding` and the token are not here.
    pub settings: Vec<(&'static str, String)>,
    /// `search_path` as given; [`StartupParameters::check_search_path`] holds it against the module.
    pub search_path: Option<String>,
    /// The user token from `postern.token`.
    pub token: Option<Zeroizing<String>>,
    /// Minor version of protocol 3 that was asked for.
    pub minor: u16,
    /// `_pq_.` options, none of which is known: to be listed in NegotiateProtocolVersion.
    pub unknown_options: Vec<String>,
}

impl StartupParameters {
    /// The minor version that is spoken from here on: 2 or 0. Versions above are answered with 2; 3.1 is a number that PostgreSQL left
    /// out, and is answered with the one before it.
    pub fn spoken_minor(&self) -> u16 {
        if self.minor >= NEWEST_MINOR { NEWEST_MINOR } else { 0 }
    }

    /// Whether the client must be told (NegotiateProtocolVersion) that it does not get all it asked for.
    pub fn asks_too_much(&self) -> bool {
        self.minor != self.spoken_minor() || !self.unknown_options.is_empty()
    }

    /// How long a cancel key's secret may be in the version that is spoken.
    pub fn secret_length(&self) -> SecretLength {
        match self.spoken_minor() {
            0 => SecretLength::Short,
            _ => SecretLength::Long,
        }
    }

    /// The value of an allowed setting, the last one given.
    pub fn setting(&self, canonical: &str) -> Option<&str> {
        self.settings
            .iter()
            .rev()
            .find(|(n, _)| *n == canonical)
            .map(|(_, v)| v.as_str())
    }

    /// The settings that clients share connections by: sorted, of several the last, without the name that each shows itself under.
    pub fn shared_settings(&self) -> Vec<(&'static str, String)> {
        let mut shared: Vec<(&'static str, String)> = Vec::with_capacity(self.settings.len());
        for (name, value) in self.settings.iter().filter(|(n, _)| *n != "application_name") {
            match shared.iter_mut().find(|(n, _)| n == name) {
                Some((_, earlier)) => earlier.clone_from(value),
                None => shared.push((*name, value.clone())),
            }
        }
        shared.sort_unstable();
        shared
    }

    /// A `search_path` may only say what holds anyway.
    pub fn check_search_path(&self, schema: &str) -> Result<(), StartupError> {
        let Some(path) = &self.search_path else { return Ok(()) };
        let path = path.trim();
        let bare = path.strip_prefix('"').and_then(|p| p.strip_suffix('"')).unwrap_or(path);
        if bare == schema {
            Ok(())
        } else {
            Err(StartupError::SearchPath)
        }
    }

    fn assign(&mut self, name: &str, value: &str) -> Result<(), StartupError> {
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "client_encoding" => {
                let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
                let utf8 = plain.eq_ignore_ascii_case("utf8") || plain.eq_ignore_ascii_case("unicode");
                return if utf8 { Ok(()) } else { Err(StartupError::Encoding) };
            }
            "standard_conforming_strings" => {
                let on = ["on", "true", "yes", "1"].iter().any(|v| value.eq_ignore_ascii_case(v));
                return if on { Ok(()) } else { Err(StartupError::Setting(lower)) };
            }
            "search_path" => self.search_path = Some(value.to_owned()),
            "postern.token" if self.token.is_some() => return Err(StartupError::Malformed("two tokens")),
            "postern.token" => self.token = Some(Zeroizing::new(value.to_owned())),
            _ => match ALLOWED.iter().find(|a| a.eq_ignore_ascii_case(&lower)) {
                Some(canonical) => self.settings.push((canonical, value.to_owned())),
                None => return Err(StartupError::Setting(printable(name))),
            },
        }
        Ok(())
    }
}

impl fmt::Debug for StartupParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartupParameters")
            .field("user", &self.user)
            .field("token", &self.token.is_some())
            .finish_non_exhaustive()
    }
}

/// Settings that a client may give when it connects, by their canonical names. None of them changes what a statement may reach.
pub const ALLOWED: &[&str] = &[
    "application_name",
    "bytea_output",
    "client_min_messages",
    "DateStyle",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "IntervalStyle",
    "lock_timeout",
    "statement_timeout",
    "TimeZone",
];

/// The body length that a first packet's length word declares (the word itself excluded).
pub fn body_length(word: [u8; 4]) -> Result<usize, StartupError> {
    // Read as signed on purpose: a negative length must not become a large one.
    let declared = usize::try_from(i32::from_be_bytes(word)).map_err(|_| StartupError::Length)?;
    if (8..=MAX_STARTUP_BYTES).contains(&declared) {
        Ok(declared - 4)
    } else {
        Err(StartupError::Length)
    }
}

/// Decodes a first packet's body (what follows the length word).
pub fn decode(body: &[u8]) -> Result<FirstPacket, StartupError> {
    let (code, rest) = body.split_first_chunk::<4>().ok_or(StartupError::Malformed("no version"))?;
    let code = u32::from_be_bytes(*code);
    match code {
        SSL_REQUEST if rest.is_empty() => Ok(FirstPacket::Ssl),
        GSS_REQUEST if rest.is_empty() => Ok(FirstPacket::Gss),
        SSL_REQUEST | GSS_REQUEST => Err(StartupError::Malformed("bytes behind an encryption request")),
        CANCEL_REQUEST => {
            const FORM: StartupError = StartupError::Malformed("a cancel key is a number and 4 to 256 bytes");
            let (number, secret) = rest.split_first_chunk::<4>().ok_or(FORM)?;
            if !SECRET_BYTES.contains(&secret.len()) {
                return Err(FORM);
            }
            Ok(FirstPacket::Cancel(CancelKey {
                id: i32::from_be_bytes(*number),
                secret: Zeroizing::new(secret.to_vec()),
            }))
        }
        _ => {
            let (major, minor) = ((code >> 16) as u16, (code & 0xffff) as u16);
            if major == 3 {
                parameters(minor, rest).map(FirstPacket::Startup)
            } else {
                Err(StartupError::Protocol { major, minor })
            }
        }
    }
}

fn parameters(minor: u16, mut rest: &[u8]) -> Result<StartupParameters, StartupError> {
    let mut found = StartupParameters {
        minor,
        ..StartupParameters::default()
    };
    let mut database = None;
    for _ in 0..=MAX_PARAMETERS {
        let name = cstring(&mut rest)?;
        if name.is_empty() {
            if !rest.is_empty() {
                return Err(StartupError::Malformed("bytes behind the terminator"));
            }
            if found.user.is_empty() {
                return Err(StartupError::NoUser);
            }
            found.database = database
                .filter(|d: &String| !d.is_empty())
                .unwrap_or_else(|| found.user.clone());
            return Ok(found);
        }
        let value = cstring(&mut rest)?;
        match name {
            "user" => found.user = value.to_owned(),
            "database" => database = Some(value.to_owned()),
            "replication" => return Err(StartupError::Replication),
            "options" => {
                for (name, value) in split_options(value)? {
                    found.assign(&name, &value)?;
                }
            }
            _ if name.starts_with("_pq_.") => found.unknown_options.push(name.to_owned()),
            _ => found.assign(name, value)?,
        }
    }
    Err(StartupError::Malformed("too many parameters"))
}

/// Takes one NUL-terminated string off the front.
fn cstring<'a>(rest: &mut &'a [u8]) -> Result<&'a str, StartupError> {
    let bytes = *rest;
    let end = bytes
        .iter()
        .position(|b| *b == 0)
        .ok_or(StartupError::Malformed("a string has no terminator"))?;
    *rest = &bytes[end + 1..];
    std::str::from_utf8(&bytes[..end]).map_err(|_| StartupError::Malformed("a string is not UTF-8"))
}

/// Splits `options` as PostgreSQL's `pg_split_opts` does (white space separates, a backslash takes the next character as it is), and
/// takes nothing but `-c name=value`, `-cname=value` and `--name=value` from it.
fn split_options(text: &str) -> Result<Vec<(String, String)>, StartupError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            // C's isspace, as PostgreSQL uses it here; Unicode spaces do not separate.
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(chars.next().ok_or(StartupError::Options)?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);

    let mut assignments = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let assignment = match word.strip_prefix("--") {
            Some(long) => long.to_owned(),
            None => match word.strip_prefix("-c") {
                Some("") => words.next().ok_or(StartupError::Options)?,
                Some(short) => short.to_owned(),
                None => return Err(StartupError::Options),
            },
        };
        let (name, value) = assignment.split_once('=').ok_or(StartupError::Options)?;
        assignments.push((name.replace('-', "_"), value.to_owned()));
        if assignments.len() > MAX_PARAMETERS {
            return Err(StartupError::Malformed("too many parameters"));
        }
    }
    Ok(assignments)
}

/// A name as it may stand in a message: short, and nothing a terminal would act on.
fn printable(name: &str) -> String {
    name.chars().take(63).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests;
