//! A protocol client of our own, version 3.0: every byte of an answer can be looked at, and any frame can be sent.
//!
//! It promises nothing to a server that misbehaves except an error instead of a hang: each read and write has a deadline.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use crate::target::Target;

/// Longest wait for one read.
const DEADLINE: Duration = Duration::from_secs(60);
/// Protocol version 3.0.
pub const VERSION_3_0: i32 = 0x0003_0000;
/// The version number that marks a cancel request.
pub const CANCEL_CODE: i32 = 80_877_102;

/// One message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type byte.
    pub kind: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

/// The fields of an ErrorResponse or NoticeResponse, in the order sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorFields(pub Vec<(char, String)>);

impl ErrorFields {
    /// The field of that code.
    pub fn field(&self, code: char) -> Option<&str> {
        self.0.iter().find(|(c, _)| *c == code).map(|(_, v)| v.as_str())
    }

    /// SQLSTATE.
    pub fn sqlstate(&self) -> &str {
        self.field('C').unwrap_or("")
    }

    /// The primary message.
    pub fn message(&self) -> &str {
        self.field('M').unwrap_or("")
    }

    /// The hint, or nothing.
    pub fn hint(&self) -> &str {
        self.field('H').unwrap_or("")
    }
}

impl fmt::Display for ErrorFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.sqlstate(), self.message())?;
        for (name, code) in [("DETAIL", 'D'), ("HINT", 'H')] {
            if let Some(text) = self.field(code) {
                write!(f, " {name}: {text}")?;
            }
        }
        Ok(())
    }
}

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

/// A column as RowDescription tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type.
    pub oid: u32,
    /// Type length.
    pub size: i16,
    /// Type modifier.
    pub modifier: i32,
    /// 0 text, 1 binary.
    pub format: i16,
}

/// The answer to one statement.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// Parameter types, where they were described.
    pub parameters: Option<Vec<u32>>,
    /// Columns, where rows were described.
    pub columns: Option<Vec<Column>>,
    /// Rows.
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
    /// Command tag.
    pub tag: Option<String>,
    /// The error, if it failed.
    pub error: Option<ErrorFields>,
}

impl Reply {
    /// SQLSTATE of the error; empty where there is none.
    pub fn sqlstate(&self) -> &str {
        self.error.as_ref().map_or("", ErrorFields::sqlstate)
    }

    /// The rows as text, NULL as `None`.
    pub fn texts(&self) -> Vec<Vec<Option<String>>> {
        let cell = |c: &Option<Vec<u8>>| c.as_ref().map(|b| String::from_utf8_lossy(b).into_owned());
        self.rows.iter().map(|row| row.iter().map(cell).collect()).collect()
    }

    /// The first column of the first row as text.
    pub fn scalar(&self) -> Option<String> {
        self.texts().into_iter().next()?.into_iter().next()?
    }

    /// The reply itself, or a panic that says which statement failed how.
    #[track_caller]
    pub fn good(self, what: &str) -> Self {
        if let Some(e) = &self.error {
            panic!("{what}: {e}");
        }
        self
    }
}

/// A connection.
pub struct Connection {
    stream: TcpStream,
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
        let address = (target.host.as_str(), target.port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::other("the host has no address"))?;
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
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

    /// Shortens the deadline of reads.
    pub fn patience(&mut self, limit: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(limit))
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

    /// Loads rows by COPY in text format (on direct connections only: the proxy refuses COPY for now).
    pub fn copy_in(&mut self, statement: &str, data: &[u8]) -> Result<(), Failure> {
        self.send(b'Q', &cstring(statement))?;
        loop {
            let frame = self.receive()?;
            match frame.kind {
                b'G' => {
                    self.send(b'd', data)?;
                    self.send(b'c', b"")?;
                }
                b'E' => return Err(Failure::Server(error_fields(&frame.body))),
                b'Z' => return Ok(()),
                _ => {}
            }
        }
    }
}

/// A complete message.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(length(body.len() + 4));
    bytes.extend(body);
    bytes
}

/// A startup message.
pub fn startup_message(version: i32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(cstring(name));
        body.extend(cstring(value));
    }
    body.push(0);
    let mut bytes = length(body.len() + 4).to_vec();
    bytes.extend(body);
    bytes
}

/// A cancel request.
pub fn cancel_message(key: (i32, i32)) -> Vec<u8> {
    let parts = [16, CANCEL_CODE, key.0, key.1];
    parts.iter().flat_map(|p: &i32| p.to_be_bytes()).collect()
}

/// The body of a Parse.
pub fn parse_body(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = cstring(name);
    body.extend(cstring(sql));
    body.extend(count(types.len()));
    body.extend(types.iter().flat_map(|t| t.to_be_bytes()));
    body
}

/// The body of a Bind: all parameters in one format, all results in one format.
pub fn bind_body(portal: &str, statement: &str, parameters: &[Option<Vec<u8>>], format: i16, results: i16) -> Vec<u8> {
    let mut body = cstring(portal);
    body.extend(cstring(statement));
    body.extend(count(1));
    body.extend(format.to_be_bytes());
    body.extend(count(parameters.len()));
    for parameter in parameters {
        match parameter {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(bytes) => {
                body.extend(length(bytes.len()));
                body.extend(bytes);
            }
        }
    }
    body.extend(count(1));
    body.extend(results.to_be_bytes());
    body
}

/// Text with the NUL that ends it.
pub fn cstring(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn length(size: usize) -> [u8; 4] {
    i32::try_from(size).expect("a test's message fits").to_be_bytes()
}

fn count(size: usize) -> [u8; 2] {
    i16::try_from(size).expect("a test's count fits").to_be_bytes()
}

fn int32(body: &[u8], at: usize) -> io::Result<i32> {
    let bytes = body
        .get(at..at + 4)
        .ok_or_else(|| io::Error::other("a message is too short"))?;
    Ok(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn ready_status(body: &[u8]) -> char {
    body.first().map_or('?', |b| char::from(*b))
}

/// Reads an ErrorResponse.
pub fn error_fields(body: &[u8]) -> ErrorFields {
    let parts = body.split(|b| *b == 0).filter(|p| !p.is_empty());
    ErrorFields(
        parts
            .map(|p| (char::from(p[0]), String::from_utf8_lossy(&p[1..]).into_owned()))
            .collect(),
    )
}

fn columns(body: &[u8]) -> io::Result<Vec<Column>> {
    let short = || io::Error::other("a RowDescription is too short");
    let mut rest = body.get(2..).ok_or_else(short)?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == 0).ok_or_else(short)?;
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        let fixed = rest.get(end + 1..end + 19).ok_or_else(short)?;
        all.push(Column {
            name,
            oid: u32::from_be_bytes([fixed[6], fixed[7], fixed[8], fixed[9]]),
            size: i16::from_be_bytes([fixed[10], fixed[11]]),
            modifier: i32::from_be_bytes([fixed[12], fixed[13], fixed[14], fixed[15]]),
            format: i16::from_be_bytes([fixed[16], fixed[17]]),
        });
        rest = &rest[end + 19..];
    }
    Ok(all)
}

fn cells(body: &[u8]) -> io::Result<Vec<Option<Vec<u8>>>> {
    let short = || io::Error::other("a DataRow is too short");
    let mut rest = body.get(2..).ok_or_else(short)?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let size = int32(rest, 0)?;
        rest = &rest[4..];
        match usize::try_from(size) {
            Err(_) => all.push(None),
            Ok(size) => {
                all.push(Some(rest.get(..size).ok_or_else(short)?.to_vec()));
                rest = &rest[size..];
            }
        }
    }
    Ok(all)
}
