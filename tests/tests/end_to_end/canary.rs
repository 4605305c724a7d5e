//! Values written through the proxy into protected columns are found nowhere: not in the heap, the indexes, the WAL, PostgreSQL's log,
//! its statistics, or what the proxy writes. The same scan does find a canary in a plain column.

use std::time::Duration;

use postern_tests::scan::{Canary, Finding, in_text, scan};
use postern_tests::stand::{Stand, eventually, tail};
use rand::Rng;

/// High entropy, so that nothing is found by chance; alphanumeric, so that no escape changes it.
fn word() -> String {
    let mut rng = rand::rng();
    (0..24).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect()
}

/// Microseconds since 2000-01-01 UTC as ISO text.
fn timestamp(micros: i64) -> String {
    let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    // Days to a civil date, eras of 400 years from 0000-03-01 (10,957 days lie between 1970 and 2000).
    let z = days + 10_957 + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{fraction:06}+00")
}

fn be(value: i64) -> [u8; 8] {
    value.to_be_bytes()
}

#[test]
fn canaries_of_every_type_are_found_nowhere() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut rng = rand::rng();
    // Odd enough that their binary forms cannot be there by chance.
    let (int8, float8, micros) = (
        rng.random_range(1_i64 << 60..1 << 62),
        rng.random_range(0.1_f64..0.2) * 1e-41,
        rng.random_range(1_i64 << 48..1 << 50),
    );
    let numeric = format!(
        "{:010}.{:04}",
        rng.random_range(1_000_000_000_u64..9_999_999_999),
        rng.random_range(1_000..9_999)
    );
    let uuid: String = (0..32)
        .map(|_| char::from(b"0123456789abcdef"[rng.random_range(0..16)]))
        .collect();
    let bytes: Vec<u8> = (0..24).map(|_| rng.random()).collect();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let uuid_bytes: Vec<u8> = (0..16)
        .map(|i| u8::from_str_radix(&uuid[2 * i..2 * i + 2], 16).expect("hex"))
        .collect();
    let dashed = format!(
        "{}-{}-{}-{}-{}",
        &uuid[..8],
        &uuid[8..12],
        &uuid[12..16],
        &uuid[16..20],
        &uuid[20..]
    );
    let (text, json, varchar, secret, by_parameter, updated, searched) = (word(), word(), word(), word(), word(), word(), word());
    let varchar = &varchar[..20];
    let float_text = format!("{float8:e}");
    let moment = timestamp(micros);
    let canaries = vec![
        Canary::new("text", text.as_bytes()),
        Canary::new("jsonb", json.as_bytes()),
        Canary::new("varchar", varchar.as_bytes()),
        Canary::new("opaque text", secret.as_bytes()),
        Canary::new("a parameter", by_parameter.as_bytes()),
        Canary::new("an updated value", updated.as_bytes()),
        Canary::new("a searched value", searched.as_bytes()),
        Canary::new("bytea", &bytes).or("its hexadecimal text", hex.as_bytes()),
        Canary::new("uuid", &uuid_bytes).or("its text", dashed.as_bytes()),
        Canary::new("int8", int8.to_string().as_bytes())
            .or("binary", &be(int8))
            .or("little-endian", &int8.to_le_bytes()),
        Canary::new("float8", float_text.as_bytes())
            .or("binary", &float8.to_be_bytes())
            .or("little-endian", &float8.to_le_bytes()),
        Canary::new("numeric", numeric.as_bytes()),
        Canary::new("timestamptz", &be(micros))
            .or("little-endian", &micros.to_le_bytes())
            .or("its text", moment.as_bytes()),
    ];
    let plain = word();
    let control = [Canary::new("the control", plain.as_bytes())];

    let mut c = open(stand);
    let id = rng.random_range(1_000_000..2_000_000_000);
    c.run(&format!(
        "INSERT INTO things (id, v_text, v_int8, v_float8, v_numeric, v_uuid, v_bytea, v_jsonb, v_varchar, secret, note, v_timestamptz) VALUES \
         ({id}, '{text}', {int8}, {float_text}, {numeric}, '{dashed}', '\\x{hex}', '{{\"k\": \"{json}\"}}', '{varchar}', '{secret}', '{plain}', \
         '{moment}')"
    ))
    .good("the canaries");
    let two = (id + 1).to_string();
    let insert = "INSERT INTO things (id, v_text) VALUES ($1, $2)";
    c.extended(insert, &[Some(&two), Some(&by_parameter)], 0)
        .unwrap_or_else(|e| panic!("{e}"))
        .good(insert);
    c.run(&format!("UPDATE things SET v_text = '{updated}' WHERE id = {two}"))
        .good("an update");
    c.run(&format!("SELECT id FROM things WHERE v_text = '{searched}'"))
        .good("a search");
    c.run(&format!(
        "SELECT id FROM things WHERE v_text IN ('{searched}', 'x') ORDER BY id"
    ))
    .good("a search");
    // Statements that fail are what a server logs.
    for failing in [
        format!("INSERT INTO things (id, v_text) VALUES ({id}, '{searched}')"),
        format!("INSERT INTO things (id, v_text, v_int4) VALUES (1, '{searched}', 'x')"),
        format!("SELECT id FROM things WHERE v_text LIKE '{searched}%'"),
        format!("SELECT id FROM things WHERE v_text <> '{searched}' AND 1 / (id - id) = 1"),
        format!("SELECT '{searched}' FROM"),
    ] {
        assert!(c.run(&failing).error.is_some(), "{failing}");
    }
    let read = c
        .run(&format!("SELECT v_text, v_bytea, secret FROM things WHERE id = {id}"))
        .good("reading")
        .texts();
    assert_eq!(
        read,
        [[Some(text.clone()), Some(format!("\\x{hex}")), Some(secret.clone())]],
        "the client itself sees them"
    );

    let mut dba = stand.dba_connection();
    dba.run("CHECKPOINT").good("CHECKPOINT");
    dba.run("SELECT pg_switch_wal()").good("a WAL switch");
    let statistics = dba.run("SELECT * FROM pg_stat_activity").good("activity").texts();
    let statistics = format!("{statistics:?}");
    assert!(
        in_text(statistics.as_bytes(), &canaries).is_empty(),
        "pg_stat_activity shows a canary"
    );

    let gate_config = stand.gate().config.parent().expect("a file lies in a directory").to_owned();
    let found = |canaries: &[Canary]| scan(&[&stand.dir], canaries);
    let positive = eventually(Duration::from_secs(10), || {
        let found = found(&control);
        found
            .iter()
            .any(|f| f.file.starts_with(stand.dir.join("pgdata")))
            .then_some(found)
    });
    let positive = positive.expect("the scan does not even find a canary in a plain column: it proves nothing");
    assert!(
        positive
            .iter()
            .any(|f| f.file.components().any(|part| part.as_os_str() == "pg_wal")),
        "the control is not found in the WAL: {positive:?}"
    );
    let leaks: Vec<Finding> = found(&canaries)
        .into_iter()
        .filter(|f| !f.file.starts_with(&gate_config))
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    for (name, log) in [
        ("the demo's output", stand.log_text()),
        ("the second proxy's output", stand.gate().log_text()),
        ("the audit trail", stand.audit_text()),
    ] {
        let found = in_text(log.as_bytes(), &canaries);
        assert!(found.is_empty(), "{name} holds {found:?}:\n{}", tail(&log));
    }
    c.run(&format!("DELETE FROM things WHERE id IN ({id}, {two})"))
        .good("cleaning up");
}

