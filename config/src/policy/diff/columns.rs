//! Differences of columns: masks, `never`, `immutable`, lists of columns, protection.

use super::{ABSENT, Place, Report, Verdict, verdict};
use crate::expr::Expr;
use crate::manifest::{Column, Operation, Preset, Protection, Search, Table};
use crate::names::quote_literal;
use crate::policy::access::Identities;

/// Compares the columns of two tables, of whose rows it is known how they compare.
pub(super) fn compare(old: &Table, new: &Table, rows: &[(Operation, Verdict)], identities: &Identities, report: &mut Report) {
    let table = report.place.clone();
    for after in &new.columns {
        report.place = Place {
            column: Some(after.name.to_string()),
            ..table.clone()
        };
        let Some(before) = old.column(after.name.as_str()) else {
            report.add("column", Verdict::Wider, ABSENT, &after.ty.to_string());
            continue;
        };
        if before.ty != after.ty {
            // Comparisons with it may mean something else now.
            report.add("type", Verdict::Unknown, &before.ty.to_string(), &after.ty.to_string());
        }
        report.flag("never", before.never, after.never, false);
        report.flag("immutable", before.immutable, after.immutable, false);
        preset(before, after, report);
        let mask = |c: &Column| c.shown_when.clone().unwrap_or(Expr::Bool(true));
        let masked = report.compare("mask", &mask(before), &mask(after), identities);
        if before.mask != after.mask {
            // It tells that something is there, and predicates meet it.
            let value = |c: &Column| c.mask.as_deref().map_or("NULL".to_owned(), quote_literal);
            report.add("masked value", Verdict::Unknown, &value(before), &value(after));
        }
        let told = masked != Verdict::Same || before.never != after.never;
        for (operation, of_rows) in rows {
            let told = match operation {
                Operation::Select => told,
                Operation::Update => before.immutable != after.immutable,
                Operation::Insert => false,
                // Rows are removed whole.
                Operation::Delete => true,
            };
            let (a, b) = (old.reached(*operation, Some(before)), new.reached(*operation, Some(after)));
            // What holds of the row was asked for the row.
            if told || (a == old.reached(*operation, None) && b == new.reached(*operation, None)) {
                continue;
            }
            let of_column = verdict(&a, &b, identities);
            if of_column != Verdict::Same && of_column != *of_rows {
                report.place.operation = Some(*operation);
                report.add("column", of_column, &a.source(), &b.source());
                report.place.operation = None;
            }
        }
        protection(before.protection.as_ref(), after.protection.as_ref(), report);
    }
    for gone in old.columns.iter().filter(|c| new.column(c.name.as_str()).is_none()) {
        report.place = Place {
            column: Some(gone.name.to_string()),
            ..table.clone()
        };
        report.add("column", Verdict::Narrower, &gone.ty.to_string(), ABSENT);
    }
    report.place = table;
}

/// What a column is set to. What a client may no longer say is narrower; another value is anybody's guess.
fn preset(old: &Column, new: &Column, report: &mut Report) {
    let said = |c: &Column| c.preset.as_ref().map_or(ABSENT.to_owned(), Preset::source);
    if old.preset == new.preset {
        return;
    }
    let verdict = match (&old.preset, &new.preset) {
        (None, Some(_)) => Verdict::Narrower,
        (Some(_), None) => Verdict::Wider,
        (Some(_), Some(_)) | (None, None) => Verdict::Unknown,
    };
    report.add("preset", verdict, &said(old), &said(new));
}

fn protection(old: Option<&Protection>, new: Option<&Protection>, report: &mut Report) {
    let (old, new) = match (old, new) {
        (None, None) => return,
        (Some(old), None) => return report.add("protection", Verdict::Wider, &described(old), "in the clear"),
        (None, Some(new)) => return report.add("protection", Verdict::Narrower, "in the clear", &described(new)),
        (Some(old), Some(new)) => (old, new),
    };
    let more = new.search.iter().any(|s| !old.search.contains(s));
    let fewer = old.search.iter().any(|s| !new.search.contains(s));
    if more || fewer {
        // Each search gives something away to whoever holds the database.
        let verdict = if more { Verdict::Wider } else { Verdict::Narrower };
        report.add("searches", verdict, &described(old), &described(new));
    }
    if old.join_group != new.join_group {
        // One tag key for several columns tells which of them hold the same value.
        let verdict = if new.join_group.is_some() {
            Verdict::Wider
        } else {
            Verdict::Narrower
        };
        let group = |p: &Protection| p.join_group.as_ref().map_or(ABSENT.to_owned(), ToString::to_string);
        report.add("join group", verdict, &group(old), &group(new));
    }
    report.flag("bound to the column alone", old.bind_column_only, new.bind_column_only, true);
}

fn described(protection: &Protection) -> String {
    let words: Vec<&str> = protection
        .search
        .iter()
        .map(|s| match s {
            Search::Eq => "eq",
            Search::Range => "range",
            Search::Match => "match",
        })
        .collect();
    format!("sealed, search [{}]", words.join(", "))
}
