//! A connection to PostgreSQL as one of the modules' roles.
//!
//! Promised: the server has proven that it knows the role's password (SCRAM-SHA-256; where a CA is configured, also a certificate for
//! the configured host), text is UTF-8, string literals are standard, and the identity of the backend that claims are MACed for is
//! known. Refused: trust, clear and MD5 passwords (none proves the server to us), a server without TLS where TLS is configured, bytes
//! ahead of the handshake, and iteration counts that would make a login cost more than it should, or protect less.
//!
//! Every SQL text here is a constant of ours; nothing of a client's is ever sent from this file.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use postern_config::names::{Ident, LoginName, quote_ident};
use postern_config::settings::Settings;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};

use super::cancel::UpstreamKey;
use super::scram::SCRAM_SHA_256;
use super::stream::Stream;
use super::talk::{Talk, TalkError, put_cstring, put_frame};
use super::tls::{self, TlsError};
use crate::identity::Backend;

/// No message before the first query is longer (ParameterStatus, errors).
const MAX_GREETING_BYTES: usize = 64 * 1024;
/// No honest server sends more messages than this before it is ready.
const MAX_GREETING_FRAMES: usize = 256;
/// Bounds on the server's iteration count: fewer protect the password too little (RFC 7677), more cost us too much.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=100_000;

/// The same integer that `postern.verified()` computes, from the same function.
const BACKEND_START: &str = "SELECT (extract(epoch FROM backend_start) * 1000000)::pg_catalog.int8 \
FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())";

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

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// TLS towards the database cannot be set up.
    #[error("[upstream] tls_ca: {0}")]
    Tls(#[from] TlsError),
    /// `host` is neither a name nor an address.
    #[error("[upstream] host `{0}` is not a host name that a certificate could carry")]
    Host(String),
    /// No connection.
    #[error("cannot connect to PostgreSQL at {peer}: {source}; is it running, and do [upstream] host and port name it?")]
    Connect {
        /// `host:port`.
        peer: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error("PostgreSQL at {peer} did not finish the login within {after:?}; is it overloaded, or is something else listening there?")]
    Deadline {
        /// `host:port`.
        peer: String,
        /// The limit, `[upstream] connect_timeout`.
        after: Duration,
    },
    /// It has no TLS where a CA is configured.
    #[error("PostgreSQL at {0} refuses TLS; set ssl = on there, or remove [upstream] tls_ca if the network is trusted")]
    TlsRefused(String),
    /// The TLS handshake failed.
    #[error("TLS handshake with PostgreSQL at {peer} failed: {source}; does its certificate chain to tls_ca and carry this host's name?")]
    Handshake {
        /// `host:port`.
        peer: String,
        /// Why.
        source: io::Error,
    },
    /// It does not ask for SCRAM.
    #[error(
        "PostgreSQL at {peer} asks for {method} for role `{login}`, which does not prove the server to us; \
         use scram-sha-256 in pg_hba.conf and set the password anew"
    )]
    Method {
        /// `host:port`.
        peer: String,
        /// What it asked for.
        method: &'static str,
        /// The role.
        login: String,
    },
    /// The exchange failed on our side.
    #[error("PostgreSQL at {peer} failed SCRAM for role `{login}`: {problem}")]
    Scram {
        /// `host:port`.
        peer: String,
        /// The role.
        login: String,
        /// Why.
        problem: &'static str,
    },
    /// It answered with an error.
    #[error("PostgreSQL at {peer} refused role `{login}` with SQLSTATE {sqlstate}: {}", explain(sqlstate))]
    Refused {
        /// `host:port`.
        peer: String,
        /// The role.
        login: String,
        /// Its SQLSTATE. Its text may quote values and is not kept.
        sqlstate: String,
    },
    /// It does not speak the protocol.
    #[error("what listens at {peer} broke the protocol: {problem}")]
    Protocol {
        /// `host:port`.
        peer: String,
        /// How.
        problem: &'static str,
    },
    /// The connection broke.
    #[error("the connection to PostgreSQL at {peer} broke: {source}")]
    Broken {
        /// `host:port`.
        peer: String,
        /// Why.
        source: TalkError,
    },
}

