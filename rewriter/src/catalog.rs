//! What the judge knows of the database: an immutable snapshot, for one module, of its own relations.
//!
//! Another module's relations are not in it at all, so they cannot answer differently from missing ones.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use postern_config::names::{ColumnRef, TableRef};
use postern_config::settings::Enforce;
use postern_config::{ColumnType, Ident, Manifest, Table};

/// A snapshot.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Changes whenever anything in it may have changed; part of every plan's cache key.
    pub generation: u64,
    /// The module's schema: unqualified names are looked for here after `pg_temp` and `pg_catalog`.
    pub schema: Ident,
    /// `false` judges syntax and names alone: every relation is taken as own and plain.
    pub closed: bool,
    relations: HashMap<(Box<str>, Box<str>), Arc<Relation>>,
    /// The module's manifest declares tables, whether or not they are there.
    pub declares_tables: bool,
    /// Names in the module's schema that are there and answer as missing: children of declared tables, and what took a declared one's place.
    pub left_out: HashSet<Box<str>>,
    /// It was read within a transaction that has changed it: a rollback brings back what is not in it.
    pub uncommitted: bool,
    /// Relations of which the statements before in a batch leave open what they are.
    doubtful: HashSet<(Box<str>, Box<str>)>,
    /// A transaction that may have changed it has ended in the batch, so what is not in it may be there.
    reverted: bool,
    /// Its manifest accepts function bodies that nobody but PostgreSQL reads.
    pub second_lock_only_bodies: bool,
    /// Types of the module's schema that are no relation's row: enums, domains, ranges.
    types: HashSet<Box<str>>,
    functions: HashMap<Box<str>, Vec<Signature>>,
}

/// A function of the module's schema, as far as a call's arguments are counted; their types are PostgreSQL's to resolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// How many arguments it takes.
    pub arguments: usize,
    /// How many of them, at the end, may be left out.
    pub defaults: usize,
    /// The last one may be repeated.
    pub variadic: bool,
}

impl Signature {
    /// Whether a call with that many arguments may be one of it.
    pub fn takes(self, given: usize) -> bool {
        let least = self.arguments.saturating_sub(self.defaults.max(usize::from(self.variadic)));
        given >= least && (self.variadic || given <= self.arguments)
    }
}

/// One relation of the module.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Schema as PostgreSQL spells it; `pg_temp` for the session's temporary ones.
    pub schema: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// What it is.
    pub kind: RelationKind,
    /// Its columns in order; `None` where they are not known (`closed == false`, or made earlier in the same batch).
    pub columns: Option<Vec<RelationColumn>>,
    /// Its manifest entry, where declared.
    pub declared: Option<Arc<Table>>,
    /// What of its policies PostgreSQL holds by itself.
    pub native: Native,
    /// Row-level security is on for it, for its owner too, whatever policies it has.
    pub forced: bool,
    /// A view that filters a declared table by other policies than those of now, or reads such a view.
    pub outdated: bool,
    /// Its place in a partitioned table.
    pub partitioning: Partitioning,
}

/// A relation's place among partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partitioning {
    /// It has partitions, and no rows of its own.
    pub partitioned: bool,
    /// Of a partition of a declared table ([`Relation::declared`] is that table then): its name and those of all partitions beneath it.
    pub holds: Vec<Box<str>>,
    /// Of such a partition: PostgreSQL shows nobody its rows by its own name.
    pub closed: bool,
}

/// What of a table's policies native row-level security holds, for its owner too. Each holds what stands before it as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Native {
    /// Nothing: it is off, or lets everything be written.
    Nothing,
    /// Written rows are checked; every row is let through to be read and changed.
    Writes,
    /// Rows are filtered too.
    Rows,
}

impl Native {
    /// What the configuration wants.
    pub fn wanted(enforce: Enforce) -> Self {
        match enforce {
            Enforce::Rewrite => Native::Writes,
            Enforce::Both | Enforce::Rls => Native::Rows,
        }
    }
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// Ordinary or partitioned table.
    Table,
    /// View.
    View,
    /// Materialised view.
    MaterialisedView,
    /// Sequence.
    Sequence,
    /// Index.
    Index,
    /// Index of a key that a manifest declares.
    Key,
    /// Composite type.
    Composite,
    /// View through which the module reads what another exports to it.
    Imported,
}

