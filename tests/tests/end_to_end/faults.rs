//! The server is killed, stopped and started again while clients write. A ledger says what became of each row: what was acknowledged is
//! there, what was never sent, refused or rolled back is not, and what nobody can know is counted.

#![expect(clippy::print_stdout, reason = "figures for whoever reads a test's output")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use postern_tests::cluster::{Cluster, Place, answers, configuration};
use postern_tests::connection::{Connection, Failure};
use postern_tests::message::{bind_body, cstring, error_fields, message, parse_body};
use postern_tests::proxy::Proxy;
use postern_tests::stand::Stand;
use postern_tests::target::Target;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How soon service must be back after the server.
const BACK: Duration = Duration::from_secs(1);

/// What a writer knows of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Its commit was acknowledged.
    Acknowledged,
    /// It was refused, rolled back, or never asked to be committed.
    Never,
    /// The connection ended before its commit was answered.
    Unknown,
}

type Ledger = BTreeMap<String, Fate>;

/// How one exchange ended.
enum Outcome {
    /// Everything was done.
    Done,
    /// An error and ReadyForQuery: PostgreSQL, or Postern, says that nothing of it happened.
    Refused,
    /// The connection ended.
    Lost,
}

struct Writer {
    target: Target,
    connection: Option<Connection>,
    random: ChaCha8Rng,
    ledger: Ledger,
    /// SQLSTATEs that were told, and how often.
    told: BTreeMap<String, usize>,
    name: String,
    next: usize,
}

impl Writer {
    fn new(target: Target, name: String, seed: u64) -> Self {
        Self {
            target,
            connection: None,
            random: ChaCha8Rng::seed_from_u64(seed),
            ledger: Ledger::new(),
            told: BTreeMap::new(),
            name,
            next: 0,
        }
    }

    fn id(&mut self) -> String {
        self.next += 1;
        format!("{}-{}", self.name, self.next)
    }

    fn write_down(&mut self, ids: impl IntoIterator<Item = String>, fate: Fate) {
        self.ledger.extend(ids.into_iter().map(|id| (id, fate)));
    }

    /// Sends, and reads as many ReadyForQuery.
    fn exchange(&mut self, bytes: &[u8], groups: usize) -> Outcome {
        let Some(c) = self.connection.as_mut() else {
            return Outcome::Lost;
        };
        let (mut groups, mut failed) = (groups, false);
        if c.send_raw(bytes).is_err() {
            self.connection = None;
            return Outcome::Lost;
        }
        while groups > 0 {
            match c.receive() {
                Err(_) => {
                    self.connection = None;
                    return Outcome::Lost;
                }
                Ok(frame) if frame.kind == b'E' => {
                    let fields = error_fields(&frame.body);
                    *self.told.entry(fields.sqlstate().to_owned()).or_default() += 1;
                    failed = true;
                }
                Ok(frame) if frame.kind == b'Z' => {
                    groups -= 1;
                    c.status = frame.body.first().map_or('?', |b| char::from(*b));
                }
                Ok(_) => {}
            }
            c.forget_seen();
        }
        if failed { Outcome::Refused } else { Outcome::Done }
    }

    fn query(&mut self, sql: &str) -> Outcome {
        self.exchange(&message(b'Q', &cstring(sql)), 1)
    }

    fn insert(&mut self, id: &str, prepared: bool) -> Outcome {
        if !prepared {
            return self.query(&format!("INSERT INTO notes (id, body) VALUES ('{id}', 'faults')"));
        }
        let values = [Some(id.as_bytes().to_vec()), Some(b"faults".to_vec())];
        let all = [
            message(b'B', &bind_body("", "put", &values, 0, 0)),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ];
        self.exchange(&all.concat(), 1)
    }

