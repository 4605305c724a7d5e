//! The lists of what a client may name: functions, types, operators, settings. Data a reviewer can read; never a deny-list.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

static FUNCTIONS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| lines(include_str!("../data/functions.txt")));
static TYPES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| lines(include_str!("../data/types.txt")));
static BUILTIN: LazyLock<HashSet<&'static str>> = LazyLock::new(|| lines(include_str!("../data/builtin_functions.txt")));
static OIDS: LazyLock<HashSet<u32>> = LazyLock::new(|| {
    lines(include_str!("../data/type_oids.txt"))
        .into_iter()
        .filter_map(|l| l.split(' ').next())
        .filter_map(|oid| oid.parse().ok())
        .collect()
});
static TWINS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| lines(include_str!("../data/catalogue_functions.txt")));
static AGGREGATES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| lines(include_str!("../data/aggregates.txt")));
/// A schema and a name in it.
type Qualified = (&'static str, &'static str);

static CATALOGUE: LazyLock<HashMap<Qualified, Qualified>> = LazyLock::new(|| {
    include_str!("../data/catalogue.txt")
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|l| {
            let (from, to) = l
                .split_once("->")
                .expect("invariant: catalogue.txt maps one relation to another on each line");
            let split = |s: &'static str| {
                s.trim()
                    .split_once('.')
                    .expect("invariant: catalogue.txt names are qualified")
            };
            (split(from), split(to))
        })
        .collect()
});

fn lines(text: &'static str) -> HashSet<&'static str> {
    text.lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .collect()
}

/// Whether a function of `pg_catalog` may be called.
pub(crate) fn function(name: &str) -> bool {
    FUNCTIONS.contains(name)
}

/// Whether a function of `pg_catalog` is answered by its twin in `postern_catalog`, which asks first whether the session sees the object.
pub(crate) fn catalogue_function(name: &str) -> bool {
    TWINS.contains(name)
}

/// The function of `postern_catalog` that stands in for a cast to a type which prints names for oids.
pub(crate) fn catalogue_cast(ty: &str) -> Option<&'static str> {
    const CASTS: &[(&str, &str)] = &[
        ("regclass", "as_regclass"),
        ("regcollation", "as_regcollation"),
        ("regconfig", "as_regconfig"),
        ("regdictionary", "as_regdictionary"),
        ("regnamespace", "as_regnamespace"),
        ("regoper", "as_regoper"),
        ("regoperator", "as_regoperator"),
        ("regproc", "as_regproc"),
        ("regprocedure", "as_regprocedure"),
        ("regrole", "as_regrole"),
        ("regtype", "as_regtype"),
    ];
    CASTS.iter().find(|(name, _)| *name == ty).map(|(_, function)| *function)
}

/// Whether PostgreSQL has a built-in function of that name, allowed or not.
pub(crate) fn builtin_function(name: &str) -> bool {
    BUILTIN.contains(name)
}

/// Whether a name behind a dot (`(value).name`) would call a built-in function that must be judged with its arguments, or not at all.
pub(crate) fn hidden_call(name: &str) -> bool {
    BUILTIN.contains(name) && (!FUNCTIONS.contains(name) || name == "pg_typeof")
}

/// Whether a function of `pg_catalog` is an aggregate.
pub(crate) fn aggregate(name: &str) -> bool {
    AGGREGATES.contains(name)
}

/// Whether a type of `pg_catalog` may be named.
pub(crate) fn builtin_type(name: &str) -> bool {
    TYPES.contains(name)
}

/// Whether a client may declare a parameter of that type in a Parse message. 0 leaves the type to PostgreSQL. The `reg…` family is not
/// among them: PostgreSQL would look a value up as a name, and its error tells a foreign relation from a missing one.
pub fn parameter_type(oid: u32) -> bool {
    oid == 0 || OIDS.contains(&oid)
}

/// The view that stands in for a catalogue relation.
pub(crate) fn catalogue_view(schema: &str, name: &str) -> Option<(&'static str, &'static str)> {
    CATALOGUE
        .iter()
        .find(|((s, n), _)| *s == schema && *n == name)
        .map(|(_, to)| *to)
}

/// Whether a view stands in for some catalogue relation (what a rewritten statement may name).
pub(crate) fn is_catalogue_view(schema: &str, name: &str) -> bool {
    CATALOGUE.values().any(|(s, n)| *s == schema && *n == name)
}

/// What a client may do to a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SettingRule {
    /// Set and show.
    Free,
    /// Show only.
    Show,
    /// Only this value (compared without case and quotes).
    Only(&'static str),
    /// One of these values, answered without effect: what dumps and restores begin with.
    Answered(&'static [&'static str]),
    /// Only the module's own schema (with `pg_catalog` and `pg_temp` beside it).
    OwnSchema,
}

