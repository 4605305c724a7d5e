//! What must not open: proofs, tokens, envelopes, catalogues. Each target either sends noise, or takes an honest one and bends it by the
//! input's edits; only what is not bent may be accepted.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use postern::identity::jwks::{JwkSet, MAX_KID_BYTES};
use postern::identity::mint::generate_issuer;
use postern::identity::token::{MAX_LIFE, MAX_TOKEN_BYTES};
use postern::identity::{Identity, TokenError, TokenVerifier};
use postern::wire::scram::{SCRAM_SHA_256, ServerScram, Verifiers};
use postern_config::ColumnType;
use postern_config::names::{ColumnRef, Ident, LoginName, ModuleName, TableRef};
use postern_config::settings::TokenSettings;
use postern_keys::{Bound, Catalogue, KeyRing, NonceSource, RootKeyStore, Secret, StoreError, WantedColumn};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use serde_json::{Map, Value, json};

/// Bends bytes: pairs of (where, what), at most eight, then whether to cut or lengthen.
fn bend(bytes: &mut Vec<u8>, edits: &[u8]) {
    for edit in edits.chunks_exact(3).take(8) {
        let at = usize::from(u16::from_be_bytes([edit[0], edit[1]]));
        match at.checked_rem(bytes.len()) {
            Some(at) => bytes[at] = edit[2],
            None => bytes.push(edit[2]),
        }
    }
    match edits.chunks_exact(3).remainder() {
        [last] => bytes.push(*last),
        [_, many] => bytes.truncate(bytes.len().saturating_sub(usize::from(*many))),
        _ => {}
    }
}

fn initial(mechanism: &str, message: &[u8]) -> Vec<u8> {
    let mut out = mechanism.as_bytes().to_vec();
    out.push(0);
    out.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
    out.extend(message);
    out
}

/// A proof is accepted only where it is the honest one.
pub fn scram(data: &[u8]) {
    static VERIFIERS: OnceLock<Verifiers> = OnceLock::new();
    let verifiers = VERIFIERS.get_or_init(|| {
        let mut all = Verifiers::new([7; 32]);
        all.insert("disco", "correct horse").expect("a password");
        all
    });
    let (verifier, server) = (verifiers.find("disco"), ServerScram::default());
    let Some((mode, rest)) = data.split_first() else { return };
    match mode % 4 {
        // Noise first, and noise behind it where that was taken.
        0 => {
            let (first, last) = rest.split_at(rest.len() / 2);
            for (first, last) in [(rest, rest), (first, last)] {
                if let Ok((_, exchange)) = server.begin(first, &verifier) {
                    assert!(exchange.finish(last).is_err(), "noise is a proof");
                }
            }
        }
        // A well framed first message of noise.
        1 => {
            if let Ok((answer, exchange)) = server.begin(&initial(SCRAM_SHA_256, rest), &verifier) {
                assert!(answer.starts_with("r=") && exchange.finish(rest).is_err());
            }
        }
        // An honest first message and a last one of noise, its nonce the right one.
        2 => {
            let client = ScramSha256::new(b"correct horse", ChannelBinding::unsupported());
            let (answer, exchange) = server
                .begin(&initial(SCRAM_SHA_256, client.message()), &verifier)
                .expect("honest");
            let nonce = answer.split(',').next().expect("a nonce").as_bytes();
            let last = [b"c=biws,", nonce, b",", rest].concat();
            assert!(exchange.finish(&last).is_err(), "noise is a proof");
        }
        // The honest proof, bent.
        _ => {
            let mut client = ScramSha256::new(b"correct horse", ChannelBinding::unsupported());
            let (answer, exchange) = server
                .begin(&initial(SCRAM_SHA_256, client.message()), &verifier)
                .expect("honest");
            client.update(answer.as_bytes()).expect("our challenge is well formed");
            let honest = client.message().to_vec();
            let mut bent = honest.clone();
            bend(&mut bent, rest);
            assert_eq!(exchange.finish(&bent).is_ok(), bent == honest);
        }
    }
}

/// The content of a login's file: a password or a verifier; whatever is taken proves nothing for somebody who knows another password.
pub fn verifier_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A password is salted, which costs 4,096 rounds and reads nothing.
    let text = if text.starts_with("SCRAM-SHA-256$") {
        text.to_owned()
    } else {
        format!("SCRAM-SHA-256${text}")
    };
    let mut all = Verifiers::new([7; 32]);
    if all.insert("disco", &text).is_ok() {
        let client = ScramSha256::new(b"another", ChannelBinding::unsupported());
        let begun = ServerScram::default().begin(&initial(SCRAM_SHA_256, client.message()), &all.find("disco"));
        let (answer, exchange) = begun.expect("an honest first message");
        let count = answer.split(",i=").nth(1).and_then(|n| n.parse::<u32>().ok());
        assert!(count.is_some_and(|n| (4096..=100_000).contains(&n)), "{answer}");
        assert!(
            exchange
                .finish(format!("c=biws,{},p=AAAA", answer.split(',').next().unwrap_or("")).as_bytes())
                .is_err()
        );
    }
}

