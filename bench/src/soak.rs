//! A long soak: mixed load on one `postern serve`, whose memory must stay where it is once it is warm.
//!
//! Connects, prepared statements, simple ones with literals and with texts of their own, reads of protected columns and long results run
//! side by side, each in short runs with new connections and a new token. The first quarter warms up. Over the rest a line is fitted
//! through the samples: where it rises by more than [`RISE`] of the mean and more than [`FLOOR`], the soak fails; as it does when any
//! answer is wrong.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::client::{Client, Target};
use crate::cluster;
use crate::cpu;
use crate::error::BenchError;
use crate::gate::{Gates, Guest, Kind};
use crate::options::Options;
use crate::pgbench::{Job, Pgbench};
use crate::place::Place;
use crate::plots;
use crate::rows::{Mode, Protocol, Script};
use crate::run::tell;
use crate::stop::Stop;
use crate::tables::{self, BULK};

/// Share of the mean that the fitted line may rise over the time that is looked at.
const RISE: f64 = 0.05;
/// A rise below this is an allocator's breath, in bytes.
const FLOOR: f64 = 4e6;
/// Between two samples.
const STEP: Duration = Duration::from_secs(10);
/// Of one run of a load, and the pause of the long results.
const TURN: Duration = Duration::from_secs(20);
/// Texts that do not all fit the plan cache of this gate, so that it evicts.
const TEXTS: u32 = 20_000;
const CACHE_MIB: u32 = 4;

/// Runs it. Must be called on the main thread, as servers are tied to it.
pub fn soak(options: &Options, seconds: u64, mode: Mode, plot: &Path, stop: &Stop) -> Result<(), BenchError> {
    let place = Place::new(options.dir.as_deref())?;
    tell(&format!("Making PostgreSQL and its rows in {} …", place.dir.display()));
    let programs = cluster::programs()?;
    let cluster = cluster::Cluster::start(&place, &programs, stop)?;
    let gates = Gates::new(&place, &options.postern, cluster.port);
    tables::make(&cluster, &gates, &place, stop)?;
    let kind = Kind {
        cache: CACHE_MIB,
        ..Kind::rewriting(mode)
    };
    let gate = gates.start("gate-soak", kind, stop)?;
    let target = Mutex::new(gates.through(&gate, Guest::User)?);
    let failure = Mutex::new(None);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut samples = Vec::new();
    std::thread::scope(|scope| -> Result<(), BenchError> {
        for (n, (protocol, script, connect)) in [
            (Protocol::Prepared, Script::Point, false),
            (Protocol::Extended, Script::Point, false),
            (Protocol::Simple, Script::Point, false),
            (Protocol::Simple, Script::Texts(TEXTS), false),
            (Protocol::Prepared, Script::Card, false),
            (Protocol::Simple, Script::Point, true),
        ]
        .into_iter()
        .enumerate()
        {
            let pgbench = Pgbench::new(&programs, &place, &format!("soak-{n}"))?;
            let (target, failure) = (&target, &failure);
            scope.spawn(move || {
                let job = Job {
                    protocol,
                    script,
                    clients: 2,
                    connect,
                    time: TURN,
                };
                again(until, stop, failure, || pgbench.run(&current(target), job, stop).map(drop));
            });
        }
        let (target_of, failed) = (&target, &failure);
        scope.spawn(move || again(until, stop, failed, || long_result(&current(target_of))));
        let began = Instant::now();
        while Instant::now() < until && stop.check().is_ok() && failure.lock().is_ok_and(|f| f.is_none()) {
            std::thread::sleep(STEP.min(until.saturating_duration_since(Instant::now())));
            let bytes = cpu::memory(gate.pid())? as f64;
            samples.push((began.elapsed().as_secs_f64(), bytes));
            if samples.len() % 30 == 1 {
                tell(&format!("{:6.0} s  {:.1} MB", began.elapsed().as_secs_f64(), bytes / 1e6));
            }
            let fresh = gates.through(&gate, Guest::User)?;
            if let Ok(mut target) = target.lock() {
                *target = fresh;
            }
        }
        Ok(())
    })?;
    stop.check()?;
    if let Some(e) = failure.into_inner().ok().flatten() {
        return Err(e);
    }
    judge(&samples, plot)
}

