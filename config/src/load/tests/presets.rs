//! Presets and lists of columns for INSERT and SELECT.

use super::{column_twins, manifest, table, twins};
use crate::manifest::{Operation, PresetValue};
use crate::names::Ident;

#[test]
fn presets() {
    let with = |ty: &str, rest: &str| format!("{{ name = \"c\", type = \"{ty}\", {rest} }}");
    for (ty, good, bad, part) in [
        (
            "text",
            "preset = \"claim.sub\"",
            "preset = \"claim.sud\"",
            "did you mean `claim.sub`?",
        ),
        (
            "text",
            "preset = \"claim.sub\"",
            "preset = \"claim.verified\"",
            "is true or false",
        ),
        ("bool", "preset = \"claim.verified\"", "preset = \"claim.sub\"", "is text"),
        ("text[]", "immutable = false", "preset = \"claim.org_member_of\"", "is a list"),
        ("text", "preset = \"'x'\"", "preset = \"x\"", "cannot preset"),
        ("varchar(2)", "preset = \"'xy'\"", "preset = \"'xyz'\"", "cannot preset"),
        ("int2", "preset = \"-7\"", "preset = \"70000\"", "cannot preset"),
        (
            "uuid",
            "preset = \"'6a9d4b0e-2c63-4a53-8f0b-0e5f4c1d2a3b'\"",
            "preset = \"'6a9d4b0e'\"",
            "cannot preset",
        ),
        (
            "timestamptz",
            "preset = \"now()\"",
            "preset = \"'2026-01-01'\"",
            "cannot preset",
        ),
        (
            "text",
            "preset = \"claim.sub\", preset_on = [\"insert\", \"update\"]",
            "preset = \"claim.sub\", preset_on = [\"insert\", \"delete\"]",
            "on `delete`",
        ),
        (
            "text",
            "preset = \"claim.sub\"",
            "preset = \"claim.sub\", preset_on = []",
            "names no operation",
        ),
        ("text", "preset = \"claim.sub\"", "preset_on = [\"insert\"]", "not to what"),
        (
            "text",
            "preset = \"claim.sub\"",
            "preset = \"claim.sub\", default = \"'x'\"",
            "would never be used",
        ),
        (
            "text",
            "preset = \"claim.sub\", immutable = true",
            "preset = \"claim.sub\", immutable = true, preset_on = [\"update\"]",
            "is immutable",
        ),
        (
            "text",
            "preset = \"claim.sub\", protect = { search = [] }",
            "preset = \"claim.sub\", preset_on = [\"update\"], protect = { search = [] }",
            "row by row",
        ),
        (
            "timestamptz",
            "preset = \"now()\"",
            "preset = \"now()\", protect = { search = [] }",
            "known to the database alone",
        ),
    ] {
        column_twins(&with(ty, good), &with(ty, bad), part);
    }
}

#[test]
fn a_preset_column_is_named_by_no_policy_and_bound_to_only_on_insert() {
    let with = |on: &str, policy: &str| {
        table(&format!(
            "primary_key = [\"id\"]\ncolumn = [{{ name = \"id\", type = \"text\" }},\n\
             {{ name = \"c\", type = \"text\", preset = \"claim.sub\", preset_on = [{on}] }},\n\
             {{ name = \"s\", type = \"text\", protect = {{ search = [] }} }}]"
        )) + &format!("[[table.policy]]\nname = \"p\"\nfor = [\"insert\", \"update\", \"select\"]\ncheck = \"true\"\n{policy}")
    };
    let plain = "using = \"true\"\n";
    twins(
        &with("\"insert\"", &format!("{plain}columns = [\"c\"]\n")),
        &with("\"insert\", \"update\"", &format!("{plain}columns = [\"c\"]\n")),
        15,
        "is preset on update",
    );
    twins(
        &with("\"update\"", &format!("{plain}insert_columns = [\"id\", \"c\"]\n")),
        &with("\"insert\"", &format!("{plain}insert_columns = [\"id\", \"c\"]\n")),
        15,
        "is preset on insert",
    );
    twins(
        &with("\"insert\"", "using = \"c = claim.sub\"\n"),
        &with("\"insert\", \"update\"", "using = \"c = claim.sub\"\n"),
        8,
        "can be preset on insert alone",
    );
    let manifest = manifest(&with("\"insert\"", "using = \"c = claim.sub\"\n")).unwrap();
    let t = &manifest.tables[0];
    assert_eq!(
        t.column("c").unwrap().preset.as_ref().unwrap().value,
        PresetValue::Claim(crate::expr::Claim::Sub)
    );
    // PostgreSQL compares what was written with what had to be.
    assert_eq!(
        t.check(Operation::Insert).source(),
        "((\"c\" = claim.\"sub\") OR ((claim.\"sub\" IS NULL) AND (\"c\" IS NULL)))"
    );
    assert!(!t.check(Operation::Update).source().contains("IS NULL"));
}

