use std::time::{Duration, Instant};

use actix::prelude::*;
use redis_actix_test::RedisServer;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::Order;
use crate::prelude::{Publish, Redis, RedisConfig, SubscriptionEvent, Topic};

struct Inbox(UnboundedSender<SubscriptionEvent>);

impl Actor for Inbox {
    type Context = Context<Self>;
}

impl Handler<SubscriptionEvent> for Inbox {
    type Result = ();

    fn handle(&mut self, event: SubscriptionEvent, _: &mut Context<Self>) {
        let _ = self.0.send(event);
    }
}

/// Ablation: if the link is not disconnected, subscribers get no gap although messages may be missing.
#[actix::test]
async fn after_a_panic_of_the_actor_subscriptions_continue_with_a_gap() {
    let server = RedisServer::start().unwrap_or_else(|error| panic!("{error}"));
    let config = RedisConfig::builder().host("127.0.0.1").port(server.port()).key_prefix("test:").build();
    let redis = Redis::builder(config.expect("valid")).start().expect("started");
    let (sender, mut events) = unbounded_channel();
    let inbox = Inbox(sender).start();
    let subscription = redis.subscribe([Topic::channel("a")], inbox.recipient()).await.expect("confirmed");
    let hub = redis.pubsub().expect("there").hub(&redis).expect("there");
    for payload in ["1", "2"] {
        hub.do_send(Order::ActorFailure);
        let gap = tokio::time::timeout(Duration::from_secs(20), events.recv()).await.expect("in time");
        assert!(matches!(gap, Some(SubscriptionEvent::Gap { losses: 1, .. })), "{gap:?}");
        let deadline = Instant::now() + Duration::from_secs(20);
        while redis.send(Publish::new("a", payload)).await.expect("sent") == 0 {
            assert!(Instant::now() < deadline, "the topic is subscribed again");
        }
        let message = tokio::time::timeout(Duration::from_secs(20), events.recv()).await.expect("in time");
        assert!(matches!(message, Some(SubscriptionEvent::Message(it)) if it.payload() == payload.as_bytes()));
    }
    subscription.add([Topic::channel("b")]).await.expect("confirmed");
    let heard = server.command(["PUBSUB", "NUMSUB", "test:a", "test:b"]).expect("asked");
    let heard: Vec<_> = heard.array().expect("a list").iter().filter_map(|it| it.int().ok()).collect();
    assert_eq!(heard, [1, 1]);
}
