//! Counters and histograms, in a registry of their own (no globals), in Prometheus' text form.

use std::time::Duration;

use super::pools::{PoolFamilies, PoolMetrics};
use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Seconds; a hop is tens of microseconds, a slow query is seconds.
const BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// All of them. Cheap to touch: atomics, no lock except a label's look-up.
pub struct Metrics {
    registry: Registry,
    queries: IntCounterVec,
    refusals: IntCounterVec,
    plans: IntCounterVec,
    /// The same by outcome, so that counting needs no look-up: hit, miss.
    plan_outcomes: [IntCounter; 2],
    plan_seconds: Histogram,
    query_seconds: HistogramVec,
    simple: (IntCounter, Histogram),
    extended: (IntCounter, Histogram),
    seals: IntCounter,
    opens: IntCounter,
    open_failures: IntCounter,
    logins_failed: IntCounterVec,
    cancels: IntCounterVec,
    audit_failures: IntCounter,
    issuer_keys: IntGauge,
    jwks_broken: IntGauge,
    clients: IntGauge,
    upstreams: IntGauge,
    control: IntGaugeVec,
    pools: PoolFamilies,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A fresh set, all at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let vec = |name, help, label| {
            IntCounterVec::new(Opts::new(name, help), &[label]).expect("metric names and labels are fixed and valid")
        };
        let counter = |name, help| IntCounter::new(name, help).expect("metric names are fixed and valid");
        let gauge = |name, help| IntGauge::new(name, help).expect("metric names are fixed and valid");
        let histogram = |name, help| HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        let queries = vec("postern_queries_total", "Statements carried out, by protocol kind.", "kind");
        let plans = vec("postern_plan_cache_total", "Plan cache look-ups, by outcome.", "outcome");
        let query_seconds = HistogramVec::new(
            histogram(
                "postern_query_seconds",
                "Time from a request to the end of its answer, by protocol kind.",
            ),
            &["kind"],
        )
        .expect("metric names and labels are fixed and valid");
        let metrics = Self {
            simple: (
                queries.with_label_values(&["simple"]),
                query_seconds.with_label_values(&["simple"]),
            ),
            extended: (
                queries.with_label_values(&["extended"]),
                query_seconds.with_label_values(&["extended"]),
            ),
            plan_outcomes: [plans.with_label_values(&["hit"]), plans.with_label_values(&["miss"])],
            queries,
            refusals: vec(
                "postern_refusals_total",
                "Statements and logins refused, by reason.",
                "reason",
            ),
            plans,
            plan_seconds: Histogram::with_opts(histogram("postern_plan_seconds", "Time to judge and rewrite one statement."))
                .expect("metric names are fixed and valid"),
            query_seconds,
            seals: counter("postern_seals_total", "Values sealed."),
            opens: counter("postern_opens_total", "Values opened."),
            open_failures: counter(
                "postern_open_failures_total",
                "Values that could not be opened: forged, moved or damaged.",
            ),
            logins_failed: vec("postern_login_failures_total", "Logins that failed, by reason.", "reason"),
            cancels: vec("postern_cancels_total", "Cancel requests, by outcome.", "outcome"),
            audit_failures: counter("postern_audit_failures_total", "Audit events that could not be written."),
            issuer_keys: gauge("postern_jwks_keys", "Keys of [tokens] jwks_file that verify tokens."),
            jwks_broken: gauge(
                "postern_jwks_file_broken",
                "1 while [tokens] jwks_file cannot be used and the set read before it stays in force.",
            ),
            clients: gauge("postern_client_connections", "Clients logged in."),
            upstreams: gauge("postern_upstream_connections", "Connections to PostgreSQL for clients."),
            control: IntGaugeVec::new(
                Opts::new("postern_control_connections", "Connections of the control plane, by state."),
                &["state"],
            )
            .expect("metric names and labels are fixed and valid"),
            pools: PoolFamilies::new(&registry),
            registry,
        };
        metrics.register_all();
        metrics
    }

    fn register_all(&self) {
        let all: [Box<dyn Collector>; 16] = [
            Box::new(self.queries.clone()),
            Box::new(self.refusals.clone()),
            Box::new(self.plans.clone()),
            Box::new(self.plan_seconds.clone()),
            Box::new(self.query_seconds.clone()),
            Box::new(self.seals.clone()),
            Box::new(self.opens.clone()),
            Box::new(self.open_failures.clone()),
            Box::new(self.logins_failed.clone()),
            Box::new(self.cancels.clone()),
            Box::new(self.audit_failures.clone()),
            Box::new(self.issuer_keys.clone()),
            Box::new(self.jwks_broken.clone()),
            Box::new(self.clients.clone()),
            Box::new(self.upstreams.clone()),
            Box::new(self.control.clone()),
        ];
        for one in all {
            self.registry.register(one).expect("every metric has its own name");
        }
    }

    /// A statement was carried out; `kind` is `simple` or `extended`, `took` from its request to the end of its answer.
    pub fn query(&self, kind: &'static str, took: Duration) {
        let (count, seconds) = if kind == "simple" { &self.simple } else { &self.extended };
        count.inc();
        seconds.observe(took.as_secs_f64());
    }

    /// A statement was refused; `reason` is a fixed word.
    pub fn refusal(&self, reason: &'static str) {
        self.refusals.with_label_values(&[reason]).inc();
    }

    /// The plan cache was asked.
    pub fn plan_cache(&self, hit: bool) {
        let [found, missed] = &self.plan_outcomes;
        if hit { found } else { missed }.inc();
    }

    /// A statement was planned (a miss of the plan cache).
    pub fn planned(&self, took: Duration) {
        self.plan_seconds.observe(took.as_secs_f64());
    }

    /// That many values were sealed.
    pub fn sealed(&self, count: u64) {
        self.seals.inc_by(count);
    }

    /// That many values were opened.
    pub fn opened(&self, count: u64) {
        self.opens.inc_by(count);
    }

    /// A value could not be opened.
    pub fn open_failed(&self) {
        self.open_failures.inc();
    }

    /// A login failed; `reason` is a fixed word.
    pub fn login_failed(&self, reason: &'static str) {
        self.logins_failed.with_label_values(&[reason]).inc();
    }

    /// A cancel request came; `known` where its key belongs to a client.
    pub fn cancel(&self, known: bool) {
        self.cancels
            .with_label_values(&[if known { "sent" } else { "unknown-key" }])
            .inc();
    }

    /// An audit event could not be written.
    pub fn audit_failed(&self) {
        self.audit_failures.inc();
    }

    /// That many keys of the issuer's JWK Set verify tokens now.
    pub fn issuer_keys(&self, count: usize) {
        self.issuer_keys.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether the JWK Set's file, as it is now, cannot be used.
    pub fn jwks_file_broken(&self, broken: bool) {
        self.jwks_broken.set(i64::from(broken));
    }

    /// Counts a client until the returned value is dropped.
    pub fn client_connected(&self) -> Connected {
        Connected::count(&self.clients)
    }

    /// Counts an upstream connection until the returned value is dropped.
    pub fn upstream_connected(&self) -> Connected {
        Connected::count(&self.upstreams)
    }

    /// The handles for one login's pool of server connections.
    pub fn pool(&self, login: &str) -> PoolMetrics {
        self.pools.of(login)
    }

    /// The control plane's pool, as it is now.
    pub fn control_pool(&self, in_use: usize, open: usize) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.control.with_label_values(&["in_use"]).set(count(in_use));
        self.control
            .with_label_values(&["idle"])
            .set(count(open.saturating_sub(in_use)));
    }

    /// Everything, in Prometheus' text exposition format.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut out)
            .expect("writing to a vector does not fail and every metric has a sample type");
        out
    }
}

/// One connection in a gauge.
pub struct Connected(IntGauge);

impl Connected {
    fn count(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.query("simple", Duration::from_millis(2));
        metrics.refusal("foreign-relation");
        metrics.plan_cache(true);
        metrics.sealed(3);
        let held = metrics.client_connected();
        let shown = |metrics: &Metrics| String::from_utf8(metrics.encode()).unwrap();
        let text = shown(&metrics);
        for line in [
            "postern_queries_total{kind=\"simple\"} 1",
            "postern_refusals_total{reason=\"foreign-relation\"} 1",
            "postern_plan_cache_total{outcome=\"hit\"} 1",
            "postern_seals_total 3",
            "postern_open_failures_total 0",
            "postern_client_connections 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
        drop(held);
        assert!(shown(&metrics).contains("postern_client_connections 0"));
    }
}
