//! Names that the client gave to things which PostgreSQL holds: statements, portals, cursors.
//!
//! Promised: what is [settled](Names::settle) is exactly what PostgreSQL has. A change is only *expected* while its message is under
//! way; where PostgreSQL skips the message after an error, the expectation is dropped. A name that stood for one plan here and for
//! another text there would let a row be read, or a value be bound, by the wrong plan. For the same reason a name is at most
//! [`MAX_NAME`] bytes long: of a longer one PostgreSQL looks at the beginning alone. What the names hold is bounded in number and bytes.

use std::collections::{HashMap, VecDeque};

/// What PostgreSQL keeps of a name (`NAMEDATALEN` less the NUL).
pub(super) const MAX_NAME: usize = 63;
/// Names of one kind at most.
const MAX_NAMES: usize = 32_768;
/// Bytes that the things of one kind may hold together.
const MAX_BYTES: usize = 64 << 20;

/// Named things of one kind.
pub(super) struct Names<T> {
    /// What the empty name stands for, which most clients use again and again.
    unnamed: Option<T>,
    settled: HashMap<Box<str>, T>,
    expected: VecDeque<(Box<str>, Option<T>)>,
    weigh: fn(&T) -> usize,
    bytes: usize,
}

impl<T: Clone> Names<T> {
    /// `weigh` answers the bytes that a thing holds.
    pub(super) fn new(weigh: fn(&T) -> usize) -> Self {
        Self {
            unnamed: None,
            settled: HashMap::new(),
            expected: VecDeque::new(),
            weigh,
            bytes: 0,
        }
    }

    /// Whether there is room for one more of that weight.
    pub(super) fn has_room(&self, weight: usize) -> bool {
        self.settled.len() + self.expected.len() < MAX_NAMES && self.bytes + weight <= MAX_BYTES
    }

    /// What the name will stand for when a message sent now is processed, if nothing before it fails.
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        match self.expected.iter().rev().find(|(n, _)| alike(n.as_bytes(), name.as_bytes())) {
            Some((_, change)) => change.as_ref(),
            None if name.is_empty() => self.unnamed.as_ref(),
            None => self.settled.get(name),
        }
    }

    /// A message that sets (or takes away) the name is under way. Answers must be settled in the same order.
    pub(super) fn expect(&mut self, name: &str, change: Option<T>) {
        self.bytes += change.as_ref().map_or(0, self.weigh);
        self.expected.push_back((name.into(), change));
    }

    /// The oldest expectation came true, or was skipped. Answers the name that has changed.
    pub(super) fn settle(&mut self, came_true: bool) -> Option<Box<str>> {
        let (name, change) = self.expected.pop_front()?;
        self.bytes -= change.as_ref().map_or(0, self.weigh);
        if !came_true {
            return None;
        }
        self.set(name.clone(), change);
        Some(name)
    }

    /// Changes a name at once; for what nothing under way can contradict.
    pub(super) fn set(&mut self, name: Box<str>, change: Option<T>) {
        self.bytes += change.as_ref().map_or(0, self.weigh);
        let gone = match change {
            change if name.is_empty() => std::mem::replace(&mut self.unnamed, change),
            Some(thing) => self.settled.insert(name, thing),
            None => self.settled.remove(&name),
        };
        self.bytes -= gone.as_ref().map_or(0, self.weigh);
    }

    /// Keeps only the settled names for which `keep` holds.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        let (weigh, bytes) = (self.weigh, &mut self.bytes);
        let mut stays = |thing: &T| {
            let stays = keep(thing);
            if !stays {
                *bytes -= weigh(thing);
            }
            stays
        };
        if self.unnamed.as_ref().is_some_and(|thing| !stays(thing)) {
            self.unnamed = None;
        }
        self.settled.retain(|_, thing| stays(thing));
    }
}

/// Equality of what is empty on both sides most of the time. An empty box has no memory, and comparing there costs hundreds of cycles: the
/// C library's vector instructions touch the address, and the processor takes the fault back.
pub(super) fn alike<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.len() == b.len() && (a.is_empty() || a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_under_way_is_seen_by_what_follows_it() {
        let mut names = Names::new(|_| 1);
        names.expect("s", Some(1));
        assert_eq!(names.get("s"), Some(&1));
        names.expect("s", None);
        assert_eq!(names.get("s"), None);
        names.settle(true);
        names.settle(true);
        assert_eq!(names.get("s"), None);
    }

    #[test]
    fn a_skipped_change_never_was() {
        let mut names = Names::new(|_| 1);
        names.set("s".into(), Some(1));
        names.expect("s", None);
        names.expect("s", Some(2));
        assert_eq!(names.get("s"), Some(&2));
        names.settle(false);
        names.settle(false);
        assert_eq!(names.get("s"), Some(&1));
    }

    #[test]
    fn what_names_hold_is_bounded_in_number_and_bytes() {
        let mut names = Names::new(|bytes: &usize| *bytes);
        names.set("a".into(), Some(MAX_BYTES - 10));
        assert!(names.has_room(10) && !names.has_room(11));
        names.expect("b", Some(10));
        assert!(!names.has_room(1));
        names.settle(false);
        assert!(names.has_room(10));
        names.expect("a", Some(1));
        names.settle(true);
        assert!(names.has_room(MAX_BYTES - 1));
        names.retain(|_| false);
        assert!(names.has_room(MAX_BYTES) && names.bytes == 0);
        for n in 0..MAX_NAMES {
            assert!(names.has_room(0));
            names.set(n.to_string().into(), Some(0));
        }
        assert!(!names.has_room(0));
    }
}
