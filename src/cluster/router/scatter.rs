//! Commands and pipelines that go to several nodes, each part its own way.

use std::collections::HashMap;

use super::Router;
use super::gather::{Gather, ReplyPlace};
use super::routed_request::{Destination, RouteState, Routed};
use crate::cluster::merge::Merge;
use crate::cluster::route::{Route, SlotList, distinct, route};
use crate::connection::request::Pending as _;
use crate::error::Result;
use crate::frame::Frame;

/// Where a part goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum To {
    Node(usize),
    /// Alone: the slot is closed, or has no owner.
    Slot(u16),
}

/// What goes to one node together.
#[derive(Default)]
struct Group {
    frames: Vec<Frame>,
    /// Where in the answer each reply belongs.
    places: Vec<(usize, usize)>,
    slots: SlotList,
    /// One of them is for all primaries: the slot by which this one was found.
    found_by: Option<u16>,
}

/// The groups in the order in which their first commands come.
#[derive(Default)]
pub(super) struct Groups {
    groups: Vec<(To, Group)>,
    of_node: HashMap<usize, usize>,
}

impl Groups {
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    fn push(&mut self, to: To, frame: Frame, place: (usize, usize), slot: Option<u16>) {
        let at = match to {
            To::Slot(_) => self.groups.len(),
            To::Node(node) => *self.of_node.entry(node).or_insert(self.groups.len()),
        };
        if at == self.groups.len() {
            self.groups.push((to, Group::default()));
        }
        let Some((_, group)) = self.groups.get_mut(at) else { return };
        group.frames.push(frame);
        group.places.push(place);
        if slot.is_some() && group.slots.last().copied() != slot {
            group.slots.extend(slot);
        }
    }
}

impl Router {
    /// Sends a command to all primaries.
    pub(super) fn send_to_primaries(&mut self, ticket: Box<Routed>, merge: Merge) {
        let (frame, mut groups) = (ticket.frame().clone(), Groups::default());
        let parts = self.place_at_primaries(0, &frame, &mut groups);
        self.send_groups(ticket, vec![ReplyPlace::new(parts, merge)], groups);
    }

    /// Puts the element at this index into the groups of all primaries, and returns how many these are. It has no keys, so it
    /// waits for no slot, and goes to each of these nodes whatever becomes of their slots.
    fn place_at_primaries(&mut self, at: usize, frame: &Frame, groups: &mut Groups) -> usize {
        let slots = self.nodes.first_slots();
        for (nth, slot) in slots.iter().copied().enumerate() {
            let to = self.nodes.owner(slot).map_or(To::Slot(slot), To::Node);
            groups.push(to, frame.clone().on_slot(slot), (at, nth), None);
            if let To::Node(node) = to
                && let Some(group) = groups.of_node.get(&node).and_then(|at| groups.groups.get_mut(*at))
            {
                group.1.found_by = Some(slot);
            }
        }
        slots.len()
    }

    /// Takes a command apart: those parts that go to one node go there together.
    pub(super) fn scatter(&mut self, ticket: Box<Routed>, parts: Vec<(u16, Frame)>, merge: Merge) {
        let places = vec![ReplyPlace::new(parts.len(), merge)];
        let mut groups = Groups::default();
        for (nth, (slot, frame)) in parts.into_iter().enumerate() {
            groups.push(self.way_to(slot), frame, (0, nth), Some(slot));
        }
        self.send_groups(ticket, places, groups);
    }

    /// Takes a pipeline apart: what goes to one node goes there together.
    pub(super) fn scatter_pipeline(&mut self, ticket: Box<Routed>) {
        let Some(unit) = ticket.frame().unit() else { return };
        let (mut places, mut groups) = (Vec::with_capacity(unit.len()), Groups::default());
        let any = self.nodes.any();
        for at in 0..unit.len() {
            let Some(frame) = unit.command(at).map(|frame| frame.like(ticket.frame())) else { continue };
            match self.place_element(at, frame, any, &mut groups) {
                Ok(place) => places.push(place),
                Err(error) => return ticket.finish(Err(error)),
            }
        }
        self.send_groups(ticket, places, groups);
    }

    /// Puts the element at this index of a pipeline into the groups of its nodes; `any` is the node for what any can do.
    pub(super) fn place_element(
        &mut self,
        at: usize,
        frame: Frame,
        any: Option<usize>,
        groups: &mut Groups,
    ) -> Result<ReplyPlace> {
        let (parts, merge) = match route(&frame, &self.slots)? {
            Route::Slot(slot) => {
                groups.push(self.way_to(slot), frame, (at, 0), Some(slot));
                return Ok(ReplyPlace::new(1, Merge::Only));
            }
            way @ (Route::Any | Route::Each | Route::Prefer(_)) => {
                let preferred = match way {
                    Route::Prefer(slot) => self.nodes.prefer(slot),
                    _ => any,
                };
                groups.push(preferred.map_or(To::Slot(0), To::Node), frame, (at, 0), None);
                return Ok(ReplyPlace::new(1, Merge::Only));
            }
            Route::Scattered(parts, merge) => (parts, merge),
            Route::Primaries(merge) => {
                let parts = self.place_at_primaries(at, &frame, groups);
                return Ok(ReplyPlace::new(parts, merge));
            }
        };
        let place = ReplyPlace::new(parts.len(), merge);
        for (nth, (slot, frame)) in parts.into_iter().enumerate() {
            groups.push(self.way_to(slot), frame, (at, nth), Some(slot));
        }
        Ok(place)
    }

    /// Puts a part of a command of many keys into the group of its node.
    pub(super) fn place_part(&self, nth: usize, slot: u16, frame: Frame, groups: &mut Groups) {
        groups.push(self.way_to(slot), frame, (0, nth), Some(slot));
    }

    fn way_to(&self, slot: u16) -> To {
        let owner = self.nodes.owner(slot).filter(|_| !self.queues.is_closed(slot));
        owner.map_or(To::Slot(slot), To::Node)
    }

    fn send_groups(&mut self, ticket: Box<Routed>, places: Vec<ReplyPlace>, groups: Groups) {
        if groups.len() == 0 {
            // All primaries are meant, and none is known.
            return self.no_node_error(ticket);
        }
        let route_state = ticket.route_state;
        let like = Frame::default().like(ticket.frame());
        let gather = Gather::new(ticket, places, groups.len());
        self.send_parts(&gather, route_state, &like, groups);
    }

    /// Sends groups of parts of one command. `like` has the options of the whole.
    pub(super) fn send_parts(&mut self, gather: &Gather, route_state: RouteState, like: &Frame, groups: Groups) {
        for (to, Group { mut frames, places, slots, found_by }) in groups.groups {
            let frame = match frames.pop() {
                // Of several, a pipeline; alone it need not be one.
                Some(only) if frames.is_empty() => only,
                Some(last) => Frame::join(frames.into_iter().chain([last])).like(like),
                None => continue,
            };
            // Elements of one slot are in one group, or each in one of its own because the slot is closed.
            let mut route_state = route_state.of_element(places.first().map_or(0, |(at, _)| *at));
            route_state.destination = match to {
                To::Node(node) => found_by.map(|slot| Destination { node, slot }),
                To::Slot(_) => None,
            };
            let part = Routed::part(gather.part(frame, places), route_state, &self.book);
            match (to, &*slots) {
                (To::Slot(slot), _) => self.send_to_slot(part, slot),
                (To::Node(_), [slot]) if !part.frame().is_unit() && found_by.is_none() => {
                    self.send_to_slot(part, *slot)
                }
                (To::Node(node), _) => self.send(part, node, distinct(slots)),
            }
        }
    }
}
