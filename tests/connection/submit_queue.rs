//! Commands gather on their way to the actor: they keep their order, and every one is completed when it ends.

use std::time::Duration;

use actix::{Arbiter, Message};
use redis_actix::prelude::*;
use redis_actix::{Command, ErrorKind, Frame, Value, decode};
use redis_actix_test::RedisServer;

#[derive(Message)]
#[rtype(result = "redis_actix::Result<i64>")]
struct Push(u32);

impl Command for Push {
    type Reply = i64;

    fn frame(&self) -> Frame {
        Frame::new("RPUSH").key("list").arg(self.0)
    }

    fn reply(value: Value) -> redis_actix::Result<i64> {
        decode(value)
    }
}

fn config(port: u16) -> RedisConfig {
    RedisConfig::builder().port(port).host("127.0.0.1").build().unwrap()
}

fn list(server: &RedisServer) -> Vec<i64> {
    let key = server.command(["KEYS", "*list"]).unwrap().array().unwrap()[0].text().unwrap();
    let all = server.command(["LRANGE", &key, "0", "-1"]).unwrap();
    all.array().unwrap().iter().map(|item| item.int().unwrap()).collect()
}

/// Through the handle, then through handle and address by turns, most of them before anything is polled.
#[actix::test]
async fn handle_and_address_keep_one_order() {
    let server = RedisServer::start().unwrap();
    for own_thread in [false, true] {
        server.command(["FLUSHALL"]).unwrap();
        let builder = Redis::builder(config(server.port()));
        let redis = if own_thread { builder.start_on_own_thread() } else { builder.start() }.unwrap();
        let mut sending = Vec::new();
        let mut sent_to_address = Vec::new();
        for n in 0..6000 {
            if n < 3000 || n % 3 != 0 {
                sending.push(redis.send(Push(n)));
            } else {
                sent_to_address.push(redis.addr().send(Push(n)));
            }
            if n % 1000 == 999 {
                tokio::task::yield_now().await;
            }
        }
        for sending in sending {
            sending.await.unwrap();
        }
        for sending in sent_to_address {
            sending.await.unwrap().unwrap();
        }
        assert_eq!(list(&server), (0..6000).collect::<Vec<_>>());
    }
}

#[actix::test]
async fn waiting_callers_are_completed_when_the_arbiter_ends() {
    let server = RedisServer::start().unwrap();
    let arbiter = Arbiter::new();
    let redis = Redis::builder(config(server.port())).arbiter(arbiter.handle()).start().unwrap();
    redis.ready(Duration::from_secs(3)).await.unwrap();
    server.stop_process().unwrap();
    let before: Vec<_> = (0..100).map(|n| redis.send(Push(n))).collect();
    arbiter.stop();
    let during: Vec<_> = (0..100).map(|n| redis.send(Push(n))).collect();
    arbiter.join().unwrap();
    let after = redis.send(Push(0));
    for sending in before.into_iter().chain(during).chain([after]) {
        let outcome = tokio::time::timeout(Duration::from_secs(3), sending).await.expect("answered at once");
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Closed);
    }
    server.cont_process().unwrap();
}
