//! COPY … TO STDOUT of protected columns: byte for byte what PostgreSQL's own COPY of the same rows in plain types gives.

use postern_tests::connection::Connection;
use postern_tests::plain;
use postern_tests::proxy::Proxy;
use postern_tests::stand::Stand;
use postern_tests::target::Target;

use super::dump::{forget_plain_database, open, plain_database, runs};

const ROWS: &str = "INSERT INTO alltypes.things (id, v_text, v_int4, v_int8, v_float8, v_bool, v_date, v_timestamptz, v_numeric, v_uuid, v_bytea, \
    v_jsonb, v_varchar, secret, note) VALUES \
    (910000, E'tab\\there, \"quoted\"\\nline\\\\N|\\b\\f\u{b}\\r', -1, 9223372036854775807, 0.1, true, '2000-02-29', '2026-01-02 03:04:05.678+00', \
    12.3400, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\\x00ff0a5c', '{\"a\": [1, null, \"x,y\"]}', 'short', '', NULL), \
    (910001, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'all NULL'), \
    (910002, '', 0, 0, 'NaN', false, 'infinity', '-infinity', 'NaN', '00000000-0000-0000-0000-000000000000', '', 'null', '', 'Zoë', ''), \
    (910003, '\\.', 7, 7, '-0', true, '0001-01-01 BC', 'epoch', -0.5, 'ffffffff-ffff-ffff-ffff-ffffffffffff', '\\x', '\"s\"', '\\N', E'it''s', '\\.')";
const GONE: &str = "DELETE FROM alltypes.things WHERE id >= 910000";

/// Every column, and a few by themselves, in every form that COPY has.
const STATEMENTS: &[&str] = &[
    "COPY (SELECT * FROM alltypes.things WHERE id >= 910000 ORDER BY id) TO STDOUT",
    "COPY (SELECT * FROM alltypes.things WHERE id >= 910000 ORDER BY id) TO STDOUT (FORMAT csv)",
    "COPY (SELECT * FROM alltypes.things WHERE id >= 910000 ORDER BY id) TO STDOUT (FORMAT binary)",
    "COPY (SELECT * FROM alltypes.things WHERE id >= 910000 ORDER BY id) TO STDOUT (FORMAT csv, HEADER, DELIMITER ';', QUOTE '''', NULL 'nil')",
    "COPY (SELECT * FROM alltypes.things WHERE id >= 910000 ORDER BY id) TO STDOUT (FORMAT csv, FORCE_QUOTE *)",
    "COPY (SELECT v_text, id, secret FROM alltypes.things WHERE id >= 910000 ORDER BY id) TO STDOUT (FORMAT csv, ESCAPE '\\', FORCE_QUOTE (secret))",
    "COPY (SELECT id AS \"a,b\", v_text FROM alltypes.things WHERE id >= 910000 ORDER BY id) TO STDOUT (FORMAT csv, HEADER)",
    "COPY (SELECT v_text FROM alltypes.things WHERE id >= 910000 ORDER BY id) TO STDOUT CSV",
    "COPY (SELECT v_text, v_varchar FROM alltypes.things WHERE id >= 910000 ORDER BY id) TO STDOUT (DELIMITER '|', NULL 'none', HEADER)",
    "COPY (SELECT id FROM alltypes.things WHERE v_int4 = 7 AND id >= 910000) TO STDOUT",
    "COPY (SELECT count(*) FROM alltypes.things WHERE v_varchar = 'short' AND id >= 910000) TO STDOUT",
    "COPY (SELECT v_text, v_int8 FROM alltypes.things WHERE id < 0) TO STDOUT (FORMAT binary)",
];

/// What the answer to a COPY was made of: CopyOutResponse, the data as one piece, the tag.
#[derive(Debug, PartialEq, Eq)]
struct Copied {
    response: Vec<u8>,
    data: Vec<u8>,
    tag: Option<String>,
}

fn copied(connection: &mut Connection, sql: &str, extended: bool) -> Copied {
    connection.forget_seen();
    let reply = match extended {
        false => connection.run(sql),
        true => connection.extended(sql, &[], 0).unwrap_or_else(|e| panic!("{sql}: {e}")),
    };
    let tag = reply.good(sql).tag;
    let mut copied = Copied {
        response: Vec::new(),
        data: Vec::new(),
        tag,
    };
    let (mut rest, mut kinds) = (&connection.seen[..], Vec::new());
    while let [kind, a, b, c, d, tail @ ..] = rest {
        let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d]) - 4).expect("a length");
        let (body, behind) = tail.split_at(length);
        match kind {
            b'H' => copied.response.extend_from_slice(body),
            b'd' => copied.data.extend_from_slice(body),
            _ => {}
        }
        if kinds.last() != Some(kind) {
            kinds.push(*kind);
        }
        rest = behind;
    }
    let order: Vec<u8> = kinds.into_iter().filter(|k| b"HdcCTZ".contains(k)).collect();
    assert!(
        order == *b"HdcCZ" || order == *b"HcCZ",
        "{sql}: {:?}",
        String::from_utf8_lossy(&order)
    );
    copied
}

