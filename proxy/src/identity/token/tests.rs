use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;
use crate::identity::mint::{MintError, generate_issuer, mint};

mod keys;

const NOW: u64 = 1_800_000_000;

/// An issuer in a directory of its own, removed at the end.
struct Issuer {
    dir: PathBuf,
    settings: TokenSettings,
    signing: EncodingKey,
    public_pem: String,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Issuer {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("postern-token-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (private, public_pem) = generate_issuer().unwrap();
        write_secret(&dir.join("issuer.key"), &private);
        std::fs::write(dir.join("issuer.pub"), &public_pem).unwrap();
        let people = json!({
            "bob": {"project_member_of": ["PA1"], "org_member_of": ["A"], "verified": true},
            "root": {"super": true},
            "odd": {"verified": "yes"},
        });
        std::fs::write(dir.join("people.json"), people.to_string()).unwrap();
        let settings = TokenSettings {
            claims: postern_config::expr::Claim::BUILT_IN.to_vec(),
            issuer: "https://issuer.example".into(),
            audience: "postern".into(),
            public_keys: vec![dir.join("issuer.pub")],
            jwks_file: None,
            dev_issuer: true,
            dev_private_key: Some(dir.join("issuer.key")),
            dev_kid: None,
            dev_people: Some(dir.join("people.json")),
        };
        let signing = EncodingKey::from_ed_pem(private.as_bytes()).unwrap();
        Self {
            dir,
            settings,
            signing,
            public_pem,
        }
    }

    fn verifier(&self) -> TokenVerifier {
        TokenVerifier::new(&self.settings).unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        encode(&Header::new(Algorithm::EdDSA), claims, &self.signing).unwrap()
    }

    /// A good token's claims with one of them changed, or removed where `value` is null.
    fn with(&self, name: &str, value: Value) -> String {
        let mut claims = good();
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.into(), value),
        };
        self.sign(&claims)
    }

    fn judge(&self, token: &str) -> Result<Arc<Identity>, TokenError> {
        self.verifier().verify(token, &disco(), &runtime(), at(NOW))
    }
}

fn good() -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "postern", "mod": "disco", "jti": "t-1", "iat": NOW, "exp": NOW + 300,
        "sub": "bob", "org_member_of": ["A"], "project_member_of": ["PA1", "PA2"], "verified": true, "colour": "ignored",
    })
}

fn disco() -> ModuleName {
    ModuleName::new("disco").unwrap()
}

