//! What a rollback to a savepoint brings back here, as PostgreSQL brings back its settings: the tokens taken on since, and the settings
//! that are followed.
//!
//! Promised: a name means here what it means in PostgreSQL (the youngest of that name; releasing one releases the younger ones). Beyond
//! [`MOST`] nothing is kept, and a rollback to any of them leaves nobody in particular rather than somebody by mistake.

use super::identity::Taken;
use super::settings::Followed;

/// Savepoints of a transaction that are followed.
const MOST: usize = 4096;

/// The savepoints of the open transaction, oldest first.
#[derive(Default)]
pub(super) struct Savepoints {
    stack: Vec<Savepoint>,
    more: bool,
}

struct Savepoint {
    name: Box<str>,
    taken: Taken,
    settings: [Followed; 2],
}

impl Savepoints {
    /// SAVEPOINT was carried out.
    pub(super) fn set(&mut self, name: &str, taken: Taken, settings: [Followed; 2]) {
        if self.stack.len() >= MOST {
            self.more = true;
            return;
        }
        self.stack.push(Savepoint {
            name: name.into(),
            taken,
            settings,
        });
    }

    /// RELEASE was carried out.
    pub(super) fn release(&mut self, name: &str) {
        if let Some(at) = self.find(name) {
            self.stack.truncate(at);
        }
    }

    /// ROLLBACK TO was carried out; answers what is brought back, if it is known.
    pub(super) fn rollback_to(&mut self, name: &str) -> Option<(Taken, [Followed; 2])> {
        let at = self.find(name)?;
        self.stack.truncate(at + 1);
        let savepoint = self.stack.last()?;
        Some((savepoint.taken.clone(), savepoint.settings.clone()))
    }

    /// The transaction ended.
    pub(super) fn clear(&mut self) {
        self.stack.clear();
        self.more = false;
    }

    fn find(&self, name: &str) -> Option<usize> {
        // One that is not kept may have had the same name.
        if self.more {
            return None;
        }
        self.stack.iter().rposition(|s| *s.name == *name)
    }
}

/// What a printed SAVEPOINT, RELEASE or ROLLBACK TO says.
pub(super) enum Says<'a> {
    /// SAVEPOINT of that name.
    Set(&'a str),
    /// RELEASE.
    Release(&'a str),
    /// ROLLBACK TO.
    RollbackTo(&'a str),
}

/// Reads what the judge printed; `None` is another statement.
pub(super) fn says(sql: &str) -> Option<Says<'_>> {
    let set = sql.strip_prefix("SAVEPOINT ").map(Says::Set);
    let release = || sql.strip_prefix("RELEASE ").map(Says::Release);
    let rollback = || sql.strip_prefix("ROLLBACK TO SAVEPOINT ").map(Says::RollbackTo);
    set.or_else(release).or_else(rollback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> [Followed; 2] {
        [Followed::default(), Followed::default()]
    }

    #[test]
    fn names_mean_what_they_mean_in_postgresql() {
        let mut savepoints = Savepoints::default();
        for name in ["a", "b", "a", "c"] {
            savepoints.set(name, Taken::default(), settings());
        }
        assert!(savepoints.rollback_to("x").is_none());
        assert!(savepoints.rollback_to("a").is_some());
        assert_eq!(
            savepoints.stack.len(),
            3,
            "the youngest of that name stays, and what came after it is gone"
        );
        savepoints.release("a");
        assert_eq!(savepoints.stack.len(), 2);
        assert!(savepoints.rollback_to("a").is_some());
        assert_eq!(savepoints.stack.len(), 1);
        savepoints.clear();
        assert!(savepoints.rollback_to("a").is_none());
    }

    #[test]
    fn of_too_many_none_is_known() {
        let mut savepoints = Savepoints::default();
        for _ in 0..=MOST {
            savepoints.set("a", Taken::default(), settings());
        }
        assert_eq!(savepoints.stack.len(), MOST);
        assert!(savepoints.rollback_to("a").is_none());
    }

    #[test]
    fn what_the_judge_prints_is_read() {
        assert!(matches!(says("SAVEPOINT \"a b\""), Some(Says::Set("\"a b\""))));
        assert!(matches!(says("RELEASE a"), Some(Says::Release("a"))));
        assert!(matches!(says("ROLLBACK TO SAVEPOINT a"), Some(Says::RollbackTo("a"))));
        assert!(says("ROLLBACK").is_none());
    }
}
