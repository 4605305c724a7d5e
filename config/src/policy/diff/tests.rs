use super::*;
use crate::policy::configured::{HEAD, OWN, configured, configured_beside, with};

/// `verdict place: what` for each difference.
fn between(old: &str, new: &str) -> Vec<String> {
    let changes = diff(&configured(&format!("{HEAD}{old}")), &configured(&format!("{HEAD}{new}")));
    changes.iter().map(said).collect()
}

fn said(change: &Change) -> String {
    let mut place = change.table.clone().unwrap_or_default();
    if let Some(operation) = change.operation {
        place = format!("{place} {}", operation.as_str());
    }
    if let Some(column) = &change.column {
        place = format!("{place} {column}");
    }
    format!("{} {place}: {}", change.verdict.as_str(), change.what)
}

/// One way it is wider, the other way narrower.
#[track_caller]
fn widens(narrow: &str, wide: &str, places: &[&str]) {
    let expected = |word: &str| places.iter().map(|p| format!("{word} {p}")).collect::<Vec<_>>();
    assert_eq!(between(narrow, wide), expected("wider"), "{narrow}\n{wide}");
    assert_eq!(between(wide, narrow), expected("narrower"), "{wide}\n{narrow}");
}

#[test]
fn what_says_the_same_in_other_words_is_the_same() {
    assert_eq!(between(OWN, OWN), Vec::<String>::new());
    let other = with(OWN, "using = \"owner = claim.sub\"", "using = \"NOT (claim.sub <> owner)\"");
    assert_eq!(between(OWN, &other), Vec::<String>::new());
    // A user always has a `sub`, and a guest matches nothing either way.
    let other = with(
        OWN,
        "using = \"owner = claim.sub\"",
        "using = \"owner = claim.sub AND claim.sub IS NOT NULL\"",
    );
    assert_eq!(between(OWN, &other), Vec::<String>::new());
}

/// Module `acme` looks into what `beyond` shows it of its table `t`.
fn beyond(exporter: &str, rows: &str) -> Config {
    let shared = format!("table = \"t\"\ncolumns = [\"owner\", \"id\"]\nrows = \"{rows}\"\n");
    let exporter = format!(
        "{}{exporter}[[export]]\nto = [\"acme\"]\n{shared}",
        HEAD.replace("\"acme\"", "\"beyond\"")
    );
    let importer = format!(
        "{HEAD}[[import]]\nfrom = \"beyond\"\nas = \"seen\"\n{shared}[[table]]\nname = \"mine\"\nprimary_key = [\"id\"]\n\
         column = [{{ name = \"id\", type = \"text\" }}]\n[[table.policy]]\nname = \"p\"\nfor = [\"select\"]\n\
         using = \"id IN (SELECT id FROM seen WHERE owner IS NOT NULL)\"\n"
    );
    configured_beside(&[("acme", &importer), ("beyond", &exporter)])
}

#[test]
fn what_an_import_shows_counts_where_a_policy_looks_into_it() {
    let more = with(
        OWN,
        "using = \"owner = claim.sub\"",
        "using = \"owner = claim.sub OR claim.super\"",
    );
    let said_of = |old: &Config, new: &Config| diff(old, new).iter().map(said).collect::<Vec<_>>();
    let told = said_of(&beyond(OWN, "policies"), &beyond(&more, "policies"));
    assert!(told.contains(&"wider mine select: rows".to_owned()), "{told:?}");
    assert!(told.contains(&"wider t select: rows".to_owned()), "{told:?}");
    let told = said_of(&beyond(&more, "policies"), &beyond(OWN, "policies"));
    assert!(told.contains(&"narrower mine select: rows".to_owned()), "{told:?}");
    // Where all rows are shown, whatever policies say, only the module itself changes.
    let told = said_of(&beyond(OWN, "all"), &beyond(&more, "all"));
    assert!(!told.is_empty() && !told.iter().any(|c| c.contains(" mine ")), "{told:?}");
    let told = said_of(&beyond(OWN, "policies"), &beyond(OWN, "all"));
    assert!(told.contains(&"wider mine select: rows".to_owned()), "{told:?}");
    assert_eq!(said_of(&beyond(OWN, "all"), &beyond(OWN, "all")), Vec::<String>::new());
}

