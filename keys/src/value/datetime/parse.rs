//! Reading dates and instants: ISO 8601 with PostgreSQL's liberties (a space for `T`, parts left out, `24:00`, BC, AM and PM, zone
//! names), year first.

use jiff::tz::TimeZone;

use super::{
    EPOCH_DAYS, MICROS_PER_DAY, MICROS_PER_SECOND, SECONDS_PER_DAY, ValueError, check_date, check_timestamp, days_from_civil,
    offset_at_local,
};
use crate::value::format::named_zone;
use crate::value::{SessionFormat, trim};

pub(in crate::value) fn parse_date(text: &str) -> Result<i32, ValueError> {
    let text = trim(text);
    match special(text)? {
        Some(Special::Infinity) => return Ok(i32::MAX),
        Some(Special::MinusInfinity) => return Ok(i32::MIN),
        Some(Special::Epoch) => return Ok(-(EPOCH_DAYS as i32)),
        None => {}
    }
    let fields = Fields::read(text, "date")?;
    let out_of_range = ValueError::DateRange { what: "date" };
    // Time and zone are allowed and, as in PostgreSQL, only checked.
    let days = i32::try_from(fields.days()?).map_err(|_| out_of_range.clone())?;
    if days == i32::MIN || days == i32::MAX {
        return Err(out_of_range);
    }
    check_date(days)
}

pub(in crate::value) fn parse_timestamptz(text: &str, s: &SessionFormat) -> Result<i64, ValueError> {
    let text = trim(text);
    match special(text)? {
        Some(Special::Infinity) => return Ok(i64::MAX),
        Some(Special::MinusInfinity) => return Ok(i64::MIN),
        Some(Special::Epoch) => return Ok(-(EPOCH_DAYS * MICROS_PER_DAY)),
        None => {}
    }
    let fields = Fields::read(text, "timestamp with time zone")?;
    let days = fields.days()?;
    let local = days * SECONDS_PER_DAY + fields.micros_of_day.div_euclid(MICROS_PER_SECOND);
    let offset = match &fields.zone {
        Some(Zone::Fixed(offset)) => *offset,
        Some(Zone::Named(zone)) => offset_at_local(zone, local),
        None => offset_at_local(s.zone()?, local),
    };
    let micros = i128::from(days) * i128::from(MICROS_PER_DAY) + i128::from(fields.micros_of_day)
        - i128::from(offset) * i128::from(MICROS_PER_SECOND);
    let out_of_range = ValueError::DateRange { what: "timestamp" };
    match i64::try_from(micros) {
        Ok(i64::MIN | i64::MAX) | Err(_) => Err(out_of_range),
        Ok(micros) => check_timestamp(micros),
    }
}

enum Special {
    Infinity,
    MinusInfinity,
    Epoch,
}

/// Words. Those that stand for the clock are refused: what they mean would be decided here and not by the database.
fn special(text: &str) -> Result<Option<Special>, ValueError> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "infinity" => Some(Special::Infinity),
        "-infinity" => Some(Special::MinusInfinity),
        "epoch" => Some(Special::Epoch),
        "now" | "today" | "tomorrow" | "yesterday" => {
            return Err(ValueError::Unsupported {
                what: "a date or time that stands for the clock",
                hint: "Write the date or time itself.",
            });
        }
        _ => None,
    })
}

enum Zone {
    /// Seconds east of UTC.
    Fixed(i64),
    Named(TimeZone),
}

struct Fields {
    /// As written; the era makes it the astronomical year.
    year: i64,
    month: i64,
    day: i64,
    bc: bool,
    micros_of_day: i64,
    zone: Option<Zone>,
}

impl Fields {
    fn read(text: &str, ty: &'static str) -> Result<Self, ValueError> {
        let mut reader = Reader { rest: text, ty };
        let (year, month, day) = reader.date()?;
        let mut fields = Self {
            year,
            month,
            day,
            bc: false,
            micros_of_day: 0,
            zone: None,
        };
        let spaced = reader.space();
        let marked = reader.skip(|b| b.eq_ignore_ascii_case(&b'T'));
        if marked || (spaced && reader.peek().is_some_and(|b| b.is_ascii_digit())) {
            fields.micros_of_day = reader.time(marked)?;
        }
        fields.read_tail(&mut reader)?;
        Ok(fields)
    }

