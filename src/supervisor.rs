//! The guardian of an actor: it keeps one address and one mailbox alive through stops and panics.
//!
//! `actix::Supervisor` restarts after `ctx.stop()` only, at once and without limit: a panic ends the actor
//! for good, and an actor that stops while starting is restarted millions of times a second.

use std::{
    any::Any,
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context as TaskContext, Poll},
    time::{Duration, Instant},
};

use actix::{
    Actor, Addr, Context, Supervised,
    dev::{ContextFut, channel},
};
use tokio::time::{Sleep, sleep};

/// How often an actor may fall before its supervisor gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a limit does nothing until it is given to Redis::builder"]
pub struct RestartLimit {
    restarts: usize,
    within: Duration,
    pause: Duration,
}

impl Default for RestartLimit {
    /// 10 restarts within 60 s, 100 ms apart.
    fn default() -> Self {
        Self::new(10, Duration::from_secs(60))
    }
}

impl RestartLimit {
    /// Gives up at the restart after `restarts` of them within `within`: an actor that falls over and over
    /// has a defect that no restart mends, and its users should hear of it.
    pub fn new(restarts: usize, within: Duration) -> Self {
        Self { restarts, within, pause: Duration::from_millis(100) }
    }

    /// How long to wait before a restart, at least 1 ms. Default 100 ms.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause.max(Duration::from_millis(1));
        self
    }
}

/// What the guardian tells about its actor.
pub(crate) enum ActorFailure {
    /// It will be restarted; the n-th time.
    Restart(u64, String),
    /// It fell too often.
    GiveUp(String),
}

/// Runs an actor in place of `Context::run`.
pub(crate) struct Guardian<A: Actor<Context = Context<A>> + Supervised> {
    actor: ContextFut<A, Context<A>>,
    limit: RestartLimit,
    falls: VecDeque<Instant>,
    restarts: u64,
    pausing: Option<Pin<Box<Sleep>>>,
    on_fall: Box<dyn FnMut(ActorFailure)>,
}

impl<A: Actor<Context = Context<A>> + Supervised> Guardian<A> {
    pub(crate) fn new(
        actor: ContextFut<A, Context<A>>,
        limit: RestartLimit,
        on_fall: impl FnMut(ActorFailure) + 'static,
    ) -> Self {
        Self { actor, limit, falls: VecDeque::new(), restarts: 0, pausing: None, on_fall: Box::new(on_fall) }
    }

    /// Counts a fall; false when it was one too many.
    fn may_restart(&mut self, now: Instant) -> bool {
        self.falls.retain(|fall| now.saturating_duration_since(*fall) < self.limit.within);
        self.falls.push_back(now);
        self.falls.len() <= self.limit.restarts
    }
}

impl<A: Actor<Context = Context<A>> + Supervised> Future for Guardian<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            if let Some(pause) = &mut this.pausing {
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.pausing = None;
                if !this.actor.restart() {
                    return Poll::Ready(());
                }
            }
            // The actor is not used again before `restart` has dropped its futures, and its state outside of
            // them is told of the fall: nothing half done is carried on with.
            let reason = match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.actor).poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                // Nobody holds an address any more, or it stopped.
                Ok(Poll::Ready(())) => "it stopped".to_owned(),
                Err(panic) => format!("it panicked: {}", panic_text(&*panic)),
            };
            if !this.actor.ctx().connected() {
                return Poll::Ready(());
            }
            if !this.may_restart(Instant::now()) {
                (this.on_fall)(ActorFailure::GiveUp(reason));
                return Poll::Ready(());
            }
            this.restarts += 1;
            (this.on_fall)(ActorFailure::Restart(this.restarts, reason));
            this.pausing = Some(Box::pin(sleep(this.limit.pause)));
        }
    }
}

/// Starts an actor on the arbiter of this thread under a supervisor that keeps it through panics too, which
/// `actix::Supervisor` does not: with its address, its mailbox and its state, after [`Supervised::restarting`]. What it
/// worked on is not answered, so a [`Delivery`](crate::Delivery) that made it panic is retried. Its mailbox has no bound.
///
/// ```
/// use actix::prelude::*;
/// use redis_actix::{Delivery, Outcome, RestartLimit, supervise};
/// use redis_actix::StreamEntry;
///
/// struct Billing;
///
/// impl Actor for Billing {
///     type Context = Context<Self>;
/// }
///
/// impl Supervised for Billing {}
///
/// impl Handler<Delivery<StreamEntry>> for Billing {
///     type Result = Outcome;
///
///     fn handle(&mut self, _: Delivery<StreamEntry>, _: &mut Self::Context) -> Outcome {
///         Outcome::Ack
///     }
/// }
///
/// # actix::System::new().block_on(async {
/// let billing: Addr<Billing> = supervise(Billing, RestartLimit::default());
/// # let _ = billing;
/// # });
/// ```
///
/// # Panics
/// Outside of an actix system, as [`Actor::start`] does.
pub fn supervise<A: Actor<Context = Context<A>> + Supervised>(actor: A, limit: RestartLimit) -> Addr<A> {
    let (sender, receiver) = channel::channel::<A>(0);
    let actor = Context::with_receiver(receiver).into_future(actor);
    actix::spawn(Guardian::new(actor, limit, |fall| match fall {
        ActorFailure::Restart(restarts, reason) => tracing::error!(restarts, reason, "an actor was restarted"),
        ActorFailure::GiveUp(reason) => tracing::error!(reason, "an actor fell too often"),
    }));
    Addr::new(sender)
}

/// A panic's text is its author's, not a caller's data, but it may be long.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").chars().take(200).collect()
}
