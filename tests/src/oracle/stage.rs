//! Where the oracle's rows are: a server of their own with the manifests of the reference domain and of the tests' own modules, three proxies before it (one for each way of
//! filtering), and beside it plain tables that hold what the oracle says somebody sees.
//!
//! The rows are loaded through a proxy whose manifests let anybody write anything and preset nothing, which seals the protected columns; then the domain's own
//! manifests take that one's place. `enforce = "rewrite"` has a database to itself, in which PostgreSQL filters nothing.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use postern_config::Config;

use super::data::{Data, Rows};
use super::own::{IMPORTED, seen_of_import};
use super::people::{IDENTITIES, Identity};
use super::policies::seen;
use crate::cluster::{Cluster, Place};
use crate::connection::Connection;
use crate::plain::{self, Row};
use crate::product::{copy_directory, run_postern};
use crate::proxy::{Proxy, settle};
use crate::stand::{Stand, eventually};
use crate::target::Target;

/// Where each database keeps its rows as they were loaded.
const SAVED: &str = "as_loaded";
/// The database with the plain copies.
const COPIES: &str = "copies";
/// Idle server connections go soon: three proxies share one server.
const POOL: &str = "[pool]\nidle_timeout_seconds = 5\n";

/// One way of filtering.
pub struct Way {
    /// `both`, `rls` or `rewrite`.
    pub mode: &'static str,
    /// Its database.
    pub database: String,
    proxy: Proxy,
}

/// The server, its proxies and copies.
pub struct Stage {
    /// The domain's configuration.
    pub config: Config,
    /// The rows.
    pub data: Data,
    /// The three ways.
    pub ways: Vec<Way>,
    stand: &'static Stand,
    cluster: Cluster,
    _place: Place,
    turn: Mutex<()>,
}

