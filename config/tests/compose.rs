//! `docker-compose.yml` cannot be run where the tests run, so it is read and held against the example configuration: ports, paths,
//! names and health checks must agree.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use postern_config::Config;
use postern_config::settings::Host;
use serde_norway::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

fn compose() -> Value {
    let text = std::fs::read_to_string(root().join("docker-compose.yml")).expect("docker-compose.yml is beside the crates");
    let mut value: Value = serde_norway::from_str(&text).expect("docker-compose.yml is YAML");
    value.apply_merge().expect("anchors resolve");
    value
}

fn config() -> Config {
    postern_config::load(&root().join("config/examples/postern.toml")).expect("the examples load")
}

fn service<'v>(compose: &'v Value, name: &str) -> &'v Value {
    compose
        .get("services")
        .and_then(|s| s.get(name))
        .unwrap_or_else(|| panic!("there is a service {name}"))
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_sequence)
        .into_iter()
        .flatten()
        .map(|v| v.as_str().expect("a string").to_owned())
        .collect()
}

/// (source, target, read-only) of every mount.
fn mounts(service: &Value) -> Vec<(String, PathBuf, bool)> {
    strings(service.get("volumes"))
        .iter()
        .map(|m| {
            let mut parts = m.split(':');
            let mut part = || parts.next().expect("source:target");
            let (source, target) = (part(), part());
            (source.to_owned(), PathBuf::from(target), parts.next() == Some("ro"))
        })
        .collect()
}

#[test]
fn ports_are_those_of_the_configuration_and_open_on_loopback_only() {
    let (compose, settings) = (compose(), config().settings);
    let published: BTreeSet<String> = strings(service(&compose, "proxy").get("ports")).into_iter().collect();
    let expected = [settings.listen.address.port(), settings.admin.port()].map(|p| format!("127.0.0.1:{p}:{p}"));
    assert_eq!(published, BTreeSet::from(expected));
    assert!(settings.listen.address.ip().is_unspecified() && settings.admin.ip().is_unspecified());
    let postgres = service(&compose, "postgres");
    assert!(
        postgres.get("ports").is_none(),
        "PostgreSQL is not reachable but through the proxy"
    );
    assert_eq!(
        strings(postgres.get("expose")),
        [settings.upstream.hosts[0].port().to_string()]
    );
}

#[test]
fn the_database_is_the_one_that_the_configuration_names() {
    let (compose, upstream) = (compose(), config().settings.upstream);
    let [Host::Tcp { host, .. }] = &upstream.hosts[..] else {
        panic!("the example names one server on the network");
    };
    let postgres = service(&compose, host);
    assert!(
        postgres
            .get("image")
            .and_then(Value::as_str)
            .is_some_and(|i| i.starts_with("postgres:15"))
    );
    let variable = |name: &str| postgres.get("environment").and_then(|e| e.get(name)).and_then(Value::as_str);
    assert_eq!(variable("POSTGRES_USER"), Some(upstream.control_user.as_str()));
    assert_eq!(variable("POSTGRES_DB"), Some(upstream.database.as_str()));
    assert_eq!(variable("POSTGRES_PASSWORD"), None, "passwords come from files");
    assert_eq!(variable("POSTGRES_PASSWORD_FILE"), Some("/run/secrets/control"));
    let secret = compose
        .get("secrets")
        .and_then(|s| s.get("control"))
        .and_then(|s| s.get("file"))
        .and_then(Value::as_str);
    assert_eq!(secret, Some("./secrets/control"));
}

#[test]
fn every_path_of_the_configuration_is_mounted() {
    let (compose, config) = (compose(), config());
    let settings = &config.settings;
    for name in ["proxy", "provision"] {
        let mounts = mounts(service(&compose, name));
        let holder = |path: &Path| mounts.iter().find(|(_, target, _)| path.starts_with(target));
        let command = strings(service(&compose, name).get("command"));
        let file = Path::new(command.last().expect("the command ends with the configuration"));
        let (source, target, read_only) = holder(file).expect("the configuration is mounted");
        assert!(*read_only && file.file_name() == config.file.file_name());
        let on_host = root().join(source).join(file.strip_prefix(target).unwrap());
        assert_eq!(on_host.canonicalize().unwrap(), config.file.canonicalize().unwrap());

        let mut secrets = vec![
            &settings.secrets_dir,
            &settings.keys.passphrase_file,
            &settings.upstream.control_password_file,
        ];
        secrets.extend(&settings.tokens.public_keys);
        secrets.extend(&settings.tokens.jwks_file);
        for path in secrets {
            let (source, _, read_only) = holder(path).unwrap_or_else(|| panic!("{} is mounted in {name}", path.display()));
            assert!(source == "./secrets" && *read_only, "{}", path.display());
        }
        let (source, _, read_only) = holder(&settings.keys.root_file).expect("the root key is mounted");
        assert!(source == "keys" && !read_only);
    }
    assert_eq!(settings.upstream.control_password_file.file_name().unwrap(), "control");
}

#[test]
fn tablespaces_have_their_directories() {
    let (compose, config) = (compose(), config());
    let at = config.settings.tablespace_root.expect("the example has tablespaces");
    for name in ["tablespaces", "postgres"] {
        assert!(
            mounts(service(&compose, name))
                .iter()
                .any(|(source, target, _)| source == "tablespaces" && *target == at)
        );
    }
    let script = strings(service(&compose, "tablespaces").get("command")).join("\n");
    let made: BTreeSet<&str> = script
        .lines()
        .find_map(|l| l.trim().strip_prefix("mkdir -p "))
        .expect("the script makes them")
        .split(' ')
        .collect();
    let wanted: BTreeSet<&str> = config
        .modules
        .iter()
        .filter_map(|m| m.tablespace.as_ref().map(|t| t.as_str()))
        .collect();
    assert_eq!(made, wanted);
    assert!(script.contains(&format!("cd {}", at.display())));
}

#[test]
fn what_stays_up_is_watched_and_all_volumes_exist() {
    let compose = compose();
    let services = compose.get("services").and_then(Value::as_mapping).expect("services");
    let volumes = compose.get("volumes").expect("volumes");
    for (name, service) in services {
        let stays_up = service.get("restart").is_some();
        assert_eq!(stays_up, service.get("healthcheck").is_some(), "{name:?}");
        for (source, ..) in mounts(service) {
            assert!(source.starts_with("./") || volumes.get(&source).is_some(), "{source}");
        }
    }
    let check = strings(service(&compose, "proxy").get("healthcheck").and_then(|h| h.get("test"))).join(" ");
    assert!(check.contains(&format!("/127.0.0.1/{} ", config().settings.admin.port())) && check.contains("/readyz"));
}

#[test]
fn the_image_is_built_from_the_crates_and_from_no_secret() {
    let compose = compose();
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest
        .lines()
        .find_map(|l| l.strip_prefix("members = ["))
        .expect("the workspace names its members");
    let members: BTreeSet<&str> = members
        .trim_end_matches(']')
        .split(',')
        .map(|m| m.trim().trim_matches('"'))
        .collect();
    for name in ["proxy", "provision"] {
        let inline = service(&compose, name)
            .get("build")
            .and_then(|b| b.get("dockerfile_inline"))
            .and_then(Value::as_str);
        let copied: BTreeSet<&str> = inline
            .expect("the image is built in place")
            .lines()
            .filter_map(|l| l.trim().strip_prefix("COPY "))
            .filter(|l| !l.starts_with("--from=") && !l.starts_with("Cargo."))
            .flat_map(|l| l.split(' '))
            .collect();
        assert_eq!(copied, members);
    }
}
