//! Event triggers that tell the proxies which module's catalogue a committed statement changed, whoever ran it.
//!
//! The functions run with the rights of whoever runs the statement, superusers among them, so they stay the provisioning role's. What fails in
//! them fails nothing else; a statement that notified cannot be part of a two-phase commit (PREPARE TRANSACTION).
//!
//! Only a superuser may make them, so the steps are optional: without them a change is noticed some seconds later.

use postern_config::Config;
use postern_config::names::quote_literal;

use super::policies::function_state;
use super::step::{ProvisionStep, literals};
use crate::control::hearing::CHANNEL;

/// The two functions and their triggers.
pub(super) fn steps(config: &Config) -> Vec<ProvisionStep> {
    let schemas = literals(config.modules.iter().map(|m| m.schema.as_str()));
    let channel = quote_literal(CHANNEL);
    [
        ("ddl_command_end", "changed", "pg_catalog.pg_event_trigger_ddl_commands()"),
        ("sql_drop", "dropped", "pg_catalog.pg_event_trigger_dropped_objects()"),
    ]
    .into_iter()
    .flat_map(|(event, name, objects)| {
        let function = format!("postern.catalogue_{name}()");
        let trigger = format!("postern_catalogue_{name}");
        [
            ProvisionStep::recorded(
                format!("function {function}: tells the proxies"),
                function_state(&function),
                format!(
                    "CREATE OR REPLACE FUNCTION {function} RETURNS event_trigger LANGUAGE plpgsql VOLATILE AS $body$\nBEGIN\n\
                     PERFORM pg_catalog.pg_notify({channel}, o.schema_name) FROM (SELECT DISTINCT schema_name FROM {objects}) o \
                     WHERE o.schema_name OPERATOR(pg_catalog.=) ANY (ARRAY[{schemas}]);\n\
                     EXCEPTION WHEN OTHERS THEN NULL;\nEND $body$;\n\
                     REVOKE ALL ON FUNCTION {function} FROM PUBLIC;"
                ),
            ),
            ProvisionStep::recorded(
                format!("event trigger {trigger}"),
                format!(
                    "SELECT pg_catalog.concat_ws(' ', evtevent, evtfoid::pg_catalog.regprocedure, evtenabled, evttags) \
                     FROM pg_catalog.pg_event_trigger WHERE evtname = '{trigger}'"
                ),
                format!(
                    "DROP EVENT TRIGGER IF EXISTS {trigger};\n\
                     CREATE EVENT TRIGGER {trigger} ON {event} EXECUTE FUNCTION {function};\n\
                     ALTER EVENT TRIGGER {trigger} ENABLE ALWAYS;"
                ),
            )
            .optional(),
        ]
    })
    .collect()
}
