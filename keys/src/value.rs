//! One canonical form per value.
//!
//! What is sealed, tagged and bound is never the text that a client happened to send but the value's canonical bytes: PostgreSQL's
//! binary send format (`jsonb`: PostgreSQL's own text for it, without the version byte). Whoever reads may then ask for text or binary.
//!
//! The text forms are PostgreSQL 15's, tested against vectors made by it. Refused, though PostgreSQL takes them: words that stand for
//! the clock (`now`, `today`), dates that are not year first, Julian days, hexadecimal floats.

mod array;
mod boolean;
mod bytea;
mod datetime;
mod error;
mod float;
mod format;
mod integer;
mod json;
mod numeric;
mod text;
mod uuid;

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use postern_config::ColumnType;
use zeroize::Zeroizing;

pub use array::{array_from_binary, array_from_text};
pub use error::ValueError;
pub use format::SessionFormat;

/// A value in its canonical form; plaintext, so wiped on drop and never printed.
#[derive(PartialEq, Eq)]
pub struct Canonical(Zeroizing<Vec<u8>>);

impl Canonical {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The canonical bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Canonical {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canonical(…)")
    }
}

/// Reads PostgreSQL's text form, as assignment to a column of type `ty` would: length, precision and scale are applied.
pub fn from_text(ty: &ColumnType, text: &str, s: &SessionFormat) -> Result<Canonical, ValueError> {
    let bytes = match ty {
        ColumnType::Text => text::accept(text, None)?,
        ColumnType::Varchar(max) => text::accept(text, *max)?,
        ColumnType::Int2 => integer::int2(text)?.to_be_bytes().to_vec(),
        ColumnType::Int4 => integer::int4(text)?.to_be_bytes().to_vec(),
        ColumnType::Int8 => integer::int8(text)?.to_be_bytes().to_vec(),
        ColumnType::Float8 => float::parse(text)?.to_be_bytes().to_vec(),
        ColumnType::Bool => vec![u8::from(boolean::parse(text)?)],
        ColumnType::Date => datetime::parse_date(text)?.to_be_bytes().to_vec(),
        ColumnType::TimestampTz => datetime::parse_timestamptz(text, s)?.to_be_bytes().to_vec(),
        ColumnType::Numeric(typmod) => numeric::from_text(text, *typmod)?,
        ColumnType::Uuid => uuid::parse(text)?.to_vec(),
        ColumnType::Bytea => bytea::parse(text)?,
        ColumnType::Jsonb => json::normalise(text)?,
        ColumnType::Other(_) => return Err(NOT_BY_VALUE),
    };
    Ok(Canonical::new(bytes))
}

/// Reads PostgreSQL's binary form, as assignment to a column of type `ty` would.
pub fn from_binary(ty: &ColumnType, bytes: &[u8]) -> Result<Canonical, ValueError> {
    let wrong = || ValueError::Binary { ty: pg_name(ty) };
    let canonical = match ty {
        ColumnType::Text => text::accept(utf8(bytes)?, None)?,
        ColumnType::Varchar(max) => text::accept(utf8(bytes)?, *max)?,
        ColumnType::Int2 => fixed::<2>(bytes).ok_or_else(wrong)?.to_vec(),
        ColumnType::Int4 => fixed::<4>(bytes).ok_or_else(wrong)?.to_vec(),
        ColumnType::Int8 | ColumnType::Float8 => fixed::<8>(bytes).ok_or_else(wrong)?.to_vec(),
        ColumnType::Bool => vec![u8::from(fixed::<1>(bytes).ok_or_else(wrong)?[0] != 0)],
        ColumnType::Date => datetime::check_date(i32::from_be_bytes(fixed(bytes).ok_or_else(wrong)?))?
            .to_be_bytes()
            .to_vec(),
        ColumnType::TimestampTz => datetime::check_timestamp(i64::from_be_bytes(fixed(bytes).ok_or_else(wrong)?))?
            .to_be_bytes()
            .to_vec(),
        ColumnType::Numeric(typmod) => numeric::from_binary(bytes, *typmod)?,
        ColumnType::Uuid => fixed::<16>(bytes).ok_or_else(wrong)?.to_vec(),
        ColumnType::Bytea => bytes.to_vec(),
        ColumnType::Jsonb => match bytes.split_first() {
            Some((1, text)) => json::normalise(utf8(text)?)?,
            _ => return Err(wrong()),
        },
        ColumnType::Other(_) => return Err(NOT_BY_VALUE),
    };
    Ok(Canonical::new(canonical))
}

