//! Structured logs: JSON lines on standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Starts logging, once per process; the level comes from `POSTERN_LOG` (`info` where unset), in `tracing`'s filter syntax. Libraries
/// speak from `warn` on only, and two of them never below: what they say at `debug` includes SQL text and parameters.
pub fn start() {
    start_to(std::io::stderr);
}

/// The same to somewhere else: the demo, whose standard error a person reads, writes to a file.
pub fn start_to<W>(writer: W)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_env("POSTERN_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,postern=info"))
        .add_directive("tokio_postgres=warn".parse().expect("a valid directive"))
        .add_directive("postgres_protocol=warn".parse().expect("a valid directive"))
        .add_directive("pgwire=warn".parse().expect("a valid directive"));
    // A second call (tests, the demo inside one process) keeps the first one's settings.
    let _ = tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(writer)
        .try_init();
}
