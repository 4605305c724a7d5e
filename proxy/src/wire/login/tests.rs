use std::sync::Arc;

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpListener;
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

/// A client's end of a connection whose other end greets and authenticates at this door.
async fn connect(door: Door) -> (TcpStream, tokio::task::JoinHandle<Result<Option<Client>, LoginError>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (theirs, peer) = listener.accept().await.unwrap();
    let task = tokio::spawn(async move {
        let greeting = match door.greet(theirs, peer).await? {
            Greeted::Cancel(_) => return Ok(None),
            Greeted::Login(greeting) => greeting,
        };
        let authenticated = door.authenticate(greeting).await?;
        let cancel = CancelKeys::default().register(SecretLength::Short).unwrap();
        authenticated
            .admit(&[("server_version".into(), "15.18".into())], cancel)
            .await
            .map(Some)
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
    let (kind, offered) = frame(stream).await;
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
    let client = task.await.unwrap().unwrap().unwrap();
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
async fn a_later_minor_version_is_negotiated() {
    let (mut stream, _task) = connect(door()).await;
    stream
        .write_all(&startup((3 << 16) + 2, &[("user", "disco"), ("_pq_.fancy", "1")]))
        .await
        .unwrap();
    let (kind, body) = frame(&mut stream).await;
    assert_eq!(kind, b'v');
    assert_eq!(body, b"\0\x03\0\0\0\0\0\x01_pq_.fancy\0");
    assert_eq!(
        scram(&mut stream, "SCRAM-SHA-256", ChannelBinding::unsupported(), b"pencil")
            .await
            .0,
        b'R'
    );
}

#[tokio::test]
async fn a_cancel_request_is_told_apart() {
    let (mut stream, task) = connect(door()).await;
    stream
        .write_all(&[0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 9, 1, 2, 3, 4])
        .await
        .unwrap();
    assert!(matches!(task.await.unwrap(), Ok(None)));
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
        let Greeted::Login(greeting) = door.greet(stream, peer).await.unwrap() else {
            panic!("not a login")
        };
        let cancel = CancelKeys::default().register(SecretLength::Short).unwrap();
        door.authenticate(greeting).await.unwrap().admit(&[], cancel).await.unwrap()
    });
    let url = format!("host=127.0.0.1 port={port} user=disco password=pencil dbname=postern");
    let (_client, _connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    assert_eq!(server.await.unwrap().startup.user, "disco");
}
