//! Servers that this run starts, and their end.
//!
//! A server ends with its owner here: by SIGTERM when that is dropped, and by the kernel should this process be killed (where util-linux's
//! `setpriv` is installed). A terminal's Ctrl-C reaches this process alone, which then stops them in order.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::machine::Account;
use crate::stop::Stop;

/// How long a server may take to stop before it is killed.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// A running server.
pub struct Server {
    program: &'static str,
    child: Child,
    log: PathBuf,
    goodbye: &'static str,
}

impl Server {
    /// Starts it, its output in `log`, as `account` if that is given. Must be called on the main thread: the tie is to the thread.
    pub fn start(
        program: &'static str,
        binary: &Path,
        args: &[&str],
        log: &Path,
        account: Option<Account>,
    ) -> Result<Self, BenchError> {
        let output = File::create(log).map_err(BenchError::io("create", log))?;
        let errors = output.try_clone().map_err(BenchError::io("open", log))?;
        if !binary.is_file() {
            return Err(BenchError::io("run", binary)(std::io::ErrorKind::NotFound.into()));
        }
        let setpriv = ["/usr/bin/setpriv", "/bin/setpriv"]
            .into_iter()
            .find(|p| Path::new(p).is_file());
        let mut command = match setpriv {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig=TERM", "--"]).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        quiet(&mut command, account);
        let child = command
            .args(args)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(BenchError::io("run", binary))?;
        Ok(Self {
            program,
            child,
            log: log.to_owned(),
            goodbye: "TERM",
        })
    }

    /// The signal that asks it to stop, where that is not SIGTERM.
    pub fn stopped_by(mut self, signal: &'static str) -> Self {
        self.goodbye = signal;
        self
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks `probe` until it has an answer, the server ends or `limit` is over.
    pub fn ready<T>(&mut self, limit: Duration, stop: &Stop, mut probe: impl FnMut() -> Option<T>) -> Result<T, BenchError> {
        let began = Instant::now();
        loop {
            if let Some(answer) = probe() {
                return Ok(answer);
            }
            stop.check()?;
            if !self.lives() {
                return Err(BenchError::Ended {
                    program: self.program.to_owned(),
                    message: self.last_words(),
                });
            }
            if began.elapsed() > limit {
                return Err(BenchError::NotReady {
                    program: self.program.to_owned(),
                    seconds: limit.as_secs(),
                    message: self.last_words(),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Whether it still runs.
    pub fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(12)..];
        if last.is_empty() {
            "(nothing)".to_owned()
        } else {
            last.join("\n")
        }
    }
}

impl Drop for Server {
    /// Blocks until the server is gone.
    fn drop(&mut self) {
        // The number of a process that has been waited for may be somebody else's by now.
        if !self.lives() {
            return;
        }
        // The standard library can only kill; every shell's built-in can ask.
        let asked = Command::new("sh")
            .args(["-c", "kill -\"$1\" \"$0\"", &self.pid().to_string(), self.goodbye])
            .status();
        let began = Instant::now();
        while asked.as_ref().is_ok_and(std::process::ExitStatus::success) && began.elapsed() < PATIENCE {
            if !self.lives() {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who runs a program, and that settings of the caller's libpq do not decide what is measured.
pub fn quiet(command: &mut Command, account: Option<Account>) {
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("PG")) {
            command.env_remove(name);
        }
    }
}
