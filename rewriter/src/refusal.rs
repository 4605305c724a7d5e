//! The one place where the judge's denials get their SQLSTATE, sentence and hint.
//!
//! Texts never hold a literal or a value. Missing relations, columns, functions and types answer with PostgreSQL's own words, so that a
//! foreign one cannot be told from one that does not exist.

use crate::plan::Refusal;

impl Refusal {
    pub(crate) fn new(sqlstate: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            reason,
            position: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Marks where: a byte offset into the statement, negative if unknown.
    pub(crate) fn at(mut self, location: i32) -> Self {
        self.position = u32::try_from(location).ok().map(|l| l + 1);
        self
    }

    /// Takes the place away, where PostgreSQL says none.
    pub(crate) fn placeless(self) -> Self {
        Self { position: None, ..self }
    }

    /// Turns a byte position into PostgreSQL's count of characters.
    pub(crate) fn in_characters(mut self, sql: &str) -> Self {
        self.position = self.position.and_then(|p| {
            let bytes = usize::try_from(p).ok()?.checked_sub(1)?;
            let characters = sql.get(..bytes)?.chars().count();
            u32::try_from(characters + 1).ok()
        });
        self
    }

    pub(crate) fn missing_relation(name: &str, location: i32) -> Self {
        Self::new("42P01", "relation", format!("relation \"{name}\" does not exist")).at(location)
    }

    pub(crate) fn missing_column(name: &str, location: i32) -> Self {
        Self::new("42703", "column", format!("column {name} does not exist")).at(location)
    }

    pub(crate) fn missing_type(name: &str, location: i32) -> Self {
        Self::new("42704", "type", format!("type \"{name}\" does not exist")).at(location)
    }

    pub(crate) fn statement(kind: &str) -> Self {
        Self::new("0A000", "statement-kind", format!("{kind} is not available through Postern"))
            .hint("See the reference for the statements that a module may send.")
    }

    pub(crate) fn construct(what: &str) -> Self {
        Self::new("0A000", "construct", format!("{what} is not available through Postern"))
    }

    pub(crate) fn denied(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new("42501", reason, message)
    }

    pub(crate) fn syntax(message: impl Into<String>) -> Self {
        Self::new("42601", "syntax", message)
    }

    /// What the judge cannot prove about its own work ends the statement.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new("0A000", "not-understood", message).hint("Please report this statement's shape to Postern's maintainers.")
    }
}
