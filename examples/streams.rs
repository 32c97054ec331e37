//! A stream consumer: an actor bills orders, retries when billing fails, and dead-letters orders that cannot be billed.

use std::time::Duration;

use actix::prelude::*;
use redis_actix::prelude::*;
use redis_actix::{Delivery, Outcome, StreamConsumer, StreamEvent};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    customer: String,
    cents: i64,
}

struct Billing {
    redis: Redis,
}

impl Actor for Billing {
    type Context = Context<Self>;
}

impl Handler<Delivery<Order>> for Billing {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, delivery: Delivery<Order>, _: &mut Self::Context) -> Self::Result {
        let redis = self.redis.clone();
        let order = delivery.into_payload();
        Box::pin(async move {
            if order.cents <= 0 {
                return Outcome::reject("the amount must be positive");
            }
            match redis.send(IncrBy::new(format!("due:{}", order.customer), order.cents)).await {
                Ok(due) => {
                    println!("{} owes {due}", order.customer);
                    Outcome::Ack
                }
                Err(error) => {
                    println!("{}: {error}; once more later", order.customer);
                    Outcome::Retry
                }
            }
        })
    }
}

/// Prints the events of the consumer.
struct Ops;

impl Actor for Ops {
    type Context = Context<Self>;
}

impl Handler<StreamEvent> for Ops {
    type Result = ();

    fn handle(&mut self, event: StreamEvent, _: &mut Self::Context) {
        println!("{:?}", event.kind);
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let redis = Redis::builder(RedisConfig::from_env()?).start()?;
    let (billing, ops) = (Billing { redis: redis.clone() }.start(), Ops.start());
    let consumer = StreamConsumer::builder("orders", "billing")
        .max_in_flight(64)
        .retry([Duration::from_secs(1), Duration::from_secs(5)])
        .max_deliveries(5)
        .dead_letter("orders:dead")
        .on_event(ops.recipient())
        .start::<Order>(&redis, billing.recipient())?;

    for (customer, cents) in [("ada", 1250), ("bob", 990), ("eve", -5), ("ada", 300)] {
        let order = Order { customer: customer.to_owned(), cents };
        redis.send(XAdd::new("orders").entry(&order)?.max_len_approx(100_000)).await?;
    }
    while redis.send(XLen::new("orders:dead")).await? == 0 {
        actix::clock::sleep(Duration::from_millis(50)).await;
    }
    println!("{:?}", consumer.drain(Duration::from_secs(5)).await?);
    println!("dead: {}", redis.send(XLen::new("orders:dead")).await?);
    redis.send(Del::new(["orders", "orders:dead", "due:ada", "due:bob"])).await?;
    redis.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
