//! Declared tables in the form in which they are stored.
//!
//! A protected column `email text` becomes `email bytea` (the envelope) and, where equality can be asked, `"postern$eq$email" bytea`
//! (the tag) behind all declared columns. Keys, UNIQUE and foreign keys over a protected column stand on its tag, under the names that
//! PostgreSQL would have given them.

use postern_config::manifest::{Column, Default, LoginKind, Operation, Table};
use postern_config::names::{eq_column, quote_ident, quote_literal};
use postern_config::{Config, Ident, Manifest};

use super::roles::tablespace;
use super::step::{ProvisionStep, literals, relation_oid};

/// The steps for one module's tables.
pub(super) fn steps(config: &Config, manifest: &Manifest) -> Vec<ProvisionStep> {
    let space = quote_ident(&tablespace(config, manifest));
    let mut steps = Vec::new();
    for table in &manifest.tables {
        steps.extend(sequences(manifest, table));
        steps.push(create(manifest, table, &space));
        steps.extend(added_columns(table));
        steps.extend(owned_sequences(table));
        steps.extend(keys(table, &space));
    }
    for table in &manifest.tables {
        steps.extend(foreign_keys(manifest, table));
    }
    steps.extend(manifest.tables.iter().map(|t| grants(manifest, t)));
    steps
}

/// The stored columns that a key over `column` stands on.
fn key_column(table: &Table, column: &Ident) -> String {
    match table.column(column.as_str()).and_then(|c| c.protection.as_ref()) {
        Some(p) if p.eq() => eq_column(column),
        _ => column.to_string(),
    }
}

fn key_columns(table: &Table, columns: &[Ident]) -> String {
    let quoted: Vec<String> = columns.iter().map(|c| quote_ident(&key_column(table, c))).collect();
    quoted.join(", ")
}

/// (stored name, definition) of every physical column: the declared ones in order, then the tags.
fn physical_columns(table: &Table) -> Vec<(String, String)> {
    let declared = table.columns.iter().map(|c| (c.name.to_string(), declared_column(table, c)));
    let tags = table
        .columns
        .iter()
        .filter(|c| c.protection.as_ref().is_some_and(|p| p.eq()))
        .map(|c| {
            (
                eq_column(&c.name),
                format!("bytea{}", if c.not_null { " NOT NULL" } else { "" }),
            )
        });
    declared.chain(tags).collect()
}

fn declared_column(table: &Table, column: &Column) -> String {
    let mut text = match column.protection {
        Some(_) => "bytea".to_owned(),
        None => column.ty.to_string(),
    };
    if column.protection.is_none() {
        match &column.default {
            None => {}
            Some(Default::Now) => text.push_str(" DEFAULT pg_catalog.now()"),
            Some(Default::Serial) => text.push_str(&format!(
                " DEFAULT pg_catalog.nextval({}::pg_catalog.regclass)",
                quote_literal(&sequence(table, column))
            )),
            Some(Default::Literal(value)) => text.push_str(&format!(" DEFAULT {}::{}", quote_literal(value), column.ty)),
        }
    }
    if column.not_null || table.primary_key.contains(&column.name) {
        text.push_str(" NOT NULL");
    }
    text
}

/// The quoted name of a serial column's sequence.
fn sequence(table: &Table, column: &Column) -> String {
    format!(
        "{}.{}",
        table.name.schema.quoted(),
        quote_ident(&sequence_name(table, column))
    )
}

fn sequence_name(table: &Table, column: &Column) -> String {
    object_name(table.name.name.as_str(), column.name.as_str(), "seq")
}

/// Names of the sequences that a table's columns draw from, without schema.
pub(super) fn sequence_names(table: &Table) -> impl Iterator<Item = String> {
    serial_columns(table).map(|column| sequence_name(table, column))
}

fn serial_columns(table: &Table) -> impl Iterator<Item = &Column> {
    table.columns.iter().filter(|c| c.default == Some(Default::Serial))
}

fn sequences(manifest: &Manifest, table: &Table) -> Vec<ProvisionStep> {
    let owner = quote_ident(&manifest.owner_role());
    let users = users(manifest);
    serial_columns(table)
        .flat_map(|column| {
            let name = sequence(table, column);
            let kind = match column.protection {
                None => column.ty.to_string(),
                Some(_) => "int8".to_owned(),
            };
            let mut grants = format!("REVOKE ALL ON SEQUENCE {name} FROM PUBLIC;");
            if !users.is_empty() {
                grants.push_str(&format!("\nGRANT USAGE ON SEQUENCE {name} TO {users};"));
            }
            [
                ProvisionStep::asked(
                    format!("sequence of {}.{}", table.name, column.name),
                    format!("SELECT {} IS NULL", relation_oid(&name)),
                    format!("CREATE SEQUENCE IF NOT EXISTS {name} AS {kind};\nALTER SEQUENCE {name} OWNER TO {owner};"),
                ),
                ProvisionStep::recorded(
                    format!("who draws from the sequence of {}.{}", table.name, column.name),
                    format!(
                        "SELECT relacl::text FROM pg_catalog.pg_class WHERE oid = {}",
                        relation_oid(&name)
                    ),
                    grants,
                ),
            ]
        })
        .collect()
}

