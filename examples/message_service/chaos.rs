//! A server of the demo's own, and what happens to it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use redis_actix_test::RedisServer;

/// Kills the server when enough messages were handled, and restarts it a little later.
pub(crate) struct Chaos {
    server: Option<Arc<RedisServer>>,
    /// How many messages have to be handled before each kill that is still to come, last first.
    plan: Vec<u64>,
    planned: usize,
    busy: Arc<AtomicBool>,
    kills: Arc<AtomicU32>,
    chance: fastrand::Rng,
}

impl Chaos {
    /// A server of the user's is left alone.
    pub(crate) fn none() -> Self {
        Self {
            server: None,
            plan: Vec::new(),
            planned: 0,
            busy: Arc::default(),
            kills: Arc::default(),
            chance: fastrand::Rng::new(),
        }
    }

    /// Starts a server that keeps what it acknowledges: the append-only file is written before each reply. Without
    /// `fsync_always` a server puts that off for up to two seconds while an fsync is under way, and a SIGKILL then takes
    /// what it had acknowledged.
    pub(crate) fn start(kills: u32, messages: u64, seed: u64) -> io::Result<Self> {
        let server = RedisServer::builder().appendonly(true).fsync_always().start()?;
        let mut chance = fastrand::Rng::with_seed(seed);
        let share = messages / u64::from(kills + 1).max(1);
        let mut plan: Vec<u64> = (1..=u64::from(kills)).map(|nth| nth * share - chance.u64(..=share / 3)).collect();
        plan.reverse();
        Ok(Self { server: Some(Arc::new(server)), planned: plan.len(), plan, chance, ..Self::none() })
    }

    pub(crate) fn url(&self) -> String {
        self.server.as_ref().map_or_else(String::new, |server| server.url())
    }

    pub(crate) fn planned(&self) -> usize {
        self.planned
    }

    pub(crate) fn kills(&self) -> u32 {
        self.kills.load(Ordering::Relaxed)
    }

    /// Whether the server is up and stays up.
    pub(crate) fn is_idle(&self) -> bool {
        self.plan.is_empty() && !self.busy.load(Ordering::Acquire)
    }

    /// Kills the server if its time has come. Returns at once: the service must not wait for us.
    pub(crate) fn proceed(&mut self, handled: u64) {
        let Some(server) = self.server.clone() else { return };
        if self.busy.load(Ordering::Acquire) || self.plan.last().is_none_or(|&at| handled < at) {
            return;
        }
        self.plan.pop();
        self.busy.store(true, Ordering::Release);
        let (busy, kills) = (self.busy.clone(), self.kills.clone());
        let down = Duration::from_millis(self.chance.u64(200..900));
        thread::spawn(move || {
            let killed = server.kill();
            kills.fetch_add(1, Ordering::Relaxed);
            thread::sleep(down);
            if let Err(error) = killed.and_then(|()| server.restart()) {
                eprintln!("the demo cannot go on without its server: {error}");
                std::process::exit(2);
            }
            busy.store(false, Ordering::Release);
        });
    }
}
