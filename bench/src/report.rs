//! The report: Markdown that also reads well in a terminal.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::machine;
use crate::rows::{self, Bound, Comparison, Figure, Row, Target, Way};
use crate::slice::Sample;
use crate::stats::{self, Spread};
use crate::store::{Measured, Store};

/// Beyond this share of the machine, other work makes the numbers an indication only.
const QUIET: f64 = 0.05;

const READING: &str = "\
**How to read it.** All ways run in slices that take turns in changing order, for several rounds; what is compared is compared within a
round. *Measured* is the median over the rounds, in brackets the lowest and the highest. CPU is user and system time of the proxy's
process (all its threads) for each operation that gave the right answer. \"Postern\" stands with isolation, a row filter
(`enforce = \"rewrite\"`) and a user's token; PgBouncer beside it in the same mode, before a copy of the same rows in the clear and without
policies, so a ratio holds everything the gate adds. All over loopback TCP on one machine. [README.md](README.md) says how to run it.";

/// The whole text.
pub fn render(store: &Store) -> String {
    let mut text = String::from("# What a hop costs\n\n");
    let rows = rows::all();
    let taken: Vec<(&Row, &Measured)> = rows.iter().filter_map(|r| Some((r, store.0.get(&r.key)?))).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "## Targets\n\n{}\n\n{READING}\n", targets(&taken));
    let _ = writeln!(
        text,
        "## Plots\n\n![CPU per query](plots/cpu.svg)\n\n![Latency](plots/latency.svg)\n\n![Throughput](plots/throughput.svg)\n\n\
         ![Plan cache](plots/plan-cache.svg)\n"
    );
    let _ = writeln!(text, "## Figures\n\nMedians over the rounds.\n\n{}\n", figures(&taken));
    failures(&taken, &mut text);
    let _ = writeln!(text, "## Taken on\n\n{}", origin(&taken));
    text
}

fn targets(taken: &[(&Row, &Measured)]) -> String {
    let mut lines = vec![cells(["work", "what", "target", "measured", "met"])];
    for (row, measured) in taken {
        for target in &row.targets {
            let found = measured.compared(target);
            lines.push(vec![
                format!("`{}` {}", row.key, row.title),
                what(target),
                bound(target),
                found.map_or_else(|| "–".to_owned(), |s| shown(s, target)),
                found
                    .map_or("–", |s| if met(target.bound, s.median) { "yes" } else { "**no**" })
                    .to_owned(),
            ]);
        }
    }
    aligned(&lines)
}

fn what(target: &Target) -> String {
    let figure = match target.figure {
        Figure::ProxyCpu => "proxy CPU per query",
        Figure::ServerCpu => "PostgreSQL CPU per query",
        Figure::Throughput => "throughput",
        Figure::Latency => "added latency",
        Figure::CpuPerByte => "proxy CPU per GB",
        Figure::BytesPerSecond => "MB/s",
        Figure::Memory => "memory per client",
    };
    match target.comparison {
        Comparison::Itself => format!("{figure}, {}", target.of.title()),
        Comparison::Difference => format!("{figure}, {} less {}", target.of.title(), target.over.title()),
        Comparison::Ratio | Comparison::Added(_) => format!("{figure}, {} / {}", target.of.title(), target.over.title()),
    }
}

fn unit(target: &Target) -> &'static str {
    match (target.comparison, target.figure) {
        (Comparison::Ratio | Comparison::Added(_), _) => "",
        (_, Figure::Memory) => " kB",
        _ => " µs",
    }
}

fn bound(target: &Target) -> String {
    let unit = unit(target);
    match target.bound {
        Bound::AtMost(b) => format!("≤ {b}{unit}"),
        Bound::AtLeast(b) => format!("≥ {b}{unit}"),
    }
}

/// As it is printed, so that a reader's judgement is the table's.
fn met(bound: Bound, value: f64) -> bool {
    let value = (value * 100.0).round() / 100.0;
    match bound {
        Bound::AtMost(b) => value <= b,
        Bound::AtLeast(b) => value >= b,
    }
}

fn shown(spread: Spread, target: &Target) -> String {
    format!("{:.2}{} ({:.2}–{:.2})", spread.median, unit(target), spread.low, spread.high)
}

fn figures(taken: &[(&Row, &Measured)]) -> String {
    let mut lines = vec![cells([
        "row",
        "way",
        "per second",
        "mean µs",
        "p50 µs",
        "p95 µs",
        "p99 µs",
        "proxy CPU µs",
        "PostgreSQL CPU µs",
        "MB/s",
        "proxy CPU s/GB",
        "kB per client",
    ])];
    for (row, measured) in taken {
        for way in row.ways.iter().filter(|w| measured.cells.contains_key(w)) {
            let number = |figure, digits| median(&measured.figure(*way, figure), digits);
            let percentile = |n: usize| {
                let rounds = measured.cells.get(way).into_iter().flatten();
                let values: Vec<Option<f64>> = rounds
                    .map(|s: &Option<Sample>| s.as_ref()?.percentiles.map(|p| p[n]))
                    .collect();
                median(&values, 0)
            };
            lines.push(vec![
                row.key.clone(),
                way.title().to_owned(),
                number(
                    Figure::Throughput,
                    if matches!(row.work, rows::Work::Bulk { .. }) { 2 } else { 0 },
                ),
                number(Figure::Latency, 0),
                percentile(0),
                percentile(1),
                percentile(2),
                number(Figure::ProxyCpu, 1),
                number(Figure::ServerCpu, 1),
                number(Figure::BytesPerSecond, 0),
                number(Figure::CpuPerByte, 2),
                number(Figure::Memory, 1),
            ]);
        }
    }
    aligned(&lines)
}

