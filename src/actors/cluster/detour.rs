//! What a node did not run, by its own word or because it is gone: on to where it belongs, or later.

use std::time::Instant;

use redis::Value;

use super::Router;
use super::gather::{Gather, Place};
use super::nodes::Homeless;
use super::trip::{Returned, Routed, Trip, error_of, redirect, refusal};
use crate::actors::ticket::Pending as _;
use crate::core::{
    cluster::{
        merge::Merge,
        redirect::{self, Redirect},
    },
    lane::Deadline,
};
use crate::error::{Error, ErrorKind, Fate, Result};

/// A command that waits before it is sent elsewhere.
pub(super) struct Delayed {
    pub(super) due: Instant,
    pub(super) ticket: Box<Routed>,
    why: Error,
}

impl Router {
    /// Sends what came back where it belongs. Returns whether anything came.
    pub(super) fn take_returned(&mut self) -> bool {
        let returned = self.book.returned();
        let any = !returned.is_empty();
        for Returned { ticket, answer } in returned {
            match answer {
                Err(error) => self.redirect(ticket, error, Err),
                Ok(Value::Array(replies)) => self.redirect_unit(ticket, replies),
                other => ticket.finish(other),
            }
        }
        any
    }

    pub(super) fn redirect_unit(&mut self, ticket: Box<Routed>, replies: Vec<Value>) {
        let Some(unit) = ticket.frame().unit() else { return ticket.finish(Ok(Value::Array(replies))) };
        if unit.is_atomic() {
            let why = refusal(&replies, true).map(error_of);
            let Some(why) = why else { return ticket.finish(Ok(Value::Array(replies))) };
            return self.redirect(ticket, why, move |_| Ok(Value::Array(replies)));
        }
        // What ran, ran. The others go on one by one, in order.
        let (mut places, mut again) = (Vec::with_capacity(replies.len()), Vec::new());
        for (at, reply) in replies.into_iter().enumerate() {
            let why = redirect(&reply).map(error_of);
            match why.and_then(|why| Some((why, unit.command(at)?))) {
                Some((why, frame)) => {
                    again.push((at, frame.like(ticket.frame()), why));
                    places.push(Place::new(1, Merge::Only));
                }
                None => places.push(Place::answered(reply)),
            }
        }
        let trip = Trip { slot: None, asking: false, ..ticket.trip };
        let gather = Gather::new(ticket, places, again.len());
        for (at, frame, why) in again {
            let part = gather.part(frame, vec![(at, 0)]);
            self.redirect(Routed::part(part, trip, &self.book), why, Err);
        }
    }

    /// A node did not run it: sends it where that node says, or somewhere else later. After too many of these it gets
    /// `answer`.
    pub(super) fn redirect(
        &mut self,
        mut ticket: Box<Routed>,
        why: Error,
        answer: impl FnOnce(Error) -> Result<Value>,
    ) {
        let from = self.nodes.address(ticket.trip.node);
        let Some(redirect) = from.and_then(|from| redirect::of_error(&why, from)) else {
            return ticket.finish(answer(why));
        };
        let Some(pause) = ticket.trip.pause(&redirect) else {
            return ticket.finish(answer(why));
        };
        let now = Instant::now();
        ticket.trip.asking = false;
        match &redirect {
            Redirect::Moved { slot, to } => {
                if self.map.owner(*slot) != Some(to) {
                    self.map.moved(*slot, to);
                    self.nodes.moved(*slot, to);
                    // Before any page or link of the new owner: who walks or watches has to know it is another one.
                    self.announce();
                    self.refresh.wanted(now);
                }
                if pause.is_zero() {
                    ticket.trip.count(&redirect);
                    return self.dispatch(ticket);
                }
            }
            Redirect::Ask { to } => {
                if pause.is_zero() {
                    ticket.trip.count(&redirect);
                    ticket.trip.asking = true;
                    let node = self.nodes.ensure(to);
                    return self.send(ticket, node);
                }
            }
            Redirect::TryAgain => {}
            Redirect::Down => self.refresh.wanted(now),
        }
        self.later(ticket, &redirect, why);
    }

    pub(super) fn later(&mut self, mut ticket: Box<Routed>, redirect: &Redirect, why: Error) {
        let Some(pause) = ticket.trip.pause(redirect) else { return ticket.finish(Err(why)) };
        if self.delayed.len() >= self.recipe.config.max_queued() {
            let words = "too many commands wait for the cluster; send fewer at once or raise max_queued";
            return ticket.finish(Err(Error::new(ErrorKind::Overloaded, Fate::NotSent, words)));
        }
        ticket.trip.count(redirect);
        let due = (Instant::now() + pause).min(ticket.trip.deadline.at());
        self.delayed.push(Delayed { due, ticket, why });
    }

    /// Sends what has waited for long enough.
    pub(super) fn wake_delayed(&mut self, now: Instant) {
        let due: Vec<_> = self.delayed.extract_if(.., |delayed| delayed.due <= now).collect();
        for Delayed { ticket, why, .. } in due {
            if ticket.trip.deadline.at() <= now {
                let words = format!("the cluster did not run it in time: {why}");
                ticket.finish(Err(Error::new(ErrorKind::Timeout, Fate::NotSent, words)));
            } else {
                self.dispatch(ticket);
            }
        }
    }

    /// Nobody owns its slot, so far as is known.
    pub(super) fn nobody(&mut self, ticket: Box<Routed>) {
        let why = Error::server("CLUSTERDOWN", Some("no node owns the slot"));
        self.refresh.wanted(Instant::now());
        self.later(ticket, &Redirect::Down, why);
    }

    /// Sends on what waited at a node where it does not belong any more.
    pub(super) fn resend(&mut self, homeless: Homeless) {
        for (ticket, deadline, may_have_run) in homeless {
            let mut ticket = Routed::of(ticket)
                .unwrap_or_else(|ticket| Routed::part(ticket, Trip::new(Deadline::Own(deadline.at())), &self.book));
            ticket.trip.may_have_run |= may_have_run;
            ticket.trip.asking = false;
            ticket.trip.deadline = Deadline::Own(deadline.at());
            self.dispatch(ticket);
        }
    }
}
