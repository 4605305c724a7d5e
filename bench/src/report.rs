//! The report: Markdown that also reads well in a terminal.

use std::fmt::Write;

use crate::machine;
use crate::run::Results;
use crate::slice::Measured;
use crate::stats::{self, Spread};
use crate::way::Way;
use crate::workload::Name;

/// Beyond this share of the machine, other work makes the numbers an indication only.
const QUIET: f64 = 0.05;

const HEADINGS: [&str; 8] = [
    "workload",
    "clients",
    "way",
    "operations/s",
    "p50 µs",
    "p99 µs",
    "proxy CPU s/1,000",
    "PostgreSQL CPU s/1,000",
];

/// How to read the table.
const READING: &str = "\
Each cell: the median over the rounds; behind ×, the ratio to the direct way in the same round (for the proxies' CPU: to PgBouncer),
its median and, in brackets, its lowest and highest round. CPU is that of the proxy's process (for Postern the demo's, which hosts the
proxy and not PostgreSQL) and of PostgreSQL's processes, in seconds per 1,000 operations. All ways run prepared statements, in slices
that take turns in changing order; connecting, preparing and warming up are not timed; every counted operation gave the right answer.
Direct and PgBouncer (session mode) ask an unprotected copy of the same rows on the same server. Commits do not wait for the disk.";

/// The whole text.
pub fn render(results: &Results) -> String {
    let mut text = String::from("# What the gate costs\n\n");
    let _ = writeln!(text, "{}\n\n{READING}\n", table(results));
    let _ = writeln!(text, "## Workloads\n");
    for name in &results.options.workloads {
        let _ = writeln!(text, "- **{name}**: {}\n  `{}`", name.about(), name.sql());
    }
    let _ = writeln!(text, "\n## Taken on\n");
    let _ = writeln!(text, "- {}", machine::describe());
    let _ = writeln!(
        text,
        "- {}; all over loopback TCP without TLS, the clients in one thread of one process",
        results.versions.join(", ")
    );
    let _ = writeln!(
        text,
        "- `postern-bench --rounds {} --ops {} --clients {}{}`",
        results.options.rounds,
        results.options.ops,
        joined(results.options.clients.iter()),
        only(results)
    );
    let _ = writeln!(text, "- {}", noise(results));
    if !results.failures.is_empty() {
        let _ = writeln!(text, "\n## Not measured\n");
        for ((name, way), why) in &results.failures {
            let _ = writeln!(text, "- {name}, {way}: {why}");
        }
    }
    text
}

fn only(results: &Results) -> String {
    if results.options.workloads.len() == Name::ALL.len() {
        return String::new();
    }
    format!(" --only {}", joined(results.options.workloads.iter()))
}

fn joined(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|i| i.to_string()).collect::<Vec<_>>().join(",")
}

/// How much else the machine did while it was measured.
fn noise(results: &Results) -> String {
    let cores = machine::cores() as f64;
    let all = || results.cells.values().flatten().flatten();
    let capacity: f64 = all().map(|m| m.elapsed.as_secs_f64() * cores).sum();
    if capacity <= 0.0 {
        return "nothing was measured".to_owned();
    }
    let share = (all().map(|m| m.others).sum::<f64>() / capacity).clamp(0.0, 1.0);
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

fn table(results: &Results) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned).to_vec()];
    for name in &results.options.workloads {
        for clients in &results.options.clients {
            for way in &results.ways {
                lines.push(line(results, *name, *clients, *way));
            }
        }
    }
    aligned(&lines)
}

