//! A parameter of one type for a column of another: what PostgreSQL's assignment casts make of it.
//!
//! Promised: the canonical bytes that come out are those of the value that PostgreSQL would store. It makes the same cast itself where a
//! column is plain; a value that is sealed for such a column's content would be lost if the two differed. So a pair of types that is not
//! known here is refused, and the value is not in the message.

use postern_config::ColumnType;
use postern_keys::value::{self, ValueError};
use postern_keys::{Canonical, SessionFormat};
use zeroize::Zeroizing;

use crate::wire::message::Format;

/// What the client declared of a parameter: a type's OID (0 leaves it open) and the format that it is sent in.
#[derive(Clone, Copy)]
pub(super) struct Declared {
    pub oid: u32,
    pub format: Format,
}

const CHAR: u32 = 18;
const NAME: u32 = 19;
const JSON: u32 = 114;
const FLOAT4: u32 = 700;
const UNKNOWN: u32 = 705;
const BPCHAR: u32 = 1042;
const TIMESTAMP: u32 = 1114;

/// The value, as a column of type `ty` takes it.
pub(super) fn read(declared: Declared, ty: &ColumnType, bytes: &[u8], session: &SessionFormat) -> Result<Canonical, ValueError> {
    let Declared { oid, format } = declared;
    let as_type = |ty: &ColumnType| match format {
        Format::Text => value::from_text(ty, utf8(bytes)?, session),
        Format::Binary => value::from_binary(ty, bytes),
    };
    if oid == 0 || oid == UNKNOWN || Some(oid) == ty.oid() {
        return as_type(ty);
    }
    let known = known(oid);
    match (oid, ty, known) {
        (NAME | CHAR, _, _) => value::from_text(ty, utf8(bytes)?, session),
        // A cast from character drops the padding.
        (BPCHAR, _, _) => value::from_text(ty, utf8(bytes)?.trim_end_matches(' '), session),
        (JSON, ColumnType::Jsonb, _) => value::from_text(ty, utf8(bytes)?, session),
        (TIMESTAMP, ColumnType::TimestampTz, _) => timestamp(format, bytes, session),
        (FLOAT4, ColumnType::Float8, _) => {
            let number = match format {
                // PostgreSQL accepts the same spellings for both widths.
                Format::Text => float(&value::from_text(&ColumnType::Float8, utf8(bytes)?, session)?)? as f32,
                Format::Binary => f32::from_be_bytes(bytes.try_into().map_err(|_| ValueError::Binary { ty: "real" })?),
            };
            value::from_binary(ty, &f64::from(number).to_be_bytes())
        }
        (_, _, Some(given)) => taken_over(&given, &as_type(&given)?, ty, session),
        _ => Err(unsupported()),
    }
}

/// The elements of an array, as values that are compared with a column of type `ty`.
pub(super) fn read_array(
    declared: Declared,
    ty: &ColumnType,
    bytes: &[u8],
    session: &SessionFormat,
) -> Result<Vec<Option<Canonical>>, ValueError> {
    let given = match declared.format {
        // The element's type stands behind the number of dimensions and the flags.
        Format::Binary => match bytes.get(8..12).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]])) {
            Some(oid) if Some(oid) != ty.oid() => known(oid),
            _ => None,
        },
        Format::Text => element(declared.oid).filter(|given| given.oid() != ty.oid()),
    };
    let read_as = given.as_ref().unwrap_or(ty);
    let values = match declared.format {
        Format::Binary => value::array_from_binary(read_as, bytes)?,
        Format::Text => value::array_from_text(read_as, utf8(bytes)?, session)?,
    };
    match &given {
        None => Ok(values),
        Some(given) => values
            .into_iter()
            .map(|v| v.map(|v| taken_over(given, &v, ty, session)).transpose())
            .collect(),
    }
}

/// A value of one type as assignment to another takes it.
fn taken_over(given: &ColumnType, read: &[u8], ty: &ColumnType, session: &SessionFormat) -> Result<Canonical, ValueError> {
    use ColumnType::{Bool, Date, Float8, Int2, Int4, Int8, Numeric, Text, TimestampTz, Varchar};
    let mut iso = session.clone();
    // `from_text` and `to_text` must agree; what is stored as text is printed as the session prints it.
    if !matches!(ty, Text | Varchar(_)) {
        iso.set("DateStyle", "ISO")?;
        iso.set("extra_float_digits", "1")?;
    }
    let mut text = Zeroizing::new(Vec::new());
    match (given, ty) {
        (Bool, Text | Varchar(_)) => text.extend_from_slice(if read == [0] { b"false" } else { b"true" }),
        // 15 digits, as PostgreSQL's own cast.
        (Float8, Numeric(_)) => {
            let number = float(read)?;
            if number.is_finite() {
                text.extend_from_slice(fifteen_digits(number).as_bytes());
            } else {
                value::to_text(given, read, &iso, &mut text)?;
            }
        }
        (Float8, Int2 | Int4 | Int8) => {
            let number = float(read)?.round_ties_even();
            if !(-9.3e18..=9.3e18).contains(&number) {
                return Err(ValueError::OutOfRange { ty: "integer" });
            }
            text.extend_from_slice(format!("{number:.0}").as_bytes());
        }
        (Numeric(_), Int2 | Int4 | Int8) => {
            let mut exact = Zeroizing::new(Vec::new());
            value::to_text(given, read, &iso, &mut exact)?;
            let whole = ColumnType::Numeric(Some((100, 0)));
            let rounded = value::from_text(&whole, utf8(&exact)?, &iso)?;
            value::to_text(&whole, &rounded, &iso, &mut text)?;
        }
        (Bool, _) | (_, Bool) if !matches!(given, Text | Varchar(_)) => return Err(unsupported()),
        (Int2 | Int4 | Int8 | Float8 | Numeric(_), Date | TimestampTz) => return Err(unsupported()),
        _ => value::to_text(given, read, &iso, &mut text)?,
    }
    value::from_text(ty, utf8(&text)?, &iso)
}

