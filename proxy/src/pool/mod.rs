//! Server connections of the modules' logins: who has which, who waits, and when one is closed.
//!
//! Promised: a connection has one user at a time; never more than a login's `size` or its module's quota are open, whatever settings
//! they were opened with; whoever waits is served in the order of arrival, within a bounded queue and time; a connection on which
//! anything arrived while it was idle is closed and never handed out; while the database does not answer, one attempt at a time is made
//! for each login, so that service is back within a fraction of a second of it. Every future here is cancel-safe: what was promised to
//! one that is dropped goes to the next.
//!
//! Refused: waiting beyond the queue's bound or time (53300), a database that is not there (57P03) or that cannot be trusted (08001).
//!
//! It is a pool of our own because a connection is chosen by more than being free: by the settings it was opened with, by what it
//! remembers (`M`, the session's: whose claims stand there, what is prepared), and by the runtime that watches its socket. Taking and
//! giving back is one short lock of the login's own, without allocation and without system call; no lock is held while another is taken
//! or across an await.

mod error;
mod key;
mod lease;
mod login;
mod module;
mod queue;
mod taking;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use postern_config::settings::PoolMode;
use postern_config::{Config, Login, LoginName, Manifest};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use zeroize::Zeroizing;

pub use error::PoolError;
pub use lease::Lease;

use crate::observe::Metrics;
use crate::wire::upstream::Connector;
use key::{Key, Setting};
use login::LoginPool;
use module::Module;

/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_millis(500);

/// All server connections of the process that serve clients.
pub struct Pools<M> {
    logins: HashMap<LoginName, Arc<LoginPool<M>>>,
}

/// The connections of one login with one list of startup settings. They share the login's limits with those of other settings.
pub struct Pool<M> {
    login: Arc<LoginPool<M>>,
    key: Arc<Key>,
}

impl<M: Default + Send + 'static> Pools<M> {
    /// Pools for every login of the manifests, with nothing in them. `passwords` are those towards PostgreSQL, by login.
    pub fn new(
        connector: Connector,
        config: &Config,
        mut passwords: HashMap<String, Zeroizing<String>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut logins = HashMap::new();
        for manifest in &config.modules {
            let module = Arc::new(Module::new(config.quota(&manifest.module)));
            for login in &manifest.logins {
                // Without a password the database refuses, and the log says so.
                let password = passwords.remove(login.name.as_str()).unwrap_or_default();
                let settings = config.pool(&login.name);
                let pool = LoginPool::new(
                    manifest,
                    login,
                    settings,
                    password,
                    connector.clone(),
                    Arc::clone(&module),
                    &metrics,
                );
                logins.insert(login.name.clone(), Arc::new(pool));
            }
            let siblings = manifest.logins.iter().filter_map(|l| logins.get(&l.name));
            module.is_of(siblings.map(Arc::downgrade).collect());
        }
        Self { logins }
    }

    /// The pool of a login with these startup settings (sorted, without `application_name`).
    pub fn of(&self, manifest: &Manifest, login: &Login, settings: &[Setting]) -> Arc<Pool<M>> {
        let known = self.logins.get(&login.name);
        let known = known.unwrap_or_else(|| panic!("login {} of module {} is configured", login.name, manifest.module));
        Arc::new(Pool {
            login: Arc::clone(known),
            key: known.key(settings),
        })
    }

    /// Closes what is dead, idle for too long or too old, and keeps `min_idle` open; until dropped. Cancel-safe.
    pub async fn keep(&self) {
        let mut tasks = JoinSet::new();
        for login in self.logins.values() {
            let login = Arc::clone(login);
            tasks.spawn(async move {
                let mut tick = interval(SWEEP);
                tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    tick.tick().await;
                    login.sweep();
                    login.warm().await;
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }
}

impl<M> Pools<M> {
    /// Ends waiting (57P01) and closes idle connections; those in use close when they are given back.
    pub fn close(&self) {
        self.logins.values().for_each(|login| login.close());
    }
}

impl<M> Drop for Pools<M> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<M: Default + Send + 'static> Pool<M> {
    /// The ParameterStatus of a connection of this pool, under the client's own `application_name` if it has one; connects if none was
    /// ever made. Cancel-safe.
    pub async fn parameters(&self, application_name: Option<&str>) -> Result<Arc<[(String, String)]>, PoolError> {
        if let Some(known) = self.key.parameters(application_name) {
            return Ok(known);
        }
        let lease = self.take(|_| true).await?;
        let told = match application_name {
            Some(own) => key::under(own, &lease.parameters),
            None => lease.parameters.as_slice().into(),
        };
        lease.give_back();
        Ok(self.key.parameters(application_name).unwrap_or(told))
    }

    /// An idle connection, without waiting: one of this runtime that `prefer` likes, else one of this runtime, else any; among equals the
    /// one that was used last.
    pub fn try_take(&self, prefer: impl Fn(&M) -> bool) -> Option<Lease<M>> {
        self.login.idle(&self.key, prefer)
    }

    /// An idle connection, else a new one while there is room, else the next that becomes free. Cancel-safe.
    pub async fn take(&self, prefer: impl Fn(&M) -> bool) -> Result<Lease<M>, PoolError> {
        match self.try_take(prefer) {
            Some(lease) => Ok(lease),
            None => self.login.wait(&self.key).await,
        }
    }

    /// Whether somebody waits for a connection that this login, or its module under a quota, could give.
    pub fn awaited(&self) -> bool {
        self.login.awaited()
    }

    /// When a connection belongs to a client.
    pub fn mode(&self) -> PoolMode {
        self.login.mode()
    }

    /// Whether statements of the simple protocol that come again are prepared.
    pub fn prepares_simple(&self) -> bool {
        self.login.prepares_simple()
    }
}
