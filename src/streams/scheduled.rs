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
    /// for all of this.
    ///
    /// # Errors
    /// When the message has an id of its own or no field, and those of the script. With
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
        let frame = message.into_frame();
        frame.check()?;
        let words = frame.argv();
        let stream = words.get(1).copied().unwrap_or_default();
        if words.len() > MOST_ARGUMENTS {
            return Err(Error::invalid_command("XADD: a scheduled message has at most 3,490 fields"));
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
}

impl Scheduled {
    /// What [`Redis::schedule`] keeps for this stream.
    #[must_use]
    pub fn new(redis: &Redis, stream: impl Into<Arc<str>>) -> Self {
        Self { redis: redis.at_primary(), stream: stream.into() }
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
    /// Those of the script.
    pub async fn cancel(&self, ticket: &ScheduleId) -> Result<bool> {
        let [_, times, messages] = self.keys();
        let answer = CANCEL.run(&self.redis, &[times, messages], |call| call.arg(&ticket.0).idempotent()).await?;
        decode(answer)
    }

    /// Moves what is due to the stream, and returns how many messages that was. Consumers do this by themselves.
    ///
    /// # Errors
    /// Those of the script; what was not moved stays.
    pub async fn move_due(&self) -> Result<u64> {
        let mut moved = 0;
        loop {
            let page = self.move_page(WhenDown::Queue).await?;
            moved += page.moved;
            if page.moved < PAGE {
                return Ok(moved);
            }
        }
    }

    async fn move_page(&self, when_down: WhenDown) -> Result<Page> {
        let answer = DUE.run(&self.redis, &self.keys(), |call| call.arg(PAGE).when_down(when_down)).await?;
        let (moved, wait): (u64, i64) = decode(answer)?;
        Ok(Page { moved, next: u64::try_from(wait).ok().map(Duration::from_millis) })
    }
}

impl fmt::Debug for Scheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduled").field("stream", &self.stream).finish_non_exhaustive()
    }
}

struct Page {
    moved: u64,
    /// When the next one is due.
    next: Option<Duration>,
}

/// What a consumer does about the schedules of its streams, for as long as it lives.
pub(crate) struct Mover {
    schedules: Vec<Scheduled>,
    every: Option<Duration>,
    /// Looks less often while nothing is scheduled.
    lazy: bool,
}

impl Mover {
    pub(crate) fn new(schedules: Vec<Scheduled>, every: Option<Duration>, lazy: bool) -> Self {
        Self { schedules, every, lazy }
    }

    pub(crate) async fn run(mut self) {
        let Some(every) = self.every else { return std::future::pending().await };
        while !self.schedules.is_empty() {
            let mut pause = every;
            let mut hopeless = None;
            let mut waits = false;
            for (nth, schedule) in self.schedules.iter().enumerate() {
                match schedule.move_page(WhenDown::FailFast).await {
                    Ok(page) if page.moved == PAGE => (pause, waits) = (Duration::ZERO, true),
                    Ok(page) => {
                        waits |= page.moved > 0 || page.next.is_some();
                        pause = page.next.map_or(pause, |next| pause.min(next));
                    }
                    // Then nothing can be scheduled either.
                    Err(error) if error.code() == Some("CROSSSLOT") => hopeless = Some(nth),
                    Err(error) => {
                        tracing::debug!(stream = %schedule.stream, %error, "scheduled messages could not be looked for");
                        pause = pause.max(AFTER_FAILURE);
                    }
                }
            }
            if let Some(nth) = hopeless {
                self.schedules.swap_remove(nth);
            }
            if self.lazy && !waits {
                // Most streams never have anything scheduled.
                pause = pause.max(UNUSED);
            }
            // A little later rather than a little earlier, and not all consumers at once.
            let jitter = every.mul_f64(fastrand::f64() / 8.0);
            tokio::time::sleep(
                pause.max(Duration::from_millis(1)) + if pause < every { Duration::ZERO } else { jitter },
            )
            .await;
        }
        std::future::pending().await
    }
}
