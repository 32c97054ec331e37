//! Writes of every kind, one number each.

use std::rc::Rc;
use std::time::{Duration, Instant};

use redis_actix::prelude::*;

use super::super::ledger::Reported;
use super::{LISTS, Shared, eventually, pause};

fn list(kind: &str, chance: &mut fastrand::Rng) -> String {
    format!("{kind}:{}", chance.u64(..LISTS))
}

pub(super) async fn commands(shared: Rc<Shared>, mut chance: fastrand::Rng) {
    let caller = shared.caller();
    while !shared.over.get() {
        let (number, key, asked) = (shared.ledger.number(), list("commands", &mut chance), Instant::now());
        let sent = shared.redis.send(RPush::new(&key, [number])).await;
        note(&shared, "commands", caller, number, &key, sent.map(drop));
        shared.in_time("commands", asked, shared.deadline);
        pause(&mut chance).await;
    }
}

fn note(shared: &Shared, kind: &'static str, caller: u64, number: u64, key: &str, sent: redis_actix::Result<()>) {
    let reported = match &sent {
        Ok(()) => Reported::Acknowledged,
        Err(error) => Reported::from(error),
    };
    shared.ledger.note(number, kind, caller, key, reported);
    match sent {
        Ok(()) => shared.served(kind),
        Err(error) => shared.failed(kind, &error),
    }
}

/// Through the handle without `liveness`, if there is one.
pub(super) async fn no_liveness(shared: Rc<Shared>, mut chance: fastrand::Rng) {
    let (caller, redis) = (shared.caller(), shared.no_liveness.borrow().clone());
    let Some(redis) = redis else { return };
    while !shared.over.get() {
        let (number, key, asked) = (shared.ledger.number(), list("no-liveness", &mut chance), Instant::now());
        let sent = redis.send(RPush::new(&key, [number])).await;
        note(&shared, "without liveness", caller, number, &key, sent.map(drop));
        shared.in_time("without liveness", asked, shared.deadline);
        pause(&mut chance).await;
    }
}

/// Commands that are sent without waiting for the previous one. They keep their order as well.
pub(super) async fn bursts(shared: Rc<Shared>, mut chance: fastrand::Rng) {
    let caller = shared.caller();
    while !shared.over.get() {
        let (key, asked) = (list("bursts", &mut chance), Instant::now());
        let sent = (0..chance.usize(2..24)).map(|_| shared.ledger.number());
        let sent: Vec<_> = sent.map(|number| (number, shared.redis.send(RPush::new(&key, [number])))).collect();
        for (number, sent) in sent {
            note(&shared, "bursts", caller, number, &key, sent.await.map(drop));
        }
        shared.in_time("bursts", asked, shared.deadline);
        pause(&mut chance).await;
        pause(&mut chance).await;
    }
}

pub(super) async fn pipelines(shared: Rc<Shared>, mut chance: fastrand::Rng) {
    let caller = shared.caller();
    while !shared.over.get() {
        let writes: Vec<_> =
            (0..chance.usize(1..9)).map(|_| (shared.ledger.number(), list("pipelines", &mut chance))).collect();
        let commands: Vec<_> = writes.iter().map(|(number, key)| RPush::new(key, [*number])).collect();
        let asked = Instant::now();
        if chance.bool() {
            match shared.redis.send(Pipeline::new(commands).try_each()).await {
                Ok(each) => {
                    for ((number, key), one) in writes.iter().zip(each) {
                        note(&shared, "pipelines", caller, *number, key, one.map(drop));
                    }
                }
                Err(error) => {
                    for (number, key) in &writes {
                        note(&shared, "pipelines", caller, *number, key, Err(error.clone()));
                    }
                }
            }
        } else {
            let sent = shared.redis.send(Pipeline::new(commands)).await.map(drop);
            for (number, key) in &writes {
                note(&shared, "pipelines", caller, *number, key, sent.clone());
            }
        }
        shared.in_time("pipelines", asked, shared.deadline);
        pause(&mut chance).await;
    }
}

pub(super) async fn transactions(shared: Rc<Shared>, mut chance: fastrand::Rng) {
    let caller = shared.caller();
    while !shared.over.get() {
        let (number, nth, asked) = (shared.ledger.number(), chance.u64(..LISTS), Instant::now());
        let keys = ["a", "b"].map(|half| format!("{{transactions:{nth}}}:{half}"));
        let [one, other] = keys.each_ref().map(|key| RPush::new(key, [number]));
        let sent = shared.redis.send(Transaction::new((one, other))).await;
        note(&shared, "transactions", caller, number, &keys[0], sent.map(drop));
        shared.ledger.note_atomic(number, keys);
        shared.in_time("transactions", asked, shared.deadline);
        pause(&mut chance).await;
    }
}