/// Appends the text form that the session asked for.
pub fn to_text(ty: &ColumnType, canonical: &[u8], s: &SessionFormat, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let damaged = || ValueError::Damaged { ty: pg_name(ty) };
    match ty {
        ColumnType::Text | ColumnType::Varchar(_) | ColumnType::Jsonb => {
            utf8(canonical).map_err(|_| damaged())?;
            out.extend_from_slice(canonical);
        }
        ColumnType::Int2 => integer::print(i16::from_be_bytes(fixed(canonical).ok_or_else(damaged)?).into(), out),
        ColumnType::Int4 => integer::print(i32::from_be_bytes(fixed(canonical).ok_or_else(damaged)?).into(), out),
        ColumnType::Int8 => integer::print(i64::from_be_bytes(fixed(canonical).ok_or_else(damaged)?), out),
        ColumnType::Float8 => float::print(
            f64::from_be_bytes(fixed(canonical).ok_or_else(damaged)?),
            s.extra_float_digits,
            out,
        ),
        ColumnType::Bool => out.push(match fixed::<1>(canonical).ok_or_else(damaged)?[0] {
            0 => b'f',
            1 => b't',
            _ => return Err(damaged()),
        }),
        ColumnType::Date => {
            s.require_iso()?;
            datetime::print_date(i32::from_be_bytes(fixed(canonical).ok_or_else(damaged)?), out)?;
        }
        ColumnType::TimestampTz => {
            s.require_iso()?;
            datetime::print_timestamptz(i64::from_be_bytes(fixed(canonical).ok_or_else(damaged)?), s.zone()?, out)?;
        }
        ColumnType::Numeric(_) => numeric::print(canonical, out)?,
        ColumnType::Uuid => uuid::print(&fixed(canonical).ok_or_else(damaged)?, out),
        ColumnType::Bytea => bytea::print(canonical, s.bytea_escape, out),
        ColumnType::Other(_) => return Err(NOT_BY_VALUE),
    }
    Ok(())
}

/// Appends the binary form.
pub fn to_binary(ty: &ColumnType, canonical: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    if !is_canonical_shape(ty, canonical)? {
        return Err(ValueError::Damaged { ty: pg_name(ty) });
    }
    if *ty == ColumnType::Jsonb {
        out.push(1);
    }
    out.extend_from_slice(canonical);
    Ok(())
}

/// The form that equality is decided on: equal values of one type family, and only those, have equal bytes here. `float8` loses the
/// sign of zero and the payload of NaN, `numeric` its trailing zeros (also inside `jsonb`), integers their width; all others are
/// their canonical bytes.
pub fn equality_form(ty: &ColumnType, canonical: &[u8]) -> Result<Canonical, ValueError> {
    Ok(Canonical::new(equality_bytes(ty, canonical)?.into_owned()))
}

/// [`equality_form`], borrowed where it is the canonical form.
pub(crate) fn equality_bytes<'a>(ty: &ColumnType, canonical: &'a [u8]) -> Result<Cow<'a, [u8]>, ValueError> {
    let damaged = || ValueError::Damaged { ty: pg_name(ty) };
    Ok(match ty {
        ColumnType::Int2 => {
            let n = i16::from_be_bytes(fixed(canonical).ok_or_else(damaged)?);
            Cow::Owned(i64::from(n).to_be_bytes().to_vec())
        }
        ColumnType::Int4 => {
            let n = i32::from_be_bytes(fixed(canonical).ok_or_else(damaged)?);
            Cow::Owned(i64::from(n).to_be_bytes().to_vec())
        }
        ColumnType::Float8 => {
            let n = f64::from_be_bytes(fixed(canonical).ok_or_else(damaged)?);
            Cow::Owned(float::equality(n).to_be_bytes().to_vec())
        }
        ColumnType::Numeric(_) => Cow::Owned(numeric::equality(canonical)?),
        ColumnType::Jsonb => Cow::Owned(json::equality(utf8(canonical).map_err(|_| damaged())?)?),
        _ if is_canonical_shape(ty, canonical)? => Cow::Borrowed(canonical),
        _ => return Err(damaged()),
    })
}

