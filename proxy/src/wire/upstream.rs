//! A connection to PostgreSQL as one of the modules' roles.
//!
//! Promised: the server has proven that it knows the role's password (SCRAM-SHA-256; where a CA is configured, also a certificate for
//! the configured host, to which SCRAM is bound where the server can), text is UTF-8, string literals are standard, the identity of the
//! backend that claims are MACed for is known, and of several hosts it is one with the attributes that were asked for. Refused: trust,
//! clear and MD5 passwords (none proves the server to us), a server without TLS where TLS is configured, bytes ahead of the handshake,
//! and iteration counts that would make a login cost more than it should, or protect less.
//!
//! Every SQL text here is a constant of ours; nothing of a client's is ever sent from here, except the values of settings that are on the list.

mod binding;
mod dialogue;
mod error;
mod sites;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postern_config::names::{Ident, LoginName};
use postern_config::settings::{ChannelBinding, Host, SessionAttrs, Settings};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};

pub use error::UpstreamError;

use super::cancel::UpstreamKey;
use super::stream::Stream;
use super::talk::{Talk, TalkError};
use super::tls;
use crate::identity::Backend;
use binding::Binding;
use dialogue::Login;
use sites::Site;

/// Readers of what a server says before it has proven anything: a door for the fuzz targets (`tests/fuzz/`), which are another crate.
#[doc(hidden)]
pub mod readers {
    pub use super::dialogue::{check_iterations, single_int8, sqlstate};
}

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
    /// In the order in which they are tried.
    sites: Arc<[Site]>,
    attrs: SessionAttrs,
    database: String,
    /// For each host.
    limit: Duration,
    tls: Option<TlsConnector>,
    binding: ChannelBinding,
}

impl Connector {
    /// Reads the CA where one is configured.
    pub fn new(settings: &Settings) -> Result<Self, UpstreamError> {
        let upstream = &settings.upstream;
        let tls = upstream.tls_ca.as_deref().map(tls::client).transpose()?;
        let sites: Result<Vec<Site>, _> = upstream.hosts.iter().map(|h| Site::new(h, tls.is_some())).collect();
        Ok(Self {
            sites: sites?.into(),
            attrs: upstream.target_session_attrs,
            database: upstream.database.clone(),
            limit: upstream.connect_timeout,
            tls,
            binding: upstream.channel_binding,
        })
    }

    /// Connects and logs in at the first host that is as `[upstream] target_session_attrs` asks, each within `connect_timeout`. A host
    /// that answers and refuses the login ends the search, as in libpq. Cancel-safe: dropping it closes the connection.
    pub async fn connect(&self, who: &ConnectAs<'_>) -> Result<Upstream, UpstreamError> {
        let mut failed = Vec::new();
        if self.attrs == SessionAttrs::PreferStandby {
            if let Some(found) = self.first(who, SessionAttrs::Standby, &mut failed).await? {
                return Ok(found);
            }
            failed.clear();
        }
        let found = self.first(who, self.attrs, &mut failed).await?;
        found.ok_or_else(|| UpstreamError::of_all(failed))
    }

    /// The first host that fits. Why others do not goes to `failed`.
    async fn first(
        &self,
        who: &ConnectAs<'_>,
        wanted: SessionAttrs,
        failed: &mut Vec<UpstreamError>,
    ) -> Result<Option<Upstream>, UpstreamError> {
        for index in sites::order(&self.sites) {
            let site = &self.sites[index];
            let began = Instant::now();
            let error = match self.within(site, self.at(index, who, wanted)).await {
                Ok(upstream) => return Ok(Some(upstream)),
                Err(error) => error,
            };
            site.failed(began, Instant::now());
            if !error.is_passing() {
                return Err(error);
            }
            if self.sites.len() > 1 {
                tracing::debug!(%error, "a host does not serve");
            }
            failed.push(error);
        }
        Ok(None)
    }

