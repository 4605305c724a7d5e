//! `postern replay`: logs that a real PostgreSQL wrote, in each of its forms, give the same sums; what it says of a statement is what comes
//! of it; and nothing of a literal is told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use postern_tests::cluster::{Cluster, Place};
use postern_tests::product::{fresh_directory, run_postern, workspace};
use postern_tests::stand::{Stand, eventually};
use serde_json::Value;

struct Said {
    code: Option<i32>,
    out: String,
    text: String,
}

fn replay(config: &Path, arguments: &[&str]) -> Said {
    let config = config.to_str().expect("UTF-8");
    let output = run_postern(&[&["replay", "--config", config], arguments].concat());
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = format!("{out}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("panicked"), "{text}");
    Said {
        code: output.status.code(),
        out,
        text,
    }
}

fn report(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}", said.text))
}

/// (verdict, reason, how often), by what is said.
fn reasons(report: &Value) -> BTreeMap<String, (String, Value, u64)> {
    let all = report["reasons"].as_array().expect("reasons");
    all.iter()
        .map(|r| {
            let text = |key: &str| r[key].as_str().expect("a text").to_owned();
            (
                text("what"),
                (text("verdict"), r["reason"].clone(), r["count"].as_u64().expect("a count")),
            )
        })
        .collect()
}

/// What an application sent before there was a gate; each is repeated with other literals.
const SENT: &[&str] = &[
    "SELECT survey_user_id FROM survey_users WHERE survey_user_id = 'canary-{n}'",
    "SELECT contact\n  FROM projects -- canary-{n}\n WHERE project_id = $q$canary-{n}$q$",
    "SELECT email FROM sys_account.accounts WHERE id = 'canary-{n}'",
    "SELECT pg_catalog.pg_read_file('canary-{n}')",
    "UPDATE projects SET goal = 'canary-{n}' WHERE false",
    "SELECT {n}",
];

/// A file of the running server's, once it holds what was sent last.
fn log_of(data: &Path, ending: &str) -> PathBuf {
    let found = eventually(std::time::Duration::from_secs(30), || {
        let files = fs::read_dir(data.join("log")).ok()?.flatten().map(|e| e.path());
        let file = files.filter(|f| f.extension().is_some_and(|e| e == ending)).max()?;
        let text = fs::read_to_string(&file).ok()?;
        text.contains("the end of it").then_some(file)
    });
    found.unwrap_or_else(|| panic!("no .{ending} in {}", data.display()))
}

