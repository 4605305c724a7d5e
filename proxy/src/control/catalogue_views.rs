//! Catalogue views: what a module sees in place of `pg_catalog` and `information_schema`.
//!
//! Every view has the columns of the relation that it stands for, names and types alike (references to objects are told as oids, and
//! `tableoid` stands last where PostgreSQL has it unasked), and shows the built-in objects, the session's
//! own module's schema and its temporary schema; to a user of the module, of that schema, only what its manifest declares. Protected columns
//! have their declared types, hidden columns look as if they had been dropped, their indexes as they would on plain PostgreSQL, and neither row
//! security nor tablespaces nor other modules' rights are mentioned. Rows of other modules, of other databases' objects and of
//! Postern itself are not in them. The views are owned by a role of their own and are security barriers, so a module's own functions
//! never meet a hidden row.

/// The redirections, one a line: `pg_catalog.pg_class -> postern_catalog.pg_class`. The judge reads the same file.
pub const CATALOGUE: &str = include_str!("../../../rewriter/data/catalogue.txt");

/// (relation that clients name, view that answers), both qualified.
pub fn redirects() -> impl Iterator<Item = (&'static str, &'static str)> {
    CATALOGUE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| line.split_once(" -> "))
}

/// One view.
pub(super) struct CatalogueView {
    /// Relation in `pg_catalog` (or `information_schema`) that it stands for, and its own name.
    pub(super) name: &'static str,
    /// Columns that are computed: (name, SQL over alias `x`).
    pub(super) columns: &'static [(&'static str, &'static str)],
    /// What follows `FROM relation x`: joins and WHERE.
    pub(super) tail: &'static str,
}

const fn filtered(name: &'static str, tail: &'static str) -> CatalogueView {
    CatalogueView {
        name,
        columns: &[],
        tail,
    }
}

/// A key's attribute numbers, a hidden tag's being that of the column it stands for. `$relation` and `$keys` are expressions over `x`.
macro_rules! shown_keys {
    ($relation:literal, $keys:literal, $collect:literal, $ty:literal) => {
        concat!(
            "CASE WHEN ",
            $relation,
            " < 16384 THEN ",
            $keys,
            " ELSE (SELECT ",
            $collect,
            " FROM pg_catalog.unnest(",
            $keys,
            ") WITH ORDINALITY k(attnum, n) LEFT JOIN pg_catalog.pg_attribute h ON h.attrelid = ",
            $relation,
            " AND h.attnum = k.attnum AND h.attname LIKE 'postern$eq$%' LEFT JOIN pg_catalog.pg_attribute v ON v.attrelid = ",
            $relation,
            " AND v.attname = pg_catalog.substr(h.attname::text, 12)::name)::",
            $ty,
            " END"
        )
    };
}

/// Constraints that the session sees by name, and the NOT NULL of columns that it sees, which information_schema names by numbers.
macro_rules! concat_constraint {
    ($schema:literal) => {
        concat!(
            "WHERE (",
            $schema,
            "::name, x.constraint_name::name) IN (SELECT n.nspname, c.conname FROM postern.seen_constraints s \
             JOIN pg_catalog.pg_constraint c ON c.oid = s.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace \
             UNION ALL SELECT n.nspname, pg_catalog.concat(c.relnamespace, '_', c.oid, '_', a.attnum, '_not_null')::name \
             FROM postern.seen_relations r JOIN pg_catalog.pg_class c ON c.oid = r.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid WHERE a.attnotnull AND a.attname NOT LIKE 'postern$%')"
        )
    };
}

/// What constraints that the session sees say of relations that it sees: another module's may refer to one of them.
macro_rules! seen_usage {
    () => {
        concat!(
            concat_constraint!("x.constraint_schema"),
            " AND (x.table_schema::name, x.table_name::name) IN (SELECT s.nspname, s.relname FROM postern.seen_names s)"
        )
    };
}

/// A number that information_schema derives from a column's type, from the declared type where there is one.
macro_rules! declared_fact {
    ($function:literal, $column:literal) => {
        concat!(
            "CASE WHEN d.type_oid IS NULL THEN x.",
            $column,
            " ELSE information_schema.",
            $function,
            "(d.type_oid, d.typmod) END"
        )
    };
}

/// What stands for a column that holds a tag, and for any other. The column of an index over tags is shown as the column that it stands for.
macro_rules! hidden_or {
    ($hidden:expr, $shown:expr) => {
        concat!(
            "CASE WHEN x.attname LIKE 'postern$%' AND i.indexrelid IS NULL THEN ",
            $hidden,
            " ELSE ",
            $shown,
            " END"
        )
    };
}

/// Rights as PostgreSQL first gave them on what is built in, and of those on other objects what the session's own roles have.
macro_rules! shown_acl {
    ($acl:literal, $class:literal, $object:literal, $column:literal) => {
        concat!(
            "CASE WHEN ",
            $object,
            " < 16384 THEN (SELECT p.initprivs FROM pg_catalog.pg_init_privs p WHERE p.objoid = ",
            $object,
            " AND p.classoid = 'pg_catalog.",
            $class,
            "'::pg_catalog.regclass AND p.objsubid = ",
            $column,
            ") ELSE postern.shown_acl(",
            $acl,
            ") END"
        )
    };
}

