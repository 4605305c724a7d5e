//! Tablespaces, roles, the database itself, and schemas.

use postern_config::manifest::{Login, LoginKind, SharedRows};
use postern_config::names::{quote_ident, quote_literal};
use postern_config::{Config, Manifest};

use super::step::{Need, ProvisionStep, VERIFIER_PLACEHOLDER, literals};
use super::{CATALOGUE_ROLE, CLAIMS_ROLE, POLICY_ROLE};

/// The steps before any table.
pub(super) fn steps(config: &Config) -> Vec<ProvisionStep> {
    let mut steps = Vec::new();
    steps.extend(config.modules.iter().filter_map(|m| tablespace_step(config, m)));
    for (role, attributes, means) in [
        (POLICY_ROLE, "BYPASSRLS", "rolbypassrls"),
        (CLAIMS_ROLE, "NOBYPASSRLS", "NOT rolbypassrls"),
        (CATALOGUE_ROLE, "NOBYPASSRLS", "NOT rolbypassrls"),
    ] {
        steps.extend(role_steps(
            role,
            &format!("NOLOGIN {attributes}"),
            &format!("NOT rolcanlogin AND {means}"),
        ));
    }
    steps.push(ProvisionStep::asked(
        format!("{CLAIMS_ROLE} reads when each backend started"),
        format!(
            "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.member \
             WHERE r.rolname = '{CLAIMS_ROLE}' AND m.roleid = 'pg_read_all_stats'::pg_catalog.regrole)"
        ),
        format!("GRANT pg_read_all_stats TO {CLAIMS_ROLE};"),
    ));
    for manifest in &config.modules {
        module_roles(config, manifest, &mut steps);
    }
    steps.push(foreign_memberships(config));
    steps.push(public_schema());
    steps.push(database(config));
    for manifest in &config.modules {
        steps.extend(tablespace_use(config, manifest));
        steps.extend(schema(manifest));
        steps.push(undeclared(manifest));
    }
    steps
}

/// The tablespace where a module's objects go.
pub(in crate::control) fn tablespace(config: &Config, manifest: &Manifest) -> String {
    match (&config.settings.tablespace_root, &manifest.tablespace) {
        (Some(_), Some(name)) => name.to_string(),
        _ => "pg_default".to_owned(),
    }
}

/// The module's owner and logins, quoted, comma-separated: everybody who may meet its tables.
pub(super) fn everybody(manifest: &Manifest) -> String {
    let owner = quote_ident(&manifest.owner_role());
    let logins = manifest.logins.iter().map(|l| quote_ident(l.name.as_str()));
    logins.chain([owner]).collect::<Vec<_>>().join(", ")
}

fn tablespace_step(config: &Config, manifest: &Manifest) -> Option<ProvisionStep> {
    let root = config.settings.tablespace_root.as_ref()?;
    let name = manifest.tablespace.as_ref()?;
    let directory = root.join(name.as_str());
    Some(
        ProvisionStep::asked(
            format!("tablespace {name}"),
            format!(
                "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_tablespace WHERE spcname = {})",
                quote_literal(name.as_str())
            ),
            format!(
                "CREATE TABLESPACE {} LOCATION {};",
                name.quoted(),
                quote_literal(&directory.display().to_string())
            ),
        )
        .alone(),
    )
}

/// What the owner makes later goes into its tablespace too.
fn tablespace_use(config: &Config, manifest: &Manifest) -> Option<ProvisionStep> {
    let name = tablespace(config, manifest);
    (name != "pg_default").then(|| {
        ProvisionStep::recorded(
            format!("who uses tablespace {name} of {}", manifest.module),
            format!(
                "SELECT spcacl::text FROM pg_catalog.pg_tablespace WHERE spcname = {}",
                quote_literal(&name)
            ),
            format!(
                "GRANT CREATE ON TABLESPACE {} TO {};",
                quote_ident(&name),
                quote_ident(&manifest.owner_role())
            ),
        )
    })
}

fn role_steps(role: &str, attributes: &str, means: &str) -> [ProvisionStep; 2] {
    let (name, literal) = (quote_ident(role), quote_literal(role));
    [
        ProvisionStep::asked(
            format!("role {role}"),
            format!("SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal})"),
            format!("CREATE ROLE {name} NOLOGIN;"),
        ),
        ProvisionStep::asked(
            format!("attributes of role {role}"),
            format!(
                "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal} AND NOT rolsuper AND NOT rolcreatedb \
                 AND NOT rolcreaterole AND NOT rolreplication AND NOT rolinherit = {inherits} AND {means})",
                inherits = if role == CLAIMS_ROLE { "false" } else { "true" }
            ),
            format!(
                "ALTER ROLE {name} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION {} {attributes};",
                // The claims' checker uses its one membership; nobody else inherits anything.
                if role == CLAIMS_ROLE { "INHERIT" } else { "NOINHERIT" }
            ),
        ),
    ]
}

