//! A user on a login that may run DDL: what no manifest declares is the module's own, so a user neither sees it nor makes, changes or drops any of
//! it, whatever kind of object it is. Temporary relations are the user's.

use postern_tests::connection::Connection;
use postern_tests::message::Reply;
use postern_tests::stand::Stand;

/// What the module made before, and what takes it away.
const MADE: &[&str] = &[
    "CREATE TABLE und (a int PRIMARY KEY, b text)",
    "INSERT INTO und VALUES (1, 'a private note')",
    "CREATE VIEW und_view AS SELECT a FROM und",
    "CREATE MATERIALIZED VIEW und_stored AS SELECT 1 AS a",
    "CREATE SEQUENCE und_numbers",
    "CREATE INDEX und_index ON und (b)",
    "CREATE TYPE und_mood AS ENUM ('good')",
    "CREATE TYPE und_pair AS (a int)",
    "CREATE DOMAIN und_small AS int CHECK (VALUE < 10)",
    "CREATE COLLATION und_order (locale = 'C')",
    "CREATE FUNCTION und_price(x int) RETURNS int LANGUAGE sql AS 'SELECT x'",
    "CREATE TABLE und_parts (a int) PARTITION BY LIST (a)",
];
const GONE: &[&str] = &[
    "DROP TABLE archive.und CASCADE",
    "DROP MATERIALIZED VIEW archive.und_stored",
    "DROP SEQUENCE archive.und_numbers",
    "DROP TYPE archive.und_mood, archive.und_pair, archive.und_small",
    "DROP COLLATION archive.und_order",
    "DROP FUNCTION archive.und_price(int)",
    "DROP TABLE archive.und_parts",
];

/// Everything that a module's schema holds, as the DBA sees it.
const ALL: &str = "SELECT string_agg(what, ', ' ORDER BY what) FROM (\
    SELECT relname || relkind::text || coalesce((SELECT string_agg(attname || atttypid || atthasdef, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid), '') \
    || coalesce(obj_description(c.oid), '') || coalesce((SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint WHERE conrelid = c.oid), '') AS what \
    FROM pg_class c WHERE relnamespace = 'archive'::regnamespace \
    UNION ALL SELECT typname || typtype::text || coalesce((SELECT string_agg(enumlabel, ' ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid), '') \
    || coalesce((SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint WHERE contypid = t.oid), '') || coalesce(obj_description(t.oid), '') \
    FROM pg_type t WHERE typnamespace = 'archive'::regnamespace \
    UNION ALL SELECT collname || coalesce(obj_description(o.oid), '') FROM pg_collation o WHERE collnamespace = 'archive'::regnamespace \
    UNION ALL SELECT proname || provolatile::text || coalesce(prosrc, '') || coalesce(obj_description(p.oid), '') FROM pg_proc p WHERE pronamespace = 'archive'::regnamespace\
    ) AS x";

