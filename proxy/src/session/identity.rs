//! Whom a statement runs as, and whom PostgreSQL believes it runs as.
//!
//! Promised: no statement that may touch rows is sent while PostgreSQL's settings say somebody else; a token that ended refuses the
//! next statement (28000) rather than leaving a guest; who has read rows in a transaction stays who it is until its end. A token for the
//! transaction ends with it; one adopted in what is rolled back never was, be it a transaction, what came after a savepoint, or a group
//! of statements that fails. Forgetting all settings forgets the token.

use std::sync::Arc;
use std::time::SystemTime;

use postern_config::LoginKind;
use postern_rewriter::plan::Rewritten;
use zeroize::Zeroizing;

use super::LoginContext;
use super::engine::Session;
use super::stop::{Stop, aborted, hinted, identity_change};
use crate::identity::Identity;
use crate::wire::message::Format;

/// The identities of a session, and what of them PostgreSQL knows.
pub(super) struct Identities {
    given: Given,
    /// In the session settings of the connection that serves the client; `None` where that is not known.
    server: Option<Arc<Identity>>,
    /// When those must be sent again.
    server_until: Option<SystemTime>,
    /// In PostgreSQL's settings until the transaction ends.
    server_local: ServerLocal,
    /// Under whom the open transaction has read or written rows.
    touched: Option<Arc<Identity>>,
    /// Something failed since the last ReadyForQuery.
    failed: bool,
    /// A rollback went to a savepoint of which nothing is known: nobody is anybody until the transaction ends.
    lost: bool,
}

/// The identities of a session, by how they were given.
#[derive(Clone)]
pub(super) struct Given {
    login: Arc<Identity>,
    startup: Option<Arc<Identity>>,
    session: Option<Arc<Identity>>,
    /// What holds until the open transaction, or the group of statements up to Sync, ends.
    open: Taken,
}

impl Given {
    /// Whom a statement without a token of its own runs as.
    pub(super) fn standing(&self) -> &Arc<Identity> {
        self.open
            .local
            .as_ref()
            .or(self.open.session.as_ref().unwrap_or(&self.session).as_ref())
            .or(self.startup.as_ref())
            .unwrap_or(&self.login)
    }

    /// COMMIT or ROLLBACK ended a transaction.
    pub(super) fn ended(&mut self, committed: bool) {
        if let Some(session) = std::mem::take(&mut self.open).session
            && committed
        {
            self.session = session;
        }
    }

    /// Takes on an identity: for the transaction, or for the session if what is open commits.
    pub(super) fn adopt(&mut self, identity: Option<Arc<Identity>>, local: bool) {
        if local {
            self.open.local = identity;
        } else {
            self.open = Taken {
                session: Some(identity),
                local: None,
            };
        }
    }
}

/// Tokens taken on in what is open. A rollback to a savepoint brings back what it was.
#[derive(Clone, Default)]
pub(super) struct Taken {
    /// What `session` becomes if it commits.
    session: Option<Option<Arc<Identity>>>,
    /// Until the transaction ends.
    local: Option<Arc<Identity>>,
}

enum ServerLocal {
    /// The session's settings hold.
    Unset,
    /// These hold, and must be sent again at that time.
    Set(Arc<Identity>, Option<SystemTime>),
    /// A rollback may have reverted them.
    Unknown,
}

impl Identities {
    pub(super) fn new(login: &LoginContext, startup: Option<Arc<Identity>>) -> Self {
        let own = match login.login.kind {
            LoginKind::Service => Identity::service(&login.module),
            LoginKind::Runtime | LoginKind::Migrator => Identity::guest(),
        };
        Self {
            given: Given {
                login: own,
                startup,
                session: None,
                open: Taken::default(),
            },
            server: None,
            server_until: None,
            server_local: ServerLocal::Unset,
            touched: None,
            failed: false,
            lost: false,
        }
    }

    /// A connection begins to serve, with whose claims stand there and until when.
    pub(super) fn arrived(&mut self, claims: Option<(Arc<Identity>, Option<SystemTime>)>) {
        let (server, until) = claims.unzip();
        self.server = server;
        self.server_until = until.flatten();
        self.server_local = ServerLocal::Unset;
    }

    /// It ceases to, outside any transaction.
    pub(super) fn left(&mut self) -> Option<(Arc<Identity>, Option<SystemTime>)> {
        let until = self.server_until.take();
        Some((self.server.take()?, until))
    }

    /// Whether the claims on the connection are this user's.
    pub(super) fn stands(&self, identity: &Arc<Identity>) -> bool {
        self.server.as_ref().is_some_and(|on| same(on, identity))
    }

