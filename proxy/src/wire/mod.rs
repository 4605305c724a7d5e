//! Towards the wire on both sides: what a connection is before and after it has proven who it is.
//!
//! Promised: a [`Client`] exists only where the startup packet was understood, TLS was not tampered with and a password was proven by
//! SCRAM; an [`upstream::Upstream`] exists only where PostgreSQL proved the same to us. Everything before that is bounded in bytes and
//! in time. Refused: `replication`, settings that are not on the list, protocols other than 3, passwords in the clear.
//!
//! It stands beneath `session` (which speaks on these connections) and knows nothing of SQL (how a COPY's rows are written is told by the plan).

pub mod cancel;
pub mod copy;
pub mod frame;
pub mod login;
pub mod message;
pub mod scram;
pub mod startup;
pub mod stream;
pub mod talk;
pub mod tls;
pub mod upstream;

use std::fmt;
use std::net::SocketAddr;

use bytes::BytesMut;

pub use startup::StartupParameters;
pub use stream::Stream;

/// Where a client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Over the network.
    Remote(SocketAddr),
    /// Through the Unix socket; such peers have no names.
    Local,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(address) => address.fmt(f),
            Self::Local => f.write_str("[local]"),
        }
    }
}

/// A client that has proven its login and has been sent everything up to and including the first ReadyForQuery (`I`); what it sends
/// next are ordinary frames.
#[derive(Debug)]
pub struct Client {
    /// The connection, in the clear or under TLS.
    pub stream: Stream,
    /// Bytes that arrived behind the last message of the login and were not consumed: the beginning of the first frames.
    pub leftover: BytesMut,
    /// Where it comes from.
    pub peer: Peer,
    /// What it asked for at the start.
    pub startup: StartupParameters,
    /// Its cancel key; a CancelRequest that knows the key reaches this client's upstream connection until this value is dropped.
    pub cancel: cancel::Registration,
}
