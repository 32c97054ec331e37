//! One command that waits: on which connection, for how long at a time, and what its replies mean for the rest of the wait.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};
use redis::Value;
use tokio::time::{sleep, timeout};

use super::cancel::{Blocked, LET_GO};
use super::shared::Shared;
use super::stop::{Stop, Why};
use super::{keys_of, latest};
use crate::actors::connection::{Connect, Disconnect, GetServerInfo, VerifyEndpoint};
use crate::client::{Redis, gone};
use crate::config::HostPort;
use crate::connection::verdict::{CommandFacts, ErrorVerdict, ServerRefusal, not_run, of_error};
use crate::dedicated::compensate::is_nothing;
use crate::dedicated::pool::{LeasedConnection, Leaving, LinkRole, Purpose, process};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::ConnectionState;
use crate::frame::{Frame, WhenDown};
use crate::prefix::waits::Wait;
use crate::protocol::server_info::ServerInfo;

/// A piece of a wait on a connection that is not watched for silence.
const PIECE: Duration = Duration::from_secs(60);
/// Before a server that refused for the moment is asked again.
const NOT_READY_PAUSE: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Call {
    pub(super) shared: Shared,
    pub(super) frame: Frame,
    wait: Option<Wait>,
    /// The deadline that the command has of its own.
    own: Option<Instant>,
    /// When it has waited for long enough, once that is known.
    until: Option<Instant>,
    pub(super) stop: Stop,
    /// It reads from no id that the server would have to resolve again.
    resolved: bool,
    /// It was sent on a link that was lost before it was answered, and sent again because that does no harm.
    pub(super) may_have_run: bool,
    /// The node that an ASK has named, for the next attempt, and whether that attempt is under way.
    asked: Option<HostPort>,
    asking: bool,
    /// Its place in the order of those that wait.
    pub(super) number: u64,
    /// Its caller has left.
    pub(super) leaving: Option<Leaving>,
    /// Since when servers have refused it that are replicas, or do not know the login.
    refused_since: Option<Instant>,
}

/// What came of one piece.
enum Piece {
    Done(Option<Why>, Result<Value>),
    /// Once more, on this connection if it is of use.
    Again(Option<LeasedConnection>),
}

/// What ended the wait for an answer.
enum End {
    Answered(Result<Value>),
    Stopped(Why),
    /// The link leads to a server that is not the right one any more, or has logged in with old credentials.
    Leaving,
}

impl Call {
    pub(super) fn new(shared: Shared, frame: Frame, own: Option<Instant>, stop: Stop) -> Self {
        let (wait, resolved) = (frame.wait(), frame.latest().is_empty());
        Self {
            resolved,
            shared,
            frame,
            wait,
            own,
            until: None,
            stop,
            may_have_run: false,
            asked: None,
            asking: false,
            number: 0,
            leaving: None,
            refused_since: None,
        }
    }

    /// Waits for the answer, or for a reason to wait no more; then it says what came of that.
    pub(super) async fn wait_out(&mut self) -> (Option<Why>, Result<Value>) {
        let (why, outcome) = self.wait_piece_by_piece().await;
        let outcome = outcome.map_err(|error| match error.fate() {
            Fate::NotSent | Fate::Rejected if self.may_have_run => error.with_fate(Fate::Unknown),
            _ => error,
        });
        (why, outcome)
    }

    async fn wait_piece_by_piece(&mut self) -> (Option<Why>, Result<Value>) {
        let most_lost = self.shared.links.config().max_retries();
        let mut lost = 0;
        let mut previous = None;
        loop {
            let (link, server_info) = match self.ready_link(previous.take()).await {
                Ok(Ok(ready)) => ready,
                Ok(Err(error)) => return (None, Err(error)),
                Err(why) => return (Some(why), Err(unsent())),
            };
            match self.attempt(link, &server_info).await {
                Piece::Done(None, Err(error)) if self.may_go_again(&error) && lost < most_lost => {
                    lost += 1;
                    self.may_have_run |= error.fate() == Fate::Unknown;
                }
                Piece::Done(why, outcome) => return (why, outcome),
                Piece::Again(again) => previous = again,
            }
        }
    }

