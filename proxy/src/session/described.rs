//! ParameterDescription and RowDescription as the client must see them.

use bytes::BytesMut;

use super::SessionEnd;
use super::engine::Session;
use super::expect::{Expect, Params, Rows};
use super::rows::{self, DescribeFault};
use super::statement::output;
use crate::wire::message::{self, Format};

type Outcome = Result<(), SessionEnd>;

impl Session {
    pub(super) fn parameter_description(&mut self, body: &[u8], whole: &[u8]) -> Outcome {
        let Some(Expect::Describe(describe)) = self.queue.front_mut() else {
            return Err(SessionEnd::UpstreamProtocol);
        };
        let params = std::mem::replace(&mut describe.params, Params::None);
        let read = || message::parameter_description(body).map_err(|_| SessionEnd::UpstreamProtocol);
        let types = match params {
            Params::None => return Err(SessionEnd::UpstreamProtocol),
            Params::Drop => return Ok(()),
            Params::Keep => {
                self.kept_types = read()?;
                return Ok(());
            }
            Params::Pass => {
                let to = describe.to;
                self.tell(to, whole);
                return Ok(());
            }
            Params::Empty => Vec::new(),
            Params::Tell(stmt) => stmt.described(std::mem::take(&mut self.kept_types), read()?),
        };
        if !self.mute {
            message::put_parameter_description(&mut self.links.client.output, &types).map_err(|_| SessionEnd::Internal)?;
        }
        Ok(())
    }

    pub(super) fn row_description(&mut self, kind: u8, body: &[u8], whole: &[u8]) -> Outcome {
        let describe = match self.queue.pop_front() {
            Some(Expect::Describe(describe)) => describe,
            Some(batch @ Expect::Query(_)) if kind == b'T' => {
                self.queue.push_front(batch);
                self.links.client.output.extend_from_slice(whole);
                return Ok(());
            }
            _ => return Err(SessionEnd::UpstreamProtocol),
        };
        let shown = !self.mute;
        match describe.rows {
            Rows::Drop => Ok(()),
            Rows::NoData => {
                let mut none = BytesMut::new();
                message::put_bare(&mut none, b'n');
                self.tell(describe.to, &none);
                Ok(())
            }
            _ if kind == b'n' => {
                // A simple query says nothing where there are no rows.
                self.tell(describe.to, whole);
                Ok(())
            }
            Rows::Pass => {
                if shown {
                    self.links.client.output.extend_from_slice(whole);
                }
                Ok(())
            }
            Rows::Portal(reading) => {
                let mut unseen = BytesMut::new();
                let out = if shown { &mut self.links.client.output } else { &mut unseen };
                reading.describe(body, out).map_err(|fault| match fault {
                    DescribeFault::Theirs => SessionEnd::UpstreamProtocol,
                    DescribeFault::Ours => SessionEnd::Internal,
                })
            }
            Rows::Copy(reading) => {
                let columns = message::row_description(body).map_err(|_| SessionEnd::UpstreamProtocol)?;
                let mut unseen = BytesMut::new();
                let out = if shown { &mut self.links.client.output } else { &mut unseen };
                reading.begin_copy(&columns, out).map_err(|_| SessionEnd::Internal)
            }
            Rows::Formats(formats) => {
                let mut columns = message::row_description(body).map_err(|_| SessionEnd::UpstreamProtocol)?;
                for (i, column) in columns.iter_mut().enumerate() {
                    column.format = formats.of(i);
                }
                if shown {
                    message::put_row_description(&mut self.links.client.output, &columns).map_err(|_| SessionEnd::Internal)?;
                }
                Ok(())
            }
            Rows::Statement(plan) => {
                let columns = message::row_description(body).map_err(|_| SessionEnd::UpstreamProtocol)?;
                let output = output(&plan).ok_or(SessionEnd::Internal)?;
                let formats = vec![Format::Text; output.visible.len()];
                let mut unseen = BytesMut::new();
                let out = if shown { &mut self.links.client.output } else { &mut unseen };
                rows::describe(output, &formats, columns, out).map_err(|_| SessionEnd::Internal)
            }
        }
    }
}
