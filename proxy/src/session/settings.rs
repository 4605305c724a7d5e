//! The settings that text forms of opened values depend on, as PostgreSQL has them.
//!
//! `TimeZone` and `DateStyle` are reported by PostgreSQL itself. `bytea_output` and `extra_float_digits` are not, so the statements that
//! set them are followed here, with the reverting that the end of a transaction brings.

use postern_keys::SessionFormat;

use crate::wire::StartupParameters;

/// Followed settings and their defaults.
const FOLLOWED: [(&str, &str); 2] = [("bytea_output", "hex"), ("extra_float_digits", "1")];

/// What is known.
pub(super) struct Settings {
    format: SessionFormat,
    followed: [Followed; 2],
}

/// One followed setting.
#[derive(Clone, Default)]
pub(super) struct Followed {
    start: String,
    /// As the last committed transaction left it.
    committed: String,
    session: String,
    local: Option<String>,
}

impl Settings {
    pub(super) fn new(startup: &StartupParameters, reported: &[(String, String)]) -> Self {
        let followed = FOLLOWED.map(|(name, default)| {
            let start = startup.setting(name).unwrap_or(default).to_owned();
            Followed {
                committed: start.clone(),
                session: start.clone(),
                local: None,
                start,
            }
        });
        let mut settings = Self {
            format: SessionFormat::default(),
            followed,
        };
        for (name, value) in reported {
            settings.reported(name, value);
        }
        settings.write_down();
        settings
    }

    /// How values are read and written now.
    pub(super) fn format(&self) -> &SessionFormat {
        &self.format
    }

    /// PostgreSQL reported a setting.
    pub(super) fn reported(&mut self, name: &str, value: &str) {
        // What is not followed is not kept; a value that is not understood is refused when a cell depends on it.
        let _ = self.format.set(name, value);
    }

    /// A SET or RESET of that name was carried out with this text, which the judge printed.
    pub(super) fn changed(&mut self, name: &str, sql: &str) {
        for ((followed, _), state) in FOLLOWED.iter().zip(&mut self.followed) {
            if sql.starts_with("RESET ALL") {
                state.session.clone_from(&state.start);
            }
            if *followed != name {
                continue;
            }
            let (local, value) = assigned(sql);
            let value = value.unwrap_or_else(|| state.start.clone());
            if local {
                state.local = Some(value);
            } else {
                state.session = value;
                state.local = None;
            }
        }
        self.write_down();
    }

    /// No transaction is open: what was local is gone, what was set stays.
    pub(super) fn idle(&mut self) {
        if self.followed.iter().all(|f| f.local.is_none() && f.committed == f.session) {
            return;
        }
        for state in &mut self.followed {
            state.local = None;
            state.committed.clone_from(&state.session);
        }
        self.write_down();
    }

    /// What is followed now, for a savepoint.
    pub(super) fn followed(&self) -> [Followed; 2] {
        self.followed.clone()
    }

    /// A rollback to that savepoint.
    pub(super) fn restore(&mut self, then: [Followed; 2]) {
        self.followed = then;
        self.write_down();
    }

    /// A transaction was rolled back.
    pub(super) fn rolled_back(&mut self) {
        for state in &mut self.followed {
            state.session.clone_from(&state.committed);
            state.local = None;
        }
        self.write_down();
    }

    /// `DISCARD ALL`.
    pub(super) fn reset(&mut self) {
        for state in &mut self.followed {
            state.session.clone_from(&state.start);
            state.local = None;
        }
        self.write_down();
    }

    fn write_down(&mut self) {
        for ((name, _), state) in FOLLOWED.iter().zip(&self.followed) {
            let _ = self.format.set(name, state.local.as_ref().unwrap_or(&state.session));
        }
    }
}

/// A time as PostgreSQL reads it where milliseconds are the unit; `None` where it is not that simple.
pub(super) fn milliseconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let factor = match text[end..].trim_start() {
        "" | "ms" => 1.0,
        "us" => 0.001,
        "s" => 1_000.0,
        "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    };
    Some(text[..end].parse::<f64>().ok()? * factor)
}

/// Whether a SET is LOCAL, and its value; `None` for DEFAULT and RESET.
pub(super) fn assigned(sql: &str) -> (bool, Option<String>) {
    let local = sql.starts_with("SET LOCAL ");
    let value = sql
        .split_once(" TO ")
        .or_else(|| sql.split_once(" = "))
        .map(|(_, value)| value.trim().trim_matches(['\'', '"']).to_owned());
    (
        local,
        value.filter(|v| !v.eq_ignore_ascii_case("default") && sql.starts_with("SET")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(settings: &Settings) -> String {
        let mut out = Vec::new();
        postern_keys::value::to_text(&postern_config::ColumnType::Bytea, b"\x01", settings.format(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_read_as_postgresql_reads_them() {
        for (text, ms) in [
            ("30", 30.0),
            ("2s", 2_000.0),
            ("1.5 s", 1_500.0),
            ("1min", 60_000.0),
            (" 7 ms ", 7.0),
            ("1d", 86_400_000.0),
        ] {
            assert_eq!(milliseconds(text), Some(ms), "{text}");
        }
        for text in ["", "-1", "0x10", "1e3", "1 S", "1 week", "s"] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn set_local_and_reset() {
        let mut settings = Settings::new(&StartupParameters::default(), &[]);
        assert_eq!(printed(&settings), "\\x01");
        settings.changed("bytea_output", "SET bytea_output TO 'escape'");
        assert_eq!(printed(&settings), "\\001");
        settings.idle();
        settings.changed("bytea_output", "SET LOCAL bytea_output TO hex");
        assert_eq!(printed(&settings), "\\x01");
        settings.idle();
        assert_eq!(printed(&settings), "\\001");
        settings.changed("bytea_output", "RESET bytea_output");
        assert_eq!(printed(&settings), "\\x01");
    }

    #[test]
    fn a_rollback_to_a_savepoint_reverts() {
        let mut settings = Settings::new(&StartupParameters::default(), &[]);
        let then = settings.followed();
        settings.changed("bytea_output", "SET LOCAL bytea_output TO escape");
        assert_eq!(printed(&settings), "\\001");
        settings.restore(then);
        assert_eq!(printed(&settings), "\\x01");
    }

    #[test]
    fn a_rollback_reverts() {
        let mut settings = Settings::new(&StartupParameters::default(), &[]);
        settings.changed("bytea_output", "SET bytea_output TO escape");
        settings.rolled_back();
        settings.idle();
        assert_eq!(printed(&settings), "\\x01");
    }
}
