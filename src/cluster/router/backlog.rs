//! Large commands, which are taken apart in portions, and the commands that wait behind them.
//!
//! One command of 80,000 keys would delay every other actor of its thread by 30 ms. So each turn handles a part of it, and
//! what callers send meanwhile waits here, because it must not overtake it. Commands that come back from a node are older than
//! anything here and go their way at once.

use std::collections::VecDeque;
use std::time::Instant;

use super::Router;
use super::gather::{Gather, ReplyPlace};
use super::redirects::too_many;
use super::routed_request::{RouteState, Routed};
use super::scatter::Groups;
use crate::cluster::key_split::{KeyParts, KeySplit};
use crate::cluster::route::{ElementWay, SlotList, distinct, way_of_element};
use crate::connection::request::Pending as _;
use crate::error::{Error, ErrorKind, Fate};
use crate::frame::Frame;

/// The number of keys, of elements of pipelines, and of commands that one turn handles: about 1 ms.
const PER_TURN: usize = 2_000;

/// See the module.
#[derive(Default)]
pub(super) struct Backlog {
    waiting: VecDeque<Box<Routed>>,
    split: Option<Split>,
}

/// A command that is being taken apart.
enum Split {
    /// The slots of its keys are being computed.
    Keys(Box<Routed>, KeySplit),
    /// The parts are being sent, from this one on.
    Parts(Sending, KeyParts, usize),
    /// The slots of the elements of a pipeline are being computed, from this one on.
    Elements(Box<Routed>, PipelineSlots, usize),
    /// The elements are being sent, from this one on.
    Pipeline(Sending, Frame, usize),
}

/// The slots of the elements of a pipeline so far.
#[derive(Default)]
struct PipelineSlots {
    slots: SlotList,
    /// An element needs several nodes.
    is_apart: bool,
}

/// A command of which some parts were sent.
struct Sending {
    gather: Gather,
    route_state: RouteState,
    /// Has the options of the command.
    like: Frame,
}

impl Sending {
    fn new(ticket: Box<Routed>, places: Vec<ReplyPlace>) -> Self {
        let (route_state, like) = (ticket.route_state, Frame::default().like(ticket.frame()));
        Self { gather: Gather::begin(ticket, places), route_state, like }
    }

    /// Whether the rest of the command is not sent: its caller is gone, or its deadline has passed, which is the error.
    fn ended(&self) -> Option<Option<Error>> {
        if self.gather.is_abandoned() {
            return Some(None);
        }
        let words = "the deadline passed before all parts of the command were sent; send fewer keys at once";
        let is_late = self.route_state.deadline.at() <= Instant::now();
        is_late.then(|| Some(Error::new(ErrorKind::Timeout, Fate::NotSent, words)))
    }
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.split.is_none()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.split.is_some())
    }
}

/// Whether it takes more than one turn.
fn is_large(frame: &Frame) -> bool {
    match frame.unit() {
        Some(unit) => !unit.is_atomic() && unit.len() > PER_TURN,
        None => frame.count_names() > PER_TURN && !frame.is_unprefixed() && frame.own_slot().is_none(),
    }
}

impl Router {
    /// Takes in a new command: it goes where it belongs, behind those that wait.
    pub(super) fn enter(&mut self, ticket: Box<Routed>) {
        if self.backlog.is_empty() && !is_large(ticket.frame()) {
            return self.dispatch(ticket);
        }
        if self.backlog.len() >= self.connect_params.config.max_queued() && !ticket.is_let_in() {
            return ticket.finish(Err(too_many()));
        }
        self.backlog.waiting.push_back(ticket);
    }

    /// Handles the commands of one turn. The others are left for the next one.
    pub(super) fn poll_backlog(&mut self) {
        let mut left = PER_TURN;
        while left > 0 {
            if let Some(split) = self.backlog.split.take() {
                left = left.saturating_sub(self.go_on(split, left));
                continue;
            }
            let Some(ticket) = self.backlog.waiting.pop_front() else { break };
            if ticket.is_abandoned() {
                continue;
            }
            self.backlog.split = match (is_large(ticket.frame()), ticket.frame().is_unit()) {
                (true, true) => Some(Split::Elements(ticket, PipelineSlots::default(), 0)),
                (true, false) => match KeySplit::of(ticket.frame()) {
                    Some(keys) => Some(Split::Keys(ticket, keys)),
                    None => {
                        left = 0;
                        self.dispatch(ticket);
                        None
                    }
                },
                (false, _) => {
                    left -= 1;
                    self.dispatch(ticket);
                    None
                }
            };
        }
    }

    /// Goes on with a command, by up to about `most` keys or elements. Returns how many these were.
    fn go_on(&mut self, split: Split, most: usize) -> usize {
        match split {
            Split::Keys(ticket, keys) => self.read_keys(ticket, keys, most),
            Split::Elements(ticket, slots, at) => self.read_elements(ticket, slots, at, most),
            Split::Parts(sending, parts, at) => match sending.ended() {
                None => self.send_key_parts(sending, parts, at, most),
                Some(None) => 1,
                Some(Some(error)) => {
                    sending.gather.end_without(at, &error);
                    1
                }
            },
            Split::Pipeline(sending, frame, at) => match sending.ended() {
                None => self.send_elements(sending, &frame, at, most),
                Some(None) => 1,
                Some(Some(error)) => {
                    end_pipeline(&sending, &frame, at, &error);
                    1
                }
            },
        }
    }

