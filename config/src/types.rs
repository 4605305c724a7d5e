//! The column types that Postern understands by value; all others are carried by name only and can never be protected.

use std::fmt;

/// A declared column type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// `text`.
    Text,
    /// `varchar` with an optional length in characters.
    Varchar(Option<u32>),
    /// `int2`.
    Int2,
    /// `int4`.
    Int4,
    /// `int8`.
    Int8,
    /// `float8`.
    Float8,
    /// `bool`.
    Bool,
    /// `date`.
    Date,
    /// `timestamptz`.
    TimestampTz,
    /// `numeric` with optional (precision, scale).
    Numeric(Option<(u16, i16)>),
    /// `uuid`.
    Uuid,
    /// `bytea`.
    Bytea,
    /// `jsonb`.
    Jsonb,
    /// Any other type, by its SQL spelling (`text[]`, `timestamp`, …): plain columns only.
    Other(Box<str>),
}

impl ColumnType {
    /// Reads a type's SQL spelling; aliases (`integer`, `double precision`, `boolean`, `timestamp with time zone`, `varchar(20)`) fold.
    /// Unknown spellings become [`ColumnType::Other`].
    pub fn parse(spelling: &str) -> Self {
        let folded = spelling.trim().to_ascii_lowercase();
        let (base, args) = match folded.split_once('(') {
            Some((b, rest)) => match rest.strip_suffix(')') {
                Some(a) => (b.trim().to_owned(), Some(a.to_owned())),
                None => return Self::Other(folded.into()),
            },
            None => (folded.clone(), None),
        };
        match (base.as_str(), args) {
            ("text", None) => Self::Text,
            ("varchar" | "character varying", None) => Self::Varchar(None),
            ("varchar" | "character varying", Some(a)) => match a.trim().parse() {
                Ok(n) if n >= 1 => Self::Varchar(Some(n)),
                _ => Self::Other(folded.into()),
            },
            ("int2" | "smallint", None) => Self::Int2,
            ("int" | "int4" | "integer", None) => Self::Int4,
            ("int8" | "bigint", None) => Self::Int8,
            ("float8" | "double precision", None) => Self::Float8,
            ("bool" | "boolean", None) => Self::Bool,
            ("date", None) => Self::Date,
            ("timestamptz" | "timestamp with time zone", None) => Self::TimestampTz,
            ("numeric" | "decimal", None) => Self::Numeric(None),
            ("numeric" | "decimal", Some(a)) => {
                let mut parts = a.split(',').map(str::trim);
                let precision = parts.next().and_then(|p| p.parse().ok());
                let scale = parts.next().map_or(Some(0), |s| s.parse().ok());
                match (precision, scale, parts.next()) {
                    (Some(p @ 1..=1000), Some(s), None) => Self::Numeric(Some((p, s))),
                    _ => Self::Other(folded.into()),
                }
            }
            ("uuid", None) => Self::Uuid,
            ("bytea", None) => Self::Bytea,
            ("jsonb", None) => Self::Jsonb,
            _ => Self::Other(folded.into()),
        }
    }

    /// The type's OID in `pg_type`. Of [`ColumnType::Other`] only arrays of the types known here have one.
    pub fn oid(&self) -> Option<u32> {
        Some(match self {
            Self::Text => 25,
            Self::Varchar(_) => 1043,
            Self::Int2 => 21,
            Self::Int4 => 23,
            Self::Int8 => 20,
            Self::Float8 => 701,
            Self::Bool => 16,
            Self::Date => 1082,
            Self::TimestampTz => 1184,
            Self::Numeric(_) => 1700,
            Self::Uuid => 2950,
            Self::Bytea => 17,
            Self::Jsonb => 3802,
            Self::Other(name) => return Self::parse(name.strip_suffix("[]")?).array_oid(),
        })
    }

