//! Several commands in one message: a pipeline, a transaction, an optimistic transaction, a script and a function.

use std::time::Duration;

use redis_actix::prelude::*;

/// Transfers an amount from one account to another if the balance suffices.
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

    // One round trip for all of them, a typed reply for each.
    let (_, _, names) =
        redis.send(Pipeline::new((Set::new("ada", 100), Set::new("bob", 0), Exists::new(["ada", "bob"])))).await?;
    println!("{names} accounts");

    // A failure affects no other command: `try_each` returns every outcome.
    let outcomes = redis.send(Pipeline::new((LLen::new("ada"), Incr::new("visits"))).try_each()).await?;
    println!("a wrong type: {}; the other one: {:?}", outcomes.0.is_err(), outcomes.1);

    // All or none, and no command of another client in between.
    let (ada, bob) = redis.send(Transaction::new((DecrBy::new("ada", 30), IncrBy::new("bob", 30)))).await?;
    println!("after a transaction: {ada} and {bob}");

    // The write depends on the read. It is repeated if another client changed the keys in between.
    let paid = redis
        .watch(["ada"], async |seen: Watched| {
            let have: i64 = seen.send(Get::new("ada")).await?.unwrap_or(0);
            Ok((have >= 20).then(|| Transaction::new((Set::new("ada", have - 20), IncrBy::new("bob", 20)))))
        })
        .await?;
    println!("after a watch: {:?}", paid.map(|(_, bob)| bob));

    // A script, sent by its digest and loaded if the server does not know it.
    let paid = redis.send(PAY.invoke().key("ada").key("bob").arg(50)).await?;
    let again = redis.send(PAY.invoke().key("ada").key("bob").arg(50)).await?;
    println!("by script: {paid}, then {again}");

    // A function is stored on the server.
    let library = redis.send(FunctionLoad::new(LIBRARY).replace()).await?;
    let left: i64 = redis.send(FCall::read_only("balance").key("ada")).await?;
    println!("{library}: ada has {left} left");

    redis.send(Unlink::new(["ada", "bob", "visits"])).await?;
    redis.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
