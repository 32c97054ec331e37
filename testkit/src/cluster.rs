//! Real clusters of several processes on loopback.

use crate::builder::RedisServerBuilder;
use crate::connection::Connection;
use crate::network::Network;
use crate::proxy::Proxy;
use crate::reply::Reply;
use crate::server::RedisServer;
use std::io;
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

/// Time limit for a cluster to converge.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// How long its start may take: nodes with a long timeout gossip slowly, and the machine may be busy.
const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
const SLOTS: usize = 16_384;

/// Options of a cluster, see [`RedisCluster::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `start`"]
pub struct RedisClusterBuilder {
    node: RedisServerBuilder,
    primaries: usize,
    replicas: usize,
    node_timeout: Duration,
    proxied: bool,
}

impl RedisClusterBuilder {
    /// How many nodes have slots. Default 3.
    pub fn primaries(mut self, count: usize) -> Self {
        self.primaries = count.max(1);
        self
    }

    /// How many replicas each of them has. Default none.
    pub fn replicas(mut self, each: usize) -> Self {
        self.replicas = each;
        self
    }

    /// The time after which a silent node counts as failed. Default one second.
    pub fn node_timeout(mut self, timeout: Duration) -> Self {
        self.node_timeout = timeout;
        self
    }

    /// Puts a proxy in front of each node and another one in front of its bus. The nodes announce the proxies. See
    /// [`RedisCluster::proxy`] and [`RedisCluster::isolate`]. Needs Redis 6.2.
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Nodes announce their TLS ports and use TLS between each other; see [`RedisServerBuilder::tls`]. Needs
    /// Redis 7.0.
    pub fn tls(mut self) -> Self {
        self.node = self.node.args(["--tls-cluster", "yes", "--tls-replication", "yes"]);
        self
    }

    /// Adds an option of every node.
    pub fn arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.node = self.node.arg(name, value);
        self
    }

    /// Options of every node; cluster mode is added.
    pub fn nodes(mut self, node: RedisServerBuilder) -> Self {
        self.node = node;
        self
    }

    /// Starts the nodes and waits until each reports that the cluster is ok.
    ///
    /// # Errors
    ///
    /// As [`RedisServerBuilder::start`], and when the cluster does not converge in time.
    pub fn start(self) -> io::Result<RedisCluster> {
        let node = cluster_options(self.node, self.node_timeout);
        let count = self.primaries * (1 + self.replicas);
        let mut network = self.proxied.then(Network::default);
        let start = |_| match &mut network {
            Some(network) => network.start(node.clone(), true),
            None => node.clone().start(),
        };
        let nodes = (0..count).map(start).collect::<io::Result<Vec<_>>>()?;
        let cluster = RedisCluster { nodes, node, network };
        let addresses: Vec<_> = cluster.nodes.iter().map(RedisServer::addr).collect();
        form_through(&addresses, &cluster.meeting_point(), self.primaries)?;
        Ok(cluster)
    }
}

/// Adds the options of a cluster node with short timeouts.
pub fn cluster_options(node: RedisServerBuilder, node_timeout: Duration) -> RedisServerBuilder {
    let replica = ["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"];
    let timeout = node_timeout.as_millis().to_string();
    // Otherwise a primary that loses its last slot becomes a replica in the middle of a test.
    let stay = ["--cluster-allow-replica-migration", "no"];
    node.cluster().arg("--cluster-node-timeout", timeout).args(replica).args(stay)
}

/// Forms a cluster of running nodes: the first `primaries` get the slots, the others become their replicas in turn.
///
/// # Errors
///
/// When a node refuses, or the cluster does not converge within 20 seconds.
pub fn form(addresses: &[String], primaries: usize) -> io::Result<()> {
    let (first, _) = addresses.split_first().ok_or_else(|| io::Error::other("a cluster needs a node"))?;
    let (host, port) = first.rsplit_once(':').ok_or_else(|| io::Error::other("an address is host:port"))?;
    form_through(addresses, &[host.to_owned(), port.to_owned()], primaries)
}

