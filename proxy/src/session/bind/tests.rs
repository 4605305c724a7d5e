use postern_keys::Bound as KeyBound;
use postern_rewriter::plan::Output;

use super::*;
use crate::session::fixture::{manifest, ring, sealed};
use crate::session::statement::Values;
use crate::wire::message::{Bind, Formats};

type Bound = Vec<(Format, Option<Vec<u8>>)>;

struct Bench {
    ring: KeyRing,
    session: SessionFormat,
    manifest: Manifest,
    nonces: NonceSource,
}

impl Bench {
    fn new() -> Self {
        Self {
            ring: ring(),
            session: SessionFormat::default(),
            manifest: manifest(),
            nonces: NonceSource::new(),
        }
    }

    /// Binds the parameters to what the client gave; answers the upstream values and their formats.
    fn bind(&mut self, params: Vec<Param>, given: &Values<'_>, types: &[u32], drawn: &[i64]) -> Result<Bound, Refusal> {
        let sql = postern_rewriter::plan::Rewritten::abort();
        let statement = Statement {
            sql,
            params,
            generate: Vec::new(),
            output: None::<Output>,
        };
        let mut binder = Binder {
            source: Source {
                ring: &self.ring,
                session: &self.session,
                manifest: &self.manifest,
                identity: None,
                values: &given.values,
                formats: &given.formats,
                types,
                drawn,
                row: None,
            },
            nonces: &mut self.nonces,
            sealed: 0,
        };
        let mut out = BytesMut::new();
        binder.put_bind(&mut out, "p", "s", &statement, &[Format::Binary])?;
        let bind = Bind::decode(&out[5..]).unwrap();
        assert_eq!((bind.portal, bind.statement, bind.results.of(3)), ("p", "s", Format::Binary));
        Ok(bind
            .values
            .iter()
            .enumerate()
            .map(|(i, v)| (bind.formats.of(i), v.map(<[u8]>::to_vec)))
            .collect())
    }

    fn open(&self, column: &str, envelope: &[u8], bound: &[KeyBound<'_>]) -> Vec<u8> {
        let mut plain = Vec::new();
        self.ring
            .column(&sealed(column).column)
            .unwrap()
            .open(envelope, bound, &mut plain)
            .unwrap();
        plain
    }
}

fn texts<'a>(values: &[Option<&'a str>]) -> Values<'a> {
    Values {
        formats: Formats::default(),
        values: values.iter().map(|v| v.map(str::as_bytes)).collect(),
    }
}

fn binary<'a>(values: &[&'a [u8]]) -> Values<'a> {
    Values {
        formats: Formats::new(&[Format::Binary]),
        values: values.iter().map(|v| Some(*v)).collect(),
    }
}

fn seal(column: &str, value: Value, bound: Vec<Value>) -> Param {
    Param::Seal {
        column: sealed(column),
        value,
        bound,
    }
}

#[test]
fn a_value_is_sealed_for_its_column_and_row() {
    let mut bench = Bench::new();
    let params = vec![
        Param::Client(0),
        seal(
            "email",
            Value::Client(1, ColumnType::Text),
            vec![Value::Client(0, ColumnType::Int4)],
        ),
        Param::EqTag {
            column: sealed("email"),
            value: Value::Client(1, ColumnType::Text),
        },
    ];
    let bound = bench
        .bind(params, &texts(&[Some("7"), Some("bob@example.org")]), &[], &[])
        .unwrap();
    assert_eq!(bound[0], (Format::Text, Some(b"7".to_vec())));
    let envelope = bound[1].1.as_deref().unwrap();
    assert_eq!(bound[1].0, Format::Binary);
    assert!(!envelope.windows(3).any(|w| w == b"bob"));
    let row = [KeyBound::Value(&ColumnType::Int4, &7i32.to_be_bytes())];
    assert_eq!(bench.open("email", envelope, &row), b"bob@example.org");
    let tag = bench
        .ring
        .column(&sealed("email").column)
        .unwrap()
        .eq_tag(&ColumnType::Text, b"bob@example.org");
    assert_eq!(bound[2].1.as_deref().unwrap(), tag);
}

#[test]
fn null_stays_null_and_empty_is_sealed() {
    let mut bench = Bench::new();
    let key = || vec![Value::Text(Some("1".into()), ColumnType::Int8)];
    let params = vec![
        seal("email", Value::Client(0, ColumnType::Text), key()),
        seal("email", Value::Client(1, ColumnType::Text), key()),
        Param::EqTag {
            column: sealed("email"),
            value: Value::Client(0, ColumnType::Text),
        },
        Param::EqTags {
            column: sealed("email"),
            value: Value::Client(0, ColumnType::Text),
        },
    ];
    let bound = bench.bind(params, &texts(&[None, Some("")]), &[], &[]).unwrap();
    assert_eq!([&bound[0].1, &bound[2].1, &bound[3].1], [&None, &None, &None]);
    assert_eq!(
        bench.open(
            "email",
            bound[1].1.as_deref().unwrap(),
            &[KeyBound::Value(&ColumnType::Int8, &1i64.to_be_bytes())]
        ),
        b""
    );
}

