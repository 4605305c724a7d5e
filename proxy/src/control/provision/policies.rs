//! Row policies compiled to native row-level security, and the functions through which they look into other tables.
//!
//! A policy's subquery sees unfiltered rows of its module's tables. Under native RLS that takes a function of one audited owner that bypasses
//! RLS; it answers nothing unless the session's claims are verified, so that calling it by hand with made-up claims gives an empty set. Of
//! what the module imports the function reads the import's view, which filters by itself and by whoever owns it.

use std::collections::BTreeMap;

use postern_config::expr::{Expr, InSelect, Subqueries};
use postern_config::manifest::{Import, Operation, Table};
use postern_config::names::{quote_ident, quote_literal};
use postern_config::settings::Enforce;
use postern_config::{ColumnType, Config, Manifest, TableRef};
use postern_rewriter::plan::reads_nothing;

use super::POLICY_ROLE;
use super::imports;
use super::roles::everybody;
use super::step::{ProvisionStep, literals, relation_oid};

const OPERATIONS: [(Operation, &str); 4] = [
    (Operation::Select, "select"),
    (Operation::Insert, "insert"),
    (Operation::Update, "update"),
    (Operation::Delete, "delete"),
];

/// The claims hold: asked once per statement, as an uncorrelated scalar subquery.
pub(super) const VERIFIED: &str = "(SELECT postern.verified())";

/// The policy functions of one module by name: every subquery that some policy, restriction or mask asks directly.
pub(super) fn functions(manifest: &Manifest) -> BTreeMap<String, &InSelect> {
    let mut found = BTreeMap::new();
    for expr in manifest.tables.iter().flat_map(Table::predicates) {
        let printed = expr.sql("t", Subqueries::Functions);
        for select in expr.subqueries() {
            // A subquery inside another's predicate is printed in place there and needs no function.
            let name = select.function_name();
            if printed.contains(&quote_ident(&name)) {
                found.insert(name, select);
            }
        }
    }
    found
}

/// Whether some policy of a module looks into that import.
pub(super) fn look_into(manifest: &Manifest, import: &Import) -> bool {
    let mut lookups = manifest.tables.iter().flat_map(Table::predicates).flat_map(Expr::subqueries);
    lookups.any(|select| manifest.looked_into(select) == Some(import))
}

/// What the owner of the functions may read of declared tables; views of imports say themselves who reads them.
pub(super) fn rights(config: &Config) -> Vec<ProvisionStep> {
    let mut steps = Vec::new();
    for manifest in &config.modules {
        for table in tables_read(manifest) {
            let name = table.quoted();
            steps.push(ProvisionStep::asked(
                format!("policies may look into {table}"),
                format!(
                    "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a JOIN pg_catalog.pg_roles r \
                     ON r.oid = a.grantee WHERE c.oid = {} AND r.rolname = '{POLICY_ROLE}' AND a.privilege_type = 'SELECT')",
                    relation_oid(&name)
                ),
                format!("GRANT SELECT ON TABLE {name} TO {POLICY_ROLE};"),
            ));
        }
    }
    steps
}

/// The steps for functions, each with how many imports lie beneath it; they stand before the policies that call them.
pub(super) fn functions_by_depth(config: &Config) -> Vec<(usize, Vec<ProvisionStep>)> {
    let mut steps = Vec::new();
    for manifest in &config.modules {
        for (name, select) in functions(manifest) {
            let depth = config.depth(manifest, &Expr::InSelect(Box::new(select.clone())));
            steps.push((depth, vec![function_step(config, manifest, &name, select)]));
        }
    }
    steps
}

