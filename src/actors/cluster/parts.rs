//! Commands and pipelines that go to several nodes, each part its own way.

use super::Router;
use super::gather::{Gather, Place};
use super::trip::{Routed, Trip};
use crate::actors::ticket::Pending as _;
use crate::core::cluster::{
    merge::Merge,
    route::{Route, route},
};
use crate::frame::Frame;

/// What goes to one node together, and where in the answer each reply belongs.
type Group = (usize, Vec<Frame>, Vec<(usize, usize)>);

impl Router {
    pub(super) fn scatter(&mut self, ticket: Box<Routed>, parts: Vec<(u16, Frame)>, merge: Merge) {
        let trip = ticket.trip;
        let gather = Gather::new(ticket, vec![Place::new(parts.len(), merge)], parts.len());
        for (nth, (slot, frame)) in parts.into_iter().enumerate() {
            let part = gather.part(frame, vec![(0, nth)]);
            self.send_to_slot(Routed::part(part, Trip { slot: None, asking: false, ..trip }, &self.book), slot);
        }
    }

    /// Takes a pipeline apart: what goes to one node goes there together.
    pub(super) fn scatter_pipeline(&mut self, ticket: Box<Routed>) {
        let Some(unit) = ticket.frame().unit() else { return };
        let mut places = Vec::with_capacity(unit.len());
        let mut groups: Vec<Group> = Vec::new();
        let mut alone = Vec::new();
        let any = self.nodes.any();
        for at in 0..unit.len() {
            let Some(frame) = unit.command(at).map(|frame| frame.like(ticket.frame())) else { continue };
            let slots = match route(&frame, &self.slots) {
                Ok(Route::Slot(slot)) => (vec![(slot, frame)], Merge::Only),
                Ok(Route::Parts(parts, merge)) => (parts, merge),
                Ok(Route::Primaries(merge)) => {
                    let slots = self.nodes.first_slots();
                    (slots.into_iter().map(|slot| (slot, frame.clone().on_slot(slot))).collect(), merge)
                }
                Ok(Route::Any | Route::Each) => {
                    let slot = any.and_then(|any| self.nodes.first_slot(any)).unwrap_or(0);
                    (vec![(slot, frame)], Merge::Only)
                }
                Err(error) => return ticket.finish(Err(error)),
            };
            let (parts, merge) = slots;
            places.push(Place::new(parts.len(), merge));
            for (nth, (slot, frame)) in parts.into_iter().enumerate() {
                let place = (at, nth);
                match self.nodes.owner(slot) {
                    None => alone.push((slot, frame, place)),
                    Some(node) => match groups.iter_mut().find(|(known, ..)| *known == node) {
                        Some((_, frames, places)) => {
                            frames.push(frame);
                            places.push(place);
                        }
                        None => groups.push((node, vec![frame], vec![place])),
                    },
                }
            }
        }
        let trip = Trip { slot: None, asking: false, ..ticket.trip };
        let (like, hold) = (Frame::default().like(ticket.frame()), groups.len() + alone.len());
        let gather = Gather::new(ticket, places, hold);
        for (node, frames, places) in groups {
            let part = gather.part(Frame::join(frames).like(&like), places);
            self.send(Routed::part(part, trip, &self.book), node);
        }
        for (slot, frame, place) in alone {
            let part = gather.part(frame, vec![place]);
            self.send_to_slot(Routed::part(part, trip, &self.book), slot);
        }
    }
}
