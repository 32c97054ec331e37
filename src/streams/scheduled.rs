//! Messages for later: kept beside their stream, and moved into it when their time has come.

use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::client::Redis;
use crate::error::{Error, Result};
use crate::frame::{Frame, WhenDown};
use actix::Recipient;
use futures_util::future::join_all;

use super::dead_letters::DeadLetters;
use super::events::{ConsumerName, StreamEvent, StreamEventKind};
use crate::lua::{CANCEL, DUE, SCHEDULE};
use crate::messages::{Command, decode, sorted_sets::ZCard, streams::XAdd, unix_millis};

/// So many are moved by one call of the script: it holds up the whole server.
const PAGE: u64 = 64;
/// A message of more arguments could not be taken apart by a script.
const MOST_ARGUMENTS: usize = 7000;
/// The pause between two looks where nothing is scheduled and no other pause was asked for.
const UNUSED: Duration = Duration::from_millis(2_500);
/// After a failure nobody looks again so soon.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// The ticket of a scheduled message, by which it can be cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScheduleId(String);

impl ScheduleId {
    /// Tickets that were made later come later, so that messages for the same moment keep their order.
    fn new() -> Self {
        let made = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(format!("{:016x}{:08x}", made.as_nanos() as u64, fastrand::u32(..)))
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ScheduleId {
    type Err = std::convert::Infallible;

    /// Takes any text: whether there is such a message is for the server to say.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl Redis {
    /// Adds the message of an [`XAdd`] at a time to come, by the server's clock. It is kept on the server, beside its
    /// stream: whoever dies, it comes. Consumers of the stream move it there (any group's; see
    /// [`scheduled_every`](crate::StreamConsumerBuilder::scheduled_every)), once, however many of them try. A time
    /// that has passed is now.
    ///
    /// The message waits in two keys with the stream's name and `:scheduled`, `:scheduled:messages` after it. On a
    /// cluster all must be in one slot: name the stream with a hash tag, as `{orders}`. A timeout of the message holds
    /// for all of this. One that the server refuses when its time has come goes to the dead letters of the stream, with the
    /// reason `schedule`.
    ///
    /// # Errors
    /// When the message has an id of its own or no field, when it has [`idempotency`](XAdd::idempotency) and the server has no
    /// `XADD IDMP`, on a cluster when the stream has no hash tag, and those of the script. With
    /// [`Fate::Unknown`](crate::Fate::Unknown) it may be scheduled, and nobody has its ticket.
    pub async fn schedule(&self, message: XAdd, at: SystemTime) -> Result<ScheduleId> {
        self.keep(message, "at", unix_millis(at)).await
    }

    /// As [`schedule`](Self::schedule), after a delay (whole milliseconds), which the server measures: this machine's
    /// clock does not matter.
    ///
    /// # Errors
    /// As [`schedule`](Self::schedule).
    pub async fn schedule_in(&self, message: XAdd, delay: Duration) -> Result<ScheduleId> {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.keep(message, "in", delay).await
    }

    async fn keep(&self, message: XAdd, from: &str, ms: u64) -> Result<ScheduleId> {
        if message.has_own_id() {
            return Err(Error::invalid_command("XADD: a scheduled message gets its id when its time has come"));
        }
        let idempotent = message.is_idempotent();
        let frame = message.into_frame();
        frame.check()?;
        let words = frame.argv();
        let stream = words.get(1).copied().unwrap_or_default();
        if words.len() > MOST_ARGUMENTS {
            return Err(Error::invalid_command("XADD: a scheduled message has at most 3,490 fields"));
        }
        if self.slot_of(stream) != self.slot_of(times(stream)) {
            return Err(Error::invalid_command(
                "XADD: a scheduled message waits in keys beside its stream, on a cluster in the same slot; name the stream with a \
                 hash tag, as {orders}",
            ));
        }
        if idempotent && !self.features_for(stream).await?.idempotent_add {
            return Err(Error::invalid_command(
                "XADD: this server has no IDMP (Redis 8.6), and would refuse the message when its time has come; leave the \
                 idempotency out",
            ));
        }
        let ticket = ScheduleId::new();
        // Beyond what a double holds exactly, half a million years from now.
        let ms = ms.min(1 << 53);
        let args = |call: Frame| {
            let call = call.arg(&ticket.0).arg(from).arg(ms);
            let call = words.iter().skip(2).fold(call, |call, word| call.arg(*word));
            match frame.own_when_down() {
                Some(what) => call.when_down(what),
                None => call,
            }
        };
        let keys = [times(stream), messages(stream)];
        let leases = SCHEDULE.run_within(self, &keys, args, frame.own_timeout()).await;
        // Of the commands that this takes the caller knows none.
        leases.map_err(|error| error.of_call("schedule"))?;
        Ok(ticket)
    }
}

fn times(stream: &[u8]) -> Vec<u8> {
    [stream, b":scheduled"].concat()
}

fn messages(stream: &[u8]) -> Vec<u8> {
    [stream, b":scheduled:messages"].concat()
}

/// What is scheduled for a stream.
#[derive(Clone)]
pub struct Scheduled {
    redis: Redis,
    stream: Arc<str>,
    dead_letters: Arc<str>,
}

impl Scheduled {
    /// What [`Redis::schedule`] keeps for this stream.
    #[must_use]
    pub fn new(redis: &Redis, stream: impl Into<Arc<str>>) -> Self {
        let stream = stream.into();
        Self { redis: redis.at_primary(), dead_letters: DeadLetters::usual_place(&stream).into(), stream }
    }

    /// With messages that the server refuses going to `place`, if that is where the script can reach it.
    pub(crate) fn with_dead_letters(mut self, place: &str) -> Self {
        if self.redis.slot_of(place) == self.redis.slot_of(&*self.stream) {
            self.dead_letters = place.into();
        }
        self
    }

    fn keys(&self) -> [Vec<u8>; 3] {
        let stream = self.stream.as_bytes();
        [stream.to_vec(), times(stream), messages(stream)]
    }

    /// How many messages wait for their time.
    ///
    /// # Errors
    /// Those of the command.
    pub async fn count(&self) -> Result<u64> {
        self.redis.send(ZCard::new(times(self.stream.as_bytes()))).await
    }

    /// Forgets a message. False when its time has come already, or there never was such a message.
    ///
    /// # Errors
    /// Those of the script. With [`Fate::Unknown`](crate::Fate::Unknown) it may be forgotten; asked again, the answer is false
    /// then.
    pub async fn cancel(&self, ticket: &ScheduleId) -> Result<bool> {
        let [_, times, messages] = self.keys();
        // Not idempotent: after a lost reply the second answer would be no.
        let answer = CANCEL.run(&self.redis, &[times, messages], |call| call.arg(&ticket.0)).await?;
        decode(answer)
    }

    /// Moves what is due to the stream, and returns how many messages that was. Consumers do this by themselves.
    ///
    /// # Errors
    /// Those of the script; messages that were not moved stay scheduled. A message that the server refuses is no error: it goes to the dead
    /// letters, or is tried again a minute later where they cannot be written.
    pub async fn move_due(&self) -> Result<u64> {
        let mut moved = 0;
        loop {
            let page = self.move_page(WhenDown::Queue).await?;
            moved += page.moved;
            if page.moved + page.refused < PAGE {
                return Ok(moved);
            }
        }
    }

    async fn move_page(&self, when_down: WhenDown) -> Result<Page> {
        let [stream, times, messages] = self.keys();
        let keys = [stream, times, messages, self.dead_letters.as_bytes().to_vec()];
        let args = |call: Frame| call.arg(PAGE).arg(&*self.stream).when_down(when_down);
        let answer = DUE.run(&self.redis, &keys, args).await?;
        let (moved, wait, refused, why): (u64, i64, u64, String) = decode(answer)?;
        let error = (refused > 0).then(|| {
            let (code, words) = why.trim_start_matches('-').split_once(' ').unwrap_or(("ERR", &why));
            Error::server(code, Some(words))
        });
        Ok(Page { moved, refused, error, next: u64::try_from(wait).ok().map(Duration::from_millis) })
    }
}

impl fmt::Debug for Scheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduled").field("stream", &self.stream).finish_non_exhaustive()
    }
}