#[test]
fn bytes_that_look_like_an_envelope_are_data() {
    let mut bench = Bench::new();
    let key = || vec![Value::Text(Some("1".into()), ColumnType::Int8)];
    let first = bench
        .bind(
            vec![seal("age", Value::Text(Some("5".into()), ColumnType::Int8), key())],
            &texts(&[]),
            &[],
            &[],
        )
        .unwrap();
    let envelope = first[0].1.clone().unwrap();
    // As int8 it is not a value; in a text column its hexadecimal form is what comes out again.
    let refused = bench
        .bind(
            vec![seal("age", Value::Client(0, ColumnType::Int8), key())],
            &binary(&[&envelope]),
            &[],
            &[],
        )
        .unwrap_err();
    assert_eq!(refused.sqlstate, "22P03");
}

#[test]
fn a_declared_type_is_converted_as_assignment_would() {
    let mut bench = Bench::new();
    let key = || vec![Value::Text(Some("1".into()), ColumnType::Int8)];
    let params = || vec![seal("age", Value::Client(0, ColumnType::Int8), key())];
    let bound = bench.bind(params(), &binary(&[&42i32.to_be_bytes()]), &[23], &[]).unwrap();
    let row = [KeyBound::Value(&ColumnType::Int8, &1i64.to_be_bytes())];
    assert_eq!(bench.open("age", bound[0].1.as_deref().unwrap(), &row), 42i64.to_be_bytes());
    // Without the declaration four bytes are no int8; a type that is not understood is refused.
    assert_eq!(
        bench
            .bind(params(), &binary(&[&42i32.to_be_bytes()]), &[], &[])
            .unwrap_err()
            .sqlstate,
        "22P03"
    );
    assert_eq!(
        bench
            .bind(params(), &binary(&[&42i32.to_be_bytes()]), &[1114], &[])
            .unwrap_err()
            .sqlstate,
        "0A000"
    );
}

#[test]
fn a_drawn_key_is_bound_and_written() {
    let mut bench = Bench::new();
    let params = vec![
        Param::Generated(0),
        seal(
            "email",
            Value::Text(Some("x".into()), ColumnType::Text),
            vec![Value::Generated(0)],
        ),
    ];
    let bound = bench.bind(params, &texts(&[]), &[], &[77]).unwrap();
    assert_eq!(bound[0], (Format::Text, Some(b"77".to_vec())));
    assert_eq!(
        bench.open(
            "email",
            bound[1].1.as_deref().unwrap(),
            &[KeyBound::Value(&ColumnType::Int8, &77i64.to_be_bytes())]
        ),
        b"x"
    );
}

#[test]
fn an_array_becomes_an_array_of_tags() {
    let mut bench = Bench::new();
    let params = vec![Param::EqTags {
        column: sealed("age"),
        value: Value::Client(0, ColumnType::Int8),
    }];
    let bound = bench.bind(params.clone(), &texts(&[Some("{1,NULL,2}")]), &[], &[]).unwrap();
    let array = bound[0].1.as_deref().unwrap();
    let mut reader = message::Reader::new(array);
    let head: Vec<i32> = (0..5).map(|_| reader.i32().unwrap()).collect();
    assert_eq!(head, [1, 1, 17, 3, 1]);
    let tag = |n: i64| {
        bench
            .ring
            .column(&sealed("age").column)
            .unwrap()
            .eq_tag(&ColumnType::Int8, &n.to_be_bytes())
    };
    assert_eq!(reader.value().unwrap(), Some(&tag(1)[..]));
    assert_eq!(reader.value().unwrap(), None);
    assert_eq!(reader.value().unwrap(), Some(&tag(2)[..]));
    reader.end().unwrap();
    let empty = bench.bind(params, &texts(&[Some("{}")]), &[], &[]).unwrap();
    assert_eq!(empty[0].1.as_deref().unwrap(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17]);
}

#[test]
fn what_cannot_be_read_is_refused_without_the_value() {
    let mut bench = Bench::new();
    let params = |i| {
        vec![seal(
            "age",
            Value::Client(i, ColumnType::Int8),
            vec![Value::Text(Some("1".into()), ColumnType::Int8)],
        )]
    };
    let refused = bench.bind(params(0), &texts(&[Some("sesame")]), &[], &[]).unwrap_err();
    assert_eq!(refused.sqlstate, "22P02");
    assert!(!refused.message.contains("sesame"));
    assert_eq!(
        bench
            .bind(params(0), &texts(&[Some("99999999999999999999")]), &[], &[])
            .unwrap_err()
            .sqlstate,
        "22003"
    );
    assert_eq!(
        bench.bind(params(1), &texts(&[Some("1")]), &[], &[]).unwrap_err().sqlstate,
        "42P02"
    );
    // A value of a row where there is none, a column without a key.
    assert!(bench.bind(vec![Param::Row(0)], &texts(&[]), &[], &[]).is_err());
    let other = Param::EqTag {
        column: sealed("nokey"),
        value: Value::Text(Some("x".into()), ColumnType::Text),
    };
    assert_eq!(bench.bind(vec![other], &texts(&[]), &[], &[]).unwrap_err().sqlstate, "58000");
}
