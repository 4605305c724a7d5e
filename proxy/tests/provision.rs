//! The second lock on a real server, met without the proxy in front of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use postern::control::{self, Pool, catalogue_views, provision};
use postern_config::expr::Claim;
use postern_config::settings::Host;
use postern_config::{Config, ModuleName};
use postern_keys::RootKeyStore;
use sha2::Sha256;
use tokio_postgres::{Client, SimpleQueryMessage};

use support::Scratch;

/// A provisioned cluster.
struct Stand {
    scratch: Scratch,
    config: Config,
    root: postern_keys::store::PassphraseStore,
    pool: Pool,
}

impl Stand {
    async fn provisioned() -> Self {
        let scratch = Scratch::start();
        let (config, root) = (scratch.config(), scratch.root());
        let admin = scratch.connect("postern_control", "control-password", "postgres").await;
        admin.batch_execute("CREATE DATABASE app").await.unwrap();
        let pool = control::connect(&config.settings).await.unwrap();
        let stand = Self {
            scratch,
            config,
            root,
            pool,
        };
        let report = stand.apply().await;
        assert!(report.done.len() > 100, "{report}");
        assert_eq!(report.left_out, []);
        stand
    }

    async fn apply(&self) -> provision::Report {
        provision::apply(&self.pool, &self.config, &self.root)
            .await
            .unwrap_or_else(|e| panic!("{e}: {}", e.remedy()))
    }
}

/// Rows as text, NULL as `∅`.
async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let answer = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    answer
        .iter()
        .filter_map(|m| match m {
            SimpleQueryMessage::Row(row) => {
                let fields: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("∅")).collect();
                Some(fields.join("|"))
            }
            _ => None,
        })
        .collect()
}

/// The SQLSTATE of a statement that must fail.
async fn refused(client: &Client, sql: &str) -> String {
    let error = client
        .simple_query(sql)
        .await
        .err()
        .unwrap_or_else(|| panic!("{sql} was not refused"));
    error.code().expect("the server answered").code().to_owned()
}

/// Claims of a session, as the proxy would set them.
struct Session<'a> {
    all: Vec<Claim>,
    client: &'a Client,
    login: &'a str,
    key: [u8; 32],
    exp: u64,
}

impl<'a> Session<'a> {
    async fn new(stand: &Stand, client: &'a Client, login: &'a str) -> Session<'a> {
        let key = *control::load_mac_key(&stand.pool, &stand.root).await.unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Session {
            all: stand.scratch.config().told_claims(),
            client,
            login,
            key,
            exp: now + 300,
        }
    }

    async fn claim(&self, claims: &[(Claim, &str)]) {
        let asked = "SELECT pid::text, ((extract(epoch FROM backend_start) * 1000000)::int8)::text FROM pg_stat_activity WHERE pid = pg_backend_pid()";
        let row = self.client.query_one(asked, &[]).await.unwrap();
        let mut parts = vec![row.get::<_, String>(0), row.get(1), self.login.to_owned()];
        let value = |claim: Claim| claims.iter().find(|(c, _)| *c == claim).map_or("", |(_, v)| v);
        parts.extend(self.all.iter().map(|c| value(*c).to_owned()));
        // No policy asks for a tag.
        parts.push(String::new());
        parts.push(self.exp.to_string());
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).unwrap();
        for part in &parts {
            mac.update(format!("{}:{part}", part.len()).as_bytes());
        }
        let mac: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
        self.set(claims, &self.exp.to_string(), &mac).await;
    }

    async fn set(&self, claims: &[(Claim, &str)], exp: &str, mac: &str) {
        let named = self
            .all
            .iter()
            .map(|c| (c.setting(), claims.iter().find(|(d, _)| d == c).map_or("", |(_, v)| v)));
        for (name, value) in named.chain([("exp".to_owned(), exp), ("mac".to_owned(), mac)]) {
            let set = "SELECT pg_catalog.set_config('postern.' || $1::text, $2::text, false)";
            self.client.query_one(set, &[&name, &value]).await.unwrap();
        }
    }
}

