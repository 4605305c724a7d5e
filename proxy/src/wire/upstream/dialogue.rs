//! The login dialogue with PostgreSQL, from the startup packet to the moment the connection can be handed on.

use bytes::{BufMut, Bytes, BytesMut};
use postern_config::names::quote_ident;
use postgres_protocol::authentication::sasl::ScramSha256;

use super::binding::Binding;
use super::{ConnectAs, Upstream, UpstreamError};
use crate::identity::Backend;
use crate::wire::cancel::UpstreamKey;
use crate::wire::message::{self, put, put_text, put_value};
use crate::wire::scram::{SCRAM_SHA_256, SCRAM_SHA_256_PLUS};
use crate::wire::stream::Stream;
use crate::wire::talk::Talk;

/// No honest server sends more messages than this before it is ready.
const MAX_GREETING_FRAMES: usize = 256;
/// A server reports some fifteen parameters of a few bytes each.
const MAX_PARAMETER_BYTES: usize = 64 * 1024;
/// Bounds on the server's iteration count: fewer protect the password too little (RFC 7677), more cost us too much.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=100_000;

/// Provisioning's own function: when this backend started, unix time in microseconds, kept in the session for `postern.verified()`.
/// It writes, so it has a transaction of its own that may, whatever `default_transaction_read_only` the client asked for.
const ENTER: &str = "BEGIN READ WRITE; SELECT postern.enter(); COMMIT";
/// A standby can keep nothing; there the start is asked for each time that claims are checked.
const ENTER_STANDBY: &str = "SELECT postern.enter()";

pub(super) struct Login<'a> {
    pub(super) talk: Talk<Stream>,
    pub(super) peer: String,
    pub(super) who: &'a ConnectAs<'a>,
    /// Which of the hosts it is.
    pub(super) host: u16,
    pub(super) binding: Binding,
}

pub(super) type Parameters = Vec<(String, String)>;

