//! The reply queue: every message sent to PostgreSQL leaves an expectation, and every reply is read by the one it belongs to.
//!
//! Promised: replies reach the client in the order of its requests, ours never; what PostgreSQL skips after an error is taken out of the
//! queue as it is there; a reply that fits no expectation ends the session. Rows that nobody must read pass through in pieces, without
//! being held.

use bytes::{Buf, BytesMut};
use postern_rewriter::client_position;
use postern_rewriter::plan::Refusal;

use super::SessionEnd;
use super::engine::Session;
use super::expect::{Execute, Expect, Made, Mode, Settles, To};
use super::follow::{APPLICATION_NAME, put_parameter_status};
use super::link::spare;
use super::rows::RowFault;
use super::scrub::Told;
use crate::wire::frame::{self, HEADER, MAX_UPSTREAM_FRAME};
use crate::wire::message;

/// A reply that must be read as a whole can be no longer.
const MAX_READ: usize = 128 << 20;
/// From so many bytes on rows change hands rather than being copied.
const MOVED: usize = 4096;

type Outcome = Result<(), SessionEnd>;

impl Session {
    /// Processes all replies that are there.
    pub(super) fn take_replies(&mut self) -> Outcome {
        if self.links.upstream.input.is_empty() {
            return Ok(());
        }
        self.links.client.ready_to_write();
        let mut input = std::mem::take(&mut self.links.upstream.input);
        let mut at = 0;
        let outcome = self.process(&mut input, &mut at);
        input.advance(at);
        if input.is_empty() {
            spare(&mut input);
        }
        self.links.upstream.input = input;
        outcome
    }

    fn process(&mut self, input: &mut BytesMut, at: &mut usize) -> Outcome {
        loop {
            if self.passing > 0 {
                let count = self.passing.min(input.len() - *at);
                self.pass(input, at, count);
                self.passing -= count;
                if self.passing > 0 {
                    return Ok(());
                }
            }
            let rest = &input[*at..];
            let Some(head) = frame::head(rest, MAX_UPSTREAM_FRAME).map_err(|_| SessionEnd::UpstreamProtocol)? else {
                return Ok(());
            };
            if head.kind == b'D' && self.rows_pass() || head.kind == b'd' && self.copies_out() {
                let (count, there) = (rows_in(rest, head.kind), rest.len());
                self.count_result(count)?;
                self.pass(input, at, count.min(there));
                self.passing = count.saturating_sub(there);
                continue;
            }
            if rest.len() < head.total {
                if head.total > MAX_READ {
                    tracing::warn!(
                        bytes = head.total,
                        "PostgreSQL sent a row with protected columns that is too large to be read"
                    );
                    return Err(SessionEnd::TooLarge);
                }
                return Ok(());
            }
            self.reply(head.kind, &rest[..head.total])?;
            *at += head.total;
            self.say_what_is_due();
        }
    }

    /// Relays `count` bytes from `at` on; many of them without copying.
    fn pass(&mut self, input: &mut BytesMut, at: &mut usize, count: usize) {
        if !self.passes_to_client() {
            *at += count;
        } else if count >= MOVED && self.links.client.output.is_empty() {
            input.advance(std::mem::take(at));
            spare(&mut self.links.client.output);
            self.links.client.output = input.split_to(count);
        } else {
            self.links.client.output.extend_from_slice(&input[*at..*at + count]);
            *at += count;
        }
    }

    fn passes_to_client(&self) -> bool {
        !self.mute
            && match self.queue.front() {
                Some(Expect::Execute(execute)) => matches!(execute.mode, Mode::Tell | Mode::Count),
                _ => true,
            }
    }

    /// Whether rows now need no reading.
    fn rows_pass(&self) -> bool {
        match self.queue.front() {
            Some(Expect::Execute(execute)) => {
                matches!(execute.mode, Mode::Drop | Mode::Strict)
                    || (execute.reading.is_none() && execute.mode != Mode::Collect)
                    || self.mute
            }
            Some(Expect::Query(_)) => true,
            _ => false,
        }
    }

