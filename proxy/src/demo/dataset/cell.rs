//! One value of the data set, sent as any driver would send it: in the binary format of the type that the server described.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Days since 2000-01-01.
    Date(i32),
    /// Microseconds since 2000-01-01 UTC.
    Time(i64),
    /// Hundredths.
    Cents(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A JSON document.
    Json(String),
    /// A list of texts.
    Texts(Vec<String>),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

/// The data set has a value that the described type cannot take: the manifest and the data set disagree.
#[derive(Debug, thiserror::Error)]
#[error("the data set has no form of this value for the type {0}")]
struct Mismatch(Type);

impl ToSql for Cell {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (self, ty.clone()) {
            (Cell::Null, _) => Ok(IsNull::Yes),
            (Cell::Text(t), Type::TEXT | Type::VARCHAR) => t.to_sql(ty, out),
            (Cell::Int(n), Type::INT2) => i16::try_from(*n)?.to_sql(ty, out),
            (Cell::Int(n), Type::INT4) => i32::try_from(*n)?.to_sql(ty, out),
            (Cell::Int(n), Type::INT8) => n.to_sql(ty, out),
            (Cell::Float(f), Type::FLOAT8) => f.to_sql(ty, out),
            (Cell::Bool(b), Type::BOOL) => b.to_sql(ty, out),
            (Cell::Date(days), Type::DATE) => raw(&days.to_be_bytes(), out),
            (Cell::Time(micros), Type::TIMESTAMPTZ | Type::TIMESTAMP) => raw(&micros.to_be_bytes(), out),
            (Cell::Cents(cents), Type::NUMERIC) => raw(&numeric(*cents), out),
            (Cell::Bytes(bytes), Type::BYTEA) => bytes.to_sql(ty, out),
            (Cell::Json(text), Type::JSONB) => {
                out.extend_from_slice(&[1]);
                raw(text.as_bytes(), out)
            }
            (Cell::Json(text), Type::JSON | Type::TEXT) => raw(text.as_bytes(), out),
            (Cell::Texts(list), Type::TEXT_ARRAY | Type::VARCHAR_ARRAY) => list.to_sql(ty, out),
            (_, other) => Err(Box::new(Mismatch(other))),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn raw(bytes: &[u8], out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
    out.extend_from_slice(bytes);
    Ok(IsNull::No)
}

/// `numeric_send`: digit count, weight, sign, display scale, then digits to the base 10,000 (PostgreSQL, src/backend/utils/adt/numeric.c).
fn numeric(cents: i64) -> Vec<u8> {
    let sign: u16 = if cents < 0 { 0x4000 } else { 0 };
    let whole = cents.unsigned_abs() / 100;
    let fraction = u16::try_from(cents.unsigned_abs() % 100).expect("below 100") * 100;
    let mut digits = Vec::new();
    let mut rest = whole;
    while rest > 0 {
        digits.insert(0, u16::try_from(rest % 10_000).expect("below 10,000"));
        rest /= 10_000;
    }
    let weight = i16::try_from(digits.len()).expect("at most five groups") - 1;
    if fraction > 0 {
        digits.push(fraction);
    }
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let weight = if digits.is_empty() { 0 } else { weight };
    let mut out = Vec::with_capacity(8 + 2 * digits.len());
    out.extend_from_slice(&u16::try_from(digits.len()).expect("at most six").to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&2u16.to_be_bytes());
    for d in digits {
        out.extend_from_slice(&d.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::numeric;

    #[test]
    fn numerics_have_postgresqls_binary_form() {
        assert_eq!(numeric(0), [0, 0, 0, 0, 0, 0, 0, 2]);
        // 12,345.60 is the groups 1 | 2345 | 6000.
        assert_eq!(numeric(1_234_560), [0, 3, 0, 1, 0, 0, 0, 2, 0, 1, 0x09, 0x29, 0x17, 0x70]);
        // 0.05: one group, weight −1.
        assert_eq!(numeric(5), [0, 1, 0xff, 0xff, 0, 0, 0, 2, 0x01, 0xf4]);
        // 20000 is the single group 2 at weight 1.
        assert_eq!(numeric(2_000_000), [0, 1, 0, 1, 0, 0, 0, 2, 0, 2]);
    }
}
