//! Configuration in code.

use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use super::address::{HostPort, REDIS_PORT, SENTINEL_PORT, host_list};
use super::address_map::AddressMap;
use super::connections::Connections;
use super::draft::{self, Draft, PrefixChoice};
use super::pem::Pem;
use super::problem::ConfigError;
use super::protocol::Protocol;
use super::secret::Secret;
use super::tls::TlsVerify;
use super::{RedisConfig, env, resolve};
use crate::cache::config::CacheConfig;
use crate::frame::{ReadFrom, WhenDown};

/// Builds a [`RedisConfig`] in code. If a setting is given twice the last value counts. Each method documents the
/// default of its setting.
///
/// Settings are validated by [`build`](Self::build), which reports all problems together.
///
/// ```
/// use redis_actix::RedisConfig;
///
/// let config = RedisConfig::builder().host("10.0.0.5").port(6379).key_prefix("shop:production:").build()?;
/// assert_eq!(config.key_prefix().as_str(), "shop:production:");
/// # Ok::<(), redis_actix::ConfigError>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct RedisConfigBuilder {
    draft: Draft,
}

/// Written by hand: the values are not validated yet, and any of them may be a password in the wrong place.
impl fmt::Debug for RedisConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfigBuilder").finish_non_exhaustive()
    }
}

/// Defines methods that store one value under their own name.
macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident($arg:ident: $type:ty) = $value:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $arg: $type) -> Self {
            draft::set(&mut self.draft.$name, &mut self.draft.problems, stringify!($name), $value);
            self
        }
    )*};
}

impl RedisConfigBuilder {
    /// Starts from environment variables instead of the defaults, for settings without a variable:
    ///
    /// ```no_run
    /// use redis_actix::{RedisConfigBuilder, WhenDown};
    ///
    /// let config = RedisConfigBuilder::from_env().when_down(WhenDown::FailFast).build()?;
    /// # Ok::<(), redis_actix::ConfigError>(())
    /// ```
    ///
    /// A method must not contradict a variable that is set, because the variable would silently have no effect: that
    /// is a problem. The variables are those of [`RedisConfig::from_env`].
    pub fn from_env() -> Self {
        let builder = Self::from_vars(std::env::vars_os());
        for warning in &builder.draft.warnings {
            tracing::warn!(event = "config.warning", "{warning}");
        }
        builder
    }

    /// Like [`from_env`](Self::from_env), with the given variables instead of those of the process, and without
    /// logging.
    pub fn from_vars(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self { draft: env::draft(vars) }
    }

