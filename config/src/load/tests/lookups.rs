//! Policies that look into imports: what they may name, and that nobody goes in a circle.

use super::HEAD;
use super::whole::{SETTINGS, Scratch, of};
use crate::manifest::Operation;
use crate::settings::Config;

/// Shows people to `other`.
const PEOPLE: &str = r#"
[[table]]
name = "people"
primary_key = ["id"]
column = [
  { name = "id", type = "text" },
  { name = "org", type = "text" },
  { name = "age", type = "int4" },
  { name = "alias", type = "text", mask_unless = "id = claim.sub" },
]

[[table.policy]]
name = "members"
for = ["select"]
using = "org = ANY(claim.org_member_of)"

[[export]]
table = "people"
columns = ["id", "org", "alias"]
to = ["other"]
"#;

/// Looks into them.
const OWN: &str = r#"
[[import]]
from = "acme"
table = "people"
columns = ["id", "org", "alias"]
as = "lent"

[[table]]
name = "own"
primary_key = ["id"]
column = [{ name = "id", type = "text" }, { name = "person", type = "text" }, { name = "n", type = "int4" }]

[[table.policy]]
name = "known"
for = ["select"]
using = "person IN (SELECT id FROM lent WHERE org = claim.sub)"
"#;

fn module(name: &str, rest: &str) -> String {
    format!("{}{rest}", HEAD.replace("\"acme\"", &format!("\"{name}\"")))
}

fn load(scratch: &Scratch, exporter: &str, importer: &str) -> Result<Config, Vec<String>> {
    scratch.load(
        SETTINGS,
        &[("acme", &module("acme", exporter)), ("other", &module("other", importer))],
    )
}

#[test]
fn a_policy_looks_into_an_import() {
    let scratch = Scratch::new("lookups");
    let config = load(&scratch, PEOPLE, OWN).unwrap_or_else(|p| panic!("{p:#?}"));
    let other = of(&config, "other");
    let using = &other.tables[0].policies[0].using;
    let using = using.as_ref().expect("it has one");
    assert_eq!(
        using.source(),
        "(\"person\" IN (SELECT \"id\" FROM \"lent\" WHERE (\"org\" = claim.\"sub\")))"
    );
    let select = using.subqueries()[0];
    assert_eq!(other.looked_into(select).map(|i| i.table.as_str()), Some("people"));
    assert_eq!(config.depth(other, using), 1);
    // What the other module's policy and the restriction of all say of its rows.
    assert_eq!(
        of(&config.beneath(), "other").tables[0].using(Operation::Select).source(),
        "((claim.\"disabled\" IS NOT TRUE) AND (\"person\" IN (SELECT \"id\" FROM \"people\" WHERE (((claim.\"disabled\" IS NOT TRUE) AND \
         (\"org\" = ANY (claim.\"org_member_of\"))) AND (\"org\" = claim.\"sub\")))))"
    );
}