    fn reply(&mut self, kind: u8, whole: &[u8]) -> Outcome {
        let body = &whole[HEADER..];
        if matches!(self.queue.front(), Some(Expect::OwnQuery)) && matches!(kind, b'T' | b'D' | b'C' | b'I') {
            return Ok(());
        }
        match kind {
            b'S' => self.parameter_status(body),
            b'N' => self.notice(body),
            b'A' => self.notification(body),
            b'G' => self.copy_in_response(whole),
            b'H' | b'd' | b'c' => self.copy_out(whole),
            b'E' => self.error(body),
            b'Z' => self.ready_for_query(body),
            b'1' => match self.queue.pop_front() {
                Some(Expect::Parse { to, settle, made }) => {
                    if settle {
                        self.settle(Some(Settles::Statement), true);
                    }
                    self.made(made, true);
                    self.tell(to, whole);
                    Ok(())
                }
                _ => Err(SessionEnd::UpstreamProtocol),
            },
            b'2' | b'3' | b'n' if self.passes_over(kind) => Ok(()),
            b'2' => match self.queue.pop_front() {
                Some(Expect::Bind { to, settle }) => {
                    if settle {
                        self.settle(Some(Settles::Portal), true);
                    }
                    self.tell(to, whole);
                    Ok(())
                }
                _ => Err(SessionEnd::UpstreamProtocol),
            },
            b'3' => match self.queue.pop_front() {
                Some(Expect::Close { to, settle, .. }) => {
                    self.settle(settle, true);
                    self.tell(to, whole);
                    Ok(())
                }
                _ => Err(SessionEnd::UpstreamProtocol),
            },
            b't' => self.parameter_description(body, whole),
            b'T' | b'n' => self.row_description(kind, body, whole),
            b'D' => self.data_row(body),
            b'C' | b'I' | b's' => self.complete(kind, body, whole),
            // Everything else was never asked for.
            _ => Err(SessionEnd::UpstreamProtocol),
        }
    }

    /// Relays what is the client's.
    pub(super) fn tell(&mut self, to: To, whole: &[u8]) {
        if to == To::Client && !self.mute {
            self.links.client.output.extend_from_slice(whole);
        }
    }

    /// A Parse succeeded, or failed or was skipped.
    fn made(&mut self, made: Made, came_true: bool) {
        let memory = self.memory();
        match made {
            Made::Own(own) => memory.parsed[own as usize] |= came_true,
            Made::Judged(key, number) | Made::Tried(key, number) => memory.prepared.settle(key, number, came_true),
        }
    }

    fn settle(&mut self, which: Option<Settles>, came_true: bool) {
        match which {
            Some(Settles::Statement) => drop(self.statements.settle(came_true)),
            Some(Settles::Portal) => {
                // A cursor of that name is gone: PostgreSQL has one portal of a name, or none now.
                if let Some(name) = self.portals.settle(came_true) {
                    self.cursors.set(name, None);
                }
            }
            None => {}
        }
    }

    fn parameter_status(&mut self, body: &[u8]) -> Outcome {
        let (name, value) = message::parameter_status(body).map_err(|_| SessionEnd::UpstreamProtocol)?;
        self.settings.reported(name, value);
        if let Some(server) = &mut self.links.server {
            server.memory.told = None;
            match server.parameters.iter_mut().find(|(n, _)| n == name) {
                Some((_, known)) => value.clone_into(known),
                None => server.parameters.push((name.to_owned(), value.to_owned())),
            }
        }
        // RESET brings back the name that the connection began with, which is ours; for the client it is the name that it came with.
        let value = match &self.start_name {
            Some(start) if name == APPLICATION_NAME && value.strip_prefix("postern:") == Some(self.login.module.as_str()) => {
                start
            }
            _ => value,
        };
        if !self.client_gone && !self.told.iter().any(|(n, v)| n == name && v == value) {
            let mut told = self.told.to_vec();
            match told.iter_mut().find(|(n, _)| n == name) {
                Some((_, known)) => value.clone_into(known),
                None => told.push((name.to_owned(), value.to_owned())),
            }
            put_parameter_status(&mut self.links.client.output, name, value);
            self.told = told.into();
        }
        Ok(())
    }