/// Claims that were checked once and kept answer as claims whose MAC is checked each time.
async fn claims_that_were_kept(stand: &Stand, accounts: &str) {
    const NOTHING: [&str; 0] = [];
    let client = stand.scratch.direct("sys_account").await;
    let mut session = Session::new(stand, &client, "sys_account").await;
    let bob = [(Claim::Sub, "bob")];
    let adopt = "SELECT postern.adopt()";
    assert_eq!(
        rows(&client, adopt).await,
        ["f"],
        "a session that has not entered keeps nothing"
    );
    client.batch_execute("SELECT postern.enter()").await.unwrap();
    assert_eq!(rows(&client, adopt).await, ["t"], "a guest");
    assert_eq!(rows(&client, accounts).await, NOTHING);
    session.claim(&bob).await;
    assert_eq!(rows(&client, accounts).await, ["bob"], "claims that are not kept are checked");
    assert_eq!(rows(&client, adopt).await, ["t"]);
    assert_eq!(rows(&client, accounts).await, ["bob"], "kept");

    // Nothing of it can be changed by hand, and nothing else can be kept.
    for (forged, back) in [
        ("SET postern.sub = 'dora'", "SET postern.sub = 'bob'"),
        ("SET postern.super = 'true'", "SET postern.super = ''"),
        ("SET postern.exp = '99999999999'", "RESET postern.exp"),
    ] {
        client.batch_execute(forged).await.unwrap();
        assert_eq!(rows(&client, accounts).await, NOTHING, "{forged}");
        assert_eq!(rows(&client, adopt).await, ["f"], "{forged}");
        assert_eq!(rows(&client, accounts).await, NOTHING, "{forged}");
        client.batch_execute(back).await.unwrap();
        session.claim(&bob).await;
        assert_eq!(rows(&client, accounts).await, ["bob"], "{back}");
        assert_eq!(rows(&client, adopt).await, ["t"], "{back}");
    }
    // Fields do not run into each other.
    client
        .batch_execute("SET postern.sub = 'bob,\"\"'; SET postern.org_member_of = ''")
        .await
        .unwrap();
    assert_eq!(rows(&client, accounts).await, NOTHING);
    session.claim(&bob).await;
    assert_eq!(rows(&client, adopt).await, ["t"]);

    // What a transaction changes and takes back.
    client.batch_execute("BEGIN; SET LOCAL postern.sub = 'dora'").await.unwrap();
    assert_eq!(rows(&client, accounts).await, NOTHING);
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(rows(&client, accounts).await, ["bob"], "as before");
    client.batch_execute("BEGIN").await.unwrap();
    session.claim(&[(Claim::Sub, "root"), (Claim::Super, "true")]).await;
    assert_eq!(rows(&client, adopt).await, ["t"]);
    assert_eq!(rows(&client, accounts).await, ["bob", "dora"]);
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(
        rows(&client, accounts).await,
        ["bob"],
        "kept was another's, so the MAC is checked"
    );
    client.batch_execute("BEGIN READ ONLY").await.unwrap();
    assert_eq!(
        rows(&client, adopt).await,
        ["f"],
        "nothing is kept where nothing may be written"
    );
    assert_eq!(rows(&client, accounts).await, ["bob"]);
    client.batch_execute("COMMIT").await.unwrap();

    // An expiry that comes while they are kept.
    let expiry = session.exp;
    session.exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 2;
    session.claim(&bob).await;
    assert_eq!(rows(&client, adopt).await, ["t"]);
    assert_eq!(rows(&client, accounts).await, ["bob"]);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(rows(&client, accounts).await, NOTHING, "expired");
    session.exp = expiry;
    session.claim(&bob).await;
    assert_eq!(rows(&client, adopt).await, ["t"]);
    client.batch_execute("DISCARD ALL").await.unwrap();
    assert_eq!(rows(&client, accounts).await, NOTHING, "discarded: guest");
    // A session that only says that something is kept.
    let other = stand.scratch.direct("sys_account").await;
    other
        .batch_execute("SET postern.adopted = 'on'; SET postern.super = 'true'")
        .await
        .unwrap();
    assert_eq!(refused(&other, accounts).await, "55000");
}

