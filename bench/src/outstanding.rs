//! Processor time per operation with a thousand and with a million outstanding commands: it should be the same.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use redis_actix_test::RedisServer;
use tokio::time::sleep;

use crate::client::text;
use crate::holding::Holding;
use crate::load;
use crate::meter::own_time;

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;
/// Maximum ratio to the processor time with a thousand.
const BAR: f64 = 1.3;
const MEASURED: Duration = Duration::from_secs(4);
/// Memory for a million commands of the largest contender, with room for other programs.
#[cfg(feature = "peers")]
const MEMORY_KIB: u64 = 12 << 20;

thread_local! {
    static STOP: Cell<bool> = const { Cell::new(false) };
    static ANSWERED: Cell<u64> = const { Cell::new(0) };
    static FAILED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Measures, and returns whether the bar was met.
///
/// # Errors
/// When a client fails, or the server does.
pub fn run() -> Result<bool, String> {
    let server = RedisServer::builder().arg("--save", "").start().map_err(text)?;
    load::fill(&server).map_err(text)?;
    actix_rt::System::new().block_on(async {
        println!("| client | us/op at {FEW} | us/op at {MANY} | ratio | bar |\n|---|---|---|---|---|");
        let ratio = both::<redis_actix::Redis>(&server, &format!("<= {BAR}")).await?;
        both::<redis::aio::ConnectionManager>(&server, "").await?;
        #[cfg(feature = "peers")]
        if available().is_some_and(|kib| kib > MEMORY_KIB) {
            both::<fred::prelude::Client>(&server, "").await?;
        } else {
            println!("| fred | - | needs {} GiB of free memory | - | |", MEMORY_KIB >> 20);
        }
        Ok(ratio <= BAR)
    })
}

async fn both<C: Holding>(server: &RedisServer, bar: &str) -> Result<f64, String> {
    let client = C::connect(server.port()).await?;
    let (few, many) = (outstanding(&client, FEW).await?, outstanding(&client, MANY).await?);
    let ratio = many / few;
    println!("| {} | {few:.2} | {many:.2} | {ratio:.2} | {bar} |", C::NAME);
    Ok(ratio)
}

/// Microseconds of processor time per operation.
async fn outstanding<C: Holding>(client: &C, callers: usize) -> Result<f64, String> {
    STOP.set(false);
    ANSWERED.set(0);
    let tasks: Vec<_> = (0..callers)
        .map(|n| {
            let (client, key) = (client.clone(), load::small(n));
            tokio::spawn(async move {
                while !STOP.get() {
                    if let Err(error) = client.get(&key).await {
                        FAILED.set(Some(error));
                        STOP.set(true);
                    }
                    ANSWERED.set(ANSWERED.get() + 1);
                }
            })
        })
        .collect();
    // Each caller has had one reply and sent again.
    while ANSWERED.get() < 2 * callers as u64 && !STOP.get() {
        sleep(Duration::from_millis(20)).await;
    }
    let (before, time) = (ANSWERED.get(), own_time());
    sleep(MEASURED).await;
    let (answered, time) = (ANSWERED.get() - before, own_time() - time);
    STOP.set(true);
    for task in tasks {
        task.await.map_err(text)?;
    }
    match FAILED.take() {
        Some(error) => Err(format!("{} failed with {callers} outstanding: {error}", C::NAME)),
        None => Ok(time.as_secs_f64() * 1e6 / answered.max(1) as f64),
    }
}

#[cfg(feature = "peers")]
fn available() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    info.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse().ok())
}
