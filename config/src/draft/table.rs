//! One table's part of a manifest.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Column, Division, ForeignKey, Schema, Table, names, policies, quoted, quoted_list, said, sorted};
use crate::load::column::{declarable, takes_default};
use crate::names::{Ident, MAX_IDENT_BYTES, ModuleName, TableRef};
use crate::predicate::{Shape, ShapeColumn, ShapeKind};
use crate::types::ColumnType;

/// A schema on its way into a manifest.
pub(super) struct Home<'s> {
    schema: &'s Schema,
    pub(super) module: &'s ModuleName,
    pub(super) division: &'s Division,
    /// Positions of the tables: those that are referred to first.
    order: Vec<usize>,
    /// What predicates may name; its schema is called as in the manifest.
    pub(super) shapes: Vec<Shape>,
}

impl<'s> Home<'s> {
    pub(super) fn new(schema: &'s Schema, module: &'s ModuleName, division: &'s Division) -> Self {
        let home = if super::owns(&schema.name) {
            schema.name.as_str()
        } else {
            module.as_str()
        };
        let home = Ident::new(home).expect("a schema that a manifest may name, or a module's name");
        let shapes = schema.tables.iter().filter_map(|t| shape(t, &home)).collect();
        Self {
            schema,
            module,
            division,
            order: order(schema),
            shapes,
        }
    }

    pub(super) fn in_order(&self) -> impl Iterator<Item = &'s Table> + '_ {
        self.order.iter().map(|at| &self.schema.tables[*at])
    }

    /// The schema as the database calls it.
    pub(super) fn is_own(&self, schema: &str) -> bool {
        schema == self.schema.name
    }

    pub(super) fn write(&self, table: &Table, text: &mut String) {
        let declared: Vec<&Column> = table.columns.iter().filter(|c| can_be_declared(table, c)).collect();
        if Ident::new(&table.name).is_err() || declared.is_empty() {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(
                text,
                "# The table {} is not taken over: no name or type of it can stand in a manifest.",
                said(&table.name)
            );
            return;
        }
        text.push_str("[[table]]\n");
        let _ = writeln!(text, "name = {}", quoted(&table.name));
        let has = |names: &[String]| names.iter().all(|n| declared.iter().any(|c| c.name == *n));
        if has(&table.primary_key) && !table.primary_key.is_empty() {
            let _ = writeln!(text, "primary_key = {}", quoted_list(&table.primary_key));
        } else if table.primary_key.is_empty() {
            text.push_str("# It has no primary key, so that its values could only be protected with bind = \"column\".\n");
        } else {
            let _ = writeln!(
                text,
                "# Its primary key {} has a column that is not taken over.",
                said(&table.primary_key.join(", "))
            );
        }
        let unique = distinct(table);
        let (taken, left): (Vec<&Vec<String>>, Vec<&Vec<String>>) = unique.into_iter().partition(|u| has(u));
        if !taken.is_empty() {
            let lists: Vec<String> = taken.iter().map(|u| quoted_list(*u)).collect();
            let _ = writeln!(text, "unique = [{}]", lists.join(", "));
        }
        for columns in left {
            let _ = writeln!(
                text,
                "# UNIQUE ({}) has a column that is not taken over.",
                said(&columns.join(", "))
            );
        }
        self.foreign_keys(table, &has, text);
        text.push_str("column = [\n");
        for column in &table.columns {
            write_column(table, column, text);
        }
        text.push_str("]\n");
        for note in &table.notes {
            let _ = writeln!(text, "# In the database also: {}", said(note));
        }
        policies::write(self, table, text);
    }

    fn foreign_keys(&self, table: &Table, has: &dyn Fn(&[String]) -> bool, text: &mut String) {
        let mut taken = Vec::new();
        for key in &table.foreign_keys {
            let columns = said(&key.columns.join(", "));
            let target = format!("{}.{}", said(&key.table.0), said(&key.table.1));
            if !self.is_own(&key.table.0) {
                let whose = match self.division.modules.get(&key.table.0) {
                    Some(module) => format!("of module {module}"),
                    None => "of no module".to_owned(),
                };
                let _ = writeln!(
                    text,
                    "# ({columns}) refers to {target} ({}), {whose}: that module would export the columns and this one import them; as it\n# is, \
                     the columns are plain values here.",
                    said(&key.references.join(", "))
                );
                continue;
            }
            match self.obstacle(table, key, has) {
                Some(why) => {
                    let _ = writeln!(
                        text,
                        "# ({columns}) refers to {target} ({}), not taken over: {why}.",
                        said(&key.references.join(", "))
                    );
                }
                None => {
                    for action in &key.actions {
                        let _ = writeln!(
                            text,
                            "# The key on ({columns}) has {} in the database; a manifest's keys have no such action.",
                            said(action)
                        );
                    }
                    taken.push(format!(
                        "  {{ columns = {}, table = {}, references = {} }},\n",
                        quoted_list(&key.columns),
                        quoted(&key.table.1),
                        quoted_list(&key.references)
                    ));
                }
            }
        }
        if !taken.is_empty() {
            let _ = writeln!(text, "foreign_key = [\n{}]", taken.concat());
        }
    }

