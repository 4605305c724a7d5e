//! Why the handling of a message did not go to its end, and the fixed texts for it.

use postern_rewriter::plan::Refusal;

use super::SessionEnd;
use super::scrub::Told;
use crate::pool::PoolError;

/// Why the handling of a message stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// We refuse: the client is told, and what follows up to Sync is discarded.
    Refuse(Box<Refusal>),
    /// PostgreSQL refused something that we asked on the client's behalf; the client is told the same.
    Told(Box<Told>),
    /// Something before it failed, so that PostgreSQL would skip this message.
    Skip,
    /// The session ends.
    End(SessionEnd),
}

impl Stop {
    /// A position in `text` as one in `whole`, which ends with it (a token comment stood before it).
    pub(super) fn behind(mut self, whole: &str, text: &str) -> Self {
        let before = whole.len().checked_sub(text.len()).and_then(|at| whole.get(..at));
        if let (Self::Refuse(refusal), Some(before)) = (&mut self, before)
            && let (Some(position), Ok(chars)) = (refusal.position.as_mut(), u32::try_from(before.chars().count()))
        {
            *position += chars;
        }
        self
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(Box::new(refusal))
    }
}

impl From<PoolError> for Stop {
    fn from(error: PoolError) -> Self {
        Self::Refuse(Box::new(error.refusal()))
    }
}

impl From<SessionEnd> for Stop {
    fn from(end: SessionEnd) -> Self {
        Self::End(end)
    }
}

/// A refusal of the data plane's own.
pub(super) fn refusal(sqlstate: &'static str, reason: &'static str, message: impl Into<String>) -> Refusal {
    Refusal {
        sqlstate,
        message: message.into(),
        detail: None,
        hint: None,
        reason,
        position: None,
    }
}

/// The same with a hint.
pub(super) fn hinted(
    sqlstate: &'static str,
    reason: &'static str,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Refusal {
    Refusal {
        hint: Some(hint.into()),
        ..refusal(sqlstate, reason, message)
    }
}

/// A statement that is not there, in PostgreSQL's words.
pub(super) fn no_statement(name: &str) -> Refusal {
    let message = match name {
        "" => "unnamed prepared statement does not exist".to_owned(),
        _ => format!("prepared statement \"{name}\" does not exist"),
    };
    refusal("26000", "missing-statement", message)
}

/// A portal that is not there.
pub(super) fn no_portal(name: &str) -> Refusal {
    refusal("34000", "missing-portal", format!("portal \"{name}\" does not exist"))
}

/// A cursor that is not there.
pub(super) fn no_cursor(name: &str) -> Refusal {
    refusal("34000", "missing-cursor", format!("cursor \"{name}\" does not exist"))
}

/// A statement or portal that is there already.
pub(super) fn taken(what: &'static str, name: &str) -> Refusal {
    let sqlstate = if what == "cursor" { "42P03" } else { "42P05" };
    refusal(sqlstate, "duplicate-name", format!("{what} \"{name}\" already exists"))
}

/// The transaction has failed already.
pub(super) fn aborted() -> Refusal {
    refusal(
        "25P02",
        "aborted",
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

/// A stored value that is not what it should be. Says nothing of what it is.
pub(super) fn integrity() -> Refusal {
    hinted(
        "XX001",
        "integrity",
        "a stored value failed its integrity check",
        "The row or one of its columns was altered outside Postern; the operator finds the event in the audit trail.",
    )
}

/// A different identity in a transaction that has read rows.
pub(super) fn identity_change() -> Refusal {
    hinted(
        "25001",
        "identity-change",
        "the user cannot change in a transaction that has already read or written rows",
        "Give the token before the transaction's first statement, and the same one throughout.",
    )
}
