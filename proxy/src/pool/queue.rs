//! Those who wait for a connection of one login, in the order of their arrival.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::key::Key;
use super::lease::Lease;

/// One who waits.
pub(super) struct Waiter<M> {
    /// The order of arrival; kept through further attempts.
    pub(super) number: u64,
    pub(super) key: Arc<Key>,
    given: Mutex<Option<Lease<M>>>,
    told: Notify,
}

impl<M> Waiter<M> {
    pub(super) fn new(number: u64, key: &Arc<Key>) -> Self {
        Self {
            number,
            key: Arc::clone(key),
            given: Mutex::new(None),
            told: Notify::new(),
        }
    }

    /// Hands it a connection. It stands in no queue any more.
    pub(super) fn give(&self, lease: Lease<M>) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
        self.told.notify_one();
    }

    /// What it was handed.
    pub(super) fn given(&self) -> Option<Lease<M>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Has it look again where it stands.
    pub(super) fn wake(&self) {
        self.told.notify_one();
    }

    /// Until something was given, or there is a reason to look again. Cancel-safe.
    pub(super) async fn told(&self) {
        self.told.notified().await;
    }
}

/// The queue.
pub(super) struct Queue<M>(VecDeque<Arc<Waiter<M>>>);

impl<M> Default for Queue<M> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<M> Queue<M> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn first(&self) -> Option<&Arc<Waiter<M>>> {
        self.0.front()
    }

    pub(super) fn is_first(&self, number: u64) -> bool {
        self.0.front().is_none_or(|w| w.number >= number)
    }

    /// In its place by number.
    pub(super) fn enter(&mut self, waiter: Arc<Waiter<M>>) {
        let at = self.0.partition_point(|w| w.number < waiter.number);
        self.0.insert(at, waiter);
    }

    pub(super) fn pop(&mut self) -> Option<Arc<Waiter<M>>> {
        self.0.pop_front()
    }

    /// Takes one out, wherever it stands; whether it was there.
    pub(super) fn leave(&mut self, number: u64) -> bool {
        match self.0.binary_search_by_key(&number, |w| w.number) {
            Ok(at) => self.0.remove(at).is_some(),
            Err(_) => false,
        }
    }

    pub(super) fn wake_all(&self) {
        self.0.iter().for_each(|w| w.wake());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::key::Keys;

    #[test]
    fn who_comes_back_gets_the_old_place() {
        let key = Keys::default().get(&[]);
        let mut queue = Queue::<()>::default();
        for number in [1, 2, 4, 5] {
            queue.enter(Arc::new(Waiter::new(number, &key)));
        }
        queue.enter(Arc::new(Waiter::new(3, &key)));
        assert!(queue.is_first(1) && !queue.is_first(2));
        assert!(queue.leave(2) && !queue.leave(2));
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop()).map(|w| w.number).collect();
        assert_eq!(order, [1, 3, 4, 5]);
        assert!(queue.is_first(9));
    }
}
