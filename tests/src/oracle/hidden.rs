//! Changes to what somebody does not see: hidden rows become other rows, more rows or none, and cells hidden in rows that are seen change.
//!
//! Each change is made twice: to the rows in memory, so that the oracle can say that what is seen has not changed, and as SQL that the DBA
//! runs on the stored form. The DBA has no keys, so protected cells of hidden rows become bytes that nothing can open (or NULL): who
//! is answered otherwise for it has met them.

use std::fmt::Write as _;

use postern_config::names::{eq_column, quote_ident, quote_literal};
use postern_config::{ColumnType, Config, Table};

use super::data::{Cell, Data, Rows};
use super::own::{IMPORTED, Imported, seen_of_import};
use super::people::Identity;
use super::policies::{hidden_cells, never, seen};

/// What becomes of hidden rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Their values are others: long, extreme, NULL, unreadable.
    Other,
    /// There are more of them.
    More,
    /// There are none.
    Gone,
}

/// How many rows [`Change::More`] adds to a table that hides any.
const MORE: usize = 30;

/// Everything that somebody sees.
pub fn everything_seen(who: &Identity, data: &Data) -> Vec<Vec<Vec<Cell>>> {
    let modules = who.modules();
    let tables = data.0.iter().filter(|r| modules.contains(&r.module.as_str()));
    let imports = IMPORTED.iter().filter(|i| modules.contains(&i.module));
    let tables = tables.map(|r| seen(who, data, &r.module, &r.table));
    tables.chain(imports.map(|i| seen_of_import(who, data, i))).collect()
}

/// The rows of a table that are hidden from somebody; all of them where they have no way to the module. None of a table of which another
/// module shows them something of every row.
pub fn hidden_rows(who: &Identity, data: &Data, rows: &Rows) -> Vec<usize> {
    let modules = who.modules();
    let shown = |i: &Imported| i.all && (i.from, i.table) == (rows.module.as_str(), rows.table.as_str());
    if !who.disabled && IMPORTED.iter().any(|i| shown(i) && modules.contains(&i.module)) {
        return Vec::new();
    }
    let reached = modules.contains(&rows.module.as_str());
    let hidden = |row: &Vec<Cell>| !reached || hidden_cells(who, data, rows, row).is_none();
    (0..rows.rows.len()).filter(|&n| hidden(&rows.rows[n])).collect()
}

/// Makes a change: the rows afterwards, and the statements that make it of the rows as they were.
///
/// # Panics
/// When what is seen would change: then it is no change to hidden rows.
pub fn change(who: &Identity, before: &Data, config: &Config, change: Change) -> (Data, Vec<String>) {
    let wanted = everything_seen(who, before);
    let mut after = before.clone();
    let mut statements = vec!["SET session_replication_role = replica".to_owned()];
    for (at, rows) in before.0.iter().enumerate() {
        let manifest = config
            .modules
            .iter()
            .find(|m| m.module.as_str() == rows.module)
            .expect("a module");
        let declared = manifest
            .tables
            .iter()
            .find(|t| t.name.name.as_str() == rows.table)
            .expect("a table");
        let hidden = hidden_rows(who, before, rows);
        let mut changing = Changing {
            who,
            wanted: &wanted,
            after: &mut after,
            at,
            declared,
            statements: &mut statements,
        };
        match change {
            Change::Other => {
                for n in 0..rows.rows.len() {
                    changing.other(n, hidden.contains(&n));
                }
            }
            Change::More => {
                for n in 0..if hidden.is_empty() { 0 } else { MORE } {
                    changing.one_more(hidden[n % hidden.len()], n);
                }
            }
            Change::Gone => changing.gone(&hidden),
        }
    }
    assert_eq!(
        everything_seen(who, &after),
        wanted,
        "{}: {change:?} changes what is seen",
        who.name
    );
    (after, statements)
}

/// One table while it changes.
struct Changing<'c> {
    who: &'c Identity,
    wanted: &'c [Vec<Vec<Cell>>],
    after: &'c mut Data,
    at: usize,
    declared: &'c Table,
    statements: &'c mut Vec<String>,
}

