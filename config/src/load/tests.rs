use super::*;
use crate::expr::Expr;
use crate::manifest::{Default, Manifest};

mod keys;
mod lint;
mod lookups;
mod presets;
mod roles;
mod whole;

const HEAD: &str = "module = \"acme\"\ntablespace = \"pg_default\"\nlogin = [{ name = \"acme\", kind = \"runtime\" }]\n";

fn manifest(text: &str) -> Result<Manifest, Vec<String>> {
    let mut notes = Notes::new(Path::new("acme.toml"), text);
    let document = document::parse(text, &mut notes);
    let begun = module::begin(&document, Path::new("acme.toml"), &Claim::BUILT_IN, &mut notes);
    let read = begun.finish(None, &Claim::BUILT_IN, &[], &mut notes);
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
