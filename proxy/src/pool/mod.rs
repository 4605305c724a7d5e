//! stub
#![allow(missing_docs)]
use crate::identity::Backend;
use crate::wire::Stream;
use crate::wire::cancel::UpstreamKey;
use crate::wire::upstream::{ConnectAs, Connector};
use postern_config::settings::PoolMode;
use postern_config::{Config, Login, Manifest};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
type Passwords = HashMap<String, zeroize::Zeroizing<String>>;
pub struct Pools<M> {
    connector: Connector,
    config: Config,
    passwords: Arc<Passwords>,
    all: Mutex<HashMap<String, Arc<Pool<M>>>>,
}
pub struct Pool<M> {
    connector: Connector,
    manifest: Manifest,
    login: Login,
    password: zeroize::Zeroizing<String>,
    settings: Vec<(&'static str, String)>,
    mode: PoolMode,
    idle: Arc<Mutex<Vec<Lease<M>>>>,
    role: Option<String>,
}
pub struct Lease<M> {
    pub stream: Stream,
    pub parameters: Vec<(String, String)>,
    pub cancel: UpstreamKey,
    pub backend: Backend,
    pub memory: Box<M>,
    home: Option<Arc<Mutex<Vec<Lease<M>>>>>,
}
#[derive(Debug)]
pub struct PoolError;
impl std::fmt::Display for PoolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no connection")
    }
}
impl std::error::Error for PoolError {}
impl PoolError {
    pub fn for_client(&self) -> (&'static str, &'static str, &'static str) {
        ("08001", "no", "hint")
    }
    pub fn refusal(&self) -> postern_rewriter::plan::Refusal {
        unreachable!()
    }
}
impl<M: Default + Send + 'static> Pools<M> {
    pub fn new(connector: Connector, config: &Config, passwords: Passwords) -> Self {
        Self {
            connector,
            config: config.clone(),
            passwords: Arc::new(passwords),
            all: Mutex::default(),
        }
    }
    pub fn of(&self, manifest: &Manifest, login: &Login, settings: &[(&'static str, String)]) -> Arc<Pool<M>> {
        let key = format!("{} {:?}", login.name, settings);
        self.all
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .entry(key)
            .or_insert_with(|| {
                Arc::new(Pool {
                    connector: self.connector.clone(),
                    manifest: manifest.clone(),
                    login: login.clone(),
                    password: self.passwords[login.name.as_str()].clone(),
                    settings: settings.to_vec(),
                    mode: self.config.pool(&login.name).mode,
                    idle: Arc::default(),
                    role: match login.kind {
                        postern_config::LoginKind::Migrator => Some(manifest.owner_role()),
                        postern_config::LoginKind::Service if login.ddl => Some(manifest.owner_role()),
                        _ => None,
                    },
                })
            })
            .clone()
    }
}
impl<M: Default> Pool<M> {
    pub async fn parameters(&self) -> Result<Arc<[(String, String)]>, PoolError> {
        let l = self.take(|_| true).await?;
        let p = l.parameters.clone().into();
        l.give_back();
        Ok(p)
    }
    pub fn try_take(&self, p: impl Fn(&M) -> bool) -> Option<Lease<M>> {
        let mut i = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if i.is_empty() {
            return None;
        }
        let at = i.iter().rposition(|l| p(&l.memory)).unwrap_or(i.len() - 1);
        let mut l = i.remove(at);
        l.home = Some(self.idle.clone());
        Some(l)
    }
    pub async fn take(&self, p: impl Fn(&M) -> bool) -> Result<Lease<M>, PoolError> {
        if let Some(l) = self.try_take(p) {
            return Ok(l);
        }
        let shown = format!("postern:{}", self.manifest.module);
        let who = ConnectAs {
            login: &self.login.name,
            password: &self.password,
            application_name: &shown,
            schema: &self.manifest.schema,
            settings: &self.settings,
            role: self.role.as_deref(),
        };
        let u = self.connector.connect(&who).await.map_err(|e| {
            tracing::error!(%e, "connect");
            PoolError
        })?;
        Ok(Lease {
            stream: u.stream,
            parameters: u.parameters,
            cancel: u.cancel,
            backend: u.backend,
            memory: Box::default(),
            home: Some(self.idle.clone()),
        })
    }
    pub fn awaited(&self) -> bool {
        false
    }
    pub fn mode(&self) -> PoolMode {
        self.mode
    }
}
impl<M> Lease<M> {
    pub fn give_back(mut self) {
        if let Some(h) = self.home.take() {
            h.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(self);
        }
    }
}
