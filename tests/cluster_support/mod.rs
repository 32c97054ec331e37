//! What every test of a cluster needs.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;

use redis_actix::{RedisBuilder, RedisConfig, RedisConfigBuilder};
use redis_actix_test::{RedisCluster, RedisClusterBuilder};

/// A cluster, or one line that names the missing program.
pub fn cluster(builder: RedisClusterBuilder) -> RedisCluster {
    builder.start().unwrap_or_else(|error| panic!("{error}"))
}

/// The configuration to find it through two of its nodes.
pub fn config(cluster: &RedisCluster) -> RedisConfigBuilder {
    RedisConfig::builder().cluster_hosts(cluster.hosts().iter().take(2)).key_prefix("test:")
}

/// A handle to it.
pub fn joined(cluster: &RedisCluster) -> RedisBuilder {
    super::support::hasty(config(cluster))
}

pub use super::support::aside;

/// The slot of a key of this handle, computed by the redis crate's own rule: the whole name, or its hash tag.
pub fn slot_of(redis: &redis_actix::Redis, key: &str) -> u16 {
    slot_of_name(redis.key_prefix().prefix_key(key))
}

/// The slot of a whole name.
pub fn slot_of_name(whole: impl Into<Vec<u8>>) -> u16 {
    let whole = whole.into();
    let tag = whole.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &whole[open + 1..];
        rest.iter().position(|byte| *byte == b'}').filter(|close| *close > 0).map(|close| rest[..close].to_vec())
    });
    let crc = tag.unwrap_or(whole).iter().fold(0_u16, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 },
        )
    });
    crc % 16_384
}

/// Moves a slot with its keys to a node, while the client under test goes on.
pub async fn migrate(cluster: &Arc<RedisCluster>, slot: u16, to: u16) {
    let cluster = cluster.clone();
    aside(move || {
        let to = cluster.nodes().iter().find(|node| node.port() == to).unwrap_or_else(|| panic!("no such node"));
        cluster.migrate(slot..=slot, to).unwrap_or_else(|error| panic!("{error}"));
    })
    .await;
}

/// Kills the owner of a slot and returns its port, as soon as the others have replaced it.
pub async fn fail_over(cluster: &Arc<RedisCluster>, slot: u16, dead: &mut Vec<u16>) {
    let (cluster, mut gone) = (cluster.clone(), dead.clone());
    *dead = aside(move || {
        gone.push(cluster.kill_owner(slot).unwrap_or_else(|error| panic!("{error}")).port());
        cluster.wait_well_without(&gone).unwrap_or_else(|error| panic!("{error}"));
        gone
    })
    .await;
}
