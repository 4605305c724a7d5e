//! Whom a statement runs as, and whom PostgreSQL believes it runs as.
//!
//! Promised: no statement that may touch rows is sent while PostgreSQL's settings say somebody else; a token that ended refuses the
//! next statement (28000) rather than leaving a guest; who has read rows in a transaction stays who it is until its end. A token for the
//! transaction ends with it, one adopted inside a transaction that is rolled back never was.

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

/// The identities of a session, by how they were given.
pub(super) struct Identities {
    login: Arc<Identity>,
    startup: Option<Arc<Identity>>,
    session: Option<Arc<Identity>>,
    /// What `session` becomes if the transaction commits.
    session_pending: Option<Option<Arc<Identity>>>,
    local: Option<Arc<Identity>>,
    /// In PostgreSQL's session settings; `None` where that is not known.
    server: Option<Arc<Identity>>,
    /// When those must be sent again.
    server_until: Option<SystemTime>,
    /// In PostgreSQL's settings until the transaction ends.
    server_local: ServerLocal,
    /// Under whom the open transaction has read or written rows.
    touched: Option<Arc<Identity>>,
    committed: bool,
}

enum ServerLocal {
    /// The session's settings hold.
    Unset,
    /// These hold.
    Set(Arc<Identity>),
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
            login: own,
            startup,
            session: None,
            session_pending: None,
            local: None,
            // A fresh connection has empty settings, which are the guest's.
            server: Some(Identity::guest()),
            server_until: None,
            server_local: ServerLocal::Unset,
            touched: None,
            committed: false,
        }
    }

    /// Whom a statement without a token of its own runs as.
    pub(super) fn standing(&self) -> &Arc<Identity> {
        self.local
            .as_ref()
            .or(self.session_pending.as_ref().unwrap_or(&self.session).as_ref())
            .or(self.startup.as_ref())
            .unwrap_or(&self.login)
    }

    /// Whom a statement with that token, if any, runs as.
    pub(super) fn wanted(&self, token: Option<&Arc<Identity>>) -> Arc<Identity> {
        token.unwrap_or_else(|| self.standing()).clone()
    }

    fn on_server(&self, now: SystemTime) -> Option<&Arc<Identity>> {
        match &self.server_local {
            ServerLocal::Unset if self.server_until.is_some_and(|end| now >= end) => None,
            ServerLocal::Unset => self.server.as_ref(),
            ServerLocal::Set(identity) => Some(identity),
            ServerLocal::Unknown => None,
        }
    }

    /// Whether replies under way may change who is wanted or who is set.
    fn unsettled(&self) -> bool {
        self.local.is_some() || self.session_pending.is_some() || !matches!(self.server_local, ServerLocal::Unset)
    }

    /// A statement that may touch rows was carried out.
    pub(super) fn touch(&mut self, identity: &Arc<Identity>) {
        self.touched = Some(identity.clone());
    }

    /// Whether somebody else has touched rows in the open transaction.
    pub(super) fn conflicts(&self, wanted: &Identity) -> bool {
        self.touched.as_ref().is_some_and(|t| !same_user(t, wanted))
    }

    /// A transaction was committed; ReadyForQuery follows.
    pub(super) fn committed(&mut self) {
        self.committed = true;
    }

    /// A rollback to a savepoint may have reverted settings.
    pub(super) fn reverted(&mut self) {
        // What was set for the session was set outside of any transaction, and stays.
        if !matches!(self.server_local, ServerLocal::Unset) {
            self.server_local = ServerLocal::Unknown;
        }
    }

    /// PostgreSQL's settings were reset wholly.
    pub(super) fn reset_on_server(&mut self) {
        self.server = None;
    }

    /// ReadyForQuery says that no transaction is open.
    pub(super) fn idle(&mut self) {
        let committed = std::mem::take(&mut self.committed);
        self.local = None;
        self.touched = None;
        self.server_local = ServerLocal::Unset;
        if let Some(pending) = self.session_pending.take()
            && committed
        {
            self.session = pending;
        }
    }

    /// Takes on an identity: for the transaction, for the session, or for the session if the open transaction commits.
    pub(super) fn adopt(&mut self, identity: Option<Arc<Identity>>, local: bool, in_transaction: bool) {
        match (local, in_transaction) {
            (true, _) => self.local = identity,
            (false, true) => {
                self.local = None;
                self.session_pending = Some(identity);
            }
            (false, false) => {
                self.local = None;
                self.session = identity;
            }
        }
    }
}

