//! Configuring and starting a consumer.

use std::{
    cell::RefCell,
    hash::{BuildHasher, Hash, RandomState},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::{Addr, Arbiter, ArbiterHandle, Context, Recipient, dev::channel};

use super::consumer::StreamConsumer;
use super::delivery::FromEntry;
use super::events::{ConsumerName, StreamEvent};
use super::inbox::Inbox;
use crate::actors::consumer_engine::{ConsumerEngine, LaneOf, Parts};
use crate::actors::consumer_errands::Errands;
use crate::actors::stream_consumer::{ConsumerActor, Engine};
use crate::core::FOREVER;
use crate::core::consumer::Terms;
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::handle::Redis;
use crate::messages::stream_id::StreamId;
use crate::supervisor::{Fall, Guardian, RestartLimit};

/// No order between entries; see [`StreamConsumerBuilder::ordered_by`].
#[derive(Debug, Clone, Copy)]
pub struct Unordered;

/// Entries with the same key are handled in order; see [`StreamConsumerBuilder::ordered_by`].
pub struct OrderedBy<T>(LaneOf<T>);

impl<T> std::fmt::Debug for OrderedBy<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrderedBy").finish_non_exhaustive()
    }
}

/// How entries with payload `T` are ordered: [`Unordered`], or [`OrderedBy`].
pub trait Ordering<T>: sealed::Ordering<T> {}

mod sealed {
    use crate::actors::consumer_engine::LaneOf;

    pub trait Ordering<T> {
        #[doc(hidden)]
        fn lane(self) -> Option<LaneOf<T>>;
    }
}

impl<T> Ordering<T> for Unordered {}

impl<T> sealed::Ordering<T> for Unordered {
    fn lane(self) -> Option<LaneOf<T>> {
        None
    }
}

impl<T> Ordering<T> for OrderedBy<T> {}

impl<T> sealed::Ordering<T> for OrderedBy<T> {
    fn lane(self) -> Option<LaneOf<T>> {
        Some(self.0)
    }
}

/// Configures a consumer; made by [`StreamConsumer::builder`].
#[must_use = "nothing is consumed until it is started"]
#[derive(Debug)]
pub struct StreamConsumerBuilder<L = Unordered> {
    stream: String,
    group: String,
    consumer: Option<String>,
    start: Option<StreamId>,
    max_in_flight: usize,
    batch: usize,
    max_bytes: usize,
    block: Duration,
    min_idle: Duration,
    handler_deadline: Duration,
    sweep_every: Option<Duration>,
    retry: Vec<Duration>,
    max_deliveries: u64,
    dead_letters: Option<String>,
    events: Vec<Recipient<StreamEvent>>,
    arbiter: Option<ArbiterHandle>,
    limit: RestartLimit,
    ordering: L,
}

impl StreamConsumerBuilder {
    pub(crate) fn new(stream: String, group: String) -> Self {
        Self {
            stream,
            group,
            consumer: None,
            start: Some(StreamId::MIN),
            max_in_flight: 64,
            batch: 128,
            max_bytes: 16 * 1024 * 1024,
            block: Duration::from_secs(2),
            min_idle: Duration::from_secs(30),
            handler_deadline: Duration::from_secs(60),
            sweep_every: None,
            retry: vec![Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)],
            max_deliveries: 5,
            dead_letters: None,
            events: Vec::new(),
            arbiter: None,
            limit: RestartLimit::default(),
            ordering: Unordered,
        }
    }

    /// Handles entries with the same key one after the other, in the order of the stream, while those of
    /// other keys go side by side. An entry that is retried holds up those behind it. The order holds within
    /// this consumer: what others of the group read is theirs.
    pub fn ordered_by<T, K: Hash>(self, key: impl Fn(&T) -> K + Send + 'static) -> StreamConsumerBuilder<OrderedBy<T>> {
        let hasher = RandomState::new();
        let ordering = OrderedBy(Box::new(move |payload: &T| hasher.hash_one(key(payload))) as LaneOf<T>);
        let Self { stream, group, consumer, start, max_in_flight, batch, max_bytes, block, .. } = self;
        let Self { min_idle, handler_deadline, sweep_every, retry, max_deliveries, dead_letters, .. } = self;
        let Self { events, arbiter, limit, .. } = self;
        StreamConsumerBuilder {
            stream,
            group,
            consumer,
            start,
            max_in_flight,
            batch,
            max_bytes,
            block,
            min_idle,
            handler_deadline,
            sweep_every,
            retry,
            max_deliveries,
            dead_letters,
            events,
            arbiter,
            limit,
            ordering,
        }
    }
}