#[test]
fn rows() {
    let more = with(
        OWN,
        "using = \"owner = claim.sub\"",
        "using = \"owner = claim.sub OR claim.super\"",
    );
    widens(OWN, &more, &["t select: rows", "t update: rows", "t delete: rows"]);
    let written = with(
        OWN,
        "check = \"owner = claim.sub\"",
        "check = \"owner = claim.sub OR claim.super\"",
    );
    widens(OWN, &written, &["t insert: rows", "t update: written rows"]);
    let restricted = with(OWN, "name = \"t\"", "name = \"t\"\nrestrict = \"claim.verified\"");
    widens(
        &restricted,
        OWN,
        &[
            "t: restrictions",
            "t select: rows",
            "t insert: rows",
            "t update: rows",
            "t update: written rows",
            "t delete: rows",
        ],
    );
}

#[test]
fn what_is_neither_wider_nor_narrower_is_unknown() {
    let other = with(OWN, "using = \"owner = claim.sub\"", "using = \"id = claim.sub\"");
    let places = ["unknown t select: rows", "unknown t update: rows", "unknown t delete: rows"];
    assert_eq!(between(OWN, &other), places);
    assert!(Verdict::Unknown.needs_acceptance() && Verdict::Wider.needs_acceptance());
    assert!(!Verdict::Narrower.needs_acceptance() && !Verdict::Same.needs_acceptance());
}

#[test]
fn too_many_conditions_to_tell_count_as_wider() {
    let conditions = |of: &str, from: usize| -> String {
        let each = (from..from + 7).map(|n| format!("{of} = 'v{n}'"));
        each.collect::<Vec<_>>().join(" OR ")
    };
    let ask = |using: &str| with(OWN, "using = \"owner = claim.sub\"", &format!("using = \"{using}\""));
    let old = ask(&format!("({}) AND ({})", conditions("owner", 0), conditions("body", 0)));
    let new = ask(&format!("({}) AND ({})", conditions("owner", 1), conditions("body", 1)));
    for line in between(&old, &new) {
        assert!(line.starts_with("unknown"), "{line}");
    }
    assert!(!between(&old, &new).is_empty());
}

#[test]
fn columns() {
    let body = "{ name = \"body\", type = \"text\"";
    let masked = with(OWN, body, &format!("{body}, mask_unless = \"claim.super\""));
    widens(&masked, OWN, &["t body: mask"]);
    let never = with(OWN, body, &format!("{body}, never = true"));
    widens(&never, OWN, &["t body: never"]);
    let immutable = with(OWN, body, &format!("{body}, immutable = true"));
    widens(&immutable, OWN, &["t body: immutable"]);
    let listed = format!("{OWN}columns = [\"body\", \"owner\", \"id\", \"price\"]\n");
    widens(&listed, OWN, &["t update secret: column"]);
    let less = with(OWN, "  { name = \"price\", type = \"numeric(12,2)\" },\n", "");
    widens(&less, OWN, &["t price: column"]);
    let other_type = with(OWN, "numeric(12,2)", "int8");
    assert_eq!(between(OWN, &other_type), ["unknown t price: type"]);
}

#[test]
fn protection() {
    let sealed = |how: &str| {
        with(
            OWN,
            "{ name = \"body\", type = \"text\"",
            &format!("{{ name = \"body\", type = \"text\", protect = {{ {how} }}"),
        )
    };
    let opaque = sealed("search = []");
    widens(&opaque, OWN, &["t body: protection"]);
    widens(&opaque, &sealed("search = [\"eq\"]"), &["t body: searches"]);
    widens(
        &sealed("search = [\"eq\"]"),
        &sealed("search = [\"eq\"], join_group = \"g\""),
        &["t body: join group"],
    );
    widens(
        &opaque,
        &sealed("search = [], bind = \"column\""),
        &["t body: bound to the column alone"],
    );
}

#[test]
fn tables_and_logins() {
    assert_eq!(between("", OWN), ["wider t: table"]);
    // Its rows may still be there, and no policy speaks of them any more.
    assert_eq!(between(OWN, ""), ["unknown t: table"]);
    let config = |head: &str| configured(&format!("{head}{OWN}"));
    let between = |old: &str, new: &str| diff(&config(old), &config(new)).iter().map(said).collect::<Vec<_>>();
    let two = with(
        HEAD,
        "login = [",
        "login = [{ name = \"acme_service\", kind = \"service\" }, ",
    );
    assert_eq!(between(HEAD, &two), ["wider : login"]);
    assert_eq!(between(&two, HEAD), ["narrower : login"]);
    let migrator = with(HEAD, "kind = \"runtime\"", "kind = \"migrator\"");
    assert_eq!(between(HEAD, &migrator), ["unknown : login"]);
}

