//! The links: opened if a topic needs their node, and closed if no topic does.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::isolation::IsolationChecks;
use super::queries::Notifications;
use super::{Connect, Disconnect, Engine};
use crate::client::Redis;
use crate::client::builder::PreparedActor;
use crate::cluster::topology::{Topology, TopologySnapshot};
use crate::config::{Address, HostPort};
use crate::dedicated::pool::LinkRole;
use crate::error::Fate;
use crate::events::{Cause, ConnectionEvent};
use crate::pubsub::machine::Name;
use crate::pubsub::machine::router::{ANYWHERE, LinkChange, LinkId};

/// One link.
pub(super) struct SubscriptionLink {
    pub(super) redis: Redis,
    /// The node, in a cluster; `None` if any node will do.
    pub(super) node: Option<HostPort>,
    /// The generation of the current link.
    pub(super) generation: Option<u64>,
    pub(super) protocol: u8,
    pub(super) notifications: Notifications,
    /// The cause, if there will be no link for a while.
    trouble: Option<Cause>,
}

impl SubscriptionLink {
    pub(super) fn new(redis: Redis, node: Option<HostPort>) -> Self {
        Self { redis, node, generation: None, protocol: 0, notifications: Notifications::Unknown, trouble: None }
    }
}

type SnapshotReceiver = Option<watch::Receiver<Arc<TopologySnapshot>>>;

/// Waits for changes of the topology.
pub(super) struct TopologyChanges(Pin<Box<dyn Future<Output = SnapshotReceiver>>>);

impl TopologyChanges {
    pub(super) fn of(topology: &Topology) -> Self {
        let mut topology_changes = topology.topology_changes();
        // The first topology may be known already.
        topology_changes.mark_changed();
        Self::next(topology_changes)
    }

    fn next(mut topology_changes: watch::Receiver<Arc<TopologySnapshot>>) -> Self {
        Self(Box::pin(async move { topology_changes.changed().await.is_ok().then_some(topology_changes) }))
    }
}

impl Engine {
    /// Takes the links for which an actor must be spawned.
    pub(crate) fn seeds(&mut self) -> Vec<(LinkId, PreparedActor)> {
        std::mem::take(&mut self.seeds)
    }

    /// Handles a lost or established link.
    pub(crate) fn on_event(
        &mut self,
        link_id: LinkId,
        event: &ConnectionEvent,
        protocol: u8,
        address: Option<&Address>,
    ) {
        let Some(place) = self.places.get_mut(&link_id) else { return };
        match event {
            ConnectionEvent::Connected { generation, .. } => {
                (place.generation, place.protocol, place.trouble) = (Some(*generation), protocol, None);
                place.notifications = Notifications::Unknown;
                let endpoint = match address {
                    Some(Address::Tcp(endpoint)) if self.node_connections.topology.is_some() => Some(endpoint),
                    _ => None,
                };
                self.subscription_router.linked(link_id, *generation);
                if link_id == ANYWHERE {
                    self.checks = IsolationChecks::begin(endpoint.cloned(), Instant::now());
                }
                for member in self.members.values_mut() {
                    if member.topics.keys().any(|name| self.subscription_router.is_at(name, link_id)) {
                        member.has_recovered_in_time(Instant::now());
                    }
                }
                self.check_notifications(link_id);
            }
            ConnectionEvent::Disconnected { generation, cause, .. } => self.lost(link_id, *generation, cause),
            ConnectionEvent::Refused { cause, .. } => {
                place.trouble = Some(cause.clone());
                self.fail_at(link_id, cause);
            }
            ConnectionEvent::Closed { cause } => self.end(cause.clone(), None),
            _ => {}
        }
        self.waker.wake_by_ref();
    }

    /// The missing links that are needed for these topics, with the cause of a longer outage.
    pub(super) fn troubles(&self, names: &[Name]) -> Vec<(LinkId, Option<Cause>)> {
        let lacks = |link_id: &LinkId| names.iter().any(|name| self.subscription_router.is_at(name, *link_id));
        let missing = self.places.iter().filter(|(link_id, place)| place.generation.is_none() && lacks(link_id));
        missing.map(|(link_id, place)| (*link_id, place.trouble.clone())).collect()
    }

    pub(super) fn connect(&self, link_id: LinkId) {
        if let Some(place) = self.places.get(&link_id) {
            place.redis.address().do_send(Connect);
        }
    }

    /// Fails the requests that need this link.
    pub(super) fn fail_at(&mut self, link_id: LinkId, cause: &Cause) {
        let error = cause.error(Fate::NotSent);
        let Self { subscription_router, members, .. } = self;
        let fail = |name: &Name| subscription_router.is_at(name, link_id);
        let left: Vec<_> = members.iter_mut().map(|(id, member)| (*id, member.fail_where(fail, &error))).collect();
        for (id, names) in left {
            self.leave(id, &names);
        }
    }

    /// Opens and closes links as decided by the router.
    pub(super) fn follow_changes(&mut self) {
        for change in self.subscription_router.changes() {
            match change {
                LinkChange::Open(link_id, node) => self.open(link_id, node),
                LinkChange::Close(link_id) => {
                    self.members.values_mut().for_each(|member| member.forget(link_id));
                    if let Some(place) = self.places.remove(&link_id) {
                        actix::spawn(async move {
                            let _ = place.redis.shutdown(Duration::ZERO).await;
                        });
                    }
                }
            }
        }
        if self.subscription_router.take_outdated()
            && let Some(topology) = &self.node_connections.topology
        {
            topology.refresh_topology();
        }
    }

    pub(super) fn disconnect(&self, link_id: LinkId, why: &'static str) {
        if let Some(place) = self.places.get(&link_id) {
            place.redis.address().do_send(Disconnect(why));
        }
    }

    fn open(&mut self, link_id: LinkId, node: HostPort) {
        let (redis, seed) = self.node_connections.spec.at(&node).make(Vec::new(), None);
        self.node_connections.links.attend(LinkRole::Subscriptions, node.to_string(), &redis);
        redis.address().do_send(Connect);
        self.seeds.push((link_id, seed));
        self.places.insert(link_id, SubscriptionLink::new(redis, Some(node)));
        self.waker.wake_by_ref();
    }

    /// Returns whether the topology changed.
    pub(super) fn poll_places(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = self.take_revoked();
        if let Some(TopologyChanges(next)) = &mut self.topology_changes
            && let Poll::Ready(seen) = next.as_mut().poll(cx)
        {
            busy = true;
            let snapshot = seen.as_ref().map(|topology_changes| topology_changes.borrow().clone());
            self.topology_changes = seen.map(TopologyChanges::next);
            let hurt = snapshot.map_or_else(BTreeSet::new, |snapshot| {
                self.subscription_router.apply_topology(&snapshot.map, Instant::now())
            });
            self.hurt_by_change(&hurt);
            for link_id in self.places.keys().copied().filter(|link_id| *link_id != ANYWHERE).collect::<Vec<_>>() {
                self.check_notifications(link_id);
            }
        }
        self.follow_changes();
        busy
    }
}
