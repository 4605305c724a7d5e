//! Who stands behind a statement: tokens, typed claims, and the MAC under which PostgreSQL takes them.
//!
//! Promised: an [`Identity`] comes from a verified token, from a service login, or is guest; nothing else makes one. Claims are typed
//! and bounded; a missing or empty one is empty towards PostgreSQL, which reads that as NULL. Refused: every token that is not exactly
//! what the issuer signs for this module (see [`token`]). Pure: `now` is an argument.

mod issuer;
pub mod jwks;
mod known;
pub mod mac;
pub mod mint;
pub mod policy;
mod replay;
pub mod token;
mod told;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postern_config::expr::Claim;
use postern_config::names::ModuleName;
use postern_keys::KeyRing;

use issuer::Signer;
pub use issuer::{Rotation, TokenKeyError};
pub use jwks::JwkSet;
pub use mac::{Backend, MacKey};
pub use token::{TokenError, TokenVerifier};
pub use told::Told;

/// How long the claims of a service login are good for before they must be sent again. A user's end with the token.
const SERVICE_LIFE: Duration = Duration::from_secs(12 * 3600);
/// How long before their end they should be sent again.
const SERVICE_MARGIN: Duration = Duration::from_secs(3600);

/// What a claim holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimValue {
    /// `text`, not empty; a `uuid` in its canonical form, a `timestamptz` in UTC.
    Text(Box<str>),
    /// `int4` or `int8`.
    Int(i64),
    /// A list, each element as the text of its type.
    List(Vec<Box<str>>),
    /// `bool`.
    Bool(bool),
}

impl ClaimValue {
    /// The text of the session setting. An empty list is empty text, and so NULL: it must not make `NOT (x = ANY (claim))` true.
    fn setting(&self) -> String {
        match self {
            ClaimValue::Text(text) => text.to_string(),
            ClaimValue::Int(number) => number.to_string(),
            ClaimValue::List(items) if items.is_empty() => String::new(),
            ClaimValue::List(items) => array_literal(items),
            ClaimValue::Bool(value) => value.to_string(),
        }
    }
}

/// A PostgreSQL array literal with every element quoted, so that no element can be read as NULL, a separator or a brace.
fn array_literal(items: &[Box<str>]) -> String {
    let mut out = String::from("{");
    for (i, item) in items.iter().enumerate() {
        out.push_str(if i == 0 { "\"" } else { ",\"" });
        for c in item.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    }
    out.push('}');
    out
}

/// Where an identity comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Guest,
    Service,
    Token {
        jti: Box<str>,
        expires: u64,
        /// Why it is superadmin; present exactly where it is.
        reason: Option<Box<str>>,
        /// The key that vouches for it.
        signer: Signer,
    },
}

/// Who a statement runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    claims: Claims,
    origin: Origin,
}

/// Those that are there, in the order of the configuration's claims.
type Claims = Vec<(Claim, ClaimValue)>;

impl Identity {
    /// Nobody in particular: no claim at all.
    pub fn guest() -> Arc<Self> {
        static GUEST: LazyLock<Arc<Identity>> = LazyLock::new(|| {
            Arc::new(Identity {
                claims: Claims::new(),
                origin: Origin::Guest,
            })
        });
        // One for all, so that comparing guests is comparing addresses.
        GUEST.clone()
    }

    /// The module itself, as its service login: the claim `service` and no other.
    pub fn service(module: &ModuleName) -> Arc<Self> {
        Arc::new(Self {
            claims: vec![(Claim::Service, ClaimValue::Text(module.as_str().into()))],
            origin: Origin::Service,
        })
    }

    /// The value of a claim, if there.
    pub fn claim(&self, claim: Claim) -> Option<&ClaimValue> {
        value_of(&self.claims, claim)
    }

    /// The text of a claim's setting; `None` where PostgreSQL reads NULL.
    pub fn claim_text(&self, claim: Claim) -> Option<String> {
        self.claim(claim).map(ClaimValue::setting).filter(|text| !text.is_empty())
    }

    /// The account, for users.
    pub fn sub(&self) -> Option<&str> {
        match self.claim(Claim::Sub) {
            Some(ClaimValue::Text(sub)) => Some(sub),
            _ => None,
        }
    }

    /// How audit events name it: the account, `service`, or `guest`.
    pub fn who(&self) -> &str {
        match self.origin {
            Origin::Guest => "guest",
            Origin::Service => "service",
            Origin::Token { .. } => self.sub().unwrap_or("guest"),
        }
    }

    /// Every claim that is there.
    pub fn claims(&self) -> &[(Claim, ClaimValue)] {
        &self.claims
    }

    /// Whether no claim is there.
    pub fn is_guest(&self) -> bool {
        self.origin == Origin::Guest
    }

    /// Whether a token says who it is: neither guest nor the module itself.
    pub fn is_user(&self) -> bool {
        matches!(self.origin, Origin::Token { .. })
    }

