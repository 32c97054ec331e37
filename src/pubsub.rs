//! Subscriptions, and the connection that they share.

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

/// The subscription connection of one handle: opened on demand, and closed after an idle time. A cluster may need
/// further connections, see [`Redis::subscribe`].
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
    /// Weak, because subscriptions hold the address, and the actor ends without any.
    addr: WeakAddr<PubSubActor>,
    status: watch::Receiver<Status>,
    link: WeakAddr<RedisActor>,
}

impl PubSub {
    /// Connections to single nodes are listed in `links`.
    pub(crate) fn new(spec: ConnectionSpec, links: Arc<Links>, idle: Duration) -> Arc<Self> {
        Arc::new(Self { spec, links, idle, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The actor of the subscriptions, on the thread of `main`.
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

    /// The status of the link, if there is one.
    pub(crate) fn status(&self) -> Option<Status> {
        let status = self.state().hub.as_ref()?.status.borrow().clone();
        (status.state != ConnectionState::Closed).then_some(status)
    }

    /// The status of all links that were ever opened.
    pub(crate) fn statuses(&self) -> Vec<Status> {
        let shared = self.status().filter(|status| status.state != ConnectionState::Idle);
        shared.into_iter().chain(self.links.attended(LinkRole::Subscriptions)).collect()
    }

    /// Ends every subscription. Returns a receiver that is notified after the end.
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
    /// Sends the messages of these topics to `inbox`, until the [`Subscription`](crate::Subscription) is dropped. The
    /// future completes after the server has confirmed every topic.
    ///
    /// All subscriptions of a handle share one additional connection, and the server sees each topic once, regardless
    /// of the number of subscribers. It reconnects like the main connection. Every topic is then subscribed again,
    /// and each inbox receives [`SubscriptionEvent::Gap`] between the earlier and the later messages.
    ///
    /// In a cluster this connection uses any node, because the cluster bus sends every message to every node. It
    /// leaves a node that is no longer a member, and one that most primaries cannot reach, as soon as the nodes
    /// report it (after their `cluster-node-timeout`). A message that the bus loses in a shorter time is missed
    /// without a gap. Messages of a shard channel are available only from the owner of its slot, and key events only
    /// from the primary that has the key. These topics use one connection to each such node. The connections follow
    /// moved slots and replaced primaries, with a gap for subscribers that may have missed messages. There are no
    /// more of them than primaries, and [`ConnectionInfo::links`](crate::ConnectionInfo::links) lists them.
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
    /// [`ErrorKind::Server`] with the server's code if it refuses a topic, such as `NOPERM` for a channel that the
    /// user may not read; then no topic of this call is subscribed, and other subscriptions are unchanged.
    /// [`ErrorKind::Refused`] while the server refuses the login, [`ErrorKind::Timeout`] if it did not confirm in
    /// time, [`ErrorKind::InvalidCommand`] for a topic that cannot be restricted to the prefix, [`ErrorKind::Closed`]
    /// after a shutdown.
    ///
    /// # Cancel safety
    /// Dropping the future undoes all of it.
    pub fn subscribe(
        &self,
        topics: impl IntoIterator<Item = Topic>,
        inbox: Recipient<SubscriptionEvent>,
    ) -> SubscribeFuture {
        SubscribeFuture::new(self.clone(), topics.into_iter().collect(), inbox)
    }
}
