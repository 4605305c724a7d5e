//! The audit trail: JSON lines, to a file or standard error, written by a thread of its own.
//!
//! Promised: an event that was accepted is written in order, at once where nothing happened lately and within `REST` otherwise. When
//! the writer is slow, whoever records waits (back pressure): nothing is dropped to keep up. When it fails (disk full), recording fails from then on, and a statement that must be audited is refused: a
//! trail with holes is worse than a gate that stays shut. Events hold names and fixed words, never a literal, parameter or row.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::identity::{Identity, unix_seconds};

/// Events that may wait for the writer; beyond that recorders wait.
const QUEUE: usize = 1024;

/// How long the writer rests after it has written everything out. Meanwhile events gather and nobody wakes it: where many arrive, one
/// write serves them all.
const REST: Duration = Duration::from_millis(10);

/// Why an event was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be opened.
    #[error("[audit] file: {}: {source}; it must be writable for the user that runs postern", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system gave no thread.
    #[error("the audit trail's thread cannot be started: {0}")]
    Thread(io::Error),
    /// The writer ended after a failure, which it has logged.
    #[error("the audit trail cannot be written; see the log for the cause")]
    Closed,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It ran.
    Allow,
    /// It was refused.
    Refuse,
}

/// One line of the trail. All texts are names or fixed words.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Unix time, seconds.
    pub ts: u64,
    /// `login`, `statement`, `superadmin`, `open-failed`.
    pub event: &'static str,
    /// The account, `service` or `guest`.
    pub who: String,
    /// The login; as the client wrote it where the login failed.
    pub login: String,
    /// The module, where the login is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// The statement's kind (`SELECT`, …).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// Relations, `schema.table`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<String>,
    /// Policies that were applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// What was decided.
    pub decision: Decision,
    /// SQLSTATE of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<&'static str>,
    /// The fixed word for why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Why a superadmin token was issued: the issuer's words, which are signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stated_reason: Option<String>,
    /// The token's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Rows sent or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

impl Event {
    /// An event of that kind about an identity on a login; fill in what is known.
    pub fn new(event: &'static str, identity: &Identity, login: &str, decision: Decision, now: SystemTime) -> Self {
        Self {
            ts: unix_seconds(now),
            event,
            who: identity.who().to_owned(),
            login: login.to_owned(),
            module: None,
            kind: None,
            relations: Vec::new(),
            policies: Vec::new(),
            decision,
            sqlstate: None,
            reason: None,
            stated_reason: identity.super_reason().map(str::to_owned),
            jti: identity.jti().map(str::to_owned),
            rows: None,
        }
    }
}

/// Where events are recorded.
#[derive(Clone)]
pub struct Audit {
    queue: mpsc::Sender<Item>,
}

enum Item {
    Event(Box<Event>),
    /// Write out all that came before, then answer and end.
    Close(oneshot::Sender<()>),
}

impl Audit {
    /// Opens the trail (appending; mode 0600 where the file is new) and starts its writer, whose end can be awaited.
    pub fn start(file: Option<&Path>) -> Result<(Self, oneshot::Receiver<()>), AuditError> {
        match file {
            None => Self::onto(io::stderr()),
            Some(path) => {
                let open = |source| AuditError::Open {
                    path: path.to_owned(),
                    source,
                };
                let mut options = OpenOptions::new();
                Self::onto(options.append(true).create(true).mode(0o600).open(path).map_err(open)?)
            }
        }
    }

    fn onto(out: impl Write + Send + 'static) -> Result<(Self, oneshot::Receiver<()>), AuditError> {
        let (queue, events) = mpsc::channel(QUEUE);
        let (ended, end) = oneshot::channel();
        thread::Builder::new()
            .name("postern-audit".to_owned())
            .spawn(move || {
                write_all(events, BufWriter::new(out));
                // Whoever waits for this may have given up.
                let _ = ended.send(());
            })
            .map_err(AuditError::Thread)?;
        Ok((Self { queue }, end))
    }

