//! Removes the keys of a prefix.

use std::{
    fmt,
    future::{Future as _, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;

use super::{SILENT_COUNT, ScanKeys, ScanStream};
use crate::client::{Redis, SendFuture};
use crate::error::{Error, Result};
use crate::messages::{decode, keys::Unlink};
use crate::prefix::refusal::RefusalClass;

/// The default number of keys per UNLINK.
const BATCH: usize = 250;
const LARGEST_BATCH: usize = 1_000;

/// The keys to remove, for [`Redis::clear_prefix`].
#[derive(Debug, Clone)]
#[must_use = "nothing is removed until it is passed to `Redis::clear_prefix`"]
pub struct ClearPrefix {
    keys: ScanKeys,
    batch: usize,
}

impl ClearPrefix {
    /// Every key of the prefix.
    pub fn everything() -> Self {
        Self::matching("*")
    }

    /// Keys of the prefix that match a glob pattern.
    pub fn matching(pattern: impl AsRef<[u8]>) -> Self {
        Self { keys: ScanKeys::new(pattern).count(SILENT_COUNT), batch: BATCH }
    }

    /// Sets the maximum number of keys per batch, 1 to 1,000; default 250.
    pub fn batch(mut self, keys: usize) -> Self {
        self.batch = keys.clamp(1, LARGEST_BATCH);
        self
    }
}

/// The progress of the removal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClearProgress {
    /// The number of removed keys. If a link broke meanwhile, some may have been removed without being counted.
    pub removed: u64,
    /// The number of scanned pages. The server does not report the total.
    pub pages: u64,
}

/// A running removal, as a [`Stream`] of its progress, page by page; see [`Redis::clear_prefix`].
///
/// Keys that are written meanwhile may remain. An error ends it. [`resume`](Self::resume) continues at the same
/// position, and a new removal does so as well, because removed keys are not found again.
///
/// # Cancel safety
/// Dropping it ends the removal after the current batch.
#[must_use = "nothing is removed until it is polled"]
pub struct ClearFuture {
    redis: Redis,
    keys: ScanStream<Vec<u8>>,
    batch: usize,
    /// The keys of this page that are not removed yet. The last of them are being removed.
    left: Vec<Vec<u8>>,
    removing: Option<Box<SendFuture<Unlink>>>,
    progress: ClearProgress,
    broken: bool,
}

impl ClearFuture {
    pub(super) fn new(redis: Redis, what: ClearPrefix) -> Result<Self> {
        if redis.key_prefix().as_str().is_empty() {
            let words = "there is no prefix, so it would remove the keys of every service: configure a prefix, or send FLUSHDB with `redis.unprefixed()` if this is intended";
            return Err(Error::refused(RefusalClass::Wide, words));
        }
        let keys = redis.scan_keys(what.keys);
        let progress = ClearProgress::default();
        Ok(Self { redis, keys, batch: what.batch, left: Vec::new(), removing: None, progress, broken: false })
    }

    /// The progress after the next page; `None` at the end, and after an error.
    pub async fn next(&mut self) -> Option<Result<ClearProgress>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Continues after an error, at the same position.
    pub fn resume(&mut self) {
        self.broken = false;
        self.keys.resume();
    }

    /// The current progress.
    #[must_use]
    pub fn progress(&self) -> ClearProgress {
        self.progress
    }

    /// Removes all keys, and returns their number.
    ///
    /// # Errors
    /// The error of the first command that failed. Keys that were removed before stay removed.
    ///
    /// # Cancel safety
    /// Dropping the future ends the removal after the current batch.
    pub async fn run(mut self) -> Result<u64> {
        while let Some(progress) = self.next().await {
            progress?;
        }
        Ok(self.progress.removed)
    }

    fn poll_removed(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.left.is_empty() {
            let first = self.left.len().saturating_sub(self.batch);
            let removing = match &mut self.removing {
                Some(removing) => removing,
                None => {
                    // Removing a key twice is harmless, so the batch is retried if the link breaks.
                    let batch = Unlink::new(self.left.get(first..).unwrap_or_default()).idempotent();
                    self.removing.insert(Box::new(self.redis.send(batch)))
                }
            };
            let removed = ready!(Pin::new(removing).poll(cx));
            self.removing = None;
            self.progress.removed += removed?;
            self.left.truncate(first);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<()>>> {
        if self.left.is_empty() {
            match ready!(self.keys.poll_page(cx)) {
                Some(Ok(page)) => self.left = page.filter_map(|key| decode(key).ok()).collect(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        self.poll_removed(cx).map(Some)
    }
}

impl Stream for ClearFuture {
    type Item = Result<ClearProgress>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.broken {
            return Poll::Ready(None);
        }
        match ready!(self.poll_batch(cx)) {
            Some(Ok(())) => {
                self.progress.pages += 1;
                Poll::Ready(Some(Ok(self.progress)))
            }
            Some(Err(error)) => {
                self.broken = true;
                Poll::Ready(Some(Err(error)))
            }
            None => Poll::Ready(None),
        }
    }
}

impl fmt::Debug for ClearFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClearFuture").field("progress", &self.progress).finish_non_exhaustive()
    }
}
