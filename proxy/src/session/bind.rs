//! From what the client gave to what PostgreSQL gets: values read in their declared types, sealed for their column and row, or tagged.
//!
//! Promised: a plaintext for a protected column leaves here only as an envelope or a tag; what cannot be read in the column's type is
//! refused with PostgreSQL's SQLSTATE and without the value. Bytes that look like an envelope are data like any other.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use postern_config::{ColumnType, Manifest};
use postern_keys::value::{self, ValueError};
use postern_keys::{Bound, Canonical, KeyRing, NonceSource, SessionFormat};
use postern_rewriter::plan::{DoorCheck, Output, Param, Refusal, Sealed, Statement, Value};
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::assign::{self, Declared};
use super::rows::{Door, Doors, FEW_TAGS, column_keys};
use super::statement::misread;
use super::stop::refusal;
use crate::identity::Identity;
use crate::wire::message::{self, Format, Formats};

/// A value that was opened, with its type; `None` is NULL.
pub(super) type Opened = Option<(ColumnType, Zeroizing<Vec<u8>>)>;

/// A row that the first step of an UPDATE read.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    /// Its fields, binary.
    pub fields: &'a [Option<&'a [u8]>],
    /// What was opened of it, with its type.
    pub opened: &'a [Opened],
}

/// Where values come from.
pub(super) struct Source<'a> {
    pub ring: &'a KeyRing,
    pub session: &'a SessionFormat,
    pub manifest: &'a Manifest,
    /// Whom the statement runs as; `None` where it asks nothing of anybody.
    pub identity: Option<&'a Identity>,
    /// What the client gave; `None` is NULL.
    pub values: &'a [Option<&'a [u8]>],
    /// In these formats.
    pub formats: &'a Formats,
    /// Types that the client declared in Parse.
    pub types: &'a [u32],
    /// Values drawn from the statement's sequences.
    pub drawn: &'a [i64],
    /// The row that is written.
    pub row: Option<Row<'a>>,
}

/// Makes upstream parameters.
pub(super) struct Binder<'a> {
    pub source: Source<'a>,
    pub nonces: &'a mut NonceSource,
    /// Counts envelopes made.
    pub sealed: u64,
}

/// A value in canonical form and its type.
struct Known<'v> {
    ty: Cow<'v, ColumnType>,
    bytes: Plain<'v>,
}

enum Plain<'v> {
    Borrowed(&'v [u8]),
    Canonical(Canonical),
    Public(Vec<u8>),
}

impl Known<'_> {
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Plain::Borrowed(b) => b,
            Plain::Canonical(c) => c.expose(),
            Plain::Public(b) => b,
        }
    }
}

impl Binder<'_> {
    /// Appends Bind.
    pub(super) fn put_bind(
        &mut self,
        out: &mut BytesMut,
        portal: &str,
        name: &str,
        statement: &Statement,
        results: &[Format],
    ) -> Result<(), Refusal> {
        let start = out.len();
        let mut refused = None;
        let written = message::put(out, b'B', |out| {
            message::put_text(out, portal);
            message::put_text(out, name);
            message::put_count(out, statement.params.len())?;
            for param in &statement.params {
                out.put_i16(self.format(param).code());
            }
            message::put_count(out, statement.params.len())?;
            for param in &statement.params {
                if let Err(refusal) = self.put_param(out, param) {
                    refused = Some(refusal);
                    return Err(message::MessageError::Code);
                }
                if out.len() - start > crate::wire::frame::MAX_UPSTREAM_FRAME {
                    return Err(message::MessageError::TooLong);
                }
            }
            message::put_count(out, results.len())?;
            results.iter().for_each(|f| out.put_i16(f.code()));
            Ok(())
        });
        match (refused, written) {
            (Some(refusal), _) => Err(refusal),
            (None, Err(error)) => Err(misread(error)),
            (None, Ok(())) => Ok(()),
        }
    }

    fn format(&self, param: &Param) -> Format {
        match param {
            Param::Client(i) => self.source.formats.of(usize::from(*i)),
            Param::Text(_) | Param::Generated(_) => Format::Text,
            Param::Row(_) | Param::Seal { .. } | Param::EqTag { .. } | Param::EqTags { .. } => Format::Binary,
        }
    }

    fn put_param(&mut self, out: &mut BytesMut, param: &Param) -> Result<(), Refusal> {
        let put = |out: &mut BytesMut, value: Option<&[u8]>| message::put_value(out, value).map_err(misread);
        match param {
            Param::Client(i) => put(out, self.source.client(*i)?),
            Param::Text(text) => put(out, text.as_deref().map(str::as_bytes)),
            Param::Generated(i) => put(out, Some(self.source.drawn(*i)?.to_string().as_bytes())),
            Param::Row(i) => put(out, self.source.field(*i)?),
            Param::Seal { column, value, bound } => match self.seal(column, value, bound)? {
                Some(envelope) => put(out, Some(&envelope)),
                None => put(out, None),
            },
            Param::EqTag { column, value } => match self.source.tag(column, value)? {
                Some(tag) => put(out, Some(&tag)),
                None => put(out, None),
            },
            Param::EqTags { column, value } => self.source.put_tags(out, column, value),
        }
    }

    /// Seals a value for its column and row; NULL stays NULL.
    fn seal(&mut self, column: &Sealed, value: &Value, bound: &[Value]) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(known) = self.source.value(value)? else {
            return Ok(None);
        };
        let known = fitted(known, &column.ty)?;
        let keys = column_keys(self.source.ring, column)?;
        let table = self.source.manifest.tables.iter().find(|t| t.name == column.column.table);
        let mut values = Vec::with_capacity(bound.len());
        for (i, value) in bound.iter().enumerate() {
            // A drawn number is an int8; it is bound as the column that it is for.
            let ty = table.and_then(|t| Some(&t.column(t.bound.get(i)?.as_str())?.ty));
            values.push(match (self.source.value(value)?, ty) {
                (Some(known), Some(ty)) if matches!(value, Value::Generated(_)) => Some(fitted(known, ty)?),
                (known, _) => known,
            });
        }
        let bound: Vec<Bound<'_>> = values
            .iter()
            .map(|v| v.as_ref().map_or(Bound::Null, |k| Bound::Value(&k.ty, k.bytes())))
            .collect();
        let mut envelope = Vec::new();
        keys.seal(known.bytes(), &bound, self.nonces, &mut envelope)
            .map_err(|e| refusal(e.sqlstate(), "seal", e.to_string()))?;
        self.sealed += 1;
        Ok(Some(envelope))
    }
}