/// Catalogue state that provisioning makes, with the transaction that wrote each row.
const STATE: &str = "SELECT 'r' || oid::text || xmin::text || relname FROM pg_class WHERE oid >= 16384 \
    UNION ALL SELECT 'a' || xmin::text || rolname || coalesce(rolpassword, '') FROM pg_authid \
    UNION ALL SELECT 'p' || oid::text || xmin::text FROM pg_policy UNION ALL SELECT 'f' || oid::text || xmin::text FROM pg_proc \
    UNION ALL SELECT 'c' || oid::text || xmin::text FROM pg_constraint UNION ALL SELECT 'n' || oid::text || xmin::text FROM pg_namespace \
    UNION ALL SELECT 'd' || oid::text || xmin::text FROM pg_database UNION ALL SELECT 's' || xmin::text FROM pg_db_role_setting \
    UNION ALL SELECT 'm' || xmin::text FROM pg_auth_members UNION ALL SELECT 'k' || xmin::text FROM postern.key_catalogue \
    UNION ALL SELECT 'x' || xmin::text FROM postern.claims_key UNION ALL SELECT 'v' || xmin::text || title FROM postern.provisioned \
    UNION ALL SELECT 'l' || xmin::text FROM postern.login_schema ORDER BY 1";

#[tokio::test]
async fn a_second_run_changes_nothing_and_drift_is_mended() {
    let stand = Stand::provisioned().await;
    let dba = stand.scratch.dba().await;
    let before = rows(&dba, STATE).await;
    assert_eq!(provision::pending(&stand.pool, &stand.config).await.unwrap(), []);
    let report = stand.apply().await;
    assert_eq!(report.done, [] as [String; 0]);
    assert_eq!(rows(&dba, STATE).await, before);

    dba.batch_execute(
        "CREATE POLICY hole ON disco.survey_users USING (true); ALTER TABLE sys_account.accounts NO FORCE ROW LEVEL SECURITY; \
         GRANT SELECT ON sys_account.accounts TO evilmod; GRANT sys_account_owner TO evilmod; ALTER ROLE evilmod BYPASSRLS; \
         ALTER ROLE evilmod PASSWORD 'known to somebody else'; GRANT EXECUTE ON FUNCTION query_to_xml TO PUBLIC",
    )
    .await
    .unwrap();
    let pending: Vec<String> = provision::pending(&stand.pool, &stand.config)
        .await
        .unwrap()
        .into_iter()
        .map(|s| s.title)
        .collect();
    let report = stand.apply().await;
    assert_eq!(report.done, pending);
    assert_eq!(
        pending,
        [
            "attributes of role evilmod",
            "password of role evilmod",
            "modules' roles are members of nothing else",
            "who touches rows of sys_account.accounts",
            "row policies of disco.survey_users",
            "row security of sys_account.accounts is on",
            "built-in functions that reach around rights are not everybody's",
        ]
    );
    let evil = stand.scratch.direct("evilmod").await;
    assert_eq!(refused(&evil, "SELECT * FROM sys_account.accounts").await, "42501");
    assert_eq!(stand.apply().await.done, [] as [String; 0]);
}

#[tokio::test]
async fn passwords_and_keys_reach_neither_the_log_nor_a_printed_step() {
    let stand = Stand::provisioned().await;
    let log = std::fs::read_to_string(stand.scratch.log()).unwrap();
    assert!(log.contains("CREATE SCHEMA"), "the log is not being written");
    for text in ["upstream password of", "control-password"] {
        assert!(!log.contains(text), "{text} is in the server's log");
    }
    for step in provision::sql(&stand.config) {
        assert!(
            !step.sql.contains("upstream password") && !step.sql.contains("SCRAM-SHA-256$"),
            "{}",
            step.title
        );
    }
}

