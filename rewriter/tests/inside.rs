//! Which of the client's comparisons are copied beneath a table's filter: each that is, and the twins that are not.

#![expect(clippy::unwrap_used, reason = "a test")]

mod desk;

use desk::{asked, config, judge, on_a_deep_stack};
use postern_config::settings::Enforce;
use postern_config::{ColumnType, Config, Ident};
use postern_rewriter::Ask;
use postern_rewriter::catalog::Catalog;
use postern_rewriter::plan::Run;
use postern_rewriter::template::{Masked, Template, mask};

/// The reference domain, with columns of more types: `c_int4` and so on in `evilmod.notes`, and a masked one.
fn domain() -> Config {
    let mut config = config();
    let evilmod = config.modules.iter_mut().find(|m| m.module.as_str() == "evilmod").unwrap();
    let table = std::sync::Arc::new(evilmod.tables[0].clone());
    let mut table = (*table).clone();
    let body = table.columns[1].clone();
    for ty in [
        "int2",
        "int4",
        "int8",
        "uuid",
        "varchar",
        "bool",
        "date",
        "timestamptz",
        "timestamp",
        "bytea",
        "float8",
        "numeric",
        "jsonb",
        "oid",
        "text[]",
    ] {
        let mut column = body.clone();
        column.name = Ident::new(&format!("c_{}", ty.trim_end_matches("[]").replace("text", "array"))).unwrap();
        column.ty = ColumnType::parse(ty);
        table.columns.push(column);
    }
    std::sync::Arc::make_mut(evilmod).tables[0] = table;
    config
}

/// What runs of a statement, and what was copied into its barriers: what stands there beyond the filter.
fn runs(config: &Config, who: &str, sql: &str, enforce: Enforce) -> String {
    let plans = judge(config, who, sql, None, enforce).unwrap_or_else(|r| panic!("{sql}: {}", r.message));
    match &plans[0].run {
        Run::Once(s) => s.sql.sql().to_owned(),
        _ => panic!("{sql}"),
    }
}

/// The text between the filter and the fence of each barrier.
fn copied(sql: &str) -> Vec<String> {
    let filter = "NULLIF(pg_catalog.current_setting('postern.disabled'::text, true), ''::text)::bool IS NOT TRUE";
    sql.split(" \"postern$t\" WHERE ")
        .skip(1)
        .map(|s| s.strip_prefix(filter).unwrap().split(" OFFSET 0)").next().unwrap().to_owned())
        .collect()
}

