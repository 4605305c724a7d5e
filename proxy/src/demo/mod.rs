//! `postern demo`: everything at once, for somebody who has never seen it.
//!
//! An embedded PostgreSQL that runs as an ordinary user in a directory of its own, the reference domain provisioned into it, the proxy
//! in this process, a data set loaded through the proxy, and a tour that runs live. It stays up until SIGINT or SIGTERM and leaves
//! nothing running: sessions are drained first, then PostgreSQL is shut down, in whatever phase the wish to stop arrives.
//!
//! It stands above everything else and nothing uses it; what it knows of PostgreSQL programs, users and directories stays here.

mod announce;
mod binaries;
mod cluster;
pub mod dataset;
mod error;
pub mod files;
pub mod people;
mod place;
mod tour;
mod visitor;

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use postern_config::Config;
use postern_config::names::{quote_ident, quote_literal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use error::DemoError;
pub use place::default_dir;

use crate::control::{self, provision};
use crate::root_key;
use crate::serve::{self, ServeError};
use crate::stop::Stop;
use announce::Announcement;
use binaries::Binaries;
use cluster::{Cluster, free_port};
use files::Ports;
use place::Place;
use visitor::Door;

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything lies.
    pub dir: PathBuf,
    /// The proxy's port; 0 for any.
    pub port: u16,
    /// Where PostgreSQL's programs are; the newest installed otherwise.
    pub pg_bin: Option<PathBuf>,
    /// End after the tour.
    pub tour_only: bool,
}

/// Runs the demonstration until it is told to stop. Must be the runtime's main future: PostgreSQL is tethered to the thread that starts
/// it, and the main thread is the one that lives as long as the process.
pub async fn run(options: &Options, out: &mut impl Write) -> Result<(), DemoError> {
    let mut stop = Stop::listen().map_err(DemoError::io("listen for signals in", &options.dir))?;
    let binaries = Binaries::find(options.pg_bin.as_deref())?;
    let port = proxy_port(options.port)?;
    let place = Place::open(&options.dir)?;
    Announcement::clear(&place);
    log_to_file(&place)?;
    tell(
        out,
        &format!(
            "Postern demo in {}, PostgreSQL {} from {}",
            place.dir.display(),
            binaries.major,
            binaries.dir.display()
        ),
    );

    place.own_dir("config")?;
    let password = files::kept_secret(&place.path("config/secrets/dba"))?;
    if !place.path("pgdata").exists() {
        tell(out, "  making a data directory …");
    }
    Cluster::initialise(&place, &binaries, &password)?;
    // Debian keeps it beside the server; elsewhere PATH knows it.
    let psql = Some(binaries.program("psql"))
        .filter(|p| p.is_file())
        .unwrap_or_else(|| PathBuf::from("psql"));
    let mut gate = None;
    // Whatever happens between here and the end, the cluster is dropped last, which shuts PostgreSQL down.
    let cluster = tokio::select! {
        started = Cluster::start(&place, &binaries, &password, port.checked_add(1)) => started?,
        () = stop.asked() => return Err(DemoError::Interrupted),
    };
    let ended = tokio::select! {
        shown = show(options, &place, &cluster, &psql, port, &mut gate, out) => shown,
        () = stop.asked() => Err(DemoError::Interrupted),
    };
    let ended = match ended {
        Ok(announcement) if !options.tour_only => {
            let failed = wait(&mut stop, gate.as_mut()).await;
            drop(announcement);
            tell(out, "Stopping …");
            failed
        }
        other => other.map(drop),
    };
    if let Some(gate) = gate {
        // A second wish to stop is a wish not to wait.
        let again = &mut Stop::listen().map_err(DemoError::io("listen for signals in", &options.dir))?;
        tokio::select! {
            () = gate.close() => {}
            () = again.asked() => {}
        }
    }
    drop(cluster);
    ended
}

