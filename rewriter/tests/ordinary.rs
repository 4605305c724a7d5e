//! What clients ordinarily send is accepted: by a catalogue that knows nothing, and by a module's own. The statements are in
//! `tests/ordinary/`, one a line; a line `-- who` sets the login for those below it.

#![expect(clippy::unwrap_used, reason = "a test")]

mod desk;

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use desk::{config, judge, on_a_deep_stack};
use postern_config::settings::Enforce;
use postern_rewriter::catalog::Catalog;

/// Statements with the login of each.
fn statements() -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ordinary"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let mut who = "sys_account".to_owned();
        for line in std::fs::read_to_string(&file).unwrap().lines().map(str::trim) {
            match line.strip_prefix("-- ") {
                Some(login) => login.clone_into(&mut who),
                None if line.is_empty() => {}
                None => out.push((who.clone(), line.to_owned())),
            }
        }
    }
    out
}

#[test]
fn ordinary_statements_are_accepted() {
    on_a_deep_stack(|| {
        let config = config();
        let mut refused = String::new();
        let statements = statements();
        for (who, sql) in &statements {
            let schema = &config
                .modules
                .iter()
                .find(|m| who.starts_with(m.module.as_str()))
                .unwrap()
                .schema;
            let open = Catalog::open(schema.clone());
            for (name, catalog) in [("open", Some(&open)), ("own", None)] {
                if let Err(r) = judge(&config, who, sql, catalog, Enforce::Both) {
                    writeln!(refused, "[{name}] {sql}\n    {} {} | {:?}", r.sqlstate, r.message, r.hint).unwrap();
                }
            }
        }
        assert!(statements.len() > 300, "{} statements", statements.len());
        assert!(refused.is_empty(), "{refused}");
    });
}

#[test]
fn deep_nesting_neither_overflows_nor_is_refused_early() {
    on_a_deep_stack(|| {
        let config = config();
        let shapes: Vec<(&str, String)> = vec![
            ("parentheses", format!("SELECT {}1{}", "(".repeat(500), ")".repeat(500))),
            ("NOT", format!("SELECT {} true", "NOT ".repeat(500))),
            ("concatenation", format!("SELECT 'a'{}", " || 'b'".repeat(500))),
            ("sum", format!("SELECT 1{}", " + 1".repeat(500))),
            ("functions", format!("SELECT {}1{}", "abs(".repeat(500), ")".repeat(500))),
            (
                "CASE",
                format!("SELECT {} 1 {}", "CASE WHEN true THEN ".repeat(250), "END ".repeat(250)),
            ),
            ("arrays", format!("SELECT {}1{}", "ARRAY[".repeat(500), "]".repeat(500))),
            ("union", format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(500))),
            (
                "or",
                format!("SELECT 1 FROM roles WHERE id = 'a'{}", " OR id = 'b'".repeat(2000)),
            ),
            ("subqueries", format!("SELECT {}1{}", "(SELECT ".repeat(100), ")".repeat(100))),
            (
                "derived",
                format!("SELECT * FROM {}roles{}", "(SELECT * FROM ".repeat(100), ") x".repeat(100)),
            ),
            (
                "joins",
                format!(
                    "SELECT 1 FROM roles r0{}",
                    (1..300).fold(String::new(), |mut s, i| {
                        write!(s, " JOIN roles r{i} ON r{i}.id = r0.id").unwrap();
                        s
                    })
                ),
            ),
        ];
        for (name, sql) in &shapes {
            assert!(
                judge(&config, "sys_account", sql, None, Enforce::Both).is_ok(),
                "{name}: {:?}",
                judge(&config, "sys_account", sql, None, Enforce::Both).unwrap_err()
            );
        }
        for (name, sql) in [
            ("parentheses", format!("SELECT {}1{}", "(".repeat(50_000), ")".repeat(50_000))),
            ("NOT", format!("SELECT {} true", "NOT ".repeat(50_000))),
            ("concatenation", format!("SELECT 'a'{}", " || 'b'".repeat(50_000))),
            (
                "subqueries",
                format!("SELECT {}1{}", "(SELECT ".repeat(20_000), ")".repeat(20_000)),
            ),
            ("joins", format!("SELECT 1 FROM a{}", " JOIN a ON true".repeat(20_000))),
            ("union", format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(20_000))),
            ("casts", format!("SELECT 1{}", "::int4".repeat(50_000))),
            (
                "subscripts",
                format!("SELECT {}1{}", "ARRAY[".repeat(50_000), "]".repeat(50_000)),
            ),
        ] {
            // Whatever the answer, there is one.
            let _ = judge(&config, "sys_account", &sql, None, Enforce::Both).map(|_| name);
        }
    });
}

