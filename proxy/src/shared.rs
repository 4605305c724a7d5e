//! What all sessions share: made once by `serve`, read by everyone, changed only through its parts' own owners.

use std::collections::HashMap;
use std::sync::Arc;

use postern_config::{Config, ModuleName};
use postern_keys::KeyRing;
use tokio::sync::{Semaphore, watch};

use crate::control::{Catalogs, Pool, Sequences};
use crate::identity::{MacKey, TokenVerifier, Told};
use crate::observe::{Audit, Metrics};
use crate::pool::Pools;
use crate::session::{Memory, PlanCache};
use crate::wire::cancel::CancelKeys;
use crate::wire::upstream::Connector;

/// Everything a session may need beyond its own two connections.
pub struct Shared {
    /// What the operator configured.
    pub config: Config,
    /// Keys of protected columns.
    pub keys: KeyRing,
    /// The control plane's connections, for catalogue snapshots.
    pub pool: Pool,
    /// Catalogue snapshots by module.
    pub catalogs: Catalogs,
    /// Keys that the database would generate, fetched ahead.
    pub sequences: Sequences,
    /// Judged statements.
    pub plans: PlanCache,
    /// Verifies user tokens.
    pub tokens: TokenVerifier,
    /// What PostgreSQL is told of an identity.
    pub told: Told,
    /// Signs claims towards PostgreSQL.
    pub mac: MacKey,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The audit trail.
    pub audit: Audit,
    /// Live cancel keys.
    pub cancels: CancelKeys,
    /// One for each client that a module may have, where its quota says how many.
    pub module_seats: HashMap<ModuleName, Arc<Semaphore>>,
    /// Connections to PostgreSQL, by login.
    pub pools: Pools<Memory>,
    /// Makes connections to PostgreSQL.
    pub upstream: Connector,
    /// Becomes true at shutdown: a session that waits for its client then ends (57P01); one that is at work finishes first.
    pub closing: watch::Receiver<bool>,
}
