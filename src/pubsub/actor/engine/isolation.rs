//! Checks whether the node of the link to any node is connected to the rest of its cluster.

use std::time::{Duration, Instant};

use actix::Addr;
use futures_util::future::{join, join_all};

use super::queries::QueryOutcome;
use super::{Engine, RedisActor};
use crate::cluster::slot_map::Map;
use crate::config::HostPort;
use crate::frame::{Frame, WhenDown};
use crate::messages::internal::Internal;
use crate::pubsub::machine::isolation::{Reachability, View, judge};
use crate::pubsub::machine::router::ANYWHERE;

/// The interval of the checks. A node needs `cluster-node-timeout` to detect a partition, 15 s by default.
const CHECK: Duration = Duration::from_secs(2);
/// The time limit of a node's reply.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// The time of the next check, and the result of the last one for this link.
#[derive(Default)]
pub(super) struct IsolationChecks {
    pub(super) due: Option<Instant>,
    /// The node, in a cluster.
    endpoint: Option<HostPort>,
    was_isolated: bool,
}

impl IsolationChecks {
    /// Starts the checks of a new link.
    pub(super) fn begin(endpoint: Option<HostPort>, now: Instant) -> Self {
        Self { due: endpoint.is_some().then(|| now + CHECK), endpoint, was_isolated: false }
    }
}

impl Engine {
    /// Sends the request over the shared connection, which reaches every primary. A node that left the topology has
    /// no slot to address it by; `Anywhere` in `topology.rs` makes the link leave such a node.
    pub(super) fn check_isolation(&mut self) {
        self.checks.due = None;
        let Some(generation) = self.places.get(&ANYWHERE).and_then(|place| place.generation) else { return };
        let (Some(endpoint), Some(topology)) = (&self.checks.endpoint, &self.node_connections.topology) else { return };
        let (map, main) = (topology.snapshot(), self.main.clone());
        let slot = |map: &Map, node| map.slots_of(node).first().map(|slots| *slots.start());
        let own = slot(&map.map, endpoint);
        let others: Vec<u16> = map
            .map
            .shards()
            .filter(|shard| shard.primary != *endpoint)
            .filter_map(|shard| slot(&map.map, &shard.primary))
            .collect();
        self.questions.push(Box::pin(async move {
            let standing = match (main.upgrade(), own) {
                (Some(main), Some(own)) => standing(&main, own, others).await,
                _ => Reachability::Unknown,
            };
            QueryOutcome::Reachability(generation, standing)
        }));
    }

    pub(super) fn learned_standing(&mut self, generation: u64, standing: Reachability) {
        let current = self.places.get(&ANYWHERE).and_then(|place| place.generation);
        if current != Some(generation) {
            return;
        }
        self.checks.due = Some(Instant::now() + CHECK);
        match standing {
            Reachability::Unknown => {}
            Reachability::Isolated => {
                if let (Some(topology), Some(endpoint)) = (&self.node_connections.topology, &self.checks.endpoint) {
                    topology.avoid(endpoint);
                }
                self.disconnect(ANYWHERE, "the previous node of the link is cut off from most of the cluster");
            }
            Reachability::NoMajority => self.checks.was_isolated = true,
            Reachability::Member if self.checks.was_isolated => {
                self.disconnect(ANYWHERE, "the node of the link was cut off from most of the cluster");
            }
            Reachability::Member => {}
        }
    }
}

/// In a healthy cluster one other node is sufficient, because each of them knows what the majority agreed on.
async fn standing(main: &Addr<RedisActor>, own: u16, others: Vec<u16>) -> Reachability {
    let one = fastrand::choice(&others).copied();
    let (own, other) = join(ask(main, own), async { ask(main, one?).await }).await;
    match judge(own.as_ref(), other.as_slice()) {
        Reachability::NoMajority => {
            let others = join_all(others.into_iter().map(|slot| ask(main, slot))).await;
            judge(own.as_ref(), &others.into_iter().flatten().collect::<Vec<_>>())
        }
        standing => standing,
    }
}

/// The view of the owner of a slot; `None` if it is not reported or not allowed.
async fn ask(main: &Addr<RedisActor>, slot: u16) -> Option<View> {
    let question = Frame::known("CLUSTER NODES").own().read_only().when_down(WhenDown::FailFast).timeout(TIME_LIMIT);
    let answer = main.send(Internal(question.on_slot(slot))).await.ok()?.ok()?;
    View::read(&redis::from_redis_value::<String>(answer).ok()?)
}
