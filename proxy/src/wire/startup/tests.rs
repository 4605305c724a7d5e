use super::*;

fn packet(version: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = version.to_be_bytes().to_vec();
    for (name, value) in pairs {
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.extend_from_slice(value.as_bytes());
        out.push(0);
    }
    out.push(0);
    out
}

const V3: u32 = 196_608;

fn startup(pairs: &[(&str, &str)]) -> Result<StartupParameters, StartupError> {
    match decode(&packet(V3, pairs))? {
        FirstPacket::Startup(p) => Ok(p),
        other => panic!("not a startup packet: {other:?}"),
    }
}

#[test]
fn lengths_are_bounded_before_anything_is_read() {
    for bad in [0i32, 3, 4, 7, 10_001, i32::MAX, -1, i32::MIN] {
        assert_eq!(body_length(bad.to_be_bytes()), Err(StartupError::Length), "{bad}");
    }
    assert_eq!(body_length(8i32.to_be_bytes()), Ok(4));
    assert_eq!(body_length(10_000i32.to_be_bytes()), Ok(9_996));
}

#[test]
fn every_truncation_of_a_good_packet_is_refused() {
    let good = packet(
        V3,
        &[("user", "disco"), ("database", "postern"), ("options", "-c TimeZone=UTC")],
    );
    assert!(decode(&good).is_ok());
    for cut in 0..good.len() {
        assert!(decode(&good[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn requests_are_told_apart() {
    assert!(matches!(decode(&SSL_REQUEST.to_be_bytes()), Ok(FirstPacket::Ssl)));
    assert!(matches!(decode(&GSS_REQUEST.to_be_bytes()), Ok(FirstPacket::Gss)));
    let mut with_tail = SSL_REQUEST.to_be_bytes().to_vec();
    with_tail.push(0);
    assert!(matches!(decode(&with_tail), Err(StartupError::Malformed(_))));

    let mut cancel = CANCEL_REQUEST.to_be_bytes().to_vec();
    cancel.extend_from_slice(&7i32.to_be_bytes());
    cancel.extend_from_slice(&[1, 2, 3, 4]);
    match decode(&cancel) {
        Ok(FirstPacket::Cancel(key)) => assert!(key.id == 7 && *key.secret == [1, 2, 3, 4]),
        other => panic!("{other:?}"),
    }
    // Since protocol 3.2 a secret may be longer.
    for (bytes, good) in [
        (0, false),
        (3, false),
        (4, true),
        (5, true),
        (32, true),
        (256, true),
        (257, false),
    ] {
        cancel.truncate(8);
        cancel.resize(8 + bytes, 9);
        match decode(&cancel) {
            Ok(FirstPacket::Cancel(key)) => assert!(good && *key.secret == vec![9; bytes], "{bytes}"),
            other => assert!(!good && other.is_err(), "{bytes}"),
        }
    }
}

#[test]
fn other_protocols_are_refused_and_minor_ones_noted() {
    assert_eq!(
        decode(&packet(2 << 16, &[("user", "a")])).unwrap_err(),
        StartupError::Protocol { major: 2, minor: 0 }
    );
    match decode(&packet(V3 + 9, &[("user", "a"), ("_pq_.fancy", "1")])) {
        Ok(FirstPacket::Startup(p)) => assert!(p.minor == 9 && p.unknown_options == ["_pq_.fancy"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_user_is_needed_and_the_database_follows_it() {
    assert_eq!(startup(&[("database", "x")]).unwrap_err(), StartupError::NoUser);
    assert_eq!(startup(&[("user", "disco")]).unwrap().database, "disco");
    assert_eq!(
        startup(&[("user", "disco"), ("database", "postern")]).unwrap().database,
        "postern"
    );
}

#[test]
fn strings_are_strict() {
    let mut bad = V3.to_be_bytes().to_vec();
    bad.extend_from_slice(b"user\0\xff\xfe\0\0");
    assert!(matches!(decode(&bad), Err(StartupError::Malformed(_))));
    let mut tail = packet(V3, &[("user", "a")]);
    tail.extend_from_slice(b"role\0postgres\0\0");
    assert!(matches!(decode(&tail), Err(StartupError::Malformed(_))));
}

#[test]
fn allowed_settings_pass_with_their_canonical_names_and_others_do_not() {
    let p = startup(&[
        ("user", "a"),
        ("timezone", "Europe/Berlin"),
        ("DATESTYLE", "ISO"),
        ("application_name", "psql"),
        ("client_encoding", "'utf-8'"),
    ])
    .unwrap();
    assert_eq!(p.setting("TimeZone"), Some("Europe/Berlin"));
    assert_eq!(p.setting("DateStyle"), Some("ISO"));
    for name in [
        "role",
        "session_authorization",
        "row_security",
        "postern.sub",
        "postern.mac",
        "session_replication_role",
        "Role",
    ] {
        assert!(
            matches!(startup(&[("user", "a"), (name, "x")]), Err(StartupError::Setting(_))),
            "{name}"
        );
    }
    assert_eq!(
        startup(&[("user", "a"), ("client_encoding", "LATIN1")]).unwrap_err(),
        StartupError::Encoding
    );
    assert_eq!(
        startup(&[("user", "a"), ("replication", "database")]).unwrap_err(),
        StartupError::Replication
    );
    assert!(startup(&[("user", "a"), ("standard_conforming_strings", "on")]).is_ok());
    assert!(startup(&[("user", "a"), ("standard_conforming_strings", "off")]).is_err());
}

#[test]
fn options_are_read_as_postgresql_reads_them() {
    let read = |text| startup(&[("user", "a"), ("options", text)]);
    let p = read(r"-c TimeZone=UTC  --statement-timeout=5s -cDateStyle=ISO,\ DMY").unwrap();
    assert_eq!(p.setting("TimeZone"), Some("UTC"));
    assert_eq!(p.setting("statement_timeout"), Some("5s"));
    assert_eq!(p.setting("DateStyle"), Some("ISO, DMY"));
    assert_eq!(read("-c postern.token=a.b.c").unwrap().token.unwrap().as_str(), "a.b.c");
    assert!(read("-c postern.token=a -c postern.token=b").is_err());
    for bad in [
        "-c role=postgres",
        "-crole=postgres",
        "--role=postgres",
        r"-c ro\le=postgres",
        "-c TimeZone=UTC -c session-authorization=postgres",
    ] {
        assert!(matches!(read(bad), Err(StartupError::Setting(_))), "{bad}");
    }
    for bad in [
        "-c",
        "-c role",
        "--",
        "-d 5",
        "TimeZone=UTC",
        r"-c TimeZone=UTC\",
        "-B 12",
        "-e",
    ] {
        assert_eq!(read(bad).unwrap_err(), StartupError::Options, "{bad}");
    }
}

#[test]
fn search_path_may_only_say_what_holds() {
    let with = |path: &str| startup(&[("user", "a"), ("search_path", path)]).unwrap();
    assert!(with("disco").check_search_path("disco").is_ok());
    assert!(with("\"disco\"").check_search_path("disco").is_ok());
    for bad in ["sys_account", "disco, sys_account", "", "pg_temp, disco"] {
        assert_eq!(with(bad).check_search_path("disco"), Err(StartupError::SearchPath), "{bad}");
    }
}

#[test]
fn a_token_is_not_in_debug_output() {
    let p = startup(&[("user", "a"), ("options", "-c postern.token=canary.token.text")]).unwrap();
    assert!(!format!("{p:?}").contains("canary"));
}

#[test]
fn noise_never_panics() {
    // A fixed linear congruence: reproducible noise without a dependency.
    let mut state = 0x2545_f491_4f6c_dd1du64;
    for len in 0..2_000usize {
        let mut bytes = Vec::with_capacity(len % 97);
        for _ in 0..len % 97 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            bytes.push((state >> 33) as u8);
        }
        if len % 3 == 0 && bytes.len() >= 4 {
            bytes[..4].copy_from_slice(&V3.to_be_bytes());
        }
        let _ = decode(&bytes);
    }
}
