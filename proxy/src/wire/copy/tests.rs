use super::*;

type Read = Result<Vec<Vec<Option<String>>>, CopyError>;

fn marks(delimiter: u8, null: &str, header: Header) -> Marks {
    Marks {
        delimiter,
        null: null.into(),
        header,
    }
}

fn layout(columns: &[&str], form: Form) -> Layout {
    Layout {
        columns: columns.iter().map(|c| (*c).into()).collect(),
        form,
    }
}

fn text(columns: &[&str]) -> Layout {
    layout(columns, Form::Text(marks(b'\t', "\\N", Header::None)))
}

fn csv(columns: &[&str]) -> Layout {
    csv_with(columns, b'"', b'"', &[], &[])
}

fn csv_with(columns: &[&str], quote: u8, escape: u8, not_null: &[bool], null_if: &[bool]) -> Layout {
    let form = Form::Csv {
        marks: marks(b',', "", Header::None),
        quote,
        escape,
        not_null: not_null.into(),
        null_if: null_if.into(),
    };
    layout(columns, form)
}

/// Reads data that comes in pieces of that size.
fn pieces(layout: &Layout, data: &[u8], size: usize) -> Read {
    let mut rows = Rows::new(layout.clone(), 1000);
    let (mut row, mut all) = (Row::default(), Vec::new());
    let mut take = |rows: &mut Rows| -> Result<(), CopyError> {
        while rows.next(&mut row)? {
            all.push(
                row.fields()
                    .map(|f| f.map(|b| String::from_utf8_lossy(b).into_owned()))
                    .collect(),
            );
        }
        Ok(())
    };
    for piece in data.chunks(size) {
        rows.feed(piece);
        take(&mut rows)?;
    }
    rows.finish();
    take(&mut rows)?;
    Ok(all)
}

/// The same however it is cut.
fn read(layout: &Layout, data: &[u8]) -> Read {
    let whole = pieces(layout, data, data.len().max(1));
    for size in 1..data.len().min(40) {
        assert_eq!(pieces(layout, data, size), whole, "in pieces of {size}");
    }
    whole
}

fn rows(expected: &[&[Option<&str>]]) -> Read {
    Ok(expected
        .iter()
        .map(|row| row.iter().map(|f| f.map(str::to_owned)).collect())
        .collect())
}

#[test]
fn text_is_read_as_by_postgresql() {
    let two = text(&["a", "b"]);
    assert_eq!(
        read(&two, b"1\tx\n2\t\\N\n"),
        rows(&[&[Some("1"), Some("x")], &[Some("2"), None]])
    );
    // The last line's end may be missing; three kinds of ends.
    assert_eq!(
        read(&two, b"1\tx\r\n2\ty"),
        rows(&[&[Some("1"), Some("x")], &[Some("2"), Some("y")]])
    );
    assert_eq!(
        read(&two, b"1\tx\r2\ty\r"),
        rows(&[&[Some("1"), Some("x")], &[Some("2"), Some("y")]])
    );
    assert_eq!(
        read(&two, b"\\101\\x42\\7q\ta\\tb\\\\c\\nd\\qe\n"),
        rows(&[&[Some("AB\u{7}q"), Some("a\tb\\c\ndqe")]])
    );
    // An escaped end of line is data, an escaped delimiter too; `\N` only where it is the whole field.
    assert_eq!(
        read(&two, b"a\\\nb\t\\\tc\n\\Nx\t\n"),
        rows(&[&[Some("a\nb"), Some("\tc")], &[Some("Nx"), Some("")]])
    );
    assert_eq!(read(&two, b"1\tx\n\\.\nnot read at all"), rows(&[&[Some("1"), Some("x")]]));
    assert_eq!(read(&two, b""), rows(&[]));
    assert_eq!(read(&text(&["a"]), b"\n"), rows(&[&[Some("")]]));
}

#[test]
fn what_is_no_text_is_refused() {
    let two = text(&["a", "b"]);
    for (data, error) in [
        (&b"1\n"[..], CopyError::Missing("b".into())),
        (b"1\t2\t3\n", CopyError::Extra),
        (b"1\t2\n1\t2\r\n", CopyError::LineEnd("literal carriage return")),
        (b"1\t2\r\n1\t2\n", CopyError::LineEnd("literal newline")),
        (b"1\t2\\.3\n", CopyError::Marker),
        (b"1\t2\n\\.", CopyError::Marker),
        (b"1\t\xff\n", CopyError::Encoding),
        (b"1\ta\\0b\n", CopyError::Encoding),
        (b"1\t\\xc3\\x28\n", CopyError::Encoding),
    ] {
        assert_eq!(read(&two, data), Err(error), "{}", data.escape_ascii());
    }
    let long = [b"1\t".as_slice(), &[b'x'; 2000]].concat();
    assert_eq!(pieces(&two, &long, 100), Err(CopyError::TooLong(1000)));
    assert_eq!(pieces(&two, &long, 3000), Err(CopyError::TooLong(1000)));
}

