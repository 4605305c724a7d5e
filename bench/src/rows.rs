//! What is measured: rows of the table, each a kind of work by several ways, with its targets; and the points of the curves.
//!
//! A row's Postern stands with isolation, a row filter (`enforce = "rewrite"`) and a user's token unless its way says otherwise; PgBouncer
//! stands beside it in the same mode.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a pooler shares server connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// One client, one server connection.
    Session,
    /// Server connections are given back after each transaction.
    Transaction,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Session => "session",
            Mode::Transaction => "transaction",
        })
    }
}

/// How a query gets to PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Straight, to the rows in the clear.
    Direct,
    /// Through PgBouncer, to the rows in the clear.
    Bouncer,
    /// The same with TLS 1.3 towards the client.
    BouncerTls,
    /// Through Postern with isolation alone, to a table without policies.
    Plain,
    /// Through Postern with a row filter and a user's token, to declared tables.
    Filtered,
    /// The same with TLS 1.3 towards the client.
    FilteredTls,
    /// The same under `enforce = "both"`.
    Both,
    /// [`Way::Plain`] with a plan cache of 1 MiB.
    Cache1,
    /// With one of 4 MiB.
    Cache4,
    /// With one of 64 MiB, the default.
    Cache64,
    /// Through PgCat, to the rows in the clear.
    PgCat,
    /// Through PgDog, to the rows in the clear.
    PgDog,
}

impl Way {
    /// As reports call it.
    pub fn title(self) -> &'static str {
        match self {
            Way::Direct => "direct",
            Way::Bouncer => "PgBouncer",
            Way::BouncerTls => "PgBouncer, TLS",
            Way::Plain => "Postern, isolation only",
            Way::Filtered => "Postern",
            Way::FilteredTls => "Postern, TLS",
            Way::Both => "Postern, both",
            Way::Cache1 => "Postern, 1 MiB",
            Way::Cache4 => "Postern, 4 MiB",
            Way::Cache64 => "Postern, 64 MiB",
            Way::PgCat => "PgCat",
            Way::PgDog => "PgDog",
        }
    }

    /// Whether the gate stands in between.
    pub fn guarded(self) -> bool {
        !matches!(self, Way::Direct | Way::Bouncer | Way::BouncerTls | Way::PgCat | Way::PgDog)
    }

    /// Whether a user asks, whose rows are filtered.
    pub fn filtered(self) -> bool {
        matches!(self, Way::Filtered | Way::FilteredTls | Way::Both)
    }
}

/// pgbench's `-M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Query, a text of its own each time.
    Simple,
    /// Parse, Bind, Execute each time, the text always the same.
    Extended,
    /// Parse once.
    Prepared,
}

/// What a statement reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// A row by its primary key.
    Point,
    /// A row by a protected column; three protected columns are opened.
    Card,
    /// A row by its primary key, by one of so many texts.
    Texts(u32),
    /// [`JOINED`] rows of one table joined with another by their keys.
    Join,
}

/// Rows of [`Script::Join`].
pub const JOINED: u32 = 20;

/// What a slice does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// pgbench.
    Points {
        /// `-M`.
        protocol: Protocol,
        /// `-f`.
        script: Script,
        /// `-c`.
        clients: u32,
        /// `-C`: each transaction connects anew.
        connect: bool,
    },
    /// One client reads a long result again and again.
    Bulk {
        /// Whether each row has a protected column.
        protected: bool,
    },
    /// So many clients ask once and then wait.
    Idle {
        /// How many.
        clients: u32,
    },
}

/// A number of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// CPU of the proxy's process per operation, µs.
    ProxyCpu,
    /// CPU of PostgreSQL's processes per operation, µs.
    ServerCpu,
    /// Operations per second.
    Throughput,
    /// Mean time of an operation, µs.
    Latency,
    /// CPU of the proxy's process, seconds per GB of result.
    CpuPerByte,
    /// Megabytes of result per second.
    BytesPerSecond,
    /// Memory of the proxy's process per client, kB.
    Memory,
}

/// How two or three ways compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `of / over`.
    Ratio,
    /// `(of − base) / (over − base)`: what each adds.
    Added(Way),
    /// `of − over`.
    Difference,
    /// `of` as it is.
    Itself,
}

/// Which side of the bound is good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// ≤
    AtMost(f64),
    /// ≥
    AtLeast(f64),
}

/// A target of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// What is compared.
    pub figure: Figure,
    /// How.
    pub comparison: Comparison,
    /// Ours.
    pub of: Way,
    /// Whose.
    pub over: Way,
    /// What it must be.
    pub bound: Bound,
}