#[test]
fn what_is_not_imported_cannot_be_looked_into() {
    let scratch = Scratch::new("lookups-denied");
    let using = "person IN (SELECT id FROM lent WHERE org = claim.sub)";
    for (to, part) in [
        (
            "person IN (SELECT id FROM lent WHERE orgg = claim.sub)",
            "of other.lent no column `orgg` is imported; did you mean `org`?",
        ),
        // The other module has it and does not show it.
        (
            "person IN (SELECT id FROM lent WHERE age = 7)",
            "of other.lent no column `age` is imported; name it in `columns` of the import and of the export",
        ),
        (
            "person IN (SELECT age FROM lent WHERE true)",
            "of other.lent no column `age` is imported",
        ),
        (
            "n IN (SELECT id FROM lent WHERE true)",
            "`n` is a number and other.lent.id is text; compare values of one type",
        ),
        ("person IN (SELECT id FROM lent WHERE org = 7)", "compare values of one type"),
        (
            "person IN (SELECT id FROM people WHERE true)",
            "module other declares no table `people` and imports none",
        ),
        (
            "person IN (SELECT id FROM acme.people WHERE true)",
            "`acme.people` is outside module other; a policy looks into what its module declares or imports",
        ),
        (
            "person IN (SELECT id FROM lent WHERE alias = 'x')",
            "column `alias` of the import `lent` is masked by acme",
        ),
        (
            "person IN (SELECT alias FROM lent WHERE true)",
            "column `alias` of the import `lent` is masked by acme",
        ),
        (
            "id IN (SELECT id FROM own WHERE person IN (SELECT id FROM lent WHERE alias IS NULL))",
            "column `alias` of the import `lent` is masked by acme",
        ),
    ] {
        let denied = OWN.replacen(using, to, 1);
        let problems = load(&scratch, PEOPLE, &denied).expect_err(to);
        assert!(
            problems.len() == 1 && problems[0].starts_with("modules/other.toml:19: ") && problems[0].contains(part),
            "{part}: {problems:#?}"
        );
    }
    // A policy of the other module that hides a column masks it, too.
    let hides = PEOPLE.replacen("\n[[export]]", "hide = [\"org\"]\n\n[[export]]", 1);
    let problems = load(&scratch, &hides, OWN).expect_err("org is masked");
    assert!(
        problems.len() == 1 && problems[0].contains("column `org` of the import `lent` is masked by acme"),
        "{problems:#?}"
    );
    // What is wrong with the import itself is said of the import alone.
    let elsewhere = OWN.replacen("from = \"acme\"", "from = \"third\"", 1);
    let exporter = &PEOPLE[..PEOPLE.find("[[export]]").expect("it is there")];
    let problems = load(&scratch, exporter, &elsewhere).expect_err("there is no third");
    assert!(
        problems.len() == 1 && problems[0].contains("there is no module `third`"),
        "{problems:#?}"
    );
}

#[test]
fn nobody_gets_more_for_being_shown_less() {
    let scratch = Scratch::new("lookups-negated");
    let (using, lookup) = (
        "person IN (SELECT id FROM lent WHERE org = claim.sub)",
        "person IN (SELECT id FROM lent WHERE true)",
    );
    let all = |text: &str| {
        text.replacen(
            "columns = [\"id\", \"org\", \"alias\"]",
            "columns = [\"id\", \"org\", \"alias\"]\nrows = \"all\"",
            1,
        )
    };
    let restricted = PEOPLE.replacen("name = \"people\"", "name = \"people\"\nrestrict = \"claim.verified\"", 1);
    for negated in [
        format!("NOT {lookup}"),
        "person NOT IN (SELECT id FROM lent WHERE true)".to_owned(),
        format!("({lookup}) IS NOT TRUE"),
        format!("({lookup}) IS NULL"),
        format!("({lookup}) = false"),
        format!("id = claim.sub AND NOT (n = 3 OR {lookup})"),
        format!("id NOT IN (SELECT id FROM own WHERE {lookup})"),
        format!("NOT NOT {lookup}"),
    ] {
        let with = OWN.replacen(using, &negated, 1);
        for (exporter, importer) in [(PEOPLE.to_owned(), with.clone()), (all(&restricted), all(&with))] {
            let problems = load(&scratch, &exporter, &importer).expect_err(&negated);
            assert!(
                problems.len() == 1 && problems[0].contains("whoever it shows less gets more here"),
                "{negated}: {problems:#?}"
            );
        }
        // Everybody is shown the same rows there.
        load(&scratch, &all(PEOPLE), &all(&with)).unwrap_or_else(|p| panic!("{negated}: {p:#?}"));
    }
    for allowed in [
        format!("({lookup}) IS TRUE"),
        format!("n = 3 AND (id = claim.sub OR {lookup})"),
        format!("id IN (SELECT id FROM own WHERE {lookup})"),
        "NOT n = 3 AND person IN (SELECT id FROM lent WHERE NOT org = claim.sub)".to_owned(),
    ] {
        let with = OWN.replacen(using, &allowed, 1);
        load(&scratch, PEOPLE, &with).unwrap_or_else(|p| panic!("{allowed}: {p:#?}"));
    }
}

/// A module with a table `t` that is shown to `to` and whose rows its policy finds by way of an import `seen` from `from`.
fn link(name: &str, from: &str, to: &str, rows: &str, policy: &str) -> String {
    let shared = |what: &str, key: &str, module: &str, more: &str| {
        format!("[[{what}]]\n{key} = {module}\ntable = \"t\"\ncolumns = [\"id\", \"of\"]\nrows = \"{rows}\"\n{more}\n")
    };
    module(
        name,
        &format!(
            "{}{}[[table]]\nname = \"t\"\nprimary_key = [\"id\"]\ncolumn = [{{ name = \"id\", type = \"text\" }}, {{ name = \"of\", type = \"text\" }}]\n\
             {policy}\n",
            shared("export", "to", &format!("[\"{to}\"]"), ""),
            shared("import", "from", &format!("\"{from}\""), "as = \"seen\""),
        ),
    )
}

