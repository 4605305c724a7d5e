//! ParameterStatus: told when what the client knows changes, and only then, as PostgreSQL does without a proxy.

use postern_tests::connection::Connection;
use postern_tests::proxy::Proxy;
use postern_tests::stand::Stand;

use super::{ONE, SYNC, whole};

/// What was told until ReadyForQuery, sorted: PostgreSQL's own order within one group is its business.
fn told(c: &mut Connection, bytes: &[u8]) -> Vec<(String, String)> {
    c.send_raw(bytes).expect("sent");
    let mut told = Vec::new();
    loop {
        let frame = c.receive().unwrap_or_else(|e| panic!("{e}"));
        match frame.kind {
            b'S' => {
                let mut parts = frame.body.split(|b| *b == 0).map(|p| String::from_utf8_lossy(p).into_owned());
                told.push((parts.next().unwrap_or_default(), parts.next().unwrap_or_default()));
            }
            b'Z' => {
                told.sort();
                return told;
            }
            _ => {}
        }
    }
}

#[test]
fn parameters_are_told_when_they_change() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-parameters", ONE);
    let start = |c: postern_tests::target::Target| c.with("TimeZone", "Europe/Berlin").with("application_name", "me");
    let mut a = proxy.open(&start(proxy.login(stand, "evilmod", None)));
    // The same settings, so that both are on the same connection, and different wishes.
    let mut b = proxy.open(&start(proxy.login(stand, "evilmod", None)));
    let mut direct = proxy.open(&start(stand.upstream("evilmod")));
    for name in [
        "TimeZone",
        "DateStyle",
        "application_name",
        "IntervalStyle",
        "client_encoding",
        "server_version",
    ] {
        assert_eq!(a.settings.get(name), direct.settings.get(name), "{name} at the start");
    }
    type Sent = fn(&str) -> Vec<u8>;
    let (simple, extended): (Sent, Sent) = (
        |sql| postern_tests::message::message(b'Q', &postern_tests::message::cstring(sql)),
        |sql| [whole(sql), SYNC.to_vec()].concat(),
    );
    let steps = [
        "SELECT 1",
        "SET TimeZone = 'Asia/Tokyo'",
        "SET TimeZone = 'Asia/Tokyo'",
        "SELECT 1",
        "SET DateStyle = 'German, DMY'",
        "BEGIN",
        "SET TimeZone = 'America/Lima'",
        "SELECT 1",
        "ROLLBACK",
        "BEGIN",
        "SET LOCAL IntervalStyle = 'iso_8601'",
        "COMMIT",
        "BEGIN",
        "SET application_name = 'you'",
        "SAVEPOINT s",
        "SET TimeZone = 'UTC'",
        "ROLLBACK TO s",
        "COMMIT",
        "RESET TimeZone",
        "SET default_transaction_read_only = on",
        "SELECT 1",
        "RESET ALL",
        "SELECT 1",
        "SET TimeZone = 'Asia/Tokyo'",
        "SET application_name = 'third'",
        "DISCARD ALL",
        "SELECT 1",
    ];
    for encode in [simple, extended] {
        for (number, sql) in steps.into_iter().enumerate() {
            let expected = told(&mut direct, &encode(sql));
            assert_eq!(told(&mut a, &encode(sql)), expected, "step {number}, {sql}");
            if a.status == 'I' {
                // Somebody else, who wants something else, comes in between and is told of nothing but its own.
                let other = [
                    "SELECT 1",
                    "SET TimeZone = 'Africa/Cairo'",
                    "RESET ALL",
                    "SET DateStyle = 'SQL'",
                ][number % 4];
                let others = told(&mut b, &encode(other));
                let own = match number % 4 {
                    1 => vec!["TimeZone"],
                    2 => vec!["TimeZone"],
                    3 => vec!["DateStyle"],
                    _ => vec![],
                };
                assert!(
                    others.iter().all(|(name, _)| own.contains(&name.as_str()) || number % 4 == 2),
                    "step {number}: told of another's settings: {others:?}"
                );
            }
        }
    }
}
