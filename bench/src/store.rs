//! What was measured, by row, kept in a file: a run of some rows leaves the others' numbers as they are.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::rows::{Comparison, Figure, Target, Way};
use crate::slice::Sample;
use crate::stats::Spread;

/// When, where and how a row was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Taken {
    /// UTC.
    pub date: String,
    /// Short, with `+` where files were changed.
    pub commit: String,
    /// What was typed.
    pub command: String,
    /// Processor, memory, kernel.
    pub machine: String,
    /// Programs.
    pub versions: Vec<String>,
}

/// A row's numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// When, where and how.
    pub taken: Taken,
    /// Seconds of a slice.
    pub seconds: f64,
    /// By way, one entry a round; `None` where it failed.
    pub cells: BTreeMap<Way, Vec<Option<Sample>>>,
    /// What could not be measured, and why.
    pub failures: BTreeMap<Way, String>,
}

/// All rows' numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Store(pub BTreeMap<String, Measured>);

impl Taken {
    /// Now, here.
    pub fn now(machine: String, versions: Vec<String>) -> Self {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let changed = !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
        Self {
            date: said("date", &["-u", "+%Y-%m-%d %H:%M"]),
            commit: said("git", &["rev-parse", "--short", "HEAD"]) + if changed { "+" } else { "" },
            command: format!("postern-bench {}", args.join(" ")).trim().to_owned(),
            machine,
            versions,
        }
    }
}

/// What a program says; nothing where it cannot be asked.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output
        .ok()
        .filter(|o| o.status.success())
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
        .unwrap_or_default()
}

impl Store {
    /// Reads the file; nothing is in one that is not there.
    pub fn read(file: &Path) -> Result<Self, BenchError> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(BenchError::io("read", file)(e)),
        };
        serde_json::from_str(&text).map_err(|e| BenchError::Unreadable {
            what: format!("{} ({e})", file.display()),
        })
    }

    /// Writes it, a row a line.
    pub fn write(&self, file: &Path) -> Result<(), BenchError> {
        let unreadable = |e: serde_json::Error| BenchError::Unreadable {
            what: format!("what was measured ({e})"),
        };
        let mut lines = Vec::new();
        for (key, row) in &self.0 {
            lines.push(format!("{key:?}: {}", serde_json::to_string(row).map_err(unreadable)?));
        }
        let text = format!("{{\n{}\n}}\n", lines.join(",\n"));
        fs::write(file, text).map_err(BenchError::io("write", file))
    }
}

impl Measured {
    /// A figure of a way, round by round.
    pub fn figure(&self, way: Way, figure: Figure) -> Vec<Option<f64>> {
        let rounds = self.cells.get(&way);
        rounds
            .into_iter()
            .flatten()
            .map(|s| s.as_ref().and_then(|s| s.figure(figure)))
            .collect()
    }

    /// What a target speaks of: compared within each round, over the rounds.
    pub fn compared(&self, target: &Target) -> Option<Spread> {
        let of = self.figure(target.of, target.figure);
        let over = self.figure(target.over, target.figure);
        let base = match target.comparison {
            Comparison::Added(base) => self.figure(base, target.figure),
            _ => Vec::new(),
        };
        let at = |values: &[Option<f64>], n: usize| values.get(n).copied().flatten();
        let rounds = (0..of.len()).filter_map(|n| {
            let own = at(&of, n)?;
            Some(match target.comparison {
                Comparison::Itself => own,
                Comparison::Ratio => own / at(&over, n)?,
                Comparison::Difference => own - at(&over, n)?,
                Comparison::Added(_) => {
                    let base = at(&base, n)?;
                    (own - base) / (at(&over, n)? - base)
                }
            })
        });
        Spread::of(rounds)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rows::Bound;

    pub(crate) fn sample(cpu: f64, throughput: f64) -> Sample {
        Sample {
            operations: 1_000_000,
            throughput,
            mean: 8e6 / throughput,
            percentiles: Some([100.0, 200.0, 300.0]),
            proxy: Some(cpu),
            server: 10.0,
            seconds: 10.0,
            ..Sample::default()
        }
    }

    pub(crate) fn measured() -> Measured {
        Measured {
            cells: BTreeMap::from([
                (Way::Direct, vec![Some(sample(0.0, 40_000.0)), Some(sample(0.0, 20_000.0))]),
                (Way::Bouncer, vec![Some(sample(20.0, 20_000.0)), Some(sample(40.0, 10_000.0))]),
                (
                    Way::Filtered,
                    vec![Some(sample(18.0, 20_000.0)), Some(sample(40.0, 10_000.0))],
                ),
            ]),
            ..Measured::default()
        }
    }

    #[test]
    fn comparisons_are_within_a_round() {
        let target = |figure, comparison| Target {
            figure,
            comparison,
            of: Way::Filtered,
            over: Way::Bouncer,
            bound: Bound::AtMost(1.0),
        };
        let measured = measured();
        let ratio = measured.compared(&target(Figure::ProxyCpu, Comparison::Ratio)).unwrap();
        assert_eq!((ratio.low, ratio.high), (0.9, 1.0));
        let added = measured
            .compared(&target(Figure::Latency, Comparison::Added(Way::Direct)))
            .unwrap();
        assert_eq!((added.low, added.high), (1.0, 1.0));
        assert_eq!(measured.compared(&target(Figure::Memory, Comparison::Itself)), None);
    }

    #[test]
    fn what_is_written_is_read() {
        let file = std::env::temp_dir().join(format!("postern-store-{}", std::process::id()));
        assert_eq!(Store::read(&file).unwrap(), Store::default());
        let store = Store(BTreeMap::from([
            ("simple-8".to_owned(), measured()),
            ("x".to_owned(), measured()),
        ]));
        store.write(&file).unwrap();
        assert_eq!(Store::read(&file).unwrap(), store);
        fs::remove_file(file).unwrap();
    }
}
