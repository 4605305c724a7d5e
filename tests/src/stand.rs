//! The stand: `postern demo` started for real in a directory of its own, once per test binary, and stopped when that binary ends
//! ([`Kept`]).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::connection::{Connection, Failure};
use crate::gate::{GATE_MODULES, GATE_PASSWORD, Gate};
use crate::kept::Kept;
use crate::product::{free_port, fresh_directory, log_file, postern, run_postern};
use crate::target::Target;

/// How long the demo may take until it is ready: initdb, provisioning, 20,000 rows and the tour on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(300);
/// A minted token is used again for this long (it lives for twice as long).
const TOKEN_REUSE: Duration = Duration::from_secs(240);

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
        let binary = postern().to_str().expect("the target directory's name is UTF-8");
        let dir = fresh_directory("stand");
        let log = log_file("stand");
        let port = free_port().to_string();
        let dir_text = dir.to_str().expect("the temporary directory's name is UTF-8");
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

    /// A second proxy before the same database, which also knows the modules of `gate/`; started by whoever asks first.
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

    /// The login as [`Stand::login_as`] says, through the second proxy: the first one does not know the modules of `gate/`.
    pub fn through_gate(&self, name: &str, who: Option<&str>) -> Target {
        self.through(self.gate().port, name, who)
    }

    /// The same through whichever proxy listens there, before the same database and with the same keys.
    pub fn through(&self, port: u16, name: &str, who: Option<&str>) -> Target {
        let module = name.split_once('.').map_or(name, |(module, _)| module);
        if !GATE_MODULES.contains(&module) {
            return self.login_as(name, who).on_port(port);
        }
        let target = Target {
            user: name.replace('.', "_"),
            password: GATE_PASSWORD.to_owned(),
            ..self.login("lab").on_port(port)
        };
        match who {
            Some(who) => target.with_token(&self.minted(module, who, || mint(&self.gate().config, module, who, "600"))),
            None => target,
        }
    }

    /// A token of that person for that module (superadmins give a reason); minted by the command line, used again while it is fresh.
    pub fn token(&self, module: &str, who: &str) -> String {
        self.minted(module, who, || self.mint(module, who, "600"))
    }

    fn minted(&self, module: &str, who: &str, mint: impl FnOnce() -> String) -> String {
        let key = (module.to_owned(), who.to_owned());
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, minted)) = tokens.get(&key)
            && minted.elapsed() < TOKEN_REUSE
        {
            return token.clone();
        }
        let token = mint();
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