impl<'a> Source<'a> {
    /// The door checks of an output, with the values that this Bind gives.
    pub(super) fn doors(&self, output: &Output) -> Result<Doors, Refusal> {
        let door = |check: &DoorCheck| {
            let keys = column_keys(self.ring, &check.open.column)?;
            let mut tags: SmallVec<[_; FEW_TAGS]> = SmallVec::new();
            for value in &check.one_of {
                if check.array {
                    let ty = value_type(value).unwrap_or(&check.open.column.ty);
                    tags.extend(self.array(value)?.into_iter().flatten().map(|c| keys.eq_tag(ty, &c)));
                } else if let Some(known) = self.value(value)? {
                    tags.push(keys.eq_tag(&known.ty, known.bytes()));
                }
            }
            Ok(Door::new(keys, tags.into(), check, output))
        };
        output.door.iter().map(door).collect()
    }

    fn tag(&self, column: &Sealed, value: &Value) -> Result<Option<[u8; 16]>, Refusal> {
        let Some(known) = self.value(value)? else { return Ok(None) };
        Ok(Some(column_keys(self.ring, column)?.eq_tag(&known.ty, known.bytes())))
    }

    /// A `bytea[]` of equality tags; NULL elements stay NULL, a NULL array too.
    fn put_tags(&self, out: &mut BytesMut, column: &Sealed, value: &Value) -> Result<(), Refusal> {
        if self.is_null(value)? {
            return message::put_value(out, None).map_err(misread);
        }
        let keys = column_keys(self.ring, column)?;
        let ty = value_type(value).unwrap_or(&column.ty);
        let tags: Vec<_> = self
            .array(value)?
            .into_iter()
            .map(|v| v.map(|c| keys.eq_tag(ty, &c)))
            .collect();
        let mut array = BytesMut::with_capacity(20 + tags.len() * 20);
        let count = i32::try_from(tags.len()).map_err(|_| misread(message::MessageError::TooLong))?;
        array.put_i32(i32::from(count > 0));
        array.put_i32(i32::from(tags.iter().any(Option::is_none)));
        array.put_u32(17);
        if count > 0 {
            array.put_i32(count);
            array.put_i32(1);
        }
        for tag in &tags {
            message::put_value(&mut array, tag.as_ref().map(|t| &t[..])).map_err(misread)?;
        }
        message::put_value(out, Some(&array)).map_err(misread)
    }

    fn is_null(&self, value: &Value) -> Result<bool, Refusal> {
        Ok(match value {
            Value::Client(i, _) => self.client(*i)?.is_none(),
            Value::Text(text, _) => text.is_none(),
            _ => false,
        })
    }

    /// An array that the client gave, or a constant one.
    fn array(&self, value: &Value) -> Result<Vec<Option<Canonical>>, Refusal> {
        let read = match value {
            Value::Client(i, ty) => match self.client(*i)? {
                None => Ok(Vec::new()),
                Some(bytes) => assign::read_array(self.declared(*i), ty, bytes, self.session),
            },
            Value::Text(None, _) => Ok(Vec::new()),
            Value::Text(Some(text), ty) => value::array_from_text(ty, text, self.session),
            _ => return Err(internal("an array from somewhere else than a parameter or a constant")),
        };
        read.map_err(|e| unreadable(&e))
    }

