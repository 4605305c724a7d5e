//! The stand: `postern demo` started for real in a directory of its own, once per test binary, and stopped when that binary ends.
//!
//! Rust runs no destructors of statics, so the stop does not rely on one: the demo runs under a shell that waits for the end of its
//! standard input. That end comes when the test process ends, however it ends; the shell then sends SIGTERM and removes the directory.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::connection::{Connection, Failure};
use crate::target::Target;

/// How long the demo may take until it is ready: initdb, provisioning, 20,000 rows and the tour on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(300);
/// A minted token is used again for this long (it lives for twice as long).
const TOKEN_REUSE: Duration = Duration::from_secs(240);

/// The shell that ties a server's life to ours: `$1` is the directory to remove (or empty), `$2` the log, the rest the command.
const KEEPER: &str = r#"dir=$1; log=$2; shift 2; exec 3<&0
"$@" </dev/null >"$log" 2>&1 3<&- &
child=$!; echo $child; exec >/dev/null
cat <&3 >/dev/null
kill -TERM $child 2>/dev/null; wait $child
if [ -n "$dir" ]; then rm -rf "$dir"; fi"#;

/// A child server that ends when this process does.
pub struct Kept {
    // Held for its standard input: closing it is the signal to stop.
    keeper: Child,
    /// Process id of the server itself.
    pub pid: u32,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Kept {
    /// Starts `command` under the keeper.
    pub fn start(command: &[&str], log: &Path, remove: Option<&Path>) -> Self {
        use std::io::BufRead;
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(remove.map_or_else(|| Path::new("").as_os_str(), Path::as_os_str))
            .arg(log)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        let mut line = String::new();
        let stdout = keeper.stdout.take().expect("the keeper's output is piped");
        std::io::BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the keeper speaks");
        let pid = line
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("the keeper did not start {command:?}"));
        Self {
            keeper,
            pid,
            log: log.to_owned(),
        }
    }

    /// Whether the server still runs (a zombie does not).
    pub fn alive(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.pid)).is_ok_and(|s| !s.contains(") Z "))
    }

    /// Stops it and waits until its keeper is done.
    pub fn stop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }

    /// What it has said so far.
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// The running demo.
pub struct Stand {
    /// `DIR` of `postern demo --dir DIR`.
    pub dir: PathBuf,
    demo: Value,
    kept: Kept,
    tokens: Mutex<HashMap<(String, String), (String, Instant)>>,
    quiet: RwLock<()>,
    gate: OnceLock<Gate>,
}

