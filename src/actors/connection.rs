//! The actor that owns the connection.

use std::{
    cell::RefCell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised, WrapFuture,
    dev::{MessageResponse, OneshotSender},
};
use tokio::sync::oneshot;

use crate::client::submit_queue::{Aside, Callers, Gathered, Outlet, Submit};
use crate::cluster::topology::Look;
use crate::connection::driver::ShutdownReport;
use crate::connection::driver::login::LoginSent;
use crate::connection::endpoint::Master;
use crate::connection::engine::Engine;
use crate::connection::request::{BoxedTicket, Silent, Waiter};
use crate::connection::session::Greeting;
use crate::events::ConnectionEvent;
use crate::frame::{Frame, ReadFrom};
use crate::messages::Command;

/// The actor that owns one connection to Redis and executes every [`Command`] sent to it.
///
/// It is made by [`Redis::builder`](crate::Redis::builder), under a supervisor that keeps its address and
/// mailbox through lost links, stops and panics. Its mailbox has no bound of its own: a full queue answers
/// with [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded). Commands that wait, such as
/// [`BLPop`](crate::BLPop), it hands on to a connection of their own.
///
/// ```no_run
/// # async fn example(redis: redis_actix::Redis) -> Result<(), Box<dyn std::error::Error>> {
/// use redis_actix::{Get, RedisActor};
///
/// let addr: &actix::Addr<RedisActor> = redis.addr();
/// let name: Option<String> = addr.send(Get::new("user:1")).await??;
/// # Ok(())
/// # }
/// ```
pub struct RedisActor {
    engine: Rc<RefCell<Engine>>,
    outlet: Outlet,
    /// Taken from the intake. Empty between messages, unless one panicked.
    taken: VecDeque<Submit>,
    /// Who sends to the address does not say where it is; it is taken to be here, as actors of one arbiter are.
    callers: Callers,
    /// Where commands go that wait; `None` for a connection that is one's own already.
    elsewhere: Option<Elsewhere>,
    /// Who answers reads that do not say so themselves.
    reads: ReadFrom,
    /// Messages with commands, and the commands in them, since the engine was polled.
    since_turn: (usize, usize),
}

/// So many commands are taken from the mailbox before the engine is polled and the other actors of this thread get their turn.
/// actix leaves a mailbox only when it is empty, which one that several threads send to need never be.
const COMMANDS_PER_TURN: usize = 256;

/// Takes over a command that waits; the address is that of the actor which was asked.
pub(crate) type Elsewhere = Rc<dyn Fn(Alone, Addr<RedisActor>)>;

impl RedisActor {
    pub(crate) fn new(
        engine: Rc<RefCell<Engine>>,
        outlet: Outlet,
        elsewhere: Option<Elsewhere>,
        reads: ReadFrom,
    ) -> Self {
        Self { engine, outlet, taken: VecDeque::new(), callers: Callers::Here, elsewhere, reads, since_turn: (0, 0) }
    }

    /// So many commands came with one message. Leaves the mailbox when that was enough.
    fn count(&mut self, commands: usize, ctx: &mut Context<Self>) {
        let (messages, since) = (self.since_turn.0 + 1, self.since_turn.1 + commands);
        self.since_turn = (messages, since);
        // One message with all that has gathered is no flood.
        if messages > 1 && since >= COMMANDS_PER_TURN {
            self.since_turn = (0, 0);
            // It has the runtime look at its sockets and timers, which a plain wake-up does not.
            ctx.wait(tokio::task::yield_now().into_actor(self));
        }
    }

    /// Submits what has gathered. One by one, so that a panic costs no more than the command it comes from.
    fn take_in(&mut self) -> usize {
        self.callers = self.outlet.0.take(&mut self.taken);
        let taken = self.taken.len();
        let mut engine = self.engine.borrow_mut();
        while let Some(submit) = self.taken.pop_front() {
            engine.submit(submit.ticket, Some(submit.asked));
        }
        taken
    }
}

impl Actor for RedisActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The one future of this actor. Nothing else is spawned: actix polls every spawned future at every
        // wake-up, so one for each command would cost more than the command.
        ctx.spawn(Turns);
        // What a panic has left, if this is a restart.
        self.take_in();
    }
}

/// Restarting drops the futures and keeps the mailbox; the driver was told by the supervisor.
impl Supervised for RedisActor {}

/// Polls the driver after each draining of the mailbox.
struct Turns;

