use super::*;
use crate::policy::configured::{HEAD, OWN, configured, examples, with};

fn of(tables: &str) -> Vec<Finding> {
    lint(&configured(&format!("{HEAD}{tables}")))
}

fn codes(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|f| f.code.as_str()).collect()
}

/// In the allowed text nothing is found; in its denied twin this alone, on the line that holds `at` (or so many lines above it).
#[track_caller]
fn twins(allowed: &str, denied: &str, code: &str, (at, above): (&str, usize)) {
    let found = of(allowed);
    assert!(found.is_empty(), "{allowed}\n{found:#?}");
    let found = of(denied);
    assert_eq!(codes(&found), [code], "{denied}\n{found:#?}");
    let text = format!("{HEAD}{denied}");
    let line = text.lines().position(|l| l.contains(at)).expect("the line is there") + 1;
    assert_eq!(found[0].line, line - above, "{denied}\n{found:#?}");
    assert!(!found[0].message.is_empty() && !found[0].fix.is_empty());
}

/// [`OWN`] and one more policy.
fn and(policy: &str) -> String {
    format!("{OWN}\n[[table.policy]]\nname = \"other\"\n{policy}\n")
}

#[test]
fn what_is_true_for_everybody() {
    let of_select = |using: &str| and(&format!("for = [\"select\"]\nusing = \"{using}\""));
    let always = "claim.sub IS NULL OR claim.sub IS NOT NULL";
    for denied in ["true", always] {
        let at = format!("using = \"{denied}\"");
        twins(
            &of_select("claim.sub IS NOT NULL"),
            &of_select(denied),
            "P001",
            (at.as_str(), 0),
        );
    }
    assert_eq!(of(&of_select("true"))[0].severity, Severity::Warning);
    let of_delete = |using: &str| and(&format!("for = [\"delete\"]\nusing = \"{using}\""));
    twins(&of_delete("claim.super"), &of_delete("true"), "P001", ("using = \"true\"", 0));
    assert_eq!(of(&of_delete("true"))[0].severity, Severity::Error);
    let restricted = |by: &str| with(OWN, "name = \"t\"", &format!("name = \"t\"\nrestrict = \"{by}\""));
    twins(&restricted("claim.verified"), &restricted("true"), "P001", ("restrict", 0));
    let masked = |unless: &str| {
        with(
            OWN,
            "\"body\", type = \"text\"",
            &format!("\"body\", type = \"text\", mask_unless = \"{unless}\""),
        )
    };
    twins(
        &masked("claim.verified"),
        &masked("id IS NULL OR TRUE"),
        "P001",
        ("mask_unless", 0),
    );
}

#[test]
fn an_update_without_a_check_of_the_row() {
    let update = |rest: &str| and(&format!("for = [\"select\", \"update\"]\nusing = \"claim.super\"{rest}"));
    let named = ("name = \"other\"", 1);
    twins(&update("\ncheck = \"claim.super\""), &update(""), "P002", named);
    // Where only columns may be assigned that say nothing of whose row it is, the row stays whose it was.
    twins(
        &update("\ncolumns = [\"body\"]"),
        &update("\ncolumns = [\"body\", \"owner\"]"),
        "P002",
        named,
    );
}

#[test]
fn a_check_that_lets_a_row_leave() {
    let weak = with(OWN, "check = \"owner = claim.sub\"", "check = \"owner IS NOT NULL\"");
    twins(OWN, &weak, "P003", ("check", 0));
    let immutable = with(
        &weak,
        "{ name = \"owner\", type = \"text\"",
        "{ name = \"owner\", type = \"text\", immutable = true",
    );
    twins(&immutable, &weak, "P003", ("check", 0));
}

#[test]
fn keys_that_span_hidden_rows() {
    let unique = |columns: &str| with(OWN, "primary_key", &format!("unique = [[{columns}]]\nprimary_key"));
    twins(&unique("\"owner\", \"body\""), &unique("\"body\""), "P004", ("unique", 0));
    twins(OWN, &with(OWN, "[\"owner\", \"id\"]", "[\"id\"]"), "P005", ("primary_key", 0));
    // Whoever sees every row learns nothing by an error.
    let of_super = with(
        &unique("\"body\""),
        "using = \"owner = claim.sub\"",
        "using = \"claim.super\"",
    );
    let of_super = with(&of_super, "check = \"owner = claim.sub\"", "check = \"claim.super\"");
    assert_eq!(codes(&of(&of_super)), Vec::<&str>::new());
}

