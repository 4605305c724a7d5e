//! Catalogue snapshots for the judge, one per module, read with the control role and replaced whole.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use postern_config::names::RESERVED_PREFIX;
use postern_config::{ColumnType, Config, Manifest, ModuleName, Table};
use postern_rewriter::catalog::{Catalog, Native, Partitioning, Relation, RelationColumn, RelationKind, Signature};
use postern_rewriter::mark;
use postern_rewriter::plan::Rewritten;

use super::{ControlError, Pool};

/// One line of the catalogue's reader: a relation with one of its columns, or with none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogRow {
    /// Schema; `pg_temp` for the session's temporary one.
    pub schema: String,
    /// Relation.
    pub relation: String,
    /// `relkind`; `T` for a type that is no relation's, `F` for a function, `V` for a view that another module's owner or the policies' role owns,
    /// `P` for a partition and `Q` for one that has partitions itself.
    pub kind: char,
    /// What it is a partition or child of in the module's schema, however far up; of an index the table whose key it is of, of a view the marks of the filters in
    /// it.
    pub parents: Vec<String>,
    /// What native row-level security holds.
    pub native: Native,
    /// Whether it is on, for the owner too.
    pub forced: bool,
    /// Attribute name.
    pub column: Option<String>,
    /// Type as PostgreSQL spells it; of a function its arguments, defaults and whether it is variadic.
    pub ty: Option<String>,
    /// The attribute has a collation of its own.
    pub collated: bool,
}

impl CatalogRow {
    /// Whether [`CatalogRow::parents`] are what it is a partition or child of.
    fn is_table(&self) -> bool {
        kind(self.kind) == Some(RelationKind::Table)
    }

    /// From the eight text fields of [`Rewritten::read_catalog`]; `None` where one that cannot be NULL is.
    pub fn from_fields(fields: [Option<&str>; 8]) -> Option<Self> {
        let [schema, relation, kind, parents, native, column, ty, collated] = fields;
        Some(Self {
            schema: schema?.to_owned(),
            relation: relation?.to_owned(),
            kind: kind?.chars().next()?,
            parents: parents.map_or(Some(Vec::new()), |p| serde_json::from_str(p).ok())?,
            forced: native? != "nothing",
            native: match native? {
                "rows" => Native::Rows,
                "writes" => Native::Writes,
                _ => Native::Nothing,
            },
            column: column.map(str::to_owned),
            ty: ty.map(str::to_owned),
            collated: collated == Some("true"),
        })
    }
}

/// A module's newest snapshot. Whether the one at hand is still that costs one load.
pub struct Newest {
    generation: AtomicU64,
    state: RwLock<State>,
    /// When a name was missed so that the catalogue was read again.
    missed: Mutex<Option<Instant>>,
}

struct State {
    snapshot: Arc<Catalog>,
    /// What it was made of, and the generation that was taken for the last reading of it: one that finds the same changes nothing.
    read: Vec<CatalogRow>,
    last: u64,
}

/// A missing name makes a module's catalogue be read again at most this often.
const AGAIN: Duration = Duration::from_millis(500);

impl Newest {
    fn of(catalog: Catalog) -> Arc<Self> {
        Arc::new(Self {
            generation: AtomicU64::new(catalog.generation),
            state: RwLock::new(State {
                last: catalog.generation,
                snapshot: Arc::new(catalog),
                read: Vec::new(),
            }),
            missed: Mutex::default(),
        })
    }

    /// The newest generation.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Catalog> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.snapshot.clone()
    }

    /// Takes what a reading found, where no later one was taken and something differs: plans stay good as long as nothing does. Answers the
    /// newest.
    fn offer(&self, rows: Vec<CatalogRow>, manifest: &Manifest, generation: u64) -> Arc<Catalog> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.last < generation {
            state.last = generation;
            if state.read != rows || state.snapshot.generation == 0 {
                state.snapshot = Arc::new(catalog_from_rows(rows.iter().cloned(), manifest, generation));
                state.read = rows;
                self.generation.store(generation, Ordering::Release);
            }
        }
        state.snapshot.clone()
    }

    /// Whether the catalogue may be read again for a name that is not in it.
    fn may_look_again(&self) -> bool {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let due = missed.is_none_or(|at| at.elapsed() >= AGAIN);
        if due {
            *missed = Some(Instant::now());
        }
        due
    }
}

