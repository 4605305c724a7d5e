//! A connection's stay: the way in, bounded in time, then the session.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::identity::Identity;
use crate::observe::{Decision, Event};
use crate::pool::Pool;
use crate::session::{self, LoginContext, Memory, SessionEnd};
use crate::shared::Shared;
use crate::wire::cancel::CancelKey;
use crate::wire::login::{Authenticated, Door, Greeted, LoginError};
use crate::wire::{Client, Peer, Stream};

/// One connection's stay.
pub(super) struct Visit {
    pub door: Arc<Door>,
    pub shared: Arc<Shared>,
    /// One for each client that is in.
    pub seats: Arc<Semaphore>,
}

/// A client that is in, with all that its session needs.
struct Admitted {
    client: Client,
    pool: Arc<Pool<Memory>>,
    /// What it was told of reported settings.
    told: Arc<[(String, String)]>,
    login: LoginContext,
    /// Held for the session's life: its place among all clients, and among its module's.
    seat: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl Visit {
    /// From the accepted connection to its end.
    pub(super) async fn run(&self, stream: Stream, peer: Peer) {
        let limit = self.shared.config.settings.limits.login_timeout;
        let admitted = match timeout(limit, Box::pin(self.log_in(stream, peer))).await {
            Ok(Ok(Some(admitted))) => admitted,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => return self.failed(peer, &error),
            Err(_) => {
                self.shared.metrics.login_failed("timeout");
                tracing::warn!(%peer, "a login took longer than [limits] login_timeout");
                return;
            }
        };
        let Admitted {
            client,
            pool,
            told,
            login,
            seat,
        } = admitted;
        let name = login.login.name.clone();
        // The audit trail has every login; writing it here as well would be a good part of what a short connection costs.
        tracing::debug!(%peer, login = %name, tls = client.stream.is_tls(), "client in");
        let counted = self.shared.metrics.client_connected();
        let end = session::run(client, pool, told, login, Arc::clone(&self.shared)).await;
        match end {
            SessionEnd::Client => tracing::debug!(%peer, login = %name, "client out"),
            _ => tracing::info!(%peer, login = %name, ?end, "client out"),
        }
        drop((counted, seat));
    }

    fn failed(&self, peer: Peer, error: &LoginError) {
        self.shared.metrics.login_failed(error.reason());
        match error {
            // Health checks and port scans: connections that never said anything.
            LoginError::Talk(_) => tracing::debug!(%peer, %error, "a connection ended before its login"),
            // What a client wrote as its name may be a password typed into the wrong field: it is not logged.
            LoginError::Password(_) | LoginError::Database(_) | LoginError::Startup(_) => {
                tracing::warn!(%peer, reason = error.reason(), "login refused");
            }
            LoginError::Pool(error) => {
                tracing::error!(%peer, %error, "no connection to the database for a client")
            }
            other => tracing::warn!(%peer, reason = other.reason(), error = %other, "login refused"),
        }
    }

    /// From the accepted connection to a client that may speak. `None` where it only came to cancel.
    async fn log_in(&self, stream: Stream, peer: Peer) -> Result<Option<Admitted>, LoginError> {
        let greeting = match self.door.greet(stream, peer).await? {
            Greeted::Login(greeting) => greeting,
            Greeted::Cancel(request) => {
                self.cancel(request.key()).await;
                request.done().await;
                return Ok(None);
            }
        };
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            return Err(greeting.refuse(LoginError::Busy).await);
        };
        let user = greeting.startup().user.clone();
        let authenticated = match self.door.authenticate(greeting).await {
            Ok(authenticated) => authenticated,
            Err(error) => {
                self.audit_failure(&user, &error).await;
                return Err(error);
            }
        };
        let (pool, told, login) = match self.connect(&authenticated).await {
            Ok(connected) => connected,
            Err(error) => {
                self.audit_failure(&user, &error).await;
                return Err(authenticated.refuse(error).await);
            }
        };
        let module_seat = match self.module_seat(&login) {
            Ok(seat) => seat,
            Err(error) => {
                self.audit_failure(&user, &error).await;
                return Err(authenticated.refuse(error).await);
            }
        };
        let mut event = Event::new("login", &Identity::guest(), &user, Decision::Allow, SystemTime::now());
        event.module = Some(login.module.to_string());
        if self.shared.audit.record(event).await.is_err() {
            self.shared.metrics.audit_failed();
            return Err(authenticated.refuse(LoginError::Unable).await);
        }
        let cancel = match self.shared.cancels.register(authenticated.secret_length()) {
            Ok(cancel) => cancel,
            Err(error) => {
                tracing::error!(%error, "no randomness for a cancel key");
                return Err(authenticated.refuse(LoginError::Unable).await);
            }
        };
        let client = authenticated.admit(&told, cancel).await?;
        Ok(Some(Admitted {
            client,
            pool,
            told,
            login,
            seat: (seat, module_seat),
        }))
    }

    /// The client's place among its module's, where its quota bounds them.
    fn module_seat(&self, login: &LoginContext) -> Result<Option<OwnedSemaphorePermit>, LoginError> {
        let seats = self.shared.module_seats.get(&login.module);
        let taken = |seats: &Arc<Semaphore>| Arc::clone(seats).try_acquire_owned().map_err(|_| LoginError::ModuleBusy);
        seats.map(taken).transpose()
    }

    /// What the login may ask for, where its connections to the database come from, and what they report of settings.
    async fn connect(&self, client: &Authenticated) -> Result<Served, LoginError> {
        let startup = client.startup();
        let config = &self.shared.config;
        let refused = || LoginError::Password(startup.user.clone());
        let (manifest, login) = config.login(&startup.user).ok_or_else(refused)?;
        if startup.database != config.settings.upstream.database {
            return Err(LoginError::Database(startup.database.clone()));
        }
        startup.check_search_path(manifest.schema.as_str())?;
        if let Some(token) = &startup.token {
            // The session adopts it; a bad one ends the connection here, where a driver reports it as a failed login.
            let now = SystemTime::now();
            self.shared.tokens.verify(token, &manifest.module, &login.name, now)?;
        }
        let mut settings = startup.shared_settings();
        if let Some(most) = config.quota(&manifest.module).statement_time {
            session::limit_statement_time(&mut settings, most);
        }
        let pool = self.shared.pools.of(manifest, login, &settings);
        let told = pool.parameters(startup.setting("application_name")).await?;
        Ok((
            pool,
            told,
            LoginContext {
                module: manifest.module.clone(),
                login: login.clone(),
            },
        ))
    }

    async fn cancel(&self, key: &CancelKey) {
        // Held until the server has taken it: the connection stays with its client so long.
        let found = self.shared.cancels.begin(key);
        self.shared.metrics.cancel(found.is_some());
        if let Some(cancelling) = found
            && let Err(error) = self.shared.upstream.cancel(cancelling.target()).await
        {
            tracing::warn!(%error, "a cancel request could not be passed on");
        }
    }

    async fn audit_failure(&self, user: &str, error: &LoginError) {
        let known = self.shared.config.login(user);
        let login = known.map_or("(unknown)", |(_, l)| l.name.as_str());
        let mut event = Event::new("login", &Identity::guest(), login, Decision::Refuse, SystemTime::now());
        event.module = known.map(|(m, _)| m.module.to_string());
        event.sqlstate = error.for_client().map(|(sqlstate, ..)| sqlstate);
        event.reason = Some(error.reason());
        if self.shared.audit.record(event).await.is_err() {
            self.shared.metrics.audit_failed();
        }
    }
}

type Served = (Arc<Pool<Memory>>, Arc<[(String, String)]>, LoginContext);
