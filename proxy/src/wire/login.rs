//! A client's way in, from the accepted connection to the first ReadyForQuery. Each step consumes the one before:
//! [`Door::greet`] → [`Greeting`] → [`Door::authenticate`] → [`Authenticated`] → [`Authenticated::admit`] → [`Client`].
//!
//! A connection begins with a startup packet in the clear, with an SSLRequest, or with the TLS handshake itself ("direct TLS", since
//! PostgreSQL 17), which must then name the protocol (ALPN): without that, what looks like our client might be a browser that somebody
//! else's page steers. A GSSENCRequest is answered `N`, and the client goes on as it likes. Protocols 3.0 and 3.2 are spoken; a client
//! that asks for a later 3.x or for options that are not known is told so in NegotiateProtocolVersion, and the login goes on.
//!
//! Through a Unix socket there is no TLS and none is required, as in PostgreSQL.
//!
//! Promised: whoever gets as far as a [`Client`] proved the login's password; an unknown login and a wrong password are one answer by
//! one path. Whoever does not is told why in one FATAL, where the protocol has got far enough for that. A [`CancelRequest`]'s connection
//! stays open until the request has been passed on. Refused: bytes ahead of the TLS handshake (CVE-2021-23222), direct TLS without
//! ALPN, a connection in the clear where TLS is required.
//!
//! Memory, until the password is proven: at most twice [`MAX_STARTUP_BYTES`] of messages and once of their decoded parameters,
//! whatever the peer sends; under TLS, what rustls holds besides (one handshake message of at most 64 KiB, one record of at most 16 KiB).
//!
//! There is no deadline in here: the caller puts one over the whole (`[limits] login_timeout`), and dropping any of these futures
//! closes the connection.

