//! A model of a connection: a link reduced to its count of bytes, and a server that runs what it has seen whole.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    rc::Rc,
    time::{Duration, Instant},
};

use redis::Value;

use super::super::settle::Settlement;
use super::super::{Admission, Limits, Queueable, RefusalPolicy};
use crate::connection::deadline_queue::Deadline;
use crate::connection::verdict::{CommandFacts, final_error, verdict};
use crate::error::{Error, ErrorKind, Fate};
use crate::events::{Cause, CauseKind, ConnectionState};
use crate::frame::{Frame, Unit};

pub(super) type Outcomes = Rc<RefCell<BTreeMap<u32, Vec<Result<Value, Error>>>>>;

/// A command that writes down how it was answered.
pub(super) struct Probe {
    pub(super) id: u32,
    pub(super) frame: Frame,
    pub(super) abandoned: bool,
    pub(super) outcomes: Outcomes,
}

impl Queueable for Probe {
    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    fn note_may_have_run(&mut self) {
        self.frame.note_may_have_run();
    }

    fn complete(self, outcome: Result<Value, Error>) {
        let outcome = outcome.map_err(|error| final_error(&self.frame, error));
        self.outcomes.borrow_mut().entry(self.id).or_default().push(outcome);
    }
}

pub(super) fn limits() -> Limits {
    Limits {
        in_flight: 8,
        in_flight_bytes: 4096,
        queued: 8,
        queued_bytes: 4096,
        lost_links: 3,
        timeout: Duration::from_secs(5),
        queued_time: None,
        time_limit: RefusalPolicy::All,
    }
}

/// What the server does with the commands that reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// It runs them.
    Ready,
    /// It runs none of them, in its own words.
    Refuses(&'static str),
    /// It runs them, and they answer with a code of the server.
    RunsAndAnswers(&'static str),
    /// It runs them, and scripts answer with the very text of a server.
    RunsAndForges(&'static str),
}

/// A link reduced to its count of bytes, and a server that runs what it has seen whole.
pub(super) struct LinkModel {
    pub(super) admission: Admission<Probe>,
    pub(super) outcomes: Outcomes,
    pub(super) now: Instant,
    pub(super) encoded: u64,
    pub(super) written: u64,
    pub(super) up: bool,
    pub(super) next_id: u32,
    pub(super) on_link: Vec<OnLink>,
    pub(super) runs: BTreeMap<(u32, Part), u32>,
    pub(super) sent_order: Vec<u32>,
    pub(super) server: Server,
    /// Of the transaction that the server is in the middle of: whether a command of it was refused.
    pub(super) multi: Option<bool>,
    /// What it answers to the commands that it has seen on this link, and in which order it ran commands.
    pub(super) answers: VecDeque<Value>,
    pub(super) run_order: Vec<(u32, Part)>,
    /// The commands that are scripts.
    pub(super) scripts: BTreeSet<u32>,
}

/// What the server sees of a frame: a command, or one of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Multi,
    Command(u64),
    Exec,
    Ping,
}

/// A command in the stream of bytes, up to `end`.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnLink {
    pub(super) id: u32,
    pub(super) part: Part,
    pub(super) end: u64,
}

pub(super) const SIZE: u64 = 10;
pub(super) const LOADING: Server = Server::Refuses("LOADING Redis is loading the dataset in memory");

pub(super) fn error(line: &str) -> Value {
    redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("an error")
}

impl LinkModel {
    pub(super) fn new() -> Self {
        Self {
            admission: Admission::new(limits()),
            outcomes: Outcomes::default(),
            now: Instant::now(),
            encoded: 0,
            written: 0,
            up: false,
            next_id: 0,
            on_link: Vec::new(),
            runs: BTreeMap::new(),
            sent_order: Vec::new(),
            server: Server::Ready,
            multi: None,
            answers: VecDeque::new(),
            run_order: Vec::new(),
            scripts: BTreeSet::new(),
        }
    }

