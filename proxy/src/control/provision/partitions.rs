//! The partitions of declared tables, closed: their rows are reached by way of their table, whose policies filter them.
//!
//! A partition that is named in a statement has row-level security of its own and nothing of its table's. So each has row-level security
//! without a policy, forced on its owner too, and the module's logins have SELECT on it, which LOCK TABLE asks for, and no other right: by its own
//! name it shows no row and takes none, and stays so when it is detached. `postern provision` sees to it; where it may make event triggers, one
//! does as soon as a partition is made, whoever makes it, and the statement fails where that fails. It closes what the role that runs the statement
//! may close, with that role's rights, so that no module's statement depends on, or is told of, another's partitions.
//!
//! The same event trigger lets no login of a module attach a partition or give one a constraint of its own, nor refer to one by a foreign key. What
//! a statement's name stands for may change while the statement waits for a lock: a table that was judged as the module's own may by then be a
//! partition that another session has made under its name. Only PostgreSQL sees that.

use postern_config::names::quote_literal;
use postern_config::{Config, Manifest};

use super::policies::function_state;
use super::step::{ProvisionStep, literals};
use super::tables;

const TRIGGER: &str = "postern_partitions_closed";
const FUNCTION: &str = "postern.close_partitions()";

/// The step that closes what is open, then the function and its trigger.
pub(super) fn steps(config: &Config) -> Vec<ProvisionStep> {
    let open = open(config);
    // A module's statement closes its own; what is open elsewhere it could not mend, and is not told of.
    let own = format!(
        "SELECT o.* FROM ({open}) AS o WHERE EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) o.owner::pg_catalog.name \
         AND pg_catalog.pg_has_role(r.oid, 'USAGE')) AND EXISTS (SELECT FROM pg_catalog.pg_roles r \
         WHERE r.rolname OPERATOR(pg_catalog.=) o.belongs::pg_catalog.name AND pg_catalog.pg_has_role(r.oid, 'USAGE'))"
    );
    vec![
        ProvisionStep::asked(
            "partitions of declared tables are closed",
            format!("SELECT EXISTS ({open})"),
            format!("DO $postern$\n{}$postern$;", body("", &open)),
        ),
        ProvisionStep::recorded(
            format!("function {FUNCTION}: closes new partitions"),
            function_state(FUNCTION),
            format!(
                "CREATE OR REPLACE FUNCTION {FUNCTION} RETURNS event_trigger LANGUAGE plpgsql VOLATILE AS $body$\n{}$body$;\n\
                 REVOKE ALL ON FUNCTION {FUNCTION} FROM PUBLIC;",
                body(&refused(config, &open), &own)
            ),
        ),
        ProvisionStep::recorded(
            format!("event trigger {TRIGGER}"),
            format!(
                "SELECT pg_catalog.concat_ws(' ', evtevent, evtfoid::pg_catalog.regprocedure, evtenabled, evttags) \
                 FROM pg_catalog.pg_event_trigger WHERE evtname = '{TRIGGER}'"
            ),
            format!(
                "DROP EVENT TRIGGER IF EXISTS {TRIGGER};\n\
                 CREATE EVENT TRIGGER {TRIGGER} ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE') EXECUTE FUNCTION {FUNCTION};\n\
                 ALTER EVENT TRIGGER {TRIGGER} ENABLE ALWAYS;"
            ),
        )
        .optional(),
    ]
}

/// plpgsql that refuses what no login of a module does to a partition: a constraint that is not its table's, a foreign key to it, rows that come
/// with it. What is attached is not closed yet; what is made has been closed when its own CREATE TABLE ended.
fn refused(config: &Config, open: &str) -> String {
    let logins = literals(config.modules.iter().flat_map(|m| &m.logins).map(|l| l.name.as_str()));
    if logins.is_empty() {
        return String::new();
    }
    format!(
        "  IF session_user::pg_catalog.text OPERATOR(pg_catalog.=) ANY (ARRAY[{logins}]::pg_catalog.text[]) AND (EXISTS (\n      \
         {below} SELECT FROM pg_catalog.pg_event_trigger_ddl_commands() d \
         JOIN pg_catalog.pg_constraint k ON k.conrelid OPERATOR(pg_catalog.=) d.objid \
         JOIN below b ON b.oid OPERATOR(pg_catalog.=) k.conrelid OR b.oid OPERATOR(pg_catalog.=) k.confrelid \
         WHERE k.conislocal AND k.conparentid OPERATOR(pg_catalog.=) 0 AND k.contype OPERATOR(pg_catalog.<>) 'n'\n    \
         ) OR tg_tag OPERATOR(pg_catalog.=) 'ALTER TABLE' AND EXISTS (\n      \
         SELECT FROM pg_catalog.pg_event_trigger_ddl_commands() d JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) d.objid \
         JOIN ({open}) o ON o.oid OPERATOR(pg_catalog.=) i.inhrelid\n    )) THEN\n    \
         RAISE EXCEPTION 'permission denied for a partition of a declared table' USING ERRCODE = '42501';\n  END IF;\n",
        below = below(config),
    )
}