fn module_roles(config: &Config, manifest: &Manifest, steps: &mut Vec<ProvisionStep>) {
    let owner = manifest.owner_role();
    steps.extend(role_steps(
        &owner,
        "NOLOGIN NOBYPASSRLS",
        "NOT rolcanlogin AND NOT rolbypassrls",
    ));
    for login in &manifest.logins {
        let name = login.name.as_str();
        steps.extend(role_steps(name, "LOGIN NOBYPASSRLS", "rolcanlogin AND NOT rolbypassrls"));
        steps.push(ProvisionStep::new(
            format!("password of role {name}"),
            Need::Password(login.name.clone()),
            format!("ALTER ROLE {} PASSWORD {VERIFIER_PLACEHOLDER};", quote_ident(name)),
        ));
        steps.push(settings(config, manifest, login));
        if acts_as_owner(login) {
            steps.push(ProvisionStep::asked(
                format!("role {name} may become {owner}"),
                format!(
                    "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.member \
                     JOIN pg_catalog.pg_roles o ON o.oid = m.roleid WHERE r.rolname = {} AND o.rolname = {})",
                    quote_literal(name),
                    quote_literal(&owner)
                ),
                format!("GRANT {} TO {};", quote_ident(&owner), quote_ident(name)),
            ));
        }
    }
}

/// Whether a login's sessions become the module's owner.
pub(super) fn acts_as_owner(login: &Login) -> bool {
    login.ddl || login.kind == LoginKind::Migrator
}

/// Where unqualified names and new objects of a login go.
fn settings(config: &Config, manifest: &Manifest, login: &Login) -> ProvisionStep {
    let (role, database) = (login.name.as_str(), &config.settings.upstream.database);
    let target = format!("ALTER ROLE {} IN DATABASE {}", quote_ident(role), quote_ident(database));
    ProvisionStep::recorded(
        format!("settings of role {role}"),
        format!(
            "SELECT s.setconfig::text FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_roles r ON r.oid = s.setrole \
             JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase WHERE r.rolname = {} AND d.datname = {}",
            quote_literal(role),
            quote_literal(database)
        ),
        format!(
            "{target} SET search_path = {};\n{target} SET default_tablespace = {};",
            manifest.schema.quoted(),
            // Named outright, the database's own tablespace would be refused for partitioned tables.
            quote_literal(
                Some(tablespace(config, manifest))
                    .filter(|t| t != "pg_default")
                    .as_deref()
                    .unwrap_or_default()
            )
        ),
    )
}

/// A login that is a member of anything but its own owner role would carry that role's rights past the second lock.
fn foreign_memberships(config: &Config) -> ProvisionStep {
    let logins = literals(config.modules.iter().flat_map(|m| &m.logins).map(|l| l.name.as_str()));
    let owners: Vec<String> = config.modules.iter().map(|m| m.owner_role()).collect();
    let wanted: Vec<String> = config
        .modules
        .iter()
        .flat_map(|m| m.logins.iter().filter(|l| acts_as_owner(l)).map(move |l| (m.owner_role(), l)))
        .map(|(owner, login)| format!("({}, {})", quote_literal(login.name.as_str()), quote_literal(&owner)))
        .collect();
    let excess = format!(
        "SELECT m.roleid, m.member FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.member \
         JOIN pg_catalog.pg_roles o ON o.oid = m.roleid WHERE r.rolname IN ({})",
        [logins, literals(owners.iter().map(String::as_str))]
            .into_iter()
            .filter(|s| !s.is_empty())
            .collect::<Vec<_>>()
            .join(", ")
    );
    let excess = match wanted.is_empty() {
        true => excess,
        false => format!(
            "{excess} AND (r.rolname::text, o.rolname::text) NOT IN ({})",
            wanted.join(", ")
        ),
    };
    ProvisionStep::asked(
        "modules' roles are members of nothing else",
        match config.modules.is_empty() {
            true => "SELECT false".to_owned(),
            false => format!("SELECT EXISTS ({excess})"),
        },
        format!(
            "DO $postern$\nDECLARE found record;\nBEGIN\n  FOR found IN {excess} LOOP\n    \
             EXECUTE pg_catalog.format('REVOKE %s FROM %s', found.roleid::pg_catalog.regrole, found.member::pg_catalog.regrole);\n  \
             END LOOP;\nEND\n$postern$;"
        ),
    )
}

fn public_schema() -> ProvisionStep {
    ProvisionStep::asked(
        "nobody uses schema public by default",
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a WHERE n.nspname = 'public' AND a.grantee = 0)",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC;",
    )
}

