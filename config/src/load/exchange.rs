//! `[[export]]` and `[[import]]`: what modules read of each other. Both sides name the same columns and the same rows, else neither loads.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Problem;
use super::document::{At, Notes, Section};
use super::module::{Offered, Read, identifier};
use super::table::Draft;
use crate::manifest::{Export, Import, ImportKey, Manifest, ReferenceAction, SharedRows, Table};
use crate::names::{Ident, ModuleName, TableRef};
use crate::predicate::{Shape, ShapeColumn, ShapeKind};

/// `[[export]]`.
pub(super) fn exports(root: &mut Section<'_, '_>, notes: &mut Notes) -> Vec<Export> {
    let mut exports = Vec::new();
    for mut section in root.sections("export", notes) {
        let table = section.need_text("table", "\"accounts\"", notes);
        let columns = columns(&mut section, notes);
        let to = need_texts(&mut section, "to", "[\"disco\"]", notes);
        let rows = rows(&mut section, notes);
        let references = section.flag("references", notes).is_some_and(|f| f.value);
        let line = section.line();
        section.finish(notes);
        let table = table.and_then(|t| identifier(&t, notes)).map(|t| t.value);
        let to: Vec<ModuleName> = to.iter().filter_map(|name| module(name, notes)).collect();
        if let (Some(table), Some(rows)) = (table, rows) {
            exports.push(Export {
                table,
                columns,
                to,
                rows,
                references,
                line,
            });
        }
    }
    exports
}

/// `[[import]]`.
pub(super) fn imports(root: &mut Section<'_, '_>, notes: &mut Notes) -> Vec<Import> {
    let mut imports = Vec::new();
    for mut section in root.sections("import", notes) {
        let from = section.need_text("from", "\"sys_account\"", notes);
        let table = section.need_text("table", "\"accounts\"", notes);
        let columns = columns(&mut section, notes);
        let name = section.text("as", notes);
        let rows = rows(&mut section, notes);
        let references = section.flag("references", notes).is_some_and(|f| f.value);
        let line = section.line();
        section.finish(notes);
        let from = from.and_then(|name| module(&name, notes));
        let table = table.and_then(|t| identifier(&t, notes)).map(|t| t.value);
        let name = match name {
            Some(name) => identifier(&name, notes).map(|n| n.value),
            None => table.clone(),
        };
        if let (Some(from), Some(table), Some(name), Some(rows)) = (from, table, name, rows) {
            imports.push(Import {
                from,
                table,
                columns,
                name,
                rows,
                references,
                line,
            });
        }
    }
    imports
}

/// What policies may know of an import: the columns that are read, of the types that they have where they come from. What the other module
/// does not have is noted by [`check_together`], so it compares with anything here.
pub(super) fn shape(import: &Import, schema: &Ident, others: &[Offered]) -> Shape {
    let table = others.iter().find_map(|o| o.table(&import.from, &import.table));
    let column = |name: &Ident| {
        let found = table.and_then(|t| t.columns.iter().find(|c| c.name == *name));
        ShapeColumn {
            name: name.clone(),
            ty: found.and_then(|c| c.ty.clone()),
            protected: found.is_some_and(|c| c.protected),
            // Its tags are under a key of the other module.
            eq: false,
            never: found.is_some_and(|c| c.never),
        }
    };
    Shape {
        name: TableRef {
            schema: schema.clone(),
            name: import.name.clone(),
        },
        columns: import.columns.iter().map(column).collect(),
        kind: ShapeKind::Import,
    }
}

/// A foreign key whose table is an import; the other module's part of it is checked by [`check_together`].
pub(super) fn import_key(
    section: &mut Section<'_, '_>,
    own: &Draft<'_, '_>,
    columns: Vec<Ident>,
    import: &Import,
    references: Option<&At<Vec<At<String>>>>,
    notes: &mut Notes,
) -> Option<ImportKey> {
    let line = section.line();
    let on_delete = action(section, "on_delete", notes)?;
    let on_update = action(section, "on_update", notes)?;
    if !import.references {
        notes.add(
            line,
            format!(
                "the import `{}` is not for foreign keys; write `references = true` on both sides",
                import.name
            ),
        );
    }
    let Some(references) = references else {
        section.missing("references", "[\"id\"]", notes);
        return None;
    };
    let mut named = Vec::new();
    for column in &references.value {
        match import.columns.iter().find(|c| c.as_str() == column.value) {
            Some(found) => named.push(found.clone()),
            None => notes.add(
                column.line,
                format!(
                    "`references` names `{}`, which is not imported as `{}`; import it",
                    column.value, import.name
                ),
            ),
        }
    }
    if columns.is_empty() || columns.len() != named.len() {
        notes.add(
            line,
            format!(
                "this foreign key pairs {} column(s) with {}; name as many in `columns` as in `references`",
                columns.len(),
                named.len()
            ),
        );
        return None;
    }
    for column in columns.iter().filter_map(|c| own.table.column(c.as_str())) {
        if column.protection.is_some() {
            notes.add(
                line,
                format!(
                    "`{}` is protected, and tags are comparable inside a module alone; keep it a plain id",
                    column.name
                ),
            );
        }
    }
    Some(ImportKey {
        table: own.table.name.name.clone(),
        columns,
        import: import.name.clone(),
        references: named,
        on_delete,
        on_update,
        line,
    })
}