impl ActorFuture<RedisActor> for Turns {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut RedisActor,
        ctx: &mut Context<RedisActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        actor.since_turn = (0, 0);
        let mut engine = actor.engine.borrow_mut();
        // tokio's budget of 128 operations is shared by all that this task polls. When the mailbox has used
        // it up, the socket would look busy until the next turn, and throughput halves. The driver bounds its
        // own work.
        let turn = tokio::task::unconstrained(std::future::poll_fn(|cx| {
            engine.poll(cx, actor.callers);
            Poll::Ready(())
        }));
        let done = std::pin::pin!(turn).poll(task);
        debug_assert!(done.is_ready());
        if engine.is_idle() && !ctx.connected() {
            // This future alone would keep the actor alive after its last address is gone.
            ctx.stop();
        }
        Poll::Pending
    }
}

const PANICKED: &str = "its message panicked while it was built; fix its `Command::frame`";

/// Takes over the reply channel, so that nothing is spawned and no future is boxed for a command.
pub struct Deferred<M> {
    engine: Rc<RefCell<Engine>>,
    elsewhere: Option<Elsewhere>,
    reads: ReadFrom,
    message: M,
}

impl<M: Command> MessageResponse<RedisActor, M> for Deferred<M> {
    fn handle(self, ctx: &mut Context<RedisActor>, reply: Option<OneshotSender<M::Result>>) {
        // Its author's code: a panic in it must not take the commands of others along.
        let frame = catch_unwind(AssertUnwindSafe(|| self.message.into_frame()));
        let frame = frame.unwrap_or_else(|_| Frame::default().invalid(PANICKED)).or_read_from(self.reads);
        let elsewhere = self.elsewhere.filter(|_| frame.waits());
        let ticket: BoxedTicket = match reply {
            Some(reply) => Box::new(Waiter::<M, _>::new(frame, reply)),
            None => Box::new(Silent::new(frame)),
        };
        match elsewhere {
            Some(elsewhere) => elsewhere(Alone { ticket, asked: Instant::now(), seen: None }, ctx.address()),
            None => self.engine.borrow_mut().submit(ticket, None),
        }
    }
}

impl<M: Command> Handler<M> for RedisActor {
    type Result = Deferred<M>;

    fn handle(&mut self, message: M, ctx: &mut Context<Self>) -> Deferred<M> {
        self.callers = Callers::Here;
        self.count(1, ctx);
        let (engine, elsewhere) = (self.engine.clone(), self.elsewhere.clone());
        Deferred { engine, elsewhere, reads: self.reads, message }
    }
}

impl Handler<Aside> for RedisActor {
    type Result = ();

    fn handle(&mut self, aside: Aside, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.callers = aside.callers();
        self.engine.borrow_mut().submit(aside.submit.ticket, Some(aside.submit.asked));
    }
}

/// A command that waits, for a connection of its own.
pub(crate) struct Alone {
    pub(crate) ticket: BoxedTicket,
    pub(crate) asked: Instant,
    /// Told when the caller has taken the reply out of its channel; closed when the caller goes. Without it a reply
    /// that was sent counts as taken.
    pub(crate) seen: Option<oneshot::Receiver<()>>,
}

impl Message for Alone {
    type Result = ();
}

impl Handler<Alone> for RedisActor {
    type Result = ();

    fn handle(&mut self, alone: Alone, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        match &self.elsewhere {
            Some(elsewhere) => elsewhere(alone, ctx.address()),
            None => self.engine.borrow_mut().submit(alone.ticket, Some(alone.asked)),
        }
    }
}

/// Something to tell those who listen to the events of the connection.
pub(crate) struct Tell(pub(crate) ConnectionEvent);

impl Message for Tell {
    type Result = ();
}

impl Handler<Tell> for RedisActor {
    type Result = ();

    fn handle(&mut self, tell: Tell, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().tell(tell.0);
    }
}

/// As [`Aside`], for a command that depends on one link; see [`Engine::submit_on`].
pub(crate) struct SubmitOn {
    generation: u64,
    aside: Aside,
}

impl SubmitOn {
    /// To be made on the thread of whoever waits for the answer.
    pub(crate) fn new(generation: u64, submit: Submit) -> Self {
        Self { generation, aside: Aside::new(submit) }
    }
}

impl Message for SubmitOn {
    type Result = ();
}

impl Handler<SubmitOn> for RedisActor {
    type Result = ();

    fn handle(&mut self, SubmitOn { generation, aside }: SubmitOn, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.callers = aside.callers();
        let submit = aside.submit;
        self.engine.borrow_mut().submit_on(generation, submit.ticket, Some(submit.asked));
    }
}