/// An owner: of a view over what another module exports, which belongs to that module, the owner of the schema that it stands in.
macro_rules! shown_owner {
    ($owner:literal, $schema:literal) => {
        concat!(
            "CASE WHEN x.oid < 16384 OR ",
            $owner,
            " IN (SELECT r.oid FROM postern.seen_roles r) THEN ",
            $owner,
            " ELSE (SELECT n.nspowner FROM pg_catalog.pg_namespace n WHERE n.oid = ",
            $schema,
            ") END"
        )
    };
}

/// A database's column: as it is of the session's own, and what another had at first.
macro_rules! own_database_or {
    ($own:literal, $at_first:literal) => {
        concat!(
            "CASE WHEN x.datname = pg_catalog.current_database() THEN ",
            $own,
            " ELSE ",
            $at_first,
            " END"
        )
    };
}

/// A relation that is told by its names.
macro_rules! seen_name {
    ($schema:literal, $name:literal) => {
        concat!(
            "WHERE (",
            $schema,
            "::name, ",
            $name,
            "::name) IN (SELECT s.nspname, s.relname FROM postern.seen_names s)"
        )
    };
}

/// Rights that the session's own roles have, PUBLIC included, or that were given on what is built in.
macro_rules! seen_rights {
    () => {
        " AND (x.grantee::name IN (SELECT r.rolname FROM postern.seen_roles r) OR x.grantee::name = 'PUBLIC') \
         AND (x.grantor::name IN (SELECT r.rolname FROM postern.seen_roles r) OR x.table_schema::name IN ('pg_catalog', 'information_schema'))"
    };
}

/// Nothing that a module could own.
const NONE: &str = "WHERE false";
/// Built-in objects only.
const BUILT_IN: &str = "WHERE x.oid < 16384";

/// Schemas that the session sees: (oid, name, whether its own or its temporary one, whether its module's). Only the catalogue views read it.
pub(super) const SEEN_SCHEMAS: &str = "SELECT n.oid, n.nspname, n.nspname NOT IN ('pg_catalog', 'information_schema') AS own, \
n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.oid <> pg_catalog.pg_my_temp_schema() AS module \
FROM pg_catalog.pg_namespace n WHERE n.nspname IN ('pg_catalog', 'information_schema') OR n.oid = pg_catalog.pg_my_temp_schema() \
OR n.nspname = (SELECT l.schema FROM postern.login_schema l WHERE l.login = session_user)";

/// One row where the session sees what no manifest declares: it is the module itself that asks, by a login for that, and no user by a token
/// (whose claims always end, and never name a service).
pub(super) const SEES_UNDECLARED: &str = "SELECT u.login FROM postern.undeclared_logins u WHERE u.login = session_user \
AND (coalesce(pg_catalog.current_setting('postern.exp', true), '') = '' OR coalesce(pg_catalog.current_setting('postern.service', true), '') <> '')";

/// The partitions of declared tables, however far down: (oid, schema and name of the table).
pub(super) const DECLARED_PARTITIONS: &str = "WITH RECURSIVE below(oid, schema, relation) AS (SELECT i.inhrelid, d.schema, d.relation \
FROM postern.declared_relations d JOIN pg_catalog.pg_namespace n ON n.nspname = d.schema \
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = d.relation AND c.relkind = 'p' \
JOIN pg_catalog.pg_inherits i ON i.inhparent = c.oid UNION SELECT i.inhrelid, b.schema, b.relation \
FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid) SELECT b.oid, b.schema, b.relation FROM below b";

/// Declared tables, their partitions, the sequences that fill their columns, their indexes, and imported views.
pub(super) const DECLARED_RELATIONS: &str = "WITH declared AS (SELECT c.oid FROM postern.declared_relations d \
JOIN pg_catalog.pg_namespace n ON n.nspname = d.schema JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = d.relation \
WHERE c.relkind IN ('r', 'p', 'S', 'v') UNION ALL SELECT p.oid FROM postern.declared_partitions p) SELECT d.oid FROM declared d UNION ALL \
SELECT i.indexrelid FROM declared d JOIN pg_catalog.pg_index i ON i.indrelid = d.oid";

/// Relations that the session sees: (oid, whether its own or temporary).
pub(super) const SEEN_RELATIONS: &str = "SELECT c.oid, s.own FROM pg_catalog.pg_class c JOIN postern.seen_schemas s ON s.oid = c.relnamespace \
WHERE NOT s.module OR EXISTS (SELECT FROM postern.sees_undeclared) OR c.oid IN (SELECT d.oid FROM postern.declared_seen d)";

/// The same by name.
pub(super) const SEEN_NAMES: &str = "SELECT n.nspname, c.relname FROM postern.seen_relations r JOIN pg_catalog.pg_class c ON c.oid = r.oid \
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";

