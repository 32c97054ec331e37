//! What every test of a cluster needs.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::panic, reason = "a test fails by panicking")]

use redis_actix::{RedisBuilder, RedisConfig};
use redis_actix_test::{RedisCluster, RedisClusterBuilder};

/// A cluster, or one line that says what is missing.
pub fn cluster(builder: RedisClusterBuilder) -> RedisCluster {
    builder.start().unwrap_or_else(|error| panic!("{error}"))
}

/// A handle to it, found through two of its nodes.
pub fn joined(cluster: &RedisCluster) -> RedisBuilder {
    let hosts = cluster.hosts();
    super::support::hasty(RedisConfig::builder().cluster_hosts(hosts.iter().take(2)).key_prefix("test:"))
}
