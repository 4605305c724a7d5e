//! Judged statements by their exact text, and templates of statements by their text without literals.
//!
//! Promised: a plan is found only for the same bytes, module, login, standing of who asks, way of asking and catalogue; never by a
//! fingerprint. A template is found for the same bytes but for its literals, which it was judged without. The bound is in bytes; a text
//! is admitted when it is seen for the second time, so that texts whose constants differ each time do not push out those that come
//! again. Keys are hashed with a random key, so nobody can aim at a slot. A hit costs one hash, one comparison of the text and one
//! short lock.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postern_rewriter::plan::Plan;
use postern_rewriter::template::{Masked, Template, Variants};

/// Locks that share the load.
const SHARDS: usize = 16;
/// Hashes of texts seen once, per shard.
const SEEN: usize = 1024;
/// What an entry costs besides its text and its plans.
const ENTRY: usize = 256;

/// The plans of one text: one for each statement.
pub(crate) type Plans = Arc<[Arc<Plan>]>;

/// All sessions' plans.
pub struct PlanCache {
    hasher: RandomState,
    exact: Shards<Plans>,
    templates: Shards<Variants>,
}

/// What of who asks decides how a text is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Asker {
    /// A superadmin.
    pub superadmin: bool,
    /// The module itself, which has relations that no manifest declares: no user, whatever the login.
    pub undeclared: bool,
}

/// What a plan depends on besides the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PlanKey<'a> {
    /// The exact text; for a template, what is left of it without its literals.
    pub text: &'a [u8],
    /// The module.
    pub module: &'a str,
    /// The login.
    pub login: &'a str,
    /// What of who asks decides.
    pub asker: Asker,
    /// Whether it came as a simple query.
    pub batch: bool,
    /// The catalogue's generation.
    pub generation: u64,
}

impl PlanCache {
    /// An empty cache of at most so many bytes, a quarter of them for templates.
    pub fn new(bytes: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            exact: Shards::new(bytes / 4 * 3),
            templates: Shards::new(bytes / 4),
        }
    }

    /// The plans of that text.
    pub(crate) fn get(&self, key: &PlanKey<'_>) -> Option<Plans> {
        self.exact.find(self.hasher.hash_one(key), key, |plans| Some(plans.clone()))
    }

    /// Offers plans; they are kept where the text was offered before and they fit.
    pub(crate) fn offer(&self, key: &PlanKey<'_>, plans: &Plans) {
        let hash = self.hasher.hash_one(key);
        if plans.iter().all(|p| p.cacheable) && !self.exact.first_sight(hash) {
            let weight = plans.iter().map(|p| p.weight).sum();
            self.exact.put(hash, key, weight, |_| plans.clone());
        }
    }

    /// The template that these literals fit.
    pub(crate) fn template(&self, key: &PlanKey<'_>, masked: &Masked) -> Option<Arc<Template>> {
        let hash = self.hasher.hash_one(key);
        self.templates.find(hash, key, |variants| variants.find(masked).cloned())
    }

    /// Whether a template is worth making: a text with that key was seen before, and there is room for one more beside those that differ
    /// in literals that must stay exact.
    pub(crate) fn wants_template(&self, key: &PlanKey<'_>) -> bool {
        let hash = self.hasher.hash_one(key);
        let full = self.templates.find(hash, key, |variants| variants.is_full().then_some(()));
        full.is_none() && !self.templates.first_sight(hash)
    }

    /// Keeps a template.
    pub(crate) fn keep_template(&self, key: &PlanKey<'_>, template: Arc<Template>) {
        let added = |old: Option<&Variants>| {
            let mut variants = old.cloned().unwrap_or_default();
            variants.add(template.clone());
            variants
        };
        let hash = self.hasher.hash_one(key);
        let others = self
            .templates
            .find(hash, key, |variants| Some(variants.weight()))
            .unwrap_or(0);
        self.templates.put(hash, key, others + template.weight(), added);
    }
}

struct Entry<V> {
    text: Box<[u8]>,
    module: Box<str>,
    login: Box<str>,
    asker: Asker,
    batch: bool,
    generation: u64,
    value: V,
    weight: usize,
    /// Set by a hit, cleared by the sweep: the oldest entry that was not used since goes first.
    used: bool,
}

/// Entries, spread over locks.
struct Shards<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    shard_bytes: usize,
}

struct Shard<V> {
    entries: HashMap<u64, Entry<V>, BuildHasherDefault<Hashed>>,
    order: VecDeque<u64>,
    seen: Vec<u64>,
    bytes: usize,
}

impl<V> Default for Shard<V> {
    fn default() -> Self {
        Self {
            entries: HashMap::default(),
            order: VecDeque::new(),
            seen: Vec::new(),
            bytes: 0,
        }
    }
}

/// The key of a shard's map is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

