//! What a node did not run, by its own word or because it is gone: on to where it belongs, or later.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use redis::Value;

use super::Router;
use super::gather::{Gather, ReplyPlace};
use super::nodes::Displaced;
use super::refusal_check::Belief;
use super::routed_request::{ReturnedRequest, RouteState, Routed, error_of, redirects, refusal};
use crate::cluster::merge::Merge;
use crate::cluster::redirect;
use crate::cluster::redirect::Redirect;
use crate::cluster::route::{SlotList, slot_of, slot_of_view};
use crate::cluster::slot_queue::{Release, SendOrder, SlotEntry};
use crate::config::HostPort;
use crate::connection::deadline_queue::Deadline;
use crate::connection::request::Pending as _;
use crate::connection::verdict::CommandFacts;
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::{Cause, CauseKind};

/// A command that waits before it is sent again.
pub(super) struct DelayedRequest {
    pub(super) ticket: Box<Routed>,
    /// What a node answered, if one did.
    why: Option<Error>,
    /// Where that node says that its key is. `None`: it goes where it belongs by then.
    ask: Option<HostPort>,
}

impl Router {
    /// Sends what came back where it belongs. Returns whether anything came.
    pub(super) fn take_returned(&mut self) -> bool {
        let returned = self.book.returned();
        let any = !returned.is_empty();
        let (mut closed, mut ran) = (SlotList::new(), Vec::new());
        for ReturnedRequest { ticket, answer, slots } in returned {
            closed.extend(slots);
            match answer {
                Err(error) => self.redirect(ticket, error, Err),
                Ok(Value::Array(replies)) => self.redirect_unit(ticket, replies, &mut ran),
                other => ticket.finish(other),
            }
        }
        for (slot, order) in ran {
            self.refuse_overtaken(slot, order);
        }
        for slot in closed {
            if !self.queues.is_closed(slot) {
                self.book.reopen(slot);
            }
        }
        if std::mem::take(&mut self.has_moved) {
            // Before any page or link of the new owner: who walks or watches has to know it is another one.
            self.announce();
        }
        any | self.take_left()
    }

    /// `ran`: gets the slots of which a node has run a command of the unit, each with its order.
    fn redirect_unit(&mut self, ticket: Box<Routed>, replies: Vec<Value>, ran: &mut Vec<(u16, SendOrder)>) {
        let Some(unit) = ticket.frame().unit() else { return ticket.finish(Ok(Value::Array(replies))) };
        if unit.is_atomic() {
            let why = refusal(ticket.frame(), &replies, &self.slots).map(error_of);
            let Some(why) = why else { return ticket.finish(Ok(Value::Array(replies))) };
            return self.redirect(ticket, why, move |_| Ok(Value::Array(replies)));
        }
        // What ran, ran. The others go on one by one, in order: those behind which no other of their slot has run.
        let mut errors: Vec<_> =
            redirects(ticket.frame(), &replies, &self.slots).map(|error| error.map(error_of)).collect();
        let mut ran_behind = HashMap::new();
        for (at, why) in errors.iter_mut().enumerate().rev() {
            let Some(slot) = unit.view(at).and_then(|view| slot_of_view(&view, &self.slots)) else { continue };
            if why.is_none() {
                ran_behind.entry(slot).or_insert(at);
            } else if ran_behind.contains_key(&slot) {
                // It would run behind a younger one.
                *why = None;
            }
        }
        ran.extend(ran_behind.into_iter().map(|(slot, at)| (slot, ticket.route_state.order.part(at))));
        let (mut places, mut again) = (Vec::with_capacity(replies.len()), Vec::new());
        for (at, (reply, why)) in replies.into_iter().zip(errors).enumerate() {
            match why.and_then(|why| Some((why, unit.command(at)?))) {
                Some((why, frame)) => {
                    again.push((at, frame.like(ticket.frame()), why));
                    places.push(ReplyPlace::new(1, Merge::Only));
                }
                None => places.push(ReplyPlace::answered(Ok(reply))),
            }
        }
        let route_state = ticket.route_state;
        // There may be none that goes on.
        let gather = Gather::begin(ticket, places);
        gather.expect(again.len());
        for (at, frame, why) in again {
            let part = gather.part(frame, vec![(at, 0)]);
            self.redirect(Routed::part(part, route_state.of_element(at), &self.book), why, Err);
        }
        gather.end();
    }

