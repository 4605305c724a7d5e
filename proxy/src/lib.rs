//! Postern, the gate: wire, sessions, transport, control plane and command line.

pub mod control;
pub mod identity;
pub mod observe;
pub mod pool;
pub mod root_key;
pub mod secrets;
pub mod session;
pub mod shared;
pub mod wire;

pub mod serve;
pub mod stop;

pub mod cli;
pub mod demo;
