//! Which catalogue a statement is judged with, and the plans that come of it.
//!
//! Promised: after this session's own DDL nothing is planned before the catalogue was read again, on this connection where the DDL is not
//! committed yet or temporary relations exist. Such a snapshot is this session's alone, and so are its plans.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use postern_config::LoginKind;
use postern_rewriter::catalog::Catalog;
use postern_rewriter::plan::{Effect, Plan, Refusal, Rewritten};
use postern_rewriter::template::{Masked, Template, mask};
use postern_rewriter::{Ask, plan_batch, plan_batch_as, plan_one};

use super::SessionEnd;
use super::again::Bound;
use super::ask::Own;
use super::engine::Session;
use super::plans::{Asker, PlanKey, Plans};
use super::stop::{Stop, refusal};
use crate::control::{CatalogRow, catalog_from_rows};
use crate::identity::Identity;
use crate::wire::message::{self, Format};

thread_local! {
    /// The literals of the text at hand. They stay in memory until the next text takes their place.
    static MASKED: RefCell<Masked> = RefCell::default();
}

/// What judging a simple query came to.
pub(super) enum Judged {
    /// Its plans, the catalogue's generation, and whether they are everybody's.
    Plans(Plans, u64, bool),
    /// One statement that goes as it is: its plan apart from the text, and the text.
    Filled(Arc<Plan>, Rewritten),
    /// One statement that the connection has prepared.
    Bound(Bound),
}

/// A session's own snapshot.
pub(super) struct OwnCatalog {
    snapshot: Arc<Catalog>,
    /// The generation of everybody's when it was made; another one makes it stale.
    base: u64,
}

impl OwnCatalog {
    /// The snapshot.
    pub(super) fn snapshot(&self) -> &Arc<Catalog> {
        &self.snapshot
    }
}

impl Session {
    /// Whether nothing has changed since that generation. `None` where that must be looked at more closely.
    pub(super) fn still(&self, generation: u64) -> bool {
        !self.catalog_dirty && self.own_catalog.is_none() && self.newest.generation() == generation
    }

    /// The snapshot to plan with.
    pub(super) async fn catalog(&mut self) -> Result<Arc<Catalog>, Stop> {
        if self.newest.generation() != self.seen.generation {
            self.seen = self.newest.snapshot();
        }
        let common = self.seen.clone();
        match &self.own_catalog {
            None if !self.catalog_dirty => return Ok(common),
            Some(own) if !self.catalog_dirty && own.base == common.generation => return Ok(own.snapshot.clone()),
            _ => {}
        }
        Box::pin(self.catalog_again(common)).await
    }

    async fn catalog_again(&mut self, common: Arc<Catalog>) -> Result<Arc<Catalog>, Stop> {
        self.drain_or_skip().await?;
        if self.status == b'E' {
            // Nothing can be read now, and nothing but the end of the transaction will be carried out.
            return Ok(self.own_catalog.as_ref().map_or(common, |own| own.snapshot.clone()));
        }
        self.read_catalog().await
    }

    /// The session has changed the catalogue: other sessions learn of it now, not when this one goes on.
    pub(super) async fn publish_catalog(&mut self) -> Result<(), SessionEnd> {
        match self.catalog().await {
            Ok(_) => {}
            Err(Stop::End(end)) => return Err(end),
            // The failure was no statement's of the client; the next statement reads it again.
            Err(_) => drop(self.identities.ready(true)),
        }
        Ok(())
    }

