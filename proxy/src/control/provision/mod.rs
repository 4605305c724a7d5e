//! The second lock, built from the configuration: tablespaces, roles, schemas, tables in their stored form, grants, native row security,
//! and the catalogue views.
//!
//! It is a list of titled SQL steps, each with a question whether it is needed; a run asks, and executes what is. A second run therefore
//! executes nothing, a run after drift or after a manifest's change executes what differs, and a dry run prints exactly what a run would
//! execute. All steps but tablespaces run in one transaction: it is all there or not at all. No password and no key is in a printed step,
//! and a password reaches the server only as a SCRAM verifier.

mod builtins;
mod changes;
mod claims;
mod imports;
mod partitions;
mod passwords;
mod policies;
mod roles;
mod step;
mod tables;
mod views;

use std::fmt;

use postern_config::Config;
use postern_keys::RootKeyStore;
use sha2::{Digest, Sha256};
use tokio_postgres::{Client, GenericClient, Transaction};

pub(super) use imports::owner as import_owner;
pub(super) use roles::tablespace;
pub use step::ProvisionStep;

use self::passwords::Passwords;
use self::step::Need;
use super::error::told;
use super::{ControlError, Pool, keys};

/// Owns the functions through which policies look into other tables.
pub(super) const POLICY_ROLE: &str = "postern_policy";
/// Owns `postern.verified()` and its key.
pub(super) const CLAIMS_ROLE: &str = "postern_claims";
/// Owns the catalogue views.
pub(super) const CATALOGUE_ROLE: &str = "postern_catalogue";

/// What a run did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Titles of the steps that ran.
    pub done: Vec<String>,
    /// Titles of the steps that the control role may not do, with the server's reason. The lock holds without them, less deep.
    pub left_out: Vec<(String, String)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.done.len() {
            0 => f.write_str("nothing to do: the database is as the manifests say")?,
            1 => f.write_str("1 step done")?,
            n => write!(f, "{n} steps done")?,
        }
        for (title, reason) in &self.left_out {
            write!(f, "\nleft out: {title} ({reason})")?;
        }
        Ok(())
    }
}

/// Every step for this configuration, in order, whether needed or not.
pub fn sql(config: &Config) -> Vec<ProvisionStep> {
    let mut steps = claims::schema_steps();
    steps.extend(roles::steps(config));
    for manifest in &config.modules {
        steps.extend(tables::steps(config, manifest));
    }
    steps.extend(claims::steps(config));
    steps.extend(policies::rights(config));
    steps.extend(lookups(config));
    steps.extend(imports::unused(config));
    steps.extend(policies::steps(config));
    steps.extend(partitions::steps(config));
    steps.extend(imports::foreign_keys(config));
    steps.extend(views::steps(config));
    steps.push(builtins::step());
    steps.extend(changes::steps(config));
    steps
}

/// Policy functions and the views of imports, each behind what it calls or reads: an import's view calls functions of the module that it comes
/// from, and they may read views of what that one imports. Loading has seen to it that this ends.
fn lookups(config: &Config) -> Vec<ProvisionStep> {
    let functions = policies::functions_by_depth(config);
    let views = imports::views_by_depth(config);
    let deepest = functions.iter().chain(&views).map(|(depth, _)| *depth).max().unwrap_or(0);
    let mut steps = Vec::new();
    for depth in 0..=deepest {
        // A view calls functions of a depth less than its own; a function reads views of its own.
        for at in [&views, &functions] {
            steps.extend(
                at.iter()
                    .filter(|(d, _)| *d == depth)
                    .flat_map(|(_, steps)| steps.iter().cloned()),
            );
        }
    }
    steps
}