pub(super) async fn watches(shared: Rc<Shared>, mut chance: fastrand::Rng) {
    let caller = shared.caller();
    while !shared.over.get() {
        let number = shared.ledger.number();
        let nth = chance.u64(..LISTS);
        let (watched, key) = (format!("{{watch:{nth}}}:seen"), format!("{{watch:{nth}}}:list"));
        let sent = shared.redis.watch([watched.clone()], |tx| {
            let (watched, key) = (watched.clone(), key.clone());
            async move {
                let seen: Option<u64> = tx.send(Get::new(&watched)).await?;
                let seen = seen.unwrap_or_default() + 1;
                Ok(Some(Transaction::new((Set::new(&watched, seen), RPush::new(&key, [number])))))
            }
        });
        note(&shared, "watch", caller, number, &key, sent.await.map(drop));
        pause(&mut chance).await;
    }
}

/// An error that a user's script returns belongs to the user, with any code.
const OWN_WORDS: &str = "said by a script";

static PUSH: Script<i64> = Script::new("return redis.call('RPUSH', KEYS[1], ARGV[1])");
static PUSH_AND_REFUSE: Script<i64> = Script::new(
    "redis.call('RPUSH', KEYS[1], ARGV[1])
     return redis.error_reply(ARGV[2] .. ' said by a script')",
);
/// Codes with a meaning for clients if the server itself sends them.
const CODES: [&str; 8] = ["BUSY", "TRYAGAIN", "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "ERR"];

pub(super) async fn scripts(shared: Rc<Shared>, mut chance: fastrand::Rng) {
    let caller = shared.caller();
    while !shared.over.get() {
        let (number, key, asked) = (shared.ledger.number(), list("scripts", &mut chance), Instant::now());
        if chance.u8(..4) > 0 {
            let sent = shared.redis.send(PUSH.invoke().key(&key).arg(number)).await;
            note(&shared, "scripts", caller, number, &key, sent.map(drop));
        } else {
            let code = CODES[chance.usize(..CODES.len())];
            let sent = shared.redis.send(PUSH_AND_REFUSE.invoke().key(&key).arg(number).arg(code)).await;
            // Its text proves that it ran.
            let ran = sent.as_ref().is_err_and(|error| error.message().contains(OWN_WORDS));
            note(&shared, "scripts with codes", caller, number, &key, if ran { Ok(()) } else { sent.map(drop) });
        }
        shared.in_time("scripts", asked, shared.deadline);
        pause(&mut chance).await;
    }
}

/// Writes that complete only when a replica has them.
pub(super) async fn replicated(shared: Rc<Shared>, mut chance: fastrand::Rng) {
    let caller = shared.caller();
    while !shared.over.get() {
        let (number, key, asked) = (shared.ledger.number(), list("replicated", &mut chance), Instant::now());
        let unit = (RPush::new(&key, [number]), Wait::new(1, Duration::from_millis(500)));
        let (reported, sent) = match shared.redis.send(Pipeline::new(unit)).await {
            Ok((_, 0)) => (Reported::Acknowledged, Ok(())),
            Ok(_) => (Reported::Replicated, Ok(())),
            Err(error) => (Reported::from(&error), Err(error)),
        };
        shared.ledger.note(number, "replicated", caller, &key, reported);
        match sent {
            Ok(()) => shared.served("replicated"),
            Err(error) => shared.failed("replicated", &error),
        }
        shared.in_time("replicated", asked, shared.deadline + Duration::from_millis(500));
        pause(&mut chance).await;
    }
}

/// Every list takes a write again.
pub(super) async fn serves_again(shared: &Rc<Shared>) {
    let caller = shared.caller();
    for kind in ["commands", "pipelines", "scripts", "replicated"] {
        for nth in 0..LISTS {
            let (key, asked) = (format!("{kind}:{nth}"), Instant::now());
            loop {
                let number = shared.ledger.number();
                let sent = shared.redis.send(RPush::new(&key, [number])).await;
                shared.ledger.note(
                    number,
                    "calm",
                    caller,
                    &key,
                    sent.as_ref().map_or_else(Reported::from, |_| Reported::Acknowledged),
                );
                let Err(error) = sent else { break };
                if asked.elapsed() > Duration::from_secs(10) {
                    shared.account.check(false, "not served after the last fault", || format!("{key}: {error}"));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    // The status follows the last link.
    let ready = eventually(Duration::from_secs(10), || shared.redis.status().borrow().is_available()).await;
    shared.account.check(ready, "not ready after the last fault", || format!("{:?}", shared.redis.status().borrow()));
}
