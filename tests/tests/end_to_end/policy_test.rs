//! `postern policy test`: the examples' cases hold against the demo, a wrong expectation is told, and nothing that a case does stays.

use std::fs;
use std::path::{Path, PathBuf};

use postern_tests::product::{fresh_directory, run_postern, workspace};
use postern_tests::stand::Stand;
use serde_json::Value;

struct Said {
    code: Option<i32>,
    out: String,
    text: String,
}

fn policy_test(stand: &Stand, arguments: &[&str]) -> Said {
    said(&stand.config_file(), arguments)
}

fn said(config: &Path, arguments: &[&str]) -> Said {
    let config = config.to_str().expect("UTF-8");
    let output = run_postern(&[&["policy", "test", "--config", config], arguments].concat());
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = format!("{out}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("panicked"), "{text}");
    Said {
        code: output.status.code(),
        out,
        text,
    }
}

fn example(name: &str) -> String {
    let file = workspace().join("config/examples/tests").join(name);
    file.to_str().expect("UTF-8").to_owned()
}

fn written(cases: &str) -> PathBuf {
    let file = fresh_directory("policy-test").join("cases.toml");
    fs::write(&file, cases).expect("the directory is ours");
    file
}

/// Exit code and report of cases written here.
fn of(stand: &Stand, cases: &str, arguments: &[&str]) -> Said {
    let file = written(cases);
    let path = file.to_str().expect("UTF-8");
    let said = policy_test(stand, &[&[path], arguments].concat());
    let _ = fs::remove_dir_all(file.parent().expect("a directory"));
    said
}

fn directories_of_runs() -> usize {
    let entries = fs::read_dir(std::env::temp_dir()).expect("a temporary directory");
    entries
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("postern-policy-test-"))
        .count()
}

#[test]
fn the_examples_hold() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let said = policy_test(
        stand,
        &[&example("disco.toml"), &example("chat.toml"), "--min-coverage", "10"],
    );
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(said.out.contains("31 cases: 31 hold, 0 do not"), "{}", said.text);
    // Bob alone shows that `self` lets through, root that `super` does, and both that they do not let through others.
    assert!(
        said.out
            .contains("select self             let through: bob; not let through: (guest), bob, carl, eve"),
        "{}",
        said.text
    );
    assert!(
        said.out.contains("select super            let through: root;"),
        "{}",
        said.text
    );
    // Nina is in no survey herself, so that only what admins may can have let her through.
    assert!(
        said.out.contains("select admin            let through: nina;"),
        "{}",
        said.text
    );
    assert!(
        said.out
            .contains("delete admin            let through: never; not let through: never"),
        "{}",
        said.text
    );

    let said = policy_test(stand, &[&example("chat.toml"), "--min-coverage", "99"]);
    assert_eq!(said.code, Some(65), "{}", said.text);
    assert!(said.text.contains("99 % are asked for"), "{}", said.text);
}

/// Each case of the examples with another expectation fails: none of them holds by itself.
#[test]
fn a_wrong_expectation_fails_with_what_differs() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    for name in ["disco.toml", "chat.toml"] {
        let text = fs::read_to_string(example(name)).expect("the example can be read");
        let mut document: toml::Table = text.parse().expect("it is TOML");
        let cases = document.get_mut("case").and_then(toml::Value::as_array_mut).expect("cases");
        let count = cases.len();
        for case in cases {
            let case = case.as_table_mut().expect("a case");
            let expect = case
                .get_mut("expect")
                .and_then(toml::Value::as_table_mut)
                .expect("an expectation");
            if expect.remove("denied").is_some() {
                expect.insert("count".to_owned(), 1.into());
            } else {
                expect.clear();
                expect.insert("denied".to_owned(), true.into());
            }
        }
        let said = of(stand, &document.to_string(), &["--format", "json"]);
        assert_eq!(said.code, Some(65), "{}", said.text);
        let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}", said.text));
        let all = report["cases"].as_array().expect("cases");
        assert_eq!(all.len(), count);
        assert!(all.iter().all(|c| c["holds"] == false), "{report:#}");
        assert_eq!(report["coverage"]["percent"], 0, "cases that do not hold cover nothing");
    }

    let wrong = "module = \"disco\"\n[[case]]\nname = \"wrong\"\nas = \"bob\"\nsql = \"SELECT survey_user_id FROM survey_users\"\n\
                 expect = { rows = [[\"su-dora\"]] }\n";
    let said = of(stand, wrong, &[]);
    assert_eq!(said.code, Some(65), "{}", said.text);
    for line in [
        "FAIL  wrong (line 3)",
        "as        bob on login disco",
        "- \"su-dora\"",
        "+ \"su-bob\"",
        "1 case does not hold",
    ] {
        assert!(said.text.contains(line), "no `{line}` in\n{}", said.text);
    }
}

