//! Rows of a plan with protected columns: envelopes opened, predicates checked on the value itself, hidden fields taken away.
//!
//! Promised: a row reaches the client whole and checked or not at all; what fails says nothing of its content. NULL stays NULL. The
//! keys are looked up once for all rows.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use postern_config::ColumnType;
use postern_keys::value::{self, ValueError};
use postern_keys::{Bound, Canonical, ColumnKeys, KeyRing, SessionFormat};
use postern_rewriter::plan::{CopyForm, DoorCheck, Effect, Field, MASKED, Open, Output, Plan, Refusal, Sealed};
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::copy_rows;
use super::statement::output;
use super::stop::{hinted, refusal};
use crate::wire::message::{self, Column, Format, Formats, MessageError};

/// A value is seldom bound to more than the parts of a primary key.
const USUAL_BOUND: usize = 3;

/// The envelope could not be opened, or is not what the predicate asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RowFault {
    /// Stored data is not what was sealed.
    Integrity,
    /// The value is right and cannot be written as the client wants it.
    Value(ValueError),
    /// The row does not have the plan's shape, or no longer fits a message.
    Shape(MessageError),
}

/// Why columns could not be told.
#[derive(Debug)]
pub(super) enum DescribeFault {
    /// PostgreSQL's message cannot be read.
    Theirs,
    /// It does not have the plan's shape, or no longer fits a message.
    Ours,
}

impl From<MessageError> for RowFault {
    fn from(error: MessageError) -> Self {
        Self::Shape(error)
    }
}

/// How the rows of one portal are read.
pub(super) struct Reading {
    plan: Arc<Plan>,
    formats: SmallVec<[Format; USUAL_COLUMNS]>,
    keys: SmallVec<[Option<Arc<ColumnKeys>>; USUAL_COLUMNS]>,
    doors: Doors,
    described: Arc<Described>,
    /// The rows are a COPY's, written in this form.
    copy: Option<Arc<CopyForm>>,
}

/// What a door check holds a row against.
#[derive(Clone)]
pub(super) struct Door {
    keys: Arc<ColumnKeys>,
    tags: Tags,
    /// The client sees that very value, so that it is opened only once.
    shown: bool,
}

/// Those of one reading.
pub(super) type Doors = SmallVec<[Door; 1]>;

/// Equality tags. Few are compared one by one, which costs less than hashing.
#[derive(Clone)]
pub(super) enum Tags {
    Few(SmallVec<[[u8; 16]; FEW_TAGS]>),
    Many(Arc<HashSet<[u8; 16]>>),
}

/// So many tags take no memory of their own.
pub(super) const FEW_TAGS: usize = 4;

impl From<SmallVec<[[u8; 16]; FEW_TAGS]>> for Tags {
    fn from(tags: SmallVec<[[u8; 16]; FEW_TAGS]>) -> Self {
        match tags.spilled() {
            false => Self::Few(tags),
            true => Self::Many(Arc::new(tags.into_iter().collect())),
        }
    }
}

impl Tags {
    fn contains(&self, tag: &[u8; 16]) -> bool {
        match self {
            Self::Few(tags) => tags.contains(tag),
            Self::Many(tags) => tags.contains(tag),
        }
    }
}

/// What a statement's columns were last told as: PostgreSQL's RowDescription and the client's, for clients that ask at every Execute.
#[derive(Default)]
pub(super) struct Described(Mutex<Option<Telling>>);

struct Telling {
    came: Box<[u8]>,
    formats: SmallVec<[Format; USUAL_COLUMNS]>,
    told: Box<[u8]>,
}

/// A longer RowDescription is not kept.
const MAX_KEPT: usize = 2048;
/// So many columns take no memory of their own.
const USUAL_COLUMNS: usize = 8;

/// The keys of a protected column.
pub(super) fn column_keys(ring: &KeyRing, column: &Sealed) -> Result<Arc<ColumnKeys>, Refusal> {
    ring.column(&column.column).ok_or_else(|| {
        hinted(
            "58000",
            "no-key",
            "a protected column has no key",
            "Run `postern provision`, which makes the keys that the manifest asks for.",
        )
    })
}

