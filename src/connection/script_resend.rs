//! Scripts that a server did not know are sent again with their source.
//!
//! A script can write the server's NOSCRIPT itself, after it has run. So a link that answers NOSCRIPT is asked with SCRIPT EXISTS
//! first: a script that the server has was executed, and is not sent again. A command that may run twice needs no such question.

use std::any::Any;
use std::task::{Context, Poll};

use redis::Value;

use super::request::{BoxedTicket, Pending};
use super::verdict::{CommandFacts, ServerRefusal, not_run};
use crate::error::{Error, Fate, Result};
use crate::frame::{Frame, UnknownScript};

/// A command, or some commands of a pipeline, that a server refused for a script that it does not know.
pub(crate) struct ResendWithSources {
    asked: BoxedTicket,
    /// What is sent next.
    frame: Frame,
    /// What the server replied to all of it.
    answer: Value,
    step: Step,
}

enum Step {
    /// The link with this number is asked whether it has the scripts.
    Checking { link: u64, unknown: Vec<UnknownScript> },
    /// A command of its own is sent with its source.
    Alone,
    /// The commands at these positions of a pipeline are sent with their sources.
    Parts(Vec<usize>),
}

impl ResendWithSources {
    /// The ticket in a new one, if it has to be sent once more; else the ticket and its answer. `link` is the number of the
    /// link that answered.
    ///
    /// # Errors
    /// The ticket and its answer, if that is final.
    pub(crate) fn of(
        mut asked: BoxedTicket,
        answer: Value,
        link: u64,
    ) -> std::result::Result<BoxedTicket, (BoxedTicket, Value)> {
        if let Some(is_sent_again) = asked.scripts_checked(&answer, link) {
            return if is_sent_again { Ok(asked) } else { Err((asked, answer)) };
        }
        let unknown = asked.frame().unknown_scripts(&answer, is_unknown_script);
        if unknown.is_empty() {
            return Err((asked, answer));
        }
        let (frame, step) = match asked.frame().is_repeatable() {
            true => with_sources(asked.frame().is_unit(), &unknown),
            false => (Frame::join([exists(&unknown)]).like(asked.frame()), Step::Checking { link, unknown }),
        };
        Ok(Box::new(Self { asked, frame, answer, step }))
    }
}

fn is_unknown_script(reply: &Value) -> bool {
    not_run(reply, CommandFacts::UNKNOWN) == Some(ServerRefusal::NoScript)
}

/// Joined, so that its reply is looked at before it is delivered.
fn exists(unknown: &[UnknownScript]) -> Frame {
    unknown.iter().fold(Frame::known("SCRIPT EXISTS"), |frame, script| frame.arg(&script.digest))
}

fn with_sources(is_unit: bool, unknown: &[UnknownScript]) -> (Frame, Step) {
    match unknown {
        [alone] if !is_unit => (alone.with_source.clone(), Step::Alone),
        _ => {
            let frames = unknown.iter().map(|script| script.with_source.clone());
            (Frame::join(frames), Step::Parts(unknown.iter().map(|script| script.position).collect()))
        }
    }
}

/// The scripts that the server does not have, according to its reply to SCRIPT EXISTS. Where it refuses the question, its NOSCRIPT
/// is believed.
fn without_known(unknown: Vec<UnknownScript>, reply: &Value) -> Vec<UnknownScript> {
    let Value::Array(replies) = reply else { return unknown };
    let Some(Value::Array(known)) = replies.first() else { return unknown };
    let is_missing = |place: usize| known.get(place) == Some(&Value::Int(0));
    unknown.into_iter().enumerate().filter(|(place, _)| is_missing(*place)).map(|(_, script)| script).collect()
}

impl Pending for ResendWithSources {
    fn into_routed(self: Box<Self>) -> std::result::Result<Box<dyn Any>, BoxedTicket> {
        // It did not run, so it is sent by its digest again, to any server.
        if matches!(self.step, Step::Alone) { self.asked.into_routed() } else { Err(self) }
    }

    fn left_node(&mut self) {
        self.asked.left_node();
    }

    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn is_abandoned(&self) -> bool {
        self.asked.is_abandoned()
    }

    fn note_may_have_run(&mut self) {
        self.frame.note_may_have_run();
        self.asked.note_may_have_run();
    }

    fn scripts_checked(&mut self, reply: &Value, link: u64) -> Option<bool> {
        let Step::Checking { link: asked, unknown } = &mut self.step else { return None };
        // What another link has says nothing of the one that answered.
        let unknown = if *asked == link { without_known(std::mem::take(unknown), reply) } else { Vec::new() };
        if unknown.is_empty() {
            return Some(false);
        }
        let (frame, step) = with_sources(self.asked.frame().is_unit(), &unknown);
        (self.frame, self.step) = (frame.like(self.asked.frame()), step);
        Some(true)
    }

    fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.asked.poll_abandoned(cx)
    }

    fn deliver(self: Box<Self>, outcome: Result<Value>) -> bool {
        let Self { asked, answer, step, .. } = *self;
        match (step, outcome) {
            // Sent with its source it needs no script that the server has: it ran, and wrote this itself.
            (Step::Alone, outcome) => asked.deliver(outcome.map_err(|error| match error.code() {
                Some("NOSCRIPT") => error.with_fate(Fate::Unknown),
                _ => error,
            })),
            (Step::Parts(positions), Ok(Value::Array(late))) => asked.deliver(Ok(merged(answer, positions, late))),
            // The server has the script, so it ran.
            (Step::Checking { .. }, Ok(_)) => match answer {
                Value::ServerError(error) => {
                    asked.deliver(Err(Error::server(error.code(), error.details()).with_fate(Fate::Unknown)))
                }
                answer => asked.deliver(Ok(answer)),
            },
            // Others of the unit ran, or it is not known whether it did.
            (_, outcome) => asked.deliver(outcome.map_err(|error| error.with_fate(Fate::Unknown))),
        }
    }
}

/// The replies to a pipeline with those that came later.
fn merged(answer: Value, positions: Vec<usize>, late: Vec<Value>) -> Value {
    let Value::Array(mut replies) = answer else { return answer };
    for (position, reply) in positions.into_iter().zip(late) {
        if let Some(refused) = replies.get_mut(position) {
            *refused = reply;
        }
    }
    Value::Array(replies)
}
