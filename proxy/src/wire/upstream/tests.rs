use bytes::{BufMut, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::dialogue::{check_iterations, single_int8, sqlstate};
use super::*;
use crate::wire::message::{put, put_ready};
use crate::wire::scram::{ServerScram, Verifiers};
use rustls_pki_types::ServerName;

type Server = Talk<TcpStream>;

fn connector(ports: &[u16], tls: Option<(TlsConnector, ServerName<'static>)>) -> Connector {
    let (tls, name) = tls.unzip();
    let site = |port: &u16| {
        let host = Host::Tcp {
            host: "127.0.0.1".into(),
            port: *port,
        };
        let mut site = Site::new(&host, false).unwrap();
        site.name = name.clone();
        site
    };
    Connector {
        sites: ports.iter().map(site).collect(),
        attrs: SessionAttrs::Any,
        database: "postern".into(),
        limit: Duration::from_millis(1500),
        tls,
        binding: ChannelBinding::Prefer,
    }
}

/// Connects to a server that behaves as `script` says.
async fn against<F: Future<Output = ()> + Send + 'static>(
    tls: Option<(TlsConnector, ServerName<'static>)>,
    script: impl FnOnce(Server) -> F + Send + 'static,
) -> Result<Upstream, UpstreamError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = connector(&[listener.local_addr().unwrap().port()], tls);
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        script(Talk::new(stream, MAX_GREETING_BYTES)).await
    });
    let login = LoginName::new("disco_runtime").unwrap();
    let schema = Ident::new("disco").unwrap();
    let settings = [
        ("TimeZone", "Europe/Berlin".to_owned()),
        ("application_name", "psql".to_owned()),
    ];
    let who = ConnectAs {
        login: &login,
        password: "pencil",
        application_name: "psql",
        schema: &schema,
        settings: &settings,
        role: Some("disco_owner"),
    };
    let outcome = connector.connect(&who).await;
    server.abort();
    outcome
}

async fn startup(server: &mut Server) -> Bytes {
    let word = server.take(4).await.unwrap();
    let length = u32::from_be_bytes([word[0], word[1], word[2], word[3]]) as usize;
    server.take(length - 4).await.unwrap()
}

async fn send(server: &mut Server, kind: u8, body: &[u8]) {
    let mut out = BytesMut::new();
    put(&mut out, kind, |b| {
        b.put_slice(body);
        Ok(())
    })
    .unwrap();
    let _ = server.send(&out).await;
}

async fn authentication(server: &mut Server, code: i32, data: &[u8]) {
    let mut body = code.to_be_bytes().to_vec();
    body.extend_from_slice(data);
    send(server, b'R', &body).await;
}

