//! Keys and a manifest in memory, for the tests beside this code.

use postern_config::names::{ColumnRef, TableRef};
use postern_config::{ColumnType, Ident, Manifest, ModuleName};
use postern_keys::{KeyRing, RootKeyStore, Secret, StoreError, WantedColumn};
use postern_rewriter::plan::Sealed;

/// A root key store that keeps nothing secret: the keys of a test protect nothing.
struct Open;

impl RootKeyStore for Open {
    fn wrap(&self, _context: &[u8], key: &Secret) -> Result<Vec<u8>, StoreError> {
        Ok(key.expose().to_vec())
    }

    fn unwrap(&self, _context: &[u8], wrapped: &[u8]) -> Result<Secret, StoreError> {
        Secret::fill(|key| {
            key.copy_from_slice(wrapped);
            Ok(())
        })
    }

    fn derive(&self, context: &[u8]) -> Result<Secret, StoreError> {
        Secret::fill(|key| {
            key[..context.len().min(32)].copy_from_slice(&context[..context.len().min(32)]);
            Ok(())
        })
    }
}

/// `disco.people(email text, age int8)`, both protected.
pub(super) fn sealed(column: &str) -> Sealed {
    let ty = if column == "age" { ColumnType::Int8 } else { ColumnType::Text };
    Sealed {
        column: ColumnRef {
            table: table(),
            column: Ident::new(column).unwrap(),
        },
        ty,
    }
}

fn table() -> TableRef {
    TableRef {
        schema: Ident::new("disco").unwrap(),
        name: Ident::new("people").unwrap(),
    }
}

pub(super) fn ring() -> KeyRing {
    let wanted: Vec<WantedColumn> = ["email", "age"]
        .map(sealed)
        .into_iter()
        .map(|s| WantedColumn {
            module: ModuleName::new("disco").unwrap(),
            column: s.column,
            ty: s.ty,
            join_group: None,
            bind_column_only: false,
        })
        .collect();
    let (catalogue, _) = KeyRing::create_missing(None, &wanted, &Open).unwrap();
    KeyRing::open(&catalogue, &wanted, &Open).unwrap()
}

pub(super) fn manifest() -> Manifest {
    Manifest {
        module: ModuleName::new("disco").unwrap(),
        schema: Ident::new("disco").unwrap(),
        tablespace: None,
        logins: Vec::new(),
        tables: Vec::new(),
        exports: Vec::new(),
        imports: Vec::new(),
        import_keys: Vec::new(),
        accepts_second_lock_only_bodies: false,
        predicates: Vec::new(),
        roles: Vec::new(),
    }
}
