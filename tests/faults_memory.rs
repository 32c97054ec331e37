//! Bounds: what queues, reconnects and hostile replies may cost. Each test counts in a process of its own.
#![cfg(target_os = "linux")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    future::Future,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use redis_actix::prelude::*;
use redis_actix::{CauseKind, ConnectionEvent, ConnectionState, ErrorKind, Fate, WhenDown};
use redis_actix_test::{Answer, FakeServer, Proxy};
use support::{Diary, TIME_LIMIT, alone, config, eventually, hasty, ms, resident, until, until_state};

const MIB: usize = 1 << 20;

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    // Without tokio's budget, which would call the many that are polled in one turn pending.
    let future = std::pin::pin!(tokio::task::unconstrained(future));
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Row 12. Ablation: without the bound by bytes memory grows beyond the budget.
#[actix::test]
async fn row_12_callers_who_keep_sending_to_a_frozen_server_cost_a_bounded_amount_of_memory() {
    if alone("row_12_callers_who_keep_sending_to_a_frozen_server_cost_a_bounded_amount_of_memory") {
        keep_sending(1024).await;
    }
}

/// Row 12, small commands. Ablation: counting the arguments alone and not the bookkeeping.
#[actix::test]
async fn row_12_small_commands_count_with_what_is_kept_about_them() {
    let unused_port = redis_actix_test::free_port().expect("a port");
    let redis = hasty(config(unused_port).max_queued_bytes(100 * 400)).start().expect("started");
    redis.ready(ms(30)).await.expect_err("no server");
    let calls: Vec<_> = (0..1_000).map(|_| redis.addr().send(Incr::new("k").timeout(ms(300)))).collect();
    let answers = futures_util::future::join_all(calls).await;
    let waited = answers.into_iter().map(|answer| answer.expect("alive").expect_err("down"));
    let waited = waited.filter(|error| error.kind() != ErrorKind::Overloaded).count();
    assert!((90..=115).contains(&waited), "{waited} commands in room for a hundred");
}

async fn keep_sending(size: usize) {
    let server = support::server();
    let (on_wire, in_queue) = (16 * MIB, 32 * MIB);
    let config = config(server.port())
        .max_in_flight_bytes(on_wire)
        .max_queued_bytes(in_queue)
        .command_timeout(TIME_LIMIT)
        .liveness(None);
    let redis = hasty(config).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    server.stop_process().expect("frozen");
    let value = vec![b'x'; size];
    let (mut waiting, mut refused) = (Vec::with_capacity(100_000), 0);
    let before = resident();
    for batch in 0..400 {
        let mut asked: Vec<_> =
            (0..500).map(|nth| Box::pin(redis.addr().send(Set::new(format!("k{batch}:{nth}"), &value[..])))).collect();
        for _ in 0..4 {
            // The actor's turn.
            tokio::task::yield_now().await;
        }
        asked.retain_mut(|request| match poll_once(request) {
            Poll::Pending => true,
            Poll::Ready(answer) => {
                let error = answer.expect("alive").expect_err("frozen");
                assert_eq!((error.kind(), error.fate()), (ErrorKind::Overloaded, Fate::NotSent), "{error}");
                refused += 1;
                false
            }
        });
        waiting.append(&mut asked);
    }
    let grown = resident() - before;
    println!("{} wait, {refused} refused, {} KiB more", waiting.len(), grown / 1024);
    assert!(refused > 100_000, "{refused} of 200,000 refused");
    assert!(grown <= (on_wire + in_queue) * 12 / 10, "{} MiB for a budget of 48", grown / MIB);
    assert!(waiting.len() * (size + 420) > (on_wire + in_queue) / 2, "a budget that is hardly used: {}", waiting.len());
    server.cont_process().expect("thawed");
    for request in waiting {
        request.await.expect("alive").expect("served in the end");
    }
}

/// Row 12, handles. Ablation: refusing them as well.
#[actix::test]
async fn row_12_a_handle_waits_for_room_where_an_address_is_refused() {
    let server = support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let config = config(proxy.port()).max_in_flight(10).max_queued(10).command_timeout(TIME_LIMIT);
    let redis = hasty(config).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    proxy.refuse();
    proxy.reset_all();
    until_state(&redis, ConnectionState::Backoff).await;
    let mut calls: Vec<_> = (0..100).map(|_| redis.send(Incr::new("k"))).collect();
    calls.iter_mut().for_each(|call| assert!(poll_once(call).is_pending()));
    let error = redis.send(Incr::new("k").timeout(ms(50))).await.expect_err("no room");
    assert_eq!((error.kind(), error.fate(), error.command()), (ErrorKind::Overloaded, Fate::NotSent, Some("INCR")));
    let error = redis.addr().send(Incr::new("k")).await.expect("alive").expect_err("no room");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Overloaded, Fate::NotSent));
    let error = redis.send(Incr::new("k").when_down(WhenDown::FailFast)).await.expect_err("no room and no link");
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    // Leaving callers make no room before their commands are gone, or they could fill all memory.
    drop(calls.split_off(50));
    proxy.pass();
    for call in calls {
        call.await.expect("served");
    }
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 51);
}

