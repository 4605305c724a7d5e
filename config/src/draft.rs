//! A first manifest from what a database has: everything that a manifest must repeat, and as comments everything that a person must decide.
//!
//! Promised: what is written loads, whatever names and types the database has (what a manifest cannot say becomes a comment); nobody gets
//! anything by it that native row-level security did not give: a table without native policies has none here, so nobody uses it. Which
//! columns to protect is suggested by their names and never done.

mod names;
mod policies;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::expr::Claim;
use crate::names::ModuleName;

pub use names::{module_name, module_names};

/// One schema of a database, as the catalogue has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// Its name.
    pub name: String,
    /// Ordinary and partitioned tables that are nobody's partition or child.
    pub tables: Vec<Table>,
    /// Everything else that is in it, in words: `view v`, `function f(integer)`.
    pub others: Vec<String>,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// In order.
    pub columns: Vec<Column>,
    /// Columns of the primary key, possibly none.
    pub primary_key: Vec<String>,
    /// Columns of UNIQUE constraints and of unique indexes on all rows and plain columns.
    pub unique: Vec<Vec<String>>,
    /// Foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
    /// Native row-level security is on.
    pub secured: bool,
    /// Its native policies.
    pub policies: Vec<Policy>,
    /// What a manifest does not repeat, in words: CHECK constraints, triggers, other unique indexes, partitions.
    pub notes: Vec<String>,
}

/// A column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as `format_type` writes it where the search path is empty.
    pub ty: String,
    /// NOT NULL.
    pub not_null: bool,
    /// Its default as `pg_get_expr` writes it.
    pub default: Option<String>,
    /// The sequence that it owns: schema and name.
    pub sequence: Option<(String, String)>,
    /// What else it is, in words: `generated`, `identity`.
    pub notes: Vec<String>,
}

/// A foreign key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignKey {
    /// Referencing columns.
    pub columns: Vec<String>,
    /// Schema and name of the referenced table.
    pub table: (String, String),
    /// Referenced columns.
    pub references: Vec<String>,
    /// `ON DELETE CASCADE` and the like, in words.
    pub actions: Vec<String>,
}

/// A native policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// `polcmd`: `r`, `a`, `w`, `d`, `*`.
    pub command: char,
    /// It permits; otherwise it restricts.
    pub permissive: bool,
    /// Roles; none is PUBLIC.
    pub roles: Vec<String>,
    /// USING.
    pub using: Option<String>,
    /// WITH CHECK.
    pub check: Option<String>,
}

/// How a database is divided, and what its settings mean.
#[derive(Debug, Clone, Default)]
pub struct Division {
    /// The module of each schema, by the schema's name.
    pub modules: BTreeMap<String, ModuleName>,
    /// Settings that native policies read, and the claim that takes each one's place.
    pub claims: BTreeMap<String, Claim>,
}

/// The text of one schema's manifest.
pub fn manifest(schema: &Schema, module: &ModuleName, division: &Division) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "# Drafted from the schema {} of a database.", said(&schema.name));
    text.push_str("# What stands here as a comment was not taken over; each says why. Who may read and write what is in the policies alone: a\n");
    text.push_str("# table without any is used by nobody.\n");
    let _ = writeln!(text, "module = {}", quoted(module.as_str()));
    if owns(&schema.name) {
        let _ = writeln!(text, "schema = {}", quoted(&schema.name));
    } else {
        let _ = writeln!(
            text,
            "# A module has a schema of its own, which {} cannot be: ALTER SCHEMA {} RENAME TO {module}, or ALTER TABLE … SET SCHEMA {module}.",
            said(&schema.name),
            said(&schema.name)
        );
        let _ = writeln!(text, "schema = {}", quoted(module.as_str()));
    }
    text.push_str("tablespace = \"pg_default\" # or one of the module's own\n\nlogin = [\n");
    let _ = writeln!(text, "  {{ name = \"{module}\", kind = \"runtime\" }}, # serves users");
    let _ = writeln!(
        text,
        "  {{ name = \"{module}_migrator\", kind = \"migrator\" }}, # changes the schema"
    );
    let _ = writeln!(
        text,
        "  {{ name = \"{module}_service\", kind = \"service\" }}, # the module itself"
    );
    text.push_str("]\n");
    let home = table::Home::new(schema, module, division);
    for table in home.in_order() {
        text.push('\n');
        home.write(table, &mut text);
    }
    if !schema.others.is_empty() {
        text.push_str("\n# Also in the schema, and in no manifest (views, functions and the rest belong to the module's service and migrator alone):\n");
        for other in &schema.others {
            let _ = writeln!(text, "#   {}", said(other));
        }
    }
    text
}

/// Whether a manifest may name that schema.
fn owns(schema: &str) -> bool {
    let reserved = ["public", "information_schema", "postern"].contains(&schema);
    !reserved && !schema.starts_with("pg_") && !schema.starts_with("postern_") && crate::names::Ident::new(schema).is_ok()
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn quoted_list<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> String {
    let all: Vec<String> = texts.into_iter().map(|t| quoted(t.as_ref())).collect();
    format!("[{}]", all.join(", "))
}

/// Text for a comment: it stays on its line.
fn said(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The names that stand twice.
fn sorted(names: &[String]) -> BTreeSet<&str> {
    names.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests;
