//! `pg_dump`, `pg_restore` and psql before the proxy: what is dumped is the module as plain PostgreSQL would hold it, and comes back.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use postern_tests::connection::Connection;
use postern_tests::plain;
use postern_tests::product::fresh_directory;
use postern_tests::stand::Stand;
use postern_tests::target::Target;

const COPY: &str = "restored_dump";

/// Runs one of PostgreSQL's programs; its standard output and standard error.
#[track_caller]
fn program(name: &str, target: &Target, arguments: &[&str]) -> (String, String) {
    let output = Command::new(name)
        .args(arguments)
        .envs(target.environment())
        .output()
        .unwrap_or_else(|e| panic!("{name} cannot be started: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{name} {arguments:?}: {}\n{err}", output.status);
    (out, err)
}

pub(super) fn open(target: &Target) -> Connection {
    Connection::open(target).unwrap_or_else(|e| panic!("{}: {e}", target.user))
}

/// A database beside the stand's, without anything of Postern.
pub(super) fn plain_database(stand: &Stand) -> Target {
    let mut dba = stand.dba_connection();
    for sql in [
        format!("DROP DATABASE IF EXISTS {COPY} WITH (FORCE)"),
        format!("CREATE DATABASE {COPY} TEMPLATE template0"),
    ] {
        dba.run(&sql).good(&sql);
    }
    stand.dba().in_database(COPY)
}

pub(super) fn forget_plain_database(stand: &Stand) {
    let sql = format!("DROP DATABASE IF EXISTS {COPY} WITH (FORCE)");
    stand.dba_connection().run(&sql).good(&sql);
}

/// The answers to these queries, as text.
fn contents<S: AsRef<str>>(target: &Target, queries: &[S]) -> Vec<Vec<Vec<Option<String>>>> {
    let mut connection = open(target);
    let rows = |sql: &S| connection.run(sql.as_ref()).good(sql.as_ref()).texts();
    queries.iter().map(rows).collect()
}

/// Names of other modules, and of what Postern makes.
fn foreign_names(stand: &Stand, module: &str) -> Vec<String> {
    let sql = format!(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN postern.login_schema l ON l.schema = n.nspname \
         WHERE n.nspname <> '{module}' AND c.relname NOT IN (SELECT o.relname FROM pg_class o WHERE o.relnamespace = '{module}'::regnamespace) \
         AND c.relname LIKE '%\\_%' UNION SELECT owner FROM postern.login_schema WHERE schema <> '{module}' \
         UNION SELECT login FROM postern.login_schema WHERE login LIKE '%\\_%'"
    );
    let rows = stand.dba_connection().run(&sql).good(&sql).texts();
    let names: Vec<String> = rows.into_iter().filter_map(|mut row| row.remove(0)).collect();
    assert!(names.len() > 10, "{names:?}");
    names
}

/// A dump holds nothing but the module.
#[track_caller]
fn holds_the_module_alone(stand: &Stand, module: &str, dump: &str) {
    let ours = [
        "postern",
        "GRANT",
        "REVOKE",
        "ROW LEVEL SECURITY",
        "POLICY",
        "TRIGGER",
        "OWNER TO",
        "pg.dropped",
    ];
    for part in ours {
        let line = dump.lines().find(|line| line.contains(part));
        assert!(line.is_none(), "the dump of {module} holds `{part}`: {line:?}");
    }
    let foreign: HashSet<String> = foreign_names(stand, module).into_iter().collect();
    for line in dump.lines() {
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let word = words.find(|word| foreign.contains(*word));
        assert!(word.is_none(), "the dump of {module} holds {word:?}: {line}");
    }
}

const LAB_OBJECTS: &[&str] = &[
    "CREATE TABLE dump_people (id bigserial PRIMARY KEY, name text NOT NULL, \"order\" int DEFAULT 7 CHECK (\"order\" > 0), \
     born date, money numeric(12,2), doc jsonb, tags text[], blob bytea, at timestamptz, note varchar(40) UNIQUE)",
    "CREATE TABLE dump_notes (id int PRIMARY KEY, person bigint REFERENCES dump_people (id), body text, \
     UNIQUE (person, body))",
    "CREATE INDEX dump_lower ON dump_people (lower(name)) WHERE born IS NOT NULL",
    "CREATE SEQUENCE dump_numbers INCREMENT 5 START 15",
    "CREATE VIEW dump_named AS SELECT p.id, p.name, n.body FROM dump_people p JOIN dump_notes n ON n.person = p.id",
    "CREATE VIEW dump_upper AS SELECT upper(name) AS name FROM dump_named",
    "COMMENT ON TABLE dump_people IS 'people; it''s a \"test\"'",
    "COMMENT ON COLUMN dump_people.name IS 'what they are called'",
    "INSERT INTO dump_people (name, \"order\", born, money, doc, tags, blob, at, note) VALUES \
     ('Zoë', 1, '2000-02-29', 1.50, '{\"a\": [1, null]}', '{x,\"y,z\",NULL}', '\\x00ff0a5c', '2026-01-02 03:04:05.678+01', ''), \
     (E'tab\\there\\nline\\\\N', NULL, NULL, NULL, NULL, '{}', '', NULL, NULL), ('', 3, 'infinity', -0.01, '[]', NULL, NULL, 'epoch', '\\N')",
    "INSERT INTO dump_notes SELECT n, 1 + n % 3, 'note ' || n FROM generate_series(1, 500) AS g(n)",
    "SELECT nextval('dump_numbers')",
];

const LAB_GONE: &[&str] = &[
    "DROP VIEW IF EXISTS dump_upper",
    "DROP VIEW IF EXISTS dump_named",
    "DROP TABLE IF EXISTS dump_notes",
    "DROP TABLE IF EXISTS dump_people",
    "DROP SEQUENCE IF EXISTS dump_numbers",
];

const LAB_CONTENTS: &[&str] = &[
    "SELECT * FROM lab.dump_people ORDER BY id",
    "SELECT * FROM lab.dump_notes ORDER BY id",
    "SELECT * FROM lab.dump_named ORDER BY id, body",
    "SELECT * FROM lab.dump_upper ORDER BY name",
    "SELECT last_value, is_called FROM lab.dump_numbers",
    "SELECT last_value, is_called FROM lab.dump_people_id_seq",
    "SELECT column_name, data_type, column_default, is_nullable, character_maximum_length, numeric_precision FROM information_schema.columns \
     WHERE table_schema = 'lab' AND table_name LIKE 'dump%' ORDER BY table_name, ordinal_position",
    "SELECT c.conname, pg_catalog.pg_get_constraintdef(c.oid) FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_class t ON t.oid = c.conrelid \
     WHERE t.relname LIKE 'dump%' ORDER BY 1",
    "SELECT indexdef FROM pg_catalog.pg_indexes WHERE schemaname = 'lab' AND tablename LIKE 'dump%' ORDER BY 1",
    "SELECT d.objsubid, d.description FROM pg_catalog.pg_description d JOIN pg_catalog.pg_class c ON c.oid = d.objoid \
     WHERE c.relname = 'dump_people' ORDER BY 1",
];

#[track_caller]
pub(super) fn runs(target: &Target, all: &[&str]) {
    let mut connection = open(target);
    for sql in all {
        connection.run(sql).good(sql);
    }
}

/// With a search path of nothing, so that definitions are printed alike everywhere.
fn everywhere(target: &Target) -> Target {
    target.clone().with("options", "-c search_path=")
}

fn path(file: &Path) -> &str {
    file.to_str().expect("the temporary directory's name is UTF-8")
}

#[test]
fn a_module_is_dumped_and_restored_through_the_proxy() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let lab = stand.login("lab");
    runs(&lab, LAB_GONE);
    runs(&lab, LAB_OBJECTS);
    let before = contents(&lab, LAB_CONTENTS);
    assert!(before.iter().all(|rows| !rows.is_empty()), "{before:?}");

    let dir = fresh_directory("dump");
    let (custom, script) = (dir.join("lab.dump"), dir.join("lab.sql"));
    let only_ours: [&str; 4] = ["--no-owner", "--no-acl", "--schema", "lab"];
    let dump = |more: &[&str]| program("pg_dump", &lab, &[&only_ours[..], more].concat());
    dump(&["--format", "custom", "--file", path(&custom)]);
    dump(&["--file", path(&script)]);
    let text = fs::read_to_string(&script).unwrap_or_else(|e| panic!("{}: {e}", script.display()));
    holds_the_module_alone(stand, "lab", &text);
    assert!(text.contains("CREATE TABLE lab.dump_people"), "{text}");
    assert!(text.contains("COPY lab.dump_people"), "{text}");

    // The archive, object by object.
    runs(&lab, LAB_GONE);
    program(
        "pg_restore",
        &lab,
        &[
            "--exit-on-error",
            "--no-owner",
            "--no-acl",
            "--schema",
            "lab",
            "--dbname",
            &lab.database,
            path(&custom),
        ],
    );
    assert_eq!(contents(&lab, LAB_CONTENTS), before, "pg_restore");

    // The script. The schema is there already, which is all that it trips over.
    runs(&lab, LAB_GONE);
    let (_, err) = program("psql", &lab, &["--no-psqlrc", "--quiet", "--file", path(&script)]);
    let complaints: Vec<&str> = err.lines().filter(|l| l.contains("ERROR")).collect();
    assert!(
        matches!(complaints.as_slice(), [one] if one.contains("schema \"lab\" already exists")),
        "{err}"
    );
    assert_eq!(contents(&lab, LAB_CONTENTS), before, "psql");

    // INSERTs in place of COPY.
    let inserts = dir.join("inserts.sql");
    dump(&["--inserts", "--file", path(&inserts)]);
    runs(&lab, LAB_GONE);
    program("psql", &lab, &["--no-psqlrc", "--quiet", "--file", path(&inserts)]);
    assert_eq!(contents(&lab, LAB_CONTENTS), before, "INSERTs");
    runs(&lab, LAB_GONE);

    // Nothing in it needs Postern: a plain PostgreSQL takes it.
    let copy = plain_database(stand);
    program(
        "psql",
        &copy,
        &["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", path(&script)],
    );
    let (here, there) = (contents(&everywhere(&copy), LAB_CONTENTS), contents_through(&lab, &custom));
    assert_eq!(here, there, "plain PostgreSQL");
    forget_plain_database(stand);
}

