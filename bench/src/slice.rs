//! One slice: one kind of work by one way for some seconds, and what it cost.
//!
//! Promised: a slice whose answers were not all right is an error and no number. pgbench checks each of its answers; of a bulk result the
//! number of rows, the sum of their keys and the text of every 997th are checked.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::client::{Client, cells};
use crate::cpu::{self, Used, UsedByServer};
use crate::error::BenchError;
use crate::pgbench::Job;
use crate::rows::{Figure, Mode, Row, Script, Way, Work};
use crate::stage::{Open, Stage};
use crate::tables::{BULK, CARD, FOREIGN, POINTS, balance, body, note};

/// Clients that come and go before memory is looked at.
const WARM_CLIENTS: u32 = 20;
/// Memory is looked at after nothing has happened for so long.
const REST: Duration = Duration::from_secs(1);
/// After the last client has gone, until CPU time is read.
const SETTLING: Duration = Duration::from_millis(100);

/// What a slice was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Operations: statements, or long results.
    pub operations: u64,
    /// Per second.
    pub throughput: f64,
    /// Mean time of one, µs.
    pub mean: f64,
    /// 50th, 95th and 99th percentile, µs, where they were taken.
    pub percentiles: Option<[f64; 3]>,
    /// CPU of the proxy's process, s.
    pub proxy: Option<f64>,
    /// CPU of PostgreSQL's processes, s.
    pub server: f64,
    /// Bytes of result that arrived, where they were counted.
    pub bytes: Option<u64>,
    /// How long it took, s.
    pub seconds: f64,
    /// Memory for each client, bytes.
    pub memory: Option<f64>,
    /// CPU of whatever else ran on the machine, s.
    pub others: f64,
}

impl Sample {
    /// One of its numbers, where it has that.
    pub fn figure(&self, figure: Figure) -> Option<f64> {
        let operations = self.operations as f64;
        let bytes = self.bytes.map(|b| b as f64);
        let value = match figure {
            Figure::ProxyCpu => self.proxy? / operations * 1e6,
            Figure::ServerCpu => self.server / operations * 1e6,
            Figure::Throughput => self.throughput,
            Figure::Latency => self.mean,
            Figure::CpuPerByte => self.proxy? / (bytes? / 1e9),
            Figure::BytesPerSecond => bytes? / 1e6 / self.seconds,
            Figure::Memory => self.memory? / 1e3,
        };
        value.is_finite().then_some(value)
    }
}

/// Runs a slice; `None` where the way is not open on this machine.
pub fn measure(stage: &Stage<'_>, row: &Row, way: Way, time: Duration) -> Result<Option<Sample>, BenchError> {
    if let Work::Idle { clients } = row.work {
        return idle(stage, way, row.mode, clients);
    }
    let Some(open) = stage.open(way, row.mode)? else {
        return Ok(None);
    };
    match row.work {
        Work::Points {
            protocol,
            script,
            clients,
            connect,
        } => {
            let job = Job {
                protocol,
                script,
                clients,
                connect,
                time,
            };
            let meter = Meter::start(stage, &open)?;
            let said = stage.pgbench.run(&open.target, job, stage.stop())?;
            let sample = Sample {
                operations: said.operations,
                throughput: said.throughput,
                mean: said.mean,
                percentiles: Some(said.percentiles).filter(|p| p.iter().all(|v| v.is_finite())),
                ..Sample::default()
            };
            meter.stop(sample).map(Some)
        }
        Work::Bulk { protected } => bulk(stage, &open, protected, time).map(Some),
        Work::Idle { .. } => Ok(None),
    }
}

/// Asks some questions whose answers are known, one of them about a row that the user may not see; of many texts, each twice.
pub fn prove(stage: &Stage<'_>, row: &Row, way: Way) -> Result<(), BenchError> {
    // The others' logins are not ours to speak; pgbench proves them alone.
    if matches!(way, Way::PgCat | Way::PgDog) || matches!(row.work, Work::Idle { .. } | Work::Bulk { .. }) {
        return Ok(());
    }
    let Some(open) = stage.open(way, row.mode)? else {
        return Ok(());
    };
    let mut client = Client::open(&open.target)?;
    let by_card = matches!(
        row.work,
        Work::Points {
            script: Script::Card,
            ..
        }
    );
    let question = |number: u32| match by_card {
        true => format!(
            "SELECT card, balance, note FROM cards WHERE card = {}",
            u64::from(number) * CARD
        ),
        false => format!("SELECT abalance FROM accounts WHERE aid = {number}"),
    };
    for number in (1..=POINTS).step_by(7_001).chain([POINTS]) {
        let expected = match by_card {
            true => vec![
                (u64::from(number) * CARD).to_string(),
                balance(number).to_string(),
                note(number),
            ],
            false => vec![balance(number).to_string()],
        };
        expect(&mut client, &question(number), Some(expected))?;
    }
    // A row of another organisation is there, and only the filter hides it.
    if way.filtered() {
        expect(&mut client, &question(POINTS + 1), None)?;
    } else {
        client.scalar(&format!("SELECT count(*) FROM accounts WHERE aid = {}", POINTS + 1))?;
    }
    if let Work::Points {
        script: Script::Texts(many),
        ..
    } = row.work
    {
        // A plan is kept when its text is seen for the second time.
        for number in (1..=many).chain(1..=many) {
            stage.stop().check()?;
            let sql = format!("SELECT abalance AS balance FROM accounts AS t{number} WHERE aid = {number}");
            expect(&mut client, &sql, Some(vec![balance(number).to_string()]))?;
        }
    }
    client.close();
    Ok(())
}