/// A dropped column or table takes its sequence along, as with `serial`.
fn owned_sequences(table: &Table) -> Vec<ProvisionStep> {
    serial_columns(table)
        .filter(|c| c.protection.is_none())
        .map(|column| {
            let name = sequence(table, column);
            ProvisionStep::asked(
                format!("the sequence of {}.{} belongs to its column", table.name, column.name),
                format!(
                    "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                     AND objid = {} AND refobjid = {} AND deptype = 'a')",
                    relation_oid(&name),
                    relation_oid(&table.name.quoted())
                ),
                format!("ALTER SEQUENCE {name} OWNED BY {}.{};", table.name.quoted(), column.name.quoted()),
            )
        })
        .collect()
}

fn create(manifest: &Manifest, table: &Table, space: &str) -> ProvisionStep {
    let name = table.name.quoted();
    let columns: Vec<String> = physical_columns(table)
        .into_iter()
        .map(|(column, definition)| format!("  {} {definition}", quote_ident(&column)))
        .collect();
    let partitioned = table.partition_by.as_ref().map(|by| {
        let columns: Vec<String> = by.columns.iter().map(|c| quote_ident(c.as_str())).collect();
        format!(" PARTITION BY {} ({})", by.strategy.as_sql(), columns.join(", "))
    });
    ProvisionStep::asked(
        format!("table {}", table.name),
        format!("SELECT {} IS NULL", relation_oid(&name)),
        format!(
            "CREATE TABLE {name} (\n{}\n){}{};\nALTER TABLE {name} OWNER TO {};",
            columns.join(",\n"),
            partitioned.unwrap_or_default(),
            lies_in(table, " TABLESPACE", space),
            quote_ident(&manifest.owner_role())
        ),
    )
}

/// The clause that names the module's tablespace. PostgreSQL refuses the database's own by name where a table is partitioned.
fn lies_in(table: &Table, clause: &str, space: &str) -> String {
    match table.partition_by.is_some() && space == quote_ident("pg_default") {
        true => String::new(),
        false => format!("{clause} {space}"),
    }
}

/// A column that the manifest gained after the table was made.
fn added_columns(table: &Table) -> Option<ProvisionStep> {
    let name = table.name.quoted();
    let columns = physical_columns(table);
    let adds: Vec<String> = columns
        .iter()
        .map(|(column, definition)| format!("  ADD COLUMN IF NOT EXISTS {} {definition}", quote_ident(column)))
        .collect();
    (!columns.is_empty()).then(|| {
        ProvisionStep::asked(
            format!("columns added to {}", table.name),
            format!(
                "SELECT {oid} IS NOT NULL AND EXISTS (SELECT FROM pg_catalog.unnest(ARRAY[{names}]::text[]) AS wanted(name) \
                 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = {oid} AND a.attname = wanted.name \
                 AND NOT a.attisdropped))",
                oid = relation_oid(&name),
                names = literals(columns.iter().map(|(column, _)| column.as_str()))
            ),
            format!("ALTER TABLE {name}\n{};", adds.join(",\n")),
        )
    })
}

pub(super) fn constraint(table: &Table, name: &str, definition: &str) -> ProvisionStep {
    let quoted = table.name.quoted();
    ProvisionStep::asked(
        format!("constraint {name} of {}", table.name),
        format!(
            "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = {} AND conname = {})",
            relation_oid(&quoted),
            quote_literal(name)
        ),
        format!("ALTER TABLE {quoted} ADD CONSTRAINT {} {definition};", quote_ident(name)),
    )
}

fn keys(table: &Table, space: &str) -> Vec<ProvisionStep> {
    let bare = table.name.name.as_str();
    let mut steps = Vec::new();
    if !table.primary_key.is_empty() {
        steps.push(constraint(
            table,
            &object_name(bare, "", "pkey"),
            &format!(
                "PRIMARY KEY ({}){}",
                key_columns(table, &table.primary_key),
                lies_in(table, " USING INDEX TABLESPACE", space)
            ),
        ));
    }
    for unique in &table.unique {
        steps.push(constraint(
            table,
            &object_name(bare, &joined(unique), "key"),
            &format!(
                "UNIQUE ({}){}",
                key_columns(table, unique),
                lies_in(table, " USING INDEX TABLESPACE", space)
            ),
        ));
    }
    steps
}

