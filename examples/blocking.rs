//! A work queue: workers wait for jobs on dedicated connections and delay no other caller. A job that was taken for a
//! cancelled worker is put back.

use std::time::Duration;

use actix::prelude::*;
use redis_actix::prelude::*;

/// Prints the jobs that were put back after their worker was cancelled.
struct Ops;

impl Actor for Ops {
    type Context = Context<Self>;
}

impl Handler<ConnectionEvent> for Ops {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, _: &mut Self::Context) {
        match event {
            ConnectionEvent::PutBack { command, elements } => println!("put back {elements} of {command}"),
            ConnectionEvent::MayBeLost { command, reason, .. } => println!("{command} may have lost a job: {reason}"),
            _ => {}
        }
    }
}

/// Takes jobs until none arrives.
async fn work(redis: Redis) -> redis_actix::Result<()> {
    while let Some(job) =
        redis.send(BLPop::new(["urgent", "jobs"], Duration::from_millis(500)).typed::<String>()).await?
    {
        println!("{} done, from {}", job.value, String::from_utf8_lossy(&job.key));
    }
    Ok(())
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let redis = Redis::builder(RedisConfig::from_env()?).on_event(Ops.start().recipient()).start()?;
    redis.send(Unlink::new(["urgent", "jobs"])).await?;

    let workers: Vec<_> = (0..2).map(|_| actix::spawn(work(redis.clone()))).collect();
    for _ in 0..10 {
        redis.send(LLen::new("jobs")).await?;
    }
    println!("10 reads meanwhile");
    redis.send(RPush::new("jobs", ["job 1", "job 2"])).await?;
    redis.send(RPush::new("urgent", ["job 3"])).await?;
    for link in redis.connection_info().links {
        println!("{:?} {}: {:?}", link.role, link.state, link.purpose);
    }
    for worker in workers {
        worker.await??;
    }

    // A dropped future cancels the wait at the server; an element that arrives too late is put back.
    redis.send(RPush::new("jobs", ["job 4"])).await?;
    let given_up = redis.send(BLPop::new(["jobs"], Duration::from_secs(60)));
    while redis.send(LLen::new("jobs")).await? > 0 {}
    drop(given_up);
    while redis.send(LLen::new("jobs")).await? == 0 {}
    println!("still queued: {}", redis.send(LLen::new("jobs")).await?);
    redis.send(Unlink::key("jobs")).await?;

    println!("{:?}", redis.shutdown(Duration::from_secs(5)).await?);
    Ok(())
}
