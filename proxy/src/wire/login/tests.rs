use std::sync::Arc;
use std::time::Duration;

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::*;
use crate::wire::cancel::{CancelKeys, SecretLength};
use crate::wire::tls;

const SSL: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
const GSS: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 48];

fn door() -> Door {
    let mut verifiers = Verifiers::new([5; 32]);
    verifiers.insert("disco", "pencil").unwrap();
    Door {
        tls: None,
        require_tls: false,
        verifiers,
    }
}

fn startup(version: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in pairs {
        for text in [name, value] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
    }
    body.push(0);
    let mut packet = (body.len() as u32 + 4).to_be_bytes().to_vec();
    packet.extend_from_slice(&body);
    packet
}

/// What a visitor turned out to be.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Came {
    In(Client),
    ToCancel(CancelKey),
}

type Visit = tokio::task::JoinHandle<Result<Came, LoginError>>;

/// A client's end of a connection whose other end greets and authenticates at this door.
async fn connect(door: Door) -> (TcpStream, Visit) {
    connect_until(door, Arc::default()).await
}

/// The same; a cancel request is done with when `passed_on` is told.
async fn connect_until(door: Door, passed_on: Arc<Notify>) -> (TcpStream, Visit) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (theirs, peer) = listener.accept().await.unwrap();
    let task = tokio::spawn(async move {
        let greeting = match door.greet(Stream::Plain(theirs), Peer::Remote(peer)).await? {
            Greeted::Cancel(request) => {
                let key = request.key().clone();
                passed_on.notified().await;
                request.done().await;
                return Ok(Came::ToCancel(key));
            }
            Greeted::Login(greeting) => greeting,
        };
        let authenticated = door.authenticate(greeting).await?;
        let cancel = CancelKeys::default().register(authenticated.secret_length()).unwrap();
        authenticated
            .admit(&[("server_version".into(), "15.18".into())], cancel)
            .await
            .map(Came::In)
    });
    (ours, task)
}

async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let kind = stream.read_u8().await.unwrap();
    let length = stream.read_u32().await.unwrap() as usize;
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await.unwrap();
    (kind, body)
}

/// SCRAM from the client's side; the final frame that decides.
async fn scram(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mechanism: &str,
    binding: ChannelBinding,
    password: &[u8],
) -> (u8, Vec<u8>) {
    let offered = frame(stream).await;
    prove(stream, offered, mechanism, binding, password).await
}

/// The same once the mechanisms have been offered.
async fn prove(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    (kind, offered): (u8, Vec<u8>),
    mechanism: &str,
    binding: ChannelBinding,
    password: &[u8],
) -> (u8, Vec<u8>) {
    assert_eq!((kind, &offered[..4]), (b'R', &10i32.to_be_bytes()[..]));
    assert!(
        offered[4..].split(|b| *b == 0).any(|m| m == mechanism.as_bytes()),
        "{mechanism} is not offered"
    );
    let mut client = ScramSha256::new(password, binding);
    let mut out = BytesMut::new();
    put(&mut out, b'p', |b| {
        put_text(b, mechanism);
        b.put_i32(client.message().len() as i32);
        b.put_slice(client.message());
        Ok(())
    })
    .unwrap();
    stream.write_all(&out).await.unwrap();
    let (kind, challenge) = frame(stream).await;
    if kind != b'R' {
        return (kind, challenge);
    }
    client.update(&challenge[4..]).unwrap();
    out.clear();
    put(&mut out, b'p', |b| {
        b.put_slice(client.message());
        Ok(())
    })
    .unwrap();
    stream.write_all(&out).await.unwrap();
    let (kind, last) = frame(stream).await;
    if kind == b'R' {
        client.finish(&last[4..]).unwrap();
    }
    (kind, last)
}

