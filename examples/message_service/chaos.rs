//! The server or cluster that the demo starts, and its kills.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use redis_actix::{RedisConfig, RedisConfigBuilder};
use redis_actix_test::{RedisCluster, RedisServer};

/// The servers of the demo.
#[derive(Clone)]
enum Kept {
    Server(Arc<RedisServer>),
    /// Three primaries with a replica each.
    Cluster(Arc<RedisCluster>),
}

impl Kept {
    /// Kills a server and restarts it after `down`. In a cluster that is the primary of a slot; it comes back as a replica
    /// of its successor.
    fn kill(&self, slot: u16, down: Duration, kills: &AtomicU32) -> io::Result<()> {
        match self {
            Self::Server(server) => {
                server.kill()?;
                kills.fetch_add(1, Ordering::Relaxed);
                thread::sleep(down);
                server.restart()
            }
            Self::Cluster(cluster) => {
                let killed = cluster.kill_owner(slot)?;
                kills.fetch_add(1, Ordering::Relaxed);
                cluster.wait_well_without(&[killed.port()])?;
                killed.restart()?;
                cluster.wait_replicated(slot)
            }
        }
    }
}

/// Kills the server after a number of handled messages, and restarts it later.
pub(crate) struct Chaos {
    kept: Option<Kept>,
    /// The slots of a cluster whose primaries are killed in turn.
    slots: Vec<u16>,
    /// The number of handled messages before each remaining kill, last first.
    plan: Vec<u64>,
    planned: usize,
    busy: Arc<AtomicBool>,
    kills: Arc<AtomicU32>,
    chance: fastrand::Rng,
}

impl Chaos {
    /// For a server of the user, which is never killed.
    pub(crate) fn none() -> Self {
        Self {
            kept: None,
            slots: vec![0],
            plan: Vec::new(),
            planned: 0,
            busy: Arc::default(),
            kills: Arc::default(),
            chance: fastrand::Rng::new(),
        }
    }

    /// Starts a server that syncs the append-only file before each reply. Without `fsync_always` a server postpones the
    /// write for up to two seconds while an fsync is in progress, and SIGKILL loses acknowledged writes.
    pub(crate) fn start(kills: u32, messages: u64, seed: u64) -> io::Result<Self> {
        let server = RedisServer::builder().appendonly(true).fsync_always().start()?;
        Ok(Self { kept: Some(Kept::Server(Arc::new(server))), ..Self::planning(kills, messages, seed) })
    }

    /// Starts a cluster of six, and kills the primary of `key` first.
    pub(crate) fn start_cluster(kills: u32, messages: u64, seed: u64, key: &str) -> io::Result<Self> {
        let cluster = RedisCluster::builder().replicas(1).start()?;
        let first = cluster.slot_of(key)?;
        let slots = (0..3).map(|shard| (first + shard * 5461) % 16_384).collect();
        let kept = Some(Kept::Cluster(Arc::new(cluster)));
        Ok(Self { kept, slots, ..Self::planning(kills, messages, seed) })
    }

    fn planning(kills: u32, messages: u64, seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let share = messages / u64::from(kills + 1).max(1);
        let mut plan: Vec<u64> = (1..=u64::from(kills)).map(|nth| nth * share - chance.u64(..=share / 3)).collect();
        plan.reverse();
        Self { planned: plan.len(), plan, chance, ..Self::none() }
    }

    /// The configuration that leads to it.
    pub(crate) fn address(&self) -> RedisConfigBuilder {
        match &self.kept {
            Some(Kept::Server(server)) => RedisConfig::builder().url(server.url()),
            Some(Kept::Cluster(cluster)) => RedisConfig::builder().cluster_hosts(cluster.hosts()),
            None => RedisConfig::builder(),
        }
    }

    pub(crate) fn planned(&self) -> usize {
        self.planned
    }

    pub(crate) fn kills(&self) -> u32 {
        self.kills.load(Ordering::Relaxed)
    }

    /// Whether the server runs and no kill is in progress.
    pub(crate) fn is_idle(&self) -> bool {
        self.plan.is_empty() && !self.busy.load(Ordering::Acquire)
    }

    /// Kills the server if enough messages were handled. Returns at once, because the service must not wait for it.
    pub(crate) fn proceed(&mut self, handled: u64) {
        let Some(kept) = self.kept.clone() else { return };
        if self.busy.load(Ordering::Acquire) || self.plan.last().is_none_or(|&at| handled < at) {
            return;
        }
        self.plan.pop();
        self.busy.store(true, Ordering::Release);
        let (busy, kills) = (self.busy.clone(), self.kills.clone());
        let slot = self.slots.get(kills.load(Ordering::Relaxed) as usize % self.slots.len()).copied().unwrap_or(0);
        let down = Duration::from_millis(self.chance.u64(200..900));
        thread::spawn(move || {
            if let Err(error) = kept.kill(slot, down, &kills) {
                eprintln!("the demo cannot continue without its server: {error}");
                std::process::exit(2);
            }
            busy.store(false, Ordering::Release);
        });
    }
}
