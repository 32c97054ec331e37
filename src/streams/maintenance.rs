//! What a consumer asks of the server about its group, its name and its peers.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::consumer_commands::{ConsumerCommands, millis, plain_text, sample_of};
use crate::client::Redis;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::lua::{FORGET, NAME};
use crate::messages::internal::Internal;
use crate::messages::{
    decode,
    stream_id::StreamId,
    streams_groups::{XGroupCreate, XInfoConsumers, XInfoGroups, XInfoStream},
    streams_pending::XPending,
    streams_reads::XRange,
};
use crate::streams::events::Missing;
use crate::streams::machine::failure::{Failure, FailureKind};
use crate::streams::machine::group_position::{
    Ensured, Found, GroupPosition, LastEntry, Start, StreamSnapshot, is_same, start,
};
use crate::streams::machine::{Holder, NAME_HELD};

/// A holder whose connection is lost may be about to make it anew: it is looked for twice.
const SECOND_LOOK: Duration = Duration::from_millis(250);
/// At most so many consumers are removed at once.
const FORGOTTEN: usize = 64;
/// How long a consumer that ends may take to leave nothing behind.
const FAREWELL: Duration = Duration::from_secs(1);

/// What there is of a group.
enum GroupState {
    Group(GroupPosition),
    NoGroup,
    NoStream,
    /// We may not look.
    Unknown,
}

impl ConsumerCommands {
    async fn inspect(&self) -> Result<GroupState, Failure> {
        // In this order: what is delivered between the two is pending then, and not below the floor.
        let groups = self.control.send(XInfoGroups::new(self.stream()));
        let pending = self.control.send(XPending::new(self.stream(), self.group()));
        let (groups, pending) = (groups.await, pending.await);
        let groups = match groups {
            Err(error) if error.code() == Some("ERR") && !error.is_forbidden() => return Ok(GroupState::NoStream),
            groups => groups,
        };
        let Some(groups) = self.denials.note(Missing::Info, groups)? else { return Ok(GroupState::Unknown) };
        let Some(group) = groups.into_iter().find(|group| group.name == self.group().as_bytes()) else {
            return Ok(GroupState::NoGroup);
        };
        let pending = match pending {
            Err(error) if error.code() == Some("NOGROUP") => return Ok(GroupState::NoGroup),
            pending => pending,
        };
        let Some(pending) = self.denials.note(Missing::Info, pending)? else { return Ok(GroupState::Unknown) };
        let last_id = group.last_delivered_id;
        let floor = pending.lowest.map_or(last_id, |lowest| before(lowest).min(last_id));
        Ok(GroupState::Group(GroupPosition {
            floor,
            last_id,
            added: group.entries_read,
            lag: group.lag,
            pending: pending.count,
        }))
    }

    /// How far the group is, if that can be told. `delivered` is the last entry that it had delivered before.
    pub(crate) async fn look(self: Arc<Self>, delivered: Option<StreamId>) -> Result<Option<GroupPosition>, Failure> {
        match self.inspect().await? {
            GroupState::Group(mut group_position) => {
                // A server goes on counting entries that were trimmed before the group had read them. Nothing is left to
                // read when the last entry that was delivered is the last one that was added.
                if group_position.lag.is_some_and(|lag| lag > 0) && delivered == Some(group_position.last_id) {
                    let info = self.control.send(XInfoStream::new(self.stream())).await;
                    let info = self.denials.note(Missing::Info, info)?;
                    if info.is_some_and(|info| info.last_generated_id <= group_position.last_id) {
                        group_position.lag = Some(0);
                    }
                }
                Ok(Some(group_position))
            }
            GroupState::NoGroup | GroupState::NoStream | GroupState::Unknown => Ok(None),
        }
    }

