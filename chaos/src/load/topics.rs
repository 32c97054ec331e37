//! A publisher and a subscriber: every message arrives, or a gap in its place.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use redis_actix::prelude::*;

use super::super::deployment::Mode;
use super::super::ledger::{Reported, Tally};
use super::{Shared, eventually, pause};

const TOPIC: &str = "news";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Message(u64),
    Gap,
}

/// Events of the inbox, and published messages.
#[derive(Debug, Default)]
pub(super) struct Heard {
    came: RefCell<Vec<Came>>,
    published: RefCell<BTreeMap<u64, (Reported, Instant)>>,
    sharded: Cell<bool>,
}

impl Heard {
    fn has(&self, number: u64) -> bool {
        self.came.borrow().contains(&Came::Message(number))
    }
}

struct Inbox(Rc<Shared>);

impl Actor for Inbox {
    type Context = Context<Self>;
}

impl Handler<SubscriptionEvent> for Inbox {
    type Result = ();

    fn handle(&mut self, event: SubscriptionEvent, _: &mut Self::Context) {
        let shared = &self.0;
        match event {
            SubscriptionEvent::Message(message) => {
                shared.served("subscription");
                shared.heard.came.borrow_mut().push(Came::Message(message.decode().unwrap_or_default()));
            }
            SubscriptionEvent::Gap { .. } => {
                shared.account.count("subscription gaps");
                shared.heard.came.borrow_mut().push(Came::Gap);
            }
            SubscriptionEvent::Dropped { .. } => shared.heard.came.borrow_mut().push(Came::Gap),
            other => {
                let words = || format!("{other:?}");
                shared.account.check(false, "an unexpected event of a subscription", words);
            }
        }
    }
}

/// A shard channel in a cluster: messages to all nodes can be lost on the bus, which no client can detect.
pub(super) async fn subscribe(shared: &Rc<Shared>, mode: Mode) -> Subscription {
    shared.heard.sharded.set(mode == Mode::Cluster);
    let topic = if mode == Mode::Cluster { Topic::shard(TOPIC) } else { Topic::channel(TOPIC) };
    let inbox = Inbox(shared.clone()).start();
    shared.redis.subscribe([topic], inbox.recipient()).await.expect("subscribed")
}

pub(super) async fn publish(shared: Rc<Shared>, mut chance: fastrand::Rng) {
    while !shared.over.get() {
        one(&shared).await;
        pause(&mut chance).await;
    }
}

async fn one(shared: &Shared) -> Option<u64> {
    let (number, asked) = (shared.ledger.number(), Instant::now());
    let payload = number.to_string();
    let sent = if shared.heard.sharded.get() {
        shared.redis.send(SPublish::new(TOPIC, payload)).await.map(drop)
    } else {
        shared.redis.send(Publish::new(TOPIC, payload)).await.map(drop)
    };
    shared.in_time("publish", asked, shared.deadline);
    let reported = sent.as_ref().map_or_else(Reported::from, |()| Reported::Acknowledged);
    shared.heard.published.borrow_mut().insert(number, (reported, Instant::now()));
    match sent {
        Ok(()) => Some(number),
        Err(error) => {
            shared.failed("publish", &error);
            None
        }
    }
}

/// New messages arrive; every missing earlier message has a gap in its place.
pub(super) async fn verify(shared: &Shared, mode: Mode) -> Tally {
    let mut tally = Tally::default();
    let (asked, mut heard) = (Instant::now(), false);
    while !heard && asked.elapsed() < Duration::from_secs(15) {
        if let Some(number) = one(shared).await {
            heard = eventually(Duration::from_millis(500), || shared.heard.has(number)).await;
        }
    }
    shared.account.check(heard, "a subscription received nothing after the last fault", || format!("{mode:?}"));
    if asked.elapsed() > Duration::from_secs(2) {
        shared.account.count("subscription slow to hear again");
    }
    let came = std::mem::take(&mut *shared.heard.came.borrow_mut());
    let published = std::mem::take(&mut *shared.heard.published.borrow_mut());
    // Messages arrive in the order of publication; a gap stands between two that arrived.
    let mut covered: Vec<(u64, u64)> = Vec::new();
    let (mut last, mut gap, mut seen) = (0, false, BTreeSet::new());
    for event in &came {
        match *event {
            Came::Gap => gap = true,
            Came::Message(number) => {
                shared.account.check(seen.insert(number), "a message came twice", || number.to_string());
                if std::mem::take(&mut gap) {
                    covered.push((last, number));
                }
                last = last.max(number);
            }
        }
    }
    if gap {
        covered.push((last, u64::MAX));
    }
    let mut holes = BTreeSet::new();
    for (number, (reported, _)) in &published {
        let (came, gap) = (seen.contains(number), covered.iter().any(|(from, to)| (from..to).contains(&number)));
        match reported {
            Reported::NotSent | Reported::Rejected => {
                shared.account.check(!came, "a fate denies what ran", || format!("message {number}, {reported:?}"));
            }
            Reported::Acknowledged if came => {
                tally.acknowledged += 1;
                shared.account.count("subscription came");
            }
            Reported::Acknowledged => {
                let hole = seen.range(..number).next_back().copied().unwrap_or_default();
                let new = holes.insert(hole);
                shared.account.check(gap || !new, "messages are missing without a gap", || {
                    let next = seen.range(number..).next().copied().unwrap_or(u64::MAX);
                    let of = published.range(hole + 1..next);
                    let times = of.clone().map(|(_, (_, at))| at.elapsed());
                    let (first, last) = (times.clone().max(), times.min());
                    format!("{} messages, published {first:?} to {last:?} ago", of.count())
                });
                tally.acknowledged += 1;
                tally.lost_by_server += u64::from(gap);
                tally.lost += u64::from(!gap);
                shared.account.count(if gap { "subscription missed with a gap" } else { "subscription missed" });
            }
            _ => {}
        }
    }
    tally
}
