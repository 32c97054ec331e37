//! The engine of the subscriptions: the machine decides what to request from servers, members deliver events to
//! subscribers.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use actix::WeakAddr;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::oneshot;

use super::member::{EventDelivery, Member};
use super::{NodeConnections, Order};
use crate::actors::connection::{Connect, Disconnect, RedisActor};
use crate::client::Redis;
use crate::client::builder::PreparedActor;
use crate::clock::FOREVER;
use crate::connection::deadline_timer::DeadlineTimer;
use crate::connection::driver::listening::PushMessage;
use crate::error::{Error, Result};
use crate::events::{Cause, CauseKind};
use crate::pubsub::event::{ChannelMessage, SubscriptionEvent, key_event};
use crate::pubsub::machine::router::{ANYWHERE, LinkId, SubscriptionRouter};
use crate::pubsub::machine::{Id, Name, News};
use crate::pubsub::topic::Topic;

use connections::{SubscriptionLink, TopologyChanges};
use isolation::IsolationChecks;
use losses::Loss;
use queries::QueryOutcome;

mod connections;
mod isolation;
mod losses;
mod queries;

/// The interval of the check for inboxes whose actor has ended, since that is not reported.
const SWEEP: Duration = Duration::from_millis(500);
/// The delay of a retry after the link had no room for a request.
const RETRY: Duration = Duration::from_millis(20);
/// The maximum number of rounds per poll, so that other actors of this thread can run.
const ROUNDS: usize = 32;

/// See the module documentation.
pub(crate) struct Engine {
    is_over: bool,
    node_connections: NodeConnections,
    main: WeakAddr<RedisActor>,
    idle: Duration,
    subscription_router: SubscriptionRouter,
    /// The links. Empty after the end.
    places: BTreeMap<LinkId, SubscriptionLink>,
    /// Links whose actor was not spawned yet.
    seeds: Vec<(LinkId, PreparedActor)>,
    topology_changes: Option<TopologyChanges>,
    checks: IsolationChecks,
    /// Subscriptions that servers ended since the last poll. A moved slot ends all of its channels, which is one gap.
    revoked: Vec<(LinkId, Name)>,
    members: HashMap<Id, Member>,
    ready: VecDeque<Id>,
    questions: FuturesUnordered<Pin<Box<dyn Future<Output = QueryOutcome>>>>,
    in_delivery: FuturesUnordered<EventDelivery>,
    unreported: Option<Loss>,
    timer: DeadlineTimer,
    sweep_at: Option<Instant>,
    retry_at: Option<Instant>,
    /// All addresses were dropped: the time at which the engine ends.
    linger_until: Option<Instant>,
    waker: Waker,
}

