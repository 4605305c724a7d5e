//! What the operator wrote, once it has been proven usable.
//!
//! `postern.toml` and the module manifests beside it become typed, validated values here; everything downstream (judge,
//! provisioning, data plane) takes these types and never re-reads text. Loading collects **all** mistakes with file and line before
//! it answers, because an operator mends a file, not an error.
//!
//! This crate does no I/O beyond reading those files, knows no secrets (only where they are kept) and no SQL of clients.

mod beneath;
pub mod draft;
pub mod expr;
pub mod lint_code;
pub mod load;
pub mod manifest;
pub mod names;
pub mod policy;
pub mod predicate;
pub mod settings;
pub mod types;

pub use load::{ConfigError, Problem, load};
pub use manifest::{Column, Login, LoginKind, Manifest, Protection, Search, Table};
pub use names::{ColumnRef, Ident, LoginName, ModuleName, TableRef};
pub use settings::{Config, Settings};
pub use types::ColumnType;
