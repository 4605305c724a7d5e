//! Identifiers that decide access. Each has one fallible maker; none can be had from a bare string by accident.

use std::fmt;

/// PostgreSQL truncates identifiers beyond this many bytes (NAMEDATALEN − 1), so we refuse longer ones.
pub const MAX_IDENT_BYTES: usize = 63;

/// Names that start so belong to Postern: hidden search columns, its statements, its schemas' objects.
pub const RESERVED_PREFIX: &str = "postern$";

/// Why a name was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was written.
    #[error("the name is empty")]
    Empty,
    /// Longer than [`MAX_IDENT_BYTES`].
    #[error("the name `{0}` is longer than 63 bytes, where PostgreSQL would cut it")]
    TooLong(String),
    /// A character that this kind of name does not take.
    #[error("the name `{0}` holds `{1}`, which this kind of name cannot")]
    Character(String, char),
    /// Starts with [`RESERVED_PREFIX`] or is a schema of Postern's or PostgreSQL's own.
    #[error("the name `{0}` is reserved")]
    Reserved(String),
}

/// A PostgreSQL identifier as the catalogue stores it (already folded): 1–63 bytes, no NUL, not reserved.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ident(Box<str>);

impl Ident {
    /// Accepts a name exactly as stored in the catalogue; no case folding happens here.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > MAX_IDENT_BYTES {
            return Err(NameError::TooLong(name.to_owned()));
        }
        if let Some(c) = name.chars().find(|c| *c == '\0') {
            return Err(NameError::Character(name.to_owned(), c));
        }
        if name.starts_with(RESERVED_PREFIX) {
            return Err(NameError::Reserved(name.to_owned()));
        }
        Ok(Self(name.into()))
    }

    /// The bare name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as SQL text, always quoted.
    pub fn quoted(&self) -> String {
        quote_ident(&self.0)
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Quotes any identifier for SQL text.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes any string as a plain SQL literal (requires `standard_conforming_strings=on`, which both sides are pinned to).
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

macro_rules! lower_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// Accepts `[a-z_][a-z0-9_]*`, at most 48 bytes, so that derived names still fit an identifier.
            pub fn new(name: &str) -> Result<Self, NameError> {
                let first = name.chars().next().ok_or(NameError::Empty)?;
                if name.len() > 48 {
                    return Err(NameError::TooLong(name.to_owned()));
                }
                if !(first.is_ascii_lowercase() || first == '_') {
                    return Err(NameError::Character(name.to_owned(), first));
                }
                if let Some(c) = name.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')) {
                    return Err(NameError::Character(name.to_owned(), c));
                }
                if name.starts_with("pg_") || name == "postern" || name.starts_with("postern_") {
                    return Err(NameError::Reserved(name.to_owned()));
                }
                Ok(Self(name.into()))
            }

            /// The bare name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

lower_name!(
    /// A module, which is also the stem of its roles.
    ModuleName
);
lower_name!(
    /// A login, the same name towards the proxy and towards PostgreSQL.
    LoginName
);

/// A relation, fully qualified.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableRef {
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub name: Ident,
}

impl TableRef {
    /// Both parts quoted, for SQL text.
    pub fn quoted(&self) -> String {
        format!("{}.{}", self.schema.quoted(), self.name.quoted())
    }
}

impl fmt::Display for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// A column of a relation, fully qualified.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnRef {
    /// Its relation.
    pub table: TableRef,
    /// Its name.
    pub column: Ident,
}

impl fmt::Display for ColumnRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table, self.column)
    }
}

/// The hidden column that stores the equality tag of `column`.
pub fn eq_column(column: &Ident) -> String {
    format!("{RESERVED_PREFIX}eq${column}")
}
