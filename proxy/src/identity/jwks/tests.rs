use serde_json::{Value, json};

use super::*;

/// Public keys of RFC 8032 section 7.1, of the first and the second test.
const ONE: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const TWO: &str = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw";

fn key(kid: &str, x: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x, "use": "sig", "alg": "EdDSA"})
}

fn parse(keys: &[Value]) -> Result<JwkSet, JwksProblem> {
    JwkSet::parse(
        json!({"keys": keys, "about": "members that nobody knows are left alone"})
            .to_string()
            .as_bytes(),
    )
}

fn kids(set: &JwkSet) -> Vec<&str> {
    set.kids().collect()
}

#[test]
fn ed25519_keys_for_signatures_are_taken() {
    let bare = json!({"kty": "OKP", "crv": "Ed25519", "kid": "bare", "x": TWO});
    let set = parse(&[key("one", ONE), bare]).unwrap();
    assert_eq!(kids(&set), ["bare", "one"]);
    assert!(set.ignored().is_empty());
    let verify = json!({"kty": "OKP", "crv": "Ed25519", "kid": "v", "x": TWO, "key_ops": ["verify"]});
    assert_eq!(kids(&parse(&[verify]).unwrap()), ["v"]);
}

#[test]
fn keys_of_other_kinds_are_left_out_and_named() {
    let with = |name: &str, value: Value| {
        let mut other = key("other", TWO);
        other[name] = value;
        other
    };
    for (other, why) in [
        (
            json!({"kty": "RSA", "kid": "other", "n": "AQAB", "e": "AQAB"}),
            "its kty is not OKP",
        ),
        (json!({"kty": "oct", "kid": "other", "k": ONE}), "its kty is not OKP"),
        (
            json!({"kty": "EC", "crv": "P-256", "kid": "other", "x": ONE, "y": TWO}),
            "its kty is not OKP",
        ),
        (
            json!({"kty": "okp", "crv": "Ed25519", "kid": "other", "x": TWO}),
            "its kty is not OKP",
        ),
        (json!({"kty": "OKP", "kid": "other", "x": TWO}), "its crv is not Ed25519"),
        (with("crv", json!("X25519")), "its crv is not Ed25519"),
        (with("crv", json!("Ed448")), "its crv is not Ed25519"),
        (with("use", json!("enc")), "its use is not sig"),
        (with("alg", json!("ES256")), "its alg is not EdDSA"),
        (with("alg", json!("none")), "its alg is not EdDSA"),
        (with("key_ops", json!(["sign"])), "its key_ops lack verify"),
    ] {
        let set = parse(&[key("one", ONE), other.clone()]).unwrap();
        assert_eq!(kids(&set), ["one"], "{other}");
        let left_out = Ignored {
            kid: Some("other".into()),
            why,
        };
        assert_eq!(set.ignored(), [left_out], "{other}");
        assert!(matches!(parse(&[other]), Err(JwksProblem::NoneUsable)));
    }
    let nameless = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
    let set = parse(&[nameless.clone(), key("one", ONE), nameless]).unwrap();
    assert!(set.ignored().iter().all(|i| i.kid.is_none()) && set.ignored().len() == 2);
}

