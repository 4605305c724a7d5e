//! `postern serve`: everything is read and proven first, then the door opens, and at the end it closes in order.
//!
//! Promised: the port is bound only when keys, secrets, policies and the database are in order, and every mistake is told at once
//! where there are several; at the end no new client is taken, those inside have [`GRACE`] to finish, and nothing is left running.

mod door;
mod error;
mod issuer;
mod local;
mod revoked;
mod worker;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_config::{Config, Manifest, ModuleName};
use postern_keys::store::PassphraseStore;
use postern_keys::store::passphrase::read_passphrase;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;

pub use error::ServeError;
use worker::Workers;

use crate::control;
use crate::identity::{MacKey, TokenVerifier, Told};
use crate::observe::{Audit, Metrics, admin};
use crate::pool::Pools;
use crate::secrets::{self, SecretError};
use crate::session::PlanCache;
use crate::shared::Shared;
use crate::wire::login::Door;
use crate::wire::scram::Verifiers;
use crate::wire::tls;
use crate::wire::upstream::Connector;

/// A thread's stack: PostgreSQL's grammar and ours recurse, and depth is bounded for stacks of this size.
const STACK: usize = 8 << 20;

/// How long clients that are inside may take to finish at shutdown.
pub const GRACE: Duration = Duration::from_secs(5);

/// A runtime whose threads can parse: PostgreSQL's grammar and ours recurse, and depth is bounded for stacks of this size.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("postern")
        .thread_stack_size(STACK)
        .build()
}

/// Serves until `shutdown` completes. `ready` is told the address once clients can connect (useful with port 0).
pub async fn serve(
    config: Config,
    ready: Option<oneshot::Sender<SocketAddr>>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (close, closing) = watch::channel(false);
    let wanted = config.settings.listen.address;
    let workers = config.settings.listen.workers.unwrap_or_else(threads);
    let listeners = worker::listen(wanted, workers).await?;
    let admin_listener = bind(config.settings.admin).await?;
    let address = listeners.first().map_or(Ok(wanted), std::net::TcpListener::local_addr);
    let address = address.map_err(|source| ServeError::Bind { address: wanted, source })?;
    let (local, _socket_file) = match &config.settings.listen.unix_socket_dir {
        Some(directory) => {
            let path = local::path(directory, address.port());
            let failed = |source| ServeError::Socket {
                path: path.clone(),
                source,
            };
            let (listener, file) = local::listen(&path).await.map_err(failed)?;
            (Some(listener), Some(file))
        }
        None => (None, None),
    };
    let (shared, door, writer) = prepare(config, closing.clone()).await?;

    let mut background = JoinSet::new();
    let (seen, pool) = (Arc::clone(&shared), shared.pool.clone());
    let metrics = move || {
        let (in_use, open) = seen.pool.usage();
        seen.metrics.control_pool(in_use, open);
        seen.metrics.encode()
    };
    background.spawn(admin::serve(admin_listener, metrics, move || {
        let pool = pool.clone();
        async move { database_answers(&pool).await }
    }));
    background.spawn(revoked::watch(Arc::clone(&shared)));
    background.spawn(issuer::watch(Arc::clone(&shared)));
    background.spawn(control::watch_catalogues(Arc::clone(&shared)));
    let kept = Arc::clone(&shared);
    background.spawn(async move { kept.pools.keep().await });

    let workers = Workers::start(listeners, local, door, &shared, &closing)?;
    tracing::info!(%address, modules = shared.config.modules.len(), "ready");
    if let Some(ready) = ready {
        // Whoever asked may have given up; serving goes on.
        let _ = ready.send(address);
    }
    shutdown.await;

    tracing::info!("closing");
    // Sessions that wait for their client see this and end; the others finish what they are at.
    let _ = close.send(true);
    // Whoever waits for a connection waits for nothing now.
    shared.pools.close();
    workers.ended().await;
    background.shutdown().await;
    shared.audit.close().await;
    // The writer ended with the line above, or earlier and said why.
    let _ = writer.await;
    tracing::info!("closed");
    Ok(())
}

type Prepared = (Arc<Shared>, Door, oneshot::Receiver<()>);

