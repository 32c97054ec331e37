//! A command in parts: each goes its own way, and the last one to come back brings the answer.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use redis::Value;

use super::trip::Routed;
use crate::actors::ticket::{BoxedTicket, Pending};
use crate::core::cluster::merge::Merge;
use crate::error::{Error, Fate, Result};
use crate::frame::Frame;

/// One place in the answer: of a pipeline, that of one of its commands.
pub(super) struct Place {
    /// What the parts of this place have answered.
    replies: Vec<Value>,
    merge: Merge,
}

impl Place {
    pub(super) fn new(parts: usize, merge: Merge) -> Self {
        Self { replies: vec![Value::Nil; parts], merge }
    }

    /// A place whose answer is known.
    pub(super) fn answered(reply: Value) -> Self {
        Self { replies: vec![reply], merge: Merge::Only }
    }
}

struct Whole {
    asked: Option<Box<Routed>>,
    places: Vec<Place>,
    left: usize,
    failed: Option<Error>,
    /// Some of it ran, or may have.
    ran: bool,
}

/// What the parts of one command share.
#[derive(Clone)]
pub(super) struct Gather(Arc<Mutex<Whole>>);

impl Gather {
    /// `asked` is answered when so many parts have come back.
    pub(super) fn new(asked: Box<Routed>, places: Vec<Place>, parts: usize) -> Self {
        let ran = places.iter().any(|place| place.merge == Merge::Only && place.replies != [Value::Nil]);
        Self(Arc::new(Mutex::new(Whole { asked: Some(asked), places, left: parts, failed: None, ran })))
    }

    fn lock(&self) -> MutexGuard<'_, Whole> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part whose reply belongs to `at`: place, and number within the place. Of several, the frame is a pipeline.
    pub(super) fn part(&self, frame: Frame, at: Vec<(usize, usize)>) -> BoxedTicket {
        Box::new(Part { gather: self.clone(), frame, at })
    }

    fn came(&self, at: &[(usize, usize)], is_pipeline: bool, outcome: Result<Value>) {
        let mut whole = self.lock();
        whole.left = whole.left.saturating_sub(1);
        match outcome {
            Ok(value) => {
                whole.ran = true;
                let values = match value {
                    Value::Array(values) if is_pipeline => values,
                    value => vec![value],
                };
                for ((place, number), value) in at.iter().zip(values) {
                    whole.put(*place, *number, value);
                }
            }
            Err(error) if error.code().is_some() => match (server_error(&error), at) {
                (Some(value), [(place, number)]) => whole.put(*place, *number, value),
                _ => whole.fail(error),
            },
            Err(error) => whole.fail(error),
        }
        if whole.left > 0 {
            return;
        }
        let Some(asked) = whole.asked.take() else { return };
        let outcome = whole.outcome(asked.frame());
        drop(whole);
        asked.finish(outcome);
    }
}

impl Whole {
    fn put(&mut self, place: usize, number: usize, value: Value) {
        if let Some(gap) = self.places.get_mut(place).and_then(|place| place.replies.get_mut(number)) {
            *gap = value;
        }
    }

    fn fail(&mut self, error: Error) {
        self.ran |= error.fate() == Fate::Unknown;
        self.failed.get_or_insert(error);
    }

    fn outcome(&mut self, frame: &Frame) -> Result<Value> {
        // Repeating the whole would run once more what ran already.
        let fate = |error: Error, ran: bool| {
            if ran && !frame.is_repeatable() { error.with_fate(Fate::Unknown) } else { error }
        };
        if let Some(error) = self.failed.take() {
            return Err(fate(error, self.ran));
        }
        let mut values = self.places.iter_mut().map(|place| {
            let parts = place.replies.len();
            (place.merge.apply(std::mem::take(&mut place.replies)), parts)
        });
        if frame.is_unit() {
            return Ok(Value::Array(values.map(|(value, _)| value).collect()));
        }
        match values.next() {
            Some((Value::ServerError(error), parts)) => Err(fate(super::trip::error_of(&error), self.ran && parts > 1)),
            Some((value, _)) => Ok(value),
            None => Ok(Value::Nil),
        }
    }
}

/// The error as a server would have written it, so that it can stand among the replies of a pipeline.
fn server_error(error: &Error) -> Option<Value> {
    let line = format!("-{} {}\r\n", error.code()?, error.message().replace(['\r', '\n'], " "));
    redis::parse_redis_value(line.as_bytes()).ok()
}

/// One part.
struct Part {
    gather: Gather,
    frame: Frame,
    at: Vec<(usize, usize)>,
}

impl Pending for Part {
    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn is_abandoned(&self) -> bool {
        self.gather.lock().asked.as_ref().is_none_or(|asked| asked.is_abandoned())
    }

    /// Whoever let the whole in has let in its parts.
    fn is_let_in(&self) -> bool {
        true
    }

    fn into_kept(self: Box<Self>) -> Result<Box<dyn Any>, BoxedTicket> {
        Err(self)
    }

    fn poll_abandoned(&mut self, _: &mut Context<'_>) -> Poll<()> {
        // Whoever asked for the whole is asked.
        Poll::Pending
    }

    fn deliver(self: Box<Self>, outcome: Result<Value>) -> bool {
        self.gather.came(&self.at, self.frame.is_unit(), outcome);
        true
    }
}
