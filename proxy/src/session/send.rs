//! What is sent to PostgreSQL, each message with its expectation, and what is said to the client in its turn.

use bytes::{Bytes, BytesMut};
use postern_rewriter::plan::Refusal;

use super::ask::too_long;
use super::engine::Session;
use super::expect::{Execute, Expect, Settles, To};
use super::refuse::put_refusal;
use super::server::Name;
use super::stop::Stop;
use crate::wire::message::{self, MessageError, Target};

impl Session {
    pub(super) fn expect(&mut self, expect: Expect) {
        self.flushed = false;
        if matches!(expect, Expect::Query(_) | Expect::OwnQuery) {
            self.memory().prepared.forget_unnamed();
        }
        match expect {
            Expect::Sync { .. } | Expect::Query(_) | Expect::OwnQuery => {
                if self.constants_moved {
                    // What was set for the transaction may end here.
                    self.constants_move();
                }
                self.open = false;
                self.executed = false;
                self.group += 1;
            }
            Expect::Say { ref bytes, .. } => self.due += bytes.len(),
            Expect::Ready => {}
            Expect::Execute(_) => {
                self.open = true;
                self.executed = true;
            }
            _ => self.open = true,
        }
        self.queue.push_back(expect);
        if self.queue.len() == 1 {
            self.say_what_is_due();
        }
    }

    pub(super) fn put_sync(&mut self, to: To) {
        message::put_bare(&mut self.links.upstream.output, b'S');
        self.expect(Expect::Sync { to });
    }

    pub(super) fn put_execute(&mut self, portal: &str, rows: i32, execute: Execute) {
        message::put_execute(&mut self.links.upstream.output, portal, rows).expect("a portal's name fits a message");
        self.expect(Expect::Execute(execute));
    }

    pub(super) fn put_close(&mut self, target: Target<'_>, to: To) -> Result<(), Stop> {
        message::put_target(&mut self.links.upstream.output, b'C', target).map_err(too_long)?;
        self.expect(Expect::Close {
            to,
            settle: None,
            number: None,
        });
        Ok(())
    }

    /// Closes a judged statement on the connection.
    pub(super) fn put_close_judged(&mut self, number: u32, to: To) -> Result<(), Stop> {
        let name = Name::new(number);
        message::put_target(&mut self.links.upstream.output, b'C', Target::Statement(name.as_str())).map_err(too_long)?;
        self.expect(Expect::Close {
            to,
            settle: None,
            number: Some(number),
        });
        Ok(())
    }

    /// Says something of ours when it is its turn.
    pub(super) fn say(
        &mut self,
        settle: Option<Settles>,
        write: impl FnOnce(&mut BytesMut) -> Result<(), MessageError>,
    ) -> Result<(), Stop> {
        let mut bytes = BytesMut::new();
        write(&mut bytes).map_err(too_long)?;
        self.expect(Expect::Say {
            bytes: bytes.freeze(),
            settle,
        });
        Ok(())
    }

    /// Says a message without a body.
    pub(super) fn say_bare(&mut self, kind: u8, settle: Option<Settles>) {
        let bytes = match kind {
            b'1' => Bytes::from_static(b"1\0\0\0\x04"),
            b'2' => Bytes::from_static(b"2\0\0\0\x04"),
            b'3' => Bytes::from_static(b"3\0\0\0\x04"),
            _ => Bytes::copy_from_slice(&[kind, 0, 0, 0, 4]),
        };
        self.expect(Expect::Say { bytes, settle });
    }

    /// Appends ErrorResponse.
    pub(super) fn put_refusal(&mut self, refusal: &Refusal) {
        put_refusal(&mut self.links.client.output, "ERROR", refusal);
    }
}
