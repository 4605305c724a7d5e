//! Schema `postern`: the function that says whether a session's claims are the proxy's own, the key it needs, and the tables that
//! provisioning and the catalogue views read.
//!
//! Claims travel as plain session settings, which any session can write. What makes them claims is the MAC beside them:
//! HMAC-SHA-256 over backend pid, backend start, session user, every claim and the expiry, each as decimal byte length, `:` and bytes.
//! The HMAC is built from PostgreSQL's own `sha256` with the key's inner and outer pads kept ready in a table that only the function's
//! owner reads. The session user (not the current one) is covered, because migrators act as their module's owner.
//!
//! Asking for the backend's start costs more than all the rest (the server copies every session's state to answer), so `postern.enter()`
//! asks once after connecting and keeps the answer where no client can put another: as the session's own last value of a sequence that
//! only the functions' owner may set. A session that never entered is asked each time; the answer is the same.
//!
//! The MAC itself is checked when the proxy has set the claims: `postern.adopt()` keeps, in the same way, 64 bits of a SHA-256 over the
//! claims, the expiry and a random number that `postern.enter()` drew and nobody can read. As long as `postern.verified()` finds the
//! settings unchanged by that, and the expiry ahead, it asks no more; otherwise (claims of one transaction, a rollback, a session that may
//! not write) it checks the MAC. Sequences are not transactional, settings are: whatever is rolled back, one of the two ways answers right.
//! The sequences are unlogged, so neither function waits for the disk.
//!
//! None of the functions has a `SET search_path`, whose cost every statement would pay: every name and operator in them is qualified instead.

use postern_config::manifest::{Login, LoginKind};
use postern_config::names::quote_literal;
use postern_config::{Config, Manifest};

use super::policies::function_state;
use super::roles::{everybody, tablespace};
use super::step::{Need, ProvisionStep};
use super::{CATALOGUE_ROLE, CLAIMS_ROLE};

/// Schema and bookkeeping: they stand before every recorded step.
pub(super) fn schema_steps() -> Vec<ProvisionStep> {
    vec![
        ProvisionStep::asked(
            "schema postern",
            "SELECT pg_catalog.to_regnamespace('postern') IS NULL",
            "CREATE SCHEMA IF NOT EXISTS postern;",
        ),
        table(
            "provisioned",
            "title text PRIMARY KEY, wanted text NOT NULL, found text NOT NULL",
            "what provisioning made, to notice drift",
        ),
    ]
}

/// A table of the control plane's own.
fn table(name: &str, columns: &str, what: &str) -> ProvisionStep {
    ProvisionStep::asked(
        format!("table postern.{name}: {what}"),
        format!("SELECT pg_catalog.to_regclass('postern.{name}') IS NULL"),
        format!("CREATE TABLE IF NOT EXISTS postern.{name} ({columns});\nREVOKE ALL ON TABLE postern.{name} FROM PUBLIC;"),
    )
}

/// A sequence that holds nothing but what each session says of itself, by the functions' owner alone. Its values may be any.
fn sequence(name: &str, what: &str) -> ProvisionStep {
    ProvisionStep::recorded(
        format!("sequence postern.{name}: {what}"),
        format!(
            "SELECT pg_catalog.concat_ws(' ', r.rolname, c.relacl::text, c.relpersistence, s.seqmin) FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_roles r ON r.oid = c.relowner JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid \
             WHERE c.oid = pg_catalog.to_regclass('postern.{name}')"
        ),
        format!(
            "CREATE SEQUENCE IF NOT EXISTS postern.{name};\nALTER SEQUENCE postern.{name} MINVALUE {} NO MAXVALUE;\n\
             ALTER SEQUENCE postern.{name} SET UNLOGGED;\nREVOKE ALL ON SEQUENCE postern.{name} FROM PUBLIC;\n\
             ALTER SEQUENCE postern.{name} OWNER TO {CLAIMS_ROLE};",
            i64::MIN
        ),
    )
}