    /// A connection that is up and leads to the right server: the one that was kept, or another one.
    async fn ready_link(
        &mut self,
        mut previous: Option<LeasedConnection>,
    ) -> Result<Result<(LeasedConnection, ServerInfo)>, Why> {
        loop {
            let link = match previous.take().filter(|lease| !lease.is_outdated()) {
                Some(lease) => lease,
                None => match self.lease().await? {
                    Ok(lease) => lease,
                    Err(error) => return Ok(Err(error)),
                },
            };
            let time_limit = self.time_limit();
            let when_down = self.frame.own_when_down().unwrap_or(self.shared.links.config().when_down());
            let server_info = server_info_of(link.redis(), time_limit, when_down == WhenDown::FailFast);
            let server_info = match self.stop.unless(following(link.redis(), server_info)).await? {
                Ok(server_info) => server_info,
                Err(error) => return Ok(Err(error)),
            };
            if link.leads_right(&server_info) {
                // Sent for a caller who has left meanwhile, it would have to be called off at once.
                return self.stop.now().await.map_or(Ok(Ok((link, server_info))), Err);
            }
            link.discard();
        }
    }

    /// When the command has waited for as long as its caller wants. The time begins with the first connection that is up.
    fn until(&mut self) -> Instant {
        let until = *self.until.get_or_insert_with(|| Instant::now() + self.frame.longest_wait());
        if self.own.is_none() {
            self.stop.set_deadline(until + self.shared.links.config().command_timeout());
        }
        until
    }

    /// Puts ids in the places of `$` and `+`, and asks the server to wait.
    async fn attempt(&mut self, link: LeasedConnection, server_info: &ServerInfo) -> Piece {
        let until = self.until();
        if !self.resolved {
            let resolved = latest::resolved(&self.frame, link.redis(), server_info.generation, self.asking);
            match self.stop.unless(resolved).await {
                Ok(Ok(frame)) => {
                    self.resolved = true;
                    if let Some(frame) = frame {
                        (self.wait, self.frame) = (frame.wait(), frame);
                    }
                }
                Ok(Err(error)) => {
                    return match of_error(&error, CommandFacts::SERVER).and_then(ErrorVerdict::not_run) {
                        Some(refusal) => self.refused(refusal, link, Err(error)).await,
                        // The question may have run, the command itself was not sent.
                        None if error.fate() == Fate::Unknown => Piece::Done(None, Err(error.with_fate(Fate::NotSent))),
                        None => Piece::Done(None, Err(error)),
                    };
                }
                Err(why) => return Piece::Done(Some(why), Err(unsent())),
            }
        }
        self.piece(link, server_info, until).await
    }

    fn time_limit(&self) -> Duration {
        self.frame.own_timeout().unwrap_or_else(|| self.shared.links.config().command_timeout())
    }

    async fn lease(&mut self) -> Result<Result<LeasedConnection>, Why> {
        let asked = self.asked.take();
        self.asking = asked.is_some();
        let (role, command) = (LinkRole::Blocking, self.frame.name());
        let purpose = Purpose { role, command, slot: self.shared.slot, asked };
        let Shared { addr, links, .. } = self.shared.clone();
        let time_limit = self.time_limit();
        self.stop.unless(async move { links.lease(&addr, time_limit, purpose).await }).await
    }

    /// As on the shared connection: by proof that it cannot have run, or because running it twice does no harm.
    fn may_go_again(&self, error: &Error) -> bool {
        let is_repeatable = || self.frame.is_repeatable() && self.frame.latest().is_empty();
        error.kind() == ErrorKind::Disconnected && (error.fate() == Fate::NotSent || is_repeatable())
    }

