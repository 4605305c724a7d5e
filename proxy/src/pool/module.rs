//! What a module's logins share: the quotas of server connections and of waiting clients.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use postern_config::settings::Quota;

use super::login::LoginPool;

pub(super) struct Module<M> {
    limit: Option<usize>,
    queue: Option<usize>,
    open: AtomicUsize,
    waiting: AtomicUsize,
    /// Logins that have a client waiting because of the quota.
    starving: AtomicUsize,
    logins: OnceLock<Vec<Weak<LoginPool<M>>>>,
}

impl<M> Module<M> {
    pub(super) fn new(quota: Quota) -> Self {
        Self {
            limit: quota.connections,
            queue: quota.queue,
            open: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            starving: AtomicUsize::new(0),
            logins: OnceLock::new(),
        }
    }

    /// Tells it its logins, once.
    pub(super) fn is_of(&self, logins: Vec<Weak<LoginPool<M>>>) {
        let _ = self.logins.set(logins);
    }

    fn logins(&self) -> impl Iterator<Item = Arc<LoginPool<M>>> {
        self.logins.get().into_iter().flatten().filter_map(Weak::upgrade)
    }

    /// A place for a login that has `own` of them, if the quota leaves one. While others starve, none may go beyond its share.
    pub(super) fn reserve(&self, own: usize, starves: bool) -> bool {
        let Some(limit) = self.limit else {
            return true;
        };
        if self.others_starve(starves) && own >= self.share(starves) {
            return false;
        }
        let more = |open: usize| (open < limit).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    pub(super) fn release(&self) {
        if self.limit.is_some() {
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Whether a login that has `own` places should give one up, because others of the module starve: at once where nobody of its own
    /// waits, else down to its share.
    pub(super) fn claims_back(&self, own: usize, own_waiting: usize, starves: bool) -> bool {
        self.others_starve(starves) && (own_waiting == 0 || own > self.share(starves))
    }

    /// Whether other logins have clients that wait because the quota is used up.
    pub(super) fn others_starve(&self, starves: bool) -> bool {
        self.starving.load(Ordering::Acquire) > usize::from(starves)
    }

    /// A login begins or ends to starve.
    pub(super) fn starves(&self, starves: bool) {
        if starves {
            self.starving.fetch_add(1, Ordering::AcqRel);
        } else {
            self.starving.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Of the quota, for each login that starves (one that asks counts as such).
    fn share(&self, starves: bool) -> usize {
        let starving = self.starving.load(Ordering::Acquire) + usize::from(!starves);
        (self.limit.unwrap_or(usize::MAX) / starving.max(1)).max(1)
    }

    /// Whether one more may wait: how many do, where not.
    pub(super) fn may_wait(&self) -> Result<(), usize> {
        let waiting = self.waiting.load(Ordering::Acquire);
        match self.queue {
            Some(bound) if waiting >= bound => Err(waiting),
            _ => Ok(()),
        }
    }

    pub(super) fn waits(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn waits_no_more(&self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// Offers what the quota leaves to the logins that wait. No login's lock may be held.
    pub(super) fn settle(&self) {
        if self.limit.is_none() {
            return;
        }
        // Twice: one that has got enough on the way may leave something to one that was asked before it.
        for _ in 0..2 {
            if self.waiting.load(Ordering::Acquire) > 0 {
                self.logins().filter(|l| l.waiting() > 0).for_each(|l| l.settle());
            }
        }
    }

    /// Closes an idle connection of any login, for one that waits because the quota is used up. No login's lock may be held.
    pub(super) fn relieve(&self) {
        if let Some(limit) = self.limit
            && self.open.load(Ordering::Acquire) >= limit
            && let Some(idle) = self.logins().find_map(|l| l.oldest_idle())
        {
            idle.part();
        }
    }
}
