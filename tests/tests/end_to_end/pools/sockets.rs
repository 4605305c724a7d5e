//! Unix sockets on both sides, and several hosts.

use postern_tests::proxy::Proxy;
use postern_tests::stand::{Stand, refused};
use postern_tests::target::Target;

use super::{ids, scalar, usable};

#[test]
fn unix_sockets_on_both_sides() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    // The server's socket is where the demo has it; ours is in a directory of its own, whose path is short enough for a socket.
    let run = stand.dir.join("run");
    let own = stand.dir.join("own-run");
    std::fs::create_dir_all(&own).expect("a directory can be made");
    let port = stand.dba().port;
    let changes = format!(
        "[listen]\nunix_socket_dir = {own:?}\n[upstream]\nhost = ''\nport = {port}\nhosts = [{run:?}]\n\
         [pool]\npool_mode = 'transaction'\nsize = 2\n"
    );
    let proxy = Proxy::start(stand, "pools-sockets", &changes);
    let by_socket = |who| Target {
        host: own.to_str().expect("UTF-8").to_owned(),
        ..proxy.login(stand, "sys_account", who)
    };
    let mut tcp = proxy.connect(stand, "sys_account", Some("bob"));
    let mut unix = proxy.open(&by_socket(Some("dora")));
    for _ in 0..3 {
        assert_eq!(ids(&mut tcp), ["bob"]);
        assert_eq!(ids(&mut unix), ["dora"]);
    }
    let upstream = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'sys_account' AND client_addr IS NULL";
    assert_ne!(
        scalar(&mut stand.dba_connection(), upstream),
        "0",
        "no connection came through the server's socket"
    );
    // A password is asked for there too.
    let mut wrong = by_socket(None);
    wrong.password.push('x');
    assert_eq!(refused(&wrong).map(|e| e.sqlstate().to_owned()).as_deref(), Some("28P01"));
    // Cancel comes through it, and goes through the server's.
    unix.send(b'Q', b"SELECT count(*) FROM generate_series(1, 200000000)\0")
        .expect("sent");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let mut cancel = postern_tests::connection::Connection::socket(&by_socket(None)).unwrap_or_else(|e| panic!("{e}"));
    cancel
        .send_raw(&postern_tests::message::cancel_message(unix.cancel_key))
        .expect("sent");
    assert!(cancel.closes());
    assert_eq!(unix.replies().unwrap_or_else(|e| panic!("{e}"))[0].sqlstate(), "57014");
    usable(&mut unix);
}

#[test]
fn the_first_host_that_answers_and_fits_is_taken() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let port = stand.dba().port;
    let closed = postern_tests::product::free_port();
    let hosts = format!(
        "[upstream]\nhost = ''\nhosts = ['127.0.0.1:{closed}', '127.0.0.1:{port}']\ntarget_session_attrs = 'read-write'\n"
    );
    let proxy = Proxy::start(stand, "pools-hosts", &hosts);
    usable(&mut proxy.connect(stand, "evilmod", None));
}
