//! The link: silent, closed, garbled, slow, and how it is dialled again.

use std::{cell::Cell, rc::Rc, time::Duration};

use crate::support::{
    Diary, Own, TIME_LIMIT, answered_unseen, ask_the_frozen, config, eventually, hasty, ms, until, until_state,
};
use redis_actix::prelude::*;
use redis_actix::{CauseKind, ConnectionEvent, ConnectionState, ErrorKind, Fate, Frame, ReconnectPolicy, Value};
use redis_actix_test::{Answer, Direction, FakeServer, Proxy};
use tokio::time::Instant;

fn is_stalled(event: &ConnectionEvent) -> bool {
    matches!(event, ConnectionEvent::Disconnected { cause, .. } if cause.kind() == CauseKind::Stalled)
}

fn is_lost(event: &ConnectionEvent) -> bool {
    matches!(event, ConnectionEvent::Disconnected { .. })
}

/// Callers that go on whatever happens, each call of them answered in time.
struct Load {
    over: Rc<Cell<bool>>,
    callers: Vec<actix::clock::Timeout<tokio::task::JoinHandle<()>>>,
}

impl Load {
    fn of(redis: &Redis, callers: usize, answered_within: Duration) -> Self {
        let over = Rc::new(Cell::new(false));
        let callers = (0..callers)
            .map(|caller| {
                let (redis, over) = (redis.clone(), over.clone());
                let task = actix::spawn(async move {
                    while !over.get() {
                        let asked = Instant::now();
                        let _ = redis.send(Get::<String>::new(format!("k{caller}"))).await;
                        assert!(asked.elapsed() < answered_within, "answered after {:?}", asked.elapsed());
                        tokio::task::yield_now().await;
                    }
                });
                tokio::time::timeout(TIME_LIMIT * 2, task)
            })
            .collect();
        Self { over, callers }
    }

    async fn end(self) {
        self.over.set(true);
        for caller in self.callers {
            caller.await.expect("in time").expect("no panic");
        }
    }
}

async fn one_client_is_left(server: &redis_actix_test::RedisServer) {
    eventually("exactly one client", || (server.clients().expect("listed").len() == 1).then_some(())).await;
}

/// Row 3, busy. Ablation: without the check of the link it times out without end and is never replaced.
#[actix::test]
async fn row_03_a_half_open_link_in_use_is_replaced() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let config = config(proxy.port()).command_timeout(ms(150)).connect_timeout(ms(400));
    let (builder, diary) = Diary::of(hasty(config));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let load = Load::of(&redis, 16, ms(1_500));
    proxy.hold();
    let held = Instant::now();
    diary.entry("the stalled link", is_stalled).await;
    assert!(held.elapsed() >= ms(250), "given up within {:?}, before twice the command timeout", held.elapsed());
    proxy.pass();
    until_state(&redis, ConnectionState::Ready).await;
    load.end().await;
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 1);
    one_client_is_left(&server).await;
}

/// Row 3, idle. Ablation: without the PING it is noticed only by the next command.
#[actix::test]
async fn row_03_an_idle_half_open_link_is_replaced() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let config = config(proxy.port()).liveness(ms(200)).connect_timeout(ms(400));
    let (builder, diary) = Diary::of(hasty(config));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    proxy.hold();
    diary.entry("the stalled link", is_stalled).await;
    proxy.pass();
    until_state(&redis, ConnectionState::Ready).await;
    one_client_is_left(&server).await;
}

/// Row 3, frozen. The system goes on accepting connections for the frozen server.
#[actix::test]
async fn row_03_a_frozen_server_is_left_and_found_again_with_one_client() {
    let server = crate::support::server();
    let config = config(server.port()).command_timeout(ms(150)).connect_timeout(ms(300));
    let (builder, diary) = Diary::of(hasty(config));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let load = Load::of(&redis, 8, ms(1_500));
    server.stop_process().expect("frozen");
    diary.entry("the stalled link", is_stalled).await;
    until(&redis, "dialling in vain", |status| status.attempt >= 4).await;
    server.cont_process().expect("thawed");
    until_state(&redis, ConnectionState::Ready).await;
    load.end().await;
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 1);
    one_client_is_left(&server).await;
}