impl<V> Shards<V> {
    fn new(bytes: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_bytes: bytes / SHARDS,
        }
    }

    /// What `read` makes of the value under that key.
    fn find<R>(&self, hash: u64, key: &PlanKey<'_>, read: impl FnOnce(&V) -> Option<R>) -> Option<R> {
        let mut shard = self.shard(hash);
        let entry = shard.entries.get_mut(&hash).filter(|e| e.is(key))?;
        let found = read(&entry.value)?;
        entry.used = true;
        Some(found)
    }

    fn first_sight(&self, hash: u64) -> bool {
        self.shard(hash).first_sight(hash)
    }

    /// Keeps a value, made from the one that was there, if it fits.
    fn put(&self, hash: u64, key: &PlanKey<'_>, weight: usize, value: impl FnOnce(Option<&V>) -> V) {
        let weight = ENTRY + key.text.len() + weight;
        // A single text may not push out everything else.
        if weight > self.shard_bytes / 4 {
            return;
        }
        let mut shard = self.shard(hash);
        let old = shard.entries.get(&hash).filter(|e| e.is(key)).map(|e| &e.value);
        let value = value(old);
        shard.make_room(weight, self.shard_bytes);
        let entry = Entry {
            text: key.text.into(),
            module: key.module.into(),
            login: key.login.into(),
            asker: key.asker,
            batch: key.batch,
            generation: key.generation,
            value,
            weight,
            used: false,
        };
        shard.bytes += weight;
        match shard.entries.insert(hash, entry) {
            Some(old) => shard.bytes -= old.weight,
            None => shard.order.push_back(hash),
        }
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<V>> {
        // The high bits choose the shard; the low ones serve its map and its memory of texts seen once.
        let index = (hash >> 60) as usize % SHARDS;
        // Entries are whole between any two operations, so a panic elsewhere cannot have spoilt them.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Shard<V> {
    /// Whether this is the first time; a later text in the same slot makes it forget.
    fn first_sight(&mut self, hash: u64) -> bool {
        if self.seen.is_empty() {
            self.seen = vec![0; SEEN];
        }
        let slot = &mut self.seen[(hash as usize) % SEEN];
        let first = *slot != hash;
        *slot = hash;
        first
    }

    fn make_room(&mut self, weight: usize, limit: usize) {
        while self.bytes + weight > limit {
            let Some(hash) = self.order.pop_front() else { return };
            match self.entries.get_mut(&hash) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.order.push_back(hash);
                }
                Some(_) => {
                    let gone = self.entries.remove(&hash).map_or(0, |e| e.weight);
                    self.bytes -= gone;
                }
                None => {}
            }
        }
    }
}

impl<V> Entry<V> {
    fn is(&self, key: &PlanKey<'_>) -> bool {
        self.generation == key.generation
            && self.asker == key.asker
            && self.batch == key.batch
            && *self.text == *key.text
            && *self.module == *key.module
            && *self.login == *key.login
    }
}

#[cfg(test)]
mod tests {
    use postern_rewriter::plan::{Effect, Keeps, Run};

    use super::*;

    fn plans(weight: usize) -> Plans {
        let plan = Plan {
            run: Run::Answer("SET"),
            effect: Effect::None,
            keeps: Keeps::NOTHING,
            param_types: Vec::new(),
            client_params: 0,
            relations: Vec::new(),
            policies: Vec::new(),
            operations: Vec::new(),
            opened: Vec::new(),
            weight,
            cacheable: true,
        };
        Arc::new([Arc::new(plan)])
    }

    const USER: Asker = Asker {
        superadmin: false,
        undeclared: false,
    };

    fn key(sql: &str) -> PlanKey<'_> {
        PlanKey {
            text: sql.as_bytes(),
            module: "disco",
            login: "disco_rt",
            asker: USER,
            batch: true,
            generation: 1,
        }
    }

    #[test]
    fn admitted_on_second_sight_and_found_only_for_the_same_key() {
        let cache = PlanCache::new(1 << 20);
        cache.offer(&key("a"), &plans(1));
        assert!(cache.get(&key("a")).is_none());
        cache.offer(&key("a"), &plans(1));
        assert!(cache.get(&key("a")).is_some());
        for other in [
            PlanKey { text: b"a ", ..key("a") },
            PlanKey {
                module: "chat",
                ..key("a")
            },
            PlanKey {
                login: "disco_svc",
                ..key("a")
            },
            PlanKey {
                asker: Asker {
                    superadmin: true,
                    ..USER
                },
                ..key("a")
            },
            PlanKey {
                asker: Asker {
                    undeclared: true,
                    ..USER
                },
                ..key("a")
            },
            PlanKey {
                batch: false,
                ..key("a")
            },
            PlanKey {
                generation: 2,
                ..key("a")
            },
        ] {
            assert!(cache.get(&other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn the_bound_holds_and_what_is_used_stays() {
        let cache = PlanCache::new(SHARDS * 40_000 / 3);
        let texts: Vec<String> = (0..2000).map(|i| format!("SELECT {i}")).collect();
        for text in &texts {
            cache.offer(&key(text), &plans(700));
            cache.offer(&key(text), &plans(700));
            cache.get(&key(&texts[0]));
        }
        for shard in &cache.exact.shards {
            let shard = shard.lock().unwrap();
            assert!(shard.bytes <= 10_000, "{}", shard.bytes);
            assert_eq!(shard.entries.len(), shard.order.len());
            assert_eq!(shard.bytes, shard.entries.values().map(|e| e.weight).sum::<usize>());
        }
        assert!(cache.get(&key(&texts[0])).is_some());
    }

    #[test]
    fn one_text_cannot_take_it_all() {
        let cache = PlanCache::new(SHARDS * 40_000 / 3);
        for _ in 0..2 {
            cache.offer(&key("big"), &plans(5_000));
        }
        assert!(cache.get(&key("big")).is_none());
    }
}
