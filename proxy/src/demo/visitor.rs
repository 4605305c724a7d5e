//! Clients of the demonstration: who knocks, through which login, with whose token.
//!
//! `tokio-postgres` stands here in the place of any driver: these connections come from outside the gate, over TCP, like everybody's.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use postern_config::{Config, Login, LoginKind, Manifest};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};
use zeroize::Zeroizing;

use super::error::DemoError;
use crate::identity::mint;

/// How long the demonstration's tokens hold.
const LIFE: Duration = Duration::from_secs(600);

/// Somebody who connects through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visitor {
    /// The module.
    pub module: &'static str,
    /// Through which of its logins.
    pub kind: LoginKind,
    /// With whose token; `None` is guest (or the service itself).
    pub person: Option<&'static str>,
}

impl Visitor {
    /// A user of a module.
    pub const fn person(module: &'static str, person: &'static str) -> Self {
        Self {
            module,
            kind: LoginKind::Runtime,
            person: Some(person),
        }
    }

    /// A user of a module without a token.
    pub const fn guest(module: &'static str) -> Self {
        Self {
            module,
            kind: LoginKind::Runtime,
            person: None,
        }
    }

    /// The module itself.
    pub const fn service(module: &'static str) -> Self {
        Self {
            module,
            kind: LoginKind::Service,
            person: None,
        }
    }
}

/// The way in: the running proxy, its configuration, and the development issuer's key.
pub struct Door<'a> {
    /// The configuration that the proxy runs with.
    pub config: &'a Config,
    key: EncodingKey,
}

impl<'a> Door<'a> {
    /// Reads the development issuer's key.
    pub fn new(config: &'a Config) -> Result<Self, DemoError> {
        let failed = token_error("anybody");
        let Some(file) = &config.settings.tokens.dev_private_key else {
            return Err(failed("tokens.dev_private_key is not set".to_owned()));
        };
        let pem = Zeroizing::new(fs::read(file).map_err(DemoError::io("read", file))?);
        let key = EncodingKey::from_ed_pem(&pem).map_err(|e| failed(e.to_string()))?;
        Ok(Self { config, key })
    }

    /// A token for a person of the tour, as `postern token mint` makes it.
    pub fn token(&self, module: &str, person: &str) -> Result<String, DemoError> {
        let module = &self.manifest(module)?.module;
        let reason = (person == "root").then_some("postern demo");
        mint::mint(&self.config.settings.tokens, module, person, LIFE, reason, SystemTime::now())
            .map_err(|e| token_error(person)(e.to_string()))
    }

    /// A token that says no more than who somebody is: what anybody of the data set needs to write in their own name.
    pub fn author_token(&self, module: &str, author: &str) -> Result<String, DemoError> {
        self.signed(module, author, &json!({ "sub": author, "verified": true, "disabled": false }))
    }

    /// A token whose issuer wrote `exp` in nanoseconds (mistake 9).
    pub fn nanosecond_token(&self, module: &str, person: &str) -> Result<String, DemoError> {
        let exp = u64::try_from(
            (SystemTime::now() + LIFE)
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_nanos(),
        )
        .unwrap_or(u64::MAX);
        self.signed(module, person, &json!({ "sub": person, "exp": exp }))
    }

    /// A token whose issuer wrote `""` for "no organisation" (mistake 10).
    pub fn nowhere_token(&self, module: &str, person: &str) -> Result<String, DemoError> {
        let nowhere = [""];
        self.signed(
            module,
            person,
            &json!({ "sub": person, "org_member_of": nowhere, "org_admin_of": nowhere, "project_admin_of": nowhere }),
        )
    }

    /// Signs what an honest token says, with `claims` over it.
    fn signed(&self, module: &str, person: &str, claims: &Value) -> Result<String, DemoError> {
        let tokens = &self.config.settings.tokens;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut whole = json!({
            "iss": tokens.issuer,
            "aud": tokens.audience,
            "mod": module,
            "iat": now,
            "exp": now + LIFE.as_secs(),
            "jti": uuid::Uuid::new_v4().to_string(),
        });
        if let (Value::Object(whole), Value::Object(claims)) = (&mut whole, claims) {
            whole.extend(claims.clone());
        }
        encode(&Header::new(Algorithm::EdDSA), &whole, &self.key).map_err(|e| token_error(person)(e.to_string()))
    }

    /// Connects.
    pub async fn connect(&self, visitor: &Visitor) -> Result<Client, DemoError> {
        let login = self.login(visitor.module, visitor.kind)?;
        let doing = || format!("connecting through the proxy as {}", login.name);
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.config.settings.listen.address.port())
            .user(login.name.as_str())
            .password(client_password(self.config, login)?)
            .dbname(&self.config.settings.upstream.database)
            .application_name("postern demo")
            .connect_timeout(Duration::from_secs(10));
        if let Some(person) = visitor.person {
            config.options(format!("-c postern.token={}", self.token(visitor.module, person)?));
        }
        let (client, connection) = config.connect(NoTls).await.map_err(DemoError::sql(doing()))?;
        // Owned by the client: the task ends when the client is dropped.
        tokio::spawn(connection);
        Ok(client)
    }

    /// A module's manifest.
    pub fn manifest(&self, module: &str) -> Result<&'a Manifest, DemoError> {
        self.config
            .modules
            .iter()
            .find(|m| m.module.as_str() == module)
            .map(|m| &**m)
            .ok_or_else(|| DemoError::Missing(format!("module `{module}`")))
    }

    /// A module's login of a kind.
    pub fn login(&self, module: &str, kind: LoginKind) -> Result<&'a Login, DemoError> {
        login_of(self.manifest(module)?, kind).ok_or_else(|| DemoError::Missing(format!("{kind:?} login for module `{module}`")))
    }
}

fn token_error(person: &str) -> impl FnOnce(String) -> DemoError {
    let person = person.to_owned();
    move |message| DemoError::Token { person, message }
}

/// A module's login of a kind.
pub fn login_of(manifest: &Manifest, kind: LoginKind) -> Option<&Login> {
    manifest.logins.iter().find(|l| l.kind == kind)
}

/// A login's password towards the proxy.
pub fn client_password(config: &Config, login: &Login) -> Result<String, DemoError> {
    password(config, login, "client")
}

/// A login's password towards PostgreSQL (for the tour's look at the second lock).
pub fn upstream_password(config: &Config, login: &Login) -> Result<String, DemoError> {
    password(config, login, "upstream")
}

fn password(config: &Config, login: &Login, side: &str) -> Result<String, DemoError> {
    let path = config.settings.secrets_dir.join(format!("{}.{side}", login.name));
    let text = fs::read_to_string(&path).map_err(DemoError::io("read", &path))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
