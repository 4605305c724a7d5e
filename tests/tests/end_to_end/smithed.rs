//! What somebody is answered equals the same query on plain tables that hold what the domain says they may see: by queries of Debian's
//! `sqlsmith`, in all three ways of filtering.

#![expect(
    clippy::print_stderr,
    reason = "a run that fails is repeated by its seed; the figures say how much was compared"
)]

use std::time::Instant;

use postern_tests::oracle::people::{IDENTITIES, Identity, MODULES};
use postern_tests::oracle::stage::Stage;
use postern_tests::oracle::tally::Tally;
use postern_tests::plain::relations;
use postern_tests::sqlsmith::{Columns, Smith};

use super::generated::seed;

/// Of a hundred queries over plain columns at least so many must be compared.
const COMPARED: usize = 50;
/// The same with protected columns, of which only equality is asked.
const COMPARED_SEALED: usize = 30;
/// The same with protected columns of which anything is asked that their types have.
const COMPARED_READABLE: usize = 5;
/// A statement on the copy has so many seconds.
const SECONDS: u32 = 5;

/// Has `made` queries made for each module, and asks each of `people` of them in each way. How many answers were compared.
fn in_all_ways(seed: u64, made: usize, people: usize) -> usize {
    let mut answers = 0;
    eprintln!("seed {seed}: POSTERN_SEED={seed} repeats this run");
    let stage = Stage::shared();
    let _turn = stage.turn();
    for (columns, made, compared) in [
        (Columns::Plain, made, COMPARED),
        (Columns::Sealed, made / 2, COMPARED_SEALED),
        (Columns::Readable, made / 6, COMPARED_READABLE),
    ] {
        let queries =
            MODULES.map(|module| Smith::new(&stage.copies(), &relations(&stage.config, module), columns).queries(seed, made));
        for (n, way) in stage.ways.iter().enumerate() {
            let began = Instant::now();
            let mut tally = Tally::default();
            for (module, queries) in MODULES.iter().zip(&queries) {
                let all: Vec<&Identity> = IDENTITIES.iter().filter(|i| i.modules().contains(module)).collect();
                for k in 0..people.min(all.len()) {
                    // Others in each way, each in turn.
                    let who = all[(k + n + usize::try_from(seed % 97).expect("small")) % all.len()];
                    let (mut copy, mut proxy) = (stage.copy(who, module, SECONDS), stage.connect(way, who, module));
                    proxy.run(&format!("SET statement_timeout = '{}s'", 4 * SECONDS)).good("SET");
                    for sql in queries {
                        let wanted = copy.run(sql);
                        if wanted.sqlstate() == "57014" {
                            tally.asked += 1;
                            tally.long += 1;
                            continue;
                        }
                        let here = format!("[{}, {module}, seed {seed}, {}] {sql}", who.name, way.mode);
                        tally.add(&here, &wanted, &proxy.run(sql), false);
                    }
                }
            }
            eprintln!(
                "sqlsmith, {columns:?} columns, {}: {} in {:?}\n{}",
                way.mode,
                tally.line(),
                began.elapsed(),
                tally.refusals_text()
            );
            tally.holds(compared);
            answers += tally.compared;
        }
    }
    answers
}

#[test]
fn queries_of_sqlsmith_answer_as_on_a_copy_of_what_one_may_see() {
    assert!(in_all_ways(seed(), 150, 3) > 300);
}

#[test]
#[ignore = "more than 20,000 queries: make test-full"]
fn twenty_thousand_queries_of_sqlsmith_answer_as_on_a_copy_of_what_one_may_see() {
    assert!(in_all_ways(seed(), 1_500, 9) > 20_000);
}
