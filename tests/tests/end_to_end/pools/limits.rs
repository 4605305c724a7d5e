//! More clients than connections: they wait in turn, not for ever and not in any number. What one module may take at most.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use postern_tests::connection::{Connection, Failure};
use postern_tests::message::message;
use postern_tests::proxy::Proxy;
use postern_tests::stand::{Stand, eventually};

use super::{ONE, SYNC, group, scalar, usable, whole};

/// Clients that ask from threads of their own while `during` runs; what each was answered and after how long.
fn asked_by<'c>(
    clients: impl IntoIterator<Item = &'c mut Connection>,
    sql: &str,
    during: impl FnOnce(),
) -> Vec<(String, String, Duration)> {
    std::thread::scope(|scope| {
        let waiting: Vec<_> = clients
            .into_iter()
            .map(|c| {
                let sql = sql.to_owned();
                let asked = scope.spawn(move || {
                    let began = Instant::now();
                    let reply = c.run(&sql);
                    let hint = reply.error.as_ref().map_or_else(String::new, |e| e.hint().to_owned());
                    (reply.sqlstate().to_owned(), hint, began.elapsed())
                });
                // So that they arrive in this order.
                std::thread::sleep(Duration::from_millis(150));
                asked
            })
            .collect();
        during();
        waiting.into_iter().map(|w| w.join().expect("an answer")).collect()
    })
}

#[test]
fn clients_wait_in_turn_and_not_for_ever() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let changes = format!("{ONE}queue = 3\nqueue_timeout_seconds = 2\n");
    let proxy = Proxy::start(stand, "pools-queue", &changes);
    let mut holder = proxy.connect(stand, "evilmod", None);
    let mut clients: Vec<_> = (0..4).map(|_| proxy.connect(stand, "evilmod", None)).collect();
    holder.run("BEGIN").good("BEGIN");
    // Three wait for their time, the fourth finds the queue full.
    let answers = asked_by(&mut clients, "SELECT 1", || {});
    for (at, (sqlstate, hint, after)) in answers.into_iter().enumerate() {
        assert_eq!(sqlstate, "53300", "client {at}");
        assert!(!hint.is_empty(), "client {at}: no HINT");
        if at < 3 {
            assert!(
                after > Duration::from_millis(1500) && after < Duration::from_secs(6),
                "client {at}: {after:?}"
            );
        } else {
            assert!(after < Duration::from_secs(1), "client {at} was not told at once: {after:?}");
        }
    }
    // In a pipeline the refusal is one error for the group, and one ReadyForQuery.
    let replies = group(
        &mut clients[0],
        &[whole("SELECT 1"), whole("SELECT 2"), SYNC.to_vec()].concat(),
    );
    assert_eq!(replies.iter().map(|r| r.sqlstate()).collect::<Vec<_>>(), ["53300"]);
    assert_eq!(clients[0].status, 'I');
    // A connection becomes free in time: they are served in the order of their arrival.
    let order = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (at, c) in clients.iter_mut().take(3).enumerate() {
            let order = &order;
            scope.spawn(move || {
                c.run("BEGIN").good("BEGIN");
                order.lock().expect("the list").push(at);
                std::thread::sleep(Duration::from_millis(50));
                c.run("COMMIT").good("COMMIT");
            });
            std::thread::sleep(Duration::from_millis(150));
        }
        holder.run("COMMIT").good("COMMIT");
    });
    assert_eq!(order.into_inner().expect("the list"), [0, 1, 2]);
    for c in &mut clients {
        usable(c);
    }
    // One who leaves the queue does not take a connection along.
    holder.run("BEGIN").good("BEGIN");
    for _ in 0..3 {
        let mut leaving = proxy.connect(stand, "evilmod", None);
        leaving.send(b'Q', b"SELECT 1\0").expect("sent");
        drop(leaving);
    }
    holder.run("COMMIT").good("COMMIT");
    for c in &mut clients {
        usable(c);
    }
}

