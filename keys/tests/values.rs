//! Every text form against what PostgreSQL 15 made of it (`golden/values.txt`, made by `golden/values.sql`).

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use postern_config::ColumnType;
use postern_keys::value::{SessionFormat, ValueError, from_binary, from_text, to_binary, to_text};

/// Where Postern's answer is known to differ from PostgreSQL's: both refuse, with another SQLSTATE.
const OTHERWISE: &[(&str, &str, &str)] = &[("date", "-2024-02-29", "22007"), ("date", "2024-002-03", "22008")];

struct Vector {
    ty: ColumnType,
    input: String,
    format: SessionFormat,
    /// Text and binary, or the SQLSTATE.
    expected: Result<(String, Vec<u8>), String>,
    line: String,
}

fn vectors() -> Vec<Vector> {
    include_str!("golden/values.txt").lines().map(vector).collect()
}

fn vector(line: &str) -> Vector {
    let fields: Vec<&str> = line.split('|').collect();
    let [ty, input, settings, text, binary] = fields[..] else {
        panic!("five fields: {line}");
    };
    let mut format = SessionFormat::default();
    for setting in settings.split(',') {
        let (name, value) = setting.split_once('=').expect("a setting");
        assert!(format.set(name, value).expect("a known value"), "{line}");
    }
    Vector {
        ty: ColumnType::parse(ty),
        input: serde_json::from_str(input).expect("a JSON string"),
        format,
        expected: match text.strip_prefix('!') {
            Some(code) => Err(code.to_owned()),
            None => Ok((serde_json::from_str(text).expect("a JSON string"), unhex(binary))),
        },
        line: line.to_owned(),
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal"))
        .collect()
}

fn through(v: &Vector) -> Result<(String, Vec<u8>), ValueError> {
    let canonical = from_text(&v.ty, &v.input, &v.format)?;
    let (mut text, mut binary) = (Vec::new(), Vec::new());
    to_text(&v.ty, &canonical, &v.format, &mut text)?;
    to_binary(&v.ty, &canonical, &mut binary)?;
    Ok((String::from_utf8(text).expect("text forms are UTF-8"), binary))
}

#[test]
fn text_forms_are_postgresqls() {
    let mut wrong = Vec::new();
    for v in vectors() {
        let ours = through(&v).map_err(|e| e.sqlstate().to_owned());
        let otherwise = OTHERWISE
            .iter()
            .find(|(ty, input, _)| *ty == v.ty.to_string() && *input == v.input);
        let expected = match otherwise {
            Some((_, _, code)) => Err((*code).to_owned()),
            None => v.expected.clone(),
        };
        if ours != expected {
            wrong.push(format!("{}\n   ours: {ours:?}", v.line));
        }
    }
    assert!(wrong.is_empty(), "{} vectors differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_printed_reads_back_the_same() {
    for v in vectors() {
        let Ok((text, binary)) = &v.expected else { continue };
        let canonical = from_binary(&v.ty, binary).unwrap_or_else(|e| panic!("{}: {e}", v.line));
        let mut again = Vec::new();
        to_binary(&v.ty, &canonical, &mut again).expect("canonical");
        assert_eq!(&again, binary, "{}", v.line);
        // Rounded floats and texts of another style do not carry the whole value.
        if v.ty != ColumnType::Float8 {
            let reread = from_text(&v.ty, text, &v.format).unwrap_or_else(|e| panic!("{}: {e}", v.line));
            assert_eq!(reread, canonical, "{}", v.line);
        }
    }
}

#[test]
fn errors_never_carry_the_value() {
    for v in vectors() {
        if let Err(error) = through(&v)
            && v.input.trim().len() > 3
        {
            let told = format!("{error} {error:?} {:?}", error.hint());
            assert!(!told.contains(v.input.trim()), "{}: {told}", v.line);
        }
    }
}

#[test]
fn styles_that_are_not_supported_say_so() {
    let mut format = SessionFormat::default();
    assert!(format.set("DateStyle", "German, DMY").unwrap());
    let error = to_text(&ColumnType::Date, &[0; 4], &format, &mut Vec::new()).unwrap_err();
    assert_eq!(error.sqlstate(), "0A000");
    assert!(format.set("datestyle", "ISO, DMY").unwrap());
    assert!(to_text(&ColumnType::Date, &[0; 4], &format, &mut Vec::new()).is_ok());
    assert!(format.set("TimeZone", "No/Where").unwrap());
    let error = to_text(&ColumnType::TimestampTz, &[0; 8], &format, &mut Vec::new()).unwrap_err();
    assert_eq!(error.sqlstate(), "0A000");
    assert!(!format.set("search_path", "x").unwrap());
    assert!(format.set("bytea_output", "base64").is_err());
}

#[test]
fn words_for_the_clock_are_refused() {
    for word in ["now", "today", "Tomorrow", "yesterday"] {
        for ty in [ColumnType::Date, ColumnType::TimestampTz] {
            let error = from_text(&ty, word, &SessionFormat::default()).unwrap_err();
            assert_eq!(error.sqlstate(), "0A000", "{word}");
            assert!(error.hint().is_some());
        }
    }
}

#[test]
fn malformed_binary_is_refused() {
    for ty in [
        "int2",
        "int4",
        "int8",
        "float8",
        "bool",
        "date",
        "timestamptz",
        "uuid",
        "numeric",
    ] {
        let ty = ColumnType::parse(ty);
        for length in [0, 3, 9, 17, 33] {
            let bytes = vec![1; length];
            assert_eq!(from_binary(&ty, &bytes).unwrap_err().sqlstate(), "22P03", "{ty} {length}");
            assert_eq!(
                to_binary(&ty, &bytes, &mut Vec::new()).unwrap_err().sqlstate(),
                "XX001",
                "{ty} {length}"
            );
        }
    }
    assert_eq!(from_binary(&ColumnType::Text, b"\xff").unwrap_err().sqlstate(), "22021");
    assert_eq!(from_binary(&ColumnType::Text, b"a\0").unwrap_err().sqlstate(), "22021");
    assert_eq!(from_binary(&ColumnType::Jsonb, b"\x02{}").unwrap_err().sqlstate(), "22P03");
    assert_eq!(from_binary(&ColumnType::Jsonb, b"").unwrap_err().sqlstate(), "22P03");
    assert_eq!(
        from_binary(&ColumnType::Date, &(i32::MAX - 1).to_be_bytes())
            .unwrap_err()
            .sqlstate(),
        "22008"
    );
    assert_eq!(
        from_binary(&ColumnType::TimestampTz, &(i64::MAX - 1).to_be_bytes())
            .unwrap_err()
            .sqlstate(),
        "22008"
    );
}
