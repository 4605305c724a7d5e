//! Servers that this run starts, and their end.
//!
//! A server ends with its owner here: by SIGTERM when that is dropped, and by the kernel should this process be killed (where util-linux's
//! `setpriv` is installed). A terminal's Ctrl-C reaches this process alone, which then stops them in order.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::BenchError;
use crate::machine::Account;

/// How long a server may take to stop before it is killed.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// A running server.
pub struct Server {
    program: &'static str,
    child: Child,
    log: PathBuf,
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
        if let Some(account) = account {
            command.uid(account.uid).gid(account.gid);
        }
        for (name, _) in std::env::vars_os() {
            // Settings of the caller's libpq must not decide what is measured.
            if name.to_str().is_some_and(|n| n.starts_with("PG")) {
                command.env_remove(name);
            }
        }
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
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks `probe` until it has an answer, the server ends or `limit` is over.
    pub async fn ready<T>(&mut self, limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> Result<T, BenchError> {
        let began = Instant::now();
        loop {
            if let Some(answer) = probe().await {
                return Ok(answer);
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Err(BenchError::Ended {
                    program: self.program,
                    message: self.last_words(),
                });
            }
            if began.elapsed() > limit {
                return Err(BenchError::NotReady {
                    program: self.program,
                    seconds: limit.as_secs(),
                    message: self.last_words(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
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
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // The standard library can only kill; every shell's built-in can ask.
        let asked = Command::new("sh")
            .args(["-c", "kill -TERM \"$0\"", &self.pid().to_string()])
            .status();
        let began = Instant::now();
        while asked.as_ref().is_ok_and(std::process::ExitStatus::success) && began.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends at SIGINT or SIGTERM; where signals cannot be had, never.
pub async fn asked_to_stop() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
