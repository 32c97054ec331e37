//! The configuration, from environment variables or from code. It is validated as a whole before it is used.
//!
//! `env` and `builder` collect the settings, `fold_url` merges a URL into them, `resolve`, `deployment` and `naming` validate them.
//! Errors name variables and never quote a value, because a value may be a secret in the wrong variable.

mod address;
mod address_map;
mod builder;
mod caching;
mod connections;
pub(crate) mod credentials;
mod deployment;
mod describe;
mod draft;
mod env;
mod fold_url;
mod naming;
mod pem;
mod problem;
mod protocol;
mod resolve;
mod secret;
mod settle;
#[cfg(all(test, feature = "tls"))]
mod tests;
mod tls;
mod unknown;
mod url;

use std::{ffi::OsString, fmt, io, sync::Arc, time::Duration};

pub use address::{Address, HostPort, Mode};
pub use builder::RedisConfigBuilder;
pub use connections::Connections;
pub use describe::Description;
pub(crate) use pem::Pem;
pub use problem::{ConfigError, ConfigProblem};
pub use protocol::Protocol;
pub use secret::Secret;
pub use tls::{TlsSettings, TlsVerify};

use crate::cache::config::CacheConfig;
use crate::frame::{ReadFrom, WhenDown};
use crate::prefix::KeyPrefix;
use address_map::AddressMap;
use secret::PasswordSource;

/// Addresses, credentials, timeouts and limits of a connection. Valid by construction; cloning is cheap.
///
/// ```
/// use redis_actix::RedisConfig;
///
/// let config = RedisConfig::builder().host("10.0.0.5").key_prefix("shop:production:").build()?;
/// assert_eq!(config.db(), 0);
///
/// let error = RedisConfig::builder().port(0).max_retries(1001).build().unwrap_err();
/// assert_eq!(error.problems().len(), 2);
/// # Ok::<(), redis_actix::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct RedisConfig(Arc<Inner>);

struct Inner {
    mode: Mode,
    username: Option<Username>,
    password: Option<PasswordSource>,
    db: u32,
    tls: Option<TlsSettings>,
    max_retries: u32,
    connect_timeout: Duration,
    command_timeout: Duration,
    liveness: Option<Duration>,
    prefix: KeyPrefix,
    environment: String,
    client_name: Option<String>,
    when_down: WhenDown,
    read_from: ReadFrom,
    sentinel_username: Option<String>,
    sentinel_password: Option<Secret>,
    busy_poll: Option<Duration>,
    connections: Connections,
    protocol: Protocol,
    address_map: Option<AddressMap>,
    client_commands: bool,
    cache: Option<CacheConfig>,
    limits: Limits,
    warnings: Vec<String>,
    description: Description,
}

#[derive(Debug)]
struct Limits {
    max_in_flight: usize,
    max_in_flight_bytes: usize,
    max_queued: usize,
    max_queued_bytes: usize,
    max_queued_time: Option<Duration>,
}

/// An ACL user.
struct Username {
    name: String,
    /// The URL has a user and no password, which is often a password by mistake: it is not shown.
    may_be_secret: bool,
}

impl From<Inner> for RedisConfig {
    fn from(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }
}

impl RedisConfig {
    /// Reads the environment variables of the process once, and logs [`warnings`](Self::warnings).
    ///
    #[doc = include_str!("../docs/settings.md")]
    ///
    /// An empty value counts as unset. An empty `REDIS_KEY_PREFIX` is an error.
    ///
    /// # Errors
    /// All problems together: invalid values, and variables that contradict each other.
    pub fn from_env() -> Result<Self, ConfigError> {
        RedisConfigBuilder::from_env().build()
    }

    /// Like [`from_env`](Self::from_env), with the given variables instead of those of the process, and without
    /// logging: for tests and tools. If a variable is given twice the last value counts.
    ///
    /// ```
    /// use redis_actix::RedisConfig;
    ///
    /// let config = RedisConfig::from_vars([("APP_ENV".into(), "test".into())])?;
    /// assert_eq!(config.key_prefix().as_str(), "whatsapp:test:");
    /// # Ok::<(), redis_actix::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// See [`from_env`](Self::from_env).
    pub fn from_vars(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        RedisConfigBuilder::from_vars(vars).build()
    }