impl Door {
    /// A check that a value's equality tag is one of these.
    pub(super) fn new(keys: Arc<ColumnKeys>, tags: Tags, check: &DoorCheck, output: &Output) -> Self {
        let shown = matches!(output.visible.get(check.envelope), Some(Field::Open(open)) if *open == check.open);
        Self { keys, tags, shown }
    }

    fn admits(&self, check: &DoorCheck, plain: &[u8]) -> Result<(), RowFault> {
        let tag = self.keys.eq_tag(&check.open.column.ty, plain);
        if self.tags.contains(&tag) {
            Ok(())
        } else {
            Err(RowFault::Integrity)
        }
    }
}

/// Memory for plaintext between rows; wiped on drop.
#[derive(Default)]
pub(super) struct Scratch {
    plain: Zeroizing<Vec<u8>>,
    printed: Zeroizing<Vec<u8>>,
    /// Empty between rows; only its memory is kept.
    fields: Vec<Option<&'static [u8]>>,
}

impl Scratch {
    /// Room for a row's fields.
    pub(super) fn fields<'row>(&mut self) -> Vec<Option<&'row [u8]>> {
        std::mem::take(&mut self.fields)
    }

    /// Takes the room back.
    pub(super) fn keep(&mut self, mut fields: Vec<Option<&[u8]>>) {
        fields.clear();
        // Nothing is left to be converted; the allocation changes hands.
        self.fields = fields.into_iter().map(|_| None).collect();
    }
}

impl Reading {
    /// For a plan with an output; `doors` are in the order of its checks.
    pub(super) fn new(
        plan: &Arc<Plan>,
        results: &Formats,
        ring: &KeyRing,
        doors: Doors,
        described: &Arc<Described>,
    ) -> Result<Option<Self>, Refusal> {
        let Some(output) = output(plan) else { return Ok(None) };
        let formats = formats(output, results)?;
        let keys = output.visible.iter().map(|field| match field {
            Field::Plain => Ok(None),
            Field::Open(open) => column_keys(ring, &open.column).map(Some),
        });
        let keys: Result<SmallVec<_>, _> = keys.collect();
        Ok(Some(Self {
            plan: plan.clone(),
            formats,
            keys: keys?,
            doors,
            described: described.clone(),
            copy: match &plan.effect {
                Effect::CopyOpened(form) => Some(form.clone()),
                _ => None,
            },
        }))
    }

    /// The same rows in other formats (for FETCH from a cursor).
    pub(super) fn in_formats(&self, results: &Formats) -> Result<Self, Refusal> {
        Ok(Self {
            plan: self.plan.clone(),
            formats: formats(self.output(), results)?,
            keys: self.keys.clone(),
            doors: self.doors.clone(),
            // FETCH's RowDescription is that of its cursor.
            described: self.described.clone(),
            copy: None,
        })
    }

    fn output(&self) -> &Output {
        output(&self.plan).expect("a reading is made only for a plan with an output")
    }

    /// The formats to ask PostgreSQL for.
    pub(super) fn upstream_formats(&self) -> SmallVec<[Format; USUAL_COLUMNS]> {
        let output = self.output();
        (0..output.upstream_fields)
            .map(|i| match output.visible.get(i) {
                Some(Field::Plain) => self.formats[i],
                Some(Field::Open(_)) | None => Format::Binary,
            })
            .collect()
    }

    /// Appends RowDescription as the client must see it, from the body of PostgreSQL's.
    pub(super) fn describe(&self, body: &[u8], out: &mut BytesMut) -> Result<(), DescribeFault> {
        // Nobody panics while holding it.
        let mut last = self.described.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && *last.came == *body
            && last.formats == self.formats
        {
            out.extend_from_slice(&last.told);
            return Ok(());
        }
        let columns = message::row_description(body).map_err(|_| DescribeFault::Theirs)?;
        let start = out.len();
        describe(self.output(), &self.formats, columns, out).map_err(|_| DescribeFault::Ours)?;
        let told = &out[start..];
        *last = (body.len() + told.len() <= MAX_KEPT).then(|| Telling {
            came: body.into(),
            formats: self.formats.clone(),
            told: told.into(),
        });
        Ok(())
    }

    /// Whether the rows are a COPY's.
    pub(super) fn copies(&self) -> bool {
        self.copy.is_some()
    }