    /// Zone, era, AM and PM, in any order, each once.
    fn read_tail(&mut self, reader: &mut Reader<'_>) -> Result<(), ValueError> {
        let (mut era, mut half) = (false, false);
        loop {
            reader.space();
            let wrong = reader.wrong();
            match reader.peek() {
                None => return Ok(()),
                Some(b'+' | b'-') if self.zone.is_none() => self.zone = Some(Zone::Fixed(reader.offset()?)),
                Some(b) if b.is_ascii_alphabetic() => {
                    let word = reader.word();
                    match word.to_ascii_uppercase().as_str() {
                        "BC" | "AD" if !era => {
                            era = true;
                            self.bc = word.eq_ignore_ascii_case("BC");
                        }
                        "AM" | "PM" if !half => {
                            half = true;
                            self.twelve_hours(word.eq_ignore_ascii_case("PM"))?;
                        }
                        "BC" | "AD" | "AM" | "PM" => return Err(wrong),
                        _ if self.zone.is_none() => self.zone = Some(zone(word, wrong)?),
                        _ => return Err(wrong),
                    }
                }
                Some(_) => return Err(wrong),
            }
        }
    }

    fn twelve_hours(&mut self, pm: bool) -> Result<(), ValueError> {
        let half_day = MICROS_PER_DAY / 2;
        let hour = self.micros_of_day / (3600 * MICROS_PER_SECOND);
        match (hour, pm) {
            (13.., _) => return Err(ValueError::DateField),
            (12, false) => self.micros_of_day -= half_day,
            (0..12, true) => self.micros_of_day += half_day,
            _ => {}
        }
        Ok(())
    }

    /// Days since 2000-01-01.
    fn days(&self) -> Result<i64, ValueError> {
        if self.year == 0 || !(1..=12).contains(&self.month) {
            return Err(ValueError::DateField);
        }
        let year = if self.bc { 1 - self.year } else { self.year };
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match self.month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if !(1..=last).contains(&self.day) {
            return Err(ValueError::DateField);
        }
        Ok(days_from_civil(year, self.month, self.day))
    }
}

struct Reader<'a> {
    rest: &'a str,
    ty: &'static str,
}

impl<'a> Reader<'a> {
    fn wrong(&self) -> ValueError {
        ValueError::DateSyntax { ty: self.ty }
    }

    fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    fn skip(&mut self, which: impl Fn(u8) -> bool) -> bool {
        let there = self.peek().is_some_and(|b| b.is_ascii() && which(b));
        self.rest = &self.rest[usize::from(there)..];
        there
    }

    fn space(&mut self) -> bool {
        let before = self.rest.len();
        while self.skip(|b| b.is_ascii_whitespace() || b == 0x0b) {}
        self.rest.len() < before
    }

    fn take_while(&mut self, which: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|b| !which(b)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn digits(&mut self) -> &'a str {
        self.take_while(|b| b.is_ascii_digit())
    }