/// Reads and proves everything that serving needs. Files first (all mistakes at once), then the database.
async fn prepare(config: Config, closing: watch::Receiver<bool>) -> Result<Prepared, ServeError> {
    let settings = &config.settings;
    if settings.tokens.dev_private_key.is_some() && !settings.tokens.dev_issuer {
        return Err(ServeError::DevelopmentKey);
    }
    let differing = |m: &Manifest| postern_rewriter::verify_policies(m).err().unwrap_or_default();
    let problems: Vec<String> = config
        .modules
        .iter()
        .flat_map(|m| {
            differing(m)
                .into_iter()
                .map(|(line, text)| format!("module {}, line {line}: {text}", m.module))
        })
        .collect();
    if !problems.is_empty() {
        return Err(ServeError::Policies(problems));
    }
    let tokens = TokenVerifier::new(&settings.tokens)?;
    revoked::load(&settings.secrets_dir, &tokens).map_err(|e| ServeError::Secrets(vec![e]))?;
    let client_tls = settings.listen.tls.as_ref().map(tls::server).transpose()?;
    let upstream = Connector::new(settings)?;
    let client_secrets = read_all(&config, "client")?;
    let passwords = read_all(&config, "upstream")?;
    // The cheap question first: opening the root key takes most of a second.
    let pool = control::connect(settings).await?;
    let root = open_root(&config).await?;
    let keys = control::load_keys(&pool, &config, &root).await?;
    let catalogs = control::Catalogs::load(&pool, &config).await?;
    let mac = MacKey::new(*control::load_mac_key(&pool, &root).await?);

    // Derived from a key that outlives a restart, so that the salt shown for an unknown login is as steady as a known one's.
    let mut verifiers = Verifiers::new(mac.derive("scram stand-ins"));
    let mut wrong = Vec::new();
    for (login, text) in &client_secrets {
        if let Err(problem) = verifiers.insert(login, text) {
            wrong.push(SecretError::Content {
                path: secret_file(&config, login, "client"),
                problem,
            });
        }
    }
    if !wrong.is_empty() {
        return Err(ServeError::Secrets(wrong));
    }
    let door = Door {
        tls: client_tls,
        require_tls: settings.listen.require_tls,
        verifiers,
    };
    let (audit, writer) = Audit::start(settings.audit_file.as_deref())?;
    let metrics = Arc::new(Metrics::new());
    let shared = Shared {
        keys,
        catalogs,
        sequences: control::Sequences::new(pool.clone()),
        plans: PlanCache::new(settings.limits.plan_cache_bytes),
        tokens,
        told: Told::of(&config),
        mac,
        pools: Pools::new(
            upstream.clone(),
            &config,
            passwords.into_iter().collect(),
            Arc::clone(&metrics),
        ),
        metrics,
        audit,
        cancels: Default::default(),
        module_seats: module_seats(&config),
        upstream,
        closing,
        pool,
        config,
    };
    Ok((Arc::new(shared), door, writer))
}

/// As many seats as each module's quota says.
fn module_seats(config: &Config) -> HashMap<ModuleName, Arc<Semaphore>> {
    let seats = |m: &Arc<Manifest>| Some((m.module.clone(), Arc::new(Semaphore::new(config.quota(&m.module).clients?))));
    config.modules.iter().filter_map(seats).collect()
}

/// One thread for each processor that there is.
/// A thread serves tens of thousands of statements a second, and the fewer there are, the more of them each of its turns takes. The
/// other processors are for PostgreSQL and the clients, or for the network.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Bind { address, source })
}

async fn open_root(config: &Config) -> Result<PassphraseStore, ServeError> {
    let keys = config.settings.keys.clone();
    // Argon2id takes most of a second on purpose.
    let opened = tokio::task::spawn_blocking(move || {
        let passphrase = read_passphrase(&keys.passphrase_file)?;
        PassphraseStore::open(&keys.root_file, &passphrase)
    });
    Ok(opened.await.expect("opening the root key does not panic")?)
}

/// One secret for each login of the manifests; all problems at once.
fn read_all(config: &Config, kind: &str) -> Result<Vec<(String, zeroize::Zeroizing<String>)>, ServeError> {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for login in config.modules.iter().flat_map(|m| &m.logins) {
        match secrets::read(&secret_file(config, login.name.as_str(), kind)) {
            Ok(text) => found.push((login.name.to_string(), text)),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() {
        Ok(found)
    } else {
        Err(ServeError::Secrets(wrong))
    }
}

fn secret_file(config: &Config, login: &str, kind: &str) -> std::path::PathBuf {
    config.settings.secrets_dir.join(format!("{login}.{kind}"))
}

async fn database_answers(pool: &control::Pool) -> bool {
    match pool.get().await {
        Ok(client) => client.simple_query("SELECT 1").await.is_ok(),
        Err(_) => false,
    }
}
