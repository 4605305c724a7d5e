//! psql's backslash commands before the proxy: they work, show a module itself in the types that it declared, and nobody else.

use std::process::Command;

use postern_tests::connection::Connection;
use postern_tests::stand::Stand;

/// Every one that takes no name, and a few with a pattern.
const COMMANDS: &str = r"\d \d+ \dt \dt+ \dn \dn+ \di \di+ \dv \dv+ \dm \dm+ \ds \ds+ \dE \dE+ \df \df+ \da \dA \dA+ \dAc \dAf \dAo \dAp
\db \db+ \dc \dc+ \dC \dC+ \dconfig \dconfig+ \dd \dD \dD+ \ddp \det \det+ \des \des+ \deu \deu+ \dew \dew+ \dF \dF+ \dFd \dFd+ \dFp \dFp+
\dFt \dFt+ \dg \dg+ \dl \dL \dL+ \do \dO \dO+ \dp \z \dP \dP+ \dPi \dPt \drds \dRp \dRp+ \dRs \dRs+ \dT \dT+ \du \du+ \dx \dx+ \dX \dy \dy+
\l \l+";

/// Runs commands in psql as a login; what it printed, and what it complained of.
fn psql(stand: &Stand, login: &str, commands: impl IntoIterator<Item = String>) -> (String, String) {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--no-align"]);
    for c in commands {
        command.args(["--command", &c]);
    }
    for (name, value) in stand.login(login).environment() {
        command.env(name, value);
    }
    let output = command.output().expect("psql can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Names of tables, of their keys and of logins of every module but one, straight from the database.
fn foreign_names(stand: &Stand, module: &str) -> Vec<String> {
    let sql = format!(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN postern.login_schema l ON l.schema = n.nspname \
         WHERE n.nspname <> '{module}' AND c.relname NOT IN (SELECT o.relname FROM pg_class o WHERE o.relnamespace = '{module}'::regnamespace) \
         AND c.relname LIKE '%\\_%' UNION SELECT login FROM postern.login_schema WHERE schema <> '{module}' AND login LIKE '%\\_service'"
    );
    let reply = stand.dba_connection().run(&sql).good(&sql).texts();
    let names: Vec<String> = reply.into_iter().filter_map(|mut row| row.remove(0)).collect();
    assert!(names.len() > 5, "{names:?}");
    names
}

#[track_caller]
fn shows_no_secret(stand: &Stand, module: &str, shown: &str) {
    for name in foreign_names(stand, module).iter().map(String::as_str).chain(["postern$"]) {
        let line = shown.lines().find(|line| line.contains(name));
        assert!(line.is_none(), "{module} is shown `{name}`: {line:?}");
    }
}

#[test]
fn every_backslash_command_works_and_shows_the_module_only() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    for (login, module) in [
        ("lab", "lab"),
        ("disco", "disco"),
        ("disco.migrator", "disco"),
        ("sys_account", "sys_account"),
    ] {
        // Each is announced on both outputs.
        let announced = |c: &str| {
            let name = c.trim_start_matches('\\');
            [format!(r"\echo == {name}"), format!(r"\warn == {name}"), c.to_owned()]
        };
        let (out, err) = psql(stand, login, COMMANDS.split_whitespace().flat_map(announced));
        // So psql says that there is nothing to list.
        let complaint = err
            .lines()
            .position(|line| !line.starts_with("== ") && !line.contains("Did not find any"));
        assert!(complaint.is_none(), "{login}: line {complaint:?} of {err}");
        assert_eq!(out.matches("== ").count(), COMMANDS.split_whitespace().count(), "{login}");
        shows_no_secret(stand, module, &(out + &err));
    }
}

#[test]
fn tables_are_described_as_declared() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    for login in ["disco", "disco.migrator"] {
        let (out, err) = psql(
            stand,
            login,
            [
                r"\d+ survey_users",
                r"\d survey_users_survey_user_name_key",
                r"\d support_role_values",
            ]
            .map(str::to_owned),
        );
        assert_eq!(err, "", "{login}");
        for line in [
            "survey_user_name|text||not null|",
            "birth_date|date||",
            "\"survey_users_survey_user_name_key\" UNIQUE CONSTRAINT, btree (survey_user_name)",
            "FOREIGN KEY (survey_project_ref_id) REFERENCES survey_projects(survey_project_id)",
            "survey_user_name|text|yes|survey_user_name",
        ] {
            assert!(out.contains(line), "{login}: `{line}` is not in\n{out}");
        }
        assert!(!out.contains("bytea"), "{login}: {out}");
        shows_no_secret(stand, "disco", &out);
        // Another module's table is not there, as one that is nowhere.
        let (_, foreign) = psql(stand, login, [r"\d sys_account.accounts".to_owned()]);
        let (_, nowhere) = psql(stand, login, [r"\d sys_account.zccounts".to_owned()]);
        assert_eq!(foreign.replace("accounts", "zccounts"), nowhere);
    }
}

