//! `numeric`, in PostgreSQL's binary form: number of base-10,000 digits, weight of the first, sign, display scale, digits.
//!
//! The display scale is part of a value (`1.0` prints as `1.0`) but not of its equality. Canonical means as `numeric_send` gives it:
//! neither leading nor trailing zero digits.

use super::{ValueError, trim};

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// Most digits after the point that the format holds.
const MAX_SCALE: i64 = 0x3FFF;

/// Decimal digits per stored digit.
const GROUP: i64 = 4;

/// A number while it is read: `digits` are decimal (0–9), the first of them worth 10^`exponent`.
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
    scale: i64,
}

pub(super) fn from_text(text: &str, typmod: Option<(u16, i16)>) -> Result<Vec<u8>, ValueError> {
    let trimmed = trim(text);
    let (unsigned, negative, signed) = match trimmed.as_bytes() {
        [b'-', ..] => (&trimmed[1..], true, true),
        [b'+', ..] => (&trimmed[1..], false, true),
        _ => (trimmed, false, false),
    };
    if unsigned.eq_ignore_ascii_case("nan") && !signed {
        return Ok(special(NAN));
    }
    if unsigned.eq_ignore_ascii_case("infinity") || unsigned.eq_ignore_ascii_case("inf") {
        return infinity(negative, typmod);
    }
    finish(read_decimal(unsigned, negative)?, typmod)
}

/// Reads a JSON number, which `numeric` reads too.
pub(super) fn from_json(number: &str) -> Result<Vec<u8>, ValueError> {
    from_text(number, None)
}

pub(super) fn from_binary(bytes: &[u8], typmod: Option<(u16, i16)>) -> Result<Vec<u8>, ValueError> {
    const WRONG: ValueError = ValueError::Binary { ty: "numeric" };
    let stored = Stored::read(bytes).ok_or(WRONG)?;
    match stored.sign {
        NAN => return Ok(special(NAN)),
        INFINITY | MINUS_INFINITY => return infinity(stored.sign == MINUS_INFINITY, typmod),
        POSITIVE | NEGATIVE => {}
        _ => return Err(WRONG),
    }
    if i64::from(stored.scale) > MAX_SCALE || stored.digits().any(|d| d > 9999) {
        return Err(WRONG);
    }
    let mut decimal = Decimal {
        negative: stored.sign == NEGATIVE,
        digits: Vec::with_capacity(stored.raw.len() * 2),
        exponent: i64::from(stored.weight) * GROUP + GROUP - 1,
        scale: i64::from(stored.scale),
    };
    for d in stored.digits() {
        decimal
            .digits
            .extend([d / 1000, d / 100 % 10, d / 10 % 10, d % 10].map(|d| d as u8));
    }
    // PostgreSQL cuts what lies beyond the display scale.
    decimal.cut(decimal.scale);
    finish(decimal, typmod)
}

pub(super) fn print(canonical: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let stored = Stored::canonical(canonical).ok_or(ValueError::Damaged { ty: "numeric" })?;
    match stored.sign {
        NAN => out.extend_from_slice(b"NaN"),
        INFINITY => out.extend_from_slice(b"Infinity"),
        MINUS_INFINITY => out.extend_from_slice(b"-Infinity"),
        _ => stored.print_finite(out),
    }
    Ok(())
}

/// Without the display scale, so that 1.0 and 1.00 agree; digits are without outer zeros already.
pub(super) fn equality(canonical: &[u8]) -> Result<Vec<u8>, ValueError> {
    Stored::canonical(canonical).ok_or(ValueError::Damaged { ty: "numeric" })?;
    let mut form = canonical.to_vec();
    form[6..8].fill(0);
    Ok(form)
}

