//! The independent oracle: who sees what of a data set that is written down here, without Postern.
//!
//! The rows are in `tests/oracle/rows.txt`, in plain text; the domain's table of policies is written once more by hand in [`policies`] and
//! [`writing`], and what the tests' own modules say in [`own`], in Rust over those rows. None of them reads a manifest, a policy's SQL or anything that came through the proxy. [`stage`] loads the rows through
//! a proxy into a database of its own, so that what the proxy answers there can be held against what is calculated here.

pub mod batch;
pub mod data;
pub mod hidden;
pub mod inserting;
pub mod own;
pub mod people;
pub mod policies;
pub mod stage;
pub mod tally;
pub mod writing;
