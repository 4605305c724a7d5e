//! The startup settings that tell one pool of a login from another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A startup setting and its value.
pub(super) type Setting = (&'static str, String);

/// What a server reports when a connection is made.
type Parameters = Arc<[(String, String)]>;

/// One list of settings. Connections of the same list point at the same one.
pub(super) struct Key {
    pub(super) settings: Vec<Setting>,
    reported: Mutex<Reported>,
}

/// What the server reported on the newest connection.
#[derive(Default)]
struct Reported {
    parameters: Option<Parameters>,
    /// The same under clients' own names: one list for all clients of a name, since it is most of what an idle client would hold.
    named: HashMap<String, Weak<[(String, String)]>>,
}

const APPLICATION_NAME: &str = "application_name";

impl Key {
    fn lock(&self) -> MutexGuard<'_, Reported> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was reported, with a client's own `application_name`, if it gave one. `None` before the first connection.
    pub(super) fn parameters(&self, application_name: Option<&str>) -> Option<Parameters> {
        let reported = &mut *self.lock();
        let parameters = reported.parameters.as_ref()?;
        let Some(own) = application_name else {
            return Some(Arc::clone(parameters));
        };
        if let Some(known) = reported.named.get(own).and_then(Weak::upgrade) {
            return Some(known);
        }
        let named: Parameters = under(own, parameters);
        if reported.named.len() == reported.named.capacity() {
            reported.named.retain(|_, list| list.strong_count() > 0);
        }
        reported.named.insert(own.to_owned(), Arc::downgrade(&named));
        Some(named)
    }

    /// Keeps what a new connection reported.
    pub(super) fn reported(&self, parameters: &[(String, String)]) {
        let mut known = self.lock();
        if known.parameters.as_deref() != Some(parameters) {
            *known = Reported {
                parameters: Some(parameters.into()),
                named: HashMap::new(),
            };
        }
    }
}

/// Reported settings as a client of that name sees them.
pub(super) fn under(application_name: &str, parameters: &[(String, String)]) -> Parameters {
    let with_name = |(name, value): &(String, String)| match name.as_str() {
        APPLICATION_NAME => (name.clone(), application_name.to_owned()),
        _ => (name.clone(), value.clone()),
    };
    parameters.iter().map(with_name).collect()
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
            reported: Mutex::default(),
        });
        all.insert(settings.to_vec(), Arc::downgrade(&key));
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_one_name_share_what_they_are_told() {
        let key = Keys::default().get(&[]);
        let reported = |zone: &str| {
            [
                ("application_name".to_owned(), "postern:disco".to_owned()),
                ("TimeZone".to_owned(), zone.to_owned()),
            ]
        };
        assert!(key.parameters(Some("app")).is_none());
        key.reported(&reported("UTC"));
        let told = key.parameters(Some("app")).unwrap();
        assert_eq!(
            told[..],
            [
                ("application_name".to_owned(), "app".to_owned()),
                ("TimeZone".to_owned(), "UTC".to_owned())
            ]
        );
        assert!(Arc::ptr_eq(&told, &key.parameters(Some("app")).unwrap()));
        assert!(!Arc::ptr_eq(&told, &key.parameters(Some("other")).unwrap()));
        assert_eq!(key.parameters(None).unwrap()[..], reported("UTC"));
        key.reported(&reported("Asia/Tokyo"));
        assert_eq!(key.parameters(Some("app")).unwrap()[1].1, "Asia/Tokyo");
        for n in 0..10_000 {
            key.parameters(Some(&n.to_string()));
        }
        assert!(key.lock().named.len() < 100, "what nobody holds is forgotten");
    }

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
