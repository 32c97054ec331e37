//! Whether a node has refused a script, or the script has run and has written that answer itself.
//!
//! CLUSTERDOWN and TRYAGAIN do not come from the command that is refused only: the node refuses every command of these keys. So it
//! is asked with the same keys and a command that changes nothing, which confirms the refusal of a script, a function or a module
//! command, or contradicts it. For a script this is EVAL as well: its user has the right to run it, and what the node refuses of
//! scripts it refuses of this one.

use std::any::Any;
use std::task::{Context, Poll};
use std::time::Instant;

use redis::Value;

use super::Router;
use super::routed_request::Routed;
use crate::cluster::redirect::Redirect;
use crate::cluster::slot_queue::SendOrder;
use crate::connection::deadline_queue::Deadline;
use crate::connection::request::{BoxedTicket, Pending};
use crate::error::{Error, Fate, Result};
use crate::frame::Frame;

/// A question that is on its way, for the order of its slot.
pub(super) struct OpenQuestion {
    slot: u16,
    order: SendOrder,
    until: Instant,
    /// A command that was sent later has run.
    is_overtaken: bool,
}

/// What the router does with a refused command.
pub(super) enum Belief {
    /// It was refused: it is sent again.
    True(Box<Routed>),
    /// It waits for the answer to a question, or was answered.
    Settled,
}

impl Router {
    /// Asks the node that has refused a command, which must not run twice, whether that is true.
    pub(super) fn check_refusal(&mut self, mut ticket: Box<Routed>, why: &Error, redirect: &Redirect) -> Belief {
        match ticket.route_state.confirmed.take() {
            Some(true) if !self.take_overtaken(&ticket) => return Belief::True(ticket),
            Some(true) => ticket.finish(Err(why.clone().with_fate(Fate::Rejected))),
            Some(false) => ticket.finish(Err(why.clone().with_fate(Fate::Unknown))),
            None => self.ask_about(ticket, why, redirect),
        }
        Belief::Settled
    }

    fn ask_about(&mut self, mut ticket: Box<Routed>, why: &Error, redirect: &Redirect) {
        let keys: Vec<_> = ticket.frame().view().keys().map(<[u8]>::to_vec).collect();
        let Some(slot) = self.slot_of(&ticket).filter(|_| !keys.is_empty()) else {
            // Nodes refuse no command without keys so.
            return ticket.finish(Err(why.clone().with_fate(Fate::Unknown)));
        };
        let (now, until) = (Instant::now(), ticket.route_state.deadline.at());
        if *redirect == Redirect::Down {
            // What comes for the slot waits, as behind any command that was refused.
            self.close_slot(slot, now);
        }
        self.questions.retain(|question| question.until > now);
        self.questions.push(OpenQuestion { slot, order: ticket.route_state.order, until, is_overtaken: false });
        ticket.enter(std::iter::once(slot).collect());
        let node = ticket.route_state.node;
        let is_script = ticket.frame().name().starts_with("EVAL");
        let question =
            if is_script { Frame::known("EVAL").arg("return 0").arg(keys.len()) } else { Frame::known("EXISTS") };
        let frame = question.keys(keys).read_only().own();
        let question = Box::new(Question { asked: ticket, why: why.clone(), frame });
        if let Some(question) = self.nodes.submit(node, question, Deadline::Own(until)) {
            question.complete(Err(super::nodes::cause_of_leaving().error(Fate::NotSent)));
        }
    }

    /// A command of this slot and order has run.
    pub(super) fn note_overtaken(&mut self, slot: u16, order: SendOrder) {
        for question in self.questions.iter_mut().filter(|question| question.slot == slot && question.order < order) {
            question.is_overtaken = true;
        }
    }

    /// Whether a later command of its slot has run since the question about this one was asked.
    fn take_overtaken(&mut self, ticket: &Routed) -> bool {
        let is_its = |question: &mut OpenQuestion| {
            Some(question.slot) == ticket.route_state.slot && question.order == ticket.route_state.order
        };
        let question = self.questions.extract_if(.., is_its).last();
        question.is_some_and(|question| question.is_overtaken)
    }
}

/// See the module.
struct Question {
    asked: Box<Routed>,
    /// The answer of the command.
    why: Error,
    frame: Frame,
}

impl Pending for Question {
    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn is_abandoned(&self) -> bool {
        self.asked.is_abandoned()
    }

    fn is_let_in(&self) -> bool {
        true
    }

    /// As the command was, or the node would answer something else.
    fn is_asking(&self) -> bool {
        self.asked.is_asking()
    }

    fn into_routed(self: Box<Self>) -> Result<Box<dyn Any>, BoxedTicket> {
        Err(self)
    }

    fn left_node(&mut self) {
        self.asked.left_node();
    }

    fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.asked.poll_abandoned(cx)
    }

    fn deliver(self: Box<Self>, outcome: Result<Value>) -> bool {
        let Self { mut asked, why, .. } = *self;
        asked.route_state.confirmed = Some(outcome.is_err_and(|error| error.code() == why.code()));
        asked.go_back(Err(why));
        true
    }
}
