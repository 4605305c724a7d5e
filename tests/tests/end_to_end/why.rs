//! `postern why`: what it says of a row is what the row filter does.

use postern_tests::product::run_postern;
use postern_tests::stand::Stand;

fn why(stand: &Stand, arguments: &[&str]) -> (Option<i32>, String) {
    let config = stand.config_file();
    let config = config.to_str().expect("UTF-8");
    let output = run_postern(&[&["why", "--config", config], arguments].concat());
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code(), text)
}

#[test]
fn the_predicate_that_hides_a_row_is_named() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let (code, text) = why(stand, &["--module", "disco", "--as", "bob", "survey_users", "su-dora"]);
    assert_eq!(code, Some(65), "{text}");
    assert!(text.contains("select: NOT"), "{text}");
    assert!(
        text.contains("✗ self: (\"sys_account_account_ref_id\" = claim.\"sub\") (false)"),
        "{text}"
    );
    assert!(!text.contains("Dora"), "a value of the row is told:\n{text}");

    let (code, text) = why(stand, &["--module", "disco", "--as", "bob", "survey_users", "su-bob"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("select: is seen") && text.contains("✓ self:"), "{text}");

    // A guest has no claim: what compares with one is null, and null lets nothing through.
    let (code, text) = why(stand, &["--module", "disco", "survey_users", "su-bob"]);
    assert_eq!(code, Some(65), "{text}");
    assert!(text.contains("(null)"), "{text}");

    let (code, text) = why(stand, &["--module", "disco", "--as", "bob", "survey_users", "su-nobody"]);
    assert!(code == Some(65) && text.contains("no such row"), "{text}");
    let (code, text) = why(stand, &["--module", "disco", "--as", "bob", "survey_users"]);
    assert_eq!(code, Some(2), "{text}");
    let (code, text) = why(stand, &["--module", "disco", "--as", "bob", "no_such_table", "x"]);
    assert!(code == Some(65) && text.contains("survey_users"), "{text}");
}

/// For every account and every person: what `why` says is what a query as that person finds.
#[test]
fn why_agrees_with_what_is_seen() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    for person in ["bob", "dora", "root"] {
        let mut c = stand.connect("sys_account", Some(person));
        for account in ["bob", "dora", "eve"] {
            let sql = format!("SELECT count(*) FROM accounts WHERE id = '{account}'");
            let seen = c.run(&sql).good(&sql).scalar();
            let (code, text) = why(stand, &["--module", "sys_account", "--as", person, "accounts", account]);
            let expected = if seen.as_deref() == Some("1") { Some(0) } else { Some(65) };
            assert_eq!(code, expected, "{person} and {account}: {seen:?}\n{text}");
        }
    }
}
