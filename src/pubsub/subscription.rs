//! The handle to a subscription.

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

/// Topics on their way from the server to an actor; made by [`Redis::subscribe`]. It ends when it is dropped.
///
/// Each event is handed over when the handlers of those before it have finished, up to 128 at a time; what waits is
/// bounded, see [`SubscribeFuture::buffer`]. An inbox whose actor has ended is unsubscribed within half a second.
#[must_use = "the subscription ends when it is dropped"]
pub struct Subscription {
    addr: Addr<PubSubActor>,
    id: Id,
    db: u32,
    within: Duration,
    tally: Arc<SubscriptionCounters>,
    /// The link lives on the thread of the shared connection, which ends with the last handle.
    redis: Redis,
}

/// What a subscription does, and has done so far; see [`Subscription::stats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionStats {
    /// Messages and events of keys that were handled.
    pub delivered: u64,
    /// Messages dropped because the inbox was slow.
    pub dropped: u64,
    /// Events of keys outside the prefix, which were not delivered.
    pub foreign: u64,
    /// How often the link was lost while a topic was confirmed.
    pub gaps: u64,
    /// Messages that wait or are being handled.
    pub waiting: usize,
    /// Their bytes, about 200 for each included that no payload accounts for.
    pub waiting_bytes: usize,
    /// Whether nothing more comes.
    pub ended: bool,
}

impl Subscription {
    /// Adds topics, and waits until the server has confirmed them. Those that it has already are confirmed at once.
    ///
    /// # Errors
    /// As [`Redis::subscribe`]. None of them is added then, and what was subscribed to before stays.
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

    /// Removes topics. When this returns, no further message of theirs is taken in; those that wait for the inbox
    /// already still come.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the connection has ended.
    ///
    /// # Cancel safety
    /// They are removed in any case.
    pub async fn remove(&self, topics: impl IntoIterator<Item = Topic>) -> Result<()> {
        let names = resolve(topics, self.db)?.into_iter().map(|(name, _)| name).collect();
        let (done, answer) = oneshot::channel();
        self.addr.do_send(Order::Leave { id: self.id, names, done });
        answer.await.map_err(|_| gone())
    }

    /// Ends it. When this returns, nothing more is handed to the inbox; what is in its mailbox already, 128 events at most,
    /// it may still handle. Dropping it does the same without waiting.
    ///
    /// # Cancel safety
    /// It ends in any case.
    pub async fn close(self) {
        let (done, answer) = oneshot::channel();
        self.addr.do_send(Order::Close { id: self.id, done: Some(done) });
        let _ = answer.await;
    }

    /// What it does and has done.
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

/// Topics that were asked for. When nobody waits for their confirmation any more, they are taken back.
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

/// A subscription that is being made; see [`Redis::subscribe`]. Await it.
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

    /// At most so many messages wait for the inbox or are being handled, at least 1. Default 8,192.
    pub fn buffer(mut self, messages: usize) -> Self {
        self.bounds.messages = messages.max(1);
        self
    }

    /// At most so many bytes of messages wait or are being handled. Default 16 MiB. A message that is larger alone is
    /// dropped, or ends the subscription, by its policy.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// What becomes of messages beyond these bounds. Default [`Overflow::DropOldest`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.bounds.overflow = overflow;
        self
    }

    /// How long the server may take to confirm, also when topics are added later. Default the connection's
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
            // From here on dropping it takes everything back.
            let (within, redis) = (self.within, self.redis.clone());
            let subscription = Subscription { addr, id: next(), db, within, tally: tally.clone(), redis };
            let (id, bounds, inbox) = (subscription.id, self.bounds, self.inbox.clone());
            subscription.addr.do_send(Order::Open { id, bounds, inbox, tally });
            match subscription.join(topics.clone()).await {
                Ok(()) => return Ok(subscription),
                // The hub was about to end, because nobody had needed it for long.
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
        f.debug_struct("Subscribing").field("topics", &self.topics.len()).finish_non_exhaustive()
    }
}

/// Ids are never used again: an order for a subscription that is over must not meet another one.
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
        let words = format!("the server did not confirm the subscription within {within:?}");
        return Err(Error::new(ErrorKind::Timeout, fate, words));
    }
    let words = format!("there was no connection to subscribe on within {within:?}");
    let error = Error::new(ErrorKind::Timeout, fate, words);
    // In a cluster that is not known yet there is nobody to connect to.
    let cause = missing.map_or_else(|| redis.status().borrow().cause.clone(), |link| link.cause.clone());
    Err(cause.map_or_else(|| error.clone(), |cause| error.clone().because(&cause)))
}

fn gone() -> Error {
    Error::new(ErrorKind::Closed, Fate::NotSent, "the subscription has ended, by its inbox or with its connection")
}