const RULES: &[(&str, SettingRule)] = &[
    // How PostgreSQL plans is the module's own affair; how much memory and how many processes it takes (work_mem, max_parallel_workers, …) is everybody's.
    ("application_name", SettingRule::Free),
    ("backslash_quote", SettingRule::Only("safe_encoding")),
    ("bytea_output", SettingRule::Free),
    // The judge has read every body by then.
    ("check_function_bodies", SettingRule::Answered(ON_OR_OFF)),
    ("client_encoding", SettingRule::Only("utf8")),
    ("client_min_messages", SettingRule::Free),
    ("constraint_exclusion", SettingRule::Free),
    ("cpu_index_tuple_cost", SettingRule::Free),
    ("cpu_operator_cost", SettingRule::Free),
    ("cpu_tuple_cost", SettingRule::Free),
    ("cursor_tuple_fraction", SettingRule::Free),
    ("datestyle", SettingRule::Free),
    ("default_table_access_method", SettingRule::Answered(&["heap"])),
    // What a module makes goes into its own.
    ("default_tablespace", SettingRule::Answered(&["", "pg_default"])),
    ("default_statistics_target", SettingRule::Free),
    ("default_toast_compression", SettingRule::Free),
    ("default_transaction_deferrable", SettingRule::Free),
    ("default_transaction_isolation", SettingRule::Free),
    ("default_transaction_read_only", SettingRule::Free),
    ("effective_cache_size", SettingRule::Free),
    ("enable_async_append", SettingRule::Free),
    ("enable_bitmapscan", SettingRule::Free),
    ("enable_gathermerge", SettingRule::Free),
    ("enable_hashagg", SettingRule::Free),
    ("enable_hashjoin", SettingRule::Free),
    ("enable_incremental_sort", SettingRule::Free),
    ("enable_indexonlyscan", SettingRule::Free),
    ("enable_indexscan", SettingRule::Free),
    ("enable_material", SettingRule::Free),
    ("enable_memoize", SettingRule::Free),
    ("enable_mergejoin", SettingRule::Free),
    ("enable_nestloop", SettingRule::Free),
    ("enable_parallel_append", SettingRule::Free),
    ("enable_parallel_hash", SettingRule::Free),
    ("enable_partition_pruning", SettingRule::Free),
    ("enable_partitionwise_aggregate", SettingRule::Free),
    ("enable_partitionwise_join", SettingRule::Free),
    ("enable_seqscan", SettingRule::Free),
    ("enable_sort", SettingRule::Free),
    ("enable_tidscan", SettingRule::Free),
    ("escape_string_warning", SettingRule::Free),
    ("extra_float_digits", SettingRule::Free),
    ("force_parallel_mode", SettingRule::Free),
    ("from_collapse_limit", SettingRule::Free),
    ("geqo", SettingRule::Free),
    ("geqo_threshold", SettingRule::Free),
    ("idle_in_transaction_session_timeout", SettingRule::Free),
    ("in_hot_standby", SettingRule::Show),
    ("integer_datetimes", SettingRule::Show),
    ("intervalstyle", SettingRule::Free),
    ("is_superuser", SettingRule::Show),
    ("jit", SettingRule::Free),
    ("jit_above_cost", SettingRule::Free),
    ("jit_inline_above_cost", SettingRule::Free),
    ("jit_optimize_above_cost", SettingRule::Free),
    ("join_collapse_limit", SettingRule::Free),
    ("lock_timeout", SettingRule::Free),
    ("max_identifier_length", SettingRule::Show),
    ("min_parallel_index_scan_size", SettingRule::Free),
    ("min_parallel_table_scan_size", SettingRule::Free),
    ("parallel_leader_participation", SettingRule::Free),
    ("parallel_setup_cost", SettingRule::Free),
    ("parallel_tuple_cost", SettingRule::Free),
    ("plan_cache_mode", SettingRule::Free),
    ("random_page_cost", SettingRule::Free),
    // Nobody's filters go off, and a dump need not stop at them.
    ("row_security", SettingRule::Answered(ON_OR_OFF)),
    ("search_path", SettingRule::OwnSchema),
    ("seq_page_cost", SettingRule::Free),
    ("server_encoding", SettingRule::Show),
    ("server_version", SettingRule::Show),
    ("server_version_num", SettingRule::Show),
    ("session_authorization", SettingRule::Show),
    ("standard_conforming_strings", SettingRule::Only("on")),
    ("statement_timeout", SettingRule::Free),
    ("synchronize_seqscans", SettingRule::Free),
    ("timezone", SettingRule::Free),
    ("transaction_deferrable", SettingRule::Free),
    ("transaction_isolation", SettingRule::Free),
    ("transaction_read_only", SettingRule::Free),
    ("xmloption", SettingRule::Free),
];

const ON_OR_OFF: &[&str] = &["on", "off", "true", "false", "yes", "no", "1", "0"];

/// The settings that a session may keep changed from one transaction to the next.
pub(crate) fn changeable_settings() -> impl Iterator<Item = &'static str> {
    RULES
        .iter()
        .filter(|(name, rule)| !matches!(rule, SettingRule::Show | SettingRule::Answered(_)) && !name.starts_with("transaction_"))
        .map(|(name, _)| *name)
}

/// A setting's canonical name and rule.
pub(crate) fn setting(name: &str) -> Option<(&'static str, SettingRule)> {
    let folded = name.to_ascii_lowercase();
    RULES.iter().find(|(n, _)| *n == folded).copied()
}
