//! The actor of the subscriptions: a mailbox, and one future that polls the engine. The engine is also the listener
//! of the subscription links, so all of them run on one thread.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised, WeakAddr,
    dev::channel,
};
use tokio::sync::oneshot;

use crate::actors::connection::RedisActor;
use crate::client::Redis;
use crate::client::builder::{ConnectionSpec, PreparedActor};
use crate::cluster::topology::Topology;
use crate::config::Address;
use crate::connection::driver::listening::{Listener, PushMessage};
use crate::dedicated::pool::Links;
use crate::error::Result;
use crate::events::{Cause, CauseKind, ConnectionEvent};
use crate::pubsub::backlog::Bounds;
use crate::pubsub::counters::SubscriptionCounters;
use crate::pubsub::event::SubscriptionEvent;
use crate::pubsub::machine::router::{ANYWHERE, LinkId};
use crate::pubsub::machine::{Id, Name};
use crate::pubsub::topic::Topic;
use crate::supervisor::{ActorFailure, Guardian, RestartLimit};
use engine::Engine;

mod engine;
mod member;
#[cfg(test)]
mod tests;

/// Requests of handles.
pub(crate) enum Order {
    /// Adds a subscriber without topics.
    Open {
        id: Id,
        bounds: Bounds,
        inbox: Recipient<SubscriptionEvent>,
        tally: Arc<SubscriptionCounters>,
    },
    /// Adds these topics to it, all or none.
    Join {
        id: Id,
        request: u64,
        topics: Vec<(Name, Topic)>,
        done: oneshot::Sender<Result<()>>,
    },
    /// The caller has received the confirmation.
    Keep {
        id: Id,
        request: u64,
    },
    /// The caller is gone, so the request is undone.
    Undo {
        id: Id,
        request: u64,
    },
    Leave {
        id: Id,
        names: Vec<Name>,
        done: oneshot::Sender<()>,
    },
    Close {
        id: Id,
        done: Option<oneshot::Sender<()>>,
    },
    /// Ends all subscriptions.
    End(oneshot::Sender<()>),
    #[cfg(test)]
    ActorFailure,
}

impl Message for Order {
    type Result = ();
}

/// See the module documentation.
pub(crate) struct PubSubActor {
    engine: Rc<RefCell<Engine>>,
}

/// The parts of links to single nodes.
pub(crate) struct NodeConnections {
    pub(crate) spec: ConnectionSpec,
    pub(crate) links: Arc<Links>,
    /// The topology, in a cluster.
    pub(crate) topology: Option<Arc<Topology>>,
}

/// Creates the address of a new actor, and its future, which must run on the thread of the connection. `link` is
/// spawned from `seed`; it is closed after `idle` without any subscriber.
pub(crate) fn spawn(
    link: Redis,
    seed: PreparedActor,
    node_connections: NodeConnections,
    main: WeakAddr<RedisActor>,
    idle: Duration,
) -> (Addr<PubSubActor>, impl FnOnce() + Send + 'static) {
    // Unbounded like every mailbox of this crate, because a bound would reorder messages.
    let (sender, receiver) = channel::channel::<PubSubActor>(0);
    let start = move || {
        let engine = Rc::new(RefCell::new(Engine::new(link, node_connections, main, idle)));
        actix::spawn(seed.spawn_with(Some(Box::new(LinkListener(engine.clone(), ANYWHERE)))));
        let actor = Context::with_receiver(receiver).into_future(PubSubActor { engine: engine.clone() });
        actix::spawn(async move {
            let failures = engine.clone();
            Guardian::new(actor, RestartLimit::default(), move |fall| match fall {
                ActorFailure::Restart(_, reason) => failures.borrow_mut().restarted(&reason),
                ActorFailure::GiveUp(reason) => {
                    let words = format!("subscription actor: {reason}");
                    failures.borrow_mut().end(Cause::new(CauseKind::Panicked, words), None);
                }
            })
            .await;
            engine.borrow_mut().end(Cause::new(CauseKind::Shutdown, "all subscriptions were dropped"), None);
        });
    };
    (Addr::new(sender), start)
}

/// Forwards the messages of a link to the engine.
struct LinkListener(Rc<RefCell<Engine>>, LinkId);

impl Listener for LinkListener {
    fn on_event(&mut self, event: &ConnectionEvent, protocol: u8, address: Option<&Address>) {
        self.0.borrow_mut().on_event(self.1, event, protocol, address);
    }

    fn heard(&mut self, heard: PushMessage) {
        self.0.borrow_mut().heard(self.1, heard);
    }
}

impl Actor for PubSubActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(EngineFuture);
    }
}

impl Supervised for PubSubActor {}

impl Handler<Order> for PubSubActor {
    type Result = ();

    fn handle(&mut self, order: Order, _: &mut Self::Context) {
        self.engine.borrow_mut().order(order);
    }
}

/// Polls the engine after the mailbox was drained.
struct EngineFuture;

impl ActorFuture<PubSubActor> for EngineFuture {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut PubSubActor,
        ctx: &mut Context<PubSubActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let mut engine = actor.engine.borrow_mut();
        engine.held(ctx.connected());
        // The engine limits its own work per poll.
        let engine_poll = tokio::task::unconstrained(std::future::poll_fn(|cx| {
            engine.poll(cx);
            Poll::Ready(())
        }));
        let done = std::pin::pin!(engine_poll).poll(task);
        debug_assert!(done.is_ready());
        for (link_id, seed) in engine.seeds() {
            actix::spawn(seed.spawn_with(Some(Box::new(LinkListener(actor.engine.clone(), link_id)))));
        }
        if engine.is_over() && !ctx.connected() {
            // The actor would live as long as this future.
            ctx.stop();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
