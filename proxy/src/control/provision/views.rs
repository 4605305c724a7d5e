//! The catalogue views of [`super::super::catalogue_views`] as provisioning steps.

use postern_config::Config;
use postern_config::names::{quote_ident, quote_literal};

use super::super::catalogue_views::{
    CATALOG_VIEWS, CatalogueView, DECLARED, INFORMATION_VIEWS, SEEN_RELATIONS, SEEN_ROLES, SEEN_SCHEMAS,
};
use super::CATALOGUE_ROLE;
use super::roles::everybody;
use super::step::{ProvisionStep, literals};

/// The views' schemas, the private views below them, the views, and who reads them.
pub(super) fn steps(config: &Config) -> Vec<ProvisionStep> {
    let everybody = config.modules.iter().map(everybody).collect::<Vec<_>>().join(", ");
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
        ("seen_relations", SEEN_RELATIONS),
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
    steps.extend(CATALOG_VIEWS.iter().map(|v| step("pg_catalog", "postern_catalog", v)));
    steps.extend(
        INFORMATION_VIEWS
            .iter()
            .map(|v| step("information_schema", "postern_information", v)),
    );
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

fn view_state(view: &str) -> String {
    format!(
        "SELECT pg_catalog.concat_ws(' ', r.rolname, c.reloptions::text, pg_catalog.pg_get_viewdef(c.oid)) FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_roles r ON r.oid = c.relowner WHERE c.oid = pg_catalog.to_regclass({})",
        quote_literal(view)
    )
}

/// A view cannot have a column of a pseudo-type, so `anyarray` is told as `text[]`. A view's column list is taken from the relation that it stands for on the server at hand, so that every major version fits.
fn step(from: &str, schema: &str, view: &CatalogueView) -> ProvisionStep {
    let (source, target) = (
        format!("{from}.{}", view.name),
        format!("{schema}.{}", quote_ident(view.name)),
    );
    let create = format!("CREATE OR REPLACE VIEW {target} WITH (security_barrier) AS SELECT ");
    let sql = if view.columns.is_empty() {
        format!("{create}x.* FROM {source} x {};", view.tail)
    } else {
        let computed: Vec<String> = view
            .columns
            .iter()
            .map(|(name, sql)| format!("({}, {})", literals([*name]), quote_literal(sql)))
            .collect();
        format!(
            "DO $postern$\nDECLARE columns text;\nBEGIN\n  \
             SELECT pg_catalog.string_agg(CASE WHEN c.sql IS NULL THEN 'x.' || pg_catalog.quote_ident(a.attname) ELSE \
             '(' || c.sql || ')::' || CASE a.atttypid \
             WHEN 'pg_catalog.anyarray'::pg_catalog.regtype THEN 'text[]' ELSE pg_catalog.format_type(a.atttypid, a.atttypmod) END || ' AS ' || pg_catalog.quote_ident(a.attname) END, \
             ', ' ORDER BY a.attnum) INTO columns\n  FROM pg_catalog.pg_attribute a LEFT JOIN (VALUES\n    {}\n  ) c(name, sql) \
             ON c.name = a.attname\n  WHERE a.attrelid = '{source}'::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped;\n  \
             EXECUTE {} || columns || {};\nEND\n$postern$;",
            computed.join(",\n    "),
            quote_literal(&create),
            quote_literal(&format!(" FROM {source} x {}", view.tail))
        )
    };
    ProvisionStep::recorded(
        format!("view {schema}.{}", view.name),
        view_state(&target),
        format!("{sql}\nALTER VIEW {target} OWNER TO {CATALOGUE_ROLE};"),
    )
}
