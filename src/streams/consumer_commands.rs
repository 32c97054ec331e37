//! What a consumer asks of the server, in commands.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::denials::Denials;
use crate::client::Redis;
use crate::error::{Error, Result};
use crate::frame::{Frame, WhenDown};
use crate::lua::{ACK_DELETE, DEAD_LETTER, LEASE, Lua, RENEW_UNREAD, SWEEP, TAKE};
use crate::messages::internal::Internal;
use crate::messages::{
    decode,
    stream_id::StreamId,
    streams_groups::{XAck, XReadGroup},
    streams_pending::XPendingEntries,
    streams_replies::StreamEntry,
};
use crate::streams::events::{ConsumerName, Missing};
use crate::streams::machine::failure::{Failure, FailureKind};
use crate::streams::machine::group_position::{LastEntry, Start};
use crate::streams::machine::{
    ClaimReply, ClaimedEntry, DeadLetterOutcome, DeadLetterRequest, LeaseReply, LeaseTerm, SweepReply, UnreadEntries,
};

/// A read has no deadline of its own; this one only says so to the connection.
const NO_DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where a consumer's entries are, and who asks for them.
pub(crate) struct ConsumerCommands {
    /// The user's connection: everything but reads goes this way, so that nothing waits behind a BLOCK.
    pub(crate) control: Redis,
    /// A connection of the consumer's own.
    pub(crate) reader: Redis,
    pub(crate) name: ConsumerName,
    pub(crate) dead_letters: String,
    pub(crate) start: Start,
    /// What the server calls the reader in CLIENT LIST, and what this consumer holds its name by.
    pub(crate) reader_name: String,
    /// Entries go when every group has acknowledged them.
    pub(crate) delete_acknowledged: bool,
    /// About how many dead letters are kept.
    pub(crate) dead_letter_max_len: Option<u64>,
    pub(crate) denials: Denials,
    /// After it a handler's entry is not kept for it any more.
    pub(crate) handler_deadline: Duration,
}

/// An entry with the count of its deliveries.
pub(crate) type Counted = (StreamEntry, u64);

impl ConsumerCommands {
    pub(crate) fn stream(&self) -> &str {
        &self.name.stream
    }

    pub(crate) fn group(&self) -> &str {
        &self.name.group
    }

    pub(crate) fn consumer(&self) -> &str {
        &self.name.consumer
    }

    /// In a cluster, to the node that has the stream: there the reader is.
    pub(crate) fn beside(&self, frame: Frame) -> Frame {
        match self.control.slot_of(self.stream()) {
            Some(slot) => frame.on_slot(slot),
            None => frame,
        }
    }

    /// Ends a client that the server still believes to be there: blocked, it would go on taking entries for
    /// nobody. Its name is looked at first, for a server that was restarted gives its number to others.
    pub(crate) async fn reap(self: Arc<Self>, client: i64) -> Result<(), Failure> {
        let list = self.beside(Frame::known("CLIENT LIST").arg("ID").arg(client).read_only());
        let answer = self.control.send(Internal(list)).await;
        let Some(answer) = self.denials.note(Missing::Client, answer)? else { return Ok(()) };
        let lines: String = decode(plain_text(answer))?;
        let name = format!(" name={} ", self.reader_name);
        if lines.lines().any(|line| line.contains(&name)) {
            let kill = self.beside(Frame::known("CLIENT KILL").arg("ID").arg(client).idempotent());
            let answer = self.control.send(Internal(kill)).await;
            self.denials.note(Missing::Client, answer)?;
        }
        Ok(())
    }

    pub(crate) async fn unblock(self: Arc<Self>, client: i64) {
        // With ERROR: the default mode crashes servers whose writes are paused, for example during CLUSTER FAILOVER.
        let frame = self.beside(Frame::known("CLIENT UNBLOCK").arg(client).arg("ERROR").idempotent());
        let answer = self.control.send(Internal(frame)).await;
        if let Err(error) = self.denials.note(Missing::Client, answer) {
            tracing::debug!(%error, "a blocked read could not be let go");
        }
    }

    /// Runs a script, or finds that none may be run.
    pub(crate) async fn scripted<K: AsRef<[u8]>>(
        &self,
        script: &Lua,
        keys: &[K],
        args: impl Fn(Frame) -> Frame,
    ) -> Result<Option<Value>> {
        if self.denials.holds(Missing::Scripts) {
            return Ok(None);
        }
        match script.run(&self.control, keys, args).await {
            // What the script itself may not do is another matter.
            Err(error) if !names_scripts(&error) => Err(error),
            answer => self.denials.note(Missing::Scripts, answer),
        }
    }

