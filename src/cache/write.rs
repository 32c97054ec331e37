//! A write: entries of its keys are invalid when it is admitted, until its reply is delivered, and from then on.

use std::any::Any;
use std::sync::Arc;
use std::task::{Context, Poll};

use redis::Value;
use smallvec::SmallVec;

use super::ClientCache;
use super::link::TrackedLink;
use crate::connection::request::{BoxedTicket, Pending};
use crate::error::Result;
use crate::frame::Frame;

/// The counters of the keys of a write without a reply.
pub(super) struct PendingWrite {
    cache: Arc<ClientCache>,
    counters: SmallVec<[u32; 4]>,
}

impl PendingWrite {
    pub(super) fn new(cache: Arc<ClientCache>) -> Self {
        Self { cache, counters: SmallVec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.counters.len()
    }

    pub(super) fn begin(&mut self, key: &[u8]) {
        self.begin_at(self.cache.counters.index(key));
    }

    /// The keys are not known.
    pub(super) fn begin_all(&mut self) {
        self.begin_at(0);
    }

    fn begin_at(&mut self, index: u32) {
        self.cache.counters.begin(index);
        self.cache.counts.own_write();
        self.counters.push(index);
    }
}

/// Also if there is no reply: the command expired, or its caller left. What it does later, the server reports.
impl Drop for PendingWrite {
    fn drop(&mut self) {
        self.counters.iter().for_each(|index| self.cache.counters.end(*index));
    }
}

pub(super) struct CachedWrite {
    ticket: BoxedTicket,
    pending: PendingWrite,
}

impl CachedWrite {
    pub(super) fn new(ticket: BoxedTicket, pending: PendingWrite) -> Self {
        Self { ticket, pending }
    }

    /// Ends the write in the cache before its reply is delivered: its caller may read at once.
    fn end(self) -> BoxedTicket {
        let Self { ticket, pending } = self;
        drop(pending);
        ticket
    }
}

impl Pending for CachedWrite {
    fn frame(&self) -> &Frame {
        self.ticket.frame()
    }

    fn is_abandoned(&self) -> bool {
        self.ticket.is_abandoned()
    }

    fn is_let_in(&self) -> bool {
        self.ticket.is_let_in()
    }

    fn is_asking(&self) -> bool {
        self.ticket.is_asking()
    }

    fn into_routed(self: Box<Self>) -> Result<Box<dyn Any>, BoxedTicket> {
        Err(self)
    }

    fn track(&mut self, link: Option<&Arc<TrackedLink>>) -> bool {
        self.ticket.track(link)
    }

    fn note_may_have_run(&mut self) {
        self.ticket.note_may_have_run();
    }

    fn scripts_checked(&mut self, reply: &Value, link: u64) -> Option<bool> {
        self.ticket.scripts_checked(reply, link)
    }

    fn left_node(&mut self) {
        self.ticket.left_node();
    }

    fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ticket.poll_abandoned(cx)
    }

    fn deliver(self: Box<Self>, outcome: Result<Value>) -> bool {
        self.end().deliver(outcome)
    }

    fn deliver_each(self: Box<Self>, outcomes: Vec<Result<Value>>) -> bool {
        self.end().deliver_each(outcomes)
    }
}
