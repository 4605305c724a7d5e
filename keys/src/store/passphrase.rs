//! A root key in a file, protected by a passphrase.
//!
//! JSON, mode 0600, never overwritten. The parameters of Argon2id (RFC 9106) are in the file, so that later files can ask for more;
//! what a file may ask for is bounded, since it is read before anything in it is proven. A checksum tells a damaged file from a wrong
//! passphrase; it protects nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{RootKeyStore, StoreError};
use crate::secret::{Secret, push_part};
use crate::wrap;

/// The shortest passphrase that is accepted, bytes.
pub const MIN_PASSPHRASE_BYTES: usize = 8;

const FORMAT: &str = "postern root key";
const VERSION: u32 = 1;
const ROOT_FILE: &str = "root key file";
const PASSPHRASE_FILE: &str = "passphrase file";
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// Cost of the key derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// 64 MiB, three passes: RFC 9106's second recommendation but for its four lanes, which a small machine lacks.
const COST: Cost = Cost {
    memory_kib: 64 * 1024,
    passes: 3,
    lanes: 1,
};

/// The root key, opened.
pub struct PassphraseStore {
    root: Secret,
}

impl PassphraseStore {
    /// Makes a root key and its file. The file appears whole or not at all, and never in place of another.
    pub fn create(path: &Path, passphrase: &[u8]) -> Result<Self, StoreError> {
        create(path, passphrase, COST)
    }

    /// Opens the root key of an existing file.
    pub fn open(path: &Path, passphrase: &[u8]) -> Result<Self, StoreError> {
        let bytes = read_private(path, ROOT_FILE)?;
        let damaged = |why| StoreError::Damaged {
            path: path.to_owned(),
            why,
        };
        let file: RootFile = serde_json::from_slice(&bytes).map_err(|_| damaged("it is no root key file"))?;
        if file.format != FORMAT || file.version != VERSION {
            return Err(damaged("its format or version is not known to this version of Postern"));
        }
        if file.checksum != file.checksum_now() {
            return Err(damaged("its checksum is wrong"));
        }
        let cost = file.argon2id;
        if cost.memory_kib > 1024 * 1024 || cost.passes > 32 || !(1..=16).contains(&cost.lanes) {
            return Err(damaged("its Argon2id parameters are beyond what is accepted"));
        }
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| damaged("a field is no base64"));
        let wrapping = derive(passphrase, &decode(&file.salt)?, cost)?;
        let root = wrap::unwrap(&wrapping, &file.context(), &decode(&file.wrapped)?)
            .map_err(|_| StoreError::WrongPassphrase(path.to_owned()))?;
        Ok(Self { root })
    }
}

/// Construction of all three: HKDF(root, label, context) gives an independent key for each context; `wrap` and `unwrap` use it with
/// AES-256-GCM-SIV, a random nonce, and the context bound once more as associated data.
impl RootKeyStore for PassphraseStore {
    fn wrap(&self, context: &[u8], key: &Secret) -> Result<Vec<u8>, StoreError> {
        let wrapping = self.root.derive("postern/v1/root/wrap", &[context]);
        wrap::wrap(&wrapping, context, key).map_err(StoreError::Randomness)
    }

    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Secret, StoreError> {
        let wrapping = self.root.derive("postern/v1/root/wrap", &[context]);
        wrap::unwrap(&wrapping, context, wrapped).map_err(|_| StoreError::NotOpened)
    }

    fn derive(&self, context: &[u8]) -> Result<Secret, StoreError> {
        Ok(self.root.derive("postern/v1/root/derive", &[context]))
    }
}