    /// Makes the group, unless it is there.
    pub(crate) async fn ensure_group(
        self: Arc<Self>,
        known: Option<GroupPosition>,
        sample: Option<LastEntry>,
    ) -> Result<Ensured, Failure> {
        let begin = match self.inspect().await? {
            GroupState::Group(group_position) => {
                return Ok(Ensured { made: None, group_position: Some(group_position) });
            }
            GroupState::NoStream => start(known, None, self.start),
            GroupState::NoGroup => {
                let info = self.control.send(XInfoStream::new(self.stream())).await;
                let info = self.denials.note(Missing::Info, info)?;
                // Where we may not look: the stream was there a moment ago.
                let stream_snapshot =
                    info.map(|info| StreamSnapshot { last_id: info.last_generated_id, added: info.entries_added });
                match (stream_snapshot, known) {
                    (None, Some(known)) => Start::After(known.floor),
                    (_, Some(known)) if !self.is_same_stream(known, sample).await? => {
                        tracing::error!(
                            event = "consumer.stream_replaced",
                            stream = self.stream(),
                            "another stream is in the place of this one"
                        );
                        Start::After(StreamId::MIN)
                    }
                    (stream_snapshot, known) => start(known, stream_snapshot, self.start),
                }
            }
            GroupState::Unknown => known.map_or(self.start, |known| Start::After(known.floor)),
        };
        let create = XGroupCreate::new(self.stream(), self.group()).mkstream().idempotent();
        let create = match begin {
            Start::After(id) => create.start_after(id),
            Start::End => create.start_at_end(),
        };
        let made = match self.control.send(create).await {
            Ok(()) => Some(begin),
            // Another consumer was faster, or we may not look.
            Err(error) if error.code() == Some("BUSYGROUP") => None,
            Err(error) => return Err(error.into()),
        };
        let group_position = match self.inspect().await? {
            GroupState::Group(group_position) => Some(group_position),
            GroupState::Unknown => None,
            GroupState::NoGroup | GroupState::NoStream => return Err(Failure::no_group()),
        };
        Ok(Ensured { made, group_position })
    }

    /// Whether the stream is the one that was read, and not another that was renamed or imported to its place.
    async fn is_same_stream(&self, known: GroupPosition, sample: Option<LastEntry>) -> Result<bool, Failure> {
        let Some(sample) = sample else { return Ok(true) };
        let entries = self.control.send(XRange::new(self.stream(), sample.id..=sample.id)).await?;
        let found = match entries.first() {
            Some(entry) => Found::Entry(sample_of(entry).hash),
            // Acknowledged entries are removed here, this one as well as others.
            None if self.delete_acknowledged => Found::Nothing,
            None => {
                let before = XRange::new(self.stream(), ..=known.floor).count(1);
                if self.control.send(before).await?.is_empty() { Found::Nothing } else { Found::Others }
            }
        };
        Ok(is_same(sample, found))
    }

    fn name_key(&self, consumer: &str) -> String {
        // With the length of the group's name two pairs of group and consumer never share a key, whatever colons they have.
        format!("{}:name:{}:{}:{}", self.stream(), self.group().len(), self.group(), consumer)
    }

    /// Gets or keeps the consumer's name for this process.
    pub(crate) async fn hold_name(self: Arc<Self>) -> Result<Holder, Failure> {
        let mut dead = String::new();
        loop {
            let Some(holder) = self.ask_for_name(&self.control, NAME_HELD, &dead).await? else { return Ok(Holder::Us) };
            if !dead.is_empty() || !self.is_gone(&holder).await? {
                return Ok(Holder::Somebody(holder));
            }
            tokio::time::sleep(SECOND_LOOK).await;
            if !self.is_gone(&holder).await? {
                return Ok(Holder::Somebody(holder));
            }
            dead = holder;
        }
    }

    /// Keeps the name for this process, over another connection. Who has lost it hears of it when it asks itself.
    pub(crate) async fn renew_name(&self, redis: &Redis) -> Result<(), Failure> {
        self.ask_for_name(redis, NAME_HELD, "").await.map(drop)
    }

    /// Whether the server knows no client of that name any more.
    async fn is_gone(&self, holder: &str) -> Result<bool, Failure> {
        if self.denials.holds(Missing::Client) {
            return Ok(false);
        }
        // Where the stream is: on a cluster the holder's reader is connected to that node and to no other.
        let list = self.beside(Frame::known("CLIENT LIST").arg("TYPE").arg("normal").read_only());
        let answer = self.control.send(Internal(list)).await;
        let Some(answer) = self.denials.note(Missing::Client, answer)? else { return Ok(false) };
        let lines: String = decode(plain_text(answer))?;
        let name = format!(" name={holder} ");
        Ok(!lines.lines().any(|line| line.contains(&name)))
    }

