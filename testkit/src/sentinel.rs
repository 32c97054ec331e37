//! Real sentinels that monitor a master and its replicas, on loopback.

use crate::builder::RedisServerBuilder;
use crate::network::Network;
use crate::proxy::Proxy;
use crate::server::RedisServer;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

const TIME_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// The name under which the sentinels know the master.
const MASTER: &str = "mymaster";

/// Options of a set, see [`SentinelSet::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `start`"]
pub struct SentinelSetBuilder {
    server: RedisServerBuilder,
    sentinel: RedisServerBuilder,
    replicas: usize,
    proxied: bool,
    tls: bool,
}

impl SentinelSetBuilder {
    /// How the master and its replicas are started.
    pub fn servers(mut self, server: RedisServerBuilder) -> Self {
        self.server = server;
        self
    }

    /// How the sentinels are started.
    pub fn sentinels(mut self, sentinel: RedisServerBuilder) -> Self {
        self.sentinel = sentinel.sentinel();
        self
    }

    /// Servers and sentinels announce their TLS ports and use TLS between each other; both need
    /// [`RedisServerBuilder::tls`]. Needs Redis 7.0.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// How many replicas the master has. Default one.
    pub fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// Puts a proxy in front of the master and each replica, which they announce. See [`SentinelSet::proxy`] and
    /// [`SentinelSet::isolate`]. Needs Redis 6.2.
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// The password of the sentinels; they use it between each other, too.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel = self.sentinel.requirepass(password);
        self
    }

    /// Starts them, and waits until the sentinels know each other and the replicas.
    ///
    /// # Errors
    ///
    /// As [`RedisServerBuilder::start`], and when they do not find each other in time.
    pub fn start(self) -> io::Result<SentinelSet> {
        SentinelSet::launch(&self)
    }
}

/// Three sentinels, a master and its replicas. Dropping it ends them.
#[derive(Debug)]
pub struct SentinelSet {
    sentinels: Vec<RedisServer>,
    servers: Vec<RedisServer>,
    network: Option<Network>,
    tls: bool,
}

impl SentinelSet {
    /// Options for another deployment.
    pub fn builder() -> SentinelSetBuilder {
        let (server, sentinel) = (RedisServerBuilder::default(), RedisServer::builder().sentinel());
        SentinelSetBuilder { server, sentinel, replicas: 1, proxied: false, tls: false }
    }

    /// Starts them, and waits until the sentinels know each other and the replica.
    ///
    /// # Errors
    ///
    /// As [`RedisServerBuilder::start`], and when they do not find each other in time.
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// As [`start`](Self::start), with servers of this kind.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with(server: &RedisServerBuilder) -> io::Result<Self> {
        Self::builder().servers(server.clone()).start()
    }

    fn launch(options: &SentinelSetBuilder) -> io::Result<Self> {
        let mut network = options.proxied.then(Network::default);
        let mut start = |server: RedisServerBuilder| match &mut network {
            Some(network) => network.start(server, false),
            None => server.start(),
        };
        let secure = |server: RedisServerBuilder| {
            if options.tls { server.arg("--tls-replication", "yes") } else { server }
        };
        let server = || secure(options.server.clone()).arg("--repl-diskless-sync-delay", "0");
        let mut servers = vec![start(server())?];
        for _ in 0..options.replicas {
            servers.push(start(server())?);
        }
        let sentinel = |_| {
            let sentinel = secure(options.sentinel.clone());
            network.as_mut().map_or_else(|| sentinel.clone(), |network| network.outside(sentinel.clone())).start()
        };
        let sentinels = (0..3).map(sentinel).collect::<io::Result<Vec<_>>>()?;
        let set = Self { sentinels, servers, network, tls: options.tls };
        let port = set.announced_port(0).to_string();
        for replica in set.servers.iter().skip(1) {
            replica.command(["REPLICAOF", "127.0.0.1", &port])?.ok()?;
        }
        for sentinel in &set.sentinels {
            if options.proxied {
                // Otherwise they would be known by the addresses from which they connect.
                sentinel.command(["SENTINEL", "CONFIG", "SET", "announce-ip", "127.0.0.1"])?.ok()?;
            }
            sentinel.command(["SENTINEL", "MONITOR", MASTER, "127.0.0.1", &port, "2"])?.ok()?;
            for (what, value) in
                [("down-after-milliseconds", "600"), ("failover-timeout", "3000"), ("parallel-syncs", "1")]
            {
                sentinel.command(["SENTINEL", "SET", MASTER, what, value])?.ok()?;
            }
        }
        let deadline = Instant::now() + TIME_LIMIT;
        let replicas = options.replicas.to_string();
        for sentinel in &set.sentinels {
            loop {
                let known = sentinel.command(["SENTINEL", "MASTER", MASTER])?;
                let words: Vec<_> = known.array()?.iter().filter_map(|word| word.text().ok()).collect();
                let says = |name: &str, value: &str| words.windows(2).any(|pair| pair == [name, value]);
                if says("num-slaves", &replicas) && says("num-other-sentinels", "2") && says("flags", "master") {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "timed out: the sentinels did not find each other",
                    ));
                }
                thread::sleep(POLL);
            }
        }
        Ok(set)
    }

    /// `host:port` of the sentinels.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::addr).collect()
    }

    /// The name under which they know the master.
    #[must_use]
    pub fn name(&self) -> &'static str {
        MASTER
    }

    /// The sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// The master and its replicas, in no order.
    #[must_use]
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// The master according to a sentinel, and the others.
    ///
    /// # Errors
    ///
    /// When no sentinel answers.
    pub fn master(&self) -> io::Result<&RedisServer> {
        let sentinel = self.sentinels.first().ok_or_else(|| io::Error::other("there is no sentinel"))?;
        let answer = sentinel.command(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER])?;
        let port = answer.array()?.get(1).ok_or_else(|| io::Error::other("no address"))?.text()?;
        let nth = (0..self.servers.len()).find(|nth| self.announced_port(*nth).to_string() == port);
        let master = nth.and_then(|nth| self.servers.get(nth));
        master.ok_or_else(|| io::Error::other("a master outside of this deployment"))
    }

    /// The port that a server announces: that of its proxy, where it has one, or that for TLS, see
    /// [`SentinelSetBuilder::tls`].
    #[must_use]
    pub fn announced_port(&self, server: usize) -> u16 {
        let port = |server: &RedisServer| server.tls_port().filter(|_| self.tls).unwrap_or(server.port());
        let own = || self.servers.get(server).map_or(0, port);
        self.proxy(server).map_or_else(own, Proxy::port)
    }

    /// The proxy in front of a server, see [`SentinelSetBuilder::proxied`].
    #[must_use]
    pub fn proxy(&self, server: usize) -> Option<&Proxy> {
        self.network.as_ref()?.proxy(server)
    }

    /// Isolates a server of a proxied set from all sentinels and the other servers, both ways. Clients still reach it.
    pub fn isolate(&self, server: usize) {
        self.network.iter().for_each(|network| network.isolate(server));
    }

    /// Ends all partitions.
    pub fn heal(&self) {
        self.network.iter().for_each(Network::heal);
    }
}
