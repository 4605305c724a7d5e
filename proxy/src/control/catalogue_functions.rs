//! Catalogue functions: what answers when a client calls a function that takes an object's oid or prints one.
//!
//! Called directly, `pg_get_viewdef`, `obj_description`, `oid::regclass` and their like give names and source of anybody's objects to
//! anybody. Each has a twin here, in schema `postern_catalog`, with the same name, arguments and result, which first asks the catalogue
//! views whether the session sees the object, and else gives NULL, as PostgreSQL does for an oid that stands for nothing. Built-in
//! objects are the same in every database and are not asked for. Hidden columns are spelled as the columns that they stand for.
//!
//! All of them run with the session's own rights and search path; their bodies are parsed when they are made, so that nothing in a
//! session's path can stand before what they call. No argument is of a `reg…` type, because reading one would already look names up.

/// Names of the functions that have a twin, one a line. The judge reads the same file.
pub const FUNCTIONS: &str = include_str!("../../../rewriter/data/catalogue_functions.txt");

/// The functions that clients name.
pub fn redirected() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// One function of `postern_catalog`.
pub(super) struct CatalogueFunction {
    /// Name.
    pub(super) name: String,
    /// Types of its arguments.
    pub(super) arguments: String,
    /// Type of its result.
    pub(super) returns: String,
    /// Whether NULL for any argument gives NULL.
    pub(super) strict: bool,
    /// The query over `$1`, `$2`, ….
    pub(super) body: String,
}

/// A kind of object: the view that tells whether the session sees it, and its name there.
pub(super) struct Kind {
    pub(super) view: &'static str,
    pub(super) name: &'static str,
    reference: &'static str,
}

pub(super) const RELATION: Kind = kind("pg_class", "relname", "regclass");
pub(super) const TYPE: Kind = kind("pg_type", "typname", "regtype");
pub(super) const FUNCTION: Kind = kind("pg_proc", "proname", "regproc");
pub(super) const SCHEMA: Kind = kind("pg_namespace", "nspname", "regnamespace");
pub(super) const ROLE: Kind = kind("pg_roles", "rolname", "regrole");
pub(super) const DATABASE: Kind = kind("pg_database", "datname", "");
pub(super) const LANGUAGE: Kind = kind("pg_language", "lanname", "");
pub(super) const TABLESPACE: Kind = kind("pg_tablespace", "spcname", "");
const OPERATOR: Kind = kind("pg_operator", "oprname", "regoperator");
const COLLATION: Kind = kind("pg_collation", "collname", "regcollation");
const CONFIGURATION: Kind = kind("pg_ts_config", "cfgname", "regconfig");
const DICTIONARY: Kind = kind("pg_ts_dict", "dictname", "regdictionary");

const fn kind(view: &'static str, name: &'static str, reference: &'static str) -> Kind {
    Kind { view, name, reference }
}

impl Kind {
    /// Whether the session sees the object with the oid `oid`.
    pub(super) fn seen(&self, oid: &str) -> String {
        let among = |further: &str| {
            format!(
                "EXISTS (SELECT FROM postern_catalog.{} seen WHERE seen.oid = {oid}{further})",
                self.view
            )
        };
        match self.view {
            // Databases and tablespaces with low oids may hold what is not this session's. Of other databases there is nothing to ask but their names.
            "pg_database" => among(" AND seen.datname = pg_catalog.current_database()"),
            "pg_tablespace" => among(""),
            _ => format!("({oid} < 16384 OR {})", among("")),
        }
    }
}

pub(super) fn function(name: &str, arguments: &str, returns: &str, body: impl Into<String>) -> CatalogueFunction {
    CatalogueFunction {
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        returns: returns.to_owned(),
        strict: true,
        body: body.into(),
    }
}

/// Raises an error in the words of PostgreSQL. Only the other functions call it.
pub(super) const REFUSED: &str = "CREATE OR REPLACE FUNCTION postern_catalog.refused(text, text) RETURNS oid LANGUAGE plpgsql STRICT \
SET search_path = pg_catalog AS $postern$BEGIN RAISE EXCEPTION USING ERRCODE = $1, MESSAGE = $2; END$postern$;";

