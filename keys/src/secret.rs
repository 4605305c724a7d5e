//! A 32-byte key in memory.

use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of every symmetric key here.
pub const KEY_BYTES: usize = 32;

/// A key: wiped on drop, without `Debug`, `Clone` or comparison. Its bytes are had by [`Secret::expose`] alone.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret(Box<[u8; KEY_BYTES]>);

impl Secret {
    /// A fresh key from the operating system's randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        Self::fill(|bytes| getrandom::fill(bytes))
    }

    /// Fills a new key in place, so that its bytes never lie anywhere else.
    pub fn fill<E>(fill: impl FnOnce(&mut [u8; KEY_BYTES]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self(Box::new([0; KEY_BYTES]));
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// The key's bytes. Copy them nowhere that is not wiped.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Derives an independent key.
    ///
    /// Construction: HKDF-SHA256 (RFC 5869), no salt (the input is uniform already), `info` = the label and each part, every one
    /// preceded by its length as u32 big-endian, so that no two lists of parts give the same `info`. Deterministic; no nonce. Bound
    /// identity: whatever the caller names in `parts`.
    pub fn derive(&self, label: &str, parts: &[&[u8]]) -> Self {
        let mut info = Vec::with_capacity(64);
        for part in std::iter::once(label.as_bytes()).chain(parts.iter().copied()) {
            push_part(&mut info, part);
        }
        let derived = Self::fill(|out| Hkdf::<Sha256>::new(None, self.expose()).expand(&info, out));
        derived.expect("32 bytes are within HKDF's limit")
    }

    /// A public value that only this key gives, for keys used with a cipher that does not commit to its key: `HKDF(key, "commit")`.
    pub(crate) fn commitment(&self) -> [u8; KEY_BYTES] {
        *self.derive("postern/v1/commit", &[]).expose()
    }

    /// Whether `commitment` is this key's, in constant time.
    pub(crate) fn commits_to(&self, commitment: &[u8]) -> bool {
        self.commitment().ct_eq(commitment).into()
    }
}

/// Appends one length-prefixed part (u32 big-endian) to bytes that will be derived from or authenticated.
pub(crate) fn push_part(out: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).expect("parts of identities and bound values are far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivation_separates_parts() {
        let root = Secret::random().unwrap();
        let one = root.derive("a", &[b"bc"]);
        assert_eq!(one.expose(), root.derive("a", &[b"bc"]).expose());
        assert_ne!(one.expose(), root.derive("ab", &[b"c"]).expose());
        assert_ne!(one.expose(), root.derive("a", &[b"b", b"c"]).expose());
    }

    #[test]
    fn a_commitment_holds_for_its_key_alone() {
        let key = Secret::random().unwrap();
        assert!(key.commits_to(&key.commitment()));
        assert!(!Secret::random().unwrap().commits_to(&key.commitment()));
        assert!(!key.commits_to(b""));
    }
}
