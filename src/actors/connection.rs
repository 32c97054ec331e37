//! The actor that owns the connection.

use std::{
    cell::RefCell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context, Handler, Message, Recipient, Supervised, WrapFuture,
    dev::{MessageResponse, OneshotSender},
};
use tokio::sync::oneshot;

use crate::cache::ClientCache;
use crate::client::submit_queue::{Callers, CommandsQueued, Submit, SubmitReceiver, UnbatchedSubmit, UnbatchedTurn};
use crate::cluster::topology::RefreshTopology;
use crate::connection::driver::login::LoginSent;
use crate::connection::driver::{Driver, ShutdownReport};
use crate::connection::endpoint::Master;
use crate::connection::engine::Engine;
use crate::connection::request::{BoxedTicket, Unawaited, Waiter};
use crate::events::ConnectionEvent;
use crate::frame::{Frame, ReadFrom};
use crate::messages::Command;
use crate::protocol::server_info::ServerInfo;

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
    submit_receiver: SubmitReceiver,
    /// Commands from the submit queue. Empty between messages, unless one panicked.
    taken: VecDeque<Submit>,
    /// The threads of the callers. Senders to the address are assumed to be on this thread, like actors of one arbiter.
    callers: Callers,
    /// Runs blocking commands on connections of their own; `None` for such a connection.
    dedicated_runner: Option<DedicatedRunner>,
    /// The default server for reads.
    reads: ReadFrom,
    /// Writes that are sent to the address invalidate their keys, too.
    cache: Option<Arc<ClientCache>>,
    /// Messages with commands, and the commands in them, since the engine was polled.
    since_turn: (usize, usize),
}

/// The maximum number of commands that are taken from the mailbox before the engine and the other actors of this thread are polled.
/// actix leaves a mailbox only when it is empty, which one that several threads send to need never be.
const COMMANDS_PER_TURN: usize = 256;

/// Runs a blocking command; the address is that of the actor that received it.
pub(crate) type DedicatedRunner = Rc<dyn Fn(RunDedicated, Addr<RedisActor>)>;

impl RedisActor {
    pub(crate) fn new(
        engine: Rc<RefCell<Engine>>,
        submit_receiver: SubmitReceiver,
        dedicated_runner: Option<DedicatedRunner>,
        reads: ReadFrom,
        cache: Option<Arc<ClientCache>>,
    ) -> Self {
        Self {
            engine,
            submit_receiver,
            taken: VecDeque::new(),
            callers: Callers::Here,
            dedicated_runner,
            reads,
            cache,
            since_turn: (0, 0),
        }
    }

    /// Counts the commands of one message. Leaves the mailbox after enough of them.
    fn count(&mut self, commands: usize, ctx: &mut Context<Self>) {
        let (messages, since) = (self.since_turn.0 + 1, self.since_turn.1 + commands);
        self.since_turn = (messages, since);
        // One message with all that has gathered is no flood.
        if messages > 1 && since >= COMMANDS_PER_TURN {
            self.since_turn = (0, 0);
            // Commands of handles that wait behind these messages may be late. The engine answers them as expired.
            self.submit_receiver.0.take_expired(Instant::now(), &mut self.taken);
            if !self.taken.is_empty() {
                self.engine.borrow_mut().each_driver(Driver::reset_clock);
                self.submit_taken();
            }
            // It has the runtime look at its sockets and timers, which a plain wake-up does not.
            ctx.wait(tokio::task::yield_now().into_actor(self));
        }
    }

    /// Submits all queued commands.
    fn take_in(&mut self) -> usize {
        self.callers = self.submit_receiver.0.take(&mut self.taken);
        let taken = self.taken.len();
        self.submit_taken();
        taken
    }

    /// One by one, so that a panic costs no more than the command it comes from.
    fn submit_taken(&mut self) {
        let mut engine = self.engine.borrow_mut();
        while let Some(submit) = self.taken.pop_front() {
            engine.submit(submit.ticket, Some(submit.asked));
        }
    }
}

