//! Both connections and the four buffers between them.
//!
//! Promised: nothing here waits for one peer while the other could go on, and no buffer grows because a peer is slow: while what is
//! to be written to one side stands above [`HIGH_WATER`], the other side is not read. A connection at rest holds no buffer: memory for
//! reading is taken when there is something to read, and goes back to the thread's few spare ones when it is empty. [`Links::turn`] is
//! cancel-safe: bytes are either in a buffer or still in the socket.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::server::Memory;
use crate::pool::Lease;
use crate::wire::Stream;

/// Above this many bytes to be written, the side that they come from is not read.
pub(super) const HIGH_WATER: usize = 256 * 1024;
/// What one read can bring.
const READ: usize = 32 * 1024;
/// A buffer larger than this is given back to the allocator once it is empty.
const KEPT: usize = 64 * 1024;
/// Spare buffers of a thread.
const SPARE: usize = 32;

thread_local! {
    /// Empty buffers. A client's bytes may still stand in one beyond its length, where nothing reads them.
    static SPARES: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Gives an empty buffer's memory to whoever needs it next.
pub(super) fn spare(buffer: &mut BytesMut) {
    if buffer.capacity() == 0 {
        return;
    }
    let mut buffer = std::mem::take(buffer);
    buffer.clear();
    if (READ..=KEPT).contains(&buffer.capacity()) || buffer.try_reclaim(READ) {
        SPARES.with_borrow_mut(|spares| {
            if spares.len() < SPARE && buffer.capacity() <= KEPT {
                spares.push(buffer);
            }
        });
    }
}

/// Makes room for a read.
fn room(buffer: &mut BytesMut) {
    if buffer.capacity() == 0
        && let Some(spare) = SPARES.with_borrow_mut(Vec::pop)
    {
        *buffer = spare;
    }
    buffer.reserve(READ);
}

/// What was read from a peer and what is to be written to it.
#[derive(Default)]
pub(super) struct Buffers {
    /// Read and not yet processed.
    pub input: BytesMut,
    /// To be written.
    pub output: BytesMut,
    /// So many bytes at its beginning need not leave before what follows them.
    pub held: usize,
    unflushed: bool,
    closed: bool,
}

/// What happened in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Bytes moved.
    Moved,
    /// The client closed its sending side.
    ClientClosed,
    /// PostgreSQL closed.
    UpstreamClosed,
}

/// Which side broke.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client.
    Client,
    /// PostgreSQL.
    Upstream,
}

impl Buffers {
    pub(super) fn new(leftover: BytesMut) -> Self {
        Self {
            input: leftover,
            ..Self::default()
        }
    }

    /// Room for what is to be written.
    pub(super) fn ready_to_write(&mut self) {
        if self.output.capacity() == 0
            && let Some(spare) = SPARES.with_borrow_mut(Vec::pop)
        {
            self.output = spare;
        }
    }

    /// Whether nothing is in them.
    pub(super) fn is_empty(&self) -> bool {
        self.input.is_empty() && self.output.is_empty() && !self.unflushed
    }