/// The whole login of `disco` by protocol 3.`minor`: the body of NegotiateProtocolVersion where there was one, and the cancel key.
async fn log_in(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), minor: u32, options: &[&str]) -> (Option<Vec<u8>>, Vec<u8>) {
    let mut pairs = vec![("user", "disco")];
    pairs.extend(options.iter().map(|o| (*o, "1")));
    stream.write_all(&startup((3 << 16) + minor, &pairs)).await.unwrap();
    let (mut first, mut told) = (frame(stream).await, None);
    if first.0 == b'v' {
        told = Some(first.1);
        first = frame(stream).await;
    }
    let (kind, _) = prove(stream, first, "SCRAM-SHA-256", ChannelBinding::unsupported(), b"pencil").await;
    assert_eq!(kind, b'R');
    let mut key = None;
    loop {
        match frame(stream).await {
            (b'K', body) => key = Some(body),
            (b'Z', _) => return (told, key.expect("BackendKeyData comes before ReadyForQuery")),
            (b'R' | b'S', _) => {}
            (other, _) => panic!("{:?} during the login", char::from(other)),
        }
    }
}

fn cancel_request(secret: &[u8]) -> Vec<u8> {
    let mut packet = (12 + secret.len() as u32).to_be_bytes().to_vec();
    packet.extend_from_slice(&[4, 210, 22, 46, 0, 0, 0, 9]);
    packet.extend_from_slice(secret);
    packet
}

fn fields(body: &[u8]) -> Vec<String> {
    body.split(|b| *b == 0)
        .filter(|f| !f.is_empty())
        .map(|f| String::from_utf8(f.to_vec()).unwrap())
        .collect()
}

#[tokio::test]
async fn the_right_password_is_let_in_and_told_its_key() {
    let (mut stream, task) = connect(door()).await;
    stream.write_all(SSL).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'N');
    stream.write_all(GSS).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'N');
    stream
        .write_all(&startup(3 << 16, &[("user", "disco"), ("database", "postern")]))
        .await
        .unwrap();
    assert_eq!(
        scram(&mut stream, "SCRAM-SHA-256", ChannelBinding::unsupported(), b"pencil")
            .await
            .0,
        b'R'
    );
    assert_eq!(frame(&mut stream).await, (b'R', vec![0; 4]));
    assert_eq!(frame(&mut stream).await, (b'S', b"server_version\x0015.18\0".to_vec()));
    let (kind, key) = frame(&mut stream).await;
    assert_eq!((kind, key.len()), (b'K', 8));
    assert_eq!(frame(&mut stream).await, (b'Z', b"I".to_vec()));
    let Came::In(client) = task.await.unwrap().unwrap() else {
        panic!("it did not come to cancel")
    };
    assert_eq!(client.startup.database, "postern");
    assert_eq!(client.cancel.key().id.to_be_bytes(), key[..4]);
    assert!(client.leftover.is_empty() && !client.stream.is_tls());
}

#[tokio::test]
async fn an_unknown_login_and_a_wrong_password_are_one_answer() {
    let mut answers = Vec::new();
    for user in ["disco", "nobody"] {
        let (mut stream, task) = connect(door()).await;
        stream.write_all(&startup(3 << 16, &[("user", user)])).await.unwrap();
        let (kind, body) = scram(&mut stream, "SCRAM-SHA-256", ChannelBinding::unsupported(), b"pencils").await;
        assert_eq!(kind, b'E');
        answers.push(fields(&body).join("|").replace(user, "NAME"));
        assert!(matches!(task.await.unwrap(), Err(LoginError::Password(_))));
    }
    assert_eq!(
        answers[0],
        "SFATAL|VFATAL|C28P01|Mpassword authentication failed for user \"NAME\""
    );
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn bytes_ahead_of_tls_end_the_connection() {
    for request in [SSL, GSS] {
        let mut smuggled = request.to_vec();
        smuggled.extend_from_slice(&startup(3 << 16, &[("user", "disco")]));
        let (mut stream, task) = connect(door()).await;
        stream.write_all(&smuggled).await.unwrap();
        assert!(matches!(task.await.unwrap(), Err(LoginError::BytesBeforeTls)));
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "nothing is answered");
    }
}

