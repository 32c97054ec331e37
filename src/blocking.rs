//! A command that waits, on a connection of its own: asked for piece by piece, called off for real when nobody waits for
//! it any more, and what it took for nobody put back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::Addr;
use redis::Value;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout, timeout_at},
};

use crate::actors::connection::{Alone, Connect, Introduce, RedisActor, Sever};
use crate::actors::driver::ShutdownReport;
use crate::core::{
    admission::says_not_now,
    undo::{Undo, is_nothing, takes_nothing, undo},
};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::ConnectionState;
use crate::frame::{Frame, WhenDown};
use crate::handle::{Redis, gone};
use crate::links::{Lease, LinkRole, Links, Purpose};
use crate::prefix::refusal::RefusalClass;
use crate::prefix::waits::{LONGEST, Wait};
use crate::wire::session::Greeting;
use shared::Shared;
use stop::{Stop, Why};

mod shared;
mod stop;

/// The server is asked again to let go of a client that it had not seen waiting.
const UNBLOCK_AGAIN: Duration = Duration::from_millis(20);
/// How long a caller whose deadline has passed waits for the word that nothing was taken.
const LATE: Duration = Duration::from_secs(1);
/// A piece of a wait on a connection that is not watched for silence.
const PIECE: Duration = Duration::from_secs(60);
const NOT_READY_PAUSE: Duration = Duration::from_millis(100);

const WAIT_ALONE: &str = "it speaks of the writes before it on the same connection, and this one would have none: put it behind them in one `Pipeline`";
const LET_GO: &str = "a command that waits was called off, and the server did not let it go: its link was closed";

type Answer = oneshot::Receiver<Result<Value>>;

/// Runs a command that waits, from the lease of a connection to the last word about what it took.
pub(crate) async fn run(links: Arc<Links>, main: Addr<RedisActor>, alone: Alone) {
    let frame = alone.ticket.frame().clone();
    let most = links.most().saturating_add(links.config().max_queued());
    let checked = frame.check().and_then(|()| {
        if frame.waits_for_writes() { Err(Error::refused(RefusalClass::Blocking, WAIT_ALONE)) } else { Ok(()) }
    });
    let slot = checked.and_then(|()| links.slot_of(&frame));
    let begun = slot.and_then(|slot| {
        let words = "too many commands wait for connections of their own; send fewer at once or raise max_queued";
        let room = links.under_way().begin(most);
        let under_way = room.ok_or_else(|| Error::new(ErrorKind::Overloaded, Fate::NotSent, words))?;
        Ok((under_way, slot))
    });
    let (under_way, slot) = match begun {
        Ok(under_way) => under_way,
        Err(error) => return alone.ticket.complete(Err(error)),
    };
    let own = frame.own_timeout().map(|own| alone.asked + own);
    let stop = Stop::new(alone, own.unwrap_or_else(|| Instant::now() + LONGEST * 2), links.under_way().called_off());
    let mut errand = Errand { shared: Shared { addr: main, links, slot }, wait: frame.wait(), frame, own, stop };
    let (why, outcome) = errand.wait_out().await;
    let Errand { shared, frame, stop, .. } = errand;
    let outcome = match why {
        None | Some(Why::Gone) => outcome,
        Some(Why::Late) => explained(outcome, ErrorKind::Timeout, "the deadline passed while the command waited"),
        Some(Why::Closing) => {
            explained(outcome, ErrorKind::Closed, "the connection was shut down while the command waited")
        }
    };
    if shared.links.under_way().is_called_off() {
        shared.links.under_way().count(|report| *count_of(report, why, &outcome) += 1);
    }
    let (loss, words) = match &outcome {
        Ok(value) => (undo(&frame, value), None),
        Err(error) if error.fate() == Fate::Unknown && !takes_nothing(&frame) => {
            (Undo::Never { elements: None, why: "" }, Some(error.to_string()))
        }
        Err(_) => (Undo::Nothing, None),
    };
    let caller = stop.into_caller();
    if matches!(loss, Undo::Nothing) {
        return caller.tell(outcome);
    }
    if why == Some(Why::Gone) {
        // A shutdown waits for what is put back.
        settle(&shared, frame.name(), loss, words).await;
    } else {
        // It need not wait for a caller who leaves the reply where it is.
        drop(under_way);
        if !caller.take(outcome).await {
            settle(&shared, frame.name(), loss, words).await;
        }
    }
}

