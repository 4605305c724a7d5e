//! The form in which COPY's rows are written, where Postern writes them: PostgreSQL's own options, defaults and bounds.

use pg_query::NodeEnum;
use pg_query::protobuf::{DefElem, Node};

use crate::plan::Refusal;
use crate::tree;

/// How rows of COPY are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyForm {
    /// The format.
    pub format: CopyFormat,
    /// A first line with the columns' names.
    pub header: bool,
}

/// A format with what it needs to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyFormat {
    /// Lines with escapes.
    Text {
        /// Between fields.
        delimiter: u8,
        /// What NULL is.
        null: Box<str>,
    },
    /// Comma-separated values.
    Csv {
        /// Between fields.
        delimiter: u8,
        /// What NULL is.
        null: Box<str>,
        /// Around values that need it.
        quote: u8,
        /// Before quote and escape inside of quotes.
        escape: u8,
        /// Which columns are quoted whatever they hold.
        forced: Forced,
    },
    /// PostgreSQL's binary form.
    Binary,
}

/// Columns that FORCE_QUOTE names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forced {
    /// Those at these positions.
    Columns(Box<[usize]>),
    /// All of them.
    All,
}

impl CopyForm {
    /// From the options of a COPY, each of which is one that may be given; `position` finds a column by name.
    pub(crate) fn of(options: &[Node], position: impl Fn(&str) -> Option<usize>) -> Result<Self, Refusal> {
        let given = |name: &str| {
            options.iter().find_map(|n| match &n.node {
                Some(NodeEnum::DefElem(d)) if d.defname == name => Some(&**d),
                _ => None,
            })
        };
        let text = |name: &str| given(name).and_then(|d| d.arg.as_deref()).and_then(tree::text_of);
        let byte = |name: &str, default: u8| match text(name).map(str::as_bytes) {
            None => Ok(default),
            Some([one]) if one.is_ascii() && !matches!(one, b'\r' | b'\n') => Ok(*one),
            Some(_) => Err(wrong(format!("COPY {name} must be a single one-byte character"))),
        };
        let header = given("header").is_some_and(wanted);
        let null = |default: &str| {
            let null = text("null").unwrap_or(default);
            match null.contains(['\r', '\n']) {
                true => Err(wrong(
                    "COPY null representation cannot use newline or carriage return".to_owned(),
                )),
                false => Ok(null.into()),
            }
        };
        let format = match text("format").unwrap_or("text") {
            "text" => {
                let (delimiter, null): (u8, Box<str>) = (byte("delimiter", b'\t')?, null("\\N")?);
                let letter = delimiter.is_ascii_lowercase() || delimiter.is_ascii_digit() || matches!(delimiter, b'\\' | b'.');
                if letter || null.as_bytes().contains(&delimiter) {
                    return Err(wrong(format!("COPY delimiter cannot be \"{}\"", char::from(delimiter))));
                }
                CopyFormat::Text { delimiter, null }
            }
            "csv" => {
                let (delimiter, quote) = (byte("delimiter", b',')?, byte("quote", b'"')?);
                let null: Box<str> = null("")?;
                if delimiter == quote || [delimiter, quote].iter().any(|b| null.as_bytes().contains(b)) {
                    return Err(wrong("COPY delimiter, quote and null must be different".to_owned()));
                }
                CopyFormat::Csv {
                    delimiter,
                    null,
                    quote,
                    escape: byte("escape", quote)?,
                    forced: forced(given("force_quote"), position)?,
                }
            }
            _ => CopyFormat::Binary,
        };
        if header && format == CopyFormat::Binary {
            return Err(wrong("cannot specify HEADER in BINARY mode".to_owned()));
        }
        Ok(Self { format, header })
    }
}

/// A header is wanted where the option stands alone or says yes.
fn wanted(d: &DefElem) -> bool {
    match d.arg.as_deref().and_then(|a| a.node.as_ref()) {
        None => true,
        Some(NodeEnum::Boolean(b)) => b.boolval,
        Some(NodeEnum::Integer(i)) => i.ival != 0,
        Some(NodeEnum::String(s)) => ["true", "on"].iter().any(|yes| s.sval.eq_ignore_ascii_case(yes)),
        Some(_) => false,
    }
}

fn forced(d: Option<&DefElem>, position: impl Fn(&str) -> Option<usize>) -> Result<Forced, Refusal> {
    let named = |n: &Node| {
        let name = tree::text_of(n).unwrap_or_default();
        position(name).ok_or_else(|| {
            let message = format!("FORCE_QUOTE column \"{name}\" not referenced by COPY");
            Refusal::new("42P10", "copy-option", message)
        })
    };
    Ok(match d.and_then(|d| d.arg.as_deref()).and_then(|a| a.node.as_ref()) {
        Some(NodeEnum::AStar(_)) => Forced::All,
        Some(NodeEnum::List(l)) => Forced::Columns(l.items.iter().map(named).collect::<Result<_, _>>()?),
        _ => Forced::Columns(Box::default()),
    })
}

fn wrong(message: String) -> Refusal {
    Refusal::new("22023", "copy-option", message)
        .hint("Give COPY the options of PostgreSQL's manual; those for FORMAT text are DELIMITER, NULL and HEADER.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(options: &str) -> Result<CopyForm, Refusal> {
        let parsed = pg_query::parse(&format!("COPY t TO STDOUT {options}"), 0).unwrap();
        match parsed.protobuf.stmts[0].stmt.as_ref().unwrap().node.as_ref().unwrap() {
            NodeEnum::CopyStmt(c) => CopyForm::of(&c.options, |name| (name == "b").then_some(1)),
            _ => panic!("a COPY was expected"),
        }
    }

    #[test]
    fn defaults_are_those_of_postgresql() {
        let plain = CopyFormat::Text {
            delimiter: b'\t',
            null: "\\N".into(),
        };
        assert_eq!(
            form(""),
            Ok(CopyForm {
                format: plain,
                header: false
            })
        );
        let csv = CopyFormat::Csv {
            delimiter: b',',
            null: "".into(),
            quote: b'"',
            escape: b'"',
            forced: Forced::Columns(Box::default()),
        };
        assert_eq!(
            form("CSV HEADER"),
            Ok(CopyForm {
                format: csv.clone(),
                header: true
            })
        );
        assert_eq!(
            form("(FORMAT csv, HEADER false)"),
            Ok(CopyForm {
                format: csv,
                header: false
            })
        );
        assert_eq!(form("(FORMAT binary)").map(|f| f.format), Ok(CopyFormat::Binary));
    }

    #[test]
    fn what_could_not_be_read_back_is_refused() {
        for options in [
            "(DELIMITER 'ab')",
            "(DELIMITER 'a')",
            "(DELIMITER '\\')",
            "(NULL E'a\\nb')",
            "(FORMAT csv, DELIMITER '\"')",
            "(FORMAT csv, QUOTE '')",
            "(FORMAT csv, NULL 'a,b')",
            "(FORMAT binary, HEADER)",
            "(FORMAT csv, FORCE_QUOTE (c))",
        ] {
            assert!(form(options).is_err(), "{options}");
        }
        assert!(form("(DELIMITER '|')").is_ok());
        assert!(form("(FORMAT csv, FORCE_QUOTE (b))").is_ok());
    }
}
