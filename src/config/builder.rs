//! Configuration in code.

use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use super::address::{HostPort, REDIS_PORT, SENTINEL_PORT, host_list};
use super::address_map::AddressMap;
use super::draft::{self, Draft, PrefixChoice};
use super::pem::Pem;
use super::problem::ConfigError;
use super::protocol::Protocol;
use super::secret::Secret;
use super::tls::TlsVerify;
use super::{RedisConfig, env, resolve};
use crate::frame::{ReadFrom, WhenDown};

/// Makes a [`RedisConfig`] in code. A setting given twice has its last value; what is left out has the
/// default that its method names.
///
/// Nothing is judged before [`build`](Self::build), which tells every problem at once.
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

/// By hand: its values are not judged yet, and any of them may be a password in the wrong place.
impl fmt::Debug for RedisConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfigBuilder").finish_non_exhaustive()
    }
}

/// Methods that note one value under their own name.
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
    /// Starts from the environment instead of from the defaults, for settings that no variable has:
    ///
    /// ```no_run
    /// use redis_actix::{RedisConfigBuilder, WhenDown};
    ///
    /// let config = RedisConfigBuilder::from_env().when_down(WhenDown::FailFast).build()?;
    /// # Ok::<(), redis_actix::ConfigError>(())
    /// ```
    ///
    /// A method called after it must not contradict a variable that is set: that is a problem, as a variable without
    /// effect would go unnoticed. The variables are those of [`RedisConfig::from_env`].
    pub fn from_env() -> Self {
        let builder = Self::from_vars(std::env::vars_os());
        for warning in &builder.draft.warnings {
            tracing::warn!("{warning}");
        }
        builder
    }

    /// As [`from_env`](Self::from_env), with the given variables instead of those of the process, and
    /// without logging.
    pub fn from_vars(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self { draft: env::draft(vars) }
    }

    settings! {
        /// A whole address: `redis://[user][:password@]host[:port][/db]`, `rediss://` for TLS, or
        /// `unix:///path?db=0&user=name&pass=word`, percent-encoded.
        ///
        /// It must not contradict the other settings; where they agree, both may stand. Host, port (6379)
        /// and database (0) count as said even where it leaves them out; user and password may come from
        /// elsewhere when it has none.
        url(url: impl Into<Secret>) = url.into();
        /// The server's host name or IP address. Default `localhost`.
        host(host: impl Into<String>) = host.into();
        /// The server's port, 1 to 65535. Default 6379.
        port(port: u16) = port;
        /// The path of the server's unix socket, instead of host and port.
        unix_socket(path: impl Into<PathBuf>) = path.into();
        /// The ACL user to log in as. Default: the server's default user.
        username(username: impl Into<String>) = username.into();
        /// The password to log in with: text or bytes, not empty. Default: none.
        password(password: impl Into<Secret>) = password.into();
        /// A file that holds the password, instead of [`password`](Self::password). It is read at every
        /// login, so a rotated password needs no restart. At most 64 KiB; one line end at its end is not
        /// part of the password.
        password_file(path: impl Into<PathBuf>) = path.into();
        /// The database, 0 to 2147483647 (how many there are is the server's choice, 16 by default).
        /// Default 0, the only one of a cluster.
        db(db: u32) = db;
        /// Whether to speak TLS. Default `false`; a `rediss://` URL implies it.
        tls(on: bool) = on;
        /// A PEM file of, or the PEM text of, the certificate authorities to trust. Default: those of the system.
        tls_ca(path_or_text: impl Into<OsString>) = Pem::of(path_or_text.into());
        /// A PEM file of, or the PEM text of, the client's certificate chain, together with [`tls_key`](Self::tls_key).
        /// Default: none.
        tls_cert(path_or_text: impl Into<OsString>) = Pem::of(path_or_text.into());
        /// A PEM file of, or the PEM text of, the client's private key, together with [`tls_cert`](Self::tls_cert). Default:
        /// none.
        tls_key(path_or_text: impl Into<OsString>) = Pem::of(path_or_text.into());
        /// The name that the server's certificate must be for. Default: the host that is dialled.
        tls_server_name(name: impl Into<String>) = name.into();
        /// What of the server's certificate is verified. Default: [`TlsVerify::Full`].
        tls_verify(what: TlsVerify) = what;
        /// How many lost links one command may live through, 0 to 1000. Default 3.
        max_retries(count: u32) = count;
        /// How long one attempt to connect may take, 1 millisecond to a day. Default 10 seconds.
        connect_timeout(time: Duration) = time;
        /// How long one command may take, over mailbox, queue, reconnects and wire together: 1 millisecond
        /// to a day. Default 5 seconds. From a second on it may end a step of the system's coarse clock early,
        /// normally 1 to 10 ms.
        command_timeout(time: Duration) = time;
        /// How long a link with commands in flight may be silent before it is taken for dead, 1
        /// millisecond to 2 days; `None` never takes it for dead. Default: twice the command timeout.
        liveness(time: impl Into<Option<Duration>>) = time.into();
        /// The name of the environment, a part of the default key prefix. Default `development`.
        environment(name: impl Into<String>) = name.into();
        /// The first part of the default key prefix `{namespace}:{environment}:`. Default `whatsapp`.
        key_namespace(namespace: impl Into<String>) = namespace.into();
        /// The first part of the default key prefix where neither [`key_namespace`](Self::key_namespace) nor
        /// `REDIS_KEY_NAMESPACE` says one: for libraries and services that have a default of their own. Without effect
        /// where the whole prefix is given.
        default_key_namespace(namespace: impl Into<String>) = namespace.into();
        /// The name that `CLIENT LIST` shows: printable ASCII without spaces. Default: none.
        client_name(name: impl Into<String>) = name.into();
        /// What becomes of a command while there is no connection, unless it says so itself. Default:
        /// [`WhenDown::Queue`].
        when_down(what: WhenDown) = what;
        /// Who answers reads that do not say so themselves: every read of a message or a pipeline of reads, from any
        /// handle or address of the connection, but nothing that the crate itself asks for (stream consumers, scans,
        /// dead letters and their kin). Replicas may be behind: see [`ReadFrom`]. There is no variable for it, because
        /// the code that reads has to be made for it. Default: [`ReadFrom::Primary`].
        read_from(whom: ReadFrom) = whom;
        /// The ACL user to log in to the sentinels as, for sentinels that have users of their own. Default: their
        /// default user.
        sentinel_username(username: impl Into<String>) = username.into();
        /// The password of the sentinels themselves (their `requirepass`, or that of the user above), not empty. The
        /// servers they name are logged in to with [`password`](Self::password). Default: none.
        sentinel_password(password: impl Into<Secret>) = password.into();
        /// Whether the actor looks again and again for answers of a fast server, instead of sleeping until the socket
        /// wakes it: for at most 100 microseconds a time, and ever more rarely, down to once in 1,024 waits, until
        /// something comes that soon. Beside its server a lone caller gets more than twice as many answers a second. A
        /// thread that looks is busy; others of it are not held up. It does not look for callers on other threads,
        /// except where it does not know them: what is sent through an `Addr`, and a command that blocks, counts as
        /// sent on the thread of the actor. Nor does it on a thread of a runtime of many, nor while about as many
        /// threads of this process wait for answers as it may use cores; callers elsewhere count as one, and what else
        /// wants these cores it does not see. Default: for a server that is on this machine by its address (a unix
        /// socket, a loopback address or one of its own). `true` for any, such as one in the next rack; `false` for
        /// none, such as one behind a tunnel or a sidecar, or where processor time is dearer than latency.
        busy_poll(on: bool) = on;
        /// The version of RESP to speak. Default: [`Protocol::Resp3`], which falls back to RESP2 where HELLO is refused.
        protocol(version: Protocol) = version;
        /// Whether CLIENT SETNAME, SETINFO and ID are sent when a connection is made. A server may refuse them; this is
        /// for proxies that cannot cope with them. Without them the server does not know the connection by a name, and a
        /// command that waits, such as `BLPOP`, is called off by closing its connection. Default `true`.
        client_commands(on: bool) = on;
        /// At most this many commands are on the wire at once, at least 1. Default 65,536.
        max_in_flight(commands: usize) = commands;
        /// At most this many bytes of commands are on the wire at once, at least 1. Each counts with its
        /// arguments and 350 bytes for what is kept about it. Default 64 MiB.
        max_in_flight_bytes(bytes: usize) = bytes;
        /// At most this many commands wait for the link, at least 1. Beyond this and
        /// [`max_in_flight`](Self::max_in_flight), `Redis::send` waits for room and `Addr` senders fail as
        /// overloaded. Default 100,000.
        max_queued(commands: usize) = commands;
        /// At most this many bytes of commands wait, at least 1, counted and enforced as the two bounds
        /// above. Default 64 MiB.
        max_queued_bytes(bytes: usize) = bytes;
        /// A command waits for the link at most this long, 1 millisecond to a day, even when its own deadline
        /// is later; then it fails as timed out and not sent. Default `None`: as long as its deadline allows.
        max_queued_time(time: impl Into<Option<Duration>>) = time.into();
    }

    /// Cluster mode: nodes to find the cluster through, as `host` or `host:port` (default port 6379), an
    /// IPv6 address in brackets.
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

    /// Replaces addresses that servers announce by those under which they can be reached from here: nodes of a cluster,
    /// servers that sentinels name, other sentinels. For networks with port forwarding, NAT or containers. The hosts that
    /// are configured here are dialled as they are. The variable is `REDIS_CLUSTER_ADDRESS_MAP`.
    ///
    /// It is called on the thread of the connection, whenever an address is learnt: it must not block. Where it panics
    /// the address stays as it is.
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

    /// Sentinel mode: the sentinels, as `host` or `host:port` (default port 26379), an IPv6 address in
    /// brackets, and the name under which they know the server.
    pub fn sentinel(mut self, hosts: impl IntoIterator<Item = impl AsRef<str>>, master: impl Into<String>) -> Self {
        let hosts: Vec<_> = hosts.into_iter().collect();
        match host_list(hosts.iter().map(AsRef::as_ref), SENTINEL_PORT) {
            Ok(hosts) => draft::set(&mut self.draft.sentinel_hosts, &mut self.draft.problems, "sentinel", hosts),
            Err(words) => self.draft.problem("sentinel", words),
        }
        draft::set(&mut self.draft.sentinel_master, &mut self.draft.problems, "sentinel", master.into());
        self
    }

    /// The whole key prefix, such as `shop:production:`, instead of namespace and environment; see
    /// [`KeyPrefix::new`](crate::KeyPrefix::new) for what it may be.
    pub fn key_prefix(self, prefix: impl Into<String>) -> Self {
        self.prefix(PrefixChoice::Plain(prefix.into()), "key_prefix")
    }

    /// A whole key prefix with a hash tag, such as `{shop}:`, which puts every key into one slot of a
    /// cluster; see [`KeyPrefix::with_hash_tag`](crate::KeyPrefix::with_hash_tag).
    pub fn key_hash_tag_prefix(self, prefix: impl Into<String>) -> Self {
        self.prefix(PrefixChoice::HashTag(prefix.into()), "key_hash_tag_prefix")
    }

    /// No key prefix: every key of the database is within reach.
    pub fn without_key_prefix(self) -> Self {
        self.prefix(PrefixChoice::None, "without_key_prefix")
    }

    fn prefix(mut self, choice: PrefixChoice, method: &'static str) -> Self {
        draft::set(&mut self.draft.key_prefix, &mut self.draft.problems, method, choice);
        self
    }

    /// Judges the settings.
    ///
    /// # Errors
    /// Everything that is wrong with them, at once, naming the methods (or variables, after
    /// [`from_env`](Self::from_env)) and never quoting a value.
    pub fn build(self) -> Result<RedisConfig, ConfigError> {
        resolve::resolve(self.draft).map(RedisConfig::from)
    }
}
