//! Commands at a node that does not own their slot yet: ASKING goes before each of them.

use std::{
    any::Any,
    task::{Context, Poll},
};

use redis::Value;

use crate::connection::request::{BoxedTicket, Pending};
use crate::error::Result;
use crate::frame::Frame;

/// A ticket whose command is sent behind ASKING.
pub(crate) struct Asking {
    ticket: BoxedTicket,
    /// A pipeline with ASKING before each of its commands: the server forgets it after one. A transaction needs one for all.
    pipeline: Option<Frame>,
}

impl Asking {
    pub(crate) fn of(ticket: BoxedTicket) -> BoxedTicket {
        let frame = ticket.frame();
        let pipeline = frame.unit().filter(|unit| !unit.is_atomic()).map(|unit| {
            let commands = (0..unit.len()).filter_map(|index| unit.command(index));
            let asking = commands.flat_map(|command| [Frame::known("ASKING"), command]);
            Frame::join(asking).like(frame).pinned()
        });
        Box::new(Self { ticket, pipeline })
    }
}

impl Pending for Asking {
    fn frame(&self) -> &Frame {
        self.pipeline.as_ref().unwrap_or_else(|| self.ticket.frame())
    }

    fn is_abandoned(&self) -> bool {
        self.ticket.is_abandoned()
    }

    fn is_let_in(&self) -> bool {
        self.ticket.is_let_in()
    }

    fn is_asking(&self) -> bool {
        self.pipeline.is_none()
    }

    fn into_routed(self: Box<Self>) -> Result<Box<dyn Any>, BoxedTicket> {
        Err(self)
    }

    fn note_may_have_run(&mut self) {
        self.ticket.note_may_have_run();
    }

    fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ticket.poll_abandoned(cx)
    }

    fn deliver(self: Box<Self>, outcome: Result<Value>) -> bool {
        let outcome = match outcome {
            // Each reply to ASKING stands before that of its command.
            Ok(Value::Array(replies)) if self.pipeline.is_some() => {
                Ok(Value::Array(replies.into_iter().skip(1).step_by(2).collect()))
            }
            outcome => outcome,
        };
        self.ticket.deliver(outcome)
    }
}
