//! From an authentic catalogue and the root key to keys that are ready for use.

use std::collections::HashMap;
use std::sync::Arc;

use postern_config::names::{ColumnRef, TableRef};
use postern_config::{ColumnType, ModuleName};
use uuid::Uuid;

use super::{Catalogue, ColumnKeys, KeyRecord, RingError, WantedColumn};
use crate::envelope::{EnvelopeKey, Place};
use crate::secret::{Secret, push_part};
use crate::store::RootKeyStore;
use crate::tag::TagKey;
use crate::value::type_tag;
use crate::wrap;

/// What each kind of key is wrapped for; bound by the wrapping, so that no wrapped key passes for another.
pub(super) struct Contexts {
    database: Uuid,
}

impl Contexts {
    pub(super) fn new(database: Uuid) -> Self {
        Self { database }
    }

    pub(super) fn module(&self, module: &ModuleName, key_id: u32) -> Vec<u8> {
        self.parts("module key", module.as_str().as_bytes(), key_id, 0)
    }

    pub(super) fn search(&self, module: &ModuleName, key_id: u32, version: u32) -> Vec<u8> {
        self.parts("search key", module.as_str().as_bytes(), key_id, version)
    }

    pub(super) fn data(&self, column: &Uuid, key_id: u32, version: u32) -> Vec<u8> {
        self.parts("data key", column.as_bytes(), key_id, version)
    }

    fn parts(&self, kind: &str, whose: &[u8], key_id: u32, version: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        for part in [kind.as_bytes(), self.database.as_bytes(), whose] {
            push_part(&mut out, part);
        }
        push_part(&mut out, &key_id.to_be_bytes());
        push_part(&mut out, &version.to_be_bytes());
        out
    }
}

struct ModuleKeys {
    wrapping: Secret,
    search: Secret,
}

pub(super) fn columns(
    catalogue: &Catalogue,
    wanted: &[WantedColumn],
    root: &dyn RootKeyStore,
) -> Result<HashMap<ColumnRef, Arc<ColumnKeys>>, RingError> {
    catalogue.verify(root)?;
    let contexts = Contexts::new(catalogue.database_uuid);
    let mut modules: HashMap<&ModuleName, ModuleKeys> = HashMap::new();
    let mut columns = HashMap::with_capacity(wanted.len());
    for column in wanted {
        let missing = || RingError::Missing(column.column.clone());
        if !modules.contains_key(&column.module) {
            let keys = module_keys(catalogue, &contexts, &column.module, root)?.ok_or_else(missing)?;
            modules.insert(&column.module, keys);
        }
        let module = &modules[&column.module];
        let keys = column_keys(catalogue, &contexts, column, module)?.ok_or_else(missing)?;
        columns.insert(column.column.clone(), Arc::new(keys));
    }
    Ok(columns)
}

fn column_keys(
    catalogue: &Catalogue,
    contexts: &Contexts,
    wanted: &WantedColumn,
    module: &ModuleKeys,
) -> Result<Option<ColumnKeys>, RingError> {
    let Some((table, uuid)) = find_column(catalogue, wanted)? else {
        return Ok(None);
    };
    let place = Place {
        database: &catalogue.database_uuid,
        table: &table,
        column: &uuid,
        ty: &wanted.ty,
        row: !wanted.bind_column_only,
    };
    let mut versions = Vec::new();
    for record in &catalogue.records {
        let KeyRecord::DataKey {
            column,
            key_id,
            version,
            wrapped,
            commitment,
        } = record
        else {
            continue;
        };
        if *column != uuid {
            continue;
        }
        let key = unwrap(
            &module.wrapping,
            &contexts.data(&uuid, *key_id, *version),
            *key_id,
            wrapped,
            commitment,
        )?;
        let key =
            EnvelopeKey::new(*key_id, &key, &place).ok_or_else(|| RingError::Type(wanted.column.clone(), wanted.ty.clone()))?;
        versions.push((*version, key));
    }
    versions.sort_by_key(|(version, _)| *version);
    let Some((_, current)) = versions.pop() else {
        return Ok(None);
    };
    Ok(Some(ColumnKeys {
        current,
        older: versions.into_iter().rev().map(|(_, key)| key).collect(),
        tags: match &wanted.join_group {
            Some(group) => TagKey::group(&module.search, &wanted.module, group),
            None => TagKey::column(&module.search, &wanted.module, &uuid),
        },
    }))
}

