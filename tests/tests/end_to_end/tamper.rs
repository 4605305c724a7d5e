//! What an active DBA does to sealed values is noticed when they are opened: XX001, in the audit trail, without a word of the content.

use postern_tests::connection::Connection;
use postern_tests::stand::{Stand, eventually, tail};
use std::time::Duration;

struct Case {
    name: &'static str,
    /// What the DBA does; undone by putting the saved rows back.
    harm: &'static str,
    login: &'static str,
    who: Option<&'static str>,
    /// A query that meets the harmed value.
    sql: &'static str,
    /// The table that is saved and put back, with its key.
    table: &'static str,
}

const CASES: [Case; 12] = [
    Case {
        name: "an envelope copied to another row",
        harm: "UPDATE disco.survey_users SET birth_date = (SELECT birth_date FROM disco.survey_users WHERE survey_user_id = 'su-dora') WHERE survey_user_id = 'su-bob'",
        login: "disco",
        who: Some("bob"),
        sql: "SELECT birth_date FROM survey_users",
        table: "disco.survey_users",
    },
    Case {
        name: "an envelope copied to another column of its row",
        harm: "UPDATE disco.projects SET action_location = strategy WHERE project_id = 'dp-PA1'",
        login: "disco",
        who: Some("bob"),
        sql: "SELECT action_location FROM projects WHERE project_id = 'dp-PA1'",
        table: "disco.projects",
    },
    Case {
        name: "an envelope copied to another table",
        harm: "UPDATE disco.support_role_values SET comment = (SELECT comment FROM disco.user_need_values WHERE survey_user_ref_id = 'su-bob' LIMIT 1) WHERE survey_user_ref_id = 'su-bob'",
        login: "disco",
        who: Some("bob"),
        sql: "SELECT comment FROM support_role_values WHERE survey_user_ref_id = 'su-bob'",
        table: "disco.support_role_values",
    },
    Case {
        name: "a bit flipped at the end",
        harm: "UPDATE sys_account.accounts SET email = set_byte(email, length(email) - 1, get_byte(email, length(email) - 1) # 1) WHERE id = 'bob'",
        login: "sys_account",
        who: Some("bob"),
        sql: "SELECT email FROM accounts",
        table: "sys_account.accounts",
    },
    Case {
        name: "a bit flipped in the middle",
        harm: "UPDATE sys_account.accounts SET email = set_byte(email, length(email) / 2, get_byte(email, length(email) / 2) # 128) WHERE id = 'bob'",
        login: "sys_account",
        who: Some("bob"),
        sql: "SELECT email FROM accounts",
        table: "sys_account.accounts",
    },
    Case {
        name: "a bit flipped in the head",
        harm: "UPDATE sys_account.accounts SET email = set_byte(email, 5, get_byte(email, 5) # 1) WHERE id = 'bob'",
        login: "sys_account",
        who: Some("bob"),
        sql: "SELECT email FROM accounts",
        table: "sys_account.accounts",
    },
    Case {
        name: "a cut envelope",
        harm: "UPDATE sys_account.accounts SET email = substr(email, 1, 20) WHERE id = 'bob'",
        login: "sys_account",
        who: Some("bob"),
        sql: "SELECT email FROM accounts",
        table: "sys_account.accounts",
    },
    Case {
        name: "plain bytes where an envelope belongs",
        harm: "UPDATE sys_account.accounts SET email = convert_to('mallory@people.example', 'UTF8') WHERE id = 'bob'",
        login: "sys_account",
        who: Some("bob"),
        sql: "SELECT email FROM accounts",
        table: "sys_account.accounts",
    },
    Case {
        name: "an empty envelope",
        harm: "UPDATE sys_account.accounts SET email = ''::bytea WHERE id = 'bob'",
        login: "sys_account",
        who: Some("bob"),
        sql: "SELECT email FROM accounts",
        table: "sys_account.accounts",
    },
    Case {
        name: "a row moved to another organisation",
        harm: "UPDATE disco.projects SET sys_account_org_ref_id = 'A' WHERE project_id = 'dp-PB1'",
        login: "disco",
        who: Some("ana"),
        sql: "SELECT contact FROM projects WHERE project_id = 'dp-PB1'",
        table: "disco.projects",
    },
    Case {
        name: "a row given to somebody else",
        harm: "UPDATE disco.survey_users SET sys_account_account_ref_id = 'dora' WHERE survey_user_id = 'su-bob'",
        login: "disco",
        who: Some("dora"),
        sql: "SELECT survey_user_name FROM survey_users WHERE survey_user_id = 'su-bob'",
        table: "disco.survey_users",
    },
    Case {
        name: "a tag copied, so that another row answers",
        harm: "UPDATE disco.projects SET \"postern$eq$contact\" = (SELECT \"postern$eq$contact\" FROM disco.projects WHERE project_id = 'dp-PA1') WHERE project_id = 'dp-PB1'",
        login: "disco",
        who: Some("root"),
        sql: "SELECT project_id FROM projects WHERE contact = 'contact.pa1@people.example'",
        table: "disco.projects",
    },
];

