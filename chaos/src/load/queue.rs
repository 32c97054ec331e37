//! Pushes, and blocking pops by other callers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use redis_actix::prelude::*;

use super::super::deployment::Losses;
use super::super::ledger::{Reported, Tally};
use super::{Shared, eventually, pause};

const KEYS: [&str; 2] = ["queue:a", "queue:b"];
/// How long the cancellation may take behind the deadline.
const CANCELLATION: Duration = Duration::from_secs(1);
const WAIT: Duration = Duration::from_millis(700);

/// Pushed and popped elements.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pushed: RefCell<BTreeMap<u64, (Reported, Instant)>>,
    popped: RefCell<BTreeMap<u64, Vec<Instant>>>,
    /// Each of these may have lost an element.
    unknown_pops: Cell<u64>,
    next: Cell<usize>,
}

pub(super) async fn pushes(shared: Rc<Shared>, mut chance: fastrand::Rng) {
    while !shared.over.get() {
        push(&shared, KEYS[chance.usize(..KEYS.len())]).await;
        pause(&mut chance).await;
        pause(&mut chance).await;
    }
}

async fn push(shared: &Shared, key: &str) -> Option<u64> {
    let (number, asked) = (shared.ledger.number(), Instant::now());
    let sent = shared.redis.send(RPush::new(key, [number])).await;
    shared.in_time("blocking", asked, shared.deadline);
    let reported = sent.as_ref().map_or_else(Reported::from, |_| Reported::Acknowledged);
    shared.queue.pushed.borrow_mut().insert(number, (reported, Instant::now()));
    match sent {
        Ok(_) => Some(number),
        Err(error) => {
            shared.failed("pushes", &error);
            None
        }
    }
}

/// Waits for elements until the load is closed.
pub(super) async fn pops(shared: Rc<Shared>) {
    let nth = shared.queue.next.get();
    shared.queue.next.set(nth + 1);
    loop {
        let asked = Instant::now();
        match shared.redis.send(BLPop::new([KEYS[nth % KEYS.len()]], WAIT).typed::<u64>()).await {
            Ok(Some(popped)) => {
                shared.served("blocking");
                shared.queue.popped.borrow_mut().entry(popped.value).or_default().push(Instant::now());
            }
            Ok(None) => {}
            Err(error) => {
                shared.failed("blocking", &error);
                if error.fate() == Fate::Unknown {
                    shared.queue.unknown_pops.set(shared.queue.unknown_pops.get() + 1);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        shared.in_time("blocking", asked, WAIT + shared.deadline + CANCELLATION);
    }
}

/// New elements are popped, and every acknowledged one was popped once.
pub(super) async fn verify(shared: &Shared, losses: &Losses) -> Tally {
    let mut tally = Tally::default();
    let queue = &shared.queue;
    for key in KEYS {
        let asked = Instant::now();
        let mut pushed = push(shared, key).await;
        while pushed.is_none() && asked.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            pushed = push(shared, key).await;
        }
        // It is pushed after all others.
        let came = || pushed.is_some_and(|number| queue.popped.borrow().contains_key(&number));
        let came = eventually(Duration::from_secs(10), came).await;
        shared.account.check(came, "BLPOP gets nothing after the last fault", || format!("{key}: {pushed:?}"));
    }
    let pushed = std::mem::take(&mut *queue.pushed.borrow_mut());
    let popped = std::mem::take(&mut *queue.popped.borrow_mut());
    let mut taken_along = queue.unknown_pops.take();
    let mut explained = |shared: &Shared| {
        shared.account.count(if taken_along > 0 { "blocking taken by an unknown pop" } else { "blocking lost" });
        taken_along = taken_along.checked_sub(1)?;
        Some(())
    };
    for (number, (reported, at)) in &pushed {
        let times = popped.get(number).map_or(0, Vec::len);
        let words = || format!("{number}, {reported:?} {:?} ago, came {times} times", at.elapsed());
        let late = popped.get(number).and_then(|times| times.first());
        if matches!(reported, Reported::NotSent | Reported::Rejected) {
            shared.account.check(times == 0, "a fate denies what ran", words);
        }
        tally.acknowledged += u64::from(*reported == Reported::Acknowledged);
        if *reported == Reported::Acknowledged && times == 0 {
            if losses.explain(*at) {
                tally.lost_by_server += 1;
                shared.account.count("blocking lost by the server");
            } else if explained(shared).is_none() {
                tally.lost += 1;
                shared.account.check(false, "an element was acknowledged and never came", || {
                    format!("{}; {}", words(), losses.near(*at))
                });
            }
        }
        if times > 1 {
            // A new primary without a replicated pop delivers the element again.
            let excused = late.is_some_and(|at| losses.explain(*at));
            if excused {
                shared.account.count("blocking came twice after a failover");
            } else {
                tally.repeated += 1;
            }
            shared.account.check(excused, "an element came twice", words);
        }
        if times > 0 {
            shared.account.count("blocking came");
        }
    }
    tally
}
