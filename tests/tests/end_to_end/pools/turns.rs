//! Attack 25: clients of many users take turns on few server connections, and never cross.

use std::sync::atomic::{AtomicBool, Ordering};

use postern_tests::attack::{FILES, Family, Pooled};
use postern_tests::connection::Connection;
use postern_tests::product::workspace;
use postern_tests::proxy::Proxy;
use postern_tests::stand::Stand;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::attacks::beside_undeclared;
use super::super::exchange::Lent;
use super::super::policies::fill;
use super::{SYNC, TWO, group, ids, parse, run_prepared};

const WHO: &str = "SELECT id FROM accounts ORDER BY id";

/// One client and who it is when it says nothing.
struct Player {
    connection: Connection,
    rows: Vec<String>,
}

/// One turn in one of many ways; each must see exactly the rows of its user.
fn turn(player: &mut Player, tokens: &[(String, Vec<String>)], random: &mut ChaCha8Rng, number: usize) {
    let mine = player.rows.clone();
    let c = &mut player.connection;
    let (token, theirs) = &tokens[random.random_range(0..tokens.len())];
    let rows = |reply: postern_tests::message::Reply| -> Vec<String> {
        let reply = reply.good(&format!("turn {number}"));
        reply.texts().into_iter().flatten().flatten().collect()
    };
    match random.random_range(0..9) {
        0 | 1 => assert_eq!(ids(c), mine, "turn {number}"),
        2 => assert_eq!(
            rows(c.extended(WHO, &[], 0).expect("answered")),
            mine,
            "turn {number}, extended"
        ),
        3 => {
            let sql = format!("/*postern:{token}*/ {WHO}");
            assert_eq!(rows(c.run(&sql)), *theirs, "turn {number}, by comment");
        }
        4 => {
            for sql in ["BEGIN", &format!("SET LOCAL postern.token = '{token}'")] {
                c.run(sql).good(sql);
            }
            assert_eq!(ids(c), *theirs, "turn {number}, for a transaction");
            let end = if random.random_bool(0.5) { "COMMIT" } else { "ROLLBACK" };
            c.run(end).good(end);
            assert_eq!(ids(c), mine, "turn {number}, behind {end}");
        }
        5 => {
            c.run(&format!("SET postern.token = '{token}'")).good("SET");
            assert_eq!(ids(c), *theirs, "turn {number}, by SET");
            c.run("RESET postern.token").good("RESET");
        }
        6 => {
            let answers = group(c, &[run_prepared("who", &[]), run_prepared("who", &[])].concat());
            assert_eq!(
                rows(answers.into_iter().next_back().expect("rows")),
                mine,
                "turn {number}, prepared"
            );
            c.replies().expect("the second");
        }
        7 => {
            // Both as the same user, who must be gone with the error.
            let failing = [WHO, "SELECT 1/0"]
                .map(|sql| super::whole(&format!("/*postern:{token}*/ {sql}")))
                .concat();
            let failed = group(c, &[failing, SYNC.to_vec()].concat());
            assert_eq!(failed.last().map_or("", |r| r.sqlstate()), "22012", "turn {number}");
        }
        _ => {
            c.run("BEGIN").good("BEGIN");
            assert_eq!(ids(c), mine, "turn {number}, in a transaction");
            assert_eq!(c.run("SELECT 1/0").sqlstate(), "22012");
            c.run("ROLLBACK").good("ROLLBACK");
        }
    }
}

fn take_turns(turns: usize, threads: usize, purpose: &str, seed: u64) {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, purpose, TWO);
    let everybody = ids(&mut proxy.connect(stand, "sys_account", Some("root")));
    let rows_of = |who: Option<&str>| match who {
        None => vec![],
        Some("root") => everybody.clone(),
        Some(name) => vec![name.to_owned()],
    };
    let tokens: Vec<_> = ["bob", "dora", "root"]
        .map(|who| (stand.token("sys_account", who), rows_of(Some(who))))
        .to_vec();
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (proxy, tokens, failed) = (&proxy, &tokens, &failed);
            let mut players: Vec<Player> = [None, Some("bob"), Some("dora"), Some("root")]
                .into_iter()
                .map(|who| {
                    let mut connection = proxy.connect(stand, "sys_account", who);
                    group(&mut connection, &[parse("who", WHO, &[]), SYNC.to_vec()].concat());
                    Player {
                        connection,
                        rows: rows_of(who),
                    }
                })
                .collect();
            scope.spawn(move || {
                let mut random = ChaCha8Rng::seed_from_u64(seed + thread as u64);
                for number in 0..turns / threads {
                    if failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let at = random.random_range(0..players.len());
                    let went = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        turn(&mut players[at], tokens, &mut random, number);
                    }));
                    if let Err(cause) = went {
                        failed.store(true, Ordering::Relaxed);
                        std::panic::resume_unwind(cause);
                    }
                }
            });
        }
    });
}

#[test]
fn clients_of_few_connections_never_cross() {
    take_turns(1_000, 4, "pools-turns", 25);
}

#[test]
#[ignore = "10,000 turns: make test-full"]
fn clients_of_few_connections_never_cross_10_000_times() {
    take_turns(10_000, 4, "pools-turns-long", 2_500);
}

/// The attacks of these files and their twins, where the server connection is not the client's.
fn attacks(stand: &Stand, pooled: &Pooled, files: &[&str]) {
    for name in files {
        let family = Family::read(&workspace().join("tests/attacks").join(name));
        let failures = family.run_pooled(stand, pooled);
        assert!(
            failures.is_empty(),
            "{} of {name}:\n\n{}\n",
            failures.len(),
            failures.join("\n\n")
        );
    }
}

#[test]
fn some_attacks_on_a_shared_connection() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-some-attacks", TWO);
    attacks(stand, &Pooled::one_in(12, 25, proxy.port), &FILES);
}

#[test]
#[ignore = "three minutes: make test-full"]
fn attacks_on_a_shared_connection() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::start(stand, "pools-attacks", TWO);
    attacks(stand, &Pooled::whole(proxy.port), &FILES);
}

/// The same on the tests' own modules and the catalogue, whole.
#[test]
#[ignore = "minutes: make test-full"]
fn attacks_on_policies_imports_and_the_catalogue_on_a_shared_connection() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    fill(stand);
    let _rows = Lent::rows(stand);
    let proxy = Proxy::start(stand, "pools-own-attacks", TWO);
    attacks(
        stand,
        &Pooled::whole(proxy.port),
        &["policies.toml", "exchange.toml", "lookups.toml"],
    );
    beside_undeclared(stand, || attacks(stand, &Pooled::whole(proxy.port), &["catalogue.toml"]));
}