/// The snapshots of all modules.
pub struct Catalogs {
    manifests: HashMap<ModuleName, Arc<Manifest>>,
    current: HashMap<ModuleName, Arc<Newest>>,
    generation: AtomicU64,
}

impl Catalogs {
    /// Reads every module's catalogue.
    pub async fn load(pool: &Pool, config: &Config) -> Result<Self, ControlError> {
        let catalogs = Self {
            manifests: config.modules.iter().map(|m| (m.module.clone(), m.clone())).collect(),
            current: config
                .modules
                .iter()
                .map(|m| (m.module.clone(), Newest::of(empty(&m.module))))
                .collect(),
            generation: AtomicU64::new(0),
        };
        for manifest in &config.modules {
            catalogs.refresh(pool, &manifest.module).await?;
        }
        Ok(catalogs)
    }

    /// The newest snapshot of a configured module; one without relations for a module that is not configured.
    pub fn of(&self, module: &ModuleName) -> Arc<Catalog> {
        self.newest(module).snapshot()
    }

    /// Where a module's newest snapshot is found from now on.
    pub fn newest(&self, module: &ModuleName) -> Arc<Newest> {
        self.current.get(module).cloned().unwrap_or_else(|| Newest::of(empty(module)))
    }

    /// A generation that no snapshot of this process has had, for a session's own snapshot (with its temporary tables).
    pub fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Reads a module's catalogue again. Cancel-safe: the old snapshot stays until the new one is whole.
    pub async fn refresh(&self, pool: &Pool, module: &ModuleName) -> Result<Arc<Catalog>, ControlError> {
        let Some(manifest) = self.manifests.get(module) else {
            return Ok(self.of(module));
        };
        // Taken before reading: two refreshes that overlap must not let the older reading win.
        let generation = self.next_generation();
        let rows = catalog_rows(&read_catalog(pool, manifest).await?);
        Ok(self.newest(module).offer(rows, manifest, generation))
    }

    /// Reads every module's catalogue again.
    pub async fn refresh_all(&self, pool: &Pool) -> Result<(), ControlError> {
        for module in self.manifests.keys() {
            self.refresh(pool, module).await?;
        }
        Ok(())
    }

    /// Reads a module's catalogue again because a statement names what is not in it: somebody may have made it a moment ago. Not more often
    /// than twice a second; a foreign name and one that nobody has are treated alike. `None` where nothing changed.
    pub async fn look_again(&self, pool: &Pool, module: &ModuleName) -> Option<Arc<Catalog>> {
        let newest = self.newest(module);
        if !newest.may_look_again() {
            return None;
        }
        let before = newest.generation();
        match self.refresh(pool, module).await {
            Ok(fresh) => (fresh.generation != before).then_some(fresh),
            Err(error) => {
                tracing::warn!(%error, %module, "the catalogue could not be read again");
                None
            }
        }
    }

    /// The module that has that schema.
    pub fn module_of(&self, schema: &str) -> Option<&ModuleName> {
        self.manifests
            .values()
            .find(|m| m.schema.as_str() == schema)
            .map(|m| &m.module)
    }
}

/// The eight text fields of one line, as [`CatalogRow::from_fields`] takes them.
pub type CatalogFields = [Option<String>; 8];

/// What the database has in a module's schema.
pub async fn read_catalog(pool: &Pool, manifest: &Manifest) -> Result<Vec<CatalogFields>, ControlError> {
    let client = pool.get().await?;
    let rows = client
        .query(Rewritten::read_catalog().sql(), &[&manifest.schema.as_str()])
        .await
        .map_err(ControlError::query("reading the catalogue"))?;
    Ok(rows.iter().map(|row| std::array::from_fn(|i| row.get(i))).collect())
}

/// Its lines; those that cannot be read are left out.
pub fn catalog_rows(fields: &[CatalogFields]) -> Vec<CatalogRow> {
    let row = |fields: &CatalogFields| CatalogRow::from_fields(std::array::from_fn(|i| fields[i].as_deref()));
    fields.iter().filter_map(row).collect()
}

