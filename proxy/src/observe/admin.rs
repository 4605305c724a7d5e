//! The operator's door: `/metrics`, `/healthz` (the process runs), `/readyz` (the database answers and keys are there).
//!
//! HTTP/1.1, GET only, one request per connection, head bounded in bytes and time, few connections at once. Written by hand because
//! three fixed answers do not need a web server in the trusted base. It has no authentication: bind it where operators are.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

const MAX_HEAD_BYTES: usize = 8 * 1024;
const MAX_CONNECTIONS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers until dropped. `metrics` gives the text of `/metrics`; `ready` says whether the gate can serve and is asked under a deadline.
pub async fn serve<M, F, R>(listener: TcpListener, metrics: M, ready: F)
where
    M: Fn() -> Vec<u8> + Send + Sync + 'static,
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = bool> + Send,
{
    let (metrics, ready) = (Arc::new(metrics), Arc::new(ready));
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Connections end with this future: a dropped set aborts its tasks.
    let mut connections = JoinSet::new();
    loop {
        // Waiting for a slot before accepting leaves the rest in the kernel's bounded queue.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: spinning would not bring them back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (metrics, ready) = (Arc::clone(&metrics), Arc::clone(&ready));
        connections.spawn(async move {
            let _ = timeout(PATIENCE, answer(stream, metrics.as_ref(), ready.as_ref())).await;
            drop(slot);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer<S, M, F, R>(mut stream: S, metrics: &M, ready: &F) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    M: Fn() -> Vec<u8>,
    F: Fn() -> R,
    R: Future<Output = bool>,
{
    const TEXT: &str = "text/plain; charset=utf-8";
    let (status, kind, body) = match request(&mut stream).await? {
        Request::Get(path) => match path.as_str() {
            "/metrics" => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", metrics()),
            "/healthz" => ("200 OK", TEXT, b"alive\n".to_vec()),
            "/readyz" => match timeout(PATIENCE / 2, ready()).await {
                Ok(true) => ("200 OK", TEXT, b"ready\n".to_vec()),
                _ => (
                    "503 Service Unavailable",
                    TEXT,
                    b"not ready: the database does not answer\n".to_vec(),
                ),
            },
            _ => ("404 Not Found", TEXT, b"there are /metrics, /healthz and /readyz\n".to_vec()),
        },
        Request::Method => ("405 Method Not Allowed", TEXT, b"GET only\n".to_vec()),
        Request::Bad => ("400 Bad Request", TEXT, b"not an HTTP/1 request\n".to_vec()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}

enum Request {
    Get(String),
    Method,
    Bad,
}

async fn request(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Request> {
    let mut head = Vec::with_capacity(1024);
    let mut chunk = [0u8; 1024];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let read = stream.read(&mut chunk).await?;
        if read == 0 || head.len() + read > MAX_HEAD_BYTES {
            return Ok(Request::Bad);
        }
        head.extend_from_slice(&chunk[..read]);
    }
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else {
        return Ok(Request::Bad);
    };
    let mut words = line.split(' ');
    Ok(match (words.next(), words.next(), words.next(), words.next()) {
        (Some("GET"), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) => {
            Request::Get(target.split('?').next().unwrap_or_default().to_owned())
        }
        (Some(_), Some(_), Some("HTTP/1.1" | "HTTP/1.0"), None) => Request::Method,
        _ => Request::Bad,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Metrics;

    async fn ask(request: &[u8], ready: bool) -> String {
        let (mut ours, theirs) = tokio::io::duplex(1 << 16);
        let (request, metrics) = (request.to_vec(), Metrics::new());
        let server = tokio::spawn(async move { answer(theirs, &|| metrics.encode(), &|| async move { ready }).await });
        ours.write_all(&request).await.unwrap();
        ours.shutdown().await.unwrap();
        let mut text = String::new();
        let _ = ours.read_to_string(&mut text).await;
        let _ = server.await.unwrap();
        text
    }

    #[tokio::test]
    async fn three_doors_and_no_other() {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
        assert!(ask(&get("/metrics"), true).await.contains("postern_client_connections 0"));
        assert!(ask(&get("/healthz"), false).await.starts_with("HTTP/1.1 200"));
        assert!(ask(&get("/readyz"), true).await.starts_with("HTTP/1.1 200"));
        assert!(ask(&get("/readyz?verbose"), false).await.starts_with("HTTP/1.1 503"));
        assert!(ask(&get("/../etc/passwd"), true).await.starts_with("HTTP/1.1 404"));
        assert!(ask(b"POST /metrics HTTP/1.1\r\n\r\n", true).await.starts_with("HTTP/1.1 405"));
    }

    #[tokio::test]
    async fn what_is_not_http_or_too_long_is_refused() {
        for bad in [
            &b"\r\n\r\n"[..],
            b"GET /metrics\r\n\r\n",
            b"GET  /metrics HTTP/1.1\r\n\r\n",
            b"\xff\xfe\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\n",
            b"",
        ] {
            assert!(ask(bad, true).await.starts_with("HTTP/1.1 400"), "{bad:?}");
        }
        assert!(ask(&[b'a'; 9_000], true).await.starts_with("HTTP/1.1 400"));
    }
}
