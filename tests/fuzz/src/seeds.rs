//! The first corpus: real messages, what real drivers put into their startup packets, and the golden vectors that PostgreSQL made.

use std::fs;
use std::path::Path;

use postern_config::ColumnType;
use postern_keys::value::{SessionFormat, from_text, to_binary};

use crate::values::TYPES;

/// Every n-th golden vector of a type is enough: libFuzzer goes on from there.
const EACH: usize = 6;

/// Writes `DIR/TARGET/NAME` for each seed.
///
/// # Panics
/// When a file cannot be written.
pub fn write(dir: &Path) {
    let save = |target: &str, number: usize, bytes: &[u8]| {
        let dir = dir.join(target);
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let file = dir.join(format!("seed-{number:03}"));
        fs::write(&file, bytes).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    };
    let all = |target: &str, seeds: &[&[u8]]| seeds.iter().enumerate().for_each(|(n, bytes)| save(target, n, bytes));
    all(
        "frames",
        &[
            b"\x01\0Q\0\0\0\x0dSELECT 1\0S\0\0\0\x04",
            b"\0\x10P\0\0\0\x09s\0q\0\0",
            b"\x00\x08D\x00\x00\x00\x09S\0\0\0\0",
            b"\xff\xffZ\xff\xff\xff\xff",
        ],
    );
    all("startup", &[
        b"\x04\xd2\x16\x2f",
        b"\x04\xd2\x16\x30",
        b"\x04\xd2\x16\x2e\0\0\x30\x39\xde\xad\xbe\xef",
        b"\0\x03\0\0user\0disco\0database\0postern\0application_name\0psql\0client_encoding\0UTF8\0\0",
        b"\0\x03\0\0user\0disco\0database\0postern\0options\0-c postern.token=a.b.c -cTimeZone=Asia/Tokyo --statement-timeout=3\\ s\0\0",
        b"\0\x03\0\x02user\0disco\0_pq_.nothing\x001\0search_path\0\"disco\"\0DateStyle\0ISO\0extra_float_digits\x002\0\0",
        b"\0\x03\0\0user\0disco\0replication\0database\0\0",
    ]);
    all(
        "client_messages",
        &[
            b"QSELECT 1; SELECT 2\0",
            b"Ps1\0SELECT $1::int4\0\0\x01\0\0\0\x17",
            b"P\0INSERT INTO notes (id, text) VALUES ($1, $2)\0\0\0",
            b"B\0s1\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x07\0\x01\0\x01",
            b"Bp\0\0\0\0\0\x02\xff\xff\xff\xff\0\0\0\x02ab\0\0",
            b"B\0\0\0\x02\0\0\0\x01\0\x02\0\0\0\0\0\0\0\0\0\x02\0\0\0\x01",
            b"DSs1\0",
            b"CPp\0",
            b"E\0\0\0\0\x40",
        ],
    );
    all(
        "copy_rows",
        &[
            b"\0one\ttwo\n\\N\t\\x41\\101\\\\\n\\.\n",
            b"\0a\\\nb\t\\\t\r\nc\td\r\n",
            b"\x01a|b\n1|\n",
            b"\x02\"a,\"\"b\"\"\n\",\"\"\nx,\n\\.\n",
            b"\x03head\n'a\\'b',c\n",
            b"\x04\\a,\\,b\n",
            b"\x05PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x01x\xff\xff\xff\xff\xff\xff",
        ],
    );
    all("server_messages", &[
        b"T\0\x02id\0\0\0\x40\x01\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0email\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\x01",
        b"t\0\x02\0\0\0\x17\0\0\0\x19",
        b"D\0\x03\0\0\0\x011\xff\xff\xff\xff\0\0\0\0",
        b"CSELECT 1\0",
        b"STimeZone\0UTC\0",
        b"ZT",
        b"ESERROR\0VERROR\0C42P01\0Mrelation \"x\" does not exist\0P15\0Fparse_relation.c\0L1449\0RparserOpenTable\0\0",
        b"NSNOTICE\0C00000\0Mhello\0\0",
    ]);
    all(
        "leading_token",
        &[
            b"/*postern:aaa.bbb-c.d_d*/SELECT 1",
            b" \n/* hint */ SELECT 1",
            b"/*postern:",
            b"\t/*postern:a b*/",
            b"SELECT 1",
        ],
    );
    all(
        "upstream_login",
        &[
            b"Ir=abcdefghijklmnopqrstuvwx,s=c2FsdHNhbHRzYWx0c2FsdA==,i=4096",
            b"Ir=a,s=YQ==,i=4095",
            b"Ii=5000,r=a,s=YQ==,i=100000",
            b"ESFATAL\0VFATAL\0C28P01\0Mpassword authentication failed\0\0",
            b"D\0\x01\0\0\0\x101795437296789012",
        ],
    );
    all(
        "scram",
        &[
            b"\0SCRAM-SHA-256\0\0\0\0\x13n,,n=,r=abcdefghijk",
            b"\x01n,,n=,r=abcdefghijklmnop",
            b"\x01y,a=x,n=user,r=abcdefghijklmnop",
            b"\x02p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            b"\x03",
            b"\x03\0\x20A",
        ],
    );
    let verifier = b"SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    all("verifier_file", &[verifier, b"SCRAM-SHA-256$99999999999:YQ==$YQ==:YQ=="]);
    all(
        "token_text",
        &[
            b"\0eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJib2IifQ.AAAA",
            b"\0eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ.",
            b"\x01",
            b"\x01\0\x20A",
        ],
    );
    all(
        "token_claims",
        &[
            br#"{"sub":"bob","exp":1800000300,"jti":"1","org_member_of":["A"],"verified":true}"#,
            br#"{"sub":"root","exp":1800000600,"jti":"1","super":true,"reason":"audit","iat":1800000000,"nbf":1799999999}"#,
            br#"{"sub":"bob","exp":1.8e9,"jti":"","service":"disco"}"#,
            br#"{"iss":"x","aud":["postern"],"mod":"lab","sub":"bob","exp":18000000000}"#,
        ],
    );
    all(
        "jwk_set",
        &[
            br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
            br#"{"keys":[{"kty":"RSA","kid":"r","n":"AQAB","e":"AQAB"},{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":"b","x":"PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"}]}"#,
            br#"{"keys":[{"kty":"OKP","crv":"X25519","kid":"x","x":"AA","key_ops":["deriveKey"]}]}"#,
            br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"d","d":"AA","x":"AA"}]}"#,
        ],
    );
    all(
        "envelope",
        &[
            b"\0\0\xc5\x50\x01\x02\0\0\0\x03",
            b"\x01\x05plain",
            b"\x01\x05plain\0\x09\x01",
            b"\x01\x00\x07",
        ],
    );
    all("catalogue", &[
        b"\"generation\":1\n\"generation\":2",
        b"email\nbirth",
        b"\"bind_column_only\":false\n\"bind_column_only\":true",
        b"\"text\"\n\"date\"",
        br#"{"generation":1,"database_uuid":"00000000-0000-0000-0000-000000000001","next_key_id":1,"records":[{"kind":"table","uuid":"00000000-0000-0000-0000-000000000002","schema":"s","name":"t"}],"mac":""}"#,
    ]);
    all(
        "session_format",
        &[
            b"TimeZone=Europe/Amsterdam",
            b"TimeZone=<+02>-02",
            b"DateStyle=ISO, DMY",
            b"bytea_output=escape",
            b"extra_float_digits=-15",
            b"TimeZone=CET-1CEST,M3.5.0,M10.5.0/3",
        ],
    );
    all(
        "json",
        &[
            br#"{"a":[1,2.50,1e3,-0],"b":{"c":"\u00fc\ud83d\ude00","c":null},"":true}"#,
            b"[[[[]]]]",
            b"1e400",
            b"\"\\u0000\"",
        ],
    );
    golden(&save);
}