/// Restores once more through the proxy and looks with an empty search path.
fn contents_through(lab: &Target, archive: &Path) -> Vec<Vec<Vec<Option<String>>>> {
    program(
        "pg_restore",
        lab,
        &[
            "--exit-on-error",
            "--no-owner",
            "--no-acl",
            "--schema",
            "lab",
            "--dbname",
            &lab.database,
            path(archive),
        ],
    );
    let mut connection = open(lab);
    connection.run("SET search_path = ''").good("SET");
    let all = LAB_CONTENTS.iter().map(|sql| connection.run(sql).good(sql).texts()).collect();
    runs(lab, LAB_GONE);
    all
}

/// Every row of a module's declared tables, by the columns that may be read.
fn queries(module: &postern_config::Manifest) -> Vec<String> {
    let query = |table: &postern_config::Table| {
        let columns: Vec<String> = table.columns.iter().filter(|c| !c.never).map(|c| c.name.quoted()).collect();
        let keys: Vec<String> = table.primary_key.iter().map(|k| k.quoted()).collect();
        // A protected key cannot be sorted by.
        let sorts = table
            .primary_key
            .iter()
            .all(|k| table.column(k.as_str()).is_some_and(|c| c.protection.is_none()));
        let order = if sorts {
            format!(" ORDER BY {}", keys.join(", "))
        } else {
            String::new()
        };
        format!("SELECT {} FROM {}{order}", columns.join(", "), table.name.quoted())
    };
    module.tables.iter().map(query).collect()
}

