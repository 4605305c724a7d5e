//! A PostgreSQL of a test's own that may be killed, stopped, started again, copied and promoted; and what a proxy needs to stand before it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::kept::Kept;
use crate::product::{copy_directory, free_port, log_file, run_postern};
use crate::proxy::settle;
use crate::stand::{Stand, eventually};
use crate::target::Target;

/// The superuser, who is also the proxy's control plane.
const DBA: &str = "postern_control";

/// A cluster; not necessarily running.
pub struct Cluster {
    data: PathBuf,
    /// Its port on 127.0.0.1.
    pub port: u16,
    password: String,
    purpose: String,
    server: Option<Kept>,
}

/// A directory with everything of a test in it, removed at its end.
pub struct Place {
    /// Where.
    pub dir: PathBuf,
    _remover: Kept,
}

impl Place {
    /// A new one. A server that runs as another account can reach it.
    pub fn new(purpose: &str) -> Self {
        let dir = crate::product::fresh_directory(purpose);
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).expect("the directory is ours");
        let remover = Kept::start(&["sleep", "86400"], &log_file(&format!("{purpose}-end")), Some(&dir));
        Self { dir, _remover: remover }
    }
}

impl Cluster {
    /// Makes one in that place, with the password of the stand's control plane, and starts it with the database of the stand.
    pub fn start(stand: &Stand, place: &Place, purpose: &str) -> Self {
        let config = postern_config::load(&stand.config_file()).unwrap_or_else(|e| panic!("the stand's configuration: {e:?}"));
        let upstream = &config.settings.upstream;
        let file = &upstream.control_password_file;
        let password = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let mut cluster = Self {
            data: place.dir.join(purpose),
            port: free_port(),
            password: password.trim_end().to_owned(),
            purpose: purpose.to_owned(),
            server: None,
        };
        cluster.make_directory();
        let secret = place.dir.join(format!("{purpose}.secret"));
        fs::write(&secret, &cluster.password).expect("a file can be written");
        fs::set_permissions(&secret, Permissions::from_mode(0o644)).expect("the file is ours");
        let (data, secret_text) = (text(&cluster.data), text(&secret));
        let init = [
            "-D",
            &data,
            "-U",
            DBA,
            "-A",
            "scram-sha-256",
            "--pwfile",
            &secret_text,
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ];
        cluster.run("initdb", &init);
        fs::remove_file(&secret).expect("the file is ours");
        cluster.serve();
        cluster
            .connect()
            .run(&format!("CREATE DATABASE {}", upstream.database))
            .good("CREATE DATABASE");
        cluster
    }

