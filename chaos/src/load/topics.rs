//! A publisher and a subscriber: every message arrives, or a gap in its place.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use redis_actix::prelude::*;

use super::super::account::Account;
use super::super::deployment::Mode;
use super::super::ledger::{Reported, Tally};
use super::{Shared, eventually, pause};

const TOPIC: &str = "news";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Message(u64),
    Gap,
}

/// A published message, for the diagnosis of a loss.
#[derive(Debug, Clone, Copy)]
struct Published {
    reported: Reported,
    asked: Instant,
    ended: Instant,
    /// The number of subscribers that the server reported.
    receivers: Option<u64>,
}

/// Events of the inbox, and published messages.
#[derive(Debug, Default)]
pub(super) struct Heard {
    came: RefCell<Vec<(Came, Instant)>>,
    published: RefCell<BTreeMap<u64, Published>>,
    sharded: Cell<bool>,
}

impl Heard {
    fn add(&self, came: Came) {
        self.came.borrow_mut().push((came, Instant::now()));
    }

    fn has(&self, number: u64) -> bool {
        self.came.borrow().iter().any(|(came, _)| *came == Came::Message(number))
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
                shared.heard.add(Came::Message(message.decode().unwrap_or_default()));
            }
            SubscriptionEvent::Gap { .. } => {
                shared.account.count("subscription gaps");
                shared.heard.add(Came::Gap);
            }
            SubscriptionEvent::Dropped { .. } => shared.heard.add(Came::Gap),
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
        shared.redis.send(SPublish::new(TOPIC, payload)).await
    } else {
        shared.redis.send(Publish::new(TOPIC, payload)).await
    };
    shared.in_time("publish", asked, shared.deadline);
    let reported = sent.as_ref().map_or_else(Reported::from, |_| Reported::Acknowledged);
    let receivers = sent.as_ref().ok().copied();
    let published = Published { reported, asked, ended: Instant::now(), receivers };
    shared.heard.published.borrow_mut().insert(number, published);
    match sent {
        Ok(_) => Some(number),
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
    let inbox = Order::of(&came, &shared.account);
    let seen = &inbox.seen;
    let mut holes = BTreeSet::new();
    for (number, Published { reported, asked, .. }) in &published {
        let (has_come, gap) = (seen.contains(number), inbox.explains(*number, *asked));
        match reported {
            Reported::NotSent | Reported::Rejected => {
                shared.account.check(!has_come, "a fate denies what ran", || format!("message {number}, {reported:?}"));
            }
            Reported::Acknowledged if has_come => {
                tally.acknowledged += 1;
                shared.account.count("subscription came");
            }
            Reported::Acknowledged => {
                let hole = seen.range(..number).next_back().copied().unwrap_or_default();
                let new = holes.insert(hole);
                shared.account.check(gap || !new, "messages are missing without a gap", || {
                    let next = seen.range(number..).next().copied().unwrap_or(u64::MAX);
                    format!(
                        "{}; faults: {}",
                        timeline(&came, &published, (hole, next)),
                        shared.account.recent_faults(Duration::from_secs(60))
                    )
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

/// The inbox as a subscriber sees it.
struct Order {
    seen: BTreeSet<u64>,
    /// For each message its position, and for each gap its position and time.
    positions: BTreeMap<u64, usize>,
    gaps: Vec<(usize, Instant)>,
    /// From the message before a gap to the one behind it.
    covered: Vec<(u64, u64)>,
}

impl Order {
    /// Messages arrive once, in the order of publication. Behind a gap, nodes may pass on messages from before it, some of
    /// them for the second time.
    fn of(came: &[(Came, Instant)], account: &Account) -> Self {
        let mut order =
            Self { seen: BTreeSet::new(), positions: BTreeMap::new(), gaps: Vec::new(), covered: Vec::new() };
        let (mut last, mut gap) = (0, false);
        for (at, (event, when)) in came.iter().enumerate() {
            match *event {
                Came::Gap => {
                    gap = true;
                    order.gaps.push((at, *when));
                }
                Came::Message(number) => {
                    let before = order.positions.insert(number, at);
                    let is_behind_gap = |before| order.gaps.iter().any(|(gap, _)| (before..at).contains(gap));
                    let comes_again = before.is_some_and(is_behind_gap);
                    if comes_again {
                        account.count("subscription came again behind a gap");
                    }
                    account
                        .check(order.seen.insert(number) || comes_again, "a message came twice", || number.to_string());
                    if std::mem::take(&mut gap) {
                        order.covered.push((last, number));
                    }
                    last = last.max(number);
                }
            }
        }
        if gap {
            order.covered.push((last, u64::MAX));
        }
        order
    }

    /// Whether a gap says that a message may be missing: it lies where the message would be, or came after the publication and
    /// before every later message. At a gap, a subscriber reads the current state.
    fn explains(&self, number: u64, asked: Instant) -> bool {
        let next = self.positions.range(number + 1..).map(|(_, at)| *at).min().unwrap_or(usize::MAX);
        self.covered.iter().any(|(from, to)| (from..to).contains(&&number))
            || self.gaps.iter().any(|(at, when)| *when >= asked && *at < next)
    }
}

/// The messages between two that arrived, and the events of the inbox around them, in milliseconds ago.
fn timeline(came: &[(Came, Instant)], published: &BTreeMap<u64, Published>, (from, to): (u64, u64)) -> String {
    const SHOWN: usize = 10;
    let ago = |at: Instant| at.elapsed().as_millis();
    let lost = published.range(from + 1..to).take(SHOWN).map(|(number, message)| {
        let Published { reported, asked, ended, receivers } = message;
        format!("{number} {reported:?} asked {} ended {} receivers {receivers:?}", ago(*asked), ago(*ended))
    });
    let lost: Vec<_> = lost.collect();
    let at = came.iter().position(|(came, _)| *came == Came::Message(from)).unwrap_or_default();
    let around = came.iter().skip(at.saturating_sub(SHOWN)).take(2 * SHOWN);
    let around: Vec<_> = around.map(|(came, when)| format!("{came:?} {}", ago(*when))).collect();
    let gaps = came.iter().filter(|(came, _)| *came == Came::Gap).map(|(_, when)| ago(*when).to_string());
    let gaps: Vec<_> = gaps.collect();
    format!("{} lost: [{}]; inbox: [{}]; gaps: {}", lost.len(), lost.join(", "), around.join(", "), gaps.join(", "))
}