fn module_keys(
    catalogue: &Catalogue,
    contexts: &Contexts,
    module: &ModuleName,
    root: &dyn RootKeyStore,
) -> Result<Option<ModuleKeys>, RingError> {
    let Some(wrapping) = module_key(catalogue, contexts, module, root)? else {
        return Ok(None);
    };
    let newest = (catalogue.records.iter())
        .filter_map(|record| match record {
            KeyRecord::SearchKey {
                module: m,
                key_id,
                version,
                wrapped,
                commitment,
            } if m == module.as_str() => Some((version, key_id, wrapped, commitment)),
            _ => None,
        })
        .max_by_key(|(version, ..)| **version);
    let Some((version, key_id, wrapped, commitment)) = newest else {
        return Ok(None);
    };
    let search = unwrap(
        &wrapping,
        &contexts.search(module, *key_id, *version),
        *key_id,
        wrapped,
        commitment,
    )?;
    Ok(Some(ModuleKeys { wrapping, search }))
}

/// A module's key-encryption key.
pub(super) fn module_key(
    catalogue: &Catalogue,
    contexts: &Contexts,
    module: &ModuleName,
    root: &dyn RootKeyStore,
) -> Result<Option<Secret>, RingError> {
    for record in &catalogue.records {
        let KeyRecord::ModuleKey {
            module: m,
            key_id,
            wrapped,
            commitment,
        } = record
        else {
            continue;
        };
        if m == module.as_str() {
            let key = root.unwrap(&contexts.module(module, *key_id), wrapped)?;
            return if key.commits_to(commitment) {
                Ok(Some(key))
            } else {
                Err(RingError::NotOpened(*key_id))
            };
        }
    }
    Ok(None)
}

pub(super) fn find_table(catalogue: &Catalogue, table: &TableRef) -> Option<Uuid> {
    catalogue.records.iter().find_map(|record| match record {
        KeyRecord::Table { uuid, schema, name } if schema == table.schema.as_str() && name == table.name.as_str() => Some(*uuid),
        _ => None,
    })
}

/// The UUIDs of a column's table and of the column, with everything that sealed values depend on as it was.
pub(super) fn find_column(catalogue: &Catalogue, wanted: &WantedColumn) -> Result<Option<(Uuid, Uuid)>, RingError> {
    let Some(table_uuid) = find_table(catalogue, &wanted.column.table) else {
        return Ok(None);
    };
    for record in &catalogue.records {
        let KeyRecord::Column {
            uuid,
            table,
            name,
            module,
            ty,
            join_group,
            bind_column_only,
        } = record
        else {
            continue;
        };
        if *table != table_uuid || name != wanted.column.column.as_str() {
            continue;
        }
        let same = |what, recorded: String, now: String| {
            if recorded == now {
                return Ok(());
            }
            Err(RingError::Changed {
                column: wanted.column.clone(),
                what,
                recorded,
                wanted: now,
            })
        };
        same("module", module.clone(), wanted.module.to_string())?;
        if type_tag(&ColumnType::parse(ty)) != type_tag(&wanted.ty) {
            same("type", ty.clone(), wanted.ty.to_string())?;
        }
        let group = |name: Option<&str>| name.unwrap_or("(none)").to_owned();
        same(
            "join group",
            group(join_group.as_deref()),
            group(wanted.join_group.as_ref().map(|g| g.as_str())),
        )?;
        let bound = |column_only: bool| (if column_only { "column" } else { "row" }).to_owned();
        same("bind", bound(*bind_column_only), bound(wanted.bind_column_only))?;
        return Ok(Some((table_uuid, *uuid)));
    }
    Ok(None)
}

/// Opens a wrapped key and checks that it is the one the catalogue was written for.
fn unwrap(wrapping: &Secret, context: &[u8], key_id: u32, wrapped: &[u8], commitment: &[u8]) -> Result<Secret, RingError> {
    let key = wrap::unwrap(wrapping, context, wrapped).map_err(|_| RingError::NotOpened(key_id))?;
    if key.commits_to(commitment) {
        Ok(key)
    } else {
        Err(RingError::NotOpened(key_id))
    }
}
