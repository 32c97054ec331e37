//! One subscriber, as the engine knows it.

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

/// What a message takes beside its own bytes, by measuring 400,000 small ones that wait.
const OVERHEAD: usize = 200;

/// What some nodes of a cluster tell is held back no longer for another one that is gone.
const HELD: Duration = Duration::from_secs(5);

pub(super) struct Member {
    inbox: Recipient<SubscriptionEvent>,
    pub(super) topics: HashMap<Name, Topic>,
    backlog: Backlog<SubscriptionEvent>,
    requests: Vec<Request>,
    tally: Arc<SubscriptionCounters>,
    /// Since when it is held at a gap, and why.
    held: Option<(Instant, Cause)>,
    /// It was not held any longer: when all is back, it is told again.
    owed: Option<Cause>,
    /// On which links it was told last that no events of keys come.
    cut_generations: HashMap<LinkId, u64>,
    /// It waits for its turn to be handed something.
    pub(super) is_ready: bool,
}

/// Topics that somebody waits for, or has not said yet that he has got. A future may be dropped with its answer in it.
struct Request {
    id: u64,
    names: HashSet<Name>,
    missing: HashSet<Name>,
    /// Those that were not there before, and go again if it fails.
    added: Vec<Name>,
    /// `None` when it was answered.
    done: Option<oneshot::Sender<Result<()>>>,
}

/// An event in the hands of a subscriber.
pub(super) struct EventDelivery {
    pub(super) id: Id,
    pub(super) size: usize,
    request: Pin<Box<RecipientRequest<SubscriptionEvent>>>,
    /// It was handled, on another thread, before anybody waited for that.
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

    /// Takes a message in.
    pub(super) fn push(&mut self, event: SubscriptionEvent, bytes: usize) -> std::result::Result<(), TooSlow> {
        let pushed = self.backlog.push(event, bytes.saturating_add(OVERHEAD));
        self.count();
        pushed
    }

    /// Tells something that is no message.
    pub(super) fn say(&mut self, word: SubscriptionEvent) {
        self.backlog.say(word);
    }

    /// Its link is lost.
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

    /// Lets go of what waits behind a gap for too long. Returns whether something did.
    pub(super) fn time_out(&mut self, now: Instant) -> bool {
        let is_over = self.held.as_ref().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= HELD);
        if !is_over || !self.backlog.is_held_up() {
            return false;
        }
        self.owed = self.held.take().map(|(_, cause)| cause);
        self.backlog.release();
        true
    }

    /// A link is there again that topics of this one have been missed on for longer than is waited: what comes by it stands
    /// behind another gap, which is told when all of them are back.
    pub(super) fn has_recovered_in_time(&mut self, now: Instant) {
        if let Some(cause) = self.owed.take() {
            self.backlog.hold();
            self.backlog.gap(cause.clone());
            self.held = Some((now, cause));
        }
    }

    /// Its topics that are events of keys.
    pub(super) fn watched(&self) -> impl Iterator<Item = &Name> {
        let watches = |topic: &Topic| matches!(topic.kind(), TopicKind::Keyspace | TopicKind::Keyevent);
        self.topics.iter().filter(move |(_, topic)| watches(topic)).map(|(name, _)| name)
    }

    /// Whether nobody waits for it any more who has asked for this topic first.
    pub(super) fn has_been_answered(&self, name: &Name) -> bool {
        !self.requests.iter().any(|request| request.done.is_some() && request.added.contains(name))
    }

    /// Whether it is told for the first time on this link that no events of keys come.
    pub(super) fn is_first_confirmation(&mut self, link_id: LinkId, generation: u64) -> bool {
        self.cut_generations.insert(link_id, generation) != Some(generation)
    }

    /// That link is gone for good.
    pub(super) fn forget(&mut self, link_id: LinkId) {
        self.cut_generations.remove(&link_id);
    }

    pub(super) fn foreign(&self) {
        self.tally.foreign.fetch_add(1, Ordering::Relaxed);
    }

    /// Hands over the next event, if there is one and there is room for it.
    pub(super) fn deliver_next(&mut self, id: Id) -> Option<EventDelivery> {
        let (event, size) = match self.backlog.next()? {
            Piece::Item { item, size } => (item, size),
            Piece::Dropped(messages) => (SubscriptionEvent::Dropped { messages }, 0),
            Piece::Gap { losses, cause } => (SubscriptionEvent::Gap { losses, cause }, 0),
        };
        let mut request = Box::pin(self.inbox.send(event));
        // A mailbox that is full makes it wait until it is polled: then the next one must not come before it.
        let early = match request.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(handled) => Some(handled),
            Poll::Pending => None,
        };
        Some(EventDelivery { id, size, request, early })
    }

    /// An event was handled.
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

    /// It is over. With a cause it is told.
    pub(super) fn end(self, cause: Option<Cause>) {
        self.tally.ended.store(true, Ordering::Release);
        self.tally.waiting.store(0, Ordering::Relaxed);
        self.tally.waiting_bytes.store(0, Ordering::Relaxed);
        if let Some(cause) = cause {
            self.inbox.do_send(SubscriptionEvent::Ended { cause });
        }
    }

    /// Topics are wanted, all or none.
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

    /// Ends every request that waits for this topic. Returns what has to be left again, or `None` when nobody waited.
    pub(super) fn refused(&mut self, name: &Name, error: &Error) -> Option<Vec<Name>> {
        let refused: Vec<_> = self.requests.extract_if(.., |request| request.missing.contains(name)).collect();
        (!refused.is_empty()).then(|| self.fail(refused, error))
    }

    /// As [`refused`](Self::refused), for every request that waits for one of these: there will be no link.
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

    /// A request's answer has arrived: its topics stay, whatever becomes of other requests.
    pub(super) fn keep(&mut self, id: u64) {
        let kept: Vec<_> = self.requests.extract_if(.., |request| request.id == id).collect();
        for request in &mut self.requests {
            request.added.retain(|name| !kept.iter().any(|kept| kept.names.contains(name)));
        }
    }

    /// Nobody waits for a request any more. Returns what has to be left again.
    pub(super) fn undo(&mut self, id: u64) -> Vec<Name> {
        let undone: Vec<_> = self.requests.extract_if(.., |request| request.id == id).collect();
        undone.into_iter().flat_map(|request| self.take_back(request.added)).collect()
    }

    /// What was added, but for what another request is about: that one answers for it now.
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

    /// Topics are wanted no more. Whoever waits for one waits in vain.
    pub(super) fn leave(&mut self, names: &[Name]) {
        for name in names {
            self.topics.remove(name);
            // Dropped: the one who waits is told that it is over.
            self.requests.retain(|request| !request.missing.contains(name));
            for request in &mut self.requests {
                request.names.remove(name);
                request.added.retain(|added| added != name);
            }
        }
    }
}
