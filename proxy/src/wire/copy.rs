//! The rows of a `COPY … FROM STDIN`, read as PostgreSQL reads them: text, CSV and binary.
//!
//! Promised: what is read does not depend on how the data was cut into messages; a row holds at most the limit; what PostgreSQL refuses is
//! refused, in its words but without what the client sent. Source: PostgreSQL's manual, COPY, "File Formats".

use std::ops::Range;

use bytes::{Buf, BytesMut};
use postern_rewriter::plan::{Form, Header, Layout, Marks};

/// Why data is no rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// A row has too few fields.
    #[error("missing data for column \"{0}\"")]
    Missing(Box<str>),
    /// A row has too many.
    #[error("extra data after last expected column")]
    Extra,
    /// A quote was opened and not closed.
    #[error("unterminated CSV quoted field")]
    Unterminated,
    /// A line's end that is not as the first one was.
    #[error("{0} found in data")]
    LineEnd(&'static str),
    /// `\.` that is not alone.
    #[error("end-of-copy marker corrupt")]
    Marker,
    /// The header has another number of fields.
    #[error("wrong number of fields in header line: field count is {found}, expected {expected}")]
    HeaderFields {
        /// Fields that it has.
        found: usize,
        /// Columns that are filled.
        expected: usize,
    },
    /// The header names another column.
    #[error("column name mismatch in header line field {field}: expected \"{expected}\"")]
    HeaderName {
        /// Its number, from 1.
        field: usize,
        /// The column's name.
        expected: Box<str>,
    },
    /// Text that is not UTF-8, or has a NUL in it.
    #[error("invalid byte sequence for encoding \"UTF8\"")]
    Encoding,
    /// A row is longer than the limit.
    #[error("a row of COPY is longer than {0} bytes")]
    TooLong(usize),
    /// The data does not begin as binary data does.
    #[error("COPY file signature not recognized")]
    Signature,
    /// The binary header is not whole.
    #[error("invalid COPY file header (missing flags or length)")]
    Head,
    /// The binary header asks for what is not there.
    #[error("unrecognized critical flags in COPY file header")]
    Flags,
    /// A binary row has another number of fields.
    #[error("row field count is {found}, expected {expected}")]
    Fields {
        /// Fields that it has.
        found: i16,
        /// Columns that are filled.
        expected: usize,
    },
    /// A field of negative length.
    #[error("invalid field size")]
    Size,
    /// The data ends within a row.
    #[error("unexpected EOF in COPY data")]
    Cut,
    /// Something follows the trailer.
    #[error("received copy data after EOF marker")]
    AfterEnd,
}

impl CopyError {
    /// PostgreSQL's SQLSTATE for it.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Encoding => "22021",
            Self::TooLong(_) => "54000",
            _ => "22P04",
        }
    }
}

/// One row's fields.
#[derive(Default)]
pub struct Row {
    bytes: Vec<u8>,
    fields: Vec<Option<Range<usize>>>,
}

impl Row {
    /// The fields; `None` is NULL.
    pub fn fields(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.fields.iter().map(|f| f.clone().map(|range| &self.bytes[range]))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
    }

    fn push_from(&mut self, start: usize) {
        self.fields.push(Some(start..self.bytes.len()));
    }
}

/// What ends the lines; the first line says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Cr,
    Lf,
    CrLf,
}

/// Where the reader stands in the line that is not whole yet.
#[derive(Default)]
struct Scan {
    /// Bytes that were looked at.
    at: usize,
    /// Within a quoted field.
    quoted: bool,
    /// The last byte was an escape within one.
    escaped: bool,
}

/// The rows of the data that was fed.
pub struct Rows {
    layout: Layout,
    limit: usize,
    buffer: BytesMut,
    scan: Scan,
    end: Option<LineEnd>,
    /// The header line, or the binary header, has been read.
    begun: bool,
    /// The end marker has been read: what follows is nothing.
    over: bool,
    /// Nothing more will be fed.
    finished: bool,
}

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

impl Rows {
    /// Reads rows of this layout, each of at most `limit` bytes.
    pub fn new(layout: Layout, limit: usize) -> Self {
        let begun = match &layout.form {
            Form::Text(marks) | Form::Csv { marks, .. } => marks.header == Header::None,
            Form::Binary => false,
        };
        Self {
            layout,
            limit,
            buffer: BytesMut::new(),
            scan: Scan::default(),
            end: None,
            begun,
            over: false,
            finished: false,
        }
    }

    /// Whether fields are in binary format.
    pub fn is_binary(&self) -> bool {
        self.layout.form == Form::Binary
    }

