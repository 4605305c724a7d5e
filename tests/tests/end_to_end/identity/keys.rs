//! The issuer's keys change while sessions run; ids that come twice; tokens for one login.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_tests::proxy::Proxy;
use postern_tests::stand::tail;

use super::*;

/// A change of the file is seen within two seconds.
const SOON: Duration = Duration::from_secs(20);
/// Longer than the proxy leaves the file alone: what it would do it has done.
const SEEN: Duration = Duration::from_secs(5);

/// A key of an issuer's, with the name that its set gives it.
struct Key {
    kid: &'static str,
    signing: EncodingKey,
    x: String,
}

impl Key {
    fn new(kid: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        Self {
            kid,
            signing: EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).expect("the key is Ed25519"),
            x: URL_SAFE_NO_PAD.encode(pair.public_key_raw()),
        }
    }

    fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.kid, "x": self.x})
    }

    /// A token of `who` for `sys_account`, with an id of its own.
    fn token(&self, stand: &Stand, who: &str) -> String {
        let mut claims = claims(stand);
        claims.insert("sub".to_owned(), json!(who));
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.to_owned());
        encode(&header, &claims, &self.signing).expect("claims can be signed")
    }
}

/// Puts a file into the place of another at once, as an issuer's job should.
fn put(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let beside = file.with_extension("new");
    std::fs::write(&beside, text).unwrap_or_else(|e| panic!("{}: {e}", beside.display()));
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o644)).expect("the file is ours");
    std::fs::rename(&beside, file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}

fn put_set(file: &Path, keys: &[&Key]) {
    let keys: Vec<Value> = keys.iter().map(|k| k.jwk()).collect();
    put(file, &json!({"keys": keys}).to_string());
}

/// A proxy whose issuer has a set of keys in a file, beside the PEM key of the demo.
fn proxy(stand: &Stand, purpose: &str, keys: &[&Key], pool: &str) -> (Proxy, PathBuf) {
    let file = stand.dir.join(format!("{purpose}.jwks"));
    put_set(&file, keys);
    let changes = format!("[tokens]\njwks_file = {:?}\n[pool]\n{pool}", file.display().to_string());
    (Proxy::start(stand, purpose, &changes), file)
}

/// Whom a statement with that token in a comment sees, or its SQLSTATE.
fn by_comment(connection: &mut Connection, token: &str) -> Result<Vec<String>, String> {
    let reply = connection.run(&format!("/*postern:{token}*/ {WHO}"));
    match reply.sqlstate() {
        "" => Ok(reply.texts().into_iter().flatten().flatten().collect()),
        sqlstate => Err(sqlstate.to_owned()),
    }
}

/// Waits until the token is believed, or is not.
#[track_caller]
fn until(proxy: &Proxy, probe: &mut Connection, token: &str, believed: bool) {
    let seen = eventually(SOON, || (by_comment(probe, token).is_ok() == believed).then_some(()));
    assert!(seen.is_some(), "believed is not {believed}:\n{}", tail(&proxy.log_text()));
}

