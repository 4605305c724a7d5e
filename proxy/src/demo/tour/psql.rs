//! The tour's proof that nothing special is needed: PostgreSQL's own client, started as a program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::Outcome;
use crate::demo::error::DemoError;
use crate::demo::visitor::{Door, Visitor, client_password};

/// A statement of the tour takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// `psql` with a login and perhaps a token.
pub(super) struct Psql {
    program: PathBuf,
    arguments: Vec<OsString>,
    password: String,
    options: Option<String>,
}

impl Psql {
    pub(super) fn new(program: &Path, door: &Door<'_>, visitor: &Visitor) -> Result<Self, DemoError> {
        let login = door.login(visitor.module, visitor.kind)?;
        let address = door.config.settings.listen.address;
        let target = format!(
            "host={} port={} user={} dbname={}",
            address.ip(),
            address.port(),
            login.name,
            door.config.settings.upstream.database
        );
        let options = match visitor.person {
            Some(person) => Some(format!("-c postern.token={}", door.token(visitor.module, person)?)),
            None => None,
        };
        Ok(Self {
            program: program.to_owned(),
            arguments: ["--no-psqlrc", "--no-password", "--dbname"]
                .into_iter()
                .map(OsString::from)
                .chain([target.into()])
                .collect(),
            password: client_password(door.config, login)?,
            options,
        })
    }

    /// Secrets travel in the environment, where other users of the machine cannot read them.
    pub(super) async fn run(&self, sql: &str) -> Outcome {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|n| n.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        command.args(&self.arguments).arg("--command").arg(sql);
        command
            .env("PGPASSWORD", &self.password)
            .env("PGCLIENTENCODING", "UTF8")
            .env("PAGER", "");
        if let Some(options) = &self.options {
            command.env("PGOPTIONS", options);
        }
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = match tokio::time::timeout(PATIENCE, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(e)) => return Outcome::Broken(format!("{}: {e}", self.program.display())),
            Err(_) => return Outcome::Broken(format!("psql said nothing for {} seconds", PATIENCE.as_secs())),
        };
        let said = if output.status.success() {
            output.stdout
        } else {
            output.stderr
        };
        let text = String::from_utf8_lossy(&said).trim_end().to_owned();
        if output.status.success() {
            Outcome::Printed(text)
        } else {
            Outcome::Broken(text)
        }
    }
}