/// The same number with the smallest display scale that shows it whole.
pub(super) fn shortest(canonical: &[u8]) -> Result<Vec<u8>, ValueError> {
    let stored = Stored::canonical(canonical).ok_or(ValueError::Damaged { ty: "numeric" })?;
    let last = stored.digits().last().unwrap_or(0);
    let below = i64::try_from(stored.raw.len() / 2).unwrap_or(0) - 1 - i64::from(stored.weight);
    let zeros = [10, 100, 1000].iter().filter(|power| last % **power == 0).count();
    let scale = (below * GROUP - i64::try_from(zeros).unwrap_or(0)).max(0);
    let mut form = canonical.to_vec();
    form[6..8].copy_from_slice(&u16::try_from(scale).unwrap_or(0).to_be_bytes());
    Ok(form)
}

pub(super) fn is_canonical(bytes: &[u8]) -> bool {
    Stored::canonical(bytes).is_some()
}

/// The binary form, with its length known to be right.
struct Stored<'a> {
    weight: i16,
    sign: u16,
    scale: u16,
    raw: &'a [u8],
}

impl<'a> Stored<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, raw) = bytes.split_first_chunk::<8>()?;
        let [n0, n1, w0, w1, s0, s1, d0, d1] = *header;
        let count = usize::from(u16::from_be_bytes([n0, n1]));
        (raw.len() == count * 2).then_some(Self {
            weight: i16::from_be_bytes([w0, w1]),
            sign: u16::from_be_bytes([s0, s1]),
            scale: u16::from_be_bytes([d0, d1]),
            raw,
        })
    }

    fn canonical(bytes: &'a [u8]) -> Option<Self> {
        let stored = Self::read(bytes)?;
        let fine = match stored.sign {
            POSITIVE | NEGATIVE => {
                let (first, last) = (stored.digits().next(), stored.digits().last());
                stored.digits().all(|d| d <= 9999)
                    && first != Some(0)
                    && last != Some(0)
                    && i64::from(stored.scale) <= MAX_SCALE
                    && (first.is_some() || (stored.weight == 0 && stored.sign == POSITIVE))
            }
            NAN | INFINITY | MINUS_INFINITY => stored.raw.is_empty(),
            _ => false,
        };
        fine.then_some(stored)
    }

    fn digits(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.raw.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }

    /// The group worth 10,000^`weight`.
    fn group(&self, weight: i64) -> u16 {
        let index = i64::from(self.weight) - weight;
        match usize::try_from(index).ok().and_then(|i| self.raw.get(2 * i..2 * i + 2)) {
            Some(pair) => u16::from_be_bytes([pair[0], pair[1]]),
            None => 0,
        }
    }

    fn print_finite(&self, out: &mut Vec<u8>) {
        use std::io::Write;
        const MEMORY: &str = "writing to memory does not fail";
        if self.sign == NEGATIVE {
            out.push(b'-');
        }
        let top = i64::from(self.weight).max(0);
        write!(out, "{}", self.group(top)).expect(MEMORY);
        for weight in (0..top).rev() {
            write!(out, "{:04}", self.group(weight)).expect(MEMORY);
        }
        let scale = usize::from(self.scale);
        if scale > 0 {
            out.push(b'.');
            let end = out.len() + scale;
            let mut weight = -1;
            while out.len() < end {
                write!(out, "{:04}", self.group(weight)).expect(MEMORY);
                weight -= 1;
            }
            out.truncate(end);
        }
    }
}

fn special(sign: u16) -> Vec<u8> {
    let [high, low] = sign.to_be_bytes();
    // `numeric_send` shows a stray bit of the infinities' header as a scale of 32.
    let scale = if sign == NAN { 0 } else { 0x20 };
    vec![0, 0, 0, 0, high, low, 0, scale]
}

fn infinity(negative: bool, typmod: Option<(u16, i16)>) -> Result<Vec<u8>, ValueError> {
    match typmod {
        Some((precision, scale)) => Err(ValueError::NumericField { precision, scale }),
        None => Ok(special(if negative { MINUS_INFINITY } else { INFINITY })),
    }
}

