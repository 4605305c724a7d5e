//! What names mean at one place of a statement.
//!
//! A scope holds the range entries of one query level (its FROM items, or the target of a write) and points outwards. Columns carry their
//! nature: plain, never readable, or sealed with everything needed to compare or open them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::Node;
use postern_config::{Ident, Table};

use crate::plan::{Refusal, Sealed};
use crate::{allow, tree};

/// A column as a range entry offers it.
#[derive(Clone)]
pub(crate) struct Col {
    pub(crate) name: Box<str>,
    pub(crate) nature: Nature,
    /// Set only where the column cannot be masked beneath the reference (a write's own target).
    pub(crate) mask: Option<Rc<Mask>>,
}

/// When a column is shown, and what else.
pub(crate) struct Mask {
    /// Where this holds it is shown; columns are qualified by the entry's alias.
    pub(crate) shown: Node,
    /// What is shown where it does not; NULL where absent. An envelope has [`crate::plan::MASKED`] here.
    pub(crate) instead: Option<Node>,
}

/// What a column is.
#[derive(Clone)]
pub(crate) enum Nature {
    /// Stored and sent as it is.
    Plain,
    /// No role reads it.
    Never(Rc<SealedCol>),
    /// An envelope with its siblings.
    Sealed(Rc<SealedCol>),
}

/// An envelope column of a range entry, by the names under which that entry offers its parts.
#[derive(PartialEq)]
pub(crate) struct SealedCol {
    /// The base column.
    pub(crate) sealed: Sealed,
    /// The envelope.
    pub(crate) envelope: Box<str>,
    /// The equality tag, where the column supports `eq`.
    pub(crate) tag: Option<Box<str>>,
    /// Who shares the tag key.
    pub(crate) tag_key: TagKey,
    /// Bound columns: name and type.
    pub(crate) bound: Vec<(Box<str>, postern_config::ColumnType)>,
    /// What the manifest shows where it is masked, in text form.
    pub(crate) mask: Option<Box<str>>,
    /// Declared searches, for hints.
    pub(crate) declared_later: bool,
    /// Manifest line, for hints.
    pub(crate) line: usize,
    /// Manifest file stem, for hints.
    pub(crate) module: Box<str>,
}

/// Equality tags are comparable exactly where these are equal.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum TagKey {
    /// A column by itself.
    Column(postern_config::ColumnRef),
    /// A join group of the module.
    Group(Ident),
}

/// One FROM item.
pub(crate) struct Entry {
    /// The name by which its columns are qualified.
    pub(crate) alias: Box<str>,
    /// Its columns; `None` where they are not known (own, plain).
    pub(crate) columns: Option<Vec<Col>>,
    /// It has columns that a client must not see: `*` and whole-row references are handled by us.
    pub(crate) guarded: bool,
    /// System columns may be named (own plain tables).
    pub(crate) system_columns: bool,
    /// It is a table that no manifest declares, so that its `tableoid` is its own, or that of a table beneath it.
    pub(crate) stored: bool,
    /// Primary key, for functional dependence under GROUP BY.
    pub(crate) primary_key: Vec<Box<str>>,
    /// Reached through a qualified name only (`excluded`).
    pub(crate) qualified_only: bool,
    /// What stands behind it.
    pub(crate) origin: Origin,
    /// Where its columns are not known: those that the statement itself names.
    pub(crate) named: Vec<Box<str>>,
    /// The table whose barrier it is; its columns are that table's, in order.
    pub(crate) behind: Option<Arc<Table>>,
    /// PostgreSQL sees the declared table itself there, with system columns that nobody may name.
    pub(crate) direct: bool,
    /// It is a barrier that is locked, without a fence ([`crate::locks`]).
    pub(crate) locked: bool,
}

/// Where an entry's rows come from, as far as it matters where its columns are not known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A relation, a subquery, a CTE.
    Rows,
    /// A function: its row may be a plain value, and `alias.name` then calls the function `name` on it.
    Call,
    /// A view over the catalogue.
    Catalogue,
}

