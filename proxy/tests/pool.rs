//! Pools of server connections against a real PostgreSQL: limits, queue, health, restart, fail-over.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postern::control::{self, provision};
use postern::observe::Metrics;
use postern::pool::{Lease, Pool, PoolError, Pools};
use postern::wire::upstream::Connector;
use postern_config::Config;
use postern_config::settings::{ChannelBinding, Host, Quota, SessionAttrs};
use support::{Scratch, password};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

/// What a session would remember.
#[derive(Default, Debug, PartialEq)]
struct Memory(u32);

type Lent = Lease<Memory>;

/// A provisioned cluster.
struct Stand {
    scratch: Scratch,
    config: Config,
}

impl Stand {
    async fn provisioned() -> Self {
        let scratch = Scratch::start();
        let (config, root) = (scratch.config(), scratch.root());
        let admin = scratch.connect("postern_control", "control-password", "postgres").await;
        admin.batch_execute("CREATE DATABASE app").await.unwrap();
        let pool = control::connect(&config.settings).await.unwrap();
        provision::apply(&pool, &config, &root).await.unwrap();
        Self { scratch, config }
    }

    /// Pools as this configuration, changed, has them.
    fn pools(&self, change: impl FnOnce(&mut Config)) -> Stage {
        let mut config = self.config.clone();
        config.settings.pool.queue_timeout = Duration::from_secs(10);
        change(&mut config);
        let logins = config.modules.iter().flat_map(|m| &m.logins);
        let passwords: HashMap<String, Zeroizing<String>> = logins
            .map(|l| (l.name.to_string(), Zeroizing::new(password(l.name.as_str()))))
            .collect();
        let metrics = Arc::new(Metrics::new());
        let connector = Connector::new(&config.settings).unwrap();
        let pools = Pools::new(connector.clone(), &config, passwords, Arc::clone(&metrics));
        Stage {
            config,
            pools: Arc::new(pools),
            metrics,
            connector,
        }
    }

    /// Connections of that login, as the server sees them.
    async fn open(&self, login: &str) -> i64 {
        let dba = self.scratch.dba().await;
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1";
        dba.query_one(sql, &[&login]).await.unwrap().get(0)
    }

