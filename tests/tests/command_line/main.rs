//! The command line, given what it should not be given: a clear error with a remedy, the right exit code, no panic, nothing lost.

mod configuration;
mod demonstration;
mod policy;
mod upstream;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use postern_tests::product::{copy_directory, fresh_directory, postern, workspace, write_secret};

/// What a command said and how it ended.
struct Said {
    code: Option<i32>,
    /// All of it.
    text: String,
    /// Standard output alone.
    out: String,
}

/// Runs the product; a command that does not end in time is killed and fails the test.
#[track_caller]
fn run(arguments: &[&str], limit: Duration) -> Said {
    let mut child = Command::new(postern())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("postern can be started");
    let began = Instant::now();
    while child.try_wait().expect("a child can be asked").is_none() {
        if began.elapsed() > limit {
            let _ = child.kill();
            let said = said(child.wait_with_output().expect("a killed child ends"));
            panic!("postern {arguments:?} was still running after {limit:?}:\n{}", said.text);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    said(child.wait_with_output().expect("a child that ended can be read"))
}

fn said(output: Output) -> Said {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = format!("{out}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("panicked"), "a panic:\n{text}");
    Said {
        code: output.status.code(),
        text,
        out,
    }
}

/// A configuration that is right: the examples, with ports of its own and every file that they name.
struct Configuration {
    dir: PathBuf,
}

impl Configuration {
    fn new(purpose: &str) -> Self {
        let dir = fresh_directory(purpose);
        copy_directory(&workspace().join("config/examples"), &dir);
        let file = dir.join("postern.toml");
        let text = std::fs::read_to_string(&file).expect("the example can be read");
        let mut settings: toml::Table = text.parse().expect("the example is TOML");
        let mut set = |section: &str, key: &str, value: toml::Value| {
            let section = settings
                .entry(section)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            section.as_table_mut().expect("a section").insert(key.to_owned(), value);
        };
        let text = |t: &str| toml::Value::String(t.to_owned());
        set(
            "listen",
            "address",
            text(&format!("127.0.0.1:{}", postern_tests::product::free_port())),
        );
        set(
            "admin",
            "address",
            text(&format!("127.0.0.1:{}", postern_tests::product::free_port())),
        );
        set("upstream", "host", text("127.0.0.1"));
        set(
            "upstream",
            "port",
            toml::Value::Integer(i64::from(postern_tests::product::free_port())),
        );
        set("upstream", "control_password_file", text("secrets/control"));
        set("secrets", "dir", text("secrets"));
        set("keys", "root_file", text("root.key"));
        set("keys", "passphrase_file", text("secrets/passphrase"));
        set("tokens", "public_keys", toml::Value::Array(vec![text("secrets/issuer.pem")]));
        std::fs::write(&file, settings.to_string()).expect("the directory is ours");
        let made = Self { dir };
        made.write_secrets();
        made
    }

    fn write_secrets(&self) {
        let secrets = self.dir.join("secrets");
        std::fs::create_dir_all(&secrets).expect("the directory is ours");
        // The public key of RFC 8032's first test vector.
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
        write_secret(&secrets.join("issuer.pem"), pem);
        write_secret(&secrets.join("control"), "a password for the control role");
        write_secret(&secrets.join("passphrase"), "a passphrase for the root key");
        let config = postern_config::load(&self.file()).unwrap_or_else(|e| panic!("the examples do not load: {e:?}"));
        for login in config.modules.iter().flat_map(|m| &m.logins) {
            for side in ["client", "upstream"] {
                write_secret(&secrets.join(format!("{}.{side}", login.name)), "a password of a login");
            }
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.join("postern.toml")
    }

    fn argument(&self) -> String {
        self.file()
            .to_str()
            .expect("the temporary directory's name is UTF-8")
            .to_owned()
    }

    /// Replaces text in one of its files; the text must be there.
    fn replace(&self, file: &str, from: &str, to: &str) {
        let path = self.dir.join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(text.contains(from), "{file} has no `{from}`");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    fn append(&self, file: &str, text: &str) {
        let path = self.dir.join(file);
        let mut all = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        all.push_str(text);
        std::fs::write(&path, all).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

impl Drop for Configuration {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Ids of processes whose command line or working directory speaks of `dir`.
fn processes_of(dir: &Path) -> Vec<u32> {
    let needle = dir.to_string_lossy().into_owned();
    let own = std::process::id();
    std::fs::read_dir("/proc")
        .expect("this is Linux")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            // The shell that keeps the demo for us names the directory too; it is not the demo's.
            (line.contains(&needle) || cwd.starts_with(dir)) && !line.contains("keeper")
        })
        .collect()
}
