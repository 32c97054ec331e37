//! Servers that reach each other through proxies only, so that each can be isolated.

use crate::builder::RedisServerBuilder;
use crate::proxy::Proxy;
use crate::server::RedisServer;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// The proxies in front of a set of servers, in their order.
///
/// A proxy identifies a server by its source address: each server connects from its own loopback address
/// (`bind-source-addr`). Clients connect from 127.0.0.1, and no partition affects them.
#[derive(Debug, Default)]
pub(crate) struct Network {
    nodes: Vec<Access>,
    /// Those without a proxy: sentinels.
    others: Vec<IpAddr>,
}

/// The way to one server.
#[derive(Debug)]
struct Access {
    /// For clients and replicas.
    clients: Proxy,
    /// For the bus of a cluster.
    bus: Option<Proxy>,
    source: IpAddr,
}

/// A placeholder: the port of a server is known only when it runs.
const NOWHERE: &str = "127.0.0.1:1";

fn source(network: u8, nth: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 1, network, u8::try_from(nth + 1).unwrap_or(u8::MAX)))
}

impl Network {
    /// Starts a server behind a proxy; a node of a cluster has a second one for its bus.
    pub(crate) fn start(&mut self, server: RedisServerBuilder, cluster: bool) -> io::Result<RedisServer> {
        let clients = Proxy::start(NOWHERE)?;
        let bus = if cluster { Some(Proxy::start(NOWHERE)?) } else { None };
        let source = source(0, self.nodes.len());
        let port = clients.port().to_string();
        let server = server.arg("--bind-source-addr", source.to_string());
        let server = match &bus {
            Some(bus) => server
                .args(["--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", &port])
                .arg("--cluster-announce-bus-port", bus.port().to_string()),
            None => server.args(["--replica-announce-ip", "127.0.0.1", "--replica-announce-port", &port]),
        };
        let server = server.start()?;
        clients.set_upstream(server.addr());
        if let Some(bus) = &bus {
            bus.set_upstream(format!("127.0.0.1:{}", u32::from(server.port()) + 10_000));
        }
        self.nodes.push(Access { clients, bus, source });
        Ok(server)
    }

    /// Options of a server that has no proxy and takes part in partitions.
    pub(crate) fn outside(&mut self, server: RedisServerBuilder) -> RedisServerBuilder {
        let source = source(1, self.others.len());
        self.others.push(source);
        server.arg("--bind-source-addr", source.to_string())
    }

    pub(crate) fn proxy(&self, node: usize) -> Option<&Proxy> {
        self.nodes.get(node).map(|node| &node.clients)
    }

    /// The port of the proxy of the bus.
    pub(crate) fn bus_port(&self, node: usize) -> Option<u16> {
        self.nodes.get(node)?.bus.as_ref().map(Proxy::port)
    }

    /// Isolates a server from all others, in both directions. Its clients still reach it.
    pub(crate) fn isolate(&self, node: usize) {
        let Some(isolated) = self.nodes.get(node) else { return };
        for (nth, other) in self.nodes.iter().enumerate() {
            if nth != node {
                isolated.block(other.source);
                other.block(isolated.source);
            }
        }
        for source in &self.others {
            isolated.block(*source);
        }
    }

    /// Ends all partitions.
    pub(crate) fn heal(&self) {
        for node in &self.nodes {
            node.clients.unblock_all();
            node.bus.iter().for_each(Proxy::unblock_all);
        }
    }
}

impl Access {
    fn block(&self, source: IpAddr) {
        self.clients.block(source);
        self.bus.iter().for_each(|bus| bus.block(source));
    }
}