/// Watching costs no traffic: only an idle link is asked.
#[actix::test]
async fn a_link_in_use_is_never_pinged() {
    let server = FakeServer::builder().on(|_| Answer::raw(":1\r\n")).start().expect("started");
    let liveness = ms(50);
    let redis = hasty(config(server.port()).liveness(liveness)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let pings = || server.received().iter().filter(|argv| argv[0] == b"PING").count();
    let (before, started) = (pings(), Instant::now());
    while started.elapsed() < liveness * 6 {
        redis.send(Incr::new("k")).await.expect("counted");
    }
    assert_eq!(pings(), before);
    eventually("a PING on the idle link", || (pings() > before).then_some(())).await;
    assert_eq!(server.connections(), 1);
}

/// Ablation: judging before reading. The answer lies in the socket when this thread wakes up again.
#[actix::test]
async fn a_stalled_thread_does_not_take_its_own_silence_for_the_servers() {
    let server = crate::support::server();
    let liveness = ms(100);
    let (builder, diary) = Diary::of(hasty(config(server.port()).liveness(liveness)));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    server.stop_process().expect("frozen");
    let reads: Vec<_> = (0..10).map(|_| redis.send(Incr::new("k"))).collect();
    tokio::task::yield_now().await;
    server.cont_process().expect("thawed");
    // The fault itself: nothing on this thread runs for many times the liveness limit, while replies arrive.
    std::thread::sleep(liveness * 5);
    for read in reads {
        read.await.expect("answered");
    }
    assert_eq!(diary.count(is_lost), 0);
}

/// They are more than one turn completes. Ablation: with deadlines judged before the rest is read, all
/// but the first turn's time out.
#[actix::test]
async fn a_stalled_thread_completes_answered_commands_before_it_checks_deadlines() {
    let server = crate::support::server();
    let time_limit = ms(500);
    let redis = hasty(config(server.port()).command_timeout(time_limit).liveness(None)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let counts = ask_the_frozen(&redis, &server, 1_000).await;
    answered_unseen(&server, 1_000);
    // The fault itself: their deadlines pass while the answers lie there.
    std::thread::sleep(time_limit * 2);
    for count in counts {
        count.await.expect("answered");
    }
}

/// One server and one thread of callers work at the same time only where neither waits for all of the other. The last of
/// 64 callers, when it is completed, finds the server busy with the next commands of the first half. Ablation: with all
/// completed in one turn, nothing of that has been written.
#[actix::test]
async fn the_server_works_on_one_half_while_the_other_is_completed() {
    let server = Rc::new(crate::support::server());
    let redis = hasty(config(server.port()).command_timeout(TIME_LIMIT * 2)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let counts = ask_the_frozen(&redis, &server, 64).await;
    answered_unseen(&server, 64);
    let callers: Vec<_> = counts
        .into_iter()
        .map(|count| {
            let (redis, server) = (redis.clone(), server.clone());
            actix::spawn(async move {
                let nth = count.await.expect("answered");
                let next = redis.send(Incr::new("next"));
                if nth == 64 {
                    let deadline = Instant::now() + TIME_LIMIT;
                    let counted = || server.command(["INCRBY", "test:next", "0"]).and_then(|count| count.int());
                    while counted().expect("a number") < 32 {
                        assert!(Instant::now() < deadline, "the server has nothing to do");
                        std::thread::yield_now();
                    }
                }
                next.await.expect("answered")
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
}

/// One read has more replies than one turn completes, and the completed callers send again, which the link does not
/// survive. Ablation: without a last look at what it had brought, the fate of all but the first turn's is unknown.
#[actix::test]
async fn a_link_that_ends_has_completed_every_reply_it_received() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let counts = ask_the_frozen(&redis, &server, 1_000).await;
    answered_unseen(&server, 1_000);
    server.kill().expect("killed");
    let callers: Vec<_> = counts
        .into_iter()
        .map(|count| {
            let redis = redis.clone();
            actix::spawn(async move {
                let count = count.await;
                drop(redis.send(Incr::new("k{a}")));
                count
            })
        })
        .collect();
    for (nth, caller) in (1..).zip(callers) {
        assert_eq!(caller.await.expect("no panic").expect("answered"), nth);
    }
}

/// Row 5. Ablation: without jitter every attempt of all fifty falls into one moment.
#[actix::test]
async fn row_05_fifty_clients_do_not_come_back_in_one_moment() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let policy = || ReconnectPolicy::exponential(ms(200)..=ms(2_000));
    let clients: Vec<_> =
        (0..50).map(|_| hasty(config(proxy.port())).reconnect(policy()).start().expect("started")).collect();
    for redis in &clients {
        redis.ready(TIME_LIMIT).await.expect("ready");
    }
    let before = proxy.connections();
    let killed = std::time::Instant::now();
    server.kill().expect("killed");
    proxy.connected(before + 200, TIME_LIMIT).await.expect("all of them dial");
    server.restart_without_waiting().expect("restarted");
    for redis in &clients {
        until_state(redis, ConnectionState::Ready).await;
    }
    // The server was away for these: what comes after them is the good news.
    let dials: Vec<_> = proxy.dials()[before..before + 200].iter().map(|dial| dial.duration_since(killed)).collect();
    let within_50_ms = |from: &Duration| dials.iter().filter(|dial| **dial >= *from && **dial < *from + ms(50)).count();
    let fullest = dials.iter().map(within_50_ms).max().expect("dials");
    assert!(fullest * 5 <= dials.len(), "{fullest} of {} dials within 50 ms: {dials:?}", dials.len());
}

/// Row 6. Ablation: without a pause before the first retry this is a hot loop.
#[actix::test]
async fn row_06_a_server_that_accepts_and_closes_is_not_hammered() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    proxy.accept_and_close();
    let policy = ReconnectPolicy::exponential(ms(20)..=ms(10_000));
    let redis = hasty(config(proxy.port())).reconnect(policy).start().expect("started");
    let error = redis.ready(ms(1_500)).await.expect_err("closed every time");
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!((3..=30).contains(&proxy.connections()), "{} dials", proxy.connections());
}

/// Row 6, after the handshake. Ablation: restarting the delays with every connection instead of with
/// every stable one.
#[actix::test]
async fn row_06_a_server_that_greets_and_closes_sees_growing_delays() {
    let server = FakeServer::builder()
        .own_handshake()
        .on(|argv| match &argv[0][..] {
            b"PING" => Answer::RawThenClose(b"+PONG\r\n".to_vec()),
            b"HELLO" => Answer::raw("%0\r\n"),
            _ => Answer::raw("+OK\r\n"),
        })
        .start()
        .expect("started");
    let policy = ReconnectPolicy::exponential(ms(5)..=ms(10_000));
    let (builder, diary) = Diary::of(hasty(config(server.port())).reconnect(policy));
    let redis = builder.start().expect("started");
    let _ = redis.ready(TIME_LIMIT).await;
    until(&redis, "lost eight times", |status| status.disconnects >= 8).await;
    let attempts: Vec<_> = diary
        .events()
        .into_iter()
        .filter_map(|event| match event {
            ConnectionEvent::Connecting { attempt, .. } => Some(attempt),
            _ => None,
        })
        .collect();
    assert!(attempts.iter().zip(1..).all(|(attempt, nth)| *attempt == nth), "restarted: {attempts:?}");
}

/// Row 16. Ablation: going on after bytes that make no sense.
#[actix::test]
async fn row_16_garbage_costs_one_link_and_one_error() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let (builder, diary) = Diary::of(hasty(config(proxy.port()).command_timeout(ms(300)).liveness(ms(300))));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    type Fault = fn(&Proxy);
    let faults: [(&str, Fault, CauseKind); 4] = [
        ("a corrupt reply", |proxy| proxy.corrupt(1), CauseKind::Protocol),
        ("a cut reply", |proxy| proxy.cut_after(Direction::ToClient, 2), CauseKind::Broken),
        ("a reply of another protocol", |proxy| proxy.inject(b"HTTP/1.1 400 Bad Request\r\n"), CauseKind::Protocol),
        ("a reply without its beginning", |proxy| proxy.truncate(1), CauseKind::Protocol),
    ];
    for (lost, (what, fault, kind)) in (1..).zip(faults) {
        proxy.hold_only(Direction::ToClient);
        let writes: Vec<_> = (0..5).map(|_| redis.send(Incr::new("k"))).collect();
        let read = redis.send(Get::<String>::new("other"));
        let sent = proxy.bytes_to_server();
        eventually("the commands on their way", || (proxy.bytes_to_server() > sent).then_some(())).await;
        fault(&proxy);
        proxy.resume();
        for write in writes {
            if let Err(error) = write.await {
                assert_eq!(error.fate(), Fate::Unknown, "{what}: {error}");
            }
        }
        assert_eq!(read.await.expect("reads are sent again"), None, "{what}");
        let status =
            until(&redis, "ready again", |status| status.disconnects == lost && status.state == ConnectionState::Ready);
        status.await;
        let cause = |event: &ConnectionEvent| matches!(event, ConnectionEvent::Disconnected { cause, .. } if cause.kind() == kind);
        assert!(
            cause(diary.events().iter().rev().find(|event| is_lost(event)).expect("lost")),
            "{what}: {:?}",
            diary.events().last()
        );
    }
}

/// Row 16. An unsolicited frame would shift every later reply to another caller.
#[actix::test]
async fn row_16_a_reply_to_nothing_closes_the_link() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis = hasty(config(proxy.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    proxy.inject(b"$7\r\nforeign\r\n");
    let status = until(&redis, "rid of that link", |status| status.disconnects == 1).await;
    assert!(status.cause.is_none_or(|cause| cause.kind() == CauseKind::Protocol));
    assert_eq!(redis.send(Get::<String>::new("k")).await.expect("asked"), None);
}

#[actix::test]
async fn row_16_replies_in_pieces_of_one_byte_are_whole() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    proxy.split(1);
    let redis = hasty(config(proxy.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let value = "\r\n$5\r\nx".repeat(20);
    redis.send(Set::new("k", &*value)).await.expect("written");
    let reads: Vec<_> = (0..20).map(|_| redis.send(Get::<String>::new("k"))).collect();
    for read in reads {
        assert_eq!(read.await.expect("read").as_deref(), Some(&*value));
    }
    assert_eq!(redis.status().borrow().disconnects, 0);
}

/// Row 19. Ablation: writing to the end before reading. This server stops reading when the client does not take its
/// replies, and both wait without end.
#[actix::test]
async fn row_19_a_server_that_answers_before_it_reads_on_is_no_deadlock() {
    const MIB: usize = 1 << 20;
    let answer = [format!("${MIB}\r\n").as_bytes(), &vec![b'y'; MIB], b"\r\n"].concat();
    let server = FakeServer::builder().on(move |_| Answer::raw(answer.clone())).start().expect("started");
    let config = config(server.port()).command_timeout(TIME_LIMIT).liveness(Duration::from_secs(5));
    let redis = hasty(config).start().expect("started");
    let big = vec![b'x'; MIB];
    let unit = Frame::join((0..50).map(|nth| Frame::new("SET").key(format!("k{nth}")).arg(&big[..]).arg("GET")));
    let Value::Array(replies) = redis.send(Own(unit)).await.expect("through") else { panic!("not a unit") };
    assert_eq!((replies.len(), redis.status().borrow().disconnects), (50, 0));
}

/// Row 19, with a real server and replies as large as the requests.
#[actix::test]
async fn row_19_huge_pipelines_do_not_deadlock() {
    const MIB: usize = 1 << 20;
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    proxy.split(1024);
    let config = config(proxy.port()).command_timeout(Duration::from_secs(40)).liveness(Duration::from_secs(5));
    let redis = hasty(config).start().expect("started");
    let big = vec![b'x'; MIB];
    // Each answers the value before it: a megabyte both ways at the same time.
    let set = |nth: usize| Frame::new("SET").key(format!("k{}", nth % 20)).arg(&big[..]).arg("GET");
    let unit = Frame::join((0..200).map(set));
    let Value::Array(replies) = redis.send(Own(unit)).await.expect("through") else { panic!("not a unit") };
    assert_eq!(replies.len(), 200);
    let sizes = |reply: &Value| match reply {
        Value::BulkString(bytes) => bytes.len(),
        _ => 0,
    };
    assert_eq!(replies.iter().map(sizes).sum::<usize>(), 180 * MIB);
    assert_eq!(redis.status().borrow().disconnects, 0);
}

/// Row 21. Ablation: counting the closing of an idle link as a failure makes the delays grow to their
/// longest, and with a server that closes often there is hardly ever a link.
#[actix::test]
async fn row_21_a_server_that_closes_idle_clients_finds_them_back_at_once() {
    let server = crate::support::server();
    server.command(["CONFIG", "SET", "timeout", "1"]).expect("set").ok().expect("set");
    let policy = ReconnectPolicy::exponential(ms(10)..=ms(10_000)).stable_after(Duration::from_secs(60));
    let (builder, diary) = Diary::of(hasty(config(server.port())).reconnect(policy));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    until(&redis, "closed four times", |status| status.disconnects >= 4).await;
    until_state(&redis, ConnectionState::Ready).await;
    assert_eq!(redis.send(Incr::new("k")).await.expect("the next command succeeds"), 1);
    for event in diary.events() {
        match event {
            ConnectionEvent::Retrying { delay, .. } => assert!(delay <= ms(10), "the delays grow: {delay:?}"),
            ConnectionEvent::Disconnected { cause, .. } => assert_eq!(cause.kind(), CauseKind::IdleClosed),
            _ => {}
        }
    }
}
