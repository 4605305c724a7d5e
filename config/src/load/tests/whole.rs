//! Whole configurations: the examples, `postern.toml`, and manifests beside each other.

use std::path::{Path, PathBuf};

use super::HEAD;
use crate::expr::{Expr, Subqueries};
use crate::load::{Problem, load};
use crate::manifest::{LoginKind, Manifest, Operation, Search};
use crate::names::ModuleName;
use crate::settings::Config;

fn examples() -> Config {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/postern.toml");
    match load(&file) {
        Ok(config) => config,
        Err(e) => panic!("{}", e.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

fn of<'c>(config: &'c Config, module: &str) -> &'c Manifest {
    config.module(&ModuleName::new(module).unwrap()).unwrap()
}

#[test]
fn the_examples_load() {
    let config = examples();
    let names: Vec<&str> = config.modules.iter().map(|m| m.module.as_str()).collect();
    assert_eq!(names, ["chat", "disco", "evilmod", "lab", "sys_account", "sys_core"]);
    for module in ["chat", "disco", "evilmod", "sys_account", "sys_core"] {
        for (login, kind, ddl) in [
            (module.to_owned(), LoginKind::Runtime, false),
            (format!("{module}_migrator"), LoginKind::Migrator, true),
            (format!("{module}_service"), LoginKind::Service, false),
        ] {
            let (manifest, found) = config.login(&login).unwrap();
            assert_eq!((manifest.module.as_str(), found.kind, found.ddl), (module, kind, ddl));
        }
    }
    let (lab, login) = config.login("lab").unwrap();
    assert!(login.kind == LoginKind::Service && login.ddl && lab.accepts_second_lock_only_bodies && lab.tables.is_empty());
    let paths = config.secret_paths(&login.name);
    assert!(paths.client.ends_with("lab.client") && paths.upstream.ends_with("lab.upstream"));
    for table in config.modules.iter().flat_map(|m| &m.tables) {
        assert_eq!(
            table.restrictions[0].source(),
            "(claim.\"disabled\" IS NOT TRUE)",
            "{}",
            table.name
        );
    }
}

#[test]
fn the_examples_say_what_the_domain_says() {
    let config = examples();
    let accounts = of(&config, "sys_account").table("accounts").unwrap();
    assert!(accounts.column("password").unwrap().never && accounts.column("verification_token").unwrap().never);
    assert_eq!(
        accounts.column("email").unwrap().protection.as_ref().unwrap().search,
        [Search::Eq]
    );
    assert_eq!(accounts.bound.iter().map(ToString::to_string).collect::<Vec<_>>(), ["id"]);
    assert!(
        of(&config, "sys_account")
            .table("projects")
            .unwrap()
            .column("org_id")
            .unwrap()
            .immutable
    );
    let users = of(&config, "disco").table("survey_users").unwrap();
    assert_eq!(
        users
            .column("survey_user_name")
            .unwrap()
            .shown_when
            .as_ref()
            .unwrap()
            .source(),
        "((\"sys_account_account_ref_id\" = claim.\"sub\") OR claim.\"super\")"
    );
    assert_eq!(
        users.bound.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["survey_user_id", "survey_project_ref_id", "sys_account_account_ref_id"]
    );
    for column in ["action_location", "strategy", "contact", "budget"] {
        assert!(
            of(&config, "disco")
                .table("projects")
                .unwrap()
                .column(column)
                .unwrap()
                .shown_when
                .is_some(),
            "{column}"
        );
    }
    let receipts = of(&config, "chat").table("read_receipts").unwrap();
    assert_eq!(
        receipts.using(Operation::Update),
        Expr::Bool(false),
        "nobody updates a receipt"
    );
    for manifest in &config.modules {
        for table in &manifest.tables {
            let sql = table.using(Operation::Select).sql("t", Subqueries::Functions);
            assert!(!sql.contains(" IN (SELECT \""), "{}: {sql}", table.name);
        }
    }
}

/// A directory of its own for one test, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("postern-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(path.join("modules")).unwrap();
        Self(path)
    }

    fn load(&self, settings: &str, modules: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        std::fs::write(self.0.join("postern.toml"), settings).unwrap();
        for (name, text) in modules {
            std::fs::write(self.0.join("modules").join(format!("{name}.toml")), text).unwrap();
        }
        load(&self.0.join("postern.toml")).map_err(|e| {
            let strip = |p: &Problem| p.to_string().replace(&format!("{}/", self.0.display()), "");
            e.0.iter().map(strip).collect()
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

const SETTINGS: &str = "restrict = \"claim.disabled IS NOT TRUE\"
[listen]
address = \"127.0.0.1:7432\"
tls = { certificate = \"c\", key = \"k\" }
require_tls = true
[admin]
address = \"127.0.0.1:9432\"
[upstream]
host = \"db\"
database = \"app\"
control_user = \"control\"
control_password_file = \"secrets/control\"
[secrets]
dir = \"secrets\"
[keys]
root_file = \"root\"
passphrase_file = \"/abs/passphrase\"
[tokens]
issuer = \"i\"
audience = \"a\"
dev_issuer = true
dev_private_key = \"issuer.key\"
public_keys = [\"issuer.pem\"]
[limits]
max_clients = 9
";

#[test]
fn settings_and_their_denied_twins() {
    let scratch = Scratch::new("settings");
    let one = format!("{HEAD}[[table]]\nname = \"t\"\ncolumn = [{{ name = \"id\", type = \"text\" }}]\n");
    let config = scratch.load(SETTINGS, &[("acme", &one)]).unwrap();
    assert_eq!(config.settings.upstream.port, 5432);
    assert_eq!(config.settings.limits.max_clients, 9);
    assert_eq!(config.settings.secrets_dir, scratch.0.join("secrets"));
    assert_eq!(config.settings.keys.passphrase_file, Path::new("/abs/passphrase"));
    for (from, to, line, part) in [
        ("claim.disabled IS NOT", "disabled IS NOT", 1, "no table is in sight"),
        ("restrict", "enforce = \"none\"\nrestrict", 1, "write \"both\" or \"rewrite\""),
        ("127.0.0.1:7432", "localhost", 3, "not an IP address and port"),
        (", key = \"k\"", "", 4, "lacks `key`"),
        ("tls = { certificate = \"c\", key = \"k\" }\n", "", 4, "needs a certificate"),
        ("host = \"db\"\n", "", 8, "lacks `host`"),
        ("host = \"db\"", "host = \"\"", 9, "is empty"),
        ("host = \"db\"", "host = \"db\"\nport = 99999", 10, "from 1 to 65535"),
        ("[secrets]\ndir = \"secrets\"\n", "", 1, "[secrets] is missing"),
        ("dev_issuer = true", "dev_issuer = false", 22, "vouch for any user"),
        ("dev_issuer = true\n", "", 21, "vouch for any user"),
        ("[\"issuer.pem\"]", "[]", 23, "nobody could vouch"),
        ("public_keys = [\"issuer.pem\"]\n", "", 18, "lacks `public_keys`"),
        ("max_clients = 9", "max_clients = 0", 25, "from 1 to 100000"),
        ("max_clients = 9", "max_client = 9", 25, "did you mean `max_clients`?"),
        (
            "max_clients = 9",
            "max_sql_bytes = 1_048_576\nmax_frame_bytes = 4096",
            24,
            "could never arrive",
        ),
        ("[limits]", "[audit]\nfile = 3\n[limits]", 25, "must be a string"),
        (
            "[limits]",
            "[provision]\ntablespace_root = \"x\"\n[limits]",
            25,
            "absolute path",
        ),
    ] {
        let denied = SETTINGS.replacen(from, to, 1);
        assert_ne!(denied, SETTINGS, "{from}");
        let problems = scratch.load(&denied, &[("acme", &one)]).expect_err(to);
        assert!(
            problems.len() == 1 && problems[0].starts_with(&format!("postern.toml:{line}: ")) && problems[0].contains(part),
            "line {line}, {part:?} expected: {problems:#?}"
        );
    }
}

#[test]
fn modules_must_not_meet() {
    let scratch = Scratch::new("modules");
    let other = HEAD.replace("\"acme\"", "\"other\"");
    assert!(scratch.load(SETTINGS, &[("acme", HEAD), ("other", &other)]).is_ok());
    for (denied, line, part) in [
        (
            other.replace("tablespace", "schema = \"acme\"\ntablespace"),
            2,
            "the schema `acme` is already module acme's",
        ),
        (
            other.replace("name = \"other\"", "name = \"acme\""),
            3,
            "already a login of module acme",
        ),
        (
            other.replace("name = \"other\"", "name = \"acme_owner\""),
            3,
            "already the owner role of module acme",
        ),
        (
            other.replace("name = \"other\"", "name = \"control\""),
            3,
            "already the control role",
        ),
    ] {
        let problems = scratch
            .load(SETTINGS, &[("acme", HEAD), ("other", &denied)])
            .expect_err(&denied);
        assert!(
            problems.len() == 1 && problems[0].starts_with(&format!("modules/other.toml:{line}: ")) && problems[0].contains(part),
            "{problems:#?}"
        );
    }
    let spaced = HEAD.replace("pg_default", "fast");
    let problems = scratch
        .load(
            SETTINGS,
            &[("acme", &spaced), ("other", &other.replace("pg_default", "fast"))],
        )
        .unwrap_err();
    assert!(
        problems.len() == 1 && problems[0].contains("the tablespace `fast` is already module acme's"),
        "{problems:#?}"
    );
}

#[test]
fn missing_files_and_all_files_at_once() {
    let scratch = Scratch::new("missing");
    let problems = scratch.load(SETTINGS, &[]).unwrap_err();
    assert!(problems[0].contains("no module is described"), "{problems:#?}");
    let problems = scratch.load("x = 1", &[("acme", "y = 2")]).unwrap_err();
    assert!(
        problems.iter().any(|p| p.starts_with("modules/acme.toml:1: ")),
        "{problems:#?}"
    );
    assert!(problems.iter().any(|p| p.contains("no key `x`")), "{problems:#?}");
    let nowhere = load(Path::new("/nonexistent/postern.toml")).unwrap_err();
    assert!(
        nowhere.0.len() == 2 && nowhere.0.iter().all(|p| p.message.contains("cannot be read")),
        "{nowhere:?}"
    );
}
