//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as the server, and the verifiers it needs.
//!
//! `pgwire`'s `ScramServerAuth` does the exchange: it can be driven message by message, takes a stored verifier, and knows channel
//! binding. Ours are the bounds before it, the rule that mechanism and channel-binding flag agree, and the stand-in verifier by which
//! an unknown login takes the same path as a wrong password.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use pgwire::api::auth::sasl::scram::{ScramSecret, ScramServerAuth, ScramServerAuthWaitingForClientFinal, gen_salted_password};
use pgwire::error::PgWireError;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// The mechanism every driver has.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// The same, bound to the TLS certificate that the client saw.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Iterations of the verifiers that we make, PostgreSQL's own default.
const ITERATIONS: usize = 4096;
/// Bounds on a stored verifier's iterations: below, offline guessing is too cheap (RFC 7677); above, a login costs too much.
const ITERATION_BOUNDS: std::ops::RangeInclusive<usize> = 4096..=100_000;
/// No SCRAM message of an honest client is longer.
const MAX_MESSAGE_BYTES: usize = 2048;

/// Why an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The mechanism is none of those offered.
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    /// A message is malformed, too long, or its channel binding does not fit.
    #[error("malformed SCRAM message")]
    Message,
    /// The proof is wrong, or there is no such login: nobody can tell which.
    #[error("password authentication failed")]
    Proof,
}

/// What must be known of a login to check a proof; the password itself is not kept.
#[derive(Clone)]
pub struct Verifier {
    salt: [u8; 16],
    iterations: usize,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.stored_key.zeroize();
        self.server_key.zeroize();
    }
}

impl Verifier {
    /// From the content of a `NAME.client` file: a verifier as PostgreSQL prints it (`SCRAM-SHA-256$4096:salt$stored:server`), or else
    /// a password, which is salted here with `salt`.
    pub fn from_file(text: &str, salt: [u8; 16]) -> Result<Self, &'static str> {
        match text.strip_prefix("SCRAM-SHA-256$") {
            Some(verifier) => Self::parse(verifier),
            None => Ok(Self::from_password(text, salt)),
        }
    }

    fn from_password(password: &str, salt: [u8; 16]) -> Self {
        let salted = Zeroizing::new(gen_salted_password(password, &salt, ITERATIONS));
        match ScramSecret::verifier_from_salted_password(salt.to_vec(), salted.to_vec(), ITERATIONS) {
            ScramSecret::Verifier {
                stored_key, server_key, ..
            } => Self {
                salt,
                iterations: ITERATIONS,
                stored_key: stored_key.try_into().expect("SHA-256 has 32 bytes"),
                server_key: server_key.try_into().expect("SHA-256 has 32 bytes"),
            },
            ScramSecret::SaltedPassword { .. } => unreachable!("pgwire returns a verifier"),
        }
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "not a verifier of the form SCRAM-SHA-256$4096:salt$stored-key:server-key with a salt of 16 bytes";
        let bytes = |b64: &str| if b64.len() <= 64 { STANDARD.decode(b64).ok() } else { None };
        let (first, keys) = text.split_once('$').ok_or(FORM)?;
        let (iterations, salt) = first.split_once(':').ok_or(FORM)?;
        let (stored, server) = keys.split_once(':').ok_or(FORM)?;
        let iterations: usize = iterations.parse().map_err(|_| FORM)?;
        if !ITERATION_BOUNDS.contains(&iterations) {
            return Err("the verifier's iteration count is not between 4096 and 100000");
        }
        let array = |b64| bytes(b64).and_then(|b| b.try_into().ok());
        Ok(Self {
            salt: bytes(salt).and_then(|b| b.try_into().ok()).ok_or(FORM)?,
            iterations,
            stored_key: array(stored).ok_or(FORM)?,
            server_key: array(server).ok_or(FORM)?,
        })
    }

    fn secret(&self) -> ScramSecret {
        ScramSecret::Verifier {
            salt: self.salt.to_vec(),
            iterations: self.iterations,
            stored_key: self.stored_key.to_vec(),
            server_key: self.server_key.to_vec(),
        }
    }
}

/// All logins' verifiers, and the secret from which stand-ins for unknown logins are made.
pub struct Verifiers {
    known: HashMap<String, Verifier>,
    secret: Zeroizing<[u8; 32]>,
}

impl Verifiers {
    /// An empty set. The secret should outlive a restart, or a login that exists could be told from one that does not by its salt.
    pub fn new(secret: [u8; 32]) -> Self {
        Self {
            known: HashMap::new(),
            secret: Zeroizing::new(secret),
        }
    }

