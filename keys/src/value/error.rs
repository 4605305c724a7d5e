//! Why a value was not accepted, in PostgreSQL's words and codes but without the value.

/// What is wrong with a value. No variant carries any of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a spelling of the type.
    #[error("invalid input syntax for type {ty}")]
    Syntax {
        /// The type as PostgreSQL names it.
        ty: &'static str,
    },
    /// Not a spelling of a date or time that is understood here.
    #[error("invalid input syntax for type {ty}")]
    DateSyntax {
        /// The type as PostgreSQL names it.
        ty: &'static str,
    },
    /// A month 13, an hour 25.
    #[error("date/time field value out of range")]
    DateField,
    /// An offset beyond ±15:59:59.
    #[error("time zone displacement out of range")]
    ZoneDisplacement,
    /// A calendar day or instant that PostgreSQL does not hold.
    #[error("{what} out of range")]
    DateRange {
        /// `date` or `timestamp`.
        what: &'static str,
    },
    /// A number that the type does not hold.
    #[error("value is out of range for type {ty}")]
    OutOfRange {
        /// The type as PostgreSQL names it.
        ty: &'static str,
    },
    /// Does not fit `numeric(precision, scale)`.
    #[error("numeric field overflow")]
    NumericField {
        /// Declared precision.
        precision: u16,
        /// Declared scale.
        scale: i16,
    },
    /// Beyond what `numeric` can hold at all.
    #[error("value overflows numeric format")]
    NumericFormat,
    /// More characters than `varchar(max)` takes.
    #[error("value too long for type character varying({max})")]
    TooLong {
        /// Declared length in characters.
        max: u32,
    },
    /// Not UTF-8, or holds NUL.
    #[error("invalid byte sequence for encoding \"UTF8\"")]
    Encoding,
    /// `\x…` with a character that is no hexadecimal digit.
    #[error("invalid hexadecimal digit")]
    HexDigit,
    /// `\x…` with an odd number of digits.
    #[error("invalid hexadecimal data: odd number of digits")]
    HexLength,
    /// A zone that is not known.
    #[error("time zone not recognized")]
    Zone,
    /// `\u0000` in JSON.
    #[error("unsupported Unicode escape sequence")]
    JsonUnicode,
    /// JSON nested beyond the bound.
    #[error("JSON is nested too deeply")]
    TooDeep,
    /// Longer than a cell may be once normalised, or many times longer than it was sent.
    #[error("the value is too long once written out")]
    TooLarge,
    /// Not the binary form of the type.
    #[error("incorrect binary data format for type {ty}")]
    Binary {
        /// The type as PostgreSQL names it.
        ty: &'static str,
    },
    /// Not an array literal.
    #[error("malformed array literal")]
    Array,
    /// A binary array of another element type.
    #[error("binary data has an array element type that differs from the column's")]
    ElementType,
    /// Understood by PostgreSQL, not here.
    #[error("{what} is not supported for a protected column")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// The canonical bytes are not of the type: the column was sealed as another type, or the catalogue is wrong.
    #[error("the stored value is not a canonical {ty}")]
    Damaged {
        /// The type as PostgreSQL names it.
        ty: &'static str,
    },
}

impl ValueError {
    /// The SQLSTATE that PostgreSQL gives in this case.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Syntax { .. } | Self::Array => "22P02",
            Self::DateSyntax { .. } => "22007",
            Self::DateField | Self::DateRange { .. } => "22008",
            Self::ZoneDisplacement => "22009",
            Self::OutOfRange { .. } | Self::NumericField { .. } | Self::NumericFormat => "22003",
            Self::TooLong { .. } => "22001",
            Self::Encoding => "22021",
            Self::HexDigit | Self::HexLength | Self::Zone => "22023",
            Self::JsonUnicode => "22P05",
            Self::TooDeep => "54001",
            Self::TooLarge => "54000",
            Self::Binary { .. } => "22P03",
            Self::ElementType => "42804",
            Self::Unsupported { .. } => "0A000",
            Self::Damaged { .. } => "XX001",
        }
    }

    /// What to do, where that is not plain from the message.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::DateSyntax { .. } | Self::DateField => {
                Some("Write dates and times as ISO 8601, for example 2026-01-31 or 2026-01-31 12:00:00+01.".to_owned())
            }
            Self::NumericField { precision, scale } => Some(format!(
                "The column is numeric({precision},{scale}): write a value that fits, or declare a wider type."
            )),
            Self::Zone => Some("Write the offset, as in +01:00, or a zone name, as in Europe/Berlin.".to_owned()),
            Self::JsonUnicode => Some("\\u0000 cannot be converted to text.".to_owned()),
            Self::TooDeep => Some(format!("Nest at most {} levels.", super::json::MAX_DEPTH)),
            Self::TooLarge => Some(format!(
                "A value has at most {} bytes; write numbers with large exponents inside jsonb as text.",
                crate::envelope::MAX_CELL_BYTES
            )),
            Self::Unsupported { hint, .. } => Some((*hint).to_owned()),
            Self::Damaged { .. } => Some("Compare the column's type in the manifest with the one it was sealed as.".to_owned()),
            _ => None,
        }
    }
}
