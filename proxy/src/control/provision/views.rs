//! The catalogue views of [`super::super::catalogue_views`] as provisioning steps.

use postern_config::Config;
use postern_config::names::{quote_ident, quote_literal};

use super::super::catalogue_functions::{CatalogueFunction, REFUSED, RELATION_SIZES, functions};
use super::super::catalogue_views::{
    CATALOG_VIEWS, CatalogueView, DECLARED, DECLARED_PARTITIONS, DECLARED_RELATIONS, INFORMATION_VIEWS, OWN_SIZE,
    SEEN_CONSTRAINTS, SEEN_NAMES, SEEN_OBJECTS, SEEN_RELATIONS, SEEN_ROLES, SEEN_SCHEMAS, SEEN_TYPES, SEES_UNDECLARED, SHOWN_ACL,
};
use super::CATALOGUE_ROLE;
use super::policies::function_state;
use super::roles::everybody;
use super::step::{ProvisionStep, literals};

/// The views' schemas, the private views below them, the views, and who reads them.
pub(super) fn steps(config: &Config) -> Vec<ProvisionStep> {
    let everybody = config.modules.iter().map(|m| everybody(m)).collect::<Vec<_>>().join(", ");
    let mut steps = Vec::new();
    for schema in ["postern_catalog", "postern_information"] {
        steps.push(ProvisionStep::asked(
            format!("schema {schema}"),
            format!("SELECT pg_catalog.to_regnamespace('{schema}') IS NULL"),
            format!("CREATE SCHEMA IF NOT EXISTS {schema};\nREVOKE ALL ON SCHEMA {schema} FROM PUBLIC;"),
        ));
    }
    for (name, body) in [
        ("seen_schemas", SEEN_SCHEMAS),
        ("sees_undeclared", SEES_UNDECLARED),
        ("declared_partitions", DECLARED_PARTITIONS),
        ("declared_seen", DECLARED_RELATIONS),
        ("seen_relations", SEEN_RELATIONS),
        ("seen_names", SEEN_NAMES),
        ("seen_types", SEEN_TYPES),
        ("seen_constraints", SEEN_CONSTRAINTS),
        ("seen_objects", SEEN_OBJECTS),
        ("seen_roles", SEEN_ROLES),
        ("declared", DECLARED),
    ] {
        let view = format!("postern.{name}");
        steps.push(ProvisionStep::recorded(
            format!("view {view}"),
            view_state(&view),
            format!("CREATE OR REPLACE VIEW {view} AS {body};\nALTER VIEW {view} OWNER TO {CATALOGUE_ROLE};"),
        ));
    }
    steps.push(shown_acl_step(&everybody));
    steps.push(measures());
    steps.push(own_size_step(&everybody));
    steps.extend(CATALOG_VIEWS.iter().map(|v| step("pg_catalog", "postern_catalog", v)));
    steps.extend(
        INFORMATION_VIEWS
            .iter()
            .map(|v| step("information_schema", "postern_information", v)),
    );
    steps.push(functions_step(&everybody));
    for schema in ["postern_catalog", "postern_information"] {
        let mut sql = format!("REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC;");
        if !everybody.is_empty() {
            sql.push_str(&format!(
                "\nGRANT USAGE ON SCHEMA {schema} TO {everybody};\nGRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {everybody};"
            ));
        }
        steps.push(ProvisionStep::recorded(
            format!("who reads {schema}"),
            format!(
                "SELECT pg_catalog.concat_ws(' ', n.nspacl::text, (SELECT pg_catalog.string_agg(c.relname || c.relacl::text, ' ' \
                 ORDER BY c.relname) FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relkind = 'v')) \
                 FROM pg_catalog.pg_namespace n WHERE n.nspname = '{schema}'"
            ),
            sql,
        ));
    }
    steps
}

/// The function that the views' access lists pass through.
fn shown_acl_step(everybody: &str) -> ProvisionStep {
    owned_function("postern.shown_acl(aclitem[])", "aclitem[]", SHOWN_ACL, everybody)
}

/// The function that tells sizes: of its owner's right, since nobody else has it.
fn own_size_step(everybody: &str) -> ProvisionStep {
    owned_function("postern.own_size(oid, text, text)", "bigint", OWN_SIZE, everybody)
}

/// What [`own_size_step`]'s function calls, and nobody but its owner. Where the control role does not own the built-ins, they are everybody's.
fn measures() -> ProvisionStep {
    let measures = format!(
        "p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.proname IN ({})",
        literals(RELATION_SIZES)
    );
    ProvisionStep::asked(
        "sizes of relations are the catalogue functions' to measure",
        format!(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE {measures} AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(p.proacl) a \
             WHERE a.grantee = pg_catalog.to_regrole('{CATALOGUE_ROLE}')))"
        ),
        format!(
            "DO $postern$\nDECLARE found oid;\nBEGIN\n  FOR found IN SELECT p.oid FROM pg_catalog.pg_proc p WHERE {measures} LOOP\n    \
             EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO {CATALOGUE_ROLE}', found::pg_catalog.regprocedure);\n  \
             END LOOP;\nEND\n$postern$;"
        ),
    )
    .optional()
}

