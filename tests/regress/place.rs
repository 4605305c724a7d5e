//! Where the suite runs: a cluster of its own, the source's files, databases made anew for every file, and the proxy.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use postern_tests::connection::Connection;
use postern_tests::kept::Kept;
use postern_tests::product::{copy_directory, free_port, workspace, write_secret};
use postern_tests::target::Target;

/// The superuser, also the proxy's control plane.
const DBA: &str = "postern_control";
/// What `pg_regress` calls its database; some files say so.
const DATABASE: &str = "regression";
/// Password of every login here; the cluster listens on loopback for as long as the run takes.
const PASSWORD: &str = "for regression tests alone";

/// One way to reach the database of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// lab's role on a plain database.
    Direct,
    /// The same login through the proxy, on a provisioned one.
    Through,
}

impl Side {
    fn template(self, indexed: bool) -> &'static str {
        match (self, indexed) {
            (Side::Direct, false) => "plain_setup",
            (Side::Direct, true) => "plain_indexed",
            (Side::Through, false) => "gated_setup",
            (Side::Through, true) => "gated_indexed",
        }
    }
}

/// The whole stage.
pub struct Place {
    dir: PathBuf,
    bin: PathBuf,
    postern: PathBuf,
    port: u16,
    proxy_port: u16,
    config: PathBuf,
    /// `src/test/regress` of PostgreSQL's source, where the server may read it.
    pub suite: PathBuf,
    proxy: Option<Kept>,
    _server: Kept,
}

/// What is wrong with the stage.
pub type Fault = String;

