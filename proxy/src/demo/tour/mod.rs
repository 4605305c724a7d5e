//! The tour: every step runs live, prints what was asked and answered, and says whether that is what it should be.
//!
//! [`steps`] and [`mistakes`] hold the steps as data; this file runs them.

mod mistakes;
mod outcome;
mod print;
mod psql;
mod steps;

use std::io::Write;
use std::path::Path;

use postern_config::LoginKind;
use tokio_postgres::{Client, NoTls};

use super::cluster::Cluster;
use super::error::DemoError;
use super::visitor::{Door, Visitor, upstream_password};
pub use outcome::{Expect, Outcome};
use psql::Psql;

/// Who speaks in one part of a step.
#[derive(Debug, Clone, Copy)]
pub enum Who {
    /// A client of the proxy.
    Visitor(Visitor),
    /// A client of the proxy that is PostgreSQL's own `psql`, one statement each time.
    Psql(Visitor),
    /// The DBA, straight at PostgreSQL, as superuser.
    Dba,
    /// Somebody who stole a module's upstream password and goes straight to PostgreSQL: only the second lock is left.
    Thief(&'static str),
}

/// Statements on one connection, each with what it must give.
pub struct Part {
    /// Who speaks.
    pub who: Who,
    /// SQL, in which `{token:bob}` stands for a fresh token, and what must come of it.
    pub says: &'static [(&'static str, Expect)],
}

/// One step.
pub struct Step {
    /// Heading.
    pub title: &'static str,
    /// One sentence on what is to be seen.
    pub story: &'static str,
    /// What happens, in order.
    pub parts: &'static [Part],
}

/// How the tour went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Steps in all.
    pub total: usize,
    /// Steps that did not show what they should.
    pub failed: usize,
}

/// Runs every step. A step that fails is reported and the tour goes on.
pub async fn run(door: &Door<'_>, cluster: &Cluster, psql: &Path, out: &mut impl Write) -> Result<Verdict, DemoError> {
    let house = House { door, cluster, psql };
    let mut verdict = Verdict { total: 0, failed: 0 };
    for (chapter, steps) in [
        ("Three modules at work, through PostgreSQL's own psql", steps::PSQL),
        ("The same rows, seen by different people", steps::STEPS),
        ("Eleven mistakes that module developers really made", mistakes::STEPS),
    ] {
        print::chapter(out, chapter);
        for step in steps {
            verdict.total += 1;
            print::heading(out, verdict.total, step);
            let passed = run_step(&house, step, out).await?;
            print::verdict(out, passed);
            verdict.failed += usize::from(!passed);
        }
    }
    Ok(verdict)
}

/// Where the tour takes place.
struct House<'a> {
    door: &'a Door<'a>,
    cluster: &'a Cluster,
    psql: &'a Path,
}

async fn run_step(house: &House<'_>, step: &Step, out: &mut impl Write) -> Result<bool, DemoError> {
    let mut passed = true;
    for part in step.parts {
        print::speaker(out, &part.who, house.door)?;
        let speaker = match house.admit(&part.who).await {
            Ok(speaker) => speaker,
            Err(e) => {
                print::complaint(out, &e.to_string());
                passed = false;
                continue;
            }
        };
        for (sql, expected) in part.says {
            print::statement(out, sql);
            let outcome = speaker.say(&with_tokens(house.door, &part.who, sql)?).await;
            print::outcome(out, &outcome, expected);
            if let Err(why) = expected.check(&outcome) {
                print::complaint(out, &why);
                passed = false;
            }
        }
    }
    Ok(passed)
}

/// Somebody with a way in.
enum Speaker {
    Connection(Client),
    Psql(Psql),
}

impl Speaker {
    async fn say(&self, sql: &str) -> Outcome {
        match self {
            Self::Connection(client) => Outcome::of(client, sql).await,
            Self::Psql(psql) => psql.run(sql).await,
        }
    }
}

impl House<'_> {
    async fn admit(&self, who: &Who) -> Result<Speaker, DemoError> {
        let door = self.door;
        let database = &door.config.settings.upstream.database;
        let client = match who {
            Who::Visitor(visitor) => door.connect(visitor).await?,
            Who::Psql(visitor) => return Psql::new(self.psql, door, visitor).map(Speaker::Psql),
            Who::Dba => self
                .cluster
                .connect(database)
                .await
                .map_err(DemoError::sql("connecting as the DBA"))?,
            Who::Thief(module) => {
                let login = door.login(module, LoginKind::Runtime)?;
                let (client, connection) = tokio_postgres::Config::new()
                    .host("127.0.0.1")
                    .port(self.cluster.port)
                    .user(login.name.as_str())
                    .password(upstream_password(door.config, login)?)
                    .dbname(database)
                    .connect(NoTls)
                    .await
                    .map_err(DemoError::sql("connecting past the proxy"))?;
                // Owned by the client: the task ends when the client is dropped.
                tokio::spawn(connection);
                client
            }
        };
        Ok(Speaker::Connection(client))
    }
}

/// Puts real tokens where the step's text has `{token:NAME}`, and forged ones for `{nanoseconds:NAME}`.
fn with_tokens(door: &Door<'_>, who: &Who, sql: &str) -> Result<String, DemoError> {
    let Who::Visitor(visitor) = who else {
        return Ok(sql.to_owned());
    };
    let mut text = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((mark, behind)) = after.split_once('}') else {
            break;
        };
        text.push_str(before);
        match mark.split_once(':') {
            Some(("token", person)) => text.push_str(&door.token(visitor.module, person)?),
            Some(("nanoseconds", person)) => text.push_str(&door.nanosecond_token(visitor.module, person)?),
            Some(("nowhere", person)) => text.push_str(&door.nowhere_token(visitor.module, person)?),
            _ => {
                text.push('{');
                text.push_str(mark);
                text.push('}');
            }
        }
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
}