/// Everything between a running PostgreSQL and the announcement that all is ready.
async fn show(
    options: &Options,
    place: &Place,
    cluster: &Cluster,
    psql: &Path,
    port: u16,
    gate: &mut Option<Gate>,
    out: &mut impl Write,
) -> Result<Option<Announcement>, DemoError> {
    let ports = Ports {
        proxy: port,
        // 9432 beside 7432; any other if that is taken.
        admin: free_port(port.checked_add(2000))?,
        database: cluster.port,
    };
    let (config, changed) = files::prepare(place, ports)?;
    for name in changed {
        tell(
            out,
            &format!("  note: config/{name} differs from this version's example and was kept"),
        );
    }
    create_database(cluster, &config).await?;
    tell(out, "  provisioning …");
    provisioned(&config).await?;
    let running = gate.insert(Gate::open(config.clone()));
    running.ready().await?;

    let door = Door::new(&config)?;
    if loaded(cluster, &config).await? {
        tell(out, "  the data set is there already");
    } else {
        tell(out, "  loading the data set through the proxy …");
        let began = Instant::now();
        empty(cluster, &config).await?;
        let rows = dataset::load::load(&door, |table, rows| tell(out, &format!("    {table:<28} {rows:>6} rows"))).await?;
        mark_loaded(cluster, &config).await?;
        tell(out, &format!("    {rows} rows in {:.1} s", began.elapsed().as_secs_f64()));
    }

    let verdict = tour::run(&door, cluster, psql, out).await?;
    tell(
        out,
        &format!("\n{} of {} steps passed", verdict.total - verdict.failed, verdict.total),
    );
    if options.tour_only {
        return match verdict.failed {
            0 => Ok(None),
            failed => Err(DemoError::Tour {
                failed,
                total: verdict.total,
            }),
        };
    }
    let announcement = Announcement::write(place, &config, cluster)?;
    announce::invite(&config, cluster, out)?;
    Ok(Some(announcement))
}

/// Waits for the wish to stop, or for the proxy to end by itself, which is an error.
async fn wait(stop: &mut Stop, gate: Option<&mut Gate>) -> Result<(), DemoError> {
    match gate {
        None => stop.asked().await,
        Some(gate) => tokio::select! {
            () = stop.asked() => {}
            ended = &mut gate.task => {
                gate.ended = true;
                return match ended {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(e)) => Err(e.into()),
                    Err(_) => Err(DemoError::Crashed),
                };
            }
        },
    }
    Ok(())
}

/// The proxy, running in this process.
struct Gate {
    task: JoinHandle<Result<(), ServeError>>,
    ready: Option<oneshot::Receiver<std::net::SocketAddr>>,
    close: Option<oneshot::Sender<()>>,
    ended: bool,
}

impl Gate {
    fn open(config: Config) -> Self {
        let (told, ready) = oneshot::channel();
        let (close, closed) = oneshot::channel::<()>();
        let task = tokio::spawn(serve::serve(config, Some(told), async move {
            // A dropped sender is a wish to stop as well.
            let _ = closed.await;
        }));
        Self {
            task,
            ready: Some(ready),
            close: Some(close),
            ended: false,
        }
    }

    /// Waits until clients can connect.
    async fn ready(&mut self) -> Result<(), DemoError> {
        if let Some(ready) = self.ready.take()
            && ready.await.is_ok()
        {
            return Ok(());
        }
        self.ended = true;
        match (&mut self.task).await {
            Ok(Err(e)) => Err(e.into()),
            _ => Err(DemoError::Crashed),
        }
    }

    /// Drains the proxy.
    async fn close(mut self) {
        drop(self.close.take());
        if !self.ended {
            let _ = self.task.await;
        }
    }
}

fn proxy_port(asked: u16) -> Result<u16, DemoError> {
    if asked == 0 {
        return free_port(None);
    }
    match TcpListener::bind((Ipv4Addr::LOCALHOST, asked)) {
        Ok(_) => Ok(asked),
        Err(_) => Err(DemoError::PortBusy {
            host: "127.0.0.1".to_owned(),
            port: asked,
        }),
    }
}

