//! Threads that count keys up and read them, and the record of what each must see.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis_actix::Redis;
use redis_actix::prelude::*;

/// Few keys, so that reads and writes of one meet.
pub(crate) const COUNTERS: usize = 24;
/// Keys that are only there to be invalidated.
pub(crate) const FILLERS: usize = 5_000;
/// Holds the time at which another process wrote it, in microseconds.
pub(crate) const CLOCK: &str = "clock";

const TTL: Duration = Duration::from_secs(60);

pub(crate) fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

#[derive(Default)]
pub(crate) struct Ledger {
    /// The highest value of each counter that this process has received.
    received: [AtomicU64; COUNTERS],
    reads: AtomicU64,
    writes: AtomicU64,
    failed: AtomicU64,
    stale: AtomicU64,
    examples: Mutex<Vec<String>>,
    /// How long after the write each new value of the clock was seen, in microseconds.
    delays: Mutex<Vec<u64>>,
}

impl Ledger {
    pub(crate) fn stale(&self) -> u64 {
        self.stale.load(Ordering::SeqCst)
    }

    /// Without hits nothing was checked.
    pub(crate) fn hits_are_plausible(&self, hits: u64) -> bool {
        hits * 20 > self.reads.load(Ordering::SeqCst)
    }

    pub(crate) fn summary(&self) -> String {
        let mut delays = self.delays.lock().expect("whole").clone();
        delays.sort_unstable();
        let at = |share: f64| delays.get((delays.len() as f64 * share) as usize).copied().unwrap_or_default();
        let [reads, writes, failed] =
            [&self.reads, &self.writes, &self.failed].map(|count| count.load(Ordering::SeqCst));
        let examples = self.examples.lock().expect("whole").join("\n");
        format!(
            "{reads} reads, {writes} writes, {failed} failed, {} stale\n{examples}\nchanges by the other process were seen \
             after p50 {} us, p99 {} us, at most {} us ({} changes)",
            self.stale(),
            at(0.5),
            at(0.99),
            delays.last().copied().unwrap_or_default(),
            delays.len(),
        )
    }

    fn check(&self, counter: usize, at_least: u64, read: Option<u64>, how: &str) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if read.unwrap_or_default() < at_least {
            self.stale.fetch_add(1, Ordering::SeqCst);
            let mut examples = self.examples.lock().expect("whole");
            if examples.len() < 5 {
                examples.push(format!("c{counter}, {how}: read {read:?}, had received {at_least}"));
            }
        }
    }

    fn received(&self, counter: usize) -> u64 {
        self.received[counter].load(Ordering::SeqCst)
    }

    fn wrote(&self, counter: usize, outcome: redis_actix::Result<i64>) -> Option<u64> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok(value) => {
                self.received[counter].fetch_max(value as u64, Ordering::SeqCst);
                Some(value as u64)
            }
            Err(_) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

fn read(redis: &Redis, counter: usize) -> impl Future<Output = redis_actix::Result<Option<u64>>> + use<> {
    redis.send(Get::new(format!("c{counter}")).cached(TTL))
}

/// Reads, with now and then a write, and some keys that others invalidate.
pub(crate) async fn run(redis: &Redis, ledger: &Ledger, until: Instant, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut clock = 0;
    while Instant::now() < until {
        let counter = rng.usize(..COUNTERS);
        match rng.u32(..100) {
            0..6 => {
                let written = redis.send(Incr::new(format!("c{counter}"))).await;
                ledger.wrote(counter, written);
            }
            // Not awaited: the read is behind the write, which counts if it succeeds.
            6..8 => {
                let (write, read) = (redis.send(Incr::new(format!("c{counter}"))), read(redis, counter));
                let (written, read) = (ledger.wrote(counter, write.await), read.await);
                if let (Some(at_least), Ok(read)) = (written, read) {
                    ledger.check(counter, at_least, read, "behind a write");
                }
            }
            8..10 => {
                let pipeline = Pipeline::new((Incr::new("other"), Incr::new(format!("c{counter}"))));
                let written = redis.send(pipeline).await.map(|(_, value)| value);
                ledger.wrote(counter, written);
            }
            10..20 => {
                let filler = rng.usize(..FILLERS);
                let _ = redis.send(Get::<String>::new(format!("f{filler}")).cached(TTL)).await;
            }
            20..25 => {
                if let Ok(Some(seen)) = redis.send(Get::<u64>::new(CLOCK).cached(TTL)).await
                    && seen > clock
                {
                    if clock > 0 {
                        ledger.delays.lock().expect("whole").push(micros().saturating_sub(seen));
                    }
                    clock = seen;
                }
            }
            // Several at once: concurrent misses share a request.
            25..30 => {
                let at_least = ledger.received(counter);
                let reads = [0; 3].map(|_| read(redis, counter));
                for read in reads {
                    if let Ok(read) = read.await {
                        ledger.check(counter, at_least, read, "shared");
                    }
                }
            }
            _ => {
                let at_least = ledger.received(counter);
                if let Ok(read) = read(redis, counter).await {
                    ledger.check(counter, at_least, read, "read");
                }
            }
        }
    }
}
