//! Where the mask answers, its tokens are PostgreSQL's.

use std::path::Path;

use pg_query::protobuf::Token;

use super::mask::{Kind, MAX_BYTES, MAX_HOLES, Masked, mask};

/// A small generator of our own, so that a failure's seed reproduces it anywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n.max(1) as u64).unwrap()
    }

    fn of<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len())]
    }
}

/// What the mask found: (start, end, value).
fn holes(sql: &str, masked: &Masked) -> Vec<(usize, usize, String)> {
    let ends = masked.with_literals(sql, |i, _| Some(format!("\0{i}\0"))).unwrap();
    let mut out = Vec::new();
    let mut rest = ends.as_str();
    let mut at = 0;
    for i in 0..masked.holes() {
        let start = usize::try_from(masked.location(i).unwrap()).unwrap();
        let (before, behind) = rest.split_once(&format!("\0{i}\0")).unwrap();
        assert_eq!(at + before.len(), start, "{sql}");
        let literal = match masked.kind(i).unwrap() {
            Kind::String => 2 + masked.value(i).len() + masked.value(i).matches('\'').count(),
            Kind::Integer => sql[start..].bytes().take_while(u8::is_ascii_digit).count(),
            Kind::Bigint | Kind::Decimal => masked.value(i).len(),
        };
        at = start + literal;
        out.push((start, at, masked.value(i).to_owned()));
        rest = behind;
    }
    assert_eq!(&sql[at..], rest, "{sql}");
    out
}

/// PostgreSQL's own tokens of the two kinds; `Err` names one that the mask must not pass over.
fn postgres(sql: &str) -> Result<Vec<(usize, usize, String)>, String> {
    let scanned = pg_query::scan(sql).map_err(|e| format!("does not scan: {e}"))?;
    let mut out = Vec::new();
    for t in &scanned.tokens {
        let (start, end) = (usize::try_from(t.start).unwrap(), usize::try_from(t.end).unwrap());
        let text = &sql[start..end];
        match t.token() {
            Token::Sconst => {
                let inside = text.strip_prefix('\'').and_then(|t| t.strip_suffix('\''));
                let inside = inside.ok_or_else(|| format!("a string of another kind: {text}"))?;
                out.push((start, end, inside.replace("''", "'")));
            }
            Token::Iconst => {
                let number: i32 = text.parse().map_err(|_| format!("a number of another kind: {text}"))?;
                out.push((start, end, number.to_string()));
            }
            Token::Fconst => {
                let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
                let canonical = |s: &str| s == "0" || !s.starts_with('0');
                match text.split_once('.') {
                    None if digits(text) => {
                        if text.parse::<i64>().is_ok_and(|n| n != 1 << 31) && canonical(text) {
                            out.push((start, end, text.to_owned()));
                        }
                    }
                    Some((whole, fraction)) if digits(whole) && digits(fraction) => {
                        if canonical(whole) && text.len() <= 64 {
                            out.push((start, end, text.to_owned()));
                        }
                    }
                    _ => return Err(format!("a number of another kind: {text}")),
                }
            }
            Token::Usconst
            | Token::Bconst
            | Token::Xconst
            | Token::Uident
            | Token::SqlComment
            | Token::CComment
            | Token::Param => {
                return Err(format!("{:?}: {text}", t.token()));
            }
            _ => {}
        }
    }
    Ok(out)
}

fn agrees(sql: &str, masked: &mut Masked) -> bool {
    if !mask(sql, masked) {
        return false;
    }
    match postgres(sql) {
        Ok(tokens) => assert_eq!(holes(sql, masked), tokens, "{sql}"),
        Err(e) => panic!("masked {sql:?}, but {e}"),
    }
    for kind in [Kind::String, Kind::Integer, Kind::Bigint, Kind::Decimal] {
        let count = masked.key().iter().filter(|b| **b == kind as u8).count();
        let holes = (0..masked.holes()).filter(|h| masked.kind(*h) == Some(kind)).count();
        assert_eq!(count, holes, "{sql}");
    }
    for hole in 0..masked.holes() {
        let mut written = String::new();
        masked.write(hole, &mut written);
        assert_eq!(written.len(), masked.written(hole), "{sql}");
        // What is written reads as one token of the same kind.
        let read = pg_query::scan(&format!("SELECT {written}")).unwrap();
        let kind = match masked.kind(hole).unwrap() {
            Kind::String => Token::Sconst,
            Kind::Integer => Token::Iconst,
            Kind::Bigint | Kind::Decimal => Token::Fconst,
        };
        assert!(read.tokens.len() == 2 && read.tokens[1].token() == kind, "{written}");
    }
    true
}

