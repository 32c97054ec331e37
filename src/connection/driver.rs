//! The engine behind a connection actor: it moves bytes, and feeds [`LinkState`], [`Admission`] and [`Liveness`] with what
//! happened. It depends on neither mailbox nor supervisor.

use std::{
    cell::OnceCell,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Context,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

pub use report::ShutdownReport;

use super::request::BoxedTicket;
use crate::cache::tracking::Tracking;
use crate::client::gauges::Gauges;
use crate::config::Address;
use crate::connection::admission::{Admission, AdmissionCounters, Limits, Queueable, waiting_phase};
use crate::connection::busy_poll::BusyPoll;
use crate::connection::deadline_queue::{Deadline, Stamp};
use crate::connection::deadline_timer::DeadlineTimer;
use crate::connection::endpoint::{LinkToken, Master};
use crate::connection::link_state::{Action, Event, LinkState};
use crate::connection::liveness::{Liveness, Received};
use crate::connection::params::ConnectParams;
use crate::connection::retry::ReconnectPolicy;
use crate::connection::session::{Session, establish};
use crate::error::{self, Error, ErrorKind, Fate};
use crate::events::{Cause, CauseKind, ConnectionEvent, ConnectionState, Fanout};
use crate::frame::{Frame, WhenDown};
use crate::prefix::KeyPrefix;
use crate::protocol::framed::Wire;
use crate::protocol::server_info::ServerInfo;
use listening::Listener;
use report::Drain;

mod answers;
mod busy_polling;
pub(crate) mod listening;
pub(crate) mod login;
mod read;
mod report;
mod tracking;
mod turns;

/// The number of commands after which the socket is written to during a poll. It is more than the callers that are answered in
/// one poll send: a fifth of the time of busy clients goes into these system calls. In a burst, waiting for the end of
/// the turn lets the server idle, and fills the wire: large commands are written before that.
const BATCH: u32 = 256;

/// Effectively no timeout.
const NO_TIMEOUT: Duration = Duration::from_secs(u32::MAX as u64);

struct Established {
    wire: Wire,
    liveness: Liveness,
    /// Of a link whose replies may be busy-polled.
    busy_poll: Option<BusyPoll>,
    /// Why no more commands go to this link; it is dropped when those on it are answered.
    leaving: Option<Cause>,
    /// The server has taken a write; only recorded where the server reports no role.
    has_written: bool,
    /// No other link of this process has it.
    number: u64,
    /// Present if the cache of the handle is filled through this link.
    tracking: Option<Tracking>,
    /// Shows the search for the master that a link to its server is up.
    _token: Option<LinkToken>,
    /// Replies were left in the buffer, for the next turn: the number of commands in flight that were sent before they were read.
    partial_read: Option<usize>,
}

impl Established {
    /// Leaves the unread rest of the buffer for the next turn; it may answer the `owed` oldest.
    fn pause(&mut self, owed: usize, received: Received, now: Instant, cx: &Context<'_>) {
        self.partial_read = Some(owed);
        self.liveness.received(received, now);
        cx.waker().wake_by_ref();
    }
}

/// A dial under way.
struct Dialling {
    generation: u64,
    /// Where it leads, as soon as that is known.
    located: Rc<OnceCell<Address>>,
    session: Pin<Box<dyn Future<Output = Result<Session, Cause>>>>,
}

/// See the module.
pub(crate) struct Driver {
    connect_params: Arc<ConnectParams>,
    prefix: KeyPrefix,
    when_down: WhenDown,
    link: LinkState,
    admission: Admission<BoxedTicket>,
    dialling: Option<Dialling>,
    established: Option<Established>,
    server_info: ServerInfo,
    /// Where the present link leads, or the last one led.
    located: Option<Address>,
    /// The address of the server at its other end.
    peer: Option<SocketAddr>,
    /// How many demotions were known when the last dial began.
    demotions: u64,
    fanout: Fanout,
    /// Receives unsolicited messages. Without it they are dropped.
    listener: Option<Box<dyn Listener>>,
    gauges: Arc<Gauges>,
    timer: DeadlineTimer,
    /// This turn's clock, if it was read already.
    now: Option<Instant>,
    since_flush: u32,
    /// The maximum number of replies of this poll.
    turn_budget: usize,
    /// Commands that a reply of this turn sends out once more.
    again: Vec<(BoxedTicket, Stamp)>,
    lost_at: Option<Instant>,
    drain: Drain,
    /// Where the next link reports that it has logged in, after a change of credentials.
    logins: Vec<oneshot::Sender<error::Result<()>>>,
    /// Commands turned away before they were admitted, and what the rate of errors knows already.
    refused: u64,
    measured: AdmissionCounters,
}

impl Driver {
    pub(crate) fn new(
        connect_params: Arc<ConnectParams>,
        policy: ReconnectPolicy,
        fanout: Fanout,
        gauges: Arc<Gauges>,
    ) -> Self {
        let config = &connect_params.config;
        let limits = Limits {
            in_flight: config.max_in_flight(),
            in_flight_bytes: config.max_in_flight_bytes(),
            queued: config.max_queued(),
            queued_bytes: config.max_queued_bytes(),
            lost_links: config.max_retries(),
            timeout: config.command_timeout(),
            queued_time: config.max_queued_time(),
            time_limit: connect_params.time_limit(),
        };
        Self {
            prefix: config.key_prefix().clone(),
            when_down: config.when_down(),
            link: LinkState::new(policy, fastrand::Rng::new()),
            admission: Admission::new(limits),
            dialling: None,
            established: None,
            server_info: ServerInfo::default(),
            located: None,
            peer: None,
            demotions: 0,
            fanout,
            listener: None,
            gauges,
            timer: DeadlineTimer::new(),
            now: None,
            since_flush: 0,
            turn_budget: 1,
            again: Vec::new(),
            lost_at: None,
            drain: Drain::default(),
            logins: Vec::new(),
            refused: 0,
            measured: AdmissionCounters::default(),
            connect_params,
        }
    }

    pub(crate) fn server_info(&self) -> &ServerInfo {
        &self.server_info
    }

    pub(crate) fn state(&self) -> ConnectionState {
        self.link.state()
    }

    /// Why there is no link, if that is known.
    pub(crate) fn cause(&self) -> Option<&Cause> {
        self.link.cause()
    }

    /// Whether the first dial is under way, so that it is not known yet if there is a server.
    pub(crate) fn is_untried(&self) -> bool {
        self.link.is_first_dial() && !self.link.is_draining()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.link.generation()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.admission.in_flight()
    }

    pub(crate) fn queued(&self) -> usize {
        self.admission.queued()
    }

    /// For how long it owes answers without having sent a byte, and the time of this turn.
    pub(crate) fn silent_for(&mut self) -> (Duration, Instant) {
        let now = self.now();
        (self.established.as_ref().map_or(Duration::ZERO, |link| link.liveness.silent_for(now)), now)
    }

    /// When the answer to a command that was asked for at `asked` has to be there.
    pub(crate) fn deadline(&self, frame: &Frame, asked: Instant) -> Deadline {
        self.admission.deadline(frame, asked)
    }

    /// Gives back what waits here and belongs elsewhere now, in order; with each, whether it may have run.
    pub(crate) fn take_queued(&mut self) -> Vec<(BoxedTicket, Deadline, bool)> {
        self.admission.take_queued()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.admission.is_empty()
    }

    pub(crate) fn listen(&mut self, listener: Box<dyn Listener>) {
        self.listener = Some(listener);
    }

    pub(crate) fn subscribe(&mut self, recipient: actix::Recipient<ConnectionEvent>) {
        self.fanout.subscribe(recipient);
    }

    /// The clock, read once a turn: a thousand commands of one turn need not ask a thousand times.
    fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(Instant::now)
    }

    /// Discards the cached time: a turn that takes many messages goes on while deadlines pass.
    pub(crate) fn reset_clock(&mut self) {
        self.now = None;
    }

    /// Makes a connection if there is none and none is on the way.
    pub(crate) fn connect(&mut self) {
        self.feed(Event::Demand);
    }

    /// Makes a delayed attempt now, because its cause may be fixed.
    pub(crate) fn reconnect_now(&mut self) {
        self.feed(Event::ReconnectNow);
    }

    /// Another server is the master now: a link or a dial that leads elsewhere is given up, and no attempt waits.
    pub(crate) fn retarget(&mut self, to: &Master) {
        match self.link.state() {
            ConnectionState::Connecting => {
                // One that is still asking where the master is gets the answer of now.
                let dialled = self.dialling.as_ref().and_then(|dial| dial.located.get());
                if dialled.is_some_and(|dialled| !to.is_at(dialled, None)) {
                    self.feed(Event::Redirected);
                }
            }
            ConnectionState::Backoff | ConnectionState::Parked => self.reconnect_now(),
            _ if self.link.is_ready() && !self.located.as_ref().is_some_and(|at| to.is_at(at, self.peer)) => {
                self.lose(Cause::new(CauseKind::Broken, format!("the master is at {} now", to.address)));
                self.reconnect_now();
            }
            _ => {}
        }
    }

    /// Leaves a server that is not the right one any more, by the known topology.
    pub(crate) fn recheck(&mut self) {
        if let Some(master) = self.connect_params.master() {
            self.retarget(&master);
        }
        if self.is_dialling_elsewhere() {
            self.feed(Event::Redirected);
        }
        let Some(at) = self.located.as_ref().filter(|_| self.link.is_ready()) else { return };
        if self.connect_params.leads_right(at, self.peer, self.demotions) {
            return;
        }
        let is_place = self.connect_params.is_place(at, self.peer);
        let now = self.now();
        let is_held = self.established.as_ref().is_some_and(|established| established.liveness.is_held(now));
        if is_place && !is_held {
            // A demoted server still answers: what it refuses has not run, and a link that is cut would not say so.
            self.replace_link(left());
        } else {
            self.lose(left());
        }
        self.reconnect_now();
    }

    /// The dial under way leads to a server that is not the right one any more. One that still asks where to go does not.
    fn is_dialling_elsewhere(&self) -> bool {
        let dialled = self.dialling.as_ref().and_then(|dial| dial.located.get());
        self.link.state() == ConnectionState::Connecting
            && dialled.is_some_and(|dialled| !self.connect_params.leads_right(dialled, None, self.demotions))
    }

    /// Takes a command in: onto the link, into the queue, or back with an error.
    pub(crate) fn submit(&mut self, ticket: BoxedTicket, asked: Option<Instant>) {
        let asked = asked.unwrap_or_else(|| self.now());
        let deadline = self.admission.deadline(ticket.frame(), asked);
        self.submit_by(ticket, deadline);
    }

    /// As [`submit`](Self::submit), for a command whose deadline is known.
    pub(crate) fn submit_by(&mut self, mut ticket: BoxedTicket, deadline: Deadline) {
        let state = self.link.state();
        if let Some(established) = &mut self.established
            && state == ConnectionState::Ready
            && established.wire.has_room()
            && self.admission.may_send(ticket.frame().size())
            // One that has waited too long before it came here goes to the queue, which answers it.
            && deadline.at() > *self.now.get_or_insert_with(Instant::now)
        {
            let opts_in = established.tracking.as_ref().is_some_and(|tracking| tracking.track(&mut ticket));
            match self.prefix.seal(ticket.frame()) {
                Ok(sealed) => {
                    if opts_in {
                        established.wire.encode_caching();
                        self.admission.sent_own(*self.now.get_or_insert_with(Instant::now));
                    }
                    if Queueable::is_asking(&ticket) {
                        established.wire.encode_asking();
                        self.admission.sent_own(*self.now.get_or_insert_with(Instant::now));
                    }
                    let span = established.wire.encode(&sealed);
                    let hold = ticket.frame().longest_hold();
                    self.admission.sent(ticket, deadline, span);
                    self.note_sent(hold);
                }
                Err(error) => ticket.complete(Err(error)),
            }
            return;
        }
        self.admit_without_link(ticket, deadline, state);
    }

    /// Takes in a command that means something on the link of this generation only: at once, or not at all.
    pub(crate) fn submit_on(&mut self, generation: u64, ticket: BoxedTicket, asked: Option<Instant>) {
        let ready = self.link.state() == ConnectionState::Ready && self.link.generation() == generation;
        if ready && self.has_room_for(ticket.frame()) {
            self.submit(ticket, asked);
        } else {
            let words = "the connection that this command depends on is gone";
            ticket.complete(Err(Error::new(ErrorKind::Disconnected, Fate::NotSent, words)));
        }
    }

    /// Whether a command could be written now, ahead of nothing else.
    fn has_room_for(&self, frame: &Frame) -> bool {
        let room = self.established.as_ref().is_some_and(|established| established.wire.has_room());
        room && self.admission.may_send(frame.size())
    }

    #[inline(always)]
    fn note_sent(&mut self, hold: Duration) {
        let now = self.now();
        if let Some(established) = &mut self.established {
            established.liveness.sent(hold, now);
            self.since_flush += 1;
            if self.since_flush >= BATCH || established.wire.is_half_full() {
                self.since_flush = 0;
                established.wire.flush_now();
            }
        }
    }

    fn admit_without_link(&mut self, ticket: BoxedTicket, deadline: Deadline, state: ConnectionState) {
        if let Err(error) = self.prefix.seal(ticket.frame()) {
            ticket.complete(Err(error));
            return;
        }
        let refused = match state {
            ConnectionState::Draining => {
                Some(Error::new(ErrorKind::Closed, Fate::NotSent, "the connection is shutting down"))
            }
            ConnectionState::Closed | ConnectionState::Parked => {
                self.link.cause().map(|cause| cause.error(Fate::NotSent))
            }
            ConnectionState::Ready => None,
            ConnectionState::Idle | ConnectionState::Connecting | ConnectionState::Backoff => {
                let policy = ticket.frame().own_when_down().unwrap_or(self.when_down);
                (policy == WhenDown::FailFast && !self.awaits_first_dial()).then(|| self.no_connection())
            }
        };
        match refused {
            Some(error) => {
                self.refused += ticket.weight();
                ticket.complete(Err(error.in_phase(waiting_phase(state), state.as_str())));
            }
            None => self.admission.enqueue(ticket, deadline, state),
        }
        if state == ConnectionState::Idle {
            self.connect();
        }
    }

    /// Whether it is not known yet if there is a server.
    fn awaits_first_dial(&self) -> bool {
        self.link.state() == ConnectionState::Idle || self.is_untried()
    }

    fn no_connection(&self) -> Error {
        let cause = self.link.cause().cloned();
        cause.unwrap_or_else(|| Cause::new(CauseKind::Unreachable, "there is no connection yet")).error(Fate::NotSent)
    }

    /// The supervisor restarts the actor: its futures are gone, and whatever was half done is suspect.
    pub(crate) fn restarted(&mut self, restarts: u64, cause: Cause) {
        self.now = None;
        self.timer.disarm();
        // A panic in the middle of a read leaves them here, where no deadline would find them.
        self.put_back();
        self.emit(ConnectionEvent::Restarted { restarts, cause: cause.clone() });
        self.fanout.update(|status| status.restarts = restarts);
        // Whichever of the two the link was in the middle of; the other changes nothing.
        self.dialling = None;
        self.feed(Event::Failed { generation: self.link.generation(), cause: cause.clone() });
        self.lose(cause.clone());
        // A panic in the middle of settling leaves the rest in flight, where the next link's replies would be taken for
        // theirs. How much of them was written went with their link.
        if self.established.is_none() && self.admission.in_flight() > 0 {
            self.admission.settle(u64::MAX, &cause);
        }
    }

    /// Ends the connection, and fails all waiting commands.
    pub(crate) fn abort(&mut self, cause: Cause) {
        self.complete_received();
        self.feed(Event::Abort { cause });
        self.measure_at_end();
    }

    fn lose(&mut self, cause: Cause) {
        self.complete_received();
        let generation = self.link.generation();
        self.feed(Event::Lost { generation, cause });
        if !self.logins.is_empty() {
            self.reconnect_now();
        }
    }

    /// Gives the link up, if there is one.
    pub(crate) fn disconnect(&mut self, why: &'static str) {
        if self.link.is_ready() {
            self.lose(Cause::new(CauseKind::Stalled, why));
        }
    }

    /// As [`disconnect`](Self::disconnect), unless a reply is arriving: on a slow line a large one takes minutes.
    pub(crate) fn disconnect_stalled(&mut self, why: &'static str) {
        let now = self.now();
        if !self.established.as_ref().is_some_and(|link| link.liveness.is_receiving(now)) {
            self.disconnect(why);
        }
    }

    /// Replaces the link as soon as its commands in flight are answered: nothing more is sent on it.
    pub(crate) fn replace_link(&mut self, cause: Cause) {
        if !self.link.is_ready() {
            return;
        }
        if self.admission.in_flight() == 0 {
            self.lose(cause);
        } else if let Some(established) = &mut self.established {
            established.leaving.get_or_insert(cause);
            self.admission.shut_window();
        }
    }

    fn feed(&mut self, event: Event) {
        let now = self.now();
        for action in self.link.on(event, now) {
            self.act(action, now);
        }
    }

    fn act(&mut self, action: Action, now: Instant) {
        match action {
            Action::Dial { generation, attempt } => {
                self.demotions = self.connect_params.demotions_seen();
                let located = Rc::new(OnceCell::new());
                let session = Box::pin(establish(self.connect_params.clone(), located.clone()));
                self.dialling = Some(Dialling { generation, located, session });
                self.emit(ConnectionEvent::Connecting { generation, attempt });
            }
            Action::Release { generation, attempts } => {
                self.admission.explain(None);
                let outage = self.lost_at.take().map(|lost| now.saturating_duration_since(lost));
                self.emit(ConnectionEvent::Connected { generation, attempts, outage });
            }
            Action::Settle { generation, cause } => {
                self.lost_at = Some(now);
                let written = self.established.take().map_or(0, |established| established.wire.written());
                let settled = self.admission.settle(written, &cause);
                self.connect_params.losses.count(cause.kind(), settled.replayed);
                self.fanout.update(|status| status.disconnects += 1);
                self.emit(ConnectionEvent::Disconnected {
                    generation,
                    cause,
                    replayed: settled.replayed,
                    failed: settled.failed,
                    unknown: settled.unknown,
                });
            }
            Action::Retry { attempt, delay, cause } => {
                self.admission.explain(Some(cause.clone()));
                if self.lost_at.is_none() {
                    self.admission.fail_fast(&cause, self.link.state(), self.when_down);
                }
                self.emit(ConnectionEvent::Retrying { attempt, delay, cause });
            }
            Action::Park { delay, cause } => {
                self.admission.fail_queued(&cause, ConnectionState::Parked);
                self.emit(ConnectionEvent::Refused { cause, retry_in: delay });
            }
            Action::Drain => self.start_draining(),
            Action::Finish { cause } => {
                self.answer_logins(&Err(cause.clone()));
                self.finish(cause);
            }
        }
    }
}

/// Why a link ends that leads to the wrong server.
fn left() -> Cause {
    Cause::new(CauseKind::Broken, "the server of this connection is another one now")
}

/// An arbiter that ends drops the actor silently; its callers and the readers of the status are notified here.
impl Drop for Driver {
    fn drop(&mut self) {
        let cause = Cause::new(CauseKind::Shutdown, "the thread of the connection has ended");
        let written = self.established.take().map_or(u64::MAX, |established| established.wire.written());
        self.admission.settle(written, &cause);
        self.admission.fail_queued(&cause, ConnectionState::Closed);
        self.measure_at_end();
        self.fanout.update(|status| {
            if status.state != ConnectionState::Closed {
                status.state = ConnectionState::Closed;
                status.cause = Some(cause);
            }
        });
    }
}
