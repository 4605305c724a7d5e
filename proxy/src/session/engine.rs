//! One client's task: it takes frames from both sides, and waits only where there is nothing to do.
//!
//! Promised: one owner of all state; while a request of the client is being handled no further one is; the client is not read while the
//! reply queue or PostgreSQL's buffer is full. Every handler that waits does so in [`Session::drain`], which keeps both sides moving.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use postern_config::Manifest;
use postern_keys::NonceSource;
use postern_rewriter::plan::Refusal;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::ask::{Answer, Own};
use super::catalog::OwnCatalog;
use super::expect::{Expect, Queue, To};
use super::identity::Identities;
use super::link::{Broken, HIGH_WATER, Link, Links, Turn};
use super::names::Names;
use super::rows::Scratch;
use super::settings::Settings;
use super::statement::{Cursor, Portal, Stmt};
use super::stop::{Stop, hinted, refusal};
use super::{LoginContext, SessionEnd};
use crate::identity::{Backend, Identity};
use crate::observe::Event;
use crate::shared::Shared;
use crate::wire::message;
use crate::wire::upstream::Upstream;
use crate::wire::{Client, cancel, frame};

/// Expectations at most; above it the client is not read.
const MAX_QUEUE: usize = 4096;
/// How long a peer may take to accept the last bytes.
const GOODBYE: Duration = Duration::from_secs(5);

/// A session's state.
pub(super) struct Session {
    pub shared: Arc<Shared>,
    pub login: LoginContext,
    pub manifest: Arc<Manifest>,
    pub backend: Backend,
    pub links: Links,
    pub queue: Queue,
    /// PostgreSQL's last ReadyForQuery.
    pub status: u8,
    /// Something was sent since the last Sync.
    pub open: bool,
    /// An error was told; everything up to the client's Sync is discarded.
    pub discarding: bool,
    /// A row failed; until ReadyForQuery nothing more is told.
    pub mute: bool,
    /// Bytes of a row that are still to be relayed.
    pub passing: usize,
    /// The client was told why the session ends.
    pub said_last: bool,
    /// Since the last Sync: rows are opened, and something is written. Then Sync waits until every row has been checked.
    pub checks: bool,
    pub writes: bool,
    pub statements: Names<Arc<Stmt>>,
    pub portals: Names<Arc<Portal>>,
    pub cursors: Names<Arc<Cursor>>,
    pub identities: Identities,
    /// The user of the request's own token comment, for the trail.
    pub acting: Option<Arc<Identity>>,
    /// The last token that was verified, since a client sends the same one again and again.
    pub last_token: Option<(Zeroizing<String>, Arc<Identity>)>,
    pub settings: Settings,
    /// The session's own catalogue snapshot, where it differs from everybody's.
    pub own_catalog: Option<OwnCatalog>,
    pub catalog_dirty: bool,
    pub ddl_in_transaction: bool,
    /// `DISCARD ALL` has taken the owner's role away.
    pub role_lost: bool,
    pub parsed: [bool; Own::COUNT],
    pub answer: Answer,
    pub counted: Counted,
    pub kept_types: Vec<u32>,
    pub next_number: u64,
    pub nonces: NonceSource,
    pub scratch: Scratch,
    /// Events of replies, recorded once there is time to wait for the audit trail.
    pub events: Vec<Event>,
    /// Held for as long as the client may cancel.
    _cancel: cancel::Registration,
}

/// Tags of statements that are told as one.
#[derive(Default)]
pub(super) struct Counted {
    /// Rows written.
    pub rows: u64,
    /// A statement that should have written a row wrote none.
    pub missed: bool,
}

impl Counted {
    /// Adds a CommandComplete's tag.
    pub(super) fn add(&mut self, tag: &str) {
        match tag.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()) {
            Some(0) | None => self.missed = true,
            Some(rows) => self.rows += rows,
        }
    }
}

impl Session {
    /// Takes over both connections. `Err` where the login's module is not configured.
    pub(super) fn new(
        client: Client,
        upstream: Upstream,
        login: LoginContext,
        shared: Arc<Shared>,
        startup: Option<Arc<Identity>>,
    ) -> Result<Self, SessionEnd> {
        let manifest = Arc::new(shared.config.module(&login.module).ok_or(SessionEnd::Internal)?.clone());
        let settings = Settings::new(&client.startup, &upstream.parameters);
        Ok(Self {
            identities: Identities::new(&login, startup),
            links: Links {
                client: Link::new(client.stream, client.leftover),
                upstream: Link::new(upstream.stream, upstream.leftover),
            },
            _cancel: client.cancel,
            backend: upstream.backend,
            shared,
            login,
            manifest,
            queue: Queue::new(),
            status: b'I',
            open: false,
            discarding: false,
            mute: false,
            passing: 0,
            said_last: false,
            checks: false,
            writes: false,
            statements: Names::new(),
            portals: Names::new(),
            cursors: Names::new(),
            acting: None,
            last_token: None,
            settings,
            own_catalog: None,
            catalog_dirty: false,
            ddl_in_transaction: false,
            role_lost: false,
            parsed: [false; Own::COUNT],
            answer: Answer::default(),
            counted: Counted::default(),
            kept_types: Vec::new(),
            next_number: 0,
            nonces: NonceSource::new(),
            scratch: Scratch::default(),
            events: Vec::new(),
        })
    }

