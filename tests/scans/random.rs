//! Walks through restarts and lost links, in any order, at any page.

use std::sync::Arc;

use redis_actix::prelude::*;
use redis_actix::{HSet, ScanHash};
use redis_actix_test::RedisServer;

use super::{fill, keys, missing, take, text};
use crate::support::{TIME_LIMIT, aside, config, hasty};

const KEYS: usize = 1_500;

/// Ablation: a cursor that is used at whatever server is there fails with `missing after`.
#[actix::test]
async fn walks_are_complete_whatever_happens_to_the_server_between_their_pages() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let durable = || RedisServer::builder().appendonly(true).fsync_always().start();
    let server = Arc::new(aside(move || durable().unwrap_or_else(|error| panic!("{error}"))).await);
    let redis = hasty(config(server.port()).command_timeout(TIME_LIMIT)).start().expect("started");
    fill(&redis, KEYS).await;
    redis.send((0..KEYS).fold(HSet::new("h"), |set, n| set.field(format!("k{n}"), n))).await.expect("written");
    for walk in 0..10 {
        let (mut keys, mut fields) = (keys(&redis), redis.scan_hash::<String, u64>(ScanHash::new("h").count(100)));
        let (mut seen, mut seen_fields, mut log) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..chance.usize(1..5) {
            let most = chance.usize(1..KEYS / 3);
            seen.extend(text(take(&mut keys, most).await));
            seen_fields.extend(take(&mut fields, most).await.into_iter().map(|(name, _)| name));
            log.push((most, disturb(&server, &redis, chance.u8(..)).await));
        }
        seen.extend(text(take(&mut keys, usize::MAX).await));
        seen_fields.extend(take(&mut fields, usize::MAX).await.into_iter().map(|(name, _)| name));
        let lost = (missing(KEYS, seen), missing(KEYS, seen_fields));
        assert_eq!(lost, (0, 0), "missing after {log:?} in walk {walk}, seed {seed}");
    }
}

async fn disturb(server: &Arc<RedisServer>, redis: &Redis, how: u8) -> &'static str {
    match how % 4 {
        0 => {
            let server = server.clone();
            aside(move || server.restart().expect("restarted")).await;
            "a restart"
        }
        1 => {
            server.command(["CLIENT", "KILL", "TYPE", "NORMAL"]).expect("asked");
            "a lost link"
        }
        2 => {
            // Two of them, the first in the middle of a page.
            let send = redis.send(Ping::new());
            server.command(["CLIENT", "KILL", "TYPE", "NORMAL"]).expect("asked");
            let _ = send.await;
            let server = server.clone();
            aside(move || server.restart().expect("restarted")).await;
            "a lost link and a restart"
        }
        _ => "nothing",
    }
}
