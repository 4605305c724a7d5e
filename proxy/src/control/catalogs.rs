//! Catalogue snapshots for the judge, one per module, read with the control role and replaced whole.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use postern_config::names::RESERVED_PREFIX;
use postern_config::{ColumnType, Config, Manifest, ModuleName, Table};
use postern_rewriter::catalog::{Catalog, Relation, RelationColumn, RelationKind};
use postern_rewriter::plan::Rewritten;

use super::{ControlError, Pool};

/// One line of the catalogue's reader: a relation with one of its columns, or with none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogRow {
    /// Schema; `pg_temp` for the session's temporary one.
    pub schema: String,
    /// Relation.
    pub relation: String,
    /// `relkind`.
    pub kind: char,
    /// Attribute name.
    pub column: Option<String>,
    /// Type as PostgreSQL spells it.
    pub ty: Option<String>,
}

impl CatalogRow {
    /// From the five text fields of [`Rewritten::read_catalog`]; `None` where one that cannot be NULL is.
    pub fn from_fields(fields: [Option<&str>; 5]) -> Option<Self> {
        let [schema, relation, kind, column, ty] = fields;
        Some(Self {
            schema: schema?.to_owned(),
            relation: relation?.to_owned(),
            kind: kind?.chars().next()?,
            column: column.map(str::to_owned),
            ty: ty.map(str::to_owned),
        })
    }
}

/// A module's newest snapshot. Whether the one at hand is still that costs one load.
pub struct Newest {
    generation: AtomicU64,
    snapshot: RwLock<Arc<Catalog>>,
}

impl Newest {
    fn of(catalog: Catalog) -> Arc<Self> {
        Arc::new(Self {
            generation: AtomicU64::new(catalog.generation),
            snapshot: RwLock::new(Arc::new(catalog)),
        })
    }

    /// The newest generation.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Catalog> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes it where it is newer; answers the newest.
    fn offer(&self, fresh: Catalog) -> Arc<Catalog> {
        let mut snapshot = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        if snapshot.generation < fresh.generation {
            *snapshot = Arc::new(fresh);
            self.generation.store(snapshot.generation, Ordering::Release);
        }
        snapshot.clone()
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
        let client = pool.get().await?;
        let rows = client
            .query(Rewritten::read_catalog().sql(), &[&manifest.schema.as_str()])
            .await
            .map_err(ControlError::query("reading the catalogue"))?;
        let rows = rows.iter().filter_map(|row| {
            let fields: [Option<&str>; 5] = [row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)];
            CatalogRow::from_fields(fields)
        });
        Ok(self.newest(module).offer(catalog_from_rows(rows, manifest, generation)))
    }
}

/// One without relations.
fn empty(module: &ModuleName) -> Catalog {
    let schema = postern_config::Ident::new(module.as_str()).expect("a module's name is a valid identifier");
    Catalog::new(0, schema, [])
}

/// A snapshot from what the catalogue's reader answered (ordered by schema, relation, attribute number): hidden columns are left out,
/// protected columns have their declared types.
pub fn catalog_from_rows(rows: impl IntoIterator<Item = CatalogRow>, manifest: &Manifest, generation: u64) -> Catalog {
    let declared: HashMap<&str, Arc<Table>> = manifest
        .tables
        .iter()
        .map(|t| (t.name.name.as_str(), Arc::new(t.clone())))
        .collect();
    let mut relations: Vec<Relation> = Vec::new();
    for row in rows {
        let same = relations
            .last()
            .is_some_and(|r| *r.schema == *row.schema && *r.name == *row.relation);
        if !same {
            let Some(kind) = kind(row.kind) else { continue };
            let own = row.schema == manifest.schema.as_str();
            relations.push(Relation {
                schema: row.schema.as_str().into(),
                name: row.relation.as_str().into(),
                kind,
                columns: Some(Vec::new()),
                declared: declared
                    .get(row.relation.as_str())
                    .filter(|_| own && kind == RelationKind::Table)
                    .cloned(),
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
            columns.push(RelationColumn { name: name.into(), ty });
        }
    }
    Catalog::new(generation, manifest.schema.clone(), relations)
}

fn kind(relkind: char) -> Option<RelationKind> {
    Some(match relkind {
        'r' | 'p' | 'f' => RelationKind::Table,
        'v' => RelationKind::View,
        'm' => RelationKind::MaterialisedView,
        'S' => RelationKind::Sequence,
        'i' | 'I' => RelationKind::Index,
        'c' => RelationKind::Composite,
        _ => return None,
    })
}