    /// A node did not run it: sends it where that node says, or somewhere else later. After too many of these it gets
    /// `answer`.
    fn redirect(&mut self, mut ticket: Box<Routed>, why: Error, answer: impl FnOnce(Error) -> Result<Value>) {
        let from = self.nodes.address(ticket.route_state.node);
        let redirect = from.and_then(|from| redirect::of_error(&why, from));
        let Some(mut redirect) = redirect.map(|redirect| redirect.into_reachable(&self.connect_params.config)) else {
            return ticket.finish(answer(why));
        };
        let may_forge = !ticket.frame().is_unit() && CommandFacts::of(ticket.frame()).may_forge();
        let must_run_once = may_forge && !ticket.frame().is_repeatable();
        if must_run_once && matches!(redirect, Redirect::Down | Redirect::TryAgain) {
            match self.check_refusal(ticket, &why, &redirect) {
                Belief::True(refused) => ticket = refused,
                Belief::Settled => return,
            }
        }
        let from = self.nodes.address(ticket.route_state.node);
        if matches!(&redirect, Redirect::Moved { to, .. } if Some(to) == from) {
            if must_run_once {
                return ticket.finish(Err(why.with_fate(Fate::Unknown)));
            }
            // Another process has the name and address of this node now, or the name leads to another address.
            let words = "the node says that the slot is at its own address: its name is resolved again";
            self.nodes.replace_link(ticket.route_state.node, Cause::new(CauseKind::Broken, words));
            redirect = Redirect::Down;
        }
        let Some(pause) = ticket.route_state.pause(&redirect) else {
            return ticket.finish(answer(why));
        };
        let now = Instant::now();
        ticket.route_state.asking = false;
        let number = self.nodes.number(ticket.route_state.node);
        if must_run_once && !ticket.note_redirected(&redirect, number) {
            return ticket.finish(Err(redirected_back()));
        }
        match &redirect {
            Redirect::Moved { slot, to } => {
                if self.map.owner(*slot) != Some(to) {
                    self.map.moved(*slot, to);
                    self.nodes.moved(*slot, to);
                    self.has_moved = true;
                    self.refresh.wanted(now);
                }
            }
            Redirect::Ask { to } if pause.is_zero() => {
                ticket.route_state.count(&redirect);
                return self.follow_ask(ticket, to, now);
            }
            Redirect::Ask { .. } => return self.later(ticket, &redirect, why),
            // The keys of this command are at two nodes; those of others of its slot are not held up by it.
            Redirect::TryAgain => {
                // Both nodes know of the move, so what they redirect from now on is not what they have disagreed about.
                ticket.route_state.hops = 0;
                return self.later(ticket, &redirect, why);
            }
            Redirect::Down => self.refresh.wanted(now),
        }
        let Some(slot) = self.slot_of(&ticket) else { return self.later(ticket, &redirect, why) };
        ticket.route_state.count(&redirect);
        self.wait_for_slot(ticket, slot, Some((why, pause)));
    }

    /// Its key is at this node already, whose slot this is not yet. What comes behind it of that key is sent by the same two
    /// nodes, in order.
    fn follow_ask(&mut self, mut ticket: Box<Routed>, to: &HostPort, now: Instant) {
        ticket.route_state.asking = true;
        let node = self.nodes.ensure_redirected(to, now);
        let slots = ticket.route_state.slot.into_iter().collect();
        self.send(ticket, node, slots);
    }

    /// The slot of a command that has one.
    pub(super) fn slot_of(&self, ticket: &Routed) -> Option<u16> {
        ticket.route_state.slot.or_else(|| slot_of(ticket.frame(), &self.slots))
    }

    /// Puts a command into the queue of its slot. `refused`: why, and for how long the slot is left alone at least.
    pub(super) fn wait_for_slot(&mut self, mut ticket: Box<Routed>, slot: u16, refused: Option<(Error, Duration)>) {
        let config = &self.connect_params.config;
        let bytes = ticket.frame().size();
        let waiting = self.queues.len() + self.delayed.len();
        let full = waiting >= config.max_queued() || self.queues.bytes() + bytes > config.max_queued_bytes();
        // What a node has refused was admitted before.
        if full && refused.is_none() && !ticket.is_let_in() {
            return ticket.finish(Err(too_many()));
        }
        let was_refused = refused.is_some();
        let (why, pause) = refused.map_or((None, Duration::ZERO), |(why, pause)| (Some(why), pause));
        self.close_slot(slot, Instant::now() + pause);
        let deadline = ticket.route_state.deadline.at();
        (ticket.route_state.slot, ticket.route_state.deadline) = (Some(slot), Deadline::Own(deadline));
        let order = ticket.route_state.order;
        self.queues.push(
            slot,
            order,
            SlotEntry { item: DelayedRequest { ticket, why, ask: None }, deadline, bytes, was_refused },
        );
    }

    /// Closes a slot: new commands wait until those at the nodes have come back.
    pub(super) fn close_slot(&mut self, slot: u16, retry_at: Instant) {
        if self.queues.close(slot, retry_at) {
            self.book.close(slot);
        }
    }

    /// Commands of closed slots have come back from the nodes, or were run there.
    fn take_left(&mut self) -> bool {
        let left = self.book.left();
        for left in left.iter().filter(|left| left.ran) {
            self.refuse_overtaken(left.slot, left.order);
        }
        let now = Instant::now();
        for left in &left {
            self.release_slot(left.slot, now);
        }
        !left.is_empty()
    }

    /// A node has run a command of this slot and order: answers the older ones that a node has refused. Sent again they
    /// would run behind it.
    fn refuse_overtaken(&mut self, slot: u16, order: SendOrder) {
        self.note_overtaken(slot, order);
        for DelayedRequest { ticket, why, .. } in self.queues.overtaken(slot, order) {
            ticket.finish(Err(why.unwrap_or_else(has_no_owner)));
        }
    }