#[test]
fn logs_of_a_real_server_give_the_same_sums_in_every_form() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let place = Place::new("replay");
    let mut cluster = Cluster::start(stand, &place, "replay-server");
    let data = place.dir.join("replay-server");
    {
        let mut dba = cluster.connect();
        for setting in [
            "logging_collector = on",
            "log_directory = 'log'",
            "log_destination = 'stderr,csvlog,jsonlog'",
            "log_line_prefix = '%m [%p] %q%u@%d '",
            "log_statement = 'all'",
            "log_min_duration_statement = 0",
        ] {
            let sql = format!("ALTER SYSTEM SET {setting}");
            dba.run(&sql).good(&sql);
        }
    }
    cluster.stop("fast");
    cluster.serve();
    let mut app = cluster.connect();
    for sql in [
        "CREATE SCHEMA sys_account",
        "CREATE TABLE sys_account.accounts (id text, email text)",
        "CREATE TABLE survey_users (survey_user_id text)",
        "CREATE TABLE projects (project_id text, contact text, goal text)",
    ] {
        app.run(sql).good(sql);
    }
    let elsewhere = stand.dba();
    drop(cluster.connect_to(&elsewhere.database).run("SELECT 'of another database'"));
    let mut sent = 0;
    for n in 0..5 {
        for sql in SENT {
            let sql = sql.replace("{n}", &n.to_string());
            if n % 2 == 0 {
                // What fails was sent as well.
                let _ = app.simple(&sql);
            } else {
                let _ = app.extended(&sql, &[], 0);
            }
            sent += 1;
        }
    }
    app.run("SELECT 'the end of it'").good("the end");
    sent += 1;

    let config = stand.config_file();
    let mut sums = Vec::new();
    for ending in ["log", "csv", "json"] {
        let log = log_of(&data, ending);
        let log = log.to_str().expect("UTF-8");
        let arguments = [
            log,
            "--map",
            "postern_control=disco",
            "--database",
            "postgres",
            "--format",
            "json",
        ];
        let said = replay(&config, &arguments);
        assert_eq!(said.code, Some(65), "{ending}: {}", said.text);
        assert!(!said.text.contains("canary"), "{ending}: a literal is told:\n{}", said.text);
        let report = report(&said);
        // The DDL and what the test's connections ask when they begin is not what this counts.
        let found = reasons(&report);
        let count = |what: &str| {
            let found = found.iter().find(|(text, _)| text.contains(what));
            found
                .unwrap_or_else(|| panic!("{ending}: nothing says `{what}`:\n{}", said.text))
                .1
                .clone()
        };
        let of = |verdict: &str, reason: Value, n: u64| (verdict.to_owned(), reason, n);
        assert_eq!(count("select of survey_users by self"), of("filtered", Value::Null, 5));
        assert_eq!(count("masked projects.contact"), of("masked", Value::Null, 5));
        assert_eq!(
            count("\"sys_account.accounts\" does not exist"),
            of("refused", "relation".into(), 5)
        );
        assert_eq!(count("pg_read_file"), of("refused", "function".into(), 5));
        assert_eq!(count("update of projects by admin").2, 5);
        assert_eq!(report["malformed"], 0, "{ending}: {}", said.text);
        assert!(report["elsewhere"].as_u64() >= Some(1), "{ending}: {}", said.text);
        assert!(report["statements"].as_u64() >= Some(sent), "{ending}: {}", said.text);
        sums.push((report["modules"].clone(), report["reasons"].clone()));
    }
    assert_eq!(sums[0], sums[1]);
    assert_eq!(sums[0], sums[2]);

    let log = log_of(&data, "log");
    let log = log.to_str().expect("UTF-8");
    // Nobody is called so among the logins: nothing is judged, and it is said.
    let said = replay(&config, &[log, "--database", "postgres"]);
    assert!(said.out.contains("of user postern_control are not judged"), "{}", said.text);
    assert_eq!(said.code, Some(0), "{}", said.text);
    let said = replay(&config, &[log, "--module", "disco", "--show-values"]);
    assert!(said.out.contains("canary-0"), "{}", said.text);
    assert!(said.out.contains("module sys_account's"), "{}", said.text);
}

/// The corpus of this repository, through the gate and through `replay`: what the one refuses the other does, with the same SQLSTATE.
#[test]
fn what_is_said_is_what_comes_of_it() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let directory = fresh_directory("replay-truth");
    let statements = [
        "SELECT survey_user_id FROM survey_users",
        "SELECT contact FROM projects",
        "SELECT nothing FROM projects",
        "SELECT * FROM nowhere",
        "SELECT * FROM sys_account.accounts",
        "SELECT pg_sleep(0)",
        "SELECT pg_read_file('x')",
        "DO $$ BEGIN END $$",
        "SELECT survey_user_id FROM survey_users WHERE survey_user_name LIKE 'B%'",
        "SELECT survey_user_id FROM survey_users WHERE survey_user_name = 'B'",
        "CREATE TABLE mine (a int)",
        "SELECT FROM FROM",
        "SHOW search_path",
        "SET work_mem = '1GB'",
        "UPDATE projects SET sys_account_org_ref_id = 'B'",
        "COPY projects TO '/tmp/x'",
        "SELECT 1; SELECT 2",
    ];
    for (n, sql) in statements.iter().enumerate() {
        let file = directory.join(format!("{n}.jsonl"));
        fs::write(&file, serde_json::to_string(sql).expect("a text") + "\n").expect("the directory is ours");
        let said = replay(
            &stand.config_file(),
            &[file.to_str().expect("UTF-8"), "--module", "disco", "--format", "json"],
        );
        let report = report(&said);
        let mut bob = stand.connect("disco", Some("bob"));
        bob.run("BEGIN");
        let replies = bob.simple(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        let error = replies.into_iter().find_map(|r| r.error).map(|e| e.sqlstate().to_owned());
        let refused = report["reasons"]
            .as_array()
            .expect("reasons")
            .iter()
            .find(|r| r["verdict"] == "refused");
        let told = refused.and_then(|r| r["sqlstate"].as_str()).map(str::to_owned);
        assert_eq!(told, error, "{sql}: {}", said.text);
        assert_eq!(said.code, Some(if error.is_some() { 65 } else { 0 }), "{sql}");
    }
    let _ = fs::remove_dir_all(directory);
}

