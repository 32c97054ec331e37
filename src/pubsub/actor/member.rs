//! The state of one subscriber in the engine.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use actix::{MailboxError, Recipient, dev::RecipientRequest};
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::events::Cause;
use crate::pubsub::backlog::{Backlog, Bounds, Piece, TooSlow};
use crate::pubsub::counters::SubscriptionCounters;
use crate::pubsub::event::SubscriptionEvent;
use crate::pubsub::machine::router::LinkId;
use crate::pubsub::machine::{Id, Name};
use crate::pubsub::topic::{Topic, TopicKind};

/// The memory of a message beyond its own bytes, measured with 400,000 small queued messages.
const OVERHEAD: usize = 200;

/// The maximum time for which messages of some nodes are held back while another node is unreachable.
const HELD: Duration = Duration::from_secs(5);

pub(super) struct Member {
    inbox: Recipient<SubscriptionEvent>,
    pub(super) topics: HashMap<Name, Topic>,
    backlog: Backlog<SubscriptionEvent>,
    requests: Vec<Request>,
    tally: Arc<SubscriptionCounters>,
    /// The time since when events are held back at a gap, and its cause.
    held: Option<(Instant, Cause)>,
    /// Events were held back for too long: another gap is sent after recovery.
    owed: Option<Cause>,
    /// The generation of each link on which the subscriber was last warned about disabled key events.
    cut_generations: HashMap<LinkId, u64>,
    /// It is in the queue for delivery.
    pub(super) is_ready: bool,
}

/// Topics for which a caller waits, or whose confirmation it has not received. The future may be dropped together
/// with the confirmation.
struct Request {
    id: u64,
    names: HashSet<Name>,
    missing: HashSet<Name>,
    /// The new topics, which are removed if the request fails.
    added: Vec<Name>,
    /// `None` after the reply.
    done: Option<oneshot::Sender<Result<()>>>,
}

/// An event that is being handled by a subscriber.
pub(super) struct EventDelivery {
    pub(super) id: Id,
    pub(super) size: usize,
    request: Pin<Box<RecipientRequest<SubscriptionEvent>>>,
    /// The result of an event that was handled on another thread before it was awaited.
    early: Option<std::result::Result<(), MailboxError>>,
}

impl Future for EventDelivery {
    type Output = (Id, usize, std::result::Result<(), MailboxError>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let handled = match self.early.take() {
            Some(handled) => Poll::Ready(handled),
            None => self.request.as_mut().poll(cx),
        };
        handled.map(|handled| (self.id, self.size, handled))
    }
}

impl Member {
    pub(super) fn new(inbox: Recipient<SubscriptionEvent>, bounds: Bounds, tally: Arc<SubscriptionCounters>) -> Self {
        let (topics, requests, cut_generations) = (HashMap::new(), Vec::new(), HashMap::new());
        let backlog = Backlog::new(bounds);
        Self { inbox, topics, backlog, requests, tally, held: None, owed: None, cut_generations, is_ready: false }
    }

    pub(super) fn is_gone(&self) -> bool {
        !self.inbox.connected()
    }

    /// Queues a message.
    pub(super) fn push(&mut self, event: SubscriptionEvent, bytes: usize) -> std::result::Result<(), TooSlow> {
        let pushed = self.backlog.push(event, bytes.saturating_add(OVERHEAD));
        self.count();
        pushed
    }

    /// Queues an event that is not a message.
    pub(super) fn push_status(&mut self, word: SubscriptionEvent) {
        self.backlog.push_status(word);
    }

    /// Records the loss of its link.
    pub(super) fn lost(&mut self, cause: &Cause) {
        self.backlog.hold();
        self.backlog.gap(cause.clone());
        self.held.get_or_insert_with(|| (Instant::now(), cause.clone()));
        self.tally.gaps.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn recovered(&mut self) {
        if let Some(cause) = self.owed.take() {
            self.backlog.gap(cause);
        }
        self.held = None;
        self.backlog.release();
    }

    /// Releases the events that were held back for too long. Returns whether there were any.
    pub(super) fn time_out(&mut self, now: Instant) -> bool {
        let is_over = self.held.as_ref().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= HELD);
        if !is_over || !self.backlog.is_held_back() {
            return false;
        }
        self.owed = self.held.take().map(|(_, cause)| cause);
        self.backlog.release();
        true
    }

    /// Handles the recovery of a link after events were released early: what arrives on it follows another gap, which
    /// is sent after all links have recovered.
    pub(super) fn has_recovered_in_time(&mut self, now: Instant) {
        if let Some(cause) = self.owed.take() {
            self.backlog.hold();
            self.backlog.gap(cause.clone());
            self.held = Some((now, cause));
        }
    }

    /// Its key event topics.
    pub(super) fn watched(&self) -> impl Iterator<Item = &Name> {
        let watches = |topic: &Topic| matches!(topic.kind(), TopicKind::Keyspace | TopicKind::Keyevent);
        self.topics.iter().filter(move |(_, topic)| watches(topic)).map(|(name, _)| name)
    }

    /// Whether all callers that requested this topic first have their reply.
    pub(super) fn has_been_answered(&self, name: &Name) -> bool {
        !self.requests.iter().any(|request| request.done.is_some() && request.added.contains(name))
    }

    /// Whether this is the first warning about disabled key events on this link.
    pub(super) fn is_first_confirmation(&mut self, link_id: LinkId, generation: u64) -> bool {
        self.cut_generations.insert(link_id, generation) != Some(generation)
    }