impl Changing<'_> {
    fn rows(&mut self) -> &mut Rows {
        &mut self.after.0[self.at]
    }

    fn unseen(&self) -> bool {
        everything_seen(self.who, self.after) == self.wanted
    }

    /// Sets cells of a row: all of them, or those that nobody would see. Which were set.
    fn set(&mut self, row: usize, cells: Vec<(usize, Cell)>) -> Vec<usize> {
        let before = self.rows().rows[row].clone();
        for (column, value) in &cells {
            self.rows().rows[row][*column].clone_from(value);
        }
        if self.unseen() {
            return cells.into_iter().map(|(column, _)| column).collect();
        }
        self.rows().rows[row] = before;
        let mut set = Vec::new();
        for (column, value) in cells {
            let old = std::mem::replace(&mut self.rows().rows[row][column], value);
            if self.unseen() {
                set.push(column);
            } else {
                self.rows().rows[row][column] = old;
            }
        }
        set
    }

    fn other(&mut self, row: usize, hidden: bool) {
        let key = self.condition(row);
        let width = self.rows().key_width();
        let mut values = Vec::new();
        for (n, column) in self.declared.columns.iter().enumerate().skip(width) {
            let protected = column.protection.as_ref();
            let masked = never(self.declared.name.name.as_str(), column.name.as_str()) || {
                let rows = &self.after.0[self.at];
                hidden_cells(self.who, self.after, rows, &rows.rows[row]).is_some_and(|h| h.contains(&column.name.as_str()))
            };
            if !hidden && !masked {
                continue;
            }
            let value = match protected {
                // Nothing that the DBA can write is this cell's plaintext.
                Some(_) => None,
                None => extreme(&column.ty, row + n, !column.not_null, &format!("{row}.{n}")),
            };
            values.push((n, value));
        }
        let mut changes = Vec::new();
        for n in self.set(row, values) {
            let column = &self.declared.columns[n];
            let value = &self.after.0[self.at].rows[row][n];
            let name = column.name.quoted();
            match column.protection.as_ref() {
                None => changes.push(format!("{name} = {}", literal(value))),
                Some(p) => {
                    let nothing = !column.not_null && (!hidden || (row + n).is_multiple_of(2));
                    let unreadable = format!("pg_catalog.decode('{:08x}deadbeef', 'hex')", row * 64 + n);
                    let stored = if nothing { "NULL" } else { &unreadable };
                    changes.push(format!("{name} = {stored}"));
                    if p.eq() {
                        changes.push(format!("{} = {stored}", quote_ident(&eq_column(&column.name))));
                    }
                }
            }
        }
        if !changes.is_empty() {
            let table = self.declared.name.quoted();
            self.statements
                .push(format!("UPDATE {table} SET {} WHERE {key}", changes.join(", ")));
        }
    }

    /// A hidden row once more, under a key of its own.
    fn one_more(&mut self, like: usize, number: usize) {
        let width = self.rows().key_width();
        let mut row = self.rows().rows[like].clone();
        let mut names = Vec::new();
        let mut values = Vec::new();
        for (n, column) in self.declared.columns.iter().enumerate() {
            let fresh = match column.ty {
                ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => format!("{}", 1_000 + number),
                _ => format!("zz-{number}"),
            };
            let unique = self.declared.unique.iter().any(|u| u.contains(&column.name));
            if n < width || unique {
                row[n] = Some(fresh);
            }
            if let Some(p) = &column.protection {
                let stored = format!("pg_catalog.decode('{:08x}feedface', 'hex')", number * 64 + n);
                names.push(column.name.quoted());
                values.push(stored.clone());
                if p.eq() {
                    names.push(quote_ident(&eq_column(&column.name)));
                    values.push(stored);
                }
            }
        }
        self.rows().rows.push(row);
        if !self.unseen() {
            self.rows().rows.pop();
            return;
        }
        let last = self.rows().rows.len() - 1;
        let edges = self.declared.columns.iter().enumerate().skip(width).filter(|(_, column)| {
            let unique = self.declared.unique.iter().any(|u| u.contains(&column.name));
            !unique && column.protection.is_none()
        });
        let edges = edges.map(|(n, c)| (n, extreme(&c.ty, number + n, !c.not_null, &format!("zz.{number}.{n}"))));
        let edges = edges.collect();
        self.set(last, edges);
        for (n, column) in self.declared.columns.iter().enumerate() {
            if column.protection.is_some() {
                continue;
            }
            names.push(column.name.quoted());
            values.push(literal(&self.after.0[self.at].rows[last][n]));
        }
        self.statements.push(format!(
            "INSERT INTO {} ({}) VALUES ({})",
            self.declared.name.quoted(),
            names.join(", "),
            values.join(", ")
        ));
    }

    fn gone(&mut self, hidden: &[usize]) {
        for &row in hidden.iter().rev() {
            let key = self.condition(row);
            let old = self.rows().rows.remove(row);
            if self.unseen() {
                self.statements
                    .push(format!("DELETE FROM {} WHERE {key}", self.declared.name.quoted()));
            } else {
                self.rows().rows.insert(row, old);
            }
        }
    }

    /// The row by its key. The DBA does not know a protected key's values: a table that has one is hidden as a whole or not at all, and
    /// its rows are told apart by their place.
    fn condition(&self, row: usize) -> String {
        let rows = &self.after.0[self.at];
        let first = &self.declared.columns[0];
        if first.protection.is_some() {
            let table = self.declared.name.quoted();
            return format!("ctid = (SELECT ctid FROM {table} ORDER BY ctid LIMIT 1 OFFSET {row})");
        }
        let mut condition = String::new();
        for n in 0..rows.key_width() {
            let and = if n == 0 { "" } else { " AND " };
            let _ = write!(
                condition,
                "{and}{} = {}",
                quote_ident(&rows.columns[n]),
                literal(&rows.rows[row][n])
            );
        }
        condition
    }
}

