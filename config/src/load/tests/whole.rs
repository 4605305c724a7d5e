//! Whole configurations: the examples, `postern.toml`, and manifests beside each other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::HEAD;
use crate::expr::{Expr, Subqueries};
use crate::load::{Problem, load};
use crate::manifest::{LoginKind, Manifest, Operation, Search};
use crate::names::ModuleName;
use crate::settings::{ChannelBinding, Config, Host, PoolMode, PoolSettings, Quota, SessionAttrs};

fn examples() -> Config {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/postern.toml");
    match load(&file) {
        Ok(config) => config,
        Err(e) => panic!("{}", e.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

pub(super) fn of<'c>(config: &'c Config, module: &str) -> &'c Manifest {
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
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("postern-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(path.join("modules")).unwrap();
        Self(path)
    }

    pub(super) fn load(&self, settings: &str, modules: &[(&str, &str)]) -> Result<Config, Vec<String>> {
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

pub(super) const SETTINGS: &str = "restrict = \"claim.disabled IS NOT TRUE\"
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
    assert_eq!(config.settings.upstream.hosts, [tcp("db", 5432)]);
    assert_eq!(config.settings.limits.max_clients, 9);
    assert_eq!(config.settings.secrets_dir, scratch.0.join("secrets"));
    assert_eq!(config.settings.keys.passphrase_file, Path::new("/abs/passphrase"));
    let set_alone = SETTINGS.replacen(
        "public_keys = [\"issuer.pem\"]",
        "jwks_file = \"issuer.jwks\"\ndev_kid = \"k\"",
        1,
    );
    let tokens = scratch.load(&set_alone, &[("acme", &one)]).unwrap().settings.tokens;
    assert_eq!(tokens.jwks_file, Some(scratch.0.join("issuer.jwks")));
    assert!(tokens.public_keys.is_empty() && tokens.dev_kid.as_deref() == Some("k"));
    for (from, to, line, part) in [
        ("claim.disabled IS NOT", "disabled IS NOT", 1, "no table is in sight"),
        (
            "restrict",
            "enforce = \"none\"\nrestrict",
            1,
            "write \"both\", \"rewrite\" or \"rls\"",
        ),
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
        (
            "public_keys = [\"issuer.pem\"]\n",
            "",
            18,
            "lacks `public_keys` and `jwks_file`",
        ),
        ("public_keys = [\"issuer.pem\"]", "jwks_file = \"\"", 23, "not a path"),
        (
            "[\"issuer.pem\"]",
            "[]\njwks_file = \"issuer.jwks\"",
            23,
            "nobody could vouch",
        ),
        (
            "dev_issuer = true\ndev_private_key = \"issuer.key\"",
            "dev_kid = \"a\"",
            21,
            "names the development issuer's key",
        ),
        (
            "dev_issuer = true",
            "dev_issuer = true\ndev_kid = \"\"",
            22,
            "`dev_kid` is empty",
        ),
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

fn tcp(host: &str, port: u16) -> Host {
    Host::Tcp {
        host: host.to_owned(),
        port,
    }
}

/// Each text of `[upstream]` (in place of `host = "db"`) loads as these hosts, or raises this one problem on line 9.
#[test]
fn upstream_hosts() {
    let scratch = Scratch::new("hosts");
    let load = |hosts: &str| scratch.load(&SETTINGS.replacen("host = \"db\"", hosts, 1), &[("acme", HEAD)]);
    let unix = |directory: &str, port| Host::Unix {
        directory: directory.into(),
        port,
    };
    for (written, hosts) in [
        ("host = \"10.0.0.1\"\nport = 5433", vec![tcp("10.0.0.1", 5433)]),
        ("host = \"::1\"", vec![tcp("::1", 5432)]),
        (
            "host = \"/var/run/postgresql\"\nport = 5433",
            vec![unix("/var/run/postgresql", 5433)],
        ),
        (
            "hosts = [\"a:1\", \"b\", \"[::1]:2\", \"[::2]\", \"/s\"]\nport = 6000",
            vec![tcp("a", 1), tcp("b", 6000), tcp("::1", 2), tcp("::2", 6000), unix("/s", 6000)],
        ),
    ] {
        assert_eq!(load(written).unwrap().settings.upstream.hosts, hosts);
    }
    let long = format!("host = \"/{}\"", "x".repeat(100));
    for (written, part) in [
        ("host = \"a:1\"", "the port is `port`"),
        ("host = \"a b\"", "is not a host"),
        ("hosts = [\"a:0\"]", "no port from 1"),
        ("hosts = [\"a:+1\"]", "no port from 1"),
        ("hosts = [\"a:65536\"]", "no port from 1"),
        ("hosts = [\"a:1:2\"]", "no port from 1"),
        ("hosts = [\"[::1\"]", "is not a host"),
        ("hosts = [\"[::1]5\"]", "is not a host"),
        ("hosts = [\"[a]\"]", "is not a host"),
        ("hosts = [\"\"]", "is not a host"),
        ("hosts = [\"./s\"]", "is not a host"),
        ("hosts = []", "`hosts` is empty"),
        ("hosts = \"a\"", "must be a list"),
        ("hosts = [\"a\", \"a:5432\"]", "stands twice"),
        ("hosts = [\"a\"]\nhost = \"b\"", "keep one of the two"),
        (&long, "too long"),
    ] {
        let problems = load(written).expect_err(written);
        assert!(
            problems.len() == 1 && problems[0].starts_with("postern.toml:9: ") && problems[0].contains(part),
            "{written}: {problems:#?}"
        );
    }
}

#[test]
fn upstream_demands() {
    let scratch = Scratch::new("demands");
    let load = |more: &str| {
        let text = SETTINGS.replacen("host = \"db\"", more, 1);
        scratch.load(&text, &[("acme", HEAD)]).map(|c| c.settings.upstream)
    };
    let plain = load("host = \"db\"").unwrap();
    assert_eq!(
        (plain.target_session_attrs, plain.channel_binding),
        (SessionAttrs::Any, ChannelBinding::Prefer)
    );
    let all =
        "hosts = [\"a\", \"/s\"]\ntls_ca = \"ca\"\ntarget_session_attrs = \"prefer-standby\"\nchannel_binding = \"disable\"";
    let all = load(all).unwrap();
    assert_eq!(
        (all.target_session_attrs, all.channel_binding),
        (SessionAttrs::PreferStandby, ChannelBinding::Disable)
    );
    assert!(load("host = \"a\"\ntls_ca = \"ca\"\nchannel_binding = \"require\"").is_ok());
    for (written, line, part) in [
        (
            "host = \"a\"\ntarget_session_attrs = \"master\"",
            10,
            "write \"any\", \"read-write\", \"read-only\", \"primary\", \"standby\" or \"prefer-standby\"",
        ),
        ("host = \"a\"\nchannel_binding = \"must\"", 10, "cannot be `must`"),
        ("host = \"a\"\nchannel_binding = \"require\"", 10, "only under TLS"),
        (
            "hosts = [\"a\", \"/s\"]\ntls_ca = \"ca\"\nchannel_binding = \"require\"",
            11,
            "name no Unix socket",
        ),
        ("host = \"/s\"\ntls_ca = \"ca\"", 10, "secures nothing"),
    ] {
        let problems = load(written).expect_err(written);
        assert!(
            problems.len() == 1 && problems[0].starts_with(&format!("postern.toml:{line}: ")) && problems[0].contains(part),
            "{written}: {problems:#?}"
        );
    }
}

#[test]
fn where_clients_come_in() {
    let scratch = Scratch::new("listen");
    let load = |more: &str| {
        let text = SETTINGS.replacen("require_tls = true", &format!("require_tls = true\n{more}"), 1);
        scratch.load(&text, &[("acme", HEAD)]).map(|c| c.settings.listen)
    };
    let listen = load("").unwrap();
    assert_eq!((listen.unix_socket_dir, listen.workers), (None, None));
    let listen = load("unix_socket_dir = \"/run/postern\"\nworkers = 2").unwrap();
    assert_eq!(listen.unix_socket_dir.as_deref(), Some(Path::new("/run/postern")));
    assert_eq!(listen.workers, Some(2));
    let long = format!("unix_socket_dir = \"/{}\"", "x".repeat(100));
    for (written, part) in [("workers = 0", "from 1 to 1024"), (&long, "too long")] {
        let problems = load(written).expect_err(written);
        assert!(
            problems.len() == 1 && problems[0].starts_with("postern.toml:6: ") && problems[0].contains(part),
            "{problems:#?}"
        );
    }
}

#[test]
fn pools_and_quotas() {
    let scratch = Scratch::new("pools");
    let load = |more: &str| scratch.load(&format!("{SETTINGS}{more}"), &[("acme", HEAD)]);
    let login = |config: &Config| config.login("acme").unwrap().1.name.clone();
    let module = ModuleName::new("acme").unwrap();

    let config = load("").unwrap();
    let default = PoolSettings {
        mode: PoolMode::Session,
        prepare_simple: true,
        size: 64,
        min_idle: 0,
        queue: 1000,
        queue_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(300),
        lifetime: Duration::from_secs(3600),
    };
    assert_eq!(config.pool(&login(&config)), default);
    assert_eq!(config.quota(&module), Quota::default());

    let config = load(
        "[pool]\nsize = 8\nmin_idle = 2\nqueue = 0\nqueue_timeout_seconds = 1\nidle_timeout_seconds = 2\nlifetime_seconds = 3\n\
         [pool.logins.acme]\npool_mode = \"transaction\"\nprepare_simple = false\nsize = 4\n\
         [quotas.acme]\nclients = 1\nconnections = 2\nqueue = 3\nstatement_seconds = 4\nresult_bytes = 5_000\n",
    )
    .unwrap();
    let own = PoolSettings {
        mode: PoolMode::Transaction,
        prepare_simple: false,
        size: 4,
        min_idle: 2,
        queue: 0,
        queue_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(2),
        lifetime: Duration::from_secs(3),
    };
    assert_eq!(config.pool(&login(&config)), own);
    assert_eq!((config.settings.pool.size, config.settings.pool.mode), (8, PoolMode::Session));
    let quota = Quota {
        clients: Some(1),
        connections: Some(2),
        queue: Some(3),
        statement_time: Some(Duration::from_secs(4)),
        result_bytes: Some(5000),
    };
    assert_eq!(config.quota(&module), quota);

    for (written, line, part) in [
        (
            "[pool]\npool_mode = \"statement\"",
            27,
            "write \"session\" or \"transaction\"",
        ),
        ("[pool]\nsize = 0", 27, "from 1 to 10000"),
        ("[pool]\nprepare_simple = 1", 27, "prepare_simple"),
        ("[pool]\nsize = 3\nmin_idle = 4", 28, "above `size`"),
        ("[pool]\nmin_idle = 4\n[pool.logins.acme]\nsize = 3", 28, "above `size`"),
        ("[pool]\nsizes = 3", 27, "did you mean `size`?"),
        ("[pool]\nqueue_timeout_seconds = 0", 27, "from 1 to 600"),
        ("[pool]\nlogins = 3", 27, "must be a table"),
        ("[pool.logins]\nacme = 3", 27, "[pool.logins.acme] must be a table"),
        ("[pool.logins.acne]\nsize = 3", 26, "did you mean `acme`?"),
        ("[pool.logins.Acme]\nsize = 3", 26, "cannot"),
        ("[pool.logins.acme]\nqueue = 3", 27, "no key `queue`"),
        ("[quotas.nobody]\nclients = 3", 26, "there is no module `nobody`"),
        ("[quotas.acme]\nclients = 0", 27, "from 1 to 100000"),
        ("[quotas.acme]\nresult_bytes = 1", 27, "from 1024"),
        ("[quotas.acme]\nrows = 1", 27, "no key `rows`"),
    ] {
        let problems = load(written).expect_err(written);
        assert!(
            problems.len() == 1 && problems[0].starts_with(&format!("postern.toml:{line}: ")) && problems[0].contains(part),
            "{written}: {problems:#?}"
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

const EXPORTS: &str = "[[table]]
name = \"t\"
primary_key = [\"id\"]
column = [{ name = \"id\", type = \"text\" }, { name = \"a\", type = \"int4\" }, { name = \"s\", type = \"text\", protect = { search = [] } },
  { name = \"n\", type = \"text\", never = true }]
[[export]]
table = \"t\"
columns = [\"id\", \"a\"]
to = [\"other\"]
references = true
";

const IMPORTS: &str = "[[table]]
name = \"own\"
foreign_key = [{ columns = [\"t_id\"], table = \"lent\", references = [\"id\"] }]
column = [{ name = \"t_id\", type = \"text\" }, { name = \"n\", type = \"int4\" }]
[[import]]
from = \"acme\"
table = \"t\"
columns = [\"id\", \"a\"]
as = \"lent\"
references = true
";

#[test]
fn what_modules_exchange_and_its_denied_twins() {
    let scratch = Scratch::new("exchange");
    let (exporter, importer) = (
        format!("{HEAD}{EXPORTS}"),
        format!("{}{IMPORTS}", HEAD.replace("\"acme\"", "\"other\"")),
    );
    let config = scratch
        .load(SETTINGS, &[("acme", &exporter), ("other", &importer)])
        .unwrap_or_else(|p| panic!("{p:#?}"));
    let (acme, other) = (of(&config, "acme"), of(&config, "other"));
    let import = other.import("lent").unwrap();
    assert_eq!((acme.exports.len(), import.table.as_str(), import.columns.len()), (1, "t", 2));
    assert_eq!(other.import_keys[0].references[0].as_str(), "id");

    for (in_exporter, from, to, part) in [
        (
            true,
            "columns = [\"id\", \"a\"]",
            "columns = [\"id\"]",
            "name the same columns on both sides",
        ),
        (
            false,
            "columns = [\"id\", \"a\"]",
            "columns = [\"id\"]",
            "name the same columns on both sides",
        ),
        (
            true,
            "to = [\"other\"]",
            "to = [\"other\", \"third\"]",
            "there is no module `third`",
        ),
        (true, "to = [\"other\"]", "to = [\"other\", \"acme\"]", "without an export"),
        (false, "from = \"acme\"", "from = \"third\"", "there is no module `third`"),
        (
            true,
            "references = true",
            "references = true\nrows = \"all\"",
            "say the same here",
        ),
        (false, "references = true", "references = true\nrows = \"some\"", "not `some`"),
        (true, "references = true", "", "say the same here"),
        (false, "as = \"lent\"", "as = \"own\"", "has a table `own` itself"),
        (
            false,
            "references = [\"id\"]",
            "references = [\"a\"]",
            "neither the primary key nor UNIQUE",
        ),
        (false, "references = [\"id\"]", "references = [\"x\"]", "not imported"),
        (false, "columns = [\"t_id\"]", "columns = [\"n\"]", "give both one type"),
        (false, ", references = [\"id\"] }", " }", "lacks `references`"),
        (
            false,
            "references = [\"id\"] }",
            "references = [\"id\"], on_delete = \"drop\" }",
            "not `drop`",
        ),
    ] {
        let denied = if in_exporter { &exporter } else { &importer }.replacen(from, to, 1);
        assert!(denied != exporter && denied != importer, "{from}");
        let modules: [(&str, &str); 2] = match in_exporter {
            true => [("acme", &denied), ("other", &importer)],
            false => [("acme", &exporter), ("other", &denied)],
        };
        let problems = scratch.load(SETTINGS, &modules).expect_err(&denied);
        assert!(problems.iter().any(|p| p.contains(part)), "{part}: {problems:#?}");
    }

    // A protected column and one that nobody reads stay in their module, even where both sides name them.
    for (column, part) in [("s", "is protected"), ("n", "no role reads"), ("x", "is no column of")] {
        let named = |text: &str| text.replacen("columns = [\"id\", \"a\"]", &format!("columns = [\"id\", \"{column}\"]"), 1);
        let problems = scratch
            .load(SETTINGS, &[("acme", &named(&exporter)), ("other", &named(&importer))])
            .expect_err(column);
        assert!(problems.len() == 1 && problems[0].contains(part), "{problems:#?}");
    }

    // One side alone.
    let alone = HEAD.replace("\"acme\"", "\"other\"");
    let problems = scratch.load(SETTINGS, &[("acme", &exporter), ("other", &alone)]).unwrap_err();
    assert!(
        problems.len() == 1 && problems[0].contains("does not import it"),
        "{problems:#?}"
    );
    let problems = scratch.load(SETTINGS, &[("acme", HEAD), ("other", &importer)]).unwrap_err();
    assert!(
        problems.len() == 1 && problems[0].contains("does not export `t` to other"),
        "{problems:#?}"
    );
}

#[test]
fn declared_claims_and_their_denied_twins() {
    let scratch = Scratch::new("claims");
    let declared = |claims: &str| format!("{SETTINGS}[claims]\n{claims}\n");
    let table = |using: &str| {
        format!(
            "{HEAD}[[table]]\nname = \"t\"\nprimary_key = [\"id\"]\ncolumn = [{{ name = \"id\", type = \"uuid\" }}, {{ name = \"n\", type = \"int8\" }}, \
             {{ name = \"at\", type = \"timestamptz\" }}, {{ name = \"s\", type = \"text\" }}]\n[[table.policy]]\nname = \"p\"\nfor = [\"select\"]\n\
             using = \"{using}\"\n"
        )
    };
    let all = "tenant = \"uuid\"\nlevel = \"int\"\nlevels = \"integer[]\"\ntenants = \"uuid[]\"\nsince = \"timestamptz\"\nbig = \"bigint\"\nemail = \"text\"";
    for (using, sql) in [
        (
            "id = claim.tenant",
            "(\"t\".\"id\" = (NULLIF(pg_catalog.current_setting('postern.claim_tenant'::text, true), ''::text))::uuid)",
        ),
        ("n >= claim.level", "::int4)"),
        ("n = claim.big OR n = 3", "::int8)"),
        ("n = ANY(claim.levels)", "::int4[]))"),
        ("id = ANY(claim.tenants)", "::uuid[]))"),
        ("at < claim.since", "::timestamptz)"),
        ("s = claim.email", "postern.claim_email"),
        ("claim.level > 2 AND claim.tenant IS NOT NULL", "IS NOT NULL"),
    ] {
        let config = scratch
            .load(&declared(all), &[("acme", &table(using))])
            .unwrap_or_else(|p| panic!("{using}: {p:#?}"));
        let printed = of(&config, "acme").tables[0].policies[0]
            .using
            .as_ref()
            .unwrap()
            .sql("t", Subqueries::Inline);
        assert!(printed.contains(sql), "{printed}");
    }
    for (using, part) in [
        ("n = claim.tenant", "compare values of one type"),
        ("id = claim.level", "compare values of one type"),
        ("s = claim.since", "compare values of one type"),
        ("s = ANY(claim.levels)", "compare a column of that type"),
        ("n = claim.levels", "write `n = ANY(claim.levels)`"),
        ("s = claim.emial", "did you mean `claim.email`?"),
    ] {
        let problems = scratch.load(&declared(all), &[("acme", &table(using))]).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(part), "{using}: {problems:#?}");
    }
    // A protected column is compared with a claim by its tag; PostgreSQL is not told a sealed claim at all.
    let sealed = |using: &str, search: &str| {
        format!(
            "{HEAD}[[table]]\nname = \"t\"\nprimary_key = [\"id\"]\ncolumn = [{{ name = \"id\", type = \"int4\" }}, {{ name = \"mail\", type = \"text\", \
             protect = {{ search = [{search}] }} }}, {{ name = \"s\", type = \"text\" }}]\n[[table.policy]]\nname = \"p\"\nfor = [\"select\"]\n\
             using = \"{using}\"\n"
        )
    };
    let claims = "email = \"sealed text\"\nage = \"int\"\nname = \"text\"";
    for using in [
        "mail = claim.email",
        "claim.email = mail",
        "NOT (mail = claim.name)",
        "id IN (SELECT id FROM t WHERE mail = claim.email)",
    ] {
        let config = scratch
            .load(&declared(claims), &[("acme", &sealed(using, "\"eq\""))])
            .unwrap_or_else(|p| panic!("{using}: {p:#?}"));
        let t = &of(&config, "acme").tables[0];
        let using = t.policies[0].using.as_ref().unwrap();
        let printed = using.sql("t", Subqueries::Inline);
        assert!(
            printed.contains("postern$eq$mail\" = pg_catalog.decode(") || printed.contains("'hex'::text) = "),
            "{printed}"
        );
        assert!(
            using.source().contains("\"mail\"") && !printed.contains("claim_email"),
            "{printed}"
        );
        assert_eq!(t.claim_tags().len(), 1);
        assert_eq!(config.claim_settings()[9..], ["claim_age", "claim_name", "tags"]);
    }
    // Whose a row is decides who reads what is sealed in it, so values are bound to it.
    let config = scratch
        .load(&declared(claims), &[("acme", &sealed("mail = claim.email", "\"eq\""))])
        .unwrap();
    assert_eq!(
        of(&config, "acme").tables[0]
            .bound
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["id", "mail"]
    );
    for (using, search, part) in [
        ("mail = claim.email", "", "has no equality tag"),
        ("mail <> claim.email", "\"eq\"", "by `=` alone"),
        ("mail = claim.age", "\"eq\"", "compare values of one type"),
        ("mail = claim.emial", "\"eq\"", "did you mean `claim.email`?"),
        ("mail = 'x'", "\"eq\"", "is protected"),
        ("s = claim.email", "\"eq\"", "is sealed"),
        ("claim.email IS NOT NULL", "\"eq\"", "is sealed"),
        ("mail = s", "\"eq\"", "is protected"),
    ] {
        let problems = scratch
            .load(&declared(claims), &[("acme", &sealed(using, search))])
            .unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(part), "{using}: {problems:#?}");
    }
    let one = table("s = claim.sub");
    for (claims, part) in [
        ("sub = \"text\"", "there without a declaration"),
        ("exp = \"int\"", "what a token says of itself"),
        ("Age = \"int\"", "cannot be a claim's name"),
        ("\"a-b\" = \"int\"", "cannot be a claim's name"),
        ("age = \"numeric\"", "a claim cannot be `numeric`"),
        ("age = \"int8[]\"", "a claim cannot be `int8[]`"),
        ("age = \"sealed text[]\"", "a claim cannot be"),
        ("age = 3", "must be a string"),
    ] {
        let problems = scratch.load(&declared(claims), &[("acme", &one)]).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(part), "{claims}: {problems:#?}");
    }
}