    settings! {
        /// A complete address: `redis://[user][:password@]host[:port][/db]`, `rediss://` for TLS, or
        /// `unix:///path?db=0&user=name&pass=word`, percent-encoded.
        ///
        /// It must not contradict other settings, but may repeat them. A URL without port or database sets port 6379
        /// and database
        /// 0. User and password may be set separately if the URL has none.
        url(url: impl Into<Secret>) = url.into();
        /// The server's host name or IP address. Default `localhost`.
        ///
        /// A name is resolved at every dial, not while a link is up. Where it leads to another server from now on, a link moves
        /// when the old server closes it, refuses a write (`READONLY`) or is silent for [`liveness`](Self::liveness), as after
        /// a failover of a managed service. An old server that stays up as a master keeps its links: demote it
        /// (`REPLICAOF`) or end its clients (`CLIENT KILL TYPE normal`) when the name has moved.
        host(host: impl Into<String>) = host.into();
        /// The server's port, 1 to 65535. Default 6379.
        port(port: u16) = port;
        /// The path of the server's unix socket; replaces host and port.
        unix_socket(path: impl Into<PathBuf>) = path.into();
        /// The ACL user for logins. Default: the server's default user.
        username(username: impl Into<String>) = username.into();
        /// The password for logins: text or bytes, not empty. Default: none.
        password(password: impl Into<Secret>) = password.into();
        /// A file that contains the password; replaces [`password`](Self::password). It is read at every login, so a
        /// rotated password needs no restart. Maximum 64 KiB; one trailing line end is not part of the password.
        password_file(path: impl Into<PathBuf>) = path.into();
        /// The database, 0 to 2147483647 (servers have 16 by default). Default 0, the only one of a cluster.
        db(db: u32) = db;
        /// Enables TLS. Default `false`; a `rediss://` URL implies it.
        tls(on: bool) = on;
        /// The trusted certificate authorities, as the path of a PEM file or as PEM text. Default: those of the
        /// system.
        tls_ca(path_or_text: impl Into<OsString>) = Pem::of(path_or_text.into());
        /// The client's certificate chain, as the path of a PEM file or as PEM text, together with
        /// [`tls_key`](Self::tls_key). Default: none.
        tls_cert(path_or_text: impl Into<OsString>) = Pem::of(path_or_text.into());
        /// The client's private key, as the path of a PEM file or as PEM text, together with
        /// [`tls_cert`](Self::tls_cert). Default: none.
        tls_key(path_or_text: impl Into<OsString>) = Pem::of(path_or_text.into());
        /// The expected name in the server's certificate. Default: the host that is dialled.
        tls_server_name(name: impl Into<String>) = name.into();
        /// Which parts of the server's certificate are verified. Default: [`TlsVerify::Full`].
        tls_verify(what: TlsVerify) = what;
        /// Maximum number of broken links per command before it fails, 0 to 1000. Default 3.
        max_retries(count: u32) = count;
        /// Maximum duration of one connection attempt, 1 millisecond to a day. Default 10 seconds.
        connect_timeout(time: Duration) = time;
        /// Maximum duration of one command over mailbox, queue, reconnects and network, 1 millisecond to a day.
        /// Default 5 seconds. A timeout of 1 s or more may expire one step of the system's coarse clock early,
        /// normally 1 to 10 ms.
        command_timeout(time: Duration) = time;
        /// A link with commands in flight counts as dead after this time without received bytes, 1 millisecond to 2
        /// days; `None` disables the check. Default: twice the command timeout.
        liveness(time: impl Into<Option<Duration>>) = time.into();
        /// The name of the environment, a part of the default key prefix. Default `development`.
        environment(name: impl Into<String>) = name.into();
        /// The first part of the default key prefix `{namespace}:{environment}:`. Default `whatsapp`.
        key_namespace(namespace: impl Into<String>) = namespace.into();
        /// The first part of the default key prefix if neither [`key_namespace`](Self::key_namespace) nor
        /// `REDIS_KEY_NAMESPACE` sets it: for libraries and services with a default of their own. Without effect if
        /// the whole prefix is set.
        default_key_namespace(namespace: impl Into<String>) = namespace.into();
        /// The name of the connection in `CLIENT LIST`: printable ASCII without spaces. Default: none.
        client_name(name: impl Into<String>) = name.into();
        /// How a command is handled while there is no connection, unless the command has its own choice. Default:
        /// [`WhenDown::Queue`].
        when_down(what: WhenDown) = what;
        /// The server that replies to reads without their own choice. It applies to every read, as a message or in a
        /// pipeline of reads, from any handle or address of the connection. It does not apply to internal reads of
        /// the crate (stream consumers, scans, dead letters and similar). Replicas may be stale: see [`ReadFrom`].
        /// There is no variable for it, because the calling code must tolerate stale reads. Default:
        /// [`ReadFrom::Primary`].
        read_from(server: ReadFrom) = server;
        /// Enables client-side caching: see the chapter [`caching`](crate::caching). It needs RESP3. Where the server or a proxy
        /// does not report changed keys, reads are not cached, with the event
        /// [`CacheUnavailable`](crate::ConnectionEvent::CacheUnavailable). Default: off. The variables are
        /// `REDIS_CACHE_BYTES` and `REDIS_CACHE_TTL`, which this method replaces.
        cache(settings: CacheConfig) = settings;
        /// The ACL user for logins to the sentinels. Default: their default user.
        sentinel_username(username: impl Into<String>) = username.into();
        /// The password of the sentinels (their `requirepass`, or that of the user above), not empty. Logins to the
        /// servers behind them use [`password`](Self::password). Default: none.
        sentinel_password(password: impl Into<Secret>) = password.into();
        /// Enables busy polling: the actor polls the socket for replies for up to this time before the thread sleeps, at
        /// most 1 millisecond; zero disables it. 100 microseconds suit a server on the same machine, where a single
        /// caller gets about twice as many replies per second. While no reply arrives within that time the actor polls
        /// ever less often, down to once in 1,024 waits.
        ///
        /// A polling thread uses a whole CPU core, which the server and other threads then lack: leave it off unless
        /// there are more cores than busy threads. Other tasks of the thread are not delayed. The actor does not poll
        /// for callers on other threads, nor on a thread of a multi-threaded runtime. Commands that are sent through
        /// an `Addr` and blocking commands count as sent on the actor's thread.
        ///
        /// Default: off. The variable is `REDIS_BUSY_POLL`, in microseconds.
        busy_poll(time: Duration) = time;
        /// The connections that carry the commands: one for all threads, or one per thread. Default:
        /// [`Connections::Shared`]. The variable is `REDIS_CONNECTIONS`.
        connections(which: Connections) = which;
        /// The preferred version of RESP. Default: [`Protocol::Resp3`], which falls back to RESP2 if the server
        /// refuses HELLO.
        protocol(version: Protocol) = version;
        /// Whether CLIENT SETNAME, SETINFO and ID are sent during the handshake. A server may refuse them without
        /// harm; `false` is for proxies that do not support them. Without them the connection has no name on the
        /// server, and a blocking command, such as `BLPOP`, is cancelled by closing its connection. Default `true`.
        client_commands(on: bool) = on;
        /// Maximum number of commands in flight, at least 1. Default 65,536.
        max_in_flight(commands: usize) = commands;
        /// Maximum number of command bytes in flight, at least 1. Each command counts with its arguments and 350
        /// bytes of bookkeeping. Default 64 MiB.
        max_in_flight_bytes(bytes: usize) = bytes;
        /// Maximum number of queued commands, at least 1. If the queue and [`max_in_flight`](Self::max_in_flight) are
        /// exhausted, `Redis::send` waits for room, and `Addr` senders fail as overloaded. Default 100,000.
        max_queued(commands: usize) = commands;
        /// Maximum number of queued command bytes, at least 1, counted and enforced like the two limits above.
        /// Default 64 MiB.
        max_queued_bytes(bytes: usize) = bytes;
        /// Maximum time of a command in the queue, 1 millisecond to a day, even if its deadline is later. Then it
        /// fails as timed out and not sent. Default `None`: until its deadline.
        max_queued_time(time: impl Into<Option<Duration>>) = time.into();
    }

