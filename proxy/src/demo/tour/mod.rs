//! The tour: every step runs live, prints what was asked and answered, and says whether that is what it should be.
//!
//! [`steps`] and [`mistakes`] hold the steps as data; this file runs them.

mod mistakes;
mod outcome;
mod print;
mod steps;

use std::io::Write;

use postern_config::LoginKind;
use tokio_postgres::{Client, NoTls};

use super::cluster::Cluster;
use super::error::DemoError;
use super::visitor::{Door, Visitor, upstream_password};
pub use outcome::{Expect, Outcome};

/// Who speaks in one part of a step.
#[derive(Debug, Clone, Copy)]
pub enum Who {
    /// A client of the proxy.
    Visitor(Visitor),
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
pub async fn run(door: &Door<'_>, cluster: &Cluster, out: &mut impl Write) -> Result<Verdict, DemoError> {
    let mut verdict = Verdict { total: 0, failed: 0 };
    for (chapter, steps) in [
        ("The same rows, seen by different people", steps::STEPS),
        ("Eleven mistakes that module developers really made", mistakes::STEPS),
    ] {
        print::chapter(out, chapter);
        for step in steps {
            verdict.total += 1;
            print::heading(out, verdict.total, step);
            let passed = run_step(door, cluster, step, out).await?;
            print::verdict(out, passed);
            verdict.failed += usize::from(!passed);
        }
    }
    Ok(verdict)
}

async fn run_step(door: &Door<'_>, cluster: &Cluster, step: &Step, out: &mut impl Write) -> Result<bool, DemoError> {
    let mut passed = true;
    for part in step.parts {
        print::speaker(out, &part.who, door)?;
        let client = match connect(door, cluster, &part.who).await {
            Ok(client) => client,
            Err(e) => {
                print::complaint(out, &e.to_string());
                passed = false;
                continue;
            }
        };
        for (sql, expected) in part.says {
            print::statement(out, sql);
            let outcome = Outcome::of(&client, &with_tokens(door, &part.who, sql)?).await;
            print::outcome(out, &outcome);
            if let Err(why) = expected.check(&outcome) {
                print::complaint(out, &why);
                passed = false;
            }
        }
    }
    Ok(passed)
}

async fn connect(door: &Door<'_>, cluster: &Cluster, who: &Who) -> Result<Client, DemoError> {
    let database = &door.config.settings.upstream.database;
    match who {
        Who::Visitor(visitor) => door.connect(visitor).await,
        Who::Dba => cluster
            .connect(database)
            .await
            .map_err(DemoError::sql("connecting as the DBA")),
        Who::Thief(module) => {
            let login = door.login(module, LoginKind::Runtime)?;
            let (client, connection) = tokio_postgres::Config::new()
                .host("127.0.0.1")
                .port(cluster.port)
                .user(login.name.as_str())
                .password(upstream_password(door.config, login)?)
                .dbname(database)
                .connect(NoTls)
                .await
                .map_err(DemoError::sql("connecting past the proxy"))?;
            // Owned by the client: the task ends when the client is dropped.
            tokio::spawn(connection);
            Ok(client)
        }
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