#[test]
fn what_is_leakproof_is_copied() {
    on_a_deep_stack(|| {
        let config = domain();
        for (predicate, inside) in [
            ("id = $1", "\"postern$t\".id = $1"),
            ("notes.id = $1", "\"postern$t\".id = $1"),
            ("evilmod.notes.id = $1", "\"postern$t\".id = $1"),
            ("$1 = id", "$1 = \"postern$t\".id"),
            ("id = 'x'", "\"postern$t\".id = 'x'"),
            ("id OPERATOR(pg_catalog.=) 'x'", "\"postern$t\".id OPERATOR(pg_catalog.=) 'x'"),
            ("id <> 'x' AND lower(body) = 'y'", "\"postern$t\".id <> 'x'"),
            ("id >= 'x' AND id < $1", "\"postern$t\".id >= 'x' AND \"postern$t\".id < $1"),
            ("id IN ('a', $1, 'b')", "\"postern$t\".id IN ('a', $1, 'b')"),
            ("id = ANY($1)", "\"postern$t\".id = ANY($1)"),
            ("id = ANY('{a,b}')", "\"postern$t\".id = ANY('{a,b}')"),
            ("id = ANY(ARRAY['a', 'b'])", "\"postern$t\".id = ANY(ARRAY['a', 'b'])"),
            ("id BETWEEN 'a' AND $1", "\"postern$t\".id BETWEEN 'a' AND $1"),
            ("body IS NULL", "\"postern$t\".body IS NULL"),
            ("c_numeric IS NOT NULL", "\"postern$t\".c_numeric IS NOT NULL"),
            ("c_int4 = 5", "\"postern$t\".c_int4 = 5"),
            ("c_int4 = -5", "\"postern$t\".c_int4 = -5"),
            ("c_int4 = 3000000000", "\"postern$t\".c_int4 = 3000000000"),
            ("c_int4 IN (1, 2, 3)", "\"postern$t\".c_int4 IN (1, 2, 3)"),
            ("c_int4 = ANY($1)", "\"postern$t\".c_int4 = ANY($1)"),
            // bigint = oid would cast the column.
            ("c_int8 = $1", "\"postern$t\".c_int8 = $1 OPERATOR(pg_catalog.+) 0::bigint"),
            ("c_int8 = -5", "\"postern$t\".c_int8 = -5 OPERATOR(pg_catalog.+) 0::bigint"),
            ("7 < c_int8", "7 OPERATOR(pg_catalog.+) 0::bigint < \"postern$t\".c_int8"),
            (
                "c_int8 IN ($1)",
                "\"postern$t\".c_int8 IN ($1 OPERATOR(pg_catalog.+) 0::bigint)",
            ),
            (
                "c_int8 BETWEEN $1 AND 9223372036854775807",
                "\"postern$t\".c_int8 BETWEEN $1 OPERATOR(pg_catalog.+) 0::bigint AND 9223372036854775807 OPERATOR(pg_catalog.+) 0::bigint",
            ),
            (
                "c_int8 = ANY($1)",
                "\"postern$t\".c_int8 = ANY($1) AND CASE WHEN true THEN true ELSE $1[1] OPERATOR(pg_catalog.+) 0::bigint IS NULL END",
            ),
            ("c_int2 < $1", "\"postern$t\".c_int2 < $1"),
            ("c_uuid = $1", "\"postern$t\".c_uuid = $1"),
            ("c_varchar = $1", "\"postern$t\".c_varchar = $1"),
            ("c_bool = true", "\"postern$t\".c_bool = true"),
            ("c_date >= '2026-01-01'", "\"postern$t\".c_date >= '2026-01-01'"),
            ("c_timestamptz < $1", "\"postern$t\".c_timestamptz < $1"),
            ("c_timestamp < $1", "\"postern$t\".c_timestamp < $1"),
            ("c_bytea = $1", "\"postern$t\".c_bytea = $1"),
        ] {
            // Something else in the statement wants the fence.
            let sql = format!("SELECT id FROM notes WHERE {predicate} HAVING true");
            let run = runs(&config, "evilmod", &sql, Enforce::Rewrite);
            assert_eq!(copied(&run), [format!(" AND {inside}")], "{sql}\n{run}");
            // The original stays.
            assert!(!run.ends_with("OFFSET 0) notes"), "{run}");
            // Without a fence nothing is copied.
            let both = runs(&config, "evilmod", &sql, Enforce::Both);
            assert_eq!(both.matches(" WHERE ").count(), 2, "{both}");
            assert!(!both.contains(inside), "{both}");
        }
    });
}

#[test]
fn what_might_leak_stays_outside() {
    on_a_deep_stack(|| {
        let config = domain();
        for predicate in [
            "body::int = 1",
            "1/(length(id)-10) = 1",
            "1/(c_int4-10) = 1",
            "body LIKE 'x%'",
            "body ~ 'x'",
            "body ^@ 'x'",
            "lower(id) = 'x'",
            "c_int4 + 0 = 1",
            "-c_int4 = 1",
            "id = body",
            "id = (SELECT 'x')",
            "id IN (SELECT 'x')",
            "id = ANY(ARRAY(SELECT 'x'))",
            "c_float8 = random()",
            "id = random()::text",
            "id = lower('X')",
            "id = lower($1)",
            "id = current_user",
            "(id, body) = ('a', 'b')",
            "ROW(id, body) = ROW($1, $2)",
            "id IS DISTINCT FROM 'x'",
            "id IS NOT DISTINCT FROM 'x'",
            "id = 'a' OR body = 'b'",
            "NOT id = 'a'",
            "NOT (id = 'a' AND body = 'b')",
            "CASE WHEN id = 'a' THEN true END",
            "(id = 'a') IS TRUE",
            "(id = 'a') = true",
            "id NOT IN ('a', 'b')",
            "id <> ALL ('{a}')",
            "id NOT BETWEEN 'a' AND 'b'",
            "id BETWEEN SYMMETRIC 'a' AND 'b'",
            "id BETWEEN 'a' AND body",
            "id IN ('a', body)",
            "id COLLATE \"C\" = 'a'",
            "id = 'a' COLLATE \"C\"",
            "id || '' = 'a'",
            // A cast of a parameter runs row by row where it was declared of another type.
            "c_int4 = $1::int4",
            "c_int4 = '5'::int4",
            "id = $1::text",
            "c_int4::text = '1'",
            // Neither type's operators are leakproof, or a parameter's cast to it is not.
            "c_numeric = 1",
            "c_numeric = $1",
            "c_float8 = $1",
            "c_jsonb = $1",
            "c_oid = $1",
            "c_array = $1",
            // `+` would bind after such an operator.
            "c_int8 OPERATOR(pg_catalog.=) 5",
            "5 OPERATOR(pg_catalog.<) c_int8",
            // numeric = numeric.
            "c_int4 = 1.5",
            "c_int8 = 1e3",
            "c_int4 = 99999999999999999999",
            // A common type that depends on what is declared.
            "c_int4 IN ($1, $2)",
            "c_int8 = ANY(ARRAY[$1, $2])",
            "c_date IN ($1, '2026-01-01')",
            // Mentioned first beneath the filter, the parameter would get another type.
            "id = $1 AND c_int8 = $1",
            "id = $1 AND length($1) > 0",
            "c_int4 = $1 AND $1 IS NOT NULL",
        ] {
            let sql = format!("SELECT id FROM notes WHERE {predicate} HAVING true");
            let run = runs(&config, "evilmod", &sql, Enforce::Rewrite);
            let inside = copied(&run);
            assert_eq!(inside, [""], "{sql}\n{run}");
        }
    });
}

