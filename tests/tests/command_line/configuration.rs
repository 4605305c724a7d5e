//! Wrong configuration: exit code 64 and every mistake at once, with file and line.

use std::time::Duration;

use postern_tests::product::write_secret;

use super::{Configuration, run};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn the_examples_are_right() {
    let right = Configuration::new("right");
    let said = run(&["check", "--config", &right.argument()], SOON);
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(said.text.contains("disco"), "{}", said.text);
}

#[test]
fn every_mistake_is_told_at_once_with_file_and_line() {
    let wrong = Configuration::new("wrong");
    wrong.replace("postern.toml", "enforce = \"both\"", "enforce = \"perhaps\"\nno_such_key = 1");
    wrong.replace(
        "modules/sys_account.toml",
        "using = \"account_id = claim.sub\"",
        "using = \"acount_id = claim.sub\"",
    );
    wrong.replace(
        "modules/disco.toml",
        "using = \"claim.sub IS NOT NULL\"",
        "using = \"claim.subject IS NOT NULL\"",
    );
    wrong.replace("modules/chat.toml", "type = \"timestamptz\"", "type = \"timestamptzz\"");
    wrong.replace(
        "modules/evilmod.toml",
        "primary_key = [\"id\"]",
        "primary_key = [\"no_such_column\"]",
    );
    wrong.replace("modules/sys_core.toml", "for = [\"select\"]", "for = [\"selekt\"]");
    wrong.append("modules/lab.toml", "\n[[login]\n");
    let expected = [
        ("postern.toml", "perhaps"),
        ("postern.toml", "no_such_key"),
        ("sys_account.toml", "acount_id"),
        ("disco.toml", "subject"),
        ("chat.toml", "timestamptzz"),
        ("evilmod.toml", "no_such_column"),
        ("sys_core.toml", "selekt"),
        ("lab.toml", ""),
    ];
    let config = wrong.argument();
    for command in [
        vec!["check", "--config", &config],
        vec!["serve", "--config", &config],
        vec!["provision", "--config", &config],
        vec!["provision", "--dry-run", "--config", &config],
        vec!["explain", "--config", &config, "--module", "disco", "SELECT 1"],
        vec!["token", "mint", "--config", &config, "--module", "disco", "--as", "bob"],
        vec!["policy", "lint", "--config", &config],
        vec!["policy", "matrix", "--config", &config],
        vec!["policy", "diff", &config, &config],
    ] {
        let said = run(&command, SOON);
        assert_eq!(said.code, Some(64), "{command:?}:\n{}", said.text);
        for (file, word) in expected {
            let found = said.text.lines().any(|line| {
                let Some((_, rest)) = line.split_once(&format!("{file}:")) else {
                    return false;
                };
                rest.chars().take_while(char::is_ascii_digit).count() > 0 && line.contains(word)
            });
            assert!(
                found,
                "{command:?} says nothing of {file} with its line and `{word}`:\n{}",
                said.text
            );
        }
    }
}

#[test]
fn an_unknown_column_names_the_line_and_the_nearest_column() {
    let wrong = Configuration::new("column");
    wrong.replace(
        "modules/disco.toml",
        "check = \"sys_account_account_ref_id = claim.sub\"",
        "check = \"sys_account_acount_ref_id = claim.sub\"",
    );
    let text = std::fs::read_to_string(wrong.dir.join("modules/disco.toml")).expect("ours");
    let line = 1 + text
        .lines()
        .position(|l| l.contains("sys_account_acount_ref_id"))
        .expect("it is there");
    let said = run(&["check", "--config", &wrong.argument()], SOON);
    assert_eq!(said.code, Some(64), "{}", said.text);
    assert!(said.text.contains(&format!("disco.toml:{line}")), "{}", said.text);
    assert!(
        said.text.contains("`sys_account_account_ref_id`"),
        "no remedy is offered: {}",
        said.text
    );
}

#[test]
fn files_that_are_missing_or_open_to_others_are_named() {
    let said = run(&["check", "--config", "/nonexistent/postern.toml"], SOON);
    assert_eq!(said.code, Some(64), "{}", said.text);
    assert!(said.text.contains("/nonexistent/postern.toml"), "{}", said.text);

    let open = Configuration::new("open");
    let secret = open.dir.join("secrets/disco.client");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("ours");
    let said = run(&["serve", "--config", &open.argument()], SOON);
    assert!(said.code.is_some_and(|c| c != 0), "{}", said.text);
    assert!(
        said.text.contains("disco.client") || said.text.contains("upstream"),
        "{}",
        said.text
    );

    let missing = Configuration::new("missing");
    std::fs::remove_file(missing.dir.join("secrets/control")).expect("ours");
    for command in ["serve", "provision"] {
        let said = run(&[command, "--config", &missing.argument()], SOON);
        assert!(said.code.is_some_and(|c| c != 0), "{}", said.text);
        assert!(said.text.contains("secrets/control"), "{command}: {}", said.text);
    }
}