/// Types that the session sees: those of its schemas, but for the row types of relations that it does not see, and arrays of them.
pub(super) const SEEN_TYPES: &str = "SELECT t.oid, s.own FROM pg_catalog.pg_type t JOIN postern.seen_schemas s ON s.oid = t.typnamespace \
LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typelem <> 0 \
WHERE NOT s.module OR coalesce(nullif(t.typrelid, 0), e.typrelid, 0) = 0 \
OR coalesce(nullif(t.typrelid, 0), e.typrelid) IN (SELECT r.oid FROM postern.seen_relations r)";

/// Constraints that the session sees: (oid, whether its own).
pub(super) const SEEN_CONSTRAINTS: &str = "SELECT c.oid, s.own FROM pg_catalog.pg_constraint c JOIN postern.seen_schemas s ON s.oid = c.connamespace \
WHERE c.conrelid = 0 OR c.conrelid IN (SELECT r.oid FROM postern.seen_relations r)";

/// What of a session's own schemas stands in `pg_depend` and `pg_description`: (class, object).
pub(super) const SEEN_OBJECTS: &str = "SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid AS classid, r.oid AS objid \
FROM postern.seen_relations r WHERE r.own UNION ALL \
SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid FROM postern.seen_types t WHERE t.own UNION ALL \
SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, c.oid FROM postern.seen_constraints c WHERE c.own UNION ALL \
SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid FROM pg_catalog.pg_proc p JOIN postern.seen_schemas s ON s.oid = p.pronamespace \
WHERE s.own AND (NOT s.module OR EXISTS (SELECT FROM postern.sees_undeclared)) UNION ALL \
SELECT 'pg_catalog.pg_collation'::pg_catalog.regclass, l.oid FROM pg_catalog.pg_collation l JOIN postern.seen_schemas s ON s.oid = l.collnamespace \
WHERE s.own AND (NOT s.module OR EXISTS (SELECT FROM postern.sees_undeclared)) UNION ALL \
SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, s.oid FROM postern.seen_schemas s WHERE s.own UNION ALL \
SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, a.oid FROM pg_catalog.pg_attrdef a JOIN postern.seen_relations r ON r.oid = a.adrelid \
WHERE r.own UNION ALL \
SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, w.oid FROM pg_catalog.pg_rewrite w JOIN postern.seen_relations r ON r.oid = w.ev_class \
WHERE r.own UNION ALL \
SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass, g.oid FROM pg_catalog.pg_trigger g JOIN postern.seen_relations r ON r.oid = g.tgrelid \
WHERE r.own";

/// Roles of the session's own module.
pub(super) const SEEN_ROLES: &str = "SELECT r.oid, r.rolname FROM pg_catalog.pg_roles r WHERE r.rolname IN (\
SELECT pg_catalog.unnest(ARRAY[l.login, l.owner]) FROM postern.login_schema l \
WHERE l.schema = (SELECT m.schema FROM postern.login_schema m WHERE m.login = session_user))";

/// The sizes of relations ($1 an oid, $2 the function, $3 its fork): told of what the module keeps without a manifest's word, and of TOAST tables of that,
/// to those who see all rows of it. Anything declared, what stays closed though nothing declares it, what inherits from another, and other modules' have none.
pub(super) const OWN_SIZE: &str = "SELECT CASE $2 WHEN 'pg_relation_size' THEN pg_catalog.pg_relation_size(c.oid::pg_catalog.regclass, $3) \
WHEN 'pg_table_size' THEN pg_catalog.pg_table_size(c.oid::pg_catalog.regclass) \
WHEN 'pg_indexes_size' THEN pg_catalog.pg_indexes_size(c.oid::pg_catalog.regclass) \
WHEN 'pg_total_relation_size' THEN pg_catalog.pg_total_relation_size(c.oid::pg_catalog.regclass) END \
FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) $1 AND EXISTS (SELECT FROM postern.sees_undeclared) \
AND EXISTS (SELECT FROM pg_catalog.pg_class t JOIN postern.seen_schemas s ON s.oid OPERATOR(pg_catalog.=) t.relnamespace \
WHERE s.own AND t.relkind IN ('r', 'm') AND $1 IN (t.oid, t.reltoastrelid) \
AND NOT (t.relrowsecurity AND t.relforcerowsecurity) AND NOT EXISTS (SELECT FROM postern.declared_seen d WHERE d.oid OPERATOR(pg_catalog.=) t.oid) \
AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid OPERATOR(pg_catalog.=) t.oid))";

