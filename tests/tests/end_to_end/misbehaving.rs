//! Clients that misbehave: each ends, or stops, its own connection at most; others are served meanwhile, and memory keeps its bounds.
//!
//! The bounds are those of `tests/README.md`. They are measured on a proxy of their own, alone in its process.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use postern_tests::another::{Another, set};
use postern_tests::connection::{Connection, Failure};
use postern_tests::message::{VERSION_3_0, bind_body, cstring, error_fields, message, parse_body, startup_message};
use postern_tests::stand::{Stand, eventually, tail};
use postern_tests::target::Target;

const MAX_CLIENTS: i64 = 24;
/// What one client may cost, KiB, whatever it asks for and however it behaves.
const CLIENT_BOUND: u64 = 16 * 1024;

/// The proxy of these tests, and the turn to use it: memory is measured, so one test at a time.
struct Field {
    stand: &'static Stand,
    proxy: &'static Another,
    _turn: MutexGuard<'static, ()>,
}

fn field() -> Field {
    static PROXY: OnceLock<Another> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let stand = Stand::shared();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let proxy = PROXY.get_or_init(|| {
        Another::start(stand, "misbehaving", |settings| {
            set(settings, "limits", "max_clients", MAX_CLIENTS);
            set(settings, "limits", "login_timeout_seconds", 2);
        })
    });
    let field = Field {
        stand,
        proxy,
        _turn: turn,
    };
    // Plans, pools and threads that the first clients make are nobody's fault.
    (0..4).for_each(|_| field.still_serves());
    field
}

impl Field {
    fn target(&self) -> Target {
        self.proxy.login(self.stand, "evilmod")
    }

    #[track_caller]
    fn connect(&self) -> Connection {
        Connection::open(&self.target()).unwrap_or_else(|e| panic!("{e}\n{}", tail(&self.proxy.kept.log_text())))
    }

    fn socket(&self) -> Connection {
        let mut c = Connection::socket(&self.target()).unwrap_or_else(|e| panic!("{e}"));
        c.patience(Duration::from_secs(20)).expect("a deadline can be set");
        c
    }

    /// A place is free again a moment after its client has gone, so this asks more than once.
    #[track_caller]
    fn still_serves(&self) {
        let entered = eventually(Duration::from_secs(10), || Connection::open(&self.target()).ok());
        let mut c = entered.unwrap_or_else(|| panic!("nobody comes in\n{}", tail(&self.proxy.kept.log_text())));
        assert_eq!(c.run("SELECT 1").scalar().as_deref(), Some("1"));
    }

    /// The most that memory grew over `before`, KiB, while `busy` holds; another client is served all the time.
    #[track_caller]
    fn grown(&self, before: u64, busy: Duration) -> u64 {
        let mut other = self.connect();
        let (began, mut most) = (Instant::now(), 0);
        while began.elapsed() < busy {
            assert_eq!(other.run("SELECT 7").scalar().as_deref(), Some("7"), "another client waits");
            most = most.max(self.proxy.memory().saturating_sub(before));
            sleep(Duration::from_millis(20));
        }
        most
    }
}

#[test]
fn messages_before_the_login_end_the_connection() {
    let field = field();
    let startup = startup_message(
        VERSION_3_0,
        &[("user", &field.target().user), ("database", &field.target().database)],
    );
    // In place of the startup packet, their type byte is the length's first.
    for first in [message(b'Q', b"SELECT 1\0"), message(b'p', b"secret\0"), message(b'X', b"")] {
        let mut c = field.socket();
        c.send_raw(&first).expect("sent");
        assert!(c.closes(), "{:?} was taken for a startup packet", char::from(first[0]));
    }
    // In place of the password, or instead of the proof.
    let first = [&cstring("SCRAM-SHA-256")[..], &20_i32.to_be_bytes(), b"n,,n=,r=abcdefghijkl"].concat();
    for said in [
        vec![message(b'Q', b"SELECT 1\0")],
        vec![message(b'P', &parse_body("", "SELECT 1", &[])), message(b'S', b"")],
        vec![message(b'p', b"SCRAM-SHA-256\0\x7f\xff\xff\xff")],
        vec![message(b'p', &first), message(b'Q', b"SELECT 1\0")],
        vec![message(b'p', &first), message(b'p', b"c=biws,r=abcdefghijkl,p=AAAA")],
        vec![message(b'p', &vec![b'x'; 100_000])],
        vec![[&b"p"[..], &i32::MAX.to_be_bytes()].concat()],
        vec![[&b"p"[..], &(-1_i32).to_be_bytes()].concat()],
    ] {
        let mut c = field.socket();
        c.send_raw(&startup).expect("sent");
        for part in &said {
            let _ = c.send_raw(part);
        }
        assert!(c.closes(), "{said:?}: the connection stays open");
        assert!(!c.seen.windows(5).any(|w| w == b"Z\0\0\0\x05"), "{said:?}: it became ready");
    }
    field.still_serves();
}