const LOOKS: &str = "[[table.policy]]\nname = \"p\"\nfor = [\"select\"]\nusing = \"of IN (SELECT id FROM seen WHERE true)\"";
const DOES_NOT: &str = "[[table.policy]]\nname = \"p\"\nfor = [\"select\"]\nusing = \"id = claim.sub\"";

#[test]
fn nobody_arrives_where_they_began() {
    let scratch = Scratch::new("circles");
    let two = |rows: &str, a: &str, b: &str| {
        scratch.load(
            SETTINGS,
            &[("a", &link("a", "b", "b", rows, a)), ("b", &link("b", "a", "a", rows, b))],
        )
    };
    assert!(two("policies", LOOKS, DOES_NOT).is_ok());
    assert!(two("policies", DOES_NOT, LOOKS).is_ok());
    let problems = two("policies", LOOKS, LOOKS).expect_err("a circle");
    assert_eq!(
        problems,
        [
            "modules/a.toml:23: policies look into imports in a circle: a.seen shows rows of b.t, whose policies look into b.seen; b.seen shows \
             rows of a.t, whose policies look into a.seen; let one of them decide by a claim, or by a table of its own module"
        ]
    );
    // Where all rows are shown only restrictions decide which.
    assert!(two("all", LOOKS, LOOKS).is_ok());
    let restricted = |policy: &str| format!("restrict = \"of IN (SELECT id FROM seen WHERE true)\"\n{policy}");
    assert!(two("all", &restricted(DOES_NOT), LOOKS).is_ok());
    let problems = two("all", &restricted(DOES_NOT), &restricted(DOES_NOT)).expect_err("a circle");
    assert!(
        problems.len() == 1 && problems[0].contains("in a circle: a.seen"),
        "{problems:#?}"
    );

    let three = |a: &str, b: &str, c: &str| {
        scratch.load(
            SETTINGS,
            &[
                ("a", &link("a", "b", "c", "policies", a)),
                ("b", &link("b", "c", "a", "policies", b)),
                ("c", &link("c", "a", "b", "policies", c)),
            ],
        )
    };
    for one in 0..3 {
        let of = |n: usize| if n == one { DOES_NOT } else { LOOKS };
        let config = three(of(0), of(1), of(2)).unwrap_or_else(|p| panic!("{p:#?}"));
        let depths: Vec<usize> = (config.modules.iter())
            .map(|m| m.tables[0].predicates().map(|e| config.depth(m, e)).max().unwrap_or(0))
            .collect();
        let mut sorted = depths.clone();
        sorted.sort_unstable();
        assert_eq!((sorted.as_slice(), depths[one]), (&[0, 1, 2][..], 0));
    }
    let problems = three(LOOKS, LOOKS, LOOKS).expect_err("a circle");
    assert!(
        problems.len() == 1
            && problems[0].contains(
                "in a circle: a.seen shows rows of b.t, whose policies look into b.seen; b.seen shows rows of c.t, whose policies look into \
                 c.seen; c.seen shows rows of a.t, whose policies look into a.seen;"
            ),
        "{problems:#?}"
    );
}

#[test]
fn a_mask_goes_in_a_circle_too() {
    let scratch = Scratch::new("masked-circle");
    let masked = |policy: &str, mask: bool| {
        let unless = if mask {
            ", mask_unless = \"id IN (SELECT id FROM seen WHERE true)\""
        } else {
            ""
        };
        let text = link("b", "a", "a", "policies", policy);
        text.replacen(
            "{ name = \"of\", type = \"text\" }",
            &format!("{{ name = \"of\", type = \"text\"{unless} }}"),
            1,
        )
    };
    // It decides by the key, which nobody masks.
    let looks = LOOKS.replacen("of IN", "id IN", 1);
    let a = link("a", "b", "b", "policies", &looks);
    assert!(scratch.load(SETTINGS, &[("a", &a), ("b", &masked(DOES_NOT, false))]).is_ok());
    let problems = scratch
        .load(SETTINGS, &[("a", &a), ("b", &masked(DOES_NOT, true))])
        .expect_err("a circle");
    assert!(problems.len() == 1 && problems[0].contains("in a circle"), "{problems:#?}");
}

