//! Drafts are read by the loader itself.

use super::*;

fn column(name: &str, ty: &str) -> Column {
    Column {
        name: name.to_owned(),
        ty: ty.to_owned(),
        ..Column::default()
    }
}

fn table(name: &str, columns: Vec<Column>) -> Table {
    Table {
        name: name.to_owned(),
        columns,
        secured: true,
        ..Table::default()
    }
}

fn policy(name: &str, command: char, using: &str) -> Policy {
    Policy {
        name: name.to_owned(),
        command,
        permissive: true,
        roles: Vec::new(),
        using: Some(using.to_owned()),
        check: None,
    }
}

fn names(of: &[&str]) -> Vec<String> {
    of.iter().map(|n| (*n).to_owned()).collect()
}

/// Writes the draft beside the examples' settings and loads it.
fn loaded(schema: &Schema, division: &Division) -> (String, crate::Manifest) {
    let module = division
        .modules
        .get(&schema.name)
        .cloned()
        .unwrap_or_else(|| module_name(&schema.name));
    let text = manifest(schema, &module, division);
    let dir = std::env::temp_dir().join(format!("postern-draft-{}-{}", std::process::id(), module.as_str()));
    std::fs::create_dir_all(dir.join("modules")).expect("a directory");
    let settings = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/postern.toml"));
    std::fs::write(dir.join("postern.toml"), settings.expect("the example")).expect("ours");
    std::fs::write(dir.join(format!("modules/{module}.toml")), &text).expect("ours");
    let config = crate::load(&dir.join("postern.toml")).unwrap_or_else(|e| panic!("{:#?}\n{text}", e.0));
    let _ = std::fs::remove_dir_all(dir);
    (text, (*config.modules[0]).clone())
}

fn claims(of: &[(&str, Claim)]) -> Division {
    Division {
        modules: BTreeMap::new(),
        claims: of.iter().map(|(s, c)| ((*s).to_owned(), *c)).collect(),
    }
}

#[test]
fn names_and_types_that_a_manifest_cannot_say_become_comments() {
    let mut awkward = table(
        "Weird \"table\"\nname",
        vec![
            column("id", "bigint"),
            column("ünïcode ' \" \\ column", "text"),
            column("postern$eq$x", "bytea"),
            column("mood", "app.mood"),
            column("at", "timestamp(3) with time zone"),
            column("Email", "character varying(320)"),
            column("tags", "text[]"),
            column("amount", "numeric(12,2)"),
            column("kind", "\"char\""),
        ],
    );
    awkward.primary_key = names(&["id"]);
    awkward.unique = vec![names(&["Email"]), names(&["id"]), names(&["mood"]), names(&["Email"])];
    awkward.columns[0].default = Some("nextval('app.seq'::regclass)".to_owned());
    awkward.columns[7].default = Some("'-1'::integer".to_owned());
    awkward.notes = vec!["CHECK ((amount > 0))\nand more".to_owned()];
    let nothing = table("only_enums", vec![column("mood", "app.mood")]);
    let schema = Schema {
        name: "Odd Schema".to_owned(),
        tables: vec![awkward, nothing],
        others: vec!["view \n v".to_owned()],
    };
    let (text, manifest) = loaded(&schema, &Division::default());
    assert_eq!(manifest.module.as_str(), "odd_schema");
    assert_eq!(manifest.schema.as_str(), "Odd Schema");
    assert_eq!(manifest.tables.len(), 1, "{text}");
    let declared: Vec<&str> = manifest.tables[0].columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(declared, ["id", "ünïcode ' \" \\ column", "Email", "tags", "amount"]);
    assert_eq!(manifest.tables[0].unique.len(), 1);
    for said in [
        "# mood app.mood: a manifest cannot declare this type",
        "# postern$eq$x",
        "to protect it",
        "UNIQUE (mood)",
        "# The table only_enums",
    ] {
        assert!(text.contains(said), "no `{said}` in\n{text}");
    }
    assert!(
        manifest.tables[0].columns.iter().all(|c| c.protection.is_none()),
        "nothing is protected silently"
    );
    assert!(manifest.tables[0].policies.is_empty());
}

