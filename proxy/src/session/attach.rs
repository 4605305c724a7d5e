//! Which connection to PostgreSQL serves the client: taken when it is first needed, given back when nothing of the client is left on it.
//!
//! Promised: a connection serves one client at a time. Before the first byte of a client is sent there, it has the client's own claims
//! and settings; it goes back to the pool only at rest, outside any transaction, with every reply read, and after a cancel request that
//! was passed on only once PostgreSQL has answered again, so that it cannot hit another client's statement. A connection of which
//! anything is unclear is closed instead.

use std::time::{Duration, SystemTime};

use postern_config::settings::PoolMode;
use postern_rewriter::plan::{Effect, Plan, Refusal, Rewritten, Run};
use tokio::time::timeout;

use super::SessionEnd;
use super::engine::Session;
use super::expect::{Expect, To};
use super::server::Memory;
use super::settings::{assigned, milliseconds};
use super::stop::{Stop, hinted};
use crate::identity::Identity;
use crate::pool::Lease;
use crate::wire::cancel::Detached;
use crate::wire::message;

/// How long a connection may take to become clean for the next client.
const CLEANING: Duration = Duration::from_secs(5);

impl Session {
    /// What is remembered of the connection that serves the client.
    pub(super) fn memory(&mut self) -> &mut Memory {
        let server = self.links.server.as_mut();
        &mut server
            .expect("a message is put only while a connection serves the client")
            .memory
    }

    /// Takes a connection where none serves the client. Waits in the pool's queue if need be.
    pub(super) async fn attach(&mut self) -> Result<(), Stop> {
        match self.pool.try_take(|m| m.serves(&self.likely)) {
            Some(lease) => self.take_over(lease)?,
            None => Box::pin(self.wait_for_connection()).await?,
        }
        if !self.identities.stands(&self.likely) {
            // Somebody else's claims stand there.
            Box::pin(self.stand_there()).await?;
        }
        Ok(())
    }

    async fn wait_for_connection(&mut self) -> Result<(), Stop> {
        let likely = self.likely.clone();
        let lease = self.pool.take(|m| m.serves(&likely)).await.map_err(Stop::from)?;
        self.take_over(lease)
    }

    async fn stand_there(&mut self) -> Result<(), Stop> {
        let likely = self.likely.clone();
        let mine = match self.check_valid(&likely, SystemTime::now()) {
            Ok(()) => likely,
            Err(_) => Identity::guest(),
        };
        self.ensure_identity(&mine).await
    }

    /// The connection serves the client from now on, with its settings.
    fn take_over(&mut self, lease: Lease<Memory>) -> Result<(), Stop> {
        let cancel = lease.cancel;
        self.links.server = Some(lease);
        let claims = self.memory().claims.take();
        self.identities.arrived(claims);
        self.put_settings()?;
        if self.queue.is_empty() {
            self.cancel.attach(cancel);
            self.tell_parameters();
        } else {
            // A cancel is for the client's statements; it must not hit what they depend on.
            self.tell_later = true;
        }
        Ok(())
    }

    /// In transaction mode what would have to stay on the connection behind the transaction is refused, rather than lost.
    pub(super) async fn check_mode(&mut self, plan: &Plan) -> Result<(), Stop> {
        self.check_statement_time(plan)?;
        if plan.keeps.is_empty() || self.pool.mode() == PoolMode::Session {
            return Ok(());
        }
        self.drain_or_skip().await?;
        Ok(plan.transaction_mode(self.status == b'T')?)
    }

    /// The module's quota is the connection's `statement_timeout`, which a client may only lower.
    fn check_statement_time(&self, plan: &Plan) -> Result<(), Refusal> {
        let Some(most) = self.quota.statement_time else {
            return Ok(());
        };
        match &plan.run {
            Run::Once(statement) if plan.effect == Effect::Setting("statement_timeout") => {
                let (_, value) = assigned(statement.sql.sql());
                match value.as_deref().map(milliseconds) {
                    // To its default, which is the quota or what the client gave below it when it connected.
                    None => Ok(()),
                    Some(Some(ms)) if ms >= 1.0 && ms <= most.as_millis() as f64 => Ok(()),
                    Some(_) => Err(hinted(
                        "42501",
                        "statement-time",
                        "statement_timeout cannot be longer than the module's statements may run",
                        format!("Set it between 1 ms and {} ms.", most.as_millis()),
                    )),
                }
            }
            _ => Ok(()),
        }
    }

    /// Whether nothing of the client is on its connection, as far as one transaction goes.
    pub(super) fn at_rest(&self) -> bool {
        self.queue.is_empty()
            && !self.open
            && self.status == b'I'
            && self.passing == 0
            && !self.mute
            && self.fill.is_none()
            && self.links.upstream.is_empty()
    }

    /// Whether the connection should be given back now.
    pub(super) fn should_detach(&self) -> bool {
        self.links.server.is_some() && self.pool.mode() == PoolMode::Transaction && self.at_rest()
    }

    /// Gives the connection back, at rest.
    pub(super) async fn detach(&mut self) -> Result<(), SessionEnd> {
        let cancelled = self.cancel.detach();
        if !matches!(cancelled, Detached::Clean) || self.settings_moved || self.entry_lost {
            Box::pin(self.settle_there(cancelled)).await?;
        }
        if !self.at_rest() {
            return Err(SessionEnd::Internal);
        }
        if let Some(mut lease) = self.links.server.take() {
            lease.memory.claims = self.identities.left();
            lease.give_back();
        }
        Ok(())
    }