fn foreign_keys(manifest: &Manifest, table: &Table) -> Vec<ProvisionStep> {
    table
        .foreign_keys
        .iter()
        .filter_map(|key| {
            let target = manifest.tables.iter().find(|t| t.name == key.table)?;
            Some(constraint(
                table,
                &object_name(table.name.name.as_str(), &joined(&key.columns), "fkey"),
                &format!(
                    "FOREIGN KEY ({}) REFERENCES {} ({})",
                    key_columns(table, &key.columns),
                    key.table.quoted(),
                    key_columns(target, &key.references)
                ),
            ))
        })
        .collect()
}

/// Runtime and service logins, quoted: those that touch rows in their own name.
pub(super) fn users(manifest: &Manifest) -> String {
    let logins: Vec<String> = manifest
        .logins
        .iter()
        .filter(|l| l.kind != LoginKind::Migrator)
        .map(|l| quote_ident(l.name.as_str()))
        .collect();
    logins.join(", ")
}

/// Rights on rows. A plain `never` column cannot be selected and an immutable one cannot be assigned, whatever statement arrives. (A
/// protected `never` column is ciphertext, and the proxy reads it to seal it again when its row's key changes.)
fn grants(manifest: &Manifest, table: &Table) -> ProvisionStep {
    let name = table.name.quoted();
    let mut sql = format!("REVOKE ALL ON TABLE {name} FROM PUBLIC;");
    let users = users(manifest);
    if !users.is_empty() {
        let column_list = |kept: &dyn Fn(&Column) -> bool| {
            if table.columns.iter().all(kept) {
                return String::new();
            }
            let listed = physical_columns(table)
                .into_iter()
                .filter(|(column, _)| table.column(column).is_none_or(kept))
                .map(|(column, _)| quote_ident(&column))
                .collect::<Vec<_>>();
            format!(" ({})", listed.join(", "))
        };
        let select = column_list(&|c| !c.never || c.protection.is_some());
        let update = column_list(&|c| !c.immutable || c.protection.is_some());
        let insert = column_list(&|c| may_insert(table, c));
        sql.push_str(&format!(
            "\nREVOKE ALL ON TABLE {name} FROM {users};\nGRANT SELECT{select}, INSERT{insert}, UPDATE{update}, DELETE ON TABLE {name} TO {users};"
        ));
    }
    ProvisionStep::recorded(
        format!("who touches rows of {}", table.name),
        format!(
            "SELECT pg_catalog.concat_ws(' ', r.rolname, c.relacl::text, (SELECT pg_catalog.string_agg(a.attname || a.attacl::text, ' ' \
             ORDER BY a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL)) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner WHERE c.oid = {}",
            relation_oid(&name)
        ),
        format!("ALTER TABLE {name} OWNER TO {};\n{sql}", quote_ident(&manifest.owner_role())),
    )
}

/// Whether an INSERT may name the column: some policy lets it (or there is none at all), or the proxy fills it itself, because protected
/// values are bound to it.
fn may_insert(table: &Table, column: &Column) -> bool {
    let row_bound = |c: &Column| c.protection.as_ref().is_some_and(|p| !p.bind_column_only);
    table.insertable(column)
        || column.preset_on(Operation::Insert)
        || !table.policies.iter().any(|p| p.operations.contains(&Operation::Insert))
        || table.bound.contains(&column.name) && table.columns.iter().any(row_bound)
}

pub(super) fn joined(columns: &[Ident]) -> String {
    columns.iter().map(Ident::as_str).collect::<Vec<_>>().join("_")
}

/// The name that PostgreSQL gives a constraint or sequence (`makeObjectName`): the longer part is cut until the whole fits 63 bytes.
pub(crate) fn object_name(table: &str, columns: &str, label: &str) -> String {
    const MAX: usize = postern_config::names::MAX_IDENT_BYTES;
    let separators = if columns.is_empty() { 1 } else { 2 };
    let room = MAX - label.len() - separators;
    let (mut first, mut second) = (table.len(), columns.len());
    while first + second > room {
        if first > second { first -= 1 } else { second -= 1 }
    }
    let cut = |text: &str, mut to: usize| {
        while !text.is_char_boundary(to) {
            to -= 1;
        }
        text[..to].to_owned()
    };
    match columns {
        "" => format!("{}_{label}", cut(table, first)),
        _ => format!("{}_{}_{label}", cut(table, first), cut(columns, second)),
    }
}

#[cfg(test)]
mod tests {
    use super::object_name;

    #[test]
    fn names_are_those_of_postgresql() {
        assert_eq!(object_name("accounts", "email", "key"), "accounts_email_key");
        assert_eq!(object_name("accounts", "", "pkey"), "accounts_pkey");
        assert_eq!(object_name("mod_events", "id", "seq"), "mod_events_id_seq");
        let long = object_name(&"a".repeat(63), &"b".repeat(40), "key");
        assert_eq!(long.len(), 63);
        // What 15.18 answers for CREATE TABLE <a × 63> (<b × 40> text UNIQUE).
        assert_eq!(long, format!("{}_{}_key", "a".repeat(29), "b".repeat(29)));
    }
}