    async fn read_catalog(&mut self) -> Result<Arc<Catalog>, Stop> {
        let in_transaction = self.in_transaction();
        let mut common = self.newest.snapshot();
        let mut stale = false;
        if !in_transaction {
            match self.shared.catalogs.refresh(&self.shared.pool, &self.login.module).await {
                Ok(fresh) => common = fresh,
                Err(error) => {
                    tracing::warn!(%error, module = %self.login.module, "the catalogue could not be read again; the session keeps its own");
                    stale = true;
                }
            }
        }
        let manifest = self.manifest.clone();
        let rows = self
            .ask(
                Own::Catalog,
                &Rewritten::read_catalog(),
                &[Some(manifest.schema.as_str())],
                Format::Text,
            )
            .await?;
        let rows = rows
            .iter()
            .map(|row| catalog_row(row))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(unreadable)?;
        let temporary = rows.iter().any(|r| r.schema == "pg_temp");
        self.catalog_dirty = false;
        if !(in_transaction || temporary || stale) {
            self.own_catalog = None;
            return Ok(common);
        }
        let generation = self.shared.catalogs.next_generation();
        let mut snapshot = catalog_from_rows(rows, &manifest, generation);
        snapshot.uncommitted = in_transaction;
        let snapshot = Arc::new(snapshot);
        self.own_catalog = Some(OwnCatalog {
            snapshot: snapshot.clone(),
            base: common.generation,
        });
        Ok(snapshot)
    }

    /// Judges a simple query. Where only its literals are new, it was judged before.
    pub(super) async fn judge(&mut self, sql: &str, asker: Asker) -> Result<Judged, Stop> {
        let catalog = self.catalog().await?;
        if self.own_catalog.is_some() {
            return self
                .plan(sql, true, asker)
                .await
                .map(|(plans, at, shared)| Judged::Plans(plans, at, shared));
        }
        let shared = self.shared.clone();
        let generation = catalog.generation;
        self.trial = None;
        let known = MASKED.with_borrow_mut(|masked| {
            let literals = mask(sql, masked).then(|| !masked.is_empty());
            if literals == Some(true)
                && let Some(template) = shared
                    .plans
                    .template(&self.key(masked.key(), asker, true, generation), masked)
            {
                // A superadmin's are few, and each is in the trail as it was sent.
                if !asker.superadmin
                    && let Some(bound) = self.bound(&template, masked)
                {
                    return Some(Judged::Bound(bound));
                }
                if template.is_plain() {
                    return Some(Judged::Filled(template.plan().clone(), template.fill_plain(masked)?));
                }
                let plan = Arc::new(template.fill(masked)?);
                return Some(Judged::Plans([plan].into(), generation, false));
            }
            let plans = shared.plans.get(&self.key(sql.as_bytes(), asker, true, generation))?;
            if let ([plan], Some(false), false) = (&*plans, literals, asker.superadmin)
                && let Some(bound) = self.bound_as_it_is(plan)
            {
                return Some(Judged::Bound(bound));
            }
            Some(Judged::Plans(plans, generation, true))
        });
        if let Some(known) = known {
            shared.metrics.plan_cache(true);
            return Ok(known);
        }
        let (plans, generation, found) = self.plan(sql, true, asker).await?;
        if let ([plan], true) = (&*plans, self.own_catalog.is_none() && generation == catalog.generation) {
            MASKED.with_borrow_mut(|masked| self.offer_template(sql, plan, masked, asker, &catalog));
        }
        Ok(Judged::Plans(plans, generation, found))
    }

    /// Makes a template of a statement that came a second time with other literals.
    fn offer_template(&self, sql: &str, plan: &Plan, masked: &mut Masked, asker: Asker, catalog: &Catalog) {
        if !mask(sql, masked) || masked.is_empty() {
            return;
        }
        let key = self.key(masked.key(), asker, true, catalog.generation);
        if self.shared.plans.wants_template(&key)
            && let Some(template) = Template::beside(plan, sql, masked, &self.question(catalog, asker))
        {
            self.shared.plans.keep_template(&key, Arc::new(template));
        }
    }

    fn key<'a>(&'a self, text: &'a [u8], asker: Asker, batch: bool, generation: u64) -> PlanKey<'a> {
        PlanKey {
            text,
            module: self.login.module.as_str(),
            login: self.login.login.name.as_str(),
            asker,
            batch,
            generation,
        }
    }

    /// What of that identity decides how a text is judged.
    pub(super) fn asker(&self, identity: &Identity) -> Asker {
        Asker {
            superadmin: identity.is_super(),
            undeclared: self.login.login.kind != LoginKind::Runtime && !identity.is_user(),
        }
    }

