//! The supervisor of an actor: it keeps one address and one mailbox alive across stops and panics.
//!
//! `actix::Supervisor` restarts only after `ctx.stop()`, immediately and without a limit: a panic ends the actor
//! permanently, and an actor that stops while it starts is restarted millions of times a second.

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

/// The maximum number of restarts of an actor before its supervisor stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a limit does nothing until it is passed to Redis::builder"]
pub struct RestartLimit {
    restarts: usize,
    within: Duration,
    pause: Duration,
}

impl Default for RestartLimit {
    /// 10 restarts in 60 s, with a pause of 100 ms.
    fn default() -> Self {
        Self::new(10, Duration::from_secs(60))
    }
}

impl RestartLimit {
    /// Allows `restarts` restarts in any period of `within`. An actor that fails more often has a defect that
    /// restarts do not fix, so the failure is reported to its users.
    pub fn new(restarts: usize, within: Duration) -> Self {
        Self { restarts, within, pause: Duration::from_millis(100) }
    }

    /// Sets the pause before a restart, at least 1 ms. Default 100 ms.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause.max(Duration::from_millis(1));
        self
    }
}

/// A failure of the supervised actor.
pub(crate) enum ActorFailure {
    /// It will be restarted for the n-th time.
    Restart(u64, String),
    /// It exceeded the restart limit.
    GiveUp(String),
}

/// The result of one poll of the actor.
enum Progress {
    Runs,
    Stopped,
    HasNoAddress,
}

/// Runs an actor in place of `Context::run`.
pub(crate) struct Guardian<A: Actor<Context = Context<A>> + Supervised> {
    actor: ContextFut<A, Context<A>>,
    limit: RestartLimit,
    failures: VecDeque<Instant>,
    restarts: u64,
    pausing: Option<Pin<Box<Sleep>>>,
    is_to_restart: bool,
    on_failure: Box<dyn FnMut(ActorFailure)>,
}

impl<A: Actor<Context = Context<A>> + Supervised> Guardian<A> {
    pub(crate) fn new(
        actor: ContextFut<A, Context<A>>,
        limit: RestartLimit,
        on_failure: impl FnMut(ActorFailure) + 'static,
    ) -> Self {
        let on_failure = Box::new(on_failure);
        let (failures, restarts) = (VecDeque::new(), 0);
        Self { actor, limit, failures, restarts, pausing: None, is_to_restart: false, on_failure }
    }

    /// Both run code of the actor's author, `Supervised::restarting` included.
    fn restart_and_poll(&mut self, cx: &mut TaskContext<'_>) -> Progress {
        if self.is_to_restart {
            if !self.actor.restart() {
                return Progress::HasNoAddress;
            }
            self.is_to_restart = false;
        }
        match Pin::new(&mut self.actor).poll(cx) {
            Poll::Pending => Progress::Runs,
            Poll::Ready(()) => Progress::Stopped,
        }
    }

    /// Records a failure. Returns `false` if it exceeds the limit.
    fn may_restart(&mut self, now: Instant) -> bool {
        self.failures.retain(|fall| now.saturating_duration_since(*fall) < self.limit.within);
        self.failures.push_back(now);
        self.failures.len() <= self.limit.restarts
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
                this.is_to_restart = true;
            }
            // The actor is not polled again before `restart` has dropped its futures, and `on_failure` updates the
            // state outside of them, so that no partial work is continued.
            let reason = match catch_unwind(AssertUnwindSafe(|| this.restart_and_poll(cx))) {
                Ok(Progress::Runs) => return Poll::Pending,
                Ok(Progress::HasNoAddress) => return Poll::Ready(()),
                // All addresses were dropped, or the actor stopped.
                Ok(Progress::Stopped) => "it stopped".to_owned(),
                Err(panic) => format!("it panicked: {}", panic_text(&*panic)),
            };
            if !this.actor.ctx().connected() {
                return Poll::Ready(());
            }
            if !this.may_restart(Instant::now()) {
                let RestartLimit { restarts, within, .. } = this.limit;
                let reason = format!(
                    "restart limit exceeded: more than {restarts} restarts in {within:?}; last failure: {reason}"
                );
                (this.on_failure)(ActorFailure::GiveUp(reason));
                return Poll::Ready(());
            }
            this.restarts += 1;
            (this.on_failure)(ActorFailure::Restart(this.restarts, reason));
            this.pausing = Some(Box::pin(sleep(this.limit.pause)));
        }
    }
}

/// Starts an actor on the arbiter of this thread under a supervisor that also restarts it after a panic, which
/// `actix::Supervisor` does not. The actor keeps its address, its mailbox and its state, after
/// [`Supervised::restarting`]. The message that it was handling gets no reply, so a [`Delivery`](crate::Delivery)
/// that caused a panic is retried. Its mailbox is unbounded.
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
/// Outside of an actix system, like [`Actor::start`].
pub fn supervise<A: Actor<Context = Context<A>> + Supervised>(actor: A, limit: RestartLimit) -> Addr<A> {
    let (sender, receiver) = channel::channel::<A>(0);
    let actor = Context::with_receiver(receiver).into_future(actor);
    actix::spawn(Guardian::new(actor, limit, |fall| match fall {
        ActorFailure::Restart(restarts, reason) => {
            tracing::error!(event = "actor.restarted", restarts, reason, "an actor was restarted");
        }
        ActorFailure::GiveUp(reason) => {
            tracing::error!(event = "actor.stopped", reason, "the restart limit of an actor was exceeded");
        }
    }));
    Addr::new(sender)
}

/// A panic message is the author's text and not a caller's data, but it may be long.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").chars().take(200).collect()
}
