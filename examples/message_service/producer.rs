//! Producers: each message is appended until Redis acknowledges it.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::clock::sleep;
use redis_actix::prelude::*;

use super::STREAM;
use super::inbox::{Direction, MessageEvent};
use super::ledger::Ledger;

/// Appends in flight.
const PRODUCERS: u64 = 256;

/// Starts the producers; the task ends when every message is acknowledged.
pub(crate) fn start(redis: &Redis, ledger: &Rc<Ledger>, messages: u64, seed: u64) -> actix_rt::task::JoinHandle<()> {
    let chance = Rc::new(RefCell::new(fastrand::Rng::with_seed(seed)));
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|first| {
            let (redis, ledger, chance) = (redis.clone(), ledger.clone(), chance.clone());
            actix::spawn(async move {
                for number in (first..messages).step_by(PRODUCERS as usize) {
                    let event = event(number, &mut chance.borrow_mut());
                    append(&redis, &ledger, &event).await;
                }
            })
        })
        .collect();
    actix::spawn(async move {
        for producer in producers {
            if let Err(panic) = producer.await {
                eprintln!("a producer panicked: {panic}");
            }
        }
    })
}

fn event(number: u64, chance: &mut fastrand::Rng) -> MessageEvent {
    const WORDS: [&str; 8] =
        ["hello", "ok 👍", "see you at 8", "invoice attached", "grüezi", "thanks!", "où es-tu ?", "🎉"];
    MessageEvent {
        number,
        conversation: chance.u32(..500),
        direction: if chance.bool() { Direction::Inbound } else { Direction::Outbound },
        phone: format!("+4179{:07}", chance.u32(..10_000_000)),
        text: chance.choice(WORDS).unwrap_or_default().to_owned(),
        reply_to: chance.bool().then(|| number.saturating_sub(chance.u64(1..50))),
    }
}

/// Appends until it is acknowledged. An append with an unknown fate may be in the stream already. Repeating it can add a
/// duplicate; not repeating it can lose the message.
async fn append(redis: &Redis, ledger: &Ledger, event: &MessageEvent) {
    ledger.sent_one();
    loop {
        let appended = match XAdd::new(STREAM).entry(event) {
            Ok(entry) => redis.send(entry).await,
            Err(error) => Err(error),
        };
        match appended {
            Ok(_) => return ledger.acknowledged_one(event.number),
            Err(error) => {
                ledger.failed(&error);
                ledger.appended_again();
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}