    /// Why a foreign key within the schema cannot stand in the manifest.
    fn obstacle(&self, table: &Table, key: &ForeignKey, has: &dyn Fn(&[String]) -> bool) -> Option<&'static str> {
        let place = |name: &str| self.order.iter().position(|at| self.schema.tables[*at].name == name);
        let Some(target) = self.schema.tables.iter().find(|t| t.name == key.table.1) else {
            return Some("what it refers to is not taken over");
        };
        let column = |t: &'_ Table, name: &str| {
            t.columns
                .iter()
                .find(|c| c.name == name && can_be_declared(t, c))
                .map(|c| c.ty.clone())
        };
        if place(&target.name) > place(&table.name) {
            return Some("the tables refer to each other, and a manifest's keys refer to tables above them");
        }
        if !has(&key.columns) || key.references.iter().any(|r| column(target, r).is_none()) {
            return Some("a column of it is not taken over");
        }
        let wanted = sorted(&key.references);
        let keyed = sorted(&target.primary_key) == wanted || distinct(target).into_iter().any(|u| sorted(u) == wanted);
        if !keyed {
            return Some("what it refers to is no key in the manifest");
        }
        let types = key.columns.iter().zip(&key.references).all(|(from, to)| {
            let kind = |ty: Option<String>| ty.map(|ty| std::mem::discriminant(&ColumnType::parse(&ty)));
            kind(column(table, from)) == kind(column(target, to))
        });
        (!types).then_some("its columns are of different types")
    }
}

/// UNIQUE constraints without those that say the same as another or as the primary key.
fn distinct(table: &Table) -> Vec<&Vec<String>> {
    let mut seen = BTreeSet::from([sorted(&table.primary_key)]);
    table
        .unique
        .iter()
        .filter(|u| !u.is_empty() && seen.insert(sorted(u)))
        .collect()
}

/// Tables that are referred to before those that refer; where they refer to each other, by name.
fn order(schema: &Schema) -> Vec<usize> {
    fn visit(at: usize, schema: &Schema, state: &mut [u8], order: &mut Vec<usize>) {
        if state[at] != 0 {
            return;
        }
        state[at] = 1;
        for key in schema.tables[at].foreign_keys.iter().filter(|k| k.table.0 == schema.name) {
            if let Some(target) = schema.tables.iter().position(|t| t.name == key.table.1) {
                visit(target, schema, state, order);
            }
        }
        order.push(at);
    }
    let mut order = Vec::with_capacity(schema.tables.len());
    let mut state = vec![0; schema.tables.len()];
    for at in 0..schema.tables.len() {
        visit(at, schema, &mut state, &mut order);
    }
    order
}

fn shape(table: &Table, schema: &Ident) -> Option<Shape> {
    let columns = table.columns.iter().filter(|c| can_be_declared(table, c));
    Some(Shape {
        name: TableRef {
            schema: schema.clone(),
            name: Ident::new(&table.name).ok()?,
        },
        columns: columns
            .filter_map(|c| {
                Some(ShapeColumn {
                    name: Ident::new(&c.name).ok()?,
                    ty: Some(ColumnType::parse(&c.ty)),
                    protected: false,
                    eq: false,
                    never: false,
                })
            })
            .collect(),
        kind: ShapeKind::Table,
    })
}

fn can_be_declared(_table: &Table, column: &Column) -> bool {
    Ident::new(&column.name).is_ok() && declarable(&column.ty)
}

