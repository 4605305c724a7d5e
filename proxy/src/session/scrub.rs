//! What PostgreSQL says in errors and notices, without what it must not say.
//!
//! Promised: no DETAIL, context or internal query reaches a client, except of a module that declares no table and so has nothing to hide from
//! itself; a position is one in the client's own text; object names are those of the module's own schema; no hidden name is printed. Hidden search columns are named by the column they serve, so that an
//! error reads as it would on plain PostgreSQL.

use bytes::BytesMut;
use postern_config::names::RESERVED_PREFIX;

use crate::wire::message::{self, MessageError};

const HIDDEN: &str = "postern$eq$";

/// An error as PostgreSQL sent it, scrubbed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    fields: Vec<(u8, String)>,
    /// Where PostgreSQL points at in the text that it was sent.
    pub(super) position: Option<u32>,
    /// The claims' check did not find what it keeps among the session's values of sequences.
    pub(super) entry_lost: bool,
}

impl Told {
    /// Reads and scrubs ErrorResponse or NoticeResponse. `schema` is the module's own; with `whole`, what PostgreSQL says of rows and of what
    /// led there is kept.
    pub(super) fn read(body: &[u8], schema: &str, whole: bool) -> Result<Self, MessageError> {
        let raw = message::error_fields(body)?;
        let own = raw
            .iter()
            .find(|(code, _)| *code == b's')
            .is_none_or(|(_, s)| *s == schema || s.starts_with("pg_temp"));
        // A row that another module's refers to: the words name that module's table and constraint.
        let referred_to = !own && raw.contains(&(b'C', "23503"));
        let within_ours = raw
            .iter()
            .any(|(code, text)| *code == b'W' && text.contains(" function postern."));
        let entry_lost = within_ours && raw.contains(&(b'C', "55000"));
        // It says how long the value is, which may be a hidden row's.
        let too_long =
            raw.contains(&(b'C', "54000")) && raw.iter().any(|(code, text)| *code == b'M' && text.starts_with("index row"));
        let mut fields = Vec::with_capacity(raw.len());
        let mut position = None;
        for (code, text) in raw {
            let kept = match code {
                b'S' | b'V' | b'C' => text.to_owned(),
                b'M' if entry_lost => "the connection had lost whom it serves; send the statement again".to_owned(),
                b'M' if referred_to => "a row of another module refers to this one".to_owned(),
                b'M' if too_long && !whole => "a value is too long for an index".to_owned(),
                b'M' => shown(text).unwrap_or_else(|| "the database refused the statement".to_owned()),
                b'H' => match shown(text) {
                    Some(hint) => hint,
                    None => continue,
                },
                b'P' => {
                    position = text.parse().ok();
                    continue;
                }
                b'D' | b'W' | b'q' | b'p' if whole => match shown(text) {
                    Some(text) => text,
                    None => continue,
                },
                b's' | b't' | b'c' | b'n' | b'd' if own => match shown(text) {
                    Some(name) => name,
                    None => continue,
                },
                _ => continue,
            };
            fields.push((code, kept));
        }
        // Drivers rely on these, and a server that leaves them out is none that we know.
        for (code, text) in [
            (b'S', "ERROR"),
            (b'V', "ERROR"),
            (b'C', "XX000"),
            (b'M', "the database gave no message"),
        ] {
            if !fields.iter().any(|(c, _)| *c == code) {
                fields.push((code, text.to_owned()));
            }
        }
        Ok(Self {
            fields,
            position,
            entry_lost,
        })
    }

    /// Takes the schemas away that stand before names only because what was sent is qualified: `asked` does not hold them.
    pub(super) fn as_asked(&mut self, asked: &str, schema: &str) {
        if !self.sqlstate().starts_with("42") || asked.is_empty() {
            return;
        }
        let asked = asked.to_lowercase();
        for qualifier in ["pg_catalog.", "pg_temp.", &format!("{schema}.")] {
            if asked.contains(qualifier) {
                continue;
            }
            for (_, text) in self.fields.iter_mut().filter(|(code, _)| matches!(code, b'M' | b'H')) {
                *text = text.replace(qualifier, "");
            }
        }
    }

    /// Says where in the client's own text the error is.
    pub(super) fn at(&mut self, position: u32) {
        self.fields.push((b'P', position.to_string()));
    }

