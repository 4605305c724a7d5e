//! What somebody is answered equals the same query on plain tables that hold what the domain says they may see and nothing else: by queries
//! of a grammar, in all three ways of filtering.
//!
//! The plain tables come from the oracle (`postern_tests::oracle`), which knows nothing of Postern, its manifests or its policies' SQL.

#![expect(
    clippy::print_stderr,
    reason = "a run that fails is repeated by its seed; the figures say how much was compared"
)]

use std::collections::BTreeMap;
use std::time::Instant;

use postern_tests::connection::Connection;
use postern_tests::grammar::{Grammar, Source};
use postern_tests::oracle::own::{IMPORTED, seen_of_import};
use postern_tests::oracle::people::{IDENTITIES, Identity};
use postern_tests::oracle::policies::{never, seen};
use postern_tests::oracle::stage::Stage;
use postern_tests::oracle::tally::Tally;
use postern_tests::plain::relations;
use postern_tests::stand::Stand;

/// Of a hundred queries of the grammar at least so many must be compared; protected columns cannot carry the rest.
const COMPARED: usize = 90;

/// A module's tables and imports with literals from what somebody sees of them.
pub(crate) fn sources(stage: &Stage, module: &str, copy: &mut Connection) -> Vec<Source> {
    let relations = relations(&stage.config, module);
    let sources = relations.iter().map(|table| {
        Source::of(table, |column| {
            let sql = format!(
                "SELECT DISTINCT \"{column}\"::text FROM {} WHERE \"{column}\" IS NOT NULL ORDER BY 1 LIMIT 12",
                table.name.name.quoted()
            );
            let rows = copy.run(&sql).good(&sql).texts();
            rows.into_iter().flatten().flatten().collect()
        })
    });
    sources.collect()
}

/// Asks `count` queries of everybody and each of their modules, at the copy and through the proxy, in each way.
fn in_all_ways(seed: u64, count: usize) {
    eprintln!("seed {seed}: POSTERN_SEED={seed} repeats this run");
    let stage = Stage::shared();
    let _turn = stage.turn();
    for way in &stage.ways {
        let began = Instant::now();
        let mut tally = Tally::default();
        let mut number = 0;
        for who in &IDENTITIES {
            for module in who.modules() {
                number += 1;
                let mut copy = stage.copy(who, module, 20);
                let mut proxy = stage.connect(way, who, module);
                let sources = sources(stage, module, &mut copy);
                let mut grammar = Grammar::new(&sources, seed.wrapping_add(number));
                for n in 0..count {
                    let query = grammar.next_query();
                    let ask = |c: &mut Connection| match n % 2 {
                        0 => c.run(&query.sql),
                        _ => c.extended(&query.sql, &[], 0).expect("an answer"),
                    };
                    let (wanted, got) = (ask(&mut copy), ask(&mut proxy));
                    let here = format!("[{}, {module}, seed {seed}, {}] {}", who.name, way.mode, query.sql);
                    tally.add(&here, &wanted, &got, query.ordered);
                }
            }
        }
        eprintln!("{}: {} in {:?}", way.mode, tally.line(), began.elapsed());
        tally.holds(COMPARED);
    }
}

/// `POSTERN_SEED` repeats a run.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("POSTERN_SEED").ok().and_then(|s| s.parse().ok());
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("a clock after 1970").as_secs()
    })
}

#[test]
fn queries_of_a_grammar_answer_as_on_a_copy_of_what_one_may_see() {
    in_all_ways(seed(), 20);
}

#[test]
#[ignore = "20,000 queries in each of the three ways: make test-full"]
fn twenty_thousand_queries_answer_as_on_a_copy_of_what_one_may_see() {
    in_all_ways(seed(), 280);
}