/// What of an access list the session's own roles have, PUBLIC included; what another role gave, as another module's owner gives what that module
/// exports, is told as given by the owner of the session's module. A function of its own, since PostgreSQL would otherwise expect it to
/// be computed for everything that is built in, and compile the statement before running it.
pub(super) const SHOWN_ACL: &str = "SELECT pg_catalog.array_agg(CASE WHEN EXISTS (SELECT FROM pg_catalog.aclexplode(ARRAY[u.a]) e \
WHERE e.grantor OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT r.oid FROM postern.seen_roles r))) THEN u.a \
ELSE pg_catalog.regexp_replace(u.a::text, '/(\"[^\"]*\"|[^/\"]*)$', pg_catalog.concat('/', pg_catalog.quote_ident((SELECT l.owner::text \
FROM postern.login_schema l WHERE l.login OPERATOR(pg_catalog.=) session_user))))::pg_catalog.aclitem END ORDER BY u.n) \
FROM pg_catalog.unnest($1) WITH ORDINALITY u(a, n) WHERE EXISTS (SELECT FROM pg_catalog.aclexplode(ARRAY[u.a]) e WHERE e.grantee OPERATOR(pg_catalog.=) 0 \
OR e.grantee OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT r.oid FROM postern.seen_roles r)))";

/// Declared types of protected columns by relation: (relation, attribute, type, typmod).
pub(super) const DECLARED: &str = "SELECT c.oid AS relation, d.attribute, d.type_oid, d.typmod FROM postern.declared_columns d \
JOIN pg_catalog.pg_namespace n ON n.nspname = d.schema JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = d.relation \
UNION ALL SELECT p.oid, d.attribute, d.type_oid, d.typmod FROM postern.declared_partitions p \
JOIN postern.declared_columns d ON d.schema = p.schema AND d.relation = p.relation";