    async fn settle_there(&mut self, cancelled: Detached) -> Result<(), SessionEnd> {
        match cancelled {
            Detached::Clean => {}
            Detached::Cancelled => self.resynchronise().await?,
            Detached::Pending => {
                self.cancel.settled().await;
                self.resynchronise().await?;
            }
        }
        if self.settings_moved {
            self.read_settings().await?;
        }
        if self.entry_lost {
            self.find_entry().await?;
        }
        Ok(())
    }

    /// A cancel request may have reached PostgreSQL late: once it has answered this, that request can hit nothing more.
    async fn resynchronise(&mut self) -> Result<(), SessionEnd> {
        self.put_sync(To::Ourselves);
        self.settle_all().await?;
        self.answer = super::ask::Answer::default();
        // Where it hit that, no statement of the client's has failed.
        self.identities.ready(true);
        Ok(())
    }

    /// Forgets everything that the client has left on its connection, as `DISCARD ALL` does, and keeps what is ours. Outside any transaction.
    pub(super) async fn clean(&mut self) -> Result<(), Stop> {
        let owner = self.works_as_owner().then(|| &*self.manifest);
        let leave = Rewritten::leave(owner);
        message::put_query(&mut self.links.upstream.output, std::iter::once(&leave)).map_err(super::ask::too_long)?;
        self.expect(Expect::OwnQuery);
        self.identities.reset_on_server();
        self.drain().await?;
        if self.answer.error.take().is_some() || self.status != b'I' {
            return Err(SessionEnd::Internal.into());
        }
        self.settings_moved = false;
        self.entry_lost = false;
        self.identities.arrived(Memory::default().claims);
        self.constants_moved = false;
        self.memory().settings = super::follow::Kept::none();
        self.memory().prepared.read_under("".into());
        Ok(())
    }

    /// Has PostgreSQL keep anew what the claims' check goes by; with `discard`, behind `DISCARD SEQUENCES`. Outside any transaction.
    pub(super) async fn enter_again(&mut self, discard: bool) -> Result<(), Stop> {
        let server = self.links.server.as_ref().ok_or(SessionEnd::Internal)?;
        if server
            .parameters
            .iter()
            .any(|(name, value)| name == "in_hot_standby" && value == "on")
        {
            // Nothing can be kept there, and no value drawn.
            self.entry_lost = false;
            return Ok(());
        }
        let enter = Rewritten::enter(discard);
        message::put_query(&mut self.links.upstream.output, std::iter::once(&enter)).map_err(super::ask::too_long)?;
        self.expect(Expect::OwnQuery);
        self.identities.reset_on_server();
        self.drain().await?;
        if self.answer.error.take().is_some() || self.status != b'I' {
            return Err(SessionEnd::Internal.into());
        }
        self.entry_lost = false;
        Ok(())
    }

    /// The same between two statements, where one lost it or found it gone.
    pub(super) async fn find_entry(&mut self) -> Result<(), SessionEnd> {
        match self.enter_again(false).await {
            Ok(()) => Ok(()),
            Err(Stop::End(end)) => Err(end),
            Err(_) => Err(SessionEnd::Internal),
        }
    }

    /// The client is gone: the connection is given back if it can be made clean, and closed if not.
    pub(super) async fn let_go(&mut self, end: SessionEnd) {
        if self.links.server.is_none() {
            return;
        }
        let sound = !matches!(
            end,
            SessionEnd::Upstream | SessionEnd::UpstreamProtocol | SessionEnd::TooLarge | SessionEnd::Internal
        );
        if sound && matches!(timeout(CLEANING, self.hand_back()).await, Ok(Ok(()))) {
            return;
        }
        let busy = !self.queue.is_empty() || self.open;
        if let Some(mut lease) = self.links.server.take() {
            let cancel = (busy && end != SessionEnd::Upstream).then_some(lease.cancel);
            if end != SessionEnd::Upstream {
                message::put_bare(&mut self.links.upstream.output, b'X');
            }
            let _ = timeout(CLEANING, self.links.upstream.finish(&mut lease.stream)).await;
            drop(lease);
            if let Some(key) = cancel {
                // What nobody waits for need not run to its end.
                let _ = self.shared.upstream.cancel(key).await;
            }
        }
    }

    async fn hand_back(&mut self) -> Result<(), SessionEnd> {
        let quiet = self.queue.is_empty() && !self.open && self.passing == 0 && !self.mute && self.links.upstream.is_empty();
        if !quiet {
            return Err(SessionEnd::Internal);
        }
        self.links.client.output.clear();
        if self.status != b'I' {
            let rollback = Rewritten::rollback();
            message::put_query(&mut self.links.upstream.output, std::iter::once(&rollback)).map_err(|_| SessionEnd::Internal)?;
            self.expect(Expect::OwnQuery);
            self.settle_all().await?;
            self.now_ready(self.status);
        }
        if self.pool.mode() == PoolMode::Session {
            match self.clean().await {
                Ok(()) => {}
                Err(_) => return Err(SessionEnd::Internal),
            }
        }
        self.detach().await
    }
}
