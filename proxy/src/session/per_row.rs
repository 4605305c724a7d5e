//! An UPDATE whose sealed values depend on each row's key, in two steps inside the client's transaction: lock and read, then write each.
//!
//! Promised: same rows, same tag, same RETURNING as the statement would have had; either all rows are written or the transaction fails.
//! Every write names the key that its value was sealed for; one that meets no row ends the statement (40001).

use postern_rewriter::plan::{PerRow, Run};
use zeroize::Zeroizing;

use super::ask::{Answer, PORTAL};
use super::bind::{Binder, Opened, Row, Source};
use super::engine::{Counted, Session};
use super::expect::{Execute, Expect, Mode, To};
use super::rows::{column_keys, open_field};
use super::server::{Name, Step};
use super::statement::{Portal, Values, misread};
use super::stop::{Stop, aborted, hinted};
use crate::wire::message::{self, Format, Target};

/// Writes under way at once.
const CHUNK: usize = 64;

impl Session {
    /// Carries out both steps.
    pub(super) async fn per_row(&mut self, portal: &Portal) -> Result<(), Stop> {
        let plan = portal.stmt.plan.clone().ok_or(super::SessionEnd::Internal)?;
        let Run::PerRow(steps) = &plan.run else {
            return Err(super::SessionEnd::Internal.into());
        };
        self.drain_or_skip().await?;
        if self.status == b'E' {
            return Err(aborted().into());
        }
        let values = portal.given.values().map_err(misread)?;
        let read = self.on_server(&portal.stmt, Step::Read, To::Quiet, None).await?;
        let rows = self.read_rows(portal, steps, Name::new(read).as_str(), &values).await?;
        self.counted = Counted::default();
        for chunk in rows.chunks(CHUNK) {
            for row in chunk {
                let write = self.on_server(&portal.stmt, Step::Main, To::Quiet, None).await?;
                self.write_row(portal, steps, Name::new(write).as_str(), &values, row).await?;
            }
            self.drain_or_skip().await?;
            if self.counted.missed {
                return Err(hinted(
                    "40001",
                    "row-moved",
                    "a row changed while it was being updated",
                    "Run the transaction again.",
                )
                .into());
            }
        }
        let tag = format!("UPDATE {}", self.counted.rows);
        self.writes = true;
        self.say(None, |out| message::put_command_complete(out, &tag))
    }

    /// The first step.
    async fn read_rows(
        &mut self,
        portal: &Portal,
        steps: &PerRow,
        name: &str,
        values: &Values<'_>,
    ) -> Result<Vec<Box<[u8]>>, Stop> {
        let drawn = self.draw(&steps.read.generate).await?;
        self.answer = Answer::default();
        self.put_step(portal, name, &steps.read, values, &drawn, None, &[Format::Binary])?;
        let mut execute = Execute::new(Mode::Collect);
        execute.identity.clone_from(&portal.identity);
        // What is read is what is written; its tag counts the rows.
        execute.audited = portal
            .identity
            .as_ref()
            .filter(|i| i.is_super())
            .and(portal.stmt.plan.clone());
        self.put_execute(PORTAL, 0, execute);
        self.put_close(Target::Portal(PORTAL), To::Quiet)?;
        self.drain().await?;
        let rows = self.answered()?;
        // An error at Bind was told to the client as it came.
        if self.discarding { Err(Stop::Skip) } else { Ok(rows) }
    }

    /// The second step, for one row.
    async fn write_row(
        &mut self,
        portal: &Portal,
        steps: &PerRow,
        name: &str,
        values: &Values<'_>,
        row: &[u8],
    ) -> Result<(), Stop> {
        let mut fields = Vec::new();
        message::data_row(row, &mut fields).map_err(|_| super::SessionEnd::UpstreamProtocol)?;
        let opened = self.open_fields(steps, &fields)?;
        let drawn = self.draw(&steps.write.generate).await?;
        let formats = match &portal.reading {
            Some(reading) => reading.upstream_formats(),
            None => portal.results.given().into(),
        };
        self.put_step(
            portal,
            name,
            &steps.write,
            values,
            &drawn,
            Some(Row {
                fields: &fields,
                opened: &opened,
            }),
            &formats,
        )?;
        let mut execute = Execute::new(Mode::Count);
        execute.reading.clone_from(&portal.reading);
        execute.identity.clone_from(&portal.identity);
        self.put_execute(PORTAL, 0, execute);
        self.put_close(Target::Portal(PORTAL), To::Quiet)
    }

    fn open_fields(&mut self, steps: &PerRow, fields: &[Option<&[u8]>]) -> Result<Vec<Opened>, Stop> {
        let mut opened = Vec::with_capacity(steps.opened.len());
        for (field, open) in &steps.opened {
            let Some(envelope) = fields.get(*field).copied().flatten() else {
                opened.push(None);
                continue;
            };
            let keys = column_keys(&self.shared.keys, &open.column)?;
            let mut plain = Zeroizing::new(Vec::new());
            // Everything that the first step reads is asked for in binary format.
            match open_field(&keys, open, envelope, fields, |_| false, self.settings.format(), &mut plain) {
                Ok(()) => opened.push(Some((open.column.ty.clone(), plain))),
                Err(fault) => return Err(self.fault_refusal(&fault).into()),
            }
        }
        self.shared.metrics.opened(opened.iter().flatten().count() as u64);
        Ok(opened)
    }

    #[expect(clippy::too_many_arguments, reason = "a Bind has this many parts")]
    fn put_step(
        &mut self,
        portal: &Portal,
        name: &str,
        statement: &postern_rewriter::plan::Statement,
        values: &Values<'_>,
        drawn: &[i64],
        row: Option<Row<'_>>,
        formats: &[Format],
    ) -> Result<(), Stop> {
        let mut binder = Binder {
            source: Source {
                ring: &self.shared.keys,
                session: self.settings.format(),
                manifest: &self.manifest,
                identity: portal.identity.as_deref(),
                values: &values.values,
                formats: &values.formats,
                types: &portal.stmt.types,
                drawn,
                row,
            },
            nonces: &mut self.nonces,
            sealed: 0,
        };
        binder.put_bind(&mut self.links.upstream.output, PORTAL, name, statement, formats)?;
        self.shared.metrics.sealed(binder.sealed);
        self.expect(Expect::Bind {
            to: To::Quiet,
            settle: false,
        });
        Ok(())
    }
}