    fn word(&mut self) -> &'a str {
        self.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'/' | b'+' | b'-'))
    }

    /// `YYYY-M-D`, `YYYY/M/D` or `YYYYMMDD`. A year has three digits at least, since `01-02-03` reads differently in each DateStyle.
    fn date(&mut self) -> Result<(i64, i64, i64), ValueError> {
        let first = self.digits();
        let separator = match self.peek() {
            Some(b @ (b'-' | b'/')) if first.len() >= 3 => b,
            _ if first.len() == 8 => {
                let (year, rest) = first.split_at(4);
                let (month, day) = rest.split_at(2);
                return Ok((self.number(year)?, self.number(month)?, self.number(day)?));
            }
            Some(b'-' | b'/') if !first.is_empty() => return Err(ValueError::DateField),
            _ => return Err(self.wrong()),
        };
        let year = self.number(first)?;
        let mut part = || {
            if !self.skip(|b| b == separator) {
                return Err(self.wrong());
            }
            match self.digits() {
                digits if matches!(digits.len(), 1 | 2) => self.number(digits),
                "" => Err(self.wrong()),
                _ => Err(ValueError::DateField),
            }
        };
        let month = part()?;
        let day = part()?;
        Ok((year, month, day))
    }

    /// `H:M`, `H:M:S`, `H:M:S.ffffff`; after `T` also `HHMM` and `HHMMSS`. Microseconds since midnight.
    fn time(&mut self, marked: bool) -> Result<i64, ValueError> {
        let first = self.digits();
        let (hour, minute, second) = if self.skip(|b| b == b':') {
            let hour = self.short(first)?;
            let minute = self.short_or_none()?;
            let second = if self.skip(|b| b == b':') { self.short_or_none()? } else { 0 };
            (hour, minute, second)
        } else {
            match first.len() {
                4 if marked => (self.number(&first[..2])?, self.number(&first[2..])?, 0),
                6 => (
                    self.number(&first[..2])?,
                    self.number(&first[2..4])?,
                    self.number(&first[4..])?,
                ),
                2 if marked => (self.number(first)?, 0, 0),
                _ => return Err(self.wrong()),
            }
        };
        let fraction = if self.skip(|b| b == b'.') { self.fraction()? } else { 0 };
        let micros = ((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + fraction;
        if minute > 59 || second > 60 || micros > MICROS_PER_DAY {
            return Err(ValueError::DateField);
        }
        Ok(micros)
    }

    /// The fraction of a second in µs, by the same arithmetic as PostgreSQL (a double, rounded to even).
    fn fraction(&mut self) -> Result<i64, ValueError> {
        let digits = self.digits();
        let fraction: f64 = format!("0.{digits}0").parse().map_err(|_| self.wrong())?;
        Ok((fraction * 1e6).round_ties_even() as i64)
    }

    /// `+HH`, `+HH:MM`, `+HH:MM:SS`, `+HHMM`: seconds east of UTC.
    fn offset(&mut self) -> Result<i64, ValueError> {
        let negative = self.skip(|b| b == b'-');
        if !negative {
            self.skip(|b| b == b'+');
        }
        let first = self.digits();
        let (hours, mut minutes, mut seconds) = match first.len() {
            0 => return Err(self.wrong()),
            1 | 2 => (self.number(first)?, 0, 0),
            // `+0230`; more digits make too many hours of it.
            _ => {
                let n = self.number(first).map_err(|_| ValueError::ZoneDisplacement)?;
                (n / 100, n % 100, 0)
            }
        };
        if first.len() <= 2 && self.skip(|b| b == b':') {
            let digits = self.digits();
            minutes = self.short(digits)?;
            if self.skip(|b| b == b':') {
                let digits = self.digits();
                seconds = self.short(digits)?;
            }
        }
        if hours > 15 || minutes > 59 || seconds > 59 {
            return Err(ValueError::ZoneDisplacement);
        }
        let size = (hours * 60 + minutes) * 60 + seconds;
        Ok(if negative { -size } else { size })
    }

    /// As PostgreSQL has it, `12:` is twelve o'clock.
    fn short_or_none(&mut self) -> Result<i64, ValueError> {
        match self.digits() {
            "" => Ok(0),
            digits => self.short(digits),
        }
    }

    fn short(&self, digits: &str) -> Result<i64, ValueError> {
        if digits.len() > 2 {
            return Err(ValueError::DateField);
        }
        self.number(digits)
    }

    fn number(&self, digits: &str) -> Result<i64, ValueError> {
        if digits.is_empty() {
            return Err(self.wrong());
        }
        // Seven digits hold every year there is; more would overflow the arithmetic.
        let significant = digits.trim_start_matches('0');
        if significant.len() > 7 {
            return Err(ValueError::DateField);
        }
        Ok(significant.parse().unwrap_or(0))
    }
}

/// Abbreviations first, as in PostgreSQL (`CET` is a fixed offset, not the zone of that name): the best-known ones of its default set.
fn zone(word: &str, wrong: ValueError) -> Result<Zone, ValueError> {
    const FIXED_HOURS: &[(&str, i64)] = &[
        ("UTC", 0),
        ("GMT", 0),
        ("Z", 0),
        ("ZULU", 0),
        ("UCT", 0),
        ("WET", 0),
        ("BST", 1),
        ("CET", 1),
        ("MET", 1),
        ("WEST", 1),
        ("CEST", 2),
        ("EET", 2),
        ("EEST", 3),
        ("JST", 9),
        ("KST", 9),
        ("EST", -5),
        ("EDT", -4),
        ("CST", -6),
        ("CDT", -5),
        ("MST", -7),
        ("MDT", -6),
        ("PST", -8),
        ("PDT", -7),
        ("HST", -10),
    ];
    if let Some((_, hours)) = FIXED_HOURS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)) {
        return Ok(Zone::Fixed(hours * 3600));
    }
    // Only what looks like a zone's name is reported as an unknown zone.
    let unknown = if word.contains('/') { ValueError::Zone } else { wrong };
    named_zone(word).map(Zone::Named).ok_or(unknown)
}
