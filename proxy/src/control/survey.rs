//! What a database has, for a first manifest: read from the catalogue in one transaction that cannot write. It knows nothing of Postern's own
//! roles or tables, since there are none yet.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use postern_config::draft::{Column, ForeignKey, Policy, Schema, Table};
use tokio_postgres::{Client, NoTls, Row, Transaction};

use super::ControlError;
use super::error::told;
use super::tls::Connector;

/// How long connecting to a host may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The database, and its schemas in order.
pub struct Survey {
    /// The database's name.
    pub database: String,
    /// Host and port of the first of the connection's hosts.
    pub host: (String, u16),
    /// Schemas that are nobody else's.
    pub schemas: Vec<Schema>,
}

/// Reads the schemas of those names, or all that are not PostgreSQL's or Postern's own. With a CA's certificate TLS is required and the host's
/// name verified; without, the connection string's `sslmode` must not ask for it.
pub async fn survey(url: &str, password: Option<&str>, ca: Option<&Path>, wanted: &[String]) -> Result<Survey, ControlError> {
    let unusable = |reason: String| ControlError::Connect {
        peer: "the database".to_owned(),
        sqlstate: None,
        reason,
    };
    let mut pg: tokio_postgres::Config = url.parse().map_err(|e: tokio_postgres::Error| unusable(described(&e)))?;
    if let Some(password) = password.filter(|_| pg.get_password().is_none()) {
        pg.password(password);
    }
    pg.application_name("postern manifest draft").connect_timeout(PATIENCE);
    let host = match pg.get_hosts().first() {
        Some(tokio_postgres::config::Host::Tcp(name)) => name.clone(),
        Some(tokio_postgres::config::Host::Unix(path)) => path.to_string_lossy().into_owned(),
        None => return Err(unusable("the connection string names no host".to_owned())),
    };
    let port = pg.get_ports().first().copied().unwrap_or(5432);
    let failed = |e: tokio_postgres::Error| {
        let (sqlstate, reason) = told(&e);
        ControlError::Connect {
            peer: format!("{host}:{port}"),
            sqlstate,
            reason,
        }
    };
    let mut client = match ca {
        Some(ca) => {
            let (client, connection) = pg.connect(Connector::trusting(ca)?).await.map_err(failed)?;
            tokio::spawn(connection);
            client
        }
        None => {
            let (client, connection) = pg.connect(NoTls).await.map_err(failed)?;
            tokio::spawn(connection);
            client
        }
    };
    read(&mut client, wanted, (host.clone(), port))
        .await
        .map_err(ControlError::query("reading the catalogue"))
}

