//! The link of the subscriptions: killed, silent, lost again and again.

use crate::pubsub_support::{Notes, old_server, publish, subscribers, until_subscribers};
use crate::support::{Diary, TIME_LIMIT, config, eventually, hasty, ms};
use redis_actix::prelude::*;
use redis_actix::{CauseKind, ConnectionState, ErrorKind, Value};
use redis_actix_test::{Answer, Direction, FakeServer, Proxy, RedisServer};

fn is_gap(event: &ConnectionEvent) -> bool {
    matches!(event, ConnectionEvent::Gap { .. })
}

fn both() -> [RedisServer; 2] {
    [crate::support::server(), old_server()]
}

/// What came, in the order it came, in one word each.
fn words(notes: &Notes) -> Vec<String> {
    let word = |event: &SubscriptionEvent| match event {
        SubscriptionEvent::Message(message) => message.decode().expect("text"),
        SubscriptionEvent::Gap { losses, .. } => format!("gap {losses}"),
        other => format!("{other:?}"),
    };
    notes.events().iter().map(word).collect()
}

/// Publishes until a subscriber gets it: in between there is none.
async fn publish_until_heard(server: &RedisServer, channel: &str, payload: &str) {
    eventually("a subscriber", || (publish(server, channel, payload) == 1).then_some(())).await;
}

/// Row 15. Ablation: without subscribing again on the next link there is never a subscriber after the kill.
#[actix::test]
async fn row_15_a_killed_server_costs_one_gap_and_one_subscription_is_there_after_it() {
    for server in both() {
        let (builder, diary) = Diary::of(hasty(config(server.port())));
        let redis = builder.start().expect("started");
        let (inbox, notes) = Notes::inbox();
        let (inbox2, notes2) = Notes::inbox();
        let topics = [Topic::channel("a"), Topic::pattern("n:*"), Topic::shard("s"), Topic::channel("a2")];
        let subscription = redis.subscribe(topics, inbox.recipient()).await.expect("confirmed");
        let other = redis.subscribe([Topic::channel("a")], inbox2.recipient()).await.expect("confirmed");
        for nth in 1..=3 {
            publish(&server, "test:a", format!("before {nth}"));
            notes.payload(&format!("before {nth}")).await;
            notes2.payload(&format!("before {nth}")).await;
            server.kill().expect("killed");
            server.restart().expect("restarted");
            publish_until_heard(&server, "test:a", &format!("after {nth}")).await;
            notes.payload(&format!("after {nth}")).await;
            notes2.payload(&format!("after {nth}")).await;
            publish_until_heard(&server, "test:n:1", "n").await;
            assert_eq!((subscribers(&server, "test:a"), subscribers(&server, "test:a2")), (1, 1));
            let gap = diary.entry("the gap", is_gap);
            assert!(matches!(gap.await, ConnectionEvent::Gap { subscriptions: 2, .. }));
            eventually("one event for each loss", || (diary.count(is_gap) == nth).then_some(())).await;
        }
        let expected = |with_n: bool| {
            let of = |nth: usize| {
                let all = [format!("before {nth}"), "gap 1".to_owned(), format!("after {nth}")];
                all.into_iter().chain(with_n.then(|| "n".to_owned()))
            };
            (1..=3).flat_map(of).collect::<Vec<_>>()
        };
        eventually("the last of them", || (words(&notes).len() == 12).then_some(())).await;
        assert_eq!((words(&notes), words(&notes2)), (expected(true), expected(false)));
        assert_eq!((subscription.stats().gaps, other.stats().gaps), (3, 3));
    }
}

