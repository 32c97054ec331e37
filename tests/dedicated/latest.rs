//! Reads from `$` and `+`.

use redis_actix::prelude::*;
use redis_actix_test::Proxy;

use crate::support::{TIME_LIMIT, config, hasty};
use crate::waiting;

fn read_from(id: &str) -> Raw<redis_actix::Value> {
    let mut read = redis::cmd("XREAD");
    read.arg("BLOCK").arg(20_000).arg("STREAMS").arg("s").arg(id);
    Raw::from_cmd(&read).expect("known")
}

/// Issue 16, row 10.
///
/// Ablation: `$` sent again fails with `in time: Elapsed`.
#[actix::test]
async fn entries_that_come_during_an_outage_are_read_from_dollar() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("started");
    let redis = hasty(config(proxy.port())).start().expect("started");
    redis.send(XAdd::new("s").field("f", "before")).await.expect("added");
    let read = redis.send(read_from("$"));
    waiting(&server, 1).await;
    proxy.refuse();
    proxy.reset_all();
    waiting(&server, 0).await;
    server.command(["XADD", "test:s", "*", "f", "during"]).expect("asked");
    proxy.pass();
    let page = tokio::time::timeout(TIME_LIMIT / 2, read).await.expect("in time").expect("read");
    let page = format!("{page:?}");
    assert!(page.contains("during") && !page.contains("before"), "{page}");
}

/// A user who may not ask for the last entry reads from `$` all the same, and gets an error when a link was lost meanwhile.
#[actix::test]
async fn a_read_from_dollar_that_could_not_be_resolved_fails_with_its_link() {
    let server = crate::support::server();
    let rights = ["ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-xrevrange"];
    server.command(rights).expect("asked").ok().expect("done");
    let proxy = Proxy::start(server.addr()).expect("started");
    let redis = hasty(config(proxy.port()).username("app").password("pw")).start().expect("started");
    let read = redis.send(read_from("$"));
    waiting(&server, 1).await;
    server.command(["XADD", "test:s", "*", "f", "v"]).expect("asked");
    assert!(format!("{:?}", read.await.expect("read")).contains('v'));
    let read = redis.send(read_from("$"));
    waiting(&server, 1).await;
    proxy.reset_all();
    let error = read.await.expect_err("entries may be missing");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Disconnected, Fate::Unknown), "{error}");
}
