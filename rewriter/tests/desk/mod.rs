//! What the tests of the judge share: the example configuration, and statements judged on a stack as deep as the proxy's.

#![allow(dead_code, reason = "each test uses some of it")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use postern_config::settings::Enforce;
use postern_config::{Config, LoginKind, ModuleName};
use postern_rewriter::catalog::Catalog;
use postern_rewriter::plan::{Plan, Refusal};
use postern_rewriter::{Ask, plan_batch};

/// The reference domain.
pub fn config() -> Config {
    postern_config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/postern.toml")).unwrap()
}

/// The reference domain, and those of the tests' own modules that have what it lacks.
pub fn with_guild() -> Config {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("postern-plans-{}-{number}", std::process::id()));
    std::fs::create_dir_all(directory.join("modules")).unwrap();
    let copy = |from: PathBuf, to: PathBuf| std::fs::copy(from, to).map(|_| ()).unwrap();
    copy(root.join("config/examples/postern.toml"), directory.join("postern.toml"));
    for entry in std::fs::read_dir(root.join("config/examples/modules")).unwrap() {
        let entry = entry.unwrap();
        copy(entry.path(), directory.join("modules").join(entry.file_name()));
    }
    for name in ["guild", "lender", "borrower", "readers"] {
        let file = format!("{name}.toml");
        copy(root.join("tests/gate").join(&file), directory.join("modules").join(&file));
    }
    let config = postern_config::load(&directory.join("postern.toml"));
    std::fs::remove_dir_all(&directory).unwrap();
    config.unwrap()
}

/// The judge recurses; test threads have small stacks. Unoptimised frames are several times larger than those that serve.
pub fn on_a_deep_stack<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new()
        .stack_size(if cfg!(debug_assertions) { 64 << 20 } else { 8 << 20 })
        .spawn(f)
        .unwrap()
        .join()
        .unwrap()
}

/// Asks as `module` or `module/login-kind`, with what its manifest declares.
pub fn asked<T>(config: &Config, who: &str, enforce: Enforce, f: impl FnOnce(&Ask<'_>) -> T) -> T {
    let (module, kind) = who.split_once('/').unwrap_or((who, "runtime"));
    let manifest = config.module(&ModuleName::new(module).unwrap()).unwrap();
    let kind = match kind {
        "migrator" => LoginKind::Migrator,
        "service" => LoginKind::Service,
        _ => LoginKind::Runtime,
    };
    let login = manifest.logins.iter().find(|l| l.kind == kind).unwrap_or(&manifest.logins[0]);
    f(&Ask {
        catalog: &Catalog::of_manifest(manifest, 1),
        module: &manifest.module,
        login,
        superadmin: false,
        undeclared: login.kind != LoginKind::Runtime,
        enforce,
        max_sql_bytes: 8 << 20,
    })
}

/// Judges a text as `module` or `module/login-kind`; `catalog` in place of what the manifest declares.
pub fn judge(config: &Config, who: &str, sql: &str, catalog: Option<&Catalog>, enforce: Enforce) -> Result<Vec<Plan>, Refusal> {
    asked(config, who, enforce, |ask| {
        let catalog = catalog.unwrap_or(ask.catalog);
        plan_batch(sql, &Ask { catalog, ..*ask })
    })
}
