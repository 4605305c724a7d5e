//! Where the root key lives.
//!
//! A store never gives the root key away: it wraps and unwraps other keys and derives keys for named purposes. The passphrase file is
//! the first; TPM, keychain and others implement the same trait.

pub mod passphrase;

use std::path::PathBuf;

pub use passphrase::PassphraseStore;

use crate::secret::Secret;

/// What any root key store can do. Calls may be slow; they happen at start and when keys are made, never per value.
pub trait RootKeyStore: Send + Sync {
    /// Wraps a key for a context. The construction must be authenticated encryption that binds `context`.
    fn wrap(&self, context: &[u8], key: &Secret) -> Result<Vec<u8>, StoreError>;

    /// Opens a wrapped key, for the same context only.
    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Secret, StoreError>;

    /// A key for a purpose: the same for the same root key and context, independent of all others.
    fn derive(&self, context: &[u8]) -> Result<Secret, StoreError>;
}

/// Why a store could not serve: the cause, then the remedy. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is not there.
    #[error("{what} {} is not there; create it, or correct its path in postern.toml", path.display())]
    Missing {
        /// Root key file or passphrase file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
    },
    /// A root key file is there already.
    #[error("{} exists already and is never overwritten: values sealed under it could not be opened again; choose another path", .0.display())]
    Exists(PathBuf),
    /// Others may read the file.
    #[error("{what} {} has mode {mode:03o}, so that others may read it; run `chmod 600 {}`", path.display(), path.display())]
    Mode {
        /// Root key file or passphrase file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Reading or writing failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// Root key file or passphrase file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a root key file, or not as it was written.
    #[error("{} is damaged ({why}); restore it from a backup", path.display())]
    Damaged {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file is whole and does not open.
    #[error("the passphrase does not open {}; use the one it was created with", .0.display())]
    WrongPassphrase(PathBuf),
    /// The passphrase is too short.
    #[error(
        "the passphrase has fewer than {} bytes; choose a longer one",
        passphrase::MIN_PASSPHRASE_BYTES
    )]
    WeakPassphrase,
    /// A key was not wrapped by this root key or not for this context.
    #[error("a wrapped key does not open under this root key; use the root key file that the key catalogue was made with")]
    NotOpened,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(getrandom::Error),
    /// The key derivation failed.
    #[error("the key could not be derived from the passphrase: {0}; free some memory (64 MiB are needed) and try again")]
    Derivation(&'static str),
}
