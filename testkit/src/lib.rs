#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod background;
mod binary;
mod builder;
mod cluster;
mod connection;
mod dir;
mod fake;
mod network;
mod process;
mod proxy;
mod reply;
mod sentinel;
mod server;
mod tally;

pub use binary::{MissingServer, find_modules_server, find_server};
pub use builder::RedisServerBuilder;
pub use cluster::{RedisCluster, RedisClusterBuilder, cluster_options, form};
pub use connection::Connection;
pub use dir::free_port;
pub use fake::{Answer, FakeServer, FakeServerBuilder, Step};
pub use proxy::{Direction, Proxy};
pub use reply::Reply;
pub use sentinel::{SentinelSet, SentinelSetBuilder};
pub use server::RedisServer;
