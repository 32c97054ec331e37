//! Configuring and starting a consumer.

use std::{
    cell::RefCell,
    hash::{BuildHasher, Hash, RandomState},
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::{Addr, Arbiter, ArbiterHandle, Context, Recipient, dev::channel};
use futures_util::future::select;

use super::consumer::StreamConsumer;
use super::dead_letters::DeadLetters;
use super::delivery::FromEntry;
use super::events::{ConsumerName, StreamEvent};
use super::extras::Extras;
use super::inbox::{BatchInbox, Inbox, sealed::Inbox as AnyInbox};
use super::scheduled::{Mover, Scheduled};
use crate::actors::consumer_denials::Denials;
use crate::actors::consumer_engine::LaneOf;
use crate::actors::consumer_errands::Errands;
use crate::actors::consumer_fleet::Parts;
use crate::actors::stream_consumer::{ConsumerActor, Engine};
use crate::core::FOREVER;
use crate::core::consumer::{Terms, ground::Start};
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
    stall_after: Duration,
    forget_after: Option<Duration>,
    events: Vec<Recipient<StreamEvent>>,
    arbiter: Option<ArbiterHandle>,
    limit: RestartLimit,
    pub(super) extras: Extras,
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
            stall_after: Duration::from_secs(60),
            forget_after: Some(Duration::from_secs(24 * 3600)),
            events: Vec::new(),
            arbiter: None,
            limit: RestartLimit::default(),
            extras: Extras::default(),
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
        let Self { stall_after, forget_after, events, arbiter, limit, extras, .. } = self;
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
            stall_after,
            forget_after,
            events,
            arbiter,
            limit,
            extras,
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
    /// then is never delivered. A group that is lost while this consumer runs begins where it was instead.
    pub fn start_at_end(mut self) -> Self {
        self.start = None;
        self
    }

    /// How many entries may be with handlers at once, at least 1. Default 64. A handler of batches may have at
    /// least one whole batch.
    pub fn max_in_flight(mut self, handlers: usize) -> Self {
        self.max_in_flight = handlers.max(1);
        self
    }

    /// How many entries are read at once and wait for a handler, and how many a handler of batches gets at once at
    /// most, 1 to 10,000. Default 128.
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
    /// with `:dlq` after it, for each stream that it reads. On a cluster both must be in one slot: name the stream with a hash tag, as
    /// `{orders}`, and this one `{orders}:dlq`.
    pub fn dead_letter(mut self, stream: impl Into<String>) -> Self {
        self.dead_letters = Some(stream.into());
        self
    }

    /// How long the group may have entries to read while a read waits in vain, at least 10 ms, before that is told
    /// and the link given up for a new one; ever longer when that does not help. Default 60 s.
    pub fn stall_after(mut self, limit: Duration) -> Self {
        self.stall_after = limit.max(Duration::from_millis(10));
        self
    }

    /// Removes other consumers from the group that have nothing pending and gave no sign of life for so long, at
    /// least a second: a name that comes back is made anew. Default one day; `None` removes none.
    pub fn forget_after(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.forget_after = idle.into().map(|idle| idle.max(Duration::from_secs(1)));
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
        self.begin(redis, handler)
    }

    /// As [`start`](Self::start), for a handler of [`Batch<T>`](crate::Batch): one message for up to
    /// [`batch`](Self::batch) entries, and one answer.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_batches<T: FromEntry>(self, redis: &Redis, handler: impl BatchInbox<T>) -> Result<StreamConsumer>
    where
        L: Ordering<T>,
    {
        self.begin(redis, handler)
    }

    fn begin<T: FromEntry>(self, redis: &Redis, handler: impl AnyInbox<T>) -> Result<StreamConsumer>
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
        let sweep_every = self.sweep_every.unwrap_or((self.min_idle / 2).min(Duration::from_secs(2)));
        let lane = self.ordering.lane();
        // A batch is whole only if the handler may have all of it.
        let max_in_flight =
            if handler.takes_batches() { self.max_in_flight.max(self.batch) } else { self.max_in_flight };
        let terms = Terms {
            max_in_flight,
            batch: self.batch,
            max_bytes: self.max_bytes,
            block: self.block.min(FOREVER),
            min_idle: self.min_idle.min(FOREVER),
            handler_deadline: self.handler_deadline.min(FOREVER),
            sweep_every: sweep_every.min(FOREVER),
            retry: self.retry,
            max_deliveries: self.max_deliveries,
            ordered: lane.is_some(),
            stall_after: self.stall_after.min(FOREVER),
            look_every: (self.stall_after / 4).clamp(Duration::from_millis(5), Duration::from_secs(1)),
            forget_after: self.forget_after,
        };
        let group: Arc<str> = self.group.into();
        let consumer: Arc<str> = consumer.into();
        let mut streams = Vec::new();
        for (stream, weight) in self.extras.streams(self.stream) {
            let name = ConsumerName { stream: stream.into(), group: group.clone(), consumer: consumer.clone() };
            // The random part tells this link from any other that a restarted server may give the same number.
            let base = redis.config().client_name().unwrap_or("redis-actix");
            let reader_name = format!("{base}-reader-{:08x}", fastrand::u32(..));
            let reader =
                redis.sibling(&reader_name)?.beside(name.stream.as_bytes()).arbiter(arbiter.clone()).start()?;
            let dead_letters = self.dead_letters.clone().unwrap_or_else(|| DeadLetters::usual_place(&name.stream));
            let errands = Errands {
                control: redis.at_primary(),
                reader,
                name,
                dead_letters,
                start: self.start.map_or(Start::End, Start::After),
                reader_name,
                delete_acknowledged: self.extras.delete_acknowledged,
                denials: Denials::default(),
                handler_deadline: terms.handler_deadline,
            };
            streams.push((Arc::new(errands), weight));
        }
        let Some((first, _)) = streams.first() else { return Err(config_error("a consumer needs a stream")) };
        let name = first.name.clone();
        let dead_letters = DeadLetters::new(redis, &*name.stream, &*name.group).stored_in(&first.dead_letters);
        let scheduled = streams.iter().map(|(errands, _)| Scheduled::new(redis, &*errands.name.stream)).collect();
        let mover = Mover::new(scheduled, self.extras.scheduled_every);
        let parts = Parts { terms, streams, inbox: Box::new(handler), lane, events: self.events };
        // Zero makes the mailbox unbounded: orders are few, and must keep their order.
        let (sender, receiver) = channel::channel::<ConsumerActor>(0);
        let limit = self.limit;
        let placed = arbiter.spawn_fn(move || {
            actix::spawn(grow(parts, mover, receiver, limit));
        });
        if placed {
            Ok(StreamConsumer::assemble(Addr::new(sender), name, dead_letters))
        } else {
            Err(config_error("the arbiter has ended; start on one that runs"))
        }
    }
}

async fn grow<T: FromEntry>(
    parts: Parts<T>,
    mover: Mover,
    receiver: channel::AddressReceiver<ConsumerActor>,
    limit: RestartLimit,
) {
    let engine: Rc<RefCell<Box<dyn Engine>>> = Rc::new(RefCell::new(parts.into_engine()));
    let actor = Context::with_receiver(receiver).into_future(ConsumerActor::new(engine.clone()));
    let falls = engine.clone();
    let guardian = Guardian::new(actor, limit, move |fall| match fall {
        Fall::Restart(_, reason) => falls.borrow_mut().restarted(reason),
        Fall::GiveUp(_) => falls.borrow_mut().abort(),
    });
    select(pin!(guardian), pin!(mover.run())).await;
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
