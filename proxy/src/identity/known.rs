//! Tokens that were verified before: a module's pool shows the same one with every connection, and a signature costs a hundred times a hash.
//!
//! Promised: a token is known only by all of its bytes, for the module and the login that it was verified for; what time decides is looked at
//! each time by [`TokenVerifier`](super::token::TokenVerifier), and so is whether its key still stands. The token itself is not kept, only
//! its SHA-256. At most [`MOST`] are known; the oldest go first, and those whose key is withdrawn go with it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use postern_config::names::{LoginName, ModuleName};
use sha2::{Digest, Sha256};

use super::Identity;

/// Tokens known at once.
pub(super) const MOST: usize = 4096;

/// By which a token is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Print([u8; 32]);

impl Print {
    pub(super) fn of(token: &str, module: &ModuleName, login: &LoginName) -> Self {
        // Names have no dots, so no two of these are one text.
        let digest = Sha256::new()
            .chain_update(module.as_str())
            .chain_update(".")
            .chain_update(login.as_str())
            .chain_update(".")
            .chain_update(token)
            .finalize();
        Self(digest.into())
    }
}

/// Whom verified tokens are for.
#[derive(Default)]
pub(super) struct Known(Mutex<Tokens>);

#[derive(Default)]
struct Tokens {
    by_print: HashMap<Print, (Arc<Identity>, SystemTime)>,
    order: VecDeque<Print>,
}

impl Known {
    /// Whom that token is for, if it was verified, and not later than `now`: a clock that was put back proves nothing.
    pub(super) fn get(&self, print: &Print, now: SystemTime) -> Option<Arc<Identity>> {
        let tokens = self.tokens();
        let (identity, verified) = tokens.by_print.get(print)?;
        (*verified <= now).then(|| identity.clone())
    }

    pub(super) fn keep(&self, print: Print, identity: &Arc<Identity>, now: SystemTime) {
        let mut tokens = self.tokens();
        if tokens.by_print.insert(print, (identity.clone(), now)).is_none() {
            tokens.order.push_back(print);
        }
        if tokens.order.len() > MOST
            && let Some(oldest) = tokens.order.pop_front()
        {
            tokens.by_print.remove(&oldest);
        }
    }

    /// Forgets all others.
    pub(super) fn retain(&self, stays: impl Fn(&Identity) -> bool) {
        let mut tokens = self.tokens();
        let Tokens { by_print, order } = &mut *tokens;
        by_print.retain(|_, (identity, _)| stays(identity));
        order.retain(|print| by_print.contains_key(print));
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        // Whole between any two operations, so a panic elsewhere cannot have spoilt them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let tokens = self.tokens();
        assert_eq!(tokens.by_print.len(), tokens.order.len());
        tokens.order.len()
    }
}
