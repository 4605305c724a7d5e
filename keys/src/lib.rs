//! Secrets and the values they protect.
//!
//! [`value`] turns what a client sends into one canonical form per type and back into what it asked for; [`envelope`] seals that form
//! for one place in the database and opens it only there; [`tag`] makes the keyed tags that equality is asked by; [`ring`] holds the
//! keys, their catalogue and their hierarchy; [`store`] keeps the root key.
//!
//! What this crate promises: no key and no plaintext leaves it except through the arguments of these functions and through the word
//! `expose`; errors never carry a value; bytes that came from the database are checked for length before anything is allocated for
//! them. What it refuses: to do I/O (the root key file apart), to know SQL, users or connections, and to try one key after another.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail by panicking"))]

pub mod envelope;
pub mod ring;
mod secret;
pub mod store;
pub mod tag;
pub mod value;
mod wrap;

pub use envelope::{Bound, NonceSource, OpenError, SealError};
pub use ring::{Catalogue, ColumnKeys, KeyRecord, KeyRing, RingError, WantedColumn, wanted};
pub use secret::Secret;
pub use store::{RootKeyStore, StoreError};
pub use value::{Canonical, SessionFormat, ValueError};
