//! Hours of a paced load; memory, allocations and descriptors of the process must not grow.

use std::{
    cell::{Cell, RefCell},
    fs, io,
    rc::Rc,
    time::{Duration, Instant},
};

use redis_actix_test::RedisServer;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::client::{Client, Connect, text};
use crate::clients::ours;
use crate::load;

/// Half of them on the thread of their connection, half on another one.
const CALLERS: u32 = 256;
/// Rate of all callers together, far below the maximum, to leave the machine to other programs.
const PER_SECOND: u32 = 15_000;
/// Warm-up of buffers, queues and allocator arenas.
const SETTLING: Duration = Duration::from_secs(60);

/// Live allocations.
#[derive(Clone, Copy)]
pub struct Outstanding {
    /// Their bytes.
    pub bytes: usize,
    /// Their number.
    pub count: usize,
}

/// One sample.
#[derive(Clone, Copy)]
struct Sample {
    resident: usize,
    outstanding: Outstanding,
    descriptors: usize,
}

/// A quantity that must not grow, and the tolerance of the second half above the first.
type Measure = (&'static str, fn(&Sample) -> usize, fn(usize) -> usize);

const MEASURES: [Measure; 4] = [
    ("resident memory, KiB", |sample| sample.resident / 1024, |before| before / 50 + 512),
    ("outstanding, KiB", |sample| sample.outstanding.bytes / 1024, |before| before / 50 + 512),
    ("allocations outstanding", |sample| sample.outstanding.count, |before| before / 50 + 500),
    ("file descriptors", |sample| sample.descriptors, |_| 0),
];

/// Runs for the given time, prints a line periodically, and returns whether nothing grew.
///
/// # Errors
/// When a command fails, or the server does.
pub fn run(how_long: Duration, outstanding: fn() -> Outstanding) -> Result<bool, String> {
    let server = RedisServer::builder().arg("--save", "").start().map_err(text)?;
    load::fill(&server).map_err(text)?;
    let samples = actix_rt::System::new().block_on(observe(&server, how_long, outstanding))?;
    println!("\n| medians | first half | second half | at most | |\n|---|---|---|---|---|");
    let (first, second) = samples.split_at(samples.len() / 2);
    let mut well = true;
    for (name, read, slack) in MEASURES {
        let (before, after) = (median(first, read), median(second, read));
        let most = before + slack(before);
        well &= after <= most;
        println!("| {name} | {before} | {after} | {most} | {} |", if after <= most { "ok" } else { "grows" });
    }
    Ok(well)
}

async fn observe(
    server: &RedisServer,
    how_long: Duration,
    outstanding: fn() -> Outstanding,
) -> Result<Vec<Sample>, String> {
    let connections = [ours::Here::connect(server.port()).await?, ours::OwnThread::connect(server.port()).await?];
    let (ops, failure) = (Rc::new(Cell::new(0_u64)), Rc::new(RefCell::new(None)));
    for (caller, connection) in (0..CALLERS).zip(connections.iter().cycle()) {
        let (connection, ops, failure) = (connection.clone(), ops.clone(), failure.clone());
        actix_rt::spawn(async move {
            if let Err(error) = paced(caller, connection, &ops).await {
                failure.replace(Some(error));
            }
        });
    }
    let settling = SETTLING.min(how_long / 5);
    sleep(settling).await;

    let seconds = usize::try_from((how_long - settling).as_secs().max(2)).map_err(text)?;
    // Filled before the measurement, so that it does not grow itself.
    let mut samples = vec![sample(outstanding).map_err(text)?; seconds];
    println!(
        "| second | ops/s | resident, KiB | outstanding, KiB | allocations | descriptors |\n|---|---|---|---|---|---|"
    );
    let (mut clock, mut since, mut before) = (interval(Duration::from_secs(1)), Instant::now(), ops.get());
    // The first tick comes at once.
    clock.tick().await;
    for (second, place) in (1..).zip(&mut samples) {
        clock.tick().await;
        if let Some(error) = failure.take() {
            return Err(error);
        }
        *place = sample(outstanding).map_err(text)?;
        if second % (seconds / 60).max(1) == 0 {
            let rate = (ops.get() - before) as f64 / since.elapsed().as_secs_f64();
            (since, before) = (Instant::now(), ops.get());
            let Sample { resident, outstanding: Outstanding { bytes, count }, descriptors } = *place;
            println!("| {second} | {rate:.0} | {} | {} | {count} | {descriptors} |", resident / 1024, bytes / 1024);
        }
    }
    Ok(samples)
}

/// The load of one caller, until the program ends.
async fn paced(caller: u32, mut connection: ours::Handle, ops: &Cell<u64>) -> Result<(), String> {
    let pause = Duration::from_secs(1) * CALLERS / PER_SECOND;
    sleep(pause * caller / CALLERS).await;
    let mut clock = interval(pause);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for op in load::mix(caller as usize).iter().cycle() {
        clock.tick().await;
        connection.run(op).await?;
        ops.set(ops.get() + 1);
    }
    Ok(())
}

fn sample(outstanding: fn() -> Outstanding) -> io::Result<Sample> {
    Ok(Sample {
        resident: resident()?,
        outstanding: outstanding(),
        descriptors: fs::read_dir("/proc/self/fd")?.count(),
    })
}

/// Bytes of this process in memory.
///
/// # Errors
/// Where there is no `/proc`.
pub fn resident() -> io::Result<usize> {
    let pages = fs::read_to_string("/proc/self/statm")?;
    let pages: Option<usize> = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    Ok(pages.unwrap_or_default() * rustix::param::page_size())
}

fn median(samples: &[Sample], read: fn(&Sample) -> usize) -> usize {
    let mut values: Vec<usize> = samples.iter().map(read).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
