//! The command line: what was typed ([`Typed`]) becomes what is usable ([`Options`]).

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::rows::{self, Mode, Row};

const EXAMPLES: &str = "Examples:
  postern-bench
      Everything, 10 s × 5 rounds a cell; about an hour. Writes bench/RESULTS.md, bench/results.json and bench/plots/.
  postern-bench --quick
      Everything, 1 s × 2, into target/bench-quick/: to see that it runs.
  postern-bench --rows prepared,bulk
      Some rows only (`prepared` is prepared-8 and prepared-32); the others' numbers stay.
  postern-bench --list
      What rows there are.
  postern-bench --render
      Writes the report and the plots again from what was measured.
  postern-bench soak --seconds 600
      Mixed load; fails if memory grows.

No number of the table fails a run. Exit codes: 0 all was measured, 1 something could not be, 2 bad command line, 130 interrupted.";

/// What a hop costs: straight to PostgreSQL, through PgBouncer, through Postern, interleaved.
#[derive(Debug, Parser)]
#[command(name = "postern-bench", version, about, after_help = EXAMPLES, max_term_width = 110)]
pub struct Typed {
    #[command(subcommand)]
    command: Option<Command>,
    /// Rounds; in each, every way runs every row once [default: 5; 2 with --quick].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Seconds of a slice [default: 10; 1 with --quick].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=120))]
    seconds: Option<u32>,
    /// Short slices, few rounds: shows that everything runs; the numbers are an indication.
    #[arg(long)]
    quick: bool,
    /// Only these rows, by name or by its beginning before a dash.
    #[arg(long, value_delimiter = ',', value_name = "ROW")]
    rows: Vec<String>,
    /// Name the rows and end.
    #[arg(long)]
    list: bool,
    /// Measure nothing; write report and plots from what was measured before.
    #[arg(long)]
    render: bool,
    /// Where the report goes [default: bench; target/bench-quick with --quick].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where the servers live; kept afterwards [default: a new directory in /var/tmp that is removed].
    #[arg(long, value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
    /// The binary under test [default: beside this one].
    #[arg(long, value_name = "FILE", global = true)]
    postern: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Mixed load for a long time; fails if the memory of `postern serve` grows.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(60..=604_800))]
        seconds: u64,
        /// How server connections are shared.
        #[arg(long, default_value = "transaction", value_parser = mode)]
        mode: Mode,
        /// Where the plot goes.
        #[arg(long, value_name = "FILE", default_value = "bench/plots/soak.svg")]
        plot: PathBuf,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Measure and report.
    Measure,
    /// Report what was measured before.
    Render,
    /// Name the rows.
    List,
    /// Mixed load.
    Soak {
        /// How long, s.
        seconds: u64,
        /// How server connections are shared.
        mode: Mode,
        /// Where the plot goes.
        plot: PathBuf,
    },
}

/// What a run needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is to be done.
    pub task: Task,
    /// Rounds.
    pub rounds: u32,
    /// Seconds of a slice.
    pub seconds: u32,
    /// Rows.
    pub rows: Vec<Row>,
    /// Where the report goes.
    pub out: PathBuf,
    /// Where the servers live, if that is to be kept.
    pub dir: Option<PathBuf>,
    /// The binary under test.
    pub postern: PathBuf,
}

fn mode(text: &str) -> Result<Mode, String> {
    [Mode::Session, Mode::Transaction]
        .into_iter()
        .find(|m| m.to_string() == text)
        .ok_or_else(|| "session or transaction".to_owned())
}

impl Typed {
    /// Fills in the defaults.
    pub fn usable(self) -> Result<Options, clap::Error> {
        let postern = match self.postern {
            Some(file) => file,
            None => std::env::current_exe()
                .map(|own| own.with_file_name("postern"))
                .map_err(|e| Self::command().error(ErrorKind::Io, format!("cannot find this program's own directory: {e}")))?,
        };
        let mut rows = rows::all();
        for asked in &self.rows {
            if !rows.iter().any(|r| named(r, asked)) {
                let known: Vec<&str> = rows.iter().map(|r| r.key.as_str()).collect();
                let problem = format!("no row `{asked}`; there are {}", known.join(", "));
                return Err(Self::command().error(ErrorKind::InvalidValue, problem));
            }
        }
        if !self.rows.is_empty() {
            rows.retain(|r| self.rows.iter().any(|asked| named(r, asked)));
        }
        let (rounds, seconds, out) = if self.quick {
            (2, 1, "target/bench-quick")
        } else {
            (5, 10, "bench")
        };
        Ok(Options {
            task: match self.command {
                Some(Command::Soak { seconds, mode, plot }) => Task::Soak { seconds, mode, plot },
                None if self.list => Task::List,
                None if self.render => Task::Render,
                None => Task::Measure,
            },
            rounds: self.rounds.unwrap_or(rounds),
            seconds: self.seconds.unwrap_or(seconds),
            rows,
            out: self.out.unwrap_or_else(|| PathBuf::from(out)),
            dir: self.dir,
            postern,
        })
    }
}

fn named(row: &Row, asked: &str) -> bool {
    row.key == asked || row.key.strip_prefix(asked).is_some_and(|rest| rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options, clap::Error> {
        Typed::try_parse_from(std::iter::once(&"postern-bench").chain(args)).and_then(Typed::usable)
    }

    #[test]
    fn defaults_quick_and_what_is_said() {
        let plain = options(&[]).unwrap();
        assert_eq!((plain.rounds, plain.seconds, plain.task), (5, 10, Task::Measure));
        assert_eq!(plain.rows.len(), rows::all().len());
        let quick = options(&["--quick", "--seconds", "3"]).unwrap();
        assert_eq!((quick.rounds, quick.seconds), (2, 3));
        assert_ne!(quick.out, plain.out, "a trial does not overwrite results");
    }

    #[test]
    fn rows_are_named_whole_or_by_their_beginning() {
        let keys = |args: &[&str]| -> Vec<String> { options(args).unwrap().rows.into_iter().map(|r| r.key).collect() };
        assert_eq!(keys(&["--rows", "prepared"]), ["prepared-8", "prepared-32"]);
        assert_eq!(keys(&["--rows", "bulk-open,tls"]), ["bulk-open", "tls"]);
        assert_eq!(keys(&["--rows", "bulk"]), ["bulk", "bulk-open"]);
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in [
            &["--rounds", "0"][..],
            &["--seconds", "0"],
            &["--rows", "pre"],
            &["soak", "--seconds", "1"],
            &["soak", "--mode", "statement"],
        ] {
            assert!(options(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Typed::command().debug_assert();
    }
}
