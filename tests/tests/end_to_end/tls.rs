//! TLS towards clients, and protocol 3.2: psql by SSLRequest, a client of our own by direct TLS (libpq has had it since 17), cancels with
//! long keys, and what a proxy that requires TLS refuses.

use std::io::{Read, Write};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use postern_tests::connection::{Connection, Failure};
use postern_tests::kept::Kept;
use postern_tests::message::{CANCEL_CODE, Frame, VERSION_3_0, cstring, error_fields, message, startup_message};
use postern_tests::product::{copy_directory, free_port, log_file, postern, write_secret};
use postern_tests::stand::{Stand, eventually};
use postern_tests::target::Target;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const VERSION_3_2: i32 = VERSION_3_0 + 2;
const SSL_REQUEST: i32 = 80_877_103;
/// `[limits] login_timeout_seconds` here.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(3);
const SLOW: &str = "SELECT count(*) FROM generate_series(1, 40000000) a";

/// A proxy before the stand's database that has a certificate for `localhost` and requires TLS.
struct Proxy {
    port: u16,
    /// The certificate, which is its own CA.
    certificate: String,
    kept: Kept,
}

impl Proxy {
    /// The one of this test binary, started by whoever asks first.
    fn shared(stand: &Stand) -> &'static Self {
        static PROXY: OnceLock<Proxy> = OnceLock::new();
        PROXY.get_or_init(|| Self::start(stand))
    }

    fn start(stand: &Stand) -> Self {
        let from = stand.config_file();
        let to = stand.dir.join("tls-config");
        copy_directory(from.parent().expect("a file lies in a directory"), &to);
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate is made");
        std::fs::write(to.join("server.pem"), made.cert.pem()).expect("the certificate is written");
        write_secret(&to.join("server.key"), &made.signing_key.serialize_pem());
        let config = to.join("postern.toml");
        let text = std::fs::read_to_string(&config).expect("the demo's configuration can be read");
        let mut settings: toml::Table = text.parse().expect("the demo's configuration is TOML");
        let (port, admin) = (free_port(), free_port());
        let changes = format!(
            "[listen]\naddress = \"127.0.0.1:{port}\"\nrequire_tls = true\n\
             tls = {{ certificate = {:?}, key = {:?} }}\n\
             [admin]\naddress = \"127.0.0.1:{admin}\"\n[limits]\nlogin_timeout_seconds = {}\n",
            to.join("server.pem"),
            to.join("server.key"),
            LOGIN_TIMEOUT.as_secs()
        );
        for (name, change) in changes.parse::<toml::Table>().expect("TOML") {
            let section = settings.entry(name).or_insert_with(|| toml::Table::new().into());
            let (Some(section), toml::Value::Table(change)) = (section.as_table_mut(), change) else {
                panic!("sections are tables")
            };
            section.extend(change);
        }
        std::fs::write(&config, settings.to_string()).expect("the configuration is written");
        let file = config.to_str().expect("the temporary directory's name is UTF-8");
        let binary = postern().to_str().expect("the target directory's name is UTF-8");
        let kept = Kept::start(&[binary, "serve", "--config", file], &log_file("tls"), None);
        let listening = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
        if eventually(Duration::from_secs(60), || kept.alive().then(listening).flatten()).is_none() {
            panic!("the proxy does not listen; its output:\n{}", kept.log_text());
        }
        Self {
            port,
            certificate: made.cert.pem(),
            kept,
        }
    }

    fn target(&self, stand: &Stand) -> Target {
        stand.login("evilmod").on_port(self.port)
    }

    fn tcp(&self) -> std::net::TcpStream {
        let tcp = std::net::TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        tcp.set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a deadline can be set");
        tcp.set_nodelay(true).expect("an option can be set");
        tcp
    }

    /// TLS, with these protocol names, at once or after an SSLRequest. The handshake has been done.
    fn tls(&self, direct: bool, names: &[&str]) -> std::io::Result<Tls> {
        let mut tcp = self.tcp();
        if !direct {
            tcp.write_all(&[8_i32.to_be_bytes(), SSL_REQUEST.to_be_bytes()].concat())?;
            let mut answer = [0];
            tcp.read_exact(&mut answer)?;
            assert_eq!(answer, *b"S");
        }
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("it is PEM");
        roots.add(certificate).expect("it can be a root");
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring offers TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = names.iter().map(|n| n.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(session, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Tls { stream, key: Vec::new() })
    }

    /// Whether a cancel request with this key, sent by this road, ends as PostgreSQL's does: without a word.
    fn cancel(&self, direct: bool, key: &[u8]) -> bool {
        let mut c = self.tls(direct, &["postgresql"]).expect("TLS");
        let length = i32::try_from(8 + key.len()).expect("a key is short");
        c.stream
            .write_all(&[&length.to_be_bytes()[..], &CANCEL_CODE.to_be_bytes(), key].concat())
            .expect("sent");
        let mut rest = Vec::new();
        c.stream.read_to_end(&mut rest).is_ok() && rest.is_empty()
    }
}

