//! Which key speaks for a token, keys that come and go, ids that come twice, logins.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;

use super::*;
use crate::identity::jwks::JwksProblem;

/// A key of the issuer's.
struct Pair {
    signing: EncodingKey,
    x: String,
    pem: String,
}

impl Pair {
    fn new() -> Self {
        let (private, pem) = generate_issuer().unwrap();
        let public = DecodingKey::from_ed_pem(pem.as_bytes()).unwrap();
        Self {
            signing: EncodingKey::from_ed_pem(private.as_bytes()).unwrap(),
            x: URL_SAFE_NO_PAD.encode(public.try_get_as_bytes().unwrap()),
            pem,
        }
    }

    fn sign(&self, kid: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = kid.map(str::to_owned);
        encode(&header, claims, &self.signing).unwrap()
    }
}

/// A good token's claims under that id.
fn named(jti: &str) -> Value {
    let mut claims = good();
    claims["jti"] = json!(jti);
    claims
}

fn text(keys: &[(&str, &Pair)]) -> String {
    let key = |(kid, pair): &(&str, &Pair)| json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": kid, "x": pair.x});
    json!({"keys": keys.iter().map(key).collect::<Vec<_>>()}).to_string()
}

fn set(keys: &[(&str, &Pair)]) -> JwkSet {
    JwkSet::parse(text(keys).as_bytes()).unwrap()
}

/// An issuer with a PEM key and a set, and the verifier of both.
struct Both {
    issuer: Issuer,
    verifier: TokenVerifier,
}

impl Both {
    fn new(name: &str, keys: &[(&str, &Pair)]) -> Self {
        let mut issuer = Issuer::new(name);
        let file = issuer.dir.join("issuer.jwks");
        std::fs::write(&file, text(keys)).unwrap();
        issuer.settings.jwks_file = Some(file);
        let verifier = issuer.verifier();
        Self { issuer, verifier }
    }

    fn show(&self, token: &str) -> Result<Arc<Identity>, TokenError> {
        self.verifier.verify(token, &disco(), &runtime(), at(NOW))
    }

    fn holds(&self, identity: &Identity) -> Result<(), TokenError> {
        self.verifier.still_valid(identity, at(NOW))
    }
}

#[test]
fn a_token_is_verified_by_the_key_that_it_names_and_no_other() {
    let (a, b) = (Pair::new(), Pair::new());
    let both = Both::new("kid", &[("a", &a), ("b", &b)]);
    assert!(both.show(&a.sign(Some("a"), &named("1"))).is_ok());
    assert!(both.show(&b.sign(Some("b"), &named("2"))).is_ok());
    let pem = &both.issuer;
    assert!(both.show(&pem.sign(&named("3"))).is_ok(), "the PEM's key, without a kid");
    for (what, token) in [
        ("the kid of another key", a.sign(Some("b"), &named("4"))),
        ("and the other way", b.sign(Some("a"), &named("5"))),
        ("an unknown kid", a.sign(Some("c"), &named("6"))),
        ("an empty kid", a.sign(Some(""), &named("7"))),
        ("another spelling", a.sign(Some("A"), &named("8"))),
        ("a key of the set without its kid", a.sign(None, &named("9"))),
    ] {
        assert_eq!(both.show(&token), Err(TokenError::Signature), "{what}");
    }
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("a".into());
    let foreign = encode(&header, &named("10"), &pem.signing).unwrap();
    assert_eq!(
        both.show(&foreign),
        Err(TokenError::Signature),
        "the PEM's key under a kid of the set"
    );
    header.kid = Some("c".into());
    let foreign = encode(&header, &named("11"), &pem.signing).unwrap();
    assert_eq!(
        both.show(&foreign),
        Err(TokenError::Signature),
        "the PEM's key under no kid of the set"
    );
}

