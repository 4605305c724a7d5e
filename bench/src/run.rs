//! The run: servers up, rows made, every way proved, then rounds of slices in which the ways take turns in changing order.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::machine;
use crate::options::Options;
use crate::place::Place;
use crate::rows::{Row, Way};
use crate::slice;
use crate::stage::Stage;
use crate::stop::Stop;
use crate::store::{Measured, Store, Taken};

/// A curve's points need fewer rounds than a row that has a target.
const CURVE_ROUNDS: u32 = 3;

/// Measures what was asked for.
pub fn run(options: &Options, stop: &Stop) -> Result<Store, BenchError> {
    let place = Place::new(options.dir.as_deref())?;
    let began = Instant::now();
    tell(&format!("Making PostgreSQL and its rows in {} …", place.dir.display()));
    let stage = Stage::set(&place, &options.postern, stop)?;
    let taken = Taken::now(machine::describe(), stage.versions());
    tell(&format!(
        "Ready after {:.0} s; measuring takes about {:.0} minutes",
        began.elapsed().as_secs_f64(),
        estimate(options).as_secs_f64() / 60.0
    ));
    let mut store = Store::default();
    for round in 0..options.rounds {
        for (n, row) in options.rows.iter().enumerate() {
            if row.targets.is_empty() && round >= CURVE_ROUNDS {
                continue;
            }
            let time = slice_time(options, row);
            let measured = store.0.entry(row.key.clone()).or_insert_with(|| Measured {
                taken: taken.clone(),
                seconds: time.as_secs_f64(),
                ..Measured::default()
            });
            play(&stage, row, round as usize + n, round == 0, time, measured)?;
            tell(&format!(
                "{:5.0} s  round {} of {}, row {} of {}: {}{}",
                began.elapsed().as_secs_f64(),
                round + 1,
                options.rounds,
                n + 1,
                options.rows.len(),
                row.key,
                glance(row, measured)
            ));
        }
    }
    Ok(store)
}

/// One row of one round.
fn play(stage: &Stage<'_>, row: &Row, turn: usize, first: bool, time: Duration, into: &mut Measured) -> Result<(), BenchError> {
    for way in rotated(&row.ways, turn) {
        let outcome = match into.failures.contains_key(&way) {
            true => Ok(None),
            false => {
                let proved = if first { slice::prove(stage, row, way) } else { Ok(()) };
                proved.and_then(|()| slice::measure(stage, row, way, time))
            }
        };
        match outcome {
            Ok(Some(sample)) => into.cells.entry(way).or_default().push(Some(sample)),
            // A way that is not installed has no cell at all.
            Ok(None) if !into.failures.contains_key(&way) => {}
            Ok(None) => into.cells.entry(way).or_default().push(None),
            Err(BenchError::Interrupted) => return Err(BenchError::Interrupted),
            Err(e) => {
                tell(&format!("{}, {}: {e}", row.key, way.title()));
                into.failures.insert(way, e.to_string());
                into.cells.entry(way).or_default().push(None);
            }
        }
    }
    Ok(())
}

fn slice_time(options: &Options, row: &Row) -> Duration {
    Duration::from_secs((f64::from(options.seconds) * row.share).round().max(1.0) as u64)
}

fn estimate(options: &Options) -> Duration {
    let rows = options.rows.iter().map(|row| {
        let rounds = if row.targets.is_empty() {
            options.rounds.min(CURVE_ROUNDS)
        } else {
            options.rounds
        };
        // A slice's own beginning and end take about a third of a second; the optional peers are seldom there.
        let ways = row.ways.iter().filter(|w| !matches!(w, Way::PgCat | Way::PgDog)).count();
        (slice_time(options, row) + Duration::from_millis(300)) * rounds * u32::try_from(ways).unwrap_or(u32::MAX)
    });
    rows.sum()
}

/// What the row's targets look like so far.
fn glance(row: &Row, measured: &Measured) -> String {
    let seen: Vec<String> = row
        .targets
        .iter()
        .filter_map(|t| Some(format!("{:.2}", measured.compared(t)?.median)))
        .collect();
    if seen.is_empty() {
        String::new()
    } else {
        format!(" ({})", seen.join(", "))
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

/// Earlier numbers, and over them those of this run.
pub fn merged(earlier: Store, new: Store) -> Store {
    let rows: BTreeMap<String, Measured> = earlier.0.into_iter().chain(new.0).collect();
    Store(rows)
}

/// Progress goes to standard error, where nobody takes it for results.
pub fn tell(line: &str) {
    // Where it cannot be written there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_comes_and_nobody_is_always_first() {
        let ways = [Way::Direct, Way::Bouncer, Way::Filtered];
        let orders: std::collections::BTreeSet<Vec<Way>> = (0..6).map(|by| rotated(&ways, by)).collect();
        assert_eq!(orders.len(), 6);
        assert_eq!(rotated(&[], 3), []);
    }

    #[test]
    fn rows_that_were_not_taken_again_stay() {
        let row = |date: &str| Measured {
            taken: Taken {
                date: date.to_owned(),
                ..Taken::default()
            },
            ..Measured::default()
        };
        let earlier = Store(BTreeMap::from([("a".to_owned(), row("old")), ("b".to_owned(), row("old"))]));
        let merged = merged(earlier, Store(BTreeMap::from([("b".to_owned(), row("new"))])));
        assert_eq!(
            (merged.0["a"].taken.date.as_str(), merged.0["b"].taken.date.as_str()),
            ("old", "new")
        );
    }
}