/// A client under TLS.
struct Tls {
    stream: StreamOwned<ClientConnection, std::net::TcpStream>,
    /// BackendKeyData.
    key: Vec<u8>,
}

impl Tls {
    fn receive(&mut self) -> std::io::Result<Frame> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body)?;
        Ok(Frame { kind: head[0], body })
    }

    /// Up to and including ReadyForQuery: the kinds of the messages, and the first error's SQLSTATE.
    fn answer(&mut self) -> (String, Option<String>) {
        let (mut kinds, mut sqlstate) = (String::new(), None);
        loop {
            let frame = self.receive().expect("an answer");
            kinds.push(char::from(frame.kind));
            match frame.kind {
                b'E' => sqlstate = Some(error_fields(&frame.body).sqlstate().to_owned()),
                b'Z' => return (kinds, sqlstate),
                _ => {}
            }
        }
    }

    fn query(&mut self, sql: &str) {
        self.stream.write_all(&message(b'Q', &cstring(sql))).expect("sent");
        self.stream.flush().expect("sent");
    }

    fn log_in(&mut self, target: &Target, version: i32) {
        let startup = startup_message(version, &[("user", &target.user), ("database", &target.database)]);
        self.stream.write_all(&startup).expect("sent");
        let mut scram = ScramSha256::new(target.password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let frame = self.receive().expect("the login goes on");
            match (frame.kind, frame.body.first_chunk::<4>().map(|c| i32::from_be_bytes(*c))) {
                (b'R', Some(10)) => {
                    let mut body = cstring(SCRAM_SHA_256);
                    body.extend(i32::try_from(scram.message().len()).expect("it is short").to_be_bytes());
                    body.extend(scram.message());
                    self.stream.write_all(&message(b'p', &body)).expect("sent");
                }
                (b'R', Some(11)) => {
                    scram.update(&frame.body[4..]).expect("a challenge");
                    self.stream.write_all(&message(b'p', scram.message())).expect("sent");
                }
                (b'R', Some(12)) => scram.finish(&frame.body[4..]).expect("the proxy knows the password too"),
                (b'K', _) => self.key = frame.body,
                (b'Z', _) => return,
                (b'E', _) => panic!("{}", error_fields(&frame.body)),
                _ => {}
            }
        }
    }
}

fn psql(proxy: &Proxy, target: &Target, sslmode: &str, root: Option<&str>) -> Output {
    let mut command = Command::new("psql");
    command.args([
        "--no-psqlrc",
        "--no-align",
        "--tuples-only",
        "--command",
        r"\conninfo",
        "--command",
        "SELECT 40 + 2",
    ]);
    command.envs(target.environment());
    command
        .env("PGHOST", "localhost")
        .env("PGHOSTADDR", "127.0.0.1")
        .env("PGSSLMODE", sslmode);
    if let Some(root) = root {
        let file = postern_tests::product::fresh_directory("root").join("root.pem");
        std::fs::write(&file, root).expect("written");
        command.env("PGSSLROOTCERT", &file);
        let output = command.output().expect("psql can be started");
        let _ = std::fs::remove_dir_all(file.parent().expect("a file lies in a directory"));
        return output;
    }
    assert!(proxy.kept.alive());
    command.output().expect("psql can be started")
}

#[test]
fn psql_verifies_the_certificate_and_the_clear_is_refused() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::shared(stand);
    let target = proxy.target(stand);
    let said = |o: &Output| format!("{}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));

    let verified = psql(proxy, &target, "verify-full", Some(&proxy.certificate));
    let text = said(&verified);
    assert!(
        verified.status.success() && text.contains("42") && text.contains("TLSv1.3"),
        "{text}"
    );

    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate is made");
    let stranger = psql(proxy, &target, "verify-full", Some(&other.cert.pem()));
    assert!(
        !stranger.status.success() && !said(&stranger).contains("42\n"),
        "{}",
        said(&stranger)
    );

    let clear = psql(proxy, &target, "disable", None);
    assert!(
        !clear.status.success() && said(&clear).contains("requires TLS"),
        "{}",
        said(&clear)
    );
    match Connection::open(&target) {
        Err(Failure::Server(e)) => {
            assert_eq!(e.sqlstate(), "28000");
            assert!(e.hint().contains("sslmode=require"), "{e}");
        }
        Err(Failure::Io(e)) => panic!("the reason is not told: {e}"),
        Ok(_) => panic!("a login in the clear was let in"),
    }
}