/// What comes in the clear behind a request for encryption was written by somebody else (CVE-2021-23214).
#[test]
fn bytes_ahead_of_tls_are_never_taken_for_what_came_under_it() {
    let field = field();
    let (ssl, gss) = (80_877_103_i32, 80_877_104_i32);
    let startup = startup_message(
        VERSION_3_0,
        &[("user", &field.target().user), ("database", &field.target().database)],
    );
    for code in [ssl, gss] {
        let mut c = field.socket();
        let request = [8_i32.to_be_bytes(), code.to_be_bytes()].concat();
        c.send_raw(&[&request[..], &startup].concat()).expect("sent");
        c.patience(Duration::from_secs(4)).expect("a deadline can be set");
        let _ = c.hang_up();
        assert!(c.closes(), "the connection stays open");
        // Refused in the clear it may go on in the clear; accepted, it must not go on at all.
        assert!(
            c.seen.first() != Some(&b'S') || c.seen.len() == 1,
            "{:?}",
            String::from_utf8_lossy(&c.seen)
        );
        assert!(!c.seen.windows(5).any(|w| w == b"Z\0\0\0\x05"));
    }
    field.still_serves();
}

#[test]
fn slow_clients_hold_no_place_for_long() {
    let field = field();
    let startup = startup_message(
        VERSION_3_0,
        &[("user", &field.target().user), ("database", &field.target().database)],
    );
    let began = Instant::now();
    let crowd: Vec<_> = (0..40)
        .map(|n| {
            let (mut c, startup) = (field.socket(), startup.clone());
            spawn(move || {
                for byte in startup.iter().cycle().take(if n % 2 == 0 { 0 } else { 400 }) {
                    if c.send_raw(&[*byte]).is_err() {
                        break;
                    }
                    sleep(Duration::from_millis(50));
                }
                c.closes()
            })
        })
        .collect();
    while began.elapsed() < Duration::from_millis(1500) {
        field.still_serves();
    }
    for c in crowd {
        assert!(c.join().expect("a client that is slow"), "a slow client is still there");
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(30), "the last slow client was there for {took:?}");
    // After the login slowness is allowed: the frame is read when it is whole.
    let mut c = field.connect();
    for byte in message(b'Q', &cstring("SELECT 42")) {
        c.send_raw(&[byte]).expect("sent");
        sleep(Duration::from_millis(5));
    }
    assert_eq!(
        c.replies().unwrap_or_else(|e| panic!("{e}"))[0].scalar().as_deref(),
        Some("42")
    );
}

