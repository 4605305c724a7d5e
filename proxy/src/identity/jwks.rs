//! The issuer's JWK Set (RFC 7517, with Ed25519 keys as in RFC 8037): what `[tokens] jwks_file` holds.
//!
//! Promised: what is taken is an Ed25519 key for signatures with a `kid` that no other key of the set has, 32 bytes of a point for which
//! not everybody can sign. Keys of other kinds are left out and named. Refused as a whole: a set with a kid twice, with a private part,
//! with an Ed25519 key that is not one, or without any key that could verify a token. Half a set is worse than the one before it.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::VerifyingKey;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The largest set, bytes: hundreds of keys with their certificates.
pub const MAX_BYTES: u64 = 256 * 1024;
/// Longest `kid`, bytes.
pub const MAX_KID_BYTES: usize = 256;
/// An Ed25519 public key, bytes (RFC 8032 section 5.1.5).
const KEY_BYTES: usize = 32;

/// Why a set was not taken, and from which file.
#[derive(Debug, thiserror::Error)]
#[error("[tokens] jwks_file: {}: {problem}", path.display())]
pub struct JwksError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: JwksProblem,
}

/// What is wrong with a set. The texts name keys by their kid and hold nothing else of the file.
#[derive(Debug, thiserror::Error)]
pub enum JwksProblem {
    /// It cannot be read.
    #[error("{0}; the issuer's JWK Set must be there, readable for the user that runs postern")]
    Io(io::Error),
    /// A directory, a pipe.
    #[error("it is not a regular file")]
    NotFile,
    /// Everybody can write it.
    #[error("mode {0:04o} lets everybody say who may vouch for users; run: chmod o-w FILE")]
    Mode(u32),
    /// Over [`MAX_BYTES`].
    #[error("it is larger than 256 KiB; expected the issuer's public keys alone")]
    TooLarge,
    /// Not JSON, or not the JSON of a JWK Set.
    #[error(
        "it is not a JWK Set (RFC 7517) at line {line}, column {column}; expected {{\"keys\": [{{\"kty\": \"OKP\", …}}, …]}}"
    )]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1; 0 where a line ends.
        column: usize,
    },
    /// A key has a private part.
    #[error("key {0} of the set has its private part (`d`), so whoever reads the file can be anyone; publish public keys alone")]
    Private(usize),
    /// An Ed25519 key has no usable `kid`.
    #[error("key {0} of the set needs a `kid` of 1 to 256 printable characters, by which tokens name it")]
    Kid(usize),
    /// Two keys have the same one.
    #[error("two keys have the kid {0:?}; give each its own")]
    Duplicate(String),
    /// `x` is missing or not base64url without padding.
    #[error("`x` of the key {0:?} is not base64url without padding (RFC 8037 section 2)")]
    Encoding(String),
    /// `x` has another length than 32 bytes.
    #[error("`x` of the key {kid:?} has {bytes} bytes; an Ed25519 public key has 32")]
    Length {
        /// Which key.
        kid: String,
        /// Its length.
        bytes: usize,
    },
    /// Not a point of the curve, or one of small order.
    #[error("`x` of the key {0:?} is no Ed25519 public key, or one for which everybody can sign")]
    Point(String),
    /// Nothing in it could verify a token.
    #[error("it has no Ed25519 key for signatures (kty OKP, crv Ed25519), so no token could be verified by it")]
    NoneUsable,
}

impl JwksProblem {
    /// The line of the file that it is about, from 1.
    pub fn line(&self) -> usize {
        match self {
            Self::Syntax { line, .. } => (*line).max(1),
            _ => 1,
        }
    }
}

/// 32 bytes that are an Ed25519 public key, and not one of those few for which anybody can sign anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// `None` where they are no such key.
    pub(super) fn new(bytes: [u8; KEY_BYTES]) -> Option<Self> {
        // With a point of small order there are signatures that hold for any message, and need no private key.
        let key = VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak())?;
        Some(Self(key.to_bytes()))
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// A key that was left out of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Its `kid`, as the file has it; `None` where it has none.
    pub kid: Option<String>,
    /// Why, in fixed words.
    pub why: &'static str,
}

/// A set as it was read: at least one key.
#[derive(Debug)]
pub struct JwkSet {
    keys: BTreeMap<Box<str>, PublicKey>,
    ignored: Vec<Ignored>,
}

