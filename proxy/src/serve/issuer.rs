//! The issuer's JWK Set, read again when it changes, so that the issuer can change its keys and nothing is started anew.
//!
//! Promised: a set that can be used as a whole takes the other's place within [`EVERY`] and some milliseconds; a file that cannot, or that
//! is gone, changes nothing, is logged once for each cause, and `postern_jwks_file_broken` says 1 until it is right again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::identity::TokenVerifier;
use crate::identity::jwks::{self, JwkSet, JwksError};
use crate::observe::Metrics;
use crate::shared::Shared;

const EVERY: Duration = Duration::from_secs(2);

/// Looks at the file until dropped. Ends at once where none is configured.
pub(super) async fn watch(shared: Arc<Shared>) {
    let Some(path) = shared.config.settings.tokens.jwks_file.clone() else {
        return;
    };
    let mut watcher = Watcher::of(path);
    loop {
        let shared = Arc::clone(&shared);
        let look = tokio::task::spawn_blocking(move || {
            watcher.look(&shared.tokens, &shared.metrics);
            watcher
        });
        watcher = look.await.expect("reading a set does not panic");
        tokio::time::sleep(EVERY).await;
    }
}

/// What the file held when it was looked at last.
struct Watcher {
    path: PathBuf,
    /// As it was read, usable or not. The file is small, and its bytes cannot miss a change as a time stamp can.
    bytes: Option<Vec<u8>>,
    /// What was wrong with it.
    complaint: Option<String>,
}

impl Watcher {
    fn of(path: PathBuf) -> Self {
        Self {
            path,
            bytes: None,
            complaint: None,
        }
    }

    /// Reads the file; a new set that can be used comes into force.
    fn look(&mut self, tokens: &TokenVerifier, metrics: &Metrics) {
        let bytes = match jwks::bytes_of(&self.path) {
            Ok(bytes) => bytes,
            Err(error) => {
                // Once it can be read again it is judged anew, whatever it held before.
                self.bytes = None;
                return self.complain(&error, metrics);
            }
        };
        if self.bytes.as_ref() == Some(&bytes) {
            return;
        }
        let parsed = JwkSet::parse(&bytes);
        self.bytes = Some(bytes);
        match parsed {
            Ok(set) => {
                self.complaint = None;
                take(&set, tokens, metrics);
            }
            Err(problem) => {
                let path = self.path.clone();
                self.complain(&JwksError { path, problem }, metrics);
            }
        }
    }

    fn complain(&mut self, error: &JwksError, metrics: &Metrics) {
        metrics.jwks_file_broken(true);
        let text = error.to_string();
        if self.complaint.as_ref() != Some(&text) {
            tracing::error!(error = %text, "the issuer's keys cannot be read; those known so far stay in force");
            self.complaint = Some(text);
        }
    }
}

fn take(set: &JwkSet, tokens: &TokenVerifier, metrics: &Metrics) {
    for key in set.ignored() {
        let kid = key.kid.as_deref().unwrap_or("(none)");
        tracing::warn!(kid, why = key.why, "a key of the issuer's set is not used");
    }
    let rotation = tokens.set_issuer_keys(set);
    let in_force = set.kids().count();
    metrics.issuer_keys(in_force);
    metrics.jwks_file_broken(false);
    tracing::info!(
        in_force,
        added = ?rotation.added,
        withdrawn = ?rotation.withdrawn,
        "read the issuer's keys"
    );
}

#[cfg(test)]
mod tests;
