//! The handler of a message: it updates the state of the conversation.

use std::rc::Rc;

use actix::prelude::*;
use redis_actix::prelude::*;
use redis_actix::{Delivery, Outcome};
use serde::{Deserialize, Serialize};

use super::ledger::Ledger;

/// The sender of a message.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    Inbound,
    Outbound,
}

/// A message event, stored as a stream entry with one field per member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MessageEvent {
    pub(crate) number: u64,
    pub(crate) conversation: u32,
    pub(crate) direction: Direction,
    pub(crate) phone: String,
    pub(crate) text: String,
    pub(crate) reply_to: Option<u64>,
}

/// The consumers' handler.
pub(crate) struct Inbox {
    redis: Redis,
    ledger: Rc<Ledger>,
    acknowledge_first: bool,
}

impl Inbox {
    pub(crate) fn new(redis: Redis, ledger: Rc<Ledger>, acknowledge_first: bool) -> Self {
        Self { redis, ledger, acknowledge_first }
    }
}

impl Actor for Inbox {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // A consumer delivers up to its window at once.
        ctx.set_mailbox_capacity(0);
    }
}

impl Handler<Delivery<MessageEvent>> for Inbox {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, delivery: Delivery<MessageEvent>, _: &mut Self::Context) -> Self::Result {
        let (redis, ledger) = (self.redis.clone(), self.ledger.clone());
        let event = delivery.into_payload();
        if self.acknowledge_first {
            // Many services do this and lose messages: a failure after the acknowledgement is never retried.
            actix::spawn(async move { handle(&redis, &ledger, &event).await });
            return Box::pin(async { Outcome::Ack });
        }
        Box::pin(async move { handle(&redis, &ledger, &event).await })
    }
}

async fn handle(redis: &Redis, ledger: &Ledger, event: &MessageEvent) -> Outcome {
    let _under_way = ledger.begin();
    let key = format!("conversation:{}", event.conversation);
    let side = match event.direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    };
    let counted = redis.send(HIncrBy::new(&key, side, 1));
    let noted = redis.send(HSet::new(&key).fields([("last", &event.text), ("phone", &event.phone)]).idempotent());
    match (counted.await, noted.await) {
        (Ok(_), Ok(_)) => {
            ledger.handled_one(event.number);
            Outcome::Ack
        }
        (counted, noted) => {
            counted.err().into_iter().chain(noted.err()).for_each(|error| ledger.failed(&error));
            Outcome::Retry
        }
    }
}
