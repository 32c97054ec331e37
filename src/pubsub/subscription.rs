//! The handle of a subscription.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{Addr, Recipient};
use tokio::{sync::oneshot, time::timeout};

use super::event::SubscriptionEvent;
use super::topic::Topic;
use crate::client::Redis;
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::{ConnectionState, Status};
use crate::pubsub::actor::{Order, PubSubActor};
use crate::pubsub::backlog::{Bounds, Overflow};
use crate::pubsub::counters::SubscriptionCounters;
use crate::pubsub::machine::{Id, Name};

/// A subscription that sends topics to an actor; created by [`Redis::subscribe`]. It ends when it is dropped.
///
/// Up to 128 events are delivered at a time; further ones wait until earlier handlers have finished. The queue is
/// bounded, see [`SubscribeFuture::buffer`]. An inbox whose actor has ended is unsubscribed within half a second.
#[must_use = "the subscription ends when it is dropped"]
pub struct Subscription {
    addr: Addr<PubSubActor>,
    id: Id,
    db: u32,
    within: Duration,
    tally: Arc<SubscriptionCounters>,
    /// The link runs on the thread of the shared connection, which ends with the last handle.
    redis: Redis,
}

/// Statistics of a subscription; see [`Subscription::stats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionStats {
    /// The number of handled messages and key events.
    pub delivered: u64,
    /// The number of messages that were dropped because the inbox was slow.
    pub dropped: u64,
    /// The number of key events outside the prefix, which were not delivered.
    pub foreign: u64,
    /// How often the link was lost while a topic was confirmed.
    pub gaps: u64,
    /// The number of messages that are queued or being handled.
    pub waiting: usize,
    /// Their size in bytes, including about 200 bytes of overhead for each.
    pub waiting_bytes: usize,
    /// Whether no more events follow.
    pub ended: bool,
}

impl Subscription {
    /// Adds topics, and waits until the server has confirmed them. Existing topics are confirmed immediately.
    ///
    /// # Errors
    /// See [`Redis::subscribe`]. None of them is added then, and existing topics are unchanged.
    ///
    /// # Cancel safety
    /// Dropping the future adds none of them.
    pub async fn add(&self, topics: impl IntoIterator<Item = Topic>) -> Result<()> {
        self.join(resolve(topics, self.db)?).await
    }

    async fn join(&self, topics: Vec<(Name, Topic)>) -> Result<()> {
        let (done, answer) = oneshot::channel();
        let mut asked = PendingConfirmation { addr: &self.addr, id: self.id, request: next(), kept: false };
        self.addr.do_send(Order::Join { id: self.id, request: asked.request, topics, done });
        let outcome = confirmed(answer, self.within, &self.redis).await;
        asked.kept = outcome.is_ok();
        outcome
    }

    /// Removes topics. After this returns no further messages of theirs are queued; those in the queue are still
    /// delivered.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the connection has ended.
    ///
    /// # Cancel safety
    /// The topics are removed even if the future is dropped.
    pub async fn remove(&self, topics: impl IntoIterator<Item = Topic>) -> Result<()> {
        let names = resolve(topics, self.db)?.into_iter().map(|(name, _)| name).collect();
        let (done, answer) = oneshot::channel();
        self.addr.do_send(Order::Leave { id: self.id, names, done });
        answer.await.map_err(|_| gone())
    }

    /// Ends the subscription. After this returns no more events are delivered to the inbox; it may still handle up to
    /// 128 events in its mailbox. Dropping the subscription does the same without waiting.
    ///
    /// # Cancel safety
    /// The subscription ends even if the future is dropped.
    pub async fn close(self) {
        let (done, answer) = oneshot::channel();
        self.addr.do_send(Order::Close { id: self.id, done: Some(done) });
        let _ = answer.await;
    }

