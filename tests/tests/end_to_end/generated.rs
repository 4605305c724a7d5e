//! What a user is answered equals the same query on plain tables that hold what the user may see and nothing else: by queries of a grammar, in
//! all three ways of filtering.
//!
//! The plain copy of a person holds, for each table, what `SELECT * FROM table` answers that person. The attacks and the other tests hold
//! that this is what the policies say; here every other shape of query must agree with it.

#![expect(clippy::print_stderr, reason = "a run that fails is repeated by its seed")]

use std::time::Duration;

use postern_config::Config;
use postern_tests::connection::Connection;
use postern_tests::corpus::difference;
use postern_tests::grammar::{Grammar, Query, Source};
use postern_tests::plain;
use postern_tests::rewriting::{Rewriting, native_alone};
use postern_tests::stand::Stand;
use postern_tests::target::Target;

/// Who asks: a user, an admin of a scope, a superadmin, nobody.
const PEOPLE: [Option<&str>; 4] = [Some("bob"), Some("carl"), Some("root"), None];
const MODULES: [&str; 3] = ["sys_account", "disco", "chat"];
/// Of a hundred queries so many may be refused: what protected columns cannot carry yet.
const REFUSED: usize = 10;
/// Longer than any of them should take.
const PATIENCE: &str = "-c statement_timeout=20s";

/// A person's copy, and the tables of each module with literals from it.
struct Seen {
    who: Option<&'static str>,
    target: Target,
    modules: Vec<(&'static str, Vec<Source>)>,
}

impl Seen {
    fn make(stand: &Stand, config: &Config, who: Option<&'static str>) -> Self {
        let name = format!("generated_{}", who.unwrap_or("guest"));
        let mut dba = stand.dba_connection();
        dba.run(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            .good("dropping an old copy");
        dba.run(&format!("CREATE DATABASE {name} TEMPLATE template0"))
            .good("creating the copy");
        let target = stand.dba().in_database(&name);
        let mut connection = open(&target);
        let mut seen = config.clone();
        seen.modules.retain(|m| MODULES.contains(&m.module.as_str()));
        plain::fill_bare(&mut connection, &seen, |table| {
            open(&stand.through_gate(table.name.schema.as_str(), who))
        });
        let modules = MODULES.map(|module| {
            let manifest = seen.modules.iter().find(|m| m.module.as_str() == module).expect("a module");
            let sources = manifest.tables.iter().map(|table| {
                Source::of(table, |column| {
                    let sql = format!(
                        "SELECT DISTINCT \"{column}\"::text FROM {} WHERE \"{column}\" IS NOT NULL ORDER BY 1 LIMIT 12",
                        table.name.quoted()
                    );
                    let rows = connection.run(&sql).good(&sql).texts();
                    rows.into_iter().flatten().flatten().collect()
                })
            });
            (module, sources.collect())
        });
        Self {
            who,
            target,
            modules: modules.into(),
        }
    }
}

fn open(target: &Target) -> Connection {
    let mut c = Connection::open(target).unwrap_or_else(|e| panic!("{}: {e}", target.user));
    c.patience(Duration::from_secs(60)).expect("a deadline can be set");
    c
}

/// Asks `count` queries of each person's module at the copy and through the proxy.
fn compare(stand: &Stand, copies: &[Seen], port: u16, mode: &str, seed: u64, count: usize) {
    let (mut asked, mut answered, mut problems, mut refused) = (0, 0, Vec::new(), Vec::new());
    for (p, copy) in copies.iter().enumerate() {
        for (m, (module, sources)) in copy.modules.iter().enumerate() {
            let mut plain = open(
                &copy
                    .target
                    .clone()
                    .with("options", &format!("-c search_path={module} {PATIENCE}")),
            );
            let mut proxy = open(&stand.through(port, module, copy.who));
            let mut grammar = Grammar::new(sources, seed.wrapping_add((p * MODULES.len() + m) as u64));
            for n in 0..count {
                let query = grammar.next_query();
                asked += 1;
                let ask = |c: &mut Connection, Query { sql, .. }: &Query| match n % 2 {
                    0 => c.run(sql),
                    _ => c.extended(sql, &[], 0).expect("an answer"),
                };
                let wanted = ask(&mut plain, &query);
                if wanted.sqlstate() == "57014" {
                    continue;
                }
                let got = ask(&mut proxy, &query);
                let who = copy.who.unwrap_or("a guest");
                let here = format!("[{who}, {module}, seed {seed}, {mode}] {}", query.sql);
                let beyond = got.error.as_ref().filter(|e| e.sqlstate() == "0A000" && !e.hint().is_empty());
                if let (Some(e), None) = (beyond, &wanted.error) {
                    refused.push(format!("{here}\n    {}", e.message()));
                    continue;
                }
                answered += 1;
                if let Some(difference) = difference(&wanted, &got, query.ordered) {
                    problems.push(format!("{here}\n    {difference}"));
                }
            }
        }
    }
    eprintln!("{mode}: {answered} compared, {} refused, of {asked}", refused.len());
    let shown = |all: &[String]| all.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        problems.is_empty(),
        "{} of {asked} differ:\n{}",
        problems.len(),
        shown(&problems)
    );
    assert!(
        refused.len() * 100 <= asked * REFUSED,
        "{} of {asked} are refused:\n{}",
        refused.len(),
        shown(&refused)
    );
    assert!(answered * 10 >= asked * 8, "only {answered} of {asked} were compared");
}

fn in_all_ways(seed: u64, count: usize) {
    eprintln!("seed {seed}");
    let stand = Stand::shared();
    let _alone = stand.alone();
    let config = postern_config::load(&stand.gate().config).unwrap_or_else(|e| panic!("the configuration: {e:?}"));
    let copies = PEOPLE.map(|who| Seen::make(stand, &config, who));
    compare(stand, &copies, stand.gate().port, "both", seed, count);
    {
        let native = native_alone(stand, "generated-rls");
        compare(stand, &copies, native.port, "rls", seed, count);
    }
    let rewriting = Rewriting::start(stand, "generated-rewrite");
    compare(stand, &copies, rewriting.proxy.port, "rewrite", seed, count);
    drop(rewriting);
    for copy in &copies {
        let name = format!("generated_{}", copy.who.unwrap_or("guest"));
        stand
            .dba_connection()
            .run(&format!("DROP DATABASE {name} WITH (FORCE)"))
            .good("dropping the copy");
    }
}

/// `POSTERN_SEED` repeats a run.
fn seed() -> u64 {
    let given = std::env::var("POSTERN_SEED").ok().and_then(|s| s.parse().ok());
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("a clock after 1970").as_secs()
    })
}

#[test]
fn queries_of_a_grammar_answer_as_on_a_copy_of_what_one_may_see() {
    in_all_ways(seed(), 40);
}

#[test]
#[ignore = "20,000 queries in each of the three ways, most of an hour: make test-full"]
fn twenty_thousand_queries_answer_as_on_a_copy_of_what_one_may_see() {
    in_all_ways(seed(), 1_700);
}