const NOW: u64 = 1_800_000_000;

struct Issuer {
    signing: EncodingKey,
    /// Of an open file whose name is gone again, so that nothing is left behind.
    settings: TokenSettings,
    _file: File,
    module: ModuleName,
    login: LoginName,
}

impl Issuer {
    /// One that has seen nothing yet: an id belongs to the first token that had it.
    fn verifier(&self) -> TokenVerifier {
        TokenVerifier::new(&self.settings).expect("our own key")
    }

    fn verify(&self, token: &str) -> Result<Arc<Identity>, TokenError> {
        self.verifier().verify(token, &self.module, &self.login, now())
    }
}

fn issuer() -> &'static Issuer {
    static ISSUER: OnceLock<Issuer> = OnceLock::new();
    ISSUER.get_or_init(|| {
        let (private, public) = generate_issuer().expect("a key");
        let name = std::env::temp_dir().join(format!("postern-fuzz-{}.pub", std::process::id()));
        std::fs::write(&name, public).expect("a temporary file");
        let file = File::open(&name).expect("it was written");
        std::fs::remove_file(&name).expect("it was there");
        Issuer {
            signing: EncodingKey::from_ed_pem(private.as_bytes()).expect("our own key"),
            settings: TokenSettings {
                claims: postern_config::expr::Claim::BUILT_IN.to_vec(),
                issuer: "issuer".into(),
                audience: "postern".into(),
                public_keys: vec![format!("/proc/self/fd/{}", file.as_raw_fd()).into()],
                jwks_file: None,
                dev_issuer: false,
                dev_private_key: None,
                dev_kid: None,
                dev_people: None,
            },
            _file: file,
            module: ModuleName::new("disco").expect("a name"),
            login: LoginName::new("disco").expect("a name"),
        }
    })
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

/// Noise, and an honest token bent: nothing but the honest one verifies.
pub fn token_text(data: &[u8]) {
    let issuer = issuer();
    let Some((mode, rest)) = data.split_first() else { return };
    if mode % 2 == 0 {
        if let Ok(text) = std::str::from_utf8(rest) {
            assert!(issuer.verify(text).is_err(), "noise is a token");
        }
        return;
    }
    static HONEST: OnceLock<String> = OnceLock::new();
    let honest = HONEST.get_or_init(|| {
        let claims = json!({"iss": "issuer", "aud": "postern", "mod": "disco", "sub": "bob", "exp": NOW + 300, "jti": "1"});
        encode(&Header::new(Algorithm::EdDSA), &claims, &issuer.signing).expect("signs")
    });
    let mut bent = honest.clone().into_bytes();
    bend(&mut bent, rest);
    if let Ok(text) = std::str::from_utf8(&bent) {
        assert_eq!(issuer.verify(text).is_ok(), text == honest);
    }
}

/// Claims of any content, signed by the issuer: who is taken for somebody has all that the module asks for.
pub fn token_claims(data: &[u8]) {
    let issuer = issuer();
    let Ok(Value::Object(mut claims)) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let honest: Map<String, Value> = [("iss", json!("issuer")), ("aud", json!("postern")), ("mod", json!("disco"))]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    // What the input does not say is right, so that the rest is reached.
    for (name, value) in honest {
        claims.entry(name).or_insert(value);
    }
    let token = encode(&Header::new(Algorithm::EdDSA), &claims, &issuer.signing).expect("signs");
    let Ok(who) = issuer.verify(&token) else {
        return;
    };
    assert!(token.len() <= MAX_TOKEN_BYTES);
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    assert_eq!(
        (text("iss"), text("aud"), text("mod")),
        (Some("issuer"), Some("postern"), Some("disco"))
    );
    assert!(who.sub().is_some_and(|sub| !sub.is_empty() && text("sub") == Some(sub)) && who.jti().is_some());
    assert!(who.expires_at().is_some_and(|end| end > now() && end <= now() + MAX_LIFE));
    assert_eq!(who.is_super(), claims.get("super") == Some(&Value::Bool(true)));
    assert_eq!(who.is_super(), who.super_reason().is_some(), "a superadmin says why");
    assert!(!claims.contains_key("service"), "a token is no service login");
}

/// A JWK Set of any content: what is taken has keys with a name each, the same ones when it is read again, and is no set once it is cut.
pub fn jwk_set(data: &[u8]) {
    let Ok(set) = JwkSet::parse(data) else { return };
    let kids: Vec<&str> = set.kids().collect();
    assert!(!kids.is_empty() && kids.iter().all(|kid| (1..=MAX_KID_BYTES).contains(&kid.len())));
    assert!(kids.windows(2).all(|two| two[0] < two[1]), "a kid is there twice");
    assert!(
        set.ignored()
            .iter()
            .all(|i| i.kid.as_deref().is_none_or(|kid| !kids.contains(&kid)))
    );
    let again = JwkSet::parse(data).expect("it was one");
    assert!(again.kids().eq(set.kids()) && again.ignored() == set.ignored());
    let text = data.trim_ascii_end();
    assert!(JwkSet::parse(&text[..text.len() - 1]).is_err(), "half a set is a set");
}