fn runtime() -> LoginName {
    LoginName::new("disco").unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn a_good_token_gives_typed_claims() {
    let issuer = Issuer::new("good");
    let bob = issuer.judge(&issuer.sign(&good())).unwrap();
    assert_eq!(bob.sub(), Some("bob"));
    assert_eq!(bob.claim(Claim::Verified), Some(&ClaimValue::Bool(true)));
    assert_eq!(
        bob.claim(Claim::ProjectMemberOf),
        Some(&ClaimValue::List(vec!["PA1".into(), "PA2".into()]))
    );
    assert_eq!(bob.claim(Claim::Service), None);
    assert_eq!(bob.expires_at(), Some(at(NOW + 300)));
    assert!(!bob.is_super() && !bob.expired(at(NOW + 299)) && bob.expired(at(NOW + 300)));
}

#[test]
fn no_other_algorithm_reaches_a_verifier() {
    let issuer = Issuer::new("alg");
    let b64 = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text);
    let token = issuer.sign(&good());
    let parts: Vec<&str> = token.split('.').collect();
    let (body, signature) = (parts[1], parts[2]);
    for (header, signature) in [
        (r#"{"alg":"none"}"#, ""),
        (r#"{"alg":"none"}"#, signature),
        (r#"{"alg":"None","typ":"JWT"}"#, ""),
        (r#"{"typ":"JWT"}"#, signature),
        (r#"{"alg":"ES256"}"#, signature),
    ] {
        let refused = issuer.judge(&format!("{}.{body}.{signature}", b64(header))).unwrap_err();
        assert!(
            matches!(refused, TokenError::Algorithm | TokenError::Malformed),
            "{header}: {refused:?}"
        );
    }
    // The public key, which is public, as the secret of a MAC.
    let mac = encode(
        &Header::new(Algorithm::HS256),
        &good(),
        &EncodingKey::from_secret(issuer.public_pem.as_bytes()),
    )
    .unwrap();
    assert_eq!(issuer.judge(&mac), Err(TokenError::Algorithm));
    let mut extended = Header::new(Algorithm::EdDSA);
    extended.crit = Some(vec!["b64".into()]);
    assert_eq!(
        issuer.judge(&encode(&extended, &good(), &issuer.signing).unwrap()),
        Err(TokenError::Algorithm)
    );
}

#[test]
fn another_key_or_a_changed_byte_is_no_signature() {
    let (issuer, other) = (Issuer::new("sig-a"), Issuer::new("sig-b"));
    assert_eq!(issuer.judge(&other.sign(&good())), Err(TokenError::Signature));
    let token = issuer.sign(&good());
    let foreign = issuer.with("sub", json!("dora"));
    let (mine, theirs): (Vec<&str>, Vec<&str>) = (token.split('.').collect(), foreign.split('.').collect());
    assert_eq!(
        issuer.judge(&format!("{}.{}.{}", mine[0], theirs[1], mine[2])),
        Err(TokenError::Signature)
    );
    // The second configured key is tried as well.
    let mut both = issuer.settings.clone();
    both.public_keys.push(other.dir.join("issuer.pub"));
    assert!(
        TokenVerifier::new(&both)
            .unwrap()
            .verify(&other.sign(&good()), &disco(), &runtime(), at(NOW))
            .is_ok()
    );
}

#[test]
fn a_token_is_for_one_issuer_one_audience_one_module() {
    let issuer = Issuer::new("for");
    for (name, wrong, error) in [
        ("iss", json!("https://elsewhere.example"), TokenError::Issuer),
        ("iss", json!(["https://issuer.example"]), TokenError::Issuer),
        ("iss", Value::Null, TokenError::Issuer),
        ("aud", json!("other"), TokenError::Audience),
        ("aud", json!(["postern", "other"]), TokenError::Audience),
        ("aud", Value::Null, TokenError::Audience),
        ("mod", json!("sys_account"), TokenError::Module),
        ("mod", json!(["disco"]), TokenError::Module),
        ("mod", json!("DISCO"), TokenError::Module),
        ("mod", Value::Null, TokenError::Module),
    ] {
        assert_eq!(
            issuer.judge(&issuer.with(name, wrong.clone())),
            Err(error),
            "{name} = {wrong}"
        );
    }
    let evilmod = ModuleName::new("evilmod").unwrap();
    assert_eq!(
        issuer.verifier().verify(&issuer.sign(&good()), &evilmod, &runtime(), at(NOW)),
        Err(TokenError::Module)
    );
}

#[test]
fn a_token_ends_to_the_second_and_never_lives_long() {
    let issuer = Issuer::new("exp");
    let exp = |value: Value| issuer.judge(&issuer.with("exp", value)).err();
    assert_eq!(exp(json!(NOW + 600)), None);
    assert_eq!(exp(json!(NOW + 1)), None);
    assert_eq!(exp(json!(NOW)), Some(TokenError::Expired));
    assert_eq!(exp(json!(NOW - 1)), Some(TokenError::Expired));
    assert_eq!(exp(json!(0)), Some(TokenError::Expired));
    assert_eq!(exp(json!(NOW + 601)), Some(TokenError::Lifetime));
    assert_eq!(exp(json!((NOW + 300) * 1_000)), Some(TokenError::Lifetime), "milliseconds");
    assert_eq!(
        exp(json!((NOW + 300) * 1_000_000_000)),
        Some(TokenError::Lifetime),
        "nanoseconds"
    );
    assert_eq!(exp(json!(u64::MAX)), Some(TokenError::Lifetime));
    for odd in [Value::Null, json!("soon"), json!(NOW as f64 + 300.5), json!(-1)] {
        assert_eq!(exp(odd.clone()), Some(TokenError::Lifetime), "{odd}");
    }
    assert_eq!(exp(json!([NOW + 300])), Some(TokenError::Malformed));
    assert_eq!(
        issuer.judge(&issuer.with("iat", json!(NOW - 5_000))),
        Err(TokenError::Lifetime),
        "long-lived, in its last minutes"
    );
    assert_eq!(issuer.judge(&issuer.with("iat", json!("now"))), Err(TokenError::Lifetime));
    assert!(issuer.judge(&issuer.with("iat", Value::Null)).is_ok());
    assert_eq!(issuer.judge(&issuer.with("nbf", json!(NOW + 5))), Err(TokenError::NotYet));
    assert!(issuer.judge(&issuer.with("nbf", json!(NOW))).is_ok());
}

#[test]
fn a_revoked_id_is_refused_at_once_and_later() {
    let issuer = Issuer::new("jti");
    let verifier = issuer.verifier();
    let token = issuer.sign(&good());
    let bob = verifier.verify(&token, &disco(), &runtime(), at(NOW)).unwrap();
    assert_eq!(verifier.still_valid(&bob, at(NOW)), Ok(()));
    verifier.set_revoked(HashSet::from(["t-1".into()]));
    assert_eq!(
        verifier.verify(&token, &disco(), &runtime(), at(NOW)),
        Err(TokenError::Revoked)
    );
    assert_eq!(verifier.still_valid(&bob, at(NOW)), Err(TokenError::Revoked));
    assert_eq!(verifier.still_valid(&bob, at(NOW + 300)), Err(TokenError::Expired));
    assert_eq!(verifier.still_valid(&Identity::guest(), at(NOW)), Ok(()));
    for odd in [Value::Null, json!(""), json!(7), json!("x".repeat(129))] {
        assert_eq!(issuer.judge(&issuer.with("jti", odd)), Err(TokenError::NoId));
    }
}

#[test]
fn claims_are_of_their_types_and_never_empty() {
    let issuer = Issuer::new("claims");
    let many: Vec<String> = (0..257).map(|i| i.to_string()).collect();
    for (name, wrong) in [
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", Value::Null),
        ("sub", json!("a\0b")),
        ("org_member_of", json!("A")),
        ("org_member_of", json!([""])),
        ("org_member_of", json!(["A", 1])),
        ("org_member_of", json!(["A", null])),
        ("org_admin_of", json!(many)),
        ("verified", json!("true")),
        ("disabled", json!(0)),
        ("super", json!("true")),
        ("service", json!("disco")),
    ] {
        assert_eq!(
            issuer.judge(&issuer.with(name, wrong.clone())),
            Err(TokenError::Claim),
            "{name} = {wrong}"
        );
    }
    let nobody = issuer.judge(&issuer.with("org_member_of", json!([]))).unwrap();
    assert_eq!(nobody.claim(Claim::OrgMemberOf), Some(&ClaimValue::List(Vec::new())));
}

#[test]
fn superadmin_needs_a_reason() {
    let issuer = Issuer::new("super");
    assert_eq!(issuer.judge(&issuer.with("super", json!(true))), Err(TokenError::Reason));
    let mut claims = good();
    claims["super"] = json!(true);
    claims["reason"] = json!("  ");
    assert_eq!(issuer.judge(&issuer.sign(&claims)), Err(TokenError::Reason));
    claims["reason"] = json!("ticket 7");
    let root = issuer.judge(&issuer.sign(&claims)).unwrap();
    assert!(root.is_super() && root.super_reason() == Some("ticket 7"));
    claims["super"] = json!(false);
    assert!(!issuer.judge(&issuer.sign(&claims)).unwrap().is_super());
}

#[test]
fn noise_and_length_are_refused() {
    let issuer = Issuer::new("noise");
    assert_eq!(issuer.judge(&"a".repeat(MAX_TOKEN_BYTES + 1)), Err(TokenError::TooLong));
    for noise in [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "é.é.é",
        "eyJhbGciOiJFZERTQSJ9..",
        "eyJhbGciOiJFZERTQSJ9.e30.",
    ] {
        assert!(issuer.judge(noise).is_err(), "{noise}");
    }
    let token = issuer.sign(&good());
    for cut in 0..token.len() {
        assert!(issuer.judge(&token[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn minted_tokens_are_accepted_and_mistakes_explained() {
    let issuer = Issuer::new("mint");
    let ttl = Duration::from_secs(600);
    let token = mint(&issuer.settings, &disco(), "bob", ttl, None, at(NOW)).unwrap();
    let bob = issuer.judge(&token).unwrap();
    assert_eq!((bob.sub(), bob.is_super()), (Some("bob"), false));
    let root = mint(&issuer.settings, &disco(), "root", ttl, Some("ticket 7"), at(NOW)).unwrap();
    assert_eq!(issuer.judge(&root).unwrap().super_reason(), Some("ticket 7"));

    let fails =
        |person, ttl, reason| mint(&issuer.settings, &disco(), person, Duration::from_secs(ttl), reason, at(NOW)).unwrap_err();
    assert!(matches!(fails("root", 600, None), MintError::Reason(_)));
    assert!(matches!(fails("bob", 601, None), MintError::Lifetime(601)));
    assert!(matches!(fails("bob", 0, None), MintError::Lifetime(0)));
    assert!(fails("zoe", 60, None).remedy().contains("bob"));
    assert!(matches!(fails("odd", 60, None), MintError::People { .. }));
    let production = TokenSettings {
        claims: postern_config::expr::Claim::BUILT_IN.to_vec(),
        dev_issuer: false,
        ..issuer.settings.clone()
    };
    assert!(matches!(
        mint(&production, &disco(), "bob", ttl, None, at(NOW)),
        Err(MintError::NotDevelopment)
    ));
}

#[test]
fn wrong_key_files_are_named() {
    let issuer = Issuer::new("keys");
    let with = |keys: Vec<PathBuf>| {
        TokenVerifier::new(&TokenSettings {
            claims: postern_config::expr::Claim::BUILT_IN.to_vec(),
            public_keys: keys,
            ..issuer.settings.clone()
        })
        .err()
        .unwrap()
    };
    assert!(matches!(with(Vec::new()), TokenKeyError::None));
    assert!(matches!(with(vec![issuer.dir.join("missing.pub")]), TokenKeyError::Io { .. }));
    assert!(matches!(
        with(vec![issuer.dir.join("people.json")]),
        TokenKeyError::Key { .. }
    ));
    assert!(
        matches!(with(vec![issuer.dir.join("issuer.key")]), TokenKeyError::Key { .. }),
        "a private key is no public key"
    );
}

#[test]
fn a_token_that_comes_again_is_known_by_all_of_its_bytes_for_its_module_and_time() {
    let issuer = Issuer::new("known");
    let verifier = issuer.verifier();
    let token = issuer.sign(&good());
    let first = verifier.verify(&token, &disco(), &runtime(), at(NOW)).unwrap();
    let again = verifier.verify(&token, &disco(), &runtime(), at(NOW)).unwrap();
    assert!(Arc::ptr_eq(&first, &again) && verifier.known.len() == 1);

    // Another module, a changed byte, a later time, an earlier one, and a revocation: each is looked at as if it had never been seen.
    let chat = ModuleName::new("chat").unwrap();
    assert_eq!(
        verifier.verify(&token, &chat, &runtime(), at(NOW)).err(),
        Some(TokenError::Module)
    );
    let (body, signature) = token.rsplit_once('.').unwrap();
    let changed = format!(
        "{body}.{}{}",
        if signature.starts_with('A') { 'B' } else { 'A' },
        &signature[1..]
    );
    assert_eq!(
        verifier.verify(&changed, &disco(), &runtime(), at(NOW)).err(),
        Some(TokenError::Signature)
    );
    let ends = good()["exp"].as_u64().unwrap();
    assert!(verifier.verify(&token, &disco(), &runtime(), at(ends - 1)).is_ok());
    assert_eq!(
        verifier.verify(&token, &disco(), &runtime(), at(ends)).err(),
        Some(TokenError::Expired)
    );
    let mut claims = good();
    (claims["nbf"], claims["jti"]) = (json!(NOW), json!("t-2"));
    let early = issuer.sign(&claims);
    assert!(verifier.verify(&early, &disco(), &runtime(), at(NOW)).is_ok());
    assert_eq!(
        verifier.verify(&early, &disco(), &runtime(), at(NOW - 1)).err(),
        Some(TokenError::NotYet)
    );
    verifier.set_revoked(HashSet::from([first.jti().unwrap().into()]));
    assert_eq!(
        verifier.verify(&token, &disco(), &runtime(), at(NOW)).err(),
        Some(TokenError::Revoked)
    );
    // What was refused is not known.
    assert_eq!(verifier.known.len(), 2);
}

#[test]
fn the_number_of_known_tokens_is_bounded() {
    let issuer = Issuer::new("bounded");
    let verifier = issuer.verifier();
    let identity = verifier.verify(&issuer.sign(&good()), &disco(), &runtime(), at(NOW)).unwrap();
    for i in 0..super::super::known::MOST + 10 {
        verifier
            .known
            .keep(Print::of(&i.to_string(), &disco(), &runtime()), &identity, at(NOW));
    }
    assert_eq!(verifier.known.len(), super::super::known::MOST);
    let oldest = Print::of("0", &disco(), &runtime());
    assert!(verifier.known.get(&oldest, at(NOW)).is_none());
}

#[test]
fn declared_claims_are_of_their_type_or_no_token_s() {
    let mut issuer = Issuer::new("declared");
    let declared = [
        ("age", ClaimType::Int4),
        ("count", ClaimType::Int8),
        ("email", ClaimType::Text),
        ("tenant", ClaimType::Uuid),
        ("since", ClaimType::TimestampTz),
        ("staff", ClaimType::Bool),
        ("levels", ClaimType::Int4Array),
        ("tenants", ClaimType::UuidArray),
    ]
    .map(|(name, ty)| Claim::declared(name, ty, false));
    issuer.settings.claims.extend(declared);
    let with = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        issuer.judge(&issuer.sign(&claims))
    };
    let uuid = "6a9d4b0e-2c63-4a53-8f0b-0e5f4c1d2a3b";
    for (n, value, text) in [
        (0, json!(-7), "-7"),
        (1, json!(i64::MAX), "9223372036854775807"),
        (2, json!("b@x"), "b@x"),
        // One value, one text: what PostgreSQL reads does not depend on how the issuer spells it.
        (3, json!(uuid.to_uppercase()), uuid),
        (4, json!("2026-01-02T03:04:05+02:00"), "2026-01-02 01:04:05+00"),
        (4, json!("2026-01-02T03:04:05.5Z"), "2026-01-02 03:04:05.5+00"),
        (5, json!(true), "true"),
        (6, json!([1, -2]), "{\"1\",\"-2\"}"),
        (7, json!([uuid]), "{\"6a9d4b0e-2c63-4a53-8f0b-0e5f4c1d2a3b\"}"),
    ] {
        let claim = declared[n];
        let identity = with(claim.name(), value.clone()).unwrap_or_else(|e| panic!("{} {value}: {e}", claim.name()));
        assert_eq!(identity.claim_text(claim).as_deref(), Some(text));
    }
    for (n, value) in [
        (0, json!("7")),
        (0, json!(7.5)),
        (0, json!(2_147_483_648_i64)),
        (0, json!([7])),
        (0, json!(null)),
        (1, json!(u64::MAX)),
        (2, json!("")),
        (2, json!(1)),
        (3, json!("6a9d4b0e")),
        (3, json!("'; SELECT 1")),
        (4, json!("2026-01-02T03:04:05")),
        (4, json!("2026-01-02 03:04:05+00")),
        (4, json!("now")),
        (4, json!("infinity")),
        (4, json!(1_767_323_045)),
        (5, json!("true")),
        (5, json!(1)),
        (6, json!([1, "2"])),
        (6, json!([[1]])),
        (6, json!([null])),
        (6, json!(1)),
        (7, json!(["x"])),
        (7, json!(uuid)),
    ] {
        let claim = declared[n];
        assert_eq!(
            with(claim.name(), value.clone()).unwrap_err(),
            TokenError::Claim,
            "{} {value}",
            claim.name()
        );
    }
    // An empty list is NULL, as with the claims that are always there.
    assert_eq!(with("levels", json!([])).unwrap().claim_text(declared[6]), None);
}
