//! The configuration: from the environment or from code, judged as a whole before anything uses it.
//!
//! `env` and `builder` write down what was said, `fold_url` lays a URL beside it, `resolve` and `naming`
//! judge it. Errors name variables and never quote a value, for a value may be a secret in the wrong place.

mod address;
mod address_map;
mod builder;
pub(crate) mod credentials;
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
#[cfg(all(test, feature = "tls"))]
mod tests;
mod tls;
mod unknown;
mod url;

use std::{ffi::OsString, fmt, io, sync::Arc, time::Duration};

pub use address::{Address, HostPort, Mode};
pub use builder::RedisConfigBuilder;
pub use describe::Description;
pub(crate) use pem::Pem;
pub use problem::{ConfigError, ConfigProblem};
pub use protocol::Protocol;
pub use secret::Secret;
pub use tls::{TlsSettings, TlsVerify};

use crate::frame::{ReadFrom, WhenDown};
use crate::prefix::KeyPrefix;
use address_map::AddressMap;
use secret::PasswordSource;

/// Where Redis is, how to log in, and how patient to be. Valid by construction; cloning is cheap.
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
    busy_poll: Option<bool>,
    protocol: Protocol,
    address_map: Option<AddressMap>,
    client_commands: bool,
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
    /// It stands where many write a password: it is not shown.
    may_be_secret: bool,
}

impl From<Inner> for RedisConfig {
    fn from(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }
}

impl RedisConfig {
    /// Reads the environment of the process, once, and logs [`warnings`](Self::warnings).
    ///
    #[doc = include_str!("../docs/settings.md")]
    ///
    /// An empty value counts as unset, except that of `REDIS_KEY_PREFIX`, which is an error.
    ///
    /// # Errors
    /// Everything that is wrong, at once: bad values, and variables that contradict each other.
    pub fn from_env() -> Result<Self, ConfigError> {
        RedisConfigBuilder::from_env().build()
    }

    /// As [`from_env`](Self::from_env), with the given variables instead of those of the process, and
    /// without logging: for tests and tools. Of a variable given twice the last value counts.
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
    /// As [`from_env`](Self::from_env).
    pub fn from_vars(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        RedisConfigBuilder::from_vars(vars).build()
    }

    /// Makes one in code, from the defaults; the environment is not looked at.
    pub fn builder() -> RedisConfigBuilder {
        RedisConfigBuilder::default()
    }

    /// One server, a cluster, or sentinels, and where they are.
    #[must_use]
    pub fn mode(&self) -> &Mode {
        &self.0.mode
    }

    /// The ACL user to log in as; `None` is the server's default user.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.0.username.as_ref().map(|user| user.name.as_str())
    }

    /// The password to log in with. A password file is read anew by each call, which blocks shortly.
    ///
    /// # Errors
    /// When the password file cannot be read, is no regular file, is empty, or is larger than 64 KiB. The
    /// text names the setting that names the file.
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

    /// How to speak TLS, if at all.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsSettings> {
        self.0.tls.as_ref()
    }

    /// How many lost links one command may live through, 0 to 1000.
    #[must_use]
    pub fn max_retries(&self) -> u32 {
        self.0.max_retries
    }

    /// How long one attempt to connect may take, 1 millisecond to a day.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.0.connect_timeout
    }

    /// How long one command may take in all, 1 millisecond to a day.
    #[must_use]
    pub fn command_timeout(&self) -> Duration {
        self.0.command_timeout
    }

    /// How long a link with commands in flight may be silent before it is taken for dead; `None` never.
    #[must_use]
    pub fn liveness(&self) -> Option<Duration> {
        self.0.liveness
    }

    /// What every key begins with on the server.
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

    /// What becomes of a command while there is no connection, unless it says so itself.
    #[must_use]
    pub fn when_down(&self) -> WhenDown {
        self.0.when_down
    }

    /// Who answers reads, unless they say so themselves.
    #[must_use]
    pub fn read_from(&self) -> ReadFrom {
        self.0.read_from
    }

    /// The address under which a server that announces `address` can be reached: a node of a cluster, a server that
    /// sentinels name, or another sentinel. It is `address` itself where no mapping was configured for it.
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

    /// The ACL user to log in to the sentinels as; `None` is their default user.
    #[must_use]
    pub fn sentinel_username(&self) -> Option<&str> {
        self.0.sentinel_username.as_deref()
    }

    /// Whether there is a password for the sentinels.
    #[must_use]
    pub fn has_sentinel_password(&self) -> bool {
        self.0.sentinel_password.is_some()
    }

    /// The password of the sentinels.
    pub(crate) fn sentinel_password(&self) -> Option<&Secret> {
        self.0.sentinel_password.as_ref()
    }

    /// Whether the actor looks for the answers of a fast server instead of sleeping; `None`: only if it is on this machine.
    #[must_use]
    pub fn busy_poll(&self) -> Option<bool> {
        self.0.busy_poll
    }

    /// The version of RESP to speak, where the server speaks it.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.0.protocol
    }

    /// Whether CLIENT commands are sent when a connection is made.
    #[must_use]
    pub fn client_commands(&self) -> bool {
        self.0.client_commands
    }

    /// At most this many commands are on the wire at once; at least 1.
    #[must_use]
    pub fn max_in_flight(&self) -> usize {
        self.0.limits.max_in_flight
    }

    /// At most this many bytes of commands are on the wire at once; at least 1.
    #[must_use]
    pub fn max_in_flight_bytes(&self) -> usize {
        self.0.limits.max_in_flight_bytes
    }

    /// At most this many commands wait; at least 1.
    #[must_use]
    pub fn max_queued(&self) -> usize {
        self.0.limits.max_queued
    }

    /// At most this many bytes of commands wait; at least 1.
    #[must_use]
    pub fn max_queued_bytes(&self) -> usize {
        self.0.limits.max_queued_bytes
    }

    /// A command waits at most this long; `None` for as long as its deadline allows.
    #[must_use]
    pub fn max_queued_time(&self) -> Option<Duration> {
        self.0.limits.max_queued_time
    }

    /// What is suspicious without being wrong: unknown `REDIS_*` variables, each with the nearest known
    /// name.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// The effective configuration and where each value came from; prints as a table without secrets.
    #[must_use]
    pub fn describe(&self) -> &Description {
        &self.0.description
    }
}

/// By hand, so that no field can bring a secret along.
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
            .field("busy_poll", &self.0.busy_poll)
            .field("protocol", &self.0.protocol)
            .field("address_map", &self.0.address_map)
            .field("client_commands", &self.0.client_commands)
            .field("limits", &self.0.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(feature = "tls")))]
mod tests_without_tls {
    #[test]
    fn asking_for_tls_is_an_error_that_names_the_feature() {
        for (name, value) in [("REDIS_TLS", "true"), ("REDIS_URL", "rediss://h")] {
            let error = super::RedisConfig::from_vars([(name.into(), value.into())]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("feature `tls`"), "{error}");
        }
    }
}