/// The cause: the driver's own text says only that it is one.
fn described(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

async fn read(client: &mut Client, wanted: &[String], host: (String, u16)) -> Result<Survey, tokio_postgres::Error> {
    let transaction = client.build_transaction().read_only(true).start().await?;
    // Names are then written with their schemas.
    transaction
        .batch_execute("SET LOCAL search_path = ''; SET LOCAL statement_timeout = '120s'; SET LOCAL lock_timeout = '30s'")
        .await?;
    let database: String = transaction.query_one("SELECT current_database()::text", &[]).await?.get(0);
    let mut schemas: BTreeMap<String, Schema> = transaction
        .query(SCHEMAS, &[&wanted])
        .await?
        .iter()
        .map(|row| {
            let name: String = row.get(0);
            (
                name.clone(),
                Schema {
                    name,
                    ..Schema::default()
                },
            )
        })
        .collect();
    let names: Vec<String> = schemas.keys().cloned().collect();
    let mut tables: BTreeMap<u32, (String, Table)> = transaction
        .query(TABLES, &[&names])
        .await?
        .iter()
        .map(|row| {
            let table = Table {
                name: row.get(2),
                secured: row.get(3),
                notes: row.get::<_, Vec<String>>(4),
                ..Table::default()
            };
            (row.get(0), (row.get(1), table))
        })
        .collect();
    columns(&transaction, &mut tables).await?;
    constraints(&transaction, &mut tables).await?;
    policies(&transaction, &mut tables).await?;
    for row in transaction.query(NOTES, &[&oids(&tables)]).await? {
        if let Some((_, table)) = tables.get_mut(&row.get(0)) {
            table.notes.push(row.get(1));
        }
    }
    for row in transaction.query(OTHERS, &[&names]).await? {
        if let Some(schema) = schemas.get_mut(row.get::<_, &str>(0)) {
            schema.others.push(row.get(1));
        }
    }
    transaction.rollback().await?;
    for (schema, table) in tables.into_values() {
        if let Some(schema) = schemas.get_mut(&schema) {
            schema.tables.push(table);
        }
    }
    let mut schemas: Vec<Schema> = schemas.into_values().collect();
    for schema in &mut schemas {
        schema.tables.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok(Survey { database, host, schemas })
}

fn oids(tables: &BTreeMap<u32, (String, Table)>) -> Vec<u32> {
    tables.keys().copied().collect()
}

async fn columns(
    transaction: &Transaction<'_>,
    tables: &mut BTreeMap<u32, (String, Table)>,
) -> Result<(), tokio_postgres::Error> {
    for row in transaction.query(COLUMNS, &[&oids(tables)]).await? {
        let Some((_, table)) = tables.get_mut(&row.get(0)) else {
            continue;
        };
        let sequence: Option<Vec<String>> = row.get(5);
        table.columns.push(Column {
            name: row.get(1),
            ty: row.get(2),
            not_null: row.get(3),
            default: row.get(4),
            sequence: sequence
                .and_then(|s| <[String; 2]>::try_from(s).ok())
                .map(|[schema, name]| (schema, name)),
            notes: row.get(6),
        });
    }
    Ok(())
}

async fn constraints(
    transaction: &Transaction<'_>,
    tables: &mut BTreeMap<u32, (String, Table)>,
) -> Result<(), tokio_postgres::Error> {
    for row in transaction.query(KEYS, &[&oids(tables)]).await? {
        let Some((_, table)) = tables.get_mut(&row.get(0)) else {
            continue;
        };
        let columns: Vec<String> = row.get(2);
        match row.get::<_, &str>(1) {
            "p" => table.primary_key = columns,
            _ => table.unique.push(columns),
        }
    }
    for row in transaction.query(FOREIGN_KEYS, &[&oids(tables)]).await? {
        let Some((_, table)) = tables.get_mut(&row.get(0)) else {
            continue;
        };
        table.foreign_keys.push(ForeignKey {
            columns: row.get(1),
            table: (row.get(2), row.get(3)),
            references: row.get(4),
            actions: row.get(5),
        });
    }
    Ok(())
}

async fn policies(
    transaction: &Transaction<'_>,
    tables: &mut BTreeMap<u32, (String, Table)>,
) -> Result<(), tokio_postgres::Error> {
    let letter = |row: &Row| row.get::<_, &str>(2).chars().next().unwrap_or('*');
    for row in transaction.query(POLICIES, &[&oids(tables)]).await? {
        let Some((_, table)) = tables.get_mut(&row.get(0)) else {
            continue;
        };
        table.policies.push(Policy {
            name: row.get(1),
            command: letter(&row),
            permissive: row.get(3),
            roles: row.get(4),
            using: row.get(5),
            check: row.get(6),
        });
    }
    Ok(())
}

const SCHEMAS: &str = "
SELECT n.nspname::text FROM pg_catalog.pg_namespace n
WHERE CASE WHEN pg_catalog.cardinality($1::text[]) > 0 THEN n.nspname::text = ANY ($1::text[])
  ELSE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'postern')
    AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'f')) END
ORDER BY 1";

/// Partitions and children hold rows of a table that is taken over itself.
const TABLES: &str = "
SELECT c.oid, n.nspname::text, c.relname::text, c.relrowsecurity,
  ARRAY(SELECT 'partition or child ' || i.inhrelid::pg_catalog.regclass::text FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid ORDER BY 1)::text[]
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname::text = ANY ($1::text[]) AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')";

