//! `postern manifest draft`: what it writes for databases that are there loads, says what it left out, and gives nobody anything.

use std::fs;
use std::path::Path;

use postern_config::manifest::Operation;
use postern_config::{Config, Manifest};
use postern_tests::product::{fresh_directory, run_postern};
use postern_tests::stand::Stand;

struct Said {
    code: Option<i32>,
    out: String,
    text: String,
}

fn draft(stand: &Stand, arguments: &[&str]) -> Said {
    let dba = stand.dba();
    let url = format!(
        "postgresql://{}:{}@{}:{}/{}",
        dba.user, dba.password, dba.host, dba.port, dba.database
    );
    let output = run_postern(&[&["manifest", "draft", "--database", &url], arguments].concat());
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = format!("{out}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("panicked"), "{text}");
    assert!(!text.contains(&dba.password), "the password is told:\n{text}");
    Said {
        code: output.status.code(),
        out,
        text,
    }
}

fn loaded(directory: &Path) -> Config {
    let file = directory.join("postern.toml");
    let checked = run_postern(&["check", "--config", file.to_str().expect("UTF-8")]);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr)
    );
    assert!(checked.status.success(), "`postern check` refuses the draft: {said}");
    postern_config::load(&file).unwrap_or_else(|e| panic!("{e:?}"))
}

fn module<'c>(config: &'c Config, name: &str) -> &'c Manifest {
    let found = config.modules.iter().find(|m| m.module.as_str() == name);
    found.unwrap_or_else(|| {
        panic!(
            "no module {name}: {:?}",
            config.modules.iter().map(|m| m.module.to_string()).collect::<Vec<_>>()
        )
    })
}

/// Schemas that a DBA made, and no more once this is gone.
struct Made<'s>(&'s Stand, &'static [&'static str]);

