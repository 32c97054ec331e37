//! What a consumer asks of the server, in commands.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::scripts::{DEAD_LETTER, Internal, LEASE, TAKE};
use crate::core::consumer::failure::{Failure, FailureKind};
use crate::core::consumer::{Burial, Buried, LeaseTerm};
use crate::error::{Error, Result};
use crate::frame::{Frame, WhenDown};
use crate::handle::Redis;
use crate::messages::{
    decode,
    stream_id::StreamId,
    streams_groups::{XAck, XGroupCreate, XReadGroup},
    streams_pending::{XAutoClaim, XPendingEntries},
    streams_replies::StreamEntry,
};
use crate::streams::events::ConsumerName;

/// A read has no deadline of its own; this one only says so to the connection.
const NO_DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where a consumer's entries are, and who asks for them.
pub(crate) struct Errands {
    /// The user's connection: everything but reads goes this way, so that nothing waits behind a BLOCK.
    pub(crate) control: Redis,
    /// A connection of the consumer's own.
    pub(crate) reader: Redis,
    pub(crate) name: ConsumerName,
    pub(crate) dead_letters: String,
    pub(crate) start: Option<StreamId>,
    /// What the server calls the reader in CLIENT LIST.
    pub(crate) reader_name: String,
}

/// An entry with the count of its deliveries.
pub(crate) type Counted = (StreamEntry, u64);

/// A page of a sweep.
pub(crate) struct SweptPage {
    pub(crate) cursor: StreamId,
    pub(crate) entries: Vec<Counted>,
    pub(crate) gone: Vec<StreamId>,
}

impl Errands {
    fn stream(&self) -> &str {
        &self.name.stream
    }

    fn group(&self) -> &str {
        &self.name.group
    }

    fn consumer(&self) -> &str {
        &self.name.consumer
    }

    /// In a cluster, to the node that has the stream: there the reader is.
    fn beside(&self, frame: Frame) -> Frame {
        match self.control.slot_of(self.stream()) {
            Some(slot) => frame.on_slot(slot),
            None => frame,
        }
    }

    /// Ends a client that the server still believes to be there: blocked, it would go on taking entries for
    /// nobody. Its name is looked at first, for a server that was restarted gives its number to others.
    pub(crate) async fn reap(self: Arc<Self>, client: i64) -> Result<(), Failure> {
        let list = self.beside(Frame::known("CLIENT LIST").arg("ID").arg(client).read_only());
        let answer = self.control.send(Internal(list)).await?;
        let lines: String = decode(plain_text(answer))?;
        let name = format!(" name={} ", self.reader_name);
        if lines.lines().any(|line| line.contains(&name)) {
            let kill = self.beside(Frame::known("CLIENT KILL").arg("ID").arg(client).idempotent());
            self.control.send(Internal(kill)).await?;
        }
        Ok(())
    }

    pub(crate) async fn unblock(self: Arc<Self>, client: i64) {
        let frame = self.beside(Frame::known("CLIENT UNBLOCK").arg(client).idempotent());
        if let Err(error) = self.control.send(Internal(frame)).await {
            tracing::debug!(%error, "a blocked read could not be let go");
        }
    }