    /// Creates a builder with the defaults. It does not read environment variables.
    pub fn builder() -> RedisConfigBuilder {
        RedisConfigBuilder::default()
    }

    /// The deployment, which is one server, a cluster or sentinels, and its addresses.
    #[must_use]
    pub fn mode(&self) -> &Mode {
        &self.0.mode
    }

    /// The ACL user for logins; `None` is the server's default user.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.0.username.as_ref().map(|user| user.name.as_str())
    }

    /// The password for logins. Each call reads the password file, if there is one, which blocks briefly.
    ///
    /// # Errors
    /// If the password file cannot be read, is not a regular file, is empty, or is larger than 64 KiB. The text names
    /// the setting with the path of the file.
    pub fn password(&self) -> io::Result<Option<Secret>> {
        self.0.password.as_ref().map(PasswordSource::read).transpose()
    }

    /// Whether there is a password or a password file.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.0.password.is_some()
    }

    /// Whether [`password`](Self::password) reads a file.
    pub(crate) fn has_password_file(&self) -> bool {
        matches!(self.0.password, Some(PasswordSource::File { .. }))
    }

    /// The database; 0 with a cluster.
    #[must_use]
    pub fn db(&self) -> u32 {
        self.0.db
    }

    /// The TLS settings; `None` without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsSettings> {
        self.0.tls.as_ref()
    }

    /// Maximum number of broken links per command before it fails, 0 to 1000.
    #[must_use]
    pub fn max_retries(&self) -> u32 {
        self.0.max_retries
    }

    /// Maximum duration of one connection attempt, 1 millisecond to a day.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.0.connect_timeout
    }

    /// Maximum total duration of one command, 1 millisecond to a day.
    #[must_use]
    pub fn command_timeout(&self) -> Duration {
        self.0.command_timeout
    }

    /// A link with commands in flight counts as dead after this time without received bytes; `None` disables the
    /// check.
    #[must_use]
    pub fn liveness(&self) -> Option<Duration> {
        self.0.liveness
    }

    /// The prefix of every key on the server.
    #[must_use]
    pub fn key_prefix(&self) -> &KeyPrefix {
        &self.0.prefix
    }

    /// The name of the environment, such as `production`.
    #[must_use]
    pub fn environment(&self) -> &str {
        &self.0.environment
    }

    /// The name that `CLIENT LIST` shows.
    #[must_use]
    pub fn client_name(&self) -> Option<&str> {
        self.0.client_name.as_deref()
    }

    /// How a command is handled while there is no connection, unless the command has its own choice.
    #[must_use]
    pub fn when_down(&self) -> WhenDown {
        self.0.when_down
    }

    /// The server that replies to reads, unless the read has its own choice.
    #[must_use]
    pub fn read_from(&self) -> ReadFrom {
        self.0.read_from
    }

    /// The reachable address of a server that announces `address`: a cluster node, a server behind sentinels, or
    /// another sentinel. Without a configured mapping it is `address`.
    ///
    /// ```
    /// use redis_actix::{HostPort, RedisConfig};
    ///
    /// let vars = [("REDIS_CLUSTER_HOSTS", "localhost:7001"), ("REDIS_CLUSTER_ADDRESS_MAP", "10.0.0.1=localhost")];
    /// let config = RedisConfig::from_vars(vars.map(|(name, value)| (name.into(), value.into())))?;
    /// let announced = HostPort { host: "10.0.0.1".to_owned(), port: 7002 };
    /// assert_eq!(config.map_address(announced).to_string(), "localhost:7002");
    /// # Ok::<(), redis_actix::ConfigError>(())
    /// ```
    #[must_use]
    pub fn map_address(&self, address: HostPort) -> HostPort {
        match &self.0.address_map {
            Some(map) => map.apply(address),
            None => address,
        }
    }

    /// The ACL user for logins to the sentinels; `None` is their default user.
    #[must_use]
    pub fn sentinel_username(&self) -> Option<&str> {
        self.0.sentinel_username.as_deref()
    }

    /// Whether the sentinels need a password.
    #[must_use]
    pub fn has_sentinel_password(&self) -> bool {
        self.0.sentinel_password.is_some()
    }

    /// The password of the sentinels.
    pub(crate) fn sentinel_password(&self) -> Option<&Secret> {
        self.0.sentinel_password.as_ref()
    }

    /// How long the actor polls the socket for replies before the thread sleeps; `None`: it sleeps at once.
    #[must_use]
    pub fn busy_poll(&self) -> Option<Duration> {
        self.0.busy_poll
    }

    /// The connections that carry the commands.
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.0.connections
    }

    /// The preferred version of RESP.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.0.protocol
    }

    /// Whether CLIENT commands are sent during the handshake.
    #[must_use]
    pub fn client_commands(&self) -> bool {
        self.0.client_commands
    }

    /// The settings of client-side caching; `None`: no reply is cached.
    #[must_use]
    pub fn cache(&self) -> Option<&CacheConfig> {
        self.0.cache.as_ref()
    }

    /// Maximum number of commands in flight; at least 1.
    #[must_use]
    pub fn max_in_flight(&self) -> usize {
        self.0.limits.max_in_flight
    }

    /// Maximum number of command bytes in flight; at least 1.
    #[must_use]
    pub fn max_in_flight_bytes(&self) -> usize {
        self.0.limits.max_in_flight_bytes
    }

    /// Maximum number of queued commands; at least 1.
    #[must_use]
    pub fn max_queued(&self) -> usize {
        self.0.limits.max_queued
    }

    /// Maximum number of queued command bytes; at least 1.
    #[must_use]
    pub fn max_queued_bytes(&self) -> usize {
        self.0.limits.max_queued_bytes
    }

    /// Maximum time of a command in the queue; `None`: until its deadline.
    #[must_use]
    pub fn max_queued_time(&self) -> Option<Duration> {
        self.0.limits.max_queued_time
    }

    /// Suspicious settings that are not errors: unknown `REDIS_*` variables, each with the most similar known name.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// The effective configuration with the origin of each value. `Display` prints a table without secrets.
    #[must_use]
    pub fn describe(&self) -> &Description {
        &self.0.description
    }
}