    /// Adds a login with the content of its `NAME.client` file.
    pub fn insert(&mut self, login: &str, text: &str) -> Result<(), &'static str> {
        let verifier = Verifier::from_file(text, self.salt(login))?;
        self.known.insert(login.to_owned(), verifier);
        Ok(())
    }

    /// The login's verifier, or one that no password satisfies and that looks the same from outside on every attempt.
    pub fn find(&self, login: &str) -> Verifier {
        // Made in both cases, so that both take the same time.
        let stand_in = Verifier {
            salt: self.salt(login),
            iterations: ITERATIONS,
            stored_key: self.derive(b"stored key", login),
            server_key: self.derive(b"server key", login),
        };
        self.known.get(login).cloned().unwrap_or(stand_in)
    }

    fn salt(&self, login: &str) -> [u8; 16] {
        *self.derive(b"salt", login).first_chunk().expect("32 bytes hold 16")
    }

    /// HMAC-SHA256(secret, label ‖ 0 ‖ login): deterministic per login, not computable without the secret. No nonce.
    fn derive(&self, label: &[u8], login: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.secret).expect("HMAC takes keys of any length");
        mac.update(label);
        mac.update(&[0]);
        mac.update(login.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// Our side of the exchange.
#[derive(Clone)]
pub struct ServerScram {
    unbound: ScramServerAuth,
    bound: Option<ScramServerAuth>,
}

impl Default for ServerScram {
    fn default() -> Self {
        Self {
            unbound: ScramServerAuth::new(),
            bound: None,
        }
    }
}

impl ServerScram {
    /// One that also offers channel binding to the first certificate of this PEM chain. A certificate signed in a way for which
    /// RFC 5929 names no hash (Ed25519) leaves channel binding out, as PostgreSQL does.
    pub fn bound_to(certificates_pem: &[u8]) -> Self {
        let mut auth = ScramServerAuth::new();
        let bound = auth.configure_certificate(certificates_pem).is_ok().then_some(auth);
        Self {
            unbound: ScramServerAuth::new(),
            bound,
        }
    }

    /// What is offered, strongest first.
    pub fn mechanisms(&self) -> &'static [&'static str] {
        if self.bound.is_some() {
            &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256]
        } else {
            &[SCRAM_SHA_256]
        }
    }

    /// Takes the client's SASLInitialResponse (body of the `p` message); gives what to answer and what checks the proof.
    pub fn begin(&self, body: &[u8], verifier: &Verifier) -> Result<(String, Exchange), ScramError> {
        let (mechanism, message) = initial_response(body)?;
        let bound = match mechanism {
            SCRAM_SHA_256 => false,
            SCRAM_SHA_256_PLUS if self.bound.is_some() => true,
            _ => return Err(ScramError::Mechanism),
        };
        // The flag inside must say what the mechanism says, else half of the downgrade protection is gone (RFC 5802 section 6).
        if bound != message.starts_with(b"p=") {
            return Err(ScramError::Message);
        }
        let auth = self.bound.as_ref().unwrap_or(&self.unbound);
        let (answer, waiting) = auth
            .on_client_first_message_with_secret(message, verifier.secret())
            .map_err(|_| ScramError::Message)?;
        Ok((answer, Exchange(waiting)))
    }
}

/// Waits for the client's proof.
pub struct Exchange(ScramServerAuthWaitingForClientFinal);

impl Exchange {
    /// Checks the proof (body of the second `p` message); gives the server's signature to send with SASLFinal.
    pub fn finish(self, body: &[u8]) -> Result<String, ScramError> {
        if body.len() > MAX_MESSAGE_BYTES {
            return Err(ScramError::Message);
        }
        self.0.on_client_final_message(body).map_err(|e| match e {
            PgWireError::InvalidPassword(_) => ScramError::Proof,
            _ => ScramError::Message,
        })
    }
}

