//! Client-side caching: reads without a request, and own writes that are seen at once.
//!
//! ```console
//! $ cargo run --example caching
//! ```

use std::time::{Duration, Instant};

use redis_actix::CacheConfig;
use redis_actix::prelude::*;

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = redis_actix::RedisConfigBuilder::from_env().cache(CacheConfig::new(16 * 1024 * 1024)).build()?;
    let redis = Redis::builder(config).start()?;
    let minute = Duration::from_secs(60);

    redis.send(Set::new("greeting", "hello").expire(minute)).await?;
    for round in ["asks the server", "answers from this process"] {
        let asked = Instant::now();
        let greeting: Option<String> = redis.send(Get::new("greeting").cached(minute)).await?;
        println!("{round}: {greeting:?} after {:?}", asked.elapsed());
    }
    redis.send(Set::new("greeting", "good evening").expire(minute)).await?;
    let greeting: Option<String> = redis.send(Get::new("greeting").cached(minute)).await?;
    println!("after an own write: {greeting:?}");

    if let Some(cache) = redis.stats().cache {
        println!("{} hits, {} misses, {} of {} bytes", cache.hits, cache.misses, cache.bytes, cache.max_bytes);
    }
    redis.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