#[test]
fn a_schema_that_no_module_can_own_is_renamed_aloud() {
    let schema = Schema {
        name: "public".to_owned(),
        tables: vec![table("t", vec![column("a", "int4")])],
        others: Vec::new(),
    };
    let division = Division {
        modules: module_names(["public", "shop"], "Shop", &BTreeMap::new()),
        ..Division::default()
    };
    assert_eq!(division.modules["public"].as_str(), "shop");
    assert_eq!(division.modules["shop"].as_str(), "shop_2");
    let (text, manifest) = loaded(&schema, &division);
    assert_eq!(manifest.schema.as_str(), "shop");
    assert!(text.contains("ALTER SCHEMA public RENAME TO shop"), "{text}");
}

#[test]
fn module_names_are_made_of_what_they_may_hold() {
    for (schema, module) in [
        ("app", "app"),
        ("Weird Schema!", "weird_schema"),
        ("42", "m_42"),
        ("pg_things", "m_pg_things"),
        ("postern", "m_postern"),
        ("…", "module"),
        ("ÄÖÜ", "module"),
        ("a__b", "a__b"),
    ] {
        assert_eq!(module_name(schema).as_str(), module, "{schema}");
    }
    assert!(module_name(&"x".repeat(63)).as_str().len() <= 38);
}

#[test]
fn keys_point_upwards_and_what_cannot_is_said() {
    let key = |column: &str, schema: &str, target: &str| ForeignKey {
        columns: names(&[column]),
        table: (schema.to_owned(), target.to_owned()),
        references: names(&["id"]),
        actions: vec!["ON DELETE CASCADE".to_owned()],
    };
    let with_id = |name: &str, more: Vec<Column>| {
        let mut made = table(name, [vec![column("id", "text")], more].concat());
        made.primary_key = names(&["id"]);
        made
    };
    let mut child = with_id(
        "a_child",
        vec![column("parent", "text"), column("far", "text"), column("number", "int4")],
    );
    child.foreign_keys = vec![
        key("parent", "app", "z_parent"),
        key("far", "other", "things"),
        key("number", "app", "z_parent"),
    ];
    let mut parent = with_id("z_parent", vec![column("up", "text")]);
    parent.foreign_keys = vec![key("up", "app", "z_parent")];
    let mut left = with_id("left", vec![column("r", "text")]);
    left.foreign_keys = vec![key("r", "app", "right")];
    let mut right = with_id("right", vec![column("l", "text")]);
    right.foreign_keys = vec![key("l", "app", "left")];
    let schema = Schema {
        name: "app".to_owned(),
        tables: vec![child, left, right, parent],
        others: Vec::new(),
    };
    let division = Division {
        modules: module_names(["app", "other"], "db", &BTreeMap::new()),
        ..Division::default()
    };
    let (text, manifest) = loaded(&schema, &division);
    let keys = |name: &str| manifest.table(name).expect("it is there").foreign_keys.len();
    assert_eq!((keys("a_child"), keys("z_parent")), (1, 1), "{text}");
    assert_eq!(keys("left") + keys("right"), 1, "one of two that refer to each other: {text}");
    for said in [
        "of module other: that module would export",
        "of different types",
        "refer to each other",
        "ON DELETE CASCADE",
    ] {
        assert!(text.contains(said), "no `{said}` in\n{text}");
    }
}

