//! A declared table of whose policies PostgreSQL holds less than the configuration wants.

mod desk;

use desk::{config, judge, on_a_deep_stack};
use postern_config::ModuleName;
use postern_config::settings::Enforce;
use postern_rewriter::catalog::{Catalog, Native, Relation};
use postern_rewriter::plan::Run;

#[test]
fn what_nothing_else_keeps_from_hidden_rows_gets_its_fence_and_no_row_is_written_unchecked() {
    on_a_deep_stack(|| {
        let config = config();
        let manifest = config.module(&ModuleName::new("sys_account").unwrap()).unwrap();
        let secured = Catalog::of_manifest(manifest, 1);
        let mut unsecured = secured.clone();
        let roles = secured.relation("sys_account", "roles").unwrap();
        unsecured.insert(Relation {
            native: Native::Nothing,
            ..(**roles).clone()
        });
        let run = |sql: &str, catalog| {
            let plans = judge(&config, "sys_account", sql, Some(catalog), Enforce::Both).map_err(|r| r.reason)?;
            match &plans[0].run {
                Run::Once(s) => Ok(s.sql.sql().to_owned()),
                _ => panic!("{sql}"),
            }
        };
        for sql in [
            "SELECT id FROM roles WHERE 1 / (role - 3) = 1",
            "SELECT id FROM roles WHERE id = 'x'",
            "SELECT r.id FROM projects p LEFT JOIN roles r ON r.project_id = p.id",
            "WITH r AS (SELECT id FROM roles) SELECT count(*) FROM r",
        ] {
            assert_eq!(run(sql, &secured).unwrap().matches("OFFSET 0").count(), 0, "{sql}");
            assert_eq!(run(sql, &unsecured).unwrap().matches("OFFSET 0)").count(), 1, "{sql}");
        }
        let delete = "DELETE FROM roles WHERE 1 / (role - 3) = 1";
        assert!(!run(delete, &secured).unwrap().contains("CASE WHEN"));
        assert!(run(delete, &unsecured).unwrap().contains("CASE WHEN"));
        for sql in [
            "INSERT INTO roles (id, account_id, role) VALUES ('x', 'bob', 2)",
            "INSERT INTO roles (id, account_id, role) VALUES ('x', 'bob', 2) ON CONFLICT DO NOTHING",
            "UPDATE roles SET role = 2 WHERE id = 'x'",
            "WITH w AS (UPDATE roles SET role = 2 RETURNING id) SELECT id FROM w",
        ] {
            assert!(run(sql, &secured).is_ok(), "{sql}");
            assert_eq!(run(sql, &unsecured), Err("unsecured"), "{sql}");
        }
        let lock = "SELECT id FROM roles FOR UPDATE";
        assert!(run(lock, &secured).is_ok());
        assert!(run(lock, &unsecured).is_err());
        // Where it is the only filter there is none left.
        let alone = judge(&config, "sys_account", "SELECT id FROM roles", Some(&unsecured), Enforce::Rls);
        assert_eq!(alone.unwrap_err().reason, "unsecured");
        assert!(judge(&config, "sys_account", "SELECT id FROM roles", Some(&secured), Enforce::Rls).is_ok());
        // Another table of the module is not concerned.
        let other = "UPDATE accounts SET avatar_resource_id = 'x'";
        assert_eq!(run(other, &secured), run(other, &unsecured));
    });
}

/// Where the proxy alone filters, PostgreSQL still has to check what is written; what was provisioned so is not enough for the other ways.
#[test]
fn without_filters_of_postgresql_nothing_is_written_unchecked_and_nothing_else_is_left_to_it() {
    on_a_deep_stack(|| {
        let config = config();
        let manifest = config.module(&ModuleName::new("sys_account").unwrap()).unwrap();
        let with = |native| {
            let mut catalog = Catalog::of_manifest(manifest, 1);
            for table in &manifest.tables {
                let relation = catalog.relation("sys_account", table.name.name.as_str()).unwrap().clone();
                catalog.insert(Relation {
                    native,
                    ..(*relation).clone()
                });
            }
            catalog
        };
        let writes = [
            "INSERT INTO roles (id, account_id, role) VALUES ('x', 'bob', 2)",
            "INSERT INTO roles (id, account_id, role) VALUES ('x', 'bob', 2) ON CONFLICT (id) DO UPDATE SET role = 2",
            "UPDATE roles SET role = 2 WHERE id = 'x'",
            "UPDATE accounts SET email = 'x' WHERE disabled",
            "WITH w AS (UPDATE roles SET role = 2 RETURNING id) SELECT id FROM w",
        ];
        let others = [
            "SELECT id FROM roles",
            "SELECT id FROM roles FOR UPDATE",
            "DELETE FROM roles WHERE id = 'x'",
        ];
        let reason = |sql: &str, native, enforce| {
            judge(&config, "sys_account", sql, Some(&with(native)), enforce)
                .err()
                .map(|r| r.reason)
        };
        for sql in writes {
            assert_eq!(reason(sql, Native::Nothing, Enforce::Rewrite), Some("unsecured"), "{sql}");
            assert_eq!(reason(sql, Native::Writes, Enforce::Rewrite), None, "{sql}");
        }
        for sql in others {
            assert_eq!(reason(sql, Native::Nothing, Enforce::Rewrite), None, "{sql}");
            assert_eq!(reason(sql, Native::Writes, Enforce::Rewrite), None, "{sql}");
        }
        for sql in writes {
            assert_eq!(reason(sql, Native::Writes, Enforce::Both), Some("unsecured"), "{sql}");
        }
        for sql in writes.iter().chain(&others) {
            assert_eq!(reason(sql, Native::Writes, Enforce::Rls), Some("unsecured"), "{sql}");
            for enforce in [Enforce::Both, Enforce::Rls] {
                assert_eq!(reason(sql, Native::Rows, enforce), None, "{sql}");
            }
        }
    });
}