fn median(values: &[Option<f64>], digits: usize) -> String {
    stats::median(values.iter().copied().flatten())
        .filter(|v| *v != 0.0)
        .map_or_else(|| "–".to_owned(), |v| format!("{v:.digits$}"))
}

fn failures(taken: &[(&Row, &Measured)], text: &mut String) {
    let all: Vec<(&str, Way, &str)> = taken
        .iter()
        .flat_map(|(row, m)| m.failures.iter().map(|(way, why)| (row.key.as_str(), *way, why.as_str())))
        .collect();
    if all.is_empty() {
        return;
    }
    let _ = writeln!(text, "## Not measured\n");
    for (key, way, why) in all {
        let _ = writeln!(text, "- `{key}`, {}: {}", way.title(), why.replace('\n', " "));
    }
    text.push('\n');
}

fn origin(taken: &[(&Row, &Measured)]) -> String {
    let mut text = String::new();
    let origins: BTreeSet<_> = taken.iter().map(|(_, m)| &m.taken).collect();
    for origin in origins {
        let same: Vec<&(&Row, &Measured)> = taken.iter().filter(|(_, m)| m.taken == *origin).collect();
        let rounds = same
            .iter()
            .flat_map(|(_, m)| m.cells.values().map(Vec::len))
            .max()
            .unwrap_or(0);
        let seconds = same.iter().map(|(_, m)| m.seconds).fold(0.0, f64::max);
        let _ = writeln!(
            text,
            "- {} UTC, commit {}, `{}` (up to {seconds:.0} s × {rounds}): {}\n  - {}\n  - {}\n  - {}",
            origin.date,
            origin.commit,
            origin.command,
            match same.len() == taken.len() {
                true => "all rows".to_owned(),
                false => same
                    .iter()
                    .map(|(r, _)| format!("`{}`", r.key))
                    .collect::<Vec<_>>()
                    .join(", "),
            },
            origin.machine,
            origin.versions.join(", "),
            noise(&same)
        );
    }
    text.trim_end().to_owned() + "\n"
}

/// How much else the machine did while it was measured.
fn noise(rows: &[&(&Row, &Measured)]) -> String {
    let all = || rows.iter().flat_map(|(_, m)| m.cells.values().flatten().flatten());
    let capacity: f64 = all().map(|s| s.seconds).sum::<f64>() * machine::cores() as f64;
    if capacity <= 0.0 {
        return "no time was measured".to_owned();
    }
    let share = (all().map(|s| s.others).sum::<f64>() / capacity).clamp(0.0, 1.0);
    let label = if share > QUIET {
        "**not a quiet machine: these numbers are an indication only**"
    } else {
        "a quiet machine"
    };
    format!(
        "while slices ran, other work took {:.0} % of the processors: {label}",
        share * 100.0
    )
}

fn cells<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

/// A Markdown table whose columns line up.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (n, line) in lines.iter().enumerate() {
        let padded: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "| {} |", padded.join(" | "));
        if n == 0 {
            let rule: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
            let _ = writeln!(text, "| {} |", rule.join(" | "));
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::tests::measured;

    #[test]
    fn a_target_is_met_or_missed_and_failures_are_told() {
        let mut simple = measured();
        simple.failures.insert(Way::PgCat, "a reason".to_owned());
        let text = render(&Store(BTreeMap::from([("simple-8".to_owned(), simple)])));
        let line = |what: &str| text.lines().find(|l| l.contains(what)).unwrap_or_else(|| panic!("{text}"));
        assert!(line("proxy CPU per query").contains("≤ 1.1") && line("proxy CPU per query").contains("0.95 (0.90–1.00)"));
        assert!(line("proxy CPU per query").ends_with("yes |"), "{text}");
        assert!(line("throughput").contains("1.00 (1.00–1.00)"), "{text}");
        assert!(text.contains("- `simple-8`, PgCat: a reason"), "{text}");
        assert!(text.contains("| simple-8 | PgBouncer "), "{text}");
    }

    #[test]
    fn judged_as_printed() {
        assert!(met(Bound::AtMost(1.1), 1.104));
        assert!(!met(Bound::AtMost(1.1), 1.106));
        assert!(met(Bound::AtLeast(1.0), 0.996));
        assert!(!met(Bound::AtLeast(1.0), 0.99));
    }
}
