//! The root key of a configuration: opened, or made once for a database that holds no keys yet.

use postern_config::settings::KeySettings;
use postern_keys::StoreError;
use postern_keys::store::PassphraseStore;
use postern_keys::store::passphrase::read_passphrase;

use crate::control::{ControlError, Pool};

/// Why there is no root key to work with.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    /// The file or its passphrase.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database could not be asked whether it holds keys.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The database holds keys that a new root key could not open.
    #[error("{} is not there, and the database holds keys that were wrapped under it", .0.display())]
    Lost(std::path::PathBuf),
}

/// Opens the root key; makes it (`true`) where its file is missing and the database holds no key catalogue. A new root key never takes
/// the place of a lost one: what was sealed under that could not be opened again.
pub async fn open_or_make(settings: &KeySettings, pool: &Pool) -> Result<(PassphraseStore, bool), RootKeyError> {
    let make = !settings.root_file.exists();
    if make && holds_keys(pool).await? {
        return Err(RootKeyError::Lost(settings.root_file.clone()));
    }
    let settings = settings.clone();
    // Argon2id takes most of a second on purpose.
    let opened = tokio::task::spawn_blocking(move || {
        let passphrase = read_passphrase(&settings.passphrase_file)?;
        match make {
            true => PassphraseStore::create(&settings.root_file, &passphrase),
            false => PassphraseStore::open(&settings.root_file, &passphrase),
        }
    });
    let store = opened.await.expect("deriving a key does not panic")?;
    Ok((store, make))
}

async fn holds_keys(pool: &Pool) -> Result<bool, ControlError> {
    let client = pool.get().await?;
    let asked = |e: tokio_postgres::Error| ControlError::Query {
        doing: "asking whether the database holds keys",
        sqlstate: e.code().map(|c| c.code().to_owned()),
        reason: e.to_string(),
    };
    let there = "SELECT pg_catalog.to_regclass('postern.key_catalogue') IS NOT NULL";
    if !client.query_one(there, &[]).await.map_err(asked)?.get::<_, bool>(0) {
        return Ok(false);
    }
    let filled = "SELECT EXISTS (SELECT FROM postern.key_catalogue)";
    Ok(client.query_one(filled, &[]).await.map_err(asked)?.get(0))
}