/// One without relations.
fn empty(module: &ModuleName) -> Catalog {
    let schema = postern_config::Ident::new(module.as_str()).expect("a module's name is a valid identifier");
    Catalog::new(0, schema, [])
}

/// A snapshot from what the catalogue's reader answered (ordered by schema, relation, attribute number): hidden columns are left out,
/// protected columns have their declared types. A declared table's partitions have its declaration. Not in it are children and parents of
/// declared tables, which hold their rows without their filters, and what stands under a declared table's name but is none.
pub fn catalog_from_rows(rows: impl IntoIterator<Item = CatalogRow>, manifest: &Manifest, generation: u64) -> Catalog {
    let declared: HashMap<&str, Arc<Table>> = manifest
        .tables
        .iter()
        .map(|t| (t.name.name.as_str(), Arc::new(t.clone())))
        .collect();
    let rows: Vec<CatalogRow> = rows.into_iter().collect();
    let beneath = beneath(&rows, manifest, |name| declared.contains_key(name));
    let partitions = partitions(&rows, manifest, |name| declared.contains_key(name));
    let natives: HashMap<String, Native> = (rows.iter().filter(|r| r.schema == manifest.schema.as_str()))
        .map(|r| (r.relation.clone(), r.native))
        .collect();
    let marks: HashSet<String> = manifest.tables.iter().map(mark).collect();
    let mut relations: Vec<Relation> = Vec::new();
    let mut left_out = HashSet::new();
    let (mut types, mut functions) = (Vec::new(), Vec::new());
    for row in rows {
        match row.kind {
            TYPE => {
                types.push(row.relation);
                continue;
            }
            FUNCTION => {
                functions.extend(signature(row.ty.as_deref()).map(|s| (row.relation, s)));
                continue;
            }
            _ => {}
        }
        if row.schema == manifest.schema.as_str() && beneath.contains(&row.relation) {
            left_out.insert(row.relation.as_str().into());
            continue;
        }
        let same = relations
            .last()
            .is_some_and(|r| *r.schema == *row.schema && *r.name == *row.relation);
        if !same {
            let Some(mut kind) = kind(row.kind) else { continue };
            let own = row.schema == manifest.schema.as_str();
            if row.kind == FOREIGN_VIEW {
                // What is no longer imported is not seen until it is dropped.
                if !own || manifest.import(&row.relation).is_none() {
                    left_out.insert(row.relation.as_str().into());
                    continue;
                }
                kind = RelationKind::Imported;
            } else if own && manifest.import(&row.relation).is_some() {
                left_out.insert(row.relation.as_str().into());
                continue;
            }
            let of_key = |table: &String| declared.contains_key(table.as_str()) || partitions.contains_key(table);
            if own && kind == RelationKind::Index && row.parents.iter().any(of_key) {
                kind = RelationKind::Key;
            }
            if own && kind != RelationKind::Table && declared.contains_key(row.relation.as_str()) {
                left_out.insert(row.relation.as_str().into());
                continue;
            }
            let partition = partitions.get(row.relation.as_str()).filter(|_| own);
            let stands_for = partition.map_or(row.relation.as_str(), |p| p.table.as_str());
            relations.push(Relation {
                schema: row.schema.as_str().into(),
                name: row.relation.as_str().into(),
                kind,
                columns: Some(Vec::new()),
                declared: declared.get(stands_for).filter(|_| own).cloned(),
                // What a partition holds is read by way of its table.
                native: match partition {
                    Some(p) => natives.get(&p.table).copied().unwrap_or(Native::Nothing),
                    None => row.native,
                },
                forced: row.forced,
                outdated: matches!(kind, RelationKind::View | RelationKind::MaterialisedView)
                    && !row.parents.iter().all(|m| marks.contains(m)),
                partitioning: Partitioning {
                    partitioned: matches!(row.kind, PARTITIONED | PARTITIONED_PARTITION),
                    holds: partition.map(|p| p.holds.clone()).unwrap_or_default(),
                    closed: partition.is_some() && row.native == Native::Rows,
                },
            });
        }
        let (Some(relation), Some(name), Some(ty)) = (relations.last_mut(), row.column, row.ty) else {
            continue;
        };
        if name.starts_with(RESERVED_PREFIX) {
            continue;
        }
        let declared = relation.declared.as_ref().and_then(|t| t.column(&name));
        let ty = match declared {
            Some(column) if column.protection.is_some() => column.ty.clone(),
            _ => ColumnType::parse(&ty),
        };
        if let Some(columns) = &mut relation.columns {
            columns.push(RelationColumn {
                name: name.into(),
                ty,
                collated: row.collated,
            });
        }
    }
    let mut catalog = Catalog::new(generation, manifest.schema.clone(), relations);
    catalog.declares_tables = !manifest.tables.is_empty();
    catalog.left_out = left_out;
    catalog.second_lock_only_bodies = manifest.accepts_second_lock_only_bodies;
    types.iter().for_each(|name| catalog.add_type(name));
    functions.iter().for_each(|(name, s)| catalog.add_function(name, *s));
    catalog
}

