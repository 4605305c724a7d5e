//! A server connection in somebody's hands, and its place in the limits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime;

use super::key::Key;
use super::login::LoginPool;
use crate::identity::Backend;
use crate::observe::Connected;
use crate::wire::Stream;
use crate::wire::cancel::UpstreamKey;

/// Terminate.
const GOODBYE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// A connection of one user. Dropping it closes the connection and frees its place.
pub struct Lease<M> {
    /// The connection.
    pub stream: Stream,
    /// Every ParameterStatus of its login, one entry for each name.
    pub parameters: Vec<(String, String)>,
    /// What cancels its queries.
    pub cancel: UpstreamKey,
    /// Which backend it is.
    pub backend: Backend,
    /// What its users remember of it.
    pub memory: Box<M>,
    pub(super) key: Arc<Key>,
    pub(super) born: Instant,
    /// The runtime that watches the socket.
    pub(super) home: Option<runtime::Id>,
    pub(super) _counted: Connected,
    /// Last, so that the connection is closed before its place is free.
    pub(super) place: Place<M>,
}

/// One of the connections that a login, and its module, may have. Dropping it offers it to whoever waits.
pub(super) struct Place<M> {
    pub(super) login: Arc<LoginPool<M>>,
}

impl<M> Drop for Place<M> {
    fn drop(&mut self) {
        self.login.freed();
    }
}

/// The runtime that runs this.
pub(super) fn here() -> Option<runtime::Id> {
    runtime::Handle::try_current().ok().map(|handle| handle.id())
}

impl<M> Lease<M> {
    /// Gives the connection to whoever waits, or keeps it for the next. It must be as a client may find it: idle, outside any transaction,
    /// every reply read, nothing of its user left on it.
    pub fn give_back(self) {
        let login = Arc::clone(&self.place.login);
        login.take_back(self);
    }

    /// The connection, if nothing has arrived on it while it was idle, watched by the runtime that is `here`. Else it is closed: whatever
    /// the server said or did, it was not asked for.
    pub(super) fn fit(mut self, here: Option<runtime::Id>) -> Option<Self> {
        if !self.is_quiet() {
            return None;
        }
        if here != self.home && here.is_some() {
            self.stream = self.stream.rehome().ok()?;
            self.home = here;
        }
        Some(self)
    }

    /// Whether nothing has arrived. Without a system call unless the runtime has seen something.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        read.is_pending()
    }

    /// Says goodbye as far as that is possible without waiting, and closes.
    pub(super) fn part(mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let stream = &mut self.stream;
        if let Poll::Ready(Ok(_)) = Pin::new(&mut *stream).poll_write(&mut context, &GOODBYE) {
            let _ = Pin::new(stream).poll_flush(&mut context);
        }
    }

    /// Closes and keeps the place, for a connection of other settings.
    pub(super) fn into_place(self) -> Place<M> {
        let Self { stream, place, .. } = self;
        drop(stream);
        place
    }
}