/// Columns on lines 7 to 9, the policies from line 10.
fn lists(first: &str, second: &str) -> String {
    table(
        "primary_key = [\"id\"]\ncolumn = [{ name = \"id\", type = \"text\" },\n{ name = \"state\", type = \"text\", default = \"'new'\" }, { name = \"body\", type = \"text\" },\n\
         { name = \"at\", type = \"timestamptz\", default = \"now()\" }, { name = \"gone\", type = \"text\", never = true }]",
    ) + &format!(
        "[[table.policy]]\nname = \"a\"\nfor = [\"insert\"]\ncheck = \"body = claim.sub\"\n{first}\n\
         [[table.policy]]\nname = \"b\"\nfor = [\"insert\"]\ncheck = \"claim.super\"\n{second}\n"
    )
}

#[test]
fn an_insert_list_lets_through_what_the_database_would_have_put_there() {
    let good = lists("insert_columns = [\"id\", \"body\", \"at\"]", "");
    let manifest = manifest(&good).unwrap();
    let t = &manifest.tables[0];
    assert_eq!(
        t.check(Operation::Insert).source(),
        "(((\"body\" = claim.\"sub\") AND (\"state\" = 'new') AND (\"gone\" IS NULL)) OR claim.\"super\")"
    );
    assert_eq!(
        t.policies[0].insert_columns.as_deref().unwrap(),
        ["id", "body", "at"].map(|c| Ident::new(c).unwrap())
    );
    twins(
        &good,
        &lists("insert_columns = [\"id\", \"body\"]", ""),
        14,
        "other policies let an insert name `at`",
    );
    // Where nobody may name it, PostgreSQL gives no right to.
    twins(
        &lists(
            "insert_columns = [\"id\", \"body\"]",
            "insert_columns = [\"id\", \"body\", \"state\"]",
        ),
        &lists("insert_columns = [\"body\", \"at\"]", ""),
        14,
        "`id` must not be NULL and has no default",
    );
    twins(
        &good,
        &lists("insert_columns = [\"id\", \"bdy\", \"at\"]", ""),
        14,
        "did you mean `body`?",
    );
    let select =
        |rest: &str| lists("", "") + &format!("[[table.policy]]\nname = \"c\"\nfor = [\"select\"]\nusing = \"true\"\n{rest}\n");
    twins(
        &good,
        &select("insert_columns = [\"id\"]").replace("\"select\"", "\"delete\""),
        24,
        "add \"insert\"",
    );
    let m = super::manifest(&select("show = [\"body\"]")).unwrap();
    assert_eq!(m.tables[0].policies[2].hide, ["state", "at"].map(|c| Ident::new(c).unwrap()));
    twins(
        &select("show = [\"body\"]"),
        &select("show = [\"body\"]\nhide = [\"at\"]"),
        24,
        "one thing twice",
    );
    twins(&select("show = [\"body\"]"), &select("show = [\"gone\"]"), 24, "never shown");
}
