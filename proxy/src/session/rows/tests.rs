use postern_keys::NonceSource;
use postern_rewriter::plan::{DoorCheck, Effect, Keeps, Rewritten, Run, Statement, Value};

use super::*;
use crate::session::fixture::{ring, sealed};

/// `SELECT id, email, age FROM people` where `email = 'bob'`: visible id, email, age; hidden the key again.
fn output(door: bool) -> Output {
    let open = |column: &str| Open {
        column: sealed(column),
        bound: vec![(3, ColumnType::Int8)],
        mask: None,
    };
    let check = DoorCheck {
        envelope: 1,
        open: open("email"),
        one_of: vec![Value::Text(Some("bob".into()), ColumnType::Text)],
        array: false,
    };
    Output {
        visible: vec![Field::Plain, Field::Open(open("email")), Field::Open(open("age"))],
        upstream_fields: 4,
        door: if door { vec![check] } else { Vec::new() },
    }
}

fn plan(output: Output) -> Arc<Plan> {
    let statement = Statement {
        sql: Rewritten::abort(),
        params: Vec::new(),
        generate: Vec::new(),
        output: Some(output),
    };
    Arc::new(Plan {
        run: Run::Once(statement),
        effect: Effect::None,
        keeps: Keeps::NOTHING,
        param_types: Vec::new(),
        client_params: 0,
        relations: Vec::new(),
        policies: Vec::new(),
        operations: Vec::new(),
        opened: Vec::new(),
        weight: 0,
        cacheable: true,
    })
}

struct Bench {
    ring: KeyRing,
    scratch: Scratch,
    out: BytesMut,
}

impl Bench {
    fn new() -> Self {
        Self {
            ring: ring(),
            scratch: Scratch::default(),
            out: BytesMut::from(&b"before"[..]),
        }
    }

    fn seal(&self, column: &str, plain: &[u8], id: i64) -> Vec<u8> {
        let mut envelope = Vec::new();
        let bound = [Bound::Value(&ColumnType::Int8, &id.to_be_bytes())];
        let keys = self.ring.column(&sealed(column).column).unwrap();
        keys.seal(plain, &bound, &mut NonceSource::new(), &mut envelope).unwrap();
        envelope
    }

    fn reading(&self, door: bool, results: Formats) -> Reading {
        let plan = plan(output(door));
        let keys = self.ring.column(&sealed("email").column).unwrap();
        let bob = keys.eq_tag(&ColumnType::Text, b"bob");
        let shape = super::output(&plan).unwrap();
        let doors = shape
            .door
            .iter()
            .map(|check| Door::new(keys.clone(), SmallVec::from_elem(bob, 1).into(), check, shape));
        Reading::new(&plan, &results, &self.ring, doors.collect(), &Arc::default())
            .unwrap()
            .unwrap()
    }

    fn read(&mut self, reading: &Reading, fields: &[Option<&[u8]>]) -> Result<Vec<Option<Vec<u8>>>, RowFault> {
        let read = reading.row(fields, &SessionFormat::default(), &mut self.scratch, &mut self.out);
        if let Err(fault) = read {
            assert_eq!(&self.out[..], b"before", "a row that failed left bytes behind");
            return Err(fault);
        }
        let row = self.out.split_off(6);
        let mut fields = Vec::new();
        message::data_row(&row[5..], &mut fields).unwrap();
        Ok(fields.into_iter().map(|f| f.map(<[u8]>::to_vec)).collect())
    }
}

const ID: [u8; 8] = 9i64.to_be_bytes();

#[test]
fn opened_in_the_format_asked_for_and_hidden_fields_gone() {
    let mut bench = Bench::new();
    let (email, age) = (bench.seal("email", b"bob", 9), bench.seal("age", &41i64.to_be_bytes(), 9));
    let fields = [Some(&b"9"[..]), Some(&email), Some(&age), Some(&ID)];
    let text = bench.reading(true, Formats::default());
    assert_eq!(
        bench.read(&text, &fields).unwrap(),
        [Some(b"9".to_vec()), Some(b"bob".to_vec()), Some(b"41".to_vec())]
    );
    let binary = bench.reading(true, Formats::new(&[Format::Text, Format::Text, Format::Binary]));
    assert_eq!(bench.read(&binary, &fields).unwrap()[2], Some(41i64.to_be_bytes().to_vec()));
    assert_eq!(
        &*binary.upstream_formats(),
        [Format::Text, Format::Binary, Format::Binary, Format::Binary]
    );
}

#[test]
fn null_stays_null_with_and_without_its_row() {
    let mut bench = Bench::new();
    let reading = bench.reading(false, Formats::default());
    assert_eq!(bench.read(&reading, &[None, None, None, None]).unwrap(), [None, None, None]);
}

#[test]
fn an_envelope_from_elsewhere_does_not_open() {
    let mut bench = Bench::new();
    let (email, age) = (bench.seal("email", b"bob", 9), bench.seal("age", &41i64.to_be_bytes(), 9));
    let reading = bench.reading(false, Formats::default());
    let other = 10i64.to_be_bytes();
    for fields in [
        // another row's key, another column's envelope, a damaged one, a plain value, no row
        [Some(&b"9"[..]), Some(&email), Some(&age), Some(&other)],
        [Some(b"9"), Some(&age), Some(&email), Some(&ID)],
        [Some(b"9"), Some(&email[1..]), Some(&age), Some(&ID)],
        [Some(b"9"), Some(b"bob"), Some(&age), Some(&ID)],
        [Some(b"9"), Some(&email), Some(&age), None],
    ] {
        assert_eq!(bench.read(&reading, &fields), Err(RowFault::Integrity));
    }
}