fn explain(sqlstate: &str) -> &'static str {
    match sqlstate {
        "28P01" => "the password in secrets_dir/NAME.upstream is not the role's; run `postern provision`",
        "28000" => "the role is missing or pg_hba.conf has no line for it; run `postern provision`",
        "3D000" => "the database does not exist; check [upstream] database",
        "42501" => "the role may not connect or may not take the module's owner role; run `postern provision`",
        "53300" => "it has no connection left; raise max_connections or lower [limits] max_clients",
        "57P03" => "it is starting up or shutting down; try again",
        "22023" => "it does not take one of the connection's settings",
        _ => "see the server's log",
    }
}

impl UpstreamError {
    /// What the client is told: SQLSTATE, message, hint. Fixed texts; the rest is for the operator's log.
    pub fn for_client(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Refused { sqlstate, .. } if sqlstate == "53300" => {
                ("53300", "the database has no connection left", "Try again later, or use fewer connections.")
            }
            Self::Refused { sqlstate, .. } if sqlstate == "22023" => (
                "22023",
                "the database does not take one of the connection's settings",
                "Check the values of TimeZone, DateStyle and the other settings in the connection string.",
            ),
            _ => (
                "57P03",
                "the database behind Postern cannot be reached now",
                "Try again; the operator finds the cause in Postern's log.",
            ),
        }
    }
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
        let tls = match &upstream.tls_ca {
            Some(ca) => {
                let name = ServerName::try_from(upstream.host.clone()).map_err(|_| UpstreamError::Host(upstream.host.clone()))?;
                Some((tls::client(ca)?, name))
            }
            None => None,
        };
        Ok(Self {
            host: upstream.host.clone(),
            port: upstream.port,
            database: upstream.database.clone(),
            limit: upstream.connect_timeout,
            tls,
        })
    }

    /// Connects and logs in within `[upstream] connect_timeout`. Cancel-safe: dropping it closes the connection.
    pub async fn connect(&self, who: &ConnectAs<'_>) -> Result<Upstream, UpstreamError> {
        self.within(async {
            let stream = self.open().await?;
            let mut login = Login { talk: Talk::new(stream, MAX_GREETING_BYTES), peer: self.peer(), who };
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
                _ => Err(UpstreamError::Protocol { peer: self.peer(), problem: "it answered a cancel request" }),
            }
        })
        .await
    }

    async fn open(&self) -> Result<Stream, UpstreamError> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|source| UpstreamError::Connect { peer: self.peer(), source })?;
        tcp.set_nodelay(true).map_err(|e| self.broken(e.into()))?;
        let Some((connector, name)) = &self.tls else { return Ok(Stream::Plain(tcp)) };
        let mut talk = Talk::new(tcp, MAX_GREETING_BYTES);
        let mut request = 8i32.to_be_bytes().to_vec();
        request.extend_from_slice(&80_877_103i32.to_be_bytes());
        talk.send(&request).await.map_err(|e| self.broken(e))?;
        match talk.take(1).await.map_err(|e| self.broken(e))?[0] {
            b'S' => {}
            b'N' => return Err(UpstreamError::TlsRefused(self.peer())),
            _ => return Err(UpstreamError::Protocol { peer: self.peer(), problem: "no answer to SSLRequest" }),
        }
        // Bytes in the clear behind the answer would be read as if they had come under TLS (CVE-2021-23222).
        let (tcp, leftover) = talk.into_parts();
        if !leftover.is_empty() {
            return Err(UpstreamError::Protocol { peer: self.peer(), problem: "bytes ahead of the TLS handshake" });
        }
        let handshake = connector.connect(name.clone(), tcp).await;
        let stream = handshake.map_err(|source| UpstreamError::Handshake { peer: self.peer(), source })?;
        Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, UpstreamError>>) -> Result<T, UpstreamError> {
        let late = |_| UpstreamError::Deadline { peer: self.peer(), after: self.limit };
        timeout(self.limit, work).await.map_err(late)?
    }

    fn peer(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn broken(&self, source: TalkError) -> UpstreamError {
        UpstreamError::Broken { peer: self.peer(), source }
    }
}

struct Login<'a> {
    talk: Talk<Stream>,
    peer: String,
    who: &'a ConnectAs<'a>,
}

type Parameters = Vec<(String, String)>;