#[tokio::test]
async fn the_second_lock_alone_keeps_modules_apart() {
    let stand = Stand::provisioned().await;
    let evil = stand.scratch.direct("evilmod").await;
    for denied in [
        "SELECT * FROM sys_account.accounts",
        "SELECT count(*) FROM disco.projects",
        "INSERT INTO chat.group_members VALUES ('a', 'b')",
        "TABLE postern.claims_key",
        "TABLE postern.key_catalogue",
        "TABLE postern.login_schema",
        "TABLE pg_authid",
        "SELECT query_to_xml('select 1', true, true, '')",
        "SELECT lo_create(0)",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_terminate_backend(1)",
        "SET ROLE sys_account_owner",
        "SET ROLE postern_policy",
        "CREATE TABLE evilmod.t (a int)",
        "CREATE TABLE public.t (a int)",
        "CREATE TEMPORARY TABLE t (a int)",
        "ALTER TABLE evilmod.notes DISABLE ROW LEVEL SECURITY",
        "CREATE ROLE another",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ] {
        assert_eq!(refused(&evil, denied).await, "42501", "{denied}");
    }
    // The allowed twins.
    evil.batch_execute("INSERT INTO evilmod.notes (id, body) VALUES ('1', 'mine')")
        .await
        .unwrap();
    assert_eq!(rows(&evil, "SELECT body FROM evilmod.notes").await, ["mine"]);
    let lab = stand.scratch.direct("lab").await;
    lab.batch_execute("SET ROLE lab_owner; CREATE TABLE lab.t (a int); CREATE TEMPORARY TABLE u (b int); DROP TABLE lab.t")
        .await
        .unwrap();
    assert_eq!(refused(&lab, "SELECT * FROM sys_account.accounts").await, "42501");
}