    /// Whether it is superadmin.
    pub fn is_super(&self) -> bool {
        self.claim(Claim::Super) == Some(&ClaimValue::Bool(true))
    }

    /// Why it is superadmin, for the audit trail.
    pub fn super_reason(&self) -> Option<&str> {
        match &self.origin {
            Origin::Token { reason, .. } => reason.as_deref(),
            Origin::Guest | Origin::Service => None,
        }
    }

    /// The token's id, for revocation and audit.
    pub fn jti(&self) -> Option<&str> {
        match &self.origin {
            Origin::Token { jti, .. } => Some(jti),
            Origin::Guest | Origin::Service => None,
        }
    }

    /// Whether the key that vouched for it is not the issuer's any more. Guest and service have none.
    pub fn key_withdrawn(&self) -> bool {
        match &self.origin {
            Origin::Token { signer, .. } => !signer.stands(),
            Origin::Guest | Origin::Service => false,
        }
    }

    /// When it ends: the token's `exp`. Guest and service do not end.
    pub fn expires_at(&self) -> Option<SystemTime> {
        match self.origin {
            Origin::Token { expires, .. } => Some(UNIX_EPOCH + Duration::from_secs(expires)),
            Origin::Guest | Origin::Service => None,
        }
    }

    /// Whether it has ended: from `exp` on, to the second.
    pub fn expired(&self, now: SystemTime) -> bool {
        self.expires_at().is_some_and(|end| now >= end)
    }

    /// The parameters of [`postern_rewriter::plan::Rewritten::set_claims`]: what is told of it in a module, tags made by `ring` (none without), then
    /// the expiry in unix seconds, then the MAC in hex. Guest is empty throughout, which needs no MAC and never ends.
    pub fn settings(
        &self,
        told: &Told,
        module: &ModuleName,
        ring: Option<&KeyRing>,
        key: &MacKey,
        backend: &Backend,
        now: SystemTime,
    ) -> Vec<String> {
        let mut out = told.texts(self, module, ring);
        let expires = match self.origin {
            Origin::Guest => {
                out.resize(told.settings().len() + 2, String::new());
                return out;
            }
            Origin::Service => unix_seconds(now + SERVICE_LIFE),
            Origin::Token { expires, .. } => expires,
        };
        out.push(expires.to_string());
        let mac = key.mac(backend, &out);
        out.push(mac);
        out
    }

    /// When settings sent at `sent` should be sent again although the identity did not change: only a service's.
    pub fn resend_at(&self, sent: SystemTime) -> Option<SystemTime> {
        (self.origin == Origin::Service).then(|| sent + SERVICE_LIFE - SERVICE_MARGIN)
    }
}

fn value_of(claims: &Claims, claim: Claim) -> Option<&ClaimValue> {
    claims.iter().find(|(c, _)| *c == claim).map(|(_, value)| value)
}

fn texts(claims: &Claims, all: &[Claim]) -> Vec<String> {
    all.iter()
        .map(|claim| value_of(claims, *claim).map(ClaimValue::setting).unwrap_or_default())
        .collect()
}

/// The settings' texts of claims as a token has them, in the order of `all`; `None` where one is not of its type.
pub(crate) fn claim_settings(claims: &serde_json::Map<String, serde_json::Value>, all: &[Claim]) -> Option<Vec<String>> {
    Some(texts(&token::typed_claims(claims, all).ok()?, all))
}

/// Whole seconds since 1970; a clock before that counts as 0, where every token lies too far ahead.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use postern_config::names::LoginName;

    use super::*;

    fn backend() -> Backend {
        Backend {
            pid: 4242,
            start_micros: 1_700_000_000_123_456,
            login: LoginName::new("disco_runtime").unwrap(),
        }
    }

    #[test]
    fn array_literals_quote_every_element() {
        let items: Vec<Box<str>> = ["A", "NULL", "a,b", "{}", "q\"\\"].iter().map(|s| (*s).into()).collect();
        assert_eq!(array_literal(&items), r#"{"A","NULL","a,b","{}","q\"\\"}"#);
        assert_eq!(ClaimValue::List(Vec::new()).setting(), "");
    }

    #[test]
    fn guest_is_empty_throughout_and_service_names_its_module() {
        let key = MacKey::new([3; 32]);
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let (told, module) = (Told::claims_alone(&Claim::BUILT_IN), ModuleName::new("disco").unwrap());
        let guest = Identity::guest().settings(&told, &module, None, &key, &backend(), now);
        assert_eq!(guest, vec![String::new(); 12]);
        let service = Identity::service(&module);
        let set = service.settings(&told, &module, None, &key, &backend(), now);
        assert_eq!(set.len(), 12);
        assert_eq!(set[8], "disco");
        assert_eq!(set[10], (1_000 + 12 * 3600).to_string());
        assert_eq!(set[11].len(), 64);
        assert!(set[..8].iter().chain([&set[9]]).all(String::is_empty));
        assert!(service.resend_at(now).unwrap() > now && Identity::guest().resend_at(now).is_none());
    }
}
