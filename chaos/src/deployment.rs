//! A cluster, or a master with a replica and sentinels, behind proxies.

use std::collections::{HashMap, HashSet};
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use redis_actix::{RedisConfig, RedisConfigBuilder};
use redis_actix_test::{Connection, Proxy, RedisCluster, RedisServer, RedisServerBuilder, Reply, SentinelSet};

/// Primaries of the cluster; each has one replica.
const SHARDS: usize = 3;
const POLL: Duration = Duration::from_millis(50);
/// Time limit for servers to converge after a fault.
const AGREEMENT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Cluster,
    Sentinel,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Sentinel => "sentinel",
        }
    }
}

#[derive(Debug)]
enum Servers {
    Cluster(RedisCluster),
    Sentinel(SentinelSet),
}

/// Shard `n` has two servers, of which one is the primary.
#[derive(Debug)]
pub struct Deployment {
    servers: Servers,
    prefix: &'static str,
}

impl Deployment {
    /// A prefix with a hash tag, such as `{chaos}:`, keeps all keys in one shard, the first.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mode: Mode, prefix: &'static str) -> io::Result<Self> {
        Self::launch(mode, prefix, RedisServer::builder(), false)
    }

    /// Without proxies, and with a second port for TLS at each server and sentinel: see [`RedisServerBuilder::tls`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_tls(mode: Mode, prefix: &'static str, server: RedisServerBuilder) -> io::Result<Self> {
        Self::launch(mode, prefix, server, true)
    }

    fn launch(mode: Mode, prefix: &'static str, server: RedisServerBuilder, tls: bool) -> io::Result<Self> {
        let sentinel = server.clone();
        // Written at once and never synced: it survives a killed process, and no failover waits for the disk.
        let server = server.appendonly(true).arg("--appendfsync", "no");
        let server = server.args(["--lua-time-limit", "50", "--loading-process-events-interval-bytes", "1024"]);
        let server = server.args(["--repl-ping-replica-period", "1", "--repl-timeout", "5"]);
        let servers = match mode {
            Mode::Cluster => {
                let cluster = RedisCluster::builder().primaries(SHARDS).replicas(1).nodes(server);
                // A shard without a primary must not stop the others: each is checked separately.
                let cluster = cluster.arg("--cluster-require-full-coverage", "no");
                Servers::Cluster(if tls { cluster.tls().start()? } else { cluster.proxied().start()? })
            }
            Mode::Sentinel => {
                let set = SentinelSet::builder().servers(server);
                Servers::Sentinel(if tls { set.sentinels(sentinel).tls().start()? } else { set.proxied().start()? })
            }
        };
        let deployment = Self { servers, prefix };
        deployment.wait_well(&[])?;
        Ok(deployment)
    }

    pub fn mode(&self) -> Mode {
        match self.servers {
            Servers::Cluster(_) => Mode::Cluster,
            Servers::Sentinel(_) => Mode::Sentinel,
        }
    }

    pub fn config(&self) -> RedisConfigBuilder {
        let config = self.prefixed();
        match &self.servers {
            Servers::Cluster(cluster) => config.cluster_hosts(cluster.hosts().iter().take(4)),
            Servers::Sentinel(set) => config.sentinel(set.hosts(), set.name()),
        }
    }

    /// The configuration for the first server as a single one.
    pub fn config_of_one_server(&self) -> RedisConfigBuilder {
        self.prefixed().host("127.0.0.1").port(self.proxy(0).port())
    }

    fn prefixed(&self) -> RedisConfigBuilder {
        let config = RedisConfig::builder();
        if self.prefix.starts_with('{') {
            config.key_hash_tag_prefix(self.prefix)
        } else {
            config.key_prefix(self.prefix)
        }
    }

    pub fn servers(&self) -> &[RedisServer] {
        match &self.servers {
            Servers::Cluster(cluster) => cluster.nodes(),
            Servers::Sentinel(set) => set.servers(),
        }
    }

    /// The cluster, if it is one.
    pub fn cluster(&self) -> Option<&RedisCluster> {
        match &self.servers {
            Servers::Cluster(cluster) => Some(cluster),
            Servers::Sentinel(_) => None,
        }
    }

    /// The sentinels, if there are any.
    pub fn sentinels(&self) -> Option<&SentinelSet> {
        match &self.servers {
            Servers::Cluster(_) => None,
            Servers::Sentinel(set) => Some(set),
        }
    }

    /// A key with its prefix.
    pub fn whole(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub fn shards(&self) -> usize {
        self.servers().len() / 2
    }

    /// The proxy between clients and a server.
    pub fn proxy(&self, server: usize) -> &Proxy {
        let proxy = match &self.servers {
            Servers::Cluster(cluster) => cluster.proxy(server),
            Servers::Sentinel(set) => set.proxy(server),
        };
        proxy.expect("every server has one")
    }

    pub fn isolate(&self, server: usize) {
        match &self.servers {
            Servers::Cluster(cluster) => cluster.isolate(server),
            Servers::Sentinel(set) => set.isolate(server),
        }
    }

    pub fn heal(&self) {
        match &self.servers {
            Servers::Cluster(cluster) => cluster.heal(),
            Servers::Sentinel(set) => set.heal(),
        }
    }

    fn announced(&self, server: usize) -> u16 {
        match &self.servers {
            Servers::Cluster(cluster) => cluster.announced_port(server),
            Servers::Sentinel(set) => set.announced_port(server),
        }
    }

    /// The primary of a shard according to a majority; `broken` servers are not asked.
    pub fn primary(&self, shard: usize, broken: &[usize]) -> Option<usize> {
        let views: Vec<Option<usize>> = match &self.servers {
            Servers::Sentinel(set) => {
                set.sentinels().iter().map(|sentinel| self.named_by(sentinel, set.name())).collect()
            }
            Servers::Cluster(cluster) => {
                let nodes = cluster.nodes().iter().enumerate().filter(|(nth, _)| !broken.contains(nth));
                nodes.map(|(_, node)| self.seen_by(node, shard)).collect()
            }
        };
        let votes = |server| views.iter().filter(|view| **view == Some(server)).count();
        self.members(shard).into_iter().find(|server| votes(*server) * 2 > views.len())
    }

    pub fn members(&self, shard: usize) -> [usize; 2] {
        [shard, shard + self.shards()]
    }

    pub fn other(&self, server: usize) -> usize {
        (server + self.shards()) % self.servers().len()
    }

    fn named_by(&self, sentinel: &RedisServer, master: &str) -> Option<usize> {
        let reply = sentinel.command(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", master]).ok()?;
        let port = reply.array().ok()?.get(1)?.text().ok()?;
        (0..self.servers().len()).find(|nth| self.announced(*nth).to_string() == port)
    }

    fn seen_by(&self, node: &RedisServer, shard: usize) -> Option<usize> {
        let nodes = node.command(["CLUSTER", "NODES"]).ok()?.text().ok()?;
        self.members(shard).into_iter().find(|member| {
            let address = format!("127.0.0.1:{}@", self.announced(*member));
            let line = nodes.lines().find(|line| line.contains(&address));
            line.is_some_and(|line| {
                let words: Vec<_> = line.split(' ').collect();
                let flags: Vec<_> = words.get(2).unwrap_or(&"").split(',').collect();
                flags.contains(&"master") && !flags.contains(&"fail") && words.len() > 8
            })
        })
    }

    /// Waits until another server than `old` is the primary, and returns the time.
    pub fn switched(&self, shard: usize, old: usize, broken: &[usize], within: Duration) -> Option<Instant> {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if self.primary(shard, broken).is_some_and(|primary| primary != old) {
                return Some(Instant::now());
            }
            sleep(POLL);
        }
        None
    }

    /// Waits until all servers but the `dead` ones agree on a primary of every shard, and each has a replica in sync.
    ///
    /// # Errors
    /// When it takes longer than a minute.
    pub fn wait_well(&self, dead: &[usize]) -> io::Result<()> {
        let deadline = Instant::now() + AGREEMENT;
        loop {
            let trouble = match self.trouble(dead) {
                Ok(None) => return Ok(()),
                Ok(Some(trouble)) => trouble,
                Err(error) => error.to_string(),
            };
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("the servers do not agree: {trouble}")));
            }
            sleep(POLL);
        }
    }

    fn trouble(&self, dead: &[usize]) -> io::Result<Option<String>> {
        for shard in 0..self.shards() {
            let Some(primary) = self.primary(shard, dead) else {
                return Ok(Some(format!("shard {shard} has no primary")));
            };
            let info = |server: usize| self.servers()[server].command(["INFO", "replication"])?.text();
            let leads = info(primary)?;
            let followed = leads.contains("state=online") || dead.contains(&self.other(primary));
            if !leads.contains("role:master") || !followed {
                return Ok(Some(format!("server {primary} has no replica that follows")));
            }
            if !dead.contains(&self.other(primary)) && !info(self.other(primary))?.contains("master_link_status:up") {
                return Ok(Some(format!("server {} does not follow {primary}", self.other(primary))));
            }
        }
        match &self.servers {
            Servers::Cluster(cluster) => {
                for (nth, node) in cluster.nodes().iter().enumerate().filter(|(nth, _)| !dead.contains(nth)) {
                    let nodes = node.command(["CLUSTER", "NODES"])?.text()?;
                    let failing = nodes.lines().filter(|line| line.contains("fail") || line.contains("disconnected"));
                    if failing.count() > dead.len()
                        || !node.command(["CLUSTER", "INFO"])?.text()?.contains("cluster_state:ok")
                    {
                        return Ok(Some(format!("server {nth} sees a failing one")));
                    }
                }
            }
            Servers::Sentinel(set) => {
                for sentinel in set.sentinels() {
                    if let Some(trouble) = trouble_of(sentinel, set.name())? {
                        return Ok(Some(trouble));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The owners of slots according to one node.
    fn slots_seen_by(&self, node: &RedisServer) -> io::Result<Vec<String>> {
        let slots = node.command(["CLUSTER", "SLOTS"])?;
        let range = |range: &Reply| {
            let range = range.array()?;
            let number = |reply: Option<&Reply>| reply.map_or(Ok(0), Reply::int);
            let port = range.get(2).map(Reply::array).transpose()?.and_then(|primary| primary.get(1));
            Ok(format!("{}-{} {}", number(range.first())?, number(range.get(1))?, number(port)?))
        };
        let mut ranges = slots.array()?.iter().map(range).collect::<io::Result<Vec<_>>>()?;
        ranges.sort();
        Ok(ranges)
    }

    /// Waits until all nodes of a cluster see the same owners of slots.
    ///
    /// # Errors
    /// When it takes longer than a minute.
    pub fn wait_for_one_view(&self) -> io::Result<()> {
        let deadline = Instant::now() + AGREEMENT;
        loop {
            let views =
                self.servers().iter().map(|node| self.slots_seen_by(node)).collect::<io::Result<HashSet<_>>>()?;
            if views.len() == 1 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("the nodes see different owners of slots"));
            }
            sleep(POLL);
        }
    }

    /// The lists at these keys, which are deleted, and the entries of streams. Values that are not numbers are zero.
    pub fn take_lists(&self, keys: &HashSet<String>) -> HashMap<String, Vec<u64>> {
        let mut servers: Vec<Connection> = self.servers().iter().filter_map(|server| server.connect().ok()).collect();
        let primaries: Vec<bool> = servers.iter_mut().map(is_master).collect();
        let mut lists = HashMap::new();
        for key in keys {
            let whole = self.whole(key);
            let masters = servers.iter_mut().zip(&primaries).filter(|(_, master)| **master);
            let list = masters.map(|(server, _)| server).find_map(|server| {
                if key.starts_with("{stream}") {
                    // Its consumer must see the entries first.
                    let reply = server.command(["XRANGE", &whole, "-", "+"]).ok()?;
                    return Some(reply.array().ok()?.iter().map(entry).collect());
                }
                let reply = server.command(["LRANGE", &whole, "0", "-1"]).ok()?;
                let numbers = reply.array().ok()?.iter().map(number).collect();
                server.command(["DEL", &whole]).ok()?;
                Some(numbers)
            });
            lists.insert(key.clone(), list.unwrap_or_else(|| panic!("no primary has {key}")));
        }
        lists
    }

    /// All keys of all primaries that do not have the prefix.
    pub fn strays(&self) -> Vec<String> {
        let keys = self.servers().iter().filter_map(|server| server.command(["KEYS", "*"]).ok());
        let keys = keys.flat_map(|keys| keys.array().unwrap_or_default().to_vec());
        keys.filter_map(|key| key.text().ok()).filter(|key| !key.starts_with(self.prefix)).collect()
    }

    /// The state of servers and sentinels, for the diagnosis of a violation.
    pub fn describe(&self) -> String {
        let ask = |server: &RedisServer, words: &[&str]| {
            server.command(words).and_then(|reply| reply.text()).unwrap_or_else(|error| error.to_string())
        };
        let of = |server: &RedisServer| match self.mode() {
            Mode::Cluster => ask(server, &["CLUSTER", "NODES"]),
            Mode::Sentinel => ask(server, &["INFO", "replication"]),
        };
        self.servers().iter().map(of).collect::<Vec<_>>().join("\n")
    }
}

fn number(word: &Reply) -> u64 {
    word.text().ok().and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// The number in the first field of a stream's entry.
fn entry(entry: &Reply) -> u64 {
    let fields = entry.array().ok().and_then(|entry| entry.get(1)?.array().ok());
    fields.and_then(|fields| fields.get(1)).map(number).unwrap_or_default()
}

fn is_master(server: &mut Connection) -> bool {
    let role = server.command(["ROLE"]);
    role.is_ok_and(|role| role.array().is_ok_and(|role| role.first().and_then(Reply::bytes) == Some(b"master")))
}

fn trouble_of(sentinel: &RedisServer, master: &str) -> io::Result<Option<String>> {
    let known = sentinel.command(["SENTINEL", "MASTER", master])?;
    let words: Vec<_> = known.array()?.iter().filter_map(|word| word.text().ok()).collect();
    let says = |name: &str, value: &str| words.windows(2).any(|pair| pair == [name, value]);
    if !says("flags", "master") || !says("num-other-sentinels", "2") || !says("num-slaves", "1") {
        return Ok(Some(format!("a sentinel sees {words:?}")));
    }
    let replicas = sentinel.command(["SENTINEL", "REPLICAS", master])?;
    for replica in replicas.array()? {
        let words: Vec<_> = replica.array()?.iter().filter_map(|word| word.text().ok()).collect();
        if !words.windows(2).any(|pair| pair == ["flags", "slave"])
            || !words.windows(2).any(|pair| pair == ["master-link-status", "ok"])
        {
            return Ok(Some("a sentinel sees a replica that does not follow".to_owned()));
        }
    }
    Ok(None)
}

/// Time windows in which servers may lose acknowledged writes: from shortly before an unplanned failover until every client
/// can know of it.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    windows: Vec<(Instant, Instant)>,
}

/// Time limit for the replication of a write.
const REPLICATION: Duration = Duration::from_secs(1);

impl Losses {
    /// `switched` is when a majority of servers or sentinels named the new primary; `follow` is how long a client may take
    /// to leave the old one after that.
    pub fn add(&mut self, broken: Instant, switched: Instant, follow: Duration) {
        self.windows.push((broken.checked_sub(REPLICATION).unwrap_or(broken), switched + follow));
    }

    pub fn extend(&mut self, other: Self) {
        self.windows.extend(other.windows);
    }

    pub fn explain(&self, acknowledged: Instant) -> bool {
        self.windows.iter().any(|(from, to)| (*from..=*to).contains(&acknowledged))
    }

    /// The position of a time relative to the last window before it.
    pub fn near(&self, at: Instant) -> String {
        let before = self.windows.iter().filter(|(from, _)| *from <= at).max_by_key(|(from, _)| *from);
        match before {
            None => "no failover before it".to_owned(),
            Some((_, to)) => {
                format!("acknowledged {:?} after clients had to follow", at.saturating_duration_since(*to))
            }
        }
    }
}
