//! Graceful shutdown: refuse new commands, finish those that were admitted, and report their outcomes.

use std::time::Duration;

use redis_actix::prelude::*;
use redis_actix::{ErrorKind, Fate};

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let redis = get_redis()?;
    redis.ready(Duration::from_secs(3)).await?;

    let mut under_way = Vec::new();
    for _ in 0..1000 {
        under_way.push(redis.send(Incr::new("jobs:done")));
    }
    // The shared connection is drained while a thousand commands are in flight.
    let report = close_redis(Duration::from_secs(5)).await?;
    println!("{report:?}");

    let (mut done, mut unsent, mut unknown) = (0, 0, 0);
    for command in under_way {
        match command.await {
            Ok(_) => done += 1,
            Err(error) if error.fate() == Fate::NotSent => unsent += 1,
            Err(_) => unknown += 1,
        }
    }
    println!("{done} done, {unsent} never sent, {unknown} unknown: every caller was answered");

    let late = redis.send(Incr::new("jobs:done")).await;
    assert!(late.is_err_and(|error| error.kind() == ErrorKind::Closed), "a closed handle stays closed");
    get_redis()?.send(Del::key("jobs:done")).await?;
    close_redis(Duration::from_secs(5)).await?;
    Ok(())
}