impl Place {
    /// Makes everything: cluster, provisioned and plain databases with the suite's set-up in them.
    pub fn make(source: &Path, postern: &Path) -> Result<Self, Fault> {
        let dir = postern_tests::product::fresh_directory("regress");
        allow(&dir, 0o755)?;
        let suite = dir.join("regress");
        copy_directory(source, &suite);
        allow(&suite, 0o755)?;
        // Files write there.
        for results in ["results", "testtablespace"] {
            make_open(&suite.join(results))?;
        }
        let bin = programs()?;
        let port = free_port();
        let data = dir.join("data");
        make_open(&data)?;
        let secret = dir.join("dba");
        fs::write(&secret, PASSWORD).map_err(said(&secret))?;
        allow(&secret, 0o644)?;
        as_server(
            &bin.join("initdb"),
            &[
                "-D",
                text(&data),
                "-U",
                DBA,
                "-A",
                "scram-sha-256",
                "--pwfile",
                text(&secret),
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            ],
        )?;
        let settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\nfull_page_writes = off\nautovacuum = off\n\
             max_prepared_transactions = 2\nlog_min_messages = fatal\nlc_messages = 'C'\n"
        );
        let conf = data.join("postgresql.auto.conf");
        fs::write(&conf, settings).map_err(said(&conf))?;
        let program = bin.join("postgres");
        let mut command = server_account();
        command.extend([text(&program), "-D", text(&data)]);
        let server = Kept::start(&command, &dir.join("server.log"), Some(&dir));
        let place = Self {
            bin,
            postern: postern.to_owned(),
            port,
            proxy_port: free_port(),
            config: dir.join("config/postern.toml"),
            suite,
            proxy: None,
            _server: server,
            dir,
        };
        place.wait_for(port, "PostgreSQL")?;
        place.configure()?;
        place.templates()?;
        Ok(place)
    }

    /// Lays a fresh database for one file, with what `needs` names run in it by the DBA.
    pub fn lay(&mut self, side: Side, indexed: bool, needs: &[&str]) -> Result<(), Fault> {
        self.lower();
        self.roll_back_prepared()?;
        self.dba(
            "postgres",
            &[
                &format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"),
                // What an earlier file left in the cluster.
                "DO $$ DECLARE r name; BEGIN FOR r IN SELECT rolname FROM pg_roles WHERE rolname LIKE 'regress%' LOOP \
             EXECUTE format('DROP ROLE %I', r); END LOOP; END $$",
                &format!("CREATE DATABASE {DATABASE} TEMPLATE {}", side.template(indexed)),
            ],
        )?;
        self.settle()?;
        for file in needs {
            self.set_up(DATABASE, file)?;
        }
        if side == Side::Through {
            self.serve()?;
        }
        Ok(())
    }

    /// Transactions that a file has prepared and left hold its database.
    fn roll_back_prepared(&self) -> Result<(), Fault> {
        let Ok(mut c) = Connection::open(&self.dba_target(DATABASE)) else {
            return Ok(());
        };
        let left = c.run("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()");
        for gid in left.rows.iter().filter_map(|r| r.first()?.as_deref()) {
            let gid = String::from_utf8_lossy(gid).replace('\'', "''");
            if let Some(error) = c.run(&format!("ROLLBACK PREPARED '{gid}'")).error {
                return Err(format!("ROLLBACK PREPARED: {error}"));
            }
        }
        Ok(())
    }

    /// Runs a script by psql; gives what it printed.
    pub fn run(&self, side: Side, name: &str, script: &str) -> Result<String, Fault> {
        let port = if side == Side::Direct { self.port } else { self.proxy_port };
        let mut options = "-c intervalstyle=postgres_verbose".to_owned();
        if side == Side::Direct {
            options.push_str(" -c role=lab_owner");
        }
        self.psql(port, "lab", DATABASE, &options, name, script)
    }

    /// Takes the proxy down.
    pub fn lower(&mut self) {
        if let Some(mut proxy) = self.proxy.take() {
            proxy.stop();
        }
    }

    fn configure(&self) -> Result<(), Fault> {
        let config = self.dir.join("config");
        for dir in ["modules", "secrets", "keys"] {
            let dir = config.join(dir);
            fs::create_dir_all(&dir).map_err(said(&dir))?;
        }
        let lab = workspace().join("config/examples/modules/lab.toml");
        let manifest = fs::read_to_string(&lab).map_err(said(&lab))?;
        let to = config.join("modules/lab.toml");
        fs::write(&to, manifest).map_err(said(&to))?;
        for secret in ["lab.client", "lab.upstream", "control", "passphrase"] {
            write_secret(&config.join("secrets").join(secret), PASSWORD);
        }
        let issuer = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(|e| e.to_string())?;
        let pem = config.join("keys/issuer.pem");
        fs::write(&pem, issuer.public_key_pem()).map_err(said(&pem))?;
        let (port, proxy, admin) = (self.port, self.proxy_port, free_port());
        let settings = format!(
            "enforce = \"both\"\n[listen]\naddress = \"127.0.0.1:{proxy}\"\n[admin]\naddress = \"127.0.0.1:{admin}\"\n\
             [upstream]\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"{DATABASE}\"\ncontrol_user = \"{DBA}\"\n\
             control_password_file = \"secrets/control\"\n[secrets]\ndir = \"secrets\"\n[keys]\nroot_file = \"keys/root.key\"\n\
             passphrase_file = \"secrets/passphrase\"\n[tokens]\nissuer = \"regress\"\naudience = \"postern\"\npublic_keys = [\"keys/issuer.pem\"]\n\
             [audit]\nfile = \"{}\"\n",
            self.dir.join("audit.jsonl").display()
        );
        fs::write(&self.config, settings).map_err(said(&self.config))
    }

    /// Four databases that files' databases are copies of: plain and provisioned, each after `test_setup` and after `create_index` too.
    fn templates(&self) -> Result<(), Fault> {
        self.dba("postgres", &[&format!("CREATE DATABASE {DATABASE}")])?;
        self.postern(&["provision", "--config", text(&self.config)])?;
        self.dba(
            "postgres",
            &[
                &format!("ALTER DATABASE {DATABASE} RENAME TO gated_setup"),
                "CREATE DATABASE plain_setup",
            ],
        )?;
        self.dba("plain_setup", &["CREATE SCHEMA lab AUTHORIZATION lab_owner"])?;
        for side in [Side::Direct, Side::Through] {
            let (first, second) = (side.template(false), side.template(true));
            self.set_up(first, "test_setup")?;
            self.dba("postgres", &[&format!("CREATE DATABASE {second} TEMPLATE {first}")])?;
            for file in ["create_index", "create_misc"] {
                self.set_up(second, file)?;
            }
        }
        Ok(())
    }

    /// What PostgreSQL keeps of a database outside of it, as `postern provision` sets it.
    fn settle(&self) -> Result<(), Fault> {
        let mut sql = vec![
            format!("REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC"),
            format!("GRANT CONNECT, TEMPORARY ON DATABASE {DATABASE} TO lab, lab_owner"),
            format!("ALTER ROLE lab IN DATABASE {DATABASE} SET search_path = lab"),
            format!("ALTER ROLE lab IN DATABASE {DATABASE} SET default_tablespace = ''"),
        ];
        // As `pg_regress` sets them.
        for (name, value) in [
            ("lc_messages", "C"),
            ("lc_monetary", "C"),
            ("lc_numeric", "C"),
            ("lc_time", "C"),
            ("bytea_output", "hex"),
            ("timezone_abbreviations", "Default"),
        ] {
            sql.push(format!("ALTER DATABASE {DATABASE} SET {name} TO '{value}'"));
        }
        let sql: Vec<&str> = sql.iter().map(String::as_str).collect();
        self.dba("postgres", &sql)
    }

    /// Runs one of the suite's files as the DBA into lab's schema: as lab's owner, who is a superuser for that long, so that what it makes is lab's.
    fn set_up(&self, database: &str, file: &str) -> Result<(), Fault> {
        let path = self.suite.join("sql").join(format!("{file}.sql"));
        let script = fs::read_to_string(&path).map_err(said(&path))?;
        self.dba("postgres", &["ALTER ROLE lab_owner SUPERUSER"])?;
        let options = "-c intervalstyle=postgres_verbose -c role=lab_owner -c search_path=lab";
        let ran = self.psql(self.port, DBA, database, options, &format!("setup-{file}"), &script);
        self.dba("postgres", &["ALTER ROLE lab_owner NOSUPERUSER"])?;
        ran.map(drop)
    }

    fn serve(&mut self) -> Result<(), Fault> {
        let log = self.dir.join("proxy.log");
        let _ = fs::remove_file(&log);
        let proxy = Kept::start(&[text(&self.postern), "serve", "--config", text(&self.config)], &log, None);
        let began = Instant::now();
        while !proxy.log_text().contains("\"ready\"") {
            if !proxy.alive() || began.elapsed() > Duration::from_secs(60) {
                return Err(format!("the proxy is not ready:\n{}", proxy.log_text()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.proxy = Some(proxy);
        Ok(())
    }

    fn psql(&self, port: u16, user: &str, database: &str, options: &str, name: &str, script: &str) -> Result<String, Fault> {
        let (input, output) = (self.dir.join("script.sql"), self.dir.join("output.txt"));
        fs::write(&input, script).map_err(said(&input))?;
        let sink = File::create(&output).map_err(said(&output))?;
        let status = Command::new("timeout")
            .args(["--kill-after=5", "300"])
            .arg(self.bin.join("psql"))
            .args(["-X", "-q"])
            .current_dir(&self.suite)
            .envs([
                ("PGHOST", "127.0.0.1"),
                ("PGPORT", port.to_string().as_str()),
                ("PGUSER", user),
                ("PGPASSWORD", PASSWORD),
                ("PGDATABASE", database),
                ("PGOPTIONS", options),
                ("PGTZ", "PST8PDT"),
                ("PGDATESTYLE", "Postgres, MDY"),
                ("PGCLIENTENCODING", "UTF8"),
                ("PGAPPNAME", &format!("pg_regress/{name}")),
                ("PG_ABS_SRCDIR", text(&self.suite)),
                ("PG_ABS_BUILDDIR", text(&self.suite)),
                ("PG_LIBDIR", "/nonexistent"),
                ("PG_DLSUFFIX", ".so"),
                ("LC_ALL", "C"),
            ])
            .stdin(File::open(&input).map_err(said(&input))?)
            .stdout(sink.try_clone().map_err(said(&output))?)
            .stderr(sink)
            .status()
            .map_err(|e| format!("psql: {e}"))?;
        // psql's own code is not asked for: a connection that a file means to lose is lost in both runs.
        let mut printed = String::from_utf8_lossy(&fs::read(&output).map_err(said(&output))?).into_owned();
        if status.code() == Some(124) {
            printed.push_str("(stopped after 300 s)\n");
        }
        Ok(printed)
    }

    fn dba(&self, database: &str, statements: &[&str]) -> Result<(), Fault> {
        let mut c = Connection::open(&self.dba_target(database)).map_err(|e| format!("the DBA cannot connect: {e}"))?;
        for sql in statements {
            let answer = c.run(sql);
            if let Some(error) = &answer.error {
                return Err(format!("{sql}: {error}"));
            }
        }
        Ok(())
    }

    fn dba_target(&self, database: &str) -> Target {
        Target::parse(&format!(
            "postgresql://{DBA}:{}@127.0.0.1:{}/{database}",
            PASSWORD.replace(' ', "%20"),
            self.port
        ))
    }

    fn postern(&self, arguments: &[&str]) -> Result<(), Fault> {
        let output = Command::new(&self.postern)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(said(&self.postern))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!(
                "postern {arguments:?}:\n{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    }

    fn wait_for(&self, port: u16, what: &str) -> Result<(), Fault> {
        let began = Instant::now();
        while Connection::open(&self.dba_target("postgres")).is_err() {
            if began.elapsed() > Duration::from_secs(60) {
                return Err(format!(
                    "{what} does not answer on port {port}:\n{}",
                    fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

fn said(path: &Path) -> impl Fn(std::io::Error) -> Fault + use<> {
    let path = path.display().to_string();
    move |e| format!("{path}: {e}")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the temporary directory's name is UTF-8")
}

fn allow(path: &Path, mode: u32) -> Result<(), Fault> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(said(path))
}

/// A directory that is the server's.
fn make_open(path: &Path) -> Result<(), Fault> {
    fs::create_dir_all(path).map_err(said(path))?;
    allow(path, 0o700)?;
    if is_root() {
        let done = Command::new("chown").arg("postgres:postgres").arg(path).status();
        if !done.is_ok_and(|s| s.success()) {
            return Err(format!("{} cannot be given to the server's account", path.display()));
        }
    }
    Ok(())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

fn server_account() -> Vec<&'static str> {
    match is_root() {
        true => vec!["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"],
        false => vec![],
    }
}

fn as_server(program: &Path, arguments: &[&str]) -> Result<(), Fault> {
    let mut line = server_account();
    line.push(text(program));
    line.extend(arguments);
    let output = Command::new(line[0])
        .args(&line[1..])
        .current_dir("/")
        .output()
        .map_err(said(program))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr))),
    }
}

/// The programs of the newest server that is installed.
fn programs() -> Result<PathBuf, Fault> {
    let root = Path::new("/usr/lib/postgresql");
    let installed = fs::read_dir(root).map_err(said(root))?;
    let versions = installed.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.max().ok_or("PostgreSQL's server is not installed")?;
    Ok(root.join(newest.to_string()).join("bin"))
}