    fn notice(&mut self, body: &[u8]) -> Outcome {
        if self.client_gone || self.trying() || matches!(self.queue.front(), Some(Expect::OwnQuery)) {
            return Ok(());
        }
        let told = Told::read(body, self.schema(), self.told_whole()).map_err(|_| SessionEnd::UpstreamProtocol)?;
        if told.is_below_notice() {
            return Ok(());
        }
        told.put(&mut self.links.client.output, b'N')
            .map_err(|_| SessionEnd::UpstreamProtocol)
    }

    fn error(&mut self, body: &[u8]) -> Outcome {
        let mut told = Told::read(body, self.schema(), self.told_whole()).map_err(|_| SessionEnd::UpstreamProtocol)?;
        if told.is_fatal() {
            self.said_last = told.put(&mut self.links.client.output, b'E').is_ok();
            return Err(SessionEnd::Upstream);
        }
        self.entry_lost |= told.entry_lost;
        if self.trying() {
            self.tried_in_vain(&told);
            return Ok(());
        }
        if self.outdated(&told) {
            return Ok(());
        }
        self.identities.failed();
        self.copying = false;
        self.audit_broken_off();
        if let Some(Expect::Query(batch)) = self.queue.front()
            && batch.asked == self.asked.number
        {
            told.as_asked(&self.asked.text, self.schema());
            if let (Some(position), Some(sent)) = (told.position, batch.sent.text())
                && let Some(position) = client_position(&self.asked.text, &sent, position)
            {
                told.at(position);
            }
        }
        let to = match self.queue.front() {
            Some(Expect::Query(_)) => To::Client,
            Some(Expect::OwnQuery) => To::Ourselves,
            Some(Expect::Sync { to } | Expect::Parse { to, .. } | Expect::Bind { to, .. } | Expect::Close { to, .. }) => *to,
            Some(Expect::Describe(describe)) => describe.to,
            Some(Expect::Execute(execute)) => match execute.mode {
                Mode::Tell | Mode::Count => To::Client,
                Mode::Collect => To::Ourselves,
                Mode::Drop => To::Nobody,
                Mode::Strict => To::Strict,
            },
            Some(Expect::Say { .. } | Expect::Ready) | None => return Err(SessionEnd::UpstreamProtocol),
        };
        match to {
            To::Client | To::Quiet if self.mute => {}
            To::Client | To::Quiet => {
                self.shared.metrics.refusal("database");
                told.put(&mut self.links.client.output, b'E')
                    .map_err(|_| SessionEnd::UpstreamProtocol)?;
            }
            To::Ourselves => self.answer.error = Some(Box::new(told)),
            To::Nobody => {}
            To::Strict => return Err(SessionEnd::Internal),
        }
        if !matches!(self.queue.front(), Some(Expect::Query(_) | Expect::OwnQuery)) {
            self.skip_to_sync();
        }
        self.copy_over();
        Ok(())
    }

    /// PostgreSQL skips every message up to Sync after an error.
    pub(super) fn skip_to_sync(&mut self) {
        loop {
            match self.queue.front() {
                Some(Expect::Sync { .. }) => return,
                None => {
                    self.discarding = true;
                    return;
                }
                Some(_) => {}
            }
            match self.queue.pop_front() {
                Some(Expect::Parse { settle, made, .. }) => {
                    self.made(made, false);
                    if settle {
                        self.settle(Some(Settles::Statement), false);
                    }
                }
                Some(Expect::Bind { settle: true, .. }) => self.settle(Some(Settles::Portal), false),
                Some(Expect::Close { settle, number, .. }) => {
                    self.settle(settle, false);
                    if let Some(number) = number {
                        self.memory().prepared.not_closed(number);
                    }
                }
                Some(Expect::Say { bytes, settle }) => {
                    self.due -= bytes.len();
                    self.settle(settle, false);
                }
                _ => {}
            }
        }
    }