/// The steps that a run would execute now (`--dry-run`). Needs neither the root key nor rights to change anything.
pub async fn pending(pool: &Pool, config: &Config) -> Result<Vec<ProvisionStep>, ControlError> {
    let passwords = Passwords::read(config)?;
    let client = pool.get().await?;
    let client: &Client = &client;
    require_version(client).await?;
    let mut pending = Vec::new();
    for step in sql(config) {
        let needed = match &step.need {
            Need::Keys => lacks_keys(client, config).await,
            Need::ClaimsKey => ask(client, &step, "SELECT NOT EXISTS (SELECT FROM postern.claims_key)").await,
            _ => needed(client, &step, &passwords).await,
        };
        // What a question asks about may itself be still to come.
        let needed = match needed {
            Err(error) if error.sqlstate().is_some_and(|s| matches!(s, "42P01" | "3F000" | "42704")) => true,
            other => other?,
        };
        if needed {
            pending.push(step);
        }
    }
    Ok(pending)
}

/// Builds or mends the second lock and makes missing keys. Not cancel-safe in one way only: a tablespace that was made stays.
pub async fn apply(pool: &Pool, config: &Config, root: &dyn RootKeyStore) -> Result<Report, ControlError> {
    let passwords = Passwords::read(config)?;
    let steps = sql(config);
    let mut report = Report::default();
    let mut client = pool.get().await?;
    require_version(&**client).await?;
    for step in steps.iter().filter(|s| s.alone) {
        if needed(&**client, step, &passwords).await? {
            client
                .batch_execute(&step.sql)
                .await
                .map_err(|e| ControlError::step(&step.title, &e))?;
            report.done.push(step.title.clone());
        }
    }
    let begun = ControlError::query("beginning the provisioning transaction");
    let mut transaction = (**client).transaction().await.map_err(begun)?;
    // Two runs at once would each find everything missing.
    transaction
        .batch_execute("SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('postern provision', 0))")
        .await
        .map_err(ControlError::query("waiting for another provisioning run"))?;
    let mut catalogue = None;
    for step in steps.iter().filter(|s| !s.alone) {
        let ran = match &step.need {
            Need::Keys => {
                let (made, changed) = keys::ensure(&transaction, config, root).await?;
                catalogue = Some(made);
                changed
            }
            Need::ClaimsKey => {
                let catalogue = catalogue.as_ref().expect("column keys are made before the claims key");
                keys::ensure_claims_key(&transaction, catalogue, root).await?
            }
            _ => needed(&transaction, step, &passwords).await? && run(&mut transaction, step, &passwords, &mut report).await?,
        };
        if ran {
            report.done.push(step.title.clone());
        }
    }
    record(&transaction, &steps).await?;
    transaction
        .commit()
        .await
        .map_err(ControlError::query("committing the provisioning transaction"))?;
    Ok(report)
}

