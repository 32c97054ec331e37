//! What the scripts do, in commands, for users who may not run scripts. Whose an entry is and what is done with it
//! are two commands here: somebody may take it over in between, and then it may be handled twice. Nothing is
//! acknowledged that was not handled or written to the dead letters before.

use std::time::Duration;

use redis::Value;

use super::consumer_commands::{ConsumerCommands, Counted, entry, items, millis};
use crate::client::Redis;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::messages::internal::Internal;
use crate::messages::{
    decode,
    stream_id::StreamId,
    streams_pending::{XAutoClaim, XPendingEntries},
    streams_replies::StreamEntry,
};
use crate::streams::machine::failure::Failure;
use crate::streams::machine::{
    ClaimReply, ClaimedEntry, DeadLetterOutcome, DeadLetterRequest, LeaseReply, LeaseTerm, SweepReply, UnreadEntries,
};

/// How often an entry becomes a dead letter, as in `dead_letter.lua`: two consumers whose dead letters go to each other's
/// streams would move it round without end.
const MOST_MOVES: usize = 16;

impl ConsumerCommands {
    pub(crate) async fn all(&self, frames: impl IntoIterator<Item = Frame>) -> Result<Vec<Value>, Failure> {
        all(&self.control, frames).await
    }
}

async fn all(redis: &Redis, frames: impl IntoIterator<Item = Frame>) -> Result<Vec<Value>, Failure> {
    let mut frames = frames.into_iter().peekable();
    if frames.peek().is_none() {
        return Ok(Vec::new());
    }
    let answers = items(redis.send(Internal(Frame::join(frames))).await?)?;
    let fine = |answer: Value| match answer {
        Value::ServerError(error) => Err(Failure::from(Error::server(error.code(), error.details()))),
        answer => Ok(answer),
    };
    answers.into_iter().map(fine).collect()
}

impl ConsumerCommands {
    /// For each entry, the count of its deliveries if it is ours.
    async fn owned(&self, ids: impl Iterator<Item = StreamId>) -> Result<Vec<Option<u64>>, Failure> {
        self.owned_by(&self.control, ids).await
    }

    async fn owned_by(&self, redis: &Redis, ids: impl Iterator<Item = StreamId>) -> Result<Vec<Option<u64>>, Failure> {
        let asks = ids
            .map(|id| Frame::known("XPENDING").key(self.stream()).arg(self.group()).arg(id).arg(id).arg(1).read_only());
        let count = |answer: Value| {
            let page: Vec<(StreamId, String, i64, u64)> = decode(answer)?;
            Ok(page.into_iter().next().filter(|entry| entry.1 == self.consumer()).map(|entry| entry.3))
        };
        all(redis, asks).await?.into_iter().map(count).collect()
    }

    fn claim(&self, id: StreamId) -> Frame {
        Frame::known("XCLAIM").key(self.stream()).arg(self.group()).arg(self.consumer()).arg(0).arg(id).idempotent()
    }

    fn ack(&self, id: StreamId) -> Frame {
        Frame::known("XACK").key(self.stream()).arg(self.group()).arg(id).idempotent()
    }

    pub(crate) async fn sweep_without_scripts(
        &self,
        cursor: StreamId,
        count: usize,
        min_idle: Duration,
        expected: Option<(u64, Duration)>,
        unread: Option<StreamId>,
    ) -> Result<SweepReply, Failure> {
        let time: (u64, u64) =
            decode(self.control.send(Internal(self.beside(Frame::known("TIME").read_only()))).await?)?;
        let clock = time.0 * 1000 + time.1 / 1000;
        if expected.is_some_and(|(expected, tolerance)| clock.abs_diff(expected) > millis(tolerance)) {
            return Ok(SweepReply { clock, returned: Vec::new(), claims: None });
        }
        let own: Vec<StreamId> = match unread {
            Some(unread) => {
                let pending = XPendingEntries::new(self.stream(), self.group(), unread.., count as u64);
                let page = self.control.send(pending.consumer(self.consumer()).min_idle(min_idle)).await?;
                page.into_iter().map(|entry| entry.id).collect()
            }
            None => Vec::new(),
        };
        let claim = XAutoClaim::new(self.stream(), self.group(), self.consumer(), min_idle, cursor);
        let claimed = self.control.send(claim.just_id().count(count as u64)).await?;
        let counts = self.owned(claimed.entries.iter().copied()).await?;
        let claimed_entry = |(id, count): (StreamId, Option<u64>)| {
            Some(ClaimedEntry { id, deliveries: count?, is_unread: own.contains(&id) })
        };
        let entries = claimed.entries.into_iter().zip(counts).filter_map(claimed_entry).collect();
        let claims = ClaimReply { cursor: claimed.cursor, entries, gone: claimed.deleted };
        // What others have handed back is taken over like what they have left: for the group's other consumers it is idle.
        Ok(SweepReply { clock, returned: Vec::new(), claims: Some(claims) })
    }

