//! A custom command: its keys are marked where it is built, its reply is typed, and it is sent like any other. `Raw` is
//! shorter for a single use.

use std::time::Duration;

use actix::Message;
use redis_actix::prelude::*;
use redis_actix::{Frame, Result, Value, decode};

/// Counts a visit of a user and returns the number of visits.
#[derive(Message)]
#[rtype(result = "Result<u64>")]
struct Touch {
    session: String,
}

impl Command for Touch {
    type Reply = u64;

    fn frame(&self) -> Frame {
        Frame::new("HINCRBY").key(format!("session:{}", self.session)).arg("seen").arg(1)
    }

    fn reply(value: Value) -> Result<u64> {
        decode(value)
    }
}

#[actix::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let redis = Redis::builder(RedisConfig::from_env()?).start()?;
    for _ in 0..3 {
        let seen = redis.send(Touch { session: "ada".to_owned() }).await?;
        println!("seen {seen} times");
    }
    // It only reads: it may be sent again when a link breaks before its reply.
    let seen: Option<u64> = redis.send(Raw::new("HGET").key("session:ada").arg("seen").idempotent()).await?;
    println!("read back: {seen:?}");
    redis.send(Del::key("session:ada")).await?;
    redis.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
