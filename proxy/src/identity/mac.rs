//! The MAC under which PostgreSQL takes claims from a session: only who holds the key can say who a session speaks for.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use postern_config::names::LoginName;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Which server process the claims are for; without it they could be replayed on another connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its process id.
    pub pid: i32,
    /// When it started, unix time in microseconds (process ids come again).
    pub start_micros: i64,
    /// The role it was logged in as (`session_user`).
    pub login: LoginName,
}

/// The key, shared with the database's `postern.verified()` alone.
pub struct MacKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(…)")
    }
}

impl MacKey {
    /// Takes the key's 32 bytes.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// HMAC-SHA256 over backend pid, backend start, login, then `values` (claims in order, then expiry), each as its decimal byte
    /// length, `:`, its bytes: no two lists have the same encoding. In hex. No nonce; replay is bounded by backend and expiry.
    pub fn mac(&self, backend: &Backend, values: &[String]) -> String {
        let mut mac = self.keyed();
        let mut part = |text: &str| {
            mac.update(text.len().to_string().as_bytes());
            mac.update(b":");
            mac.update(text.as_bytes());
        };
        part(&backend.pid.to_string());
        part(&backend.start_micros.to_string());
        part(backend.login.as_str());
        values.iter().for_each(|v| part(v));
        hex(&mac.finalize().into_bytes())
    }

    /// HMAC-SHA256(key, `label`): a further secret that outlives restarts and is the same for every proxy. A label begins with a letter
    /// and a MAC's message with a digit, so the two uses never meet.
    pub fn derive(&self, label: &'static str) -> [u8; 32] {
        debug_assert!(label.starts_with(|c: char| c.is_ascii_alphabetic()));
        let mut mac = self.keyed();
        mac.update(label.as_bytes());
        mac.finalize().into_bytes().into()
    }

    fn keyed(&self) -> Hmac<Sha256> {
        Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes keys of any length")
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        for nibble in [b >> 4, b & 15] {
            out.push(char::from_digit(u32::from(nibble), 16).expect("a nibble is a hexadecimal digit"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts() {
        let key = MacKey::new([9; 32]);
        let backend = Backend {
            pid: 1,
            start_micros: 2,
            login: LoginName::new("a").unwrap(),
        };
        let values = |v: &[&str]| v.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let base = key.mac(&backend, &values(&["x", "yz"]));
        assert_eq!(base, key.mac(&backend, &values(&["x", "yz"])));
        let others = [
            key.mac(&backend, &values(&["xy", "z"])),
            key.mac(&backend, &values(&["x", "yz", ""])),
            key.mac(
                &Backend {
                    pid: 2,
                    ..backend.clone()
                },
                &values(&["x", "yz"]),
            ),
            key.mac(
                &Backend {
                    start_micros: 3,
                    ..backend.clone()
                },
                &values(&["x", "yz"]),
            ),
            key.mac(
                &Backend {
                    login: LoginName::new("b").unwrap(),
                    ..backend.clone()
                },
                &values(&["x", "yz"]),
            ),
            MacKey::new([8; 32]).mac(&backend, &values(&["x", "yz"])),
        ];
        assert!(others.iter().all(|o| *o != base));
    }

    /// The same message computed by `openssl dgst -sha256 -mac HMAC`: what the database's function must agree with.
    #[test]
    fn the_encoding_is_pinned() {
        let key = MacKey::new(*b"0123456789abcdef0123456789abcdef");
        let backend = Backend {
            pid: 12,
            start_micros: 345,
            login: LoginName::new("disco").unwrap(),
        };
        let mac = key.mac(&backend, &["bob".to_owned(), String::new(), "99".to_owned()]);
        assert_eq!(mac, PINNED);
    }

    const PINNED: &str = "55b3ced92796b286942096cec00d64e4499323fdaf08873238231de0918fe0d6";
}
