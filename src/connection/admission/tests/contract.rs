//! The delivery contract, as a property of every sequence of events.

use std::time::Duration;

use proptest::prelude::*;
use redis::Value;

use super::super::AdmissionCounters;
use super::model::{Kind, LinkModel, SIZE, Server, limits};
use crate::error::Fate;
use crate::events::{Cause, CauseKind, ConnectionState};

#[derive(Debug, Clone)]
enum Step {
    Submit(Kind),
    WithOwnTimeout(Kind, u8),
    SocketTakes(u8),
    /// A command that the server sees whole: the first half of it in one state, the second in another.
    Served {
        kind: Kind,
        timeout_ms: Option<u8>,
        first: Server,
        second: Server,
    },
    Reply,
    Up,
    Lost,
    Wait(u16),
    Refused,
    Ping,
    Server(Server),
    /// A cluster has given slots of this node to another one, and theirs among them or not.
    TakeQueued {
        to_other_node: bool,
    },
}

fn servers() -> impl Strategy<Value = Server> {
    let not_now = prop::sample::select(vec![
        "LOADING Redis is loading the dataset in memory",
        "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
    ]);
    // Word for word, from scripts that ran. A server that refuses with the same code at the same time would be evidence.
    let forged = prop::sample::select(vec![
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
        1 => forged.prop_map(Server::RunsAndForges),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop_oneof![
        3 => Just(Kind::Write),
        2 => Just(Kind::Read),
        2 => Just(Kind::Idempotent),
        2 => Just(Kind::Script),
        2 => Just(Kind::Pipeline),
        1 => Just(Kind::Transaction),
    ];
    let step = prop_oneof![
        8 => kind.clone().prop_map(Step::Submit),
        2 => (kind.clone(), any::<u8>()).prop_map(|(kind, ms)| Step::WithOwnTimeout(kind, ms)),
        4 => (0..60_u8).prop_map(Step::SocketTakes),
        4 => (0..10_u8).prop_map(Step::SocketTakes),
        6 => (kind.clone(), prop::option::of(1..200_u8), servers(), servers())
            .prop_map(|(kind, timeout_ms, first, second)| Step::Served { kind, timeout_ms, first, second }),
        8 => Just(Step::Reply),
        3 => Just(Step::Up),
        2 => Just(Step::Lost),
        2 => (0..3_000_u16).prop_map(Step::Wait),
        2 => (0..200_u16).prop_map(Step::Wait),
        2 => servers().prop_map(Step::Server),
        1 => Just(Step::Ping),
        2 => any::<bool>().prop_map(|to_other_node| Step::TakeQueued { to_other_node }),
        1 => prop::bool::weighted(0.2).prop_map(|refused| if refused { Step::Refused } else { Step::Up }),
    ];
    prop::collection::vec(step, 0..150)
}

/// Whether a pipeline or a transaction says so of itself that it did not run.
fn is_answered_by_errors(value: &Value) -> bool {
    matches!(value, Value::Array(replies) if matches!(replies.last(), Some(Value::ServerError(_))))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// The delivery contract: every caller is answered exactly once, by its own reply; a command that must not be repeated never runs
    /// twice, and nothing that ran is called unsent or rejected; the bounds hold; what has expired is gone; the clock has
    /// nothing to look at that is due already.
    ///
    /// Ablations: with the retry left behind by `take_queued` "the driver would spin"; with expired commands that keep their
    /// places "an expired command keeps its place"; without `note_may_have_run` in `settle` "ran and was called"; with codes as
    /// proofs in `verdict` the same.
    #[test]
    fn the_delivery_contract_holds(steps in steps()) {
        let mut model = LinkModel::new();
        let mut kinds = Vec::new();
        for step in steps {
            match step {
                Step::Submit(kind) => {
                    model.submit(kind.frame());
                    kinds.push(kind);
                }
                Step::WithOwnTimeout(kind, ms) => {
                    model.submit(kind.frame().timeout(Duration::from_millis(ms.into())));
                    kinds.push(kind);
                }
                Step::SocketTakes(bytes) => model.write(bytes.into()),
                Step::Served { kind, timeout_ms, first, second } => {
                    let frame = kind.frame();
                    model.submit(match timeout_ms {
                        Some(ms) => frame.timeout(Duration::from_millis(ms.into())),
                        None => frame,
                    });
                    kinds.push(kind);
                    model.server = first;
                    model.write((model.encoded - model.written).saturating_sub(SIZE / 2));
                    model.server = second;
                    model.write(model.encoded - model.written);
                }
                Step::Reply => model.reply(),
                Step::Ping => model.ping(),
                Step::Up => { model.up = true; model.release(); }
                Step::Lost => { model.lose(); }
                Step::Wait(ms) => model.now += Duration::from_millis(ms.into()),
                Step::Server(server) => model.server = server,
                Step::TakeQueued { to_other_node } => model.take_queued(to_other_node),
                Step::Refused => {
                    model.lose();
                    let cause = Cause::new(CauseKind::Refused, "no");
                    model.admission.fail_queued(&cause, ConnectionState::Parked);
                }
            }
            model.expire();
            let next = model.admission.next_deadline();
            prop_assert!(next.is_none_or(|next| next > model.now), "the driver would spin");
            prop_assert!(next.is_none() || !model.admission.is_empty(), "there is nothing to look at");
            prop_assert!(model.admission.in_flight() <= limits().in_flight);
            prop_assert!(model.admission.queued() <= limits().queued + limits().in_flight, "replays may exceed by a window");
            prop_assert!(model.admission.queued() <= model.unanswered(), "an expired command keeps its place");
        }
        model.lose();
        model.now += Duration::from_secs(600);
        model.expire();
        prop_assert!(model.admission.is_empty() && model.admission.queued() == 0, "an expired command keeps its place");
        let AdmissionCounters { completed, failed, unknown, abandoned } = model.admission.tally();
        prop_assert_eq!(completed + failed + unknown + abandoned, u64::from(model.next_id), "each is counted once");
        for id in 0..model.next_id {
            prop_assert_eq!(model.fates(id).len(), 1, "command {} is answered once", id);
        }
        for (id, kind) in (0..).zip(kinds) {
            let runs: Vec<_> = model.runs.iter().filter(|((ran, _), _)| *ran == id).map(|(_, runs)| *runs).collect();
            if matches!(kind, Kind::Read | Kind::Idempotent) {
                model.run_order.retain(|(ran, _)| *ran != id);
            } else {
                prop_assert!(runs.iter().all(|runs| *runs <= 1), "{:?} {} ran {:?} times", kind, id, runs);
            }
            match &model.outcomes.borrow()[&id][0] {
                Ok(value) => {
                    prop_assert!(kind.is_reply(value, id), "the reply of another caller: {:?} {} {:?}", kind, id, value);
                    prop_assert!(!runs.is_empty() || is_answered_by_errors(value));
                }
                // A read that ran has done nothing.
                Err(error) if error.fate() != Fate::Unknown && !matches!(kind, Kind::Read) => {
                    prop_assert!(runs.is_empty(), "{:?} {} ran and was called {:?}", kind, id, error.fate());
                }
                Err(_) => {}
            }
        }
        prop_assert!(model.run_order.is_sorted(), "overtaken on the server: {:?}", model.run_order);
        let mut first_sends = model.sent_order.clone();
        let mut seen = std::collections::BTreeSet::new();
        first_sends.retain(|id| seen.insert(*id));
        prop_assert!(first_sends.is_sorted(), "overtaken: {:?}", first_sends);
    }
}
