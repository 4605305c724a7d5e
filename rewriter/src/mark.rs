//! Marks of stored filters: by which policies a view reads a declared table.
//!
//! A view holds the filter and the masks of the day it was made, and PostgreSQL goes on using them when the policies have changed. So each
//! barrier in a view begins with a constant that names them. The catalogue's reader looks for these constants in the views' definitions, and
//! a view in which one is missing, or is not what would be written now, is [`crate::catalog::Relation::outdated`]: it is not read until it is made again.
//! Constants are folded away by the planner.

use std::fmt::Write as _;

use postern_config::Table;
use postern_config::expr::Subqueries;
use postern_config::manifest::Operation;
use postern_config::names::quote_literal;

use crate::judge::BARRIER;
use crate::relations::masked_as;

/// The mark of a declared table: 16 hexadecimal digits that change with its name, with what is filtered in reading it, and with what is masked or
/// never shown. The same in all three ways to enforce.
pub fn mark(table: &Table) -> String {
    let subqueries = Subqueries::Once;
    let mut text = format!(
        "{}\n{}",
        table.name.quoted(),
        table.using(Operation::Select).filter_sql(BARRIER, subqueries)
    );
    for column in table.columns.iter().filter(|c| c.never || c.shown_when.is_some()) {
        let shown = column.shown_when.as_ref().map(|e| e.sql(BARRIER, subqueries));
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n{} {} {shown:?} {:?} {:?}",
            column.name,
            column.never,
            masked_as(column),
            column.mask
        );
    }
    format!("{:016x}", fnv1a(text.as_bytes()))
}

/// The conjunct that stands before a stored filter. `partition` is the one that the view names in the table's place.
pub(crate) fn conjunct(table: &Table, partition: Option<&str>) -> String {
    let named = partition.map_or_else(String::new, |p| format!(" {p}"));
    format!("{}::pg_catalog.text IS NOT NULL AND ", quote_literal(&(mark(table) + &named)))
}

/// A query's expression: the marks in the view of oid `view` and in the views that it reads and `owner` owns too, as a JSON array; an empty one for each
/// filter without. NULL where no declared table is read.
pub fn marks_in(view: &str, owner: &str) -> String {
    format!(
        "(WITH RECURSIVE reads(oid) AS (SELECT {view} UNION SELECT v.oid FROM reads JOIN pg_catalog.pg_rewrite r ON r.ev_class = reads.oid \
         JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid \
         AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
         JOIN pg_catalog.pg_class v ON v.oid = d.refobjid AND v.relkind IN ('v', 'm') AND v.relowner = {owner}) \
         SELECT pg_catalog.json_agg(DISTINCT coalesce(m.found[1], ''))::text FROM reads, \
         pg_catalog.regexp_matches(pg_catalog.pg_get_viewdef(reads.oid), {}, 'g') AS m(found))",
        quote_literal(PATTERN)
    )
}

/// A barrier's alias where it is given (elsewhere a point follows), and the mark behind it. In a character class, as backslashes in strings depend on a setting.
const PATTERN: &str =
    "\"postern[$]t\"(?:[(]|[[:space:]]+(?:TABLESAMPLE [^'\"]*)?(?:WHERE [(]*'([0-9a-f]{16})[^']*'::text IS NOT NULL)?)";

/// FNV-1a: marks are compared, and who could choose a policy's text for its mark could as well choose the policy.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_follows_filters_and_masks_and_nothing_else() {
        let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/postern.toml");
        let config = postern_config::load(&config).unwrap();
        let tables: Vec<&Table> = config.modules.iter().flat_map(|m| &m.tables).collect();
        let marks: std::collections::HashSet<String> = tables.iter().map(|t| mark(t)).collect();
        assert_eq!(marks.len(), tables.len());
        let table = (tables.iter().find(|t| t.columns.iter().any(|c| c.shown_when.is_some()))).expect("a table with a mask");
        let changed = |change: fn(&mut Table)| {
            let mut other = (*table).clone();
            change(&mut other);
            mark(&other) != mark(table)
        };
        assert!(changed(|t| t.policies.retain(|p| !p.operations.contains(&Operation::Select))));
        assert!(changed(|t| t.columns.iter_mut().for_each(|c| c.shown_when = None)));
        assert!(changed(|t| t.columns.iter_mut().for_each(|c| c.never = true)));
        assert!(!changed(|t| t.columns.retain(|c| c.never || c.shown_when.is_some())));
        assert!(!changed(|t| t.policies.retain(|p| p.operations.contains(&Operation::Select))));
    }
}
