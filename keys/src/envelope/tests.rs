//! What opens, and everything that must not.

use super::*;

/// A nonce source that gives one nonce, for vectors.
fn fixed_nonce(nonce: [u8; NONCE_BYTES]) -> NonceSource {
    NonceSource {
        batch: Box::from(nonce),
        used: 0,
    }
}

fn secret(byte: u8) -> Secret {
    Secret::fill::<()>(|key| {
        key.fill(byte);
        Ok(())
    })
    .unwrap()
}

struct Home {
    database: Uuid,
    table: Uuid,
    column: Uuid,
    ty: ColumnType,
    row: bool,
    key: u8,
    id: u32,
}

impl Home {
    fn new(ty: ColumnType) -> Self {
        Self {
            database: Uuid::from_u128(1),
            table: Uuid::from_u128(2),
            column: Uuid::from_u128(3),
            ty,
            row: true,
            key: 7,
            id: 9,
        }
    }

    fn key(&self) -> EnvelopeKey {
        let place = Place {
            database: &self.database,
            table: &self.table,
            column: &self.column,
            ty: &self.ty,
            row: self.row,
        };
        EnvelopeKey::new(self.id, &secret(self.key), &place).unwrap()
    }
}

#[test]
fn two_implementations_of_the_cipher_agree() {
    use aes_gcm_siv::aead::AeadInOut;
    use aes_gcm_siv::{Aes256GcmSiv, KeyInit};
    let key = Home::new(ColumnType::Text).key();
    let other = Aes256GcmSiv::new(secret(7).derive("postern/v1/aead", &[]).expose().into());
    let bound = [Bound::Value(&ColumnType::Int4, &[0, 0, 0, 5]), Bound::Null];
    for length in (0..70).chain([127, 128, 129, 1000, 100_000]) {
        let value: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let sealed = seal(&key, &value, &bound);
        let envelope = Envelope::parse(&sealed).unwrap();
        let mut associated = Vec::new();
        key.push_associated(&header(envelope.algorithm, envelope.key_id), &bound, &mut associated);
        let mut text = envelope.ciphertext.to_vec();
        other
            .decrypt_inout_detached(
                &envelope.nonce.into(),
                &associated,
                text.as_mut_slice().into(),
                &envelope.tag.into(),
            )
            .unwrap();
        assert_eq!(text[..length], value[..]);
        let tag = other
            .encrypt_inout_detached(&envelope.nonce.into(), &associated, text.as_mut_slice().into())
            .unwrap();
        assert!(text == envelope.ciphertext && tag[..] == envelope.tag, "{length} bytes");
    }
}

