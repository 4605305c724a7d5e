//! How a session ends: by its client, by shutdown, with last words to both sides.
//!
//! Promised: what a client asked before it closed its side is still answered; at shutdown a session that waits for its client outside a
//! transaction ends at once, another one when its transaction ends or the last call is over, and each client is told why (57P01).

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::SessionEnd;
use super::engine::Session;
use super::link::{Broken, HIGH_WATER, Turn};
use super::refuse::put_refusal;
use super::stop::refusal;

/// How long a peer may take to accept the last bytes.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long a transaction may go on after shutdown has begun; less than `serve::GRACE`, so that the client is told.
const LAST_CALL: Duration = Duration::from_secs(4);

/// Shutdown, as a session waits for it: asked for once, since a task is woken by it without asking again; after that only when the task
/// was woken and nothing had moved.
pub(super) struct Closing {
    begins: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    asked: bool,
}

impl Closing {
    pub(super) fn new(mut closing: watch::Receiver<bool>) -> Self {
        let begins = async move {
            if closing.wait_for(|closes| *closes).await.is_err() {
                // Where the sender is gone there is no shutdown to wait for.
                pending::<()>().await;
            }
        };
        Self {
            begins: Box::pin(begins),
            asked: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.asked = true;
        self.begins.as_mut().poll(cx)
    }
}

impl Session {
    /// A turn; while nothing says that the session must close, it also ends when shutdown begins.
    pub(super) async fn turn_or_closing(&mut self, reads: bool) -> Result<Turn, Broken> {
        if let Some(end) = self.closes_at {
            return timeout_at(end, self.links.turn(reads)).await.unwrap_or(Ok(Turn::Moved));
        }
        let follows = !self.open && !self.queue.is_empty();
        let Self { links, closing, .. } = self;
        let mut woken = false;
        poll_fn(|cx| {
            let turn = links.poll_turn(cx, reads, follows);
            if turn.is_pending() && (std::mem::replace(&mut woken, true) || !closing.asked) && closing.poll(cx).is_ready() {
                return Poll::Ready(Ok(Turn::Moved));
            }
            turn
        })
        .await
    }

    /// At shutdown a session ends as soon as it waits for its client outside a transaction, and at the latest in time to say so.
    pub(super) fn close_in_time(&mut self) -> Result<(), SessionEnd> {
        if !*self.shared.closing.borrow() {
            return Ok(());
        }
        let end = *self.closes_at.get_or_insert_with(|| Instant::now() + LAST_CALL);
        let at_rest = self.queue.is_empty() && !self.open && self.status == b'I';
        if at_rest || Instant::now() >= end {
            return Err(SessionEnd::Closing);
        }
        Ok(())
    }

    /// What the client asked before it closed its side is still answered, as PostgreSQL does.
    pub(super) async fn last_requests(&mut self) -> Result<(), SessionEnd> {
        loop {
            self.take_replies()?;
            let left = self.links.client.input.len();
            self.take_requests().await?;
            if self.awaits_copy() || self.copying && !self.has_room() {
                // A COPY's data may be among what it sent; they are for PostgreSQL as soon as it asks for them and has room.
                match self.links.turn(false).await {
                    Ok(Turn::Moved | Turn::ClientClosed) => continue,
                    Ok(Turn::UpstreamClosed) | Err(Broken::Upstream) => return Err(SessionEnd::Upstream),
                    Err(Broken::Client) => return Err(SessionEnd::Client),
                }
            }
            if self.copying {
                self.fail_copy("unexpected EOF on client connection");
            }
            if self.drain().await.is_err() {
                return Err(SessionEnd::Upstream);
            }
            // A client that reads no more lets nothing more be answered.
            while self.links.client.output.len() >= HIGH_WATER {
                match self.links.turn(false).await {
                    Ok(Turn::Moved | Turn::ClientClosed) => {}
                    _ => return Err(SessionEnd::Client),
                }
            }
            if self.links.client.input.len() == left {
                return Err(SessionEnd::Client);
            }
        }
    }

    /// The last words to both sides.
    pub(super) async fn bury(mut self: Box<Self>, end: SessionEnd) -> SessionEnd {
        self.audit_broken_off();
        self.record_events().await;
        // Within a row that passes in pieces they would be taken for its rest.
        if let (Some((sqlstate, message)), false) = (end.last_words(), self.said_last || self.passing > 0) {
            put_refusal(&mut self.links.client.output, "FATAL", &refusal(sqlstate, "end", message));
        }
        // The peer may be gone; then there is nothing to say to it.
        let _ = timeout(GOODBYE, self.links.client.finish(&mut self.links.client_stream)).await;
        self.client_gone = true;
        self.links.client = super::link::Buffers::default();
        self.let_go(end).await;
        end
    }
}