struct Page {
    moved: u64,
    /// Messages that the server will never take.
    refused: u64,
    error: Option<Error>,
    /// When the next one is due.
    next: Option<Duration>,
}

/// What a consumer does about the schedules of its streams, for as long as it lives.
pub(crate) struct Mover {
    schedules: Vec<(Scheduled, ConsumerName)>,
    every: Option<Duration>,
    /// Looks less often while nothing is scheduled.
    lazy: bool,
    events: Vec<Recipient<StreamEvent>>,
}

impl Mover {
    pub(crate) fn new(
        schedules: Vec<(Scheduled, ConsumerName)>,
        every: Option<Duration>,
        lazy: bool,
        events: Vec<Recipient<StreamEvent>>,
    ) -> Self {
        Self { schedules, every, lazy, events }
    }

    /// Runs each schedule separately: a failure of one does not delay the others.
    pub(crate) async fn run(self) {
        if let Some(every) = self.every {
            join_all(self.schedules.iter().map(|(schedule, name)| self.watch(schedule, name, every))).await;
        }
        std::future::pending().await
    }

    async fn watch(&self, schedule: &Scheduled, name: &ConsumerName, every: Duration) {
        loop {
            let (mut pause, mut waits) = (every, false);
            match schedule.move_page(WhenDown::FailFast).await {
                Ok(page) => {
                    waits = page.moved > 0 || page.refused > 0 || page.next.is_some();
                    pause = page.next.map_or(pause, |next| pause.min(next));
                    if page.moved + page.refused >= PAGE {
                        pause = Duration::ZERO;
                    }
                    if let Some(error) = page.error {
                        self.publish(name, StreamEventKind::ScheduleRefused { messages: page.refused, error });
                    }
                }
                // Then nothing can be scheduled either.
                Err(error) if error.code() == Some("CROSSSLOT") => return,
                Err(error) => {
                    tracing::debug!(stream = %schedule.stream, %error, "scheduled messages could not be moved");
                    pause = pause.max(AFTER_FAILURE);
                }
            }
            if self.lazy && !waits {
                // Most streams never have anything scheduled.
                pause = pause.max(UNUSED);
            }
            // A little later rather than a little earlier, and not all consumers at once.
            let jitter = if pause < every { Duration::ZERO } else { every.mul_f64(fastrand::f64() / 8.0) };
            tokio::time::sleep(pause.max(Duration::from_millis(1)) + jitter).await;
        }
    }

    fn publish(&self, name: &ConsumerName, kind: StreamEventKind) {
        let event = StreamEvent { consumer: name.clone(), kind };
        event.log();
        self.events.iter().filter(|events| events.connected()).for_each(|events| events.do_send(event.clone()));
    }
}