/// Whether two identities are the same user with the same claims (a renewed token has another end and id).
pub(super) fn same_user(a: &Identity, b: &Identity) -> bool {
    std::ptr::eq(a, b)
        || (a.is_guest() == b.is_guest() && postern_config::expr::Claim::ALL.iter().all(|c| a.claim(*c) == b.claim(*c)))
}

fn same(a: &Arc<Identity>, b: &Arc<Identity>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

impl Session {
    /// Makes PostgreSQL's settings say `wanted` for whatever is sent next.
    pub(super) async fn ensure_identity(&mut self, wanted: &Arc<Identity>) -> Result<(), Stop> {
        let now = SystemTime::now();
        self.check_valid(wanted, now)?;
        if self.identities.unsettled() && !self.queue.is_empty() {
            self.drain_or_skip().await?;
        }
        if self.role_lost {
            self.take_role().await?;
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
        let settings = wanted.settings(&self.shared.mac, &self.backend, now);
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
        self.ask(own, &Rewritten::set_claims(local), &values, Format::Text).await?;
        if local {
            self.identities.server_local = ServerLocal::Set(wanted.clone());
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

    /// Takes the owner's role again; inside a transaction only until its end, so that it is taken once more behind it.
    async fn take_role(&mut self) -> Result<(), Stop> {
        self.drain_or_skip().await?;
        if self.status != b'E' {
            self.role_lost = self.in_transaction();
            let role = Rewritten::set_role(&self.manifest);
            self.ask(super::ask::Own::Role, &role, &[], Format::Text).await?;
        }
        Ok(())
    }

    /// Whether this login runs DDL as the module's owner.
    pub(super) fn works_as_owner(&self) -> bool {
        match self.login.login.kind {
            LoginKind::Migrator => true,
            LoginKind::Service => self.login.login.ddl,
            LoginKind::Runtime => false,
        }
    }

    /// The identity's token must not have ended or been revoked.
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
        {
            // Whether it is still valid is checked before each statement.
            return Ok(identity.clone());
        }
        match self.shared.tokens.verify(token, &self.login.module, now) {
            Ok(identity) => {
                let adopted = self
                    .shared
                    .audit
                    .adopted(&identity, self.login.login.name.as_str(), self.login.module.as_str(), now)
                    .await;
                self.audited(adopted.is_ok());
                self.last_token = Some((Zeroizing::new(token.to_owned()), identity.clone()));
                Ok(identity)
            }
            Err(e) => Err(hinted("28000", e.reason(), e.to_string(), e.hint()).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_config::{Login, LoginName, ModuleName};

    use super::*;

    fn identities() -> Identities {
        let context = LoginContext {
            module: ModuleName::new("disco").unwrap(),
            login: Login {
                name: LoginName::new("disco_rt").unwrap(),
                kind: LoginKind::Runtime,
                ddl: false,
            },
        };
        Identities::new(&context, None)
    }

    fn somebody() -> Arc<Identity> {
        Identity::service(&ModuleName::new("disco").unwrap())
    }

    #[test]
    fn a_local_identity_ends_with_its_transaction() {
        let mut identities = identities();
        identities.adopt(Some(somebody()), true, true);
        assert_eq!(identities.standing().who(), "service");
        identities.committed();
        identities.idle();
        assert_eq!(identities.standing().who(), "guest");
    }

    #[test]
    fn a_session_identity_needs_the_commit_of_its_transaction() {
        for commits in [true, false] {
            let mut identities = identities();
            identities.adopt(Some(somebody()), false, true);
            assert_eq!(identities.standing().who(), "service");
            if commits {
                identities.committed();
            }
            identities.idle();
            assert_eq!(identities.standing().who(), if commits { "service" } else { "guest" });
        }
    }

    #[test]
    fn who_has_touched_rows_stays_until_the_end() {
        let mut identities = identities();
        identities.touch(&Identity::guest());
        assert!(identities.conflicts(&somebody()));
        assert!(!identities.conflicts(&Identity::guest()));
        identities.idle();
        assert!(!identities.conflicts(&somebody()));
    }
}