    fn value<'v>(&'v self, value: &'v Value) -> Result<Option<Known<'v>>, Refusal>
    where
        'a: 'v,
    {
        Ok(match value {
            Value::Client(i, ty) => self.client_value(*i, ty)?,
            Value::Text(None, _) => None,
            Value::Text(Some(text), ty) => Some(canonical(ty, value::from_text(ty, text, self.session))?),
            Value::Generated(i) => Some(Known {
                ty: Cow::Owned(ColumnType::Int8),
                bytes: Plain::Public(self.drawn(*i)?.to_be_bytes().to_vec()),
            }),
            Value::Tag(column, inner) => self.tag(column, inner)?.map(|tag| Known {
                ty: Cow::Owned(ColumnType::Bytea),
                bytes: Plain::Public(tag.to_vec()),
            }),
            Value::Row(i, ty) => match self.field(*i)? {
                None => None,
                // jsonb alone has a binary form that is not its canonical one.
                Some(bytes) if *ty == ColumnType::Jsonb => Some(canonical(ty, value::from_binary(ty, bytes))?),
                Some(bytes) => Some(Known {
                    ty: Cow::Borrowed(ty),
                    bytes: Plain::Borrowed(bytes),
                }),
            },
            Value::Claim(claim, ty) => {
                let identity = self.identity.ok_or_else(|| internal("a claim where nobody is known"))?;
                match identity.claim_text(*claim) {
                    None => None,
                    Some(text) => Some(canonical(ty, value::from_text(ty, &text, self.session))?),
                }
            }
            Value::Opened(i) => {
                let row = self.row.ok_or_else(|| internal("a row's value outside a row"))?;
                let opened = row.opened.get(*i).ok_or_else(|| internal("a value that was not opened"))?;
                opened.as_ref().map(|(ty, bytes)| Known {
                    ty: Cow::Borrowed(ty),
                    bytes: Plain::Borrowed(bytes),
                })
            }
        })
    }

    /// The client's parameter, read in the type it declared and taken over as assignment to `ty` would.
    fn client_value<'v>(&'v self, index: u16, ty: &'v ColumnType) -> Result<Option<Known<'v>>, Refusal> {
        let Some(bytes) = self.client(index)? else { return Ok(None) };
        canonical(ty, assign::read(self.declared(index), ty, bytes, self.session)).map(Some)
    }

    fn declared(&self, index: u16) -> Declared {
        let index = usize::from(index);
        Declared {
            oid: self.types.get(index).copied().unwrap_or(0),
            format: self.formats.of(index),
        }
    }

    fn client(&self, index: u16) -> Result<Option<&'a [u8]>, Refusal> {
        let given = self.values.get(usize::from(index));
        given.copied().ok_or_else(|| {
            refusal(
                "42P02",
                "parameter",
                format!("there is no parameter ${}", u32::from(index) + 1),
            )
        })
    }

    fn drawn(&self, index: usize) -> Result<i64, Refusal> {
        self.drawn
            .get(index)
            .copied()
            .ok_or_else(|| internal("a value that was not drawn"))
    }

    fn field(&self, index: usize) -> Result<Option<&'a [u8]>, Refusal> {
        let row = self.row.ok_or_else(|| internal("a row's field outside a row"))?;
        row.fields
            .get(index)
            .copied()
            .ok_or_else(|| internal("a field that was not read"))
    }
}

fn canonical<'v>(ty: &'v ColumnType, read: Result<Canonical, ValueError>) -> Result<Known<'v>, Refusal> {
    let canonical = read.map_err(|e| unreadable(&e))?;
    Ok(Known {
        ty: Cow::Borrowed(ty),
        bytes: Plain::Canonical(canonical),
    })
}

/// An integer in the width of the column that it is for.
fn fitted<'v>(known: Known<'v>, ty: &'v ColumnType) -> Result<Known<'v>, Refusal> {
    let (ColumnType::Int8, Ok(bytes)) = (&*known.ty, <[u8; 8]>::try_from(known.bytes())) else {
        return Ok(known);
    };
    let number = i64::from_be_bytes(bytes);
    let outside = || unreadable(&ValueError::OutOfRange { ty: "integer" });
    let narrow = match ty {
        ColumnType::Int4 => i32::try_from(number).map_err(|_| outside())?.to_be_bytes().to_vec(),
        ColumnType::Int2 => i16::try_from(number).map_err(|_| outside())?.to_be_bytes().to_vec(),
        _ => return Ok(known),
    };
    Ok(Known {
        ty: Cow::Borrowed(ty),
        bytes: Plain::Public(narrow),
    })
}

fn value_type(value: &Value) -> Option<&ColumnType> {
    match value {
        Value::Client(_, ty) | Value::Text(_, ty) | Value::Row(_, ty) | Value::Claim(_, ty) => Some(ty),
        Value::Generated(_) | Value::Tag(..) | Value::Opened(_) => None,
    }
}

fn unreadable(error: &ValueError) -> Refusal {
    Refusal {
        hint: error.hint(),
        ..refusal(error.sqlstate(), "value", error.to_string())
    }
}

fn internal(what: &'static str) -> Refusal {
    refusal("XX000", "internal", format!("Postern's plan asks for {what}"))
}

#[cfg(test)]
mod tests;
