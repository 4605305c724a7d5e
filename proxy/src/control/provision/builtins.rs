//! Built-in functions that reach around rights: PUBLIC may execute them on a fresh cluster, modules may not.
//!
//! The judge refuses these too; this is the second lock's own answer. Functions that only a superuser may call from the start
//! (`pg_read_file`, `lo_import`, …) are listed all the same, so that an earlier GRANT to PUBLIC is taken back.

use super::step::{ProvisionStep, literals};

/// Names in `pg_catalog`, all signatures of each.
const REVOKED: &[&str] = &[
    // run SQL given as text, or read a relation named by text
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "table_to_xml",
    "table_to_xmlschema",
    "table_to_xml_and_xmlschema",
    "schema_to_xml",
    "schema_to_xmlschema",
    "schema_to_xml_and_xmlschema",
    "database_to_xml",
    "database_to_xmlschema",
    "database_to_xml_and_xmlschema",
    "ts_stat",
    "ts_rewrite",
    "currtid2",
    // large objects belong to no schema and so to no module
    "lo_close",
    "lo_creat",
    "lo_create",
    "lo_export",
    "lo_from_bytea",
    "lo_get",
    "lo_import",
    "lo_lseek",
    "lo_lseek64",
    "lo_open",
    "lo_put",
    "lo_tell",
    "lo_tell64",
    "lo_truncate",
    "lo_truncate64",
    "lo_unlink",
    "loread",
    "lowrite",
    // the host's files
    "pg_ls_archive_statusdir",
    "pg_ls_dir",
    "pg_ls_logdir",
    "pg_ls_logicalmapdir",
    "pg_ls_logicalsnapdir",
    "pg_ls_replslotdir",
    "pg_ls_tmpdir",
    "pg_ls_waldir",
    "pg_read_binary_file",
    "pg_read_file",
    "pg_read_file_old",
    "pg_stat_file",
    "pg_current_logfile",
    "pg_relation_filepath",
    "pg_relation_filenode",
    "pg_filenode_relation",
    // sizes of relations that one may not read
    "pg_relation_size",
    "pg_table_size",
    "pg_indexes_size",
    "pg_total_relation_size",
    "pg_database_size",
    "pg_tablespace_size",
    "pg_tablespace_databases",
    // other sessions
    "pg_cancel_backend",
    "pg_terminate_backend",
    "pg_blocking_pids",
    "pg_safe_snapshot_blocking_pids",
    "pg_lock_status",
    "pg_prepared_xact",
];

/// One step; where the control role does not own the built-ins it is left out and reported.
pub(super) fn step() -> ProvisionStep {
    let open = format!(
        "SELECT p.oid FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace \
         AND p.proname IN ({}) AND EXISTS (SELECT FROM pg_catalog.aclexplode(coalesce(p.proacl, \
         pg_catalog.acldefault('f', p.proowner))) a WHERE a.grantee = 0)",
        literals(REVOKED.iter().copied())
    );
    ProvisionStep::asked(
        "built-in functions that reach around rights are not everybody's",
        format!("SELECT EXISTS ({open})"),
        format!(
            "DO $postern$\nDECLARE found oid;\nBEGIN\n  FOR found IN {open} LOOP\n    \
             EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', found::pg_catalog.regprocedure);\n  \
             END LOOP;\nEND\n$postern$;"
        ),
    )
    .optional()
}
