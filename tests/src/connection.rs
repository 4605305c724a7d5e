//! A protocol client of our own, version 3.0: every byte of an answer can be looked at, and any frame can be sent.
//!
//! It promises nothing to a server that misbehaves except an error instead of a hang: each read and write has a deadline.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use crate::message::{
    ErrorFields, Frame, Reply, VERSION_3_0, bind_body, cells, columns, cstring, error_fields, int32, length, message, parse_body,
    ready_status, startup_message,
};
use crate::socket::Socket;
use crate::target::Target;

/// Longest wait for one read.
const DEADLINE: Duration = Duration::from_secs(60);
/// Why there is no (further) answer.
#[derive(Debug)]
pub enum Failure {
    /// The server said so (a FATAL at startup).
    Server(ErrorFields),
    /// The connection ended or timed out.
    Io(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Server(e) => e.fmt(f),
            Failure::Io(e) => e.fmt(f),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

impl Failure {
    /// The SQLSTATE, or nothing where the connection just ended.
    pub fn sqlstate(&self) -> &str {
        match self {
            Failure::Server(e) => e.sqlstate(),
            Failure::Io(_) => "",
        }
    }
}

/// A connection.
pub struct Connection {
    stream: Socket,
    /// What ParameterStatus said.
    pub settings: BTreeMap<String, String>,
    /// Process id and key for a cancel request.
    pub cancel_key: (i32, i32),
    /// Transaction status of the last ReadyForQuery: `I`, `T` or `E`.
    pub status: char,
    /// Every byte of every message since the last [`Connection::forget_seen`], for searches of what was let out.
    pub seen: Vec<u8>,
}

impl Connection {
    /// Connects and authenticates.
    pub fn open(target: &Target) -> Result<Self, Failure> {
        let mut startup: Vec<(&str, &str)> = vec![("user", &target.user), ("database", &target.database)];
        startup.extend(target.startup.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        let mut connection = Self::socket(target)?;
        connection.stream.write_all(&startup_message(VERSION_3_0, &startup))?;
        connection.authenticate(&target.password)?;
        Ok(connection)
    }

    /// A bare socket: the caller sends everything, the startup message included.
    pub fn socket(target: &Target) -> Result<Self, Failure> {
        let stream = Socket::connect(target)?;
        stream.read_deadline(DEADLINE)?;
        stream.write_deadline(DEADLINE)?;
        Ok(Self {
            stream,
            settings: BTreeMap::new(),
            cancel_key: (0, 0),
            status: '?',
            seen: Vec::new(),
        })
    }

    /// Answers the server's authentication requests until the first ReadyForQuery.
    pub fn authenticate(&mut self, password: &str) -> Result<(), Failure> {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let frame = self.receive()?;
            match frame.kind {
                b'R' => match int32(&frame.body, 0)? {
                    0 => {}
                    10 => {
                        let mut body = cstring(SCRAM_SHA_256);
                        body.extend(length(scram.message().len()));
                        body.extend(scram.message());
                        self.send(b'p', &body)?;
                    }
                    11 => {
                        scram.update(&frame.body[4..])?;
                        let message = scram.message().to_vec();
                        self.send(b'p', &message)?;
                    }
                    12 => scram.finish(&frame.body[4..])?,
                    3 => self.send(b'p', &cstring(password))?,
                    other => return Err(io::Error::other(format!("authentication method {other}")).into()),
                },
                b'S' => {
                    let mut parts = frame.body.split(|b| *b == 0).map(|p| String::from_utf8_lossy(p).into_owned());
                    if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                        self.settings.insert(name, value);
                    }
                }
                b'K' => self.cancel_key = (int32(&frame.body, 0)?, int32(&frame.body, 4)?),
                b'E' => return Err(Failure::Server(error_fields(&frame.body))),
                b'N' | b'v' => {}
                b'Z' => {
                    self.status = ready_status(&frame.body);
                    return Ok(());
                }
                other => return Err(io::Error::other(format!("message {:?} during login", char::from(other))).into()),
            }
        }
    }

    /// Sends one message.
    pub fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut message = vec![kind];
        message.extend(length(body.len() + 4));
        message.extend(body);
        self.stream.write_all(&message)
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next message.
    pub fn receive(&mut self) -> io::Result<Frame> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let size = i32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let size = usize::try_from(size - 4).map_err(|_| io::Error::other("a length below 4"))?;
        let mut body = vec![0; size];
        self.stream.read_exact(&mut body)?;
        self.seen.extend(&head);
        self.seen.extend(&body);
        Ok(Frame { kind: head[0], body })
    }

    /// Reads until the server closes; true where it did before the deadline.
    pub fn closes(&mut self) -> bool {
        let mut sink = [0; 4096];
        loop {
            match self.stream.read(&mut sink) {
                Ok(0) => return true,
                Ok(n) => self.seen.extend(&sink[..n]),
                Err(e) => return !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
            }
        }
    }