impl Stand {
    /// The stand of this test binary, started by whoever asks first.
    pub fn shared() -> &'static Stand {
        static STAND: OnceLock<Stand> = OnceLock::new();
        STAND.get_or_init(Stand::start)
    }

    fn start() -> Self {
        let dir = fresh_directory("stand");
        let log = log_file("stand");
        let port = free_port().to_string();
        let dir_text = dir.to_str().expect("the temporary directory's name is UTF-8");
        let binary = postern().to_str().expect("the target directory's name is UTF-8");
        let kept = Kept::start(&[binary, "demo", "--dir", dir_text, "--port", &port], &log, Some(&dir));
        let ready = dir.join("demo.json");
        let began = Instant::now();
        let demo = loop {
            if let Some(value) = fs::read(&ready).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                break value;
            }
            assert!(
                kept.alive(),
                "`postern demo` ended before it was ready; its output:\n{}",
                kept.log_text()
            );
            assert!(
                began.elapsed() < START_LIMIT,
                "`postern demo` was not ready after {START_LIMIT:?}; its output:\n{}",
                kept.log_text()
            );
            sleep(Duration::from_millis(100));
        };
        Self {
            dir,
            demo,
            kept,
            tokens: Mutex::default(),
            quiet: RwLock::default(),
            gate: OnceLock::new(),
        }
    }

    /// Held by tests that may run beside each other.
    pub fn beside_others(&self) -> RwLockReadGuard<'_, ()> {
        self.quiet.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by a test that changes what others rely on (it restores it) or that needs the data to hold still.
    pub fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.quiet.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self, pointer: &str) -> &str {
        self.demo
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("demo.json has no {pointer}: {}", self.demo))
    }

    /// The superuser, straight at PostgreSQL.
    pub fn dba(&self) -> Target {
        Target::parse(self.text("/direct_dba_url"))
    }

    /// `postern.toml` of the demo.
    pub fn config_file(&self) -> PathBuf {
        PathBuf::from(self.text("/config"))
    }

    /// The metrics page.
    pub fn metrics_url(&self) -> &str {
        self.text("/metrics_url")
    }

    /// A login through the proxy: `disco` (runtime), `disco.migrator`, `disco.service`, or `lab`.
    pub fn login(&self, name: &str) -> Target {
        let (module, kind) = name.split_once('.').unwrap_or((name, ""));
        let key = match kind {
            "" => "url",
            "migrator" => "migrator_url",
            "service" => "service_url",
            other => panic!("no such kind of login: {other}"),
        };
        Target::parse(self.text(&format!("/modules/{module}/{key}")))
    }

    /// A login with a person's token for the session.
    pub fn login_as(&self, name: &str, who: Option<&str>) -> Target {
        let target = self.login(name);
        match who {
            None => target,
            Some(who) => {
                let module = name.split_once('.').map_or(name, |(module, _)| module);
                target.with_token(&self.token(module, who))
            }
        }
    }

    /// Connects as [`Stand::login_as`] says.
    #[track_caller]
    pub fn connect(&self, name: &str, who: Option<&str>) -> Connection {
        match Connection::open(&self.login_as(name, who)) {
            Ok(connection) => connection,
            Err(failure) => panic!("{name} as {who:?} cannot connect: {failure}\n{}", tail(&self.log_text())),
        }
    }

    /// The same login straight at PostgreSQL with its upstream password: what somebody has who found it.
    pub fn upstream(&self, name: &str) -> Target {
        let login = self.login(name);
        let file = self.secrets_dir().join(format!("{}.upstream", login.user));
        let password = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let dba = self.dba();
        Target {
            user: login.user,
            password: password.trim_end_matches('\n').to_owned(),
            ..dba
        }
    }

    /// Where the demo keeps the passwords.
    pub fn secrets_dir(&self) -> PathBuf {
        match postern_config::load(&self.config_file()) {
            Ok(config) => config.settings.secrets_dir,
            Err(error) => panic!("the demo's configuration does not load: {error:?}"),
        }
    }

    /// A second proxy before the same database, which also knows the module of `gate/alltypes.toml`; started by whoever asks first.
    pub fn gate(&self) -> &Gate {
        self.gate.get_or_init(|| Gate::start(self))
    }

    /// A direct connection as the DBA.
    #[track_caller]
    pub fn dba_connection(&self) -> Connection {
        match Connection::open(&self.dba()) {
            Ok(connection) => connection,
            Err(failure) => panic!("the DBA cannot connect: {failure}"),
        }
    }

    /// The login as [`Stand::login_as`] says, through the second proxy: the only one that knows `alltypes`.
    pub fn through_gate(&self, name: &str, who: Option<&str>) -> Target {
        let gate = self.gate();
        let module = name.split_once('.').map_or(name, |(module, _)| module);
        if module != "alltypes" {
            return self.login_as(name, who).on_port(gate.port);
        }
        let target = Target {
            user: name.replace('.', "_"),
            password: GATE_PASSWORD.to_owned(),
            ..self.login("lab").on_port(gate.port)
        };
        match who {
            Some(who) => target.with_token(&mint(&gate.config, module, who, "600")),
            None => target,
        }
    }

    /// A token of that person for that module (superadmins give a reason); minted by the command line, used again while it is fresh.
    pub fn token(&self, module: &str, who: &str) -> String {
        let key = (module.to_owned(), who.to_owned());
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, minted)) = tokens.get(&key)
            && minted.elapsed() < TOKEN_REUSE
        {
            return token.clone();
        }
        let token = self.mint(module, who, "600");
        tokens.insert(key, (token.clone(), Instant::now()));
        token
    }

    /// Mints a token with a life of its own.
    pub fn mint(&self, module: &str, who: &str, ttl: &str) -> String {
        mint(&self.config_file(), module, who, ttl)
    }

    /// Everything the demo and its proxy said.
    pub fn log_text(&self) -> String {
        self.kept.log_text()
    }

    /// Process id of the demo.
    pub fn pid(&self) -> u32 {
        self.kept.pid
    }

    /// The audit trail: the configured file, or what went to standard error.
    pub fn audit_text(&self) -> String {
        let file = postern_config::load(&self.config_file())
            .ok()
            .and_then(|c| c.settings.audit_file);
        file.map_or_else(|| self.log_text(), |f| fs::read_to_string(f).unwrap_or_default())
    }
}

/// Password of the logins that only the tests' own module has.
const GATE_PASSWORD: &str = "for tests alone, never elsewhere";

/// A second proxy with a configuration of its own.
pub struct Gate {
    /// Where it listens.
    pub port: u16,
    /// Its `postern.toml`.
    pub config: PathBuf,
    kept: Kept,
}