    fn read_keys(&mut self, ticket: Box<Routed>, mut keys: KeySplit, most: usize) -> usize {
        match keys.read(ticket.frame(), &self.slots, most) {
            Some(false) => self.backlog.split = Some(Split::Keys(ticket, keys)),
            Some(true) => {
                let parts = keys.into_parts();
                if parts.count_keys() != ticket.frame().count_names() {
                    // Some of its names are not keys of their own.
                    self.dispatch(ticket);
                } else if let Some(slot) = parts.only_slot() {
                    self.send_to_slot(ticket, slot);
                } else {
                    let place = ReplyPlace::new(parts.len(), parts.to_merge());
                    self.backlog.split = Some(Split::Parts(Sending::new(ticket, vec![place]), parts, 0));
                }
            }
            // The reason why it cannot run is found there.
            None => self.dispatch(ticket),
        }
        most
    }

    fn send_key_parts(&mut self, sending: Sending, parts: KeyParts, mut at: usize, most: usize) -> usize {
        let (mut groups, mut keys) = (Groups::default(), 0);
        while keys < most && at < parts.len() {
            if let Some((slot, frame)) = sending.gather.with_frame(|frame| parts.part(at, frame)) {
                self.place_part(at, slot, frame, &mut groups);
            }
            keys += parts.count_keys_of(at);
            at += 1;
        }
        sending.gather.expect(groups.len());
        self.send_parts(&sending.gather, sending.route_state, &sending.like, groups);
        if at < parts.len() {
            self.backlog.split = Some(Split::Parts(sending, parts, at));
        } else {
            sending.gather.end();
        }
        keys
    }

    fn read_elements(&mut self, ticket: Box<Routed>, mut so_far: PipelineSlots, at: usize, most: usize) -> usize {
        let Some(unit) = ticket.frame().unit() else { return 1 };
        let end = unit.len().min(at + most);
        for index in at..end {
            match way_of_element(unit, index, &self.slots) {
                Ok(ElementWay::Slot(slot)) if so_far.slots.last() != Some(&slot) => so_far.slots.push(slot),
                Ok(ElementWay::Slot(_) | ElementWay::Any) => {}
                Ok(ElementWay::Several) => so_far.is_apart = true,
                Err(error) => {
                    // Nothing of it was sent.
                    ticket.finish(Err(error));
                    return most;
                }
            }
        }
        if end < unit.len() {
            self.backlog.split = Some(Split::Elements(ticket, so_far, end));
            return most;
        }
        let slots = distinct(so_far.slots);
        let node = slots.first().and_then(|slot| self.nodes.owner(*slot));
        let is_there = |slot: &u16| self.nodes.owner(*slot) == node && !self.queues.is_closed(*slot);
        match node {
            Some(node) if !so_far.is_apart && slots.iter().all(is_there) => self.send(ticket, node, slots),
            _ => {
                let frame = ticket.frame().clone();
                self.backlog.split = Some(Split::Pipeline(Sending::new(ticket, Vec::new()), frame, 0));
            }
        }
        most
    }

    fn send_elements(&mut self, sending: Sending, whole: &Frame, mut at: usize, most: usize) -> usize {
        let Some(unit) = whole.unit() else { return 1 };
        let (mut groups, mut places, mut elements) = (Groups::default(), Vec::new(), 0);
        let any = self.nodes.any();
        while elements < most && at < unit.len() {
            let keys = unit.view(at).map_or(0, |view| view.names().count());
            let frame = unit.command(at).map(|frame| frame.like(whole)).unwrap_or_default();
            let place = self.place_element(at, frame, any, &mut groups);
            places.push(place.unwrap_or_else(|error| ReplyPlace::answered(Err(error))));
            elements += keys.max(1);
            at += 1;
        }
        sending.gather.add_places(places);
        sending.gather.expect(groups.len());
        self.send_parts(&sending.gather, sending.route_state, &sending.like, groups);
        if at < unit.len() {
            self.backlog.split = Some(Split::Pipeline(sending, whole.clone(), at));
        } else {
            sending.gather.end();
        }
        elements
    }

    /// Answers what waits, because nothing is sent any more.
    pub(super) fn end_backlog(&mut self, error: &Error) {
        match self.backlog.split.take() {
            None => {}
            Some(Split::Keys(ticket, _) | Split::Elements(ticket, ..)) => ticket.finish(Err(error.clone())),
            Some(Split::Parts(sending, _, at)) => sending.gather.end_without(at, error),
            Some(Split::Pipeline(sending, frame, at)) => end_pipeline(&sending, &frame, at, error),
        }
        for ticket in std::mem::take(&mut self.backlog.waiting) {
            ticket.finish(Err(error.clone()));
        }
    }
}

/// The elements of the pipeline from this one on are not sent.
fn end_pipeline(sending: &Sending, whole: &Frame, at: usize, error: &Error) {
    let elements = whole.unit().map_or(0, |unit| unit.len());
    sending.gather.add_places((at..elements).map(|_| ReplyPlace::answered(Err(error.clone()))).collect());
    sending.gather.end();
}

#[cfg(test)]
mod tests;