fn write_column(table: &Table, column: &Column, text: &mut String) {
    let name = said(&column.name);
    if !can_be_declared(table, column) {
        let _ = writeln!(
            text,
            "  # {name} {}: a manifest cannot declare this {}.",
            said(&column.ty),
            obstacle(column)
        );
        return;
    }
    for note in &column.notes {
        let _ = writeln!(text, "  # {name} is {} in the database.", said(note));
    }
    let mut parts = vec![format!("name = {}", quoted(&column.name))];
    let (ty, default) = typed(table, column);
    parts.push(format!("type = {}", quoted(&ty)));
    let serial = ty.ends_with("serial");
    if column.not_null && !serial && !table.primary_key.contains(&column.name) {
        parts.push("not_null = true".to_owned());
    }
    match default {
        Some(default) if takes_default(&default, &ColumnType::parse(&ty)) => {
            parts.push(format!("default = {}", quoted(&default)))
        }
        Some(default) => {
            let _ = writeln!(
                text,
                "  # {name} has the default {} in the database, which a manifest cannot repeat.",
                said(&default)
            );
        }
        None => {}
    }
    if let Some((what, protect)) = names::suggested(&column.name)
        && ColumnType::parse(&ty).sealable()
        && !serial
    {
        let _ = writeln!(text, "  # {name} may hold {what}; to protect it: {protect}");
    }
    let _ = writeln!(text, "  {{ {} }},", parts.join(", "));
}

fn obstacle(column: &Column) -> &'static str {
    if declarable(&column.ty) { "name" } else { "type" }
}

/// Type and default as a manifest writes them.
fn typed(table: &Table, column: &Column) -> (String, Option<String>) {
    let ty = ColumnType::parse(&column.ty);
    let Some(default) = &column.default else {
        return (ty.to_string(), None);
    };
    let serial = match ty {
        ColumnType::Int2 => Some("smallserial"),
        ColumnType::Int4 => Some("serial"),
        ColumnType::Int8 => Some("bigserial"),
        _ => None,
    };
    let named = format!("{}_{}_seq", table.name, column.name);
    let own = column
        .sequence
        .as_ref()
        .is_some_and(|(_, name)| *name == named && named.len() <= MAX_IDENT_BYTES);
    match serial {
        Some(serial) if own && column.not_null && default.starts_with("nextval(") => (serial.to_owned(), None),
        _ => (ty.to_string(), Some(plain_default(default))),
    }
}

/// A default without the casts that PostgreSQL prints behind constants.
fn plain_default(default: &str) -> String {
    let text = default.trim();
    if text == "CURRENT_TIMESTAMP" || text == "CURRENT_DATE" {
        return "now()".to_owned();
    }
    let unwrapped = match text.strip_prefix('\'') {
        Some(rest) => {
            // `''` is a quote within.
            let mut end = None;
            let bytes = rest.as_bytes();
            let mut i = 0;
            while i < bytes.len() {
                if bytes[i] == b'\'' {
                    if bytes.get(i + 1) == Some(&b'\'') {
                        i += 1;
                    } else {
                        end = Some(i);
                        break;
                    }
                }
                i += 1;
            }
            match end {
                Some(end) if rest[end + 1..].starts_with("::") && !rest[end + 3..].contains(['\'', ' ', '(', '|', '+']) => {
                    &text[..end + 2]
                }
                Some(end) if rest[end + 1..].starts_with("::character varying") || rest[end + 1..].starts_with("::timestamp") => {
                    &text[..end + 2]
                }
                _ => text,
            }
        }
        None => text,
    };
    let number = unwrapped.trim_matches('\'');
    let is_number = !number.is_empty()
        && number.parse::<f64>().is_ok()
        && number.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b'.');
    // PostgreSQL writes a negative number as '-1'::integer.
    if is_number
        && text.starts_with('\'')
        && ["::integer", "::bigint", "::smallint", "::numeric", "::double"]
            .iter()
            .any(|c| text.contains(c))
    {
        return number.to_owned();
    }
    let inner = unwrapped.strip_prefix('(').and_then(|t| t.strip_suffix(')'));
    match inner {
        Some(inner) if inner.parse::<f64>().is_ok() => inner.to_owned(),
        _ => unwrapped.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_lose_the_casts_of_constants_and_nothing_else() {
        for (written, plain) in [
            ("'new'::text", "'new'"),
            ("'it''s'::character varying", "'it''s'"),
            ("'-1'::integer", "-1"),
            ("(-1)", "-1"),
            ("0", "0"),
            ("true", "true"),
            ("now()", "now()"),
            ("CURRENT_TIMESTAMP", "now()"),
            ("('a'::text || 'b'::text)", "('a'::text || 'b'::text)"),
            ("'a'::text || 'b'::text", "'a'::text || 'b'::text"),
            ("gen_random_uuid()", "gen_random_uuid()"),
        ] {
            assert_eq!(plain_default(written), plain, "{written}");
        }
    }
}
