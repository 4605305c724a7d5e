//! The ways to the rows, and connections by them.

use std::fmt;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

use crate::bouncer::Bouncer;
use crate::error::BenchError;
use crate::stand::Stand;

/// How a query gets to PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Straight, to the unprotected copy: what the others are compared with.
    Direct,
    /// Through PgBouncer, to the unprotected copy.
    PgBouncer,
    /// Through the gate, to the protected rows.
    Postern,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Direct => "direct",
            Way::PgBouncer => "PgBouncer",
            Way::Postern => "Postern",
        })
    }
}

/// Who asks, where the gate stands in between.
#[derive(Debug, Clone, Copy)]
pub struct Door {
    /// Module.
    pub module: &'static str,
    /// Which of its logins, as `demo.json` names them.
    pub login: &'static str,
    /// The person whose token the session carries.
    pub person: Option<&'static str>,
}

/// All ways that are open in this run.
pub struct Ways {
    /// The demo.
    pub stand: Stand,
    /// PgBouncer, where it is installed.
    pub bouncer: Option<Bouncer>,
    /// The unprotected copy.
    pub direct: Config,
}

impl Ways {
    /// Those that are open.
    pub fn open(&self) -> Vec<Way> {
        let bouncer = self.bouncer.as_ref().map(|_| Way::PgBouncer);
        [Some(Way::Direct), bouncer, Some(Way::Postern)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The process in between, whose CPU time the way costs.
    pub fn proxy(&self, way: Way) -> Option<u32> {
        match way {
            Way::Direct => None,
            Way::PgBouncer => self.bouncer.as_ref().map(Bouncer::pid),
            Way::Postern => Some(self.stand.pid()),
        }
    }

    /// How to connect.
    pub fn config(&self, way: Way, door: Door) -> Result<Config, BenchError> {
        match way {
            Way::Direct => Ok(self.direct.clone()),
            Way::PgBouncer => Ok(self.bouncer.as_ref().map_or(&self.direct, |b| &b.config).clone()),
            Way::Postern => {
                let mut config = self.stand.through(door.module, door.login)?;
                if let Some(person) = door.person {
                    config.options(format!("-c postern.token={}", self.stand.token(door.module, person)?));
                }
                Ok(config)
            }
        }
    }
}

/// An open connection.
pub struct Connection {
    /// What speaks.
    pub client: Client,
    task: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Connection {
    /// Opens one.
    pub async fn open(config: &Config) -> Result<Self, BenchError> {
        let (client, connection) = config.connect(NoTls).await.map_err(BenchError::sql("connecting"))?;
        let task = tokio::spawn(connection);
        Ok(Self { client, task })
    }

    /// Says good-bye and waits until that was heard, so that the next slice does not pay for it.
    pub async fn close(self) {
        let Self { client, task } = self;
        drop(client);
        let _ = task.await;
    }
}