/// A query level.
pub(crate) struct Scope<'o> {
    pub(crate) outer: Option<&'o Scope<'o>>,
    pub(crate) entries: Vec<Entry>,
    /// Names merged by USING.
    pub(crate) merged: Vec<Box<str>>,
    /// CTEs made at this level, innermost last.
    pub(crate) ctes: Vec<Cte>,
    /// Columns of this level's entries that were referred to, from here or below: (alias, name).
    used: RefCell<BTreeSet<(Box<str>, Box<str>)>>,
}

/// A CTE and what it offers.
pub(crate) struct Cte {
    pub(crate) name: Box<str>,
    /// The name it has in what runs.
    pub(crate) runs_as: Box<str>,
    /// `None`: columns unknown.
    pub(crate) columns: Option<Vec<Col>>,
    pub(crate) guarded: bool,
}

/// A resolved reference.
pub(crate) enum Found<'s> {
    /// A column.
    Column { entry: &'s Entry, col: &'s Col },
    /// Several entries merged by USING, or an entry whose columns are unknown: plain.
    Plain,
    /// A whole row.
    Row(&'s Entry),
}

const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

impl<'o> Scope<'o> {
    pub(crate) fn new(outer: Option<&'o Scope<'o>>) -> Self {
        Self {
            outer,
            entries: Vec::new(),
            merged: Vec::new(),
            ctes: Vec::new(),
            used: RefCell::new(BTreeSet::new()),
        }
    }

    /// Notes a reference at the level the entry belongs to.
    pub(crate) fn note_use(&self, entry: &Entry, column: &str) {
        if self.entries.iter().any(|e| std::ptr::eq(e, entry)) {
            self.used.borrow_mut().insert((entry.alias.clone(), column.into()));
        } else if let Some(outer) = self.outer {
            outer.note_use(entry, column);
        }
    }

    /// Names of an entry's columns that were referred to.
    pub(crate) fn used_of(&self, alias: &str) -> Vec<Box<str>> {
        self.used
            .borrow()
            .iter()
            .filter(|(a, _)| &**a == alias)
            .map(|(_, c)| c.clone())
            .collect()
    }

    /// The CTE of that name, innermost first.
    pub(crate) fn cte(&self, name: &str) -> Option<&Cte> {
        self.ctes
            .iter()
            .rev()
            .find(|c| &*c.name == name)
            .or_else(|| self.outer.and_then(|o| o.cte(name)))
    }