#[test]
fn long_lists_take_no_longer_than_they_must() {
    on_a_deep_stack(|| {
        let config = config();
        let rows = |row: &dyn Fn(usize) -> String, n| (0..n).map(row).collect::<Vec<_>>().join(", ");
        let cases = [
            (
                "IN",
                format!(
                    "SELECT id FROM accounts WHERE email IN ({})",
                    rows(&|i| format!("'{i}@x'"), 10_000)
                ),
            ),
            (
                "VALUES, plain",
                format!(
                    "INSERT INTO roles (id, account_id, role, project_id, org_id) VALUES {}",
                    rows(&|i| format!("('r{i}', 'a{i}', {}, 'p', 'o')", i % 4), 1_000)
                ),
            ),
            (
                "VALUES, sealed",
                format!(
                    "INSERT INTO orgs (id, name, contact, account_id, logo_resource_id) VALUES {}",
                    rows(&|i| format!("('o{i}', 'n{i}', '{i}@x', 'a', 'l{i}')"), 1_000)
                ),
            ),
        ];
        // A short text must not become an endless one.
        let many = format!(
            "SELECT 1 FROM roles r{}",
            rows(&|i| format!(", roles r{i}"), 20_000).replace(", ,", ",")
        );
        assert_eq!(
            judge(&config, "sys_account", &many, None, Enforce::Both)
                .unwrap_err()
                .sqlstate,
            "54000"
        );
        for (name, sql) in cases {
            let start = Instant::now();
            let plans = judge(&config, "sys_account", &sql, None, Enforce::Both);
            assert!(plans.is_ok(), "{name}: {:?}", plans.unwrap_err());
            // Milliseconds in a release build; the bound only catches quadratic time.
            assert!(start.elapsed() < Duration::from_secs(10), "{name}: {:?}", start.elapsed());
        }
    });
}

#[test]
fn the_differential_corpus_is_judged_as_it_says() {
    on_a_deep_stack(|| {
        let config = config();
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/differential");
        let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        let mut wrong = String::new();
        for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "sql")) {
            let mut who = String::new();
            let (mut later, mut fails, mut text) = (None::<String>, false, String::new());
            for line in std::fs::read_to_string(file).unwrap().lines() {
                if let Some(comment) = line.strip_prefix("-- ") {
                    match comment.split_once(": ") {
                        Some(("login", login)) => who = login.replace('.', "/"),
                        Some(("later", state)) => later = state.split(' ').next().map(str::to_owned),
                        Some(("fails", _)) => fails = true,
                        _ => {}
                    }
                    continue;
                }
                text.push_str(line);
                text.push('\n');
                if !line.ends_with(';') {
                    continue;
                }
                let sql = std::mem::take(&mut text);
                let (later, fails) = (later.take(), std::mem::take(&mut fails));
                let Some(module) = config
                    .modules
                    .iter()
                    .find(|m| who.split('/').next() == Some(m.module.as_str()))
                else {
                    continue;
                };
                let _ = module;
                match (judge(&config, &who, &sql, None, Enforce::Both), later) {
                    (Err(r), Some(state)) if r.sqlstate == state => {}
                    (Err(r), None) if !fails => {
                        writeln!(wrong, "{} [{who}]: {sql}    {} {}", file.display(), r.sqlstate, r.message).unwrap()
                    }
                    (Err(r), Some(state)) => writeln!(
                        wrong,
                        "{}: {} and not {state}: {sql}    {}",
                        file.display(),
                        r.sqlstate,
                        r.message
                    )
                    .unwrap(),
                    _ => {}
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    });
}

#[test]
fn up_to_the_bound_no_depth_overflows() {
    on_a_deep_stack(|| {
        let config = config();
        let pair = |open: &str, middle: &str, close: &str, n: usize| format!("{}{middle}{}", open.repeat(n), close.repeat(n));
        let shapes: [(&str, &dyn Fn(usize) -> String); 14] = [
            ("scalar subqueries", &|n| pair("SELECT (", "SELECT 1", ")", n)),
            ("derived tables", &|n| pair("SELECT * FROM (", "SELECT 1", ") x", n)),
            ("lateral", &|n| {
                pair("SELECT * FROM generate_series(1, 2) r, LATERAL (", "SELECT 1", ") x", n)
            }),
            ("EXISTS", &|n| pair("SELECT 1 WHERE EXISTS (", "SELECT 1", ")", n)),
            ("IN", &|n| pair("SELECT 1 WHERE 1 IN (", "SELECT 1", ")", n)),
            ("CTEs", &|n| pair("WITH x AS (", "SELECT 1", ") SELECT * FROM x", n)),
            ("unions", &|n| pair("(", "SELECT 1", " UNION SELECT 1)", n)),
            ("joins to the right", &|n| {
                let opened: String = (0..n).map(|i| format!("generate_series(1, 2) r{i} JOIN (")).collect();
                format!(
                    "SELECT 1 FROM {opened}generate_series(1, 2) a JOIN generate_series(1, 3) b ON true{}",
                    ") ON true".repeat(n)
                )
            }),
            ("joins to the left", &|n| {
                let closed: String = (0..n).map(|i| format!(" CROSS JOIN generate_series(1, 3) r{i})")).collect();
                format!("SELECT 1 FROM {}generate_series(1, 3) q{closed}", "(".repeat(n))
            }),
            ("functions", &|n| format!("SELECT {}", pair("abs(", "1", ")", n))),
            ("CASE", &|n| {
                format!("SELECT {}", pair("CASE WHEN true THEN ", "1", " END", n))
            }),
            ("NOT", &|n| format!("SELECT {}true", "NOT ".repeat(n))),
            ("rows", &|n| format!("SELECT {}", pair("ROW(", "1", ")", n))),
            ("AND and OR", &|n| {
                format!("SELECT {}", pair("(true AND (false OR ", "true", "))", n))
            }),
        ];
        for (name, shape) in shapes {
            let accepted = |n: usize| judge(&config, "sys_account", &shape(n), None, Enforce::Both).is_ok();
            let mut n = 100;
            assert!(
                accepted(n),
                "{name}: {:?}",
                judge(&config, "sys_account", &shape(n), None, Enforce::Both).unwrap_err()
            );
            for step in [200, 20] {
                while accepted(n + step) {
                    n += step;
                }
            }
        }
    });
}