/// Digits, at most one point, an exponent if wanted; at least one digit.
fn read_decimal(text: &str, negative: bool) -> Result<Decimal, ValueError> {
    const WRONG: ValueError = ValueError::Syntax { ty: "numeric" };
    let (mantissa, power) = match text.split_once(['e', 'E']) {
        Some((mantissa, power)) => (mantissa, read_exponent(power)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(WRONG);
    }
    let length = |s: &str| i64::try_from(s.len()).unwrap_or(i64::MAX / 4);
    Ok(Decimal {
        negative,
        digits: whole.bytes().chain(fraction.bytes()).map(|b| b - b'0').collect(),
        exponent: length(whole) - 1 + power,
        scale: (length(fraction) - power).max(0),
    })
}

fn read_exponent(text: &str) -> Result<i64, ValueError> {
    const WRONG: ValueError = ValueError::Syntax { ty: "numeric" };
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(WRONG);
    }
    match text.parse::<i64>() {
        // Not `abs`: the smallest i64 has none.
        Ok(n) if n.unsigned_abs() < u64::from(i32::MAX.unsigned_abs() / 2) => Ok(n),
        _ => Err(ValueError::NumericFormat),
    }
}

impl Decimal {
    /// Drops digits beyond `scale` places after the point.
    fn cut(&mut self, scale: i64) {
        let keep = (self.exponent + 1 + scale).max(0);
        self.digits.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }

    /// Rounds half away from zero to `scale` places after (before, where negative) the point.
    fn round(&mut self, scale: i64) {
        let keep = self.exponent + 1 + scale;
        let next = usize::try_from(keep)
            .ok()
            .and_then(|k| self.digits.get(k))
            .copied()
            .unwrap_or(0);
        self.cut(scale);
        if next >= 5 {
            self.carry();
        }
    }

    /// Adds one unit in the last kept place.
    fn carry(&mut self) {
        for digit in self.digits.iter_mut().rev() {
            if *digit < 9 {
                *digit += 1;
                return;
            }
            *digit = 0;
        }
        self.digits.insert(0, 1);
        self.exponent += 1;
    }

    /// Without zeros at either end; no digits at all for zero.
    fn strip(&mut self) {
        let leading = self.digits.iter().take_while(|d| **d == 0).count();
        self.digits.drain(..leading);
        self.exponent -= i64::try_from(leading).unwrap_or(i64::MAX / 4);
        let kept = self.digits.iter().rposition(|d| *d != 0).map_or(0, |last| last + 1);
        self.digits.truncate(kept);
    }
}

/// Applies precision and scale and packs.
fn finish(mut decimal: Decimal, typmod: Option<(u16, i16)>) -> Result<Vec<u8>, ValueError> {
    if let Some((precision, scale)) = typmod {
        decimal.round(scale.into());
        decimal.scale = i64::from(scale).max(0);
        decimal.strip();
        let room = i64::from(precision) - i64::from(scale);
        if !decimal.digits.is_empty() && decimal.exponent + 1 > room {
            return Err(ValueError::NumericField { precision, scale });
        }
    } else {
        decimal.strip();
    }
    if decimal.scale > MAX_SCALE {
        return Err(ValueError::NumericFormat);
    }
    pack(&decimal)
}

