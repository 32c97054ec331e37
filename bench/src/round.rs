//! One round of one contender: a number of callers with one outstanding operation each, for a fixed time.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::client::{Client, Op, text};
use crate::load::{Load, Place};
use crate::meter::{ServerMeter, own_time};

/// Above this number of callers only every eighth latency is measured: reading the clock would affect the result.
const TIMED_CALLERS: usize = 16;

/// The result of a round.
pub struct Sample {
    /// Operations answered.
    pub ops: u64,
    /// Its duration.
    pub took: Duration,
    /// Processor time of this process.
    pub own: Duration,
    /// Processor time of the server.
    pub server: Duration,
    /// Allocations, if counted.
    pub allocations: u64,
    /// Nanoseconds.
    pub latencies: Histogram<u64>,
}

/// Durations of a round.
#[derive(Clone, Copy)]
pub struct Times {
    /// Warm-up.
    pub warm_up: Duration,
    /// The measured part.
    pub measured: Duration,
}

struct State {
    stop: Cell<bool>,
    ops: Cell<u64>,
    error: RefCell<Option<String>>,
    latencies: RefCell<Option<Histogram<u64>>>,
}

thread_local! {
    // All callers run on one thread and share thread-local counters.
    static STATE: State = const {
        State {
            stop: Cell::new(false),
            ops: Cell::new(0),
            error: RefCell::new(None),
            latencies: RefCell::new(None),
        }
    };
}

/// A connected client of any type.
pub struct Contender {
    /// Its name in tables.
    pub name: &'static str,
    kind: Kind,
}

enum Kind {
    Inside(Box<dyn Fn(&Load) -> Callers>),
    Outside(RefCell<Box<dyn Outside>>),
}

/// A contender that is an external program and measures itself.
pub trait Outside: 'static {
    /// Runs one round.
    ///
    /// # Errors
    /// When it fails.
    fn round(&mut self, times: Times) -> Result<Sample, String>;
}

/// An empty histogram of nanoseconds: from one to longer than any deadline.
///
/// # Errors
/// None in practice.
pub fn histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1, 100_000_000_000, 3).map_err(text)
}

type Callers = Vec<Pin<Box<dyn Future<Output = ()> + Send>>>;

impl Contender {
    /// Makes a contender of a client.
    pub fn new<C: Client + Sync>(name: &'static str, client: C) -> Self {
        let spawn = move |load: &Load| {
            let one_in = if load.callers <= TIMED_CALLERS { 1 } else { 8 };
            let caller = |n| Box::pin(call(client.clone(), (load.ops)(n), one_in)) as Pin<Box<_>>;
            (0..load.callers).map(caller).collect()
        };
        Self { name, kind: Kind::Inside(Box::new(spawn)) }
    }

    /// Makes a contender of a program.
    pub fn outside(name: &'static str, program: impl Outside) -> Self {
        Self { name, kind: Kind::Outside(RefCell::new(Box::new(program))) }
    }

    /// Runs one round.
    ///
    /// # Errors
    /// The first error of any caller: a contender that fails is not measured.
    pub async fn round(
        &self,
        load: &Load,
        times: Times,
        server: &mut ServerMeter,
        allocations: fn() -> u64,
    ) -> Result<Sample, String> {
        let callers = match &self.kind {
            Kind::Inside(callers) => callers(load),
            // This thread runs nothing else meanwhile.
            Kind::Outside(program) => return program.borrow_mut().round(times),
        };
        STATE.with(|state| {
            state.stop.set(false);
            state.ops.set(0);
        });
        let spawn = if load.place == Place::Queue { tokio::spawn } else { actix_rt::spawn };
        let callers: Vec<_> = callers.into_iter().map(spawn).collect();
        tokio::time::sleep(times.warm_up).await;
        let server_before = server.time().map_err(text)?;
        let fresh = histogram()?;
        STATE.with(|state| {
            state.ops.set(0);
            state.latencies.replace(Some(fresh));
        });
        let (start, own, allocated) = (Instant::now(), own_time(), allocations());
        tokio::time::sleep(times.measured).await;
        let (took, own, allocations) = (start.elapsed(), own_time() - own, allocations() - allocated);
        let (ops, latencies) = STATE.with(|state| {
            state.stop.set(true);
            (state.ops.get(), state.latencies.take())
        });
        let server = server.time().map_err(text)? - server_before;
        for caller in callers {
            caller.await.map_err(text)?;
        }
        if let Some(error) = STATE.with(|state| state.error.take()) {
            return Err(format!("{} failed: {error}", self.name));
        }
        let latencies = latencies.ok_or("the latencies are gone")?;
        Ok(Sample { ops, took, own, server, allocations, latencies })
    }
}

async fn call<C: Client>(mut client: C, ops: Vec<Op>, one_in: u32) {
    let mut until_timed = 0;
    for op in ops.iter().cycle() {
        let start = (until_timed == 0).then(Instant::now);
        until_timed = if until_timed == 0 { one_in - 1 } else { until_timed - 1 };
        let outcome = client.run(op).await;
        let stop = STATE.with(|state| {
            state.ops.set(state.ops.get() + 1);
            if let Some(start) = start
                && let Some(latencies) = state.latencies.borrow_mut().as_mut()
            {
                latencies.saturating_record(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
            }
            if let Err(error) = outcome {
                state.error.replace(Some(error));
                state.stop.set(true);
            }
            state.stop.get()
        });
        if stop {
            return;
        }
    }
}
