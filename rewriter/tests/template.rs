//! Filling a template is planning the text: for every statement of the project's corpora that has one, with other literals of every
//! kind, and for statements in which a literal decides something.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

mod desk;

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use desk::{asked, on_a_deep_stack, with_guild};
use postern_config::settings::Enforce;
use postern_rewriter::plan::{Plan, Run};
use postern_rewriter::template::{Masked, Template, Variants, mask};
use postern_rewriter::{Ask, plan_batch};

/// A small generator of our own, so that a failure's seed reproduces it anywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n.max(1) as u64).unwrap()
    }

    fn of<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len())]
    }
}

/// Statements of all corpora with the login of each.
fn corpus() -> Vec<(String, String)> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut out = Vec::new();
    for entry in std::fs::read_dir(tests.join("golden")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for case in text.split("\n\n").map(str::trim).filter(|c| !c.is_empty()) {
            let (who, rest) = case.strip_prefix("-- ").unwrap().split_once('\n').unwrap();
            out.push((who.trim().to_owned(), rest.split("\n=>").next().unwrap().to_owned()));
        }
    }
    for entry in std::fs::read_dir(tests.join("ordinary")).unwrap() {
        let mut who = "sys_account".to_owned();
        for line in std::fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            match line.strip_prefix("-- ") {
                Some(login) => login.clone_into(&mut who),
                None => out.push((who.clone(), line.to_owned())),
            }
        }
    }
    let config = with_guild();
    let known = |who: &str| {
        config
            .modules
            .iter()
            .any(|m| who.split('/').next() == Some(m.module.as_str()))
    };
    for entry in std::fs::read_dir(tests.join("../../tests/differential")).unwrap() {
        let (mut who, mut text) = (String::new(), String::new());
        for line in std::fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            if let Some(comment) = line.strip_prefix("-- ") {
                if let Some(login) = comment.strip_prefix("login: ") {
                    who = login.replace('.', "/");
                }
                continue;
            }
            text.push_str(line);
            if line.ends_with(';') {
                let sql = std::mem::take(&mut text);
                if known(&who) {
                    out.push((who.clone(), sql));
                }
            } else {
                text.push('\n');
            }
        }
    }
    out.sort();
    out.dedup();
    out
}

/// The text's literals, by PostgreSQL's own scanner: (start, end, what else could stand there).
fn literals(sql: &str) -> Vec<(usize, usize, &'static [&'static str])> {
    use pg_query::protobuf::Token;
    let tokens = pg_query::scan(sql).unwrap().tokens;
    tokens
        .iter()
        .filter_map(|t| {
            let (start, end) = (usize::try_from(t.start).unwrap(), usize::try_from(t.end).unwrap());
            let others = match t.token() {
                Token::Sconst => STRINGS,
                Token::Iconst => INTEGERS,
                Token::Fconst if sql[start..end].contains('.') => DECIMALS,
                Token::Fconst => BIGINTS,
                _ => return None,
            };
            Some((start, end, others))
        })
        .collect()
}

/// Strings that somebody may look at, misread or fail to quote; as values, not yet quoted.
const STRINGS: &[&str] = &[
    "",
    "a",
    "it's",
    "''",
    "'",
    "\\",
    "\\'",
    "\\\\'; DROP TABLE roles; --",
    "a\\b",
    "$1",
    "$$",
    "--",
    "/* x */",
    "accounts",
    "disco.projects",
    "pg_catalog.pg_class",
    "roles",
    "search_path",
    "t",
    "f",
    "true",
    "NULL",
    "1",
    "0",
    "-1",
    "2147483648",
    "english",
    "day",
    "ü",
    "日本語",
    "\u{1}",
    "\u{2}",
    "\n",
    "a\nb",
    "{a,b}",
    "{}",
    "[1, 2]",
    "postern$x",
    "E'a'",
    "x' UESCAPE '!",
    "\"",
    "2026-01-01",
    "%",
    "_",
    "%'%",
    "\u{feff}",
    "bob",
];

const INTEGERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "7",
    "10",
    "007",
    "00",
    "2147483647",
    "2147483646",
    "65535",
    "1000",
];

const BIGINTS: &[&str] = &[
    "2147483648",
    "2147483649",
    "9223372036854775807",
    "9223372036854775808",
    "4294967296",
    "02147483649",
];

const DECIMALS: &[&str] = &[
    "0.0",
    "0.5",
    "1.50",
    "00.5",
    "10.010",
    "2147483648.0",
    "99999999999999999999.9",
    "0.000000001",
];

fn literal(dice: &mut Dice, others: &[&str]) -> String {
    let other = dice.of(others);
    if others == STRINGS {
        format!("'{}'", other.replace('\'', "''"))
    } else {
        other.to_owned()
    }
}