/// Row 15, half-open. Ablation: without the PING on an idle link it is never noticed; with the gap reported when the link is
/// lost it comes while messages are still missed.
#[actix::test]
async fn row_15_a_half_open_link_of_a_subscriber_is_replaced_and_costs_one_gap() {
    for server in both() {
        let proxy = Proxy::start(server.addr()).expect("a proxy");
        let config = config(proxy.port()).liveness(ms(200)).connect_timeout(ms(400));
        let (builder, diary) = Diary::of(hasty(config));
        let redis = builder.start().expect("started");
        redis.ready(TIME_LIMIT).await.expect("ready");
        let (inbox, notes) = Notes::inbox();
        let _subscription = redis.subscribe([Topic::channel("a")], inbox.recipient()).await.expect("confirmed");
        publish(&server, "test:a", "before");
        notes.payload("before").await;
        // It is idle for some times its liveness limit: each PING is answered, and that is all that comes.
        let answered = proxy.bytes_to_client();
        eventually("PINGs answered", || (proxy.bytes_to_client() >= answered + 60).then_some(())).await;
        assert_eq!((notes.gaps(), proxy.connections()), (0, 2));
        proxy.hold();
        let silent = || redis.connection_info().subscriptions.is_some_and(|state| state != ConnectionState::Ready);
        eventually("that it is silent", || silent().then_some(())).await;
        assert_eq!(notes.gaps(), 0, "reported too early: a caller that reads now misses messages before the next link");
        proxy.pass();
        notes.event("the gap", |event| matches!(event, SubscriptionEvent::Gap { .. })).await;
        // The server hears of the end of the old link when the proxy lets it through.
        until_subscribers(&server, "test:a", 1).await;
        publish_until_heard(&server, "test:a", "after").await;
        notes.payload("after").await;
        assert_eq!(words(&notes), ["before", "gap 1", "after"]);
        let gap = diary.entry("the gap", is_gap).await;
        assert!(matches!(gap, ConnectionEvent::Gap { cause, .. } if cause.kind() == CauseKind::Stalled));
        assert_eq!(diary.count(is_gap), 1);
    }
}

/// Messages come, and nothing is answered: they alone keep the link alive, for it is.
#[actix::test]
async fn row_15_a_busy_link_is_not_taken_for_dead_and_costs_no_ping() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis = hasty(config(server.port())).start().expect("started");
    let liveness = ms(100);
    let subscriber = hasty(config(proxy.port()).liveness(liveness)).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let _subscription = subscriber.subscribe([Topic::channel("a")], inbox.recipient()).await.expect("confirmed");
    let (asked, started) = (proxy.bytes_to_server(), std::time::Instant::now());
    while started.elapsed() < liveness * 4 {
        redis.send(Publish::new("a", "x")).await.expect("sent");
    }
    // Messages that the link received meanwhile are in the inbox once this one is.
    redis.send(Publish::new("a", "the last")).await.expect("sent");
    notes.payload("the last").await;
    assert_eq!((proxy.bytes_to_server(), notes.gaps()), (asked, 0));
}

/// A link that breaks in the middle of subscribing again is a loss for the subscriptions on it by then, and each is
/// notified of each. Ablation: forgetting a loss that comes before the last one was reported leaves too few events.
#[actix::test]
async fn row_15_losses_in_a_row_lose_no_topic_and_no_gap() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let (builder, diary) = Diary::of(hasty(config(proxy.port())));
    let redis = builder.start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let (inbox, notes) = Notes::inbox();
    let topics: Vec<_> = (0..500).map(|n| Topic::channel(format!("c{n}"))).collect();
    let subscription = redis.subscribe(topics, inbox.recipient()).await.expect("confirmed");
    let mut chance = fastrand::Rng::with_seed(3);
    for _ in 0..20 {
        let before = proxy.connections();
        // This thread is the client's too: it dials when both are done. All confirmations together are more than
        // that, so the next link breaks among them.
        proxy.reset_all();
        proxy.cut_after(Direction::ToClient, chance.u64(..12_000));
        proxy.connected(before + 3, TIME_LIMIT).await.expect("dialled again");
    }
    for n in 0..500 {
        until_subscribers(&server, &format!("test:c{n}"), 1).await;
    }
    publish_until_heard(&server, "test:c7", "after").await;
    notes.payload("after").await;
    let reported: u64 = notes
        .events()
        .iter()
        .map(|event| match event {
            SubscriptionEvent::Gap { losses, .. } => u64::from(*losses),
            _ => 0,
        })
        .sum();
    let gaps = subscription.stats().gaps;
    assert!((5..=60).contains(&gaps) && reported == gaps, "{reported} reported of {gaps}");
    eventually("an event for each", || (diary.count(is_gap) as u64 == gaps).then_some(())).await;
}

