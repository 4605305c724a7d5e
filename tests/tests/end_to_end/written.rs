//! Who may change and delete which rows: as the domain's table says, written once more by hand in the oracle.

#![expect(clippy::print_stderr, reason = "the figures say how much was compared")]

use postern_tests::connection::Connection;
use postern_tests::oracle::people::{IDENTITIES, Identity};
use postern_tests::oracle::stage::{Stage, Way};
use postern_tests::oracle::writing::{Write, may, tried};

use super::generated::seed;

#[derive(Default)]
struct Figures {
    asked: usize,
    allowed: usize,
    refused: usize,
    problems: Vec<String>,
}

/// Tries every write on every row, each undone. A row that is not written is as good as a refusal; a row that others refer to is one that
/// may be deleted.
fn try_everything(stage: &Stage, way: &Way, who: &Identity, figures: &mut Figures) {
    for module in who.modules() {
        let mut c = stage.connect(way, who, module);
        for rows in stage.data.0.iter().filter(|r| r.module == module) {
            for row in &rows.rows {
                for write in tried(module, &rows.table) {
                    let equal = |n: usize| {
                        let value = row[n].as_deref().expect("keys are whole").replace('\'', "''");
                        format!("\"{}\" = '{value}'", rows.columns[n])
                    };
                    let key: Vec<String> = (0..rows.key_width()).map(equal).collect();
                    let key = key.join(" AND ");
                    let sql = match write {
                        Write::Update(column) => format!("UPDATE {} SET {column} = {column} WHERE {key}", rows.table),
                        Write::Delete => format!("DELETE FROM {} WHERE {key}", rows.table),
                    };
                    let Some(done) = written(&mut c, &sql, write) else {
                        figures.refused += 1;
                        continue;
                    };
                    figures.asked += 1;
                    let wanted = may(who, &stage.data, rows, row, write);
                    figures.allowed += usize::from(wanted);
                    if done != Ok(wanted) {
                        let here = format!("[{}, {}, {}]", who.name, module, way.mode);
                        figures
                            .problems
                            .push(format!("{here} {sql}: {done:?}, and the domain says {wanted}"));
                    }
                }
            }
        }
    }
}

/// Whether the row was written; `None` where this version does not do it in that way.
fn written(c: &mut Connection, sql: &str, write: Write) -> Option<Result<bool, String>> {
    c.run("BEGIN").good("BEGIN");
    let reply = c.run(sql);
    c.run("ROLLBACK").good("ROLLBACK");
    match (reply.sqlstate(), reply.tag.as_deref()) {
        ("", Some("UPDATE 1" | "DELETE 1")) => Some(Ok(true)),
        ("", Some("UPDATE 0" | "DELETE 0")) | ("42501", _) => Some(Ok(false)),
        ("23503", _) if write == Write::Delete => Some(Ok(true)),
        ("0A000", _) => None,
        _ => Some(Err(reply.error.map_or_else(|| format!("{:?}", reply.tag), |e| e.to_string()))),
    }
}

fn holds(figures: &Figures) {
    eprintln!(
        "{} writes tried, {} allowed; {} not done in that way",
        figures.asked, figures.allowed, figures.refused
    );
    let shown: Vec<&str> = figures.problems.iter().take(25).map(String::as_str).collect();
    assert!(
        figures.problems.is_empty(),
        "{}:\n{}",
        figures.problems.len(),
        shown.join("\n")
    );
    assert!(
        figures.allowed > 100 && figures.asked > 3 * figures.allowed,
        "too little is tried"
    );
}

/// Everybody in one of the ways, another one with each seed.
#[test]
fn everybody_writes_the_rows_that_the_domain_lets_them_write() {
    let seed = seed();
    eprintln!("seed {seed}: POSTERN_SEED={seed} repeats this run");
    let stage = Stage::shared();
    let _turn = stage.turn();
    let mut figures = Figures::default();
    for (n, who) in IDENTITIES.iter().enumerate() {
        let way = &stage.ways[(n + usize::try_from(seed % 3).expect("small")) % stage.ways.len()];
        try_everything(stage, way, who, &mut figures);
    }
    holds(&figures);
}

#[test]
#[ignore = "everybody in each of the three ways: make test-full"]
fn everybody_writes_the_same_rows_in_each_way() {
    let stage = Stage::shared();
    let _turn = stage.turn();
    let mut figures = Figures::default();
    for way in &stage.ways {
        for who in &IDENTITIES {
            try_everything(stage, way, who, &mut figures);
        }
    }
    holds(&figures);
}
