//! The command line: what was typed ([`Typed`]) becomes what is usable ([`Options`]).

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::workload::Name;

const EXAMPLES: &str = "Examples:
  postern-bench
      All workloads, 1 and 8 clients, 5 rounds; a few minutes.
  postern-bench --quick
      The same with few operations, to see that everything runs.
  postern-bench --only encrypted-read --clients 1,4,16 --rounds 9
      One workload, closer.
  postern-bench --write
      Also into bench/RESULTS.md.
  postern-bench --dir /var/tmp/postern-bench
      Keeps the demo's directory and starts faster the next time.

No number fails a run. Exit codes: 0 all was measured, 1 something could not be, 2 bad command line, 130 interrupted.";

/// Plain and encrypted reads and writes: straight to PostgreSQL, through PgBouncer, through Postern, interleaved.
#[derive(Debug, Parser)]
#[command(name = "postern-bench", version, about, after_help = EXAMPLES, max_term_width = 110)]
pub struct Typed {
    /// Rounds; in each, every way runs every workload once [default: 5; 3 with --quick].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Operations of a slice, over all its clients [default: 4000; 1000 with --quick].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    ops: Option<u32>,
    /// Numbers of concurrent clients [default: 1,8].
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=64))]
    clients: Vec<u32>,
    /// Few rounds and operations: shows that everything runs; the numbers are an indication.
    #[arg(long)]
    quick: bool,
    /// Only these workloads.
    #[arg(long, value_delimiter = ',', value_name = "WORKLOAD")]
    only: Vec<Name>,
    /// Also write the report to a file.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "bench/RESULTS.md")]
    write: Option<PathBuf>,
    /// Where the demo and PgBouncer live; kept afterwards [default: a new directory in /var/tmp that is removed].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The binary under test [default: beside this one].
    #[arg(long, value_name = "FILE")]
    postern: Option<PathBuf>,
}

/// What a run needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// Rounds.
    pub rounds: u32,
    /// Operations of a slice, over all its clients.
    pub ops: u32,
    /// Numbers of clients, in order.
    pub clients: Vec<u32>,
    /// Workloads.
    pub workloads: Vec<Name>,
    /// Where the report goes besides standard output.
    pub write: Option<PathBuf>,
    /// Where the servers live, if that is to be kept.
    pub dir: Option<PathBuf>,
    /// The binary under test.
    pub postern: PathBuf,
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
        let (rounds, ops) = if self.quick { (3, 1_000) } else { (5, 4_000) };
        let mut clients = if self.clients.is_empty() { vec![1, 8] } else { self.clients };
        clients.sort_unstable();
        clients.dedup();
        let mut workloads = if self.only.is_empty() { Name::ALL.to_vec() } else { self.only };
        workloads.sort_unstable();
        workloads.dedup();
        Ok(Options {
            rounds: self.rounds.unwrap_or(rounds),
            ops: self.ops.unwrap_or(ops),
            clients,
            workloads,
            write: self.write,
            dir: self.dir,
            postern,
        })
    }
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
        assert_eq!((plain.rounds, plain.ops, plain.clients), (5, 4_000, vec![1, 8]));
        assert_eq!(plain.workloads, Name::ALL);
        let quick = options(&["--quick", "--ops", "50", "--clients", "4,1,4"]).unwrap();
        assert_eq!((quick.rounds, quick.ops, quick.clients), (3, 50, vec![1, 4]));
        assert_eq!(options(&["--write"]).unwrap().write, Some(PathBuf::from("bench/RESULTS.md")));
        assert_eq!(options(&["--only", "plain-read"]).unwrap().workloads, [Name::PlainRead]);
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in [
            &["--rounds", "0"][..],
            &["--clients", "0"],
            &["--clients", "1000"],
            &["--only", "sleep"],
        ] {
            assert!(options(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Typed::command().debug_assert();
    }
}
