use bytes::BytesMut;

use super::*;

fn body(encode: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out);
    out[5..].to_vec()
}

/// Every prefix of a message must be an error, never a panic and never a shorter message.
fn all_cuts_fail<T: std::fmt::Debug>(whole: &[u8], decode: impl Fn(&[u8]) -> super::Result<T>) {
    for cut in 0..whole.len() {
        assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
    }
    let mut longer = whole.to_vec();
    longer.push(7);
    assert!(decode(&longer).is_err(), "one byte too many");
}

fn owned<T>(decode: impl Fn(&[u8]) -> super::Result<T>) -> impl Fn(&[u8]) -> super::Result<()> {
    move |bytes| decode(bytes).map(|_| ())
}

const BIND: &[u8] = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x01\0\0";

#[test]
fn query_is_strict() {
    assert_eq!(query(b"SELECT 1\0"), Ok("SELECT 1"));
    assert_eq!(query(b"SELECT 1"), Err(MessageError::Truncated));
    assert_eq!(query(b"SELECT\0 1\0"), Err(MessageError::Trailing));
    assert_eq!(query(b"SELECT '\xff'\0"), Err(MessageError::NotUtf8));
}

#[test]
fn parse_round_trip_and_cuts() {
    let whole = b"s1\0SELECT $1\0\0\x01\0\0\0\x17";
    assert_eq!(
        Parse::decode(whole),
        Ok(Parse {
            name: "s1",
            sql: "SELECT $1",
            types: vec![23]
        })
    );
    all_cuts_fail(whole, owned(|b| Parse::decode(b).map(|_| ())));
    assert_eq!(Parse::decode(b"\0\0\xff\xff"), Err(MessageError::Truncated));
}

#[test]
fn bind_round_trip_and_cuts() {
    let bind = Bind::decode(BIND).unwrap();
    assert_eq!((bind.portal, bind.statement), ("p", "s"));
    assert_eq!(&*bind.values, [Some(&b"ab"[..]), None]);
    assert_eq!(bind.formats.of(1), Format::Binary);
    assert_eq!(bind.results.of(5), Format::Text);
    all_cuts_fail(BIND, owned(|b| Bind::decode(b).map(|_| ())));
}

