//! Pools: few server connections, many clients. Nothing of one client is ever another's, and what is a client's own follows it.
//!
//! Each test has a proxy of its own before the stand's database, with pools so small that clients must share.

mod between;
mod cancel;
mod copy;
mod follow;
mod leaving;
mod limits;
mod modes;
mod parameters;
mod sockets;
mod turns;

use postern_tests::connection::Connection;
use postern_tests::message::{Reply, bind_body, cstring, message, parse_body};
use postern_tests::proxy::Proxy;
use postern_tests::stand::Stand;

/// One server connection for all clients of a login.
const ONE: &str = "[pool]\npool_mode = 'transaction'\nsize = 1\n";
/// Two of them.
const TWO: &str = "[pool]\npool_mode = 'transaction'\nsize = 2\n";
/// One, for one client at a time.
const ONE_SESSION: &str = "[pool]\npool_mode = 'session'\nsize = 1\n";

const SYNC: &[u8] = b"S\0\0\0\x04";

fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    message(b'P', &parse_body(name, sql, types))
}

fn bind(portal: &str, name: &str, values: &[&str]) -> Vec<u8> {
    let values: Vec<_> = values.iter().map(|v| Some(v.as_bytes().to_vec())).collect();
    message(b'B', &bind_body(portal, name, &values, 0, 0))
}

fn execute(portal: &str) -> Vec<u8> {
    message(b'E', &[cstring(portal), vec![0; 4]].concat())
}

/// Parse, Bind and Execute without a Sync.
fn whole(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("")].concat()
}

/// Bind, Execute and Sync of a prepared statement.
fn run_prepared(name: &str, values: &[&str]) -> Vec<u8> {
    [bind("", name, values), execute(""), SYNC.to_vec()].concat()
}

/// Sends, and reads one group of replies.
#[track_caller]
fn group(c: &mut Connection, bytes: &[u8]) -> Vec<Reply> {
    c.send_raw(bytes).expect("sent");
    c.replies().unwrap_or_else(|e| panic!("{e}"))
}

/// The last reply of a group.
#[track_caller]
fn last(c: &mut Connection, bytes: &[u8]) -> Reply {
    group(c, bytes).into_iter().next_back().unwrap_or_default()
}

#[track_caller]
fn simple(c: &mut Connection, sql: &str) -> Vec<Reply> {
    c.simple(sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

#[track_caller]
fn scalar(c: &mut Connection, sql: &str) -> String {
    let reply = c.run(sql).good(sql);
    reply.scalar().unwrap_or_else(|| panic!("{sql}: no value"))
}

#[track_caller]
fn ids(c: &mut Connection) -> Vec<String> {
    const WHO: &str = "SELECT id FROM accounts ORDER BY id";
    let rows = c.run(WHO).good(WHO).texts();
    rows.into_iter().flatten().flatten().collect()
}

#[track_caller]
fn usable(c: &mut Connection) {
    if c.status != 'I' {
        c.run("ROLLBACK").good("ROLLBACK");
    }
    assert_eq!(scalar(c, "SELECT 1"), "1");
    assert_eq!(c.status, 'I');
}

/// Two holders of the two connections of a pool, by which a third client is moved from one to the other.
struct Mover {
    holders: [Connection; 2],
    at: usize,
}

impl Mover {
    /// From now on one connection is held, and the other is there for the client.
    fn new(proxy: &Proxy, stand: &Stand, login: &str) -> Self {
        let mut holders = [proxy.connect(stand, login, None), proxy.connect(stand, login, None)];
        holders[0].run("BEGIN").good("BEGIN");
        Self { holders, at: 0 }
    }

    /// Takes the connection that is there, and lets the other go.
    fn swap(&mut self) {
        let other = 1 - self.at;
        self.holders[other].run("BEGIN").good("BEGIN");
        self.holders[self.at].run("COMMIT").good("COMMIT");
        self.at = other;
    }
}
