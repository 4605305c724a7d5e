//! What no manifest declares is told as plain PostgreSQL tells it: errors in every field that a client may see, temporary views, what a name means.

use postern_tests::connection::Connection;
use postern_tests::message::Reply;
use postern_tests::stand::Stand;

/// Statements that fail, or answer, alike.
const ALIKE: &[&str] = &[
    // A literal is pointed at in whatever spelling.
    r"SELECT '\u00zz'::json",
    r#"SELECT '"\v"'::json"#,
    "SELECT $$''$$::json",
    "SELECT $x$a'b\\c$x$::int",
    r"SELECT 1, E'\x41\102\u0043\n\q'::int",
    r"SELECT U&'d\0061t\+000061'::int",
    r#"SELECT jsonb_path_query('[]', '$ ? (@ == "\u00zz")')"#,
    // A name in a WITH clause that comes too late.
    "WITH coming(x) AS (SELECT 1 UNION (WITH inner_one AS (SELECT 2) SELECT * FROM coming UNION SELECT * FROM inner_one)) SELECT * FROM coming",
    "WITH first_one AS (SELECT * FROM second_one), second_one AS (SELECT 1) SELECT * FROM first_one",
    "WITH first_one AS (SELECT 1), second_one AS (SELECT * FROM first_one) SELECT * FROM second_one, third_one",
    "WITH first_one AS (SELECT 1), second_one AS (SELECT * FROM first_one) SELECT * FROM second_one",
    // How many values a prepared statement takes.
    "PREPARE takes_two AS SELECT $1::int + $2::int",
    "EXECUTE takes_two(1)",
    "EXECUTE takes_two(1, 2, 3)",
    "EXECUTE takes_two(1, 2)",
    "DEALLOCATE takes_two",
    // Rights are looked at long after the text was read, a schema while it is.
    "UPDATE pg_class SET reltuples = 10",
    "DELETE FROM pg_class",
    "CREATE TABLE nowhere.told (n int)",
    "CREATE VIEW nowhere.told AS SELECT 1",
    // What PostgreSQL 15 does not know as a spelling.
    r"SELECT E'a\\vb', '\v', $$\v$$, E'\x0b'",
    // Partitions by name.
    "CREATE TABLE told_parts (n int) PARTITION BY LIST (n)",
    "CREATE TABLE told_part PARTITION OF told_parts FOR VALUES IN (1)",
    "SELECT relid::regclass::text, parentrelid::regclass::text, isleaf, level FROM pg_partition_tree('told_parts') ORDER BY level",
    "SELECT relid::regclass::text FROM pg_partition_ancestors('told_part')",
    "SELECT pg_partition_root('told_part')::regclass::text",
    "SELECT * FROM pg_partition_tree('told_nothing')",
    "SELECT to_regclass('told_part'), to_regclass('pg_class'), to_regclass('pg_catalog.pg_class'), to_regclass('told_nothing')",
    "SELECT relname FROM pg_class WHERE oid::regclass IN ('told_part', 'told_parts') ORDER BY 1",
    "SELECT relname FROM pg_class WHERE oid::regclass NOT IN ('told_part', 'told_parts') AND relname LIKE 'told_part%'",
    "SELECT relname FROM pg_class WHERE oid::regclass IN ('told_part', 'told_nothing')",
    "SELECT relname FROM pg_class WHERE oid::regclass IN ('told_part')",
    "SELECT typname FROM pg_type WHERE oid::regtype IN ('int4', 'text') ORDER BY 1",
    "DROP TABLE told_parts",
    // Types that are missing, and names however they are escaped.
    "CREATE TABLE told OF told_nothing",
    "CREATE TABLE told (n told_nothing)",
    "CREATE TYPE told AS (n told_nothing)",
    "CREATE DOMAIN told AS told_nothing",
    "CREATE FUNCTION told(told_nothing) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION told(int) RETURNS told_nothing LANGUAGE sql AS 'SELECT 1'",
    r#"SELECT U&"real\00A7_name" FROM (SELECT 1) AS x(real_name)"#,
    r#"SELECT U&"a'\0062""c" FROM (SELECT 1) AS x(n)"#,
    // Names without a schema.
    "SELECT to_regnamespace('lab')::text, to_regnamespace('\"lab\"')::text, to_regnamespace('told_nothing')",
    "SELECT to_regnamespace('lab.told')",
    "SELECT to_regrole('told.nobody')",
    "SELECT 'lab.told'::text::regnamespace",
    // A cursor's own text.
    "BEGIN",
    "DECLARE told_one CURSOR FOR SELECT 1 AS \"é\"",
    "declare told_two no scroll cursor for select 'postern declared as 41', n FROM generate_series(1, 3) n;",
    "SELECT name, statement, is_holdable, is_binary, is_scrollable FROM pg_cursors ORDER BY name",
    "SELECT name FROM pg_cursors WHERE statement LIKE 'declare told%'",
    "COMMIT",
    "DECLARE told_kept CURSOR WITH HOLD FOR SELECT 3",
    "SELECT statement FROM pg_cursors",
    "CLOSE told_kept",
    "SELECT statement FROM pg_cursors",
    // The databases that every cluster has.
    "SELECT datname, datistemplate, datallowconn FROM pg_database WHERE datname IN ('postgres', 'template0', 'template1') ORDER BY 1",
    // Parts of columns.
    "CREATE TYPE told_pair AS (x int, y text)",
    "CREATE TABLE told_parted (n int UNIQUE, a int[], p told_pair, ps told_pair[])",
    "INSERT INTO told_parted (n, a[1], a[2], p.x, p.y) VALUES (1, 10, 11, 5, 'y')",
    "INSERT INTO told_parted (n, ps[1].x, a[1 + 1]) SELECT 2, 7, 8",
    "INSERT INTO told_parted (a.x) VALUES (1)",
    "INSERT INTO told_parted (nothing.x) VALUES (1)",
    "UPDATE told_parted SET a[2] = 12, p.y = 'z' WHERE n = 1 RETURNING a, p",
    "INSERT INTO told_parted (n, a[3]) VALUES (1, 3) ON CONFLICT (n) DO UPDATE SET a[1] = 99, p.x = excluded.n RETURNING *",
    "SELECT * FROM told_parted ORDER BY n",
    "DROP TABLE told_parted",
    "DROP TYPE told_pair",
    // What an index is inferred by.
    "CREATE TABLE told_keys (k text, v int)",
    "CREATE UNIQUE INDEX ON told_keys (k COLLATE \"C\" text_pattern_ops)",
    "INSERT INTO told_keys VALUES ('a', 1) ON CONFLICT (k COLLATE \"C\" text_pattern_ops) DO UPDATE SET v = 2 RETURNING v",
    "INSERT INTO told_keys VALUES ('a', 1) ON CONFLICT (k COLLATE \"C\" text_pattern_ops) DO UPDATE SET v = 2 RETURNING v",
    "INSERT INTO told_keys VALUES ('a', 1) ON CONFLICT (k COLLATE \"POSIX\") DO NOTHING",
    "INSERT INTO told_keys VALUES ('a', 1) ON CONFLICT (k told_ops) DO NOTHING",
    // INTO where it may stand, and where it may not.
    "DECLARE told CURSOR FOR SELECT 1 INTO told_into",
    "COPY (SELECT 1 INTO told_into) TO STDOUT",
    "SELECT * FROM (SELECT 1 INTO told_into) b",
    "CREATE VIEW told_view AS SELECT 1 INTO told_into",
    "INSERT INTO told_keys SELECT 1 INTO told_into",
    "SELECT 1 AS n INTO told_into",
    "SELECT n FROM told_into",
    "SELECT 1 UNION SELECT 2 FOR UPDATE",
    "SELECT n FROM told_into UNION SELECT n FROM told_nothing FOR KEY SHARE",
    // Tables made under EXPLAIN, or not.
    "EXPLAIN (COSTS OFF) CREATE TABLE told_made AS SELECT 1 AS n",
    "SELECT * FROM told_made",
    "EXPLAIN (ANALYZE, COSTS OFF, SUMMARY OFF, TIMING OFF) CREATE TABLE told_made AS SELECT 1 AS n",
    "SELECT * FROM told_made",
    "EXPLAIN (COSTS OFF) SELECT 1 INTO told_more",
    "EXPLAIN (COSTS OFF, VERBOSE) SELECT tableoid::regclass, n FROM told_made",
    "EXPLAIN (COSTS OFF, VERBOSE) SELECT m.tableoid::regclass AS r FROM told_made m, told_keys k",
    "SELECT tableoid::regclass FROM told_made",
    "DROP TABLE told_made, told_into, told_keys",
    // Values that PostgreSQL computes, and what it says of them.
    "PREPARE told_computed(int, text, float8) AS SELECT $1 AS a, $2 AS b, $3 AS c",
    "EXECUTE told_computed(1 + 1, 'a' || 'b', 2)",
    "EXECUTE told_computed(5::smallint, upper('x'), 10.5::float8)",
    "EXECUTE told_computed(length('abc'), NULL, '7')",
    "EXECUTE told_computed(3.7 + 0, '\"postern$s\"' || 1, -2)",
    "EXECUTE told_computed(1 + 1)",
    "EXECUTE told_computed(1, 'a', true OR false)",
    "EXECUTE told_computed(1 / 0, 'a', 1)",
    "EXECUTE told_computed(nothing, 'a', 1)",
    "EXECUTE told_nothing(1 + 1)",
    "EXPLAIN (COSTS OFF, VERBOSE) EXECUTE told_computed(1 + 1, 'a', 2)",
    "EXPLAIN (ANALYZE, COSTS OFF, SUMMARY OFF, TIMING OFF) EXECUTE told_computed(1, 'a', 2)",
    "EXPLAIN EXECUTE told_nothing(1)",
    "EXPLAIN EXECUTE told_computed(1)",
    "CREATE TABLE told_rows (n int)",
    "PREPARE told_insert AS INSERT INTO told_rows VALUES ($1) RETURNING n",
    "EXECUTE told_insert(20 + 1)",
    "SET plan_cache_mode = force_generic_plan",
    "PREPARE told_read(int) AS SELECT n FROM told_rows WHERE n = $1",
    "EXPLAIN (COSTS OFF) EXECUTE told_read(2)",
    "RESET plan_cache_mode",
    "EXPLAIN (COSTS OFF) EXECUTE told_read(2)",
    "EXECUTE told_read(42 / 2)",
    "DEALLOCATE told_read",
    "EXECUTE told_read(42 / 2)",
    "DEALLOCATE ALL",
    "DROP TABLE told_rows",
];

