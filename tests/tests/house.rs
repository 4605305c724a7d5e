//! The house's own rules: which crate may use which, and what stands in no manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use postern_tests::product::workspace;
use serde_json::Value;

/// `cargo metadata` of the workspace, offline: nothing is fetched for a question about what is here. Other platforms' dependencies are left
/// out, since a machine that has only built for its own does not have them.
fn metadata(dependencies: bool) -> Value {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .current_dir(workspace());
    match dependencies {
        true => command.args(["--filter-platform", &host()]),
        false => command.arg("--no-deps"),
    };
    let output = command.output().expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata speaks JSON")
}

/// The platform that is built for.
fn host() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(rustc).arg("-vV").output().expect("rustc can be started");
    let said = String::from_utf8(output.stdout).expect("rustc speaks UTF-8");
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc names its host").to_owned()
}

fn texts<'v>(value: &'v Value, pointer: &str) -> Vec<&'v str> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Normal and build dependencies of each package of the workspace, by name.
fn direct() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata(false);
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| {
            let uses = package["dependencies"].as_array().expect("dependencies").iter();
            let names = uses
                .filter(|d| d["kind"].as_str() != Some("dev"))
                .filter_map(|d| d["name"].as_str().map(str::to_owned));
            (package["name"].as_str().expect("a name").to_owned(), names.collect())
        })
        .collect()
}

/// All packages that `root` reaches through normal and build dependencies.
fn reached(root: &str) -> BTreeSet<String> {
    let metadata = metadata(true);
    let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes");
    let name = |id: &str| {
        let packages = metadata["packages"].as_array().expect("packages");
        let found = packages.iter().find(|p| p["id"].as_str() == Some(id));
        found
            .and_then(|p| p["name"].as_str())
            .expect("every node is a package")
            .to_owned()
    };
    let start = texts(&metadata, "/workspace_members").into_iter().find(|id| name(id) == root);
    let mut pending = vec![start.unwrap_or_else(|| panic!("no package {root}")).to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(id) = pending.pop() {
        let node = nodes
            .iter()
            .find(|n| n["id"].as_str() == Some(&id))
            .expect("a resolved package is a node");
        for dep in node["deps"].as_array().expect("deps") {
            let kinds = dep["dep_kinds"].as_array().expect("kinds");
            let package = dep["pkg"].as_str().expect("an id").to_owned();
            if kinds.iter().any(|k| k["kind"].as_str() != Some("dev")) && seen.insert(package.clone()) {
                pending.push(package);
            }
        }
    }
    seen.iter().map(|id| name(id)).collect()
}

#[test]
fn arrows_between_crates_point_down() {
    let direct = direct();
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("postern-config", &[][..]),
        ("postern-keys", &["postern-config"][..]),
        ("postern-rewriter", &["postern-config"][..]),
        ("postern", &["postern-config", "postern-keys", "postern-rewriter"][..]),
    ]);
    let members: BTreeSet<&str> = direct.keys().map(String::as_str).collect();
    let expected = BTreeSet::from([
        "postern",
        "postern-bench",
        "postern-config",
        "postern-keys",
        "postern-rewriter",
        "postern-tests",
    ]);
    assert_eq!(members, expected, "a new crate needs its place in the arrows");
    for (name, may_use) in &allowed {
        let own: Vec<&str> = direct[*name]
            .iter()
            .map(String::as_str)
            .filter(|d| members.contains(d))
            .collect();
        let wrong: Vec<_> = own.iter().filter(|d| !may_use.contains(d)).collect();
        assert!(wrong.is_empty(), "{name} uses {wrong:?}");
    }
    for (name, uses) in &direct {
        for above in ["postern-tests", "postern-bench"] {
            assert!(!uses.contains(above), "{name} uses {above}, which nothing may use");
        }
    }
}

#[test]
fn the_pure_crates_never_reach_a_runtime_or_a_network() {
    for name in ["postern-config", "postern-keys", "postern-rewriter"] {
        let reached = reached(name);
        for runtime in ["tokio", "mio", "tokio-postgres", "deadpool-postgres", "rustls", "socket2"] {
            assert!(!reached.contains(runtime), "{name} reaches {runtime}");
        }
    }
    assert!(reached("postern").contains("tokio"), "the test itself would see an arrow");
    assert!(
        !reached("postern-rewriter").contains("aes-gcm-siv"),
        "the rewriter reaches cryptography"
    );
}

#[test]
fn every_crate_takes_the_workspaces_lints_and_no_switch_is_for_tests() {
    for member in ["config", "keys", "rewriter", "proxy", "bench", "tests"] {
        let file = workspace().join(member).join("Cargo.toml");
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let manifest: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let lints = manifest
            .get("lints")
            .and_then(|l| l.get("workspace"))
            .and_then(toml::Value::as_bool);
        assert_eq!(lints, Some(true), "{member} does not take the workspace's lints");
        // Features unify over a workspace: a switch that only tests may use would be in a release build one day.
        let features = manifest.get("features").and_then(toml::Value::as_table);
        for feature in features.into_iter().flat_map(toml::Table::keys) {
            assert!(!feature.contains("test"), "{member} has a feature `{feature}`");
        }
    }
}

/// `tokio-postgres` accepts any text; client SQL must have no road to it.
#[test]
fn the_data_plane_speaks_the_protocol_itself() {
    let mut files = Vec::new();
    for place in ["proxy/src/session", "proxy/src/wire"] {
        sources(&workspace().join(place), &mut files);
    }
    // Tests beside the code may speak to it as an ordinary client does.
    files.retain(|file| !file.ends_with("tests.rs"));
    assert!(files.len() > 4, "the data plane lies elsewhere now; tell this test");
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            for client in ["tokio_postgres", "deadpool"] {
                assert!(!code.contains(client), "{}:{}: {line}", file.display(), number + 1);
            }
        }
    }
}

/// Only the rewriter makes [`Rewritten`], and it alone may read client SQL: no other parser is near it.
#[test]
fn client_sql_meets_one_parser_only() {
    let direct = direct();
    for (name, uses) in &direct {
        if name != "postern-rewriter" {
            assert!(!uses.contains("pg_query"), "{name} parses SQL by itself");
        }
        if name != "postern-config" && name != "postern-rewriter" {
            assert!(
                !uses.contains("sqlparser"),
                "{name} uses sqlparser, which belongs to the manifest"
            );
        }
    }
    let mut files = Vec::new();
    sources(&workspace().join("rewriter/src"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert!(
            !text.contains("sqlparser::"),
            "{}: sqlparser never touches client SQL",
            file.display()
        );
    }
}

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.unwrap_or_else(|e| panic!("{}: {e}", dir.display())).path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}
