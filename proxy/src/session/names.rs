//! Names that the client gave to things which PostgreSQL holds: statements, portals, cursors.
//!
//! Promised: what is [settled](Names::settle) is exactly what PostgreSQL has. A change is only *expected* while its message is under
//! way; where PostgreSQL skips the message after an error, the expectation is dropped. A name that stood for one plan here and for
//! another text there would let a row be read, or a value be bound, by the wrong plan.

use std::collections::{HashMap, VecDeque};

/// Named things of one kind.
pub(super) struct Names<T> {
    settled: HashMap<Box<str>, T>,
    expected: VecDeque<(Box<str>, Option<T>)>,
}

impl<T: Clone> Names<T> {
    pub(super) fn new() -> Self {
        Self {
            settled: HashMap::new(),
            expected: VecDeque::new(),
        }
    }

    /// What the name will stand for when a message sent now is processed, if nothing before it fails.
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        match self.expected.iter().rev().find(|(n, _)| **n == *name) {
            Some((_, change)) => change.as_ref(),
            None => self.settled.get(name),
        }
    }

    /// A message that sets (or takes away) the name is under way. Answers must be settled in the same order.
    pub(super) fn expect(&mut self, name: &str, change: Option<T>) {
        self.expected.push_back((name.into(), change));
    }

    /// The oldest expectation came true, or was skipped.
    pub(super) fn settle(&mut self, came_true: bool) {
        let Some((name, change)) = self.expected.pop_front() else {
            return;
        };
        if came_true {
            self.set(name, change);
        }
    }

    /// Changes a name at once; for what nothing under way can contradict.
    pub(super) fn set(&mut self, name: Box<str>, change: Option<T>) {
        match change {
            Some(thing) => self.settled.insert(name, thing),
            None => self.settled.remove(&name),
        };
    }

    /// How many names there are or may soon be.
    pub(super) fn len(&self) -> usize {
        self.settled.len() + self.expected.len()
    }

    /// The settled names.
    pub(super) fn settled(&self) -> impl Iterator<Item = (&str, &T)> {
        self.settled.iter().map(|(n, t)| (&**n, t))
    }

    /// Keeps only the settled names for which `keep` holds.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.settled.retain(|_, t| keep(t));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_under_way_is_seen_by_what_follows_it() {
        let mut names = Names::new();
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
        let mut names = Names::new();
        names.set("s".into(), Some(1));
        names.expect("s", None);
        names.expect("s", Some(2));
        assert_eq!(names.get("s"), Some(&2));
        names.settle(false);
        names.settle(false);
        assert_eq!(names.get("s"), Some(&1));
    }
}
