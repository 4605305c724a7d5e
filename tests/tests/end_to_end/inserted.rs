//! Who may insert which rows: as the domain's table says, written once more by hand in the oracle. What is not allowed is refused with 42501,
//! by INSERT, by INSERT that gives the row back, and by COPY.

#![expect(clippy::print_stderr, reason = "the figures say how much was compared")]

use postern_config::names::{quote_ident, quote_literal};
use postern_tests::connection::{Connection, Failure};
use postern_tests::oracle::data::Rows;
use postern_tests::oracle::inserting::{Attempt, tried};
use postern_tests::oracle::people::{IDENTITIES, Identity};
use postern_tests::oracle::stage::{Stage, Way};

use super::generated::seed;

/// How a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Insert,
    Returning,
    Copy,
}

const FORMS: [Form; 3] = [Form::Insert, Form::Returning, Form::Copy];

#[derive(Default)]
struct Figures {
    asked: usize,
    allowed: usize,
    /// Allowed by the policies, and then a constraint did not hold.
    constrained: usize,
    refused: usize,
    problems: Vec<String>,
}

/// Tries every row of every table; `forms` says in which forms that one.
fn try_everything(stage: &Stage, way: &Way, who: &Identity, mut forms: impl FnMut() -> Vec<Form>, figures: &mut Figures) {
    for module in who.modules() {
        let mut c = stage.connect(way, who, module);
        for rows in stage.data.0.iter().filter(|r| r.module == module) {
            for attempt in tried(who, &stage.data, rows, &unique(stage, rows)) {
                for form in forms() {
                    let wanted = attempt.allowed && (form != Form::Returning || attempt.seen);
                    let state = write(&mut c, rows, &attempt, form);
                    let done = match state.as_str() {
                        "" => true,
                        // PostgreSQL looks at constraints once the policies have let a row in.
                        "23502" | "23503" | "23505" => {
                            figures.constrained += 1;
                            true
                        }
                        "42501" => false,
                        // What this version does not do in that way.
                        "0A000" => {
                            figures.refused += 1;
                            continue;
                        }
                        _ => !wanted,
                    };
                    figures.asked += 1;
                    figures.allowed += usize::from(wanted);
                    if done != wanted {
                        figures.problems.push(format!(
                            "[{}, {module}, {}] {form:?} into {}: {:?}: `{state}`, and the domain says {wanted}",
                            who.name, way.mode, rows.table, attempt.named
                        ));
                    }
                }
            }
        }
    }
}

/// A table's unique columns beside its key.
fn unique(stage: &Stage, rows: &Rows) -> Vec<Vec<String>> {
    let tables = stage.config.modules.iter().flat_map(|m| &m.tables);
    let mut found = tables.filter(|t| t.name.schema.as_str() == rows.module && t.name.name.as_str() == rows.table);
    let table = found.next().expect("a table");
    let names = |columns: &Vec<postern_config::Ident>| columns.iter().map(|c| c.as_str().to_owned()).collect();
    table.unique.iter().map(names).collect()
}

/// The SQLSTATE that came of it; undone.
fn write(c: &mut Connection, rows: &Rows, attempt: &Attempt, form: Form) -> String {
    let columns: Vec<String> = attempt.named.iter().map(|(name, _)| quote_ident(name)).collect();
    let columns = columns.join(", ");
    let values = || {
        let literal = |cell: &Option<String>| cell.as_deref().map_or_else(|| "NULL".to_owned(), quote_literal);
        let all: Vec<String> = attempt.named.iter().map(|(_, cell)| literal(cell)).collect();
        all.join(", ")
    };
    let insert = || format!("INSERT INTO {} ({columns}) VALUES ({})", rows.table, values());
    c.run("BEGIN").good("BEGIN");
    let state = match form {
        Form::Insert => c.run(&insert()).sqlstate().to_owned(),
        Form::Returning => {
            let key = quote_ident(&rows.columns[0]);
            c.run(&format!("{} RETURNING {key}", insert())).sqlstate().to_owned()
        }
        Form::Copy => {
            let text = |cell: &Option<String>| cell.as_ref().map_or_else(|| "\\N".to_owned(), |t| t.replace('\\', "\\\\"));
            let line: Vec<String> = attempt.named.iter().map(|(_, cell)| text(cell)).collect();
            match c.copy_in(
                &format!("COPY {} ({columns}) FROM STDIN", rows.table),
                (line.join("\t") + "\n").as_bytes(),
            ) {
                Ok(()) => String::new(),
                Err(Failure::Server(e)) => e.sqlstate().to_owned(),
                Err(other) => panic!("COPY {}: {other}", rows.table),
            }
        }
    };
    c.run("ROLLBACK").good("ROLLBACK");
    state
}

fn holds(figures: &Figures) {
    eprintln!(
        "{} inserts tried, {} allowed ({} of them met a constraint); {} not done in that way",
        figures.asked, figures.allowed, figures.constrained, figures.refused
    );
    let shown: Vec<&str> = figures.problems.iter().take(25).map(String::as_str).collect();
    assert!(
        figures.problems.is_empty(),
        "{}:\n{}",
        figures.problems.len(),
        shown.join("\n")
    );
    assert!(
        figures.allowed > 300 && figures.asked > 2 * figures.allowed,
        "too little is tried"
    );
    assert!(figures.refused * 20 < figures.asked, "too much is not done at all");
    assert!(figures.constrained * 2 < figures.allowed, "hardly anything goes in");
}

/// Everybody in one of the ways, one row in three in one of the forms; others with each seed.
#[test]
fn everybody_inserts_the_rows_that_the_domain_lets_them_insert() {
    let seed = seed();
    eprintln!("seed {seed}: POSTERN_SEED={seed} repeats this run");
    let stage = Stage::shared();
    let _turn = stage.turn();
    let mut figures = Figures::default();
    let mut number = usize::try_from(seed % 9).expect("small");
    for (n, who) in IDENTITIES.iter().enumerate() {
        let way = &stage.ways[(n + number) % stage.ways.len()];
        let some = || {
            number += 1;
            match number % 3 {
                0 => vec![FORMS[number / 3 % FORMS.len()]],
                _ => Vec::new(),
            }
        };
        try_everything(stage, way, who, some, &mut figures);
    }
    holds(&figures);
}

#[test]
#[ignore = "everybody, every row, every form, in each of the three ways: make test-full"]
fn everybody_inserts_the_same_rows_in_each_way() {
    let stage = Stage::shared();
    let _turn = stage.turn();
    let mut figures = Figures::default();
    for way in &stage.ways {
        for who in &IDENTITIES {
            try_everything(stage, way, who, || FORMS.to_vec(), &mut figures);
        }
    }
    holds(&figures);
}
