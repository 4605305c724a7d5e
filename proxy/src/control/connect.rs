//! The control plane's connections: few, slow-lane, and never lent to a client.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, RecyclingMethod, Runtime};
use postern_config::Settings;
use postern_config::settings::{Host, SessionAttrs};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::error::told;
use super::tls::Connector;
use super::{ControlError, Pool};

/// Connections of the control role that one process keeps.
const POOL_SIZE: usize = 4;
/// How long a caller waits for one of them.
const WAIT: Duration = Duration::from_secs(10);

/// A pool of control connections, proven by one of them. Not cancel-safe in any interesting way: dropping it drops the attempt.
pub async fn connect(settings: &Settings) -> Result<Pool, ControlError> {
    let upstream = &settings.upstream;
    let password = crate::secrets::read(&upstream.control_password_file)?;
    let mut pg = tokio_postgres::Config::new();
    for host in &upstream.hosts {
        match host {
            Host::Tcp { host, .. } => pg.host(host),
            Host::Unix { directory, .. } => pg.host_path(directory),
        };
        pg.port(host.port());
    }
    // The control plane writes (provisioning, sequences), so where the data plane wants a server that does, so does it; where a
    // standby is asked for, it takes what it gets.
    pg.target_session_attrs(match upstream.target_session_attrs {
        SessionAttrs::ReadWrite | SessionAttrs::Primary => TargetSessionAttrs::ReadWrite,
        SessionAttrs::Any | SessionAttrs::ReadOnly | SessionAttrs::Standby | SessionAttrs::PreferStandby => {
            TargetSessionAttrs::Any
        }
    });
    pg.dbname(&upstream.database)
        .user(&upstream.control_user)
        .password(password.as_bytes())
        .application_name("postern control")
        .connect_timeout(upstream.connect_timeout)
        .keepalives_idle(Duration::from_secs(60))
        // Names in the control plane's SQL are qualified; this only keeps a surprising default search path out of it.
        .options("-c search_path=pg_catalog -c statement_timeout=120s -c lock_timeout=30s -c client_min_messages=warning");
    let recycle = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let tls = upstream.tls_ca.as_deref().map(Connector::trusting).transpose()?;
    pg.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
    let manager = match tls.clone() {
        Some(tls) => Manager::from_config(pg.clone(), tls, recycle),
        None => Manager::from_config(pg.clone(), NoTls, recycle),
    };
    let peer = format!("{}/{} as {}", list(&upstream.hosts), upstream.database, upstream.control_user);
    let pool = deadpool_postgres::Pool::builder(manager)
        .max_size(POOL_SIZE)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(WAIT))
        // `connect_timeout` is for each host.
        .create_timeout(Some(
            upstream.connect_timeout * u32::try_from(upstream.hosts.len()).unwrap_or(u32::MAX),
        ))
        .recycle_timeout(Some(WAIT))
        .build()
        .map_err(|e| ControlError::Connect {
            peer: peer.clone(),
            sqlstate: None,
            reason: e.to_string(),
        })?;
    let pool = Pool {
        pool,
        peer: peer.into(),
        dial: Arc::new(Dial { pg, tls }),
    };
    // Proves address, password and database now rather than at the first use.
    drop(pool.get().await?);
    Ok(pool)
}

/// How a control connection is made.
pub(super) struct Dial {
    pg: tokio_postgres::Config,
    tls: Option<Connector>,
}

impl Dial {
    /// A connection of its own, and a stream of what the server says on it unasked, which must be polled for the connection to live.
    pub(super) async fn connect(&self) -> Result<(Client, Messages), tokio_postgres::Error> {
        match &self.tls {
            Some(tls) => {
                let (client, mut connection) = self.pg.connect(tls.clone()).await?;
                Ok((client, Box::new(move |cx| connection.poll_message(cx))))
            }
            None => {
                let (client, mut connection) = self.pg.connect(NoTls).await?;
                Ok((client, Box::new(move |cx| connection.poll_message(cx))))
            }
        }
    }
}

/// What the server says unasked, one message a poll; `None` at the connection's end.
pub(super) type Messages =
    Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<Result<AsyncMessage, tokio_postgres::Error>>> + Send + 'static>;

/// All of them, for a message.
fn list(hosts: &[Host]) -> String {
    let names: Vec<String> = hosts.iter().map(Host::to_string).collect();
    names.join(", ")
}

impl Pool {
    /// A connection, within a bounded wait. Cancel-safe.
    pub async fn get(&self) -> Result<deadpool_postgres::Object, ControlError> {
        self.pool.get().await.map_err(|error| {
            let (sqlstate, reason) = match &error {
                deadpool_postgres::PoolError::Backend(e) => told(e),
                other => (None, other.to_string()),
            };
            ControlError::Connect {
                peer: self.peer.to_string(),
                sqlstate,
                reason,
            }
        })
    }

    /// (connections in use, connections open).
    pub fn usage(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.size.saturating_sub(status.available), status.size)
    }
}
