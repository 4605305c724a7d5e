//! User tokens: JSON Web Tokens (RFC 7519) signed with Ed25519, and nothing else that RFC allows.
//!
//! Promised: what passes was signed by a key of the issuer's that is in force (`identity::issuer`), for this audience, this module and,
//! where it says so, this login, ends within ten minutes, has an id that is not revoked and that no other token had (`identity::replay`),
//! and carries only claims of the right types. The algorithm is pinned before the signature is looked at, so `none` and a MAC keyed with
//! the public key never reach a verifier. Every claim is checked here, not by the library, with `now` as an argument.
//!
//! A token that comes again is known (`identity::known`); whether it has ended, was revoked or lost its key since is looked at each time.
//!
//! `exp` counts seconds and must lie at most [`MAX_LIFE`] ahead: a token that counts milliseconds or nanoseconds is thereby refused
//! rather than immortal.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use postern_config::ColumnType;
use postern_config::expr::{Claim, ClaimType};
use postern_config::names::{LoginName, ModuleName};
use postern_config::settings::TokenSettings;
use postern_keys::{SessionFormat, value};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::issuer::{IssuerKeys, Rotation, Signer, TokenKeyError};
use super::jwks::JwkSet;
use super::known::{Known, Print};
use super::replay::{self, Admission, Replay};
use super::{ClaimValue, Claims, Identity, Origin, unix_seconds, value_of};

/// The longest a token may still live when it is shown.
pub const MAX_LIFE: Duration = Duration::from_secs(600);
/// The longest token, bytes; looked at before anything is decoded.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Most elements of one list claim.
const MAX_LIST: usize = 256;
/// Longest `jti`, bytes.
const MAX_JTI_BYTES: usize = 128;

/// Why a token was refused. The texts are fixed and hold nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Over [`MAX_TOKEN_BYTES`].
    #[error("the token is too long")]
    TooLong,
    /// Not three base64url parts of JSON.
    #[error("the token is malformed")]
    Malformed,
    /// Another algorithm than EdDSA, or a header extension.
    #[error("the token's signature algorithm is not accepted")]
    Algorithm,
    /// No key of the issuer's signed it; also where it names a key that is not there.
    #[error("the token's signature is not valid")]
    Signature,
    /// It was believed, and the key that signed it is not the issuer's any more.
    #[error("the key that signed the token has been withdrawn")]
    Withdrawn,
    /// `iss` is missing or another.
    #[error("the token is from another issuer")]
    Issuer,
    /// `aud` is missing or another.
    #[error("the token is for another audience")]
    Audience,
    /// `mod` is missing or another.
    #[error("the token is for another module")]
    Module,
    /// `login` is there and another.
    #[error("the token is for another login")]
    Login,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `exp` is missing, not whole seconds, or too far ahead.
    #[error("the token's lifetime is not accepted")]
    Lifetime,
    /// `nbf` has not come yet.
    #[error("the token is not valid yet")]
    NotYet,
    /// `jti` is missing, empty or too long.
    #[error("the token has no identifier")]
    NoId,
    /// `jti` is revoked.
    #[error("the token has been revoked")]
    Revoked,
    /// Another token with this `jti` was shown before, and still lives.
    #[error("another token has the same identifier")]
    Replayed,
    /// So many tokens live that no further `jti` can be remembered.
    #[error("too many tokens are in use")]
    TooMany,
    /// A claim is of the wrong type, empty, too long, or not for tokens.
    #[error("the token carries a claim that is not accepted")]
    Claim,
    /// `super` without a `reason`.
    #[error("the token claims superadmin without a reason")]
    Reason,
}