/// Reads a passphrase from a file that only its owner may read; one line end is cut off.
pub fn read_passphrase(path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let mut bytes = read_private(path, PASSPHRASE_FILE)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(bytes)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootFile {
    format: String,
    version: u32,
    argon2id: Cost,
    salt: String,
    wrapped: String,
    checksum: String,
}

impl RootFile {
    /// Everything but the wrapped key and the checksum, length-prefixed: bound by the wrapping.
    fn context(&self) -> Vec<u8> {
        let mut out = Vec::new();
        push_part(&mut out, self.format.as_bytes());
        for number in [
            self.version,
            self.argon2id.memory_kib,
            self.argon2id.passes,
            self.argon2id.lanes,
        ] {
            push_part(&mut out, &number.to_be_bytes());
        }
        push_part(&mut out, self.salt.as_bytes());
        out
    }

    fn checksum_now(&self) -> String {
        let mut all = self.context();
        push_part(&mut all, self.wrapped.as_bytes());
        STANDARD.encode(&Sha256::digest(&all)[..12])
    }
}

fn create(path: &Path, passphrase: &[u8], cost: Cost) -> Result<PassphraseStore, StoreError> {
    if passphrase.len() < MIN_PASSPHRASE_BYTES {
        return Err(StoreError::WeakPassphrase);
    }
    if path.symlink_metadata().is_ok() {
        return Err(StoreError::Exists(path.to_owned()));
    }
    let root = Secret::random().map_err(StoreError::Randomness)?;
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(StoreError::Randomness)?;
    let wrapping = derive(passphrase, &salt, cost)?;
    let mut file = RootFile {
        format: FORMAT.to_owned(),
        version: VERSION,
        argon2id: cost,
        salt: STANDARD.encode(salt),
        wrapped: String::new(),
        checksum: String::new(),
    };
    let wrapped = wrap::wrap(&wrapping, &file.context(), &root).map_err(StoreError::Randomness)?;
    file.wrapped = STANDARD.encode(wrapped);
    file.checksum = file.checksum_now();
    let mut text = serde_json::to_vec_pretty(&file).expect("plain data with text keys always serialises");
    text.push(b'\n');
    write_new(path, &text)?;
    Ok(PassphraseStore { root })
}

/// Construction: Argon2id, version 1.3, 32 bytes, random 16-byte salt. No nonce; the salt is bound with the file's header.
fn derive(passphrase: &[u8], salt: &[u8], cost: Cost) -> Result<Secret, StoreError> {
    let failed = |_| StoreError::Derivation("Argon2id refused its parameters");
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(failed)?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Secret::fill(|out| argon.hash_password_into(passphrase, salt, out)).map_err(failed)
}

fn read_private(path: &Path, what: &'static str) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let at = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => StoreError::Missing {
            what,
            path: path.to_owned(),
        },
        _ => StoreError::Io {
            what,
            path: path.to_owned(),
            source,
        },
    };
    let mut file = File::open(path).map_err(at)?;
    // Of the open file, so that nothing can be swapped in between.
    let metadata = file.metadata().map_err(at)?;
    if !metadata.is_file() {
        return Err(at(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    check_mode(&metadata, path, what)?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(at(io::Error::new(io::ErrorKind::InvalidData, "larger than 16 KiB")));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES as usize));
    (&mut file).take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(at)?;
    Ok(bytes)
}

#[cfg(unix)]
fn check_mode(metadata: &fs::Metadata, path: &Path, what: &'static str) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    match metadata.permissions().mode() & 0o777 {
        mode if mode & 0o077 == 0 => Ok(()),
        mode => Err(StoreError::Mode {
            what,
            path: path.to_owned(),
            mode,
        }),
    }
}

/// Other systems keep permissions elsewhere; the directory's must serve.
#[cfg(not(unix))]
fn check_mode(_: &fs::Metadata, _: &Path, _: &'static str) -> Result<(), StoreError> {
    Ok(())
}

/// Writes beside the target, then links it into place: a link, unlike a rename, fails where something is there.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let at = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => StoreError::Exists(path.to_owned()),
        _ => StoreError::Io {
            what: ROOT_FILE,
            path: path.to_owned(),
            source,
        },
    };
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(StoreError::Randomness)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.new", u64::from_be_bytes(suffix)));
    let beside = path.with_file_name(name);
    let written = write_private(&beside, bytes).and_then(|()| fs::hard_link(&beside, path));
    let removed = match fs::remove_file(&beside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    };
    written.and(removed).map_err(at)?;
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // So that the name survives a power failure; file systems that cannot do this are none the worse.
    let _ = File::open(directory).and_then(|d| d.sync_all());
    Ok(())
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
