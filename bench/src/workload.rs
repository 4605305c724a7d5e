//! What is asked: one statement each, the same text for every way.

use std::fmt;
use std::rc::Rc;

use clap::ValueEnum;

use crate::way::Door;

/// Which workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Name {
    /// Reads a row of a table without policies by its key.
    PlainRead,
    /// Reads a row by its key; the rows are filtered by the person's roles.
    FilteredRead,
    /// Finds a row by an encrypted column, and opens it.
    EncryptedRead,
    /// Writes a row of a table without policies by its key.
    PlainUpdate,
    /// Writes an encrypted column of a row with an encrypted key.
    EncryptedUpdate,
    /// Adds a row of two encrypted columns, one of them the key.
    EncryptedInsert,
}

impl Name {
    /// In the order of a report.
    pub const ALL: [Name; 6] = [
        Name::PlainRead,
        Name::FilteredRead,
        Name::EncryptedRead,
        Name::PlainUpdate,
        Name::EncryptedUpdate,
        Name::EncryptedInsert,
    ];

    /// The statement; keys and values are parameters, all of them text.
    pub fn sql(self) -> &'static str {
        match self {
            Name::PlainRead => "SELECT body FROM lab.bench_rows WHERE id = $1",
            Name::FilteredRead => "SELECT account_id FROM sys_account.roles WHERE id = $1",
            Name::EncryptedRead => "SELECT email, id FROM sys_account.accounts WHERE email = $1",
            Name::PlainUpdate => "UPDATE lab.bench_rows SET note = $2 WHERE id = $1",
            Name::EncryptedUpdate => "UPDATE sys_account.login_attempts SET account_email = $2 WHERE origin_ip = $1",
            Name::EncryptedInsert => {
                "INSERT INTO sys_account.login_attempts (origin_ip, account_email, total_attempts) VALUES ($1, $2, -1)"
            }
        }
    }

    /// Whether rows come back. The others change exactly one.
    pub fn reads(self) -> bool {
        matches!(self, Name::PlainRead | Name::FilteredRead | Name::EncryptedRead)
    }

    /// Who asks through the gate.
    pub fn door(self) -> Door {
        let (module, login, person) = match self {
            Name::PlainRead | Name::PlainUpdate => ("lab", "url", None),
            Name::FilteredRead => ("sys_account", "url", Some("ana")),
            Name::EncryptedRead => ("sys_account", "url", Some("root")),
            Name::EncryptedUpdate | Name::EncryptedInsert => ("sys_account", "service_url", None),
        };
        Door { module, login, person }
    }

    /// One line for a report.
    pub fn about(self) -> &'static str {
        match self {
            Name::PlainRead => "a row by primary key; no policies, nothing encrypted",
            Name::FilteredRead => "a row by primary key as an organisation's admin; three policies and the restriction apply",
            Name::EncryptedRead => {
                "a row by an encrypted `eq` column as superadmin; one cell is opened and checked, three policies apply"
            }
            Name::PlainUpdate => "one column of a row by primary key; no policies, nothing encrypted",
            Name::EncryptedUpdate => {
                "an encrypted column of a row by its encrypted primary key; one cell is sealed, one policy applies"
            }
            Name::EncryptedInsert => {
                "a row with an encrypted primary key and another encrypted column; two cells are sealed, one policy applies"
            }
        }
    }

    /// What must be undone and tidied after a slice, on the database that it ran in.
    pub fn tidy(self) -> &'static [&'static str] {
        match self {
            Name::PlainRead | Name::FilteredRead | Name::EncryptedRead => &[],
            Name::PlainUpdate => &["VACUUM lab.bench_rows"],
            Name::EncryptedUpdate | Name::EncryptedInsert => &[
                "DELETE FROM sys_account.login_attempts WHERE total_attempts = -1",
                "VACUUM sys_account.login_attempts",
            ],
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |v| v.get_name()))
    }
}

/// A row that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What `$1` is.
    pub key: String,
    /// Reads: what the first column must be. Writes: what `$2` is.
    pub value: String,
}

/// A workload with the rows it is about.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Which.
    pub name: Name,
    /// Its rows, in the order they are asked for.
    pub subjects: Rc<[Subject]>,
    /// A key that exists and that the gate must not show, where rows are filtered.
    pub hidden: Option<String>,
}

impl Workload {
    /// The subjects of one of `clients`: no two write the same row at the same time.
    pub fn share(&self, client: u32, clients: u32) -> impl Iterator<Item = &Subject> + Clone {
        self.subjects.iter().skip(client as usize).step_by(clients.max(1) as usize)
    }
}

/// The same mixed order every time: neighbours in a table should not be neighbours in time.
pub fn mixed(mut subjects: Vec<Subject>) -> Rc<[Subject]> {
    // FNV-1a, which is the same on every machine and in every version.
    let place = |s: &Subject| {
        s.key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    subjects.sort_by_cached_key(place);
    subjects.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(rows: usize) -> Workload {
        let subject = |n| Subject {
            key: format!("key-{n}"),
            value: String::new(),
        };
        Workload {
            name: Name::PlainUpdate,
            subjects: mixed((0..rows).map(subject).collect()),
            hidden: None,
        }
    }

    #[test]
    fn shares_are_disjoint_and_complete() {
        let workload = workload(10);
        let mut all: Vec<&str> = (0..3).flat_map(|c| workload.share(c, 3)).map(|s| s.key.as_str()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 10);
    }

    #[test]
    fn every_workload_says_what_it_is() {
        for name in Name::ALL {
            assert!(!name.to_string().is_empty() && !name.about().is_empty());
            assert_eq!(name.reads(), name.sql().starts_with("SELECT"));
            assert_eq!(name.reads(), name.tidy().is_empty());
        }
    }
}
