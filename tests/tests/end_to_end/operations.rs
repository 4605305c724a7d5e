//! What an operator sees: metrics, health, logs that hold nothing, `explain`, and a proxy that stays up.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use postern_tests::product::{postern, run_postern};
use postern_tests::stand::{Stand, tail};
use serde_json::Value;

fn get(url: &str) -> (u16, String) {
    let rest = url.strip_prefix("http://").expect("an http URL");
    let (address, path) = rest.split_once('/').expect("a path");
    let mut stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{url}: {e}"));
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a deadline can be set");
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap_or_else(|e| panic!("{url}: {e}"));
    let status = answer
        .split_whitespace()
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| panic!("{url}: {answer}"));
    (
        status,
        answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
            .unwrap_or_default(),
    )
}

/// The sum of a metric's samples.
fn metric(page: &str, part: &str) -> f64 {
    let samples = page.lines().filter(|l| !l.starts_with('#') && l.contains(part));
    samples.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn metrics_and_health() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let base = stand
        .metrics_url()
        .strip_suffix("/metrics")
        .expect("the URL of /metrics")
        .to_owned();
    assert_eq!(get(&format!("{base}/healthz")).0, 200);
    assert_eq!(get(&format!("{base}/readyz")).0, 200);
    assert_eq!(get(&format!("{base}/no-such-page")).0, 404);
    let (status, before) = get(stand.metrics_url());
    assert_eq!(status, 200);
    let mut c = stand.connect("sys_account", Some("bob"));
    for _ in 0..5 {
        c.run("SELECT email FROM accounts WHERE id = 'bob'").good("a query");
    }
    c.run("SELECT * FROM chat.messages");
    let (_, after) = get(stand.metrics_url());
    for part in ["quer", "refus", "open"] {
        assert!(
            metric(&after, part) > metric(&before, part),
            "no metric about `{part}` grew:\n{after}"
        );
    }
    for part in ["seal", "cache", "seconds_bucket", "connection"] {
        assert!(after.lines().any(|l| l.contains(part)), "no metric about `{part}`:\n{after}");
    }
    for secret in ["bob@people.example", "messages", "email"] {
        assert!(!after.contains(secret), "the metrics say `{secret}`");
    }
}

#[test]
fn logs_hold_no_literal_parameter_or_row() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let marks = [
        "Qz7literalMark",
        "Qz7parameterMark",
        "Qz7refusedMark",
        "Qz7syntaxMark",
        "Qz7rowMark",
    ];
    let mut c = stand.connect("evilmod", None);
    c.run(&format!("SELECT id FROM notes WHERE body = '{}'", marks[0]))
        .good("a literal");
    c.extended("SELECT id FROM notes WHERE body = $1", &[Some(marks[1])], 0)
        .unwrap_or_else(|e| panic!("{e}"));
    c.run(&format!("SELECT * FROM sys_account.accounts WHERE id = '{}'", marks[2]));
    c.run(&format!("SELECT '{}' FROM", marks[3]));
    c.run("BEGIN").good("BEGIN");
    c.run(&format!(
        "INSERT INTO notes (id, body) VALUES ('{}', 'x') RETURNING id",
        marks[4]
    ))
    .good("a row");
    c.run(&format!("SELECT '{}'::int", marks[4]));
    c.run("ROLLBACK").good("ROLLBACK");
    let (log, trail) = (stand.log_text(), stand.audit_text());
    for mark in marks {
        assert!(!log.contains(mark), "the log holds {mark}:\n{}", tail(&log));
        assert!(!trail.contains(mark), "the audit trail holds {mark}:\n{}", tail(&trail));
    }
}

#[test]
fn a_superadmins_reason_is_in_the_audit_trail() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    stand
        .connect("sys_account", Some("root"))
        .run("SELECT count(*) FROM accounts")
        .good("a query");
    let seen = postern_tests::stand::eventually(Duration::from_secs(5), || {
        stand.audit_text().contains("end-to-end test").then_some(())
    });
    assert!(
        seen.is_some(),
        "the trail does not say why a superadmin came:\n{}",
        tail(&stand.audit_text())
    );
}

#[test]
fn explain_says_what_becomes_of_a_statement() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let config = stand.config_file();
    let config = config.to_str().expect("UTF-8");
    let base = ["explain", "--config", config, "--module", "sys_account", "--as", "bob"];
    let ask = |sql: &str| run_postern(&[&base[..], &[sql]].concat());
    let output = ask("SELECT email FROM accounts WHERE email = 'Qz7secretMark'");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("sys_account.accounts") && text.contains("email"), "{text}");
    assert!(text.contains("self"), "no policy is named: {text}");
    assert!(
        !text.contains("Qz7secretMark"),
        "a literal for a protected column is shown: {text}"
    );
    let refused = ask("SELECT * FROM disco.survey_users");
    assert!(!refused.status.success());
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&refused.stdout),
        String::from_utf8_lossy(&refused.stderr)
    );
    assert!(said.contains("42P01"), "{said}");
}

