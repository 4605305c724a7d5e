//! Postern's own statements: constants that carry no text of a client, so they need no judge.
//!
//! Values travel as parameters. What names a role comes from the manifest, quoted.

use postern_config::Manifest;
use postern_config::names::quote_ident;

use crate::allow;
use crate::mark::marks_in;
use crate::plan::Rewritten;

impl Rewritten {
    /// Hands what is told of an identity (one text parameter for each of `settings`, names behind `postern.`, then expiry in unix
    /// seconds, then the MAC in hex) to PostgreSQL's session settings; `local` limits them to the transaction. Claims of the session are
    /// checked at once, and the statements that follow need not check them again.
    pub fn set_claims(settings: &[String], local: bool) -> Self {
        let names = settings.iter().map(String::as_str).chain(["exp", "mac"]);
        let calls: Vec<String> = names
            .enumerate()
            .map(|(i, name)| format!("pg_catalog.set_config('postern.{name}', ${}::text, {local})", i + 1))
            .collect();
        let adopt = if local { "" } else { ", postern.adopt()" };
        Self::new(format!("SELECT {}{adopt}", calls.join(", ")))
    }

    /// Run as the catalogue's reader on the client's connection: relations and columns of its schema and of
    /// its temporary schema. Columns of the answer, all text: schema (`pg_temp` for temporary), relation, relkind, as a JSON array or NULL the relations of the schema that it is a partition or child
    /// of, however far up, of an index the table whose key or unique constraint it is of, of a view (behind its first column) [`marks_in`], what native row-level security holds of its
    /// policies for everybody (`rows`, `writes`, `forced` where it is on for the owner too and holds nothing, or `nothing`: a policy with `true` in place of a filter or check holds nothing there), attribute name or NULL, type spelling or NULL,
    /// whether it has a collation of its own or NULL; ordered by schema, relation, attribute number. `$1` is the schema. Types that are no
    /// relation's are of kind `T`; functions that its owner owns, and that run with the caller's rights, of kind `F`, with the numbers of their
    /// arguments and defaults and whether they are variadic in place of a type; views that another schema's owner or the policies' role owns of kind `V`;
    /// partitions of kind `P`, and `Q` where they have partitions themselves.
    pub fn read_catalog() -> Self {
        let marks = marks_in("c.oid", "c.relowner");
        Self::new(format!("{RELATIONS_BEFORE}{marks}{RELATIONS_BEHIND}"))
    }

    /// A statement that always fails (22012): what Postern sends to make PostgreSQL abort a transaction that the client must see aborted.
    pub fn abort() -> Self {
        Self::new("SELECT 1/0".to_owned())
    }

    /// A rollback of whatever is open: what Postern sends when it cannot let a transaction go on.
    pub fn rollback() -> Self {
        Self::new("ROLLBACK".to_owned())
    }

    /// Has PostgreSQL keep anew what the claims' check goes by, after the session lost it or the setting that says so; with `discard`, once it has
    /// forgotten all values that the session drew from sequences, among which that is. No claim is adopted behind it. A transaction of its own, as
    /// it writes; several statements, so only for a Query.
    pub fn enter(discard: bool) -> Self {
        let discard = if discard { "DISCARD SEQUENCES; " } else { "" };
        Self::new(format!(
            "{BEGIN}; {discard}SELECT pg_catalog.set_config('postern.adopted', '', false), postern.enter(); COMMIT"
        ))
    }

    /// The settings that the session has changed and that may follow a client to another server connection: two text columns, the name in
    /// lower case and the value, ordered by name. Outside a transaction, so that nothing local is among them. No parameters.
    pub fn read_settings() -> Self {
        Self::new(format!(
            "SELECT pg_catalog.lower(s.name), s.setting FROM pg_catalog.pg_settings AS s \
             WHERE s.source OPERATOR(pg_catalog.=) 'session' AND pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) ANY ({}) \
             ORDER BY 1",
            changeable()
        ))
    }