#[test]
fn joins_copy_where_unmatched_rows_go() {
    on_a_deep_stack(|| {
        let config = domain();
        let none: [&str; 2] = ["", ""];
        for (from, inside) in [
            ("notes a, notes b WHERE a.id = 'x' AND b.id = 'y'", ["x", "y"]),
            (
                "notes a JOIN notes b ON a.id = b.id AND b.body = 'y' WHERE a.body = 'x'",
                ["x", "y"],
            ),
            ("notes a JOIN notes b ON a.id = 'x' AND b.id = 'y'", ["x", "y"]),
            ("notes a LEFT JOIN notes b ON a.id = b.id WHERE a.id = 'x'", ["x", ""]),
            ("notes a LEFT JOIN notes b ON a.id = b.id WHERE b.id IS NULL", none),
            ("notes a LEFT JOIN notes b ON a.id = b.id WHERE b.id = 'y'", none),
            ("notes a LEFT JOIN notes b ON a.id = b.id AND b.body = 'y'", ["", "y"]),
            ("notes a LEFT JOIN notes b ON a.id = b.id AND a.body = 'x'", none),
            ("notes a RIGHT JOIN notes b ON a.id = 'x' WHERE b.id = 'y'", ["x", "y"]),
            ("notes a RIGHT JOIN notes b ON b.id = 'y' WHERE a.id = 'x'", none),
            ("notes a FULL JOIN notes b ON a.id = 'x' AND b.id = 'y'", none),
            (
                "notes a FULL JOIN notes b ON a.id = b.id WHERE a.id = 'x' AND b.id = 'y'",
                none,
            ),
            (
                "notes a LEFT JOIN (notes b JOIN (SELECT 1 AS n) c ON b.id = 'y') ON true",
                ["", "y"],
            ),
            (
                "notes a LEFT JOIN (notes b JOIN (SELECT 1 AS n) c ON true) ON b.id = 'y'",
                ["", "y"],
            ),
            // Merged by USING: which side is meant is the join's business.
            ("notes a LEFT JOIN notes b USING (id) WHERE id = 'x'", none),
            ("notes a JOIN notes b USING (id) WHERE id = 'x' AND a.body = 'x'", ["x", ""]),
            // The outer query's column.
            (
                "notes a WHERE EXISTS (SELECT 1 FROM notes b WHERE a.id = 'x' AND b.id = 'y')",
                ["", "y"],
            ),
            ("notes a WHERE EXISTS (SELECT 1 FROM notes b WHERE b.id = a.id)", none),
            // Of a subquery's rows, not of the table's.
            ("(SELECT id, body FROM notes LIMIT 1) a, notes b WHERE a.id = 'x'", none),
            ("notes a(body, id), notes b WHERE a.body = 'x' AND b.id = 'y'", ["x", "y"]),
        ] {
            let sql = format!("SELECT 1 FROM {from} HAVING true");
            let run = runs(&config, "evilmod", &sql, Enforce::Rewrite);
            let found: Vec<bool> = copied(&run).iter().map(|c| !c.is_empty()).collect();
            assert_eq!(found, inside.map(|i| !i.is_empty()), "{sql}\n{run}");
            for (copy, value) in copied(&run).iter().zip(inside) {
                assert!(value.is_empty() || copy.ends_with(&format!("= '{value}'")), "{sql}\n{run}");
            }
        }
    });
}

