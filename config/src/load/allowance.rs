//! `allow_lint`: findings of `postern policy lint` that are accepted where they stand, and why.

use super::document::{Notes, Section};
use crate::lint_code::LintCode;
use crate::manifest::Allowance;

/// Reads `allow_lint` and `allow_lint_reason` of a table or a policy.
pub(super) fn read(section: &mut Section<'_, '_>, notes: &mut Notes) -> Option<Allowance> {
    let written = section.texts("allow_lint", notes);
    let reason = section.text("allow_lint_reason", notes);
    let written = match (written, &reason) {
        (Some(written), _) => written,
        (None, Some(reason)) if !section.has("allow_lint") => {
            notes.add(
                reason.line,
                "`allow_lint_reason` gives a reason for nothing; name codes in `allow_lint`, or remove it",
            );
            return None;
        }
        (None, _) => return None,
    };
    if written.value.is_empty() {
        notes.add(
            written.line,
            "`allow_lint` is empty; name codes, such as [\"P004\"], or remove it",
        );
    }
    let mut codes = Vec::new();
    for code in &written.value {
        match LintCode::parse(&code.value) {
            None => notes.add(
                code.line,
                format!(
                    "there is no lint code `{}`; write codes as `postern policy lint` prints them, {} to {}",
                    code.value,
                    LintCode::ALL[0],
                    LintCode::ALL[LintCode::ALL.len() - 1]
                ),
            ),
            Some(found) if !found.allowable() => notes.add(
                code.line,
                format!("`{found}` says that an allowance is stale; remove that allowance instead"),
            ),
            Some(found) if codes.contains(&found) => notes.add(code.line, format!("`{found}` stands twice; remove one")),
            Some(found) => codes.push(found),
        }
    }
    let reason = reason.map(|r| r.value).filter(|r| !r.trim().is_empty());
    if reason.is_none() {
        notes.add(
            written.line,
            "`allow_lint` needs a reason; add `allow_lint_reason = \"why it is accepted\"`",
        );
    }
    Some(Allowance {
        codes,
        reason: reason?,
        line: written.line,
    })
}
