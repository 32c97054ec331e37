//! Counts of faults, outcomes and violations.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counters of one run. The watchdog prints them from its own thread when the arbiter has stopped.
#[derive(Debug, Default)]
pub struct Account {
    faults: Mutex<BTreeMap<String, u64>>,
    calls: Mutex<BTreeMap<String, u64>>,
    violations: Mutex<BTreeMap<String, u64>>,
    checks: AtomicU64,
    /// When the arbiter's thread was delayed, and for how long.
    stalls: Mutex<VecDeque<(Instant, Duration)>>,
    worst_stall: Mutex<Duration>,
    /// When the arbiter's thread ran last, as far as its timer knows.
    last_run: Mutex<Option<Instant>>,
    current_fault: Mutex<String>,
    /// The last faults, with the time at which each began.
    recent: Mutex<VecDeque<(String, Instant)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Account {
    /// Records the delay of a timer of the arbiter's thread: calls may be late by that time. The watchdog checks that the
    /// thread runs at all.
    pub fn stalled(&self, late: Duration) {
        *lock(&self.last_run) = Some(Instant::now());
        let mut stalls = lock(&self.stalls);
        stalls.push_back((Instant::now(), late));
        while stalls.front().is_some_and(|(at, _)| at.elapsed() > Duration::from_secs(30)) {
            stalls.pop_front();
        }
        let mut worst = lock(&self.worst_stall);
        *worst = late.max(*worst);
    }

    /// The time for which the arbiter's thread did not run since `since`. A stall that has just ended counts: the caller may
    /// be polled before the timer that records it.
    pub fn stalled_since(&self, since: Instant) -> Duration {
        let recorded: Duration = lock(&self.stalls).iter().filter(|(at, _)| *at >= since).map(|(_, late)| *late).sum();
        let last_run = lock(&self.last_run).map_or(since, |last| last.max(since));
        recorded + last_run.elapsed()
    }

    /// Records the start of a fault; violations name the last one.
    pub fn fault(&self, name: &str) {
        *lock(&self.faults).entry(name.to_owned()).or_default() += 1;
        name.clone_into(&mut lock(&self.current_fault));
        let mut recent = lock(&self.recent);
        recent.push_back((name.to_owned(), Instant::now()));
        if recent.len() > 100 {
            recent.pop_front();
        }
    }

    /// The faults that began within this time, in milliseconds ago.
    pub fn recent_faults(&self, within: Duration) -> String {
        let recent = lock(&self.recent);
        let recent = recent.iter().filter(|(_, at)| at.elapsed() < within);
        recent.map(|(name, at)| format!("{name} {}", at.elapsed().as_millis())).collect::<Vec<_>>().join(", ")
    }

    pub fn count(&self, outcome: &str) {
        self.count_many(outcome, 1);
    }

    pub fn count_many(&self, outcome: &str, times: u64) {
        *lock(&self.calls).entry(outcome.to_owned()).or_default() += times;
    }

    /// How often this was counted.
    pub fn counted(&self, outcome: &str) -> u64 {
        lock(&self.calls).get(outcome).copied().unwrap_or_default()
    }

    /// Counts a violation under `kind`; `details` describes it.
    pub fn check(&self, holds: bool, kind: &str, details: impl FnOnce() -> String) {
        self.checks.fetch_add(1, Ordering::Relaxed);
        if holds {
            return;
        }
        let mut violations = lock(&self.violations);
        let seen = violations.entry(kind.to_owned()).or_default();
        *seen += 1;
        // A defect appears in thousands of calls at once; a few lines suffice.
        if *seen <= 5 {
            let fault = lock(&self.current_fault);
            println!("VIOLATION: {kind}: {} (last fault: {fault})", details());
        }
    }

    pub fn violations(&self) -> u64 {
        lock(&self.violations).values().sum()
    }

    pub fn print(&self) {
        let line = |counts: &BTreeMap<String, u64>| {
            let counts = counts.iter().map(|(name, count)| format!("{name} {count}"));
            counts.collect::<Vec<_>>().join(", ")
        };
        println!("faults:     {}", line(&lock(&self.faults)));
        println!("outcomes:   {}", line(&lock(&self.calls)));
        println!("arbiter:    at most {:?} late", *lock(&self.worst_stall));
        println!("checks:     {}", self.checks.load(Ordering::Relaxed));
        let violations = lock(&self.violations);
        if !violations.is_empty() {
            println!("violated:   {}", line(&violations));
        }
        println!("violations: {}", violations.values().sum::<u64>());
    }
}
