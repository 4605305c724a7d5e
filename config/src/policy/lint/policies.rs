//! Rules that look at policies one by one and beside each other.

use super::{Found, Place, Severity};
use crate::expr::Expr;
use crate::lint_code::LintCode;
use crate::manifest::{Operation, Policy};
use crate::names::Ident;
use crate::policy::all;

pub(super) fn find<'m>(place: &Place<'m>, found: &mut Vec<Found<'m>>) {
    for (number, policy) in place.table.policies.iter().enumerate() {
        always_true(place, policy, found);
        unbound_write(place, policy, found);
        out_of_reach(place, policy, found);
        hidden_writable(place, policy, found);
        never_in_columns(place, policy, found);
        if !dead(place, policy, found) {
            shadowed(place, number, found);
        }
    }
    restricts_nothing(place, found);
}

impl Place<'_> {
    /// A predicate with the table's restrictions beside it.
    fn restricted(&self, expr: &Expr) -> Expr {
        all(self.table.restrictions.iter().cloned().chain([expr.clone()]))
    }
}

fn writes(policy: &Policy) -> bool {
    policy.operations.iter().any(|o| *o != Operation::Select)
}

fn always_true<'m>(place: &Place<'m>, policy: &'m Policy, found: &mut Vec<Found<'m>>) {
    let parts = [
        ("using", &policy.using, policy.lines.using),
        ("check", &policy.check, policy.lines.check),
    ];
    for (word, expr, line) in parts {
        let Some(expr) = expr else { continue };
        if !place.identities.always(expr) {
            continue;
        }
        let (severity, what) = match (word, writes(policy)) {
            ("using", false) => (Severity::Warning, "every row is shown to everybody, guests too"),
            ("using", true) => (Severity::Error, "everybody, guests too, may change rows without limit"),
            _ => (Severity::Error, "everybody, guests too, may write any row"),
        };
        found.push(Found {
            code: LintCode::AlwaysTrue,
            severity,
            line,
            policy: Some(policy),
            message: format!("policy `{}`: `{word}` is true for every row, so {what}", policy.name),
            fix: "say whose rows are meant, or accept it with `allow_lint`".to_owned(),
        });
    }
}

/// Columns by which the table's own policies and restrictions tell rows apart.
fn telling_columns(place: &Place<'_>) -> Vec<Ident> {
    let policies = place.table.policies.iter().flat_map(|p| [&p.using, &p.check]).flatten();
    policies
        .chain(&place.table.restrictions)
        .flat_map(Expr::own_columns)
        .collect()
}

/// Whether an UPDATE under this policy may assign any of these columns.
fn may_assign_any(place: &Place<'_>, policy: &Policy, columns: &[Ident]) -> bool {
    let mut declared = columns.iter().filter_map(|c| place.table.column(c.as_str()));
    declared.any(|c| policy.may_assign(c))
}

fn updates(policy: &Policy) -> bool {
    policy.operations.contains(&Operation::Update)
}

/// The loader lets `using` serve for written rows as well. Where it asks nothing of the row, that is no check at all.
fn unbound_write<'m>(place: &Place<'m>, policy: &'m Policy, found: &mut Vec<Found<'m>>) {
    let (true, None, Some(using)) = (updates(policy), &policy.check, &policy.using) else {
        return;
    };
    let telling = telling_columns(place);
    if !using.own_columns().is_empty() || !may_assign_any(place, policy, &telling) {
        return;
    }
    found.push(Found {
        code: LintCode::UnboundWrite,
        severity: Severity::Warning,
        line: policy.lines.start,
        policy: Some(policy),
        message: format!(
            "policy `{}` lets rows be updated without `check`; `using` serves instead and asks nothing of the row, so a row may be \
             given to anybody",
            policy.name
        ),
        fix: "write as `check` what a row must still satisfy, or repeat `using` there to say that it is meant".to_owned(),
    });
}

/// A row that leaves its policy's reach has been moved to somebody else.
fn out_of_reach<'m>(place: &Place<'m>, policy: &'m Policy, found: &mut Vec<Found<'m>>) {
    let (true, Some(check), Some(using)) = (updates(policy), &policy.check, &policy.using) else {
        return;
    };
    if !may_assign_any(place, policy, &using.own_columns()) {
        return;
    }
    let answer = place.identities.implies(&place.restricted(check), using);
    let how = match answer {
        Some(true) => return,
        Some(false) => "lets rows be written",
        None => "may let rows be written (it cannot be told)",
    };
    found.push(Found {
        code: LintCode::WriteOutOfReach,
        severity: Severity::Warning,
        line: policy.lines.check,
        policy: Some(policy),
        message: format!(
            "policy `{}`: `check` {how} that `using` does not reach, so an update can move a row out of its owner's reach",
            policy.name
        ),
        fix: "AND `using` to `check`, or make the columns that decide immutable".to_owned(),
    });
}

