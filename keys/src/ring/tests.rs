//! Making, opening and refusing catalogues.

use super::*;
use crate::envelope::{Bound, NonceSource, OpenError, key_id};
use crate::secret::Secret;
use crate::value::{SessionFormat, from_text};

/// A change that must be noticed, with its name.
type Change<T> = (&'static str, fn(&mut T));

/// A root key in memory.
struct MemoryStore(Secret);

impl MemoryStore {
    fn new() -> Self {
        Self(Secret::random().unwrap())
    }
}

impl RootKeyStore for MemoryStore {
    fn wrap(&self, context: &[u8], key: &Secret) -> Result<Vec<u8>, StoreError> {
        crate::wrap::wrap(&self.0, context, key).map_err(StoreError::Randomness)
    }

    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Secret, StoreError> {
        crate::wrap::unwrap(&self.0, context, wrapped).map_err(|_| StoreError::NotOpened)
    }

    fn derive(&self, context: &[u8]) -> Result<Secret, StoreError> {
        Ok(self.0.derive("memory", &[context]))
    }
}

fn column(module: &str, table: &str, column: &str, ty: &str) -> WantedColumn {
    WantedColumn {
        module: ModuleName::new(module).unwrap(),
        column: ColumnRef {
            table: postern_config::TableRef {
                schema: Ident::new(module).unwrap(),
                name: Ident::new(table).unwrap(),
            },
            column: Ident::new(column).unwrap(),
        },
        ty: ColumnType::parse(ty),
        join_group: None,
        bind_column_only: false,
    }
}

fn in_group(mut wanted: WantedColumn, group: &str) -> WantedColumn {
    wanted.join_group = Some(Ident::new(group).unwrap());
    wanted
}

fn house() -> Vec<WantedColumn> {
    vec![
        in_group(column("sys_account", "accounts", "email", "text"), "email"),
        in_group(
            column("sys_account", "login_attempts", "account_email", "varchar(80)"),
            "email",
        ),
        column("sys_account", "orgs", "contact", "text"),
        column("disco", "survey_users", "birth_date", "date"),
    ]
}

fn keys(ring: &KeyRing, wanted: &WantedColumn) -> Arc<ColumnKeys> {
    ring.column(&wanted.column).expect("a wanted column has keys")
}

#[test]
fn seals_and_opens_after_a_restart() {
    let (root, wanted) = (MemoryStore::new(), house());
    let (catalogue, changed) = KeyRing::create_missing(None, &wanted, &root).unwrap();
    assert!(changed);
    assert_eq!(catalogue.generation, 1);
    let ring = KeyRing::open(&catalogue, &wanted, &root).unwrap();
    let row = [Bound::Value(&ColumnType::Text, b"bob")];
    let mut sealed = Vec::new();
    keys(&ring, &wanted[0])
        .seal(b"bob@a.example", &row, &mut NonceSource::new(), &mut sealed)
        .unwrap();

    let stored = Catalogue::from_json(&catalogue.to_json()).unwrap();
    assert_eq!(stored, catalogue);
    let again = KeyRing::open(&stored, &wanted, &root).unwrap();
    let mut out = Vec::new();
    keys(&again, &wanted[0]).open(&sealed, &row, &mut out).unwrap();
    assert_eq!(out, b"bob@a.example");
    assert_eq!(key_id(&sealed), Some(keys(&again, &wanted[0]).current_key_id()));

    // The twin: no other column opens it, though its module and table may be the same.
    for other in &wanted[1..] {
        assert_eq!(
            keys(&again, other).open(&sealed, &row, &mut out),
            Err(OpenError),
            "{}",
            other.column
        );
    }
    assert!(again.column(&column("disco", "survey_users", "id", "text").column).is_none());
}

#[test]
fn every_column_is_found_and_no_other() {
    let parts = ["a", "b", "ab", "ba", "abc", "zz", "a.b"];
    let all = |module: &str| {
        let columns = parts.iter().flat_map(|t| parts.iter().map(move |c| (*t, *c)));
        columns.map(|(t, c)| column(module, t, c, "int4")).collect::<Vec<_>>()
    };
    let wanted = [all("disco"), all("chat")].concat();
    let root = MemoryStore::new();
    let (catalogue, _) = KeyRing::create_missing(None, &wanted, &root).unwrap();
    let ring = KeyRing::open(&catalogue, &wanted, &root).unwrap();
    let mut ids: Vec<_> = wanted.iter().map(|w| keys(&ring, w).current_key_id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), wanted.len());
    for other in [
        column("disco", "a", "c", "int4"),
        column("disco", "c", "a", "int4"),
        column("users", "a", "b", "int4"),
    ] {
        assert!(ring.column(&other.column).is_none(), "{}", other.column);
    }
}