/// Where in the report of a shutdown a command belongs that ended during it.
fn count_of<'a>(report: &'a mut ShutdownReport, why: Option<Why>, outcome: &Result<Value>) -> &'a mut u64 {
    match (why, outcome) {
        (Some(Why::Gone | Why::Late), _) => &mut report.abandoned,
        (_, Ok(_)) => &mut report.completed,
        (_, Err(error)) if error.fate() == Fate::Unknown => &mut report.unknown,
        (Some(Why::Closing), Err(_)) => &mut report.called_off,
        (None, Err(error)) if error.fate() == Fate::NotSent => &mut report.failed,
        (None, Err(_)) => &mut report.completed,
    }
}

/// Nobody has taken what was or may have been taken.
async fn settle(shared: &Shared, command: String, loss: Undo, unknown: Option<String>) {
    match unknown {
        Some(words) => shared.may_be_lost(command, None, words),
        None => shared.put_back(command, loss).await,
    }
}

/// What somebody is told whose wait was ended for a reason of ours. What came all the same is theirs.
fn explained(outcome: Result<Value>, kind: ErrorKind, words: &'static str) -> Result<Value> {
    match outcome {
        Ok(value) if is_nothing(&value) => Err(ended(kind, words, Fate::Rejected)),
        Err(error) if error.code().is_some_and(|code| code == "UNBLOCKED") => Err(ended(kind, words, Fate::Rejected)),
        Err(error) if error.code().is_none() => Err(ended(kind, words, error.fate())),
        other => other,
    }
}

fn ended(kind: ErrorKind, words: &'static str, fate: Fate) -> Error {
    let became = match fate {
        Fate::Rejected => "it was called off, and took nothing",
        Fate::NotSent => "it was never sent",
        Fate::Unknown => "its link did not answer, so that it may have taken something",
    };
    Error::new(kind, fate, format!("{words}; {became}"))
}

struct Errand {
    shared: Shared,
    frame: Frame,
    wait: Option<Wait>,
    /// The deadline that the command has of its own.
    own: Option<Instant>,
    stop: Stop,
}

/// What came of one piece.
enum Piece {
    Done(Option<Why>, Result<Value>),
    /// Once more, on this connection if it is of use.
    Again(Option<Lease>),
}

impl Errand {
    /// Waits for the answer, or for a reason to wait no more; then it says what came of that.
    async fn wait_out(&mut self) -> (Option<Why>, Result<Value>) {
        let config = self.shared.links.config();
        let (command_timeout, most_lost) = (config.command_timeout(), config.max_retries());
        let mut until = None;
        let mut lost = 0;
        let mut lease = None;
        loop {
            let link = match lease.take().filter(|lease: &Lease| !lease.is_outdated()) {
                Some(lease) => lease,
                None => match self.lease().await {
                    Ok(Ok(lease)) => lease,
                    Ok(Err(error)) => return (None, Err(error)),
                    Err(why) => return (Some(why), Err(unsent())),
                },
            };
            let patience = self.patience();
            let fail_fast =
                self.frame.own_when_down().unwrap_or(self.shared.links.config().when_down()) == WhenDown::FailFast;
            let greeting = match self.stop.unless(greeting_of(link.redis(), patience, fail_fast)).await {
                Ok(Ok(greeting)) => greeting,
                Ok(Err(error)) => return (None, Err(error)),
                Err(why) => return (Some(why), Err(unsent())),
            };
            let until = *until.get_or_insert_with(|| {
                let until = Instant::now() + self.frame.longest_wait();
                if self.own.is_none() {
                    self.stop.set_deadline(until + command_timeout);
                }
                until
            });
            match self.piece(link, &greeting, until).await {
                Piece::Done(None, Err(error)) if self.may_go_again(&error) && lost < most_lost => lost += 1,
                Piece::Done(why, outcome) => return (why, outcome),
                Piece::Again(again) => lease = again,
            }
        }
    }

    fn patience(&self) -> Duration {
        self.frame.own_timeout().unwrap_or_else(|| self.shared.links.config().command_timeout())
    }

    async fn lease(&mut self) -> Result<Result<Lease>, Why> {
        let purpose = Purpose { role: LinkRole::Blocking, command: self.frame.name(), slot: self.shared.slot };
        let Shared { addr, links, .. } = self.shared.clone();
        let patience = self.patience();
        self.stop.unless(async move { links.lease(&addr, patience, purpose).await }).await
    }