/// The number that stands for a family of types whose values can be equal. Append only: stored tags depend on it.
pub(crate) fn equality_family(ty: &ColumnType) -> Option<u8> {
    match ty {
        ColumnType::Int2 | ColumnType::Int4 => type_tag(&ColumnType::Int8),
        other => type_tag(other),
    }
}

/// The type without its length, precision or scale: what a value that is only compared with a column is read as, since a comparison
/// neither cuts nor rounds nor refuses.
pub fn unconstrained(ty: &ColumnType) -> ColumnType {
    match ty {
        ColumnType::Varchar(_) => ColumnType::Varchar(None),
        ColumnType::Numeric(_) => ColumnType::Numeric(None),
        other => other.clone(),
    }
}

/// The number that stands for a type in associated data and tags. Append only: sealed data depends on it. `text` and `varchar` share
/// one, since their bytes and their equality are the same.
pub(crate) fn type_tag(ty: &ColumnType) -> Option<u8> {
    Some(match ty {
        ColumnType::Text | ColumnType::Varchar(_) => 1,
        ColumnType::Int2 => 2,
        ColumnType::Int4 => 3,
        ColumnType::Int8 => 4,
        ColumnType::Float8 => 5,
        ColumnType::Bool => 6,
        ColumnType::Date => 7,
        ColumnType::TimestampTz => 8,
        ColumnType::Numeric(_) => 9,
        ColumnType::Uuid => 10,
        ColumnType::Bytea => 11,
        ColumnType::Jsonb => 12,
        ColumnType::Other(_) => return None,
    })
}

const NOT_BY_VALUE: ValueError = ValueError::Unsupported {
    what: "this type",
    hint: "Protect only columns of the types that the manual lists; leave others plain.",
};

fn is_canonical_shape(ty: &ColumnType, canonical: &[u8]) -> Result<bool, ValueError> {
    Ok(match ty {
        ColumnType::Other(_) => return Err(NOT_BY_VALUE),
        ColumnType::Text | ColumnType::Varchar(_) | ColumnType::Jsonb => std::str::from_utf8(canonical).is_ok(),
        ColumnType::Numeric(_) => numeric::is_canonical(canonical),
        ColumnType::Bool => matches!(canonical, [0 | 1]),
        ColumnType::Bytea => true,
        fixed => usize::try_from(fixed.typlen()) == Ok(canonical.len()),
    })
}

/// The type's name in PostgreSQL's messages.
fn pg_name(ty: &ColumnType) -> &'static str {
    match ty {
        ColumnType::Text => "text",
        ColumnType::Varchar(_) => "character varying",
        ColumnType::Int2 => "smallint",
        ColumnType::Int4 => "integer",
        ColumnType::Int8 => "bigint",
        ColumnType::Float8 => "double precision",
        ColumnType::Bool => "boolean",
        ColumnType::Date => "date",
        ColumnType::TimestampTz => "timestamp with time zone",
        ColumnType::Numeric(_) => "numeric",
        ColumnType::Uuid => "uuid",
        ColumnType::Bytea => "bytea",
        ColumnType::Jsonb => "jsonb",
        ColumnType::Other(_) => "unknown",
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn utf8(bytes: &[u8]) -> Result<&str, ValueError> {
    std::str::from_utf8(bytes).map_err(|_| ValueError::Encoding)
}

/// White space as C's `isspace` has it in the C locale, which is what PostgreSQL's input functions skip.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r'])
}
