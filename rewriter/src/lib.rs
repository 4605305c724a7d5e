//! The pure path from SQL text to a plan. No I/O, no keys, no clock.

pub mod catalog;
pub mod plan;
