//! Commands of one caller keep their order while nodes refuse them.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use redis_actix::prelude::*;
use redis_actix::{ErrorKind, Fate};
use redis_actix_test::{Answer, RedisCluster};

use crate::cluster_support::{aside, cluster, joined, migrate, slot_of};
use crate::scripted::{Scripted, error, int};
use crate::support::{eventually, ms};

/// Which commands nodes have run, in order.
type Ran = Arc<Mutex<Vec<String>>>;

async fn push_all(redis: &Redis, from: usize, to: usize) -> Vec<redis_actix::Result<u64>> {
    join_all((from..to).map(|nth| redis.send(RPush::new("list", [nth.to_string()])))).await
}

fn numbers(ran: &Ran) -> Vec<usize> {
    ran.lock().expect("no panic").iter().map(|value| value.parse().expect("a number")).collect()
}

/// Node 0 moves its slots to node 1 while commands are in flight; new commands go to node 1 at once.
///
/// Without the queue of the slot the order depends on how the replies come together; its proof is the test of CLUSTERDOWN below
/// and the property test of `SlotQueues`.
#[actix::test]
async fn commands_behind_a_moved_one_do_not_overtake_it() {
    let ran: Ran = Arc::default();
    let nodes = Scripted::start(2, {
        let (ran, count) = (ran.clone(), AtomicUsize::new(0));
        move |asked| match (asked.name().as_str(), asked.node) {
            ("RPUSH", 0) if count.fetch_add(1, Ordering::SeqCst) >= 10 => asked.moved("test:list", 1),
            ("RPUSH", _) => {
                ran.lock().expect("no panic").push(asked.word(2));
                int(1)
            }
            _ => Answer::Default,
        }
    });
    let redis = nodes.ready().await;
    let first = push_all(&redis, 0, 20);
    let second = async {
        // As soon as the first redirects have come back.
        eventually("a redirect", || (!ran.lock().expect("no panic").is_empty()).then_some(())).await;
        push_all(&redis, 20, 40).await
    };
    let (first, second) = tokio::join!(first, second);
    assert!(first.iter().chain(&second).all(Result::is_ok), "{first:?} {second:?}");
    assert_eq!(numbers(&ran), (0..40).collect::<Vec<_>>());
}

/// Ablation: sending each refused command on by itself instead of `wait_for_slot` fails with 50..100 before 0..50.
#[actix::test]
async fn commands_behind_a_refused_one_wait_until_the_cluster_is_up() {
    let (ran, down): (Ran, _) = (Arc::default(), Arc::new(AtomicBool::new(true)));
    let refused = Arc::new(AtomicUsize::new(0));
    let nodes = Scripted::start(1, {
        let (ran, down, refused) = (ran.clone(), down.clone(), refused.clone());
        move |asked| match asked.name().as_str() {
            "RPUSH" if down.load(Ordering::SeqCst) => {
                refused.fetch_add(1, Ordering::SeqCst);
                error("CLUSTERDOWN The cluster is down")
            }
            "RPUSH" => {
                ran.lock().expect("no panic").push(asked.word(2));
                int(1)
            }
            _ => Answer::Default,
        }
    });
    let redis = nodes.ready().await;
    let first = push_all(&redis, 0, 50);
    let second = async {
        eventually("refusals", || (refused.load(Ordering::SeqCst) > 52).then_some(())).await;
        let second = push_all(&redis, 50, 100);
        down.store(false, Ordering::SeqCst);
        second.await
    };
    let (first, second) = tokio::join!(first, second);
    assert!(first.iter().chain(&second).all(Result::is_ok));
    assert_eq!(numbers(&ran), (0..100).collect::<Vec<_>>());
    // While it is down one command asks for all.
    assert!(refused.load(Ordering::SeqCst) < 80, "{}", refused.load(Ordering::SeqCst));
}

/// A younger command ran while an older one was refused: sent again that would run behind it.
///
/// Ablation: sending each refused command on by itself fails: the refused one runs last, without an error.
#[actix::test]
async fn a_command_that_was_overtaken_is_refused_in_the_words_of_the_node() {
    let (ran, first): (Ran, _) = (Arc::default(), AtomicBool::new(true));
    let nodes = Scripted::start(1, {
        let ran = ran.clone();
        move |asked| match asked.name().as_str() {
            "RPUSH" if first.swap(false, Ordering::SeqCst) => error("CLUSTERDOWN The cluster is down"),
            "RPUSH" => {
                ran.lock().expect("no panic").push(asked.word(2));
                int(1)
            }
            _ => Answer::Default,
        }
    });
    let redis = nodes.ready().await;
    let outcomes = push_all(&redis, 0, 3).await;
    let error = outcomes[0].as_ref().expect_err("overtaken");
    assert_eq!((error.code(), error.fate()), (Some("CLUSTERDOWN"), Fate::Rejected));
    assert_eq!(numbers(&ran), [1, 2]);
}

