//! Drift: in what the database differs from the manifests, and what stands there that no manifest speaks of.
//!
//! Two sources: every step that `provision` would execute now, and questions about what provisioning does not look at, because it could not
//! mend it without knowing why it is there. Read-only; one transaction, so that all answers are of one moment.

use std::fmt::Write as _;

use postern_config::names::{eq_column, quote_literal};
use postern_config::{Config, LoginKind};
use postern_rewriter::{mark, marks_in};
use serde::Serialize;

use super::provision::{self, CATALOGUE_ROLE, CLAIMS_ROLE, POLICY_ROLE, tablespace};
use super::{ControlError, Pool};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What it is about.
    pub area: Area,
    /// The object, as PostgreSQL names it, or the step that would mend it.
    pub object: String,
    /// What was found there.
    pub found: String,
    /// What to do about it.
    pub fix: &'static str,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// `postern provision` would change it.
    Provisioning,
    /// Who owns what.
    Ownership,
    /// Who may do what.
    Grants,
    /// Who may become whom.
    Memberships,
    /// Where things are stored.
    Tablespaces,
    /// Columns of declared tables.
    Columns,
    /// Triggers, rules, children, views and functions that reach rows past a filter.
    Reach,
}

impl Area {
    /// As reports call it.
    pub fn title(self) -> &'static str {
        match self {
            Area::Provisioning => "provisioning",
            Area::Ownership => "ownership",
            Area::Grants => "grants",
            Area::Memberships => "memberships",
            Area::Tablespaces => "tablespaces",
            Area::Columns => "columns",
            Area::Reach => "reach",
        }
    }
}

/// A question whose every answer, (object, what was found), is a finding.
struct Question {
    area: Area,
    sql: &'static str,
    fix: &'static str,
}

const PROVISION: &str = "run `postern provision`";

