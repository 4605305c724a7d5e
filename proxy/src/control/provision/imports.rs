//! What modules read of each other: a view in the importing module's schema for each import, and the foreign keys that stand on them.
//!
//! A view, and not a grant on the table: the importing module's logins use nothing of the other's schema, and whatever they know of its names,
//! PostgreSQL answers `permission denied for schema`. The view shows the exported columns, masked as the exporting module masks them, and by
//! itself only the rows that its policies show to the verified claims at hand, whoever else filters; native row-level security filters
//! beneath it, since it belongs to the table's owner. With `rows = "all"` it belongs to the role that policies look into tables with, and
//! only restrictions hold. That role reads the view where a policy looks into the import, and sees there what whoever asks would see.

use postern_config::expr::Subqueries;
use postern_config::manifest::{Import, SharedRows, Table};
use postern_config::names::{quote_ident, quote_literal};
use postern_config::{Config, Manifest};

use super::POLICY_ROLE;
use super::policies::{self, VERIFIED};
use super::roles::everybody;
use super::step::{ProvisionStep, literals, relation_oid};
use super::tables;

/// The views, each with how many imports lie beneath it, itself counted.
pub(super) fn views_by_depth(config: &Config) -> Vec<(usize, Vec<ProvisionStep>)> {
    let mut views = Vec::new();
    for manifest in &config.modules {
        for import in &manifest.imports {
            let Some((exporter, table)) = config.exported(import) else {
                continue;
            };
            let mut steps = Vec::new();
            if import.rows == SharedRows::All {
                steps.push(all_rows(table));
            }
            steps.push(view(manifest, import, exporter, table));
            views.push((config.import_depth(import), steps));
        }
    }
    views
}

/// What is left over from earlier manifests goes before the functions that it calls.
pub(super) fn unused(config: &Config) -> Vec<ProvisionStep> {
    config.modules.iter().map(|m| unused_views(config, m)).collect()
}

/// The modules whose imports call a policy function of this module, beside it.
pub(super) fn callers<'c>(config: &'c Config, exporter: &'c Manifest, function: &'c str) -> impl Iterator<Item = &'c Manifest> {
    let calls = move |import: &Import, table: &Table| {
        let name = quote_ident(function);
        // Native row-level security asks beneath a view of policies, too; it asks the same.
        let mut decided = import.decided_by(table).into_iter();
        decided.any(|e| e.sql("t", Subqueries::Functions).contains(&name))
    };
    config.modules.iter().map(|m| &**m).filter(move |m| {
        (m.imports.iter().filter(|i| i.from == exporter.module))
            .any(|i| exporter.table(i.table.as_str()).is_some_and(|t| calls(i, t)))
    })
}

/// Who owns the view of an import: with whose rights it reads.
pub(in crate::control) fn owner(import: &Import, exporter: &Manifest) -> String {
    match import.rows {
        SharedRows::Policies => exporter.owner_role(),
        SharedRows::All => POLICY_ROLE.to_owned(),
    }
}

fn all_rows(table: &Table) -> ProvisionStep {
    let name = table.name.quoted();
    ProvisionStep::asked(
        format!("all rows of {} may be shown", table.name),
        format!(
            "SELECT NOT pg_catalog.has_table_privilege('{POLICY_ROLE}', {}, 'SELECT')",
            relation_oid(&name)
        ),
        format!("GRANT SELECT ON TABLE {name} TO {POLICY_ROLE};"),
    )
}