#[test]
fn a_name_that_a_join_may_have_merged_is_not_copied() {
    on_a_deep_stack(|| {
        let config = domain();
        for (from, copy) in [
            // `id` is the left side's, a float8: 9007199254740992 there is 9007199254740993 here.
            (
                "generate_series(1.0, 2.0) g(c_int8) JOIN notes USING (c_int8) WHERE c_int8 = 1",
                "",
            ),
            ("generate_series(1.0, 2.0) g(c_int8) NATURAL JOIN notes WHERE c_int8 = 1", ""),
            ("generate_series(1, 2) g(n), notes WHERE id = 'x'", ""),
            (
                "generate_series(1, 2) g(n), notes WHERE notes.id = 'x'",
                " AND \"postern$t\".id = 'x'",
            ),
            ("(SELECT 'x' AS id) s JOIN notes USING (id) WHERE id = 'x'", ""),
            ("(SELECT 'x' AS id) s NATURAL JOIN notes WHERE id = 'x'", ""),
            (
                "(SELECT 'x' AS id) s NATURAL JOIN notes WHERE body = 'x'",
                " AND \"postern$t\".body = 'x'",
            ),
        ] {
            let sql = format!("SELECT 1 FROM {from}");
            let run = runs(&config, "evilmod", &sql, Enforce::Rewrite);
            assert_eq!(copied(&run), [copy], "{sql}\n{run}");
        }
    });
}

#[test]
fn renamed_columns_are_the_tables_own_inside() {
    on_a_deep_stack(|| {
        let sql = "SELECT 1 FROM notes a(body, id) WHERE a.id = 'x' HAVING true";
        let run = runs(&domain(), "evilmod", sql, Enforce::Rewrite);
        assert_eq!(copied(&run), [" AND \"postern$t\".body = 'x'"], "{run}");
    });
}

#[test]
fn tags_are_copied_and_masked_columns_are_not() {
    on_a_deep_stack(|| {
        let config = domain();
        let run = runs(
            &config,
            "sys_account",
            "SELECT id FROM accounts WHERE email = $1 HAVING true",
            Enforce::Rewrite,
        );
        let tag = "\"postern$t\".\"postern$eq$email\" = $1 OFFSET 0)";
        assert!(run.contains(tag), "{run}");
        let sql = "SELECT id FROM accounts WHERE email IN ('a@b.c', $1) AND id = $2 HAVING true";
        let run = runs(&config, "sys_account", sql, Enforce::Rewrite);
        let tags = "\"postern$t\".\"postern$eq$email\" IN ($2, $3) AND \"postern$t\".id = $1 OFFSET 0)";
        assert!(run.contains(tags), "{run}");
        let run = runs(
            &config,
            "sys_account",
            "SELECT id FROM orgs WHERE contact = $1 AND contact IS NULL",
            Enforce::Rewrite,
        );
        assert!(!run.contains("END AND \"postern$t\""), "{run}");
        let inside = run
            .split("sys_account.orgs \"postern$t\"")
            .nth(1)
            .unwrap()
            .split("OFFSET 0")
            .next()
            .unwrap();
        assert!(!inside.contains("contact"), "{run}");
        let run = runs(
            &config,
            "sys_account",
            "SELECT id FROM orgs WHERE id = $1 HAVING true",
            Enforce::Rewrite,
        );
        assert!(run.contains("AND \"postern$t\".id = $1 OFFSET 0)"), "{run}");
    });
}

