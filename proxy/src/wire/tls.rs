//! TLS by rustls on both sides: certificates are read once, and every problem with a file names the file.
//!
//! Towards PostgreSQL the certificate must chain to the configured CA and carry the configured host's name; there is no way to ask for
//! less. TLS 1.2 and 1.3.
//!
//! Towards clients there is no resumption of earlier TLS sessions, as with PostgreSQL: no driver asks for it, and tickets would cost
//! every handshake two messages and the process a cache.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;

use postern_config::settings::TlsFiles;
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::scram::ServerScram;
use crate::secrets::{self, SecretError};

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate file.
    #[error("{}: {problem}; expected one or more PEM certificates", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The private key's file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The private key itself.
    #[error("{}: {problem}; expected one PEM private key that belongs to the certificate", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// The protocol's name in a TLS handshake (IANA, "TLS Application-Layer Protocol Negotiation Protocol IDs").
pub const ALPN: &[u8] = b"postgresql";

/// What is needed to be a TLS server.
pub struct ServerTls {
    /// Does handshakes.
    pub acceptor: TlsAcceptor,
    /// SCRAM that can also bind to our certificate (`SCRAM-SHA-256-PLUS`).
    pub scram: ServerScram,
}

impl ServerTls {
    /// The handshake. `arrived` is the beginning of it that has been read from the connection already: nothing for a client that waited
    /// for the answer to its SSLRequest.
    pub async fn accept(&self, tcp: TcpStream, mut arrived: &[u8]) -> io::Result<TlsStream<TcpStream>> {
        let mut problem = None;
        let accepting = self.acceptor.accept_with(tcp, |session| {
            while !arrived.is_empty() && problem.is_none() {
                let taken = session.read_tls(&mut arrived).map(drop);
                let understood = taken.and_then(|()| session.process_new_packets().map(drop).map_err(io::Error::other));
                problem = understood.err();
            }
        });
        let Some(problem) = problem else {
            return accepting.await;
        };
        // Polled once, which sends the alert that says why; there is nothing to wait for.
        let mut accepting = std::pin::pin!(accepting);
        let sent = std::future::poll_fn(|cx| Poll::Ready(accepting.as_mut().poll(cx))).await;
        drop(sent);
        Err(problem)
    }
}

/// Reads our certificate and key.
pub fn server(files: &TlsFiles) -> Result<ServerTls, TlsError> {
    let pem = std::fs::read(&files.certificate).map_err(|e| certificate(&files.certificate, e))?;
    let chain = certificates(&files.certificate, &pem)?;
    let key_pem = secrets::read(&files.key)?;
    let key_problem = |problem: String| TlsError::Key {
        path: files.key.clone(),
        problem,
    };
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|e| key_problem(e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring offers TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| key_problem(e.to_string()))?;
    // A client that offers ALPN must offer this one (PostgreSQL 17): a browser's request is not for us.
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(ServerTls {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        scram: ServerScram::bound_to(&pem),
    })
}

/// Reads the CA that PostgreSQL's certificate must chain to.
pub fn client(ca: &Path) -> Result<TlsConnector, TlsError> {
    let pem = std::fs::read(ca).map_err(|e| certificate(ca, e))?;
    let mut roots = RootCertStore::empty();
    for der in certificates(ca, &pem)? {
        roots.add(der).map_err(|e| certificate(ca, e))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring offers TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|e| certificate(path, e))?;
    if found.is_empty() {
        Err(certificate(path, "it holds no certificate"))
    } else {
        Ok(found)
    }
}

fn certificate(path: &Path, problem: impl std::fmt::Display) -> TlsError {
    TlsError::Certificate {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_name_the_file() {
        let missing = Path::new("/nonexistent/ca.pem");
        assert!(client(missing).err().unwrap().to_string().contains("/nonexistent/ca.pem"));
        let dir = std::env::temp_dir().join(format!("postern-tls-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let empty = dir.join("empty.pem");
        std::fs::write(&empty, "no certificate\n").unwrap();
        assert!(client(&empty).err().unwrap().to_string().contains("it holds no certificate"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
