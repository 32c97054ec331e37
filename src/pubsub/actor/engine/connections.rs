//! The links: made where somebody is needed who can tell of a topic, and ended when nobody is.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::isolation::Checks;
use super::queries::Notifications;
use super::{Connect, Engine, Sever};
use crate::client::Redis;
use crate::client::builder::Seed;
use crate::cluster::topology::{Picture, Topology};
use crate::config::{Address, HostPort};
use crate::dedicated::pool::LinkRole;
use crate::error::Fate;
use crate::events::{Cause, ConnectionEvent};
use crate::pubsub::machine::Name;
use crate::pubsub::machine::router::{ANYWHERE, Change, Spot};

/// One link.
pub(super) struct Place {
    pub(super) redis: Redis,
    /// Of a cluster, unless any node will do.
    pub(super) node: Option<HostPort>,
    /// Of the link that is there now.
    pub(super) generation: Option<u64>,
    pub(super) protocol: u8,
    pub(super) notifications: Notifications,
    /// Why there will be no link for a while.
    trouble: Option<Cause>,
}

impl Place {
    pub(super) fn new(redis: Redis, node: Option<HostPort>) -> Self {
        Self { redis, node, generation: None, protocol: 0, notifications: Notifications::Unknown, trouble: None }
    }
}

type Seen = Option<watch::Receiver<Arc<Picture>>>;

/// How the cluster looks, whenever that changes.
pub(super) struct Pictures(Pin<Box<dyn Future<Output = Seen>>>);

impl Pictures {
    pub(super) fn of(topology: &Topology) -> Self {
        let mut pictures = topology.pictures();
        // The first one may be there already.
        pictures.mark_changed();
        Self::next(pictures)
    }

    fn next(mut pictures: watch::Receiver<Arc<Picture>>) -> Self {
        Self(Box::pin(async move { pictures.changed().await.is_ok().then_some(pictures) }))
    }
}

impl Engine {
    /// The links that have to be given an actor.
    pub(crate) fn seeds(&mut self) -> Vec<(Spot, Seed)> {
        std::mem::take(&mut self.seeds)
    }

    /// A link came or went.
    pub(crate) fn told(&mut self, spot: Spot, event: &ConnectionEvent, protocol: u8, address: Option<&Address>) {
        let Some(place) = self.places.get_mut(&spot) else { return };
        match event {
            ConnectionEvent::Connected { generation, .. } => {
                (place.generation, place.protocol, place.trouble) = (Some(*generation), protocol, None);
                place.notifications = Notifications::Unknown;
                let endpoint = match address {
                    Some(Address::Tcp(endpoint)) if self.ground.topology.is_some() => Some(endpoint),
                    _ => None,
                };
                self.spread.linked(spot, *generation);
                if spot == ANYWHERE {
                    self.checks = Checks::begin(endpoint.cloned(), Instant::now());
                }
                for member in self.members.values_mut() {
                    if member.topics.keys().any(|name| self.spread.is_at(name, spot)) {
                        member.is_patient_again(Instant::now());
                    }
                }
                self.check_notifications(spot);
            }
            ConnectionEvent::Disconnected { generation, cause, .. } => self.lost(spot, *generation, cause),
            ConnectionEvent::Refused { cause, .. } => {
                place.trouble = Some(cause.clone());
                self.fail_at(spot, cause);
            }
            ConnectionEvent::Closed { cause } => self.end(cause.clone(), None),
            _ => {}
        }
        self.waker.wake_by_ref();
    }

    /// The links that are to tell of these and are not there, each with the reason if it will not be there soon.
    pub(super) fn troubles(&self, names: &[Name]) -> Vec<(Spot, Option<Cause>)> {
        let lacks = |spot: &Spot| names.iter().any(|name| self.spread.is_at(name, *spot));
        let missing = self.places.iter().filter(|(spot, place)| place.generation.is_none() && lacks(spot));
        missing.map(|(spot, place)| (*spot, place.trouble.clone())).collect()
    }

    pub(super) fn connect(&self, spot: Spot) {
        if let Some(place) = self.places.get(&spot) {
            place.redis.address().do_send(Connect);
        }
    }

    /// Whoever waits for what that link is to tell waits in vain.
    pub(super) fn fail_at(&mut self, spot: Spot, cause: &Cause) {
        let error = cause.error(Fate::NotSent);
        let Self { spread, members, .. } = self;
        let fail = |name: &Name| spread.is_at(name, spot);
        let left: Vec<_> = members.iter_mut().map(|(id, member)| (*id, member.fail_where(fail, &error))).collect();
        for (id, names) in left {
            self.leave(id, &names);
        }
    }

    /// Makes and ends the links that have to be, and looks for them.
    pub(super) fn follow_changes(&mut self) {
        for change in self.spread.changes() {
            match change {
                Change::Open(spot, node) => self.open(spot, node),
                Change::Close(spot) => {
                    self.members.values_mut().for_each(|member| member.forget(spot));
                    if let Some(place) = self.places.remove(&spot) {
                        actix::spawn(async move {
                            let _ = place.redis.shutdown(Duration::ZERO).await;
                        });
                    }
                }
            }
        }
        if self.spread.is_astray()
            && let Some(topology) = &self.ground.topology
        {
            topology.look();
        }
    }

    pub(super) fn disconnect(&self, spot: Spot, why: &'static str) {
        if let Some(place) = self.places.get(&spot) {
            place.redis.address().do_send(Sever(why));
        }
    }

    fn open(&mut self, spot: Spot, node: HostPort) {
        let (redis, seed) = self.ground.plan.at(&node).make(Vec::new(), None);
        self.ground.links.attend(LinkRole::Subscriptions, node.to_string(), &redis);
        redis.address().do_send(Connect);
        self.seeds.push((spot, seed));
        self.places.insert(spot, Place::new(redis, Some(node)));
        self.waker.wake_by_ref();
    }

    /// Returns whether something has changed.
    pub(super) fn poll_places(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = self.take_revoked();
        if let Some(Pictures(next)) = &mut self.pictures
            && let Poll::Ready(seen) = next.as_mut().poll(cx)
        {
            busy = true;
            let picture = seen.as_ref().map(|pictures| pictures.borrow().clone());
            self.pictures = seen.map(Pictures::next);
            let hurt = picture.map_or_else(BTreeSet::new, |picture| self.spread.looks(&picture.map, Instant::now()));
            self.hurt_by_change(&hurt);
            for spot in self.places.keys().copied().filter(|spot| *spot != ANYWHERE).collect::<Vec<_>>() {
                self.check_notifications(spot);
            }
        }
        self.follow_changes();
        busy
    }
}
