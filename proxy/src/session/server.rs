//! What is remembered of a connection to PostgreSQL, whichever client it serves: the statements that are prepared there, whose claims
//! and which settings stand there.
//!
//! Promised: a statement's name there is ours, and stands for one text with one list of parameter types, read under one client's
//! `DateStyle`, `IntervalStyle` and `TimeZone` (PostgreSQL makes values of constants when it reads a text), or for nothing: it counts only
//! from the moment its Parse is under way, and no more when that fails or is skipped. At most [`MOST`] statements are kept; the one that was
//! not used for longest is closed to make room.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Instant;

use postern_rewriter::plan::{Plan, Run, Statement};

use super::again::SERVES;
use super::ask::Own;
use super::follow::Kept;
use super::names::alike;
use crate::identity::Identity;

/// The number of the unnamed statement.
const UNNAMED: u32 = 0;
/// Bytes that their plans may hold together, unless one alone holds more.
const MOST_BYTES: usize = 16 << 20;
/// Statements that one connection keeps prepared.
const MOST: usize = 500;

/// What a session leaves with a connection for the next one.
pub struct Memory {
    /// What is prepared there.
    pub(super) prepared: Prepared,
    /// Whose claims stand in its session settings, and until when; `None` where that is not known.
    pub(super) claims: Option<(Arc<Identity>, Option<std::time::SystemTime>)>,
    /// The settings that a client changed there.
    pub(super) settings: Arc<Kept>,
    /// Which of our own statements are prepared.
    pub(super) parsed: [bool; Own::COUNT],
    /// A list that the connection's reported settings were found to be in.
    pub(super) told: Option<Arc<[(String, String)]>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            prepared: Prepared::default(),
            // A fresh connection has empty settings, which are the guest's.
            claims: Some((Identity::guest(), None)),
            settings: Kept::none(),
            parsed: [false; Own::COUNT],
            told: None,
        }
    }
}

impl Memory {
    /// Whether the claims there are this user's.
    pub(super) fn serves(&self, identity: &Arc<Identity>) -> bool {
        self.claims
            .as_ref()
            .is_some_and(|(there, _)| Arc::ptr_eq(there, identity) || there == identity)
    }
}

/// Which of a plan's statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The only one, or the one that writes.
    Main,
    /// The one that reads and locks the rows first.
    Read,
}

/// The statement of a plan that is that step.
pub(super) fn statement(plan: &Plan, step: Step) -> Option<&Statement> {
    match (&plan.run, step) {
        (Run::Once(statement), Step::Main) => Some(statement),
        (Run::PerRow(steps), Step::Main) => Some(&steps.write),
        (Run::PerRow(steps), Step::Read) => Some(&steps.read),
        (Run::Once(_), Step::Read) | (Run::Answer(_), _) => None,
    }
}

/// Which statement it is: its plan's place in memory (which an entry keeps alive) and the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

impl Key {
    pub(super) fn new(plan: &Arc<Plan>, step: Step) -> Self {
        // A plan is larger than two bytes, so its address and the next one are nobody else's.
        Self(Arc::as_ptr(plan) as u64 + u64::from(step == Step::Read))
    }
}

/// The statements prepared on one connection.
pub(super) struct Prepared {
    entries: HashMap<Key, Entry, BuildHasherDefault<Address>>,
    /// The unnamed one.
    once: Option<(Key, Entry)>,
    /// Parses of the unnamed one that are under way: only the last of them says what it stands for.
    onces: u32,
    /// Under which settings a text sent now is read.
    sense: Arc<str>,
    /// Bytes that the plans hold.
    bytes: usize,
    /// Statements that nobody finds any more, and whose Close PostgreSQL skipped.
    closing: Vec<u32>,
    next: u32,
    clock: u64,
}

struct Entry {
    /// Kept, so that no other plan comes to lie at its address.
    plan: Arc<Plan>,
    types: Box<[u32]>,
    /// Under which settings its text was read: constants (dates, times, intervals) are what they meant then.
    sense: Arc<str>,
    number: u32,
    /// The group of messages in which its Parse was sent; `None` once it has succeeded.
    under_way: Option<u64>,
    /// PostgreSQL did not take it.
    unfit: bool,
    /// When it was tried out.
    tried: Option<Instant>,
    /// Its text has constants like 'today'.
    dated: bool,
    used: u64,
}

