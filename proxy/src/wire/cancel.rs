//! CancelRequest: our own keys towards clients, PostgreSQL's towards PostgreSQL.
//!
//! Promised: a key is random (31 bits of number; 32 bits of secret towards clients of protocol 3.0, 256 towards those of 3.2; from the
//! operating system), is compared in constant time, and reaches a server connection only while that client's statements run there
//! ([`Registration::attach`] to [`Registration::detach`]). It can never reach a later client: whoever takes a connection away from a
//! client is told whether a cancel went there meanwhile ([`Detached`]), and waits while one is under way, because a server
//! that was asked to cancel does so to whatever runs when the signal arrives. A wrong key is answered as a right one: with silence.
//!
//! Attaching and detaching take one lock that only a cancel for the same client contends for; nothing is allocated.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use subtle::ConstantTimeEq;
use tokio::sync::Notify;
use zeroize::Zeroizing;

/// Bytes of secret that any client's CancelRequest may carry (protocol 3.2).
pub const SECRET_BYTES: std::ops::RangeInclusive<usize> = 4..=256;

/// What a client may show to cancel its own query.
#[derive(Clone)]
pub struct CancelKey {
    /// Stands where PostgreSQL sends a process id; always positive in our own.
    pub id: i32,
    /// The secret.
    pub secret: Zeroizing<Vec<u8>>,
}

/// How long a key's secret is: what the client's protocol has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretLength {
    /// 4 bytes (protocol 3.0).
    Short,
    /// 32 bytes (protocol 3.2).
    Long,
}

/// PostgreSQL's own key of one upstream connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UpstreamKey {
    /// Which of the configured hosts it is on.
    pub host: u16,
    /// The backend's process id.
    pub pid: i32,
    /// Its secret.
    pub secret: i32,
}

// Neither key prints its secret.
impl fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for UpstreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamKey")
            .field("host", &self.host)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// All live keys. Bounded by the number of clients: each holds one [`Registration`].
#[derive(Clone, Default)]
pub struct CancelKeys {
    live: Arc<Mutex<HashMap<i32, Arc<Slot>>>>,
}

/// One client's key and what it reaches now.
struct Slot {
    secret: [u8; 32],
    length: SecretLength,
    aim: Mutex<Aim>,
    /// Told when the last cancel under way has been passed on.
    settled: Notify,
}

#[derive(Default)]
struct Aim {
    target: Option<UpstreamKey>,
    /// Cancels being passed on now, to the present target or to the one before it.
    under_way: u32,
    /// Whether a cancel went to the present target.
    cancelled: bool,
}

/// What became of a connection while it was a client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detached {
    /// No cancel went there.
    Clean,
    /// A cancel was passed on, whole: the server has been signalled. It may hit whatever runs there next, so something harmless must.
    Cancelled,
    /// One is being passed on now: wait for [`Registration::settled`], then treat it as [`Detached::Cancelled`].
    Pending,
}

impl CancelKeys {
    /// Draws a key for a client. It reaches nothing until it is attached.
    pub fn register(&self, length: SecretLength) -> Result<Registration, getrandom::Error> {
        loop {
            // One draw for both parts: each is a system call.
            let mut drawn = Zeroizing::new([0u8; 36]);
            getrandom::fill(&mut *drawn)?;
            let (number, secret) = drawn.split_first_chunk::<4>().expect("36 bytes hold 4");
            let id = i32::from_be_bytes(*number) & i32::MAX;
            if id == 0 {
                continue;
            }
            if let Entry::Vacant(place) = lock(&self.live).entry(id) {
                let slot = Arc::new(Slot {
                    secret: secret.try_into().expect("36 bytes are 4 and 32"),
                    length,
                    aim: Mutex::default(),
                    settled: Notify::new(),
                });
                place.insert(Arc::clone(&slot));
                return Ok(Registration {
                    id,
                    slot,
                    keys: self.clone(),
                });
            }
        }
    }