impl Actor for RedisActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The one future of this actor. Nothing else is spawned: actix polls every spawned future at every
        // wake-up, so one for each command would cost more than the command.
        ctx.spawn(EngineFuture);
        // After a restart: the commands that a panic has left.
        self.take_in();
    }
}

/// Restarting drops the futures and keeps the mailbox; the supervisor has notified the driver.
impl Supervised for RedisActor {}

/// Polls the driver after each draining of the mailbox.
struct EngineFuture;

impl ActorFuture<RedisActor> for EngineFuture {
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
    dedicated_runner: Option<DedicatedRunner>,
    reads: ReadFrom,
    cache: Option<Arc<ClientCache>>,
    message: M,
}

impl<M: Command> MessageResponse<RedisActor, M> for Deferred<M> {
    fn handle(self, ctx: &mut Context<RedisActor>, reply: Option<OneshotSender<M::Result>>) {
        // Its author's code: a panic in it must not take the commands of others along.
        let frame = catch_unwind(AssertUnwindSafe(|| self.message.into_frame()));
        let frame = frame.unwrap_or_else(|_| Frame::default().invalid(PANICKED)).or_read_from(self.reads);
        let dedicated_runner = self.dedicated_runner.filter(|_| frame.waits());
        let mut ticket: BoxedTicket = match reply {
            Some(reply) => Box::new(Waiter::<M, _>::new(frame, reply)),
            None => Box::new(Unawaited::new(frame)),
        };
        if let Some(cache) = &self.cache {
            ticket = cache.admit_write(ticket);
        }
        match dedicated_runner {
            Some(dedicated_runner) => {
                dedicated_runner(RunDedicated { ticket, asked: Instant::now(), seen: None }, ctx.address())
            }
            None => self.engine.borrow_mut().submit(ticket, None),
        }
    }
}

impl<M: Command> Handler<M> for RedisActor {
    type Result = Deferred<M>;

    fn handle(&mut self, message: M, ctx: &mut Context<Self>) -> Deferred<M> {
        self.callers = Callers::Here;
        self.count(1, ctx);
        let (engine, dedicated_runner) = (self.engine.clone(), self.dedicated_runner.clone());
        Deferred { engine, dedicated_runner, reads: self.reads, cache: self.cache.clone(), message }
    }
}

impl Handler<UnbatchedSubmit> for RedisActor {
    type Result = ();

    fn handle(&mut self, unbatched: UnbatchedSubmit, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.callers = unbatched.callers();
        self.engine.borrow_mut().submit(unbatched.submit.ticket, Some(unbatched.submit.asked));
    }
}

impl Handler<UnbatchedTurn> for RedisActor {
    type Result = ();

    fn handle(&mut self, turn: UnbatchedTurn, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.callers = self.submit_receiver.0.take_unbatched(&turn, &mut self.taken);
        self.submit_taken();
    }
}

/// A blocking command, for a connection of its own.
pub(crate) struct RunDedicated {
    pub(crate) ticket: BoxedTicket,
    pub(crate) asked: Instant,
    /// Completed when the caller has received the reply; closed when the caller is gone. Without it a reply that was
    /// sent counts as received.
    pub(crate) seen: Option<oneshot::Receiver<()>>,
}

impl Message for RunDedicated {
    type Result = ();
}

impl Handler<RunDedicated> for RedisActor {
    type Result = ();

    fn handle(&mut self, dedicated: RunDedicated, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        match &self.dedicated_runner {
            Some(dedicated_runner) => dedicated_runner(dedicated, ctx.address()),
            None => self.engine.borrow_mut().submit(dedicated.ticket, Some(dedicated.asked)),
        }
    }
}

/// An event for the subscribers of the connection.
pub(crate) struct PublishEvent(pub(crate) ConnectionEvent);

impl Message for PublishEvent {
    type Result = ();
}

impl Handler<PublishEvent> for RedisActor {
    type Result = ();