/// Every function, what a body calls before it.
pub(super) fn functions() -> Vec<CatalogueFunction> {
    let mut all = spelling();
    all.extend(references());
    all.extend(definitions());
    all.extend(descriptions());
    all.extend(visibility());
    all.extend(partitions());
    all.extend(sizes());
    all.extend(super::catalogue_privileges::functions());
    all
}

/// What is not redirected to, but called by the others.
fn spelling() -> Vec<CatalogueFunction> {
    let two_parts = |kind: &Kind, schema: &str| {
        format!(
            "(SELECT o.oid FROM pg_catalog.parse_ident($1) p(parts) JOIN postern_catalog.pg_namespace n ON n.nspname = p.parts[1]::name \
             JOIN postern_catalog.{} o ON o.{schema} = n.oid AND o.{} = p.parts[2]::name \
             WHERE pg_catalog.array_length(p.parts, 1) = 2)",
            kind.view, kind.name
        )
    };
    // A name without a dot is looked for in the search path, which never has another module's schema.
    let named = |name: &str, to: &str, kind: &Kind, schema: &str| {
        let body = format!(
            "SELECT CASE WHEN $1 = '-' THEN 0::oid WHEN $1 ~ '^[0-9]+$' THEN $1::oid WHEN pg_catalog.strpos($1, '.') = 0 \
             THEN pg_catalog.{to}($1)::oid ELSE {} END",
            two_parts(kind, schema)
        );
        function(name, "text", "oid", body)
    };
    let unqualified = |name: &str, kind: &Kind, unquoted: &str| {
        let body = format!(
            "SELECT CASE WHEN $1 = '-' THEN 0::oid WHEN $1 ~ '^[0-9]+$' THEN $1::oid \
             WHEN pg_catalog.array_length(pg_catalog.parse_ident($1), 1) > 1 THEN postern_catalog.refused('42602', 'invalid name syntax') ELSE \
             (SELECT o.oid FROM postern_catalog.{} o WHERE o.{} = {unquoted}) END",
            kind.view, kind.name
        );
        function(name, "text", "oid", body)
    };
    vec![
        // `"postern$eq$email"` stands for `email`. A text that still shows how Postern stores things is not shown.
        function(
            "shown",
            "text",
            "text",
            "SELECT CASE WHEN pg_catalog.strpos($1, 'postern') = 0 THEN $1 ELSE (SELECT CASE WHEN pg_catalog.strpos(s.t, 'postern$') = 0 \
             AND pg_catalog.strpos(s.t, 'postern.') = 0 THEN s.t END FROM (SELECT pg_catalog.string_agg(CASE WHEN p.n = 1 THEN p.t ELSE \
             pg_catalog.quote_ident(pg_catalog.split_part(p.t, '\"', 1)) || pg_catalog.substr(p.t, pg_catalog.strpos(p.t, '\"') + 1) \
             END, '' ORDER BY p.n) AS t FROM pg_catalog.regexp_split_to_table($1, '\"postern\\$eq\\$') WITH ORDINALITY p(t, n)) s) END",
        ),
        // A view over declared tables holds their filters, in a form that only Postern writes: each is taken for the table's name again, or for the
        // partition's that its mark holds. What is not wholly understood, or reads another module's table, is not told: a query of the same columns stands for it,
        // so that a dump goes on.
        function(
            "shown_view",
            "oid, text",
            "text",
            "SELECT CASE WHEN pg_catalog.strpos($2, 'postern') = 0 THEN $2 WHEN pg_catalog.strpos(u.t, 'postern') = 0 AND u.found = u.\"all\" \
             THEN u.t ELSE (SELECT pg_catalog.concat(' SELECT ', pg_catalog.string_agg(pg_catalog.concat('NULL::', \
             pg_catalog.format_type(a.atttypid, a.atttypmod), ' AS ', pg_catalog.quote_ident(a.attname)), ', ' ORDER BY a.attnum), \
             ' WHERE (''the definition is not told''::text IS NULL);') FROM postern_catalog.pg_attribute a \
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped) END FROM (SELECT pg_catalog.regexp_replace(\
             pg_catalog.regexp_replace($2, r.whole, '\\1 ', 'g'), r.part, '\\2 ', 'g'), \
             pg_catalog.regexp_count($2, r.whole) + pg_catalog.regexp_count($2, r.part), pg_catalog.regexp_count($2, ' \"postern\\$t\"\\s') \
             FROM (SELECT pg_catalog.concat(b.\"from\", '', b.\"to\"), pg_catalog.concat(b.\"from\", ' ([^'' ]+)', b.\"to\") FROM (SELECT \
             '\\( SELECT (?:(?!\\( SELECT ).)*?\\sFROM (\\S+) \"postern\\$t\"\\s+WHERE \\(*''[0-9a-f]{16}', '''::text.*?OFFSET 0\\) ') b(\"from\", \"to\")) \
             r(whole, part)) u(t, found, \"all\")",
        ),
        named("relation_named", "to_regclass", &RELATION, "relnamespace"),
        named("type_named", "to_regtype", &TYPE, "typnamespace"),
        named("function_named", "to_regproc", &FUNCTION, "pronamespace"),
        named("collation_named", "to_regcollation", &COLLATION, "collnamespace"),
        // As the search path finds it, which never has another module's schema.
        function(
            "configuration_named",
            "text",
            "oid",
            format!(
                "SELECT CASE WHEN $1 = '-' THEN 0::oid WHEN $1 ~ '^[0-9]+$' THEN $1::oid WHEN pg_catalog.strpos($1, '.') = 0 \
                 THEN (SELECT o.oid FROM postern_catalog.pg_ts_config o WHERE o.cfgname = (pg_catalog.parse_ident($1))[1]::name \
                 AND pg_catalog.pg_ts_config_is_visible(o.oid)) ELSE {} END",
                two_parts(&CONFIGURATION, "cfgnamespace")
            ),
        ),
        unqualified("schema_named", &SCHEMA, "(pg_catalog.parse_ident($1))[1]::name"),
        unqualified("role_named", &ROLE, "(pg_catalog.parse_ident($1))[1]::name"),
        // `f(text, int4)`: the types as PostgreSQL prints them, with or without white space between.
        function(
            "signature_named",
            "text",
            "oid",
            "SELECT CASE WHEN $1 = '-' THEN 0::oid WHEN $1 ~ '^[0-9]+$' THEN $1::oid ELSE (SELECT o.oid FROM pg_catalog.parse_ident(\
             pg_catalog.split_part($1, '(', 1)) p(parts) JOIN postern_catalog.pg_proc o \
             ON o.proname = p.parts[pg_catalog.array_length(p.parts, 1)]::name JOIN postern_catalog.pg_namespace n ON n.oid = o.pronamespace \
             WHERE (CASE pg_catalog.array_length(p.parts, 1) WHEN 2 THEN n.nspname = p.parts[1]::name WHEN 1 \
             THEN pg_catalog.pg_function_is_visible(o.oid) END) AND pg_catalog.replace(pg_catalog.split_part($1, '(', 2), ' ', '') \
             = pg_catalog.replace(pg_catalog.oidvectortypes(o.proargtypes), ' ', '') || ')') END",
        ),
    ]
}