impl JwkSet {
    /// Reads the text of a set.
    pub fn parse(text: &[u8]) -> Result<Self, JwksProblem> {
        // The parser's own message would repeat what the file holds, which may be anything.
        let set: Written = serde_json::from_slice(text).map_err(|e| JwksProblem::Syntax {
            line: e.line(),
            column: e.column(),
        })?;
        let mut names = HashSet::new();
        let (mut keys, mut ignored) = (BTreeMap::new(), Vec::new());
        for (at, jwk) in set.keys.into_iter().enumerate() {
            if jwk.d.is_some() {
                return Err(JwksProblem::Private(at + 1));
            }
            // Also among those that are left out: two readers of one set must not take different keys for one name.
            if let Some(kid) = &jwk.kid
                && !names.insert(kid.clone())
            {
                return Err(JwksProblem::Duplicate(kid.clone()));
            }
            if let Some(why) = jwk.other_kind() {
                ignored.push(Ignored { kid: jwk.kid, why });
                continue;
            }
            let (kid, key) = jwk.usable(at + 1)?;
            keys.insert(kid, key);
        }
        if keys.is_empty() {
            return Err(JwksProblem::NoneUsable);
        }
        Ok(Self { keys, ignored })
    }

    /// Reads the set in that file.
    pub fn read(path: &Path) -> Result<Self, JwksError> {
        Self::parse(&bytes_of(path)?).map_err(|problem| JwksError {
            path: path.to_owned(),
            problem,
        })
    }

    /// The kids of the keys that verify tokens, in order.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(|kid| &**kid)
    }

    /// What was left out.
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &PublicKey)> {
        self.keys.iter().map(|(kid, key)| (&**kid, key))
    }
}

/// The bytes of that file, at most [`MAX_BYTES`].
pub fn bytes_of(path: &Path) -> Result<Vec<u8>, JwksError> {
    let failed = |problem| JwksError {
        path: path.to_owned(),
        problem,
    };
    let io = |source| failed(JwksProblem::Io(source));
    // Looked at before it is opened: opening a pipe would wait for somebody who writes.
    let about = std::fs::metadata(path).map_err(io)?;
    if !about.is_file() {
        return Err(failed(JwksProblem::NotFile));
    }
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o002 != 0 {
        return Err(failed(JwksProblem::Mode(mode)));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if read as u64 > MAX_BYTES {
        return Err(failed(JwksProblem::TooLarge));
    }
    Ok(bytes)
}

/// A set as it is written. Members that are there twice are an error, others than these are left alone (RFC 7517 section 4).
#[derive(Deserialize)]
struct Written {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    x: Option<String>,
    d: Option<IgnoredAny>,
}

impl Jwk {
    /// Why this is no key for our tokens, where it is none.
    fn other_kind(&self) -> Option<&'static str> {
        let is = |value: &Option<String>, wanted: &str| value.as_deref() == Some(wanted);
        let may_be = |value: &Option<String>, wanted: &str| value.as_deref().is_none_or(|v| v == wanted);
        if self.kty != "OKP" {
            Some("its kty is not OKP")
        } else if !is(&self.crv, "Ed25519") {
            Some("its crv is not Ed25519")
        } else if !may_be(&self.usage, "sig") {
            Some("its use is not sig")
        } else if !may_be(&self.alg, "EdDSA") {
            Some("its alg is not EdDSA")
        } else if self.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            Some("its key_ops lack verify")
        } else {
            None
        }
    }

    /// Its kid and its key. `at` is its place in the set, from 1.
    fn usable(self, at: usize) -> Result<(Box<str>, PublicKey), JwksProblem> {
        let fits = |kid: &String| (1..=MAX_KID_BYTES).contains(&kid.len()) && !kid.chars().any(char::is_control);
        let kid = self.kid.filter(fits).ok_or(JwksProblem::Kid(at))?;
        let Some(bytes) = self.x.and_then(|x| URL_SAFE_NO_PAD.decode(x).ok()) else {
            return Err(JwksProblem::Encoding(kid));
        };
        let Ok(bytes) = <[u8; KEY_BYTES]>::try_from(bytes.as_slice()) else {
            return Err(JwksProblem::Length { kid, bytes: bytes.len() });
        };
        match PublicKey::new(bytes) {
            Some(key) => Ok((kid.into(), key)),
            None => Err(JwksProblem::Point(kid)),
        }
    }
}

#[cfg(test)]
mod tests;
