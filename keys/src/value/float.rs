//! `float8`.

use super::{ValueError, trim};

pub(super) fn parse(text: &str) -> Result<f64, ValueError> {
    let trimmed = trim(text);
    // Rust's reader takes what C's strtod does, hexadecimal apart: sign, digits, point, exponent, inf, infinity, nan.
    let value: f64 = trimmed.parse().map_err(|_| ValueError::Syntax { ty: "double precision" })?;
    let mantissa = trimmed.split(['e', 'E']).next().unwrap_or("");
    let underflow = value == 0.0 && mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b));
    let overflow = value.is_infinite() && mantissa.bytes().any(|b| b.is_ascii_digit());
    if underflow || overflow {
        return Err(ValueError::OutOfRange { ty: "double precision" });
    }
    Ok(value)
}

/// One zero, one NaN.
pub(super) fn equality(value: f64) -> f64 {
    if value.is_nan() {
        f64::from_bits(0x7ff8_0000_0000_0000)
    } else if value == 0.0 {
        0.0
    } else {
        value
    }
}

/// PostgreSQL's layout: the shortest digits that read back the same where `extra_float_digits` is positive, else `%.{15+n}g`.
pub(super) fn print(value: f64, extra_float_digits: i8, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    // Rust's exponent form is `d.ddde-x`, shortest or with the digits asked for: only the layout differs.
    let (scientific, significant) = if extra_float_digits > 0 {
        (shortest(value.abs()), 15)
    } else {
        let precision = usize::try_from(15 + i32::from(extra_float_digits)).unwrap_or(1).max(1);
        (format!("{:.*e}", precision - 1, value.abs()), precision)
    };
    let (mantissa, exponent) = scientific.split_once('e').expect("the exponent form has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is an integer");
    let digits: Vec<u8> = mantissa.bytes().filter(|b| *b != b'.').collect();
    let kept = digits.iter().rposition(|d| *d != b'0').map_or(1, |last| last + 1);
    layout(&digits[..kept], exponent, significant, out);
}

/// The shortest digits that read back as `value`, in exponent form. Rust also takes digits that lie exactly on the border between two
/// doubles and read back only because ties go to even (1e23); PostgreSQL does not (9.999999999999999e+22).
fn shortest(value: f64) -> String {
    let found = format!("{value:e}");
    // A border has at most 17 digits, as any shortest form, only where it is an integer times a power of five below 2^54.
    if !(4.5e15..1e41).contains(&value) || !on_border(&found, value) {
        return found;
    }
    let digits = found.bytes().take_while(|b| *b != b'e').filter(u8::is_ascii_digit).count();
    (digits..17)
        .map(|places| format!("{value:.places$e}"))
        .find(|longer| longer.parse() == Ok(value) && !on_border(longer, value))
        .unwrap_or(found)
}

/// Whether the least step up or down from these digits reads as another number.
fn on_border(scientific: &str, value: f64) -> bool {
    let (mantissa, exponent) = scientific.split_once('e').expect("the exponent form has an exponent");
    let places = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let exponent = exponent.parse::<i64>().unwrap_or(0) - i64::try_from(places).unwrap_or(0);
    let whole: u64 = mantissa.replace('.', "").parse().unwrap_or(1);
    let up = format!("{whole}.{:060}1e{exponent}", 0);
    let down = format!("{}.{}e{exponent}", whole.saturating_sub(1), "9".repeat(60));
    up.parse() != Ok(value) || down.parse() != Ok(value)
}

/// Positional for exponents from −4 to below `significant`, else scientific with at least two digits of exponent.
fn layout(digits: &[u8], exponent: i32, significant: usize, out: &mut Vec<u8>) {
    let limit = i32::try_from(significant).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= limit {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("e{sign}{:02}", exponent.abs()).as_bytes());
        return;
    }
    match usize::try_from(exponent) {
        Err(_) => {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', usize::try_from(-1 - exponent).unwrap_or(0)));
            out.extend_from_slice(digits);
        }
        Ok(before) if digits.len() <= before + 1 => {
            out.extend_from_slice(digits);
            out.extend(std::iter::repeat_n(b'0', before + 1 - digits.len()));
        }
        Ok(before) => {
            out.extend_from_slice(&digits[..=before]);
            out.push(b'.');
            out.extend_from_slice(&digits[before + 1..]);
        }
    }
}