const COLUMNS: &str = "
SELECT a.attrelid, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
  CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
  (SELECT ARRAY[n.nspname::text, s.relname::text] FROM pg_catalog.pg_depend p JOIN pg_catalog.pg_class s ON s.oid = p.objid
     JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
   WHERE p.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
     AND p.refobjid = a.attrelid AND p.refobjsubid = a.attnum AND p.deptype = 'a' AND s.relkind = 'S' LIMIT 1),
  ARRAY(SELECT w FROM (VALUES
    (CASE WHEN a.attgenerated <> '' THEN a.attname || ': GENERATED ALWAYS AS ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid) || ', and so' END),
    (CASE WHEN a.attidentity <> '' THEN a.attname || ': GENERATED AS IDENTITY, and so' END)) AS v(w) WHERE w IS NOT NULL)::text[]
FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum";

/// Primary keys, and what makes columns unique in all rows.
const KEYS: &str = "
SELECT i.indrelid, CASE WHEN i.indisprimary THEN 'p' ELSE 'u' END,
  ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k(n, at)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n WHERE k.at <= i.indnkeyatts ORDER BY k.at)
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY ($1::oid[]) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indrelid, c.relname";

const FOREIGN_KEYS: &str = "
SELECT c.conrelid,
  ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(c.conkey) WITH ORDINALITY AS k(n, at)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n ORDER BY k.at),
  n.nspname::text, t.relname::text,
  ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(c.confkey) WITH ORDINALITY AS k(n, at)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.n ORDER BY k.at),
  ARRAY(SELECT w FROM (VALUES
    (CASE c.confdeltype WHEN 'c' THEN 'ON DELETE CASCADE' WHEN 'n' THEN 'ON DELETE SET NULL' WHEN 'd' THEN 'ON DELETE SET DEFAULT' END),
    (CASE c.confupdtype WHEN 'c' THEN 'ON UPDATE CASCADE' WHEN 'n' THEN 'ON UPDATE SET NULL' WHEN 'd' THEN 'ON UPDATE SET DEFAULT' END),
    (CASE WHEN c.condeferrable THEN 'DEFERRABLE' END)) AS v(w) WHERE w IS NOT NULL)::text[]
FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_class t ON t.oid = c.confrelid JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
WHERE c.conrelid = ANY ($1::oid[]) AND c.contype = 'f' AND c.conparentid = 0
ORDER BY c.conrelid, c.conname";

const POLICIES: &str = "
SELECT p.polrelid, p.polname::text, p.polcmd::text, p.polpermissive,
  ARRAY(SELECT r.rolname::text FROM pg_catalog.pg_roles r WHERE r.oid = ANY (p.polroles) AND NOT 0 = ANY (p.polroles) ORDER BY 1),
  pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)
FROM pg_catalog.pg_policy p WHERE p.polrelid = ANY ($1::oid[]) ORDER BY p.polrelid, p.polname";

const NOTES: &str = "
SELECT c.conrelid, pg_catalog.pg_get_constraintdef(c.oid) FROM pg_catalog.pg_constraint c WHERE c.conrelid = ANY ($1::oid[]) AND c.contype IN ('c', 'x')
UNION ALL
SELECT t.tgrelid, 'trigger ' || t.tgname FROM pg_catalog.pg_trigger t WHERE t.tgrelid = ANY ($1::oid[]) AND NOT t.tgisinternal
UNION ALL
SELECT i.indrelid, pg_catalog.pg_get_indexdef(i.indexrelid) FROM pg_catalog.pg_index i
WHERE i.indrelid = ANY ($1::oid[]) AND i.indisunique AND (i.indpred IS NOT NULL OR i.indexprs IS NOT NULL)
ORDER BY 1, 2";

const OTHERS: &str = "
SELECT n.nspname::text, (CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialised view ' WHEN 'f' THEN 'foreign table ' ELSE 'sequence ' END)
  || pg_catalog.quote_ident(c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname::text = ANY ($1::text[]) AND c.relkind IN ('v', 'm', 'f', 'S')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i', 'e'))
UNION ALL
SELECT n.nspname::text, 'function ' || p.oid::pg_catalog.regprocedure::text
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname::text = ANY ($1::text[])
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT n.nspname::text, (CASE t.typtype WHEN 'e' THEN 'enum ' WHEN 'd' THEN 'domain ' ELSE 'range ' END) || pg_catalog.quote_ident(t.typname)
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname::text = ANY ($1::text[]) AND t.typtype IN ('e', 'd', 'r')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e')
ORDER BY 1, 2";
