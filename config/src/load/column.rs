//! One column: its type, its default and its protection.

use sqlparser::ast::{self, Value};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::document::{At, Notes, Section};
use super::module::identifier;
use super::{preset, protection};
use crate::expr::Claim;
use crate::manifest::{Column, Default, PresetValue};
use crate::types::ColumnType;

/// What belongs to a column but is settled later.
pub(super) struct ColumnDraft {
    /// `false` where the type was not understood, so that nothing else is said about it.
    pub(super) type_known: bool,
    pub(super) mask_unless: Option<At<String>>,
    pub(super) mask: Option<At<String>>,
    /// Roles to which it is shown.
    pub(super) shown_to: Option<At<Vec<At<String>>>>,
}

/// Every table has these already.
const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/// Longest name of a protected column: `postern$match$` goes before it in its hidden columns.
const MAX_PROTECTED_NAME: usize = 49;

pub(super) fn read(section: &mut Section<'_, '_>, claims: &[Claim], notes: &mut Notes) -> Option<(Column, ColumnDraft)> {
    let name = section.need_text("name", "\"id\"", notes);
    let spelled = section.need_text("type", "\"text\"", notes);
    let not_null = section.flag("not_null", notes).is_some_and(|f| f.value);
    let never = section.flag("never", notes).is_some_and(|f| f.value);
    let immutable = section.flag("immutable", notes).is_some_and(|f| f.value);
    let written_default = section.text("default", notes);
    let preset_text = section.text("preset", notes);
    let preset_on = section.texts("preset_on", notes);
    let mask_unless = section.text("mask_unless", notes);
    let shown_to = section.texts("shown_to", notes);
    let mask = section.text("mask", notes);
    let line = name.as_ref().map_or(section.line(), |n| n.line);

    let ty = spelled.and_then(|t| column_type(&t, notes));
    let protect_line = section.line();
    let protection = section.section("protect", notes).and_then(|mut protect| {
        let protection = protection::read(&mut protect, ty.as_ref().map(|t| &t.ty), never, notes);
        protect.finish(notes);
        protection
    });
    let name = name.and_then(|n| {
        if SYSTEM_COLUMNS.contains(&n.value.as_str()) {
            notes.add(
                n.line,
                format!("every table has a system column `{}`; choose another name", n.value),
            );
            return None;
        }
        if protection.is_some() && n.value.len() > MAX_PROTECTED_NAME {
            notes.add(
                n.line,
                format!(
                    "`{}` is too long for a protected column; use at most {MAX_PROTECTED_NAME} bytes",
                    n.value
                ),
            );
        }
        identifier(&n, notes)
    })?;
    let serial = ty.as_ref().is_some_and(|t| t.serial);
    let default = match (&written_default, serial) {
        (Some(written), true) => {
            notes.add(
                written.line,
                format!(
                    "a serial column draws its value from its sequence; remove `default` from `{}`",
                    name.value
                ),
            );
            Some(Default::Serial)
        }
        (None, true) => Some(Default::Serial),
        (Some(written), false) => default(written, ty.as_ref().map(|t| &t.ty), notes),
        (None, false) => None,
    };
    if protection.is_some() && (written_default.is_some() || serial) {
        notes.add(
            written_default.as_ref().map_or(protect_line, |d| d.line),
            format!(
                "`{}` is protected, and the database cannot seal a default; remove the default, and let the module write the value",
                name.value
            ),
        );
    }
    let preset = preset::read(
        preset_text.as_ref(),
        preset_on.as_ref(),
        ty.as_ref().map(|t| &t.ty),
        claims,
        notes,
    );
    if let (Some(text), Some(preset)) = (&preset_text, &preset) {
        let name = &name.value;
        if preset.insert && (default.is_some() || serial) {
            notes.add(
                text.line,
                format!("`{name}` is set by every insert, so its default would never be used; remove one of the two"),
            );
        }
        if protection.is_none() && matches!(preset.value, PresetValue::Claim(claim) if claim.sealed()) {
            notes.add(
                text.line,
                format!("`{name}` is plain, and the claim is sealed, so PostgreSQL never sees it; protect the column, or preset another claim"),
            );
        }
        if preset.update && immutable {
            notes.add(
                text.line,
                format!("`{name}` is immutable and would be set by every update; write `preset_on = [\"insert\"]`, or remove `immutable`"),
            );
        }
        if preset.update && protection.is_some() {
            notes.add(
                text.line,
                format!(
                    "`{name}` is protected: to set it, every update would have to be carried out row by row; write `preset_on = [\"insert\"]`"
                ),
            );
        }
        if protection.is_some() && preset.value == PresetValue::Now {
            notes.add(
                text.line,
                format!("`{name}` is protected, and now() is known to the database alone; leave the column plain, or preset a claim or a constant"),
            );
        }
    }
    if let Some(mask) = &mask_unless
        && never
    {
        notes.add(mask.line, format!("`{}` is never shown; remove `mask_unless`", name.value));
    }
    if let Some(roles) = &shown_to
        && never
    {
        notes.add(roles.line, format!("`{}` is never shown; remove `shown_to`", name.value));
    }
    let mask_value = match (&mask, ty.as_ref().map(|t| &t.ty)) {
        (Some(mask), Some(ty)) => mask_value(mask, ty, notes),
        _ => None,
    };
    let draft = ColumnDraft {
        mask,
        type_known: ty.is_some(),
        mask_unless,
        shown_to,
    };
    let column = Column {
        name: name.value,
        ty: ty.map_or(ColumnType::Text, |t| t.ty),
        not_null: not_null || serial,
        default,
        protection,
        never,
        immutable,
        preset,
        shown_when: None,
        mask: mask_value,
        line,
    };
    Some((column, draft))
}

