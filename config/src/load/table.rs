//! `[[table]]`: names and columns. Keys and policies follow once every table's columns are known.

use std::collections::BTreeSet;

use super::allowance;
use super::column::{self, ColumnDraft};
use super::document::{At, Notes, Section};
use super::module::identifier;
use crate::expr::Claim;
use crate::manifest::{Default, Table, TableLines};
use crate::names::{Ident, MAX_IDENT_BYTES, TableRef};
use crate::predicate::{Shape, ShapeColumn, ShapeKind};

/// A table in the making.
pub(super) struct Draft<'d, 't> {
    /// What is left to read of it.
    pub(super) section: Section<'d, 't>,
    /// Line of its name.
    pub(super) line: usize,
    pub(super) table: Table,
    /// One for each of the table's columns, in the same order.
    pub(super) columns: Vec<ColumnDraft>,
    /// `scope`: which column stands for what roles are scoped by.
    pub(super) scope: Vec<(At<String>, At<String>)>,
    /// `scope_through`.
    pub(super) through: Option<Through>,
}

/// The rows of a table lie in the scope of rows that they refer to.
pub(super) struct Through {
    /// The column that refers.
    pub(super) column: At<String>,
    /// The table that it refers to.
    pub(super) table: At<String>,
    /// The column there; by default its primary key.
    pub(super) references: Option<At<String>>,
}

impl Draft<'_, '_> {
    /// What predicates may know of it.
    pub(super) fn shape(&self) -> Shape {
        let columns = self
            .table
            .columns
            .iter()
            .zip(&self.columns)
            .map(|(column, draft)| ShapeColumn {
                name: column.name.clone(),
                ty: draft.type_known.then(|| column.ty.clone()),
                protected: column.protection.is_some(),
                eq: column.protection.as_ref().is_some_and(|p| p.eq()),
                never: column.never,
            });
        Shape {
            name: self.table.name.clone(),
            columns: columns.collect(),
            kind: ShapeKind::Table,
        }
    }

    /// Resolves a list of column names, noting those that are missing or named twice.
    pub(super) fn resolve(&self, list: &[At<String>], whose: &str, notes: &mut Notes) -> Vec<Ident> {
        let mut found: Vec<Ident> = Vec::new();
        for name in list {
            match self.table.column(&name.value) {
                None => {
                    let remedy = match super::nearest(&name.value, self.table.columns.iter().map(|c| c.name.as_str())) {
                        Some(close) => format!("did you mean `{close}`?"),
                        None => "declare it or remove it here".to_owned(),
                    };
                    notes.add(
                        name.line,
                        format!(
                            "{whose} names `{}`, which is no column of {}; {remedy}",
                            name.value, self.table.name
                        ),
                    );
                }
                Some(column) if found.contains(&column.name) => {
                    notes.add(name.line, format!("{whose} names `{}` twice; remove one", name.value));
                }
                Some(column) => found.push(column.name.clone()),
            }
        }
        found
    }

    pub(super) fn finish(self, notes: &mut Notes) -> Table {
        self.section.finish(notes);
        self.table
    }
}

pub(super) fn read<'d, 't>(
    root: &mut Section<'d, 't>,
    schema: &Ident,
    claims: &[Claim],
    notes: &mut Notes,
) -> Vec<Draft<'d, 't>> {
    let mut drafts: Vec<Draft<'d, 't>> = Vec::new();
    let mut names = BTreeSet::new();
    for mut section in root.sections("table", notes) {
        let name = section
            .need_text("name", "\"accounts\"", notes)
            .and_then(|n| identifier(&n, notes));
        let columns = columns(&mut section, claims, notes);
        let allow_lint = allowance::read(&mut section, notes);
        let scope = section
            .section("scope", notes)
            .map(|s| s.named_texts(notes))
            .unwrap_or_default();
        let through = section.section("scope_through", notes).and_then(|s| through(s, notes));
        let Some(name) = name else {
            continue;
        };
        if !names.insert(name.value.clone()) {
            notes.add(
                name.line,
                format!("the table `{}` is declared twice; rename or remove one", name.value),
            );
        }
        let mut draft = Draft {
            section,
            line: name.line,
            table: Table {
                name: TableRef {
                    schema: schema.clone(),
                    name: name.value,
                },
                columns: Vec::new(),
                primary_key: Vec::new(),
                unique: Vec::new(),
                foreign_keys: Vec::new(),
                partition_by: None,
                policies: Vec::new(),
                restrictions: Vec::new(),
                bound: Vec::new(),
                allow_lint,
                lines: TableLines {
                    name: name.line,
                    primary_key: name.line,
                    unique: Vec::new(),
                    restrict: None,
                },
            },
            columns: Vec::new(),
            scope,
            through,
        };
        for (column, rest) in columns {
            check_sequence_name(&draft.table.name.name, &column, notes);
            draft.table.columns.push(column);
            draft.columns.push(rest);
        }
        if draft.table.columns.is_empty() {
            notes.add(
                draft.line,
                format!(
                    "table {} declares no column; add `column = [{{ name = …, type = … }}]`",
                    draft.table.name
                ),
            );
        }
        drafts.push(draft);
    }
    drafts
}

fn through(mut section: Section<'_, '_>, notes: &mut Notes) -> Option<Through> {
    let column = section.need_text("column", "\"project_id\"", notes);
    let table = section.need_text("table", "\"projects\"", notes);
    let references = section.text("references", notes);
    section.finish(notes);
    Some(Through {
        column: column?,
        table: table?,
        references,
    })
}

fn columns(section: &mut Section<'_, '_>, claims: &[Claim], notes: &mut Notes) -> Vec<(crate::manifest::Column, ColumnDraft)> {
    let mut names = BTreeSet::new();
    let mut columns = Vec::new();
    for mut section in section.sections("column", notes) {
        let column = column::read(&mut section, claims, notes);
        section.finish(notes);
        let Some((column, rest)) = column else { continue };
        if names.insert(column.name.clone()) {
            columns.push((column, rest));
        } else {
            notes.add(
                column.line,
                format!("the column `{}` is declared twice; rename or remove one", column.name),
            );
        }
    }
    columns
}

/// PostgreSQL would cut a longer name, and then the sequence could not be found by it.
fn check_sequence_name(table: &Ident, column: &crate::manifest::Column, notes: &mut Notes) {
    let length = table.as_str().len() + column.name.as_str().len() + "__seq".len();
    if column.default == Some(Default::Serial) && length > MAX_IDENT_BYTES {
        notes.add(
            column.line,
            format!(
                "the sequence `{table}_{}_seq` would have a name of {length} bytes, more than {MAX_IDENT_BYTES}; shorten the table's or \
                 the column's name",
                column.name
            ),
        );
    }
}
