//! Types of operands, as coarse as comparing needs.

use crate::expr::ClaimType;
use crate::types::ColumnType;

/// What an operand is, as far as comparing goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Bool,
    /// A list of claims, by its entries.
    List(ClaimType),
    /// A string constant, which PostgreSQL reads as whatever it is compared with.
    Quoted,
    Other(ColumnType),
    /// Already complained about.
    Unknown,
}

impl Kind {
    pub(super) fn of(ty: &ColumnType) -> Self {
        match ty {
            ColumnType::Text | ColumnType::Varchar(_) => Self::Text,
            ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 | ColumnType::Float8 | ColumnType::Numeric(_) => Self::Number,
            ColumnType::Bool => Self::Bool,
            other => Self::Other(other.clone()),
        }
    }

    pub(super) fn of_claim(ty: ClaimType) -> Self {
        match ty {
            ClaimType::Text => Self::Text,
            ClaimType::Bool => Self::Bool,
            ClaimType::Int4 | ClaimType::Int8 => Self::Number,
            ClaimType::Uuid => Self::Other(ColumnType::Uuid),
            ClaimType::TimestampTz => Self::Other(ColumnType::TimestampTz),
            ClaimType::TextArray | ClaimType::Int4Array | ClaimType::UuidArray => Self::List(ty.entry()),
        }
    }

    pub(super) fn compares_with(&self, other: &Kind) -> bool {
        match (self, other) {
            (Self::Unknown, _) | (_, Self::Unknown) => true,
            (Self::List(_), _) | (_, Self::List(_)) => false,
            (Self::Quoted, o) | (o, Self::Quoted) => matches!(o, Self::Quoted | Self::Text | Self::Other(_)),
            (a, b) => a == b,
        }
    }

    pub(super) fn named(&self) -> String {
        match self {
            Self::Text | Self::Quoted => "text".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Bool => "a boolean".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Other(ty) => ty.to_string(),
            Self::Unknown => "unknown".to_owned(),
        }
    }
}