impl Login<'_> {
    /// From the startup packet to the first ReadyForQuery.
    async fn authenticate(&mut self, database: &str) -> Result<(Parameters, UpstreamKey), UpstreamError> {
        let packet = self.startup_packet(database);
        self.send(&packet).await?;
        self.prove().await?;
        let mut parameters = Parameters::new();
        let mut cancel = None;
        for _ in 0..MAX_GREETING_FRAMES {
            let (kind, body) = self.frame().await?;
            match kind {
                b'S' => self.keep(&mut parameters, &body)?,
                b'K' => match <[u8; 8]>::try_from(&body[..]) {
                    Ok([a, b, c, d, e, f, g, h]) => {
                        cancel = Some(UpstreamKey {
                            pid: i32::from_be_bytes([a, b, c, d]),
                            secret: i32::from_be_bytes([e, f, g, h]),
                        });
                    }
                    Err(_) => return Err(self.protocol("a cancel key that is not 8 bytes")),
                },
                b'N' => {}
                b'Z' => {
                    let cancel = cancel.ok_or_else(|| self.protocol("no cancel key; is a pooler in between?"))?;
                    return Ok((parameters, cancel));
                }
                _ => return Err(self.protocol("an unexpected message while logging in")),
            }
        }
        Err(self.protocol("it never became ready"))
    }

    fn startup_packet(&self, database: &str) -> Vec<u8> {
        let mut body = 196_608i32.to_be_bytes().to_vec();
        let search_path = self.who.schema.quoted();
        let ours = [
            ("user", self.who.login.as_str()),
            ("database", database),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
            ("search_path", search_path.as_str()),
            ("application_name", self.who.application_name),
        ];
        let allowed = self.who.settings.iter().filter(|(n, _)| *n != "application_name").map(|(n, v)| (*n, v.as_str()));
        for (name, value) in ours.into_iter().chain(allowed) {
            put_cstring(&mut body, name);
            put_cstring(&mut body, value);
        }
        body.push(0);
        let length = i32::try_from(body.len() + 4).expect("a client's startup packet is at most 10,000 bytes");
        let mut packet = length.to_be_bytes().to_vec();
        packet.extend_from_slice(&body);
        packet
    }

    /// SCRAM-SHA-256 as the client. Construction and nonce are `postgres-protocol`'s; the server's signature is verified, so an
    /// AuthenticationOk without it is no proof and is refused.
    async fn prove(&mut self) -> Result<(), UpstreamError> {
        let (code, offered) = self.authentication().await?;
        let method = match code {
            10 => None,
            0 => Some("no password at all (trust)"),
            3 => Some("a password in the clear"),
            5 => Some("an MD5 password"),
            _ => Some("an authentication method that Postern does not have"),
        };
        let offers_scram = offered.split(|b| *b == 0).any(|m| m == SCRAM_SHA_256.as_bytes());
        match method {
            None if offers_scram => {}
            other => {
                let method = other.unwrap_or("a SASL mechanism other than SCRAM-SHA-256");
                return Err(UpstreamError::Method { peer: self.peer.clone(), method, login: self.who.login.to_string() });
            }
        }
        let mut scram = ScramSha256::new(self.who.password.as_bytes(), ChannelBinding::unsupported());
        let mut out = Vec::new();
        put_frame(&mut out, b'p', |b| {
            put_cstring(b, SCRAM_SHA_256);
            b.extend_from_slice(&(scram.message().len() as i32).to_be_bytes());
            b.extend_from_slice(scram.message());
        });
        self.send(&out).await?;

        let challenge = self.expect(11).await?;
        check_iterations(&challenge).map_err(|problem| self.scram(problem))?;
        scram.update(&challenge).map_err(|_| self.scram("its challenge is malformed"))?;
        out.clear();
        put_frame(&mut out, b'p', |b| b.extend_from_slice(scram.message()));
        self.send(&out).await?;

        let signature = self.expect(12).await?;
        scram
            .finish(&signature)
            .map_err(|_| self.scram("it does not know the password's verifier: this is not the server that was provisioned"))?;
        self.expect(0).await.map(drop)
    }

    async fn expect(&mut self, code: i32) -> Result<bytes::Bytes, UpstreamError> {
        match self.authentication().await? {
            (found, data) if found == code => Ok(data),
            _ => Err(self.scram("an authentication message out of order")),
        }
    }

    async fn authentication(&mut self) -> Result<(i32, bytes::Bytes), UpstreamError> {
        loop {
            let (kind, body) = self.frame().await?;
            match (kind, body.split_first_chunk::<4>()) {
                (b'R', Some((code, _))) => return Ok((i32::from_be_bytes(*code), body.slice(4..))),
                (b'v', _) => {}
                _ => return Err(self.protocol("no authentication message where one was due")),
            }
        }
    }

    /// Learns which backend this is and takes the module's owner role where that is asked for: one round trip.
    async fn settle(mut self, mut parameters: Parameters, cancel: UpstreamKey) -> Result<Upstream, UpstreamError> {
        let mut sql = BACKEND_START.to_owned();
        if let Some(role) = self.who.role {
            sql.push_str("; SET ROLE ");
            sql.push_str(&quote_ident(role));
        }
        let mut out = Vec::new();
        put_frame(&mut out, b'Q', |b| put_cstring(b, &sql));
        self.send(&out).await?;
        let mut start = None;
        for _ in 0..MAX_GREETING_FRAMES {
            let (kind, body) = self.frame().await?;
            match kind {
                b'S' => self.keep(&mut parameters, &body)?,
                b'D' => start = single_int8(&body),
                b'T' | b'C' | b'N' => {}
                b'Z' => {
                    let start_micros = start.ok_or_else(|| self.protocol("it does not tell when its backend started"))?;
                    let backend = Backend { pid: cancel.pid, start_micros, login: self.who.login.clone() };
                    let (stream, leftover) = self.talk.into_parts();
                    return Ok(Upstream { stream, leftover, parameters, cancel, backend });
                }
                _ => return Err(self.protocol("an unexpected message after logging in")),
            }
        }
        Err(self.protocol("it never became ready"))
    }

    fn keep(&self, parameters: &mut Parameters, body: &[u8]) -> Result<(), UpstreamError> {
        let mut parts = body.split(|b| *b == 0);
        let text = |part: Option<&[u8]>| part.and_then(|p| std::str::from_utf8(p).ok()).map(str::to_owned);
        let (Some(name), Some(value)) = (text(parts.next()), text(parts.next())) else {
            return Err(self.protocol("a malformed ParameterStatus"));
        };
        match parameters.iter_mut().find(|(n, _)| *n == name) {
            Some(known) => known.1 = value,
            None => parameters.push((name, value)),
        }
        Ok(())
    }

    /// The next message; an ErrorResponse ends the login with its SQLSTATE.
    async fn frame(&mut self) -> Result<(u8, bytes::Bytes), UpstreamError> {
        let (kind, body) = self.talk.frame().await.map_err(|source| UpstreamError::Broken { peer: self.peer.clone(), source })?;
        if kind != b'E' {
            return Ok((kind, body));
        }
        let sqlstate = sqlstate(&body).unwrap_or("XX000").to_owned();
        Err(UpstreamError::Refused { peer: self.peer.clone(), login: self.who.login.to_string(), sqlstate })
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), UpstreamError> {
        self.talk.send(bytes).await.map_err(|source| UpstreamError::Broken { peer: self.peer.clone(), source })
    }

    fn protocol(&self, problem: &'static str) -> UpstreamError {
        UpstreamError::Protocol { peer: self.peer.clone(), problem }
    }

    fn scram(&self, problem: &'static str) -> UpstreamError {
        UpstreamError::Scram { peer: self.peer.clone(), login: self.who.login.to_string(), problem }
    }
}

/// The iteration count of a server-first-message (`r=…,s=…,i=…`) is looked at before it is paid for.
fn check_iterations(challenge: &[u8]) -> Result<(), &'static str> {
    let text = std::str::from_utf8(challenge).map_err(|_| "its challenge is not UTF-8")?;
    let count = text.split(',').find_map(|part| part.strip_prefix("i=")).ok_or("its challenge names no iteration count")?;
    match count.parse::<u32>() {
        Ok(n) if ITERATIONS.contains(&n) => Ok(()),
        _ => Err("its iteration count is not between 4096 and 100000; set scram_iterations back and the password anew"),
    }
}

/// The SQLSTATE field of an ErrorResponse.
fn sqlstate(body: &[u8]) -> Option<&str> {
    let field = body.split(|b| *b == 0).find_map(|f| f.strip_prefix(b"C"))?;
    (field.len() == 5 && field.iter().all(u8::is_ascii_alphanumeric)).then(|| std::str::from_utf8(field).ok()).flatten()
}

/// The only field of a DataRow, an int8 in text.
fn single_int8(body: &[u8]) -> Option<i64> {
    let rest = body.strip_prefix(&1i16.to_be_bytes())?;
    let (length, value) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    if length != value.len() {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