fn function_step(config: &Config, manifest: &Manifest, name: &str, select: &InSelect) -> ProvisionStep {
    let table = match manifest.looked_into(select) {
        Some(import) => config.exported(import).map(|(_, table)| table),
        None => manifest.tables.iter().find(|t| t.name == select.table),
    };
    let ty = match table.and_then(|t| t.column(select.column.as_str())) {
        Some(c) if c.protection.is_some() => ColumnType::Bytea,
        Some(c) => c.ty.clone(),
        None => ColumnType::Text,
    };
    let quoted = format!("postern.{}", quote_ident(name));
    let body = format!(
        "SELECT \"postern$found\".* FROM ({}) AS \"postern$found\" WHERE {VERIFIED}",
        select.body_sql()
    );
    // A view over an exported table calls it in the name of whoever reads the view.
    let callers = imports::callers(config, manifest, name);
    let callers: Vec<String> = std::iter::once(manifest).chain(callers).map(everybody).collect();
    let others: Vec<String> = config.modules.iter().map(|m| everybody(m)).collect();
    ProvisionStep::recorded(
        format!("policy function {name}"),
        function_state(&format!("postern.{}()", quote_ident(name))),
        format!(
            "CREATE OR REPLACE FUNCTION {quoted}() RETURNS SETOF {ty}\n  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog\n  \
             AS {};\nALTER FUNCTION {quoted}() OWNER TO {POLICY_ROLE};\nREVOKE ALL ON FUNCTION {quoted}() FROM PUBLIC, {};\n\
             GRANT EXECUTE ON FUNCTION {quoted}() TO {};",
            quote_literal(&body),
            others.join(", "),
            callers.join(", ")
        ),
    )
}

/// What matters of a function, as one text.
pub(super) fn function_state(signature: &str) -> String {
    format!(
        "SELECT pg_catalog.concat_ws(' ', r.rolname, p.proacl::text, p.proconfig::text, p.prosecdef, p.provolatile, p.proparallel, p.prosrc) \
         FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_roles r ON r.oid = p.proowner \
         WHERE p.oid = pg_catalog.to_regprocedure({})",
        quote_literal(signature)
    )
}

/// Every table of its own that a module's policies look into.
fn tables_read(manifest: &Manifest) -> Vec<TableRef> {
    let lookups = manifest.tables.iter().flat_map(Table::predicates).flat_map(Expr::subqueries);
    let own = lookups.filter(|select| manifest.looked_into(select).is_none());
    let mut tables: Vec<TableRef> = own.map(|select| select.table.clone()).collect();
    tables.sort();
    tables.dedup();
    tables
}

/// The policies of every declared table, then what is left over from earlier manifests.
pub(super) fn steps(config: &Config) -> Vec<ProvisionStep> {
    let mut steps = Vec::new();
    for manifest in &config.modules {
        for table in &manifest.tables {
            steps.push(policies(manifest, table, config.settings.enforce));
            steps.push(switch(table));
        }
        steps.push(undeclared(manifest));
    }
    steps.push(unused_functions(config));
    steps
}

/// The policies of one table. Where the proxy alone filters, every row is let through to be read and changed, by a plain `true` that costs no
/// plan its indexes, and what is written is checked: only PostgreSQL sees the row as it will be stored, and at the right moment.
fn policies(manifest: &Manifest, table: &Table, enforce: Enforce) -> ProvisionStep {
    let name = table.name.quoted();
    let to = everybody(manifest);
    let alias = table.name.name.as_str();
    let mut sql = format!(
        "DO $postern$\nDECLARE found name;\nBEGIN\n  \
         FOR found IN SELECT polname FROM pg_catalog.pg_policy WHERE polrelid = {}::pg_catalog.regclass LOOP\n    \
         EXECUTE pg_catalog.format('DROP POLICY %I ON %s', found, {});\n  END LOOP;\nEND\n$postern$;",
        quote_literal(&name),
        quote_literal(&name)
    );
    for (operation, word) in OPERATIONS {
        let mut clauses = String::new();
        if operation != Operation::Insert {
            match enforce {
                Enforce::Both | Enforce::Rls => {
                    let using = table.using(operation).sql(alias, Subqueries::Functions);
                    clauses.push_str(&format!("\n  USING ({VERIFIED} AND {using})"));
                }
                Enforce::Rewrite => clauses.push_str("\n  USING (true)"),
            }
        }
        if matches!(operation, Operation::Insert | Operation::Update) {
            let check = table.check(operation).sql(alias, Subqueries::Functions);
            clauses.push_str(&format!(
                "\n  WITH CHECK ({VERIFIED} AND {check}{})",
                seen(table, operation, enforce)
            ));
        }
        sql.push_str(&format!(
            "\nCREATE POLICY \"postern_{word}\" ON {name} AS PERMISSIVE FOR {} TO {to}{clauses};",
            word.to_uppercase()
        ));
    }
    ProvisionStep::recorded(
        format!("row policies of {}", table.name),
        format!(
            "SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', p.polname, p.polcmd, p.polpermissive, \
             (SELECT pg_catalog.string_agg(r.rolname, ',' ORDER BY r.rolname) FROM pg_catalog.pg_roles r WHERE r.oid = ANY (p.polroles)), \
             pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)), ' ' ORDER BY p.polname) \
             FROM pg_catalog.pg_policy p WHERE p.polrelid = {}",
            relation_oid(&name)
        ),
        sql,
    )
}

