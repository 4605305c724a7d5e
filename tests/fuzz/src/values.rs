//! Values of every type that can be protected, in text and in binary.
//!
//! Whatever is accepted has one canonical form: it comes back from its own binary form, and from its own text form in the session's
//! format, as the same bytes. For a type with a length or a precision that means that it is applied once.

use std::sync::OnceLock;

use postern_config::ColumnType;
use postern_keys::value::{
    Canonical, SessionFormat, array_from_binary, array_from_text, equality_form, from_binary, from_text, to_binary, to_text,
    unconstrained,
};

/// The order is that of the corpus: append only.
pub(crate) const TYPES: &[&str] = &[
    "text",
    "varchar",
    "varchar(5)",
    "int2",
    "int4",
    "int8",
    "float8",
    "bool",
    "date",
    "timestamptz",
    "numeric",
    "numeric(14,4)",
    "numeric(5,-2)",
    "uuid",
    "bytea",
    "jsonb",
];

/// Append only, too.
const FORMATS: &[&[(&str, &str)]] = &[
    &[("TimeZone", "UTC")],
    &[("TimeZone", "Europe/Amsterdam"), ("bytea_output", "escape")],
    &[("TimeZone", "America/St_Johns"), ("extra_float_digits", "0")],
    &[("TimeZone", "Africa/Monrovia"), ("extra_float_digits", "-15")],
    &[("TimeZone", "<+02>-02"), ("DateStyle", "ISO, DMY")],
    &[("TimeZone", "Pacific/Apia"), ("extra_float_digits", "3")],
];

fn types() -> &'static [ColumnType] {
    static ALL: OnceLock<Vec<ColumnType>> = OnceLock::new();
    ALL.get_or_init(|| TYPES.iter().map(|name| ColumnType::parse(name)).collect())
}

fn formats() -> &'static [SessionFormat] {
    static ALL: OnceLock<Vec<SessionFormat>> = OnceLock::new();
    ALL.get_or_init(|| {
        let all = FORMATS.iter().map(|settings| {
            let mut format = SessionFormat::default();
            for (name, value) in *settings {
                assert_eq!(format.set(name, value), Ok(true));
            }
            format
        });
        all.collect()
    })
}

fn ty(byte: u8) -> &'static ColumnType {
    &types()[usize::from(byte) % types().len()]
}

fn format(byte: u8) -> &'static SessionFormat {
    &formats()[usize::from(byte) % formats().len()]
}

fn binary_of(ty: &ColumnType, canonical: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    to_binary(ty, canonical, &mut out).expect("a canonical form has a binary form");
    out
}

fn text_of(ty: &ColumnType, canonical: &[u8], s: &SessionFormat) -> String {
    let mut out = Vec::new();
    to_text(ty, canonical, s, &mut out).expect("a canonical form has a text form");
    String::from_utf8(out).expect("text forms are UTF-8")
}

/// Everything that holds of a canonical form.
fn holds(ty: &ColumnType, canonical: &Canonical, s: &SessionFormat) {
    let binary = binary_of(ty, canonical);
    let again = from_binary(ty, &binary).expect("its own binary form is accepted");
    assert!(again == *canonical, "{ty}: canonical(binary(canonical)) is another");
    let text = text_of(ty, canonical, s);
    let read = match from_text(ty, &text, s) {
        // A number near the end of the range may be rounded beyond it, as PostgreSQL rounds it, by a session that wants few digits.
        Err(error) if *ty == ColumnType::Float8 && error.sqlstate() == "22003" && text.contains("e+308") => return,
        read => read.expect("its own text form is accepted"),
    };
    let equal = equality_form(ty, canonical).expect("a canonical form has an equality form");
    assert!(equal == equality_form(&unconstrained(ty), canonical).expect("without its length too"));
    match ty {
        // Rounded on purpose (extra_float_digits below 1), and the text of NaN has no payload; but what was printed prints the same.
        ColumnType::Float8 => assert_eq!(text_of(ty, &read, s), text, "{ty}: text(canonical(text)) is another"),
        _ => {
            assert!(read == *canonical, "{ty}: canonical(text(canonical)) is another");
            assert!(equality_form(ty, &read).is_ok_and(|e| e == equal));
        }
    }
}

fn read_text(ty: &ColumnType, bytes: &[u8], s: &SessionFormat) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(canonical) = from_text(ty, text, s)
    {
        holds(ty, &canonical, s);
    }
}

/// Type, format, text.
pub fn text(data: &[u8]) {
    if let [which, how, bytes @ ..] = data {
        read_text(ty(*which), bytes, format(*how));
    }
}

/// Type, format, binary.
pub fn binary(data: &[u8]) {
    let [which, how, bytes @ ..] = data else { return };
    let (ty, s) = (ty(*which), format(*how));
    if let Ok(canonical) = from_binary(ty, bytes) {
        holds(ty, &canonical, s);
    }
    // Bytes from the database that were never canonical: an error at most.
    let mut out = Vec::new();
    let _ = to_text(ty, bytes, s, &mut out);
    let _ = to_binary(ty, bytes, &mut out);
    let _ = equality_form(ty, bytes);
}

