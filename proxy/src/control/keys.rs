//! Where wrapped keys lie in the database, and how they come back.
//!
//! `postern.key_catalogue` holds one row: the catalogue as the keys crate writes it, with its generation beside it for compare-and-swap.
//! The key of the claims' MAC is derived from the root key and the catalogue's database UUID; PostgreSQL gets its HMAC pads in
//! `postern.claims_key`, which only the owner of `postern.verified()` and the control role read.

use postern_config::Config;
use postern_keys::ring::wanted;
use postern_keys::{Catalogue, KeyRing, RootKeyStore};
use tokio_postgres::GenericClient;
use zeroize::Zeroizing;

use super::{ControlError, Pool};

/// SHA-256 block size, RFC 2104's B.
const BLOCK: usize = 64;

/// Opens the keys of every protected column.
pub async fn load_keys(pool: &Pool, config: &Config, root: &dyn RootKeyStore) -> Result<KeyRing, ControlError> {
    let client = pool.get().await?;
    let catalogue = read(&**client)
        .await?
        .ok_or(ControlError::NotProvisioned { what: "key catalogue" })?;
    Ok(KeyRing::open(&catalogue, &wanted(config), root)?)
}

/// Makes the keys that the configuration wants and the catalogue lacks, stores them, and opens all.
pub async fn ensure_keys(pool: &Pool, config: &Config, root: &dyn RootKeyStore) -> Result<KeyRing, ControlError> {
    let client = pool.get().await?;
    let (catalogue, _) = ensure(&**client, config, root).await?;
    Ok(KeyRing::open(&catalogue, &wanted(config), root)?)
}

/// The key of the claims' MAC, checked against what PostgreSQL will check with.
pub async fn load_mac_key(pool: &Pool, root: &dyn RootKeyStore) -> Result<Zeroizing<[u8; 32]>, ControlError> {
    let client = pool.get().await?;
    let catalogue = read(&**client)
        .await?
        .ok_or(ControlError::NotProvisioned { what: "key catalogue" })?;
    catalogue.verify(root)?;
    let key = mac_key(&catalogue, root)?;
    let stored = client
        .query_opt("SELECT inner_pad, outer_pad FROM postern.claims_key", &[])
        .await
        .map_err(ControlError::query("reading the claims key"))?
        .ok_or(ControlError::NotProvisioned { what: "claims key" })?;
    let stored = (
        Zeroizing::new(stored.get::<_, Vec<u8>>(0)),
        Zeroizing::new(stored.get::<_, Vec<u8>>(1)),
    );
    let (inner, outer) = pads(&key);
    if *stored.0 != inner[..] || *stored.1 != outer[..] {
        return Err(ControlError::ClaimsKeyMismatch);
    }
    Ok(key)
}

/// The stored catalogue, not yet authenticated.
pub(super) async fn read(client: &impl GenericClient) -> Result<Option<Catalogue>, ControlError> {
    let row = client
        .query_opt("SELECT body FROM postern.key_catalogue", &[])
        .await
        .map_err(ControlError::query("reading the key catalogue"))?;
    match row {
        Some(row) => Ok(Some(Catalogue::from_json(row.get(0))?)),
        None => Ok(None),
    }
}

/// The catalogue with every wanted key in it, stored; `true` where something was added. Nothing is sealed under a key before this returns.
pub(super) async fn ensure(
    client: &impl GenericClient,
    config: &Config,
    root: &dyn RootKeyStore,
) -> Result<(Catalogue, bool), ControlError> {
    let existing = read(client).await?;
    let expected = existing.as_ref().map(|c| c.generation);
    let (catalogue, changed) = KeyRing::create_missing(existing, &wanted(config), root)?;
    if changed {
        swap(client, expected, &catalogue).await?;
    }
    Ok((catalogue, changed))
}

/// Stores a catalogue in place of the one of generation `expected` (none, for the first), or fails.
async fn swap(client: &impl GenericClient, expected: Option<u64>, new: &Catalogue) -> Result<(), ControlError> {
    let number = |generation: u64| i64::try_from(generation).expect("a generation grows by one at a time");
    let (body, generation) = (new.to_json(), number(new.generation));
    let stored = match expected {
        None => {
            let insert = "INSERT INTO postern.key_catalogue (generation, body) VALUES ($1, $2) ON CONFLICT DO NOTHING";
            client.execute(insert, &[&generation, &body]).await
        }
        Some(expected) => {
            let update = "UPDATE postern.key_catalogue SET generation = $1, body = $2 WHERE generation = $3";
            client.execute(update, &[&generation, &body, &number(expected)]).await
        }
    };
    match stored.map_err(ControlError::query("storing the key catalogue"))? {
        1 => Ok(()),
        _ => Err(ControlError::KeyCatalogueMoved {
            expected: expected.map_or(0, number),
        }),
    }
}

/// Puts the pads where `postern.verified()` reads them; `true` where they were not there.
pub(super) async fn ensure_claims_key(
    client: &impl GenericClient,
    catalogue: &Catalogue,
    root: &dyn RootKeyStore,
) -> Result<bool, ControlError> {
    let key = mac_key(catalogue, root)?;
    let (inner, outer) = pads(&key);
    let upsert = "INSERT INTO postern.claims_key AS k (inner_pad, outer_pad) VALUES ($1, $2) ON CONFLICT (single) DO UPDATE \
                  SET inner_pad = excluded.inner_pad, outer_pad = excluded.outer_pad \
                  WHERE (k.inner_pad, k.outer_pad) IS DISTINCT FROM (excluded.inner_pad, excluded.outer_pad)";
    let written = client
        .execute(upsert, &[&&inner[..], &&outer[..]])
        .await
        .map_err(ControlError::query("storing the claims key"))?;
    Ok(written > 0)
}

/// Construction: the root key store's derivation, for this purpose and this database. Deterministic, so that every proxy of a database
/// has the same key and none is stored outside PostgreSQL.
fn mac_key(catalogue: &Catalogue, root: &dyn RootKeyStore) -> Result<Zeroizing<[u8; 32]>, ControlError> {
    let mut context = b"postern/v1/claims ".to_vec();
    context.extend_from_slice(catalogue.database_uuid.as_bytes());
    let key = root.derive(&context).map_err(postern_keys::RingError::from)?;
    Ok(Zeroizing::new(*key.expose()))
}

/// RFC 2104's key pads: HMAC(k, m) = H(outer ‖ H(inner ‖ m)).
fn pads(key: &[u8; 32]) -> (Zeroizing<[u8; BLOCK]>, Zeroizing<[u8; BLOCK]>) {
    let (mut inner, mut outer) = (Zeroizing::new([0x36; BLOCK]), Zeroizing::new([0x5c; BLOCK]));
    for (i, byte) in key.iter().enumerate() {
        inner[i] ^= byte;
        outer[i] ^= byte;
    }
    (inner, outer)
}