/// Runs `what` over and over, until the time is over, somebody wants an end, or it fails.
fn again(until: Instant, stop: &Stop, failure: &Mutex<Option<BenchError>>, mut what: impl FnMut() -> Result<(), BenchError>) {
    while Instant::now() < until && stop.check().is_ok() && failure.lock().is_ok_and(|f| f.is_none()) {
        if let Err(e) = what()
            && let Ok(mut failure) = failure.lock()
        {
            failure.get_or_insert(e);
        }
    }
}

fn current(target: &Mutex<Target>) -> Target {
    let held = target.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    held.clone()
}

/// Opens a protected column of every row.
fn long_result(target: &Target) -> Result<(), BenchError> {
    let sql = "SELECT id, body FROM vault";
    let mut client = Client::open(target)?;
    let result = client.each(sql, |_| {})?;
    client.close();
    if result.rows != u64::from(BULK) {
        return Err(BenchError::Wrong {
            sql: sql.to_owned(),
            expected: format!("{BULK} rows"),
            found: format!("{} rows", result.rows),
        });
    }
    std::thread::sleep(Duration::from_secs(5));
    Ok(())
}

fn judge(samples: &[(f64, f64)], plot: &Path) -> Result<(), BenchError> {
    let warm = &samples[samples.len() / 4..];
    let (Some(line), Some(first), Some(last)) = (fitted(warm), warm.first(), warm.last()) else {
        return Err(BenchError::Soak("too few samples to judge by; run it longer".to_owned()));
    };
    let at = |x: f64| line.0 + line.1 * x;
    let rise = at(last.0) - at(first.0);
    let mean = warm.iter().map(|s| s.1).sum::<f64>() / warm.len() as f64;
    let scaled = |p: &(f64, f64)| (p.0 / 60.0, p.1 / 1e6);
    let points: Vec<(f64, f64)> = samples.iter().map(scaled).collect();
    let ends = [(first.0, at(first.0)), (last.0, at(last.0))];
    plots::memory(plot, &points, &[scaled(&ends[0]), scaled(&ends[1])])?;
    let said = format!(
        "memory {:.1} MB on average after the warm-up; over {:.0} minutes the fitted line rose by {:.2} MB (bound: {:.2} MB)",
        mean / 1e6,
        (last.0 - first.0) / 60.0,
        rise / 1e6,
        (mean * RISE).max(FLOOR) / 1e6
    );
    if rise > (mean * RISE).max(FLOOR) {
        return Err(BenchError::Soak(format!("memory grows: {said}")));
    }
    tell(&said);
    Ok(())
}

/// Least squares: intercept and slope.
fn fitted(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let n = points.len() as f64;
    if points.len() < 3 {
        return None;
    }
    let (x, y) = (
        points.iter().map(|p| p.0).sum::<f64>() / n,
        points.iter().map(|p| p.1).sum::<f64>() / n,
    );
    let over: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    let slope = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / over;
    slope.is_finite().then_some((y - slope * x, slope))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &str, memory: impl Fn(f64) -> f64) -> Result<(), BenchError> {
        let file = std::env::temp_dir().join(format!("postern-soak-{}-{name}.svg", std::process::id()));
        let samples: Vec<(f64, f64)> = (0..120).map(|n| (f64::from(n) * 10.0, memory(f64::from(n)))).collect();
        let verdict = judge(&samples, &file);
        std::fs::remove_file(file).unwrap();
        verdict
    }

    #[test]
    fn a_warm_up_is_forgiven_and_a_leak_is_not() {
        assert!(judged("flat", |n| 60e6 + f64::from((n as i32 * 7919) % 13) * 1e5).is_ok());
        assert!(judged("warm", |n| 60e6 - 40e6 * (-n / 8.0).exp()).is_ok());
        assert!(judged("leak", |n| 60e6 + n * 1e5).is_err());
        assert!(judge(&[], Path::new("/nonexistent/x.svg")).is_err());
    }
}
