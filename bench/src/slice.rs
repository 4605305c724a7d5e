//! One slice: some clients, one workload, one way, a fixed number of operations.
//!
//! Connections are made, statements prepared and a tenth as many operations run before the clock starts: plan caches are warm on every
//! way, and no login is measured.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use crate::cpu::{self, Used, UsedByAll};
use crate::error::BenchError;
use crate::stage::Stage;
use crate::stats::percentile;
use crate::way::{Connection, Way, Ways};
use crate::workload::{Name, Subject, Workload};

/// A slice ends after this even if operations are left.
const LONGEST: Duration = Duration::from_secs(10);
/// An answer that takes this much longer never comes.
const GRACE: Duration = Duration::from_secs(30);
/// PostgreSQL decides on a generic plan after five executions.
const LEAST_WARM_UP: u32 = 10;

/// What one slice showed.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Operations that were timed; each gave the right answer.
    pub operations: u64,
    /// From the first start to the last end.
    pub elapsed: Duration,
    /// Median latency of an operation.
    pub p50: Duration,
    /// The latency that one operation in a hundred exceeds.
    pub p99: Duration,
    /// CPU time of the process in between, where there is one.
    pub proxy: Option<Duration>,
    /// CPU time of PostgreSQL's processes.
    pub server: Duration,
    /// CPU seconds of everything on the machine that has no part in this. The kernel counts the machine's in hundredths, so that only a
    /// sum over many slices says something; a single one may be negative.
    pub others: f64,
}

impl Measured {
    /// Operations per second.
    pub fn throughput(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }

    /// Seconds per thousand operations.
    pub fn per_thousand(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1_000.0 / self.operations as f64
    }
}

/// Numbers rows that are inserted, so that no key comes twice in a run.
#[derive(Debug, Default)]
pub struct Serial(u64);

/// Runs a slice.
pub async fn measure(
    ways: &Ways,
    stage: &Stage,
    workload: &Workload,
    way: Way,
    clients: u32,
    operations: u32,
    serial: &mut Serial,
) -> Result<Measured, BenchError> {
    let config = ways.config(way, workload.name.door())?;
    let each = operations.div_ceil(clients);
    let warm_up = (each / 10).max(LEAST_WARM_UP);
    let mut visitors = Vec::new();
    for client in 0..clients {
        let connection = Connection::open(&config).await?;
        visitors.push(Visitor::new(connection, workload, client, clients, serial).await?);
        serial.0 += u64::from(each + warm_up);
    }
    let (visitors, _) = together(visitors, warm_up).await?;

    let pids = stage.server_processes().await?;
    let own = std::process::id();
    let proxy = ways.proxy(way);
    let look = || -> Result<_, BenchError> {
        let proxy = proxy.map(Used::by).transpose()?;
        Ok((proxy, UsedByAll::by(&pids), Used::by(own)?, cpu::busy()?))
    };
    let before = look()?;
    let began = Instant::now();
    let (visitors, mut latencies) = together(visitors, each).await?;
    let elapsed = began.elapsed();
    let after = look()?;

    for visitor in visitors {
        visitor.connection.close().await;
    }
    let proxy = after.0.zip(before.0).map(|(a, b)| a.since(&b));
    let server = after.1.since(&before.1);
    let ours = proxy.unwrap_or_default() + server + after.2.since(&before.2);
    let nanos = |percent, sample: &mut Vec<u64>| Duration::from_nanos(percentile(sample, percent).unwrap_or_default());
    Ok(Measured {
        operations: latencies.len() as u64,
        elapsed,
        p50: nanos(50, &mut latencies),
        p99: nanos(99, &mut latencies),
        proxy,
        server,
        others: after.3.as_secs_f64() - before.3.as_secs_f64() - ours.as_secs_f64(),
    })
}

