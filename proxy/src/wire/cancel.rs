//! CancelRequest: our own keys towards clients, PostgreSQL's towards PostgreSQL.
//!
//! Promised: a key is random (31 bits of number, 32 of secret, from the operating system), is compared in constant time, and points at
//! one upstream connection for as long as that client lives; afterwards it points at nothing, so it can never reach a later client.
//! A wrong key is answered as a right one: with silence.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use subtle::ConstantTimeEq;

/// What a client may show to cancel its own query.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CancelKey {
    /// Stands where PostgreSQL sends a process id; always positive.
    pub id: i32,
    /// The secret.
    pub secret: [u8; 4],
}

/// PostgreSQL's own key of one upstream connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UpstreamKey {
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
        f.debug_struct("UpstreamKey").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// By a key's number: its secret and what it cancels.
type Live = HashMap<i32, ([u8; 4], UpstreamKey)>;

/// Which key belongs to which upstream connection. Bounded by the number of clients: each holds one [`Registration`].
#[derive(Clone, Default)]
pub struct CancelKeys {
    live: Arc<Mutex<Live>>,
}

impl CancelKeys {
    /// Draws a key for a client whose queries run on the connection with that upstream key.
    pub fn register(&self, upstream: UpstreamKey) -> Result<Registration, getrandom::Error> {
        loop {
            let mut drawn = [0u8; 8];
            getrandom::fill(&mut drawn)?;
            let [a, b, c, d, secret @ ..] = drawn;
            let id = i32::from_be_bytes([a & 0x7f, b, c, d]);
            if id == 0 {
                continue;
            }
            if let Entry::Vacant(slot) = self.lock().entry(id) {
                slot.insert((secret, upstream));
                let key = CancelKey { id, secret };
                return Ok(Registration { key, keys: self.clone() });
            }
        }
    }

    /// The upstream connection that this key may cancel.
    pub fn find(&self, key: CancelKey) -> Option<UpstreamKey> {
        let live = self.lock();
        let (secret, upstream) = live.get(&key.id)?;
        bool::from(secret.ct_eq(&key.secret)).then_some(*upstream)
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        // A panic elsewhere cannot leave the map half-changed: every change is one call.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One live key; dropping it forgets the key.
pub struct Registration {
    key: CancelKey,
    keys: CancelKeys,
}

impl Registration {
    /// What the client is told.
    pub fn key(&self) -> CancelKey {
        self.key
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.key.id);
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPSTREAM: UpstreamKey = UpstreamKey { pid: 42, secret: 7 };

    #[test]
    fn a_key_reaches_its_connection_and_a_guessed_one_nothing() {
        let keys = CancelKeys::default();
        let held = keys.register(UPSTREAM).unwrap();
        assert!(keys.find(held.key()) == Some(UPSTREAM));
        let mut guess = held.key();
        guess.secret[3] ^= 1;
        assert!(keys.find(guess).is_none());
        assert!(
            keys.find(CancelKey {
                id: held.key().id ^ 1,
                secret: held.key().secret
            })
            .is_none()
        );
    }

    #[test]
    fn a_key_ends_with_its_client() {
        let keys = CancelKeys::default();
        let held = keys.register(UPSTREAM).unwrap();
        let key = held.key();
        drop(held);
        assert!(keys.find(key).is_none());
        assert!(keys.lock().is_empty());
    }
}