/// A node that answers the first commands called RPUSH in one write: `true` ran, `false` is a refusal. It runs all that
/// come later.
fn refusing(replies: &'static [bool]) -> (Scripted, Ran) {
    let (ran, seen): (Ran, _) = (Arc::default(), AtomicUsize::new(0));
    let nodes = Scripted::start(1, {
        let ran = ran.clone();
        move |asked| {
            if asked.name() != "RPUSH" {
                return Answer::Default;
            }
            let nth = seen.fetch_add(1, Ordering::SeqCst);
            if replies.get(nth).copied().unwrap_or(true) {
                ran.lock().expect("no panic").push(asked.word(2));
            }
            match (nth + 1).cmp(&replies.len()) {
                std::cmp::Ordering::Less => Answer::raw(""),
                std::cmp::Ordering::Equal => {
                    let reply = |ran: &bool| if *ran { ":1\r\n" } else { "-CLUSTERDOWN Hash slot not served\r\n" };
                    Answer::raw(replies.iter().map(reply).collect::<String>())
                }
                std::cmp::Ordering::Greater => int(1),
            }
        }
    });
    (nodes, ran)
}

fn assert_refused<T: std::fmt::Debug>(outcome: redis_actix::Result<T>) {
    let error = outcome.expect_err("overtaken");
    assert_eq!((error.code(), error.fate()), (Some("CLUSTERDOWN"), Fate::Rejected), "{error}");
}

/// The order of requests covers this case as well: marking the slot as closed only when the router sees the refusal does
/// not make it fail.
#[actix::test]
async fn a_command_that_was_overtaken_in_the_same_read_is_refused() {
    // Callers of the same thread are completed in turns of half of the commands in flight.
    let (nodes, ran) = refusing(&[false, true, true, true, true, true, true, true]);
    let redis = nodes.ready().await;
    let mut outcomes = push_all(&redis, 0, 8).await;
    assert!(outcomes.iter().skip(1).all(Result::is_ok), "{outcomes:?}");
    assert_refused(outcomes.remove(0));
    assert_eq!(numbers(&ran), [1, 2, 3, 4, 5, 6, 7]);
}

/// Ablation: sending all refused commands of a pipeline again fails with "overtaken: 1" (the first, behind the second).
#[actix::test]
async fn a_command_of_a_pipeline_behind_which_another_of_its_slot_ran_is_refused() {
    let (nodes, ran) = refusing(&[false, true, false]);
    let redis = nodes.ready().await;
    let push = |nth: usize| RPush::new("list", [nth.to_string()]);
    let (first, second, third) =
        redis.send(Pipeline::new((push(0), push(1), push(2))).try_each()).await.expect("each in its place");
    assert_refused(first);
    second.expect("ran");
    third.expect("sent again, behind the second");
    assert_eq!(numbers(&ran), [1, 2]);
}

/// The whole pipeline is refused, and then the element that is sent alone to find out whether the slot is served again.
///
/// Ablation: with one order for all elements (`SendOrder::part` returns `self`) fails with `[2, 0, 1]`.
#[actix::test]
async fn elements_of_a_pipeline_keep_their_order_when_one_is_refused_twice() {
    let (ran, refused): (Ran, _) = (Arc::default(), AtomicUsize::new(0));
    let nodes = Scripted::start(1, {
        let ran = ran.clone();
        move |asked| match asked.name().as_str() {
            "RPUSH" if refused.fetch_add(1, Ordering::SeqCst) < 5 => error("CLUSTERDOWN The cluster is down"),
            "RPUSH" => {
                ran.lock().expect("no panic").push(asked.word(2));
                int(1)
            }
            _ => Answer::Default,
        }
    });
    let redis = nodes.ready().await;
    let push = |nth: usize| RPush::new("list", [nth.to_string()]);
    redis.send(Pipeline::new((push(0), push(1), push(2)))).await.expect("sent again until it runs");
    assert_eq!(numbers(&ran), [0, 1, 2]);
}

/// Two elements of one slot, sent one by one after a refusal: the second runs while the first is refused once more.
///
/// Ablation: with one order for all elements (`SendOrder::part` returns `self`) the first runs behind the second, and
/// nothing is refused.
#[actix::test]
async fn an_element_of_a_pipeline_that_a_later_element_has_overtaken_is_refused() {
    let (ran, seen): (Ran, _) = (Arc::default(), AtomicUsize::new(0));
    let nodes = Scripted::start(1, {
        let ran = ran.clone();
        move |asked| match asked.name().as_str() {
            // All three at first; then the first runs alone, and of the two behind it the older one is refused.
            "RPUSH" if [0, 1, 2, 4].contains(&seen.fetch_add(1, Ordering::SeqCst)) => {
                error("CLUSTERDOWN The cluster is down")
            }
            "RPUSH" => {
                ran.lock().expect("no panic").push(asked.word(2));
                int(1)
            }
            _ => Answer::Default,
        }
    });
    let redis = nodes.ready().await;
    let push = |nth: usize| RPush::new("list", [nth.to_string()]);
    let (first, second, third) =
        redis.send(Pipeline::new((push(0), push(1), push(2))).try_each()).await.expect("each in its place");
    first.expect("ran alone");
    assert_refused(second);
    third.expect("ran");
    assert_eq!(numbers(&ran), [0, 2]);
}