    pub(super) fn state(&self) -> ConnectionState {
        if self.up { ConnectionState::Ready } else { ConnectionState::Backoff }
    }

    pub(super) fn submit(&mut self, frame: Frame) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        if frame.name() == "EVAL" {
            self.scripts.insert(id);
        }
        let probe = Probe { id, frame, abandoned: false, outcomes: self.outcomes.clone() };
        let deadline = self.admission.deadline(&probe.frame, self.now);
        self.submit_by(probe, deadline);
        id
    }

    /// As the driver does it.
    pub(super) fn submit_by(&mut self, probe: Probe, deadline: Deadline) {
        if self.up && self.admission.may_send(probe.frame.size()) {
            let span = self.encode(probe.id, &probe.frame);
            self.admission.sent(probe, deadline, span);
        } else {
            self.admission.enqueue(probe, deadline, self.state());
        }
    }

    pub(super) fn encode(&mut self, id: u32, frame: &Frame) -> Range<u64> {
        let (start, replies) = (self.encoded, frame.expected_replies() as u64);
        self.encoded += SIZE;
        let in_transaction = frame.unit().is_some_and(Unit::is_atomic);
        for nth in 0..replies {
            let part = match nth {
                0 if in_transaction => Part::Multi,
                _ if in_transaction && nth + 1 == replies => Part::Exec,
                _ => Part::Command(nth),
            };
            self.on_link.push(OnLink { id, part, end: start + SIZE * (nth + 1) / replies });
        }
        self.sent_order.push(id);
        start..self.encoded
    }

    pub(super) fn release(&mut self) {
        while self.up
            && let Some(next) = self.admission.next_to_send(self.now)
        {
            let id = next.queued.ticket.id;
            let span = self.encode(id, next.frame());
            self.admission.sent_from_queue(next, span);
        }
        if self.admission.take_question() {
            self.ping();
        }
    }

    /// The socket takes up to `bytes`; the server runs whatever is whole.
    pub(super) fn write(&mut self, bytes: u64) {
        let before = self.written;
        self.written = (self.written + bytes).min(self.encoded);
        let whole = |sent: &&OnLink| sent.end > before && sent.end <= self.written;
        for sent in self.on_link.iter().filter(whole).copied().collect::<Vec<_>>() {
            let answer = self.serve(sent);
            self.answers.push_back(answer);
        }
    }

    /// The connection asks something itself.
    pub(super) fn ping(&mut self) {
        if self.up && self.admission.in_flight() < limits().in_flight {
            self.encoded += SIZE;
            self.on_link.push(OnLink { id: u32::MAX, part: Part::Ping, end: self.encoded });
            self.admission.sent_own(self.now);
        }
    }

    pub(super) fn serve(&mut self, sent: OnLink) -> Value {
        let refused = match self.server {
            Server::Refuses(line) => Some(line),
            Server::Ready | Server::RunsAndAnswers(_) | Server::RunsAndForges(_) => None,
        };
        match (sent.part, self.multi, refused) {
            // It is taken while the server loads, is busy or has no master.
            (Part::Multi, _, _) => {
                self.multi = Some(false);
                Value::Okay
            }
            (Part::Exec, Some(false), None) => {
                self.multi = None;
                Value::Array(vec![self.run(sent.id, Part::Command(1)), self.run(sent.id, Part::Command(2))])
            }
            (Part::Exec, Some(_), _) => {
                self.multi = None;
                error("EXECABORT Transaction discarded because of previous errors.")
            }
            (Part::Ping, _, None) => Value::SimpleString("PONG".to_owned()),
            (Part::Exec, None, None) => error("ERR EXEC without MULTI"),
            (Part::Command(_), Some(_), None) => Value::SimpleString("QUEUED".to_owned()),
            (part @ Part::Command(_), None, None) => self.run(sent.id, part),
            (_, multi, Some(line)) => {
                self.multi = multi.map(|_| true);
                error(line)
            }
        }
    }

    pub(super) fn run(&mut self, id: u32, part: Part) -> Value {
        self.run_order.push((id, part));
        *self.runs.entry((id, part)).or_default() += 1;
        match self.server {
            Server::RunsAndAnswers(line) => error(line),
            Server::RunsAndForges(line) if self.scripts.contains(&id) => error(line),
            Server::Ready | Server::Refuses(_) | Server::RunsAndForges(_) => Value::Int(id.into()),
        }
    }

    pub(super) fn reply(&mut self) {
        // A server answers only what it has seen whole.
        if self.up
            && let Some(value) = self.answers.pop_front()
        {
            if let Some((probe, value, _)) = self.admission.replied(value, self.now).expect("it was asked") {
                // As the driver does it.
                let outcome = match &value {
                    Value::ServerError(error) => {
                        let (code, text) = (error.code(), error.details());
                        let judged = verdict(code, text.unwrap_or_default(), CommandFacts::of(&probe.frame));
                        Err(Error::server(code, text).with_fate(judged.fate()))
                    }
                    _ => Ok(value),
                };
                probe.complete(outcome);
            }
            self.release();
        }
    }

    pub(super) fn lose(&mut self) -> Settlement {
        self.up = false;
        self.on_link.clear();
        self.answers.clear();
        self.multi = None;
        let cause = Cause::new(CauseKind::Broken, "cut");
        let settlement = self.admission.settle(self.written, &cause);
        (self.encoded, self.written) = (0, 0);
        settlement
    }

    pub(super) fn fates(&self, id: u32) -> Vec<Option<Fate>> {
        let outcomes = self.outcomes.borrow();
        outcomes.get(&id).into_iter().flatten().map(|outcome| outcome.as_ref().err().map(Error::fate)).collect()
    }
}