    pub(crate) async fn lease_without_scripts(
        &self,
        redis: &Redis,
        terms: &[LeaseTerm],
    ) -> Result<LeaseReply, Failure> {
        let owned = self.owned_by(redis, terms.iter().map(|term| term.id)).await?;
        let (ours, lost): (Vec<_>, Vec<_>) = terms.iter().zip(owned).partition(|(_, count)| count.is_some());
        let renew = ours.iter().map(|(term, _)| {
            let frame = self.claim(term.id).arg("IDLE").arg(millis(term.idle));
            let frame = match term.count {
                Some(count) => frame.arg("RETRYCOUNT").arg(count),
                None => frame,
            };
            frame.arg("JUSTID")
        });
        let mut gone = Vec::new();
        for (answer, (term, _)) in all(redis, renew).await?.into_iter().zip(&ours) {
            if items(answer)?.is_empty() {
                gone.push(term.id);
            }
        }
        // Whether an entry is somebody else's or nobody's is not known here.
        Ok(LeaseReply { lost: lost.into_iter().map(|(term, _)| term.id).collect(), absent: Vec::new(), gone })
    }

    pub(crate) async fn renew_unread_without_scripts(
        &self,
        redis: &Redis,
        unread: UnreadEntries,
    ) -> Result<(), Failure> {
        let pending = XPendingEntries::new(self.stream(), self.group(), unread.from.., unread.count as u64);
        let page = redis.send(pending.consumer(self.consumer())).await?;
        let on_their_way = page.into_iter().filter(|entry| entry.idle <= unread.max_idle);
        all(redis, on_their_way.map(|entry| self.claim(entry.id).arg("IDLE").arg(0).arg("JUSTID"))).await?;
        Ok(())
    }

    pub(crate) async fn take_without_scripts(&self, entries: &[(StreamId, u64)]) -> Result<Vec<Counted>, Failure> {
        let owned = self.owned(entries.iter().map(|(id, _)| *id)).await?;
        let ours = entries.iter().zip(owned).filter_map(|(entry, count)| count.map(|_| *entry));
        let ours: Vec<(StreamId, u64)> = ours.collect();
        let claims = ours.iter().map(|(id, count)| self.claim(*id).arg("RETRYCOUNT").arg(*count));
        let mut taken = Vec::new();
        let mut gone = Vec::new();
        for (answer, (id, count)) in self.all(claims).await?.into_iter().zip(ours) {
            // Before Redis 7.0 there is a nil for an entry that was removed.
            match items(answer)?.into_iter().find(|item| *item != Value::Nil) {
                Some(claimed) => taken.push((decode::<StreamEntry>(claimed)?, count)),
                None => {
                    gone.push(self.ack(id));
                    taken.push((entry(id, Value::Nil)?, count));
                }
            }
        }
        self.all(gone).await?;
        Ok(taken)
    }

    pub(crate) async fn dead_letter_without_scripts(
        &self,
        dead_letter_request: &DeadLetterRequest,
    ) -> Result<DeadLetterOutcome, Failure> {
        let id = dead_letter_request.id;
        let pending = Frame::known("XPENDING").key(self.stream()).arg(self.group()).arg(id).arg(id).arg(1).read_only();
        let answers = self.all([pending, Frame::known("TIME").read_only()]).await?;
        let [pending, time] = <[Value; 2]>::try_from(answers).map_err(|_| Error::decode("not two answers"))?;
        let page: Vec<(StreamId, String, u64, u64)> = decode(pending)?;
        let ours = page.into_iter().next().filter(|entry| entry.1 == self.consumer());
        let Some((.., idle, count)) = ours else { return Ok(DeadLetterOutcome::NotOurs) };
        let time: (u64, u64) = decode(time)?;
        let last_seen = (time.0 * 1000 + time.1 / 1000).saturating_sub(idle);
        let range = Frame::known("XRANGE").key(self.stream()).arg(id).arg(id).read_only();
        let found: Vec<StreamEntry> = decode(self.control.send(Internal(range)).await?)?;
        let Some(found) = found.into_iter().next() else {
            self.control.send(Internal(self.ack(id))).await?;
            return Ok(DeadLetterOutcome::Gone);
        };
        if found.fields.iter().filter(|(name, _)| name == b"dead:meta").count() >= MOST_MOVES {
            let words = "the entry was a dead letter 16 times: consumers move their dead letters to each other";
            return Err(Error::server("ERR", Some(words)).into());
        }
        let add = Frame::known("XADD").key(&self.dead_letters);
        let add = match self.dead_letter_max_len {
            Some(letters) => add.arg("MAXLEN").arg("~").arg(letters),
            None => add,
        };
        let add = add.arg("*");
        // Without the first pair, which says how many of them are ours, it would be nobody's letter.
        let own = self.dead_letter_fields(dead_letter_request, Frame::default()).len() / 2 + 4;
        let add = add.arg("dead:meta").arg(own).arg("dead:deliveries").arg(count);
        let add = add.arg("dead:first_seen").arg(id.ms).arg("dead:last_seen").arg(last_seen);
        let add = self.dead_letter_fields(dead_letter_request, add);
        let add = found.fields.iter().fold(add, |add, (name, value)| add.arg(name.as_slice()).arg(value.as_slice()));
        self.control.send(Internal(add)).await?;
        self.control.send(Internal(self.ack(id))).await?;
        Ok(DeadLetterOutcome::Written)
    }
}
