//! What of the session a statement leaves behind, or looks for, beyond its transaction: what a server connection that serves another
//! client's next transaction cannot keep.
//!
//! Promised: a statement whose flags are empty means the same on any server connection of its login. Refused in transaction mode: what
//! has a flag, each with the way that works there. Settings, prepared statements and cursors inside a transaction are not here, because
//! the session carries those along itself.

use crate::plan::{Plan, Refusal};

/// A set of things that outlive the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Keeps(u8);

impl Keeps {
    /// Nothing.
    pub const NOTHING: Self = Self(0);
    /// Advisory locks of the session (`pg_advisory_lock`, `pg_advisory_unlock`, not the `_xact_` ones).
    pub const SESSION_LOCKS: Self = Self(1);
    /// A temporary relation that stays until the session ends.
    pub const TEMPORARY: Self = Self(1 << 1);
    /// A temporary relation that goes with its transaction (`ON COMMIT DROP`), or the use of one that is there.
    pub const TEMPORARY_IN_BLOCK: Self = Self(1 << 2);
    /// A cursor `WITH HOLD`.
    pub const HOLD_CURSOR: Self = Self(1 << 3);
    /// The sequence values that the session drew (`currval`, `lastval`).
    pub const SEQUENCE: Self = Self(1 << 4);
    /// A channel that is listened on.
    pub const LISTEN: Self = Self(1 << 5);
    /// The seed of `random()`.
    pub const SEED: Self = Self(1 << 6);

    /// Whether there is nothing.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is in it.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds what is in `other`.
    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether all of it ends with an explicit transaction block, so that the block keeps it as long as it is needed.
    pub fn fine_in_block(self) -> bool {
        self.0 & !Self::TEMPORARY_IN_BLOCK.0 == 0
    }
}

/// The manifest's way out, for every refusal.
const SESSION_MODE: &str = "or set pool_mode = \"session\" for this login";

impl Plan {
    /// Whether the statement may run on a connection that serves other clients between transactions (`pool_mode = "transaction"`).
    /// `in_block`: inside `BEGIN … COMMIT`, where the connection stays the client's.
    pub fn transaction_mode(&self, in_block: bool) -> Result<(), Refusal> {
        let keeps = self.keeps;
        if keeps.is_empty() || in_block && keeps.fine_in_block() {
            return Ok(());
        }
        let told: [(Keeps, &'static str, &'static str, &'static str); 7] = [
            (
                Keeps::LISTEN,
                "pool-mode-listen",
                "LISTEN is not available in transaction pooling: the server connection serves other clients between transactions",
                "Listen from a login of its own whose pool_mode is \"session\"; NOTIFY works everywhere;",
            ),
            (
                Keeps::SESSION_LOCKS,
                "pool-mode-locks",
                "advisory locks of the session are not available in transaction pooling: they would outlive the transaction",
                "Use pg_advisory_xact_lock, which ends with its transaction,",
            ),
            (
                Keeps::HOLD_CURSOR,
                "pool-mode-cursor",
                "a cursor WITH HOLD is not available in transaction pooling: it would outlive the transaction",
                "Declare it WITHOUT HOLD and read it inside one transaction,",
            ),
            (
                Keeps::SEQUENCE,
                "pool-mode-sequence",
                "currval and lastval are not available in transaction pooling: the value may be another client's",
                "Use RETURNING, or keep what nextval gave,",
            ),
            (
                Keeps::SEED,
                "pool-mode-seed",
                "setseed is not available in transaction pooling: the next client's random numbers would be known",
                "Make a row of random numbers in the client,",
            ),
            (
                Keeps::TEMPORARY,
                "pool-mode-temporary",
                "a temporary relation that outlives its transaction is not available in transaction pooling",
                "Create the table with ON COMMIT DROP between BEGIN and COMMIT,",
            ),
            (
                Keeps::TEMPORARY_IN_BLOCK,
                "pool-mode-temporary",
                "temporary relations are available in transaction pooling inside a transaction block only",
                "Create and use the table between BEGIN and COMMIT,",
            ),
        ];
        let (_, reason, message, hint) = told
            .into_iter()
            .find(|(what, ..)| keeps.contains(*what))
            .ok_or_else(|| Refusal::internal("a statement keeps something unknown"))?;
        Err(Refusal::new("0A000", reason, message).hint(format!("{hint} {SESSION_MODE}.")))
    }
}
