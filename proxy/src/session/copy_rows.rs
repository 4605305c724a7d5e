//! Rows that were opened on the way, written as COPY would write them: text, CSV or binary.
//!
//! Promised: what PostgreSQL's COPY FROM reads back with the same options is the value, NULL and the empty string told apart. Each row is
//! a CopyData of its own and is held no longer than any other row.

use bytes::{BufMut, BytesMut};
use postern_rewriter::plan::{CopyForm, CopyFormat, Forced};

use crate::wire::message::{self, Column, Format, Formats, MessageError};

type Written = Result<(), MessageError>;

/// What a binary COPY begins with: signature, flags, length of an extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The format in which the rows are to come.
pub(super) fn formats(form: &CopyForm) -> Formats {
    Formats::new(&[format(form)])
}

fn format(form: &CopyForm) -> Format {
    match form.format {
        CopyFormat::Binary => Format::Binary,
        CopyFormat::Text { .. } | CopyFormat::Csv { .. } => Format::Text,
    }
}

/// CopyOutResponse, then the signature or the header.
pub(super) fn begin(form: &CopyForm, columns: &[Column<'_>], out: &mut BytesMut) -> Written {
    let code = format(form).code();
    message::put(out, b'H', |out| {
        out.put_u8(u8::from(code == 1));
        message::put_count(out, columns.len())?;
        columns.iter().for_each(|_| out.put_i16(code));
        Ok(())
    })?;
    match form.format {
        CopyFormat::Binary => message::put(out, b'd', |out| {
            out.put_slice(SIGNATURE);
            Ok(())
        }),
        _ if form.header => message::put(out, b'd', |out| {
            for (i, column) in columns.iter().enumerate() {
                // A name is written like a value that nobody forces quotes on.
                put_text_field(form, i, columns.len(), Some(column.name.as_bytes()), false, out);
            }
            end_row(form, out);
            Ok(())
        }),
        _ => Ok(()),
    }
}

/// What stands behind the rows, CopyDone and CommandComplete.
pub(super) fn end(form: &CopyForm, tag: &str, out: &mut BytesMut) -> Written {
    if form.format == CopyFormat::Binary {
        message::put(out, b'd', |out| {
            out.put_i16(-1);
            Ok(())
        })?;
    }
    message::put_bare(out, b'c');
    let rows = tag.rsplit(' ').next().unwrap_or_default();
    message::put_command_complete(out, &format!("COPY {rows}"))
}

/// Whether a row begins with the number of its fields.
pub(super) fn counts_fields(form: &CopyForm) -> bool {
    form.format == CopyFormat::Binary
}

/// One field of a row of `count`.
pub(super) fn put_field(form: &CopyForm, index: usize, count: usize, value: Option<&[u8]>, out: &mut BytesMut) -> Written {
    let forced = match &form.format {
        CopyFormat::Binary => return message::put_value(out, value),
        CopyFormat::Text { .. } => false,
        CopyFormat::Csv { forced: Forced::All, .. } => true,
        CopyFormat::Csv {
            forced: Forced::Columns(columns),
            ..
        } => columns.contains(&index),
    };
    put_text_field(form, index, count, value, forced, out);
    Ok(())
}

/// The end of a row.
pub(super) fn end_row(form: &CopyForm, out: &mut BytesMut) {
    if format(form) == Format::Text {
        out.put_u8(b'\n');
    }
}

fn put_text_field(form: &CopyForm, index: usize, count: usize, value: Option<&[u8]>, forced: bool, out: &mut BytesMut) {
    match &form.format {
        CopyFormat::Text { delimiter, null } => {
            if index > 0 {
                out.put_u8(*delimiter);
            }
            match value {
                None => out.put_slice(null.as_bytes()),
                Some(value) => put_escaped(value, *delimiter, out),
            }
        }
        CopyFormat::Csv {
            delimiter,
            null,
            quote,
            escape,
            ..
        } => {
            if index > 0 {
                out.put_u8(*delimiter);
            }
            let Some(value) = value else {
                out.put_slice(null.as_bytes());
                return;
            };
            // A lone `\.` would end the data.
            let quoted = forced
                || *value == *null.as_bytes()
                || (count == 1 && value == b"\\.")
                || value
                    .iter()
                    .any(|b| b == delimiter || b == quote || matches!(b, b'\n' | b'\r'));
            if !quoted {
                out.put_slice(value);
                return;
            }
            out.put_u8(*quote);
            for b in value {
                if b == quote || b == escape {
                    out.put_u8(*escape);
                }
                out.put_u8(*b);
            }
            out.put_u8(*quote);
        }
        CopyFormat::Binary => {}
    }
}

fn put_escaped(value: &[u8], delimiter: u8, out: &mut BytesMut) {
    let mut from = 0;
    for (i, b) in value.iter().enumerate() {
        let letter = match *b {
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x0b => b'v',
            b'\\' => b'\\',
            other if other == delimiter => other,
            _ => continue,
        };
        out.put_slice(&value[from..i]);
        out.put_slice(&[b'\\', letter]);
        from = i + 1;
    }
    out.put_slice(&value[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: &CopyForm, rows: &[&[Option<&str>]]) -> String {
        let mut out = BytesMut::new();
        for row in rows {
            for (i, value) in row.iter().enumerate() {
                put_field(form, i, row.len(), value.map(str::as_bytes), &mut out).unwrap();
            }
            end_row(form, &mut out);
        }
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn text_is_escaped_as_postgresql_does() {
        let form = CopyForm {
            format: CopyFormat::Text {
                delimiter: b'|',
                null: "\\N".into(),
            },
            header: false,
        };
        let rows: [&[Option<&str>]; 2] = [
            &[Some("a|b\\\n\tc"), None, Some("")],
            &[Some("\\N"), Some("\u{8}\u{b}\u{c}\r"), Some("é")],
        ];
        assert_eq!(written(&form, &rows), "a\\|b\\\\\\n\\tc|\\N|\n\\\\N|\\b\\v\\f\\r|é\n");
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let form = |forced| CopyForm {
            format: CopyFormat::Csv {
                delimiter: b',',
                null: "".into(),
                quote: b'"',
                escape: b'"',
                forced,
            },
            header: false,
        };
        let row: [&[Option<&str>]; 1] = [&[
            Some("plain"),
            None,
            Some(""),
            Some("a,b"),
            Some("say \"so\""),
            Some("two\nlines"),
        ]];
        let none = form(Forced::Columns(Box::default()));
        assert_eq!(
            written(&none, &row),
            "plain,,\"\",\"a,b\",\"say \"\"so\"\"\",\"two\nlines\"\n"
        );
        let first = form(Forced::Columns([0].into()));
        assert!(written(&first, &row).starts_with("\"plain\",,"));
        assert_eq!(written(&none, &[&[Some("\\.")]]), "\"\\.\"\n");
        // NULL is never quoted.
        assert_eq!(written(&form(Forced::All), &[&[None, Some("x")]]), ",\"x\"\n");
    }
}
