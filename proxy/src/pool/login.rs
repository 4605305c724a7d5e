//! One login's connections: the state behind one lock, and everything that changes it without waiting.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postern_config::names::Ident;
use postern_config::settings::{PoolMode, PoolSettings};
use postern_config::{Login, LoginKind, LoginName, Manifest};
use zeroize::Zeroizing;

use super::key::{Key, Keys, Setting};
use super::lease::{Lease, Place, here};
use super::module::Module;
use super::queue::{Queue, Waiter};
use crate::observe::{Metrics, PoolMetrics};
use crate::wire::upstream::{Connector, UpstreamError};

/// Of idle connections, so many are asked whether they are preferred, the last used ones first.
const LOOKED_AT: usize = 64;
/// Connections that changed their runtime this often between two sweeps are too few: each change costs system calls.
const MANY_MOVES: u32 = 200;
/// Between two attempts to reach a database that does not answer: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(200));

/// One login's connections, of all startup settings.
pub(super) struct LoginPool<M> {
    pub(super) name: LoginName,
    pub(super) schema: Ident,
    /// The role in which a login that may run DDL works, so that what it makes belongs to the module.
    pub(super) role: Option<String>,
    pub(super) application_name: String,
    pub(super) password: Zeroizing<String>,
    pub(super) settings: PoolSettings,
    pub(super) connector: Connector,
    pub(super) module: Arc<Module<M>>,
    pub(super) metrics: PoolMetrics,
    pub(super) all_metrics: Arc<Metrics>,
    keys: Keys,
    state: Mutex<State<M>>,
    /// The queue's length, for those who ask without the lock.
    waiting: AtomicUsize,
}

pub(super) struct State<M> {
    /// Connections in use, idle, or being opened.
    places: usize,
    /// The last used one is the last.
    idle: Vec<Idle<M>>,
    queue: Queue<M>,
    /// The next waiter's number.
    number: u64,
    /// Why the last attempt to connect failed, while none has succeeded since.
    down: Option<Down>,
    /// Whether somebody waits because the module's quota is used up.
    starves: bool,
    /// The settings of the newest connection: the ones to keep warm.
    usual: Option<Arc<Key>>,
    /// How often a connection went from one runtime to another since the last sweep.
    moves: u32,
    /// Whether there should be one more, because they move so often.
    short: bool,
    closed: bool,
}

struct Idle<M> {
    lease: Lease<M>,
    since: Instant,
}

/// The database does not let us in.
struct Down {
    error: Arc<UpstreamError>,
    /// When it is tried again,
    next: Instant,
    /// and how long after that, if it fails.
    pause: Duration,
    /// Somebody is at it.
    probing: bool,
}

/// What one who comes for a connection is told.
pub(super) enum Entered<M> {
    /// Leave to open one.
    Place(Place<M>),
    /// A place in the queue.
    Queued(Arc<Waiter<M>>),
    /// As many wait as may.
    Full(usize),
    /// As many of the module's clients wait as may.
    ModuleFull(usize),
    /// Nothing is opened any more.
    Closed,
}

/// What one who waits should do.
pub(super) enum Standing<M> {
    /// It got a connection,
    Lease(Lease<M>),
    /// or leave to open one.
    Place(Place<M>),
    /// Look again then, or when told.
    Until(Option<Instant>),
    /// Nothing is opened any more.
    Closed,
}

