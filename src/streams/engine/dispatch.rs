//! What the machine wants done is sent on its way, and what came of that goes back to it.

use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};

use super::delivery::size_of_fields;
use super::shared_state::EngineState;
use super::{ConsumerEngine, DecodedEntry, DecodedReport};
use crate::actors::connection::{DisconnectStalled, GetServerInfo, ReconnectNow};
use crate::error::{Error, ErrorKind, Fate};
use crate::events::Status;
use crate::messages::{stream_id::StreamId, streams_replies::StreamEntry};
use crate::streams::consumer_commands::{ConsumerCommands, Counted, sample_of};
use crate::streams::delivery::FromEntry;
use crate::streams::events::StreamEventKind;
use crate::streams::machine::failure::Failure;
use crate::streams::machine::group_position::{Ensured, GroupPosition};
use crate::streams::machine::{Action, DeadLetterOutcome, DeadLetterRequest, Holder, LeaseReply, SweepReply};

/// How long one wait for the reader's link may take before it is looked at anew.
const CONNECT: Duration = Duration::from_secs(10);

/// What came of an errand.
pub(super) enum Report {
    Connected(Result<(u64, Option<i64>), Failure>),
    Named(Result<Holder, Failure>),
    Reaped(Result<(), Failure>),
    Ensured(Result<Ensured, Failure>),
    Looked(Result<Option<GroupPosition>, Failure>),
    Forgot(Result<Vec<String>, Failure>),
    Listed(Result<Vec<(StreamId, u64)>, Failure>),
    OrderPosition(Result<Vec<StreamEntry>, Failure>),
    Took(Result<Vec<Counted>, Failure>),
    Read(Result<Vec<StreamEntry>, Failure>),
    SweepReply(Result<SweepReply, Failure>),
    Acked(u64, Result<(), Failure>),
    Leased(Result<LeaseReply, Failure>),
    RenewedUnread(Result<(), Failure>),
    DeadLetterOutcome(DeadLetterRequest, Result<DeadLetterOutcome, Failure>),
    Nothing,
}

pub(super) type CommandFuture = Pin<Box<dyn Future<Output = Report>>>;

impl<T: FromEntry> ConsumerEngine<T> {
    pub(super) fn act(&mut self, engine_state: &mut EngineState<T>, action: Action<DecodedEntry<T>>, now: Instant) {
        let Some(owned_state) = &mut self.owned_state else { return };
        let commands = owned_state.commands.clone();
        match action {
            Action::Read { count, blocks } => {
                let (block, generation) = (blocks.then_some(self.terms.block), self.generation);
                let read = async move { Report::Read(commands.read(count, block, generation).await) };
                self.reads.push_back(Box::pin(read));
            }
            Action::Disconnect { why } => commands.reader.actor().do_send(DisconnectStalled(why)),
            Action::Run { id, run, attempt, alone, payload } => {
                self.run(engine_state, (id, run), attempt, alone, payload, now);
            }
            Action::CheckProgress { id, run } => self.check_progress(engine_state, (id, run), now),
            Action::GiveUp { id } => {
                if let Some(lease) = engine_state.leases.remove(&id) {
                    // Another attempt may begin while this handler works on.
                    lease.lose();
                    lease.give_up();
                }
            }
            Action::SignalLost { id } => {
                if let Some(lease) = engine_state.leases.get(&id) {
                    lease.lose();
                }
            }
            Action::PublishEvent(kind) => owned_state.publish(kind),
            Action::Finish => self.finish(engine_state),
            action => {
                if let Action::Ack { flight, .. } = action {
                    self.acking.insert(flight, now);
                }
                self.commands.extend(command(commands, action));
            }
        }
    }

    /// Decodes what a report brings.
    pub(super) fn digest(&self, report: Report) -> DecodedReport<T> {
        match report {
            Report::OrderPosition(answer) => DecodedReport::OrderPosition(
                answer.map(|found| found.into_iter().map(|entry| self.peeked(entry)).collect()),
            ),
            Report::Took(answer) => {
                DecodedReport::Took(answer.map(|taken| taken.into_iter().map(|entry| self.taken(entry)).collect()))
            }
            report => DecodedReport::Report(report),
        }
    }

