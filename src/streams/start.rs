//! How a consumer is started.

use std::{
    cell::RefCell,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{Addr, Arbiter, Context, dev::channel};
use futures_util::future::select;

use super::builder::{Ordering as Order, StreamConsumerBuilder};
use super::consumer::StreamConsumer;
use super::dead_letters::DeadLetters;
use super::delivery::FromEntry;
use super::events::ConsumerName;
use super::inbox::{BatchInbox, Inbox, sealed::Inbox as AnyInbox};
use super::scheduled::{Mover, Scheduled};
use crate::actors::stream_consumer::{ConsumerActor, Engine};
use crate::client::Redis;
use crate::clock::FOREVER;
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::streams::consumer_commands::ConsumerCommands;
use crate::streams::denials::Denials;
use crate::streams::machine::Terms;
use crate::streams::machine::group_position::Start;
use crate::streams::multi_stream::ConsumerParts;
use crate::supervisor::{ActorFailure, Guardian, RestartLimit};

impl StreamConsumer {
    /// Configures a consumer of `group` of the stream `stream`. The stream gets the connection's key prefix,
    /// the group does not: it belongs to the stream.
    pub fn builder(stream: impl Into<String>, group: impl Into<String>) -> StreamConsumerBuilder {
        StreamConsumerBuilder::new(stream.into(), group.into())
    }
}

impl<L> StreamConsumerBuilder<L> {
    /// Starts the consumer. Never blocks, and needs no server. `redis` carries acknowledgements and all else
    /// but reads, for which the consumer has a connection of its own with the same configuration.
    ///
    /// # Errors
    /// When a name is empty, when there is no actix arbiter to run on, or the arbiter has ended.
    pub fn start<T: FromEntry>(self, redis: &Redis, handler: impl Inbox<T>) -> Result<StreamConsumer>
    where
        L: Order<T>,
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
        L: Order<T>,
    {
        self.begin(redis, handler)
    }

    fn begin<T: FromEntry>(self, redis: &Redis, handler: impl AnyInbox<T>) -> Result<StreamConsumer>
    where
        L: Order<T>,
    {
        let consumer = self.consumer.clone().unwrap_or_else(default_name);
        let streams = self.extras.streams(self.stream.clone());
        if let Some(dead_letters) = &self.dead_letters
            && streams.iter().any(|(stream, _)| stream == dead_letters)
        {
            return Err(config_error(
                "the dead letters of a stream consumer would go to a stream that it reads itself, and be rejected again \
                 without an end; give dead_letter(..) another name",
            ));
        }
        let reads_own = |(stream, _): &(String, u32)| {
            let letters = DeadLetters::usual_place(stream);
            self.dead_letters.is_none() && streams.iter().any(|(other, _)| *other == letters)
        };
        if streams.iter().any(reads_own) {
            return Err(config_error(
                "a stream consumer reads a stream together with the default dead letters of it, and would reject \
                 them without an end; name another stream with dead_letter(..)",
            ));
        }
        if !T::takes_fields() {
            return Err(config_error(
                "an entry has fields, and the type of the deliveries is none that has any; take a struct, a map, an enum, \
                 StreamEntry, or () where the fields do not matter",
            ));
        }
        if self.stream.is_empty() || self.group.is_empty() || consumer.is_empty() {
            return Err(config_error("the stream, the group and the consumer of a stream consumer need a name"));
        }
        let arbiter = self.arbiter.clone().or_else(Arbiter::try_current).ok_or_else(|| {
            config_error("there is no actix system on this thread; start inside #[actix::main], or name an arbiter")
        })?;
        let sweep_every = self.sweep_every.unwrap_or((self.min_idle / 2).min(Duration::from_secs(4)));
        let order_key = self.ordering.order_key();
        // A batch is whole only if the handler may have all of it.
        let max_in_flight =
            if handler.takes_batches() { self.max_in_flight.max(self.batch) } else { self.max_in_flight };
        let terms = Terms {
            max_in_flight,
            batch: self.batch,
            // With pages of one entry a few in a row say little, and each guess that is wrong costs a read.
            backlog: (2 * self.batch).max(64),
            max_bytes: self.max_bytes,
            block: self.block.min(FOREVER),
            min_idle: self.min_idle.min(FOREVER),
            handler_deadline: self.handler_deadline.min(FOREVER),
            sweep_every: sweep_every.min(FOREVER),
            retry: self.retry,
            max_deliveries: self.max_deliveries,
            ordered: order_key.is_some(),
            stall_after: self.stall_after.min(FOREVER),
            look_every: (self.stall_after / 4).clamp(Duration::from_millis(5), Duration::from_secs(1)),
            idle_look: (self.stall_after / 4).min(Duration::from_secs(15)),
            forget_after: self.forget_after,
        };
        let group: Arc<str> = self.group.into();
        let consumer: Arc<str> = consumer.into();
        let mut named = Vec::new();
        for (stream, weight) in streams {
            let name = ConsumerName { stream: stream.into(), group: group.clone(), consumer: consumer.clone() };
            // The random part tells this link from any other that a restarted server may give the same number.
            let base = redis.config().client_name().unwrap_or("redis-actix");
            let reader_name = format!("{base}-reader-{:08x}", fastrand::u32(..));
            let reader =
                redis.connector(&reader_name)?.beside(name.stream.as_bytes()).arbiter(arbiter.clone()).start()?;
            let dead_letters = self.dead_letters.clone().unwrap_or_else(|| DeadLetters::usual_place(&name.stream));
            let commands = ConsumerCommands {
                control: redis.at_primary(),
                reader,
                name,
                dead_letters,
                start: self.start.map_or(Start::End, Start::After),
                reader_name,
                delete_acknowledged: self.extras.delete_acknowledged,
                dead_letter_max_len: self.extras.dead_letter_max_len,
                denials: Denials::default(),
                handler_deadline: terms.handler_deadline,
            };
            named.push((Arc::new(commands), weight));
        }
        let streams = named;
        let Some((first, _)) = streams.first() else { return Err(config_error("a consumer needs a stream")) };
        let name = first.name.clone();
        let dead_letters = DeadLetters::new(redis, &*name.stream, &*name.group).stored_in(&first.dead_letters);
        let schedule = |(commands, _): &(Arc<ConsumerCommands>, u32)| {
            let schedule = Scheduled::new(redis, &*commands.name.stream).with_dead_letters(&commands.dead_letters);
            (schedule, commands.name.clone())
        };
        let schedules = streams.iter().map(schedule).collect();
        let (every, lazy) = (self.extras.scheduled_every, self.extras.scheduled_by_default);
        let mover = Mover::new(schedules, every, lazy, self.events.clone());
        let parts = ConsumerParts { terms, streams, inbox: Box::new(handler), order_key, events: self.events };
        // Zero makes the mailbox unbounded: orders are few, and must keep their order.
        let (sender, receiver) = channel::channel::<ConsumerActor>(0);
        let limit = self.limit;
        let placed = arbiter.spawn_fn(move || {
            actix::spawn(spawn(parts, mover, receiver, limit));
        });
        if placed {
            Ok(StreamConsumer::assemble(Addr::new(sender), name, dead_letters))
        } else {
            Err(config_error("the arbiter has ended; start on one that runs"))
        }
    }
}

async fn spawn<T: FromEntry>(
    parts: ConsumerParts<T>,
    mover: Mover,
    receiver: channel::AddressReceiver<ConsumerActor>,
    limit: RestartLimit,
) {
    let engine: Rc<RefCell<Box<dyn Engine>>> = Rc::new(RefCell::new(parts.into_engine()));
    let actor = Context::with_receiver(receiver).into_future(ConsumerActor::new(engine.clone()));
    let falls = engine.clone();
    let guardian = Guardian::new(actor, limit, move |fall| match fall {
        ActorFailure::Restart(_, reason) => falls.borrow_mut().restarted(reason),
        ActorFailure::GiveUp(_) => falls.borrow_mut().abort(),
    });
    select(pin!(guardian), pin!(mover.run())).await;
    engine.borrow_mut().abort();
}

/// How many consumers of this process were started without a name of their own.
static STARTED: AtomicU64 = AtomicU64::new(0);

fn default_name() -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    let host = std::env::var("HOSTNAME").ok().or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    let host = host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
    let (program, host) = (program.as_deref().unwrap_or("redis-actix"), host.as_deref().unwrap_or("localhost"));
    let name = format!("{program}@{host}:{}", std::process::id());
    // Two consumers of one group in this process must not share a name: the second would wait for the first to end.
    match STARTED.fetch_add(1, Ordering::Relaxed) {
        0 => name,
        nth => format!("{name}-{}", nth + 1),
    }
}

fn config_error(words: &'static str) -> Error {
    Error::new(ErrorKind::Config, Fate::NotSent, words)
}
