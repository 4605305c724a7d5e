//! What the gate costs, measured beside what it is compared with.
//!
//! One run starts `postern demo` in a directory of its own and puts PgBouncer before the same PostgreSQL. Then every workload runs by
//! three ways in turn (straight to PostgreSQL, through PgBouncer, through Postern), in short slices, for several rounds, so that
//! whatever else the machine does meets all three alike. What is reported are ratios within a round: their median and how far the
//! rounds lie apart.
//!
//! It promises that each operation that is counted gave the right answer, that the tables behind "encrypted" hold ciphertext, and that
//! nothing is left running. It sets no target and fails over no number. Everything stays on the loopback interface and is bounded in
//! operations and time.
//!
//! The comparison is with an unprotected copy: the direct and PgBouncer ways read the same rows in the clear from a second database of
//! the same server, without policies, so that a ratio holds everything the gate adds, PostgreSQL's own row-level security included.

mod bouncer;
mod child;
mod cpu;
mod error;
mod machine;
mod options;
mod report;
mod run;
mod slice;
mod stage;
mod stand;
pub mod stats;
mod way;
mod workload;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

pub use error::BenchError;
pub use options::{Options, Typed};

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

/// The run and its report; whether everything could be measured.
fn whole(options: &Options) -> Result<bool, BenchError> {
    // One thread for all clients: the machine's other cores are for what is measured. It is also the thread that children are tied to.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BenchError::io("start a runtime in", "this process"))?;
    let results = runtime.block_on(async {
        tokio::select! {
            results = run::run(options) => results,
            () = child::asked_to_stop() => Err(BenchError::Interrupted),
        }
    })?;
    let text = report::render(&results);
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    if let Some(file) = &options.write {
        std::fs::write(file, &text).map_err(BenchError::io("write", file))?;
    }
    Ok(results.failures.is_empty())
}
