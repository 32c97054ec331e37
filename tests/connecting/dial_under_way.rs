//! Dials that lead elsewhere by the time they are under way.

use redis_actix::prelude::*;
use redis_actix_test::{Answer, Proxy};

use crate::cluster_support::slot_of_name;
use crate::scripted::{Scripted, int, okay};
use crate::support::{TIME_LIMIT, eventually, ms};

/// A node accepts and does not answer, and another one takes its slots over.
///
/// Ablation: where a dial under way is not rechecked, it lasts for the connect timeout of a minute: "no connection within 30s".
#[actix::test]
async fn a_dial_under_way_is_replaced_when_the_topology_names_another_node() {
    let cluster = Scripted::start(2, |asked| match asked.name().as_str() {
        "BLPOP" if asked.node == 1 => Answer::raw("*2\r\n$6\r\ntest:l\r\n$1\r\nx\r\n"),
        "INCR" if asked.node == 0 => asked.moved("test:l", 1),
        "INCR" => int(1),
        _ => okay(),
    });
    let proxy = Proxy::start(cluster.nodes[0].addr()).expect("started");
    let slot = slot_of_name("test:l");
    let (first, second) = (proxy.port(), cluster.nodes[1].port());
    let rest: Vec<_> = [(0, slot.checked_sub(1)), (slot + 1, Some(16_383))]
        .into_iter()
        .filter_map(|(from, to)| to.filter(|to| from <= *to).map(|to| (from, to, second)))
        .collect();
    let assign = |owner| cluster.assign_ports(rest.iter().copied().chain([(slot, slot, owner)]));
    assign(first);
    let redis = crate::support::hasty(cluster.config().connect_timeout(ms(60_000)).command_timeout(ms(30_000)))
        .start()
        .expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let dials = proxy.connections();
    eventually("the link to the first node", || (proxy.live_connections() > 0).then_some(())).await;
    proxy.accept_and_stay_silent();
    let pop = redis.send(BLPop::new(["l"], TIME_LIMIT * 2).typed::<String>());
    let pop = actix::spawn(pop);
    eventually("its dial", || (proxy.connections() > dials).then_some(())).await;
    assign(second);
    // MOVED, so the topology is refreshed.
    assert_eq!(redis.send(Incr::new("l")).await.expect("redirected"), 1);
    let popped = pop.await.expect("no panic");
    assert_eq!(popped.expect("served").expect("an element").value, "x");
}
