//! Keys between columns and tables, and what a sealed value is bound to.

use std::collections::BTreeMap;

use super::document::{At, Notes, Section};
use super::exchange;
use super::table::Draft;
use crate::manifest::{Column, ForeignKey, Import, ImportKey, PartitionKey, PartitionStrategy, PresetValue, Protection, Table};
use crate::names::{Ident, TableRef};
use crate::types::ColumnType;

/// Reads primary keys, UNIQUE constraints and foreign keys of all tables.
/// Gives the foreign keys that refer to imports.
pub(super) fn check(drafts: &mut [Draft<'_, '_>], imports: &[Import], notes: &mut Notes) -> Vec<ImportKey> {
    let mut import_keys = Vec::new();
    for draft in drafts.iter_mut() {
        primary_key(draft, notes);
        unique(draft, notes);
        partition_by(draft, notes);
    }
    for index in 0..drafts.len() {
        let sections = drafts[index].section.sections("foreign_key", notes);
        for mut section in sections {
            let key = foreign_key(&mut section, drafts, index, imports, notes);
            section.finish(notes);
            match key {
                Some(Key::Inside(key)) => drafts[index].table.foreign_keys.push(key),
                Some(Key::Across(key)) => import_keys.push(key),
                None => {}
            }
        }
    }
    join_groups(drafts, notes);
    import_keys
}

fn primary_key(draft: &mut Draft<'_, '_>, notes: &mut Notes) {
    let Some(written) = draft.section.texts("primary_key", notes) else {
        return;
    };
    let key = draft.resolve(&written.value, "`primary_key`", notes);
    for (column, rest) in draft.table.columns.iter_mut().zip(&draft.columns) {
        if !key.contains(&column.name) {
            continue;
        }
        column.not_null = true;
        if column.never {
            notes.add(
                column.line,
                format!(
                    "`{}` is in the primary key, which every write reads; remove `never`",
                    column.name
                ),
            );
        }
        if let Some(mask) = &rest.mask_unless {
            notes.add(
                mask.line,
                format!(
                    "`{}` is in the primary key, and a row needs its key; remove `mask_unless`",
                    column.name
                ),
            );
        }
        must_have_eq(column, "the primary key", notes);
    }
    draft.table.primary_key = key;
    draft.table.lines.primary_key = written.line;
}

fn unique(draft: &mut Draft<'_, '_>, notes: &mut Notes) {
    for written in draft.section.text_lists("unique", notes) {
        let columns = draft.resolve(&written.value, "`unique`", notes);
        if written.value.is_empty() {
            notes.add(written.line, "this entry of `unique` names no column; name one or remove it");
        }
        for column in columns.iter().filter_map(|c| draft.table.column(c.as_str())) {
            must_have_eq(column, "a UNIQUE constraint", notes);
        }
        if columns.is_empty() {
            continue;
        }
        let mut sorted = columns.clone();
        sorted.sort();
        let again = draft.table.unique.iter().chain([&draft.table.primary_key]).any(|u| {
            let mut u = u.clone();
            u.sort();
            u == sorted
        });
        if again {
            notes.add(
                written.line,
                "these columns are already a key of the table; remove this entry of `unique`",
            );
        } else {
            draft.table.unique.push(columns);
            draft.table.lines.unique.push(written.line);
        }
    }
}

/// `partition_by = { range = ["at"] }`. PostgreSQL keeps a key within each partition, so every key holds the columns that choose one.
fn partition_by(draft: &mut Draft<'_, '_>, notes: &mut Notes) {
    let Some(mut section) = draft.section.section("partition_by", notes) else {
        return;
    };
    let line = section.line();
    let written: Vec<(PartitionStrategy, At<Vec<At<String>>>)> = [
        ("range", PartitionStrategy::Range),
        ("list", PartitionStrategy::List),
        ("hash", PartitionStrategy::Hash),
    ]
    .into_iter()
    .filter_map(|(key, strategy)| Some((strategy, section.texts(key, notes)?)))
    .collect();
    section.finish(notes);
    let [(strategy, named)] = written.as_slice() else {
        notes.add(
            line,
            "`partition_by` takes one of `range`, `list` and `hash`; write `partition_by = { range = [\"at\"] }`",
        );
        return;
    };
    let columns = draft.resolve(&named.value, "`partition_by`", notes);
    if named.value.is_empty() || *strategy == PartitionStrategy::List && columns.len() > 1 {
        notes.add(
            line,
            "`partition_by` takes at least one column, and `list` exactly one; name it",
        );
        return;
    }
    for name in &columns {
        if draft.table.column(name.as_str()).is_some_and(|c| c.protection.is_some()) {
            notes.add(
                line,
                format!(
                    "`{name}` is protected, so the database cannot tell which partition a row belongs to; name a plain column"
                ),
            );
            continue;
        }
        let keys = draft.table.unique.iter().chain([&draft.table.primary_key]);
        if keys.filter(|key| !key.is_empty()).any(|key| !key.contains(name)) {
            notes.add(
                line,
                format!("`{name}` chooses the partition, and PostgreSQL wants it in the primary key and in each entry of `unique`; add it there"),
            );
        }
    }
    draft.table.partition_by = Some(PartitionKey {
        strategy: *strategy,
        columns,
    });
}

