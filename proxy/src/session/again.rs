//! Statements of the simple protocol that come again: prepared on the connection, their literals as parameters.
//!
//! PostgreSQL reads and plans a Query each time; what is prepared it only runs. So a text that has a template
//! ([`postern_rewriter::template`]), or no literals at all, is prepared when it is next seen on a connection, and from then on bound and run.
//!
//! Promised: the client notices nothing. The text is tried out ahead of its first use, outside of any transaction, in an exchange of its
//! own; where PostgreSQL does not take it with parameters, it goes as it is from then on. Where what is prepared has become outdated (a
//! column's type was changed), PostgreSQL says so before it runs anything: the text goes once more, as it is. Only in a transaction, which
//! has failed by then, is the client told. What is bound is a judged text, found for these very bytes but for its literals, and the literals
//! are values of their own that no scanner reads again.

use std::sync::Arc;

use bytes::BufMut;
use postern_rewriter::plan::{Effect, Plan, Rewritten, Run};
use postern_rewriter::template::{Masked, Template};

use super::SessionEnd;
use super::ask::too_long;
use super::engine::Session;
use super::expect::{Batch, Expect, Made, To};
use super::scrub::Told;
use super::server::{Found, Key, Name, Step};
use super::simple::Sent;
use super::stop::Stop;
use crate::wire::message;

/// A statement that the connection has prepared, and values for it.
pub(super) struct Bound {
    /// Its plan: what it does, and to whom it matters.
    pub plan: Arc<Plan>,
    /// What stands on the connection.
    pub key: Key,
    number: u32,
    /// How many values a Bind gives, and the values.
    pub arguments: Box<[u8]>,
    /// The same with literals.
    text: Text,
    /// BindComplete has come: it runs.
    pub runs: bool,
    /// Why it does not, where it is to be sent as it is instead.
    pub outdated: Option<Box<Told>>,
}

enum Text {
    /// Of a template.
    Filled(Rewritten),
    /// The plan's own.
    Own,
}

impl Bound {
    /// Its name on the connection.
    pub(super) fn name(&self) -> Name {
        Name::new(self.number)
    }

    /// The statement as it is, to be sent as a Query.
    pub(super) fn as_it_is(self) -> Sent {
        match self.text {
            Text::Filled(text) => Sent::Filled(self.plan, text),
            Text::Own => Sent::Plans([self.plan].into()),
        }
    }
}

impl Session {
    /// The template's statement with these literals, where the connection has it prepared. Where it does not, it may have it next time.
    pub(super) fn bound(&mut self, template: &Template, masked: &Masked) -> Option<Bound> {
        let (prepared, types) = template.prepared()?;
        let (key, number) = self.prepared_again(prepared, types)?;
        let arguments = template.arguments(masked);
        let mut bytes = Vec::with_capacity(64);
        bytes.put_u16(u16::try_from(arguments.len()).ok()?);
        for (sign, value) in arguments {
            bytes.put_i32(i32::try_from(sign.len() + value.len()).ok()?);
            bytes.put_slice(sign.as_bytes());
            bytes.put_slice(value.as_bytes());
        }
        Some(Bound {
            plan: template.plan().clone(),
            key,
            number,
            arguments: bytes.into(),
            text: Text::Filled(template.fill_plain(masked)?),
            runs: false,
            outdated: None,
        })
    }

    /// The same for a text without literals.
    pub(super) fn bound_as_it_is(&mut self, plan: &Arc<Plan>) -> Option<Bound> {
        let Run::Once(statement) = &plan.run else { return None };
        let text = statement.sql.sql();
        // Other statements cannot be prepared, or gain nothing. Deparsed text begins with its keyword.
        let serves = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "]
            .iter()
            .any(|k| text.starts_with(k));
        let plain = statement.params.is_empty() && statement.generate.is_empty() && statement.output.is_none();
        if !(serves && plain && plan.effect == Effect::None) {
            return None;
        }
        let (key, number) = self.prepared_again(plan, &[])?;
        Some(Bound {
            plan: plan.clone(),
            key,
            number,
            arguments: Box::new([0, 0]),
            text: Text::Own,
            runs: false,
            outdated: None,
        })
    }