/// A timestamp without time zone is one in the session's.
fn timestamp(format: Format, bytes: &[u8], session: &SessionFormat) -> Result<Canonical, ValueError> {
    match format {
        Format::Text => value::from_text(&ColumnType::TimestampTz, utf8(bytes)?, session),
        Format::Binary => {
            let utc = SessionFormat::default();
            let mut text = Vec::new();
            let read = value::from_binary(&ColumnType::TimestampTz, bytes)?;
            value::to_text(&ColumnType::TimestampTz, &read, &utc, &mut text)?;
            let text = utf8(&text)?;
            // "2020-01-02 03:04:05+00" or with an era behind it.
            value::from_text(&ColumnType::TimestampTz, &text.replacen("+00", "", 1), session)
        }
    }
}

/// C's `%.15g` without its exponent form's padding: the digits that PostgreSQL keeps of a double precision number made numeric.
fn fifteen_digits(number: f64) -> String {
    let printed = format!("{number:.14e}");
    let (digits, exponent) = printed.split_once('e').unwrap_or((&printed, "0"));
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits}e{exponent}")
}

fn float(canonical: &[u8]) -> Result<f64, ValueError> {
    let bytes = canonical
        .try_into()
        .map_err(|_| ValueError::Binary { ty: "double precision" })?;
    Ok(f64::from_be_bytes(bytes))
}

/// The type of that OID, where values of it are understood.
fn known(oid: u32) -> Option<ColumnType> {
    [
        ColumnType::Text,
        ColumnType::Varchar(None),
        ColumnType::Int2,
        ColumnType::Int4,
        ColumnType::Int8,
        ColumnType::Float8,
        ColumnType::Bool,
        ColumnType::Date,
        ColumnType::TimestampTz,
        ColumnType::Numeric(None),
        ColumnType::Uuid,
        ColumnType::Bytea,
        ColumnType::Jsonb,
    ]
    .into_iter()
    .find(|ty| ty.oid() == Some(oid))
}

/// The element type of an array type's OID.
fn element(array: u32) -> Option<ColumnType> {
    Some(match array {
        1000 => ColumnType::Bool,
        1001 => ColumnType::Bytea,
        1005 => ColumnType::Int2,
        1007 => ColumnType::Int4,
        1009 => ColumnType::Text,
        1015 => ColumnType::Varchar(None),
        1016 => ColumnType::Int8,
        1022 => ColumnType::Float8,
        1182 => ColumnType::Date,
        1185 => ColumnType::TimestampTz,
        1231 => ColumnType::Numeric(None),
        2951 => ColumnType::Uuid,
        _ => return None,
    })
}

fn unsupported() -> ValueError {
    ValueError::Unsupported {
        what: "a parameter of this type",
        hint: "Send it in the column's own type, or leave its type open.",
    }
}

