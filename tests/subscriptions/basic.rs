//! Subscriptions against real servers.

use std::time::Duration;

use crate::pubsub_support::{Notes, old_server, publish, subscribers, until_subscribers};
use crate::support::{TIME_LIMIT, config, eventually, hasty, ms};
use actix::prelude::*;
use futures_util::FutureExt as _;
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, ErrorKind, Fate, LinkLimit, RefusalClass, SPublish, TopicKind};
use redis_actix_test::RedisServer;

/// The same on a server that is spoken to in RESP3, and on one in RESP2.
fn both() -> [(u8, RedisServer); 2] {
    [(3, crate::support::server()), (2, old_server())]
}

#[actix::test]
async fn channels_patterns_and_shard_channels_reach_their_inbox_without_the_prefix() {
    for (protocol, server) in both() {
        let redis = hasty(config(server.port())).start().expect("started");
        let (inbox, notes) = Notes::inbox();
        let topics = [Topic::channel("alerts"), Topic::pattern("news:*"), Topic::shard("orders")];
        let subscription = redis.subscribe(topics, inbox.recipient()).await.expect("confirmed");
        assert_eq!(redis.health().await.expect("healthy").protocol, protocol);
        assert_eq!(redis.send(Publish::new("alerts", "1")).await.expect("sent"), 1);
        assert_eq!(redis.send(Publish::new("news:a", "2")).await.expect("sent"), 1);
        assert_eq!(redis.send(SPublish::new("orders", "3")).await.expect("sent"), 1);
        assert_eq!(redis.send(Publish::new("other", "4")).await.expect("sent"), 0);
        // Of another tenant.
        assert_eq!((publish(&server, "alerts", "5"), publish(&server, "x:news:a", "6")), (0, 0));
        notes.payload("3").await;
        let seen: Vec<_> = notes
            .events()
            .into_iter()
            .map(|event| match event {
                SubscriptionEvent::Message(message) => (
                    message.topic().kind(),
                    message.topic().name().to_vec(),
                    message.channel().to_vec(),
                    message.decode::<u8>().expect("a number"),
                ),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [
            (TopicKind::Channel, b"alerts".to_vec(), b"alerts".to_vec(), 1),
            (TopicKind::Pattern, b"news:*".to_vec(), b"news:a".to_vec(), 2),
            (TopicKind::Shard, b"orders".to_vec(), b"orders".to_vec(), 3),
        ];
        assert_eq!(seen, expected, "in RESP{protocol}");
        eventually("all handled", || (subscription.stats().delivered == 3).then_some(())).await;
        drop(subscription);
        until_subscribers(&server, "test:alerts", 0).await;
    }
}

#[actix::test]
async fn payloads_are_read_as_any_type_and_stay_out_of_logs() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Alert {
        level: u8,
    }
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let _subscription = redis.subscribe([Topic::channel("a")], inbox.recipient()).await.expect("confirmed");
    redis.send(Publish::new("a", Json::new(Alert { level: 7 }).expect("json"))).await.expect("sent");
    let event = notes.event("the message", |_| true).await;
    let SubscriptionEvent::Message(message) = &event else { panic!("{event:?}") };
    assert_eq!(message.decode::<Json<Alert>>().expect("json").level, 7);
    assert_eq!(message.decode::<String>().expect("text"), r#"{"level":7}"#);
    let error = message.decode::<u64>().expect_err("no number");
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(!format!("{event:?} {error} {error:?}").contains("level"), "{event:?} {error:?}");
}

/// Ablation: without counting who wants a topic each of them subscribes, and the first to go unsubscribes all.
#[actix::test]
async fn a_hundred_subscriptions_to_a_channel_are_one_on_the_server() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let mut all = Vec::new();
    for _ in 0..100 {
        let (inbox, notes) = Notes::inbox();
        all.push((redis.subscribe([Topic::channel("a")], inbox.recipient()).await.expect("confirmed"), notes));
    }
    assert_eq!((subscribers(&server, "test:a"), redis.send(Publish::new("a", "x")).await.expect("sent")), (1, 1));
    for (_, notes) in &all {
        notes.payload("x").await;
    }
    // One link for commands, on which nothing is subscribed, and one for all subscriptions.
    let subscribed = |client: &String| !client.contains(" sub=0 ");
    let clients = server.clients().expect("listed");
    assert_eq!((clients.len(), clients.iter().filter(|client| subscribed(client)).count()), (2, 1), "{clients:?}");
    assert_eq!(redis.connection_info().subscriptions, Some(ConnectionState::Ready));
    assert!(redis.health().await.expect("healthy").subscriptions.is_some_and(|link| link.generation == 1));
    all.truncate(1);
    redis.send(Publish::new("a", "y")).await.expect("sent");
    all[0].1.payload("y").await;
    assert_eq!((subscribers(&server, "test:a"), all[0].1.payloads()), (1, vec!["x".to_owned(), "y".to_owned()]));
    all.clear();
    until_subscribers(&server, "test:a", 0).await;
}

/// Ablation: without withdrawing abandoned topics the server keeps subscriptions without a subscriber.
#[actix::test]
async fn whatever_joins_and_leaves_the_server_ends_up_with_what_is_wanted() {
    for (_, server) in both() {
        let redis = hasty(config(server.port())).start().expect("started");
        let topic = |n: usize| Topic::channel(format!("c{n}"));
        let (inbox, _notes) = Notes::inbox();
        let mut subscriptions = Vec::new();
        for _ in 0..2 {
            subscriptions.push(redis.subscribe([], inbox.clone().recipient()).await.expect("nothing to confirm"));
        }
        let mut wanted = [[false; 40]; 2];
        let mut chance = fastrand::Rng::with_seed(7);
        for _ in 0..1_000 {
            let (who, what) = (chance.usize(..2), chance.usize(..40));
            let asked = subscriptions[who].add([topic(what)]);
            match chance.u8(..4) {
                0 => (asked.await.expect("confirmed"), wanted[who][what] = true).1,
                // On its way, and the caller has left: nothing has changed.
                1 => assert!(asked.now_or_never().is_none()),
                _ => {
                    subscriptions[who].remove([topic(what)]).await.expect("removed");
                    wanted[who][what] = false;
                }
            }
        }
        for what in 0..40 {
            let expected = i64::from(wanted.iter().any(|topics| topics[what]));
            until_subscribers(&server, &format!("test:c{what}"), expected).await;
        }
        drop(subscriptions);
        for what in 0..40 {
            until_subscribers(&server, &format!("test:c{what}"), 0).await;
        }
    }
}

#[actix::test]
async fn any_byte_can_be_in_a_channel_and_glob_characters_in_prefix_and_channel_mean_themselves() {
    for (protocol, server) in both() {
        let config = config(server.port()).key_prefix("t?[a]\\b:");
        let redis = hasty(config).start().expect("started");
        let (inbox, notes) = Notes::inbox();
        let all: Vec<u8> = (0..=255).collect();
        let topics = [
            Topic::channel("*?[x]\\"),
            Topic::channel(&all),
            Topic::channel(""),
            Topic::pattern("lit\\*eral:*"),
            Topic::pattern("bytes:\0\u{80}*"),
        ];
        let subscription = redis.subscribe(topics, inbox.recipient()).await.expect("confirmed");
        let sent: [&[u8]; 5] = [b"*?[x]\\", &all, b"", b"lit*eral:1", "bytes:\0\u{80}\r\n".as_bytes()];
        for channel in sent {
            assert_eq!(redis.send(Publish::new(channel, channel)).await.expect("sent"), 1, "{channel:?}");
        }
        // What the prefix and the pattern would match, were they not escaped.
        for other in ["txa\\b:lit*eral:1", "t?a\\b:lit*eral:1", "t?[a]\\b:litXeral:1", "t?[a]b:lit*eral:1"] {
            assert_eq!(publish(&server, other, "foreign"), 0, "{other}");
        }
        eventually("all of them", || (notes.events().len() == sent.len()).then_some(())).await;
        for (event, channel) in notes.events().iter().zip(sent) {
            let SubscriptionEvent::Message(message) = event else { panic!("{event:?}") };
            assert_eq!((message.channel(), message.payload()), (channel, channel), "in RESP{protocol}");
        }
        subscription.close().await;
        eventually("nothing left", || {
            let reply = server.command(["PUBSUB", "NUMPAT"]).ok()?.int().ok()?;
            (reply == 0 && server.command(["PUBSUB", "CHANNELS"]).ok()?.array().ok()?.is_empty()).then_some(())
        })
        .await;
    }
}

#[actix::test]
async fn without_a_prefix_names_are_what_they_are() {
    let server = crate::support::server();
    server.command(["CONFIG", "SET", "notify-keyspace-events", "KEA"]).expect("set").ok().expect("set");
    let redis = hasty(config(server.port()).without_key_prefix()).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let topics = [Topic::channel("a"), Topic::pattern("n*"), Topic::keyspace("k"), Topic::keyevent("del")];
    let _subscription = redis.subscribe(topics, inbox.recipient()).await.expect("confirmed");
    assert_eq!((publish(&server, "a", "1"), publish(&server, "n1", "2")), (1, 1));
    redis.send(Set::new("k", 1)).await.expect("set");
    redis.send(Del::new(["k"])).await.expect("deleted");
    eventually("all of it", || (notes.events().len() == 5).then_some(())).await;
    let seen: Vec<_> = notes.keys().into_iter().map(|it| (it.key, it.event)).collect();
    let key = |event: &str| (b"k".to_vec(), event.to_owned());
    assert_eq!((notes.payloads(), seen), (vec!["1".into(), "2".into()], vec![key("set"), key("del"), key("del")]));
}

/// Ablation: without taking back what came with a forbidden topic, that stays on the server.
#[actix::test]
async fn a_channel_that_is_forbidden_is_an_error_in_words_and_costs_no_other() {
    for (_, server) in both() {
        let rules = ["ACL", "SETUSER", "svc", "on", ">secret", "+@all", "~*", "resetchannels", "&test:ok*"];
        server.command(rules).expect("set").ok().expect("set");
        let config = config(server.port()).username("svc").password("secret");
        let redis = hasty(config).start().expect("started");
        let (inbox, notes) = Notes::inbox();
        let subscription = redis.subscribe([Topic::channel("ok")], inbox.clone().recipient()).await.expect("confirmed");
        let topics = [Topic::channel("ok2"), Topic::channel("secret")];
        let error = redis.subscribe(topics.clone(), inbox.clone().recipient()).await.expect_err("forbidden");
        assert_eq!((error.code(), error.fate(), error.command()), (Some("NOPERM"), Fate::Rejected, Some("SUBSCRIBE")));
        assert!(!error.to_string().contains("secret"), "{error}");
        let error = subscription.add(topics).await.expect_err("forbidden");
        assert_eq!(error.code(), Some("NOPERM"));
        until_subscribers(&server, "test:ok2", 0).await;
        redis.send(Publish::new("ok", "x")).await.expect("sent");
        notes.payload("x").await;
        assert_eq!(subscribers(&server, "test:ok"), 1);
        // Allowed now: no new link is needed for that.
        server.command(["ACL", "SETUSER", "svc", "&test:secret"]).expect("set").ok().expect("set");
        subscription.add([Topic::channel("secret")]).await.expect("confirmed");
        assert_eq!(notes.gaps(), 0);
    }
}

/// Ablation: without the check of the prefix, the keys of all tenants come.
#[actix::test]
async fn events_of_keys_are_typed_and_only_those_inside_the_prefix_come() {
    for (protocol, server) in both() {
        server.command(["CONFIG", "SET", "notify-keyspace-events", "KEA"]).expect("set").ok().expect("set");
        let redis = hasty(config(server.port()).db(2)).start().expect("started");
        let (inbox, notes) = Notes::inbox();
        let topics = [Topic::keyspace("user:*"), Topic::keyevent("del"), Topic::keyevent("expire[d]")];
        let subscription = redis.subscribe(topics, inbox.recipient()).await.expect("confirmed");
        let mut other = server.connect().expect("connected");
        for argv in [
            &["SELECT", "2"][..],
            &["SET", "user:1", "theirs"],
            &["SET", "other:user:1", "theirs"],
            // Contains the prefix, and does not begin with it.
            &["SET", "other:test:user:1", "theirs"],
            &["DEL", "user:1", "other:user:1"],
            &["SET", "test:user:0", "of another database"],
        ] {
            if argv[0] != "SET" || argv[1] != "test:user:0" {
                other.command(argv).expect("done").ok().expect("done");
            }
        }
        other.command(["SELECT", "0"]).expect("done").ok().expect("done");
        other.command(["SET", "test:user:0", "x"]).expect("done").ok().expect("done");
        redis.send(Set::new("user:2", 1)).await.expect("set");
        redis.send(Del::new(["user:2"])).await.expect("deleted");
        redis.send(Set::new("tmp", 1).expire(ms(5))).await.expect("set");
        let seen = eventually("three events", || {
            // No other client reads the expired key.
            let _ = server.command(["PING"]);
            let keys = notes.keys();
            keys.iter().any(|key| key.event == "expired").then_some(keys)
        })
        .await;
        let seen: Vec<_> = seen.iter().map(|it| (it.key.as_slice(), it.event.as_str(), it.db)).collect();
        let expected: [(&[u8], &str, u32); 4] =
            [(b"user:2", "set", 2), (b"user:2", "del", 2), (b"user:2", "del", 2), (b"tmp", "expired", 2)];
        assert_eq!(seen, expected, "in RESP{protocol}");
        assert_eq!(subscription.stats().foreign, 2, "two keys of others were deleted");
        assert_eq!(notes.events().len(), 4, "and nothing is said of a setting");
    }
}

/// Ablation: without asking there is no report, and the caller waits for events without end.
#[actix::test]
async fn notifications_that_are_off_are_reported_where_config_get_is_allowed() {
    let off = |event: &SubscriptionEvent| matches!(event, SubscriptionEvent::NotificationsOff { setting, node: None } if setting.is_empty());
    for (_, server) in both() {
        let redis = hasty(config(server.port())).start().expect("started");
        let (inbox, notes) = Notes::inbox();
        let _subscription = redis.subscribe([Topic::keyspace("*")], inbox.recipient()).await.expect("confirmed");
        notes.event("that they are off", off).await;
    }
    // It is not there to be asked, or must not be: nothing is said, and nothing fails.
    let server = crate::support::server();
    let rules = ["ACL", "SETUSER", "svc", "on", ">secret", "+@all", "-config", "~*", "&*"];
    server.command(rules).expect("set").ok().expect("set");
    let redis = hasty(config(server.port()).username("svc").password("secret")).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let topics = [Topic::keyspace("*"), Topic::channel("a")];
    let _subscription = redis.subscribe(topics, inbox.recipient()).await.expect("confirmed");
    redis.send(Publish::new("a", "x")).await.expect("sent");
    notes.payload("x").await;
    assert_eq!(notes.events().len(), 1, "{:?}", notes.events());
}

/// Ablation: reported as soon as it is known, it reaches an unrelated inbox.
#[actix::test]
async fn notifications_that_are_off_are_not_reported_to_refused_callers() {
    for (_, server) in both() {
        let rules = ["ACL", "SETUSER", "svc", "on", ">secret", "+@all", "~*", "resetchannels", "&test:ok"];
        server.command(rules).expect("set").ok().expect("set");
        server.command(["ACL", "SETUSER", "svc", "&__keyspace@0__:*"]).expect("set").ok().expect("set");
        let config = config(server.port()).username("svc").password("secret");
        let redis = hasty(config).start().expect("started");
        let (inbox, notes) = Notes::inbox();
        let topics = [Topic::keyspace("*"), Topic::channel("secret")];
        let error = redis.subscribe(topics.clone(), inbox.clone().recipient()).await.expect_err("forbidden");
        assert_eq!(error.code(), Some("NOPERM"));
        let subscription = redis.subscribe([Topic::channel("ok")], inbox.recipient()).await.expect("confirmed");
        // Added to one that lives, it is refused as well.
        assert_eq!(subscription.add(topics).await.expect_err("forbidden").code(), Some("NOPERM"));
        redis.send(Publish::new("ok", "x")).await.expect("sent");
        notes.payload("x").await;
        assert_eq!(notes.events().len(), 1, "{:?}", notes.events());
    }
}

#[actix::test]
async fn a_shutdown_ends_every_subscription_and_leaves_no_link() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let subscription = redis.subscribe([Topic::channel("a")], inbox.clone().recipient()).await.expect("confirmed");
    redis.send(Publish::new("a", "last words")).await.expect("sent");
    notes.payload("last words").await;
    redis.shutdown(Duration::from_secs(5)).await.expect("a report");
    let is_end = |event: &SubscriptionEvent| matches!(event, SubscriptionEvent::Ended { .. });
    notes.event("the end", is_end).await;
    assert!(subscription.stats().ended);
    eventually("no client left", || server.clients().ok()?.is_empty().then_some(())).await;
    let error = redis.subscribe([Topic::channel("a")], inbox.recipient()).await.expect_err("closed");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::NotSent));
    assert_eq!(subscription.add([Topic::channel("b")]).await.expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(redis.connection_info().subscriptions, None);
    drop(subscription);
}

