//! Subscriptions: a channel, a pattern and key events, delivered to one actor.
//!
//! `REDIS_HOST=127.0.0.1 cargo run --example pubsub`

use std::time::Duration;

use actix::prelude::*;
use redis_actix::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

#[derive(Debug, Serialize, Deserialize)]
struct Alert {
    level: u8,
    text: String,
}

struct Newsroom {
    done: UnboundedSender<()>,
}

impl Actor for Newsroom {
    type Context = Context<Self>;
}

impl Handler<SubscriptionEvent> for Newsroom {
    type Result = ();

    fn handle(&mut self, event: SubscriptionEvent, _: &mut Context<Self>) {
        match event {
            SubscriptionEvent::Message(message) => {
                let channel = String::from_utf8_lossy(message.channel());
                match message.decode::<Json<Alert>>() {
                    Ok(alert) => println!("{channel}: level {}, {}", alert.level, alert.text),
                    Err(_) => println!("{channel}: {} bytes of text", message.payload().len()),
                }
                let _ = self.done.send(());
            }
            SubscriptionEvent::Key(key) => println!("{} {}", key.event, String::from_utf8_lossy(&key.key)),
            // Messages published while the link was down are lost: read the current state.
            SubscriptionEvent::Gap { cause, .. } => println!("messages may be missing: {cause}"),
            SubscriptionEvent::Dropped { messages } => println!("too slow for {messages} messages"),
            SubscriptionEvent::NotificationsOff { .. } => {
                println!("no key events: enable them with CONFIG SET notify-keyspace-events KEA");
            }
            other => println!("{other:?}"),
        }
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let redis = Redis::builder(RedisConfig::from_env()?).start()?;
    let (done, mut handled) = unbounded_channel();
    let topics = [Topic::channel("alerts"), Topic::pattern("news:*"), Topic::keyspace("user:*")];
    // Resolves when the server has confirmed every topic.
    let subscription = redis
        .subscribe(topics, Newsroom { done }.start().recipient())
        .buffer(1_000)
        .overflow(Overflow::DropOldest)
        .await?;

    let alert = Alert { level: 3, text: "the disk is full".to_owned() };
    redis.send(Publish::new("alerts", Json::new(alert)?)).await?;
    redis.send(Publish::new("news:sports", "they won")).await?;
    redis.send(Set::new("user:1", "ada")).await?;
    for _ in 0..2 {
        handled.recv().await;
    }

    let stats = subscription.stats();
    println!("{} dropped, {} gaps", stats.dropped, stats.gaps);
    subscription.close().await;
    redis.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
