//! `postern-bench`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    postern_bench::main()
}