#[tokio::test]
async fn rows_are_shown_to_verified_claims_only() {
    let stand = Stand::provisioned().await;
    let dba = stand.scratch.dba().await;
    dba.batch_execute(
        "INSERT INTO sys_account.accounts (id, email, \"postern$eq$email\") VALUES ('bob', '\\x01', '\\x01'), ('dora', '\\x02', '\\x02'); \
         INSERT INTO sys_account.roles (id, account_id, role, project_id, org_id) VALUES ('r1', 'bob', 2, 'PA1', 'A'), ('r2', 'dora', 2, 'PB1', 'B'); \
         INSERT INTO disco.projects (project_id, sys_account_project_ref_id) VALUES ('p', 'PA1')",
    )
    .await
    .unwrap();
    let accounts = "SELECT id FROM accounts ORDER BY id";
    let client = stand.scratch.direct("sys_account").await;
    let mut session = Session::new(&stand, &client, "sys_account").await;
    assert_eq!(rows(&client, accounts).await, [] as [&str; 0], "a guest");

    let bob = [(Claim::Sub, "bob")];
    session.set(&bob, &session.exp.to_string(), &"0".repeat(64)).await;
    assert_eq!(rows(&client, accounts).await, [] as [&str; 0], "forged claims");
    session.claim(&bob).await;
    assert_eq!(rows(&client, accounts).await, ["bob"]);
    assert_eq!(
        rows(&client, "UPDATE accounts SET last_login = now() RETURNING id").await,
        ["bob"]
    );
    let other = "INSERT INTO accounts (id, email, \"postern$eq$email\") VALUES ('x', '\\x03', '\\x03')";
    assert_eq!(refused(&client, other).await, "42501");

    session.claim(&[(Claim::Sub, "ana"), (Claim::OrgAdminOf, "{A}")]).await;
    assert_eq!(rows(&client, accounts).await, ["bob"], "through the policy function");
    let function = rows(&dba, "SELECT proname FROM pg_proc WHERE proname LIKE 'p$sys_account$role%'")
        .await
        .remove(0);
    let call = format!("SELECT * FROM postern.\"{function}\"()");
    assert_eq!(rows(&client, &call).await, ["bob"]);
    client.batch_execute("SET postern.org_admin_of = '{A,B}'").await.unwrap();
    assert_eq!(rows(&client, &call).await, [] as [&str; 0], "a claim widened by hand");
    assert_eq!(rows(&client, accounts).await, [] as [&str; 0]);

    session.claim(&[(Claim::Sub, "root"), (Claim::Super, "true")]).await;
    assert_eq!(rows(&client, accounts).await, ["bob", "dora"]);
    session
        .claim(&[(Claim::Sub, "root"), (Claim::Super, "true"), (Claim::Disabled, "true")])
        .await;
    assert_eq!(rows(&client, accounts).await, [] as [&str; 0], "disabled");
    session.exp = 1_000_000_000;
    session.claim(&bob).await;
    assert_eq!(rows(&client, accounts).await, [] as [&str; 0], "expired");
    session.set(&[], "", "").await;
    assert_eq!(rows(&client, accounts).await, [] as [&str; 0], "guest again");

    // Another backend, and another login, with settings that are good in the first.
    session.exp += 3_000_000_000;
    session.claim(&bob).await;
    let copied = rows(
        &client,
        "SELECT current_setting('postern.exp'), current_setting('postern.mac')",
    )
    .await
    .remove(0);
    let (exp, mac) = copied.split_once('|').unwrap();
    assert_eq!(rows(&client, accounts).await, ["bob"]);
    let second = stand.scratch.direct("sys_account").await;
    Session::new(&stand, &second, "sys_account").await.set(&bob, exp, mac).await;
    assert_eq!(
        rows(&second, accounts).await,
        [] as [&str; 0],
        "replayed on another connection"
    );

    // A session that entered gets the same answers; one that only says so gets none.
    assert_eq!(rows(&client, "SELECT postern.enter() = (extract(epoch FROM backend_start) * 1000000)::int8 FROM pg_stat_activity WHERE pid = pg_backend_pid()").await, ["t"]);
    assert_eq!(rows(&client, accounts).await, ["bob"], "entered");
    second.batch_execute("SET postern.entered = 'on'").await.unwrap();
    assert_eq!(refused(&second, accounts).await, "55000", "said to have entered");
    second
        .batch_execute("RESET postern.entered; SELECT postern.enter()")
        .await
        .unwrap();
    assert_eq!(
        rows(&second, accounts).await,
        [] as [&str; 0],
        "entered, and still another connection"
    );
    for sequence in ["backend_start", "claims_salt", "claims_proof"] {
        for attempt in ["setval('postern.$', 1)", "nextval('postern.$')", "currval('postern.$')"] {
            let sql = format!("SELECT {}", attempt.replace('$', sequence));
            assert_eq!(refused(&second, &sql).await, "42501", "{sql}");
        }
    }
    assert_eq!(refused(&second, "SELECT postern.checked()").await, "42501");
    claims_that_were_kept(&stand, accounts).await;
    client.batch_execute("DISCARD ALL").await.unwrap();
    assert_eq!(rows(&client, accounts).await, [] as [&str; 0], "discarded: guest");

    let disco = stand.scratch.direct("disco").await;
    assert_eq!(
        rows(&disco, "SELECT project_id FROM projects").await,
        ["p"],
        "its own, and public"
    );
    assert_eq!(refused(&disco, "SELECT * FROM sys_account.roles").await, "42501");
    assert_eq!(refused(&disco, &call).await, "42501");

    // A search path of the session's own does not reach into the check.
    let lab_tricks = "CREATE TEMPORARY TABLE claims_key (inner_pad bytea, outer_pad bytea)";
    let migrator = stand.scratch.direct("sys_account_migrator").await;
    migrator.batch_execute(lab_tricks).await.unwrap();
    migrator
        .batch_execute("SET ROLE sys_account_owner; SET search_path = pg_temp, sys_account")
        .await
        .unwrap();
    let session = Session::new(&stand, &migrator, "sys_account_migrator").await;
    session.set(&bob, "9999999999", &"0".repeat(64)).await;
    assert_eq!(
        rows(&migrator, "SELECT id FROM sys_account.accounts").await,
        [] as [&str; 0],
        "the owner, forging"
    );
    migrator.batch_execute("RESET ROLE").await.unwrap();
    session.claim(&bob).await;
    migrator.batch_execute("SET ROLE sys_account_owner").await.unwrap();
    assert_eq!(
        rows(&migrator, "SELECT id FROM sys_account.accounts").await,
        ["bob"],
        "as its owner, with the session user's claims"
    );
}

