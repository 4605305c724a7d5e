//! The control plane: what Postern itself asks of the database, over a few connections of its own role.
//!
//! Catalogue snapshots for the judge ([`Catalogs`]), keys drawn ahead ([`Sequences`]), the key catalogue and the claims key
//! ([`load_keys`], [`load_mac_key`]), and the second lock ([`provision`]). No client's statement ever comes this way: `tokio-postgres`
//! accepts any text, so it is used here and nowhere in the data plane.
//!
//! Every wait has a deadline (connect, pool, statement and lock timeouts), every map a bound, and errors keep the server's SQLSTATE and
//! primary message only, because DETAIL can quote a row.

mod catalogs;
pub mod catalogue_functions;
mod catalogue_privileges;
pub mod catalogue_views;
mod connect;
pub mod doctor;
mod error;
mod hearing;
mod keys;
pub mod provision;
pub mod satisfied;
mod sequences;
pub mod survey;
mod tls;
pub mod why;

use std::sync::Arc;

pub use catalogs::{CatalogFields, CatalogRow, Catalogs, Newest, catalog_from_rows, catalog_rows, read_catalog};
pub use connect::connect;
pub use error::ControlError;
pub use hearing::watch_catalogues;
pub use keys::{ensure_keys, load_keys, load_mac_key};
pub use sequences::Sequences;

/// Control connections. Clones share them.
#[derive(Clone)]
pub struct Pool {
    pool: deadpool_postgres::Pool,
    peer: Arc<str>,
    dial: Arc<connect::Dial>,
}