    /// Asks the server to wait, for the rest of the time or a part of it.
    async fn piece(&mut self, link: LeasedConnection, server_info: &ServerInfo, until: Instant) -> Piece {
        let config = self.shared.links.config();
        let whole = until.saturating_duration_since(Instant::now());
        let divisible = self.wait.is_some_and(|wait| wait.divisible);
        let longest = if divisible { whole.min(config.liveness().unwrap_or(PIECE)) } else { self.frame.longest_wait() };
        // Behind the verdict on a silent link.
        let deadline = longest + config.liveness().unwrap_or_default() * 2 + config.command_timeout();
        let frame = self.frame.waiting(self.wait.as_ref(), longest, deadline);
        let begun = Instant::now();
        // Ahead of the command, in the same write: while it waits, nothing else is answered on this link.
        let generation = server_info.generation;
        let question =
            link.process(generation).is_none().then(|| link.redis().begin_on(generation, process::question(), false));
        let answer = link.redis().begin_on(generation, frame, self.asking);
        self.number = self.shared.links.return_order().begin();
        let mut blocked = Blocked { answer, link, server_info, question };
        let end = {
            let Blocked { answer, link, .. } = &mut blocked;
            let leaving = pin!(link.is_to_leave(server_info));
            match self.stop.unless(select(answer, leaving)).await {
                Ok(Either::Left((answer, _))) => End::Answered(answer.unwrap_or_else(|_| Err(gone()))),
                Ok(Either::Right(((), _))) => End::Leaving,
                Err(why) => End::Stopped(why),
            }
        };
        blocked.note_process().await;
        match end {
            End::Stopped(why) => {
                if why == Why::Gone {
                    let keys = keys_of(&self.frame);
                    self.leaving = Some(self.shared.links.return_order().leave(self.number, keys));
                }
                Piece::Done(Some(why), self.shared.cancel(blocked, why).await)
            }
            End::Leaving => match self.shared.cancel_to_move(blocked).await {
                Ok(value) if is_nothing(&value) => Piece::Again(None),
                Err(error) if error.code() == Some("UNBLOCKED") => Piece::Again(None),
                outcome => Piece::Done(None, outcome),
            },
            // Nothing before its time is a word of its own: an operator has ended the wait, or a proxy knows none.
            End::Answered(Ok(value)) if divisible && is_nothing(&value) && begun.elapsed() >= longest.mul_f64(0.9) => {
                self.refused_since = None;
                if Instant::now() < until {
                    Piece::Again((!self.asking).then_some(blocked.link))
                } else {
                    Piece::Done(None, Ok(value))
                }
            }
            End::Answered(outcome) => self.answered(blocked, outcome).await,
        }
    }

    /// What any other answer means.
    async fn answered(&mut self, blocked: Blocked<'_>, outcome: Result<Value>) -> Piece {
        let Blocked { link, server_info, .. } = blocked;
        if let Some(refusal) = self.refusal(&outcome) {
            return self.refused(refusal, link, outcome).await;
        }
        match outcome {
            Err(error) if is_role_change(&error) => {
                // The server closes the link behind this answer.
                link.discard();
                Piece::Again(None)
            }
            Err(error) if error.fate() == Fate::Unknown => {
                self.shared.kill(server_info.client_id, link.process(server_info.generation).flatten());
                // Its deadline is behind all that a healthy link may take.
                link.redis().address().do_send(Disconnect(LET_GO));
                link.discard();
                Piece::Done(None, Err(error))
            }
            outcome => Piece::Done(None, outcome),
        }
    }