    /// Appends what need not leave before what follows it, as PostgreSQL keeps ParseComplete until Sync.
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        let all_held = self.held == self.output.len();
        self.output.extend_from_slice(bytes);
        if all_held {
            self.held = self.output.len();
        }
    }

    /// Whether what is to be written may wait for what follows it.
    fn may_wait(&self) -> bool {
        self.held > 0 && self.held == self.output.len() && !self.unflushed
    }

    /// Reads once, into memory that is taken only when there is something to read. `Ready(0)` is the end.
    fn poll_read(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match stream.poll_readable(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
            Poll::Pending => {
                if self.input.is_empty() {
                    spare(&mut self.input);
                }
                return Poll::Pending;
            }
        }
        room(&mut self.input);
        // The future holds no state of its own (its documentation says cancel-safe), so a new one for each poll loses nothing.
        let read = pin!(stream.read_buf(&mut self.input)).poll(cx);
        if read.is_pending() && self.input.is_empty() {
            spare(&mut self.input);
        }
        read
    }

    /// Writes what it can. `Ready(true)`: bytes moved; `Ready(false)`: nothing to do.
    fn poll_write(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut moved = false;
        self.held = 0;
        while !self.output.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, &self.output) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    self.output.advance(n);
                    self.unflushed = true;
                    moved = true;
                }
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending if moved => return Poll::Ready(Ok(true)),
                Poll::Pending => return Poll::Pending,
            }
        }
        spare(&mut self.output);
        if self.unflushed {
            match Pin::new(&mut *stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending if moved => return Poll::Ready(Ok(true)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(moved))
    }

    /// Writes what is left, says goodbye and closes; gives up where the peer does not take it. The caller sets the deadline.
    pub(super) async fn finish(&mut self, stream: &mut Stream) -> io::Result<()> {
        poll_fn(|cx| {
            while !self.output.is_empty() || self.unflushed {
                match self.poll_write(stream, cx) {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Pin::new(&mut *stream).poll_shutdown(cx)
        })
        .await
    }
}

/// The client's connection and the one to PostgreSQL that serves it now, if any.
pub(super) struct Links {
    pub client: Buffers,
    pub client_stream: Stream,
    pub upstream: Buffers,
    pub server: Option<Lease<Memory>>,
}

impl Links {
    /// Waits until bytes moved in any direction, or a side closed. `read_client` says whether the client may be read at all.
    /// Cancel-safe.
    pub(super) async fn turn(&mut self, read_client: bool) -> Result<Turn, Broken> {
        poll_fn(|cx| self.poll_turn(cx, read_client, false)).await
    }

    /// `follows` says that PostgreSQL owes the client an answer whatever happens: what is [held](Buffers::held) leaves together with it.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>, read_client: bool, follows: bool) -> Poll<Result<Turn, Broken>> {
        let Self {
            client,
            client_stream,
            upstream,
            server,
        } = self;
        let (mut moved, mut read) = (false, false);
        // What is to be written goes first: it frees memory and lets the peers work while we read.
        if let Some(server) = server {
            match upstream.poll_write(&mut server.stream, cx) {
                Poll::Ready(Ok(m)) => {
                    moved |= m;
                    // Without an answer to come, what depends on this being written must look again.
                    read |= m && !follows;
                }
                Poll::Ready(Err(_)) => {
                    // What PostgreSQL said before it went (an administrator's command) is still to be read.
                    upstream.output.clear();
                    upstream.unflushed = false;
                }
                Poll::Pending => {}
            }
        }
        if !(follows && client.may_wait()) {
            match client.poll_write(client_stream, cx) {
                Poll::Ready(Ok(m)) => moved |= m,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Client)),
                Poll::Pending => {}
            }
        }
        let (takes_replies, takes_requests) = (
            client.output.len() < HIGH_WATER,
            read_client && !client.closed && upstream.output.len() < HIGH_WATER,
        );
        if let Some(server) = server
            && takes_replies
        {
            match upstream.poll_read(&mut server.stream, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Turn::UpstreamClosed)),
                Poll::Ready(Ok(_)) => read = true,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Upstream)),
                Poll::Pending => {}
            }
        }
        if takes_requests {
            match client.poll_read(client_stream, cx) {
                Poll::Ready(Ok(0)) => {
                    client.closed = true;
                    return Poll::Ready(Ok(Turn::ClientClosed));
                }
                Poll::Ready(Ok(_)) => read = true,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Client)),
                Poll::Pending => {}
            }
        }
        // Where both sides are watched, bytes that were only written change nothing for the caller.
        if read || moved && !(takes_replies && takes_requests) {
            Poll::Ready(Ok(Turn::Moved))
        } else {
            Poll::Pending
        }
    }
}