#[test]
fn settings_that_guard_all_policies() {
    let config = || configured(&format!("{HEAD}{OWN}"));
    let (old, mut new) = (config(), config());
    assert!(diff(&old, &new).is_empty(), "the same settings in two places");
    new.settings.enforce = Enforce::Rewrite;
    new.settings.tokens.dev_issuer = true;
    new.settings.tokens.audience = "other".to_owned();
    let said: Vec<String> = diff(&old, &new).iter().map(said).collect();
    assert_eq!(
        said,
        ["wider : enforce", "wider : development issuer", "unknown : token issuer"]
    );
}

#[test]
fn modules() {
    let one = configured(&format!("{HEAD}{OWN}"));
    let mut none = one.clone();
    none.modules.clear();
    let words = |old: &Config, new: &Config| diff(old, new).iter().map(said).collect::<Vec<_>>();
    assert_eq!(words(&none, &one), ["wider : module"]);
    assert_eq!(words(&one, &none), ["narrower : module"]);
}

/// The reference domain's `disco` says by hand what roles with scopes say; said by roles it lets through exactly the same.
#[test]
fn roles_say_what_was_written_out() {
    let by_hand = std::fs::read_to_string(crate::policy::configured::examples().with_file_name("modules/disco.toml")).unwrap();
    let roles = "\n[roles.project_admin]\nscope = [\"project_id\"]\nwhen = \"project_id = ANY(claim.project_admin_of)\"\n\
                 [roles.org_admin]\ninherits = [\"project_admin\"]\nscope = [\"org_id\"]\nwhen = \"org_id = ANY(claim.org_admin_of)\"\n\
                 [roles.superadmin]\ninherits = [\"org_admin\"]\nwhen = \"claim.super\"\n";
    let project = "sys_account_project_ref_id = ANY(claim.project_admin_of)";
    let through = "OR sys_account_project_ref_id IN (SELECT sys_account_project_ref_id FROM projects WHERE sys_account_org_ref_id = ANY(claim.org_admin_of))";
    let quoted = |s: &str| format!("\"\"\"\n{s}\"\"\"");
    let both = |s: &str| format!("using = {s}\ncheck = {s}\n");
    let own = both(&format!(
        "\"claim.super OR {project} OR sys_account_org_ref_id = ANY(claim.org_admin_of)\""
    ));
    let survey = both(&quoted(&format!("claim.super OR {project}\n{through}")));
    let lookup = format!("(SELECT survey_project_id FROM survey_projects\n  WHERE {project}\n  {through})");
    let types = both(&quoted(&format!("claim.super OR survey_project_ref_id IN {lookup}")));
    let users = format!("using = {}\n", quoted(&format!("survey_project_ref_id IN {lookup}")));
    let values = format!(
        "using = {}\n",
        quoted(&format!(
            "survey_user_ref_id IN (SELECT survey_user_id FROM survey_users WHERE survey_project_ref_id IN {lookup})"
        ))
    );
    let mut by_roles = format!("{by_hand}{roles}");
    for written in [&own, &survey, &types, &users, &values] {
        assert!(by_roles.contains(written.as_str()), "no {written}");
        by_roles = by_roles.replace(written.as_str(), "roles = [\"project_admin\"]\n");
    }
    let placed = |table: &str, place: &str| {
        (
            format!("name = \"{table}\"\nprimary_key"),
            format!("name = \"{table}\"\n{place}\nprimary_key"),
        )
    };
    let survey_project = "scope_through = { column = \"survey_project_ref_id\", table = \"survey_projects\" }";
    let survey_user = "scope_through = { column = \"survey_user_ref_id\", table = \"survey_users\" }";
    for (from, to) in [
        placed(
            "projects",
            "scope = { project_id = \"sys_account_project_ref_id\", org_id = \"sys_account_org_ref_id\" }",
        ),
        placed(
            "survey_projects",
            "scope = { project_id = \"sys_account_project_ref_id\" }\nscope_through = { column = \"sys_account_project_ref_id\", \
             table = \"projects\", references = \"sys_account_project_ref_id\" }",
        ),
        placed("survey_users", survey_project),
        placed("support_role_types", survey_project),
        placed("user_need_types", survey_project),
        placed("support_role_values", survey_user),
        placed("user_need_values", survey_user),
    ] {
        by_roles = with(&by_roles, &from, &to);
    }
    let module = |text: &str| text.replace("\"disco", "\"acme");
    let (old, new) = (configured(&module(&by_hand)), configured(&module(&by_roles)));
    let changes: Vec<String> = diff(&old, &new).iter().map(said).collect();
    assert_eq!(changes, Vec::<String>::new());
}
