use super::*;
use crate::expr::{Expr, Subqueries};
use crate::manifest::{Default, LoginKind, Manifest, Operation, Search};
use crate::names::ModuleName;

const HEAD: &str = "module = \"acme\"\ntablespace = \"pg_default\"\nlogin = [{ name = \"acme\", kind = \"runtime\" }]\n";

fn manifest(text: &str) -> Result<Manifest, Vec<String>> {
    let mut notes = Notes::new(Path::new("acme.toml"), text);
    let read = module::read(text, Path::new("acme.toml"), None, &mut notes);
    let mut problems = notes.into_problems();
    problems.sort();
    match read {
        Some(read) if problems.is_empty() => Ok(read.manifest),
        _ => Err(problems.iter().map(ToString::to_string).collect()),
    }
}

/// A manifest of one table `t` whose text starts on line 4 (`[[table]]` itself); `rest` follows on line 6.
fn table(rest: &str) -> String {
    format!("{HEAD}[[table]]\nname = \"t\"\n{rest}\n")
}

/// A table with key `id` and one more column; the columns are on lines 7 and 8.
fn column(column: &str) -> String {
    table(&format!(
        "primary_key = [\"id\"]\ncolumn = [{{ name = \"id\", type = \"text\" }},\n{column},\n]"
    ))
}

/// The allowed text loads, and its denied twin raises exactly this one problem.
#[track_caller]
fn twins(allowed: &str, denied: &str, line: usize, part: &str) {
    if let Err(problems) = manifest(allowed) {
        panic!("should load:\n{allowed}\n{problems:#?}");
    }
    let problems = manifest(denied).expect_err(denied);
    assert_eq!(problems.len(), 1, "{denied}\n{problems:#?}");
    assert!(
        problems[0].starts_with(&format!("acme.toml:{line}: ")) && problems[0].contains(part),
        "line {line}, {part:?} expected: {}",
        problems[0]
    );
}

#[track_caller]
fn column_twins(allowed: &str, denied: &str, part: &str) {
    twins(&column(allowed), &column(denied), 8, part);
}

#[test]
fn heads() {
    let good = table("column = [{ name = \"id\", type = \"text\" }]");
    for (from, to, line, part) in [
        ("module = \"acme\"", "module = \"Acme\"", 1, "cannot"),
        ("module = \"acme\"", "module = \"other\"", 1, "rename the file to other.toml"),
        ("module = \"acme\"", "module = \"acme\"; x", 1, "not TOML"),
        ("module = \"acme\"", "module = 3", 1, "must be a string"),
        ("tablespace = \"pg_default\"", "tablespace = \"pg_x\"", 2, "PostgreSQL's"),
        ("tablespace = \"pg_default\"", "", 1, "lacks `tablespace`"),
        (
            "tablespace = \"pg_default\"",
            "tablespace = \"pg_default\"\nschema = \"public\"",
            3,
            "belongs to",
        ),
        (
            "tablespace = \"pg_default\"",
            "tablespace = \"pg_default\"\ntabel = 1",
            3,
            "did you mean `table`?",
        ),
        ("kind = \"runtime\"", "kind = \"admin\"", 3, "no kind of login `admin`"),
        ("kind = \"runtime\"", "kind = \"runtime\", ddl = true", 3, "may not run DDL"),
        (
            "kind = \"runtime\"",
            "kind = \"migrator\", ddl = false",
            3,
            "exists to run DDL",
        ),
        (
            "kind = \"runtime\"",
            "kind = \"service\", ddl = true",
            3,
            "accepts_second_lock_only_bodies",
        ),
        ("name = \"acme\", kind", "name = \"postern_x\", kind", 3, "reserved"),
        (
            "login = [",
            "login = [{ name = \"acme\", kind = \"service\" }, ",
            3,
            "declared twice",
        ),
        ("name = \"t\"", "name = \"postern$t\"", 5, "reserved"),
        (
            "type = \"text\" }]",
            "type = \"text\" }]\n[[table]]\nname = \"t\"\ncolumn = [{ name = \"x\", type = \"text\" }]",
            8,
            "declared twice",
        ),
        ("column = [{ name = \"id\", type = \"text\" }]", "", 5, "declares no column"),
    ] {
        let denied = good.replacen(from, to, 1);
        assert_ne!(good, denied, "{from}");
        if part == "not TOML" {
            assert!(manifest(&denied).is_err());
        } else {
            twins(&good, &denied, line, part);
        }
    }
    let accepted = good
        .replacen("kind = \"runtime\"", "kind = \"service\", ddl = true", 1)
        .replacen("tablespace", "accepts_second_lock_only_bodies = true\ntablespace", 1);
    assert!(manifest(&accepted).is_ok());
}