/// Ablation: without what `redirect_unit` says of the commands that ran fails with "overtaken: 1".
#[actix::test]
async fn a_command_that_a_part_of_a_pipeline_has_overtaken_is_refused() {
    let (nodes, ran) = refusing(&[false, true, false]);
    let redis = nodes.ready().await;
    let push = |nth: usize| RPush::new("list", [nth.to_string()]);
    let (alone, piped) = tokio::join!(
        redis.send(push(0)),
        redis.send(Pipeline::new((push(1), RPush::new("elsewhere", ["2"]))).try_each())
    );
    assert_refused(alone);
    let (first, second) = piped.expect("each in its place");
    first.expect("ran");
    second.expect("sent again");
    assert_eq!(numbers(&ran), [1, 2]);
}

/// What waits for its slot is bounded, and leaves at its deadline.
#[actix::test]
async fn what_waits_for_a_slot_is_bounded_and_ends_at_its_deadline() {
    let nodes = Scripted::start(1, |asked| match asked.name().as_str() {
        "RPUSH" => error("CLUSTERDOWN The cluster is down"),
        _ => Answer::Default,
    });
    let config = nodes.config().max_queued(10).command_timeout(ms(400));
    let redis = crate::support::hasty(config).start().expect("started");
    redis.ready(crate::support::TIME_LIMIT).await.expect("ready");
    let addr = redis.addr();
    let push = |nth: usize| addr.send(RPush::new("list", [nth.to_string()]));
    let first = push(0);
    let slot_closed = async {
        eventually("a refusal", || (nodes.count(0, "RPUSH") > 1).then_some(())).await;
        join_all((1..30).map(push)).await
    };
    let (first, others) = tokio::join!(first, slot_closed);
    let kinds = |kind: ErrorKind| {
        let errors = others.iter().filter_map(|outcome| outcome.as_ref().expect("there").as_ref().err());
        errors.filter(|error| error.kind() == kind && error.fate() == Fate::NotSent).count()
    };
    assert_eq!(first.expect("there").expect_err("down").kind(), ErrorKind::Timeout);
    assert!(kinds(ErrorKind::Overloaded) >= 19, "{others:?}");
    assert_eq!(kinds(ErrorKind::Overloaded) + kinds(ErrorKind::Timeout), 29, "{others:?}");
}

/// One caller that does not wait, on a real cluster, while a slot moves back and forth and another node goes and comes.
/// Without the queues of slots this fails only now and then.
#[actix::test]
async fn a_caller_keeps_its_order_while_slots_move_and_nodes_come_and_go() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    let redis = joined(&cluster).start().expect("started");
    redis.ready(crate::support::TIME_LIMIT).await.expect("ready");
    let slot = slot_of(&redis, "list");
    let others: Vec<_> = {
        let owner = cluster.owner(slot).expect("an owner").port();
        cluster.nodes().iter().filter(|node| node.port() != owner).map(redis_actix_test::RedisServer::port).collect()
    };
    let over = Arc::new(AtomicBool::new(false));
    let pushing = actix::spawn({
        let (redis, over) = (redis.clone(), over.clone());
        async move {
            let (mut next, mut kept) = (0, Vec::new());
            while !over.load(Ordering::SeqCst) {
                let outcomes = push_all(&redis, next, next + 200).await;
                kept.extend((next..).zip(outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(nth, _)| nth));
                next += 200;
                tokio::task::yield_now().await;
            }
            kept
        }
    });
    migrate(&cluster, slot, others[1]).await;
    let frozen = cluster.nodes().iter().find(|node| node.port() == others[0]).expect("there");
    frozen.stop_process().expect("frozen");
    // The others notice, and refuse everything.
    eventually("the cluster down", || {
        let owner = cluster.nodes().iter().find(|node| node.port() == others[1]).expect("there");
        owner.command(["CLUSTER", "INFO"]).ok()?.text().ok()?.contains("cluster_state:fail").then_some(())
    })
    .await;
    frozen.cont_process().expect("goes on");
    let well = cluster.clone();
    aside(move || well.wait_well_without(&[]).expect("well")).await;
    let before = redis.send(LLen::new("list")).await.expect("there");
    eventually("pushes going on", || {
        let node = cluster.owner(slot).ok()?;
        (node.command(["LLEN", "test:list"]).ok()?.int().ok()? > i64::try_from(before).expect("few")).then_some(())
    })
    .await;
    // Nodes that hear of two moves at once may take the first for the second, so there is one at each end.
    migrate(&cluster, slot, others[0]).await;
    let after = redis.send(LLen::new("list")).await.expect("there");
    eventually("pushes at the new owner", || {
        let node = cluster.nodes().iter().find(|node| node.port() == others[0])?;
        (node.command(["LLEN", "test:list"]).ok()?.int().ok()? > i64::try_from(after).expect("few")).then_some(())
    })
    .await;
    over.store(true, Ordering::SeqCst);
    let kept = pushing.await.expect("no panic");
    let list: Vec<usize> = redis.send(LRange::new("list", 0, -1)).await.expect("read");
    assert_eq!(list, kept, "inversions, losses or repetitions");
    assert!(kept.len() > 1000, "{}", kept.len());
}
