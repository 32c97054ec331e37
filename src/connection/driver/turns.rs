//! A turn of the driver: what there is to write is written, what came is read, and the clock is looked at.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::busy_polling::polls_its_sockets;
use super::read::ReadBudget;
use super::{Driver, Established, NO_TIMEOUT, left};
use crate::client::submit_queue::Callers;
use crate::connection::busy_poll::BusyPoll;
use crate::connection::link_state::Event;
use crate::connection::liveness::{Liveness, LivenessVerdict};
use crate::connection::session::Session;
use crate::events::{Cause, CauseKind, ConnectionEvent};
use crate::frame::Frame;

/// The number of links that this process has established.
static LINKS: AtomicU64 = AtomicU64::new(0);

/// The maximum number of timer expirations per poll, before other actors of this thread run.
const ROUNDS_PER_TURN: u32 = 8;

/// The maximum number of replies per poll, so that the answered callers run and the server gets their next commands. With all
/// of 2,000 delivered at once the throughput is the same, but the slowest callers wait longer (p99 half as long again), and so
/// does every other actor of this thread.
const ANSWERS_PER_TURN: usize = 128;

/// With callers on this thread half of the commands in flight: the server works on one half while the callers of the other half
/// receive their replies and send again. With all at once, server and callers would wait for each other in turns, and 64
/// callers get little more than half of the throughput. Callers on other threads send meanwhile anyway, and every part would
/// cost one more wake-up.
fn answers_per_turn(in_flight: usize, callers: Callers) -> usize {
    match callers {
        Callers::Here => in_flight.div_ceil(2).clamp(1, ANSWERS_PER_TURN),
        Callers::OtherThread => ANSWERS_PER_TURN,
    }
}

fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Driver {
    /// One turn: bounded work, then `Pending` with wakers set for the socket, the dial and the clock.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, callers: Callers) {
        self.now = None;
        self.since_flush = 0;
        let turn_budget = answers_per_turn(self.admission.in_flight(), callers);
        // Not half of the rest: if the answered callers send no further commands, the last would be delivered in ever smaller parts.
        self.turn_budget = if self.is_partially_read() { turn_budget.max(self.turn_budget) } else { turn_budget };
        for round in 1.. {
            self.poll_dial(cx);
            self.poll_established(cx, ReadBudget::of(self.turn_budget));
            if self.link.is_draining() && self.admission.is_empty() {
                self.feed(Event::Drained);
            }
            if !self.poll_timer(cx) {
                break;
            }
            if round >= ROUNDS_PER_TURN {
                cx.waker().wake_by_ref();
                break;
            }
        }
        self.stay_awake(cx, callers);
        self.measure();
        self.now = None;
    }

    fn poll_dial(&mut self, cx: &mut Context<'_>) {
        while let Some(dialling) = &mut self.dialling {
            let generation = dialling.generation;
            let Poll::Ready(outcome) = dialling.session.as_mut().poll(cx) else { return };
            self.dialling = None;
            self.now = None;
            match outcome {
                // A change that came during the dial was not seen when the dial began.
                Ok(Session { address, peer, .. })
                    if !self.connect_params.leads_right(&address, peer, self.demotions) =>
                {
                    self.answer_logins(&Err(left()));
                    self.feed(Event::Failed { generation, cause: left() });
                }
                Ok(Session { wire, mut server_info, address, peer }) => {
                    (server_info.generation, server_info.demotions) = (generation, self.demotions);
                    (server_info.address, server_info.peer) = (Some(address.clone()), peer);
                    let token = self.connect_params.link_token(&address);
                    (self.located, self.peer) = (Some(address), peer);
                    let time_limit = self.connect_params.config.liveness().unwrap_or(NO_TIMEOUT);
                    let mut liveness = Liveness::new(time_limit, self.now());
                    let (tracking, untracked) = self.tracking_of(&server_info, time_limit);
                    if tracking.is_some() {
                        // Entries are trusted for the time limit after the last byte.
                        liveness.ping_after(time_limit / 2);
                    }
                    let busy_poll =
                        self.connect_params.config.busy_poll().filter(|_| polls_its_sockets()).map(BusyPoll::new);
                    let number = LINKS.fetch_add(1, Ordering::Relaxed);
                    self.established = Some(Established {
                        wire,
                        liveness,
                        busy_poll,
                        leaving: None,
                        has_written: false,
                        number,
                        partial_read: None,
                        tracking,
                        _token: token,
                    });
                    self.server_info = server_info;
                    self.answer_logins(&Ok(()));
                    self.feed(Event::Established { generation });
                    if let Some(reason) = untracked {
                        self.emit(ConnectionEvent::CacheUnavailable { reason });
                    }
                }
                Err(cause) => {
                    self.answer_logins(&Err(cause.clone()));
                    self.feed(Event::Failed { generation, cause });
                }
            }
        }
    }

    /// Writes, and reads until the budget is spent.
    fn poll_established(&mut self, cx: &mut Context<'_>, budget: ReadBudget) {
        if self.established.is_none() {
            return;
        }
        let outcome = self.flush(cx).and_then(|()| self.read(cx, budget)).and_then(|()| self.flush(cx));
        if let Err(cause) = outcome {
            self.lose(cause);
        }
    }

    /// Fills the wire from the queue and empties it into the socket, until one of them has enough.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Cause> {
        // Most turns with few callers only read: a tenth of their instructions would be spent here.
        if self.admission.is_queue_empty() && self.established.as_ref().is_none_or(|link| link.wire.is_flushed()) {
            return Ok(());
        }
        loop {
            let before = self.admission.in_flight();
            self.release();
            let Some(established) = &mut self.established else { return Ok(()) };
            // The end of a large pipeline makes room for those that wait behind it.
            let was_full = !established.wire.has_room();
            match established.wire.poll_flush(cx) {
                Poll::Ready(Err(error)) => {
                    return Err(Cause::new(CauseKind::Broken, format!("the link broke: {error}")));
                }
                Poll::Ready(Ok(())) if was_full || self.admission.in_flight() > before => {}
                Poll::Ready(Ok(())) => return Ok(()),
                Poll::Pending => {
                    let now = *self.now.get_or_insert_with(Instant::now);
                    established.liveness.wrote(established.wire.written(), now);
                    return Ok(());
                }
            }
        }
    }

    /// Moves commands from the queue onto the wire, in order, while there is room.
    fn release(&mut self) {
        let now = self.now();
        while let Some(established) = &mut self.established
            && established.wire.has_room()
            && let Some(mut next) = self.admission.next_to_send(now)
        {
            let opts_in = established.tracking.as_ref().is_some_and(|tracking| tracking.track(&mut next));
            let frame = next.frame();
            // Checked when it was admitted; a frame does not change in the queue.
            let Ok(sealed) = self.prefix.seal(frame) else { continue };
            if opts_in {
                established.wire.encode_caching();
                self.admission.sent_own(now);
            }
            if next.is_asking() {
                established.wire.encode_asking();
                self.admission.sent_own(now);
            }
            let span = established.wire.encode(&sealed);
            established.liveness.sent(frame.longest_hold(), now);
            self.admission.sent_from_queue(next, span);
        }
        if self.admission.take_question() {
            self.ping(now);
        }
    }

    /// Arms the one timer for whatever comes first. Returns whether it has fired.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let looks = self.established.as_ref().map(|established| established.liveness.next_check());
        let Some(next) = sooner(self.admission.next_deadline(), sooner(self.link.wake_at(), looks)) else {
            return false;
        };
        if !self.timer.poll(next, cx) {
            return false;
        }
        self.now = None;
        // After a stall of this thread, unread replies were in time.
        if self.is_partially_read() {
            self.poll_established(cx, ReadBudget::of(usize::MAX));
        }
        self.tick();
        true
    }

    fn tick(&mut self) {
        let now = self.now();
        self.feed(Event::Tick);
        self.admission.expire(now, self.link.state());
        let verdict = self.established.as_mut().map(|established| established.liveness.check(now));
        match verdict {
            Some(LivenessVerdict::Ping) => self.ping(now),
            Some(LivenessVerdict::Dead) => {
                self.lose(Cause::new(CauseKind::Stalled, "the server is silent: the link is given up as half-open"));
            }
            Some(LivenessVerdict::CheckAt(_)) | None => {}
        }
    }

    pub(super) fn ping(&mut self, now: Instant) {
        let ping = Frame::known("PING");
        if let Some(established) = &mut self.established
            && let Ok(sealed) = self.prefix.seal(&ping)
        {
            established.wire.encode(&sealed);
            established.liveness.sent(Duration::ZERO, now);
            self.admission.sent_own(now);
        }
    }
}
