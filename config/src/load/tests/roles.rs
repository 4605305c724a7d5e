//! Roles: what they become, and every way to get them wrong.

use super::{HEAD, manifest, table, twins};
use crate::manifest::{Manifest, Operation};

/// Two tables, the second in the scope of the first; the roles stand on lines 4 to 12.
const ROLES: &str = r#"[roles.user]
when = "claim.sub IS NOT NULL"
[roles.admin]
inherits = ["user"]
scope = ["project"]
when = "project = ANY(claim.project_admin_of)"
[roles.boss]
inherits = ["admin"]
scope = ["org"]
when = "org = ANY(claim.org_admin_of)"
[[table]]
name = "halls"
primary_key = ["id"]
scope = { org = "org_ref" }
column = [{ name = "id", type = "text" }, { name = "project", type = "text" }, { name = "org_ref", type = "text" }]
[[table]]
name = "bookings"
primary_key = ["id"]
scope_through = { column = "hall", table = "halls" }
column = [{ name = "id", type = "text" }, { name = "hall", type = "text" }, { name = "note", type = "text" }]
"#;

fn with(rest: &str) -> String {
    format!("{HEAD}{ROLES}{rest}")
}

/// A policy of the last table; it begins on line 24, `rest` on line 26.
fn policy(rest: &str) -> String {
    with(&format!("[[table.policy]]\nname = \"p\"\n{rest}\n"))
}

#[track_caller]
fn loaded(text: &str) -> Manifest {
    manifest(text).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"))
}

#[track_caller]
fn using(rest: &str, operation: Operation) -> String {
    let manifest = loaded(&policy(rest));
    manifest.table("bookings").unwrap().using(operation).source()
}

#[test]
fn a_policy_says_what_its_roles_say() {
    // Rows of bookings lie in the scope of their hall; a boss has what an admin has.
    let hall = |rows: &str| format!("(\"hall\" IN (SELECT \"id\" FROM \"halls\" WHERE {rows}))");
    let boss_of = "(\"org_ref\" = ANY (claim.\"org_admin_of\"))";
    let boss = hall(boss_of);
    assert_eq!(
        using("for = [\"select\"]\nroles = [\"admin\"]", Operation::Select),
        hall(&format!("((\"project\" = ANY (claim.\"project_admin_of\")) OR {boss_of})"))
    );
    assert_eq!(using("for = [\"select\"]\nroles = [\"boss\"]", Operation::Select), boss);
    assert_eq!(
        using(
            "for = [\"select\"]\nroles = [\"boss\"]\nusing = \"note = claim.sub\"",
            Operation::Select
        ),
        format!("({boss} AND (\"note\" = claim.\"sub\"))")
    );
    // Naming an heir beside the role adds nothing.
    assert_eq!(
        using("for = [\"select\"]\nroles = [\"admin\", \"boss\"]", Operation::Select),
        using("for = [\"select\"]\nroles = [\"admin\"]", Operation::Select)
    );
}

#[test]
fn written_rows_lie_in_the_role_s_scope_too() {
    let manifest = loaded(&policy("for = [\"insert\", \"update\"]\nroles = [\"boss\"]"));
    let bookings = manifest.table("bookings").unwrap();
    let boss = bookings.using(Operation::Update);
    assert_eq!(bookings.check(Operation::Insert), boss);
    assert_eq!(bookings.check(Operation::Update), boss);
    let manifest = loaded(&policy("for = [\"update\"]\nroles = [\"boss\"]\ncheck = \"note = 'x'\""));
    let check = manifest.table("bookings").unwrap().check(Operation::Update).source();
    assert_eq!(check, format!("({} AND (\"note\" = 'x'))", boss.source()));
}

#[test]
fn heirs_of_a_role_without_scope_need_no_place() {
    let alone = "[[table]]\nname = \"alone\"\ncolumn = [{ name = \"id\", type = \"text\" }]\n[[table.policy]]\nname = \"p\"\nfor = [\"select\"]\n";
    let manifest = loaded(&with(&format!("{alone}roles = [\"user\"]\n")));
    let source = manifest.table("alone").unwrap().using(Operation::Select).source();
    assert_eq!(source, "(claim.\"sub\" IS NOT NULL)");
    // A role with a scope has to find it.
    twins(
        &with(&format!("{alone}roles = [\"user\"]\n")),
        &with(&format!("{alone}roles = [\"boss\"]\n")),
        30,
        "the role `boss` is scoped by `org`, and acme.alone has no such column",
    );
    // And so do its heirs, or whoever inherits would silently get less.
    let half = alone.replace(
        "{ name = \"id\", type = \"text\" }",
        "{ name = \"project\", type = \"text\" }",
    );
    twins(
        &with(&format!("{half}roles = [\"user\"]\n")),
        &with(&format!("{half}roles = [\"admin\"]\n")),
        30,
        "the role `admin` is inherited by `boss`, which is scoped by `org`",
    );
}

