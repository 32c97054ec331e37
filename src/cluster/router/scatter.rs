//! Commands and pipelines that go to several nodes, each part its own way.

use std::collections::HashMap;

use super::Router;
use super::gather::{Gather, ReplyPlace};
use super::routed_request::Routed;
use crate::cluster::merge::Merge;
use crate::cluster::route::{Route, SlotList, distinct, route};
use crate::connection::request::Pending as _;
use crate::frame::Frame;

/// Where a part goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum To {
    Node(usize),
    /// Alone: the slot is closed, or nobody owns it.
    Slot(u16),
}

/// What goes to one node together.
#[derive(Default)]
struct Group {
    frames: Vec<Frame>,
    /// Where in the answer each reply belongs.
    places: Vec<(usize, usize)>,
    slots: SlotList,
}

/// The groups in the order in which their first commands come.
#[derive(Default)]
struct Groups {
    groups: Vec<(To, Group)>,
    of_node: HashMap<usize, usize>,
}

impl Groups {
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
        let mut places = Vec::with_capacity(unit.len());
        let mut groups = Groups::default();
        let any = self.nodes.any();
        for at in 0..unit.len() {
            let Some(frame) = unit.command(at).map(|frame| frame.like(ticket.frame())) else { continue };
            let (parts, merge) = match route(&frame, &self.slots) {
                Ok(Route::Slot(slot)) => {
                    places.push(ReplyPlace::new(1, Merge::Only));
                    groups.push(self.way_to(slot), frame, (at, 0), Some(slot));
                    continue;
                }
                Ok(way @ (Route::Any | Route::Each | Route::Prefer(_))) => {
                    let preferred = match way {
                        Route::Prefer(slot) => self.nodes.prefer(slot),
                        _ => any,
                    };
                    places.push(ReplyPlace::new(1, Merge::Only));
                    groups.push(preferred.map_or(To::Slot(0), To::Node), frame, (at, 0), None);
                    continue;
                }
                Ok(Route::Scattered(parts, merge)) => (parts, merge),
                Ok(Route::Primaries(merge)) => {
                    let slots = self.nodes.first_slots();
                    (slots.iter().map(|slot| (*slot, frame.clone().on_slot(*slot))).collect(), merge)
                }
                Err(error) => return ticket.finish(Err(error)),
            };
            places.push(ReplyPlace::new(parts.len(), merge));
            for (nth, (slot, frame)) in parts.into_iter().enumerate() {
                groups.push(self.way_to(slot), frame, (at, nth), Some(slot));
            }
        }
        self.send_groups(ticket, places, groups);
    }

    fn way_to(&self, slot: u16) -> To {
        let owner = self.nodes.owner(slot).filter(|_| !self.queues.is_closed(slot));
        owner.map_or(To::Slot(slot), To::Node)
    }

    fn send_groups(&mut self, ticket: Box<Routed>, places: Vec<ReplyPlace>, groups: Groups) {
        let Groups { groups, .. } = groups;
        if groups.is_empty() {
            // All primaries are meant, and none is known.
            return self.no_node_error(ticket);
        }
        let route_state = ticket.route_state;
        let like = Frame::default().like(ticket.frame());
        let gather = Gather::new(ticket, places, groups.len());
        for (to, Group { mut frames, places, slots }) in groups {
            let frame = match frames.pop() {
                // Of several, a pipeline; alone it need not be one.
                Some(only) if frames.is_empty() => only,
                Some(last) => Frame::join(frames.into_iter().chain([last])).like(&like),
                None => continue,
            };
            // Elements of one slot are in one group, or each in one of its own because the slot is closed.
            let route_state = route_state.of_element(places.first().map_or(0, |(at, _)| *at));
            let part = Routed::part(gather.part(frame, places), route_state, &self.book);
            match (to, &*slots) {
                (To::Slot(slot), _) => self.send_to_slot(part, slot),
                (To::Node(_), [slot]) if !part.frame().is_unit() => self.send_to_slot(part, *slot),
                (To::Node(node), _) => self.send(part, node, distinct(slots)),
            }
        }
    }
}