/// They read the lists that [`lists`] puts before them: `module(schema, owner, space)`, `login(name, schema, kind)`,
/// `declared(schema, name)`, `declared_column(schema, name, attribute, type)`, `ours(name)`, `imported(schema, name, owner)`, `mark(schema, mark)` and
/// `filtered(schema, view, mark)`, the marks of the filters that modules' own views hold.
const QUESTIONS: &[Question] = &[
    Question {
        area: Area::Ownership,
        sql: "SELECT c.oid::pg_catalog.regclass::text, 'belongs to ' || r.rolname FROM pg_catalog.pg_class c \
              JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN module m ON m.schema = n.nspname \
              JOIN pg_catalog.pg_roles r ON r.oid = c.relowner WHERE r.rolname <> m.owner AND c.relkind NOT IN ('i', 'I', 't') \
              AND (n.nspname, c.relname, r.rolname) NOT IN (SELECT schema, name, owner FROM imported)",
        fix: "ALTER … OWNER TO the module's owner role, so that a forced row filter and the module's own DDL apply to it",
    },
    Question {
        area: Area::Ownership,
        sql: "SELECT p.oid::pg_catalog.regprocedure::text, 'belongs to ' || r.rolname FROM pg_catalog.pg_proc p \
              JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace JOIN module m ON m.schema = n.nspname \
              JOIN pg_catalog.pg_roles r ON r.oid = p.proowner WHERE r.rolname <> m.owner",
        fix: "ALTER FUNCTION … OWNER TO the module's owner role, or drop it",
    },
    Question {
        area: Area::Ownership,
        sql: "SELECT c.oid::pg_catalog.regclass::text, 'belongs to the login ' || l.name FROM pg_catalog.pg_class c \
              JOIN pg_catalog.pg_roles r ON r.oid = c.relowner JOIN login l ON l.name = r.rolname \
              JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
              WHERE n.nspname NOT IN (SELECT schema FROM module) AND c.relpersistence <> 't' AND c.relkind NOT IN ('i', 'I', 't')",
        fix: "drop it or give it to a role that no module logs in as",
    },
    Question {
        area: Area::Grants,
        sql: "SELECT c.oid::pg_catalog.regclass::text, coalesce(g.rolname, 'PUBLIC') || ' may ' || a.privilege_type FROM pg_catalog.pg_class c \
              JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN module m ON m.schema = n.nspname, \
              pg_catalog.aclexplode(c.relacl) a LEFT JOIN pg_catalog.pg_roles g ON g.oid = a.grantee \
              WHERE coalesce(g.rolname, '') NOT IN (SELECT owner FROM module WHERE schema = n.nspname \
              UNION ALL SELECT name FROM login WHERE schema = n.nspname UNION ALL SELECT name FROM ours \
              UNION ALL SELECT owner FROM imported WHERE schema = n.nspname AND name = c.relname)",
        fix: "REVOKE it: nobody but the module's own roles is to meet its rows",
    },
    Question {
        area: Area::Grants,
        sql: "SELECT c.oid::pg_catalog.regclass::text || '.' || t.attname, coalesce(g.rolname, 'PUBLIC') || ' may ' || a.privilege_type \
              FROM pg_catalog.pg_attribute t JOIN pg_catalog.pg_class c ON c.oid = t.attrelid \
              JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN module m ON m.schema = n.nspname, \
              pg_catalog.aclexplode(t.attacl) a LEFT JOIN pg_catalog.pg_roles g ON g.oid = a.grantee \
              WHERE coalesce(g.rolname, '') NOT IN (SELECT owner FROM module WHERE schema = n.nspname \
              UNION ALL SELECT name FROM login WHERE schema = n.nspname UNION ALL SELECT name FROM ours)",
        fix: "REVOKE it: nobody but the module's own roles is to meet its rows",
    },
    Question {
        area: Area::Grants,
        sql: "SELECT 'schema ' || n.nspname, coalesce(g.rolname, 'PUBLIC') || ' has ' || a.privilege_type FROM pg_catalog.pg_namespace n \
              JOIN module m ON m.schema = n.nspname, pg_catalog.aclexplode(n.nspacl) a LEFT JOIN pg_catalog.pg_roles g ON g.oid = a.grantee \
              WHERE coalesce(g.rolname, '') NOT IN (SELECT owner FROM module WHERE schema = n.nspname \
              UNION ALL SELECT name FROM login WHERE schema = n.nspname UNION ALL SELECT name FROM ours)",
        fix: "REVOKE it: a schema is its module's",
    },
    Question {
        area: Area::Grants,
        sql: "SELECT p.oid::pg_catalog.regprocedure::text, 'PUBLIC may execute it' FROM pg_catalog.pg_proc p \
              JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace JOIN module m ON m.schema = n.nspname \
              WHERE p.proacl IS NULL OR EXISTS (SELECT FROM pg_catalog.aclexplode(p.proacl) a WHERE a.grantee = 0)",
        fix: "REVOKE EXECUTE … FROM PUBLIC, and grant it to who needs it",
    },
    Question {
        area: Area::Grants,
        sql: "SELECT c.oid::pg_catalog.regclass::text, r.rolname || ' may ' || a.privilege_type FROM pg_catalog.pg_class c \
              JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, pg_catalog.aclexplode(c.relacl) a \
              JOIN pg_catalog.pg_roles r ON r.oid = a.grantee WHERE r.rolname IN (SELECT name FROM login) \
              AND n.nspname NOT IN (SELECT schema FROM login WHERE name = r.rolname) \
              AND n.nspname NOT IN ('postern', 'postern_catalog', 'postern_information') AND n.nspname NOT LIKE 'pg\\_temp%'",
        fix: "REVOKE it: a module's login meets its own schema only",
    },
    Question {
        area: Area::Memberships,
        sql: "SELECT m.rolname, 'may become ' || o.rolname FROM pg_catalog.pg_auth_members a JOIN pg_catalog.pg_roles m ON m.oid = a.member \
              JOIN pg_catalog.pg_roles o ON o.oid = a.roleid \
              WHERE o.rolname IN (SELECT owner FROM module UNION ALL SELECT name FROM login UNION ALL SELECT name FROM ours) \
              AND NOT EXISTS (SELECT FROM login l JOIN module d ON d.schema = l.schema \
              WHERE l.name = m.rolname AND d.owner = o.rolname AND l.kind = 'owner')",
        fix: "REVOKE the membership: who becomes a module's role meets its rows",
    },
    Question {
        area: Area::Tablespaces,
        sql: "SELECT c.oid::pg_catalog.regclass::text, 'lies in ' || coalesce(t.spcname, b.spcname) FROM pg_catalog.pg_class c \
              JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN module m ON m.schema = n.nspname \
              JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database() \
              JOIN pg_catalog.pg_tablespace b ON b.oid = d.dattablespace LEFT JOIN pg_catalog.pg_tablespace t ON t.oid = c.reltablespace \
              WHERE c.relkind IN ('r', 'i', 'm') AND coalesce(t.spcname, b.spcname) <> m.space",
        fix: "ALTER … SET TABLESPACE to the module's",
    },
    Question {
        area: Area::Columns,
        sql: "SELECT c.oid::pg_catalog.regclass::text || '.' || a.attname, 'is not in the manifest' FROM pg_catalog.pg_attribute a \
              JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
              JOIN declared d ON d.schema = n.nspname AND d.name = c.relname WHERE a.attnum > 0 AND NOT a.attisdropped \
              AND NOT EXISTS (SELECT FROM declared_column k WHERE k.schema = d.schema AND k.name = d.name AND k.attribute = a.attname)",
        fix: "declare it, or drop it: no statement through the proxy reads or fills it",
    },
    Question {
        area: Area::Columns,
        sql: "SELECT c.oid::pg_catalog.regclass::text || '.' || a.attname, \
              'is ' || pg_catalog.format_type(a.atttypid, a.atttypmod) || ', and stored as ' || k.type || ' by the manifest' \
              FROM declared_column k JOIN pg_catalog.pg_namespace n ON n.nspname = k.schema \
              JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = k.name \
              JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = k.attribute AND NOT a.attisdropped \
              WHERE pg_catalog.to_regtype(k.type) <> a.atttypid::pg_catalog.regtype",
        fix: "change the manifest or the column, so that both say the same",
    },
    Question {
        area: Area::Reach,
        sql: "SELECT c.oid::pg_catalog.regclass::text, 'holds rows of ' || p.oid::pg_catalog.regclass::text || ' beneath its filter' \
              FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhparent JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid \
              JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace JOIN declared d ON d.schema = n.nspname AND d.name = p.relname \
              WHERE NOT (c.relispartition AND c.relnamespace = p.relnamespace AND c.relkind <> 'f')",
        fix: "no login may have a right on it; the proxy hides it",
    },
    Question {
        area: Area::Reach,
        sql: "SELECT c.oid::pg_catalog.regclass::text, 'has the trigger ' || t.tgname FROM pg_catalog.pg_trigger t \
              JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
              JOIN declared d ON d.schema = n.nspname AND d.name = c.relname WHERE NOT t.tgisinternal",
        fix: "see that its function reads and writes nothing past the filters, or drop it",
    },
    Question {
        area: Area::Reach,
        sql: "SELECT c.oid::pg_catalog.regclass::text, 'has the rule ' || r.rulename FROM pg_catalog.pg_rewrite r \
              JOIN pg_catalog.pg_class c ON c.oid = r.ev_class JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
              JOIN declared d ON d.schema = n.nspname AND d.name = c.relname",
        fix: "drop it: a rule rewrites a statement after the proxy has judged it",
    },
    Question {
        area: Area::Reach,
        sql: "SELECT DISTINCT v.oid::pg_catalog.regclass::text, 'reads ' || c.oid::pg_catalog.regclass::text || ' without its filter' \
              FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm') \
              JOIN pg_catalog.pg_depend p ON p.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND p.objid = r.oid \
              AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass JOIN pg_catalog.pg_class c ON c.oid = p.refobjid \
              JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN declared d ON d.schema = n.nspname AND d.name = c.relname \
              WHERE pg_catalog.strpos(pg_catalog.pg_get_viewdef(v.oid), 'postern$t') = 0",
        fix: "drop it, and make it through the proxy: it then reads what its module may read",
    },
    Question {
        area: Area::Reach,
        sql: "SELECT DISTINCT f.view::pg_catalog.regclass::text, 'filters by policies that have changed since it was made' FROM filtered f \
              WHERE NOT EXISTS (SELECT FROM mark k WHERE k.schema = f.schema AND k.mark = f.mark)",
        fix: "make it again through the proxy, which does not read it until then, or drop it",
    },
    Question {
        area: Area::Reach,
        sql: "SELECT c.oid::pg_catalog.regclass::text, 'has the unique index ' || x.relname FROM pg_catalog.pg_index i \
              JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
              JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN declared d ON d.schema = n.nspname AND d.name = c.relname \
              WHERE i.indisunique AND (i.indpred IS NOT NULL OR i.indexprs IS NOT NULL OR NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k \
              WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u') AND k.conkey @> (i.indkey::int2[])[0:i.indnkeyatts - 1] \
              AND k.conkey <@ (i.indkey::int2[])[0:i.indnkeyatts - 1]))",
        fix: "declare the key in the manifest, or drop it: it is a rule that no manifest knows, and tells of hidden rows",
    },
    Question {
        area: Area::Reach,
        sql: "SELECT p.oid::pg_catalog.regprocedure::text, 'runs with the rights of ' || r.rolname FROM pg_catalog.pg_proc p \
              JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace JOIN module m ON m.schema = n.nspname \
              JOIN pg_catalog.pg_roles r ON r.oid = p.proowner WHERE p.prosecdef",
        fix: "make it SECURITY INVOKER: who calls it is to have no more rights within",
    },
    Question {
        area: Area::Reach,
        sql: "SELECT c.oid::pg_catalog.regclass::text, 'is no table' FROM declared d JOIN pg_catalog.pg_namespace n ON n.nspname = d.schema \
              JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = d.name WHERE c.relkind NOT IN ('r', 'p')",
        fix: "put the declared table back in its place; the proxy hides what stands there",
    },
];

/// What is there, sorted by area and object.
pub async fn examine(pool: &Pool, config: &Config) -> Result<Vec<Finding>, ControlError> {
    let mut findings: Vec<Finding> = provision::pending(pool, config)
        .await?
        .into_iter()
        .map(|step| Finding {
            area: Area::Provisioning,
            object: step.title,
            found: "is not as the manifests say".to_owned(),
            fix: PROVISION,
        })
        .collect();
    let mut client = pool.get().await?;
    let failed = |e| ControlError::query("asking what is there")(e);
    let transaction = (**client)
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(failed)?;
    let lists = lists(config);
    for question in QUESTIONS {
        let rows = transaction
            .query(&format!("{lists} {}", question.sql), &[])
            .await
            .map_err(failed)?;
        findings.extend(rows.iter().map(|row| Finding {
            area: question.area,
            object: row.get(0),
            found: row.get(1),
            fix: question.fix,
        }));
    }
    transaction.rollback().await.map_err(failed)?;
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// What the manifests say, as lists that a question can join with.
fn lists(config: &Config) -> String {
    let mut modules = Vec::new();
    let (mut logins, mut declared, mut columns) = (Vec::new(), Vec::new(), Vec::new());
    let (mut imported, mut marks) = (Vec::new(), Vec::new());
    for manifest in &config.modules {
        let schema = manifest.schema.to_string();
        modules.push(vec![schema.clone(), manifest.owner_role(), tablespace(config, manifest)]);
        logins.extend(manifest.logins.iter().map(|l| {
            // The others act in their own name.
            let owner = l.ddl || l.kind == LoginKind::Migrator;
            let kind = if owner { "owner" } else { "self" };
            vec![l.name.to_string(), schema.clone(), kind.to_owned()]
        }));
        imported.extend(manifest.imports.iter().filter_map(|i| {
            let exporter = config.modules.iter().find(|m| m.module == i.from)?;
            Some(vec![schema.clone(), i.name.to_string(), provision::import_owner(i, exporter)])
        }));
        for table in &manifest.tables {
            let name = table.name.name.to_string();
            declared.push(vec![schema.clone(), name.clone()]);
            marks.push(vec![schema.clone(), mark(table)]);
            for column in &table.columns {
                let stored = match column.protection {
                    Some(_) => "bytea".to_owned(),
                    None => column.ty.to_string(),
                };
                columns.push(vec![schema.clone(), name.clone(), column.name.to_string(), stored]);
                if column.protection.as_ref().is_some_and(|p| p.eq()) {
                    columns.push(vec![
                        schema.clone(),
                        name.clone(),
                        eq_column(&column.name),
                        "bytea".to_owned(),
                    ]);
                }
            }
        }
    }
    let ours = [POLICY_ROLE, CLAIMS_ROLE, CATALOGUE_ROLE].map(|r| vec![r.to_owned()]);
    let mut text = String::from("WITH ");
    for (i, (name, width, rows)) in [
        ("module(schema, owner, space)", 3, modules),
        ("login(name, schema, kind)", 3, logins),
        ("declared(schema, name)", 2, declared),
        ("declared_column(schema, name, attribute, type)", 4, columns),
        ("ours(name)", 1, ours.to_vec()),
        ("imported(schema, name, owner)", 3, imported),
        ("mark(schema, mark)", 2, marks),
    ]
    .into_iter()
    .enumerate()
    {
        let rows: Vec<String> = rows
            .iter()
            .map(|cells| format!("({})", cells.iter().map(|c| quote_literal(c)).collect::<Vec<_>>().join(", ")))
            .collect();
        let body = match rows.is_empty() {
            true => format!("SELECT {} WHERE false", vec!["NULL::text"; width].join(", ")),
            false => format!("VALUES {}", rows.join(", ")),
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{name} AS ({body})", if i == 0 { "" } else { ", " });
    }
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        ", filtered(schema, view, mark) AS (SELECT m.schema, v.oid, f.mark FROM pg_catalog.pg_class v \
         JOIN pg_catalog.pg_namespace n ON n.oid = v.relnamespace JOIN module m ON m.schema = n.nspname \
         AND m.owner = pg_catalog.pg_get_userbyid(v.relowner), pg_catalog.json_array_elements_text({}::json) f(mark) WHERE v.relkind IN ('v', 'm'))",
        marks_in("v.oid", "v.relowner")
    );
    text
}