#[test]
fn native_policies_are_taken_over_where_the_language_has_them() {
    let mut items = table(
        "items",
        vec![
            column("id", "int4"),
            column("owner", "text"),
            column("org", "character varying(20)"),
            column("state", "text"),
            column("public", "boolean"),
        ],
    );
    items.primary_key = names(&["id"]);
    let mut roles = policy("for a role", 'r', "true");
    roles.roles = names(&["auditor"]);
    let mut restrict = policy("not deleted", '*', "(state <> 'deleted'::text)");
    restrict.permissive = false;
    let mut partial = policy("no deletes", 'd', "false");
    partial.permissive = false;
    let mut insert = policy("add", 'a', "");
    insert.using = None;
    insert.check = Some(
        "((owner = current_setting('app.user'::text, true)) AND (state = ANY (ARRAY['new'::text, 'open'::text])))".to_owned(),
    );
    items.policies = vec![
        policy(
            "own",
            '*',
            "(owner = NULLIF(current_setting('app.user'::text, true), ''::text))",
        ),
        policy(
            "org",
            'r',
            "((org)::text = ANY (string_to_array(current_setting('app.orgs'::text), ','::text)))",
        ),
        policy("public", 'r', "(public IS TRUE)"),
        policy(
            "shared",
            'r',
            "(id IN ( SELECT s.item_id\n   FROM app.shares s\n  WHERE ((s.account)::text = current_setting('app.user'::text))))",
        ),
        policy("admin", 'w', "(current_setting('app.admin'::text))::boolean"),
        insert,
        roles,
        restrict,
        partial,
        policy("session", 'r', "(owner = CURRENT_USER)"),
        policy("unknown", 'r', "(owner = current_setting('app.other'::text))"),
        policy(
            "correlated",
            'r',
            "(EXISTS ( SELECT 1 FROM app.shares s WHERE (s.item_id = items.id)))",
        ),
        policy("function", 'r', "app.may_see(id)"),
        policy("elsewhere", 'r', "(owner IN ( SELECT a.id FROM other.accounts a))"),
    ];
    let mut shares = table("shares", vec![column("item_id", "int4"), column("account", "text")]);
    shares.secured = false;
    shares.policies = vec![policy("all", 'r', "true")];
    let schema = Schema {
        name: "app".to_owned(),
        tables: vec![items, shares],
        others: Vec::new(),
    };
    let division = claims(&[
        ("app.user", Claim::Sub),
        ("app.orgs", Claim::OrgMemberOf),
        ("app.admin", Claim::Super),
    ]);
    let (text, manifest) = loaded(&schema, &division);
    let items = manifest.table("items").expect("it is there");
    let taken: Vec<&str> = items.policies.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(taken, ["own", "org", "public", "shared", "admin", "add"], "{text}");
    let source = |n: usize| {
        items.policies[n]
            .using
            .as_ref()
            .map(crate::expr::Expr::source)
            .unwrap_or_default()
    };
    assert_eq!(source(0), "(\"owner\" = claim.\"sub\")");
    assert_eq!(items.policies[0].check, items.policies[0].using);
    assert_eq!(source(1), "(\"org\" = ANY (claim.\"org_member_of\"))");
    assert!(
        source(3).contains("IN (SELECT \"item_id\" FROM \"shares\" WHERE (\"account\" = claim.\"sub\"))"),
        "{}",
        source(3)
    );
    assert_eq!(items.policies[5].using, None);
    // The settings' own restriction comes first.
    let restrict = items.restrictions.last().map(crate::expr::Expr::source);
    assert_eq!(restrict.as_deref(), Some("(\"state\" <> 'deleted')"));
    for said in [
        "# The native policy for a role is not taken over: it is for the roles auditor alone",
        "#   AS PERMISSIVE FOR SELECT TO auditor",
        "# The native policy no deletes is not taken over: it restricts some operations",
        "# The native policy session",
        "--claim app.other=CLAIM",
        "#   USING (app.may_see(id))",
        "# The native policy correlated",
        "# The native policy elsewhere is not taken over: it looks into other.accounts",
        "# Native row-level security is off in the database",
    ] {
        assert!(text.contains(said), "no `{said}` in\n{text}");
    }
    // Without being told what a setting means nothing is guessed.
    let (text, manifest) = loaded(&schema, &Division::default());
    let taken: Vec<&str> = manifest
        .table("items")
        .expect("there")
        .policies
        .iter()
        .map(|p| p.name.as_str())
        .collect();
    assert_eq!(taken, ["public"], "{text}");
}
