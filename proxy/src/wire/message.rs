//! The messages that must be understood, decoded strictly and encoded.
//!
//! Promised: every string is NUL-terminated UTF-8 and is never repaired; every count is held against the bytes that are left before
//! anything is reserved for it; every message must end where its fields end. SQL goes into a message for PostgreSQL only as
//! [`Rewritten`]: there is no other encoder of Parse or Query here.
//!
//! `pgwire`'s own decoders replace invalid bytes, so that what was checked could differ from what runs; they are not used here.

use bytes::{BufMut, BytesMut};
use postern_rewriter::plan::Rewritten;
use smallvec::SmallVec;

use super::frame::MAX_UPSTREAM_FRAME;

/// Why a message could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends before its fields do.
    #[error("insufficient data left in message")]
    Truncated,
    /// A count or length below what is possible.
    #[error("a count or length in the message is negative")]
    Negative,
    /// A string that is not UTF-8.
    #[error("invalid byte sequence for encoding \"UTF8\"")]
    NotUtf8,
    /// Bytes behind the last field.
    #[error("invalid message format")]
    Trailing,
    /// A format code, target or status that the protocol does not have.
    #[error("the message holds a code that the protocol does not have")]
    Code,
    /// More than fits a message.
    #[error("the message would be longer than the protocol allows")]
    TooLong,
}

impl MessageError {
    /// SQLSTATE for the client.
    pub fn sqlstate(self) -> &'static str {
        match self {
            Self::NotUtf8 => "22021",
            Self::TooLong => "54000",
            _ => "08P01",
        }
    }
}

type Result<T> = std::result::Result<T, MessageError>;

/// Takes fields off the front of a message's body.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads this body.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(MessageError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(MessageError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes, signed.
    pub fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Two bytes, unsigned: PostgreSQL's counts of parameters reach 65,535.
    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes, signed.
    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Four bytes, unsigned.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A NUL-terminated UTF-8 string.
    pub fn text(&mut self) -> Result<&'a str> {
        let end = self.rest.iter().position(|b| *b == 0).ok_or(MessageError::Truncated)?;
        let text = std::str::from_utf8(&self.rest[..end]).map_err(|_| MessageError::NotUtf8)?;
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    /// A value with its length before it; −1 is NULL.
    pub fn value(&mut self) -> Result<Option<&'a [u8]>> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| MessageError::Negative)?;
                self.bytes(length).map(Some)
            }
        }
    }

    /// A count of items that each take at least `size` bytes.
    fn count(&mut self, size: usize) -> Result<usize> {
        let count = usize::from(self.u16()?);
        if self.rest.len() / size < count {
            return Err(MessageError::Truncated);
        }
        Ok(count)
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(MessageError::Trailing)
        }
    }
}

/// A value's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text.
    Text,
    /// Binary.
    Binary,
}

impl Format {
    /// Its code.
    pub fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }

    /// The format of that code.
    pub fn of(code: i16) -> Result<Self> {
        match code {
            0 => Ok(Self::Text),
            1 => Ok(Self::Binary),
            _ => Err(MessageError::Code),
        }
    }
}

/// So many formats take no memory of their own.
const USUAL_FORMATS: usize = 16;

/// The values of a Bind; a few take no memory of their own. `None` is NULL.
pub type BindValues<'a> = SmallVec<[Option<&'a [u8]>; 4]>;

/// Formats as Bind gives them: none (all text), one for all, or one for each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Formats(SmallVec<[Format; USUAL_FORMATS]>);

impl Formats {
    /// Given codes.
    pub fn new(given: &[Format]) -> Self {
        Self(given.into())
    }

    /// Whether this many formats can serve `count` values.
    pub fn fit(&self, count: usize) -> bool {
        self.0.len() <= 1 || self.0.len() == count
    }

    /// Those that were given.
    pub fn given(&self) -> &[Format] {
        &self.0
    }

    /// The format of value `index`; meaningful where they [fit](Self::fit).
    pub fn of(&self, index: usize) -> Format {
        match &*self.0 {
            [] => Format::Text,
            [all] => *all,
            each => each.get(index).copied().unwrap_or(Format::Text),
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let count = reader.count(2)?;
        (0..count).map(|_| Format::of(reader.i16()?)).collect::<Result<_>>().map(Self)
    }
}

/// Query.
pub fn query(body: &[u8]) -> Result<&str> {
    let mut reader = Reader::new(body);
    let sql = reader.text()?;
    reader.end()?;
    Ok(sql)
}

/// Parse.
#[derive(Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    /// Statement name; empty for the unnamed one.
    pub name: &'a str,
    /// The client's text.
    pub sql: &'a str,
    /// Declared parameter types; 0 leaves it open.
    pub types: Vec<u32>,
}

