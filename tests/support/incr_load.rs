//! Callers that count one counter up without end, and the account that the counter is held against.

use std::{cell::Cell, rc::Rc, time::Duration};

use redis_actix::Fate;
use redis_actix::prelude::*;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::eventually;

const CALLERS: usize = 64;

#[derive(Default)]
struct Account {
    over: Cell<bool>,
    acknowledged: Cell<i64>,
    unknown: Cell<i64>,
    slowest: Cell<Duration>,
}

/// 64 callers of INCR. A command that was never sent could have waited, so any other failure than an unknown fate
/// fails the test.
pub struct IncrLoad {
    account: Rc<Account>,
    callers: Vec<JoinHandle<()>>,
}

/// What became of all of them.
pub struct Counted {
    pub acknowledged: i64,
    pub unknown: i64,
    pub slowest: Duration,
}

impl IncrLoad {
    pub fn start(redis: &Redis, key: &'static str) -> Self {
        let account = Rc::new(Account::default());
        let call = |_| {
            let (redis, account) = (redis.clone(), account.clone());
            actix::spawn(async move {
                while !account.over.get() {
                    let asked = Instant::now();
                    match redis.send(Incr::new(key)).await {
                        Ok(_) => account.acknowledged.set(account.acknowledged.get() + 1),
                        Err(error) if error.fate() == Fate::Unknown => account.unknown.set(account.unknown.get() + 1),
                        Err(error) => panic!("a command that could have waited: {error}"),
                    }
                    account.slowest.set(account.slowest.get().max(asked.elapsed()));
                }
            })
        };
        let callers = (0..CALLERS).map(call).collect();
        Self { account, callers }
    }

    /// Waits until `count` more were acknowledged.
    pub async fn goes_on(&self, more: i64) {
        let before = self.account.acknowledged.get();
        let going = || (self.account.acknowledged.get() > before + more).then_some(());
        eventually("commands answered", going).await;
    }

    pub async fn finish(self) -> Counted {
        self.account.over.set(true);
        for caller in self.callers {
            caller.await.expect("no panic");
        }
        let Account { acknowledged, unknown, slowest, .. } = &*self.account;
        Counted { acknowledged: acknowledged.get(), unknown: unknown.get(), slowest: slowest.get() }
    }
}

impl Counted {
    /// Fails when a command ran twice or an acknowledged one is missing.
    pub fn check(&self, counter: i64) {
        let Self { acknowledged, unknown, slowest } = self;
        println!("acknowledged {acknowledged}, counter {counter}, unknown {unknown}, slowest {slowest:?}");
        assert!(*acknowledged <= counter, "an acknowledged INCR is missing");
        assert!(counter <= acknowledged + unknown, "an INCR ran twice, or ran and was called unsent");
    }
}