#[test]
fn one_who_was_served_lets_others_go_first() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-fair", ONE);
    let mut busy = proxy.connect(stand, "evilmod", None);
    let mut other = proxy.connect(stand, "evilmod", None);
    // A client with a thousand statements on the way does not keep everybody waiting until the last.
    let statement = whole("SELECT count(*) FROM generate_series(1, 20000)");
    let many: Vec<u8> = (0..1000).flat_map(|_| [statement.clone(), SYNC.to_vec()].concat()).collect();
    let began = Instant::now();
    let (other_took, busy_took) = std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            busy.send_raw(&many).expect("sent");
            for _ in 0..1000 {
                busy.replies().unwrap_or_else(|e| panic!("{e}"));
            }
            began.elapsed()
        });
        std::thread::sleep(Duration::from_millis(100));
        let asked = Instant::now();
        assert_eq!(scalar(&mut other, "SELECT 1"), "1");
        (asked.elapsed(), reading.join().expect("answers"))
    });
    assert!(
        busy_took < Duration::from_millis(400) || other_took < busy_took / 2,
        "one client kept the connection for {busy_took:?}, the other waited {other_took:?}"
    );
}

#[test]
fn a_module_has_its_quota_of_clients_and_connections() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let changes = "[pool]\npool_mode = 'transaction'\nqueue_timeout_seconds = 1\n\
        [quotas.evilmod]\nclients = 3\nconnections = 2\nqueue = 1\n";
    let proxy = Proxy::start(stand, "pools-quota", changes);
    let mut a = proxy.connect(stand, "evilmod", None);
    let mut b = proxy.connect(stand, "evilmod.service", None);
    let mut c = proxy.connect(stand, "evilmod", None);
    for login in ["evilmod", "evilmod.service"] {
        match Connection::open(&proxy.login(stand, login, None)) {
            Err(Failure::Server(e)) => {
                assert_eq!((e.sqlstate(), e.field('S')), ("53300", Some("FATAL")), "{login}: {e}");
                assert!(!e.hint().is_empty(), "{login}: no HINT");
            }
            Err(other) => panic!("{login}: {other}"),
            Ok(_) => panic!("{login}: a fourth client was let in"),
        }
    }
    // The twin: another module has its own.
    proxy.connect(stand, "disco", Some("bob"));
    // Two connections over both logins.
    a.run("BEGIN").good("BEGIN");
    b.run("BEGIN").good("BEGIN");
    let refused = c.run("SELECT 1");
    assert_eq!(refused.sqlstate(), "53300");
    assert!(refused.error.is_some_and(|e| !e.hint().is_empty()));
    b.run("COMMIT").good("COMMIT");
    // The other login's idle connection makes room.
    assert_eq!(scalar(&mut c, "SELECT 1"), "1");
    a.run("COMMIT").good("COMMIT");
    drop(b);
    let again = eventually(Duration::from_secs(5), || {
        Connection::open(&proxy.login(stand, "evilmod", None)).ok()
    });
    usable(&mut again.expect("a place that became free is given again"));
}

#[test]
fn statements_have_a_longest_time() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(
        stand,
        "pools-time",
        &format!("{ONE}[quotas.evilmod]\nstatement_seconds = 1\n"),
    );
    let slow = "SELECT count(*) FROM generate_series(1, 200000000)";
    let mut c = proxy.connect(stand, "evilmod", None);
    let slow_ends = |c: &mut Connection, how: &str| {
        let began = Instant::now();
        assert_eq!(c.run(slow).sqlstate(), "57014", "{how}");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(8), "{how}: {took:?}");
        usable(c);
        took
    };
    let took = slow_ends(&mut c, "the quota");
    assert!(took > Duration::from_millis(800), "{took:?}");
    // Less is the client's own choice; more, or none at all, is not.
    for sql in ["SET statement_timeout = 100", "SET statement_timeout = '100ms'"] {
        c.run(sql).good(sql);
        slow_ends(&mut c, sql);
        assert_eq!(scalar(&mut c, "SHOW statement_timeout"), "100ms");
    }
    for sql in [
        "SET statement_timeout = 0",
        "SET statement_timeout = '2s'",
        "SET statement_timeout = '1h'",
        "SET SESSION statement_timeout TO 1001",
        "SET LOCAL statement_timeout = 0",
    ] {
        for extended in [false, true] {
            let reply = match extended {
                false => c.run(sql),
                true => c.extended(sql, &[], 0).unwrap_or_else(|e| panic!("{sql}: {e}")),
            };
            assert_eq!(reply.sqlstate(), "42501", "{sql}");
            assert!(reply.error.is_some_and(|e| !e.hint().is_empty()), "{sql}: no HINT");
        }
        usable(&mut c);
        assert_eq!(scalar(&mut c, "SHOW statement_timeout"), "100ms", "{sql}");
    }
    for sql in [
        "RESET statement_timeout",
        "RESET ALL",
        "DISCARD ALL",
        "SET statement_timeout TO DEFAULT",
    ] {
        c.run("SET statement_timeout = 100").good("SET");
        c.run(sql).good(sql);
        assert_eq!(scalar(&mut c, "SHOW statement_timeout"), "1s", "{sql}");
    }
    slow_ends(&mut c, "behind RESET");
    // Given when it connects.
    for (given, shown) in [("0", "1s"), ("10s", "1s"), ("300", "300ms")] {
        for target in [
            proxy.login(stand, "evilmod", None).with("statement_timeout", given),
            proxy
                .login(stand, "evilmod", None)
                .with("options", &format!("-c statement_timeout={given}")),
        ] {
            let mut c = proxy.open(&target);
            assert_eq!(scalar(&mut c, "SHOW statement_timeout"), shown, "given {given}");
        }
    }
    // The twin: a module without a quota.
    let mut free = proxy.connect(stand, "disco", Some("bob"));
    free.run("SET statement_timeout = 0").good("SET");
}

