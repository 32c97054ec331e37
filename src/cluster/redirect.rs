//! The refusals of a cluster node, and how long a command waits before it is sent again.
//!
//! All of these answers prove that the command did not run, so it may be sent again whatever it is.

use std::time::Duration;

use crate::config::{HostPort, RedisConfig};
use crate::error::Error;

/// The maximum number of redirects of one command. Nodes that disagree for longer will not agree soon.
pub(crate) const MOST_HOPS: u8 = 16;
/// The number of redirects that are followed at once. Each further one waits longer, so that nodes that redirect to each other
/// are not kept busy.
const AT_ONCE: u8 = 4;

/// Why a node did not run a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// The slot is at another node for good.
    Moved { slot: u16, to: HostPort },
    /// The key may be at another node already, whose slot this is not yet.
    Ask { to: HostPort },
    /// The keys of the command are at two nodes while their slot moves.
    TryAgain,
    /// The cluster has no owner for the slot, or the node does not know the others.
    Down,
}

impl Redirect {
    /// The same, with an address that can be dialled from here.
    pub(crate) fn into_reachable(self, config: &RedisConfig) -> Self {
        match self {
            Self::Moved { slot, to } => Self::Moved { slot, to: config.map_address(to) },
            Self::Ask { to } => Self::Ask { to: config.map_address(to) },
            other => other,
        }
    }

    /// Whether it names another node.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Moved { .. } | Self::Ask { .. })
    }
}

/// Reads the error of a node. `node` is the one that answered: it may leave out a host that is its own.
pub(crate) fn of(code: &str, words: &str, node: &HostPort) -> Option<Redirect> {
    match code {
        "MOVED" | "ASK" => {
            let mut words = words.split_ascii_whitespace();
            let slot = words.next()?.parse().ok().filter(|slot| *slot < super::slot::SLOTS)?;
            let to = address(words.next()?, node)?;
            Some(if code == "MOVED" { Redirect::Moved { slot, to } } else { Redirect::Ask { to } })
        }
        "TRYAGAIN" => Some(Redirect::TryAgain),
        // A replica that was asked for a read and has lost its primary.
        "CLUSTERDOWN" | "MASTERDOWN" => Some(Redirect::Down),
        _ => None,
    }
}

/// Whether [`of`] can make something of it.
pub(crate) fn is_one(code: &str) -> bool {
    matches!(code, "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN")
}

/// As [`of`], for an error that was read already.
pub(crate) fn of_error(error: &Error, node: &HostPort) -> Option<Redirect> {
    of(error.code()?, error.message(), node)
}

/// `host:port`; an IPv6 address comes without brackets. No host is the one that was asked, and so is `?`, which a
/// node says that does not know its own name.
fn address(text: &str, node: &HostPort) -> Option<HostPort> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() || host == "?" { &node.host } else { host };
    Some(HostPort { host: host.to_owned(), port })
}

/// How long a command waits before its hop of this number, counted from 0. `None`: it was sent about often enough.
pub(crate) fn pause(redirect: &Redirect, hop: u8) -> Option<Duration> {
    match redirect {
        Redirect::Moved { .. } | Redirect::Ask { .. } if hop >= MOST_HOPS => None,
        Redirect::Moved { .. } | Redirect::Ask { .. } if hop < AT_ONCE => Some(Duration::ZERO),
        // What takes seconds, as a failover does, is bounded by the deadline of the command.
        _ => Some(Duration::from_millis(10 << hop.min(4))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: u16) -> HostPort {
        HostPort { host: host.to_owned(), port }
    }

    #[test]
    fn answers_are_read() {
        let here = node("10.0.0.1", 7000);
        let moved = |slot, host, port| Some(Redirect::Moved { slot, to: node(host, port) });
        assert_eq!(of("MOVED", "3999 127.0.0.1:6381", &here), moved(3999, "127.0.0.1", 6381));
        assert_eq!(of("MOVED", "0 :6381", &here), moved(0, "10.0.0.1", 6381));
        assert_eq!(of("MOVED", "1 ?:6381", &here), moved(1, "10.0.0.1", 6381));
        assert_eq!(of("MOVED", "16383 fe80::1:6381", &here), moved(16383, "fe80::1", 6381));
        assert_eq!(of("MOVED", "7 redis-2.local:6381", &here), moved(7, "redis-2.local", 6381));
        assert_eq!(of("ASK", "7 h:1", &here), Some(Redirect::Ask { to: node("h", 1) }));
        assert_eq!(of("TRYAGAIN", "Multiple keys request during rehashing of slot", &here), Some(Redirect::TryAgain));
        assert_eq!(of("CLUSTERDOWN", "The cluster is down", &here), Some(Redirect::Down));
        for (code, words) in [
            ("MOVED", ""),
            ("MOVED", "16384 h:1"),
            ("MOVED", "x h:1"),
            ("MOVED", "1 h"),
            ("MOVED", "1 h:0"),
            ("MOVED", "1 h:99999"),
            ("ASK", "1"),
            ("ERR", "MOVED 1 h:1"),
            ("LOADING", ""),
        ] {
            assert_eq!(of(code, words, &here), None, "{code} {words}");
        }
    }

    #[test]
    fn redirects_are_bounded_and_slow_down() {
        let moved = Redirect::Moved { slot: 1, to: node("h", 1) };
        let pauses: Vec<_> = (0..=MOST_HOPS).map(|hop| pause(&moved, hop)).collect();
        assert!(pauses.iter().take(4).all(|pause| *pause == Some(Duration::ZERO)));
        assert!(pauses.iter().skip(4).take(12).all(|pause| pause.is_some_and(|pause| !pause.is_zero())));
        assert_eq!(pauses.last(), Some(&None));
        for redirect in [Redirect::TryAgain, Redirect::Down] {
            assert!(
                (0..=u8::MAX).all(|hop| pause(&redirect, hop).is_some_and(|pause| {
                    (Duration::from_millis(10)..=Duration::from_millis(160)).contains(&pause)
                }))
            );
        }
    }
}
