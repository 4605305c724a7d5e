//! What a hop costs, measured beside what it is compared with.
//!
//! One run makes a PostgreSQL of its own, provisions modules of its own into it (`modules/`), puts PgBouncer and Postern before it as
//! processes of their own, and runs every row of the table by every way in turn, in slices, for several rounds, so that whatever else
//! the machine does meets all alike. What is reported are comparisons within a round: their median and how far the rounds lie apart.
//!
//! It promises that each operation that is counted gave the right answer, that what is called protected is ciphertext on the server, and
//! that nothing is left running. It fails over no number of the table; the soak alone fails where memory grows. Everything stays on the
//! loopback interface.
//!
//! The comparison is with a copy in the clear: the ways without a gate read the same rows from a second database of the same server,
//! without policies, so that a ratio holds everything the gate adds.

mod bouncer;
mod child;
mod client;
mod cluster;
mod cpu;
mod error;
mod gate;
mod machine;
mod options;
mod peers;
mod pgbench;
mod place;
mod plots;
mod report;
mod rows;
mod run;
mod slice;
mod soak;
mod stage;
pub mod stats;
mod stop;
mod store;
mod tables;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

pub use error::BenchError;
use options::Task;
pub use options::{Options, Typed};
use stop::Stop;
use store::Store;

/// Runs what was typed. 0: all was measured; 1: something could not be; 2: the command line was not understood; 130: interrupted.
pub fn main() -> ExitCode {
    let options = match Typed::try_parse().and_then(Typed::usable) {
        Ok(options) => options,
        Err(e) => {
            // Help and version are answers (0); everything else was not understood (2).
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    match whole(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            let mut err = std::io::stderr().lock();
            let _ = writeln!(err, "postern-bench: {e}");
            if let Some(remedy) = e.remedy() {
                let _ = writeln!(err, "  {remedy}");
            }
            ExitCode::from(if matches!(e, BenchError::Interrupted) { 130 } else { 1 })
        }
    }
}

/// Does it; whether everything could be done.
fn whole(options: &Options) -> Result<bool, BenchError> {
    match &options.task {
        Task::List => {
            let mut out = std::io::stdout().lock();
            for row in &options.rows {
                // A closed pipe has read what it wanted.
                let _ = writeln!(out, "{:<18} {}", row.key, row.title);
            }
            Ok(true)
        }
        Task::Soak { seconds, mode, plot } => soak::soak(options, *seconds, *mode, plot, &Stop::listen()).map(|()| true),
        Task::Render => {
            let store = Store::read(&options.out.join("results.json"))?;
            written(options, &store).map(|()| true)
        }
        Task::Measure => {
            std::fs::create_dir_all(&options.out).map_err(BenchError::io("create", &options.out))?;
            let file = options.out.join("results.json");
            let earlier = Store::read(&file)?;
            let new = run::run(options, &Stop::listen())?;
            let whole = new.0.values().all(|row| row.failures.is_empty());
            let store = run::merged(earlier, new);
            store.write(&file)?;
            written(options, &store)?;
            Ok(whole)
        }
    }
}

/// Report and plots.
fn written(options: &Options, store: &Store) -> Result<(), BenchError> {
    let text = report::render(store);
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    let file = options.out.join("RESULTS.md");
    std::fs::write(&file, &text).map_err(BenchError::io("write", &file))?;
    plots::draw(store, &options.out.join("plots"))
}