    /// Begins to pass on a cancel: pins the server connection that the key's client uses now, until the result is dropped. `None` where
    /// the key is unknown, its secret wrong, or the client uses none.
    pub fn begin(&self, key: &CancelKey) -> Option<Cancelling> {
        let slot = Arc::clone(lock(&self.live).get(&key.id)?);
        if !bool::from(slot.secret().ct_eq(&key.secret)) {
            return None;
        }
        let mut aim = lock(&slot.aim);
        let target = aim.target?;
        aim.under_way += 1;
        aim.cancelled = true;
        drop(aim);
        Some(Cancelling { target, slot })
    }
}

impl Slot {
    fn secret(&self) -> &[u8] {
        match self.length {
            SecretLength::Short => &self.secret[..4],
            SecretLength::Long => &self.secret,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere cannot leave these half-changed: nothing in between can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One live key; dropping it forgets the key, and whatever it was attached to can no longer be reached by it. Whoever means to give
/// that connection to another client must [detach](Self::detach) first.
pub struct Registration {
    id: i32,
    slot: Arc<Slot>,
    keys: CancelKeys,
}

impl Registration {
    /// What the client is told.
    pub fn key(&self) -> CancelKey {
        CancelKey {
            id: self.id,
            secret: Zeroizing::new(self.slot.secret().to_vec()),
        }
    }

    /// The client's statements run there from now on.
    pub fn attach(&self, target: UpstreamKey) {
        let mut aim = lock(&self.slot.aim);
        aim.target = Some(target);
        aim.cancelled = false;
    }

    /// The client's statements no longer run there: no cancel will begin from now on. Says whether one did before.
    pub fn detach(&self) -> Detached {
        let mut aim = lock(&self.slot.aim);
        aim.target = None;
        match (aim.under_way > 0, std::mem::take(&mut aim.cancelled)) {
            (true, _) => Detached::Pending,
            (false, true) => Detached::Cancelled,
            (false, false) => Detached::Clean,
        }
    }

    /// Waits until no cancel is being passed on. Cancel-safe. It ends within the deadline of passing one on, since every
    /// [`Cancelling`] is dropped by then.
    pub async fn settled(&self) {
        loop {
            // Made before the look: a notification between the two is not missed.
            let told = self.slot.settled.notified();
            if lock(&self.slot.aim).under_way == 0 {
                return;
            }
            told.await;
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.slot.aim).target = None;
        lock(&self.keys.live).remove(&self.id);
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}

/// A cancel being passed on. Drop it once the server has closed the connection that carried the request: only then is it known that
/// the signal was sent.
pub struct Cancelling {
    target: UpstreamKey,
    slot: Arc<Slot>,
}

impl Cancelling {
    /// What to cancel.
    pub fn target(&self) -> UpstreamKey {
        self.target
    }
}

impl Drop for Cancelling {
    fn drop(&mut self) {
        let mut aim = lock(&self.slot.aim);
        aim.under_way -= 1;
        let last = aim.under_way == 0;
        drop(aim);
        if last {
            self.slot.settled.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPSTREAM: UpstreamKey = UpstreamKey {
        host: 0,
        pid: 42,
        secret: 7,
    };

    fn target(keys: &CancelKeys, key: &CancelKey) -> Option<UpstreamKey> {
        keys.begin(key).map(|c| c.target())
    }

    #[test]
    fn a_key_reaches_its_connection_and_a_guessed_one_nothing() {
        let keys = CancelKeys::default();
        for (length, bytes) in [(SecretLength::Short, 4), (SecretLength::Long, 32)] {
            let held = keys.register(length).unwrap();
            held.attach(UPSTREAM);
            let key = held.key();
            assert!(key.id > 0);
            assert_eq!(key.secret.len(), bytes);
            assert_eq!(target(&keys, &key), Some(UPSTREAM));
            let with = |change: fn(&mut Vec<u8>)| {
                let mut guess = key.clone();
                change(&mut guess.secret);
                guess
            };
            for guess in [
                with(|s| s[3] ^= 1),
                with(|s| s.push(0)),
                with(|s| s.truncate(s.len() - 1)),
                with(Vec::clear),
                with(|s| s.resize(256, 0)),
            ] {
                assert!(keys.begin(&guess).is_none());
            }
            assert!(keys.begin(&CancelKey { id: key.id ^ 1, ..key }).is_none());
        }
    }

    #[test]
    fn a_short_prefix_of_a_long_secret_is_not_the_secret() {
        let keys = CancelKeys::default();
        let held = keys.register(SecretLength::Long).unwrap();
        held.attach(UPSTREAM);
        let mut key = held.key();
        key.secret.truncate(4);
        assert!(keys.begin(&key).is_none());
    }

    #[test]
    fn a_key_reaches_nothing_before_it_is_attached_and_after_it_is_detached() {
        let keys = CancelKeys::default();
        let held = keys.register(SecretLength::Long).unwrap();
        let key = held.key();
        assert!(keys.begin(&key).is_none());
        held.attach(UPSTREAM);
        assert_eq!(target(&keys, &key), Some(UPSTREAM));
        assert_eq!(held.detach(), Detached::Cancelled);
        assert!(keys.begin(&key).is_none());

        let other = UpstreamKey { pid: 43, ..UPSTREAM };
        held.attach(other);
        assert_eq!(
            held.detach(),
            Detached::Clean,
            "what went to the one before is not told of this one"
        );
        held.attach(other);
        assert_eq!(target(&keys, &key), Some(other));
    }

    #[test]
    fn a_key_ends_with_its_client() {
        let keys = CancelKeys::default();
        let held = keys.register(SecretLength::Short).unwrap();
        held.attach(UPSTREAM);
        let key = held.key();
        drop(held);
        assert!(keys.begin(&key).is_none());
        assert!(lock(&keys.live).is_empty());
    }

    #[tokio::test]
    async fn a_cancel_under_way_holds_the_connection() {
        let keys = CancelKeys::default();
        let held = keys.register(SecretLength::Short).unwrap();
        held.attach(UPSTREAM);
        let (first, second) = (keys.begin(&held.key()).unwrap(), keys.begin(&held.key()).unwrap());
        assert_eq!(held.detach(), Detached::Pending);
        assert!(keys.begin(&held.key()).is_none(), "none begins once it is detached");
        let mut waiting = Box::pin(held.settled());
        let mut still = || {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            waiting.as_mut().poll(&mut cx).is_pending()
        };
        assert!(still());
        drop(first);
        assert!(still(), "one is left");
        drop(second);
        assert!(!still());
        held.attach(UPSTREAM);
        assert_eq!(held.detach(), Detached::Clean);
        held.settled().await;
    }

    #[test]
    fn no_cancel_reaches_a_later_client_whatever_the_threads_do() {
        use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
        // One connection, handed from client to client; `user` says whose it is. A cancel of a client's, for as long as it is being
        // passed on, must find the connection in that client's hands or in nobody's.
        let keys = CancelKeys::default();
        let (user, stop) = (AtomicI32::new(0), AtomicBool::new(false));
        let held: Vec<_> = (0..2).map(|_| keys.register(SecretLength::Short).unwrap()).collect();
        std::thread::scope(|s| {
            for (number, registration) in held.iter().enumerate() {
                let (keys, user, stop, key) = (&keys, &user, &stop, registration.key());
                let own = i32::try_from(number).unwrap() + 1;
                s.spawn(move || {
                    while !stop.load(SeqCst) {
                        if let Some(cancelling) = keys.begin(&key) {
                            for _ in 0..50 {
                                let now = user.load(SeqCst);
                                assert!(now == own || now == 0, "a cancel of client {own} met client {now}");
                            }
                            drop(cancelling);
                        }
                    }
                });
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut seen = [0usize; 3];
            for turn in 0..20_000 {
                let registration = &held[turn % 2];
                user.store(i32::try_from(turn % 2).unwrap() + 1, SeqCst);
                registration.attach(UPSTREAM);
                std::hint::spin_loop();
                let found = registration.detach();
                user.store(0, SeqCst);
                if found == Detached::Pending {
                    runtime.block_on(registration.settled());
                }
                seen[found as usize] += 1;
            }
            stop.store(true, SeqCst);
            assert_eq!(seen.iter().sum::<usize>(), 20_000);
        });
    }
}