#[test]
fn nothing_missing_changes_nothing() {
    let (root, mut wanted) = (MemoryStore::new(), house());
    let (first, _) = KeyRing::create_missing(None, &wanted, &root).unwrap();
    let (second, changed) = KeyRing::create_missing(Some(first.clone()), &wanted, &root).unwrap();
    assert!(!changed);
    assert_eq!(first, second);
    // A column more: the old records stay as they are.
    wanted.push(column("disco", "projects", "budget", "numeric(12,2)"));
    assert!(matches!(KeyRing::open(&first, &wanted, &root), Err(RingError::Missing(_))));
    let (third, changed) = KeyRing::create_missing(Some(first.clone()), &wanted, &root).unwrap();
    assert!(changed);
    assert_eq!(third.generation, 2);
    assert_eq!(third.records[..first.records.len()], first.records[..]);
    assert!(KeyRing::open(&third, &wanted, &root).is_ok());
    // Nothing protected is a catalogue too, so that the database has its UUID.
    let (empty, changed) = KeyRing::create_missing(None, &[], &root).unwrap();
    assert!(changed && empty.verify(&root).is_ok());
}

#[test]
fn tags_follow_the_join_group() {
    let (root, wanted) = (MemoryStore::new(), house());
    let (catalogue, _) = KeyRing::create_missing(None, &wanted, &root).unwrap();
    let ring = KeyRing::open(&catalogue, &wanted, &root).unwrap();
    let tag = |i: usize| {
        let value = from_text(&wanted[i].ty, "a@b.example", &SessionFormat::default()).unwrap();
        keys(&ring, &wanted[i]).eq_tag(&wanted[i].ty, &value)
    };
    assert_eq!(tag(0), tag(1));
    assert_ne!(tag(0), tag(2));
}

#[test]
fn any_change_to_the_catalogue_is_noticed() {
    let (root, wanted) = (MemoryStore::new(), house());
    let (good, _) = KeyRing::create_missing(None, &wanted, &root).unwrap();
    let changes: [Change<Catalogue>; 9] = [
        ("generation", |c| c.generation += 1),
        ("database", |c| c.database_uuid = Uuid::from_u128(5)),
        ("next id", |c| c.next_key_id -= 1),
        ("a record dropped", |c| drop(c.records.pop())),
        ("records swapped", |c| c.records.swap(0, 1)),
        ("all records dropped", |c| c.records.clear()),
        ("MAC", |c| c.mac[0] ^= 1),
        ("MAC cut", |c| c.mac.truncate(16)),
        ("a wrapped key", |c| {
            for record in &mut c.records {
                if let KeyRecord::DataKey { wrapped, .. } = record {
                    wrapped[20] ^= 1;
                }
            }
        }),
    ];
    for (what, change) in changes {
        let mut bent = good.clone();
        change(&mut bent);
        assert!(
            matches!(KeyRing::open(&bent, &wanted, &root), Err(RingError::NotAuthentic)),
            "{what}"
        );
        let made = KeyRing::create_missing(Some(bent), &wanted, &root);
        assert!(matches!(made, Err(RingError::NotAuthentic)), "{what}");
    }
    assert!(KeyRing::open(&good, &wanted, &root).is_ok());
    let other = MemoryStore::new();
    assert!(matches!(KeyRing::open(&good, &wanted, &other), Err(RingError::NotAuthentic)));
}

/// Behind a MAC that holds, each key must still be the one that was committed to, at its own place.
#[test]
fn keys_do_not_pass_for_one_another() {
    let (root, wanted) = (MemoryStore::new(), house());
    let (good, _) = KeyRing::create_missing(None, &wanted, &root).unwrap();
    let data: Vec<usize> = (0..good.records.len())
        .filter(|i| matches!(good.records[*i], KeyRecord::DataKey { .. }))
        .collect();

    let mut swapped = good.clone();
    let (one, two) = (swapped.records[data[0]].clone(), swapped.records[data[1]].clone());
    if let (
        KeyRecord::DataKey {
            wrapped: w1,
            commitment: c1,
            ..
        },
        KeyRecord::DataKey {
            wrapped: w2,
            commitment: c2,
            ..
        },
    ) = (one, two)
    {
        for (at, w, c) in [(data[0], w2, c2), (data[1], w1, c1)] {
            if let KeyRecord::DataKey { wrapped, commitment, .. } = &mut swapped.records[at] {
                (*wrapped, *commitment) = (w, c);
            }
        }
    }
    swapped.authenticate(&root).unwrap();
    assert!(matches!(
        KeyRing::open(&swapped, &wanted, &root),
        Err(RingError::NotOpened(_))
    ));

    let mut uncommitted = good.clone();
    if let KeyRecord::DataKey { commitment, .. } = &mut uncommitted.records[data[0]] {
        commitment[0] ^= 1;
    }
    uncommitted.authenticate(&root).unwrap();
    assert!(matches!(
        KeyRing::open(&uncommitted, &wanted, &root),
        Err(RingError::NotOpened(_))
    ));
}

