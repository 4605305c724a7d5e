//! Keys under keys.

use aes_gcm_siv::aead::AeadInOut;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit};

use crate::secret::{KEY_BYTES, Secret};

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Bytes of a wrapped key: version, nonce, ciphertext, tag.
pub(crate) const WRAPPED_BYTES: usize = 1 + NONCE_BYTES + KEY_BYTES + TAG_BYTES;

/// A wrapped key did not open: other wrapping key, other context, or damaged. Deliberately without detail.
#[derive(Debug)]
pub(crate) struct NotOpened;

/// Wraps `key` under `wrapping`.
///
/// Construction: AES-256-GCM-SIV (RFC 8452) under HKDF(wrapping, "postern/v1/wrap"). Nonce: 96 random bits each time; wrapping keys are
/// used so rarely that the 2^32 bound is far, and GCM-SIV would bear a repeat. Bound identity: `context`, which names what the key is for.
pub(crate) fn wrap(wrapping: &Secret, context: &[u8], key: &Secret) -> Result<Vec<u8>, getrandom::Error> {
    let mut out = vec![0; WRAPPED_BYTES];
    let (version, rest) = out.split_at_mut(1);
    let (nonce, rest) = rest.split_at_mut(NONCE_BYTES);
    let (body, tag) = rest.split_at_mut(KEY_BYTES);
    version[0] = VERSION;
    getrandom::fill(nonce)?;
    body.copy_from_slice(key.expose());
    let nonce: [u8; NONCE_BYTES] = (&*nonce).try_into().expect("split at the nonce's length");
    let made = cipher(wrapping)
        .encrypt_inout_detached(&nonce.into(), context, body.into())
        .expect("a key and its context are far below the cipher's limits");
    tag.copy_from_slice(&made);
    Ok(out)
}

/// Opens what [`wrap`] made, for the same context only.
pub(crate) fn unwrap(wrapping: &Secret, context: &[u8], wrapped: &[u8]) -> Result<Secret, NotOpened> {
    let wrapped: &[u8; WRAPPED_BYTES] = wrapped.try_into().map_err(|_| NotOpened)?;
    let (version, rest) = wrapped.split_at(1);
    let (nonce, rest) = rest.split_at(NONCE_BYTES);
    let (body, tag) = rest.split_at(KEY_BYTES);
    if version != [VERSION] {
        return Err(NotOpened);
    }
    let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| NotOpened)?;
    let tag: [u8; TAG_BYTES] = tag.try_into().map_err(|_| NotOpened)?;
    Secret::fill(|key| {
        key.copy_from_slice(body);
        cipher(wrapping)
            .decrypt_inout_detached(&nonce.into(), context, key.as_mut_slice().into(), &tag.into())
            .map_err(|_| NotOpened)
    })
}

fn cipher(wrapping: &Secret) -> Aes256GcmSiv {
    Aes256GcmSiv::new(wrapping.derive("postern/v1/wrap", &[]).expose().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_for_its_context_and_key_alone() {
        let (kek, key) = (Secret::random().unwrap(), Secret::random().unwrap());
        let wrapped = wrap(&kek, b"module disco", &key).unwrap();
        assert_eq!(unwrap(&kek, b"module disco", &wrapped).ok().unwrap().expose(), key.expose());
        assert!(unwrap(&kek, b"module chat", &wrapped).is_err());
        assert!(unwrap(&Secret::random().unwrap(), b"module disco", &wrapped).is_err());
        for at in 0..wrapped.len() {
            let mut bent = wrapped.clone();
            bent[at] ^= 1;
            assert!(unwrap(&kek, b"module disco", &bent).is_err(), "{at}");
            assert!(unwrap(&kek, b"module disco", &wrapped[..at]).is_err(), "{at}");
        }
    }
}