    fn connected(&mut self) -> bool {
        if self.connection.is_some() {
            return true;
        }
        match Connection::open(&self.target) {
            Ok(c) => self.connection = Some(c),
            Err(failure) => {
                let state = match &failure {
                    Failure::Server(e) => e.sqlstate().to_owned(),
                    Failure::Io(_) => "closed".to_owned(),
                };
                *self.told.entry(state).or_default() += 1;
                return false;
            }
        }
        let parse = message(b'P', &parse_body("put", "INSERT INTO notes (id, body) VALUES ($1, $2)", &[]));
        match self.exchange(&[parse, message(b'S', b"")].concat(), 1) {
            Outcome::Done => true,
            Outcome::Refused | Outcome::Lost => {
                self.connection = None;
                false
            }
        }
    }

    /// One unit of work, written down before it is begun.
    fn work(&mut self) {
        let prepared = self.random.random_bool(0.5);
        match self.random.random_range(0..10) {
            // By itself.
            0..=3 => {
                let id = self.id();
                let fate = match self.insert(&id, prepared) {
                    Outcome::Done => Fate::Acknowledged,
                    Outcome::Refused => Fate::Never,
                    Outcome::Lost => Fate::Unknown,
                };
                self.ledger.insert(id, fate);
            }
            // Several in a transaction, committed or rolled back.
            choice @ 4..=7 => {
                let commits = choice < 7;
                let ids: Vec<String> = (0..self.random.random_range(1..4)).map(|_| self.id()).collect();
                self.write_down(ids.clone(), Fate::Never);
                let mut good = matches!(self.query("BEGIN"), Outcome::Done);
                for id in &ids {
                    good = good && matches!(self.insert(id, prepared), Outcome::Done);
                }
                if good && commits {
                    let fate = match self.query("COMMIT") {
                        Outcome::Done => Fate::Acknowledged,
                        Outcome::Refused => Fate::Never,
                        Outcome::Lost => Fate::Unknown,
                    };
                    self.write_down(ids, fate);
                } else if self.connection.as_ref().is_some_and(|c| c.status != 'I') {
                    self.query("ROLLBACK");
                }
            }
            // A batch, which is one transaction.
            8 => {
                let ids = [self.id(), self.id()];
                let inserts = ids
                    .each_ref()
                    .map(|id| format!("INSERT INTO notes (id, body) VALUES ('{id}', 'faults')"));
                let fate = match self.query(&inserts.join("; ")) {
                    Outcome::Done => Fate::Acknowledged,
                    Outcome::Refused => Fate::Never,
                    Outcome::Lost => Fate::Unknown,
                };
                self.write_down(ids, fate);
            }
            // One that is refused, and one that fails.
            _ => {
                let ids = [self.id(), self.id()];
                self.query(&format!(
                    "INSERT INTO notes (id, body) VALUES ('{}', 'faults'); SELECT * FROM sys_account.accounts",
                    ids[0]
                ));
                self.query(&format!("INSERT INTO notes (id, body) VALUES ('{}', 1/0)", ids[1]));
                self.write_down(ids, Fate::Never);
            }
        }
    }
}

/// Compares what is there with what the writers know.
fn settle(ledgers: Vec<Ledger>, rows: Vec<Vec<Option<String>>>, what: &str) {
    let there: BTreeSet<String> = rows.into_iter().flatten().flatten().collect();
    let mut known = BTreeMap::<Fate, usize>::new();
    let (mut lost, mut extra, mut found) = (Vec::new(), Vec::new(), 0);
    let mut all = BTreeSet::new();
    for (id, fate) in ledgers.iter().flatten() {
        *known.entry(*fate).or_default() += 1;
        all.insert(id.clone());
        match (fate, there.contains(id)) {
            (Fate::Acknowledged, false) => lost.push(id.clone()),
            (Fate::Never, true) => extra.push(id.clone()),
            (Fate::Unknown, true) => found += 1,
            _ => {}
        }
    }
    extra.extend(there.difference(&all).cloned());
    println!("{what}: {known:?}; {found} of the unknown are there");
    assert!(lost.is_empty(), "{what}: acknowledged and lost: {lost:?}");
    assert!(
        extra.is_empty(),
        "{what}: there, though refused, rolled back or never sent: {extra:?}"
    );
    assert!(
        known.get(&Fate::Acknowledged).is_some_and(|n| *n > 50),
        "{what}: nothing was written: {known:?}"
    );
}

