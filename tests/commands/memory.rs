//! What a connection keeps in memory after a burst. Each test counts in a process of its own.

use redis_actix::prelude::*;

use crate::support::{TIME_LIMIT, alone, config, hasty, resident};

const MIB: usize = 1 << 20;

/// Ablation: with the output kept as it grew 124 MiB more are resident after the SET.
#[cfg(target_os = "linux")]
#[actix::test]
async fn the_write_buffer_is_given_back_after_a_large_value() {
    if !alone("memory::the_write_buffer_is_given_back_after_a_large_value") {
        return;
    }
    // A process of its own, so that only this side is counted.
    let server = crate::support::server();
    let redis = hasty(config(server.port()).command_timeout(TIME_LIMIT).max_queued_bytes(512 * MIB)).start().unwrap();
    redis.send(Set::new("small", "v")).await.unwrap();
    let before = resident();
    redis.send(Set::new("large", vec![b'x'; 128 * MIB])).await.unwrap();
    redis.send(Set::new("small", "v")).await.unwrap();
    let after = resident();
    assert!(after < before + 16 * MIB, "{} MiB more", (after - before) / MIB);
}
