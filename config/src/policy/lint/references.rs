//! Foreign keys that tell of hidden rows. PostgreSQL follows them over all rows, whatever row-level security says: whoever writes a
//! reference learns whether its row exists, and whoever removes a row (or changes its key) whether another refers to it (SQLSTATE 23503).
//! Inside a module manifests declare no ON DELETE or ON UPDATE action, so nothing cascades; to an imported table they may. Of another module
//! no policy is known here, so what its policies show and what it removes is taken for what it may be.

use super::{Found, Place, Severity};
use crate::expr::Expr;
use crate::lint_code::LintCode;
use crate::manifest::{ForeignKey, Operation, SharedRows, Table};
use crate::names::Ident;
use crate::policy::access::{conjuncts, ways};

pub(super) fn find<'m>(place: &Place<'m>, found: &mut Vec<Found<'m>>) {
    across(place, found);
    exported(place, found);
    for key in &place.table.foreign_keys {
        // The loader has seen to it that the table is the module's own.
        let Some(target) = place.manifest.table(key.table.name.as_str()) else {
            continue;
        };
        if tells_existence(place, key, target) {
            found.push(Found {
                code: LintCode::ReferenceOracle,
                severity: Severity::Warning,
                line: key.line,
                policy: None,
                message: format!(
                    "the foreign key ({}) to {} may be written by somebody who does not see all of it, so an error tells whether a hidden \
                     row exists",
                    names(&key.columns),
                    target.name
                ),
                fix: format!(
                    "let `check` ask for a row that the writer may name: {} IN (SELECT {} FROM {} WHERE …)",
                    names(&key.columns[..1]),
                    names(&key.references[..1]),
                    target.name.name
                ),
            });
        }
        if tells_references(place, key, target) {
            found.push(Found {
                code: LintCode::ReferencedOracle,
                severity: Severity::Note,
                line: key.line,
                policy: None,
                message: format!(
                    "rows of {} may be removed, or their key changed, by somebody who does not see all of {}, so an error tells whether a \
                     hidden row refers to one",
                    target.name, place.table.name
                ),
                fix: "show referring rows to whoever may remove what they refer to, or accept it with `allow_lint`".to_owned(),
            });
        }
    }
}

/// Foreign keys to other modules' tables, by which a statement there changes rows here. PostgreSQL asks no policy about it.
fn across<'m>(place: &Place<'m>, found: &mut Vec<Found<'m>>) {
    for key in place.manifest.import_keys.iter().filter(|k| k.table == place.table.name.name) {
        let import = place.manifest.import(key.import.as_str());
        if import.is_some_and(|i| i.rows == SharedRows::Policies) && writable(place, &key.columns) {
            found.push(Found {
                code: LintCode::ReferenceOracle,
                severity: Severity::Warning,
                line: key.line,
                policy: None,
                message: format!(
                    "the foreign key ({}) to the imported {} may be written by somebody to whom the other module's policies do not show \
                     all of it, so an error tells whether a hidden row exists",
                    names(&key.columns),
                    key.import
                ),
                fix: "import `rows = \"all\"` where every row may be known to exist, or accept it with `allow_lint`".to_owned(),
            });
        }
        let acts = [("on_delete", key.on_delete), ("on_update", key.on_update)];
        for (word, action) in acts.into_iter().filter(|(_, action)| action.changes_rows()) {
            found.push(Found {
                code: LintCode::CascadeAcross,
                severity: Severity::Warning,
                line: key.line,
                policy: None,
                message: format!(
                    "the foreign key ({}) to the imported {} has {word} = \"{}\", so whoever may change rows of the other module changes \
                     rows of {}, whatever its policies and restrictions say",
                    names(&key.columns),
                    key.import,
                    action.as_str(),
                    place.table.name
                ),
                fix: format!("remove `{word}`, and clear referring rows by statements of this module"),
            });
        }
    }
}

/// Rows that other modules' rows may refer to, which nobody here sees.
fn exported<'m>(place: &Place<'m>, found: &mut Vec<Found<'m>>) {
    let table = place.table;
    let exports = place.manifest.exports.iter();
    for export in exports.filter(|e| e.references && e.table == table.name.name) {
        let mut acts = vec![table.reached(Operation::Delete, None)];
        let columns = export.columns.iter().filter_map(|c| table.column(c.as_str()));
        acts.extend(columns.map(|c| table.reached(Operation::Update, Some(c))));
        if acts.iter().all(|act| place.identities.never(act)) {
            continue;
        }
        found.push(Found {
            code: LintCode::ReferencedOracle,
            severity: Severity::Note,
            line: export.line,
            policy: None,
            message: format!(
                "rows of {} may be removed, or their key changed, by somebody who does not see the rows of other modules that refer to \
                 them, so an error tells whether there are any",
                table.name
            ),
            fix: "export without `references`, or accept it with `allow_lint`".to_owned(),
        });
    }
}

/// Whether anybody may write one of these columns.
fn writable(place: &Place<'_>, columns: &[Ident]) -> bool {
    let table = place.table;
    let assigned = columns.iter().filter_map(|c| table.column(c.as_str()));
    let mut acts = assigned.map(|c| table.reached(Operation::Update, Some(c)));
    !place.identities.never(&table.check(Operation::Insert)) || acts.any(|act| !place.identities.never(&act))
}

fn names(columns: &[Ident]) -> String {
    columns.iter().map(Ident::as_str).collect::<Vec<_>>().join(", ")
}

/// Whether somebody may write the reference, who neither sees all of the target nor must name a row that policies let them look up.
fn tells_existence(place: &Place<'_>, key: &ForeignKey, target: &Table) -> bool {
    let table = place.table;
    let shown = target.reached(Operation::Select, None);
    let mut columns = key.columns.iter().filter_map(|c| table.column(c.as_str()));
    let assignable = columns.any(|c| !place.identities.never(&table.reached(Operation::Update, Some(c))));
    let mut checks = vec![table.check(Operation::Insert)];
    if assignable {
        checks.push(table.check(Operation::Update));
    }
    let tells = |way: &Expr| !names_a_row(way, key, target, place) && place.blind(way, &shown);
    checks.iter().any(|check| ways(check).iter().any(tells))
}

/// Whether a condition looks the reference up among rows of the target, and not among all of them.
fn names_a_row(way: &Expr, key: &ForeignKey, target: &Table, place: &Place<'_>) -> bool {
    let pairs = || key.columns.iter().zip(&key.references);
    conjuncts(way).into_iter().any(|part| {
        let Expr::InSelect(select) = part else { return false };
        select.table == target.name
            && !place.identities.always(&select.predicate)
            && pairs().any(|(from, to)| select.value == Expr::Column(from.clone()) && select.column == *to)
    })
}

fn tells_references(place: &Place<'_>, key: &ForeignKey, target: &Table) -> bool {
    let shown = place.table.reached(Operation::Select, None);
    let columns = key.references.iter().filter_map(|c| target.column(c.as_str()));
    let mut acts = vec![target.reached(Operation::Delete, None)];
    acts.extend(columns.map(|c| target.reached(Operation::Update, Some(c))));
    acts.iter().any(|act| ways(act).iter().any(|way| place.blind(way, &shown)))
}
