//! Statements that Postern carries out itself: tokens, PREPARE, DEALLOCATE, settings without effect.

use std::sync::Arc;

use postern_config::ColumnType;
use postern_config::settings::PoolMode;
use postern_rewriter::plan::{Effect, Plan, Run, Value};
use zeroize::Zeroizing;

use super::describe::is_select;
use super::engine::Session;
use super::expect::To;
use super::follow::Kept;
use super::statement::{Given, Origin, Stmt, misread};
use super::stop::{Stop, aborted, hinted, identity_change, no_statement, refusal};
use crate::wire::message;

impl Session {
    /// Carries out a statement that PostgreSQL does not see. `simple`: nobody asked for its columns before.
    pub(super) async fn run_ours(&mut self, stmt: &Arc<Stmt>, given: &Given, simple: bool) -> Result<(), Stop> {
        let Some(plan) = &stmt.plan else {
            self.say_bare(b'I', None);
            return Ok(());
        };
        self.drain_or_skip().await?;
        if self.status == b'E' {
            return Err(aborted().into());
        }
        let tag = match stmt.effect() {
            Effect::Token { token, local, .. } => {
                self.adopt_token(token, *local, given).await?;
                if is_select(stmt) {
                    self.say_own_row(simple)?;
                    "SELECT 1"
                } else {
                    "SET"
                }
            }
            Effect::ForgetToken => {
                self.identities.adopt(None, false);
                "RESET"
            }
            Effect::Prepare(name) => {
                self.sql_prepare(name, plan, stmt).await?;
                "PREPARE"
            }
            Effect::Deallocate(Some(name)) => {
                if self.statements.get(name).is_none_or(|s| s.by_batch) {
                    return Err(no_statement(name).into());
                }
                self.statements.set(name.clone(), None);
                "DEALLOCATE"
            }
            Effect::Deallocate(None) => {
                self.statements.retain(|_| false);
                "DEALLOCATE ALL"
            }
            Effect::DiscardAll => {
                self.discard_all().await?;
                "DISCARD ALL"
            }
            Effect::DiscardSequences => {
                Box::pin(self.discard_sequences()).await?;
                "DISCARD SEQUENCES"
            }
            Effect::Skipped(notices) => {
                for text in notices {
                    self.say_notice(text)?;
                }
                own_tag(plan)?
            }
            _ => own_tag(plan)?,
        };
        self.say(None, |out| message::put_command_complete(out, tag))
    }

    /// A notice as PostgreSQL gives it of what it skips.
    fn say_notice(&mut self, text: &str) -> Result<(), Stop> {
        let fields = [(b'S', "NOTICE"), (b'V', "NOTICE"), (b'C', "00000"), (b'M', text)];
        self.say(None, |out| message::put_fields(out, b'N', fields))
    }

    /// `DISCARD ALL`: carried out by statements of our own, so that what is ours on the connection stays.
    async fn discard_all(&mut self) -> Result<(), Stop> {
        self.end_what_was_not_executed().await?;
        if self.in_transaction() {
            return Err(refusal("25001", "discard", "DISCARD ALL cannot run inside a transaction block").into());
        }
        self.clean().await?;
        self.cursors.retain(|_| false);
        self.portals.retain(|_| false);
        self.statements.retain(|_| false);
        self.identities.adopt(None, false);
        self.settings.reset();
        self.kept = Kept::at_start(self.start_name.as_deref());
        self.put_settings()?;
        self.catalog_dirty |= self.own_catalog.is_some();
        Ok(())
    }

    /// What was only prepared, bound or closed is no transaction yet, and nothing of it outlives a DISCARD.
    async fn end_what_was_not_executed(&mut self) -> Result<(), Stop> {
        if self.open && !self.executed && self.status == b'I' {
            self.put_sync(To::Ourselves);
            self.drain_or_skip().await?;
        }
        Ok(())
    }

    /// `DISCARD SEQUENCES`: among the values that it forgets is what the claims' check goes by, which is made anew.
    async fn discard_sequences(&mut self) -> Result<(), Stop> {
        if self.pool.mode() == PoolMode::Transaction {
            // No value that was drawn there is the client's: `currval` and `lastval` are refused.
            return Ok(());
        }
        self.end_what_was_not_executed().await?;
        if self.in_transaction() {
            return Err(hinted(
                "25001",
                "discard",
                "DISCARD SEQUENCES cannot run inside a transaction block here",
                "Send it before BEGIN or behind COMMIT.",
            )
            .into());
        }
        self.enter_again(true).await
    }

    /// Takes on the user that the token says.
    async fn adopt_token(&mut self, token: &Value, local: bool, given: &Given) -> Result<(), Stop> {
        let text = token_text(token, given)?;
        let identity = self.verify_token(&text).await?;
        if self.identities.conflicts(&identity) {
            return Err(identity_change().into());
        }
        self.identities.adopt(Some(identity), local);
        Ok(())
    }

    /// SQL's PREPARE: the same names as the protocol's.
    async fn sql_prepare(&mut self, name: &str, plan: &Arc<Plan>, stmt: &Stmt) -> Result<(), Stop> {
        let prepared = Stmt::by_prepare(Origin {
            source: stmt.source.clone(),
            types: declared_types(plan),
            plan: Some(plan.clone()),
            generation: stmt.generation,
            asker: stmt.asker,
            token: None,
            shared: true,
        });
        self.check_name(name, &prepared).await?;
        self.prepare(name, Arc::new(prepared), To::Quiet).await
    }
}

/// The command tag of a plan that Postern answers.
fn own_tag(plan: &Plan) -> Result<&'static str, Stop> {
    match plan.run {
        Run::Answer(tag) => Ok(tag),
        Run::Once(_) | Run::PerRow(_) => Err(super::SessionEnd::Internal.into()),
    }
}

/// The types of `PREPARE name (types)`, as Parse would carry them.
fn declared_types(plan: &Plan) -> Vec<u32> {
    let of = |i| {
        plan.param_types
            .iter()
            .find(|(n, _)| *n == i)
            .and_then(|(_, ty)| ty.oid())
            .unwrap_or(0)
    };
    (0..plan.client_params).map(of).collect()
}

/// The token, from the statement or from its parameter.
pub(super) fn token_text(token: &Value, given: &Given) -> Result<Zeroizing<String>, Stop> {
    let missing = || {
        hinted(
            "28000",
            "token-malformed",
            "the token is NULL or not text",
            "Send the token exactly as the issuer gave it.",
        )
    };
    let text = match token {
        Value::Text(text, _) => text.as_deref().map(str::to_owned),
        Value::Client(index, ColumnType::Text | ColumnType::Varchar(_)) => {
            let values = given.values().map_err(misread)?;
            let bytes = values.values.get(usize::from(*index)).copied();
            let bytes = bytes.ok_or_else(|| {
                refusal(
                    "42P02",
                    "parameter",
                    format!("there is no parameter ${}", u32::from(*index) + 1),
                )
            })?;
            // The text and binary forms of text are the same bytes.
            bytes
                .map(std::str::from_utf8)
                .transpose()
                .map_err(|_| missing())?
                .map(str::to_owned)
        }
        _ => None,
    };
    Ok(Zeroizing::new(text.ok_or_else(missing)?))
}