/// What stands for a `relkind` where a row tells of a type or a function.
const TYPE: char = 'T';
const FUNCTION: char = 'F';
/// A view that belongs to another module's owner, or to the policies' role.
const FOREIGN_VIEW: char = 'V';
const PARTITIONED: char = 'p';
const PARTITION: char = 'P';
const PARTITIONED_PARTITION: char = 'Q';

/// `arguments defaults variadic`.
fn signature(text: Option<&str>) -> Option<Signature> {
    let mut parts = text?.split(' ');
    Some(Signature {
        arguments: parts.next()?.parse().ok()?,
        defaults: parts.next()?.parse().ok()?,
        variadic: parts.next()? == "true",
    })
}

/// The relations of the module's schema that hold rows of a declared one without its filter: its children, unless they are partitions of it
/// alone, and what it is a partition or child of.
fn beneath(rows: &[CatalogRow], manifest: &Manifest, declared: impl Fn(&str) -> bool) -> HashSet<String> {
    let mut found = HashSet::new();
    for row in rows.iter().filter(|r| r.is_table() && !r.parents.is_empty()) {
        let own = row.schema == manifest.schema.as_str();
        if own && declared(&row.relation) {
            found.extend(row.parents.iter().filter(|p| !declared(p)).cloned());
        } else if row.parents.iter().any(|p| declared(p)) && !(own && partitioned_table(row, &declared).is_some()) {
            found.insert(row.relation.clone());
        }
    }
    found
}

/// A partition of a declared table.
struct DeclaredPartition {
    /// That table.
    table: String,
    /// Its own name and those of all partitions beneath it.
    holds: Vec<Box<str>>,
}

/// The partitions of declared tables that are not declared themselves, by name.
fn partitions(rows: &[CatalogRow], manifest: &Manifest, declared: impl Fn(&str) -> bool) -> HashMap<String, DeclaredPartition> {
    let own = || {
        rows.iter()
            .filter(|r| r.is_table() && r.schema == manifest.schema.as_str() && !declared(&r.relation))
    };
    let mut found: HashMap<String, DeclaredPartition> = own()
        .filter_map(|row| {
            let table = partitioned_table(row, &declared)?;
            let holds = vec![row.relation.as_str().into()];
            Some((row.relation.clone(), DeclaredPartition { table, holds }))
        })
        .collect();
    for row in own() {
        for parent in &row.parents {
            if let Some(above) = found.get_mut(parent)
                && !above.holds.iter().any(|name| **name == *row.relation)
            {
                above.holds.push(row.relation.as_str().into());
            }
        }
    }
    found
}

/// The one declared table that a relation is a partition of.
fn partitioned_table(row: &CatalogRow, declared: impl Fn(&str) -> bool) -> Option<String> {
    let mut tables = row.parents.iter().filter(|p| declared(p));
    let one = tables
        .next()
        .filter(|_| matches!(row.kind, PARTITION | PARTITIONED_PARTITION))?;
    tables.next().is_none().then(|| one.clone())
}

fn kind(relkind: char) -> Option<RelationKind> {
    Some(match relkind {
        'r' | 'f' | PARTITIONED | PARTITION | PARTITIONED_PARTITION => RelationKind::Table,
        'v' | FOREIGN_VIEW => RelationKind::View,
        'm' => RelationKind::MaterialisedView,
        'S' => RelationKind::Sequence,
        'i' | 'I' => RelationKind::Index,
        'c' => RelationKind::Composite,
        _ => return None,
    })
}