#[test]
fn columns() {
    let plain = "{ name = \"c\", type = \"text\" }";
    column_twins(plain, "{ name = \"c\", type = \"txet\" }", "no type `txet`");
    column_twins(
        "{ name = \"c\", type = \"text[]\" }",
        "{ name = \"c\", type = \"text; drop\" }",
        "no type",
    );
    column_twins(
        "{ name = \"c\", type = \"timestamp(3)\" }",
        "{ name = \"c\", type = \"timestamp(x)\" }",
        "no type",
    );
    column_twins(plain, "{ name = \"id\", type = \"text\" }", "declared twice");
    column_twins(plain, "{ name = \"xmin\", type = \"text\" }", "system column");
    column_twins(plain, "{ name = \"c\", type = \"text\", nul = true }", "no key `nul`");
    column_twins(plain, "{ name = \"c\" }", "lacks `type`");
    column_twins(
        "{ name = \"c\", type = \"text\", mask_unless = \"claim.super\" }",
        "{ name = \"c\", type = \"text\", mask_unless = \"claim.supper\" }",
        "`mask_unless`: there is no claim `supper`; did you mean `claim.super`?",
    );
    column_twins(
        "{ name = \"c\", type = \"text\", never = true }",
        "{ name = \"c\", type = \"text\", never = true, mask_unless = \"claim.super\" }",
        "never shown",
    );
}

#[test]
fn defaults() {
    for (ty, good, bad) in [
        ("text", "'x'", "x"),
        ("int4", "-3", "3000000000"),
        ("bool", "false", "0"),
        ("timestamptz", "now()", "now(1)"),
        ("text", "''", "now()"),
        ("numeric", "1.50", "'x'"),
        ("jsonb", "'{}'", "true"),
        ("date", "'2026-01-01'", "current_date"),
    ] {
        let with = |d: &str| format!("{{ name = \"c\", type = \"{ty}\", default = \"{d}\" }}");
        column_twins(&with(good), &with(bad), "cannot be the default");
    }
    column_twins(
        "{ name = \"c\", type = \"bigserial\" }",
        "{ name = \"c\", type = \"bigserial\", default = \"1\" }",
        "remove `default`",
    );
    column_twins(
        "{ name = \"c\", type = \"text\", default = \"'x'\" }",
        "{ name = \"c\", type = \"text\", default = \"'x'\", protect = { search = [] } }",
        "cannot seal a default",
    );
    let m = manifest(&column("{ name = \"c\", type = \"bigserial\" }")).unwrap();
    let c = m.tables[0].column("c").unwrap();
    assert_eq!((c.default.clone(), c.not_null), (Some(Default::Serial), true));
}