    fn array_oid(&self) -> Option<u32> {
        Some(match self {
            Self::Text => 1009,
            Self::Varchar(_) => 1015,
            Self::Int2 => 1005,
            Self::Int4 => 1007,
            Self::Int8 => 1016,
            Self::Float8 => 1022,
            Self::Bool => 1000,
            Self::Date => 1182,
            Self::TimestampTz => 1185,
            Self::Numeric(_) => 1231,
            Self::Uuid => 2951,
            Self::Bytea => 1001,
            Self::Jsonb => 3807,
            Self::Other(_) => return None,
        })
    }

    /// `atttypmod` as PostgreSQL encodes it; −1 where the type has none.
    pub fn typmod(&self) -> i32 {
        match self {
            Self::Varchar(Some(n)) => i32::try_from(*n).unwrap_or(i32::MAX - 4) + 4,
            Self::Numeric(Some((p, s))) => ((i32::from(*p) << 16) | (i32::from(*s) & 0x7ff)) + 4,
            _ => -1,
        }
    }

    /// `typlen`: bytes, or −1 for a variable-length type.
    pub fn typlen(&self) -> i16 {
        match self {
            Self::Bool => 1,
            Self::Int2 => 2,
            Self::Int4 | Self::Date => 4,
            Self::Int8 | Self::Float8 | Self::TimestampTz => 8,
            Self::Uuid => 16,
            _ => -1,
        }
    }

    /// The type without length, precision or scale: what a value compared with such a column is read as.
    pub fn unconstrained(&self) -> Self {
        match self {
            Self::Varchar(_) => Self::Varchar(None),
            Self::Numeric(_) => Self::Numeric(None),
            other => other.clone(),
        }
    }

    /// Whether comparisons (`= <> < <= > >=`) of this type may run on rows that whoever asks does not see: PostgreSQL 15 marks them
    /// LEAKPROOF for both sides of the type, so no error tells of a value. `float8`'s are marked, but the cast of a `numeric` to it raises.
    pub fn leakproof(&self) -> bool {
        match self {
            Self::Int2
            | Self::Int4
            | Self::Int8
            | Self::Uuid
            | Self::Text
            | Self::Varchar(_)
            | Self::Bool
            | Self::Date
            | Self::TimestampTz
            | Self::Bytea => true,
            Self::Other(spelling) => matches!(&**spelling, "timestamp" | "timestamp without time zone"),
            Self::Float8 | Self::Numeric(_) | Self::Jsonb => false,
        }
    }

    /// Whether a column of this type can be protected.
    pub fn sealable(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// Whether a column of this type can be part of a row key or a bound column (its stored form is compared byte by byte).
    pub fn bindable(&self) -> bool {
        matches!(
            self,
            Self::Text
                | Self::Varchar(_)
                | Self::Int2
                | Self::Int4
                | Self::Int8
                | Self::Uuid
                | Self::Bytea
                | Self::Date
                | Self::Bool
        )
    }
}

impl fmt::Display for ColumnType {
    /// The SQL spelling.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Varchar(None) => f.write_str("varchar"),
            Self::Varchar(Some(n)) => write!(f, "varchar({n})"),
            Self::Int2 => f.write_str("int2"),
            Self::Int4 => f.write_str("int4"),
            Self::Int8 => f.write_str("int8"),
            Self::Float8 => f.write_str("float8"),
            Self::Bool => f.write_str("bool"),
            Self::Date => f.write_str("date"),
            Self::TimestampTz => f.write_str("timestamptz"),
            Self::Numeric(None) => f.write_str("numeric"),
            Self::Numeric(Some((p, s))) => write!(f, "numeric({p},{s})"),
            Self::Uuid => f.write_str("uuid"),
            Self::Bytea => f.write_str("bytea"),
            Self::Jsonb => f.write_str("jsonb"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_known_types_have_an_oid_and_others_have_none() {
        assert_eq!(ColumnType::parse("text[]").oid(), Some(1009));
        assert_eq!(ColumnType::Other("numeric(12,2)[]".into()).oid(), Some(1231));
        assert_eq!(ColumnType::parse("inet[]").oid(), None);
        assert_eq!(ColumnType::parse("inet").oid(), None);
    }
}
