//! The session settings that text forms depend on.

use jiff::tz::TimeZone;

use super::ValueError;

/// How a session writes and reads values, as PostgreSQL reports or was told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFormat {
    /// `TimeZone`; `None` where the name is not known here, so that the first timestamp says so rather than being wrong.
    pub(super) time_zone: Option<TimeZone>,
    /// Whether `DateStyle` is ISO (in whichever field order).
    pub(super) iso_dates: bool,
    /// `bytea_output`.
    pub(super) bytea_escape: bool,
    /// `extra_float_digits`, −15 to 3.
    pub(super) extra_float_digits: i8,
}

impl Default for SessionFormat {
    /// `UTC`, `ISO`, `hex`, 1.
    fn default() -> Self {
        Self {
            time_zone: Some(TimeZone::UTC),
            iso_dates: true,
            bytea_escape: false,
            extra_float_digits: 1,
        }
    }
}

impl SessionFormat {
    /// Takes note of a setting, as ParameterStatus or SHOW spells it. `Ok(false)`: not one that values depend on. A time zone or date
    /// style that is not supported is accepted here, as PostgreSQL did, and refused when a value depends on it.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, ValueError> {
        match name.to_ascii_lowercase().as_str() {
            "timezone" => self.time_zone = session_zone(value),
            "datestyle" => {
                let style = value.split(',').next().unwrap_or("").trim();
                // A bare field order leaves the style as it is.
                match style.to_ascii_lowercase().as_str() {
                    "mdy" | "dmy" | "ymd" | "us" | "euro" | "european" | "noneuropean" | "noneuro" => {}
                    "default" => self.iso_dates = true,
                    other => self.iso_dates = other == "iso",
                }
            }
            "bytea_output" => match value.to_ascii_lowercase().as_str() {
                "hex" => self.bytea_escape = false,
                "escape" => self.bytea_escape = true,
                _ => return Err(ValueError::Syntax { ty: "bytea_output" }),
            },
            "extra_float_digits" => match value.trim().parse() {
                Ok(digits @ -15..=3) => self.extra_float_digits = digits,
                _ => {
                    return Err(ValueError::Syntax {
                        ty: "extra_float_digits",
                    });
                }
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A format that differs from the default by its zone alone.
    pub fn in_zone(name: &str) -> Self {
        Self {
            time_zone: session_zone(name),
            ..Self::default()
        }
    }

    pub(super) fn zone(&self) -> Result<&TimeZone, ValueError> {
        self.time_zone.as_ref().ok_or(ValueError::Unsupported {
            what: "the session's TimeZone",
            hint: "Set TimeZone to a name such as Europe/Berlin or UTC.",
        })
    }

    pub(super) fn require_iso(&self) -> Result<(), ValueError> {
        if self.iso_dates {
            return Ok(());
        }
        Err(ValueError::Unsupported {
            what: "the session's DateStyle",
            hint: "SET DateStyle = ISO.",
        })
    }
}

/// A zone as `SHOW TimeZone` spells it: an IANA name, or POSIX rules such as `<+02>-02`.
fn session_zone(name: &str) -> Option<TimeZone> {
    named_zone(name).or_else(|| {
        // Bounded, since jiff parses it; PostgreSQL's own limit is 255.
        (name.len() <= 255).then(|| TimeZone::posix(name).ok()).flatten()
    })
}

/// A zone by its IANA name.
pub(super) fn named_zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() || name.len() > 255 {
        return None;
    }
    if ["utc", "gmt", "z", "zulu", "etc/utc"].contains(&name.to_ascii_lowercase().as_str()) {
        return Some(TimeZone::UTC);
    }
    jiff::tz::db().get(name).ok()
}