/// Keys over a sealed column lie on its equality tag.
fn must_have_eq(column: &Column, place: &str, notes: &mut Notes) {
    if column.protection.as_ref().is_some_and(|p| !p.eq()) {
        notes.add(
            column.line,
            format!(
                "`{}` is protected and stands in {place}, which compares values; add \"eq\" to its `search`",
                column.name
            ),
        );
    }
}

/// A foreign key, by whether it stays inside the module.
enum Key {
    Inside(ForeignKey),
    Across(ImportKey),
}

fn foreign_key(
    section: &mut Section<'_, '_>,
    drafts: &[Draft<'_, '_>],
    index: usize,
    imports: &[Import],
    notes: &mut Notes,
) -> Option<Key> {
    let own = &drafts[index];
    let columns = section.texts("columns", notes);
    if columns.is_none() && !section.has("columns") {
        section.missing("columns", "[\"account_id\"]", notes);
    }
    let named = section.need_text("table", "\"accounts\"", notes);
    let references = section.texts("references", notes);
    let columns = own.resolve(&columns?.value, "this foreign key", notes);
    let named = named?;
    if let Some(import) = imports.iter().find(|i| i.name.as_str() == named.value) {
        return exchange::import_key(section, own, columns, import, references.as_ref(), notes).map(Key::Across);
    }
    let Some(target_index) = drafts.iter().position(|d| d.table.name.name.as_str() == named.value) else {
        let remedy = match super::nearest(&named.value, drafts.iter().map(|d| d.table.name.name.as_str())) {
            Some(close) => format!("did you mean `{close}`?"),
            None => "declare the table, import it, or keep a plain id".to_owned(),
        };
        notes.add(
            named.line,
            format!("this module declares no table `{}`; {remedy}", named.value),
        );
        return None;
    };
    let target = &drafts[target_index];
    if target_index > index {
        notes.add(
            named.line,
            format!("`{}` is declared further down; move it above {}", named.value, own.table.name),
        );
    }
    let references = match &references {
        Some(list) => target.resolve(&list.value, "`references`", notes),
        None => target.table.primary_key.clone(),
    };
    if columns.is_empty() || columns.len() != references.len() {
        notes.add(
            section.line(),
            format!(
                "this foreign key pairs {} column(s) with {}; name as many in `columns` as {} has in its key",
                columns.len(),
                references.len(),
                target.table.name
            ),
        );
        return None;
    }
    if !is_key(&target.table, &references) {
        notes.add(
            section.line(),
            format!(
                "the referenced columns are neither the primary key nor UNIQUE in {}; reference a key",
                target.table.name
            ),
        );
    }
    for (from, to) in columns.iter().zip(&references) {
        check_pair(&own.table, from, &target.table, to, section.line(), notes);
    }
    Some(Key::Inside(ForeignKey {
        columns,
        table: target.table.name.clone(),
        references,
        line: section.line(),
    }))
}

fn is_key(table: &Table, columns: &[Ident]) -> bool {
    let sorted = |list: &[Ident]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    let wanted = sorted(columns);
    sorted(&table.primary_key) == wanted || table.unique.iter().any(|u| sorted(u) == wanted)
}

