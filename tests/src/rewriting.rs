//! A proxy with `enforce = "rewrite"`: while it is there, row-level security is off in the stand's database, so that what it lets through
//! is its own doing.

use std::time::Duration;

use crate::another::Another;
use crate::stand::{Stand, eventually};

/// What such a proxy says where it leaves a statement to native row-level security.
const LEFT_TO_POSTGRESQL: [&str; 2] = ["needs native row-level security", "without native row-level security"];

/// The proxy. Whoever holds it has the stand for itself ([`Stand::alone`]).
pub struct Rewriting<'s> {
    /// It knows the modules of [`Stand::gate`].
    pub proxy: Another,
    stand: &'s Stand,
    tables: Vec<String>,
}

impl<'s> Rewriting<'s> {
    /// Switches row-level security off and starts the proxy.
    ///
    /// # Panics
    /// When it does not serve.
    pub fn start(stand: &'s Stand, purpose: &str) -> Self {
        let config = stand.gate().config.clone();
        let secured = "SELECT oid::pg_catalog.regclass FROM pg_catalog.pg_class WHERE relrowsecurity";
        let tables: Vec<String> = (stand
            .dba_connection()
            .run(secured)
            .good(secured)
            .texts()
            .into_iter()
            .flatten())
        .flatten()
        .collect();
        assert!(!tables.is_empty(), "no table has row-level security");
        switch(stand, &tables, "DISABLE", "NO FORCE");
        let proxy = Another::with(stand, &config, purpose, |settings| {
            settings.insert("enforce".to_owned(), "rewrite".into());
        });
        Self { proxy, stand, tables }
    }

    /// Whether a refusal leaves the statement to native row-level security.
    pub fn leaves(message: &str) -> bool {
        LEFT_TO_POSTGRESQL.iter().any(|words| message.contains(words))
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
        switch(self.stand, &self.tables, "ENABLE", "FORCE");
        // The stand's own proxy lets nothing be written until it has heard of it.
        let noticed = eventually(Duration::from_secs(10), || {
            let mut bob = self.stand.connect("sys_account", Some("bob"));
            bob.run("BEGIN");
            let reply = bob.run("UPDATE accounts SET avatar_resource_id = avatar_resource_id");
            bob.run("ROLLBACK");
            reply.error.is_none().then_some(())
        });
        assert!(
            noticed.is_some() || std::thread::panicking(),
            "row-level security is still seen as off"
        );
    }
}

fn switch(stand: &Stand, tables: &[String], enable: &str, force: &str) {
    let each = tables
        .iter()
        .map(|t| format!("ALTER TABLE {t} {enable} ROW LEVEL SECURITY, {force} ROW LEVEL SECURITY;"));
    let all: String = each.collect();
    stand.dba_connection().run(&all).good("row-level security");
}
