//! Settings that follow a client from one connection to the next.
//!
//! Promised: what a client has set for its session holds on whichever connection serves it, and nothing that another client set does.
//! What holds is asked of PostgreSQL itself once a transaction that may have changed settings is over, not guessed from the statements.

use std::sync::{Arc, LazyLock};

use bytes::BytesMut;

use super::SessionEnd;
use super::ask::{Own, PORTAL, too_long};
use super::engine::Session;
use super::expect::{Execute, Expect, Mode, To};
use super::stop::Stop;
use crate::wire::message::{self, Format, Target};
use postern_rewriter::plan::Rewritten;

/// Settings that differ from what the connection began with, sorted by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept(Vec<(Box<str>, Box<str>)>);

static NONE: LazyLock<Arc<Kept>> = LazyLock::new(Arc::default);

impl Kept {
    /// None at all.
    pub(super) fn none() -> Arc<Self> {
        NONE.clone()
    }

    /// Just the name under which the client shows itself, as it gave it when it connected.
    pub(super) fn at_start(application_name: Option<&str>) -> Arc<Self> {
        match application_name {
            Some(name) => Arc::new(Self(vec![(APPLICATION_NAME.into(), name.into())])),
            None => Self::none(),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| **n == *name).map(|(_, v)| &**v)
    }

    /// What of them a text's constants depend on when PostgreSQL reads it.
    fn sense(&self) -> Arc<str> {
        let read = self.0.iter().filter(|(n, _)| decides_constants(n));
        read.map(|(n, v)| format!("{n}={v}\n")).collect::<String>().into()
    }

    /// What has to be set, in names and values (none: what the connection began with), where `there` holds and this should.
    fn against<'s>(&'s self, there: &'s Self) -> Vec<(&'s str, Option<&'s str>)> {
        let gone = there
            .0
            .iter()
            .filter(|(n, _)| self.get(n).is_none())
            .map(|(n, _)| (&**n, None));
        let other = self
            .0
            .iter()
            .filter(|(n, v)| there.get(n) != Some(v))
            .map(|(n, v)| (&**n, Some(&**v)));
        gone.chain(other).collect()
    }
}

pub(super) const APPLICATION_NAME: &str = "application_name";

/// Whether a setting (canonical name, lower case) decides what a constant in a text is.
pub(super) fn decides_constants(name: &str) -> bool {
    matches!(name, "datestyle" | "intervalstyle" | "timezone")
}

impl Session {
    /// Makes the connection's settings the client's. What the statements behind it mean may depend on them, so the session ends where
    /// PostgreSQL refuses.
    pub(super) fn put_settings(&mut self) -> Result<(), Stop> {
        let wanted = self.kept.clone();
        let there = std::mem::replace(&mut self.memory().settings, wanted.clone());
        if Arc::ptr_eq(&wanted, &there) || *wanted == *there {
            return Ok(());
        }
        self.memory().prepared.read_under(wanted.sense());
        let changes = wanted.against(&there);
        let names = array(changes.iter().map(|(name, _)| Some(*name)));
        let values = array(changes.iter().map(|(_, value)| *value));
        self.put_own(Own::Settings, &Rewritten::put_settings(), To::Strict)?;
        let out = &mut self.links.upstream.output;
        message::put_text_bind(
            out,
            PORTAL,
            Own::Settings.name(),
            &[Some(&names), Some(&values)],
            Format::Text,
        )
        .map_err(too_long)?;
        self.expect(Expect::Bind {
            to: To::Strict,
            settle: false,
        });
        let execute = Execute::new(Mode::Strict);
        self.put_execute(PORTAL, 0, execute);
        self.put_close(Target::Portal(PORTAL), To::Strict)?;
        self.put_sync(To::Strict);
        Ok(())
    }

    /// A statement is sent that may change what constants are, or such a change may be reverted.
    pub(super) fn constants_move(&mut self) {
        self.constants_moved = true;
        self.memory().prepared.read_anyhow();
    }

    /// Asks PostgreSQL what the client's settings are now. Outside any transaction.
    pub(super) async fn read_settings(&mut self) -> Result<(), SessionEnd> {
        match self.ask_settings().await {
            Ok(()) => Ok(()),
            Err(Stop::End(end)) => Err(end),
            Err(_) => Err(SessionEnd::Internal),
        }
    }

