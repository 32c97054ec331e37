//! Messages that could not be handled: looking at them, sending them back, clearing them away.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::delivery::RawFields;
use super::trace::TraceParent;
use crate::client::Redis;
use crate::error::Result;
use crate::frame::Frame;
use crate::lua::REDRIVE;
use crate::messages::{
    decode,
    stream_id::StreamId,
    streams::XDel,
    streams_reads::{XLen, XRange, XRevRange},
    streams_replies::StreamEntry,
    unix_millis,
};

/// So many are read at once.
const PAGE: usize = 128;
/// A list is no longer than this unless the filter says so.
const LISTED: usize = 1000;

/// The dead letters of one group of a stream.
///
/// A consumer moves there what was rejected, what does not fit its type, and what was delivered as often as allowed.
/// They are entries of a stream of their own with the fields that they had, behind fields that begin with `dead:`.
///
/// ```no_run
/// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
/// use redis_actix::{DeadLetterFilter, DeadLetters};
///
/// let dead = DeadLetters::new(&redis, "orders", "billing");
/// for letter in dead.list(DeadLetterFilter::all()).await? {
///     println!("{} {}: {}", letter.original, letter.reason, letter.error);
/// }
/// dead.redrive(DeadLetterFilter::all().reason("max_deliveries")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DeadLetters {
    redis: Redis,
    stream: Arc<str>,
    group: Arc<str>,
    place: Arc<str>,
}

impl DeadLetters {
    /// Those of `group` of `stream`, in the stream's name with `:dlq` after it.
    #[must_use]
    pub fn new(redis: &Redis, stream: impl Into<Arc<str>>, group: impl Into<Arc<str>>) -> Self {
        let stream = stream.into();
        Self { redis: redis.at_primary(), place: Self::usual_place(&stream).into(), stream, group: group.into() }
    }

    pub(crate) fn usual_place(stream: &str) -> String {
        format!("{stream}:dlq")
    }

    /// Those in another stream, as [`dead_letter`](crate::StreamConsumerBuilder::dead_letter) named it.
    #[must_use]
    pub fn stored_in(mut self, place: &str) -> Self {
        self.place = place.into();
        self
    }

    /// How many there are, those of other groups and streams that have the same place included.
    ///
    /// # Errors
    /// Those of the command.
    pub async fn count(&self) -> Result<u64> {
        self.redis.send(XLen::new(&*self.place)).await
    }

    /// Those that the filter lets through, oldest first; at most 1,000 unless it has a limit of its own.
    ///
    /// # Errors
    /// Those of the commands.
    pub async fn list(&self, filter: DeadLetterFilter) -> Result<Vec<DeadLetter>> {
        let mut all = Vec::new();
        let mut pages = self.pages(filter, LISTED).await?;
        while let Some(page) = pages.next().await? {
            all.extend(page);
        }
        Ok(all)
    }

    /// One of them, by its own id.
    ///
    /// # Errors
    /// Those of the command.
    pub async fn get(&self, id: StreamId) -> Result<Option<DeadLetter>> {
        let found = self.redis.send(XRange::new(&*self.place, id..=id)).await?;
        Ok(found.into_iter().next().map(DeadLetter::read))
    }

    /// Sends those that the filter lets through back to the stream, as new entries with the fields that they had,
    /// and returns how many. Every group of the stream gets them. Each moves as a whole: whatever fails, and whoever
    /// redrives the same at the same time, it is in one of the two places, and once. What dies again meanwhile is
    /// left for the next time.
    ///
    /// # Errors
    /// Those of the commands. Some may have been moved.
    ///
    /// # Cancel safety
    /// Dropping the future stops between two pages of 128.
    pub async fn redrive(&self, filter: DeadLetterFilter) -> Result<u64> {
        let mut moved = 0;
        let mut pages = self.pages(filter, usize::MAX).await?;
        while let Some(page) = pages.next().await? {
            if page.is_empty() {
                continue;
            }
            let args = |frame: Frame| page.iter().fold(frame, |frame, letter| frame.arg(letter.id));
            let answer = REDRIVE.run(&self.redis, &[&*self.place, &*self.stream], args).await?;
            moved += decode::<u64>(answer)?;
        }
        Ok(moved)
    }