/// A column as clients may name it.
#[derive(Debug, Clone)]
pub struct RelationColumn {
    /// Name.
    pub name: Box<str>,
    /// Declared type (what clients see).
    pub ty: ColumnType,
    /// It has a collation that is not the database's: compared with another column's it may raise.
    pub collated: bool,
}

impl Catalog {
    /// A snapshot with these relations.
    pub fn new(generation: u64, schema: Ident, relations: impl IntoIterator<Item = Relation>) -> Self {
        let relations = relations
            .into_iter()
            .map(|r| ((r.schema.clone(), r.name.clone()), Arc::new(r)))
            .collect();
        Self {
            generation,
            schema,
            closed: true,
            declares_tables: true,
            relations,
            left_out: HashSet::new(),
            uncommitted: false,
            doubtful: HashSet::new(),
            reverted: false,
            second_lock_only_bodies: false,
            types: HashSet::new(),
            functions: HashMap::new(),
        }
    }

    /// A snapshot with what a manifest declares and nothing else. Columns of imports are taken as they come.
    pub fn of_manifest(manifest: &Manifest, generation: u64) -> Self {
        let imports = manifest
            .imports
            .iter()
            .map(|i| Relation::undeclared(manifest.schema.as_str(), i.name.as_str(), RelationKind::Imported));
        let relations = manifest.tables.iter().map(|t| Relation {
            schema: t.name.schema.as_str().into(),
            name: t.name.name.as_str().into(),
            kind: RelationKind::Table,
            columns: Some(
                t.columns
                    .iter()
                    .map(|c| RelationColumn {
                        name: c.name.as_str().into(),
                        ty: c.ty.clone(),
                        collated: false,
                    })
                    .collect(),
            ),
            declared: Some(Arc::new(t.clone())),
            native: Native::Rows,
            forced: true,
            outdated: false,
            partitioning: Partitioning {
                partitioned: t.partition_by.is_some(),
                ..Partitioning::default()
            },
        });
        let mut catalog = Self::new(generation, manifest.schema.clone(), relations.chain(imports));
        catalog.second_lock_only_bodies = manifest.accepts_second_lock_only_bodies;
        catalog.declares_tables = !manifest.tables.is_empty();
        catalog
    }

    /// A snapshot that takes every relation as own and plain (`postern explain --catalog none`).
    pub fn open(schema: Ident) -> Self {
        Self {
            generation: 0,
            schema,
            closed: false,
            declares_tables: true,
            relations: HashMap::new(),
            left_out: HashSet::new(),
            uncommitted: false,
            doubtful: HashSet::new(),
            reverted: false,
            second_lock_only_bodies: true,
            types: HashSet::new(),
            functions: HashMap::new(),
        }
    }

    /// Adds a type of the module's schema.
    pub fn add_type(&mut self, name: &str) {
        self.types.insert(name.into());
    }

    /// Adds a function of the module's schema.
    pub fn add_function(&mut self, name: &str, signature: Signature) {
        self.functions.entry(name.into()).or_default().push(signature);
    }

    /// Whether the module's schema has a type of that name, or the element of an array type of that name.
    pub fn has_type(&self, name: &str) -> bool {
        self.types.contains(name) || name.strip_prefix('_').is_some_and(|element| self.types.contains(element))
    }

    /// The functions of that name in the module's schema.
    pub fn functions(&self, name: &str) -> &[Signature] {
        self.functions.get(name).map_or(&[], Vec::as_slice)
    }