#[tokio::test]
async fn garbage_is_closed_and_what_can_be_told_is_told() {
    for (bytes, told) in [
        (&[0, 0, 0, 3, 0, 0, 0, 0][..], None),
        (&[0xff; 12], None),
        (&[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0], None),
        (b"\x16\x03\x01\x02\x00\x01\x00", None),
        (&startup(2 << 16, &[("user", "disco")]), Some("C0A000")),
        (
            &startup(3 << 16, &[("user", "disco"), ("replication", "database")]),
            Some("C0A000"),
        ),
        (
            &startup(3 << 16, &[("user", "disco"), ("options", "-c role=postgres")]),
            Some("C42501"),
        ),
        (
            &startup(3 << 16, &[("user", "disco"), ("client_encoding", "LATIN1")]),
            Some("C22023"),
        ),
        (&startup(3 << 16, &[]), Some("C28000")),
    ] {
        let (mut stream, task) = connect(door()).await;
        stream.write_all(bytes).await.unwrap();
        assert!(task.await.unwrap().is_err());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        match told {
            None => assert!(answer.is_empty(), "{bytes:?}"),
            Some(code) => assert!(
                answer[0] == b'E' && fields(&answer[5..]).contains(&code.to_owned()),
                "{code}: {answer:?}"
            ),
        }
    }
}

#[tokio::test]
async fn versions_are_negotiated_and_the_login_goes_on() {
    let told = |minor: u8, options: &[&str]| {
        let mut body = vec![0, 3, 0, minor, 0, 0, 0, options.len() as u8];
        for option in options {
            body.extend_from_slice(option.as_bytes());
            body.push(0);
        }
        Some(body)
    };
    let fancy = ["_pq_.fancy", "_pq_.x"];
    for (minor, options, expected, secret) in [
        (0, &[][..], None, 4),
        (0, &fancy[..], told(0, &fancy), 4),
        // 3.1 was never given out.
        (1, &[], told(0, &[]), 4),
        (2, &[], None, 32),
        (2, &fancy[..1], told(2, &fancy[..1]), 32),
        (3, &[], told(2, &[]), 32),
        (9999, &fancy, told(2, &fancy), 32),
        (0xffff, &[], told(2, &[]), 32),
    ] {
        let (mut stream, task) = connect(door()).await;
        let (answer, key) = log_in(&mut stream, minor, options).await;
        assert_eq!(answer, expected, "3.{minor} {options:?}");
        assert_eq!(key.len(), 4 + secret, "3.{minor}");
        let Came::In(client) = task.await.unwrap().unwrap() else {
            panic!("it did not come to cancel")
        };
        let held = client.cancel.key();
        assert_eq!(key, [&held.id.to_be_bytes()[..], &held.secret].concat());
    }
}

#[tokio::test]
async fn what_was_negotiated_is_told_before_a_refusal() {
    let (mut stream, task) = connect(door()).await;
    stream.write_all(&startup((3 << 16) + 7, &[("user", "disco")])).await.unwrap();
    assert_eq!(frame(&mut stream).await.0, b'v');
    let (kind, body) = scram(&mut stream, "SCRAM-SHA-256", ChannelBinding::unsupported(), b"wrong").await;
    assert!(kind == b'E' && fields(&body).contains(&"C28P01".to_owned()));
    assert!(matches!(task.await.unwrap(), Err(LoginError::Password(_))));
}

#[tokio::test]
async fn a_cancel_request_is_told_apart_and_ends_when_it_is_passed_on() {
    for (bytes, good) in [(3, false), (4, true), (32, true), (256, true), (257, false)] {
        let passed_on = Arc::new(Notify::new());
        let (mut stream, task) = connect_until(door(), Arc::clone(&passed_on)).await;
        let secret = vec![7; bytes];
        stream.write_all(&cancel_request(&secret)).await.unwrap();
        if !good {
            assert!(task.await.unwrap().is_err(), "{bytes} bytes of secret");
            continue;
        }
        let early = timeout(Duration::from_millis(50), stream.read_u8()).await;
        assert!(early.is_err(), "it ends before the request is passed on");
        passed_on.notify_one();
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        let Came::ToCancel(key) = task.await.unwrap().unwrap() else {
            panic!("it came to cancel")
        };
        assert!(key.id == 9 && *key.secret == secret);
    }
}