    /// Deletes those that the filter lets through, and returns how many.
    ///
    /// # Errors
    /// Those of the commands. Some may be deleted. A page whose reply is lost is an error, because a second try could not say
    /// how many it had.
    ///
    /// # Cancel safety
    /// Dropping the future stops between two pages of 128.
    pub async fn purge(&self, filter: DeadLetterFilter) -> Result<u64> {
        let mut deleted = 0;
        let mut pages = self.pages(filter, usize::MAX).await?;
        while let Some(page) = pages.next().await? {
            if !page.is_empty() {
                let ids = page.iter().map(|letter| letter.id);
                deleted += self.redis.send(XDel::new(&*self.place, ids)).await?;
            }
        }
        Ok(deleted)
    }

    async fn pages(&self, filter: DeadLetterFilter, most: usize) -> Result<Pages<'_>> {
        // What comes after this is not looked at: it may be what was just sent back, and died again.
        let last = self.redis.send(XRevRange::new(&*self.place, ..).count(1)).await?;
        let until = filter.until.map_or(StreamId::MAX, |until| StreamId::new(unix_millis(until), u64::MAX));
        let last = last.first().map_or(StreamId::MIN, |last| last.id).min(until);
        let next = Some(filter.since.map_or(StreamId::MIN, |since| StreamId::new(unix_millis(since), 0)));
        let left = filter.limit.unwrap_or(most);
        Ok(Pages { letters: self, filter, next, last, left })
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, group, place, .. } = self;
        f.debug_struct("DeadLetters")
            .field("stream", stream)
            .field("group", group)
            .field("place", place)
            .finish_non_exhaustive()
    }
}

/// Walks over the dead letters once.
struct Pages<'a> {
    letters: &'a DeadLetters,
    filter: DeadLetterFilter,
    next: Option<StreamId>,
    last: StreamId,
    left: usize,
}

impl Pages<'_> {
    async fn next(&mut self) -> Result<Option<Vec<DeadLetter>>> {
        let Some(next) = self.next.filter(|next| *next <= self.last && self.left > 0) else { return Ok(None) };
        let letters = self.letters;
        let read = XRange::new(&*letters.place, next..=self.last).count(PAGE as u64);
        let page = letters.redis.send(read).await?;
        self.next = if page.len() < PAGE { None } else { page.last().and_then(|entry| entry.id.next()) };
        let wanted = |letter: &DeadLetter| self.filter.lets_through(letter, &letters.stream, &letters.group);
        let page: Vec<_> = page.into_iter().map(DeadLetter::read).filter(wanted).take(self.left).collect();
        self.left -= page.len();
        Ok(Some(page))
    }
}

/// A message that could not be handled.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its id among the dead letters.
    pub id: StreamId,
    /// The id that it had in its stream.
    pub original: StreamId,
    /// The stream, without the prefix.
    pub stream: String,
    /// The group in which it could not be handled.
    pub group: String,
    /// The consumer that had it last.
    pub consumer: String,
    /// Why, as one word: that of [`DeadLetterReason::as_str`](crate::DeadLetterReason::as_str).
    pub reason: String,
    /// What its handler said of it, or what was wrong with its fields.
    pub error: String,
    /// How often it was delivered.
    pub deliveries: u64,
    /// When it was added to its stream, by the server's clock.
    pub first_seen: SystemTime,
    /// When it was last delivered, or its lease renewed, by the server's clock.
    pub last_seen: SystemTime,
    /// The fields that it had, in order, with all duplicates.
    pub fields: RawFields,
}

