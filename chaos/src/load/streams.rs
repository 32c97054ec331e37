//! A producer, and a consumer that handles every entry at least once.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use redis_actix::prelude::*;
use redis_actix::{Entry, Producer};

use super::super::ledger::{Reported, Tally};
use super::{Shared, eventually, pause};

/// The hash tag keeps the keys that a producer stores beside the stream in the same slot.
pub(super) const STREAM: &str = "{stream}:orders";

/// How often each number was handled.
#[derive(Debug, Default)]
pub(super) struct Handled(RefCell<BTreeMap<u64, u64>>);

struct Worker(Rc<Shared>);

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Delivery<StreamEntry>> for Worker {
    type Result = Outcome;

    fn handle(&mut self, entry: Delivery<StreamEntry>, _: &mut Self::Context) -> Outcome {
        self.0.served("stream consumer");
        let number = entry.fields.first().and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
        *self.0.handled.0.borrow_mut().entry(number.unwrap_or_default()).or_default() += 1;
        Outcome::Ack
    }
}

pub(super) fn consume(shared: &Rc<Shared>) -> StreamConsumer {
    let worker = Worker(shared.clone()).start();
    StreamConsumer::builder(STREAM, "billing")
        .consumer("one")
        .max_in_flight(8)
        .min_idle(Duration::from_secs(2))
        .block(Duration::from_millis(1_000))
        .sweep_every(Duration::from_millis(500))
        .max_deliveries(1_000)
        .start::<StreamEntry>(&shared.redis, worker.recipient())
        .expect("a consumer")
}

pub(super) async fn produce(shared: Rc<Shared>, mut chance: fastrand::Rng) {
    let (caller, producer) = (shared.caller(), Producer::new(&shared.redis, STREAM));
    while !shared.over.get() {
        let (number, asked) = (shared.ledger.number(), Instant::now());
        let entry = Entry::empty().field("n", number);
        let once = chance.bool();
        let entry = if once { entry.once(number.to_string()) } else { entry };
        let sent = producer.append(entry).await;
        let reported = sent.as_ref().map_or_else(Reported::from, |_| Reported::Acknowledged);
        shared.ledger.note(number, "producer", caller, STREAM, reported);
        match sent {
            Ok(_) => shared.served("producer"),
            Err(error) => shared.failed("producer", &error),
        }
        // Added once by a script, it may ask for the server's features first.
        shared.in_time("producer", asked, if once { shared.deadline * 3 } else { shared.deadline });
        pause(&mut chance).await;
        pause(&mut chance).await;
    }
}

/// Every entry that the server has is handled.
pub(super) async fn verify(shared: &Shared, lists: &HashMap<String, Vec<u64>>) -> Tally {
    let Some(entries) = lists.get(STREAM) else { return Tally::default() };
    let handled = &shared.handled.0;
    let all = || entries.iter().all(|number| handled.borrow().contains_key(number));
    let all = eventually(Duration::from_secs(20), all).await;
    shared.account.check(all, "an entry was never handled", || {
        let missing: Vec<_> = entries.iter().filter(|number| !handled.borrow().contains_key(number)).take(5).collect();
        format!("{missing:?} of {}", entries.len())
    });
    let unhandled = entries.iter().filter(|number| !handled.borrow().contains_key(number)).count();
    let tally = Tally { acknowledged: entries.len() as u64, lost: unhandled as u64, ..Tally::default() };
    let deadline = Instant::now() + Duration::from_secs(10);
    while shared.redis.send(XTrim::max_len(STREAM, 0)).await.is_err() && Instant::now() < deadline {}
    let handled = std::mem::take(&mut *handled.borrow_mut());
    shared.account.count_many("stream consumer handled", handled.len() as u64);
    shared.account.count_many("stream consumer handled again", handled.values().map(|times| times - 1).sum());
    tally
}
