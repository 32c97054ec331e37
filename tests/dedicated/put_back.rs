//! What callers leave behind goes back as it was.

use redis_actix::ConnectionEvent;
use redis_actix::prelude::*;

use crate::support::{Diary, TIME_LIMIT, config, eventually, hasty};
use crate::waiting;

/// Issue 16, row 14.
///
/// Ablation: put back as each is called off fails with another order, as `["e5", "e1", "e2", "e4", "e3"]`.
#[actix::test]
async fn elements_of_callers_who_leave_together_keep_their_order() {
    let server = crate::support::server();
    let (builder, diary) = Diary::of(hasty(config(server.port())));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let all = ["e1", "e2", "e3", "e4", "e5"];
    for round in 1..=5 {
        let mut pops = Vec::new();
        for nth in 1..=all.len() {
            let pop = if round % 2 == 0 {
                actix::spawn({
                    let pop = redis.send(BLPop::new(["l"], TIME_LIMIT));
                    async move { drop(pop.await) }
                })
            } else {
                let pop = redis.send(BLPop::new(["other", "l"], TIME_LIMIT));
                actix::spawn(async move { drop(pop.await) })
            };
            pops.push(pop);
            waiting(&server, nth).await;
        }
        // Nothing of this thread runs between the push and the end of the callers.
        server.command([&["RPUSH", "test:l"][..], &all].concat()).expect("pushed");
        pops.iter().for_each(|pop| pop.abort());
        let put_back = |event: &ConnectionEvent| matches!(event, ConnectionEvent::PutBack { .. });
        eventually("all are back", || (diary.count(put_back) == all.len() * round).then_some(())).await;
        let list = server.command(["LRANGE", "test:l", "0", "-1"]).expect("asked");
        let list: Vec<_> = list.array().expect("a list").iter().map(|one| one.text().expect("text")).collect();
        assert_eq!(list, all);
        server.command(["DEL", "test:l"]).expect("asked");
    }
}
