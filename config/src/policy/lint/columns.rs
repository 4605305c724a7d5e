//! Rules that look at columns and at the table as a whole: what can never be read, what can never be written.

use super::{Found, Place, Severity};
use crate::lint_code::LintCode;
use crate::manifest::{Column, Operation};

pub(super) fn find<'m>(place: &Place<'m>, found: &mut Vec<Found<'m>>) {
    unreadable(place, found);
    unwritable(place, found);
    masks_nothing(place, found);
}

fn unreadable<'m>(place: &Place<'m>, found: &mut Vec<Found<'m>>) {
    let table = place.table;
    let guarded = table.has_protected() || !table.policies.is_empty();
    if !guarded || !place.identities.never(&table.reached(Operation::Select, None)) {
        return;
    }
    found.push(Found {
        code: LintCode::Unreadable,
        severity: Severity::Error,
        line: table.lines.name,
        policy: None,
        message: format!(
            "no identity that can log in to module {} ever reads a row of {}",
            place.manifest.module, table.name
        ),
        fix: "add a policy for select that somebody satisfies, or remove the table".to_owned(),
    });
}

/// A table whose rows change but where somebody else must fill what may not be empty.
fn unwritable<'m>(place: &Place<'m>, found: &mut Vec<Found<'m>>) {
    let table = place.table;
    let possible = |operation, column: Option<&Column>| !place.identities.never(&table.reached(operation, column));
    if !possible(Operation::Update, None) || possible(Operation::Insert, None) {
        return;
    }
    let filled = |c: &&Column| c.not_null && c.default.is_none() && c.preset.is_none() && !table.primary_key.contains(&c.name);
    for column in table.columns.iter().filter(filled) {
        if possible(Operation::Update, Some(column)) {
            continue;
        }
        found.push(Found {
            code: LintCode::Unwritable,
            severity: Severity::Note,
            line: column.line,
            policy: None,
            message: format!(
                "`{}` must not be NULL and has no default, but no policy lets it be written: not by insert, and no update may assign it",
                column.name
            ),
            fix: "add a policy for insert, name the column in `columns` of one for update, or give it a default".to_owned(),
        });
    }
}

fn masks_nothing<'m>(place: &Place<'m>, found: &mut Vec<Found<'m>>) {
    for column in &place.table.columns {
        let Some(shown) = &column.shown_when else { continue };
        if !place.identities.always(shown) {
            continue;
        }
        found.push(Found {
            code: LintCode::AlwaysTrue,
            severity: Severity::Warning,
            line: column.line,
            policy: None,
            message: format!(
                "`{}` is masked or hidden, and is shown to everybody all the same",
                column.name
            ),
            fix: "mend `mask_unless`, add `hide` to the select policy that shows it, or drop both".to_owned(),
        });
    }
}