/// The proxy's log would tear the tour apart; it goes to a file.
fn log_to_file(place: &Place) -> Result<(), DemoError> {
    let path = place.path("postern.log");
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(DemoError::io("open", &path))?;
    crate::observe::logs::start_to(Mutex::new(file));
    Ok(())
}

/// The database and the control plane's role. The role is a superuser here, because it makes roles, tablespaces and policies; after
/// provisioning a production one needs much less.
async fn create_database(cluster: &Cluster, config: &Config) -> Result<(), DemoError> {
    let upstream = &config.settings.upstream;
    let doing = || DemoError::sql("making the database");
    let dba = cluster.connect(cluster::DBA).await.map_err(doing())?;
    let exists = dba
        .query_opt("SELECT FROM pg_database WHERE datname = $1", &[&upstream.database])
        .await
        .map_err(doing())?;
    if exists.is_none() {
        dba.batch_execute(&format!("CREATE DATABASE {}", quote_ident(&upstream.database)))
            .await
            .map_err(doing())?;
    }
    if upstream.control_user == cluster::DBA {
        return Ok(());
    }
    let exists = dba
        .query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&upstream.control_user])
        .await
        .map_err(doing())?;
    let verb = if exists.is_some() { "ALTER" } else { "CREATE" };
    let password = files::kept_secret(&upstream.control_password_file)?;
    let role = format!(
        "{verb} ROLE {} LOGIN SUPERUSER PASSWORD {}",
        quote_ident(&upstream.control_user),
        quote_literal(&scram_verifier(&password))
    );
    dba.batch_execute(&role).await.map_err(doing())
}

/// The password itself would be in the statement, which a failing server writes to its log.
fn scram_verifier(password: &str) -> String {
    postgres_protocol::password::scram_sha_256(password.as_bytes())
}

async fn provisioned(config: &Config) -> Result<(), DemoError> {
    let failed = |source: control::ControlError| DemoError::Control {
        doing: "provisioning",
        source: Box::new(source),
    };
    let pool = control::connect(&config.settings).await.map_err(failed)?;
    let (root, _) = root_key::open_or_make(&config.settings.keys, &pool).await?;
    provision::apply(&pool, config, &root).await.map_err(failed)?;
    Ok(())
}

/// Whether the database says that it holds this edition of the data set.
async fn loaded(cluster: &Cluster, config: &Config) -> Result<bool, DemoError> {
    let doing = || DemoError::sql("asking what the database holds");
    let dba = cluster.connect(&config.settings.upstream.database).await.map_err(doing())?;
    let question = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()";
    let said: Option<String> = dba.query_one(question, &[]).await.map_err(doing())?.get(0);
    Ok(said.as_deref() == Some(dataset::EDITION))
}

/// An interrupted load starts over, from empty tables.
async fn empty(cluster: &Cluster, config: &Config) -> Result<(), DemoError> {
    let doing = || DemoError::sql("emptying the tables");
    let dba = cluster.connect(&config.settings.upstream.database).await.map_err(doing())?;
    dba.batch_execute(&format!("TRUNCATE {}", declared(config).join(", ")))
        .await
        .map_err(doing())
}

/// Says so in the database, and does what autovacuum would do within a minute: the planner should know its tables from the start.
async fn mark_loaded(cluster: &Cluster, config: &Config) -> Result<(), DemoError> {
    let doing = || DemoError::sql("finishing the load");
    let database = &config.settings.upstream.database;
    let dba = cluster.connect(database).await.map_err(doing())?;
    let sql = format!(
        "ANALYZE {}; COMMENT ON DATABASE {} IS {}",
        declared(config).join(", "),
        quote_ident(database),
        quote_literal(dataset::EDITION)
    );
    dba.batch_execute(&sql).await.map_err(doing())
}

fn declared(config: &Config) -> Vec<String> {
    config
        .modules
        .iter()
        .flat_map(|m| &m.tables)
        .map(|t| t.name.quoted())
        .collect()
}

fn tell(out: &mut impl Write, line: &str) {
    // Where it cannot be written there is nobody to tell.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