    /// How many fields a row has.
    pub fn columns(&self) -> usize {
        self.layout.columns.len()
    }

    /// Takes data. All rows should be taken out before more is fed.
    pub fn feed(&mut self, data: &[u8]) {
        if !self.over || self.is_binary() {
            self.buffer.extend_from_slice(data);
        }
    }

    /// Says that this was all.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Reads the next row into `row`; `false` where there is none yet, or, once it is [finished](Self::finish), none any more.
    ///
    /// # Errors
    /// Where the data is no rows of that layout.
    pub fn next(&mut self, row: &mut Row) -> Result<bool, CopyError> {
        if self.is_binary() { self.tuple(row) } else { self.line(row) }
    }

    fn line(&mut self, row: &mut Row) -> Result<bool, CopyError> {
        loop {
            if self.over {
                self.buffer.clear();
                return Ok(false);
            }
            let Some((line, whole)) = self.find_line()? else {
                return if self.scan.at > self.limit {
                    Err(CopyError::TooLong(self.limit))
                } else {
                    Ok(false)
                };
            };
            if line > self.limit {
                return Err(CopyError::TooLong(self.limit));
            }
            self.scan = Scan::default();
            if self.over && line == 0 {
                continue;
            }
            row.clear();
            let header = !std::mem::replace(&mut self.begun, true);
            if header && self.marks().header == Header::Skipped {
                self.buffer.advance(whole);
                continue;
            }
            self.split(line, row)?;
            self.buffer.advance(whole);
            if header {
                self.check_header(row)?;
                continue;
            }
            let (found, expected) = (row.fields.len(), self.columns());
            if found > expected {
                return Err(CopyError::Extra);
            }
            if let Some(column) = self.layout.columns.get(found) {
                return Err(CopyError::Missing(column.clone()));
            }
            return Ok(true);
        }
    }

    fn marks(&self) -> &Marks {
        match &self.layout.form {
            Form::Text(marks) | Form::Csv { marks, .. } => marks,
            Form::Binary => unreachable!("binary data has no lines"),
        }
    }

    fn check_header(&self, row: &Row) -> Result<(), CopyError> {
        let (found, expected) = (row.fields.len(), self.columns());
        if found != expected {
            return Err(CopyError::HeaderFields { found, expected });
        }
        for (at, (field, name)) in row.fields().zip(&self.layout.columns).enumerate() {
            if field != Some(name.as_bytes()) {
                return Err(CopyError::HeaderName {
                    field: at + 1,
                    expected: name.clone(),
                });
            }
        }
        Ok(())
    }

    /// The length of the line that the buffer begins with, and the same with its end; `None` where it is not whole.
    fn find_line(&mut self) -> Result<Option<(usize, usize)>, CopyError> {
        let csv = match &self.layout.form {
            Form::Csv { quote, escape, .. } => Some((*quote, *escape)),
            Form::Text(_) | Form::Binary => None,
        };
        let buffer = &self.buffer[..];
        let Scan {
            mut at,
            mut quoted,
            mut escaped,
        } = self.scan;
        while let Some(byte) = buffer.get(at) {
            let before = Scan { at, quoted, escaped };
            // Before anything else is found in it, so that it does not matter how much of it is there.
            if at > self.limit {
                return Err(CopyError::TooLong(self.limit));
            }
            if let Some((quote, escape)) = csv {
                // Where they are one character it toggles; else an escape counts only within quotes, and not one that is escaped itself.
                if escape != quote {
                    if quoted && *byte == escape {
                        escaped = !escaped;
                    }
                    if *byte == quote && !escaped {
                        quoted = !quoted;
                    }
                    if *byte != escape {
                        escaped = false;
                    }
                } else if *byte == quote {
                    quoted = !quoted;
                }
            }
            let (next, after) = (buffer.get(at + 1), buffer.get(at + 2));
            match byte {
                b'\\' if csv.is_none() || at == 0 => {
                    match (next, after) {
                        (None, _) | (Some(b'.'), None) if !self.finished => return Ok(self.undecided(before)),
                        (Some(b'.'), Some(b'\r' | b'\n')) => {
                            self.over = true;
                            return Ok(Some((at, buffer.len())));
                        }
                        (Some(b'.'), _) if csv.is_none() => return Err(CopyError::Marker),
                        // In text an escaped byte is data, a line's end too.
                        (Some(_), _) if csv.is_none() => at += 1,
                        _ => {}
                    }
                }
                b'\r' if !quoted => match (self.end, next) {
                    (Some(LineEnd::Lf), _) => return Err(stray_return(csv.is_some())),
                    (None | Some(LineEnd::CrLf), None) if !self.finished => return Ok(self.undecided(before)),
                    (None | Some(LineEnd::CrLf), Some(b'\n')) => {
                        self.end = Some(LineEnd::CrLf);
                        return Ok(Some((at, at + 2)));
                    }
                    (Some(LineEnd::CrLf), _) => return Err(stray_return(csv.is_some())),
                    (None | Some(LineEnd::Cr), _) => {
                        self.end = Some(LineEnd::Cr);
                        return Ok(Some((at, at + 1)));
                    }
                },
                b'\n' if !quoted => {
                    if matches!(self.end, Some(LineEnd::Cr | LineEnd::CrLf)) {
                        return Err(CopyError::LineEnd(match csv {
                            Some(_) => "unquoted newline",
                            None => "literal newline",
                        }));
                    }
                    self.end = Some(LineEnd::Lf);
                    return Ok(Some((at, at + 1)));
                }
                _ => {}
            }
            at += 1;
        }
        if self.finished {
            return Ok((!buffer.is_empty()).then_some((buffer.len(), buffer.len())));
        }
        Ok(self.undecided(Scan { at, quoted, escaped }))
    }

