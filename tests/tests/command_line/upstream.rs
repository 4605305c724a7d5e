//! A database that is not there, or that does not know us.

use std::time::Duration;

use postern_tests::connection::{Connection, Failure};
use postern_tests::kept::Kept;
use postern_tests::product::{log_file, postern};
use postern_tests::stand::eventually;
use postern_tests::target::Target;

use super::{Configuration, run};

#[test]
fn provisioning_a_dead_database_says_where_it_looked() {
    let configuration = Configuration::new("dead");
    let said = run(&["provision", "--config", &configuration.argument()], Duration::from_secs(30));
    assert!(said.code.is_some_and(|c| c != 0), "{}", said.text);
    let config = postern_config::load(&configuration.file()).unwrap_or_else(|e| panic!("{e:?}"));
    let port = config.settings.upstream.hosts[0].port().to_string();
    assert!(said.text.contains(&port), "the address is not named:\n{}", said.text);
    assert!(
        said.text.lines().filter(|l| !l.trim().is_empty()).count() >= 2,
        "a cause, but no remedy:\n{}",
        said.text
    );
}

/// The proxy either says at once that it cannot start, or starts, says that it is not ready, and refuses clients.
#[test]
fn serving_a_dead_database_is_told() {
    let configuration = Configuration::new("dead-serve");
    let config = postern_config::load(&configuration.file()).unwrap_or_else(|e| panic!("{e:?}"));
    let log = log_file("dead-upstream");
    let binary = postern().to_str().expect("the target directory's name is UTF-8");
    let mut kept = Kept::start(&[binary, "serve", "--config", &configuration.argument()], &log, None);
    let port = config.settings.upstream.hosts[0].port().to_string();
    let outcome = eventually(Duration::from_secs(30), || {
        if !kept.alive() {
            return Some("ended");
        }
        let target = Target::parse(&format!(
            "postgresql://disco:x@127.0.0.1:{}/app",
            config.settings.listen.address.port()
        ));
        match Connection::open(&target) {
            Err(Failure::Server(_)) => Some("refuses"),
            _ => None,
        }
    });
    let text = kept.log_text();
    assert!(!text.contains("panicked"), "{text}");
    match outcome {
        Some("ended") => assert!(text.contains(&port), "the address is not named:\n{text}"),
        Some(_) => {}
        None => panic!("after 30 s it neither ended nor answered:\n{text}"),
    }
    kept.stop();
}

/// Something listens, but it is no PostgreSQL.
#[test]
fn an_upstream_that_is_no_database() {
    let configuration = Configuration::new("stranger");
    let config = postern_config::load(&configuration.file()).unwrap_or_else(|e| panic!("{e:?}"));
    let listener =
        std::net::TcpListener::bind(("127.0.0.1", config.settings.upstream.hosts[0].port())).expect("the port is free");
    std::thread::spawn(move || {
        use std::io::Write;
        for stream in listener.incoming().flatten() {
            let _ = (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    for command in ["provision", "serve"] {
        let said = run(&[command, "--config", &configuration.argument()], Duration::from_secs(40));
        assert!(said.code.is_some_and(|c| c != 0), "{command}: {}", said.text);
        assert!(!said.text.trim().is_empty(), "{command} said nothing");
    }
}