#[tokio::test]
async fn catalogue_views_show_a_module_itself_and_plain_types() {
    let stand = Stand::provisioned().await;
    let dba = stand.scratch.dba().await;
    for (from, to) in catalogue_views::redirects() {
        let shape = |name: &str| {
            format!(
                "SELECT attname, format_type(atttypid, atttypmod), attcollation FROM pg_attribute WHERE attrelid = '{name}'::regclass \
                 AND attnum > 0 ORDER BY attnum"
            )
        };
        // A view cannot have a column of a pseudo-type; a reference to a catalogue object would print names past the views, so it is an
        // oid there, but for a sequence's type, which is one of three; and a view has no system columns, so `tableoid` is one of its own.
        let wanted: Vec<String> = rows(&dba, &shape(from))
            .await
            .into_iter()
            .map(|c| match c.split_once("|reg") {
                Some(("data_type", _)) => "data_type|text|100".to_owned(),
                Some((name, ty)) if ty.contains("[]") => format!("{name}|oid[]|0"),
                Some((name, _)) => format!("{name}|oid|0"),
                None => c.replace("|anyarray|0", "|text[]|100"),
            })
            .collect();
        let mut got = rows(&dba, &shape(to)).await;
        got.pop_if(|last| *last == "tableoid|oid|0");
        assert_eq!(got, wanted, "{to}");
    }
    for login in ["sys_account", "evilmod", "lab"] {
        let client = stand.scratch.direct(login).await;
        for (_, to) in catalogue_views::redirects() {
            client
                .batch_execute(&format!("SELECT * FROM {to}"))
                .await
                .unwrap_or_else(|e| panic!("{login}: {to}: {e:?}"));
            // A join is no target at all; of the others nobody has the right.
            let code = refused(&client, &format!("DELETE FROM {to}")).await;
            assert!(code == "42501" || code == "55000", "{to}: {code}");
        }
    }
    let client = stand.scratch.direct("sys_account").await;
    assert_eq!(
        rows(&client, "SELECT nspname FROM postern_catalog.pg_namespace ORDER BY 1").await,
        ["information_schema", "pg_catalog", "sys_account"]
    );
    let columns = "SELECT attname, format_type(atttypid, atttypmod), attlen, attcollation FROM postern_catalog.pg_attribute \
        WHERE attrelid = 'sys_account.accounts'::regclass AND attnum > 0 ORDER BY attnum LIMIT 3";
    assert_eq!(
        rows(&client, columns).await,
        ["id|text|-1|100", "email|text|-1|100", "password|text|-1|100"]
    );
    let key = "SELECT a.attname, a.attnum FROM postern_catalog.pg_constraint c JOIN postern_catalog.pg_attribute a ON a.attrelid = c.conrelid \
        AND a.attnum = ANY (c.conkey) WHERE c.conname = 'accounts_email_key'";
    assert_eq!(rows(&client, key).await, ["email|2"]);
    let index = "SELECT a.attname, i.indisunique, x.attname, format_type(x.atttypid, -1) FROM postern_catalog.pg_index i \
        JOIN postern_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
        JOIN postern_catalog.pg_attribute x ON x.attrelid = i.indexrelid WHERE i.indexrelid = 'accounts_email_key'::regclass";
    assert_eq!(rows(&client, index).await, ["email|t|email|text"]);
    assert_eq!(
        rows(
            &client,
            "SELECT indexdef FROM postern_catalog.pg_indexes WHERE indexname = 'accounts_email_key'"
        )
        .await,
        ["CREATE UNIQUE INDEX accounts_email_key ON sys_account.accounts USING btree (email)"]
    );
    let information = "SELECT column_name, data_type, udt_name, numeric_precision FROM postern_information.columns \
        WHERE table_schema = 'disco' AND table_name = 'projects' AND column_name IN ('budget', 'goal', 'contact') ORDER BY 1";
    let disco = stand.scratch.direct("disco").await;
    assert_eq!(
        rows(&disco, information).await,
        ["budget|numeric|numeric|12", "contact|text|text|∅", "goal|text|text|∅"]
    );
    let foreign = "SELECT relname FROM postern_catalog.pg_class c JOIN postern_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = 'sys_account' OR relname LIKE 'accounts%' OR relname LIKE 'postern%'";
    assert_eq!(rows(&disco, foreign).await, [] as [&str; 0]);
    for view in [
        "pg_attribute",
        "pg_class",
        "pg_index",
        "pg_type",
        "pg_proc",
        "pg_constraint",
        "pg_views",
        "pg_roles",
        "pg_indexes",
        "pg_namespace",
    ] {
        let named = format!(
            "SELECT 1 FROM postern_catalog.{view} x WHERE x::text LIKE '%sys\\_account%' OR replace(x::text, 'postern_control', '') LIKE '%postern%'"
        );
        assert_eq!(
            rows(&stand.scratch.direct("evilmod").await, &named).await,
            [] as [&str; 0],
            "{view}"
        );
    }
}