#[test]
fn results_have_a_largest_size() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let changes = format!("{ONE}[quotas.evilmod]\nresult_bytes = 100_000\n[quotas.alltypes]\nresult_bytes = 100_000\n");
    let proxy = Proxy::start(stand, "pools-bytes", &changes);
    let rows = |n: usize| format!("SELECT repeat('x', 1000) FROM generate_series(1, {n})");
    let copy = |n: usize| format!("COPY ({}) TO STDOUT", rows(n));
    let mut c = proxy.connect(stand, "evilmod", None);
    let mut other = proxy.connect(stand, "evilmod", None);
    for (small, large) in [(rows(80), rows(300_000)), (copy(80), copy(300_000))] {
        for extended in [false, true] {
            let run = |c: &mut Connection, sql: &str| match extended {
                false => c.run(sql),
                true => c.extended(sql, &[], 0).unwrap_or_else(|e| panic!("{sql}: {e}")),
            };
            for _ in 0..3 {
                // Each statement has the whole of it.
                run(&mut c, &small).good("a small result");
            }
            c.forget_seen();
            let began = Instant::now();
            let refused = run(&mut c, &large);
            assert_eq!(refused.sqlstate(), "53400", "{large}, extended {extended}");
            assert!(refused.error.as_ref().is_some_and(|e| !e.hint().is_empty()), "no HINT");
            assert!(c.seen.len() < 400_000, "{} bytes came", c.seen.len());
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
            assert_eq!(c.status, 'I');
            // The cancel that stops it reaches nobody else.
            for _ in 0..20 {
                assert_eq!(scalar(&mut other, "SELECT 1"), "1");
                assert_eq!(scalar(&mut c, "SELECT 1"), "1");
            }
            c.run("BEGIN").good("BEGIN");
            assert_eq!(run(&mut c, &large).sqlstate(), "53400");
            assert_eq!(c.status, 'E', "the transaction goes on");
            usable(&mut c);
        }
    }
    // Statements of one batch, and of one pipeline, count by themselves.
    let batch = group(&mut c, &message(b'Q', format!("{}; {}\0", rows(80), rows(80)).as_bytes()));
    assert!(batch.iter().all(|r| r.error.is_none()));
    let pipeline = [whole(&rows(80)), whole(&rows(80)), SYNC.to_vec()].concat();
    assert!(group(&mut c, &pipeline).iter().all(|r| r.error.is_none()));
    // Rows that are opened on the way.
    let mut sealed = proxy.connect(stand, "alltypes.service", None);
    sealed
        .run("DELETE FROM things WHERE id BETWEEN 890100 AND 890199")
        .good("DELETE");
    for id in 890_100..890_120 {
        let insert = format!("INSERT INTO things (id, secret) VALUES ({id}, repeat('x', 10000))");
        let plain = insert.replace("repeat('x', 10000)", &format!("'{}'", "x".repeat(10_000)));
        sealed.run(&plain).good("INSERT");
    }
    let read = |n: usize| format!("SELECT secret FROM things WHERE id >= 890100 AND id < {}", 890_100 + n);
    assert_eq!(sealed.run(&read(5)).good("a small result").rows.len(), 5);
    assert_eq!(sealed.run(&read(20)).sqlstate(), "53400");
    usable(&mut sealed);
    sealed
        .run("DELETE FROM things WHERE id BETWEEN 890100 AND 890199")
        .good("DELETE");
    // The twin: a module without a quota.
    let mut free = proxy.connect(stand, "lab", None);
    assert_eq!(free.run(&rows(2_000)).good("no quota").rows.len(), 2_000);
}