#[test]
fn protections() {
    let with = |ty: &str, protect: &str| format!("{{ name = \"c\", type = \"{ty}\", protect = {{ {protect} }} }}");
    column_twins(
        &with("text", "search = []"),
        &with("text[]", "search = []"),
        "type text[] cannot be protected",
    );
    column_twins(&with("text", "search = []"), &with("text", ""), "lacks `search`");
    column_twins(
        &with("text", "search = [\"eq\"]"),
        &with("text", "search = [\"like\"]"),
        "no search `like`",
    );
    column_twins(
        &with("text", "search = [\"eq\"]"),
        &with("text", "search = [\"eq\", \"eq\"]"),
        "stands twice",
    );
    column_twins(
        &with("float8", "search = [\"eq\"]"),
        &with("jsonb", "search = [\"eq\"]"),
        "no one byte form",
    );
    column_twins(
        &with("bool", "search = [\"eq\"], leaks = \"r\""),
        &with("bool", "search = [\"eq\"]"),
        "leaks = ",
    );
    column_twins(
        &with("date", "search = [\"range\"], leaks = \"r\""),
        &with("date", "search = [\"range\"]"),
        "order of all values",
    );
    column_twins(
        &with("date", "search = [\"range\"], leaks = \"r\""),
        &with("date", "search = [\"range\"], leaks = \" \""),
        "order",
    );
    column_twins(
        &with("text", "search = [\"match\"], leaks = \"r\""),
        &with("text", "search = [\"match\"]"),
        "three letters",
    );
    column_twins(
        &with("varchar(9)", "search = [\"range\"], leaks = \"r\""),
        &with("text", "search = [\"range\"], leaks = \"r\""),
        "varchar(n)",
    );
    column_twins(
        &with("numeric(9,2)", "search = [\"range\"], leaks = \"r\""),
        &with("numeric", "search = [\"range\"], leaks = \"r\""),
        "numeric(p,s)",
    );
    column_twins(
        &with("text", "search = [\"match\"], leaks = \"r\""),
        &with("int4", "search = [\"match\"], leaks = \"r\""),
        "substrings",
    );
    column_twins(
        &with("int8", "search = [\"range\"], leaks = \"r\""),
        &with("uuid", "search = [\"range\"], leaks = \"r\""),
        "cannot be searched",
    );
    column_twins(
        &with("text", "search = [\"eq\"], join_group = \"g\""),
        &with("text", "search = [], join_group = \"g\""),
        "add \"eq\"",
    );
    column_twins(
        &with("text", "search = [], bind = \"column\""),
        &with("text", "search = [], bind = \"row\""),
        "`bind` cannot be",
    );
    column_twins(
        "{ name = \"c\", type = \"text\", never = true, protect = { search = [] } }",
        "{ name = \"c\", type = \"text\", never = true, protect = { search = [\"eq\"] } }",
        "cannot be searched",
    );
    let long = "c".repeat(50);
    column_twins(
        &format!("{{ name = \"{long}\", type = \"text\" }}"),
        &format!("{{ name = \"{long}\", type = \"text\", protect = {{ search = [] }} }}"),
        "too long",
    );
}

#[test]
fn what_sealed_values_are_bound_to() {
    let sealed = "{ name = \"s\", type = \"text\", protect = { search = [] } }";
    let keyless = "column = [{ name = \"id\", type = \"text\" },\n{ name = \"s\", type = \"text\", protect = { search = [] } }]";
    twins(
        &table(&keyless.replace("search = []", "search = [], bind = \"column\"")),
        &table(keyless),
        7,
        "no primary key to bind",
    );
    let keyed = |ty: &str| {
        table(&format!(
            "primary_key = [\"id\"]\ncolumn = [{{ name = \"id\", type = \"{ty}\" }}, {sealed}]"
        ))
    };
    twins(&keyed("int8"), &keyed("timestamptz"), 7, "no one byte form to bind to");
    let read_by_policy = |ty: &str| {
        column(&format!("{sealed},\n{{ name = \"c\", type = \"{ty}\" }}"))
            + "[[table.policy]]\nname = \"p\"\nfor = [\"select\"]\nusing = \"c IS NOT NULL\"\n"
    };
    twins(
        &read_by_policy("text"),
        &read_by_policy("numeric"),
        9,
        "no one byte form to bind to",
    );
    let m = manifest(&read_by_policy("text")).unwrap();
    assert_eq!(
        m.tables[0].bound.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["id", "c"]
    );
}

