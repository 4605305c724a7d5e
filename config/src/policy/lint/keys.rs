//! Keys that tell of hidden rows. PostgreSQL looks for a duplicate among all rows, whatever row-level security says, so whoever may write
//! learns by an error whether a value is there already (SQLSTATE 23505). A key that holds the column by which rows are told apart meets
//! only the writer's own.

use super::{Found, Place, Severity};
use crate::expr::Expr;
use crate::lint_code::LintCode;
use crate::manifest::Operation;
use crate::names::Ident;
use crate::policy::access::ways;

pub(super) fn find<'m>(place: &Place<'m>, found: &mut Vec<Found<'m>>) {
    let table = place.table;
    let shown = table.reached(Operation::Select, None);
    let telling = shown.own_columns();
    let unique = table.unique.iter().zip(&table.lines.unique);
    let unique = unique.map(|(key, line)| (LintCode::UniqueOracle, Severity::Warning, "UNIQUE", key, *line));
    let primary = (
        LintCode::KeyOracle,
        Severity::Note,
        "the primary key",
        &table.primary_key,
        table.lines.primary_key,
    );
    for (code, severity, what, key, line) in unique.chain([primary]) {
        if key.is_empty() || key.iter().any(|c| telling.contains(c)) || !tells(place, key, &shown) {
            continue;
        }
        let names: Vec<&str> = key.iter().map(Ident::as_str).collect();
        let telling: Vec<&str> = telling.iter().map(Ident::as_str).collect();
        let fix = if telling.is_empty() {
            "accept it with `allow_lint` where its values cannot be guessed or are no secret".to_owned()
        } else {
            format!(
                "put a column that policies read ({}) into the key, or accept it with `allow_lint` where its values cannot be guessed",
                telling.join(", ")
            )
        };
        found.push(Found {
            code,
            severity,
            line,
            policy: None,
            message: format!(
                "{what} ({}) of {} spans rows that a writer may not see, so a duplicate's error tells that such a row exists",
                names.join(", "),
                table.name
            ),
            fix,
        });
    }
}

/// Whether somebody may write this key and does not see every row.
fn tells(place: &Place<'_>, key: &[Ident], shown: &Expr) -> bool {
    let table = place.table;
    let columns = key.iter().filter_map(|c| table.column(c.as_str()));
    let mut acts = vec![table.reached(Operation::Insert, None)];
    acts.extend(columns.map(|c| table.reached(Operation::Update, Some(c))));
    acts.iter().any(|act| ways(act).iter().any(|way| place.blind(way, shown)))
}

impl Place<'_> {
    /// Whether rows may be hidden from somebody who acts in this way.
    pub(super) fn blind(&self, way: &Expr, shown: &Expr) -> bool {
        !self.identities.never(way) && !self.identities.sees_all(way, shown)
    }
}