/// Texts of the values that the cases touch: none may be in an answer, a log or the trail.
const CONTENT: [&str; 7] = [
    "bob@people.example",
    "Dora Weiss",
    "Bob Okafor",
    "Pier 4, north side",
    "Boats first",
    "contact.pb1@people.example",
    "mallory@people.example",
];

#[test]
fn tampering_is_noticed_audited_and_told_without_content() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let mut dba = stand.dba_connection();
    // Saved rows are put back as they were; triggers and policies of ours do not concern the superuser.
    let mut problems = Vec::new();
    for case in &CASES {
        let before = stand.connect(case.login, case.who).run(case.sql);
        if before.error.is_some() {
            problems.push(format!("{}: fails before anything was done: {:?}", case.name, before.error));
            continue;
        }
        let audited = trail(stand);
        dba.run("DROP TABLE IF EXISTS pg_temp.saved").good("drop");
        dba.run(&format!("CREATE TEMP TABLE saved AS SELECT * FROM {}", case.table))
            .good("saving the rows");
        dba.run(case.harm).good(case.harm);
        for extended in [false, true] {
            let mut client = stand.connect(case.login, case.who);
            client.forget_seen();
            let reply = ask(&mut client, case.sql, extended);
            if reply.sqlstate() != "XX001" {
                problems.push(format!(
                    "{} (extended: {extended}): {:?} {:?}",
                    case.name,
                    reply.texts(),
                    reply.error
                ));
            }
            let seen = String::from_utf8_lossy(&client.seen).into_owned();
            problems.extend(
                CONTENT
                    .iter()
                    .filter(|c| seen.contains(**c))
                    .map(|c| format!("{}: `{c}` was let out", case.name)),
            );
            if client.run("SELECT 1").scalar().as_deref() != Some("1") {
                problems.push(format!("{}: the connection is unusable afterwards", case.name));
            }
        }
        let noticed = eventually(Duration::from_secs(5), || {
            let now = trail(stand);
            now.get(audited.len()..)
                .is_some_and(|new| new.contains("XX001") || new.contains("tamper"))
                .then_some(now)
        });
        match noticed {
            None => problems.push(format!("{}: nothing in the audit trail", case.name)),
            Some(now) => {
                let new = &now[audited.len()..];
                problems.extend(
                    CONTENT
                        .iter()
                        .filter(|c| new.contains(**c))
                        .map(|c| format!("{}: the trail says `{c}`", case.name)),
                );
            }
        }
        restore(&mut dba, case.table);
        let after = stand.connect(case.login, case.who).run(case.sql);
        if after.error.is_some() || after.texts() != before.texts() {
            problems.push(format!("{}: the restored row does not read: {:?}", case.name, after.error));
        }
    }
    assert!(problems.is_empty(), "{}\n\n{}", problems.join("\n"), tail(&stand.log_text()));
}

fn ask(client: &mut Connection, sql: &str, extended: bool) -> postern_tests::message::Reply {
    if extended {
        client.extended(sql, &[], 1).unwrap_or_else(|e| panic!("{sql}: {e}"))
    } else {
        client.run(sql)
    }
}

fn trail(stand: &Stand) -> String {
    stand.audit_text()
}

/// Puts every cell of the table back as it was saved.
fn restore(dba: &mut Connection, table: &str) {
    let (schema, name) = table.split_once('.').expect("schema.table");
    let columns = dba.run(&format!(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum), string_agg('s.' || quote_ident(attname), ', ' ORDER BY attnum) \
         FROM pg_attribute WHERE attrelid = '{schema}.{name}'::regclass AND attnum > 0 AND NOT attisdropped"
    ));
    let columns = columns.good("columns").texts();
    let key = dba
        .run(&format!(
            "SELECT quote_ident(a.attname) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
             WHERE i.indrelid = '{schema}.{name}'::regclass AND i.indisprimary"
        ))
        .good("the key")
        .scalar()
        .expect("the table has a key");
    let (targets, sources) = (
        columns[0][0].clone().unwrap_or_default(),
        columns[0][1].clone().unwrap_or_default(),
    );
    let sql = format!("UPDATE {table} t SET ({targets}) = ROW({sources}) FROM pg_temp.saved s WHERE s.{key} = t.{key}");
    dba.run(&sql).good("putting the rows back");
}
