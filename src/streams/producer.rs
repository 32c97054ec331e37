//! Adding messages to a stream: each once, and without cutting off what a group still needs.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use redis::Value;
use serde::Serialize;

use tracing::Instrument;

use super::trace::TraceParent;
use crate::client::Redis;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::lua::APPEND;
use crate::messages::internal::Internal;
use crate::messages::{
    Command, decode,
    fields_error::TRACE_FIELD,
    stream_id::StreamId,
    streams::{XAdd, XTrim},
    unix_millis,
};
use crate::telemetry::propagation::context_of;
use crate::telemetry::stream::{send_span, sent};

/// The part of a message's fields that a script can take.
const MOST_ARGUMENTS: usize = 7000;

/// The name of producers that were given none.
const USUAL_NAME: &str = "redis-actix";

/// Adds messages to one stream; cheap to clone.
///
/// ```no_run
/// # #[derive(serde::Serialize)] struct Order { customer: &'static str, cents: i64 }
/// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
/// use redis_actix::{Entry, Producer};
///
/// let orders = Producer::new(&redis, "orders").max_len(100_000).keep_needed();
/// let order = Order { customer: "ada", cents: 995 };
/// orders.append(Entry::new(&order)?).await?;
/// // Sent twice, added once:
/// let first = orders.append(Entry::new(&order)?.once("order-17")).await?;
/// let second = orders.append(Entry::new(&order)?.once("order-17")).await?;
/// assert_eq!(first.id, second.id);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Producer {
    redis: Redis,
    stream: Arc<str>,
    name: Arc<str>,
    max_len: Option<u64>,
    max_age: Option<Duration>,
    keep_needed: bool,
    remember: Duration,
    remember_ids: u64,
    warned: Arc<AtomicBool>,
}

impl Producer {
    /// Adds to `stream`, which gets the key prefix. Nothing is trimmed unless it is told to.
    #[must_use]
    pub fn new(redis: &Redis, stream: impl Into<Arc<str>>) -> Self {
        Self {
            redis: redis.at_primary(),
            stream: stream.into(),
            name: USUAL_NAME.into(),
            max_len: None,
            max_age: None,
            keep_needed: false,
            remember: Duration::from_secs(3600),
            remember_ids: 10_000,
            warned: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Trims the stream to about that many entries, some more when that is cheaper.
    #[must_use]
    pub fn max_len(mut self, entries: u64) -> Self {
        self.max_len = Some(entries);
        self
    }

    /// Trims entries that are older (whole milliseconds), by this machine's clock.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Never trims what a group still needs, what is pending in it or was not delivered to it, however long the
    /// stream gets; and nothing while the stream has no group. After [`ConsumerGroup::seek`](crate::ConsumerGroup::seek) the
    /// group needs everything behind that id. Adding is then a script, which asks every group when
    /// there is something to trim, and trims at most 64 entries at a time by length. Its only key is the stream.
    #[must_use]
    pub fn keep_needed(mut self) -> Self {
        self.keep_needed = true;
        self
    }

    /// The name under which ids of [`Entry::once`] are remembered. Producers of a stream with the same name share them: an id
    /// that one has added is known to all. Two that number their messages independently of each other need names of their
    /// own, or the second one's message is not added. Default `redis-actix`.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// For how long, at least 1 ms, and how many ids of [`Entry::once`] are remembered, at least 1, on servers
    /// without `XADD IDMP`. Default an hour and 10,000 ids, whichever ends first; one id takes about 200 bytes of the server.
    /// Among producers of one name the longest and largest window counts, until none has added a message for that long.
    /// Servers with `XADD IDMP` remember 100 seconds and 100 ids, which [`configure_server`](Self::configure_server) changes.
    #[must_use]
    pub fn remember(mut self, lasts: Duration, ids: u64) -> Self {
        (self.remember, self.remember_ids) = (lasts.max(Duration::from_millis(1)), ids.max(1));
        self
    }

    /// Tells a server with `XADD IDMP` to remember ids of this stream as long as [`remember`](Self::remember) says, in
    /// whole seconds up to a day, and as many, up to 10,000. The stream must exist, and all ids that the server
    /// remembers so far are forgotten. False when the server has no IDMP.
    ///
    /// # Errors
    /// Those of the command.
    pub async fn configure_server(&self) -> Result<bool> {
        if !self.redis.features_for(self.stream.as_bytes()).await?.idempotent_add {
            return Ok(false);
        }
        let configure = Frame::known("XCFGSET").key(&*self.stream);
        let configure = configure.arg("IDMP-DURATION").arg(self.remember.as_secs().clamp(1, 86_400));
        let configure = configure.arg("IDMP-MAXSIZE").arg(self.remember_ids.clamp(1, 10_000));
        self.redis.send(Internal(configure.idempotent())).await?;
        Ok(true)
    }

    /// Adds a message.
    ///
    /// # Errors
    /// When the message has no field, and those of the command. With [`Fate::Unknown`](crate::Fate::Unknown) it may
    /// have been added; one with [`Entry::once`] can simply be appended again. On a cluster [`Entry::once`] needs a stream with a
    /// hash tag in its name, as `{orders}`, where the server has no `XADD IDMP`.
    pub async fn append(&self, message: Entry) -> Result<Appended> {
        let span = send_span(&self.stream);
        let message = message.in_trace(&span);
        let appended = self.append_in_span(message).instrument(span.clone()).await;
        sent(&span, appended.as_ref().map(|appended| appended.id));
        appended
    }

    async fn append_in_span(&self, message: Entry) -> Result<Appended> {
        if message.once.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid_command("XADD: the id of a message that is added once may not be empty"));
        }
        let by_server = match message.once {
            Some(_) => self.redis.features_for(self.stream.as_bytes()).await?.idempotent_add,
            None => true,
        };
        if by_server && !self.keep_needed {
            self.add(message).await
        } else {
            self.add_by_script(message, by_server).await
        }
    }

