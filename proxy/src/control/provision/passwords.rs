//! Upstream passwords on their way to the server: as SCRAM verifiers, never as text.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use postern_config::{Config, LoginName};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::super::ControlError;
use super::step::VERIFIER_PLACEHOLDER;

/// The passwords of all logins.
pub(super) struct Passwords(HashMap<LoginName, Zeroizing<String>>);

impl Passwords {
    /// Reads `NAME.upstream` of every login.
    pub(super) fn read(config: &Config) -> Result<Self, ControlError> {
        let logins = config.modules.iter().flat_map(|m| &m.logins);
        let read = logins.map(|login| {
            let file = config.settings.secrets_dir.join(format!("{}.upstream", login.name));
            Ok((login.name.clone(), crate::secrets::read(&file)?))
        });
        Ok(Self(read.collect::<Result<_, ControlError>>()?))
    }

    /// The step's SQL with a fresh verifier in its place.
    pub(super) fn alter_role(&self, login: &LoginName, sql: &str) -> String {
        let verifier = postgres_protocol::password::scram_sha_256(self.of(login));
        sql.replace(VERIFIER_PLACEHOLDER, &postern_config::names::quote_literal(&verifier))
    }

    /// Whether a stored verifier is one of this login's password. (A password outside ASCII may fit and not be recognised: it is then set
    /// again, which does no harm.)
    pub(super) fn fits(&self, login: &LoginName, verifier: &str) -> bool {
        fits(self.of(login), verifier).unwrap_or(false)
    }

    fn of(&self, login: &LoginName) -> &[u8] {
        self.0.get(login).expect("every login's password was read").as_bytes()
    }
}

/// RFC 5802's StoredKey = H(HMAC(Hi(password, salt, i), "Client Key")), against `SCRAM-SHA-256$i:salt$StoredKey:ServerKey`.
fn fits(password: &[u8], verifier: &str) -> Option<bool> {
    let (parameters, keys) = verifier.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
    let (iterations, salt) = parameters.split_once(':')?;
    let iterations = iterations.parse::<u32>().ok().filter(|i| (1..=100_000).contains(i))?;
    let salt = STANDARD.decode(salt).ok()?;
    let stored = STANDARD.decode(keys.split_once(':')?.0).ok()?;
    let client_key = keyed(&*salted(password, &salt, iterations), &[b"Client Key"]);
    Some(Sha256::digest(client_key.as_slice()).as_slice() == stored)
}

/// RFC 5802's Hi: PBKDF2 with HMAC-SHA-256 and one block.
fn salted(password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<[u8; 32]> {
    let mut last = keyed(password, &[salt, &1u32.to_be_bytes()]);
    let mut sum = last.clone();
    for _ in 1..iterations {
        last = keyed(password, &[&*last]);
        sum.iter_mut().zip(last.iter()).for_each(|(s, l)| *s ^= l);
    }
    sum
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_verifier_is_recognised() {
        let verifier = postgres_protocol::password::scram_sha_256(b"correct horse");
        assert_eq!(fits(b"correct horse", &verifier), Some(true));
        assert_eq!(fits(b"correct horsf", &verifier), Some(false));
        assert_eq!(fits(b"correct horse", "md5d41d8cd98f00b204e9800998ecf8427e"), None);
        assert_eq!(fits(b"correct horse", "SCRAM-SHA-256$999999999:AAAA$AAAA:AAAA"), None);
    }
}