    /// Cluster mode: nodes for the discovery of the cluster, as `host` or `host:port` (default port 6379), an IPv6
    /// address in brackets.
    pub fn cluster_hosts(mut self, hosts: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let hosts: Vec<_> = hosts.into_iter().collect();
        match host_list(hosts.iter().map(AsRef::as_ref), REDIS_PORT) {
            Ok(hosts) => {
                draft::set(&mut self.draft.cluster_hosts, &mut self.draft.problems, "cluster_hosts", hosts);
            }
            Err(words) => self.draft.problem("cluster_hosts", words),
        }
        self
    }

    /// Maps the addresses that servers announce to reachable addresses: those of cluster nodes, servers behind
    /// sentinels, and other sentinels. For networks with port forwarding, NAT or containers. Addresses that are
    /// configured here are dialled unchanged. The variable is `REDIS_CLUSTER_ADDRESS_MAP`.
    ///
    /// The function is called on the connection's thread for every discovered address, so it must not block. If it
    /// panics the address is unchanged.
    ///
    /// ```
    /// use redis_actix::{HostPort, RedisConfig};
    ///
    /// let config = RedisConfig::builder()
    ///     .cluster_hosts(["localhost:7001"])
    ///     .address_map(|announced| HostPort { host: "localhost".to_owned(), port: announced.port })
    ///     .build()?;
    /// # Ok::<(), redis_actix::ConfigError>(())
    /// ```
    pub fn address_map(mut self, map: impl Fn(&HostPort) -> HostPort + Send + Sync + 'static) -> Self {
        draft::set(&mut self.draft.address_map, &mut self.draft.problems, "address_map", AddressMap::computed(map));
        self
    }

    /// Sentinel mode: the sentinels, as `host` or `host:port` (default port 26379), an IPv6 address in brackets, and
    /// the name of the server in their configuration.
    pub fn sentinel(mut self, hosts: impl IntoIterator<Item = impl AsRef<str>>, master: impl Into<String>) -> Self {
        let hosts: Vec<_> = hosts.into_iter().collect();
        match host_list(hosts.iter().map(AsRef::as_ref), SENTINEL_PORT) {
            Ok(hosts) => draft::set(&mut self.draft.sentinel_hosts, &mut self.draft.problems, "sentinel", hosts),
            Err(words) => self.draft.problem("sentinel", words),
        }
        draft::set(&mut self.draft.sentinel_master, &mut self.draft.problems, "sentinel", master.into());
        self
    }

    /// The whole key prefix, such as `shop:production:`; replaces namespace and environment. See
    /// [`KeyPrefix::new`](crate::KeyPrefix::new) for the accepted values.
    pub fn key_prefix(self, prefix: impl Into<String>) -> Self {
        self.prefix(PrefixChoice::Plain(prefix.into()), "key_prefix")
    }

    /// A whole key prefix with a hash tag, such as `{shop}:`, which puts every key into one slot of a cluster; see
    /// [`KeyPrefix::with_hash_tag`](crate::KeyPrefix::with_hash_tag).
    pub fn key_hash_tag_prefix(self, prefix: impl Into<String>) -> Self {
        self.prefix(PrefixChoice::HashTag(prefix.into()), "key_hash_tag_prefix")
    }

    /// Disables the key prefix: commands can reach every key of the database.
    pub fn without_key_prefix(self) -> Self {
        self.prefix(PrefixChoice::None, "without_key_prefix")
    }

    fn prefix(mut self, choice: PrefixChoice, method: &'static str) -> Self {
        draft::set(&mut self.draft.key_prefix, &mut self.draft.problems, method, choice);
        self
    }

    /// Validates the settings.
    ///
    /// # Errors
    /// All problems together. They name methods (or variables, after [`from_env`](Self::from_env)) and never quote a
    /// value.
    pub fn build(self) -> Result<RedisConfig, ConfigError> {
        resolve::resolve(self.draft).map(RedisConfig::from)
    }
}
