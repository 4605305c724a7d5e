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
    "DROP TABLE told_parts",
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
