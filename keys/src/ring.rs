//! The keys in use.
//!
//! root key (in its store) → key-encryption key per module → data key per protected column, with versions, and one search key per
//! module from which tag keys are derived. The wrapped keys and the UUIDs that envelopes are bound to are the [`Catalogue`]; with the
//! root key it becomes a [`KeyRing`], which the data plane reads without a lock.

mod catalogue;
mod column;
mod maker;
mod opener;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use postern_config::names::{ColumnRef, Ident, ModuleName};
use postern_config::{ColumnType, Config};
use uuid::Uuid;

pub use catalogue::{Catalogue, KeyRecord};
pub use column::ColumnKeys;

use crate::store::{RootKeyStore, StoreError};

/// A column that needs keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedColumn {
    /// The module that owns it, under whose key-encryption key its keys are wrapped.
    pub module: ModuleName,
    /// The column.
    pub column: ColumnRef,
    /// The type that clients see.
    pub ty: ColumnType,
    /// Columns of one join group share their tag key.
    pub join_group: Option<Ident>,
    /// Whether its values are bound to table and column alone.
    pub bind_column_only: bool,
}

/// The protected columns of a configuration.
pub fn wanted(config: &Config) -> Vec<WantedColumn> {
    let mut wanted = Vec::new();
    for module in &config.modules {
        for table in &module.tables {
            for column in &table.columns {
                if let Some(protection) = &column.protection {
                    wanted.push(WantedColumn {
                        module: module.module.clone(),
                        column: table.column_ref(&column.name),
                        ty: column.ty.clone(),
                        join_group: protection.join_group.clone(),
                        bind_column_only: protection.bind_column_only,
                    });
                }
            }
        }
    }
    wanted
}

/// Why keys could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The root key store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(getrandom::Error),
    /// The MAC over the catalogue is wrong.
    #[error(
        "the key catalogue is not the one that was written with this root key: it was changed, or belongs to another root key; \
         restore it, or configure the root key file it was made with"
    )]
    NotAuthentic,
    /// A record cannot be read back.
    #[error("the key catalogue cannot be read: {0}; restore it from a backup")]
    Malformed(String),
    /// A protected column has no key yet.
    #[error("{0} is protected and has no key yet; run `postern provision`")]
    Missing(ColumnRef),
    /// The manifest now says something else than what values were sealed under.
    #[error(
        "{column}: values were sealed with {what} {recorded} and the manifest now says {wanted}; restore the manifest's line"
    )]
    Changed {
        /// The column.
        column: ColumnRef,
        /// What changed.
        what: &'static str,
        /// As recorded.
        recorded: String,
        /// As wanted.
        wanted: String,
    },
    /// A wrapped key does not open under its wrapping key, or is not the key it was committed to.
    #[error("key {0} does not open; the key catalogue and the root key do not belong together")]
    NotOpened(u32),
    /// The column's type has no canonical form.
    #[error("{0} is of type {1}, which cannot be protected")]
    Type(ColumnRef, ColumnType),
    /// All 2^32 key ids are used up.
    #[error("no key id is left in this key catalogue")]
    Exhausted,
}

/// All keys of a running proxy. Clones share one ring: [`KeyRing::replace`] on any of them is seen by all.
///
/// `arc-swap` rather than a lock, because every sealed and opened value of every session reads this.
#[derive(Clone)]
pub struct KeyRing(Arc<ArcSwap<Ring>>);

struct Ring {
    generation: u64,
    database: Uuid,
    /// In [`order`]: a search among a configuration's columns costs less than hashing a name.
    columns: Box<[(ColumnRef, Arc<ColumnKeys>)]>,
}

impl KeyRing {
    /// Makes what is missing: the catalogue itself, module keys, UUIDs and data keys. The second value says whether the catalogue
    /// differs from `existing` and must be stored before anything is sealed. An `existing` one must be authentic.
    pub fn create_missing(
        existing: Option<Catalogue>,
        wanted: &[WantedColumn],
        root: &dyn RootKeyStore,
    ) -> Result<(Catalogue, bool), RingError> {
        maker::create_missing(existing, wanted, root)
    }

    /// Opens the keys of the wanted columns. Fails closed: a wrong MAC, a missing key or one that does not open is an error.
    pub fn open(catalogue: &Catalogue, wanted: &[WantedColumn], root: &dyn RootKeyStore) -> Result<Self, RingError> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(Ring {
            generation: catalogue.generation,
            database: catalogue.database_uuid,
            columns: ordered(opener::columns(catalogue, wanted, root)?),
        }))))
    }

    /// The keys of a protected column; a read without a lock.
    pub fn column(&self, column: &ColumnRef) -> Option<Arc<ColumnKeys>> {
        let ring = self.0.load();
        let at = ring
            .columns
            .binary_search_by_key(&order(column), |(name, _)| order(name))
            .ok()?;
        Some(ring.columns[at].1.clone())
    }

    /// Puts the keys of `newer` in place, for all clones. Sessions that hold a column's keys keep them until they ask again.
    pub fn replace(&self, newer: &KeyRing) {
        self.0.store(newer.0.load_full());
    }

    /// The generation of the catalogue these keys are from.
    pub fn generation(&self) -> u64 {
        self.0.load().generation
    }

    /// The UUID that stands for this database in associated data.
    pub fn database_uuid(&self) -> Uuid {
        self.0.load().database
    }
}

fn ordered(columns: HashMap<ColumnRef, Arc<ColumnKeys>>) -> Box<[(ColumnRef, Arc<ColumnKeys>)]> {
    let mut columns: Box<[_]> = columns.into_iter().collect();
    columns.sort_unstable_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
    columns
}

/// Lengths first, so that most comparisons end with numbers.
fn order(column: &ColumnRef) -> (usize, usize, &str, &str, &str) {
    let (name, table, schema) = (
        column.column.as_str(),
        column.table.name.as_str(),
        column.table.schema.as_str(),
    );
    (name.len(), table.len(), name, table, schema)
}

#[cfg(test)]
mod tests;