/// `pg_catalog`.
pub(super) const CATALOG_VIEWS: &[CatalogueView] = &[
    filtered(
        "pg_aggregate",
        "WHERE EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN postern.seen_schemas s ON s.oid = p.pronamespace WHERE p.oid = x.aggfnoid)",
    ),
    filtered("pg_am", BUILT_IN),
    filtered("pg_amop", BUILT_IN),
    filtered("pg_amproc", BUILT_IN),
    filtered(
        "pg_attrdef",
        "WHERE x.adrelid IN (SELECT r.oid FROM postern.seen_relations r)",
    ),
    CatalogueView {
        name: "pg_attribute",
        columns: &[
            ("attname", SHOWN_NAME),
            ("atttypid", hidden_or!("0", "coalesce(t.oid, x.atttypid)")),
            ("attlen", "coalesce(t.typlen, x.attlen)"),
            ("atttypmod", "coalesce(d.typmod, x.atttypmod)"),
            ("attbyval", "coalesce(t.typbyval, x.attbyval)"),
            ("attalign", "coalesce(t.typalign, x.attalign)"),
            ("attstorage", "coalesce(t.typstorage, x.attstorage)"),
            ("attcollation", "coalesce(t.typcollation, x.attcollation)"),
            ("attnotnull", hidden_or!("false", "x.attnotnull")),
            ("atthasdef", hidden_or!("false", "x.atthasdef")),
            ("attisdropped", hidden_or!("true", "x.attisdropped")),
            (
                "attacl",
                hidden_or!("NULL", shown_acl!("x.attacl", "pg_class", "x.attrelid", "x.attnum")),
            ),
            ("attmissingval", "x.attmissingval::text"),
        ],
        tail: "LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = x.attrelid AND x.attrelid >= 16384 \
               LEFT JOIN postern.declared d ON d.relation = coalesce(i.indrelid, x.attrelid) \
               AND d.attribute = (CASE WHEN x.attname LIKE 'postern$eq$%' THEN pg_catalog.substr(x.attname::text, 12)::name ELSE x.attname END) \
               LEFT JOIN pg_catalog.pg_type t ON t.oid = d.type_oid \
               WHERE x.attrelid IN (SELECT r.oid FROM postern.seen_relations r)",
    },
    filtered(
        "pg_auth_members",
        "WHERE x.roleid IN (SELECT r.oid FROM postern.seen_roles r) AND x.member IN (SELECT r.oid FROM postern.seen_roles r)",
    ),
    filtered("pg_available_extensions", NONE),
    filtered("pg_cast", BUILT_IN),
    CatalogueView {
        name: "pg_class",
        columns: &[
            ("relowner", shown_owner!("x.relowner", "x.relnamespace")),
            // Where things lie is the operator's business.
            ("reltablespace", "CASE WHEN x.oid < 16384 THEN x.reltablespace ELSE 0 END"),
            // How much there is tells of rows that one may not see.
            ("relpages", "CASE WHEN x.oid < 16384 THEN x.relpages ELSE 0 END"),
            ("reltuples", "CASE WHEN x.oid < 16384 THEN x.reltuples ELSE -1 END"),
            ("relallvisible", "CASE WHEN x.oid < 16384 THEN x.relallvisible ELSE 0 END"),
            ("relrowsecurity", "false"),
            ("relforcerowsecurity", "false"),
            ("relacl", shown_acl!("x.relacl", "pg_class", "x.oid", "0")),
        ],
        tail: "WHERE x.oid IN (SELECT r.oid FROM postern.seen_relations r)",
    },
    filtered(
        "pg_collation",
        "WHERE x.collnamespace IN (SELECT s.oid FROM postern.seen_schemas s WHERE NOT s.module OR EXISTS (SELECT FROM postern.sees_undeclared)) \
         OR x.oid IN (SELECT a.attcollation FROM pg_catalog.pg_attribute a WHERE a.attrelid IN (SELECT d.oid FROM postern.declared_seen d))",
    ),
    CatalogueView {
        name: "pg_constraint",
        columns: &[("conkey", SHOWN_CONKEY), ("confkey", SHOWN_CONFKEY)],
        // A foreign key to what another module exports is not told: it stands on that module's table.
        tail: "WHERE x.oid IN (SELECT c.oid FROM postern.seen_constraints c) \
               AND (x.confrelid = 0 OR x.confrelid IN (SELECT r.oid FROM postern.seen_relations r))",
    },
    filtered(
        "pg_conversion",
        "WHERE x.connamespace IN (SELECT s.oid FROM postern.seen_schemas s)",
    ),
    // The session's own. What PostgreSQL runs for one is the rewritten text; the client's may stand before it (`rewriter::plan::DECLARED_AS`). The one
    // without a name may be how Postern runs a simple statement.
    CatalogueView {
        name: "pg_cursors",
        columns: &[(
            "statement",
            "CASE WHEN pg_catalog.starts_with(x.statement, '/*postern declared as ') \
             THEN pg_catalog.convert_from(pg_catalog.decode(pg_catalog.split_part(x.statement, ' ', 4), 'hex'), 'UTF8') END \
             COLLATE pg_catalog.\"default\"",
        )],
        tail: "WHERE x.name <> '' AND x.name NOT LIKE 'postern$%'",
    },
    // The session's own, and those that every cluster begins with, as it begins with them: what became of them since is not told.
    CatalogueView {
        name: "pg_database",
        columns: &[
            ("datdba", own_database_or!("x.datdba", "10")),
            (
                "datistemplate",
                own_database_or!("x.datistemplate", "x.datname <> 'postgres'"),
            ),
            ("datallowconn", own_database_or!("x.datallowconn", "x.datname <> 'template0'")),
            ("datconnlimit", own_database_or!("x.datconnlimit", "-1")),
            ("datfrozenxid", own_database_or!("x.datfrozenxid", "'0'::pg_catalog.xid")),
            ("datminmxid", own_database_or!("x.datminmxid", "'0'::pg_catalog.xid")),
            ("dattablespace", own_database_or!("x.dattablespace", "1663")),
            ("datacl", "NULL"),
        ],
        tail: "WHERE x.datname IN (pg_catalog.current_database(), 'postgres', 'template0', 'template1')",
    },
    filtered("pg_db_role_setting", NONE),
    filtered("pg_default_acl", NONE),
    // Between what is seen at both ends.
    filtered(
        "pg_depend",
        "WHERE (x.objid < 16384 OR (x.classid, x.objid) IN (SELECT o.classid, o.objid FROM postern.seen_objects o)) \
         AND (x.refobjid < 16384 OR (x.refclassid, x.refobjid) IN (SELECT o.classid, o.objid FROM postern.seen_objects o))",
    ),
    filtered(
        "pg_description",
        "WHERE x.objoid < 16384 OR (x.classoid, x.objoid) IN (SELECT o.classid, o.objid FROM postern.seen_objects o)",
    ),
    filtered(
        "pg_enum",
        "WHERE x.enumtypid IN (SELECT t.oid FROM pg_catalog.pg_type t JOIN postern.seen_schemas s ON s.oid = t.typnamespace)",
    ),
    filtered("pg_event_trigger", NONE),
    filtered("pg_extension", "WHERE x.extname = 'plpgsql'"),
    filtered("pg_foreign_data_wrapper", NONE),
    filtered("pg_foreign_server", NONE),
    filtered("pg_foreign_table", NONE),
    CatalogueView {
        name: "pg_index",
        columns: &[("indkey", SHOWN_INDKEY)],
        tail: "WHERE x.indrelid IN (SELECT r.oid FROM postern.seen_relations r)",
    },
    CatalogueView {
        name: "pg_indexes",
        columns: &[
            (
                "indexdef",
                "pg_catalog.regexp_replace(pg_catalog.regexp_replace(x.indexdef, '\"postern\\$eq\\$([a-z_][a-z0-9_]*)\"', '\\1', 'g'), \
             '\"postern\\$eq\\$', '\"', 'g')",
            ),
            ("tablespace", "NULL"),
        ],
        tail: seen_name!("x.schemaname", "x.indexname"),
    },
    filtered(
        "pg_inherits",
        "WHERE x.inhrelid IN (SELECT r.oid FROM postern.seen_relations r)",
    ),
    filtered("pg_init_privs", "WHERE x.objoid < 16384"),
    filtered("pg_language", BUILT_IN),
    filtered("pg_largeobject_metadata", NONE),
    CatalogueView {
        name: "pg_matviews",
        columns: &[("definition", SHOWN_DEFINITION), ("tablespace", "NULL")],
        tail: seen_name!("x.schemaname", "x.matviewname"),
    },
    CatalogueView {
        name: "pg_namespace",
        columns: &[("nspacl", shown_acl!("x.nspacl", "pg_namespace", "x.oid", "0"))],
        tail: "WHERE x.oid IN (SELECT s.oid FROM postern.seen_schemas s)",
    },
    filtered(
        "pg_opclass",
        "WHERE x.opcnamespace IN (SELECT s.oid FROM postern.seen_schemas s)",
    ),
    filtered(
        "pg_operator",
        "WHERE x.oprnamespace IN (SELECT s.oid FROM postern.seen_schemas s)",
    ),
    filtered(
        "pg_opfamily",
        "WHERE x.opfnamespace IN (SELECT s.oid FROM postern.seen_schemas s)",
    ),
    filtered(
        "pg_partitioned_table",
        "WHERE x.partrelid IN (SELECT r.oid FROM postern.seen_relations r)",
    ),
    filtered("pg_parameter_acl", NONE),
    filtered("pg_policies", NONE),
    filtered("pg_policy", NONE),
    filtered("pg_prepared_xacts", NONE),
    CatalogueView {
        name: "pg_proc",
        columns: &[("proacl", shown_acl!("x.proacl", "pg_proc", "x.oid", "0"))],
        // A body names what its author sees.
        tail: "WHERE x.pronamespace IN (SELECT s.oid FROM postern.seen_schemas s WHERE NOT s.module OR EXISTS (SELECT FROM postern.sees_undeclared))",
    },
    filtered("pg_publication", NONE),
    filtered("pg_publication_namespace", NONE),
    filtered("pg_publication_rel", NONE),
    filtered("pg_publication_tables", NONE),
    filtered(
        "pg_range",
        "WHERE x.rngtypid IN (SELECT t.oid FROM pg_catalog.pg_type t JOIN postern.seen_schemas s ON s.oid = t.typnamespace)",
    ),
    filtered(
        "pg_rewrite",
        // A view over what another module exports belongs to that module.
        "WHERE x.ev_class IN (SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid IN (SELECT r.oid FROM postern.seen_relations r) AND (c.oid < 16384 OR c.relowner = n.nspowner OR n.nspname LIKE 'pg\\_%'))",
    ),
    // PostgreSQL's own are those of every cluster, and own what is built in.
    filtered(
        "pg_roles",
        "WHERE x.oid < 16384 OR x.rolname IN (SELECT r.rolname FROM postern.seen_roles r)",
    ),
    CatalogueView {
        name: "pg_rules",
        columns: &[("definition", SHOWN_DEFINITION)],
        tail: seen_name!("x.schemaname", "x.tablename"),
    },
    filtered("pg_seclabel", NONE),
    filtered("pg_seclabels", NONE),
    filtered(
        "pg_sequence",
        "WHERE x.seqrelid IN (SELECT r.oid FROM postern.seen_relations r)",
    ),
    CatalogueView {
        name: "pg_sequences",
        columns: &[("data_type", "pg_catalog.format_type(x.data_type, NULL)")],
        tail: seen_name!("x.schemaname", "x.sequencename"),
    },
    filtered("pg_settings", "WHERE x.name NOT LIKE 'postern.%'"),
    filtered("pg_shdepend", NONE),
    filtered("pg_shdescription", NONE),
    filtered("pg_shseclabel", NONE),
    // The session's own backend: another session of this login may be another user's. What it runs is the rewritten text.
    CatalogueView {
        name: "pg_stat_activity",
        columns: &[
            ("client_addr", "NULL::pg_catalog.inet"),
            ("client_hostname", "NULL::pg_catalog.text"),
            ("client_port", "NULL::pg_catalog.int4"),
            ("query_id", "NULL::pg_catalog.int8"),
            ("query", "NULL::pg_catalog.text"),
        ],
        tail: "WHERE x.pid = pg_catalog.pg_backend_pid()",
    },
    filtered("pg_statistic_ext", NONE),
    CatalogueView {
        name: "pg_subscription",
        columns: &[("subconninfo", "NULL::text COLLATE \"C\"")],
        tail: NONE,
    },
    CatalogueView {
        name: "pg_tables",
        columns: &[("rowsecurity", "false"), ("tablespace", "NULL")],
        tail: seen_name!("x.schemaname", "x.tablename"),
    },
    CatalogueView {
        name: "pg_tablespace",
        columns: &[("spcacl", "NULL")],
        tail: "WHERE x.spcname IN ('pg_default', 'pg_global') \
               OR x.spcname = (SELECT l.tablespace FROM postern.login_schema l WHERE l.login = session_user)",
    },
    filtered("pg_timezone_abbrevs", ""),
    filtered("pg_timezone_names", ""),
    filtered("pg_transform", NONE),
    filtered(
        "pg_trigger",
        "WHERE x.tgrelid IN (SELECT r.oid FROM postern.seen_relations r) \
         AND (x.tgconstrrelid = 0 OR x.tgconstrrelid IN (SELECT r.oid FROM postern.seen_relations r))",
    ),
    filtered(
        "pg_ts_config",
        "WHERE x.cfgnamespace IN (SELECT s.oid FROM postern.seen_schemas s)",
    ),
    filtered(
        "pg_ts_config_map",
        "WHERE EXISTS (SELECT FROM pg_catalog.pg_ts_config c JOIN postern.seen_schemas s ON s.oid = c.cfgnamespace WHERE c.oid = x.mapcfg)",
    ),
    filtered(
        "pg_ts_dict",
        "WHERE x.dictnamespace IN (SELECT s.oid FROM postern.seen_schemas s)",
    ),
    filtered(
        "pg_ts_parser",
        "WHERE x.prsnamespace IN (SELECT s.oid FROM postern.seen_schemas s)",
    ),
    filtered(
        "pg_ts_template",
        "WHERE x.tmplnamespace IN (SELECT s.oid FROM postern.seen_schemas s)",
    ),
    CatalogueView {
        name: "pg_type",
        columns: &[
            ("typowner", shown_owner!("x.typowner", "x.typnamespace")),
            ("typacl", shown_acl!("x.typacl", "pg_type", "x.oid", "0")),
        ],
        tail: "WHERE x.oid IN (SELECT t.oid FROM postern.seen_types t)",
    },
    filtered("pg_user", "WHERE x.usename IN (SELECT r.rolname FROM postern.seen_roles r)"),
    filtered("pg_user_mappings", NONE),
    CatalogueView {
        name: "pg_views",
        columns: &[("viewowner", SHOWN_VIEW_OWNER), ("definition", SHOWN_DEFINITION)],
        tail: seen_name!("x.schemaname", "x.viewname"),
    },
];

