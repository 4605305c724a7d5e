//! A connection to PostgreSQL as one of the modules' roles.
//!
//! Promised: the server has proven that it knows the role's password (SCRAM-SHA-256; where a CA is configured, also a certificate for
//! the configured host), text is UTF-8, string literals are standard, and the identity of the backend that claims are MACed for is
//! known. Refused: trust, clear and MD5 passwords (none proves the server to us), a server without TLS where TLS is configured, bytes
//! ahead of the handshake, and iteration counts that would make a login cost more than it should, or protect less.
//!
//! Every SQL text here is a constant of ours; nothing of a client's is ever sent from here, except the values of settings that are on the list.

mod dialogue;
mod error;

use std::time::Duration;

use bytes::BytesMut;
use postern_config::names::{Ident, LoginName};
use postern_config::settings::{Host, Settings};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};

pub use error::UpstreamError;

use super::cancel::UpstreamKey;
use super::stream::Stream;
use super::talk::{Talk, TalkError};
use super::tls;
use crate::identity::Backend;
use dialogue::Login;

/// No message before the first query is longer (ParameterStatus, errors).
const MAX_GREETING_BYTES: usize = 64 * 1024;

/// An authenticated connection, idle, outside any transaction.
#[derive(Debug)]
pub struct Upstream {
    /// The connection.
    pub stream: Stream,
    /// Bytes behind the last ReadyForQuery that were already read: normally none, notices at most.
    pub leftover: BytesMut,
    /// Every ParameterStatus so far, one entry for each name.
    pub parameters: Vec<(String, String)>,
    /// What cancels its queries.
    pub cancel: UpstreamKey,
    /// Which backend it is, for the claims' MAC.
    pub backend: Backend,
}

impl Upstream {
    /// The value of a parameter that the server reported.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// As whom to connect, and with what settings.
pub struct ConnectAs<'a> {
    /// The role.
    pub login: &'a LoginName,
    /// Its password.
    pub password: &'a str,
    /// Shown in the server's views.
    pub application_name: &'a str,
    /// The module's schema: the session's whole `search_path`.
    pub schema: &'a Ident,
    /// Further settings, from the client's allowed ones.
    pub settings: &'a [(&'static str, String)],
    /// `SET ROLE` to this once connected, so that what is created belongs to the module.
    pub role: Option<&'a str>,
}

/// How to reach the database: made once, used for every connection.
#[derive(Clone)]
pub struct Connector {
    host: String,
    port: u16,
    database: String,
    limit: Duration,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Connector {
    /// Reads the CA where one is configured.
    pub fn new(settings: &Settings) -> Result<Self, UpstreamError> {
        let upstream = &settings.upstream;
        let (host, port) = match &upstream.hosts[..] {
            [Host::Tcp { host, port }, ..] => (host.clone(), *port),
            [other, ..] => return Err(UpstreamError::Host(other.to_string())),
            [] => return Err(UpstreamError::Host(String::new())),
        };
        let tls = match &upstream.tls_ca {
            Some(ca) => {
                let name = ServerName::try_from(host.clone()).map_err(|_| UpstreamError::Host(host.clone()))?;
                Some((tls::client(ca)?, name))
            }
            None => None,
        };
        Ok(Self {
            host,
            port,
            database: upstream.database.clone(),
            limit: upstream.connect_timeout,
            tls,
        })
    }

    /// Connects and logs in within `[upstream] connect_timeout`. Cancel-safe: dropping it closes the connection.
    pub async fn connect(&self, who: &ConnectAs<'_>) -> Result<Upstream, UpstreamError> {
        self.within(async {
            let stream = self.open().await?;
            let mut login = Login {
                talk: Talk::new(stream, MAX_GREETING_BYTES),
                peer: self.peer(),
                who,
            };
            let (parameters, cancel) = login.authenticate(&self.database).await?;
            login.settle(parameters, cancel).await
        })
        .await
    }

    /// Asks the database to cancel what runs on that connection; it never says whether it did. Cancel-safe.
    pub async fn cancel(&self, key: UpstreamKey) -> Result<(), UpstreamError> {
        self.within(async {
            let mut talk = Talk::new(self.open().await?, MAX_GREETING_BYTES);
            let mut request = [0u8; 16];
            request[..4].copy_from_slice(&16i32.to_be_bytes());
            request[4..8].copy_from_slice(&80_877_102i32.to_be_bytes());
            request[8..12].copy_from_slice(&key.pid.to_be_bytes());
            request[12..].copy_from_slice(&key.secret.to_be_bytes());
            talk.send(&request).await.map_err(|e| self.broken(e))?;
            // The server closes without a word once the signal is sent; waiting for that keeps the order the client relies on.
            match talk.take(1).await {
                Err(TalkError::Closed | TalkError::Io(_)) => Ok(()),
                _ => Err(UpstreamError::Protocol {
                    peer: self.peer(),
                    problem: "it answered a cancel request",
                }),
            }
        })
        .await
    }

    async fn open(&self) -> Result<Stream, UpstreamError> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|source| UpstreamError::Connect {
                peer: self.peer(),
                source,
            })?;
        tcp.set_nodelay(true).map_err(|e| self.broken(e.into()))?;
        let Some((connector, name)) = &self.tls else {
            return Ok(Stream::Plain(tcp));
        };
        let mut talk = Talk::new(tcp, MAX_GREETING_BYTES);
        let mut request = 8i32.to_be_bytes().to_vec();
        request.extend_from_slice(&80_877_103i32.to_be_bytes());
        talk.send(&request).await.map_err(|e| self.broken(e))?;
        match talk.take(1).await.map_err(|e| self.broken(e))?[0] {
            b'S' => {}
            b'N' => return Err(UpstreamError::TlsRefused(self.peer())),
            _ => {
                return Err(UpstreamError::Protocol {
                    peer: self.peer(),
                    problem: "no answer to SSLRequest",
                });
            }
        }
        // Bytes in the clear behind the answer would be read as if they had come under TLS (CVE-2021-23222).
        let (tcp, leftover) = talk.into_parts();
        if !leftover.is_empty() {
            return Err(UpstreamError::Protocol {
                peer: self.peer(),
                problem: "bytes ahead of the TLS handshake",
            });
        }
        let handshake = connector.connect(name.clone(), tcp).await;
        let stream = handshake.map_err(|source| UpstreamError::Handshake {
            peer: self.peer(),
            source,
        })?;
        Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, UpstreamError>>) -> Result<T, UpstreamError> {
        let late = |_| UpstreamError::Deadline {
            peer: self.peer(),
            after: self.limit,
        };
        timeout(self.limit, work).await.map_err(late)?
    }

    fn peer(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn broken(&self, source: TalkError) -> UpstreamError {
        UpstreamError::Broken {
            peer: self.peer(),
            source,
        }
    }
}

#[cfg(test)]
mod tests;
