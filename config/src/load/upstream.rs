//! `[upstream]`: where the database is, and what it must prove.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use super::document::{At, Notes, Section};
use super::settings::{Paths, choice, seconds};
use crate::settings::{ChannelBinding, Host, SessionAttrs, Upstream};

/// A Unix socket's whole path must fit `sockaddr_un`, with the zero byte behind it.
const MAX_SOCKET_PATH: usize = 107;

const ATTRS: &[SessionAttrs] = &[
    SessionAttrs::Any,
    SessionAttrs::ReadWrite,
    SessionAttrs::ReadOnly,
    SessionAttrs::Primary,
    SessionAttrs::Standby,
    SessionAttrs::PreferStandby,
];

pub(super) fn read(section: &mut Section<'_, '_>, paths: &Paths<'_>, notes: &mut Notes) -> Option<Upstream> {
    let hosts = hosts(section, notes);
    let words = ATTRS.iter().map(|a| (a.as_str(), *a));
    let target_session_attrs = choice(section, "target_session_attrs", words, SessionAttrs::Any, notes);
    let database = section.need_text("database", "\"app\"", notes);
    let ca_line = section.line_of_key("tls_ca", notes);
    let tls_ca = paths.get(section, "tls_ca", notes);
    let binding_line = section.line_of_key("channel_binding", notes);
    let words = [
        ("prefer", ChannelBinding::Prefer),
        ("require", ChannelBinding::Require),
        ("disable", ChannelBinding::Disable),
    ];
    let channel_binding = choice(section, "channel_binding", words, ChannelBinding::Prefer, notes);
    let control_user = section.need_text("control_user", "\"postern_control\"", notes);
    let control_password_file = paths.need(section, "control_password_file", "\"secrets/control\"", notes);
    let connect_timeout = seconds(section, "connect_timeout_seconds", 1..=600, 5, notes);
    for text in [&database, &control_user].into_iter().flatten() {
        no_nul(text, notes);
    }
    let unix = |h: &Host| matches!(h, Host::Unix { .. });
    if let (Some(line), Some(hosts)) = (ca_line, &hosts)
        && hosts.iter().all(unix)
    {
        notes.add(
            line,
            "`tls_ca` secures nothing here: PostgreSQL has no TLS on Unix sockets, and every host is one; remove it",
        );
    }
    if let (Some(line), ChannelBinding::Require) = (binding_line, channel_binding)
        && (ca_line.is_none() || hosts.as_ref().is_some_and(|hosts| hosts.iter().any(unix)))
    {
        notes.add(
            line,
            "`channel_binding = \"require\"` binds to the server's certificate, and there is one only under TLS; add `tls_ca` and name \
             no Unix socket, or write \"prefer\"",
        );
    }
    Some(Upstream {
        hosts: hosts?,
        target_session_attrs,
        channel_binding,
        database: database?.value,
        tls_ca,
        control_user: control_user?.value,
        control_password_file: control_password_file?,
        connect_timeout,
    })
}

fn no_nul(text: &At<String>, notes: &mut Notes) -> bool {
    let there = text.value.contains('\0');
    if there {
        notes.add(text.line, "a NUL cannot be sent to PostgreSQL; remove it");
    }
    !there
}

/// Either `host`, or `hosts`. `port` is that of every host that names none.
fn hosts(section: &mut Section<'_, '_>, notes: &mut Notes) -> Option<Vec<Host>> {
    let port = section.number("port", 1..=65535, notes);
    let port = u16::try_from(port.unwrap_or(5432)).unwrap_or(5432);
    let list_line = section.line_of_key("hosts", notes);
    let Some(line) = list_line else {
        let host = section.need_text("host", "\"127.0.0.1\"", notes)?;
        return one(&host, port, false, notes).map(|h| vec![h]);
    };
    if section.has("host") {
        notes.add(line, "`host` and `hosts` are both there; keep one of the two");
        section.text("host", notes);
        section.texts("hosts", notes);
        return None;
    }
    let list = section.texts("hosts", notes)?;
    if list.value.is_empty() {
        notes.add(
            list.line,
            "`hosts` is empty; name at least one, like [\"db1:5432\", \"db2:5432\"]",
        );
        return None;
    }
    let found: Vec<Option<Host>> = list.value.iter().map(|text| one(text, port, true, notes)).collect();
    let found: Vec<Host> = found.into_iter().collect::<Option<_>>()?;
    for (i, host) in found.iter().enumerate() {
        if found[..i].contains(host) {
            notes.add(list.value[i].line, format!("`{host}` stands twice in `hosts`; remove one"));
        }
    }
    Some(found)
}

fn one(text: &At<String>, port: u16, may_name_port: bool, notes: &mut Notes) -> Option<Host> {
    if !no_nul(text, notes) {
        return None;
    }
    let mut wrong = |why: &str| {
        notes.add(text.line, format!("`{}` {why}", text.value));
        None
    };
    if text.value.starts_with('/') {
        let directory = PathBuf::from(&text.value);
        if !socket_fits(&directory, port) {
            return wrong("is too long for a Unix socket's directory (107 bytes with the socket's name); use a shorter one");
        }
        return Some(Host::Unix { directory, port });
    }
    let tcp = |host: &str, port| {
        Some(Host::Tcp {
            host: host.to_owned(),
            port,
        })
    };
    if text.value.parse::<Ipv6Addr>().is_ok() {
        return tcp(&text.value, port);
    }
    let remedy = if may_name_port {
        "is not a host; write \"name\", \"name:port\", \"[IPv6 address]:port\" or a directory's absolute path"
    } else {
        "is not a host; write its name or address (the port is `port`), or a directory's absolute path"
    };
    let (host, written) = match text.value.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) if address.parse::<Ipv6Addr>().is_ok() => match rest.strip_prefix(':') {
            Some(number) => (address, Some(number)),
            None if rest.is_empty() => (address, None),
            None => return wrong(remedy),
        },
        Some(_) => return wrong(remedy),
        None => match text.value.split_once(':') {
            Some((host, number)) => (host, Some(number)),
            None => (text.value.as_str(), None),
        },
    };
    if host.is_empty() || host.contains(['/', '[', ']', '@', ',']) || host.contains(char::is_whitespace) {
        return wrong(remedy);
    }
    match written {
        None => tcp(host, port),
        Some(number) if may_name_port => match number.parse::<u16>() {
            Ok(number) if number > 0 && !written.is_some_and(|w| w.starts_with('+')) => tcp(host, number),
            _ => wrong("has no port from 1 to 65535 behind the colon; write one, or leave the colon out"),
        },
        Some(_) => wrong(remedy),
    }
}

/// Whether a socket in this directory has a path that the operating system takes.
pub(super) fn socket_fits(directory: &Path, port: u16) -> bool {
    Host::socket(directory, port).as_os_str().len() <= MAX_SOCKET_PATH
}
