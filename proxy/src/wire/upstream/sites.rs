//! The hosts of `[upstream]`: in which order they are tried, and which of them will do.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use postern_config::settings::{Host, SessionAttrs};
use rustls_pki_types::ServerName;

use super::UpstreamError;
use crate::wire::talk::TalkError;

/// An attempt that failed after this long would delay every further one.
const SLOW: Duration = Duration::from_millis(500);
/// For so long such a host is tried last.
const AVOIDED: Duration = Duration::from_secs(5);

/// One host.
pub(super) struct Site {
    pub(super) host: Host,
    /// What its certificate must name, where TLS is configured.
    pub(super) name: Option<ServerName<'static>>,
    /// For messages.
    pub(super) peer: String,
    avoided_until: Mutex<Option<Instant>>,
}

impl Site {
    pub(super) fn new(host: &Host, tls: bool) -> Result<Self, UpstreamError> {
        let name = match host {
            Host::Tcp { host, .. } if tls => {
                Some(ServerName::try_from(host.clone()).map_err(|_| UpstreamError::Host(host.clone()))?)
            }
            Host::Tcp { .. } | Host::Unix { .. } => None,
        };
        Ok(Self {
            host: host.clone(),
            name,
            peer: host.to_string(),
            avoided_until: Mutex::new(None),
        })
    }

    /// Notes that an attempt failed: a host that lets us wait (a machine that is gone) is tried last for a while, so that it does not
    /// delay every connection; one that refuses at once costs nothing and keeps its turn.
    pub(super) fn failed(&self, began: Instant, now: Instant) {
        if now.duration_since(began) > SLOW {
            *self.avoided_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(now + AVOIDED);
        }
    }

    fn avoided(&self, now: Instant) -> bool {
        let until = *self.avoided_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| now < until)
    }

    pub(super) fn broken(&self, source: TalkError) -> UpstreamError {
        UpstreamError::Broken {
            peer: self.peer.clone(),
            source,
        }
    }

    pub(super) fn protocol(&self, problem: &'static str) -> UpstreamError {
        UpstreamError::Protocol {
            peer: self.peer.clone(),
            problem,
        }
    }
}

/// As configured, but those that let us wait a moment ago come last.
pub(super) fn order(sites: &[Site]) -> Vec<usize> {
    let now = Instant::now();
    let (avoided, mut order): (Vec<usize>, Vec<usize>) = (0..sites.len()).partition(|i| sites[*i].avoided(now));
    order.extend(avoided);
    order
}

/// Why a server will not do, by what it reported at the login (PostgreSQL 14 or later), or `None`. Where the client asks for
/// `default_transaction_read_only` itself, the report tells its wish and not the server's, and only recovery counts.
pub(super) fn misfit(
    wanted: SessionAttrs,
    parameters: &[(String, String)],
    asked: &[(&'static str, String)],
) -> Option<&'static str> {
    if wanted == SessionAttrs::Any || wanted == SessionAttrs::PreferStandby {
        return None;
    }
    let reported = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let standby = match reported("in_hot_standby") {
        Some("on") => true,
        Some("off") => false,
        _ => return Some("does not say whether it is a standby (it is older than PostgreSQL 14, or a pooler is in between)"),
    };
    let own_wish = asked.iter().any(|(n, _)| *n == "default_transaction_read_only");
    let read_only = standby || (!own_wish && reported("default_transaction_read_only") == Some("on"));
    match wanted {
        SessionAttrs::ReadWrite if standby => Some("is a standby"),
        SessionAttrs::ReadWrite if read_only => Some("has default_transaction_read_only on"),
        SessionAttrs::ReadOnly if !read_only => Some("takes writes"),
        SessionAttrs::Primary if standby => Some("is a standby"),
        SessionAttrs::Standby if !standby => Some("is not a standby"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_servers_will_do() {
        use SessionAttrs::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};
        let fits = |wanted, standby: &str, read_only: &str| {
            let parameters = [("in_hot_standby", standby), ("default_transaction_read_only", read_only)];
            let parameters = parameters.map(|(n, v)| (n.to_owned(), v.to_owned()));
            misfit(wanted, &parameters, &[]).is_none()
        };
        for (standby, read_only, fitting) in [
            ("off", "off", &[Any, PreferStandby, ReadWrite, Primary][..]),
            ("off", "on", &[Any, PreferStandby, ReadOnly, Primary]),
            ("on", "off", &[Any, PreferStandby, ReadOnly, Standby]),
            ("on", "on", &[Any, PreferStandby, ReadOnly, Standby]),
        ] {
            for wanted in [Any, PreferStandby, ReadWrite, ReadOnly, Primary, Standby] {
                assert_eq!(
                    fits(wanted, standby, read_only),
                    fitting.contains(&wanted),
                    "{wanted:?} at {standby}/{read_only}"
                );
            }
        }
        let wish = [("default_transaction_read_only", "on".to_owned())];
        let parameters = [("in_hot_standby", "off"), ("default_transaction_read_only", "on")];
        let parameters = parameters.map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(misfit(ReadWrite, &parameters, &wish), None);
        assert!(misfit(ReadOnly, &parameters, &wish).is_some());
        assert!(misfit(Primary, &[], &[]).is_some(), "what is not said is not assumed");
        assert!(misfit(Any, &[], &[]).is_none());
    }

    #[test]
    fn a_host_that_lets_us_wait_is_tried_last_for_a_while() {
        let host = |name: &str| {
            let host = Host::Tcp {
                host: name.to_owned(),
                port: 1,
            };
            Site::new(&host, false).unwrap()
        };
        let sites = [host("a"), host("b"), host("c")];
        let now = Instant::now();
        sites[1].failed(now, now);
        assert_eq!(order(&sites), [0, 1, 2], "refused at once");
        let Some(long_ago) = now.checked_sub(Duration::from_secs(60)) else {
            return;
        };
        sites[0].failed(long_ago, now);
        assert_eq!(order(&sites), [1, 2, 0]);
        sites[0].failed(long_ago, long_ago + Duration::from_secs(1));
        assert_eq!(order(&sites), [0, 1, 2], "forgiven");
    }
}