/// `information_schema`; what a role may see there at all is still PostgreSQL's own rule for the session's role.
pub(super) const INFORMATION_VIEWS: &[CatalogueView] = &[
    filtered("check_constraints", concat_constraint!("x.constraint_schema")),
    filtered(
        "column_privileges",
        concat!(
            seen_name!("x.table_schema", "x.table_name"),
            seen_rights!(),
            " AND x.column_name::text NOT LIKE 'postern$%'"
        ),
    ),
    CatalogueView {
        name: "columns",
        columns: &[
            ("data_type", "coalesce(pg_catalog.format_type(d.type_oid, NULL), x.data_type)"),
            (
                "character_maximum_length",
                declared_fact!("_pg_char_max_length", "character_maximum_length"),
            ),
            (
                "character_octet_length",
                declared_fact!("_pg_char_octet_length", "character_octet_length"),
            ),
            (
                "numeric_precision",
                declared_fact!("_pg_numeric_precision", "numeric_precision"),
            ),
            (
                "numeric_precision_radix",
                declared_fact!("_pg_numeric_precision_radix", "numeric_precision_radix"),
            ),
            ("numeric_scale", declared_fact!("_pg_numeric_scale", "numeric_scale")),
            (
                "datetime_precision",
                declared_fact!("_pg_datetime_precision", "datetime_precision"),
            ),
            ("udt_name", "coalesce(t.typname, x.udt_name)"),
        ],
        tail: "LEFT JOIN (postern.declared d JOIN pg_catalog.pg_class c ON c.oid = d.relation \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_type t ON t.oid = d.type_oid) \
               ON n.nspname = x.table_schema::name AND c.relname = x.table_name::name AND d.attribute = x.column_name::name \
               WHERE (x.table_schema::name, x.table_name::name) IN (SELECT s.nspname, s.relname FROM postern.seen_names s) \
               AND x.column_name::text NOT LIKE 'postern$%'",
    },
    CatalogueView {
        name: "constraint_column_usage",
        columns: &[("column_name", SHOWN_COLUMN)],
        tail: seen_usage!(),
    },
    filtered("constraint_table_usage", seen_usage!()),
    filtered(
        "domains",
        "WHERE x.domain_schema::name IN (SELECT s.nspname FROM postern.seen_schemas s)",
    ),
    // What an array of a relation, a domain, a type or a function is made of.
    filtered(
        "element_types",
        "WHERE CASE x.object_type::text WHEN 'TABLE' \
         THEN (x.object_schema::name, x.object_name::name) IN (SELECT s.nspname, s.relname FROM postern.seen_names s) \
         WHEN 'ROUTINE' THEN x.object_schema::name IN (SELECT s.nspname FROM postern.seen_schemas s \
         WHERE NOT s.module OR EXISTS (SELECT FROM postern.sees_undeclared)) \
         ELSE x.object_schema::name IN (SELECT s.nspname FROM postern.seen_schemas s) \
         AND (x.object_schema::name, x.object_name::name) NOT IN (SELECT n.nspname, c.relname FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid NOT IN (SELECT r.oid FROM postern.seen_relations r)) END",
    ),
    CatalogueView {
        name: "key_column_usage",
        columns: &[("column_name", SHOWN_COLUMN)],
        tail: seen_name!("x.table_schema", "x.table_name"),
    },
    filtered(
        "parameters",
        "WHERE x.specific_schema::name IN (SELECT s.nspname FROM postern.seen_schemas s WHERE NOT s.module OR EXISTS (SELECT FROM postern.sees_undeclared))",
    ),
    filtered(
        "referential_constraints",
        concat!(
            concat_constraint!("x.constraint_schema"),
            " AND (x.unique_constraint_schema IS NULL OR x.unique_constraint_schema::name IN (SELECT s.nspname FROM postern.seen_schemas s))"
        ),
    ),
    filtered(
        "role_column_grants",
        concat!(
            seen_name!("x.table_schema", "x.table_name"),
            seen_rights!(),
            " AND x.column_name::text NOT LIKE 'postern$%'"
        ),
    ),
    filtered(
        "role_table_grants",
        concat!(seen_name!("x.table_schema", "x.table_name"), seen_rights!()),
    ),
    filtered(
        "routines",
        "WHERE x.specific_schema::name IN (SELECT s.nspname FROM postern.seen_schemas s WHERE NOT s.module OR EXISTS (SELECT FROM postern.sees_undeclared))",
    ),
    filtered(
        "schemata",
        "WHERE x.schema_name::name IN (SELECT s.nspname FROM postern.seen_schemas s)",
    ),
    filtered("sequences", seen_name!("x.sequence_schema", "x.sequence_name")),
    filtered("table_constraints", concat_constraint!("x.table_schema")),
    filtered(
        "table_privileges",
        concat!(seen_name!("x.table_schema", "x.table_name"), seen_rights!()),
    ),
    filtered("tables", seen_name!("x.table_schema", "x.table_name")),
    filtered("triggers", seen_name!("x.event_object_schema", "x.event_object_table")),
    CatalogueView {
        name: "views",
        columns: &[(
            "view_definition",
            "CASE WHEN pg_catalog.strpos(x.view_definition, 'postern') = 0 THEN x.view_definition END",
        )],
        tail: seen_name!("x.table_schema", "x.table_name"),
    },
];

