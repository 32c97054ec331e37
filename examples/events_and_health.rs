//! Observability: connection events as messages to an actor, the status, and the health. Stop and start the server while
//! it runs. It ends after `--seconds N`, 30 by default.

use std::time::Duration;

use actix::prelude::*;
use redis_actix::ConnectionEvent;
use redis_actix::prelude::*;

/// Prints the events of the connection.
struct Audit;

impl Actor for Audit {
    type Context = Context<Self>;
}

impl Handler<ConnectionEvent> for Audit {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, _: &mut Self::Context) {
        match event {
            ConnectionEvent::Connected { attempts, outage, .. } => {
                println!("connected after {attempts} attempts, outage {outage:?}");
            }
            ConnectionEvent::Disconnected { cause, replayed, unknown, .. } => {
                println!("lost: {cause}; {replayed} commands are sent again, {unknown} may have run");
            }
            ConnectionEvent::Retrying { delay, cause, .. } => println!("again in {delay:?}: {cause}"),
            ConnectionEvent::Refused { cause, retry_in } => println!("refused, again in {retry_in:?}: {cause}"),
            other => println!("{other:?}"),
        }
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().skip_while(|arg| arg != "--seconds").nth(1);
    let seconds = seconds.map_or(Ok(30), |seconds| seconds.parse::<u32>())?;
    let audit = Audit.start();
    let redis = Redis::builder(RedisConfig::from_env()?).on_event(audit.recipient()).start()?;
    println!("{:?}", redis.connection_info());
    for _ in 0..seconds {
        match redis.health().await {
            Ok(health) => println!(
                "{}: {} {} in {:?}, {} in flight, {} queued",
                health.status.state,
                health.server.as_deref().unwrap_or("server"),
                health.version.as_deref().unwrap_or("of unknown version"),
                health.round_trip,
                health.in_flight,
                health.queued
            ),
            Err(error) => println!("{}: {error}", redis.status().borrow().state),
        }
        actix::clock::sleep(Duration::from_secs(1)).await;
    }
    redis.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
