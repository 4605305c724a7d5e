//! pgbench, which checks every answer: a wrong or missing row ends its client with an error, and the slice does not count.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::child::quiet;
use crate::client::Target;
use crate::error::BenchError;
use crate::place::{self, Place};
use crate::rows::{JOINED, Protocol, Script};
use crate::stats::percentile;
use crate::stop::Stop;
use crate::tables::{CARD, FACTOR, MODULUS, POINTS};

const POLL: Duration = Duration::from_millis(5);
/// Beyond the time that was asked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pgbench that was found.
pub struct Pgbench {
    binary: PathBuf,
    dir: PathBuf,
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// `-M`.
    pub protocol: Protocol,
    /// `-f`.
    pub script: Script,
    /// `-c`.
    pub clients: u32,
    /// `-C`.
    pub connect: bool,
    /// `-T`.
    pub time: Duration,
}

/// What it said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Said {
    /// Transactions that were right.
    pub operations: u64,
    /// Per second, connecting not counted unless each transaction connects.
    pub throughput: f64,
    /// Mean, µs.
    pub mean: f64,
    /// Percentiles of a sample, µs: 50, 95, 99.
    pub percentiles: [f64; 3],
}

impl Pgbench {
    /// Scripts and logs go to a directory of that name in the run's.
    pub fn new(programs: &Path, place: &Place, name: &str) -> Result<Self, BenchError> {
        let dir = place.path(name);
        fs::create_dir_all(&dir).map_err(BenchError::io("create", &dir))?;
        Ok(Self {
            binary: programs.join("pgbench"),
            dir,
        })
    }

    /// As it says itself.
    pub fn version(&self) -> String {
        let output = Command::new(&self.binary).arg("--version").output();
        let text = output
            .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
            .unwrap_or_default();
        text.trim().to_owned()
    }

    /// Runs it. Ends it at the wish to stop.
    pub fn run(&self, target: &Target, job: Job, stop: &Stop) -> Result<Said, BenchError> {
        let script = self.dir.join("script.sql");
        place::write(&script, text(job.script).as_bytes())?;
        for old in self.logs()? {
            fs::remove_file(&old).map_err(BenchError::io("remove", &old))?;
        }
        let tls = if target.tls {
            "sslmode=require ssl_min_protocol_version=TLSv1.3"
        } else {
            "sslmode=disable"
        };
        let mut command = Command::new(&self.binary);
        quiet(&mut command, None);
        command
            .current_dir(&self.dir)
            .env("PGPASSWORD", &target.password)
            // Kerberos would be asked for first where its library is there.
            .env("PGGSSENCMODE", "disable")
            .args(["-n", "-j", "1", "-M"])
            .arg(match job.protocol {
                Protocol::Simple => "simple",
                Protocol::Extended => "extended",
                Protocol::Prepared => "prepared",
            })
            .args(["-c", &job.clients.to_string(), "-T", &job.time.as_secs().max(1).to_string()])
            // One in ten of the times is enough for percentiles, and writing all of them would be work.
            .args(["-l", "--log-prefix=times", "--sampling-rate=0.1", "-f"])
            .arg(&script);
        if job.connect {
            command.arg("-C");
        }
        if let Some(options) = &target.options {
            command.env("PGOPTIONS", options);
        }
        command.arg(format!(
            "host=127.0.0.1 port={} user={} dbname={} {tls}",
            target.port, target.user, target.database
        ));
        // Files, not pipes: nobody has to read while it runs.
        let (output, errors) = (self.dir.join("output"), self.dir.join("errors"));
        for (file, set) in [(&output, true), (&errors, false)] {
            let sink = fs::File::create(file).map_err(BenchError::io("create", file))?;
            if set {
                command.stdout(sink);
            } else {
                command.stderr(sink);
            }
        }
        let mut child = command
            .stdin(Stdio::null())
            .spawn()
            .map_err(BenchError::io("run", &self.binary))?;
        let began = Instant::now();
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if stop.check().is_err() || began.elapsed() > job.time + PATIENCE => {
                    let _ = child.kill();
                    let _ = child.wait();
                    stop.check()?;
                    return Err(BenchError::NotReady {
                        program: "pgbench".to_owned(),
                        seconds: began.elapsed().as_secs(),
                        message: read(&errors)?,
                    });
                }
                Ok(None) => std::thread::sleep(POLL),
                Err(e) => return Err(BenchError::io("wait for", &self.binary)(e)),
            }
        };
        let said = read(&output)?;
        if !status.success() {
            let message = read(&errors)?;
            return Err(BenchError::Ended {
                program: "pgbench".to_owned(),
                message: message
                    .lines()
                    .filter(|l| !l.trim().is_empty())
                    .take(4)
                    .collect::<Vec<_>>()
                    .join("\n"),
            });
        }
        let mut times = Vec::new();
        for log in self.logs()? {
            times.extend(sampled(&read(&log)?));
        }
        understood(&said, &mut times, job.clients).ok_or(BenchError::Unreadable {
            what: format!("pgbench's output ({said})"),
        })
    }

    fn logs(&self) -> Result<Vec<PathBuf>, BenchError> {
        let entries = fs::read_dir(&self.dir).map_err(BenchError::io("read", &self.dir))?;
        Ok(entries
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with("times"))
            .map(|e| e.path())
            .collect())
    }
}