#[actix::test]
async fn without_a_server_it_waits_for_one_and_gives_up_in_time() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    server.kill().expect("killed");
    let (inbox, notes) = Notes::inbox();
    let subscribing = redis.subscribe([Topic::channel("a")], inbox.clone().recipient()).within(ms(100));
    let error = subscribing.await.expect_err("no server");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::NotSent), "{error}");
    assert!(error.to_string().contains("refused"), "without why there is no connection: {error}");
    let waiting = actix::spawn({
        let (redis, inbox) = (redis.clone(), inbox.clone());
        async move { redis.subscribe([Topic::channel("b")], inbox.recipient()).within(TIME_LIMIT).await }
    });
    server.restart().expect("restarted");
    let subscription = waiting.await.expect("no panic").expect("confirmed");
    // The abandoned topic is not there.
    assert_eq!((subscribers(&server, "test:a"), subscribers(&server, "test:b")), (0, 1));
    assert_eq!(notes.events().len(), 0, "nothing was confirmed before, so nothing can be missing");
    drop(subscription);
    until_subscribers(&server, "test:b", 0).await;
}

#[actix::test]
async fn a_refused_login_fails_fast() {
    let server = RedisServer::builder().requirepass("right").start().unwrap_or_else(|error| panic!("{error}"));
    let redis = hasty(config(server.port()).password("wrong")).start().expect("started");
    let (inbox, _) = Notes::inbox();
    for _ in 0..2 {
        let subscribing = redis.subscribe([Topic::channel("a")], inbox.clone().recipient()).within(TIME_LIMIT);
        let error = subscribing.await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
}

#[actix::test]
async fn a_connection_without_subscriptions_is_closed_and_made_again() {
    let server = crate::support::server();
    let links = LinkLimit::new(1).idle(ms(50));
    let redis = hasty(config(server.port())).links(links).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    for nth in ["1", "2"] {
        let subscribing = redis.subscribe([Topic::channel("a")], inbox.clone().recipient());
        let subscription = subscribing.await.expect("confirmed");
        redis.send(Publish::new("a", nth)).await.expect("sent");
        notes.payload(nth).await;
        drop(subscription);
        eventually("the link gone", || (server.clients().ok()?.len() == 1).then_some(())).await;
        eventually("and known to be", || redis.connection_info().subscriptions.is_none().then_some(())).await;
    }
}

/// Ablation: with topics without room deferred for a fixed time, this takes 20 ms for each topic, and outlasts its deadline.
#[actix::test]
async fn a_narrow_window_is_no_reason_to_wait() {
    let server = crate::support::server();
    let redis = hasty(config(server.port()).max_in_flight(1)).start().expect("started");
    let (inbox, _) = Notes::inbox();
    let topics = (0..2_000).map(|n| Topic::channel(format!("c{n}")));
    let _subscription = redis.subscribe(topics, inbox.recipient()).within(TIME_LIMIT).await.expect("confirmed");
}

#[actix::test]
async fn topics_that_cannot_be_kept_inside_the_prefix_are_refused_before_anything_is_sent() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let (inbox, _) = Notes::inbox();
    for topic in [Topic::pattern("__key*__:*"), Topic::channel("__subkeyevent@0__:hset")] {
        let error = redis.subscribe([topic], inbox.clone().recipient()).await.expect_err("refused");
        assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent));
    }
    // By hand it is still refused: it would change the connection that all share.
    let error = redis.send(Raw::<()>::new("SUBSCRIBE").channel("a")).await.expect_err("refused");
    assert!(matches!(error.refusal(), Some(RefusalClass::Subscribe)), "{error}");
    assert_eq!(server.clients().expect("listed").len(), 0);
}

/// It is `Send`, and lives where the connection does.
#[test]
fn from_another_executor() {
    let server = crate::support::server();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let system = System::new();
    let (inbox, notes) = system.block_on(async { Notes::inbox() });
    let recipient = inbox.recipient();
    let subscription = runtime.block_on(async {
        let redis = hasty(config(server.port())).start_on_own_thread().expect("started");
        let task = tokio::spawn(async move {
            let subscription = redis.subscribe([Topic::channel("a")], recipient).await.expect("confirmed");
            redis.send(Publish::new("a", "x")).await.expect("sent");
            subscription
        });
        task.await.expect("no panic")
    });
    system.block_on(notes.payload("x"));
    drop(subscription);
}