use bytes::{BufMut, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::cancel::{CancelKey, Registration, SecretLength};
use super::message::{MessageError, put, put_fields, put_ready, put_text};
use super::scram::{ScramError, ServerScram, Verifiers};
use super::startup::{self, FirstPacket, MAX_STARTUP_BYTES, StartupError, StartupParameters};
use super::stream::Stream;
use super::talk::{Talk, TalkError};
use super::tls::{self, ServerTls};
use super::{Client, Peer};
use crate::identity::TokenError;
use crate::pool::PoolError;

/// The first byte of a TLS handshake record (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Most answers of a login fit into this: the greeting at its end has about fifteen parameters.
const USUAL_ANSWER: usize = 768;

/// Why a login ended.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The first packet.
    #[error(transparent)]
    Startup(#[from] StartupError),
    /// The connection, or a message's length.
    #[error(transparent)]
    Talk(#[from] TalkError),
    /// Bytes in the clear ahead of an answer to SSLRequest.
    #[error("received unencrypted data after SSL request")]
    BytesBeforeTls,
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Handshake(std::io::Error),
    /// Direct TLS that cannot be.
    #[error("direct TLS is refused: {0}")]
    DirectTls(&'static str),
    /// TLS is required and was not used.
    #[error("connection requires TLS")]
    TlsRequired,
    /// A message where none of its kind was due, or one of ours that would not fit.
    #[error("expected SASL response, got another message")]
    Protocol,
    /// SCRAM, other than a wrong proof.
    #[error(transparent)]
    Scram(ScramError),
    /// A wrong password or an unknown login.
    #[error("password authentication failed for user \"{0}\"")]
    Password(String),
    /// Another database than the configured one.
    #[error("database \"{0}\" does not exist")]
    Database(String),
    /// The token given at the start.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No connection to the database.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// All client connections are taken.
    #[error("sorry, too many clients already")]
    Busy,
    /// All client connections of its module are taken.
    #[error("too many connections for this module")]
    ModuleBusy,
    /// The operating system gave no randomness for a cancel key, or the audit trail is closed.
    #[error("Postern cannot take connections now")]
    Unable,
}

impl LoginError {
    /// What the client is told: SQLSTATE, message, hint. `None` where it has not spoken the protocol, or broke the connection.
    pub fn for_client(&self) -> Option<(&'static str, String, Option<&'static str>)> {
        let own = self.to_string();
        Some(match self {
            Self::Talk(_)
            | Self::BytesBeforeTls
            | Self::Handshake(_)
            | Self::DirectTls(_)
            | Self::Startup(StartupError::Length) => return None,
            Self::Startup(e) => (e.sqlstate(), own, e.hint()),
            Self::TlsRequired => ("28000", own, Some("Connect with sslmode=require or stricter.")),
            Self::Protocol | Self::Scram(_) => ("08P01", own, None),
            Self::Password(_) => ("28P01", own, None),
            Self::Database(_) => (
                "3D000",
                own,
                Some("Only the database that Postern stands in front of can be named."),
            ),
            Self::Token(e) => (TokenError::SQLSTATE, own, Some(e.hint())),
            Self::Pool(e) => {
                let (sqlstate, message, hint) = e.for_client();
                (sqlstate, message.to_owned(), Some(hint))
            }
            Self::Busy => (
                "53300",
                own,
                Some("Use a smaller pool, or ask the operator to raise [limits] max_clients."),
            ),
            Self::ModuleBusy => (
                "53300",
                own,
                Some("Use a smaller pool, or ask the operator to raise [quotas.MODULE] clients."),
            ),
            Self::Unable => (
                "57P03",
                own,
                Some("Try again; the operator finds the cause in Postern's log."),
            ),
        })
    }

    /// A fixed word for metrics and audit.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Startup(StartupError::Setting(_) | StartupError::Options | StartupError::SearchPath) => "setting",
            Self::Startup(StartupError::Replication) => "replication",
            Self::Startup(StartupError::Encoding) => "encoding",
            Self::Startup(_) | Self::Protocol | Self::Scram(_) => "protocol",
            Self::Talk(_) => "connection",
            Self::BytesBeforeTls => "bytes-before-tls",
            Self::Handshake(_) => "tls",
            Self::DirectTls(_) => "direct-tls",
            Self::TlsRequired => "tls-required",
            Self::Password(_) => "password",
            Self::Database(_) => "database",
            Self::Token(e) => e.reason(),
            Self::Pool(_) => "upstream",
            Self::Busy => "busy",
            Self::ModuleBusy => "module-busy",
            Self::Unable => "unable",
        }
    }
}

impl From<MessageError> for LoginError {
    fn from(_: MessageError) -> Self {
        Self::Protocol
    }
}

/// What is needed to let clients in.
pub struct Door {
    /// Our certificate; without one SSLRequest is answered `N`.
    pub tls: Option<ServerTls>,
    /// Refuse logins in the clear.
    pub require_tls: bool,
    /// The logins' verifiers.
    pub verifiers: Verifiers,
}

/// What a new connection turned out to want.
pub enum Greeted {
    /// To log in.
    Login(Box<Greeting>),
    /// To cancel a query.
    Cancel(CancelRequest),
}

/// A request to cancel a query. No answer is due but the end of the connection, once the server has been asked.
pub struct CancelRequest {
    key: CancelKey,
    talk: Talk<Stream>,
}

impl CancelRequest {
    /// Whose query.
    pub fn key(&self) -> &CancelKey {
        &self.key
    }

    /// Closes the connection in order: whoever waits for that (libpq does) knows that the request has been passed on, or came to nothing.
    pub async fn done(self) {
        let (mut stream, _) = self.talk.into_parts();
        // The peer may be gone already.
        let _ = stream.shutdown().await;
    }
}

/// A client that has said who it wants to be.
pub struct Greeting {
    talk: Talk<Stream>,
    peer: Peer,
    startup: StartupParameters,
    /// What the client is told with the next answer.
    pending: BytesMut,
}

/// A client that has proven who it is, and has not been told yet.
pub struct Authenticated {
    greeting: Box<Greeting>,
    /// The end of the proof and AuthenticationOk: they leave in one write with what follows.
    pending: BytesMut,
}

impl Door {
    /// From the accepted connection to a login's startup packet, through TLS where it is asked for.
    pub async fn greet(&self, stream: Stream, peer: Peer) -> Result<Greeted, LoginError> {
        let mut talk = Talk::new(stream, MAX_STARTUP_BYTES);
        let (mut asked_tls, mut asked_gss) = (false, false);
        // No packet begins with this byte: it would be longer than any may be.
        if talk.peek().await? == TLS_HANDSHAKE {
            asked_tls = true;
            talk = self.direct_tls(talk).await?;
        }
        loop {
            let refused = match first_packet(&mut talk).await {
                Ok(FirstPacket::Cancel(key)) => return Ok(Greeted::Cancel(CancelRequest { key, talk })),
                Ok(FirstPacket::Startup(startup)) => {
                    let greeting = Greeting::new(talk, peer, startup);
                    // Bytes in a Unix socket do not leave the machine.
                    if self.require_tls && peer != Peer::Local && !greeting.talk.stream().is_tls() {
                        return Err(greeting.refuse(LoginError::TlsRequired).await);
                    }
                    return greeting.negotiate().map(|g| Greeted::Login(Box::new(g)));
                }
                Ok(FirstPacket::Ssl) if !asked_tls => {
                    asked_tls = true;
                    talk = self.answer_tls(talk).await?;
                    continue;
                }
                Ok(FirstPacket::Gss) if !asked_gss => {
                    asked_gss = true;
                    if talk.has_leftover() {
                        return Err(LoginError::BytesBeforeTls);
                    }
                    talk.send(b"N").await?;
                    continue;
                }
                Ok(FirstPacket::Ssl | FirstPacket::Gss) => StartupError::Malformed("encryption asked for twice").into(),
                Err(error) => error,
            };
            return Err(Greeting::new(talk, peer, StartupParameters::default()).refuse(refused).await);
        }
    }

    async fn answer_tls(&self, mut talk: Talk<Stream>) -> Result<Talk<Stream>, LoginError> {
        // What is buffered now came in the clear; read after the handshake it would pass for the client's own words.
        if talk.has_leftover() {
            return Err(LoginError::BytesBeforeTls);
        }
        let (Some(tls), Stream::Plain(_)) = (&self.tls, talk.stream()) else {
            talk.send(b"N").await?;
            return Ok(talk);
        };
        talk.send(b"S").await?;
        match talk.into_parts() {
            (Stream::Plain(tcp), leftover) if leftover.is_empty() => {
                let stream = tls.accept(tcp, b"").await.map_err(LoginError::Handshake)?;
                Ok(under_tls(TlsStream::Server(stream)))
            }
            _ => Err(LoginError::BytesBeforeTls),
        }
    }

    /// The client begins with the handshake. What was read of it so far is all that was read.
    async fn direct_tls(&self, talk: Talk<Stream>) -> Result<Talk<Stream>, LoginError> {
        let (Some(tls), (Stream::Plain(tcp), arrived)) = (&self.tls, talk.into_parts()) else {
            return Err(LoginError::DirectTls("there is no TLS here"));
        };
        let mut stream = tls.accept(tcp, &arrived).await.map_err(LoginError::Handshake)?;
        // Where the client named protocols and this one was not among them, the handshake has failed.
        if stream.get_ref().1.alpn_protocol() != Some(tls::ALPN) {
            let _ = stream.shutdown().await;
            return Err(LoginError::DirectTls(
                "the client did not ask for the protocol postgresql (ALPN)",
            ));
        }
        Ok(under_tls(TlsStream::Server(stream)))
    }

    /// SCRAM. A wrong password, an unknown login and a malformed message have been answered when this fails.
    pub async fn authenticate(&self, mut greeting: Box<Greeting>) -> Result<Authenticated, LoginError> {
        let unbound = ServerScram::default();
        let scram = match &self.tls {
            Some(tls) if greeting.talk.stream().is_tls() => &tls.scram,
            _ => &unbound,
        };
        match greeting.prove(scram, &self.verifiers).await {
            Ok(pending) => Ok(Authenticated { greeting, pending }),
            Err(error) => Err(greeting.refuse(error).await),
        }
    }
}

fn under_tls(stream: TlsStream<TcpStream>) -> Talk<Stream> {
    Talk::new(Stream::Tls(Box::new(stream)), MAX_STARTUP_BYTES)
}

async fn first_packet(talk: &mut Talk<Stream>) -> Result<FirstPacket, LoginError> {
    let word = talk.take(4).await?;
    let word = [word[0], word[1], word[2], word[3]];
    let body = talk.take(startup::body_length(word)?).await?;
    Ok(startup::decode(&body)?)
}

impl Greeting {
    fn new(talk: Talk<Stream>, peer: Peer, startup: StartupParameters) -> Self {
        Self {
            talk,
            peer,
            startup,
            pending: BytesMut::new(),
        }
    }

    /// What it asked for.
    pub fn startup(&self) -> &StartupParameters {
        &self.startup
    }

    /// Says why not, closes, and hands the reason back for the log.
    pub async fn refuse(self, error: LoginError) -> LoginError {
        refuse(self.talk, self.pending, error).await
    }

    /// Tells a client that asked for more than there is (a later minor version, options that are not known) what it gets: the version that
    /// is spoken, and the options that are not.
    fn negotiate(mut self) -> Result<Self, LoginError> {
        if self.startup.asks_too_much() {
            let (minor, options) = (self.startup.spoken_minor(), &self.startup.unknown_options);
            put(&mut self.pending, b'v', |b| {
                b.put_u16(3);
                b.put_u16(minor);
                b.put_u32(u32::try_from(options.len()).map_err(|_| MessageError::TooLong)?);
                options.iter().for_each(|o| put_text(b, o));
                Ok(())
            })?;
        }
        Ok(self)
    }

    async fn prove(&mut self, scram: &ServerScram, verifiers: &Verifiers) -> Result<BytesMut, LoginError> {
        let mut out = std::mem::take(&mut self.pending);
        out.reserve(USUAL_ANSWER);
        put(&mut out, b'R', |b| {
            b.put_i32(10);
            scram.mechanisms().iter().for_each(|m| put_text(b, m));
            b.put_u8(0);
            Ok(())
        })?;
        self.talk.send(&out).await?;

        let verifier = verifiers.find(&self.startup.user);
        let failed = |e| match e {
            ScramError::Proof => LoginError::Password(self.startup.user.clone()),
            other => LoginError::Scram(other),
        };
        let (challenge, exchange) = scram.begin(&response(&mut self.talk).await?, &verifier).map_err(failed)?;
        out.clear();
        put_authentication(&mut out, 11, challenge.as_bytes())?;
        self.talk.send(&out).await?;

        let signature = exchange.finish(&response(&mut self.talk).await?).map_err(failed)?;
        out.clear();
        put_authentication(&mut out, 12, signature.as_bytes())?;
        put_authentication(&mut out, 0, b"")?;
        Ok(out)
    }
}

/// The client's next `p` message.
async fn response(talk: &mut Talk<Stream>) -> Result<bytes::Bytes, LoginError> {
    match talk.frame().await? {
        (b'p', body) => Ok(body),
        // libpq hangs up to ask its user for a password; that is no error worth an answer.
        (b'X', _) => Err(TalkError::Closed.into()),
        _ => Err(LoginError::Protocol),
    }
}

fn put_authentication(out: &mut BytesMut, code: i32, data: &[u8]) -> Result<(), MessageError> {
    put(out, b'R', |b| {
        b.put_i32(code);
        b.put_slice(data);
        Ok(())
    })
}

impl Authenticated {
    /// What it asked for.
    pub fn startup(&self) -> &StartupParameters {
        &self.greeting.startup
    }

    /// How long a secret its protocol has room for.
    pub fn secret_length(&self) -> SecretLength {
        self.greeting.startup.secret_length()
    }

    /// Where it comes from.
    pub fn peer(&self) -> Peer {
        self.greeting.peer
    }

    /// Says why not, closes, and hands the reason back for the log.
    pub async fn refuse(self, error: LoginError) -> LoginError {
        refuse(self.greeting.talk, self.pending, error).await
    }

    /// Tells the client that it is in: the server's parameters, its own cancel key, ReadyForQuery.
    pub async fn admit(mut self, parameters: &[(String, String)], cancel: Registration) -> Result<Client, LoginError> {
        let out = &mut self.pending;
        for (name, value) in parameters {
            put(out, b'S', |b| {
                put_text(b, name);
                put_text(b, value);
                Ok(())
            })?;
        }
        let key = cancel.key();
        put(out, b'K', |b| {
            b.put_i32(key.id);
            b.put_slice(&key.secret);
            Ok(())
        })?;
        put_ready(out, b'I');
        self.greeting.talk.send(out).await?;
        let (stream, leftover) = self.greeting.talk.into_parts();
        Ok(Client {
            stream,
            leftover,
            peer: self.greeting.peer,
            startup: self.greeting.startup,
            cancel,
        })
    }
}

/// One FATAL behind what was pending; then the connection is closed in order, so that it arrives.
async fn refuse(mut talk: Talk<Stream>, mut out: BytesMut, error: LoginError) -> LoginError {
    let Some((sqlstate, message, hint)) = error.for_client() else {
        return error;
    };
    let fields = [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', sqlstate), (b'M', message.as_str())];
    let hint = hint.map(|h| (b'H', h));
    if put_fields(&mut out, b'E', fields.into_iter().chain(hint)).is_ok() && talk.send(&out).await.is_ok() {
        // The peer may be gone already; the login has failed either way.
        let (mut stream, _) = talk.into_parts();
        let _ = stream.shutdown().await;
    }
    error
}

#[cfg(test)]
mod tests;