fn corpus() -> Vec<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut out = Vec::new();
    for dir in [
        here.join("tests/golden"),
        here.join("tests/ordinary"),
        here.join("../tests/differential"),
    ] {
        for entry in std::fs::read_dir(dir).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            let lines = text.lines().filter(|l| !l.starts_with("--") && !l.starts_with("=>"));
            out.extend(lines.map(str::to_owned));
        }
    }
    out.sort();
    out
}

#[test]
fn what_is_masked_is_what_postgresql_reads() {
    let mut masked = Masked::default();
    let all = corpus();
    let answered = all.iter().filter(|sql| agrees(sql, &mut masked)).count();
    assert!(answered * 3 > all.len(), "{answered} of {}", all.len());
}

#[test]
fn what_is_not_plain_is_not_masked() {
    let mut masked = Masked::default();
    for sql in [
        "SELECT E'a\\'b'",
        "SELECT e'a'",
        "SELECT U&'a'",
        "SELECT u&'a' UESCAPE '!'",
        "SELECT U&\"a\"",
        "SELECT N'a'",
        "SELECT n'a'",
        "SELECT B'1'",
        "SELECT X'1F'",
        "SELECT x'1f'",
        "SELECT $$a$$",
        "SELECT $t$a$t$",
        "SELECT $1",
        "SELECT a$1",
        "SELECT 'a'\n'b'",
        "SELECT 'a' \n 'b'",
        "SELECT 'a' 'b'",
        "SELECT 'a' -- x\n 'b'",
        "SELECT 'a' /* x */",
        "SELECT /* 'a' */ 1",
        "SELECT 1 --'",
        "SELECT 'a",
        "SELECT 'a''",
        "SELECT \"a",
        "SELECT \"\"",
        "SELECT \"a\u{1}b\" , 'x'",
        "SELECT 1e5",
        "SELECT 1.5e5",
        "SELECT 1.",
        "SELECT .5",
        "SELECT 1..2",
        "SELECT 1.2.3",
        "SELECT 0x1F",
        "SELECT 0o17",
        "SELECT 0b11",
        "SELECT 1_000",
        "SELECT 1a",
        "SELECT 1'a'",
        "SELECT 1\u{e9}",
        "SELECT \u{e9}'a'",
        "SELECT 'a\0b'",
        "SELECT 1 \u{1}",
        "SELECT 1 \u{3}",
        "SELECT \u{4}",
        "SELECT 1\u{2}",
        "SELECT \u{b}1",
        "SELECT \\ 1",
        "SELECT {1}",
        "BEGIN",
        "SET x = 'y'",
        "COPY t FROM 'x'",
        "",
        " ",
        "'",
    ] {
        assert!(!mask(sql, &mut masked), "{sql}");
    }
}

#[test]
fn what_is_plain_is_masked() {
    let mut masked = Masked::default();
    for (sql, values) in [
        (
            "SELECT 'a', 'it''s', '', 'ü', 'a\\', '-- /* $1 $$', 7",
            &["a", "it's", "", "ü", "a\\", "-- /* $1 $$", "7"][..],
        ),
        (
            "select 007, 0, 2147483647, 2147483648, 2147483649, 02147483649, 9223372036854775807, 9223372036854775808",
            &["7", "0", "2147483647", "2147483649", "9223372036854775807"],
        ),
        (
            "SELECT 1.5, 0.50, 00.5, 10.0, a.b1, t1 FROM x WHERE y=1 AND z>-2",
            &["1.5", "0.50", "10.0", "1", "2"],
        ),
        ("insert into t values('x',1);", &["x", "1"]),
        ("  \n\tUPDATE t SET \"a'b\" = 'c'", &["c"]),
        ("DELETE FROM t WHERE a='\n'", &["\n"]),
        ("WITH x AS (SELECT 1) SELECT a[2:3] FROM x", &["1", "2", "3"]),
        ("SELECT 'a'::text, 'b'AS c", &["a", "b"]),
        ("SELECT a", &[]),
    ] {
        assert!(agrees(sql, &mut masked), "{sql}");
        let got: Vec<&str> = (0..masked.holes()).map(|h| masked.value(h)).collect();
        assert_eq!(got, values, "{sql}");
    }
}