#[tokio::test]
async fn snapshots_sequences_and_keys_come_back() {
    let stand = Stand::provisioned().await;
    let catalogs = control::Catalogs::load(&stand.pool, &stand.config).await.unwrap();
    let module = ModuleName::new("sys_account").unwrap();
    let catalog = catalogs.of(&module);
    let accounts = catalog.relation("sys_account", "accounts").expect("declared");
    let names: Vec<&str> = accounts.columns.iter().flatten().map(|c| &*c.name).collect();
    assert_eq!(names[..3], ["id", "email", "password"]);
    assert!(names.iter().all(|n| !n.starts_with("postern$")));
    assert_eq!(accounts.columns.as_ref().unwrap()[1].ty.to_string(), "text");
    assert!(accounts.declared.is_some());
    assert!(catalog.relation("disco", "projects").is_none());
    let migrator = stand.scratch.direct("sys_account_migrator").await;
    migrator
        .batch_execute("SET ROLE sys_account_owner; CREATE TABLE sys_account.more (a int4, b numeric(8,2))")
        .await
        .unwrap();
    let newer = catalogs.refresh(&stand.pool, &module).await.unwrap();
    assert!(newer.generation > catalog.generation);
    assert!(newer.relation("sys_account", "more").is_some_and(|r| r.declared.is_none()));
    assert_eq!(catalogs.of(&module).generation, newer.generation);

    let sequence = postern_config::TableRef {
        schema: postern_config::Ident::new("sys_core").unwrap(),
        name: postern_config::Ident::new("mod_events_id_seq").unwrap(),
    };
    let sequences = control::Sequences::new(stand.pool.clone());
    for expected in 1..=70 {
        assert_eq!(sequences.draw(&sequence).await.unwrap(), expected);
    }
    let missing = postern_config::TableRef {
        name: postern_config::Ident::new("nothing").unwrap(),
        ..sequence
    };
    assert_eq!(sequences.draw(&missing).await.unwrap_err().sqlstate(), Some("42P01"));

    let ring = control::load_keys(&stand.pool, &stand.config, &stand.root).await.unwrap();
    let table = stand.config.module(&module).unwrap().table("accounts").unwrap();
    assert!(ring.column(&table.column_ref(&table.column("email").unwrap().name)).is_some());
    let dba = stand.scratch.dba().await;
    dba.batch_execute("UPDATE postern.claims_key SET inner_pad = outer_pad")
        .await
        .unwrap();
    let error = control::load_mac_key(&stand.pool, &stand.root).await.unwrap_err();
    assert!(matches!(error, control::ControlError::ClaimsKeyMismatch), "{error}");
    assert_eq!(stand.apply().await.done, ["key of the claims' MAC"]);
    dba.batch_execute("UPDATE postern.key_catalogue SET body = replace(body, 'sys_account', 'sys_akkount')")
        .await
        .unwrap();
    assert!(control::load_keys(&stand.pool, &stand.config, &stand.root).await.is_err());
    let _: &dyn RootKeyStore = &stand.root;
}