impl<'s> Made<'s> {
    fn new(stand: &'s Stand, schemas: &'static [&'static str], sql: &str) -> Self {
        let made = Self(stand, schemas);
        stand.dba_connection().run(sql).good(sql);
        made
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        let mut dba = self.0.dba_connection();
        for schema in self.1 {
            dba.run(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE"));
        }
    }
}

/// The reference domain as an application would have made it, before there was a gate.
const PLAIN: &str = "
CREATE SCHEMA old_account; CREATE SCHEMA old_disco;
CREATE TABLE old_account.accounts (id text PRIMARY KEY, email text UNIQUE NOT NULL, password text, created_at timestamptz NOT NULL DEFAULT now(),
  disabled bool NOT NULL DEFAULT false, verification_token text);
CREATE TABLE old_disco.survey_projects (survey_project_id text PRIMARY KEY, survey_project_name text UNIQUE NOT NULL);
CREATE TABLE old_disco.survey_users (survey_user_id text PRIMARY KEY, survey_user_name text UNIQUE NOT NULL,
  survey_project_ref_id text NOT NULL REFERENCES old_disco.survey_projects ON DELETE CASCADE, account_ref text REFERENCES old_account.accounts, birth_date date);
CREATE TABLE old_disco.events (id bigserial PRIMARY KEY, kind varchar(20) NOT NULL DEFAULT 'new', amount numeric(12,2) DEFAULT -1, tags text[]);
ALTER TABLE old_disco.survey_users ENABLE ROW LEVEL SECURITY;
CREATE POLICY self ON old_disco.survey_users USING (account_ref = current_setting('app.user', true));
CREATE POLICY admin ON old_disco.survey_users FOR SELECT USING (survey_project_ref_id IN (SELECT p.survey_project_id FROM old_disco.survey_projects p
  WHERE p.survey_project_id = ANY (string_to_array(current_setting('app.admin_of', true), ','))));
CREATE POLICY dba ON old_disco.survey_users TO CURRENT_USER USING (true);
CREATE VIEW old_disco.names AS SELECT survey_user_name FROM old_disco.survey_users";

#[test]
fn a_plain_schema_becomes_modules_that_load() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _made = Made::new(stand, &["old_account", "old_disco"], PLAIN);
    let directory = fresh_directory("draft-plain");
    let to = directory.to_str().expect("UTF-8");
    let arguments = [
        "--out",
        to,
        "--schema",
        "old_account=account",
        "--schema",
        "old_disco",
        "--claim",
        "app.user=sub",
        "--claim",
        "app.admin_of=project_admin_of",
    ];
    let said = draft(stand, &arguments);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(
        said.out
            .contains("old_disco.toml: schema old_disco, 3 of 3 tables, 2 policies"),
        "{}",
        said.text
    );
    let config = loaded(&directory);
    let (account, disco) = (module(&config, "account"), module(&config, "old_disco"));
    assert_eq!(account.schema.as_str(), "old_account");
    let accounts = account.table("accounts").expect("it is there");
    assert!(accounts.policies.is_empty(), "nobody gets what no policy gave");
    assert!(
        accounts.columns.iter().all(|c| c.protection.is_none()),
        "nothing is protected silently"
    );
    assert_eq!(accounts.unique.len(), 1);
    let users = disco.table("survey_users").expect("it is there");
    assert_eq!(users.foreign_keys.len(), 1);
    let policies: Vec<&str> = users.policies.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(policies, ["admin", "self"]);
    assert_eq!(users.policies[1].operations.len(), 4);
    assert_eq!(users.policies[0].operations, [Operation::Select]);
    let serial = disco.table("events").and_then(|t| t.column("id")).map(|c| c.default.clone());
    assert_eq!(serial, Some(Some(postern_config::manifest::Default::Serial)));
    let manifest = fs::read_to_string(directory.join("modules/old_disco.toml")).expect("it was written");
    for words in [
        "of module account: that module would export",
        "birth_date may hold a date of birth; to protect it",
        "ON DELETE CASCADE",
        "The native policy dba is not taken over",
        "#   view names",
        "default = \"-1\"",
        "default = \"'new'\"",
    ] {
        assert!(manifest.contains(words), "no `{words}` in\n{manifest}");
    }
    let text = fs::read_to_string(directory.join("modules/account.toml")).expect("it was written");
    for words in [
        "email may hold an e-mail address",
        "password may hold a password",
        "verification_token may hold a token",
    ] {
        assert!(text.contains(words), "no `{words}` in\n{text}");
    }
    assert!(!text.contains("TODO"), "{text}");
    let said = draft(stand, &arguments);
    assert_eq!(said.code, Some(73), "a draft overwrites nothing: {}", said.text);
    assert_eq!(
        fs::read_to_string(directory.join("modules/account.toml")).expect("still there"),
        text
    );
    // The lint reads it as well, and `policy matrix` finds that nobody reads accounts.
    let file = directory.join("postern.toml");
    let matrix = run_postern(&[
        "policy",
        "matrix",
        "--config",
        file.to_str().expect("UTF-8"),
        "--module",
        "account",
    ]);
    let matrix = String::from_utf8_lossy(&matrix.stdout).into_owned();
    assert!(matrix.contains("none") && !matrix.contains("all"), "{matrix}");
    let _ = fs::remove_dir_all(directory);
}

const AWKWARD: &str = r##"
CREATE SCHEMA "Odd ""Schema"" – ünï"; CREATE SCHEMA "42";
CREATE TYPE "42".mood AS ENUM ('a', 'b'); CREATE DOMAIN "42".small AS int CHECK (VALUE < 10); CREATE TYPE "42".pair AS (a int, b text);
CREATE TABLE "Odd ""Schema"" – ünï"."Ta'ble
""with"" everything" ("a""b" int PRIMARY KEY, "select" text, "x'y\z" varchar, "new
line" text DEFAULT E'it''s\n', "[brackets]" int4range, "# hash" "42".mood, "email" "42".small, "gen" int GENERATED ALWAYS AS (1 + 1) STORED,
  "ident" bigint GENERATED BY DEFAULT AS IDENTITY, "arr" int[][], "ts" timestamptz(3), "iv" interval day to second, "b" bit varying(5), "c" "char", "n" name,
  "j" json, "money" money, "p" "42".pair, "oid" oid, "serial" serial, "neg" numeric DEFAULT -1.5, "now" timestamp DEFAULT CURRENT_TIMESTAMP, "f" float8 DEFAULT 'NaN',
  CHECK ("a""b" > 0), UNIQUE ("select", "x'y\z"), UNIQUE ("# hash"), EXCLUDE USING btree ("neg" WITH =));
CREATE UNIQUE INDEX ON "Odd ""Schema"" – ünï"."Ta'ble
""with"" everything" (lower("select")); CREATE UNIQUE INDEX ON "Odd ""Schema"" – ünï"."Ta'ble
""with"" everything" ("ident") INCLUDE ("select");
CREATE TABLE "42"."no columns" (); CREATE TABLE "42".only_mood (m "42".mood);
CREATE TABLE "42".a (id int PRIMARY KEY, b int); CREATE TABLE "42".b (id int PRIMARY KEY, a int REFERENCES "42".a, big bigint REFERENCES "42".a, up int REFERENCES "42".b);
ALTER TABLE "42".a ADD FOREIGN KEY (b) REFERENCES "42".b;
CREATE TABLE "42".parted (k int, v text) PARTITION BY RANGE (k); CREATE TABLE "42".parted_1 PARTITION OF "42".parted FOR VALUES FROM (0) TO (10);
CREATE TABLE "42".child () INHERITS ("42".a);
CREATE TABLE "42".policed (id int, owner text);
CREATE POLICY "a ""policy""
of lines" ON "42".policed USING (true); CREATE POLICY r ON "42".policed AS RESTRICTIVE USING (id > 0); CREATE POLICY f ON "42".policed FOR SELECT USING (owner = CURRENT_USER);
CREATE POLICY i ON "42".policed FOR INSERT WITH CHECK (id BETWEEN 1 AND 2); CREATE POLICY d ON "42".policed FOR DELETE USING (NOT (id IN (1, 2)));
CREATE FUNCTION "42".f(int, text) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE MATERIALIZED VIEW "42"."m v" AS SELECT 1 AS one"##;