fn seal(key: &EnvelopeKey, plaintext: &[u8], bound: &[Bound<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    key.seal(plaintext, bound, &mut NonceSource::new(), &mut out).unwrap();
    out
}

fn open(key: &EnvelopeKey, envelope: &[u8], bound: &[Bound<'_>]) -> Result<Vec<u8>, OpenError> {
    let mut out = b"kept".to_vec();
    let result = Envelope::parse(envelope)
        .ok_or(OpenError)
        .and_then(|parsed| key.open(&parsed, bound, &mut out));
    assert_eq!(&out[..4], b"kept");
    if result.is_err() {
        assert_eq!(out.len(), 4, "nothing is left behind");
    }
    result.map(|()| out[4..].to_vec())
}

const TEXT: ColumnType = ColumnType::Text;
const INT8: ColumnType = ColumnType::Int8;

#[test]
fn opens_at_its_place() {
    let key = Home::new(TEXT).key();
    let id = 42i64.to_be_bytes();
    let row = [Bound::Value(&INT8, &id), Bound::Null, Bound::Value(&TEXT, b"")];
    for plaintext in [&b""[..], b"a", b"ends in zeros\0\0\0", b"\x80", &[0x80; 64], &[0; 1000]] {
        let envelope = seal(&key, plaintext, &row);
        assert_eq!(open(&key, &envelope, &row).unwrap(), plaintext);
        assert_eq!(key_id(&envelope), Some(9));
    }
    let fixed = Home::new(INT8).key();
    let envelope = seal(&fixed, &id, &row);
    assert_eq!(envelope.len(), OVERHEAD_BYTES + 8);
    assert_eq!(open(&fixed, &envelope, &row).unwrap(), id);
}

#[test]
fn equal_values_do_not_look_equal() {
    let key = Home::new(TEXT).key();
    let row = [Bound::Value(&TEXT, b"row")];
    let mut nonces = NonceSource::new();
    let mut seen = std::collections::HashSet::new();
    // More than one batch of nonces.
    for _ in 0..600 {
        let mut out = Vec::new();
        key.seal(b"same", &row, &mut nonces, &mut out).unwrap();
        assert!(seen.insert(out[HEADER_BYTES..].to_vec()));
    }
}

#[test]
fn any_flipped_bit_and_any_cut_is_refused() {
    let key = Home::new(TEXT).key();
    let row = [Bound::Value(&TEXT, b"row")];
    let envelope = seal(&key, b"plans for Saturday", &row);
    for bit in 0..envelope.len() * 8 {
        let mut bent = envelope.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&key, &bent, &row), Err(OpenError), "bit {bit}");
    }
    for length in 0..envelope.len() {
        assert_eq!(open(&key, &envelope[..length], &row), Err(OpenError), "{length} bytes");
    }
    let mut longer = envelope.clone();
    longer.push(0);
    assert_eq!(open(&key, &longer, &row), Err(OpenError));
    assert_eq!(
        open(&key, b"plain text, not sealed at all, from before", &row),
        Err(OpenError)
    );
}

#[test]
fn any_other_place_is_refused() {
    let home = || Home::new(TEXT);
    let row = [Bound::Value(&TEXT, b"row")];
    let envelope = seal(&home().key(), b"value", &row);
    assert!(open(&home().key(), &envelope, &row).is_ok());
    let other = Uuid::from_u128(99);
    let elsewhere = [
        (
            "database",
            Home {
                database: other,
                ..home()
            },
        ),
        ("table", Home { table: other, ..home() }),
        ("column", Home { column: other, ..home() }),
        (
            "type",
            Home {
                ty: ColumnType::Jsonb,
                ..home()
            },
        ),
        ("column alone", Home { row: false, ..home() }),
        ("key", Home { key: 8, ..home() }),
        ("key id", Home { id: 10, ..home() }),
    ];
    for (what, home) in elsewhere {
        assert_eq!(open(&home.key(), &envelope, &row), Err(OpenError), "{what}");
    }
    // Length and precision are no part of the place.
    let varchar = Home {
        ty: ColumnType::Varchar(Some(5)),
        ..home()
    };
    assert!(open(&varchar.key(), &envelope, &row).is_ok());
}

