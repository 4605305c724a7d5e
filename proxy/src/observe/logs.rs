//! Structured logs: JSON lines on standard error.

use tracing_subscriber::EnvFilter;

/// Starts logging, once per process; the level comes from `POSTERN_LOG` (`info` where unset), in `tracing`'s filter syntax. Libraries
/// speak from `warn` on only, and two of them never below: what they say at `debug` includes SQL text and parameters.
pub fn start() {
    let filter = EnvFilter::try_from_env("POSTERN_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,postern=info"))
        .add_directive("tokio_postgres=warn".parse().expect("a valid directive"))
        .add_directive("postgres_protocol=warn".parse().expect("a valid directive"))
        .add_directive("pgwire=warn".parse().expect("a valid directive"));
    // A second call (tests, the demo inside one process) keeps the first one's settings.
    let _ = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
