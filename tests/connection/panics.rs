//! Code of callers that panics on the actor's thread.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Wake, Waker},
};

use actix::Message;
use redis_actix::prelude::*;
use redis_actix::{ErrorKind, Fate, Frame, Value};

use crate::support::{self, TIME_LIMIT, config, hasty, injected_panics_are_quiet};

struct Fatal;

impl Wake for Fatal {
    fn wake(self: Arc<Self>) {
        panic!("injected while a caller is woken");
    }
}

/// An INCR whose reply panics when it is dropped, unless it was taken apart.
struct Explosive;

struct Bomb(Option<i64>);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0.is_some() && !std::thread::panicking() {
            panic!("injected while a reply is dropped");
        }
    }
}

impl Message for Explosive {
    type Result = redis_actix::Result<Bomb>;
}

impl Command for Explosive {
    type Reply = Bomb;

    fn frame(&self) -> Frame {
        Frame::new("INCR").key("k")
    }

    fn reply(value: Value) -> redis_actix::Result<Bomb> {
        redis_actix::decode(value).map(|count| Bomb(Some(count)))
    }
}

/// Polls once, by a waker that panics.
fn poll_fatally<F: Future>(future: &mut Pin<Box<F>>) {
    let waker = Waker::from(Arc::new(Fatal));
    // Unconstrained: else the runtime, too, may wake it.
    let mut call = std::pin::pin!(tokio::task::unconstrained(future.as_mut()));
    assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending(), "answered before it was sent");
}

/// Ablation: without `catch_unwind` around the delivery others fail with "it panicked: injected while a caller is woken".
#[actix::test]
async fn a_caller_whose_waker_or_reply_panics_does_not_affect_others() {
    injected_panics_are_quiet();
    let server = support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let (mut good, mut fatal) = (Vec::new(), Vec::new());
    for nth in 0..200 {
        good.push(redis.send(Incr::new("k")));
        match nth % 50 {
            0 => {
                let mut call = Box::pin(redis.send(Incr::new("k")));
                poll_fatally(&mut call);
                fatal.push(call);
            }
            25 => drop(redis.send(Explosive)),
            _ => {}
        }
    }
    for call in good {
        call.await.expect("its own answer");
    }
    for call in fatal {
        call.await.expect("it is there, though its waker panicked");
    }
    let status = redis.status().borrow().clone();
    assert_eq!((status.restarts, status.disconnects, status.generation), (0, 0, 1));
}

struct Defect;

impl Message for Defect {
    type Result = redis_actix::Result<i64>;
}

impl Command for Defect {
    type Reply = i64;

    fn frame(&self) -> Frame {
        panic!("injected while a message is built");
    }

    fn reply(value: Value) -> redis_actix::Result<i64> {
        redis_actix::decode(value)
    }
}

/// Ablation: without `catch_unwind` around `into_frame` others fail with `MailboxError(Mailbox has closed)`.
#[actix::test]
async fn a_message_that_panics_while_it_is_built_in_the_actor_does_not_affect_others() {
    injected_panics_are_quiet();
    let server = support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let good: Vec<_> = (0..100).map(|_| redis.addr().send(Incr::new("k"))).collect();
    let bad = redis.addr().send(Defect);
    redis.addr().do_send(Defect);
    for call in good {
        call.await.expect("the actor is there").expect("its own answer");
    }
    let error = bad.await.expect("the actor is there").expect_err("a panic");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent), "{error}");
    let status = redis.status().borrow().clone();
    assert_eq!((status.restarts, status.disconnects), (0, 0));
}
