//! The collected settings with their origins, before validation.

use std::{fmt, path::PathBuf, time::Duration};

use super::address::HostPort;
use super::address_map::AddressMap;
use super::connections::Connections;
use super::pem::Pem;
use super::problem::ConfigProblem;
use super::protocol::Protocol;
use super::secret::Secret;
use super::tls::TlsVerify;
use crate::cache::config::CacheConfig;
use crate::frame::{ReadFrom, WhenDown};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The default.
    Default,
    /// An environment variable.
    Variable(&'static str),
    /// A method of the builder.
    Method(&'static str),
}

impl Origin {
    /// The name to use in error messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Variable(name) | Self::Method(name) => name,
        }
    }

    /// Whether it is a complete URL.
    pub(super) fn is_url(self) -> bool {
        matches!(self, Self::Variable("REDIS_URL") | Self::Method("url"))
    }

    /// The name of another setting, as a variable or as a method like this one.
    pub(super) fn connector(self, variable: &'static str, method: &'static str) -> &'static str {
        if matches!(self, Self::Method(_)) { method } else { variable }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Variable(name) => name,
            Self::Method(_) => "builder",
        })
    }
}

/// A value and its origin.
#[derive(Clone)]
pub(super) struct Given<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl<T> Given<T> {
    pub(super) fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }

    pub(super) fn name(&self) -> &'static str {
        self.origin.name()
    }
}

/// An explicit key prefix, instead of namespace and environment.
#[derive(Clone, PartialEq)]
pub(super) enum PrefixChoice {
    Plain(String),
    HashTag(String),
    None,
}

/// All settings; absent means the default. It has no `Debug`, because any unvalidated value may be a password in the
/// wrong place.
#[derive(Clone, Default)]
pub(super) struct Draft {
    pub(super) url: Option<Given<Secret>>,
    pub(super) host: Option<Given<String>>,
    pub(super) port: Option<Given<u16>>,
    pub(super) unix_socket: Option<Given<PathBuf>>,
    pub(super) username: Option<Given<String>>,
    pub(super) password: Option<Given<Secret>>,
    pub(super) password_file: Option<Given<PathBuf>>,
    pub(super) db: Option<Given<u32>>,
    pub(super) tls: Option<Given<bool>>,
    pub(super) tls_ca: Option<Given<Pem>>,
    pub(super) tls_cert: Option<Given<Pem>>,
    pub(super) tls_key: Option<Given<Pem>>,
    pub(super) tls_server_name: Option<Given<String>>,
    pub(super) tls_verify: Option<Given<TlsVerify>>,
    pub(super) cluster_hosts: Option<Given<Vec<HostPort>>>,
    pub(super) sentinel_hosts: Option<Given<Vec<HostPort>>>,
    pub(super) sentinel_master: Option<Given<String>>,
    pub(super) sentinel_username: Option<Given<String>>,
    pub(super) sentinel_password: Option<Given<Secret>>,
    pub(super) max_retries: Option<Given<u32>>,
    pub(super) connect_timeout: Option<Given<Duration>>,
    pub(super) command_timeout: Option<Given<Duration>>,
    pub(super) liveness: Option<Given<Option<Duration>>>,
    pub(super) environment: Option<Given<String>>,
    pub(super) key_namespace: Option<Given<String>>,
    pub(super) default_key_namespace: Option<Given<String>>,
    pub(super) key_prefix: Option<Given<PrefixChoice>>,
    pub(super) client_name: Option<Given<String>>,
    pub(super) when_down: Option<Given<WhenDown>>,
    pub(super) read_from: Option<Given<ReadFrom>>,
    pub(super) busy_poll: Option<Given<Duration>>,
    pub(super) connections: Option<Given<Connections>>,
    pub(super) protocol: Option<Given<Protocol>>,
    pub(super) address_map: Option<Given<AddressMap>>,
    pub(super) client_commands: Option<Given<bool>>,
    pub(super) cache: Option<Given<CacheConfig>>,
    /// Only from variables.
    pub(super) cache_bytes: Option<Given<usize>>,
    pub(super) cache_ttl: Option<Given<Duration>>,
    pub(super) max_in_flight: Option<Given<usize>>,
    pub(super) max_in_flight_bytes: Option<Given<usize>>,
    pub(super) max_queued: Option<Given<usize>>,
    pub(super) max_queued_bytes: Option<Given<usize>>,
    pub(super) max_queued_time: Option<Given<Option<Duration>>>,
    /// Values that could not be parsed.
    pub(super) problems: Vec<ConfigProblem>,
    pub(super) warnings: Vec<String>,
}

/// Whether two values of a setting are equal.
pub(super) trait Same {
    fn same(&self, other: &Self) -> bool;
}

impl<T: PartialEq> Same for T {
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

impl Same for Secret {
    fn same(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

/// Stores the value of a method. If it contradicts a variable that is a problem, since the variable would silently
/// have no effect.
pub(super) fn set<T: Same>(
    setting: &mut Option<Given<T>>,
    problems: &mut Vec<ConfigProblem>,
    method: &'static str,
    value: T,
) {
    if let Some(Given { value: other, origin: Origin::Variable(name) }) = setting
        && !value.same(other)
    {
        let advice = match method {
            "key_namespace" => "remove one of the two, or use default_key_namespace(..) for a default of the code",
            _ => "remove one of the two",
        };
        problems.push(ConfigProblem::new(method, format!("contradicts {name}, which is set: {advice}")));
    }
    *setting = Some(Given::new(value, Origin::Method(method)));
}

impl Draft {
    pub(super) fn problem(&mut self, name: &'static str, text: impl Into<std::borrow::Cow<'static, str>>) {
        self.problems.push(ConfigProblem::new(name, text));
    }

    /// Reports a name that is a URL or PEM text. Names are shown, which would expose a password or a private key.
    pub(super) fn holds_url_or_key(&mut self, name: &Given<String>) -> bool {
        let holds = name.value.contains("://") || name.value.contains("-----BEGIN");
        if holds {
            self.problem(
                name.name(),
                "contains a URL or a key instead of a name, which is not secret: move the value to its own setting",
            );
        }
        holds
    }

    /// Whether a problem with it was reported, so that consequences of its absence are not reported as well.
    pub(super) fn reported(&self, name: &str) -> bool {
        self.problems.iter().any(|problem| problem.variable() == name)
    }
}

/// Parses a database number. The server uses a signed 32-bit integer.
pub(super) fn database(text: &str) -> Option<u32> {
    text.parse().ok().filter(|&db| db <= MAX_DB)
}

/// The highest database number.
pub(super) const MAX_DB: u32 = i32::MAX as u32;