#[test]
fn bind_with_impossible_numbers_is_refused() {
    // A value of length −2, a format code 2, two formats for three values, a count that the bytes cannot hold.
    assert_eq!(
        Bind::decode(b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
        Err(MessageError::Negative)
    );
    assert_eq!(Bind::decode(b"\0\0\0\x01\0\x02\0\0\0\0"), Err(MessageError::Code));
    assert!(Bind::decode(b"\0\0\0\x02\0\0\0\0\0\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0").is_err());
    assert_eq!(Bind::decode(b"\0\0\0\0\xff\xff\0\0"), Err(MessageError::Truncated));
}

#[test]
fn describe_close_and_execute() {
    assert_eq!(Target::decode(b"Ss\0"), Ok(Target::Statement("s")));
    assert_eq!(Target::decode(b"P\0"), Ok(Target::Portal("")));
    assert_eq!(Target::decode(b"Xs\0"), Err(MessageError::Code));
    all_cuts_fail(b"Ss\0", owned(|b| Target::decode(b).map(|_| ())));
    assert_eq!(execute(b"p\0\0\0\0\x05"), Ok(("p", 5)));
    all_cuts_fail(b"p\0\0\0\0\x05", owned(|b| execute(b).map(|_| ())));
}

#[test]
fn row_description_round_trip_and_cuts() {
    let columns = [
        Column {
            name: "a",
            origin: (5, 1),
            oid: 23,
            typlen: 4,
            typmod: -1,
            format: Format::Binary,
        },
        Column {
            name: "ü",
            origin: (0, 0),
            oid: 25,
            typlen: -1,
            typmod: 9,
            format: Format::Text,
        },
    ];
    let whole = body(|out| put_row_description(out, &columns).unwrap());
    assert_eq!(row_description(&whole).unwrap(), columns);
    all_cuts_fail(&whole, owned(|b| row_description(b).map(|_| ())));
    assert_eq!(row_description(b"\xff\xff"), Err(MessageError::Truncated));
}

#[test]
fn parameter_description_round_trip_and_cuts() {
    let whole = body(|out| put_parameter_description(out, &[23, 17]).unwrap());
    assert_eq!(parameter_description(&whole).unwrap(), [23, 17]);
    all_cuts_fail(&whole, owned(|b| parameter_description(b).map(|_| ())));
}

#[test]
fn data_row_and_cuts() {
    let whole = b"\0\x02\0\0\0\x01a\xff\xff\xff\xff";
    let mut fields = vec![None; 9];
    data_row(whole, &mut fields).unwrap();
    assert_eq!(fields, [Some(&b"a"[..]), None]);
    all_cuts_fail(whole, owned(|b| data_row(b, &mut Vec::new())));
    assert_eq!(
        data_row(b"\0\x01\xff\xff\xff\xfe", &mut Vec::new()),
        Err(MessageError::Negative)
    );
    assert_eq!(data_row(b"\xff\xff", &mut Vec::new()), Err(MessageError::Truncated));
}

#[test]
fn status_tag_and_errors() {
    assert_eq!(ready_for_query(b"T"), Ok(b'T'));
    assert_eq!(ready_for_query(b"X"), Err(MessageError::Code));
    assert!(ready_for_query(b"").is_err() && ready_for_query(b"II").is_err());
    assert_eq!(command_complete(b"SELECT 1\0"), Ok("SELECT 1"));
    let status = b"TimeZone\0UTC\0";
    assert_eq!(parameter_status(status), Ok(("TimeZone", "UTC")));
    all_cuts_fail(status, owned(|b| parameter_status(b).map(|_| ())));
    let whole = body(|out| put_fields(out, b'E', [(b'S', "ERROR"), (b'C', "42501")]).unwrap());
    assert_eq!(error_fields(&whole).unwrap(), [(b'S', "ERROR"), (b'C', "42501")]);
    all_cuts_fail(&whole, owned(|b| error_fields(b).map(|_| ())));
}

#[test]
fn a_frame_that_cannot_be_written_leaves_nothing_behind() {
    let mut out = BytesMut::from(&b"before"[..]);
    assert!(put(&mut out, b'B', |_| Err(MessageError::TooLong)).is_err());
    assert_eq!(&out[..], b"before");
    assert!(put_count(&mut out, 65_536).is_err());
}

#[test]
fn noise_is_an_error_or_a_message_and_never_a_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut fields = Vec::new();
    for round in 0..50_000_u64 {
        // Small bytes make counts and lengths that may fit; a letter first makes a target or a field.
        let length = next() % 40;
        let mut noise: Vec<u8> = (0..length)
            .map(|_| (next() % if round % 2 == 0 { 4 } else { 256 }) as u8)
            .collect();
        if let Some(first) = noise.first_mut().filter(|_| round % 3 == 0) {
            *first = b"SPM"[(round / 3 % 3) as usize];
        }
        let _ = (query(&noise), execute(&noise), Target::decode(&noise), Parse::decode(&noise));
        let _ = (row_description(&noise), parameter_description(&noise), error_fields(&noise));
        let _ = (parameter_status(&noise), ready_for_query(&noise), Bind::names(&noise));
        if let Ok(bind) = Bind::decode(&noise) {
            assert!(bind.values.len() * 4 <= noise.len(), "more values than bytes for them");
        }
        if data_row(&noise, &mut fields).is_ok() {
            assert!(fields.len() * 4 <= noise.len());
        }
        fields = Vec::new();
        assert!(
            crate::wire::frame::first(&noise, 64).map_or(true, |f| f.is_none_or(|(head, body)| body.len() + 5 == head.total))
        );
    }
}
