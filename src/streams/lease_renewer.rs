//! The lease renewer: a thread of this process that renews the leases and the names of consumers whose own thread stands
//! still.
//!
//! A handler that computes for a minute without an `.await` keeps its consumer, and the shared connection, from
//! running as well. What it works on must not look abandoned meanwhile, nor may another process get its name. One thread
//! serves all consumers, and does nothing while theirs run.

use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use actix::ArbiterHandle;

use super::consumer_commands::ConsumerCommands;
use crate::client::Redis;
use crate::error::Result;
use crate::streams::machine::{LeaseTerm, NAME_HELD, UnreadEntries};

/// What a consumer shows to the keeper.
pub(crate) trait RenewedLeases: Send + Sync + 'static {
    /// The leases that should have been renewed by now and were not, and on which somebody still works.
    fn neglected(&self, min_idle: Duration, handler_deadline: Duration, now: Instant) -> Vec<LeaseTerm>;
    /// The entries that were delivered, have not arrived, and whose leases should have been renewed by now.
    fn neglected_unread(&self, handler_deadline: Duration, now: Instant) -> Option<UnreadEntries>;
    /// The server has renewed the leases of those, by a request that was sent at `sent`.
    fn unread_renewed(&self, sent: Instant);
    /// The server has confirmed leases that it was asked for at `sent`.
    fn renewed(&self, terms: &[LeaseTerm], sent: Instant);
    /// For how long its thread has not been seen to work, while entries are in hand.
    fn stands_still(&self, now: Instant) -> Duration;
    /// Whether its name will be lost if nobody else renews it.
    fn needs_name(&self, handler_deadline: Duration, now: Instant) -> bool;
}

/// At most this many entries in one command: a script holds up the whole server.
const CHUNK: usize = 256;

static KEEPER: Mutex<Option<ArbiterHandle>> = Mutex::new(None);

/// Looks after a consumer until it is gone.
pub(crate) fn watch(leases: Weak<impl RenewedLeases>, commands: Arc<ConsumerCommands>, beat: Duration) {
    let commands = Arc::downgrade(&commands);
    let placed = spawn(Box::new(move || {
        actix::spawn(async move {
            let mut link = None;
            loop {
                // Half a beat behind the consumer's own, which comes first as long as its thread runs.
                tokio::time::sleep((beat / 2).min(NAME_HELD / 4)).await;
                if !keep(&leases, &commands, beat * 3, &mut link).await {
                    return;
                }
            }
        });
    }));
    if !placed {
        tracing::error!(
            event = "lease.thread_failed",
            "no thread could be started to renew leases: handlers that block their thread may lose theirs"
        );
    }
}

/// One look. Returns whether there will be another.
async fn keep(
    leases: &Weak<impl RenewedLeases>,
    commands: &Weak<ConsumerCommands>,
    min_idle: Duration,
    link: &mut Option<Redis>,
) -> bool {
    let (Some(engine_state), Some(commands)) = (leases.upgrade(), commands.upgrade()) else { return false };
    let now = Instant::now();
    let terms = engine_state.neglected(min_idle, commands.handler_deadline, now);
    let unread = engine_state.neglected_unread(commands.handler_deadline, now);
    let named = engine_state.needs_name(commands.handler_deadline, now);
    // A connection takes time to be made, and there will be little of it.
    let soon = engine_state.stands_still(now) > min_idle / 3;
    drop(engine_state);
    if terms.is_empty() && unread.is_none() && !named && !soon {
        return true;
    }
    // Not the shared connection: that may be on the very thread that stands still.
    let redis = match link {
        Some(redis) => redis.clone(),
        None => match connect(&commands) {
            Ok(redis) => link.insert(redis).clone(),
            Err(error) => {
                tracing::warn!(event = "lease.renewal_failed", %error, "leases could not be renewed");
                return true;
            }
        },
    };
    if named && let Err(failure) = commands.renew_name(&redis).await {
        tracing::debug!(%failure, "a consumer's name could not be renewed");
    }
    if let Some(unread) = unread {
        let sent = Instant::now();
        match commands.renew_unread(&redis, unread).await {
            Ok(()) => {
                if let Some(engine_state) = leases.upgrade() {
                    engine_state.unread_renewed(sent);
                }
            }
            Err(failure) => tracing::debug!(%failure, "leases could not be renewed"),
        }
    }
    for terms in terms.chunks(CHUNK) {
        let sent = Instant::now();
        // What is lost its consumer hears itself when it runs again.
        match commands.renew(&redis, terms).await {
            Ok(()) => {
                if let Some(engine_state) = leases.upgrade() {
                    engine_state.renewed(terms, sent);
                }
            }
            Err(failure) => tracing::debug!(%failure, "leases could not be renewed"),
        }
    }
    true
}

fn connect(commands: &ConsumerCommands) -> Result<Redis> {
    commands.control.connector(&format!("{}-keeper", commands.reader_name))?.start()
}

/// Runs something on the renewer's thread, which is made when it is first needed.
fn spawn(work: Box<dyn FnOnce() + Send>) -> bool {
    let mut lease_renewer = KEEPER.lock().unwrap_or_else(PoisonError::into_inner);
    let alive = match &*lease_renewer {
        Some(arbiter) => arbiter.spawn_fn(|| {}),
        None => false,
    };
    if !alive {
        *lease_renewer = start();
    }
    lease_renewer.as_ref().is_some_and(|arbiter| arbiter.spawn_fn(work))
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