    fn ready_for_query(&mut self, body: &[u8]) -> Outcome {
        let status = message::ready_for_query(body).map_err(|_| SessionEnd::UpstreamProtocol)?;
        // A statement that failed has taken nothing from the next one.
        self.result_bytes = 0;
        let to = match self.queue.pop_front() {
            Some(Expect::Sync { to }) => to,
            Some(Expect::OwnQuery) => To::Ourselves,
            Some(Expect::Query(batch)) => match self.sent_as_it_is(batch)? {
                Some(batch) => {
                    self.shared.metrics.query("simple", batch.started.elapsed());
                    To::Client
                }
                None => return Ok(()),
            },
            _ => return Err(SessionEnd::UpstreamProtocol),
        };
        if to != To::Nobody {
            self.zone.unsure = false;
        }
        if to != To::Client {
            // The end of an exchange of ours is not the end of what the client has open.
            self.status = status;
            if std::mem::take(&mut self.tell_later) {
                if let Some(server) = &self.links.server {
                    self.cancel.attach(server.cancel);
                }
                self.tell_parameters();
            }
            return Ok(());
        }
        let failed = std::mem::take(&mut self.mute);
        self.now_ready(status);
        if failed && status == b'T' {
            // A row failed after the client's Sync was under way: the transaction must not go on as if it had not.
            if self.open || !self.queue.is_empty() {
                return Err(SessionEnd::Integrity);
            }
            self.abort().map_err(|_| SessionEnd::Internal)?;
            self.put_sync(To::Client);
            return Ok(());
        }
        message::put_ready(&mut self.links.client.output, status);
        Ok(())
    }

    /// A row that must be read: to open its envelopes, or because we asked for it.
    fn data_row(&mut self, body: &[u8]) -> Outcome {
        let Some(Expect::Execute(execute)) = self.queue.front() else {
            return Err(SessionEnd::UpstreamProtocol);
        };
        if execute.mode == Mode::Collect {
            self.answer.push(body);
            return Ok(());
        }
        if execute.reading.is_none() {
            return Err(SessionEnd::UpstreamProtocol);
        }
        self.count_result(body.len())?;
        if self.mute {
            return Ok(());
        }
        let Some(Expect::Execute(Execute {
            reading: Some(reading), ..
        })) = self.queue.front()
        else {
            return Err(SessionEnd::UpstreamProtocol);
        };
        let mut fields = self.scratch.fields();
        let read = message::data_row(body, &mut fields).map_err(RowFault::from).and_then(|()| {
            reading.row(
                &fields,
                self.settings.format(),
                &mut self.scratch,
                &mut self.links.client.output,
            )
        });
        self.scratch.keep(fields);
        match read {
            Ok(opened) => {
                if opened > 0 {
                    self.shared.metrics.opened(opened);
                }
                Ok(())
            }
            Err(fault) => self.row_failed(&fault),
        }
    }

    /// A row failed: the client gets an error in place of the rest, the statement's transaction is made to fail.
    fn row_failed(&mut self, fault: &RowFault) -> Outcome {
        let refusal = self.fault_refusal(fault);
        self.rows_refused(&refusal)
    }

    pub(super) fn rows_refused(&mut self, refusal: &Refusal) -> Outcome {
        self.put_refusal(refusal);
        self.identities.failed();
        self.mute = true;
        let ends = self.queue.iter().any(|e| matches!(e, Expect::Sync { .. } | Expect::Query(_)));
        if !ends {
            self.abort().map_err(|_| SessionEnd::Internal)?;
            self.discarding = true;
        }
        Ok(())
    }

    /// Says what of ours has come to the front of the queue.
    pub(super) fn say_what_is_due(&mut self) {
        loop {
            match self.queue.front() {
                Some(Expect::Say { .. } | Expect::Ready) => {}
                _ => return,
            }
            match self.queue.pop_front() {
                Some(Expect::Say { bytes, settle }) => {
                    self.due -= bytes.len();
                    self.settle(settle, true);
                    if !self.mute {
                        self.links.client.hold(&bytes);
                    }
                }
                Some(Expect::Ready) => {
                    self.mute = false;
                    let status = self.status;
                    self.now_ready(status);
                    message::put_ready(&mut self.links.client.output, status);
                }
                _ => return,
            }
        }
    }
}

/// Bytes of the rows that `input` begins with; the last one may reach beyond it.
fn rows_in(input: &[u8], kind: u8) -> usize {
    let mut at = 0;
    while at < input.len() {
        match frame::head(&input[at..], MAX_UPSTREAM_FRAME) {
            Ok(Some(head)) if head.kind == kind => at += head.total,
            _ => break,
        }
    }
    at
}
