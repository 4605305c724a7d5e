//! Equality tags: what `=` on a protected column is asked by.
//!
//! Sixteen bytes that are equal where the values are equal, for one column or one join group, and say nothing else to whoever lacks
//! the key. What they leak is equality and frequency. Two different values share a tag with probability 2^-128.

use hmac::{Hmac, KeyInit, Mac};
use postern_config::{ColumnType, Ident, ModuleName};
use sha2::Sha256;
use uuid::Uuid;

use crate::secret::Secret;
use crate::value::{equality_bytes, equality_family};

/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;

/// The tag key of one column or join group, with the HMAC's keyed state made once.
pub(crate) struct TagKey(Hmac<Sha256>);

impl TagKey {
    /// Construction: HKDF(the module's search key, "postern/v1/eq/column"). Bound identity: module, column UUID.
    pub(crate) fn column(search: &Secret, module: &ModuleName, column: &Uuid) -> Self {
        Self::keyed(&search.derive("postern/v1/eq/column", &[module.as_str().as_bytes(), column.as_bytes()]))
    }

    /// Construction: HKDF(the module's search key, "postern/v1/eq/group"). Bound identity: module, name of the join group.
    pub(crate) fn group(search: &Secret, module: &ModuleName, group: &Ident) -> Self {
        Self::keyed(&search.derive(
            "postern/v1/eq/group",
            &[module.as_str().as_bytes(), group.as_str().as_bytes()],
        ))
    }

    /// The tag of a value.
    ///
    /// Construction: HMAC-SHA256(key, type family ‖ equality form), the first 16 bytes. Deterministic by purpose; no nonce. Bound
    /// identity: by the key, the column or join group; never the row.
    pub(crate) fn tag(&self, ty: &ColumnType, canonical: &[u8]) -> [u8; TAG_BYTES] {
        let mut mac = self.0.clone();
        match (equality_family(ty), equality_bytes(ty, canonical)) {
            (Some(family), Ok(form)) => {
                mac.update(&[family]);
                mac.update(&form);
            }
            // Bytes that are no value of the type equal no value: a family that no type has.
            _ => {
                mac.update(&[0]);
                mac.update(canonical);
            }
        }
        let full = mac.finalize().into_bytes();
        *full.first_chunk().expect("SHA-256 gives 32 bytes")
    }

    fn keyed(key: &Secret) -> Self {
        Self(Hmac::new_from_slice(key.expose()).expect("HMAC takes keys of any length"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{SessionFormat, from_text};

    fn key() -> TagKey {
        let search = Secret::fill::<()>(|k| {
            k.fill(7);
            Ok(())
        });
        TagKey::column(&search.unwrap(), &ModuleName::new("disco").unwrap(), &Uuid::from_u128(1))
    }

    fn tag(key: &TagKey, ty: &str, text: &str) -> [u8; 16] {
        let ty = ColumnType::parse(ty);
        key.tag(&ty, &from_text(&ty, text, &SessionFormat::default()).unwrap())
    }

    #[test]
    fn equal_values_have_equal_tags() {
        let key = key();
        assert_eq!(tag(&key, "text", "a"), tag(&key, "varchar(3)", "a"));
        assert_eq!(tag(&key, "numeric", "1.0"), tag(&key, "numeric", "1.00"));
        assert_eq!(tag(&key, "float8", "-0"), tag(&key, "float8", "0"));
        assert_eq!(tag(&key, "int2", "7"), tag(&key, "int8", "7"));
        assert_eq!(tag(&key, "jsonb", "{\"a\":1.0}"), tag(&key, "jsonb", "{\"a\":1}"));
    }

    #[test]
    fn others_do_not() {
        let key = key();
        assert_ne!(tag(&key, "text", "a"), tag(&key, "text", "A"));
        assert_ne!(tag(&key, "text", "a"), tag(&key, "text", "a "));
        assert_ne!(tag(&key, "text", "1"), tag(&key, "int4", "1"));
        assert_ne!(tag(&key, "text", "abcdefgh"), tag(&key, "int8", "7017280452245743464"));
        assert_ne!(key.tag(&ColumnType::Int4, b"no int"), tag(&key, "text", "no int"));
    }

    /// Search key: 32 times 7; module disco; column UUID 1; join group email.
    #[test]
    fn golden_tags_stay() {
        let search = Secret::fill::<()>(|k| {
            k.fill(7);
            Ok(())
        })
        .unwrap();
        let module = ModuleName::new("disco").unwrap();
        let column = TagKey::column(&search, &module, &Uuid::from_u128(1));
        let group = TagKey::group(&search, &module, &Ident::new("email").unwrap());
        let hex = |bytes: [u8; 16]| bytes.map(|b| format!("{b:02x}")).concat();
        let lines = include_str!("../tests/golden/tags.txt")
            .lines()
            .filter(|l| !l.starts_with('#'));
        let mut count = 0;
        for line in lines {
            let fields: Vec<&str> = line.split('|').collect();
            assert_eq!(hex(tag(&column, fields[0], fields[1])), fields[2], "{line}");
            assert_eq!(hex(tag(&group, fields[0], fields[1])), fields[3], "{line}");
            count += 1;
        }
        assert!(count >= 16, "vectors are only ever added");
    }

    #[test]
    fn columns_groups_and_modules_are_apart() {
        let search = Secret::random().unwrap();
        let (disco, chat) = (ModuleName::new("disco").unwrap(), ModuleName::new("chat").unwrap());
        let group = Ident::new("email").unwrap();
        let tags = [
            TagKey::column(&search, &disco, &Uuid::from_u128(1)),
            TagKey::column(&search, &disco, &Uuid::from_u128(2)),
            TagKey::column(&search, &chat, &Uuid::from_u128(1)),
            TagKey::group(&search, &disco, &group),
            TagKey::group(&search, &chat, &group),
        ]
        .map(|key| tag(&key, "text", "a"));
        for (i, one) in tags.iter().enumerate() {
            assert!(tags[i + 1..].iter().all(|other| other != one), "{i}");
        }
        assert_eq!(tags[3], tag(&TagKey::group(&search, &disco, &group), "text", "a"));
    }
}