impl Stage {
    /// The stage of this test binary, made by whoever asks first.
    pub fn shared() -> &'static Stage {
        static STAGE: OnceLock<Stage> = OnceLock::new();
        STAGE.get_or_init(|| Stage::make(Stand::shared()))
    }

    /// One test at a time: some change hidden rows.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(stand: &'static Stand) -> Self {
        let place = Place::new("oracle");
        let cluster = Cluster::start(stand, &place, "oracle-server");
        let mut dba = cluster.connect();
        for sql in ["ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()"] {
            dba.run(sql).good(sql);
        }
        let database = stand.dba().database;
        let data = Data::reference();
        // The one that knows the tests' own modules.
        let from = stand.gate().config.clone();
        let from = from.parent().expect("a file lies in a directory");
        let upstream = format!(
            "[upstream]\nhost = '127.0.0.1'\nport = {}\n[provision]\ntablespace_root = ''\n",
            cluster.port
        );
        let directory = |name: &str, more: &str| {
            let to = place.dir.join(name);
            copy_directory(from, &to);
            for without in ["lab", "alltypes"] {
                fs::remove_file(to.join(format!("modules/{without}.toml"))).expect("the copy is ours");
            }
            settle(&to, &upstream);
            settle(&to, more);
            to
        };

        let loading = directory("loading", "restrict = ''\n");
        for module in fs::read_dir(loading.join("modules")).expect("the modules") {
            open_to_everybody(&module.expect("a module").path());
        }
        provision(&loading);
        let loader = Proxy::serve(&loading, "oracle-loading", "");
        for rows in &data.0 {
            load(&mut connect(&stand.through(loader.port, &rows.module, None)), rows);
        }
        drop(loader);

        let both = directory("both", "");
        provision(&both);
        let rewritten = format!("{database}_rewrite");
        let make = format!("CREATE DATABASE {rewritten} TEMPLATE {database}");
        let made = eventually(Duration::from_secs(30), || dba.run(&make).error.is_none().then_some(()));
        assert!(
            made.is_some(),
            "{make}: {}",
            dba.run(&make).error.map_or_else(String::new, |e| e.to_string())
        );
        let rewrite = directory(
            "rewrite",
            &format!("enforce = 'rewrite'\n[upstream]\ndatabase = '{rewritten}'\n"),
        );
        provision(&rewrite);
        // PostgreSQL lets everything through by itself there.
        let filtered = "SELECT count(*) FROM pg_catalog.pg_policy WHERE pg_catalog.pg_get_expr(polqual, polrelid) <> 'true'";
        let left = cluster.connect_to(&rewritten).run(filtered).good(filtered).scalar();
        assert_eq!(left.as_deref(), Some("0"), "some table is still filtered by PostgreSQL");
        for name in [&database, &rewritten] {
            let mut there = cluster.connect_to(name);
            save(&mut there, &data);
            there.run("VACUUM ANALYZE").good("VACUUM");
        }

        let config = postern_config::load(&both.join("postern.toml")).unwrap_or_else(|e| panic!("the configuration: {e:?}"));
        dba.run(&format!("CREATE DATABASE {COPIES} TEMPLATE template0"))
            .good("the copies");
        fill_copies(&mut cluster.connect_to(COPIES), &config, &data);
        let way = |mode, directory: &Path, database: &str| Way {
            mode,
            database: database.to_owned(),
            proxy: Proxy::serve(directory, &format!("oracle-{mode}"), &format!("enforce = '{mode}'\n{POOL}")),
        };
        let rls = directory("rls", "");
        let ways = vec![
            way("both", &both, &database),
            way("rls", &rls, &database),
            way("rewrite", &rewrite, &rewritten),
        ];
        Self {
            config,
            data,
            ways,
            stand,
            cluster,
            _place: place,
            turn: Mutex::default(),
        }
    }

    /// Somebody at a module, through the proxy.
    pub fn connect(&self, way: &Way, who: &Identity, module: &str) -> Connection {
        let target = self.stand.through(way.proxy.port, &who.login(module), who.sub);
        connect(&target.in_database(&way.database))
    }

    /// The plain copy of what somebody sees of a module; a statement there has this many seconds.
    pub fn copy(&self, who: &Identity, module: &str, seconds: u32) -> Connection {
        let options = format!("-c search_path={} -c statement_timeout={seconds}s", schema(who, module));
        connect(&self.copies().with("options", &options))
    }

    /// The database of the copies, as the DBA.
    pub fn copies(&self) -> Target {
        self.cluster.target().in_database(COPIES)
    }

    /// The DBA in a database.
    pub fn dba(&self, database: &str) -> Connection {
        self.cluster.connect_to(database)
    }

    /// Puts the stored rows back as they were loaded.
    pub fn restore(&self, dba: &mut Connection) {
        let mut all = "SET session_replication_role = replica;".to_owned();
        let names: Vec<String> = self.data.0.iter().map(|r| format!("{}.{}", r.module, r.table)).collect();
        let _ = write!(all, "TRUNCATE {};", names.join(", "));
        for Rows { module, table, .. } in &self.data.0 {
            let _ = write!(all, "INSERT INTO {module}.{table} SELECT * FROM {SAVED}.{module}__{table};");
        }
        dba.run(&all).good("the rows as they were loaded");
    }

    /// Changes stored rows, and lays those that were loaded in the order in which they lay: where a row lies is no part of what is hidden
    /// or seen, and yet the first of several rows that fail is the one that is met first.
    pub fn change(&self, dba: &mut Connection, statements: &[String]) {
        let all = statements.join(";");
        dba.run(&all).good(&all);
        let names: Vec<String> = self.data.0.iter().map(|r| format!("{}.{}", r.module, r.table)).collect();
        let (mut out, mut back) = (String::new(), String::new());
        for rows in &self.data.0 {
            let Rows { module, table, .. } = rows;
            let saved = format!("{SAVED}.{module}__{table}");
            // What the DBA cannot tell apart is hidden as a whole, or does not change.
            let by_key = (self.config.modules.iter())
                .flat_map(|m| &m.tables)
                .find(|t| t.name.schema.as_str() == module && t.name.name.as_str() == table)
                .is_some_and(|t| t.columns[0].protection.is_none());
            let key: Vec<String> = rows.columns[..rows.key_width()]
                .iter()
                .map(|c| format!("s.{c} = t.{c}"))
                .collect();
            let order = match by_key {
                true => format!(" LEFT JOIN {saved} s ON {} ORDER BY s.ctid, t.ctid", key.join(" AND ")),
                false => String::new(),
            };
            let _ = write!(out, "INSERT INTO {saved}__moved SELECT t.* FROM {module}.{table} t{order};");
            let _ = write!(
                back,
                "INSERT INTO {module}.{table} SELECT * FROM {saved}__moved; TRUNCATE {saved}__moved;"
            );
        }
        let all = format!(
            "SET session_replication_role = replica;{out}TRUNCATE {};{back}",
            names.join(", ")
        );
        dba.run(&all).good("rows in their order");
    }

    /// What a proxy said.
    pub fn log_text(&self) -> String {
        self.ways.iter().map(|w| w.proxy.log_text()).collect()
    }
}

