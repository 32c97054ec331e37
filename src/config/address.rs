//! The addresses of the servers.

use std::{borrow::Cow, fmt, net::Ipv6Addr, path::PathBuf, str::FromStr};

/// The default port of a Redis server.
pub(super) const REDIS_PORT: u16 = 6379;
/// The default port of a sentinel.
pub(super) const SENTINEL_PORT: u16 = 26379;

/// The accepted values of a port.
pub(super) const PORT_WORDS: &str = "must be a port, a number from 1 to 65535";
/// The accepted values of a host.
pub(super) const HOST_WORDS: &str = "must be one host name or IP address, without scheme and without port \
     (for a unix socket use REDIS_URL=unix:///path or RedisConfigBuilder::unix_socket)";

/// The deployment: one server, a cluster, or a server behind sentinels.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// One server.
    Single(Address),
    /// A cluster, discovered through any of these nodes. Never empty.
    Cluster(Vec<HostPort>),
    /// One server, whose address the sentinels report.
    Sentinel {
        /// The sentinels. Never empty.
        hosts: Vec<HostPort>,
        /// The name of the server in the configuration of the sentinels.
        master: String,
    },
}

/// The address of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP, with or without TLS.
    Tcp(HostPort),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A host and a port. `Display` is `host:port`, with an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A host name or an IP address, without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Parses a host, without the brackets of an IPv6 address. Returns `None` if it is invalid.
///
/// The set of characters is narrow on purpose. A URL, a list, a port, or a password in the wrong variable would only
/// fail later, with a worse error.
pub(super) fn host(text: &str) -> Option<&str> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inner = bare.unwrap_or(text);
    let address = inner.split_once('%').map_or(inner, |(address, _zone)| address);
    if address.parse::<Ipv6Addr>().is_ok() {
        return inner.chars().all(|c| c.is_ascii_alphanumeric() || ":.%_-".contains(c)).then_some(inner);
    }
    let named = bare.is_none()
        && !text.is_empty()
        && text.len() <= 255
        && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    named.then_some(text)
}

/// Parses a port.
pub(super) fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|&port| port != 0)
}

/// A comma-separated list of `host[:port]`.
///
/// # Errors
/// The text identifies the wrong entry, counted from 1, without quoting it.
pub(super) fn host_list<'t>(
    entries: impl IntoIterator<Item = &'t str>,
    default_port: u16,
) -> Result<Vec<HostPort>, Cow<'static, str>> {
    let mut hosts = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let Some(entry) = host_port(entry.trim(), default_port) else {
            return Err(format!(
                "must list hosts as host:port,host:port with ports from 1 to 65535 (without a port it is {default_port}) \
                 and IPv6 addresses in brackets; entry {} is invalid",
                index + 1
            )
            .into());
        };
        if !hosts.contains(&entry) {
            hosts.push(entry);
        }
    }
    if hosts.is_empty() { Err("must list at least one host:port".into()) } else { Ok(hosts) }
}

fn host_port(text: &str, default_port: u16) -> Option<HostPort> {
    let (name, number) = match text.rsplit_once(':') {
        Some((name, number)) if !number.ends_with(']') => (name, port(number)?),
        _ => (text, default_port),
    };
    // `::1` is ambiguous without brackets: it could be a host and a port.
    if name.contains(':') && !name.starts_with('[') {
        return None;
    }
    Some(HostPort { host: host(name)?.to_owned(), port: number })
}

/// The value of REDIS_CLUSTER_HOSTS or REDIS_SENTINEL_HOSTS.
pub(super) struct HostList<const DEFAULT_PORT: u16>(pub(super) Vec<HostPort>);

impl<const DEFAULT_PORT: u16> FromStr for HostList<DEFAULT_PORT> {
    type Err = Cow<'static, str>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        host_list(text.split(','), DEFAULT_PORT).map(Self)
    }
}