fn action(section: &mut Section<'_, '_>, key: &'static str, notes: &mut Notes) -> Option<ReferenceAction> {
    let Some(text) = section.text(key, notes) else {
        return Some(ReferenceAction::NoAction);
    };
    let found = ReferenceAction::ALL.into_iter().find(|a| a.as_str() == text.value);
    if found.is_none() {
        notes.add(
            text.line,
            format!(
                "`{key}` is \"no action\", \"restrict\", \"cascade\" or \"set null\", not `{}`; write one",
                text.value
            ),
        );
    }
    found
}

fn columns(section: &mut Section<'_, '_>, notes: &mut Notes) -> Vec<Ident> {
    let mut found: Vec<Ident> = Vec::new();
    for name in need_texts(section, "columns", "[\"id\"]", notes) {
        let Some(column) = identifier(&name, notes) else { continue };
        if found.contains(&column.value) {
            notes.add(name.line, format!("`columns` names `{}` twice; remove one", name.value));
        } else {
            found.push(column.value);
        }
    }
    found
}

/// A list that must be there and not be empty.
fn need_texts(section: &mut Section<'_, '_>, key: &'static str, example: &str, notes: &mut Notes) -> Vec<At<String>> {
    let line = section.line();
    let list = section.texts(key, notes);
    if !section.has(key) {
        section.missing(key, example, notes);
    }
    match list {
        Some(list) if list.value.is_empty() => {
            notes.add(line, format!("`{key}` is empty; write something like {example}"));
            Vec::new()
        }
        Some(list) => list.value,
        None => Vec::new(),
    }
}

fn rows(section: &mut Section<'_, '_>, notes: &mut Notes) -> Option<SharedRows> {
    let Some(text) = section.text("rows", notes) else {
        return Some(SharedRows::Policies);
    };
    match text.value.as_str() {
        "policies" => Some(SharedRows::Policies),
        "all" => Some(SharedRows::All),
        other => {
            notes.add(
                text.line,
                format!("`rows` is \"policies\" or \"all\", not `{other}`; write one of the two, the same on both sides"),
            );
            None
        }
    }
}

fn module(name: &At<String>, notes: &mut Notes) -> Option<ModuleName> {
    match ModuleName::new(&name.value) {
        Ok(module) => Some(module),
        Err(e) => {
            notes.add(name.line, format!("{e}; name a module"));
            None
        }
    }
}

/// What must hold inside one manifest.
pub(super) fn check(manifest: &Manifest, notes: &mut Notes) {
    let mut shared = BTreeSet::new();
    for export in &manifest.exports {
        for to in &export.to {
            if *to == manifest.module {
                notes.add(
                    export.line,
                    "a module reads its own tables without an export; remove it from `to`",
                );
            }
            if !shared.insert((&export.table, to)) {
                notes.add(export.line, format!("`{}` is exported to {to} twice; keep one", export.table));
            }
        }
        let Some(table) = manifest.table(export.table.as_str()) else {
            let close = super::nearest(export.table.as_str(), manifest.tables.iter().map(|t| t.name.name.as_str()));
            let remedy = close.map_or("declare it, or remove the export".to_owned(), |c| {
                format!("did you mean `{c}`?")
            });
            notes.add(
                export.line,
                format!("this module declares no table `{}`; {remedy}", export.table),
            );
            continue;
        };
        for column in &export.columns {
            match table.column(column.as_str()) {
                None => notes.add(
                    export.line,
                    format!("`{column}` is no column of {}; declare it or remove it here", table.name),
                ),
                Some(c) if c.never => notes.add(
                    export.line,
                    format!("no role reads `{column}` (`never`), so it cannot be exported; remove it here"),
                ),
                Some(c) if c.protection.is_some() => notes.add(
                    export.line,
                    format!(
                        "`{column}` is protected: its keys are this module's alone, so it cannot be exported; remove it here"
                    ),
                ),
                Some(_) => {}
            }
        }
    }
    let mut names = BTreeSet::new();
    for import in &manifest.imports {
        if import.from == manifest.module {
            notes.add(import.line, "a module reads its own tables without an import; remove it");
        }
        if manifest.table(import.name.as_str()).is_some() {
            notes.add(
                import.line,
                format!(
                    "the module has a table `{}` itself; give the import another name with `as`",
                    import.name
                ),
            );
        }
        if !names.insert(&import.name) {
            notes.add(
                import.line,
                format!("`{}` is imported twice; give one another name with `as`", import.name),
            );
        }
    }
}