    fn question<'a>(&'a self, catalog: &'a Catalog, asker: Asker) -> Ask<'a> {
        let settings = &self.shared.config.settings;
        Ask {
            catalog,
            module: &self.login.module,
            login: &self.login.login,
            superadmin: asker.superadmin,
            undeclared: asker.undeclared,
            enforce: settings.enforce,
            max_sql_bytes: settings.limits.max_sql_bytes,
        }
    }

    /// Judges a text; also answers the catalogue's generation, and whether the plans were found in the cache. What it names and the catalogue
    /// does not hold may be there by now, made by somebody else.
    pub(super) async fn plan(&mut self, sql: &str, batch: bool, asker: Asker) -> Result<(Plans, u64, bool), Stop> {
        let planned = self.plan_once(sql, batch, asker).await;
        let missed = match &planned {
            Ok((plans, ..)) => plans.iter().any(|plan| matches!(plan.effect, Effect::Skipped(_))),
            Err(Stop::Refuse(refusal)) => may_have_changed(refusal),
            Err(_) => false,
        };
        if self.own_catalog.is_some() || !missed {
            return planned;
        }
        // Somebody else may have looked meanwhile.
        if self.newest.generation() != self.seen.generation {
            return self.plan_once(sql, batch, asker).await;
        }
        let shared = self.shared.clone();
        match Box::pin(shared.catalogs.look_again(&shared.pool, &self.login.module)).await {
            Some(_) => self.plan_once(sql, batch, asker).await,
            None if self.newest.generation() != self.seen.generation => self.plan_once(sql, batch, asker).await,
            None => planned,
        }
    }

    /// Judges a batch whose statements do not all run as the same, each for whom it runs as. Such plans are this batch's alone.
    pub(super) async fn plan_as(&mut self, sql: &str, askers: &[Asker]) -> Result<(Plans, u64), Stop> {
        let catalog = self.catalog().await?;
        let standings: Vec<(bool, bool)> = askers.iter().map(|a| (a.superadmin, a.undeclared)).collect();
        let first = askers.first().copied().ok_or(SessionEnd::Internal)?;
        let plans = plan_batch_as(sql, &self.question(&catalog, first), &standings)?;
        Ok((plans.into_iter().map(Arc::new).collect(), catalog.generation))
    }

    async fn plan_once(&mut self, sql: &str, batch: bool, asker: Asker) -> Result<(Plans, u64, bool), Stop> {
        let catalog = self.catalog().await?;
        let shared = self.shared.clone();
        let key = self.key(sql.as_bytes(), asker, batch, catalog.generation);
        let cached = self.own_catalog.is_none();
        if cached && let Some(plans) = shared.plans.get(&key) {
            shared.metrics.plan_cache(true);
            return Ok((plans, catalog.generation, true));
        }
        shared.metrics.plan_cache(false);
        let started = Instant::now();
        let ask = self.question(&catalog, asker);
        let plans: Vec<Plan> = match batch {
            true => plan_batch(sql, &ask),
            false => plan_one(sql, &ask).map(|plan| plan.into_iter().collect()),
        }?;
        let plans: Plans = plans.into_iter().map(Arc::new).collect();
        shared.metrics.planned(started.elapsed());
        if cached {
            shared.plans.offer(&key, &plans);
        }
        Ok((plans, catalog.generation, false))
    }
}

/// Whether a refusal says what another reading of the catalogue could change: a relation, column, object, function or schema is missing, or
/// row-level security is off.
fn may_have_changed(refusal: &Refusal) -> bool {
    matches!(refusal.sqlstate, "42P01" | "42703" | "42704" | "42883" | "3F000") || refusal.reason == "unsecured"
}

fn catalog_row(body: &[u8]) -> Option<CatalogRow> {
    let mut fields = Vec::new();
    message::data_row(body, &mut fields).ok()?;
    let fields: [Option<&[u8]>; 8] = fields.try_into().ok()?;
    let mut texts = [None; 8];
    for (text, field) in texts.iter_mut().zip(fields) {
        *text = field.map(std::str::from_utf8).transpose().ok()?;
    }
    CatalogRow::from_fields(texts)
}

fn unreadable() -> Stop {
    refusal("XX000", "internal", "the catalogue could not be read").into()
}
