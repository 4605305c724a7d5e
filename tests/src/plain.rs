//! The unencrypted copy: a database in the same cluster with the manifests' tables in plain types, filled with what a superadmin reads
//! through the proxy.

use postern_config::manifest::Default as ColumnDefault;
use postern_config::names::{TableRef, quote_ident, quote_literal};
use postern_config::{Config, Ident, Manifest, Table};

use crate::connection::Connection;

/// One row, in text.
pub type Row = Vec<Option<Vec<u8>>>;

/// The schema of one module in plain types.
pub fn schema_sql(module: &Manifest) -> Vec<String> {
    let mut all = vec![format!("CREATE SCHEMA {}", module.schema.quoted())];
    all.extend(module.tables.iter().map(table_sql));
    all
}

/// One table. A column that no role may read is there (statements may write it) but holds nothing, so it is nullable.
pub fn table_sql(table: &Table) -> String {
    let list = |columns: &[postern_config::Ident]| columns.iter().map(|c| c.quoted()).collect::<Vec<_>>().join(", ");
    let mut parts: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let (ty, default) = match &column.default {
                Some(ColumnDefault::Serial) => (serial(&column.ty.to_string()), String::new()),
                Some(ColumnDefault::Now) => (column.ty.to_string(), " DEFAULT now()".to_owned()),
                Some(ColumnDefault::Literal(text)) => (column.ty.to_string(), format!(" DEFAULT {}", quote_literal(text))),
                None => (column.ty.to_string(), String::new()),
            };
            let null = if column.not_null && !column.never { " NOT NULL" } else { "" };
            format!("{} {ty}{default}{null}", column.name.quoted())
        })
        .collect();
    if !table.primary_key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", list(&table.primary_key)));
    }
    parts.extend(table.unique.iter().map(|columns| format!("UNIQUE ({})", list(columns))));
    parts.extend(table.foreign_keys.iter().map(|key| {
        format!(
            "FOREIGN KEY ({}) REFERENCES {} ({})",
            list(&key.columns),
            key.table.quoted(),
            list(&key.references)
        )
    }));
    format!("CREATE TABLE {} ({})", table.name.quoted(), parts.join(", "))
}

fn serial(ty: &str) -> String {
    match ty {
        "int2" => "smallserial",
        "int8" => "bigserial",
        _ => "serial",
    }
    .to_owned()
}

/// One table without keys, NOT NULL and defaults: part of its rows may be there, and masked values are NULL.
fn bare_table_sql(table: &Table, schema: &str) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|c| format!("{} {}", c.name.quoted(), c.ty))
        .collect();
    format!(
        "CREATE TABLE {}.{} ({})",
        quote_ident(schema),
        table.name.name.quoted(),
        columns.join(", ")
    )
}

/// What a module reads: its tables, and what it imports as tables of its own.
///
/// # Panics
/// When there is no such module.
pub fn relations(config: &Config, module: &str) -> Vec<Table> {
    let manifest = |name: &str| config.modules.iter().find(|m| m.module.as_str() == name).expect("a module");
    let own = manifest(module);
    let imported = own.imports.iter().map(|import| {
        let from = manifest(import.from.as_str());
        let mut table = (from.tables.iter().find(|t| t.name.name == import.table))
            .expect("a table")
            .clone();
        let column = |name: &Ident| table.columns.iter().find(|c| c.name == *name).expect("a column").clone();
        table.columns = import.columns.iter().map(column).collect();
        table.name = TableRef {
            schema: own.schema.clone(),
            name: import.name.clone(),
        };
        table
    });
    own.tables.iter().cloned().chain(imported).collect()
}

/// Makes tables in a schema of that name, without keys, with these rows (in the order of the declared columns).
///
/// # Panics
/// When anything does not work.
pub fn make_bare(copy: &mut Connection, tables: &[Table], schema: &str, mut rows: impl FnMut(&Table) -> Vec<Row>) {
    let mut all = format!("CREATE SCHEMA {};", quote_ident(schema));
    all.extend(tables.iter().map(|t| bare_table_sql(t, schema) + ";"));
    copy.run(&all).good(&all);
    for table in tables {
        let load = format!("COPY {}.{} FROM STDIN", quote_ident(schema), table.name.name.quoted());
        if let Err(failure) = copy.copy_in(&load, &copy_text(&rows(table))) {
            panic!("{load}: {failure}");
        }
    }
}

/// Copies a table's rows.
fn load(copy: &mut Connection, table: &Table, reader: &mut Connection) {
    let columns: Vec<String> = table.columns.iter().filter(|c| !c.never).map(|c| c.name.quoted()).collect();
    let columns = columns.join(", ");
    let select = format!("SELECT {columns} FROM {}", table.name.quoted());
    let rows = reader.run(&select).good(&select);
    let load = format!("COPY {} ({columns}) FROM STDIN", table.name.quoted());
    if let Err(failure) = copy.copy_in(&load, &copy_text(&rows.rows)) {
        panic!("{load}: {failure}");
    }
}

/// Makes the copy. `reader` opens a connection that may read all rows of that table in the clear: through the proxy where it has
/// protected columns.
///
/// # Panics
/// When anything does not work: without the copy there is nothing to compare.
pub fn fill(copy: &mut Connection, config: &Config, mut reader: impl FnMut(&Table) -> Connection) {
    for module in &config.modules {
        for sql in schema_sql(module) {
            copy.run(&sql).good(&sql);
        }
        for table in &module.tables {
            load(copy, table, &mut reader(table));
            for column in table.columns.iter().filter(|c| c.default == Some(ColumnDefault::Serial)) {
                let sql = format!(
                    "SELECT setval(pg_get_serial_sequence({}, {}), greatest(1, max({c}))) FROM {t}",
                    quote_literal(&table.name.quoted()),
                    quote_literal(column.name.as_str()),
                    c = column.name.quoted(),
                    t = table.name.quoted()
                );
                copy.run(&sql).good(&sql);
            }
        }
    }
    copy.run("ANALYZE").good("ANALYZE");
}

/// Rows in COPY's text format.
fn copy_text(rows: &[Row]) -> Vec<u8> {
    let mut out = Vec::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            if at > 0 {
                out.push(b'\t');
            }
            match cell {
                None => out.extend(b"\\N"),
                Some(bytes) => {
                    for &byte in bytes {
                        match byte {
                            b'\\' => out.extend(b"\\\\"),
                            b'\t' => out.extend(b"\\t"),
                            b'\n' => out.extend(b"\\n"),
                            b'\r' => out.extend(b"\\r"),
                            other => out.push(other),
                        }
                    }
                }
            }
        }
        out.push(b'\n');
    }
    out
}