#[test]
fn a_manifest_that_no_longer_fits_is_refused() {
    let (root, wanted) = (MemoryStore::new(), house());
    let (catalogue, _) = KeyRing::create_missing(None, &wanted, &root).unwrap();
    let changes: [Change<WantedColumn>; 4] = [
        ("type", |w| w.ty = ColumnType::Bytea),
        ("join group", |w| w.join_group = None),
        ("bind", |w| w.bind_column_only = true),
        ("module", |w| w.module = ModuleName::new("disco").unwrap()),
    ];
    for (what, change) in changes {
        let mut changed = wanted.clone();
        change(&mut changed[0]);
        let opened = KeyRing::open(&catalogue, &changed, &root);
        assert!(
            matches!(opened, Err(RingError::Changed { what: w, .. }) if w == what),
            "{what}"
        );
        let made = KeyRing::create_missing(Some(catalogue.clone()), &changed, &root);
        assert!(matches!(made, Err(RingError::Changed { .. })), "{what}");
    }
    // A longer varchar is the same type.
    let mut longer = wanted.clone();
    longer[1].ty = ColumnType::Varchar(Some(200));
    assert!(KeyRing::open(&catalogue, &longer, &root).is_ok());
    let mut inet = wanted;
    inet[0].ty = ColumnType::Other("inet".into());
    assert!(matches!(
        KeyRing::create_missing(None, &inet, &root),
        Err(RingError::Type(..))
    ));
}

#[test]
fn older_versions_open_and_the_newest_seals() {
    let (root, wanted) = (MemoryStore::new(), vec![column("disco", "projects", "contact", "text")]);
    let (mut catalogue, _) = KeyRing::create_missing(None, &wanted, &root).unwrap();
    let old = KeyRing::open(&catalogue, &wanted, &root).unwrap();
    let row = [Bound::Value(&ColumnType::Text, b"PA1")];
    let mut nonces = NonceSource::new();
    let mut sealed = Vec::new();
    keys(&old, &wanted[0])
        .seal(b"before", &row, &mut nonces, &mut sealed)
        .unwrap();

    // What a rotation will write.
    let contexts = opener::Contexts::new(catalogue.database_uuid);
    let wrapping = opener::module_key(&catalogue, &contexts, &wanted[0].module, &root)
        .unwrap()
        .unwrap();
    let (_, uuid) = opener::find_column(&catalogue, &wanted[0]).unwrap().unwrap();
    let key = Secret::random().unwrap();
    let key_id = catalogue.take_key_id().unwrap();
    catalogue.records.push(KeyRecord::DataKey {
        column: uuid,
        key_id,
        version: 2,
        wrapped: crate::wrap::wrap(&wrapping, &contexts.data(&uuid, key_id, 2), &key).unwrap(),
        commitment: key.commitment().to_vec(),
    });
    catalogue.authenticate(&root).unwrap();

    let ring = old.clone();
    let handed_out = keys(&old, &wanted[0]);
    old.replace(&KeyRing::open(&catalogue, &wanted, &root).unwrap());
    let now = keys(&ring, &wanted[0]);
    assert_eq!(now.current_key_id(), key_id);
    let mut out = Vec::new();
    now.open(&sealed, &row, &mut out).unwrap();
    assert_eq!(out, b"before");
    let tag = |k: &ColumnKeys| k.eq_tag(&ColumnType::Text, b"before");
    assert_eq!(tag(&now), tag(&handed_out), "a new data key leaves tags alone");
    sealed.clear();
    now.seal(b"after", &row, &mut nonces, &mut sealed).unwrap();
    assert_eq!(
        handed_out.open(&sealed, &row, &mut out),
        Err(OpenError),
        "a key that is not had is not guessed"
    );
}

#[test]
fn a_catalogue_that_is_no_catalogue_is_refused() {
    for json in ["", "{}", "[]", "{\"generation\":1}"] {
        assert!(matches!(Catalogue::from_json(json), Err(RingError::Malformed(_))), "{json}");
    }
    let (catalogue, _) = KeyRing::create_missing(None, &house(), &MemoryStore::new()).unwrap();
    let extra = catalogue
        .to_json()
        .replacen("{\"generation\"", "{\"extra\":1,\"generation\"", 1);
    assert!(Catalogue::from_json(&extra).is_err());
}