impl TokenError {
    /// The SQLSTATE of every refused token.
    pub const SQLSTATE: &'static str = "28000";

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::TooLong => "A token has at most 8192 bytes: put fewer organisations and projects into it.",
            Self::Malformed => "Send the token exactly as the issuer gave it.",
            Self::Algorithm | Self::Signature => "Tokens are signed with Ed25519 (EdDSA) by a key that postern.toml names.",
            Self::Issuer => "\"iss\" must be what [tokens] issuer in postern.toml says.",
            Self::Audience => "\"aud\" must be what [tokens] audience in postern.toml says.",
            Self::Withdrawn | Self::Expired => "Ask the issuer for a new token.",
            Self::Login => "\"login\" binds a token to one login: show it there, or ask the issuer for another.",
            Self::Replayed => "The issuer must give every token a \"jti\" of its own.",
            Self::TooMany => "Try again when some have expired; show one token again rather than a new one for each connection.",
            Self::Module => "Ask the issuer for a token whose \"mod\" is this module.",
            Self::Lifetime => "\"exp\" is in whole seconds since 1970, at most 600 ahead.",
            Self::NotYet => "Compare the clocks of the issuer and of this host.",
            Self::NoId => "Give every token a \"jti\" of 1 to 128 bytes.",
            Self::Revoked => "Ask the issuer for a new token.",
            Self::Claim => {
                "Claims are of the types that the manifest reference and [claims] of postern.toml say; lists have at most 256 entries, no text is empty."
            }
            Self::Reason => "A superadmin token needs a \"reason\", which is written to the audit trail.",
        }
    }

    /// A short stable word for metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooLong => "token-too-long",
            Self::Malformed => "token-malformed",
            Self::Algorithm => "token-algorithm",
            Self::Signature => "token-signature",
            Self::Withdrawn => "token-key-withdrawn",
            Self::Issuer => "token-issuer",
            Self::Audience => "token-audience",
            Self::Module => "token-module",
            Self::Login => "token-login",
            Self::Expired => "token-expired",
            Self::Lifetime => "token-lifetime",
            Self::NotYet => "token-not-yet",
            Self::NoId => "token-id",
            Self::Revoked => "token-revoked",
            Self::Replayed => "token-replayed",
            Self::TooMany => "token-too-many",
            Self::Claim => "token-claim",
            Self::Reason => "token-reason",
        }
    }
}

/// Verifies tokens against the configured issuer.
pub struct TokenVerifier {
    issuer: String,
    audience: String,
    claims: Vec<Claim>,
    keys: IssuerKeys,
    validation: Validation,
    revoked: RwLock<Arc<HashSet<Box<str>>>>,
    known: Known,
    replay: Replay,
}

