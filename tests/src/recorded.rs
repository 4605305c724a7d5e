//! Everything that a client receives, byte for byte, message for message.

use crate::connection::{Connection, Failure};
use crate::message::{ErrorFields, Frame, bind_body, cells, cstring, error_fields, message, parse_body};

/// What is sent, up to the one ReadyForQuery that ends its answer.
#[derive(Debug, Clone)]
pub struct Step {
    /// What it is, for whoever reads a failure: its SQL.
    pub sql: String,
    /// How it is sent.
    pub how: How,
    /// Its rows come in one order only.
    pub ordered: bool,
}

/// The ways of sending a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Query.
    Simple,
    /// Parse, Describe, Bind, Describe, Execute, Sync; parameters in text, results in this format.
    Extended(Vec<Option<String>>, i16),
    /// The same with a row limit on each of three Executes: the portal is suspended in between.
    Portal,
    /// Query, and these lines where the server waits for a COPY's data.
    Copy(String),
}

impl Step {
    /// By the simple protocol.
    pub fn simple(sql: &str, ordered: bool) -> Self {
        Self {
            sql: sql.to_owned(),
            how: How::Simple,
            ordered,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let begin = |parameters: &[Option<Vec<u8>>], results| {
            let mut out = message(b'P', &parse_body("", &self.sql, &[]));
            out.extend(message(b'D', b"S\0"));
            out.extend(message(b'B', &bind_body("", "", parameters, 0, results)));
            out.extend(message(b'D', b"P\0"));
            out
        };
        match &self.how {
            How::Simple | How::Copy(_) => message(b'Q', &cstring(&self.sql)),
            How::Extended(parameters, results) => {
                let cells: Vec<Option<Vec<u8>>> = parameters.iter().map(|p| p.clone().map(String::into_bytes)).collect();
                let mut out = begin(&cells, *results);
                out.extend(message(b'E', b"\0\0\0\0\0"));
                out.extend(message(b'S', b""));
                out
            }
            How::Portal => {
                let mut out = begin(&[], 0);
                for rows in [1_i32, 2, 0] {
                    let mut body = cstring("");
                    body.extend(rows.to_be_bytes());
                    out.extend(message(b'E', &body));
                }
                out.extend(message(b'S', b""));
                out
            }
        }
    }
}

/// The messages of an answer, ReadyForQuery included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer(pub Vec<Frame>);

impl Answer {
    /// Sends a step and records what comes. Rows in no order of their own are sorted; a COPY that the step has no lines for is failed.
    pub fn record(c: &mut Connection, step: &Step) -> Result<Self, Failure> {
        c.send_raw(&step.bytes())?;
        let mut frames = Vec::new();
        loop {
            let frame = c.receive()?;
            if frame.kind == b'G' {
                match &step.how {
                    How::Copy(lines) => {
                        c.send(b'd', lines.as_bytes())?;
                        c.send(b'c', b"")?;
                    }
                    _ => c.send(b'f', &cstring("nothing is loaded"))?,
                }
            }
            let last = frame.kind == b'Z';
            frames.push(frame);
            if last {
                break;
            }
        }
        let mut answer = Self(frames);
        if !step.ordered {
            answer.sort_rows();
        }
        Ok(answer)
    }

    fn sort_rows(&mut self) {
        // PortalSuspended between rows is part of the answer; which rows came before it is chance where there is no order.
        let is_row = |f: &Frame| matches!(f.kind, b'D' | b'd');
        let mut rows: Vec<Frame> = self.0.iter().filter(|f| is_row(f)).cloned().collect();
        rows.sort_by(|a, b| a.body.cmp(&b.body));
        let mut sorted = rows.into_iter();
        for frame in self.0.iter_mut().filter(|f| is_row(f)) {
            *frame = sorted.next().expect("as many as before");
        }
    }

    /// The error, if there is one.
    pub fn error(&self) -> Option<ErrorFields> {
        self.0.iter().find(|f| f.kind == b'E').map(|f| error_fields(&f.body))
    }

    /// The command tag, if there is one.
    pub fn tag(&self) -> Option<String> {
        let frame = self.0.iter().find(|f| f.kind == b'C')?;
        Some(String::from_utf8_lossy(&frame.body).trim_end_matches('\0').to_owned())
    }

    /// How many rows came.
    pub fn rows(&self) -> usize {
        self.0.iter().filter(|f| f.kind == b'D').count()
    }

    /// Where two answers part, for people.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self == other {
            return None;
        }
        let at = self.0.iter().zip(&other.0).position(|(a, b)| a != b);
        let at = at.unwrap_or(self.0.len().min(other.0.len()));
        let show = |all: &[Frame]| all.get(at).map_or_else(|| "nothing more".to_owned(), readable);
        Some(format!("message {at}: {}\n    became   {}", show(&self.0), show(&other.0)))
    }
}

fn readable(frame: &Frame) -> String {
    let mut text = match frame.kind {
        b'E' | b'N' => format!("{:?}", error_fields(&frame.body).0),
        b'D' => match cells(&frame.body) {
            Ok(cells) => {
                let cell = |c: Option<Vec<u8>>| c.map_or_else(|| "NULL".to_owned(), |b| b.escape_ascii().to_string());
                cells.into_iter().map(cell).collect::<Vec<_>>().join(" | ")
            }
            Err(_) => frame.body.escape_ascii().to_string(),
        },
        _ => frame.body.escape_ascii().to_string(),
    };
    if let Some((end, _)) = text.char_indices().nth(400) {
        text.truncate(end);
        text.push('…');
    }
    format!("{} {text}", char::from(frame.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kinds: &[(u8, &str)]) -> Answer {
        let frame = |(kind, body): &(u8, &str)| Frame {
            kind: *kind,
            body: body.as_bytes().to_vec(),
        };
        Answer(kinds.iter().map(frame).collect())
    }

    /// One byte, one message, a notice or a tag more or less is another answer; the order of rows alone is not.
    #[test]
    fn each_byte_counts() {
        let sorted = |kinds: &[(u8, &str)]| {
            let mut answer = answer(kinds);
            answer.sort_rows();
            answer
        };
        let base = [(b'T', "a"), (b'D', "1"), (b'D', "2"), (b'C', "SELECT 2"), (b'Z', "I")];
        let same = [base[0], base[2], base[1], base[3], base[4]];
        assert_eq!(sorted(&base).difference(&sorted(&same)), None);
        for other in [
            vec![base[0], base[1], base[1], base[3], base[4]],
            vec![base[0], base[1], base[2], (b'C', "SELECT 3"), base[4]],
            vec![base[0], base[1], base[2], base[3], (b'Z', "T")],
            vec![base[0], base[1], base[2], (b'N', "x"), base[3], base[4]],
            vec![base[0], base[1], base[2], (b'E', "x"), base[4]],
            vec![(b'T', "b"), base[1], base[2], base[3], base[4]],
            base[..4].to_vec(),
        ] {
            assert!(sorted(&base).difference(&sorted(&other)).is_some(), "{other:?}");
        }
    }
}