impl<L> StreamConsumerBuilder<L> {
    /// Names the consumer. The name should be the same after a restart, so that what was pending for it is
    /// delivered again at once, and no two processes may share one. Default: program, host and process id,
    /// whose pending entries others take over after `min_idle`.
    pub fn consumer(mut self, name: impl Into<String>) -> Self {
        self.consumer = Some(name.into());
        self
    }

    /// Where the group begins if it has to be made: behind this entry. Default [`StreamId::MIN`]: nothing is
    /// skipped.
    pub fn start_after(mut self, id: StreamId) -> Self {
        self.start = Some(id);
        self
    }

    /// Lets the group begin with what is added from now on, if it has to be made. What the stream has by
    /// then is never delivered, also when the group was lost and is made again.
    pub fn start_at_end(mut self) -> Self {
        self.start = None;
        self
    }

    /// How many handlers may work at once, at least 1. Default 64.
    pub fn max_in_flight(mut self, handlers: usize) -> Self {
        self.max_in_flight = handlers.max(1);
        self
    }

    /// How many entries are read at once and wait for a handler, 1 to 10,000. Default 128.
    pub fn batch(mut self, entries: usize) -> Self {
        self.batch = entries.clamp(1, 10_000);
        self
    }

    /// How many bytes of fields may be in hand; one entry is always let through. Default 16 MiB.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes.max(1);
        self
    }

    /// How long one read waits for entries, 10 ms to 60 s. Default 2 s. New entries come at once in any case;
    /// this bounds how long a dead link goes unnoticed.
    pub fn block(mut self, longest: Duration) -> Self {
        self.block = longest.clamp(Duration::from_millis(10), Duration::from_secs(60));
        self
    }

    /// After how long without a sign of life an entry is taken from its consumer, at least 50 ms. Default
    /// 30 s. All consumers of a group should have the same. Handlers may take longer: while they work, the
    /// lease on their entries is renewed.
    pub fn min_idle(mut self, idle: Duration) -> Self {
        self.min_idle = idle.max(Duration::from_millis(50));
        self
    }

    /// How long a handler may take, at least 1 ms; [`Delivery::progress`](crate::Delivery::progress) begins
    /// it anew. Then its entry is retried and its slot is free. Default 60 s.
    pub fn handler_deadline(mut self, deadline: Duration) -> Self {
        self.handler_deadline = deadline.max(Duration::from_millis(1));
        self
    }

    /// How often, with jitter of a quarter, to look for entries that others have left, at least 10 ms.
    /// Default half of `min_idle`, at most 2 s.
    pub fn sweep_every(mut self, pause: Duration) -> Self {
        self.sweep_every = Some(pause.max(Duration::from_millis(10)));
        self
    }

    /// The delays before the second, third, .. delivery; the last one repeats. A delay longer than
    /// `min_idle` holds only while this consumer lives. Default 1 s, 5 s, 30 s; none is no delay.
    pub fn retry(mut self, delays: impl IntoIterator<Item = Duration>) -> Self {
        self.retry = delays.into_iter().collect();
        self
    }

    /// How often an entry is delivered before it goes to the dead letters, at least once. Default 5.
    pub fn max_deliveries(mut self, deliveries: u64) -> Self {
        self.max_deliveries = deliveries.max(1);
        self
    }

    /// The stream for entries that cannot be handled; it gets the key prefix. Default: the stream's name
    /// with `:dlq` after it. On a cluster both must be in one slot: name the stream with a hash tag, as
    /// `{orders}`, and this one `{orders}:dlq`.
    pub fn dead_letter(mut self, stream: impl Into<String>) -> Self {
        self.dead_letters = Some(stream.into());
        self
    }

    /// Sends every event of the consumer to `recipient`. It is let go of when its actor ends or the consumer
    /// is closed.
    pub fn on_event(mut self, recipient: Recipient<StreamEvent>) -> Self {
        self.events.push(recipient);
        self
    }

    /// Runs the consumer on this arbiter instead of the current one.
    pub fn arbiter(mut self, arbiter: ArbiterHandle) -> Self {
        self.arbiter = Some(arbiter);
        self
    }

    /// Sets how often the consumer may fall before its supervisor gives up.
    pub fn restarts(mut self, limit: RestartLimit) -> Self {
        self.limit = limit;
        self
    }

    /// Starts the consumer. Never blocks, and needs no server. `redis` carries acknowledgements and all else
    /// but reads, for which the consumer has a connection of its own with the same configuration.
    ///
    /// # Errors
    /// When a name is empty, when there is no actix arbiter to run on, or the arbiter has ended.
    pub fn start<T: FromEntry>(self, redis: &Redis, handler: impl Inbox<T>) -> Result<StreamConsumer>
    where
        L: Ordering<T>,
    {
        let consumer = self.consumer.clone().unwrap_or_else(default_name);
        if self.stream.is_empty() || self.group.is_empty() || consumer.is_empty() {
            return Err(config_error("the stream, the group and the consumer of a stream consumer need a name"));
        }
        let arbiter = self.arbiter.clone().or_else(Arbiter::try_current).ok_or_else(|| {
            config_error("there is no actix system on this thread; start inside #[actix::main], or name an arbiter")
        })?;
        let name = ConsumerName { stream: self.stream.into(), group: self.group.into(), consumer: consumer.into() };
        // The random part tells this link from any other that a restarted server may give the same number.
        let base = redis.config().client_name().unwrap_or("redis-actix");
        let reader_name = format!("{base}-reader-{:08x}", fastrand::u32(..));
        let reader =
            redis.sibling(&reader_name).near(redis.beside(name.stream.as_bytes())).arbiter(arbiter.clone()).start()?;
        let sweep_every = self.sweep_every.unwrap_or((self.min_idle / 2).min(Duration::from_secs(2)));
        let terms = Terms {
            max_in_flight: self.max_in_flight,
            batch: self.batch,
            max_bytes: self.max_bytes,
            block: self.block.min(FOREVER),
            min_idle: self.min_idle.min(FOREVER),
            handler_deadline: self.handler_deadline.min(FOREVER),
            sweep_every: sweep_every.min(FOREVER),
            retry: self.retry,
            max_deliveries: self.max_deliveries,
        };
        let dead_letters = self.dead_letters.unwrap_or_else(|| format!("{}:dlq", name.stream));
        let errands = Errands {
            control: redis.clone(),
            reader,
            name: name.clone(),
            dead_letters,
            start: self.start,
            reader_name,
        };
        let parts = Parts {
            terms,
            errands: Arc::new(errands),
            inbox: Box::new(handler),
            lane: self.ordering.lane(),
            events: self.events,
        };
        // Zero makes the mailbox unbounded: orders are few, and must keep their order.
        let (sender, receiver) = channel::channel::<ConsumerActor>(0);
        let limit = self.limit;
        let placed = arbiter.spawn_fn(move || {
            actix::spawn(grow(parts, receiver, limit));
        });
        if placed {
            Ok(StreamConsumer::assemble(Addr::new(sender), name))
        } else {
            Err(config_error("the arbiter has ended; start on one that runs"))
        }
    }
}

async fn grow<T: FromEntry>(parts: Parts<T>, receiver: channel::AddressReceiver<ConsumerActor>, limit: RestartLimit) {
    let engine: Rc<RefCell<Box<dyn Engine>>> = Rc::new(RefCell::new(Box::new(ConsumerEngine::new(parts))));
    let actor = Context::with_receiver(receiver).into_future(ConsumerActor::new(engine.clone()));
    let falls = engine.clone();
    Guardian::new(actor, limit, move |fall| match fall {
        Fall::Restart(_, reason) => falls.borrow_mut().restarted(reason),
        Fall::GiveUp(_) => falls.borrow_mut().abort(),
    })
    .await;
    engine.borrow_mut().abort();
}

fn default_name() -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    let host = std::env::var("HOSTNAME").ok().or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    let host = host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
    let (program, host) = (program.as_deref().unwrap_or("redis-actix"), host.as_deref().unwrap_or("localhost"));
    format!("{program}@{host}:{}", std::process::id())
}

fn config_error(words: &'static str) -> Error {
    Error::new(ErrorKind::Config, Fate::NotSent, words)
}