/// Who connects, and who makes temporary tables.
fn database(config: &Config) -> ProvisionStep {
    let name = quote_ident(&config.settings.upstream.database);
    let mut sql = format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC;");
    for manifest in &config.modules {
        let logins: Vec<String> = manifest.logins.iter().map(|l| quote_ident(l.name.as_str())).collect();
        if !logins.is_empty() {
            sql.push_str(&format!("\nGRANT CONNECT ON DATABASE {name} TO {};", logins.join(", ")));
        }
        let mut temporary: Vec<String> = manifest
            .logins
            .iter()
            .filter(|l| acts_as_owner(l))
            .map(|l| quote_ident(l.name.as_str()))
            .collect();
        if !temporary.is_empty() {
            temporary.push(quote_ident(&manifest.owner_role()));
            sql.push_str(&format!("\nGRANT TEMPORARY ON DATABASE {name} TO {};", temporary.join(", ")));
        }
    }
    ProvisionStep::recorded(
        "who connects to the database",
        format!(
            "SELECT datacl::text FROM pg_catalog.pg_database WHERE datname = {}",
            quote_literal(&config.settings.upstream.database)
        ),
        sql,
    )
}

/// Who may use what the module's own DDL makes: its service logins, and nobody else. Runtime logins see declared tables only, and a function is
/// nobody's until it was granted. What was there before is left as it is: a DBA grants what of it is wanted.
fn undeclared(manifest: &Manifest) -> ProvisionStep {
    let (schema, owner) = (manifest.schema.quoted(), quote_ident(&manifest.owner_role()));
    let services: Vec<String> = manifest
        .logins
        .iter()
        .filter(|l| l.kind == LoginKind::Service)
        .map(|l| quote_ident(l.name.as_str()))
        .collect();
    let mut sql = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;");
    if !services.is_empty() {
        let services = services.join(", ");
        for (rights, what) in [
            ("SELECT, INSERT, UPDATE, DELETE", "TABLES"),
            ("USAGE, SELECT, UPDATE", "SEQUENCES"),
            ("EXECUTE", "FUNCTIONS"),
        ] {
            sql.push_str(&format!(
                "\nALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT {rights} ON {what} TO {services};"
            ));
        }
    }
    let others: Vec<String> = manifest
        .logins
        .iter()
        .filter(|l| l.kind != LoginKind::Service)
        .map(|l| quote_ident(l.name.as_str()))
        .collect();
    if !others.is_empty() {
        // One of them may have been a service once.
        for what in ["TABLES", "SEQUENCES", "FUNCTIONS"] {
            sql.push_str(&format!(
                "\nALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} REVOKE ALL ON {what} FROM {};",
                others.join(", ")
            ));
        }
    }
    ProvisionStep::recorded(
        format!("who uses what {} makes itself", manifest.module),
        format!(
            "SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', d.defaclnamespace, d.defaclobjtype, d.defaclacl::text), ' ' \
             ORDER BY d.defaclnamespace, d.defaclobjtype) FROM pg_catalog.pg_default_acl d JOIN pg_catalog.pg_roles r ON r.oid = d.defaclrole \
             WHERE r.rolname = {}",
            quote_literal(&manifest.owner_role())
        ),
        sql,
    )
}

fn schema(manifest: &Manifest) -> Vec<ProvisionStep> {
    let (schema, owner) = (manifest.schema.quoted(), quote_ident(&manifest.owner_role()));
    let literal = quote_literal(manifest.schema.as_str());
    let mut grants = format!("REVOKE ALL ON SCHEMA {schema} FROM PUBLIC;");
    if !manifest.logins.is_empty() {
        let logins: Vec<String> = manifest.logins.iter().map(|l| quote_ident(l.name.as_str())).collect();
        grants.push_str(&format!("\nGRANT USAGE ON SCHEMA {schema} TO {};", logins.join(", ")));
    }
    let shows_all_rows = manifest.exports.iter().any(|e| e.rows == SharedRows::All);
    if shows_all_rows || !super::policies::functions(manifest).is_empty() {
        grants.push_str(&format!("\nGRANT USAGE ON SCHEMA {schema} TO {POLICY_ROLE};"));
    }
    vec![
        ProvisionStep::asked(
            format!("schema {}", manifest.schema),
            format!(
                "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner \
                 WHERE n.nspname = {literal} AND r.rolname = {})",
                quote_literal(&manifest.owner_role())
            ),
            format!("CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {owner};\nALTER SCHEMA {schema} OWNER TO {owner};"),
        ),
        ProvisionStep::recorded(
            format!("who uses schema {}", manifest.schema),
            format!("SELECT nspacl::text FROM pg_catalog.pg_namespace WHERE nspname = {literal}"),
            grants,
        ),
    ]
}
