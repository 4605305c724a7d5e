//! Keys that the database would generate, drawn before the row is sealed (a sealed value is bound to its row's key).
//!
//! Values come in blocks, so that most draws cost no round trip. A block that is dropped leaves a gap, as an aborted transaction
//! does on plain PostgreSQL.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use postern_config::TableRef;

use super::{ControlError, Pool};

/// Values fetched at once.
const BLOCK: usize = 32;
/// Values kept per sequence; what concurrent fetches bring beyond is dropped.
const KEPT: usize = 4 * BLOCK;
/// Sequences kept; a draw from any further one takes a single value and keeps none.
const SEQUENCES: usize = 1024;

const FETCH: &str = "SELECT pg_catalog.nextval($1::text::pg_catalog.regclass) FROM pg_catalog.generate_series(1, $2::int4)";

/// Drawn values of all sequences.
pub struct Sequences {
    pool: Pool,
    ready: Mutex<HashMap<TableRef, VecDeque<i64>>>,
}

impl Sequences {
    /// Draws over these control connections.
    pub fn new(pool: Pool) -> Self {
        Self {
            pool,
            ready: Mutex::default(),
        }
    }

    /// The next value of that sequence. Cancel-safe: a fetch that is abandoned leaves a gap and nothing else.
    pub async fn draw(&self, sequence: &TableRef) -> Result<i64, ControlError> {
        if let Some(value) = self.take(sequence) {
            return Ok(value);
        }
        let wanted = if self.has_room_for(sequence) { BLOCK } else { 1 };
        let client = self.pool.get().await?;
        let count = i32::try_from(wanted).expect("a block is small");
        let rows = client
            .query(FETCH, &[&sequence.quoted(), &count])
            .await
            .map_err(ControlError::query("drawing from a sequence"))?;
        let mut values: VecDeque<i64> = rows.iter().map(|r| r.get(0)).collect();
        let first = values
            .pop_front()
            .ok_or(ControlError::NotProvisioned { what: "such sequence" })?;
        self.keep(sequence, values);
        Ok(first)
    }

    /// Forgets every drawn value of that sequence (it was dropped or set back).
    pub fn forget(&self, sequence: &TableRef) {
        self.lock().remove(sequence);
    }

    fn take(&self, sequence: &TableRef) -> Option<i64> {
        self.lock().get_mut(sequence)?.pop_front()
    }

    fn has_room_for(&self, sequence: &TableRef) -> bool {
        let ready = self.lock();
        ready.len() < SEQUENCES || ready.contains_key(sequence)
    }

    fn keep(&self, sequence: &TableRef, values: VecDeque<i64>) {
        if values.is_empty() {
            return;
        }
        let mut ready = self.lock();
        let queue = ready.entry(sequence.clone()).or_default();
        queue.extend(values);
        queue.truncate(KEPT);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TableRef, VecDeque<i64>>> {
        // A queue of numbers is whole between any two operations, so a panic elsewhere cannot have spoilt it.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