/// Casts to the types that print a name for an oid, and their functions.
fn references() -> Vec<CatalogueFunction> {
    let mut all = Vec::new();
    let lookups = [
        (
            &RELATION,
            "regclass",
            "relation_named",
            "42P01",
            "relation \"%s\" does not exist",
            "to_regclass",
        ),
        (
            &TYPE,
            "regtype",
            "type_named",
            "42704",
            "type \"%s\" does not exist",
            "to_regtype",
        ),
        (
            &FUNCTION,
            "regproc",
            "function_named",
            "42883",
            "function \"%s\" does not exist",
            "to_regproc",
        ),
        (
            &FUNCTION,
            "regprocedure",
            "signature_named",
            "42883",
            "function \"%s\" does not exist",
            "to_regprocedure",
        ),
        (
            &SCHEMA,
            "regnamespace",
            "schema_named",
            "3F000",
            "schema \"%s\" does not exist",
            "to_regnamespace",
        ),
        (
            &ROLE,
            "regrole",
            "role_named",
            "42704",
            "role \"%s\" does not exist",
            "to_regrole",
        ),
        (
            &COLLATION,
            "regcollation",
            "collation_named",
            "42704",
            "collation \"%s\" does not exist",
            "to_regcollation",
        ),
    ];
    let by_oid = |kind: &Kind, ty: &str| {
        let body = format!("SELECT CASE WHEN $1 = 0 OR {} THEN $1::pg_catalog.{ty} END", kind.seen("$1"));
        function(&format!("as_{ty}"), "oid", &format!("pg_catalog.{ty}"), body)
    };
    for (kind, ty, named, sqlstate, message, to) in lookups {
        all.push(by_oid(kind, ty));
        let known = format!(
            "SELECT coalesce(postern_catalog.as_{ty}(postern_catalog.{named}($1)), \
             postern_catalog.refused('{sqlstate}', pg_catalog.format('{message}', $1))::pg_catalog.{ty})"
        );
        let result = format!("pg_catalog.{ty}");
        all.push(function(&format!("as_{ty}"), "text", &result, known));
        let known = format!("SELECT postern_catalog.as_{ty}(postern_catalog.{named}($1))");
        all.push(function(to, "text", &result, known));
    }
    for kind in [&OPERATOR, &CONFIGURATION, &DICTIONARY] {
        all.push(by_oid(kind, kind.reference));
    }
    all.push(by_oid(&OPERATOR, "regoper"));
    // A configuration named by a parameter, as drivers cast it.
    all.push(function(
        "as_regconfig",
        "text",
        "pg_catalog.regconfig",
        "SELECT coalesce(postern_catalog.as_regconfig(postern_catalog.configuration_named($1)), postern_catalog.refused('42704', \
         pg_catalog.format('text search configuration \"%s\" does not exist', $1))::pg_catalog.regconfig)",
    ));
    all
}