/// A definition that shows how Postern stores and filters is not told.
const SHOWN_DEFINITION: &str = "CASE WHEN pg_catalog.strpos(x.definition, 'postern') = 0 THEN x.definition END";
/// As [`shown_owner!`], by names.
const SHOWN_VIEW_OWNER: &str = "CASE WHEN x.schemaname IN ('pg_catalog', 'information_schema') \
OR x.viewowner IN (SELECT r.rolname FROM postern.seen_roles r) THEN x.viewowner \
ELSE (SELECT pg_catalog.pg_get_userbyid(n.nspowner) FROM pg_catalog.pg_namespace n WHERE n.nspname = x.schemaname) END";
const SHOWN_NAME: &str = "CASE WHEN x.attname LIKE 'postern$%' AND i.indexrelid IS NULL THEN \
pg_catalog.concat('........pg.dropped.', x.attnum, '........')::name \
WHEN x.attname LIKE 'postern$eq$%' THEN pg_catalog.substr(x.attname::text, 12)::name ELSE x.attname END";
const SHOWN_COLUMN: &str = "pg_catalog.regexp_replace(x.column_name::text, '^postern\\$eq\\$', '')";
const SHOWN_INDKEY: &str = shown_keys!(
    "x.indrelid",
    "x.indkey",
    "pg_catalog.string_agg(coalesce(v.attnum, k.attnum)::text, ' ' ORDER BY k.n)",
    "int2vector"
);
const SHOWN_CONKEY: &str = shown_keys!(
    "x.conrelid",
    "x.conkey",
    "pg_catalog.array_agg(coalesce(v.attnum, k.attnum) ORDER BY k.n)",
    "int2[]"
);
const SHOWN_CONFKEY: &str = shown_keys!(
    "x.confrelid",
    "x.confkey",
    "pg_catalog.array_agg(coalesce(v.attnum, k.attnum) ORDER BY k.n)",
    "int2[]"
);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use postern_rewriter::plan::DECLARED_AS;

    use super::*;

    #[test]
    fn a_cursors_text_is_looked_for_where_the_rewriter_puts_it() {
        let cursors = CATALOG_VIEWS.iter().find(|v| v.name == "pg_cursors").expect("it is there");
        let [(_, statement)] = cursors.columns else {
            panic!("{:?}", cursors.columns)
        };
        assert!(statement.contains(&format!("x.statement, '{DECLARED_AS}')")), "{statement}");
        // It is the word behind.
        let before = DECLARED_AS.split(' ').count();
        assert!(
            statement.contains(&format!("split_part(x.statement, ' ', {before})")),
            "{statement}"
        );
    }

    #[test]
    fn the_judge_and_provisioning_know_the_same_views() {
        let listed: BTreeSet<(&str, &str)> = redirects().collect();
        let names: Vec<[String; 2]> = [
            ("pg_catalog", "postern_catalog", CATALOG_VIEWS),
            ("information_schema", "postern_information", INFORMATION_VIEWS),
        ]
        .iter()
        .flat_map(|(from, to, views)| {
            views
                .iter()
                .map(move |v| [format!("{from}.{}", v.name), format!("{to}.{}", v.name)])
        })
        .collect();
        let made: BTreeSet<(&str, &str)> = names.iter().map(|[from, to]| (from.as_str(), to.as_str())).collect();
        assert_eq!(listed, made);
    }
}