    /// The entry of that alias as PostgreSQL finds it: innermost level first.
    pub(crate) fn entry(&self, alias: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|e| &*e.alias == alias)
            .or_else(|| self.outer.and_then(|o| o.entry(alias)))
    }

    /// An unqualified name: as a column, level by level outwards; then as a whole row.
    pub(crate) fn bare(&self, name: &str, location: i32) -> Result<Found<'_>, Refusal> {
        // A level between with columns that are not known may hold the name too. What PostgreSQL will take is then not known here.
        let mut unknown = false;
        let mut direct = false;
        let mut level = Some(self);
        while let Some(scope) = level {
            match scope.own_column(name, location)? {
                Some(Found::Column { entry, col }) if unknown => {
                    return if col.is_open() {
                        Ok(Found::Plain)
                    } else {
                        Err(ambiguous(name, &entry.alias, location))
                    };
                }
                Some(Found::Plain) => return Ok(Found::Plain),
                Some(found) => return Ok(found),
                None => {}
            }
            unknown |= scope.entries.iter().any(|e| !e.qualified_only && e.columns.is_none());
            direct |= scope.entries.iter().any(|e| e.direct);
            level = scope.outer;
        }
        match self.entry(name) {
            Some(entry) if unknown && entry.guarded => {
                Err(Refusal::new("42702", "column", format!("column reference \"{name}\" is ambiguous")).at(location))
            }
            // Where no unknown relation has such a column, PostgreSQL takes the written table's.
            _ if direct && SYSTEM_COLUMNS.contains(&name) => Err(Refusal::missing_column(&format!("\"{name}\""), location)),
            _ if unknown => Ok(Found::Plain),
            Some(entry) => Ok(Found::Row(entry)),
            None => Err(Refusal::missing_column(&format!("\"{name}\""), location)),
        }
    }

    /// A column of this level by its bare name.
    pub(crate) fn own_column(&self, name: &str, location: i32) -> Result<Option<Found<'_>>, Refusal> {
        let mut found: Option<(&Entry, &Col)> = None;
        let mut several = false;
        for entry in self.entries.iter().filter(|e| !e.qualified_only) {
            for col in entry.columns.iter().flatten().filter(|c| &*c.name == name) {
                several |= found.is_some();
                found = Some((entry, col));
            }
        }
        match found {
            Some(_) if several && self.merged.iter().any(|m| &**m == name) => Ok(Some(Found::Plain)),
            Some(_) if several => {
                Err(Refusal::new("42702", "column", format!("column reference \"{name}\" is ambiguous")).at(location))
            }
            Some((entry, col)) => Ok(Some(Found::Column { entry, col })),
            None if self.entries.iter().any(|e| e.named.iter().any(|n| &**n == name)) => Ok(Some(Found::Plain)),
            None if SYSTEM_COLUMNS.contains(&name) && self.entries.iter().any(|e| e.system_columns) => Ok(Some(Found::Plain)),
            None => Ok(None),
        }
    }

    /// Whether a reference is to the `tableoid` of a table that no manifest declares.
    pub(crate) fn is_own_tableoid(&self, n: &Node) -> bool {
        let Some(NodeEnum::ColumnRef(c)) = &n.node else {
            return false;
        };
        let entry = match (tree::parts(&c.fields).as_deref(), self.entries.as_slice()) {
            (Some(["tableoid"]), [only]) => Some(only),
            (Some([alias, "tableoid"]), _) => self.entry(alias),
            _ => None,
        };
        // A column may be called so by an alias.
        entry.is_some_and(|e| {
            e.stored
                && e.columns
                    .as_ref()
                    .is_some_and(|all| all.iter().all(|c| &*c.name != "tableoid"))
        })
    }

    /// `alias.name`.
    pub(crate) fn qualified(&self, alias: &str, name: &str, location: i32) -> Result<Found<'_>, Refusal> {
        let Some(entry) = self.entry(alias) else {
            return Err(Refusal::new(
                "42P01",
                "relation",
                format!("missing FROM-clause entry for table \"{alias}\""),
            )
            .at(location));
        };
        match &entry.columns {
            // Where the row is a plain value, PostgreSQL takes `alias.name` for a call of the function `name` on it.
            None if entry.origin != Origin::Catalogue
                && allow::hidden_call(name)
                && !entry.named.iter().any(|n| &**n == name) =>
            {
                Err(Refusal::missing_column(&format!("{alias}.{name}"), location))
            }
            None => Ok(Found::Plain),
            Some(cols) => match cols.iter().find(|c| &*c.name == name) {
                Some(col) => Ok(Found::Column { entry, col }),
                None if entry.system_columns && SYSTEM_COLUMNS.contains(&name) => Ok(Found::Plain),
                None => Err(Refusal::missing_column(&format!("{alias}.{name}"), location)),
            },
        }
    }
}

impl Entry {
    /// An entry with plain columns of these names, or unknown ones.
    pub(crate) fn plain(alias: &str, columns: Option<Vec<Col>>) -> Self {
        Self {
            alias: alias.into(),
            columns,
            guarded: false,
            system_columns: false,
            stored: false,
            primary_key: Vec::new(),
            qualified_only: false,
            origin: Origin::Rows,
            named: Vec::new(),
            behind: None,
            direct: false,
            locked: false,
        }
    }
}

fn ambiguous(name: &str, alias: &str, location: i32) -> Refusal {
    Refusal::new("42702", "column", format!("column reference \"{name}\" is ambiguous"))
        .hint(format!("Write {alias}.{name}, or the alias of the relation that is meant."))
        .at(location)
}

impl Col {
    /// It may be read wherever it can be named: neither sealed nor masked nor kept back.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.nature, Nature::Plain) && self.mask.is_none()
    }

    pub(crate) fn plain(name: &str) -> Self {
        Self {
            name: name.into(),
            nature: Nature::Plain,
            mask: None,
        }
    }
}