/// What an object was made with.
fn definitions() -> Vec<CatalogueFunction> {
    // (name, arguments behind the oid, kind) where the text can name hidden columns.
    let kinds: [(&str, &[&str], Kind); 5] = [
        ("pg_get_constraintdef", &["", "boolean"], kind("pg_constraint", "", "")),
        ("pg_get_indexdef", &["", "integer, boolean"], RELATION),
        ("pg_get_ruledef", &["", "boolean"], kind("pg_rewrite", "", "")),
        ("pg_get_triggerdef", &["", "boolean"], kind("pg_trigger", "", "")),
        ("pg_get_viewdef", &["", "boolean", "integer"], RELATION),
    ];
    let mut all = Vec::new();
    for (name, signatures, kind) in kinds {
        for more in signatures {
            let (arguments, values) = behind("oid", more);
            let shown = match name {
                "pg_get_viewdef" => "postern_catalog.shown_view($1, ",
                _ => "postern_catalog.shown(",
            };
            let body = format!(
                "SELECT CASE WHEN {} THEN {shown}pg_catalog.{name}({values})) END",
                kind.seen("$1")
            );
            all.push(function(name, &arguments, "text", body));
        }
    }
    for more in ["", "boolean"] {
        let (arguments, values) = behind("text", more);
        let values = values.replacen("$1", "postern_catalog.as_regclass($1)::oid", 1);
        all.push(function(
            "pg_get_viewdef",
            &arguments,
            "text",
            format!("SELECT postern_catalog.pg_get_viewdef({values})"),
        ));
        let (arguments, values) = behind("pg_catalog.pg_node_tree, oid", more);
        all.push(function(
            "pg_get_expr",
            &arguments,
            "text",
            format!(
                "SELECT CASE WHEN $2 = 0 OR {} THEN postern_catalog.shown(pg_catalog.pg_get_expr({values})) END",
                RELATION.seen("$2")
            ),
        ));
    }
    for (name, more, returns) in [
        ("pg_get_functiondef", "", "text"),
        ("pg_get_function_arguments", "", "text"),
        ("pg_get_function_identity_arguments", "", "text"),
        ("pg_get_function_result", "", "text"),
        ("pg_get_function_sqlbody", "", "text"),
        ("pg_get_function_arg_default", "integer", "text"),
    ] {
        let (arguments, values) = behind("oid", more);
        let body = format!(
            "SELECT CASE WHEN {} THEN postern_catalog.shown(pg_catalog.{name}({values})) END",
            FUNCTION.seen("$1")
        );
        all.push(function(name, &arguments, returns, body));
    }
    // Extended statistics are not in the views.
    for name in ["pg_get_statisticsobjdef", "pg_get_statisticsobjdef_columns"] {
        all.push(function(name, "oid", "text", "SELECT NULL::text"));
    }
    let printed = format!(
        "SELECT CASE WHEN $1 IS NOT NULL THEN CASE WHEN $1 = 0 OR {} THEN pg_catalog.format_type($1, $2) ELSE '???' END END",
        TYPE.seen("$1")
    );
    all.push(CatalogueFunction {
        strict: false,
        ..function("format_type", "oid, integer", "text", printed)
    });
    all.push(function(
        "acldefault",
        "\"char\", oid",
        "aclitem[]",
        format!("SELECT CASE WHEN {} THEN pg_catalog.acldefault($1, $2) END", ROLE.seen("$2")),
    ));
    all.push(function(
        "pg_get_userbyid",
        "oid",
        "name",
        format!(
            "SELECT CASE WHEN {} THEN pg_catalog.pg_get_userbyid($1) ELSE ('unknown (OID=' || $1::text || ')')::name END",
            ROLE.seen("$1")
        ),
    ));
    all.push(function(
        "pg_get_serial_sequence",
        "text, text",
        "text",
        "SELECT pg_catalog.pg_get_serial_sequence(pg_catalog.format('%I.%I', n.nspname, c.relname), $2) \
         FROM postern_catalog.pg_class c JOIN postern_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = postern_catalog.as_regclass($1)",
    ));
    for more in ["", "boolean"] {
        let (arguments, _) = behind("text", more);
        let body = "SELECT CASE WHEN EXISTS (SELECT FROM postern_catalog.pg_settings s WHERE s.name = pg_catalog.lower($1)) \
                    THEN pg_catalog.current_setting($1, true) END";
        all.push(function("current_setting", &arguments, "text", body));
    }
    all
}