impl Engine {
    /// `link` connects to any node.
    pub(super) fn new(
        link: Redis,
        node_connections: NodeConnections,
        main: WeakAddr<RedisActor>,
        idle: Duration,
    ) -> Self {
        let slots = node_connections.topology.as_ref().map(|topology| topology.slots());
        Self {
            is_over: false,
            subscription_router: SubscriptionRouter::new(slots, idle.min(FOREVER)),
            places: BTreeMap::from([(ANYWHERE, SubscriptionLink::new(link, None))]),
            seeds: Vec::new(),
            topology_changes: node_connections.topology.as_ref().map(|topology| TopologyChanges::of(topology)),
            checks: IsolationChecks::default(),
            revoked: Vec::new(),
            node_connections,
            main,
            idle: idle.min(FOREVER),
            members: HashMap::new(),
            ready: VecDeque::new(),
            questions: FuturesUnordered::new(),
            in_delivery: FuturesUnordered::new(),
            unreported: None,
            timer: DeadlineTimer::new(),
            sweep_at: None,
            retry_at: None,
            linger_until: None,
            waker: Waker::noop().clone(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether any address is held.
    pub(super) fn held(&mut self, is_held: bool) {
        if is_held {
            self.linger_until = None;
        } else if self.linger_until.is_none() {
            self.linger_until = Some(Instant::now() + self.idle);
        }
    }

    pub(super) fn order(&mut self, order: Order) {
        match order {
            Order::End(done) => self.end(Cause::new(CauseKind::Shutdown, "the connection was shut down"), Some(done)),
            #[cfg(test)]
            Order::ActorFailure => panic!("injected"),
            // The reply channel is dropped, which notifies the caller of the end.
            _ if self.is_over() => {}
            Order::Open { id, bounds, inbox, tally } => {
                self.members.insert(id, Member::new(inbox, bounds, tally));
                self.sweep_at.get_or_insert_with(|| Instant::now() + SWEEP);
            }
            Order::Join { id, request, topics, done } => self.join(id, request, topics, done),
            Order::Keep { id, request } => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.keep(request);
                }
            }
            Order::Undo { id, request } => {
                let left = self.members.get_mut(&id).map(|member| member.undo(request));
                self.leave(id, &left.unwrap_or_default());
            }
            Order::Leave { id, names, done } => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.leave(&names);
                }
                self.leave(id, &names);
                let _ = done.send(());
            }
            Order::Close { id, done } => {
                self.end_member(id, None);
                if let Some(done) = done {
                    let _ = done.send(());
                }
            }
        }
    }

    fn join(&mut self, id: Id, request: u64, topics: Vec<(Name, Topic)>, done: oneshot::Sender<Result<()>>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let now = Instant::now();
        let names: Vec<Name> = topics.iter().map(|(name, _)| name.clone()).collect();
        member.request(request, topics, done);
        for name in &names {
            self.subscription_router.join(id, name, now);
        }
        self.follow_changes();
        for link_id in self.places.keys().copied().collect::<Vec<_>>() {
            self.check_notifications(link_id);
        }
        // Topics that are already confirmed need no link.
        self.publish_news();
        for (link_id, cause) in self.troubles(&names) {
            match cause {
                Some(cause) => self.fail_at(link_id, &cause),
                None => self.connect(link_id),
            }
        }
    }

    fn leave(&mut self, id: Id, names: &[Name]) {
        let now = Instant::now();
        for name in names {
            self.subscription_router.leave(id, name, now);
        }
    }

    fn end_member(&mut self, id: Id, cause: Option<Cause>) {
        if let Some(member) = self.members.remove(&id) {
            self.subscription_router.end(id, Instant::now());
            member.end(cause);
        }
    }

    /// Ends all subscriptions, and notifies all subscribers.
    pub(super) fn end(&mut self, cause: Cause, done: Option<oneshot::Sender<()>>) {
        self.is_over = true;
        let links: Vec<Redis> = std::mem::take(&mut self.places).into_values().map(|place| place.redis).collect();
        for (_, member) in self.members.drain() {
            member.end(Some(cause.clone()));
        }
        self.subscription_router = SubscriptionRouter::new(None, self.idle);
        // An actor that was not spawned would not be ended otherwise.
        self.seeds.clear();
        (self.topology_changes, self.checks) = (None, IsolationChecks::default());
        self.revoked.clear();
        self.questions.clear();
        self.ready.clear();
        (self.sweep_at, self.retry_at, self.linger_until, self.unreported) = (None, None, None, None);
        // Events in a mailbox will be handled; dropping their futures would remove them from the mailbox.
        let in_delivery = std::mem::take(&mut self.in_delivery);
        actix::spawn(in_delivery.for_each(|_| std::future::ready(())));
        actix::spawn(async move {
            for link in links {
                let _ = link.shutdown(Duration::ZERO).await;
            }
            if let Some(done) = done {
                let _ = done.send(());
            }
        });
        self.waker.wake_by_ref();
    }

    /// Handles a restart of the actor: the subscriptions on the server are suspect, and are renewed on another link.
    pub(super) fn restarted(&mut self, reason: &str) {
        tracing::error!(event = "subscription.restarted", reason, "the subscription actor was restarted");
        self.timer.disarm();
        for place in self.places.values() {
            place.redis.address().do_send(Disconnect("the subscription actor was restarted"));
        }
    }

    /// Handles a published message.
    pub(super) fn heard(&mut self, link_id: LinkId, heard: PushMessage) {
        match heard {
            PushMessage::Message { topic, channel, payload } => self.published(link_id, &topic, channel, payload),
            PushMessage::Foreign { topic } => {
                for id in self.subscription_router.holders(&topic) {
                    if let Some(member) = self.members.get(&id) {
                        member.foreign();
                    }
                }
            }
            PushMessage::Revoked { topic } => {
                self.revoked.push((link_id, topic));
                self.waker.wake_by_ref();
            }
        }
    }

    fn published(&mut self, link_id: LinkId, name: &Name, channel: Vec<u8>, payload: Vec<u8>) {
        let size = channel.len() + payload.len();
        let key = key_event(&channel, &payload);
        let (channel, payload) = (channel.into(), payload.into());
        let mut too_slow = Vec::new();
        // A former owner that became a replica delivers what the new one delivers, until it has unsubscribed.
        for id in self.subscription_router.holders_at(name, link_id) {
            let Some(member) = self.members.get_mut(&id) else { continue };
            let Some(topic) = member.topics.get(name) else { continue };
            let event = match &key {
                Some(key) => SubscriptionEvent::Key(key.clone()),
                None => {
                    let (topic, channel, payload) = (topic.clone(), Clone::clone(&channel), Clone::clone(&payload));
                    SubscriptionEvent::Message(ChannelMessage { topic, channel, payload })
                }
            };
            if member.push(event, size).is_err() {
                too_slow.push(id);
            } else if mark_ready(&mut self.ready, id, member) {
                self.waker.wake_by_ref();
            }
        }
        for id in too_slow {
            self.end_too_slow(id);
        }
    }

    fn end_too_slow(&mut self, id: Id) {
        let words = "the inbox of the subscription is too slow: its buffer is full; raise buffer(..), or choose another overflow policy";
        self.end_member(id, Some(Cause::new(CauseKind::Stalled, words)));
        self.waker.wake_by_ref();
    }

    fn publish(&mut self, id: Id, event: SubscriptionEvent) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.push_status(event);
        if mark_ready(&mut self.ready, id, member) {
            self.waker.wake_by_ref();
        }
    }

    /// Returns whether there was news.
    fn publish_news(&mut self) -> bool {
        let mut on_event = false;
        while let Some(news) = self.subscription_router.news() {
            on_event = true;
            match news {
                News::Confirmed { id, name } => {
                    if let Some(member) = self.members.get_mut(&id) {
                        member.confirmed(&name);
                    }
                    self.warn_if_disabled(id);
                }
                News::Refused { id, name, error } => self.refused(id, &name, error),
                News::Recovered { id } => {
                    if let Some(member) = self.members.get_mut(&id) {
                        member.recovered();
                        mark_ready(&mut self.ready, id, member);
                    }
                }
            }
        }
        if self.unreported.is_some()
            && !self.subscription_router.is_recovering()
            && let Some(loss) = self.unreported.take()
        {
            self.announce(loss);
        }
        on_event
    }

    fn refused(&mut self, id: Id, name: &Name, error: Error) {
        let Some(member) = self.members.get_mut(&id) else { return };
        match member.refused(name, &error) {
            Some(left) => self.leave(id, &left),
            None => {
                if let Some(topic) = member.topics.get(name).cloned() {
                    self.publish(id, SubscriptionEvent::Refused { topic, error });
                }
            }
        }
    }

    /// Delivers events to all ready subscribers, as far as their windows allow. Returns whether there was one.
    fn deliver_next(&mut self) -> bool {
        let mut in_delivery = false;
        while let Some(id) = self.ready.pop_front() {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.is_ready = false;
            while let Some(event) = member.deliver_next(id) {
                in_delivery = true;
                self.in_delivery.push(event);
            }
        }
        in_delivery
    }

    /// Returns whether a delivery completed.
    fn poll_handed(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        while let Poll::Ready(Some((id, size, handled))) = self.in_delivery.poll_next_unpin(cx) {
            busy = true;
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.handled(size);
            if handled.is_err() && member.is_gone() {
                self.end_member(id, None);
            } else {
                mark_ready(&mut self.ready, id, member);
            }
        }
        busy
    }

    /// Sets the one timer to the earliest deadline. Returns whether it has fired.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let due =
            [self.sweep_at, self.retry_at, self.linger_until, self.checks.due, self.subscription_router.wake_at()];
        let Some(next) = due.into_iter().flatten().min() else { return false };
        if !self.timer.poll(next, cx) {
            return false;
        }
        let now = Instant::now();
        if self.retry_at.take_if(|at| *at <= now).is_some() {
            self.subscription_router.retry();
        }
        if self.subscription_router.wake_at().is_some_and(|at| at <= now) {
            let hurt = self.subscription_router.tick(now);
            self.hurt_by_change(&hurt);
        }
        if self.checks.due.is_some_and(|at| at <= now) {
            self.check_isolation();
        }
        if self.sweep_at.take_if(|at| *at <= now).is_some() {
            self.sweep(now);
            self.sweep_at = (!self.members.is_empty()).then_some(now + SWEEP);
        }
        if self.linger_until.is_some_and(|at| at <= now) {
            self.end(Cause::new(CauseKind::Shutdown, "there were no subscriptions for the idle time"), None);
        }
        true
    }

    fn sweep(&mut self, now: Instant) {
        let gone: Vec<Id> = self.members.iter().filter(|(_, member)| member.is_gone()).map(|(id, _)| *id).collect();
        for id in gone {
            tracing::debug!("unsubscribed an inbox whose actor has ended");
            self.end_member(id, None);
        }
        for (id, member) in &mut self.members {
            if member.time_out(now) {
                mark_ready(&mut self.ready, *id, member);
            }
        }
    }

    /// One poll: bounded work, then the waker is stored for the link, and registered with everything else.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        if !self.waker.will_wake(cx.waker()) {
            self.waker = cx.waker().clone();
        }
        for _ in 0..ROUNDS {
            if self.is_over() {
                return;
            }
            let mut busy = self.poll_places(cx);
            busy |= self.poll_handed(cx);
            busy |= self.poll_questions(cx);
            busy |= self.publish_news();
            busy |= self.deliver_next();
            if !busy && !self.poll_timer(cx) {
                return;
            }
        }
        cx.waker().wake_by_ref();
    }
}

/// Returns whether it was not ready before.
fn mark_ready(ready: &mut VecDeque<Id>, id: Id, member: &mut Member) -> bool {
    let fresh = !std::mem::replace(&mut member.is_ready, true);
    if fresh {
        ready.push_back(id);
    }
    fresh
}
