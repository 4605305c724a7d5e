//! The product's binary and the places that tests put things in.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

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