/// Strict UTF-8.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, ValueError> {
    std::str::from_utf8(bytes).map_err(|_| ValueError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(oid: u32, ty: &ColumnType, given: &str) -> Result<String, String> {
        printed(
            Declared {
                oid,
                format: Format::Text,
            },
            ty,
            given.as_bytes(),
        )
    }

    fn printed(declared: Declared, ty: &ColumnType, given: &[u8]) -> Result<String, String> {
        let session = SessionFormat::in_zone("Asia/Tokyo");
        let read = read(declared, ty, given, &session).map_err(|e| e.sqlstate().to_owned())?;
        let mut out = Vec::new();
        value::to_text(ty, &read, &session, &mut out).unwrap();
        Ok(String::from_utf8(out).unwrap())
    }

    // Right-hand sides are PostgreSQL 15's: SELECT ($1::given)::column.
    #[test]
    fn texts_of_another_declared_type_become_what_the_cast_makes_of_them() {
        let numeric = ColumnType::Numeric(None);
        for (oid, ty, given, expected) in [
            (16, &ColumnType::Text, "t", "true"),
            (16, &ColumnType::Varchar(Some(5)), "off", "false"),
            (23, &ColumnType::Text, "007", "7"),
            (701, &ColumnType::Text, "1e3", "1000"),
            (1700, &ColumnType::Text, "+1.50", "1.50"),
            (1082, &ColumnType::Text, "2020-1-2", "2020-01-02"),
            (1042, &ColumnType::Text, "a b  ", "a b"),
            (19, &ColumnType::Text, "n ", "n "),
            (1043, &ColumnType::Text, "v ", "v "),
            (20, &ColumnType::Int4, "7", "7"),
            (1700, &ColumnType::Int4, "2.5", "3"),
            (1700, &ColumnType::Int4, "-2.5", "-3"),
            (701, &ColumnType::Int4, "2.5", "2"),
            (701, &ColumnType::Int8, "3.5", "4"),
            (701, &numeric, "0.30000000000000004", "0.3"),
            (701, &numeric, "123456789012345678", "123456789012346000"),
            (701, &numeric, "1e-7", "0.0000001"),
            (701, &numeric, "0", "0"),
            (701, &numeric, "-120", "-120"),
            (23, &numeric, "5", "5"),
            (700, &ColumnType::Float8, "0.1", "0.10000000149011612"),
            (
                1114,
                &ColumnType::TimestampTz,
                "2020-01-02 03:04:05",
                "2020-01-02 03:04:05+09",
            ),
            (1082, &ColumnType::TimestampTz, "2020-01-02", "2020-01-02 00:00:00+09"),
            (1184, &ColumnType::Date, "2020-01-01 20:00:00+00", "2020-01-02"),
            (114, &ColumnType::Jsonb, "{\"a\":1}", "{\"a\": 1}"),
            (
                25,
                &ColumnType::Uuid,
                "00000000000000000000000000000001",
                "00000000-0000-0000-0000-000000000001",
            ),
            (705, &ColumnType::Int4, " 5 ", "5"),
        ] {
            assert_eq!(text(oid, ty, given).as_deref(), Ok(expected), "{given} as {oid}");
        }
    }

    #[test]
    fn what_no_cast_makes_is_refused() {
        for (oid, ty, given, sqlstate) in [
            (20, ColumnType::Int4, "1099511627776", "22003"),
            (701, ColumnType::Int4, "1e10", "22003"),
            (701, ColumnType::Int8, "1e300", "22003"),
            (701, ColumnType::Int4, "NaN", "22003"),
            (16, ColumnType::Int4, "t", "0A000"),
            (23, ColumnType::Bool, "1", "0A000"),
            (1186, ColumnType::Text, "1 day", "0A000"),
            (1114, ColumnType::Date, "2020-01-02 03:04:05", "0A000"),
            (114, ColumnType::Text, "{}", "0A000"),
        ] {
            assert_eq!(text(oid, &ty, given), Err(sqlstate.to_owned()), "{given} as {oid}");
        }
    }

    #[test]
    fn binary_values_of_another_declared_type() {
        let binary = |oid| Declared {
            oid,
            format: Format::Binary,
        };
        assert_eq!(
            printed(binary(20), &ColumnType::Int4, &7_i64.to_be_bytes()).as_deref(),
            Ok("7")
        );
        assert_eq!(
            printed(binary(21), &ColumnType::Int4, &7_i16.to_be_bytes()).as_deref(),
            Ok("7")
        );
        assert_eq!(
            printed(binary(700), &ColumnType::Float8, &0.5_f32.to_be_bytes()).as_deref(),
            Ok("0.5")
        );
        assert_eq!(
            printed(binary(1114), &ColumnType::TimestampTz, &0_i64.to_be_bytes()).as_deref(),
            Ok("2000-01-01 00:00:00+09")
        );
        assert_eq!(printed(binary(1042), &ColumnType::Text, b"x  ").as_deref(), Ok("x"));
        assert_eq!(printed(binary(705), &ColumnType::Text, b"x ").as_deref(), Ok("x "));
        assert_eq!(printed(binary(114), &ColumnType::Jsonb, b"[1]").as_deref(), Ok("[1]"));
    }

    #[test]
    fn arrays_of_another_width() {
        let ints = |values: Vec<Option<Canonical>>| -> Vec<Option<i32>> {
            let int = |c: Canonical| i32::from_be_bytes(c.expose().try_into().unwrap());
            values.into_iter().map(|v| v.map(int)).collect()
        };
        let session = SessionFormat::default();
        let mut array = Vec::new();
        for word in [1_i32, 1, 20, 2, 1, 8] {
            array.extend(word.to_be_bytes());
        }
        array.extend(10_i64.to_be_bytes());
        array.extend((-1_i32).to_be_bytes());
        let declared = Declared {
            oid: 1016,
            format: Format::Binary,
        };
        let read = read_array(declared, &ColumnType::Int4, &array, &session).unwrap();
        assert_eq!(ints(read), [Some(10), None]);
        let declared = Declared {
            oid: 1231,
            format: Format::Text,
        };
        let read = read_array(declared, &ColumnType::Int4, b"{10.0,NULL}", &session).unwrap();
        assert_eq!(ints(read), [Some(10), None]);
    }
}
