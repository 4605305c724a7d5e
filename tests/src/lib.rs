//! What the end-to-end tests stand on: a stand (the demo, started for real), a protocol client that hides nothing, and the readers of
//! the test data (`attacks/`, `differential/`).
//!
//! Nothing here is shipped and nothing depends on it. The client is blocking and written by hand on purpose: a test must see every
//! byte of an answer, and must be able to send what no driver would.

pub mod another;
pub mod attack;
pub mod cluster;
pub mod connection;
pub mod corpus;
pub mod gate;
pub mod grammar;
pub mod kept;
pub mod message;
pub mod oracle;
pub mod plain;
pub mod product;
pub mod proxy;
pub mod recorded;
pub mod rewriting;
pub mod scan;
mod socket;
pub mod sqlsmith;
pub mod stand;
pub mod target;
