//! What takes time: waiting in the queue, and opening connections.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::{sleep_until, timeout_at};

use super::PoolError;
use super::key::Key;
use super::lease::{Lease, Place, here};
use super::login::{Entered, LoginPool, Standing};
use super::queue::Waiter;
use crate::wire::upstream::{ConnectAs, UpstreamError};

/// What a turn brings.
enum Turn<M> {
    Lease(Lease<M>),
    Place(Place<M>),
}

/// How an attempt to connect ended without a connection.
enum Failed {
    /// It may go better later.
    Passing,
    /// It will not.
    For(Arc<UpstreamError>),
    /// There was no more time.
    Late,
}

impl<M: Default> LoginPool<M> {
    /// A connection with these settings, as soon as there is one. Cancel-safe.
    pub(super) async fn wait(self: &Arc<Self>, key: &Arc<Key>) -> Result<Lease<M>, PoolError> {
        let began = Instant::now();
        let deadline = began + self.settings.queue_timeout;
        let result = self.wait_until(key, deadline).await;
        self.metrics.waited(began.elapsed());
        result
    }

    async fn wait_until(self: &Arc<Self>, key: &Arc<Key>, deadline: Instant) -> Result<Lease<M>, PoolError> {
        let mut number = None;
        loop {
            let (mine, entered) = self.enter(key, number);
            number = Some(mine);
            let login = || self.name.to_string();
            let turn = match entered {
                Entered::Place(place) => Turn::Place(place),
                Entered::Queued(waiter) => {
                    let ticket = Ticket { login: self, waiter };
                    ticket.until(deadline).await?
                }
                Entered::Full(waiting) => {
                    return Err(PoolError::Full { login: login(), waiting });
                }
                Entered::ModuleFull(waiting) => {
                    return Err(PoolError::ModuleFull { login: login(), waiting });
                }
                Entered::Closed => return Err(PoolError::Closing),
            };
            match turn {
                Turn::Lease(lease) => {
                    // One that died on the way leaves its place to us, or to the one before us.
                    if let Some(lease) = lease.fit(here()) {
                        return Ok(lease);
                    }
                }
                Turn::Place(place) => match self.connect(key, place, deadline).await {
                    Ok(lease) => return Ok(lease),
                    Err(Failed::Passing) if Instant::now() < deadline => {}
                    Err(Failed::Passing | Failed::Late) => return Err(self.late()),
                    Err(Failed::For(error)) => return Err(PoolError::Upstream(error)),
                },
            }
        }
    }

    fn late(&self) -> PoolError {
        match self.trouble() {
            Some(error) => PoolError::Upstream(error),
            None => PoolError::Timeout {
                login: self.name.to_string(),
                waited: self.settings.queue_timeout,
            },
        }
    }

    /// Opens connections until `min_idle` are there, or one cannot be opened. Cancel-safe.
    pub(super) async fn warm(self: &Arc<Self>) {
        while let Some((place, key)) = self.may_warm() {
            let deadline = Instant::now() + self.settings.queue_timeout;
            match self.connect(&key, place, deadline).await {
                Ok(lease) => lease.give_back(),
                Err(_) => return,
            }
        }
    }

    async fn connect(self: &Arc<Self>, key: &Arc<Key>, place: Place<M>, deadline: Instant) -> Result<Lease<M>, Failed> {
        // Before the place is free again, so that who gets it knows how this ended.
        let mut attempt = Attempt {
            place: Some(place),
            ended: false,
        };
        let who = ConnectAs {
            login: &self.name,
            password: self.password.as_str(),
            application_name: &self.application_name,
            schema: &self.schema,
            settings: &key.settings,
            role: self.role.as_deref(),
        };
        let Ok(connected) = timeout_at(deadline.into(), self.connector.connect(&who)).await else {
            return Err(Failed::Late);
        };
        let error = match connected {
            Ok(upstream) => {
                key.reported(&upstream.parameters);
                let place = attempt.well(key);
                let lease = Lease {
                    stream: upstream.stream,
                    parameters: upstream.parameters,
                    cancel: upstream.cancel,
                    backend: upstream.backend,
                    memory: Box::default(),
                    key: Arc::clone(key),
                    born: Instant::now(),
                    home: here(),
                    _counted: self.all_metrics.upstream_connected(),
                    place,
                };
                return Ok(lease);
            }
            Err(error) => Arc::new(error),
        };
        self.metrics.connect_failed(error.reason());
        if error.is_passing() {
            attempt.failed(&error);
            return Err(Failed::Passing);
        }
        tracing::error!(login = %self.name, %error, "no connection to the database");
        Err(Failed::For(error))
    }
}

/// One attempt to connect; dropped, it is over.
struct Attempt<M> {
    place: Option<Place<M>>,
    ended: bool,
}

impl<M> Attempt<M> {
    fn well(mut self, key: &Arc<Key>) -> Place<M> {
        self.ended = true;
        let place = self.place.take().expect("an attempt has its place until it ends");
        place.login.attempt_ended(Some(Ok(key)));
        place
    }

    fn failed(&mut self, error: &Arc<UpstreamError>) {
        self.ended = true;
        if let Some(place) = &self.place {
            place.login.attempt_ended(Some(Err(error)));
        }
    }
}

impl<M> Drop for Attempt<M> {
    fn drop(&mut self) {
        if let Some(place) = &self.place
            && !self.ended
        {
            place.login.attempt_ended(None);
        }
    }
}

/// One who waits; dropped, it has given up.
struct Ticket<'a, M> {
    login: &'a Arc<LoginPool<M>>,
    waiter: Arc<Waiter<M>>,
}

impl<M: Default> Ticket<'_, M> {
    async fn until(self, deadline: Instant) -> Result<Turn<M>, PoolError> {
        loop {
            let look = match self.login.stand(&self.waiter) {
                Standing::Lease(lease) => return Ok(Turn::Lease(lease)),
                Standing::Place(place) => return Ok(Turn::Place(place)),
                Standing::Until(look) => look.map_or(deadline, |look| look.min(deadline)),
                Standing::Closed => return Err(PoolError::Closing),
            };
            if Instant::now() >= deadline {
                return Err(self.login.late());
            }
            tokio::select! {
                () = self.waiter.told() => {}
                () = sleep_until(look.into()) => {}
            }
        }
    }
}

impl<M> Drop for Ticket<'_, M> {
    fn drop(&mut self) {
        self.login.give_up(&self.waiter);
    }
}
