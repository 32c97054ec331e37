//! A cluster of scripted nodes: what they say of its slots and of each command is up to the test.

#![allow(unreachable_pub, reason = "a module of a test binary")]

use std::sync::{Arc, Mutex, OnceLock};

use redis_actix::{Redis, RedisBuilder, RedisConfig, RedisConfigBuilder};
use redis_actix_test::{Answer, FakeServer};

use crate::cluster_support::slot_of_name;
use crate::support;

/// First and last slot, and the port of their owner.
pub type Range = (u16, u16, u16);

pub struct Scripted {
    pub nodes: Vec<FakeServer>,
    slots: Arc<Mutex<String>>,
}

/// A command at a node.
pub struct Asked<'a> {
    /// The number of the node.
    pub node: usize,
    pub argv: &'a [Vec<u8>],
    /// The ports of all nodes.
    pub ports: &'a [u16],
}

impl Asked<'_> {
    /// The name of the command in upper case.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.argv[0]).to_ascii_uppercase()
    }

    /// An argument, the name being number 0.
    pub fn word(&self, at: usize) -> String {
        self.argv.get(at).map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default()
    }

    /// The node says that the slot of this name is at another one.
    pub fn moved(&self, name: &str, to: usize) -> Answer {
        error(&format!("MOVED {} 127.0.0.1:{}", slot_of_name(name), self.ports[to]))
    }
}

type Handler = Arc<dyn Fn(&Asked<'_>) -> Answer + Send + Sync>;

impl Scripted {
    /// `count` nodes; the first one has all slots. They answer CLUSTER themselves, except for CLUSTER NODES.
    pub fn start(count: usize, handler: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static) -> Self {
        let (slots, handler): (Arc<Mutex<String>>, Handler) = (Arc::default(), Arc::new(handler));
        let ports: Arc<OnceLock<Vec<u16>>> = Arc::default();
        let nodes: Vec<_> = (0..count)
            .map(|number| {
                let (slots, handler, ports) = (slots.clone(), handler.clone(), ports.clone());
                let on = move |argv: &[Vec<u8>]| {
                    let is_nodes = argv.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"NODES"));
                    if argv[0].eq_ignore_ascii_case(b"CLUSTER") && !is_nodes {
                        return Answer::raw(slots.lock().expect("no panic").as_str());
                    }
                    let ports = ports.get().map(Vec::as_slice).unwrap_or_default();
                    handler(&Asked { node: number, argv, ports })
                };
                FakeServer::builder().on(on).start().expect("a scripted node")
            })
            .collect();
        ports.set(nodes.iter().map(FakeServer::port).collect()).expect("set once");
        let scripted = Self { nodes, slots };
        scripted.assign([(0, 16_383, 0)]);
        scripted
    }

    /// The nodes with these numbers have these slots now.
    pub fn assign(&self, ranges: impl IntoIterator<Item = (u16, u16, usize)>) {
        self.assign_ports(ranges.into_iter().map(|(first, last, node)| (first, last, self.nodes[node].port())));
    }

    /// The nodes at these ports have these slots now.
    pub fn assign_ports(&self, ranges: impl IntoIterator<Item = Range>) {
        self.answer_slots(slots(&ranges.into_iter().collect::<Vec<_>>()));
    }

    /// What CLUSTER SLOTS is answered with.
    pub fn answer_slots(&self, answer: String) {
        *self.slots.lock().expect("no panic") = answer;
    }

    /// The configuration to find it through all of its nodes.
    pub fn config(&self) -> RedisConfigBuilder {
        RedisConfig::builder().cluster_hosts(self.nodes.iter().map(FakeServer::addr)).key_prefix("test:")
    }

    pub fn builder(&self) -> RedisBuilder {
        support::hasty(self.config())
    }

    /// How often a command of this name came to a node.
    pub fn count(&self, node: usize, name: &str) -> usize {
        let received = self.nodes[node].received();
        received.iter().filter(|argv| argv[0].eq_ignore_ascii_case(name.as_bytes())).count()
    }

    pub async fn ready(&self) -> Redis {
        let redis = self.builder().start().expect("started");
        redis.ready(support::TIME_LIMIT).await.expect("ready");
        redis
    }
}

fn slots(ranges: &[Range]) -> String {
    let mut answer = format!("*{}\r\n", ranges.len());
    for (first, last, port) in ranges {
        answer += &format!("*3\r\n:{first}\r\n:{last}\r\n*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$2\r\nid\r\n");
    }
    answer
}

pub fn error(text: &str) -> Answer {
    Answer::raw(format!("-{text}\r\n"))
}

pub fn int(number: i64) -> Answer {
    Answer::raw(format!(":{number}\r\n"))
}

pub fn okay() -> Answer {
    Answer::raw("+OK\r\n")
}
