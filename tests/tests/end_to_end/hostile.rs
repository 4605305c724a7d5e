//! A server that turns hostile: between the proxy and PostgreSQL stands somebody who relays everything until a statement bears a mark,
//! and then answers in PostgreSQL's place. The client gets an error, the answer or a closed connection; the proxy survives, serves others,
//! and shows nothing as opened that was not sealed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::spawn;
use std::time::Duration;

use postern_tests::another::{Another, set};
use postern_tests::connection::Connection;
use postern_tests::message::{bind_body, message, parse_body};
use postern_tests::stand::{Stand, eventually, tail};

/// What stands in a statement that is answered by case number N: `meddle:N.`
const MARK: &[u8] = b"meddle:";

/// What the server says instead, and whether it closes then.
struct Answer {
    name: &'static str,
    bytes: Vec<u8>,
    closes: bool,
}

fn answer(name: &'static str, parts: &[(u8, &[u8])]) -> Answer {
    let bytes = parts.iter().flat_map(|(kind, body)| message(*kind, body)).collect();
    Answer {
        name,
        bytes,
        closes: false,
    }
}

fn raw(name: &'static str, bytes: &[u8], closes: bool) -> Answer {
    Answer {
        name,
        bytes: bytes.to_vec(),
        closes,
    }
}

const READY: (u8, &[u8]) = (b'Z', b"I");

fn answers() -> Vec<Answer> {
    let column = |oid: u32| {
        [
            &b"\0\x01c\0\0\0\0\0\0\0"[..],
            &oid.to_be_bytes(),
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
        ]
        .concat()
    };
    let (text, bytea) = (column(25), column(17));
    let row: &[u8] = b"\0\x01\0\0\0\x03abc";
    vec![
        answer("an error without SQLSTATE", &[(b'E', b"SERROR\0Mbad\0\0"), READY]),
        answer("an error without any field", &[(b'E', b"\0"), READY]),
        answer("an error whose fields do not end", &[(b'E', b"SERROR\0C42P01"), READY]),
        answer(
            "an error that is not UTF-8",
            &[(b'E', b"SERROR\0C42P01\0M\xff\xfe\0\0"), READY],
        ),
        answer("a fatal error", &[(b'E', b"SFATAL\0VFATAL\0C57P01\0Mgone\0\0")]),
        answer("a message of unknown kind", &[(b'x', b"what"), READY]),
        answer("a message of kind 0", &[(0, b""), READY]),
        answer(
            "a notification",
            &[(b'A', b"\0\0\0\x01channel\0payload\0"), (b'C', b"SELECT 0\0"), READY],
        ),
        answer("a notification that is cut", &[(b'A', b"\0\0"), READY]),
        answer("a row without a description", &[(b'D', row), (b'C', b"SELECT 1\0"), READY]),
        answer(
            "a row of fewer columns",
            &[(b'T', &text), (b'D', b"\0\0"), (b'C', b"SELECT 1\0"), READY],
        ),
        answer(
            "a row of 65,535 columns",
            &[(b'T', &text), (b'D', b"\xff\xff\0\0\0\x03abc"), READY],
        ),
        answer(
            "a value of length −2",
            &[(b'T', &text), (b'D', b"\0\x01\xff\xff\xff\xfe"), READY],
        ),
        answer(
            "a value beyond its row",
            &[(b'T', &bytea), (b'D', b"\0\x01\0\x0f\xff\xffabc"), READY],
        ),
        answer(
            "plaintext where an envelope was",
            &[(b'T', &bytea), (b'D', row), (b'C', b"SELECT 1\0"), READY],
        ),
        answer("a description of 65,535 columns", &[(b'T', b"\xff\xff"), READY]),
        answer(
            "a description without a name's end",
            &[(b'T', b"\0\x01abcdefghijklmnopqrstuvwxyz"), READY],
        ),
        answer("ReadyForQuery out of turn", &[READY, READY, READY]),
        answer("ReadyForQuery in no state", &[(b'Z', b"?")]),
        answer("ReadyForQuery without a state", &[(b'Z', b"")]),
        answer("a transaction that nobody began", &[(b'C', b"SELECT 0\0"), (b'Z', b"T")]),
        answer(
            "completions that nobody asked for",
            &[
                (b'1', b""),
                (b'2', b""),
                (b'3', b""),
                (b'n', b""),
                (b's', b""),
                (b'I', b""),
                READY,
            ],
        ),
        answer("a COPY that nobody asked for", &[(b'G', b"\0\0\0")]),
        answer(
            "a COPY out that nobody asked for",
            &[(b'H', b"\0\0\0"), (b'd', b"row\n"), (b'c', b""), (b'C', b"COPY 1\0"), READY],
        ),
        answer("a COPY both ways", &[(b'W', b"\0\0\0")]),
        answer("another login", &[(b'R', b"\0\0\0\x03"), READY]),
        answer("another cancel key", &[(b'K', b"\0\0\0\x01\0\0\0\x02"), READY]),
        answer("a setting without its value", &[(b'S', b"TimeZone\0"), READY]),
        answer(
            "another encoding",
            &[(b'S', b"client_encoding\0SJIS\0"), (b'C', b"SELECT 0\0"), READY],
        ),
        answer("a function's result", &[(b'V', b"\0\0\0\0"), READY]),
        answer("another version", &[(b'v', b"\0\x03\0\0\0\0\0\0"), READY]),
        raw("a length of 2 GiB", b"D\x7f\xff\xff\xff\0\x01", false),
        raw("a length of 3", b"D\0\0\0\x03", false),
        raw("a negative length", b"T\xff\xff\xff\xff", false),
        raw("a length of 0 in an error", b"E\0\0\0\0", false),
        raw("half a row, then the end", b"D\0\0\0\x64\0\x01\0\0", true),
        raw("a head alone, then the end", b"Z\0\0", true),
        raw("the end", b"", true),
    ]
}

