//! Who somebody is: tokens in every channel, tokens that must not be believed, and no way from one identity to another.

mod keys;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use postern_tests::connection::{Connection, Failure};
use postern_tests::message::message;
use postern_tests::stand::{Stand, eventually, refused};
use serde_json::{Map, Value, json};

const WHO: &str = "SELECT id FROM accounts ORDER BY id";

fn ids(connection: &mut Connection) -> Vec<String> {
    let rows = connection.run(WHO).good(WHO).texts();
    rows.into_iter().flatten().flatten().collect()
}

/// The claims of a good token of bob's for `sys_account`.
fn claims(stand: &Stand) -> Map<String, Value> {
    let token = stand.mint("sys_account", "bob", "600");
    let payload = token.split('.').nth(1).expect("a token has three parts");
    use base64::Engine;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .expect("base64url");
    serde_json::from_slice(&bytes).expect("claims are JSON")
}

fn issuer_key(stand: &Stand) -> EncodingKey {
    let config = postern_config::load(&stand.config_file()).expect("the demo's configuration loads");
    let file = config
        .settings
        .tokens
        .dev_private_key
        .expect("the demo has a development issuer");
    let pem = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    EncodingKey::from_ed_pem(&pem).expect("the issuer's key is Ed25519")
}

/// A token of bob's for `sys_account`, with other claims.
pub(crate) fn signed(stand: &Stand, change: impl FnOnce(&mut Map<String, Value>)) -> String {
    let mut claims = claims(stand);
    claims.insert("jti".to_owned(), json!(format!("test-{:?}", SystemTime::now())));
    change(&mut claims);
    encode(&Header::new(Algorithm::EdDSA), &claims, &issuer_key(stand)).expect("claims can be signed")
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// 27: each of these is refused with 28000 in every channel, and the session's identity stays what it was.
#[test]
fn tokens_that_nobody_should_believe() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let config = postern_config::load(&stand.config_file()).expect("the demo's configuration loads");
    let public = std::fs::read(&config.settings.tokens.public_keys[0]).expect("the public key can be read");
    let good = signed(stand, |_| {});
    let part = |n: usize| good.split('.').nth(n).expect("three parts").to_owned();
    use base64::Engine;
    let b64 = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let foreign = {
        let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
        // PKCS#8 of an Ed25519 seed that is all sevens: nobody's issuer.
        let mut der = vec![
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
        ];
        der.extend([7; 32]);
        pem.push_str(&base64::engine::general_purpose::STANDARD.encode(der));
        pem.push_str("\n-----END PRIVATE KEY-----\n");
        EncodingKey::from_ed_pem(pem.as_bytes()).expect("a key")
    };
    let bad: Vec<(&str, String)> = vec![
        ("alg none", format!("{}.{}.", b64(r#"{"alg":"none","typ":"JWT"}"#), part(1))),
        (
            "alg none with the old signature",
            format!("{}.{}.{}", b64(r#"{"alg":"none"}"#), part(1), part(2)),
        ),
        (
            "HS256 with the public key",
            encode(
                &Header::new(Algorithm::HS256),
                &claims(stand),
                &EncodingKey::from_secret(&public),
            )
            .expect("signs"),
        ),
        (
            "signed by somebody else",
            encode(&Header::new(Algorithm::EdDSA), &claims(stand), &foreign).expect("signs"),
        ),
        (
            "a wrong audience",
            signed(stand, |c| drop(c.insert("aud".to_owned(), json!("elsewhere")))),
        ),
        (
            "a wrong issuer",
            signed(stand, |c| {
                drop(c.insert("iss".to_owned(), json!("https://elsewhere.example")))
            }),
        ),
        ("another module", stand.mint("chat", "bob", "600")),
        ("no module", signed(stand, |c| drop(c.remove("mod")))),
        (
            "expired by a second",
            signed(stand, |c| drop(c.insert("exp".to_owned(), json!(now() - 1)))),
        ),
        (
            "exp in milliseconds",
            signed(stand, |c| drop(c.insert("exp".to_owned(), json!((now() + 60) * 1000)))),
        ),
        (
            "exp in nanoseconds (mistake 9)",
            signed(stand, |c| {
                drop(c.insert("exp".to_owned(), json!((now() + 60) * 1_000_000_000)))
            }),
        ),
        (
            "exp as text",
            signed(stand, |c| drop(c.insert("exp".to_owned(), json!((now() + 60).to_string())))),
        ),
        ("no exp", signed(stand, |c| drop(c.remove("exp")))),
        (
            "a life of an hour",
            signed(stand, |c| drop(c.insert("exp".to_owned(), json!(now() + 3600)))),
        ),
        ("no jti", signed(stand, |c| drop(c.remove("jti")))),
        (
            "not valid yet",
            signed(stand, |c| drop(c.insert("nbf".to_owned(), json!(now() + 300)))),
        ),
        ("no subject", signed(stand, |c| drop(c.remove("sub")))),
        (
            "an empty subject",
            signed(stand, |c| drop(c.insert("sub".to_owned(), json!("")))),
        ),
        (
            "a service",
            signed(stand, |c| drop(c.insert("service".to_owned(), json!("sys_account")))),
        ),
        (
            "a superadmin without a reason",
            signed(stand, |c| drop(c.insert("super".to_owned(), json!(true)))),
        ),
        (
            "a list that is a text",
            signed(stand, |c| drop(c.insert("org_admin_of".to_owned(), json!("A")))),
        ),
        (
            "a changed payload",
            format!(
                "{}.{}.{}",
                part(0),
                b64(&json!({"sub": "root", "super": true}).to_string()),
                part(2)
            ),
        ),
        ("two parts", format!("{}.{}", part(0), part(1))),
        ("nothing", "x".to_owned()),
    ];
    let mut problems = Vec::new();
    for (name, token) in &bad {
        match refused(&stand.login("sys_account").with_token(token)) {
            Some(Failure::Server(e)) if e.sqlstate() == "28000" => {
                if token.len() > 20 && e.to_string().contains(token.as_str()) {
                    problems.push(format!("{name}: the refusal repeats the token"));
                }
            }
            other => problems.push(format!("{name} at startup: {:?}", other.map(|e| e.to_string()))),
        }
        let mut connection = stand.connect("sys_account", None);
        for sql in [
            format!("SET postern.token = '{token}'"),
            format!("SELECT postern.set_token('{token}')"),
            format!("/*postern:{token}*/ {WHO}"),
        ] {
            let reply = connection.run(&sql);
            if reply.sqlstate() != "28000" {
                problems.push(format!("{name} by {}: {:?} {:?}", &sql[..12], reply.tag, reply.error));
            }
            if !ids(&mut connection).is_empty() {
                problems.push(format!("{name} by {}: the session sees rows now", &sql[..12]));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let mut connection = stand.connect("sys_account", None);
    connection
        .run(&format!("SET postern.token = '{good}'"))
        .good("the twin that is believed");
    assert_eq!(ids(&mut connection), ["bob"]);
}

#[test]
fn a_revoked_token_ends() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let token = signed(stand, |c| drop(c.insert("jti".to_owned(), json!("to-be-revoked"))));
    let mut connection = Connection::open(&stand.login("sys_account").with_token(&token)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(ids(&mut connection), ["bob"]);
    let list = stand.secrets_dir().join("revoked-tokens");
    postern_tests::product::write_secret(&list, "some-other\nto-be-revoked\n");
    let seen = eventually(Duration::from_secs(10), || {
        (connection.run(WHO).sqlstate() == "28000").then_some(())
    });
    assert!(seen.is_some(), "a revoked token is still believed");
    assert_eq!(
        refused(&stand.login("sys_account").with_token(&token)).map(|e| e.sqlstate().to_owned()),
        Some("28000".to_owned())
    );
    let mut other = stand.connect("sys_account", Some("bob"));
    assert_eq!(ids(&mut other), ["bob"], "another token of the same person still holds");
    std::fs::remove_file(&list).expect("the list is ours");
}

#[test]
fn a_token_that_expires_is_an_error_and_never_guest() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let token = stand.mint("sys_account", "bob", "2");
    let mut connection = Connection::open(&stand.login("sys_account").with_token(&token)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(ids(&mut connection), ["bob"]);
    std::thread::sleep(Duration::from_millis(2_500));
    for sql in [WHO, "SELECT id FROM projects"] {
        let reply = connection.run(sql);
        assert_eq!(reply.sqlstate(), "28000", "{sql}: {reply:?}");
        assert!(reply.rows.is_empty());
        assert!(
            !reply.error.as_ref().expect("an error").hint().is_empty(),
            "an expired token needs a hint: {reply:?}"
        );
    }
    let fresh = stand.mint("sys_account", "bob", "60");
    connection
        .run(&format!("SET postern.token = '{fresh}'"))
        .good("a fresh token on the same connection");
    assert_eq!(ids(&mut connection), ["bob"]);
    let fatal = refused(&stand.login("sys_account").with_token(&token)).expect("an expired token opens nothing");
    assert_eq!(fatal.sqlstate(), "28000", "{fatal}");
}

#[test]
fn each_channel_holds_as_long_as_it_says() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let bob = stand.token("sys_account", "bob");
    let mut c = stand.connect("sys_account", None);
    assert!(ids(&mut c).is_empty(), "without a token there is a guest");

    let comment = format!("/*postern:{bob}*/ {WHO}");
    assert_eq!(c.run(&comment).good("a comment token").texts(), [[Some("bob".to_owned())]]);
    assert!(ids(&mut c).is_empty(), "a comment token holds for its statement");
    let reply = c.extended(&comment, &[], 0).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(reply.good("a comment token, extended").texts(), [[Some("bob".to_owned())]]);
    assert!(ids(&mut c).is_empty());

    c.run("BEGIN").good("BEGIN");
    c.run(&format!("SET LOCAL postern.token = '{bob}'")).good("SET LOCAL");
    assert_eq!(ids(&mut c), ["bob"]);
    c.run("SAVEPOINT s").good("SAVEPOINT");
    c.run("ROLLBACK TO s").good("ROLLBACK TO");
    assert_eq!(ids(&mut c), ["bob"], "a savepoint made later takes nothing away");
    c.run("COMMIT").good("COMMIT");
    assert!(ids(&mut c).is_empty(), "25: SET LOCAL ends with the transaction");

    let set = c
        .extended("SELECT postern.set_token($1)", &[Some(&bob)], 0)
        .unwrap_or_else(|e| panic!("{e}"));
    let set = set.good("set_token");
    assert_eq!(set.rows.len(), 1, "answered like a SELECT: {set:?}");
    assert_eq!(ids(&mut c), ["bob"]);
    c.run("RESET postern.token").good("RESET");
    assert!(ids(&mut c).is_empty());

    c.run(&format!("SET postern.token = '{bob}'")).good("SET");
    assert_eq!(ids(&mut c), ["bob"]);
    c.run("DISCARD ALL").good("DISCARD ALL");
    assert!(ids(&mut c).is_empty(), "DISCARD ALL forgets who it was");
    assert!(
        stand.connect("sys_account", None).run(WHO).rows.is_empty(),
        "the next client is a guest"
    );
}

/// 28: a token is taken from one place only.
#[test]
fn a_token_anywhere_else_is_text() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let bob = stand.token("sys_account", "bob");
    let mut c = stand.connect("sys_account", None);
    for sql in [
        format!("SELECT id FROM accounts WHERE id <> '/*postern:{bob}*/'"),
        format!("SELECT id /*postern:{bob}*/ FROM accounts"),
        format!("SELECT id FROM accounts /*postern:{bob}*/"),
        format!("/* first */ /*postern:{bob}*/ SELECT id FROM accounts"),
        format!("-- postern:{bob}\nSELECT id FROM accounts"),
        format!("SELECT id FROM accounts -- /*postern:{bob}*/"),
        format!("SELECT 1; /*postern:{bob}*/ SELECT id FROM accounts"),
        format!("/*/*postern:{bob}*/*/ SELECT id FROM accounts"),
        format!("SELECT id FROM accounts WHERE id <> $x$/*postern:{bob}*/$x$"),
        format!("SELECT id AS \"/*postern:{bob}*/\" FROM accounts"),
    ] {
        let reply = c.run(&sql);
        assert!(reply.rows.is_empty(), "a token was adopted from: {}", sql.replace(&bob, "…"));
    }
    // An error in the middle of a pipeline leaves no identity behind.
    let mut out = Vec::new();
    for sql in [
        format!("SET postern.token = '{bob}'"),
        "SELECT 1/0".to_owned(),
        WHO.to_owned(),
    ] {
        out.extend(message(b'P', &postern_tests::message::parse_body("", &sql, &[])));
        out.extend(message(b'B', &postern_tests::message::bind_body("", "", &[], 0, 0)));
        out.extend(message(b'E', b"\0\0\0\0\0"));
    }
    out.extend(message(b'S', b""));
    let mut c = stand.connect("sys_account", None);
    c.send_raw(&out).expect("sent");
    c.replies().unwrap_or_else(|e| panic!("{e}"));
    drop(c);
    assert!(
        ids(&mut stand.connect("sys_account", None)).is_empty(),
        "the next client is a guest"
    );
}

/// 26: what was opened as one identity is not read as another.
#[test]
fn cursors_and_prepared_statements_do_not_carry_identity() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let (bob, dora) = (stand.token("sys_account", "bob"), stand.token("sys_account", "dora"));
    let mut c = stand.connect("sys_account", None);
    c.run(&format!("SET postern.token = '{bob}'")).good("bob");
    c.run(&format!("PREPARE mine AS {WHO}")).good("PREPARE");
    assert_eq!(c.run("EXECUTE mine").good("EXECUTE").texts(), [[Some("bob".to_owned())]]);
    c.run(&format!("SET postern.token = '{dora}'")).good("dora");
    assert_eq!(c.run("EXECUTE mine").good("EXECUTE").texts(), [[Some("dora".to_owned())]]);

    c.run(&format!("SET postern.token = '{bob}'")).good("bob");
    c.run("BEGIN").good("BEGIN");
    c.run(&format!("DECLARE c CURSOR FOR {WHO}")).good("DECLARE");
    let switch = c.run(&format!("SET postern.token = '{dora}'"));
    let fetch = c.run("FETCH ALL FROM c");
    assert!(
        switch.error.is_some() || fetch.error.is_some(),
        "a cursor of bob's was read as dora: {:?}",
        fetch.texts()
    );
    c.run("ROLLBACK").good("ROLLBACK");

    c.run(&format!("SET postern.token = '{bob}'")).good("bob");
    c.run(&format!("DECLARE h CURSOR WITH HOLD FOR {WHO}"));
    c.run(&format!("SET postern.token = '{dora}'"));
    let held = c.run("FETCH ALL FROM h");
    assert!(
        held.error.is_some() || held.texts().iter().flatten().flatten().all(|id| id != "bob"),
        "a held cursor of bob's was read as dora: {:?}",
        held.texts()
    );
}

#[test]
fn identity_cannot_change_once_a_transaction_has_read() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let (bob, dora) = (stand.token("sys_account", "bob"), stand.token("sys_account", "dora"));
    let mut c = stand.connect("sys_account", None);
    c.run("BEGIN").good("BEGIN");
    c.run(&format!("SET LOCAL postern.token = '{bob}'")).good("before reading");
    assert_eq!(ids(&mut c), ["bob"]);
    let reply = c.run(&format!("SET LOCAL postern.token = '{dora}'"));
    assert!(reply.error.is_some(), "the identity changed in the middle of a transaction");
    c.run("ROLLBACK").good("ROLLBACK");
    c.run("BEGIN").good("BEGIN");
    c.run(&format!("SET LOCAL postern.token = '{dora}'"))
        .good("the twin: in a transaction of its own");
    assert_eq!(ids(&mut c), ["dora"]);
    c.run("ROLLBACK").good("ROLLBACK");
}

/// 25 (and mistake 8): two clients take turns; neither ever sees the other.
#[test]
fn clients_that_take_turns_never_cross() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut bob = stand.connect("sys_account", Some("bob"));
    let mut dora = stand.connect("sys_account", Some("dora"));
    let mut guest = stand.connect("sys_account", None);
    for turn in 0..500 {
        assert_eq!(ids(&mut bob), ["bob"], "turn {turn}");
        assert_eq!(ids(&mut dora), ["dora"], "turn {turn}");
        assert!(ids(&mut guest).is_empty(), "turn {turn}");
    }
    let tokens = [stand.token("sys_account", "bob"), stand.token("sys_account", "dora")];
    for turn in 0..500 {
        let who = turn % 2;
        let sql = format!("/*postern:{}*/ {WHO}", tokens[who]);
        let got = guest.run(&sql).good("a comment token").texts();
        assert_eq!(got, [[Some(["bob", "dora"][who].to_owned())]], "turn {turn}");
    }
}