/// Arguments and their values, with more arguments behind the first.
fn behind(first: &str, more: &str) -> (String, String) {
    let arguments = if more.is_empty() {
        first.to_owned()
    } else {
        format!("{first}, {more}")
    };
    let values: Vec<String> = (1..=arguments.split(',').count()).map(|n| format!("${n}")).collect();
    (arguments, values.join(", "))
}

/// Comments, as PostgreSQL's own functions look them up, in the views.
fn descriptions() -> Vec<CatalogueFunction> {
    let classes = "(SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relname = $2 AND c.relnamespace = 11)";
    vec![
        function(
            "obj_description",
            "oid, name",
            "text",
            format!(
                "SELECT d.description FROM postern_catalog.pg_description d WHERE d.objoid = $1 AND d.classoid = {classes} AND d.objsubid = 0"
            ),
        ),
        function(
            "obj_description",
            "oid",
            "text",
            "SELECT d.description FROM postern_catalog.pg_description d WHERE d.objoid = $1 AND d.objsubid = 0",
        ),
        function(
            "col_description",
            "oid, integer",
            "text",
            "SELECT d.description FROM postern_catalog.pg_description d WHERE d.objoid = $1 \
             AND d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = $2",
        ),
        function(
            "shobj_description",
            "oid, name",
            "text",
            format!(
                "SELECT d.description FROM postern_catalog.pg_shdescription d WHERE d.objoid = $1 AND d.classoid = {classes}"
            ),
        ),
        function(
            "pg_describe_object",
            "oid, oid, integer",
            "text",
            format!(
                "SELECT CASE WHEN $1 = 'pg_catalog.pg_class'::pg_catalog.regclass AND {} AND ($3 = 0 OR EXISTS (SELECT \
                 FROM postern_catalog.pg_attribute a WHERE a.attrelid = $2 AND a.attnum = $3)) \
                 THEN pg_catalog.pg_describe_object($1, $2, $3) END",
                RELATION.seen("$2")
            ),
        ),
    ]
}