    /// Returns who has it, if it is not us.
    async fn ask_for_name(&self, redis: &Redis, time: Duration, dead: &str) -> Result<Option<String>, Failure> {
        let us = self.reader_name.as_str();
        let args = |frame: Frame| frame.arg(us).arg(millis(time)).arg(dead);
        let key = self.name_key(self.consumer());
        let holder = match NAME.run(redis, &[&key], args).await {
            Ok(answer) => decode(answer)?,
            Err(error) if error.is_forbidden() => {
                let holder = self.name_without_scripts(redis, &key, time, dead).await;
                let Some(holder) = self.denials.note(Missing::Names, holder)? else { return Ok(None) };
                holder
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Some(holder).filter(|holder| holder != us))
    }

    async fn name_without_scripts(&self, redis: &Redis, key: &str, time: Duration, dead: &str) -> Result<String> {
        let us = self.reader_name.as_str();
        let get = || redis.send(Internal(Frame::known("GET").key(key).read_only()));
        let holder: Option<String> = decode(get().await?)?;
        if let Some(holder) = &holder
            && holder != us
            && holder != dead
        {
            return Ok(holder.clone());
        }
        if time.is_zero() {
            redis.send(Internal(Frame::known("DEL").key(key).idempotent())).await?;
            return Ok(us.to_owned());
        }
        let set = Frame::known("SET").key(key).arg(us).arg("PX").arg(millis(time)).idempotent();
        let set = if holder.is_none() { set.arg("NX") } else { set };
        if redis.send(Internal(set)).await? == Value::Nil {
            return Ok(decode::<Option<String>>(get().await?)?.unwrap_or_default());
        }
        Ok(us.to_owned())
    }

    /// Removes consumers that have nothing pending, gave no sign of life for `idle`, and hold their name no more: before
    /// Redis 7.2 a read that brings nothing is no sign of life.
    pub(crate) async fn forget(self: Arc<Self>, idle: Duration) -> Result<Vec<String>, Failure> {
        match self.forget_idle(idle).await {
            // Who may not do this does not need it done.
            Err(error) if error.is_forbidden() => Ok(Vec::new()),
            removed => Ok(removed?),
        }
    }

    async fn forget_idle(&self, idle: Duration) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        for consumer in self.control.send(XInfoConsumers::new(self.stream(), self.group())).await? {
            let Ok(name) = String::from_utf8(consumer.name) else { continue };
            if consumer.pending > 0 || consumer.idle < idle || name == self.consumer() || removed.len() >= FORGOTTEN {
                continue;
            }
            let holder = self.control.send(Internal(Frame::known("GET").key(self.name_key(&name)).read_only())).await?;
            if holder == Value::Nil {
                // Asked again in one step: it may have begun to read.
                let args = |frame: Frame| frame.arg(self.group()).arg(millis(idle)).arg(&name);
                let names: Vec<String> = decode(FORGET.run(&self.control, &[self.stream()], args).await?)?;
                removed.extend(names);
            }
        }
        Ok(removed)
    }

    /// Leaves nothing behind that is of no use: the consumer, if nothing is pending for it and it reads no more,
    /// and its hold on its name.
    pub(crate) async fn remove_consumer(self: Arc<Self>, delete: bool) {
        let leave = async {
            if delete {
                let args = |frame: Frame| frame.arg(self.group()).arg(0).arg(self.consumer());
                FORGET.run(&self.control, &[self.stream()], args).await?;
            }
            self.ask_for_name(&self.control, Duration::ZERO, "").await?;
            Ok::<_, Failure>(())
        };
        match tokio::time::timeout(FAREWELL, leave).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::debug!(%failure, "a consumer left something behind"),
            Err(_) => tracing::debug!("a consumer had no time to leave nothing behind"),
        }
    }
}

/// The id before this one.
fn before(id: StreamId) -> StreamId {
    match (id.seq.checked_sub(1), id.ms.checked_sub(1)) {
        (Some(seq), _) => StreamId::new(id.ms, seq),
        (None, Some(ms)) => StreamId::new(ms, u64::MAX),
        (None, None) => StreamId::MIN,
    }
}

impl Failure {
    fn no_group() -> Self {
        Self { kind: FailureKind::NoGroup, error: Error::server("NOGROUP", Some("it went as soon as it was made")) }
    }
}