fn check_pair(own: &Table, from: &Ident, target: &Table, to: &Ident, line: usize, notes: &mut Notes) {
    let (Some(a), Some(b)) = (own.column(from.as_str()), target.column(to.as_str())) else {
        return;
    };
    if std::mem::discriminant(&a.ty) != std::mem::discriminant(&b.ty) {
        notes.add(
            line,
            format!(
                "`{from}` is {} and {}.{to} is {}; give both one type",
                a.ty, target.name, b.ty
            ),
        );
    }
    match (&a.protection, &b.protection) {
        (None, None) => {}
        (Some(pa), Some(pb)) if share_tags(pa, pb) || (own.name == target.name && from == to) => {}
        (Some(_), Some(_)) => notes.add(
            line,
            format!(
                "`{from}` and {}.{to} are protected under different tag keys; give both one `join_group` and \"eq\"",
                target.name
            ),
        ),
        _ => notes.add(
            line,
            format!(
                "one of `{from}` and {}.{to} is protected and the other is not; protect both or neither",
                target.name
            ),
        ),
    }
}

fn share_tags(a: &Protection, b: &Protection) -> bool {
    a.eq() && b.eq() && a.join_group.is_some() && a.join_group == b.join_group
}

/// Tags under one key can only be compared if they are taken over one canonical form.
fn join_groups(drafts: &[Draft<'_, '_>], notes: &mut Notes) {
    let mut groups: BTreeMap<&Ident, (&ColumnType, &TableRef, &Ident)> = BTreeMap::new();
    for table in drafts.iter().map(|d| &d.table) {
        for column in &table.columns {
            let Some(group) = column.protection.as_ref().and_then(|p| p.join_group.as_ref()) else {
                continue;
            };
            let (ty, other, name) = groups.entry(group).or_insert((&column.ty, &table.name, &column.name));
            if std::mem::discriminant(*ty) != std::mem::discriminant(&column.ty) {
                notes.add(
                    column.line,
                    format!(
                        "`{}` is {} but {other}.{name} of the same join group `{group}` is {ty}; give both one type",
                        column.name, column.ty
                    ),
                );
            }
        }
    }
}

/// Settles what sealed values are bound to: the primary key, then what the table's policies read.
pub(super) fn bind(drafts: &mut [Draft<'_, '_>], notes: &mut Notes) {
    for draft in drafts {
        let table = &mut draft.table;
        table.bound = table.primary_key.clone();
        let mut read: Vec<Ident> = table.predicates().flat_map(crate::expr::Expr::own_columns).collect();
        read.sort();
        read.dedup();
        read.retain(|c| !table.bound.contains(c));
        table.bound.extend(read);
        check_bound(draft, notes);
    }
}

fn check_bound(draft: &Draft<'_, '_>, notes: &mut Notes) {
    let table = &draft.table;
    let bound_to_row = |c: &&Column| c.protection.as_ref().is_some_and(|p| !p.bind_column_only);
    let Some(example) = table.columns.iter().find(bound_to_row) else {
        return;
    };
    if table.primary_key.is_empty() && !draft.section.has("primary_key") {
        for column in table.columns.iter().filter(bound_to_row) {
            notes.add(
                column.line,
                format!(
                    "`{}` is protected, but {} has no primary key to bind its values to; declare `primary_key`, or write `bind = \
                     \"column\"` in `protect` and accept that values can be swapped between rows",
                    column.name, table.name
                ),
            );
        }
        return;
    }
    for (column, preset) in table.columns.iter().filter_map(|c| Some((c, c.preset.as_ref()?))) {
        if table.bound.contains(&column.name) && (preset.update || preset.value == PresetValue::Now) {
            notes.add(
                column.line,
                format!(
                    "`{}` is in the key or read by a policy, so the sealed values of {} are bound to it: it can be preset on insert alone, \
                     and not to now()",
                    column.name, table.name
                ),
            );
        }
    }
    for (column, rest) in table.columns.iter().zip(&draft.columns) {
        if column.protection.is_none() && rest.type_known && table.bound.contains(&column.name) && !column.ty.bindable() {
            notes.add(
                column.line,
                format!(
                    "`{}` is in the key or read by a policy, so the sealed values of {} (`{}`, say) are bound to it, but {} has no one \
                     byte form to bind to; use text, an integer, uuid, bytea, date or bool, or write `bind = \"column\"` in `protect`",
                    column.name, table.name, example.name, column.ty
                ),
            );
        }
    }
}

/// Whether a column may be hidden from some readers: a row needs its key.
pub(super) fn may_hide(table: &Table, name: &Ident, at: &At<String>, notes: &mut Notes) -> bool {
    if table.primary_key.contains(name) {
        notes.add(
            at.line,
            format!("`{name}` is in the primary key, and a row needs its key; remove it from `hide`"),
        );
        return false;
    }
    true
}