fn hidden_writable<'m>(place: &Place<'m>, policy: &'m Policy, found: &mut Vec<Found<'m>>) {
    if !updates(policy) {
        return;
    }
    let hidden = policy.hide.iter().filter_map(|c| place.table.column(c.as_str()));
    let both: Vec<String> = hidden
        .filter(|c| policy.may_assign(c))
        .map(|c| format!("`{}`", c.name))
        .collect();
    if both.is_empty() {
        return;
    }
    found.push(Found {
        code: LintCode::HiddenWritable,
        severity: Severity::Warning,
        line: policy.lines.hide,
        policy: Some(policy),
        message: format!(
            "policy `{}` hides {} and lets it be updated, so a value can be overwritten by somebody who may not see it",
            policy.name,
            both.join(", ")
        ),
        fix: "leave it out of `columns`, or do not hide it".to_owned(),
    });
}

fn never_in_columns<'m>(place: &Place<'m>, policy: &'m Policy, found: &mut Vec<Found<'m>>) {
    let listed = policy.update_columns.iter().flatten();
    let never = listed.filter_map(|c| place.table.column(c.as_str())).filter(|c| c.never);
    let never: Vec<String> = never.map(|c| format!("`{}`", c.name)).collect();
    if never.is_empty() {
        return;
    }
    found.push(Found {
        code: LintCode::NeverInColumns,
        severity: Severity::Note,
        line: policy.lines.columns,
        policy: Some(policy),
        message: format!(
            "policy `{}` lets {} be updated, which nobody may read (`never`): whoever writes it cannot see what is replaced",
            policy.name,
            never.join(", ")
        ),
        fix: "remove it from `columns`, or accept it with `allow_lint` where it is written blindly, as a password is".to_owned(),
    });
}

/// Whether no identity that the module's logins can have gets anything by this policy.
fn dead<'m>(place: &Place<'m>, policy: &'m Policy, found: &mut Vec<Found<'m>>) -> bool {
    let alive = |operation: &Operation| {
        let reach = match operation {
            Operation::Insert => &policy.check,
            Operation::Select | Operation::Update | Operation::Delete => &policy.using,
        };
        reach.as_ref().is_some_and(|e| !place.identities.never(&place.restricted(e)))
    };
    if policy.operations.iter().any(alive) {
        return false;
    }
    found.push(Found {
        code: LintCode::DeadPolicy,
        severity: Severity::Error,
        line: policy.lines.start,
        policy: Some(policy),
        message: format!(
            "policy `{}` permits nothing to anybody who can log in to module {}",
            policy.name, place.manifest.module
        ),
        fix: "mend its condition, add the login that it speaks of, or remove it".to_owned(),
    });
    true
}

/// A policy that others make superfluous, for every operation that it is for.
fn shadowed<'m>(place: &Place<'m>, number: usize, found: &mut Vec<Found<'m>>) {
    let policies = &place.table.policies;
    let policy = &policies[number];
    let mut by: Vec<&str> = Vec::new();
    for operation in &policy.operations {
        let shadow = policies.iter().enumerate().find(|(other, p)| {
            *other != number
                && covers(place, p, policy, *operation)
                // Of two that say the same the later one adds nothing.
                && (*other < number || !covers(place, policy, p, *operation))
        });
        match shadow {
            Some((_, shadow)) if by.contains(&shadow.name.as_str()) => {}
            Some((_, shadow)) => by.push(shadow.name.as_str()),
            None => return,
        }
    }
    found.push(Found {
        code: LintCode::Shadowed,
        severity: Severity::Warning,
        line: policy.lines.start,
        policy: Some(policy),
        message: format!("policy `{}` adds nothing to `{}`", policy.name, by.join("`, `")),
        fix: "remove it, or mend the wider one, which permits all of this already".to_owned(),
    });
}

/// Whether `wide` permits, for one operation, all that `narrow` does.
fn covers(place: &Place<'_>, wide: &Policy, narrow: &Policy, operation: Operation) -> bool {
    if !wide.operations.contains(&operation) {
        return false;
    }
    let implied = |a: Option<&Expr>, b: Option<&Expr>| match (a, b) {
        (None, _) => true,
        (Some(a), Some(b)) => place.identities.implies(&place.restricted(a), b) == Some(true),
        (Some(_), None) => false,
    };
    let using = operation == Operation::Insert || implied(narrow.using.as_ref(), wide.using.as_ref());
    let lists = match operation {
        Operation::Insert => (&wide.insert_columns, &narrow.insert_columns),
        Operation::Update => (&wide.update_columns, &narrow.update_columns),
        Operation::Select | Operation::Delete => (&None, &None),
    };
    let columns = match lists {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => narrow.iter().all(|c| wide.contains(c)),
    };
    let shown = operation != Operation::Select || wide.hide.iter().all(|c| narrow.hide.contains(c));
    using && columns && shown && implied(narrow.check_for(operation), wide.check_for(operation))
}

fn restricts_nothing<'m>(place: &Place<'m>, found: &mut Vec<Found<'m>>) {
    let table = place.table;
    let (Some(line), Some(own)) = (table.lines.restrict, table.restrictions.last()) else {
        return;
    };
    if place.identities.always(own) {
        found.push(Found {
            code: LintCode::AlwaysTrue,
            severity: Severity::Warning,
            line,
            policy: None,
            message: format!("`restrict` of {} is true for every row, so it restricts nothing", table.name),
            fix: "say what it is to keep away, or remove it".to_owned(),
        });
    }
}