/// A root key store that keeps what it wrapped: the fuzzer is after the formats, not after this store.
#[derive(Default)]
struct Memory(Mutex<HashMap<(Vec<u8>, Vec<u8>), [u8; 32]>>);

impl RootKeyStore for Memory {
    fn wrap(&self, context: &[u8], key: &Secret) -> Result<Vec<u8>, StoreError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = kept.len().to_be_bytes().to_vec();
        kept.insert((context.to_vec(), handle.clone()), *key.expose());
        Ok(handle)
    }

    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Secret, StoreError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = kept.get(&(context.to_vec(), wrapped.to_vec())).ok_or(StoreError::NotOpened)?;
        Secret::fill(|key| {
            key.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn derive(&self, context: &[u8]) -> Result<Secret, StoreError> {
        let root = Secret::fill(|key| {
            key.fill(9);
            Ok::<_, StoreError>(())
        })?;
        Ok(root.derive("fuzz", &[context]))
    }
}

struct House {
    root: Memory,
    wanted: Vec<WantedColumn>,
    catalogue: Catalogue,
    ring: KeyRing,
}

fn wanted(table: &str, column: &str, ty: &str, group: Option<&str>) -> WantedColumn {
    let ident = |text: &str| Ident::new(text).expect("a name");
    WantedColumn {
        module: ModuleName::new("disco").expect("a name"),
        column: ColumnRef {
            table: TableRef {
                schema: ident("disco"),
                name: ident(table),
            },
            column: ident(column),
        },
        ty: ColumnType::parse(ty),
        join_group: group.map(ident),
        bind_column_only: false,
    }
}

fn house() -> &'static House {
    static HOUSE: OnceLock<House> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let root = Memory::default();
        let wanted = vec![
            wanted("people", "email", "text", Some("email")),
            wanted("people", "birth", "date", None),
        ];
        let (catalogue, _) = KeyRing::create_missing(None, &wanted, &root).expect("keys are made");
        let ring = KeyRing::open(&catalogue, &wanted, &root).expect("what was made opens");
        House {
            root,
            wanted,
            catalogue,
            ring,
        }
    })
}

/// Plaintext, edits: the envelope opens at its place, bent nowhere; on an error the output is as it was.
pub fn envelope(data: &[u8]) {
    let [mode, size, rest @ ..] = data else { return };
    let keys = house().ring.column(&house().wanted[0].column).expect("its keys");
    let row = [Bound::Value(&ColumnType::Int8, &[0, 0, 0, 0, 0, 0, 0, 1])];
    let open = |envelope: &[u8], row: &[Bound<'_>]| {
        let mut out = b"kept".to_vec();
        let opened = keys.open(envelope, row, &mut out);
        assert_eq!(&out[..4], b"kept");
        assert!(opened.is_ok() || out.len() == 4, "an error leaves something behind");
        opened.map(|()| out.split_off(4))
    };
    let other = [Bound::Value(&ColumnType::Int8, &[0, 0, 0, 0, 0, 0, 0, 2])];
    if mode % 2 == 0 {
        // In a row that nothing is sealed for: libFuzzer remembers what it saw compared, honest envelopes too.
        assert!(open(rest, &other).is_err(), "noise is an envelope");
        return;
    }
    let (plain, edits) = rest.split_at(rest.len().min(usize::from(*size)));
    static NONCES: OnceLock<Mutex<NonceSource>> = OnceLock::new();
    let mut nonces = NONCES
        .get_or_init(|| Mutex::new(NonceSource::new()))
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let mut sealed = Vec::new();
    keys.seal(plain, &row, &mut nonces, &mut sealed).expect("seals");
    assert!(open(&sealed, &other).is_err(), "it opens in another row");
    let mut bent = sealed.clone();
    bend(&mut bent, edits);
    match open(&bent, &row) {
        Ok(opened) => assert!(bent == sealed && opened == plain),
        Err(_) => assert!(bent != sealed),
    }
}

/// The catalogue as the database's owner could have changed it: JSON of any kind, and the honest one with parts replaced.
pub fn catalogue(data: &[u8]) {
    let house = house();
    let opens = |text: &str| {
        let Ok(read) = Catalogue::from_json(text) else { return };
        assert!(Catalogue::from_json(&read.to_json()).is_ok_and(|again| again == read));
        if KeyRing::open(&read, &house.wanted, &house.root).is_ok() {
            assert!(read == house.catalogue, "a changed catalogue opens");
        }
    };
    let Ok(text) = std::str::from_utf8(data) else { return };
    opens(text);
    // `field\nvalue`: the honest one with that text replaced wherever it stands.
    let mut parts = text.splitn(2, '\n');
    if let (Some(old), Some(new)) = (parts.next().filter(|p| !p.is_empty()), parts.next()) {
        opens(&house.catalogue.to_json().replacen(old, new, 1));
    }
}