impl TokenVerifier {
    /// Reads the issuer's public keys: PEM files and JWK Set.
    pub fn new(settings: &TokenSettings) -> Result<Self, TokenKeyError> {
        let mut validation = Validation::new(Algorithm::EdDSA);
        // Signature and algorithm are the library's; the claims are checked below, each with its own error and with `now` given.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Ok(Self {
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            claims: settings.claims.clone(),
            keys: IssuerKeys::read(settings)?,
            validation,
            revoked: RwLock::default(),
            known: Known::default(),
            replay: Replay::holding(replay::MOST),
        })
    }

    /// The claims that a token may carry, in the order in which they are sent.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// Replaces the set of revoked token ids.
    pub fn set_revoked(&self, ids: HashSet<Box<str>>) {
        *self.revoked.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ids);
    }

    /// Puts a JWK Set in the place of the one before. Tokens whose key is not in it are not valid any more when this returns, shown
    /// anew or taken on long ago.
    pub fn set_issuer_keys(&self, set: &JwkSet) -> Rotation {
        let rotation = self.keys.replace(set);
        self.known.retain(|identity| !identity.key_withdrawn());
        rotation
    }

    /// Who the token says, if everything about it is right for that module and that login of it.
    pub fn verify(
        &self,
        token: &str,
        module: &ModuleName,
        login: &LoginName,
        now: SystemTime,
    ) -> Result<Arc<Identity>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let print = Print::of(token, module, login);
        // Where its key was withdrawn in this very moment, it is judged as if it had never been seen: that key is not there.
        if let Some(identity) = self.known.get(&print, now).filter(|i| !i.key_withdrawn()) {
            self.still_valid(&identity, now)?;
            return Ok(identity);
        }
        let identity = self.verify_anew(token, module, login, now)?;
        self.known.keep(print, &identity, now);
        Ok(identity)
    }

    fn verify_anew(
        &self,
        token: &str,
        module: &ModuleName,
        login: &LoginName,
        now: SystemTime,
    ) -> Result<Arc<Identity>, TokenError> {
        let (claims, signer) = self.signed_claims(token)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(&self.issuer) {
            return Err(TokenError::Issuer);
        }
        if text("aud") != Some(&self.audience) {
            return Err(TokenError::Audience);
        }
        if text("mod") != Some(module.as_str()) {
            return Err(TokenError::Module);
        }
        if claims.contains_key("login") && text("login") != Some(login.as_str()) {
            return Err(TokenError::Login);
        }
        let expires = lifetime(&claims, unix_seconds(now))?;
        let jti = text("jti")
            .filter(|j| (1..=MAX_JTI_BYTES).contains(&j.len()))
            .ok_or(TokenError::NoId)?;
        if self.is_revoked(jti) {
            return Err(TokenError::Revoked);
        }
        let typed = typed_claims(&claims, &self.claims)?;
        if value_of(&typed, Claim::Sub).is_none() || value_of(&typed, Claim::Service).is_some() {
            return Err(TokenError::Claim);
        }
        let is_super = value_of(&typed, Claim::Super) == Some(&ClaimValue::Bool(true));
        let reason = text("reason").map(str::trim).filter(|r| !r.is_empty());
        if is_super && reason.is_none() {
            return Err(TokenError::Reason);
        }
        let reason = reason.filter(|_| is_super).map(Into::into);
        // Last, so that only a token which is right in everything takes an id.
        match self.replay.admit(jti, token, expires, unix_seconds(now)) {
            Admission::Admitted => {}
            Admission::Taken => return Err(TokenError::Replayed),
            Admission::NoRoom => return Err(TokenError::TooMany),
        }
        Ok(Arc::new(Identity {
            claims: typed,
            origin: Origin::Token {
                jti: jti.into(),
                expires,
                reason,
                signer,
            },
        }))
    }

    /// Whether an identity that was adopted earlier still holds: not expired, its key not withdrawn, not revoked since. Asked before
    /// every statement.
    pub fn still_valid(&self, identity: &Identity, now: SystemTime) -> Result<(), TokenError> {
        if identity.expired(now) {
            return Err(TokenError::Expired);
        }
        if identity.key_withdrawn() {
            return Err(TokenError::Withdrawn);
        }
        match identity.jti() {
            Some(jti) if self.is_revoked(jti) => Err(TokenError::Revoked),
            _ => Ok(()),
        }
    }

    fn is_revoked(&self, jti: &str) -> bool {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(jti)
    }

    /// The claims, and the key that signed them.
    fn signed_claims(&self, token: &str) -> Result<(Map<String, Value>, Signer), TokenError> {
        if token.split('.').count() != 3 {
            return Err(TokenError::Malformed);
        }
        let header = decode_header(token).map_err(|e| kind(e.kind()))?;
        // `crit` names extensions that a reader must understand (RFC 7515 section 4.1.11); we understand none.
        if header.alg != Algorithm::EdDSA || header.crit.is_some() {
            return Err(TokenError::Algorithm);
        }
        let mut outcome = Err(TokenError::Signature);
        for signer in self.keys.candidates(header.kid.as_deref()) {
            match decode::<Map<String, Value>>(token, signer.decoding(), &self.validation) {
                Ok(data) if signer.stands() => return Ok((data.claims, signer)),
                Ok(_) => outcome = Err(TokenError::Signature),
                Err(e) => outcome = Err(kind(e.kind())),
            }
            if !matches!(outcome, Err(TokenError::Signature)) {
                break;
            }
        }
        outcome
    }
}

fn kind(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::UnsupportedAlgorithm
        | ErrorKind::MissingAlgorithm => TokenError::Algorithm,
        _ => TokenError::Malformed,
    }
}