#[test]
fn csv_is_read_as_by_postgresql() {
    let two = csv(&["a", "b"]);
    assert_eq!(
        read(&two, b"1,\"a,\"\"b\"\"\nc\"\n2,\n3,\"\"\n"),
        rows(&[&[Some("1"), Some("a,\"b\"\nc")], &[Some("2"), None], &[Some("3"), Some("")]])
    );
    assert_eq!(
        read(&two, b"x\"y,z\"w,\\.\n\\.x,y\n\\.\nrest"),
        rows(&[&[Some("xy,zw"), Some("\\.")], &[Some("\\.x"), Some("y")]])
    );
    let escaped = csv_with(&["a", "b"], b'"', b'\\', &[], &[]);
    assert_eq!(
        read(&escaped, b"\"a\\\"b\",\"c\\\\\"\n\"\\x\",\\\n"),
        rows(&[&[Some("a\"b"), Some("c\\")], &[Some("\\x"), Some("\\")]])
    );
    let forced = csv_with(&["a", "b"], b'"', b'"', &[true, false], &[false, true]);
    assert_eq!(
        read(&forced, b",\"\"\n\"\",\n"),
        rows(&[&[Some(""), None], &[Some(""), None]])
    );
    assert_eq!(read(&two, b"1,\"2\n"), Err(CopyError::Unterminated));
    assert_eq!(
        read(&two, b"1,2\n3,4\r\n"),
        Err(CopyError::LineEnd("unquoted carriage return"))
    );
    assert_eq!(read(&two, b"1,2\r\n3,4\n"), Err(CopyError::LineEnd("unquoted newline")));
}

#[test]
fn headers_are_left_out_or_compared() {
    let with = |header| layout(&["a", "b"], Form::Text(marks(b'|', "-", header)));
    assert_eq!(
        read(&with(Header::Skipped), b"what|ever|it|is\n1|-\n"),
        rows(&[&[Some("1"), None]])
    );
    assert_eq!(read(&with(Header::Matched), b"a|b\n1|2\n"), rows(&[&[Some("1"), Some("2")]]));
    assert_eq!(
        read(&with(Header::Matched), b"a|c\n1|2\n"),
        Err(CopyError::HeaderName {
            field: 2,
            expected: "b".into()
        })
    );
    assert_eq!(
        read(&with(Header::Matched), b"a\n1|2\n"),
        Err(CopyError::HeaderFields { found: 1, expected: 2 })
    );
}

#[test]
fn binary_is_read_as_by_postgresql() {
    let two = layout(&["a", "b"], Form::Binary);
    let head = [&SIGNATURE[..], &[0, 0, 0, 0, 0, 0, 0, 0]].concat();
    let row = b"\0\x02\0\0\0\x01x\xff\xff\xff\xff".to_vec();
    let end = b"\xff\xff".to_vec();
    let good = [head.clone(), row.clone(), row.clone(), end.clone()].concat();
    assert_eq!(read(&two, &good), rows(&[&[Some("x"), None], &[Some("x"), None]]));
    assert_eq!(
        read(&two, &[head.clone(), row.clone()].concat()),
        rows(&[&[Some("x"), None]]),
        "without a trailer"
    );
    let extended = [&SIGNATURE[..], &[0, 0, 0, 0, 0, 0, 0, 2], b"??", &row].concat();
    assert_eq!(read(&two, &extended), rows(&[&[Some("x"), None]]));
    for (data, error) in [
        (b"PGCOPY\n\xff\n\n\0".to_vec(), CopyError::Signature),
        (b"PGCOPY".to_vec(), CopyError::Signature),
        (SIGNATURE.to_vec(), CopyError::Head),
        ([&SIGNATURE[..], &[0, 1, 0, 0, 0, 0, 0, 0]].concat(), CopyError::Flags),
        (
            [head.clone(), b"\0\x01\0\0\0\0".to_vec()].concat(),
            CopyError::Fields { found: 1, expected: 2 },
        ),
        ([head.clone(), b"\0\x02\xff\xff\xff\xfe".to_vec()].concat(), CopyError::Size),
        ([head.clone(), row[..7].to_vec()].concat(), CopyError::Cut),
        ([good.clone(), b"x".to_vec()].concat(), CopyError::AfterEnd),
        ([head, b"\0\x02\x7f\xff\xff\xff".to_vec()].concat(), CopyError::TooLong(1000)),
    ] {
        assert_eq!(read(&two, &data), Err(error), "{}", data.escape_ascii());
    }
}