impl DeadLetter {
    fn read(entry: StreamEntry) -> Self {
        let StreamEntry { id, mut fields } = entry;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        // Only what stands in front is ours: the message may have had such names of its own.
        let ours = match fields.first() {
            Some((name, count)) if name == b"dead:meta" => text(count).parse::<usize>().unwrap_or_default(),
            _ => 0,
        };
        let rest = fields.split_off(ours.min(fields.len()));
        let told = |name: &str| fields.iter().find(|(known, _)| known == name.as_bytes()).map(|(_, value)| text(value));
        let original = told("dead:id").and_then(|id| id.parse().ok()).unwrap_or_default();
        let time = |name: &str| {
            let ms = told(name).and_then(|ms| ms.parse().ok()).unwrap_or_default();
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(SystemTime::UNIX_EPOCH)
        };
        Self {
            id,
            original,
            stream: told("dead:stream").unwrap_or_default(),
            group: told("dead:group").unwrap_or_default(),
            consumer: told("dead:consumer").unwrap_or_default(),
            reason: told("dead:reason").unwrap_or_default(),
            error: told("dead:error").unwrap_or_default(),
            deliveries: told("dead:deliveries").and_then(|count| count.parse().ok()).unwrap_or_default(),
            first_seen: time("dead:first_seen"),
            last_seen: time("dead:last_seen"),
            fields: rest,
        }
    }

    /// The trace that it belongs to, if its producer said so.
    #[must_use]
    pub fn traceparent(&self) -> Option<TraceParent> {
        TraceParent::of_fields(&self.fields)
    }
}

/// Payloads stay out of logs.
impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, original, stream, group, consumer, reason, deliveries, .. } = self;
        f.debug_struct("DeadLetter")
            .field("id", id)
            .field("original", original)
            .field("stream", stream)
            .field("group", group)
            .field("consumer", consumer)
            .field("reason", reason)
            .field("deliveries", deliveries)
            .finish_non_exhaustive()
    }
}

type Predicate = Arc<dyn Fn(&DeadLetter) -> bool + Send + Sync>;

/// Which dead letters are meant: all of the group, unless it is told more.
#[derive(Clone, Default)]
#[must_use = "a filter does nothing until it is used"]
pub struct DeadLetterFilter {
    reason: Option<String>,
    ids: Option<Vec<StreamId>>,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    limit: Option<usize>,
    matching: Option<Predicate>,
}

impl DeadLetterFilter {
    /// All dead letters of the group, and scheduled messages of the stream that were refused.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only those with this reason: `rejected`, `max_deliveries`, `decode`, or `schedule` for a scheduled message that the server
    /// refused.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Only those with these ids of their own.
    pub fn ids(mut self, ids: impl IntoIterator<Item = StreamId>) -> Self {
        self.ids = Some(ids.into_iter().collect());
        self
    }

    /// Only those that died at this time, by the server's clock, or later.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.since = Some(time);
        self
    }

    /// Only those that died at this time, by the server's clock, or earlier.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.until = Some(time);
        self
    }

    /// At most that many.
    pub fn limit(mut self, letters: usize) -> Self {
        self.limit = Some(letters);
        self
    }

    /// Only those of which this is true.
    pub fn matching(mut self, wanted: impl Fn(&DeadLetter) -> bool + Send + Sync + 'static) -> Self {
        self.matching = Some(Arc::new(wanted));
        self
    }

    fn lets_through(&self, letter: &DeadLetter, stream: &str, group: &str) -> bool {
        // Several streams may have one place. A scheduled message that was refused belongs to no group.
        letter.stream == stream
            && (letter.group == group || letter.group.is_empty())
            && self.reason.as_ref().is_none_or(|reason| *reason == letter.reason)
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&letter.id))
            && self.matching.as_ref().is_none_or(|wanted| wanted(letter))
    }
}

impl fmt::Debug for DeadLetterFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, ids, since, until, limit, matching } = self;
        f.debug_struct("DeadLetterFilter")
            .field("reason", reason)
            .field("ids", ids)
            .field("since", since)
            .field("until", until)
            .field("limit", limit)
            .field("matching", &matching.is_some())
            .finish()
    }
}