/// As [`form`]; `meet` is the address of the first node for the others: host, port, and the bus port if it is not the usual
/// one.
fn form_through(addresses: &[String], meet: &[String], primaries: usize) -> io::Result<()> {
    let mut nodes = addresses.iter().map(|node| Connection::open(node, None)).collect::<io::Result<Vec<_>>>()?;
    for (at, node) in nodes.iter_mut().enumerate() {
        node.command(["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()])?.ok()?;
        if at < primaries {
            let (from, to) = (at * SLOTS / primaries, (at + 1) * SLOTS / primaries - 1);
            node.command(["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()])?.ok()?;
        }
        if at > 0 {
            node.command(["CLUSTER", "MEET"].into_iter().chain(meet.iter().map(String::as_str)))?.ok()?;
        }
    }
    let ids = nodes.iter_mut().map(|node| node.command(["CLUSTER", "MYID"])?.text()).collect::<io::Result<Vec<_>>>()?;
    let deadline = Instant::now() + START_LIMIT;
    for node in &mut nodes {
        until(deadline, "each node to know all others", || {
            let known = node.command(["CLUSTER", "NODES"])?.text()?;
            Ok(ids.iter().all(|id| known.lines().any(|line| line.starts_with(id) && !line.contains("handshake"))))
        })?;
    }
    for (at, node) in nodes.iter_mut().enumerate().skip(primaries) {
        let of = ids.get(at % primaries).map_or("", String::as_str);
        // It may not know yet that this node is a primary.
        until(deadline, "a replica", || Ok(node.command(["CLUSTER", "REPLICATE", of])?.error().is_none()))?;
    }
    for (at, node) in nodes.iter_mut().enumerate() {
        until(deadline, "the cluster state ok", || {
            let info = node.command(["CLUSTER", "INFO"])?.text()?;
            let linked = at < primaries || info_says(node, "replication", "master_link_status:up")?;
            Ok(linked && info.contains("cluster_state:ok"))
        })?;
        let replicas = addresses.len() / primaries - 1;
        until(deadline, "all nodes to see the replicas", || {
            let slots = node.command(["CLUSTER", "SLOTS"])?;
            Ok(slots.array()?.iter().all(|range| range.array().is_ok_and(|range| range.len() == 3 + replicas)))
        })?;
    }
    linked(&mut nodes, &ids, deadline)
}

/// Waits until all nodes have links to all others, in both directions.
///
/// The cluster state does not imply that: a node that knows an owner of every slot may have no link to a third node yet,
/// or may have lost one to a slow node. A message that is published then is lost without a notice.
fn linked(nodes: &mut [Connection], ids: &[String], deadline: Instant) -> io::Result<()> {
    // A link that was seen in an earlier check may be lost: check all links together.
    until(deadline, "all nodes to be linked with all", || {
        for node in &mut *nodes {
            let known = node.command(["CLUSTER", "NODES"])?.text()?;
            let mut lines = known.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            // A node that is suspected to have failed (`fail?`) is linked, but not well.
            let well =
                |line: &[&str]| line.get(7) == Some(&"connected") && !line.get(2).unwrap_or(&"").contains("fail");
            if !lines.all(|line| !line.first().is_some_and(|id| ids.iter().any(|ours| ours == id)) || well(&line)) {
                return Ok(false);
            }
            let links = node.command(["CLUSTER", "LINKS"])?;
            // Servers before 7.0 do not report incoming links.
            let Ok(links) = links.array() else { continue };
            let links = links.iter().map(link).collect::<io::Result<Vec<_>>>()?;
            let own = node.command(["CLUSTER", "MYID"])?.text()?;
            let has = |id: &String, direction: &str| links.iter().any(|(way, node)| way == direction && node == id);
            if !ids.iter().filter(|id| **id != own).all(|id| has(id, "to") && has(id, "from")) {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// The direction of a link and the node at its other end.
fn link(link: &Reply) -> io::Result<(String, String)> {
    let words = link.array()?;
    let word = |name: &str| {
        let at = words.iter().step_by(2).position(|key| key.text().is_ok_and(|key| key == name));
        let word = at.and_then(|at| words.get(at * 2 + 1));
        word.ok_or_else(|| io::Error::other(format!("a link without {name}")))?.text()
    };
    Ok((word("direction")?, word("node")?))
}

fn info_says(node: &mut Connection, section: &str, what: &str) -> io::Result<bool> {
    Ok(node.command(["INFO", section])?.text()?.contains(what))
}

/// How long the nodes may take to agree on the owner of slots that were moved. A node that is cut off never does.
const AGREEMENT: Duration = Duration::from_secs(5);

fn until(deadline: Instant, what: &str, mut seen: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    while !seen()? {
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("timed out waiting for {what}")));
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// A cluster of [`RedisServer`]s. Dropping it ends them.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    node: RedisServerBuilder,
    network: Option<Network>,
}

impl RedisCluster {
    /// Three primaries without replicas.
    ///
    /// # Errors
    ///
    /// See [`RedisClusterBuilder::start`].
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// Options for another deployment.
    pub fn builder() -> RedisClusterBuilder {
        RedisClusterBuilder {
            node: RedisServerBuilder::default(),
            primaries: 3,
            replicas: 0,
            node_timeout: Duration::from_secs(1),
            proxied: false,
        }
    }

    /// All nodes, the first primaries first.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// `host:port` of all nodes, as they announce themselves.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        (0..self.nodes.len()).map(|nth| format!("127.0.0.1:{}", self.announced_port(nth))).collect()
    }

    /// The port that a node announces: that of its proxy if it has one.
    #[must_use]
    pub fn announced_port(&self, node: usize) -> u16 {
        let own = || self.nodes.get(node).map_or(0, RedisServer::port);
        self.proxy(node).map_or_else(own, Proxy::port)
    }

    /// The proxy in front of a node, see [`RedisClusterBuilder::proxied`]. Clients and replicas go through it.
    #[must_use]
    pub fn proxy(&self, node: usize) -> Option<&Proxy> {
        self.network.as_ref()?.proxy(node)
    }

    /// Isolates a node of a proxied cluster from all others: bus and replication, both ways. Clients still reach it.
    pub fn isolate(&self, node: usize) {
        self.network.iter().for_each(|network| network.isolate(node));
    }

    /// Ends all partitions.
    pub fn heal(&self) {
        self.network.iter().for_each(Network::heal);
    }

    /// The address of the first node for the others.
    fn meeting_point(&self) -> Vec<String> {
        let tls = self.nodes.first().and_then(RedisServer::tls_port);
        let bus = self.network.as_ref().and_then(|network| network.bus_port(0));
        let address = ["127.0.0.1".to_owned(), tls.unwrap_or_else(|| self.announced_port(0)).to_string()];
        address.into_iter().chain(bus.map(|port| port.to_string())).collect()
    }

    fn announced_by(&self, port: u16) -> Option<&RedisServer> {
        let nth = (0..self.nodes.len()).find(|nth| self.announced_port(*nth) == port)?;
        self.nodes.get(nth)
    }

    /// The nodes that own slots, according to a running node.
    ///
    /// # Errors
    ///
    /// When none answers.
    pub fn primaries(&self) -> io::Result<Vec<&RedisServer>> {
        let mut primaries: Vec<&RedisServer> = Vec::new();
        for (_, _, port) in self.ranges()? {
            let node = self.announced_by(port);
            let node = node.ok_or_else(|| io::Error::other("a primary outside of this deployment"))?;
            if !primaries.iter().any(|known| known.port() == node.port()) {
                primaries.push(node);
            }
        }
        Ok(primaries)
    }

    /// The owner of the slot.
    ///
    /// # Errors
    ///
    /// When no node answers, or the slot has no owner.
    pub fn owner(&self, slot: u16) -> io::Result<&RedisServer> {
        let owner = self.ranges()?.into_iter().find(|(from, to, _)| (*from..=*to).contains(&slot));
        let node = owner.and_then(|(_, _, port)| self.announced_by(port));
        node.ok_or_else(|| io::Error::other(format!("slot {slot} has no owner")))
    }

    fn ranges(&self) -> io::Result<Vec<(u16, u16, u16)>> {
        let answered = self.nodes.iter().find_map(|node| Self::slots_of(node).ok());
        let slots = answered.ok_or_else(|| io::Error::other("no node of the cluster answers"))?;
        Self::ranges_in(&slots)
    }

    fn slots_of(node: &RedisServer) -> io::Result<Reply> {
        let mut connection = node.connect()?;
        connection.set_timeout(Duration::from_millis(300));
        connection.command(["CLUSTER", "SLOTS"])
    }

    /// The first and last slot and the port of the primary of each range in a reply to CLUSTER SLOTS.
    fn ranges_in(slots: &Reply) -> io::Result<Vec<(u16, u16, u16)>> {
        let number = |reply: Option<&Reply>| {
            let number = reply.ok_or_else(|| io::Error::other("no number"))?.int()?;
            u16::try_from(number).map_err(io::Error::other)
        };
        let range = |range: &Reply| {
            let range = range.array()?;
            let port = range.get(2).map(Reply::array).transpose()?.and_then(|primary| primary.get(1));
            Ok((number(range.first())?, number(range.get(1))?, number(port)?))
        };
        slots.array()?.iter().map(range).collect()
    }

    /// Kills the primary of a slot as a power failure would, after its replica has everything that it acknowledged.
    ///
    /// Redis acknowledges writes before its replicas have them, and a failover loses those. This method avoids that: it
    /// pauses writes, waits until a replica has caught up, and then kills the server with commands unanswered.
    ///
    /// # Errors
    ///
    /// When the server does not answer, or no replica catches up.
    pub fn kill_owner(&self, slot: u16) -> io::Result<&RedisServer> {
        let owner = self.owner(slot)?;
        let mut connection = owner.connect()?;
        connection.command(["CLIENT", "PAUSE", "60000", "WRITE"])?.ok()?;
        if connection.command(["WAIT", "1", "2000"])?.int()? < 1 {
            return Err(io::Error::other("no replica has caught up"));
        }
        owner.kill()?;
        Ok(owner)
    }

    /// The slot of a key, as the servers compute it.
    ///
    /// # Errors
    ///
    /// When the first node does not answer.
    pub fn slot_of(&self, key: &str) -> io::Result<u16> {
        let node = self.nodes.iter().find(|node| node.is_running());
        let node = node.ok_or_else(|| io::Error::other("no node of the cluster runs"))?;
        u16::try_from(node.command(["CLUSTER", "KEYSLOT", key])?.int()?).map_err(io::Error::other)
    }

    /// Waits until the primary of a slot has a replica in sync it.
    ///
    /// # Errors
    ///
    /// When that takes longer than 20 seconds.
    pub fn wait_replicated(&self, slot: u16) -> io::Result<()> {
        until(Instant::now() + TIME_LIMIT, "a replica in sync", || {
            let mut primary = self.owner(slot)?.connect()?;
            info_says(&mut primary, "replication", "state=online")
        })
    }

    /// Waits until every running node sees all slots served by other nodes than `dead`.
    ///
    /// # Errors
    ///
    /// When that takes longer than 20 seconds.
    pub fn wait_well_without(&self, dead: &[u16]) -> io::Result<()> {
        let deadline = Instant::now() + TIME_LIMIT;
        for node in self.nodes.iter().filter(|node| !dead.contains(&node.port())) {
            until(deadline, "the cluster state ok again", || {
                let mut connection = node.connect()?;
                let well = connection.command(["CLUSTER", "INFO"])?.text()?.contains("cluster_state:ok");
                let slots = connection.command(["CLUSTER", "SLOTS"])?;
                let ports = slots.array()?.iter().map(|range| {
                    range.array()?.get(2).map_or(Ok(0), |node| node.array()?.get(1).map_or(Ok(0), Reply::int))
                });
                let owners = ports.map(|port| Ok(self.announced_by(u16::try_from(port?).unwrap_or(0))));
                let owners = owners.collect::<io::Result<Vec<_>>>()?;
                Ok(well && !owners.iter().flatten().any(|owner| dead.contains(&owner.port())))
            })?;
        }
        Ok(())
    }

    /// Whether every node that replies names `to` as the owner of these slots.
    fn agrees(&self, slots: &RangeInclusive<u16>, to: &RedisServer) -> bool {
        let views = self.nodes.iter().filter(|node| node.is_running()).filter_map(|node| Self::slots_of(node).ok());
        views.filter_map(|reply| Self::ranges_in(&reply).ok()).all(|ranges| {
            slots.clone().all(|slot| {
                let owner = ranges.iter().find(|(from, last, _)| (*from..=*last).contains(&slot));
                owner.and_then(|(_, _, port)| self.announced_by(*port)).is_some_and(|owner| owner.port() == to.port())
            })
        })
    }

    /// Moves slots with their keys to another node, one slot after the other, as an operator's tool does, and gives the
    /// nodes five seconds to agree. A move that begins before they do can leave slots that no node claims.
    ///
    /// # Errors
    ///
    /// When a node refuses.
    pub fn migrate(&self, slots: RangeInclusive<u16>, to: &RedisServer) -> io::Result<()> {
        let mut target = to.connect()?;
        let target_id = target.command(["CLUSTER", "MYID"])?.text()?;
        for slot in slots.clone() {
            let from = self.owner(slot)?;
            if from.port() == to.port() {
                continue;
            }
            let mut source = from.connect()?;
            let source_id = source.command(["CLUSTER", "MYID"])?.text()?;
            let slot = slot.to_string();
            target.command(["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id])?.ok()?;
            source.command(["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id])?.ok()?;
            loop {
                let keys = source.command(["CLUSTER", "GETKEYSINSLOT", &slot, "16"])?;
                let keys: Vec<_> = keys.array()?.iter().filter_map(Reply::bytes).collect();
                if keys.is_empty() {
                    break;
                }
                let port = to.port().to_string();
                let mut line: Vec<&[u8]> = vec![b"MIGRATE", b"127.0.0.1", port.as_bytes(), b"", b"0", b"5000", b"KEYS"];
                line.extend(keys);
                source.command(line)?.ok()?;
            }
            target.command(["CLUSTER", "SETSLOT", &slot, "NODE", &target_id])?.ok()?;
            source.command(["CLUSTER", "SETSLOT", &slot, "NODE", &target_id])?.ok()?;
            for other in &self.nodes {
                if other.port() != to.port() && other.port() != from.port() && other.is_running() {
                    // A replica refuses the command and follows its primary.
                    other.command(["CLUSTER", "SETSLOT", &slot, "NODE", &target_id])?;
                }
            }
        }
        let deadline = Instant::now() + AGREEMENT;
        while !self.agrees(&slots, to) && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Starts another node that joins without slots.
    ///
    /// # Errors
    ///
    /// As [`RedisServerBuilder::start`], and when it does not join in time.
    pub fn add_node(&mut self) -> io::Result<&RedisServer> {
        let node = match &mut self.network {
            Some(network) => network.start(self.node.clone(), true)?,
            None => self.node.clone().start()?,
        };
        let meet = self.meeting_point();
        node.command(["CLUSTER", "MEET"].into_iter().chain(meet.iter().map(String::as_str)))?.ok()?;
        let id = node.command(["CLUSTER", "MYID"])?.text()?;
        let deadline = Instant::now() + TIME_LIMIT;
        for other in &self.nodes {
            until(deadline, "the new node to be known", || {
                let known = other.command(["CLUSTER", "NODES"])?.text()?;
                Ok(known.lines().any(|line| line.starts_with(&id) && !line.contains("handshake")))
            })?;
        }
        until(deadline, "the new node to report ok", || {
            Ok(node.command(["CLUSTER", "INFO"])?.text()?.contains("cluster_state:ok"))
        })?;
        self.nodes.push(node);
        let mut nodes = self.nodes.iter().map(RedisServer::connect).collect::<io::Result<Vec<_>>>()?;
        let ids: io::Result<Vec<_>> = nodes.iter_mut().map(|node| node.command(["CLUSTER", "MYID"])?.text()).collect();
        linked(&mut nodes, &ids?, deadline)?;
        self.nodes.last().ok_or_else(|| io::Error::other("the new node is missing"))
    }
}