/// What one side says and the other does not.
pub(super) fn check_together(modules: &[(PathBuf, Read)], problems: &mut Vec<Problem>) {
    let find = |name: &ModuleName| modules.iter().map(|(_, r)| &r.manifest).find(|m| m.module == *name);
    for (file, read) in modules {
        let manifest = &read.manifest;
        let mut note = |line: usize, message: String| {
            problems.push(Problem {
                file: file.clone(),
                line,
                message,
            });
        };
        for export in &manifest.exports {
            for to in export.to.iter().filter(|to| **to != manifest.module) {
                match find(to) {
                    None => note(export.line, format!("there is no module `{to}`; remove it from `to`")),
                    Some(other) if !imports_it(other, manifest, export) => note(
                        export.line,
                        format!(
                            "`{}` is exported to {to}, which does not import it; add an [[import]] to modules/{to}.toml or remove it from `to`",
                            export.table
                        ),
                    ),
                    Some(_) => {}
                }
            }
        }
        for import in manifest.imports.iter().filter(|i| i.from != manifest.module) {
            let Some(other) = find(&import.from) else {
                note(
                    import.line,
                    format!("there is no module `{}`; remove the import", import.from),
                );
                continue;
            };
            match other.export(import.table.as_str(), &manifest.module) {
                None => note(
                    import.line,
                    format!(
                        "{} does not export `{}` to {}; add an [[export]] to modules/{}.toml or remove the import",
                        import.from, import.table, manifest.module, import.from
                    ),
                ),
                Some(export) => agree(export, import, &mut note),
            }
        }
        for key in &manifest.import_keys {
            let import = manifest.import(key.import.as_str());
            let target = import.and_then(|i| find(&i.from)?.table(i.table.as_str()));
            if let Some(target) = target {
                check_key(manifest, key, target, &mut note);
            }
        }
    }
}

fn imports_it(other: &Manifest, exporter: &Manifest, export: &Export) -> bool {
    other
        .imports
        .iter()
        .any(|i| i.from == exporter.module && i.table == export.table)
}

fn agree(export: &Export, import: &Import, note: &mut impl FnMut(usize, String)) {
    let sorted = |columns: &[Ident]| columns.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let (shown, read) = (sorted(&export.columns), sorted(&import.columns));
    if shown != read {
        let list = |columns: &BTreeSet<String>| columns.iter().cloned().collect::<Vec<_>>().join(", ");
        note(
            import.line,
            format!(
                "{} exports ({}) of `{}`, and ({}) is imported; name the same columns on both sides",
                import.from,
                list(&shown),
                import.table,
                list(&read)
            ),
        );
    }
    if export.rows != import.rows {
        note(
            import.line,
            format!(
                "{} exports `{}` with rows = \"{}\"; say the same here",
                import.from,
                import.table,
                export.rows.as_str()
            ),
        );
    }
    if export.references != import.references {
        note(
            import.line,
            format!(
                "{} exports `{}` with references = {}; say the same here",
                import.from, import.table, export.references
            ),
        );
    }
}

/// A foreign key stands on a key, and pairs columns of one type.
fn check_key(manifest: &Manifest, key: &ImportKey, target: &Table, note: &mut impl FnMut(usize, String)) {
    let sorted = |columns: &[Ident]| columns.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let wanted = sorted(&key.references);
    let keys = std::iter::once(&target.primary_key).chain(&target.unique);
    if !keys.map(|k| sorted(k)).any(|k| k == wanted) {
        note(
            key.line,
            format!(
                "the referenced columns are neither the primary key nor UNIQUE in {}; reference a key",
                target.name
            ),
        );
    }
    let Some(own) = manifest.table(key.table.as_str()) else {
        return;
    };
    for (from, to) in key.columns.iter().zip(&key.references) {
        if let (Some(a), Some(b)) = (own.column(from.as_str()), target.column(to.as_str()))
            && a.ty.unconstrained() != b.ty.unconstrained()
        {
            note(
                key.line,
                format!(
                    "`{from}` is {} and {}.{to} is {}; give both one type",
                    a.ty, target.name, b.ty
                ),
            );
        }
    }
}
