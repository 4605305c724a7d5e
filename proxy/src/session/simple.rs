//! The simple protocol.
//!
//! Promised: a batch is judged as a whole before any of it runs; it is one implicit transaction; the client gets exactly one
//! ReadyForQuery. Where nothing must be bound or read, the judged texts go on as one Query; otherwise each statement runs by the
//! extended protocol before one Sync, and its replies are told in the simple protocol's form. A statement that comes again is one that
//! the connection has prepared ([`super::again`]).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use postern_rewriter::plan::{Effect, Plan, Rewritten, Run, Transaction};

use super::SessionEnd;
use super::again::Bound;
use super::ask::too_long;
use super::catalog::Judged;
use super::effects::token_text;
use super::engine::Session;
use super::expect::{Batch, Expect, To};
use super::plans::{Asker, Plans};
use super::statement::{Given, Offered, Origin, Stmt, Way, misread};
use super::stop::{Stop, hinted, refusal};
use crate::identity::Identity;
use crate::wire::message::{self, Formats, MessageError};

impl Session {
    /// Query from the client.
    pub(super) async fn on_query(&mut self, body: &[u8]) -> Result<(), SessionEnd> {
        if self.open {
            // An error in what came before, without a Sync, would make PostgreSQL skip this.
            self.settle_all().await?;
            if self.discarding {
                return Ok(());
            }
        }
        if self.statements.get("").is_some() {
            // As in PostgreSQL, a Query takes the unnamed statement away, whatever comes of it.
            self.settle_all().await?;
            self.statements.set("".into(), None);
        }
        match self.simple(body).await {
            // The Query's own ReadyForQuery follows.
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(stop) => Box::pin(self.stopped(stop)).await?,
        }
        self.finish_group().await
    }

    /// Answers whether it went as one Query.
    async fn simple(&mut self, body: &[u8]) -> Result<bool, Stop> {
        let sql = message::query(body).map_err(misread)?;
        self.asked.is(sql);
        let (token, text) = self.token_of(sql).await?;
        let wanted = self.wanted(token.as_ref()).await?;
        let asker = self.asker(&wanted);
        let judged = self.judge(text, asker).await.map_err(|stop| stop.behind(sql, text))?;
        let (plans, generation, shared) = match judged {
            Judged::Plans(plans, generation, shared) => (plans, generation, shared),
            Judged::Filled(plan, sql) => {
                self.check_mode(&plan).await?;
                self.send_whole(Sent::Filled(plan, sql), &wanted).await?;
                return Ok(true);
            }
            Judged::Bound(bound) => {
                self.check_mode(&bound.plan).await?;
                self.send_whole(Sent::Bound(bound), &wanted).await?;
                return Ok(true);
            }
        };
        // A token ahead of the batch is that of all of it.
        let differing = match token.is_none() && may_differ(&plans) {
            true => Box::pin(self.askers(&plans, asker)).await?,
            false => None,
        };
        let (plans, askers, generation, shared) = match differing {
            Some(askers) => {
                let planned = Box::pin(self.plan_as(text, &askers)).await;
                let (plans, generation) = planned.map_err(|stop| stop.behind(sql, text))?;
                (plans, Some(askers), generation, false)
            }
            None => (plans, None, generation, shared),
        };
        for plan in plans.iter() {
            self.check_mode(plan).await?;
        }
        if plans.is_empty() {
            self.say_bare(b'I', None);
            return Ok(false);
        }
        if let [plan] = &plans[..]
            && let Effect::ExecuteComputed(how) = &plan.effect
        {
            return Box::pin(self.execute_computed(plan, how, token.as_ref()))
                .await
                .map(|()| true);
        }
        if plans.iter().any(|p| matches!(p.effect, Effect::ExecuteComputed(_))) {
            return Err(super::computed::by_itself().into());
        }
        if plans.iter().all(|p| is_plain(p)) && !changes_who_before_rows(&plans) {
            self.send_whole(Sent::Plans(plans), &wanted).await?;
            return Ok(true);
        }
        let source: Option<Arc<str>> = (plans.len() == 1).then(|| text.into());
        let part = |plan: &Arc<Plan>, asker: Asker| {
            Stmt::by_batch(Origin {
                source: source.clone(),
                types: Vec::new(),
                plan: Some(plan.clone()),
                generation,
                asker,
                token: token.clone(),
                shared,
            })
        };
        if let [plan] = &plans[..]
            && matches!(plan.effect, Effect::CopyRows(_))
        {
            if !(self.status == b'E' && self.queue.is_empty()) {
                self.ensure_identity(&wanted).await?;
            }
            Box::pin(self.begin_fill(&Arc::new(part(plan, asker)), wanted, true)).await?;
            return Ok(true);
        }
        if plans.iter().any(|p| Self::is_copy_in(&p.effect)) {
            // What follows it would reach PostgreSQL among the COPY's data.
            return Err(hinted(
                "0A000",
                "copy-in-batch",
                "COPY FROM STDIN cannot be sent with these statements in one query",
                "Send it as a query of its own.",
            )
            .into());
        }
        for (at, plan) in plans.iter().enumerate() {
            let asker = askers.as_ref().and_then(|a| a.get(at).copied()).unwrap_or(asker);
            let stmt = part(plan, asker);
            if stmt.params() > 0 {
                return Err(refusal("42P02", "parameter", "there is no parameter $1").into());
            }
            Box::pin(self.run_one(Arc::new(stmt))).await?;
            if self.discarding {
                break;
            }
        }
        Ok(false)
    }