/// A module with roles is told by them: who stands in which, whom policies let through in it, and of which no case tells.
#[test]
fn coverage_is_told_by_role() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let insert = |who: &str, project: &str, org: &str, expect: &str| {
        format!(
            "[[case]]\nname = \"{who} in {project}\"\nas = \"{who}\"\nsql = \"INSERT INTO halls (id, project, org_id, title) \
             VALUES ('policy-test', '{project}', '{org}', 'x')\"\nexpect = {{ {expect} }}\n"
        )
    };
    let cases = [
        insert("carl", "PA1", "B", "count = 1"),
        insert("carl", "PB1", "B", "denied = true"),
        insert("root", "PB1", "B", "count = 1"),
        insert("bob", "PA1", "B", "denied = true"),
        insert("gus", "PA1", "A", "denied = true"),
    ];
    let file = written(&format!("module = \"guild\"\n{}", cases.join("")));
    let path = file.to_str().expect("UTF-8");
    let told = said(&stand.gate().config, &[path]);
    let json = said(&stand.gate().config, &[path, "--format", "json"]);
    let _ = fs::remove_dir_all(file.parent().expect("a directory"));
    assert_eq!(told.code, Some(0), "{}", told.text);
    let roles = "insert admins           let through: carl, root; not let through: bob, carl, gus\n           by role          \
                 let through: project_admin, superadmin; not let through: member, project_admin, user; no case: org_admin\n";
    assert!(told.out.contains(roles), "{}", told.text);
    assert!(
        told.out
            .contains("by role          let through: never; not let through: never; no case: member, org_admin, project_admin"),
        "{}",
        told.text
    );
    let report: Value = serde_json::from_str(&json.out).unwrap_or_else(|e| panic!("{e}: {}", json.text));
    let lines = report["coverage"]["policies"].as_array().expect("policies");
    let of = |module: &str, operation: &str| {
        let found = (lines.iter()).find(|l| l["module"] == module && l["operation"] == operation);
        found.expect("a policy")["roles"].clone()
    };
    assert_eq!(of("guild", "insert")["untold"], serde_json::json!(["org_admin"]));
    // The twin: a module without roles is not told by any.
    assert_eq!(of("disco", "insert"), Value::Null);
}

#[test]
fn what_a_case_does_is_rolled_back_and_it_cannot_commit() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let before = directories_of_runs();
    let insert = "INSERT INTO notes (id, body) VALUES ('policy-test', 'x')";
    let case = |name: &str, sql: &str, setup: &str| {
        format!("[[case]]\nname = \"{name}\"\nsql = \"{sql}\"\nsetup = [{setup}]\nexpect = {{ count = 1 }}\n")
    };
    let cases = [
        case("written", insert, ""),
        case("with COMMIT", &format!("{insert}; COMMIT"), ""),
        case("with END in the setup", "SELECT 1", &format!("\"{insert}; end\"")),
        case(
            "with ROLLBACK AND CHAIN",
            &format!("ROLLBACK AND CHAIN; {insert}; COMMIT AND CHAIN"),
            "",
        ),
        case("savepoints are its own", &format!("SAVEPOINT a; {insert}"), ""),
    ];
    let said = of(stand, &format!("module = \"evilmod\"\n{}", cases.join("")), &[]);
    assert_eq!(said.code, Some(65), "{}", said.text);
    assert!(said.out.contains("5 cases: 2 hold, 3 do not"), "{}", said.text);
    assert!(
        said.out.contains("ok    written") && said.out.contains("ok    savepoints are its own"),
        "{}",
        said.text
    );
    let left = "SELECT count(*) FROM evilmod.notes WHERE id = 'policy-test'";
    assert_eq!(stand.dba_connection().run(left).good(left).scalar().as_deref(), Some("0"));
    // Other tests run such runs beside this one.
    let gone = postern_tests::stand::eventually(std::time::Duration::from_secs(60), || {
        (directories_of_runs() <= before).then_some(())
    });
    assert!(gone.is_some(), "a run's secrets stay behind");
}

#[test]
fn mistakes_in_cases_are_told_with_their_lines() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let said = of(
        stand,
        "module = \"disco\"\n[[case]]\nname = \"a\"\nas = \"nobody\"\nsql = \"SELECT 1\"\nexpect = { count = 1 }\n\
         [[case]]\nname = \"b\"\nsql = \"SELECT 1\"\nexpect = {}\n",
        &[],
    );
    assert_eq!(said.code, Some(64), "{}", said.text);
    assert!(said.text.contains("cases.toml:3: nobody is called `nobody`"), "{}", said.text);
    assert!(said.text.contains("cases.toml:8: `expect` says nothing"), "{}", said.text);
    let said = policy_test(stand, &[&example("chat.toml"), "--only", "no case is called so"]);
    assert_eq!(said.code, Some(65), "{}", said.text);
    let said = policy_test(stand, &["/nonexistent/cases.toml"]);
    assert_eq!(said.code, Some(73), "{}", said.text);
}