impl<M> LoginPool<M> {
    pub(super) fn new(
        manifest: &Manifest,
        login: &Login,
        settings: PoolSettings,
        password: Zeroizing<String>,
        connector: Connector,
        module: Arc<Module<M>>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let works_as_owner = match login.kind {
            LoginKind::Migrator => true,
            LoginKind::Service => login.ddl,
            LoginKind::Runtime => false,
        };
        Self {
            name: login.name.clone(),
            schema: manifest.schema.clone(),
            role: works_as_owner.then(|| manifest.owner_role()),
            application_name: format!("postern:{}", manifest.module),
            password,
            settings,
            connector,
            module,
            metrics: metrics.pool(login.name.as_str()),
            all_metrics: Arc::clone(metrics),
            keys: Keys::default(),
            state: Mutex::new(State {
                places: 0,
                idle: Vec::new(),
                queue: Queue::default(),
                number: 0,
                down: None,
                starves: false,
                usual: None,
                moves: 0,
                short: false,
                closed: false,
            }),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(super) fn mode(&self) -> PoolMode {
        self.settings.mode
    }

    pub(super) fn prepares_simple(&self) -> bool {
        self.settings.prepare_simple
    }

    pub(super) fn key(&self, settings: &[Setting]) -> Arc<Key> {
        self.keys.get(settings)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    pub(super) fn awaited(&self) -> bool {
        self.waiting() > 0 || self.module.others_starve(false)
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        // A panic elsewhere leaves at worst a place that is counted and not there: fewer connections, never more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle connection with these settings.
    pub(super) fn idle(&self, key: &Arc<Key>, prefer: impl Fn(&M) -> bool) -> Option<Lease<M>> {
        let here = here();
        loop {
            let found = {
                let mut state = self.lock();
                let found = state.pick(key, here, &prefer)?;
                if found.home != here {
                    state.moves = state.moves.saturating_add(1);
                }
                self.note(&state);
                found
            };
            if let Some(lease) = found.fit(here) {
                return Some(lease);
            }
        }
    }

    /// Takes a connection back: for the one who waits, for the next, or to close it.
    pub(super) fn take_back(&self, lease: Lease<M>) {
        let now = Instant::now();
        if let Some(lease) = self.keep_or_return(lease, now) {
            lease.part();
        }
    }

    fn keep_or_return(&self, lease: Lease<M>, now: Instant) -> Option<Lease<M>> {
        if now.duration_since(lease.born) > self.settings.lifetime {
            return Some(lease);
        }
        let mut state = self.lock();
        if state.closed || self.module.claims_back(state.places, state.queue.len(), state.starves) {
            return Some(lease);
        }
        match state.queue.first() {
            None => {
                state.idle.push(Idle { lease, since: now });
                self.note(&state);
                None
            }
            Some(first) if Arc::ptr_eq(&first.key, &lease.key) => {
                if let Some(first) = self.dequeue(&mut state) {
                    first.give(lease);
                }
                None
            }
            // It waits for one with other settings: closing this one makes room.
            Some(_) => Some(lease),
        }
    }

    /// Comes for a connection that is not there; with the number of an earlier attempt, at the place that it had.
    pub(super) fn enter(self: &Arc<Self>, key: &Arc<Key>, number: Option<u64>) -> (u64, Entered<M>) {
        let mut state = self.lock();
        let again = number.is_some();
        let number = number.unwrap_or_else(|| {
            state.number += 1;
            state.number
        });
        if state.closed {
            return (number, Entered::Closed);
        }
        if state.queue.is_first(number)
            && state.may_try(Instant::now())
            && let Some(place) = self.room(&mut state, key)
        {
            return (number, Entered::Place(place));
        }
        if !again {
            if state.queue.len() >= self.settings.queue {
                return (number, Entered::Full(state.queue.len()));
            }
            if let Err(waiting) = self.module.may_wait() {
                return (number, Entered::ModuleFull(waiting));
            }
        }
        let waiter = Arc::new(Waiter::new(number, key));
        state.queue.enter(Arc::clone(&waiter));
        self.module.waits();
        self.count(&state);
        let starves = state.starves;
        drop(state);
        if starves {
            self.module.relieve();
        }
        (number, Entered::Queued(waiter))
    }

    /// What one in the queue should do now.
    pub(super) fn stand(self: &Arc<Self>, waiter: &Waiter<M>) -> Standing<M> {
        let mut state = self.lock();
        if let Some(lease) = waiter.given() {
            return Standing::Lease(lease);
        }
        if state.closed {
            return Standing::Closed;
        }
        if !state.queue.is_first(waiter.number) {
            return Standing::Until(None);
        }
        if !state.may_try(Instant::now()) {
            let at = state.down.as_ref().filter(|down| !down.probing).map(|down| down.next);
            return Standing::Until(at);
        }
        if let Some(place) = self.room(&mut state, &waiter.key) {
            self.dequeue(&mut state);
            return Standing::Place(place);
        }
        let starves = state.starves;
        drop(state);
        if starves {
            self.module.relieve();
        }
        Standing::Until(None)
    }

    /// One who waited gives up. What it was given meanwhile goes to the next.
    pub(super) fn give_up(&self, waiter: &Waiter<M>) {
        let given = {
            let mut state = self.lock();
            if state.queue.leave(waiter.number) {
                self.module.waits_no_more();
                self.left(&mut state);
            }
            waiter.given()
        };
        if let Some(lease) = given {
            lease.give_back();
        }
    }

    /// Why the last attempt failed, while the database is not known to be back.
    pub(super) fn trouble(&self) -> Option<Arc<UpstreamError>> {
        self.lock().down.as_ref().map(|down| Arc::clone(&down.error))
    }

    /// An attempt to connect ended: without a result (it was broken off, or failed for a reason of its own), in failure that may pass, or
    /// well. Everybody else learns from it.
    pub(super) fn attempt_ended(&self, result: Option<Result<&Arc<Key>, &Arc<UpstreamError>>>) {
        let mut state = self.lock();
        match result {
            None => {
                if let Some(down) = &mut state.down {
                    down.probing = false;
                }
            }
            Some(Err(error)) => {
                let pause = match &state.down {
                    Some(down) => (down.pause * 2).min(PAUSE.1),
                    None => {
                        tracing::error!(login = %self.name, %error, "no connection to the database");
                        PAUSE.0
                    }
                };
                state.down = Some(Down {
                    error: Arc::clone(error),
                    next: Instant::now() + pause,
                    pause,
                    probing: false,
                });
            }
            Some(Ok(key)) => {
                if state.down.take().is_some() {
                    tracing::info!(login = %self.name, "the database lets us in again");
                }
                if !state.usual.as_ref().is_some_and(|usual| Arc::ptr_eq(usual, key)) {
                    state.usual = Some(Arc::clone(key));
                }
            }
        }
        self.note(&state);
        self.offer_all(&mut state);
    }

    /// A place is free. (From [`Place`]'s drop, so never while the lock is held.)
    pub(super) fn freed(&self) {
        {
            let mut state = self.lock();
            state.places -= 1;
            self.module.release();
            self.note(&state);
            if let Some(first) = state.queue.first() {
                first.wake();
            }
        }
        self.module.settle();
    }

    /// Has the first of the queue look again.
    pub(super) fn settle(&self) {
        if let Some(first) = self.lock().queue.first() {
            first.wake();
        }
    }

    /// Gives idle connections to those first in the queue that they fit, and wakes the one behind them.
    fn offer_all(&self, state: &mut State<M>) {
        while let Some(first) = state.queue.first().map(Arc::clone) {
            let Some(lease) = state.pick(&first.key, None, &|_: &M| true) else {
                first.wake();
                break;
            };
            if let Some(first) = self.dequeue(state) {
                first.give(lease);
            }
            self.note(state);
        }
    }

    /// Leave to open a connection with these settings, if the limits have room or can make it. Where the database is down, the one who
    /// gets it probes.
    fn room(self: &Arc<Self>, state: &mut State<M>, key: &Arc<Key>) -> Option<Place<M>> {
        let mut place = None;
        if state.places < self.settings.size {
            let reserved = self.module.reserve(state.places, state.starves);
            self.starve(state, !reserved);
            if reserved {
                state.places += 1;
                place = Some(Place { login: Arc::clone(self) });
            }
        }
        if place.is_none() {
            // One of other settings that nobody uses.
            let other = state.idle.iter().position(|idle| !Arc::ptr_eq(&idle.lease.key, key))?;
            self.starve(state, false);
            place = Some(state.idle.remove(other).lease.into_place());
        }
        if let Some(down) = &mut state.down {
            down.probing = true;
        }
        self.note(state);
        place
    }

    fn starve(&self, state: &mut State<M>, starves: bool) {
        if state.starves != starves {
            state.starves = starves;
            self.module.starves(starves);
        }
    }

    /// The first of the queue leaves it.
    fn dequeue(&self, state: &mut State<M>) -> Option<Arc<Waiter<M>>> {
        let first = state.queue.pop()?;
        self.module.waits_no_more();
        self.left(state);
        Some(first)
    }

    /// Somebody left the queue.
    fn left(&self, state: &mut State<M>) {
        self.count(state);
        match state.queue.first() {
            Some(next) => next.wake(),
            None => self.starve(state, false),
        }
    }

    fn count(&self, state: &State<M>) {
        self.waiting.store(state.queue.len(), Ordering::Release);
        self.metrics.waiting(state.queue.len());
    }

    fn note(&self, state: &State<M>) {
        self.metrics.connections(state.places - state.idle.len(), state.idle.len());
    }

    /// The idle connection that was unused for longest.
    pub(super) fn oldest_idle(&self) -> Option<Lease<M>> {
        let mut state = self.lock();
        if state.idle.is_empty() {
            return None;
        }
        let lease = state.idle.remove(0).lease;
        self.note(&state);
        Some(lease)
    }

    /// Closes idle connections that are dead, too old, or unused for too long (as far as `min_idle` remain).
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let ended = {
            let mut state = self.lock();
            state.short = std::mem::take(&mut state.moves) > MANY_MOVES;
            let mut spare = state.places.saturating_sub(self.settings.min_idle);
            let mut ended = Vec::new();
            let idle = std::mem::take(&mut state.idle);
            for mut one in idle {
                let old = now.duration_since(one.lease.born) > self.settings.lifetime;
                let unused = spare > 0 && now.duration_since(one.since) > self.settings.idle_timeout;
                if old || unused || !one.lease.is_quiet() {
                    spare = spare.saturating_sub(1);
                    ended.push(one.lease);
                } else {
                    state.idle.push(one);
                }
            }
            self.note(&state);
            ended
        };
        ended.into_iter().for_each(Lease::part);
        // A word that went astray would be a client that waits for nothing.
        self.settle();
    }

    /// Leave to open one that is kept warm, or one more where the runtimes take each other's too often; and its settings.
    pub(super) fn may_warm(self: &Arc<Self>) -> Option<(Place<M>, Arc<Key>)> {
        let mut state = self.lock();
        let short = std::mem::take(&mut state.short) && state.places < self.settings.size;
        let wanted = state.places < self.settings.min_idle || short;
        if !wanted
            || state.closed
            || state.queue.len() > 0
            || !state.may_try(Instant::now())
            || !self.module.reserve(state.places, state.starves)
        {
            return None;
        }
        state.places += 1;
        if let Some(down) = &mut state.down {
            down.probing = true;
        }
        let key = state.usual.clone().unwrap_or_else(|| self.keys.get(&[]));
        Some((Place { login: Arc::clone(self) }, key))
    }

    /// Nothing is opened or kept from now on.
    pub(super) fn close(&self) {
        let idle = {
            let mut state = self.lock();
            state.closed = true;
            state.queue.wake_all();
            std::mem::take(&mut state.idle)
        };
        idle.into_iter().for_each(|one| one.lease.part());
    }
}

impl<M> State<M> {
    /// Whether an attempt to connect may begin: always, unless the last one failed; then when its pause is over, one at a time.
    fn may_try(&self, now: Instant) -> bool {
        self.down.as_ref().is_none_or(|down| !down.probing && now >= down.next)
    }

    fn pick(&mut self, key: &Arc<Key>, here: Option<tokio::runtime::Id>, prefer: &impl Fn(&M) -> bool) -> Option<Lease<M>> {
        // Best last: elsewhere, elsewhere and preferred, here; here and preferred ends the search.
        let mut best: Option<(u8, usize)> = None;
        for (at, Idle { lease, .. }) in self.idle.iter().enumerate().rev().take(LOOKED_AT.max(1)) {
            if !Arc::ptr_eq(&lease.key, key) {
                continue;
            }
            let rank = u8::from(lease.home == here) * 2 + u8::from(prefer(&lease.memory));
            if best.is_none_or(|(known, _)| rank > known) {
                best = Some((rank, at));
            }
            if rank == 3 {
                break;
            }
        }
        // Those of other settings may hide one that was unused for longer.
        let at = match best {
            Some((_, at)) => at,
            None => self.idle.iter().rposition(|idle| Arc::ptr_eq(&idle.lease.key, key))?,
        };
        Some(self.idle.remove(at).lease)
    }
}
