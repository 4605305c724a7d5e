use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_config::settings::TokenSettings;

use super::*;

/// Public keys of RFC 8032 section 7.1, of the first and the second test.
const ONE: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const TWO: &str = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw";

fn set(keys: &[(&str, &str)]) -> String {
    let key = |(kid, x): &(&str, &str)| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}"#);
    format!(r#"{{"keys":[{}]}}"#, keys.iter().map(key).collect::<Vec<_>>().join(","))
}

/// A file with its watcher, removed at the end.
struct Watched {
    dir: PathBuf,
    tokens: TokenVerifier,
    metrics: Metrics,
    watcher: Watcher,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Watched {
    fn new(name: &str, text: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("postern-issuer-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("issuer.jwks");
        std::fs::write(&path, text).unwrap();
        let tokens = TokenVerifier::new(&TokenSettings {
            claims: postern_config::expr::Claim::BUILT_IN.to_vec(),
            issuer: "issuer".into(),
            audience: "postern".into(),
            public_keys: Vec::new(),
            jwks_file: Some(path.clone()),
            dev_issuer: false,
            dev_private_key: None,
            dev_kid: None,
            dev_people: None,
        });
        Self {
            dir,
            tokens: tokens.unwrap(),
            metrics: Metrics::new(),
            watcher: Watcher::of(path),
        }
    }

    fn look(&mut self) {
        self.watcher.look(&self.tokens, &self.metrics);
    }

    fn write(&mut self, text: &str) {
        std::fs::write(&self.watcher.path, text).unwrap();
        self.look();
    }

    /// The gauges: keys in force, and whether the file is broken.
    fn gauges(&self) -> (u64, u64) {
        let text = String::from_utf8(self.metrics.encode()).unwrap();
        let gauge = |name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap().parse().unwrap()
        };
        (gauge("postern_jwks_keys"), gauge("postern_jwks_file_broken"))
    }

    /// Which kids a set with both keys would add: those that are not in force.
    fn missing(&self) -> Vec<String> {
        let both = JwkSet::parse(set(&[("one", ONE), ("two", TWO)]).as_bytes()).unwrap();
        self.tokens.set_issuer_keys(&both).added
    }
}

#[test]
fn a_changed_file_comes_into_force_and_a_broken_one_does_not() {
    let mut watched = Watched::new("changes", &set(&[("one", ONE)]));
    watched.look();
    assert_eq!(watched.gauges(), (1, 0));
    watched.write(&set(&[("one", ONE), ("two", TWO)]));
    assert_eq!(watched.gauges(), (2, 0));

    let huge = " ".repeat(usize::try_from(jwks::MAX_BYTES).unwrap() + 1);
    let short = URL_SAFE_NO_PAD.encode([1u8; 31]);
    let broken = [
        String::new(),
        "{".to_owned(),
        huge,
        set(&[]),
        set(&[("two", TWO), ("two", TWO)]),
        set(&[("one", ONE), ("two", short.as_str())]),
    ];
    for text in &broken {
        watched.write(text);
        assert_eq!(watched.gauges(), (2, 1), "{text:.60}");
        let complaint = watched.watcher.complaint.clone().unwrap();
        assert!(complaint.contains("issuer.jwks"), "{complaint}");
        watched.look();
        assert_eq!(watched.gauges(), (2, 1), "it stays so while nothing changes");
    }
    std::fs::remove_file(&watched.watcher.path).unwrap();
    watched.look();
    assert_eq!(watched.gauges(), (2, 1));
    assert!(watched.missing().is_empty(), "the last good set is in force");

    watched.write(&set(&[("one", ONE), ("two", TWO)]));
    assert_eq!((watched.gauges(), watched.watcher.complaint.is_none()), ((2, 0), true));
    watched.write(&set(&[("two", TWO)]));
    assert_eq!(watched.gauges(), (1, 0));
    assert_eq!(watched.missing(), ["one"]);
}

/// Time stamps are coarse, and a file put in another's place may bring an old one: two keys of one length differ in their bytes alone.
#[test]
fn a_change_that_leaves_length_and_time_as_they_were_is_seen() {
    let mut watched = Watched::new("stamps", &set(&[("one", ONE)]));
    watched.look();
    let path = watched.watcher.path.clone();
    let before = std::fs::metadata(&path).unwrap();
    std::fs::write(&path, set(&[("two", TWO)])).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    let after = std::fs::metadata(&path).unwrap();
    assert_eq!(
        (after.len(), after.modified().unwrap()),
        (before.len(), before.modified().unwrap())
    );
    watched.look();
    assert_eq!(watched.missing(), ["one"]);
}
