//! A declared table whose native row-level security is off, although filters are to be PostgreSQL's as well.

mod desk;

use desk::{config, judge, on_a_deep_stack};
use postern_config::ModuleName;
use postern_config::settings::Enforce;
use postern_rewriter::catalog::{Catalog, Relation};
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
            secured: false,
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
        assert!(run(delete, &unsecured).unwrap().contains("WHERE CASE WHEN"));
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
        // Another table of the module is not concerned.
        let other = "UPDATE accounts SET avatar_resource_id = 'x'";
        assert_eq!(run(other, &secured), run(other, &unsecured));
    });
}