/// Messages held back until every topic is there come behind the gap, and a topic that is refused by then delays no other.
#[actix::test]
async fn row_15_a_topic_that_is_refused_after_the_loss_is_reported_and_the_others_go_on() {
    let server = crate::support::server();
    let rules = ["ACL", "SETUSER", "svc", "on", ">secret", "+@all", "~*", "resetchannels", "&test:*"];
    server.command(rules).expect("set").ok().expect("set");
    let config = config(server.port()).username("svc").password("secret");
    let redis = hasty(config).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let topics = [Topic::channel("ok"), Topic::channel("taken")];
    let _subscription = redis.subscribe(topics, inbox.recipient()).await.expect("confirmed");
    // The server ends every link that listens where it must not any more.
    server.command(["ACL", "SETUSER", "svc", "resetchannels", "&test:ok"]).expect("set").ok().expect("set");
    let refused = notes.event("the refusal", |event| matches!(event, SubscriptionEvent::Refused { .. })).await;
    let SubscriptionEvent::Refused { topic, error } = refused else { panic!("another event") };
    assert_eq!((topic, error.code()), (Topic::channel("taken"), Some("NOPERM")));
    publish_until_heard(&server, "test:ok", "after").await;
    notes.payload("after").await;
    assert_eq!(notes.gaps(), 1);
}

/// Row 16 on this link: bytes that are no message of anybody's.
#[actix::test]
async fn row_16_garbage_among_messages_costs_one_link_and_one_gap() {
    let server = crate::support::server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis = hasty(config(proxy.port())).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let _subscription = redis.subscribe([Topic::channel("a")], inbox.recipient()).await.expect("confirmed");
    for (nth, garbage) in [&b"$7\r\nforeign\r\n"[..], b"HTTP/1.1 400\r\n", b">1\r\n:5\r\n"].into_iter().enumerate() {
        proxy.inject(garbage);
        eventually("the gap", || (notes.gaps() == nth + 1).then_some(())).await;
        publish_until_heard(&server, "test:a", &nth.to_string()).await;
        notes.payload(&nth.to_string()).await;
    }
    // Messages without a subscription, and unknown kinds: dropped, and the link stays.
    for odd in [
        &b">3\r\n$7\r\nmessage\r\n$1\r\nz\r\n$1\r\nx\r\n"[..],
        b">3\r\n$7\r\nmessage\r\n$6\r\ntest:z\r\n$1\r\nx\r\n",
        b">2\r\n$7\r\nmessage\r\n$6\r\ntest:a\r\n",
        b">3\r\n$9\r\nsubscribe\r\n$6\r\ntest:b\r\n:2\r\n",
        b">2\r\n$10\r\ninvalidate\r\n_\r\n",
        b">2\r\n$6\r\nfuture\r\n:1\r\n",
    ] {
        proxy.inject(odd);
    }
    publish_until_heard(&server, "test:a", "last").await;
    notes.payload("last").await;
    assert_eq!((notes.gaps(), notes.events().len()), (3, 7));
}

/// A server may end a subscription by itself, as one does whose slot moves to another. Ablation: taken for nothing, it
/// leaves a subscriber that never hears anything again.
#[actix::test]
async fn a_subscription_that_the_server_ends_is_made_again_with_a_gap() {
    let server = FakeServer::builder()
        .on(|argv| match &argv[0][..] {
            b"SSUBSCRIBE" => Answer::raw(">3\r\n$10\r\nssubscribe\r\n$6\r\ntest:s\r\n:1\r\n"),
            _ => Answer::Default,
        })
        .start()
        .expect("started");
    let redis = hasty(config(server.port())).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let _subscription = redis.subscribe([Topic::shard("s")], inbox.recipient()).await.expect("confirmed");
    server.send(b">3\r\n$12\r\nsunsubscribe\r\n$6\r\ntest:s\r\n:0\r\n");
    notes.event("the gap", |event| matches!(event, SubscriptionEvent::Gap { losses: 1, .. })).await;
    server.send(b">3\r\n$8\r\nsmessage\r\n$6\r\ntest:s\r\n$1\r\nx\r\n");
    notes.payload("x").await;
    let asked = server.received().iter().filter(|argv| argv[0] == b"SSUBSCRIBE").count();
    assert_eq!((asked, words(&notes)), (2, vec!["gap 1".to_owned(), "x".to_owned()]));
}

