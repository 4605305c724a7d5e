//! `preset` and `preset_on`: what a column is set to, whatever the client says.

use super::column::constant_or_now;
use super::document::{At, Notes};
use super::nearest;
use crate::expr::{Claim, ClaimType};
use crate::manifest::{Default, Preset, PresetValue};
use crate::types::ColumnType;

pub(super) fn read(
    text: Option<&At<String>>,
    on: Option<&At<Vec<At<String>>>>,
    ty: Option<&ColumnType>,
    claims: &[Claim],
    notes: &mut Notes,
) -> Option<Preset> {
    let Some(text) = text else {
        if let Some(on) = on {
            notes.add(
                on.line,
                "`preset_on` says when a column is set, and not to what; add `preset`, or remove it",
            );
        }
        return None;
    };
    let (mut insert, mut update) = (on.is_none(), false);
    for word in on.map(|on| on.value.as_slice()).unwrap_or_default() {
        match word.value.as_str() {
            "insert" => insert = true,
            "update" => update = true,
            other => notes.add(
                word.line,
                format!("nothing can be preset on `{other}`; write \"insert\" or \"update\""),
            ),
        }
    }
    if !insert && !update {
        notes.add(
            text.line,
            "`preset_on` names no operation; write \"insert\", \"update\" or both",
        );
    }
    let value = match text.value.strip_prefix("claim.") {
        Some(name) => claim(name.trim(), ty?, claims, text.line, notes)?,
        None => constant(text, ty?, notes)?,
    };
    Some(Preset { value, insert, update })
}

fn claim(name: &str, ty: &ColumnType, claims: &[Claim], line: usize, notes: &mut Notes) -> Option<PresetValue> {
    let Some(claim) = claims.iter().copied().find(|c| c.name() == name) else {
        let remedy = match nearest(name, claims.iter().map(|c| c.name())) {
            Some(close) => format!("did you mean `claim.{close}`?"),
            None => "declare it in [claims] of postern.toml".to_owned(),
        };
        notes.add(line, format!("`preset`: there is no claim `{name}`; {remedy}"));
        return None;
    };
    let suits = match claim.ty() {
        ClaimType::Text => matches!(ty, ColumnType::Text | ColumnType::Varchar(_)),
        ClaimType::Bool => *ty == ColumnType::Bool,
        ClaimType::Int4 => matches!(ty, ColumnType::Int4 | ColumnType::Int8),
        ClaimType::Int8 => *ty == ColumnType::Int8,
        ClaimType::Uuid => *ty == ColumnType::Uuid,
        ClaimType::TimestampTz => *ty == ColumnType::TimestampTz,
        ClaimType::TextArray | ClaimType::Int4Array | ClaimType::UuidArray => false,
    };
    if !suits {
        let of = match claim.ty() {
            ClaimType::Bool => "true or false",
            list if list.is_list() => "a list",
            other => other.sql(),
        };
        notes.add(
            line,
            format!("`preset`: claim.{name} is {of}, and the column is {ty}; preset a claim of the column's type"),
        );
        return None;
    }
    Some(PresetValue::Claim(claim))
}

/// Constants are of the types that policies can compare, so that PostgreSQL checks them too.
fn constant(text: &At<String>, ty: &ColumnType, notes: &mut Notes) -> Option<PresetValue> {
    if constant_or_now(&text.value, ty) == Some(Default::Now) {
        return Some(PresetValue::Now);
    }
    if let Some(value) = fixed(&text.value, ty) {
        return Some(PresetValue::Literal(value));
    }
    notes.add(
        text.line,
        format!(
            "`{}` cannot preset a column of type {ty}; write `claim.NAME`, a constant of that type in SQL ('text', 1, true; of text, \
             integers, uuid or bool), or now() for a time",
            text.value
        ),
    );
    None
}

/// A constant in text form that means the same in every session, of a type that policies can compare; `None` where it is anything else.
pub(super) fn fixed(text: &str, ty: &ColumnType) -> Option<String> {
    let Some(Default::Literal(value)) = constant_or_now(text, ty) else {
        return None;
    };
    let fits = match ty {
        ColumnType::Text | ColumnType::Varchar(None) | ColumnType::Bool => true,
        ColumnType::Varchar(Some(n)) => value.chars().count() <= *n as usize,
        ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => true,
        ColumnType::Uuid => {
            let place = |(i, c): (usize, char)| {
                if matches!(i, 8 | 13 | 18 | 23) {
                    c == '-'
                } else {
                    c.is_ascii_hexdigit()
                }
            };
            value.len() == 36 && value.chars().enumerate().all(place)
        }
        _ => false,
    };
    fits.then_some(value)
}