    async fn add(&self, Entry { add, once }: Entry) -> Result<Appended> {
        let add = XAdd::at(&*self.stream, add);
        let oldest = self.oldest();
        let add = match (oldest, self.max_len) {
            (_, Some(length)) => add.max_len_approx(length),
            (Some(oldest), None) => add.min_id_approx(oldest),
            (None, None) => add,
        };
        let (add, by) = match once {
            Some(id) => (add.idempotency(&*self.name, id), Some(OnceBy::Server)),
            None => (add, None),
        };
        let added = self.redis.send(add);
        // XADD trims in one way only. The second follows on the same link at once; the next message makes up for one that fails.
        let aged = oldest.filter(|_| self.max_len.is_some());
        let aged = aged.map(|oldest| self.redis.send(XTrim::min_id_approx(&*self.stream, oldest).idempotent()));
        let id = added.await?;
        if let Some(aged) = aged
            && let Err(error) = aged.await
        {
            tracing::warn!(event = "producer.trim_failed", stream = &*self.stream, %error, "entries that are too old were not trimmed");
        }
        Ok(Appended { id, by, trimmed: None })
    }

    async fn add_by_script(&self, Entry { add, once }: Entry, by_server: bool) -> Result<Appended> {
        if once.is_some() && by_server {
            // The server remembers; what it adds is trimmed in a step of its own.
            let added = Self { keep_needed: false, max_len: None, max_age: None, ..self.clone() };
            let added = Box::pin(added.append_in_span(Entry { add, once })).await?;
            let trimmed = Some(self.trim().await?);
            return Ok(Appended { trimmed, ..added });
        }
        if once.is_some() && !self.warned.swap(true, Ordering::Relaxed) {
            let (stream, ids, lasts) = (&*self.stream, self.remember_ids, self.remember);
            let remember_ms = crate::events::millis(lasts);
            tracing::warn!(
                event = "producer.ids_by_script",
                stream,
                ids,
                remember_ms,
                "the server has no XADD IDMP; a script remembers ids instead"
            );
        }
        let frame = add.into_frame();
        frame.check()?;
        let words = frame.argv();
        // XADD, the key, and the star stand before the fields.
        let fields = words.get(3..).unwrap_or_default();
        if fields.len() > MOST_ARGUMENTS {
            return Err(Error::invalid_command("XADD: a script can add a message of at most 3,500 fields"));
        }
        if once.is_some() && self.redis.slot_of(&*self.stream) != self.redis.slot_of(self.seen()) {
            return Err(Error::invalid_command(
                "XADD: a message that is added once needs two keys beside its stream, on a cluster in the same slot; name the \
                 stream with a hash tag, as {orders}",
            ));
        }
        let by = once.as_ref().map(|_| OnceBy::Script);
        let (id, known, trimmed) = self.call(once.as_deref().unwrap_or_default(), fields).await?;
        let id: StreamId = id.parse()?;
        Ok(Appended { id, by: by.map(|by| if known { OnceBy::ScriptKnewIt } else { by }), trimmed: Some(trimmed) })
    }

    /// Trims the stream as [`max_len`](Self::max_len), [`max_age`](Self::max_age) and
    /// [`keep_needed`](Self::keep_needed) say, and returns how many entries went; at most 64 by length.
    ///
    /// # Errors
    /// Those of the script.
    pub async fn trim(&self) -> Result<u64> {
        self.call(b"", &[]).await.map(|(_, _, trimmed)| trimmed)
    }

    /// Where ids are remembered.
    fn seen(&self) -> String {
        match &*self.name {
            USUAL_NAME => format!("{}:once", self.stream),
            // With its length no name is the beginning of another key.
            name => format!("{}:once:{}:{name}", self.stream, name.len()),
        }
    }