#[test]
fn arguments_that_make_no_sense() {
    let right = Configuration::new("arguments");
    let config = right.argument();
    for (arguments, codes, word) in [
        (vec![], vec![2], "Usage"),
        (vec!["no-such-command"], vec![2], "no-such-command"),
        (vec!["check", "--no-such-option"], vec![2], "--no-such-option"),
        (vec!["demo", "--port", "70000"], vec![2], "70000"),
        (
            vec!["explain", "--config", &config, "--module", "no_such_module", "SELECT 1"],
            vec![2, 65],
            "no_such_module",
        ),
        (
            vec!["token", "mint", "--config", &config, "--module", "disco", "--as", "bob"],
            vec![64, 65],
            "issuer",
        ),
        (
            vec![
                "explain",
                "--config",
                &config,
                "--module",
                "disco",
                "--catalog",
                "manifest",
                "SELECT * FROM nowhere",
            ],
            vec![65],
            "42P01",
        ),
    ] {
        let said = run(&arguments, SOON);
        assert!(
            said.code.is_some_and(|c| codes.contains(&c)),
            "{arguments:?}: {:?}\n{}",
            said.code,
            said.text
        );
        assert!(said.text.contains(word), "{arguments:?}: no `{word}` in\n{}", said.text);
    }
    for command in ["demo", "serve", "check", "provision", "explain", "token", "policy"] {
        let said = run(&[command, "--help"], SOON);
        assert_eq!(said.code, Some(0));
        if !["token", "policy"].contains(&command) {
            assert!(
                said.text.contains("Examples"),
                "{command} --help shows no example:\n{}",
                said.text
            );
        }
    }
    for command in [
        ["token", "mint"],
        ["policy", "lint"],
        ["policy", "matrix"],
        ["policy", "diff"],
    ] {
        let said = run(&[command[0], command[1], "--help"], SOON);
        assert_eq!(said.code, Some(0));
        assert!(
            said.text.contains("Examples"),
            "{command:?} --help shows no example:\n{}",
            said.text
        );
    }
}

#[test]
fn the_issuers_set_of_keys_is_read_where_it_is_there() {
    let made = Configuration::new("jwks");
    let audience = "audience = \"postern\"";
    made.replace(
        "postern.toml",
        audience,
        &format!("{audience}\njwks_file = \"secrets/issuer.jwks\""),
    );
    let config = made.argument();
    let check = || run(&["check", "--config", &config], SOON);
    let said = check();
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(said.text.contains("issuer.jwks is not here"), "{}", said.text);

    // The public key of RFC 8032's first test vector.
    let key = r#"{"kty": "OKP", "crv": "Ed25519", "kid": "2026-11", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let rsa = r#"{"kty": "RSA", "kid": "of another kind", "n": "AQAB", "e": "AQAB"}"#;
    let file = made.dir.join("secrets/issuer.jwks");
    let write = |keys: &str| write_secret(&file, &format!("{{\"keys\":\n[{keys}]}}\n"));
    write(&format!("{rsa}, {key}"));
    let said = check();
    assert_eq!(said.code, Some(0), "{}", said.text);
    for part in ["2026-11 in", "\"of another kind\" is not used"] {
        assert!(said.text.contains(part), "no `{part}` in\n{}", said.text);
    }
    for (keys, part) in [
        (format!("{key}, {key}"), "issuer.jwks:1: two keys have the kid \"2026-11\""),
        (rsa.to_owned(), "issuer.jwks:1: it has no Ed25519 key"),
        (key.replace("hcv", "h"), "issuer.jwks:1: `x` of the key \"2026-11\""),
        (format!("{key},"), "issuer.jwks:2: it is not a JWK Set"),
    ] {
        write(&keys);
        let said = check();
        assert_eq!(said.code, Some(64), "{keys}: {}", said.text);
        assert!(said.text.contains(part), "no `{part}` in\n{}", said.text);
        let said = run(&["serve", "--config", &config], SOON);
        assert_eq!(said.code, Some(73), "{keys}: {}", said.text);
        assert!(said.text.contains("issuer.jwks"), "{}", said.text);
    }
}