#[test]
fn awkward_names_and_types_load_and_what_is_left_out_is_said() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _made = Made::new(stand, &["\"Odd \"\"Schema\"\" – ünï\"", "\"42\""], AWKWARD);
    let directory = fresh_directory("draft-awkward");
    let to = directory.to_str().expect("UTF-8");
    let said = draft(stand, &["--out", to, "--schema", "Odd \"Schema\" – ünï", "--schema", "42"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let config = loaded(&directory);
    let odd = module(&config, "odd_schema_n");
    assert_eq!(odd.schema.as_str(), "Odd \"Schema\" – ünï");
    let table = &odd.tables[0];
    assert_eq!(table.name.name.as_str(), "Ta'ble\n\"with\" everything");
    let columns: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
    for there in [
        "a\"b",
        "select",
        "x'y\\z",
        "new\nline",
        "[brackets]",
        "gen",
        "ident",
        "arr",
        "b",
        "n",
        "j",
        "money",
        "oid",
        "serial",
        "neg",
        "now",
        "f",
    ] {
        assert!(columns.contains(&there), "no {there:?} in {columns:?}");
    }
    for out in ["# hash", "email", "ts", "iv", "c", "p"] {
        assert!(!columns.contains(&out), "{out} is declared: {columns:?}");
    }
    assert_eq!(table.unique.len(), 2, "{:?}", table.unique);
    let numbers = module(&config, "m_42");
    let names: Vec<&str> = numbers.tables.iter().map(|t| t.name.name.as_str()).collect();
    assert!(
        names.contains(&"parted") && !names.contains(&"parted_1") && !names.contains(&"child"),
        "{names:?}"
    );
    assert!(!names.contains(&"only_mood") && !names.contains(&"no columns"), "{names:?}");
    let keys: usize = ["a", "b"]
        .iter()
        .map(|t| numbers.table(t).map_or(0, |t| t.foreign_keys.len()))
        .sum();
    assert_eq!(keys, 2, "one of the two that refer to each other, and the one to itself");
    let policed = numbers.table("policed").expect("it is there");
    let policies: Vec<&str> = policed.policies.iter().map(|p| p.name.as_str()).collect();
    // PostgreSQL prints BETWEEN as two comparisons, which the language has; CURRENT_USER it has not.
    assert_eq!(policies, ["a \"policy\"\nof lines", "d", "i"]);
    assert_eq!(
        policed.restrictions.last().map(postern_config::expr::Expr::source).as_deref(),
        Some("(\"id\" > 0)")
    );
    let _ = fs::remove_dir_all(directory);
}

#[test]
fn the_stands_own_database_loads_as_a_draft_and_wrong_questions_are_answered() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let directory = fresh_directory("draft-stand");
    let to = directory.to_str().expect("UTF-8");
    let said = draft(
        stand,
        &[
            "--out",
            to,
            "--schema",
            "disco",
            "--schema",
            "chat",
            "--schema",
            "sys_account",
            "--schema",
            "sys_core",
            "--schema",
            "evilmod",
        ],
    );
    assert_eq!(said.code, Some(0), "{}", said.text);
    let config = loaded(&directory);
    let projects = module(&config, "disco").table("projects").expect("it is there").clone();
    assert!(
        projects.columns.iter().all(|c| !c.name.as_str().starts_with("postern$")),
        "hidden columns are Postern's"
    );
    let _ = fs::remove_dir_all(directory);

    let said = draft(stand, &["--schema", "evilmod"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(
        said.out.contains("# ==== modules/evilmod.toml") && said.out.contains("name = \"notes\""),
        "{}",
        said.text
    );
    for (arguments, code) in [
        (&["--schema", "nowhere"][..], 2),
        (&["--schema", "disco=Not A Module"][..], 2),
        (&["--claim", "app.user=nobody"][..], 2),
        (&["--out", "/proc/nowhere"][..], 73),
    ] {
        let said = draft(stand, arguments);
        assert_eq!(said.code, Some(code), "{arguments:?}: {}", said.text);
    }
    let nobody = run_postern(&["manifest", "draft", "--database", "postgresql://x:secret-word@127.0.0.1:1/x"]);
    assert_eq!(nobody.status.code(), Some(69));
    assert!(!String::from_utf8_lossy(&nobody.stderr).contains("secret-word"));
    let nonsense = run_postern(&["manifest", "draft", "--database", "postgresql://x:secret-word@h:port/x"]);
    assert_eq!(nonsense.status.code(), Some(69));
    assert!(
        !String::from_utf8_lossy(&nonsense.stderr).contains("secret-word"),
        "{}",
        String::from_utf8_lossy(&nonsense.stderr)
    );
}