/// One of every kind of statement that the module itself may send.
const REFUSED: &[&str] = &[
    "CREATE TABLE mine (a int)",
    "CREATE TABLE IF NOT EXISTS und (a int)",
    "CREATE TABLE mine PARTITION OF und_parts FOR VALUES IN (1)",
    "CREATE TABLE mine PARTITION OF entries FOR VALUES FROM ('2015-01-01') TO ('2016-01-01')",
    "CREATE TEMP TABLE mine PARTITION OF entries FOR VALUES FROM ('2015-01-01') TO ('2016-01-01')",
    "CREATE TEMP TABLE mine (LIKE und)",
    "CREATE TEMP TABLE mine () INHERITS (und)",
    "CREATE TEMP TABLE mine (a int REFERENCES und)",
    "CREATE TABLE mine AS SELECT 1 AS a",
    "SELECT 1 AS a INTO mine",
    "CREATE MATERIALIZED VIEW mine AS SELECT 1 AS a",
    "CREATE VIEW mine AS SELECT 1 AS a",
    "CREATE OR REPLACE VIEW und_view AS SELECT 1 AS a",
    "CREATE SEQUENCE mine",
    "ALTER SEQUENCE und_numbers RESTART WITH 5",
    "ALTER SEQUENCE IF EXISTS und_numbers RESTART WITH 5",
    "CREATE TEMP SEQUENCE mine OWNED BY und.a",
    "CREATE INDEX mine ON und (a)",
    "ALTER INDEX und_index RENAME TO mine",
    "ALTER INDEX und_index SET (fillfactor = 50)",
    "ALTER TABLE und ADD COLUMN c int",
    "ALTER TABLE und RENAME TO mine",
    "ALTER TABLE IF EXISTS und RENAME TO mine",
    "ALTER TABLE und RENAME COLUMN b TO c",
    "ALTER TABLE und_parts ATTACH PARTITION und FOR VALUES IN (1)",
    "ALTER VIEW und_view RENAME TO mine",
    "ALTER MATERIALIZED VIEW und_stored RENAME TO mine",
    "DROP TABLE und CASCADE",
    "DROP VIEW und_view",
    "DROP MATERIALIZED VIEW und_stored",
    "DROP SEQUENCE und_numbers",
    "DROP INDEX und_index",
    "CREATE TYPE mine AS ENUM ('a')",
    "CREATE TYPE mine AS (a int)",
    "CREATE DOMAIN mine AS int",
    "ALTER TYPE und_mood ADD VALUE 'bad'",
    "ALTER TYPE und_mood RENAME VALUE 'good' TO 'bad'",
    "ALTER TYPE und_mood RENAME TO mine",
    "ALTER TYPE und_mood OWNER TO archive_owner",
    "ALTER TYPE und_pair ADD ATTRIBUTE b int",
    "ALTER DOMAIN und_small DROP CONSTRAINT und_small_check",
    "ALTER DOMAIN und_small SET NOT NULL",
    "DROP TYPE und_mood",
    "DROP TYPE IF EXISTS und_mood",
    "DROP DOMAIN IF EXISTS und_small",
    "CREATE COLLATION mine (locale = 'C')",
    "ALTER COLLATION und_order RENAME TO mine",
    "DROP COLLATION und_order",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION und_price(x int) RETURNS int LANGUAGE sql AS 'SELECT x * 1000'",
    "CREATE OR REPLACE FUNCTION und_price(x int) RETURNS int LANGUAGE sql RETURN x * 1000",
    "ALTER FUNCTION und_price(int) IMMUTABLE",
    "ALTER FUNCTION und_price(int) RENAME TO mine",
    "ALTER FUNCTION und_price(int) OWNER TO archive_owner",
    "DROP FUNCTION und_price(int)",
    "DROP FUNCTION IF EXISTS und_price(int)",
    "COMMENT ON FUNCTION und_price(int) IS 'x'",
    "COMMENT ON TABLE und IS 'x'",
    "COMMENT ON COLUMN und.a IS 'x'",
    "COMMENT ON VIEW und_view IS 'x'",
    "COMMENT ON INDEX und_index IS 'x'",
    "COMMENT ON SEQUENCE und_numbers IS 'x'",
    "COMMENT ON TYPE und_mood IS 'x'",
    "COMMENT ON DOMAIN und_small IS 'x'",
    "COMMENT ON COLLATION und_order IS 'x'",
    "COMMENT ON CONSTRAINT und_pkey ON und IS 'x'",
    "TRUNCATE und",
    "ANALYZE und",
    "VACUUM und",
    "REINDEX TABLE und",
    "REINDEX INDEX und_index",
    "REFRESH MATERIALIZED VIEW und_stored",
    "LOCK TABLE und IN ACCESS SHARE MODE",
    "COPY und TO STDOUT",
    "CREATE SCHEMA mine",
    "CREATE TRIGGER mine BEFORE INSERT ON und FOR EACH ROW EXECUTE FUNCTION und_price()",
    "CREATE RULE mine AS ON INSERT TO und DO INSTEAD NOTHING",
    "CREATE POLICY mine ON und USING (true)",
    "CREATE STATISTICS mine ON a, b FROM und",
    "CREATE AGGREGATE mine (int) (sfunc = int4pl, stype = int)",
    "CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq)",
    "CREATE CAST (text AS int) WITH INOUT",
    "GRANT ALL ON und TO PUBLIC",
    "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC",
];

/// `IF EXISTS`, and what PostgreSQL says where nothing of that name is there. `{}` is the name.
const SKIPPED: &[(&str, &str, &str)] = &[
    ("ALTER TABLE IF EXISTS {} ADD COLUMN c int DEFAULT 5", "und", "relation"),
    (
        "ALTER TABLE IF EXISTS {} ALTER COLUMN b TYPE int USING (b::int)",
        "und",
        "relation",
    ),
    ("ALTER TABLE IF EXISTS archive.{} ADD CHECK (a <> 1)", "und", "relation"),
    ("ALTER VIEW IF EXISTS {} OWNER TO archive_owner", "und_view", "relation"),
    ("ALTER INDEX IF EXISTS {} SET (fillfactor = 50)", "und_index", "relation"),
    ("DROP TABLE IF EXISTS {}", "und", "table"),
    ("DROP TABLE IF EXISTS archive.{} CASCADE", "und", "table"),
    ("DROP VIEW IF EXISTS {}", "und_view", "view"),
    ("DROP MATERIALIZED VIEW IF EXISTS {}", "und_stored", "materialized view"),
    ("DROP SEQUENCE IF EXISTS {}", "und_numbers", "sequence"),
    ("DROP INDEX IF EXISTS {}", "und_index", "index"),
];

struct Module<'s>(&'s Stand);

impl<'s> Module<'s> {
    fn with_its_own(stand: &'s Stand) -> Self {
        let this = Self(stand);
        let mut module = Connection::open(&stand.through_gate("archive.migrator", None)).expect("a session");
        for sql in MADE {
            module.run(sql).good(sql);
        }
        this
    }
}

impl Drop for Module<'_> {
    fn drop(&mut self) {
        let mut dba = self.0.dba_connection();
        for sql in GONE {
            dba.run(sql);
        }
    }
}