    /// Sends what waits for the slot, if it need not wait any more.
    pub(super) fn release_slot(&mut self, slot: u16, now: Instant) {
        while self.book.at_nodes(slot) == 0 {
            match self.queues.release(slot, now) {
                None => return,
                Some(Release::Probe(DelayedRequest { ticket, .. })) => {
                    if ticket.is_abandoned() {
                        self.queues.probe_dropped(slot);
                    } else {
                        self.send_to_owner(ticket, slot);
                    }
                }
                Some(Release::All(all)) => {
                    self.book.reopen(slot);
                    for DelayedRequest { ticket, .. } in all {
                        self.send_to_slot(ticket, slot);
                    }
                    return;
                }
            }
        }
    }

    fn later(&mut self, mut ticket: Box<Routed>, redirect: &Redirect, why: Error) {
        let Some(pause) = ticket.route_state.pause(redirect) else { return ticket.finish(Err(why)) };
        if self.delayed.len() >= self.connect_params.config.max_queued() {
            return ticket.finish(Err(too_many()));
        }
        ticket.route_state.count(redirect);
        let due = (Instant::now() + pause).min(ticket.route_state.deadline.at());
        self.delays += 1;
        let ask = match redirect {
            Redirect::Ask { to } => Some(to.clone()),
            _ => None,
        };
        self.delayed.insert((due, self.delays), DelayedRequest { ticket, why: Some(why), ask });
    }

    /// Sends what has waited for long enough, and answers what has waited for too long.
    pub(super) fn wake_delayed(&mut self, now: Instant) {
        for slot in self.queues.take_due(now) {
            self.release_slot(slot, now);
        }
        for DelayedRequest { ticket, why, .. } in self.queues.expire(now) {
            ticket.finish(Err(timed_out(why)));
        }
        let later = self.delayed.split_off(&(now, u64::MAX));
        for DelayedRequest { ticket, why, ask } in std::mem::replace(&mut self.delayed, later).into_values() {
            match ask {
                _ if ticket.route_state.deadline.at() <= now => ticket.finish(Err(timed_out(why))),
                Some(to) => self.follow_ask(ticket, &to, now),
                None => self.dispatch(ticket),
            }
        }
    }

    /// No known node owns its slot.
    pub(super) fn no_node_error(&mut self, mut ticket: Box<Routed>) {
        self.refresh.wanted(Instant::now());
        match (ticket.route_state.slot, ticket.route_state.pause(&Redirect::Down)) {
            (Some(slot), Some(pause)) => {
                ticket.route_state.count(&Redirect::Down);
                self.wait_for_slot(ticket, slot, Some((has_no_owner(), pause)));
            }
            _ => self.later(ticket, &Redirect::Down, has_no_owner()),
        }
    }

    /// Sends on what waited at a node where it does not belong any more. Slots that have `changed` their owner while
    /// commands of them are in flight at the old one are closed, so that those come first.
    pub(super) fn resend(&mut self, displaced: Displaced, changed: &[u16]) {
        let displaced: Vec<_> = displaced
            .into_iter()
            .map(|(mut ticket, deadline, may_have_run)| {
                let deadline = Deadline::Own(deadline.at());
                ticket.left_node();
                // A command that is being sent again is older than those that wait.
                let route_state = RouteState::new(deadline, SendOrder::new(0));
                let mut ticket =
                    Routed::of(ticket).unwrap_or_else(|ticket| Routed::part(ticket, route_state, &self.book));
                if may_have_run {
                    ticket.note_may_have_run();
                }
                (ticket.route_state.asking, ticket.route_state.deadline) = (false, deadline);
                ticket
            })
            .collect();
        let now = Instant::now();
        for slot in changed.iter().copied() {
            if self.book.at_nodes(slot) > 0 {
                self.close_slot(slot, now);
            }
        }
        displaced.into_iter().for_each(|ticket| self.dispatch(ticket));
        for slot in changed.iter().copied().filter(|slot| self.queues.is_closed(*slot)).collect::<Vec<_>>() {
            self.queues.retry_now(slot, now);
            self.release_slot(slot, now);
        }
    }
}

/// Of a command with code of users: one of the two nodes has run it, or the cluster has changed in between.
pub(super) fn redirected_back() -> Error {
    let words = "two nodes redirect it to each other; it may have run, so check its effect before you send it again";
    Error::server("MOVED", Some(words)).with_fate(Fate::Unknown)
}

fn has_no_owner() -> Error {
    Error::server("CLUSTERDOWN", Some("no node owns the slot"))
}

pub(super) fn too_many() -> Error {
    let words = "too many commands wait for the cluster; send fewer at once or raise max_queued";
    Error::new(ErrorKind::Overloaded, Fate::NotSent, words)
}

fn timed_out(why: Option<Error>) -> Error {
    let words = match why {
        Some(why) => format!("the cluster did not run it in time: {why}"),
        None => "the deadline passed while earlier commands of its slot were without an answer".to_owned(),
    };
    Error::new(ErrorKind::Timeout, Fate::NotSent, words)
}