#[test]
fn the_door_lets_in_only_what_was_asked_for() {
    let mut bench = Bench::new();
    let age = bench.seal("age", &41i64.to_be_bytes(), 9);
    let (bob, eve) = (bench.seal("email", b"bob", 9), bench.seal("email", b"eve", 9));
    let reading = bench.reading(true, Formats::default());
    assert!(bench.read(&reading, &[Some(b"9"), Some(&bob), Some(&age), Some(&ID)]).is_ok());
    for email in [Some(&eve[..]), None] {
        assert_eq!(
            bench.read(&reading, &[Some(b"9"), email, Some(&age), Some(&ID)]),
            Err(RowFault::Integrity)
        );
    }
}

#[test]
fn the_door_also_holds_for_a_value_that_is_not_shown() {
    let mut bench = Bench::new();
    let mut hidden = output(true);
    // id and age are shown, email is not; its check opens it all the same.
    hidden.visible.remove(1);
    hidden.door[0].envelope = 2;
    let plan = plan(hidden);
    let shape = super::output(&plan).unwrap();
    let keys = bench.ring.column(&sealed("email").column).unwrap();
    let tags = SmallVec::from_elem(keys.eq_tag(&ColumnType::Text, b"bob"), 1);
    let door = Door::new(keys, tags.into(), &shape.door[0], shape);
    assert!(!door.shown);
    let doors = Doors::from_elem(door, 1);
    let reading = Reading::new(&plan, &Formats::default(), &bench.ring, doors, &Arc::default())
        .unwrap()
        .unwrap();
    let age = bench.seal("age", &41i64.to_be_bytes(), 9);
    let (bob, eve) = (bench.seal("email", b"bob", 9), bench.seal("email", b"eve", 9));
    let row = bench
        .read(&reading, &[Some(b"9"), Some(&age), Some(&bob), Some(&ID)])
        .unwrap();
    assert_eq!(row, [Some(b"9".to_vec()), Some(b"41".to_vec())]);
    for email in [Some(&eve[..]), Some(&age), None] {
        assert_eq!(
            bench.read(&reading, &[Some(b"9"), Some(&age), email, Some(&ID)]),
            Err(RowFault::Integrity)
        );
    }
}

#[test]
fn a_few_tags_and_many_admit_the_same() {
    let tag = |n: u8| [n; 16];
    for count in [1, FEW_TAGS, FEW_TAGS + 1, 200] {
        let tags = Tags::from((0..count).map(|n| tag(n as u8)).collect::<SmallVec<_>>());
        assert!((0..count).all(|n| tags.contains(&tag(n as u8))), "{count}");
        assert!(!tags.contains(&tag(255)), "{count}");
    }
    assert!(!Tags::from(SmallVec::new()).contains(&tag(0)));
}

#[test]
fn a_row_of_another_shape_is_not_read() {
    let mut bench = Bench::new();
    let reading = bench.reading(false, Formats::default());
    assert!(matches!(bench.read(&reading, &[None, None, None]), Err(RowFault::Shape(_))));
    let plan = plan(output(false));
    let two = Formats::new(&[Format::Text, Format::Text]);
    assert_eq!(
        Reading::new(&plan, &two, &bench.ring, Doors::new(), &Arc::default())
            .err()
            .unwrap()
            .sqlstate,
        "08P01"
    );
}

#[test]
fn described_as_declared() {
    let bench = Bench::new();
    let reading = bench.reading(false, Formats::new(&[Format::Binary]));
    let mut out = BytesMut::new();
    reading.describe(&came(&["id", "email", "age", "hidden"]), &mut out).unwrap();
    let told = message::row_description(&out[5..]).unwrap();
    assert_eq!(told.len(), 3);
    assert_eq!((told[0].origin, told[0].oid), ((77, 1), 17));
    assert_eq!((told[1].origin, told[1].oid, told[1].typlen), ((0, 0), 25, -1));
    assert_eq!((told[2].oid, told[2].typlen, told[2].format), (20, 8, Format::Binary));
    assert!(reading.describe(&came(&["id"]), &mut out).is_err());
}

#[test]
fn described_again_as_it_is_now() {
    let bench = Bench::new();
    let binary = bench.reading(false, Formats::new(&[Format::Binary]));
    let text = binary.in_formats(&Formats::default()).unwrap();
    let told = |reading: &Reading, names: &[&str]| {
        let mut out = BytesMut::from(&b"before"[..]);
        reading.describe(&came(names), &mut out).unwrap();
        let columns = message::row_description(&out[11..]).unwrap();
        columns.iter().map(|c| (c.name.to_owned(), c.format)).collect::<Vec<_>>()
    };
    // One statement's memory for all: neither other formats nor other columns are told as the last ones.
    let names = ["id", "email", "age", "hidden"];
    let first = told(&binary, &names);
    assert_eq!(told(&binary, &names), first);
    assert!(told(&text, &names).iter().all(|(_, format)| *format == Format::Text));
    assert_eq!(told(&binary, &["id", "mail", "age", "hidden"])[1].0, "mail");
    assert_eq!(told(&binary, &names), first);
}

/// The body of PostgreSQL's RowDescription for such columns.
fn came(names: &[&str]) -> Vec<u8> {
    let columns: Vec<_> = names
        .iter()
        .map(|name| Column {
            name,
            origin: (77, 1),
            oid: 17,
            typlen: -1,
            typmod: -1,
            format: Format::Binary,
        })
        .collect();
    let mut out = BytesMut::new();
    message::put_row_description(&mut out, &columns).unwrap();
    out[5..].to_vec()
}