/// The reference domain's own rows: what the demo loaded is not in its data directory either.
#[test]
fn the_reference_data_set_is_found_nowhere() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let canaries = [
        Canary::new("an e-mail", b"dora@people.example"),
        Canary::new("a place", b"Meadow behind the mill"),
        Canary::new("a plan", b"Boats first, then the bridge"),
        Canary::new("a message", b"Please do not share the address outside this group"),
        Canary::new("an offer", b"Knows the police liaison officer"),
        Canary::new("a password hash", b"argon2id$v=19$m=65536,t=3,p=4$"),
    ];
    stand.dba_connection().run("CHECKPOINT").good("CHECKPOINT");
    let places = [
        stand.dir.join("pgdata"),
        stand.dir.join("tablespaces"),
        stand.dir.join("postgres.log"),
    ];
    let roots: Vec<&std::path::Path> = places.iter().map(|p| p.as_path()).filter(|p| p.exists()).collect();
    assert!(roots.len() >= 2, "the demo keeps its data elsewhere now; tell this test");
    let control = scan(&roots, &[Canary::new("a plain column", b"Nothing to see here, part 7.")]);
    assert!(!control.is_empty(), "the scan finds nothing even of a plain column");
    let leaks = scan(&roots, &canaries);
    assert!(leaks.is_empty(), "{leaks:#?}");
}

/// Tokens and passwords are not written down either.
#[test]
fn tokens_are_in_no_log() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let token = stand.mint("sys_account", "bob", "60");
    let signature = token.rsplit('.').next().unwrap_or_default().to_owned();
    let mut c = stand.connect("sys_account", None);
    c.run(&format!("SET postern.token = '{token}'")).good("a token");
    c.run(&format!("/*postern:{token}*/ SELECT 1")).good("a comment token");
    c.run(&format!("SELECT '{token}' FROM nowhere"));
    c.run(&format!("SET postern.token = '{token}x'"));
    for (name, text) in [
        ("the demo's output", stand.log_text()),
        ("the audit trail", stand.audit_text()),
        (
            "PostgreSQL's log",
            std::fs::read_to_string(stand.dir.join("postgres.log")).unwrap_or_default(),
        ),
    ] {
        assert!(!text.contains(&signature), "{name} holds a token");
    }
    let leaks = scan(&[&stand.dir.join("pgdata")], &[Canary::new("a token", signature.as_bytes())]);
    assert!(leaks.is_empty(), "{leaks:?}");
}

fn open(stand: &Stand) -> postern_tests::connection::Connection {
    let target = stand.through_gate("alltypes.service", None);
    postern_tests::connection::Connection::open(&target).unwrap_or_else(|e| panic!("{e}"))
}