/// Whether an object is found without its schema.
fn visibility() -> Vec<CatalogueFunction> {
    [
        ("pg_table_is_visible", "pg_class"),
        ("pg_type_is_visible", "pg_type"),
        ("pg_function_is_visible", "pg_proc"),
        ("pg_operator_is_visible", "pg_operator"),
        ("pg_opclass_is_visible", "pg_opclass"),
        ("pg_opfamily_is_visible", "pg_opfamily"),
        ("pg_collation_is_visible", "pg_collation"),
        ("pg_conversion_is_visible", "pg_conversion"),
        ("pg_statistics_obj_is_visible", "pg_statistic_ext"),
        ("pg_ts_config_is_visible", "pg_ts_config"),
        ("pg_ts_dict_is_visible", "pg_ts_dict"),
        ("pg_ts_parser_is_visible", "pg_ts_parser"),
        ("pg_ts_template_is_visible", "pg_ts_template"),
    ]
    .into_iter()
    .map(|(name, view)| {
        let body = format!(
            "SELECT CASE WHEN {} THEN pg_catalog.{name}($1) END",
            kind(view, "", "").seen("$1")
        );
        function(name, "oid", "boolean", body)
    })
    .collect()
}

/// Partitions, and what else a relation's oid is asked for. References come as oids: among other values they would make names of those.
fn partitions() -> Vec<CatalogueFunction> {
    let seen = RELATION.seen("$1");
    let asked = |name: &str, arguments: &str, returns: &str, values: &str| {
        function(
            name,
            arguments,
            returns,
            format!("SELECT CASE WHEN {seen} THEN pg_catalog.{name}({values}) END"),
        )
    };
    vec![
        asked("pg_relation_is_publishable", "oid", "boolean", "$1::pg_catalog.regclass"),
        asked("pg_get_replica_identity_index", "oid", "oid", "$1::pg_catalog.regclass"),
        asked("pg_get_partkeydef", "oid", "text", "$1"),
        asked("pg_get_partition_constraintdef", "oid", "text", "$1"),
        asked("pg_partition_root", "oid", "oid", "$1::pg_catalog.regclass"),
        asked("pg_index_has_property", "oid, text", "boolean", "$1::pg_catalog.regclass, $2"),
        asked(
            "pg_index_column_has_property",
            "oid, integer, text",
            "boolean",
            "$1::pg_catalog.regclass, $2, $3",
        ),
        function(
            "pg_partition_ancestors",
            "oid",
            "TABLE (relid oid)",
            format!("SELECT a.relid::oid FROM pg_catalog.pg_partition_ancestors($1::pg_catalog.regclass) a(relid) WHERE {seen}"),
        ),
        function(
            "pg_partition_tree",
            "oid",
            "TABLE (relid oid, parentrelid oid, isleaf boolean, level integer)",
            format!(
                "SELECT t.relid::oid, t.parentrelid::oid, t.isleaf, t.level \
                 FROM pg_catalog.pg_partition_tree($1::pg_catalog.regclass) t WHERE {seen}"
            ),
        ),
    ]
}

/// The functions that tell a relation's size.
pub(super) const RELATION_SIZES: [&str; 4] = [
    "pg_relation_size",
    "pg_table_size",
    "pg_indexes_size",
    "pg_total_relation_size",
];

/// Sizes tell how many rows there are that one may not see, and a tablespace's place is the host's business. What may be told is
/// [`super::catalogue_views::OWN_SIZE`]'s to say.
fn sizes() -> Vec<CatalogueFunction> {
    let mut all = vec![function("pg_tablespace_location", "oid", "text", "SELECT NULL::text")];
    for name in RELATION_SIZES {
        all.push(function(
            name,
            "oid",
            "bigint",
            format!("SELECT postern.own_size($1, '{name}', 'main')"),
        ));
    }
    all.push(function(
        "pg_relation_size",
        "oid, text",
        "bigint",
        "SELECT postern.own_size($1, 'pg_relation_size', $2)",
    ));
    for name in ["pg_database_size", "pg_tablespace_size"] {
        for argument in ["oid", "name"] {
            all.push(function(name, argument, "bigint", "SELECT NULL::bigint"));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_judge_and_provisioning_know_the_same_functions() {
        let made = functions();
        let made: BTreeSet<&str> = made.iter().map(|f| f.name.as_str()).collect();
        let own = |name: &&str| name.starts_with("as_reg") || name.ends_with("_named") || name.starts_with("shown");
        assert_eq!(
            redirected().collect::<BTreeSet<_>>(),
            made.iter().copied().filter(|n| !own(n)).collect()
        );
    }

    #[test]
    fn no_argument_is_read_as_a_name() {
        for f in functions() {
            assert!(!f.arguments.contains("reg"), "{}({})", f.name, f.arguments);
        }
    }
}
