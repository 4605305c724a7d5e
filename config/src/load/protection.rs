//! `protect`: which searches a sealed column carries, what they give away, and what its values are bound to.

use super::document::{At, Notes, Section};
use super::module::identifier;
use crate::manifest::{Protection, Search};
use crate::types::ColumnType;

pub(super) fn read(protect: &mut Section<'_, '_>, ty: Option<&ColumnType>, never: bool, notes: &mut Notes) -> Option<Protection> {
    if !protect.has("search") {
        protect.missing("search", "[\"eq\"] (or [] for a column that is never searched)", notes);
    }
    let written = protect.texts("search", notes);
    let leaks = protect.text("leaks", notes);
    let join_group = protect.text("join_group", notes);
    let bind = protect.text("bind", notes);
    let line = protect.line();
    if let Some(ty) = ty
        && !ty.sealable()
    {
        notes.add(
            line,
            format!(
                "a column of type {ty} cannot be protected; use text, varchar(n), int2, int4, int8, float8, bool, date, timestamptz, \
                 numeric(p,s), uuid, bytea or jsonb"
            ),
        );
    }
    let mut search = Vec::new();
    for kind in written.as_ref().map(|w| w.value.as_slice()).unwrap_or_default() {
        let Some(found) = search_kind(kind, notes) else { continue };
        if search.contains(&found) {
            notes.add(kind.line, format!("`{}` stands twice; remove one", kind.value));
            continue;
        }
        if let Some(why) = ty.and_then(|ty| unsearchable(found, ty)) {
            notes.add(kind.line, why);
        }
        search.push(found);
    }
    if let Some(written) = &written
        && never
        && !search.is_empty()
    {
        notes.add(
            written.line,
            "a `never` column cannot be searched, since a search answers questions about its value; write `search = []`",
        );
    }
    let waived = leaks.as_ref().is_some_and(|l| !l.value.trim().is_empty());
    for kind in &search {
        if let Some(leak) = ty.and_then(|ty| leak(*kind, ty))
            && !waived
        {
            notes.add(
                line,
                format!("{leak}; accept that with `leaks = \"the reason\"`, or drop the search"),
            );
        }
    }
    let join_group = join_group.and_then(|g| {
        if !search.contains(&Search::Eq) {
            notes.add(
                g.line,
                "a join group shares equality tags; add \"eq\" to `search`, or remove `join_group`",
            );
        }
        identifier(&g, notes).map(|i| i.value)
    });
    let bind_column_only = bind.is_some_and(|b| {
        if b.value != "column" {
            notes.add(
                b.line,
                format!(
                    "`bind` cannot be `{}`; write \"column\", or remove it to bind values to their row",
                    b.value
                ),
            );
        }
        b.value == "column"
    });
    Some(Protection {
        search,
        join_group,
        bind_column_only,
    })
}

fn search_kind(kind: &At<String>, notes: &mut Notes) -> Option<Search> {
    match kind.value.as_str() {
        "eq" => Some(Search::Eq),
        "range" => Some(Search::Range),
        "match" => Some(Search::Match),
        other => {
            notes.add(
                kind.line,
                format!("there is no search `{other}`; write \"eq\", \"range\" or \"match\""),
            );
            None
        }
    }
}

/// Why a type cannot carry a search. Equality on float8 is allowed: its tag is taken over a form with one zero and one NaN.
fn unsearchable(search: Search, ty: &ColumnType) -> Option<String> {
    match (search, ty) {
        (_, ColumnType::Other(_)) => None,
        (Search::Eq, ColumnType::Jsonb) => Some(
            "equal jsonb values have no one byte form, so \"eq\" cannot be asked of them; search an extracted column instead"
                .to_owned(),
        ),
        (Search::Eq, _) => None,
        (Search::Match, ColumnType::Text | ColumnType::Varchar(_)) => None,
        (Search::Match, _) => Some(format!("\"match\" looks for substrings, and {ty} has none; use it on text")),
        (Search::Range, ColumnType::Text | ColumnType::Varchar(None)) => {
            Some("an ordered text needs a declared maximum size; declare it varchar(n)".to_owned())
        }
        (Search::Range, ColumnType::Numeric(None)) => {
            Some("an ordered numeric needs a declared size; declare it numeric(p,s)".to_owned())
        }
        (
            Search::Range,
            ColumnType::Varchar(Some(_))
            | ColumnType::Int2
            | ColumnType::Int4
            | ColumnType::Int8
            | ColumnType::Float8
            | ColumnType::Date
            | ColumnType::TimestampTz
            | ColumnType::Numeric(Some(_)),
        ) => None,
        (Search::Range, _) => Some(format!(
            "values of type {ty} cannot be searched by \"range\"; use numbers, times or varchar(n)"
        )),
    }
}

/// What a search gives away beyond equality of a wide domain.
fn leak(search: Search, ty: &ColumnType) -> Option<&'static str> {
    match (search, ty) {
        (Search::Range, _) => Some("\"range\" lets whoever holds the database see the order of all values"),
        (Search::Match, _) => Some("\"match\" lets whoever holds the database see which values share three letters"),
        (Search::Eq, ColumnType::Bool) => Some("\"eq\" on a bool splits the rows in two visible halves"),
        (Search::Eq, _) => None,
    }
}