fn expect(client: &mut Client, sql: &str, expected: Option<Vec<String>>) -> Result<(), BenchError> {
    let found: Vec<Vec<String>> = client
        .query(sql)?
        .into_iter()
        .map(|r| r.into_iter().map(Option::unwrap_or_default).collect())
        .collect();
    let expected: Vec<Vec<String>> = expected.into_iter().collect();
    if found == expected {
        return Ok(());
    }
    Err(BenchError::Wrong {
        sql: sql.to_owned(),
        expected: format!("{expected:?}"),
        found: format!("{found:?}"),
    })
}

/// One client, one long result after another.
fn bulk(stage: &Stage<'_>, open: &Open, protected: bool, time: Duration) -> Result<Sample, BenchError> {
    let table = if protected { "vault" } else { "wide" };
    let sql = format!("SELECT id, body FROM {table}");
    let mut client = Client::open(&open.target)?;
    // Neither a cold cache nor a first plan should be in the number.
    client.query(&format!("SELECT id, body FROM {table} WHERE id = 1"))?;
    let meter = Meter::start(stage, open)?;
    let mut sample = Sample {
        bytes: Some(0),
        ..Sample::default()
    };
    let began = Instant::now();
    while began.elapsed() < time {
        stage.stop().check()?;
        let (mut sum, mut wrong) = (0_u64, None);
        let result = client.each(&sql, |row| {
            // id is the first cell: two bytes of count, four of length.
            let number = row.get(2..6).and_then(|l| Some(u32::from_be_bytes(l.try_into().ok()?)));
            let digits = number.and_then(|l| row.get(6..6 + l as usize)).unwrap_or_default();
            let number = digits
                .iter()
                .fold(0_u32, |n, d| n.wrapping_mul(10).wrapping_add(u32::from(d.wrapping_sub(b'0'))));
            sum += u64::from(number);
            if number % 997 == 0 && wrong.is_none() && cells(row).get(1) != Some(&Some(body(number))) {
                wrong = Some(number);
            }
        })?;
        // A user sees the organisation's rows; who asks without a gate sees all.
        let rows = u64::from(if open.target.options.is_some() { BULK } else { BULK + FOREIGN });
        let right = result.rows == rows && sum == rows * (rows + 1) / 2;
        if !right || wrong.is_some() {
            return Err(BenchError::Wrong {
                sql,
                expected: format!("{rows} rows, each with its body"),
                found: format!("{} rows, wrong: {wrong:?}", result.rows),
            });
        }
        sample.operations += 1;
        sample.bytes = sample.bytes.map(|b| b + result.bytes);
    }
    sample.seconds = began.elapsed().as_secs_f64();
    sample.throughput = sample.operations as f64 / sample.seconds;
    sample.mean = 1e6 / sample.throughput;
    let sample = meter.stop(sample)?;
    client.close();
    Ok(sample)
}

/// What many clients that have asked once weigh.
fn idle(stage: &Stage<'_>, way: Way, mode: Mode, clients: u32) -> Result<Option<Sample>, BenchError> {
    let Some(fresh) = stage.fresh(way, mode)? else {
        return Ok(None);
    };
    let (target, pid) = fresh.open();
    let ask = |clients: u32| -> Result<Vec<Client>, BenchError> {
        (0..clients)
            .map(|n| {
                stage.stop().check()?;
                let mut client = Client::open(&target)?;
                let expected = Some(vec![balance(n + 1).to_string()]);
                expect(
                    &mut client,
                    &format!("SELECT abalance FROM accounts WHERE aid = {}", n + 1),
                    expected,
                )?;
                Ok(client)
            })
            .collect()
    };
    ask(WARM_CLIENTS)?.into_iter().for_each(Client::close);
    std::thread::sleep(REST);
    let before = cpu::memory(pid)?;
    let open = ask(clients)?;
    std::thread::sleep(REST);
    let after = cpu::memory(pid)?;
    open.into_iter().for_each(Client::close);
    Ok(Some(Sample {
        operations: u64::from(clients),
        memory: Some((after as f64 - before as f64) / f64::from(clients)),
        ..Sample::default()
    }))
}

/// CPU time from here to there.
struct Meter {
    postmaster: u32,
    server: UsedByServer,
    proxy: Option<(u32, Used)>,
    own: Duration,
    busy: Duration,
    began: Instant,
}

impl Meter {
    fn start(stage: &Stage<'_>, open: &Open) -> Result<Self, BenchError> {
        let postmaster = stage.cluster.pid();
        Ok(Self {
            postmaster,
            server: UsedByServer::by(postmaster)?,
            proxy: match open.proxy {
                Some(pid) => Some((pid, Used::by(pid)?)),
                None => None,
            },
            own: cpu::own()?,
            busy: cpu::busy()?,
            began: Instant::now(),
        })
    }

    fn stop(self, mut sample: Sample) -> Result<Sample, BenchError> {
        if sample.seconds == 0.0 {
            sample.seconds = self.began.elapsed().as_secs_f64();
        }
        // Backends whose clients have gone count once they have ended.
        std::thread::sleep(SETTLING);
        let proxy = match &self.proxy {
            Some((pid, before)) => Some(Used::by(*pid)?.since(before)),
            None => None,
        };
        let server = UsedByServer::by(self.postmaster)?.since(&self.server);
        let own = cpu::own()?.saturating_sub(self.own);
        let ours = own + server + proxy.unwrap_or_default();
        sample.others = cpu::busy()?.saturating_sub(self.busy).saturating_sub(ours).as_secs_f64();
        sample.proxy = proxy.map(|p| p.as_secs_f64());
        sample.server = server.as_secs_f64();
        Ok(sample)
    }
}