#[tokio::test]
async fn a_cancel_request_may_come_under_tls() {
    for direct in [false, true] {
        let (door, connector, _) = tls_door(&format!("cancel-{direct}"));
        let passed_on = Arc::new(Notify::new());
        passed_on.notify_one();
        let (mut tcp, task) = connect_until(door, passed_on).await;
        if !direct {
            tcp.write_all(SSL).await.unwrap();
            assert_eq!(tcp.read_u8().await.unwrap(), b'S');
        }
        let mut stream = with_alpn(&connector, &["postgresql"])
            .connect("localhost".try_into().unwrap(), tcp)
            .await
            .unwrap();
        stream.write_all(&cancel_request(&[5; 32])).await.unwrap();
        // An end in order (close_notify), not a broken connection: libpq tells the two apart.
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        assert!(matches!(task.await.unwrap(), Ok(Came::ToCancel(key)) if *key.secret == [5; 32]));
    }
}

#[tokio::test]
async fn messages_during_the_login_are_bounded() {
    for bad in [&b"p\0\0\x27\x11"[..], b"p\xff\xff\xff\xff", b"p\0\0\0\x03", b"Q\0\0\0\x05\0"] {
        let (mut stream, task) = connect(door()).await;
        stream.write_all(&startup(3 << 16, &[("user", "disco")])).await.unwrap();
        frame(&mut stream).await;
        stream.write_all(bad).await.unwrap();
        assert!(task.await.unwrap().is_err(), "{bad:?}");
    }
}