/// There is room for two. Ablation: with the room of a command held until its caller looks at the reply, the second PING
/// finds none.
#[actix::test]
async fn an_unread_reply_takes_no_room() {
    let server = support::server();
    let redis = hasty(config(server.port()).max_in_flight(1).max_queued(1)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let mut replies = Vec::new();
    for _ in 0..5 {
        replies.push(redis.send(Incr::new("k")));
        redis.send(Ping::new()).await.expect("there is room");
    }
    for (nth, reply) in (1..).zip(replies) {
        assert_eq!(reply.await.expect("counted"), nth);
    }
}

/// What the documentation of the limits says a waiting command costs.
#[actix::test]
async fn memory_of_a_queued_command() {
    if !alone("memory_of_a_queued_command") {
        return;
    }
    const COMMANDS: usize = 100_000;
    let unused_port = redis_actix_test::free_port().expect("a port");
    let config = config(unused_port).max_queued(COMMANDS).command_timeout(TIME_LIMIT);
    let redis = hasty(config).start().expect("started");
    let _ = redis.ready(ms(20)).await;
    let mut calls = Vec::with_capacity(COMMANDS);
    let before = resident();
    for nth in 0..COMMANDS {
        calls.push(redis.send(Set::new(format!("key:{nth:06}"), "some value")));
        if nth % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    eventually("all of them queued", || {
        calls.last_mut().is_some_and(|call| poll_once(call).is_pending()).then_some(())
    })
    .await;
    tokio::task::yield_now().await;
    let grown = resident() - before;
    let futures = size_of_val(&calls[..]);
    // Beside the caller's future, the key and the value.
    let each = (grown - futures) / COMMANDS - 20;
    println!("{each} bytes for each of {COMMANDS} queued commands, beside a future of {}", futures / COMMANDS);
    // A recorder of metrics gets the duration of each command.
    let most = if cfg!(feature = "metrics") { 475 } else { 383 };
    assert!(each <= most, "{each} bytes");
}

/// Row 13. Ablation: keeping the old link until its peer closes it, which a held one never does.
#[actix::test]
async fn row_13_hundreds_of_reconnects_leave_nothing_behind() {
    if !alone("row_13_hundreds_of_reconnects_leave_nothing_behind") {
        return;
    }
    let server = support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let config = config(proxy.port()).command_timeout(ms(5)).liveness(ms(10)).connect_timeout(ms(100));
    let redis =
        hasty(config).reconnect(redis_actix::ReconnectPolicy::exponential(ms(1)..=ms(2))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let open = || std::fs::read_dir("/proc/self/fd").expect("linux").count();
    let mut steady = None;
    for cycle in 0_u64..500 {
        until_state(&redis, ConnectionState::Ready).await;
        let lost = redis.status().borrow().disconnects;
        proxy.hold();
        let _ = redis.send(Get::<String>::new("k")).await;
        until(&redis, "rid of the held link", |status| status.disconnects > lost).await;
        proxy.pass();
        if cycle % 100 == 20 {
            until_state(&redis, ConnectionState::Ready).await;
            eventually("one client left", || (proxy.live_connections() == 1).then_some(())).await;
            let now = (open(), resident());
            let (files, memory) = *steady.get_or_insert(now);
            assert!(now.0 <= files + 2, "{} files open, {files} before", now.0);
            assert!(now.1 <= memory + 4 * MIB, "{} KiB more", (now.1 - memory) / 1024);
        }
    }
    until_state(&redis, ConnectionState::Ready).await;
    eventually("one client on the server", || (server.clients().expect("listed").len() == 1).then_some(())).await;
}

/// Row 17. Ablation: a decoder that reserves the announced size, or recurses into nested values.
#[actix::test]
async fn row_17_hostile_replies_cost_an_error_and_no_memory() {
    if !alone("row_17_hostile_replies_cost_an_error_and_no_memory") {
        return;
    }
    let reply = Arc::new(Mutex::new(Vec::new()));
    let server = FakeServer::builder()
        .on({
            let reply = reply.clone();
            move |_| Answer::raw(reply.lock().expect("whole").clone())
        })
        .start()
        .expect("started");
    let config = config(server.port()).command_timeout(Duration::from_secs(2)).liveness(ms(500));
    let (builder, diary) = Diary::of(hasty(config));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let before = resident();
    let endless = [b"*1000000\r\n".to_vec(), b"*1000000\r\n".repeat(3)].concat();
    let hostile: [&[u8]; 14] = [
        &b"*1\r\n".repeat(10_000),
        &b"%1\r\n+k\r\n".repeat(10_000),
        b"*2147483647\r\n",
        b"$2147483647\r\n",
        b"%9223372036854775807\r\n",
        b"*18446744073709551616\r\n",
        b"$-2\r\n",
        b"*-7\r\n",
        b"%-1\r\n",
        b":1e9\r\n",
        b"$3\r\nabcd\r\n",
        &endless,
        &[b"+", &[b'x'; 2 * MIB][..], b"\r\n"].concat(),
        b"$536870912\r\nand then nothing",
    ];
    for bytes in hostile {
        *reply.lock().expect("whole") = bytes.to_vec();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(30)]).into_owned();
        let error = redis.send(Incr::new("k")).await.map_or_else(|error| error, |_| panic!("{shown:?} is no number"));
        assert_eq!(error.fate(), Fate::Unknown, "{shown:?}: {error}");
        let expected = [ErrorKind::Protocol, ErrorKind::Timeout, ErrorKind::Disconnected];
        assert!(expected.contains(&error.kind()), "{shown:?}: {error}");
        *reply.lock().expect("whole") = b":7\r\n".to_vec();
        assert_eq!(redis.send(Incr::new("k")).await.expect("alive, on a new link"), 7, "after {shown:?}");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 24 * MIB, "{} MiB more", grown / MIB);
    assert_eq!(redis.status().borrow().restarts, 0);
    let protocol = |event: &ConnectionEvent| matches!(event, ConnectionEvent::Disconnected { cause, .. } if cause.kind() == CauseKind::Protocol);
    assert!(diary.count(protocol) >= 12, "{:?}", diary.count(protocol));
}
