//! Connections of their own: commands that wait, WATCH, subscriptions and readers, and how they follow their server.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../cluster_support/mod.rs"]
mod cluster_support;
#[path = "../pubsub_support/mod.rs"]
mod pubsub_support;
#[path = "../stream_support/mod.rs"]
mod stream_support;
#[path = "../support/mod.rs"]
mod support;

mod asking;
mod attack;
mod blocking;
mod demotion;
mod failover;
mod fates;
mod faults;
mod kept;
mod latest;
mod per_node;
mod process;
mod put_back;
mod reauthenticate;
mod watch;

use redis_actix_test::RedisServer;

/// Waits until `count` clients wait at the server.
async fn waiting(server: &RedisServer, count: usize) {
    let is_waiting = |client: &String| client.contains(" flags=b");
    support::eventually("clients that wait", || {
        (server.clients().ok()?.iter().filter(|client| is_waiting(client)).count() == count).then_some(())
    })
    .await;
}

/// How often the server has run a command, as INFO commandstats names it.
fn calls(server: &RedisServer, command: &str) -> usize {
    let stats = server.command(["INFO", "commandstats"]).expect("answered").text().expect("text");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().expect("a count").parse().expect("a number"))
}