impl Entry {
    /// What is to be closed in PostgreSQL when it goes.
    fn closes(&self) -> Option<u32> {
        (!self.unfit).then_some(self.number)
    }
}

/// What a look-up found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It is there under this number, or will be if nothing before fails.
    There(u32),
    /// Its Parse is under way in an earlier group, so whether it will be there is not known yet.
    Unsure,
    /// It is not there.
    Missing,
    /// It was tried out, and PostgreSQL did not take it.
    Unfit,
}

impl Default for Prepared {
    fn default() -> Self {
        Self {
            entries: HashMap::default(),
            once: None,
            onces: 0,
            sense: Arc::from(""),
            bytes: 0,
            closing: Vec::new(),
            next: 0,
            clock: 0,
        }
    }
}

impl Prepared {
    /// Texts are read under these settings from now on.
    pub(super) fn read_under(&mut self, sense: Arc<str>) {
        self.sense = sense;
    }

    /// Nobody knows under which settings texts are read from now on: what was read before serves no more.
    pub(super) fn read_anyhow(&mut self) {
        self.clock += 1;
        // No setting is named so.
        self.sense = Arc::from(format!("?{}", self.clock));
    }

    /// Looks a statement up.
    pub(super) fn find(&mut self, plan: &Arc<Plan>, step: Step, types: &[u32], group: u64) -> Found {
        self.clock += 1;
        let key = Key::new(plan, step);
        let once = self.once.as_mut().filter(|(k, _)| *k == key).map(|(_, entry)| entry);
        match self.entries.get_mut(&key).or(once) {
            Some(entry)
                if alike(&entry.types, types) && (Arc::ptr_eq(&entry.sense, &self.sense) || entry.sense == self.sense) =>
            {
                entry.used = self.clock;
                match entry.under_way {
                    _ if entry.unfit => Found::Unfit,
                    Some(then) if then != group => Found::Unsure,
                    _ => Found::There(entry.number),
                }
            }
            _ => Found::Missing,
        }
    }

    /// Looks up what was tried out, and not too long ago.
    pub(super) fn find_tried(&mut self, plan: &Arc<Plan>, types: &[u32], group: u64, now: Instant) -> Found {
        let found = self.find(plan, Step::Main, types, group);
        let entry = self.entries.get(&Key::new(plan, Step::Main));
        match entry.and_then(|e| e.tried) {
            Some(then) if now.saturating_duration_since(then) < SERVES => found,
            _ => Found::Missing,
        }
    }