    /// Lives until one side ends it.
    pub(super) async fn live(&mut self) -> SessionEnd {
        loop {
            if let Err(end) = self.step().await {
                return end;
            }
        }
    }

    async fn step(&mut self) -> Result<(), SessionEnd> {
        self.take_replies()?;
        self.take_requests().await?;
        self.record_events().await;
        match self.links.turn(self.queue.len() < MAX_QUEUE).await {
            Ok(Turn::Moved) => Ok(()),
            Ok(Turn::ClientClosed) => {
                // What it asked before it closed is still answered, as PostgreSQL does.
                self.take_replies()?;
                self.take_requests().await?;
                if self.drain().await.is_ok() {
                    Err(SessionEnd::Client)
                } else {
                    Err(SessionEnd::Upstream)
                }
            }
            Ok(Turn::UpstreamClosed) => {
                self.take_replies()?;
                Err(SessionEnd::Upstream)
            }
            Err(Broken::Client) => Err(SessionEnd::Client),
            Err(Broken::Upstream) => Err(SessionEnd::Upstream),
        }
    }

    /// Handles the client's frames that are there and that there is room for.
    async fn take_requests(&mut self) -> Result<(), SessionEnd> {
        let limit = self.shared.config.settings.limits.max_frame_bytes;
        let mut input = std::mem::take(&mut self.links.client.input);
        let mut at = 0;
        let outcome = loop {
            if self.queue.len() >= MAX_QUEUE || self.links.upstream.output.len() >= HIGH_WATER {
                break Ok(());
            }
            match frame::first(&input[at..], limit) {
                Err(_) => break Err(SessionEnd::ClientProtocol),
                Ok(None) => break Ok(()),
                Ok(Some((head, _))) => {
                    let whole = at..at + head.total;
                    at = whole.end;
                    if let Err(end) = self.request(head.kind, &input[whole]).await {
                        break Err(end);
                    }
                }
            }
        };
        input.advance(at);
        self.links.client.input = input;
        outcome
    }

    /// Handles one frame of the client.
    async fn request(&mut self, kind: u8, whole: &[u8]) -> Result<(), SessionEnd> {
        let body = &whole[frame::HEADER..];
        self.acting = None;
        match kind {
            b'X' => return Err(SessionEnd::Client),
            b'S' => return self.on_sync().await,
            // Outside of COPY, PostgreSQL takes no notice of these either.
            b'd' | b'c' | b'f' => return Ok(()),
            b'P' | b'B' | b'D' | b'E' | b'C' | b'H' | b'Q' | b'F' if self.discarding => return Ok(()),
            _ => {}
        }
        let handled = match kind {
            b'Q' => return self.on_query(body).await,
            b'F' => return self.on_function_call().await,
            b'P' => self.on_parse(body).await,
            b'B' => self.on_bind(whole).await,
            b'D' => self.on_describe(whole).await,
            b'E' => self.on_execute(whole).await,
            b'C' => self.on_close(whole).await,
            b'H' => {
                if self.open {
                    message::put_bare(&mut self.links.upstream.output, b'H');
                }
                Ok(())
            }
            _ => return Err(SessionEnd::ClientProtocol),
        };
        match handled {
            Ok(()) => Ok(()),
            Err(stop) => self.stopped(stop).await,
        }
    }

    /// What becomes of a request that did not go to its end: the client's pipeline fails here, and PostgreSQL's with it.
    pub(super) async fn stopped(&mut self, stop: Stop) -> Result<(), SessionEnd> {
        match stop {
            Stop::End(end) => Err(end),
            Stop::Skip => {
                self.discarding = true;
                Ok(())
            }
            Stop::Told(told) => {
                self.shared.metrics.refusal("database");
                told.put(&mut self.links.client.output, b'E')
                    .map_err(|_| SessionEnd::Internal)?;
                self.discarding = true;
                Ok(())
            }
            Stop::Refuse(refusal) => self.refuse(&refusal).await,
        }
    }

