//! Which catalogue a statement is judged with, and the plans that come of it.
//!
//! Promised: after this session's own DDL nothing is planned before the catalogue was read again, on this connection where the DDL is not
//! committed yet or temporary relations exist. Such a snapshot is this session's alone, and so are its plans.

use std::sync::Arc;
use std::time::Instant;

use postern_rewriter::catalog::Catalog;
use postern_rewriter::plan::{Effect, Plan, Rewritten};
use postern_rewriter::{Ask, plan_batch, plan_one};

use super::ask::Own;
use super::engine::Session;
use super::plans::{PlanKey, Plans};
use super::stop::{Stop, refusal};
use crate::control::{CatalogRow, catalog_from_rows};
use crate::wire::message::{self, Format};

/// A session's own snapshot.
pub(super) struct OwnCatalog {
    snapshot: Arc<Catalog>,
    /// The generation of everybody's when it was made; another one makes it stale.
    base: u64,
}

impl Session {
    /// The snapshot to plan with.
    pub(super) async fn catalog(&mut self) -> Result<Arc<Catalog>, Stop> {
        let common = self.shared.catalogs.of(&self.login.module);
        match &self.own_catalog {
            None if !self.catalog_dirty => return Ok(common),
            Some(own) if !self.catalog_dirty && own.base == common.generation => return Ok(own.snapshot.clone()),
            _ => {}
        }
        self.drain_or_skip().await?;
        if self.status == b'E' {
            // Nothing can be read now, and nothing but the end of the transaction will be carried out.
            return Ok(self.own_catalog.as_ref().map_or(common, |own| own.snapshot.clone()));
        }
        self.read_catalog().await
    }

    async fn read_catalog(&mut self) -> Result<Arc<Catalog>, Stop> {
        let in_transaction = self.in_transaction();
        let mut common = self.shared.catalogs.of(&self.login.module);
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
        let snapshot = Arc::new(catalog_from_rows(rows, &manifest, generation));
        self.own_catalog = Some(OwnCatalog {
            snapshot: snapshot.clone(),
            base: common.generation,
        });
        Ok(snapshot)
    }

    /// Judges a text; also answers the catalogue's generation.
    pub(super) async fn plan(&mut self, sql: &str, batch: bool, superadmin: bool) -> Result<(Plans, u64), Stop> {
        let catalog = self.catalog().await?;
        let shared = self.shared.clone();
        let key = PlanKey {
            sql,
            module: self.login.module.as_str(),
            login: self.login.login.name.as_str(),
            superadmin,
            batch,
            generation: catalog.generation,
        };
        let cached = self.own_catalog.is_none();
        if cached && let Some(plans) = shared.plans.get(&key) {
            shared.metrics.plan_cache(true);
            return Ok((plans, catalog.generation));
        }
        shared.metrics.plan_cache(false);
        let started = Instant::now();
        let settings = &shared.config.settings;
        let ask = Ask {
            catalog: &catalog,
            module: &self.login.module,
            login: &self.login.login,
            superadmin,
            enforce: settings.enforce,
            max_sql_bytes: settings.limits.max_sql_bytes,
        };
        let plans: Vec<Plan> = match batch {
            true => plan_batch(sql, &ask),
            false => plan_one(sql, &ask).map(|plan| plan.into_iter().collect()),
        }?;
        plans.iter().try_for_each(available)?;
        let plans: Plans = plans.into_iter().map(Arc::new).collect();
        shared.metrics.planned(started.elapsed());
        if cached {
            shared.plans.offer(&key, &plans);
        }
        Ok((plans, catalog.generation))
    }
}

/// What the judge knows and a session does not carry out yet.
fn available(plan: &Plan) -> Result<(), Stop> {
    let what = match plan.effect {
        Effect::CopyIn | Effect::CopyOut => "COPY",
        Effect::Listen(_) => "LISTEN",
        _ => return Ok(()),
    };
    Err(refusal("0A000", "statement-kind", format!("{what} is not available through Postern")).into())
}

fn catalog_row(body: &[u8]) -> Option<CatalogRow> {
    let mut fields = Vec::new();
    message::data_row(body, &mut fields).ok()?;
    let fields: [Option<&[u8]>; 5] = fields.try_into().ok()?;
    let mut texts = [None; 5];
    for (text, field) in texts.iter_mut().zip(fields) {
        *text = field.map(std::str::from_utf8).transpose().ok()?;
    }
    CatalogRow::from_fields(texts)
}

fn unreadable() -> Stop {
    refusal("XX000", "internal", "the catalogue could not be read").into()
}
