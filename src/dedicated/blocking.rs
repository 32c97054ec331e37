//! Blocking commands, each on a dedicated connection: the wait is divided into pieces, it is cancelled at the server when its
//! caller is gone, and elements that were taken for no caller are put back.

use std::{sync::Arc, time::Instant};

use actix::Addr;
use redis::Value;
use tokio::time::timeout;

use crate::actors::connection::{RedisActor, RunDedicated};
use crate::connection::driver::ShutdownReport;
use crate::dedicated::compensate::{Compensation, compensate, is_nothing, takes_nothing};
use crate::dedicated::pool::{BlockingCallGuard, Leaving, Links};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::frame::Frame;
use crate::prefix::refusal::RefusalClass;
use crate::prefix::waits::LONGEST;
use call::Call;
use cancel::is_unblocked;
use shared::Shared;
use stop::{Stop, Why};

mod call;
mod cancel;
mod latest;
mod shared;
mod stop;

const WAIT_ALONE: &str = "it speaks of the writes before it on the same connection, and this one would have none: put it behind them in one `Pipeline`";
const REPEATED: &str = "it was sent again after its link was lost, and an earlier attempt may have taken something";

/// Runs a command that waits, from the lease of a connection to the last word about what it took.
pub(crate) async fn run(links: Arc<Links>, main: Addr<RedisActor>, dedicated: RunDedicated) {
    let frame = dedicated.ticket.frame().clone();
    let (blocking_calls, slot) = match begin(&links, &frame) {
        Ok(begun) => begun,
        Err(error) => return dedicated.ticket.complete(Err(error)),
    };
    // A pipeline that waits for the replication of its writes has the deadline of its commands, extended by that wait. The
    // time for a connection counts, because its callers wait for an ordinary write and not for an event.
    let of_unit = || frame.is_unit().then(|| links.config().command_timeout().saturating_add(frame.longest_wait()));
    let own = frame.own_timeout().or_else(of_unit).map(|limit| dedicated.asked + limit);
    let stop =
        Stop::new(dedicated, own.unwrap_or_else(|| Instant::now() + LONGEST * 2), links.blocking_calls().called_off());
    let mut call = Call::new(Shared { addr: main, links, slot }, frame, own, stop);
    let (why, outcome) = call.wait_out().await;
    let (number, left) = (call.number, call.leaving.take());
    let Call { shared, frame, stop, may_have_run, .. } = call;
    let outcome = match why {
        None | Some(Why::Gone) => outcome,
        Some(Why::Late) => explained(outcome, ErrorKind::Timeout, "the deadline passed while the command waited"),
        Some(Why::Closing) => {
            explained(outcome, ErrorKind::Closed, "the connection was shut down while the command waited")
        }
    };
    if shared.links.blocking_calls().is_called_off() {
        shared.links.blocking_calls().count(|report| *count_of(report, why, &outcome) += 1);
    }
    let takes = !takes_nothing(&frame);
    if may_have_run && takes && outcome.is_ok() {
        shared.may_be_lost(frame.name(), None, REPEATED.to_owned());
    }
    let (loss, words) = match &outcome {
        Ok(value) => (compensate(&frame, value), None),
        Err(error) if error.fate() == Fate::Unknown && takes => {
            (Compensation::Never { elements: None, why: "" }, Some(error.to_string()))
        }
        Err(_) => (Compensation::Nothing, None),
    };
    let caller = stop.into_caller();
    if matches!(loss, Compensation::Nothing) {
        return caller.notify(outcome);
    }
    if why == Some(Why::Gone) {
        // A shutdown waits until the elements are put back.
        settle(&shared, frame.name(), loss, words, left).await;
    } else {
        // It need not wait for a caller who leaves the reply where it is.
        drop(blocking_calls);
        if !caller.take(outcome).await {
            // A shutdown that begins now waits for it.
            let _under_way = shared.links.blocking_calls().begin(usize::MAX);
            let left = shared.links.return_order().leave(number, keys_of(&frame));
            settle(&shared, frame.name(), loss, words, Some(left)).await;
        }
    }
}

/// Counts a command among those that wait, and says at which slot of a cluster it waits.
///
/// # Errors
/// When it cannot wait alone, or too many others wait.
fn begin(links: &Links, frame: &Frame) -> Result<(BlockingCallGuard, Option<u16>)> {
    frame.check()?;
    if frame.waits_for_writes() {
        return Err(Error::refused(RefusalClass::Blocking, WAIT_ALONE));
    }
    let slot = links.slot_of(frame)?;
    let words = "too many commands wait for connections of their own; send fewer at once or raise max_queued";
    let room = links.blocking_calls().begin(links.most().saturating_add(links.config().max_queued()));
    let blocking_calls = room.ok_or_else(|| Error::new(ErrorKind::Overloaded, Fate::NotSent, words))?;
    Ok((blocking_calls, slot))
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

/// Handles elements that were or may have been taken and that no caller received.
async fn settle(shared: &Shared, command: String, loss: Compensation, unknown: Option<String>, left: Option<Leaving>) {
    if let Some(left) = &left {
        // Callers that left at the same moment are counted first; a server that does not answer delays no other command.
        tokio::task::yield_now().await;
        let _ = timeout(shared.links.config().command_timeout(), left.turn()).await;
    }
    match unknown {
        Some(words) => shared.may_be_lost(command, None, words),
        None => shared.put_back(command, loss).await,
    }
}

/// The keys that a command may take something from.
fn keys_of(frame: &Frame) -> Vec<Vec<u8>> {
    frame.view().keys().map(<[u8]>::to_vec).collect()
}

/// The outcome for a caller whose wait this crate has ended. An element that came nevertheless is delivered.
fn explained(outcome: Result<Value>, kind: ErrorKind, words: &'static str) -> Result<Value> {
    let unblocked = is_unblocked(&outcome);
    match outcome {
        // A pipeline whose WAIT was ended. Its writes have run, or the server had postponed them.
        Ok(_) if unblocked => Err(ended(kind, words, Fate::Unknown)),
        Ok(value) if is_nothing(&value) => Err(ended(kind, words, Fate::Rejected)),
        Err(_) if unblocked => Err(ended(kind, words, Fate::Rejected)),
        Err(error) if error.code().is_none() => Err(ended(kind, words, error.fate())),
        other => other,
    }
}

fn ended(kind: ErrorKind, words: &'static str, fate: Fate) -> Error {
    let became = match fate {
        Fate::Rejected => "it was called off, and took nothing",
        Fate::NotSent => "it was never sent",
        Fate::Unknown => "it may have taken or written something",
    };
    Error::new(kind, fate, format!("{words}; {became}"))
}
