//! A client of the bench's own: blocking, one connection, the simple query protocol, counting instead of decoding where rows are many.
//!
//! It asks every question that pgbench cannot: bulk results, what idle connections cost, and whether answers are right. It authenticates
//! by SCRAM alone and refuses any other way.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use crate::error::BenchError;

/// No answer for so long is a failure.
const PATIENCE: Duration = Duration::from_secs(60);
/// Read from the socket at once.
const ROOM: usize = 256 * 1024;

/// Where and as whom.
#[derive(Debug, Clone)]
pub struct Target {
    /// On 127.0.0.1.
    pub port: u16,
    /// Login.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Database.
    pub database: String,
    /// `options` of the startup packet, where a token travels.
    pub options: Option<String>,
    /// Whether pgbench asks for TLS. This client never does.
    pub tls: bool,
}

/// An open connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

/// A message: its type and where its body lies in the buffer.
struct Frame {
    kind: u8,
    from: usize,
    to: usize,
}

/// One row's cells as text.
pub type Row = Vec<Option<String>>;

/// What a bulk result was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bulk {
    /// Rows.
    pub rows: u64,
    /// Bytes that arrived, frames' heads included.
    pub bytes: u64,
}

impl Client {
    /// Connects and logs in.
    pub fn open(target: &Target) -> Result<Self, BenchError> {
        let doing = "connecting";
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, target.port)).map_err(BenchError::wire(doing))?;
        stream.set_nodelay(true).map_err(BenchError::wire(doing))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(BenchError::wire(doing))?;
        let mut client = Self {
            stream,
            buffer: vec![0; 16 * 1024],
            from: 0,
            to: 0,
        };
        let mut packet = vec![0, 3, 0, 0];
        for (name, value) in [
            ("user", Some(target.user.as_str())),
            ("database", Some(target.database.as_str())),
            ("options", target.options.as_deref()),
        ] {
            if let Some(value) = value {
                packet.extend_from_slice(name.as_bytes());
                packet.push(0);
                packet.extend_from_slice(value.as_bytes());
                packet.push(0);
            }
        }
        packet.push(0);
        let mut framed = length(packet.len());
        framed.extend_from_slice(&packet);
        client.stream.write_all(&framed).map_err(BenchError::wire(doing))?;
        client.log_in(&target.password)?;
        Ok(client)
    }

    fn log_in(&mut self, password: &str) -> Result<(), BenchError> {
        let doing = "logging in";
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let frame = self.next(doing)?;
            let body = self.buffer[frame.from..frame.to].to_vec();
            match frame.kind {
                b'R' => {
                    let (kind, rest) = body
                        .split_first_chunk::<4>()
                        .ok_or_else(|| BenchError::wire(doing)(io::ErrorKind::InvalidData.into()))?;
                    let answer = match i32::from_be_bytes(*kind) {
                        0 => continue,
                        10 => {
                            let first = scram.message();
                            let mut answer = SCRAM_SHA_256.as_bytes().to_vec();
                            answer.push(0);
                            answer.extend(u32::try_from(first.len()).unwrap_or(0).to_be_bytes());
                            answer.extend_from_slice(first);
                            answer
                        }
                        11 => {
                            scram.update(rest).map_err(BenchError::wire(doing))?;
                            scram.message().to_vec()
                        }
                        12 => {
                            scram.finish(rest).map_err(BenchError::wire(doing))?;
                            continue;
                        }
                        other => {
                            return Err(BenchError::wire(doing)(io::Error::other(format!(
                                "asked for authentication {other}, not SCRAM"
                            ))));
                        }
                    };
                    self.send(b'p', &answer, doing)?;
                }
                b'Z' => return Ok(()),
                b'E' => return Err(told("login", &body)),
                _ => {}
            }
        }
    }

    /// All rows of a simple query, of several statements those of all.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>, BenchError> {
        let mut rows = Vec::new();
        self.each(sql, |body| rows.push(cells(body)))?;
        Ok(rows)
    }

    /// The first cell of the only row.
    pub fn scalar(&mut self, sql: &str) -> Result<String, BenchError> {
        let rows = self.query(sql)?;
        match rows.as_slice() {
            [row] => Ok(row.first().cloned().flatten().unwrap_or_default()),
            _ => Err(BenchError::Wrong {
                sql: beginning(sql),
                expected: "one row".to_owned(),
                found: format!("{} rows", rows.len()),
            }),
        }
    }

    /// Every row's body goes to `row`; nothing is kept.
    pub fn each(&mut self, sql: &str, mut row: impl FnMut(&[u8])) -> Result<Bulk, BenchError> {
        let doing = "asking";
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(b'Q', &body, doing)?;
        let mut bulk = Bulk::default();
        let mut failure = None;
        loop {
            let frame = self.next(doing)?;
            bulk.bytes += (frame.to - frame.from + 5) as u64;
            let body = &self.buffer[frame.from..frame.to];
            match frame.kind {
                b'D' => {
                    bulk.rows += 1;
                    row(body);
                }
                b'E' if failure.is_none() => failure = Some(told(sql, body)),
                b'Z' => return failure.map_or(Ok(bulk), Err),
                _ => {}
            }
        }
    }

    fn send(&mut self, kind: u8, body: &[u8], doing: &'static str) -> Result<(), BenchError> {
        let mut frame = vec![kind];
        frame.extend(length(body.len()));
        frame.extend_from_slice(body);
        self.stream.write_all(&frame).map_err(BenchError::wire(doing))
    }

    fn next(&mut self, doing: &'static str) -> Result<Frame, BenchError> {
        loop {
            let held = &self.buffer[self.from..self.to];
            let mut wanted = 5;
            if let Some((head, _)) = held.split_first_chunk::<5>() {
                let total = 1 + u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if held.len() >= total {
                    let frame = Frame {
                        kind: head[0],
                        from: self.from + 5,
                        to: self.from + total,
                    };
                    self.from += total;
                    return Ok(frame);
                }
                wanted = total;
            }
            self.buffer.copy_within(self.from..self.to, 0);
            self.to -= self.from;
            self.from = 0;
            // Grows with the first large result only: an idle connection should weigh little here too.
            if self.to == self.buffer.len() || wanted > self.buffer.len() {
                self.buffer.resize(ROOM.max(wanted), 0);
            }
            let read = self
                .stream
                .read(&mut self.buffer[self.to..])
                .map_err(BenchError::wire(doing))?;
            if read == 0 {
                return Err(BenchError::wire(doing)(io::ErrorKind::UnexpectedEof.into()));
            }
            self.to += read;
        }
    }

    /// Says goodbye, and waits until it was heard, so that the next slice does not pay for it.
    pub fn close(mut self) {
        // Where the other side is gone already there is nobody to tell.
        let _ = self.send(b'X', &[], "leaving");
        let _ = self.stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = self.stream.read(&mut [0; 64]);
    }
}

