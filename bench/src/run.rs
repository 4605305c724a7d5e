//! The run: servers up, rows ready, every way proved, then rounds of slices in which the ways take turns in changing order.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::bouncer::{self, Bouncer};
use crate::error::BenchError;
use crate::options::Options;
use crate::slice::{self, Measured, Serial};
use crate::stage::Stage;
use crate::stand::Stand;
use crate::way::{Way, Ways};
use crate::workload::Name;

/// What is measured: a workload, a number of clients, a way.
pub type Cell = (Name, u32, Way);

/// Everything that a report needs.
pub struct Results {
    /// What was asked for.
    pub options: Options,
    /// Ways that were open.
    pub ways: Vec<Way>,
    /// PostgreSQL's and PgBouncer's versions.
    pub versions: Vec<String>,
    /// By cell, one entry a round; `None` where it failed.
    pub cells: BTreeMap<Cell, Vec<Option<Measured>>>,
    /// What could not be measured, and why.
    pub failures: BTreeMap<(Name, Way), String>,
}

/// Runs everything. Dropping the future stops the servers.
pub async fn run(options: &Options) -> Result<Results, BenchError> {
    let place = Place::new(options.dir.as_deref())?;
    tell(&format!("Starting `postern demo` in {} …", place.dir.display()));
    let stand = Stand::start(&options.postern, &place.dir).await?;
    let stage = Stage::set(&stand).await?;
    stage.prove_sealed().await?;
    let bouncer = match bouncer::find() {
        Some(binary) => Some(Bouncer::start(&binary, &place.dir, &stage.direct).await?),
        None => {
            tell(
                "PgBouncer is not installed, so its rows are left out; `make setup-bench` or `apt-get install pgbouncer` installs it.",
            );
            None
        }
    };
    let mut versions = vec![format!("PostgreSQL {}", stage.server)];
    versions.extend(bouncer.as_ref().map(|b| b.version().to_owned()));
    let ways = Ways {
        stand,
        bouncer,
        direct: stage.direct.clone(),
    };
    let mut results = Results {
        options: options.clone(),
        ways: ways.open(),
        versions,
        cells: BTreeMap::new(),
        failures: BTreeMap::new(),
    };
    let mut serial = Serial::default();
    for workload in stage.workloads.iter().filter(|w| options.workloads.contains(&w.name)) {
        for way in ways.open() {
            if let Err(e) = slice::prove(&ways, workload, way, &mut serial).await {
                results.fail(workload.name, way, &e);
            }
            stage.tidy(workload.name, way).await?;
        }
    }
    for round in 0..options.rounds {
        tell(&format!("Round {} of {} …", round + 1, options.rounds));
        play(&ways, &stage, round as usize, &mut serial, &mut results).await?;
    }
    stage.close().await;
    Ok(results)
}

/// One round.
async fn play(ways: &Ways, stage: &Stage, round: usize, serial: &mut Serial, results: &mut Results) -> Result<(), BenchError> {
    let options = results.options.clone();
    for (c, clients) in options.clients.iter().enumerate() {
        let chosen = stage.workloads.iter().filter(|w| options.workloads.contains(&w.name));
        for (w, workload) in chosen.enumerate() {
            for way in rotated(&results.ways, round + c + w) {
                let name = workload.name;
                let measured = if results.failures.contains_key(&(name, way)) {
                    None
                } else {
                    match slice::measure(ways, stage, workload, way, *clients, options.ops, serial).await {
                        Ok(measured) => Some(measured),
                        Err(e) => {
                            results.fail(name, way, &e);
                            None
                        }
                    }
                };
                stage.tidy(name, way).await?;
                results.cells.entry((name, *clients, way)).or_default().push(measured);
            }
        }
    }
    Ok(())
}

impl Results {
    fn fail(&mut self, name: Name, way: Way, error: &BenchError) {
        tell(&format!("{name}, {way}: {error}"));
        self.failures.insert((name, way), error.to_string());
    }
}

/// The same in another order: nobody is always first.
fn rotated(ways: &[Way], by: usize) -> Vec<Way> {
    let mut ways = ways.to_vec();
    if !ways.is_empty() {
        let places = by % ways.len();
        ways.rotate_left(places);
        // Each way also follows each other one.
        if (by / ways.len()) % 2 == 1 {
            ways.reverse();
        }
    }
    ways
}

/// The run's directory. One that nobody named is removed.
struct Place {
    dir: PathBuf,
    passing: bool,
}

impl Place {
    fn new(asked: Option<&Path>) -> Result<Self, BenchError> {
        let (dir, passing) = match asked {
            Some(dir) => (std::path::absolute(dir).map_err(BenchError::io("resolve", dir))?, false),
            // Where any user of the machine may pass: as root, the servers run as another one.
            None => (PathBuf::from(format!("/var/tmp/postern-bench-{}", std::process::id())), true),
        };
        fs::create_dir_all(&dir).map_err(BenchError::io("create", &dir))?;
        Ok(Self { dir, passing })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.passing {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Progress goes to standard error, where nobody takes it for results.
fn tell(line: &str) {
    // Where it cannot be written there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_comes_and_nobody_is_always_first() {
        let ways = [Way::Direct, Way::PgBouncer, Way::Postern];
        let orders: std::collections::BTreeSet<Vec<Way>> = (0..6).map(|by| rotated(&ways, by)).collect();
        assert_eq!(orders.len(), 6);
        assert_eq!(rotated(&[], 3), []);
    }
}