/// Mechanism name, NUL, length (int32), that many bytes and no more.
fn initial_response(body: &[u8]) -> Result<(&str, &[u8]), ScramError> {
    if body.len() > MAX_MESSAGE_BYTES {
        return Err(ScramError::Message);
    }
    let end = body.iter().position(|b| *b == 0).ok_or(ScramError::Message)?;
    let mechanism = std::str::from_utf8(&body[..end]).map_err(|_| ScramError::Message)?;
    let (length, message) = body[end + 1..].split_first_chunk::<4>().ok_or(ScramError::Message)?;
    let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| ScramError::Message)?;
    if length == message.len() {
        Ok((mechanism, message))
    } else {
        Err(ScramError::Message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    fn verifiers() -> Verifiers {
        let mut v = Verifiers::new([7; 32]);
        v.insert("disco", "correct horse").unwrap();
        v
    }

    fn response(mechanism: &str, message: &[u8]) -> Vec<u8> {
        let mut out = mechanism.as_bytes().to_vec();
        out.push(0);
        out.extend_from_slice(&(message.len() as i32).to_be_bytes());
        out.extend_from_slice(message);
        out
    }

    fn attempt(login: &str, password: &[u8]) -> Result<(), ScramError> {
        let mut client = ScramSha256::new(password, ChannelBinding::unsupported());
        let verifier = verifiers().find(login);
        let (answer, exchange) = ServerScram::default().begin(&response(SCRAM_SHA_256, client.message()), &verifier)?;
        client.update(answer.as_bytes()).unwrap();
        let signature = exchange.finish(client.message())?;
        client.finish(signature.as_bytes()).unwrap();
        Ok(())
    }

    #[test]
    fn the_right_password_is_proven_and_no_other() {
        assert_eq!(attempt("disco", b"correct horse"), Ok(()));
        assert_eq!(attempt("disco", b"correct horsf"), Err(ScramError::Proof));
        assert_eq!(attempt("nobody", b"correct horse"), Err(ScramError::Proof));
        assert_eq!(attempt("", b""), Err(ScramError::Proof));
    }

    #[test]
    fn an_unknown_login_looks_the_same_each_time() {
        let v = verifiers();
        assert_eq!(v.find("nobody").salt, v.find("nobody").salt);
        assert_ne!(v.find("nobody").salt, v.find("somebody").salt);
        assert_ne!(v.find("nobody").salt, Verifiers::new([8; 32]).find("nobody").salt);
        assert_eq!(v.find("nobody").iterations, v.find("disco").iterations);
    }

    #[test]
    fn postgresqls_own_verifiers_serve() {
        let text = postgres_protocol::password::scram_sha_256(b"correct horse");
        let mut v = Verifiers::new([1; 32]);
        v.insert("disco", &text).unwrap();
        let mut client = ScramSha256::new(b"correct horse", ChannelBinding::unsupported());
        let (answer, exchange) = ServerScram::default()
            .begin(&response(SCRAM_SHA_256, client.message()), &v.find("disco"))
            .unwrap();
        client.update(answer.as_bytes()).unwrap();
        assert!(exchange.finish(client.message()).is_ok());
    }

    #[test]
    fn verifiers_are_bounded() {
        let good = postgres_protocol::password::scram_sha_256(b"x");
        let body = good.strip_prefix("SCRAM-SHA-256$4096:").unwrap();
        for bad in ["1", "4095", "100001", "999999999999999999999", "-1", ""] {
            assert!(
                Verifier::from_file(&format!("SCRAM-SHA-256${bad}:{body}"), [0; 16]).is_err(),
                "{bad}"
            );
        }
        for bad in ["SCRAM-SHA-256$", "SCRAM-SHA-256$4096", "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA"] {
            assert!(Verifier::from_file(bad, [0; 16]).is_err(), "{bad}");
        }
    }

    #[test]
    fn mechanism_and_channel_binding_must_agree() {
        let v = verifiers().find("disco");
        let scram = ServerScram::default();
        let refused = |mechanism, message: &[u8]| scram.begin(&response(mechanism, message), &v).err();
        assert_eq!(refused("SCRAM-SHA-1", b"n,,n=,r=abc"), Some(ScramError::Mechanism));
        assert_eq!(
            refused(SCRAM_SHA_256_PLUS, b"p=tls-server-end-point,,n=,r=abc"),
            Some(ScramError::Mechanism)
        );
        assert_eq!(
            refused(SCRAM_SHA_256, b"p=tls-server-end-point,,n=,r=abc"),
            Some(ScramError::Message)
        );
        assert_eq!(refused(SCRAM_SHA_256, b"n,,n=,r=abc"), None);
    }

    #[test]
    fn malformed_messages_end_the_exchange() {
        let v = verifiers().find("disco");
        let good = response(SCRAM_SHA_256, b"n,,n=,r=abcdefgh");
        let scram = ServerScram::default();
        assert!(scram.begin(&good, &v).is_ok());
        for cut in 0..good.len() {
            assert!(scram.begin(&good[..cut], &v).is_err(), "cut at {cut}");
        }
        let mut negative = SCRAM_SHA_256.as_bytes().to_vec();
        negative.extend_from_slice(b"\0\xff\xff\xff\xff");
        assert!(scram.begin(&negative, &v).is_err());
        assert!(scram.begin(&response(SCRAM_SHA_256, &[b'a'; 4000]), &v).is_err());
        for message in [
            &b""[..],
            b"n",
            b",,,",
            b"n,,",
            b"n,,n=",
            b"n,,r=",
            b"n,,n=,r=",
            b"n,,m=x,n=,r=a",
            b"\xff\xfe",
        ] {
            let _ = scram.begin(&response(SCRAM_SHA_256, message), &v);
        }
        for proof in [&b""[..], b"c=biws", b"c=biws,r=x,p=", b"c=,r=,p=AAAA", b"\xff", &[b'c'; 5000]] {
            let (_, exchange) = scram.begin(&good, &v).unwrap();
            assert!(exchange.finish(proof).is_err());
        }
    }
}