/// The schema of a copy.
fn schema(who: &Identity, module: &str) -> String {
    format!("{}__{module}", who.slug())
}

fn connect(target: &Target) -> Connection {
    let mut c = Connection::open(target).unwrap_or_else(|e| panic!("{}: {e}", target.user));
    c.patience(Duration::from_secs(60)).expect("a deadline can be set");
    c
}

fn provision(directory: &Path) {
    let file = directory.join("postern.toml");
    let done = run_postern(&["provision", "--config", file.to_str().expect("UTF-8")]);
    assert!(
        done.status.success(),
        "provisioning failed:\n{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

fn save(dba: &mut Connection, data: &Data) {
    let mut all = format!("CREATE SCHEMA {SAVED};");
    for Rows { module, table, .. } in &data.0 {
        let saved = format!("{SAVED}.{module}__{table}");
        let _ = write!(
            all,
            "CREATE TABLE {saved} AS TABLE {module}.{table}; CREATE TABLE {saved}__moved AS TABLE {saved} WITH NO DATA;"
        );
    }
    dba.run(&all).good("saving the rows");
}

/// Lets everybody read and write everything, and sets nothing itself. `true` reads no column, so values are sealed for the same columns as
/// without it.
fn open_to_everybody(manifest: &Path) {
    let text = fs::read_to_string(manifest).unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
    let mut module: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
    let policy: toml::Table =
        "name = 'loading'\nfor = ['select', 'insert', 'update', 'delete']\nusing = 'true'\ncheck = 'true'\n"
            .parse()
            .expect("TOML");
    for table in module
        .get_mut("table")
        .and_then(toml::Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let policies = table.get_mut("policy").and_then(toml::Value::as_array_mut);
        let policies = policies.expect("every table has policies");
        for own in policies.iter_mut().filter_map(toml::Value::as_table_mut) {
            // What was preset must be said.
            own.remove("insert_columns");
        }
        policies.push(policy.clone().into());
        let columns = table.get_mut("column").and_then(toml::Value::as_array_mut);
        for column in columns.into_iter().flatten().filter_map(toml::Value::as_table_mut) {
            for key in ["preset", "preset_on", "immutable"] {
                column.remove(key);
            }
        }
    }
    fs::write(manifest, module.to_string()).unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
}

/// Rows as a client writes them.
fn load(c: &mut Connection, rows: &Rows) {
    let columns: Vec<String> = rows.columns.iter().map(|c| format!("\"{c}\"")).collect();
    let holes: Vec<String> = (1..=columns.len()).map(|n| format!("${n}")).collect();
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({})",
        rows.table,
        columns.join(", "),
        holes.join(", ")
    );
    for row in &rows.rows {
        let cells: Vec<Option<&str>> = row.iter().map(Option::as_deref).collect();
        c.extended(&sql, &cells, 0)
            .expect("an answer")
            .good(&format!("{sql} {row:?}"));
    }
}

fn fill_copies(copies: &mut Connection, config: &Config, data: &Data) {
    for who in &IDENTITIES {
        for module in who.modules() {
            plain::make_bare(copies, &plain::relations(config, module), &schema(who, module), |table| {
                let name = table.name.name.as_str();
                let declared: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
                let import = IMPORTED.iter().find(|i| (i.module, i.name) == (module, name));
                let (columns, rows) = match import {
                    Some(import) => (import.columns.to_vec(), seen_of_import(who, data, import)),
                    None => {
                        let columns = &data.table(module, name).columns;
                        (columns.iter().map(String::as_str).collect(), seen(who, data, module, name))
                    }
                };
                assert_eq!(declared, columns, "{module}.{name}");
                rows.into_iter()
                    .map(|row| row.into_iter().map(|cell| cell.map(String::into_bytes)).collect::<Row>())
                    .collect()
            });
        }
    }
    copies.run("ANALYZE").good("ANALYZE");
}