#[test]
fn issuer_keys_change_under_running_sessions() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let (old, new) = (Key::new("2026-10"), Key::new("2026-11"));
    let (proxy, file) = proxy(stand, "issuer-keys", &[&old], "size = 8");
    let target = |token: &str| stand.login("sys_account").on_port(proxy.port).with_token(token);
    let [bob_old, bob_new, dora_new] = [old.token(stand, "bob"), new.token(stand, "bob"), new.token(stand, "dora")];
    let mut probe = proxy.connect(stand, "sys_account", None);

    let mut bob = proxy.open(&target(&bob_old));
    assert_eq!(ids(&mut bob), ["bob"]);
    let unknown = refused(&target(&dora_new)).expect("a key that is not in the set");
    assert_eq!(unknown.sqlstate(), "28000", "{unknown}");
    let foreign = Some(unknown.to_string());
    let (signed_part, _) = bob_old.rsplit_once('.').expect("a token has three parts");
    let (_, signature) = dora_new.rsplit_once('.').expect("a token has three parts");
    assert_eq!(
        refused(&target(&format!("{signed_part}.{signature}"))).map(|e| e.to_string()),
        foreign,
        "an unknown kid answers as a bad signature does"
    );

    // Both for a while.
    put_set(&file, &[&old, &new]);
    until(&proxy, &mut probe, &dora_new, true);
    assert_eq!(by_comment(&mut probe, &bob_old), Ok(vec!["bob".to_owned()]));
    let mut dora = proxy.open(&target(&dora_new));
    let mut held = proxy.open(&target(&bob_old));
    held.run("BEGIN").good("BEGIN");
    assert_eq!(
        (ids(&mut bob), ids(&mut dora), ids(&mut held)),
        (vec!["bob".to_owned()], vec!["dora".to_owned()], vec!["bob".to_owned()])
    );
    let mut pem = proxy.connect(stand, "sys_account", Some("bob"));
    assert_eq!(ids(&mut pem), ["bob"]);

    // What is no set changes nothing, and is said.
    let rsa = json!({"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB"});
    for broken in [
        "{\"keys\": [".to_owned(),
        json!({"keys": [rsa]}).to_string(),
        json!({"keys": [new.jwk(), new.jwk()]}).to_string(),
    ] {
        let said = proxy.log_text().matches("cannot be read").count();
        put(&file, &broken);
        let logged = eventually(SOON, || {
            (proxy.log_text().matches("cannot be read").count() > said).then_some(())
        });
        assert!(logged.is_some(), "{broken} is not logged:\n{}", tail(&proxy.log_text()));
        assert_eq!(
            (ids(&mut bob), ids(&mut dora)),
            (vec!["bob".to_owned()], vec!["dora".to_owned()])
        );
        assert_eq!(by_comment(&mut probe, &bob_old), Ok(vec!["bob".to_owned()]), "{broken}");
    }
    std::fs::remove_file(&file).expect("the file is ours");
    std::thread::sleep(SEEN);
    assert_eq!(
        (ids(&mut bob), ids(&mut dora)),
        (vec!["bob".to_owned()], vec!["dora".to_owned()]),
        "no file at all"
    );

    // The old one goes, and all that it vouched for.
    put(&file, &json!({"keys": [rsa, new.jwk()]}).to_string());
    until(&proxy, &mut probe, &bob_old, false);
    for session in [&mut bob, &mut held] {
        let reply = session.run(WHO);
        assert_eq!((reply.sqlstate(), reply.rows.len()), ("28000", 0), "{reply:?}");
        assert!(!reply.error.as_ref().expect("an error").hint().is_empty(), "{reply:?}");
    }
    held.run("ROLLBACK").good("ROLLBACK");
    assert_eq!(held.run(WHO).sqlstate(), "28000", "nor is there a guest behind it");
    let extended = bob.extended(WHO, &[], 0).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(extended.sqlstate(), "28000");
    assert_eq!(
        refused(&target(&bob_old)).map(|e| e.to_string()),
        foreign,
        "as if it had never been known"
    );
    assert_eq!(by_comment(&mut probe, &bob_old), Err("28000".to_owned()));
    assert_eq!(probe.run(&format!("SET postern.token = '{bob_old}'")).sqlstate(), "28000");
    assert!(ids(&mut probe).is_empty());
    assert_eq!(
        (ids(&mut dora), ids(&mut pem)),
        (vec!["dora".to_owned()], vec!["bob".to_owned()]),
        "other keys stay"
    );
    assert!(proxy.log_text().contains("is not used"), "a key of another kind is named");

    bob.run(&format!("SET postern.token = '{bob_new}'"))
        .good("a token of the new key");
    assert_eq!(ids(&mut bob), ["bob"]);
}

