//! The attacks of `attacks/*.toml`, a test for each file.

use postern_tests::attack::Family;
use postern_tests::product::workspace;
use postern_tests::stand::Stand;

fn run(name: &str) {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let file = workspace().join("tests/attacks").join(name);
    let failures = Family::read(&file).run(stand);
    assert!(
        failures.is_empty(),
        "{} of {name}:\n\n{}\n",
        failures.len(),
        failures.join("\n\n")
    );
}

#[test]
fn isolation() {
    run("isolation.toml");
}

#[test]
fn filters_reading() {
    run("filters_reading.toml");
}

#[test]
fn filters_writing() {
    run("filters_writing.toml");
}

#[test]
fn masks_and_protected_columns() {
    run("masks.toml");
}

#[test]
fn what_modules_make() {
    run("ddl.toml");
}