    /// Waits until the server sees so many.
    async fn open_becomes(&self, login: &str, wanted: i64) {
        let mut seen = -1;
        for _ in 0..100 {
            seen = self.open(login).await;
            if seen == wanted {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("{login} has {seen} connections, not {wanted}");
    }
}

struct Stage {
    config: Config,
    pools: Arc<Pools<Memory>>,
    metrics: Arc<Metrics>,
    connector: Connector,
}

impl Stage {
    fn of(&self, login: &str, settings: &[(&'static str, String)]) -> Arc<Pool<Memory>> {
        let (manifest, login) = self.config.login(login).unwrap();
        self.pools.of(manifest, login, settings)
    }

    fn metric(&self, line: &str) -> bool {
        String::from_utf8(self.metrics.encode()).unwrap().lines().any(|l| l == line)
    }
}

/// The first column of each row, by a simple query.
async fn ask(lease: &mut Lent, sql: &str) -> Result<Vec<String>, std::io::Error> {
    put(lease, sql).await?;
    answer(lease, sql).await
}

async fn put(lease: &mut Lent, sql: &str) -> Result<(), std::io::Error> {
    let mut query = vec![b'Q'];
    query.extend_from_slice(&u32::try_from(sql.len() + 5).unwrap().to_be_bytes());
    query.extend_from_slice(sql.as_bytes());
    query.push(0);
    lease.stream.write_all(&query).await?;
    // Under TLS what is written may stand in a buffer yet.
    lease.stream.flush().await
}

/// Up to ReadyForQuery.
async fn answer(lease: &mut Lent, sql: &str) -> Result<Vec<String>, std::io::Error> {
    let mut rows = Vec::new();
    loop {
        let kind = lease.stream.read_u8().await?;
        let length = lease.stream.read_u32().await? as usize;
        let mut body = vec![0; length - 4];
        lease.stream.read_exact(&mut body).await?;
        match kind {
            b'D' => rows.push(String::from_utf8_lossy(&body[6..]).into_owned()),
            b'E' => return Err(std::io::Error::other(format!("{sql}: {}", String::from_utf8_lossy(&body)))),
            b'Z' => return Ok(rows),
            _ => {}
        }
    }
}

async fn take(pool: &Pool<Memory>) -> Lent {
    pool.take(|_| true).await.unwrap_or_else(|e| panic!("{e}"))
}

fn refused<T>(result: Result<T, PoolError>) -> (&'static str, &'static str) {
    let refusal = result.err().expect("it is refused").refusal();
    assert!(refusal.hint.is_some());
    (refusal.sqlstate, refusal.reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_the_queue() {
    let stand = Stand::provisioned().await;
    a_login_never_has_more_than_its_size(&stand).await;
    who_comes_first_is_served_first(&stand).await;
    queues_end(&stand).await;
    settings_share_the_limit(&stand).await;
    what_is_dropped_frees_its_place(&stand).await;
    a_module_never_has_more_than_its_quota(&stand).await;
    memory_decides(&stand).await;
}

async fn a_login_never_has_more_than_its_size(stand: &Stand) {
    let stage = stand.pools(|c| c.settings.pool.size = 4);
    let pool = stage.of("disco", &[]);
    let (held, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..16 {
        let (pool, held, most) = (Arc::clone(&pool), Arc::clone(&held), Arc::clone(&most));
        clients.spawn(async move {
            for _ in 0..30 {
                let mut lease = take(&pool).await;
                most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let pid = ask(&mut lease, "SELECT pg_backend_pid()").await.unwrap();
                assert_eq!(pid, [lease.backend.pid.to_string()]);
                sleep(Duration::from_millis(2)).await;
                held.fetch_sub(1, Ordering::SeqCst);
                lease.give_back();
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 4);
    assert_eq!(stand.open("disco").await, 4);
    assert!(stage.metric("postern_pool_connections{login=\"disco\",state=\"idle\"} 4"));
    assert!(stage.metric("postern_pool_connections{login=\"disco\",state=\"in_use\"} 0"));
    assert!(stage.metric("postern_pool_waiting{login=\"disco\"} 0"));
    assert!(!pool.awaited());
    stage.pools.close();
    stand.open_becomes("disco", 0).await;
    assert_eq!(refused(pool.take(|_| true).await).0, "57P01");
}

async fn who_comes_first_is_served_first(stand: &Stand) {
    let stage = stand.pools(|c| c.settings.pool.size = 1);
    let pool = stage.of("disco", &[]);
    let first = take(&pool).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut clients = JoinSet::new();
    for number in 0..10 {
        // Of other settings, every third.
        let own: Vec<_> = (number % 3 == 2)
            .then(|| ("TimeZone", "UTC".to_owned()))
            .into_iter()
            .collect();
        let (pool, order) = (stage.of("disco", &own), Arc::clone(&order));
        clients.spawn(async move {
            let mut lease = take(&pool).await;
            order.lock().unwrap().push(number);
            ask(&mut lease, "SELECT 1").await.unwrap();
            lease.give_back();
        });
        sleep(Duration::from_millis(20)).await;
    }
    assert!(pool.awaited());
    assert!(stage.metric("postern_pool_waiting{login=\"disco\"} 10"));
    first.give_back();
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
    stage.pools.close();
    stand.open_becomes("disco", 0).await;
}

async fn queues_end(stand: &Stand) {
    let stage = stand.pools(|c| {
        c.settings.pool.size = 1;
        c.settings.pool.queue = 2;
        c.settings.pool.queue_timeout = Duration::from_millis(400);
        let (manifest, _) = c.login("chat").unwrap();
        let quota = Quota {
            queue: Some(1),
            ..Quota::default()
        };
        let module = manifest.module.clone();
        c.settings.quotas.insert(module, quota);
    });
    let pool = stage.of("disco", &[]);
    let held = take(&pool).await;
    let began = Instant::now();
    let (a, b, full) = tokio::join!(pool.take(|_| true), pool.take(|_| true), async {
        sleep(Duration::from_millis(100)).await;
        let at = Instant::now();
        let refusal = refused(pool.take(|_| true).await);
        assert!(at.elapsed() < Duration::from_millis(50), "at once");
        refusal
    });
    assert_eq!(full, ("53300", "pool-full"));
    assert_eq!(refused(a), ("53300", "pool-timeout"));
    assert_eq!(refused(b), ("53300", "pool-timeout"));
    assert!((400..900).contains(&began.elapsed().as_millis()));
    assert!(!pool.awaited());
    held.give_back();
    take(&pool).await.give_back();

    // The module's quota of waiting clients, over its logins.
    let (runtime, service) = (stage.of("chat", &[]), stage.of("chat_service", &[]));
    let held = (take(&runtime).await, take(&service).await);
    let (one, other) = tokio::join!(runtime.take(|_| true), async {
        sleep(Duration::from_millis(100)).await;
        service.take(|_| true).await
    });
    assert_eq!(refused(one), ("53300", "pool-timeout"));
    assert_eq!(refused(other), ("53300", "pool-full"));
    drop(held);
}

async fn settings_share_the_limit(stand: &Stand) {
    let stage = stand.pools(|c| c.settings.pool.size = 2);
    let zone = |zone: &str| stage.of("disco", &[("TimeZone", zone.to_owned())]);
    let (utc, rome) = (zone("UTC"), zone("Europe/Rome"));
    let mut lease = take(&utc).await;
    assert_eq!(ask(&mut lease, "SHOW TimeZone").await.unwrap(), ["UTC"]);
    lease.give_back();
    assert!(
        utc.parameters(None)
            .await
            .unwrap()
            .contains(&("TimeZone".into(), "UTC".into()))
    );
    assert!(
        rome.parameters(None)
            .await
            .unwrap()
            .contains(&("TimeZone".into(), "Europe/Rome".into()))
    );
    let (mut one, other) = (take(&rome).await, take(&rome).await);
    assert_eq!(ask(&mut one, "SHOW TimeZone").await.unwrap(), ["Europe/Rome"]);
    assert!(utc.try_take(|_| true).is_none(), "its idle connection made room");
    stand.open_becomes("disco", 2).await;
    let (waited, ()) = tokio::join!(utc.take(|_| true), async {
        sleep(Duration::from_millis(50)).await;
        one.give_back();
    });
    assert_eq!(ask(&mut waited.unwrap(), "SHOW TimeZone").await.unwrap(), ["UTC"]);
    drop(other);
    stage.pools.close();
    stand.open_becomes("disco", 0).await;
    let wrong = stand.pools(|_| {});
    let began = Instant::now();
    let refusal = refused(wrong.of("disco", &[("TimeZone", "Nowhere".to_owned())]).take(|_| true).await);
    assert_eq!((refusal.0, began.elapsed() < Duration::from_secs(3)), ("22023", true));
}

async fn what_is_dropped_frees_its_place(stand: &Stand) {
    let stage = stand.pools(|c| c.settings.pool.size = 3);
    let pool = stage.of("disco", &[]);
    let mut lease = take(&pool).await;
    let pid = lease.backend.pid;
    // In the midst of a statement.
    put(&mut lease, "SELECT pg_sleep(0.1)").await.unwrap();
    drop(lease);
    let next = take(&pool).await;
    assert_ne!(next.backend.pid, pid, "it was closed");
    drop(next);

    // Takers that give up at any moment, some in the queue, some while connecting, some when they were just served.
    let mut clients = JoinSet::new();
    for number in 0..60u64 {
        let pool = Arc::clone(&pool);
        clients.spawn(async move {
            for round in 0..20u64 {
                let patience = Duration::from_micros((number * 7919 + round * 104_729) % 20_000);
                if let Ok(Ok(mut lease)) = timeout(patience, pool.take(|_| true)).await {
                    match (number + round) % 5 {
                        0 => drop(lease),
                        _ => {
                            ask(&mut lease, "SELECT 1").await.unwrap();
                            lease.give_back();
                        }
                    }
                }
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    assert!(!pool.awaited());
    let all = (take(&pool).await, take(&pool).await, take(&pool).await);
    assert!(stage.metric("postern_pool_connections{login=\"disco\",state=\"in_use\"} 3"));
    assert!(pool.try_take(|_| true).is_none());
    assert!(timeout(Duration::from_millis(50), pool.take(|_| true)).await.is_err());
    drop(all);
    assert!(stage.metric("postern_pool_connections{login=\"disco\",state=\"in_use\"} 0"));
    stage.pools.close();
    stand.open_becomes("disco", 0).await;
}

async fn a_module_never_has_more_than_its_quota(stand: &Stand) {
    let stage = stand.pools(|c| {
        c.settings.pool.size = 4;
        let quota = Quota {
            connections: Some(4),
            ..Quota::default()
        };
        let module = c.login("disco").unwrap().0.module.clone();
        c.settings.quotas.insert(module, quota);
    });
    let (runtime, service) = (stage.of("disco", &[]), stage.of("disco_service", &[]));
    let mut four = Vec::new();
    for _ in 0..4 {
        four.push(take(&runtime).await);
    }
    assert!(timeout(Duration::from_millis(100), service.take(|_| true)).await.is_err());
    four.into_iter().for_each(Lease::give_back);
    // Idle ones of the other login make room.
    let theirs = timeout(Duration::from_secs(2), take(&service)).await.unwrap();
    stand.open_becomes("disco", 3).await;
    theirs.give_back();

    // Both under load: both get their share, and together never more than the quota.
    let held = Arc::new(AtomicUsize::new(0));
    let served = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let mut clients = JoinSet::new();
    for number in 0..16usize {
        let (pool, held) = ([&runtime, &service][number % 2].clone(), Arc::clone(&held));
        let served = Arc::clone(&served[number % 2]);
        clients.spawn(async move {
            let until = Instant::now() + Duration::from_millis(1500);
            while Instant::now() < until {
                let lease = take(&pool).await;
                assert!(held.fetch_add(1, Ordering::SeqCst) < 4);
                sleep(Duration::from_millis(5)).await;
                held.fetch_sub(1, Ordering::SeqCst);
                served.fetch_add(1, Ordering::SeqCst);
                lease.give_back();
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    let [a, b] = served.map(|s| s.load(Ordering::SeqCst));
    assert!(a > 50 && b > 50, "{a} and {b}");
    stage.pools.close();
}

async fn memory_decides(stand: &Stand) {
    let stage = stand.pools(|_| {});
    let pool = stage.of("lab", &[]);
    let mut leases = Vec::new();
    for number in 1..=3 {
        let mut lease = take(&pool).await;
        assert_eq!(*lease.memory, Memory(0));
        lease.memory.0 = number;
        leases.push(lease);
    }
    leases.into_iter().for_each(Lease::give_back);
    for wanted in [2, 1, 3] {
        let lease = pool.try_take(|m| m.0 == wanted).unwrap();
        assert_eq!(lease.memory.0, wanted);
        lease.give_back();
    }
    assert_eq!(pool.try_take(|_| false).unwrap().memory.0, 3, "the last used one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_age() {
    let stand = Stand::provisioned().await;
    a_dead_idle_connection_is_replaced(&stand).await;
    age_idleness_and_warmth(&stand).await;
    threads_exchange_connections(&stand).await;
    unix_sockets(&stand).await;
    what_cannot_pass_is_told_at_once(&stand).await;
    certificates_are_bound(&stand).await;
}

async fn a_dead_idle_connection_is_replaced(stand: &Stand) {
    let stage = stand.pools(|_| {});
    let pool = stage.of("disco", &[]);
    let (one, two) = (take(&pool).await, take(&pool).await);
    let dead = [one.backend.pid, two.backend.pid];
    one.give_back();
    two.give_back();
    let dba = stand.scratch.dba().await;
    dba.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'disco'",
        &[],
    )
    .await
    .unwrap();
    stand.open_becomes("disco", 0).await;
    assert!(pool.try_take(|_| true).is_none());
    let mut lease = take(&pool).await;
    assert!(!dead.contains(&lease.backend.pid));
    assert_eq!(ask(&mut lease, "SELECT 7").await.unwrap(), ["7"]);
    // What was said while it was idle was not asked for.
    let pid = lease.backend.pid;
    put(&mut lease, "SELECT 1").await.unwrap();
    lease.give_back();
    sleep(Duration::from_millis(200)).await;
    assert_ne!(take(&pool).await.backend.pid, pid);
    stage.pools.close();
    stand.open_becomes("disco", 0).await;
}

async fn age_idleness_and_warmth(stand: &Stand) {
    let stage = stand.pools(|c| {
        c.settings.pool.idle_timeout = Duration::from_millis(300);
        let mut own = c.settings.pool;
        own.min_idle = 2;
        let login = c.login("chat").unwrap().1.name.clone();
        c.settings.login_pools.insert(login, own);
    });
    let keeper = tokio::spawn({
        let pools = Arc::clone(&stage.pools);
        async move { pools.keep().await }
    });
    stand.open_becomes("chat", 2).await;
    let (chat, disco) = (stage.of("chat", &[]), stage.of("disco", &[]));
    let three = (take(&chat).await, take(&chat).await, take(&chat).await);
    take(&disco).await.give_back();
    three.0.give_back();
    three.1.give_back();
    three.2.give_back();
    stand.open_becomes("disco", 0).await;
    stand.open_becomes("chat", 2).await;
    let dba = stand.scratch.dba().await;
    dba.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'chat'",
        &[],
    )
    .await
    .unwrap();
    stand.open_becomes("chat", 2).await;
    keeper.abort();
    drop(stage);

    let stage = stand.pools(|c| c.settings.pool.lifetime = Duration::from_millis(100));
    let disco = stage.of("disco", &[]);
    let old = take(&disco).await;
    let pid = old.backend.pid;
    sleep(Duration::from_millis(150)).await;
    old.give_back();
    assert!(disco.try_take(|_| true).is_none());
    assert_ne!(take(&disco).await.backend.pid, pid);
}

/// Each thread has a runtime of its own, as the proxy's workers have.
async fn threads_exchange_connections(stand: &Stand) {
    let stage = Arc::new(stand.pools(|c| c.settings.pool.size = 1));
    let thread = || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        runtime.unwrap()
    };
    let (one, other) = (thread(), thread());
    let mut pids = Vec::new();
    for runtime in [&one, &other, &one] {
        let stage = Arc::clone(&stage);
        let work = runtime.spawn(async move {
            let pool = stage.of("disco", &[]);
            let mut lease = take(&pool).await;
            let pid = ask(&mut lease, "SELECT pg_backend_pid()").await.unwrap();
            lease.give_back();
            // This runtime watches it; it may go on doing so.
            let mut again = take(&pool).await;
            assert_eq!(ask(&mut again, "SELECT pg_backend_pid()").await.unwrap(), pid);
            again.give_back();
            pid
        });
        pids.push(work.await.unwrap());
    }
    assert!(pids.windows(2).all(|w| w[0] == w[1]), "{pids:?}");
    // Two at once, each waiting for the other.
    let mut threads = Vec::new();
    for runtime in [&one, &other] {
        let stage = Arc::clone(&stage);
        threads.push(runtime.spawn(async move {
            let pool = stage.of("disco", &[]);
            for _ in 0..200 {
                let mut lease = take(&pool).await;
                ask(&mut lease, "SELECT 1").await.unwrap();
                lease.give_back();
            }
        }));
    }
    for thread in threads {
        thread.await.unwrap();
    }
    // A runtime that has ended watches nothing: what it left is replaced.
    tokio::task::spawn_blocking(|| drop((one, other))).await.unwrap();
    let mut lease = take(&stage.of("disco", &[])).await;
    ask(&mut lease, "SELECT 1").await.unwrap();
    drop(lease);
    stage.pools.close();
    stand.open_becomes("disco", 0).await;
}

async fn unix_sockets(stand: &Stand) {
    let stage = stand.pools(|c| {
        c.settings.upstream.hosts = vec![Host::Unix {
            directory: stand.scratch.dir.clone(),
            port: stand.scratch.port,
        }];
    });
    let pool = stage.of("disco", &[]);
    let mut lease = take(&pool).await;
    assert_eq!(ask(&mut lease, "SELECT inet_client_addr() IS NULL").await.unwrap(), ["t"]);
    lease.give_back();
    let mut lease = pool.try_take(|_| true).unwrap();
    assert_eq!(ask(&mut lease, "SELECT 1").await.unwrap(), ["1"]);
    let (cancel, connector) = (lease.cancel, stage.connector.clone());
    let canceller = tokio::spawn(async move {
        sleep(Duration::from_millis(200)).await;
        connector.cancel(cancel).await.unwrap();
    });
    put(&mut lease, "SELECT pg_sleep(9)").await.unwrap();
    let began = Instant::now();
    let cancelled = answer(&mut lease, "pg_sleep").await.unwrap_err().to_string();
    assert!(
        cancelled.contains("C57014") && began.elapsed() < Duration::from_secs(5),
        "{cancelled}"
    );
    canceller.await.unwrap();
}

async fn what_cannot_pass_is_told_at_once(stand: &Stand) {
    let stage = stand.pools(|_| {});
    let dba = stand.scratch.dba().await;
    dba.batch_execute("ALTER ROLE disco PASSWORD 'another'").await.unwrap();
    let began = Instant::now();
    let refusal = refused(stage.of("disco", &[]).take(|_| true).await);
    assert_eq!((refusal.0, began.elapsed() < Duration::from_secs(3)), ("08001", true));
    assert!(stage.metric("postern_pool_connect_errors_total{login=\"disco\",reason=\"refused\"} 1"));
    let back = format!("ALTER ROLE disco PASSWORD '{}'", password("disco"));
    dba.batch_execute(&back).await.unwrap();
    take(&stage.of("disco", &[])).await.give_back();
}

async fn certificates_are_bound(stand: &Stand) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    stand
        .scratch
        .serve_tls(&made.cert.pem(), &made.signing_key.serialize_pem())
        .await;
    let ca = stand.scratch.dir.join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).unwrap();
    for binding in [ChannelBinding::Require, ChannelBinding::Prefer, ChannelBinding::Disable] {
        let stage = stand.pools(|c| {
            c.settings.upstream.tls_ca = Some(ca.clone());
            c.settings.upstream.channel_binding = binding;
        });
        let pool = stage.of("disco", &[]);
        let mut lease = take(&pool).await;
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert_eq!(ask(&mut lease, sql).await.unwrap(), ["t"]);
        lease.give_back();
        let stage = Arc::new(stage);
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut lease = stage.of("disco", &[]).try_take(|_| true).expect("idle, of another thread");
                assert_eq!(ask(&mut lease, "SELECT 1").await.unwrap(), ["1"]);
                lease.give_back();
            });
        };
        tokio::task::spawn_blocking(work).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_serves_within_a_second() {
    let stand = Stand::provisioned().await;
    let stage = Arc::new(stand.pools(|c| {
        c.settings.pool.size = 4;
        c.settings.pool.queue_timeout = Duration::from_secs(30);
    }));
    let (stop, served) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let mut clients = JoinSet::new();
    for _ in 0..12 {
        let (stage, stop, served) = (Arc::clone(&stage), Arc::clone(&stop), Arc::clone(&served));
        clients.spawn(async move {
            let pool = stage.of("disco", &[]);
            while stop.load(Ordering::SeqCst) == 0 {
                let mut lease = take(&pool).await;
                // A statement may be cut off; a taker never is.
                if ask(&mut lease, "SELECT 1").await.is_ok() {
                    served.lock().unwrap().push(Instant::now());
                    lease.give_back();
                }
                sleep(Duration::from_millis(2)).await;
            }
        });
    }
    sleep(Duration::from_millis(500)).await;
    for mode in ["immediate", "fast"] {
        tokio::task::block_in_place(|| stand.scratch.stop(mode));
        sleep(Duration::from_millis(1200)).await;
        let silent = Instant::now();
        tokio::task::block_in_place(|| stand.scratch.start_again());
        let up = Instant::now();
        sleep(Duration::from_millis(1000)).await;
        let first = served.lock().unwrap().iter().copied().find(|at| *at > silent);
        let first = first.expect("it serves again");
        assert!(
            first.saturating_duration_since(up) < Duration::from_millis(700),
            "{:?} after the server",
            first - up
        );
    }
    stop.store(1, Ordering::SeqCst);
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    assert!(stage.metric("postern_pool_waiting{login=\"disco\"} 0"));

    // While it is down and for no longer than a client may wait: 57P03.
    tokio::task::block_in_place(|| stand.scratch.stop("fast"));
    let stage = stand.pools(|c| c.settings.pool.queue_timeout = Duration::from_millis(600));
    let began = Instant::now();
    let pool = stage.of("disco", &[]);
    let (a, b) = tokio::join!(pool.take(|_| true), pool.take(|_| true));
    assert_eq!(refused(a), ("57P03", "connect"));
    assert_eq!(refused(b), ("57P03", "connect"));
    assert!((600..1500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    tokio::task::block_in_place(|| stand.scratch.start_again());
    take(&pool).await.give_back();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_host_takes_over() {
    let stand = Stand::provisioned().await;
    let standby = tokio::task::block_in_place(|| stand.scratch.standby());
    let tcp = |port| Host::Tcp {
        host: "127.0.0.1".to_owned(),
        port,
    };
    // The standby stands first.
    let hosts = vec![tcp(standby.port), tcp(stand.scratch.port)];
    let stage = |attrs| {
        stand.pools(|c| {
            c.settings.upstream.hosts = hosts.clone();
            c.settings.upstream.target_session_attrs = attrs;
            c.settings.pool.queue_timeout = Duration::from_secs(20);
        })
    };
    use SessionAttrs::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};
    for (attrs, host) in [
        (Any, 0),
        (ReadWrite, 1),
        (Primary, 1),
        (ReadOnly, 0),
        (Standby, 0),
        (PreferStandby, 0),
    ] {
        let stage = stage(attrs);
        let mut lease = take(&stage.of("disco", &[])).await;
        assert_eq!(lease.cancel.host, host, "{attrs:?}");
        let recovering = ask(&mut lease, "SELECT pg_is_in_recovery()").await.unwrap();
        assert_eq!(recovering, [if host == 0 { "t" } else { "f" }]);
    }
    // A server that takes no writes by its configuration is none for read-write.
    let dba = stand.scratch.dba().await;
    dba.batch_execute("ALTER ROLE disco SET default_transaction_read_only = on")
        .await
        .unwrap();
    let stage_ro = stand.pools(|c| {
        c.settings.upstream.hosts = vec![tcp(stand.scratch.port)];
        c.settings.upstream.target_session_attrs = ReadWrite;
        c.settings.pool.queue_timeout = Duration::from_millis(300);
    });
    assert_eq!(
        refused(stage_ro.of("disco", &[]).take(|_| true).await),
        ("57P03", "attributes")
    );
    // Who asks for it itself says nothing about the server.
    let wish = [("default_transaction_read_only", "on".to_owned())];
    take(&stage_ro.of("disco", &wish)).await.give_back();
    dba.batch_execute("ALTER ROLE disco RESET default_transaction_read_only")
        .await
        .unwrap();

    // The primary is gone; the standby takes over while a client waits.
    let stage = Arc::new(stage(ReadWrite));
    let pool = stage.of("disco", &[]);
    take(&pool).await.give_back();
    tokio::task::block_in_place(|| stand.scratch.stop("immediate"));
    let waiting = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move {
            let lease = take(&pool).await;
            (lease, Instant::now())
        }
    });
    sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished(), "a standby is no primary");
    tokio::task::block_in_place(|| standby.promote());
    let promoted = Instant::now();
    let (mut lease, at) = waiting.await.unwrap();
    assert_eq!(lease.cancel.host, 0);
    assert!(at.saturating_duration_since(promoted) < Duration::from_secs(1));
    assert_eq!(ask(&mut lease, "SHOW transaction_read_only").await.unwrap(), ["off"]);
}
