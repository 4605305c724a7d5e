//! Comparisons that may raise, and so tell, while PostgreSQL evaluates a policy over rows that whoever asks will not see.

use super::{Found, Place, Severity};
use crate::expr::Expr;
use crate::lint_code::LintCode;
use crate::manifest::{Manifest, Policy, Table};
use crate::names::TableRef;
use crate::types::ColumnType;

pub(super) fn find<'m>(place: &Place<'m>, found: &mut Vec<Found<'m>>) {
    let table = place.table;
    for policy in &table.policies {
        let parts = [
            ("using", &policy.using, policy.lines.using),
            ("check", &policy.check, policy.lines.check),
        ];
        for (word, expr, line) in parts {
            if let Some(expr) = expr {
                let what = format!("policy `{}`: `{word}`", policy.name);
                report(place, expr, &what, line, Some(policy), found);
            }
        }
    }
    if let (Some(line), Some(own)) = (table.lines.restrict, table.restrictions.last()) {
        report(place, own, &format!("`restrict` of {}", table.name), line, None, found);
    }
    for column in &table.columns {
        if let Some(shown) = &column.shown_when
            // What `hide` makes of the policies is found in the policies.
            && !hidden(table, shown)
        {
            report(
                place,
                shown,
                &format!("the mask of `{}`", column.name),
                column.line,
                None,
                found,
            );
        }
    }
}

/// Whether a condition on a column is nothing but select policies' own.
fn hidden(table: &Table, shown: &Expr) -> bool {
    let parts: Vec<&Expr> = match shown {
        Expr::Or(parts) => parts.iter().collect(),
        other => vec![other],
    };
    let own = |part: &&Expr| table.policies.iter().any(|p| p.using.as_ref() == Some(*part));
    parts.iter().all(own)
}

fn report<'m>(place: &Place<'m>, expr: &Expr, what: &str, line: usize, policy: Option<&'m Policy>, found: &mut Vec<Found<'m>>) {
    let mut compared: Vec<String> = Vec::new();
    compare(
        place.manifest,
        place.table,
        expr,
        &mut |table: &TableRef, column: &str, ty: &ColumnType| {
            let named = format!("{table}.{column} ({ty})");
            if !compared.contains(&named) {
                compared.push(named);
            }
        },
    );
    if compared.is_empty() {
        return;
    }
    found.push(Found {
        code: LintCode::NotLeakproof,
        severity: Severity::Note,
        line,
        policy,
        message: format!(
            "{what} compares {} by an operator that PostgreSQL does not take for LEAKPROOF: an error in it may tell of a row that is not \
             shown, and no index serves it beneath a filter",
            compared.join(", ")
        ),
        fix: "compare a column of text, integer, uuid, date, timestamptz, bool or bytea".to_owned(),
    });
}

/// Takes a table, a column and its type.
type Visit<'v> = dyn FnMut(&TableRef, &str, &ColumnType) + 'v;

fn operand(table: &Table, expr: &Expr, visit: &mut Visit<'_>) {
    if let Expr::Column(name) = expr
        && let Some(column) = table.column(name.as_str())
        && !column.ty.leakproof()
    {
        visit(&table.name, name.as_str(), &column.ty);
    }
}

/// Calls `visit` for each column that is compared and whose operators are not LEAKPROOF, with the table that it is of.
fn compare(manifest: &Manifest, table: &Table, expr: &Expr, visit: &mut Visit<'_>) {
    match expr {
        Expr::Bool(_) | Expr::Column(_) | Expr::Claim(_) | Expr::Tag(_) | Expr::ClaimTag(_) | Expr::Const(_) => {}
        Expr::Compare(_, a, b) => {
            for side in [a, b] {
                operand(table, side, visit);
                compare(manifest, table, side, visit);
            }
        }
        Expr::InList(value, _) | Expr::AnyClaim(value, _) => {
            operand(table, value, visit);
            compare(manifest, table, value, visit);
        }
        Expr::IsNull { of: e, .. } | Expr::IsTrue { of: e, .. } | Expr::Not(e) => compare(manifest, table, e, visit),
        Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|p| compare(manifest, table, p, visit)),
        Expr::InSelect(select) => {
            operand(table, &select.value, visit);
            compare(manifest, table, &select.value, visit);
            // What lies beneath an import is looked at in its own module.
            if let Some(inner) = manifest.tables.iter().find(|t| t.name == select.table) {
                operand(inner, &Expr::Column(select.column.clone()), visit);
                compare(manifest, inner, &select.predicate, visit);
            }
        }
    }
}
