//! The delivery contract against a server that is killed: nothing is run twice, nothing is lost, everybody
//! is answered in time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::support::{aside, config, hasty, incr_load::IncrLoad, ms};
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, ErrorKind, Fate, Phase};
use redis_actix_test::RedisServer;

const KILLS: u32 = 3;
const DEADLINE: Duration = Duration::from_secs(5);

/// Ablation: with `repeatable: true` for every command in `Frame::new` (what clients that resend do) the
/// counter exceeds acknowledged + unknown.
#[actix::test]
async fn incr_from_64_callers_while_the_server_is_killed_three_times() {
    let server =
        RedisServer::builder().appendonly(true).fsync_always().start().unwrap_or_else(|error| panic!("{error}"));
    let server = Arc::new(server);
    let redis = hasty(config(server.port()).command_timeout(DEADLINE)).start().expect("started");
    let load = IncrLoad::start(&redis, "counter");
    for _ in 0..KILLS {
        load.goes_on(500).await;
        let server = server.clone();
        aside(move || {
            server.kill().expect("killed");
            server.restart().expect("restarted");
        })
        .await;
    }
    load.goes_on(500).await;
    let counted = load.finish().await;
    let counter: i64 = redis.send(Get::new("counter")).await.expect("answered").expect("counted");
    counted.check(counter);
    assert!(counted.slowest < DEADLINE + ms(500), "answered after its deadline");
    assert_eq!(redis.status().borrow().disconnects, u64::from(KILLS));
}

/// A command sent before the actor has seen that the server is gone leaves, and its fate is unknown.
async fn noticed(redis: &Redis) {
    let mut status = redis.status();
    let lost = status.wait_for(|status| status.state != ConnectionState::Ready);
    tokio::time::timeout(crate::support::TIME_LIMIT, lost).await.expect("in time").expect("received");
}

#[actix::test]
async fn a_command_waits_for_the_server_to_come_back() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.send(Set::new("k", 1)).await.expect("written");
    server.kill().expect("killed");
    noticed(&redis).await;
    let waiting = redis.send(Incr::new("other"));
    server.restart().expect("restarted");
    assert_eq!(waiting.await.expect("answered after the restart"), 1);
}

#[actix::test]
async fn a_deadline_holds_while_there_is_no_server() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.ready(DEADLINE).await.expect("ready");
    server.kill().expect("killed");
    noticed(&redis).await;
    let asked = Instant::now();
    let error = redis.send(Incr::new("k").timeout(ms(200))).await.expect_err("no server");
    assert!(asked.elapsed() >= ms(200) && asked.elapsed() < ms(1200), "{:?}", asked.elapsed());
    assert_eq!((error.kind(), error.command()), (ErrorKind::Timeout, Some("INCR")));
    assert_eq!((error.fate(), error.phase()), (Fate::NotSent, Some(Phase::Connecting)));
}

const COMMANDS: u32 = 60_000;

/// Ablation: with the actor's mailbox at its default capacity of 16 (`channel::channel(16)` in the builder), sends
/// through the address that were not polled yet are overtaken by later ones.
#[actix::test]
async fn sixty_thousand_commands_of_one_task_keep_their_order() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    in_order("by handle", &redis, |redis, list, n| redis.send(RPush::new(list, [n]))).await;
    in_order("by address", &redis, |redis, list, n| redis.addr().send(RPush::new(list, [n]))).await;
}

/// Sends from one task, leaves most futures unpolled for a while, and awaits some of them out of turn.
async fn in_order<F: Future>(list: &str, redis: &Redis, send: impl Fn(&Redis, &str, u32) -> F) {
    let mut under_way = Vec::new();
    for n in 0..COMMANDS {
        under_way.push(send(redis, list, n));
        if n % 101 == 0 {
            under_way.pop().expect("just pushed").await;
        }
        if under_way.len() == 1000 {
            for sent in under_way.drain(..).rev() {
                sent.await;
            }
        }
    }
    for sent in under_way {
        sent.await;
    }
    let pushed: Vec<u32> = redis.send(LRange::new(list, 0, -1)).await.expect("read");
    assert_eq!(pushed.len(), COMMANDS as usize);
    assert!(pushed.is_sorted(), "{list}: overtaken at {:?}", pushed.windows(2).find(|pair| pair[0] > pair[1]));
}
