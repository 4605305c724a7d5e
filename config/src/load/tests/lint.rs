//! What `postern policy lint` needs of a manifest: accepted findings, and lines.

use super::{manifest, table, twins};
use crate::lint_code::LintCode;
use crate::names::Ident;

#[test]
fn accepted_findings() {
    let of_table =
        |codes: &str, reason: &str| table(&format!("column = [{{ name = \"id\", type = \"text\" }}]\n{codes}\n{reason}"));
    let reason = "allow_lint_reason = \"ids are random\"";
    let allowed = of_table("allow_lint = [\"P005\", \"P004\"]", reason);
    for (denied, line, part) in [
        (of_table("allow_lint = [\"P999\"]", reason), 7, "no lint code `P999`"),
        (of_table("allow_lint = [\"P015\"]", reason), 7, "is stale"),
        (of_table("allow_lint = [\"P005\", \"P005\"]", reason), 7, "stands twice"),
        (of_table("allow_lint = []", reason), 7, "is empty"),
        (of_table("allow_lint = [\"P005\"]", ""), 7, "needs a reason"),
        (
            of_table("allow_lint = [\"P005\"]", "allow_lint_reason = \" \""),
            7,
            "needs a reason",
        ),
        (of_table(reason, ""), 7, "a reason for nothing"),
    ] {
        twins(&allowed, &denied, line, part);
    }
    let policy = |rest: &str| {
        table("column = [{ name = \"id\", type = \"text\" }]")
            + &format!("[[table.policy]]\nname = \"p\"\nfor = [\"select\"]\nusing = \"true\"\n{rest}")
    };
    let accepted = policy("allow_lint = [\"P001\"]\nallow_lint_reason = \"it is public\"\n");
    twins(&accepted, &policy("allow_lint = [\"P001\"]\n"), 11, "needs a reason");
    let found = manifest(&accepted).unwrap().tables[0].policies[0].allow_lint.clone();
    let found = found.expect("it was written");
    assert_eq!((found.reason.as_str(), found.line), ("it is public", 11));
    assert_eq!(found.codes, [LintCode::AlwaysTrue]);
}

#[test]
fn lines_of_what_reports_speak_of() {
    let text = table(
        "restrict = \"claim.verified\"\nprimary_key = [\"id\"]\nunique = [[\"name\"],\n  [\"parent\"]]\n\
         foreign_key = [{ columns = [\"parent\"], table = \"t\" }]\ncolumn = [\n  { name = \"id\", type = \"text\" },\n  \
         { name = \"name\", type = \"text\" },\n  { name = \"parent\", type = \"text\" },\n]\n\
         [[table.policy]]\nname = \"p\"\nfor = [\"select\", \"update\"]\nusing = \"id = claim.sub\"\ncheck = \"id = claim.sub\"\n\
         columns = [\"name\"]\nhide = [\"name\"]",
    );
    let manifest = manifest(&text).unwrap();
    let (table, line_of) = (&manifest.tables[0], |part: &str| {
        text.lines().position(|l| l.contains(part)).expect("it is there") + 1
    });
    assert_eq!(table.lines.name, line_of("name = \"t\""));
    assert_eq!(table.lines.restrict, Some(line_of("restrict")));
    assert_eq!(table.lines.primary_key, line_of("primary_key"));
    assert_eq!(table.lines.unique, [line_of("unique"), line_of("[\"parent\"]]")]);
    assert_eq!(table.foreign_keys[0].line, line_of("foreign_key"));
    let lines = table.policies[0].lines;
    assert_eq!(lines.start, line_of("[[table.policy]]"));
    assert_eq!((lines.using, lines.check), (line_of("using"), line_of("check")));
    assert_eq!(
        (lines.columns, lines.hide),
        (line_of("columns = [\"name\"]"), line_of("hide"))
    );
    assert_eq!(table.policies[0].hide, [Ident::new("name").unwrap()]);
}
