//! The keeper of leases: a thread of this process that renews the leases of consumers whose own thread stands still.
//!
//! A handler that computes for a minute without an `.await` keeps its consumer, and the shared connection, from
//! running as well. What it works on must not look abandoned meanwhile. One thread serves all consumers, and does
//! nothing while theirs run.

use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use actix::ArbiterHandle;

use super::consumer_errands::Errands;
use crate::core::consumer::LeaseTerm;
use crate::error::Result;
use crate::handle::Redis;

/// What a consumer shows to the keeper.
pub(crate) trait Kept: Send + Sync + 'static {
    /// The leases that should have been renewed by now and were not, and on which somebody still works.
    fn neglected(&self, min_idle: Duration, handler_deadline: Duration, now: Instant) -> Vec<LeaseTerm>;
}

static KEEPER: Mutex<Option<ArbiterHandle>> = Mutex::new(None);

/// Looks after a consumer until it is gone.
pub(crate) fn watch(kept: Weak<impl Kept>, errands: Arc<Errands>, beat: Duration) {
    let errands = Arc::downgrade(&errands);
    let placed = spawn(Box::new(move || {
        actix::spawn(async move {
            let mut link = None;
            loop {
                // Half a beat behind the consumer's own, which comes first as long as its thread runs.
                tokio::time::sleep(beat / 2).await;
                if !keep(&kept, &errands, beat * 3, &mut link).await {
                    return;
                }
            }
        });
    }));
    if !placed {
        tracing::error!("no thread could be had to keep leases: handlers that block their thread may lose theirs");
    }
}

/// One look. Returns whether there will be another.
async fn keep(kept: &Weak<impl Kept>, errands: &Weak<Errands>, min_idle: Duration, link: &mut Option<Redis>) -> bool {
    let (Some(desk), Some(errands)) = (kept.upgrade(), errands.upgrade()) else { return false };
    let terms = desk.neglected(min_idle, errands.handler_deadline, Instant::now());
    drop(desk);
    if terms.is_empty() {
        return true;
    }
    // Not the shared connection: that may be on the very thread that stands still.
    let redis = match link {
        Some(redis) => redis.clone(),
        None => match connect(&errands) {
            Ok(redis) => link.insert(redis).clone(),
            Err(error) => {
                tracing::warn!(%error, "leases could not be kept");
                return true;
            }
        },
    };
    // What is lost its consumer hears itself when it runs again.
    if let Err(failure) = errands.renew(&redis, terms).await {
        tracing::debug!(%failure, "leases could not be kept");
    }
    true
}

fn connect(errands: &Errands) -> Result<Redis> {
    errands.control.sibling(&format!("{}-keeper", errands.reader_name))?.start()
}

/// Runs something on the keeper's thread, which is made when it is first needed.
fn spawn(work: Box<dyn FnOnce() + Send>) -> bool {
    let mut keeper = KEEPER.lock().unwrap_or_else(PoisonError::into_inner);
    let alive = match &*keeper {
        Some(arbiter) => arbiter.spawn_fn(|| {}),
        None => false,
    };
    if !alive {
        *keeper = start();
    }
    keeper.as_ref().is_some_and(|arbiter| arbiter.spawn_fn(work))
}

fn start() -> Option<ArbiterHandle> {
    let (sender, receiver) = mpsc::channel();
    let body = move || {
        actix_rt::System::new().block_on(async move {
            let _ = sender.send(actix_rt::System::current().arbiter().clone());
            std::future::pending::<()>().await;
        });
    };
    thread::Builder::new().name("redis-actix-keeper".to_owned()).spawn(body).ok()?;
    receiver.recv_timeout(Duration::from_secs(1)).ok()
}
