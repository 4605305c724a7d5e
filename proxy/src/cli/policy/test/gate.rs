//! A gate for the length of a run: the session engine itself, with the deployment's configuration, database and upstream passwords; its
//! own are the port, the clients' passwords and the tokens' issuer, which nobody else ever has.
//!
//! Promised: what a case does to the database is rolled back, since each is one transaction and a case that would end it is not run; the
//! directory with the run's secrets is removed at the end.

use std::collections::HashMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use postern_config::Config;
use postern_config::settings::{Listen, TokenSettings};
use tokio::sync::oneshot;
use tokio_postgres::config::SslMode;
use tokio_postgres::{NoTls, SimpleQueryMessage};
use zeroize::Zeroizing;

use super::cases::{Case, Row};
use crate::cli::CliError;
use crate::identity::mint;
use crate::serve;

/// How long one case may take, its connection included.
const CASE_LIMIT: Duration = Duration::from_secs(60);

/// Who vouches for the people of cases.
const ISSUER: &str = "postern policy test";

/// What came of a case's statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An answer.
    Answered(Came),
    /// A refusal, by the gate or by PostgreSQL.
    Refused(Refused),
    /// The case could not be tried.
    Broken(String),
}

/// An answer; of a batch its last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Came {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Row>,
    /// Rows that came or were written: the number in the command tag.
    pub(super) count: u64,
}

/// An error as clients get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) sqlstate: String,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Runs all cases, one after another; their outcomes in the same order.
pub(super) async fn run(config: &Config, cases: &[Case]) -> Result<Vec<Outcome>, CliError> {
    let run = Run::prepare(config)?;
    let (ready, told) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = serve::serve(run.config.clone(), Some(ready), async move {
        // Either end of the channel says the same.
        let _ = stopped.await;
    });
    let trying = async {
        // Where the gate cannot open, `serving` says why.
        let Ok(address) = told.await else { return Vec::new() };
        let mut outcomes = Vec::with_capacity(cases.len());
        for case in cases {
            outcomes.push(run.case(case, address).await);
        }
        drop(stop);
        outcomes
    };
    let (served, outcomes) = tokio::join!(serving, trying);
    served?;
    Ok(outcomes)
}

/// What one run has of its own.
struct Run {
    config: Config,
    /// Passwords of clients, by login.
    passwords: HashMap<String, Zeroizing<String>>,
    _directory: Directory,
}

impl Run {
    fn prepare(config: &Config) -> Result<Self, CliError> {
        let directory = Directory::make()?;
        let (private, public) = mint::generate_issuer()?;
        directory.write("issuer.key", &private)?;
        directory.write("issuer.pem", &public)?;
        let mut passwords = HashMap::new();
        for login in config.modules.iter().flat_map(|m| &m.logins) {
            let password = random()?;
            directory.write(&format!("{}.client", login.name), &password)?;
            passwords.insert(login.name.to_string(), password);
            let upstream = config.secret_paths(&login.name).upstream;
            let upstream = std::path::absolute(&upstream).unwrap_or(upstream);
            let link = directory.0.join(format!("{}.upstream", login.name));
            symlink(upstream, &link).map_err(failed(&link))?;
        }
        let mut own = config.clone();
        let settings = &mut own.settings;
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        settings.listen = Listen {
            address: anywhere,
            unix_socket_dir: None,
            workers: Some(1),
            tls: None,
            require_tls: false,
        };
        settings.admin = anywhere;
        settings.secrets_dir = directory.0.clone();
        settings.tokens = TokenSettings {
            issuer: ISSUER.to_owned(),
            audience: ISSUER.to_owned(),
            claims: settings.tokens.claims.clone(),
            public_keys: vec![directory.0.join("issuer.pem")],
            jwks_file: None,
            dev_issuer: true,
            dev_private_key: Some(directory.0.join("issuer.key")),
            dev_kid: None,
            dev_people: None,
        };
        // Without a file the trail goes to standard error, among the report.
        settings.audit_file.get_or_insert_with(|| PathBuf::from("/dev/null"));
        settings.pool.min_idle = 0;
        settings.login_pools.values_mut().for_each(|p| p.min_idle = 0);
        Ok(Self {
            config: own,
            passwords,
            _directory: directory,
        })
    }

