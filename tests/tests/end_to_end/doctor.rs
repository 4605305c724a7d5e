//! `postern doctor`: each kind of drift is found where a DBA's hand made it, and nothing else is.

use std::collections::BTreeSet;

use postern_tests::product::run_postern;
use postern_tests::stand::Stand;
use serde_json::Value;

/// The exit code, and (area, object, what was found) of each finding.
fn doctor(stand: &Stand) -> (Option<i32>, BTreeSet<(String, String, String)>) {
    let config = stand.gate().config.clone();
    let config = config.to_str().expect("UTF-8");
    let output = run_postern(&["doctor", "--config", config, "--format", "json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let findings: Vec<Value> =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let of = |f: &Value, key: &str| f[key].as_str().expect("a string").to_owned();
    let found = findings
        .iter()
        .map(|f| (of(f, "area"), of(f, "object"), of(f, "found")))
        .collect();
    (output.status.code(), found)
}

/// (what the DBA does, area, the object's name or a part of it, a part of what is found, how it is undone).
const DRIFT: &[(&str, &str, &str, &str, &str)] = &[
    (
        "ALTER TABLE sys_account.roles DISABLE ROW LEVEL SECURITY",
        "provisioning",
        "row security of sys_account.roles",
        "",
        "ALTER TABLE sys_account.roles ENABLE ROW LEVEL SECURITY",
    ),
    (
        "CREATE POLICY everybody ON sys_account.roles USING (true)",
        "provisioning",
        "row policies of sys_account.roles",
        "",
        "DROP POLICY everybody ON sys_account.roles",
    ),
    (
        "ALTER ROLE disco BYPASSRLS",
        "provisioning",
        "attributes of role disco",
        "",
        "ALTER ROLE disco NOBYPASSRLS",
    ),
    (
        "DROP EVENT TRIGGER postern_catalogue_changed",
        "provisioning",
        "event trigger postern_catalogue_changed",
        "",
        "CREATE EVENT TRIGGER postern_catalogue_changed ON ddl_command_end EXECUTE FUNCTION postern.catalogue_changed()",
    ),
    (
        "CREATE TABLE sys_account.by_hand (n int)",
        "ownership",
        "sys_account.by_hand",
        "belongs to",
        "DROP TABLE sys_account.by_hand",
    ),
    (
        "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.of_login (n int); ALTER TABLE elsewhere.of_login OWNER TO disco",
        "ownership",
        "elsewhere.of_login",
        "the login disco",
        "DROP SCHEMA elsewhere CASCADE",
    ),
    (
        "GRANT SELECT ON sys_account.accounts TO chat",
        "grants",
        "sys_account.accounts",
        "chat may SELECT",
        "REVOKE SELECT ON sys_account.accounts FROM chat",
    ),
    (
        "GRANT SELECT (id) ON sys_account.accounts TO PUBLIC",
        "grants",
        "sys_account.accounts.id",
        "PUBLIC may SELECT",
        "REVOKE SELECT (id) ON sys_account.accounts FROM PUBLIC",
    ),
    (
        "GRANT USAGE ON SCHEMA sys_account TO chat",
        "grants",
        "schema sys_account",
        "chat has USAGE",
        "REVOKE USAGE ON SCHEMA sys_account FROM chat",
    ),
    (
        "CREATE FUNCTION sys_account.open_to_all() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION sys_account.open_to_all() OWNER TO sys_account_owner; \
         GRANT EXECUTE ON FUNCTION sys_account.open_to_all() TO PUBLIC",
        "grants",
        "sys_account.open_to_all()",
        "PUBLIC may execute",
        "DROP FUNCTION sys_account.open_to_all()",
    ),
    (
        "CREATE ROLE somebody; GRANT sys_account_owner TO somebody",
        "memberships",
        "somebody",
        "may become sys_account_owner",
        "DROP ROLE somebody",
    ),
    (
        "ALTER TABLE sys_account.roles ADD COLUMN by_hand int",
        "columns",
        "sys_account.roles.by_hand",
        "not in the manifest",
        "ALTER TABLE sys_account.roles DROP COLUMN by_hand",
    ),
    (
        "ALTER TABLE sys_account.roles ALTER updated_at TYPE timestamp",
        "columns",
        "sys_account.roles.updated_at",
        "timestamp without time zone",
        "ALTER TABLE sys_account.roles ALTER updated_at TYPE timestamptz",
    ),
    (
        "CREATE TABLE sys_account.child () INHERITS (sys_account.roles); ALTER TABLE sys_account.child OWNER TO sys_account_owner",
        "reach",
        "sys_account.child",
        "rows of sys_account.roles",
        "DROP TABLE sys_account.child",
    ),
    (
        "CREATE FUNCTION public.on_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
         CREATE TRIGGER on_change BEFORE INSERT ON sys_account.roles FOR EACH ROW EXECUTE FUNCTION public.on_change()",
        "reach",
        "sys_account.roles",
        "the trigger on_change",
        "DROP TRIGGER on_change ON sys_account.roles; DROP FUNCTION public.on_change()",
    ),
    (
        "CREATE RULE ruled AS ON DELETE TO sys_account.roles DO INSTEAD NOTHING",
        "reach",
        "sys_account.roles",
        "the rule ruled",
        "DROP RULE ruled ON sys_account.roles",
    ),
    (
        "CREATE VIEW sys_account.past AS SELECT id FROM sys_account.accounts; ALTER VIEW sys_account.past OWNER TO sys_account_owner",
        "reach",
        "sys_account.past",
        "reads sys_account.accounts without its filter",
        "DROP VIEW sys_account.past",
    ),
    (
        "CREATE VIEW sys_account.of_old AS SELECT s.id FROM (SELECT \"postern$t\".id FROM sys_account.roles \"postern$t\" WHERE true OFFSET 0) s; \
         ALTER VIEW sys_account.of_old OWNER TO sys_account_owner",
        "reach",
        "sys_account.of_old",
        "policies that have changed",
        "DROP VIEW sys_account.of_old",
    ),
    (
        "CREATE UNIQUE INDEX by_hand ON sys_account.roles (id) WHERE false",
        "reach",
        "sys_account.roles",
        "the unique index by_hand",
        "DROP INDEX sys_account.by_hand",
    ),
    (
        "CREATE FUNCTION sys_account.with_rights() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
         ALTER FUNCTION sys_account.with_rights() OWNER TO sys_account_owner; REVOKE ALL ON FUNCTION sys_account.with_rights() FROM PUBLIC",
        "reach",
        "sys_account.with_rights()",
        "rights of sys_account_owner",
        "DROP FUNCTION sys_account.with_rights()",
    ),
];

#[test]
fn every_kind_of_drift_is_found_and_nothing_else() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let config = stand.gate().config.clone();
    let config = config.to_str().expect("UTF-8");
    let provision = || {
        let output = run_postern(&["provision", "--config", config]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    provision();
    let (code, before) = doctor(stand);
    let strange: Vec<_> = before.iter().filter(|(_, object, _)| !object.starts_with("lab.")).collect();
    assert!(strange.is_empty(), "{code:?}: {strange:#?}");
    let mut problems = Vec::new();
    for (drift, area, object, found, undo) in DRIFT {
        stand.dba_connection().run(drift).good(drift);
        let (code, now) = doctor(stand);
        let new: Vec<_> = now.difference(&before).collect();
        let met = new
            .iter()
            .any(|(a, o, f)| a == area && o.contains(object) && f.contains(found));
        if !met || code != Some(65) {
            problems.push(format!("{drift}: {code:?} {new:?}"));
        }
        stand.dba_connection().run(undo).good(undo);
    }
    provision();
    let (_, after) = doctor(stand);
    let left: Vec<_> = after.difference(&before).collect();
    assert!(left.is_empty(), "still found: {left:#?}");
    assert!(problems.is_empty(), "not found:\n{}", problems.join("\n"));
    // For people: the same findings in words.
    let grant = "GRANT SELECT ON sys_account.accounts TO chat";
    stand.dba_connection().run(grant).good(grant);
    let output = run_postern(&["doctor", "--config", config]);
    let undo = "REVOKE SELECT ON sys_account.accounts FROM chat";
    stand.dba_connection().run(undo).good(undo);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("chat may SELECT") && text.contains("→ REVOKE"), "{text}");
    assert_eq!(output.status.code(), Some(65));
}
