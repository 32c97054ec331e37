//! Callers that continue through all faults and record their outcomes.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use actix::Message;
use redis_actix::{Command, Error, Fate, Frame, Get, Incr, Redis, Result, Set, Value};

use crate::account::Account;
use crate::faults::World;
use crate::{DEADLINE, PREFIX};

const COUNTERS: usize = 8;
const READERS: usize = 16;
/// Minimum time between two panics of the actor.
const MOMENT: Duration = Duration::from_secs(4);

/// Any command, with its raw reply.
struct Own(Frame);

impl Message for Own {
    type Result = Result<Value>;
}

impl Command for Own {
    type Reply = Value;

    fn frame(&self) -> Frame {
        self.0.clone()
    }

    fn reply(value: Value) -> Result<Value> {
        Ok(value)
    }
}

/// Causes a panic of the actor while it delivers replies: a caller whose waker panics.
#[derive(Default)]
struct Fatal(tokio::sync::Notify);

impl Wake for Fatal {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
        panic!("injected while a caller is woken")
    }
}

#[derive(Default)]
struct CounterRecord {
    acknowledged: Cell<i64>,
    unknown: Cell<i64>,
}

pub(crate) struct Load {
    redis: Redis,
    account: Rc<Account>,
    over: Rc<Cell<bool>>,
    counters: Rc<[CounterRecord; COUNTERS]>,
    /// Acknowledged entries of the stream.
    entries: Rc<RefCell<Vec<u64>>>,
    next_entry: Rc<Cell<u64>>,
    callers: RefCell<Vec<tokio::task::JoinHandle<()>>>,
}

impl Load {
    pub(crate) fn new(redis: &Redis, account: &Rc<Account>, world: &World) -> Self {
        for reader in 0..READERS {
            let set = ["SET", &format!("{PREFIX}own:{reader}"), &format!("canary of {reader}")];
            world.server.command(set).expect("asked").ok().expect("written");
        }
        Self {
            redis: redis.clone(),
            account: account.clone(),
            over: Rc::default(),
            counters: Rc::default(),
            entries: Rc::default(),
            next_entry: Rc::default(),
            callers: RefCell::default(),
        }
    }

    pub(crate) fn begin(&self, seed: u64) {
        self.over.set(false);
        let mut callers = self.callers.borrow_mut();
        for caller in 0..64 {
            let mut chance = fastrand::Rng::with_seed(seed ^ caller);
            let (redis, account, over) = (self.redis.clone(), self.account.clone(), self.over.clone());
            let (counters, entries, next) = (self.counters.clone(), self.entries.clone(), self.next_entry.clone());
            callers.push(actix::spawn(async move {
                while !over.get() {
                    match caller {
                        0..32 => count(&redis, &account, &counters, &mut chance).await,
                        32..48 => read(&redis, &account, &mut chance).await,
                        48..60 => append(&redis, &account, &entries, &next).await,
                        60 => fall(&redis, &mut chance).await,
                        _ => leave(&redis, &account, &mut chance).await,
                    }
                    tokio::time::sleep(Duration::from_micros(chance.u64(..2_000))).await;
                }
            }));
        }
    }

    pub(crate) async fn end(&self) {
        self.over.set(true);
        let callers = std::mem::take(&mut *self.callers.borrow_mut());
        for caller in callers {
            // The caller that causes the panic may still wait for its time, and then for its reply.
            let ended = tokio::time::timeout(MOMENT + DEADLINE * 2, caller).await;
            self.account.check(ended.is_ok_and(|ended| ended.is_ok()), "a caller was never answered");
        }
    }

