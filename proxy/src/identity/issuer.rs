//! The issuer's keys that are in force, and which of them may speak for a token.
//!
//! Promised: where there is a JWK Set, a token that names a key (`kid`) is verified by that key and no other, whatever else is
//! configured; one that names none is verified by the PEM keys alone. A set's keys never serve a token without a kid, not even where the
//! set has one key only: such tokens would be refused as soon as a second key is added, which is how every rotation begins. Where there
//! is no set nobody has given names to keys, and a kid says nothing.
//!
//! A key that is withdrawn says so to everyone who holds it: an identity holds the key that vouched for it ([`Signer`]), so whether it
//! still stands is one load from memory, which is asked before every statement.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::DecodingKey;
use postern_config::settings::TokenSettings;
use sha2::{Digest, Sha256};

use super::jwks::{JwkSet, JwksError, PublicKey};

/// Why tokens cannot be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// A public key's file cannot be read.
    #[error("[tokens] public_keys: {}: {source}; the issuer's public key must be there", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds no Ed25519 public key.
    #[error("[tokens] public_keys: {}: not an Ed25519 public key in PEM form; make one: openssl pkey -in KEY -pubout", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// The JWK Set.
    #[error(transparent)]
    Jwks(#[from] JwksError),
    /// None is configured.
    #[error("[tokens] has neither public_keys nor jwks_file, so no user could ever be known; name the issuer's keys")]
    None,
}

/// A key that vouched for a token. Equal only to itself: a key that was withdrawn and comes back is another one.
#[derive(Clone)]
pub(super) struct Signer(Arc<Key>);

struct Key {
    public: PublicKey,
    decoding: DecodingKey,
    withdrawn: AtomicBool,
}

impl Signer {
    fn new(public: PublicKey) -> Self {
        Self(Arc::new(Key {
            public,
            decoding: DecodingKey::from_ed_der(public.bytes()),
            withdrawn: AtomicBool::new(false),
        }))
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.0.decoding
    }

    /// Whether the issuer still has it.
    pub(super) fn stands(&self) -> bool {
        !self.0.withdrawn.load(Ordering::Acquire)
    }

    fn withdraw(&self) {
        self.0.withdrawn.store(true, Ordering::Release);
    }
}

impl PartialEq for Signer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Signer {}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.stands() {
            "Signer(in force)"
        } else {
            "Signer(withdrawn)"
        })
    }
}

/// What a new set changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Kids of keys that are new, or have another key than before.
    pub added: Vec<String>,
    /// Kids of keys whose tokens end now.
    pub withdrawn: Vec<String>,
}

type Set = BTreeMap<Box<str>, Signer>;

/// The keys that may vouch for users.
pub(super) struct IssuerKeys {
    pem: Arc<[Signer]>,
    /// By kid; `None` where no set is configured.
    set: Option<RwLock<Arc<Set>>>,
    /// Verifies nothing: in the place of a key that is not there.
    nobody: Signer,
}

impl IssuerKeys {
    /// Reads the files that the settings name; at least one must be named.
    pub(super) fn read(settings: &TokenSettings) -> Result<Self, TokenKeyError> {
        let pem = settings
            .public_keys
            .iter()
            .map(|path| pem_key(path))
            .collect::<Result<Arc<[_]>, _>>()?;
        if pem.is_empty() && settings.jwks_file.is_none() {
            return Err(TokenKeyError::None);
        }
        let keys = Self {
            pem,
            set: settings.jwks_file.is_some().then(RwLock::default),
            nobody: nobody(),
        };
        if let Some(path) = &settings.jwks_file {
            keys.replace(&JwkSet::read(path)?);
        }
        Ok(keys)
    }

    /// The keys of which one must have signed a token whose header has that kid. Never empty: for a kid that is unknown there is a key
    /// that verifies nothing, so that the refusal takes the same way and time as that of a bad signature.
    pub(super) fn candidates(&self, kid: Option<&str>) -> Vec<Signer> {
        let found: Vec<Signer> = match (&self.set, kid) {
            (Some(set), Some(kid)) => {
                let set = set.read().unwrap_or_else(PoisonError::into_inner);
                set.get(kid).cloned().into_iter().collect()
            }
            (Some(_), None) | (None, _) => self.pem.to_vec(),
        };
        if found.is_empty() { vec![self.nobody.clone()] } else { found }
    }

    /// Puts a set in the place of the one before. A key that is in both under the same kid goes on; one that is not in the new set is
    /// withdrawn from everybody who relies on it, before this returns. Nothing changes where no set is configured.
    pub(super) fn replace(&self, new: &JwkSet) -> Rotation {
        let mut rotation = Rotation::default();
        let Some(set) = &self.set else { return rotation };
        let mut set = set.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Set::new();
        for (kid, public) in new.keys() {
            let signer = match set.get(kid) {
                Some(old) if old.0.public == *public => old.clone(),
                _ => {
                    rotation.added.push(kid.to_owned());
                    Signer::new(*public)
                }
            };
            next.insert(kid.into(), signer);
        }
        for (kid, old) in set.iter() {
            if next.get(kid) != Some(old) {
                old.withdraw();
                rotation.withdrawn.push(kid.to_string());
            }
        }
        *set = Arc::new(next);
        rotation
    }
}

fn pem_key(path: &Path) -> Result<Signer, TokenKeyError> {
    let pem = std::fs::read(path).map_err(|source| TokenKeyError::Io {
        path: path.to_owned(),
        source,
    })?;
    let key = || -> Option<PublicKey> {
        // A private key is no public key: refuse it rather than take the public half of what should not be here.
        let decoding = DecodingKey::from_ed_pem(&pem).ok()?;
        PublicKey::new(decoding.try_get_as_bytes().ok()?.try_into().ok()?)
    };
    key()
        .map(Signer::new)
        .ok_or_else(|| TokenKeyError::Key { path: path.to_owned() })
}

/// A key that nobody can sign for: a hash that happens to be a point, so nobody knows its private key. Withdrawn besides.
fn nobody() -> Signer {
    let point = (0u32..).find_map(|n| {
        let digest = Sha256::new()
            .chain_update(b"postern: the key of nobody")
            .chain_update(n.to_be_bytes())
            .finalize();
        PublicKey::new(digest.into())
    });
    let signer = Signer::new(point.expect("every second hash is a point"));
    signer.withdraw();
    signer
}