#[test]
fn definitions_are_told_but_not_how_they_are_filtered() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let made = [
        "CREATE TABLE catalogue_t (id serial PRIMARY KEY, name text UNIQUE, \"order\" int CHECK (\"order\" > 0))",
        "CREATE INDEX catalogue_i ON catalogue_t (lower(name))",
        "CREATE VIEW catalogue_v AS SELECT id, name FROM catalogue_t",
        r"\d catalogue_t",
        r"\d+ catalogue_v",
        r"\sv catalogue_v",
        r"\d catalogue_i",
        r"\sf pg_catalog.length(text)",
        "SELECT pg_get_serial_sequence('catalogue_t', 'id') AS s, 'catalogue_t'::regclass::oid::regclass AS r",
        "DROP VIEW catalogue_v",
        "DROP TABLE catalogue_t",
    ];
    let (out, err) = psql(stand, "lab", made.map(str::to_owned));
    assert_eq!(err, "");
    for line in [
        "id|integer||not null|nextval('catalogue_t_id_seq'::regclass)",
        "\"catalogue_t_order_check\" CHECK (\"order\" > 0)",
        "\"catalogue_i\" btree (lower(name))",
        "   FROM catalogue_t",
        "lower|text|yes|lower(name)",
        "RETURNS integer",
        "lab.catalogue_t_id_seq|catalogue_t",
    ] {
        assert!(out.contains(line), "`{line}` is not in\n{out}");
    }
    // A view over a declared table holds its filter.
    let made = [
        "CREATE VIEW catalogue_w AS SELECT support_role_type_ref_id FROM support_role_values",
        r"\d+ catalogue_w",
        "SELECT pg_get_viewdef('catalogue_w'::regclass) LIKE '%FROM support_role_values support_role_values;' AS as_it_was_made",
        "SELECT definition FROM pg_views WHERE viewname = 'catalogue_w'",
        "DROP VIEW catalogue_w",
    ];
    let (out, err) = psql(stand, "disco.migrator", made.map(str::to_owned));
    assert_eq!(err, "");
    assert!(out.contains("support_role_type_ref_id|text"), "{out}");
    assert!(out.contains("as_it_was_made\nt\n"), "{out}");
    assert!(!out.contains("postern"), "{out}");
}

/// One row of one column.
fn scalar(connection: &mut Connection, sql: &str) -> Option<String> {
    connection.run(sql).good(sql).scalar()
}

