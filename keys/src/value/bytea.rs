//! `bytea`: hex and escape form, in and out.

use super::ValueError;
use super::uuid::{hex_digit, push_hex};

pub(super) fn parse(text: &str) -> Result<Vec<u8>, ValueError> {
    match text.strip_prefix("\\x") {
        Some(hex) => parse_hex(hex.as_bytes()),
        None => parse_escape(text.as_bytes()),
    }
}

/// White space may stand between pairs of digits, not within one.
fn parse_hex(hex: &[u8]) -> Result<Vec<u8>, ValueError> {
    let mut out = Vec::with_capacity(hex.len() / 2);
    let mut rest = hex;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if matches!(first, b' ' | b'\n' | b'\t' | b'\r') {
            continue;
        }
        let high = hex_digit(first).ok_or(ValueError::HexDigit)?;
        let (&second, tail) = rest.split_first().ok_or(ValueError::HexLength)?;
        out.push(high << 4 | hex_digit(second).ok_or(ValueError::HexDigit)?);
        rest = tail;
    }
    Ok(out)
}

fn parse_escape(text: &[u8]) -> Result<Vec<u8>, ValueError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return Ok(out),
            [b'\\', b'\\', tail @ ..] => {
                out.push(b'\\');
                tail
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                tail
            }
            [b'\\', ..] => return Err(ValueError::Syntax { ty: "bytea" }),
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
        };
    }
}

pub(super) fn print(bytes: &[u8], escape: bool, out: &mut Vec<u8>) {
    if !escape {
        out.reserve(2 + 2 * bytes.len());
        out.extend_from_slice(b"\\x");
        bytes.iter().for_each(|b| push_hex(*b, out));
        return;
    }
    for &byte in bytes {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x20..=0x7e => out.push(byte),
            _ => out.extend_from_slice(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]),
        }
    }
}