    async fn call(&self, once: &[u8], fields: &[&[u8]]) -> Result<(String, bool, u64)> {
        let seen = self.seen();
        let entries = format!("{seen}:entries");
        let keys = [&*self.stream, &seen, &entries];
        let keys = if once.is_empty() { &keys[..1] } else { &keys[..] };
        let lasts = u64::try_from(self.remember.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 53);
        let ids = self.remember_ids.min(1 << 53);
        let from = self.oldest().map(|id| id.to_string()).unwrap_or_default();
        let length = self.max_len.map(|length| length.to_string()).unwrap_or_default();
        let keep = if self.keep_needed { "keep" } else { "" };
        let token = format!("{:016x}", fastrand::u64(..));
        let args = |call: Frame| {
            let call = call.arg(once).arg(&token).arg(lasts).arg(ids).arg(keep).arg(&length).arg(&from);
            let call = fields.iter().fold(call, |call, word| call.arg(*word));
            // The script knows a call that is repeated by its token, if it remembers ids.
            if once.is_empty() { call } else { call.idempotent() }
        };
        let answer = APPEND.run(&self.redis, keys, args).await?;
        if let Value::Array(parts) = &answer
            && let [Value::Nil, Value::BulkString(text)] = &parts[..]
        {
            let text = String::from_utf8_lossy(text);
            let (code, words) = text.trim_start_matches('-').split_once(' ').unwrap_or(("ERR", &text));
            return Err(Error::server(code, Some(words)));
        }
        decode(answer)
    }

    fn oldest(&self) -> Option<StreamId> {
        let oldest = SystemTime::now().checked_sub(self.max_age?)?;
        Some(StreamId::new(unix_millis(oldest), 0))
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, max_len, max_age, keep_needed, .. } = self;
        f.debug_struct("Producer")
            .field("stream", stream)
            .field("max_len", max_len)
            .field("max_age", max_age)
            .field("keep_needed", keep_needed)
            .finish_non_exhaustive()
    }
}

/// A message on its way to a [`Producer`].
#[derive(Clone)]
#[must_use = "a message does nothing until it is appended"]
pub struct Entry {
    add: XAdd,
    once: Option<Vec<u8>>,
}

impl Entry {
    /// One without fields so far, for [`field`](Self::field).
    pub fn empty() -> Self {
        Self { add: XAdd::new(""), once: None }
    }

    /// The fields of a struct, a map or an enum; [`to_fields`](crate::to_fields) says how they are written.
    ///
    /// # Errors
    /// When `value` cannot be written as fields.
    pub fn new<V: Serialize + ?Sized>(value: &V) -> Result<Self> {
        Ok(Self { add: XAdd::new("").entry(value)?, once: None })
    }

    /// One field with the whole value as JSON.
    ///
    /// # Errors
    /// When `value` cannot be written as JSON.
    pub fn json<V: Serialize>(field: &str, value: V) -> Result<Self> {
        Ok(Self { add: XAdd::new("").json(field, value)?, once: None })
    }

    /// Adds a field with its value. A name may come several times.
    pub fn field(mut self, field: impl redis::ToSingleRedisArg, value: impl redis::ToSingleRedisArg) -> Self {
        self.add = self.add.field(field, value);
        self
    }

    /// Adds the trace that it belongs to.
    pub fn traceparent(mut self, trace: TraceParent) -> Self {
        self.add = self.add.traceparent(trace);
        self
    }

    /// With the context of this span, unless the entry has one.
    fn in_trace(self, span: &tracing::Span) -> Self {
        if span.is_disabled() {
            return self;
        }
        let has_context = self.add.frame().args().any(|word| word == TRACE_FIELD.as_bytes());
        let context = if has_context { None } else { context_of(span) };
        context.into_iter().fold(self, Self::traceparent)
    }

    /// Says which message it is: one with an id that a producer of the same [`name`](Producer::name) has added to the stream
    /// lately is not added again. Lately is what [`Producer::remember`] says, an hour and 10,000 ids by default: an id that
    /// comes again later is added again. By `XADD IDMP` where the server has it (Redis 8.6; 100 seconds and 100 ids unless
    /// [`Producer::configure_server`] was called), else by a script, which remembers ids in two keys beside the stream;
    /// [`Appended::by`] says which.
    pub fn once(mut self, id: impl AsRef<[u8]>) -> Self {
        self.once = Some(id.as_ref().to_vec());
        self
    }
}

/// Payloads stay out of logs.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("once", &self.once.is_some()).finish_non_exhaustive()
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// Its id, or that of the entry that was there.
    pub id: StreamId,
    /// Who saw to it that it is there once, if that was asked for.
    pub by: Option<OnceBy>,
    /// How many entries were trimmed; `None` where the server does not tell.
    pub trimmed: Option<u64>,
}

/// Who saw to it that a message is there once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnceBy {
    /// `XADD IDMP`. Whether it was there before, the server does not tell.
    Server,
    /// A script, for the server has no IDMP: the message is new.
    Script,
    /// A script, for the server has no IDMP: the message was there.
    ScriptKnewIt,
}