/// What was sent, and the notices before its end, with the name that is asked for taken out.
fn heard(c: &mut Connection, template: &str, name: &str, extended: bool) -> (Reply, String) {
    let sql = template.replace("{}", name);
    c.forget_seen();
    let reply = match extended {
        true => c.extended(&sql, &[], 0).unwrap_or_else(|e| panic!("{sql}: {e}")),
        false => c.run(&sql),
    };
    let seen = String::from_utf8_lossy(&c.seen).replace(&format!("\"{name}\""), "\"{}\"");
    (reply, seen)
}

#[test]
fn a_user_changes_nothing_of_the_modules_own() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _module = Module::with_its_own(stand);
    let held = stand.dba_connection().run(ALL).good("what is there").scalar();
    let mut bob = Connection::open(&stand.through_gate("archive.migrator", Some("bob"))).expect("a session");
    let mut passed = Vec::new();
    for sql in REFUSED {
        for extended in [false, true] {
            let reply = match extended {
                true => bob.extended(sql, &[], 0).unwrap_or_else(|e| panic!("{sql}: {e}")),
                false => bob.run(sql),
            };
            if !matches!(reply.sqlstate(), "42501" | "42P01" | "0A000") {
                passed.push(format!("{sql}: {} {:?}", reply.sqlstate(), reply.tag));
            }
        }
        if stand.dba_connection().run(ALL).good("what is there").scalar() != held {
            passed.push(format!("{sql} changed something"));
        }
    }
    assert!(passed.is_empty(), "{}", passed.join("\n"));

    // The twin: the module itself may.
    let mut module = Connection::open(&stand.through_gate("archive.migrator", None)).expect("a session");
    for sql in [
        "BEGIN",
        "CREATE OR REPLACE FUNCTION und_price(x int) RETURNS int LANGUAGE sql AS 'SELECT x * 1000'",
        "ALTER FUNCTION und_price(int) STABLE",
        "COMMENT ON FUNCTION und_price(int) IS 'x'",
        "DROP FUNCTION und_price(int)",
        "ALTER TABLE IF EXISTS und ADD COLUMN c int",
        "DROP VIEW IF EXISTS und_view",
        "DROP TABLE IF EXISTS und, nowhere",
        "ROLLBACK",
    ] {
        module.run(sql).good(sql);
    }
    // And a user has temporary relations.
    for sql in [
        "CREATE TEMP TABLE passing (a int)",
        "ALTER TABLE IF EXISTS passing ADD COLUMN b int",
        "DROP TABLE IF EXISTS passing",
    ] {
        bob.run(sql).good(sql);
    }
}

#[test]
fn what_a_user_does_not_see_is_skipped_like_what_is_not_there() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _module = Module::with_its_own(stand);
    let held = stand.dba_connection().run(ALL).good("what is there").scalar();
    let mut bob = Connection::open(&stand.through_gate("archive.migrator", Some("bob"))).expect("a session");
    for (template, name, kind) in SKIPPED {
        for extended in [false, true] {
            let (hidden, said) = heard(&mut bob, template, name, extended);
            let tag = hidden.good(template).tag;
            assert!(
                said.contains(&format!("{kind} \"{{}}\" does not exist, skipping")),
                "{template}: {said}"
            );
            let nowhere = "x".repeat(name.len());
            let (absent, same) = heard(&mut bob, template, &nowhere, extended);
            assert_eq!(tag, absent.good(template).tag, "{template}");
            assert_eq!(said, same, "{template}");
        }
    }
    assert_eq!(stand.dba_connection().run(ALL).good("what is there").scalar(), held);

    // In a query with others, and beside what is the user's own.
    let batch =
        "CREATE TEMP TABLE passing (a int); DROP TABLE IF EXISTS und; INSERT INTO passing VALUES (1); SELECT a FROM passing";
    assert_eq!(bob.run(batch).good(batch).scalar().as_deref(), Some("1"));
    assert_eq!(bob.run("DROP TABLE IF EXISTS passing, und").sqlstate(), "0A000");
    assert_eq!(bob.run("DROP TABLE IF EXISTS passing, nowhere").sqlstate(), "0A000");
    // As in PostgreSQL nothing is done in a transaction that has failed.
    bob.run("BEGIN");
    bob.run("SELECT 1 / 0");
    assert_eq!(bob.run("DROP TABLE IF EXISTS und").sqlstate(), "25P02");
    bob.run("ROLLBACK");
    assert_eq!(stand.dba_connection().run(ALL).good("what is there").scalar(), held);
}

/// The notices are PostgreSQL's own words.
#[test]
fn what_is_not_there_is_skipped_as_by_postgresql() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let mut module = Connection::open(&stand.through_gate("archive.migrator", None)).expect("a session");
    let mut dba = stand.dba_connection();
    dba.run("SET search_path = archive").good("a path");
    for (template, _, kind) in SKIPPED {
        let (ours, said) = heard(&mut module, template, "nowhere", false);
        let (theirs, words) = heard(&mut dba, template, "nowhere", false);
        assert_eq!(ours.good(template).tag, theirs.good(template).tag, "{template}");
        let notice = format!("{kind} \"{{}}\" does not exist, skipping");
        assert!(
            said.contains(&notice) && words.contains(&notice),
            "{template}: {said} {words}"
        );
    }
}