/// A row of the table, or a point of a curve.
#[derive(Debug, Clone)]
pub struct Row {
    /// What `--rows` takes.
    pub key: String,
    /// What is done.
    pub title: String,
    /// How.
    pub work: Work,
    /// Poolers' mode.
    pub mode: Mode,
    /// By which ways.
    pub ways: Vec<Way>,
    /// What should come out.
    pub targets: Vec<Target>,
    /// Of the time of a slice; curves take less than rows.
    pub share: f64,
}

/// Clients of the throughput curve.
pub const CLIENTS: [u32; 6] = [1, 2, 4, 8, 16, 32];
/// Texts of the plan cache's curve.
pub const TEXTS: [u32; 5] = [10, 100, 1_000, 4_000, 16_000];

/// Everything that can be measured, in the order of the report.
pub fn all() -> Vec<Row> {
    use Way::{Both, Bouncer, BouncerTls, Cache1, Cache4, Cache64, Direct, Filtered, FilteredTls, PgCat, PgDog, Plain};
    let mut rows = Vec::new();
    for (name, about, protocol, mode, script, bound) in [
        ("prepared", "prepared", Protocol::Prepared, Mode::Session, Script::Point, 1.1),
        (
            "extended",
            "extended, same text each time",
            Protocol::Extended,
            Mode::Transaction,
            Script::Point,
            1.0,
        ),
        (
            "simple",
            "simple, literals differ every time",
            Protocol::Simple,
            Mode::Transaction,
            Script::Point,
            1.1,
        ),
        (
            "eq",
            "point read by a protected `eq` column, opening 3 columns, prepared",
            Protocol::Prepared,
            Mode::Session,
            Script::Card,
            1.25,
        ),
    ] {
        for clients in [8, 32] {
            let mut ways = vec![Direct, Bouncer, Filtered];
            if script == Script::Point {
                if clients == 8 {
                    ways.extend([Plain, Both]);
                }
                ways.extend([PgCat, PgDog]);
            }
            rows.push(Row {
                key: format!("{name}-{clients}"),
                title: format!("{about}, {mode} mode, {clients} clients"),
                work: points(protocol, script, clients),
                mode,
                ways,
                targets: vec![
                    ratio(Figure::ProxyCpu, Filtered, Bouncer, Bound::AtMost(bound)),
                    ratio(Figure::Throughput, Filtered, Bouncer, Bound::AtLeast(1.0)),
                ],
                share: 1.0,
            });
        }
    }
    for (name, protocol, mode) in [
        ("prepared", Protocol::Prepared, Mode::Session),
        ("simple", Protocol::Simple, Mode::Transaction),
    ] {
        rows.push(Row {
            key: format!("latency-{name}"),
            title: format!("one client: added latency, {name}, {mode} mode"),
            work: points(protocol, Script::Point, 1),
            mode,
            ways: vec![Direct, Bouncer, Filtered, PgCat, PgDog],
            targets: vec![Target {
                figure: Figure::Latency,
                comparison: Comparison::Added(Direct),
                of: Filtered,
                over: Bouncer,
                bound: Bound::AtMost(1.0),
            }],
            share: 1.0,
        });
    }
    rows.push(Row {
        key: "bulk".to_owned(),
        title: "bulk SELECT of plain columns, 500,000 rows, session mode".to_owned(),
        work: Work::Bulk { protected: false },
        mode: Mode::Session,
        ways: vec![Direct, Bouncer, Filtered],
        targets: vec![
            ratio(Figure::CpuPerByte, Filtered, Bouncer, Bound::AtMost(1.0)),
            ratio(Figure::BytesPerSecond, Filtered, Direct, Bound::AtLeast(0.95)),
        ],
        share: 1.0,
    });
    rows.push(Row {
        key: "bulk-open".to_owned(),
        title: "bulk SELECT opening one protected column per row, 500,000 rows, session mode".to_owned(),
        work: Work::Bulk { protected: true },
        mode: Mode::Session,
        ways: vec![Direct, Bouncer, Filtered],
        targets: vec![ratio(Figure::CpuPerByte, Filtered, Bouncer, Bound::AtMost(1.75))],
        share: 1.0,
    });
    rows.push(Row {
        key: "connect".to_owned(),
        title: "connect, one statement, disconnect (`pgbench -C`, SCRAM on both sides), transaction mode, 8 clients".to_owned(),
        work: Work::Points {
            protocol: Protocol::Simple,
            script: Script::Point,
            clients: 8,
            connect: true,
        },
        mode: Mode::Transaction,
        ways: vec![Direct, Bouncer, Filtered, Plain],
        targets: vec![
            ratio(Figure::ProxyCpu, Filtered, Bouncer, Bound::AtMost(1.0)),
            ratio(Figure::Throughput, Filtered, Bouncer, Bound::AtLeast(1.0)),
        ],
        share: 1.0,
    });
    rows.push(Row {
        key: "idle".to_owned(),
        title: "500 idle clients, memory each, transaction mode".to_owned(),
        work: Work::Idle { clients: 500 },
        mode: Mode::Transaction,
        ways: vec![Bouncer, Filtered],
        targets: vec![Target {
            figure: Figure::Memory,
            comparison: Comparison::Itself,
            of: Filtered,
            over: Bouncer,
            bound: Bound::AtMost(8.0),
        }],
        share: 1.0,
    });
    rows.push(Row {
        key: "tls".to_owned(),
        title: "TLS 1.3 towards the client: added CPU per query, prepared, session mode, 8 clients".to_owned(),
        work: points(Protocol::Prepared, Script::Point, 8),
        mode: Mode::Session,
        ways: vec![Bouncer, BouncerTls, Filtered, FilteredTls],
        targets: vec![difference(Figure::ProxyCpu, FilteredTls, Filtered, Bound::AtMost(7.0))],
        share: 1.0,
    });
    rows.push(Row {
        key: "both".to_owned(),
        title: "`enforce = \"both\"`: server CPU per query over none, prepared, session mode, 8 clients".to_owned(),
        work: points(Protocol::Prepared, Script::Point, 8),
        mode: Mode::Session,
        ways: vec![Plain, Filtered, Both],
        targets: vec![difference(Figure::ServerCpu, Both, Plain, Bound::AtMost(25.0))],
        share: 1.0,
    });
    rows.push(Row {
        key: "join".to_owned(),
        title: format!("filters under a join of {JOINED} rows of 100,000 with 500,000, prepared, session mode, 8 clients"),
        work: points(Protocol::Prepared, Script::Join, 8),
        mode: Mode::Session,
        ways: vec![Direct, Bouncer, Filtered, Both],
        targets: vec![
            ratio(Figure::ServerCpu, Filtered, Bouncer, Bound::AtMost(1.3)),
            ratio(Figure::ServerCpu, Both, Bouncer, Bound::AtMost(1.3)),
        ],
        share: 1.0,
    });
    for clients in CLIENTS {
        rows.push(Row {
            key: format!("clients-{clients}"),
            title: format!("extended, transaction mode, {clients} clients"),
            work: points(Protocol::Extended, Script::Point, clients),
            mode: Mode::Transaction,
            ways: vec![Direct, Bouncer, Plain, Filtered, PgCat, PgDog],
            targets: Vec::new(),
            share: 0.2,
        });
    }
    for texts in TEXTS {
        rows.push(Row {
            key: format!("texts-{texts}"),
            title: format!("simple, session mode, 8 clients, {texts} different texts"),
            work: points(Protocol::Simple, Script::Texts(texts), 8),
            mode: Mode::Session,
            ways: vec![Bouncer, Cache1, Cache4, Cache64],
            targets: Vec::new(),
            share: 0.3,
        });
    }
    rows
}

fn points(protocol: Protocol, script: Script, clients: u32) -> Work {
    Work::Points {
        protocol,
        script,
        clients,
        connect: false,
    }
}

fn ratio(figure: Figure, of: Way, over: Way, bound: Bound) -> Target {
    Target {
        figure,
        comparison: Comparison::Ratio,
        of,
        over,
        bound,
    }
}

fn difference(figure: Figure, of: Way, over: Way, bound: Bound) -> Target {
    Target {
        comparison: Comparison::Difference,
        ..ratio(figure, of, over, bound)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_unique_and_targets_speak_of_ways_that_are_taken() {
        let rows = all();
        let keys: BTreeSet<&str> = rows.iter().map(|r| r.key.as_str()).collect();
        assert_eq!(keys.len(), rows.len());
        for row in &rows {
            for target in &row.targets {
                assert!(
                    row.ways.contains(&target.of) && row.ways.contains(&target.over),
                    "{}",
                    row.key
                );
                if let Comparison::Added(base) = target.comparison {
                    assert!(row.ways.contains(&base), "{}", row.key);
                }
            }
        }
    }
}
