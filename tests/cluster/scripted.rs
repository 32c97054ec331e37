//! A cluster of scripted nodes: what they say of its slots and of each command is up to the test.

use std::sync::{Arc, Mutex};

use redis_actix::{Redis, RedisBuilder, RedisConfig, RedisConfigBuilder};
use redis_actix_test::{Answer, FakeServer};

use crate::support;

/// First and last slot, and the port of their owner.
pub type Range = (u16, u16, u16);

pub struct Scripted {
    pub nodes: Vec<FakeServer>,
    ranges: Arc<Mutex<Vec<Range>>>,
}

/// What a node answers to a command, by its number.
pub type Handler = Arc<dyn Fn(usize, &[Vec<u8>]) -> Answer + Send + Sync>;

impl Scripted {
    /// So many nodes; the first one has all slots. CLUSTER SLOTS they answer themselves.
    pub fn start(count: usize, handler: impl Fn(usize, &[Vec<u8>]) -> Answer + Send + Sync + 'static) -> Self {
        let (ranges, handler): (Arc<Mutex<Vec<Range>>>, Handler) = (Arc::default(), Arc::new(handler));
        let nodes: Vec<_> = (0..count)
            .map(|number| {
                let (ranges, handler) = (ranges.clone(), handler.clone());
                let on = move |argv: &[Vec<u8>]| {
                    if argv[0].eq_ignore_ascii_case(b"CLUSTER") {
                        return Answer::raw(slots(&ranges.lock().expect("no panic")));
                    }
                    handler(number, argv)
                };
                FakeServer::builder().on(on).start().expect("a scripted node")
            })
            .collect();
        let scripted = Self { nodes, ranges };
        scripted.assign([(0, 16_383, 0)]);
        scripted
    }

    /// The nodes with these numbers have these slots now.
    pub fn assign(&self, ranges: impl IntoIterator<Item = (u16, u16, usize)>) {
        let ranges = ranges.into_iter().map(|(first, last, node)| (first, last, self.nodes[node].port()));
        *self.ranges.lock().expect("no panic") = ranges.collect();
    }

    /// The configuration to find it through all of its nodes.
    pub fn config(&self) -> RedisConfigBuilder {
        RedisConfig::builder().cluster_hosts(self.nodes.iter().map(FakeServer::addr)).key_prefix("test:")
    }

    pub fn builder(&self) -> RedisBuilder {
        support::hasty(self.config())
    }

    pub async fn ready(&self) -> Redis {
        let redis = self.builder().start().expect("started");
        redis.ready(support::PATIENCE).await.expect("ready");
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

/// Of a command line: its name in upper case, and its first argument.
pub fn words(argv: &[Vec<u8>]) -> (String, String) {
    let word = |at: usize| argv.get(at).map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
    (word(0).to_ascii_uppercase(), word(1))
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
