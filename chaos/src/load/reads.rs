//! Reads from replicas, and callers that drop their futures.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use redis_actix::prelude::*;

use super::{DEADLINE, Shared, pause};

const READERS: u64 = 16;
/// The keys of the first readers move to other shards. They are read at primaries only: a replica does not know that its
/// primary moves a slot, and answers nil for the keys that have moved (redis/redis#7362).
pub(in super::super) const MOVED: u64 = 8;

/// Writes the values of the readers and waits for a replica to have them.
pub(super) async fn prepare(redis: &Redis) {
    for reader in 0..READERS {
        let unit =
            (Set::new(format!("own:{reader}"), format!("canary of {reader}")), Wait::new(1, Duration::from_secs(1)));
        let deadline = Instant::now() + Duration::from_secs(20);
        while redis.send(Pipeline::new(unit.clone())).await.is_ok_and(|(_, replicas)| replicas == 0) {
            assert!(Instant::now() < deadline, "no replica follows");
        }
    }
}

pub(super) async fn replicas(shared: Rc<Shared>, mut chance: fastrand::Rng) {
    while !shared.over.get() {
        let (reader, asked) = (chance.u64(..READERS), Instant::now());
        // Short deadlines only where callers expect some to pass.
        let short = Duration::from_millis(chance.u64(20..2_000)).min(DEADLINE);
        let deadline = if shared.deadline > DEADLINE { shared.deadline } else { short };
        let read = Get::<String>::new(format!("own:{reader}")).timeout(deadline);
        let read = if (MOVED..READERS).contains(&reader) { read.read_from(ReadFrom::Replica) } else { read };
        match shared.redis.send(read).await {
            Ok(value) => {
                shared.served("replica reads");
                let (answered, failed) = shared.reads.get();
                shared.reads.set((answered + 1, failed));
                let own = value == Some(format!("canary of {reader}"));
                shared
                    .account
                    .check(own, "wrong reply to a read", || format!("{} bytes", value.map_or(0, |v| v.len())));
            }
            Err(error) => {
                // Some have a deadline that a primary's failover cannot meet.
                let (answered, failed) = shared.reads.get();
                shared.reads.set((answered, failed + 1));
                shared.failed("replica reads", &error);
            }
        }
        shared.in_time("replica reads", asked, deadline);
        pause(&mut chance).await;
    }
}

/// Callers that drop their futures at any stage of the command.
pub(super) async fn leavers(shared: Rc<Shared>, mut chance: fastrand::Rng) {
    while !shared.over.get() {
        let timeout = Duration::from_micros(chance.u64(..3_000));
        let redis = &shared.redis;
        let left = match chance.u8(..4) {
            0 => tokio::time::timeout(timeout, redis.send(BLPop::new(["left:queue"], Duration::from_millis(300))))
                .await
                .is_err(),
            1 => {
                let watch = redis.watch(["left:watched"], |_| async { Ok(None::<Transaction<(Incr,)>>) });
                tokio::time::timeout(timeout, watch).await.is_err()
            }
            _ => tokio::time::timeout(timeout, redis.send(Set::new("left", "canary"))).await.is_err(),
        };
        if left {
            shared.account.count("left");
        }
        pause(&mut chance).await;
    }
}

/// A future that is polled once, kept for a while and dropped. It must not affect other callers.
pub(super) async fn keepers(shared: Rc<Shared>, mut chance: fastrand::Rng) {
    while !shared.over.get() {
        let kept = Duration::from_millis(chance.u64(..2_000));
        let redis = &shared.redis;
        match chance.u8(..3) {
            0 => keep(redis.send(Incr::new("kept")), kept).await,
            1 => keep(redis.send(BLPop::new(["kept:queue"], Duration::from_millis(300))), kept).await,
            _ => keep(redis.watch(["kept:watched"], |_| async { Ok(None::<Transaction<(Incr,)>>) }), kept).await,
        }
        shared.account.count("polled once and kept");
    }
}

async fn keep(future: impl Future, kept: Duration) {
    let mut future = pin!(future);
    let mut polled = false;
    poll_fn(|context| {
        if !std::mem::replace(&mut polled, true) {
            drop(future.as_mut().poll(context));
        }
        Poll::Ready(())
    })
    .await;
    tokio::time::sleep(kept).await;
}