fn pack(decimal: &Decimal) -> Result<Vec<u8>, ValueError> {
    let scale = u16::try_from(decimal.scale).map_err(|_| ValueError::NumericFormat)?;
    if decimal.digits.is_empty() {
        let mut zero = vec![0; 6];
        zero.extend_from_slice(&scale.to_be_bytes());
        return Ok(zero);
    }
    let weight = decimal.exponent.div_euclid(GROUP);
    // Zeros that fill the first group from the left.
    let lead = GROUP - 1 - decimal.exponent.rem_euclid(GROUP);
    let lead = usize::try_from(lead).expect("0 to 3");
    let groups = (lead + decimal.digits.len()).div_ceil(4);
    let count = u16::try_from(groups).map_err(|_| ValueError::NumericFormat)?;
    let weight = i16::try_from(weight).map_err(|_| ValueError::NumericFormat)?;
    let mut out = Vec::with_capacity(8 + 2 * groups);
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&(if decimal.negative { NEGATIVE } else { POSITIVE }).to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
    for group in 0..groups {
        let value = (4 * group..4 * group + 4).fold(0u16, |sum, place| {
            let digit = place
                .checked_sub(lead)
                .and_then(|i| decimal.digits.get(i))
                .copied()
                .unwrap_or(0);
            sum * 10 + u16::from(digit)
        });
        out.extend_from_slice(&value.to_be_bytes());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(text: &str, typmod: Option<(u16, i16)>) -> Result<String, ValueError> {
        let canonical = from_text(text, typmod)?;
        assert!(is_canonical(&canonical), "{text}");
        assert_eq!(from_binary(&canonical, typmod)?, canonical, "{text}");
        let mut out = Vec::new();
        print(&canonical, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn rounds_half_away_from_zero() {
        let budget = Some((12, 2));
        assert_eq!(through("1.005", budget).unwrap(), "1.01");
        assert_eq!(through("-1.005", budget).unwrap(), "-1.01");
        assert_eq!(through("0.004", budget).unwrap(), "0.00");
        assert_eq!(through("-0.004", budget).unwrap(), "0.00");
        assert_eq!(through("9.995", budget).unwrap(), "10.00");
        assert_eq!(through("1549", Some((2, -2))).unwrap(), "1500");
        assert_eq!(through("50", Some((2, -2))).unwrap(), "100");
        assert_eq!(through("5", Some((2, -2))).unwrap(), "0");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(through("9999999999.99", Some((12, 2))).unwrap(), "9999999999.99");
        for text in ["9999999999.995", "10000000000", "Infinity", "-inf"] {
            assert_eq!(through(text, Some((12, 2))).unwrap_err().sqlstate(), "22003", "{text}");
        }
        assert_eq!(through("NaN", Some((12, 2))).unwrap(), "NaN");
        assert_eq!(through("1e131072", None).unwrap_err(), ValueError::NumericFormat);
        assert_eq!(through("1e-16384", None).unwrap_err(), ValueError::NumericFormat);
        assert_eq!(through("1e99999999999", None).unwrap_err().sqlstate(), "22003");
        for power in [i64::MIN, i64::MIN + 1, i64::MAX, -1_073_741_823, 1_073_741_823] {
            let text = format!("1E{power}");
            assert_eq!(through(&text, None).unwrap_err(), ValueError::NumericFormat, "{text}");
            assert_eq!(
                through(&text, Some((12, 2))).unwrap_err(),
                ValueError::NumericFormat,
                "{text}"
            );
        }
        assert_eq!(through("1E-1073741822", Some((12, 2))).unwrap(), "0.00");
        assert_eq!(through("1e131071", None).unwrap().len(), 131_072);
    }

    #[test]
    fn equality_forgets_the_display_scale() {
        let form = |text| equality(&from_text(text, None).unwrap()).unwrap();
        assert_eq!(form("1.0"), form("1.000"));
        assert_eq!(form("100"), form("1e2"));
        assert_eq!(form("0.00"), form("-0"));
        assert_ne!(form("1.0"), form("1.01"));
        assert_ne!(form("1"), form("-1"));
    }

    #[test]
    fn malformed_binary_is_refused() {
        let good = from_text("12345.67", None).unwrap();
        for length in 0..good.len() {
            assert!(from_binary(&good[..length], None).is_err());
            assert!(!is_canonical(&good[..length]));
        }
        let mut big_digit = good.clone();
        big_digit[8..10].copy_from_slice(&10_000u16.to_be_bytes());
        assert_eq!(from_binary(&big_digit, None).unwrap_err().sqlstate(), "22P03");
        // More digits than the scale shows are cut, outer zeros dropped, as `numeric_recv` does.
        let loose = [0, 3, 0, 0, 0, 0, 0, 1, 0, 1, 0x13, 0x88, 0, 0];
        assert_eq!(from_binary(&loose, None).unwrap(), from_text("1.5", None).unwrap());
    }
}
