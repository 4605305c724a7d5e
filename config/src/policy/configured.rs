//! Configurations for the tests of this module: the example's settings beside manifests that a test writes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::settings::Config;

/// The head of module `acme`, which users log in to; three lines.
pub(super) const HEAD: &str =
    "module = \"acme\"\ntablespace = \"pg_default\"\nlogin = [{ name = \"acme\", kind = \"runtime\" }]\n";

/// A table in which nothing is found: everybody has rows of their own, and the key tells them apart.
pub(super) const OWN: &str = r#"
[[table]]
name = "t"
primary_key = ["owner", "id"]
column = [
  { name = "owner", type = "text" },
  { name = "id", type = "text" },
  { name = "body", type = "text" },
  { name = "secret", type = "text", never = true },
  { name = "price", type = "numeric(12,2)" },
]

[[table.policy]]
name = "own"
for = ["select", "insert", "update", "delete"]
using = "owner = claim.sub"
check = "owner = claim.sub"
"#;

pub(super) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/postern.toml")
}

/// Loads the manifest of module `acme` beside the example's settings.
#[track_caller]
pub(super) fn configured(manifest: &str) -> Config {
    configured_beside(&[("acme", manifest)])
}

/// Loads several manifests, by their modules' names, beside the example's settings.
#[track_caller]
pub(super) fn configured_beside(manifests: &[(&str, &str)]) -> Config {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("postern-policy-{}-{number}", std::process::id()));
    std::fs::create_dir_all(directory.join("modules")).unwrap();
    let file = directory.join("postern.toml");
    std::fs::copy(examples(), &file).unwrap();
    for (name, text) in manifests {
        std::fs::write(directory.join(format!("modules/{name}.toml")), text).unwrap();
    }
    let loaded = crate::load(&file);
    std::fs::remove_dir_all(&directory).unwrap();
    match loaded {
        Ok(config) => config,
        Err(e) => panic!(
            "{}\n{manifests:?}",
            e.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        ),
    }
}

/// `text` with a part replaced that must be there.
#[track_caller]
pub(super) fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no `{from}` in {text}");
    text.replacen(from, to, 1)
}