/// Whether there is a key of that name is nothing that an answer tells.
#[test]
fn an_unknown_kid_answers_as_a_bad_signature_does() {
    type Bend<'b> = &'b dyn Fn([&str; 3]) -> String;
    let (a, other) = (Pair::new(), Pair::new());
    let both = Both::new("unknown", &[("a", &a)]);
    let bent = |kid: &str, bend: Bend<'_>| {
        let token = other.sign(Some(kid), &named("1"));
        let parts: Vec<&str> = token.split('.').collect();
        both.show(&bend([parts[0], parts[1], parts[2]]))
    };
    let not_json = URL_SAFE_NO_PAD.encode("{");
    let bends: [(&str, Bend<'_>); 5] = [
        ("as it is", &|p| p.join(".")),
        ("no signature", &|[h, b, _]| format!("{h}.{b}.")),
        ("a short signature", &|[h, b, s]| format!("{h}.{b}.{}", &s[..40])),
        ("a signature of no alphabet", &|[h, b, s]| format!("{h}.{b}.{}!", &s[1..])),
        ("no claims", &|[h, _, s]| format!("{h}.{not_json}.{s}")),
    ];
    for (what, bend) in bends {
        let known = bent("a", bend).unwrap_err();
        assert_eq!(bent("nobody", bend), Err(known), "{what}");
    }
    assert_eq!(bent("a", bends[0].1), Err(TokenError::Signature));
}