#[test]
fn literals_inside_are_filled_as_those_outside() {
    on_a_deep_stack(|| {
        let config = domain();
        let masked = |sql: &str| {
            let mut masked = Masked::default();
            assert!(mask(sql, &mut masked), "{sql}");
            masked
        };
        asked(&config, "evilmod", Enforce::Rewrite, |ask: &Ask<'_>| {
            for (first, second) in [
                ("id = 'a'", "id = 'b''c'"),
                ("id IN ('a', 'b')", "id IN ('b', 'a')"),
                ("c_int4 = 5", "c_int4 = 6"),
                ("c_int8 = 5", "c_int8 = 6"),
                ("c_int8 = -5", "c_int8 = -6"),
                ("c_int8 >= '5'", "c_int8 >= '6'"),
                (
                    "c_int8 BETWEEN 1 AND 9223372036854775806",
                    "c_int8 BETWEEN 2 AND 9223372036854775807",
                ),
                ("c_timestamptz < '2026-01-01'", "c_timestamptz < '2027-01-01'"),
            ] {
                let [first, second] = [first, second].map(|p| format!("SELECT id FROM notes WHERE {p}"));
                let template = Template::of(&first, &masked(&first), ask).unwrap_or_else(|| panic!("no template: {first}"));
                let filled = template.fill(&masked(&second));
                let planned = postern_rewriter::plan_one(&second, ask).unwrap();
                assert!(filled.is_some() && filled == planned, "{second}");
            }
            // Whether it is copied depends on what is not a hole's to say: planned each time.
            for sql in ["c_int4 = 1.5", "c_int4 IN (1, 2)"] {
                let sql = format!("SELECT id FROM notes WHERE {sql}");
                assert!(Template::of(&sql, &masked(&sql), ask).is_none(), "{sql}");
            }
        });
    });
}

/// Whether each barrier of what runs has its fence.
fn fences(run: &str) -> (usize, usize) {
    (run.matches(" \"postern$t\" ").count(), run.matches("OFFSET 0)").count())
}

#[test]
fn a_fence_that_nothing_needs_is_left_out() {
    on_a_deep_stack(|| {
        let config = domain();
        for sql in [
            "SELECT id, lower(body), 1 / (c_int4 - 10) FROM notes",
            "SELECT id FROM notes WHERE id = $1",
            "SELECT id FROM notes WHERE id = $1 OR body = 'x'",
            "SELECT id FROM notes WHERE NOT (id = $1 AND c_int4 IS NULL)",
            "SELECT id FROM notes WHERE c_bool",
            "SELECT id FROM notes WHERE c_bool IS NOT TRUE",
            "SELECT id FROM notes WHERE c_numeric IS NULL",
            "SELECT count(*) FROM notes WHERE c_int8 BETWEEN 1 AND $1",
            "SELECT body, count(*) FROM notes WHERE id > 'x' GROUP BY body ORDER BY lower(body) LIMIT 3",
            "SELECT DISTINCT ON (body) id FROM notes WHERE c_date < '2026-01-01'",
            "SELECT 1 FROM notes a, notes b WHERE a.c_uuid = b.c_uuid",
            "SELECT 1 FROM notes a JOIN notes b ON a.body = b.id AND a.body < b.c_varchar",
            "SELECT 1 FROM notes a JOIN notes b ON a.c_int8 = b.c_int8 WHERE a.id = $1",
            "SELECT 1 FROM notes a LEFT JOIN notes b ON a.c_uuid = b.c_uuid AND b.body = 'x' WHERE b.id IS NULL",
            "SELECT 1 FROM notes a JOIN (notes b CROSS JOIN notes c) ON a.c_int4 < b.c_int4",
            "EXPLAIN SELECT id FROM notes WHERE id = 'x'",
            "DECLARE c CURSOR FOR SELECT id FROM notes WHERE id = 'x'",
        ] {
            let run = runs(&config, "evilmod", sql, Enforce::Rewrite);
            let (barriers, fences) = fences(&run);
            assert!(barriers > 0 && fences == 0, "{sql}\n{run}");
        }
        let run = runs(
            &config,
            "sys_account",
            "SELECT id, email FROM accounts WHERE email = $1 AND id <> 'x'",
            Enforce::Rewrite,
        );
        assert_eq!(fences(&run), (1, 0), "{run}");
    });
}

#[test]
fn a_bigint_is_never_compared_with_an_oid() {
    on_a_deep_stack(|| {
        let config = domain();
        for (predicate, runs_as) in [
            ("c_int8 = $1", "c_int8 = $1 OPERATOR(pg_catalog.+) 0::bigint"),
            ("$1 > notes.c_int8", "$1 OPERATOR(pg_catalog.+) 0::bigint > notes.c_int8"),
            ("NOT c_int8 = 5", "NOT c_int8 = 5 OPERATOR(pg_catalog.+) 0::bigint"),
            (
                "c_int8 IN ($1) OR id = 'x'",
                "c_int8 IN ($1 OPERATOR(pg_catalog.+) 0::bigint) OR id = 'x'",
            ),
        ] {
            let sql = format!("SELECT id FROM notes WHERE {predicate}");
            let run = runs(&config, "evilmod", &sql, Enforce::Rewrite);
            assert_eq!(fences(&run), (1, 0), "{sql}\n{run}");
            assert!(run.ends_with(&format!(") notes WHERE {runs_as}")), "{sql}\n{run}");
        }
    });
}

