//! Counts of outcomes and violations.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis_actix::Redis;

/// Counters of one run.
#[derive(Debug, Default)]
pub(crate) struct Account {
    faults: RefCell<BTreeMap<&'static str, u64>>,
    calls: RefCell<BTreeMap<&'static str, u64>>,
    violations: RefCell<Vec<String>>,
    checks: Cell<u64>,
    /// When this thread was delayed, and for how long.
    stalls: RefCell<VecDeque<(Instant, Duration)>>,
}

impl Account {
    /// Records each delay of this thread: delays of the machine are not violations of the client.
    pub(crate) async fn watch_the_thread(self: Rc<Self>) {
        const BEAT: Duration = Duration::from_millis(10);
        loop {
            let asleep = Instant::now();
            tokio::time::sleep(BEAT).await;
            let late = asleep.elapsed().saturating_sub(BEAT);
            let mut stalls = self.stalls.borrow_mut();
            stalls.push_back((Instant::now(), late));
            stalls.retain(|(at, _)| at.elapsed() < Duration::from_secs(5));
        }
    }

    /// The time for which this thread did not run since `since`.
    pub(crate) fn stalled_since(&self, since: Instant) -> Duration {
        self.stalls.borrow().iter().filter(|(at, _)| *at >= since).map(|(_, late)| *late).sum()
    }

    pub(crate) fn add_faults(&self, done: Vec<&'static str>) {
        for fault in done {
            *self.faults.borrow_mut().entry(fault).or_default() += 1;
        }
    }

    pub(crate) fn call(&self, outcome: &'static str) {
        *self.calls.borrow_mut().entry(outcome).or_default() += 1;
    }

    pub(crate) fn check(&self, holds: bool, violated: &str) {
        self.checks.set(self.checks.get() + 1);
        if !holds {
            println!("VIOLATION: {violated}");
            self.violations.borrow_mut().push(violated.to_owned());
        }
    }

    pub(crate) fn violations(&self) -> usize {
        self.violations.borrow().len()
    }

    pub(crate) fn print(&self, log: &Log, redis: &Redis) {
        let line = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        let status = redis.status().borrow().clone();
        println!("faults:     {}", line(&self.faults.borrow()));
        println!("calls:      {}", line(&self.calls.borrow()));
        println!(
            "links:      {} dialled, {} lost, {} restarts of the actor",
            status.generation, status.disconnects, status.restarts
        );
        println!("log:        {} bytes at debug, no secret in them", log.bytes());
        println!("checks:     {}", self.checks.get());
        println!("violations: {}", self.violations());
    }
}

/// A log writer that searches for secrets and stores nothing.
#[derive(Clone, Default)]
pub(crate) struct Log {
    tail: Arc<Mutex<Vec<u8>>>,
    bytes: Arc<AtomicU64>,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Log {
    pub(crate) fn install() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(move || writer.clone()).init();
        let hook = log.clone();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.to_string();
            if !text.contains("injected") {
                eprintln!("{text}");
            }
            hook.take_in(text.as_bytes());
        }));
        log
    }

    fn take_in(&self, bytes: &[u8]) {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(bytes);
        // Each secret of a run contains this word.
        if tail.windows(6).any(|word| word == b"canary") {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&tail);
        }
        let old = tail.len().saturating_sub(5);
        tail.drain(..old);
    }

    pub(crate) fn shows_a_secret(&self) -> bool {
        !self.seen.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take_in(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
