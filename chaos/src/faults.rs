//! Faults of the servers of a deployment, one at a time.

use std::thread::sleep;
use std::time::{Duration, Instant};

use redis_actix_test::RedisServer;

use super::deployment::{Deployment, Losses};
use super::load::FOLLOW;
use super::load::reads::MOVED;

/// The cause of a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failover {
    /// `CLUSTER FAILOVER`, or `SENTINEL FAILOVER`.
    Planned,
    /// `CLUSTER FAILOVER TAKEOVER`, which does not ask the primary; with sentinels the same as planned.
    Forced,
    Killed,
    Frozen,
    /// Isolated from all servers and sentinels, not from clients.
    Partitioned,
}

impl Failover {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Forced => "forced",
            Self::Killed => "killed",
            Self::Frozen => "frozen",
            Self::Partitioned => "partitioned",
        }
    }
}

/// Time limit of a failover.
const SWITCH: Duration = Duration::from_secs(20);

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The result of a failover.
#[derive(Debug, Clone, Copy)]
pub struct Switched {
    pub broken: Instant,
    /// When a majority named another primary.
    pub at: Instant,
}

impl Deployment {
    /// Replaces the primary of a shard. The old one stays broken for `extra` after that and is repaired before this
    /// returns. `None` when it was not replaced in time.
    pub fn fail_over(&self, shard: usize, how: Failover, extra: Duration, losses: &mut Losses) -> Option<Switched> {
        let old = self.primary(shard, &[]).expect("a primary");
        let server = &self.servers()[old];
        let broken = Instant::now();
        let unreachable: &[usize] = match how {
            Failover::Planned | Failover::Forced => {
                self.order_failover(old, how);
                &[]
            }
            Failover::Killed => {
                server.kill().expect("killed");
                &[old]
            }
            Failover::Frozen => {
                server.stop_process().expect("frozen");
                &[old]
            }
            Failover::Partitioned => {
                self.isolate(old);
                &[old]
            }
        };
        let at = self.switched(shard, old, unreachable, SWITCH);
        sleep(extra);
        match how {
            Failover::Planned | Failover::Forced => {}
            Failover::Killed => server.restart().unwrap_or_else(|error| panic!("{error}")),
            Failover::Frozen => server.cont_process().expect("goes on"),
            Failover::Partitioned => self.heal(),
        }
        let at = at?;
        // A planned failover of a cluster involves both servers: nothing is lost.
        if how != Failover::Planned || self.cluster().is_none() {
            losses.add(broken, at, FOLLOW);
        }
        Some(Switched { broken, at })
    }

    fn order_failover(&self, old: usize, how: Failover) {
        if let Some(set) = self.sentinels() {
            let ordered = set.sentinels()[0].command(["SENTINEL", "FAILOVER", set.name()]);
            return drop(ordered);
        }
        let replica = &self.servers()[self.other(old)];
        let ordered = if how == Failover::Forced {
            replica.command(["CLUSTER", "FAILOVER", "TAKEOVER"])
        } else {
            replica.command(["CLUSTER", "FAILOVER"])
        };
        drop(ordered);
    }

    /// Waits for the servers to converge. An unrequested change of the primary counts as a failover.
    pub fn settle(&self, before: &[Option<usize>], broken: Instant, losses: &mut Losses) {
        let agreed = self.wait_well(&[]).and_then(|()| self.cluster().map_or(Ok(()), |_| self.wait_for_one_view()));
        if let Err(error) = agreed {
            panic!("{error}\n{}", self.describe());
        }
        if self.primaries() != before {
            losses.add(broken, Instant::now(), FOLLOW);
        }
    }

    pub fn primaries(&self) -> Vec<Option<usize>> {
        (0..self.shards()).map(|shard| self.primary(shard, &[])).collect()
    }

    /// A script of another client that does not end by itself: the server answers BUSY.
    pub fn keep_busy(&self, server: usize, time: Duration) {
        let server = &self.servers()[server];
        let Ok(mut connection) = server.connect() else { return };
        if connection.send(["EVAL", "while true do end", "0"]).is_err() {
            return;
        }
        sleep(time);
        kill_script(server);
    }

    /// A slot moves to another shard, with its keys.
    pub fn move_slot(&self, key: &str, chance: &mut fastrand::Rng) -> bool {
        let Some(cluster) = self.cluster() else { return false };
        let whole = self.whole(key);
        let moved = cluster.slot_of(&whole).and_then(|slot| {
            let owner = cluster.owner(slot)?.port();
            let others: Vec<_> = cluster.primaries()?.into_iter().filter(|node| node.port() != owner).collect();
            cluster.migrate(slot..=slot, others[chance.usize(..others.len())])?;
            // The next move asks a random node for the owner.
            self.wait_for_one_view()
        });
        moved.unwrap_or_else(|error| panic!("a slot could not be moved: {error}\n{}", self.describe()));
        true
    }
}

/// Repeats the kill until the script has started.
pub fn kill_script(server: &RedisServer) {
    let deadline = Instant::now() + ms(2_000);
    while Instant::now() < deadline {
        match server.command(["SCRIPT", "KILL"]) {
            Ok(reply) if reply.error().is_none_or(|error| error.starts_with("NOTBUSY")) => return,
            _ => sleep(ms(20)),
        }
    }
}

