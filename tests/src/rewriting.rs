//! A proxy with `enforce = "rewrite"`: while it is there the stand's database is provisioned for it, so that PostgreSQL filters nothing and what
//! is read, locked and changed through it is its own doing.

use std::path::Path;
use std::time::Duration;

use crate::another::Another;
use crate::product::run_postern;
use crate::stand::{Stand, eventually};

/// The proxy. Whoever holds it has the stand for itself ([`Stand::alone`]).
pub struct Rewriting<'s> {
    /// It knows the modules of [`Stand::gate`].
    pub proxy: Another,
    stand: &'s Stand,
}

impl<'s> Rewriting<'s> {
    /// Provisions the database for it and starts the proxy.
    ///
    /// # Panics
    /// When it does not serve.
    pub fn start(stand: &'s Stand, purpose: &str) -> Self {
        let config = stand.gate().config.clone();
        let proxy = Another::provisioned(stand, &config, purpose, |settings| {
            settings.insert("enforce".to_owned(), "rewrite".into());
        });
        // PostgreSQL lets everything through by itself.
        let filtered = "SELECT count(*) FROM pg_catalog.pg_policy WHERE pg_catalog.pg_get_expr(polqual, polrelid) <> 'true'";
        let left = stand.dba_connection().run(filtered).good(filtered).scalar();
        assert_eq!(left.as_deref(), Some("0"), "some table is still filtered by PostgreSQL");
        Self { proxy, stand }
    }
}

/// A proxy with `enforce = "rls"`: row filters are PostgreSQL's alone.
///
/// # Panics
/// When it does not serve.
pub fn native_alone(stand: &Stand, purpose: &str) -> Another {
    let config = stand.gate().config.clone();
    Another::with(stand, &config, purpose, |settings| {
        settings.insert("enforce".to_owned(), "rls".into());
    })
}

impl Drop for Rewriting<'_> {
    fn drop(&mut self) {
        let mended = provision(&self.stand.gate().config);
        // The stand's own proxy lets nothing be written until it has heard of it.
        let noticed = eventually(Duration::from_secs(10), || {
            let mut bob = self.stand.connect("sys_account", Some("bob"));
            bob.run("BEGIN");
            let reply = bob.run("UPDATE accounts SET avatar_resource_id = avatar_resource_id");
            bob.run("ROLLBACK");
            reply.error.is_none().then_some(())
        });
        if !std::thread::panicking() {
            mended.unwrap_or_else(|e| panic!("{e}"));
            assert!(noticed.is_some(), "row-level security is still seen as off");
        }
    }
}

/// `postern provision` for that configuration; what it said where it failed.
pub fn provision(config: &Path) -> Result<(), String> {
    let output = run_postern(&["provision", "--config", config.to_str().expect("UTF-8")]);
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("provisioning failed: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