/// `exp` if it is whole seconds, has not passed and is not far; `nbf` and `iat` must fit where they are given.
fn lifetime(claims: &Map<String, Value>, now: u64) -> Result<u64, TokenError> {
    let seconds = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(TokenError::Lifetime),
    };
    let expires = seconds("exp")?.ok_or(TokenError::Lifetime)?;
    if expires <= now {
        return Err(TokenError::Expired);
    }
    // Measured from when it was issued as well, or a long-lived token would become good in its last minutes.
    let begins = seconds("iat")?.map_or(now, |iat| iat.min(now));
    if expires - begins > MAX_LIFE.as_secs() {
        return Err(TokenError::Lifetime);
    }
    if seconds("nbf")?.is_some_and(|nbf| nbf > now) {
        return Err(TokenError::NotYet);
    }
    Ok(expires)
}

/// The claims that policies know, each of its type; all others are left alone.
pub(super) fn typed_claims(claims: &Map<String, Value>, all: &[Claim]) -> Result<Claims, TokenError> {
    let mut typed = Claims::new();
    for claim in all {
        let Some(value) = claims.get(claim.name()) else { continue };
        let ty = claim.ty();
        let value = match value {
            Value::Array(items) if ty.is_list() && items.len() <= MAX_LIST => {
                let entry = |v: &Value| match single(ty.entry(), v)? {
                    ClaimValue::Text(text) => Ok(text),
                    ClaimValue::Int(number) => Ok(number.to_string().into()),
                    ClaimValue::Bool(_) | ClaimValue::List(_) => Err(TokenError::Claim),
                };
                ClaimValue::List(items.iter().map(entry).collect::<Result<_, _>>()?)
            }
            other if !ty.is_list() => single(ty, other)?,
            _ => return Err(TokenError::Claim),
        };
        typed.push((*claim, value));
    }
    Ok(typed)
}

/// One value, in the one text that PostgreSQL reads in every session alike.
fn single(ty: ClaimType, value: &Value) -> Result<ClaimValue, TokenError> {
    let canonical = |column: ColumnType, text: &str| {
        let session = SessionFormat::default();
        let read = value::from_text(&column, usable(text)?.as_ref(), &session).map_err(|_| TokenError::Claim)?;
        let mut printed = Zeroizing::new(Vec::new());
        value::to_text(&column, read.expose(), &session, &mut printed).map_err(|_| TokenError::Claim)?;
        let printed = std::str::from_utf8(&printed).map_err(|_| TokenError::Claim)?;
        Ok(ClaimValue::Text(printed.into()))
    };
    match (ty, value) {
        (ClaimType::Text, Value::String(text)) => Ok(ClaimValue::Text(usable(text)?)),
        (ClaimType::Bool, Value::Bool(value)) => Ok(ClaimValue::Bool(*value)),
        (ClaimType::Int4, Value::Number(n)) => {
            let number = n.as_i64().and_then(|n| i32::try_from(n).ok()).ok_or(TokenError::Claim)?;
            Ok(ClaimValue::Int(number.into()))
        }
        (ClaimType::Int8, Value::Number(n)) => n.as_i64().map(ClaimValue::Int).ok_or(TokenError::Claim),
        (ClaimType::Uuid, Value::String(text)) => canonical(ColumnType::Uuid, text),
        (ClaimType::TimestampTz, Value::String(text)) if zoned(text) => canonical(ColumnType::TimestampTz, text),
        _ => Err(TokenError::Claim),
    }
}

/// A time that says its zone (RFC 3339): one without means another instant in every session, and words (`now`, `infinity`) are none.
fn zoned(text: &str) -> bool {
    let offset = |t: &str| {
        t.len() == 6 && t.is_ascii() && t[1..3].bytes().chain(t[4..].bytes()).all(|b| b.is_ascii_digit()) && &t[3..4] == ":"
    };
    let tail = text.char_indices().rev().nth(5).map_or("", |(i, _)| &text[i..]);
    let zone = text.ends_with('Z') || tail.starts_with(['+', '-']) && offset(tail);
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '-' | ':' | '.' | 'T' | 'Z' | '+');
    zone && text.contains('T') && text.chars().all(digits)
}

/// Text that PostgreSQL can hold and that is not empty: `''` must never meet `''`.
fn usable(text: &str) -> Result<Box<str>, TokenError> {
    if text.is_empty() || text.contains('\0') {
        Err(TokenError::Claim)
    } else {
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests;
