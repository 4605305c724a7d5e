//! A scratch PostgreSQL cluster for one test file: own directory, own port, stopped and removed on drop.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use postern_config::Config;
use postern_config::settings::Host;
use postern_keys::store::PassphraseStore;

/// A running cluster and, beside it, everything that a configuration names.
pub struct Scratch {
    pub dir: PathBuf,
    pub port: u16,
    bin: PathBuf,
}

impl Scratch {
    /// Starts a cluster with a superuser `postern_control` and a database `app`.
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("postern-scratch-{}-{number}", std::process::id()));
        std::fs::create_dir_all(dir.join("secrets")).unwrap();
        std::fs::create_dir_all(dir.join("spaces")).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let scratch = Self {
            dir,
            port,
            bin: newest_binaries(),
        };
        scratch.write_secret("control", "control-password");
        std::fs::write(scratch.dir.join("initial"), "control-password").unwrap();
        scratch.give_away();
        let (data, initial) = (scratch.dir.join("data"), scratch.dir.join("initial"));
        let (data, initial) = (data.to_str().unwrap(), initial.to_str().unwrap());
        let init = [
            "-D",
            data,
            "-U",
            "postern_control",
            "-A",
            "scram-sha-256",
            "--pwfile",
            initial,
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ];
        scratch.run("initdb", &init);
        scratch.start_again();
        scratch
    }

    /// Starts the server (again).
    #[allow(dead_code)]
    pub fn start_again(&self) {
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=30 -c shared_buffers=16MB -c log_statement=all",
            self.port,
            self.dir.display()
        );
        self.control(&["-o", &options, "-l", self.log().to_str().unwrap(), "start"]);
    }

    /// `immediate` is what a crash looks like to clients.
    #[allow(dead_code)]
    pub fn stop(&self, mode: &str) {
        self.control(&["-m", mode, "stop"]);
    }

    /// Makes a standby a primary.
    #[allow(dead_code)]
    pub fn promote(&self) {
        self.control(&["promote"]);
    }

    fn control(&self, arguments: &[&str]) {
        let data = self.dir.join("data");
        let place = ["-D", data.to_str().unwrap(), "-w"];
        self.run("pg_ctl", &[&place[..], arguments].concat());
    }

    /// A running hot standby of this server.
    #[allow(dead_code)]
    pub fn standby(&self) -> Self {
        let dir = self.dir.with_extension("standby");
        std::fs::create_dir_all(dir.join("secrets")).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let standby = Self {
            dir,
            port,
            bin: newest_binaries(),
        };
        standby.give_away();
        let from = format!(
            "host={} port={} user=postern_control password=control-password",
            self.dir.display(),
            self.port
        );
        let to = standby.dir.join("data");
        let mut arguments = vec!["-D", to.to_str().unwrap(), "-d", &from, "-R", "-c", "fast", "--no-sync"];
        let spaces: Vec<String> = std::fs::read_dir(self.dir.join("spaces"))
            .unwrap()
            .map(|e| {
                let path = e.unwrap().path();
                let there = standby.dir.join("spaces").join(path.file_name().unwrap());
                format!("{}={}", path.display(), there.display())
            })
            .collect();
        for space in &spaces {
            arguments.extend(["-T", space]);
        }
        standby.run("pg_basebackup", &arguments);
        standby.start_again();
        standby
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The example configuration, pointed at this cluster.
    pub fn config(&self) -> Config {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/postern.toml");
        let mut config = postern_config::load(&file).expect("the example configuration is valid");
        let settings = &mut config.settings;
        settings.upstream.hosts = vec![Host::Tcp {
            host: "127.0.0.1".to_owned(),
            port: self.port,
        }];
        settings.upstream.database = "app".to_owned();
        settings.upstream.control_user = "postern_control".to_owned();
        settings.upstream.control_password_file = self.dir.join("secrets/control");
        settings.upstream.tls_ca = None;
        settings.secrets_dir = self.dir.join("secrets");
        settings.tablespace_root = Some(self.dir.join("spaces"));
        for manifest in &config.modules {
            for login in &manifest.logins {
                self.write_secret(&format!("{}.upstream", login.name), &password(login.name.as_str()));
            }
            if let Some(space) = &manifest.tablespace {
                std::fs::create_dir_all(self.dir.join("spaces").join(space.as_str())).unwrap();
            }
        }
        self.give_away();
        config
    }

    /// A root key of its own.
    pub fn root(&self) -> PassphraseStore {
        PassphraseStore::create(&self.dir.join("root.key"), b"a passphrase for tests").unwrap()
    }

    /// A connection that no proxy stands in front of.
    pub async fn connect(&self, user: &str, password: &str, database: &str) -> tokio_postgres::Client {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user(user)
            .password(password)
            .dbname(database);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A login's own connection, past the proxy.
    #[allow(dead_code)]
    pub async fn direct(&self, login: &str) -> tokio_postgres::Client {
        self.connect(login, &password(login), "app").await
    }

    /// The DBA's connection.
    pub async fn dba(&self) -> tokio_postgres::Client {
        self.connect("postern_control", "control-password", "app").await
    }

    /// Has the server offer TLS with this certificate from now on.
    pub async fn serve_tls(&self, certificate: &str, key: &str) {
        let data = self.dir.join("data");
        std::fs::write(data.join("server.crt"), certificate).unwrap();
        std::fs::write(data.join("server.key"), key).unwrap();
        std::fs::set_permissions(data.join("server.key"), Permissions::from_mode(0o600)).unwrap();
        self.give_away();
        let admin = self.connect("postern_control", "control-password", "postgres").await;
        admin.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        // The postmaster reads it in its own time.
        for _ in 0..100 {
            let fresh = self.connect("postern_control", "control-password", "postgres").await;
            if fresh.query_one("SHOW ssl", &[]).await.unwrap().get::<_, String>(0) == "on" {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the server does not offer TLS: see {}", self.log().display());
    }

    fn write_secret(&self, name: &str, text: &str) {
        let file = self.dir.join("secrets").join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }

    /// The server runs as another account where the tests run as root; the secrets stay ours.
    fn give_away(&self) {
        if is_root() {
            let all: Vec<PathBuf> = std::fs::read_dir(&self.dir).unwrap().map(|e| e.unwrap().path()).collect();
            let mut theirs = all
                .iter()
                .filter(|p| !p.ends_with("secrets") && !p.ends_with("root.key"))
                .peekable();
            if theirs.peek().is_some() {
                let done = Command::new("chown").arg("-R").arg("postgres").args(theirs).output().unwrap();
                assert!(done.status.success(), "{done:?}");
            }
            assert!(
                Command::new("chown")
                    .arg("postgres")
                    .arg(&self.dir)
                    .status()
                    .unwrap()
                    .success()
            );
        }
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let program = self.bin.join(program);
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(&program);
                command
            }
            false => Command::new(&program),
        };
        // Not inherited pipes: the server would keep them open.
        let log = std::fs::File::create(self.dir.join("commands.log")).unwrap();
        let status = command
            .args(args)
            .current_dir(&self.dir)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        assert!(
            status.success(),
            "{program:?}: {}",
            std::fs::read_to_string(self.dir.join("commands.log")).unwrap()
        );
        Output {
            status,
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let data = self.dir.join("data");
        if data.join("postmaster.pid").exists() {
            self.run("pg_ctl", &["-D", data.to_str().unwrap(), "-w", "-m", "immediate", "stop"]);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A login's upstream password in these tests.
pub fn password(login: &str) -> String {
    format!("upstream password of {login}")
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

fn newest_binaries() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL's server binaries are installed")
        .filter_map(|e| {
            let path = e.ok()?.path();
            Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin")))
        })
        .collect();
    found.sort();
    found.pop().expect("PostgreSQL's server binaries are installed").1
}