#[test]
fn columns_that_are_hidden_unreadable_or_unwritable() {
    let clerk = |rest: &str| {
        and(&format!(
            "for = [\"select\", \"update\"]\nusing = \"claim.verified\"\ncheck = \"claim.verified\"\nhide = [\"body\"]\n{rest}"
        ))
    };
    twins(&clerk("columns = [\"price\"]"), &clerk(""), "P006", ("hide", 0));

    let listed = |columns: &str| format!("{OWN}columns = [{columns}]\n");
    twins(
        &listed("\"body\""),
        &listed("\"body\", \"secret\""),
        "P007",
        ("columns = ", 0),
    );

    let filled = with(
        OWN,
        "{ name = \"body\"",
        "{ name = \"kind\", type = \"text\", not_null = true },\n  { name = \"body\"",
    );
    let filled = with(
        &filled,
        "for = [\"select\", \"insert\", \"update\", \"delete\"]",
        "for = [\"select\", \"update\"]",
    );
    let listed = |columns: &str| format!("{filled}columns = [{columns}]\n");
    twins(
        &listed("\"body\", \"kind\""),
        &listed("\"body\""),
        "P008",
        ("name = \"kind\"", 0),
    );
}

#[test]
fn policies_that_add_nothing_or_permit_nothing() {
    let named = ("name = \"other\"", 1);
    let select = |using: &str| and(&format!("for = [\"select\"]\nusing = \"{using}\""));
    twins(
        &select("owner = claim.sub OR body IS NULL"),
        &select("owner = claim.sub AND body IS NOT NULL"),
        "P009",
        named,
    );
    // Of two that say the same the later one is superfluous, and it is not where the first one hides something.
    let same = select("claim.sub = owner");
    let hiding = with(
        &same,
        "check = \"owner = claim.sub\"",
        "check = \"owner = claim.sub\"\nhide = [\"body\"]\ncolumns = [\"price\"]",
    );
    twins(&hiding, &same, "P009", named);
    twins(
        &select("claim.super"),
        &select("claim.super AND claim.super IS NOT TRUE"),
        "P011",
        named,
    );
}

#[test]
fn tables_that_nobody_can_read() {
    let service = with(OWN, "using = \"owner = claim.sub\"", "using = \"claim.service = 'acme'\"");
    let service = with(
        &service,
        "check = \"owner = claim.sub\"",
        "check = \"claim.service = 'acme'\"",
    );
    assert_eq!(codes(&of(&service)), ["P010", "P011"]);
    let login = with(
        HEAD,
        "login = [",
        "login = [{ name = \"acme_service\", kind = \"service\" }, ",
    );
    assert_eq!(codes(&lint(&configured(&format!("{login}{service}")))), Vec::<&str>::new());
    let column = |rest: &str| {
        format!(
            "[[table]]\nname = \"t\"\nprimary_key = [\"id\"]\n\
             column = [{{ name = \"id\", type = \"text\" }}, {{ name = \"c\", type = \"text\"{rest} }}]\n"
        )
    };
    twins(
        &column(""),
        &column(", protect = { search = [] }"),
        "P010",
        ("name = \"t\"", 0),
    );
}

#[test]
fn foreign_keys_that_tell_of_hidden_rows() {
    let parents = |operations: &str, rest: &str| {
        format!(
            "[[table]]\nname = \"p\"\nprimary_key = [\"id\"]\n{rest}column = [{{ name = \"id\", type = \"text\" }}, {{ name = \"owner\", type = \
             \"text\" }}]\n[[table.policy]]\nname = \"own\"\nfor = [{operations}]\nusing = \"owner = claim.sub\"\n"
        )
    };
    let child = with(
        OWN,
        "{ name = \"body\"",
        "{ name = \"p_id\", type = \"text\" },\n  { name = \"body\"",
    );
    let child = with(
        &child,
        "column = [",
        "foreign_key = [{ columns = [\"p_id\"], table = \"p\" }]\ncolumn = [",
    );
    let looked_up = with(
        &child,
        "check = \"owner = claim.sub\"",
        "check = \"owner = claim.sub AND p_id IN (SELECT id FROM p WHERE owner = claim.sub)\"",
    );
    let both = |child: &str| format!("{}{child}", parents("\"select\"", ""));
    twins(&both(&looked_up), &both(&child), "P012", ("foreign_key", 0));
    // A lookup among all rows is no better than the foreign key itself.
    let among_all = with(&looked_up, "WHERE owner = claim.sub)", "WHERE id IS NOT NULL OR TRUE)");
    assert_eq!(codes(&of(&both(&among_all))), ["P012"]);
    let removed = format!("{}{looked_up}", parents("\"select\", \"delete\"", ""));
    twins(&both(&looked_up), &removed, "P013", ("foreign_key", 0));
}

