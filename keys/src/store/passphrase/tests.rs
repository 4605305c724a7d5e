//! The root key file: opened by its passphrase, refused in every other state.

use super::*;

/// Cheap, since the cost is not what is tested.
const CHEAP: Cost = Cost {
    memory_kib: 32,
    passes: 1,
    lanes: 1,
};

const PASSPHRASE: &[u8] = b"correct horse battery";

struct Place {
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.key");
    Place { _dir: dir, path }
}

fn error(path: &Path, passphrase: &[u8]) -> StoreError {
    PassphraseStore::open(path, passphrase).err().expect("refused")
}

#[test]
fn opens_with_its_passphrase_alone() {
    let place = place();
    let made = create(&place.path, PASSPHRASE, CHEAP).unwrap();
    let key = Secret::random().unwrap();
    let wrapped = made.wrap(b"module disco", &key).unwrap();
    let opened = PassphraseStore::open(&place.path, PASSPHRASE).unwrap();
    assert_eq!(opened.unwrap(b"module disco", &wrapped).ok().unwrap().expose(), key.expose());
    assert_eq!(
        opened.derive(b"x").ok().unwrap().expose(),
        made.derive(b"x").ok().unwrap().expose()
    );
    // The twins.
    assert!(matches!(
        error(&place.path, b"correct horse batterz"),
        StoreError::WrongPassphrase(_)
    ));
    assert!(matches!(opened.unwrap(b"module chat", &wrapped), Err(StoreError::NotOpened)));
    let other = super::tests::place();
    let other = create(&other.path, PASSPHRASE, CHEAP).unwrap();
    assert!(matches!(other.unwrap(b"module disco", &wrapped), Err(StoreError::NotOpened)));
    assert_ne!(
        opened.derive(b"x").ok().unwrap().expose(),
        other.derive(b"x").ok().unwrap().expose()
    );
}

#[test]
fn the_real_cost_is_written_and_read() {
    let place = place();
    PassphraseStore::create(&place.path, PASSPHRASE).unwrap();
    let text = fs::read_to_string(&place.path).unwrap();
    assert!(
        text.contains("\"memory_kib\": 65536") && text.contains("\"passes\": 3"),
        "{text}"
    );
    assert!(PassphraseStore::open(&place.path, PASSPHRASE).is_ok());
}

#[test]
fn is_never_overwritten_and_leaves_nothing_beside() {
    let place = place();
    create(&place.path, PASSPHRASE, CHEAP).unwrap();
    let before = fs::read(&place.path).unwrap();
    assert!(matches!(create(&place.path, PASSPHRASE, CHEAP), Err(StoreError::Exists(_))));
    assert!(matches!(write_new(&place.path, b"other"), Err(StoreError::Exists(_))));
    assert_eq!(fs::read(&place.path).unwrap(), before);
    assert_eq!(fs::read_dir(place.path.parent().unwrap()).unwrap().count(), 1);
    let nowhere = place.path.with_file_name("no").join("root.key");
    assert!(matches!(create(&nowhere, PASSPHRASE, CHEAP), Err(StoreError::Io { .. })));
}

#[test]
fn missing_and_weak_say_so() {
    let place = place();
    assert!(matches!(error(&place.path, PASSPHRASE), StoreError::Missing { .. }));
    assert!(matches!(
        create(&place.path, b"short", CHEAP),
        Err(StoreError::WeakPassphrase)
    ));
    assert!(!place.path.exists());
    let told = error(&place.path, PASSPHRASE).to_string();
    assert!(told.contains("root.key") && told.contains("create it"), "{told}");
    assert!(matches!(
        error(place.path.parent().unwrap(), PASSPHRASE),
        StoreError::Io { .. }
    ));
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = place();
    create(&place.path, PASSPHRASE, CHEAP).unwrap();
    let mode = |mode| fs::set_permissions(&place.path, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(fs::metadata(&place.path).unwrap().permissions().mode() & 0o777, 0o600);
    for bad in [0o640, 0o604, 0o644, 0o660, 0o601] {
        mode(bad);
        assert!(
            matches!(error(&place.path, PASSPHRASE), StoreError::Mode { mode, .. } if mode == bad),
            "{bad:o}"
        );
    }
    for good in [0o600, 0o400] {
        mode(good);
        assert!(PassphraseStore::open(&place.path, PASSPHRASE).is_ok(), "{good:o}");
    }
}

#[test]
fn any_damage_is_told_from_a_wrong_passphrase() {
    let place = place();
    create(&place.path, PASSPHRASE, CHEAP).unwrap();
    let whole = fs::read_to_string(&place.path).unwrap();
    let (from, to) = (whole.find("\"wrapped\": \"").unwrap() + 20, whole.len());
    let mut bent = whole.clone().into_bytes();
    bent[from] = if bent[from] == b'A' { b'B' } else { b'A' };
    let cases = [
        ("a changed byte", bent),
        ("cut", whole.as_bytes()[..to / 2].to_vec()),
        ("empty", Vec::new()),
        (
            "another version",
            whole.replace("\"version\": 1", "\"version\": 2").into_bytes(),
        ),
        ("another cost", whole.replace("\"passes\": 1", "\"passes\": 2").into_bytes()),
        ("an extra field", whole.replacen('{', "{\"extra\": 1,", 1).into_bytes()),
    ];
    for (what, bytes) in cases {
        fs::write(&place.path, bytes).unwrap();
        assert!(matches!(error(&place.path, PASSPHRASE), StoreError::Damaged { .. }), "{what}");
    }
    fs::write(&place.path, whole).unwrap();
    assert!(PassphraseStore::open(&place.path, PASSPHRASE).is_ok());
}

/// Whoever can write the file must not make the proxy reserve a terabyte, even with a checksum that is right.
#[test]
fn a_greedy_file_is_refused_before_it_costs() {
    let place = place();
    create(&place.path, PASSPHRASE, CHEAP).unwrap();
    let mut file: RootFile = serde_json::from_slice(&fs::read(&place.path).unwrap()).unwrap();
    file.argon2id.memory_kib = u32::MAX;
    file.checksum = file.checksum_now();
    fs::write(&place.path, serde_json::to_vec(&file).unwrap()).unwrap();
    assert!(matches!(error(&place.path, PASSPHRASE), StoreError::Damaged { .. }));
    fs::write(&place.path, vec![b' '; 20_000]).unwrap();
    assert!(matches!(error(&place.path, PASSPHRASE), StoreError::Io { .. }));
}

#[test]
fn a_passphrase_file_loses_one_line_end() {
    let place = place();
    for (bytes, expected) in [
        (&b"pass phrase\n"[..], &b"pass phrase"[..]),
        (b"a\r\n", b"a"),
        (b"a\n\n", b"a\n"),
        (b"a ", b"a "),
    ] {
        let _ = fs::remove_file(&place.path);
        write_private(&place.path, bytes).unwrap();
        assert_eq!(*read_passphrase(&place.path).unwrap(), expected);
    }
    let _ = fs::remove_file(&place.path);
    assert!(matches!(read_passphrase(&place.path), Err(StoreError::Missing { .. })));
}