fn sorted(mut all: Vec<Vec<Vec<Option<String>>>>) -> Vec<Vec<Vec<Option<String>>>> {
    all.iter_mut().for_each(|rows| rows.sort());
    all
}

#[test]
fn declared_tables_are_dumped_in_their_declared_types_and_in_the_clear() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let service = stand.through_gate("alltypes.service", None);
    let config = postern_config::load(&stand.gate().config).unwrap_or_else(|e| panic!("the configuration: {e:?}"));
    let module = config
        .modules
        .iter()
        .find(|m| m.module.as_str() == "alltypes")
        .expect("the tests' own module");
    let rows = [
        "DELETE FROM things WHERE id >= 900000",
        "INSERT INTO things (id, v_text, v_int4, v_int8, v_float8, v_bool, v_date, v_timestamptz, v_numeric, v_uuid, v_bytea, v_jsonb, v_varchar, \
         secret, note) VALUES (900000, E'tab\\there, \"quoted\"\\nline\\\\N', -1, 9223372036854775807, 0.1, true, '2000-02-29', \
         '2026-01-02 03:04:05.678+00', 12.3400, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\\x00ff0a5c', '{\"a\": [1, null]}', 'short', '', NULL), \
         (900001, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'all NULL'), \
         (900002, '', 0, 0, 'NaN', false, 'infinity', '-infinity', 'NaN', '00000000-0000-0000-0000-000000000000', '', 'null', '', 'Zoë', '')",
        "DELETE FROM pairs WHERE id >= 900000",
        "INSERT INTO pairs (id, owner, a, b) VALUES (900000, 'bob', 'one', 'two'), (900001, 'dora', NULL, 'one')",
        "DELETE FROM keyed WHERE code IN ('dump 1', 'dump 2')",
        "INSERT INTO keyed (code, amount, note) VALUES ('dump 1', 1, 'x'), ('dump 2', NULL, NULL)",
    ];
    runs(&service, &rows);
    let queries = queries(module);
    let before = sorted(contents(&service, &queries));

    let dir = fresh_directory("dump-declared");
    let script = dir.join("alltypes.sql");
    let arguments = ["--no-owner", "--no-acl", "--schema", "alltypes", "--file", path(&script)];
    program("pg_dump", &service, &arguments);
    let text = fs::read_to_string(&script).unwrap_or_else(|e| panic!("{}: {e}", script.display()));
    holds_the_module_alone(stand, "alltypes", &text);
    for line in [
        "    v_text text,",
        "    v_numeric numeric(14,4),",
        "    v_varchar character varying(20),",
        "    ADD CONSTRAINT pairs_a_key UNIQUE (a);",
        "    ADD CONSTRAINT keyed_pkey PRIMARY KEY (code);",
    ] {
        assert!(text.lines().any(|l| l == line), "`{line}` is not in\n{text}");
    }

    // A plain PostgreSQL takes it, and holds what the proxy shows.
    let copy = plain_database(stand);
    program(
        "psql",
        &copy,
        &["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", path(&script)],
    );
    assert_eq!(sorted(contents(&copy, &queries)), before, "plain PostgreSQL");
    forget_plain_database(stand);

    // And so does the emptied module, its rows as INSERTs.
    let archive = dir.join("alltypes.dump");
    program(
        "pg_dump",
        &service,
        &[
            "--data-only",
            "--column-inserts",
            "--schema",
            "alltypes",
            "--format",
            "custom",
            "--file",
            path(&archive),
        ],
    );
    runs(&service, &["DELETE FROM things", "DELETE FROM pairs", "DELETE FROM keyed"]);
    assert!(contents(&service, &queries).iter().all(Vec::is_empty));
    program(
        "pg_restore",
        &service,
        &[
            "--exit-on-error",
            "--data-only",
            "--dbname",
            &service.database,
            path(&archive),
        ],
    );
    assert_eq!(sorted(contents(&service, &queries)), before, "restored through the proxy");
    runs(
        &service,
        &rows.map(|sql| if sql.starts_with("DELETE") { sql } else { "SELECT 1" }),
    );
}