fn pair(stand: &Stand) -> (Connection, Connection) {
    let direct = stand.dba().with("options", "-c search_path=lab -c role=lab_owner");
    (
        Connection::open(&stand.login("lab")).unwrap_or_else(|e| panic!("{e}")),
        Connection::open(&direct).unwrap_or_else(|e| panic!("straight to PostgreSQL: {e}")),
    )
}

/// What a client sees of an answer: of an error everything but its place in a source.
fn seen(reply: &Reply) -> String {
    match &reply.error {
        Some(error) => format!("error {:?}", ['C', 'M', 'D', 'H', 'P'].map(|code| error.field(code))),
        None => format!("{:?} {:?}", reply.texts(), reply.tag),
    }
}

#[test]
fn what_no_manifest_declares_is_told_as_by_postgresql() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let (mut ours, mut theirs) = pair(stand);
    // One after the other: they make the same tables in the same schema.
    let here: Vec<String> = ALIKE.iter().map(|sql| seen(&ours.run(sql))).collect();
    let there: Vec<String> = ALIKE.iter().map(|sql| seen(&theirs.run(sql))).collect();
    let different: Vec<String> = (0..ALIKE.len())
        .filter(|n| here[*n] != there[*n])
        .map(|n| format!("{}\n  here {}\n  there {}", ALIKE[n], here[n], there[n]))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// PostgreSQL 15 reads `E'\v'` as the letter, its successors as a vertical tab, which is no white space to 15.