/// The text with other literals at some places.
fn other(dice: &mut Dice, sql: &str, changes: impl Fn(&mut Dice, usize) -> bool) -> String {
    let mut out = String::new();
    let mut from = 0;
    for (i, (start, end, others)) in literals(sql).into_iter().enumerate() {
        if changes(dice, i) {
            out.push_str(&sql[from..start]);
            out.push_str(&literal(dice, others));
            from = end;
        }
    }
    out + &sql[from..]
}

fn template(sql: &str, ask: &Ask<'_>) -> Option<Template> {
    let mut masked = Masked::default();
    if !mask(sql, &mut masked) {
        return None;
    }
    Template::of(sql, &masked, ask)
}

fn exact(sql: &str, ask: &Ask<'_>) -> Result<Plan, String> {
    let mut plans = plan_batch(sql, ask).map_err(|r| r.message)?;
    match (plans.pop(), plans.pop()) {
        (Some(plan), None) => Ok(plan),
        _ => Err("several".to_owned()),
    }
}

/// What is wrong with filling the template for that text; `None` where it does not take it.
fn fault(template: &Template, sql: &str, ask: &Ask<'_>) -> Option<Result<(), String>> {
    let mut masked = Masked::default();
    if !mask(sql, &mut masked) || !template.takes(&masked) {
        assert!(template.fill(&masked).is_none() && template.fill_plain(&masked).is_none());
        return None;
    }
    let filled = template.fill(&masked).unwrap();
    Some(match exact(sql, ask) {
        Err(e) => Err(format!("filled a text that is refused: {e}")),
        Ok(exact) if exact != filled => Err(format!("exact  {exact:?}\n    filled {filled:?}")),
        Ok(exact) => match (template.fill_plain(&masked), &exact.run) {
            (Some(plain), Run::Once(s)) if plain == s.sql && s.params.is_empty() && s.output.is_none() => Ok(()),
            (None, Run::Once(s)) if !s.params.is_empty() || s.output.is_some() || !s.generate.is_empty() => Ok(()),
            (plain, run) => Err(format!("plain {plain:?} of {run:?}")),
        },
    })
}

#[test]
fn filling_is_planning() {
    on_a_deep_stack(|| {
        let config = with_guild();
        let rounds = std::env::var("POSTERN_MUTATIONS")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(12);
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let (mut wrong, mut with, mut data, mut filled) = (String::new(), 0, 0, 0);
        let mut without = String::new();
        for (who, sql) in corpus() {
            for enforce in [Enforce::Both, Enforce::Rewrite, Enforce::Rls] {
                asked(&config, &who, enforce, |ask| {
                    let mut masked = Masked::default();
                    let planned = exact(&sql, ask);
                    if mask(&sql, &mut masked) && !masked.is_empty() && planned.is_ok() {
                        data += 1;
                    }
                    let Some(template) = template(&sql, ask) else {
                        if mask(&sql, &mut masked) && !masked.is_empty() && planned.is_ok() {
                            writeln!(without, "{}", sql.trim()).unwrap();
                        }
                        return;
                    };
                    with += 1;
                    let count = literals(&sql).len();
                    // Each literal by itself, so that those that had to stay exact do not hide the others.
                    let alone = (0..count).map(|only| other(&mut dice, &sql, |_, i| i == only));
                    let texts: Vec<String> = alone.collect();
                    let some: Vec<String> = (0..rounds)
                        .map(|round| other(&mut dice, &sql, |d, _| round % 2 == 0 || d.below(2) == 0))
                        .collect();
                    for text in std::iter::once(sql.clone()).chain(texts).chain(some) {
                        match fault(&template, &text, ask) {
                            Some(Err(e)) => writeln!(wrong, "[{who}] {sql}\n  as {text}\n    {e}").unwrap(),
                            Some(Ok(())) => filled += 1,
                            None => {}
                        }
                    }
                });
            }
        }
        if std::env::var_os("POSTERN_SHOW").is_some() {
            eprintln!("{without}");
        }
        eprintln!("{with} templates of {data} accepted statements with literals; {filled} fillings compared");
        assert!(wrong.is_empty(), "{wrong}");
        assert!(with * 4 > data * 3, "{with} of {data} had a template");
    });
}