#[test]
fn comparisons_that_are_not_leakproof() {
    let select = |using: &str| and(&format!("for = [\"select\"]\nusing = \"{using}\""));
    twins(&select("body = 'x'"), &select("price < 10"), "P014", ("price < 10", 0));
    let found = of(&select("body IN (SELECT body FROM t WHERE price IN (1, 2))"));
    assert_eq!(codes(&found), ["P014"]);
    assert!(
        found[0].message.contains("acme.t.price (numeric(12,2))"),
        "{}",
        found[0].message
    );
}

#[test]
fn what_is_accepted_where_it_stands() {
    let allow = |code: &str| format!("allow_lint = [\"{code}\"]\nallow_lint_reason = \"it is public\"");
    let public = and("for = [\"select\"]\nusing = \"true\"");
    let accepted = format!("{public}{}\n", allow("P001"));
    assert_eq!(codes(&of(&accepted)), Vec::<&str>::new());
    // Not by the table, nor by another code, nor by another policy.
    let by_table = with(&public, "name = \"t\"", &format!("name = \"t\"\n{}", allow("P001")));
    assert_eq!(codes(&of(&by_table)), ["P015", "P001"]);
    let other_code = format!("{public}{}\n", allow("P002"));
    assert_eq!(codes(&of(&other_code)), ["P001", "P015"]);
    // A key is the table's.
    let key = with(OWN, "[\"owner\", \"id\"]", "[\"id\"]");
    let accepted = with(&key, "name = \"t\"", &format!("name = \"t\"\n{}", allow("P005")));
    assert_eq!(codes(&of(&accepted)), Vec::<&str>::new());
    twins(
        OWN,
        &with(OWN, "name = \"t\"", &format!("name = \"t\"\n{}", allow("P005"))),
        "P015",
        ("allow_lint", 0),
    );
}

#[test]
fn findings_are_printed_as_compilers_print_them() {
    let found = of(&with(OWN, "[\"owner\", \"id\"]", "[\"id\"]"));
    let text = found[0].to_string();
    assert!(
        text.contains("modules/acme.toml:7: note[P005]: the primary key (id) of acme.t "),
        "{text}"
    );
}

#[test]
fn codes_are_stable_and_distinct() {
    for (number, code) in LintCode::ALL.into_iter().enumerate() {
        assert_eq!(code.as_str(), format!("P{:03}", number + 1));
        assert_eq!(LintCode::parse(code.as_str()), Some(code));
    }
    let reference = std::fs::read_to_string(examples().with_file_name("README.md")).expect("it is in the repository");
    for code in LintCode::ALL {
        assert!(reference.contains(&format!("| {code} | ")), "{code} is not in the reference");
    }
    assert_eq!(LintCode::parse("P017"), None);
    assert_eq!(LintCode::parse("p001"), None);
}

#[test]
fn the_examples() {
    let config = crate::load(&examples()).expect("the examples load");
    let found = lint(&config);
    let of = |table: &str| -> Vec<String> {
        let on = found.iter().filter(|f| f.table.to_string() == table);
        on.map(|f| format!("{} {}", f.code, f.policy.as_ref().map_or("", |p| p.as_str())))
            .collect()
    };
    assert_eq!(of("evilmod.notes"), ["P001 everyone", "P001 everyone"]);
    // An e-mail that is taken is told to whoever makes an account.
    assert!(of("sys_account.accounts").contains(&"P004 ".to_owned()), "{found:#?}");
    assert_eq!(of("sys_account.login_attempts"), Vec::<String>::new());
    let errors: Vec<_> = found.iter().filter(|f| f.severity == Severity::Error).collect();
    assert!(errors.iter().all(|f| f.module.as_str() == "evilmod"), "{errors:#?}");
}
