//! A reply that comes soon is busy-polled, one that does not come is not, and a thread that has something better
//! to do with a core is left it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::thread::{JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use crate::support::{TIME_LIMIT, alone, config, hasty, server};
use redis_actix::ErrorKind;
use redis_actix::prelude::*;
use redis_actix_test::{Answer, FakeServer};
use tokio::runtime::Handle;

const ASKED: u64 = 1_000;

// Each test runs in a process of its own: threads that wait are counted per process, and on two cores those of two tests
// would keep each other from looking.

/// How often this thread went to sleep while `asking` went on.
async fn sleeps_during<R>(asking: impl Future<Output = R>) -> u64 {
    let slept = || Handle::current().metrics().worker_park_count(0);
    let before = slept();
    asking.await;
    slept() - before
}

async fn ask(redis: &Redis, times: u64) {
    for _ in 0..times {
        redis.send(Get::<Option<String>>::new("k")).await.expect("answered");
    }
}

async fn sleeps(redis: &Redis) -> u64 {
    sleeps_during(ask(redis, ASKED)).await
}

/// The most sleeps of a round, of those up to the first that has `enough`: a machine that is busy with other things may hide
/// them.
async fn most_sleeps(enough: u64, mut round: impl AsyncFnMut() -> u64) -> u64 {
    let mut most = 0;
    for _ in 0..30 {
        most = most.max(round().await);
        if most >= enough {
            break;
        }
    }
    most
}

/// A connection whose replies are busy-polled, and the number of cores; nothing where polling leaves no
/// core to the server.
async fn looking(port: u16) -> Option<(Redis, usize)> {
    let cores = available_parallelism().map_or(1, std::num::NonZero::get);
    if cores == 1 {
        println!("one core: there is nothing to look for while the server does not run");
        return None;
    }
    let redis = hasty(config(port)).start().expect("started");
    // A machine that is busy with other things may be slow for some rounds.
    let deadline = Instant::now() + TIME_LIMIT;
    while sleeps_during(ask(&redis, 100)).await > 50 {
        assert!(Instant::now() < deadline, "never busy-polled");
    }
    Some((redis, cores))
}

/// Ablation: without looking again each of the answers is slept for, and no round is ever one of these.
#[actix::test]
async fn answers_that_come_soon_are_not_slept_for() {
    if alone("busy_poll::answers_that_come_soon_are_not_slept_for") {
        let server = server();
        looking(server.port()).await;
    }
}

#[actix::test]
async fn who_says_so_sleeps_for_each() {
    if !alone("busy_poll::who_says_so_sleeps_for_each") {
        return;
    }
    let server = server();
    if looking(server.port()).await.is_some() {
        let redis = hasty(config(server.port()).busy_poll(false)).start().expect("started");
        assert!(sleeps(&redis).await >= ASKED);
    }
}

/// So long had this thread a core.
fn processor_time() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").expect("linux");
    Duration::from_nanos(times.split(' ').next().and_then(|on_core| on_core.parse().ok()).expect("a number"))
}

/// Ablation: with no end to it the thread looks for as long as the command waits.
#[actix::test]
async fn a_server_that_is_silent_is_not_looked_for() {
    const SILENCE: Duration = Duration::from_millis(400);
    if !alone("busy_poll::a_server_that_is_silent_is_not_looked_for") {
        return;
    }
    let server = server();
    let Some((redis, _)) = looking(server.port()).await else { return };
    server.stop_process().expect("frozen");
    let before = processor_time();
    let late = redis.send(Get::<String>::new("k").timeout(SILENCE)).await.expect_err("frozen");
    assert_eq!(late.kind(), ErrorKind::Timeout);
    let spent = processor_time() - before;
    assert!(spent < SILENCE / 20, "{spent:?} of {SILENCE:?} spent");
    server.cont_process().expect("thawed");
}

/// Ablation: with callers elsewhere taken for callers here, and for one thread with the actor, it sleeps once for each, until
/// it is asked.
#[actix::test]
async fn callers_on_another_thread_are_slept_for() {
    const TAKES: Duration = Duration::from_micros(50);
    if !alone("busy_poll::callers_on_another_thread_are_slept_for") {
        return;
    }
    let busy = |argv: &[Vec<u8>]| {
        if argv[0] != b"GET" {
            return Answer::Default;
        }
        let asked = Instant::now();
        while asked.elapsed() < TAKES {
            std::hint::spin_loop();
        }
        Answer::raw("$-1\r\n")
    };
    let server = FakeServer::builder().on(busy).start().expect("started");
    let redis = hasty(config(server.port())).start().expect("started");
    let most = most_sleeps(ASKED * 7 / 5, async || {
        let (done, finished) = tokio::sync::oneshot::channel();
        let redis = redis.clone();
        let asking = std::thread::spawn(move || {
            actix::System::new().block_on(ask(&redis, ASKED));
            let _ = done.send(());
        });
        let sleeps = sleeps_during(finished).await;
        asking.join().expect("asked");
        sleeps
    })
    .await;
    assert!(most >= ASKED * 7 / 5, "{most} sleeps for {ASKED} questions and as many answers");
}

/// Threads that ask all the time, each over a connection of its own.
struct Others(Arc<AtomicBool>, Vec<JoinHandle<()>>);

impl Others {
    fn start(port: u16, threads: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let asking = (0..threads).map(|_| {
            let over = over.clone();
            std::thread::spawn(move || {
                actix::System::new().block_on(async {
                    let redis = hasty(config(port)).start().expect("started");
                    while !over.load(Ordering::Relaxed) {
                        ask(&redis, ASKED).await;
                    }
                });
            })
        });
        let asking = asking.collect();
        Self(over, asking)
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        for asking in self.1.drain(..) {
            let _ = asking.join();
        }
    }
}

/// Ablation: with no thread counted all of them poll, and no more than half of the answers are slept for.
#[actix::test]
async fn as_many_threads_as_cores_sleep_all_of_them() {
    if !alone("busy_poll::as_many_threads_as_cores_sleep_all_of_them") {
        return;
    }
    let server = server();
    let Some((redis, cores)) = looking(server.port()).await else { return };
    if cores > 4 {
        println!(
            "{cores} cores: one server does not answer that number of threads each millisecond, and then they are not counted"
        );
        return;
    }
    let _others = Others::start(server.port(), cores - 1);
    // The others have to connect first, and one that gets no core for two milliseconds is not counted.
    let most = most_sleeps(ASKED * 9 / 10, async || sleeps(&redis).await).await;
    assert!(most >= ASKED * 9 / 10, "{most} of {ASKED} slept for while others wanted the core");
}
