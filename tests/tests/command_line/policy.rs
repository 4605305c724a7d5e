//! `postern policy`: what it prints, and its exit codes.

use std::time::Duration;

use serde_json::Value;

use super::{Configuration, Said, run};

const SOON: Duration = Duration::from_secs(30);

fn policy(arguments: &[&str]) -> Said {
    let arguments: Vec<&str> = ["policy"].into_iter().chain(arguments.iter().copied()).collect();
    run(&arguments, SOON)
}

fn array(said: &Said) -> Vec<Value> {
    match serde_json::from_str(&said.out) {
        Ok(Value::Array(items)) => items,
        other => panic!("no JSON array but {other:?}:\n{}", said.text),
    }
}

/// The examples, and only these modules of them.
fn only(purpose: &str, modules: &[&str]) -> Configuration {
    let config = Configuration::new(purpose);
    for file in std::fs::read_dir(config.dir.join("modules")).expect("ours").flatten() {
        let path = file.path();
        let stem = path.file_stem().and_then(|s| s.to_str()).expect("a module's name").to_owned();
        if !modules.contains(&stem.as_str()) {
            std::fs::remove_file(path).expect("ours");
        }
    }
    config
}

#[test]
fn lint_names_the_line_and_ends_with_65_unless_it_is_accepted() {
    let config = only("lint", &["evilmod"]);
    let file = config.argument();
    let said = policy(&["lint", "--config", &file]);
    assert_eq!(said.code, Some(65), "{}", said.text);
    let manifest = std::fs::read_to_string(config.dir.join("modules/evilmod.toml")).expect("ours");
    let line = 1 + manifest.lines().position(|l| l == "using = \"true\"").expect("it is there");
    let expected = format!("modules/evilmod.toml:{line}: error[P001]: ");
    assert!(
        said.out.lines().any(|l| l.contains(&expected)),
        "no `{expected}` in {}",
        said.text
    );

    let said = policy(&["lint", "--format", "json", "--config", &file]);
    assert_eq!(said.code, Some(65), "{}", said.text);
    let found = array(&said);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0]["code"], "P001");
    assert_eq!(found[0]["line"], line);
    assert_eq!(
        (&found[0]["module"], &found[0]["table"]),
        (&Value::from("evilmod"), &Value::from("notes"))
    );
    assert_eq!(
        (&found[0]["policy"], &found[0]["severity"]),
        (&Value::from("everyone"), &Value::from("error"))
    );

    config.append(
        "modules/evilmod.toml",
        "allow_lint = [\"P001\"]\nallow_lint_reason = \"notes are public\"\n",
    );
    let said = policy(&["lint", "--config", &file]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "nothing found\n"), "{}", said.text);
    let said = policy(&["lint", "--format", "json", "--config", &file]);
    assert_eq!((said.code, array(&said)), (Some(0), Vec::new()), "{}", said.text);

    config.replace("modules/evilmod.toml", "[\"P001\"]", "[\"P999\"]");
    let said = policy(&["lint", "--config", &file]);
    assert_eq!(said.code, Some(64), "{}", said.text);
    assert!(said.text.contains("P999"), "{}", said.text);
}

