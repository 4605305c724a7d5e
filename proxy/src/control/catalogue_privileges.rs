//! The questions for privileges among the catalogue functions: PostgreSQL's own answer for objects and roles that the session sees.
//!
//! An oid that it does not see gives NULL; a name, the error for a missing object of that kind.

use super::catalogue_functions::{
    CatalogueFunction, DATABASE, FUNCTION, Kind, LANGUAGE, RELATION, ROLE, SCHEMA, TABLESPACE, TYPE, function,
};

/// `has_…_privilege` and `pg_has_role`.
pub(super) fn functions() -> Vec<CatalogueFunction> {
    let mut all = vec![
        named("database_named", &DATABASE),
        named("language_named", &LANGUAGE),
        named("tablespace_named", &TABLESPACE),
    ];
    let relation = known("as_regclass($#)::oid");
    for name in ["has_table_privilege", "has_any_column_privilege", "has_sequence_privilege"] {
        all.extend(questions(name, &RELATION, &relation, &[]));
    }
    all.extend(questions("has_column_privilege", &RELATION, &relation, &["text", "smallint"]));
    all.extend(questions(
        "has_schema_privilege",
        &SCHEMA,
        &known("as_regnamespace($#)::oid"),
        &[],
    ));
    all.extend(questions("has_type_privilege", &TYPE, &known("as_regtype($#)::oid"), &[]));
    all.extend(questions(
        "has_function_privilege",
        &FUNCTION,
        &known("as_regprocedure($#)::oid"),
        &[],
    ));
    all.extend(questions(
        "has_database_privilege",
        &DATABASE,
        &known("database_named($#)"),
        &[],
    ));
    all.extend(questions(
        "has_language_privilege",
        &LANGUAGE,
        &known("language_named($#)"),
        &[],
    ));
    all.extend(questions(
        "has_tablespace_privilege",
        &TABLESPACE,
        &known("tablespace_named($#)"),
        &[],
    ));
    for (role, value) in [("name", known("as_regrole($#::text)::oid")), ("oid", "$#".to_owned())] {
        for (user, of) in users() {
            let n = if user.is_empty() { 1 } else { 2 };
            let arguments = [user, role, "text"]
                .iter()
                .filter(|a| !a.is_empty())
                .copied()
                .collect::<Vec<_>>();
            let body = format!(
                "SELECT CASE WHEN {} THEN pg_catalog.pg_has_role({of}o.oid, ${}) END FROM (SELECT {} AS oid) o",
                ROLE.seen("o.oid"),
                n + 1,
                value.replace('#', &n.to_string()),
            );
            all.push(function("pg_has_role", &arguments.join(", "), "boolean", body));
        }
    }
    all
}

fn known(call: &str) -> String {
    format!("postern_catalog.{call}")
}

fn named(name: &str, kind: &Kind) -> CatalogueFunction {
    let body = format!(
        "SELECT coalesce((SELECT o.oid FROM postern_catalog.{} o WHERE o.{} = $1::name), \
         postern_catalog.refused('42704', pg_catalog.format('{} \"%s\" does not exist', $1)))",
        kind.view,
        kind.name,
        name.trim_end_matches("_named")
    );
    function(name, "text", "oid", body)
}

/// How the user is named, and how that is passed on: not at all, by name, by oid.
fn users() -> [(&'static str, String); 3] {
    let seen = format!("CASE WHEN $1 = 0 OR {} THEN $1 END, ", ROLE.seen("$1"));
    let named =
        "CASE WHEN $1 = 'public' THEN 0::oid ELSE postern_catalog.as_regrole(pg_catalog.quote_ident($1::text))::oid END, ";
    [("", String::new()), ("name", named.to_owned()), ("oid", seen)]
}

/// Every overload of a question; `columns` are the types by which a column is named, if it is about one.
fn questions(name: &str, kind: &Kind, by_name: &str, columns: &[&str]) -> Vec<CatalogueFunction> {
    let columns = if columns.is_empty() { &[""][..] } else { columns };
    let mut all = Vec::new();
    for (object, value) in [("text", by_name), ("oid", "$#")] {
        for column in columns {
            for (user, of) in users() {
                let n = if user.is_empty() { 1 } else { 2 };
                let arguments: Vec<&str> = [user, object, column, "text"].into_iter().filter(|a| !a.is_empty()).collect();
                let rest: Vec<String> = (n + 1..=arguments.len()).map(|i| format!("${i}")).collect();
                let body = format!(
                    "SELECT CASE WHEN {} THEN pg_catalog.{name}({of}o.oid, {}) END FROM (SELECT {} AS oid) o",
                    kind.seen("o.oid"),
                    rest.join(", "),
                    value.replace('#', &n.to_string()),
                );
                all.push(function(name, &arguments.join(", "), "boolean", body));
            }
        }
    }
    all
}
