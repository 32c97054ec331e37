use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use super::settle::Settlement;
use super::*;
use crate::connection::verdict::{CommandFacts, final_error, verdict};
use crate::events::CauseKind;
use crate::frame::Unit;
use proptest::prelude::*;

type Outcomes = Rc<RefCell<BTreeMap<u32, Vec<Result<Value, Error>>>>>;

/// A command that writes down how it was answered.
struct Probe {
    id: u32,
    frame: Frame,
    abandoned: bool,
    outcomes: Outcomes,
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

fn limits() -> Limits {
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
enum Server {
    /// It runs them.
    Ready,
    /// It runs none of them, in its own words.
    Refuses(&'static str),
    /// It runs them, and they answer with a code of the server.
    RunsAndAnswers(&'static str),
}

/// A link reduced to its count of bytes, and a server that runs what it has seen whole.
struct Bench {
    admission: Admission<Probe>,
    outcomes: Outcomes,
    now: Instant,
    encoded: u64,
    written: u64,
    up: bool,
    next_id: u32,
    on_link: Vec<OnLink>,
    runs: BTreeMap<(u32, Part), u32>,
    sent_order: Vec<u32>,
    server: Server,
    /// Of the transaction that the server is in the middle of: whether a command of it was refused.
    multi: Option<bool>,
    /// What it answers to the commands that it has seen on this link, and in which order it ran commands.
    answers: VecDeque<Value>,
    run_order: Vec<(u32, Part)>,
}

/// What the server sees of a frame: a command, or one of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Multi,
    Command(u64),
    Exec,
    Ping,
}

/// A command in the stream of bytes, up to `end`.
#[derive(Debug, Clone, Copy)]
struct OnLink {
    id: u32,
    part: Part,
    end: u64,
}

const SIZE: u64 = 10;
const LOADING: Server = Server::Refuses("LOADING Redis is loading the dataset in memory");

fn error(line: &str) -> Value {
    redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("an error")
}

impl Bench {
    fn new() -> Self {
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
        }
    }

    fn state(&self) -> ConnectionState {
        if self.up { ConnectionState::Ready } else { ConnectionState::Backoff }
    }

    fn submit(&mut self, frame: Frame) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        let probe = Probe { id, frame, abandoned: false, outcomes: self.outcomes.clone() };
        let deadline = self.admission.deadline(&probe.frame, self.now);
        self.submit_by(probe, deadline);
        id
    }

    /// As the driver does it.
    fn submit_by(&mut self, probe: Probe, deadline: Deadline) {
        if self.up && self.admission.may_send(probe.frame.size()) {
            let span = self.encode(probe.id, &probe.frame);
            self.admission.sent(probe, deadline, span);
        } else {
            self.admission.enqueue(probe, deadline, self.state());
        }
    }

    fn encode(&mut self, id: u32, frame: &Frame) -> Range<u64> {
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

    fn release(&mut self) {
        while self.up
            && let Some(next) = self.admission.next_to_send(self.now)
        {
            let id = next.queued.ticket.id;
            let span = self.encode(id, next.frame());
            self.admission.sent_from_queue(next, span);
        }
    }

    /// The socket takes up to `bytes`; the server runs whatever is whole.
    fn write(&mut self, bytes: u64) {
        let before = self.written;
        self.written = (self.written + bytes).min(self.encoded);
        let whole = |sent: &&OnLink| sent.end > before && sent.end <= self.written;
        for sent in self.on_link.iter().filter(whole).copied().collect::<Vec<_>>() {
            let answer = self.serve(sent);
            self.answers.push_back(answer);
        }
    }

    /// The connection asks something itself.
    fn ping(&mut self) {
        if self.up && self.admission.in_flight() < limits().in_flight {
            self.encoded += SIZE;
            self.on_link.push(OnLink { id: u32::MAX, part: Part::Ping, end: self.encoded });
            self.admission.sent_own(self.now);
        }
    }

    fn serve(&mut self, sent: OnLink) -> Value {
        let refused = match self.server {
            Server::Refuses(line) => Some(line),
            Server::Ready | Server::RunsAndAnswers(_) => None,
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

    fn run(&mut self, id: u32, part: Part) -> Value {
        self.run_order.push((id, part));
        *self.runs.entry((id, part)).or_default() += 1;
        match self.server {
            Server::RunsAndAnswers(line) => error(line),
            Server::Ready | Server::Refuses(_) => Value::Int(id.into()),
        }
    }

    fn reply(&mut self) {
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

    fn lose(&mut self) -> Settlement {
        self.up = false;
        self.on_link.clear();
        self.answers.clear();
        self.multi = None;
        let cause = Cause::new(CauseKind::Broken, "cut");
        let settlement = self.admission.settle(self.written, &cause);
        (self.encoded, self.written) = (0, 0);
        settlement
    }

    fn fates(&self, id: u32) -> Vec<Option<Fate>> {
        let outcomes = self.outcomes.borrow();
        outcomes.get(&id).into_iter().flatten().map(|outcome| outcome.as_ref().err().map(Error::fate)).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Submit(Kind),
    WithOwnTimeout(Kind, u8),
    SocketTakes(u8),
    Reply,
    Up,
    Lost,
    Wait(u16),
    Refused,
    Ping,
    Server(Server),
    /// A cluster has given slots of this node to another one, and theirs among them or not.
    TakeQueued {
        dedicated_runner: bool,
    },
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Write,
    Read,
    Idempotent,
    Script,
    Pipeline,
    Transaction,
}

impl Kind {
    fn frame(self) -> Frame {
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

fn servers() -> impl Strategy<Value = Server> {
    let not_now = prop::sample::select(vec![
        "LOADING Redis is loading the dataset in memory",
        "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN Hash slot not served",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    ]);
    let refused = prop::sample::select(vec![
        "OOM command not allowed when used memory > 'maxmemory'.",
        "READONLY You can't write against a read only replica.",
        "MOVED 1 h:1",
        "ASK 1 h:1",
        "NOAUTH Authentication required.",
        "NOSCRIPT No matching script.",
    ]);
    // Each code that this crate acts on, in words that are not the server's.
    let ran = prop::sample::select(vec![
        "LOADING x",
        "BUSY the lock is taken",
        "TRYAGAIN x",
        "CLUSTERDOWN x",
        "MASTERDOWN x",
        "MOVED x",
        "ASK x",
        "READONLY x",
        "NOAUTH x",
        "NOSCRIPT x",
    ]);
    prop_oneof![
        3 => Just(Server::Ready),
        1 => not_now.prop_map(Server::Refuses),
        1 => refused.prop_map(Server::Refuses),
        1 => ran.prop_map(Server::RunsAndAnswers),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop_oneof![
        3 => Just(Kind::Write),
        2 => Just(Kind::Read),
        2 => Just(Kind::Idempotent),
        1 => Just(Kind::Script),
        2 => Just(Kind::Pipeline),
        1 => Just(Kind::Transaction),
    ];
    let step = prop_oneof![
        8 => kind.clone().prop_map(Step::Submit),
        2 => (kind, any::<u8>()).prop_map(|(kind, ms)| Step::WithOwnTimeout(kind, ms)),
        4 => (0..60_u8).prop_map(Step::SocketTakes),
        4 => (0..10_u8).prop_map(Step::SocketTakes),
        8 => Just(Step::Reply),
        3 => Just(Step::Up),
        2 => Just(Step::Lost),
        2 => (0..3_000_u16).prop_map(Step::Wait),
        2 => servers().prop_map(Step::Server),
        1 => Just(Step::Ping),
        1 => any::<bool>().prop_map(|dedicated_runner| Step::TakeQueued { dedicated_runner }),
        1 => prop::bool::weighted(0.2).prop_map(|refused| if refused { Step::Refused } else { Step::Up }),
    ];
    prop::collection::vec(step, 0..150)
}

impl Bench {
    fn unanswered(&self) -> usize {
        self.next_id as usize - self.outcomes.borrow().len()
    }

    fn expire(&mut self) {
        self.admission.expire(self.now, self.state());
    }

    /// What belongs to another node is answered there; the rest comes back.
    fn take_queued(&mut self, dedicated_runner: bool) {
        for (probe, deadline, may_have_run) in self.admission.take_queued() {
            assert_eq!(may_have_run, probe.frame.may_have_run());
            if !dedicated_runner {
                self.submit_by(probe, deadline);
                continue;
            }
            // So that it counts as one that this queue has ended.
            self.admission.tally.failed += 1;
            probe.complete(Err(Error::new(ErrorKind::Disconnected, Fate::NotSent, "elsewhere")));
        }
    }
}

impl Kind {
    /// Whether this answers the command `id`, as far as it is no error.
    fn is_reply(self, value: &Value, id: u32) -> bool {
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

/// Whether a pipeline or a transaction says so of itself that it did not run.
fn is_answered_by_errors(value: &Value) -> bool {
    matches!(value, Value::Array(replies) if matches!(replies.last(), Some(Value::ServerError(_))))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// The delivery contract: everybody is answered exactly once, by nobody else's reply; what may not be repeated never runs
    /// twice, and nothing that ran is called unsent or rejected; the bounds hold; what has expired is gone; the clock has
    /// nothing to look at that is due already.
    ///
    /// Ablations: with the retry left behind by `take_queued` "the driver would spin"; with expired commands that keep their
    /// places "an expired command keeps its place"; without `note_may_have_run` in `settle` "ran and was called"; with codes as
    /// proofs in `verdict` the same.
    #[test]
    fn the_delivery_contract_holds(steps in steps()) {
        let mut bench = Bench::new();
        let mut kinds = Vec::new();
        for step in steps {
            match step {
                Step::Submit(kind) => {
                    bench.submit(kind.frame());
                    kinds.push(kind);
                }
                Step::WithOwnTimeout(kind, ms) => {
                    bench.submit(kind.frame().timeout(Duration::from_millis(ms.into())));
                    kinds.push(kind);
                }
                Step::SocketTakes(bytes) => bench.write(bytes.into()),
                Step::Reply => bench.reply(),
                Step::Ping => bench.ping(),
                Step::Up => { bench.up = true; bench.release(); }
                Step::Lost => { bench.lose(); }
                Step::Wait(ms) => bench.now += Duration::from_millis(ms.into()),
                Step::Server(server) => bench.server = server,
                Step::TakeQueued { dedicated_runner } => bench.take_queued(dedicated_runner),
                Step::Refused => {
                    bench.lose();
                    let cause = Cause::new(CauseKind::Refused, "no");
                    bench.admission.fail_queued(&cause, ConnectionState::Parked);
                }
            }
            bench.expire();
            let next = bench.admission.next_deadline();
            prop_assert!(next.is_none_or(|next| next > bench.now), "the driver would spin");
            prop_assert!(next.is_none() || !bench.admission.is_empty(), "there is nothing to look at");
            prop_assert!(bench.admission.in_flight() <= limits().in_flight);
            prop_assert!(bench.admission.queued() <= limits().queued + limits().in_flight, "replays may exceed by a window");
            prop_assert!(bench.admission.queued() <= bench.unanswered(), "an expired command keeps its place");
        }
        bench.lose();
        bench.now += Duration::from_secs(600);
        bench.expire();
        prop_assert!(bench.admission.is_empty() && bench.admission.queued() == 0, "an expired command keeps its place");
        let AdmissionCounters { completed, failed, unknown, abandoned } = bench.admission.tally();
        prop_assert_eq!(completed + failed + unknown + abandoned, u64::from(bench.next_id), "each is counted once");
        for id in 0..bench.next_id {
            prop_assert_eq!(bench.fates(id).len(), 1, "command {} is answered once", id);
        }
        for (id, kind) in (0..).zip(kinds) {
            let runs: Vec<_> = bench.runs.iter().filter(|((ran, _), _)| *ran == id).map(|(_, runs)| *runs).collect();
            if matches!(kind, Kind::Read | Kind::Idempotent) {
                bench.run_order.retain(|(ran, _)| *ran != id);
            } else {
                prop_assert!(runs.iter().all(|runs| *runs <= 1), "{:?} {} ran {:?} times", kind, id, runs);
            }
            match &bench.outcomes.borrow()[&id][0] {
                Ok(value) => {
                    prop_assert!(kind.is_reply(value, id), "somebody else's reply: {:?} {} {:?}", kind, id, value);
                    prop_assert!(!runs.is_empty() || is_answered_by_errors(value));
                }
                // A read that ran has done nothing.
                Err(error) if error.fate() != Fate::Unknown && !matches!(kind, Kind::Read) => {
                    prop_assert!(runs.is_empty(), "{:?} {} ran and was called {:?}", kind, id, error.fate());
                }
                Err(_) => {}
            }
        }
        prop_assert!(bench.run_order.is_sorted(), "overtaken on the server: {:?}", bench.run_order);
        let mut first_sends = bench.sent_order.clone();
        let mut seen = std::collections::BTreeSet::new();
        first_sends.retain(|id| seen.insert(*id));
        prop_assert!(first_sends.is_sorted(), "overtaken: {:?}", first_sends);
    }
}

#[test]
fn half_a_command_is_sent_again_and_a_whole_one_is_not() {
    let mut bench = Bench::new();
    bench.up = true;
    let whole = bench.submit(Frame::new("INCR").key("k"));
    let half = bench.submit(Frame::new("INCR").key("k"));
    let read = bench.submit(Frame::new("GET").key("k").read_only());
    bench.write(SIZE + SIZE / 2);
    let settlement = bench.lose();
    assert_eq!(settlement, Settlement { replayed: 2, failed: 0, unknown: 1 });
    assert_eq!(bench.fates(whole), [Some(Fate::Unknown)]);
    assert!(bench.fates(half).is_empty() && bench.fates(read).is_empty());
    bench.up = true;
    bench.release();
    assert_eq!(bench.sent_order, [whole, half, read, half, read]);
}

#[test]
fn a_pipeline_of_which_any_byte_left_may_have_run() {
    let mut bench = Bench::new();
    bench.up = true;
    let unit = bench.submit(Frame::join([Frame::new("INCR").key("a"), Frame::new("INCR").key("b")]));
    bench.write(1);
    assert_eq!(bench.lose(), Settlement { replayed: 0, failed: 0, unknown: 1 });
    assert_eq!(bench.fates(unit), [Some(Fate::Unknown)]);
}

#[test]
fn a_transaction_of_which_a_byte_is_missing_cannot_have_run() {
    let mut bench = Bench::new();
    bench.up = true;
    let unit = bench.submit(Frame::atomic([Frame::known("INCR").key("a"), Frame::known("INCR").key("b")]));
    bench.write(SIZE - 1);
    assert_eq!(bench.lose(), Settlement { replayed: 1, failed: 0, unknown: 0 });
    bench.up = true;
    bench.release();
    bench.write(SIZE);
    assert_eq!(bench.lose(), Settlement { replayed: 0, failed: 0, unknown: 1 });
    assert_eq!(bench.fates(unit), [Some(Fate::Unknown)]);
}

#[test]
fn a_transaction_that_was_not_run_now_waits_and_is_sent_again() {
    let answers = |second: &str| {
        let lines = ["+OK", "+QUEUED", second, "-EXECABORT Transaction discarded"];
        lines.map(|line| redis::parse_redis_value(format!("{line}\r\n").as_bytes()).expect("a reply"))
    };
    let unit = || Frame::atomic([Frame::known("INCR").key("a"), Frame::known("INCR").key("b")]);
    for (frame, second, waits) in [
        (unit(), "-LOADING Redis is loading the dataset in memory", true),
        (unit(), "-NOPERM no", false),
        (unit().pinned(), "-LOADING Redis is loading the dataset in memory", false),
    ] {
        let mut bench = Bench::new();
        bench.up = true;
        bench.submit(frame);
        let mut answered = None;
        for answer in answers(second) {
            answered = bench.admission.replied(answer, bench.now).expect("asked");
        }
        assert_eq!((answered.is_none(), bench.admission.queued()), (waits, usize::from(waits)), "{second}");
    }
}

#[test]
fn a_pinned_command_is_never_sent_on_another_link() {
    let mut bench = Bench::new();
    bench.up = true;
    let half = bench.submit(Frame::known("INCR").key("k").pinned());
    let read = bench.submit(Frame::known("GET").key("k").read_only().pinned());
    bench.write(SIZE / 2);
    assert_eq!(bench.lose(), Settlement { replayed: 0, failed: 2, unknown: 0 });
    assert_eq!((bench.fates(half), bench.fates(read)), (vec![Some(Fate::NotSent)], vec![Some(Fate::NotSent)]));
}

#[test]
fn a_unit_is_answered_when_its_last_reply_came() {
    let mut bench = Bench::new();
    bench.up = true;
    let unit = bench.submit(Frame::join([Frame::new("INCR").key("a"), Frame::new("INCR").key("b")]));
    assert!(bench.admission.replied(Value::Int(1), bench.now).expect("asked").is_none());
    let (probe, value, _) = bench.admission.replied(Value::Int(2), bench.now).expect("asked").expect("whole");
    assert_eq!((probe.id, value), (unit, Value::Array(vec![Value::Int(1), Value::Int(2)])));
    assert!(bench.admission.replied(Value::Okay, bench.now).is_err(), "an answer to nothing");
}

#[test]
fn a_command_lives_through_a_bounded_number_of_links() {
    let mut bench = Bench::new();
    let read = bench.submit(Frame::new("GET").key("k").read_only());
    for _ in 0..limits().lost_links {
        bench.up = true;
        bench.release();
        bench.write(SIZE);
        assert_eq!(bench.lose().replayed, 1);
    }
    bench.up = true;
    bench.release();
    bench.lose();
    assert_eq!(bench.fates(read), [Some(Fate::Unknown)]);
}

#[test]
fn the_queue_is_bounded_by_count_and_bytes_but_one_large_command_passes() {
    let mut bench = Bench::new();
    let large = bench.submit(Frame::new("SET").key("k").arg(vec![b'x'; 100_000]));
    assert!(bench.fates(large).is_empty());
    let refused = bench.submit(Frame::new("SET").key("k").arg("v"));
    assert_eq!(bench.fates(refused), [Some(Fate::NotSent)]);
    let outcomes = bench.outcomes.borrow();
    let error = outcomes[&refused][0].as_ref().expect_err("full");
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Overloaded, Some(Phase::Connecting)));
}

#[test]
fn what_the_server_puts_off_is_sent_again_in_order_after_a_pause() {
    let mut bench = Bench::new();
    bench.up = true;
    bench.server = LOADING;
    let first = bench.submit(Frame::new("INCR").key("k"));
    let second = bench.submit(Frame::new("INCR").key("k"));
    bench.write(2 * SIZE);
    bench.reply();
    let third = bench.submit(Frame::new("INCR").key("k"));
    bench.reply();
    assert_eq!(
        (bench.admission.queued(), bench.sent_order.len()),
        (3, 2),
        "nothing goes to a server that is not ready"
    );
    let again = bench.admission.next_deadline().expect("it is asked again");
    assert!(again > bench.now && again < bench.now + Duration::from_secs(1));
    bench.now = again;
    bench.release();
    assert_eq!(bench.sent_order, [first, second, first], "one of them asks for all");
    bench.server = Server::Ready;
    bench.write(SIZE);
    bench.reply();
    assert_eq!(bench.sent_order, [first, second, first, second, third]);
}

#[test]
fn what_was_put_off_is_not_run_behind_a_later_one_that_ran() {
    let mut bench = Bench::new();
    bench.up = true;
    bench.server = LOADING;
    let first = bench.submit(Frame::new("INCR").key("k"));
    bench.write(SIZE);
    bench.server = Server::Ready;
    let second = bench.submit(Frame::new("INCR").key("k"));
    bench.write(SIZE);
    bench.reply();
    bench.reply();
    assert_eq!((bench.fates(first), bench.fates(second)), (vec![Some(Fate::Rejected)], vec![None]));
}

/// Ablation: with the refused command put back into the queue at once, it is sent behind the one that ran: `[first, second, first]`.
#[test]
fn what_the_server_refused_is_not_taken_while_a_later_one_may_run() {
    let mut bench = Bench::new();
    bench.up = true;
    bench.server = LOADING;
    let first = bench.submit(Frame::new("INCR").key("k"));
    bench.write(SIZE);
    bench.server = Server::Ready;
    let second = bench.submit(Frame::new("INCR").key("k"));
    bench.write(SIZE);
    bench.reply();
    bench.take_queued(false);
    bench.reply();
    bench.now += Duration::from_secs(1);
    bench.release();
    assert_eq!(bench.sent_order, [first, second]);
    assert_eq!((bench.fates(first), bench.fates(second)), (vec![Some(Fate::Rejected)], vec![None]));
}

/// Ablation: with the replies of the expired pipeline kept, the next one gets three.
#[test]
fn replies_of_an_expired_pipeline_reach_no_other() {
    for replies in [
        ["+x", "-LOADING Redis is loading the dataset in memory"],
        ["-LOADING Redis is loading the dataset in memory"; 2],
    ] {
        for at in 0..2 {
            let mut bench = Bench::new();
            bench.up = true;
            bench.submit(Kind::Pipeline.frame().timeout(Duration::from_secs(1)));
            let second = bench.submit(Kind::Pipeline.frame());
            for (nth, reply) in replies.into_iter().enumerate() {
                if nth == at {
                    bench.now += Duration::from_secs(1);
                    bench.expire();
                }
                let reply = redis::parse_redis_value(format!("{reply}\r\n").as_bytes()).expect("a reply");
                assert!(bench.admission.replied(reply, bench.now).expect("asked").is_none());
            }
            assert!(bench.admission.replied(Value::Int(1), bench.now).expect("asked").is_none());
            let (probe, value, _) = bench.admission.replied(Value::Int(2), bench.now).expect("asked").expect("whole");
            assert_eq!((probe.id, value), (second, Value::Array(vec![Value::Int(1), Value::Int(2)])));
        }
    }
}

/// Ablation: without the replies of an expired pipeline the first command waits, to run behind a part of it that ran.
#[test]
fn a_part_of_an_expired_pipeline_that_ran_counts_for_the_order() {
    let mut bench = Bench::new();
    bench.up = true;
    bench.server = LOADING;
    let first = bench.submit(Frame::new("INCR").key("k"));
    bench.submit(Kind::Pipeline.frame().timeout(Duration::from_secs(1)));
    bench.write(SIZE);
    bench.server = Server::Ready;
    bench.write(SIZE / 2);
    bench.server = LOADING;
    bench.write(SIZE / 2);
    bench.now += Duration::from_secs(1);
    bench.expire();
    (0..3).for_each(|_| bench.reply());
    assert_eq!((bench.fates(first), bench.admission.queued()), (vec![Some(Fate::Rejected)], 0));
}

/// Ablations: with an own question that counts as a command that ran, the refused command is answered `Rejected`, when the
/// link is lost as well as when the question is answered.
#[test]
fn a_question_of_the_connection_overtakes_nobody() {
    for answered in [false, true] {
        let mut bench = Bench::new();
        bench.up = true;
        bench.server = LOADING;
        let refused = bench.submit(Frame::new("INCR").key("k"));
        bench.write(SIZE);
        bench.server = Server::Ready;
        bench.ping();
        bench.write(SIZE);
        bench.reply();
        if answered {
            bench.reply();
        } else {
            bench.lose();
        }
        assert_eq!((bench.fates(refused), bench.admission.queued()), (vec![], 1), "answered: {answered}");
    }
}

#[test]
fn a_command_waits_in_the_queue_no_longer_than_it_may_and_keeps_its_deadline_on_the_wire() {
    let mut bench = Bench::new();
    bench.admission = Admission::new(Limits { queued_time: Some(Duration::from_secs(1)), ..limits() });
    let start = bench.now;
    let (common, own) = (Frame::new("INCR").key("k"), Frame::new("INCR").key("k").timeout(Duration::from_secs(60)));
    let waits = bench.submit(common.clone());
    let waits_too = bench.submit(own.clone());
    bench.now = start + Duration::from_secs(1);
    bench.admission.expire(bench.now, ConnectionState::Backoff);
    assert_eq!([bench.fates(waits), bench.fates(waits_too)], [[Some(Fate::NotSent)], [Some(Fate::NotSent)]]);
    let sent = bench.submit(own);
    bench.up = true;
    bench.release();
    bench.now += Duration::from_secs(59);
    bench.admission.expire(bench.now, ConnectionState::Ready);
    assert!(bench.fates(sent).is_empty());
    bench.now += Duration::from_secs(1);
    bench.admission.expire(bench.now, ConnectionState::Ready);
    assert_eq!(bench.fates(sent), [Some(Fate::Unknown)]);
}