/// Written by hand, so that a new field cannot expose a secret.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("mode", &self.0.mode)
            .field(
                "username",
                &self.0.username.as_ref().map(|user| if user.may_be_secret { "***" } else { &user.name }),
            )
            .field("password", &if self.has_password() { "***" } else { "none" })
            .field("db", &self.0.db)
            .field("tls", &self.0.tls)
            .field("max_retries", &self.0.max_retries)
            .field("connect_timeout", &self.0.connect_timeout)
            .field("command_timeout", &self.0.command_timeout)
            .field("liveness", &self.0.liveness)
            .field("key_prefix", &self.0.prefix)
            .field("environment", &self.0.environment)
            .field("client_name", &self.0.client_name)
            .field("when_down", &self.0.when_down)
            .field("read_from", &self.0.read_from)
            .field("sentinel_username", &self.0.sentinel_username)
            .field("sentinel_password", &if self.has_sentinel_password() { "***" } else { "none" })
            .field("connections", &self.0.connections)
            .field("busy_poll", &self.0.busy_poll)
            .field("protocol", &self.0.protocol)
            .field("address_map", &self.0.address_map)
            .field("client_commands", &self.0.client_commands)
            .field("cache", &self.0.cache)
            .field("limits", &self.0.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(feature = "tls")))]
mod tests_without_tls {
    #[test]
    fn tls_without_the_feature_is_an_error_that_names_the_feature() {
        for (name, value) in [("REDIS_TLS", "true"), ("REDIS_URL", "rediss://h")] {
            let error = super::RedisConfig::from_vars([(name.into(), value.into())]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("feature `tls`"), "{error}");
        }
    }
}
