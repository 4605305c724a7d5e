//! A server that ends when this process does, however it ends.
//!
//! Rust runs no destructors of statics, so the stop does not rely on one: the server runs under a shell that waits for the end of its
//! standard input. That end comes with the end of the test process; the shell then sends SIGTERM and removes the directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The shell that ties a server's life to ours: `$1` is the directory to remove (or empty), `$2` the log, the rest the command.
const KEEPER: &str = r#"dir=$1; log=$2; shift 2; exec 3<&0
"$@" </dev/null >"$log" 2>&1 3<&- &
child=$!; echo $child; exec >/dev/null
cat <&3 >/dev/null
kill -TERM $child 2>/dev/null; wait $child
if [ -n "$dir" ]; then rm -rf "$dir"; fi"#;

/// A child server that ends when this process does.
pub struct Kept {
    // Held for its standard input: closing it is the signal to stop.
    keeper: Child,
    /// Process id of the server itself.
    pub pid: u32,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Kept {
    /// Starts `command` under the keeper.
    pub fn start(command: &[&str], log: &Path, remove: Option<&Path>) -> Self {
        use std::io::BufRead;
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(remove.map_or_else(|| Path::new("").as_os_str(), Path::as_os_str))
            .arg(log)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        let mut line = String::new();
        let stdout = keeper.stdout.take().expect("the keeper's output is piped");
        std::io::BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the keeper speaks");
        let pid = line
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("the keeper did not start {command:?}"));
        Self {
            keeper,
            pid,
            log: log.to_owned(),
        }
    }

    /// Whether the server still runs (a zombie does not).
    pub fn alive(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.pid)).is_ok_and(|s| !s.contains(") Z "))
    }

    /// Stops it and waits until its keeper is done.
    pub fn stop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }

    /// What it has said so far.
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