    /// CopyOutResponse, and what stands before the rows.
    pub(super) fn begin_copy(&self, columns: &[Column<'_>], out: &mut BytesMut) -> Result<(), MessageError> {
        let form = self.copy.as_deref().ok_or(MessageError::Code)?;
        let shown = columns.get(..self.output().visible.len()).ok_or(MessageError::Trailing)?;
        copy_rows::begin(form, shown, out)
    }

    /// What stands behind the rows, CopyDone, and the tag of a COPY of as many rows as the query's own tag says.
    pub(super) fn end_copy(&self, tag: &str, out: &mut BytesMut) -> Result<(), MessageError> {
        let form = self.copy.as_deref().ok_or(MessageError::Code)?;
        copy_rows::end(form, tag, out)
    }

    /// Appends the row as the client must see it; answers how many values were opened. Nothing is appended where it fails.
    pub(super) fn row(
        &self,
        fields: &[Option<&[u8]>],
        session: &SessionFormat,
        scratch: &mut Scratch,
        out: &mut BytesMut,
    ) -> Result<u64, RowFault> {
        let output = self.output();
        if fields.len() != output.upstream_fields {
            return Err(RowFault::Shape(MessageError::Trailing));
        }
        let mut opened = 0;
        for (check, door) in output.door.iter().zip(&self.doors).filter(|(_, door)| !door.shown) {
            // The database answered that the value equals something, so it cannot be NULL.
            let envelope = fields.get(check.envelope).copied().flatten().ok_or(RowFault::Integrity)?;
            self.open(&door.keys, &check.open, envelope, fields, session, scratch)?;
            opened += 1;
            door.admits(check, &scratch.plain)?;
        }
        let mut fault = None;
        let copy = self.copy.as_deref();
        let written = message::put(out, if copy.is_some() { b'd' } else { b'D' }, |out| {
            if copy.is_none_or(copy_rows::counts_fields) {
                message::put_count(out, output.visible.len())?;
            }
            for (i, field) in output.visible.iter().enumerate() {
                let value = match (field, fields[i]) {
                    (Field::Plain, value) => value,
                    (Field::Open(_), None) if self.is_checked(i) => {
                        fault = Some(RowFault::Integrity);
                        return Err(MessageError::Code);
                    }
                    (Field::Open(_), None) => None,
                    (Field::Open(open), Some(envelope)) => {
                        let cell = self.cell(i, open, envelope, fields, session, scratch);
                        if let Err(f) = cell {
                            fault = Some(f);
                            return Err(MessageError::Code);
                        }
                        opened += 1;
                        Some(&scratch.printed[..])
                    }
                };
                match copy {
                    None => message::put_value(out, value)?,
                    Some(form) => copy_rows::put_field(form, i, output.visible.len(), value, out)?,
                }
            }
            if let Some(form) = copy {
                copy_rows::end_row(form, out);
            }
            Ok(())
        });
        match (fault, written) {
            (Some(fault), _) => Err(fault),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(())) => Ok(opened),
        }
    }

    fn cell(
        &self,
        index: usize,
        open: &Open,
        envelope: &[u8],
        fields: &[Option<&[u8]>],
        session: &SessionFormat,
        scratch: &mut Scratch,
    ) -> Result<(), RowFault> {
        let keys = self.keys[index].as_ref().ok_or(RowFault::Integrity)?;
        self.open(keys, open, envelope, fields, session, scratch)?;
        for (check, door) in self.shown_checks(index) {
            door.admits(check, &scratch.plain)?;
        }
        let Scratch { plain, printed, .. } = scratch;
        printed.clear();
        match self.formats[index] {
            Format::Text => value::to_text(&open.column.ty, plain, session, printed),
            Format::Binary => value::to_binary(&open.column.ty, plain, printed),
        }
        .map_err(|error| match error {
            ValueError::Damaged { .. } => RowFault::Integrity,
            other => RowFault::Value(other),
        })
    }

