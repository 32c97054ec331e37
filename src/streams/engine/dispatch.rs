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
use super::shared_state::Desk;
use super::{Arrived, ConsumerEngine, Parcel};
use crate::actors::connection::{Hurry, Introduce, Sever};
use crate::error::{Error, ErrorKind, Fate};
use crate::events::Status;
use crate::messages::{stream_id::StreamId, streams_replies::StreamEntry};
use crate::streams::consumer_commands::{Counted, Errands, sample_of};
use crate::streams::delivery::FromEntry;
use crate::streams::events::StreamEventKind;
use crate::streams::machine::failure::Failure;
use crate::streams::machine::group_position::{Ensured, Ground};
use crate::streams::machine::{Action, Burial, Buried, Holder, Renewed, Swept};

/// How long one wait for the reader's link may take before it is looked at anew.
const CONNECT: Duration = Duration::from_secs(10);

/// What came of an errand.
pub(super) enum Report {
    Connected(Result<(u64, Option<i64>), Failure>),
    Named(Result<Holder, Failure>),
    Reaped(Result<(), Failure>),
    Ensured(Result<Ensured, Failure>),
    Looked(Result<Option<Ground>, Failure>),
    Forgot(Result<Vec<String>, Failure>),
    Listed(Result<Vec<(StreamId, u64)>, Failure>),
    Peeked(Result<Vec<StreamEntry>, Failure>),
    Took(Result<Vec<Counted>, Failure>),
    Read(Result<Vec<StreamEntry>, Failure>),
    Swept(Result<Swept, Failure>),
    Acked(u64, Result<(), Failure>),
    Leased(Result<Renewed, Failure>),
    Buried(Burial, Result<Buried, Failure>),
    Nothing,
}

pub(super) type Errand = Pin<Box<dyn Future<Output = Report>>>;

impl<T: FromEntry> ConsumerEngine<T> {
    pub(super) fn act(&mut self, desk: &mut Desk<T>, action: Action<Parcel<T>>, now: Instant) {
        let Some(living) = &mut self.living else { return };
        let errands = living.errands.clone();
        let errand: Errand = match action {
            Action::Connect => Box::pin(async move { Report::Connected(connect(errands).await) }),
            Action::Reap { client } => Box::pin(async move { Report::Reaped(errands.reap(client).await) }),
            Action::HoldName => Box::pin(async move { Report::Named(errands.hold_name().await) }),
            Action::EnsureGroup { known, sample } => {
                Box::pin(async move { Report::Ensured(errands.ensure_group(known, sample).await) })
            }
            Action::Look { delivered } => Box::pin(async move { Report::Looked(errands.look(delivered).await) }),
            Action::Forget { idle } => Box::pin(async move { Report::Forgot(errands.forget(idle).await) }),
            Action::ListPending { after, count } => {
                Box::pin(async move { Report::Listed(errands.list_pending(after, count).await) })
            }
            Action::Peek { ids } => Box::pin(async move { Report::Peeked(errands.peek(ids).await) }),
            Action::Take { entries } => Box::pin(async move { Report::Took(errands.take(entries).await) }),
            Action::Read { count, blocks } => {
                let (block, generation) = (blocks.then_some(self.terms.block), self.generation);
                let read = async move { Report::Read(errands.read(count, block, generation).await) };
                return self.reads.push_back(Box::pin(read));
            }
            Action::Unblock { client } => Box::pin(async move {
                errands.unblock(client).await;
                Report::Nothing
            }),
            Action::Sweep { cursor, count, min_idle, clock } => {
                Box::pin(async move { Report::Swept(errands.sweep(cursor, count, min_idle, clock).await) })
            }
            Action::Ack { flight, ids } => {
                self.acking.insert(flight, now);
                Box::pin(async move { Report::Acked(flight, errands.acknowledge(ids).await) })
            }
            Action::Lease { terms } => Box::pin(async move { Report::Leased(errands.lease(terms).await) }),
            Action::Bury(burial) => Box::pin(async move { Report::Buried(burial.clone(), errands.bury(burial).await) }),
            Action::Sever { why } => {
                errands.reader.actor().do_send(Sever(why));
                return;
            }
            Action::Run { id, run, attempt, alone, payload } => {
                return self.run(desk, (id, run), attempt, alone, payload, now);
            }
            Action::CheckProgress { id, run } => {
                return self.check_progress(desk, (id, run), now);
            }
            Action::GiveUp { id } => {
                if let Some(lease) = desk.leases.remove(&id) {
                    lease.give_up();
                }
                return;
            }
            Action::SignalLost { id } => {
                if let Some(lease) = desk.leases.get(&id) {
                    lease.lose();
                }
                return;
            }
            Action::Tell(kind) => return living.tell(kind),
            Action::Finish => return self.finish(desk),
        };
        self.errands.push(errand);
    }

    /// Decodes what a report brings.
    pub(super) fn digest(&self, report: Report) -> Arrived<T> {
        match report {
            Report::Peeked(answer) => {
                Arrived::Peeked(answer.map(|found| found.into_iter().map(|entry| self.peeked(entry)).collect()))
            }
            Report::Took(answer) => {
                Arrived::Took(answer.map(|taken| taken.into_iter().map(|entry| self.taken(entry)).collect()))
            }
            report => Arrived::Report(report),
        }
    }

    pub(super) fn reported(&mut self, desk: &mut Desk<T>, report: Report, now: Instant) {
        let machine = &mut desk.machine;
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
            Report::Peeked(_) | Report::Took(_) => debug_assert!(false, "taken in without being decoded"),
            Report::Read(Ok(page)) => {
                let bytes = page.iter().map(|entry| size_of_fields(&entry.fields)).sum();
                machine.read_last(page.last().map(sample_of));
                let ahead = machine.page_came(page.len(), bytes, now);
                self.undecoded.extend(page);
                if let Some(read) = ahead {
                    self.act(desk, read, now);
                }
            }
            Report::Read(Err(failure)) => {
                if failure.kind.ends_the_link() {
                    self.reads.clear();
                }
                machine.read_failed(failure, now);
            }
            Report::Swept(answer) => machine.swept(answer, now),
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
            Report::Buried(burial, answer) => machine.buried(burial, answer, now),
            Report::Nothing => {}
        }
        if let Some(living) = &mut self.living {
            for missing in living.errands.denials.news() {
                living.tell(StreamEventKind::Degraded { missing });
            }
        }
    }
}

/// Waits for the reader's link, and finds out what the server calls it.
async fn connect(errands: Arc<Errands>) -> Result<(u64, Option<i64>), Failure> {
    match select(pin!(errands.reader.ready(CONNECT)), pin!(follow(&errands))).await {
        Either::Left((ready, _)) => ready?,
        Either::Right((never, _)) => match never {},
    }
    let greeting = errands.reader.actor().send(Introduce).await;
    let greeting = greeting.map_err(|_| Error::new(ErrorKind::Closed, Fate::NotSent, "the reader has ended"))?;
    let generation = errands.reader.status().borrow().generation;
    Ok((generation, greeting.client_id))
}

/// Has the reader dialled as soon as the user's connection has found the server, once for each wait: the reader's own
/// backoff may have seconds to go.
async fn follow(errands: &Errands) -> Infallible {
    if errands.control.status().wait_for(Status::is_available).await.is_ok() {
        errands.reader.actor().do_send(Hurry);
    }
    std::future::pending().await
}
