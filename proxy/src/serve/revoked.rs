//! Revoked tokens: `revoked-tokens` in the secrets directory, one `jti` a line. The file may be missing; it is read again when it
//! changes, so that revoking needs no restart.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::identity::TokenVerifier;
use crate::secrets::SecretError;
use crate::shared::Shared;

const NAME: &str = "revoked-tokens";
/// Ids of tokens that still live: they live ten minutes, so this is thousands of revocations in that time.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
const EVERY: Duration = Duration::from_secs(2);

/// Reads the list once; a list that is there and cannot be read is an error.
pub(super) fn load(secrets_dir: &Path, tokens: &TokenVerifier) -> Result<(), SecretError> {
    if let Some(ids) = read(&secrets_dir.join(NAME))? {
        tokens.set_revoked(ids);
    }
    Ok(())
}

/// Reads it again whenever it changes, until dropped. Where that fails the list known so far stays in force.
pub(super) async fn watch(shared: Arc<Shared>) {
    let path = shared.config.settings.secrets_dir.join(NAME);
    let mut seen: Option<(SystemTime, u64)> = None;
    loop {
        let now = stamp(path.clone()).await;
        if now != seen {
            let file = path.clone();
            let outcome = tokio::task::spawn_blocking(move || read(&file)).await;
            match outcome.expect("reading a list does not panic") {
                Ok(ids) => {
                    let ids = ids.unwrap_or_default();
                    tracing::info!(count = ids.len(), "read the list of revoked tokens");
                    shared.tokens.set_revoked(ids);
                    seen = now;
                }
                Err(error) => {
                    tracing::error!(%error, "the list of revoked tokens cannot be read; the one known so far stays in force")
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn stamp(path: PathBuf) -> Option<(SystemTime, u64)> {
    let about = tokio::fs::metadata(path).await.ok()?;
    Some((about.modified().ok()?, about.len()))
}

fn read(path: &Path) -> Result<Option<HashSet<Box<str>>>, SecretError> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(SecretError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    let mut text = String::new();
    let read = file
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|source| SecretError::Io {
            path: path.to_owned(),
            source,
        })?;
    if read as u64 > MAX_BYTES {
        return Err(SecretError::Content {
            path: path.to_owned(),
            problem: "larger than 4 MiB; remove ids of tokens that have expired",
        });
    }
    Ok(Some(
        text.lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .map(Into::into)
            .collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_id_a_line_and_a_missing_file_is_no_list() {
        let path = std::env::temp_dir().join(format!("postern-revoked-{}", std::process::id()));
        assert!(read(&path).unwrap().is_none());
        std::fs::write(&path, "t-1\n\n  t-2 \n").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), HashSet::from(["t-1".into(), "t-2".into()]));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read(&path).is_err());
        std::fs::remove_file(path).unwrap();
    }
}