#[test]
fn the_bounds_hold() {
    let mut masked = Masked::default();
    let list = |n| format!("SELECT {}1", "1,".repeat(n));
    assert!(mask(&list(MAX_HOLES - 1), &mut masked));
    assert!(!mask(&list(MAX_HOLES), &mut masked));
    let long = |n: usize| format!("SELECT '{}'", "x".repeat(n - 9));
    assert!(mask(&long(MAX_BYTES), &mut masked));
    assert!(!mask(&long(MAX_BYTES + 1), &mut masked));
    assert!(mask("SELECT 1", &mut masked));
    assert_eq!((masked.key(), masked.value(0)), (&b"SELECT \x02"[..], "1"));
}

/// Pieces in which literals begin, end, hide and join.
const PIECES: &[&str] = &[
    "'",
    "''",
    "'a'",
    "'it''s'",
    "\"",
    "\"a\"",
    "\"\"",
    "\\",
    "e'",
    "E'\\''",
    "U&'",
    "u&\"",
    "&'",
    "&",
    "n'x'",
    "N",
    "b'1'",
    "x'1f'",
    "X",
    "$",
    "$$",
    "$a$",
    "$1",
    "a",
    "a1",
    "_",
    "1",
    "0",
    "12",
    "007",
    "2147483647",
    "2147483648",
    "2147483649",
    "9223372036854775807",
    "9223372036854775808",
    "0.50",
    "00.5",
    "1.5",
    "1.",
    ".5",
    ".",
    "..",
    "1e5",
    "e",
    "1e",
    "0x1F",
    "0b1",
    "1_0",
    "-",
    "--",
    "- -",
    "-1",
    "+",
    "/",
    "/*",
    "*/",
    "*",
    "//",
    "<",
    "=",
    "=-",
    "@",
    "@-",
    "!",
    "%",
    "^",
    "|",
    "~",
    "#",
    "?",
    "`",
    "(",
    ")",
    "[",
    "]",
    ",",
    ";",
    ":",
    "::",
    ":=",
    " ",
    "  ",
    "\n",
    "\r",
    "\t",
    "\u{b}",
    "\u{c}",
    "\0",
    "\u{1}",
    "\u{2}",
    "\u{7f}",
    "é",
    "日",
    "UESCAPE",
    "date",
    "interval",
    "SELECT",
    "FROM",
    "\u{a0}",
    "{",
    "}",
];

#[test]
fn it_never_differs_from_postgresqls_scanner() {
    let rounds = std::env::var("POSTERN_MUTATIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(40_000);
    let seeds: Vec<String> = corpus().into_iter().filter(|s| mask(s, &mut Masked::default())).collect();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut masked = Masked::default();
    let mut answered = 0;
    for round in 0..rounds {
        let mut sql = match round % 3 {
            0 => "SELECT ".to_owned(),
            _ => seeds[dice.below(seeds.len())].clone(),
        };
        for _ in 0..=dice.below(if round % 3 == 0 { 12 } else { 3 }) {
            let mut at = if round % 3 == 0 {
                sql.len()
            } else {
                dice.below(sql.len() + 1)
            };
            while !sql.is_char_boundary(at) {
                at -= 1;
            }
            match dice.below(8) {
                0 if at < sql.len() && round % 3 != 0 => {
                    sql.remove(at);
                }
                _ => sql.insert_str(at, dice.of(PIECES)),
            }
        }
        answered += usize::from(agrees(&sql, &mut masked));
    }
    assert!(answered > rounds / 20, "only {answered} of {rounds} were answered");
}