#[test]
fn any_other_row_is_refused() {
    let key = Home::new(TEXT).key();
    let org = ColumnType::Varchar(None);
    let row = [Bound::Value(&TEXT, b"ab"), Bound::Value(&org, b"c"), Bound::Null];
    let envelope = seal(&key, b"value", &row);
    assert!(open(&key, &envelope, &row).is_ok());
    let others: [&[Bound<'_>]; 8] = [
        &[Bound::Value(&TEXT, b"a"), Bound::Value(&TEXT, b"bc"), Bound::Null],
        &[Bound::Value(&TEXT, b"c"), Bound::Value(&TEXT, b"ab"), Bound::Null],
        &[Bound::Value(&TEXT, b"ab"), Bound::Value(&TEXT, b"c")],
        &[
            Bound::Value(&TEXT, b"ab"),
            Bound::Value(&TEXT, b"c"),
            Bound::Null,
            Bound::Null,
        ],
        &[
            Bound::Value(&TEXT, b"ab"),
            Bound::Value(&TEXT, b"c"),
            Bound::Value(&TEXT, b""),
        ],
        &[Bound::Value(&TEXT, b"ab"), Bound::Null, Bound::Value(&TEXT, b"c")],
        &[
            Bound::Value(&ColumnType::Bytea, b"ab"),
            Bound::Value(&TEXT, b"c"),
            Bound::Null,
        ],
        &[],
    ];
    for (i, other) in others.iter().enumerate() {
        assert_eq!(open(&key, &envelope, other), Err(OpenError), "{i}");
    }
}

#[test]
fn a_column_bound_alone_needs_no_row() {
    let key = Home {
        row: false,
        ..Home::new(TEXT)
    }
    .key();
    let envelope = seal(&key, b"value", &[]);
    assert!(open(&key, &envelope, &[]).is_ok());
    assert!(open(&key, &envelope, &[Bound::Null]).is_ok());
    let mut out = Vec::new();
    let row = Home::new(TEXT).key().seal(b"value", &[], &mut NonceSource::new(), &mut out);
    assert_eq!(row, Err(SealError::NoRow));
    assert!(out.is_empty());
}

#[test]
fn what_cannot_be_sealed_says_so() {
    let key = Home::new(TEXT).key();
    let other = ColumnType::Other("inet".into());
    let mut out = b"kept".to_vec();
    let refused = key.seal(b"v", &[Bound::Value(&other, b"x")], &mut NonceSource::new(), &mut out);
    assert_eq!(refused, Err(SealError::BoundType("inet".to_owned())));
    let large = vec![0; MAX_CELL_BYTES + 1];
    let refused = key
        .seal(&large, &[Bound::Null], &mut NonceSource::new(), &mut out)
        .unwrap_err();
    assert_eq!(refused.sqlstate(), "54000");
    assert_eq!(out, b"kept");
}

#[test]
fn lengths_fall_into_buckets() {
    let mut previous = 0;
    for length in 1..100_000 {
        let padded = padded_length(length);
        assert!(
            padded >= length && padded >= previous && padded.is_multiple_of(16),
            "{length}"
        );
        assert!(
            padded - length < 16 || (padded - length) * 8 <= length,
            "{length}: at most 12.5 %"
        );
        assert_eq!(padded_length(padded), padded, "{length}");
        previous = padded;
    }
    assert_eq!(
        [1, 16, 17, 255, 257, 1000, 1025].map(padded_length),
        [16, 16, 32, 256, 272, 1024, 1088]
    );
    let key = Home::new(TEXT).key();
    assert_eq!(
        seal(&key, b"", &[Bound::Null]).len(),
        seal(&key, b"fifteen letters", &[Bound::Null]).len()
    );
}

/// Fields of a line: key byte, key id, type, row or column, plaintext, nonce, envelope; bytes in hexadecimal. The row is always
/// (int8 42, NULL, text "ähre"), the UUIDs 1, 2, 3.
#[test]
fn golden_envelopes_still_open() {
    let lines = include_str!("../../tests/golden/envelopes.txt")
        .lines()
        .filter(|l| !l.starts_with('#'));
    let mut count = 0;
    for line in lines {
        let fields: Vec<&str> = line.split('|').collect();
        let [key, id, ty, scope, plaintext, nonce, envelope] = fields[..] else {
            panic!("seven fields: {line}");
        };
        let home = Home {
            key: key.parse().unwrap(),
            id: id.parse().unwrap(),
            row: scope == "row",
            ..Home::new(ColumnType::parse(ty))
        };
        let id = 42i64.to_be_bytes();
        let row = [Bound::Value(&INT8, &id), Bound::Null, Bound::Value(&TEXT, "ähre".as_bytes())];
        let (plaintext, envelope) = (unhex(plaintext), unhex(envelope));
        let mut sealed = Vec::new();
        let mut nonces = fixed_nonce(unhex(nonce).try_into().unwrap());
        home.key().seal(&plaintext, &row, &mut nonces, &mut sealed).unwrap();
        assert_eq!(hex(&sealed), hex(&envelope), "{line}");
        assert_eq!(open(&home.key(), &envelope, &row).unwrap(), plaintext, "{line}");
        count += 1;
    }
    assert!(count >= 12, "vectors are only ever added");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}