    /// Reads and forgets messages until one of this kind; gives the number of bytes read.
    pub fn skip_to(&mut self, kind: u8) -> io::Result<u64> {
        let mut sink = vec![0; 64 * 1024];
        let mut read = 0;
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head)?;
            let size = i32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let mut left = usize::try_from(size - 4).map_err(|_| io::Error::other("a length below 4"))?;
            read += 5 + left as u64;
            while left > 0 {
                let piece = left.min(sink.len());
                self.stream.read_exact(&mut sink[..piece])?;
                left -= piece;
            }
            if head[0] == kind {
                return Ok(read);
            }
        }
    }

    /// A second handle to the same socket, for a thread that sends while this one does something else.
    pub fn sender(&self) -> io::Result<std::net::TcpStream> {
        self.stream.tcp()
    }

    /// Shortens the deadline of reads.
    pub fn patience(&mut self, limit: Duration) -> io::Result<()> {
        self.stream.read_deadline(limit)
    }

    /// Ends the sending side (what a client that dies mid-message does).
    pub fn hang_up(&mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Forgets what [`Connection::seen`] collected.
    pub fn forget_seen(&mut self) {
        self.seen.clear();
    }

    /// Runs SQL by the simple protocol: one reply for each statement that was answered.
    pub fn simple(&mut self, sql: &str) -> Result<Vec<Reply>, Failure> {
        self.send(b'Q', &cstring(sql))?;
        self.replies()
    }

    /// Runs SQL that is one statement by the simple protocol. Where the server answers several times, the last answer counts.
    ///
    /// # Panics
    /// When the connection ends.
    #[track_caller]
    pub fn run(&mut self, sql: &str) -> Reply {
        match self.simple(sql) {
            Ok(replies) => replies.into_iter().next_back().unwrap_or_default(),
            Err(failure) => panic!("the connection ended at {sql}: {failure}"),
        }
    }

    /// Runs one statement by the extended protocol: parameters in text, results in `format` (0 text, 1 binary).
    pub fn extended(&mut self, sql: &str, parameters: &[Option<&str>], format: i16) -> Result<Reply, Failure> {
        let cells: Vec<Option<Vec<u8>>> = parameters.iter().map(|p| p.map(|t| t.as_bytes().to_vec())).collect();
        self.extended_with(sql, &[], &cells, 0, format)
    }

    /// The same with parameter types told and parameters in either format.
    pub fn extended_with(
        &mut self,
        sql: &str,
        types: &[u32],
        parameters: &[Option<Vec<u8>>],
        parameter_format: i16,
        result_format: i16,
    ) -> Result<Reply, Failure> {
        let mut out = message(b'P', &parse_body("", sql, types));
        out.extend(message(b'D', b"S\0"));
        out.extend(message(b'B', &bind_body("", "", parameters, parameter_format, result_format)));
        out.extend(message(b'D', b"P\0"));
        out.extend(message(b'E', b"\0\0\0\0\0"));
        out.extend(message(b'S', b""));
        self.stream.write_all(&out)?;
        Ok(self.replies()?.into_iter().next_back().unwrap_or_default())
    }

    /// Reads replies up to and including ReadyForQuery. A COPY that the server starts is failed by us.
    pub fn replies(&mut self) -> Result<Vec<Reply>, Failure> {
        let mut done = Vec::new();
        let mut current = Reply::default();
        loop {
            let frame = self.receive()?;
            match frame.kind {
                b'T' => current.columns = Some(columns(&frame.body)?),
                b't' => {
                    let ids = frame.body[2..].chunks_exact(4);
                    current.parameters = Some(ids.map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]])).collect());
                }
                b'D' => current.rows.push(cells(&frame.body)?),
                b'C' => {
                    current.tag = Some(String::from_utf8_lossy(&frame.body[..frame.body.len() - 1]).into_owned());
                    done.push(std::mem::take(&mut current));
                }
                b'I' => {
                    current.tag = Some(String::new());
                    done.push(std::mem::take(&mut current));
                }
                b's' => done.push(std::mem::take(&mut current)),
                b'E' => {
                    current.error = Some(error_fields(&frame.body));
                    done.push(std::mem::take(&mut current));
                }
                b'G' => self.send(b'f', &cstring("the test loads nothing"))?,
                b'Z' => {
                    self.status = ready_status(&frame.body);
                    return Ok(done);
                }
                b'S' => {
                    let mut parts = frame.body.split(|b| *b == 0).map(|p| String::from_utf8_lossy(p).into_owned());
                    if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                        self.settings.insert(name, value);
                    }
                }
                b'1' | b'2' | b'3' | b'n' | b'N' | b'A' | b'H' | b'd' | b'c' => {}
                other => return Err(io::Error::other(format!("unexpected message {:?}", char::from(other))).into()),
            }
        }
    }

    /// Loads rows by COPY in text format.
    pub fn copy_in(&mut self, statement: &str, data: &[u8]) -> Result<(), Failure> {
        self.send(b'Q', &cstring(statement))?;
        let mut failed = None;
        loop {
            let frame = self.receive()?;
            match frame.kind {
                b'G' => {
                    self.send(b'd', data)?;
                    self.send(b'c', b"")?;
                }
                b'E' => failed = Some(error_fields(&frame.body)),
                b'Z' => return failed.map_or(Ok(()), |e| Err(Failure::Server(e))),
                _ => {}
            }
        }
    }
}