#[test]
fn keys_over_columns() {
    let keyed = |key: &str, rest: &str| {
        table(&format!(
            "primary_key = [{key}]\n{rest}\ncolumn = [\n{{ name = \"a\", type = \"text\" }},\n{{ name = \"b\", type = \"text\", protect = {{ search = [\"eq\"] }} }},\n{{ name = \"c\", type = \"text\", protect = {{ search = [] }} }}]"
        ))
    };
    let good = keyed("\"a\"", "unique = [[\"b\"]]");
    twins(
        &good,
        &keyed("\"aa\"", "unique = [[\"b\"]]"),
        6,
        "names `aa`, which is no column",
    );
    twins(&good, &keyed("\"a\", \"a\"", ""), 6, "twice");
    twins(&good, &keyed("\"c\"", ""), 11, "add \"eq\"");
    twins(&good, &keyed("\"a\"", "unique = [[\"c\"]]"), 11, "add \"eq\"");
    twins(&good, &keyed("\"a\"", "unique = [[\"z\"]]"), 7, "no column of acme.t");
    twins(&good, &keyed("\"a\"", "unique = [[\"a\"]]"), 7, "already a key");
    twins(&keyed("\"b\"", ""), &keyed("\"b\"", "unique = [[]]"), 7, "names no column");
    twins(
        &good,
        &good.replace("name = \"a\", type", "name = \"a\", mask_unless = \"claim.super\", type"),
        9,
        "a row needs its key",
    );
    twins(
        &good,
        &good.replace("name = \"a\", type", "name = \"a\", never = true, type"),
        9,
        "remove `never`",
    );
}

#[test]
fn foreign_keys() {
    let text = |key: &str, child_column: &str| {
        format!(
            "{HEAD}[[table]]\nname = \"p\"\nprimary_key = [\"id\"]\nunique = [[\"mail\"]]\ncolumn = [{{ name = \"id\", type = \"text\" }}, \
             {{ name = \"n\", type = \"int4\" }},\n{{ name = \"mail\", type = \"text\", protect = {{ search = [\"eq\"], join_group = \"g\" }} }}]\n\
             [[table]]\nname = \"t\"\nprimary_key = [\"id\"]\ncolumn = [{{ name = \"id\", type = \"text\" }}, {child_column}]\n\
             foreign_key = [{{ {key} }}]\n"
        )
    };
    let plain = "{ name = \"r\", type = \"text\" }";
    let sealed = "{ name = \"r\", type = \"text\", protect = { search = [\"eq\"], join_group = \"g\" } }";
    let good = text("columns = [\"r\"], table = \"p\"", plain);
    twins(
        &good,
        &text("columns = [\"r\"], table = \"pp\"", plain),
        14,
        "declares no table `pp`; keys stay inside",
    );
    twins(
        &good,
        &text(
            "columns = [\"r\"], table = \"p\", references = [\"n\"]",
            "{ name = \"r\", type = \"int4\" }",
        ),
        14,
        "neither the primary key",
    );
    twins(
        &good,
        &text("columns = [\"r\"], table = \"p\"", "{ name = \"r\", type = \"int4\" }"),
        14,
        "give both one type",
    );
    twins(
        &good,
        &text("columns = [\"r\", \"id\"], table = \"p\"", plain),
        14,
        "pairs 2 column(s) with 1",
    );
    twins(&good, &text("columns = [\"r\"]", plain), 14, "lacks `table`");
    let tags = "columns = [\"r\"], table = \"p\", references = [\"mail\"]";
    twins(&text(tags, sealed), &text(tags, plain), 14, "protect both or neither");
    twins(
        &text(tags, sealed),
        &text(tags, &sealed.replace(", join_group = \"g\"", "")),
        14,
        "one `join_group`",
    );
    let own = |of: &str| {
        format!(
            "{HEAD}[[table]]\nname = \"t\"\nprimary_key = [\"id\"]\nforeign_key = [{{ columns = [\"r\"], table = \"{of}\" }}]\n\
             column = [{{ name = \"id\", type = \"text\" }}, {plain}]\n[[table]]\nname = \"later\"\nprimary_key = [\"id\"]\n\
             column = [{{ name = \"id\", type = \"text\" }}]\n"
        )
    };
    twins(&own("t"), &own("later"), 7, "declared further down");
}

