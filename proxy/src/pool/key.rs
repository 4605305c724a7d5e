//! The startup settings that tell one pool of a login from another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A startup setting and its value.
pub(super) type Setting = (&'static str, String);

/// What a server reports when a connection is made.
type Parameters = Arc<[(String, String)]>;

/// One list of settings. Connections of the same list point at the same one.
pub(super) struct Key {
    pub(super) settings: Vec<Setting>,
    /// What the server reported on the newest connection.
    parameters: Mutex<Option<Parameters>>,
}

impl Key {
    pub(super) fn parameters(&self) -> Option<Parameters> {
        self.parameters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what a new connection reported.
    pub(super) fn reported(&self, parameters: &[(String, String)]) {
        let mut known = self.parameters.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() != Some(parameters) {
            *known = Some(parameters.into());
        }
    }
}

/// The lists that are in use: as many as there are clients and connections that hold them, those forgotten being swept out in passing.
#[derive(Default)]
pub(super) struct Keys(Mutex<HashMap<Vec<Setting>, Weak<Key>>>);

impl Keys {
    pub(super) fn get(&self, settings: &[Setting]) -> Arc<Key> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(settings).and_then(Weak::upgrade) {
            return known;
        }
        if all.len() == all.capacity() {
            all.retain(|_, key| key.strong_count() > 0);
        }
        let key = Arc::new(Key {
            settings: settings.to_vec(),
            parameters: Mutex::new(None),
        });
        all.insert(settings.to_vec(), Arc::downgrade(&key));
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let keys = Keys::default();
        let zone = |zone: usize| vec![("TimeZone", format!("Etc/GMT+{zone}"))];
        let held = keys.get(&zone(0));
        assert!(Arc::ptr_eq(&held, &keys.get(&zone(0))));
        assert!(!Arc::ptr_eq(&held, &keys.get(&[])));
        for n in 1..10_000 {
            keys.get(&zone(n));
        }
        assert!(Arc::ptr_eq(&held, &keys.get(&zone(0))));
        assert!(keys.0.lock().unwrap().len() < 100);
    }
}
