//! The actor behind a stream consumer: a mailbox, and one future that turns the engine.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context, Handler, Message, Supervised};
use tokio::sync::oneshot;

use crate::streams::stats::ConsumerStats;

/// What its handles ask of a consumer.
pub(crate) enum Order {
    Pause,
    Resume,
    Drain { within: Duration, done: oneshot::Sender<DrainReport> },
    Stats(oneshot::Sender<Vec<ConsumerStats>>),
}

impl Message for Order {
    type Result = ();
}

/// What a drained consumer left behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Entries that stay pending: their handler had not answered at the deadline, the server did not confirm that
    /// they are given back, or refused their dead letter.
    pub unfinished: usize,
    /// Entries that were handled, but whose acknowledgement the server had not confirmed. They may be
    /// delivered again.
    pub unacknowledged: usize,
    /// Entries that were given back to the group without having been started.
    pub handed_back: u64,
    /// Entries that wait for another attempt; other consumers of the group take them over.
    pub delayed: usize,
}

impl DrainReport {
    pub(crate) fn add(&mut self, other: Self) {
        self.unfinished += other.unfinished;
        self.unacknowledged += other.unacknowledged;
        self.handed_back += other.handed_back;
        self.delayed += other.delayed;
    }
}

/// An engine whose payload type is not known any more.
pub(crate) trait Engine {
    fn poll(&mut self, cx: &mut TaskContext<'_>);
    fn order(&mut self, order: Order);
    /// All handles were dropped.
    fn abandoned(&mut self);
    fn restarted(&mut self, reason: String);
    /// The supervisor gave up.
    fn abort(&mut self);
    fn is_closed(&self) -> bool;
}

pub(crate) type SharedEngine = Rc<RefCell<Box<dyn Engine>>>;

/// See the module.
pub(crate) struct ConsumerActor {
    engine: SharedEngine,
}

impl ConsumerActor {
    pub(crate) fn new(engine: SharedEngine) -> Self {
        Self { engine }
    }
}

impl Actor for ConsumerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // One future for all handlers and commands: actix polls every spawned future at every wake-up, so one
        // for each message would make each cost as much as all.
        ctx.spawn(EngineFuture);
    }
}

impl Supervised for ConsumerActor {}

impl Handler<Order> for ConsumerActor {
    type Result = ();

    fn handle(&mut self, order: Order, _: &mut Self::Context) {
        self.engine.borrow_mut().order(order);
    }
}

/// Turns the engine after each draining of the mailbox.
struct EngineFuture;

impl ActorFuture<ConsumerActor> for EngineFuture {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut ConsumerActor,
        ctx: &mut Context<ConsumerActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let mut engine = actor.engine.borrow_mut();
        if !ctx.connected() {
            if engine.is_closed() {
                // This future alone would keep the actor alive.
                ctx.stop();
                return Poll::Ready(());
            }
            engine.abandoned();
        }
        // The engine bounds its own work; tokio's budget would make handlers that have answered look busy.
        let turn = tokio::task::unconstrained(std::future::poll_fn(|cx| {
            engine.poll(cx);
            Poll::Ready(())
        }));
        let done = std::pin::pin!(turn).poll(task);
        debug_assert!(done.is_ready());
        Poll::Pending
    }
}