/// A value at an edge of its type; `apart` makes texts differ from each other.
fn extreme(ty: &ColumnType, number: usize, nullable: bool, apart: &str) -> Cell {
    let some = |text: &str| Some(text.to_owned());
    let choice = number % 5;
    if nullable && choice == 4 {
        return None;
    }
    match ty {
        ColumnType::Int2 => some(["32767", "-32768", "0", "3", "-1"][choice]),
        ColumnType::Int4 => some(["2147483647", "-2147483648", "0", "3", "-1"][choice]),
        ColumnType::Int8 => some(["9223372036854775807", "-9223372036854775808", "0", "3", "-1"][choice]),
        ColumnType::Bool => some(["true", "false"][choice % 2]),
        ColumnType::TimestampTz => some(
            [
                "infinity",
                "-infinity",
                "0001-01-01 00:00:00+00 BC",
                "9999-12-31 23:59:59+00",
                "epoch",
            ][choice],
        ),
        ColumnType::Text | ColumnType::Varchar(_) => Some(match choice {
            0 => format!("{apart} {}", "long ".repeat(4_000)),
            1 => format!("{apart}'; not a number \\ %_"),
            2 => format!("99999999999999999999{}", apart.replace('.', "").replace("zz", "")),
            3 => format!("{apart}\u{10ffff}é"),
            _ => apart.to_owned(),
        }),
        _ if nullable => None,
        other => panic!("no edge of {other} is known"),
    }
}

fn literal(value: &Cell) -> String {
    value.as_deref().map_or_else(|| "NULL".to_owned(), quote_literal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::GATE_MODULES;
    use crate::oracle::people::IDENTITIES;
    use crate::product::{copy_directory, fresh_directory, workspace};

    /// For whoever something is hidden from, every kind of change changes something, and nothing that they see (`change` asserts that).
    #[test]
    fn hidden_rows_change_and_seen_ones_do_not() {
        let dir = fresh_directory("hidden");
        copy_directory(&workspace().join("config/examples"), &dir);
        for name in GATE_MODULES {
            let from = workspace().join(format!("tests/gate/{name}.toml"));
            std::fs::copy(&from, dir.join(format!("modules/{name}.toml"))).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        let config = postern_config::load(&dir.join("postern.toml")).unwrap_or_else(|e| panic!("{e:?}"));
        std::fs::remove_dir_all(&dir).expect("the directory is ours");
        let before = Data::reference();
        for who in &IDENTITIES {
            for kind in [Change::Other, Change::More, Change::Gone] {
                let (after, statements) = change(who, &before, &config, kind);
                assert!(statements.len() > 5, "{}: {kind:?}: {statements:?}", who.name);
                assert_ne!(after, before);
                if kind == Change::Gone {
                    for rows in &after.0 {
                        assert_eq!(hidden_rows(who, &after, rows), [0; 0], "{}: {}", who.name, rows.table);
                    }
                }
            }
        }
    }
}
