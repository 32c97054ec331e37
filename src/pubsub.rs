//! Subscriptions as users see them, and the one connection that all of them share.

pub(crate) mod actor;
pub(crate) mod backlog;
pub(crate) mod counters;
pub(crate) mod event;
pub(crate) mod machine;
pub(crate) mod subscription;
pub(crate) mod topic;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::{Addr, Recipient, WeakAddr};
use tokio::sync::{oneshot, watch};

use crate::actors::connection::RedisActor;
use crate::client::Redis;
use crate::client::builder::ConnectionSpec;
use crate::dedicated::pool::{LinkRole, Links};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::{ConnectionState, Status};
use crate::pubsub::actor::{NodeConnections, Order, PubSubActor, spawn};
use event::SubscriptionEvent;
use subscription::SubscribeFuture;
use topic::Topic;

/// The connection for subscriptions of one handle: made when it is first needed, and closed when nobody needed it for a
/// while. In a cluster there are more of them, see [`Redis::subscribe`].
pub(crate) struct PubSub {
    spec: ConnectionSpec,
    links: Arc<Links>,
    idle: Duration,
    state: Mutex<HubState>,
}

#[derive(Default)]
struct HubState {
    closed: bool,
    hub: Option<Hub>,
}

struct Hub {
    /// Weak: subscriptions hold it, and without one it ends.
    addr: WeakAddr<PubSubActor>,
    status: watch::Receiver<Status>,
    link: WeakAddr<RedisActor>,
}

impl PubSub {
    /// Connections to single nodes are shown among `links`.
    pub(crate) fn new(spec: ConnectionSpec, links: Arc<Links>, idle: Duration) -> Arc<Self> {
        Arc::new(Self { spec, links, idle, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The actor that keeps the subscriptions, on the thread of `main`.
    pub(crate) fn hub(&self, main: &Redis) -> Result<Addr<PubSubActor>> {
        let mut state = self.state();
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, Fate::NotSent, "the connection was shut down"));
        }
        if let Some(hub) = &state.hub
            && hub.status.borrow().state != ConnectionState::Closed
            && let Some(addr) = hub.addr.upgrade()
        {
            return Ok(addr);
        }
        let (link, seed) = self.spec.make(Vec::new(), None);
        let (status, weak) = (link.status(), link.downgrade());
        let topology = main.shared.topology.clone();
        let ground = NodeConnections { spec: self.spec.clone(), links: self.links.clone(), topology };
        let (addr, start) = spawn(link, seed, ground, main.downgrade(), self.idle);
        state.hub = Some(Hub { addr: addr.downgrade(), status, link: weak });
        main.run(start);
        Ok(addr)
    }

    /// The actor of the link, if there is one.
    pub(crate) fn link(&self) -> Option<Addr<RedisActor>> {
        self.state().hub.as_ref()?.link.upgrade()
    }

    /// How the link does, if there is one.
    pub(crate) fn status(&self) -> Option<Status> {
        let status = self.state().hub.as_ref()?.status.borrow().clone();
        (status.state != ConnectionState::Closed).then_some(status)
    }

    /// What all of its links are doing that were ever needed.
    pub(crate) fn statuses(&self) -> Vec<Status> {
        let shared = self.status().filter(|status| status.state != ConnectionState::Idle);
        shared.into_iter().chain(self.links.attended(LinkRole::Subscriptions)).collect()
    }

    /// Ends every subscription. Returns where it is said that all is over.
    pub(crate) fn close(&self) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state();
        state.closed = true;
        let addr = state.hub.take()?.addr.upgrade()?;
        let (done, over) = oneshot::channel();
        addr.do_send(Order::End(done));
        Some(over)
    }
}

impl fmt::Debug for PubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSub").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Redis {
    /// Sends what is published in these topics to `inbox`, until the [`Subscription`](crate::Subscription) is dropped.
    /// Await it: it resolves when the server has confirmed every topic.
    ///
    /// All subscriptions of a connection share one further connection, on which the server sees each topic once, however
    /// many want it. It is dialled again like the first one; every topic is subscribed to again then, and each inbox is
    /// sent [`SubscriptionEvent::Gap`] between what came before and what comes after.
    ///
    /// In a cluster this connection leads to any node, because the cluster bus takes every message to every node. It leaves a node
    /// that is no member any more, and one that most primaries do not reach, as soon as the nodes say so (after their
    /// `cluster-node-timeout`). A message that the bus loses in less time than that is missed without a gap. A shard channel is told by the
    /// owner of its slot only, and events of keys by the primary that has the key: these take a connection to each such node,
    /// which follows slots that move and primaries that are replaced, with a gap for whoever may have missed something. There
    /// are at most as many as primaries, and [`ConnectionInfo::links`](crate::ConnectionInfo::links) shows them.
    ///
    /// ```no_run
    /// # use actix::prelude::*;
    /// # async fn example(redis: redis_actix::Redis, inbox: Recipient<redis_actix::SubscriptionEvent>) -> redis_actix::Result<()> {
    /// use redis_actix::prelude::*;
    ///
    /// let subscription = redis
    ///     .subscribe([Topic::channel("alerts"), Topic::pattern("news:*"), Topic::shard("orders")], inbox)
    ///     .buffer(1_000)
    ///     .overflow(Overflow::DropNewest)
    ///     .await?;
    /// redis.send(Publish::new("alerts", "hi")).await?;
    /// subscription.add([Topic::channel("later")]).await?;
    /// subscription.close().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Server`] with the server's code when it refuses a topic, as `NOPERM` for a channel that the user
    /// may not read; nothing of this call is subscribed to then, and other subscriptions are not touched.
    /// [`ErrorKind::Refused`] while the server refuses the login, [`ErrorKind::Timeout`] when it did not confirm in
    /// time, [`ErrorKind::InvalidCommand`] for a topic that cannot be kept inside the prefix,
    /// [`ErrorKind::Closed`] after a shutdown.
    ///
    /// # Cancel safety
    /// Dropping the future takes everything back.
    pub fn subscribe(
        &self,
        topics: impl IntoIterator<Item = Topic>,
        inbox: Recipient<SubscriptionEvent>,
    ) -> SubscribeFuture {
        SubscribeFuture::new(self.clone(), topics.into_iter().collect(), inbox)
    }
}