#[test]
fn matrix_says_who_gets_what_in_three_forms() {
    let config = only("matrix", &["chat", "lab"]);
    let file = config.argument();
    let claims = r#"{"sub": "=bob<b>"}"#;
    let said = policy(&["matrix", "--config", &file, "--claims", claims]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(said.out.contains("chat: chat.messages"), "{}", said.text);
    assert!(
        said.out
            .lines()
            .any(|l| l.trim_start().starts_with("select ") && l.contains("some [")),
        "{}",
        said.text
    );
    assert!(said.out.contains("(\"sender_id\" = '=bob<b>')"), "{}", said.text);

    let said = policy(&["matrix", "--config", &file, "--claims", claims, "--format", "csv"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let mut records = said.out.split_terminator("\r\n");
    let head = records.next();
    assert_eq!(
        head,
        Some("\"module\",\"table\",\"operation\",\"column\",\"marks\",\"subject\",\"access\",\"rows\"")
    );
    assert!(
        said.out
            .contains("\"chat\",\"chat.messages\",\"delete\",\"\",\"\",\"guest\",\"none\",\"\"\r\n"),
        "{}",
        said.text
    );
    // A name that a spreadsheet would calculate with.
    assert!(
        said.out.contains(",\"'=bob<b>\",") && !said.out.contains(",\"=bob"),
        "{}",
        said.text
    );
    assert!(records.all(|r| r.starts_with("\"chat\",")), "{}", said.text);

    let said = policy(&["matrix", "--config", &file, "--claims", claims, "--format", "html"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(
        said.out.starts_with("<!DOCTYPE html>") && said.out.ends_with("</html>\n"),
        "{}",
        said.text
    );
    assert!(
        said.out.contains("<th>=bob&lt;b&gt;</th>") && !said.out.contains("<b>"),
        "{}",
        said.text
    );
    for elsewhere in ["http:", "https:", "src=", "<script"] {
        assert!(!said.out.contains(elsewhere), "{elsewhere}: {}", said.text);
    }

    let said = policy(&["matrix", "--config", &file, "--module", "lab"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "no tables are declared\n"),
        "{}",
        said.text
    );
}

#[test]
fn matrix_knows_people_as_the_issuer_does_and_refuses_others() {
    let config = only("people", &["chat"]);
    let file = config.argument();
    let said = policy(&["matrix", "--config", &file, "--as", "bob"]);
    assert_eq!(said.code, Some(2), "{}", said.text);
    assert!(said.text.contains("tokens.dev_people"), "{}", said.text);

    std::fs::write(
        config.dir.join("people.json"),
        r#"{"bob": {}, "root": {"super": true}, "odd": {"super": "yes"}}"#,
    )
    .expect("ours");
    config.replace(
        "postern.toml",
        "[tokens]",
        "[tokens]\ndev_issuer = true\ndev_people = \"people.json\"",
    );
    let said = policy(&["matrix", "--config", &file, "--as", "bob", "root"]);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let head = said.out.lines().nth(1).expect("a line of subjects");
    let subjects: Vec<&str> = head.split_whitespace().collect();
    assert_eq!(subjects, ["guest", "bob", "root", "service"], "{}", said.text);
    assert!(said.out.contains("(\"sender_id\" = 'bob')"), "{}", said.text);

    for (arguments, why) in [
        (vec!["--as", "nobody"], "nobody"),
        (vec!["--as", "odd"], "odd"),
        (vec!["--claims", r#"{"org_admin_of": ["A"]}"#], "sub"),
        (vec!["--claims", r#"{"sub": "x", "supper": true}"#], "supper"),
        (vec!["--claims", "x"], "not accepted"),
        (vec!["--module", "nowhere"], "nowhere"),
    ] {
        let all: Vec<&str> = ["matrix", "--config", &file].into_iter().chain(arguments).collect();
        let said = policy(&all);
        assert_eq!(said.code, Some(65), "{all:?}: {}", said.text);
        assert!(said.text.contains(why) && said.out.is_empty(), "{all:?}: {}", said.text);
    }
}

#[test]
fn diff_ends_with_65_where_more_is_let_through() {
    let (old, new) = (only("diff-old", &["chat"]), only("diff-new", &["chat"]));
    // Each has ports and a directory of its own, which say nothing of policies.
    let (before, after) = (old.argument(), new.argument());
    let said = policy(&["diff", &before, &after]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "both let through the same\n"),
        "{}",
        said.text
    );

    new.replace(
        "modules/chat.toml",
        "for = [\"select\", \"delete\"]\nusing = \"claim.super\"",
        "for = [\"select\", \"delete\"]\nusing = \"claim.super OR claim.verified\"",
    );
    let said = policy(&["diff", &before, &after]);
    assert_eq!(said.code, Some(65), "{}", said.text);
    assert!(said.out.contains("wider     chat.messages select: rows"), "{}", said.text);
    assert!(said.out.contains("claim.\"verified\""), "{}", said.text);
    let accepted = policy(&["diff", &before, &after, "--accept"]);
    assert_eq!((accepted.code, &accepted.out), (Some(0), &said.out), "{}", accepted.text);

    let said = policy(&["diff", &before, &after, "--format", "json"]);
    assert_eq!(said.code, Some(65), "{}", said.text);
    let changes = array(&said);
    assert!(
        changes.iter().all(|c| c["verdict"] == "wider" && c["module"] == "chat"),
        "{changes:?}"
    );
    assert!(
        changes.iter().any(|c| c["table"] == "messages" && c["operation"] == "select"),
        "{changes:?}"
    );

    let said = policy(&["diff", &after, &before]);
    assert_eq!(said.code, Some(0), "narrower needs nobody: {}", said.text);
    assert!(said.out.contains("narrower  chat.messages delete: rows"), "{}", said.text);
}