#[test]
fn explain_batch_answers_line_for_line() {
    let statements = [
        ("SELECT a FROM t", "allow"),
        ("SELECT a FROM s.t WHERE b = 'x'", "allow"),
        ("COPY t TO PROGRAM 'cat'", "refuse"),
        ("SELECT pg_read_file('x')", "refuse"),
        ("SELEC", "refuse"),
        ("INSERT INTO t VALUES (1)", "allow"),
    ];
    let mut child = Command::new(postern())
        .args(["explain", "--batch", "--catalog", "none"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("postern can be started");
    let mut stdin = child.stdin.take().expect("piped");
    for (sql, _) in statements {
        writeln!(stdin, "{}", Value::String(sql.to_owned())).expect("written");
    }
    drop(stdin);
    let output = child.wait_with_output().expect("postern ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect();
    assert_eq!(lines.len(), statements.len());
    for ((sql, verdict), line) in statements.iter().zip(&lines) {
        assert_eq!(line["verdict"], *verdict, "{sql}: {line}");
        for key in ["verdict", "sqlstate", "reason", "hint", "sql", "relations"] {
            assert!(line.get(key).is_some(), "{sql}: no `{key}` in {line}");
        }
        if *verdict == "refuse" {
            assert_eq!(line["sqlstate"].as_str().map(str::len), Some(5), "{line}");
        }
    }
    assert_eq!(lines[1]["relations"], serde_json::json!(["s.t"]));
}

#[test]
fn provisioning_again_changes_nothing() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let fingerprint = "SELECT md5(string_agg(x, E'\\n' ORDER BY x)) FROM ( \
        SELECT n.nspname || c.relname || c.relkind::text || c.relowner::regrole::text || coalesce(c.relacl::text, '') || c.relrowsecurity || c.relforcerowsecurity AS x \
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
        UNION ALL SELECT polname || polrelid::regclass::text || coalesce(pg_get_expr(polqual, polrelid), '') || coalesce(pg_get_expr(polwithcheck, polrelid), '') FROM pg_policy \
        UNION ALL SELECT rolname || rolcanlogin || rolsuper || rolbypassrls FROM pg_roles \
        UNION ALL SELECT p.oid::regprocedure::text || md5(p.prosrc) FROM pg_proc p WHERE p.pronamespace = 'postern'::regnamespace) f";
    let mut dba = stand.dba_connection();
    // The second proxy's provisioning has been done once before; start from there.
    let config = stand.gate().config.clone();
    let before = dba.run(fingerprint).good("a fingerprint").scalar();
    let config = config.to_str().expect("UTF-8");
    for _ in 0..2 {
        let output = run_postern(&["provision", "--config", config]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(dba.run(fingerprint).good("a fingerprint").scalar(), before);
    assert_eq!(
        stand
            .connect("sys_account", Some("bob"))
            .run("SELECT email FROM accounts")
            .scalar()
            .as_deref(),
        Some("bob@people.example"),
        "what was sealed before opens after"
    );
    let dry = run_postern(&["provision", "--config", config, "--dry-run"]);
    let text = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(dry.status.success() && !text.trim().is_empty(), "{text}");
    for file in std::fs::read_dir(stand.secrets_dir())
        .expect("the secrets' directory")
        .flatten()
    {
        let secret = std::fs::read_to_string(file.path()).unwrap_or_default();
        let secret = secret.trim();
        assert!(
            secret.len() < 16 || secret.contains('\n') || !text.contains(secret),
            "{} is printed",
            file.path().display()
        );
    }
}

/// DDL by a migrator and by the lab, with plain columns, is seen at once by those who may use it.
#[test]
fn new_tables_can_be_used_at_once() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut lab = stand.connect("lab", None);
    for sql in [
        "CREATE TABLE e2e_things (id bigserial PRIMARY KEY, name text NOT NULL, at timestamptz DEFAULT now())",
        "CREATE INDEX e2e_name ON e2e_things (name)",
        "INSERT INTO e2e_things (name) VALUES ('a'), ('b')",
        "CREATE VIEW e2e_view AS SELECT id, upper(name) AS name FROM e2e_things",
        "ALTER TABLE e2e_things ADD COLUMN extra int DEFAULT 5",
        "CREATE SEQUENCE e2e_seq START 10",
        "CREATE TEMPORARY TABLE e2e_temp (n int)",
        "INSERT INTO e2e_temp SELECT extra FROM e2e_things",
    ] {
        lab.run(sql).good(sql);
    }
    assert_eq!(
        lab.run("SELECT string_agg(name, ',' ORDER BY id) FROM e2e_view")
            .good("a view")
            .scalar()
            .as_deref(),
        Some("A,B")
    );
    assert_eq!(
        lab.run("SELECT sum(n) FROM e2e_temp")
            .good("a temporary table")
            .scalar()
            .as_deref(),
        Some("10")
    );
    assert_eq!(
        lab.run("SELECT nextval('e2e_seq')").good("a sequence").scalar().as_deref(),
        Some("10")
    );
    let mut other = stand.connect("lab", None);
    assert_eq!(
        other
            .run("SELECT sum(extra) FROM e2e_things")
            .good("another session")
            .scalar()
            .as_deref(),
        Some("10")
    );
    assert_eq!(
        other.run("SELECT * FROM e2e_temp").sqlstate(),
        "42P01",
        "a temporary table is its session's own"
    );
    assert_eq!(
        stand.connect("evilmod", None).run("SELECT * FROM lab.e2e_things").sqlstate(),
        "42P01"
    );
    for sql in ["DROP VIEW e2e_view", "DROP TABLE e2e_things", "DROP SEQUENCE e2e_seq"] {
        lab.run(sql).good(sql);
    }
    assert_eq!(
        other.run("SELECT * FROM e2e_things").sqlstate(),
        "42P01",
        "a dropped table is gone for others too"
    );
}