    /// Sets each setting of `$1` (`text[]`, names in lower case for which [`may_change`] holds) to the value at the same place of `$2`
    /// (`text[]`); NULL resets it. One row each, to be dropped. A name that may not be changed is passed over.
    pub fn put_settings() -> Self {
        Self::new(format!(
            "SELECT pg_catalog.set_config(s.name, s.value, false) \
             FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS s(name, value) \
             WHERE s.name OPERATOR(pg_catalog.=) ANY ({})",
            changeable()
        ))
    }

    /// Takes everything away that a client left in the session, prepared statements apart (they have names, and ours must stay); run
    /// outside a transaction when the client has gone. Behind it the connection is as it was when it was made. `owner` where the
    /// connection works as the module's owner. Several statements, so only for a Query; the first failure means that the connection
    /// must be closed. In one transaction, whatever mode of transactions the client asked for.
    pub fn leave(owner: Option<&Manifest>) -> Self {
        let role = owner.map_or_else(String::new, |m| format!("SET ROLE {}; ", quote_ident(&m.owner_role())));
        Self::new(format!(
            "{BEGIN}; CLOSE ALL; UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD SEQUENCES; DISCARD TEMP; RESET ALL; \
             {role}SELECT postern.enter(), {RESEED}; COMMIT"
        ))
    }
}

/// Gives `random()` a seed that nobody chose and nobody knows, of 64 random bits.
const RESEED: &str = "pg_catalog.setseed(pg_catalog.hashtextextended(pg_catalog.gen_random_uuid()::text, 0)::double precision \
OPERATOR(pg_catalog./) 9223372036854775808.0::double precision)";

/// A transaction that may write whatever the session's defaults are.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE, NOT DEFERRABLE";

/// Whether a session may carry that setting (canonical name, lower case) from one server connection to another.
pub fn may_change(name: &str) -> bool {
    allow::changeable_settings().any(|n| n == name)
}

fn changeable() -> String {
    let names: Vec<&str> = allow::changeable_settings().collect();
    format!("'{{{}}}'::text[]", names.join(","))
}

const RELATIONS_BEFORE: &str = "WITH open AS MATERIALIZED (SELECT p.polrelid, \
pg_catalog.bool_or(p.polcmd IN ('a', 'w', '*') AND coalesce(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), \
pg_catalog.pg_get_expr(p.polqual, p.polrelid)) = 'true') AS writes, \
pg_catalog.bool_or(p.polcmd <> 'a' AND pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'true') AS rows \
FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class t ON t.oid = p.polrelid JOIN pg_catalog.pg_namespace s ON s.oid = t.relnamespace \
WHERE p.polpermissive AND s.nspname = $1::text GROUP BY p.polrelid) \
SELECT x.schema, x.name, x.kind, x.parents, x.native, x.attribute, x.type, x.collated FROM (\
SELECT CASE WHEN n.oid = pg_catalog.pg_my_temp_schema() THEN 'pg_temp' ELSE n.nspname::text END, c.relname::text, \
CASE WHEN c.relkind = 'v' AND n.oid <> pg_catalog.pg_my_temp_schema() AND c.relowner <> n.nspowner AND (pg_catalog.pg_get_userbyid(c.relowner) = 'postern_policy' \
OR EXISTS (SELECT FROM pg_catalog.pg_namespace o WHERE o.nspowner = c.relowner AND o.nspname NOT LIKE 'pg\\_%' AND o.nspname <> 'public')) \
THEN 'V' WHEN c.relispartition AND c.relkind = 'r' THEN 'P' WHEN c.relispartition AND c.relkind = 'p' THEN 'Q' ELSE c.relkind::text END, \
CASE WHEN c.relkind IN ('i', 'I') THEN (SELECT pg_catalog.json_agg(t.relname)::text FROM pg_catalog.pg_index i \
JOIN pg_catalog.pg_class t ON t.oid = i.indrelid JOIN pg_catalog.pg_constraint k ON k.conrelid = t.oid AND k.conindid = c.oid AND k.contype IN ('p', 'u') \
WHERE i.indexrelid = c.oid) WHEN c.relkind NOT IN ('v', 'm') THEN (WITH RECURSIVE up(oid) AS (SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid UNION \
SELECT i.inhparent FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.oid) SELECT pg_catalog.json_agg(p.relname)::text \
FROM up JOIN pg_catalog.pg_class p ON p.oid = up.oid JOIN pg_catalog.pg_namespace m ON m.oid = p.relnamespace WHERE m.nspname = $1::text) \
WHEN coalesce(a.attnum, 1) = 1 THEN ";