#[test]
fn roles_that_cannot_be() {
    let good = with("");
    for (from, to, line, part) in [
        (
            "inherits = [\"user\"]",
            "inherits = [\"usr\"]",
            7,
            "no role `usr`; did you mean `user`?",
        ),
        (
            "inherits = [\"user\"]",
            "inherits = [\"user\", \"user\"]",
            7,
            "names `user` twice",
        ),
        (
            "when = \"claim.sub IS NOT NULL\"",
            "inherits = [\"boss\"]\nwhen = \"claim.sub IS NOT NULL\"",
            6,
            "circle (`user`, `admin`, `boss`)",
        ),
        (
            "when = \"claim.sub IS NOT NULL\"",
            "inherits = [\"user\"]\nwhen = \"claim.sub IS NOT NULL\"",
            6,
            "circle (`user`)",
        ),
        (
            "claim.sub IS NOT NULL",
            "claim.sud IS NOT NULL",
            5,
            "did you mean `claim.sub`?",
        ),
        ("claim.sub IS NOT NULL", "claim.sub", 5, "not a condition"),
        ("when = \"claim.sub IS NOT NULL\"", "", 4, "lacks `when`"),
        ("when = \"claim.sub", "whn = 1\nwhen = \"claim.sub", 5, "did you mean `when`?"),
        ("org = ANY", "project = ANY", 13, "not scoped by `project`"),
        ("scope = [\"org\"]", "scope = [\"org\", \"org\"]", 12, "twice"),
        ("scope = [\"org\"]", "scope = [\"org\", \"town\"]", 13, "does not look at it"),
        (
            "org = \"org_ref\"",
            "org = \"org_rf\"",
            17,
            "no column of acme.halls; did you mean `org_ref`?",
        ),
        ("{ org = ", "{ town = \"id\", org = ", 17, "no role is scoped by `town`"),
        ("table = \"halls\" }", "table = \"hals\" }", 22, "did you mean `halls`?"),
        ("column = \"hall\"", "column = \"hal\"", 22, "did you mean `hall`?"),
        (
            "table = \"halls\" }",
            "table = \"halls\", references = \"idd\" }",
            22,
            "did you mean `id`?",
        ),
        (
            "scope = { org = \"org_ref\" }",
            "scope_through = { column = \"id\", table = \"bookings\", references = \"hall\" }",
            17,
            "circle (`bookings`, `halls`)",
        ),
    ] {
        let denied = good.replacen(from, to, 1);
        assert_ne!(good, denied, "{from}");
        let problems = manifest(&denied).expect_err(&denied);
        assert!(
            problems
                .iter()
                .any(|p| p.starts_with(&format!("acme.toml:{line}: ")) && p.contains(part)),
            "line {line}, {part:?} expected: {problems:#?}\n{denied}"
        );
    }
    loaded(&good);
}

#[test]
fn policies_and_masks_that_name_roles() {
    let good = policy("for = [\"select\"]\nroles = [\"boss\"]");
    twins(
        &good,
        &policy("for = [\"select\"]\nroles = [\"bos\"]"),
        27,
        "did you mean `boss`?",
    );
    twins(&good, &policy("for = [\"select\"]\nroles = []"), 27, "speaks of nobody");
    twins(
        &good,
        &policy("for = [\"select\"]\nroles = [\"boss\", \"boss\"]"),
        27,
        "names `boss` twice",
    );
    // With `using`, what may be written is to be said.
    let both = "for = [\"select\", \"insert\"]\nroles = [\"boss\"]\nusing = \"note = 'x'\"";
    twins(
        &policy(&format!("{both}\ncheck = \"note = 'x'\"")),
        &policy(both),
        24,
        "needs `check`",
    );
    let masked = |mask: &str| {
        with(&format!(
            "[[table]]\nname = \"m\"\nprimary_key = [\"org\"]\ncolumn = [{{ name = \"org\", type = \"text\" }},\n\
             {{ name = \"c\", type = \"text\", {mask} }}]\n"
        ))
    };
    let manifest = loaded(&masked("shown_to = [\"boss\"], mask_unless = \"claim.super\""));
    let shown = manifest.table("m").unwrap().column("c").unwrap().shown_when.clone();
    assert_eq!(
        shown.unwrap().source(),
        "((\"org\" = ANY (claim.\"org_admin_of\")) OR claim.\"super\")"
    );
    let fine = masked("shown_to = [\"boss\"]");
    twins(&fine, &masked("shown_to = [\"bos\"]"), 28, "did you mean `boss`?");
    twins(&fine, &masked("never = true, shown_to = [\"boss\"]"), 28, "never shown");
    twins(
        &masked("shown_to = [\"boss\"], mask = \"'***'\""),
        &masked("mask = \"'***'\""),
        28,
        "it never is",
    );
    twins(
        &masked("shown_to = [\"boss\"], mask = \"'***'\""),
        &masked("shown_to = [\"boss\"], mask = \"***\""),
        28,
        "cannot mask",
    );
}

#[test]
fn a_scope_of_another_type_is_noticed_where_it_is_used() {
    let text = table(
        "primary_key = [\"org\"]\ncolumn = [{ name = \"org\", type = \"int4\" }]\n[[table.policy]]\nname = \"p\"\nfor = [\"select\"]\nroles = [\"boss\"]",
    ) + "[roles.boss]\nscope = [\"org\"]\nwhen = \"org = ANY(claim.org_admin_of)\"\n";
    let problems = manifest(&text).expect_err("an integer is no text");
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(
        problems[0].starts_with("acme.toml:14: role `boss`, for a policy of acme.t: "),
        "{problems:#?}"
    );
}