/// One precision or none, then text and binary of the same bytes.
pub fn numeric(data: &[u8]) {
    let [which, bytes @ ..] = data else { return };
    let ty = match which % 4 {
        0 => ty(11),
        1 => ty(12),
        _ => ty(10),
    };
    read_text(ty, bytes, format(0));
    if let Ok(canonical) = from_binary(ty, bytes) {
        holds(ty, &canonical, format(0));
    }
}

/// Date or instant, format, text; eight bytes or four are read as binary, too.
pub fn datetime(data: &[u8]) {
    let [which, bytes @ ..] = data else { return };
    let (ty, s) = (ty(8 + which % 2), format(which / 2));
    read_text(ty, bytes, s);
    if let Ok(canonical) = from_binary(ty, bytes) {
        holds(ty, &canonical, s);
    }
}

/// A document. Equal documents have equal forms however they are written.
pub fn json(data: &[u8]) {
    let jsonb = ty(15);
    read_text(jsonb, data, format(0));
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(canonical) = from_text(jsonb, text, format(0))
    {
        let sent = [&[1], data].concat();
        let binary = from_binary(jsonb, &sent).expect("text and binary read alike");
        assert!(binary == canonical, "the two readings of one document differ");
    }
}

fn literal(items: &[Option<Canonical>], ty: &ColumnType, s: &SessionFormat) -> String {
    let quoted = |item: &Option<Canonical>| match item {
        None => "NULL".to_owned(),
        Some(canonical) => format!("\"{}\"", text_of(ty, canonical, s).replace('\\', "\\\\").replace('"', "\\\"")),
    };
    format!("{{{}}}", items.iter().map(quoted).collect::<Vec<_>>().join(","))
}

fn packed(items: &[Option<Canonical>], ty: &ColumnType) -> Vec<u8> {
    let oid = ty.oid().expect("every type here has one").cast_signed();
    let dimensions = i32::from(!items.is_empty());
    let mut out: Vec<u8> = [dimensions, 1, oid].iter().flat_map(|n| n.to_be_bytes()).collect();
    if items.is_empty() {
        return out;
    }
    let word = |n: usize| i32::try_from(n).expect("an input is short").to_be_bytes();
    out.extend(word(items.len()));
    out.extend(1_i32.to_be_bytes());
    for item in items {
        match item {
            None => out.extend((-1_i32).to_be_bytes()),
            Some(canonical) => {
                let binary = binary_of(ty, canonical);
                out.extend(word(binary.len()));
                out.extend(binary);
            }
        }
    }
    out
}

/// An array reads the same from its other form and from what it prints as.
fn array_holds(ty: &ColumnType, items: &[Option<Canonical>], s: &SessionFormat) {
    items.iter().flatten().for_each(|item| holds(ty, item, s));
    assert!(
        array_from_binary(ty, &packed(items, ty)).is_ok_and(|again| again == items),
        "{ty}: the binary array is another"
    );
    let exact = *ty != ColumnType::Float8;
    let s = if exact { s } else { format(0) };
    let again = array_from_text(ty, &literal(items, ty, s), s).expect("its own literal is accepted");
    assert!(
        again.len() == items.len() && (!exact || again == items),
        "{ty}: the array literal is another"
    );
}

/// Element type, format, array literal.
pub fn array_text(data: &[u8]) {
    let [which, how, bytes @ ..] = data else { return };
    let (ty, s) = (ty(*which), format(*how));
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(items) = array_from_text(ty, text, s)
    {
        array_holds(ty, &items, s);
    }
}

/// Element type, format, binary array.
pub fn array_binary(data: &[u8]) {
    let [which, how, bytes @ ..] = data else { return };
    let (ty, s) = (ty(*which), format(*how));
    if let Ok(items) = array_from_binary(ty, bytes) {
        // Every element has a word of its own.
        assert!(items.len() <= bytes.len() / 4);
        array_holds(ty, &items, s);
    }
}

/// `name=value`: a setting is taken, not ours or refused; with whatever was taken, instants print and read back or say why not.
pub fn session_format(data: &[u8]) {
    let Some((name, value)) = std::str::from_utf8(data).ok().and_then(|t| t.split_once('=')) else {
        return;
    };
    let mut s = SessionFormat::default();
    if s.set(name, value) != Ok(true) {
        return;
    }
    for micros in [
        0_i64,
        1,
        -211_813_488_000_000_000,
        9_223_371_331_199_999_999,
        446_400_000_000_000,
        773_110_800_000_000,
    ] {
        for ty in [ty(8), ty(9)] {
            let bytes = match ty {
                ColumnType::Date => i32::try_from(micros / 86_400_000_000)
                    .expect("PostgreSQL's days fit")
                    .to_be_bytes()
                    .to_vec(),
                _ => micros.to_be_bytes().to_vec(),
            };
            let mut out = Vec::new();
            if to_text(ty, &bytes, &s, &mut out).is_ok() {
                let text = String::from_utf8(out).expect("text forms are UTF-8");
                // POSIX rules may say up to 24 hours; PostgreSQL prints such an offset and reads none of 16 hours or more, as we do.
                match from_text(ty, &text, &s) {
                    Ok(read) => assert!(read[..] == bytes, "{ty}: {text} is read as another"),
                    Err(_) => assert!(value.contains(|c: char| c.is_ascii_digit()), "{ty}: {text} is not read back"),
                }
            }
        }
    }
}
