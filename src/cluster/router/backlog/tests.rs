use std::sync::Arc;

use tokio::sync::oneshot::{self, Receiver};

use super::*;
use crate::client::gauges::Gauges;
use crate::cluster::key_split::LARGEST_PART;
use crate::cluster::router::{RouterParts, nodes::tests::connect_params};
use crate::cluster::slot_map::Map;
use crate::cluster::topology::TopologyPublisher;
use crate::config::HostPort;
use crate::connection::request::Waiter;
use crate::connection::retry::ReconnectPolicy;
use crate::events::{Cause, CauseKind, Fanout, Status};
use crate::messages::internal::Internal;

type Answer = Receiver<crate::error::Result<redis::Value>>;

/// A router of three nodes that are not connected so far, so that commands wait at them.
fn router() -> Router {
    let (status, _) = tokio::sync::watch::channel(Status::new(Instant::now()));
    let (events, _) = std::sync::mpsc::channel();
    let mut router = Router::new(RouterParts {
        connect_params: Arc::new(connect_params()),
        policy: ReconnectPolicy::default(),
        seeds: Vec::new(),
        fanout: Fanout::relay("cluster".into(), events, status),
        gauges: Arc::new(Gauges::new()),
        announce: TopologyPublisher::new().0,
    });
    let mut map = Map::default();
    for slot in 0..crate::cluster::slot::SLOTS {
        map.moved(slot, &HostPort { host: "127.0.0.1".to_owned(), port: 1 + slot / 5_462 });
    }
    router.adopt(map, Instant::now());
    router
}

fn send(router: &mut Router, frame: Frame) -> Answer {
    let (reply, answer) = oneshot::channel();
    router.submit(Box::new(Waiter::<Internal, _>::new(frame, reply)), None);
    answer
}

/// What came to the nodes since the last call, node by node, in order: of each name the command and the name.
fn arrived(router: &mut Router) -> Vec<String> {
    let mut names = Vec::new();
    router.nodes.each(|driver| {
        for (ticket, ..) in driver.take_queued() {
            let frame = ticket.frame();
            let views = match frame.unit() {
                Some(unit) => (0..unit.len()).filter_map(|at| unit.view(at)).collect(),
                None => vec![frame.view()],
            };
            for view in views {
                let command = view.words().next().map(String::from_utf8_lossy).unwrap_or_default();
                names.extend(view.keys().map(|key| format!("{command} {}", String::from_utf8_lossy(key))));
            }
        }
    });
    names
}

/// One turn. Returns whether anything is left.
fn poll(router: &mut Router) -> bool {
    router.poll_backlog();
    !router.backlog.is_empty()
}

/// The names that came in each turn, until nothing is left.
fn turns(router: &mut Router) -> Vec<Vec<String>> {
    let mut turns = vec![arrived(router)];
    while poll(router) {
        turns.push(arrived(router));
    }
    turns.push(arrived(router));
    turns
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("k{nth}")).collect()
}

/// Ablation: with `PER_TURN` of `usize::MAX` all 20,000 names come in one turn.
#[tokio::test]
async fn a_large_command_is_taken_apart_in_portions() {
    let keys = names(20_000);
    let pipeline = || Frame::join(keys.iter().map(|key| Frame::known("INCR").key(key)));
    for frame in [Frame::known("MGET").keys(&keys).read_only(), Frame::known("DEL").keys(&keys), pipeline()] {
        let mut router = router();
        let _answer = send(&mut router, frame);
        let turns = turns(&mut router);
        assert!(
            turns.iter().all(|turn| turn.len() <= PER_TURN + LARGEST_PART),
            "{:?}",
            turns.iter().map(Vec::len).collect::<Vec<_>>()
        );
        let all = turns.concat();
        let mut all: Vec<_> =
            all.iter().filter_map(|name| name.split_once(' ')).map(|(_, key)| key.to_owned()).collect();
        all.sort();
        let mut expected = keys.clone();
        expected.sort();
        assert_eq!(all, expected, "each key once");
    }
}

/// Ablation: without the queue in `enter` the command behind comes first.
#[tokio::test]
async fn commands_behind_a_large_one_do_not_overtake_it() {
    let mut router = router();
    let keys = names(9_000);
    let _large = send(&mut router, Frame::known("DEL").keys(&keys));
    let _behind = send(&mut router, Frame::known("INCR").key("k8999"));
    let _pipeline = send(&mut router, Frame::join(keys.iter().map(|key| Frame::known("PERSIST").key(key))));
    let all = turns(&mut router).concat();
    let of_one: Vec<_> = all.into_iter().filter_map(|name| name.strip_suffix(" k8999").map(str::to_owned)).collect();
    assert_eq!(of_one, ["DEL", "INCR", "PERSIST"]);
}

/// Ablation: elements that are sent before all of them were looked at fail with names that came.
#[tokio::test]
async fn an_element_that_no_node_can_run_refuses_the_whole_pipeline() {
    let mut router = router();
    let elements = names(5_000).into_iter().map(|key| Frame::known("INCR").key(key));
    let mut answer = send(&mut router, Frame::join(elements.chain([Frame::known("RENAME").key("a").key("b")])));
    assert!(turns(&mut router).concat().is_empty());
    let error = answer.try_recv().expect("answered").expect_err("refused");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent));
}

#[tokio::test]
async fn a_pipeline_of_one_node_stays_whole() {
    let mut router = router();
    let _answer =
        send(&mut router, Frame::join(names(5_000).iter().map(|key| Frame::known("INCR").key(format!("{{a}}{key}")))));
    let turns: Vec<_> = turns(&mut router).iter().map(Vec::len).collect();
    assert_eq!(turns.iter().filter(|count| **count > 0).count(), 1, "{turns:?}");
}

/// Ablation: an abort without `end_backlog` fails with no answer.
#[tokio::test]
async fn a_command_that_is_taken_apart_is_answered_when_the_connection_ends() {
    for sent in 0..8 {
        let mut router = router();
        let frames = [
            Frame::known("DEL").keys(names(5_000)),
            Frame::join(names(5_000).iter().map(|key| Frame::known("INCR").key(key))),
        ];
        let mut answers: Vec<_> = frames.into_iter().map(|frame| send(&mut router, frame)).collect();
        (0..sent).for_each(|_| _ = poll(&mut router));
        router.abort(Cause::new(CauseKind::Shutdown, "shut down"));
        for answer in &mut answers {
            let error = answer.try_recv().expect("answered").expect_err("not sent");
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::NotSent), "{error}");
        }
        assert!(router.is_idle());
    }
}

#[tokio::test]
async fn a_command_whose_caller_is_gone_is_not_taken_apart_further() {
    let mut router = router();
    drop(send(&mut router, Frame::known("DEL").keys(names(50_000))));
    assert!(!poll(&mut router) && router.is_idle() && arrived(&mut router).is_empty());
    let answer = send(&mut router, Frame::known("DEL").keys(names(50_000)));
    while arrived(&mut router).is_empty() {
        assert!(poll(&mut router));
    }
    drop(answer);
    assert!(!poll(&mut router));
    arrived(&mut router);
    assert!(router.is_idle(), "all parts are gone");
}

#[tokio::test]
async fn a_deadline_ends_the_rest_of_a_command() {
    let mut router = router();
    let frame = Frame::known("DEL").keys(names(50_000)).timeout(std::time::Duration::from_nanos(1));
    let mut answer = send(&mut router, frame);
    let sent = turns(&mut router).concat().len();
    assert_eq!(sent, 0, "no part is sent late");
    let error = answer.try_recv().expect("answered").expect_err("late");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::NotSent));
}
