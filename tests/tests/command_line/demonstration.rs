//! `postern demo`: its tour passes, what it cannot do it says, a kill loses nothing, and it leaves nothing running.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use postern_tests::connection::Connection;
use postern_tests::kept::Kept;
use postern_tests::product::{free_port, fresh_directory, log_file, postern};
use postern_tests::stand::eventually;
use postern_tests::target::Target;
use serde_json::Value;

use super::{processes_of, run};

fn text(path: &Path) -> &str {
    path.to_str().expect("the temporary directory's name is UTF-8")
}

#[test]
fn binaries_that_are_not_there() {
    let dir = fresh_directory("no-binaries");
    let said = run(
        &["demo", "--dir", text(&dir), "--port", "0", "--pg-bin", "/nonexistent"],
        Duration::from_secs(20),
    );
    assert!(said.code.is_some_and(|c| c != 0), "{}", said.text);
    assert!(said.text.contains("/nonexistent"), "{}", said.text);
    assert!(
        said.text.contains("--pg-bin") || said.text.contains("apt") || said.text.contains("nstall"),
        "no remedy:\n{}",
        said.text
    );
    assert!(processes_of(&dir).is_empty());
    fs::remove_dir_all(&dir).expect("ours");
}

#[test]
fn a_port_that_is_taken() {
    let dir = fresh_directory("busy");
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let said = run(&["demo", "--dir", text(&dir), "--port", &port], Duration::from_secs(60));
    assert_eq!(said.code, Some(75), "{}", said.text);
    assert!(
        said.text.contains(&port) && said.text.contains("--port"),
        "the port and the remedy are not named:\n{}",
        said.text
    );
    assert!(processes_of(&dir).is_empty(), "something was left running");
    fs::remove_dir_all(&dir).expect("ours");
}

#[test]
fn a_directory_that_is_somebody_elses() {
    let dir = fresh_directory("stranger-dir");
    fs::write(dir.join("thesis.txt"), "years of work").expect("ours");
    let said = run(&["demo", "--dir", text(&dir), "--port", "0"], Duration::from_secs(30));
    assert!(said.code.is_some_and(|c| c != 0), "{}", said.text);
    assert!(said.text.contains(text(&dir)), "{}", said.text);
    let left: Vec<_> = fs::read_dir(&dir).expect("ours").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["thesis.txt"], "the directory was touched");
    fs::remove_dir_all(&dir).expect("ours");
}

/// One directory through three runs: the tour; a kill in the middle; a proper end.
#[test]
fn the_tour_passes_a_kill_loses_nothing_and_the_end_is_clean() {
    let dir = fresh_directory("lives");
    let said = run(
        &["demo", "--tour-only", "--dir", text(&dir), "--port", "0"],
        Duration::from_secs(400),
    );
    assert_eq!(said.code, Some(0), "the tour does not pass:\n{}", said.text);
    assert!(said.text.contains("evilmod") && said.text.contains("bob"), "{}", said.text);
    assert!(
        processes_of(&dir).is_empty(),
        "--tour-only left {:?} running",
        processes_of(&dir)
    );
    assert!(!dir.join("demo.json").exists(), "demo.json speaks of a demo that ended");

    let mut kept = start(&dir, "killed");
    let demo = ready(&dir, &kept);
    let lab = Target::parse(
        demo.pointer("/modules/lab/url")
            .and_then(Value::as_str)
            .expect("the lab's URL"),
    );
    let mut c = Connection::open(&lab).unwrap_or_else(|e| panic!("{e}"));
    c.run("CREATE TABLE survivors (n int)").good("CREATE TABLE");
    c.run("INSERT INTO survivors SELECT generate_series(1, 1000)").good("INSERT");
    Command::new("kill")
        .args(["-KILL", &kept.pid.to_string()])
        .status()
        .expect("kill can be started");
    eventually(Duration::from_secs(20), || (!kept.alive()).then_some(())).expect("a killed process ends");
    kept.stop();

    let mut kept = start(&dir, "again");
    let demo = ready(&dir, &kept);
    let lab = Target::parse(
        demo.pointer("/modules/lab/url")
            .and_then(Value::as_str)
            .expect("the lab's URL"),
    );
    let mut c = Connection::open(&lab).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        c.run("SELECT count(*) FROM survivors")
            .good("after the kill")
            .scalar()
            .as_deref(),
        Some("1000")
    );
    // A second demo in the same directory is told so and harms nothing.
    let said = run(&["demo", "--dir", text(&dir), "--port", "0"], Duration::from_secs(30));
    assert_eq!(said.code, Some(75), "{}", said.text);
    assert_eq!(c.run("SELECT count(*) FROM survivors").scalar().as_deref(), Some("1000"));
    drop(c);
    kept.stop();
    let left = eventually(Duration::from_secs(30), || processes_of(&dir).is_empty().then_some(()));
    assert!(
        left.is_some(),
        "SIGTERM left {:?} running:\n{}",
        processes_of(&dir),
        kept.log_text()
    );
    assert!(!dir.join("demo.json").exists(), "demo.json speaks of a demo that ended");
    fs::remove_dir_all(&dir).expect("ours");
}

fn start(dir: &Path, purpose: &str) -> Kept {
    let port = free_port().to_string();
    Kept::start(
        &[text(postern()), "demo", "--dir", text(dir), "--port", &port],
        &log_file(purpose),
        None,
    )
}

fn ready(dir: &Path, kept: &Kept) -> Value {
    let read = || {
        assert!(kept.alive(), "the demo ended before it was ready:\n{}", kept.log_text());
        fs::read(dir.join("demo.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
    };
    // A killed demo leaves its file behind; the next one removes it before it does anything else.
    std::thread::sleep(Duration::from_secs(2));
    eventually(Duration::from_secs(300), read).unwrap_or_else(|| panic!("not ready:\n{}", kept.log_text()))
}