impl Login<'_> {
    /// From the startup packet to the first ReadyForQuery.
    pub(super) async fn authenticate(&mut self, database: &str) -> Result<(Parameters, UpstreamKey), UpstreamError> {
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
                            host: self.host,
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

    fn startup_packet(&self, database: &str) -> BytesMut {
        let mut packet = BytesMut::from(&[0u8; 4][..]);
        packet.put_i32(196_608);
        let search_path = self.who.schema.quoted();
        let ours = [
            ("user", self.who.login.as_str()),
            ("database", database),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
            ("search_path", search_path.as_str()),
            ("application_name", self.who.application_name),
        ];
        let allowed = self
            .who
            .settings
            .iter()
            .filter(|(n, _)| *n != "application_name")
            .map(|(n, v)| (*n, v.as_str()));
        for (name, value) in ours.into_iter().chain(allowed) {
            put_text(&mut packet, name);
            put_text(&mut packet, value);
        }
        packet.put_u8(0);
        let length = u32::try_from(packet.len()).expect("a client's own startup packet had at most 10,000 bytes");
        packet[..4].copy_from_slice(&length.to_be_bytes());
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
        let offers = |mechanism: &str| offered.split(|b| *b == 0).any(|m| m == mechanism.as_bytes());
        match method {
            None if offers(SCRAM_SHA_256) => {}
            other => {
                let method = other.unwrap_or("a SASL mechanism other than SCRAM-SHA-256");
                return Err(UpstreamError::Method {
                    peer: self.peer.clone(),
                    method,
                    login: self.who.login.to_string(),
                });
            }
        }
        let binding = std::mem::replace(&mut self.binding, Binding::None);
        let (bound, binding) = binding
            .choose(offers(SCRAM_SHA_256_PLUS))
            .map_err(|problem| self.scram(problem))?;
        let mut scram = ScramSha256::new(self.who.password.as_bytes(), binding);
        let mut out = BytesMut::new();
        put(&mut out, b'p', |b| {
            put_text(b, if bound { SCRAM_SHA_256_PLUS } else { SCRAM_SHA_256 });
            put_value(b, Some(scram.message()))
        })
        .map_err(|_| self.scram("our own message is too long"))?;
        self.send(&out).await?;

        let challenge = self.expect(11).await?;
        check_iterations(&challenge).map_err(|problem| self.scram(problem))?;
        scram
            .update(&challenge)
            .map_err(|_| self.scram("its challenge is malformed"))?;
        out.clear();
        put(&mut out, b'p', |b| {
            b.put_slice(scram.message());
            Ok(())
        })
        .map_err(|_| self.scram("our own message is too long"))?;
        self.send(&out).await?;

        let signature = self.expect(12).await?;
        scram
            .finish(&signature)
            .map_err(|_| self.scram("it does not know the password's verifier: this is not the server that was provisioned"))?;
        self.expect(0).await.map(drop)
    }

    async fn expect(&mut self, code: i32) -> Result<Bytes, UpstreamError> {
        match self.authentication().await? {
            (found, data) if found == code => Ok(data),
            _ => Err(self.scram("an authentication message out of order")),
        }
    }

    async fn authentication(&mut self) -> Result<(i32, Bytes), UpstreamError> {
        for _ in 0..MAX_GREETING_FRAMES {
            let (kind, body) = self.frame().await?;
            match (kind, body.split_first_chunk::<4>()) {
                (b'R', Some((code, _))) => return Ok((i32::from_be_bytes(*code), body.slice(4..))),
                (b'v', _) => {}
                _ => return Err(self.protocol("no authentication message where one was due")),
            }
        }
        Err(self.protocol("it never asked for the proof"))
    }

    /// Learns which backend this is and takes the module's owner role where that is asked for: one round trip.
    pub(super) async fn settle(mut self, mut parameters: Parameters, cancel: UpstreamKey) -> Result<Upstream, UpstreamError> {
        let standby = parameters.iter().any(|(n, v)| n == "in_hot_standby" && v == "on");
        let mut sql = if standby { ENTER_STANDBY } else { ENTER }.to_owned();
        if let Some(role) = self.who.role {
            sql.push_str("; SET ROLE ");
            sql.push_str(&quote_ident(role));
        }
        let mut out = BytesMut::new();
        put(&mut out, b'Q', |b| {
            put_text(b, &sql);
            Ok(())
        })
        .map_err(|_| self.protocol("our own query is too long"))?;
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
                    let backend = Backend {
                        pid: cancel.pid,
                        start_micros,
                        login: self.who.login.clone(),
                    };
                    let (stream, leftover) = self.talk.into_parts();
                    return Ok(Upstream {
                        stream,
                        leftover,
                        parameters,
                        cancel,
                        backend,
                    });
                }
                _ => return Err(self.protocol("an unexpected message after logging in")),
            }
        }
        Err(self.protocol("it never became ready"))
    }

    /// Says goodbye: this is not the server that was looked for. It may be gone already.
    pub(super) async fn leave(&mut self) {
        let _ = self.talk.send(&[b'X', 0, 0, 0, 4]).await;
    }

    fn keep(&self, parameters: &mut Parameters, body: &[u8]) -> Result<(), UpstreamError> {
        let (name, value) = message::parameter_status(body).map_err(|_| self.protocol("a malformed ParameterStatus"))?;
        match parameters.iter_mut().find(|(n, _)| *n == name) {
            Some(known) => known.1 = value.to_owned(),
            None => parameters.push((name.to_owned(), value.to_owned())),
        }
        match parameters.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>() {
            0..=MAX_PARAMETER_BYTES => Ok(()),
            _ => Err(self.protocol("more parameters than a server has")),
        }
    }

    /// The next message; an ErrorResponse ends the login with its SQLSTATE.
    async fn frame(&mut self) -> Result<(u8, Bytes), UpstreamError> {
        let (kind, body) = self.talk.frame().await.map_err(|source| UpstreamError::Broken {
            peer: self.peer.clone(),
            source,
        })?;
        if kind != b'E' {
            return Ok((kind, body));
        }
        let sqlstate = sqlstate(&body).unwrap_or("XX000").to_owned();
        Err(UpstreamError::Refused {
            peer: self.peer.clone(),
            login: self.who.login.to_string(),
            sqlstate,
        })
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), UpstreamError> {
        self.talk.send(bytes).await.map_err(|source| UpstreamError::Broken {
            peer: self.peer.clone(),
            source,
        })
    }

    fn protocol(&self, problem: &'static str) -> UpstreamError {
        UpstreamError::Protocol {
            peer: self.peer.clone(),
            problem,
        }
    }

    fn scram(&self, problem: &'static str) -> UpstreamError {
        UpstreamError::Scram {
            peer: self.peer.clone(),
            login: self.who.login.to_string(),
            problem,
        }
    }
}

/// The iteration count of a server-first-message (`r=…,s=…,i=…`) is looked at before it is paid for.
pub fn check_iterations(challenge: &[u8]) -> Result<(), &'static str> {
    let text = std::str::from_utf8(challenge).map_err(|_| "its challenge is not UTF-8")?;
    let count = text
        .split(',')
        .find_map(|part| part.strip_prefix("i="))
        .ok_or("its challenge names no iteration count")?;
    match count.parse::<u32>() {
        Ok(n) if ITERATIONS.contains(&n) => Ok(()),
        _ => Err("its iteration count is not between 4096 and 100000; set scram_iterations back and the password anew"),
    }
}

/// The SQLSTATE field of an ErrorResponse.
pub fn sqlstate(body: &[u8]) -> Option<&str> {
    let field = body.split(|b| *b == 0).find_map(|f| f.strip_prefix(b"C"))?;
    (field.len() == 5 && field.iter().all(u8::is_ascii_alphanumeric))
        .then(|| std::str::from_utf8(field).ok())
        .flatten()
}

/// The only field of a DataRow, an int8 in text.
pub fn single_int8(body: &[u8]) -> Option<i64> {
    let rest = body.strip_prefix(&1i16.to_be_bytes())?;
    let (length, value) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    if length != value.len() {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}