fn line(results: &Results, name: Name, clients: u32, way: Way) -> Vec<String> {
    let take = |way: Way, what: &dyn Fn(&Measured) -> Option<f64>| -> Vec<Option<f64>> {
        let rounds = results.cells.get(&(name, clients, way));
        rounds.into_iter().flatten().map(|m| m.as_ref().and_then(what)).collect()
    };
    let cell = |base: Way, digits: usize, what: &dyn Fn(&Measured) -> Option<f64>| -> String {
        let own = take(way, what);
        let ratio = (way != base)
            .then(|| Spread::of(stats::ratios(&own, &take(base, what))))
            .flatten();
        shown(stats::median(own.into_iter().flatten()), digits, ratio)
    };
    let micros = |d: std::time::Duration| Some(d.as_secs_f64() * 1e6);
    vec![
        name.to_string(),
        clients.to_string(),
        way.to_string(),
        cell(Way::Direct, 0, &|m| Some(m.throughput())),
        cell(Way::Direct, 0, &|m| micros(m.p50)),
        cell(Way::Direct, 0, &|m| micros(m.p99)),
        cell(Way::PgBouncer, 4, &|m| m.proxy.map(|cpu| m.per_thousand(cpu))),
        cell(Way::Direct, 4, &|m| Some(m.per_thousand(m.server))),
    ]
}

/// `12345 ×0.70 (0.68–0.73)`.
fn shown(median: Option<f64>, digits: usize, ratio: Option<Spread>) -> String {
    let Some(median) = median else { return "–".to_owned() };
    match ratio {
        None => format!("{median:.digits$}"),
        Some(r) => format!("{median:.digits$} ×{:.2} ({:.2}–{:.2})", r.median, r.low, r.high),
    }
}

/// A Markdown table whose columns line up.
fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    let mut text = String::new();
    for (n, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
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
    use std::time::Duration;

    use super::*;
    use crate::options::Options;

    fn measured(millis: u64, proxy: Option<u64>) -> Measured {
        Measured {
            operations: 1_000,
            elapsed: Duration::from_millis(millis),
            p50: Duration::from_micros(millis),
            p99: Duration::from_micros(millis * 3),
            proxy: proxy.map(Duration::from_millis),
            server: Duration::from_millis(20),
            others: 0.0,
        }
    }

    fn results() -> Results {
        let name = Name::PlainRead;
        let cells = BTreeMap::from([
            (
                (name, 1, Way::Direct),
                vec![Some(measured(100, None)), Some(measured(200, None))],
            ),
            (
                (name, 1, Way::PgBouncer),
                vec![Some(measured(125, Some(20))), Some(measured(250, Some(40)))],
            ),
            ((name, 1, Way::Postern), vec![Some(measured(200, Some(40))), None]),
        ]);
        Results {
            options: Options {
                rounds: 2,
                ops: 1_000,
                clients: vec![1],
                workloads: vec![name],
                write: None,
                dir: None,
                postern: "postern".into(),
            },
            ways: vec![Way::Direct, Way::PgBouncer, Way::Postern],
            versions: vec!["PostgreSQL 15".to_owned()],
            cells,
            failures: BTreeMap::from([((name, Way::Postern), "a reason".to_owned())]),
        }
    }

    #[test]
    fn ratios_are_within_rounds_and_failures_are_told() {
        let text = render(&results());
        let row = |way: &str| {
            text.lines()
                .find(|l| l.contains(way) && l.starts_with("| plain-read"))
                .unwrap()
        };
        assert!(row("direct").contains("| 7500 "), "{text}");
        assert!(row("PgBouncer").contains("6000 ×0.80 (0.80–0.80)"), "{text}");
        assert!(row("Postern").contains("5000 ×0.50 (0.50–0.50)"), "{text}");
        assert!(row("Postern").contains("0.0400 ×2.00 (2.00–2.00)"), "{text}");
        assert!(row("direct").contains("| – "), "{text}");
        assert!(text.contains("- plain-read, Postern: a reason"), "{text}");
        assert!(text.contains("--rounds 2 --ops 1000 --clients 1 --only plain-read"), "{text}");
    }

    #[test]
    fn without_pgbouncer_its_column_is_only_a_number() {
        let mut results = results();
        results.ways.retain(|w| *w != Way::PgBouncer);
        results.cells.retain(|(_, _, way), _| *way != Way::PgBouncer);
        let text = render(&results);
        assert!(!text.contains("| PgBouncer"), "{text}");
        assert!(text.contains("| 0.0400 "), "{text}");
    }
}