#[test]
fn direct_tls_needs_alpn() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::shared(stand);
    let target = proxy.target(stand);

    let mut c = proxy.tls(true, &["postgresql"]).expect("TLS");
    c.log_in(&target, VERSION_3_0);
    assert_eq!(c.key.len(), 8);
    c.query("SELECT 1");
    assert_eq!(c.answer(), ("TDCZ".to_owned(), None));

    let mut nameless = proxy.tls(true, &[]).expect("TLS");
    let _ = nameless
        .stream
        .write_all(&startup_message(VERSION_3_0, &[("user", &target.user)]));
    assert!(nameless.receive().is_err(), "direct TLS without ALPN is answered");
    let other = proxy.tls(true, &["http/1.1"]).and_then(|mut c| c.receive());
    assert!(other.is_err(), "another protocol's client is answered");
}

#[test]
fn long_keys_cancel_under_tls_and_guesses_do_not() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::shared(stand);
    for direct in [false, true] {
        let mut c = proxy.tls(direct, &["postgresql"]).expect("TLS");
        c.log_in(&proxy.target(stand), VERSION_3_2);
        assert_eq!(c.key.len(), 4 + 32, "protocol 3.2 has long keys");

        c.query("SELECT count(*) FROM generate_series(1, 300000) a");
        let mut guess = c.key.clone();
        guess[35] ^= 1;
        let mut longest = c.key.clone();
        longest.resize(4 + 256, 0);
        for wrong in [&guess[..], &c.key[..8], &longest] {
            assert!(proxy.cancel(direct, wrong), "a guess is answered as a right key is");
        }
        assert_eq!(c.answer().1, None, "a guessed key cancelled");

        c.query(SLOW);
        std::thread::sleep(Duration::from_millis(300));
        let (began, key) = (Instant::now(), c.key.clone());
        assert!(proxy.cancel(direct, &key));
        assert_eq!(c.answer().1.as_deref(), Some("57014"));
        assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
        c.query("SELECT 1");
        assert_eq!(c.answer().1, None);
    }
}

#[test]
fn a_login_that_dawdles_ends_and_keeps_nobody_out() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let proxy = Proxy::shared(stand);
    let target = proxy.target(stand);
    let startup = startup_message(VERSION_3_0, &[("user", &target.user), ("database", &target.database)]);
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let began = Instant::now();
    // A byte now and then, of a packet in the clear or of a handshake; and some that say nothing at all.
    let mut slow: Vec<_> = (0..30).map(|_| proxy.tcp()).collect();
    let mut ended = vec![None; slow.len()];
    let mut turn = 0;
    while ended.iter().any(Option::is_none) {
        assert!(began.elapsed() < LOGIN_TIMEOUT * 5, "{ended:?}");
        for (number, tcp) in slow.iter_mut().enumerate().filter(|(n, _)| n % 3 > 0) {
            let bytes = if number % 3 == 1 { &startup[..] } else { &hello[..] };
            let _ = tcp.write_all(&bytes[turn.min(bytes.len() - 1)..][..1]);
        }
        for (tcp, ended) in slow.iter_mut().zip(&mut ended).filter(|(_, e)| e.is_none()) {
            tcp.set_read_timeout(Some(Duration::from_millis(1)))
                .expect("a deadline can be set");
            match tcp.read(&mut [0]) {
                Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Ok(n) if n > 0 => panic!("a login that is not complete is answered"),
                _ => *ended = Some(began.elapsed()),
            }
        }
        if turn == 0 {
            let mut c = proxy.tls(true, &["postgresql"]).expect("TLS");
            c.log_in(&target, VERSION_3_2);
            c.query("SELECT 1");
            assert_eq!(c.answer().1, None);
        }
        turn += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    let first = ended.iter().flatten().min().expect("there are some");
    assert!(
        *first > LOGIN_TIMEOUT / 2,
        "an honest login would not have had time: {first:?}"
    );
    assert!(proxy.kept.alive());
}