#[test]
fn join_groups_share_a_type() {
    let with = |ty: &str| {
        column(&format!(
            "{{ name = \"a\", type = \"text\", protect = {{ search = [\"eq\"], join_group = \"g\" }} }},\n\
             {{ name = \"b\", type = \"{ty}\", protect = {{ search = [\"eq\"], join_group = \"g\" }} }}"
        ))
    };
    twins(&with("text"), &with("int4"), 9, "give both one type");
}

#[test]
fn policies() {
    let with = |policy: &str| {
        column("{ name = \"c\", type = \"text\", immutable = true },\n{ name = \"d\", type = \"text\" }")
            + &format!("[[table.policy]]\nname = \"p\"\n{policy}\n")
    };
    let select = "for = [\"select\"]\nusing = \"true\"";
    let update = "for = [\"update\"]\nusing = \"true\"\ncolumns = [\"d\"]";
    let insert = "for = [\"insert\"]\ncheck = \"true\"";
    twins(
        &with(select),
        &with("for = [\"read\"]\nusing = \"true\""),
        13,
        "no operation `read`",
    );
    twins(&with(select), &with("for = []\nusing = \"true\""), 13, "for nothing");
    twins(&with(select), &with("using = \"true\""), 11, "lacks `for`");
    twins(
        &with(select),
        &with("for = [\"select\", \"select\"]\nusing = \"true\""),
        13,
        "twice",
    );
    twins(&with(select), &with("for = [\"select\"]"), 11, "needs `using`");
    twins(
        &with(insert),
        &with("for = [\"insert\"]\ncheck = \"true\"\nusing = \"true\""),
        15,
        "no meaning for insert",
    );
    twins(&with(insert), &with("for = [\"insert\"]"), 11, "needs `check`");
    twins(
        &with(select),
        &with(&format!("{select}\ncheck = \"true\"")),
        15,
        "judges written rows",
    );
    twins(
        &with(select),
        &with("for = [\"select\"]\nusing = \"cc = claim.sub\""),
        14,
        "`using`: table acme.t has no column `cc`",
    );
    twins(
        &with(update),
        &with("for = [\"update\"]\nusing = \"true\"\ncolumns = [\"c\"]"),
        15,
        "immutable",
    );
    twins(
        &with(update),
        &with("for = [\"update\"]\nusing = \"true\"\ncolumns = []"),
        15,
        "assign nothing",
    );
    twins(
        &with(update),
        &with(&format!("{select}\ncolumns = [\"d\"]")),
        15,
        "add \"update\"",
    );
    twins(
        &with(update),
        &with("for = [\"update\"]\nusing = \"true\"\ncolumns = [\"e\"]"),
        15,
        "no column",
    );
    twins(
        &with(&format!("{select}\nhide = [\"d\"]")),
        &with(&format!("{update}\nhide = [\"d\"]")),
        16,
        "add \"select\"",
    );
    twins(
        &with(&format!("{select}\nhide = [\"d\"]")),
        &with(&format!("{select}\nhide = [\"id\"]")),
        15,
        "needs its key",
    );
    twins(
        &with(select),
        &with(&format!("{select}\n[[table.policy]]\nname = \"p\"\n{select}")),
        15,
        "the policy `p` is declared twice",
    );
    twins(
        &table("restrict = \"claim.verified\"\ncolumn = [{ name = \"id\", type = \"text\" }]"),
        &table("restrict = \"claim.sub\"\ncolumn = [{ name = \"id\", type = \"text\" }]"),
        6,
        "`restrict`",
    );
}