/// Runs something on the thread of the actor: further connections live where the first one does.
pub(crate) struct Run(pub(crate) Box<dyn FnOnce() + Send>);

impl Message for Run {
    type Result = ();
}

impl Handler<Run> for RedisActor {
    type Result = ();

    fn handle(&mut self, run: Run, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        (run.0)();
    }
}

impl Handler<Gathered> for RedisActor {
    type Result = ();

    fn handle(&mut self, _: Gathered, ctx: &mut Context<Self>) {
        let taken = self.take_in();
        self.count(taken, ctx);
    }
}

/// Asks for a connection before there is a command.
pub(crate) struct Connect;

impl Message for Connect {
    type Result = ();
}

impl Handler<Connect> for RedisActor {
    type Result = ();

    fn handle(&mut self, _: Connect, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().connect();
    }
}

/// Makes an attempt that waits for its delay now. The reply comes when it has begun.
pub(crate) struct Hurry;

impl Message for Hurry {
    type Result = ();
}

impl Handler<Hurry> for RedisActor {
    type Result = ();

    fn handle(&mut self, _: Hurry, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().hurry();
    }
}

/// Logs in with other credentials on every link that is up; the reply is where each of them is answered.
pub(crate) struct LogIn(pub(crate) Frame);

impl Message for LogIn {
    type Result = Vec<LoginSent>;
}

impl Handler<LogIn> for RedisActor {
    type Result = actix::MessageResult<LogIn>;

    fn handle(&mut self, LogIn(auth): LogIn, ctx: &mut Context<Self>) -> Self::Result {
        self.count(1, ctx);
        let mut sent = Vec::new();
        self.engine.borrow_mut().each_driver(|driver| sent.extend(driver.log_in(&auth)));
        actix::MessageResult(sent)
    }
}

impl Handler<Look> for RedisActor {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().look();
    }
}

/// There is a new master; see [`Driver::lead`](crate::connection::driver::Driver::lead).
pub(crate) struct Lead(pub(crate) Master);

impl Message for Lead {
    type Result = ();
}

impl Handler<Lead> for RedisActor {
    type Result = ();

    fn handle(&mut self, lead: Lead, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().lead(&lead.0);
    }
}

/// Has a link looked at that may lead to another server than it should; see
/// [`Driver::recheck`](crate::connection::driver::Driver::recheck).
pub(crate) struct Recheck;

impl Message for Recheck {
    type Result = ();
}

impl Handler<Recheck> for RedisActor {
    type Result = ();

    fn handle(&mut self, _: Recheck, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().recheck();
    }
}

/// Gives the link up, as if it had broken: for those who know that it is dead before it shows.
pub(crate) struct Sever(pub(crate) &'static str);

impl Message for Sever {
    type Result = ();
}

impl Handler<Sever> for RedisActor {
    type Result = ();

    fn handle(&mut self, sever: Sever, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().sever(sever.0);
    }
}

/// Asks for the events of the connection from now on.
pub(crate) struct Subscribe(pub(crate) Recipient<ConnectionEvent>);

impl Message for Subscribe {
    type Result = ();
}

impl Handler<Subscribe> for RedisActor {
    type Result = ();

    fn handle(&mut self, subscribe: Subscribe, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().subscribe(subscribe.0);
    }
}

/// Tells what happened to a connection that belongs to this one.
pub(crate) struct Announce(pub(crate) ConnectionEvent);

impl Message for Announce {
    type Result = ();
}

impl Handler<Announce> for RedisActor {
    type Result = ();

    fn handle(&mut self, announce: Announce, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().tell(announce.0);
    }
}

/// Asks what the server said of itself when it was greeted last.
pub(crate) struct Introduce;

impl Message for Introduce {
    type Result = Greeting;
}

impl Handler<Introduce> for RedisActor {
    type Result = actix::MessageResult<Introduce>;

    fn handle(&mut self, _: Introduce, ctx: &mut Context<Self>) -> Self::Result {
        self.count(1, ctx);
        actix::MessageResult(self.engine.borrow().greeting())
    }
}

/// Drains the connection.
pub(crate) struct ShutDown {
    pub(crate) within: Duration,
    pub(crate) done: oneshot::Sender<ShutdownReport>,
}

impl Message for ShutDown {
    type Result = ();
}

impl Handler<ShutDown> for RedisActor {
    type Result = ();

    fn handle(&mut self, shutdown: ShutDown, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().shut_down(shutdown.within, shutdown.done);
    }
}

#[cfg(test)]
mod tests;