/// Executes one step; `false` where it was left out.
async fn run(
    transaction: &mut Transaction<'_>,
    step: &ProvisionStep,
    passwords: &Passwords,
    report: &mut Report,
) -> Result<bool, ControlError> {
    let failed = |e: tokio_postgres::Error| ControlError::step(&step.title, &e);
    if !step.optional {
        let sql = match &step.need {
            Need::Password(login) => passwords.alter_role(login, &step.sql),
            _ => step.sql.clone(),
        };
        transaction.batch_execute(&sql).await.map_err(failed)?;
        return Ok(true);
    }
    let savepoint = transaction.savepoint("optional_step").await.map_err(failed)?;
    match savepoint.batch_execute(&step.sql).await {
        Ok(()) => {
            savepoint.commit().await.map_err(failed)?;
            Ok(true)
        }
        Err(error) if error.code().is_some_and(|c| c.code() == "42501") => {
            savepoint.rollback().await.map_err(failed)?;
            report.left_out.push((step.title.clone(), told(&error).1));
            Ok(false)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Whether a step must run.
async fn needed(client: &impl GenericClient, step: &ProvisionStep, passwords: &Passwords) -> Result<bool, ControlError> {
    match &step.need {
        Need::Asked(question) => ask(client, step, question).await,
        Need::Recorded(state) => {
            let question = format!(
                "SELECT NOT EXISTS (SELECT FROM postern.provisioned WHERE title = $1 AND wanted = $2 AND found = {})",
                found(state)
            );
            let row = client
                .query_one(&question, &[&step.title, &wanted(step)])
                .await
                .map_err(|e| ControlError::step(&step.title, &e))?;
            Ok(row.get(0))
        }
        Need::Password(login) => {
            let question = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
            if !ask(client, step, question).await? {
                return Ok(true);
            }
            let stored = client
                .query_opt(
                    "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = $1",
                    &[&login.as_str()],
                )
                .await
                .map_err(|e| ControlError::step(&step.title, &e))?;
            let stored: Option<String> = stored.and_then(|row| row.get(0));
            Ok(!stored.is_some_and(|verifier| passwords.fits(login, &verifier)))
        }
        // Asked of the keys themselves, by whoever has the root key.
        Need::Keys | Need::ClaimsKey => Ok(true),
    }
}

async fn ask(client: &impl GenericClient, step: &ProvisionStep, question: &str) -> Result<bool, ControlError> {
    let row = client
        .query_one(question, &[])
        .await
        .map_err(|e| ControlError::step(&step.title, &e))?;
    Ok(row.get::<_, Option<bool>>(0).unwrap_or(true))
}

/// Whether a protected column is missing from the stored catalogue, as far as can be told without the root key.
async fn lacks_keys(client: &Client, config: &Config) -> Result<bool, ControlError> {
    use postern_keys::KeyRecord;
    let Some(catalogue) = keys::read(client).await? else {
        return Ok(true);
    };
    let has = |wanted: &postern_keys::WantedColumn| {
        let place = &wanted.column;
        let table = catalogue.records.iter().find_map(|r| match r {
            KeyRecord::Table { uuid, schema, name }
                if schema == place.table.schema.as_str() && name == place.table.name.as_str() =>
            {
                Some(uuid)
            }
            _ => None,
        });
        let own = |r: &KeyRecord| matches!(r, KeyRecord::Column { table: t, name, .. } if Some(t) == table && name == place.column.as_str());
        catalogue.records.iter().any(own)
    };
    Ok(!postern_keys::ring::wanted(config).iter().all(has))
}

/// Remembers what each recorded step wanted and what is there now. After the whole run, because steps touch one another's state.
async fn record(transaction: &Transaction<'_>, steps: &[ProvisionStep]) -> Result<(), ControlError> {
    for step in steps {
        let Need::Recorded(state) = &step.need else { continue };
        let upsert = format!(
            "INSERT INTO postern.provisioned AS p (title, wanted, found) VALUES ($1, $2, {}) ON CONFLICT (title) DO UPDATE \
             SET wanted = excluded.wanted, found = excluded.found \
             WHERE (p.wanted, p.found) IS DISTINCT FROM (excluded.wanted, excluded.found)",
            found(state)
        );
        transaction
            .execute(&upsert, &[&step.title, &wanted(step)])
            .await
            .map_err(|e| ControlError::step(&step.title, &e))?;
    }
    Ok(())
}

/// SQL for the digest of a state.
fn found(state: &str) -> String {
    format!("pg_catalog.md5(coalesce(({state}), ''))")
}

/// The digest of a step's SQL: tells a changed step, proves nothing.
fn wanted(step: &ProvisionStep) -> String {
    Sha256::digest(step.sql.as_bytes())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

async fn require_version(client: &impl GenericClient) -> Result<(), ControlError> {
    let asked = "SELECT pg_catalog.current_setting('server_version_num')::int4, pg_catalog.current_setting('server_version')";
    let row = client
        .query_one(asked, &[])
        .await
        .map_err(ControlError::query("asking for the server's version"))?;
    match row.get::<_, i32>(0) {
        150_000.. => Ok(()),
        _ => Err(ControlError::ServerVersion { found: row.get(1) }),
    }
}