/// One operation of each kind, and that what must stay hidden does.
pub async fn prove(ways: &Ways, workload: &Workload, way: Way, serial: &mut Serial) -> Result<(), BenchError> {
    let connection = Connection::open(&ways.config(way, workload.name.door())?).await?;
    let mut visitor = Visitor::new(connection, workload, 0, 1, serial).await?;
    serial.0 += 3;
    for _ in 0..3 {
        visitor.operate().await?;
    }
    if let (Way::Postern, Some(hidden)) = (way, &workload.hidden) {
        let rows = visitor
            .connection
            .client
            .query(&visitor.statement, &[hidden])
            .await
            .map_err(BenchError::sql(workload.name.to_string()))?;
        if !rows.is_empty() {
            return Err(BenchError::Wrong {
                sql: workload.name.sql(),
                expected: "no row, as the person may not see it".to_owned(),
                found: "it".to_owned(),
            });
        }
    }
    visitor.connection.close().await;
    Ok(())
}

/// All at once, `each` operations apiece; latencies in nanoseconds.
async fn together(visitors: Vec<Visitor>, each: u32) -> Result<(Vec<Visitor>, Vec<u64>), BenchError> {
    let mut tasks = JoinSet::new();
    let end = Instant::now() + LONGEST;
    for mut visitor in visitors {
        tasks.spawn(async move {
            let mut latencies = Vec::with_capacity(each as usize);
            for _ in 0..each {
                if Instant::now() >= end {
                    break;
                }
                latencies.push(visitor.operate().await?);
            }
            Ok::<_, BenchError>((visitor, latencies))
        });
    }
    let all = async {
        let (mut visitors, mut latencies) = (Vec::new(), Vec::new());
        while let Some(done) = tasks.join_next().await {
            let (visitor, own) = done.expect("clients neither panic nor are they aborted")?;
            visitors.push(visitor);
            latencies.extend(own);
        }
        Ok((visitors, latencies))
    };
    let limit = LONGEST + GRACE;
    tokio::time::timeout(limit, all).await.unwrap_or(Err(BenchError::Hung {
        seconds: limit.as_secs(),
    }))
}

/// One client: a connection with its prepared statement, and the rows that it asks for.
struct Visitor {
    connection: Connection,
    statement: Statement,
    name: Name,
    subjects: Vec<Subject>,
    next: usize,
    serial: u64,
}

impl Visitor {
    async fn new(
        connection: Connection,
        workload: &Workload,
        client: u32,
        clients: u32,
        serial: &Serial,
    ) -> Result<Self, BenchError> {
        let name = workload.name;
        let statement = connection
            .client
            .prepare(name.sql())
            .await
            .map_err(BenchError::sql(name.to_string()))?;
        Ok(Self {
            connection,
            statement,
            name,
            subjects: workload.share(client, clients).cloned().collect(),
            next: 0,
            serial: serial.0,
        })
    }

    /// One operation, checked; how long it took, in nanoseconds.
    async fn operate(&mut self) -> Result<u64, BenchError> {
        let subject = &self.subjects[self.next % self.subjects.len()];
        self.next += 1;
        let fresh;
        let key: &String = if self.name == Name::EncryptedInsert {
            self.serial += 1;
            fresh = format!("{}/{}", subject.key, self.serial);
            &fresh
        } else {
            &subject.key
        };
        let client = &self.connection.client;
        let failed = |e| BenchError::sql(self.name.to_string())(e);
        let wrong = |expected: &str, found: String| BenchError::Wrong {
            sql: self.name.sql(),
            expected: expected.to_owned(),
            found,
        };
        let began = Instant::now();
        if self.name.reads() {
            let parameters: [&(dyn ToSql + Sync); 1] = [key];
            let rows = client.query(&self.statement, &parameters).await.map_err(failed)?;
            let took = began.elapsed();
            match rows.as_slice() {
                [row] if row.try_get::<_, &str>(0).is_ok_and(|v| v == subject.value) => Ok(nanos(took)),
                [_] => Err(wrong("the row's own value", "another".to_owned())),
                rows => Err(wrong("one row", format!("{} rows", rows.len()))),
            }
        } else {
            let parameters: [&(dyn ToSql + Sync); 2] = [key, &subject.value];
            let changed = client.execute(&self.statement, &parameters).await;
            let took = began.elapsed();
            match changed.map_err(failed)? {
                1 => Ok(nanos(took)),
                n => Err(wrong("one row changed", n.to_string())),
            }
        }
    }
}

fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}