    /// The door checks of a value that the client sees.
    fn shown_checks(&self, index: usize) -> impl Iterator<Item = (&DoorCheck, &Door)> + use<'_> {
        let checks = self.output().door.iter().zip(&self.doors);
        checks.filter(move |(check, door)| door.shown && check.envelope == index)
    }

    /// Whether the database answered that the value equals something, so that it cannot be NULL.
    fn is_checked(&self, index: usize) -> bool {
        self.shown_checks(index).next().is_some()
    }

    /// Opens an envelope into `scratch.plain`.
    fn open(
        &self,
        keys: &ColumnKeys,
        open: &Open,
        envelope: &[u8],
        fields: &[Option<&[u8]>],
        session: &SessionFormat,
        scratch: &mut Scratch,
    ) -> Result<(), RowFault> {
        let visible = &self.output().visible;
        let text = |i: usize| matches!(visible.get(i), Some(Field::Plain)) && self.formats[i] == Format::Text;
        open_field(keys, open, envelope, fields, text, session, &mut scratch.plain)
    }
}

/// Opens an envelope with the bound values that came in the same row. `is_text` says which fields came in text format.
pub(super) fn open_field(
    keys: &ColumnKeys,
    open: &Open,
    envelope: &[u8],
    fields: &[Option<&[u8]>],
    is_text: impl Fn(usize) -> bool,
    session: &SessionFormat,
    plain: &mut Zeroizing<Vec<u8>>,
) -> Result<(), RowFault> {
    if let (Some(mask), true) = (&open.mask, envelope == MASKED) {
        let shown = value::from_text(&open.column.ty, mask, session).map_err(RowFault::Value)?;
        plain.clear();
        plain.extend_from_slice(shown.expose());
        return Ok(());
    }
    // A bound column that the client sees in text is read back into the bytes that were bound.
    let read = |(i, ty): &(usize, ColumnType)| -> Result<Option<Canonical>, RowFault> {
        match fields.get(*i).copied().flatten() {
            Some(bytes) if is_text(*i) => {
                let text = std::str::from_utf8(bytes).map_err(|_| RowFault::Integrity)?;
                value::from_text(ty, text, session).map(Some).map_err(|_| RowFault::Integrity)
            }
            _ => Ok(None),
        }
    };
    let owned: SmallVec<[Option<Canonical>; USUAL_BOUND]> = match open.bound.iter().any(|(i, _)| is_text(*i)) {
        true => open.bound.iter().map(read).collect::<Result<_, _>>()?,
        false => SmallVec::new(),
    };
    let bound: SmallVec<[Bound<'_>; USUAL_BOUND]> = open
        .bound
        .iter()
        .enumerate()
        .map(|(n, (i, ty))| match (owned.get(n), fields.get(*i)) {
            (_, None) => Err(RowFault::Shape(MessageError::Truncated)),
            (_, Some(None)) => Ok(Bound::Null),
            (Some(Some(canonical)), _) => Ok(Bound::Value(ty, canonical.expose())),
            // PostgreSQL's binary form of every type that can be bound is the canonical one.
            (_, Some(Some(bytes))) => Ok(Bound::Value(ty, bytes)),
        })
        .collect::<Result<_, _>>()?;
    plain.clear();
    keys.open(envelope, &bound, plain).map_err(|_| RowFault::Integrity)
}

/// The formats of what the client sees, one for each column.
fn formats(output: &Output, results: &Formats) -> Result<SmallVec<[Format; USUAL_COLUMNS]>, Refusal> {
    let columns = output.visible.len();
    if !results.fit(columns) {
        let message = format!(
            "bind message has {} result formats but query has {columns} columns",
            results.given().len()
        );
        return Err(refusal("08P01", "protocol", message));
    }
    Ok((0..columns).map(|i| results.of(i)).collect())
}

/// RowDescription as the client must see it, from PostgreSQL's: hidden columns gone, opened ones of their declared type.
pub(super) fn describe(
    output: &Output,
    formats: &[Format],
    mut columns: Vec<Column<'_>>,
    out: &mut BytesMut,
) -> Result<(), MessageError> {
    if columns.len() != output.upstream_fields || output.visible.len() > columns.len() {
        return Err(MessageError::Trailing);
    }
    columns.truncate(output.visible.len());
    for ((column, field), format) in columns.iter_mut().zip(&output.visible).zip(formats) {
        column.format = *format;
        if let Field::Open(Open { column: sealed, .. }) = field {
            column.oid = sealed.ty.oid().ok_or(MessageError::Code)?;
            column.typlen = sealed.ty.typlen();
            column.typmod = sealed.ty.typmod();
            column.origin = (0, 0);
        }
    }
    message::put_row_description(out, &columns)
}

#[cfg(test)]
mod tests;