const RELATIONS_BEHIND: &str = " END, \
CASE WHEN NOT (c.relrowsecurity AND c.relforcerowsecurity) THEN 'nothing' WHEN open.writes THEN 'forced' WHEN open.rows THEN 'writes' ELSE 'rows' END, \
a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), \
(a.attcollation <> 0 AND a.attcollation <> 'pg_catalog.\"default\"'::pg_catalog.regcollation)::text, a.attnum \
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
LEFT JOIN open ON open.polrelid = c.oid \
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind <> 'i' \
WHERE n.nspname = $1::text OR n.oid = pg_catalog.pg_my_temp_schema() \
UNION ALL SELECT n.nspname::text, t.typname::text, 'T', NULL, 'nothing', NULL, NULL, NULL, 0 \
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
WHERE n.nspname = $1::text AND t.typtype IN ('e', 'd', 'r', 'm', 'b') AND t.typrelid = 0 AND (t.typtype = 'd' OR t.typcategory <> 'A') \
UNION ALL SELECT n.nspname::text, p.proname::text, 'F', NULL, 'nothing', NULL, \
pg_catalog.concat_ws(' ', p.pronargs, p.pronargdefaults, (p.provariadic <> 0)::text), NULL, 0 \
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
WHERE n.nspname = $1::text AND p.prokind = 'f' AND NOT p.prosecdef AND p.proowner = n.nspowner\
) AS x(schema, name, kind, parents, native, attribute, type, collated, n) ORDER BY x.schema, x.name, x.kind, x.n, x.type";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_client_is_what_it_may_set() {
        for name in [
            "datestyle",
            "timezone",
            "statement_timeout",
            "application_name",
            "search_path",
        ] {
            assert!(may_change(name), "{name}");
        }
        // The twins: shown only, of one transaction only, the proxy's own, not on the list, another spelling.
        for name in [
            "server_version",
            "is_superuser",
            "transaction_read_only",
            "postern.user",
            "postern.mac",
            "role",
            "session_authorization",
            "work_mem",
            "DateStyle",
        ] {
            assert!(!may_change(name), "{name}");
        }
    }

    #[test]
    fn each_is_read_by_postgresql_as_what_it_is() {
        let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/postern.toml");
        let config = postern_config::load(&config).unwrap();
        let owner = config.modules.first().map(|m| &**m);
        for (sql, statements) in [
            (Rewritten::read_settings(), 1),
            (Rewritten::put_settings(), 1),
            (Rewritten::set_claims(&["sub".to_owned(), "tags".to_owned()], true), 1),
            (Rewritten::set_claims(&["sub".to_owned(), "tags".to_owned()], false), 1),
            (Rewritten::read_catalog(), 1),
            (Rewritten::enter(false), 3),
            (Rewritten::enter(true), 4),
            (Rewritten::leave(None), 9),
            (Rewritten::leave(owner), 10),
        ] {
            let read = pg_query::parse(sql.sql(), 0).unwrap();
            assert_eq!(read.protobuf.stmts.len(), statements, "{}", sql.sql());
        }
    }
}