/// How many literals of a text are holes of its template: those that another value may take.
fn open_holes(sql: &str, ask: &Ask<'_>) -> Option<Vec<String>> {
    let template = template(sql, ask)?;
    let mut out = Vec::new();
    for (start, end, others) in literals(sql) {
        let with = match others {
            o if o == STRINGS => "'other'",
            o if o == INTEGERS => "4711",
            o if o == BIGINTS => "4711471147114711",
            _ => "47.11",
        };
        let text = format!("{}{with}{}", &sql[..start], &sql[end..]);
        let mut masked = Masked::default();
        assert!(mask(&text, &mut masked), "{text}");
        if template.takes(&masked) {
            out.push(sql[start..end].to_owned());
        }
    }
    Some(out)
}

#[test]
fn only_literals_that_nobody_looks_at_are_holes() {
    on_a_deep_stack(|| {
        let config = with_guild();
        let mut wrong = String::new();
        for (sql, expected) in [
            // What holes are.
            ("SELECT id FROM roles WHERE id = 'a' AND role > 3", Some(&["'a'", "3"][..])),
            (
                "SELECT id FROM roles WHERE role IN (1, 2) OR role BETWEEN 3 AND 4 OR id LIKE 'a%'",
                Some(&["1", "2", "3", "4", "'a%'"]),
            ),
            ("SELECT 'a', 7, id || 'x' FROM roles", Some(&["'a'", "7", "'x'"])),
            (
                "SELECT CASE WHEN id = 'a' THEN 'b' ELSE 'c' END, coalesce(id, 'd'), ARRAY['e'], lower('f') FROM roles",
                Some(&["'a'", "'b'", "'c'", "'d'", "'e'", "'f'"]),
            ),
            (
                "SELECT * FROM (SELECT id FROM roles WHERE id = 'a') x WHERE EXISTS (SELECT 1 FROM orgs WHERE id = 'b')",
                Some(&["'a'", "1", "'b'"]),
            ),
            (
                "WITH x AS (SELECT id FROM roles WHERE role = 1) SELECT id FROM x WHERE id <> 'a'",
                Some(&["1", "'a'"]),
            ),
            (
                "SELECT id FROM roles WHERE role = 1 UNION ALL SELECT id FROM orgs WHERE id = 'o'",
                Some(&["1", "'o'"]),
            ),
            (
                "UPDATE roles SET role = 2, project_id = 'p' WHERE id = 'r' RETURNING 5",
                Some(&["2", "'p'", "'r'", "5"]),
            ),
            (
                "UPDATE roles SET (role, project_id) = (2, 'p') WHERE id = 'r'",
                Some(&["'r'"]),
            ),
            ("DELETE FROM roles WHERE role = 1", Some(&["1"])),
            (
                "INSERT INTO roles (id, role) VALUES ('a', 1), ('b', 2) ON CONFLICT (id) DO UPDATE SET role = 3 WHERE roles.role = 4",
                Some(&["'a'", "1", "'b'", "2", "3", "4"]),
            ),
            ("SELECT id FROM accounts WHERE email = 'a@b'", Some(&["'a@b'"])),
            (
                "INSERT INTO accounts (id, email, password) VALUES ('a', 'b', 'c')",
                Some(&["'a'", "'b'", "'c'"]),
            ),
            ("UPDATE accounts SET email = 'b' WHERE id = 'a'", Some(&["'b'", "'a'"])),
            (
                "SELECT id FROM roles WHERE role > 1.50 AND role < 5000000000 AND role <> -2.5 AND role <> - 6000000000",
                Some(&["1.50", "5000000000", "2.5", "6000000000"]),
            ),
            (
                "INSERT INTO roles (id, role) VALUES ('a', 00.5), ('b', 9223372036854775808), ('c', 2147483648), ('d', -2147483648)",
                Some(&["'a'", "'b'", "'c'", "'d'"]),
            ),
            (
                "INSERT INTO accounts (id, email) VALUES ('a', 1.50), ('b', -1.50), ('c', 5000000000), ('d', -6)",
                Some(&["'a'", "1.50", "'b'", "1.50", "'c'", "5000000000", "'d'", "6"]),
            ),
            ("SELECT 'a', 1.5::numeric, 5000000000::int8, -0.0, - 0", Some(&["'a'"])),
            // What must stay exact beside them.
            ("SELECT id FROM roles WHERE id = 'a' LIMIT 5 OFFSET 6", Some(&["'a'"])),
            ("SELECT id FROM roles WHERE id = 'a' ORDER BY 1", Some(&["'a'"])),
            (
                "SELECT role, count(*) FROM roles WHERE id = 'a' GROUP BY 1 HAVING count(*) > 2",
                Some(&["'a'", "2"]),
            ),
            (
                "SELECT DISTINCT ON (1) id FROM roles WHERE id = 'a' FETCH FIRST 3 ROWS ONLY",
                Some(&["'a'"]),
            ),
            (
                "SELECT sum(role) OVER (ORDER BY role ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING) FROM roles WHERE id = 'a'",
                Some(&["'a'"]),
            ),
            ("SELECT id FROM roles WHERE id = 'a' AND role = -1", Some(&["'a'", "1"])),
            (
                "SELECT id FROM roles WHERE id = 'a' AND role = - 1 AND role <> -(2)",
                Some(&["'a'", "1"]),
            ),
            (
                "SELECT id FROM roles WHERE id = 'a' AND role = +1 AND role = 5-1",
                Some(&["'a'", "1", "5", "1"]),
            ),
            (
                "SELECT 'a', '1'::int, 'x'::name, 2::text, CAST('3' AS numeric(10,2)) FROM roles",
                Some(&["'a'", "'1'", "2", "'3'"]),
            ),
            (
                "SELECT 'a', date '2020-01-01', interval '1' year, interval(3) '1 s', float8 '1'",
                Some(&["'a'", "'2020-01-01'", "'1'"]),
            ),
            (
                "SELECT 'a', 'roles'::regclass, 't'::bool, 'f'::pg_catalog.bool",
                Some(&["'a'"]),
            ),
            (
                "SELECT 'a', 'x' COLLATE \"C\", ('{1,2}'::int[])[1], 'b' IS NULL",
                Some(&["'a'"]),
            ),
            ("SELECT 'a', current_setting('timezone')", Some(&["'a'"])),
            (
                "SELECT to_tsvector('english', 'x'), to_tsquery('y'), ts_headline('d', to_tsquery('z'))",
                Some(&["'x'", "'y'", "'z'"]),
            ),
            (
                "SELECT 'a', extract(year FROM created_at), extract('year' FROM created_at), created_at AT TIME ZONE 'UTC' FROM roles",
                Some(&["'a'"]),
            ),
            (
                "SELECT 'a', substring(id FROM 1 FOR 2), position('x' IN id), trim('y' FROM id), overlay(id PLACING 'z' FROM 1) FROM roles",
                Some(&["'a'"]),
            ),
            ("SELECT id FROM roles WHERE id LIKE 'a' ESCAPE '!' OR id SIMILAR TO 'b'", None),
            ("SELECT id FROM roles TABLESAMPLE SYSTEM (10) WHERE id = 'a'", Some(&["'a'"])),
            (
                "SELECT has_table_privilege('roles', 'select'), to_regclass('roles'), 'a'",
                Some(&["'a'"]),
            ),
            (
                "SELECT jsonb_path_query('{}', '$.a'), '{}'::jsonb -> 'b' #> '{c}'",
                Some(&["'{}'", "'$.a'", "'{}'", "'b'", "'{c}'"]),
            ),
            (
                "SELECT 'a', 'b'::text IS NULL, 5::int IS NOT NULL, 'x'::text::uuid, ARRAY['y']::text[], '{z}'::int[]",
                Some(&["'a'", "'x'", "'y'", "'{z}'"]),
            ),
            (
                "SELECT 'a', 'b'::char, 'c'::bpchar, '(1,2)'::point, 'd'::\"char\", '1'::oid, '1'::interval(3), '1'::interval, '1'::bit",
                Some(&["'a'", "'1'"]),
            ),
            (
                "SELECT 'a', -5::int, (-6)::int, CAST(-7 AS text), - -8, -0, -(-9)",
                Some(&["'a'", "5"]),
            ),
            (
                "INSERT INTO roles (id, role) VALUES ('a', -1), ('b', - 2)",
                Some(&["'a'", "1", "'b'", "2"]),
            ),
            (
                "SELECT id FROM accounts WHERE email = 'a'::text AND email <> 'b'::varchar",
                Some(&["'a'", "'b'"]),
            ),
            (
                "SELECT to_tsvector('english'::text, 'x'), to_tsvector('english'::regconfig, 'y')",
                Some(&["'x'", "'y'"]),
            ),
            // What has none.
            ("SELECT id FROM roles LIMIT 5", None),
            ("SELECT id FROM roles ORDER BY 1", None),
            ("SELECT 'roles'::regclass", None),
            ("SELECT set_config('search_path', '', false)", None),
            ("SELECT set_config('role', 'x', false)", None),
            ("SELECT current_setting('timezone')", None),
            ("SELECT current_setting('data_directory')", None),
            ("SELECT nextval('roles_id_seq')", None),
            ("SELECT postern.set_token('x')", None),
            ("SELECT pg_sleep(0)", None),
            ("SELECT 1; SELECT 2", None),
            ("SELECT pg_read_file('x')", None),
            ("SELECT id FROM disco.projects WHERE id = 'a'", None),
            ("SELECT id INTO x FROM roles WHERE id = 'a'", None),
            // Row by row: what it seals depends on rows that must be read.
            ("UPDATE accounts SET email = 'b' WHERE disabled = 'a'", None),
            // Kinds that do not suit the column: PostgreSQL's or the judge's own error, each time.
            ("SELECT id FROM accounts WHERE email = 5", None),
            ("SELECT id FROM accounts WHERE email < 'a'", None),
            ("SELECT id FROM accounts WHERE email LIKE 'a'", None),
            ("SELECT password FROM accounts WHERE id = 'a'", None),
        ] {
            let got = asked(&config, "sys_account", Enforce::Both, |ask| open_holes(sql, ask));
            let expected = expected.map(|e| e.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
            if got != expected {
                let refused = asked(&config, "sys_account", Enforce::Both, |ask| exact(sql, ask).err());
                writeln!(
                    wrong,
                    "{sql}\n    expected {expected:?}\n    got {got:?} {}",
                    refused.unwrap_or_default()
                )
                .unwrap();
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    });
}

#[test]
fn variants_of_one_key_differ_in_what_is_exact() {
    on_a_deep_stack(|| {
        let config = with_guild();
        asked(&config, "sys_account", Enforce::Both, |ask| {
            let mut variants = Variants::default();
            let mut masked = Masked::default();
            let text = |id: &str, limit: usize| format!("SELECT id FROM roles WHERE id = '{id}' LIMIT {limit}");
            for limit in 1..=20 {
                assert!(mask(&text("a", limit), &mut masked));
                assert!(variants.find(&masked).is_none());
                assert_eq!(variants.is_full(), limit > 8);
                variants.add(Template::of(&text("a", limit), &masked, ask).unwrap().into());
                assert!(mask(&text("b", limit), &mut masked));
                let Some(found) = variants.find(&masked) else {
                    assert!(limit > 8);
                    continue;
                };
                assert_eq!(found.key(), masked.key());
                let filled = found.fill_plain(&masked).unwrap();
                assert!(filled.sql().contains("'b'") && filled.sql().ends_with(&format!("LIMIT {limit}")));
            }
            assert!(variants.weight() < 8 * 8192);
        });
    });
}

#[test]
fn a_template_takes_no_other_text() {
    on_a_deep_stack(|| {
        let config = with_guild();
        asked(&config, "sys_account", Enforce::Both, |ask| {
            let mut masked = Masked::default();
            let own = "SELECT id FROM roles WHERE id = 'a'";
            assert!(mask(own, &mut masked));
            let template = Template::of(own, &masked, ask).unwrap();
            for sql in [
                "SELECT id FROM roles WHERE id = 1",
                "SELECT id FROM roles WHERE id =  'a'",
                "SELECT id FROM roles WHERE id = 'a' ",
                "SELECT id FROM roles WHERE id = 'a'::text",
                "SELECT id FROM roles WHERE id = 'a', 'b'",
                "SELECT id FROM ROLES WHERE id = 'a'",
            ] {
                assert!(mask(sql, &mut masked), "{sql}");
                assert!(
                    template.fill(&masked).is_none() && template.fill_plain(&masked).is_none(),
                    "{sql}"
                );
                // The literals of another text.
                assert!(Template::of(own, &masked, ask).is_none(), "{sql}");
            }
            // `-0` is printed as `0`, where every other number keeps its sign.
            let negative = "SELECT id FROM roles WHERE role = -7";
            assert!(mask(negative, &mut masked));
            let template = Template::of(negative, &masked, ask).unwrap();
            assert!(mask("SELECT id FROM roles WHERE role = -0", &mut masked) && template.fill_plain(&masked).is_none());
            assert!(mask("SELECT id FROM roles WHERE role = -2147483647", &mut masked));
            assert!(template.fill_plain(&masked).unwrap().sql().ends_with("= -2147483647"));
            assert!(
                !mask("SELECT id FROM roles WHERE role = -2147483648", &mut masked) || template.fill_plain(&masked).is_none()
            );
            // Nor one longer than what is planned.
            let short = Ask {
                max_sql_bytes: 40,
                ..*ask
            };
            assert!(mask(own, &mut masked));
            let template = Template::of(own, &masked, &short).unwrap();
            let longer = own.replace("'a'", "'aaaaaaaa'");
            assert!(mask(&longer, &mut masked));
            assert!(exact(&longer, &short).is_err() && template.fill(&masked).is_none());
        });
    });
}

/// Nanoseconds of one call.
fn ns(mut f: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..10 {
        let (start, mut calls) = (Instant::now(), 0);
        while calls < 10_000 && start.elapsed() < Duration::from_millis(5) {
            (0..20).for_each(|_| f());
            calls += 20;
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }
    best
}

/// `cargo test --release -p postern-rewriter --test template -- --ignored --nocapture`
#[test]
#[ignore = "prints figures"]
fn what_each_step_costs() {
    on_a_deep_stack(|| {
        use std::hash::BuildHasher;
        let config = with_guild();
        let hasher = std::hash::RandomState::new();
        for sql in [
            "SELECT id, role, project_id FROM roles WHERE id = 'acc-4711';",
            "SELECT r.id, p.name, o.name FROM roles r JOIN projects p ON p.id = r.project_id JOIN orgs o ON o.id = p.org_id \
             WHERE r.account_id = 'acc-00017' AND r.role >= 2 AND o.name <> 'Some Organisation' ORDER BY r.id LIMIT 20",
            "INSERT INTO roles (id, account_id, role, project_id, org_id) VALUES ('r-1', 'acc-1', 2, 'p-1', 'o-1')",
            "UPDATE roles SET role = 3 WHERE id = 'r-1'",
            "SELECT id, email FROM accounts WHERE email = 'bob@people.example'",
        ] {
            asked(&config, "sys_account", Enforce::Both, |ask| {
                let mut masked = Masked::default();
                assert!(mask(sql, &mut masked));
                let template = Template::of(sql, &masked, ask).unwrap();
                let mut again = Masked::default();
                eprintln!(
                    "{} bytes, {} upstream, plain {}: scan by PostgreSQL {:.0} ns, mask {:.0}, hash {:.0}, fill_plain {:.0}, fill {:.0}; plan {:.0}, template {:.0}; weight {}",
                    sql.len(),
                    template.fill(&masked).map_or(0, |p| match p.run {
                        Run::Once(s) => s.sql.sql().len(),
                        _ => 0,
                    }),
                    template.is_plain(),
                    ns(|| drop(black_box(pg_query::scan(black_box(sql)).unwrap()))),
                    ns(|| assert!(mask(black_box(sql), black_box(&mut again)))),
                    ns(|| assert!(black_box(hasher.hash_one(black_box(masked.key()))) != 1)),
                    ns(|| drop(black_box(template.fill_plain(black_box(&masked))))),
                    ns(|| drop(black_box(template.fill(black_box(&masked))))),
                    ns(|| drop(black_box(plan_batch(black_box(sql), ask).unwrap()))),
                    ns(|| drop(black_box(Template::of(sql, &masked, ask)))),
                    template.weight(),
                );
            });
        }
    });
}

/// The names in a list of the rewriter's.
fn names(file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// For every type, function and syntax that takes a literal: what is decided for one literal, is decided for all.
#[test]
fn no_type_and_no_function_decides_by_a_literal() {
    on_a_deep_stack(|| {
        let config = with_guild();
        let mut texts = Vec::new();
        for ty in names("types.txt")
            .iter()
            .map(String::as_str)
            .chain(["char", "\"char\"", "regclass", "pg_catalog.bool"])
        {
            for form in [
                "'a'::?",
                "7::?",
                "7.5::?",
                "5000000000::?",
                "CAST('a' AS ?)",
                "'a'::?[]",
                "'a'::?::text",
                "? 'a'",
                "('a'::?) IS NULL",
            ] {
                texts.push(format!("SELECT {}", form.replace('?', ty)));
            }
        }
        let mut functions = names("functions.txt");
        functions.extend(names("builtin_functions.txt"));
        functions.extend(names("catalogue_functions.txt"));
        functions.sort();
        functions.dedup();
        let types = texts.len();
        let all = std::env::var_os("POSTERN_MUTATIONS").is_some();
        let forms: &[&str] = if all {
            &["'a'", "7", "'a', 'b'", "7, 'b'", "id, 'b', 7"]
        } else {
            &["'a'", "7, 'b'"]
        };
        for name in &functions {
            for arguments in forms {
                texts.push(format!("SELECT {name}({arguments}) FROM roles"));
            }
            texts.push(format!("SELECT pg_catalog.{name}('a', 7, 'c') FROM roles"));
        }
        let decisive = [
            "t",
            "f",
            "",
            "roles",
            "pg_class",
            "english",
            "search_path",
            "timezone",
            "a\\b",
            "sys_account",
            "int4",
            "-",
            "0",
        ];
        let (mut wrong, mut with, mut filled) = (String::new(), 0, 0);
        asked(&config, "sys_account", Enforce::Both, |ask| {
            for (i, sql) in texts.iter().enumerate() {
                let Some(template) = template(sql, ask) else { continue };
                with += 1;
                let count = literals(sql).len();
                for only in 0..count {
                    // Of the many functions each meets some of them.
                    let some = if all || i < types { decisive.len() } else { 2 };
                    for other in decisive.iter().cycle().skip(i + only).take(some) {
                        let (start, end, others) = literals(sql)[only];
                        let literal = if others == STRINGS {
                            format!("'{other}'")
                        } else {
                            INTEGERS[other.len()].to_owned()
                        };
                        let text = format!("{}{literal}{}", &sql[..start], &sql[end..]);
                        match fault(&template, &text, ask) {
                            Some(Err(e)) => writeln!(wrong, "{sql}\n  as {text}\n    {e}").unwrap(),
                            Some(Ok(())) => filled += 1,
                            None => {}
                        }
                    }
                }
            }
        });
        eprintln!("{with} templates of {} statements; {filled} fillings compared", texts.len());
        assert!(wrong.is_empty(), "{wrong}");
        assert!(with > 1_000, "only {with}");
    });
}

/// Words that move a literal to where it means something else.
const WORDS: &[&str] = &[
    "'a'",
    "'roles'",
    "'t'",
    "7",
    "0",
    "-",
    "- 1",
    "(",
    ")",
    ",",
    "::text",
    "::regclass",
    "::bool",
    "::int[]",
    "::numeric(10,2)",
    "date",
    "interval",
    "COLLATE",
    "IS NULL",
    "IS NOT NULL",
    "LIMIT",
    "OFFSET",
    "ORDER BY",
    "GROUP BY",
    "DISTINCT",
    "IN",
    "(1, 2)",
    "ANY",
    "ARRAY[1]",
    "AND",
    "OR",
    "NOT",
    "LIKE",
    "ESCAPE",
    "BETWEEN",
    "1 AND 2",
    "=",
    "<>",
    "||",
    "+",
    "CASE WHEN true THEN",
    "ELSE",
    "END",
    "lower(",
    "coalesce(",
    "count(",
    "nextval(",
    "current_setting(",
    "to_tsvector(",
    "RETURNING",
    "email",
    "email =",
    "password",
    "id",
    "id =",
    "WHERE",
    "UNION ALL SELECT",
    "SELECT",
    "EXISTS (SELECT 1",
    "FROM accounts",
    "VALUES",
    "SET",
    "AS x",
    "FILTER (WHERE",
    "OVER (ORDER BY",
    "AT TIME ZONE",
    "extract(year FROM",
    "FETCH FIRST",
    "ROWS ONLY",
];

/// Expressions to put in the place of one, `?`.
const EXPRESSIONS: &[&str] = &[
    "'a'",
    "5",
    "-5",
    "- 5",
    "-(5)",
    "+5",
    "(- -5)",
    "0",
    "-0",
    "(?)",
    "(SELECT ?)",
    "(SELECT 'a')",
    "(SELECT ? LIMIT 1)",
    "coalesce(?, 'a')",
    "CASE WHEN ? = 'a' THEN ? ELSE 'b' END",
    "CASE ? WHEN 'a' THEN 1 ELSE 2 END",
    "nullif(?, 'a')",
    "greatest(?, 'a')",
    "lower(?)",
    "lower('a')",
    "? || 'a'",
    "? + 1",
    "? - 1",
    "? -1",
    "?::text",
    "'a'::text",
    "'5'::int",
    "5::int",
    "-5::int",
    "(-5)::int",
    "5::text",
    "CAST(? AS text)",
    "CAST('5' AS numeric(10, 2))",
    "'t'::bool",
    "'a'::bool",
    "'a'::bpchar",
    "date '2026-01-01'",
    "interval '1 day'",
    "interval '1' day",
    "'roles'::regclass",
    "?::regclass",
    "'roles'::regclass::text",
    "'a' COLLATE \"C\"",
    "? COLLATE \"C\"",
    "'a' IS NULL",
    "(? IS NULL)",
    "('a'::text IS NOT NULL)",
    "(? = 'a')",
    "(? IN ('a', 'b'))",
    "(? BETWEEN 'a' AND 'b')",
    "(? LIKE 'a%')",
    "(? LIKE 'a!%' ESCAPE '!')",
    "(? SIMILAR TO 'a')",
    "(? IS DISTINCT FROM 'a')",
    "(? = ANY (ARRAY['a', 'b']))",
    "(? = ANY ('{a,b}'))",
    "(? = ANY ('{a,b}'::text[]))",
    "(? <> ALL (ARRAY['a']))",
    "(ARRAY[1, 2])[1]",
    "ROW(?, 1)",
    "(?, 'a') = ('b', 2)",
    "extract(year FROM date '2026-01-01')",
    "date_trunc('day', now())",
    "now() AT TIME ZONE 'UTC'",
    "substring(? FROM 1 FOR 2)",
    "substring('abc', 1, 2)",
    "position('a' IN ?)",
    "trim(both 'x' FROM ?)",
    "overlay(? PLACING 'x' FROM 1)",
    "to_tsvector('english', ?)",
    "to_tsquery('a')",
    "to_char(now(), 'YYYY')",
    "nextval('mod_events_id_seq')",
    "current_setting('timezone')",
    "count(?) FILTER (WHERE 'a' = 'b')",
    "sum(1) OVER (ORDER BY 1 ROWS 2 PRECEDING)",
    "string_agg(?, ',' ORDER BY 1)",
    "percentile_cont(1) WITHIN GROUP (ORDER BY 1)",
    "'{}'::jsonb -> 'a'",
    "jsonb_path_exists('{}', '$.a')",
    "jsonb_build_object('a', ?)",
    "format('%s', ?)",
    "EXISTS (SELECT 1 FROM accounts WHERE email = 'a')",
    "email",
    "id",
    "1.5",
    "-1.5",
    "- 0.50",
    "-0.0",
    "5000000000",
    "-5000000000",
    "-2147483648",
    "-(1.5)",
    "1.5::numeric",
    "-1.5::numeric(10,2)",
    "5000000000::text",
    "E'a'",
    "NULL",
    "DEFAULT",
    "true",
    "2147483648",
    "x'1f'",
    "now()",
    "random()",
];

fn mutated(dice: &mut Dice, seed: &str, donor: &str) -> String {
    let words = |sql: &str| -> Vec<String> {
        let tokens = pg_query::scan(sql).map(|s| s.tokens).unwrap_or_default();
        let text = |t: &pg_query::protobuf::ScanToken| sql.get(usize::try_from(t.start).ok()?..usize::try_from(t.end).ok()?);
        tokens.iter().filter_map(text).map(str::to_owned).collect()
    };
    let (mut own, other) = (words(seed), words(donor));
    for _ in 0..=dice.below(2) {
        let at = dice.below(own.len() + 1);
        match dice.below(12) {
            0 if at < own.len() => drop(own.remove(at)),
            1 if at < own.len() => own[at] = dice.of(WORDS).to_owned(),
            2 if at < own.len() => {
                let to = dice.below(own.len());
                own.swap(at, to);
            }
            3 if !other.is_empty() => {
                let from = dice.below(other.len());
                let to = (from + 1 + dice.below(8)).min(other.len());
                own.splice(at..at, other[from..to].iter().cloned());
            }
            4 => own.insert(at, dice.of(WORDS).to_owned()),
            // Another expression for a literal or a name.
            _ => {
                let operand = |w: &&mut String| {
                    let first = w.bytes().next().unwrap_or(b' ');
                    first.is_ascii_digit() || matches!(first, b'\'' | b'a'..=b'z')
                };
                let count = own.iter_mut().filter(operand).count();
                if let Some(word) = own.iter_mut().filter(operand).nth(dice.below(count)) {
                    *word = dice.of(EXPRESSIONS).replace('?', word);
                }
            }
        }
    }
    own.join(" ")
}

#[test]
fn filling_is_planning_for_statements_made_at_random() {
    on_a_deep_stack(|| {
        let config = with_guild();
        let seeds: Vec<(String, String)> = corpus()
            .into_iter()
            .filter(|(_, sql)| mask(sql, &mut Masked::default()) && sql.len() < 500)
            .collect();
        let rounds = std::env::var("POSTERN_MUTATIONS")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(6_000);
        let seed = std::env::var("POSTERN_SEED")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0x1234_5678_9abc_def1);
        let mut dice = Dice(seed);
        let (mut wrong, mut with, mut filled) = (String::new(), 0, 0);
        for round in 0..rounds {
            let (who, sql) = &seeds[dice.below(seeds.len())];
            let donor = &seeds[dice.below(seeds.len())].1;
            let text = mutated(&mut dice, sql, donor);
            let enforce = if round % 2 == 0 { Enforce::Both } else { Enforce::Rewrite };
            asked(&config, who, enforce, |ask| {
                let Some(template) = template(&text, ask) else { return };
                with += 1;
                for i in 0..6 {
                    let one = dice.below(8);
                    let text = other(&mut dice, &text, |_, n| i % 2 == 0 || n == one);
                    match fault(&template, &text, ask) {
                        Some(Err(e)) => writeln!(wrong, "[{who}] {text}\n    {e}").unwrap(),
                        Some(Ok(())) => filled += 1,
                        None => {}
                    }
                }
            });
        }
        eprintln!("{with} templates of {rounds} statements made at random; {filled} fillings compared");
        assert!(wrong.is_empty(), "{wrong}");
        assert!(filled > rounds / 10, "only {filled} of {rounds}");
    });
}