struct Typed {
    ty: ColumnType,
    serial: bool,
}

/// Types that Postern carries by name; anything else is taken for a slip of the pen.
const CARRIED: &[&str] = &[
    "char",
    "character",
    "bpchar",
    "name",
    "real",
    "float4",
    "time",
    "time without time zone",
    "timetz",
    "time with time zone",
    "timestamp",
    "timestamp without time zone",
    "timestamptz",
    "interval",
    "json",
    "xml",
    "money",
    "bit",
    "bit varying",
    "varbit",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "tsvector",
    "tsquery",
    "oid",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
];

fn column_type(text: &At<String>, notes: &mut Notes) -> Option<Typed> {
    let serial = match text.value.trim().to_ascii_lowercase().as_str() {
        "smallserial" | "serial2" => Some(ColumnType::Int2),
        "serial" | "serial4" => Some(ColumnType::Int4),
        "bigserial" | "serial8" => Some(ColumnType::Int8),
        _ => None,
    };
    if let Some(ty) = serial {
        return Some(Typed { ty, serial: true });
    }
    let ty = ColumnType::parse(&text.value);
    if let ColumnType::Other(name) = &ty
        && !carried(name)
    {
        notes.add(
            text.line,
            format!(
                "there is no type `{}`; write a built-in PostgreSQL type, such as text, int8, timestamptz or text[]",
                text.value
            ),
        );
        return None;
    }
    Some(Typed { ty, serial: false })
}

/// Whether a column may be declared with that type.
pub(crate) fn declarable(spelling: &str) -> bool {
    match ColumnType::parse(spelling) {
        ColumnType::Other(name) => carried(&name),
        _ => true,
    }
}

/// Whether a column of that type may be declared with that default.
pub(crate) fn takes_default(text: &str, ty: &ColumnType) -> bool {
    constant_or_now(text, ty).is_some()
}

/// Whether a spelling is a built-in type, an array of one, or one with a modifier. What passes is put into DDL as it is.
fn carried(name: &str) -> bool {
    let element = name.trim_end_matches("[]");
    let dimensions = name.len() - element.len();
    if dimensions > 12 {
        return false;
    }
    if dimensions > 0 && ColumnType::parse(element).sealable() {
        return true;
    }
    let base = match element.split_once('(') {
        Some((base, rest)) => match rest.strip_suffix(')') {
            Some(n) if !n.is_empty() && n.len() <= 5 && n.bytes().all(|b| b.is_ascii_digit()) => base.trim(),
            _ => return false,
        },
        None => element,
    };
    CARRIED.contains(&base)
}

fn mask_value(text: &At<String>, ty: &ColumnType, notes: &mut Notes) -> Option<String> {
    let value = preset::fixed(&text.value, ty);
    if value.is_none() {
        notes.add(
            text.line,
            format!(
                "`{}` cannot mask a column of type {ty}; write a constant of that type in SQL ('***', 0, false; of text, integers, uuid or \
                 bool), or remove `mask`, and NULL is shown",
                text.value
            ),
        );
    }
    value
}

/// `now()` or a constant of the column's type.
fn default(text: &At<String>, ty: Option<&ColumnType>, notes: &mut Notes) -> Option<Default> {
    let ty = ty?;
    let found = constant_or_now(&text.value, ty);
    if found.is_none() {
        notes.add(
            text.line,
            format!(
                "`{}` cannot be the default of a column of type {ty}; write a constant of that type in SQL ('text', 1, true), or now() \
                 for a time",
                text.value
            ),
        );
    }
    found
}

/// `now()` or a constant of that type, as SQL has it; `None` where it is anything else.
pub(super) fn constant_or_now(text: &str, ty: &ColumnType) -> Option<Default> {
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).and_then(|mut p| {
        let tree = p.parse_expr()?;
        p.expect_token(&Token::EOF)?;
        Ok(tree)
    });
    match &parsed {
        Ok(ast::Expr::Function(f)) if f.to_string().eq_ignore_ascii_case("now()") => match ty {
            ColumnType::TimestampTz | ColumnType::Date => Some(Default::Now),
            ColumnType::Other(name) if name.starts_with("timestamp") => Some(Default::Now),
            _ => None,
        },
        Ok(ast::Expr::Value(v)) => constant(&v.value, ty, ""),
        Ok(ast::Expr::UnaryOp {
            op: ast::UnaryOperator::Minus,
            expr,
        }) => match expr.as_ref() {
            ast::Expr::Value(v) if matches!(v.value, Value::Number(..)) => constant(&v.value, ty, "-"),
            _ => None,
        },
        _ => None,
    }
}

fn constant(value: &Value, ty: &ColumnType, sign: &str) -> Option<Default> {
    let literal = match (value, ty) {
        (Value::Boolean(b), ColumnType::Bool) => b.to_string(),
        (Value::Number(n, false), ColumnType::Int2) => format!("{sign}{n}").parse::<i16>().ok()?.to_string(),
        (Value::Number(n, false), ColumnType::Int4) => format!("{sign}{n}").parse::<i32>().ok()?.to_string(),
        (Value::Number(n, false), ColumnType::Int8) => format!("{sign}{n}").parse::<i64>().ok()?.to_string(),
        (Value::Number(n, false), ColumnType::Float8 | ColumnType::Numeric(_)) => format!("{sign}{n}"),
        (
            Value::SingleQuotedString(s),
            ColumnType::Text
            | ColumnType::Varchar(_)
            | ColumnType::Date
            | ColumnType::TimestampTz
            | ColumnType::Uuid
            | ColumnType::Bytea
            | ColumnType::Jsonb
            | ColumnType::Other(_),
        ) if !s.contains('\0') => s.clone(),
        _ => return None,
    };
    Some(Default::Literal(literal))
}