    pub(crate) async fn list_pending(
        self: Arc<Self>,
        after: Option<StreamId>,
        count: usize,
    ) -> Result<Vec<(StreamId, u64)>, Failure> {
        // Not an excluded bound: servers before 6.2 do not know it.
        let from = after.map_or(Some(StreamId::MIN), StreamId::next);
        let Some(from) = from else { return Ok(Vec::new()) };
        let pending = XPendingEntries::new(self.stream(), self.group(), from.., count as u64);
        let page = self.control.send(pending.consumer(self.consumer())).await?;
        Ok(page.into_iter().map(|entry| (entry.id, entry.deliveries)).collect())
    }

    /// New entries, as many as there are; waits for the first one as long as `block`. `generation` is the link that
    /// the consumer believes the reader to have.
    pub(crate) async fn read(
        self: Arc<Self>,
        count: usize,
        block: Option<Duration>,
        generation: u64,
    ) -> Result<Vec<StreamEntry>, Failure> {
        if self.reader.status().borrow().generation != generation {
            return Err(Failure { kind: FailureKind::Link, error: Error::reader_changed() });
        }
        let read = XReadGroup::new(self.group(), self.consumer(), [self.stream()])
            .count(count as u64)
            .timeout(NO_DEADLINE)
            .when_down(WhenDown::FailFast);
        let read = match block {
            Some(block) => read.block(block),
            None => read,
        };
        let pages = self.reader.send(read).await?;
        Ok(pages.into_iter().flat_map(|page| page.entries).collect())
    }

    /// Claims what others left, unless the server's clock is not what it should be.
    pub(crate) async fn sweep(
        self: Arc<Self>,
        cursor: StreamId,
        count: usize,
        min_idle: Duration,
        clock: Option<(u64, Duration)>,
        unread: Option<StreamId>,
    ) -> Result<SweepReply, Failure> {
        let args = |frame: Frame| {
            let frame = frame.arg(self.group()).arg(self.consumer()).arg(millis(min_idle)).arg(cursor).arg(count);
            let frame = match clock {
                Some((clock, tolerance)) => frame.arg(clock).arg(millis(tolerance)),
                None => frame.arg(-1).arg(0),
            };
            match unread {
                Some(unread) => frame.arg(unread),
                None => frame.arg(""),
            }
        };
        let Some(answer) = self.scripted(&SWEEP, &[self.stream()], args).await? else {
            return self.sweep_without_scripts(cursor, count, min_idle, clock, unread).await;
        };
        let mut parts = items(answer)?.into_iter();
        let clock = decode(parts.next().unwrap_or(Value::Nil))?;
        let returned: Vec<(StreamId, u64, u64)> = decode(parts.next().unwrap_or(Value::Nil))?;
        let returned = returned.into_iter().map(|(id, count, idle)| (id, count, Duration::from_millis(idle))).collect();
        let Some(cursor) = parts.next() else { return Ok(SweepReply { clock, returned, claims: None }) };
        let entries: Vec<(StreamId, u64, u64)> = decode(parts.next().unwrap_or(Value::Nil))?;
        let claimed = |(id, deliveries, unread)| ClaimedEntry { id, deliveries, is_unread: unread == 1 };
        let entries = entries.into_iter().map(claimed).collect();
        let gone: Vec<StreamId> = decode(parts.next().unwrap_or(Value::Nil))?;
        Ok(SweepReply { clock, returned, claims: Some(ClaimReply { cursor: decode(cursor)?, entries, gone }) })
    }

    pub(crate) async fn acknowledge(self: Arc<Self>, ids: Vec<StreamId>) -> Result<(), Failure> {
        if self.delete_acknowledged {
            return self.acknowledge_and_delete(&ids).await;
        }
        self.control.send(XAck::new(self.stream(), self.group(), ids).idempotent()).await?;
        Ok(())
    }

