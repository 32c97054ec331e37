//! What a consumer may be told before it is started.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    time::Duration,
};

use actix::{ArbiterHandle, Recipient};

use super::events::StreamEvent;
use super::extras::Extras;
use crate::messages::stream_id::StreamId;
use crate::streams::engine::OrderingKeyFn;
use crate::supervisor::RestartLimit;

/// No order between entries; see [`StreamConsumerBuilder::ordered_by`].
#[derive(Debug, Clone, Copy)]
pub struct Unordered;

/// Entries with the same key are handled in order; see [`StreamConsumerBuilder::ordered_by`].
pub struct OrderedBy<T>(OrderingKeyFn<T>);

impl<T> std::fmt::Debug for OrderedBy<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrderedBy").finish_non_exhaustive()
    }
}

/// How entries with payload `T` are ordered: [`Unordered`], or [`OrderedBy`].
pub trait Ordering<T>: sealed::Ordering<T> {}

mod sealed {
    use crate::streams::engine::OrderingKeyFn;

    pub trait Ordering<T> {
        #[doc(hidden)]
        fn order_key(self) -> Option<OrderingKeyFn<T>>;
    }
}

impl<T> Ordering<T> for Unordered {}

impl<T> sealed::Ordering<T> for Unordered {
    fn order_key(self) -> Option<OrderingKeyFn<T>> {
        None
    }
}

impl<T> Ordering<T> for OrderedBy<T> {}

impl<T> sealed::Ordering<T> for OrderedBy<T> {
    fn order_key(self) -> Option<OrderingKeyFn<T>> {
        Some(self.0)
    }
}

/// Configures a consumer; made by [`StreamConsumer::builder`](crate::StreamConsumer::builder).
#[must_use = "nothing is consumed until it is started"]
#[derive(Debug)]
pub struct StreamConsumerBuilder<L = Unordered> {
    pub(super) stream: String,
    pub(super) group: String,
    pub(super) consumer: Option<String>,
    pub(super) start: Option<StreamId>,
    pub(super) max_in_flight: usize,
    pub(super) batch: usize,
    pub(super) max_bytes: usize,
    pub(super) block: Duration,
    pub(super) min_idle: Duration,
    pub(super) handler_deadline: Duration,
    pub(super) sweep_every: Option<Duration>,
    pub(super) retry: Vec<Duration>,
    pub(super) max_deliveries: u64,
    pub(super) dead_letters: Option<String>,
    pub(super) stall_after: Duration,
    pub(super) forget_after: Option<Duration>,
    pub(super) events: Vec<Recipient<StreamEvent>>,
    pub(super) arbiter: Option<ArbiterHandle>,
    pub(super) limit: RestartLimit,
    pub(super) extras: Extras,
    pub(super) ordering: L,
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
        let ordering = OrderedBy(Box::new(move |payload: &T| hasher.hash_one(key(payload))) as OrderingKeyFn<T>);
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
    /// delivered again at once, and no two processes may share one. Default: program, host and process id, with a
    /// number from the second consumer of the process on; others take its pending entries over after `min_idle`.
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

    /// How many entries are read at once, and how many wait for a handler at most: no more than handlers take in about a
    /// tenth of a second, so that slow handlers leave entries to other consumers. And how many a handler of batches gets at once at
    /// most, 1 to 10,000; what is beyond becomes the nearest. Default 128. Where handlers keep up with full pages as
    /// many more may be on their way, unless there is an order.
    pub fn batch(mut self, entries: usize) -> Self {
        self.batch = entries.clamp(1, 10_000);
        self
    }

    /// How many bytes of fields may be in hand; one entry is always let through. Default 16 MiB. What was asked for
    /// when entries were smaller, two pages at most, comes in addition.
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
    /// Default half of `min_idle`, at most 4 s.
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

    /// How many attempts are made at an entry before it goes to the dead letters, at least one. An attempt is a handler
    /// that was started: what a process had read and not begun when it died, or what was lost with a link, counts nothing.
    /// The start of a first attempt is not recorded at the server, so an entry that takes its process down may be started
    /// once more. Default 5.
    pub fn max_deliveries(mut self, deliveries: u64) -> Self {
        self.max_deliveries = deliveries.max(1);
        self
    }

    /// The stream for entries that cannot be handled; it gets the key prefix. Default: the stream's name
    /// with `:dlq` after it, for each stream that it reads. On a cluster both must be in one slot: name the stream with a hash tag, as
    /// `{orders}`, and this one `{orders}:dlq`. A stream that the consumer reads itself is refused when it is started:
    /// entries that are rejected there would come back without an end. Where several consumers move their dead letters to each other's
    /// streams, an entry stays pending after 16 moves, with the event
    /// [`DeadLetterFailed`](crate::StreamEventKind::DeadLetterFailed).
    pub fn dead_letter(mut self, stream: impl Into<String>) -> Self {
        self.dead_letters = Some(stream.into());
        self
    }

    /// Trims the stream of dead letters to about that many whenever one is added, the oldest first: those are lost then.
    /// Default: it grows until [`DeadLetters::purge`](crate::DeadLetters::purge) or `XTRIM` is called.
    pub fn dead_letter_max_len(mut self, letters: u64) -> Self {
        self.extras.dead_letter_max_len = Some(letters);
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

    /// Reads another stream as well, through the same group name and for the same handler;
    /// [`Delivery::stream`](crate::Delivery::stream) tells which one an entry is of. Each stream has a connection of
    /// its own, a window of its own and its own dead letters; handlers are shared: while several streams have
    /// entries, each gets handlers in proportion to its weight, 1 to 1,000,000. The first stream has weight 1 unless
    /// [`weight`](Self::weight) says otherwise.
    pub fn stream(mut self, stream: impl Into<String>, weight: u32) -> Self {
        self.extras.more.push((stream.into(), weight.clamp(1, 1_000_000)));
        self
    }

    /// The weight of the first stream, 1 to 1,000,000; see [`stream`](Self::stream). Default 1.
    pub fn weight(mut self, weight: u32) -> Self {
        self.extras.weight = weight.clamp(1, 1_000_000);
        self
    }

    /// Removes entries from the stream when they are acknowledged, as soon as every group of the stream has
    /// acknowledged them: by `XACKDEL .. ACKED` where the server has it (Redis 8.2), else by a script that does the
    /// same. Off by default: entries stay until they are trimmed.
    pub fn delete_acknowledged(mut self) -> Self {
        self.extras.delete_acknowledged = true;
        self
    }

    /// How often, at least every 10 ms, to look for messages whose time has come; see
    /// [`Redis::schedule`](crate::Redis::schedule). One that is due sooner than the next look, and that this
    /// consumer knows of, is moved in time. Default 500 ms, and 2.5 s while nothing is scheduled.
    pub fn scheduled_every(mut self, pause: Duration) -> Self {
        self.extras.scheduled_every = Some(pause.max(Duration::from_millis(10)));
        self.extras.scheduled_by_default = false;
        self
    }

    /// Leaves scheduled messages to other consumers.
    pub fn without_scheduled(mut self) -> Self {
        self.extras.scheduled_every = None;
        self
    }
}