#[test]
fn hidden_and_masked_columns() {
    let text = column("{ name = \"c\", type = \"text\", mask_unless = \"claim.verified\" }")
        + "[[table.policy]]\nname = \"a\"\nfor = [\"select\"]\nusing = \"id = claim.sub\"\n\
           [[table.policy]]\nname = \"b\"\nfor = [\"select\"]\nusing = \"claim.super\"\nhide = [\"c\"]\n";
    let m = manifest(&text).unwrap();
    let t = &m.tables[0];
    assert_eq!(
        t.column("c").unwrap().shown_when.as_ref().unwrap().source(),
        "(claim.\"verified\" AND (\"id\" = claim.\"sub\"))"
    );
    assert_eq!(t.column("id").unwrap().shown_when, None);
    let none = text.replace("using = \"id = claim.sub\"\n", "using = \"id = claim.sub\"\nhide = [\"c\"]\n");
    let m = manifest(&none).unwrap();
    assert_eq!(m.tables[0].column("c").unwrap().shown_when, Some(Expr::Bool(false)));
}

#[test]
fn every_mistake_of_a_file_is_reported_on_its_line() {
    let text = "module = \"acme\"
tablespace = \"pg_default\"
colour = \"red\"
login = [
  { name = \"acme\", kind = \"runtime\" },
  { name = \"acme\", kind = \"clerk\" },
]

[[table]]
name = \"people\"
primary_key = [\"idd\"]
unique = [[\"mail\"]]
column = [
  { name = \"id\", type = \"text\" },
  { name = \"mail\", type = \"text\", protect = { search = [] } },
  { name = \"born\", type = \"dat\", protect = { search = [\"range\"] } },
  { name = \"place\", type = \"point\", protect = { search = [] } },
]

[[table.policy]]
name = \"self\"
for = [\"select\"]
using = \"id = claim.subject OR mail = 'x'\"
hide = [\"age\"]

[[table.foreign_key]]
columns = [\"id\"]
table = \"nowhere\"
";
    let problems = manifest(text).unwrap_err();
    let lines: Vec<usize> = problems
        .iter()
        .map(|p| p.split(':').nth(1).unwrap().parse().unwrap())
        .collect();
    assert_eq!(lines, [3, 6, 11, 15, 16, 17, 23, 23, 24, 28], "{problems:#?}");
}

fn examples() -> Config {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/postern.toml");
    match load(&file) {
        Ok(config) => config,
        Err(e) => panic!("{}", e.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

fn of<'c>(config: &'c Config, module: &str) -> &'c Manifest {
    config.module(&ModuleName::new(module).unwrap()).unwrap()
}

#[test]
fn the_examples_load() {
    let config = examples();
    let names: Vec<&str> = config.modules.iter().map(|m| m.module.as_str()).collect();
    assert_eq!(names, ["chat", "disco", "evilmod", "lab", "sys_account", "sys_core"]);
    for module in ["chat", "disco", "evilmod", "sys_account", "sys_core"] {
        for (login, kind, ddl) in [
            (module.to_owned(), LoginKind::Runtime, false),
            (format!("{module}_migrator"), LoginKind::Migrator, true),
            (format!("{module}_service"), LoginKind::Service, false),
        ] {
            let (manifest, found) = config.login(&login).unwrap();
            assert_eq!((manifest.module.as_str(), found.kind, found.ddl), (module, kind, ddl));
        }
    }
    let (lab, login) = config.login("lab").unwrap();
    assert!(login.kind == LoginKind::Service && login.ddl && lab.accepts_second_lock_only_bodies && lab.tables.is_empty());
    let paths = config.secret_paths(&login.name);
    assert!(paths.client.ends_with("lab.client") && paths.upstream.ends_with("lab.upstream"));
    for table in config.modules.iter().flat_map(|m| &m.tables) {
        assert_eq!(
            table.restrictions[0].source(),
            "(claim.\"disabled\" IS NOT TRUE)",
            "{}",
            table.name
        );
    }
}

#[test]
fn the_examples_say_what_the_domain_says() {
    let config = examples();
    let accounts = of(&config, "sys_account").table("accounts").unwrap();
    assert!(accounts.column("password").unwrap().never && accounts.column("verification_token").unwrap().never);
    assert_eq!(
        accounts.column("email").unwrap().protection.as_ref().unwrap().search,
        [Search::Eq]
    );
    assert_eq!(accounts.bound.iter().map(ToString::to_string).collect::<Vec<_>>(), ["id"]);
    assert!(
        of(&config, "sys_account")
            .table("projects")
            .unwrap()
            .column("org_id")
            .unwrap()
            .immutable
    );
    let users = of(&config, "disco").table("survey_users").unwrap();
    assert_eq!(
        users
            .column("survey_user_name")
            .unwrap()
            .shown_when
            .as_ref()
            .unwrap()
            .source(),
        "((\"sys_account_account_ref_id\" = claim.\"sub\") OR claim.\"super\")"
    );
    assert_eq!(
        users.bound.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["survey_user_id", "survey_project_ref_id", "sys_account_account_ref_id"]
    );
    for column in ["action_location", "strategy", "contact", "budget"] {
        assert!(
            of(&config, "disco")
                .table("projects")
                .unwrap()
                .column(column)
                .unwrap()
                .shown_when
                .is_some(),
            "{column}"
        );
    }
    let receipts = of(&config, "chat").table("read_receipts").unwrap();
    assert_eq!(
        receipts.using(Operation::Update),
        Expr::Bool(false),
        "nobody updates a receipt"
    );
    for manifest in &config.modules {
        for table in &manifest.tables {
            let sql = table.using(Operation::Select).sql("t", Subqueries::Functions);
            assert!(!sql.contains(" IN (SELECT \""), "{}: {sql}", table.name);
        }
    }
}

/// A directory of its own for one test, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("postern-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(path.join("modules")).unwrap();
        Self(path)
    }

    fn load(&self, settings: &str, modules: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        std::fs::write(self.0.join("postern.toml"), settings).unwrap();
        for (name, text) in modules {
            std::fs::write(self.0.join("modules").join(format!("{name}.toml")), text).unwrap();
        }
        load(&self.0.join("postern.toml")).map_err(|e| {
            let strip = |p: &Problem| p.to_string().replace(&format!("{}/", self.0.display()), "");
            e.0.iter().map(strip).collect()
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

const SETTINGS: &str = "restrict = \"claim.disabled IS NOT TRUE\"
[listen]
address = \"127.0.0.1:7432\"
tls = { certificate = \"c\", key = \"k\" }
require_tls = true
[admin]
address = \"127.0.0.1:9432\"
[upstream]
host = \"db\"
database = \"app\"
control_user = \"control\"
control_password_file = \"secrets/control\"
[secrets]
dir = \"secrets\"
[keys]
root_file = \"root\"
passphrase_file = \"/abs/passphrase\"
[tokens]
issuer = \"i\"
audience = \"a\"
dev_issuer = true
dev_private_key = \"issuer.key\"
public_keys = [\"issuer.pem\"]
[limits]
max_clients = 9
";

#[test]
fn settings_and_their_denied_twins() {
    let scratch = Scratch::new("settings");
    let one = format!("{HEAD}[[table]]\nname = \"t\"\ncolumn = [{{ name = \"id\", type = \"text\" }}]\n");
    let config = scratch.load(SETTINGS, &[("acme", &one)]).unwrap();
    assert_eq!(config.settings.upstream.port, 5432);
    assert_eq!(config.settings.limits.max_clients, 9);
    assert_eq!(config.settings.secrets_dir, scratch.0.join("secrets"));
    assert_eq!(config.settings.keys.passphrase_file, Path::new("/abs/passphrase"));
    for (from, to, line, part) in [
        ("claim.disabled IS NOT", "disabled IS NOT", 1, "no table is in sight"),
        ("restrict", "enforce = \"none\"\nrestrict", 1, "write \"both\" or \"rewrite\""),
        ("127.0.0.1:7432", "localhost", 3, "not an IP address and port"),
        (", key = \"k\"", "", 4, "lacks `key`"),
        ("tls = { certificate = \"c\", key = \"k\" }\n", "", 4, "needs a certificate"),
        ("host = \"db\"\n", "", 8, "lacks `host`"),
        ("host = \"db\"", "host = \"\"", 9, "is empty"),
        ("host = \"db\"", "host = \"db\"\nport = 99999", 10, "from 1 to 65535"),
        ("[secrets]\ndir = \"secrets\"\n", "", 1, "[secrets] is missing"),
        ("dev_issuer = true", "dev_issuer = false", 22, "vouch for any user"),
        ("dev_issuer = true\n", "", 21, "vouch for any user"),
        ("[\"issuer.pem\"]", "[]", 23, "nobody could vouch"),
        ("public_keys = [\"issuer.pem\"]\n", "", 18, "lacks `public_keys`"),
        ("max_clients = 9", "max_clients = 0", 25, "from 1 to 100000"),
        ("max_clients = 9", "max_client = 9", 25, "did you mean `max_clients`?"),
        (
            "max_clients = 9",
            "max_sql_bytes = 1_048_576\nmax_frame_bytes = 4096",
            24,
            "could never arrive",
        ),
        ("[limits]", "[audit]\nfile = 3\n[limits]", 25, "must be a string"),
        (
            "[limits]",
            "[provision]\ntablespace_root = \"x\"\n[limits]",
            25,
            "absolute path",
        ),
    ] {
        let denied = SETTINGS.replacen(from, to, 1);
        assert_ne!(denied, SETTINGS, "{from}");
        let problems = scratch.load(&denied, &[("acme", &one)]).expect_err(to);
        assert!(
            problems.len() == 1 && problems[0].starts_with(&format!("postern.toml:{line}: ")) && problems[0].contains(part),
            "line {line}, {part:?} expected: {problems:#?}"
        );
    }
}

#[test]
fn modules_must_not_meet() {
    let scratch = Scratch::new("modules");
    let other = HEAD.replace("\"acme\"", "\"other\"");
    assert!(scratch.load(SETTINGS, &[("acme", HEAD), ("other", &other)]).is_ok());
    for (denied, line, part) in [
        (
            other.replace("tablespace", "schema = \"acme\"\ntablespace"),
            2,
            "the schema `acme` is already module acme's",
        ),
        (
            other.replace("name = \"other\"", "name = \"acme\""),
            3,
            "already a login of module acme",
        ),
        (
            other.replace("name = \"other\"", "name = \"acme_owner\""),
            3,
            "already the owner role of module acme",
        ),
        (
            other.replace("name = \"other\"", "name = \"control\""),
            3,
            "already the control role",
        ),
    ] {
        let problems = scratch
            .load(SETTINGS, &[("acme", HEAD), ("other", &denied)])
            .expect_err(&denied);
        assert!(
            problems.len() == 1 && problems[0].starts_with(&format!("modules/other.toml:{line}: ")) && problems[0].contains(part),
            "{problems:#?}"
        );
    }
    let spaced = HEAD.replace("pg_default", "fast");
    let problems = scratch
        .load(
            SETTINGS,
            &[("acme", &spaced), ("other", &other.replace("pg_default", "fast"))],
        )
        .unwrap_err();
    assert!(
        problems.len() == 1 && problems[0].contains("the tablespace `fast` is already module acme's"),
        "{problems:#?}"
    );
}

#[test]
fn missing_files_and_all_files_at_once() {
    let scratch = Scratch::new("missing");
    let problems = scratch.load(SETTINGS, &[]).unwrap_err();
    assert!(problems[0].contains("no module is described"), "{problems:#?}");
    let problems = scratch.load("x = 1", &[("acme", "y = 2")]).unwrap_err();
    assert!(
        problems.iter().any(|p| p.starts_with("modules/acme.toml:1: ")),
        "{problems:#?}"
    );
    assert!(problems.iter().any(|p| p.contains("no key `x`")), "{problems:#?}");
    let nowhere = load(Path::new("/nonexistent/postern.toml")).unwrap_err();
    assert!(
        nowhere.0.len() == 2 && nowhere.0.iter().all(|p| p.message.contains("cannot be read")),
        "{nowhere:?}"
    );
}
