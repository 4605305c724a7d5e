//! The development issuer: signs tokens for the people of a reference data set. `serve` refuses to start beside its private key unless
//! the configuration marks it (`dev_issuer = true`); production has an issuer of its own and only that one's public key here.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use postern_config::expr::Claim;
use postern_config::names::ModuleName;
use postern_config::settings::TokenSettings;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::token::{MAX_LIFE, typed_claims};
use super::{mac, unix_seconds};
use crate::secrets::{self, SecretError};

/// The people file is a handful of lines; a larger file is the wrong file.
const MAX_PEOPLE_BYTES: u64 = 1024 * 1024;

/// Why no token was made; [`MintError::remedy`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// Not a development configuration.
    #[error("this configuration has no development issuer")]
    NotDevelopment,
    /// The private key's file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It holds no Ed25519 private key.
    #[error("{}: not an Ed25519 private key in PKCS#8 PEM form", .0.display())]
    Key(PathBuf),
    /// The people file.
    #[error("[tokens] dev_people: {}: {problem}", path.display())]
    People {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Nobody of that name.
    #[error("nobody is called `{name}`")]
    Unknown {
        /// Asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// Longer than the proxy would accept, or nothing.
    #[error("a token lives 1 to 600 seconds, not {0}")]
    Lifetime(u64),
    /// Superadmin without a reason.
    #[error("`{0}` is superadmin, which needs a reason")]
    Reason(String),
    /// The operating system gave no randomness, or signing failed.
    #[error("the token cannot be signed: {0}")]
    Sign(String),
}

impl MintError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotDevelopment => {
                "Set [tokens] dev_issuer = true, dev_private_key and dev_people, or ask your own issuer for a token.".into()
            }
            Self::Secret(_) => "See that [tokens] dev_private_key names the development issuer's key.".into(),
            Self::Key(_) => "Make one: openssl genpkey -algorithm ed25519 -out KEY".into(),
            Self::People { .. } => {
                "Expected a JSON object of claims by account id: {\"bob\": {\"org_member_of\": [\"A\"]}}".into()
            }
            Self::Unknown { known, .. } => format!("The reference data set knows: {known}."),
            Self::Lifetime(_) => "Give --ttl in that range.".into(),
            Self::Reason(_) => "Say why with --reason TEXT; it is written to the audit trail.".into(),
            Self::Sign(_) => "Try again; if it stays so, the key or the host's source of randomness is broken.".into(),
        }
    }
}

/// Signs a token for a person of `dev_people`, for one module, living `ttl` from `now`; its header names `dev_kid` where that is set.
pub fn mint(
    settings: &TokenSettings,
    module: &ModuleName,
    person: &str,
    ttl: Duration,
    reason: Option<&str>,
    now: SystemTime,
) -> Result<String, MintError> {
    let (true, Some(_), Some(people)) = (settings.dev_issuer, &settings.dev_private_key, &settings.dev_people) else {
        return Err(MintError::NotDevelopment);
    };
    sign(
        settings,
        module,
        (person, person_claims(people, person, &settings.claims)?),
        ttl,
        reason,
        now,
    )
}

/// Signs a token with these claims, for one module, living `ttl` from `now`.
pub fn sign(
    settings: &TokenSettings,
    module: &ModuleName,
    (person, mut claims): (&str, Map<String, Value>),
    ttl: Duration,
    reason: Option<&str>,
    now: SystemTime,
) -> Result<String, MintError> {
    let (true, Some(key)) = (settings.dev_issuer, &settings.dev_private_key) else {
        return Err(MintError::NotDevelopment);
    };
    if ttl.as_secs() == 0 || ttl > MAX_LIFE {
        return Err(MintError::Lifetime(ttl.as_secs()));
    }
    if claims.get("super") == Some(&Value::Bool(true)) {
        let reason = reason
            .filter(|r| !r.trim().is_empty())
            .ok_or_else(|| MintError::Reason(person.to_owned()))?;
        claims.insert("reason".into(), reason.into());
    }
    let now = unix_seconds(now);
    let mut id = [0u8; 16];
    getrandom::fill(&mut id).map_err(|e| MintError::Sign(e.to_string()))?;
    claims.insert("iss".into(), settings.issuer.clone().into());
    claims.insert("aud".into(), settings.audience.clone().into());
    claims.insert("mod".into(), module.as_str().into());
    claims.insert("iat".into(), now.into());
    claims.insert("exp".into(), (now + ttl.as_secs()).into());
    claims.insert("jti".into(), mac::hex(&id).into());
    let pem = secrets::read(key)?;
    let key = EncodingKey::from_ed_pem(pem.as_bytes()).map_err(|_| MintError::Key(key.clone()))?;
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid.clone_from(&settings.dev_kid);
    encode(&header, &claims, &key).map_err(|e| MintError::Sign(e.to_string()))
}

/// A fresh development issuer: (private key, public key), both PEM. The private one belongs into a file of mode 0600.
pub fn generate_issuer() -> Result<(Zeroizing<String>, String), MintError> {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(|e| MintError::Sign(e.to_string()))?;
    Ok((Zeroizing::new(pair.serialize_pem()), pair.public_key_pem()))
}

/// The claims that the issuer vouches for of a person in a file like `{"bob": {"project_member_of": ["PA1"], …}, …}`: claims by account
/// id, types as in tokens. `sub` is the person's id unless the file says otherwise.
pub fn person_claims(path: &Path, person: &str, all: &[Claim]) -> Result<Map<String, Value>, MintError> {
    let wrong = |problem: String| MintError::People {
        path: path.to_owned(),
        problem,
    };
    let size = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if size > MAX_PEOPLE_BYTES {
        return Err(wrong("it is larger than 1 MiB".into()));
    }
    let text = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    let mut people: Map<String, Value> = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    let Some(claims) = people.remove(person) else {
        let known: Vec<String> = people.keys().cloned().collect();
        return Err(MintError::Unknown {
            name: person.to_owned(),
            known: known.join(", "),
        });
    };
    let Value::Object(mut claims) = claims else {
        return Err(wrong(format!("`{person}` is not an object of claims")));
    };
    claims.entry("sub").or_insert_with(|| person.into());
    typed_claims(&claims, all).map_err(|_| wrong(format!("`{person}` has a claim of the wrong type, or an empty one")))?;
    Ok(claims)
}