    /// Another attempt after a refusal: at the node that an ASK names, or after a pause.
    async fn refused(&mut self, refusal: ServerRefusal, link: LeasedConnection, outcome: Result<Value>) -> Piece {
        // The link ends, and the next one may lead to the server that replaces this one.
        let ends = matches!(refusal, ServerRefusal::ReadOnly | ServerRefusal::NoAuth);
        if ends {
            let since = *self.refused_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= self.time_limit() {
                return Piece::Done(None, outcome);
            }
        } else if !refusal.is_not_now() && !refusal.is_redirect() {
            return Piece::Done(None, outcome);
        }
        if refusal == ServerRefusal::Ask
            && let Some(error) = first_error(&outcome)
        {
            self.asked = link.asked(&error).await;
            if self.asked.is_some() {
                return Piece::Again(None);
            }
        }
        if let Err(why) = self.stop.unless(sleep(NOT_READY_PAUSE)).await {
            return Piece::Done(Some(why), outcome);
        }
        if ends {
            link.discard();
            return Piece::Again(None);
        }
        // What an ASK has named is for one attempt: the slot is where its owner says, and that may have changed.
        Piece::Again((!self.asking).then_some(link))
    }

    /// Why the server did not run the command, if its answer proves that and another attempt may go better.
    fn refusal(&self, outcome: &Result<Value>) -> Option<ServerRefusal> {
        match outcome {
            Err(error) => of_error(error, CommandFacts::of(&self.frame).in_slot(self.shared.slot))?.not_run(),
            Ok(Value::Array(replies)) => {
                // A pipeline with WAIT: nothing of it ran if every write in it was refused.
                let unit = self.frame.unit()?;
                let refused = |index: usize| !matches!(unit.name_of(index).as_str(), "WAIT" | "WAITAOF");
                let writes = replies.iter().enumerate().filter(|(index, _)| refused(*index));
                let facts = |index| CommandFacts::of_part(unit, index).in_slot(self.shared.slot);
                let mut refusals = writes.map(|(index, reply)| not_run(reply, facts(index)));
                let first = refusals.next()??;
                refusals.all(|refusal| refusal.is_some()).then_some(first)
            }
            Ok(_) => None,
        }
    }
}

/// The error of an answer, or the first of those in the answers to a pipeline.
fn first_error(outcome: &Result<Value>) -> Option<Error> {
    match outcome {
        Err(error) => Some(error.clone()),
        Ok(Value::Array(replies)) => replies.iter().find_map(|reply| match reply {
            Value::ServerError(error) => Some(Error::server(error.code(), error.details())),
            _ => None,
        }),
        Ok(_) => None,
    }
}

/// The server became a replica while the command waited, and let it go. An operator's CLIENT UNBLOCK has another text.
fn is_role_change(error: &Error) -> bool {
    error.code() == Some("UNBLOCKED") && error.message().contains("instance state changed")
}

/// Waits until the link is up. Until then nothing is sent on it, so a dial is replaced like that of any other connection
/// when the server of the command is another one.
async fn following<T>(redis: &Redis, up: impl Future<Output = T>) -> T {
    let follow = pin!(async {
        let connect_params = &redis.shared.connect_params;
        let mut seen = connect_params.seen();
        loop {
            connect_params.changed(&mut seen).await;
            redis.address().do_send(VerifyEndpoint);
        }
    });
    match select(pin!(up), follow).await {
        Either::Left((up, _)) => up,
        Either::Right((never, _)) => never,
    }
}

/// Waits until commands flow on the link, and returns how the server greeted it.
async fn server_info_of(redis: &Redis, within: Duration, fail_fast: bool) -> Result<ServerInfo> {
    if fail_fast {
        let mut status = redis.status();
        redis.address().do_send(Connect);
        let settled =
            status.wait_for(|status| !matches!(status.state, ConnectionState::Idle | ConnectionState::Connecting));
        let settled = timeout(within, settled).await.ok().and_then(|settled| settled.ok().map(|status| status.clone()));
        if let Some(status) = settled
            && status.state == ConnectionState::Backoff
            && let Some(cause) = status.cause
        {
            return Err(cause.error(Fate::NotSent));
        }
    }
    redis.ready(within).await?;
    redis.address().send(GetServerInfo).await.map_err(|_| gone())
}

fn unsent() -> Error {
    Error::new(ErrorKind::Disconnected, Fate::NotSent, "it was never sent")
}