/// plpgsql that closes each. Its own ALTER TABLE fires the trigger again, which then finds less.
fn body(refused: &str, open: &str) -> String {
    format!(
        "DECLARE found record;\nDECLARE opened pg_catalog.name;\nBEGIN\n{refused}  FOR found IN {open} LOOP\n    \
         IF found.owner OPERATOR(pg_catalog.<>) found.belongs THEN\n      \
         EXECUTE pg_catalog.format('ALTER TABLE %s OWNER TO %I', found.name, found.owner);\n    END IF;\n    \
         FOR opened IN SELECT p.polname FROM pg_catalog.pg_policy p WHERE p.polrelid OPERATOR(pg_catalog.=) found.oid LOOP\n      \
         EXECUTE pg_catalog.format('DROP POLICY %I ON %s', opened, found.name);\n    END LOOP;\n    \
         EXECUTE pg_catalog.format('REVOKE ALL ON TABLE %s FROM PUBLIC', found.name);\n    \
         IF found.users OPERATOR(pg_catalog.<>) '' THEN\n      \
         EXECUTE pg_catalog.format('REVOKE ALL ON TABLE %s FROM %s', found.name, found.users);\n      \
         EXECUTE pg_catalog.format('GRANT SELECT ON TABLE %s TO %s', found.name, found.users);\n    END IF;\n    \
         EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', found.name);\n  \
         END LOOP;\nEND\n"
    )
}

/// A WITH clause of `below`, the partitions of declared tables however far down: oid, who is to own it, the logins that may lock it.
/// Functions and operators are PostgreSQL's own, whatever the path is.
fn below(config: &Config) -> String {
    let rows: Vec<String> = config
        .modules
        .iter()
        .flat_map(|m| m.tables.iter().map(move |t| of_table(m, t.name.name.as_str())))
        .collect();
    let declared = match rows.is_empty() {
        true => "SELECT NULL::pg_catalog.text, NULL::pg_catalog.text, NULL::pg_catalog.text, NULL::pg_catalog.text WHERE false"
            .to_owned(),
        false => format!("VALUES {}", rows.join(", ")),
    };
    format!(
        "WITH RECURSIVE declared(schema, relation, owner, users) AS ({declared}), \
         below(oid, owner, users) AS (SELECT i.inhrelid, d.owner, d.users FROM declared d \
         JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) d.schema::pg_catalog.name \
         JOIN pg_catalog.pg_class c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid AND c.relname OPERATOR(pg_catalog.=) d.relation::pg_catalog.name \
         AND c.relkind OPERATOR(pg_catalog.=) 'p' JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) c.oid \
         UNION SELECT i.inhrelid, b.owner, b.users FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) b.oid)"
    )
}

/// A query of the partitions of declared tables that are not closed: oid, qualified name, its owner, who is to own it, the logins that may lock it.
fn open(config: &Config) -> String {
    format!(
        "{} SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text AS belongs, \
         b.owner, b.users FROM below b JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) b.oid \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE NOT (c.relrowsecurity AND c.relforcerowsecurity) OR pg_catalog.pg_get_userbyid(c.relowner) OPERATOR(pg_catalog.<>) b.owner::pg_catalog.name \
         OR EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid OPERATOR(pg_catalog.=) c.oid) \
         OR EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) a WHERE a.grantee OPERATOR(pg_catalog.<>) c.relowner \
         AND (a.privilege_type OPERATOR(pg_catalog.<>) 'SELECT' OR a.grantee OPERATOR(pg_catalog.=) 0))",
        below(config)
    )
}

fn of_table(manifest: &Manifest, relation: &str) -> String {
    let cells = [
        manifest.schema.as_str(),
        relation,
        &manifest.owner_role(),
        &tables::users(manifest),
    ];
    format!("({})", cells.map(quote_literal).join(", "))
}
