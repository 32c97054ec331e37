//! A link on which bytes come and no command is answered.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use redis_actix::prelude::*;
use redis_actix_test::{Answer, FakeServer};

use crate::support::{TIME_LIMIT, config, hasty, ms};

/// A server whose first connection answers every command with `begin`, and sends `trickle` from then on.
async fn is_redialled(begin: &'static str, trickle: &'static [u8]) {
    let first = Arc::new(AtomicBool::new(true));
    let is_first = first.clone();
    let server = FakeServer::builder()
        .on(
            move |_| {
                if is_first.swap(false, Ordering::SeqCst) { Answer::raw(begin) } else { Answer::raw("$1\r\nv\r\n") }
            },
        )
        .start()
        .expect("a server");
    let redis = hasty(config(server.port()).liveness(ms(400)).command_timeout(TIME_LIMIT)).start().expect("started");
    let answer = redis.send(Get::<String>::new("k"));
    let trickling = async {
        loop {
            tokio::time::sleep(ms(20)).await;
            if server.connections() < 2 {
                server.send(trickle);
            }
        }
    };
    let answer = tokio::select! {
        answer = answer => answer,
        () = trickling => unreachable!("it never ends"),
        () = tokio::time::sleep(TIME_LIMIT / 2) => panic!("the dead link was never given up"),
    };
    assert_eq!(answer.expect("answered on the next link").as_deref(), Some("v"));
    assert_eq!(redis.status().borrow().disconnects, 1);
}

/// Ablation: with bytes as progress in `Liveness` "the dead link was never given up".
#[actix::test]
async fn a_reply_that_trickles_does_not_keep_a_dead_link_alive() {
    is_redialled("$100000\r\n", b"x").await;
}

/// Ablation: as above.
#[actix::test]
async fn pushes_without_replies_do_not_keep_a_dead_link_alive() {
    is_redialled("", b">2\r\n+hello\r\n+x\r\n").await;
}

#[actix::test]
async fn an_idle_link_with_pushes_is_kept() {
    let server = FakeServer::builder().on(|_| Answer::raw("$1\r\nv\r\n")).start().expect("a server");
    let redis = hasty(config(server.port()).liveness(ms(200))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    for _ in 0..40 {
        server.send(b">2\r\n+hello\r\n+x\r\n");
        tokio::time::sleep(ms(20)).await;
    }
    assert_eq!(redis.send(Get::<String>::new("k")).await.expect("answered").as_deref(), Some("v"));
    assert_eq!((redis.status().borrow().disconnects, server.connections()), (0, 1));
}