    /// No line yet: from there on it is looked at again when there is more.
    fn undecided<T>(&mut self, scan: Scan) -> Option<T> {
        self.scan = scan;
        None
    }

    fn split(&self, line: usize, row: &mut Row) -> Result<(), CopyError> {
        let line = &self.buffer[..line];
        // More fields than there are columns are an error whatever they hold, so no more are kept.
        let most = self.columns() + 1;
        match &self.layout.form {
            Form::Text(marks) => split_text(line, marks, most, row),
            Form::Csv {
                marks,
                quote,
                escape,
                not_null,
                null_if,
            } => {
                let quotes = Quotes {
                    quote: *quote,
                    escape: *escape,
                    not_null,
                    null_if,
                };
                split_csv(line, marks, &quotes, most, row)?;
            }
            Form::Binary => unreachable!("binary data has no lines"),
        }
        for field in row.fields().flatten() {
            if field.contains(&0) || std::str::from_utf8(field).is_err() {
                return Err(CopyError::Encoding);
            }
        }
        Ok(())
    }

    fn tuple(&mut self, row: &mut Row) -> Result<bool, CopyError> {
        if !self.begun && !self.binary_head()? {
            return Ok(false);
        }
        if self.over {
            return if self.buffer.is_empty() {
                Ok(false)
            } else {
                Err(CopyError::AfterEnd)
            };
        }
        let mut rest = &self.buffer[..];
        if rest.is_empty() && self.finished {
            // Without a trailer, as PostgreSQL takes it.
            return Ok(false);
        }
        let (finished, limit) = (self.finished, self.limit);
        let more = |needed: usize| match (finished, needed > limit) {
            (_, true) => Err(CopyError::TooLong(limit)),
            (true, false) => Err(CopyError::Cut),
            (false, false) => Ok(false),
        };
        let Ok(found) = rest.try_get_i16() else { return more(2) };
        if found == -1 {
            self.over = true;
            self.buffer.advance(2);
            return if self.buffer.is_empty() {
                Ok(false)
            } else {
                Err(CopyError::AfterEnd)
            };
        }
        let expected = self.columns();
        if usize::try_from(found) != Ok(expected) {
            return Err(CopyError::Fields { found, expected });
        }
        row.clear();
        let mut total = 2;
        for _ in 0..expected {
            let Ok(length) = rest.try_get_i32() else {
                return more(total + 4);
            };
            total += 4;
            if total > limit {
                return Err(CopyError::TooLong(limit));
            }
            if length == -1 {
                row.fields.push(None);
                continue;
            }
            let length = usize::try_from(length).map_err(|_| CopyError::Size)?;
            total += length;
            if total > limit {
                return Err(CopyError::TooLong(limit));
            }
            if rest.len() < length {
                return more(total);
            }
            let start = row.bytes.len();
            row.bytes.extend_from_slice(&rest[..length]);
            row.push_from(start);
            rest.advance(length);
        }
        self.buffer.advance(total);
        Ok(true)
    }