    async fn case(&self, case: &Case, address: SocketAddr) -> Outcome {
        let texts: Vec<String> = case.setup.iter().chain([&case.sql]).cloned().collect();
        let most = self.config.settings.limits.max_sql_bytes;
        // The parser recurses: the runtime's threads have the stacks for it.
        let ends = tokio::task::spawn_blocking(move || texts.iter().any(|t| postern_rewriter::ends_transaction(t, most)));
        match ends.await {
            Ok(false) => {}
            _ => return Outcome::Broken("it begins or ends a transaction, and each case is one that is rolled back".to_owned()),
        }
        match tokio::time::timeout(CASE_LIMIT, self.attempt(case, address)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(problem)) => Outcome::Broken(problem),
            Err(_) => Outcome::Broken(format!("it took longer than {} s", CASE_LIMIT.as_secs())),
        }
    }

    async fn attempt(&self, case: &Case, address: SocketAddr) -> Result<Outcome, String> {
        let mut pg = tokio_postgres::Config::new();
        let login = case.login.name.as_str();
        let password = self.passwords.get(login).ok_or("its login has no password")?;
        pg.host(address.ip().to_string())
            .port(address.port())
            .user(login)
            .password(password.as_bytes())
            .dbname(&self.config.settings.upstream.database)
            .application_name("postern policy test")
            .ssl_mode(SslMode::Disable);
        if let Some(person) = &case.person {
            let reason = format!("postern policy test: {}", case.name);
            let token = mint::sign(
                &self.config.settings.tokens,
                &case.module,
                (&person.name, person.claims.clone()),
                Duration::from_secs(300),
                Some(&reason),
                SystemTime::now(),
            );
            let token = token.map_err(|e| format!("no token: {e}"))?;
            pg.options(format!("-c postern.token={token}"));
        }
        let connected = pg.connect(NoTls).await;
        let (client, connection) = connected.map_err(|e| format!("cannot connect: {}", told(&e)))?;
        let driving = tokio::spawn(connection);
        let outcome = async {
            client
                .batch_execute("BEGIN")
                .await
                .map_err(|e| format!("no transaction: {}", told(&e)))?;
            for step in &case.setup {
                let done = client.batch_execute(step).await;
                done.map_err(|e| format!("setup `{step}`: {}", told(&e)))?;
            }
            let outcome = match client.simple_query(&case.sql).await {
                Ok(messages) => Outcome::Answered(came(messages)),
                Err(e) => match e.as_db_error() {
                    Some(refused) => Outcome::Refused(Refused {
                        sqlstate: refused.code().code().to_owned(),
                        message: refused.message().to_owned(),
                        hint: refused.hint().map(str::to_owned),
                    }),
                    None => return Err(format!("the connection failed: {}", told(&e))),
                },
            };
            // Where this fails the connection ends, which rolls back as well; but the gate is then not as it should be.
            client
                .batch_execute("ROLLBACK")
                .await
                .map_err(|e| format!("not rolled back: {}", told(&e)))?;
            Ok(outcome)
        };
        let outcome = outcome.await;
        drop(client);
        // Its end is the gate's; a connection that fails here has answered already.
        let _ = driving.await;
        outcome
    }
}

fn came(messages: Vec<SimpleQueryMessage>) -> Came {
    let mut came = Came::default();
    let mut ended = false;
    for message in messages {
        if std::mem::take(&mut ended) {
            came = Came::default();
        }
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                came.columns = columns.iter().map(|c| c.name().to_owned()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                came.rows
                    .push((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect());
            }
            SimpleQueryMessage::CommandComplete(count) => {
                came.count = count;
                ended = true;
            }
            _ => {}
        }
    }
    came
}

/// What the server said, or else the driver.
fn told(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(e) => format!("{} {}", e.code().code(), e.message()),
        None => error.to_string(),
    }
}

fn random() -> Result<Zeroizing<String>, CliError> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *bytes).map_err(|e| CliError::Secret {
        what: "the run's passwords",
        reason: e.to_string(),
    })?;
    Ok(Zeroizing::new(bytes.iter().map(|b| format!("{b:02x}")).collect()))
}

/// A directory that nobody else may look into, removed with what is in it.
struct Directory(PathBuf);

impl Directory {
    fn make() -> Result<Self, CliError> {
        let path = std::env::temp_dir().join(format!("postern-policy-test-{}", &random()?[..32]));
        DirBuilder::new().mode(0o700).create(&path).map_err(failed(&path))?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), CliError> {
        let path = self.0.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed(&path))?;
        file.write_all(text.as_bytes()).map_err(failed(&path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is worth nothing once the run is over.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> CliError {
    let path = path.to_owned();
    move |source| CliError::File { path, source }
}