    /// As on the shared connection: by proof that it cannot have run, or because running it twice does no harm.
    fn may_go_again(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::Disconnected && (error.fate() == Fate::NotSent || self.frame.is_repeatable())
    }

    /// Asks the server to wait, for the rest of the time or a part of it.
    async fn piece(&mut self, link: Lease, greeting: &Greeting, until: Instant) -> Piece {
        let config = self.shared.links.config();
        let whole = until.saturating_duration_since(Instant::now());
        let divisible = self.wait.is_some_and(|wait| wait.divisible);
        let longest = if divisible { whole.min(config.liveness().unwrap_or(PIECE)) } else { self.frame.longest_wait() };
        // Behind the verdict on a silent link.
        let deadline = longest + config.liveness().unwrap_or_default() * 2 + config.command_timeout();
        let frame = self.frame.waiting(self.wait.as_ref(), longest, deadline);
        let main = self.shared.links.main_link(self.shared.slot);
        let begun = Instant::now();
        let mut answer = link.redis().begin_on(greeting.generation, frame);
        let outcome = match self.stop.unless(&mut answer).await {
            Ok(outcome) => outcome.unwrap_or_else(|_| Err(gone())),
            Err(why) => {
                return Piece::Done(Some(why), self.call_off(link, greeting.client_id, main, answer, why).await);
            }
        };
        match outcome {
            // Nothing before its time is a word of its own: an operator has ended the wait, or a proxy knows none.
            Ok(value) if divisible && is_nothing(&value) && begun.elapsed() >= longest.mul_f64(0.9) => {
                if Instant::now() < until { Piece::Again(Some(link)) } else { Piece::Done(None, Ok(value)) }
            }
            Err(error) if !self.frame.is_unit() && error.code().is_some_and(may_be_elsewhere) => {
                match self.stop.unless(sleep(NOT_READY_PAUSE)).await {
                    Ok(()) => Piece::Again(Some(link)),
                    Err(why) => Piece::Done(Some(why), Err(error)),
                }
            }
            Err(error) if error.fate() == Fate::Unknown => {
                self.shared.reap(greeting.client_id, main);
                // Its deadline is behind all that a healthy link may take.
                link.redis().address().do_send(Sever(LET_GO));
                link.discard();
                Piece::Done(None, Err(error))
            }
            outcome => Piece::Done(None, outcome),
        }
    }

    /// Has the server let go, and returns what it answered; closes the link where it does not.
    async fn call_off(
        &self,
        link: Lease,
        client: Option<i64>,
        main: Option<u64>,
        mut answer: Answer,
        why: Why,
    ) -> Result<Value> {
        if let Ok(answer) = answer.try_recv() {
            return answer;
        }
        let grace = self.shared.links.config().command_timeout();
        let until = Instant::now() + if why == Why::Gone { grace } else { grace.min(LATE) };
        let mut trouble = None;
        while let (Some(client), None) = (client, &trouble) {
            // Its answer is waited for: when the link is free again, it must not hit whoever has it next.
            match timeout_at(until.into(), self.shared.unblock(client, main)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => trouble = Some(error.to_string()),
                Err(_) => trouble = Some("CLIENT UNBLOCK was not answered in time".to_owned()),
            }
            match timeout(UNBLOCK_AGAIN, &mut answer).await {
                Ok(answer) => return answer.unwrap_or_else(|_| Err(gone())),
                Err(_) if Instant::now() >= until => {
                    trouble.get_or_insert_with(|| "the command was not answered in time".to_owned());
                }
                Err(_) => {}
            }
        }
        link.redis().address().do_send(Sever(LET_GO));
        let answer = answer.await.unwrap_or_else(|_| Err(gone()));
        if answer.as_ref().is_err_and(|error| error.fate() == Fate::Unknown) {
            self.shared.reap(client, main);
        }
        link.discard();
        answer.map_err(|error| match &trouble {
            Some(trouble) => error.because(trouble),
            None => error,
        })
    }
}

/// In a cluster the link follows the slot, which may take it a moment.
fn may_be_elsewhere(code: &str) -> bool {
    says_not_now(code) || matches!(code, "MOVED" | "ASK")
}

/// Waits until commands flow on the link, and returns how the server greeted it.
async fn greeting_of(redis: &Redis, within: Duration, fail_fast: bool) -> Result<Greeting> {
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
    redis.address().send(Introduce).await.map_err(|_| gone())
}

fn unsent() -> Error {
    Error::new(ErrorKind::Disconnected, Fate::NotSent, "it was never sent")
}