#[test]
fn a_foreign_object_id_has_no_name_in_any_type() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let oid = scalar(&mut stand.dba_connection(), "SELECT 'sys_account.accounts'::regclass::oid").expect("the table is there");
    let mut lab = stand.connect("lab", None);
    // What the type of a neighbour would have PostgreSQL print.
    for (sql, expected) in [
        (
            format!("SELECT CASE WHEN false THEN 'pg_class'::regclass ELSE {oid} END"),
            Some(&*oid),
        ),
        (format!("SELECT coalesce(NULL::regclass, {oid})"), Some(&*oid)),
        (
            format!("SELECT x FROM (VALUES (1259::regclass), ({oid})) v(x) OFFSET 1"),
            Some(&*oid),
        ),
        (format!("SELECT {oid}::regclass"), None),
        (format!("SELECT to_regclass('{oid}')"), None),
        ("SELECT 1259::regclass".to_owned(), Some("pg_class")),
    ] {
        assert_eq!(scalar(&mut lab, &sql).as_deref(), expected, "{sql}");
    }
    // A parameter that is declared to be a regclass (2205) is an oid.
    let mut parse = b"\0SELECT $1\0".to_vec();
    parse.extend_from_slice(&1_i16.to_be_bytes());
    parse.extend_from_slice(&2205_i32.to_be_bytes());
    let mut bind = b"\0\0\0\0\0\x01".to_vec();
    bind.extend_from_slice(&i32::try_from(oid.len()).expect("digits").to_be_bytes());
    bind.extend_from_slice(oid.as_bytes());
    bind.extend_from_slice(&[0, 0]);
    for (kind, body) in [
        (b'P', parse),
        (b'B', bind),
        (b'E', b"\0\0\0\0\0".to_vec()),
        (b'S', Vec::new()),
    ] {
        lab.send(kind, &body).expect("the proxy reads");
    }
    let replies = lab.replies().expect("the proxy answers");
    let rows: Vec<_> = replies.iter().flat_map(|r| r.texts()).collect();
    assert_eq!(rows, [[Some(oid)]]);
}

#[test]
fn what_an_orm_asks_of_information_schema() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut disco = stand.connect("disco", None);
    let texts = |connection: &mut Connection, sql: &str| -> Vec<String> {
        let rows = connection.run(sql).good(sql).texts();
        rows.into_iter()
            .map(|row| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|"))
            .collect()
    };
    let columns = "SELECT column_name, data_type, udt_name, is_nullable FROM information_schema.columns \
                   WHERE table_schema = 'disco' AND table_name = 'survey_users' ORDER BY ordinal_position LIMIT 2";
    let keys = "SELECT tc.constraint_type, kcu.column_name FROM information_schema.table_constraints tc \
                JOIN information_schema.key_column_usage kcu ON kcu.constraint_name = tc.constraint_name AND kcu.table_name = tc.table_name \
                WHERE tc.table_name = 'survey_users' ORDER BY 1, 2";
    // As the owner sees them: information_schema tells constraints to whoever may do more than read.
    let mut migrator = stand.connect("disco.migrator", None);
    for connection in [&mut disco, &mut migrator] {
        assert_eq!(
            texts(connection, columns),
            ["survey_user_id|text|text|NO", "survey_user_name|text|text|NO"]
        );
    }
    assert_eq!(
        texts(&mut migrator, keys),
        [
            "FOREIGN KEY|survey_project_ref_id",
            "PRIMARY KEY|survey_user_id",
            "UNIQUE|survey_user_name"
        ]
    );
    let schemas = "SELECT DISTINCT table_schema FROM information_schema.tables ORDER BY 1";
    assert_eq!(texts(&mut disco, schemas), ["disco", "information_schema", "pg_catalog"]);
    // As SQLAlchemy asks: types by format_type, defaults by pg_get_expr, comments, keys.
    let described = "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod) AS ty, \
                     (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid \
                     AND d.adnum = a.attnum AND a.atthasdef) AS def, pg_catalog.col_description(a.attrelid, a.attnum) AS comment \
                     FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
                     WHERE c.relname = 'survey_users' AND pg_catalog.pg_table_is_visible(c.oid) AND a.attnum > 0 AND NOT a.attisdropped \
                     AND a.attname IN ('birth_date', 'created_at') ORDER BY a.attnum";
    assert_eq!(
        texts(&mut disco, described),
        ["birth_date|date||", "created_at|timestamp with time zone|now()|"]
    );
    // pg_dump's first words: definitions are told with every name's schema, as they are to be loaded anywhere.
    let key = "SELECT pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint WHERE conname = 'survey_users_survey_project_ref_id_fkey'";
    let told =
        |schema: &str| format!("FOREIGN KEY (survey_project_ref_id) REFERENCES {schema}survey_projects(survey_project_id)");
    assert_eq!(texts(&mut disco, key), [told("")]);
    assert_eq!(
        texts(&mut disco, "SELECT pg_catalog.set_config('search_path', '', false)"),
        [""]
    );
    assert_eq!(texts(&mut disco, "SHOW search_path"), [""]);
    assert_eq!(texts(&mut disco, key), [told("disco.")]);
}