impl Gate {
    /// Copies the demo's configuration, adds the tests' module and other ports, provisions (which changes nothing for the modules that
    /// are there already) and serves.
    fn start(stand: &Stand) -> Self {
        let original = stand.config_file();
        let from = original.parent().expect("a file lies in a directory");
        let to = stand.dir.join("gate-config");
        copy_directory(from, &to);
        let (port, admin) = (free_port(), free_port());
        let config = to.join("postern.toml");
        let text = fs::read_to_string(&config).unwrap_or_else(|e| panic!("{}: {e}", config.display()));
        let mut settings: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", config.display()));
        set_address(&mut settings, "listen", port);
        set_address(&mut settings, "admin", admin);
        fs::write(&config, settings.to_string()).unwrap_or_else(|e| panic!("{}: {e}", config.display()));
        let module = workspace().join("tests/gate/alltypes.toml");
        fs::copy(&module, to.join("modules/alltypes.toml")).unwrap_or_else(|e| panic!("{}: {e}", module.display()));
        let loaded = postern_config::load(&config).unwrap_or_else(|e| panic!("the tests' own configuration: {e:?}"));
        for login in ["alltypes", "alltypes_service"] {
            for side in ["client", "upstream"] {
                write_secret(&loaded.settings.secrets_dir.join(format!("{login}.{side}")), GATE_PASSWORD);
            }
        }
        let config_text = config.to_str().expect("the temporary directory's name is UTF-8");
        let provisioned = run_postern(&["provision", "--config", config_text]);
        assert!(
            provisioned.status.success(),
            "provisioning a further module failed:\n{}{}",
            String::from_utf8_lossy(&provisioned.stdout),
            String::from_utf8_lossy(&provisioned.stderr)
        );
        let binary = postern().to_str().expect("the target directory's name is UTF-8");
        let kept = Kept::start(&[binary, "serve", "--config", config_text], &log_file("gate"), None);
        let listening = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
        if eventually(Duration::from_secs(30), || kept.alive().then(listening).flatten()).is_none() {
            panic!("the second proxy does not listen; its output:\n{}", kept.log_text());
        }
        Self { port, config, kept }
    }

    /// What it said.
    pub fn log_text(&self) -> String {
        self.kept.log_text()
    }
}

fn set_address(settings: &mut toml::Table, section: &str, port: u16) {
    let section = settings.get_mut(section).and_then(toml::Value::as_table_mut);
    let section = section.expect("the demo's configuration says where it listens");
    section.insert("address".to_owned(), toml::Value::String(format!("127.0.0.1:{port}")));
}

/// Writes a secret as the product wants it: readable by its owner alone.
pub fn write_secret(path: &Path, secret: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, secret).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Copies a directory with everything below it, permissions included.
pub fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|e| panic!("{}: {e}", to.display()));
    for entry in fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
        let entry = entry.unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap_or_else(|e| panic!("{}: {e}", target.display()));
        }
    }
}

/// Mints a token by the command line.
pub fn mint(config: &Path, module: &str, who: &str, ttl: &str) -> String {
    let config = config.to_str().expect("the configuration's path is UTF-8");
    let mut arguments = vec![
        "token", "mint", "--config", config, "--module", module, "--as", who, "--ttl", ttl,
    ];
    if who == "root" {
        arguments.extend(["--reason", "end-to-end test"]);
    }
    let output = run_postern(&arguments);
    assert!(
        output.status.success(),
        "postern {arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The product's binary, built by the same cargo that runs this test where there is one.
///
/// # Panics
/// When it cannot be built or is missing.
pub fn postern() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let exe = std::env::current_exe().expect("a process knows its file");
        let profile = exe.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
        if let Ok(cargo) = std::env::var("CARGO") {
            // The whole workspace, so that features unify as they did for this test and nothing is built twice.
            let mut build = Command::new(cargo);
            build
                .args(["build", "--quiet", "--locked", "--workspace", "--bin", "postern"])
                .current_dir(workspace());
            build
                .arg("--target-dir")
                .arg(profile.parent().expect("a profile lies in the target directory"));
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            let output = build.output().expect("cargo can be started");
            assert!(
                output.status.success(),
                "`postern` does not build:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let binary = profile.join("postern");
        assert!(
            binary.exists(),
            "{} is missing. Build it first: cargo build --release --bin postern",
            binary.display()
        );
        binary
    })
}

/// Runs the product's command line to its end.
pub fn run_postern(arguments: &[&str]) -> Output {
    Command::new(postern())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("postern can be started")
}

/// The workspace's root.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the workspace")
}

/// A new empty directory that a non-root PostgreSQL can reach; its name is unique to this process.
pub fn fresh_directory(purpose: &str) -> PathBuf {
    static NEXT: Mutex<u32> = Mutex::new(0);
    let number = {
        let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        *next
    };
    let dir = std::env::temp_dir().join(format!("postern-{purpose}-{}-{number}", std::process::id()));
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    dir
}

/// A log that stays after the test, for whoever wants to know why it failed.
pub fn log_file(purpose: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a process knows its file");
    let stem = exe.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let stem = stem.rsplit_once('-').map_or(stem.as_str(), |(s, _)| s);
    let dir = exe
        .parent()
        .and_then(Path::parent)
        .expect("tests lie in target/PROFILE/deps")
        .join("test-logs");
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    dir.join(format!("{stem}-{purpose}.log"))
}

/// A TCP port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port exists");
    listener.local_addr().expect("a listener has an address").port()
}

/// Asks again and again until the answer comes or the time is over.
pub fn eventually<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if began.elapsed() > limit {
            return None;
        }
        sleep(Duration::from_millis(50));
    }
}

/// The SQLSTATE with which a connection is refused, or `None` where it was accepted.
pub fn refused(target: &Target) -> Option<Failure> {
    Connection::open(target).err()
}

/// The last lines of a log.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