impl<'a> Parse<'a> {
    /// Decodes a body.
    pub fn decode(body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let (name, sql) = (reader.text()?, reader.text()?);
        let count = reader.count(4)?;
        let types = (0..count).map(|_| reader.u32()).collect::<Result<_>>()?;
        reader.end()?;
        Ok(Self { name, sql, types })
    }
}

/// Bind.
#[derive(Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// Portal name.
    pub portal: &'a str,
    /// Statement name.
    pub statement: &'a str,
    /// Formats of the values.
    pub formats: Formats,
    /// The values; `None` is NULL.
    pub values: BindValues<'a>,
    /// Formats of the result.
    pub results: Formats,
}

impl<'a> Bind<'a> {
    /// The two names alone, for a Bind that is relayed as it is.
    pub fn names(body: &'a [u8]) -> Result<(&'a str, &'a str)> {
        let mut reader = Reader::new(body);
        Ok((reader.text()?, reader.text()?))
    }

    /// Decodes a body.
    pub fn decode(body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let (portal, statement) = (reader.text()?, reader.text()?);
        let formats = Formats::decode(&mut reader)?;
        let count = reader.count(4)?;
        let values = (0..count).map(|_| reader.value()).collect::<Result<BindValues<'_>>>()?;
        if !formats.fit(values.len()) {
            return Err(MessageError::Trailing);
        }
        let results = Formats::decode(&mut reader)?;
        reader.end()?;
        Ok(Self {
            portal,
            statement,
            formats,
            values,
            results,
        })
    }
}

/// What Describe and Close speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A statement.
    Statement(&'a str),
    /// A portal.
    Portal(&'a str),
}

impl<'a> Target<'a> {
    /// Decodes the body of Describe or Close.
    pub fn decode(body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let (kind, name) = (reader.u8()?, reader.text()?);
        reader.end()?;
        match kind {
            b'S' => Ok(Self::Statement(name)),
            b'P' => Ok(Self::Portal(name)),
            _ => Err(MessageError::Code),
        }
    }

    /// The name.
    pub fn name(self) -> &'a str {
        match self {
            Self::Statement(name) | Self::Portal(name) => name,
        }
    }
}

/// Execute: portal and row limit (0 for none).
pub fn execute(body: &[u8]) -> Result<(&str, i32)> {
    let mut reader = Reader::new(body);
    let (portal, rows) = (reader.text()?, reader.i32()?);
    reader.end()?;
    Ok((portal, rows))
}

/// One column of RowDescription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column<'a> {
    /// Name.
    pub name: &'a str,
    /// Table OID and attribute number, or zeros.
    pub origin: (u32, i16),
    /// Type OID.
    pub oid: u32,
    /// Type length.
    pub typlen: i16,
    /// Type modifier.
    pub typmod: i32,
    /// Format.
    pub format: Format,
}

/// Decodes RowDescription.
pub fn row_description(body: &[u8]) -> Result<Vec<Column<'_>>> {
    let mut reader = Reader::new(body);
    let count = reader.count(19)?;
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        columns.push(Column {
            name: reader.text()?,
            origin: (reader.u32()?, reader.i16()?),
            oid: reader.u32()?,
            typlen: reader.i16()?,
            typmod: reader.i32()?,
            format: Format::of(reader.i16()?)?,
        });
    }
    reader.end()?;
    Ok(columns)
}

/// Decodes ParameterDescription.
pub fn parameter_description(body: &[u8]) -> Result<Vec<u32>> {
    let mut reader = Reader::new(body);
    let count = reader.count(4)?;
    let types = (0..count).map(|_| reader.u32()).collect::<Result<_>>()?;
    reader.end()?;
    Ok(types)
}

/// Decodes DataRow into `fields`, which is emptied first so that its memory serves for many rows.
pub fn data_row<'a>(body: &'a [u8], fields: &mut Vec<Option<&'a [u8]>>) -> Result<()> {
    fields.clear();
    let mut reader = Reader::new(body);
    let count = reader.count(4)?;
    fields.reserve(count);
    for _ in 0..count {
        fields.push(reader.value()?);
    }
    reader.end()
}

