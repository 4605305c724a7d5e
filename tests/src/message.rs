//! Messages of the protocol, version 3.0, made and read by hand.

use std::fmt;
use std::io;

/// Protocol version 3.0.
pub const VERSION_3_0: i32 = 0x0003_0000;
/// The version number that marks a cancel request.
pub const CANCEL_CODE: i32 = 80_877_102;

/// One message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type byte.
    pub kind: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

/// The fields of an ErrorResponse or NoticeResponse, in the order sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorFields(pub Vec<(char, String)>);

impl ErrorFields {
    /// The field of that code.
    pub fn field(&self, code: char) -> Option<&str> {
        self.0.iter().find(|(c, _)| *c == code).map(|(_, v)| v.as_str())
    }

    /// SQLSTATE.
    pub fn sqlstate(&self) -> &str {
        self.field('C').unwrap_or("")
    }

    /// The primary message.
    pub fn message(&self) -> &str {
        self.field('M').unwrap_or("")
    }

    /// The hint, or nothing.
    pub fn hint(&self) -> &str {
        self.field('H').unwrap_or("")
    }
}

impl fmt::Display for ErrorFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.sqlstate(), self.message())?;
        for (name, code) in [("DETAIL", 'D'), ("HINT", 'H')] {
            if let Some(text) = self.field(code) {
                write!(f, " {name}: {text}")?;
            }
        }
        Ok(())
    }
}

/// A column as RowDescription tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type.
    pub oid: u32,
    /// Type length.
    pub size: i16,
    /// Type modifier.
    pub modifier: i32,
    /// 0 text, 1 binary.
    pub format: i16,
}

/// The answer to one statement.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// Parameter types, where they were described.
    pub parameters: Option<Vec<u32>>,
    /// Columns, where rows were described.
    pub columns: Option<Vec<Column>>,
    /// Rows.
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
    /// Command tag.
    pub tag: Option<String>,
    /// The error, if it failed.
    pub error: Option<ErrorFields>,
}

impl Reply {
    /// SQLSTATE of the error; empty where there is none.
    pub fn sqlstate(&self) -> &str {
        self.error.as_ref().map_or("", ErrorFields::sqlstate)
    }

    /// The rows as text, NULL as `None`.
    pub fn texts(&self) -> Vec<Vec<Option<String>>> {
        let cell = |c: &Option<Vec<u8>>| c.as_ref().map(|b| String::from_utf8_lossy(b).into_owned());
        self.rows.iter().map(|row| row.iter().map(cell).collect()).collect()
    }

    /// The first column of the first row as text.
    pub fn scalar(&self) -> Option<String> {
        self.texts().into_iter().next()?.into_iter().next()?
    }

    /// The reply itself, or a panic that says which statement failed how.
    #[track_caller]
    pub fn good(self, what: &str) -> Self {
        if let Some(e) = &self.error {
            panic!("{what}: {e}");
        }
        self
    }
}

/// A complete message.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(length(body.len() + 4));
    bytes.extend(body);
    bytes
}

/// A startup message.
pub fn startup_message(version: i32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(cstring(name));
        body.extend(cstring(value));
    }
    body.push(0);
    let mut bytes = length(body.len() + 4).to_vec();
    bytes.extend(body);
    bytes
}

/// A cancel request.
pub fn cancel_message(key: (i32, i32)) -> Vec<u8> {
    let parts = [16, CANCEL_CODE, key.0, key.1];
    parts.iter().flat_map(|p: &i32| p.to_be_bytes()).collect()
}

/// The body of a Parse.
pub fn parse_body(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = cstring(name);
    body.extend(cstring(sql));
    body.extend(count(types.len()));
    body.extend(types.iter().flat_map(|t| t.to_be_bytes()));
    body
}

/// The body of a Bind: all parameters in one format, all results in one format.
pub fn bind_body(portal: &str, statement: &str, parameters: &[Option<Vec<u8>>], format: i16, results: i16) -> Vec<u8> {
    let mut body = cstring(portal);
    body.extend(cstring(statement));
    body.extend(count(1));
    body.extend(format.to_be_bytes());
    body.extend(count(parameters.len()));
    for parameter in parameters {
        match parameter {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(bytes) => {
                body.extend(length(bytes.len()));
                body.extend(bytes);
            }
        }
    }
    body.extend(count(1));
    body.extend(results.to_be_bytes());
    body
}

/// Text with the NUL that ends it.
pub fn cstring(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

pub(crate) fn length(size: usize) -> [u8; 4] {
    i32::try_from(size).expect("a test's message fits").to_be_bytes()
}

fn count(size: usize) -> [u8; 2] {
    u16::try_from(size).expect("a test's count fits").to_be_bytes()
}

pub(crate) fn int32(body: &[u8], at: usize) -> io::Result<i32> {
    let bytes = body
        .get(at..at + 4)
        .ok_or_else(|| io::Error::other("a message is too short"))?;
    Ok(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

pub(crate) fn ready_status(body: &[u8]) -> char {
    body.first().map_or('?', |b| char::from(*b))
}

/// Reads an ErrorResponse.
pub fn error_fields(body: &[u8]) -> ErrorFields {
    let parts = body.split(|b| *b == 0).filter(|p| !p.is_empty());
    ErrorFields(
        parts
            .map(|p| (char::from(p[0]), String::from_utf8_lossy(&p[1..]).into_owned()))
            .collect(),
    )
}

pub(crate) fn columns(body: &[u8]) -> io::Result<Vec<Column>> {
    let short = || io::Error::other("a RowDescription is too short");
    let mut rest = body.get(2..).ok_or_else(short)?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == 0).ok_or_else(short)?;
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        let fixed = rest.get(end + 1..end + 19).ok_or_else(short)?;
        all.push(Column {
            name,
            oid: u32::from_be_bytes([fixed[6], fixed[7], fixed[8], fixed[9]]),
            size: i16::from_be_bytes([fixed[10], fixed[11]]),
            modifier: i32::from_be_bytes([fixed[12], fixed[13], fixed[14], fixed[15]]),
            format: i16::from_be_bytes([fixed[16], fixed[17]]),
        });
        rest = &rest[end + 19..];
    }
    Ok(all)
}

pub(crate) fn cells(body: &[u8]) -> io::Result<Vec<Option<Vec<u8>>>> {
    let short = || io::Error::other("a DataRow is too short");
    let mut rest = body.get(2..).ok_or_else(short)?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let size = int32(rest, 0)?;
        rest = &rest[4..];
        match usize::try_from(size) {
            Err(_) => all.push(None),
            Ok(size) => {
                all.push(Some(rest.get(..size).ok_or_else(short)?.to_vec()));
                rest = &rest[size..];
            }
        }
    }
    Ok(all)
}
