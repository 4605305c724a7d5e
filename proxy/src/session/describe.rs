//! Describe: types as declared, hidden columns gone.

use std::sync::Arc;

use bytes::BytesMut;
use postern_rewriter::plan::Effect;

use super::ask::too_long;
use super::engine::Session;
use super::expect::{Describe, Expect, Params, Rows, To};
use super::rows::Reading;
use super::server::{Name, Step};
use super::statement::{Portal, Stmt, Way, misread, output};
use super::stop::{Stop, no_cursor, no_portal};
use crate::identity::Identity;
use crate::wire::frame::HEADER;
use crate::wire::message::{self, Column, Format, Formats, MessageError, Target};

/// The answer of `SELECT postern.set_token(…)`.
const SET_TOKEN: Column<'static> = Column {
    name: "set_token",
    origin: (0, 0),
    oid: 25,
    typlen: -1,
    typmod: -1,
    format: Format::Text,
};

impl Session {
    /// Describe from the client.
    pub(super) async fn on_describe(&mut self, whole: &[u8]) -> Result<(), Stop> {
        let target = Target::decode(&whole[HEADER..]).map_err(misread)?;
        super::extended::usable(target.name())?;
        match target {
            Target::Statement(name) => {
                let stmt = self.current(name, None).await?;
                if stmt.passes() && !matches!(stmt.effect(), Effect::Fetch(_)) {
                    let number = self.on_server(&stmt, Step::Main, To::Quiet, None).await?;
                    return self.put_describe_statement(number, To::Client, Params::Pass, Rows::Pass);
                }
                Box::pin(self.describe_statement(&stmt)).await
            }
            Target::Portal(name) => match self.portals.get(name).cloned() {
                Some(portal) => self.describe_portal(name, &portal, To::Client).await,
                None => Box::pin(self.describe_cursor(name)).await,
            },
        }
    }

    async fn describe_statement(&mut self, stmt: &Arc<Stmt>) -> Result<(), Stop> {
        match stmt.way {
            Way::Relay => {
                let rows = self.statement_rows(stmt).await?;
                let number = self.on_server(stmt, Step::Main, To::Quiet, None).await?;
                self.put_describe_statement(number, To::Client, Params::Tell(stmt.clone()), rows)
            }
            Way::Steps => {
                let rows = self.statement_rows(stmt).await?;
                let read = self.on_server(stmt, Step::Read, To::Quiet, None).await?;
                self.put_describe_statement(read, To::Quiet, Params::Keep, Rows::Drop)?;
                let write = self.on_server(stmt, Step::Main, To::Quiet, None).await?;
                self.put_describe_statement(write, To::Client, Params::Tell(stmt.clone()), rows)
            }
            Way::Ours | Way::Rows => {
                if let Effect::Execute(inner, _) = stmt.effect() {
                    let inner_stmt = self.prepared(inner, stmt.token.as_ref()).await?;
                    let rows = self.statement_rows(&inner_stmt).await?;
                    if inner_stmt.way != Way::Ours {
                        let number = self.on_server(&inner_stmt, Step::Main, To::Quiet, None).await?;
                        return self.put_describe_statement(number, To::Client, Params::Empty, rows);
                    }
                }
                let types = stmt.client_types(&[]);
                self.say(None, |out| message::put_parameter_description(out, &types))?;
                self.say_own_columns(stmt, &Formats::default())
            }
        }
    }

    async fn statement_rows(&mut self, stmt: &Arc<Stmt>) -> Result<Rows, Stop> {
        if let Effect::Fetch(cursor) = stmt.effect() {
            self.drain_or_skip().await?;
            return Ok(match self.cursors.get(cursor) {
                Some(cursor) if cursor.reading.is_some() => Rows::Statement(cursor.plan.clone()),
                _ => Rows::Pass,
            });
        }
        Ok(match &stmt.plan {
            Some(_) if matches!(stmt.effect(), Effect::CopyOpened(_)) => Rows::NoData,
            Some(plan) if output(plan).is_some() && !matches!(stmt.effect(), Effect::Declare(_)) => Rows::Statement(plan.clone()),
            _ => Rows::Pass,
        })
    }