#[test]
fn protected_columns_are_copied_as_postgresql_copies_plain_ones() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let plain = plain_database(stand);
    let config = postern_config::load(&stand.gate().config).unwrap_or_else(|e| panic!("the configuration: {e:?}"));
    let module = config.modules.iter().find(|m| m.module.as_str() == "alltypes");
    for sql in plain::schema_sql(module.expect("the tests' own module")) {
        runs(&plain, &[&sql]);
    }
    runs(&plain, &[ROWS]);
    let pooled = Proxy::start(stand, "copy-out", "[pool]\npool_mode = 'transaction'\nsize = 2\n");
    let ways: [(&str, Target); 2] = [
        ("session", stand.through_gate("alltypes.service", None)),
        ("transaction", pooled.login(stand, "alltypes.service", None)),
    ];
    runs(&ways[0].1, &[GONE, ROWS]);
    let mut there = open(&plain);
    there.run("SET TimeZone = 'UTC'").good("SET");
    for (mode, target) in &ways {
        let mut here = open(target);
        here.run("SET TimeZone = 'UTC'").good("SET");
        for sql in STATEMENTS {
            let expected = copied(&mut there, sql, false);
            for extended in [false, true] {
                assert_eq!(
                    copied(&mut here, sql, extended),
                    expected,
                    "{mode}, extended {extended}: {sql}"
                );
            }
        }
        // In a transaction, and what follows is in step.
        here.run("BEGIN").good("BEGIN");
        let first = copied(&mut here, STATEMENTS[0], false);
        assert_eq!(copied(&mut here, STATEMENTS[0], true), first);
        here.run("COMMIT").good("COMMIT");
        // In one query with others.
        let both = here
            .simple(&format!("SELECT 1; {}; SELECT 2", STATEMENTS[0]))
            .expect("an answer");
        assert_eq!(both.len(), 3);
        assert!(both.iter().all(|r| r.error.is_none()), "{both:?}");
    }
    // Options that could not be read back, and what is no column.
    let mut here = open(&ways[0].1);
    for (options, state) in [
        ("(DELIMITER 'ab')", "22023"),
        ("(FORMAT csv, QUOTE ',')", "22023"),
        ("(FORMAT binary, HEADER)", "22023"),
        ("(FORMAT csv, FORCE_QUOTE (nothing))", "42P10"),
        ("(FREEZE)", "0A000"),
    ] {
        let refused = here
            .run(&format!("COPY alltypes.things TO STDOUT {options}"))
            .error
            .expect(options);
        assert_eq!(refused.sqlstate(), state, "{options}");
    }
    runs(&ways[0].1, &[GONE]);
    forget_plain_database(stand);
}

/// Another module's users and a module's roles see nothing of each other in rights.
#[test]
fn rights_name_the_modules_own_roles_alone() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let mut dba = stand.dba_connection();
    for sql in [
        "GRANT SELECT ON disco.survey_projects TO evilmod",
        "GRANT SELECT (goal) ON disco.projects TO evilmod",
        "GRANT USAGE ON SCHEMA disco TO evilmod",
    ] {
        dba.run(sql).good(sql);
    }
    let mut service = open(&stand.login("disco.service"));
    let queries = [
        "SELECT relacl::text FROM pg_class WHERE relname = 'survey_projects'",
        "SELECT attacl::text FROM pg_attribute WHERE attrelid = 'projects'::regclass AND attname = 'goal'",
        "SELECT nspacl::text FROM pg_namespace WHERE nspname = 'disco'",
    ];
    let shown: Vec<String> = queries
        .iter()
        .map(|sql| service.run(sql).good(sql).scalar().unwrap_or_default())
        .collect();
    for sql in [
        "REVOKE SELECT ON disco.survey_projects FROM evilmod",
        "REVOKE SELECT (goal) ON disco.projects FROM evilmod",
        "REVOKE USAGE ON SCHEMA disco FROM evilmod",
    ] {
        dba.run(sql).good(sql);
    }
    assert!(
        shown.iter().all(|acl| !acl.contains("evilmod") && !acl.contains("postern")),
        "{shown:?}"
    );
    assert!(
        shown[0].contains("disco_service=") && shown[2].contains("disco="),
        "{shown:?}"
    );
}