fn read(file: &Path) -> Result<String, BenchError> {
    fs::read_to_string(file).map_err(BenchError::io("read", file))
}

/// `\gset` wants exactly one row; a balance that is not the one of the row's number divides by zero.
fn text(script: Script) -> String {
    let check = format!("\\if :balance <> (:n * {FACTOR}) % {MODULUS}\nSELECT 1 / 0\n\\endif\n");
    match script {
        Script::Point => {
            format!("\\set n random(1, {POINTS})\nSELECT abalance AS balance FROM accounts WHERE aid = :n \\gset\n{check}")
        }
        Script::Card => format!(
            "\\set n random(1, {POINTS})\n\\set card :n * {CARD}\nSELECT card, balance, note FROM cards WHERE card = :card \\gset\n{check}"
        ),
        Script::Join => format!(
            "\\set n random(1, {})\n\\set last :n + {}\nSELECT count(w.body) AS found, min(a.abalance) AS least FROM accounts a JOIN wide w ON w.id = a.aid \
             WHERE a.aid BETWEEN :n AND :last \\gset\n\\if :found <> {JOINED}\nSELECT 1 / 0\n\\endif\n",
            POINTS - JOINED,
            JOINED - 1,
        ),
        Script::Texts(many) => {
            format!("\\set n random(1, {many})\nSELECT abalance AS balance FROM accounts AS t:n WHERE aid = :n \\gset\n{check}")
        }
    }
}

/// The third field of each line is a transaction's time in µs.
fn sampled(log: &str) -> impl Iterator<Item = u64> {
    log.lines().filter_map(|l| l.split(' ').nth(2)?.parse().ok())
}

fn understood(said: &str, times: &mut [u64], clients: u32) -> Option<Said> {
    let after = |head: &str| said.lines().find_map(|l| l.strip_prefix(head));
    let operations = after("number of transactions actually processed: ")?;
    let operations = operations.split('/').next()?.trim().parse().ok()?;
    let throughput: f64 = after("tps = ")?.split(' ').next()?.parse().ok()?;
    let percentiles = [50, 95, 99].map(|p| percentile(times, p).map_or(f64::NAN, |t| t as f64));
    (throughput > 0.0).then_some(Said {
        operations,
        throughput,
        mean: f64::from(clients) / throughput * 1e6,
        percentiles,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_output_is_understood() {
        let said = "transaction type: s.sql\nnumber of transactions actually processed: 1000\nnumber of failed transactions: 0 (0.000%)\n\
                    latency average = 0.5 ms\ntps = 2000.5 (without initial connection time)\n";
        let mut times: Vec<u64> = sampled("0 1 400 0 1700000000 1\n0 2 600 0 1700000000 2\n").collect();
        let understood = understood(said, &mut times, 1).unwrap();
        assert_eq!((understood.operations, understood.throughput), (1000, 2000.5));
        assert_eq!(understood.percentiles, [400.0, 600.0, 600.0]);
        assert!(super::understood("nothing", &mut [], 1).is_none());
    }

    #[test]
    fn every_script_checks_its_answers() {
        for script in [Script::Point, Script::Card, Script::Join, Script::Texts(5)] {
            let text = text(script);
            assert!(text.contains("\\gset") && text.contains("1 / 0"), "{text}");
        }
    }
}