    /// The current statistics.
    #[must_use]
    pub fn stats(&self) -> SubscriptionStats {
        let tally = &self.tally;
        SubscriptionStats {
            delivered: tally.delivered.load(Ordering::Relaxed),
            dropped: tally.dropped.load(Ordering::Relaxed),
            foreign: tally.foreign.load(Ordering::Relaxed),
            gaps: tally.gaps.load(Ordering::Relaxed),
            waiting: tally.waiting.load(Ordering::Relaxed),
            waiting_bytes: tally.waiting_bytes.load(Ordering::Relaxed),
            ended: tally.ended.load(Ordering::Acquire) || !self.addr.connected(),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.addr.do_send(Order::Close { id: self.id, done: None });
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Requested topics, which are removed if the caller stops waiting for their confirmation.
struct PendingConfirmation<'a> {
    addr: &'a Addr<PubSubActor>,
    id: Id,
    request: u64,
    kept: bool,
}

impl Drop for PendingConfirmation<'_> {
    fn drop(&mut self) {
        let (id, request) = (self.id, self.request);
        self.addr.do_send(if self.kept { Order::Keep { id, request } } else { Order::Undo { id, request } });
    }
}

/// A subscription that is being created; see [`Redis::subscribe`].
#[must_use = "nothing is subscribed to until it is awaited"]
pub struct SubscribeFuture {
    redis: Redis,
    topics: Vec<Topic>,
    inbox: Recipient<SubscriptionEvent>,
    bounds: Bounds,
    within: Duration,
}

impl SubscribeFuture {
    pub(super) fn new(redis: Redis, topics: Vec<Topic>, inbox: Recipient<SubscriptionEvent>) -> Self {
        let bounds = Bounds { messages: 8192, bytes: 16 * 1024 * 1024, overflow: Overflow::default() };
        let within = redis.config().command_timeout();
        Self { redis, topics, inbox, bounds, within }
    }

    /// Maximum number of messages that are queued or being handled, at least 1. Default 8,192.
    pub fn buffer(mut self, messages: usize) -> Self {
        self.bounds.messages = messages.max(1);
        self
    }

    /// Maximum number of message bytes that are queued or being handled. Default 16 MiB. A single larger message is
    /// dropped or ends the subscription, depending on the policy.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// Sets what happens to messages beyond these limits. Default [`Overflow::DropOldest`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.bounds.overflow = overflow;
        self
    }

    /// Maximum time for the server's confirmation, also for topics that are added later. Default: the connection's
    /// `command_timeout`.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    async fn subscribe(self) -> Result<Subscription> {
        let db = self.redis.config().db();
        let topics = resolve(self.topics, db)?;
        let mut retried = false;
        loop {
            let addr = self.redis.pubsub()?.hub(&self.redis)?;
            let tally = Arc::new(SubscriptionCounters::default());
            // From here on dropping the subscription undoes everything.
            let (within, redis) = (self.within, self.redis.clone());
            let subscription = Subscription { addr, id: next(), db, within, tally: tally.clone(), redis };
            let (id, bounds, inbox) = (subscription.id, self.bounds, self.inbox.clone());
            subscription.addr.do_send(Order::Open { id, bounds, inbox, tally });
            match subscription.join(topics.clone()).await {
                Ok(()) => return Ok(subscription),
                // The actor of the subscriptions was ending after its idle time.
                Err(error) if error.kind() == ErrorKind::Closed && !subscription.addr.connected() && !retried => {
                    retried = true;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl IntoFuture for SubscribeFuture {
    type Output = Result<Subscription>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.subscribe())
    }
}

impl fmt::Debug for SubscribeFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscribeFuture").field("topics", &self.topics.len()).finish_non_exhaustive()
    }
}

/// Ids are not reused, because a late request for an ended subscription must not affect another one.
fn next() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

fn resolve(topics: impl IntoIterator<Item = Topic>, db: u32) -> Result<Vec<(Name, Topic)>> {
    topics.into_iter().map(|topic| Ok((topic.resolve(db)?, topic))).collect()
}

async fn confirmed(answer: oneshot::Receiver<Result<()>>, within: Duration, redis: &Redis) -> Result<()> {
    if let Ok(answer) = timeout(within, answer).await {
        return answer.unwrap_or_else(|_| Err(gone()));
    }
    let links = redis.pubsub().map(|pubsub| pubsub.statuses()).unwrap_or_default();
    let is_ready = |link: &&Status| link.state == ConnectionState::Ready;
    let missing = links.iter().find(|link| !is_ready(link));
    let fate = if links.iter().any(|link| is_ready(&link)) { Fate::Unknown } else { Fate::NotSent };
    if !links.is_empty() && missing.is_none() {
        let words = format!(
            "the server did not confirm the subscription within {within:?}; check the server, or raise within(..)"
        );
        return Err(Error::new(ErrorKind::Timeout, fate, words));
    }
    let words = format!("no connection for the subscription within {within:?}");
    let error = Error::new(ErrorKind::Timeout, fate, words);
    // In a cluster without a known topology there is no link yet.
    let cause = missing.map_or_else(|| redis.status().borrow().cause.clone(), |link| link.cause.clone());
    Err(cause.map_or_else(|| error.clone(), |cause| error.clone().because(&cause)))
}

fn gone() -> Error {
    Error::new(
        ErrorKind::Closed,
        Fate::NotSent,
        "the subscription has ended, because its inbox or its connection ended; subscribe again",
    )
}