#[test]
fn rows_lie_in_the_scope_of_imported_rows() {
    let scratch = Scratch::new("scope-through-import");
    let own = |through: &str, columns: &str| {
        format!(
            "[roles.member]\nscope = [\"org\"]\nwhen = \"org = ANY(claim.org_member_of)\"\n[[import]]\nfrom = \"acme\"\ntable = \"people\"\n\
             columns = [{columns}]\nas = \"lent\"\n[[table]]\nname = \"own\"\nprimary_key = [\"id\"]\nscope_through = {{ column = \"person\", table = \
             \"lent\"{through} }}\ncolumn = [{{ name = \"id\", type = \"text\" }}, {{ name = \"person\", type = \"text\" }}]\n[[table.policy]]\n\
             name = \"p\"\nfor = [\"select\"]\nroles = [\"member\"]\n"
        )
    };
    let all = "\"id\", \"org\", \"alias\"";
    let config = load(&scratch, PEOPLE, &own(", references = \"id\"", all)).unwrap_or_else(|p| panic!("{p:#?}"));
    assert_eq!(
        of(&config, "other").tables[0].policies[0]
            .using
            .as_ref()
            .map(|e| e.source())
            .as_deref(),
        Some("(\"person\" IN (SELECT \"id\" FROM \"lent\" WHERE (\"org\" = ANY (claim.\"org_member_of\"))))")
    );
    let problems = load(&scratch, PEOPLE, &own("", all)).expect_err("by which column?");
    assert!(problems.iter().any(|p| p.contains("say with `references`")), "{problems:#?}");
    let without = PEOPLE.replacen("[\"id\", \"org\", \"alias\"]", "[\"id\", \"alias\"]", 1);
    let problems = load(&scratch, &without, &own(", references = \"id\"", "\"id\", \"alias\"")).expect_err("no org");
    assert!(problems.iter().any(|p| p.contains("scoped by `org`")), "{problems:#?}");
    let masked = PEOPLE.replacen("\n[[export]]", "hide = [\"org\"]\n\n[[export]]", 1);
    let problems = load(&scratch, &masked, &own(", references = \"id\"", all)).expect_err("it is masked");
    assert!(
        problems.len() == 1 && problems[0].contains("column `org` of the import `lent` is masked"),
        "{problems:#?}"
    );
}

#[test]
fn claims_are_compared_beneath_an_import_too() {
    let scratch = Scratch::new("lookups-tags");
    let sealed = PEOPLE
        .replacen(
            "  { name = \"alias\"",
            "  { name = \"mail\", type = \"text\", protect = { search = [\"eq\"] } },\n  { name = \"alias\"",
            1,
        )
        .replacen("org = ANY(claim.org_member_of)", "mail = claim.sub", 1);
    let columns = |config: &Config, module: &str| -> Vec<String> {
        let tags = config.claim_tags(of(config, module));
        tags.into_iter()
            .map(|t| format!("{}.{}", t.column.table, t.column.column))
            .collect()
    };
    let config = load(&scratch, &sealed, OWN).unwrap_or_else(|p| panic!("{p:#?}"));
    assert_eq!(columns(&config, "other"), ["acme.people.mail"]);
    assert_eq!(columns(&config, "acme"), ["acme.people.mail"]);
    // It is enough that the table is read; and where no policy decides, no claim is compared.
    let read = OWN.replacen("person IN (SELECT id FROM lent WHERE org = claim.sub)", "id = claim.sub", 1);
    let config = load(&scratch, &sealed, &read).unwrap_or_else(|p| panic!("{p:#?}"));
    assert_eq!(columns(&config, "other"), ["acme.people.mail"]);
    let all = |text: &str| {
        text.replacen(
            "columns = [\"id\", \"org\", \"alias\"]",
            "columns = [\"id\", \"org\", \"alias\"]\nrows = \"all\"",
            1,
        )
    };
    let config = load(&scratch, &all(&sealed), &all(OWN)).unwrap_or_else(|p| panic!("{p:#?}"));
    assert_eq!(columns(&config, "other"), [""; 0]);
}
