//! Making what a configuration wants and a catalogue lacks.

use std::collections::HashMap;

use postern_config::ModuleName;
use postern_config::names::TableRef;
use uuid::Uuid;

use super::opener::{self, Contexts};
use super::{Catalogue, KeyRecord, RingError, WantedColumn};
use crate::secret::Secret;
use crate::store::RootKeyStore;
use crate::value::{type_tag, unconstrained};
use crate::wrap;

pub(super) fn create_missing(
    existing: Option<Catalogue>,
    wanted: &[WantedColumn],
    root: &dyn RootKeyStore,
) -> Result<(Catalogue, bool), RingError> {
    let catalogue = match existing {
        Some(catalogue) => {
            catalogue.verify(root)?;
            catalogue
        }
        None => Catalogue::new(),
    };
    let before = (catalogue.records.len(), catalogue.generation);
    let mut maker = Maker {
        contexts: Contexts::new(catalogue.database_uuid),
        catalogue,
        root,
        module_keys: HashMap::new(),
    };
    for column in wanted {
        maker.column(column)?;
    }
    let mut catalogue = maker.catalogue;
    // Generation 0 is a catalogue that was never stored.
    let changed = before != (catalogue.records.len(), catalogue.generation) || catalogue.generation == 0;
    if changed {
        catalogue.generation += 1;
        catalogue.authenticate(root)?;
    }
    Ok((catalogue, changed))
}

struct Maker<'a> {
    catalogue: Catalogue,
    contexts: Contexts,
    root: &'a dyn RootKeyStore,
    module_keys: HashMap<ModuleName, Secret>,
}

impl Maker<'_> {
    fn column(&mut self, wanted: &WantedColumn) -> Result<(), RingError> {
        if type_tag(&wanted.ty).is_none() {
            return Err(RingError::Type(wanted.column.clone(), wanted.ty.clone()));
        }
        self.module(&wanted.module)?;
        let table = self.table(&wanted.column.table);
        if opener::find_column(&self.catalogue, wanted)?.is_some() {
            return Ok(());
        }
        let uuid = Uuid::new_v4();
        self.catalogue.records.push(KeyRecord::Column {
            uuid,
            table,
            name: wanted.column.column.as_str().to_owned(),
            module: wanted.module.as_str().to_owned(),
            ty: unconstrained(&wanted.ty).to_string(),
            join_group: wanted.join_group.as_ref().map(|group| group.as_str().to_owned()),
            bind_column_only: wanted.bind_column_only,
        });
        let (key_id, version) = (self.catalogue.take_key_id()?, 1);
        let context = self.contexts.data(&uuid, key_id, version);
        let (wrapped, commitment) = self.fresh(&wanted.module, &context)?;
        self.catalogue.records.push(KeyRecord::DataKey {
            column: uuid,
            key_id,
            version,
            wrapped,
            commitment,
        });
        Ok(())
    }

    fn table(&mut self, table: &TableRef) -> Uuid {
        opener::find_table(&self.catalogue, table).unwrap_or_else(|| {
            let uuid = Uuid::new_v4();
            self.catalogue.records.push(KeyRecord::Table {
                uuid,
                schema: table.schema.as_str().to_owned(),
                name: table.name.as_str().to_owned(),
            });
            uuid
        })
    }

    /// Has the module's key-encryption key at hand, and its search key in the catalogue.
    fn module(&mut self, module: &ModuleName) -> Result<(), RingError> {
        if self.module_keys.contains_key(module) {
            return Ok(());
        }
        let key = match opener::module_key(&self.catalogue, &self.contexts, module, self.root)? {
            Some(key) => key,
            None => {
                let key = Secret::random().map_err(RingError::Randomness)?;
                let key_id = self.catalogue.take_key_id()?;
                let wrapped = self.root.wrap(&self.contexts.module(module, key_id), &key)?;
                self.catalogue.records.push(KeyRecord::ModuleKey {
                    module: module.as_str().to_owned(),
                    key_id,
                    wrapped,
                    commitment: key.commitment().to_vec(),
                });
                key
            }
        };
        self.module_keys.insert(module.clone(), key);
        let has_search =
            (self.catalogue.records.iter()).any(|r| matches!(r, KeyRecord::SearchKey { module: m, .. } if m == module.as_str()));
        if !has_search {
            let (key_id, version) = (self.catalogue.take_key_id()?, 1);
            let context = self.contexts.search(module, key_id, version);
            let (wrapped, commitment) = self.fresh(module, &context)?;
            self.catalogue.records.push(KeyRecord::SearchKey {
                module: module.as_str().to_owned(),
                key_id,
                version,
                wrapped,
                commitment,
            });
        }
        Ok(())
    }

    /// A fresh key, wrapped by the module's, and its commitment.
    fn fresh(&self, module: &ModuleName, context: &[u8]) -> Result<(Vec<u8>, Vec<u8>), RingError> {
        let wrapping = self
            .module_keys
            .get(module)
            .expect("the module's key is had before its columns'");
        let key = Secret::random().map_err(RingError::Randomness)?;
        let wrapped = wrap::wrap(wrapping, context, &key).map_err(RingError::Randomness)?;
        Ok((wrapped, key.commitment().to_vec()))
    }
}
