//! The files of the suite in the order of its schedule, and what each needs to have been run before.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::place::Fault;

/// One file.
#[derive(Clone)]
pub struct File {
    /// Without `.sql`.
    pub name: String,
    /// It comes behind `create_index` and `create_misc`.
    pub indexed: bool,
    /// What the schedule says it depends on, beyond these.
    pub needs: Vec<&'static str>,
    /// It is one of those that may differ by listed refusals alone.
    pub named: bool,
}

/// The schedule's own remarks on what depends on what.
const NEEDS: &[(&str, &[&str])] = &[
    ("multirangetypes", &["rangetypes"]),
    ("geometry", &["point", "lseg", "line", "box", "path", "polygon", "circle"]),
    (
        "horology",
        &["date", "time", "timetz", "timestamp", "timestamptz", "interval"],
    ),
    ("aggregates", &["create_aggregate"]),
    ("psql", &["create_am"]),
    (
        "amutils",
        &[
            "point",
            "lseg",
            "line",
            "box",
            "path",
            "polygon",
            "circle",
            "geometry",
            "create_index_spgist",
            "hash_index",
            "brin",
        ],
    ),
    ("select_views", &["create_view"]),
];

/// SELECT, joins, subqueries, aggregates, windows, WITH, INSERT, ON CONFLICT, UPDATE, DELETE, RETURNING, prepare, portals, transactions, dates, numbers,
/// text, json and arrays.
const NAMED: &[&str] = &[
    "select",
    "select_into",
    "select_distinct",
    "select_distinct_on",
    "select_implicit",
    "select_having",
    "join",
    "join_hash",
    "union",
    "case",
    "limit",
    "subselect",
    "aggregates",
    "groupingsets",
    "window",
    "with",
    "insert",
    "insert_conflict",
    "update",
    "delete",
    "returning",
    "prepare",
    "plancache",
    "portals",
    "portals_p2",
    "transactions",
    "combocid",
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
    "horology",
    "int2",
    "int4",
    "int8",
    "float4",
    "float8",
    "numeric",
    "numerology",
    "text",
    "varchar",
    "char",
    "name",
    "strings",
    "json",
    "jsonb",
    "json_encoding",
    "jsonpath",
    "jsonpath_encoding",
    "jsonb_jsonpath",
    "arrays",
];

/// Reads the schedule; files that are in none of its lines follow.
pub fn read(suite: &Path) -> Result<Vec<File>, Fault> {
    let schedule = suite.join("parallel_schedule");
    let text = fs::read_to_string(&schedule).map_err(|e| format!("{}: {e}", schedule.display()))?;
    let mut files = Vec::new();
    let mut indexed = false;
    for line in text.lines().filter_map(|l| l.strip_prefix("test:")) {
        let names: Vec<&str> = line.split_whitespace().collect();
        files.extend(names.iter().filter(|n| **n != "test_setup").map(|n| file(n, indexed)));
        indexed |= names.contains(&"create_index");
    }
    let known: BTreeSet<String> = files.iter().map(|f| f.name.clone()).collect();
    let folder = suite.join("sql");
    let mut others: Vec<String> = fs::read_dir(&folder)
        .map_err(|e| format!("{}: {e}", folder.display()))?
        .filter_map(|e| Some(e.ok()?.file_name().to_str()?.strip_suffix(".sql")?.to_owned()))
        .filter(|n| n != "test_setup" && !known.contains(n))
        .collect();
    others.sort();
    files.extend(others.iter().map(|n| file(n, true)));
    Ok(files)
}

fn file(name: &str, indexed: bool) -> File {
    File {
        name: name.to_owned(),
        indexed,
        needs: NEEDS
            .iter()
            .find(|(n, _)| *n == name)
            .map_or(Vec::new(), |(_, needs)| needs.to_vec()),
        named: NAMED.contains(&name),
    }
}