/// That the written row is also one that may be seen, where PostgreSQL would ask its own SELECT policy for it but that lets everything through: an
/// UPDATE through the proxy always reads, an INSERT unless the proxy says that it does not.
fn seen(table: &Table, operation: Operation, enforce: Enforce) -> String {
    if enforce != Enforce::Rewrite {
        return String::new();
    }
    let using = table
        .using(Operation::Select)
        .sql(table.name.name.as_str(), Subqueries::Functions);
    match reads_nothing(&table.name).filter(|_| operation == Operation::Insert) {
        // Asked once per statement: the text may be long.
        Some(mark) => format!(
            " AND ((SELECT pg_catalog.starts_with(pg_catalog.current_query(), {})) OR {using})",
            quote_literal(&mark)
        ),
        None => format!(" AND {using}"),
    }
}

/// Row security on, also for the owner.
fn switch(table: &Table) -> ProvisionStep {
    let name = table.name.quoted();
    ProvisionStep::asked(
        format!("row security of {} is on", table.name),
        format!(
            "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = {} AND relrowsecurity AND relforcerowsecurity)",
            relation_oid(&name)
        ),
        format!("ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;\nALTER TABLE {name} FORCE ROW LEVEL SECURITY;"),
    )
}

/// A table that the manifest no longer declares keeps its rows, and nobody but its owner sees them.
fn undeclared(manifest: &Manifest) -> ProvisionStep {
    let declared = literals(manifest.tables.iter().map(|t| t.name.name.as_str()));
    let left = format!(
        "SELECT c.oid, p.polname FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND p.polname LIKE 'postern\\_%'{}",
        quote_literal(manifest.schema.as_str()),
        if declared.is_empty() {
            String::new()
        } else {
            format!(" AND c.relname NOT IN ({declared})")
        }
    );
    ProvisionStep::asked(
        format!("tables that {} no longer declares have no policies", manifest.module),
        format!("SELECT EXISTS ({left})"),
        format!(
            "DO $postern$\nDECLARE found record;\nBEGIN\n  FOR found IN {left} LOOP\n    \
             EXECUTE pg_catalog.format('DROP POLICY %I ON %s', found.polname, found.oid::pg_catalog.regclass);\n  \
             END LOOP;\nEND\n$postern$;"
        ),
    )
}

fn unused_functions(config: &Config) -> ProvisionStep {
    let kept: Vec<String> = config.modules.iter().flat_map(|m| functions(m).into_keys()).collect();
    let unused = format!(
        "SELECT p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
         WHERE n.nspname = 'postern' AND p.proname LIKE 'p$%'{}",
        if kept.is_empty() {
            String::new()
        } else {
            format!(" AND p.proname NOT IN ({})", literals(kept.iter().map(String::as_str)))
        }
    );
    ProvisionStep::asked(
        "policy functions that nothing calls are dropped",
        format!("SELECT EXISTS ({unused})"),
        format!(
            "DO $postern$\nDECLARE found oid;\nBEGIN\n  FOR found IN {unused} LOOP\n    \
             EXECUTE pg_catalog.format('DROP FUNCTION %s', found::pg_catalog.regprocedure);\n  END LOOP;\nEND\n$postern$;"
        ),
    )
}