/// The claims key, `verified()`, the key catalogue's table and the mapping tables.
pub(super) fn steps(config: &Config) -> Vec<ProvisionStep> {
    let all = &config.claim_settings();
    let everybody: Vec<String> = config.modules.iter().map(|m| everybody(m)).collect();
    let mut steps = vec![
        table(
            "key_catalogue",
            "single boolean PRIMARY KEY DEFAULT true CHECK (single), generation bigint NOT NULL, body text NOT NULL",
            "wrapped keys and their MAC",
        ),
        table(
            "claims_key",
            "single boolean PRIMARY KEY DEFAULT true CHECK (single), inner_pad bytea NOT NULL, outer_pad bytea NOT NULL",
            "the key of the claims' MAC",
        ),
        table(
            "login_schema",
            "login name PRIMARY KEY, schema name NOT NULL, owner name NOT NULL, tablespace name NOT NULL",
            "which schema a login sees",
        ),
        table(
            "declared_columns",
            "schema name, relation name, attribute name, type_oid oid NOT NULL, typmod int4 NOT NULL, \
             PRIMARY KEY (schema, relation, attribute)",
            "the types that clients see of protected columns",
        ),
        table(
            "declared_relations",
            "schema name, relation name, PRIMARY KEY (schema, relation)",
            "what manifests declare",
        ),
        table(
            "undeclared_logins",
            "login name PRIMARY KEY",
            "which logins are the module itself, and see what its manifest does not declare",
        ),
        ProvisionStep::recorded(
            "who reads the tables of schema postern",
            "SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', c.relname, r.rolname, c.relacl::text), ' ' ORDER BY c.relname) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner \
             WHERE c.relnamespace = pg_catalog.to_regnamespace('postern') AND c.relkind = 'r'",
            format!(
                "REVOKE ALL ON ALL TABLES IN SCHEMA postern FROM PUBLIC;\n\
                 ALTER TABLE postern.claims_key OWNER TO {CLAIMS_ROLE};\n\
                 GRANT SELECT ON TABLE postern.login_schema, postern.declared_columns, postern.declared_relations, \
                 postern.undeclared_logins TO {CATALOGUE_ROLE};"
            ),
        ),
        ProvisionStep::recorded(
            "who uses schema postern",
            "SELECT nspacl::text FROM pg_catalog.pg_namespace WHERE nspname = 'postern'",
            format!(
                "REVOKE ALL ON SCHEMA postern FROM PUBLIC;\nGRANT USAGE ON SCHEMA postern TO {};",
                everybody
                    .iter()
                    .map(String::as_str)
                    .chain([super::POLICY_ROLE, CLAIMS_ROLE, CATALOGUE_ROLE])
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        ),
        ProvisionStep::new(
            "keys of protected columns".to_owned(),
            Need::Keys,
            "INSERT INTO postern.key_catalogue (generation, body) VALUES ('<generation>', '<wrapped keys>');".to_owned(),
        ),
        ProvisionStep::new(
            "key of the claims' MAC".to_owned(),
            Need::ClaimsKey,
            "INSERT INTO postern.claims_key (inner_pad, outer_pad) VALUES ('<inner pad>', '<outer pad>');".to_owned(),
        ),
        sequence("backend_start", "where each session keeps its start"),
        sequence("claims_salt", "each session's secret"),
        sequence("claims_proof", "where each session keeps which claims were checked"),
        function("enter", "bigint", "VOLATILE PARALLEL UNSAFE", &enter_body(), &everybody),
        function("checked", "boolean", "STABLE PARALLEL RESTRICTED", &checked_body(all), &[]),
        function("adopt", "boolean", "VOLATILE PARALLEL UNSAFE", &adopt_body(all), &everybody),
        function(
            "verified",
            "boolean",
            "STABLE PARALLEL RESTRICTED",
            &verified_body(all),
            &everybody,
        ),
    ];
    steps.push(refused(&everybody));
    steps.push(rows(
        "login_schema",
        "login, schema, owner, tablespace",
        "name, name, name, name",
        config.modules.iter().flat_map(|m| login_rows(config, m)).collect(),
    ));
    steps.push(rows(
        "declared_columns",
        "schema, relation, attribute, type_oid, typmod",
        "name, name, name, oid, int4",
        config.modules.iter().flat_map(|m| declared_rows(m)).collect(),
    ));
    steps.push(rows(
        "declared_relations",
        "schema, relation",
        "name, name",
        config.modules.iter().flat_map(|m| relation_rows(m)).collect(),
    ));
    let module_itself = |l: &&Login| l.kind != LoginKind::Runtime;
    let logins = config.modules.iter().flat_map(|m| m.logins.iter().filter(module_itself));
    steps.push(rows(
        "undeclared_logins",
        "login",
        "name",
        logins.map(|l| format!("({})", quote_literal(l.name.as_str()))).collect(),
    ));
    steps.push(retired_logins(config));
    steps
}

fn login_rows(config: &Config, manifest: &Manifest) -> Vec<String> {
    let space = tablespace(config, manifest);
    manifest
        .logins
        .iter()
        .map(|login| {
            let fields = [login.name.as_str(), manifest.schema.as_str(), &manifest.owner_role(), &space].map(quote_literal);
            format!("({})", fields.join(", "))
        })
        .collect()
}

fn declared_rows(manifest: &Manifest) -> Vec<String> {
    let protected = manifest.tables.iter().flat_map(|table| {
        table
            .columns
            .iter()
            .filter(|c| c.protection.is_some())
            .filter_map(move |column| Some((table, column, column.ty.oid()?)))
    });
    protected
        .map(|(table, column, oid)| {
            let names = [table.name.schema.as_str(), table.name.name.as_str(), column.name.as_str()].map(quote_literal);
            format!("({}, {oid}, {})", names.join(", "), column.ty.typmod())
        })
        .collect()
}

fn relation_rows(manifest: &Manifest) -> Vec<String> {
    let names = manifest.tables.iter().flat_map(|table| {
        let sequences = super::tables::sequence_names(table);
        std::iter::once(table.name.name.to_string()).chain(sequences)
    });
    let imports = manifest.imports.iter().map(|import| import.name.to_string());
    names
        .chain(imports)
        .map(|name| {
            let fields = [manifest.schema.as_str(), &name].map(quote_literal);
            format!("({})", fields.join(", "))
        })
        .collect()
}

/// Makes a mapping table hold exactly these rows.
fn rows(table: &str, columns: &str, types: &str, rows: Vec<String>) -> ProvisionStep {
    let casts: Vec<String> = columns
        .split(", ")
        .zip(types.split(", "))
        .map(|(column, ty)| format!("{column}::{ty}"))
        .collect();
    let wanted = match rows.is_empty() {
        true => format!("SELECT {columns} FROM postern.{table} WHERE false"),
        false => format!(
            "SELECT {} FROM (VALUES\n  {}) AS w({columns})",
            casts.join(", "),
            rows.join(",\n  ")
        ),
    };
    ProvisionStep::recorded(
        format!("rows of postern.{table}"),
        format!("SELECT pg_catalog.string_agg(t::text, ' ' ORDER BY t::text) FROM postern.{table} t"),
        format!(
            "DELETE FROM postern.{table} WHERE ({columns}) NOT IN ({wanted});\n\
             INSERT INTO postern.{table} ({columns}) {wanted} ON CONFLICT DO NOTHING;"
        ),
    )
}

/// A login that is no longer declared keeps its role and cannot log in. It was ours if an earlier run recorded its settings.
fn retired_logins(config: &Config) -> ProvisionStep {
    let kept: Vec<&str> = config
        .modules
        .iter()
        .flat_map(|m| &m.logins)
        .map(|l| l.name.as_str())
        .collect();
    let gone = format!(
        "SELECT r.rolname FROM pg_catalog.pg_roles r JOIN postern.provisioned p ON p.title = 'settings of role ' || r.rolname::text \
         WHERE r.rolcanlogin{}",
        if kept.is_empty() {
            String::new()
        } else {
            format!(" AND r.rolname NOT IN ({})", super::step::literals(kept))
        }
    );
    ProvisionStep::asked(
        "logins that are no longer declared cannot log in",
        format!("SELECT EXISTS ({gone})"),
        format!(
            "DO $postern$\nDECLARE found name;\nBEGIN\n  FOR found IN {gone} LOOP\n    \
             EXECUTE pg_catalog.format('ALTER ROLE %I NOLOGIN', found);\n  END LOOP;\nEND\n$postern$;"
        ),
    )
}

/// A function of the claims' own role; `callers` may call it, and the policies' role where there are any.
fn function(name: &str, returns: &str, volatility: &str, body: &str, callers: &[String]) -> ProvisionStep {
    let signature = format!("postern.{name}()");
    let mut sql = format!(
        "CREATE OR REPLACE FUNCTION {signature} RETURNS {returns}\n  LANGUAGE plpgsql {volatility} SECURITY DEFINER\n  AS {};\n\
         ALTER FUNCTION {signature} OWNER TO {CLAIMS_ROLE};\nREVOKE ALL ON FUNCTION {signature} FROM PUBLIC;",
        quote_literal(body)
    );
    if !callers.is_empty() {
        let callers: Vec<&str> = callers.iter().map(String::as_str).chain([super::POLICY_ROLE]).collect();
        sql.push_str(&format!("\nGRANT EXECUTE ON FUNCTION {signature} TO {};", callers.join(", ")));
    }
    ProvisionStep::recorded(format!("function {signature}"), function_state(&signature), sql)
}

/// The function by which the proxy refuses, from within a statement, a row that PostgreSQL would refuse by a filter of its own. It has no rights and
/// needs none.
fn refused(callers: &[String]) -> ProvisionStep {
    let signature = "postern.refused(pg_catalog.text)";
    let mut sql = format!(
        "CREATE OR REPLACE FUNCTION postern.refused(message pg_catalog.text) RETURNS boolean\n  LANGUAGE plpgsql VOLATILE\n  \
         AS 'BEGIN RAISE EXCEPTION USING ERRCODE = ''42501'', MESSAGE = message; END';\n\
         ALTER FUNCTION {signature} OWNER TO {CLAIMS_ROLE};\nREVOKE ALL ON FUNCTION {signature} FROM PUBLIC;"
    );
    if !callers.is_empty() {
        sql.push_str(&format!("\nGRANT EXECUTE ON FUNCTION {signature} TO {};", callers.join(", ")));
    }
    ProvisionStep::recorded(format!("function {signature}"), function_state(signature), sql)
}

/// When this backend started, in unix microseconds, as SQL over `pg_stat_get_activity` named `a`.
const STARTED: &str = "(pg_catalog.date_part('epoch', a.backend_start) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8";

/// The body of `postern.enter()`: called once after connecting, answers the backend's start. Called again it draws another secret, so
/// that claims are checked anew. The setting is a hint and no proof: without it the start is asked for, with it and without a kept start
/// the check fails. On a standby, where nothing can be kept, it is asked for each time.
fn enter_body() -> String {
    format!(
        "
DECLARE
  started pg_catalog.int8;
BEGIN
  SELECT {STARTED} INTO started FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a;
  IF NOT pg_catalog.pg_is_in_recovery() THEN
    PERFORM pg_catalog.setval('postern.backend_start'::pg_catalog.regclass, started, true);
    PERFORM pg_catalog.setval('postern.claims_salt'::pg_catalog.regclass, pg_catalog.hashtextextended(
      pg_catalog.concat(pg_catalog.gen_random_uuid(), pg_catalog.gen_random_uuid()), 0), true);
    PERFORM pg_catalog.set_config('postern.entered', 'on', false);
  END IF;
  RETURN started;
END
"
    )
}

fn setting(name: &str) -> String {
    format!("pg_catalog.current_setting('postern.{name}', true)")
}

/// What stands for the claims and their expiry, as SQL: 64 bits that nobody can choose or foresee without the session's secret. An array's
/// text tells its elements apart.
fn digest(settings: &[String]) -> String {
    let settings: Vec<String> = settings.iter().map(String::as_str).chain(["exp"]).map(setting).collect();
    format!(
        "pg_catalog.hashtextextended(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat(\
         pg_catalog.currval('postern.claims_salt'::pg_catalog.regclass), (ARRAY[{}])::pg_catalog.text), 'UTF8')), 'hex'), 0)",
        settings.join(", ")
    )
}

/// The body of `postern.adopt()`: called once when claims were set for the session, says whether they are good and kept. A transaction that
/// may not write keeps nothing; a setting says whether something is kept, which is a hint and no proof.
fn adopt_body(settings: &[String]) -> String {
    format!(
        "
BEGIN
  IF {entered} OPERATOR(pg_catalog.=) 'on' AND pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'off'
     AND postern.checked() THEN
    PERFORM pg_catalog.setval('postern.claims_proof'::pg_catalog.regclass, {digest}, true);
    PERFORM pg_catalog.set_config('postern.adopted', 'on', false);
    RETURN true;
  END IF;
  RETURN false;
END
",
        entered = setting("entered"),
        digest = digest(settings),
    )
}

/// The body of `postern.verified()`: one expression, because each costs again in every transaction.
fn verified_body(settings: &[String]) -> String {
    format!(
        "
BEGIN
  RETURN CASE WHEN {adopted} OPERATOR(pg_catalog.=) 'on'
    THEN CASE WHEN pg_catalog.currval('postern.claims_proof'::pg_catalog.regclass) OPERATOR(pg_catalog.=) {digest}
      THEN CASE WHEN coalesce({expiry}, '') OPERATOR(pg_catalog.=) '' THEN true
        ELSE pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.<) {expiry}::pg_catalog.float8 END
      ELSE postern.checked() END
    ELSE postern.checked() END;
END
",
        adopted = setting("adopted"),
        digest = digest(settings),
        expiry = setting("exp"),
    )
}