/// A user's dump holds the rows that the user may read, and no more.
#[test]
fn a_dump_is_filtered_like_any_other_reading() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let (bob, root) = (stand.login_as("disco", Some("bob")), stand.login_as("disco", Some("root")));
    let arguments = ["--data-only", "--no-owner", "--no-acl", "--table", "disco.survey_users"];
    let (seen, _) = program("pg_dump", &bob, &arguments);
    assert!(seen.contains("su-bob") && !seen.contains("su-dora"), "{seen}");
    let (seen, _) = program("pg_dump", &root, &arguments);
    assert!(seen.contains("su-bob") && seen.contains("su-dora"));
    // The whole of it, as somebody may who reads everything.
    let (whole, _) = program("pg_dump", &root, &["--no-owner", "--no-acl", "--schema", "disco"]);
    holds_the_module_alone(stand, "disco", &whole);
    assert!(whole.contains("survey_user_name text NOT NULL"), "{whole}");
    let file = fresh_directory("dump-plain").join("disco.sql");
    fs::write(&file, whole).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    // Loaded into a plain PostgreSQL it makes what the manifest's plain schema makes.
    let described = "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns \
                     WHERE table_schema = 'disco' ORDER BY 1, ordinal_position";
    let keys = "SELECT c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace \
                WHERE n.nspname = 'disco' ORDER BY 1";
    let target = plain_database(stand);
    program(
        "psql",
        &target,
        &["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", path(&file)],
    );
    let dumped = contents(&target, &[described, keys]);
    let target = plain_database(stand);
    let config = postern_config::load(&stand.config_file()).unwrap_or_else(|e| panic!("the configuration: {e:?}"));
    let manifest = config.modules.iter().find(|m| m.module.as_str() == "disco");
    let manifest = manifest.expect("a module of the demo");
    let statements = plain::schema_sql(manifest);
    runs(&target, &statements.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(dumped, contents(&target, &[described, keys]));
    forget_plain_database(stand);
}