fn view(manifest: &Manifest, import: &Import, exporter: &Manifest, table: &Table) -> ProvisionStep {
    let name = format!("{}.{}", manifest.schema.quoted(), import.name.quoted());
    // The mark of a filtered table, as in what the judge makes.
    let alias = "postern$t";
    let columns: Vec<String> = import
        .columns
        .iter()
        .map(|column| {
            let stored = format!("{}.{}", quote_ident(alias), column.quoted());
            let value = match table.column(column.as_str()).and_then(|c| c.shown_when.as_ref()) {
                Some(mask) => {
                    let shown = mask.sql(alias, Subqueries::Functions);
                    format!("CASE WHEN {shown} THEN {stored}{} END", instead(table, column))
                }
                None => stored,
            };
            format!("{value} AS {}", column.quoted())
        })
        .collect();
    let owner = quote_ident(&owner(import, exporter));
    let mut readers = everybody(manifest);
    if policies::look_into(manifest, import) {
        readers = format!("{readers}, {POLICY_ROLE}");
    }
    let oid = relation_oid(&name);
    let told = quote_literal(&name);
    let query = format!(
        "{name} WITH (security_barrier) AS\n  SELECT {}\n  FROM {} AS {}\n  WHERE {VERIFIED} AND {}",
        columns.join(", "),
        table.name.quoted(),
        quote_ident(alias),
        import.shown_rows(table).sql(alias, Subqueries::Functions),
    );
    ProvisionStep::recorded(
        format!(
            "{} reads {} as {}.{}",
            manifest.module, table.name, manifest.schema, import.name
        ),
        format!(
            "SELECT pg_catalog.concat_ws(' ', r.rolname, c.relkind, c.relacl::text, c.reloptions::text, pg_catalog.pg_get_viewdef(c.oid)) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner WHERE c.oid = {oid}"
        ),
        // Replaced in place where its columns stay: what the importing module has built on it must not keep an old mask in force.
        format!(
            "DO $postern$\nDECLARE reader pg_catalog.name;\nBEGIN\n  BEGIN\n    CREATE OR REPLACE VIEW {query};\n  \
             EXCEPTION WHEN invalid_table_definition THEN\n    DROP VIEW {name};\n    CREATE VIEW {query};\n  END;\n  \
             FOR reader IN SELECT DISTINCT pg_catalog.pg_get_userbyid(a.grantee) FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a \
             WHERE c.oid = {oid} AND a.grantee <> 0 AND a.grantee <> c.relowner LOOP\n    \
             EXECUTE pg_catalog.format('REVOKE ALL ON TABLE %s FROM %I CASCADE', {told}, reader);\n  END LOOP;\nEND\n$postern$;\n\
             REVOKE ALL ON TABLE {name} FROM PUBLIC;\nGRANT SELECT ON TABLE {name} TO {readers};\nALTER VIEW {name} OWNER TO {owner};"
        ),
    )
}

/// What a masked column shows in its value's place, where that is not NULL.
fn instead(table: &Table, column: &postern_config::Ident) -> String {
    let column = table.column(column.as_str());
    let text = column.and_then(|c| Some((c.mask.as_deref()?, &c.ty)));
    text.map_or_else(String::new, |(text, ty)| format!(" ELSE {}::{ty}", quote_literal(text)))
}

/// Views of earlier imports: another module's owner, or the policies' role, owns them.
fn unused_views(config: &Config, manifest: &Manifest) -> ProvisionStep {
    let owners: Vec<String> = config
        .modules
        .iter()
        .filter(|m| m.module != manifest.module)
        .map(|m| m.owner_role())
        .chain([POLICY_ROLE.to_owned()])
        .collect();
    let kept = literals(manifest.imports.iter().map(|i| i.name.as_str()));
    let left = format!(
        "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_roles r ON r.oid = c.relowner WHERE n.nspname = {} AND c.relkind = 'v' AND r.rolname IN ({}){}",
        quote_literal(manifest.schema.as_str()),
        literals(owners.iter().map(String::as_str)),
        if kept.is_empty() {
            String::new()
        } else {
            format!(" AND c.relname NOT IN ({kept})")
        }
    );
    ProvisionStep::asked(
        format!("what {} no longer imports is gone", manifest.module),
        format!("SELECT EXISTS ({left})"),
        format!(
            "DO $postern$\nDECLARE found oid;\nBEGIN\n  FOR found IN {left} LOOP\n    \
             EXECUTE pg_catalog.format('DROP VIEW %s', found::pg_catalog.regclass);\n  END LOOP;\nEND\n$postern$;"
        ),
    )
}

/// Foreign keys to imported tables. The provisioning role makes them, so the importing module needs no right on the other's table.
pub(super) fn foreign_keys(config: &Config) -> Vec<ProvisionStep> {
    config.modules.iter().flat_map(|m| keys_of(config, m)).collect()
}

fn keys_of(config: &Config, manifest: &Manifest) -> Vec<ProvisionStep> {
    let step = |key: &postern_config::manifest::ImportKey| {
        let own = manifest.table(key.table.as_str())?;
        let import = manifest.import(key.import.as_str())?;
        let (_, target) = config.exported(import)?;
        let list = |columns: &[postern_config::Ident]| columns.iter().map(|c| c.quoted()).collect::<Vec<_>>().join(", ");
        Some(tables::constraint(
            own,
            &tables::object_name(own.name.name.as_str(), &tables::joined(&key.columns), "fkey"),
            &format!(
                "FOREIGN KEY ({}) REFERENCES {} ({}) ON DELETE {} ON UPDATE {}",
                list(&key.columns),
                target.name.quoted(),
                list(&key.references),
                key.on_delete.as_str().to_uppercase(),
                key.on_update.as_str().to_uppercase()
            ),
        ))
    };
    manifest.import_keys.iter().filter_map(step).collect()
}