    pub(super) fn reported(&mut self, engine_state: &mut EngineState<T>, report: Report, now: Instant) {
        let machine = &mut engine_state.machine;
        match report {
            Report::Connected(answer) => {
                let answer = answer.map(|(generation, client)| {
                    (self.generation, self.client) = (generation, client);
                    client
                });
                machine.connected(answer, now);
            }
            Report::Named(answer) => machine.named(answer, now),
            Report::Reaped(answer) => machine.reaped(answer, now),
            Report::Ensured(answer) => machine.ensured(answer, now),
            Report::Looked(answer) => machine.looked(answer, now),
            Report::Forgot(answer) => machine.forgot(answer, now),
            Report::Listed(answer) => machine.listed(answer, now),
            // Their payloads are decoded first.
            Report::OrderPosition(_) | Report::Took(_) => debug_assert!(false, "taken in without being decoded"),
            Report::Read(Ok(page)) => {
                let bytes = page.iter().map(|entry| size_of_fields(&entry.fields)).sum();
                machine.read_last(page.last().map(sample_of));
                let ahead = machine.page_came(page.len(), bytes, now);
                self.undecoded.extend(page);
                if let Some(read) = ahead {
                    self.act(engine_state, read, now);
                }
            }
            Report::Read(Err(failure)) => {
                if failure.kind.ends_the_link() {
                    self.reads.clear();
                }
                machine.read_failed(failure, now);
            }
            Report::SweepReply(answer) => machine.swept(answer, now),
            Report::Acked(flight, answer) => {
                let sent = self.acking.remove(&flight).filter(|_| answer.is_ok());
                let before = machine.tally().acked;
                machine.acked(flight, answer, now);
                if let Some(sent) = sent {
                    let entries = machine.tally().acked - before;
                    self.meters.acked(now.saturating_duration_since(sent), entries);
                }
            }
            Report::Leased(answer) => machine.leased(answer, now),
            Report::RenewedUnread(answer) => machine.renewed_unread(answer, now),
            Report::DeadLetterOutcome(dead_letter_request, answer) => {
                machine.was_dead_lettered(dead_letter_request, answer, now)
            }
            Report::Nothing => {}
        }
        if let Some(owned_state) = &mut self.owned_state {
            for missing in owned_state.commands.denials.news() {
                owned_state.publish(StreamEventKind::Degraded { missing });
            }
        }
    }
}

/// The command of an action, over the connection that all actions but reads use.
fn command<P>(commands: Arc<ConsumerCommands>, action: Action<P>) -> Option<CommandFuture> {
    Some(match action {
        Action::Connect => Box::pin(async move { Report::Connected(connect(commands).await) }),
        Action::Reap { client } => Box::pin(async move { Report::Reaped(commands.reap(client).await) }),
        Action::HoldName => Box::pin(async move { Report::Named(commands.hold_name().await) }),
        Action::EnsureGroup { known, sample } => {
            Box::pin(async move { Report::Ensured(commands.ensure_group(known, sample).await) })
        }
        Action::RefreshTopology { delivered } => {
            Box::pin(async move { Report::Looked(commands.look(delivered).await) })
        }
        Action::Forget { idle } => Box::pin(async move { Report::Forgot(commands.forget(idle).await) }),
        Action::ListPending { after, count } => {
            Box::pin(async move { Report::Listed(commands.list_pending(after, count).await) })
        }
        Action::Peek { ids } => Box::pin(async move { Report::OrderPosition(commands.peek(ids).await) }),
        Action::Take { entries } => Box::pin(async move { Report::Took(commands.take(entries).await) }),
        Action::Unblock { client } => Box::pin(async move {
            commands.unblock(client).await;
            Report::Nothing
        }),
        Action::Sweep { cursor, count, min_idle, clock, unread } => {
            Box::pin(async move { Report::SweepReply(commands.sweep(cursor, count, min_idle, clock, unread).await) })
        }
        Action::RenewUnread(unread) => {
            Box::pin(async move { Report::RenewedUnread(commands.renew_unread(&commands.control, unread).await) })
        }
        Action::Ack { flight, ids } => Box::pin(async move { Report::Acked(flight, commands.acknowledge(ids).await) }),
        Action::Lease { terms } => Box::pin(async move { Report::Leased(commands.lease(terms).await) }),
        Action::DeadLetter(request) => {
            Box::pin(async move { Report::DeadLetterOutcome(request.clone(), commands.dead_letter(request).await) })
        }
        Action::Read { .. }
        | Action::Disconnect { .. }
        | Action::Run { .. }
        | Action::CheckProgress { .. }
        | Action::GiveUp { .. }
        | Action::SignalLost { .. }
        | Action::PublishEvent(_)
        | Action::Finish => return None,
    })
}

/// Waits for the reader's link, and finds out what the server calls it.
async fn connect(commands: Arc<ConsumerCommands>) -> Result<(u64, Option<i64>), Failure> {
    match select(pin!(commands.reader.ready(CONNECT)), pin!(follow(&commands))).await {
        Either::Left((ready, _)) => ready?,
        Either::Right((never, _)) => match never {},
    }
    let server_info = commands.reader.actor().send(GetServerInfo).await;
    let server_info = server_info.map_err(|_| Error::new(ErrorKind::Closed, Fate::NotSent, "the reader has ended"))?;
    let generation = commands.reader.status().borrow().generation;
    Ok((generation, server_info.client_id))
}

/// Has the reader dialled as soon as the user's connection has found the server, once for each wait: the reader's own
/// backoff may have seconds to go.
async fn follow(commands: &ConsumerCommands) -> Infallible {
    if commands.control.status().wait_for(Status::is_available).await.is_ok() {
        commands.reader.actor().do_send(ReconnectNow);
    }
    std::future::pending().await
}