#[test]
fn a_shared_connection_does_not_carry_on_who_was_withdrawn() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let (old, new) = (Key::new("a"), Key::new("b"));
    let one = "pool_mode = \"transaction\"\nsize = 1";
    let (proxy, file) = proxy(stand, "issuer-pool", &[&old, &new], one);
    let target = |token: &str| stand.login("sys_account").on_port(proxy.port).with_token(token);
    let (bob_old, dora_new) = (old.token(stand, "bob"), new.token(stand, "dora"));
    let mut guest = proxy.connect(stand, "sys_account", None);
    let mut dora = proxy.open(&target(&dora_new));
    let mut bob = proxy.open(&target(&bob_old));
    let mut twin = proxy.open(&target(&bob_old));
    // Bob's claims stand on the only connection there is.
    for _ in 0..3 {
        assert_eq!(
            (ids(&mut dora), ids(&mut bob)),
            (vec!["dora".to_owned()], vec!["bob".to_owned()])
        );
    }
    put_set(&file, &[&new]);
    // Seen by a token in a session, so that the claims on the connection stay as bob left them.
    let seen = eventually(SOON, || (twin.run(WHO).sqlstate() == "28000").then_some(()));
    assert!(seen.is_some(), "{}", tail(&proxy.log_text()));
    assert!(ids(&mut guest).is_empty(), "a guest behind bob");
    assert_eq!(bob.run(WHO).sqlstate(), "28000");
    assert!(ids(&mut guest).is_empty(), "a guest behind bob's refusal");
    assert_eq!(ids(&mut dora), ["dora"]);
    assert_eq!(bob.run("BEGIN; SELECT id FROM accounts").sqlstate(), "28000");
    assert_eq!(bob.run("ROLLBACK").error.map(|e| e.to_string()), None);
    assert!(ids(&mut guest).is_empty());
}

#[test]
fn an_id_that_comes_with_two_tokens_is_refused_and_told_to_the_trail() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let id = format!("twice-{:?}", SystemTime::now());
    let as_who = |who: &str| {
        signed(stand, |c| {
            c.insert("jti".to_owned(), json!(id));
            c.insert("sub".to_owned(), json!(who));
        })
    };
    let (first, second) = (as_who("bob"), as_who("dora"));
    let target = |token: &str| stand.login("sys_account").with_token(token);
    let refusals = || stand.audit_text().matches("token-replayed").count();
    let before = refusals();
    let mut connection = Connection::open(&target(&first)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(ids(&mut connection), ["bob"]);
    assert_eq!(
        refused(&target(&second)).map(|e| e.sqlstate().to_owned()),
        Some("28000".to_owned())
    );
    for sql in [
        format!("SET postern.token = '{second}'"),
        format!("SELECT postern.set_token('{second}')"),
        format!("/*postern:{second}*/ {WHO}"),
    ] {
        assert_eq!(connection.run(&sql).sqlstate(), "28000", "{}", &sql[..12]);
        assert_eq!(ids(&mut connection), ["bob"]);
    }
    let told = eventually(SOON, || (refusals() >= before + 4).then_some(()));
    assert!(told.is_some(), "{} in the trail, {before} before", refusals());
    for _ in 0..3 {
        let mut again = Connection::open(&target(&first)).unwrap_or_else(|e| panic!("the same token again: {e}"));
        assert_eq!(ids(&mut again), ["bob"]);
    }
}

#[test]
fn a_token_for_one_login_is_nobody_at_another() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let (own, other) = (stand.login("sys_account"), stand.login("sys_account.migrator"));
    let bound = signed(stand, |c| drop(c.insert("login".to_owned(), json!(own.user))));
    let free = signed(stand, |_| {});
    let mut at_home = Connection::open(&own.with_token(&bound)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(ids(&mut at_home), ["bob"]);
    let fatal = refused(&stand.login("sys_account.migrator").with_token(&bound)).expect("another login");
    assert_eq!(fatal.sqlstate(), "28000", "{fatal}");
    let mut elsewhere = Connection::open(&other).unwrap_or_else(|e| panic!("{e}"));
    for sql in [format!("SET postern.token = '{bound}'"), format!("/*postern:{bound}*/ {WHO}")] {
        assert_eq!(elsewhere.run(&sql).sqlstate(), "28000", "{}", &sql[..12]);
    }
    elsewhere
        .run(&format!("SET postern.token = '{free}'"))
        .good("the twin for any login");
}