#[test]
fn a_flood_of_connections_is_told_53300_and_the_others_go_on() {
    let field = field();
    let settled = eventually(Duration::from_secs(10), || {
        let mut all: Vec<Connection> = Vec::new();
        while let Ok(c) = Connection::open(&field.target()) {
            all.push(c);
        }
        (all.len() as i64 == MAX_CLIENTS).then_some(all)
    });
    let mut all = settled.expect("as many clients come in as the settings say");
    for _ in 0..40 {
        match Connection::open(&field.target()) {
            Err(Failure::Server(e)) => {
                assert_eq!(e.sqlstate(), "53300", "{e}");
                assert_eq!(e.field('S'), Some("FATAL"));
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("one client too many"),
        }
    }
    for c in &mut all {
        assert_eq!(c.run("SELECT 1").scalar().as_deref(), Some("1"));
    }
    drop(all.pop());
    let entered = eventually(Duration::from_secs(10), || Connection::open(&field.target()).ok());
    assert!(entered.is_some(), "a place that became free is not given");
}

#[test]
fn a_reader_that_stops_costs_less_than_16_mb() {
    let field = field();
    let mut c = field.connect();
    c.run("SELECT 1").good("SELECT 1");
    let before = field.proxy.memory();
    c.send(b'Q', &cstring("SELECT repeat('x', 1000) FROM generate_series(1, 400000)"))
        .expect("sent");
    let grown = field.grown(before, Duration::from_secs(3));
    assert!(grown < CLIENT_BOUND, "{grown} KiB for a result of 400 MB that nobody reads");
    // It may go on where it stopped.
    let read = c.skip_to(b'Z').unwrap_or_else(|e| panic!("{e}"));
    assert!(read > 400_000_000, "{read} bytes");
    // And one that goes away instead takes its statement with it.
    c.send(b'Q', &cstring("SELECT repeat('x', 1000) FROM generate_series(1, 400000)"))
        .expect("sent");
    sleep(Duration::from_millis(200));
    drop(c);
    field.still_serves();
}

#[test]
fn a_row_of_hundreds_of_megabytes_is_not_held() {
    let field = field();
    let mut c = field.connect();
    c.run("SELECT 1").good("SELECT 1");
    let before = field.proxy.memory();
    let reader = spawn(move || {
        for sql in ["SELECT repeat('x', 300000000)", "SELECT 1"] {
            c.send(b'Q', &cstring(sql)).expect("sent");
            let read = c.skip_to(b'Z').unwrap_or_else(|e| panic!("{sql}: {e}"));
            assert!(sql.len() < 10 || read > 300_000_000, "{read} bytes");
        }
    });
    let mut most = 0;
    while !reader.is_finished() {
        most = most.max(field.grown(before, Duration::from_millis(100)));
    }
    reader.join().expect("the row arrives");
    assert!(most < CLIENT_BOUND, "{most} KiB for a row of 300 MB");
}

#[test]
fn a_hundred_thousand_messages_without_reading_wait_with_their_sender() {
    let field = field();
    let mut c = field.connect();
    c.run("SELECT 1").good("SELECT 1");
    let before = field.proxy.memory();
    let group = [
        message(b'P', &parse_body("", "SELECT repeat('y', 100)", &[])),
        message(b'B', &bind_body("", "", &[], 0, 0)),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ];
    let groups = 25_000;
    let mut sender = c.sender().expect("a second handle");
    let sending = spawn(move || {
        let some = group.concat().repeat(100);
        (0..groups / 100).try_for_each(|_| sender.write_all(&some))
    });
    let grown = field.grown(before, Duration::from_secs(2));
    assert!(
        grown < CLIENT_BOUND,
        "{grown} KiB for 100,000 messages whose answers nobody reads"
    );
    for n in 0..groups {
        c.skip_to(b'Z').unwrap_or_else(|e| panic!("answer {n}: {e}"));
    }
    sending.join().expect("the sender").expect("sent");
    assert_eq!(c.run("SELECT 1").scalar().as_deref(), Some("1"));
}

/// As PostgreSQL: what was sent before the end is answered, then the connection ends.
#[test]
fn a_client_that_only_half_closes_gets_its_answer() {
    let field = field();
    let mut c = field.connect();
    c.patience(Duration::from_secs(20)).expect("a deadline can be set");
    c.send(b'Q', &cstring("SELECT 'late', pg_sleep(0.3)")).expect("sent");
    c.hang_up().expect("half closed");
    let replies = c.replies().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(replies[0].scalar().as_deref(), Some("late"), "{replies:?}");
    assert!(c.closes(), "the connection stays open");
    field.still_serves();
}

#[test]
fn as_many_parameters_and_columns_as_the_protocol_has() {
    let field = field();
    let mut c = field.connect();
    let list: Vec<String> = (1..=65_535).map(|n| format!("${n}")).collect();
    let sql = format!(
        "SELECT count(*) FROM generate_series(65530, 70000) AS g(n) WHERE n IN ({})",
        list.join(",")
    );
    let values: Vec<_> = (1..=65_535).map(|n: u32| Some(n.to_string().into_bytes())).collect();
    let reply = c.extended_with(&sql, &[], &values, 0, 0).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(reply.good("65,535 parameters").scalar().as_deref(), Some("6"));

    let list: Vec<String> = (1..=1_600).map(|n| format!("{n} AS c{n}")).collect();
    let sql = format!("SELECT {}", list.join(","));
    for format in [0, 1] {
        let reply = c
            .extended(&sql, &[], format)
            .unwrap_or_else(|e| panic!("{e}"))
            .good("1,600 columns");
        assert_eq!(reply.columns.map(|c| c.len()), Some(1_600));
        assert_eq!(reply.rows[0].len(), 1_600);
    }
    assert_eq!(c.run(&sql).rows[0][1_599].as_deref(), Some(&b"1600"[..]));
    // One more than PostgreSQL has.
    let list = vec!["1"; 1_665].join(",");
    assert_eq!(c.run(&format!("SELECT {list}")).sqlstate(), "54011");
    // Counts that the bytes do not hold.
    c.send(b'P', &parse_body("", "SELECT 1", &[])).expect("sent");
    c.send(b'B', b"\0\0\0\0\xff\xff\0\0").expect("sent");
    let _ = c.send(b'S', b"");
    let told = loop {
        match c.receive() {
            Ok(frame) if frame.kind == b'E' => break error_fields(&frame.body).sqlstate().to_owned(),
            Ok(_) => {}
            Err(e) => panic!("no error was told: {e}"),
        }
    };
    assert_eq!(told, "08P01");
    field.still_serves();
}
