//! Typed messages of every family: the reply type follows from the message, keys are prefixed by the actor.

use std::{collections::HashMap, time::Duration};

use redis_actix::prelude::*;
use serde::{Deserialize, Serialize};

/// A hash: one field per member.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Profile {
    name: String,
    age: u8,
    email: Option<String>,
}

/// A value: one JSON document.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    dark: bool,
    languages: Vec<String>,
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let redis = Redis::builder(RedisConfig::from_env()?).start()?;

    // Strings and counters.
    let first = redis.send(Set::new("lock", "me").if_absent().expire(Duration::from_secs(30))).await?;
    let again = redis.send(Set::new("lock", "you").if_absent().expire(Duration::from_secs(30))).await?;
    println!("lock taken: {first}, then {again}; expires in {:?}", redis.send(PTtl::new("lock")).await?.remaining());
    let hits: i64 = redis.send(IncrBy::new("hits", 5)).await?;
    let several: Vec<Option<i64>> = redis.send(MGet::new(["hits", "misses"])).await?;
    println!("hits {hits}, read together {several:?}");

    // Hashes, field by field and as structs.
    let ada = Profile { name: "Ada".to_owned(), age: 36, email: None };
    redis.send(HSet::new("profile:ada").entry(&ada)?).await?;
    redis.send(HIncrBy::new("profile:ada", "age", 1)).await?;
    let Struct(profile): Struct<Profile> = redis.send(HGetAll::new("profile:ada")).await?;
    println!("{profile:?}");
    let fields: HashMap<String, String> = redis.send(HGetAll::new("profile:ada")).await?;
    println!("the same as a map: {} fields", fields.len());

    // JSON values.
    let settings = Settings { dark: true, languages: vec!["en".to_owned(), "fr".to_owned()] };
    redis.send(Set::new("settings:ada", Json::new(settings)?)).await?;
    let back: Option<Json<Settings>> = redis.send(Get::new("settings:ada")).await?;
    println!("{:?}", back.map(Json::into_inner));

    // Lists, sets, sorted sets.
    redis.send(RPush::new("queue", ["a", "b", "c"])).await?;
    let next: Option<String> = redis.send(LPop::new("queue")).await?;
    println!("next {next:?}, {} left", redis.send(LLen::new("queue")).await?);
    redis.send(SAdd::new("tags", ["x", "y"])).await?;
    println!("tagged x: {}", redis.send(SIsMember::new("tags", "x")).await?);
    redis.send(ZAdd::new("board", [(12.5, "ada"), (9.0, "bob")])).await?;
    let top: Vec<(String, f64)> = redis.send(ZRange::<String>::new("board", 0, 1).rev().with_scores()).await?;
    println!("{top:?}");

    // Errors state the failure and whether the command can have run.
    let error = redis.send(Incr::new("queue")).await.err();
    println!("{:?}", error.map(|error| (error.code().map(str::to_owned), error.fate(), error.to_string())));

    let used = ["lock", "hits", "profile:ada", "settings:ada", "queue", "tags", "board"];
    println!("{} keys removed", redis.send(Del::new(used)).await?);
    redis.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