    /// Removes a link that was closed permanently.
    pub(super) fn forget(&mut self, link_id: LinkId) {
        self.cut_generations.remove(&link_id);
    }

    pub(super) fn foreign(&self) {
        self.tally.foreign.fetch_add(1, Ordering::Relaxed);
    }

    /// Delivers the next event, if there is one and the window has room.
    pub(super) fn deliver_next(&mut self, id: Id) -> Option<EventDelivery> {
        let (event, size) = match self.backlog.next()? {
            Piece::Item { item, size } => (item, size),
            Piece::Dropped(messages) => (SubscriptionEvent::Dropped { messages }, 0),
            Piece::Gap { losses, cause } => (SubscriptionEvent::Gap { losses, cause }, 0),
        };
        let mut request = Box::pin(self.inbox.send(event));
        // A delivery to a full mailbox waits until it is polled, and the next one must not overtake it.
        let early = match request.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(handled) => Some(handled),
            Poll::Pending => None,
        };
        Some(EventDelivery { id, size, request, early })
    }

    /// Records that an event was handled.
    pub(super) fn handled(&mut self, size: usize) {
        self.backlog.handled(size);
        if size > 0 {
            self.tally.delivered.fetch_add(1, Ordering::Relaxed);
        }
        self.count();
    }

    fn count(&self) {
        self.tally.dropped.store(self.backlog.dropped(), Ordering::Relaxed);
        self.tally.waiting.store(self.backlog.len(), Ordering::Relaxed);
        self.tally.waiting_bytes.store(self.backlog.bytes(), Ordering::Relaxed);
    }

    /// Ends the subscriber, and notifies it if there is a cause.
    pub(super) fn end(self, cause: Option<Cause>) {
        self.tally.ended.store(true, Ordering::Release);
        self.tally.waiting.store(0, Ordering::Relaxed);
        self.tally.waiting_bytes.store(0, Ordering::Relaxed);
        if let Some(cause) = cause {
            self.inbox.do_send(SubscriptionEvent::Ended { cause });
        }
    }

    /// Requests topics, all or none.
    pub(super) fn request(&mut self, id: u64, topics: Vec<(Name, Topic)>, done: oneshot::Sender<Result<()>>) {
        let names: HashSet<Name> = topics.iter().map(|(name, _)| name.clone()).collect();
        let mut added = Vec::new();
        for (name, topic) in topics {
            if self.topics.insert(name.clone(), topic).is_none() {
                added.push(name);
            }
        }
        let missing = names.clone();
        self.requests.push(Request { id, names, missing, added, done: Some(done) });
        self.answer();
    }

    pub(super) fn confirmed(&mut self, name: &Name) {
        for request in &mut self.requests {
            request.missing.remove(name);
        }
        self.answer();
    }

    fn answer(&mut self) {
        for request in self.requests.iter_mut().filter(|request| request.missing.is_empty()) {
            if let Some(done) = request.done.take() {
                let _ = done.send(Ok(()));
            }
        }
    }

    /// Fails every request for this topic. Returns the topics to leave, or `None` if there was no request.
    pub(super) fn refused(&mut self, name: &Name, error: &Error) -> Option<Vec<Name>> {
        let refused: Vec<_> = self.requests.extract_if(.., |request| request.missing.contains(name)).collect();
        (!refused.is_empty()).then(|| self.fail(refused, error))
    }

    /// Like [`refused`](Self::refused), for every request with one of these topics, because there will be no link.
    pub(super) fn fail_where(&mut self, lost: impl Fn(&Name) -> bool, error: &Error) -> Vec<Name> {
        let refused: Vec<_> = self.requests.extract_if(.., |request| request.missing.iter().any(&lost)).collect();
        self.fail(refused, error)
    }

    fn fail(&mut self, refused: Vec<Request>, error: &Error) -> Vec<Name> {
        let mut left = Vec::new();
        for Request { added, done, .. } in refused {
            if let Some(done) = done {
                let _ = done.send(Err(error.clone()));
            }
            left.extend(self.take_back(added));
        }
        left
    }

    /// Records that the caller received the confirmation: its topics stay, whatever happens to other requests.
    pub(super) fn keep(&mut self, id: u64) {
        let kept: Vec<_> = self.requests.extract_if(.., |request| request.id == id).collect();
        for request in &mut self.requests {
            request.added.retain(|name| !kept.iter().any(|kept| kept.names.contains(name)));
        }
    }

    /// Undoes a request whose caller is gone. Returns the topics to leave.
    pub(super) fn undo(&mut self, id: u64) -> Vec<Name> {
        let undone: Vec<_> = self.requests.extract_if(.., |request| request.id == id).collect();
        undone.into_iter().flat_map(|request| self.take_back(request.added)).collect()
    }

    /// The added topics, except for those that belong to another request, which is now responsible for them.
    fn take_back(&mut self, added: Vec<Name>) -> Vec<Name> {
        let mut left = Vec::new();
        for name in added {
            match self.requests.iter_mut().find(|request| request.names.contains(&name)) {
                Some(other) => other.added.push(name),
                None => {
                    self.topics.remove(&name);
                    left.push(name);
                }
            }
        }
        left
    }

    /// Removes topics. Requests for them fail.
    pub(super) fn leave(&mut self, names: &[Name]) {
        for name in names {
            self.topics.remove(name);
            // Dropped, which notifies the caller.
            self.requests.retain(|request| !request.missing.contains(name));
            for request in &mut self.requests {
                request.names.remove(name);
                request.added.retain(|added| added != name);
            }
        }
    }
}