    /// Refuses: tells the client when it is its turn, and makes a transaction that is open fail as PostgreSQL would.
    async fn refuse(&mut self, refusal: &Refusal) -> Result<(), SessionEnd> {
        // First all that was asked before: an error in it would have made PostgreSQL skip this.
        self.settle_all().await?;
        if self.discarding {
            return Ok(());
        }
        self.audit_refusal(refusal).await;
        self.put_refusal(refusal);
        if self.open || self.status == b'T' {
            self.abort().map_err(|_| SessionEnd::Internal)?;
        }
        self.discarding = true;
        Ok(())
    }

    /// FunctionCall could call anything; it is answered as a refused query is.
    async fn on_function_call(&mut self) -> Result<(), SessionEnd> {
        let refused = hinted(
            "42501",
            "function-call",
            "the fast-path function call is not available through Postern",
            "Use SELECT.",
        );
        self.refuse(&refused).await?;
        self.finish_group().await
    }

    async fn on_sync(&mut self) -> Result<(), SessionEnd> {
        self.finish_group().await
    }

    /// Ends what was sent since the last Sync, with exactly one ReadyForQuery for the client.
    pub(super) async fn finish_group(&mut self) -> Result<(), SessionEnd> {
        if std::mem::take(&mut self.checks) & std::mem::take(&mut self.writes) && self.open {
            // What was written may be committed only once the rows it returned have been checked.
            self.settle_all().await?;
        }
        self.discarding = false;
        if self.open {
            self.put_sync(To::Client);
        } else {
            self.expect(Expect::Ready);
        }
        Ok(())
    }

    /// Waits until every reply that is due has come. Both sides keep moving; the client is not read.
    pub(super) async fn drain(&mut self) -> Result<(), Stop> {
        if self.queue.is_empty() {
            return Ok(());
        }
        if self.open {
            message::put_bare(&mut self.links.upstream.output, b'H');
        }
        loop {
            self.take_replies()?;
            if self.queue.is_empty() {
                return Ok(());
            }
            match self.links.turn(false).await {
                Ok(Turn::Moved | Turn::ClientClosed) => {}
                Ok(Turn::UpstreamClosed) => {
                    self.take_replies()?;
                    return Err(SessionEnd::Upstream.into());
                }
                Err(Broken::Client) => return Err(SessionEnd::Client.into()),
                Err(Broken::Upstream) => return Err(SessionEnd::Upstream.into()),
            }
        }
    }

    /// [Drains](Self::drain) where nothing but the session's end can come of it.
    pub(super) async fn settle_all(&mut self) -> Result<(), SessionEnd> {
        match self.drain().await {
            Ok(()) => Ok(()),
            Err(Stop::End(end)) => Err(end),
            Err(_) => Err(SessionEnd::Internal),
        }
    }

    /// Drains, and skips the request that waits for it where something before it failed.
    pub(super) async fn drain_or_skip(&mut self) -> Result<(), Stop> {
        self.drain().await?;
        if self.discarding { Err(Stop::Skip) } else { Ok(()) }
    }

    /// Whether what is sent next is part of a transaction that is open already. Exact only when drained.
    pub(super) fn in_transaction(&self) -> bool {
        self.open || self.status != b'I'
    }

    pub(super) fn schema(&self) -> &str {
        self.manifest.schema.as_str()
    }

    /// The last words to both sides.
    pub(super) async fn bury(mut self, end: SessionEnd) -> SessionEnd {
        self.record_events().await;
        if let (Some((sqlstate, message)), false) = (end.last_words(), self.said_last) {
            put_refusal(&mut self.links.client.output, "FATAL", &refusal(sqlstate, "end", message));
        }
        if end != SessionEnd::Upstream {
            message::put_bare(&mut self.links.upstream.output, b'X');
        }
        // Either peer may be gone; then there is nothing to say to it.
        let _ = timeout(GOODBYE, self.links.client.finish()).await;
        let _ = timeout(GOODBYE, self.links.upstream.finish()).await;
        end
    }
}

pub(super) fn put_refusal(out: &mut BytesMut, severity: &str, refusal: &Refusal) {
    let position = refusal.position.map(|p| p.to_string());
    let fields = [
        (b'S', Some(severity)),
        (b'V', Some(severity)),
        (b'C', Some(refusal.sqlstate)),
        (b'M', Some(refusal.message.as_str())),
        (b'H', refusal.hint.as_deref()),
        (b'P', position.as_deref()),
    ];
    // A message or hint that names what the client wrote is as short as what it wrote.
    let given = fields.into_iter().filter_map(|(code, text)| Some((code, text?)));
    message::put_fields(out, b'E', given).expect("a refusal fits a message");
}
