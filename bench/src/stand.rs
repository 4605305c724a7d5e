//! `postern demo`, started in the run's directory, and what it says of itself in `demo.json`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_postgres::Config;

use crate::child::Server;
use crate::error::BenchError;

/// initdb, provisioning, 20,000 rows and the tour, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(300);
/// A token is used for this long; it holds for ten minutes, and no slice lasts the rest.
const TOKEN_REUSE: Duration = Duration::from_secs(240);

/// Module and person.
type Visa = (&'static str, &'static str);

/// The running demo.
pub struct Stand {
    server: Server,
    binary: PathBuf,
    file: PathBuf,
    said: Value,
    // By module and person, with the moment it was minted.
    tokens: RefCell<HashMap<Visa, (String, Instant)>>,
}

impl Stand {
    /// Starts it in `dir` on any free port and waits until it is ready.
    pub async fn start(binary: &Path, dir: &Path) -> Result<Self, BenchError> {
        fs::create_dir_all(dir).map_err(BenchError::io("create", dir))?;
        let place = dir.join("demo");
        let file = place.join("demo.json");
        // A demo that was killed leaves its announcement behind.
        let _ = fs::remove_file(&file);
        let place_text = place.to_string_lossy();
        let args = ["demo", "--dir", &*place_text, "--port", "0"];
        let mut server = Server::start("postern demo", binary, &args, &dir.join("demo.log"), None)?;
        let said = server
            .ready(START_LIMIT, async || serde_json::from_slice(&fs::read(&file).ok()?).ok())
            .await?;
        Ok(Self {
            server,
            binary: binary.to_owned(),
            file,
            said,
            tokens: RefCell::default(),
        })
    }

    /// The process that hosts the proxy. PostgreSQL is another.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// A login of a module through the proxy: `url`, `service_url` or `migrator_url`.
    pub fn through(&self, module: &str, login: &str) -> Result<Config, BenchError> {
        self.config(&format!("/modules/{module}/{login}"))
    }

    /// The superuser, straight at PostgreSQL.
    pub fn dba(&self) -> Result<Config, BenchError> {
        self.config("/direct_dba_url")
    }

    fn config(&self, pointer: &str) -> Result<Config, BenchError> {
        let mut config: Config = self.text(pointer)?.parse().map_err(|_| self.lacks(pointer))?;
        config.connect_timeout(Duration::from_secs(10));
        Ok(config)
    }

    fn text(&self, pointer: &str) -> Result<&str, BenchError> {
        self.said
            .pointer(pointer)
            .and_then(Value::as_str)
            .ok_or_else(|| self.lacks(pointer))
    }

    fn lacks(&self, pointer: &str) -> BenchError {
        BenchError::Announcement {
            file: self.file.clone(),
            pointer: pointer.to_owned(),
        }
    }

    /// A token that holds for minutes to come.
    pub fn token(&self, module: &'static str, person: &'static str) -> Result<String, BenchError> {
        if let Some((token, minted)) = self.tokens.borrow().get(&(module, person))
            && minted.elapsed() < TOKEN_REUSE
        {
            return Ok(token.clone());
        }
        let output = Command::new(&self.binary)
            .args(["token", "mint", "--config", self.text("/config")?])
            .args(["--module", module, "--as", person, "--reason", "benchmark"])
            .output()
            .map_err(BenchError::io("run", &self.binary))?;
        if !output.status.success() {
            return Err(BenchError::Token {
                module,
                person,
                message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
        let token = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        self.tokens
            .borrow_mut()
            .insert((module, person), (token.clone(), Instant::now()));
        Ok(token)
    }
}