    /// Whom a statement without a token of its own runs as.
    pub(super) fn standing(&self) -> &Arc<Identity> {
        self.given.standing()
    }

    /// The identities as they are given now, to see ahead what becomes of them.
    pub(super) fn given(&self) -> Given {
        self.given.clone()
    }

    /// Whom a statement with that token, if any, runs as.
    fn wanted(&self, token: Option<&Arc<Identity>>) -> Arc<Identity> {
        token.unwrap_or_else(|| self.standing()).clone()
    }

    fn on_server(&self, now: SystemTime) -> Option<&Arc<Identity>> {
        match &self.server_local {
            ServerLocal::Unset if self.server_until.is_some_and(|end| now >= end) => None,
            ServerLocal::Unset => self.server.as_ref(),
            ServerLocal::Set(_, Some(end)) if now >= *end => None,
            ServerLocal::Set(identity, _) => Some(identity),
            ServerLocal::Unknown => None,
        }
    }

    /// Whether replies under way may change who is wanted or who is set.
    fn unsettled(&self) -> bool {
        let unset = matches!(self.server_local, ServerLocal::Unset);
        let open = &self.given.open;
        open.local.is_some() || open.session.is_some() || self.server.is_none() || !unset
    }

    /// A statement that may touch rows was carried out.
    pub(super) fn touch(&mut self, identity: &Arc<Identity>) {
        self.touched = Some(identity.clone());
    }

    /// Whether somebody else has touched rows in the open transaction.
    pub(super) fn conflicts(&self, wanted: &Identity) -> bool {
        self.lost || self.touched.as_ref().is_some_and(|t| !same_user(t, wanted))
    }

    /// COMMIT or ROLLBACK ended a transaction.
    pub(super) fn ended(&mut self, committed: bool) {
        self.given.ended(committed);
        self.touched = None;
        self.lost = false;
        self.server_local = ServerLocal::Unset;
    }

    /// Something failed.
    pub(super) fn failed(&mut self) {
        self.failed = true;
    }

    /// What was taken on so far, for a savepoint.
    pub(super) fn taken(&self) -> Taken {
        self.given.open.clone()
    }

    /// A rollback to a savepoint: what was taken on then (`None` where that is not known) is what is taken on now.
    pub(super) fn reverted(&mut self, then: Option<Taken>) {
        self.lost |= then.is_none();
        self.given.open = then.unwrap_or_default();
        // What was set for the session was set outside of any transaction, and stays.
        if !matches!(self.server_local, ServerLocal::Unset) {
            self.server_local = ServerLocal::Unknown;
        }
    }

    /// PostgreSQL's settings were reset wholly.
    pub(super) fn reset_on_server(&mut self) {
        self.server = None;
        if !matches!(self.server_local, ServerLocal::Unset) {
            self.server_local = ServerLocal::Unknown;
        }
    }

    /// ReadyForQuery for the client; `idle` where no transaction is open. Answers whether what came before it failed.
    pub(super) fn ready(&mut self, idle: bool) -> bool {
        let failed = std::mem::take(&mut self.failed);
        if idle {
            self.ended(!failed);
        }
        failed
    }

    /// Takes on an identity: for the transaction, or for the session if what is open commits.
    pub(super) fn adopt(&mut self, identity: Option<Arc<Identity>>, local: bool) {
        self.given.adopt(identity, local);
    }
}

/// Whether two identities are the same user with the same claims (a renewed token has another end and id).
pub(super) fn same_user(a: &Identity, b: &Identity) -> bool {
    std::ptr::eq(a, b) || (a.is_guest() == b.is_guest() && a.claims() == b.claims())
}

