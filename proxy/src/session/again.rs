//! Statements of the simple protocol that come again: prepared on the connection, their literals as parameters.
//!
//! PostgreSQL reads and plans a Query each time; what is prepared it only runs. So a text that has a template
//! ([`postern_rewriter::template`]), or no literals at all, is prepared when it is next seen on a connection, and from then on bound and run.
//!
//! Promised: the client notices nothing. Only a SELECT is prepared so, outside of a superadmin's sessions, and only while nothing else is
//! under way. The text is tried out behind a Query that had to go as it is, outside of any transaction, in an exchange of its own; where
//! PostgreSQL does not take it with parameters, it goes on going as it is. Where Bind fails (a column's type was changed, so that what is
//! prepared is outdated; a literal that its type does not take), nothing has run, and the text goes once more as it is; only in a
//! transaction, which has failed by then, is the client told at once. What is prepared serves for [`SERVES`], so that types that were
//! inferred then do not outlive a change of the table for long. What is bound is a judged text, found for these very bytes but for its
//! literals, and the literals are values of their own that no scanner reads again.

use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// For so long a statement that was tried out is believed to be what its text would be.
pub(super) const SERVES: Duration = Duration::from_secs(60);

/// A statement to be tried out behind the Query that it goes as now.
pub(super) struct Trial {
    plan: Arc<Plan>,
    types: Box<[u32]>,
}

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
    pub(super) fn into_text(self) -> Sent {
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
        let plain = statement.params.is_empty() && statement.generate.is_empty() && statement.output.is_none();
        // Deparsed text begins with its keyword.
        if !(statement.sql.sql().starts_with("SELECT ") && plain && plan.effect == Effect::None) {
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
        if !self.pool.prepares_simple() || self.links.server.is_none() || self.open || !self.queue.is_empty() {
            return None;
        }
        let (group, now) = (self.group, Instant::now());
        match self.memory().prepared.find_tried(plan, types, group, now) {
            Found::There(number) => return Some((Key::new(plan, Step::Main), number)),
            Found::Unsure | Found::Unfit => {}
            Found::Missing if self.in_transaction() => {}
            Found::Missing => {
                let (plan, types) = (plan.clone(), types.into());
                self.trial = Some(Box::new(Trial { plan, types }));
            }
        }
        None
    }

    /// Sends the Parse of what is to be tried out, behind the Query that was sent. Nobody waits for the answer.
    pub(super) fn try_out(&mut self, trial: &Trial) -> Result<(), Stop> {
        let Trial { plan, types } = trial;
        let group = self.group;
        let Run::Once(statement) = &plan.run else {
            return Err(SessionEnd::Internal.into());
        };
        let (key, number, close) = self.memory().prepared.add(plan, Step::Main, types, group, true);
        self.memory().prepared.tried(&key, Instant::now());
        for old in close {
            self.put_close_judged(old, To::Nobody)?;
        }
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

    /// Whether what PostgreSQL says now is about something that was tried out, which is nobody's business.
    pub(super) fn trying(&self) -> bool {
        matches!(
            self.queue.front(),
            Some(
                Expect::Parse {
                    made: Made::Tried(..),
                    ..
                } | Expect::Sync { to: To::Nobody }
                    | Expect::Close { to: To::Nobody, .. }
            )
        )
    }

    /// An error about something that was tried out.
    pub(super) fn tried_in_vain(&mut self, told: &Told) {
        if let Some(Expect::Parse {
            made: Made::Tried(key, number),
            ..
        }) = self.queue.front()
            && of_the_text(told.sqlstate())
        {
            let (key, number) = (*key, *number);
            self.queue.pop_front();
            self.memory().prepared.unfit(key, number);
        }
        self.skip_to_sync();
    }

    /// BindComplete, NoData or CloseComplete of what runs bound; the client did not ask for them.
    pub(super) fn passes_over(&mut self, kind: u8) -> bool {
        let Some(Expect::Query(batch)) = self.queue.front_mut() else {
            return false;
        };
        let Sent::Bound(bound) = &mut batch.sent else { return false };
        match kind {
            b'2' => {
                bound.runs = true;
                if self.portals.get("").is_some() {
                    // What runs has taken the place of the client's unnamed portal, as any Query does.
                    self.portals.set("".into(), None);
                }
                true
            }
            b'3' | b'n' => true,
            _ => false,
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
        // Of the text or its literals; what else can fail there (a cancel, a lock, the transaction) is the client's to know.
        let may_differ = ["22", "23", "26"].iter().any(|class| code.starts_with(class)) || of_the_text(code);
        if bound.runs || !may_differ {
            return false;
        }
        let key = bound.key;
        let again = alone && status == b'I';
        if again {
            bound.outdated = Some(Box::new(told.clone()));
        }
        if of_the_text(code) {
            self.memory().prepared.forget(&key);
        }
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
            sent,
            identity,
            started,
            asked,
            ..
        } = *batch;
        let Sent::Bound(mut bound) = sent else {
            return Err(SessionEnd::Internal);
        };
        if !self.queue.is_empty() || self.open {
            let told = bound.outdated.take().ok_or(SessionEnd::Internal)?;
            self.identities.failed();
            self.shared.metrics.refusal("database");
            told.put(&mut self.links.client.output, b'E')
                .map_err(|_| SessionEnd::Internal)?;
            let sent = Sent::Bound(bound);
            return Ok(Some(Box::new(Batch {
                sent,
                at: 0,
                identity,
                started,
                asked,
            })));
        }
        let sent = bound.into_text();
        sent.put(&mut self.links.upstream.output).map_err(|_| SessionEnd::Internal)?;
        self.expect(Expect::Query(Box::new(Batch {
            sent,
            at: 0,
            identity,
            started,
            asked,
        })));
        Ok(None)
    }
}

/// Whether an error is about what a text means: "cached plan must not change result type", or an operator, function or column that is not
/// there for the types that were inferred.
fn of_the_text(sqlstate: &str) -> bool {
    sqlstate.starts_with("0A") || sqlstate.starts_with("42") && sqlstate != "42501"
}