    /// Hands one event over; waits where the writer is behind. Cancel-safe: an event is handed over whole or not at all.
    pub async fn record(&self, event: Event) -> Result<(), AuditError> {
        self.queue
            .send(Item::Event(Box::new(event)))
            .await
            .map_err(|_| AuditError::Closed)
    }

    /// Whether events are still written, as far as is known.
    pub fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Records that a superadmin token was adopted, with the reason it states. Nothing for other identities.
    pub async fn adopted(&self, identity: &Identity, login: &str, module: &str, now: SystemTime) -> Result<(), AuditError> {
        if !identity.is_super() {
            return Ok(());
        }
        let mut event = Event::new("superadmin", identity, login, Decision::Allow, now);
        event.module = Some(module.to_owned());
        self.record(event).await
    }

    /// Writes out what was recorded and ends the writer.
    pub async fn close(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Item::Close(done)).await.is_ok() {
            // An error means that the writer ended first, and has said why.
            let _ = written.await;
        }
    }
}

fn write_all<W: Write>(mut events: mpsc::Receiver<Item>, mut out: BufWriter<W>) {
    while let Some(item) = events.blocking_recv() {
        let written = match item {
            Item::Event(event) => write_one(&event, &mut out),
            Item::Close(done) => {
                let written = out.flush();
                let _ = done.send(());
                if let Err(e) = written {
                    tracing::error!(error = %e, "the audit trail could not be written out; free space or repair the file");
                }
                return;
            }
        };
        // Flushed when nobody waits: prompt when idle, batched when busy.
        let written = match written {
            Ok(()) if events.is_empty() => out.flush().inspect(|()| thread::sleep(REST)),
            other => other,
        };
        if let Err(e) = written {
            tracing::error!(error = %e, "the audit trail cannot be written: statements are refused until postern is restarted with room for it");
            return;
        }
    }
}

fn write_one<W: Write>(event: &Event, out: &mut BufWriter<W>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, event).map_err(io::Error::other)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::new(
            "statement",
            &Identity::guest(),
            "disco",
            Decision::Refuse,
            SystemTime::UNIX_EPOCH,
        )
    }

    #[tokio::test]
    async fn events_are_lines_in_order_and_closing_writes_them_out() {
        let (mut read, out) = io::pipe().unwrap();
        let (audit, writer) = Audit::onto(out).unwrap();
        let reader = thread::spawn(move || io::read_to_string(&mut read).unwrap());
        for rows in 0..2_000 {
            audit
                .record(Event {
                    rows: Some(rows),
                    sqlstate: Some("42P01"),
                    ..event()
                })
                .await
                .unwrap();
        }
        audit.close().await;
        writer.await.unwrap();
        let text = reader.join().unwrap();
        let rows: Vec<u64> = text
            .lines()
            .map(|l| {
                serde_json::from_str::<serde_json::Value>(l).unwrap()["rows"]
                    .as_u64()
                    .unwrap()
            })
            .collect();
        assert_eq!(rows, (0..2_000).collect::<Vec<_>>());
        assert!(
            text.starts_with(
                r#"{"ts":0,"event":"statement","who":"guest","login":"disco","decision":"refuse","sqlstate":"42P01""#
            ),
            "{text:.200}"
        );
        assert!(matches!(audit.record(event()).await, Err(AuditError::Closed)));
    }

    #[tokio::test]
    async fn a_trail_that_cannot_be_written_refuses() {
        let (read, out) = io::pipe().unwrap();
        drop(read);
        let (audit, writer) = Audit::onto(out).unwrap();
        audit.record(event()).await.unwrap();
        writer.await.unwrap();
        assert!(audit.record(event()).await.is_err() && !audit.is_open());
        assert!(Audit::start(Some(Path::new("/nonexistent/audit.jsonl"))).is_err());
    }
}