    fn prepared_again(&mut self, plan: &Arc<Plan>, types: &[u32]) -> Option<(Key, u32)> {
        if !self.pool.prepares_simple() || self.links.server.is_none() {
            return None;
        }
        let group = self.group;
        match self.memory().prepared.find(plan, Step::Main, types, group) {
            Found::There(number) => return Some((Key::new(plan, Step::Main), number)),
            Found::Unsure | Found::Unfit => {}
            Found::Missing if self.in_transaction() || !self.queue.is_empty() => {}
            // Nothing of it can be wrong but its length; then it is not tried.
            Found::Missing => drop(self.try_out(plan, types)),
        }
        None
    }

    /// BindComplete or NoData of what runs bound; the client did not ask for them.
    pub(super) fn passes_over(&mut self, kind: u8) -> bool {
        let Some(Expect::Query(batch)) = self.queue.front_mut() else {
            return false;
        };
        match &mut batch.sent {
            Sent::Bound(bound) => {
                bound.runs |= kind == b'2';
                matches!(kind, b'2' | b'n')
            }
            Sent::Plans(_) | Sent::Filled(..) => false,
        }
    }

    /// Whether an error says that what is prepared has become outdated, so that it is not for the client: the text follows as it is.
    pub(super) fn outdated(&mut self, told: &Told) -> bool {
        let (alone, status) = (self.queue.len() == 1, self.status);
        let Some(Expect::Query(batch)) = self.queue.front_mut() else {
            return false;
        };
        let Sent::Bound(bound) = &mut batch.sent else { return false };
        let code = told.sqlstate();
        // "cached plan must not change result type"; or an operator, function or column that is not there for types that were once inferred.
        if bound.runs || !(code == "0A000" || code.starts_with("42") && code != "42501") {
            return false;
        }
        let key = bound.key;
        let again = alone && status == b'I';
        if again {
            bound.outdated = Some(Box::new(told.clone()));
        }
        self.memory().prepared.forget(&key);
        again
    }

    /// ReadyForQuery after [`Session::outdated`]: sends the text as it is. Gives the batch back where something else was sent meanwhile,
    /// which it must not follow.
    pub(super) fn sent_as_it_is(&mut self, batch: Box<Batch>) -> Result<Option<Box<Batch>>, SessionEnd> {
        let outdated = matches!(&batch.sent, Sent::Bound(bound) if bound.outdated.is_some());
        if !outdated {
            return Ok(Some(batch));
        }
        let Batch {
            sent, identity, started, ..
        } = *batch;
        let Sent::Bound(mut bound) = sent else {
            return Err(SessionEnd::Internal);
        };
        if !self.queue.is_empty() || self.open {
            let told = bound.outdated.take().ok_or(SessionEnd::Internal)?;
            self.identities.failed();
            told.put(&mut self.links.client.output, b'E')
                .map_err(|_| SessionEnd::Internal)?;
            let sent = Sent::Bound(bound);
            return Ok(Some(Box::new(Batch {
                sent,
                at: 0,
                identity,
                started,
            })));
        }
        let sent = bound.as_it_is();
        sent.put(&mut self.links.upstream.output).map_err(|_| SessionEnd::Internal)?;
        self.expect(Expect::Query(Box::new(Batch {
            sent,
            at: 0,
            identity,
            started,
        })));
        Ok(None)
    }

    /// Sends its Parse in an exchange of its own. Nobody waits for the answer.
    fn try_out(&mut self, plan: &Arc<Plan>, types: &[u32]) -> Result<(), Stop> {
        let group = self.group;
        let (key, number, close) = self.memory().prepared.add(plan, Step::Main, types, group, true);
        for old in close {
            self.put_close_judged(old)?;
        }
        let Run::Once(statement) = &plan.run else {
            return Err(SessionEnd::Internal.into());
        };
        let name = Name::new(number);
        let put = message::put_parse(&mut self.links.upstream.output, name.as_str(), &statement.sql, types);
        if let Err(error) = put {
            self.memory().prepared.unfit(key, number);
            return Err(too_long(error));
        }
        self.expect(Expect::Parse {
            to: To::Nobody,
            settle: false,
            made: Made::Tried(key, number),
        });
        self.put_sync(To::Nobody);
        Ok(())
    }
}