/// Views over declared tables come as they were made, without their filters; imports as queries of nothing. Neither stops a dump.
#[test]
fn views_over_declared_tables_and_imports_do_not_stop_a_dump() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let migrator = stand.through_gate("lender.migrator", None);
    let gone = ["DROP VIEW IF EXISTS dump_shelved", "DROP VIEW IF EXISTS dump_titles"];
    runs(&migrator, &gone);
    runs(
        &migrator,
        &[
            "CREATE VIEW dump_titles AS SELECT id, title FROM books WHERE pages > 5",
            "CREATE VIEW dump_shelved AS WITH w AS (SELECT id FROM shelves) SELECT b.id, s.id AS shelf, (SELECT count(*) FROM books) AS n FROM books b \
             LEFT JOIN (SELECT id FROM shelves WHERE org_id = 'A') s ON s.id = b.shelf_id WHERE b.title <> 'x''( SELECT' AND EXISTS \
             (SELECT 1 FROM w WHERE w.id = b.shelf_id) UNION ALL SELECT id, NULL, 1 FROM dump_titles",
        ],
    );
    let arguments = |module: &'static str| ["--no-owner", "--no-acl", "--schema", module];
    let (lender, _) = program("pg_dump", &stand.through_gate("lender.service", None), &arguments("lender"));
    let (borrower, _) = program(
        "pg_dump",
        &stand.through_gate("borrower.service", None),
        &arguments("borrower"),
    );
    runs(&migrator, &gone);
    holds_the_module_alone(stand, "lender", &lender);
    for line in [
        "   FROM lender.books",
        "  WHERE (books.pages > 5);",
        "           FROM lender.shelves shelves",
    ] {
        assert!(
            lender.lines().any(|l| l == line || l.starts_with(line)),
            "`{line}` is not in\n{lender}"
        );
    }
    assert!(!borrower.contains("postern") && !borrower.contains("lender"), "{borrower}");
    assert!(
        borrower.contains("CREATE VIEW borrower.lent WITH (security_barrier='true') AS\n SELECT NULL::text AS id"),
        "{borrower}"
    );

    // A plain PostgreSQL takes both, and a view means there what it says.
    let target = plain_database(stand);
    let dir = fresh_directory("dump-views");
    for (name, dump) in [("lender.sql", &lender), ("borrower.sql", &borrower)] {
        let file = dir.join(name);
        fs::write(&file, dump).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        program(
            "psql",
            &target,
            &["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", path(&file)],
        );
    }
    runs(
        &target,
        &[
            "INSERT INTO lender.books (id, owner, shelf_id, title, pages) VALUES ('plain', 'nobody', NULL, 'Any', 6), ('thin', 'nobody', NULL, 'No', 5)",
        ],
    );
    let queries = [
        "SELECT id, title FROM lender.dump_titles",
        "SELECT count(*) FROM borrower.lent",
    ];
    let text = |t: &str| Some(t.to_owned());
    assert_eq!(
        contents(&target, &queries),
        [vec![vec![text("plain"), text("Any")]], vec![vec![text("0")]]]
    );
    forget_plain_database(stand);
}