    /// The same where nothing depends on the answer: it may fail (the client may cancel it), and then nothing is known as before.
    pub(super) async fn know_constants(&mut self) -> Result<(), SessionEnd> {
        match self.ask_settings().await {
            Ok(()) => {}
            Err(Stop::End(end)) => return Err(end),
            // The failure was no statement's of the client.
            Err(_) => drop(self.identities.ready(true)),
        }
        Ok(())
    }

    async fn ask_settings(&mut self) -> Result<(), Stop> {
        let rows = self
            .ask(Own::ReadSettings, &Rewritten::read_settings(), &[], Format::Text)
            .await?;
        let mut found = Vec::with_capacity(rows.len() + 1);
        for row in &rows {
            let mut fields = Vec::new();
            message::data_row(row, &mut fields).map_err(|_| SessionEnd::UpstreamProtocol)?;
            let [Some(name), Some(value)] = fields[..] else {
                return Err(SessionEnd::UpstreamProtocol.into());
            };
            let text = |bytes| std::str::from_utf8(bytes).map_err(|_| SessionEnd::UpstreamProtocol);
            found.push((text(name)?.into(), text(value)?.into()));
        }
        found.sort_unstable();
        let there = Kept(found);
        self.memory().prepared.read_under(there.sense());
        self.memory().settings = Arc::new(there);
        let there = self.memory().settings.clone();
        self.kept = match (&self.start_name, there.get(APPLICATION_NAME)) {
            // Reset to what the client gave when it connected, which no connection began with.
            (Some(name), None) => {
                let mut kept = there.0.clone();
                kept.push((APPLICATION_NAME.into(), name.clone()));
                kept.sort_unstable();
                Arc::new(Kept(kept))
            }
            _ => there,
        };
        self.settings_moved = false;
        self.constants_moved = false;
        Ok(())
    }

    /// Tells the client of reported settings that are others on this connection than what it was told last.
    pub(super) fn tell_parameters(&mut self) {
        let Some(server) = &mut self.links.server else { return };
        if server.memory.told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &self.told)) {
            return;
        }
        if server.parameters[..] == self.told[..] {
            server.memory.told = Some(self.told.clone());
            return;
        }
        let mut told = self.told.to_vec();
        for (name, value) in &server.parameters {
            match told.iter_mut().find(|(n, _)| n == name) {
                Some((_, old)) if old == value => continue,
                Some((_, old)) => old.clone_from(value),
                None => told.push((name.clone(), value.clone())),
            }
            self.settings.reported(name, value);
            put_parameter_status(&mut self.links.client.output, name, value);
        }
        self.told = told.into();
        server.memory.told = Some(self.told.clone());
    }
}

/// Appends ParameterStatus.
pub(super) fn put_parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    message::put(out, b'S', |out| {
        message::put_text(out, name);
        message::put_text(out, value);
        Ok(())
    })
    .expect("it came in a message of that size");
}

/// An array literal of texts, each quoted.
fn array<'a>(items: impl Iterator<Item = Option<&'a str>>) -> String {
    let mut out = String::from("{");
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(',');
        }
        let Some(item) = item else {
            out.push_str("NULL");
            continue;
        };
        out.push('"');
        for c in item.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pairs: &[(&str, &str)]) -> Kept {
        Kept(pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect())
    }

    #[test]
    fn what_differs_is_set_and_what_is_not_wanted_is_reset() {
        let there = kept(&[("DateStyle", "German"), ("TimeZone", "UTC"), ("work_mem", "1MB")]);
        let wanted = kept(&[("TimeZone", "Asia/Tokyo"), ("lock_timeout", "1s"), ("work_mem", "1MB")]);
        assert_eq!(
            wanted.against(&there),
            [
                ("DateStyle", None),
                ("TimeZone", Some("Asia/Tokyo")),
                ("lock_timeout", Some("1s"))
            ]
        );
        assert!(wanted.against(&wanted).is_empty());
    }

    #[test]
    fn arrays_are_quoted() {
        assert_eq!(
            array([Some("a"), None, Some("q\"\\,{}"), Some("")].into_iter()),
            r#"{"a",NULL,"q\"\\,{}",""}"#
        );
    }
}