    /// Where the server runs no script for us, nothing is deleted.
    async fn acknowledge_and_delete(&self, ids: &[StreamId]) -> Result<(), Failure> {
        if self.control.features_for(self.stream().as_bytes()).await?.xackdel {
            let frame = Frame::known("XACKDEL").key(self.stream()).arg(self.group()).arg("ACKED");
            let frame = ids.iter().fold(frame.arg("IDS").arg(ids.len()), |frame, id| frame.arg(*id));
            self.control.send(Internal(frame.idempotent())).await?;
            return Ok(());
        }
        let args = |frame: Frame| ids.iter().fold(frame.arg(self.group()), |frame, id| frame.arg(*id)).idempotent();
        if self.scripted(&ACK_DELETE, &[self.stream()], args).await?.is_none() {
            self.control.send(XAck::new(self.stream(), self.group(), ids).idempotent()).await?;
        }
        Ok(())
    }

    /// Tells the terms, and returns what is no longer ours, or no longer there.
    pub(crate) async fn lease(self: Arc<Self>, terms: Vec<LeaseTerm>) -> Result<LeaseReply, Failure> {
        let releases = terms.iter().any(|term| term.returned && term.count == Some(0) && !term.forced);
        let by_nack = releases && self.control.features_for(self.stream().as_bytes()).await?.xnack;
        let args = |frame: Frame| {
            terms.iter().fold(frame.arg(self.group()).arg(self.consumer()), |frame, term| {
                let frame = frame.arg(term.id);
                let frame = match (term.returned, term.forced) {
                    (true, false) if by_nack && term.count == Some(0) => frame.arg(-1),
                    (false, false) => frame.arg(millis(term.idle)),
                    (returned, forced) => {
                        let how = if returned { "r" } else { "" };
                        let how = if forced { [how, "f"].concat() } else { how.to_owned() };
                        frame.arg(format!("{how}{}", millis(term.idle)))
                    }
                };
                match term.count {
                    Some(count) => frame.arg(count),
                    None => frame.arg(-1),
                }
            })
        };
        match self.scripted(&LEASE, &[self.stream()], args).await? {
            Some(answer) => {
                let (lost, absent, gone) = decode(answer)?;
                Ok(LeaseReply { lost, absent, gone })
            }
            None => self.lease_without_scripts(&self.control, &terms).await,
        }
    }

    /// Renews leases over a connection of the keeper's.
    pub(crate) async fn renew(&self, redis: &Redis, terms: &[LeaseTerm]) -> Result<(), Failure> {
        let args = |frame: Frame| {
            let frame = frame.arg(self.group()).arg(self.consumer());
            terms.iter().fold(frame, |frame, term| {
                let frame = frame.arg(term.id).arg(millis(term.idle));
                match term.count {
                    Some(count) => frame.arg(count),
                    None => frame.arg(-1),
                }
            })
        };
        if self.denials.holds(Missing::Scripts) {
            self.lease_without_scripts(redis, terms).await?;
        } else {
            LEASE.run(redis, &[self.stream()], args).await?;
        }
        Ok(())
    }

    /// Renews the leases of entries that were delivered to this consumer and have not arrived, over its own or another
    /// connection.
    pub(crate) async fn renew_unread(&self, redis: &Redis, unread: UnreadEntries) -> Result<(), Failure> {
        let UnreadEntries { from, count, max_idle } = unread;
        let args = |frame: Frame| {
            frame.arg(self.group()).arg(self.consumer()).arg(from).arg(count).arg(millis(max_idle)).idempotent()
        };
        if self.denials.holds(Missing::Scripts) {
            return self.renew_unread_without_scripts(redis, unread).await;
        }
        RENEW_UNREAD.run(redis, &[self.stream()], args).await?;
        Ok(())
    }

    /// Reads entries of ours; those without fields are gone.
    pub(crate) async fn peek(self: Arc<Self>, ids: Vec<StreamId>) -> Result<Vec<StreamEntry>, Failure> {
        let range = |id: &StreamId| Frame::known("XRANGE").key(self.stream()).arg(*id).arg(*id).read_only();
        let answers = self.all(ids.iter().map(range)).await?;
        let one = |(answer, id): (Value, StreamId)| {
            let found: Vec<StreamEntry> = decode(answer)?;
            Ok(found.into_iter().next().unwrap_or(StreamEntry { id, fields: Vec::new() }))
        };
        answers.into_iter().zip(ids).map(one).collect()
    }