/// A door with a certificate for `localhost`, a client that trusts it, and the certificate's bytes.
fn tls_door(name: &str) -> (Door, TlsConnector, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let dir = std::env::temp_dir().join(format!("postern-door-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let files = postern_config::settings::TlsFiles {
        certificate: dir.join("cert.pem"),
        key: dir.join("key.pem"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&files.key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let door = Door {
        tls: Some(tls::server(&files).unwrap()),
        require_tls: true,
        ..door()
    };
    let connector = tls::client(&files.certificate).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    (door, connector, made.cert.der().to_vec())
}

fn with_alpn(connector: &TlsConnector, names: &[&str]) -> TlsConnector {
    let mut config = rustls::ClientConfig::clone(connector.config());
    config.alpn_protocols = names.iter().map(|n| n.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn direct_tls_needs_the_protocols_name() {
    for (names, direct, passes) in [
        (&["postgresql"][..], true, true),
        (&["http/1.1", "postgresql"], true, true),
        (&[], true, false),
        (&["http/1.1"], true, false),
        // Behind an SSLRequest, which no browser sends, a client may leave ALPN out; a wrong name is wrong there too.
        (&["postgresql"], false, true),
        (&[], false, true),
        (&["http/1.1"], false, false),
    ] {
        let (door, connector, _) = tls_door(&format!("alpn-{direct}-{}", names.join("-").replace('/', "_")));
        let (mut tcp, task) = connect(door).await;
        if !direct {
            tcp.write_all(SSL).await.unwrap();
            assert_eq!(tcp.read_u8().await.unwrap(), b'S');
        }
        let handshake = with_alpn(&connector, names)
            .connect("localhost".try_into().unwrap(), tcp)
            .await;
        if passes {
            let (told, key) = log_in(&mut handshake.unwrap(), 2, &[]).await;
            assert!(told.is_none() && key.len() == 36);
            assert!(matches!(task.await.unwrap(), Ok(Came::In(client)) if client.stream.is_tls()));
            continue;
        }
        if let Ok(mut stream) = handshake {
            let _ = stream.write_all(&startup(3 << 16, &[("user", "disco")])).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.is_empty(), "{names:?}: nothing is answered");
        }
        let error = task.await.unwrap().err().unwrap();
        let expected = match names {
            [] => matches!(error, LoginError::DirectTls(_)),
            _ => matches!(error, LoginError::Handshake(_)),
        };
        assert!(expected, "{names:?} {direct}: {error}");
    }
}

#[tokio::test]
async fn direct_tls_may_arrive_byte_by_byte() {
    let (door, connector, _) = tls_door("bytes");
    let (tcp, task) = connect(door).await;
    tcp.set_nodelay(true).unwrap();
    let (ours, mut between) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        let (mut from, mut to) = tcp.into_split();
        let (mut read, mut write) = tokio::io::split(&mut between);
        let up = async {
            let mut byte = [0];
            while read.read_exact(&mut byte).await.is_ok() {
                to.write_all(&byte).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let _ = tokio::join!(up, tokio::io::copy(&mut from, &mut write));
    });
    let mut stream = with_alpn(&connector, &["postgresql"])
        .connect("localhost".try_into().unwrap(), ours)
        .await
        .unwrap();
    assert_eq!(log_in(&mut stream, 0, &[]).await.1.len(), 8);
    assert!(task.await.unwrap().is_ok());
}

#[tokio::test]
async fn direct_tls_where_there_is_no_certificate_is_closed() {
    let (_, connector, _) = tls_door("none");
    let (tcp, task) = connect(door()).await;
    let handshake = with_alpn(&connector, &["postgresql"]).connect("localhost".try_into().unwrap(), tcp);
    assert!(handshake.await.is_err());
    assert!(matches!(task.await.unwrap(), Err(LoginError::DirectTls(_))));
}

#[tokio::test]
async fn encryption_is_asked_for_once_each_in_any_order() {
    // A refused GSSENCRequest, then TLS: what libpq does with gssencmode=prefer.
    let (door, connector, _) = tls_door("order");
    let (mut tcp, task) = connect(door).await;
    tcp.write_all(GSS).await.unwrap();
    assert_eq!(tcp.read_u8().await.unwrap(), b'N');
    tcp.write_all(SSL).await.unwrap();
    assert_eq!(tcp.read_u8().await.unwrap(), b'S');
    let mut stream = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    log_in(&mut stream, 0, &[]).await;
    assert!(task.await.unwrap().is_ok());

    // A second time is no protocol, in the clear or under TLS.
    for request in [SSL, GSS] {
        let (mut stream, task) = connect(self::door()).await;
        stream.write_all(request).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'N');
        stream.write_all(request).await.unwrap();
        let (kind, body) = frame(&mut stream).await;
        assert!(kind == b'E' && fields(&body).contains(&"C08P01".to_owned()));
        assert!(task.await.unwrap().is_err());
    }
    let (door, connector, _) = tls_door("twice");
    let (tcp, task) = connect(door).await;
    let mut stream = with_alpn(&connector, &["postgresql"])
        .connect("localhost".try_into().unwrap(), tcp)
        .await
        .unwrap();
    stream.write_all(SSL).await.unwrap();
    assert_eq!(frame(&mut stream).await.0, b'E');
    assert!(task.await.unwrap().is_err());
}

#[tokio::test]
async fn bytes_ahead_of_tls_end_the_connection_where_there_is_a_certificate_too() {
    let (door, ..) = tls_door("ahead");
    let (mut stream, task) = connect(door).await;
    stream
        .write_all(&[SSL, &startup(3 << 16, &[("user", "disco")])].concat())
        .await
        .unwrap();
    assert!(matches!(task.await.unwrap(), Err(LoginError::BytesBeforeTls)));
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "nothing is answered");
}

#[tokio::test]
async fn under_tls_the_proof_can_be_bound_to_the_certificate() {
    for (mechanism, bound, passes) in [
        ("SCRAM-SHA-256-PLUS", true, true),
        ("SCRAM-SHA-256", false, true),
        ("SCRAM-SHA-256-PLUS", false, false),
    ] {
        let (door, connector, certificate) = tls_door(&format!("{mechanism}-{bound}"));
        let (mut tcp, task) = connect(door).await;
        tcp.write_all(SSL).await.unwrap();
        assert_eq!(tcp.read_u8().await.unwrap(), b'S');
        let mut stream = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
        stream.write_all(&startup(3 << 16, &[("user", "disco")])).await.unwrap();
        let binding = match (mechanism, bound) {
            ("SCRAM-SHA-256-PLUS", true) => ChannelBinding::tls_server_end_point(Sha256::digest(&certificate).to_vec()),
            // What somebody in between with a certificate of their own would bind to.
            ("SCRAM-SHA-256-PLUS", false) => ChannelBinding::tls_server_end_point(vec![7; 32]),
            _ => ChannelBinding::unsupported(),
        };
        let (kind, _) = scram(&mut stream, mechanism, binding, b"pencil").await;
        assert_eq!(kind == b'R', passes, "{mechanism} {bound}");
        assert_eq!(task.await.unwrap().is_ok(), passes);
    }
}

#[tokio::test]
async fn where_tls_is_required_the_clear_is_refused() {
    let (door, ..) = tls_door("required");
    let (mut stream, task) = connect(door).await;
    stream.write_all(&startup(3 << 16, &[("user", "disco")])).await.unwrap();
    let (kind, body) = frame(&mut stream).await;
    assert_eq!(kind, b'E');
    assert!(fields(&body).iter().any(|f| f == "C28000") && fields(&body).iter().any(|f| f.starts_with('H')));
    assert!(matches!(task.await.unwrap(), Err(LoginError::TlsRequired)));
}

#[tokio::test]
async fn a_downgrade_of_channel_binding_is_noticed() {
    let (door, connector, _) = tls_door("downgrade");
    let (mut tcp, task) = connect(door).await;
    tcp.write_all(SSL).await.unwrap();
    assert_eq!(tcp.read_u8().await.unwrap(), b'S');
    let mut stream = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    stream.write_all(&startup(3 << 16, &[("user", "disco")])).await.unwrap();
    // "y": the client could bind, and was told that we cannot. We can.
    assert_eq!(
        scram(&mut stream, "SCRAM-SHA-256", ChannelBinding::unrequested(), b"pencil")
            .await
            .0,
        b'E'
    );
    assert!(matches!(task.await.unwrap(), Err(LoginError::Scram(ScramError::Message))));
}

#[tokio::test]
async fn a_real_driver_gets_in() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let door = Arc::new(door());
    let server = tokio::spawn(async move {
        let (stream, peer) = listener.accept().await.unwrap();
        let Greeted::Login(greeting) = door.greet(Stream::Plain(stream), Peer::Remote(peer)).await.unwrap() else {
            panic!("not a login")
        };
        let cancel = CancelKeys::default().register(SecretLength::Short).unwrap();
        door.authenticate(greeting).await.unwrap().admit(&[], cancel).await.unwrap()
    });
    let url = format!("host=127.0.0.1 port={port} user=disco password=pencil dbname=postern");
    let (_client, _connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    assert_eq!(server.await.unwrap().startup.user, "disco");
}

#[tokio::test]
async fn through_a_unix_socket_there_is_no_tls_and_none_is_required() {
    let (door, ..) = tls_door("local");
    let (mut ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let task = tokio::spawn(async move {
        let Greeted::Login(greeting) = door.greet(Stream::Unix(theirs), Peer::Local).await? else {
            panic!("not a login")
        };
        door.authenticate(greeting).await.map(drop)
    });
    ours.write_all(SSL).await.unwrap();
    assert_eq!(ours.read_u8().await.unwrap(), b'N');
    ours.write_all(&startup(3 << 16, &[("user", "disco")])).await.unwrap();
    // Bound to the certificate it cannot be: the client has not seen one.
    let (kind, offered) = frame(&mut ours).await;
    assert!(kind == b'R' && offered[4..] == *b"SCRAM-SHA-256\0\0");
    drop(ours);
    assert!(matches!(task.await.unwrap(), Err(LoginError::Talk(_))));

    let (door, ..) = tls_door("local-direct");
    let (mut ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    ours.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    assert!(matches!(
        door.greet(Stream::Unix(theirs), Peer::Local).await.err(),
        Some(LoginError::DirectTls(_))
    ));
}