    /// For whom each statement of a batch is to be judged, where that is not the same for all: a token that one of them takes on, forgets or
    /// brings back is that of those behind it. What ends the batch at that statement is left for when it is its turn.
    async fn askers(&mut self, plans: &Plans, asker: Asker) -> Result<Option<Vec<Asker>>, Stop> {
        let Some((_, ahead)) = plans.split_last() else {
            return Ok(None);
        };
        self.drain_or_skip().await?;
        let mut given = self.identities.given();
        let mut askers = vec![asker];
        for plan in ahead {
            match &plan.effect {
                Effect::Token { token, local, .. } => {
                    let verified = match token_text(token, &Given::nothing()) {
                        Ok(text) => self.verify_token(&text).await,
                        Err(stop) => Err(stop),
                    };
                    match verified {
                        Ok(identity) => given.adopt(Some(identity), *local),
                        Err(Stop::End(end)) => return Err(end.into()),
                        Err(_) => {
                            askers.resize(plans.len(), asker);
                            break;
                        }
                    }
                }
                Effect::ForgetToken | Effect::Setting("all") | Effect::DiscardAll => given.adopt(None, false),
                Effect::Transaction(Transaction::Commit) => given.ended(self.status != b'E'),
                Effect::Transaction(Transaction::Rollback) => given.ended(false),
                // What a savepoint brings back is seen when it has: `run_one` looks again.
                _ => {}
            }
            askers.push(self.asker(given.standing()));
        }
        Ok(askers.iter().any(|a| *a != asker).then_some(askers))
    }

    /// Sends plain statements as one Query.
    pub(super) async fn send_whole(&mut self, sent: Sent, wanted: &Arc<Identity>) -> Result<(), Stop> {
        let plans = sent.plans();
        let rows = plans.iter().any(|p| concerns_rows(p));
        let begins = plans.iter().any(|p| p.effect == Effect::Transaction(Transaction::Begin));
        // In a failed transaction PostgreSQL itself says that it has failed.
        let failed = self.status == b'E' && self.queue.is_empty();
        if rows && !failed {
            self.ensure_identity(wanted).await?;
        } else if begins {
            self.ensure_ahead_of_begin(wanted).await?;
        }
        if plans.iter().any(|p| p.effect == Effect::Transaction(Transaction::Commit)) {
            self.check_before_commit().await?;
        }
        sent.put(&mut self.links.upstream.output).map_err(too_long)?;
        for plan in plans.iter() {
            self.foresee(&plan.effect);
            self.sends_copy(&plan.effect);
        }
        let identity = rows.then(|| wanted.clone());
        self.expect(Expect::Query(Box::new(Batch {
            sent,
            at: 0,
            identity,
            started: Instant::now(),
            asked: self.asked.number,
        })));
        match self.trial.take() {
            Some(trial) => self.try_out(&trial),
            None => Ok(()),
        }
    }

    /// Runs one statement of a batch by the extended protocol.
    async fn run_one(&mut self, stmt: Arc<Stmt>) -> Result<(), Stop> {
        let executes = matches!(stmt.effect(), Effect::Execute(..));
        if stmt.way == Way::Ours && !executes {
            return self.run_ours(&stmt, &Given::nothing(), true).await;
        }
        if stmt.needs_identity() && stmt.token.is_none() {
            let wanted = self.wanted(None).await?;
            if self.asker(&wanted) != stmt.asker {
                return Err(hinted(
                    "0A000",
                    "identity-in-batch",
                    "whom this statement runs as was not known before those ahead of it in the query had run",
                    "Send it as a query of its own.",
                )
                .into());
            }
        }
        if stmt.needs_identity() && !self.open && !(self.status == b'E' && self.queue.is_empty()) {
            let wanted = self.wanted(stmt.token.as_ref()).await?;
            self.ensure_identity(&wanted).await?;
        }
        if !executes {
            self.prepare("", stmt.clone(), To::Quiet).await?;
        }
        let portal = self.bind("", stmt, Offered::nothing(), Formats::default(), To::Quiet).await?;
        self.describe_portal("", &portal, To::Quiet).await?;
        self.execute("", &portal, 0, true).await
    }
}