    /// Signature, flags, and an extension that nobody knows. Answers whether they have been read.
    fn binary_head(&mut self) -> Result<bool, CopyError> {
        let there = self.buffer.len().min(SIGNATURE.len());
        if self.buffer[..there] != SIGNATURE[..there] {
            return Err(CopyError::Signature);
        }
        let mut rest = &self.buffer[there..];
        let head = rest.try_get_u32().and_then(|flags| Ok((flags, rest.try_get_i32()?)));
        let Ok((flags, extension)) = head else {
            return match (self.finished, there < SIGNATURE.len()) {
                (false, _) => Ok(false),
                (true, true) => Err(CopyError::Signature),
                (true, false) => Err(CopyError::Head),
            };
        };
        if flags >> 16 != 0 {
            return Err(CopyError::Flags);
        }
        let extension = usize::try_from(extension).map_err(|_| CopyError::Head)?;
        if extension > self.limit {
            return Err(CopyError::TooLong(self.limit));
        }
        if rest.len() < extension {
            return if self.finished { Err(CopyError::Head) } else { Ok(false) };
        }
        self.buffer.advance(SIGNATURE.len() + 8 + extension);
        self.begun = true;
        Ok(true)
    }
}

fn stray_return(csv: bool) -> CopyError {
    CopyError::LineEnd(if csv {
        "unquoted carriage return"
    } else {
        "literal carriage return"
    })
}

fn split_text(line: &[u8], marks: &Marks, most: usize, row: &mut Row) {
    let mut at = 0;
    loop {
        let (raw, start) = (at, row.bytes.len());
        let mut more = false;
        while let Some(byte) = line.get(at) {
            at += 1;
            if *byte == marks.delimiter {
                more = true;
                break;
            }
            if *byte != b'\\' {
                row.bytes.push(*byte);
                continue;
            }
            // A backslash that ends the line stands for nothing.
            let Some(escaped) = line.get(at) else { break };
            at += 1;
            let value = match escaped {
                b'0'..=b'7' => number(line, &mut at, u32::from(escaped - b'0'), 2, 8),
                b'x' if line.get(at).is_some_and(u8::is_ascii_hexdigit) => number(line, &mut at, 0, 2, 16),
                b'b' => 0x08,
                b'f' => 0x0c,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 0x0b,
                other => *other,
            };
            row.bytes.push(value);
        }
        let written = &line[raw..at - usize::from(more)];
        if written == marks.null.as_bytes() {
            row.bytes.truncate(start);
            row.fields.push(None);
        } else {
            row.push_from(start);
        }
        if !more || row.fields.len() >= most {
            return;
        }
    }
}

/// Up to `digits` further digits of a number; its lowest eight bits, as PostgreSQL takes them.
fn number(line: &[u8], at: &mut usize, first: u32, digits: usize, radix: u32) -> u8 {
    let mut value = first;
    for _ in 0..digits {
        let Some(digit) = line.get(*at).and_then(|b| char::from(*b).to_digit(radix)) else {
            break;
        };
        value = value * radix + digit;
        *at += 1;
    }
    value.to_le_bytes()[0]
}

struct Quotes<'l> {
    quote: u8,
    escape: u8,
    not_null: &'l [bool],
    null_if: &'l [bool],
}

fn split_csv(line: &[u8], marks: &Marks, quotes: &Quotes<'_>, most: usize, row: &mut Row) -> Result<(), CopyError> {
    let null = marks.null.as_bytes();
    let mut at = 0;
    loop {
        let (raw, start) = (at, row.bytes.len());
        let (mut more, mut was_quoted, mut quoted) = (false, false, false);
        while let Some(byte) = line.get(at) {
            at += 1;
            if quoted {
                let next = line.get(at);
                if *byte == quotes.escape
                    && let Some(next) = next
                    && (*next == quotes.escape || *next == quotes.quote)
                {
                    row.bytes.push(*next);
                    at += 1;
                } else if *byte == quotes.quote {
                    quoted = false;
                } else {
                    row.bytes.push(*byte);
                }
            } else if *byte == marks.delimiter {
                more = true;
                break;
            } else if *byte == quotes.quote {
                (was_quoted, quoted) = (true, true);
            } else {
                row.bytes.push(*byte);
            }
        }
        if quoted {
            return Err(CopyError::Unterminated);
        }
        let column = row.fields.len();
        let forced = |flags: &[bool]| flags.get(column).copied().unwrap_or(false);
        let is_null = if was_quoted {
            forced(quotes.null_if) && row.bytes[start..] == *null
        } else {
            line[raw..at - usize::from(more)] == *null && !forced(quotes.not_null)
        };
        if is_null {
            row.bytes.truncate(start);
            row.fields.push(None);
        } else {
            row.push_from(start);
        }
        if !more || row.fields.len() >= most {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