/// Every table and import as a whole: exactly the rows and cells that the oracle says, for everybody, in each way.
#[test]
fn everybody_sees_the_rows_and_cells_that_the_domain_gives_them() {
    let stage = Stage::shared();
    let _turn = stage.turn();
    let mut problems = Vec::new();
    for way in &stage.ways {
        for who in &IDENTITIES {
            for module in who.modules() {
                let (mut copy, mut proxy) = (stage.copy(who, module, 20), stage.connect(way, who, module));
                let tables = stage.data.0.iter().filter(|r| r.module == module).map(|rows| {
                    let readable = rows.columns.iter().filter(|c| !never(&rows.table, c));
                    let columns: Vec<String> = readable.map(|c| format!("\"{c}\"")).collect();
                    (&*rows.table, columns, seen(who, &stage.data, module, &rows.table).len())
                });
                let imports = IMPORTED.iter().filter(|i| i.module == module).map(|i| {
                    let columns: Vec<String> = i.columns.iter().map(|c| format!("\"{c}\"")).collect();
                    (i.name, columns, seen_of_import(who, &stage.data, i).len())
                });
                for (table, columns, count) in tables.chain(imports) {
                    let sql = format!("SELECT {} FROM {table}", columns.join(", "));
                    let mut tally = Tally::default();
                    let (wanted, got) = (copy.run(&sql).good(&sql), proxy.run(&sql).good(&sql));
                    // The copy holds what the oracle says, no more and no less.
                    assert_eq!(wanted.rows.len(), count, "{sql}");
                    tally.add(&format!("[{}, {}] {sql}", who.name, way.mode), &wanted, &got, false);
                    // And the star is these columns.
                    let star = format!("SELECT * FROM {table}");
                    tally.add(
                        &format!("[{}, {}] {star}", who.name, way.mode),
                        &wanted,
                        &proxy.run(&star),
                        false,
                    );
                    problems.extend(tally.problems);
                    problems.extend(tally.refused.into_keys());
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}:\n{}", problems.len(), problems.join("\n"));
}

/// The claims that the development issuer vouches for are those of the domain, as the oracle writes them.
#[test]
fn the_issuer_says_of_people_what_the_domain_says() {
    let stand = Stand::shared();
    let config = postern_config::load(&stand.config_file()).unwrap_or_else(|e| panic!("the configuration: {e:?}"));
    let file = config.settings.tokens.dev_people.expect("the demo has people");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let claims: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let people: Vec<&Identity> = IDENTITIES.iter().filter(|i| i.sub.is_some()).collect();
    assert_eq!(claims.len(), people.len());
    for who in people {
        let said = &claims[who.name];
        let list = |name: &str| -> Vec<&str> {
            let all = said[name].as_array().into_iter().flatten();
            all.filter_map(serde_json::Value::as_str).collect()
        };
        assert_eq!(list("org_member_of"), who.org_member_of, "{}", who.name);
        assert_eq!(list("org_admin_of"), who.org_admin_of, "{}", who.name);
        assert_eq!(list("project_member_of"), who.project_member_of, "{}", who.name);
        assert_eq!(list("project_admin_of"), who.project_admin_of, "{}", who.name);
        assert_eq!(said["disabled"].as_bool(), Some(who.disabled), "{}", who.name);
        assert_eq!(said["super"].as_bool().unwrap_or(false), who.superadmin, "{}", who.name);
        assert_eq!(said["level"].as_i64(), who.level.map(i64::from), "{}", who.name);
        assert_eq!(said["email"].as_str(), who.email().as_deref(), "{}", who.name);
        assert_eq!(list("tenants"), who.tenants, "{}", who.name);
    }
}

/// The comparison can fail: one row too many, one too few or one other cell in the copy is noticed, and by the grammar's queries too.
#[test]
fn a_copy_that_is_not_what_one_sees_is_noticed() {
    let stage = Stage::shared();
    let _turn = stage.turn();
    let bob = IDENTITIES.iter().find(|i| i.sub == Some("bob")).expect("bob");
    for (table, change) in [
        ("roles", "INSERT INTO roles SELECT * FROM roles LIMIT 1"),
        ("accounts", "DELETE FROM accounts WHERE id = 'bob'"),
        ("projects", "UPDATE projects SET name = 'Harbour lights' WHERE id = 'PA1'"),
        ("orgs", "UPDATE orgs SET contact = '+49 30 200' WHERE id = 'B'"),
    ] {
        let mut copy = stage.copy(bob, "sys_account", 20);
        let mut proxy = stage.connect(&stage.ways[0], bob, "sys_account");
        let sources = sources(stage, "sys_account", &mut copy);
        let mut noticed = |copy: &mut Connection| {
            let (mut whole, mut tally) = (Tally::default(), Tally::default());
            let columns = if table == "accounts" { "id, email" } else { "*" };
            let sql = format!("SELECT {columns} FROM {table}");
            whole.add(&sql, &copy.run(&sql).good(&sql), &proxy.run(&sql).good(&sql), false);
            let mut grammar = Grammar::new(&sources, 7);
            for _ in 0..150 {
                let query = grammar.next_query();
                // What the copy raises ends its transaction.
                copy.run("SAVEPOINT before");
                let wanted = copy.run(&query.sql);
                copy.run("ROLLBACK TO before");
                tally.add(&query.sql, &wanted, &proxy.run(&query.sql), query.ordered);
            }
            (whole.problems.len(), tally.problems.len())
        };
        copy.run("BEGIN");
        assert_eq!(noticed(&mut copy), (0, 0), "nothing has changed");
        copy.run(change).good(change);
        let (whole, grammar) = noticed(&mut copy);
        copy.run("ROLLBACK").good("ROLLBACK");
        assert_eq!(whole, 1, "{change}");
        assert!(grammar > 0, "150 queries did not notice: {change}");
    }
}