/// The client's last Query, for as long as an error in it may have to be placed.
#[derive(Default)]
pub(super) struct Asked {
    /// Counts them.
    pub(super) number: u64,
    /// Empty where it was long.
    pub(super) text: String,
}

impl Asked {
    /// Longer texts are not kept.
    const LONGEST: usize = 16 << 10;
    /// What an idle client holds for the next one.
    const KEPT: usize = 1 << 10;

    fn is(&mut self, sql: &str) {
        self.number += 1;
        self.text.clear();
        if self.text.capacity() > Self::KEPT {
            self.text = String::new();
        }
        if sql.len() <= Self::LONGEST {
            self.text.push_str(sql);
        }
    }
}

/// What is sent as one Query.
pub(super) enum Sent {
    /// Whole plans.
    Plans(Plans),
    /// One statement from a template: its plan apart from the text, and the text.
    Filled(Arc<Plan>, Rewritten),
    /// One statement that the connection has prepared, with its literals as parameters.
    Bound(Bound),
}

impl Sent {
    /// Appends what PostgreSQL gets.
    pub(super) fn put(&self, out: &mut BytesMut) -> Result<(), MessageError> {
        match self {
            Self::Filled(_, sql) => message::put_query(out, std::iter::once(sql)),
            Self::Bound(bound) => message::put_run(out, bound.name().as_str(), &bound.arguments),
            Self::Plans(plans) => {
                let statements = plans.iter().filter_map(|p| match &p.run {
                    Run::Once(statement) => Some(&statement.sql),
                    Run::PerRow(_) | Run::Answer(_) => None,
                });
                message::put_query(out, statements)
            }
        }
    }

    /// What PostgreSQL got as text.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Filled(_, sql) => Some(Cow::Borrowed(sql.sql())),
            Self::Bound(_) => None,
            Self::Plans(plans) => {
                let texts: Option<Vec<&str>> = plans
                    .iter()
                    .map(|p| match &p.run {
                        Run::Once(statement) => Some(statement.sql.sql()),
                        Run::PerRow(_) | Run::Answer(_) => None,
                    })
                    .collect();
                Some(Cow::Owned(texts?.join("; ")))
            }
        }
    }

    /// One plan for each statement.
    pub(super) fn plans(&self) -> &[Arc<Plan>] {
        match self {
            Self::Plans(plans) => plans,
            Self::Filled(plan, _) => std::slice::from_ref(plan),
            Self::Bound(bound) => std::slice::from_ref(&bound.plan),
        }
    }
}

/// Whether a statement can go on in a Query: nothing to bind, nothing to read, nothing to remember but its completion.
fn is_plain(plan: &Plan) -> bool {
    let Run::Once(statement) = &plan.run else { return false };
    statement.params.is_empty()
        && statement.generate.is_empty()
        && statement.output.is_none()
        && match &plan.effect {
            Effect::None
            | Effect::Ddl
            | Effect::Transaction(_)
            | Effect::Setting(_)
            | Effect::CloseCursor(_)
            | Effect::CopyIn
            | Effect::CopyOut
            | Effect::Listen(_)
            | Effect::Unlisten(_)
            | Effect::Notify => true,
            Effect::Token { .. }
            | Effect::ForgetToken
            | Effect::Prepare(_)
            | Effect::Execute(..)
            | Effect::ExecuteComputed(_)
            | Effect::Deallocate(_)
            | Effect::Declare(_)
            | Effect::Fetch(_)
            | Effect::CopyRows(_)
            | Effect::CopyOpened(_)
            | Effect::Skipped(_)
            | Effect::DiscardAll
            | Effect::DiscardSequences => false,
        }
}

/// Whether a statement changes whom PostgreSQL takes the client for, and one behind it touches rows.
fn changes_who_before_rows(plans: &Plans) -> bool {
    let changes = |plan: &Plan| {
        matches!(
            plan.effect,
            Effect::Transaction(Transaction::Commit | Transaction::Rollback | Transaction::RollbackTo)
                | Effect::Setting("all")
                | Effect::DiscardAll
        )
    };
    let first = plans.iter().position(|p| changes(p));
    first.is_some_and(|at| plans[at..].iter().any(|p| concerns_rows(p)))
}

/// Whether not all of a batch need run as the same.
fn may_differ(plans: &Plans) -> bool {
    plans
        .split_last()
        .is_some_and(|(_, ahead)| ahead.iter().any(|p| changes_asker(&p.effect)))
}

/// Whether a statement may change whom those behind it run as.
fn changes_asker(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Token { .. }
            | Effect::ForgetToken
            | Effect::Setting("all")
            | Effect::DiscardAll
            | Effect::Transaction(Transaction::Commit | Transaction::Rollback)
    )
}

fn concerns_rows(plan: &Plan) -> bool {
    matches!(
        plan.effect,
        Effect::None | Effect::Ddl | Effect::CopyIn | Effect::CopyOut | Effect::CopyOpened(_) | Effect::CopyRows(_)
    )
}
