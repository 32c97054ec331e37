//! Several commands as one: a pipeline, a transaction, one that depends on what it has read, a script and a function.

use std::time::Duration;

use redis_actix::prelude::*;

/// Takes an amount from one account if it is there, and gives it to another.
static PAY: Script<bool> = Script::new(
    "local have = tonumber(redis.call('GET', KEYS[1]) or 0)
     if have < tonumber(ARGV[1]) then return 0 end
     redis.call('DECRBY', KEYS[1], ARGV[1])
     redis.call('INCRBY', KEYS[2], ARGV[1])
     return 1",
);

const LIBRARY: &str = "#!lua name=accounts
redis.register_function{
    function_name = 'balance',
    callback = function(keys) return redis.call('GET', keys[1]) end,
    flags = { 'no-writes' },
}";

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let redis = Redis::builder(RedisConfig::from_env()?).start()?;

    // One trip for all of them, a typed reply for each.
    let (_, _, names) =
        redis.send(Pipeline::new((Set::new("ada", 100), Set::new("bob", 0), Exists::new(["ada", "bob"])))).await?;
    println!("{names} accounts");

    // One that fails costs the others nothing: `try_each` tells every outcome.
    let outcomes = redis.send(Pipeline::new((LLen::new("ada"), Incr::new("visits"))).try_each()).await?;
    println!("a wrong type: {}; the other one: {:?}", outcomes.0.is_err(), outcomes.1);

    // All or none, and nobody in between.
    let (ada, bob) = redis.send(Transaction::new((DecrBy::new("ada", 30), IncrBy::new("bob", 30)))).await?;
    println!("after a transaction: {ada} and {bob}");

    // What is written depends on what was read: it is tried again when somebody else was faster.
    let paid = redis
        .watch(["ada"], async |seen: Watched| {
            let have: i64 = seen.send(Get::new("ada")).await?.unwrap_or(0);
            Ok((have >= 20).then(|| Transaction::new((Set::new("ada", have - 20), IncrBy::new("bob", 20)))))
        })
        .await?;
    println!("after a watch: {:?}", paid.map(|(_, bob)| bob));

    // A step of the server's own, sent by its digest and loaded when the server does not know it.
    let paid = redis.send(PAY.invoke().key("ada").key("bob").arg(50)).await?;
    let again = redis.send(PAY.invoke().key("ada").key("bob").arg(50)).await?;
    println!("by script: {paid}, then {again}");

    // A function stays with the server.
    let library = redis.send(FunctionLoad::new(LIBRARY).replace()).await?;
    let left: i64 = redis.send(FCall::read_only("balance").key("ada")).await?;
    println!("{library}: ada has {left} left");

    redis.send(Unlink::new(["ada", "bob", "visits"])).await?;
    redis.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