/// SCRAM as an honest server that knows this password.
async fn scram(server: &mut Server, password: &str) {
    authentication(server, 10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0").await;
    let mut known = Verifiers::new([1; 32]);
    known.insert("disco_runtime", password).unwrap();
    let (_, body) = server.frame().await.unwrap();
    let (challenge, exchange) = ServerScram::default().begin(&body, &known.find("disco_runtime")).unwrap();
    authentication(server, 11, challenge.as_bytes()).await;
    let (_, body) = server.frame().await.unwrap();
    match exchange.finish(&body) {
        Ok(signature) => authentication(server, 12, signature.as_bytes()).await,
        Err(_) => send(server, b'E', b"SFATAL\0VFATAL\0C28P01\0Mno\0\0").await,
    }
}

async fn ready(server: &mut Server) {
    let mut out = BytesMut::new();
    put_ready(&mut out, b'I');
    let _ = server.send(&out).await;
}

async fn greeting(server: &mut Server) {
    authentication(server, 0, b"").await;
    send(server, b'S', b"TimeZone\0UTC\0").await;
    send(server, b'S', b"server_version\x0015.18\0").await;
    send(server, b'K', &[0, 0, 0, 42, 0, 0, 0, 7]).await;
    ready(server).await;
}

async fn idle(server: Server) {
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(server);
}

#[tokio::test]
async fn an_honest_server_is_accepted_and_known() {
    let upstream = against(None, |mut server| async move {
        let packet = startup(&mut server).await;
        let text: Vec<&str> = packet[4..]
            .split(|b| *b == 0)
            .map(|p| std::str::from_utf8(p).unwrap())
            .collect();
        for (name, value) in [
            ("user", "disco_runtime"),
            ("database", "postern"),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
            ("search_path", "\"disco\""),
            ("application_name", "psql"),
            ("TimeZone", "Europe/Berlin"),
        ] {
            assert_eq!(
                text.windows(2).filter(|w| w == &[name, value]).count(),
                1,
                "{name} in {text:?}"
            );
        }
        scram(&mut server, "pencil").await;
        greeting(&mut server).await;
        let (kind, sql) = server.frame().await.unwrap();
        assert_eq!(kind, b'Q');
        assert!(std::str::from_utf8(&sql).unwrap().ends_with("; SET ROLE \"disco_owner\"\0"));
        send(&mut server, b'C', b"BEGIN\0").await;
        send(&mut server, b'T', b"").await;
        send(&mut server, b'D', b"\0\x01\0\0\0\x101700000000123456").await;
        send(&mut server, b'C', b"SELECT 1\0").await;
        send(&mut server, b'S', b"TimeZone\0Europe/Berlin\0").await;
        ready(&mut server).await;
        idle(server).await
    })
    .await
    .unwrap();
    assert_eq!(
        (upstream.backend.pid, upstream.backend.start_micros),
        (42, 1_700_000_000_123_456)
    );
    assert_eq!(upstream.parameter("TimeZone"), Some("Europe/Berlin"));
    assert_eq!(upstream.parameters.len(), 2);
    assert!(
        upstream.cancel
            == UpstreamKey {
                host: 0,
                pid: 42,
                secret: 7
            }
    );
}

#[tokio::test]
async fn a_server_that_proves_nothing_is_refused() {
    for (code, data) in [
        (0, &b""[..]),
        (3, b""),
        (5, b"salt"),
        (7, b""),
        (10, b"SCRAM-SHA-256-PLUS\0\0"),
        (10, b"OTHER\0\0"),
        (10, b""),
    ] {
        let refused = against(None, move |mut server| async move {
            startup(&mut server).await;
            authentication(&mut server, code, data).await;
            greeting(&mut server).await;
            idle(server).await
        })
        .await
        .unwrap_err();
        assert!(matches!(refused, UpstreamError::Method { .. }), "{code}: {refused}");
    }
}

#[tokio::test]
async fn skipping_the_signature_is_noticed() {
    for early in [0, 12] {
        let refused = against(None, move |mut server| async move {
            startup(&mut server).await;
            authentication(&mut server, 10, b"SCRAM-SHA-256\0\0").await;
            server.frame().await.unwrap();
            authentication(&mut server, early, b"v=AAAA").await;
            greeting(&mut server).await;
            idle(server).await
        })
        .await
        .unwrap_err();
        assert!(matches!(refused, UpstreamError::Scram { .. }), "{refused}");
    }
    // A server that does not know the verifier cannot sign.
    let refused = against(None, |mut server| async move {
        startup(&mut server).await;
        authentication(&mut server, 10, b"SCRAM-SHA-256\0\0").await;
        let (_, first) = server.frame().await.unwrap();
        let nonce = std::str::from_utf8(&first).unwrap().rsplit("r=").next().unwrap().to_owned();
        authentication(
            &mut server,
            11,
            format!("r={nonce}x,s=AAAAAAAAAAAAAAAAAAAAAA==,i=4096").as_bytes(),
        )
        .await;
        server.frame().await.unwrap();
        authentication(&mut server, 12, b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").await;
        greeting(&mut server).await;
        idle(server).await
    })
    .await
    .unwrap_err();
    assert!(
        matches!(refused, UpstreamError::Scram { problem, .. } if problem.contains("does not know")),
        "{refused}"
    );
}

#[test]
fn iteration_counts_are_bounded_before_they_are_paid_for() {
    for good in ["4096", "15000", "100000"] {
        assert!(check_iterations(format!("r=a,s=b,i={good}").as_bytes()).is_ok());
    }
    for bad in ["0", "1", "4095", "100001", "4294967295", "99999999999", "-4096", "x", ""] {
        assert!(check_iterations(format!("r=a,s=b,i={bad}").as_bytes()).is_err(), "{bad}");
    }
    assert!(check_iterations(b"r=a,s=b").is_err());
    assert!(check_iterations(b"\xff").is_err());
}

#[tokio::test]
async fn a_wrong_password_says_where_to_look() {
    let refused = against(None, |mut server| async move {
        startup(&mut server).await;
        scram(&mut server, "other").await;
        idle(server).await
    })
    .await
    .unwrap_err();
    assert!(matches!(&refused, UpstreamError::Refused { sqlstate, .. } if sqlstate == "28P01"));
    assert!(refused.to_string().contains("NAME.upstream"));
    assert_eq!(refused.for_client().0, "57P03", "the client learns nothing of it");
}

#[tokio::test]
async fn errors_keep_their_sqlstate_only() {
    let refused = against(None, |mut server| async move {
        startup(&mut server).await;
        send(&mut server, b'E', b"SFATAL\0C53300\0Mcanary text\0\0").await;
        idle(server).await
    })
    .await
    .unwrap_err();
    assert_eq!(refused.for_client().0, "53300");
    assert!(!format!("{refused} {refused:?}").contains("canary"));
    assert_eq!(sqlstate(b"SFATAL\0C\0\0"), None);
    assert_eq!(sqlstate(b"SFATAL\0C123456\0\0"), None);
    assert_eq!(sqlstate(b"SFATAL\0C\xff\xff\xff\xff\xff\0\0"), None);
}

#[tokio::test]
async fn silence_and_noise_end_within_the_deadline() {
    let late = against(None, idle).await.unwrap_err();
    assert!(matches!(late, UpstreamError::Deadline { .. }), "{late}");
    for noise in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"R\0\0\0\x03",
        b"R\xff\xff\xff\xff",
        b"R\x7f\xff\xff\xff",
        b"Z\0\0\0\x05I",
        b"R\0\0\0\x04",
    ] {
        let refused = against(None, move |mut server| async move {
            startup(&mut server).await;
            let _ = server.send(noise).await;
            idle(server).await
        })
        .await
        .unwrap_err();
        assert!(
            matches!(refused, UpstreamError::Broken { .. } | UpstreamError::Protocol { .. }),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn the_greeting_must_be_whole() {
    let bodies: [(u8, &[u8]); 4] = [
        (b'K', b"\0\0\0\x2a"),
        (b'S', b"TimeZone"),
        (b'S', b"\xff\0\xff\0"),
        (b'D', b""),
    ];
    for (kind, body) in bodies {
        let refused = against(None, move |mut server| async move {
            startup(&mut server).await;
            scram(&mut server, "pencil").await;
            authentication(&mut server, 0, b"").await;
            send(&mut server, kind, body).await;
            idle(server).await
        })
        .await
        .unwrap_err();
        assert!(matches!(refused, UpstreamError::Protocol { .. }), "{refused}");
    }
    let keyless = against(None, |mut server| async move {
        startup(&mut server).await;
        scram(&mut server, "pencil").await;
        authentication(&mut server, 0, b"").await;
        ready(&mut server).await;
        idle(server).await
    })
    .await
    .unwrap_err();
    assert!(keyless.to_string().contains("no cancel key"));
}

#[test]
fn the_backends_start_is_one_whole_number() {
    assert_eq!(single_int8(b"\0\x01\0\0\0\x02-7"), Some(-7));
    for bad in [
        &b""[..],
        b"\0\x01",
        b"\0\x01\0\0\0\x027",
        b"\0\x01\xff\xff\xff\xff",
        b"\0\x02\0\0\0\x017",
        b"\0\x01\0\0\0\x01x",
        b"\0\x01\0\0\0\x0177",
    ] {
        assert_eq!(single_int8(bad), None, "{bad:?}");
    }
}

/// TLS that trusts exactly this certificate, for the name in it.
fn trusting(certificate_pem: &str, host: &str, name: &str) -> Option<(TlsConnector, ServerName<'static>)> {
    let path = std::env::temp_dir().join(format!("postern-upstream-{}-{name}.pem", std::process::id()));
    std::fs::write(&path, certificate_pem).unwrap();
    let connector = tls::client(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    Some((connector, ServerName::try_from(host.to_owned()).unwrap()))
}

#[tokio::test]
async fn tls_is_not_negotiable_once_configured() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let trust = || trusting(&made.cert.pem(), "127.0.0.1", "negotiable");
    for (answer, smuggled) in [(&b"N"[..], false), (b"E", false), (b"SR\0\0\0\x08\0\0\0\0", true)] {
        let refused = against(trust(), move |mut server| async move {
            assert_eq!(&server.take(8).await.unwrap()[..], [0, 0, 0, 8, 4, 210, 22, 47]);
            let _ = server.send(answer).await;
            idle(server).await
        })
        .await
        .unwrap_err();
        match answer {
            b"N" => assert!(matches!(refused, UpstreamError::TlsRefused(_)), "{refused}"),
            _ => assert!(matches!(refused, UpstreamError::Protocol { .. }), "{refused}"),
        }
        assert_eq!(refused.to_string().contains("ahead of the TLS handshake"), smuggled);
    }
}

#[tokio::test]
async fn the_certificate_must_be_trusted_and_name_the_host() {
    let made = rcgen::generate_simple_self_signed(vec!["db.example".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    for (trust, host) in [(&made.cert, "127.0.0.1"), (&other.cert, "127.0.0.1")] {
        let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let chain = vec![made.cert.der().clone()];
        let refused = against(trusting(&trust.pem(), host, "named"), move |mut server| async move {
            server.take(8).await.unwrap();
            server.send(b"S").await.unwrap();
            let (tcp, _) = server.into_parts();
            let config =
                rustls::ServerConfig::builder_with_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
                    .with_safe_default_protocol_versions()
                    .unwrap()
                    .with_no_client_auth()
                    .with_single_cert(chain, key)
                    .unwrap();
            let _ = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config)).accept(tcp).await;
        })
        .await
        .unwrap_err();
        assert!(matches!(refused, UpstreamError::Handshake { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_cancel_request_carries_the_servers_own_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = connector(&[listener.local_addr().unwrap().port()], None);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 16];
        stream.read_exact(&mut request).await.unwrap();
        stream.shutdown().await.unwrap();
        request
    });
    connector
        .cancel(UpstreamKey {
            host: 0,
            pid: 42,
            secret: -7,
        })
        .await
        .unwrap();
    assert_eq!(
        server.await.unwrap(),
        [0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 42, 255, 255, 255, 249]
    );
}

/// A server that has proven itself and then misbehaves: `script` follows AuthenticationOk.
async fn after_the_proof<F: Future<Output = Server> + Send + 'static>(
    script: impl FnOnce(Server) -> F + Send + 'static,
) -> UpstreamError {
    against(None, move |mut server| async move {
        startup(&mut server).await;
        scram(&mut server, "pencil").await;
        authentication(&mut server, 0, b"").await;
        idle(script(server).await).await
    })
    .await
    .unwrap_err()
}

fn breaks_the_protocol(error: &UpstreamError, problem: &str) {
    assert!(
        matches!(error, UpstreamError::Protocol { problem: found, .. } if found.contains(problem)),
        "{problem} expected: {error}"
    );
    assert!(!error.is_passing(), "trying again would not help");
}

#[tokio::test]
async fn hostile_challenges_cost_nothing() {
    for count in ["4294967295", "100001", "1", ""] {
        let refused = against(None, move |mut server| async move {
            startup(&mut server).await;
            authentication(&mut server, 10, b"SCRAM-SHA-256\0\0").await;
            let (_, first) = server.frame().await.unwrap();
            let nonce = std::str::from_utf8(&first).unwrap().rsplit("r=").next().unwrap().to_owned();
            let challenge = format!("r={nonce}x,s=AAAAAAAAAAAAAAAAAAAAAA==,i={count}");
            authentication(&mut server, 11, challenge.as_bytes()).await;
            idle(server).await
        });
        let began = Instant::now();
        let refused = refused.await.unwrap_err();
        assert!(
            matches!(refused, UpstreamError::Scram { problem, .. } if problem.contains("iteration count")),
            "{refused}"
        );
        assert!(began.elapsed() < Duration::from_secs(1), "{count}: nothing was derived");
    }
    for challenge in [
        &b""[..],
        b"r=",
        b"\xff\xff",
        b"i=4096",
        b"r=other,s=AAAA,i=4096",
        &[b'r'; 60_000],
    ] {
        let refused = against(None, move |mut server| async move {
            startup(&mut server).await;
            authentication(&mut server, 10, b"SCRAM-SHA-256\0\0").await;
            server.frame().await.unwrap();
            authentication(&mut server, 11, challenge).await;
            idle(server).await
        })
        .await
        .unwrap_err();
        assert!(matches!(refused, UpstreamError::Scram { .. }), "{refused}");
    }
}

#[tokio::test]
async fn errors_of_any_shape_are_errors() {
    for body in [
        &b""[..],
        b"\0",
        b"Mno\0\0",
        b"SFATAL\0C\0Mno\0\0",
        b"C12",
        b"\xff\xff\xff",
        b"C12345\0C1",
    ] {
        for early in [true, false] {
            let refused = if early {
                against(None, move |mut server| async move {
                    startup(&mut server).await;
                    send(&mut server, b'E', body).await;
                    idle(server).await
                })
                .await
                .unwrap_err()
            } else {
                after_the_proof(move |mut server| async move {
                    send(&mut server, b'E', body).await;
                    server
                })
                .await
            };
            match refused {
                UpstreamError::Refused { sqlstate, .. } => assert!(sqlstate == "XX000" || sqlstate == "12345", "{sqlstate}"),
                other => panic!("{other}"),
            }
        }
    }
}

#[tokio::test]
async fn unknown_messages_end_the_login() {
    for kind in *b"ACDGHIJTWdnst\0\xff" {
        let refused = after_the_proof(move |mut server| async move {
            send(&mut server, kind, b"\0\0\0\0").await;
            server
        })
        .await;
        breaks_the_protocol(&refused, "unexpected message");
    }
    let refused = against(None, |mut server| async move {
        startup(&mut server).await;
        scram(&mut server, "pencil").await;
        greeting(&mut server).await;
        server.frame().await.unwrap();
        send(&mut server, b'G', b"\0\0\0").await;
        idle(server).await
    })
    .await
    .unwrap_err();
    breaks_the_protocol(&refused, "unexpected message");
}

#[tokio::test]
async fn a_greeting_without_end_is_ended() {
    let flood = |kind: u8, body: &'static [u8]| {
        after_the_proof(move |mut server| async move {
            for _ in 0..1000 {
                send(&mut server, kind, body).await;
            }
            server
        })
    };
    breaks_the_protocol(&flood(b'N', b"SNOTICE\0\0").await, "never became ready");
    breaks_the_protocol(&flood(b'S', b"TimeZone\0UTC\0").await, "never became ready");
    // Parameters of ever new names take memory only up to their bound.
    let many = after_the_proof(|mut server| async move {
        for number in 0..200 {
            let body = format!("p{number}\0{}\0", "x".repeat(60_000));
            send(&mut server, b'S', body.as_bytes()).await;
        }
        server
    })
    .await;
    breaks_the_protocol(&many, "more parameters");
    let negotiating = against(None, |mut server| async move {
        startup(&mut server).await;
        for _ in 0..1000 {
            send(&mut server, b'v', &[0, 3, 0, 0, 0, 0, 0, 0]).await;
        }
        idle(server).await
    })
    .await
    .unwrap_err();
    breaks_the_protocol(&negotiating, "never asked");
    // A drop at a time is ended by the deadline.
    let slow = after_the_proof(|mut server| async move {
        for _ in 0..100 {
            send(&mut server, b'N', b"SNOTICE\0\0").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server
    })
    .await;
    assert!(matches!(slow, UpstreamError::Deadline { .. }), "{slow}");
}

/// Answers every login with this error until dropped; gives the port.
async fn refusing(sqlstate: &'static str) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut server = Talk::new(stream, MAX_GREETING_BYTES);
            startup(&mut server).await;
            send(&mut server, b'E', format!("SFATAL\0C{sqlstate}\0Mno\0\0").as_bytes()).await;
        }
    });
    (port, task)
}

#[tokio::test]
async fn hosts_are_tried_in_order_until_one_refuses_the_login_itself() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (starting, one) = refusing("57P03").await;
    let (strange, other) = refusing("28P01").await;
    let login = LoginName::new("disco").unwrap();
    let schema = Ident::new("disco").unwrap();
    let who = ConnectAs {
        login: &login,
        password: "pencil",
        application_name: "psql",
        schema: &schema,
        settings: &[],
        role: None,
    };
    let all = connector(&[unused, starting], None).connect(&who).await.unwrap_err();
    assert!(matches!(&all, UpstreamError::All(errors) if errors.len() == 2), "{all}");
    assert!(all.is_passing() && all.to_string().contains(&unused.to_string()));
    let refused = connector(&[unused, starting, strange, starting], None)
        .connect(&who)
        .await
        .unwrap_err();
    assert!(matches!(&refused, UpstreamError::Refused { sqlstate, .. } if sqlstate == "28P01"));
    assert!(!refused.is_passing());
    one.abort();
    other.abort();
}
