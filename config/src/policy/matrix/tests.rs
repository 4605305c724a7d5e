use super::*;
use crate::expr::Claim;
use crate::policy::configured::{HEAD, OWN, configured, with};
use crate::policy::fold::{ClaimValue, Known};

fn person(name: &str) -> Subject {
    let mut claims = Known::guest();
    claims.set(Claim::Sub, ClaimValue::Text(name.to_owned())).expect("text");
    Subject::Person {
        name: name.to_owned(),
        claims,
    }
}

fn root() -> Subject {
    let Subject::Person { name, mut claims } = person("root") else {
        panic!("a person")
    };
    claims.set(Claim::Super, ClaimValue::Bool(true)).expect("a bool");
    Subject::Person { name, claims }
}

/// A word for each subject.
fn words(lines: &[Line], step: &str, column: Option<&str>) -> Vec<String> {
    let line = lines
        .iter()
        .find(|l| l.step.to_string() == step && l.column.as_ref().map(Ident::as_str) == column)
        .unwrap_or_else(|| panic!("no line {step} {column:?}"));
    let word = |cell: &Option<Folded>| match cell {
        None => "–".to_owned(),
        Some(Folded::All) => "all".to_owned(),
        Some(Folded::None) => "none".to_owned(),
        Some(Folded::Some(expr)) => expr.source(),
    };
    line.cells.iter().map(word).collect()
}

fn marks(lines: &[Line], step: &str, column: &str) -> Vec<String> {
    let line = lines
        .iter()
        .find(|l| l.step.to_string() == step && l.column.as_ref().is_some_and(|c| c.as_str() == column));
    line.expect("the column has a line")
        .marks
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn each_subject_gets_its_own_rows_and_columns() {
    let text = with(
        OWN,
        "{ name = \"body\", type = \"text\"",
        "{ name = \"body\", type = \"text\", mask_unless = \"claim.super\"",
    );
    let text = with(
        &text,
        "{ name = \"id\", type = \"text\"",
        "{ name = \"id\", type = \"text\", immutable = true",
    );
    let text = format!(
        "{HEAD}{text}columns = [\"body\"]\n\n[[table.policy]]\nname = \"super\"\nfor = [\"select\", \"update\"]\nusing = \"claim.super\"\ncheck = \
         \"claim.super\"\n"
    );
    let config = configured(&text);
    let lines = matrix(&config, &[Subject::Guest, person("bob"), root(), Subject::Service]);
    let own = |name: &str| format!("(\"owner\" = '{name}')");
    assert_eq!(words(&lines, "select", None), ["none", &own("bob"), "all", "–"]);
    assert_eq!(words(&lines, "insert", None), ["none", &own("bob"), &own("root"), "–"]);
    assert_eq!(words(&lines, "update", None), ["none", &own("bob"), "all", "–"]);
    assert_eq!(words(&lines, "update to", None), ["none", &own("bob"), "all", "–"]);
    assert_eq!(words(&lines, "delete", None), ["none", &own("bob"), &own("root"), "–"]);
    // The mask hides what the row shows; nobody reads `never`, nobody changes what is immutable.
    assert_eq!(words(&lines, "select", Some("body")), ["none", "none", "all", "–"]);
    assert_eq!(words(&lines, "select", Some("secret")), ["none", "none", "none", "–"]);
    assert_eq!(words(&lines, "update", Some("id")), ["none", "none", "none", "–"]);
    // Only the policy without a list lets this one be assigned.
    assert_eq!(words(&lines, "update", Some("price")), ["none", "none", "all", "–"]);
    assert_eq!(words(&lines, "update", Some("body")), ["none", &own("bob"), "all", "–"]);
    assert_eq!(marks(&lines, "select", "body"), ["masked"]);
    assert_eq!(marks(&lines, "select", "secret"), ["never"]);
    assert_eq!(marks(&lines, "update", "id"), ["immutable"]);
    assert_eq!(marks(&lines, "update", "body"), ["listed by own"]);
    assert_eq!(marks(&lines, "update", "price"), ["not listed"]);
    assert!(marks(&lines, "insert", "id").is_empty());
}

#[test]
fn sealed_columns_are_marked_and_a_service_login_counts() {
    let head = with(
        HEAD,
        "login = [",
        "login = [{ name = \"acme_service\", kind = \"service\" }, ",
    );
    let text = with(
        OWN,
        "{ name = \"body\", type = \"text\"",
        "{ name = \"body\", type = \"text\", protect = { search = [] }",
    );
    let text = with(&text, "using = \"owner = claim.sub\"", "using = \"claim.service = 'acme'\"");
    let lines = matrix(&configured(&format!("{head}{text}")), &[Subject::Guest, Subject::Service]);
    assert_eq!(words(&lines, "select", None), ["none", "all"]);
    for step in ["select", "insert", "update"] {
        assert_eq!(marks(&lines, step, "body"), ["sealed"]);
    }
}

#[test]
fn somebody_who_is_disabled_gets_nothing() {
    let Subject::Person { name, mut claims } = root() else {
        panic!("a person")
    };
    claims.set(Claim::Disabled, ClaimValue::Bool(true)).expect("a bool");
    let disabled = Subject::Person { name, claims };
    let config = configured(&format!("{HEAD}{OWN}"));
    for line in matrix(&config, &[disabled]) {
        assert_eq!(line.cells, [Some(Folded::None)], "{line:?}");
    }
}