/// Random faults, with and without a failover.
#[derive(Debug)]
pub struct Faults<'a> {
    pub deployment: &'a Deployment,
    pub chance: fastrand::Rng,
    pub losses: Losses,
}

impl Faults<'_> {
    /// One fault, repaired before this returns. `begin` gets its name first.
    pub fn one(&mut self, begin: impl Fn(&str)) {
        let shard = self.chance.usize(..self.deployment.shards());
        let before = self.deployment.primaries();
        let Some(primary) = before[shard] else {
            return self.deployment.settle(&before, Instant::now(), &mut self.losses);
        };
        let broken = Instant::now();
        match self.chance.u8(..20) {
            nth @ 0..8 => self.failover(nth, shard, begin),
            8 | 9 => {
                begin("busy");
                self.deployment.keep_busy(primary, ms(self.chance.u64(100..1_500)));
            }
            10 | 11 => self.busy_and_replaced(shard, primary, begin),
            12 => {
                begin("loading");
                let server = &self.deployment.servers()[primary];
                let _ = server.command(["CONFIG", "SET", "key-load-delay", "5000"]);
                let _ = server.command(["DEBUG", "RELOAD"]);
                let _ = server.command(["CONFIG", "SET", "key-load-delay", "0"]);
            }
            13 => {
                begin("frozen for a moment");
                self.freeze(primary);
            }
            14 => {
                begin("replica killed");
                let replica = &self.deployment.servers()[self.deployment.other(primary)];
                replica.kill().expect("killed");
                sleep(ms(self.chance.u64(100..1_000)));
                replica.restart().unwrap_or_else(|error| panic!("{error}"));
            }
            15 => {
                begin("restarted at once");
                self.deployment.servers()[primary].restart().unwrap_or_else(|error| panic!("{error}"));
            }
            16 | 17 if self.deployment.cluster().is_some() => self.reshard(begin),
            _ => self.break_links(primary, begin),
        }
        self.deployment.settle(&before, broken, &mut self.losses);
    }

    fn failover(&mut self, nth: u8, shard: usize, begin: impl Fn(&str)) {
        let how = match nth {
            0 | 1 => Failover::Planned,
            2 => Failover::Forced,
            3 | 4 => Failover::Killed,
            5 => Failover::Frozen,
            _ => Failover::Partitioned,
        };
        begin(how.as_str());
        let extra = ms(self.chance.u64(..2_500));
        if self.deployment.fail_over(shard, how, extra, &mut self.losses).is_none() {
            begin("not replaced in time");
        }
    }

    /// A primary answers BUSY while it is replaced: commands that wait for it must move.
    fn busy_and_replaced(&mut self, shard: usize, primary: usize, begin: impl Fn(&str)) {
        begin("busy and replaced");
        let server = &self.deployment.servers()[primary];
        let Ok(mut connection) = server.connect() else { return };
        let _ = connection.send(["EVAL", "while true do end", "0"]);
        sleep(ms(self.chance.u64(100..400)));
        // With a sentinel the old one is not asked either.
        self.deployment.fail_over(shard, Failover::Forced, Duration::ZERO, &mut self.losses);
        // A lost link to another node makes clients ask for the topology, while the old primary still answers BUSY.
        for other in (0..self.deployment.servers().len()).filter(|other| *other != primary) {
            self.deployment.proxy(other).reset_all();
        }
        sleep(ms(self.chance.u64(300..1_500)));
        kill_script(server);
    }

    fn freeze(&mut self, server: usize) {
        let server = &self.deployment.servers()[server];
        server.stop_process().expect("frozen");
        sleep(ms(self.chance.u64(50..500)));
        server.cont_process().expect("goes on");
    }

    fn reshard(&mut self, begin: impl Fn(&str)) {
        begin("slots moved");
        for _ in 0..self.chance.usize(1..6) {
            let nth = self.chance.u64(..12);
            let key = match self.chance.u8(..5) {
                0 => format!("{{transactions:{nth}}}:a"),
                1 => format!("{{watch:{nth}}}:list"),
                2 => "queue:a".to_owned(),
                3 => format!("own:{}", nth % MOVED),
                _ => format!("commands:{nth}"),
            };
            self.deployment.move_slot(&key, &mut self.chance);
        }
    }

    fn break_links(&mut self, server: usize, begin: impl Fn(&str)) {
        let proxy = self.deployment.proxy(server);
        match self.chance.u8(..6) {
            0 => {
                begin("links reset");
                proxy.reset_all();
            }
            1 => {
                begin("links closed");
                proxy.close_all();
            }
            2 => {
                begin("requests cut");
                for _ in 0..5 {
                    proxy.cut_after(redis_actix_test::Direction::ToServer, self.chance.u64(..3_000));
                    sleep(ms(self.chance.u64(20..100)));
                }
            }
            3 => {
                begin("replies cut");
                for _ in 0..5 {
                    proxy.cut_after(redis_actix_test::Direction::ToClient, self.chance.u64(..3_000));
                    sleep(ms(self.chance.u64(20..100)));
                }
            }
            4 => {
                begin("links refused");
                proxy.refuse();
                proxy.reset_all();
                sleep(ms(self.chance.u64(50..400)));
            }
            _ => {
                begin("links held");
                proxy.hold();
                sleep(ms(self.chance.u64(50..400)));
            }
        }
        proxy.pass();
    }
}