/// Decodes a message that is one string: CommandComplete.
pub fn command_complete(body: &[u8]) -> Result<&str> {
    query(body)
}

/// Decodes ParameterStatus.
pub fn parameter_status(body: &[u8]) -> Result<(&str, &str)> {
    let mut reader = Reader::new(body);
    let (name, value) = (reader.text()?, reader.text()?);
    reader.end()?;
    Ok((name, value))
}

/// Decodes ReadyForQuery: `I`, `T` or `E`.
pub fn ready_for_query(body: &[u8]) -> Result<u8> {
    match body {
        [status @ (b'I' | b'T' | b'E')] => Ok(*status),
        [_] => Err(MessageError::Code),
        [] => Err(MessageError::Truncated),
        _ => Err(MessageError::Trailing),
    }
}

/// Decodes the fields of ErrorResponse or NoticeResponse.
pub fn error_fields(body: &[u8]) -> Result<Vec<(u8, &str)>> {
    let mut reader = Reader::new(body);
    let mut fields = Vec::with_capacity(12);
    loop {
        match reader.u8()? {
            0 => break,
            code => fields.push((code, reader.text()?)),
        }
    }
    reader.end()?;
    Ok(fields)
}

/// Appends one frame; what `body` wrote is taken back where it fails or is too long.
pub fn put(out: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut) -> Result<()>) -> Result<()> {
    let start = out.len();
    out.put_u8(kind);
    out.put_i32(0);
    let written = body(out).and_then(|()| {
        let length = out.len() - start - 1;
        match i32::try_from(length) {
            Ok(word) if length <= MAX_UPSTREAM_FRAME => {
                out[start + 1..start + 5].copy_from_slice(&word.to_be_bytes());
                Ok(())
            }
            _ => Err(MessageError::TooLong),
        }
    });
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Appends a string and its NUL. Strings here come from decoded messages, plans or constants, none of which can hold a NUL.
pub fn put_text(out: &mut BytesMut, text: &str) {
    debug_assert!(!text.contains('\0'), "decoded strings end at their NUL");
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

/// Appends a count.
pub fn put_count(out: &mut BytesMut, count: usize) -> Result<()> {
    out.put_u16(u16::try_from(count).map_err(|_| MessageError::TooLong)?);
    Ok(())
}

/// Appends a value with its length.
pub fn put_value(out: &mut BytesMut, value: Option<&[u8]>) -> Result<()> {
    match value {
        None => out.put_i32(-1),
        Some(bytes) => {
            if bytes.len() > MAX_UPSTREAM_FRAME {
                return Err(MessageError::TooLong);
            }
            out.put_i32(i32::try_from(bytes.len()).map_err(|_| MessageError::TooLong)?);
            out.put_slice(bytes);
        }
    }
    Ok(())
}

/// Query: the texts of judged statements, one after the other.
pub fn put_query<'a>(out: &mut BytesMut, statements: impl Iterator<Item = &'a Rewritten>) -> Result<()> {
    put(out, b'Q', |out| {
        for (i, statement) in statements.enumerate() {
            if i > 0 {
                out.put_slice(b"; ");
            }
            out.put_slice(statement.sql().as_bytes());
        }
        out.put_u8(0);
        Ok(())
    })
}

/// Bind to the unnamed portal, Describe, Execute, Close and Sync: what a Query does, of a prepared statement. `arguments` is the part of Bind that
/// counts and gives the values, all of them text; the results are text too.
pub fn put_run(out: &mut BytesMut, statement: &str, arguments: &[u8]) -> Result<()> {
    put(out, b'B', |out| {
        put_text(out, "");
        put_text(out, statement);
        put_count(out, 0)?;
        out.put_slice(arguments);
        put_count(out, 0)
    })?;
    out.put_slice(b"D\0\0\0\x06P\0E\0\0\0\x09\0\0\0\0\0C\0\0\0\x06P\0S\0\0\0\x04");
    Ok(())
}

/// Parse.
pub fn put_parse(out: &mut BytesMut, name: &str, sql: &Rewritten, types: &[u32]) -> Result<()> {
    put(out, b'P', |out| {
        put_text(out, name);
        put_text(out, sql.sql());
        put_count(out, types.len())?;
        types.iter().for_each(|oid| out.put_u32(*oid));
        Ok(())
    })
}

/// Bind with values that are all text, and a result in one format.
pub fn put_text_bind(out: &mut BytesMut, portal: &str, statement: &str, values: &[Option<&str>], result: Format) -> Result<()> {
    put(out, b'B', |out| {
        put_text(out, portal);
        put_text(out, statement);
        put_count(out, 0)?;
        put_count(out, values.len())?;
        for value in values {
            put_value(out, value.map(str::as_bytes))?;
        }
        put_count(out, 1)?;
        out.put_i16(result.code());
        Ok(())
    })
}

/// Describe (`D`) or Close (`C`).
pub fn put_target(out: &mut BytesMut, kind: u8, target: Target<'_>) -> Result<()> {
    put(out, kind, |out| {
        out.put_u8(match target {
            Target::Statement(_) => b'S',
            Target::Portal(_) => b'P',
        });
        put_text(out, target.name());
        Ok(())
    })
}

/// The Bind with that body, for a statement of another name. `portal` and `name` are its own names.
pub fn put_renamed_bind(out: &mut BytesMut, body: &[u8], portal: &str, name: &str, statement: &str) -> Result<()> {
    let rest = body.get(portal.len() + name.len() + 2..).ok_or(MessageError::Truncated)?;
    put(out, b'B', |out| {
        put_text(out, portal);
        put_text(out, statement);
        out.extend_from_slice(rest);
        Ok(())
    })
}

/// Execute.
pub fn put_execute(out: &mut BytesMut, portal: &str, rows: i32) -> Result<()> {
    put(out, b'E', |out| {
        put_text(out, portal);
        out.put_i32(rows);
        Ok(())
    })
}

/// A message without a body: Sync, Flush, Terminate, ParseComplete, BindComplete, CloseComplete, NoData, EmptyQueryResponse, …
pub fn put_bare(out: &mut BytesMut, kind: u8) {
    out.put_u8(kind);
    out.put_i32(4);
}

/// RowDescription.
pub fn put_row_description(out: &mut BytesMut, columns: &[Column<'_>]) -> Result<()> {
    put(out, b'T', |out| {
        put_count(out, columns.len())?;
        for c in columns {
            put_text(out, c.name);
            out.put_u32(c.origin.0);
            out.put_i16(c.origin.1);
            out.put_u32(c.oid);
            out.put_i16(c.typlen);
            out.put_i32(c.typmod);
            out.put_i16(c.format.code());
        }
        Ok(())
    })
}

/// ParameterDescription.
pub fn put_parameter_description(out: &mut BytesMut, types: &[u32]) -> Result<()> {
    put(out, b't', |out| {
        put_count(out, types.len())?;
        types.iter().for_each(|oid| out.put_u32(*oid));
        Ok(())
    })
}

/// CommandComplete.
pub fn put_command_complete(out: &mut BytesMut, tag: &str) -> Result<()> {
    put(out, b'C', |out| {
        put_text(out, tag);
        Ok(())
    })
}

/// Appends CopyInResponse: rows of so many columns, all in that format.
pub fn put_copy_in_response(out: &mut BytesMut, format: Format, columns: usize) -> Result<()> {
    put(out, b'G', |out| {
        out.put_i8(i8::from(format == Format::Binary));
        put_count(out, columns)?;
        (0..columns).for_each(|_| out.put_i16(format.code()));
        Ok(())
    })
}

/// CopyFail: the client's reason.
pub fn copy_fail(body: &[u8]) -> Result<&str> {
    let mut reader = Reader::new(body);
    let told = reader.text()?;
    reader.end()?;
    Ok(told)
}

/// ReadyForQuery.
pub fn put_ready(out: &mut BytesMut, status: u8) {
    out.put_u8(b'Z');
    out.put_i32(5);
    out.put_u8(status);
}

/// ErrorResponse (`E`) or NoticeResponse (`N`) with these fields.
pub fn put_fields<'a>(out: &mut BytesMut, kind: u8, fields: impl IntoIterator<Item = (u8, &'a str)>) -> Result<()> {
    put(out, kind, |out| {
        for (code, text) in fields {
            out.put_u8(code);
            put_text(out, text);
        }
        out.put_u8(0);
        Ok(())
    })
}

#[cfg(test)]
mod tests;