/// The body of `postern.checked()`, which checks the MAC. A guest (no claim at all) leaves before any variable is made: each one costs a tenth of the rest.
fn checked_body(all: &[String]) -> String {
    let declared: Vec<String> = all
        .iter()
        .enumerate()
        .map(|(i, claim)| format!("    c{i} pg_catalog.text := coalesce({}, '');", setting(claim)))
        .collect();
    let settings: Vec<String> = all.iter().map(|claim| setting(claim)).collect();
    let claims = (0..all.len()).map(|i| format!("c{i}"));
    let framed: Vec<String> = ["pid", "started", "login"]
        .into_iter()
        .map(str::to_owned)
        .chain(claims)
        .chain(["expiry".to_owned()])
        .map(|field| format!("pg_catalog.octet_length({field}), ':', {field}"))
        .collect();
    format!(
        "
BEGIN
  IF pg_catalog.concat({settings}) OPERATOR(pg_catalog.=) '' THEN
    RETURN true;
  END IF;
  DECLARE
{declared}
    expiry pg_catalog.text := coalesce({expiry}, '');
    pid pg_catalog.text := pg_catalog.pg_backend_pid()::pg_catalog.text;
    login pg_catalog.text := session_user::pg_catalog.text;
    started pg_catalog.text;
    inner_key pg_catalog.bytea;
    outer_key pg_catalog.bytea;
  BEGIN
    IF coalesce({entered}, '') OPERATOR(pg_catalog.=) 'on' THEN
      started := pg_catalog.currval('postern.backend_start'::pg_catalog.regclass)::pg_catalog.text;
    ELSE
      SELECT {STARTED}::pg_catalog.text INTO started FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a;
    END IF;
    SELECT k.inner_pad, k.outer_pad INTO inner_key, outer_key FROM postern.claims_key k;
    IF pg_catalog.encode(pg_catalog.sha256(outer_key OPERATOR(pg_catalog.||) pg_catalog.sha256(inner_key OPERATOR(pg_catalog.||)
         pg_catalog.convert_to(pg_catalog.concat({framed}), 'UTF8'))), 'hex')
       OPERATOR(pg_catalog.=) coalesce({mac}, '') THEN
      RETURN pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.<) expiry::pg_catalog.float8;
    END IF;
    RETURN false;
  END;
END
",
        settings = settings.join(",\n    "),
        declared = declared.join("\n"),
        expiry = setting("exp"),
        entered = setting("entered"),
        framed = framed.join(",\n           "),
        mac = setting("mac"),
    )
}