/// A node whose slot moves away ends a subscription in the words of a confirmation, and says MOVED behind it to who asked it
/// to. Ablation: taken for the answer to a later command, that MOVED is one too many, and the link ends
/// with a gap.
#[actix::test]
async fn a_late_moved_is_no_answer_to_what_was_asked_after_it_came() {
    const SENT: usize = 100;
    // All three are of slot 15891.
    let push = |kind: &str, channel: u8, last: &str| {
        format!(">3\r\n${}\r\n{kind}\r\n$9\r\ntest:{{t}}{}\r\n{last}\r\n", kind.len(), char::from(channel))
    };
    let server = FakeServer::builder()
        .on(move |argv| match (&argv[0][..], argv.last().and_then(|name| name.last())) {
            (b"SSUBSCRIBE", Some(channel)) => Answer::raw(push("ssubscribe", *channel, ":1")),
            (b"SUNSUBSCRIBE", Some(b'a')) => {
                let messages = push("smessage", b'c', "$1\r\nx").repeat(SENT);
                Answer::raw(push("sunsubscribe", b'a', ":2") + &messages + "-MOVED 15891 127.0.0.1:1\r\n")
            }
            (b"SUNSUBSCRIBE", Some(channel)) => Answer::raw(push("sunsubscribe", *channel, ":1")),
            _ => Answer::Default,
        })
        .start()
        .expect("started");
    // With room for one question the second is asked when the first seems to be answered, while its MOVED lies unread
    // behind more messages than are taken off a link in one turn.
    let redis = hasty(config(server.port()).max_in_flight(1)).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let topics = ["{t}a", "{t}b", "{t}c"].map(Topic::shard);
    let subscription = redis.subscribe(topics, inbox.recipient()).await.expect("confirmed");
    subscription.remove(["{t}a", "{t}b"].map(Topic::shard)).await.expect("removed");
    let left = || server.received().iter().filter(|argv| argv[0] == b"SUNSUBSCRIBE").count();
    eventually("all that was sent", || (notes.payloads().len() == SENT && left() == 2).then_some(())).await;
    server.send(push("smessage", b'c', "$4\r\nlast").as_bytes());
    notes.payload("last").await;
    assert_eq!((subscription.stats().gaps, server.connections()), (0, 1));
}

/// Row 12 for subscribers: what cannot be handled is not kept. Ablation: without bounds 430 MB wait.
#[actix::test]
async fn row_15_a_flood_at_an_inbox_that_handles_nothing_costs_what_its_buffer_holds() {
    const TEST: &str = "faults::row_15_a_flood_at_an_inbox_that_handles_nothing_costs_what_its_buffer_holds";
    if !crate::support::alone(TEST) {
        return;
    }
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let (inbox, _notes, _gate) = Notes::gated();
    let subscribing = redis.subscribe([Topic::channel("a")], inbox.recipient()).buffer(usize::MAX);
    let subscription = subscribing.buffer_bytes(8 << 20).await.expect("confirmed");
    let payload = vec![b'x'; 4096];
    let mut sent = 0;
    let mut before = 0;
    while sent < 100_000 {
        let all: Vec<_> = (0..1_000).map(|_| redis.send(Publish::new("a", &payload[..]))).collect();
        for one in all {
            one.await.expect("sent");
        }
        sent += 1_000;
        if sent == 10_000 {
            before = crate::support::resident();
        }
    }
    eventually("all taken in", || {
        let stats = subscription.stats();
        (stats.dropped + stats.waiting as u64 == sent).then_some(())
    })
    .await;
    let (stats, grown) = (subscription.stats(), crate::support::resident().saturating_sub(before));
    assert!(stats.waiting_bytes <= 8 << 20 && stats.dropped > 90_000, "{stats:?}");
    assert!(grown < 8 << 20, "{} KiB more after ten times the messages", grown >> 10);
}

/// A server bounds the output of a link that subscribes. A RESP3 link with a subscription, tried by hand, was closed by
/// replies such as these before one of them was read; ours has none.
#[actix::test]
async fn replies_of_any_size_do_not_end_a_connection_with_subscriptions() {
    let server = crate::support::server();
    let limit = ["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1"];
    server.command(limit).expect("set").ok().expect("set");
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let redis = hasty(config(proxy.port())).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let subscription = redis.subscribe([Topic::channel("a")], inbox.recipient()).await.expect("confirmed");
    redis.send(Set::new("big", vec![b'x'; 1 << 20])).await.expect("set");
    let all: Vec<_> = (0..40).map(|_| redis.send(Get::<Value>::new("big"))).collect();
    for one in all {
        one.await.expect("read");
    }
    assert_eq!((redis.status().borrow().disconnects, subscription.stats().gaps), (0, 0));
    redis.send(Publish::new("a", "x")).await.expect("sent");
    notes.payload("x").await;
    let error = redis.send(Raw::<()>::new("PSUBSCRIBE").channel_pattern("a")).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidCommand);
}