    /// A portal's columns; where the client did not ask (`To::Quiet`), only if there are any.
    pub(super) async fn describe_portal(&mut self, name: &str, portal: &Portal, to: To) -> Result<(), Stop> {
        let declares = matches!(portal.stmt.effect(), Effect::Declare(_));
        match portal.stmt.way {
            Way::Relay if matches!(portal.stmt.effect(), Effect::CopyOpened(_)) => match to {
                To::Client => self.put_describe(Target::Portal(name), to, Params::None, Rows::NoData),
                _ => Ok(()),
            },
            Way::Relay => {
                let rows = match &portal.reading {
                    Some(reading) if !declares => Rows::Portal(reading.clone()),
                    _ => Rows::Pass,
                };
                self.put_describe(Target::Portal(name), to, Params::None, rows)
            }
            Way::Steps => {
                let rows = match &portal.reading {
                    Some(reading) => Rows::Portal(reading.clone()),
                    None => Rows::Formats(portal.results.clone()),
                };
                let number = self.on_server(&portal.stmt, Step::Main, To::Quiet, None).await?;
                self.put_describe_statement(number, to, Params::Drop, rows)
            }
            Way::Ours | Way::Rows if to == To::Client => self.say_own_columns(&portal.stmt, &portal.results),
            Way::Ours | Way::Rows => Ok(()),
        }
    }

    /// A cursor of SQL's DECLARE is a portal too.
    async fn describe_cursor(&mut self, name: &str) -> Result<(), Stop> {
        self.drain_or_skip().await?;
        let Some(cursor) = self.cursors.get(name) else {
            return Err(no_portal(name).into());
        };
        let rows = match &cursor.reading {
            Some(reading) => Rows::Portal(Arc::new(reading.in_formats(&Formats::default()).map_err(Stop::from)?)),
            None => Rows::Pass,
        };
        self.put_describe(Target::Portal(name), To::Client, Params::None, rows)
    }

    /// Asks for the columns of a portal whose rows become a COPY's.
    pub(super) fn begin_copy(&mut self, name: &str, reading: &Arc<Reading>) -> Result<(), Stop> {
        self.put_describe(Target::Portal(name), To::Quiet, Params::None, Rows::Copy(reading.clone()))
    }

    fn put_describe_statement(&mut self, number: u32, to: To, params: Params, rows: Rows) -> Result<(), Stop> {
        self.put_describe(Target::Statement(Name::new(number).as_str()), to, params, rows)
    }

    fn put_describe(&mut self, target: Target<'_>, to: To, params: Params, rows: Rows) -> Result<(), Stop> {
        message::put_target(&mut self.links.upstream.output, b'D', target).map_err(too_long)?;
        self.expect(Expect::Describe(Describe { to, params, rows }));
        Ok(())
    }

    /// RowDescription or NoData of what we answer.
    fn say_own_columns(&mut self, stmt: &Stmt, results: &Formats) -> Result<(), Stop> {
        if !is_select(stmt) {
            self.say_bare(b'n', None);
            return Ok(());
        }
        let format = results.of(0);
        self.say(None, |out| put_own_columns(out, format))
    }

    /// The one row of `SELECT postern.set_token(…)`, described first where the client did not ask.
    pub(super) fn say_own_row(&mut self, describe: bool) -> Result<(), Stop> {
        self.say(None, |out| {
            if describe {
                put_own_columns(out, Format::Text)?;
            }
            message::put(out, b'D', |out| {
                message::put_count(out, 1)?;
                message::put_value(out, Some(b""))
            })
        })
    }

    /// A statement that SQL's EXECUTE names.
    pub(super) async fn prepared(&mut self, name: &str, token: Option<&Arc<Identity>>) -> Result<Arc<Stmt>, Stop> {
        if self.statements.get(name).is_none() {
            self.drain_or_skip().await?;
        }
        self.current(name, token).await
    }

    /// A cursor that FETCH names.
    pub(super) async fn open_cursor(&mut self, name: &str) -> Result<Arc<super::statement::Cursor>, Stop> {
        self.drain_or_skip().await?;
        self.cursors.get(name).cloned().ok_or_else(|| no_cursor(name).into())
    }
}

/// Whether our answer is a row rather than a tag alone.
pub(super) fn is_select(stmt: &Stmt) -> bool {
    matches!(stmt.effect(), Effect::Token { as_select: true, .. })
}

fn put_own_columns(out: &mut BytesMut, format: Format) -> Result<(), MessageError> {
    message::put_row_description(out, &[Column { format, ..SET_TOKEN }])
}
