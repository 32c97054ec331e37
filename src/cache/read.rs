//! A read whose reply is stored.

use std::any::Any;
use std::sync::Arc;
use std::task::{Context, Poll};

use redis::Value;

use super::ClientCache;
use super::entry::{CachedReply, Evidence};
use super::flights::Lead;
use super::link::TrackedLink;
use crate::connection::request::{BoxedTicket, Pending};
use crate::error::Result;
use crate::frame::Frame;

pub(super) struct CachedRead {
    ticket: BoxedTicket,
    cache: Arc<ClientCache>,
    /// Of the last time it was sent. `None` if its reply is not stored.
    evidence: Option<Evidence>,
    /// Present if other callers can share its reply.
    lead: Option<Lead>,
}

impl CachedRead {
    pub(super) fn new(ticket: BoxedTicket, cache: Arc<ClientCache>, lead: Option<Lead>) -> Self {
        Self { ticket, cache, evidence: None, lead }
    }
}

impl Pending for CachedRead {
    fn frame(&self) -> &Frame {
        self.ticket.frame()
    }

    fn is_abandoned(&self) -> bool {
        self.ticket.is_abandoned() && !self.lead.as_ref().is_some_and(Lead::has_followers)
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
        let keys = self.ticket.frame().view();
        let stamps = link.and_then(|_| self.cache.counters.stamps(keys.keys()));
        self.evidence = link.zip(stamps).map(|(link, stamps)| Evidence::new(stamps, link));
        self.evidence.is_some()
    }

    fn note_may_have_run(&mut self) {
        self.ticket.note_may_have_run();
    }

    fn left_node(&mut self) {
        self.ticket.left_node();
    }

    fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ticket.poll_abandoned(cx)
    }

    fn deliver(self: Box<Self>, outcome: Result<Value>) -> bool {
        let Self { ticket, cache, evidence, lead } = *self;
        if let (Ok(value), Some(evidence)) = (&outcome, evidence)
            && cache.counters.are_unchanged(&evidence.stamps)
        {
            cache.store.insert(CachedReply::new(ticket.frame().clone(), value.clone(), evidence));
            cache.counts.store();
        }
        if let Some(lead) = lead {
            lead.land(&outcome);
        }
        ticket.deliver(outcome)
    }
}
