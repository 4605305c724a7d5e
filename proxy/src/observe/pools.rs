//! What is counted of the pools of server connections, by login: the handles are looked up once, when a pool is made.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Seconds; a free connection costs none, a new one some milliseconds, and no client waits longer than `queue_timeout`.
const BUCKETS: &[f64] = &[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// The families, one series for each login.
pub(super) struct PoolFamilies {
    connections: IntGaugeVec,
    waiting: IntGaugeVec,
    wait_seconds: HistogramVec,
    connect_errors: IntCounterVec,
}

/// One login's series.
pub struct PoolMetrics {
    login: String,
    in_use: IntGauge,
    idle: IntGauge,
    waiting: IntGauge,
    wait_seconds: Histogram,
    connect_errors: IntCounterVec,
}

impl PoolFamilies {
    pub(super) fn new(registry: &Registry) -> Self {
        const FIXED: &str = "metric names and labels are fixed and valid";
        let families = Self {
            connections: IntGaugeVec::new(
                Opts::new("postern_pool_connections", "Server connections, by login and state."),
                &["login", "state"],
            )
            .expect(FIXED),
            waiting: IntGaugeVec::new(
                Opts::new("postern_pool_waiting", "Clients that wait for a server connection, by login."),
                &["login"],
            )
            .expect(FIXED),
            wait_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "postern_pool_wait_seconds",
                    "Time until a client that found no idle server connection had one, or was refused, by login.",
                )
                .buckets(BUCKETS.to_vec()),
                &["login"],
            )
            .expect(FIXED),
            connect_errors: IntCounterVec::new(
                Opts::new(
                    "postern_pool_connect_errors_total",
                    "Attempts to open a server connection that failed, by login and reason.",
                ),
                &["login", "reason"],
            )
            .expect(FIXED),
        };
        const ONCE: &str = "every metric has its own name";
        registry.register(Box::new(families.connections.clone())).expect(ONCE);
        registry.register(Box::new(families.waiting.clone())).expect(ONCE);
        registry.register(Box::new(families.wait_seconds.clone())).expect(ONCE);
        registry.register(Box::new(families.connect_errors.clone())).expect(ONCE);
        families
    }

    pub(super) fn of(&self, login: &str) -> PoolMetrics {
        PoolMetrics {
            login: login.to_owned(),
            in_use: self.connections.with_label_values(&[login, "in_use"]),
            idle: self.connections.with_label_values(&[login, "idle"]),
            waiting: self.waiting.with_label_values(&[login]),
            wait_seconds: self.wait_seconds.with_label_values(&[login]),
            connect_errors: self.connect_errors.clone(),
        }
    }
}

impl PoolMetrics {
    /// So many are in use (or being opened), so many idle.
    pub fn connections(&self, in_use: usize, idle: usize) {
        self.in_use.set(count(in_use));
        self.idle.set(count(idle));
    }

    /// So many clients wait.
    pub fn waiting(&self, clients: usize) {
        self.waiting.set(count(clients));
    }

    /// A client that found no idle connection waited so long.
    pub fn waited(&self, time: Duration) {
        self.wait_seconds.observe(time.as_secs_f64());
    }

    /// A connection could not be opened; `reason` is a fixed word.
    pub fn connect_failed(&self, reason: &'static str) {
        self.connect_errors.with_label_values(&[self.login.as_str(), reason]).inc();
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