    /// Appends it as ErrorResponse (`E`) or NoticeResponse (`N`).
    pub(super) fn put(&self, out: &mut BytesMut, kind: u8) -> Result<(), MessageError> {
        message::put_fields(out, kind, self.fields.iter().map(|(code, text)| (*code, text.as_str())))
    }

    /// Whether PostgreSQL ends the connection with it.
    pub(super) fn is_fatal(&self) -> bool {
        matches!(self.field(b'V'), "FATAL" | "PANIC")
    }

    /// Whether it is said to whoever debugs the server: transaction ids, times, and what really ran.
    pub(super) fn is_below_notice(&self) -> bool {
        !matches!(self.field(b'V'), "INFO" | "NOTICE" | "WARNING")
    }

    /// Its SQLSTATE.
    pub(super) fn sqlstate(&self) -> &str {
        self.field(b'C')
    }

    fn field(&self, code: u8) -> &str {
        self.fields.iter().find(|(c, _)| *c == code).map_or("", |(_, t)| t)
    }
}

/// The text with hidden columns named by what they serve; `None` where it speaks of Postern's own objects in any other way.
fn shown(text: &str) -> Option<String> {
    let plain = text.replace(HIDDEN, "");
    let ours = plain.contains(RESERVED_PREFIX) || plain.contains("postern.") || plain.contains("postern_");
    (!ours).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubbed(fields: &[(u8, &str)]) -> Told {
        let mut out = BytesMut::new();
        message::put_fields(&mut out, b'E', fields.iter().copied()).unwrap();
        Told::read(&out[5..], "disco", false).unwrap()
    }

    #[test]
    fn a_reference_from_another_module_is_told_without_its_names() {
        let fields = |schema: &'static str| {
            scrubbed(&[
                (b'S', "ERROR"),
                (b'V', "ERROR"),
                (b'C', "23503"),
                (
                    b'M',
                    "update or delete on table \"a\" violates foreign key constraint \"f\" on table \"b\"",
                ),
                (b's', schema),
                (b't', "b"),
                (b'n', "f"),
            ])
        };
        let other = fields("chat");
        assert_eq!(other.field(b'M'), "a row of another module refers to this one");
        assert_eq!((other.field(b's'), other.field(b't'), other.field(b'n')), ("", "", ""));
        assert!(fields("disco").field(b'M').contains("\"f\" on table \"b\""));
    }

    #[test]
    fn what_is_below_a_notice_is_known_by_its_severity() {
        for (severity, below) in [
            ("DEBUG", true),
            ("LOG", true),
            ("INFO", false),
            ("NOTICE", false),
            ("WARNING", false),
        ] {
            // The first one is in the server's language.
            let told = scrubbed(&[(b'S', "HINWEIS"), (b'V', severity), (b'C', "00000"), (b'M', "m")]);
            assert_eq!(told.is_below_notice(), below, "{severity}");
        }
        // The twin: a severity that is not told is none that may pass.
        assert!(scrubbed(&[(b'M', "m")]).is_below_notice());
    }

    #[test]
    fn what_the_claims_check_lacks_is_not_named() {
        let lacks = |context| {
            scrubbed(&[
                (b'C', "55000"),
                (
                    b'M',
                    "currval of sequence \"claims_proof\" is not yet defined in this session",
                ),
                (b'W', context),
            ])
        };
        let ours = lacks("PL/pgSQL function postern.verified() line 3 at RETURN");
        assert!(ours.entry_lost && !ours.field(b'M').contains("claims_proof"));
        // The twin: a sequence of the module's own may have any name.
        let own = lacks("SQL function \"f\" statement 1");
        assert!(!own.entry_lost && own.field(b'M').contains("claims_proof"));
    }

    #[test]
    fn detail_context_query_and_position_are_gone() {
        let told = scrubbed(&[
            (b'S', "ERROR"),
            (b'V', "ERROR"),
            (b'C', "23505"),
            (
                b'M',
                "duplicate key value violates unique constraint \"t_postern$eq$email_key\"",
            ),
            (b'D', "Key (email)=(secret) already exists."),
            (b'W', "PL/pgSQL function f() line 1"),
            (b'q', "SELECT 1"),
            (b'P', "7"),
            (b's', "disco"),
            (b'n', "t_postern$eq$email_key"),
        ]);
        let expected = [
            (b'S', "ERROR"),
            (b'V', "ERROR"),
            (b'C', "23505"),
            (b'M', "duplicate key value violates unique constraint \"t_email_key\""),
            (b's', "disco"),
            (b'n', "t_email_key"),
        ];
        let found: Vec<_> = told.fields.iter().map(|(c, t)| (*c, t.as_str())).collect();
        assert_eq!(found, expected);
        assert!(!told.is_fatal());
    }

    #[test]
    fn a_module_with_nothing_to_hide_is_told_the_whole() {
        let mut out = BytesMut::new();
        let fields = [
            (b'C', "23505"),
            (b'M', "duplicate key"),
            (b'D', "Key (a)=(1) already exists."),
            (b'W', "SQL function \"postern_catalog.f\""),
            (b'q', "SELECT 1"),
            (b'P', "7"),
        ];
        message::put_fields(&mut out, b'E', fields).unwrap();
        let mut told = Told::read(&out[5..], "lab", true).unwrap();
        assert_eq!(
            (told.field(b'D'), told.field(b'q')),
            ("Key (a)=(1) already exists.", "SELECT 1")
        );
        // Its own objects are nobody's concern, and a position is told only once it is the client's.
        assert_eq!((told.field(b'W'), told.field(b'P'), told.position), ("", "", Some(7)));
        told.at(3);
        assert_eq!(told.field(b'P'), "3");
    }

    #[test]
    fn how_long_a_value_is_is_not_told() {
        for said in [
            "index row size 2736 exceeds btree version 4 maximum 2704 for index \"i\"",
            "index row requires 12816 bytes, maximum size is 8191",
        ] {
            let fields = [(b'C', "54000"), (b'M', said), (b'n', "i")];
            assert_eq!(scrubbed(&fields).field(b'M'), "a value is too long for an index");
            let mut out = BytesMut::new();
            message::put_fields(&mut out, b'E', fields.iter().copied()).unwrap();
            assert_eq!(Told::read(&out[5..], "lab", true).unwrap().field(b'M'), said);
        }
        // The twin: another limit.
        let other = scrubbed(&[(b'C', "54000"), (b'M', "stack depth limit exceeded")]);
        assert_eq!(other.field(b'M'), "stack depth limit exceeded");
    }

    #[test]
    fn names_are_those_that_were_asked_for() {
        let missing = [(b'C', "42883"), (b'M', "function pg_catalog.length(disco.t) does not exist")];
        let mut told = scrubbed(&missing);
        told.as_asked("SELECT length(t) FROM t", "disco");
        assert_eq!(told.field(b'M'), "function length(t) does not exist");
        let mut told = scrubbed(&missing);
        told.as_asked("SELECT PG_CATALOG.length(t) FROM t", "disco");
        assert_eq!(told.field(b'M'), "function pg_catalog.length(t) does not exist");
        // What speaks of values is left as it is.
        let mut told = scrubbed(&[(b'C', "22P02"), (b'M', "invalid input syntax: pg_catalog.x")]);
        told.as_asked("SELECT 1", "disco");
        assert_eq!(told.field(b'M'), "invalid input syntax: pg_catalog.x");
    }

    #[test]
    fn an_error_without_a_code_has_one() {
        let told = scrubbed(&[(b'M', "odd")]);
        assert_eq!(
            (told.field(b'C'), told.field(b'V'), told.field(b'M')),
            ("XX000", "ERROR", "odd")
        );
        assert!(Told::read(b"Mno end", "disco", true).is_err() && Told::read(b"", "disco", false).is_err());
        assert!(Told::read(b"C\xff\0\0", "disco", false).is_err());
    }

    #[test]
    fn names_of_another_schema_and_of_ours_are_gone() {
        let told = scrubbed(&[
            (b'V', "FATAL"),
            (b'C', "42501"),
            (b'M', "permission denied for schema postern_catalog"),
            (b's', "sys_account"),
            (b't', "accounts"),
        ]);
        assert_eq!(told.field(b'C'), "42501");
        assert_eq!(told.field(b'M'), "the database refused the statement");
        assert_eq!(told.field(b't'), "");
        assert!(told.is_fatal());
    }
}
