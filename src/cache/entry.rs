//! A reply in the cache.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use quick_cache::Equivalent;
use redis::Value;

use super::counters::Stamps;
use super::link::{TrackedLink, now, ticks};
use crate::frame::Frame;

/// A reply with the evidence that it is current.
pub(crate) struct CachedReply {
    frame: Frame,
    value: Value,
    evidence: Evidence,
}

/// Taken when the command is sent, so that nothing that happens later is missed.
#[derive(Clone)]
pub(super) struct Evidence {
    pub(super) stamps: Stamps,
    link: Arc<TrackedLink>,
    epoch: u64,
    sent_at: u64,
}

impl Evidence {
    pub(super) fn new(stamps: Stamps, link: &Arc<TrackedLink>) -> Self {
        Self { stamps, link: link.clone(), epoch: link.epoch(), sent_at: now() }
    }
}

impl CachedReply {
    pub(super) fn new(frame: Frame, value: Value, evidence: Evidence) -> Self {
        Self { frame, value, evidence }
    }

    pub(crate) fn frame(&self) -> &Frame {
        &self.frame
    }

    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    #[inline]
    pub(super) fn stamps(&self) -> &[(u32, u64)] {
        &self.evidence.stamps
    }

    #[inline]
    pub(super) fn is_of_valid_link(&self) -> bool {
        let Evidence { link, epoch, .. } = &self.evidence;
        link.epoch() == *epoch && link.is_trusted(now())
    }

    /// Not older than `ttl`.
    #[inline]
    pub(super) fn is_younger_than(&self, ttl: Duration) -> bool {
        now().saturating_sub(self.evidence.sent_at) <= ticks(ttl)
    }

    /// The bytes of memory that it occupies in the store.
    pub(super) fn weight(&self) -> usize {
        let spilled = if self.evidence.stamps.spilled() { self.evidence.stamps.capacity() * 16 } else { 0 };
        OVERHEAD + size_of::<Self>() + self.frame.heap_bytes() + heap_bytes(&self.value) + spilled
    }
}

/// The counts of the `Arc`, the slot of the store and its table, and what the allocator adds to three blocks.
const OVERHEAD: usize = 16 + 64 + 24;

fn heap_bytes(value: &Value) -> usize {
    let each = |items: &[Value]| items.iter().map(|item| size_of::<Value>() + heap_bytes(item)).sum();
    match value {
        Value::BulkString(bytes) => bytes.capacity(),
        Value::SimpleString(text) => text.capacity(),
        Value::Array(items) | Value::Set(items) => each(items),
        Value::Map(pairs) => {
            pairs.iter().map(|(key, value)| 2 * size_of::<Value>() + heap_bytes(key) + heap_bytes(value)).sum()
        }
        Value::VerbatimString { text, .. } => text.capacity(),
        _ => 0,
    }
}

/// The key of an entry in the store: its encoded command, which the reply contains.
#[derive(Clone)]
pub(super) struct Line(pub(super) Arc<CachedReply>);

/// An encoded command to look up.
pub(super) struct LineRef<'a>(pub(super) &'a [u8]);

impl Line {
    fn bytes(&self) -> &[u8] {
        self.0.frame.encoded_line()
    }
}

impl Hash for Line {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Line {}

impl Hash for LineRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Line> for LineRef<'_> {
    fn equivalent(&self, line: &Line) -> bool {
        self.0 == line.bytes()
    }
}
