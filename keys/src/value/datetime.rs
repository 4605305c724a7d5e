//! `date` and `timestamptz`: what they mean and how they print. Reading their text is [`parse`]'s.

mod parse;

use jiff::civil;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::ValueError;

pub(super) use parse::{parse_date, parse_timestamptz};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const MICROS_PER_DAY: i64 = SECONDS_PER_DAY * MICROS_PER_SECOND;

/// 2000-01-01, PostgreSQL's epoch, in days since 1970-01-01.
const EPOCH_DAYS: i64 = 10_957;

/// The Gregorian calendar, weekdays included, repeats after 400 years.
const CYCLE_YEARS: i64 = 400;
const CYCLE_SECONDS: i64 = 146_097 * SECONDS_PER_DAY;

/// Checks that PostgreSQL holds this date (days since 2000-01-01): 4714-11-24 BC to 5874897-12-31, and the infinities.
pub(super) fn check_date(days: i32) -> Result<i32, ValueError> {
    match days {
        i32::MIN | i32::MAX | -2_451_545..=2_145_031_948 => Ok(days),
        _ => Err(ValueError::DateRange { what: "date" }),
    }
}

/// Checks that PostgreSQL holds this instant (µs since 2000-01-01 UTC): 4714-11-24 BC to 294276-12-31, and the infinities.
pub(super) fn check_timestamp(micros: i64) -> Result<i64, ValueError> {
    match micros {
        i64::MIN | i64::MAX | -211_813_488_000_000_000..=9_223_371_331_199_999_999 => Ok(micros),
        _ => Err(ValueError::DateRange { what: "timestamp" }),
    }
}

pub(super) fn print_date(days: i32, out: &mut Vec<u8>) -> Result<(), ValueError> {
    match check_date(days).map_err(|_| ValueError::Damaged { ty: "date" })? {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        days => {
            let (year, month, day) = civil_from_days(i64::from(days));
            push_date(year, month, day, out);
            push_era(year, out);
        }
    }
    Ok(())
}

pub(super) fn print_timestamptz(micros: i64, zone: &TimeZone, out: &mut Vec<u8>) -> Result<(), ValueError> {
    use std::io::Write;
    const MEMORY: &str = "writing to memory does not fail";
    match check_timestamp(micros).map_err(|_| ValueError::Damaged {
        ty: "timestamp with time zone",
    })? {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        micros => {
            let seconds = micros.div_euclid(MICROS_PER_SECOND);
            let fraction = micros.rem_euclid(MICROS_PER_SECOND);
            let offset = offset_at_instant(zone, seconds);
            let local = seconds + offset;
            let (year, month, day) = civil_from_days(local.div_euclid(SECONDS_PER_DAY));
            let of_day = local.rem_euclid(SECONDS_PER_DAY);
            push_date(year, month, day, out);
            let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
            write!(out, " {hour:02}:{minute:02}:{second:02}").expect(MEMORY);
            if fraction != 0 {
                write!(out, ".{fraction:06}").expect(MEMORY);
                while out.last() == Some(&b'0') {
                    out.pop();
                }
            }
            push_offset(offset, out);
            push_era(year, out);
        }
    }
    Ok(())
}

fn push_date(year: i64, month: i64, day: i64, out: &mut Vec<u8>) {
    use std::io::Write;
    let shown = if year > 0 { year } else { 1 - year };
    write!(out, "{shown:04}-{month:02}-{day:02}").expect("writing to memory does not fail");
}

fn push_era(year: i64, out: &mut Vec<u8>) {
    if year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

/// `+02`, `+05:30`, `-00:25:21`.
fn push_offset(offset: i64, out: &mut Vec<u8>) {
    use std::io::Write;
    const MEMORY: &str = "writing to memory does not fail";
    let size = offset.abs();
    out.push(if offset < 0 { b'-' } else { b'+' });
    write!(out, "{:02}", size / 3600).expect(MEMORY);
    if size % 3600 != 0 {
        write!(out, ":{:02}", size / 60 % 60).expect(MEMORY);
    }
    if size % 60 != 0 {
        write!(out, ":{:02}", size % 60).expect(MEMORY);
    }
}

/// A calendar day as days since 2000-01-01. Proleptic Gregorian, year 0 is 1 BC.
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468 - EPOCH_DAYS
}

/// The reverse, `civil_from_days` of the same source.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + EPOCH_DAYS + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Seconds east of UTC at an instant (seconds since 2000-01-01 UTC). Beyond the years that `jiff` knows, the rules of an equivalent
/// year hold, as in PostgreSQL.
fn offset_at_instant(zone: &TimeZone, seconds: i64) -> i64 {
    let unix = seconds + EPOCH_DAYS * SECONDS_PER_DAY;
    let last = jiff::Timestamp::MAX.as_second() - CYCLE_SECONDS;
    let cycles = if unix > last {
        (unix - last).div_euclid(CYCLE_SECONDS) + 1
    } else {
        0
    };
    match jiff::Timestamp::from_second(unix - cycles * CYCLE_SECONDS) {
        Ok(instant) => i64::from(zone.to_offset(instant).seconds()),
        // Earlier than 9999 BC, which no timestamp is.
        Err(_) => 0,
    }
}

/// Seconds east of UTC at a local time (seconds since 2000-01-01 00:00 local). Where clocks jump forward the time is read by the rule
/// before the jump, where they fall back by the rule after it: PostgreSQL's `DetermineTimeZoneOffset`.
fn offset_at_local(zone: &TimeZone, local: i64) -> i64 {
    let of_day = local.rem_euclid(SECONDS_PER_DAY);
    let (year, month, day) = civil_from_days(local.div_euclid(SECONDS_PER_DAY));
    let cycles = if year > 9000 { (year - 9000) / CYCLE_YEARS + 1 } else { 0 };
    let known = civil::DateTime::new(
        i16::try_from(year - cycles * CYCLE_YEARS).unwrap_or(i16::MIN),
        small(month),
        small(day),
        small(of_day / 3600),
        small(of_day / 60 % 60),
        small(of_day % 60),
        0,
    );
    let offset = match known {
        Ok(local) => match zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Gap { before, .. } => before,
            AmbiguousOffset::Fold { after, .. } => after,
        },
        // Earlier than 9999 BC: the range check refuses it whatever the offset.
        Err(_) => Offset::UTC,
    };
    i64::from(offset.seconds())
}

fn small(n: i64) -> i8 {
    i8::try_from(n).expect("months, days, hours, minutes and seconds are below 100")
}