#[tokio::test]
async fn what_cannot_be_reached_is_named() {
    let scratch = Scratch::start();
    let mut config = scratch.config();
    let failed = |error: control::ControlError| format!("{error} {}", error.remedy());
    let said = failed(control::connect(&config.settings).await.err().unwrap());
    assert!(said.contains("3D000") || said.contains("Create the database"), "{said}");
    config.settings.upstream.database = "postgres".to_owned();
    std::fs::write(scratch.dir.join("secrets/control"), "wrong").unwrap();
    let said = failed(control::connect(&config.settings).await.err().unwrap());
    assert!(said.contains("control_password_file"), "{said}");
    config.settings.upstream.hosts = vec![Host::Tcp {
        host: "127.0.0.1".to_owned(),
        port: 1,
    }];
    let said = failed(control::connect(&config.settings).await.err().unwrap());
    assert!(said.contains("upstream.host"), "{said}");
    std::fs::remove_file(scratch.dir.join("secrets/control")).unwrap();
    assert!(failed(control::connect(&config.settings).await.err().unwrap()).contains("secrets/control"));
}

#[tokio::test]
async fn control_connections_use_tls_where_a_ca_is_configured() {
    let scratch = Scratch::start();
    let mut config = scratch.config();
    config.settings.upstream.database = "postgres".to_owned();
    let made = || rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (server, stranger) = (made(), made());
    let trust = |name: &str, pem: String| {
        let file = scratch.dir.join("secrets").join(name);
        std::fs::write(&file, pem).unwrap();
        Some(file)
    };
    config.settings.upstream.tls_ca = trust("ca.crt", server.cert.pem());
    let failed = control::connect(&config.settings)
        .await
        .err()
        .expect("the server speaks no TLS yet");
    assert!(matches!(failed, control::ControlError::Connect { .. }), "{failed}");

    scratch
        .serve_tls(&server.cert.pem(), &server.signing_key.serialize_pem())
        .await;
    let pool = control::connect(&config.settings).await.unwrap_or_else(|e| panic!("{e}"));
    let client = pool.get().await.unwrap();
    let row = client
        .query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[])
        .await
        .unwrap();
    assert!(row.get::<_, bool>(0));

    config.settings.upstream.tls_ca = trust("stranger.crt", stranger.cert.pem());
    let failed = control::connect(&config.settings).await.err().expect("another CA signed it");
    assert!(matches!(failed, control::ControlError::Connect { .. }), "{failed}");
    config.settings.upstream.tls_ca = trust("empty.crt", String::new());
    let failed = control::connect(&config.settings).await.err().expect("no certificate in it");
    assert!(matches!(failed, control::ControlError::CaFile { .. }), "{failed}");
}