    /// Makes the group, unless it is there.
    pub(crate) async fn ensure_group(self: Arc<Self>) -> Result<bool, Failure> {
        let create = XGroupCreate::new(self.stream(), self.group()).mkstream().idempotent();
        let create = match self.start {
            Some(id) => create.start_after(id),
            None => create.start_at_end(),
        };
        match self.control.send(create).await {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn list_pending(
        self: Arc<Self>,
        after: Option<StreamId>,
        count: usize,
    ) -> Result<Vec<StreamId>, Failure> {
        // Not an excluded bound: servers before 6.2 do not know it.
        let from = after.map_or(Some(StreamId::MIN), StreamId::next);
        let Some(from) = from else { return Ok(Vec::new()) };
        let pending = XPendingEntries::new(self.stream(), self.group(), from.., count as u64);
        let page = self.control.send(pending.consumer(self.consumer())).await?;
        Ok(page.into_iter().map(|entry| entry.id).collect())
    }

    /// New entries, as many as there are, or none after `block`. `generation` is the link that the consumer
    /// believes the reader to have.
    pub(crate) async fn read(
        self: Arc<Self>,
        count: usize,
        block: Duration,
        generation: u64,
    ) -> Result<Vec<StreamEntry>, Failure> {
        if self.reader.status().borrow().generation != generation {
            return Err(Failure { kind: FailureKind::Link, error: Error::reader_changed() });
        }
        let read = XReadGroup::new(self.group(), self.consumer(), [self.stream()])
            .count(count as u64)
            .block(block)
            .timeout(NO_DEADLINE)
            .when_down(WhenDown::FailFast);
        let pages = self.reader.send(read).await?;
        Ok(pages.into_iter().flat_map(|page| page.entries).collect())
    }

    /// Claims what others left, with the counts that XAUTOCLAIM does not tell.
    pub(crate) async fn sweep(
        self: Arc<Self>,
        cursor: StreamId,
        count: usize,
        min_idle: Duration,
    ) -> Result<SweptPage, Failure> {
        let claim = XAutoClaim::new(self.stream(), self.group(), self.consumer(), min_idle, cursor);
        let claimed = self.control.send(claim.count(count as u64)).await?;
        let counts = self.deliveries(&claimed.entries).await?;
        let entries = claimed.entries.into_iter().zip(counts).filter_map(|(entry, count)| Some((entry, count?)));
        Ok(SweptPage { cursor: claimed.cursor, entries: entries.collect(), gone: claimed.deleted })
    }

    async fn deliveries(&self, entries: &[StreamEntry]) -> Result<Vec<Option<u64>>, Failure> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let asks = entries.iter().map(|entry| {
            let id = entry.id;
            Frame::known("XPENDING").key(self.stream()).arg(self.group()).arg(id).arg(id).arg(1).read_only()
        });
        let answer = self.control.send(Internal(Frame::join(asks))).await?;
        let Value::Array(answers) = answer else { return Err(Error::decode("not one answer for each entry").into()) };
        let count = |answer: Value| {
            if let Value::ServerError(error) = answer {
                return Err(Failure::from(Error::server(error.code(), error.details())));
            }
            let page: Vec<(String, String, i64, u64)> = decode(answer)?;
            Ok(page.first().map(|entry| entry.3))
        };
        answers.into_iter().map(count).collect()
    }

    pub(crate) async fn acknowledge(self: Arc<Self>, ids: Vec<StreamId>) -> Result<(), Failure> {
        self.control.send(XAck::new(self.stream(), self.group(), ids).idempotent()).await?;
        Ok(())
    }

    /// Tells the terms, and returns what is no longer ours.
    pub(crate) async fn lease(self: Arc<Self>, terms: Vec<LeaseTerm>) -> Result<Vec<StreamId>, Failure> {
        let args = |frame: Frame| {
            terms.iter().fold(frame.arg(self.group()).arg(self.consumer()), |frame, term| {
                let idle = u64::try_from(term.idle.as_millis()).unwrap_or(u64::MAX);
                let frame = frame.arg(term.id).arg(idle);
                match term.count {
                    Some(count) => frame.arg(count),
                    None => frame.arg(-1),
                }
            })
        };
        let answer = LEASE.run(&self.control, &[self.stream()], args).await?;
        Ok(decode(answer)?)
    }

    /// Has entries of ours delivered again; those without fields are gone.
    pub(crate) async fn take(self: Arc<Self>, ids: Vec<StreamId>) -> Result<Vec<(StreamEntry, u64)>, Failure> {
        let args =
            |frame: Frame| ids.iter().fold(frame.arg(self.group()).arg(self.consumer()), |frame, id| frame.arg(*id));
        let answer = TAKE.run(&self.control, &[self.stream()], args).await?;
        let Value::Array(items) = answer else { return Err(Error::decode("the script answered no list").into()) };
        let entry = |item: Value| {
            let Value::Array(parts) = item else { return Err(Error::decode("the script answered no entry").into()) };
            let mut parts = parts.into_iter();
            let mut next = || parts.next().unwrap_or(Value::Nil);
            let id = decode::<StreamId>(next())?;
            let count = decode::<u64>(next())?;
            let entry: StreamEntry =
                decode(Value::Array(vec![Value::BulkString(id.to_string().into_bytes()), next()]))?;
            Ok((entry, count))
        };
        items.into_iter().map(entry).collect()
    }

    pub(crate) async fn bury(self: Arc<Self>, burial: Burial) -> Result<Buried, Failure> {
        let args = |frame: Frame| {
            let frame = frame.arg(self.group()).arg(self.consumer()).arg(burial.id);
            let frame = frame.arg("dead:id").arg(burial.id).arg("dead:stream").arg(self.stream());
            let frame = frame.arg("dead:group").arg(self.group()).arg("dead:consumer").arg(self.consumer());
            let frame = frame.arg("dead:reason").arg(burial.reason.as_str());
            frame.arg("dead:error").arg(burial.error.as_deref().unwrap_or(""))
        };
        let answer = DEAD_LETTER.run(&self.control, &[self.stream(), &self.dead_letters], args).await?;
        match decode::<i64>(answer)? {
            1 => Ok(Buried::Written),
            0 => Ok(Buried::NotOurs),
            _ => Ok(Buried::Gone),
        }
    }
}

/// CLIENT LIST answers a verbatim string in RESP3.
fn plain_text(value: Value) -> Value {
    match value {
        Value::VerbatimString { text, .. } => Value::BulkString(text.into_bytes()),
        other => other,
    }
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
