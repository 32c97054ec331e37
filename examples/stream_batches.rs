//! Advanced streams: a producer that keeps unhandled entries, a delayed message, a handler of batches that bills exactly
//! once, and dead letters that are redriven.

use std::time::Duration;

use actix::prelude::*;
use redis_actix::prelude::*;
use redis_actix::{Batch, BatchOutcome, ConsumerGroup, DeadLetterFilter, Entry, Producer, StreamConsumer};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    customer: String,
    cents: i64,
}

fn order(customer: &str, cents: i64) -> Order {
    Order { customer: customer.to_owned(), cents }
}

struct Billing {
    redis: Redis,
    /// Rejects orders above 10,000 until one was rejected.
    strict: bool,
}

impl Actor for Billing {
    type Context = Context<Self>;
}

impl Handler<Batch<Order, BatchOutcome>> for Billing {
    type Result = ResponseFuture<BatchOutcome>;

    fn handle(&mut self, orders: Batch<Order, BatchOutcome>, _: &mut Self::Context) -> Self::Result {
        let (redis, strict) = (self.redis.clone(), self.strict);
        // The first page of a stream is small: the large order may arrive in a separate batch.
        self.strict &= (&orders).into_iter().all(|order| order.cents <= 10_000);
        Box::pin(async move {
            let mut outcomes = Vec::new();
            for order in &orders {
                if strict && order.cents > 10_000 {
                    outcomes.push(Outcome::reject("needs a manual check"));
                    continue;
                }
                // The amount is added and the message acknowledged in one step.
                let bill = IncrBy::new(format!("due:{}", order.customer), order.cents);
                outcomes.push(match order.ack_with(&redis, Transaction::new((bill,))).await {
                    Ok(_) => Outcome::Ack,
                    Err(error) => Outcome::failed(error),
                });
            }
            println!("a batch of {}", orders.len());
            BatchOutcome::Each(outcomes)
        })
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let redis = Redis::builder(RedisConfig::from_env()?).start()?;
    let orders = Producer::new(&redis, "orders").max_len(1_000).keep_needed();
    let order_17 = Entry::new(&order("ada", 1_000))?.once("order-17");
    let first = orders.append(order_17.clone()).await?;
    let again = orders.append(order_17).await?;
    println!("sent twice, added once: {}", first.id == again.id);
    orders.append(Entry::new(&order("bob", 50_000))?).await?;
    let later = XAdd::new("orders").entry(&order("ada", 300))?;
    redis.schedule_in(later, Duration::from_millis(300)).await?;

    let billing = Billing { redis: redis.clone(), strict: true }.start();
    let consumer =
        StreamConsumer::builder("orders", "billing").batch(100).start_batches::<Order>(&redis, billing.recipient())?;
    let due = async |customer: &str| redis.send(Get::<i64>::new(format!("due:{customer}"))).await;
    while consumer.dead_letters().count().await? == 0 || due("ada").await? != Some(1_300) {
        actix::clock::sleep(Duration::from_millis(20)).await;
    }
    println!("ada owes {:?}", due("ada").await?);
    for letter in consumer.dead_letters().list(DeadLetterFilter::all()).await? {
        println!("dead: {}, sent back", letter.error);
    }
    consumer.redrive(DeadLetterFilter::all()).await?;
    while due("bob").await?.is_none() {
        actix::clock::sleep(Duration::from_millis(20)).await;
    }
    println!("bob owes {:?}", due("bob").await?);

    let group = ConsumerGroup::new(&redis, "orders", "billing");
    println!("behind by {:?}", group.info().await?.and_then(|info| info.lag));
    consumer.drain(Duration::from_secs(5)).await?;
    redis.send(Del::new(["orders", "orders:dlq", "due:ada", "due:bob"])).await?;
    redis.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
