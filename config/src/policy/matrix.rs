//! `postern policy matrix`: who gets which rows and columns of which table, by which operation.

use std::fmt;

use super::access::Subject;
use super::fold::{Folded, fold};
use crate::expr::Expr;
use crate::manifest::{Column, Manifest, Operation, Policy, Table};
use crate::names::{Ident, ModuleName, TableRef};
use crate::settings::Config;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Rows are shown, made, changed or removed.
    Reaches(Operation),
    /// What an UPDATE leaves behind: a row must be reached, and be like this afterwards.
    UpdatedTo,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reaches(operation) => f.write_str(operation.as_str()),
            Self::UpdatedTo => f.write_str("update to"),
        }
    }
}

/// What is special about a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Stored sealed.
    Sealed,
    /// Nobody reads it.
    Never,
    /// It cannot change.
    Immutable,
    /// It is set by the manifest, and nobody may name it.
    Preset,
    /// It is NULL, or what its `mask` says, in some of the rows that are shown.
    Masked,
    /// These policies for insert or update name it in their list of columns; those without a list let it be written as well.
    Listed(Vec<Ident>),
    /// Policies for insert or update have lists, and none names it.
    Unlisted,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sealed => f.write_str("sealed"),
            Self::Never => f.write_str("never"),
            Self::Immutable => f.write_str("immutable"),
            Self::Preset => f.write_str("preset"),
            Self::Masked => f.write_str("masked"),
            Self::Listed(policies) => {
                let names: Vec<&str> = policies.iter().map(Ident::as_str).collect();
                write!(f, "listed by {}", names.join(" and "))
            }
            Self::Unlisted => f.write_str("not listed"),
        }
    }
}

/// One line of the matrix: a table's rows as a whole (without a column) or one column of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The module.
    pub module: ModuleName,
    /// The table.
    pub table: TableRef,
    /// What is done.
    pub step: Step,
    /// To which column; to the row where there is none.
    pub column: Option<Ident>,
    /// What is special about the column.
    pub marks: Vec<Mark>,
    /// What each subject gets, in their order; `None` where the module has no login that the subject could come by.
    pub cells: Vec<Option<Folded>>,
}

/// The whole matrix, tables in declared order, modules by name. Where a policy looks into an import, it says what decides beneath.
pub fn matrix(config: &Config, subjects: &[Subject]) -> Vec<Line> {
    let mut lines = Vec::new();
    for manifest in &config.beneath().modules {
        for table in &manifest.tables {
            of_table(manifest, table, subjects, &mut lines);
        }
    }
    lines
}

fn of_table(manifest: &Manifest, table: &Table, subjects: &[Subject], lines: &mut Vec<Line>) {
    let mut add = |step: Step, column: Option<&Column>, marks: Vec<Mark>, expr: &Expr| {
        let cell = |subject: &Subject| subject.claims(manifest).map(|known| fold(expr, &known));
        lines.push(Line {
            module: manifest.module.clone(),
            table: table.name.clone(),
            step,
            column: column.map(|c| c.name.clone()),
            marks,
            cells: subjects.iter().map(cell).collect(),
        });
    };
    for operation in Operation::ALL {
        let step = Step::Reaches(operation);
        add(step, None, Vec::new(), &table.reached(operation, None));
        if operation == Operation::Update {
            add(Step::UpdatedTo, None, Vec::new(), &table.check(operation));
        }
        // A row goes with all of its columns.
        if operation == Operation::Delete {
            continue;
        }
        for column in &table.columns {
            add(
                step,
                Some(column),
                marks(table, column, operation),
                &table.reached(operation, Some(column)),
            );
        }
    }
}

fn marks(table: &Table, column: &Column, operation: Operation) -> Vec<Mark> {
    let mut marks = Vec::new();
    if column.protection.is_some() {
        marks.push(Mark::Sealed);
    }
    match operation {
        Operation::Select => {
            if column.never {
                marks.push(Mark::Never);
            } else if column.shown_when.is_some() {
                marks.push(Mark::Masked);
            }
        }
        Operation::Insert | Operation::Update if column.preset_on(operation) => marks.push(Mark::Preset),
        Operation::Update if column.immutable => marks.push(Mark::Immutable),
        Operation::Insert | Operation::Update => {
            let list = |p: &'_ Policy| match operation {
                Operation::Insert => p.insert_columns.clone(),
                _ => p.update_columns.clone(),
            };
            let writes = table.policies.iter().filter(|p| p.operations.contains(&operation));
            let lists: Vec<_> = writes.filter_map(|p| Some((p, list(p)?))).collect();
            let naming = lists.iter().filter(|(_, columns)| columns.contains(&column.name));
            let naming: Vec<Ident> = naming.map(|(p, _)| p.name.clone()).collect();
            if !naming.is_empty() {
                marks.push(Mark::Listed(naming));
            } else if !lists.is_empty() {
                marks.push(Mark::Unlisted);
            }
        }
        Operation::Delete => {}
    }
    marks
}

#[cfg(test)]
mod tests;