/// Vectors of `keys/tests/golden/values.txt` for whatever reads values.
fn golden(save: &dyn Fn(&str, usize, &[u8])) {
    let vectors = include_str!("../../../keys/tests/golden/values.txt").lines();
    for (number, line) in vectors.enumerate().step_by(EACH) {
        let fields: Vec<&str> = line.split('|').collect();
        let [name, input, ..] = fields[..] else { continue };
        let Some(text) = serde_json::from_str::<String>(input).ok().filter(|t| t.len() < 60) else {
            continue;
        };
        let ty = ColumnType::parse(name);
        let known = TYPES.iter().position(|t| ColumnType::parse(t) == ty);
        let which = known.or_else(|| TYPES.iter().position(|t| *t == name.split('(').next().unwrap_or("")));
        let Some(which) = which.and_then(|w| u8::try_from(w).ok()) else {
            continue;
        };
        match TYPES[usize::from(which)] {
            "date" | "timestamptz" => save("datetime", number, &[&[which & 1], text.as_bytes()].concat()),
            "numeric" => save("numeric", number, &[b"\x02", text.as_bytes()].concat()),
            "jsonb" => save("json", number, text.as_bytes()),
            _ => save("value_text", number, &[&[which, 0], text.as_bytes()].concat()),
        }
        if number % (3 * EACH) == 0 {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            save(
                "array_text",
                number,
                &[&[which, 0], format!("{{\"{quoted}\", NULL}}").as_bytes()].concat(),
            );
        }
        let ty = ColumnType::parse(TYPES[usize::from(which)]);
        if let Ok(canonical) = from_text(&ty, &text, &SessionFormat::default()) {
            let mut binary = Vec::new();
            to_binary(&ty, &canonical, &mut binary).expect("canonical");
            if number % (2 * EACH) == 0 {
                save("value_binary", number, &[&[which, 0], &binary[..]].concat());
            } else if number % (3 * EACH) == 0 {
                let length = u32::try_from(binary.len()).expect("short");
                let words = [1, 0, ty.oid().unwrap_or(0), 1, 1, length];
                let head: Vec<u8> = words.iter().flat_map(|w: &u32| w.to_be_bytes()).collect();
                save("array_binary", number, &[&[which, 0], &head[..], &binary].concat());
            }
        }
    }
}