impl LinkModel {
    pub(super) fn unanswered(&self) -> usize {
        self.next_id as usize - self.outcomes.borrow().len()
    }

    pub(super) fn expire(&mut self) {
        self.admission.expire(self.now, self.state());
    }

    /// What belongs to another node is answered there; the rest comes back.
    pub(super) fn take_queued(&mut self, to_other_node: bool) {
        for (probe, deadline, may_have_run) in self.admission.take_queued() {
            assert_eq!(may_have_run, probe.frame.may_have_run());
            if !to_other_node {
                self.submit_by(probe, deadline);
                continue;
            }
            // So that it counts as one that this queue has ended.
            self.admission.tally.failed += 1;
            probe.complete(Err(Error::new(ErrorKind::Disconnected, Fate::NotSent, "elsewhere")));
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Write,
    Read,
    Idempotent,
    Script,
    Pipeline,
    Transaction,
}

impl Kind {
    pub(super) fn frame(self) -> Frame {
        match self {
            Self::Write => Frame::new("INCR").key("k"),
            Self::Read => Frame::new("GET").key("k").read_only(),
            Self::Idempotent => Frame::new("SET").key("k").arg(1).idempotent(),
            Self::Script => Frame::known("EVAL").arg("return 1").arg(1).key("k"),
            Self::Pipeline => Frame::join([Self::Write.frame(), Self::Write.frame()]),
            Self::Transaction => Frame::atomic([Self::Write.frame(), Self::Write.frame()]),
        }
    }
}

impl Kind {
    /// Whether this answers the command `id`, as far as it is no error.
    pub(super) fn is_reply(self, value: &Value, id: u32) -> bool {
        let own = |value: &Value| matches!(value, Value::ServerError(_)) || *value == Value::Int(id.into());
        match (self, value) {
            (Self::Pipeline, Value::Array(replies)) => replies.len() == 2 && replies.iter().all(own),
            (Self::Transaction, Value::Array(replies)) => match &replies[..] {
                [_, _, _, Value::Array(replies)] => replies.len() == 2 && replies.iter().all(own),
                [_, _, _, last] => matches!(last, Value::ServerError(_)),
                _ => false,
            },
            (Self::Pipeline | Self::Transaction, _) => false,
            (_, value) => own(value),
        }
    }
}