    /// While the server is healthy: all acknowledged writes are there, and nothing else ran.
    pub(crate) fn verify(&self, world: &World, account: &Account) {
        let ask = |words: &[&str]| world.server.command(words).unwrap_or_else(|error| panic!("{error}"));
        for (nth, record) in self.counters.iter().enumerate() {
            let run = ask(&["GET", &format!("{PREFIX}counter:{nth}")]).text().ok().and_then(|text| text.parse().ok());
            let run: i64 = run.unwrap_or_default();
            let (low, high) = (record.acknowledged.get(), record.acknowledged.get() + record.unknown.get());
            account.check((low..=high).contains(&run), &format!("counter {nth}: {low}..={high}, and {run} run"));
        }
        let stream = ask(&["XRANGE", &format!("{PREFIX}stream"), "-", "+"]);
        let mut present = std::collections::BTreeMap::new();
        for entry in stream.array().unwrap_or_default() {
            let fields = entry.array().ok().and_then(|entry| entry.get(1)?.array().ok());
            let number = fields.and_then(|fields| fields.get(1)?.text().ok()?.parse::<u64>().ok());
            *present.entry(number.unwrap_or(u64::MAX)).or_insert(0) += 1;
        }
        let missing = self.entries.borrow().iter().filter(|entry| !present.contains_key(entry)).count();
        account.check(missing == 0, &format!("{missing} acknowledged entries are not in the stream"));
        account.check(present.values().all(|times| *times == 1), "an entry is in the stream twice");
        // The next check starts with an empty stream; otherwise the checks of a long run would take ever longer.
        ask(&["DEL", &format!("{PREFIX}stream")]);
        self.entries.borrow_mut().clear();
        let keys = ask(&["KEYS", "*"]);
        let stray = keys.array().unwrap_or_default().iter().filter_map(|key| key.text().ok());
        let stray: Vec<_> = stray.filter(|key| !key.starts_with(PREFIX)).collect();
        account.check(stray.is_empty(), &format!("keys outside the prefix: {stray:?}"));
    }
}

/// Every call ends by its deadline, plus the time for which this thread did not run.
fn in_time(account: &Account, asked: Instant, deadline: Duration) {
    let late = asked.elapsed().saturating_sub(deadline);
    let stalled = account.stalled_since(asked);
    let words = || {
        format!(
            "a call was answered {late:?} after its deadline of {deadline:?}; this thread did not run for {stalled:?}"
        )
    };
    account.check(late < Duration::from_millis(300) + stalled, &words());
}

fn failed(account: &Account, error: &Error) -> Fate {
    account.call(match error.fate() {
        Fate::NotSent => "not sent",
        Fate::Rejected => "rejected",
        Fate::Unknown => "unknown",
    });
    let shown = format!("{error} {error:?}");
    account.check(!shown.contains("canary"), "a secret is in an error");
    error.fate()
}

async fn count(redis: &Redis, account: &Account, counters: &[CounterRecord; COUNTERS], chance: &mut fastrand::Rng) {
    let nth = chance.usize(..COUNTERS);
    let (Some(record), asked) = (counters.get(nth), Instant::now()) else { return };
    match redis.send(Incr::new(format!("counter:{nth}"))).await {
        Ok(_) => {
            account.call("answered");
            record.acknowledged.set(record.acknowledged.get() + 1);
        }
        Err(error) => {
            if failed(account, &error) == Fate::Unknown {
                record.unknown.set(record.unknown.get() + 1);
            }
        }
    }
    in_time(account, asked, DEADLINE);
}

async fn read(redis: &Redis, account: &Account, chance: &mut fastrand::Rng) {
    let (reader, asked) = (chance.usize(..READERS), Instant::now());
    let deadline = Duration::from_millis(chance.u64(1..2_000)).min(DEADLINE);
    match redis.send(Get::<String>::new(format!("own:{reader}")).timeout(deadline)).await {
        Ok(value) => {
            account.call("answered");
            account.check(value == Some(format!("canary of {reader}")), "a reply of another caller");
        }
        Err(error) => {
            failed(account, &error);
        }
    }
    in_time(account, asked, deadline);
}

async fn append(redis: &Redis, account: &Account, entries: &RefCell<Vec<u64>>, next: &Cell<u64>) {
    let (number, asked) = (next.get(), Instant::now());
    next.set(number + 1);
    match redis.send(Own(Frame::new("XADD").key("stream").arg("*").arg("n").arg(number))).await {
        Ok(_) => {
            account.call("answered");
            entries.borrow_mut().push(number);
        }
        Err(error) => {
            failed(account, &error);
        }
    }
    in_time(account, asked, DEADLINE);
}

/// Callers that drop their futures at any stage of the command.
async fn leave(redis: &Redis, account: &Account, chance: &mut fastrand::Rng) {
    let call = redis.send(Set::new("left", "canary"));
    if tokio::time::timeout(Duration::from_micros(chance.u64(..3_000)), call).await.is_err() {
        account.call("left");
    }
}

async fn fall(redis: &Redis, chance: &mut fastrand::Rng) {
    tokio::time::sleep(MOMENT.mul_f64(chance.f64())).await;
    let fatal = Arc::new(Fatal::default());
    let waker = Waker::from(fatal.clone());
    // Unconstrained: otherwise the runtime may wake it as well.
    let mut call = pin!(tokio::task::unconstrained(redis.send(Get::<String>::new("fatal"))));
    if call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        fatal.0.notified().await;
        let _ = call.await;
    }
}
