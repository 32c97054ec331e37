//! Checks from another thread that the actors of an arbiter run.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use actix::prelude::*;

use super::account::Account;

const TICK: Duration = Duration::from_millis(10);
const CHECK: Duration = Duration::from_millis(50);
/// Checks without a tick, two seconds or more in total, that make a violation. Checks are counted and not time, because a
/// busy machine delays both threads.
const MISSED: u32 = 40;
/// Checks without a tick, a minute or more in total, that end the process, which an endless loop would keep alive.
const ENDLESS: u32 = 1_200;

/// An actor on the arbiter of the connection that only ticks.
struct Ticker {
    ticks: Arc<AtomicU64>,
    account: Arc<Account>,
    last: Instant,
}

impl Actor for Ticker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(TICK, |ticker, _| {
            ticker.ticks.fetch_add(1, Ordering::Relaxed);
            ticker.account.stalled(ticker.last.elapsed().saturating_sub(TICK * 2));
            ticker.last = Instant::now();
        });
    }
}

/// Dropping it ends the watchdog.
#[derive(Debug)]
pub struct Watchdog {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches the arbiter of the calling thread.
    pub fn start(account: &Arc<Account>) -> Self {
        let (ticks, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        Ticker { ticks: ticks.clone(), account: account.clone(), last: Instant::now() }.start();
        let thread = thread::spawn({
            let (account, over) = (account.clone(), over.clone());
            move || watch(&account, &ticks, &over)
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn watch(account: &Account, ticks: &AtomicU64, over: &AtomicBool) {
    let (mut last, mut missed, mut since) = (ticks.load(Ordering::Relaxed), 0, Instant::now());
    while !over.load(Ordering::Relaxed) {
        thread::sleep(CHECK);
        let now = ticks.load(Ordering::Relaxed);
        if now != last {
            if missed >= MISSED {
                println!("the arbiter runs again after {:?}", since.elapsed());
            }
            (last, missed, since) = (now, 0, Instant::now());
            continue;
        }
        missed += 1;
        if missed == MISSED {
            let words = || format!("no actor of the arbiter has run for {:?}", since.elapsed());
            account.check(false, "the arbiter stands still", words);
        }
        if missed == ENDLESS {
            println!("the arbiter has not run for {:?}; the run ends", since.elapsed());
            account.print();
            process::exit(1);
        }
    }
}