    /// A hot standby of a running cluster, to which every commit goes before it is acknowledged.
    pub fn standby(of: &Cluster, place: &Place, purpose: &str) -> Self {
        let mut cluster = Self {
            data: place.dir.join(purpose),
            port: free_port(),
            password: of.password.clone(),
            purpose: purpose.to_owned(),
            server: None,
        };
        cluster.make_directory();
        let url = format!("postgresql://{DBA}:{}@127.0.0.1:{}/postgres", of.password, of.port);
        cluster.run(
            "pg_basebackup",
            &["-D", &text(&cluster.data), "-d", &url, "-R", "-c", "fast", "-X", "stream"],
        );
        cluster.serve();
        let mut dba = of.connect();
        for sql in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
            dba.run(sql).good(sql);
        }
        let follows = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        let seen = eventually(Duration::from_secs(30), || (dba.run(follows).scalar()? == "1").then_some(()));
        assert!(seen.is_some(), "the standby does not follow: {}", cluster.log());
        cluster
    }

    /// Starts the server and waits until it lets in.
    pub fn serve(&mut self) {
        self.launch();
        let until = Instant::now() + Duration::from_secs(60);
        while !self.answers() {
            assert!(Instant::now() < until, "the server does not start:\n{}", self.log());
            if self.server.as_ref().is_none_or(|s| !s.alive()) {
                // After a kill, the last of its children may still hold the shared memory.
                self.launch();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts the server, and does not wait.
    pub fn launch(&mut self) {
        let (program, data, port) = (binary("postgres"), text(&self.data), self.port.to_string());
        let mut command: Vec<&str> = match is_root() {
            true => vec!["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"],
            false => vec![],
        };
        let program = text(&program);
        command.extend([
            &*program,
            "-D",
            &data,
            "-p",
            &port,
            "-k",
            "",
            "-c",
            "listen_addresses=127.0.0.1",
        ]);
        // Against the death of processes the kernel's cache is durable enough.
        command.extend(["-c", "fsync=off", "-c", "max_connections=100", "-c", "shared_buffers=16MB"]);
        self.server = Some(Kept::start(&command, &log_file(&self.purpose), None));
    }

    /// Whether it still runs, or is on its way up.
    pub fn runs(&self) -> bool {
        self.server.as_ref().is_some_and(Kept::alive)
    }

    /// `kill -9` of the postmaster.
    pub fn kill(&self) {
        let pid = self.server.as_ref().expect("it was started").pid;
        signal("-9", &pid.to_string());
    }

    /// `kill -9` of one backend of that login, if there is one. PostgreSQL then ends all and recovers by itself.
    pub fn kill_backend(&self, login: &str) -> bool {
        let Ok(mut dba) = Connection::open(&self.target()) else {
            return false;
        };
        let sql = format!("SELECT pid FROM pg_stat_activity WHERE usename = '{login}' LIMIT 1");
        let found = dba.simple(&sql).ok().and_then(|replies| replies.first()?.scalar());
        found.is_some_and(|pid| signal("-9", &pid))
    }

    /// `pg_ctl stop` in that mode, to its end.
    pub fn stop(&mut self, mode: &str) {
        self.run("pg_ctl", &["stop", "-D", &text(&self.data), "-m", mode, "-w"]);
    }

    /// Has a standby take over.
    pub fn promote(&self) {
        self.run("pg_ctl", &["promote", "-D", &text(&self.data), "-w"]);
    }

    /// The DBA, straight.
    pub fn target(&self) -> Target {
        Target::parse(&format!(
            "postgresql://{DBA}:{}@127.0.0.1:{}/postgres",
            self.password, self.port
        ))
    }

    /// A connection of the DBA's.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        self.connect_to("postgres")
    }

    /// The same in another database.
    #[track_caller]
    pub fn connect_to(&self, database: &str) -> Connection {
        Connection::open(&self.target().in_database(database)).unwrap_or_else(|e| panic!("the DBA cannot connect: {e}"))
    }

    /// Whether it carries out a statement now.
    pub fn answers(&self) -> bool {
        answers(&self.target())
    }

    fn log(&self) -> String {
        self.server.as_ref().map(Kept::log_text).unwrap_or_default()
    }

    fn make_directory(&self) {
        fs::create_dir_all(&self.data).expect("the directory can be made");
        fs::set_permissions(&self.data, Permissions::from_mode(0o700)).expect("the directory is ours");
        if is_root() {
            let done = Command::new("chown").arg("postgres:postgres").arg(&self.data).status();
            assert!(
                done.is_ok_and(|s| s.success()),
                "{} cannot be given away",
                self.data.display()
            );
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
                command.arg(binary(program));
                command
            }
            false => Command::new(binary(program)),
        };
        // Not pipes: a server that is started would keep them open.
        let said = log_file(&format!("{}-{program}", self.purpose));
        let sink = File::create(&said).expect("a log can be made");
        let status = command
            .args(arguments)
            .current_dir("/")
            .stdout(sink.try_clone().expect("a file"))
            .stderr(sink)
            .status()
            .unwrap_or_else(|e| panic!("{program}: {e}"));
        assert!(
            status.success(),
            "{program} {arguments:?}: {}",
            fs::read_to_string(&said).unwrap_or_default()
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.runs() {
            let pid = self.server.as_ref().map_or(0, |s| s.pid);
            // Immediate shutdown.
            signal("-QUIT", &pid.to_string());
        }
    }
}

/// A configuration directory in that place, for the modules of the stand's second proxy, before these hosts; provisioned.
pub fn configuration(stand: &Stand, place: &Place, primary: &Cluster, changes: &str) -> PathBuf {
    let to = place.dir.join("config");
    let from = stand.gate().config.parent().expect("a file lies in a directory").to_owned();
    copy_directory(&from, &to);
    for module in fs::read_dir(to.join("modules")).expect("the modules") {
        let module = module.expect("a module").path();
        if !module.ends_with("evilmod.toml") {
            fs::remove_file(&module).expect("a copy of ours");
        }
    }
    let port = primary.port;
    // Tablespaces would have to lie beside the other server's.
    let upstream = format!("[upstream]\nhost = '127.0.0.1'\nport = {port}\n[provision]\ntablespace_root = ''\n");
    let (_, config) = settle(&to, &upstream);
    let provisioned = run_postern(&["provision", "--config", &text(&config)]);
    assert!(
        provisioned.status.success(),
        "provisioning failed:\n{}{}",
        String::from_utf8_lossy(&provisioned.stdout),
        String::from_utf8_lossy(&provisioned.stderr)
    );
    settle(&to, changes);
    to
}

/// Whether a statement is carried out there now.
pub fn answers(target: &Target) -> bool {
    Connection::open(target).is_ok_and(|mut c| {
        c.simple("SELECT 1")
            .is_ok_and(|replies| replies.first().is_some_and(|r| r.error.is_none()))
    })
}

fn signal(signal: &str, pid: &str) -> bool {
    Command::new("kill").args([signal, pid]).status().is_ok_and(|s| s.success())
}

fn text(path: &Path) -> String {
    path.to_str().expect("the temporary directory's name is UTF-8").to_owned()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// A program of the newest server that is installed.
fn binary(program: &str) -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL's server is installed");
    let versions = installed.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.max().expect("PostgreSQL's server is installed");
    PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin/{program}"))
}