/// Relays one connection until a mark comes.
fn meddle(client: TcpStream, port: u16) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port))?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = from_server.read(&mut buffer) {
            if to_client.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let (mut from_client, mut to_client, mut to_server) = (client.try_clone()?, client, server);
    let all = answers();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = from_client.read(&mut buffer)?;
        if n == 0 {
            return to_server.shutdown(Shutdown::Both);
        }
        let sent = &buffer[..n];
        let marked = sent
            .windows(MARK.len())
            .position(|w| w == MARK)
            .map(|at| &sent[at + MARK.len()..]);
        let number = marked.and_then(|rest| {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            std::str::from_utf8(&rest[..digits]).ok()?.parse::<usize>().ok()
        });
        match number.and_then(|n| all.get(n)) {
            None => to_server.write_all(sent)?,
            Some(answer) => {
                to_client.write_all(&answer.bytes)?;
                if answer.closes {
                    to_server.shutdown(Shutdown::Both)?;
                    return to_client.shutdown(Shutdown::Both);
                }
            }
        }
    }
}

fn proxy(stand: &'static Stand) -> (&'static Another, MutexGuard<'static, ()>) {
    static PROXY: OnceLock<Another> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let proxy = PROXY.get_or_init(|| {
        let port = stand.dba().port;
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let ours = listener.local_addr().expect("an address").port();
        spawn(move || {
            for client in listener.incoming().flatten() {
                spawn(move || meddle(client, port));
            }
        });
        Another::start(stand, "hostile", |settings| {
            set(settings, "upstream", "host", "127.0.0.1");
            set(settings, "upstream", "port", i64::from(ours));
        })
    });
    (proxy, turn)
}

/// Whatever comes must come, and it is an answer or the end: never silence.
fn ends(c: &mut Connection) -> Result<(), String> {
    let mut kinds = String::new();
    loop {
        match c.receive() {
            Ok(frame) if frame.kind == b'Z' => return Ok(()),
            Ok(frame) => kinds.push(char::from(frame.kind)),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                return Err(format!("silence after {kinds:?}"));
            }
            Err(_) => return Ok(()),
        }
    }
}

#[test]
fn a_hostile_server_ends_one_connection_at_most() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let (proxy, _turn) = proxy(stand);
    let plain = proxy.login(stand, "evilmod");
    let reader = stand.login_as("disco", Some("root")).on_port(proxy.port);
    let before = proxy.memory();
    let mut problems = Vec::new();
    let open = |target| {
        let opened = eventually(Duration::from_secs(10), || Connection::open(target).ok());
        let mut c = opened.unwrap_or_else(|| panic!("no more connections:\n{}", tail(&proxy.kept.log_text())));
        c.patience(Duration::from_secs(10)).expect("a deadline can be set");
        c
    };
    let mut bystander = open(&plain);
    for (number, answer) in answers().iter().enumerate() {
        let columns = format!("SELECT 'meddle:{number}.' AS c");
        let opened = format!("SELECT action_location FROM projects WHERE project_id <> 'meddle:{number}.'");
        for (what, target, sql) in [("plain", &plain, &columns), ("protected", &reader, &opened)] {
            for extended in [false, true] {
                let mut c = open(target);
                c.forget_seen();
                let sent = if extended {
                    let parts = [
                        message(b'P', &parse_body("", sql, &[])),
                        message(b'D', b"S\0"),
                        message(b'B', &bind_body("", "", &[], 0, 0)),
                        message(b'E', b"\0\0\0\0\0"),
                        message(b'S', b""),
                    ];
                    c.send_raw(&parts.concat())
                } else {
                    c.send(b'Q', &[sql.as_bytes(), &[0]].concat())
                };
                sent.expect("sent");
                let name = format!("{} ({what}, {})", answer.name, if extended { "extended" } else { "simple" });
                if let Err(problem) = ends(&mut c) {
                    problems.push(format!("{name}: {problem}"));
                }
                if what == "protected" && c.seen.windows(3).any(|w| w == b"abc") {
                    problems.push(format!("{name}: what was never sealed was shown"));
                }
                if !proxy.kept.alive() {
                    panic!("{name}: the proxy ended:\n{}", tail(&proxy.kept.log_text()));
                }
                if bystander.run("SELECT 1").scalar().as_deref() != Some("1") {
                    problems.push(format!("{name}: others are not served"));
                }
            }
        }
    }
    let log = proxy.kept.log_text();
    assert!(!log.contains("panicked"), "{}", tail(&log));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 32 * 1024, "memory grew by {grown} KiB");
}