#[test]
fn a_saved_catalogue_judges_as_the_database_does_and_undeclared_tables_are_drafted() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let directory = fresh_directory("replay-saved");
    let log = directory.join("statements.sql");
    fs::write(
        &log,
        "SELECT a FROM old_things WHERE a = 7;\nSELECT survey_user_id FROM survey_users;\n",
    )
    .expect("ours");
    let saved = directory.join("catalogue.json");
    let (log, saved) = (log.to_str().expect("UTF-8"), saved.to_str().expect("UTF-8"));
    let mut dba = stand.dba_connection();
    let make = "CREATE TABLE disco.old_things (a int PRIMARY KEY, \"Two words\" varchar(3)); ALTER TABLE disco.old_things OWNER TO disco_owner";
    dba.run(make).good(make);
    let live = replay(&stand.config_file(), &[log, "--module", "disco", "--save-catalog", saved]);
    dba.run("DROP TABLE disco.old_things").good("DROP TABLE");
    assert_eq!(live.code, Some(65), "{}", live.text);
    for line in [
        "[[table]]",
        "name = \"old_things\"",
        "{ name = \"a\", type = \"int4\" },",
        "{ name = \"Two words\", type = \"varchar(3)\" },",
    ] {
        assert!(live.out.contains(line), "no `{line}` in\n{}", live.text);
    }
    let again = replay(&stand.config_file(), &[log, "--module", "disco", "--catalog", saved]);
    assert_eq!((again.code, &again.out), (live.code, &live.out), "{}", again.text);
    let without = replay(&stand.config_file(), &[log, "--module", "disco"]);
    assert!(
        without.out.contains("relation \"old_things\" does not exist"),
        "{}",
        without.text
    );
    let example = workspace().join("config/examples/postern.toml");
    let manifest = replay(&example, &[log, "--module", "disco", "--catalog", "manifest"]);
    assert_eq!(manifest.code, Some(65), "the examples need no database: {}", manifest.text);

    let wrong = replay(&stand.config_file(), &[log, "--module", "disco", "--catalog", log]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.text);
    let wrong = replay(&stand.config_file(), &[log, "--module", "nowhere"]);
    assert_eq!(wrong.code, Some(65), "{}", wrong.text);
    let wrong = replay(&stand.config_file(), &[log, "--map", "x"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.text);
    let wrong = replay(&stand.config_file(), &[log, "--line-prefix", "%u%d"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.text);
    let wrong = replay(&stand.config_file(), &["/nonexistent/log", "--module", "disco"]);
    assert_eq!(wrong.code, Some(73), "{}", wrong.text);
    let _ = fs::remove_dir_all(directory);
}

/// 200 MB of log with each statement different cost no more memory than 20 MB do.
#[test]
fn a_long_log_costs_no_memory() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let directory = fresh_directory("replay-long");
    let log = directory.join("long.jsonl");
    {
        use std::io::Write;
        let mut file = std::io::BufWriter::new(fs::File::create(&log).expect("ours"));
        let filler = "x".repeat(100_000);
        for n in 0..2_000 {
            writeln!(file, "{{\"sql\": \"SELECT '{n}{filler}'\"}}").expect("ours");
        }
    }
    let config = stand.config_file();
    let command = format!(
        "ulimit -v 1500000; exec {} replay --config {} --module disco --catalog manifest --format json {}",
        postern_tests::product::postern().display(),
        config.display(),
        log.display()
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &command])
        .output()
        .expect("bash is there");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("\"statements\": 2000"), "{text}");
    let _ = fs::remove_dir_all(directory);
}