    /// The relation of that schema and name.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Arc<Relation>> {
        // A key of borrowed parts would need a custom Borrow; the allocation is off the hot path (plans are cached).
        self.relations.get(&(Box::from(schema), Box::from(name)))
    }

    /// Adds or replaces a relation (what an earlier statement of the same batch will have made).
    pub fn insert(&mut self, relation: Relation) {
        self.relations
            .insert((relation.schema.clone(), relation.name.clone()), Arc::new(relation));
    }

    /// Removes a relation.
    pub fn remove(&mut self, schema: &str, name: &str) {
        self.relations.remove(&(Box::from(schema), Box::from(name)));
    }

    /// What that name stands for is not known until the catalogue is read again.
    pub(crate) fn doubt(&mut self, schema: &str, name: &str) {
        self.doubtful.insert((schema.into(), name.into()));
    }

    /// What that name stands for is known again.
    pub(crate) fn settle(&mut self, schema: &str, name: &str) {
        self.doubtful.remove(&(Box::from(schema), Box::from(name)));
    }

    /// A transaction that may have changed the catalogue has ended, maybe in a rollback. What manifests declare is declared all the same.
    pub(crate) fn revert(&mut self) {
        let undeclared = self.relations.iter().filter(|(_, r)| !r.is_manifests());
        self.doubtful.extend(undeclared.map(|(name, _)| name.clone()));
        self.reverted = true;
    }

    /// Whether it is not known what a name stands for. Where nothing is declared it makes no difference.
    pub(crate) fn doubts(&self, schema: &str, name: &str) -> bool {
        !self.doubtful.is_empty() && self.declares() && self.doubtful.contains(&(Box::from(schema), Box::from(name)))
    }

    /// Whether something of a name that is not in it may be there all the same.
    pub(crate) fn may_hold_more(&self, schema: &str, name: &str) -> bool {
        self.reverted || self.doubtful.contains(&(Box::from(schema), Box::from(name)))
    }

    /// Whether something of that name is there and answers as missing.
    pub(crate) fn leaves_out(&self, schema: &str, name: &str) -> bool {
        schema == self.schema.as_str() && self.left_out.contains(name)
    }

    /// Whether any relation is declared or imported: where none is, no filter, mask or policy of the module's can be gone around; it has no row, no column and no
    /// count to hide from itself, and PostgreSQL's own words about its statements may be passed on.
    pub fn declares(&self) -> bool {
        !self.closed
            || self.declares_tables
            || !self.left_out.is_empty()
            || self.relations.values().any(|r| r.is_manifests() || r.is_closed())
    }

    /// All relations, in no order.
    pub fn relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations.values()
    }
}

impl Relation {
    /// One that no manifest declares, of which no more is known.
    pub fn undeclared(schema: impl Into<Box<str>>, name: impl Into<Box<str>>, kind: RelationKind) -> Self {
        Self {
            schema: schema.into(),
            name: name.into(),
            kind,
            columns: None,
            declared: None,
            native: Native::Nothing,
            forced: false,
            outdated: false,
            partitioning: Partitioning::default(),
        }
    }

    /// Whether its manifest says what it is, so that no client's DDL changes it.
    pub fn is_manifests(&self) -> bool {
        self.declared.is_some() || matches!(self.kind, RelationKind::Imported | RelationKind::Key)
    }

    /// Whether it holds rows that somebody's policies still keep, though no manifest declares it: a partition that was detached, or a table that a
    /// manifest declared once.
    pub fn is_closed(&self) -> bool {
        !self.is_manifests() && self.forced
    }

    /// Whether it is closed, or an outdated view: its owner may drop it, and little else.
    pub fn is_barred(&self) -> bool {
        self.outdated || self.is_closed()
    }

    /// Whether it is a partition of a declared table, whose rows are read by way of that table alone.
    pub fn is_partition(&self) -> bool {
        self.declared.is_some() && !self.partitioning.holds.is_empty()
    }

    /// Its name as an access-deciding reference, where its schema is a plain one.
    pub fn table_ref(&self) -> Option<TableRef> {
        Some(TableRef {
            schema: Ident::new(&self.schema).ok()?,
            name: Ident::new(&self.name).ok()?,
        })
    }

    /// A reference to one of its declared columns.
    pub fn column_ref(&self, column: &str) -> Option<ColumnRef> {
        Some(ColumnRef {
            table: self.table_ref()?,
            column: Ident::new(column).ok()?,
        })
    }
}
