//! A minimal client for comparison: one connection; when it fails, the client asks for the primary.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use redis_actix_test::Connection;

use super::deployment::Deployment;
use super::load::DEADLINE;

pub const LIST: &str = "plain";

/// Writes to shard 0 until it is finished.
#[derive(Debug)]
pub struct Plain {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Written>,
}

/// The acknowledged writes and their times.
#[derive(Debug, Default)]
pub struct Written {
    pub numbers: Vec<u64>,
    pub at: Vec<Instant>,
}

impl Plain {
    pub fn start(deployment: &Arc<Deployment>) -> Self {
        let over = Arc::<AtomicBool>::default();
        let thread = thread::spawn({
            let (deployment, over) = (deployment.clone(), over.clone());
            move || write(&deployment, &over)
        });
        Self { over, thread }
    }

    pub fn finish(self) -> Written {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

fn write(deployment: &Deployment, over: &AtomicBool) -> Written {
    let (mut written, mut number, mut failed) = (Written::default(), 0_u64, None);
    let key = deployment.whole(LIST);
    while !over.load(Ordering::Relaxed) {
        // A server that has just failed is not asked.
        let suspect: Vec<usize> = failed.into_iter().collect();
        let Some(primary) = deployment.primary(0, &suspect) else { continue };
        failed = Some(primary);
        let Ok(mut connection) = Connection::open(deployment.proxy(primary).addr(), None) else { continue };
        connection.set_timeout(DEADLINE);
        while !over.load(Ordering::Relaxed) {
            number += 1;
            let reply = connection.command(["RPUSH", &key, &number.to_string()]);
            if !reply.is_ok_and(|reply| reply.int().is_ok()) {
                break;
            }
            written.numbers.push(number);
            written.at.push(Instant::now());
            sleep(Duration::from_millis(1));
        }
        sleep(Duration::from_millis(10));
    }
    written
}