    fn handle(&mut self, emit: PublishEvent, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().emit(emit.0);
    }
}

/// As [`UnbatchedSubmit`], for a command that depends on one link; see [`Engine::submit_on`].
pub(crate) struct SubmitOn {
    generation: u64,
    unbatched: UnbatchedSubmit,
}

impl SubmitOn {
    /// Must be created on the thread of the caller that waits for the reply.
    pub(crate) fn new(generation: u64, submit: Submit) -> Self {
        Self { generation, unbatched: UnbatchedSubmit::new(submit) }
    }
}

impl Message for SubmitOn {
    type Result = ();
}

impl Handler<SubmitOn> for RedisActor {
    type Result = ();

    fn handle(&mut self, SubmitOn { generation, unbatched }: SubmitOn, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.callers = unbatched.callers();
        let submit = unbatched.submit;
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

impl Handler<CommandsQueued> for RedisActor {
    type Result = ();

    fn handle(&mut self, _: CommandsQueued, ctx: &mut Context<Self>) {
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
pub(crate) struct ReconnectNow;

impl Message for ReconnectNow {
    type Result = ();
}

impl Handler<ReconnectNow> for RedisActor {
    type Result = ();

    fn handle(&mut self, _: ReconnectNow, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().reconnect_now();
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

impl Handler<RefreshTopology> for RedisActor {
    type Result = ();

    fn handle(&mut self, _: RefreshTopology, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().refresh_topology();
    }
}

/// There is a new master; see [`Driver::retarget`](crate::connection::driver::Driver::retarget).
pub(crate) struct Retarget(pub(crate) Master);

impl Message for Retarget {
    type Result = ();
}

impl Handler<Retarget> for RedisActor {
    type Result = ();

    fn handle(&mut self, retarget: Retarget, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().retarget(&retarget.0);
    }
}

/// Checks a link that may lead to the wrong server; see
/// [`Driver::recheck`](crate::connection::driver::Driver::recheck).
pub(crate) struct VerifyEndpoint;

impl Message for VerifyEndpoint {
    type Result = ();
}

impl Handler<VerifyEndpoint> for RedisActor {
    type Result = ();

    fn handle(&mut self, _: VerifyEndpoint, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().recheck();
    }
}

/// Disconnects the link, as if it had broken: for callers that know of the failure before the driver does.
pub(crate) struct Disconnect(pub(crate) &'static str);

impl Message for Disconnect {
    type Result = ();
}

impl Handler<Disconnect> for RedisActor {
    type Result = ();

    fn handle(&mut self, disconnect: Disconnect, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().disconnect(disconnect.0);
    }
}

/// As [`Disconnect`], unless a reply is arriving on the link.
pub(crate) struct DisconnectStalled(pub(crate) &'static str);

impl Message for DisconnectStalled {
    type Result = ();
}

impl Handler<DisconnectStalled> for RedisActor {
    type Result = ();

    fn handle(&mut self, disconnect: DisconnectStalled, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().each_driver(|driver| driver.disconnect_stalled(disconnect.0));
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

/// Forwards an event of an auxiliary connection.
pub(crate) struct ForwardEvent(pub(crate) ConnectionEvent);

impl Message for ForwardEvent {
    type Result = ();
}

impl Handler<ForwardEvent> for RedisActor {
    type Result = ();

    fn handle(&mut self, announce: ForwardEvent, ctx: &mut Context<Self>) {
        self.count(1, ctx);
        self.engine.borrow_mut().emit(announce.0);
    }
}

/// Returns what the server reported in the last handshake.
pub(crate) struct GetServerInfo;

impl Message for GetServerInfo {
    type Result = ServerInfo;
}

impl Handler<GetServerInfo> for RedisActor {
    type Result = actix::MessageResult<GetServerInfo>;

    fn handle(&mut self, _: GetServerInfo, ctx: &mut Context<Self>) -> Self::Result {
        self.count(1, ctx);
        actix::MessageResult(self.engine.borrow().server_info())
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
