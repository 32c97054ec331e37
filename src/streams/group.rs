//! Looking after a consumer group.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::client::Redis;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::lua::FORGET;
use crate::messages::{
    decode,
    stream_id::StreamId,
    streams_groups::{XGroupCreate, XGroupDestroy, XGroupSetId, XInfoConsumers, XInfoGroups},
    streams_pending::{XPending, XPendingEntries},
    streams_replies::{ConsumerInfo, GroupInfo, PendingEntry, PendingSummary},
    unix_millis,
};

/// A consumer group of a stream, for operators: making and removing it, moving it, looking after its consumers.
///
/// ```no_run
/// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
/// use redis_actix::ConsumerGroup;
/// use std::time::{Duration, SystemTime};
///
/// let billing = ConsumerGroup::new(&redis, "orders", "billing");
/// billing.seek_to(SystemTime::now() - Duration::from_secs(3600)).await?; // the last hour once more
/// let info = billing.info().await?;
/// println!("behind by {:?}", info.and_then(|info| info.lag));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ConsumerGroup {
    redis: Redis,
    stream: Arc<str>,
    group: Arc<str>,
}

impl ConsumerGroup {
    /// `group` of `stream`, whether there is such a group or not. The stream gets the key prefix, the group does not.
    #[must_use]
    pub fn new(redis: &Redis, stream: impl Into<Arc<str>>, group: impl Into<Arc<str>>) -> Self {
        Self { redis: redis.at_primary(), stream: stream.into(), group: group.into() }
    }

    async fn make(&self, create: XGroupCreate) -> Result<bool> {
        match self.redis.send(create.mkstream()).await {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes it, and the stream if there is none, to begin behind `id`; with [`StreamId::MIN`] it gets everything.
    /// False when it is there: then nothing is changed.
    ///
    /// # Errors
    /// Those of the command.
    pub async fn create(&self, id: StreamId) -> Result<bool> {
        self.make(XGroupCreate::new(&*self.stream, &*self.group).start_after(id)).await
    }

    /// Makes it, to begin with what is added from now on. False when it is there.
    ///
    /// # Errors
    /// Those of the command.
    pub async fn create_at_end(&self) -> Result<bool> {
        self.make(XGroupCreate::new(&*self.stream, &*self.group).start_at_end()).await
    }

    /// Removes it, with all that is pending in it. False when it was not there.
    ///
    /// # Errors
    /// Those of the command.
    pub async fn destroy(&self) -> Result<bool> {
        self.redis.send(XGroupDestroy::new(&*self.stream, &*self.group)).await
    }

    /// Lets it go on behind `id`: what comes after it is delivered, once more if it was delivered before, and what is
    /// skipped is not. What is pending stays pending.
    ///
    /// # Errors
    /// Those of the command; `NOGROUP` when it is not there.
    pub async fn seek(&self, id: StreamId) -> Result<()> {
        self.redis.send(XGroupSetId::new(&*self.stream, &*self.group, id).idempotent()).await
    }

    /// Lets it go on with what was added at that time, by the server's clock, or later.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    pub async fn seek_to(&self, time: SystemTime) -> Result<()> {
        let before = unix_millis(time).checked_sub(1);
        self.seek(before.map_or(StreamId::MIN, |ms| StreamId::new(ms, u64::MAX))).await
    }

    /// Lets it go on with what is added from now on.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    pub async fn seek_to_end(&self) -> Result<()> {
        self.redis.send(XGroupSetId::end(&*self.stream, &*self.group)).await
    }

    /// What the server knows about it: `None` when it is not there. Its lag is `None` when the server cannot tell, as
    /// after [`seek`](Self::seek) into the middle.
    ///
    /// # Errors
    /// Those of the command.
    pub async fn info(&self) -> Result<Option<GroupInfo>> {
        match self.redis.send(XInfoGroups::new(&*self.stream)).await {
            Ok(groups) => Ok(groups.into_iter().find(|group| group.name == self.group.as_bytes())),
            Err(error) if is_no_such_key(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How much is pending, and for whom: `None` when there is no such group.
    ///
    /// # Errors
    /// Those of the command.
    pub async fn pending(&self) -> Result<Option<PendingSummary>> {
        match self.redis.send(XPending::new(&*self.stream, &*self.group)).await {
            Ok(summary) => Ok(Some(summary)),
            Err(error) if error.code() == Some("NOGROUP") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Up to `most` entries that are pending, from the lowest id on.
    ///
    /// # Errors
    /// Those of the command; `NOGROUP` when it is not there.
    pub async fn pending_entries(&self, most: u64) -> Result<Vec<PendingEntry>> {
        self.redis.send(XPendingEntries::new(&*self.stream, &*self.group, .., most)).await
    }

    /// Its consumers, also those whose process is gone.
    ///
    /// # Errors
    /// Those of the command; `NOGROUP` when it is not there.
    pub async fn consumers(&self) -> Result<Vec<ConsumerInfo>> {
        self.redis.send(XInfoConsumers::new(&*self.stream, &*self.group)).await
    }

    /// Removes a consumer if nothing is pending for it and it has done nothing for `idle` (whole milliseconds): in one
    /// step, so that nothing is lost that is delivered to it in this moment.
    ///
    /// # Errors
    /// Those of the script; `NOGROUP` when the group is not there.
    pub async fn remove_consumer(&self, consumer: impl AsRef<[u8]>, idle: Duration) -> Result<Removal> {
        let consumer = consumer.as_ref();
        if self.forget(consumer, idle).await?.iter().any(|removed| removed == consumer) {
            return Ok(Removal::Removed);
        }
        let stays = self.consumers().await?.into_iter().find(|known| known.name == consumer);
        Ok(match stays {
            None => Removal::NotThere,
            Some(stays) if stays.pending > 0 => Removal::Pending(stays.pending),
            Some(_) => Removal::Active,
        })
    }

    async fn forget(&self, consumer: &[u8], idle: Duration) -> Result<Vec<Vec<u8>>> {
        let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX).min(1 << 53);
        let args = |frame: Frame| frame.arg(&*self.group).arg(idle).arg(consumer);
        decode(FORGET.run(&self.redis, &[&*self.stream], args).await?)
    }

    /// Removes every consumer that has nothing pending and has done nothing for `idle`, and returns their names. One
    /// with something pending stays until others have claimed that.
    ///
    /// # Errors
    /// Those of the script; `NOGROUP` when the group is not there.
    pub async fn remove_dead_consumers(&self, idle: Duration) -> Result<Vec<Vec<u8>>> {
        self.forget(b"", idle).await
    }
}

/// XINFO has no code of its own for it.
fn is_no_such_key(error: &Error) -> bool {
    error.code() == Some("ERR") && error.message().contains("no such key")
}

impl fmt::Debug for ConsumerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, group, .. } = self;
        f.debug_struct("ConsumerGroup").field("stream", stream).field("group", group).finish_non_exhaustive()
    }
}

/// What became of a consumer that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Removal {
    /// It is gone.
    Removed,
    /// There was none of that name.
    NotThere,
    /// It has done something lately, and stays.
    Active,
    /// So many entries are pending for it: it stays, until others have claimed them.
    Pending(u64),
}