    async fn at(&self, index: usize, who: &ConnectAs<'_>, wanted: SessionAttrs) -> Result<Upstream, UpstreamError> {
        let site = &self.sites[index];
        let (stream, binding) = self.open(site).await?;
        let mut login = Login {
            talk: Talk::new(stream, MAX_GREETING_BYTES),
            peer: site.peer.clone(),
            who,
            host: u16::try_from(index).unwrap_or(u16::MAX),
            binding,
        };
        let (parameters, cancel) = login.authenticate(&self.database).await?;
        if let Some(found) = sites::misfit(wanted, &parameters, who.settings) {
            login.leave().await;
            return Err(UpstreamError::Attributes {
                peer: site.peer.clone(),
                wanted: wanted.as_str(),
                found,
            });
        }
        login.settle(parameters, cancel).await
    }

    /// Asks the database to cancel what runs on that connection; it never says whether it did. Cancel-safe.
    pub async fn cancel(&self, key: UpstreamKey) -> Result<(), UpstreamError> {
        let Some(site) = self.sites.get(usize::from(key.host)) else {
            return Ok(());
        };
        self.within(site, async {
            let (stream, _) = self.open(site).await?;
            let mut talk = Talk::new(stream, MAX_GREETING_BYTES);
            let mut request = [0u8; 16];
            request[..4].copy_from_slice(&16i32.to_be_bytes());
            request[4..8].copy_from_slice(&80_877_102i32.to_be_bytes());
            request[8..12].copy_from_slice(&key.pid.to_be_bytes());
            request[12..].copy_from_slice(&key.secret.to_be_bytes());
            talk.send(&request).await.map_err(|e| site.broken(e))?;
            // The server closes without a word once the signal is sent; waiting for that keeps the order the client relies on.
            match talk.take(1).await {
                Err(TalkError::Closed | TalkError::Io(_)) => Ok(()),
                _ => Err(site.protocol("it answered a cancel request")),
            }
        })
        .await
    }

    /// A stream to that host, under TLS where that is configured, with what SCRAM is to do about the certificate.
    async fn open(&self, site: &Site) -> Result<(Stream, Binding), UpstreamError> {
        let connect = |source| UpstreamError::Connect {
            peer: site.peer.clone(),
            source,
        };
        let (host, port) = match &site.host {
            Host::Tcp { host, port } => (host.as_str(), *port),
            Host::Unix { directory, port } => {
                let unix = UnixStream::connect(Host::socket(directory, *port)).await.map_err(connect)?;
                return Ok((Stream::Unix(unix), Binding::None));
            }
        };
        let tcp = TcpStream::connect((host, port)).await.map_err(connect)?;
        tcp.set_nodelay(true).map_err(|e| site.broken(e.into()))?;
        let (Some(connector), Some(name)) = (&self.tls, &site.name) else {
            return Ok((Stream::Plain(tcp), Binding::None));
        };
        let mut talk = Talk::new(tcp, MAX_GREETING_BYTES);
        let mut request = 8i32.to_be_bytes().to_vec();
        request.extend_from_slice(&80_877_103i32.to_be_bytes());
        talk.send(&request).await.map_err(|e| site.broken(e))?;
        match talk.take(1).await.map_err(|e| site.broken(e))?[0] {
            b'S' => {}
            b'N' => return Err(UpstreamError::TlsRefused(site.peer.clone())),
            _ => return Err(site.protocol("no answer to SSLRequest")),
        }
        // Bytes in the clear behind the answer would be read as if they had come under TLS (CVE-2021-23222).
        let (tcp, leftover) = talk.into_parts();
        if !leftover.is_empty() {
            return Err(site.protocol("bytes ahead of the TLS handshake"));
        }
        let handshake = connector.connect(name.clone(), tcp).await;
        let stream = handshake.map_err(|source| UpstreamError::Handshake {
            peer: site.peer.clone(),
            source,
        })?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let binding = Binding::to(self.binding, certificate);
        Ok((Stream::Tls(Box::new(TlsStream::Client(stream))), binding))
    }

    async fn within<T>(&self, site: &Site, work: impl Future<Output = Result<T, UpstreamError>>) -> Result<T, UpstreamError> {
        let late = |_| UpstreamError::Deadline {
            peer: site.peer.clone(),
            after: self.limit,
        };
        timeout(self.limit, work).await.map_err(late)?
    }
}

#[cfg(test)]
mod tests;