fn same(a: &Arc<Identity>, b: &Arc<Identity>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

impl Session {
    /// Whom a statement that is handled now runs as: what may change that, and is under way, is awaited.
    pub(super) async fn wanted(&mut self, token: Option<&Arc<Identity>>) -> Result<Arc<Identity>, Stop> {
        if token.is_none() && self.identities.unsettled() && !self.queue.is_empty() {
            self.drain_or_skip().await?;
        }
        let wanted = self.identities.wanted(token);
        if !Arc::ptr_eq(&wanted, &self.likely) {
            self.likely = wanted.clone();
        }
        Ok(wanted)
    }

    /// Makes PostgreSQL's settings say `wanted` for whatever is sent next.
    pub(super) async fn ensure_identity(&mut self, wanted: &Arc<Identity>) -> Result<(), Stop> {
        let now = SystemTime::now();
        self.check_valid(wanted, now)?;
        self.check_trail(wanted)?;
        let settled = !self.identities.unsettled() || self.queue.is_empty();
        if settled && self.identities.on_server(now).is_some_and(|on| same(on, wanted)) && !self.identities.conflicts(wanted) {
            return Ok(());
        }
        Box::pin(self.change_identity(wanted, now)).await
    }

    async fn change_identity(&mut self, wanted: &Arc<Identity>, now: SystemTime) -> Result<(), Stop> {
        if self.identities.unsettled() && !self.queue.is_empty() {
            self.drain_or_skip().await?;
        }
        if self.identities.on_server(now).is_some_and(|on| same(on, wanted)) && !self.identities.conflicts(wanted) {
            return Ok(());
        }
        self.drain_or_skip().await?;
        if self.status == b'E' {
            // PostgreSQL takes nothing but the end of the transaction now.
            return Err(aborted().into());
        }
        if self.identities.conflicts(wanted) {
            return Err(identity_change().into());
        }
        if self.identities.on_server(now).is_some_and(|on| same(on, wanted)) {
            return Ok(());
        }
        let local = self.in_transaction();
        let backend = &self.links.server.as_ref().ok_or(super::SessionEnd::Internal)?.backend;
        let settings = wanted.settings(
            &self.shared.told,
            &self.login.module,
            Some(&self.shared.keys),
            &self.shared.mac,
            backend,
            now,
        );
        let values: Vec<Option<&str>> = settings.iter().map(|s| Some(s.as_str())).collect();
        let own = if local {
            super::ask::Own::LocalClaims
        } else {
            super::ask::Own::SessionClaims
        };
        if !local {
            // Until it is acknowledged, nobody knows.
            self.identities.server = None;
        }
        self.ask(
            own,
            &Rewritten::set_claims(self.shared.told.settings(), local),
            &values,
            Format::Text,
        )
        .await?;
        if local {
            self.identities.server_local = ServerLocal::Set(wanted.clone(), wanted.resend_at(now));
        } else {
            self.identities.server = Some(wanted.clone());
            self.identities.server_until = wanted.resend_at(now);
        }
        Ok(())
    }

    /// Ahead of BEGIN the identity can still be set for the session, and is then no statement of each transaction. A token that is not
    /// valid any more does not keep a transaction from beginning, only from doing anything.
    pub(super) async fn ensure_ahead_of_begin(&mut self, wanted: &Arc<Identity>) -> Result<(), Stop> {
        let failed = self.status == b'E' && self.queue.is_empty();
        if self.open || failed || self.check_valid(wanted, SystemTime::now()).is_err() {
            return Ok(());
        }
        self.ensure_identity(wanted).await
    }

    /// Whether this login runs DDL as the module's owner.
    pub(super) fn works_as_owner(&self) -> bool {
        match self.login.login.kind {
            LoginKind::Migrator => true,
            LoginKind::Service => self.login.login.ddl,
            LoginKind::Runtime => false,
        }
    }

    /// The identity's token must not have ended, lost its key or been revoked.
    pub(super) fn check_valid(&self, identity: &Identity, now: SystemTime) -> Result<(), Stop> {
        if identity.jti().is_none() {
            return Ok(());
        }
        self.shared.tokens.still_valid(identity, now).map_err(|e| {
            let refusal = hinted("28000", e.reason(), e.to_string(), e.hint());
            refusal.into()
        })
    }

    /// Verifies a token for this session's module.
    pub(super) async fn verify_token(&mut self, token: &str) -> Result<Arc<Identity>, Stop> {
        let now = SystemTime::now();
        if let Some((known, identity)) = &self.last_token
            && **known == *token
            && !identity.key_withdrawn()
        {
            // Whether it is still valid is checked before each statement; a key that was withdrawn may be back.
            return Ok(identity.clone());
        }
        match self
            .shared
            .tokens
            .verify(token, &self.login.module, &self.login.login.name, now)
        {
            Ok(identity) => {
                let adopted = self
                    .shared
                    .audit
                    .adopted(&identity, self.login.login.name.as_str(), self.login.module.as_str(), now)
                    .await;
                self.audited(adopted.is_ok());
                self.check_trail(&identity)?;
                self.last_token = Some((Zeroizing::new(token.to_owned()), identity.clone()));
                Ok(identity)
            }
            Err(e) => Err(hinted("28000", e.reason(), e.to_string(), e.hint()).into()),
        }
    }
}

#[cfg(test)]
mod tests;