#[test]
fn an_escape_that_versions_read_differently_never_becomes_another_value() {
    let stand = Stand::shared();
    let mut ours = stand.connect("lab", None);
    for sql in [
        r"SELECT E'a\vb'",
        r"SELECT e'\\\v'",
        r"PREPARE p AS SELECT E'\v'",
        "SELECT E'a'\n'\\v'",
    ] {
        let reply = ours.run(sql);
        assert_eq!(reply.sqlstate(), "0A000", "{sql}");
        assert!(reply.error.is_some_and(|e| e.hint().contains("\\x0b")), "{sql}");
    }
    for sql in ["SELECT\x0b1", "SELECT 1\x0b", "SELECT 1 \x0b-- two"] {
        assert_eq!(ours.run(sql).sqlstate(), "42601", "{sql:?}");
        assert_eq!(stand.dba_connection().run(sql).sqlstate(), "42601", "{sql:?}");
    }
    let same = "SELECT E'a\\\\vb', 'a\x0bb' -- \x0b";
    let theirs = stand.dba_connection().run(same).texts();
    assert_eq!(ours.run(same).good(same).texts(), theirs);
}

#[test]
fn a_view_over_a_temporary_relation_is_temporary() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let mut lab = stand.connect("lab", None);
    for sql in [
        "CREATE TEMP TABLE passing (n int)",
        "INSERT INTO passing VALUES (7)",
        "CREATE VIEW seen_passing AS SELECT n FROM passing",
    ] {
        lab.run(sql).good(sql);
    }
    assert_eq!(
        lab.run("SELECT n FROM seen_passing").good("the view").scalar().as_deref(),
        Some("7")
    );
    let kept = "SELECT count(*) FROM pg_class WHERE relname = 'seen_passing' AND relnamespace = 'lab'::regnamespace";
    assert_eq!(stand.dba_connection().run(kept).good(kept).scalar().as_deref(), Some("0"));
    // Where its schema is written PostgreSQL refuses, and one over lasting tables lasts.
    assert_eq!(
        lab.run("CREATE VIEW lab.seen_passing AS SELECT n FROM passing").sqlstate(),
        "42P16"
    );
    lab.run("CREATE VIEW lasting AS SELECT 1 AS n").good("a view");
    let mut other = stand.connect("lab", None);
    assert_eq!(
        other.run("SELECT n FROM lasting").good("the other view").scalar().as_deref(),
        Some("1")
    );
    assert_eq!(other.run("SELECT n FROM seen_passing").sqlstate(), "42P01");
    lab.run("DROP VIEW lasting").good("away");
}
