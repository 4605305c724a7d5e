//! The key catalogue: wrapped keys and the UUIDs that stand for tables and columns, authenticated as a whole.
//!
//! It is stored where the DBA can read and change it. Reading gives nothing without the root key; a change is noticed here. An older
//! authentic copy put back is recognised only by whoever remembers the generation.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use super::RingError;
use crate::secret::push_part;
use crate::store::RootKeyStore;

/// Everything the ring is made from. Plain data: serialise it as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Grows by one with each change.
    pub generation: u64,
    /// Stands for the database in associated data, so that dump and restore keep it.
    pub database_uuid: Uuid,
    /// The id that the next key gets; ids are never used again.
    pub next_key_id: u32,
    /// Keys and objects, in the order they were made.
    pub records: Vec<KeyRecord>,
    /// HMAC-SHA256 over all the above.
    #[serde(with = "base64_bytes")]
    pub mac: Vec<u8>,
}

/// One key or object of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum KeyRecord {
    /// A module's key-encryption key, wrapped by the root key store.
    ModuleKey {
        /// The module.
        module: String,
        /// Its id.
        key_id: u32,
        /// The wrapped key.
        #[serde(with = "base64_bytes")]
        wrapped: Vec<u8>,
        /// What only this key gives.
        #[serde(with = "base64_bytes")]
        commitment: Vec<u8>,
    },
    /// A module's search key, wrapped by its key-encryption key.
    SearchKey {
        /// The module.
        module: String,
        /// Its id.
        key_id: u32,
        /// From 1.
        version: u32,
        /// The wrapped key.
        #[serde(with = "base64_bytes")]
        wrapped: Vec<u8>,
        /// What only this key gives.
        #[serde(with = "base64_bytes")]
        commitment: Vec<u8>,
    },
    /// A table with protected columns.
    Table {
        /// Stands for it in associated data.
        uuid: Uuid,
        /// Its schema at present.
        schema: String,
        /// Its name at present.
        name: String,
    },
    /// A protected column.
    Column {
        /// Stands for it in associated data.
        uuid: Uuid,
        /// Its table's UUID.
        table: Uuid,
        /// Its name at present.
        name: String,
        /// The module whose key wraps its keys.
        module: String,
        /// The type that values are sealed as, without length, precision or scale.
        ty: String,
        /// The join group whose tag key it uses.
        join_group: Option<String>,
        /// Whether values are bound to table and column alone.
        bind_column_only: bool,
    },
    /// One version of a column's data key, wrapped by the module's key-encryption key.
    DataKey {
        /// The column's UUID.
        column: Uuid,
        /// The id that envelopes name.
        key_id: u32,
        /// From 1; the highest seals.
        version: u32,
        /// The wrapped key.
        #[serde(with = "base64_bytes")]
        wrapped: Vec<u8>,
        /// What only this key gives.
        #[serde(with = "base64_bytes")]
        commitment: Vec<u8>,
    },
}

impl Catalogue {
    pub(super) fn new() -> Self {
        Self {
            generation: 0,
            database_uuid: Uuid::new_v4(),
            next_key_id: 1,
            records: Vec::new(),
            mac: Vec::new(),
        }
    }

    /// The catalogue as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain data with text keys always serialises")
    }

    /// Reads [`Catalogue::to_json`] back. Nothing is authenticated yet.
    pub fn from_json(json: &str) -> Result<Self, RingError> {
        serde_json::from_str(json).map_err(|e| RingError::Malformed(e.to_string()))
    }

    /// Checks the MAC; everything that uses a catalogue does so first.
    pub fn verify(&self, root: &dyn RootKeyStore) -> Result<(), RingError> {
        let mac = self.mac_state(root)?;
        mac.verify_slice(&self.mac).map_err(|_| RingError::NotAuthentic)
    }

    pub(super) fn authenticate(&mut self, root: &dyn RootKeyStore) -> Result<(), RingError> {
        self.mac = self.mac_state(root)?.finalize().into_bytes().to_vec();
        Ok(())
    }

    pub(super) fn take_key_id(&mut self) -> Result<u32, RingError> {
        let id = self.next_key_id;
        self.next_key_id = id.checked_add(1).ok_or(RingError::Exhausted)?;
        Ok(id)
    }

    /// Construction: HMAC-SHA256 under a key that the root key store derives for this purpose, over every field length-prefixed and
    /// every record with its kind. Deterministic; no nonce. Bound identity: database UUID and generation are among the fields.
    fn mac_state(&self, root: &dyn RootKeyStore) -> Result<Hmac<Sha256>, RingError> {
        let key = root.derive(b"postern/v1/catalogue")?;
        let mut mac = Hmac::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
        let mut bytes = Vec::new();
        push_part(&mut bytes, b"postern/catalogue/1");
        push_part(&mut bytes, &self.generation.to_be_bytes());
        push_part(&mut bytes, self.database_uuid.as_bytes());
        push_part(&mut bytes, &self.next_key_id.to_be_bytes());
        push_part(&mut bytes, &(self.records.len() as u64).to_be_bytes());
        self.records.iter().for_each(|record| record.push(&mut bytes));
        mac.update(&bytes);
        Ok(mac)
    }
}

impl KeyRecord {
    fn push(&self, out: &mut Vec<u8>) {
        let mut parts = |kind: u8, fields: &[&[u8]]| {
            push_part(out, &[kind]);
            push_part(out, &(fields.len() as u64).to_be_bytes());
            fields.iter().for_each(|field| push_part(out, field));
        };
        match self {
            Self::ModuleKey {
                module,
                key_id,
                wrapped,
                commitment,
            } => parts(1, &[module.as_bytes(), &key_id.to_be_bytes(), wrapped, commitment]),
            Self::SearchKey {
                module,
                key_id,
                version,
                wrapped,
                commitment,
            } => parts(
                2,
                &[
                    module.as_bytes(),
                    &key_id.to_be_bytes(),
                    &version.to_be_bytes(),
                    wrapped,
                    commitment,
                ],
            ),
            Self::Table { uuid, schema, name } => parts(3, &[uuid.as_bytes(), schema.as_bytes(), name.as_bytes()]),
            Self::Column {
                uuid,
                table,
                name,
                module,
                ty,
                join_group,
                bind_column_only,
            } => parts(
                4,
                &[
                    uuid.as_bytes(),
                    table.as_bytes(),
                    name.as_bytes(),
                    module.as_bytes(),
                    ty.as_bytes(),
                    &[u8::from(join_group.is_some())],
                    join_group.as_deref().unwrap_or("").as_bytes(),
                    &[u8::from(*bind_column_only)],
                ],
            ),
            Self::DataKey {
                column,
                key_id,
                version,
                wrapped,
                commitment,
            } => parts(
                5,
                &[
                    column.as_bytes(),
                    &key_id.to_be_bytes(),
                    &version.to_be_bytes(),
                    wrapped,
                    commitment,
                ],
            ),
        }
    }
}

/// Byte strings as base64 text.
mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(de::Error::custom)
    }
}