#[test]
fn a_set_with_one_wrong_key_is_refused_as_a_whole() {
    let wrong = |keys: &[Value]| parse(keys).unwrap_err();
    let one = || key("one", ONE);
    assert!(matches!(wrong(&[]), JwksProblem::NoneUsable));
    assert!(matches!(wrong(&[one(), key("one", TWO)]), JwksProblem::Duplicate(kid) if kid == "one"));
    assert!(matches!(wrong(&[one(), one()]), JwksProblem::Duplicate(_)));
    let rsa = json!({"kty": "RSA", "kid": "one", "n": "AQAB", "e": "AQAB"});
    assert!(matches!(wrong(&[rsa.clone(), one()]), JwksProblem::Duplicate(_)));
    assert!(matches!(wrong(&[one(), rsa]), JwksProblem::Duplicate(_)));

    for kid in [json!(""), json!("k".repeat(MAX_KID_BYTES + 1)), json!("a\nb"), Value::Null] {
        let mut nameless = key("x", TWO);
        nameless["kid"] = kid.clone();
        assert!(matches!(wrong(&[one(), nameless]), JwksProblem::Kid(2)), "{kid}");
    }
    assert!(parse(&[key(&"k".repeat(MAX_KID_BYTES), ONE)]).is_ok());

    // The standard alphabet, padding, a character of neither, bits behind the last byte, and nothing at all.
    for x in [
        "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        &format!("{ONE}="),
        "!",
        "AAB",
        &ONE.replace("URo", "URp"),
    ] {
        assert!(
            matches!(wrong(&[one(), key("two", x)]), JwksProblem::Encoding(kid) if kid == "two"),
            "{x}"
        );
    }
    let mut without = key("two", TWO);
    without.as_object_mut().unwrap().remove("x");
    assert!(matches!(wrong(&[one(), without]), JwksProblem::Encoding(_)));

    for bytes in [0, 1, 31, 33, 57, 64] {
        let x = URL_SAFE_NO_PAD.encode(vec![9u8; bytes]);
        let problem = wrong(&[one(), key("two", &x)]);
        assert!(
            matches!(&problem, JwksProblem::Length { bytes: found, .. } if *found == bytes),
            "{problem}"
        );
    }

    let mut private = key("two", TWO);
    private["d"] = json!("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    let problem = wrong(&[one(), private]);
    assert!(
        matches!(problem, JwksProblem::Private(2)) && !problem.to_string().contains("nWGx"),
        "{problem}"
    );
}

/// With these a signature can be made for any text without a private key: they are no keys.
#[test]
fn a_key_that_everybody_can_sign_for_is_none() {
    let mut points = vec![[0u8; 32]; 4];
    points[1][0] = 1;
    points[2] = [0xff; 32];
    points[2][0] = 0xec;
    points[2][31] = 0x7f;
    // Of order 8.
    points[3] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa,
        0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    // No point at all.
    let mut beside = [0u8; 32];
    beside[0] = 2;
    points.push(beside);
    for point in points {
        let x = URL_SAFE_NO_PAD.encode(point);
        let problem = parse(&[key("one", ONE), key("weak", &x)]).unwrap_err();
        assert!(matches!(&problem, JwksProblem::Point(kid) if kid == "weak"), "{x}: {problem}");
    }
}

#[test]
fn what_is_no_set_is_refused_without_repeating_it() {
    let whole = json!({"keys": [key("one", ONE), key("two", TWO)]}).to_string();
    for cut in 0..whole.len() {
        assert!(JwkSet::parse(&whole.as_bytes()[..cut]).is_err(), "cut at {cut}");
    }
    assert!(JwkSet::parse(whole.as_bytes()).is_ok());
    for text in [
        "null",
        "[]",
        "{}",
        r#"{"keys": {}}"#,
        r#"{"keys": [{}]}"#,
        r#"{"keys": ["secret"]}"#,
        r#"{"keys": [{"kty": "OKP", "kid": 7}]}"#,
        r#"{"keys": [], "keys": []}"#,
        r#"{"keys": [{"kty": "OKP", "kty": "RSA"}]}"#,
        "-----BEGIN PRIVATE KEY-----\nsecret",
        "\u{feff}{\"keys\": []}",
    ] {
        let problem = JwkSet::parse(text.as_bytes()).unwrap_err();
        assert!(
            matches!(problem, JwksProblem::Syntax { line: 1.., .. }),
            "{text}: {problem:?}"
        );
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
    let behind = format!("{whole}x");
    assert!(JwkSet::parse(behind.as_bytes()).is_err());
    let third = "{\n\"keys\":\n7}";
    assert_eq!(JwkSet::parse(third.as_bytes()).unwrap_err().line(), 3);
}

#[test]
fn files_are_bounded_and_not_everybodys() {
    let dir = std::env::temp_dir().join(format!("postern-jwks-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("issuer.jwks");
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    let problem = || JwkSet::read(&path).unwrap_err().problem;
    assert!(matches!(problem(), JwksProblem::Io(e) if e.kind() == io::ErrorKind::NotFound));
    let text = json!({"keys": [key("one", ONE)]}).to_string();
    let filled = |bytes: u64| text.clone() + &" ".repeat(usize::try_from(bytes).unwrap() - text.len());
    std::fs::write(&path, filled(MAX_BYTES)).unwrap();
    mode(0o644);
    assert_eq!(kids(&JwkSet::read(&path).unwrap()), ["one"]);
    for open in [0o646, 0o666, 0o602] {
        mode(open);
        assert!(matches!(problem(), JwksProblem::Mode(found) if found == open));
    }
    mode(0o664);
    assert!(JwkSet::read(&path).is_ok());
    std::fs::write(&path, filled(MAX_BYTES + 1)).unwrap();
    assert!(matches!(problem(), JwksProblem::TooLarge));
    let said = JwkSet::read(&dir).unwrap_err();
    assert!(
        matches!(said.problem, JwksProblem::NotFile) && said.to_string().contains("postern-jwks"),
        "{said}"
    );
    std::fs::remove_dir_all(dir).unwrap();
}
