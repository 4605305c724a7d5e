//! The reference data set: made from a fixed seed, so that every demonstration, test and benchmark sees the same rows.
//!
//! Two organisations, three projects, 2,000 people with accounts and survey entries, and what they wrote to each other: some 22,000
//! rows. The people of [`super::people`] are among them. [`load`] puts them in as an ordinary client of the proxy.

mod accounts;
mod cell;
mod chat;
mod core;
mod disco;
pub mod load;
mod names;

pub use cell::Cell;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::people::{PEOPLE, Person};

const SEED: u64 = 0x0070_6f73_7465_726e;
/// Changes whenever the rows do: a loaded directory says which it holds.
pub const EDITION: &str = "reference data set 1";
/// How many people there are.
pub const ACCOUNTS: usize = 2_000;
/// Days from 2000-01-01 to 2026-01-01.
const EPOCH_DAYS: i32 = 9_497;
const DAY_MICROS: i64 = 86_400_000_000;

/// Who may write a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writer {
    /// A superadmin, through the module's runtime login.
    Superadmin,
    /// The module's service login.
    Service,
    /// Each row its own author, by account id.
    Authors(Vec<String>),
}

/// The rows of one table.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Module, which is also the schema.
    pub module: &'static str,
    /// Table.
    pub table: &'static str,
    /// Who writes it.
    pub writer: Writer,
    /// Columns, in the order of each row's cells.
    pub columns: &'static [&'static str],
    /// Rows.
    pub rows: Vec<Vec<Cell>>,
}

struct Account {
    id: String,
    name: String,
    email: String,
    org: &'static str,
    project: &'static str,
    person: Option<Person>,
}

/// All tables, parents before children.
pub fn generate() -> Vec<Rows> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let people = everybody(&mut rng);
    let mut all = accounts::tables(&mut rng, &people);
    all.extend(core::tables(&mut rng, &people));
    all.extend(disco::tables(&mut rng, &people));
    all.extend(chat::tables(&mut rng, &people));
    all.push(Rows {
        module: "evilmod",
        table: "notes",
        writer: Writer::Superadmin,
        columns: &["id", "body"],
        rows: (1..=40)
            .map(|n| {
                vec![
                    Cell::Text(format!("note-{n:02}")),
                    Cell::Text(format!("Nothing to see here, part {n}.")),
                ]
            })
            .collect(),
    });
    all
}

const PROJECTS: [(&str, &str, &str, &str); 3] = [
    ("PA1", "A", "Harbour Lights", "Alder Alliance"),
    ("PA2", "A", "Open Fields", "Alder Alliance"),
    ("PB1", "B", "Night Trains Now", "Birch Bureau"),
];

fn everybody(rng: &mut ChaCha8Rng) -> Vec<Account> {
    let mut names: Vec<String> = names::FIRST
        .iter()
        .flat_map(|f| names::LAST.iter().map(move |l| format!("{f} {l}")))
        .collect();
    names.shuffle(rng);
    let named = PEOPLE.iter().map(|p| Account {
        id: p.id.to_owned(),
        name: p.name.to_owned(),
        email: p.email(),
        org: p.org_member_of.first().copied().unwrap_or(""),
        project: p.project_member_of.first().copied().unwrap_or(""),
        person: Some(*p),
    });
    let mut all: Vec<Account> = named.collect();
    for n in all.len()..ACCOUNTS {
        let name = names.pop().expect("more names than accounts");
        let (project, org) = match rng.random_range(0..100) {
            0..45 => ("PA1", "A"),
            45..65 => ("PA2", "A"),
            _ => ("PB1", "B"),
        };
        all.push(Account {
            id: format!("acc-{n:04}"),
            email: format!("{}.{n}@people.example", name.to_lowercase().replace(' ', ".")),
            name,
            org,
            project,
            person: None,
        });
    }
    all
}

/// Some moment of the year 2026.
fn moment(rng: &mut ChaCha8Rng) -> Cell {
    let seconds: i64 = rng.random_range(0..300 * 86_400);
    Cell::Time(i64::from(EPOCH_DAYS) * DAY_MICROS + seconds * 1_000_000)
}

fn hex(rng: &mut ChaCha8Rng, bytes: usize) -> String {
    (0..bytes).map(|_| format!("{:02x}", rng.random_range(0..=255u8))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_rows() {
        let rows = |all: Vec<Rows>| all.into_iter().map(|t| t.rows).collect::<Vec<_>>();
        assert_eq!(rows(generate()), rows(generate()));
    }

    #[test]
    fn it_is_as_large_as_promised_and_keys_are_unique() {
        let all = generate();
        let total: usize = all.iter().map(|t| t.rows.len()).sum();
        assert!(total >= 20_000, "{total}");
        for t in &all {
            assert!(t.rows.iter().all(|r| r.len() == t.columns.len()), "{}.{}", t.module, t.table);
            if let Writer::Authors(authors) = &t.writer {
                assert_eq!(authors.len(), t.rows.len(), "{}.{}", t.module, t.table);
            }
            let width = match t.table {
                "mod_events" => continue,
                "group_members" | "read_receipts" => 2,
                _ => 1,
            };
            let keys: HashSet<String> = t.rows.iter().map(|r| format!("{:?}", &r[..width])).collect();
            assert_eq!(keys.len(), t.rows.len(), "{}.{} has a key twice", t.module, t.table);
        }
    }
}
