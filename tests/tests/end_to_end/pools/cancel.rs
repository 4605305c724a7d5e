//! A cancel request hits the statement of the client whose key it carries, and never one of a client that has the server connection
//! afterwards.

#![expect(clippy::print_stdout, reason = "figures for whoever reads a test's output")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use postern_tests::connection::Connection;
use postern_tests::message::{cancel_message, cstring};
use postern_tests::proxy::Proxy;
use postern_tests::stand::Stand;
use postern_tests::target::Target;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{ONE, SYNC, TWO, group, scalar, usable, whole};

fn cancel(target: &Target, key: (i32, i32)) {
    let mut c = Connection::socket(target).unwrap_or_else(|e| panic!("{e}"));
    c.send_raw(&cancel_message(key)).expect("sent");
    assert!(c.closes());
}

/// Half of the clients cancel themselves all the time; no statement of the other half may ever fail.
fn hammer(seconds: u64, pool: &str, purpose: &str) {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, purpose, pool);
    let target = proxy.login(stand, "evilmod", None);
    let until = Instant::now() + Duration::from_secs(seconds);
    let failed = AtomicBool::new(false);
    let (hits, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let going = || Instant::now() < until && !failed.load(Ordering::Relaxed);
    // Long enough to be hit, short enough that many are carried out.
    let statement = |random: &mut ChaCha8Rng| {
        let rows = [1, 1, 1_000, 10_000, 30_000][random.random_range(0..5)];
        format!("SELECT count(*) FROM generate_series(1, {rows})")
    };
    std::thread::scope(|scope| {
        for client in 0..8_u64 {
            let mut c = proxy.open(&target);
            let (key, cancels) = (c.cancel_key, client % 2 == 0);
            if cancels {
                let (target, going) = (&target, &going);
                scope.spawn(move || {
                    let mut random = ChaCha8Rng::seed_from_u64(100 + client);
                    while going() {
                        cancel(target, key);
                        std::thread::sleep(Duration::from_micros(random.random_range(0..4_000)));
                    }
                });
            }
            let (going, failed, hits, served, statement) = (&going, &failed, &hits, &served, &statement);
            scope.spawn(move || {
                let mut random = ChaCha8Rng::seed_from_u64(client);
                while going() {
                    let sql = statement(&mut random);
                    let replies = match random.random_range(0..4) {
                        0 => group(&mut c, &[whole(&sql), SYNC.to_vec()].concat()),
                        1 => {
                            let mut all = c.simple("BEGIN").expect("answered");
                            all.extend(c.simple(&sql).expect("answered"));
                            all.extend(c.simple("COMMIT").expect("answered"));
                            all
                        }
                        _ => c.simple(&sql).expect("answered"),
                    };
                    for reply in &replies {
                        match reply.sqlstate() {
                            "" => drop(served.fetch_add(1, Ordering::Relaxed)),
                            "57014" | "25P02" if cancels => drop(hits.fetch_add(1, Ordering::Relaxed)),
                            other => {
                                failed.store(true, Ordering::Relaxed);
                                panic!("client {client}, which cancels {cancels}, was told {other} at {sql}");
                            }
                        }
                    }
                }
                usable_or_cancelled(&mut c, cancels);
            });
        }
    });
    let (hits, served) = (hits.into_inner(), served.into_inner());
    println!("{served} statements were carried out, {hits} were cancelled");
    assert!(hits > 0, "no cancel reached anything, so nothing was tested");
    assert!(served > 100, "{served} statements in {seconds} s");
}

fn usable_or_cancelled(c: &mut Connection, cancels: bool) {
    if !cancels {
        usable(c);
    }
}

#[test]
fn a_cancel_never_reaches_a_later_client() {
    hammer(4, ONE, "pools-cancel");
}

#[test]
#[ignore = "a minute: make test-full"]
fn a_cancel_never_reaches_a_later_client_for_a_minute() {
    hammer(60, TWO, "pools-cancel-long");
}

#[test]
fn a_key_without_a_statement_cancels_nothing() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-cancel-idle", ONE);
    let target = proxy.login(stand, "evilmod", None);
    let (mut idle, mut busy) = (proxy.open(&target), proxy.open(&target));
    assert_eq!(scalar(&mut idle, "SELECT 1"), "1");
    let gone = {
        let mut gone = proxy.open(&target);
        assert_eq!(scalar(&mut gone, "SELECT 1"), "1");
        gone.cancel_key
    };
    // The other one has the only connection now: neither an idle client's key nor one of a client that left may touch it.
    busy.send(b'Q', &cstring("SELECT count(*) FROM generate_series(1, 5000000)"))
        .expect("sent");
    for _ in 0..20 {
        cancel(&target, idle.cancel_key);
        cancel(&target, gone);
        std::thread::sleep(Duration::from_millis(10));
    }
    let replies = busy.replies().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(replies[0].scalar().as_deref(), Some("5000000"), "{replies:?}");
    // The twin.
    busy.send(b'Q', &cstring("SELECT count(*) FROM generate_series(1, 200000000)"))
        .expect("sent");
    std::thread::sleep(Duration::from_millis(200));
    cancel(&target, busy.cancel_key);
    assert_eq!(busy.replies().unwrap_or_else(|e| panic!("{e}"))[0].sqlstate(), "57014");
    usable(&mut busy);
    usable(&mut idle);
}

/// One who waits for a connection is told when it cancels, or goes on waiting; nobody else is hit.
#[test]
fn a_cancel_of_one_who_waits_hits_nobody() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-cancel-wait", ONE);
    let target = proxy.login(stand, "evilmod", None);
    let (mut holder, mut waiter) = (proxy.open(&target), proxy.open(&target));
    holder.run("BEGIN").good("BEGIN");
    waiter.send(b'Q', &cstring("SELECT 1")).expect("sent");
    std::thread::sleep(Duration::from_millis(100));
    for _ in 0..5 {
        cancel(&target, waiter.cancel_key);
        assert_eq!(scalar(&mut holder, "SELECT count(*) FROM generate_series(1, 10000)"), "10000");
    }
    holder.run("COMMIT").good("COMMIT");
    let replies = waiter.replies().unwrap_or_else(|e| panic!("{e}"));
    assert!(["", "57014"].contains(&replies[0].sqlstate()), "{replies:?}");
    usable(&mut holder);
    usable(&mut waiter);
}
