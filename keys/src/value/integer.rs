//! `int2`, `int4`, `int8`.

use super::{ValueError, trim};

pub(super) fn int2(text: &str) -> Result<i16, ValueError> {
    let n = parse(text, "smallint")?;
    i16::try_from(n).map_err(|_| ValueError::OutOfRange { ty: "smallint" })
}

pub(super) fn int4(text: &str) -> Result<i32, ValueError> {
    let n = parse(text, "integer")?;
    i32::try_from(n).map_err(|_| ValueError::OutOfRange { ty: "integer" })
}

pub(super) fn int8(text: &str) -> Result<i64, ValueError> {
    parse(text, "bigint")
}

pub(super) fn print(n: i64, out: &mut Vec<u8>) {
    use std::io::Write;
    write!(out, "{n}").expect("writing to memory does not fail");
}

fn parse(text: &str, ty: &'static str) -> Result<i64, ValueError> {
    let trimmed = trim(text);
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ValueError::Syntax { ty });
    }
    trimmed.parse().map_err(|_| ValueError::OutOfRange { ty })
}