fn owned_function(signature: &str, returns: &str, body: &str, everybody: &str) -> ProvisionStep {
    let mut sql = format!(
        "CREATE OR REPLACE FUNCTION {signature} RETURNS {returns}\n  LANGUAGE sql STABLE STRICT SECURITY DEFINER COST 1 \
         SET search_path = pg_catalog\n  AS {};\n\
         ALTER FUNCTION {signature} OWNER TO {CATALOGUE_ROLE};\nREVOKE ALL ON FUNCTION {signature} FROM PUBLIC;",
        quote_literal(body)
    );
    if !everybody.is_empty() {
        sql.push_str(&format!("\nGRANT EXECUTE ON FUNCTION {signature} TO {everybody};"));
    }
    ProvisionStep::recorded(format!("function {signature}"), function_state(signature), sql)
}

/// The catalogue functions of [`super::super::catalogue_functions`], which stand on the views, in one step.
fn functions_step(everybody: &str) -> ProvisionStep {
    let mut sql = format!("{REFUSED}\nALTER FUNCTION postern_catalog.refused(text, text) OWNER TO {CATALOGUE_ROLE};\n");
    for f in functions() {
        sql.push_str(&create(&f));
    }
    sql.push_str("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA postern_catalog FROM PUBLIC;");
    if !everybody.is_empty() {
        sql.push_str(&format!(
            "\nGRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA postern_catalog TO {everybody};"
        ));
    }
    ProvisionStep::recorded(
        "functions of postern_catalog",
        "SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', r.rolname, p.proacl::text, pg_catalog.pg_get_functiondef(p.oid)), ' ' \
         ORDER BY p.proname, p.proargtypes::text) FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_roles r ON r.oid = p.proowner \
         WHERE p.pronamespace = pg_catalog.to_regnamespace('postern_catalog')",
        sql,
    )
}

/// The body is parsed when the function is made, by the control plane's search path and never by a session's.
fn create(f: &CatalogueFunction) -> String {
    let CatalogueFunction {
        name,
        arguments,
        returns,
        body,
        ..
    } = f;
    let strict = if f.strict { " STRICT" } else { "" };
    format!(
        "CREATE OR REPLACE FUNCTION postern_catalog.{name}({arguments}) RETURNS {returns} LANGUAGE sql STABLE{strict} PARALLEL RESTRICTED \
         BEGIN ATOMIC {body}; END;\nALTER FUNCTION postern_catalog.{name}({arguments}) OWNER TO {CATALOGUE_ROLE};\n"
    )
}

fn view_state(view: &str) -> String {
    format!(
        "SELECT pg_catalog.concat_ws(' ', r.rolname, c.reloptions::text, pg_catalog.pg_get_viewdef(c.oid)) FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_roles r ON r.oid = c.relowner WHERE c.oid = pg_catalog.to_regclass({})",
        quote_literal(view)
    )
}

/// A view cannot have a column of a pseudo-type, so `anyarray` is told as `text[]`. A reference to an object is told as its oid: among other
/// values, one of a `reg…` type would make names of those. A sequence's type, which is one of three, is told as text. A view's column list is taken from the relation that it stands for on the
/// server at hand, so that every major version fits; where clients join by `tableoid`, it stands last.
fn step(from: &str, schema: &str, view: &CatalogueView) -> ProvisionStep {
    let (source, target) = (
        format!("{from}.{}", view.name),
        format!("{schema}.{}", quote_ident(view.name)),
    );
    let create = format!("CREATE OR REPLACE VIEW {target} WITH (security_barrier) AS SELECT ");
    let computed: Vec<String> = view
        .columns
        .iter()
        .map(|(name, sql)| format!("({}, {})", literals([*name]), quote_literal(sql)))
        .collect();
    let computed = if computed.is_empty() {
        "SELECT NULL::name, NULL::text WHERE false".to_owned()
    } else {
        format!("VALUES\n    {}\n  ", computed.join(",\n    "))
    };
    let sql = format!(
        "DO $postern$\nDECLARE columns text;\nBEGIN\n  \
         SELECT pg_catalog.string_agg('(' || coalesce(c.sql, 'x.' || pg_catalog.quote_ident(a.attname)) || ')::' || CASE \
         WHEN a.atttypid = 'pg_catalog.anyarray'::pg_catalog.regtype THEN 'text[]' \
         WHEN r.relname = 'pg_sequences' AND a.attname = 'data_type' THEN 'text' \
         WHEN t.typname LIKE 'reg%' AND t.typtype = 'b' THEN 'pg_catalog.oid' \
         ELSE pg_catalog.format_type(a.atttypid, a.atttypmod) END || ' AS ' || pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) \
         || CASE WHEN pg_catalog.bool_or(a.attname = 'oid' AND r.relkind = 'r' AND r.relname <> 'pg_subscription') THEN ', x.tableoid' ELSE '' END INTO columns\n  \
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid JOIN pg_catalog.pg_class r ON r.oid = a.attrelid \
         LEFT JOIN ({computed}) c(name, sql) ON c.name = a.attname\n  \
         WHERE a.attrelid = '{source}'::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped;\n  \
         columns := {} || columns || {};\n  \
         BEGIN\n    EXECUTE columns;\n  \
         EXCEPTION WHEN invalid_table_definition THEN\n    EXECUTE {};\n    EXECUTE columns;\n  END;\nEND\n$postern$;",
        quote_literal(&create),
        quote_literal(&format!(" FROM {source} x {}", view.tail)),
        // It stands with other columns: of an earlier version of ours, or of PostgreSQL.
        quote_literal(&format!("DROP VIEW {target}"))
    );
    ProvisionStep::recorded(
        format!("view {schema}.{}", view.name),
        view_state(&target),
        format!("{sql}\nALTER VIEW {target} OWNER TO {CATALOGUE_ROLE};"),
    )
}
