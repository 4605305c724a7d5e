//! What an operator can see: metrics, health, logs, audit.
//!
//! Promised: no literal, parameter, row, token or SQL text in any of them. Labels and reasons are fixed words of this program, so that
//! neither a client nor a row can put text, or endless series, here.

pub mod admin;
pub mod audit;
pub mod logs;
pub mod metrics;
mod pools;

pub use audit::{Audit, AuditError, Decision, Event};
pub use metrics::{Connected, Metrics};
pub use pools::PoolMetrics;
