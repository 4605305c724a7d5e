//! Both connections and the four buffers between them.
//!
//! Promised: nothing here waits for one peer while the other could go on, and no buffer grows because a peer is slow: while what is
//! to be written to one side stands above [`HIGH_WATER`], the other side is not read. [`Links::turn`] is cancel-safe: bytes are either
//! in a buffer or still in the socket.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::wire::Stream;

/// Above this many bytes to be written, the side that they come from is not read.
pub(super) const HIGH_WATER: usize = 256 * 1024;
/// What one read can bring.
const READ: usize = 32 * 1024;
/// An empty buffer larger than this is given back.
const KEPT: usize = 128 * 1024;

/// One connection and its buffers.
pub(super) struct Link {
    stream: Stream,
    /// Read and not yet processed.
    pub input: BytesMut,
    /// To be written.
    pub output: BytesMut,
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

impl Link {
    pub(super) fn new(stream: Stream, leftover: BytesMut) -> Self {
        Self {
            stream,
            input: leftover,
            output: BytesMut::new(),
            unflushed: false,
            closed: false,
        }
    }

    /// Reads once, into memory that is reserved only up to a read's size beyond what is there. `Ready(0)` is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.is_empty() && self.input.capacity() > KEPT {
            self.input = BytesMut::new();
        }
        self.input.reserve(READ);
        // The future holds no state of its own (its documentation says cancel-safe), so a new one for each poll loses nothing.
        pin!(self.stream.read_buf(&mut self.input)).poll(cx)
    }

    /// Writes what it can. `Ready(true)`: bytes moved; `Ready(false)`: nothing to do.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut moved = false;
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output) {
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
        if self.output.capacity() > KEPT {
            self.output = BytesMut::new();
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending if moved => return Poll::Ready(Ok(true)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(moved))
    }

    /// Writes what is left, says goodbye and closes; gives up where the peer does not take it. The caller sets the deadline.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            while !self.output.is_empty() || self.unflushed {
                match self.poll_write(cx) {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Pin::new(&mut self.stream).poll_shutdown(cx)
        })
        .await
    }
}

/// The two connections of a session.
pub(super) struct Links {
    pub client: Link,
    pub upstream: Link,
}

impl Links {
    /// Waits until bytes moved in any direction, or a side closed. `read_client` says whether the client may be read at all.
    /// Cancel-safe.
    pub(super) async fn turn(&mut self, read_client: bool) -> Result<Turn, Broken> {
        poll_fn(|cx| self.poll_turn(cx, read_client)).await
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, read_client: bool) -> Poll<Result<Turn, Broken>> {
        let Self { client, upstream } = self;
        let mut moved = false;
        // What is to be written goes first: it frees memory and lets the peers work while we read.
        match upstream.poll_write(cx) {
            Poll::Ready(Ok(m)) => moved |= m,
            Poll::Ready(Err(_)) => {
                // What PostgreSQL said before it went (an administrator's command) is still to be read.
                upstream.output.clear();
                upstream.unflushed = false;
            }
            Poll::Pending => {}
        }
        match client.poll_write(cx) {
            Poll::Ready(Ok(m)) => moved |= m,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Client)),
            Poll::Pending => {}
        }
        if client.output.len() < HIGH_WATER {
            match upstream.poll_read(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Turn::UpstreamClosed)),
                Poll::Ready(Ok(_)) => moved = true,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Upstream)),
                Poll::Pending => {}
            }
        }
        if read_client && !client.closed && upstream.output.len() < HIGH_WATER {
            match client.poll_read(cx) {
                Poll::Ready(Ok(0)) => {
                    client.closed = true;
                    return Poll::Ready(Ok(Turn::ClientClosed));
                }
                Poll::Ready(Ok(_)) => moved = true,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Client)),
                Poll::Pending => {}
            }
        }
        if moved { Poll::Ready(Ok(Turn::Moved)) } else { Poll::Pending }
    }
}