/// A length word for a body.
fn length(body: usize) -> Vec<u8> {
    u32::try_from(body + 4).unwrap_or(u32::MAX).to_be_bytes().to_vec()
}

/// A DataRow's cells. What does not fit is left out: the comparison with what is expected finds it.
pub fn cells(body: &[u8]) -> Row {
    let mut row = Row::new();
    let mut rest = body.get(2..).unwrap_or_default();
    while let Some((size, more)) = rest.split_first_chunk::<4>() {
        let size = i32::from_be_bytes(*size);
        let Ok(size) = usize::try_from(size) else {
            row.push(None);
            rest = more;
            continue;
        };
        let Some((cell, more)) = more.split_at_checked(size) else {
            break;
        };
        row.push(Some(String::from_utf8_lossy(cell).into_owned()));
        rest = more;
    }
    row
}

fn told(sql: &str, body: &[u8]) -> BenchError {
    let field = |kind: u8| {
        body.split(|b| *b == 0)
            .find_map(|f| f.split_first().filter(|(k, _)| **k == kind).map(|(_, text)| text))
            .map(|text| String::from_utf8_lossy(text).into_owned())
    };
    let hint = field(b'H').map(|h| format!(" ({h})")).unwrap_or_default();
    BenchError::Sql {
        sql: beginning(sql),
        code: field(b'C').unwrap_or_default(),
        message: format!("{}{hint}", field(b'M').unwrap_or_default()),
    }
}

fn beginning(sql: &str) -> String {
    sql.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rows_cells_are_read_and_nothing_beyond_its_end() {
        let body = [0, 2, 0, 0, 0, 2, b'4', b'2', 0xff, 0xff, 0xff, 0xff];
        assert_eq!(cells(&body), [Some("42".to_owned()), None]);
        assert_eq!(cells(&body[..7]), Row::new());
    }

    #[test]
    fn an_errors_words_are_told() {
        let error = told("SELECT 1", b"SERROR\0C42P01\0Mno such thing\0Hmake one\0\0");
        assert_eq!(error.to_string(), "`SELECT 1`: 42P01: no such thing (make one)");
    }
}
