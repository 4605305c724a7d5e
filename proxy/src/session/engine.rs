//! One client's task: it takes frames from both sides, and waits only where there is nothing to do.
//!
//! Promised: one owner of all state; while a request of the client is being handled no further one is; the client is not read while the
//! reply queue or PostgreSQL's buffer is full. Every handler that waits does so in [`Session::drain`], which keeps both sides moving.

use std::sync::Arc;

use bytes::Buf;
use postern_config::Manifest;
use postern_config::settings::{PoolMode, Quota};
use postern_keys::NonceSource;
use postern_rewriter::catalog::Catalog;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::again::Trial;
use super::ask::Answer;
use super::catalog::OwnCatalog;
use super::ending::Closing;
use super::expect::{Expect, Queue, To};
use super::fill::Fill;
use super::follow::Kept;
use super::identity::Identities;
use super::link::{Broken, Buffers, HIGH_WATER, Links, Turn, spare};
use super::names::Names;
use super::rows::Scratch;
use super::savepoints::Savepoints;
use super::server::Memory;
use super::settings::Settings;
use super::simple::Asked;
use super::statement::{Cursor, Portal, Stmt};
use super::stop::Stop;
use super::{LoginContext, SessionEnd};
use crate::control::Newest;
use crate::identity::Identity;
use crate::observe::Event;
use crate::pool::Pool;
use crate::shared::Shared;
use crate::wire::message;
use crate::wire::{Client, cancel, frame};

/// Expectations at most; above it the client is not read.
const MAX_QUEUE: usize = 4096;
/// In transaction mode no further group of messages is begun above so many: who comes to wait for the connection waits for these.
const MAX_AHEAD: usize = 64;
/// A session's state.
pub(super) struct Session {
    pub shared: Arc<Shared>,
    pub login: LoginContext,
    pub manifest: Arc<Manifest>,
    /// Where connections come from.
    pub pool: Arc<Pool<Memory>>,
    pub links: Links,
    pub queue: Queue,
    /// Bytes of what is due from us in it.
    pub due: usize,
    /// PostgreSQL's last ReadyForQuery.
    pub status: u8,
    /// Something was sent since the last Sync.
    pub open: bool,
    /// Something was executed since then.
    pub executed: bool,
    /// An error was told; everything up to the client's Sync is discarded.
    pub discarding: bool,
    /// A row failed; until ReadyForQuery nothing more is told.
    pub mute: bool,
    /// Bytes of a row that are still to be relayed.
    pub passing: usize,
    /// The client was told why the session ends.
    pub said_last: bool,
    /// What the client asked in its last Query.
    pub asked: Asked,
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
    /// Whom the next statement probably runs as.
    pub likely: Arc<Identity>,
    pub settings: Settings,
    /// The settings that the client changed, to be made on whichever connection serves it.
    pub kept: Arc<Kept>,
    /// A statement may have changed them.
    pub settings_moved: bool,
    /// The same of those that decide what a text's constants are.
    pub constants_moved: bool,
    /// What the claims' check goes by is gone from the connection: a statement failed for it, or reset the setting that says that it is there.
    pub entry_lost: bool,
    /// The `application_name` of the startup packet.
    pub start_name: Option<Box<str>>,
    /// What the client was told of reported settings.
    pub told: Arc<[(String, String)]>,
    /// It is to be told of others once the connection's settings are the client's.
    pub tell_later: bool,
    /// PostgreSQL waits for the data of a COPY.
    pub copying: bool,
    /// All of the data of the COPY that the reply queue begins with has been sent.
    pub copy_fed: bool,
    /// Such statements that may be under way; 0 where none is.
    pub copies_in: u32,
    /// A COPY whose rows we write.
    pub fill: Option<Box<Fill>>,
    /// What the module may take.
    pub quota: Quota,
    /// What the statement under way has taken.
    pub result_bytes: u64,
    /// Nobody is there any more to be told anything.
    pub client_gone: bool,
    /// Where the module's newest catalogue snapshot is, and the one that was seen last.
    pub newest: Arc<Newest>,
    pub seen: Arc<Catalog>,
    /// The session's own catalogue snapshot, where it differs from everybody's.
    pub own_catalog: Option<OwnCatalog>,
    pub catalog_dirty: bool,
    pub ddl_in_transaction: bool,
    pub savepoints: Savepoints,
    pub zone: Zone,
    pub answer: Answer,
    pub counted: Counted,
    pub kept_types: Vec<u32>,
    /// Counts groups of messages, each ended by a Sync or a Query.
    pub group: u64,
    pub nonces: NonceSource,
    pub scratch: Scratch,
    /// Events of replies, recorded once there is time to wait for the audit trail.
    pub events: Vec<Event>,
    /// What is to be tried out behind the next Query.
    pub trial: Option<Box<Trial>>,
    /// Flush went behind everything that was sent.
    pub flushed: bool,
    pub closing: Closing,
    /// Shutdown has begun; by then the session ends whatever it is at.
    pub closes_at: Option<Instant>,
    /// By which the client may cancel.
    pub cancel: cancel::Registration,
}