#[test]
fn the_algorithm_stays_pinned_whatever_the_kid() {
    let a = Pair::new();
    let both = Both::new("pinned", &[("a", &a)]);
    let body = URL_SAFE_NO_PAD.encode(named("1").to_string());
    let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
    for header in [r#"{"alg":"none","kid":"a"}"#, r#"{"kid":"a"}"#] {
        let refused = both.show(&format!("{}.{body}.", b64(header))).unwrap_err();
        assert!(
            matches!(refused, TokenError::Algorithm | TokenError::Malformed),
            "{header}: {refused:?}"
        );
    }
    let raw = URL_SAFE_NO_PAD.decode(&a.x).unwrap();
    for secret in [a.x.as_bytes(), &raw, a.pem.as_bytes()] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("a".into());
        let mac = encode(&header, &named("1"), &EncodingKey::from_secret(secret)).unwrap();
        assert_eq!(both.show(&mac), Err(TokenError::Algorithm));
    }
    let odd = format!("{}.{body}.AAAA", b64(r#"{"alg":"EdDSA","kid":["a"]}"#));
    assert_eq!(both.show(&odd), Err(TokenError::Malformed));
}

#[test]
fn without_a_set_a_kid_says_nothing_and_a_set_alone_is_enough() {
    let a = Pair::new();
    let both = Both::new("alone", &[("a", &a)]);
    let mut settings = both.issuer.settings.clone();
    settings.public_keys.clear();
    let alone = TokenVerifier::new(&settings).unwrap();
    let show = |verifier: &TokenVerifier, token: &str| verifier.verify(token, &disco(), &runtime(), at(NOW)).err();
    assert_eq!(show(&alone, &a.sign(Some("a"), &named("1"))), None);
    let nameless = a.sign(None, &named("2"));
    assert_eq!(show(&alone, &nameless), Some(TokenError::Signature), "the only key of a set");
    assert_eq!(show(&alone, &both.issuer.sign(&named("3"))), Some(TokenError::Signature));

    settings = both.issuer.settings.clone();
    settings.jwks_file = None;
    let pem = TokenVerifier::new(&settings).unwrap();
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("whatever".into());
    assert_eq!(show(&pem, &encode(&header, &named("1"), &both.issuer.signing).unwrap()), None);
    assert_eq!(pem.set_issuer_keys(&set(&[("whatever", &a)])), Rotation::default());
    assert_eq!(
        show(&pem, &a.sign(Some("whatever"), &named("2"))),
        Some(TokenError::Signature)
    );
    settings.public_keys.clear();
    assert!(matches!(TokenVerifier::new(&settings).err(), Some(TokenKeyError::None)));
}

#[test]
fn keys_overlap_and_one_that_is_withdrawn_takes_its_tokens_along() {
    let (old, new) = (Pair::new(), Pair::new());
    let both = Both::new("rotate", &[("old", &old)]);
    let [first, second] = [old.sign(Some("old"), &named("1")), new.sign(Some("new"), &named("2"))];
    let bob = both.show(&first).unwrap();
    assert_eq!(both.show(&second), Err(TokenError::Signature));

    let rotation = both.verifier.set_issuer_keys(&set(&[("new", &new), ("old", &old)]));
    assert_eq!((rotation.added, rotation.withdrawn), (vec!["new".to_owned()], vec![]));
    let dora = both.show(&second).unwrap();
    assert!(
        Arc::ptr_eq(&both.show(&first).unwrap(), &bob),
        "a key that stays keeps what is known of its tokens"
    );
    assert_eq!((both.holds(&bob), both.holds(&dora)), (Ok(()), Ok(())));
    assert_eq!(both.verifier.known.len(), 2);

    let rotation = both.verifier.set_issuer_keys(&set(&[("new", &new)]));
    assert_eq!((rotation.added, rotation.withdrawn), (vec![], vec!["old".to_owned()]));
    assert_eq!((both.holds(&bob), both.holds(&dora)), (Err(TokenError::Withdrawn), Ok(())));
    assert_eq!(
        both.show(&first),
        Err(TokenError::Signature),
        "verified before, and refused as an unknown key's"
    );
    assert!(Arc::ptr_eq(&both.show(&second).unwrap(), &dora));
    assert_eq!(both.verifier.known.len(), 1, "what is known does not outlive its key");
    assert_eq!(both.holds(&Identity::guest()), Ok(()));
    assert_eq!(both.verifier.still_valid(&bob, at(NOW + 300)), Err(TokenError::Expired));

    // It comes back: the token can be shown anew, and what ended stays ended.
    both.verifier.set_issuer_keys(&set(&[("new", &new), ("old", &old)]));
    let again = both.show(&first).unwrap();
    assert_eq!((both.holds(&again), both.holds(&bob)), (Ok(()), Err(TokenError::Withdrawn)));
    assert_ne!(again, bob);
}

#[test]
fn another_key_under_the_same_kid_is_another_key() {
    let (first, second) = (Pair::new(), Pair::new());
    let both = Both::new("same-kid", &[("k", &first)]);
    let token = first.sign(Some("k"), &named("1"));
    let bob = both.show(&token).unwrap();
    let rotation = both.verifier.set_issuer_keys(&set(&[("k", &second)]));
    assert_eq!(
        (rotation.added, rotation.withdrawn),
        (vec!["k".to_owned()], vec!["k".to_owned()])
    );
    assert_eq!(both.holds(&bob), Err(TokenError::Withdrawn));
    assert_eq!(both.show(&token), Err(TokenError::Signature));
    assert!(both.show(&second.sign(Some("k"), &named("2"))).is_ok());
    // The same key under another kid: tokens that name the old one name nothing.
    let token = second.sign(Some("k"), &named("3"));
    assert!(both.show(&token).is_ok());
    both.verifier.set_issuer_keys(&set(&[("l", &second)]));
    assert_eq!(both.show(&token), Err(TokenError::Signature));
    assert!(both.show(&second.sign(Some("l"), &named("4"))).is_ok());
}

#[test]
fn a_key_in_both_sources_is_withdrawn_from_the_set_all_the_same() {
    let mut a = Pair::new();
    let spare = Pair::new();
    let both = Both::new("both", &[("spare", &spare)]);
    let public = DecodingKey::from_ed_pem(both.issuer.public_pem.as_bytes()).unwrap();
    a.x = URL_SAFE_NO_PAD.encode(public.try_get_as_bytes().unwrap());
    a.signing = both.issuer.signing.clone();
    both.verifier.set_issuer_keys(&set(&[("a", &a), ("spare", &spare)]));
    let [named_one, nameless] = [a.sign(Some("a"), &named("1")), a.sign(None, &named("2"))];
    let (by_set, by_pem) = (both.show(&named_one).unwrap(), both.show(&nameless).unwrap());
    both.verifier.set_issuer_keys(&set(&[("spare", &spare)]));
    assert_eq!(both.holds(&by_set), Err(TokenError::Withdrawn));
    assert_eq!(both.show(&named_one), Err(TokenError::Signature));
    assert_eq!(both.holds(&by_pem), Ok(()), "the PEM is configured still");
    assert!(both.show(&nameless).is_ok());
}

#[test]
fn an_id_is_one_tokens_alone() {
    let a = Pair::new();
    let both = Both::new("replay", &[("a", &a)]);
    let first = a.sign(Some("a"), &named("1"));
    let mut claims = named("1");
    claims["sub"] = json!("dora");
    let second = a.sign(Some("a"), &claims);
    assert!(
        both.show(&first).is_ok() && both.show(&first).is_ok(),
        "the same token as often as it likes"
    );
    assert_eq!(both.show(&second), Err(TokenError::Replayed));
    assert_eq!(
        both.show(&both.issuer.sign(&named("1"))),
        Err(TokenError::Replayed),
        "by whichever key"
    );
    assert!(both.show(&first).is_ok());
    // Known no more, and still the one that the id belongs to.
    both.verifier.known.retain(|_| false);
    assert_eq!(both.show(&second), Err(TokenError::Replayed));
    assert!(both.show(&first).is_ok());

    // What is refused for another cause takes no id.
    let mut wrong = named("2");
    wrong["aud"] = json!("elsewhere");
    assert_eq!(both.show(&a.sign(Some("a"), &wrong)), Err(TokenError::Audience));
    let forged = Pair::new().sign(Some("a"), &named("2"));
    assert_eq!(both.show(&forged), Err(TokenError::Signature));
    assert!(both.show(&a.sign(Some("a"), &named("2"))).is_ok());

    // The first one has ended.
    claims["exp"] = json!(NOW + 600);
    let later = a.sign(Some("a"), &claims);
    let show = |seconds| both.verifier.verify(&later, &disco(), &runtime(), at(seconds)).err();
    assert_eq!(show(NOW + 299), Some(TokenError::Replayed));
    assert_eq!(show(NOW + 300), None);
}

#[test]
fn a_full_memory_of_ids_refuses_new_ones() {
    let a = Pair::new();
    let mut both = Both::new("full", &[("a", &a)]);
    both.verifier.replay = Replay::holding(1);
    let first = a.sign(Some("a"), &named("1"));
    assert!(both.show(&first).is_ok());
    assert_eq!(both.show(&a.sign(Some("a"), &named("2"))), Err(TokenError::TooMany));
    assert!(both.show(&first).is_ok());
    assert_eq!(both.verifier.replay.len(), 1);
}

#[test]
fn a_token_may_be_for_one_login_of_its_module() {
    let issuer = Issuer::new("login");
    let verifier = issuer.verifier();
    let other = LoginName::new("disco_service").unwrap();
    let bound = issuer.with("login", json!("disco"));
    let show = |token: &str, login: &LoginName| verifier.verify(token, &disco(), login, at(NOW)).err();
    assert_eq!(show(&bound, &other), Some(TokenError::Login));
    assert_eq!(show(&bound, &runtime()), None);
    assert_eq!(
        show(&bound, &other),
        Some(TokenError::Login),
        "though it is known at its own login"
    );
    for odd in [
        json!(""),
        json!("DISCO"),
        json!("disc"),
        json!(["disco"]),
        json!({"disco": true}),
        json!(7),
        Value::Null,
    ] {
        let mut claims = named("odd");
        claims["login"] = odd.clone();
        assert_eq!(show(&issuer.sign(&claims), &runtime()), Some(TokenError::Login), "{odd}");
    }
    let free = issuer.sign(&named("free"));
    assert_eq!((show(&free, &other), show(&free, &runtime())), (None, None));
}

#[test]
fn minted_tokens_name_the_development_key() {
    let mut issuer = Issuer::new("dev-kid");
    let public = DecodingKey::from_ed_pem(issuer.public_pem.as_bytes()).unwrap();
    let x = URL_SAFE_NO_PAD.encode(public.try_get_as_bytes().unwrap());
    let file = issuer.dir.join("issuer.jwks");
    let jwk = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "dev-1", "x": x}]});
    std::fs::write(&file, jwk.to_string()).unwrap();
    issuer.settings.public_keys.clear();
    issuer.settings.jwks_file = Some(file);
    let minted = |settings: &TokenSettings| mint(settings, &disco(), "bob", Duration::from_secs(60), None, at(NOW)).unwrap();
    assert_eq!(
        issuer.judge(&minted(&issuer.settings)),
        Err(TokenError::Signature),
        "without a kid"
    );
    issuer.settings.dev_kid = Some("dev-1".into());
    let token = minted(&issuer.settings);
    assert_eq!(decode_header(&token).unwrap().kid.as_deref(), Some("dev-1"));
    assert_eq!(issuer.judge(&token).unwrap().sub(), Some("bob"));
}

#[test]
fn a_set_that_cannot_be_used_does_not_start() {
    let (a, b) = (Pair::new(), Pair::new());
    let both = Both::new("start", &[("a", &a)]);
    let file = both.issuer.settings.jwks_file.clone().unwrap();
    let start = || match TokenVerifier::new(&both.issuer.settings).err() {
        Some(TokenKeyError::Jwks(error)) => Some(error.problem),
        None => None,
        Some(other) => panic!("{other}"),
    };
    assert!(start().is_none());
    std::fs::write(&file, text(&[("a", &a), ("a", &b)])).unwrap();
    assert!(matches!(start(), Some(JwksProblem::Duplicate(kid)) if kid == "a"));
    std::fs::write(&file, &text(&[("a", &a)])[1..]).unwrap();
    assert!(matches!(start(), Some(JwksProblem::Syntax { .. })));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(start(), Some(JwksProblem::Io(_))));
}