    /// It is tried out now.
    pub(super) fn tried(&mut self, key: &Key, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.tried = Some(now);
        }
    }

    /// Whether what stands there has constants that mean the time at which PostgreSQL reads them.
    pub(super) fn is_dated(&self, plan: &Arc<Plan>, step: Step) -> bool {
        let key = Key::new(plan, step);
        let once = self.once.as_ref().filter(|(k, _)| *k == key).map(|(_, entry)| entry);
        self.entries.get(&key).or(once).is_some_and(|e| e.dated)
    }

    /// A Parse of it is sent in that group: answers its number, and the numbers to close. What is not worth `keeping` is the unnamed
    /// statement, which the next such Parse replaces.
    pub(super) fn add(&mut self, plan: &Arc<Plan>, step: Step, types: &[u32], group: u64, keeping: bool) -> (Key, u32, Vec<u32>) {
        let key = Key::new(plan, step);
        let mut close = Vec::new();
        self.clock += 1;
        if !keeping {
            let entry = Entry {
                plan: plan.clone(),
                types: types.into(),
                sense: self.sense.clone(),
                number: UNNAMED,
                under_way: Some(group),
                unfit: false,
                tried: None,
                dated: statement(plan, step).is_some_and(|s| is_dated(s.sql.sql())),
                used: self.clock,
            };
            self.once = Some((key, entry));
            self.onces += 1;
            return (key, UNNAMED, close);
        }
        close.append(&mut self.closing);
        if self.entries.len() >= MOST || self.bytes + plan.weight > MOST_BYTES {
            close.extend(self.evict());
        }
        self.bytes += plan.weight;
        self.next = self.next.checked_add(1).unwrap_or(1);
        let entry = Entry {
            plan: plan.clone(),
            types: types.into(),
            sense: self.sense.clone(),
            number: self.next,
            under_way: Some(group),
            unfit: false,
            tried: None,
            dated: statement(plan, step).is_some_and(|s| is_dated(s.sql.sql())),
            used: self.clock,
        };
        if let Some(other_types) = self.entries.insert(key, entry) {
            self.bytes -= other_types.plan.weight;
            close.extend(other_types.closes());
        }
        (key, self.next, close)
    }

    /// The Parse of that number succeeded, or failed or was skipped.
    pub(super) fn settle(&mut self, key: Key, number: u32, came_true: bool) {
        if number == UNNAMED {
            self.onces = self.onces.saturating_sub(1);
            match &mut self.once {
                _ if !came_true => self.once = None,
                Some((k, entry)) if self.onces == 0 && *k == key => entry.under_way = None,
                // Another Parse of it is still under way.
                _ => {}
            }
            return;
        }
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.number == number
        {
            match came_true {
                true => entry.under_way = None,
                false => drop(self.remove(&key)),
            }
        }
    }

    /// PostgreSQL does not take the statement that was tried out under that number; that is remembered.
    pub(super) fn unfit(&mut self, key: Key, number: u32) {
        if let Some(entry) = self.entries.get_mut(&key).filter(|e| e.number == number) {
            entry.under_way = None;
            entry.unfit = true;
        }
    }

    /// What stands there is of no use any more: it is closed with the next ones.
    pub(super) fn forget(&mut self, key: &Key) {
        let gone = self.remove(key).and_then(|e| e.closes());
        self.closing.extend(gone);
    }

    /// PostgreSQL skipped the Close of that statement, so it is still there: it is closed with the next ones.
    pub(super) fn not_closed(&mut self, number: u32) {
        self.closing.push(number);
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let gone = self.entries.remove(key)?;
        self.bytes -= gone.plan.weight;
        Some(gone)
    }

    /// A Query takes the unnamed statement away.
    pub(super) fn forget_unnamed(&mut self) {
        self.once = None;
    }

    /// Takes away those not used for longest, down to three quarters of what there may be, so that this is seldom done; none of those
    /// under way.
    fn evict(&mut self) -> Vec<u32> {
        let mut ages: Vec<(u64, Key)> = self
            .entries
            .iter()
            .filter(|(_, e)| e.under_way.is_none())
            .map(|(key, e)| (e.used, *key))
            .collect();
        ages.sort_unstable_by_key(|(used, _)| *used);
        let mut gone = Vec::new();
        for (_, key) in ages {
            if self.entries.len() <= MOST / 4 * 3 && self.bytes <= MOST_BYTES / 4 * 3 {
                break;
            }
            gone.extend(self.remove(&key).and_then(|e| e.closes()));
        }
        gone
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Whether a text may have constants that mean the time at which they are read: strings with the words for it, of which it does not matter
/// here what type they are read as.
fn is_dated(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    let mut rest = sql.as_str();
    while let Some(at) = rest.find(['\'', '"']) {
        let (quote, behind) = (&rest[at..=at], &rest[at + 1..]);
        let end = behind.find(quote).unwrap_or(behind.len());
        let text = &behind[..end];
        if quote == "'"
            && ["now", "today", "tomorrow", "yesterday"]
                .iter()
                .any(|word| text.contains(word))
        {
            return true;
        }
        rest = behind.get(end + 1..).unwrap_or_default();
    }
    false
}

/// The name of statement `number` there.
pub(super) struct Name {
    bytes: [u8; 19],
    from: usize,
}

impl Name {
    pub(super) fn new(mut number: u32) -> Self {
        const PREFIX: &[u8; 9] = b"postern$s";
        if number == UNNAMED {
            return Self {
                bytes: [0; 19],
                from: 19,
            };
        }
        let mut bytes = *b"postern$s0000000000";
        let mut at = bytes.len();
        loop {
            at -= 1;
            bytes[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        let from = at - PREFIX.len();
        bytes[from..at].copy_from_slice(PREFIX);
        Self { bytes, from }
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.from..]).expect("it is ASCII")
    }
}

/// An address is hash enough.
#[derive(Default)]
struct Address(u64);

impl Hasher for Address {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }

    fn write_u64(&mut self, n: u64) {
        // Addresses are multiples of 8 or 16, and the map looks at the low bits and the top seven.
        self.0 = (n >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use postern_rewriter::plan::{Effect, Run};

    use super::*;

    fn plan() -> Arc<Plan> {
        Arc::new(Plan {
            run: Run::Answer("SET"),
            effect: Effect::None,
            param_types: Vec::new(),
            client_params: 0,
            relations: Vec::new(),
            policies: Vec::new(),
            operations: Vec::new(),
            opened: Vec::new(),
            weight: 0,
            keeps: Default::default(),
            cacheable: true,
        })
    }

    #[test]
    fn a_name_counts_from_its_parse_and_not_after_a_failure() {
        let (mut prepared, plan) = (Prepared::default(), plan());
        assert_eq!(prepared.find(&plan, Step::Main, &[], 1), Found::Missing);
        let (key, number, close) = prepared.add(&plan, Step::Main, &[], 1, true);
        assert!(close.is_empty());
        assert_eq!(prepared.find(&plan, Step::Main, &[], 1), Found::There(number));
        assert_eq!(prepared.find(&plan, Step::Main, &[], 2), Found::Unsure);
        assert_eq!(prepared.find(&plan, Step::Read, &[], 1), Found::Missing);
        assert_eq!(prepared.find(&plan, Step::Main, &[23], 1), Found::Missing);
        prepared.settle(key, number, true);
        assert_eq!(prepared.find(&plan, Step::Main, &[], 2), Found::There(number));
        let (key, other, close) = prepared.add(&plan, Step::Main, &[23], 2, true);
        assert_eq!(close, [number]);
        prepared.settle(key, number, false);
        assert_eq!(
            prepared.find(&plan, Step::Main, &[23], 2),
            Found::There(other),
            "an older Parse says nothing of it"
        );
        prepared.settle(key, other, false);
        assert_eq!(prepared.find(&plan, Step::Main, &[23], 2), Found::Missing);
    }

    #[test]
    fn of_several_unnamed_ones_only_the_last_parse_says_what_is_there() {
        let (mut prepared, a, b) = (Prepared::default(), plan(), plan());
        let (key_a, number, _) = prepared.add(&a, Step::Main, &[], 1, false);
        let (key_b, ..) = prepared.add(&b, Step::Main, &[], 2, false);
        prepared.add(&a, Step::Main, &[], 3, false);
        prepared.settle(key_a, number, true);
        assert_eq!(
            prepared.find(&a, Step::Main, &[], 4),
            Found::Unsure,
            "the first Parse says nothing of the third"
        );
        prepared.settle(key_b, number, true);
        assert_eq!(prepared.find(&a, Step::Main, &[], 4), Found::Unsure);
        prepared.settle(key_a, number, false);
        assert_eq!(
            prepared.find(&a, Step::Main, &[], 4),
            Found::Missing,
            "it was skipped: b is there"
        );
        prepared.add(&a, Step::Main, &[], 5, false);
        prepared.settle(key_a, number, true);
        assert_eq!(prepared.find(&a, Step::Main, &[], 6), Found::There(number));
    }

    #[test]
    fn a_text_serves_only_under_the_settings_that_it_was_read_under() {
        let (mut prepared, plan) = (Prepared::default(), plan());
        let (key, number, _) = prepared.add(&plan, Step::Main, &[], 1, true);
        prepared.settle(key, number, true);
        prepared.read_under("datestyle=SQL, DMY\n".into());
        assert_eq!(prepared.find(&plan, Step::Main, &[], 2), Found::Missing);
        prepared.read_under("".into());
        assert_eq!(prepared.find(&plan, Step::Main, &[], 2), Found::There(number));
        prepared.read_anyhow();
        assert_eq!(prepared.find(&plan, Step::Main, &[], 3), Found::Missing);
        let (key, other, close) = prepared.add(&plan, Step::Main, &[], 3, true);
        prepared.settle(key, other, true);
        assert_eq!(close, [number]);
        assert_eq!(prepared.find(&plan, Step::Main, &[], 3), Found::There(other));
        prepared.read_anyhow();
        assert_eq!(
            prepared.find(&plan, Step::Main, &[], 4),
            Found::Missing,
            "unknown settings are not each other"
        );
    }

    #[test]
    fn the_number_of_statements_is_bounded() {
        let mut prepared = Prepared::default();
        let mut closed = 0;
        let plans: Vec<_> = (0..2 * MOST).map(|_| plan()).collect();
        for plan in &plans {
            let (key, number, close) = prepared.add(plan, Step::Main, &[], 1, true);
            prepared.settle(key, number, true);
            closed += close.len();
            prepared.find(&plans[0], Step::Main, &[], 1);
        }
        assert!(prepared.len() <= MOST);
        assert_eq!(prepared.len() + closed, 2 * MOST);
        assert!(
            matches!(prepared.find(&plans[0], Step::Main, &[], 1), Found::There(_)),
            "what is used stays"
        );
    }

    #[test]
    fn their_weight_is_bounded_and_what_was_not_closed_is_closed_later() {
        let mut prepared = Prepared::default();
        let heavy: Vec<_> = (0..40)
            .map(|_| {
                let mut plan = Arc::unwrap_or_clone(plan());
                plan.weight = 1 << 20;
                Arc::new(plan)
            })
            .collect();
        let mut closed = Vec::new();
        for plan in &heavy {
            let (key, number, close) = prepared.add(plan, Step::Main, &[], 1, true);
            prepared.settle(key, number, true);
            assert!(prepared.bytes <= MOST_BYTES);
            closed.extend(close);
        }
        assert_eq!(closed.len() + prepared.len(), heavy.len());
        prepared.not_closed(closed[0]);
        let (_, _, close) = prepared.add(&plan(), Step::Main, &[], 1, true);
        assert!(close.contains(&closed[0]));
    }

    #[test]
    fn what_is_tried_out_serves_for_a_while() {
        let (mut prepared, plan, start) = (Prepared::default(), plan(), Instant::now());
        let (key, number, _) = prepared.add(&plan, Step::Main, &[], 1, true);
        prepared.settle(key, number, true);
        assert_eq!(
            prepared.find_tried(&plan, &[], 2, start),
            Found::Missing,
            "it was not tried out"
        );
        prepared.tried(&key, start);
        assert_eq!(prepared.find_tried(&plan, &[], 2, start), Found::There(number));
        assert_eq!(prepared.find_tried(&plan, &[23], 2, start), Found::Missing);
        let late = start + SERVES;
        assert_eq!(prepared.find_tried(&plan, &[], 2, late), Found::Missing);
        prepared.unfit(key, number);
        assert_eq!(prepared.find_tried(&plan, &[], 2, start), Found::Unfit);
        assert_eq!(prepared.find_tried(&plan, &[], 2, late), Found::Missing);
        let (_, _, close) = prepared.add(&plan, Step::Main, &[], 3, true);
        assert!(close.is_empty(), "there is nothing to close of what PostgreSQL did not take");
    }

    #[test]
    fn constants_that_mean_a_time_are_known() {
        for sql in [
            "SELECT 'now'::timestamp",
            "SELECT $1 > ' Today 10:00'",
            "SELECT 'o''clock', 'tomorrow'",
            "SELECT \"it's\", 'yesterday'",
        ] {
            assert!(is_dated(sql), "{sql}");
        }
        for sql in [
            "SELECT now(), known FROM snow",
            "SELECT 'noon', today FROM t",
            "SELECT \"'now'\"",
        ] {
            assert!(!is_dated(sql), "{sql}");
        }
    }

    #[test]
    fn names_are_numbers_behind_our_prefix() {
        assert_eq!(Name::new(UNNAMED).as_str(), "");
        assert_eq!(Name::new(42).as_str(), "postern$s42");
        assert_eq!(Name::new(u32::MAX).as_str(), "postern$s4294967295");
    }
}