#[test]
fn a_fence_stays_where_anything_might_tell() {
    on_a_deep_stack(|| {
        let config = domain();
        for sql in [
            "SELECT id FROM notes WHERE id = $1 AND 1 / (c_int4 - 10) = 1",
            "SELECT id FROM notes WHERE id = $1 OR body::int = 1",
            "SELECT id FROM notes WHERE NOT body LIKE 'x%'",
            "SELECT id FROM notes WHERE c_numeric = 1",
            "SELECT id FROM notes WHERE (c_int4 = 1) = c_bool",
            "SELECT id FROM notes WHERE lower(id) IS NULL",
            "SELECT id FROM notes WHERE (id = 'x') IS TRUE",
            "SELECT id FROM notes WHERE id = $1 AND body = $1",
            "SELECT id FROM notes WHERE c_int8 = ANY($1)",
            "SELECT id FROM notes WHERE c_int8 OPERATOR(pg_catalog.=) $1",
            "SELECT count(*) FROM notes GROUP BY id HAVING id = 'x'",
            "SELECT 1 FROM notes a JOIN notes b ON a.c_int4 = b.c_int8",
            "SELECT 1 FROM notes a JOIN notes b ON a.c_numeric = b.c_numeric",
            "SELECT 1 FROM notes a JOIN notes b ON a.c_uuid = b.c_uuid AND length(b.body) > 1",
            "SELECT 1 FROM notes a JOIN notes b USING (c_uuid)",
            "SELECT 1 FROM notes a NATURAL JOIN notes b",
            "SELECT 1 FROM notes a JOIN notes b ON a.c_uuid = b.c_uuid WHERE 1 / (a.c_int4 - 10) = 1",
            "SELECT id FROM notes TABLESAMPLE BERNOULLI (100) WHERE id = 'x'",
            "SELECT id FROM notes, generate_series(1, 2) g WHERE id = 'x'",
            "SELECT id FROM notes, LATERAL (SELECT 1) s WHERE id = 'x'",
            "SELECT (SELECT 1) FROM notes WHERE id = 'x'",
            "SELECT id FROM notes WHERE id IN (SELECT 'x')",
            "WITH c AS (SELECT 1) SELECT id FROM notes WHERE id = 'x'",
            "SELECT id FROM notes WHERE id = 'x' UNION ALL SELECT id FROM notes",
            "SELECT x FROM (SELECT 1 / (c_int4 - 10) AS x FROM notes) s WHERE x = 1",
            "DELETE FROM notes USING notes n WHERE n.id = 'x'",
        ] {
            let run = runs(&config, "evilmod", sql, Enforce::Rewrite);
            let (barriers, fences) = fences(&run);
            assert!(barriers > 0 && fences == barriers, "{sql}\n{run}");
        }
        // Collations that disagree raise for each row.
        let evilmod = config.modules.iter().find(|m| m.module.as_str() == "evilmod").unwrap();
        let mut catalog = Catalog::of_manifest(evilmod, 1);
        let mut notes = (**catalog.relation("evilmod", "notes").unwrap()).clone();
        for column in notes.columns.iter_mut().flatten().filter(|c| &*c.name == "body") {
            column.collated = true;
        }
        catalog.insert(notes);
        for (on, stays) in [("a.body = b.id", true), ("a.id = b.body", true), ("a.id = b.id", false)] {
            let sql = format!("SELECT 1 FROM notes a JOIN notes b ON {on}");
            let plans = judge(&config, "evilmod", &sql, Some(&catalog), Enforce::Rewrite).unwrap();
            let Run::Once(s) = &plans[0].run else { panic!("{sql}") };
            assert_eq!(fences(s.sql.sql()), (2, if stays { 2 } else { 0 }), "{sql}");
        }
        // A mask may tell what it hides, whatever it is compared with.
        let sql = "SELECT id FROM orgs WHERE contact = $1";
        let run = runs(&config, "sys_account", sql, Enforce::Rewrite);
        assert_eq!(fences(&run), (1, 1), "{run}");
    });
}