    /// Has entries of ours delivered again; those without fields are gone.
    pub(crate) async fn take(self: Arc<Self>, entries: Vec<(StreamId, u64)>) -> Result<Vec<Counted>, Failure> {
        let args = |frame: Frame| {
            let frame = frame.arg(self.group()).arg(self.consumer());
            entries.iter().fold(frame, |frame, (id, count)| frame.arg(*id).arg(*count))
        };
        let Some(answer) = self.scripted(&TAKE, &[self.stream()], args).await? else {
            return self.take_without_scripts(&entries).await;
        };
        let entry = |item: Value| {
            let mut parts = items(item)?.into_iter();
            let mut next = || parts.next().unwrap_or(Value::Nil);
            let id = decode::<StreamId>(next())?;
            let count = decode::<u64>(next())?;
            Ok((entry(id, next())?, count))
        };
        items(answer)?.into_iter().map(entry).collect()
    }

    pub(crate) async fn dead_letter(
        self: Arc<Self>,
        dead_letter_request: DeadLetterRequest,
    ) -> Result<DeadLetterOutcome, Failure> {
        let args = |frame: Frame| {
            let frame = frame.arg(self.group()).arg(self.consumer()).arg(dead_letter_request.id);
            let frame = match self.dead_letter_max_len {
                Some(letters) => frame.arg(letters),
                None => frame.arg(""),
            };
            self.dead_letter_fields(&dead_letter_request, frame)
        };
        let answer = match self.scripted(&DEAD_LETTER, &[self.stream(), &self.dead_letters], args).await {
            // A script cannot call a command with so many words, and a client can.
            Err(error) if error.message().contains("too many fields") => None,
            answer => answer?,
        };
        let outcome = match answer.map(decode::<i64>).transpose()? {
            None => self.dead_letter_without_scripts(&dead_letter_request).await?,
            Some(1) => DeadLetterOutcome::Written,
            Some(0) => DeadLetterOutcome::NotOurs,
            Some(_) => DeadLetterOutcome::Gone,
        };
        if self.delete_acknowledged && matches!(outcome, DeadLetterOutcome::Written) {
            self.delete_unneeded(dead_letter_request.id).await;
        }
        Ok(outcome)
    }

    /// Removes a dead entry from its stream as soon as no group needs it, as entries that were handled are.
    async fn delete_unneeded(&self, id: StreamId) {
        let args = |frame: Frame| frame.arg(self.group()).arg(id).idempotent();
        if let Err(error) = self.scripted(&ACK_DELETE, &[self.stream()], args).await {
            tracing::debug!(stream = self.stream(), %id, %error, "a dead entry stays in its stream");
        }
    }

    /// What a dead letter has beside the fields of its entry.
    pub(crate) fn dead_letter_fields(&self, dead_letter_request: &DeadLetterRequest, frame: Frame) -> Frame {
        let frame = frame.arg("dead:id").arg(dead_letter_request.id).arg("dead:stream").arg(self.stream());
        let frame = frame.arg("dead:group").arg(self.group()).arg("dead:consumer").arg(self.consumer());
        let frame = frame.arg("dead:reason").arg(dead_letter_request.reason.as_str());
        frame.arg("dead:error").arg(dead_letter_request.error.as_deref().unwrap_or(""))
    }
}

/// Whether it is about running scripts: the server names the command that is forbidden.
fn names_scripts(error: &Error) -> bool {
    let words = error.message().to_ascii_lowercase();
    // Older servers quote by backticks.
    error.is_forbidden() && ["'eval", "`eval"].iter().any(|name| words.contains(name))
}

/// What an entry is known again by.
pub(crate) fn sample_of(entry: &StreamEntry) -> LastEntry {
    let mut hasher = DefaultHasher::new();
    entry.fields.hash(&mut hasher);
    LastEntry { id: entry.id, hash: hasher.finish() }
}

/// CLIENT LIST answers a verbatim string in RESP3.
pub(crate) fn plain_text(value: Value) -> Value {
    match value {
        Value::VerbatimString { text, .. } => Value::BulkString(text.into_bytes()),
        other => other,
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn items(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(Error::decode("the server answered no list")),
    }
}

/// An entry of an id and its fields, which are nil where it was removed.
pub(crate) fn entry(id: StreamId, fields: Value) -> Result<StreamEntry> {
    decode(Value::Array(vec![Value::BulkString(id.to_string().into_bytes()), fields]))
}

impl Error {
    fn reader_changed() -> Self {
        Self::new(
            crate::error::ErrorKind::Disconnected,
            crate::error::Fate::NotSent,
            "the reader's link was lost and made anew between two reads",
        )
    }
}