/// Whether `TimeZone` and `DateStyle` are what PostgreSQL reported last; it reports them at the end of a group of statements.
#[derive(Clone, Copy, Default)]
pub(super) struct Zone {
    /// A statement under way may change them.
    pub unsure: bool,
    /// The open transaction has changed them.
    pub moved: bool,
}

impl Zone {
    pub(super) const MOVED: Self = Self {
        unsure: true,
        moved: true,
    };
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
        pool: Arc<Pool<Memory>>,
        told: Arc<[(String, String)]>,
        login: LoginContext,
        shared: Arc<Shared>,
        startup: Option<Arc<Identity>>,
    ) -> Result<Box<Self>, SessionEnd> {
        let quota = shared.config.quota(&login.module);
        let closing = shared.closing.clone();
        let newest = shared.catalogs.newest(&login.module);
        let manifest = shared.config.module(&login.module).ok_or(SessionEnd::Internal)?.clone();
        let settings = Settings::new(&client.startup, &told);
        let start_name: Option<Box<str>> = client.startup.setting("application_name").map(Into::into);
        let identities = Identities::new(&login, startup);
        Ok(Box::new(Self {
            likely: identities.standing().clone(),
            identities,
            links: Links {
                client: Buffers::new(client.leftover),
                client_stream: client.stream,
                upstream: Buffers::default(),
                server: None,
            },
            cancel: client.cancel,
            pool,
            kept: Kept::at_start(start_name.as_deref()),
            settings_moved: false,
            constants_moved: false,
            entry_lost: false,
            start_name,
            told,
            tell_later: false,
            client_gone: false,
            copying: false,
            copy_fed: false,
            copies_in: 0,
            fill: None,
            quota,
            result_bytes: 0,
            shared,
            login,
            manifest,
            queue: Queue::new(),
            due: 0,
            status: b'I',
            open: false,
            executed: false,
            discarding: false,
            mute: false,
            passing: 0,
            said_last: false,
            asked: Asked::default(),
            checks: false,
            writes: false,
            statements: Names::new(|s| s.weight()),
            portals: Names::new(|p| p.weight()),
            cursors: Names::new(|c| c.weight()),
            acting: None,
            last_token: None,
            settings,
            seen: newest.snapshot(),
            newest,
            own_catalog: None,
            catalog_dirty: false,
            ddl_in_transaction: false,
            savepoints: Savepoints::default(),
            zone: Zone::default(),
            answer: Answer::default(),
            counted: Counted::default(),
            kept_types: Vec::new(),
            group: 0,
            nonces: NonceSource::new(),
            scratch: Scratch::default(),
            events: Vec::new(),
            trial: None,
            flushed: false,
            closing: Closing::new(closing),
            closes_at: None,
        }))
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
        if self.discarding && self.fill.is_some() {
            Box::pin(self.end_failed_fill()).await?;
        }
        self.take_requests().await?;
        if !self.events.is_empty() {
            Box::pin(self.record_events()).await;
        }
        if self.catalog_dirty && !self.discarding && self.links.server.is_some() && self.at_rest() {
            Box::pin(self.publish_catalog()).await?;
        }
        if self.should_detach() {
            self.detach().await?;
        }
        // What comes while it is unknown whether it is a COPY's data waits unread.
        let reads = self.has_room() && !(self.links.client.input.len() >= HIGH_WATER && self.awaits_copy());
        if !reads && self.open && !std::mem::replace(&mut self.flushed, true) {
            // PostgreSQL may hold back the very replies that would make room.
            message::put_bare(&mut self.links.upstream.output, b'H');
        }
        self.close_in_time()?;
        match self.turn_or_closing(reads).await {
            Ok(Turn::Moved) => Ok(()),
            Ok(Turn::ClientClosed) => Box::pin(self.last_requests()).await,
            Ok(Turn::UpstreamClosed) => {
                self.take_replies()?;
                Err(SessionEnd::Upstream)
            }
            Err(Broken::Client) => Err(SessionEnd::Client),
            Err(Broken::Upstream) => Err(SessionEnd::Upstream),
        }
    }

    /// Whether a further request can be taken: nobody's answers or orders pile up.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < MAX_QUEUE
            && self.due < HIGH_WATER
            && self.links.upstream.output.len() < HIGH_WATER
            && self.links.client.output.len() < HIGH_WATER
            && !self.awaits_copy()
            && !self.gives_way()
    }

    /// Whether a group of messages has ended and what the client sends next is to wait: others wait for the connection, behind
    /// whom it takes its turn, or so much is under way that they would have to. While PostgreSQL waits for a COPY's data, only more of it, or the
    /// client's end, lets anybody else go on.
    fn gives_way(&self) -> bool {
        !self.open
            && !self.copying
            && !self.queue.is_empty()
            && self.pool.mode() == PoolMode::Transaction
            && (self.queue.len() >= MAX_AHEAD || self.pool.awaited())
    }

    /// Handles the client's frames that are there and that there is room for.
    pub(super) async fn take_requests(&mut self) -> Result<(), SessionEnd> {
        let limit = self.shared.config.settings.limits.max_frame_bytes;
        if self.links.client.input.is_empty() {
            return Ok(());
        }
        self.links.upstream.ready_to_write();
        let mut input = std::mem::take(&mut self.links.client.input);
        let mut at = 0;
        let outcome = loop {
            if !self.has_room() {
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
        if input.is_empty() {
            spare(&mut input);
        }
        self.links.client.input = input;
        outcome
    }

    /// Handles one frame of the client.
    async fn request(&mut self, kind: u8, whole: &[u8]) -> Result<(), SessionEnd> {
        let body = &whole[frame::HEADER..];
        self.acting = None;
        if self.fill.is_some() && kind != b'X' {
            return Box::pin(self.feed_fill(kind, body)).await;
        }
        if self.copying && kind != b'X' {
            self.feed_copy(kind, whole);
            return Ok(());
        }
        if self.links.server.is_none() && !self.discarding && matches!(kind, b'P' | b'B' | b'D' | b'E' | b'Q') {
            if let Err(stop) = self.attach().await {
                Box::pin(self.stopped(stop)).await?;
                return if kind == b'Q' { self.finish_group().await } else { Ok(()) };
            }
        } else if self.should_detach() && self.pool.awaited() {
            // Others wait for a connection; this client takes its turn behind them.
            self.detach().await?;
            return Box::pin(self.request(kind, whole)).await;
        }
        if self.constants_moved
            && !self.discarding
            && matches!(kind, b'P' | b'B' | b'Q')
            && self.links.server.is_some()
            && self.at_rest()
        {
            // Known again, what was prepared under the same settings serves again.
            Box::pin(self.know_constants()).await?;
        }
        if self.entry_lost && !self.discarding && kind != b'X' && self.links.server.is_some() && self.at_rest() {
            Box::pin(self.find_entry()).await?;
        }
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
            b'F' => return Box::pin(self.on_function_call()).await,
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
            Err(stop) => Box::pin(self.stopped(stop)).await,
        }
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
        Box::pin(self.drain_now()).await
    }

    async fn drain_now(&mut self) -> Result<(), Stop> {
        if self.open {
            message::put_bare(&mut self.links.upstream.output, b'H');
        }
        loop {
            self.take_replies()?;
            if self.queue.is_empty() {
                return Ok(());
            }
            if self.copying {
                // The client is not read here, so its data would be waited for in vain.
                self.fail_copy("COPY from stdin cannot be fed here");
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

    /// A COMMIT must not overtake a check that fails: waits for rows that are still to be checked.
    pub(super) async fn check_before_commit(&mut self) -> Result<(), Stop> {
        let unchecked = |e: &Expect| matches!(e, Expect::Execute(execute) if execute.reading.is_some());
        if self.queue.iter().any(unchecked) {
            self.drain_or_skip().await?;
        }
        Ok(())
    }

    /// Whether what is sent next is part of a transaction that is open already. Exact only when drained.
    pub(super) fn in_transaction(&self) -> bool {
        self.open || self.status != b'I'
    }

    /// Whether PostgreSQL's errors may be told whole: the module declares no table, so nothing is hidden from it.
    pub(super) fn told_whole(&self) -> bool {
        let catalog = self.own_catalog.as_ref().map_or(&self.seen, |own| own.snapshot());
        !catalog.declares()
    }

    pub(super) fn schema(&self) -> &str {
        self.manifest.schema.as_str()
    }
}
