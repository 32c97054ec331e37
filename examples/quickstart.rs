//! The smallest program: settings from the environment, two commands, a shutdown.
//!
//! `REDIS_HOST=127.0.0.1 cargo run --example quickstart`

use std::time::Duration;

use redis_actix::prelude::*;

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let redis = Redis::builder(RedisConfig::from_env()?).start()?;
    redis.ready(Duration::from_secs(3)).await?;

    redis.send(Set::new("user:1", "ada").expire(Duration::from_secs(60))).await?;
    let name: Option<String> = redis.send(Get::new("user:1")).await?;
    println!("user:1 is {name:?}, stored as {}user:1", redis.key_prefix());

    println!("{:?}", redis.shutdown(Duration::from_secs(5)).await?);
    Ok(())
}
