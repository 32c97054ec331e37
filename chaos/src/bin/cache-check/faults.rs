//! Faults while the threads read: links are killed, entries are flushed, slots move.

use std::thread::sleep;
use std::time::{Duration, Instant};

use redis_actix_test::{RedisCluster, RedisServer};

use crate::Servers;

/// Runs faults until then. Returns a summary.
pub(crate) fn run(servers: &Servers, until: Instant, seed: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut kills, mut flushes, mut moves) = (0, 0, 0);
    while Instant::now() < until {
        sleep(Duration::from_millis(rng.u64(20..200)));
        let server = &servers.all()[rng.usize(..servers.all().len())];
        match rng.u32(..10) {
            0..5 => {
                kills += 1;
                kill_links(server);
            }
            // Of another database: all clients that track keys are told to forget all of them.
            5..8 => {
                flushes += 1;
                flush_another_database(server);
            }
            _ => {
                if let Servers::Cluster(cluster) = servers
                    && move_slots(cluster, &mut rng).is_some()
                {
                    moves += 1;
                }
            }
        }
    }
    format!("{kills} times all links of a server were killed, {flushes} flushes, {moves} moves of slots")
}

fn flush_another_database(server: &RedisServer) {
    if let Ok(mut connection) = server.connect() {
        // A cluster has one database, with the counters.
        if connection.command(["SELECT", "1"]).is_ok_and(|reply| reply.ok().is_ok()) {
            let _ = connection.command(["FLUSHDB"]);
        }
    }
}

/// Except those that are being established: a server that hangs up in an optional step of the handshake again and again is
/// taken for one that does not know the step.
fn kill_links(server: &RedisServer) {
    for client in server.clients().unwrap_or_default() {
        let field = |name: &str| client.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        if field("age").is_some_and(|age| age != "0")
            && let Some(id) = field("id")
        {
            let _ = server.command(["CLIENT", "KILL", "ID", id]);
        }
    }
}

/// Some hundred slots, with their keys.
fn move_slots(cluster: &RedisCluster, rng: &mut fastrand::Rng) -> Option<()> {
    let first = rng.u16(..16_384 - 300);
    let to = &cluster.nodes()[rng.usize(..cluster.nodes().len())];
    cluster.migrate(first..=first + 300, to).ok()
}