/// How long clients through the proxy had to wait beyond the first moment at which the server itself answered.
fn service_returns(direct: &Target, through: &[Target], limit: Duration) -> Duration {
    std::thread::scope(|scope| {
        let first = |target: Target| {
            let until = Instant::now() + limit;
            move || loop {
                if answers(&target) {
                    return Instant::now();
                }
                assert!(
                    Instant::now() < until,
                    "{} on port {} is not back after {limit:?}",
                    target.user,
                    target.port
                );
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        let server = scope.spawn(first(direct.clone()));
        let clients: Vec<_> = through.iter().map(|target| scope.spawn(first(target.clone()))).collect();
        let server = server.join().expect("the server is back");
        let last = clients.into_iter().map(|c| c.join().expect("service is back")).max();
        last.expect("somebody").saturating_duration_since(server)
    })
}

/// Has the writers stop when it goes.
struct Stopping<'s>(&'s AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writers at work, in session and in transaction mode, while `rounds` goes on.
fn writing(proxy: &Proxy, stand: &Stand, seed: u64, rounds: impl FnOnce()) -> (Vec<Ledger>, BTreeMap<String, usize>) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8_u64)
            .map(|number| {
                let login = if number % 2 == 0 { "evilmod" } else { "evilmod.service" };
                let target = proxy.login(stand, login, None);
                let stop = &stop;
                scope.spawn(move || {
                    let mut writer = Writer::new(target, format!("faults-{seed}-{number}"), seed * 100 + number);
                    while !stop.load(Ordering::Relaxed) {
                        if writer.connected() {
                            writer.work();
                        } else {
                            std::thread::sleep(Duration::from_millis(20));
                        }
                    }
                    (writer.ledger, writer.told)
                })
            })
            .collect();
        // Also where the rounds fail: otherwise the writers would go on for ever.
        let stopping = Stopping(&stop);
        rounds();
        drop(stopping);
        let mut ledgers = Vec::new();
        let mut told = BTreeMap::<String, usize>::new();
        for writer in writers {
            let (ledger, states) = writer.join().expect("a writer");
            ledgers.push(ledger);
            for (state, times) in states {
                *told.entry(state).or_default() += times;
            }
        }
        (ledgers, told)
    })
}

const LEDGER: &str = "SELECT id FROM evilmod.notes WHERE body = 'faults'";

/// Transaction mode for one login, session mode for the other.
const POOLS: &str = "[pool]\npool_mode = 'transaction'\nsize = 3\nqueue_timeout_seconds = 5\n\
    [pool.logins.evilmod_service]\npool_mode = 'session'\nsize = 8\n";

fn rounds(number: usize, seed: u64) {
    let stand = Stand::shared();
    // Times are measured.
    let gate = stand.gate().port;
    let _alone = stand.alone();
    assert_ne!(gate, 0);
    let place = Place::new(&format!("faults-{seed}"));
    let mut cluster = Cluster::start(stand, &place, &format!("faults-{seed}-server"));
    let proxy = Proxy::serve(&configuration(stand, &place, &cluster, POOLS), &format!("faults-{seed}"), "");
    let clients = ["evilmod", "evilmod.service"].map(|login| proxy.login(stand, login, None));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut slowest = Duration::ZERO;
    let (ledgers, told) = writing(&proxy, stand, seed, || {
        for round in 0..number {
            std::thread::sleep(Duration::from_millis(random.random_range(500..1_500)));
            let way = ["kill", "backend", "fast", "immediate"][round % 4];
            let down = Duration::from_millis(random.random_range(0..1_200));
            match way {
                "backend" => assert!(cluster.kill_backend("evilmod"), "a backend of evilmod's can be killed"),
                "kill" => {
                    cluster.kill();
                    std::thread::sleep(down);
                }
                mode => {
                    cluster.stop(mode);
                    std::thread::sleep(down);
                }
            }
            let direct = cluster.target();
            let after = std::thread::scope(|scope| {
                let measured = scope.spawn(|| service_returns(&direct, &clients, Duration::from_secs(30)));
                if way != "backend" {
                    cluster.serve();
                }
                measured.join().expect("service is back")
            });
            println!("round {round}, {way}, down for {down:?}: service {after:?} after the server");
            assert!(
                after < BACK,
                "round {round}, {way}: service came back {after:?} after the server"
            );
            assert!(proxy.alive(), "the proxy is gone:\n{}", proxy.log_text());
            slowest = slowest.max(after);
        }
        std::thread::sleep(Duration::from_millis(500));
    });
    println!("clients were told {told:?}; slowest return {slowest:?}");
    let rows = cluster.connect_to(&stand.dba().database).run(LEDGER).good(LEDGER).texts();
    settle(ledgers, rows, "restarts");
    // What a client may be told: the server's and our own words for "the connection is gone" and "not now", and what the writers provoke.
    for state in told.keys() {
        let known = [
            "57P01", "57P02", "57P03", "08006", "08001", "53300", "42P01", "22012", "42804", "25P02", "closed",
        ];
        assert!(known.contains(&state.as_str()), "clients were told {state}: {told:?}");
    }
    assert!(
        told.keys().any(|s| s.starts_with("57P")),
        "nobody was told that the server ended: {told:?}"
    );
}

#[test]
fn no_acknowledged_write_is_lost_when_the_server_dies() {
    rounds(4, 1);
}

#[test]
#[ignore = "several minutes: make test-full"]
fn no_acknowledged_write_is_lost_when_the_server_dies_many_times() {
    for seed in 2..5 {
        rounds(16, seed);
    }
}

/// The primary dies, its standby takes over: every acknowledged commit is there, since it had reached the standby.
#[test]
fn another_host_takes_over() {
    let stand = Stand::shared();
    let gate = stand.gate().port;
    let _alone = stand.alone();
    assert_ne!(gate, 0);
    let place = Place::new("failover");
    let primary = Cluster::start(stand, &place, "failover-first");
    let config = configuration(stand, &place, &primary, "");
    let standby = Cluster::standby(&primary, &place, "failover-second");
    let changes = format!(
        "{POOLS}[upstream]\nhost = ''\nhosts = ['127.0.0.1:{}', '127.0.0.1:{}']\ntarget_session_attrs = 'read-write'\n",
        standby.port, primary.port
    );
    let proxy = Proxy::serve(&config, "failover", &changes);
    let clients = ["evilmod", "evilmod.service"].map(|login| proxy.login(stand, login, None));
    let database = stand.dba().database;
    let (ledgers, told) = writing(&proxy, stand, 9, || {
        std::thread::sleep(Duration::from_millis(1_500));
        let through_standby = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'evilmod%'";
        let wrong = standby.connect().run(through_standby).good("asking the standby").scalar();
        assert_eq!(wrong.as_deref(), Some("0"), "clients are on a server that only reads");
        primary.kill();
        std::thread::sleep(Duration::from_millis(300));
        standby.promote();
        let after = service_returns(&standby.target(), &clients, Duration::from_secs(30));
        println!("fail-over: service {after:?} after the standby had taken over");
        assert!(after < BACK, "service came back {after:?} after the standby");
        std::thread::sleep(Duration::from_millis(1_000));
    });
    println!("clients were told {told:?}");
    let rows = standby.connect_to(&database).run(LEDGER).good(LEDGER).texts();
    settle(ledgers, rows, "fail-over");
}
